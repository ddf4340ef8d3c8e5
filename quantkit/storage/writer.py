"""Rows to sealed Parquet files: a commit becomes visible at once, or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from quantkit.clock import iso_of
from quantkit.errors import ConfigError, DataError
from quantkit.instruments import Instrument, check_id
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Stream
from quantkit.storage import gaps, manifest, metadata
from quantkit.storage.files import DataFile, row_groups
from quantkit.storage.leftovers import clear_leftovers
from quantkit.storage.manifest import MANIFEST, Asked, FileEntry, Manifest, Watched
from quantkit.storage.root import Root, advice, first_line
from quantkit.storage.schema import DEFAULT_EXCHANGE, ROW_GROUP_ROWS_MAX
from quantkit.storage.spool import LeftOut, PartFile, Spool, disk_error
from quantkit.storage.staged import Staged


class Writer:
    """Writes rows of many streams and commits them together.

    Used as a context manager it commits on a clean exit and leaves nothing behind on an exception. Rows wait in files
    aside, so memory stays bounded by one row group of each stream, and a month's gap rows. Equal rows give equal files,
    whatever the sizes of the blocks they came in.

    Gap rows of all channels of an instrument share a stream, so they join the stored ones: none is refused as an
    overlap, and one that is stored already, equal in all but `seq`, is not stored again.

    Args:
        root: Data folder, made when it is not there, or a URI that `pyarrow.fs` understands.
        source: Where the rows come from; kept in the manifest.
        row_group_rows: Rows of each row group, from 1 to 1,048,576.
        replace: Put the new rows in the place of the stored ones of the same stream and span. Stored rows before and
            after the new span stay, in files of their own. Stored gap rows go where every stream that their channel
            names (`candle 1m`, `book`, `trades`) is replaced over the whole gap; the others stay.
        staging: A local folder of the caller's own, on the root's disk, for the files that are being written; what a
            killed writer left there is the caller's to clear away. None makes one in the root.
        leaves_out: Leave out a row that must not be stored, and a stream's file of a day or month whose span has stored
            rows already, and commit the others; `left_out` has them. False refuses everything with them.

    Attributes:
        left_out: What was not stored, complete after the commit.

    Raises:
        ConfigError: `row_group_rows` is out of range, or the root is no place that can be opened.
        DataError: The root cannot be written, or its manifest not read.
    """

    def __init__(
        self,
        root: str | Path | Root,
        *,
        source: str = "",
        row_group_rows: int = 131_072,
        replace: bool = False,
        staging: Path | None = None,
        leaves_out: bool = False,
    ) -> None:
        if not 1 <= row_group_rows <= ROW_GROUP_ROWS_MAX:
            raise ConfigError(f"row_group_rows is {row_group_rows}; use 1 to {ROW_GROUP_ROWS_MAX}")
        self.left_out: list[LeftOut] = []
        self._leaves_out = leaves_out
        self._root = Root.of(root)
        self._source = source
        self._row_group_rows = row_group_rows
        self._replace = replace
        self._notes: dict[str, str | int] = {}
        self._spools: dict[Stream, Spool] = {}
        self._instruments: dict[str, list[Instrument]] = {}
        self._watched: list[Watched] = []
        self._asked: list[Asked] = []
        self._stored = self._loaded().entries
        self._folders: dict[str, str] = {}
        for entry in self._stored:
            self._folders.setdefault(_folder_of(entry.instrument), entry.instrument)
        self._staging: Path | None = self._root.staging() if staging is None else _made_within(staging)
        self._remainders = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.abort()
        elif self._staging is not None:
            self.commit()

    def write(self, block: Block) -> None:
        """Add rows of one stream, which follow on those of its blocks before.

        Without a `seq` column the rows are numbered in the order they come; a block whose `seq` starts over goes on
        from the one before it. On an error the writer is done for and has left nothing behind.

        Raises:
            ConfigError: The instrument's id is not usable in a path, or differs from a stored one in case alone.
            DataError: A row must not be stored (the message says which and why), stored rows of the stream lie in the
                same span and `replace` is off, or the disk refuses.
        """
        staging = self._open_staging()
        with self._aborting():
            spool = self._spools.get(block.stream)
            if spool is None:
                self._claim(block.stream.instrument)
                stem = f"rows-{len(self._spools)}"
                spool = self._spools[block.stream] = Spool(block.stream, staging, stem, self._row_group_rows)
            try:
                if self._leaves_out:
                    self.left_out += spool.add_sound(block)
                    return
                begun = spool.add(block)
            except OSError as error:
                raise disk_error(block.stream, error) from error
            if not self._replace and block.stream.kind != "gap":
                for received_ns, open_ns in begun:
                    # Said now rather than after an hour's import; the whole span is compared at the commit.
                    text = f"from {iso_of(received_ns)} on"
                    _refuse_overlap(self._stored, block.stream, (received_ns,) * 2, (open_ns,) * 2, text)

    def write_instrument(self, instrument: Instrument) -> None:
        """Add an instrument's metadata, valid from its `valid_from_ns`.

        Metadata already stored for that moment stay if they are equal, give way if they were inferred and these are
        not, and are refined by a finer step if both were inferred.

        Raises:
            DataError: The writer is closed. The commit raises it when given metadata contradict the stored ones and
                `replace` is off.
        """
        self._open_staging()
        self._claim(instrument.id)
        self._instruments.setdefault(instrument.id, []).append(instrument)

    def note(self, key: str, value: str | int) -> None:
        """Keep a value on every manifest line of this commit, for example `received_shift_ns`."""
        self._open_staging()
        self._notes[key] = value

    def watched(self, stream: Stream, from_ns: int, to_ns: int, *, warmup: int = 0) -> None:
        """Note that a live stream was listened to from `from_ns` to `to_ns`: without rows there, nothing came.

        Args:
            stream: Any of market data.
            from_ns, to_ns: First and last moment.
            warmup: How many candles from before were asked for; fewer are stored where there were no more.

        Raises:
            ConfigError: The span ends before it begins, or the instrument's id is not usable.
        """
        self._open_staging()
        check_id(stream.instrument)
        self._claim(stream.instrument)
        if to_ns < from_ns:
            raise ConfigError(f"{stream}: listened to until {iso_of(to_ns)}, before {iso_of(from_ns)}")
        kind, instrument, interval = stream
        self._watched.append(
            Watched(kind=kind, instrument=instrument, interval=interval, from_ns=from_ns, to_ns=to_ns, warmup=warmup)
        )

    def asked(self, stream: Stream, from_ns: int, to_ns: int, *, source: str) -> None:
        """Note that a source was asked for all that it has from `from_ns` to `to_ns`: without rows there, it has none.

        Args:
            stream: Any of market data.
            from_ns, to_ns: First and last moment; of candles on the scale of `open_ns`, else of `received_ns`.
            source: Who was asked.

        Raises:
            ConfigError: The span ends before it begins, or the instrument's id is not usable.
        """
        self._open_staging()
        check_id(stream.instrument)
        self._claim(stream.instrument)
        if to_ns < from_ns:
            raise ConfigError(f"{stream}: asked for until {iso_of(to_ns)}, before {iso_of(from_ns)}")
        kind, instrument, interval = stream
        self._asked.append(
            Asked(kind=kind, instrument=instrument, interval=interval, from_ns=from_ns, to_ns=to_ns, source=source)
        )

    def commit(self) -> list[FileEntry]:
        """Seal the files and let them become visible together; the writer is closed then.

        Returns:
            The new lines of the manifest, in its order.

        Raises:
            DataError: Rows overlap stored ones and `replace` is off, instrument metadata contradict the stored ones,
                or the disk refuses. Nothing has changed then, unless the message says that the rows are visible,
                and the writer is closed.
        """
        staging = self._open_staging()
        with self._aborting():
            staged = [file for stream, spool in self._spools.items() for file in _finished(stream, spool)]
            with self._root.locked(MANIFEST), self._root.translated():
                entries = self._publish(staging, staged)
        self._close()
        return entries

    def abort(self) -> None:
        """Drop everything that was written and not committed; fine to call at any time."""
        for spool in self._spools.values():
            spool.discard()
        self._close()

    def _claim(self, instrument_id: str) -> None:
        """Refuse an instrument whose folder is another one's on a file system that knows no case.

        Raises:
            ConfigError: It names the other one.
        """
        other = self._folders.setdefault(_folder_of(instrument_id), instrument_id)
        if other != instrument_id:
            raise ConfigError(
                f"{instrument_id}: on some machines its folder is that of {other}, whose rows are here; spell it alike"
            )

    def _open_staging(self) -> Path:
        if self._staging is None:
            raise DataError("this writer has committed or was aborted; open another one")
        return self._staging

    def _close(self) -> None:
        self._spools.clear()
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging = None

    @contextmanager
    def _aborting(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.abort()
            raise

    # The commit -----------------------------------------------------------------------------------------------

    def _publish(self, staging: Path, staged: list[Staged]) -> list[FileEntry]:
        held = self._loaded()
        stored, watched = held.entries, held.watched
        with ExitStack() as undo:
            entries: list[FileEntry] = []

            def publish(file: Staged, source: str, notes: dict[str, str | int]) -> None:
                path = free_path(self._root, file.folder, {entry.path for entry in stored})
                undo.callback(self._root.remove, path)
                self._root.publish(file.file, path, file.seal.sha256)
                entries.append(file.entry(path, source, notes))

            gone: list[FileEntry] = []
            rests: list[Staged] = []
            rows = [file for file in staged if file.stream.kind != "gap"]
            for file in rows:
                span = (file.first_ns, file.last_ns)
                opens = None if file.first_open_ns is None else (file.first_open_ns, file.last_open_ns or 0)
                if not self._replace:
                    text = f"from {iso_of(span[0])} to {iso_of(span[1])}"
                    try:
                        _refuse_overlap(stored, file.stream, span, opens, text)
                    except DataError as error:
                        if not self._leaves_out:
                            raise
                        there = _overlapping(stored, file.stream, span, opens)
                        self.left_out.append(LeftOut(file.stream, file.rows, _uncovered(span, there), error))
                        continue
                publish(file, self._source, self._notes)
                for entry in _overlapping(stored, file.stream, span, opens):
                    gone.append(entry)
                    self._remainders += 1
                    stem = staging / f"rest-{self._remainders}"
                    for rest in _remainder(self._root, stem, entry, file, self._row_group_rows):
                        rests.append(rest)
                        publish(rest, entry.source, entry.notes)
            for month in gaps.merged(
                self._root,
                staging,
                stored,
                [file for file in staged if file.stream.kind == "gap"],
                gaps.renewed(rows, _staying(stored, gone, rests)) if self._replace else {},
                source=self._source,
                notes=self._notes,
                row_group_rows=self._row_group_rows,
            ):
                if month.staged is not None:
                    publish(month.staged, month.source, month.notes)
                gone.extend(month.replaced)
            for instrument_id, instruments in self._instruments.items():
                rewritten = metadata.rewritten(
                    self._root, staging, stored, instrument_id, instruments, replace=self._replace
                )
                if rewritten is not None:
                    publish(rewritten.staged, self._source, self._notes)
                    gone.extend(rewritten.replaced)
            listened = manifest.united([*watched, *self._watched])
            asked = manifest.united_asked([*held.asked, *self._asked])
            if not entries and listened == watched and asked == held.asked:
                return []
            removed = {entry.path for entry in gone}
            kept = [entry for entry in stored if entry.path not in removed]
            self._root.sync([entry.path for entry in entries])
            write_manifest(self._root, staging, Manifest(kept + entries, listened, asked))
            # From here on the files are referred to, so nothing is taken back any more.
            undo.pop_all()
        clear_leftovers(self._root, MANIFEST)
        for entry in gone:
            # What cannot be deleted is no longer listed; `quality.check` names it, and nobody reads it.
            with suppress(DataError):
                self._root.remove(entry.path)
        try:
            self._root.sync([])
        except DataError as error:
            raise DataError(f"{error}; the new rows are visible, but may be lost if the machine stops") from error
        return sorted(entries, key=lambda entry: entry.sort_key)

    def _loaded(self) -> Manifest:
        return manifest.load(self._root) or Manifest([], [], [])


def write_manifest(root: Root, staging: Path, lines: Manifest) -> None:
    """Put a manifest in the place of the present one; the caller holds the root's lock.

    Raises:
        DataError: The disk refuses; the present one stays.
    """
    draft = staging / MANIFEST
    with root.translated(MANIFEST), draft.open("wb") as file:
        file.write(manifest.dump(lines))
        file.flush()
        os.fsync(file.fileno())
    root.publish(draft, MANIFEST)


def free_path(root: Root, folder: str, taken: set[str]) -> str:
    """Return a path for a further file of a folder, none of those that are taken."""
    number = 0
    # A file that no manifest lists may be what a crash left; it is evidence, so it is never overwritten.
    while (path := f"{folder}/part-{number}.parquet") in taken or root.exists(path):
        number += 1
    return path


def _made_within(folder: Path) -> Path:
    """Make a fresh folder in one that is given.

    Raises:
        DataError: The disk refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=folder))
    except OSError as error:
        raise DataError(f"{folder}: cannot be written: {first_line(error)}; {advice(error)}") from error


def _folder_of(instrument_id: str) -> str:
    """Return where an instrument's rows lie, in a form that is the same for all spellings of one folder."""
    exchange, _, name = instrument_id.rpartition(":")
    return f"{exchange or DEFAULT_EXCHANGE}:{name}".casefold()


def _remainder(root: Root, stem: Path, entry: FileEntry, new: Staged, row_group_rows: int) -> list[Staged]:
    """Stage what a stored file holds before and after the new rows, in files whose names begin with `stem`."""
    names = (*STAMPS, *KIND_COLUMNS[entry.kind])
    parts: dict[str, PartFile] = {}
    with ExitStack() as discards:
        for group in row_groups(DataFile(root, entry, verify_digest=True)):
            block = Block(entry.stream, len(group.received_ns), {name: group.column(name) for name in names})
            before, after = _cut(block, new)
            for side, piece in (("before", block.slice(0, before)), ("after", block.slice(after, block.size))):
                if not piece.size:
                    continue
                if side not in parts:
                    path = stem.with_name(f"{stem.name}-{side}.parquet")
                    parts[side] = PartFile(entry.stream, path, new.folder, row_group_rows)
                    discards.callback(parts[side].discard)
                parts[side].append(piece)
        return [part.finish() for part in parts.values()]


def _finished(stream: Stream, spool: Spool) -> list[Staged]:
    try:
        return spool.finish()
    except OSError as error:
        raise disk_error(stream, error) from error


def _refuse_overlap(
    stored: list[FileEntry], stream: Stream, span: tuple[int, int], opens: tuple[int, int] | None, text: str
) -> None:
    """Raise a DataError when stored files meet the new span, which the message calls `text`."""
    for entry in _overlapping(stored, stream, span, opens):
        raise DataError(
            f"{stream}: new rows {text} overlap stored rows from {iso_of(entry.first_ns)} to {iso_of(entry.last_ns)} "
            f"({entry.path}); write with replace=True (`--replace`) to put them in the place of the stored ones"
        )


def _overlapping(
    stored: list[FileEntry], stream: Stream, span: tuple[int, int], opens: tuple[int, int] | None
) -> list[FileEntry]:
    """Return the stored files whose span meets the new one, ends included.

    Candles are compared by their opens too: the same candle may have been received at two moments.
    """

    def meets(entry: FileEntry) -> bool:
        if entry.first_ns <= span[1] and entry.last_ns >= span[0]:
            return True
        if opens is None or entry.first_open_ns is None or entry.last_open_ns is None:
            return False
        return entry.first_open_ns <= opens[1] and entry.last_open_ns >= opens[0]

    return [entry for entry in stored if entry.stream == stream and meets(entry)]


def _uncovered(span: tuple[int, int], there: list[FileEntry]) -> list[tuple[int, int]]:
    """Return the parts of a span, ends included, in which stored files have nothing."""
    parts: list[tuple[int, int]] = []
    begin, last = span
    for entry in sorted(there, key=lambda entry: entry.first_ns):
        if entry.first_ns > begin:
            parts.append((begin, min(entry.first_ns - 1, last)))
        begin = max(begin, entry.last_ns + 1)
    return [*parts, (begin, last)] if begin <= last else parts


def _staying(stored: list[FileEntry], gone: list[FileEntry], rests: list[Staged]) -> Iterator[tuple[Stream, int, int]]:
    """Yield stream, first and last `received_ns` of what stays of the stored files."""
    removed = {entry.path for entry in gone}
    for entry in stored:
        if entry.path not in removed:
            yield entry.stream, entry.first_ns, entry.last_ns
    for rest in rests:
        yield rest.stream, rest.first_ns, rest.last_ns


def _cut(block: Block, new: Staged) -> tuple[int, int]:
    """Return how many rows of a stored block lie before the new rows, and where those after them begin."""
    received = block.column("received_ns")
    before = int(np.searchsorted(received, new.first_ns, side="left"))
    after = int(np.searchsorted(received, new.last_ns, side="right"))
    if new.first_open_ns is not None and new.last_open_ns is not None:
        opened = block.column("open_ns")
        before = min(before, int(np.searchsorted(opened, new.first_open_ns, side="left")))
        after = max(after, int(np.searchsorted(opened, new.last_open_ns, side="right")))
    return before, after
