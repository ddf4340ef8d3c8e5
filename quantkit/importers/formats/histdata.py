"""HistData's currencies: bid prices in Eastern time without daylight saving, volumes always 0."""

from typing import Final

from quantkit.importers.formats.record import OHLCV, Format, Named
from quantkit.importers.formats.symbols import joined

#: UTC-5 all year; the sign of these names is the other way round.
_ZONE: Final = "Etc/GMT+5"
_NAME: Final = r"(?i)^DAT_[A-Z]+_(?P<symbol>[A-Z0-9]{6,7})_(?:(?P<interval>M1)|T)_"
_BIDS: Final = "HistData's candles are of bid prices, and their volume is unknown: it is always 0"
_CANDLE: Final = OHLCV | {"time": "time"}
_PRICES: Final = "open:number high:number low:number close:number volume:int"


def _named(symbol: str) -> Named:
    """Return a currency pair: `EURUSD` is EUR-USD, whatever the quote."""
    name = symbol.upper()
    pair = f"{name[:3]}-{name[3:]}" if len(name) == 6 else joined(name)
    return Named(f"histdata:{pair}", {"kind": "spot"})


FORMATS: Final = (
    Format(
        name="histdata/candles",
        title="HistData candles of one minute",
        holds="candle",
        shapes=(f"time:yyyymmdd_hhmmss {_PRICES}",),
        columns=_CANDLE,
        delimiter=";",
        name_pattern=_NAME,
        instrument=_named,
        zone=_ZONE,
        time_format="%Y%m%d %H%M%S",
        skips_quiet=True,
        notes=(_BIDS,),
    ),
    Format(
        name="histdata/ticks",
        title="HistData quotes",
        holds="ticker",
        shapes=("time:yyyymmdd_hhmmssmmm bid:number ask:number volume:int",),
        columns={"time": "time", "bid": "bid", "ask": "ask"},
        delimiter=",",
        name_pattern=_NAME,
        instrument=_named,
        zone=_ZONE,
        time_format="%Y%m%d %H%M%S%f",
    ),
    Format(
        name="histdata/metatrader",
        title="HistData candles for MetaTrader",
        holds="candle",
        shapes=(f"day:yyyy.mm.dd time:hh:mm {_PRICES}",),
        columns={**_CANDLE, "day": "day"},
        path="DAT_MT_",
        question="Are they HistData's, in Eastern time, or of a broker's MetaTrader 4, in its own?",
        name_pattern=_NAME,
        instrument=_named,
        zone=_ZONE,
        skips_quiet=True,
        notes=(_BIDS,),
    ),
)
