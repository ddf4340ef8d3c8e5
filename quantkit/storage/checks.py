"""Checks of stored values, vectorised, the same on writing and on decoding."""

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_MIN, iso_of
from quantkit.errors import DataError
from quantkit.events import EVENT_KINDS
from quantkit.rows.columns import Block, Column

Mask = NDArray[np.bool_]

#: Rates that are closer than this are no settlements: those are an hour apart at least, but for a few ms of either.
LEAST_SETTLEMENT_NS: Final = 30 * NS_PER_MIN


class RowSource:
    """Where checked rows come from, to say it in an error.

    Args:
        label: The file or the stream.
        received_ns: The rows' stamps, shape (n,).
        first_row: Number of the first of them, counted from 0 within the file or the stream.
    """

    __slots__ = ("first_row", "label", "received_ns")

    def __init__(self, label: str, received_ns: Column, first_row: int) -> None:
        self.label = label
        self.received_ns = received_ns
        self.first_row = first_row

    def error(self, index: int, what: str) -> DataError:
        """Return the error about row `index`."""
        stamp = iso_of(int(self.received_ns[index]))
        return DataError(f"{self.label}, row {self.first_row + index} ({stamp}): {what}")


def _not_price(values: Column) -> Mask:
    return ~((values > 0) & (values < np.inf))


def _not_size(values: Column) -> Mask:
    return ~((values >= 0) & (values < np.inf))


def _not_finite(values: Column) -> Mask:
    return ~np.isfinite(values)


def _not_side(values: Column) -> Mask:
    return ~np.isin(values, (0, 1))


class Rule:
    """What one column's values have to be.

    `bounds` is the quick test: the extremes of good values pass it, and a NaN among them fails it. `bad` finds the
    culprits only when it failed.
    """

    __slots__ = ("_bad", "_passes", "text")

    def __init__(self, text: str, passes: Callable[[float, float], bool], bad: Callable[[Column], Mask]) -> None:
        self.text = text
        self._passes = passes
        self._bad = bad

    def first_bad(self, values: Column) -> int | None:
        """Return the index of the first value that breaks the rule."""
        # A minimum and a maximum without an array of flags in between: this runs over every decoded value. Both turn
        # NaN where one is among the values, and no comparison holds for that.
        if not values.size or self._passes(values.min(), values.max()):
            return None
        return int(np.flatnonzero(self._bad(values))[0])


#: The rules that `events.EVENT_KINDS` names.
RULES: Final[dict[str, Rule]] = {
    "price": Rule("a price is a finite number above zero", lambda low, high: low > 0 and high < np.inf, _not_price),
    "size": Rule("a size is a finite number, zero or above", lambda low, high: low >= 0 and high < np.inf, _not_size),
    "number": Rule("it must be a finite number", lambda low, high: low > -np.inf and high < np.inf, _not_finite),
    "side": Rule("a side is 0 (buy) or 1 (sell)", lambda low, high: low >= 0 and high <= 1, _not_side),
}
#: The rules of each stored kind's columns, and the columns in which NaN is an absent value.
_RULES_OF: Final[dict[str, dict[str, Rule]]] = {
    kind.name: {field.name: RULES[field.rule] for field in kind.fields if field.rule}
    for kind in EVENT_KINDS.values()
    if kind.is_stored
}
_OPTIONAL: Final = frozenset(
    (kind.name, field.name) for kind in EVENT_KINDS.values() for field in kind.fields if field.type == "optional"
)


def check_values(kind: str, name: str, values: Column, rows: RowSource, starts: Column | None = None) -> None:
    """Refuse a column that holds a value it may never hold.

    Args:
        values: One for each row; book levels lie flat, and `starts` has the rows' n + 1 offsets into them. NaN in an
            optional column is an absent value.

    Raises:
        DataError: The first bad value, with its row.
    """
    rule = _RULES_OF[kind].get(name)
    if rule is None:
        return
    places = None
    if (kind, name) in _OPTIONAL:
        absent = np.isnan(values)
        if absent.any():
            places = np.flatnonzero(~absent)
            values = values[places]
    index = rule.first_bad(values)
    if index is None:
        return
    value = values[index]
    if places is not None:
        index = int(places[index])
    row = index if starts is None else int(np.searchsorted(starts, index, side="right")) - 1
    raise rows.error(row, f"{name} is {value}; {rule.text}")


def check_order(received_ns: Column, rows: RowSource) -> None:
    """Refuse stamps that go back.

    Raises:
        DataError: The first row whose stamp lies before its predecessor's.
    """
    back = received_ns[1:] < received_ns[:-1]
    if back.any():
        row = int(np.argmax(back)) + 1
        before = iso_of(int(received_ns[row - 1]))
        raise rows.error(row, f"received_ns goes back from {before}; rows must be sorted by received_ns and seq")


def check_seq(seq: Column, received_ns: Column, rows: RowSource) -> None:
    """Refuse row numbers that do not rise among rows of one stamp.

    Raises:
        DataError: The first row whose number repeats or goes back.
    """
    wrong = (seq[1:] <= seq[:-1]) & (received_ns[1:] == received_ns[:-1])
    if wrong.any():
        row = int(np.argmax(wrong)) + 1
        raise rows.error(row, f"seq {seq[row]} follows {seq[row - 1]} at the same stamp; rows of one stamp must rise")


def check_candles(block: Block, rows: RowSource) -> None:
    """Refuse candles that contradict themselves or come twice.

    Raises:
        DataError: The first candle that closes before it opens, whose range does not hold its open and close, or that
            does not open after its predecessor.
    """
    low, high = block.column("low"), block.column("high")
    opened, closed = block.column("open_ns"), block.column("close_ns")
    for name in ("open", "close"):
        value = block.column(name)
        outside = (value < low) | (value > high)
        if outside.any():
            row = int(np.argmax(outside))
            raise rows.error(row, f"{name} {value[row]} lies outside of low {low[row]} to high {high[row]}")
    wrong = closed <= opened
    if wrong.any():
        row = int(np.argmax(wrong))
        raise rows.error(row, f"the candle closes at {iso_of(int(closed[row]))}, not after it opens")
    repeated = opened[1:] <= opened[:-1]
    if repeated.any():
        row = int(np.argmax(repeated)) + 1
        raise rows.error(row, f"the candle opens at {iso_of(int(opened[row]))}, not after the one before it")


def best_prices(prices: Column, qtys: Column, starts: Column, *, highest: bool) -> Column:
    """Return each row's best price among its levels of a size above zero, shape (n,).

    Rows without such a level give -inf for bids (`highest`) and inf for asks.
    """
    nothing = -np.inf if highest else np.inf
    best = np.full(len(starts) - 1, nothing)
    filled = np.flatnonzero(starts[1:] > starts[:-1])
    if filled.size:
        reduce = np.maximum.reduceat if highest else np.minimum.reduceat
        # Rows without levels take no room, so each filled row's levels end where the next filled row's begin.
        best[filled] = reduce(np.where(qtys > 0, prices, nothing), starts[filled])
    return best


def check_snapshots(columns: Mapping[str, Column], rows: RowSource) -> None:
    """Refuse snapshots whose best bid is above the best ask; bid at the ask, as at the end of an auction, is no fault.

    Raises:
        DataError: The first crossed snapshot.
    """
    snapshots = np.flatnonzero(columns["is_snapshot"])
    if not snapshots.size:
        return
    # Mostly a snapshot comes first and is the only one: the changes behind the last one need no look.
    first, stop = int(snapshots[0]), int(snapshots[-1]) + 1
    bids, asks = (_best_between(columns, side, first, stop) for side in ("bid", "ask"))
    crossed = snapshots[(bids > asks)[snapshots - first]]
    if crossed.size:
        row = int(crossed[0])
        bid, ask = bids[row - first], asks[row - first]
        raise rows.error(row, f"the snapshot is crossed: best bid {bid} is above best ask {ask}")


def _best_between(columns: Mapping[str, Column], side: str, first: int, stop: int) -> Column:
    """Return the best price of one side of rows `first` to `stop` (exclusive) of a book."""
    starts = columns[f"{side}_start"][first : stop + 1]
    begin, end = int(starts[0]), int(starts[-1])
    prices, qtys = columns[f"{side}_prices"][begin:end], columns[f"{side}_qtys"][begin:end]
    return best_prices(prices, qtys, starts - begin, highest=side == "bid")
