"""The contents of a data folder, read from its manifest."""

import os
import shutil
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from quantkit.cards import card
from quantkit.clock import iso_of
from quantkit.errors import DataError
from quantkit.events import EVENT_KINDS
from quantkit.instruments import Instrument
from quantkit.rows.columns import Block, Stream
from quantkit.storage.manifest import MANIFEST, Asked, FileEntry, Manifest, Watched, load
from quantkit.storage.root import Root
from quantkit.storage.schema import period_of

__all__ = ["Catalog", "Coverage", "FileEntry"]

#: In a notebook.
_SHOWN_STREAMS: Final = 60


class Coverage(NamedTuple):
    """What is held of one stream.

    Attributes:
        start_ns: First `received_ns`, for candles the first `open_ns`; or when live recording began, if that is before.
        end_ns: Last `received_ns`, or the end of live recording if that is later.
        rows: How many rows; none of a stream that was recorded live and stayed quiet.
        has_holes: Whether a UTC day (candles, marks and funding: a month) between the first and the last has no file,
            was not recorded live and was not asked for of a source that has none. Never of gap rows, which are none
            where nothing was lost, nor of timings and other rows that come when something happens.
        live_ns: When live recording began first, None if there was none.
        warmup: How many candles from before `live_ns` were asked for then; all of them that there were are held.
    """

    start_ns: int
    end_ns: int
    rows: int
    has_holes: bool = False
    live_ns: int | None = None
    warmup: int = 0


class Holdings(ABC):
    """What a store of market data holds, as it stood when it was opened: a data folder, or a database.

    Args:
        manifest: Its lines.

    Attributes:
        entries, watched, asked, unguarded: As in `manifest.Manifest`.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.entries = manifest.entries
        self.watched = manifest.watched
        self.asked = manifest.asked
        self.unguarded = manifest.unguarded
        self._coverage: dict[Stream, Coverage] | None = None
        # The entries are in order of their streams.
        runs = groupby(self.entries, key=attrgetter(*Stream._fields))
        self._by_stream: dict[Stream, list[FileEntry]] = {Stream(*names): list(run) for names, run in runs}
        self._watched_by_stream: dict[Stream, list[Watched]] = defaultdict(list)
        for span in self.watched:
            self._watched_by_stream[span.stream].append(span)
        self._asked_by_stream: dict[Stream, list[Asked]] = defaultdict(list)
        for wanted in self.asked:
            self._asked_by_stream[wanted.stream].append(wanted)

    @property
    @abstractmethod
    def described_as(self) -> str:
        """Where it lies, without secrets: for the manifest of a result."""

    @abstractmethod
    def versions(self) -> Mapping[str, Sequence[Instrument]]:
        """Return every instrument's metadata by id, in order of `valid_from_ns`."""

    # For the check -------------------------------------------------------------------------------------------

    @property
    def doubts(self) -> Sequence[str]:
        """What this store cannot show of its rows, a sentence each."""
        return ()

    @abstractmethod
    def blocks_of(self, entry: FileEntry) -> Iterator[Block]:
        """Yield the rows of one line of the manifest in order, verified as far as the store can.

        Raises:
            DataError: They are not what the line says; asking a block for a column raises it too.
        """

    @abstractmethod
    def metadata_of(self, entry: FileEntry) -> Sequence[Instrument]:
        """Return the instruments of one line of the manifest, verified as far as the store can.

        Raises:
            DataError: They are not what the line says.
        """

    def paths(self) -> Sequence[str]:
        """Return what lies there, listed or not; nothing where rows lie in no files."""
        return ()

    def bytes_of(self, stream: Stream) -> int | None:
        """Return how many bytes a stream's rows take, None where that is not known."""
        return sum(entry.size_bytes for entry in self._by_stream.get(stream, []))

    @abstractmethod
    def note(self, name: str) -> bytes | None:
        """Return what is kept under a name beside the rows, None without it."""

    @abstractmethod
    def keep_note(self, name: str, content: bytes) -> None:
        """Keep something beside the rows, in the place of what had the name.

        Raises:
            DataError: The store cannot be written.
        """

    # What is held --------------------------------------------------------------------------------------------

    def instruments(self, at_ns: int | None = None) -> dict[str, Instrument]:
        """Return the instruments' metadata by id.

        Args:
            at_ns: Take each instrument's newest row that was valid then; None takes the newest.

        Returns:
            In order of ids. Instruments that have data but no metadata valid at `at_ns` are left out.

        Raises:
            DataError: Stored metadata are not what they claim to be.
        """
        valid: dict[str, Instrument] = {}
        for name, versions in self.versions().items():
            known = [each for each in versions if at_ns is None or each.valid_from_ns <= at_ns]
            if known:
                valid[name] = known[-1]
        return valid

    def coverage(self) -> Mapping[Stream, Coverage]:
        """Return what is held of each stream of market data, in order of kind, instrument and interval."""
        if self._coverage is None:
            streams = {stream for stream in (*self._by_stream, *self._watched_by_stream) if stream.kind != "instrument"}
            self._coverage = {stream: self._coverage_of(stream) for stream in sorted(streams)}
        return self._coverage

    def _coverage_of(self, stream: Stream) -> Coverage:
        entries, spans = self._by_stream.get(stream, []), self._watched_by_stream.get(stream, [])
        first = [entry.span(opens=True)[0] for entry in entries] + [span.from_ns for span in spans]
        last = [entry.last_ns for entry in entries] + [span.to_ns for span in spans]
        held = self.periods(stream)
        return Coverage(
            start_ns=min(first),
            end_ns=max(last),
            rows=sum(entry.rows for entry in entries),
            has_holes=not EVENT_KINDS[stream.kind].is_sparse and max(held) - min(held) >= len(held),
            live_ns=spans[0].from_ns if spans else None,
            warmup=spans[0].warmup if spans else 0,
        )

    def periods(self, stream: Stream) -> set[int]:
        """Return the UTC days, as numbers, that have files, were recorded live or asked for of a source.

        Of kinds in `schema.MONTHLY`, such as candles, months.
        """
        held = {period_of(stream.kind, entry.span(opens=True)[0]) for entry in self._by_stream.get(stream, [])}
        for span in self._watched_by_stream.get(stream, []):
            held.update(range(period_of(stream.kind, span.from_ns), period_of(stream.kind, span.to_ns) + 1))
        for wanted in self._asked_by_stream.get(stream, []):
            held.update(range(period_of(stream.kind, wanted.from_ns), period_of(stream.kind, wanted.to_ns) + 1))
        return held

    def files(self, stream: Stream, start_ns: int, end_ns: int) -> list[FileEntry]:
        """Return the files with rows of `stream` in [start_ns, end_ns], in time order.

        Streams of kind `candle_open` lie in the candles' files, and their span is that of `open_ns`.
        """
        opens = stream.kind == "candle_open"
        held = self._by_stream.get(stored(stream), [])
        spans = ((entry.span(opens=opens), entry) for entry in held)
        return [entry for (first, last), entry in spans if first <= end_ns and last >= start_ns]

    def notes(self) -> dict[str, dict[str, tuple[str | int, ...]]]:
        """Return what writers noted, by instrument and key.

        Returns:
            The distinct values of each note in order of time, for example
            `{"binance:BTC-USDT": {"received_shift_ns": (1270000000,)}}`; instruments without notes are left out.
        """
        found: dict[str, dict[str, dict[str | int, None]]] = defaultdict(lambda: defaultdict(dict))
        for entry in sorted(self.entries, key=lambda entry: (entry.instrument, entry.first_ns, entry.path)):
            for key, value in entry.notes.items():
                found[entry.instrument][key][value] = None
        return {
            instrument: {key: tuple(values) for key, values in notes.items()} for instrument, notes in found.items()
        }


class Catalog(Holdings):
    """The files of a data folder as they stood when the catalog was opened.

    Args:
        root: Folder, or a URI that `pyarrow.fs` understands.

    Attributes:
        entries, watched, asked, unguarded: As in `manifest.Manifest`.

    Raises:
        DataError: The folder or its manifest is missing or cannot be read.
    """

    def __init__(self, root: str | Path | Root) -> None:
        self.root = Root.of(root)
        manifest = load(self.root)
        if manifest is None:
            self.root.refuse_missing_bucket()
            what = self.root.lacks()
            # A run's own rows lie one folder further down.
            is_run = self.root.exists(f"data/{MANIFEST}")
            hint = (
                f"did you mean {self.root}/data?"
                if is_run
                else "name another one, fill it with `quantkit import`, or start with generated data: `quantkit new`"
            )
            raise DataError(f"data folder {self.root} {what} ({MANIFEST}); {hint}")
        super().__init__(manifest)
        self._versions = StoredVersions(self.root, self._by_stream)

    def __repr__(self) -> str:
        streams = self.coverage()
        rows = sum(covered.rows for covered in streams.values())
        return f"<Catalog {self.root}, {len(streams)} streams, {rows:,} rows>"

    def _repr_html_(self) -> str:
        """Return the streams as a notebook shows them."""
        streams = self.coverage()
        rows = [
            (
                stream.instrument,
                " ".join(filter(None, (stream.kind, stream.interval))),
                f"{iso_of(covered.start_ns)[:16]}".replace("T", " "),
                f"{iso_of(covered.end_ns)[:16]}".replace("T", " "),
                "has holes" if covered.has_holes else "",
                f"{covered.rows:,}",
            )
            for stream, covered in streams.items()
        ]
        total = sum(covered.rows for covered in streams.values())
        left_out = len(rows) - _SHOWN_STREAMS
        return card(
            f"Data folder {self.root}",
            f"{total:,} rows",
            headings=("instrument", "kind", "from (UTC)", "to", "", "rows"),
            rows=rows[:_SHOWN_STREAMS],
            texts=5,
            more=f"and {left_out:,} more: quantkit data ls {self.root}" if left_out > 0 else "",
        )

    @property
    def described_as(self) -> str:
        """The folder or URI."""
        return str(self.root)

    def blocks_of(self, entry: FileEntry) -> Iterator[Block]:
        """Yield the rows of a file, whose digest is compared first."""
        from quantkit.storage.files import DataFile, row_groups

        for group in row_groups(DataFile(self.root, entry, verify_digest=True)):
            yield Block(entry.stream, len(group.received_ns), {"received_ns": group.received_ns}, group.column)

    def metadata_of(self, entry: FileEntry) -> Sequence[Instrument]:
        """Return the instruments of a file, whose digest is compared first."""
        from quantkit.storage.files import DataFile, read_instruments

        DataFile(self.root, entry, verify_digest=True)
        return read_instruments(self.root, entry)

    def paths(self) -> Sequence[str]:
        """Return every file of the folder, listed or not."""
        return list(self.root.files())

    def note(self, name: str) -> bytes | None:
        """Return the content of a file beside the manifest."""
        return self.root.read(name)

    def keep_note(self, name: str, content: bytes) -> None:
        """Write a file beside the manifest, whole or not at all."""
        staging = self.root.staging()
        try:
            draft = staging / name
            with self.root.translated(name), draft.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            self.root.publish(draft, name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def versions(self) -> "StoredVersions":
        """Return every instrument's metadata by id, in order of `valid_from_ns`; files are read when asked for."""
        return self._versions


class StoredVersions(Mapping[str, Sequence[Instrument]]):
    """The metadata of a catalog's instruments by id, in order of `valid_from_ns`.

    An instrument's files are read when it is asked for: a catalog may hold many hundred, and a run needs a few.

    Args:
        root: Where the files lie.
        files: The catalog's files by stream.

    Raises:
        DataError: When asked for an instrument whose metadata file is not what it claims to be.
    """

    def __init__(self, root: Root, files: Mapping[Stream, Sequence[FileEntry]]) -> None:
        self._root = root
        self._files = {stream.instrument: files[stream] for stream in files if stream.kind == "instrument"}
        self._read: dict[str, list[Instrument]] = {}

    def __getitem__(self, name: str) -> list[Instrument]:
        from quantkit.storage.files import read_instruments

        if name not in self._read:
            found = [each for entry in self._files[name] for each in read_instruments(self._root, entry)]
            # A stable sort: of two that hold from the same moment, which no writer leaves, the later file's counts.
            self._read[name] = sorted(found, key=lambda each: each.valid_from_ns)
        return self._read[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._files))

    def __len__(self) -> int:
        return len(self._files)

    def __contains__(self, name: object) -> bool:
        return name in self._files


def stored(stream: Stream) -> Stream:
    """Return the stream in whose files a stream's rows lie: a candle's open price lies with the candle."""
    return stream._replace(kind="candle") if stream.kind == "candle_open" else stream
