"""What a format's record says of single rows: which are left out, and how whole numbers stand for prices."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.importers.formats.record import Format
from quantkit.importers.intake import Intake
from quantkit.importers.reading import Reading
from quantkit.importers.tables import Chunk
from quantkit.importers.times import TimeReader

#: Fixed-point formats write the largest whole number where there is no price.
_NO_PRICE: Final = float(2**63 - 1)


def unscaled(numbers: NDArray[np.float64], scale: int) -> NDArray[np.float64]:
    """Return what the whole numbers of a fixed-point format stand for, NaN where there is no price."""
    return np.where(numbers >= _NO_PRICE, np.nan, numbers / scale)


def scale(reading: Reading, record: Format) -> None:
    """Divide the whole numbers of a fixed-point format; the largest one stands for no price."""
    columns = dict(reading.chunk.columns)
    for field, unit in record.scales.items():
        if field in columns:
            columns[field] = unscaled(reading.numbers(field, is_optional=True), unit)
    chunk = reading.chunk
    reading.chunk = Chunk(chunk.file, chunk.lines, columns, chunk.text, chunk.malformed)


class Carried:
    """Prices that stay as they were where a file leaves their cells empty, of one instrument."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def fill(self, reading: Reading, record: Format, intake: Intake) -> None:
        """Fill the empty cells of a chunk from the rows before; a row that changes nothing is left out."""
        chunk = reading.chunk
        flags = reading.integers("flags")
        columns = dict(chunk.columns)
        changed = np.zeros(len(chunk), np.bool_)
        unknown = np.zeros(len(chunk), np.bool_)
        for field, bit in record.carries.items():
            numbers = reading.numbers(field, is_optional=True)
            is_there = ~np.isnan(numbers)
            reading.refuse_where(
                ~is_there & ((flags & bit) > 0), f"the flags say that the {field} changed, and it is missing"
            )
            rows = np.maximum.accumulate(np.where(is_there, np.arange(len(chunk)), -1))
            last = self._last.get(field, np.nan)
            filled = np.where(rows < 0, last, numbers[rows])
            changed |= is_there
            unknown |= np.isnan(filled)
            columns[field] = filled
            if len(filled):
                self._last[field] = float(filled[-1])
        reading.leave_out(~changed, intake.tally, "rows without a new bid or ask")
        reading.leave_out(unknown, intake.tally, "rows before both bid and ask are known")
        reading.chunk = Chunk(chunk.file, chunk.lines, columns, chunk.text, chunk.malformed)


def leave_out(reading: Reading, record: Format, intake: Intake) -> None:
    """Leave out rows that are not this format's, and trades without a side."""
    for column, words in record.keep.items():
        if column in reading.chunk.columns:
            texts = reading.texts(column)
            others = np.array([text not in words for text in texts], np.bool_)
            reading.leave_out(others, intake.tally, f"rows of {record.title} that are no {record.holds}s")
    if record.unsided and "side" in reading.chunk.columns:
        unsided = np.array([text.lower() in record.unsided for text in reading.texts("side")], np.bool_)
        reading.leave_out(unsided, intake.tally, "trades whose taker's side is not known")
    for field in record.needs:
        if field in reading.chunk.columns:
            reading.leave_out(reading.missing(field), intake.tally, f"rows without {field}")


def tell_ambiguous(file: str, times: TimeReader, intake: Intake) -> None:
    """Say how many local times of a file were told apart by their order."""
    if times.ambiguous:
        intake.tally.warn(f"{file}: {times.ambiguous} local times came twice and were told apart by their order")
