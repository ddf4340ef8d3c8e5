"""OKX v5 wire forms of market data: msgspec structs, and the one strict grammar of its numbers.

OKX sends numbers as text and "no value" as the empty string. Unknown fields are ignored, and fields that came or went
over the years have defaults, so that recordings of every generation decode. Source: OKX API v5, public channels.
"""

import re
from functools import lru_cache
from sys import intern
from typing import Final

import msgspec

from quantkit.clock import NS_PER_MS
from quantkit.errors import ConfigError, ParseError
from quantkit.instruments import check_id

_NUMBER: Final = re.compile(r"-?[0-9]{1,24}(?:\.[0-9]{1,24})?").fullmatch
_WHOLE: Final = re.compile(r"-?[0-9]{1,18}").fullmatch
_TIME_MS: Final = re.compile(r"[0-9]{1,13}").fullmatch
#: The last millisecond that fits into 64-bit nanoseconds.
_LAST_MS: Final = (2**63 - 1) // NS_PER_MS


class Arg(msgspec.Struct, frozen=True, rename="camel"):
    """What was subscribed; comes back with every push."""

    channel: str = ""
    inst_id: str = ""
    inst_type: str = ""
    inst_family: str = ""


class Envelope(msgspec.Struct, rename="camel"):
    """The outside of every frame; `data` stays undecoded until the channel is known."""

    event: str | None = None
    arg: Arg | None = None
    action: str | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    code: str | int = ""
    msg: str | None = ""
    id: str | None = None
    op: str | None = None
    channel: str = ""
    conn_count: str | int = ""
    conn_id: str = ""


class Level(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One price level with the texts as sent, which the checksum needs; further items are ignored."""

    px: str
    sz: str


class BookRow(msgspec.Struct, rename="camel"):
    """books, books5, books-l2-tbt, books50-l2-tbt and bbo-tbt."""

    asks: list[Level]
    bids: list[Level]
    ts: str
    checksum: int | None = None
    seq_id: int | None = None
    prev_seq_id: int | None = None


class TickerRow(msgspec.Struct, rename="camel"):
    """tickers."""

    inst_id: str
    ts: str
    last: str = ""
    last_sz: str = ""
    ask_px: str = ""
    ask_sz: str = ""
    bid_px: str = ""
    bid_sz: str = ""


class TradeRow(msgspec.Struct, rename="camel"):
    """trades and trades-all; `count`, `source` and `seqId` are younger than 2022."""

    inst_id: str
    px: str
    sz: str
    side: str
    ts: str
    trade_id: str = ""
    count: str = ""
    source: str = ""
    seq_id: int | None = None


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


class InstrumentRow(msgspec.Struct, rename="camel"):
    """One row of `public/instruments` or of the instruments channel, as text; `instrument_of` makes sense of it."""

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


def number(text: str) -> float:
    """Return an OKX number as a float.

    Raises:
        ParseError: The text is not plain digits with an optional sign and fraction, or has too many of them.

    Examples:
        >>> number("0.00000074528"), number("-0.0005")
        (7.4528e-07, -0.0005)
    """
    if _NUMBER(text) is None:
        raise ParseError(f"{text[:40]!r} is not a plain number")
    return float(text)


def price(text: str) -> float:
    """Return a price, which is above zero.

    Raises:
        ParseError: It is not.
    """
    value = number(text)
    if value <= 0.0:
        raise ParseError(f"price {text!r} is not above zero")
    return value


def qty(text: str) -> float:
    """Return a size, which is zero or more.

    Raises:
        ParseError: It is not.
    """
    value = number(text)
    if value < 0.0:
        raise ParseError(f"size {text!r} is below zero")
    return value + 0.0  # "-0" would keep its sign.


def optional_price(text: str) -> float | None:
    """Return a price, or None where OKX has none: the empty text, or zero on an empty side."""
    if not text:
        return None
    value = number(text)
    if value < 0.0:
        raise ParseError(f"price {text!r} is below zero")
    return value or None


def optional_qty(text: str) -> float | None:
    """Return a size, or None for the empty text and for zero, OKX's word for "none"."""
    return (qty(text) or None) if text else None


def whole(text: str) -> int:
    """Return a whole number; the empty text is 0.

    Raises:
        ParseError: The text is something else, or beyond 18 digits.
    """
    if not text:
        return 0
    if _WHOLE(text) is None:
        raise ParseError(f"{text[:40]!r} is not a whole number")
    return int(text)


def time_ns(text: str) -> int:
    """Return an OKX time, text of milliseconds since 1970, as UTC nanoseconds.

    Raises:
        ParseError: The text is something else or beyond the year 2262.

    Examples:
        >>> time_ns("1597026383085")
        1597026383085000000
    """
    if _TIME_MS(text) is None or int(text) > _LAST_MS:
        raise ParseError(f"{text[:40]!r} is not a time in milliseconds")
    return int(text) * NS_PER_MS


@lru_cache(maxsize=8192)
def instrument_id(text: str) -> str:
    """Return an instrument id, interned, after checking that it can stand in a path.

    Raises:
        ParseError: It cannot, or it has a venue prefix, which OKX's own ids do not.
    """
    try:
        check_id(text)
    except ConfigError as error:
        raise ParseError(str(error)) from None
    if ":" in text:
        raise ParseError(f"instrument id {text!r} has a venue prefix")
    return intern(text)
