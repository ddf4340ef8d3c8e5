"""One sealed Parquet file: opened, checked against its manifest line, decoded column by column."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

import msgspec
import numpy as np

from quantkit.errors import ConfigError, DataError, SchemaError
from quantkit.instruments import Instrument
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Column
from quantkit.storage import codec
from quantkit.storage.checks import RowSource, check_order, check_seq, check_snapshots, check_values
from quantkit.storage.manifest import FileEntry, footer_of
from quantkit.storage.places import refusal
from quantkit.storage.root import Root, first_line
from quantkit.storage.schema import (
    INSTRUMENT_COLUMNS,
    LEVELS_MAX,
    META_INSTRUMENT,
    META_INTERVAL,
    META_KIND,
    META_ORDER_LIMITS,
    ROW_GROUP_ROWS_MAX,
    SCHEMA_VERSION,
    TABLES,
    VERSIONS,
    arrow_type,
    version_of,
)

_CHUNK_BYTES: Final = 1 << 20
#: Files of a store that are read at once: with their footer they would be read so far anyhow.
_WHOLE_BYTES: Final = 1 << 14
#: Stored list columns and derived offsets of each side of a book.
_SIDE_COLUMNS: Final = {side: (f"{side}_start", f"{side}_prices", f"{side}_qtys") for side in ("bid", "ask")}


class DataFile:
    """A sealed file, open for reading.

    Args:
        root: Where it lies.
        entry: Its line in the manifest.
        verify_digest: Read the whole file once and compare its SHA-256 before anything is decoded.

    Raises:
        SchemaError: The file is not quantkit's, of a newer version, or has other columns.
        DataError: It is missing, damaged, or not what the manifest says.
    """

    __slots__ = ("_parquet", "_reading", "_types", "_version", "entry", "first_rows", "where")

    def __init__(self, root: Root, entry: FileEntry, *, verify_digest: bool = False) -> None:
        import pyarrow.parquet as pq
        from pyarrow import BufferReader

        self.entry = entry
        self.where = root.full(entry.path)
        self._reading = Lock()
        source = root.open(entry.path)
        with translated(self.where):
            size = source.size()
            if size != entry.size_bytes:
                raise DataError(
                    f"{self.where}: holds {size} bytes, the manifest says {entry.size_bytes}; "
                    "the file was cut or replaced, restore or import it again"
                )
            if not root.is_local and size <= _WHOLE_BYTES:
                source = BufferReader(source.read())
            if verify_digest:
                self._verify(source)
            footer = footer_of(source, size)
            if hashlib.sha256(footer).hexdigest() != entry.footer_sha256:
                raise DataError(
                    f"{self.where}: the Parquet footer differs from what the manifest says; the file was changed or "
                    "damaged, restore or import it again"
                )
            source.seek(0)
            # The footer that was compared is the one that counts, and is not read again.
            metadata = pq.read_metadata(BufferReader(footer))
            # Memory maps are faster still, but a file that shrinks under one kills the process.
            self._parquet = pq.ParquetFile(
                source, metadata=metadata, page_checksum_verification=True, pre_buffer=not root.is_local
            )
            schema = self._parquet.schema_arrow
            sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
        self._version = version_of(schema.metadata, self.where)
        self._types = {field.name: field.type for field in TABLES[entry.kind]}
        self._check_header(schema)
        if metadata.num_rows != entry.rows or sum(sizes) != entry.rows:
            raise DataError(
                f"{self.where}: holds {metadata.num_rows} rows, the manifest says {entry.rows}; "
                "the file was replaced, restore or import it again"
            )
        if max(sizes, default=0) > ROW_GROUP_ROWS_MAX:
            raise DataError(f"{self.where}: a row group has more than {ROW_GROUP_ROWS_MAX} rows; import it again")
        self.first_rows: list[int] = [0, *np.cumsum(sizes).tolist()]
        self._check_spans()

    def order_limits(self) -> dict[str, dict[str, str]]:
        """Return the largest orders that a file of instrument metadata states, by the start of their validity.

        Raises:
            DataError: The statement is not what it claims to be.
        """
        text = self._parquet.schema_arrow.metadata.get(META_ORDER_LIMITS)
        if text is None:
            return {}
        try:
            return msgspec.json.decode(text, type=dict[str, dict[str, str]])
        except msgspec.MsgspecError as error:
            raise DataError(f"{self.where}: its largest orders cannot be read ({error}); import it again") from None

    @property
    def group_count(self) -> int:
        """How many row groups the file has."""
        return len(self.first_rows) - 1

    def group_rows(self, group: int) -> int:
        """Return how many rows a row group has."""
        return self.first_rows[group + 1] - self.first_rows[group]

    def stamp_span(self, group: int, name: str) -> tuple[int, int] | None:
        """Return the least and greatest value of a stamp column in a row group by its statistics, None without."""
        with translated(self.where):
            chunks: Any = self._parquet.metadata.row_group(group)
            for index in range(chunks.num_columns):
                chunk = chunks.column(index)
                if chunk.path_in_schema == name:
                    statistics = chunk.statistics
                    if statistics is None or not statistics.has_min_max:
                        return None
                    return int(statistics.min_raw), int(statistics.max_raw)
        return None

    def level_count(self) -> int:
        """Return how many levels the rows of a book have, of both sides, by the footer."""
        with translated(self.where):
            chunks: Any = [self._parquet.metadata.row_group(group) for group in range(self.group_count)]
            columns = [chunk.column(index) for chunk in chunks for index in range(chunk.num_columns)]
            return sum(
                each.num_values for each in columns if each.path_in_schema.startswith(("bid_prices", "ask_prices"))
            )

    def array(self, group: int, name: str) -> Any:
        """Return one column of today's schema of one row group as an Arrow array.

        Raises:
            DataError: The bytes are damaged.
        """
        with translated(self.where):
            array = self._version.upgrade(self.entry.kind, name, lambda stored: self._read(group, stored))
        if len(array) != self.group_rows(group):
            raise DataError(
                f"{self.where}: column {name} of row group {group} holds {len(array)} rows, "
                f"not {self.group_rows(group)}; the file is damaged, restore or import it again"
            )
        return array

    def table(self, groups: Sequence[int], names: Sequence[str]) -> Any:
        """Return columns of today's schema of some row groups as an Arrow table, read at once.

        Raises:
            DataError: The bytes are damaged.
        """
        from pyarrow import Table, concat_tables

        if self._version is not VERSIONS[SCHEMA_VERSION]:
            parts = [Table.from_pydict({name: self.array(group, name) for name in names}) for group in groups]
            return concat_tables(parts, promote_options="default")
        with translated(self.where):
            table = self._parquet.read_row_groups(list(groups), columns=list(names))
            wanted = sum(map(self.group_rows, groups))
            if table.num_rows != wanted:
                raise DataError(
                    f"{self.where}: holds {table.num_rows} rows where {wanted} should be; the file is damaged, restore "
                    "or import it again"
                )
            return table.select(list(names))

    def column(self, group: int, name: str) -> Column:
        """Return a column of scalars as numpy, unchecked.

        Raises:
            DataError: The bytes are damaged, or hold what the type cannot.
        """
        array = self.array(group, name)
        with self._named(name):
            return codec.column_of(array, self._types[name])

    def levels(self, group: int, name: str) -> tuple[Column, Column]:
        """Return a column of book levels as (offsets of shape (n + 1,), flat values), unchecked.

        Raises:
            DataError: The bytes are damaged, or rows or levels are null.
        """
        array = self.array(group, name)
        with self._named(name):
            return codec.levels_of(array)

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        try:
            yield
        except DataError as error:
            raise DataError(f"{self.where}: column {name} {error}") from None

    def _read(self, group: int, name: str) -> Any:
        # One reader at a time: the next row group may be read ahead on another thread.
        with self._reading:
            chunks = self._parquet.read_row_group(group, columns=[name], use_threads=False).column(0)
        return chunks.chunk(0) if chunks.num_chunks == 1 else chunks.combine_chunks()

    def _verify(self, source: Any) -> None:
        digest = hashlib.sha256()
        while chunk := source.read(_CHUNK_BYTES):
            digest.update(chunk)
        source.seek(0)
        if digest.hexdigest() != self.entry.sha256:
            raise DataError(
                f"{self.where}: the digest differs from the manifest's; the file was changed or damaged, "
                "restore or import it again"
            )

    def _check_header(self, schema: Any) -> None:
        metadata = schema.metadata
        entry = self.entry
        for key, expected in (
            (META_KIND, entry.kind),
            (META_INSTRUMENT, entry.instrument),
            (META_INTERVAL, entry.interval),
        ):
            found = metadata.get(key, b"").decode(errors="replace")
            if found != expected:
                word = key.decode().partition(".")[2]
                raise SchemaError(
                    f"{self.where}: its {word} is {found!r}, the manifest says {expected!r}; import it again"
                )
        wanted = {field.name: arrow_type(field.type) for field in self._version.tables[entry.kind]}
        found_types = {field.name: field.type for field in schema}
        wrong = [
            *(f"{name} is missing" for name in wanted if name not in found_types),
            *(f"{name} is unknown" for name in found_types if name not in wanted),
            *(
                f"{name} is {found_types[name]}, not {type_}"
                for name, type_ in wanted.items()
                if name in found_types and found_types[name] != type_
            ),
        ]
        if wrong or len(schema) != len(wanted):
            raise SchemaError(f"{self.where}: columns differ ({'; '.join(wrong) or 'one is twice'}); import it again")

    def _check_spans(self) -> None:
        """Compare the first and last stamps with the statistics, since what is read is chosen by the manifest's."""
        entry = self.entry
        received = "valid_from_ns" if entry.kind == "instrument" else "received_ns"
        claims: dict[str, tuple[int | None, int | None]] = {received: (entry.first_ns, entry.last_ns)}
        if entry.kind == "candle":
            claims["open_ns"] = (entry.first_open_ns, entry.last_open_ns)
        for name, claimed in claims.items():
            spans = [self.stamp_span(group, name) for group in range(self.group_count) if self.group_rows(group)]
            if None not in spans and claimed != _hull(spans):
                raise DataError(
                    f"{self.where}: the first or last {name} is not the manifest's; the file or its line was changed, "
                    "restore the manifest or import the file again"
                )


def _hull(spans: list[tuple[int, int] | None]) -> tuple[int, int] | None:
    """Return the least and the greatest value of all row groups."""
    known = [span for span in spans if span is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what pyarrow raises over damaged bytes into a DataError that names the file."""
    from pyarrow import ArrowException

    try:
        yield
    except (ArrowException, OSError, ValueError, OverflowError) as error:
        refused = refusal(str(error))
        if refused is not None:
            raise DataError(f"{where}: cannot be read: {refused}") from error
        raise DataError(
            f"{where}: damaged or not a Parquet file ({first_line(error)}); restore or import it again"
        ) from error


class RowGroup:
    """One row group of market data: each column is decoded and checked when first asked for.

    Args:
        file: Where it lies.
        index: Its number in the file.
        in_order: Refuse rows that are out of order.

    Attributes:
        received_ns: Decoded at once, int64 of shape (n,).
    """

    __slots__ = ("_columns", "_file", "_in_order", "_index", "received_ns", "rows")

    def __init__(self, file: DataFile, index: int, *, in_order: bool = True) -> None:
        self._file = file
        self._index = index
        self._in_order = in_order
        self._columns: dict[str, Column] = {}
        self.received_ns = file.column(index, "received_ns")
        self.rows = RowSource(file.where, self.received_ns, file.first_rows[index])
        if in_order:
            check_order(self.received_ns, self.rows)
        self._columns["received_ns"] = self.received_ns

    @property
    def decoded(self) -> tuple[str, ...]:
        """The columns that have been asked for."""
        return tuple(self._columns)

    def column(self, name: str) -> Column:
        """Return a column as `columns.KIND_COLUMNS` names it.

        Raises:
            KeyError: The kind has no such column.
            DataError: The bytes are damaged, or a value is one that is never stored.
        """
        held = self._columns.get(name)
        if held is None:
            kind = self._file.entry.kind
            if name not in STAMPS and name not in KIND_COLUMNS[kind]:
                raise KeyError(f"{self._file.entry.stream}: no column {name}")
            if kind == "book" and name[:4] in ("bid_", "ask_"):
                self._load_levels(name[:3], name)
            else:
                self._load_scalar(kind, name)
            held = self._columns[name]
        return held

    def _load_scalar(self, kind: str, name: str) -> None:
        values = self._file.column(self._index, name)
        check_values(kind, name, values, self.rows)
        if name == "seq" and self._in_order:
            check_seq(values, self.received_ns, self.rows)
        self._columns[name] = values

    def _load_levels(self, side: str, name: str) -> None:
        start, prices, qtys = _SIDE_COLUMNS[side]
        wanted = prices if name == start else name
        offsets, values = self._file.levels(self._index, wanted)
        if len(values) > LEVELS_MAX * 2:
            raise DataError(
                f"{self._file.where}: column {wanted} holds {len(values)} levels in one row group; import it again"
            )
        held = self._columns.setdefault(start, offsets)
        if not np.array_equal(held, offsets):
            row = int(np.argmax(held != offsets)) - 1
            raise self.rows.error(row, f"{prices} and {qtys} have different lengths")
        check_values("book", wanted, values, self.rows, offsets)
        self._columns[wanted] = values
        if wanted == "ask_prices":
            # Whoever reads the ask prices reads the whole book; a crossed snapshot must not pass as one.
            names = ("bid_prices", "bid_qtys", "ask_qtys", "is_snapshot", "bid_start", "ask_start")
            columns = {other: self.column(other) for other in names}
            check_snapshots({**columns, "ask_prices": values}, self.rows)


def row_groups(
    file: DataFile, skip: Callable[[int], bool] = lambda index: False, *, in_order: bool = True
) -> Iterator[RowGroup]:
    """Yield a file's row groups in order, without those that `skip` names.

    Args:
        file: The file.
        skip: Of a row group's number.
        in_order: Refuse rows that are out of order.

    Raises:
        DataError: A row group starts before the one before it ended.
    """
    last_ns: int | None = None
    for index in range(file.group_count):
        if skip(index) or not file.group_rows(index):
            continue
        group = RowGroup(file, index, in_order=in_order)
        if in_order and last_ns is not None and group.received_ns[0] < last_ns:
            raise group.rows.error(0, "received_ns goes back from the row group before it; import the file again")
        last_ns = int(group.received_ns[-1])
        yield group


def read_instruments(root: Root, entry: FileEntry) -> list[Instrument]:
    """Return the instrument rows of a metadata file, oldest first.

    Raises:
        DataError: The file is not what it claims to be, or a row is no valid instrument.
    """
    file = DataFile(root, entry)
    found, limits = [], file.order_limits()
    for group in range(file.group_count):
        arrays = {field.name: file.array(group, field.name) for field in TABLES["instrument"]}
        arrays["valid_from_ns"] = arrays["valid_from_ns"].view(arrow_type("int"))
        for row in range(file.group_rows(group)):
            fields = {name: array[row].as_py() for name, array in arrays.items()}
            for field, column in INSTRUMENT_COLUMNS.items():
                fields[field] = fields.pop(column)
            fields |= limits.get(str(fields["valid_from_ns"]), {})
            try:
                instrument = Instrument.from_dict(fields)
            except (ConfigError, TypeError, AttributeError) as error:
                raise DataError(f"{file.where}, row {file.first_rows[group] + row}: {error}") from error
            if instrument.id != entry.instrument:
                raise DataError(
                    f"{file.where}: describes {instrument.id}, the manifest says {entry.instrument}; "
                    "restore or import it again"
                )
            found.append(instrument)
    return found
