"""Orders that travel with money: they get their size by the prices that fill them."""

from fractions import Fraction
from typing import Final

from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.sizes import OrderAmount, SizeCost

#: The reason of a risk whose stop the price has reached: nothing says what such a position would lose.
STOP_PASSED: Final = "stop_passed"


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
        amount = order.spends
        assert amount is not None
        price = self._account.ledger.instruments[order.instrument].price_decimal(ticks)
        stop = amount.stop_at(price, order.side)
        if stop is not None and ((price - stop) * order.side.sign <= 0 or stop <= 0):
            return STOP_PASSED
        wanted = self._cost(order, amount, ticks).lots_for(Fraction(amount.money))
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
        assert order.spends is not None
        order.spent = self._cost(order, order.spends, ticks).spent(lots)

    def _cost(self, order: ExchangeOrder, amount: OrderAmount, ticks: int) -> SizeCost:
        account, name = self._account, order.instrument
        instrument, fees = account.ledger.instruments[name], account.fees[name]
        stop = amount.stop_at(instrument.price_decimal(ticks), order.side)
        return SizeCost(instrument, fees, order.side, ticks, stop, order.spent)
