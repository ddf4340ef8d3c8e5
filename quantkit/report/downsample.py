"""Long series reduced to the size of a picture."""

import numpy as np

from quantkit.report.metrics import FloatArray, IntArray

_BLOCKS = "▁▂▃▄▅▆▇█"


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
