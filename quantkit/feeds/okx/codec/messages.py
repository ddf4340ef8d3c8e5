"""What OKX's public and business channels say: the types of their messages."""

from collections.abc import Sequence
from typing import Final, TypeAlias

import msgspec

from quantkit.events import BookUpdate, Candle, Funding, Mark, OpenInterest, Ticker, Trade
from quantkit.feeds.okx.codec.wire import InstrumentRow

#: OKX's bar names and ours. Plain 6H and longer open on UTC+8 and are not among ours; months have no fixed length.
BARS: Final[dict[str, str]] = {
    "1s": "1s",
    "1m": "1m",
    "3m": "3m",
    "5m": "5m",
    "15m": "15m",
    "30m": "30m",
    "1H": "1h",
    "2H": "2h",
    "4H": "4h",
    "6Hutc": "6h",
    "12Hutc": "12h",
    "1Dutc": "1d",
    "1Wutc": "1w",
}
#: The other bars that OKX has: those that open on UTC+8, and lengths that are no interval of ours.
FOREIGN_BARS: Final = frozenset(
    ("6H", "12H", "1D", "2D", "3D", "5D", "1W", "1M", "3M", "2Dutc", "3Dutc", "5Dutc", "1Mutc", "3Mutc")
)


class MarketData(msgspec.Struct, frozen=True, gc=False):
    """One event that needs no context: a quote, a closed candle, a mark or index price, open interest."""

    channel: str
    event: Ticker | Candle | Mark | OpenInterest


class TradeData(msgspec.Struct, frozen=True, gc=False):
    """One print of `trades` (ids `trade_id - count + 1` to `trade_id`) or `trades-all`.

    `count` and `seq_id` are None in frames from before OKX sent them.
    """

    channel: str
    event: Trade
    count: int | None = None
    seq_id: int | None = None


class FormingCandle(msgspec.Struct, frozen=True, gc=False):
    """The newest state of a bar that is still open; never an event."""

    channel: str
    candle: Candle


class ForeignCandle(msgspec.Struct, frozen=True, gc=False):
    """A bar that no interval of ours describes: it opens on UTC+8, or is two days or a month long.

    It is no `Candle`: a subscriber of `1d` gets days of UTC and nothing else.
    """

    channel: str
    instrument: str
    bar: str  # OKX's name, such as 1D or 1Mutc
    open_ns: int
    received_ns: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    is_closed: bool


class FundingData(msgspec.Struct, frozen=True, gc=False):
    """The predicted rate of the next settlement, and the rate of the last one.

    `settled_rate` belongs to the settlement before `event.funding_ns`; None where the frame does not say, or while that
    settlement is still being processed. `interval_ns` lies between the next settlement and the one after it; None where
    the frame does not say.
    """

    channel: str
    event: Funding
    settled_rate: float | None = None
    interval_ns: int | None = None


class BookData(msgspec.Struct, frozen=True, gc=False):
    """A book snapshot or update with its sequence numbers and checksum, None where not sent.

    `bid_texts` and `ask_texts` are the prices and the sizes as sent, in the order of the update's.
    """

    channel: str
    update: BookUpdate
    bid_texts: tuple[Sequence[str], Sequence[str]]
    ask_texts: tuple[Sequence[str], Sequence[str]]
    checksum: int | None = None
    seq_id: int | None = None
    prev_seq_id: int | None = None


class InstrumentData(msgspec.Struct, frozen=True):
    """An instrument was listed, changed or expired; see `instrument_of`."""

    row: InstrumentRow
    received_ns: int = 0


class Status(msgspec.Struct, frozen=True):
    """Maintenance: `state` is scheduled, ongoing, pre_open, completed, canceled or something new."""

    title: str
    state: str
    service_type: str
    begin_ns: int | None
    end_ns: int | None


class Unknown(msgspec.Struct, frozen=True):
    """Something well-formed that this version does not use; `what` names it for counting."""

    what: str
    instrument: str = ""


MarketMessage: TypeAlias = (
    MarketData | TradeData | FormingCandle | ForeignCandle | FundingData | BookData | InstrumentData | Status | Unknown
)
