"""The values of a table's rows: numbers, times, texts, and the fault of each bad row."""

import re
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import iso_of
from quantkit.errors import ConfigError
from quantkit.importers.report import Tally
from quantkit.importers.tables import NUMBER, Chunk, Stamps, TableFile, Words
from quantkit.importers.times import TimeFormat, TimeReader

_WHOLE: Final = re.compile("[0-9]{1,18}").fullmatch
#: How files spell "no value".
_EMPTY: Final = frozenset(("", "null", "none", "na", "n/a", "nan", "<na>"))


class Reading:
    """The values of one chunk, and the fault of each bad row; the first fault counts."""

    def __init__(self, chunk: Chunk) -> None:
        self.chunk = chunk
        self.bad: dict[int, str] = {}
        self._left_out = np.zeros(len(chunk), np.bool_)

    def refuse(self, rows: Mapping[int, str]) -> None:
        """Note what is wrong with rows."""
        for index, why in rows.items():
            self.bad.setdefault(index, why)

    def refuse_where(self, mask: NDArray[np.bool_], why: str) -> None:
        """Note that the rows of a mask are wrong."""
        for index in np.flatnonzero(mask).tolist():
            self.bad.setdefault(index, why)

    def leave_out(self, mask: NDArray[np.bool_], tally: Tally, rule: str) -> None:
        """Leave rows out by a rule, which is no fault of theirs."""
        fresh = mask & ~self._left_out
        tally.ignore(rule, int(fresh.sum()))
        self._left_out |= mask

    def kept(self, tally: Tally) -> NDArray[np.bool_]:
        """Return which rows are good, and count the others."""
        good = ~self._left_out
        skipped = list(self.chunk.malformed)
        for index, why in self.bad.items():
            if good[index]:
                good[index] = False
                skipped.append((int(self.chunk.lines[index]), self.chunk.text(index), why))
        for line, text, why in sorted(skipped):
            tally.skip(self.chunk.file, line, text, why)
        return good

    def times(self, field: str, reader: TimeReader) -> NDArray[np.int64]:
        """Return a time column as UTC nanoseconds, 0 where it is wrong; times of day join the days beside them."""
        column = self.chunk.columns[field]
        if field == "time" and "day" in self.chunk.columns:
            column = reader.dated(self._written("day"), self._written("time")) or column
        if isinstance(column, Stamps):
            values, bad = reader.stamps(column.values_ns, is_naive=column.is_naive)
        elif isinstance(column, np.ndarray):
            values, bad = (reader.integers if column.dtype == np.int64 else reader.floats)(column)
        else:
            values, bad = reader.texts(column.texts() if isinstance(column, Words) else column)
        self.refuse(bad)
        return values

    def missing(self, field: str) -> NDArray[np.bool_]:
        """Return which rows have no value in a column."""
        column = self.chunk.columns[field]
        if isinstance(column, Stamps):
            return np.equal(column.values_ns, 0)
        if isinstance(column, np.ndarray):
            return np.not_equal(column, column)
        if isinstance(column, Words):
            is_empty = np.array([word.lower() in _EMPTY for word in column.words], np.bool_)
            missing: NDArray[np.bool_] = is_empty[column.codes]
            return missing
        return np.array([text.lower() in _EMPTY for text in column], np.bool_)

    def _written(self, field: str) -> Sequence[str]:
        """Return a column of days or times of day as it would be written."""
        column = self.chunk.columns[field]
        if isinstance(column, Stamps):
            return [iso_of(max(stamp, 0)).removesuffix("T00:00:00Z") for stamp in column.values_ns.tolist()]
        if isinstance(column, Words):
            return column.texts()
        return [f"{value:.15g}" for value in column.tolist()] if isinstance(column, np.ndarray) else column

    def numbers(self, field: str, *, is_optional: bool = False) -> NDArray[np.float64]:
        """Return a column of numbers, NaN where there is none; a missing one is wrong unless optional."""
        column = self.chunk.columns[field]
        if isinstance(column, Stamps):
            raise ConfigError(f"{self.chunk.file}: the column for {field} holds times, not numbers")
        if isinstance(column, np.ndarray):
            values = column.astype(np.float64, copy=False)
        else:
            if isinstance(column, Words):
                column = column.texts()
            values = np.full(len(column), np.nan)
            for index, text in enumerate(column):
                if NUMBER(text):
                    values[index] = float(text)
                elif text.lower() not in _EMPTY:
                    self.bad.setdefault(index, f"{field} {text[:40]!r} is not a number")
        if len(values) and np.isfinite(values.min()) and np.isfinite(values.max()):  # a NaN would be both
            return values
        self.refuse_where(np.isinf(values), f"{field} is infinite")
        if not is_optional:
            self.refuse_where(np.isnan(values), f"{field} is missing")
        return values

    def texts(self, field: str) -> Sequence[str]:
        """Return a column as texts."""
        column = self.chunk.columns[field]
        if isinstance(column, Stamps):
            raise ConfigError(f"{self.chunk.file}: the column for {field} holds times, not texts")
        if isinstance(column, Words):
            return column.texts()
        return [_written(value) for value in column.tolist()] if isinstance(column, np.ndarray) else column

    def coded(self, field: str, words: Mapping[str, int]) -> NDArray[np.int8]:
        """Return a column of words as codes, 0 where a word is not among them, which is wrong."""
        column = self.chunk.columns[field]
        if not isinstance(column, Words):
            texts = self.texts(field)
            known = dict.fromkeys(texts)
            column = Words(
                np.fromiter(map({text: at for at, text in enumerate(known)}.__getitem__, texts), np.int32), list(known)
            )
        codes = np.zeros(len(column.words), np.int8)
        for place, word in enumerate(column.words):
            code = words.get(word.lower().removesuffix(".0"))
            if code is None:
                self.refuse_where(np.equal(column.codes, place), f"{field} {word[:40]!r} is not understood")
            else:
                codes[place] = code
        coded: NDArray[np.int8] = codes[column.codes]
        return coded

    def integers(self, field: str) -> NDArray[np.int64]:
        """Return a column of whole numbers, such as ids; 0 where there is none or another text."""
        column = self.chunk.columns[field]
        if isinstance(column, np.ndarray) and column.dtype == np.int64:
            return column
        texts = self.texts(field)
        return np.array([int(t) if _WHOLE(t) else 0 for t in texts], np.int64)


def _written(number: float) -> str:
    """Return a number as somebody would write it: a whole one digit by digit, since it may be an id.

    Examples:
        >>> _written(12345678.0), _written(12345678), _written(0.25)
        ('12345678', '12345678', '0.25')
    """
    return str(int(number)) if isinstance(number, int) or number.is_integer() else repr(number)


def in_time_order(files: Sequence[TableFile], zone: tzinfo | None, time_format: TimeFormat | None) -> list[TableFile]:
    """Return files by the time of their first row, since the order of names need not be that of the data."""

    def first_ns(file: TableFile) -> int:
        for chunk in file.chunks(Tally(), None, rows=1):
            reading = Reading(chunk)
            time_ns = int(reading.times("time", TimeReader(file.file, zone, time_format=time_format))[0])
            if not reading.bad:
                return time_ns
        return 0

    return sorted(files, key=first_ns) if len(files) > 1 else list(files)
