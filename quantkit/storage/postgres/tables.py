"""The tables of a database, made of the same registry of kinds as the files: names, types, keys, partitions.

All of them lie in the schema `quantkit`, one for each kind: `quantkit.trade`, `quantkit.book`. Stamps are `bigint`
nanoseconds, since `timestamptz` rounds to microseconds; `received_time` beside them is for people. The key is
(`instrument`, `received_ns`, `seq`), of candles with the interval.

Where the extension timescaledb is installed, a table is a hypertable whose chunks are compressed after a week. Where
it is not, it is partitioned by UTC month. There is no default partition: once it held rows of a month, that month's
own partition could not be made any more.
"""

from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from quantkit.clock import NS_PER_DAY, datetime_of, time_ns_of
from quantkit.events import Field
from quantkit.storage.schema import MONTHLY, TABLES

SCHEMA: Final = "quantkit"
#: The version of the tables.
VERSION: Final = 1

#: PostgreSQL's type for each `Field.type`.
TYPES: Final[dict[str, str]] = {
    "stamp": "bigint",
    "int": "bigint",
    "float": "double precision",
    "optional": "double precision",
    "flag": "boolean",
    "side": "text",
    "text": "text",
    "levels": "double precision[]",
    "string": "text",
}
#: A hypertable's chunk, by whether files of its kind hold a day or a month.
_CHUNK_NS: Final = {False: NS_PER_DAY, True: 30 * NS_PER_DAY}
_COMPRESS_AFTER_NS: Final = 7 * NS_PER_DAY


class DatabaseTable(NamedTuple):
    """The table of one kind of rows.

    Attributes:
        kind: Whose rows.
        columns: Field by field, as they are copied.
        key: The primary key's columns.
    """

    kind: str
    columns: tuple[Field, ...]
    key: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """The columns' names."""
        return [field.name for field in self.columns]

    @property
    def types(self) -> list[str]:
        """The columns' types."""
        return [TYPES[field.type] for field in self.columns]

    @property
    def is_partitioned(self) -> bool:
        """Whether its rows are split by time; of metadata there are few."""
        return self.kind != "instrument"

    @property
    def stream_columns(self) -> tuple[str, ...]:
        """The columns that name a stream."""
        return self.key[: self.key.index("received_ns")] if self.is_partitioned else ("id",)

    @property
    def order(self) -> tuple[str, ...]:
        """The columns that put a stream's rows in order."""
        return self.key[len(self.stream_columns) :]


def table_of(kind: str) -> DatabaseTable:
    """Return the table of a kind.

    Examples:
        >>> table_of("candle").key
        ('instrument', 'interval', 'received_ns', 'seq')
    """
    if kind == "instrument":
        return DatabaseTable(kind, TABLES[kind], ("id", "valid_from_ns"))
    stream = ("instrument", "interval") if kind == "candle" else ("instrument",)
    head = tuple(Field(name, "string") for name in stream)
    return DatabaseTable(kind, head + TABLES[kind], (*stream, "received_ns", "seq"))


def months_between(first_ns: int, last_ns: int) -> list[tuple[str, int, int]]:
    """Return the UTC months that a span touches: name, first moment, first moment of the next.

    Examples:
        >>> [name for name, _, _ in months_between(0, 31 * NS_PER_DAY)]
        ['1970_01', '1970_02']
    """
    found = []
    moment = datetime_of(first_ns)
    year, month = moment.year, moment.month
    while (start_ns := time_ns_of(datetime(year, month, 1, tzinfo=UTC))) <= last_ns:
        following = (year, month + 1) if month < 12 else (year + 1, 1)
        found.append((f"{year}_{month:02d}", start_ns, time_ns_of(datetime(*following, 1, tzinfo=UTC))))
        year, month = following
    return found


def quoted(*names: str) -> Any:
    """Return an identifier with its qualifiers, or several names separated by commas."""
    from psycopg import sql

    return sql.SQL(", ").join(map(sql.Identifier, names))


def name_of(table: str) -> Any:
    """Return a table's name within the schema."""
    from psycopg import sql

    return sql.Identifier(SCHEMA, table)


def base_statements() -> list[Any]:
    """Return what makes the schema, and the tables of what is held."""
    from psycopg import sql

    return [
        sql.SQL("create schema if not exists {}").format(sql.Identifier(SCHEMA)),
        sql.SQL("create table if not exists {} (version integer not null)").format(name_of("version")),
        # The lines of a data folder's manifest, each with its own checksum, as the folder has them.
        sql.SQL(
            "create table if not exists {} (kind text not null, instrument text not null, interval text not null,"
            " path text not null, line text not null, primary key (kind, instrument, interval, path))"
        ).format(name_of("manifest")),
        # Which rows came from a recorder's tape, and which of them was the last.
        sql.SQL(
            "create table if not exists {} (kind text not null, instrument text not null, interval text not null,"
            " from_ns bigint not null, to_ns bigint not null, to_seq bigint not null,"
            " primary key (kind, instrument, interval))"
        ).format(name_of("live")),
        # What is kept beside the rows, such as the outcome of the last check.
        sql.SQL("create table if not exists {} (name text primary key, content bytea not null)").format(
            name_of("kept")
        ),
    ]


def table_statements(table: DatabaseTable, *, is_hyper: bool) -> list[Any]:
    """Return what makes a kind's table."""
    from psycopg import sql

    columns: list[Any] = [
        sql.SQL("{} {}{}").format(
            sql.Identifier(field.name),
            sql.SQL(TYPES[field.type]),
            sql.SQL("" if field.type == "optional" else " not null"),
        )
        for field in table.columns
    ]
    columns += [
        sql.SQL("check ({} in ('buy', 'sell'))").format(sql.Identifier(field.name))
        for field in table.columns
        if field.type == "side"
    ]
    if table.is_partitioned:
        columns.append(
            sql.SQL("received_time timestamptz generated always as (to_timestamp(received_ns / 1e9::float8)) stored")
        )
    columns.append(sql.SQL("primary key ({})").format(quoted(*table.key)))
    split = sql.SQL(" partition by range (received_ns)" if table.is_partitioned and not is_hyper else "")
    name = name_of(table.kind)
    made = [sql.SQL("create table if not exists {} ({}){}").format(name, sql.SQL(", ").join(columns), split)]
    if table.kind == "candle":
        # A candle's open is a row of its own in a run, looked for by its stamp.
        made.append(
            sql.SQL("create index if not exists {} on {} (instrument, interval, open_ns)").format(
                sql.Identifier("candle_by_open"), name
            )
        )
    return made


def partition_statements(table: DatabaseTable, first_ns: int, last_ns: int) -> list[Any]:
    """Return what makes the partitions for a span of rows."""
    from psycopg import sql

    return [
        sql.SQL("create table if not exists {} partition of {} for values from ({}) to ({})").format(
            name_of(f"{table.kind}_{month}"), name_of(table.kind), sql.Literal(start_ns), sql.Literal(end_ns)
        )
        for month, start_ns, end_ns in months_between(first_ns, last_ns)
    ]


def hypertable_statements(table: DatabaseTable, *, is_compressed: bool) -> list[Any]:
    """Return what makes a table a hypertable, and lets older chunks be compressed where the licence has that."""
    from psycopg import sql

    name = sql.Literal(f"{SCHEMA}.{table.kind}")
    chunk = sql.Literal(_CHUNK_NS[table.kind in MONTHLY])
    segments = sql.Literal(", ".join(table.stream_columns))
    order = sql.Literal(", ".join(table.order))
    made = [
        sql.SQL(
            "create or replace function {}() returns bigint language sql stable as"
            " $$ select (extract(epoch from now()) * 1e9)::bigint $$"
        ).format(name_of("now_ns")),
        sql.SQL("select create_hypertable({}, by_range('received_ns', {}::bigint), if_not_exists => true)").format(
            name, chunk
        ),
        sql.SQL("select set_integer_now_func({}, {}, replace_if_exists => true)").format(
            name, sql.Literal(f"{SCHEMA}.now_ns")
        ),
    ]
    if not is_compressed:
        return made
    return [
        *made,
        sql.SQL(
            "alter table {} set (timescaledb.compress, timescaledb.compress_segmentby = {},"
            " timescaledb.compress_orderby = {})"
        ).format(name_of(table.kind), segments, order),
        sql.SQL("select add_compression_policy({}, {}::bigint, if_not_exists => true)").format(
            name, sql.Literal(_COMPRESS_AFTER_NS)
        ),
    ]
