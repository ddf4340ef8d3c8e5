"""Long series reduced to the size of a picture."""

from typing import NamedTuple

import numpy as np

from quantkit.report.metrics import FloatArray, IntArray

_BLOCKS = "▁▂▃▄▅▆▇█"


class Level(NamedTuple):
    """Rows of a series by buckets of 2^k neighbours, as aligned arrays.

    Attributes:
        time_ns: When each bucket begins: the stamp of its first row.
        low, high: Its lowest and its highest value.
    """

    time_ns: IntArray
    low: FloatArray
    high: FloatArray


class Levels:
    """A series at every resolution: level k has the lowest and the highest of each 2^k rows, so that no spike is lost.

    Buckets lie on a fixed grid of rows and stand still while a picture is moved over them; the last one may be short.
    A level is worked out from the finer one when it is first asked for.

    Args:
        time_ns: Shape (n,), rising; equal stamps may follow each other.
        low, high: Shape (n,), without NaN; one array for both where a row has a single price.

    Examples:
        >>> levels = Levels(np.arange(5), *2 * [np.array([3.0, 1.0, 4.0, 1.0, 5.0])])
        >>> levels.level(1).low.tolist(), levels.level(1).high.tolist(), levels.count
        ([1.0, 1.0, 5.0], [3.0, 4.0, 5.0], 4)
    """

    def __init__(self, time_ns: IntArray, low: FloatArray, high: FloatArray) -> None:
        if not len(time_ns) == len(low) == len(high):
            raise ValueError(f"{len(time_ns)} stamps, {len(low)} lows and {len(high)} highs; give as many of each")
        self._levels = [Level(time_ns, low, high)]

    def __len__(self) -> int:
        return len(self._levels[0].time_ns)

    @property
    def count(self) -> int:
        """How many levels there are: the last one has a single bucket."""
        return max(len(self) - 1, 0).bit_length() + 1

    def level(self, k: int) -> Level:
        """Return buckets of 2^k rows; level 0 is the rows themselves, and beyond the last level it is the last."""
        k = min(k, self.count - 1)
        while len(self._levels) <= k:
            finer = self._levels[-1]
            low = _halved(finer.low, np.minimum)
            # A series of single prices has one array for both until its neighbours part it.
            self._levels.append(Level(finer.time_ns[::2], low, _halved(finer.high, np.maximum)))
        return self._levels[k]

    def pick(self, start: int, stop: int, buckets: int) -> int:
        """Return the finest level that shows rows `start` to `stop` (exclusive) with so many buckets at most.

        Examples:
            >>> Levels(np.arange(1000), np.zeros(1000), np.zeros(1000)).pick(100, 900, 100)
            4
        """
        if buckets < 1:
            raise ValueError(f"{buckets} buckets; give 1 or more")
        for k in range(self.count):
            if (stop - 1 >> k) - (start >> k) < buckets:
                return k
        return self.count - 1

    def rows_between(self, start_ns: int, end_ns: int) -> tuple[int, int]:
        """Return which rows, start and stop (exclusive), lie within a span; both of its ends belong to it."""
        time_ns = self._levels[0].time_ns
        return int(time_ns.searchsorted(start_ns, "left")), int(time_ns.searchsorted(end_ns, "right"))


def _halved(values: FloatArray, reduce: np.ufunc) -> FloatArray:
    """Return each two neighbours as one; the last may stand alone."""
    pairs = len(values) // 2
    halved = np.empty(len(values) - pairs)
    reduce(values[: 2 * pairs : 2], values[1 : 2 * pairs : 2], out=halved[:pairs])
    halved[pairs:] = values[2 * pairs :]
    return halved


class KeptRows(NamedTuple):
    """Which rows of a long series go into a file of limited size.

    Attributes:
        level: The level of `Levels` at which the whole series is kept; at 0 every row is.
        spans: Start and stop (exclusive) of rows that are kept one by one, rising and apart; none at level 0.
    """

    level: int
    spans: list[tuple[int, int]]

    def size(self, rows: int) -> int:
        """Return how many rows and buckets are kept of a series of so many rows."""
        return -(-rows >> self.level) + sum(stop - start for start, stop in self.spans)


def rows_to_keep(time_ns: IntArray, fills_ns: IntArray, budget_rows: int) -> KeptRows:
    """Return the whole series at the finest level, and the single rows around each fill, that a budget allows.

    A bucket counts like a row. Where there are fills, half of the budget at most is for the whole series, the rest for
    them: as many rows before and after each as there is room for. Where there is no room for one row each, the first of
    them have theirs.

    Args:
        time_ns: Shape (n,), rising.
        fills_ns: When something happened, those that matter most first.
        budget_rows: Rows and buckets at most, 2 or more.

    Examples:
        >>> rows_to_keep(np.arange(100), np.array([50]), 24)
        KeptRows(level=4, spans=[(42, 59)])
    """
    if budget_rows < 2:
        raise ValueError(f"a budget of {budget_rows} rows; give 2 or more")
    count = len(time_ns)
    if count <= budget_rows:
        return KeptRows(0, [])
    level = 1
    while -(-count >> level) > (budget_rows // 2 if len(fills_ns) else budget_rows):
        level += 1
    room = budget_rows - (-(-count >> level))
    rows = np.maximum(np.searchsorted(time_ns, fills_ns, "right") - 1, 0).astype(np.int64)
    rows = _that_fit(rows, room)
    if not len(rows):
        return KeptRows(level, [])
    margin, too_wide = 0, count
    while too_wide - margin > 1:
        middle = (margin + too_wide) // 2
        if _size(_merged(rows, middle, count)) <= room:
            margin = middle
        else:
            too_wide = middle
    starts, stops = _merged(rows, margin, count)
    return KeptRows(level, list(zip(starts.tolist(), stops.tolist(), strict=True)))


def _that_fit(rows: IntArray, room: int) -> IntArray:
    """Return distinct rows, rising: the first `room` of them that are named."""
    distinct, first = np.unique(rows, return_index=True)
    return distinct[np.sort(np.argsort(first)[:room])]


def _merged(rows: IntArray, margin: int, count: int) -> tuple[IntArray, IntArray]:
    """Return starts and stops of the spans that rising rows and their neighbours make up."""
    starts, stops = np.maximum(rows - margin, 0), np.minimum(rows + margin + 1, count)
    is_apart = starts[1:] > stops[:-1]
    return starts[np.concatenate(([True], is_apart))], stops[np.concatenate((is_apart, [True]))]


def _size(spans: tuple[IntArray, IntArray]) -> int:
    return int((spans[1] - spans[0]).sum())


def min_max_rows(values: FloatArray, *, buckets: int) -> IntArray:
    """Return which rows to draw: the lowest and the highest of each bucket, so that no spike is lost.

    Args:
        values: Shape (n,).
        buckets: How many runs of neighbouring rows, above zero.

    Returns:
        Rising row numbers, two for each bucket at most, and always the first and the last row.

    Examples:
        >>> min_max_rows(np.array([1.0, 9.0, 2.0, 3.0, 0.0, 4.0]), buckets=2).tolist()
        [0, 1, 4, 5]
    """
    count = len(values)
    if count <= 2 * buckets:
        return np.arange(count, dtype=np.int64)
    edges = np.linspace(0, count, buckets + 1).astype(np.int64)
    rows: list[int] = []
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = values[start:stop]
        rows.extend(sorted({start + int(part.argmin()), start + int(part.argmax())}))
    # The run's own beginning and end are drawn, whatever their buckets' extremes are.
    return np.unique(np.array([0, *rows, count - 1], np.int64))


def sparkline(values: FloatArray, *, width: int) -> str:
    """Return a series as a line of block characters, each the last value of its share of the rows.

    Examples:
        >>> sparkline(np.array([1.0, 2.0, 3.0, 8.0]), width=4)
        '▁▂▃█'
        >>> sparkline(np.array([5.0, 5.0]), width=4)
        '▁▁'
    """
    if len(values) == 0:
        return ""
    width = min(width, len(values))
    ends = np.linspace(0, len(values), width + 1).astype(np.int64)[1:] - 1
    picked = values[ends]
    low, high = float(picked.min()), float(picked.max())
    if high == low:
        return _BLOCKS[0] * width
    heights = ((picked - low) / (high - low) * (len(_BLOCKS) - 1)).round().astype(np.int64)
    return "".join(_BLOCKS[height] for height in heights.tolist())
