"""The Bitcoin candles of Bitstamp that Kaggle has had for years."""

from typing import Final

from quantkit.importers.formats.record import OHLC, Format
from quantkit.importers.formats.symbols import of_venue


def _symbol(lines: list[bytes]) -> str:
    return "BTCUSD"


_PRICES: Final = OHLC | {"time": "timestamp"}

FORMATS: Final = (
    Format(
        name="kaggle/bitstamp",
        title="Bitstamp candles of Kaggle",
        holds="candle",
        headers=("timestamp,open,high,low,close,volume_(btc),volume_(currency),weighted_price",),
        columns={**_PRICES, "volume": "volume_(btc)"},
        symbol_of=_symbol,
        instrument=lambda symbol: of_venue("bitstamp", symbol),
        # Quiet minutes are rows of NaN.
        needs=("open", "close"),
        skips_quiet=True,
    ),
    Format(
        name="kaggle/bitstamp-minutes",
        title="Bitstamp candles of Kaggle, newer files",
        holds="candle",
        headers=("timestamp,open,high,low,close,volume",),
        columns={**_PRICES, "volume": "volume"},
        # Others have these columns too.
        name_pattern=r"^(?P<symbol>btcusd)_(?P<interval>1)-min_data",
        needs_name=True,
        instrument=lambda symbol: of_venue("bitstamp", symbol),
        needs=("open", "close"),
        skips_quiet=True,
    ),
)
