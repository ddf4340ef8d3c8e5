"""Exports of MetaTrader 4 and 5, in the time of the broker's server, which nobody but the user knows."""

from typing import Final

from quantkit.importers.formats.record import Format, Named
from quantkit.importers.formats.symbols import joined

#: MetaTrader 5 writes `US500_M1_...`, MetaTrader 4 `EURUSD60.csv`, where only letters are the symbol's for sure.
_NAME: Final = r"^(?P<symbol>[A-Za-z0-9.#]+?(?=_)|[A-Za-z#]+(?=[0-9]*\.(?:csv|txt)$))"
_PRICES: Final = "open:number high:number low:number close:number volume:int"
_BAR: Final = {name: f"<{name}>" for name in ("open", "high", "low", "close")} | {"volume": "<tickvol>"}
_BIDS: Final = "MetaTrader's candles are of bid prices, and their volume counts changes of the price"


def _named(symbol: str) -> Named:
    return Named(f"metatrader:{joined(symbol.partition('.')[0])}", {"kind": "spot"})


FORMATS: Final = (
    Format(
        name="metatrader/mt4",
        title="MetaTrader 4 candles",
        holds="candle",
        shapes=(f"day:yyyy.mm.dd time:hh:mm {_PRICES}",),
        columns={name: name for name in ("day", "time", "open", "high", "low", "close", "volume")},
        path=r"(?i)(?<![a-z])(?:mt4|metatrader_?4)(?![a-z0-9])",
        question="Are they HistData's, in Eastern time, or of a broker's MetaTrader 4, in its own?",
        name_pattern=_NAME,
        instrument=_named,
        skips_quiet=True,
        notes=(_BIDS,),
    ),
    Format(
        name="metatrader/mt5-bars",
        title="MetaTrader 5 candles",
        holds="candle",
        headers=("<date>,<time>,<open>,<high>,<low>,<close>,<tickvol>,<vol>,<spread>",),
        columns={**_BAR, "day": "<date>", "time": "<time>"},
        delimiter="\t",
        name_pattern=_NAME,
        instrument=_named,
        skips_quiet=True,
        notes=(_BIDS,),
    ),
    Format(
        name="metatrader/mt5-days",
        title="MetaTrader 5 candles of days and weeks",
        holds="candle",
        headers=("<date>,<open>,<high>,<low>,<close>,<tickvol>,<vol>,<spread>",),
        columns={**_BAR, "time": "<date>"},
        delimiter="\t",
        name_pattern=_NAME,
        instrument=_named,
        skips_quiet=True,
        notes=(_BIDS,),
    ),
    Format(
        name="metatrader/mt5-ticks",
        title="MetaTrader 5 ticks",
        holds="none",
        headers=("<date>,<time>,<bid>,<ask>,<last>,<volume>,<flags>",),
        delimiter="\t",
        left_out="whether an empty bid or ask means an unchanged one is not documented",
    ),
)
