"""What instruments are valued at: the latest mark before an index, from the rows or from a book's mid."""

from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantkit.events import Mark, Row, Ticker
from quantkit.orderbook import DenseBook
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import BookCursor, StreamCursor
from quantkit.rows.position import RunPosition

#: Blocks that are kept undecoded for a price that nobody may ever ask for.
_PENDING_MAX: Final = 8


class BookMark:
    """The mid of a book as the mark: known row by row while a position needs it, else at the present index."""

    __slots__ = ("_count", "_indices", "_values", "cursor", "name")

    def __init__(self, cursor: BookCursor) -> None:
        self.cursor = cursor
        self.name = "book mid"
        self._count = 0
        self._indices: NDArray[np.int64] = np.empty(0, np.int64)
        self._values: NDArray[np.float64] = np.empty(0)

    def leave_batch(self) -> None:
        """Forget the rows of the batch that ends."""
        self._count = 0

    def note(self, index: int) -> None:
        """Keep the mid after the row at `index`, which has just been applied."""
        mid = self.standing()
        if mid is not None:
            self._add(index, mid)

    def note_standing(self) -> None:
        """Keep the mid after the last row that has been applied in this batch, unless it is kept already."""
        index, mid = self.cursor.index_of(self.cursor.applied - 1), self.standing()
        if mid is not None and (not self._count or self._indices[self._count - 1] != index):
            self._add(index, mid)

    def _add(self, index: int, mid: float) -> None:
        if self._count == len(self._indices):
            room = max(2 * self._count, 1024)
            self._indices, self._values = np.resize(self._indices, room), np.resize(self._values, room)
        self._indices[self._count], self._values[self._count] = index, mid
        self._count += 1

    def rows(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return the indices and mids that were kept in this batch."""
        return self._indices[: self._count], self._values[: self._count]

    def before(self, index: int) -> float | None:
        """Return the mid before an index, which must not lie before rows already applied."""
        if self.cursor.rows:
            self.cursor.advance(self.cursor.row_at(index))
        return self.standing()

    def ahead(self, index: int) -> float | None:
        """Return the mid before an index that nobody has come to yet; the book itself stays where it is."""
        cursor = self.cursor
        row = cursor.row_at(index) if cursor.rows else 0
        if row <= cursor.applied:
            return self.standing()
        book = cursor.book.twin()
        book.apply(cursor.book_rows, cursor.applied, row)
        return _mid(book)

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
    """Prices that value one instrument: mark, mid, last trade or candle close, read from columns when asked for."""

    __slots__ = ("_indices", "_last", "_loaded", "_pending", "_values", "cursor", "name")

    def __init__(self, cursor: StreamCursor, name: str) -> None:
        self.cursor = cursor
        self.name = name
        self._pending: list[Block] = []  # of batches that have ended, not decoded yet
        self._last: float | None = None
        self._values: NDArray[np.float64] = np.empty(0)
        self._indices: NDArray[np.int64] = np.empty(0, np.int64)
        self._loaded = False

    def leave_batch(self) -> None:
        """Keep what is needed of the batch that ends: its last price, decoded only when asked for.

        Its rows may be without any, so that what was kept before has to stay.
        """
        if self._loaded:
            if len(self._values):
                self._last = float(self._values[-1])
                self._pending.clear()
        elif self.cursor.block is not None:
            last = self.cursor.block.last_event
            if last is not None and _has_price(last):
                self._pending.clear()
            self._pending.append(self.cursor.block)
            if len(self._pending) > _PENDING_MAX:
                self.carried()
        self._loaded = False

    def rows(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Return indices and prices of the present batch, rows without a price left out."""
        if not self._loaded:
            # Asked before the first batch, there is nothing yet, but there may be once it has been entered.
            self._loaded = self.cursor.block is not None
            if self.cursor.block is None:
                self._values, self._indices = np.empty(0), np.empty(0, np.int64)
            else:
                self._values, self._indices = prices_of(self.cursor.block), self.cursor.positions
                known = ~np.isnan(self._values)
                if not known.all():
                    self._values, self._indices = self._values[known], self._indices[known]
        return self._indices, self._values

    def carried(self) -> float | None:
        """Return the price as it stood before the present batch."""
        while self._pending:
            values = prices_of(self._pending.pop())
            known = values[~np.isnan(values)]
            if len(known):
                self._last = float(known[-1])
                self._pending.clear()
        return self._last

    def before(self, index: int) -> float | None:
        """Return the latest price before an index."""
        indices, values = self.rows()
        row = int(indices.searchsorted(index))
        return float(values[row - 1]) if row else self.carried()

    def ahead(self, index: int) -> float | None:
        """Return the latest price before an index that nobody has come to yet."""
        return self.before(index)


def _has_price(event: Row) -> bool:
    """Return whether `prices_of` has a number for a row."""
    match event:
        case Ticker():
            return event.bid is not None and event.ask is not None
        case Mark():
            return event.source == "mark"
        case _:
            return True


def prices_of(block: Block) -> NDArray[np.float64]:
    """Return what a row of a block says an instrument is worth, NaN where it says nothing."""
    kind = block.stream.kind
    if kind == "ticker":
        return np.asarray((block.column("bid") + block.column("ask")) / 2, np.float64)
    if kind == "mark":
        # An index price is told to the strategy but values nothing.
        return np.where(block.column("source") == "mark", block.column("price"), np.nan)
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
    """

    def __init__(
        self, streams: Mapping[str, Stream], cursors: Mapping[Stream, StreamCursor], position: RunPosition
    ) -> None:
        self.sources: dict[str, AnyMark] = {}
        self._of_stream: dict[Stream, list[AnyMark]] = {}
        self._position = position
        self._own_prices: dict[str, float] = {}
        for instrument, stream in streams.items():
            cursor = cursors[stream]
            source = BookMark(cursor) if isinstance(cursor, BookCursor) else MarkSource(cursor, stream.kind)
            self.sources[instrument] = source
            self._of_stream.setdefault(stream, []).append(source)

    def last(self, instrument: str) -> float | None:
        """Return the latest mark of what has been seen; before the first, the price of our own last fill."""
        mark = self.sources[instrument].before(self._position.index)
        return mark if mark is not None else self._own_prices.get(instrument)

    def note_fill(self, instrument: str, price: float) -> None:
        """Keep the price of our own last fill."""
        self._own_prices[instrument] = price

    def leave_rows(self, cursors: Iterable[StreamCursor]) -> None:
        """Let go of the rows of a batch that has ended, before its cursors are given the next ones.

        Between the two, time may pass and orders may ask for what these rows said.
        """
        for cursor in cursors:
            for source in self._of_stream.get(cursor.stream, ()):
                source.leave_batch()
