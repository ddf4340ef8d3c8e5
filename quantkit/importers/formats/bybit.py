"""Bybit's public files: trades of contracts and spot, candles for MetaTrader, order books as lines of JSON."""

import re
from typing import Final

import msgspec
import numpy as np

from quantkit.importers.formats.record import OHLCV, Format, Named, Table
from quantkit.importers.formats.symbols import of_venue, pair_of

_TRADES: Final = "timestamp,symbol,side,size,price,tickdirection,trdmatchid,grossvalue,homenotional,foreignnotional"
_TRADE: Final = {"time": "timestamp", "instrument": "symbol", "side": "side", "qty": "size", "price": "price"}
_NAME: Final = r"^(?P<symbol>[A-Z0-9]+?)[_-]?[0-9]{4}-[0-9]{2}"


def linear(symbol: str) -> Named:
    """Return a linear contract, whose sizes are coins.

    Examples:
        >>> linear("BTCUSDT").id, linear("BTCPERP").id, linear("BTCUSDT-26DEC25").fields
        ('bybit:BTC-USDT-SWAP', 'bybit:BTC-USDC-SWAP', {'kind': 'future'})
    """
    name, _, date = symbol.upper().partition("-")
    base, quote = (name.removesuffix("PERP"), "USDC") if name.endswith("PERP") else pair_of(name) or (name, "USDT")
    if date:
        return Named(f"bybit:{base}-{quote}-{date}", {"kind": "future"})
    return Named(f"bybit:{base}-{quote}-SWAP", {"kind": "swap"})


def inverse(symbol: str) -> Named:
    """Return an inverse contract, whose sizes are dollars.

    Examples:
        >>> inverse("BTCUSD").id, inverse("BTCUSDH26").fields["kind"]
        ('bybit:BTC-USD-SWAP', 'future')
    """
    base, _, date = symbol.upper().partition("USD")
    fields = {"kind": "future" if date else "swap", "is_inverse": True, "contract_value": "1"}
    return Named(f"bybit:{base}-USD-{date or 'SWAP'}", fields)


def _spot(symbol: str) -> Named:
    return of_venue("bybit", symbol)


def _is_linear(table: Table) -> bool:
    return _are_seconds(table) and np.allclose(table.numbers("size"), table.numbers("homenotional"), rtol=1e-6)


def _is_inverse(table: Table) -> bool:
    return _are_seconds(table) and np.allclose(table.numbers("size"), table.numbers("foreignnotional"), rtol=1e-6)


def _are_seconds(table: Table) -> bool:
    return all(re.fullmatch(r"[12][0-9]{9}(?:\.[0-9]+)?", text) for text in table.texts("timestamp"))


class _BybitBook(msgspec.Struct):
    topic: str
    type: str
    ts: int


_book: Final = msgspec.json.Decoder(_BybitBook)


def _is_book(lines: list[bytes]) -> bool:
    try:
        return all(_book.decode(line).topic.startswith("orderbook.") for line in lines)
    except msgspec.DecodeError:
        return False


def _book_symbol(lines: list[bytes]) -> str:
    return _book.decode(lines[0]).topic.rpartition(".")[2]


def _book_instrument(symbol: str) -> Named:
    """Return the contract of a book; the market is in no line of it, and spot books are told by the user."""
    return inverse(symbol) if re.fullmatch(r"[A-Z0-9]+USD(?:[FGHJKMNQUVXZ][0-9]{2})?", symbol) else linear(symbol)


FORMATS: Final = (
    Format(
        name="bybit/linear-trades",
        title="Bybit trades of linear contracts",
        holds="trade",
        headers=(_TRADES,),
        columns=_TRADE,
        test=_is_linear,
        test_says="with sizes equal to homeNotional",
        instrument=linear,
    ),
    Format(
        name="bybit/inverse-trades",
        title="Bybit trades of inverse contracts",
        holds="trade",
        headers=(_TRADES,),
        columns=_TRADE,
        test=_is_inverse,
        test_says="with sizes equal to foreignNotional",
        instrument=inverse,
    ),
    Format(
        name="bybit/spot-trades",
        title="Bybit spot trades",
        holds="trade",
        headers=("id,timestamp,price,volume,side",),
        # The id counts from 1 in each file, and so is none.
        columns={"time": "timestamp", "price": "price", "qty": "volume", "side": "side"},
        name_pattern=_NAME,
        instrument=_spot,
    ),
    Format(
        name="bybit/metatrader",
        title="Bybit candles for MetaTrader",
        holds="candle",
        shapes=("time:yyyy.mm.dd_hh:mm open:number high:number low:number close:number volume:number",),
        columns=OHLCV | {"time": "time"},
        name_pattern=r"^(?P<symbol>[A-Z0-9]+)_(?P<interval>[0-9]+)_[0-9]{4}-",
        instrument=linear,
    ),
    Format(
        name="bybit/books",
        title="Bybit order books",
        holds="book",
        lines=_is_book,
        reader="bybit",
        symbol_of=_book_symbol,
        instrument=_book_instrument,
        notes=("the lines of Bybit's books do not tell contracts from spot; --instrument names a spot pair",),
    ),
)
