"""Stored instrument metadata: rows by the moment from which they hold, merged with new ones."""

import json
from pathlib import Path
from typing import Final, NamedTuple

from quantkit.clock import iso_of
from quantkit.errors import DataError
from quantkit.instruments import Instrument
from quantkit.rows.columns import Stream
from quantkit.storage.files import read_instruments
from quantkit.storage.manifest import FileEntry
from quantkit.storage.root import Root
from quantkit.storage.schema import (
    INSTRUMENT_COLUMNS,
    META_ORDER_LIMITS,
    arrow_schema,
    arrow_type,
    folder_of,
    writer_options,
)
from quantkit.storage.staged import HashingFile, Staged

_INFERRED: Final = "inferred"


class Rewritten(NamedTuple):
    """An instrument's new metadata file and the lines of those it takes the place of."""

    staged: Staged
    replaced: list[FileEntry]


def rewritten(
    root: Root,
    staging: Path,
    stored: list[FileEntry],
    instrument_id: str,
    instruments: list[Instrument],
    *,
    replace: bool,
) -> Rewritten | None:
    """Stage the metadata file that holds an instrument's stored and new rows; None when nothing changes.

    Raises:
        DataError: A new row contradicts one for the same moment and `replace` is off.
    """
    stream = Stream("instrument", instrument_id)
    files = [entry for entry in stored if entry.stream == stream]
    held = {row.valid_from_ns: row for entry in files for row in read_instruments(root, entry)}
    merged = dict(held)
    for instrument in instruments:
        old = merged.get(instrument.valid_from_ns)
        merged[instrument.valid_from_ns] = instrument if old is None else reconciled(old, instrument, replace=replace)
    if merged == held:
        return None
    rows = [merged[valid_from_ns] for valid_from_ns in sorted(merged)]
    index = sum(1 for _ in staging.glob("instrument-*"))
    return Rewritten(_staged(stream, rows, staging / f"instrument-{index}.parquet"), files)


def reconciled(old: Instrument, new: Instrument, *, replace: bool) -> Instrument:
    """Return which of two descriptions that hold from the same moment is kept.

    What somebody stated beats what was inferred from data. Two inferred ones give the finer of each step, since more
    data can only show that a grid is finer. Two stated ones have to agree.

    Raises:
        DataError: Both are stated, differ, and `replace` is off.
    """
    had, has = old.to_dict(), new.to_dict()
    # What is not known contradicts nothing.
    differing = [name for name in has if name in had and name != "source" and had[name] != has[name]]
    if replace:
        return new
    if old.source == _INFERRED and new.source != _INFERRED:
        return new
    if new.source == _INFERRED and old.source != _INFERRED:
        return old
    if not differing:
        return new if new.order_limits().keys() > old.order_limits().keys() else old
    if old.source == new.source == _INFERRED and set(differing) <= {"price_step", "qty_step", "min_qty"}:
        finer = {name: str(min(getattr(old, name), getattr(new, name))) for name in differing}
        return Instrument.from_dict({**new.to_dict(), **finer})
    changes = ", ".join(f"{name} {had[name]} to {has[name]}" for name in differing)
    raise DataError(
        f"{new.id}: metadata valid from {iso_of(new.valid_from_ns)} are stored already and differ ({changes}); "
        "write with replace=True (`--replace`), or give the change its own valid_from_ns"
    )


def _staged(stream: Stream, rows: list[Instrument], path: Path) -> Staged:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema(stream)
    limits = {str(row.valid_from_ns): row.order_limits() for row in rows if row.order_limits()}
    if limits:
        schema = schema.with_metadata({**schema.metadata, META_ORDER_LIMITS: json.dumps(limits)})
    fields = [row.to_dict() for row in rows]
    names = {INSTRUMENT_COLUMNS.get(name, name): name for name in fields[0]}
    columns = {name: pa.array([row[names[name]] for row in fields]) for name in schema.names}
    columns["valid_from_ns"] = columns["valid_from_ns"].cast(pa.int64()).view(arrow_type("stamp"))
    content = pa.BufferOutputStream()
    with pq.ParquetWriter(content, schema, **writer_options(stream.kind)) as writer:
        writer.write_table(pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema))
    sink = HashingFile(path)
    try:
        sink.write(content.getvalue())
        seal = sink.seal()
    finally:
        sink.abandon()
    return Staged(
        file=path,
        folder=folder_of(stream, 0),
        stream=stream,
        rows=len(rows),
        first_ns=rows[0].valid_from_ns,
        last_ns=rows[-1].valid_from_ns,
        first_open_ns=None,
        last_open_ns=None,
        told_ns=(rows[0].valid_from_ns, rows[-1].valid_from_ns),
        seal=seal,
    )
