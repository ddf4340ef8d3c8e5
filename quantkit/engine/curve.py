"""The equity curve as it is written: rows, the running peak, and the deepest fall between two rows."""

import numpy as np
from numpy.typing import NDArray

from quantkit.engine.outcome import EquityCurve
from quantkit.engine.worth import Floats


class CurveBuilder:
    """Takes rows of the curve, and the equity at every mark between them.

    Attributes:
        peak: The highest equity so far.
    """

    def __init__(self) -> None:
        self.peak = 0.0
        self._trough = 0.0  # the deepest fall since the last row
        self._times: list[NDArray[np.int64]] = []
        self._columns: tuple[list[Floats], ...] = ([], [], [], [])  # equity, cash, exposure, drawdown
        self._are_grid: list[NDArray[np.bool_]] = []

    def depth(self, equity: float) -> float:
        """Return the depth of an equity below the peak, a negative fraction."""
        return min(0.0, equity / self.peak - 1.0) if self.peak > 0 else 0.0

    def stretch(self, equity: Floats) -> None:
        """Move the running peak and note the deepest fall from it."""
        if not len(equity):
            return
        peaks = np.maximum(np.maximum.accumulate(equity), self.peak)
        if peaks[-1] > 0:
            self._trough = min(self._trough, float((equity / peaks).min()) - 1.0)
        self.peak = float(peaks[-1])

    def falls(self, equity: Floats, cuts: NDArray[np.int64], stood: float) -> Floats:
        """Return the deepest fall within each grid step, and move the running peak to the last step's end.

        Args:
            equity: At every mark.
            cuts: How many of them belong to each grid moment or one before it.
            stood: How deep the account stood before the first.
        """
        end = int(cuts[-1])
        if not end:
            return np.full(len(cuts), stood)
        peaks = np.maximum(np.maximum.accumulate(equity[:end]), self.peak)
        depth = np.where(peaks > 0, equity[:end] / np.where(peaks > 0, peaks, 1.0) - 1.0, 0.0)
        begins = np.concatenate(([0], cuts[:-1]))
        filled = np.flatnonzero(cuts > begins)
        # A step without a mark stays as deep as the one before it ended.
        falls = np.concatenate(([stood], depth))[cuts]
        falls[filled] = np.minimum.reduceat(depth, begins[filled])
        self.peak = float(peaks[-1])
        return falls

    def append(
        self,
        time_ns: NDArray[np.int64],
        equity: Floats,
        exposure: Floats,
        falls: Floats,
        *,
        cash: float,
        is_grid: bool = False,
    ) -> None:
        """Write rows of the curve; the fall since the row before belongs to the first of them."""
        falls[0] = min(float(falls[0]), self._trough)
        self._trough = 0.0
        self._times.append(time_ns)
        self._are_grid.append(np.full(len(time_ns), is_grid))
        for column, values in zip(self._columns, (equity, np.full(len(time_ns), cash), exposure, falls), strict=True):
            column.append(np.broadcast_to(np.asarray(values, np.float64), time_ns.shape))

    def curve(self) -> EquityCurve:
        """Return the curve as arrays."""
        equity, cash, exposure, drawdown = (np.concatenate(column) for column in self._columns)
        time_ns, is_grid = np.concatenate(self._times), np.concatenate(self._are_grid)
        return EquityCurve(time_ns, equity, cash, exposure, drawdown, is_grid)
