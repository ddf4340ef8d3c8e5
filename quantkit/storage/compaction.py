"""Sealed files that become one, are put in order or are removed: the old state or the new one, never one in between."""

import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from quantkit.errors import DataError
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block
from quantkit.storage import manifest
from quantkit.storage.files import DataFile, row_groups
from quantkit.storage.manifest import FileEntry, Manifest
from quantkit.storage.root import Root
from quantkit.storage.rows_digest import RowsDigest
from quantkit.storage.schema import COMPACT_LEVEL, folder_of
from quantkit.storage.sorting import SortedRows
from quantkit.storage.spool import PartFile, Spool
from quantkit.storage.staged import Staged
from quantkit.storage.writer import free_path, write_manifest

_GROUP_ROWS: Final = 131_072
#: Kinds whose files are never merged here: gap rows of a month share one file already, and metadata do.
_LEFT: Final = frozenset({"gap", "instrument"})


class Compacted(NamedTuple):
    """Files that have become one, and the digest of their rows, which is the same before and after."""

    old: list[FileEntry]
    new: FileEntry
    digest: str


class Reordered(NamedTuple):
    """Files whose rows are in order now, and the digest of those."""

    old: list[FileEntry]
    new: list[FileEntry]
    digest: str


def compactable(entries: Sequence[FileEntry], before_ns: int) -> list[list[FileEntry]]:
    """Return the files that belong together: those of one folder, each after the other, whose rows all came before.

    Args:
        entries: As in the manifest.
        before_ns: The begin of what may still grow.
    """
    folders: dict[tuple[str, str, str], list[FileEntry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.sort_key):
        if entry.kind not in _LEFT and entry.last_ns < before_ns:
            # What came from elsewhere, or with other notes, keeps its own file.
            told = repr(sorted(entry.notes.items()))
            folders[entry.path.rpartition("/")[0], entry.source, told].append(entry)
    return [group for group in folders.values() if len(group) > 1 and all(_follows(*each) for each in pairwise(group))]


def _follows(before: FileEntry, after: FileEntry) -> bool:
    if (
        before.last_open_ns is not None
        and after.first_open_ns is not None
        and after.first_open_ns <= before.last_open_ns
    ):
        return False
    return after.first_ns > before.last_ns


def compact(root: Root, entries: Sequence[FileEntry], *, staging: Path | None = None) -> Compacted:
    """Put one file with the same rows in the place of several, more tightly compressed.

    The new file is read back and its digest of rows compared with the old ones' before anything changes. A kill leaves
    the old files or the new one in the manifest, never both and never none.

    Args:
        root: The data folder.
        entries: Of one stream and one folder, in order of time; at least one.
        staging: A local folder for the file that is being written; None: one beside the files.

    Raises:
        DataError: A file is damaged, was replaced meanwhile, or the disk refuses. The old files stay then.
    """
    first = entries[0]
    with _staging(root, staging) as folder:
        staged, digest = _merged(root, entries, folder)
        new = _exchanged(root, folder, entries, [staged], digest, first.source, first.notes)
    return Compacted(list(entries), new[0], digest)


def reorder(root: Root, entries: Sequence[FileEntry], *, staging: Path | None = None) -> Reordered:
    """Put files with the same rows in order, without doubles, in the place of several.

    The new files are read back and their digest of rows compared before anything changes. A kill leaves the old files
    or the new ones in the manifest.

    Args:
        root: The data folder.
        entries: Of one stream, in the manifest's order; all that share time with one another.
        staging: As for `compact`.

    Raises:
        DataError: A file is damaged, was replaced meanwhile, its rows cannot stand in any order, or the disk refuses.
            The old files stay then.
    """
    stream = entries[0].stream
    digest = RowsDigest(stream)
    with _staging(root, staging) as folder, ExitStack() as discards:
        spool = Spool(stream, folder, "sorted", _GROUP_ROWS)
        discards.callback(spool.discard)
        for block in SortedRows(root, entries).blocks():
            digest.add(block)
            with root.translated():
                spool.add(block)
        with root.translated():
            staged = spool.finish()
        source = ", ".join(dict.fromkeys(entry.source for entry in entries if entry.source))
        notes = {key: value for entry in reversed(entries) for key, value in entry.notes.items()}
        new = _exchanged(root, folder, entries, staged, digest.hexdigest(), source, notes)
    return Reordered(list(entries), new, digest.hexdigest())


def _exchanged(
    root: Root,
    folder: Path,
    old: Sequence[FileEntry],
    staged: Sequence[Staged],
    digest: str,
    source: str,
    notes: dict[str, str | int],
) -> list[FileEntry]:
    """Read finished files back, and put them in the place of others in the manifest."""
    ours, first = Root(folder), old[0]
    if _digest_of(ours, [file.entry(file.file.name, source, notes) for file in staged]) != digest:
        raise DataError(f"{first.path}: the new file does not hold the same rows; the old files stay")
    with root.locked(), root.translated(), ExitStack() as undo:
        held = manifest.load(root) or Manifest([], [], [])
        gone = {entry.path for entry in old}
        if sum(1 for each in held.entries if each in old) != len(old):
            raise DataError(f"{first.path}: was replaced while its rows were written anew; the new files stay")
        taken = {each.path for each in held.entries}
        new = []
        for file in staged:
            path = free_path(root, file.folder, taken)
            undo.callback(root.remove, path)
            root.publish(file.file, path)
            new.append(file.entry(path, source, notes))
        root.sync([entry.path for entry in new])
        kept = [each for each in held.entries if each.path not in gone]
        write_manifest(root, folder, held._replace(entries=[*kept, *new]))
        undo.pop_all()
        _remove(root, old)
    return new


def drop_before(root: Root, before_ns: int, *, staging: Path | None = None) -> list[FileEntry]:
    """Remove the files whose rows are all older than a moment, and return their lines.

    What was listened to or asked for before is forgotten as well: without rows it would read as silence. A folder is
    never emptied.

    Args:
        root: The data folder.
        before_ns: The moment, on the scale of `received_ns`.
        staging: As for `compact`.

    Raises:
        DataError: The manifest cannot be read, or the disk refuses.
    """
    with _staging(root, staging) as folder, root.locked(), root.translated():
        held = manifest.load(root)
        old = [] if held is None else [e for e in held.entries if e.last_ns < before_ns and e.kind != "instrument"]
        if held is None or not old:
            return []
        paths = {entry.path for entry in old}
        cut_ns = max(entry.last_ns for entry in old) + 1
        watched = [
            msgspec.structs.replace(span, from_ns=cut_ns, warmup=0) if span.from_ns < cut_ns else span
            for span in held.watched
            if span.to_ns >= cut_ns
        ]
        asked = [
            msgspec.structs.replace(span, from_ns=max(span.from_ns, cut_ns))
            for span in held.asked
            if span.to_ns >= cut_ns
        ]
        kept = [entry for entry in held.entries if entry.path not in paths]
        if not kept and not watched and not asked:
            return []  # a manifest is never empty
        write_manifest(root, folder, Manifest(kept, watched, asked))
        _remove(root, old)
    return old


def _merged(root: Root, entries: Sequence[FileEntry], folder: Path) -> tuple[Staged, str]:
    """Stage one file with the rows of several, and return it with the digest of what was read."""
    first = entries[0]
    stream = first.stream
    digest = RowsDigest(stream)
    target = folder_of(stream, first.span(opens=True)[0])
    part = PartFile(stream, folder / "compacted.parquet", target, _GROUP_ROWS, level=COMPACT_LEVEL)
    with ExitStack() as discards:
        discards.callback(part.discard)
        for entry in entries:
            for block in _blocks(root, entry):
                digest.add(block)
                part.append(block)
        with root.translated():
            staged = part.finish()
    return staged, digest.hexdigest()


def _digest_of(root: Root, entries: Sequence[FileEntry]) -> str:
    digest = RowsDigest(entries[0].stream)
    for entry in entries:
        for block in _blocks(root, entry):
            digest.add(block)
    return digest.hexdigest()


def _blocks(root: Root, entry: FileEntry) -> Iterator[Block]:
    names = (*STAMPS, *KIND_COLUMNS[entry.kind])
    for group in row_groups(DataFile(root, entry, verify_digest=True)):
        yield Block(entry.stream, len(group.received_ns), {name: group.column(name) for name in names})


def _remove(root: Root, entries: Sequence[FileEntry]) -> None:
    for entry in entries:
        # What cannot be deleted is no longer listed, and nobody reads it.
        with suppress(DataError):
            root.remove(entry.path)
    root.sync([])


@contextmanager
def _staging(root: Root, folder: Path | None) -> Iterator[Path]:
    """Make a fresh folder for files that are being written, and remove it in the end."""
    if folder is None:
        made = root.staging()
    else:
        with root.translated():
            folder.mkdir(parents=True, exist_ok=True)
            made = Path(tempfile.mkdtemp(dir=folder))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
