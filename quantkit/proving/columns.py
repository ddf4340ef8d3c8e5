"""Whether the further columns of candles knew more than had happened: their relation to what came after."""

import math
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from quantkit.feeds.replay import StoredRows
from quantkit.rows.columns import Stream

#: Of a longer history so many candles are looked at.
_ROWS_MAX: Final = 50_000
#: Fewer say nothing.
_ROWS_MIN: Final = 30
#: How many candles ahead a relation is looked for.
_AHEAD: Final = (1, 2, 3, 5, 8, 13, 24, 48)
#: No column that is known in time is related to the next moves like this, and that often.
_STRONG: Final = 0.3
_SURE: Final = 6.0
#: This share of a column's values being prices of later candles, and of no candle so far, is no chance.
_COPIED: Final = 0.5
_PRICES: Final = ("close", "open", "high", "low")
#: Averages of so many closes are known to everybody.
_MEANS: Final = (5, 10, 30, 100)
#: So far back a price is looked for that a column may have from there.
_BACK: Final = 500

_Numbers = NDArray[np.float64]


class Knowledge(msgspec.Struct, frozen=True):
    """What a further column had to do with the candles after its own.

    Attributes:
        column, stream: Which column of which candles.
        copied: The share of rows whose value is a price of a later candle and of none so far.
        copied_price, copied_ahead: Which price, and how many candles later at most.
        relation: The strongest correlation with the move over the next candles, beside what the candles themselves say.
        ahead: How many candles.
        deviations: Of that correlation, in standard deviations of what chance gives.
        late_relation: The same correlation, of the value one row before.
    """

    column: str
    stream: str
    copied: float
    copied_price: str
    copied_ahead: int
    relation: float
    ahead: int
    deviations: float
    late_relation: float

    @property
    def knows_more(self) -> bool:
        """Whether the column cannot have been known at its candle's close."""
        return self.copied >= _COPIED or (abs(self.relation) >= _STRONG and self.deviations >= _SURE)


def further_columns(rows: StoredRows) -> list[Knowledge]:
    """Return the further columns of numbers, with what they knew."""
    found = []
    for stream in sorted(each for each in rows.coverage() if each.kind == "candle"):
        found += _of_stream(stream, rows)
    return found


def _of_stream(stream: Stream, rows: StoredRows) -> list[Knowledge]:
    held = rows.coverage()[stream]
    prices: dict[str, list[_Numbers]] = {name: [] for name in _PRICES}
    extras: list[dict[str, object]] = []
    for block in rows.rows(stream, held.start_ns, held.end_ns):
        if not block.has_extras or len(extras) >= _ROWS_MAX:
            break
        extras += block.extras()
        for name, columns in prices.items():
            columns.append(block.column(name))
    if len(extras) < _ROWS_MIN:
        return []
    joined = {name: np.concatenate(columns) for name, columns in prices.items()}
    names = dict.fromkeys(name for row in extras for name in row)
    found = []
    for name in names:
        values = [row.get(name) for row in extras]
        if all(isinstance(value, int | float) for value in values):
            found.append(knowledge(name, str(stream), np.array(values, np.float64), joined))
    return found


def knowledge(column: str, stream: str, values: _Numbers, prices: dict[str, _Numbers]) -> Knowledge:
    """Return what a column knew.

    Args:
        column, stream: Its name and that of the candles.
        values: Shape (n,), NaN where there is none.
        prices: `close open high low`, each of shape (n,).
    """
    share, price, steps = _copied(values, prices)
    close = prices["close"]
    best = (0.0, 0, 0.0, 0.0)
    known = _known(prices)
    # A level is looked at by its distance from the price, a signal as it is.
    for shown in (values, values / close - 1):
        for ahead in _AHEAD:
            if ahead >= len(close):
                break
            move = np.log(close[ahead:] / close[:-ahead])
            relation, count = _correlation(shown[:-ahead], move, known[:-ahead])
            # Moves over several candles overlap, and are that much fewer.
            deviations = abs(relation) * math.sqrt(count / ahead)
            if deviations > best[2]:
                late, _ = _correlation(shown[: -ahead - 1], move[1:], known[1:-ahead])
                best = (relation, ahead, deviations, late)
    return Knowledge(column, stream, share, price, steps, *best)


def _copied(values: _Numbers, prices: dict[str, _Numbers]) -> tuple[float, str, int]:
    """Return which share of values are prices of later candles and of none so far, of which price, how much later."""
    known = np.isfinite(values)
    if known.sum() < _ROWS_MIN:
        return 0.0, "", 0
    past = np.zeros(len(values), np.bool_)
    for column in prices.values():
        for back in range(min(_BACK, len(values))):
            past[back:] |= values[back:] == column[: len(values) - back]
    best = (0.0, "", 0)
    for name, column in prices.items():
        later = np.zeros(len(values), np.bool_)
        for ahead in range(1, max(_AHEAD) + 1):
            if ahead >= len(values):
                break
            later[:-ahead] |= values[:-ahead] == column[ahead:]
            share = float((later & ~past & known).sum() / known.sum())
            if share > best[0] + 0.01:
                best = (share, name, ahead)
    return best


def _known(prices: dict[str, _Numbers]) -> _Numbers:
    """Return what candles so far say of the next one, shape (n, 11): a market may bounce back or go on."""
    opens, high, low, close = (prices[name] for name in ("open", "high", "low", "close"))
    moves = np.diff(np.log(close), prepend=math.nan)
    earlier = [np.concatenate((np.full(back, math.nan), moves[: len(moves) - back])) for back in (1, 2)]
    sums = np.concatenate(([0.0], np.cumsum(close)))
    means = []
    for length in _MEANS:
        first = np.maximum(np.arange(len(close)) - length + 1, 0)
        means.append((sums[1:] - sums[first]) / (np.arange(len(close)) - first + 1) / close - 1)
    columns = [np.ones(len(close)), moves, *earlier, opens / close - 1, high / close - 1, low / close - 1, *means]
    return np.asarray(np.nan_to_num(np.column_stack(columns)), np.float64)


def _correlation(values: _Numbers, moves: _Numbers, known: _Numbers) -> tuple[float, int]:
    """Return the correlation of what `known` does not explain of either, and over how many rows."""
    both = np.isfinite(values) & np.isfinite(moves)
    count = int(both.sum())
    if count < _ROWS_MIN:
        return 0.0, count
    base = known[both]
    gram = base.T @ base
    # Columns that depend on each other, as where all candles are alike, would have no solution.
    gram += np.eye(len(gram)) * (1e-12 * float(np.trace(gram)))
    rests = []
    for numbers in (values[both], moves[both]):
        rest: _Numbers = numbers - base @ np.linalg.solve(gram, base.T @ numbers)
        # What is explained but for rounding says nothing.
        rests.append(rest if np.abs(rest).max() > 1e-9 * np.abs(numbers).max() else np.zeros(count))
    scale = math.sqrt(float(rests[0] @ rests[0]) * float(rests[1] @ rests[1]))
    return (float(rests[0] @ rests[1]) / scale if scale > 0 else 0.0), count
