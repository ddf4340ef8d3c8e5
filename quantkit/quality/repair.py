"""What can be mended in a data folder without inventing a row, each mend whole or not at all, with a journal.

A mend is planned first and carried out only when it is asked for: a torn last line of the manifest is dropped, a whole
file that no manifest lists is written anew through the writer, and small files become one.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from quantkit.errors import DataError
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block
from quantkit.storage import manifest
from quantkit.storage.catalog import Catalog
from quantkit.storage.compaction import compact, compactable
from quantkit.storage.files import DataFile, row_groups, translated
from quantkit.storage.manifest import MANIFEST, FileEntry, footer_of
from quantkit.storage.root import STAGING_PREFIX, Root
from quantkit.storage.rows_digest import RowsDigest, rows_digest
from quantkit.storage.schema import META_INSTRUMENT, META_INTERVAL, META_KIND, version_of
from quantkit.storage.writer import Writer

#: Beside the manifest: a line for each mend.
JOURNAL: Final = "repairs.jsonl"


class Repair(msgspec.Struct, frozen=True):
    """One mend, planned or done.

    Attributes:
        action: `drop torn line`, `adopt`, `remove double` or `compact`.
        files: The files it takes away, by their paths.
        what: What it does, with counts.
    """

    action: str
    files: tuple[str, ...]
    what: str


def planned(root: Root, before_ns: int) -> list[Repair]:
    """Return what can be mended, without a change.

    Args:
        root: The data folder.
        before_ns: Files with rows from here on may still grow, and are not compacted.

    Raises:
        DataError: The manifest is damaged beyond a torn last line.
    """
    torn = _torn_line(root)
    if torn is not None:
        # What the lost line listed shows once the rest is read again.
        return [Repair("drop torn line", (), f"the last line of {MANIFEST} is cut off after {len(torn)} bytes")]
    catalog = Catalog(root)
    repairs = []
    for path in _unlisted(catalog):
        try:
            repairs.append(_adoption(catalog, _entry_of(root, path)))
        except DataError:
            continue  # no whole file of rows: `data check` names it, and it stays
    for group in compactable(catalog.entries, before_ns):
        rows = sum(entry.rows for entry in group)
        what = f"{group[0].stream}: {len(group)} files become one of {rows:,} rows"
        repairs.append(Repair("compact", tuple(entry.path for entry in group), what))
    return repairs


def repair(root: Root, now_ns: int) -> Iterator[Repair]:
    """Mend what `planned` names, one after the other; yield each when it is done and in the journal.

    A kill leaves each mend done or not begun, and at most the last one out of the journal; another call goes on.

    Raises:
        DataError: A file was replaced meanwhile, or the disk refuses; what was done stays done.
    """
    while todo := planned(root, now_ns):
        for each in todo:
            match each.action:
                case "drop torn line":
                    _drop_torn_line(root)
                case "adopt":
                    _adopt(root, each.files[0])
                case "remove double":
                    root.remove(each.files[0])
                case _:
                    by_path = {entry.path: entry for entry in Catalog(root).entries}
                    compact(root, [by_path[path] for path in each.files])
            _note(root, each, now_ns)
            yield each
        if todo[0].action != "drop torn line":
            return


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


def _unlisted(catalog: Catalog) -> list[str]:
    listed = {entry.path for entry in catalog.entries}
    return [
        path
        for path in catalog.root.files()
        if path.endswith(".parquet") and path not in listed and not path.startswith(STAGING_PREFIX)
    ]


def _entry_of(root: Root, path: str) -> FileEntry:
    """Return the line that an unlisted file would have.

    Raises:
        DataError: It is no whole file of rows.
    """
    import pyarrow.parquet as pq

    where = root.full(path)
    with root.open(path) as source, translated(where):
        size = source.size()
        content = source.read()
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
        stamps = {}
        for name in ("received_ns", "open_ns") if kind == "candle" else ("received_ns",):
            values = file.read(columns=[name]).column(0).cast("int64").to_numpy()
            if not len(values):
                raise DataError(f"{where}: holds no row")
            stamps[name] = int(values.min()), int(values.max())
        return FileEntry(
            path=path,
            kind=kind,
            instrument=instrument,
            interval=interval,
            rows=file.metadata.num_rows,
            first_ns=stamps["received_ns"][0],
            last_ns=stamps["received_ns"][1],
            first_open_ns=stamps["open_ns"][0] if kind == "candle" else None,
            last_open_ns=stamps["open_ns"][1] if kind == "candle" else None,
            size_bytes=size,
            sha256=hashlib.sha256(content).hexdigest(),
            footer_sha256=hashlib.sha256(footer).hexdigest(),
            schema_version=1,
        )


def _adoption(catalog: Catalog, entry: FileEntry) -> Repair:
    """Return what can be done with an unlisted file.

    Raises:
        DataError: It is damaged, or its rows contradict stored ones.
    """
    digest = RowsDigest(entry.stream)
    for block in _blocks(catalog.root, entry):
        digest.add(block)
    held = catalog.files(entry.stream, entry.first_ns, entry.last_ns)
    if not held:
        what = (
            f"{entry.stream}: {entry.path} is whole and not in the manifest; its {entry.rows:,} rows are written anew"
        )
        return Repair("adopt", (entry.path,), what)
    if rows_digest(catalog, entry.stream, entry.first_ns, entry.last_ns) != digest.hexdigest():
        raise DataError(f"{entry.path}: its rows are not the stored ones of its time")
    return Repair("remove double", (entry.path,), f"{entry.stream}: the rows of {entry.path} are stored already")


def _adopt(root: Root, path: str) -> None:
    entry = _entry_of(root, path)
    with Writer(root, source="adopted") as writer:
        for block in _blocks(root, entry):
            writer.write(block)
    # Killed in between, its rows are stored and it is a double.
    root.remove(path)


def _blocks(root: Root, entry: FileEntry) -> Iterator[Block]:
    names = (*STAMPS, *KIND_COLUMNS[entry.kind])
    for group in row_groups(DataFile(root, entry, verify_digest=True)):
        yield Block(entry.stream, len(group.received_ns), {name: group.column(name) for name in names})


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
