"""A close look at one order of the simulated exchange, and at its market around it."""

from typing import Final

from quantkit.brokers.order_trace import MarketGlance, OrderTrace, TracedState, TraceRow, TraceStep
from quantkit.brokers.simulated.displayed import DisplayedMarket
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.market import Market
from quantkit.instruments import Side
from quantkit.orders import OrderState
from quantkit.rows.cursors import StreamCursor

_SIDES: Final = (Side.BUY, Side.SELL)
_RESTING: Final = (OrderState.ACCEPTED, OrderState.PARTLY_FILLED)


class OrderWatch:
    """Writes what happens to one order.

    Args:
        order: It.
        trace: Gets that.
    """

    def __init__(self, order: ExchangeOrder, trace: OrderTrace) -> None:
        self._order = order
        self._trace = trace

    def look(
        self,
        market: Market,
        now_ns: int,
        exchange_ns: int,
        row: TraceRow | None = None,
        *,
        mark_price: float | None = None,
    ) -> None:
        """Note what has changed since the last look.

        Args:
            market: Its market.
            now_ns, exchange_ns: When it is, and when what happened without a row was by the exchange's clock.
            row: What the market came to.
            mark_price: By which the exchange has closed a position just now, without a row.
        """
        order, steps = self._order, self._trace.steps
        before = steps[-1].after if steps else None
        if row is not None and before is not None and before.state in _RESTING:
            self._see(market, row)
        after = _state_of(order)
        if after != before:
            if before is not None and _place_of(before) != _place_of(after):
                # How near prices came counts from where it stands now; the row that moved it came to where it was.
                self._trace.bids_ticks = self._trace.asks_ticks = self._trace.traded = None
            at_ns = exchange_ns if row is None else row.exchange_ns
            glance = _glance(market, order)._replace(mark_price=mark_price)
            steps.append(TraceStep(now_ns, at_ns, row, before, after, glance))

    def _see(self, market: Market, row: TraceRow) -> None:
        """Note how far the market came while the order stood there."""
        trace, seen_ns = self._trace, row.exchange_ns if row.open_ns is None else row.open_ns
        for price in (row.price, row.low, row.high):
            # What was traded before its arrival, or within a candle of that, cannot meet it.
            if price is not None and seen_ns >= self._order.arrived_ns:
                low, high = trace.traded or (price, price)
                trace.traded = min(low, price), max(high, price)
        if isinstance(market, DisplayedMarket) and market.display.is_valid:
            bid, ask = market.display.best(Side.BUY), market.display.best(Side.SELL)
            trace.bids_ticks = _widened(trace.bids_ticks, bid)
            trace.asks_ticks = _widened(trace.asks_ticks, ask)


def _place_of(state: TracedState) -> tuple[int | None, int | None, bool]:
    """Return where an order stands."""
    return state.limit_ticks, state.stop_ticks, state.is_triggered


def _widened(extent: tuple[int, int] | None, ticks: int | None) -> tuple[int, int] | None:
    """Return the lowest and the highest price of those before and one more."""
    if ticks is None:
        return extent
    return (ticks, ticks) if extent is None else (min(ticks, extent[0]), max(ticks, extent[1]))


def row_of(cursor: StreamCursor, row: int) -> TraceRow:
    """Return what a row says, as far as orders go by it."""
    assert cursor.block is not None
    received_ns, exchange_ns = cursor.block.stamps_of(row)
    column, kind = cursor.column, cursor.kind
    match kind:
        case "trade":
            price, qty, side = float(column("price")[row]), float(column("qty")[row]), _SIDES[int(column("side")[row])]
            return TraceRow(kind, received_ns, exchange_ns, price, qty, side)
        case "candle_open":
            return TraceRow(kind, received_ns, exchange_ns, float(column("open")[row]))
        case "candle":
            low, high = float(column("low")[row]), float(column("high")[row])
            opened, open_ns = float(column("open")[row]), int(column("open_ns")[row])
            return TraceRow(kind, received_ns, exchange_ns, low=low, high=high, open=opened, open_ns=open_ns)
        case _:
            return TraceRow(kind, received_ns, exchange_ns)


def _state_of(order: ExchangeOrder) -> TracedState:
    return TracedState(
        order.state,
        order.arrived_ns,
        order.lots,
        order.filled_lots,
        order.limit_ticks,
        None if order.trigger is None else order.trigger.ticks,
        order.is_triggered,
        order.ahead,
        order.shown,
        order.printed,
    )


def _glance(market: Market, order: ExchangeOrder) -> MarketGlance:
    if not isinstance(market, DisplayedMarket) or not market.display.is_valid:
        return MarketGlance(False, None, None, None, None, market.last_price, None, None)
    display, side = market.display, order.side.opposite
    (bid, bid_lots), (ask, ask_lots) = (next(display.levels(each), (None, None)) for each in _SIDES)
    level = None if order.limit_ticks is None else display.shown(order.side, order.limit_ticks)
    reachable = 0
    for ticks, lots in display.levels(side):
        if not order.allows(ticks):
            break
        reachable += max(0, lots - market.taken.get((side, ticks), (0, 0))[0])
    return MarketGlance(True, bid, bid_lots, ask, ask_lots, market.last_price, level, reachable)
