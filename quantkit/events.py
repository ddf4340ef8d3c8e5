"""What the market says: one frozen struct for each kind of event.

Prices and sizes are floats parsed once from the exchange's text. Sizes are base units for spot and contracts for
swaps and futures. Stamps are integer UTC nanoseconds; `received_ns` is the order of replay.
"""

from typing import Final, TypeAlias

import msgspec

from quantkit.instruments import Instrument, Side


class Ticker(msgspec.Struct, frozen=True, gc=False):
    """Best bid and offer, with the last trade where the source has it; None where a side is empty."""

    instrument: str
    exchange_ns: int
    received_ns: int
    bid: float | None
    bid_qty: float | None
    ask: float | None
    ask_qty: float | None
    last: float | None = None
    last_qty: float | None = None


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One public print: somebody traded."""

    instrument: str
    exchange_ns: int
    received_ns: int
    price: float
    qty: float
    side: Side  # of the taker
    trade_id: int = 0  # 0 where the source gives none


class Candle(msgspec.Struct, frozen=True, gc=False):
    """One closed interval; delivered at `close_ns`, never before."""

    instrument: str
    exchange_ns: int
    received_ns: int
    open_ns: int
    close_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    interval: str


class BookUpdate(msgspec.Struct, frozen=True, gc=False):
    """A snapshot of the book or the levels that changed; size 0 removes a level.

    `seq` and `prev_seq` are the exchange's own numbers, 0 and -1 where it gives none.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    bid_prices: tuple[float, ...]
    bid_qtys: tuple[float, ...]
    ask_prices: tuple[float, ...]
    ask_qtys: tuple[float, ...]
    is_snapshot: bool
    seq: int = 0
    prev_seq: int = -1


class Mark(msgspec.Struct, frozen=True, gc=False):
    """The price a position is valued at."""

    instrument: str
    exchange_ns: int
    received_ns: int
    price: float
    source: str = "mark"  # or "index"


class Funding(msgspec.Struct, frozen=True, gc=False):
    """A funding rate as a fraction of the notional; longs pay a positive one. Only settled rates are charged."""

    instrument: str
    exchange_ns: int
    received_ns: int
    rate: float
    funding_ns: int
    is_settled: bool


class Gap(msgspec.Struct, frozen=True, gc=False):
    """Something was lost between two moments; a gap in `book` also makes the book invalid."""

    instrument: str
    exchange_ns: int
    received_ns: int
    channel: str
    from_ns: int
    to_ns: int
    cause: str


class Timing(msgspec.Struct, frozen=True, gc=False):
    """When a message of a live run left, or since when the clocks were so far apart; both stamps are engine time.

    Attributes:
        number: Of the message in its run, counted from 1; 0 for a step of the offset, which holds from `sent_ns` on.
        sent_ns: When it left, by our clock.
        offset_ns: Our clock less the exchange's.
        sender: Stands for the strategy with its parameters; empty for a step of the offset.
    """

    instrument: str
    exchange_ns: int
    received_ns: int
    number: int
    sent_ns: int
    offset_ns: int
    sender: str = ""


class InstrumentChange(msgspec.Struct, frozen=True):
    """An instrument's metadata are others from now on; no market data, but a row in their order."""

    instrument: str
    exchange_ns: int
    received_ns: int
    info: Instrument


MarketEvent: TypeAlias = Ticker | Trade | Candle | BookUpdate | Mark | Funding | Gap | Timing

#: What a feed yields rows of.
Row: TypeAlias = MarketEvent | InstrumentChange

#: Rank of each kind of row among rows of one stamp, lower first: the one table of the total order. Funding comes after
#: the marks and candles of its boundary, which value it, and before all that belongs after the boundary.
RANKS: Final[dict[str, int]] = {
    "gap": 0,
    "mark": 1,
    "candle": 2,
    "funding": 3,
    "instrument": 4,
    "candle_open": 5,  # a candle's open price, after every candle that closes at that instant
    "book": 6,
    "ticker": 7,
    "trade": 8,
    "timing": 9,  # never among the rows of a run; a replay reads it beforehand
}

EVENT_TYPES: Final[dict[str, type[MarketEvent]]] = {
    "gap": Gap,
    "mark": Mark,
    "candle": Candle,
    "funding": Funding,
    "book": BookUpdate,
    "ticker": Ticker,
    "trade": Trade,
    "timing": Timing,
}
KINDS: Final[dict[type[MarketEvent], str]] = {event: kind for kind, event in EVENT_TYPES.items()}
