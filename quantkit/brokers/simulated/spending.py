"""Orders that travel with money: they get their size by the prices that fill them."""

from fractions import Fraction

from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.sizes import SizeCost


class Spending:
    """Sizes orders by the money that they have left.

    Args:
        account: The exchange's truth about money and positions.
    """

    def __init__(self, account: Account) -> None:
        self._account = account

    def size(self, order: ExchangeOrder, ticks: int) -> str:
        """Give an order the size that its money and the account allow at a price.

        Returns:
            Why it ends instead, empty if it goes on.
        """
        wanted = self._cost(order, ticks).lots_for(order.money_left)
        lots = self._account.affordable_lots(order, wanted, ticks, is_maker=False) if wanted else 0
        order.lots = order.filled_lots + lots
        if order.filled_lots:
            return "" if lots else "amount_spent"
        least = self._account.ledger.instruments[order.instrument].min_lots
        if lots >= least:
            return ""
        return "below_min_qty" if wanted < least else self._account.reason_for_cutting(order)

    def pay(self, order: ExchangeOrder, lots: int, ticks: int) -> None:
        """Take what a fill costs off an order's money."""
        order.money_left = max(Fraction(0), order.money_left - self._cost(order, ticks).of(lots))

    def _cost(self, order: ExchangeOrder, ticks: int) -> SizeCost:
        assert order.spends is not None
        account, name = self._account, order.instrument
        return SizeCost(account.ledger.instruments[name], account.fees[name], order.side, ticks, order.spends.stop)
