"""What can be mended in a data folder without inventing a row, each mend whole or not at all, with a journal.

A mend is planned first and carried out only when it is asked for: a torn last line of the manifest is dropped, rows
out of order are sorted and doubled ones dropped, a whole file that no manifest lists is written anew through the
writer, and small files become one.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from quantkit.errors import DataError
from quantkit.quality.findings import counted
from quantkit.rows.columns import KIND_COLUMNS, Block, Stream
from quantkit.storage import manifest
from quantkit.storage.catalog import Catalog
from quantkit.storage.checks import RowSource, check_candles
from quantkit.storage.compaction import compact, compactable, reorder
from quantkit.storage.files import translated
from quantkit.storage.manifest import MANIFEST, FileEntry, footer_of
from quantkit.storage.root import STAGING_PREFIX, Root, first_line
from quantkit.storage.rows_digest import RowsDigest, rows_digest
from quantkit.storage.schema import META_INSTRUMENT, META_INTERVAL, META_KIND, ROW_GROUP_ROWS_MAX, version_of
from quantkit.storage.sorting import SortedRows, is_in_order, ordered_blocks, overlapping, refused
from quantkit.storage.writer import Writer

#: Beside the manifest: a line for each mend.
JOURNAL: Final = "repairs.jsonl"
#: What is said of a fault that stays.
LEFT: Final = "cannot be mended"
#: Kinds whose rows have no order of their own to restore.
_UNSORTED: Final = frozenset({"gap", "instrument", "timing"})
_CHUNK_BYTES: Final = 1 << 20

Progress = Callable[[FileEntry], None]


class Repair(msgspec.Struct, frozen=True, omit_defaults=True):
    """One mend, planned or done, or a fault that stays.

    Attributes:
        action: `drop torn line`, `sort`, `adopt`, `remove double` or `compact`; or `cannot be mended`.
        files: The files it takes away, by their paths.
        what: What it does, with counts, or why it cannot.
        rows_before, rows_after: How many rows the files have and those in their place; 0 where none are written.
        digest_before, digest_after: Canonical digests of the rows that readers get, see `rows_digest`; before is empty
            where readers refuse the files as they are.
    """

    action: str
    files: tuple[str, ...]
    what: str
    rows_before: int = 0
    rows_after: int = 0
    digest_before: str = ""
    digest_after: str = ""


def planned(root: Root, before_ns: int, progress: Progress | None = None) -> list[Repair]:
    """Return what can be mended and what cannot, without a change.

    Args:
        root: The data folder.
        before_ns: Files with rows from here on may still grow, and are not compacted.
        progress: Called with each file before it is read.

    Raises:
        DataError: The manifest is damaged beyond a torn last line.
    """
    torn = _torn_line(root)
    if torn is not None:
        # What the lost line listed shows once the rest is read again.
        return [Repair("drop torn line", (), f"the last line of {MANIFEST} is cut off after {len(torn)} bytes")]
    catalog = Catalog(root)
    sortings = list(_sortings(catalog, progress))
    left = {path for each in sortings if each.action == LEFT for path in each.files}
    return [*sortings, *_adoptions(catalog), *_compactions(catalog, before_ns, left)]


def repair(root: Root, now_ns: int, progress: Progress | None = None) -> Iterator[Repair]:
    """Mend what `planned` names, one after the other; yield each when it is done and in the journal.

    What cannot be mended is yielded too. A kill leaves each mend done or not begun, and at most the last one out of
    the journal; another call goes on.

    Raises:
        DataError: A file was replaced meanwhile, or the disk refuses; what was done stays done.
    """

    def noted(done: Repair) -> Repair:
        if done.action != LEFT:
            _note(root, done, now_ns)
        return done

    torn = _torn_line(root)
    if torn is not None:
        (plan,) = planned(root, now_ns)
        _drop_torn_line(root)
        yield noted(plan)
    left: set[str] = set()
    for each in [*_sortings(Catalog(root), progress)]:
        done = _sort(root, each) if each.action == "sort" else each
        if done.action == LEFT:
            left.update(done.files)
        yield noted(done)
    for each in [*_adoptions(Catalog(root))]:
        yield noted(_adopt(root, each) if each.action != LEFT else each)
    for each in _compactions(Catalog(root), now_ns, left):
        by_path = {entry.path: entry for entry in Catalog(root).entries}
        digest = compact(root, [by_path[path] for path in each.files]).digest
        yield noted(msgspec.structs.replace(each, digest_before=digest, digest_after=digest))


# Rows out of order ------------------------------------------------------------------------------------------------


def _sortings(catalog: Catalog, progress: Progress | None) -> Iterator[Repair]:
    """Yield what to do with files whose rows are out of order or doubled, or that share time with another one."""
    by_stream: dict[Stream, list[FileEntry]] = {}
    for entry in catalog.entries:
        if entry.kind not in _UNSORTED:
            by_stream.setdefault(entry.stream, []).append(entry)
    for entries in by_stream.values():
        for group in overlapping(entries):
            try:
                if progress is not None:
                    for entry in group:
                        progress(entry)
                if len(group) > 1 or not is_in_order(catalog.root, group[0]):
                    yield _sorting(catalog, group)
            except DataError as error:
                yield _left(group, error)


def _sorting(catalog: Catalog, group: list[FileEntry]) -> Repair:
    """Return what putting the rows of some files in order does.

    Raises:
        DataError: A file is damaged, or the rows cannot stand in any order.
    """
    first, stream, rows = group[0], group[0].stream, SortedRows(catalog.root, group)
    found = rows.faults()
    refusal = refused(found, stream)
    if refusal is not None:
        raise refusal
    digest, last = RowsDigest(stream), None
    for block in rows.blocks():
        digest.add(block)
        if stream.kind == "candle":
            joined = block if last is None else Block.concat([last, block])
            check_candles(joined, RowSource(str(stream), joined.column("received_ns"), digest.rows - joined.size))
            last = block.slice(block.size - 1, block.size)
    faults = [
        f"{len(group)} files that overlap" if len(group) > 1 else "",
        f"{counted(found.out_of_order, 'row')} out of order" if found.out_of_order else "",
        f"{counted(found.doubles, 'exact double')}" if found.doubles else "",
    ]
    what = (
        f"{stream}: {', '.join(filter(None, faults))} in {counted(found.rows, 'row')} ({first.path}); "
        f"{counted(digest.rows, 'row')} {'is' if digest.rows == 1 else 'are'} written in order"
    )
    before = ""
    if len(group) == 1 and not found.out_of_order:
        before = rows_digest(catalog, stream, first.first_ns, first.last_ns)
    paths = tuple(entry.path for entry in group)
    return Repair("sort", paths, what, found.rows, digest.rows, before, digest.hexdigest())


def _sort(root: Root, plan: Repair) -> Repair:
    by_path = {entry.path: entry for entry in Catalog(root).entries}
    try:
        done = reorder(root, [by_path[path] for path in plan.files])
    except KeyError:
        raise DataError(f"{plan.files[0]}: was replaced meanwhile; call the repair again") from None
    except DataError as error:
        return msgspec.structs.replace(plan, action=LEFT, what=first_line(error), rows_after=0, digest_after="")
    return msgspec.structs.replace(plan, digest_after=done.digest)


def _left(group: list[FileEntry], error: DataError) -> Repair:
    return Repair(LEFT, tuple(entry.path for entry in group), f"{group[0].stream}: {error}")


# The manifest -----------------------------------------------------------------------------------------------------


def _torn_line(root: Root) -> bytes | None:
    """Return the last line of a manifest that does not end, None of a whole one.

    Raises:
        DataError: Other lines are damaged, or there is no whole one.
    """
    content = root.read(MANIFEST)
    if content is None or content.endswith(b"\n"):
        return None
    whole, _, torn = content.rpartition(b"\n")
    if not whole:
        raise DataError(f"{root.full(MANIFEST)}: holds no whole line; restore the manifest, or import the data again")
    manifest.parse(whole.split(b"\n"), root.full(MANIFEST))
    return torn


def _drop_torn_line(root: Root) -> None:
    with root.locked():
        if _torn_line(root) is None:
            return
        content = root.read(MANIFEST)
        assert content is not None
        _publish(root, MANIFEST, content[: content.rindex(b"\n") + 1])


# Files that no manifest lists ---------------------------------------------------------------------------------------


def _adoptions(catalog: Catalog) -> Iterator[Repair]:
    """Yield what to do with each file of rows that the manifest does not list."""
    listed = {entry.path for entry in catalog.entries}
    for path in catalog.root.files():
        if path.endswith(".parquet") and path not in listed and not path.startswith(STAGING_PREFIX):
            try:
                yield _adoption(catalog, _entry_of(catalog.root, path))
            except DataError as error:
                yield Repair(LEFT, (path,), first_line(error))


def _entry_of(root: Root, path: str) -> FileEntry:
    """Return the line that an unlisted file would have, from one row group at a time.

    Raises:
        DataError: It is no whole file of rows.
    """
    import pyarrow.parquet as pq

    where = root.full(path)
    with root.open(path) as source, translated(where):
        size = source.size()
        content = hashlib.sha256()
        while chunk := source.read(_CHUNK_BYTES):
            content.update(chunk)
        source.seek(0)
        footer = footer_of(source, size)
        file: Any = pq.ParquetFile(source)
        told = file.schema_arrow.metadata or {}
        version_of(told, where)
        kind, instrument, interval = (
            told.get(key, b"").decode() for key in (META_KIND, META_INSTRUMENT, META_INTERVAL)
        )
        if kind not in KIND_COLUMNS or kind in ("gap", "instrument"):
            raise DataError(f"{where}: holds rows of {kind or 'no kind'}, which are not adopted")
        names = ("received_ns", "open_ns") if kind == "candle" else ("received_ns",)
        stamps: dict[str, list[int]] = {name: [] for name in names}
        for index in range(file.num_row_groups):
            if file.metadata.row_group(index).num_rows > ROW_GROUP_ROWS_MAX:
                raise DataError(f"{where}: a row group has more than {ROW_GROUP_ROWS_MAX} rows; import it again")
            for name in names:
                values = file.read_row_group(index, columns=[name]).column(0).cast("int64").to_numpy()
                if len(values):
                    stamps[name] += [int(values.min()), int(values.max())]
        if not stamps["received_ns"]:
            raise DataError(f"{where}: holds no row")
        opens = stamps.get("open_ns")
        return FileEntry(
            path=path,
            kind=kind,
            instrument=instrument,
            interval=interval,
            rows=file.metadata.num_rows,
            first_ns=min(stamps["received_ns"]),
            last_ns=max(stamps["received_ns"]),
            first_open_ns=min(opens) if opens else None,
            last_open_ns=max(opens) if opens else None,
            size_bytes=size,
            sha256=content.hexdigest(),
            footer_sha256=hashlib.sha256(footer).hexdigest(),
            schema_version=1,
        )


def _adoption(catalog: Catalog, entry: FileEntry) -> Repair:
    """Return what can be done with an unlisted file.

    Raises:
        DataError: It is damaged, or its rows contradict stored ones.
    """
    stream, digest = entry.stream, RowsDigest(entry.stream)
    for block in ordered_blocks(catalog.root, entry):
        digest.add(block)
    held = catalog.files(stream, entry.first_ns, entry.last_ns)
    if not held:
        what = f"{stream}: {entry.path} is whole and not in the manifest; its {digest.rows:,} rows are written anew"
        return Repair("adopt", (entry.path,), what, entry.rows, digest.rows, digest_after=digest.hexdigest())
    if rows_digest(catalog, stream, entry.first_ns, entry.last_ns) != digest.hexdigest():
        raise DataError(
            f"{catalog.root.full(entry.path)}: its rows are not the stored ones of its time; import them with "
            "--replace, or delete the file"
        )
    return Repair("remove double", (entry.path,), f"{stream}: the rows of {entry.path} are stored already")


def _adopt(root: Root, plan: Repair) -> Repair:
    """Do what is planned with an unlisted file, unless another one was adopted meanwhile that has its rows."""
    (path,) = plan.files
    entry = _entry_of(root, path)
    try:
        plan = _adoption(Catalog(root), entry)
    except DataError as error:
        return Repair(LEFT, (path,), first_line(error))
    if plan.action == "adopt":
        with Writer(root, source="adopted") as writer:
            for block in ordered_blocks(root, entry):
                writer.write(block)
    # Killed in between, its rows are stored and it is a double.
    root.remove(path)
    return plan


# Small files, and the journal ---------------------------------------------------------------------------------------


def _compactions(catalog: Catalog, before_ns: int, left: set[str]) -> Iterator[Repair]:
    """Yield the groups of small files that become one, but for those with a fault that stays."""
    for group in compactable([entry for entry in catalog.entries if entry.path not in left], before_ns):
        rows = sum(entry.rows for entry in group)
        what = f"{group[0].stream}: {len(group)} files become one of {rows:,} rows"
        yield Repair("compact", tuple(entry.path for entry in group), what, rows, rows)


def _note(root: Root, done: Repair, now_ns: int) -> None:
    """Add a line to the journal."""
    line = msgspec.json.encode({"at_ns": now_ns, **msgspec.to_builtins(done)})
    _publish(root, JOURNAL, (root.read(JOURNAL) or b"") + line + b"\n")


def _publish(root: Root, name: str, content: bytes) -> None:
    staging = root.staging()
    try:
        draft = staging / name
        with root.translated(name), draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        root.publish(draft, name)
        root.sync([name])
    finally:
        shutil.rmtree(staging, ignore_errors=True)
