"""What a run that is under way shows of itself: plain values, taken between two batches."""

import msgspec

from quantkit.feeds.live_source import ConnectionLine
from quantkit.orders import Fill, PositionSide, leg_of

__all__ = [
    "BookLadder",
    "ConnectionLine",
    "GapLine",
    "LiveStatus",
    "LogLine",
    "MarkPath",
    "OrderLine",
    "PositionLine",
    "RunHistory",
    "StreamLine",
]


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
    position_side: PositionSide = PositionSide.NET  # the leg in the long/short mode

    @property
    def name(self) -> str:
        """The instrument, with the side of a leg behind it."""
        return leg_of(self.instrument, self.position_side)


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
    sent_ns: int = 0
    queue_ahead: float | None = None  # size displayed in front of it; None where that is not known
    position_side: PositionSide = PositionSide.NET  # the leg in the long/short mode

    @property
    def name(self) -> str:
        """The instrument, with the side of a leg behind it."""
        return leg_of(self.instrument, self.position_side)


class BookLadder(msgspec.Struct, frozen=True, gc=False):
    """The best levels of one book, each side from the best price on, as (price, size)."""

    instrument: str
    received_ns: int
    bids: tuple[tuple[float, float], ...]  # at most twelve
    asks: tuple[tuple[float, float], ...]


class MarkPath(msgspec.Struct, frozen=True, gc=False):
    """The last marks of one instrument.

    Statuses overlap, so that one that was missed leaves no hole: take the points after the last that you have.
    """

    instrument: str
    time_ns: tuple[int, ...]  # engine time, rising; at most 64, in a history 480
    price: tuple[float, ...]


class RunHistory(msgspec.Struct, frozen=True, gc=False):
    """The last hour of a run, as the lowest and the highest point of each quarter of a minute."""

    prices: tuple[MarkPath, ...] = ()
    equity: MarkPath = MarkPath("", (), ())


class GapLine(msgspec.Struct, frozen=True, gc=False):
    """One loss of data."""

    at_ns: int  # when the strategy was told
    instrument: str
    channel: str
    from_ns: int
    to_ns: int
    cause: str


class LogLine(msgspec.Struct, frozen=True, gc=False):
    """One thing that happened: `kind` is `order`, `fill`, `gap` or `command`."""

    at_ns: int
    kind: str
    text: str


class LiveStatus(msgspec.Struct, frozen=True, gc=False):
    """A live run at one moment; `equity` and what follows from it is None before everything has a mark.

    Attributes:
        number: Counts the statuses of a run, from 1.
        is_paused: Whether new orders are refused by a command from outside.
        pnl_today: Since the last UTC midnight, or since the start if that was later.
        drawdown: Below the highest equity so far, a negative fraction; 0 at the peak.
        fees: Paid so far, by currency.
        books: Of at most eight instruments, those that are traded first.
        prices: Marks of at most 32 instruments.
        gap_lines, log: The newest last; at most 20 and 40.
        rows_per_s: Of all streams.
        latency_p50_ms, latency_p99_ms: From the receipt of a batch's first row to the engine, over the last half minute
            to a minute; None while nothing came.
        recorded_bytes: Length of tape and engine log.
    """

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
    number: int = 0
    is_paused: bool = False
    pnl_today: float | None = None
    drawdown: float | None = None
    fees: dict[str, float] = {}
    books: tuple[BookLadder, ...] = ()
    prices: tuple[MarkPath, ...] = ()
    gap_lines: tuple[GapLine, ...] = ()
    log: tuple[LogLine, ...] = ()
    rows_per_s: float = 0.0
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None
    recorded_bytes: int = 0
