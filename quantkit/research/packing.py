"""Columns of numbers in little memory: differences of whole numbers, compressed."""

from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_CODEC: Final = "zstd"
#: Whole numbers below it are floats.
_EXACT_FLOATS: Final = 2**53


class PackedColumn(NamedTuple):
    """A column in little memory.

    Attributes:
        content: Compressed bytes.
        stored: The type of the numbers in them, and `dtype` that of the column.
        first: What the differences begin with, None where the numbers themselves are stored.
        size: How many numbers.
        step: What floats are whole multiples of, None where they are stored as they are.
    """

    content: bytes
    stored: np.dtype[Any]
    dtype: np.dtype[Any]
    first: int | None
    size: int
    step: Fraction | None

    @property
    def bytes(self) -> int:
        """What it takes in memory, about."""
        return len(self.content) + 300


def pack(column: NDArray[Any], step: Decimal | None = None) -> PackedColumn:
    """Return a column in little memory, from which `unpack` gives the same bytes.

    Args:
        column: Whole numbers, floats or flags.
        step: Floats are mostly whole multiples of it.
    """
    whole, ratio = column, None
    if column.dtype == np.float64:
        counted = None if step is None else _counted(column, Fraction(step))
        if counted is None:
            return _compressed(column, column.dtype, None, len(column), None)
        whole, ratio = counted, Fraction(step or 1)
    elif column.dtype == np.bool_:
        return _compressed(column.view(np.int8), column.dtype, None, len(column), None)
    if not len(whole):
        return _compressed(whole, column.dtype, None, 0, ratio)
    steps = np.diff(whole)
    return _compressed(_narrow(steps), column.dtype, int(whole[0]), len(whole), ratio)


def unpack(packed: PackedColumn) -> NDArray[Any]:
    """Return the column."""
    import pyarrow as pa

    count = packed.size - (packed.first is not None)
    content = pa.decompress(packed.content, count * packed.stored.itemsize, codec=_CODEC) if count else b""
    numbers = np.frombuffer(content, packed.stored, count)
    if packed.first is not None:
        whole = np.empty(packed.size, np.int64)
        whole[0] = packed.first
        np.cumsum(numbers, out=whole[1:])
        whole[1:] += packed.first
        numbers = whole
    if packed.dtype == np.bool_:
        return numbers.view(np.bool_)
    if packed.step is not None:
        return _floats(numbers, packed.step)
    return numbers.astype(packed.dtype, copy=False)


def _counted(column: NDArray[np.float64], step: Fraction) -> NDArray[np.int64] | None:
    """Return how many steps each number has, None if that does not give the very same floats back."""
    with np.errstate(over="ignore"):
        counts = np.rint(column * (step.denominator / step.numerator))
    highest = float(np.abs(counts).max(initial=0.0)) * step.numerator
    if not max(highest, step.denominator) < _EXACT_FLOATS:
        return None
    whole = counts.astype(np.int64)
    return whole if _floats(whole, step).tobytes() == column.tobytes() else None


def _floats(counts: NDArray[np.int64], step: Fraction) -> NDArray[np.float64]:
    """Return the floats nearest to whole numbers of a step."""
    floats: NDArray[np.float64] = (counts * step.numerator) / float(step.denominator)
    return floats


def _narrow(numbers: NDArray[Any]) -> NDArray[Any]:
    """Return whole numbers in the smallest type that holds them."""
    low, high = int(numbers.min(initial=0)), int(numbers.max(initial=0))
    for narrower in (np.int8, np.int16, np.int32):
        limits = np.iinfo(narrower)
        if limits.min <= low and high <= limits.max:
            return numbers.astype(narrower)
    return numbers


def _compressed(
    numbers: NDArray[Any], dtype: np.dtype[Any], first: int | None, size: int, step: Fraction | None
) -> PackedColumn:
    import pyarrow as pa

    content = pa.compress(np.ascontiguousarray(numbers), codec=_CODEC, asbytes=True) if len(numbers) else b""
    return PackedColumn(content, numbers.dtype, dtype, first, size, step)
