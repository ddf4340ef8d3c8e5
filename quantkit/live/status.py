"""What a run that is under way shows of itself: plain values, taken between two batches."""

import msgspec

from quantkit.feeds.live_source import ConnectionLine
from quantkit.orders import Fill

__all__ = ["ConnectionLine", "LiveStatus", "OrderLine", "PositionLine", "StreamLine"]


class StreamLine(msgspec.Struct, frozen=True, gc=False):
    """One stream of rows: how many, how often, and how late the last one came."""

    name: str  # for example "BTC-USDT book"
    rows: int
    rows_per_s: float
    last_received_ns: int  # 0 before the first row
    lag_ms: float | None  # how late the last row came by the exchange's clock


class PositionLine(msgspec.Struct, frozen=True, gc=False):
    """One holding as the strategy sees it."""

    instrument: str
    qty: float  # signed
    average: float | None
    mark: float | None
    unrealised: float
    realised: float
    currency: str


class OrderLine(msgspec.Struct, frozen=True, gc=False):
    """One order that may still fill."""

    id: str
    instrument: str
    side: str
    qty: float
    filled_qty: float
    price: float | None
    state: str
    tag: str


class LiveStatus(msgspec.Struct, frozen=True, gc=False):
    """A live run at one moment; `equity` and `pnl` are None before everything has a mark."""

    strategy: str
    now_ns: int  # engine time
    wall_ns: int
    started_ns: int
    recording: str  # where it is recorded, "" if nowhere
    currency: str  # of equity and pnl
    equity: float | None
    pnl: float | None
    orders: int  # sent so far
    fills_count: int
    gaps: int
    queue: int  # events received and not yet taken
    queue_max: int
    connections: tuple[ConnectionLine, ...]
    streams: tuple[StreamLine, ...]
    positions: tuple[PositionLine, ...]
    open_orders: tuple[OrderLine, ...]
    last_fills: tuple[Fill, ...]  # newest last, at most ten
    notes: tuple[str, ...]  # warnings and gaps, newest last, at most ten
    behind_ns_max: int = 0  # how far the engine was behind the wall clock at most
