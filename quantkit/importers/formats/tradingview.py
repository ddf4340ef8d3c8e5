"""TradingView's exports: named by exchange, symbol and interval; further columns are indicators."""

from typing import Final

from quantkit.importers.formats.record import OHLCV, Format, Named
from quantkit.importers.formats.symbols import joined

_NAME: Final = (
    r"^(?P<venue>[A-Z0-9]+)_(?P<symbol>[A-Za-z0-9.!]+), (?P<interval>[0-9]*[DWM]?)(?:_[0-9a-f]+)?(?: \([0-9]+\))?\.csv$"
)


def market(venue: str, symbol: str) -> Named:
    """Return an instrument of TradingView; `.P` is a perpetual contract.

    Examples:
        >>> market("BINANCE", "BTCUSDT.P").id, market("OKX", "BTCUSDT").id, market("NASDAQ", "AAPL").id
        ('binance:BTC-USDT-SWAP', 'BTC-USDT', 'nasdaq:AAPL')
    """
    is_swap = symbol.upper().endswith(".P")
    name = joined(symbol.upper().removesuffix(".P"))
    prefix = "" if venue == "OKX" else f"{venue.lower()}:"
    fields = {"kind": "swap" if is_swap else "spot"}
    if "-" not in name:
        fields |= {"base": name}
    return Named(f"{prefix}{name}{'-SWAP' if is_swap else ''}", fields)


FORMATS: Final = (
    Format(
        name="tradingview/candles",
        title="TradingView candles",
        holds="candle",
        headers=("time,open,high,low,close",),
        columns=OHLCV | {"time": "time"},
        name_pattern=_NAME,
        needs_name=True,
        market=market,
        last_is_open=True,
        skips_quiet=True,
    ),
)
