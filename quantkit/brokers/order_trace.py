"""What happened to one order at its exchange, row by row, for whoever asks why it filled or did not."""

from typing import NamedTuple

import msgspec

from quantkit.instruments import Side
from quantkit.orders import OrderState


class TraceEndedError(Exception):
    """The traced order is over: nothing that comes later can say more of it."""


class TracedState(NamedTuple):
    """An order as the exchange held it, in steps; `ahead`, `shown` and `printed` are its place in the queue.

    `arrived_ns` is 0 before it has arrived, and moves where a change loses the place.
    """

    state: OrderState
    arrived_ns: int
    lots: int
    filled_lots: int
    limit_ticks: int | None
    stop_ticks: int | None
    is_triggered: bool
    ahead: int | None
    shown: int | None
    printed: int


class MarketGlance(NamedTuple):
    """The market as an order met it, in steps; None where nothing is displayed.

    Attributes:
        is_displayed: Whether orders are matched on displayed sizes, and they are valid.
        bid_ticks, bid_lots, ask_ticks, ask_lots: Best bid and offer.
        last_price: The last traded price.
        level_lots: Displayed at the order's limit on its own side.
        reachable_lots: Displayed on the other side within the limit, less what we had taken.
        mark_price: By which the exchange closed the position itself.
    """

    is_displayed: bool
    bid_ticks: int | None
    bid_lots: int | None
    ask_ticks: int | None
    ask_lots: int | None
    last_price: float | None
    level_lots: int | None
    reachable_lots: int | None
    mark_price: float | None = None


class TraceRow(NamedTuple):
    """The row behind a change: its stamps, and what it says.

    Attributes:
        kind: `book`, `ticker`, `trade`, `candle` or `candle_open`.
        received_ns, exchange_ns: Its stamps.
        price, qty, side: Of a trade; the price of an open.
        low, high, open, open_ns: Of a candle.
    """

    kind: str
    received_ns: int
    exchange_ns: int
    price: float | None = None
    qty: float | None = None
    side: Side | None = None
    low: float | None = None
    high: float | None = None
    open: float | None = None
    open_ns: int | None = None


class TraceStep(msgspec.Struct, frozen=True):
    """One change of the order.

    Attributes:
        now_ns: Engine time.
        exchange_ns: When it was by the exchange's clock; of the sending, when that was.
        row: The row that made the change; None for a message of ours, and for what passing time did.
        before: None at first.
        glance: The market at that moment; of a row, after it.
    """

    now_ns: int
    exchange_ns: int
    row: TraceRow | None
    before: TracedState | None
    after: TracedState
    glance: MarketGlance


class OrderTrace:
    """The changes of one order; a broker that can follow one writes them.

    Args:
        order_id: The id.

    Attributes:
        instrument: The order's, once the exchange has it.
        steps: Its changes, in order.
        bids_ticks, asks_ticks: Lowest and highest best bid and offer displayed while it stood where it stood last, at
            its limit or with its trigger; None without any.
        traded: Lowest and highest price traded meanwhile that it could meet; None without any.
    """

    def __init__(self, order_id: str) -> None:
        self.order_id = order_id
        self.instrument = ""
        self.steps: list[TraceStep] = []
        self.bids_ticks: tuple[int, int] | None = None
        self.asks_ticks: tuple[int, int] | None = None
        self.traded: tuple[float, float] | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen to the order any more."""
        return bool(self.steps) and self.steps[-1].after.state.is_final

    @property
    def has_arrived(self) -> bool:
        """Whether the order has reached its exchange."""
        return bool(self.steps) and self.steps[-1].after.arrived_ns != 0
