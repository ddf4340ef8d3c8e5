"""Pandas frames as data: the checks of imported files, and a remedy for each fault."""

from collections.abc import Iterable, Mapping
from datetime import tzinfo
from typing import TYPE_CHECKING, Final

import numpy as np

from quantkit.clock import NS_PER_DAY, interval_ns, iso_of
from quantkit.errors import ConfigError, DataError
from quantkit.feeds.replay import MemoryFeed
from quantkit.importers.bars import BACKWARD, LAYOUT, PRICES, REPEATED, Bars, Candles
from quantkit.importers.further import further_columns
from quantkit.importers.names import Names
from quantkit.importers.reading import Reading
from quantkit.importers.report import Tally
from quantkit.importers.tables import Chunk, Stamps, TableColumn
from quantkit.importers.time_formats import compact_format, is_iso, year_last_formats
from quantkit.importers.times import TimeReader, implausible, unit_of
from quantkit.instruments import Instrument, plain
from quantkit.storage.reader import BLOCK_ROWS

if TYPE_CHECKING:
    import pandas as pd

#: How many rows left out are named.
_NAMED_ROWS: Final = 3
_REMEDIES: Final[dict[str, str]] = {
    REPEATED: "use frame[~frame.index.duplicated()]",
    BACKWARD: "use frame.sort_index()",
}


def frame_feed(
    frames: Mapping[str, "pd.DataFrame"],
    instruments: Iterable[Instrument],
    *,
    interval: str | Mapping[str, str] | None = None,
    strict: bool = False,
    block_rows: int = BLOCK_ROWS,
) -> MemoryFeed:
    """Return a feed of candles from OHLCV frames on a DatetimeIndex of bar open times.

    The rows are checked as an import checks those of a file. Bars on a smaller step than the interval are left out and
    named; what is missing between bars is a gap. Days from midnight to midnight of the index's zone last 23 or 25 hours
    where clocks change.

    Args:
        frames: By instrument id; columns open, high, low, close and perhaps volume, in any case. Further columns travel
            with their candles. A naive index is taken as UTC when it holds whole days, else refused.
        instruments: Metadata of each.
        interval: Of the candles, for all frames or by id; None takes the most common step, and the result says so.
        strict: Refuse a frame with a row on a smaller step.
        block_rows: Rows per block; changes memory and speed, never results.

    Raises:
        ConfigError: A frame lacks a column or a usable index, a further column holds neither numbers nor texts, or an
            instrument has no metadata.
        DataError: Prices are NaN, infinite or not above zero, OHLC contradict each other, or bars are not rising.
    """
    given = list(instruments)
    known = {instrument.id for instrument in given}
    found: list[Candles] = []
    notes: list[str] = []
    for name, frame in frames.items():
        if name not in known:
            raise ConfigError(
                f"frame {name!r} has no metadata; pass instruments=[Instrument({name!r}, quote=..., price_step=..., "
                "qty_step=...)]"
            )
        tally = _FrameTally(name, is_strict=strict)
        wanted = interval if interval is None or isinstance(interval, str) else interval.get(name)
        candles = _candles(name, frame, tally, wanted)
        found.append(candles)
        notes += [sentence for sentence in (candles.step, *candles.notes, *tally.left_out()) if sentence]
    if isinstance(interval, Mapping) and (unknown := sorted(interval.keys() - frames.keys())):
        raise ConfigError(f"interval names {unknown[0]!r}, of which there is no frame; there is {', '.join(frames)}")
    return MemoryFeed(
        [gap for candles in found for gap in candles.gaps],
        given,
        blocks=[candles.block for candles in found],
        notes=notes,
        block_rows=block_rows,
    )


class _FrameTally(Tally):
    """Refuses a frame at its first wrong row, with the line that mends it; keeps the rows on a smaller step."""

    def __init__(self, name: str, *, is_strict: bool) -> None:
        super().__init__(is_strict=is_strict)
        self.files.append(f"frame {name!r}")
        self._name = name
        self._aside: list[str] = []

    def skip(self, file: str, line: int, text: str, why: str) -> None:
        """Refuse the frame.

        Raises:
            DataError: Always.
        """
        remedy = _REMEDIES.get(why)
        if remedy is None:
            remedy = "use frame.dropna()" if why.endswith("is missing") else "mend or drop the row"
        raise DataError(f"{file}: row {line} ({text}): {why}; {remedy}")

    def set_aside(self, file: str, line: int, text: str, why: str) -> None:
        """Keep a row's place and leave it out.

        Raises:
            DataError: Such rows are to be refused.
        """
        if self.is_strict:
            raise DataError(f"{file}: row {line} ({text}): {why}; drop the row, or leave strict out")
        self._aside.append(f"row {line} ({text})")

    def left_out(self) -> list[str]:
        """Return the sentence about the rows left out, if there are any."""
        if not self._aside:
            return []
        more = len(self._aside) - _NAMED_ROWS
        named = ", ".join(self._aside[:_NAMED_ROWS]) + (f" and {more} more" if more > 0 else "")
        are = "1 row is" if len(self._aside) == 1 else f"{len(self._aside)} rows are"
        return [f"{self._name}: {are} left out, being on a smaller step than the candles: {named}"]


def _candles(name: str, frame: "pd.DataFrame", tally: _FrameTally, interval: str | None) -> Candles:
    label = tally.files[0]
    index = _index_of(label, name, frame)
    columns: dict[str, TableColumn] = dict(_columns_of(label, name, frame))
    zone: tzinfo | None = index.tz
    stamps = np.asarray(index.tz_convert("UTC").as_unit("ns").asi8, np.int64)
    if index.hasnans:
        raise DataError(f"{label}: row {int(np.argmax(index.isna()))} has no time; use frame[frame.index.notna()]")
    columns["time"] = Stamps(stamps, is_naive=False)
    if len(stamps) and 0 < stamps.max() < NS_PER_DAY:
        unit = unit_of(int(stamps[0]))
        how = "format='%Y%m%d'" if unit is None else f"unit={unit!r}"
        raise DataError(
            f"{label}: the index reads as {iso_of(int(stamps[0]))}; it was made from numbers, "
            f"use pd.to_datetime(..., {how}, utc=True)"
        )
    chunk = Chunk(label, np.arange(len(stamps), dtype=np.int64), columns, lambda row: str(index[row]))
    bars = Bars(tally, "interval='{0}'")
    tally.rows_read = len(stamps)
    bars.take(Reading(chunk), TimeReader(label, None, is_strict=True))
    if interval is not None:
        interval_ns(interval)
    if len(stamps) < (2 if interval is None else 1):
        raise DataError(f"{label} has {len(stamps)} rows; two are needed to tell the interval, or interval='1d'")
    try:
        candles = bars.candles(Names(name, tally), interval=interval, zone=zone)
    except ConfigError as error:
        raise DataError(f"{label}: {error}") from None
    assert candles is not None  # there are rows, and each bad one was refused
    # Stamps rise, and each candle has the one of its row.
    rows = stamps.searchsorted(candles.block.column("open_ns"))
    return candles.with_extras(further_columns(label, frame, candle_columns(frame), rows))


def _index_of(label: str, name: str, frame: "pd.DataFrame") -> "pd.DatetimeIndex":
    """Return a frame's index of bar opens, with a time zone.

    Raises:
        ConfigError: It is another one; the message is the line that makes it.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise ConfigError(f"data of {name!r} is a {type(frame).__name__}; give an OHLCV DataFrame")
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex):
        raise ConfigError(f"{label}: the index is no DatetimeIndex of bar open times; {_index_remedy(frame)}")
    if index.tz is None:
        if not (index == index.normalize()).all():
            raise ConfigError(
                f"{label}: the index has no time zone; use frame.tz_localize('UTC'), or the zone that its times are in"
            )
        index = index.tz_localize("UTC")
    return index


def _index_remedy(frame: "pd.DataFrame") -> str:
    """Return what makes a DatetimeIndex of an index that is none."""
    import pandas as pd

    index = frame.index
    if isinstance(index, pd.PeriodIndex):
        return "use frame.to_timestamp()"
    if isinstance(index, pd.MultiIndex):
        return "use frame.xs(..., level=0) for the rows of one instrument"
    spellings = (*LAYOUT.spellings["time"], *LAYOUT.spellings["day"])
    column = next((each for each in frame.columns if str(each).strip().lower().replace(" ", "_") in spellings), None)
    if column is not None:
        return _times_remedy(f"frame[{column!r}]", pd.Index(frame[column]))
    return _times_remedy("frame.index", index)


def _times_remedy(where: str, values: "pd.Index") -> str:
    """Return what makes a DatetimeIndex of numbers or texts that stand at a place of a frame."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values):
        return _numbers_remedy(where, values[np.isfinite(values.to_numpy(np.float64, na_value=np.nan))])
    texts = [value for value in values if isinstance(value, str)]
    if not texts or all(map(is_iso, texts)):
        return f"use frame.set_index(pd.to_datetime({where}, utc=True))"
    # Without a format pandas may take the month first.
    formats = year_last_formats(texts)
    if not formats:
        return (
            f"use frame.set_index(pd.to_datetime({where}, format=..., utc=True)), with the format in which times such "
            f"as {texts[0][:40]!r} are written"
        )
    other = "".join(f", or format={each!r} where months come first" for each in formats[1:])
    return f"use frame.set_index(pd.to_datetime({where}, format={formats[0]!r}, utc=True)){other}"


def _numbers_remedy(where: str, values: "pd.Index") -> str:
    """Return what makes a DatetimeIndex of epoch numbers or of dates written as one number, and how the first reads."""
    import pandas as pd

    if not len(values):
        return "use frame.set_index(...) with the bars' open times"
    first = float(values[0])
    unit, compact = unit_of(first), compact_format(plain(first))
    if unit is not None:
        reading = iso_of(int(pd.Timestamp(first, unit=unit).as_unit("ns").value))
        return (
            f"{plain(first)} reads as {reading}, use frame.set_index(pd.to_datetime({where}, unit={unit!r}, utc=True))"
        )
    if compact is not None:
        whole = where if pd.api.types.is_integer_dtype(values) else f"{where}.astype('int64')"
        return (
            f"{plain(first)} reads as a date, use "
            f"frame.set_index(pd.to_datetime({whole}.astype(str), format={compact!r}, utc=True))"
        )
    if values.min() >= 0 and values.max() <= len(values):
        return "it counts rows; use frame.set_index(...) with the bars' open times"
    return f"{plain(first)} {implausible(first)}; use frame.set_index(...) with the bars' open times"


def _columns_of(label: str, name: str, frame: "pd.DataFrame") -> dict[str, "np.ndarray"]:
    """Return the numbers of a frame by their fields.

    Raises:
        ConfigError: A column is missing, comes twice or has two levels; the message names the remedy.
        DataError: A column holds no numbers.
    """
    if frame.columns.nlevels > 1:
        raise ConfigError(f"{label}: its columns have two levels; {_level_remedy(name, frame)}")
    columns: dict[str, object] = {}
    for column in frame.columns:
        if str(column).lower() in columns:
            raise ConfigError(f"{label} has column {column!r} twice but for case; keep one")
        columns[str(column).lower()] = column
    adjusted = next((columns[each] for each in ("adj close", "adj_close", "adjclose") if each in columns), None)
    numbers: dict[str, np.ndarray] = {}
    for field in (*PRICES, "volume"):
        if field in columns:
            numbers[field] = _numbers(label, frame, columns[field])
        elif field == "close" and adjusted is not None:
            raise ConfigError(
                f"{label} has no column 'close'; if all its prices are adjusted, "
                f"use frame.rename(columns={{{adjusted!r}: 'Close'}})"
            )
        elif field != "volume":
            rows = "; a frame holds candles, other rows are imported (import_files)" if field == "open" else ""
            raise ConfigError(f"{label} has no column {field!r}; it has {', '.join(map(str, frame.columns))}{rows}")
    if adjusted is not None and not np.array_equal(_numbers(label, frame, adjusted), numbers["close"], equal_nan=True):
        raise ConfigError(
            f"{label} has {adjusted!r} beside {columns['close']!r}: use frame.drop(columns={adjusted!r}) for prices as "
            "they were traded, or adjust open, high and low too (yfinance: auto_adjust=True)"
        )
    return numbers


def candle_columns(frame: "pd.DataFrame") -> list[object]:
    """Return the columns of a frame that its candles are made of."""
    return [column for column in frame.columns if str(column).lower() in (*PRICES, "volume")]


def _level_remedy(name: str, frame: "pd.DataFrame") -> str:
    """Return what takes one instrument out of columns of two levels, as yfinance makes them."""
    fields = {*PRICES}
    for level in range(frame.columns.nlevels):
        values = [str(value) for value in frame.columns.get_level_values(level).unique()]
        if fields <= {value.lower() for value in values}:
            other = 1 - level if frame.columns.nlevels == 2 else 0
            others = [str(value) for value in frame.columns.get_level_values(other).unique()]
            if len(others) == 1:
                return f"use frame.droplevel({other}, axis=1)"
            wanted = name if name in others else others[0]
            return f"use frame.xs({wanted!r}, axis=1, level={other}) for each of {', '.join(others)}"
    return "give one frame of open, high, low, close for each instrument"


def _numbers(label: str, frame: "pd.DataFrame", column: object) -> "np.ndarray":
    try:
        numbers: np.ndarray = frame[column].to_numpy(np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise DataError(f"{label}: column {column!r} holds no numbers: {error}") from None
    return numbers
