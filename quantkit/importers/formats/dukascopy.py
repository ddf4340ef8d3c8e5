"""Dukascopy's exports, of the site and of JForex: one side a file, three ways to write times."""

from typing import Final

from quantkit.importers.formats.record import OHLCV, Format, Named
from quantkit.importers.formats.symbols import joined

_PRICES: Final = "open,high,low,close,volume"
_NAME: Final = r"^(?P<symbol>[A-Z0-9./]+?)_(?:Candlestick|[0-9]+ ?(?:Mins?|Hours?|Days?|Secs?)|Ticks|Daily|Hourly)"
_DATE: Final = "%d.%m.%Y %H:%M:%S.%f"
_ONE_SIDE: Final = (
    "Dukascopy's candles are of one side, bid or ask, as the file's name says; their volume has no common unit"
)


def _named(symbol: str) -> Named:
    name = symbol.upper().replace(".", "").replace("/", "")
    pair = f"{name[:3]}-{name[3:]}" if len(name) == 6 else joined(name)
    return Named(f"dukascopy:{pair}", {"kind": "spot"})


FORMATS: Final = (
    *(
        Format(
            name=f"dukascopy/{kind}",
            title=f"Dukascopy candles in {says}",
            holds="candle",
            headers=(f"{column},{_PRICES}",),
            columns={**OHLCV, "time": column},
            name_pattern=_NAME,
            instrument=_named,
            zone=zone,
            time_format=written,
            skips_quiet=True,
            notes=(_ONE_SIDE,),
        )
        for kind, says, column, zone, written in (
            ("candles", "UTC", "gmt time", "UTC", _DATE),
            ("local-candles", "local time with its offset", "local time", "", f"{_DATE} GMT%z"),
            ("jforex", "the time of JForex", "time (eet)", "Europe/Athens", ""),
        )
    ),
    Format(
        name="dukascopy/ticks",
        title="Dukascopy quotes",
        holds="ticker",
        headers=("gmt time,ask,bid,askvolume,bidvolume",),
        columns={"time": "gmt time", "bid": "bid", "ask": "ask"},
        name_pattern=_NAME,
        instrument=_named,
        zone="UTC",
        time_format=_DATE,
        notes=("sizes of Dukascopy's quotes stay out, since their unit differs between exports",),
    ),
)
