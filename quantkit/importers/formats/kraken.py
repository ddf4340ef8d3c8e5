"""Kraken's archives: OHLCVT of every pair and interval, and trades without their sides."""

from typing import Final

from quantkit.importers.formats.record import OHLCV, Format, Named, Table
from quantkit.importers.formats.symbols import joined

_NAMES: Final = {"XBT": "BTC", "XDG": "DOGE"}
_MINUTES: Final = "1|5|15|30|60|240|720|1440"


def kraken(symbol: str) -> Named:
    """Return a pair of Kraken, whose Bitcoin is XBT and whose Dogecoin is XDG.

    Examples:
        >>> kraken("XBTUSD").id, kraken("XDGUSD").id, kraken("ETHXBT").id
        ('kraken:BTC-USD', 'kraken:DOGE-USD', 'kraken:ETH-BTC')
    """
    name = symbol.upper()
    for theirs, ours in _NAMES.items():
        if name.startswith(theirs):
            name = ours + name.removeprefix(theirs)
        if name.endswith(theirs):
            name = name.removesuffix(theirs) + ours
    return Named(f"kraken:{joined(name)}", {"kind": "spot"})


def _is_ordered(table: Table) -> bool:
    """Return whether prices are open, high, low, close, and trades whole numbers of which each candle has some."""
    highs, lows = table.numbers("high"), table.numbers("low")
    inside = [(table.numbers(name) <= highs) & (table.numbers(name) >= lows) for name in ("open", "close")]
    return bool(inside[0].all() and inside[1].all() and (table.numbers("trades") > 0).all())


FORMATS: Final = (
    Format(
        name="kraken/candles",
        title="Kraken OHLCVT candles",
        holds="candle",
        shapes=("time:seconds open:number high:number low:number close:number volume:number trades:int",),
        columns=OHLCV | {"time": "time"},
        test=_is_ordered,
        test_says="with the high the highest, the low the lowest and trades in each candle",
        name_pattern=rf"^(?P<symbol>[A-Z0-9]+)_(?P<interval>{_MINUTES})\.csv",
        instrument=kraken,
        skips_quiet=True,
    ),
    Format(
        name="kraken/trades",
        title="Kraken trades",
        holds="none",
        shapes=("time:seconds price:number volume:number",),
        left_out="they have neither sides nor ids; take Kraken's candles",
    ),
)
