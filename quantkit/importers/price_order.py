"""Which of four columns is the open, the high, the low and the close, where nobody says it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

#: Fewer rows do not show it.
_LEAST_ROWS: Final = 20
#: Of the rows that tell open from close, so many in a hundred have to agree.
_LEAST_PERCENT: Final = 80
_COLUMNS: Final = 4


def price_order(rows: Sequence[Sequence[float]]) -> tuple[str, ...] | None:
    """Return the names of four columns of prices; None where the rows do not show them.

    The high is always the largest, the low always the smallest. Of the other two the open is the one nearer to the
    other one of the row before.

    Args:
        rows: Prices of bars in the order of time.

    Examples:
        >>> bars = [(10 + n, 9 + n, 12 + n, 11.1 + n) for n in range(30)]  # open, low, high, close
        >>> price_order(bars), price_order(bars[:5])
        (('open', 'low', 'high', 'close'), None)
    """
    if len(rows) < _LEAST_ROWS:
        return None
    columns = range(_COLUMNS)
    highs = [column for column in columns if all(row[column] == max(row) for row in rows)]
    lows = [column for column in columns if all(row[column] == min(row) for row in rows)]
    if len(highs) != 1 or len(lows) != 1 or highs == lows:
        return None
    first, second = (column for column in columns if column not in (*highs, *lows))
    votes = [0, 0]
    for before, row in pairwise(rows):
        # Either the first is the open, near to the second one before, or the other way round.
        away = abs(row[first] - before[second]), abs(row[second] - before[first])
        if away[0] != away[1]:
            votes[away[1] < away[0]] += 1
    if max(votes) * 100 < sum(votes) * _LEAST_PERCENT or not sum(votes) or votes[0] == votes[1]:
        return None
    is_second = votes[1] > votes[0]
    names = {highs[0]: "high", lows[0]: "low", first: "close" if is_second else "open"}
    names[second] = "open" if is_second else "close"
    return tuple(names[column] for column in columns)
