"""The moments at which an account has a worth, gathered after the fact: fills, and rows with a mark that counts."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from quantkit.engine.states import StateColumns
from quantkit.engine.worth import Floats
from quantkit.rows.marks import AnyMark, BookMark

Ints = NDArray[np.int64]


class Moments:
    """Rows, fills, and grid rows of a fill's own time, in order; moment 0 is where the last look ended.

    A fill at an index has seen the rows before it; the row at the index counts with the account after the fill.

    Args:
        sources: The mark of each instrument.
        columns: The states; state 0 holds from the index of the last look on.
        last: The marks that counted then, as they stood.
        end: The index before which rows are looked at.
        cuts: For each fill, how many rows the grid row of its own time counts; -1 without such a grid row.

    Attributes:
        rows: The indices of rows that bring a mark that counts in their state.
        of_rows, of_fills: The moments of both. The moment before a fill's is that of its grid row, if it has one.
        states: The state of each moment.
        marks: At each moment, by instrument, of those that count at some of them.
        matters: Whether they count, along the states.
    """

    def __init__(
        self,
        sources: Mapping[str, AnyMark],
        columns: StateColumns,
        last: Mapping[str, float],
        end: int,
        cuts: Ints,
    ) -> None:
        self._sources = sources
        self._columns = columns
        self._last = last
        self._reach = int(cuts.max(initial=end))
        # Without a price at the last look nothing counts for it; the fills of a later state all had one.
        self.matters = {
            name: truth
            for name, truth in columns.view.matters().items()
            if (name in last if columns.count == 0 else np.any(truth))
        }
        fills, begins = columns.count, columns.begins[1:]
        own = {name: self._own_rows(name, end) for name in self.matters}
        found = [indices for indices, _ in own.values()]
        self.rows: Ints = found[0] if len(found) == 1 else np.unique(np.concatenate([np.empty(0, np.int64), *found]))
        since = begins.searchsorted(self.rows, "right")
        # How many grid rows of fills come before each state.
        grids = self._grids = np.concatenate(([0], np.cumsum(cuts >= 0)))
        self.of_rows: Ints = np.arange(1, len(self.rows) + 1) + since + grids[since]
        self.of_fills: Ints = self.rows.searchsorted(begins) + np.arange(1, fills + 1) + grids[1:]
        count = 1 + len(self.rows) + fills + int(grids[-1])
        self.states: Ints = np.zeros(count, np.int64)
        self.states[self.of_rows] = since
        self.states[self.of_fills] = np.arange(1, fills + 1)
        with_grid = np.flatnonzero(cuts >= 0)
        of_grids = self.of_fills[with_grid] - 1
        self.states[of_grids] = with_grid
        seen = columns.begins[self.states]  # how many rows each moment has seen
        seen[self.of_rows] = self.rows + 1
        seen[of_grids] = cuts[with_grid]
        self.marks: dict[str, Floats] = {name: self._along(name, seen, values) for name, (_, values) in own.items()}

    def standing(self) -> dict[str, float]:
        """Return the marks that matter at the end, as they stand."""
        matter = {name for name, truth in self.matters.items() if np.atleast_1d(truth)[-1]}
        return {name: float(along[-1]) for name, along in self.marks.items() if name in matter}

    def last_seen(self, seen: Ints, fills: Ints) -> Ints:
        """Return the last moment of those that have seen so many rows of the batch and so many fills."""
        return np.asarray(self.rows.searchsorted(seen) + fills + self._grids[fills])

    def _own_rows(self, name: str, end: int) -> tuple[Ints, Floats]:
        """Return the rows of an instrument that count, with their marks."""
        begins, truth = self._columns.begins, self.matters[name]
        indices, values = self._sources[name].rows(self._reach)
        low, high = indices.searchsorted((begins[0], end))
        indices, values = indices[low:high], values[low:high]
        if isinstance(truth, np.ndarray) and not truth.all():
            counts = truth[begins[1:].searchsorted(indices, "right")]
            indices, values = indices[counts], values[counts]
        return indices, values

    def _along(self, name: str, seen: Ints, own: Floats) -> Floats:
        """Return an instrument's mark at every moment."""
        along = np.empty(len(seen))
        if len(self.matters) > 1:
            rest = np.arange(len(seen))
        else:  # each row is its own
            along[self.of_rows] = own
            is_other = np.ones(len(seen), np.bool_)
            is_other[self.of_rows] = False
            rest = np.flatnonzero(is_other)
        states, stood = self.states[rest], self._stood(name)
        indices, values = self._sources[name].rows(self._reach)
        if not len(indices):
            along[rest] = stood[states]
            return along
        at = indices.searchsorted(seen[rest]) - 1
        row = np.maximum(at, 0)
        # The mids of a book are known only while they count: those of an earlier time tell nothing.
        is_known = (at >= 0) & (indices[row] >= self._columns.begins[states])
        along[rest] = np.where(is_known, values[row], stood[states])
        return along

    def _stood(self, name: str) -> Floats:
        """Return an instrument's mark as each state began."""
        columns, source = self._columns, self._sources[name]
        stood = np.ones(columns.count + 1)
        if isinstance(source, BookMark):
            stood[1:] = columns.mids[name][1:]
        elif columns.count:
            indices, values = source.rows(self._reach)
            at = indices.searchsorted(columns.begins) - 1
            carried = source.carried()
            stood[:] = stood if carried is None else carried
            if len(indices):
                stood = np.where(at >= 0, values[np.maximum(at, 0)], stood)
        stood[0] = self._last.get(name, stood[0])
        return stood
