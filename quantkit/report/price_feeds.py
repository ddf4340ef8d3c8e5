"""Price paths from the rows that a run was fed with: a data folder, frames or events in memory, a recording."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from quantkit.clock import NS_PER_MIN
from quantkit.engine.books import Books
from quantkit.engine.gaps import Gaps
from quantkit.engine.outcome import Outcome
from quantkit.engine.plan import Plan
from quantkit.errors import DataError, QuantkitError
from quantkit.events import Gap
from quantkit.feeds.base import Feed
from quantkit.feeds.replay import MemoryFeed, ReplayFeed, StoredRows, merge_blocks
from quantkit.instruments import Instrument
from quantkit.orderbook import Book
from quantkit.report.metrics import FloatArray, IntArray
from quantkit.report.prices import NoPrices, PriceRows, PriceSource, Recording
from quantkit.rows.batch import Batch
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import BookCursor, StreamCursor
from quantkit.rows.marks import BookMark, prices_of
from quantkit.rows.position import RunPosition
from quantkit.storage.catalog import Catalog
from quantkit.storage.files import DataFile
from quantkit.storage.root import Root
from quantkit.storage.schema import folder_of

if TYPE_CHECKING:
    import pandas as pd

#: How far back a snapshot is looked for at first.
_LOOK_BACK_NS: Final = 15 * NS_PER_MIN
_OHLC: Final = ("open", "high", "low", "close")


class FeedPrices(PriceSource):
    """Price paths from a feed that can be read as often as wanted.

    Args:
        feed: Rows that are all there; None where a subclass opens them.
        instruments: Every instrument of the run, as at its start.
        start_ns: When the run began.
    """

    def __init__(self, feed: StoredRows | None, instruments: Mapping[str, Instrument], start_ns: int) -> None:
        self._opened = feed
        self._instruments = dict(instruments)
        self._start_ns = start_ns

    def _open(self) -> StoredRows:
        """Return the rows, where they were not at hand from the beginning.

        Raises:
            DataError: They are not there any more, or others.
        """
        raise NotImplementedError

    def _check(self, stream: Stream, *, was_read: bool = True) -> None:
        """Refuse a stream of which the run had other rows.

        Args:
            stream: Of the feed.
            was_read: Whether the run is known to have read it.

        Raises:
            DataError: It says what changed.
        """

    def _feed(self) -> StoredRows:
        if self._opened is None:
            self._opened = self._open()
        return self._opened

    def reason(self, stream: Stream) -> str:
        """Return why a stream cannot be read as the run read it."""
        try:
            if stream not in self._feed().coverage():
                return f"{stream} is not among the data any more"
            self._check(stream)
        except QuantkitError as error:
            return str(error)
        return ""

    def chunks(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[PriceRows]:
        """Yield the rows of a stream; of a book its mid after each row, as the engine has it."""
        self._check(stream)
        if stream.kind == "book":
            for time_ns, mids in self._walk(stream, start_ns, end_ns).mids():
                first = int(time_ns.searchsorted(start_ns, "left"))
                if first < len(time_ns):
                    yield PriceRows.of_prices(stream, time_ns[first:], mids[first:])
            return
        for block in self._feed().rows(stream, start_ns, end_ns):
            yield _price_rows(block)

    def books(self, instrument: str, times_ns: Sequence[int], levels: int) -> list[Book | None]:
        """Return copies of a book as it stood at each of some rising moments."""
        stream = Stream("book", instrument)
        if stream not in self._feed().coverage():
            return [None] * len(times_ns)
        self._check(stream, was_read=False)
        return self._walk(stream, times_ns[0], times_ns[-1]).books_at(times_ns, levels)

    def _walk(self, stream: Stream, start_ns: int, end_ns: int) -> "_BookWalk":
        """Return a walk along a book's rows from where on they tell how it stands at `start_ns`."""
        feed = self._feed()
        since_ns = _last_snapshot_ns(feed, stream, self._start_ns, start_ns)
        first_ns = self._start_ns if since_ns is None else since_ns
        gaps = stream._replace(kind="gap")
        sources = [feed.rows(each, first_ns, end_ns) for each in (gaps, stream) if each in feed.coverage()]
        before = feed.book_before(stream, first_ns) if since_ns is None else []
        return _BookWalk(stream, self._instruments[stream.instrument], before, merge_blocks(sources))


class FolderPrices(FeedPrices):
    """Price paths from a data folder of which every file still has to be what it was for the run.

    Args:
        root: The folder.
        files: SHA-256 of the files that the run read, by path.
        instruments, start_ns: As in `FeedPrices`.
        end_ns: When the run ended.
    """

    def __init__(
        self,
        root: Root,
        files: Mapping[str, str],
        instruments: Mapping[str, Instrument],
        start_ns: int,
        end_ns: int,
    ) -> None:
        super().__init__(None, instruments, start_ns)
        self._root = root
        self._files = files
        self._end_ns = end_ns
        self._checked: set[Stream] = set()

    def _open(self) -> StoredRows:
        try:
            return ReplayFeed(Catalog(self._root))
        except QuantkitError as error:
            raise DataError(f"the data of the run cannot be read again: {error}") from error

    def _check(self, stream: Stream, *, was_read: bool = True) -> None:
        if stream in self._checked:
            return
        feed = self._feed()
        assert isinstance(feed, ReplayFeed)
        folder = _folder_of(stream)
        were = {path: digest for path, digest in self._files.items() if path.startswith(folder)}
        if were or was_read:  # of a book that the run did not read, nothing is known
            held = {entry.path: entry for entry in feed.catalog.entries if entry.stream == stream}
            inside = {entry.path for entry in feed.catalog.files(stream, self._start_ns, self._end_ns)}
            for path in sorted(were.keys() | inside):
                if path not in held or held[path].sha256 != were.get(path):
                    raise DataError(
                        f"the data of {stream} changed since the run ({self._root.full(path)}); run it again"
                    )
            for path in were:
                DataFile(self._root, held[path])  # whose bytes are compared with the manifest's words
        self._checked.add(stream)


class RecordedPrices(FolderPrices, Recording):
    """Price paths from the recording of a live run."""

    @property
    def recording(self) -> Recording:
        """This one."""
        return self

    @property
    def folder(self) -> Path:
        """Where the rows lie."""
        return Path(self._root.path)

    def files_of(self, streams: Iterable[Stream]) -> dict[str, str]:
        """Return the digests of the files of some streams, and of their books and gaps."""
        wanted = {
            each for stream in streams for each in (stream, *map(Stream, ("book", "gap"), 2 * [stream.instrument]))
        }
        folders = tuple(_folder_of(stream) for stream in wanted)
        return {path: digest for path, digest in self._files.items() if path.startswith(folders)}


class FramePrices(FeedPrices):
    """Price paths from frames that are their user's: nothing is copied, so they have to be what they were.

    Args:
        frames, given, interval, strict: What the feed of the run was made of.
        feed: It.
        plan: Of the run.
    """

    def __init__(
        self,
        frames: "Mapping[str, pd.DataFrame]",
        given: Iterable[Instrument],
        interval: str | Mapping[str, str] | None,
        feed: MemoryFeed,
        plan: Plan,
        *,
        strict: bool,
    ) -> None:
        super().__init__(None, plan.instruments, plan.start_ns)
        self._frames = dict(frames)
        self._given = list(given)
        self._interval = interval
        self._is_strict = strict
        self._digests = {stream: _digest(feed, stream) for stream in plan.marks.values()}
        self._unchecked = {*self._digests}

    def _open(self) -> StoredRows:
        from quantkit.importers.frames import candle_columns, frame_feed

        try:
            # What travels beside the prices may be others by now.
            frames = {name: frame[candle_columns(frame)] for name, frame in self._frames.items()}
            return frame_feed(frames, self._given, interval=self._interval, strict=self._is_strict)
        except QuantkitError as error:
            raise DataError(f"the frames changed since the run: {error}") from error

    def _check(self, stream: Stream, *, was_read: bool = True) -> None:
        feed = self._feed()
        assert isinstance(feed, MemoryFeed)
        if stream in self._unchecked:
            if _digest(feed, stream) != self._digests.get(stream):
                raise DataError(f"the frame of {stream.instrument} changed since the run; run it again")
            self._unchecked.remove(stream)


def price_source(
    feed: Feed,
    files: Mapping[str, str],
    plan: Plan,
    *,
    frames: "Mapping[str, pd.DataFrame] | None",
    given: Iterable[Instrument],
    interval: str | Mapping[str, str] | None,
    strict: bool,
) -> PriceSource:
    """Return where the rows of a backtest can be read again.

    Args:
        feed: Of the run.
        files: SHA-256 of the files that it read, by path.
        plan: Of the run.
        frames: What the feed was made of, if it was, with `given`, `interval` and `strict`.
    """
    if isinstance(feed, ReplayFeed):
        return FolderPrices(feed.catalog.root, files, plan.instruments, plan.start_ns, plan.end_ns)
    if isinstance(feed, MemoryFeed) and frames is not None:
        return FramePrices(frames, given, interval, feed, plan, strict=strict)
    if isinstance(feed, StoredRows):
        return FeedPrices(feed, plan.instruments, plan.start_ns)
    return NoPrices("the rows of the run came from a feed that gives them only once")


def recorded_prices(folder: Path | None, plan: Plan, outcome: Outcome) -> PriceSource:
    """Return where the rows of a live run can be read again.

    Args:
        folder: Its recorded rows, sealed; None where it recorded nothing.
        plan: Of the run.
        outcome: Of the run.
    """
    if folder is None:
        return NoPrices("the run recorded nothing; give paper(..., record='runs')")
    root = Root(folder)
    try:
        files = {entry.path: entry.sha256 for entry in Catalog(root).entries}
    except QuantkitError as error:
        return NoPrices(f"the recording of the run cannot be read: {error}")
    return RecordedPrices(root, files, plan.instruments, outcome.start_ns, outcome.end_ns)


def _folder_of(stream: Stream) -> str:
    """Return the folder of all files of a stream, relative to the root."""
    return folder_of(stream, 0).rpartition("/")[0] + "/"


def _digest(feed: MemoryFeed, stream: Stream) -> bytes:
    """Return what tells whether a stream has the rows that it had."""
    digest = hashlib.sha256()
    held = feed.coverage()[stream]
    for block in feed.rows(stream, held.start_ns, held.end_ns):
        for name in ("received_ns", *_OHLC):
            digest.update(block.column(name).tobytes())
    return digest.digest()


def _price_rows(block: Block) -> PriceRows:
    """Return the rows of a block that have a price."""
    prices, time_ns = prices_of(block), block.column("received_ns")
    if block.stream.kind == "candle":
        return PriceRows.of_candles(block.stream, time_ns, [block.column(name) for name in _OHLC])
    is_known = ~np.isnan(prices)
    if not is_known.all():
        time_ns, prices = time_ns[is_known], prices[is_known]
    return PriceRows.of_prices(block.stream, time_ns, prices)


def _last_snapshot_ns(feed: StoredRows, stream: Stream, floor_ns: int, start_ns: int) -> int | None:
    """Return when the last snapshot before a moment was received, None where that was before `floor_ns`."""
    span = _LOOK_BACK_NS
    while start_ns > floor_ns:
        since_ns, found = max(floor_ns, start_ns - span), None
        for block in feed.rows(stream, since_ns, start_ns - 1):
            snapshots = np.flatnonzero(block.column("is_snapshot"))
            if len(snapshots):
                found = int(block.column("received_ns")[snapshots[-1]])
        if found is not None or since_ns == floor_ns:
            return found
        span *= 4
    return None


class _BookWalk:
    """A book, taken along its recorded rows as the engine takes it.

    Args:
        stream: The book's.
        instrument: Its metadata.
        before: Rows that it begins with.
        batches: Its rows and its gaps.
    """

    def __init__(
        self, stream: Stream, instrument: Instrument, before: Sequence[Block], batches: Iterable[Batch]
    ) -> None:
        self._cursor = BookCursor(stream, instrument)
        self._gaps = StreamCursor(stream._replace(kind="gap"))
        self._mark = BookMark(self._cursor, self._gaps)
        self._position = RunPosition()
        self._books = Books([self._cursor], Gaps(), self._position)
        self._batches = batches
        self._gaps_left: list[tuple[int, Gap]] = []
        self._cursor.begin_with(before)

    def mids(self) -> Iterator[tuple[IntArray, FloatArray]]:
        """Yield when rows were received, and the mids after them; rows before the first mid are left out."""
        for batch in self._batches:
            self._enter(batch)
            indices, mids = self._mark.rows(len(batch))
            yield batch.received_ns[indices], mids.copy()
            self._go_to(len(batch))

    def books_at(self, times_ns: Sequence[int], levels: int) -> list[Book | None]:
        """Return copies of the book as it stood at each of some rising moments."""
        found: list[Book | None] = []
        for batch in self._batches:
            self._enter(batch)
            last_ns = int(batch.received_ns[-1])
            while len(found) < len(times_ns) and times_ns[len(found)] <= last_ns:
                self._go_to(int(batch.received_ns.searchsorted(times_ns[len(found)], "right")))
                found.append(self._book(levels))
            self._go_to(len(batch))
        return found + [self._book(levels) for _ in times_ns[len(found) :]]

    def _enter(self, batch: Batch) -> None:
        self._mark.leave_rows()
        self._position.enter_batch(batch.received_ns)
        rows = {
            block.stream: (block, positions) for block, positions in zip(batch.blocks, batch.positions, strict=True)
        }
        for cursor in (self._cursor, self._gaps):
            cursor.load(*rows.get(cursor.stream, (None, np.empty(0, np.int64))))
        self._books.enter_batch([self._cursor] if self._cursor.rows else [])
        gaps = [] if self._gaps.block is None else self._gaps.block.events()
        self._gaps_left = [
            (place, gap) for place, gap in zip(self._gaps.positions.tolist(), gaps, strict=True) if isinstance(gap, Gap)
        ]

    def _go_to(self, index: int) -> None:
        """Take in the gaps before an index; rows are taken in when the book is read."""
        while self._gaps_left and self._gaps_left[0][0] < index:
            place, gap = self._gaps_left.pop(0)
            self._position.index = place + 1
            self._books.take_gap(gap)
        self._position.index = index

    def _book(self, levels: int) -> Book | None:
        with suppress(DataError):  # a crossed one is none that anybody could have traded on
            book = self._books.view(self._cursor.instrument)
            return None if book is None else book.copy(levels)
        return None
