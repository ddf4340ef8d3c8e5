"""Flat files of Polygon, now Massive: all tickers of a day in one file."""

from typing import Final

from quantkit.importers.formats.record import OHLCV, Format, Named
from quantkit.importers.formats.symbols import pair_of


def polygon(symbol: str) -> Named:
    """Return a share by its ticker, a pair of coins or currencies by its prefix.

    Examples:
        >>> polygon("AAPL").id, polygon("X:BTCUSD").id, polygon("C:EURUSD").id
        ('polygon:AAPL', 'polygon:BTC-USD', 'polygon:EUR-USD')
    """
    prefix, _, name = symbol.upper().rpartition(":")
    pair = pair_of(name) if prefix in ("X", "C") else None
    if pair is not None:
        return Named(f"polygon:{pair[0]}-{pair[1]}", {"kind": "spot"})
    return Named(f"polygon:{name}", {"kind": "spot", "base": name, "quote": "USD"})


FORMATS: Final = (
    Format(
        name="polygon/candles",
        title="Polygon (Massive) aggregates",
        holds="candle",
        headers=("ticker,volume,open,close,high,low,window_start,transactions",),
        columns=OHLCV | {"time": "window_start", "instrument": "ticker"},
        instrument=polygon,
        skips_quiet=True,
    ),
    Format(
        name="polygon/trades",
        title="Polygon (Massive) trades",
        holds="none",
        headers=("ticker,conditions,correction,exchange,id,participant_timestamp,price",),
        left_out="they have no side",
    ),
)
