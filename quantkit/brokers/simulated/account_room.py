"""How much of an order an account would take, as far as its owner knows."""

from collections.abc import Mapping, Sequence

from quantkit.brokers.base import AskedOrder
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.listing import Listing
from quantkit.instruments import Side
from quantkit.orders import Order
from quantkit.portfolio import Portfolio


class AccountRoom:
    """Judges orders that have not been sent, by the exchange's own rules and a ledger of their owner.

    Args:
        account: Whose rules they are.
        ledger: What the owner knows.
        listings: By instrument, for the rules of their markets alone.
    """

    def __init__(self, account: Account, ledger: Portfolio, listings: Mapping[str, Listing]) -> None:
        self._rules = account
        self._ledger = ledger
        self._listings = listings
        self._judge: Account | None = None  # made when it is needed; without orders between two calls

    @property
    def _account(self) -> Account:
        if self._judge is None:
            self._judge = self._rules.over(self._ledger)
        return self._judge

    def most_lots(self, order: Order, price_ticks: int, others: Sequence[AskedOrder]) -> int:
        """Return the most lots, no more than the order has, that the account takes and fills whole at a price.

        An order below the smallest one is no question of money: it stays as it is.
        """
        instrument = self._ledger.instruments[order.instrument]
        if order.lots < instrument.min_lots:
            return order.lots
        held = self._hold(others)
        step, least = instrument.lots_per_step, instrument.min_lots
        probe = ExchangeOrder(order)
        low, high = 0, order.lots // step + 1
        if self._takes(probe, order.lots, price_ticks):
            low = high - 1
        while high - low > 1:
            middle = (low + high) // 2
            # What is below the smallest order is refused for that, and says nothing about the money.
            if middle * step < least or self._takes(probe, middle * step, price_ticks):
                low = middle
            else:
                high = middle
        for other in held:
            self._account.funds.release(other, other.left)
        lots = low * step
        return lots if lots >= least else 0

    def _hold(self, others: Sequence[AskedOrder]) -> list[ExchangeOrder]:
        """Let orders that are open hold back what they hold back at the exchange, and return them."""
        held: list[ExchangeOrder] = []
        for asked in others:
            other = ExchangeOrder(asked.order)
            other.lots, other.limit_ticks, other.filled_lots = asked.lots, asked.limit_ticks, asked.order.filled_lots
            if not self._admit(other, other.lots, self._reference(other)):
                held.append(other)
        return held

    def _reference(self, order: ExchangeOrder) -> int | None:
        """Return the price that an open order without a limit is valued at."""
        mark = self._ledger.mark(order.instrument)
        instrument = self._ledger.instruments[order.instrument]
        return None if mark is None else instrument.market_ticks(mark, order.side)

    def _takes(self, probe: ExchangeOrder, lots: int, price_ticks: int) -> bool:
        """Whether the account lets an order of some lots in, and carries all of it at a price."""
        probe.lots = lots
        if self._admit(probe, lots, price_ticks):
            return False
        carried = self._account.affordable_lots(probe, lots, price_ticks, is_maker=False)
        self._account.funds.release(probe, lots)
        return carried == lots  # what closes is free, also where the account carries no more than that

    def _admit(self, order: ExchangeOrder, lots: int, reference: int | None) -> str:
        """Judge an order as on its arrival."""
        at_open = self._listings[order.instrument].market.fills_at_opens
        return self._account.admit(
            order,
            lots=lots,
            limit_ticks=order.limit_ticks,
            reference=reference,
            at_open=at_open,
            opening=reference if at_open else None,
        )

    def amount_refusal(self, order: Order) -> str:
        """Return why an order cannot travel with its money, empty if it can: it fills at an open or buys coins."""
        market = self._listings[order.instrument].market
        if market.fills_at_opens or (market.instrument.is_spot and order.side is Side.BUY):
            return ""
        return "needs an order matched on candles, or a spot market buy"
