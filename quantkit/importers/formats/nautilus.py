"""NautilusTrader's Parquet catalog: trades, quotes and bars in fixed point; its names of instruments."""

import re
from collections.abc import Mapping
from typing import Final

from quantkit.importers.formats.bybit import inverse as bybit_inverse
from quantkit.importers.formats.bybit import linear as bybit_linear
from quantkit.importers.formats.record import OHLCV, Format, Named
from quantkit.importers.formats.symbols import binance, binance_inverse, binance_linear, joined, of_venue, okx

#: The end of a bar type: how long a bar is, and of which prices.
_BAR: Final = re.compile(r"-([0-9]+)-(SECOND|MINUTE|HOUR|DAY|WEEK)-(?:LAST|BID|ASK|MID|MARK)-(?:EX|IN)TERNAL$")
_UNITS: Final = {"SECOND": "s", "MINUTE": "m", "HOUR": "h", "DAY": "d", "WEEK": "w"}
_STAMPS: Final = {"time": "ts_event", "received": "ts_init"}
_ORDERS: Final = "adds and removals of single orders and of levels are not told apart in it"


def nautilus(symbol: str) -> Named:
    """Return what NautilusTrader's name of an instrument stands for: symbol, point, venue.

    Examples:
        >>> nautilus("BTCUSDT-PERP.BINANCE").id, nautilus("ETHUSDT.BINANCE").id, nautilus("BTC-USDT-SWAP.OKX").id
        ('binance:BTC-USDT-SWAP', 'binance:ETH-USDT', 'BTC-USDT-SWAP')
        >>> nautilus("BTCUSDT-LINEAR.BYBIT").id, nautilus("BTC-USD.COINBASE").id, nautilus("AAPL.XNAS").id
        ('bybit:BTC-USDT-SWAP', 'coinbase:BTC-USD', 'xnas:AAPL')
    """
    name, _, venue = symbol.upper().rpartition(".")
    match venue:
        case "OKX":
            return okx(name)
        case "BINANCE" if name.endswith("-PERP"):
            contract = name.removesuffix("-PERP")
            return binance_inverse(contract) if "USD_" in contract else binance_linear(contract)
        case "BINANCE":
            return binance(name)
        case "BYBIT" if name.endswith("-LINEAR"):
            return bybit_linear(name.removesuffix("-LINEAR"))
        case "BYBIT" if name.endswith("-INVERSE"):
            return bybit_inverse(name.removesuffix("-INVERSE"))
        case "BYBIT":
            return of_venue("bybit", name.removesuffix("-SPOT"))
    is_perpetual = name.endswith("-PERP")
    pair = joined(name.removesuffix("-PERP").replace("/", "-"))
    fields = {"kind": "swap" if is_perpetual else "spot"}
    if "-" not in pair:
        fields |= {"base": pair}
    return Named(f"{venue.lower()}:{pair}{'-SWAP' if is_perpetual else ''}", fields, in_contracts=is_perpetual)


def interval_of(bar_type: str) -> str:
    """Return the interval that a bar type names, empty where it is of ticks or volume.

    Examples:
        >>> interval_of("BTCUSDT-PERP.BINANCE-15-MINUTE-LAST-EXTERNAL"), interval_of("AAPL.XNAS-100-TICK-LAST-EXTERNAL")
        ('15m', '')
    """
    match = _BAR.search(bar_type)
    return f"{match[1]}{_UNITS[match[2]]}" if match else ""


def _told(said: Mapping[str, str]) -> tuple[str, str]:
    return said.get("instrument_id", ""), interval_of(said.get("bar_type", ""))


FORMATS: Final = (
    Format(
        name="nautilus/trades",
        title="NautilusTrader trades",
        holds="trade",
        told_by=_told,
        headers=("price,size,aggressor_side,trade_id,ts_event,ts_init",),
        container="arrow",
        columns={**_STAMPS, "price": "price", "qty": "size", "side": "aggressor_side", "trade_id": "trade_id"},
        unsided=frozenset(("0", "no_aggressor")),
        instrument=nautilus,
    ),
    Format(
        name="nautilus/quotes",
        title="NautilusTrader quotes",
        holds="ticker",
        told_by=_told,
        headers=("bid_price,ask_price,bid_size,ask_size,ts_event,ts_init",),
        container="arrow",
        columns={**_STAMPS, "bid": "bid_price", "ask": "ask_price", "bid_qty": "bid_size", "ask_qty": "ask_size"},
        instrument=nautilus,
    ),
    Format(
        name="nautilus/bars",
        title="NautilusTrader bars",
        holds="candle",
        told_by=_told,
        headers=("open,high,low,close,volume,ts_event,ts_init",),
        container="arrow",
        columns=OHLCV | {"time": "ts_event"},
        instrument=nautilus,
        stamps_close=True,
        skips_quiet=True,
        notes=("bars of NautilusTrader are taken as stamped at their close, as it does unless told otherwise",),
    ),
    Format(
        name="nautilus/deltas",
        title="NautilusTrader order-book deltas",
        holds="none",
        headers=("action,side,price,size,order_id,flags,sequence,ts_event,ts_init",),
        container="arrow",
        left_out=_ORDERS,
    ),
    Format(
        name="nautilus/instruments",
        title="NautilusTrader instruments",
        holds="instrument",
        headers=("id,raw_symbol,*,*,*",),
        container="arrow",
        reader="nautilus",
        instrument=nautilus,
    ),
)
