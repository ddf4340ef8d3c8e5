"""What instruments are valued at: the latest mark before an index, from the rows or from a book's mid."""

import math
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantkit.events import Mark, Row, Ticker
from quantkit.orderbook import BookRows, DenseBook
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import NOWHERE, BookCursor, StreamCursor
from quantkit.rows.position import RunPosition

#: Blocks that are kept undecoded for a price that nobody may ever ask for.
_PENDING_MAX: Final = 8


class BookMark:
    """The mid of a book as the mark: known row by row from the first index that somebody asks about.

    A twin of the book goes along the rows, from one that moves its best prices to the next: the mid stands still in
    between. It may be ahead of the book itself, which strategies and orders see.

    Args:
        cursor: The book.
        gaps: Its gaps; None where the run has none. A twin that is ahead has to lose its way where the book will.
    """

    __slots__ = (
        "_carried",
        "_count",
        "_gap_rows",
        "_gaps",
        "_indices",
        "_looked",
        "_mid",
        "_rows",
        "_twin",
        "_values",
        "cursor",
    )

    name = "book mid"

    def __init__(self, cursor: BookCursor, gaps: StreamCursor | None = None) -> None:
        self.cursor = cursor
        self._gaps = gaps
        self._gap_rows: list[int] = []  # how many rows of the book stand before each gap to come
        self._twin: DenseBook | None = None
        self._rows: BookRows | None = None  # the twin's way to see the batch's rows; None before it has begun with them
        self._looked = 0  # the rows that it has taken in
        self._mid: float | None = None  # as it stands after them
        self._carried: float | None = None  # as it stood when the twin began with the batch
        self._count = 0
        self._indices: NDArray[np.int64] = np.empty(0, np.int64)
        self._values: NDArray[np.float64] = np.empty(0)

    def leave_rows(self) -> None:
        """Forget the rows of the batch that ends; the twin goes on if it has seen all of them."""
        if self._rows is None or self._looked < self.cursor.rows:
            self._twin = None
        self._rows = None
        self._count = 0

    def watch(self) -> None:
        """Keep the mid row by row from here on."""
        self.rows(0)

    def rows(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the indices of rows and the mids after them.

        They are complete from the row that stood when somebody first asked in this batch, up to an index at least.
        """
        cursor = self.cursor
        if cursor.rows:
            if self._rows is None:
                self._begin()
            last = cursor.row_at(index)
            if last > self._looked:
                self._look_through(last)
        return self.known_rows()

    def known_rows(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the indices and mids of this batch that somebody has asked for so far."""
        return self._indices[: self._count], self._values[: self._count]

    def _begin(self) -> None:
        """Set the twin to where the book stands in this batch, and keep the mid that stands there."""
        cursor, twin = self.cursor, self._twin
        self._rows = cursor.book_rows.twin()
        if twin is None or cursor.applied or twin.instrument is not cursor.book.instrument:
            twin = self._twin = cursor.book.twin()
        twin.is_valid = cursor.book.is_valid  # gaps may have come since the batch before
        self._looked, self._mid = cursor.applied, _mid(twin)
        self._carried = self._mid
        if cursor.applied:
            self._keep(cursor.applied - 1, cursor.applied)
        self._gap_rows = []
        if self._gaps is not None and self._gaps.rows:
            channels = self._gaps.column("channel").tolist()
            for index, channel in zip(self._gaps.positions.tolist(), channels, strict=True):
                if channel.startswith("book") and cursor.row_at(index) >= cursor.applied:
                    self._gap_rows.append(cursor.row_at(index))

    def _look_through(self, last: int) -> None:
        """Let the twin take in the rows before `last`, and keep the mid after each."""
        twin, gaps = self._twin, self._gap_rows
        assert twin is not None
        while gaps and gaps[0] < last:
            self._go_along(twin, gaps.pop(0))
            twin.invalidate()
        self._go_along(twin, last)

    def _go_along(self, twin: DenseBook, last: int) -> None:
        rows, first = self._rows, self._looked
        assert rows is not None
        while first < last:
            mover = rows.next_mover(first, last, twin)
            self._keep(first, mover)
            twin.apply(rows, first, min(mover + 1, last))
            if mover < last:
                self._mid = _mid(twin)
                self._keep(mover, mover + 1)
            first = mover + 1
        self._looked = last

    def _keep(self, first: int, last: int) -> None:
        """Keep the mid as the one after rows `first` to `last` (exclusive)."""
        mid, begin = self._mid, self._count
        if mid is None or first >= last:
            return
        end = self._count = begin + last - first
        if end > len(self._indices):
            room = max(2 * end, 1024)
            self._indices, self._values = np.resize(self._indices, room), np.resize(self._values, room)
        self._indices[begin:end] = self.cursor.positions[first:last]
        self._values[begin:end] = mid

    def before(self, index: int) -> float | None:
        """Return the mid before an index, which must not lie before rows already applied."""
        if self.cursor.rows:
            self.cursor.advance(self.cursor.row_at(index))
        return self.standing()

    def ahead(self, index: int) -> float | None:
        """Return the mid before an index that nobody has come to yet; the book itself stays where it is."""
        indices, mids = self.rows(index)
        row = int(indices.searchsorted(index))
        return float(mids[row - 1]) if row else self.standing()

    def carried(self) -> float | None:
        """Return the mid as it stood when somebody first asked for rows of this batch."""
        return self.standing() if self._rows is None else self._carried

    def at(self, index: int) -> float | None:
        """Do what `ahead` does, and return None where the book is empty at the index, whatever it was before."""
        indices, mids = self.rows(index)
        last, row = self.cursor.row_at(index) - 1, int(indices.searchsorted(index)) - 1
        if last < 0:
            return self.standing()
        return float(mids[row]) if row >= 0 and indices[row] == self.cursor.index_of(last) else None

    def extremes(self) -> tuple[float, float]:
        """Return the least and the most that the mark can be in this batch: nobody looks through it for that."""
        return math.ulp(0.0), math.inf

    def standing(self) -> float | None:
        """Return the mid of the book as it stands."""
        return _mid(self.cursor.book)


def _mid(book: DenseBook) -> float | None:
    """Return the mid of a book, the best price where one side is empty, None where both are.

    Nothing but the levels may decide: rows are applied in slices, and what stood between two of them is not known.
    A gap leaves the levels as they were.
    """
    bid, ask = book.best_bid_ticks(), book.best_ask_ticks()
    if bid is None and ask is None:
        return None
    low, high = ask if bid is None else bid, bid if ask is None else ask
    assert low is not None
    assert high is not None
    return (book.instrument.price(low) + book.instrument.price(high)) / 2


class MarkSource:
    """Prices of one instrument: mark, mid, last trade or candle close, read from columns when asked for.

    Args:
        cursor: Their rows.
        name: What they are.
        source: Of rows of marks those that count.
    """

    __slots__ = (
        "_after",
        "_indices",
        "_last",
        "_loaded",
        "_pending",
        "_price",
        "_source",
        "_until",
        "_values",
        "cursor",
        "name",
    )

    def __init__(self, cursor: StreamCursor, name: str, *, source: str = "mark") -> None:
        self.cursor = cursor
        self.name = name
        self._source = source
        self._pending: list[Block] = []  # of batches that have ended, not decoded yet
        self._last: float | None = None
        self._values: NDArray[np.float64] = np.empty(0)
        self._indices: NDArray[np.int64] = np.empty(0, np.int64)
        self._loaded = False
        # The price that was asked for last stands before every index above `_after`, up to `_until`.
        self._price: float | None = None
        self._after = self._until = -1

    def leave_rows(self) -> None:
        """Keep what is needed of the batch that ends: its last price, decoded only when asked for.

        Its rows may be without any, so that what was kept before has to stay.
        """
        if self._loaded:
            if len(self._values):
                self._last = float(self._values[-1])
                self._pending.clear()
        elif self.cursor.block is not None:
            last = self.cursor.block.last_event
            if last is not None and _has_price(last, self._source):
                self._pending.clear()
            self._pending.append(self.cursor.block)
            if len(self._pending) > _PENDING_MAX:
                self.carried()
        self._loaded = False
        self._after = self._until = -1

    def watch(self) -> None:
        """Do nothing: columns tell every row of a batch at any time."""

    def rows(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return indices and prices of the present batch, rows without a price left out: complete at any index."""
        if not self._loaded:
            self._load()
        return self._indices, self._values

    def _load(self) -> None:
        # Asked before the first batch, there is nothing yet, but there may be once it has been entered.
        self._loaded = self.cursor.block is not None
        if self.cursor.block is None:
            self._values, self._indices = np.empty(0), np.empty(0, np.int64)
        else:
            self._values, self._indices = prices_of(self.cursor.block, self._source), self.cursor.positions
            known = ~np.isnan(self._values)
            if not known.all():
                self._values, self._indices = self._values[known], self._indices[known]

    def carried(self) -> float | None:
        """Return the price as it stood before the present batch."""
        while self._pending:
            values = prices_of(self._pending.pop(), self._source)
            known = values[~np.isnan(values)]
            if len(known):
                self._last = float(known[-1])
                self._pending.clear()
        return self._last

    def extremes(self) -> tuple[float, float]:
        """Return the lowest and the highest price of the present batch, that from before it included."""
        values, carried = self.rows(0)[1], self.carried()
        low, high = (float(values.min()), float(values.max())) if len(values) else (math.inf, -math.inf)
        return (low, high) if carried is None else (min(low, carried), max(high, carried))

    def before(self, index: int) -> float | None:
        """Return the latest price before an index."""
        if self._after < index <= self._until:
            return self._price
        if not self._loaded:
            self._load()
        indices = self._indices
        row = int(indices.searchsorted(index))
        price = float(self._values[row - 1]) if row else self.carried()
        if self._loaded:
            self._price = price
            self._after = int(indices[row - 1]) if row else -1
            self._until = int(indices[row]) if row < len(indices) else NOWHERE
        return price

    def ahead(self, index: int) -> float | None:
        """Return the latest price before an index that nobody has come to yet."""
        return self.before(index)

    def at(self, index: int) -> float | None:
        """Return the latest price before an index that nobody has come to yet."""
        return self.before(index)


def _has_price(event: Row, source: str) -> bool:
    """Return whether `prices_of` has a number for a row."""
    match event:
        case Ticker():
            return event.bid is not None and event.ask is not None
        case Mark():
            return event.source == source
        case _:
            return True


def prices_of(block: Block, source: str = "mark") -> NDArray[np.float64]:
    """Return what a row of a block says an instrument is worth, NaN where it says nothing.

    Of marks those of one source count: an index price is told to the strategy and sets orders off, but values nothing.
    """
    kind = block.stream.kind
    if kind == "ticker":
        return np.asarray((block.column("bid") + block.column("ask")) / 2, np.float64)
    if kind == "mark":
        return np.where(block.column("source") == source, block.column("price"), np.nan)
    return np.asarray(block.column("close" if kind == "candle" else "price"), np.float64)


AnyMark: TypeAlias = MarkSource | BookMark


class MarkTable:
    """What every instrument of a run is valued at.

    Args:
        streams: What values each instrument.
        cursors: The run's.
        position: How far the run has come.

    Attributes:
        sources: By instrument.
        own_prices: Of our own last fill in each instrument.
    """

    def __init__(
        self, streams: Mapping[str, Stream], cursors: Mapping[Stream, StreamCursor], position: RunPosition
    ) -> None:
        self.sources: dict[str, AnyMark] = {}
        self._of_stream: dict[Stream, list[AnyMark]] = {}
        self._position = position
        self.own_prices: dict[str, float] = {}
        for instrument, stream in streams.items():
            cursor = cursors[stream]
            source: AnyMark = MarkSource(cursor, stream.kind)
            if isinstance(cursor, BookCursor):
                source = BookMark(cursor, cursors.get(Stream("gap", instrument)))
            self.sources[instrument] = source
            self._of_stream.setdefault(stream, []).append(source)

    def last(self, instrument: str) -> float | None:
        """Return the latest mark of what has been seen; before the first, the price of our own last fill."""
        mark = self.sources[instrument].before(self._position.index)
        return mark if mark is not None else self.own_prices.get(instrument)

    def leave_rows(self, cursors: Iterable[StreamCursor]) -> None:
        """Let go of the rows of a batch that has ended, before its cursors are given the next ones.

        Between the two, time may pass and orders may ask for what these rows said.
        """
        for cursor in cursors:
            for source in self._of_stream.get(cursor.stream, ()):
                source.leave_rows()
