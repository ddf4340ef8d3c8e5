"""The dense book: sizes in one array over the price grid around the mid, the far levels in a side map.

A run of changes is applied with one indexed assignment (the last change of a level wins), and the best prices are
found by looking along from the last ones. It equals a naive book level for level.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quantkit.errors import DataError
from quantkit.instruments import Instrument, Side

#: Price steps held densely; the rest lives in the side map.
WINDOW: Final = 65_536
_CHUNK: Final = 512
_NO_BID: Final = -1


class BookRows:
    """The book rows of one block, made ready for a dense book: levels of both sides in row order.

    Built from the block's `column` function, whose columns are named as in `storage.columns`.

    `start` holds n + 1 offsets into `ticks` and `sizes`; `is_bid` tells the side of each level. `top_bid[i]` and
    `top_ask[i]` are the most aggressive ticks that row i sets to a size above zero, or None.
    """

    __slots__ = (
        "_index",
        "base",
        "far",
        "is_bid",
        "rows",
        "sizes",
        "snapshots",
        "start",
        "ticks",
        "top_ask",
        "top_bid",
    )

    def __init__(self, column: Callable[[str], NDArray[Any]], instrument: Instrument) -> None:
        bid_start, ask_start = column("bid_start"), column("ask_start")
        bid_count, ask_count = np.diff(bid_start), np.diff(ask_start)
        total = int(bid_start[-1] + ask_start[-1])
        self.rows = len(bid_count)
        offsets = bid_start + ask_start
        bid_place = np.arange(int(bid_start[-1])) + np.repeat(ask_start[:-1], bid_count)
        ask_place = np.arange(int(ask_start[-1])) + np.repeat(bid_start[1:], ask_count)
        prices = np.empty(total)
        prices[bid_place], prices[ask_place] = column("bid_prices"), column("ask_prices")
        self.sizes: NDArray[np.float64] = np.empty(total)
        self.sizes[bid_place], self.sizes[ask_place] = column("bid_qtys"), column("ask_qtys")
        self.is_bid: NDArray[np.bool_] = np.zeros(total, np.bool_)
        self.is_bid[bid_place] = True
        self.ticks: NDArray[np.int64] = np.rint(prices * float(1 / instrument.price_step)).astype(np.int64)
        self.start: list[int] = offsets.tolist()
        self.top_bid = self._tops(bid_start, bid_place, highest=True)
        self.top_ask = self._tops(ask_start, ask_place, highest=False)
        self.snapshots: list[int] = np.flatnonzero(column("is_snapshot")).tolist()
        self.base: int | None = None
        self.far: list[int] = []
        self._index: NDArray[np.int64] = np.empty(0, np.int64)

    def _tops(self, start: NDArray[np.int64], place: NDArray[np.int64], *, highest: bool) -> list[int | None]:
        """Return for each row the most aggressive tick of one side with a size above zero."""
        nothing = np.iinfo(np.int64).min if highest else np.iinfo(np.int64).max
        ticks = np.where(self.sizes[place] > 0, self.ticks[place], nothing)
        tops = np.full(self.rows, nothing, np.int64)
        filled = np.flatnonzero(np.diff(start))
        if len(filled):
            reduce = np.maximum if highest else np.minimum
            tops[filled] = reduce.reduceat(ticks, start[filled])
        return [None if top == nothing else top for top in tops.tolist()]

    def named_levels(self, row: int) -> set[tuple[Side, int]] | None:
        """Return the levels that a row of changes names; None for a snapshot, which names all."""
        if row in self.snapshots:
            return None
        begin, end = self.start[row], self.start[row + 1]
        sides = [Side.BUY if bid else Side.SELL for bid in self.is_bid[begin:end].tolist()]
        return set(zip(sides, self.ticks[begin:end].tolist(), strict=True))

    def index_for(self, base: int) -> NDArray[np.int64]:
        """Return each level's place in a dense array whose window starts at tick `base`; far ones share a spare."""
        if self.base != base:
            self.base = base
            place = self.ticks - base
            inside = (place >= 0) & (place < WINDOW)
            place[~self.is_bid] += WINDOW
            self.far = np.flatnonzero(~inside).tolist()
            place[self.far] = 2 * WINDOW
            self._index = place
        return self._index


class DenseBook:
    """The current book of one instrument. Invalid until the first snapshot and after a gap.

    Sizes are floats as the exchange gave them, prices are ticks of the instrument's price step.
    """

    __slots__ = ("_ask_low", "_base", "_bid_high", "_far", "_sizes", "_view", "instrument", "is_valid", "version")

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.is_valid = False
        self.version = 0
        self._sizes = np.zeros(2 * WINDOW + 1)
        self._view = memoryview(self._sizes.data)
        self._base = 0
        self._far: tuple[dict[int, float], dict[int, float]] = ({}, {})  # bids, asks
        self._bid_high = _NO_BID  # no dense bid stands above this place
        self._ask_low = WINDOW  # no dense ask stands below this place

    # Changing -------------------------------------------------------------------------------------------------

    def invalidate(self) -> None:
        """Stop serving the book until the next snapshot."""
        self.is_valid = False
        self.version += 1

    def apply(self, rows: BookRows, first: int, last: int) -> None:
        """Apply rows `first` to `last` (exclusive); the last change of a level wins."""
        self.version += 1
        if rows.snapshots:
            for row in reversed(rows.snapshots):
                if first <= row < last:
                    self._take_snapshot(rows, row)
                    first = row + 1
                    break
        if first >= last or not self.is_valid:
            return
        begin, end = rows.start[first], rows.start[last]
        if begin == end:
            return
        index = rows.index_for(self._base)
        self._sizes[index[begin:end]] = rows.sizes[begin:end]
        if rows.far:
            self._apply_far(rows, begin, end)
        base = self._base
        for top in rows.top_bid[first:last]:
            if top is not None and self._bid_high < top - base < WINDOW:
                self._bid_high = top - base
        for top in rows.top_ask[first:last]:
            if top is not None and 0 <= top - base < self._ask_low:
                self._ask_low = top - base
        if rows.far and self._left_window():
            self._rebuild()

    def _take_snapshot(self, rows: BookRows, row: int) -> None:
        begin, end = rows.start[row], rows.start[row + 1]
        is_bid = rows.is_bid[begin:end].tolist()
        bids: dict[int, float] = {}
        asks: dict[int, float] = {}
        for bid, tick, size in zip(is_bid, rows.ticks[begin:end].tolist(), rows.sizes[begin:end].tolist(), strict=True):
            if size > 0:
                (bids if bid else asks)[tick] = size
        self.is_valid = True
        self._place(bids, asks)

    def _apply_far(self, rows: BookRows, begin: int, end: int) -> None:
        far = rows.far
        low, high = int(np.searchsorted(far, begin)), int(np.searchsorted(far, end))
        for level in far[low:high]:
            levels = self._far[0 if rows.is_bid[level] else 1]
            tick, size = int(rows.ticks[level]), float(rows.sizes[level])
            if size > 0:
                levels[tick] = size
            else:
                levels.pop(tick, None)

    def _left_window(self) -> bool:
        """Whether the market itself, not just its far levels, has moved out of the window."""
        top = self._base + WINDOW
        bids, asks = self._far
        if any(tick >= top for tick in bids) or any(tick < self._base for tick in asks):
            return True
        return bool((bids and self._dense_bid() < 0) or (asks and self._dense_ask() >= WINDOW))

    def _rebuild(self) -> None:
        bids, asks = (dict(self.levels(side)) for side in (Side.BUY, Side.SELL))
        self._place(bids, asks)

    def _place(self, bids: dict[int, float], asks: dict[int, float]) -> None:
        """Lay the book out anew with its window around the mid."""
        best = [max(bids)] if bids else []
        best += [min(asks)] if asks else []
        self._base = (sum(best) // len(best) if best else self._base + WINDOW // 2) - WINDOW // 2
        self._sizes[:] = 0.0
        self._far = ({}, {})
        self._bid_high, self._ask_low = _NO_BID, WINDOW
        for side, levels in enumerate((bids, asks)):
            for tick, size in levels.items():
                place = tick - self._base
                if 0 <= place < WINDOW:
                    self._sizes[place + side * WINDOW] = size
                    if side == 0:
                        self._bid_high = max(self._bid_high, place)
                    else:
                        self._ask_low = min(self._ask_low, place)
                else:
                    self._far[side][tick] = size

    # Reading --------------------------------------------------------------------------------------------------

    def _dense_bid(self) -> int:
        """Look down from the last best bid for the first level with a size."""
        view, place = self._view, self._bid_high
        stop = max(place - 64, -1)
        while place > stop and view[place] == 0.0:
            place -= 1
        while place >= 0 and view[place] == 0.0:
            low = max(0, place - _CHUNK)
            found = np.flatnonzero(self._sizes[low : place + 1])
            place = low + int(found[-1]) if len(found) else low - 1
        self._bid_high = place
        return place

    def _dense_ask(self) -> int:
        """Look up from the last best ask for the first level with a size."""
        view, place = self._view, self._ask_low
        stop = min(place + 64, WINDOW)
        while place < stop and view[WINDOW + place] == 0.0:
            place += 1
        while place < WINDOW and view[WINDOW + place] == 0.0:
            high = min(WINDOW, place + _CHUNK)
            found = np.flatnonzero(self._sizes[WINDOW + place : WINDOW + high])
            place = place + int(found[0]) if len(found) else high
        self._ask_low = place
        return place

    def best_bid_ticks(self) -> int | None:
        """Return the highest bid, None when there is none."""
        place = self._dense_bid()
        if place >= 0:
            return self._base + place
        return max(self._far[0]) if self._far[0] else None

    def best_ask_ticks(self) -> int | None:
        """Return the lowest ask, None when there is none."""
        place = self._dense_ask()
        if place < WINDOW:
            return self._base + place
        return min(self._far[1]) if self._far[1] else None

    def size(self, side: Side, ticks: int) -> float:
        """Return the displayed size of a level, 0.0 when it is empty."""
        place = ticks - self._base
        if 0 <= place < WINDOW:
            return self._view[place if side is Side.BUY else WINDOW + place]
        return self._far[0 if side is Side.BUY else 1].get(ticks, 0.0)

    def levels(self, side: Side) -> Iterator[tuple[int, float]]:
        """Yield (ticks, size) of one side from the best price outward."""
        dense = self._sizes[:WINDOW] if side is Side.BUY else self._sizes[WINDOW : 2 * WINDOW]
        if side is Side.BUY:
            above = sorted((t for t in self._far[0] if t >= self._base + WINDOW), reverse=True)
            below = sorted((t for t in self._far[0] if t < self._base), reverse=True)
            first, rest, far = above, below, self._far[0]
            place = self._dense_bid()
        else:
            first = sorted(t for t in self._far[1] if t < self._base)
            rest, far = sorted(t for t in self._far[1] if t >= self._base + WINDOW), self._far[1]
            place = self._dense_ask()
        yield from ((tick, far[tick]) for tick in first)
        while 0 <= place < WINDOW:
            if side is Side.BUY:
                low = max(0, place - _CHUNK + 1)
                found = np.flatnonzero(dense[low : place + 1])[::-1] + low
                place = low - 1
            else:
                high = min(WINDOW, place + _CHUNK)
                found = np.flatnonzero(dense[place:high]) + place
                place = high
            yield from zip((found + self._base).tolist(), dense[found].tolist(), strict=True)
        yield from ((tick, far[tick]) for tick in rest)

    def has_level_beyond(self, side: Side, ticks: int) -> bool:
        """Return whether a level is displayed at `ticks` or further from the market: then an empty one is known."""
        if side is Side.BUY:
            place = min(ticks - self._base, WINDOW - 1)
            if place >= 0 and self._sizes[: place + 1].any():
                return True
            return any(tick <= ticks for tick in self._far[0])
        place = max(ticks - self._base, 0)
        if place < WINDOW and self._sizes[WINDOW + place : 2 * WINDOW].any():
            return True
        return any(tick >= ticks for tick in self._far[1])

    def check_not_crossed(self, now_ns: int) -> None:
        """Refuse a book whose best bid reaches its best ask.

        Raises:
            DataError: The recording is crossed; it names the instrument and the moment.
        """
        bid, ask = self.best_bid_ticks(), self.best_ask_ticks()
        if bid is not None and ask is not None and bid >= ask:
            name, price = self.instrument.id, self.instrument.price
            raise DataError(
                f"{name}: crossed book at {now_ns} ns: bid {price(bid)} >= ask {price(ask)}; "
                "run `quantkit data check` and import the recording again"
            )


class Book:
    """A read view of the current book, valid inside the hook that got it; `copy()` keeps its levels.

    Raises:
        DataError: From every reading, once the book has moved on.
    """

    __slots__ = ("_book", "_levels", "_version", "exchange_ns", "instrument", "received_ns")

    def __init__(self, book: DenseBook, *, exchange_ns: int, received_ns: int) -> None:
        self.instrument = book.instrument.id
        self.exchange_ns = exchange_ns
        self.received_ns = received_ns
        self._book: DenseBook | None = book
        self._version = book.version
        self._levels: dict[Side, NDArray[np.float64]] = {}

    def _live(self) -> DenseBook:
        book = self._book
        if book is None or book.version != self._version:
            raise DataError(f"{self.instrument}: this book view is stale; call book.copy() to keep levels")
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
        if self._book is None:
            return self._levels[side][:count].copy()
        book = self._live()
        rows: list[tuple[float, float]] = []
        price = book.instrument.price
        for ticks, size in book.levels(side):
            if count is not None and len(rows) >= count:
                break
            rows.append((price(ticks), size))
        return np.array(rows, np.float64).reshape(-1, 2)

    def imbalance(self, levels: int = 1) -> float:
        """Return (bid size - ask size) / (both) over the best `levels`, in [-1, 1]; 0.0 for an empty book."""
        bids, asks = self.depth(levels)
        bid, ask = float(bids[:, 1].sum()), float(asks[:, 1].sum())
        return (bid - ask) / (bid + ask) if bid + ask > 0 else 0.0

    def copy(self) -> "Book":
        """Return a book of the same levels that stays readable."""
        kept = Book.__new__(Book)
        kept.instrument, kept.exchange_ns, kept.received_ns = self.instrument, self.exchange_ns, self.received_ns
        kept._levels = {Side.BUY: self.bids, Side.SELL: self.asks}
        kept._book, kept._version = None, 0
        return kept

    def __repr__(self) -> str:
        if self._book is not None and self._book.version != self._version:
            return f"Book({self.instrument!r}, stale)"
        return f"Book({self.instrument!r}, bid={self.best_bid} x {self.bid_qty}, ask={self.best_ask} x {self.ask_qty})"
