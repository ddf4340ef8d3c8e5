"""What the tests of the simulated exchange share: orders that arrive, and a sink that writes down what it is told."""

from collections.abc import Callable
from typing import Any

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.market import Market
from quantkit.instruments import Instrument, Side
from quantkit.orders import Order, OrderState, TimeInForce

#: One tick is 1 and one size step is 1 contract, so that prices and sizes read as their steps.
SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.1")
BUY, SELL = Side.BUY, Side.SELL


def order_of(
    number: int | str,
    side: Side,
    lots: int,
    limit: int | None = None,
    *,
    stop: int | None = None,
    tif: str = "GTC",
    instrument: Instrument = SWAP,
    **more: Any,
) -> Order:
    """Return an order in steps, as the desk would send it."""
    return Order(
        id=f"bt{number}",
        instrument=instrument.id,
        side=side,
        qty=instrument.qty(lots),
        lots=lots,
        price=None if limit is None else instrument.price(limit),
        price_ticks=limit,
        stop_price=None if stop is None else instrument.price(stop),
        stop_ticks=stop,
        time_in_force=TimeInForce(tif),
        **more,
    )


def working(
    number: int | str, side: Side, lots: int, limit: int | None = None, *, arrived_ns: int = 0, **more: Any
) -> ExchangeOrder:
    """Return an order as the exchange holds it once it has arrived."""
    order = ExchangeOrder(order_of(number, side, lots, limit, **more))
    order.arrived_ns = arrived_ns
    return order


class RecordingSink:
    """Books whatever a market says and keeps it as rows.

    A fill is (`filled`, id, size steps, ticks, `maker` or `taker`, time, why), any other news (what, id, reason, time).

    Attributes:
        allows: How many size steps of an order the account can have in all, by order id; without a word all of it.
        after_fill: Called after every booking, as an account that ends another order would be.
    """

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.allows: dict[str, int] = {}
        self.after_fill: Callable[[ExchangeOrder], None] = lambda order: None
        self.market: Market

    def take(self) -> list[tuple[Any, ...]]:
        """Return what was told since the last time."""
        told, self.told = self.told, []
        return told

    def fills(self) -> list[tuple[Any, ...]]:
        """Return (id, size steps, ticks, role) of the fills since the last time, and forget the other news."""
        return [row[1:5] for row in self.take() if row[0] == "filled"]

    def fill(self, order: ExchangeOrder, lots: int, ticks: int, *, is_maker: bool, at_ns: int, why: str) -> None:
        """Book what the account allows and cancel the rest."""
        allowed = min(lots, self.allows.get(order.id, order.lots) - order.filled_lots)
        assert 0 < lots <= order.left
        assert order.state in (OrderState.ACCEPTED, OrderState.PARTLY_FILLED)
        if allowed:
            order.filled_lots += allowed
            self.told.append(("filled", order.id, allowed, ticks, "maker" if is_maker else "taker", at_ns, why))
            order.state = OrderState.PARTLY_FILLED if order.left else OrderState.FILLED
            if not order.left:
                self.market.remove(order)
        if allowed < lots:
            self.cancel(order, "insufficient_cash", at_ns)
        self.after_fill(order)

    def cancel(self, order: ExchangeOrder, reason: str, at_ns: int) -> None:
        """End an order."""
        assert order.state in (OrderState.ACCEPTED, OrderState.PARTLY_FILLED)
        self._end(order, OrderState.CANCELLED, reason, at_ns)

    def set_off(self, order: ExchangeOrder, at_ns: int) -> bool:
        return True

    def may_fill(self, order: ExchangeOrder, ticks: int) -> bool:
        return True

    def reject(self, order: ExchangeOrder, reason: str, at_ns: int) -> None:
        """Refuse an order."""
        assert order.state is OrderState.PENDING
        self._end(order, OrderState.REJECTED, reason, at_ns)

    def report(self, order: ExchangeOrder, state: OrderState, reason: str, at_ns: int) -> None:
        """Take an order in."""
        assert (order.state, state) == (OrderState.PENDING, OrderState.ACCEPTED)
        order.state = state
        self.told.append((state.value, order.id, reason, at_ns))

    def _end(self, order: ExchangeOrder, state: OrderState, reason: str, at_ns: int) -> None:
        order.state = state
        self.told.append((state.value, order.id, reason, at_ns))
        self.market.remove(order)
