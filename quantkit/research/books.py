"""Stored changes of a book as the book at any moment: checkpoints of one pass, and the rows between two of them."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NEVER_NS, NS_PER_DAY
from quantkit.instruments import Instrument
from quantkit.orderbook import Book, BookRows, DenseBook
from quantkit.research.packing import PackedColumn, pack, unpack
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog as StoredCatalog
from quantkit.storage.files import DataFile, RowGroup
from quantkit.storage.reader import read_blocks

#: Levels from one kept book to the next, at least: some hundred microseconds of applying.
_SPACING_LEVELS: Final = 8_192
#: What the kept books of one file may take, and of one instrument those beyond one file; the packed rows of a catalog.
CHECKPOINT_BYTES: Final = 128 << 20
PACKED_BYTES: Final = 256 << 20
#: A level in a dictionary, and a small object with what it refers to.
_FAR_BYTES: Final = 100
_ROOM_BYTES: Final = 1_000
_NO_PLACES: Final = np.empty(0, np.int64)
_NO_SIZES: Final = np.empty(0, np.float64)
_COLUMNS: Final = (
    "received_ns",
    "exchange_ns",
    "is_snapshot",
    "bid_start",
    "bid_prices",
    "bid_qtys",
    "ask_start",
    "ask_prices",
    "ask_qtys",
)
_NEVER: Final = -(2**63)


class BookWalk:
    """A book on its way through stored rows: losses invalidate it until its next snapshot.

    Args:
        instrument: Its metadata.
        losses_ns: The moments from which on the book is unknown, in order.

    Attributes:
        book: The book as of the rows that have been applied.
        exchange_ns, received_ns: Of the last of them.
        lost_ns: When the last loss so far was.
    """

    def __init__(self, instrument: Instrument, losses_ns: NDArray[np.int64]) -> None:
        self.book = DenseBook(instrument)
        self.exchange_ns = 0
        self.received_ns = _NEVER
        self.lost_ns = _NEVER
        self._losses_ns: list[int] = losses_ns.tolist()
        self._next_loss = 0

    @classmethod
    def after(cls, checkpoint: "Checkpoint", losses_ns: NDArray[np.int64]) -> "BookWalk":
        """Return a walk that goes on from a checkpoint."""
        book = checkpoint.book()
        walk = cls(book.instrument, losses_ns)
        walk.book = book
        walk.exchange_ns, walk.received_ns = checkpoint.exchange_ns, checkpoint.received_ns
        walk._next_loss = bisect_right(walk._losses_ns, checkpoint.received_ns)
        return walk

    def apply(self, rows: "WalkedRows", first: int, last: int) -> None:
        """Apply rows `first` to `last` (exclusive), and the losses up to the last of them."""
        if first >= last:
            return
        stamps = rows.received_ns
        until_ns = int(stamps[last - 1])
        while self._next_loss < len(self._losses_ns) and self._losses_ns[self._next_loss] <= until_ns:
            # A loss comes before the rows of its own stamp.
            cut = int(np.searchsorted(stamps[first:last], self._losses_ns[self._next_loss], "left")) + first
            if cut > first:
                self.book.apply(rows.book_rows(self.book), first, cut)
                first = cut
            self._lose()
        self.book.apply(rows.book_rows(self.book), first, last)
        self.exchange_ns, self.received_ns = int(rows.exchange_ns[last - 1]), until_ns

    def lose_until(self, moment_ns: int) -> None:
        """Take the losses after the last row, up to a moment."""
        while self._next_loss < len(self._losses_ns) and self._losses_ns[self._next_loss] <= moment_ns:
            self._lose()

    def _lose(self) -> None:
        self.book.invalidate()
        self.lost_ns = self._losses_ns[self._next_loss]
        self._next_loss += 1

    def view(self) -> Book | None:
        """Return the book, None while it is not known.

        Raises:
            DataError: The recording is crossed.
        """
        if not self.book.is_valid:
            return None
        self.book.check_not_crossed(self.received_ns)
        return Book(self.book, exchange_ns=self.exchange_ns, received_ns=self.received_ns)


class WalkedRows:
    """Book rows that a walk applies.

    Attributes:
        received_ns, exchange_ns: The rows' stamps.
    """

    __slots__ = ("_block", "_rows", "exchange_ns", "received_ns")

    def __init__(self, block: Block) -> None:
        self._block = block
        self._rows: BookRows | None = None
        self.received_ns = block.column("received_ns")
        self.exchange_ns = block.column("exchange_ns")

    def book_rows(self, book: DenseBook) -> BookRows:
        """Return the rows, made ready for the book."""
        if self._rows is None:
            self._rows = BookRows(self._block.column, book)
        return self._rows


class Checkpoint:
    """The book of a walk after some row, packed.

    Attributes:
        exchange_ns, received_ns: Of the row.
        bytes: What it takes in memory, about.
    """

    __slots__ = ("_places", "_saved", "_sizes", "bytes", "exchange_ns", "received_ns")

    def __init__(self, walk: BookWalk) -> None:
        self.exchange_ns, self.received_ns = walk.exchange_ns, walk.received_ns
        saved = walk.book.saved()
        self._places = pack(saved.places)
        self._sizes = pack(saved.sizes, saved.instrument.lot)
        self._saved = saved._replace(places=_NO_PLACES, sizes=_NO_SIZES)
        far = sum(map(len, saved.far))
        self.bytes = self._places.bytes + self._sizes.bytes + _FAR_BYTES * far + _ROOM_BYTES

    def book(self) -> DenseBook:
        """Return the book."""
        return DenseBook.of(self._saved._replace(places=unpack(self._places), sizes=unpack(self._sizes)))


class BookSegment(NamedTuple):
    """Some rows of a file, all of one row group.

    Attributes:
        first_ns: `received_ns` of the first.
        group, first, last: Where they lie; `last` is exclusive.
        before: The book before them.
    """

    first_ns: int
    group: int
    first: int
    last: int
    before: Checkpoint


class PackedSegments:
    """Segments' rows, packed; those that were used least lately go when they become too many.

    Args:
        limit_bytes: What they may take.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._held: OrderedDict[tuple[str, int, int], dict[str, PackedColumn]] = OrderedDict()
        self.bytes = 0

    def put(self, path: str, segment: BookSegment, block: Block, instrument: Instrument) -> None:
        """Keep the rows of a segment, given those of its whole row group."""
        rows = block.slice(segment.first, segment.last)
        steps = {"prices": instrument.tick, "qtys": instrument.lot}
        packed = {name: pack(rows.column(name), steps.get(name.rpartition("_")[2])) for name in _COLUMNS}
        self._held[path, segment.group, segment.first] = packed
        self.bytes += _bytes_of(packed)
        while self.bytes > self._limit and len(self._held) > 1:
            self.bytes -= _bytes_of(self._held.popitem(last=False)[1])

    def get(self, path: str, segment: BookSegment, stream: Stream) -> Block | None:
        """Return the rows of a segment, None if they have gone."""
        key = path, segment.group, segment.first
        packed = self._held.get(key)
        if packed is None:
            return None
        self._held.move_to_end(key)
        return Block(stream, segment.last - segment.first, {name: unpack(each) for name, each in packed.items()})


def _bytes_of(packed: Mapping[str, PackedColumn]) -> int:
    return _ROOM_BYTES + sum(each.bytes for each in packed.values())


class FileBooks:
    """The books of one file: a pass through it cuts it into segments and keeps the book before each.

    Args:
        file: The file.
        stream: Whose rows it holds.
        walk: A walk at its first row.
        losses_ns: As for a walk.
        packed: Where the segments' rows are kept.

    Attributes:
        bytes: What the books between the segments take.
        end: The book after the last row.
    """

    def __init__(
        self, file: DataFile, stream: Stream, walk: BookWalk, losses_ns: NDArray[np.int64], packed: PackedSegments
    ) -> None:
        self._file = file
        self._stream = stream
        self._losses_ns = losses_ns
        self._packed = packed
        self._segments: list[BookSegment] = []
        spacing, in_all = _SPACING_LEVELS, file.level_count()
        before = Checkpoint(walk)
        for group in range(file.group_count):
            block = self._group(group)
            rows = WalkedRows(block)
            levels = block.column("bid_start") + block.column("ask_start")
            first = 0
            while first < block.size:
                last = min(int(np.searchsorted(levels, levels[first] + spacing, "right")), block.size)
                last = max(last, first + 1)
                segment = BookSegment(int(rows.received_ns[first]), group, first, last, before)
                self._segments.append(segment)
                walk.apply(rows, first, last)
                packed.put(file.entry.path, segment, block, walk.book.instrument)
                before = Checkpoint(walk)
                # A deep book costs more to keep than a few more rows cost to apply.
                spacing = max(_SPACING_LEVELS, before.bytes // 4, in_all * before.bytes // CHECKPOINT_BYTES)
                first = last
        self.end = before
        self._starts = [segment.first_ns for segment in self._segments]
        self.bytes = before.bytes + sum(segment.before.bytes for segment in self._segments)

    def _group(self, index: int) -> Block:
        group = RowGroup(self._file, index)
        return Block(self._stream, len(group.received_ns), {name: group.column(name) for name in _COLUMNS})

    def walk_to(self, moment_ns: int) -> BookWalk:
        """Return a walk at the last row received by a moment, with the losses until then."""
        segment = self._segments[max(bisect_right(self._starts, moment_ns) - 1, 0)]
        walk = BookWalk.after(segment.before, self._losses_ns)
        rows = WalkedRows(self._rows(segment))
        walk.apply(rows, 0, int(np.searchsorted(rows.received_ns, moment_ns, "right")))
        walk.lose_until(moment_ns)
        return walk

    def _rows(self, segment: BookSegment) -> Block:
        path, instrument = self._file.entry.path, segment.before.book().instrument
        held = self._packed.get(path, segment, self._stream)
        if held is not None:
            return held
        block = self._group(segment.group)
        self._packed.put(path, segment, block, instrument)
        return block.slice(segment.first, segment.last)


class StoredBooks:
    """The books of one stream at any moment, in bounded memory.

    The first question about a file reads it once and leaves a checkpoint every few thousand levels; a later one goes on
    from the nearest. What is unknown is None: before the first snapshot, from a gap to the next snapshot, from a day
    without a file on, and after the end of what was recorded.

    Args:
        catalog: Where the rows lie.
        stream: A book's.
        instrument: Its metadata.
        packed: Rows of books of the whole catalog.
    """

    def __init__(self, catalog: StoredCatalog, stream: Stream, instrument: Instrument, packed: PackedSegments) -> None:
        held = catalog.coverage()[stream]
        self._catalog = catalog
        self._stream = stream
        self._instrument = instrument
        self._packed = packed
        self._files = catalog.files(stream, held.start_ns, held.end_ns)
        self._starts = [entry.first_ns for entry in self._files]
        self.end_ns = held.end_ns
        self.losses_ns = np.unique(np.concatenate((_gaps_of(catalog, stream), _holes_of(catalog, stream))))
        self._books: OrderedDict[int, FileBooks] = OrderedDict()

    def at(self, moment_ns: int) -> Book | None:
        """Return a copy of the book as of the rows received by a moment, None while it is not known.

        Raises:
            DataError: A file is damaged, or the recording is crossed.
        """
        walk = self.walk_to(moment_ns)
        view = None if walk is None else walk.view()
        return None if view is None else view.copy()

    def walk_to(self, moment_ns: int) -> BookWalk | None:
        """Return a walk as of a moment; None where nothing was recorded."""
        index = bisect_right(self._starts, moment_ns) - 1
        if index < 0 or moment_ns > self.end_ns:
            return None
        return self._file_books(index).walk_to(moment_ns)

    def walk_from(self, moment_ns: int) -> BookWalk:
        """Return a walk as of a moment that goes on from there, without a pass over the file."""
        index = bisect_right(self._starts, moment_ns) - 1
        if index in self._books:
            return self._books[index].walk_to(moment_ns)
        walk = self._walk_until(index, moment_ns)
        walk.lose_until(moment_ns)
        return walk

    def _file_books(self, index: int) -> FileBooks:
        held = self._books.get(index)
        if held is None:
            file = DataFile(self._catalog.root, self._files[index])
            held = self._books[index] = FileBooks(file, self._stream, self._before(index), self.losses_ns, self._packed)
            while sum(each.bytes for each in self._books.values()) > CHECKPOINT_BYTES and len(self._books) > 1:
                self._books.popitem(last=False)
        self._books.move_to_end(index)
        return held

    def _before(self, index: int) -> BookWalk:
        """Return a walk at the first row of a file."""
        if index - 1 in self._books:
            return BookWalk.after(self._books[index - 1].end, self.losses_ns)
        return self._walk_until(index - 1, self._files[index].first_ns - 1)

    def _walk_until(self, index: int, moment_ns: int) -> BookWalk:
        """Return a walk at the last row received by a moment: through the last snapshot before it and what follows.

        Args:
            index: Of the last file with such rows; -1 where there is none.
            moment_ns: The moment.
        """
        files: list[DataFile] = []
        begin: Place | None = None
        while begin is None and index >= 0:
            file = DataFile(self._catalog.root, self._files[index])
            files.insert(0, file)
            begin = _last_snapshot(file, moment_ns)
            index -= 1
        walk = BookWalk(self._instrument, self.losses_ns)
        for number, file in enumerate(files):
            place = begin if begin is not None and not number else Place(0, 0)
            for group in range(place.group, file.group_count):
                rows = RowGroup(file, group)
                block = Block(self._stream, len(rows.received_ns), {}, rows.column)
                stop = int(np.searchsorted(block.column("received_ns"), moment_ns, "right"))
                first = place.row if group == place.group else 0
                if first < stop:
                    walk.apply(WalkedRows(block.slice(first, stop)), 0, stop - first)
                if stop < block.size:
                    return walk
        return walk


class Place(NamedTuple):
    """Where a row stands in a file."""

    group: int
    row: int


def _last_snapshot(file: DataFile, moment_ns: int) -> Place | None:
    """Return where a file's last snapshot that was received by a moment stands, None if there is none."""
    for group in range(file.group_count - 1, -1, -1):
        span = file.stamp_span(group, "received_ns")
        if span is not None and span[0] > moment_ns:
            continue
        rows = int(np.searchsorted(file.column(group, "received_ns"), moment_ns, "right"))
        found = np.flatnonzero(file.column(group, "is_snapshot")[:rows])
        if len(found):
            return Place(group, int(found[-1]))
    return None


def _gaps_of(catalog: StoredCatalog, stream: Stream) -> NDArray[np.int64]:
    """Return when gaps of a book became known."""
    gaps = stream._replace(kind="gap")
    found = [np.empty(0, np.int64)]
    if gaps in catalog.coverage():
        for block in read_blocks(catalog, gaps, start_ns=_NEVER, end_ns=NEVER_NS):
            of_book = [name.startswith("book") for name in block.column("channel").tolist()]
            found.append(block.column("received_ns")[np.array(of_book, np.bool_)])
    return np.concatenate(found)


def _holes_of(catalog: StoredCatalog, stream: Stream) -> NDArray[np.int64]:
    """Return where days without a file begin, within what is held."""
    held = sorted(catalog.periods(stream))
    return np.array([(day + 1) * NS_PER_DAY for day, following in pairwise(held) if following > day + 1], np.int64)
