"""One stream's rows within the present batch.

An index is a position in the batch's merged order. "Before index p" means rows whose position is below p.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.instruments import Instrument
from quantkit.orderbook import BookRows, DenseBook
from quantkit.rows.columns import Block, Column, Stream

#: "No stop in this batch."
NOWHERE: Final = 2**62
#: A reader of a book is mostly this close behind its last row.
_NEAR_ROWS: Final = 16


class StreamCursor:
    """A stream as the engine walks along it.

    Attributes:
        block, positions: The stream's rows in this batch and their indices; no rows: an empty array.
        places: The indices too, for one at a time.
    """

    __slots__ = ("block", "instrument", "kind", "name", "places", "positions", "rows", "stream")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.name = str(stream)
        self.kind = stream.kind
        self.instrument = stream.instrument
        self.block: Block | None = None
        self.positions: NDArray[np.int64] = np.empty(0, np.int64)
        self.places = self.positions.data
        self.rows = 0

    def load(self, block: Block | None, positions: NDArray[np.int64]) -> None:
        """Enter the next batch."""
        self.block = block
        self.positions = positions
        self.places = positions.data
        self.rows = 0 if block is None else block.size

    def row_at(self, index: int) -> int:
        """Return how many of the cursor's rows stand before an index."""
        return bisect_left(self.places, index)

    def index_of(self, row: int) -> int:
        """Return where a row stands, `NOWHERE` past the end."""
        return self.places[row] if row < self.rows else NOWHERE

    def column(self, name: str) -> Column:
        """Return a column of the present block."""
        assert self.block is not None
        return self.block.column(name)


class BookCursor(StreamCursor):
    """Book changes, applied to the dense book in slices, or row by row while orders need it.

    Attributes:
        begun_ns: The latest `exchange_ns` among the rows from before the run; None without any.
    """

    __slots__ = ("_rows", "_stamps", "applied", "begun_ns", "book", "exchange_ns", "received_ns")

    def __init__(self, stream: Stream, instrument: Instrument) -> None:
        super().__init__(stream)
        self.book = DenseBook(instrument)
        self.applied = 0
        self.begun_ns: int | None = None
        self.exchange_ns = self.received_ns = 0  # of the last row that a reader has seen
        self._rows: BookRows | None = None
        self._stamps: tuple[memoryview, memoryview] | None = None

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

    def begin_with(self, blocks: Sequence[Block]) -> None:
        """Apply rows from before the run."""
        for block in blocks:
            rows = BookRows(block.column, self.book)
            self.book.apply(rows, 0, rows.rows)
            stamps = block.column("exchange_ns")
            self.exchange_ns, self.received_ns = int(stamps[-1]), int(block.column("received_ns")[-1])
            latest_ns = int(stamps.max())
            self.begun_ns = latest_ns if self.begun_ns is None else max(latest_ns, self.begun_ns)

    def row_at(self, index: int) -> int:
        first, near = self.applied, self.applied + _NEAR_ROWS
        if first and near < self.rows and self.places[first - 1] < index:
            row = bisect_left(self.places, index, first, near)
            if row < near:
                return row
        return bisect_left(self.places, index)

    def read_to(self, index: int) -> None:
        """Apply the rows before an index for a reader, who sees the stamps of the last of them."""
        row = self.row_at(index)
        if row:
            self.advance(row)
            self.exchange_ns, self.received_ns = self.stamps_at(row - 1)

    def stamps_at(self, row: int) -> tuple[int, int]:
        """Return `exchange_ns` and `received_ns` of a row, from views, which are quicker to read one by one."""
        if self._stamps is None:
            self._stamps = self.column("exchange_ns").data, self.column("received_ns").data
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


def make_cursors(streams: Iterable[Stream], instruments: Mapping[str, Instrument]) -> dict[Stream, StreamCursor]:
    """Make a cursor for every stream of a run."""
    return {
        stream: BookCursor(stream, instruments[stream.instrument]) if stream.kind == "book" else StreamCursor(stream)
        for stream in streams
    }
