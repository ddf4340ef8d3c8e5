"""One stream's rows within the present batch: cursors, and the last value before an index.

An index is a position in the batch's merged order. "Before index p" means rows whose position is below p.
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NEVER_NS
from quantkit.events import Mark, Row, Ticker
from quantkit.instruments import Instrument
from quantkit.orderbook import BookRows, DenseBook
from quantkit.rows.columns import Block, Column, Stream

#: "No stop in this batch."
NOWHERE: Final = 2**62
#: Blocks that are kept undecoded for a price that nobody may ever ask for.
_PENDING_MAX: Final = 8


class StreamCursor:
    """A stream as the engine walks along it.

    Attributes:
        block, positions: The stream's rows in this batch and their indices; no rows: an empty array.
        checked: How many of them have been held against the price step.
        is_matching: Whether its rows move the instrument's matching clock and reach the broker.
    """

    __slots__ = (
        "_clock",
        "_clock_before",
        "block",
        "checked",
        "instrument",
        "is_matching",
        "kind",
        "name",
        "positions",
        "rows",
        "stream",
    )

    def __init__(self, stream: Stream, *, is_matching: bool) -> None:
        self.stream = stream
        self.name = str(stream)
        self.kind = stream.kind
        self.instrument = stream.instrument
        self.is_matching = is_matching
        self.block: Block | None = None
        self.positions: NDArray[np.int64] = np.empty(0, np.int64)
        self.rows = 0
        self.checked = 0
        self._clock: NDArray[np.int64] | None = None
        self._clock_before = -NEVER_NS

    def load(self, block: Block | None, positions: NDArray[np.int64]) -> None:
        """Enter the next batch."""
        if self.is_matching and self.block is not None and self.rows:
            self._clock_before = max(self._clock_before, self.block.exchange_ns_max())
        self.block = block
        self.positions = positions
        self.rows = 0 if block is None else block.size
        self.checked = 0
        self._clock = None

    def row_at(self, index: int) -> int:
        """Return how many of the cursor's rows stand before an index."""
        return int(self.positions.searchsorted(index))

    def index_of(self, row: int) -> int:
        """Return where a row stands, `NOWHERE` past the end."""
        return int(self.positions[row]) if row < self.rows else NOWHERE

    def column(self, name: str) -> Column:
        """Return a column of the present block."""
        assert self.block is not None
        return self.block.column(name)

    @property
    def clock(self) -> NDArray[np.int64]:
        """The running maximum of `exchange_ns` over this cursor, at each row."""
        if self._clock is None:
            stamps = self.column("exchange_ns")
            clock = np.maximum.accumulate(stamps)
            if clock[0] < self._clock_before:
                clock = np.maximum(clock, self._clock_before)
            self._clock = clock
        return self._clock

    def clock_before_row(self, row: int) -> int:
        """Return the running maximum over the rows before `row`."""
        return self._clock_before if row == 0 else int(self.clock[row - 1])


class TickerCursor(StreamCursor):
    """Best bid and offer; reaches the broker row by row while orders need it."""

    __slots__ = ("is_active",)

    def __init__(self, stream: Stream, *, is_matching: bool) -> None:
        super().__init__(stream, is_matching=is_matching)
        self.is_active = False

    def next_stop(self, index: int) -> tuple[int, bool]:
        """Return the next row's index while active."""
        return (self.index_of(self.row_at(index)) if self.is_active and self.rows else NOWHERE), True

    def fields(self, row: int) -> tuple[float | None, float | None, float | None, float | None]:
        """Return bid, bid_qty, ask and ask_qty of a row, None where the source had nothing."""
        values = (float(self.column(name)[row]) for name in ("bid", "bid_qty", "ask", "ask_qty"))
        bid, bid_qty, ask, ask_qty = (None if value != value else value for value in values)
        return bid, bid_qty, ask, ask_qty


class BookCursor(StreamCursor):
    """Book changes, applied to the dense book in slices, or row by row while orders need it."""

    __slots__ = ("_rows", "_stamps", "applied", "book", "exchange_ns", "is_active", "received_ns")

    def __init__(self, stream: Stream, instrument: Instrument, *, is_matching: bool) -> None:
        super().__init__(stream, is_matching=is_matching)
        self.book = DenseBook(instrument)
        self.is_active = False
        self.applied = 0
        self.exchange_ns = self.received_ns = 0  # of the last row that a reader has seen
        self._rows: BookRows | None = None
        self._stamps: tuple[list[int], list[int]] | None = None

    def load(self, block: Block | None, positions: NDArray[np.int64]) -> None:
        if self.rows:
            assert self.block is not None
            self.advance(self.rows)
            # Whoever reads the book later, in a batch without rows of it, is told when it changed last.
            self.received_ns, self.exchange_ns = self.block.stamps_of(self.rows - 1)
        super().load(block, positions)
        self.applied = 0
        self._rows = None
        self._stamps = None

    def begin_with(self, blocks: Sequence[Block]) -> int | None:
        """Apply rows from before the run, and return the latest `exchange_ns` among them, None without any."""
        latest: int | None = None
        for block in blocks:
            rows = BookRows(block.column, self.book)
            self.book.apply(rows, 0, rows.rows)
            stamps = block.column("exchange_ns")
            self.exchange_ns, self.received_ns = int(stamps[-1]), int(block.column("received_ns")[-1])
            latest = int(stamps.max()) if latest is None else max(latest, int(stamps.max()))
        return latest

    def stamps_at(self, row: int) -> tuple[int, int]:
        """Return `exchange_ns` and `received_ns` of a row, from lists, which are quicker to read one by one."""
        if self._stamps is None:
            self._stamps = self.column("exchange_ns").tolist(), self.column("received_ns").tolist()
        return self._stamps[0][row], self._stamps[1][row]

    @property
    def book_rows(self) -> BookRows:
        """The present block's rows, made ready for the dense book."""
        if self._rows is None:
            assert self.block is not None
            self._rows = BookRows(self.block.column, self.book)
        return self._rows

    def advance(self, row: int) -> None:
        """Apply all rows before `row` that have not been applied."""
        if row > self.applied:
            self.book.apply(self.book_rows, self.applied, row)
            self.applied = row

    def next_stop(self, index: int) -> tuple[int, bool]:
        """Return the next row's index while active."""
        return (self.index_of(self.row_at(index)) if self.is_active and self.rows else NOWHERE), True


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


Marks: TypeAlias = MarkSource | BookMark
