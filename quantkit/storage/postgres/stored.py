"""A database's rows read back, as those of a data folder are."""

import selectors
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from quantkit.errors import ConfigError, DataError
from quantkit.events import Field
from quantkit.instruments import Instrument
from quantkit.rows.columns import DTYPES, Block, Column, Stream, offsets_of
from quantkit.storage import manifest
from quantkit.storage.catalog import Holdings, stored
from quantkit.storage.checks import RowSource, check_order, check_seq, check_values
from quantkit.storage.manifest import FileEntry, Manifest
from quantkit.storage.postgres.database import Database
from quantkit.storage.postgres.tables import DatabaseTable, name_of, quoted, table_of
from quantkit.storage.schema import INSTRUMENT_COLUMNS, TABLES

if TYPE_CHECKING:
    from psycopg import Connection

#: Rows fetched at a time; a book's weigh more.
_FETCH_ROWS: Final = 65_536
#: What comes before the rows of a binary COPY, and after them.
_HEADER_BYTES: Final = 19
_TRAILER: Final = b"\xff\xff"
#: Types whose values have one length, as numpy reads them from the wire; and what a query makes of some of them.
_WIRE_TYPES: Final = {"stamp": ">i8", "int": ">i8", "float": ">f8", "optional": ">f8", "flag": "?", "side": "?"}
_FIXED: Final = {"optional": "coalesce({}, 'NaN')", "side": "({} = 'sell')"}
_NO_DIGESTS: Final = (
    "a database keeps the digests of the files that its rows came from, and none of its own rows: a value that was "
    "changed there for another plausible one would not be noticed"
)


class StoredMarket(Holdings):
    """What a database holds, as it stood when this was opened.

    Args:
        database: Where the rows lie.

    Raises:
        DataError: The server cannot be reached, or holds nothing of ours.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        lines: list[bytes] = []
        with database.connected() as connection:
            database.check(connection)
            for (line,) in connection.execute("select line from quantkit.manifest"):
                lines.append(line.encode())
            self._versions = _instruments(connection, database)
        found = database.parsed(lines)
        super().__init__(Manifest(found.entries, manifest.united(found.watched), manifest.united_asked(found.asked), 0))

    @property
    def described_as(self) -> str:
        """The database's address without secrets."""
        return self._database.described_as

    def versions(self) -> Mapping[str, Sequence[Instrument]]:
        """Return every instrument's metadata by id, in order of `valid_from_ns`."""
        return self._versions

    # For the check -------------------------------------------------------------------------------------------

    @property
    def doubts(self) -> Sequence[str]:
        """What a database cannot show of its rows."""
        return (_NO_DIGESTS,)

    def blocks_of(self, entry: FileEntry) -> Iterator[Block]:
        """Yield the rows that came with a file, and count them."""
        count = 0
        for block in _StreamReader(self._database, entry.stream, _FETCH_ROWS).read(entry.first_ns, entry.last_ns):
            count += block.size
            yield block
        if count != entry.rows:
            raise self._not_what_came(entry.stream, count, entry.rows)

    def metadata_of(self, entry: FileEntry) -> Sequence[Instrument]:
        """Return an instrument's metadata, which were read at the opening."""
        return self._versions.get(entry.instrument, [])

    def bytes_of(self, stream: Stream) -> int | None:
        """Return nothing: streams share their tables."""
        return None

    def note(self, name: str) -> bytes | None:
        """Return what is kept under a name, of a database that an older quantkit filled nothing."""
        with self._database.connected() as connection:
            there = connection.execute("select to_regclass('quantkit.kept')::text").fetchone()
            if there is None or there[0] is None:
                return None
            row = connection.execute("select content from quantkit.kept where name = %s", [name]).fetchone()
            return None if row is None else bytes(row[0])

    def keep_note(self, name: str, content: bytes) -> None:
        """Keep something, where the user may write."""
        with self._database.connected() as connection:
            self._database.prepare(connection)
            connection.execute(
                "insert into quantkit.kept values (%s, %s) on conflict (name) do update set content = excluded.content",
                [name, content],
            )

    # For a run -----------------------------------------------------------------------------------------------

    def blocks(self, stream: Stream, start_ns: int, end_ns: int, block_rows: int) -> Iterator[Block]:
        """Yield a stream's rows received within a span, both ends included, at most `block_rows` at a time.

        Rows that a recorder's tape has brought and that are in no file yet are left out, as in the folder: a run gives
        the same result before and after.

        Raises:
            DataError: The server went away, a value is one that is never stored, or rows are missing that were
                exported.
        """
        whole = self.files(stream, start_ns, end_ns)
        spans = [entry.span(opens=stream.kind == "candle_open") for entry in whole]
        if not spans:
            return
        first_ns, last_ns = max(start_ns, min(spans)[0]), min(end_ns, max(last for _, last in spans))
        reader = _StreamReader(self._database, stream, min(block_rows, _FETCH_ROWS))
        count = 0
        for block in reader.read(first_ns, last_ns):
            count += block.size
            yield block
        expected = sum(entry.rows for entry in whole)
        if all(first >= start_ns and last <= end_ns for first, last in spans) and count != expected:
            raise self._not_what_came(stream, count, expected)

    def _not_what_came(self, stream: Stream, count: int, expected: int) -> DataError:
        return DataError(
            f"{self.described_as}: {stream}: {count} rows are there, {expected} were exported; something else "
            "changed the table, export the span again with `--replace`"
        )


class _StreamReader:
    """One stream's rows, without more of them in memory than a block."""

    def __init__(self, database: Database, stream: Stream, block_rows: int) -> None:
        self._database = database
        self._stream = stream
        self._rows = block_rows
        self._table = table_of(stored(stream).kind)
        self._stamp = "open_ns" if stream.kind == "candle_open" else "received_ns"
        self._fields = TABLES[self._table.kind]
        self._wire = _wire_of(self._fields)

    def read(self, start_ns: int, end_ns: int) -> Iterator[Block]:
        """Yield the rows within a span."""
        first_row, last_ns = 0, None
        pieces = self._copied(start_ns, end_ns) if self._wire is not None else self._fetched(start_ns, end_ns)
        for columns in pieces:
            block = self._block(columns, first_row)
            stamps = block.column("received_ns")
            if last_ns is not None and stamps[0] < last_ns:
                raise DataError(f"{self._database.described_as}: {self._stream}: rows go back in time")
            last_ns = int(stamps[-1])
            first_row += block.size
            yield block

    def _fetched(self, start_ns: int, end_ns: int) -> Iterator[dict[str, Column]]:
        """Yield columns by a cursor on the server."""
        from psycopg import sql

        query = self._query(sql.SQL("{}"), start_ns, end_ns)
        with (
            self._database.connected() as connection,
            connection.transaction(),
            connection.cursor(name="quantkit", binary=True) as cursor,
        ):
            cursor.execute(query)
            while rows := cursor.fetchmany(self._rows):
                columns: dict[str, Column] = {}
                for field, fetched in zip(self._fields, zip(*rows, strict=True), strict=True):
                    columns.update(_column(field, fetched))
                yield columns

    def _copied(self, start_ns: int, end_ns: int) -> Iterator[dict[str, Column]]:
        """Yield columns of rows that all have the same length on the wire, which numpy takes apart."""
        from psycopg import sql

        query = self._query(sql.SQL("copy ({}) to stdout (format binary)"), start_ns, end_ns)
        with self._database.connected() as connection:
            try:
                parts: list[bytes] = []
                is_first = True
                for part in _copy_messages(connection, query.as_bytes(connection)):
                    # The header comes with the first row, the end by itself.
                    parts.append(part[_HEADER_BYTES:] if is_first else part)
                    is_first = False
                    if len(parts) == self._rows:
                        yield self._taken_apart(b"".join(parts))
                        parts = []
                if left := b"".join(parts)[: -len(_TRAILER)]:
                    yield self._taken_apart(left)
            finally:
                # Whoever needs no more rows leaves the server in the middle of them.
                connection.close()

    def _taken_apart(self, data: bytes) -> dict[str, Column]:
        rows = np.frombuffer(data, self._wire)
        return {field.name: rows[field.name].astype(DTYPES[field.type]) for field in self._fields}

    def _query(self, whole: Any, start_ns: int, end_ns: int) -> Any:
        from psycopg import sql

        table: DatabaseTable = self._table
        stream = [self._stream.instrument, self._stream.interval]
        conditions = [
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
            for name, value in zip(table.stream_columns, stream, strict=False)
        ]
        conditions.append(
            sql.SQL("{} between {} and {}").format(
                sql.Identifier(self._stamp), sql.Literal(start_ns), sql.Literal(end_ns)
            )
        )
        is_plain = self._wire is None
        chosen = [
            sql.SQL("{}" if is_plain else _FIXED.get(field.type, "{}")).format(sql.Identifier(field.name))
            for field in self._fields
        ]
        return whole.format(
            sql.SQL("select {} from {} where {} order by {}").format(
                sql.SQL(", ").join(chosen),
                name_of(table.kind),
                sql.SQL(" and ").join(conditions),
                quoted(self._stamp, "seq"),
            )
        )

    def _block(self, columns: dict[str, Column], first_row: int) -> Block:
        label = f"{self._database.described_as}, {self._stream}"
        source = RowSource(label, columns["received_ns"], first_row)
        for name, values in columns.items():
            starts = columns.get(f"{name[:3]}_start") if self._table.kind == "book" and name[3:4] == "_" else None
            check_values(self._table.kind, name, values, source, starts)
        if self._stream.kind == "candle_open":
            opens = columns["open_ns"]
            columns.update(received_ns=opens, exchange_ns=opens)
        else:
            check_order(columns["received_ns"], source)
            check_seq(columns["seq"], columns["received_ns"], source)
        return Block(self._stream, len(columns["received_ns"]), columns)


def _copy_messages(connection: "Connection[Any]", query: bytes) -> Iterator[bytes]:
    """Yield what a COPY sends, mostly a row each: libpq's own calls take a third of the time of psycopg's."""
    from psycopg.errors import error_from_result
    from psycopg.pq import ExecStatus

    server = connection.pgconn
    result = server.exec_(query)
    if result.status != ExecStatus.COPY_OUT:
        raise error_from_result(result)
    take = server.get_copy_data
    with selectors.DefaultSelector() as waiting:
        waiting.register(server.socket, selectors.EVENT_READ)
        while (taken := take(1))[0] >= 0:
            if taken[0]:
                yield bytes(taken[1])
            else:
                waiting.select()
                server.consume_input()
    ended = server.get_result()
    if ended is not None and ended.status != ExecStatus.COMMAND_OK:
        raise error_from_result(ended)


def _wire_of(fields: Sequence[Field]) -> Any:
    """Return a row as `COPY ... (format binary)` sends it, None where rows differ in length."""
    if any(field.type not in _WIRE_TYPES for field in fields):
        return None
    row = [("fields", ">i2")]
    for field in fields:
        row += [(f"length of {field.name}", ">i4"), (field.name, _WIRE_TYPES[field.type])]
    return np.dtype(row)


def _column(field: Field, values: Sequence[Any]) -> dict[str, Column]:
    """Return a column as numpy, of levels the offsets too."""
    if field.type == "levels":
        counts = np.fromiter(map(len, values), np.int64, len(values))
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(counts)))
        flat = [level for row in values for level in row]
        return {offsets_of(field): offsets, field.name: np.array(flat, np.float64)}
    if field.type == "side":
        return {field.name: np.fromiter((value == "sell" for value in values), np.int8, len(values))}
    return {field.name: np.array(values, DTYPES[field.type])}


def _instruments(connection: Any, database: Database) -> dict[str, list[Instrument]]:
    """Return every instrument's metadata by id."""
    from psycopg import sql
    from psycopg.rows import dict_row

    table = table_of("instrument")
    there = connection.execute("select to_regclass('quantkit.instrument')::text").fetchone()
    if there is None or there[0] is None:
        return {}
    found: dict[str, list[Instrument]] = {}
    query = sql.SQL("select {} from {} order by {}").format(
        quoted(*table.names), name_of(table.kind), quoted(*table.key)
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        for fields in cursor.execute(query):
            for field, column in INSTRUMENT_COLUMNS.items():
                fields[field] = fields.pop(column)
            try:
                instrument = Instrument.from_dict(fields)
            except (ConfigError, TypeError) as error:
                raise DataError(f"{database.described_as}, table quantkit.instrument: {error}") from error
            found.setdefault(instrument.id, []).append(instrument)
    return found
