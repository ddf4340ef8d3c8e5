"""Coinbase's candles as objects of JSON, as Advanced Trade answers; lists are told by their prices."""

from typing import Final

from quantkit.importers.formats.record import OHLCV, Format
from quantkit.importers.formats.symbols import of_venue

FORMATS: Final = (
    Format(
        name="coinbase/candles",
        title="Coinbase Advanced Trade candles",
        holds="candle",
        headers=("start,low,high,open,close,volume",),
        columns=OHLCV | {"time": "start"},
        name_pattern=r"^(?P<symbol>[A-Z0-9]+-[A-Z]{3,5})(?![A-Z0-9])",
        instrument=lambda symbol: of_venue("coinbase", symbol),
        skips_quiet=True,
        last_is_open=True,
    ),
)
