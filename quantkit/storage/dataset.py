"""Stored files as one `pyarrow.dataset`, for tools that push their own choice of rows and columns down into it."""

from collections.abc import Sequence
from typing import Any, Final

from quantkit.errors import DataError
from quantkit.storage.manifest import FileEntry
from quantkit.storage.root import Root
from quantkit.storage.schema import SCHEMA_VERSION, TABLES, arrow_type

#: What a file's rows have in common: columns that no file holds.
NAMES: Final = ("instrument", "interval")


def dataset_of(root: Root, kind: str, entries: Sequence[FileEntry]) -> Any:
    """Return the rows of files of one kind as a `pyarrow.dataset.Dataset`, with a column of their instruments' ids.

    Candles have a column `interval` too. Files whose instrument, interval or span a filter excludes are not opened.
    Pages are read with their checksums; digests of files and footers are not compared.

    Raises:
        DataError: A file was written in a schema version whose columns differ from today's.
    """
    import pyarrow as pa
    import pyarrow.dataset as ds

    for entry in entries:
        if entry.schema_version != SCHEMA_VERSION:
            raise DataError(
                f"{root.full(entry.path)}: written with schema version {entry.schema_version}; read its rows with "
                "`.arrow()`, or import it again"
            )
    names = NAMES if kind == "candle" else NAMES[:1]
    stored = [pa.field(field.name, arrow_type(field.type)) for field in TABLES[kind]]
    options = ds.ParquetFragmentScanOptions(page_checksum_verification=True, pre_buffer=True)
    return ds.FileSystemDataset.from_paths(
        [root.place(entry.path) for entry in entries],
        schema=pa.schema([*stored, *(pa.field(name, pa.string()) for name in names)]),
        format=ds.ParquetFileFormat(default_fragment_scan_options=options),
        filesystem=root.filesystem,
        partitions=[_facts(entry, names) for entry in entries],
        root_partition=ds.scalar(True),
    )


def within(name: str, start_ns: int, end_ns: int) -> Any:
    """Return the filter of rows with start_ns <= stamp < end_ns."""
    import pyarrow as pa
    import pyarrow.dataset as ds

    low, high = (pa.scalar(moment_ns, pa.int64()).cast(arrow_type("stamp")) for moment_ns in (start_ns, end_ns))
    return (ds.field(name) >= low) & (ds.field(name) < high)


def _facts(entry: FileEntry, names: Sequence[str]) -> Any:
    """Return what holds of every row of a file."""
    import pyarrow.dataset as ds

    facts = ds.field("instrument") == entry.instrument
    if "interval" in names:
        facts &= ds.field("interval") == entry.interval
    # One end is exclusive, so the last stamp needs a nanosecond more.
    facts &= within("valid_from_ns" if entry.kind == "instrument" else "received_ns", entry.first_ns, entry.last_ns + 1)
    if entry.first_open_ns is not None and entry.last_open_ns is not None:
        facts &= within("open_ns", entry.first_open_ns, entry.last_open_ns + 1)
    return facts
