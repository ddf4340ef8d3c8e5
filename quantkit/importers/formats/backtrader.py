"""backtrader's own data: days, and minutes that bear the time of their close."""

from typing import Final

from quantkit.importers.formats.record import OHLCV, Format, Table

_HEADERS: Final = ("date,time,open,high,low,close,volume,openinterest", "date,open,high,low,close,volume,openinterest")
#: The header line may lack the name of the time of day.
_SHAPE: Final = "day:any time:clock " + " ".join(f"{name}:number" for name in OHLCV) + " openinterest:number"
_CANDLE: Final = OHLCV | {"time": "time"}


def _has_days(table: Table) -> bool:
    return "time" not in table and all(len(text) <= len("2006-01-02") for text in table.texts("date"))


def _has_clocks(table: Table) -> bool:
    return "time" in table and all(":" in text for text in table.texts("time"))


FORMATS: Final = (
    Format(
        name="backtrader/days",
        title="backtrader candles of days",
        holds="candle",
        headers=_HEADERS[1:],
        columns={**_CANDLE, "time": "date"},
        test=_has_days,
        skips_quiet=True,
    ),
    *(
        Format(
            name=f"backtrader/{name}",
            title=f"backtrader candles with the time of their {says}",
            holds="candle",
            headers=_HEADERS,
            shapes=(_SHAPE,),
            columns={**_CANDLE, "day": "da*"},
            test=_has_clocks,
            path=path,
            question="Does each row bear the time at which its candle closed, as backtrader has it, or opened?",
            stamps_close=says == "close",
            skips_quiet=True,
        )
        for name, says, path in (("minutes", "close", r"(?i)backtrader"), ("minutes-by-open", "open", r"(?i)by.open"))
    ),
)
