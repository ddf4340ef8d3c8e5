"""Exports of MetaTrader 4 and 5, in the time of the broker's server, which nobody but the user knows."""

from typing import Final

import numpy as np

from quantkit.importers.formats.record import OHLCV, Format, Named, Table
from quantkit.importers.formats.symbols import joined

#: MetaTrader 5 writes `US500_M1_...`, MetaTrader 4 `EURUSD60.csv`, where only letters are the symbol's for sure.
_NAME: Final = r"^(?P<symbol>[A-Za-z0-9.#]+?(?=_)|[A-Za-z#]+(?=[0-9]*\.(?:csv|txt)$))"
_PRICES: Final = "open:number high:number low:number close:number volume:int"
_BAR: Final = {name: f"<{name}>" for name in ("open", "high", "low", "close")} | {"volume": "<tickvol>"}
_BIDS: Final = "MetaTrader's candles are of bid prices, and their volume counts changes of the price"


#: The bits of a tick's flags that say what changed.
_CHANGED: Final = {"bid": 2, "ask": 4}


def _flags_tell(table: Table) -> bool:
    """Return whether a price is there just where the flags say that it changed: an empty cell is an unchanged price."""
    flags = table.numbers("<flags>")
    if np.isnan(flags).any():
        return False
    changed = [(flags.astype(np.int64) & bit) > 0 for bit in _CHANGED.values()]
    empty = [np.isnan(table.numbers(f"<{field}>")) for field in _CHANGED]
    return not any((gone & moved).any() for gone, moved in zip(empty, changed, strict=True))


def _named(symbol: str) -> Named:
    return Named(f"metatrader:{joined(symbol.partition('.')[0])}", {"kind": "spot"})


FORMATS: Final = (
    Format(
        name="metatrader/mt4",
        title="MetaTrader 4 candles",
        holds="candle",
        shapes=(f"day:yyyy.mm.dd time:hh:mm {_PRICES}",),
        columns=OHLCV | {"day": "day", "time": "time"},
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
        holds="ticker",
        headers=("<date>,<time>,<bid>,<ask>,<last>,<volume>,<flags>",),
        columns={name: f"<{name}>" for name in ("time", "bid", "ask", "flags")} | {"day": "<date>"},
        test=_flags_tell,
        test_says="with flags that say which of bid and ask changed",
        delimiter="\t",
        name_pattern=_NAME,
        instrument=_named,
        carries=_CHANGED,
        notes=("MetaTrader's ticks are taken as quotes; trades among them, which few brokers have, stay out",),
    ),
)
