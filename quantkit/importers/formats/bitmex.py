"""BitMEX's public dumps: trades and quotes of all instruments of a day."""

import re
from typing import Final

from quantkit.importers.formats.record import Format, Named, Table

_DATED: Final = re.compile(r"([A-Z0-9]+?)(?:USD|USDT|)([FGHJKMNQUVXZ][0-9]{2})").fullmatch
_NAMES: Final = {"XBT": "BTC"}
_STAMPS: Final = "with stamps that have a D between date and time"
_QUOTES: Final = ("USDT", "USDC", "USD", "EUR", "XBT", "ETH")


def bitmex(symbol: str) -> Named:
    """Return a contract of BitMEX; only that of XBTUSD, one dollar, is told by its name.

    Examples:
        >>> bitmex("XBTUSD").fields["contract_value"], bitmex("XBTUSDT").id, bitmex("ETHUSDH24").id
        ('1', 'bitmex:BTC-USDT-SWAP', 'bitmex:ETHUSDH24')
        >>> bitmex("XBT_USDT")
        Named(id='bitmex:BTC-USDT', fields={'kind': 'spot'}, in_contracts=True)
    """
    base, mark, quote = symbol.upper().partition("_")
    if mark:
        return Named(f"bitmex:{_NAMES.get(base, base)}-{quote}", {"kind": "spot"}, in_contracts=True)
    quotes = [each for each in _QUOTES if base.endswith(each) and base != each]
    if _DATED(base) or not quotes:
        return Named(f"bitmex:{base}", {"kind": "future", "base": base, "quote": "USD"}, in_contracts=True)
    quote = max(quotes, key=len)
    coin = base.removesuffix(quote)
    name = f"bitmex:{_NAMES.get(coin, coin)}-{_NAMES.get(quote, quote)}-SWAP"
    if base == "XBTUSD":
        return Named(name, {"kind": "swap", "is_inverse": True, "contract_value": "1"})
    return Named(name, {"kind": "swap"}, in_contracts=True)


def _has_q_stamps(table: Table) -> bool:
    """Return whether a `D` stands between date and time, as only BitMEX's dumps have it."""
    return all(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}D[0-9:.]+", text) for text in table.texts("timestamp"))


FORMATS: Final = (
    Format(
        name="bitmex/trades",
        title="BitMEX trades",
        holds="trade",
        headers=("timestamp,symbol,side,size,price,tickdirection,trdmatchid,grossvalue,homenotional,foreignnotional",),
        columns={"time": "timestamp", "instrument": "symbol", "side": "side", "qty": "size", "price": "price"},
        test=_has_q_stamps,
        test_says=_STAMPS,
        instrument=bitmex,
        zone="UTC",
        unsided=frozenset(("",)),
    ),
    Format(
        name="bitmex/quotes",
        title="BitMEX quotes",
        holds="ticker",
        headers=("timestamp,symbol,bidsize,bidprice,askprice,asksize",),
        columns={
            "time": "timestamp",
            "instrument": "symbol",
            "bid": "bidprice",
            "bid_qty": "bidsize",
            "ask": "askprice",
            "ask_qty": "asksize",
        },
        test=_has_q_stamps,
        test_says=_STAMPS,
        instrument=bitmex,
        zone="UTC",
    ),
)
