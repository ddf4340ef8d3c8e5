"""OKX v5 wire forms of market data: msgspec structs of what stands in frames and replies.

OKX sends numbers as text and "no value" as the empty string; `grammar` has the rules. Unknown fields are ignored, and
fields that came or went over the years have defaults, so that recordings of every generation decode. Of a key that
comes twice in one object the last counts. Source: OKX API v5, WebSocket channels.

Whole numbers of the busiest rows (times, ids, counts) are read by msgspec itself, which takes what JSON calls a number
of a whole value, quoted or bare; they are exact and within their bounds, or refused.
"""

from typing import Annotated, Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec
from msgspec import Meta

from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.codec.grammar import instrument_id, number, time_ns, whole

__all__ = [
    "DECODE_ERRORS",
    "Arg",
    "BookRow",
    "CandleRow",
    "Envelope",
    "FundingRow",
    "IndexRow",
    "InstrumentRow",
    "MarkRow",
    "OpenInterestRow",
    "PrivatePush",
    "Push",
    "RestReply",
    "Rows",
    "StatusRow",
    "TickerRow",
    "TradeRow",
    "instrument_id",
    "number",
    "time_ns",
    "whole",
]

#: What msgspec raises for text that is not JSON of the form asked for; invalid UTF-8 and deep nesting have their own.
DECODE_ERRORS: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

#: A time between 2001 and 2096, an id of at most 18 digits, a number of matches, and a sequence number, which storage
#: keeps in 64 bits.
Millis: TypeAlias = Annotated[int, Meta(ge=10**12, lt=4 * 10**12)]
Id: TypeAlias = Annotated[int, Meta(gt=-(10**18), lt=10**18)]
Count: TypeAlias = Annotated[int, Meta(ge=0, lt=10**18)]
Sequence64: TypeAlias = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
Empty: TypeAlias = Literal[""]
_WireRow = TypeVar("_WireRow")


class Arg(msgspec.Struct, frozen=True, rename="camel"):
    """The argument of a subscription; every push repeats it."""

    channel: str = ""
    inst_id: str = ""
    inst_type: str = ""
    inst_family: str = ""
    ccy: str = ""
    extra_params: str = ""

    @property
    def subscription(self) -> Channel:
        """The same as a subscription."""
        return Channel(self.channel, self.inst_id, self.inst_type, self.inst_family, self.ccy, self.extra_params)


class Envelope(msgspec.Struct, rename="camel"):
    """Every field of a frame but its data."""

    event: str | None = None
    arg: Arg | None = None
    code: str | int = ""
    msg: str | None = ""
    id: str | None = None
    op: str | None = None
    channel: str = ""
    conn_count: str | int = ""
    conn_id: str = ""


class Rows(msgspec.Struct, Generic[_WireRow], gc=False):
    """A push of a channel whose rows name their instrument."""

    data: list[_WireRow]


class Push(msgspec.Struct, Generic[_WireRow], gc=False):
    """A push of a channel whose rows need the subscription's argument."""

    data: list[_WireRow]
    arg: Arg
    action: str | None = None


class PrivatePush(msgspec.Struct, rename="camel"):
    """A push of a private channel; the last three are those of account and positions."""

    data: list[dict[str, Any]]
    arg: Arg
    event_type: str = ""
    cur_page: int | None = None
    last_page: bool | None = None


# Fields stand in the order in which OKX sends them, which is the quickest to decode; any other order is as good.


class BookRow(msgspec.Struct, rename="camel", gc=False):
    """books, books5, books-l2-tbt, books50-l2-tbt and bbo-tbt; a level is [price, size, ...]."""

    asks: list[list[Any]]
    bids: list[list[Any]]
    ts: str
    checksum: int | None = None
    seq_id: Sequence64 | None = None
    prev_seq_id: Sequence64 | None = None


class TickerRow(msgspec.Struct, rename="camel", gc=False, kw_only=True):
    """tickers."""

    inst_id: str
    last: str = ""
    last_sz: str = ""
    ask_px: str = ""
    ask_sz: str = ""
    bid_px: str = ""
    bid_sz: str = ""
    ts: Millis


class TradeRow(msgspec.Struct, rename="camel", gc=False, kw_only=True):
    """trades and trades-all; `count` and `seqId` are younger than 2022."""

    inst_id: str
    trade_id: Id | Empty = ""
    px: str
    sz: str
    side: str
    ts: Millis
    count: Count | Empty = ""
    seq_id: Sequence64 | None = None


class CandleRow(msgspec.Struct, array_like=True):
    """candle bars: an array; `confirm` is "1" once the bar is closed."""

    ts: str
    open: str
    high: str
    low: str
    close: str
    vol: str
    vol_ccy: str = ""
    vol_ccy_quote: str = ""
    confirm: str = ""


class FundingRow(msgspec.Struct, rename="camel"):
    """funding-rate: the prediction for `funding_time`, and the rate of the last settlement."""

    inst_id: str
    funding_rate: str
    funding_time: str
    next_funding_time: str = ""
    sett_state: str = ""
    sett_funding_rate: str = ""
    ts: str = ""


class MarkRow(msgspec.Struct, rename="camel"):
    """mark-price."""

    inst_id: str
    mark_px: str
    ts: str


class IndexRow(msgspec.Struct, rename="camel"):
    """index-tickers."""

    inst_id: str
    idx_px: str
    ts: str


class OpenInterestRow(msgspec.Struct, rename="camel"):
    """open-interest."""

    inst_id: str
    oi: str
    ts: str
    oi_ccy: str = ""
    oi_usd: str = ""


class InstrumentRow(msgspec.Struct, rename="camel"):
    """One row of `public/instruments` or of the instruments channel, as text; `instrument_of` reads it."""

    inst_id: str
    inst_type: str
    state: str = ""
    base_ccy: str = ""
    quote_ccy: str = ""
    settle_ccy: str = ""
    ct_val: str = ""
    ct_mult: str = ""
    ct_val_ccy: str = ""
    ct_type: str = ""
    tick_sz: str = ""
    lot_sz: str = ""
    min_sz: str = ""
    inst_family: str = ""
    uly: str = ""
    list_time: str = ""
    exp_time: str = ""
    inst_id_code: int | None = None
    max_lmt_sz: str = ""
    max_mkt_sz: str = ""
    max_lmt_amt: str = ""
    max_mkt_amt: str = ""


class StatusRow(msgspec.Struct, rename="camel"):
    """status: planned and running maintenance."""

    title: str = ""
    state: str = ""
    begin: str = ""
    end: str = ""
    service_type: str = ""
    env: str = ""
    ts: str = ""


class RestReply(msgspec.Struct):
    """The outside of a REST reply; gateway failures carry no data and may send the code as a number."""

    code: str | int
    msg: str | None = ""
    data: msgspec.Raw = msgspec.Raw(b"")
