"""The dense book: sizes in one array over the price grid around the mid, the far levels in a side map.

A run of changes is applied with one indexed assignment (the last change of a level wins), and the best prices are
found by looking along from the last ones. It equals a naive book level for level.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from copy import copy
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.cards import card, ladder
from quantkit.clock import iso_of
from quantkit.errors import ConfigError, DataError
from quantkit.instruments import EXACT, Instrument, Side, common_step, decimal_of, off_grid, plain

#: Price steps held densely; the rest lives in the side map.
WINDOW: Final = 65_536
_CHUNK: Final = 512
_NO_BID: Final = -1
_BELOW_ALL: Final = int(np.iinfo(np.int64).min)
_ABOVE_ALL: Final = int(np.iinfo(np.int64).max)
_TENTH: Final = Decimal("0.1")
#: No grid counts a price in more ticks; some hundred times as many are no longer whole numbers as floats.
_MOST_TICKS: Final = 1e13
#: Sum of squared distances from the grid, in ticks, up to which no level can be off it.
_ALL_ON_GRID: Final = 1e-12
#: Whole numbers below it are floats.
_EXACT_FLOATS: Final = 2**53


@lru_cache(maxsize=4096)
def _per_price(tick: Decimal) -> float:
    """Return how many ticks one unit of price has."""
    # A fraction's inverse does not depend on the decimal context that the caller's thread has set.
    return float(1 / Fraction(tick))


def _finer_tick(tick: Decimal, prices: NDArray[np.float64]) -> Decimal:
    """Return the part of `tick` with the fewest decimals that every price is a multiple of, as far as floats tell."""
    highest, finer, unit = float(prices.max()), tick, Decimal(1)
    while off_grid(prices, _per_price(finer)).any() and highest * _per_price(finer) < _MOST_TICKS:
        finer = common_step((tick, unit))
        unit = EXACT.multiply(unit, _TENTH)
    return finer


class _SideRows:
    """One side of a block's book rows.

    Attributes:
        start: n + 1 offsets of the rows into `ticks` and `sizes`.
        ticks, sizes: The levels of all rows.
        tops: For each row the most aggressive tick that it sets to a size above zero; beyond every tick, on the side
            away from the market, if there is none.
        base: First tick of the window that the following go by, None before the first.
        places: Each level's place in its side's dense array; far levels, outside the window, share a spare.
        far: Which levels are far.
        far_start: n + 1 offsets of the rows into `far`; empty without far levels.
        has_stray: Whether a far level is set on the market's side of the window.
    """

    __slots__ = (
        "_edges",
        "_is_bid",
        "_removed",
        "base",
        "far",
        "far_start",
        "has_stray",
        "places",
        "sizes",
        "start",
        "ticks",
        "tops",
    )

    def __init__(self, column: Callable[[str], NDArray[Any]], side: Side, steps: NDArray[np.float64]) -> None:
        self._is_bid = side is Side.BUY
        name = "bid" if self._is_bid else "ask"
        self._edges: NDArray[np.int64] = column(f"{name}_start")
        self.start: list[int] = self._edges.tolist()
        self.sizes: NDArray[np.float64] = column(f"{name}_qtys")
        self.ticks: NDArray[np.int64] = steps.astype(np.int64)
        self.tops = self._most_aggressive(self.sizes > 0)
        self._removed: list[int] | None = None
        self.base: int | None = None
        self.places: NDArray[np.int64] = np.empty(0, np.int64)
        self.far: NDArray[np.int64] = np.empty(0, np.int64)
        self.far_start: list[int] = []
        self.has_stray = False

    def _most_aggressive(self, named: NDArray[np.bool_]) -> list[int]:
        """Return each row's most aggressive tick among some of the levels."""
        nothing = _BELOW_ALL if self._is_bid else _ABOVE_ALL
        if len(self.start) == 2:  # one row, as they come live: a list is quicker than five arrays
            ticks = self.ticks[named].tolist()
            return [(max(ticks) if self._is_bid else min(ticks)) if ticks else nothing]
        tops = np.full(len(self._edges) - 1, nothing, np.int64)
        filled = np.flatnonzero(np.diff(self._edges))
        if len(filled):
            reduce = np.maximum if self._is_bid else np.minimum
            tops[filled] = reduce.reduceat(np.where(named, self.ticks, nothing), self._edges[filled])
        top_list: list[int] = tops.tolist()
        return top_list

    @property
    def removed(self) -> list[int]:
        """For each row the most aggressive tick that it sets to zero, as in `tops`."""
        if self._removed is None:
            self._removed = self._most_aggressive(self.sizes == 0)
        return self._removed

    def place_in(self, base: int) -> None:
        """Work out where the levels stand when the window starts at tick `base`."""
        self.base = base
        places = self.ticks - base
        # A negative place is a huge one without its sign, so one comparison finds both ends.
        far = np.flatnonzero(places.view(np.uint64) >= WINDOW)
        self.places, self.far = places, far
        if len(far):
            places[far] = WINDOW
            ticks = self.ticks[far]
            self.has_stray = bool((self._are_strays(ticks) & (self.sizes[far] > 0)).any())
            self.far_start = far.searchsorted(self._edges).tolist()
        else:
            self.far_start, self.has_stray = [], False

    def _are_strays(self, ticks: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return a mask of the ticks on the market's side of the window."""
        assert self.base is not None
        return ticks >= self.base + WINDOW if self._is_bid else ticks < self.base

    def far_levels(self, first: int, last: int) -> Iterator[tuple[int, float]]:
        """Return the far levels of rows `first` to `last` (exclusive) in order."""
        far = self.far[self.far_start[first] : self.far_start[last]]
        return zip(self.ticks[far].tolist(), self.sizes[far].tolist(), strict=True)

    def sets_stray(self, first: int, last: int) -> bool:
        """Return whether one of the rows sets a far level on the market's side of the window."""
        far = self.far[self.far_start[first] : self.far_start[last]]
        return self.has_stray and bool((self._are_strays(self.ticks[far]) & (self.sizes[far] > 0)).any())

    def levels(self, row: int) -> dict[int, float]:
        """Return a snapshot row's levels by tick; of one named twice the last counts, and size 0 is none."""
        begin, end = self.start[row], self.start[row + 1]
        named = dict(zip(self.ticks[begin:end].tolist(), self.sizes[begin:end].tolist(), strict=True))
        return {tick: size for tick, size in named.items() if size > 0}


class BookRows:
    """The book rows of one block, made ready for a dense book.

    Attributes:
        bids, asks: The two sides.
        rows: How many there are.
        snapshots: Which of them are snapshots.
        base: First tick of the window in which the levels have their places, None before the first.
        has_far: Whether a level is outside that window.
        has_stray: Whether a far level is set on the market's side of it.

    Built from the block's `column` function, whose columns are named as in `rows.columns.KIND_COLUMNS`. A book that has
    applied all rows before them goes over to a finer grid where their prices need one.
    """

    __slots__ = ("asks", "base", "bids", "has_far", "has_stray", "rows", "snapshots")

    def __init__(self, column: Callable[[str], NDArray[Any]], book: "DenseBook") -> None:
        bids, asks = column("bid_prices"), column("ask_prices")
        self.bids = _SideRows(column, Side.BUY, book.steps_of(bids))
        tick = book.instrument.tick
        self.asks = _SideRows(column, Side.SELL, book.steps_of(asks))
        if tick != book.instrument.tick:
            self.bids = _SideRows(column, Side.BUY, book.steps_of(bids))
        self.rows = len(self.bids.start) - 1
        self.snapshots: list[int] = np.flatnonzero(column("is_snapshot")).tolist()
        self.base: int | None = None
        self.has_far = self.has_stray = False

    def place_in(self, base: int) -> None:
        """Work out where the levels stand when the window starts at tick `base`."""
        self.base = base
        self.bids.place_in(base)
        self.asks.place_in(base)
        self.has_far = bool(self.bids.far_start or self.asks.far_start)
        self.has_stray = self.bids.has_stray or self.asks.has_stray

    def off_step(self, first: int, last: int, ticks_per_step: int) -> int:
        """Return how many of rows `first` to `last` (exclusive) name a level that is on no multiple of some ticks."""
        rows = np.zeros(last - first, np.bool_)
        for side in (self.bids, self.asks):
            start = np.array(side.start[first : last + 1])
            off = np.concatenate(([0], np.cumsum(side.ticks[start[0] : start[-1]] % ticks_per_step != 0)))
            rows |= np.diff(off[start - start[0]]) > 0
        return int(rows.sum())

    def twin(self) -> "BookRows":
        """Return the same rows for a second book, whose window may lie elsewhere."""
        rows = copy(self)
        rows.bids, rows.asks = copy(self.bids), copy(self.asks)
        return rows

    def next_mover(self, first: int, last: int, book: "DenseBook") -> int:
        """Return the first of rows `first` to `last` (exclusive) that may move a book's best prices, `last` if none.

        A row does if it sets a better level than the best, or empties the best; a snapshot always may.
        """
        if self.snapshots:
            found = bisect_left(self.snapshots, first)
            if found < len(self.snapshots):
                last = min(last, self.snapshots[found])
        if not book.is_valid:
            return last
        bid, ask = book.best_bid_ticks(), book.best_ask_ticks()
        bid, ask = _BELOW_ALL if bid is None else bid, _ABOVE_ALL if ask is None else ask
        set_bids, set_asks, gone_bids, gone_asks = self.bids.tops, self.asks.tops, self.bids.removed, self.asks.removed
        for row in range(first, last):
            if set_bids[row] > bid or gone_bids[row] >= bid or set_asks[row] < ask or gone_asks[row] <= ask:
                return row
        return last

    def last_snapshot(self, first: int, last: int) -> int | None:
        """Return the last snapshot among rows `first` to `last` (exclusive), None when there is none."""
        found = bisect_left(self.snapshots, last) - 1
        return self.snapshots[found] if found >= 0 and self.snapshots[found] >= first else None

    def named_levels(self, row: int) -> set[tuple[Side, int]] | None:
        """Return the levels that a row of changes names; None for a snapshot, which names all."""
        if self.last_snapshot(row, row + 1) is not None:
            return None
        named: set[tuple[Side, int]] = set()
        for side, levels in ((Side.BUY, self.bids), (Side.SELL, self.asks)):
            ticks = levels.ticks[levels.start[row] : levels.start[row + 1]].tolist()
            named.update((side, tick) for tick in ticks)
        return named


class DenseBook:
    """The current book of one instrument. Invalid until the first snapshot and after a gap.

    Sizes are floats as the exchange gave them. Prices are ticks of the instrument's grid, or of a finer one that begins
    with the first level off it: levels are kept as they came, whatever orders may do with them.
    """

    __slots__ = (
        "_all_sizes",
        "_ask_low",
        "_base",
        "_bid_high",
        "_far_levels",
        "_has_stray",
        "_laid",
        "_late_end",
        "_late_first",
        "_late_rows",
        "_sizes",
        "_views",
        "instrument",
        "is_valid",
        "version",
    )

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.is_valid = False
        self.version = 0
        # Each side has a spare at its end, into which far levels go.
        self._all_sizes = np.zeros(2 * (WINDOW + 1))
        self._sizes = self._all_sizes[: WINDOW + 1], self._all_sizes[WINDOW + 1 :]  # bids, asks
        # For single sizes; the casts tell the type checker what they are.
        self._views = self._sizes[0].data.cast("B").cast("d"), self._sizes[1].data.cast("B").cast("d")
        self._base = 0
        self._far_levels: tuple[dict[int, float], dict[int, float]] = ({}, {})  # bids, asks; without the late ones
        # Applied rows whose far levels are not in the side map yet: often nobody asks for them before they change.
        self._late_rows: BookRows | None = None
        self._late_first = self._late_end = 0
        self._bid_high = _NO_BID  # no dense bid stands above this place
        self._ask_low = WINDOW  # no dense ask stands below this place
        self._has_stray = False  # a far level stands on the market's side: only where bid and ask are widely crossed
        self._laid: list[int] | None = []  # the places that are not empty; None once changes have come

    def twin(self) -> "DenseBook":
        """Return a book of the same levels, which goes its own way."""
        book = DenseBook(self.instrument)
        book.is_valid, book.version = self.is_valid, self.version
        book._all_sizes[:] = self._all_sizes
        book._base = self._base
        bids, asks = self._far
        book._far_levels = (dict(bids), dict(asks))
        book._bid_high, book._ask_low, book._has_stray = self._bid_high, self._ask_low, self._has_stray
        book._laid = None if self._laid is None else list(self._laid)
        return book

    def saved(self) -> "SavedBook":
        """Return the book in a small form, from which `of` makes an equal one."""
        bids, asks = self._far
        far = dict(bids), dict(asks)
        places = np.flatnonzero(self._all_sizes)
        places = places[(places != WINDOW) & (places != 2 * WINDOW + 1)]  # without the spares
        edges = self._bid_high, self._ask_low, self._has_stray
        return SavedBook(self.instrument, self.is_valid, self._base, places, self._all_sizes[places], far, edges)

    @classmethod
    def of(cls, saved: "SavedBook") -> "DenseBook":
        """Return the book that was saved."""
        book = cls(saved.instrument)
        book.is_valid, book._base = saved.is_valid, saved.base
        book._all_sizes[saved.places] = saved.sizes
        book._far_levels = dict(saved.far[0]), dict(saved.far[1])
        book._bid_high, book._ask_low, book._has_stray = saved.edges
        book._laid = None
        return book

    # Changing -------------------------------------------------------------------------------------------------

    def steps_of(self, prices: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return prices in whole ticks, going over to a finer grid if some are off this one."""
        exact = prices * _per_price(self.instrument.tick)
        ticks: NDArray[np.float64] = np.rint(exact)
        exact -= ticks
        # Not by `dot`, whose threads spin on for longer than the sum takes.
        np.multiply(exact, exact, out=exact)
        if exact.sum() <= _ALL_ON_GRID:
            return ticks
        tick = _finer_tick(self.instrument.tick, prices)
        if tick == self.instrument.tick:
            return ticks
        self._go_over_to(tick)
        return np.rint(prices * _per_price(tick))

    def _go_over_to(self, tick: Decimal) -> None:
        """Lay the book out anew on a finer grid."""
        factor = int(Fraction(self.instrument.tick) / Fraction(tick))
        bids, asks = ({ticks * factor: size for ticks, size in self.levels(side)} for side in (Side.BUY, Side.SELL))
        self.instrument = self.instrument.on_grid(tick, self.instrument.lot)
        self.version += 1
        self._base *= factor
        self._place(bids, asks)

    def invalidate(self) -> None:
        """Stop serving the book until the next snapshot."""
        self.is_valid = False
        self.version += 1

    def apply(self, rows: BookRows, first: int, last: int) -> None:
        """Apply rows `first` to `last` (exclusive); the last change of a level wins."""
        self.version += 1
        if rows.snapshots and rows.snapshots[-1] >= first:
            snapshot = rows.last_snapshot(first, last)
            if snapshot is not None:
                self._take_snapshot(rows, snapshot)
                first = snapshot + 1
        if first >= last or not self.is_valid:
            return
        base, bids, asks = self._base, rows.bids, rows.asks
        if rows.base != base:
            rows.place_in(base)
        begin, end = bids.start[first], bids.start[last]
        if begin != end:
            self._sizes[0][bids.places[begin:end]] = bids.sizes[begin:end]
            top = max(bids.tops[first:last]) - base
            # A stray top hides the others; `_keep_window` looks through all of them.
            if self._bid_high < top < WINDOW:
                self._bid_high = top
        begin, end = asks.start[first], asks.start[last]
        if begin != end:
            self._sizes[1][asks.places[begin:end]] = asks.sizes[begin:end]
            top = min(asks.tops[first:last]) - base
            if 0 <= top < self._ask_low:
                self._ask_low = top
        self._laid = None
        if rows.has_far:
            if self._late_rows is rows and self._late_end == first:
                self._late_end = last
            else:
                self._put_far()
                self._late_rows, self._late_first, self._late_end = rows, first, last
            if rows.has_stray:
                self._put_far()
        # A dense side that has been emptied is noticed by its next reader, who needs no window.
        if self._has_stray or self._bid_high < 0 or self._ask_low >= WINDOW:
            self._keep_window()

    def _take_snapshot(self, rows: BookRows, row: int) -> None:
        self.is_valid = True
        self._place(rows.bids.levels(row), rows.asks.levels(row))

    def _put_far(self) -> None:
        """Put the far levels of the noted rows into the side map, and note whether one is a stray."""
        rows, first, last = self._late_rows, self._late_first, self._late_end
        if rows is None:
            return
        self._late_rows = None
        if rows.base != self._base:  # another book has gone by the same rows
            rows.place_in(self._base)
        for levels, side in ((self._far_levels[0], rows.bids), (self._far_levels[1], rows.asks)):
            if not side.far_start:
                continue
            for tick, size in side.far_levels(first, last):
                if size > 0:
                    levels[tick] = size
                else:
                    levels.pop(tick, None)
            self._has_stray = self._has_stray or side.sets_stray(first, last)

    @property
    def _far(self) -> tuple[dict[int, float], dict[int, float]]:
        """The levels outside the window, bids and asks."""
        if self._late_rows is not None:
            self._put_far()
        return self._far_levels

    def _keep_window(self) -> None:
        """Move the window to the market where the market has left it."""
        bids, asks = self._far
        if not self._has_stray:
            if not (bids and self._bid_place() < 0) and not (asks and self._ask_place() >= WINDOW):
                return
            bid, ask = self.best_bid_ticks(), self.best_ask_ticks()
            # Around a spread as wide as the window nothing would be dense, wherever it lay: leave it where it is.
            if bid is not None and ask is not None and ask - bid >= WINDOW:
                return
        # A row's most aggressive level may have hidden another one inside the window: look through all of it.
        self._bid_high, self._ask_low = WINDOW - 1, 0
        bids, asks = (dict(self.levels(side)) for side in (Side.BUY, Side.SELL))
        self._place(bids, asks)

    def _place(self, bids: dict[int, float], asks: dict[int, float]) -> None:
        """Lay the book out anew, with its window moved to the mid where the mid has come near an edge."""
        best = [max(bids)] if bids else []
        best += [min(asks)] if asks else []
        if self._laid is None:
            self._all_sizes[:] = 0.0
        else:
            # One snapshot after the other: emptying the places of the last is all it takes.
            self._all_sizes[self._laid] = 0.0
        if best:
            wanted = sum(best) // len(best) - WINDOW // 2
            # A window that moves with every snapshot would have all the block's places worked out anew each time.
            is_near = abs(wanted - self._base) <= WINDOW // 4
            if not (is_near and all(0 <= tick - self._base < WINDOW for tick in best)):
                self._base = wanted
        base = self._base
        self._has_stray = bool(bids and max(bids) >= base + WINDOW) or bool(asks and min(asks) < base)
        self._far_levels, self._late_rows = ({}, {}), None
        self._bid_high = max(min(max(bids) - base, WINDOW - 1), _NO_BID) if bids else _NO_BID
        self._ask_low = min(max(min(asks) - base, 0), WINDOW) if asks else WINDOW
        self._laid = laid = []
        for side, levels in enumerate((bids, asks)):
            view, far, begin = self._views[side], self._far_levels[side], side * (WINDOW + 1)
            for tick, size in levels.items():
                place = tick - base
                if 0 <= place < WINDOW:
                    laid.append(begin + place)
                    view[place] = size
                else:
                    far[tick] = size

    # Reading --------------------------------------------------------------------------------------------------

    def _bid_place(self) -> int:
        """Return the place of the highest dense bid, below zero when there is none."""
        place, view = self._bid_high, self._views[0]
        if place < 0 or view[place] != 0.0:
            return place
        stop = max(place - 64, -1)
        while place > stop and view[place] == 0.0:
            place -= 1
        while place >= 0 and view[place] == 0.0:
            low = max(0, place - _CHUNK)
            found = np.flatnonzero(self._sizes[0][low : place + 1])
            place = low + int(found[-1]) if len(found) else low - 1
        self._bid_high = place
        return place

    def _ask_place(self) -> int:
        """Return the place of the lowest dense ask, `WINDOW` when there is none."""
        place, view = self._ask_low, self._views[1]
        if place >= WINDOW or view[place] != 0.0:
            return place
        stop = min(place + 64, WINDOW)
        while place < stop and view[place] == 0.0:
            place += 1
        while place < WINDOW and view[place] == 0.0:
            high = min(WINDOW, place + _CHUNK)
            found = np.flatnonzero(self._sizes[1][place:high])
            place = place + int(found[0]) if len(found) else high
        self._ask_low = place
        return place

    def best_bid_ticks(self) -> int | None:
        """Return the highest bid, None when there is none."""
        place = self._bid_high
        if place < 0 or self._views[0][place] == 0.0:
            place = self._bid_place()
        if place >= 0 and not self._has_stray:
            return self._base + place
        far = self._far[0]
        best = self._base + place if place >= 0 else None
        return best if not far else max(far) if best is None else max(best, *far)

    def best_ask_ticks(self) -> int | None:
        """Return the lowest ask, None when there is none."""
        place = self._ask_low
        if place >= WINDOW or self._views[1][place] == 0.0:
            place = self._ask_place()
        if place < WINDOW and not self._has_stray:
            return self._base + place
        far = self._far[1]
        best = self._base + place if place < WINDOW else None
        return best if not far else min(far) if best is None else min(best, *far)

    def size(self, side: Side, ticks: int) -> float:
        """Return the displayed size of a level, 0.0 when it is empty."""
        place = ticks - self._base
        if 0 <= place < WINDOW:
            return self._views[0 if side is Side.BUY else 1][place]
        return self._far[0 if side is Side.BUY else 1].get(ticks, 0.0)

    def levels(self, side: Side) -> Iterator[tuple[int, float]]:
        """Yield (ticks, size) of one side from the best price outward."""
        is_bid = side is Side.BUY
        far = self._far[0 if is_bid else 1]
        # Far levels come after the dense ones, but for strays, which are nearer to the market than the window.
        edge = self._base + WINDOW if is_bid else self._base
        strays = {t for t in far if (t >= edge if is_bid else t < edge)} if self._has_stray else set()
        yield from ((tick, far[tick]) for tick in sorted(strays, reverse=is_bid))
        dense = self._sizes[0 if is_bid else 1]
        place = self._bid_place() if is_bid else self._ask_place()
        while 0 <= place < WINDOW:
            if is_bid:
                low = max(0, place - _CHUNK + 1)
                found = np.flatnonzero(dense[low : place + 1])[::-1] + low
                place = low - 1
            else:
                high = min(WINDOW, place + _CHUNK)
                found = np.flatnonzero(dense[place:high]) + place
                place = high
            yield from zip((found + self._base).tolist(), dense[found].tolist(), strict=True)
        yield from ((tick, far[tick]) for tick in sorted(far.keys() - strays, reverse=is_bid))

    def all_levels(self, side: Side) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return ticks and sizes of one side from the best price outward, without a step of Python for each."""
        is_bid = side is Side.BUY
        dense, far = self._sizes[0 if is_bid else 1], self._far[0 if is_bid else 1]
        places = np.flatnonzero(dense[:WINDOW])
        if is_bid:
            places = places[::-1]
        ticks, sizes = places + self._base, dense[places]
        if far:
            # The far levels come after the dense ones, but for strays.
            ordered = sorted(far, reverse=is_bid)
            ticks = np.concatenate((ticks, np.array(ordered, np.int64)))
            sizes = np.concatenate((sizes, np.array([far[tick] for tick in ordered], np.float64)))
        if self._has_stray:
            order = np.argsort(-ticks if is_bid else ticks)
            ticks, sizes = ticks[order], sizes[order]
        return ticks, sizes

    def size_between(self, side: Side, low: int, high: int) -> float:
        """Return the displayed size of all levels from tick `low` to `high`, both included."""
        sizes = self._sizes[0 if side is Side.BUY else 1]
        first, last = low - self._base, high - self._base
        is_dense = first >= 0 and last < WINDOW
        first, last = max(first, 0), min(last, WINDOW - 1)
        dense = float(sizes[first : last + 1].sum()) if first <= last else 0.0
        if is_dense:
            return dense
        far = self._far[0 if side is Side.BUY else 1]
        return dense + sum(size for ticks, size in far.items() if low <= ticks <= high)

    def has_level_beyond(self, side: Side, ticks: int) -> bool:
        """Return whether a level is displayed at `ticks` or further from the market: then an empty one is known."""
        if side is Side.BUY:
            place = min(ticks - self._base, WINDOW - 1)
            if place >= 0 and self._sizes[0][: place + 1].any():
                return True
            return any(tick <= ticks for tick in self._far[0])
        place = max(ticks - self._base, 0)
        if place < WINDOW and self._sizes[1][place:WINDOW].any():
            return True
        return any(tick >= ticks for tick in self._far[1])

    def check_not_crossed(self, now_ns: int) -> None:
        """Refuse a book whose best bid is above its best ask; a locked one, bid at the ask, is no fault.

        Raises:
            DataError: The recording is crossed; it names the instrument and the moment.
        """
        # Bounds of the dense levels; far ones lie beyond them, but for strays.
        if self._bid_high <= self._ask_low and not self._has_stray:
            return
        bid, ask = self.best_bid_ticks(), self.best_ask_ticks()
        if bid is not None and ask is not None and bid > ask:
            name, price = self.instrument.id, self.instrument.price
            raise DataError(
                f"{name}: crossed book at {iso_of(now_ns)}: bid {price(bid)} > ask {price(ask)}; "
                "run `quantkit data check` and import the recording again"
            )


class SavedBook(NamedTuple):
    """A dense book in a small form.

    Attributes:
        instrument, is_valid: The book's.
        base: First tick of its window.
        places, sizes: What stands in the window.
        far: The levels outside of it, bids and asks.
        edges: Bounds of the dense levels, and whether a far one stands on the market's side of the window.
    """

    instrument: Instrument
    is_valid: bool
    base: int
    places: NDArray[np.int64]
    sizes: NDArray[np.float64]
    far: tuple[Mapping[int, float], Mapping[int, float]]
    edges: tuple[int, int, bool]


def _prices(instrument: Instrument, ticks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the floats nearest to numbers of ticks, as `Instrument.price`."""
    ratio = Fraction(instrument.tick)
    highest = int(np.abs(ticks).max(initial=0)) * ratio.numerator
    if max(highest, ratio.denominator) >= _EXACT_FLOATS:
        return np.array([instrument.price(each) for each in ticks.tolist()], np.float64)
    # A quotient of whole numbers is correctly rounded.
    prices: NDArray[np.float64] = (ticks * ratio.numerator) / float(ratio.denominator)
    return prices


#: In a notebook, of each side.
_SHOWN_LEVELS: Final = 8
#: Of a view that is no copy.
_NO_LEVELS: Final[Mapping[Side, NDArray[np.float64]]] = {}


class Book:
    """A read view of the current book, valid inside the hook that got it; `copy()` keeps its levels.

    Raises:
        ConfigError: A reading after the hook, when the book has changed.
    """

    __slots__ = ("_book", "_levels", "_version", "exchange_ns", "instrument", "received_ns")

    def __init__(self, book: DenseBook, *, exchange_ns: int, received_ns: int) -> None:
        self.instrument = book.instrument.id
        self.exchange_ns = exchange_ns
        self.received_ns = received_ns
        self._book: DenseBook | None = book
        self._version = book.version
        self._levels = _NO_LEVELS

    def _live(self) -> DenseBook:
        book = self._book
        if book is None or book.version != self._version:
            raise ConfigError(f"{self.instrument}: this book view is stale; call book.copy() to keep levels")
        return book

    @property
    def best_bid(self) -> float | None:
        """Highest bid price, None when nobody bids."""
        if self._book is None:
            levels = self._levels[Side.BUY]
            return float(levels[0, 0]) if len(levels) else None
        ticks = self._live().best_bid_ticks()
        return None if ticks is None else self._book.instrument.price(ticks)

    @property
    def best_ask(self) -> float | None:
        """Lowest ask price, None when nobody offers."""
        if self._book is None:
            levels = self._levels[Side.SELL]
            return float(levels[0, 0]) if len(levels) else None
        ticks = self._live().best_ask_ticks()
        return None if ticks is None else self._book.instrument.price(ticks)

    @property
    def bid_qty(self) -> float:
        """Size at the best bid, 0.0 when nobody bids."""
        return self._best_qty(Side.BUY)

    @property
    def ask_qty(self) -> float:
        """Size at the best ask, 0.0 when nobody offers."""
        return self._best_qty(Side.SELL)

    def _best_qty(self, side: Side) -> float:
        if self._book is None:
            levels = self._levels[side]
            return float(levels[0, 1]) if len(levels) else 0.0
        book = self._live()
        ticks = book.best_bid_ticks() if side is Side.BUY else book.best_ask_ticks()
        return 0.0 if ticks is None else book.size(side, ticks)

    @property
    def mid(self) -> float | None:
        """Middle of the best prices, None when a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else (bid + ask) / 2

    @property
    def spread(self) -> float | None:
        """Best ask less best bid, None when a side is empty."""
        bid, ask = self.best_bid, self.best_ask
        return None if bid is None or ask is None else ask - bid

    def depth(self, levels: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the best `levels` bids and asks, each of shape (<= levels, 2): price and size, best first."""
        return self._side(Side.BUY, levels), self._side(Side.SELL, levels)

    @property
    def bids(self) -> NDArray[np.float64]:
        """All bids, shape (n, 2): price and size, best first."""
        return self._side(Side.BUY, None)

    @property
    def asks(self) -> NDArray[np.float64]:
        """All asks, shape (n, 2): price and size, best first."""
        return self._side(Side.SELL, None)

    def _side(self, side: Side, count: int | None) -> NDArray[np.float64]:
        if count is not None and count < 0:
            raise ConfigError(f"{self.instrument}: {count} levels of the book asked for; give zero or more")
        if self._book is None:
            return self._levels[side][:count].copy()
        book = self._live()
        if count is None:
            ticks, sizes = book.all_levels(side)
            return np.column_stack((_prices(book.instrument, ticks), sizes))
        rows: list[tuple[float, float]] = []
        price = book.instrument.price
        for tick, size in book.levels(side):
            if len(rows) >= count:
                break
            rows.append((price(tick), size))
        return np.array(rows, np.float64).reshape(-1, 2)

    def imbalance(self, levels: int = 1) -> float:
        """Return (bid size - ask size) / (both) over the best `levels`, in [-1, 1]; 0.0 for an empty book."""
        bids, asks = self.depth(levels)
        bid, ask = float(bids[:, 1].sum()), float(asks[:, 1].sum())
        return (bid - ask) / (bid + ask) if bid + ask > 0 else 0.0

    def copy(self, levels: int | None = None) -> "Book":
        """Return a copy that stays readable after the hook.

        Args:
            levels: How many of each side; default all.
        """
        kept = Book.__new__(Book)
        kept.instrument, kept.exchange_ns, kept.received_ns = self.instrument, self.exchange_ns, self.received_ns
        kept._levels = {side: self._side(side, levels) for side in (Side.BUY, Side.SELL)}
        kept._book, kept._version = None, 0
        return kept

    def __repr__(self) -> str:
        if self._book is not None and self._book.version != self._version:
            return f"Book({self.instrument!r}, stale)"
        return f"Book({self.instrument!r}, bid={self.best_bid} x {self.bid_qty}, ask={self.best_ask} x {self.ask_qty})"

    def _repr_html_(self) -> str:
        """Return the best levels as a notebook shows them."""
        title = f"Book {self.instrument}"
        if self._book is not None and self._book.version != self._version:
            return card(title, "stale: book.copy() keeps levels", rows=())
        bids, asks = self.depth(_SHOWN_LEVELS)
        largest = max([*bids[:, 1].tolist(), *asks[:, 1].tolist()], default=0.0) or 1.0
        prices = [decimal_of(price) for side in (bids, asks) for price in side[:, 0].tolist()]
        step = Decimal(1).scaleb(-max((len(plain(price).partition(".")[2]) for price in prices), default=0))
        texts = iter([str(price.quantize(step)) for price in prices])
        sides = [[(next(texts), plain(qty), qty / largest) for qty in side[:, 1].tolist()] for side in (bids, asks)]
        spread = f"spread {plain(prices[len(bids)] - prices[0])}" if len(bids) and len(asks) else ""
        return ladder(title, iso_of(self.received_ns), bids=sides[0], asks=sides[1], more=spread)
