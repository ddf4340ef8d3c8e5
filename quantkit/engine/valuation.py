"""Rows and fills of a stretch, valued together: what the curve shows of them."""

from collections.abc import Mapping

import numpy as np

from quantkit.engine.curve import CurveBuilder, CurveGrid
from quantkit.engine.moments import Ints, Moments
from quantkit.engine.states import StateColumns
from quantkit.engine.worth import AccountView, Floats, along_moments, exposure
from quantkit.rows.marks import AnyMark
from quantkit.rows.position import RunPosition


class Valuation:
    """Values states at marks, for the equity curve.

    Args:
        sources: The mark of each instrument.
        position: The run's position.
        grid: The moments at which the curve has a row.
        curve: Gets the rows.
    """

    def __init__(
        self, sources: Mapping[str, AnyMark], position: RunPosition, grid: CurveGrid, curve: CurveBuilder
    ) -> None:
        self._sources = sources
        self._position = position
        self._grid = grid
        self._curve = curve

    def open_curve(self, view: AccountView, marks: Mapping[str, float], now_ns: int) -> None:
        """Write the curve's first row."""
        self._grid.begin_after(now_ns)
        self._curve.peak = float(view.worths(marks, marks)[0])
        self.add_row(view, marks, now_ns, is_moment=False)

    def add_row(
        self,
        view: AccountView,
        marks: Mapping[str, float],
        now_ns: int,
        *,
        is_grid: bool = False,
        is_moment: bool = True,
    ) -> None:
        """Write one row of the curve at given marks: a moment of its own, or how the account stands."""
        equity = np.full(2 if is_moment else 1, view.worths(marks, marks)[0])
        time_ns, gross = np.array([now_ns], np.int64), view.gross(marks)
        ends = np.array([len(equity) - 1])
        self._curve.extend(equity, ends, time_ns, view.cash, exposure(gross, equity[:1]), is_grid)

    def extend(self, columns: StateColumns, last: Mapping[str, float], end: int, now_ns: int) -> Moments:
        """Value what has been since the last look: the rows before an index, fills, and the grid before `now_ns`.

        Args:
            columns: The states; the first of them is that of the last look.
            last: The marks that mattered then.
            end, now_ns: How far to look.
        """
        received_ns, fill_ns = self._position.received_ns, columns.fill_ns
        grid_fills = self._grid_fills(columns)
        cuts = np.full(columns.count, -1)
        cuts[grid_fills] = received_ns.searchsorted(fill_ns[grid_fills], "right")
        moments = Moments(self._sources, columns, last, end, cuts)
        worths, _ = columns.view.at(moments.states).worths(moments.marks, moments.marks)
        equity = np.broadcast_to(worths, moments.states.shape)
        own_ns = fill_ns[grid_fills]
        grid_ns = self._grid.take(max(now_ns, int(fill_ns[-1])) if columns.count else now_ns)
        if len(own_ns):
            grid_ns = np.setdiff1d(grid_ns, own_ns)
            self._grid.begin_after(max(int(own_ns[-1]), self._grid.next_ns - 1))
        # A row of the grid comes after the fills by its moment, and counts the rows by its stamp.
        before = fill_ns.searchsorted(grid_ns, "right")
        ahead = np.append(columns.begins[1:], end)[before]
        seen = np.minimum(received_ns.searchsorted(grid_ns, "right"), ahead)
        ends = np.concatenate((moments.of_fills, moments.of_fills[grid_fills] - 1, moments.last_seen(seen, before)))
        order = np.argsort(ends, kind="stable")
        ends, time_ns = ends[order], np.concatenate((fill_ns, own_ns, grid_ns))[order]
        view = columns.view.at(moments.states[ends])
        share = _exposure(view, moments, ends, equity[ends])
        self._curve.extend(equity, ends, time_ns, view.cash, share, order >= columns.count)
        return moments

    def _grid_fills(self, columns: StateColumns) -> Ints:
        """Return the fills that come after a grid row of their own moment."""
        after = np.flatnonzero(columns.are_after)
        return after[self._grid.are_due(columns.fill_ns[after])] if len(after) else after


def _exposure(view: AccountView, moments: Moments, ends: Ints, equity: Floats) -> Floats:
    """Return the exposure at some of the moments, of which the account and its equity are given."""
    for held in view.positions:
        if held.converter is not None:
            # Without a balance in its currency nobody asks for the rate: such a position is not counted.
            is_counted = moments.matters.get(held.converter, False)
            held.size = held.size * along_moments(is_counted, moments.states[ends])
    return exposure(view.gross({name: along[ends] for name, along in moments.marks.items()}), equity)
