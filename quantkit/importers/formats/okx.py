"""OKX's daily and monthly files: zip with CSV, tar.gz with lines of JSON."""

from typing import Final

import msgspec

from quantkit.clock import NS_PER_MIN
from quantkit.importers.formats.record import Format
from quantkit.importers.formats.symbols import okx

_NAME: Final = (
    r"^(?P<symbol>[A-Z0-9]+(?:-[A-Z0-9_]+)+?)-(?:agg)?(?:trades|candlesticks?|candles?|fundingrates|L2orderbook)\b"
)


class _OkxBook(msgspec.Struct):
    """The beginning of one line of the books."""

    instId: str  # noqa: N815  OKX's word
    action: str
    ts: str
    asks: msgspec.Raw


_book: Final = msgspec.json.Decoder(_OkxBook)


def _is_book(lines: list[bytes]) -> bool:
    try:
        return all(_book.decode(line).action in ("snapshot", "update") for line in lines)
    except msgspec.DecodeError:
        return False


def _symbol(lines: list[bytes]) -> str:
    return _book.decode(lines[0]).instId


FORMATS: Final = (
    Format(
        name="okx/trades",
        title="OKX trades, daily and monthly files",
        holds="trade",
        headers=("instrument_name,trade_id,side,price,size,created_time", "trade_id,side,size,price,created_time"),
        columns={
            "instrument": "instrument_name",
            "trade_id": "trade_id",
            "side": "side",
            "price": "price",
            "qty": "size",
            "time": "created_time",
        },
        name_pattern=_NAME,
        instrument=okx,
    ),
    Format(
        name="okx/candles",
        title="OKX candles, daily and monthly files",
        holds="candle",
        headers=("instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm",),
        columns={
            "instrument": "instrument_name",
            "time": "open_time",
            "open": "open",
            "high": "high",
            "low": "low",
            "close": "close",
            "volume": "vol",
            "coins": "vol_ccy",
            "confirm": "confirm",
        },
        name_pattern=_NAME,
        instrument=okx,
    ),
    Format(
        name="okx/funding",
        title="OKX settled funding rates",
        holds="funding",
        headers=("instrument_name,funding_rate,funding_time",),
        columns={"instrument": "instrument_name", "rate": "funding_rate", "time": "funding_time"},
        name_pattern=_NAME,
        instrument=okx,
        # Stamps come up to two seconds late.
        round_ns=NS_PER_MIN,
    ),
    Format(
        name="okx/books",
        title="OKX order books, 50, 400 or 5,000 levels",
        holds="book",
        lines=_is_book,
        reader="okx",
        symbol_of=_symbol,
        name_pattern=_NAME,
        instrument=okx,
        notes=(
            "OKX's books have neither sequence numbers nor receipt times: nobody can prove that no update is missing",
        ),
    ),
)
