"""What travels with the rows of a block beside the columns of their kind."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from quantkit.events import Extra


class ExtraColumns:
    """Further columns of rows: numbers as float64, texts as objects.

    Args:
        columns: By name, each as long as there are rows.
    """

    __slots__ = ("_columns",)

    def __init__(self, columns: Mapping[str, NDArray[np.float64] | NDArray[np.object_]]) -> None:
        self._columns = dict(columns)

    def between(self, start: int, stop: int) -> Iterator[Extra]:
        """Make the mapping of each row from `start` to `stop` when it is asked for."""
        return self._made([column[start:stop] for column in self._columns.values()])

    def at(self, rows: NDArray[np.int64]) -> list[Extra]:
        """Return the mappings of some rows."""
        return list(self._made([column[rows] for column in self._columns.values()]))

    def _made(self, columns: list[NDArray[np.float64] | NDArray[np.object_]]) -> Iterator[Extra]:
        names = tuple(self._columns)
        values = zip(*(column.tolist() for column in columns), strict=True)
        return (Extra(zip(names, row, strict=True)) for row in values)


class ExtraRows:
    """The mappings of rows, as somebody has them already.

    Args:
        rows: One for each.
    """

    __slots__ = ("_rows",)

    def __init__(self, rows: Sequence[Extra]) -> None:
        self._rows = rows

    def between(self, start: int, stop: int) -> Iterator[Extra]:
        """Return those of rows `start` to `stop`."""
        return iter(self._rows[start:stop])

    def at(self, rows: NDArray[np.int64]) -> list[Extra]:
        """Return those of some rows."""
        return [self._rows[row] for row in rows.tolist()]
