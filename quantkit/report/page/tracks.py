"""Price paths cut to what one page holds: all rows while there is room, else extremes, and single rows around fills."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from quantkit.clock import NS_PER_MS
from quantkit.report.downsample import KeptRows, Level, Levels, rows_to_keep
from quantkit.report.metrics import FloatArray, IntArray
from quantkit.report.prices import PriceRows
from quantkit.report.round_trips import RoundTrip

#: Rows of prices that a page holds, over all instruments: about 3 MB of candles.
ROWS_MAX: Final = 600_000


class Track(NamedTuple):
    """The price path of one instrument as a page keeps it.

    Attributes:
        rows: All that the run was valued on.
        kept: Which of them the page has.
        levels: The extremes of the rows at every resolution.
    """

    rows: PriceRows
    kept: KeptRows
    levels: Levels

    @property
    def stride(self) -> int:
        """Of how many rows the page has the lowest and the highest; 1 when it has every row."""
        return 1 << self.kept.level

    def single(self) -> IntArray:
        """Return which rows the page has one by one."""
        if not self.kept.level:
            return np.arange(len(self.rows))
        return np.concatenate([np.empty(0, np.int64), *(np.arange(start, stop) for start, stop in self.kept.spans)])


def track_of(rows: PriceRows, trips: Sequence[RoundTrip], *, offset_ns: int, most: int) -> Track:
    """Return a path as a page keeps it.

    Args:
        rows: All that the run was valued on, in its order.
        trips: Closed round trips of the instrument; around the largest of them rows are kept first.
        offset_ns: The clock of the rows less the one of the trips.
        most: Rows and buckets.
    """
    largest = sorted(trips, key=lambda trip: -abs(trip.pnl))
    ends = [moment + offset_ns for trip in largest for moment in (trip.entry_ns, trip.exit_ns)]
    kept = rows_to_keep(rows.time_ns, np.array(ends, np.int64), most)
    return Track(rows, kept, Levels(rows.time_ns, rows.low, rows.high))


def overview(levels: Levels, most: int) -> Level:
    """Return the finest level of at most so many buckets."""
    return levels.level(levels.pick(0, len(levels), most))


def single(time_ns: IntArray, values: FloatArray) -> Levels:
    """Return the levels of a series with one value a row."""
    return Levels(time_ns, values, values)


def ms(time_ns: IntArray) -> IntArray:
    """Return stamps in the page's unit."""
    return time_ns // NS_PER_MS


def shares(rows: Sequence[int], most: int) -> list[int]:
    """Return how many rows each path may keep of those that a page holds: short ones all, long ones in equal parts.

    Examples:
        >>> shares([100, 900, 900], 1_000), shares([10, 20], 100)
        ([100, 450, 450], [10, 20])
    """
    given = [0] * len(rows)
    left, waiting = most, sorted(range(len(rows)), key=lambda place: rows[place])
    for done, place in enumerate(waiting):
        given[place] = max(2, min(rows[place], left // (len(rows) - done)))
        left -= given[place]
    return given
