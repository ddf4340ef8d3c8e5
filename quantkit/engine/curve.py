"""The equity curve as it is written: its grid, rows, the running peak, and the deepest fall between two rows."""

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_DAY
from quantkit.engine.outcome import EquityCurve
from quantkit.engine.worth import Amount, Floats


class CurveGrid:
    """The moments at which the curve has a row: multiples of a step, and UTC midnights for daily returns.

    Args:
        start_ns: Before the first of them.
        every_ns: The step.

    Attributes:
        next_ns: The first moment without its row.
    """

    def __init__(self, start_ns: int, every_ns: int) -> None:
        self._steps = (every_ns,) if NS_PER_DAY % every_ns == 0 else (every_ns, NS_PER_DAY)
        self.next_ns = 0
        self.begin_after(start_ns)

    def begin_after(self, now_ns: int) -> None:
        """Go on with the first moment after `now_ns`."""
        self.next_ns = min((now_ns // step + 1) * step for step in self._steps)

    def is_due(self, now_ns: int) -> bool:
        """Return whether `now_ns` is a moment without its row."""
        return now_ns >= self.next_ns and any(now_ns % step == 0 for step in self._steps)

    def are_due(self, times_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which of ordered times are moments without their row: of equal ones the first."""
        are_on = np.any([times_ns % step == 0 for step in self._steps], axis=0)
        return np.asarray(are_on & (times_ns >= self.next_ns) & (np.diff(times_ns, prepend=-1) > 0))

    def take(self, now_ns: int) -> NDArray[np.int64]:
        """Return the moments before `now_ns` without their row, and go on with those after them."""
        if now_ns <= self.next_ns:
            return np.empty(0, np.int64)
        due = [np.arange(-(-self.next_ns // step) * step, now_ns, step, dtype=np.int64) for step in self._steps]
        self.begin_after(now_ns - 1)
        return due[0] if len(due) == 1 else np.unique(np.concatenate(due))


class CurveBuilder:
    """Takes the equity at all moments, and writes a row of the curve at some of them.

    Attributes:
        peak: The highest equity so far.
    """

    def __init__(self) -> None:
        self.peak = 0.0
        self._trough = 0.0  # the deepest fall since the last row
        self._times: list[NDArray[np.int64]] = []
        self._columns: tuple[list[Floats], ...] = ([], [], [], [])  # equity, cash, exposure, drawdown
        self._are_grid: list[NDArray[np.bool_]] = []

    def extend(
        self,
        equity: Floats,
        ends: NDArray[np.int64],
        time_ns: NDArray[np.int64],
        cash: Amount,
        exposure: Floats,
        is_grid: bool | NDArray[np.bool_],
    ) -> None:
        """Look at moments, and write the rows that end at some of them.

        Args:
            equity: At each moment. The first is how the account stands after the last look.
            ends: The last moment of each row.
            time_ns, cash, exposure, is_grid: Of the rows.
        """
        peaks = np.empty(len(equity))
        peaks[0] = self.peak  # what stands is no new moment: funding may have lifted it
        np.maximum(np.maximum.accumulate(equity[1:]), self.peak, out=peaks[1:])
        depth = np.where(peaks > 0, equity / np.where(peaks > 0, peaks, 1.0) - 1.0, 0.0)
        depth[0] = min(0.0, float(depth[0]))
        self.peak = float(peaks[-1])
        begun = int(ends[-1]) + 1 if len(ends) else 1
        if len(ends):
            self._write_falls(depth, ends)
            for column, values in zip(self._columns[:3], (equity[ends], cash, exposure), strict=True):
                column.append(np.broadcast_to(np.asarray(values, np.float64), time_ns.shape))
            self._times.append(time_ns)
            self._are_grid.append(np.broadcast_to(is_grid, time_ns.shape))
        if begun < len(depth):
            self._trough = min(self._trough, float(depth[begun:].min()))

    def equity_at(self, time_ns: int) -> float | None:
        """Return the equity of the last row by a moment; None before the first."""
        for times, equity in zip(reversed(self._times), reversed(self._columns[0]), strict=True):
            rows = int(times.searchsorted(time_ns, "right"))
            if rows:
                return float(equity[rows - 1])
        return None

    def _write_falls(self, depth: Floats, ends: NDArray[np.int64]) -> None:
        """Write the falls of rows: the deepest since the row before."""
        begins = np.concatenate(([0], ends[:-1])) + 1
        # A row without a moment of its own stays as deep as the one before it ended.
        falls, some = depth[ends], np.flatnonzero(ends >= begins)
        if len(some):
            falls[some] = np.minimum.reduceat(depth[: int(ends[-1]) + 1], begins[some])
        falls[0] = min(float(falls[0]), self._trough)
        self._trough = 0.0
        self._columns[3].append(falls)

    def curve(self) -> EquityCurve:
        """Return the curve as arrays."""
        equity, cash, exposure, drawdown = (np.concatenate(column) for column in self._columns)
        time_ns, is_grid = np.concatenate(self._times), np.concatenate(self._are_grid)
        return EquityCurve(time_ns, equity, cash, exposure, drawdown, is_grid)
