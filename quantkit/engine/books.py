"""A run's books: views for hooks, and outages from a gap to the next snapshot."""

from collections.abc import Collection, Iterable

import numpy as np

from quantkit.engine.gaps import Gaps
from quantkit.errors import ConfigError
from quantkit.events import Gap
from quantkit.feeds.base import Feed
from quantkit.orderbook import Book
from quantkit.rows.cursors import BookCursor, StreamCursor
from quantkit.rows.position import RunPosition


class Books:
    """The books among a run's streams.

    Args:
        cursors: The run's streams.
        gaps: Counts the losses.
        position: The run's position.
    """

    def __init__(self, cursors: Iterable[StreamCursor], gaps: Gaps, position: RunPosition) -> None:
        self._cursors = {cursor.instrument: cursor for cursor in cursors if isinstance(cursor, BookCursor)}
        self._gaps = gaps
        self._position = position

    def begin(self, feed: Feed, start_ns: int) -> None:
        """Build every book as of the start: its last snapshot and the changes since."""
        for cursor in self._cursors.values():
            cursor.begin_with(feed.book_before(cursor.stream, start_ns))

    def view(self, instrument: str) -> Book | None:
        """Return the book as of the rows seen so far; None while it is not valid.

        Raises:
            ConfigError: It is not among the run's streams.
        """
        cursor = self._cursors.get(instrument)
        if cursor is None:
            raise ConfigError(f"book of {instrument} needs subscribe_book in on_start")
        position, book = self._position, cursor.book
        if cursor.rows:
            cursor.read_to(position.index)
        if not book.is_valid:
            return None
        book.check_not_crossed(position.now_ns)
        return Book(book, exchange_ns=cursor.exchange_ns, received_ns=cursor.received_ns)

    @property
    def instruments(self) -> Collection[str]:
        """The instruments with a book among the run's streams."""
        return self._cursors.keys()

    def take_gap(self, gap: Gap) -> None:
        """Count a gap; a book is invalid from its gap to its next snapshot."""
        cursor = self._cursors.get(gap.instrument) if gap.channel.startswith("book") else None
        self._gaps.add(gap, hides_book=cursor is not None)
        if cursor is not None:
            row = self._seen(cursor)
            if row:
                cursor.advance(row)
            cursor.book.invalidate()
            if cursor.rows:
                self._end_outage(cursor, row)

    def enter_batch(self, cursors: Collection[StreamCursor]) -> None:
        """Begin a batch, in which these cursors have rows."""
        for cursor in cursors:
            if cursor.kind == "book" and isinstance(cursor, BookCursor) and self._gaps.is_out(cursor.instrument):
                self._end_outage(cursor, 0)

    def _end_outage(self, cursor: BookCursor, first_row: int) -> None:
        """Count a book as lost up to its next snapshot, if that is among the rows from `first_row` on."""
        snapshots = np.flatnonzero(cursor.column("is_snapshot")[first_row:])
        if len(snapshots):
            self._gaps.end_outage(cursor.instrument, *cursor.stamps_at(first_row + int(snapshots[0])))

    def notes(self) -> list[str]:
        """Return a sentence for every book that is not valid at the end."""
        notes = []
        for instrument, cursor in self._cursors.items():
            if cursor.rows:
                cursor.advance(self._seen(cursor))  # nobody may have read it since its snapshot
            if not cursor.book.is_valid:
                notes.append(f"{instrument}: the book was not valid at the end; a snapshot is missing")
        return notes

    def _seen(self, cursor: BookCursor) -> int:
        return cursor.row_at(self._position.index) if cursor.rows else 0
