"""Prices far off their neighbours."""

from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from quantkit.quality.findings import PLACES_KEPT, Finding, FindingPlace, counted
from quantkit.quality.pieces import PlaceTally, RowPiece, StreamFacts
from quantkit.rows.columns import Column

#: A price is held against the median of so many rows before it, as many after it, and itself.
AROUND: Final = 10
_WINDOW: Final = 2 * AROUND + 1
#: It is an outlier beyond so many median absolute deviations of those (scaled to a normal spread), ...
DEVIATIONS: Final = 15
_SCALE: Final = 1.4826
#: ... and beyond this share of the median: three per cent, ten for the extremes of candles.
SHARE: Final = 0.03
CANDLE_SHARE: Final = 0.10
#: Rows that are looked over together: where their range is within the share nothing in them can be far off.
_STRETCH: Final = 64


class Outliers:
    """Prices that leave their neighbours and come back: a slipped decimal, a fat finger, another instrument's row.

    Args:
        facts: The stream.
        names: Columns of prices, each on its own; NaN is none.
    """

    def __init__(self, facts: StreamFacts, names: tuple[str, ...]) -> None:
        self._stream = facts.stream
        share = CANDLE_SHARE if facts.stream.kind == "candle" else SHARE
        self._series = {name: _PriceWindows(share) for name in names}

    def take(self, piece: RowPiece) -> None:
        """Look at further prices."""
        for name, series in self._series.items():
            series.take(piece, piece.column(name))

    def findings(self) -> list[Finding]:
        """Return the outliers by column."""
        found = []
        for name, series in self._series.items():
            series.finish()
            tally = series.tally
            if tally.count:
                share = f"{100 * series.share:g} %"
                what = (
                    f"{counted(tally.count, 'outlier')} of {name}: more than {share} and {DEVIATIONS} deviations off "
                    f"the median of the {_WINDOW} rows around, first {series.first_value:g} at {tally.first}"
                )
                found.append(tally.finding("warning", self._stream, "outlier", what))
        return found

    def unverified(self) -> list[str]:
        """Return nothing."""
        return []


class _PriceWindows:
    """One column in overlapping windows: the last rows of a piece wait for the rows after them."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.tally = PlaceTally()
        self.first_value = 0.0
        self._values: NDArray[np.float64] = np.empty(0)
        self._stamps: NDArray[np.int64] = np.empty(0, np.int64)
        self._rows: NDArray[np.int64] = np.empty(0, np.int64)
        self._paths: list[tuple[int, str]] = []  # how many of the held rows each path has, in order
        self._done = 0  # so many of the held rows have been judged

    def take(self, piece: RowPiece, values: Column) -> None:
        known = np.flatnonzero(~np.isnan(values))
        self._values = np.concatenate((self._values, values[known]))
        self._stamps = np.concatenate((self._stamps, piece.received_ns[known]))
        self._rows = np.concatenate((self._rows, known + piece.first_row))
        self._paths.append((len(known), piece.path))
        stop = len(self._values) - AROUND
        if stop > self._done and len(self._values) >= _WINDOW:
            self._judge(stop)
            self._forget(len(self._values) - _WINDOW)

    def finish(self) -> None:
        """Judge the last rows by the last window."""
        if len(self._values) >= _WINDOW:
            self._judge(len(self._values))

    def _judge(self, stop: int) -> None:
        """Judge the held rows up to `stop`; at either end a window keeps its length and lies to one side."""
        rows = self._suspects(self._done, stop)
        self._done = stop
        if not rows.size:
            return
        begins = np.clip(rows - AROUND, 0, len(self._values) - _WINDOW)
        windows = sliding_window_view(self._values, _WINDOW)[begins]
        medians = np.median(windows, axis=1)
        spreads = _SCALE * np.median(np.abs(windows - medians[:, None]), axis=1)
        off = np.abs(self._values[rows] - medians)
        far = rows[(off > self.share * medians) & (off > DEVIATIONS * spreads)]
        for row in far.tolist():
            if not self.tally.count:
                self.first_value = float(self._values[row])
            if len(self.tally.places) < PLACES_KEPT:
                place = FindingPlace(int(self._stamps[row]), file=self._path_of(row), row=int(self._rows[row]))
                self.tally.add_place(place)
            else:
                self.tally.count += 1

    def _suspects(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the rows of stretches whose surroundings vary by more than the share at all."""
        values = self._values
        edges = np.arange(start, stop, _STRETCH)
        begins, ends = np.maximum(edges - _WINDOW, 0), np.minimum(edges + _STRETCH + _WINDOW, len(values) - 1)
        pairs = np.column_stack((begins, ends)).ravel()
        # A stretch ends before its end, whose row is added by hand.
        lows = np.minimum(np.minimum.reduceat(values, pairs)[::2], values[ends])
        highs = np.maximum(np.maximum.reduceat(values, pairs)[::2], values[ends])
        wide = edges[highs - lows > self.share * lows]
        rows = (wide[:, None] + np.arange(_STRETCH)).ravel()
        return rows[rows < stop]

    def _path_of(self, row: int) -> str:
        for count, path in self._paths:
            if row < count:
                return path
            row -= count
        return ""

    def _forget(self, count: int) -> None:
        """Drop the first held rows, which no further window needs."""
        self._values = self._values[count:]
        self._stamps, self._rows = self._stamps[count:], self._rows[count:]
        self._done -= count
        paths = []
        for size, path in self._paths:
            left = max(0, size - count)
            count -= size - left
            if left:
                paths.append((left, path))
        self._paths = paths
