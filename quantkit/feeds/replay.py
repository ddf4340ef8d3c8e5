"""Recorded data as a feed: a data folder, frames in memory, or event objects, merged by batches in the total order."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np

from quantkit.clock import INTERVALS, NEVER_NS, NS_PER_MIN, bar_open_ns, interval_ns
from quantkit.events import KINDS, InstrumentChange, MarketEvent, PositionTier, Timing
from quantkit.feeds.resample import Astride, cannot_build, coarser_blocks, first_astride, sources_of
from quantkit.instruments import Instrument, plain
from quantkit.rows.batch import Batch, Subscription
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog, Coverage, Holdings, stored
from quantkit.storage.reader import BLOCK_ROWS, checked_rows, read_blocks
from quantkit.storage.schema import period_of

#: How far back a book's last snapshot is looked for at first.
_BOOK_LOOK_BACK_NS = 15 * NS_PER_MIN
#: The same for the last row of what is told now and then.
_ROW_LOOK_BACK_NS = 15 * NS_PER_MIN


class StoredRows(ABC):
    """Rows that are all there before a run begins, wherever they are stored.

    Args:
        instruments: Metadata given by the user; it wins over what is stored. The same id several times: what changes is
            valid from its `valid_from_ns` on.
        block_rows: Rows decoded ahead per stream; changes memory and speed, never results.

    Raises:
        ConfigError: `block_rows` is below 1.
    """

    def __init__(self, *, instruments: Iterable[Instrument], block_rows: int) -> None:
        self._given = _versions(instruments)
        self._block_rows = checked_rows(block_rows)
        self._subscriptions: list[Subscription] = []
        self._coverage: Mapping[Stream, Coverage] = {}
        self._sources: dict[Stream, Stream] = {}

    # Where they are stored ------------------------------------------------------------------------------------

    @property
    @abstractmethod
    def described_as(self) -> str:
        """Folder or URI, or `memory`: for the manifest of a result."""

    @abstractmethod
    def forget_reads(self) -> None:
        """Let `data_files` be about what is read from now on: a feed may have served another run."""

    @abstractmethod
    def data_files(self, instruments: Collection[str]) -> dict[str, str]:
        """Return path and SHA-256 of every stored file asked for rows so far, and of these instruments' metadata."""

    @abstractmethod
    def has_hole(self, stream: Stream, start_ns: int, end_ns: int) -> bool:
        """Return whether a stream is known to lack rows within a span."""

    @abstractmethod
    def assumptions(self) -> Sequence[str]:
        """Return assumptions about the rows for the result, a sentence each."""

    @abstractmethod
    def _stored_versions(self) -> Mapping[str, Sequence[Instrument]]:
        """Return the stored metadata by id, in order of `valid_from_ns`."""

    @abstractmethod
    def rows(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[Block]:
        """Yield a stored stream's rows received within a span, both ends included."""

    # The feed -------------------------------------------------------------------------------------------------

    def instruments(self, at_ns: int | None = None) -> Mapping[str, Instrument]:
        """Return every instrument's metadata, the given ones first.

        Args:
            at_ns: Metadata valid then, or else the first later ones; None takes the newest.
        """
        return InstrumentsAt(self._stored_versions(), self._given, at_ns)

    def changes(self, instrument: str, start_ns: int, end_ns: int) -> Sequence[Instrument]:
        """Return metadata that become valid within the span and differ from those before."""
        versions = self._given.get(instrument) or self._stored_versions().get(instrument, [])
        if not versions:
            return []
        found, held = [], _valid(versions, start_ns)
        for version in versions:
            if max(start_ns, held.valid_from_ns) < version.valid_from_ns <= end_ns and held.change_to(version):
                found.append(version)
                held = version
        return found

    def position_tiers(self, instrument: str, margin_mode: str, at_ns: int) -> Sequence[PositionTier]:
        """Return the stored tiers that hold at a moment, or else the first later ones."""
        stream = Stream("position_tier", instrument)
        if stream not in self._coverage:
            return ()
        told: dict[int, list[PositionTier]] = {}
        for block in self.rows(stream, 0, NEVER_NS):
            for row in block.events():
                if isinstance(row, PositionTier) and row.margin_mode == margin_mode:
                    told.setdefault(row.received_ns, []).append(row)
        before = [moment_ns for moment_ns in told if moment_ns <= at_ns]
        return told[max(before) if before else min(told)] if told else ()

    def coverage(self) -> Mapping[Stream, Coverage]:
        """Return the streams of the folder, with their spans."""
        return self._coverage

    def source(self, stream: Stream, start_ns: int | None = None, end_ns: int | None = None) -> Stream:
        """Return the stored stream that gives a stream's rows, read or built, and keep the choice.

        Longer candles are built from the longest shorter candles whose bars all fit within them over the span.

        Raises:
            DataError: There is no stream to read or build it from, or bars straddle the longer candles.
        """
        if stream.kind == "instrument":
            return stream  # made of the metadata, whatever rows there are
        found = sources_of(stream, self._coverage)
        if found[0] != stored(stream):
            found = self._fitting(stream, found, start_ns, end_ns)
        self._sources[stream] = found[0]
        return found[0]

    def _fitting(self, stream: Stream, found: list[Stream], start_ns: int | None, end_ns: int | None) -> list[Stream]:
        """Return the finer candles that longer ones can be built from, those that have no row in the span last."""
        # A candle of the span may have begun a whole interval before it.
        since_ns = 0 if start_ns is None else start_ns - interval_ns(stream.interval) + 1
        until_ns = NEVER_NS if end_ns is None else end_ns
        held = [
            finer
            for finer in found
            if self._coverage[finer].start_ns <= until_ns and self._coverage[finer].end_ns >= since_ns
        ]
        astride: list[Astride] = []
        for finer in held:
            first = self._first_astride(finer, stream.interval, since_ns, until_ns)
            if first is None:
                return [finer]
            astride.append(first)
        if astride:
            raise cannot_build(stream, astride)
        return found

    def _first_astride(self, finer: Stream, interval: str, start_ns: int, end_ns: int) -> Astride | None:
        """Look through the opens and closes of finer candles, and at no other column of theirs."""
        blocks = self.rows(finer, start_ns, end_ns)
        return next((found for block in blocks if (found := first_astride(block, interval)) is not None), None)

    def timings(self) -> list[Timing]:
        """Return the departures of messages in the live runs that recorded these data, and their clock offsets."""
        found: list[Timing] = []
        for stream, held in self._coverage.items():
            if stream.kind == "timing":
                for block in self.rows(stream, held.start_ns, held.end_ns):
                    found += cast("list[Timing]", block.events())
        return found

    def subscribe(self, subscriptions: Collection[Subscription]) -> None:
        """Name the rows that `batches` has to deliver.

        Raises:
            DataError: A stream is not there and cannot be built; the message names what exists.
        """
        self._subscriptions = sorted(subscriptions, key=lambda wish: wish.stream.sort_key)
        for wish in self._subscriptions:
            if wish.stream not in self._sources:
                self.source(wish.stream, wish.start_ns, wish.end_ns)

    def _source_of(self, stream: Stream) -> Stream:
        return self._sources.get(stream) or self.source(stream)

    def warmup(self, stream: Stream, count: int, until_ns: int) -> Block | None:
        """Return the last `count` candles closed by `until_ns`, or rows received by then of what has no interval."""
        held = self._coverage[self._source_of(stream)]
        span = count * interval_ns(stream.interval) if stream.interval else _ROW_LOOK_BACK_NS
        start_ns = until_ns - span
        # Markets that close at night or lack bars need a longer look back; it doubles until the data begin.
        while True:
            blocks = list(self._blocks(Subscription(stream, start_ns, until_ns)))
            if sum(block.size for block in blocks) >= count or start_ns <= held.start_ns:
                break
            span *= 2
            start_ns = until_ns - span
        if not blocks:
            return None
        block = Block.concat(blocks)
        return block.slice(max(0, block.size - count), block.size)

    def book_before(self, stream: Stream, start_ns: int) -> list[Block]:
        """Return a book's rows from its last snapshot before `start_ns` on; none after a gap in them."""
        held = self._coverage.get(stream)
        if held is None or held.start_ns >= start_ns:
            return []
        span = _BOOK_LOOK_BACK_NS
        while True:
            since_ns = start_ns - span
            blocks = list(self.rows(stream, since_ns, start_ns - 1))
            found = _from_last_snapshot(blocks)
            if found or since_ns <= held.start_ns:
                break
            span *= 4
        if found and self._has_book_gap(stream, int(found[0].column("received_ns")[0]) + 1, start_ns - 1):
            return []
        return found

    def _has_book_gap(self, stream: Stream, start_ns: int, end_ns: int) -> bool:
        gaps = stream._replace(kind="gap")
        if gaps not in self._coverage or start_ns > end_ns:
            return False
        channels = (name for block in self.rows(gaps, start_ns, end_ns) for name in block.column("channel").tolist())
        return any(name.startswith("book") for name in channels)

    def batches(self, next_wake_ns: Callable[[], int] | None = None) -> Iterator[Batch]:
        """Yield the subscribed rows in total order, about `block_rows` of each stream at a time."""
        return merge_blocks([self._blocks(wish) for wish in self._subscriptions])

    def _blocks(self, wish: Subscription) -> Iterator[Block]:
        stream, start_ns, end_ns = wish
        if stream.kind == "instrument":
            changes = self.changes(stream.instrument, start_ns, end_ns)
            moments = ((change.id, change.valid_from_ns, change.valid_from_ns, change) for change in changes)
            return iter([Block.from_events([InstrumentChange(*each) for each in moments])] if changes else [])
        source = self._source_of(stream)
        if source == stored(stream):
            return self.rows(stream, start_ns, end_ns)
        data_start_ns = self._coverage[source].start_ns
        finer = self.rows(source, self._first_bar_ns(source, wish), end_ns)
        return coarser_blocks(finer, stream, start_ns=start_ns, end_ns=end_ns, data_start_ns=data_start_ns)

    def _first_bar_ns(self, source: Stream, wish: Subscription) -> int:
        """Return from which receipt on the bars are needed of the candles that are received in a span.

        A bar that comes in the span may be the last of a candle whose others came in time, long before it.
        """
        early_ns = wish.start_ns - 1
        for block in self.rows(source, wish.start_ns, wish.end_ns):
            early_ns = min(early_ns, int(block.column("open_ns")[0]))
            break
        return bar_open_ns(early_ns, wish.stream.interval) + 1


def _from_last_snapshot(blocks: Sequence[Block]) -> list[Block]:
    """Return the rows from the last snapshot on, none if there is no snapshot."""
    for number in range(len(blocks) - 1, -1, -1):
        snapshots = np.flatnonzero(blocks[number].column("is_snapshot"))
        if len(snapshots):
            first = blocks[number]
            return [first.slice(int(snapshots[-1]), first.size), *blocks[number + 1 :]]
    return []


class HeldRows(StoredRows):
    """Rows of a data folder or a database, of which a manifest says what is held.

    Args:
        holdings: What is there.
        instruments, block_rows: See `StoredRows`.
    """

    def __init__(self, holdings: Holdings, *, instruments: Iterable[Instrument], block_rows: int) -> None:
        super().__init__(instruments=instruments, block_rows=block_rows)
        self._holdings = holdings
        self._coverage = holdings.coverage()
        self._files_read: dict[str, str] = {}  # digest by path, of files with rows that were asked for

    @property
    def holdings(self) -> Holdings:
        """What is there."""
        return self._holdings

    @property
    def described_as(self) -> str:
        """Where the rows lie, without secrets."""
        return self._holdings.described_as

    def forget_reads(self) -> None:
        """Let `data_files` be about what is read from now on."""
        self._files_read.clear()

    def data_files(self, instruments: Collection[str]) -> dict[str, str]:
        """Return path and SHA-256 of the files: those of the warm-up and of what lies before the start included.

        Of a database, the files that its rows came from.
        """
        metadata = {
            entry.path: entry.sha256
            for entry in self._holdings.entries
            if entry.kind == "instrument" and entry.instrument in instruments
        }
        return dict(sorted({**metadata, **self._files_read}.items()))

    def has_hole(self, stream: Stream, start_ns: int, end_ns: int) -> bool:
        """Return whether a UTC day of the span, as far as the stream reaches, has no file and was not recorded live.

        Candles, marks and funding lie in monthly files: there a month without a file is a hole.
        """
        held = self._coverage[stream]
        if not held.has_holes:
            return False
        # A candle lies with its open, and a span's last moment belongs to the period before where one begins there.
        last_ns = min(end_ns, held.end_ns) - INTERVALS.get(stream.interval, 1)
        first, last = (period_of(stream.kind, ns) for ns in (max(start_ns, held.start_ns), last_ns))
        there = self._holdings.periods(stream)
        return any(period not in there for period in range(first, last + 1))

    def assumptions(self) -> Sequence[str]:
        """Return the clock shifts that importers noted on the files this run reads."""
        shifts: dict[tuple[str, int], None] = {}
        for wish in self._subscriptions:
            for entry in self._holdings.files(self._source_of(wish.stream), wish.start_ns, wish.end_ns):
                shift = int(entry.notes.get("received_shift_ns", 0))
                if shift:
                    shifts[entry.instrument, shift] = None
        return [
            f"{instrument}: the recorder's clock ran behind the exchange's; "
            f"{plain(shift / 1e6)} ms were added to its stamps"
            for instrument, shift in shifts
        ]

    def _stored_versions(self) -> Mapping[str, Sequence[Instrument]]:
        return self._holdings.versions()

    def rows(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[Block]:
        """Yield a stored stream's rows, and keep the names of their files for `data_files`."""
        self._files_read |= {entry.path: entry.sha256 for entry in self._holdings.files(stream, start_ns, end_ns)}
        return self._read(stream, start_ns, end_ns)

    @abstractmethod
    def _read(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[Block]:
        """Yield a stored stream's rows received within a span, both ends included."""


class ReplayFeed(HeldRows):
    """Rows from a data folder.

    Args:
        data: Folder or URI, or an open catalog.
        instruments, block_rows: See `StoredRows`.

    Raises:
        DataError: The folder is missing or not quantkit's.
    """

    def __init__(
        self,
        data: str | Path | Catalog,
        *,
        instruments: Iterable[Instrument] = (),
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        self.catalog = data if isinstance(data, Catalog) else Catalog(data)
        super().__init__(self.catalog, instruments=instruments, block_rows=block_rows)

    def _read(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[Block]:
        return read_blocks(self.catalog, stream, start_ns=start_ns, end_ns=end_ns, block_rows=self._block_rows)


class MemoryFeed(StoredRows):
    """Rows in memory, as blocks of columns, made of frames or event lists.

    Args:
        events: Event objects in any order; equal stamps of one stream keep theirs.
        instruments: Metadata of every instrument.
        blocks: Rows as columns.
        notes: Assumptions about the rows for the result, a sentence each.
        block_rows: Rows per block; changes memory and speed, never results.
    """

    def __init__(
        self,
        events: Sequence[MarketEvent] = (),
        instruments: Iterable[Instrument] = (),
        *,
        blocks: Iterable[Block] = (),
        notes: Sequence[str] = (),
        block_rows: int = BLOCK_ROWS,
    ) -> None:
        super().__init__(instruments=instruments, block_rows=block_rows)
        self._notes = tuple(notes)
        self._whole: dict[Stream, Block] = {block.stream: block for block in blocks}
        streams: dict[Stream, list[MarketEvent]] = {}
        for event in events:
            stream = Stream(KINDS[type(event)], event.instrument, getattr(event, "interval", ""))
            streams.setdefault(stream, []).append(event)
        for stream, rows in streams.items():
            self._whole[stream] = Block.from_events(sorted(rows, key=lambda event: event.received_ns))
        self._coverage = {stream: _coverage_of(block) for stream, block in self._whole.items()}

    @property
    def described_as(self) -> str:
        """In memory."""
        return "memory"

    def forget_reads(self) -> None:
        """Do nothing: no file is read."""

    def data_files(self, instruments: Collection[str]) -> dict[str, str]:
        """Return none."""
        return {}

    def has_hole(self, stream: Stream, start_ns: int, end_ns: int) -> bool:
        """Return False: nobody knows of any."""
        return False

    def _stored_versions(self) -> Mapping[str, Sequence[Instrument]]:
        return {}  # nothing is known but what is given

    def assumptions(self) -> Sequence[str]:
        """Return the notes."""
        return self._notes

    def rows(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[Block]:
        """Yield rows of a stream as slices of its columns."""
        whole = self._whole[stored(stream)]
        stamps = whole.column("received_ns")
        if stream.kind == "candle_open":
            stamps = whole.column("open_ns")
            columns = {name: whole.column(name) for name in ("open", "open_ns", "close_ns", "seq")}
            whole = Block(stream, whole.size, {**columns, "received_ns": stamps, "exchange_ns": stamps})
        low = int(np.searchsorted(stamps, start_ns, "left"))
        high = int(np.searchsorted(stamps, end_ns, "right"))
        for start in range(low, high, self._block_rows):
            yield whole.slice(start, min(start + self._block_rows, high))


def _versions(instruments: Iterable[Instrument]) -> dict[str, list[Instrument]]:
    """Return metadata by id, in order of `valid_from_ns`; of two that hold from the same moment the later one counts.

    So that a list without moments means what it says last.
    """
    found: dict[str, dict[int, Instrument]] = {}
    for instrument in instruments:
        found.setdefault(instrument.id, {})[instrument.valid_from_ns] = instrument
    return {name: [by_ns[moment] for moment in sorted(by_ns)] for name, by_ns in found.items()}


class InstrumentsAt(Mapping[str, Instrument]):
    """The metadata of each instrument as valid at a moment, read when asked for.

    Args:
        stored, given: Versions by id in order of time; the given ones win.
        at_ns: The moment; None takes the newest.
    """

    def __init__(
        self,
        stored: Mapping[str, Sequence[Instrument]],
        given: Mapping[str, Sequence[Instrument]],
        at_ns: int | None,
    ) -> None:
        self._stored = stored
        self._given = given
        self._at_ns = at_ns

    def __getitem__(self, name: str) -> Instrument:
        return _valid(self._given.get(name) or self._stored[name], self._at_ns)

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._stored, *self._given)))

    def __len__(self) -> int:
        return len(self._stored.keys() | self._given.keys())

    def __contains__(self, name: object) -> bool:
        return name in self._given or name in self._stored


def _valid(versions: Sequence[Instrument], at_ns: int | None) -> Instrument:
    """Return the last of versions that was valid at a moment, the first where none was; None: the newest."""
    valid = [each for each in versions if at_ns is None or each.valid_from_ns <= at_ns]
    return valid[-1] if valid else versions[0]


def _coverage_of(block: Block) -> Coverage:
    stamps = block.column("received_ns")
    first = int(block.column("open_ns")[0] if block.stream.kind == "candle" else stamps[0])
    return Coverage(first, int(stamps[-1]), block.size)


def merge_blocks(sources: Sequence[Iterator[Block]]) -> Iterator[Batch]:
    """Merge sorted streams of blocks into batches in the total order.

    A batch holds, of every stream, the rows before the earliest stamp at which some stream's next block begins: rows of
    that stamp itself wait, since more of them may follow.
    """
    queues = [_Queue(source) for source in sources]
    while queues:
        cut_ns = min((queue.next_ns for queue in queues), default=NEVER_NS)
        parts = [part for queue in queues if (part := queue.take(cut_ns)) is not None]
        if parts:
            yield Batch(parts)
        queues = [queue for queue in queues if not queue.is_empty]


class _Queue:
    """One stream's blocks on their way into batches.

    Rows are always cut from the blocks as they came, never from a cut of a cut: a column asked for late in a long run
    is decoded in one step, and a block is let go of once its rows have been handed out.
    """

    def __init__(self, source: Iterator[Block]) -> None:
        self._source = source
        self._held: list[tuple[Block, int]] = []  # with how many of its rows have been handed out
        self._following = next(source, None)
        self._take_in()

    @property
    def next_ns(self) -> int:
        """The stamp at which the block that has not been taken in begins."""
        return NEVER_NS if self._following is None else int(self._following.column("received_ns")[0])

    @property
    def is_empty(self) -> bool:
        """Whether all rows have been handed out."""
        return not self._held and self._following is None

    def take(self, cut_ns: int) -> Block | None:
        """Hand out the rows before `cut_ns`, all of them at `NEVER_NS`, and take in the blocks that begin there."""
        found, kept = [], []
        for block, start in self._held:
            if cut_ns == NEVER_NS:
                end = block.size
            else:
                end = int(np.searchsorted(block.column("received_ns"), cut_ns, "left"))
            if end > start:
                found.append(block.slice(start, end))
            if end < block.size:
                kept.append((block, max(start, end)))
        self._held = kept
        while self._following is not None and self.next_ns <= cut_ns:
            self._take_in()
        return Block.concat(found) if found else None

    def _take_in(self) -> None:
        if self._following is not None:
            self._held.append((self._following, 0))
            self._following = next(self._source, None)
