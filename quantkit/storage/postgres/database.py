"""A database of market data: its address without secrets, its connections, its tables."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from quantkit.errors import ConfigError, DataError, SchemaError
from quantkit.storage import manifest
from quantkit.storage.manifest import Manifest
from quantkit.storage.postgres import tables
from quantkit.storage.root import first_line

if TYPE_CHECKING:
    from psycopg import Connection

_SCHEMES: Final = ("postgresql://", "postgres://")
#: One exporter at a time; the number is only quantkit's.
_LOCK: Final = 0x71_6B_64_62
#: Options of a connection, unless the address has its own. A server that vanished is noticed within a minute.
_OPTIONS: Final[dict[str, Any]] = {
    "connect_timeout": 10,
    "application_name": "quantkit",
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}


class ConnectionLostError(DataError):
    """The server is gone or does not answer; the same may work later."""


def is_address(data: object) -> bool:
    """Return whether data are named by a database's address.

    Examples:
        >>> is_address("postgresql://localhost/market"), is_address("data")
        (True, False)
    """
    return isinstance(data, str) and data.startswith(_SCHEMES)


class Database:
    """Where the rows lie.

    Args:
        address: `postgresql://user@host:port/name`. The password comes from `PGPASSWORD` or `~/.pgpass`, as for every
            client of PostgreSQL; one in the address works and is never shown.

    Attributes:
        described_as: The address without password and options.

    Raises:
        ConfigError: psycopg is not installed, or the address cannot be read.
    """

    def __init__(self, address: str) -> None:
        try:
            import psycopg
            from psycopg.conninfo import conninfo_to_dict
        except ImportError as error:
            raise ConfigError("PostgreSQL needs psycopg: pip install 'quantkit[postgres]'") from error
        try:
            parts = conninfo_to_dict(address)
        except psycopg.ProgrammingError:
            # The error quotes the address, in which a password may stand.
            raise ConfigError(
                "the database's address cannot be read; write postgresql://user@host:port/name, special characters as "
                "%XX, and give the password by PGPASSWORD or ~/.pgpass"
            ) from None
        self._address = address
        user = f"{parts['user']}@" if parts.get("user") else ""
        port = f":{parts['port']}" if parts.get("port") else ""
        self.described_as = f"postgresql://{user}{parts.get('host') or ''}{port}/{parts.get('dbname') or ''}"

    def __repr__(self) -> str:
        return f"<Database {self.described_as}>"

    @contextmanager
    def connected(self) -> Iterator["Connection[Any]"]:
        """Open a connection that commits each transaction it is told to, and close it.

        Raises:
            ConnectionLostError: The server cannot be reached, or went away.
            DataError: The server refuses.
        """
        import psycopg
        from psycopg.conninfo import conninfo_to_dict

        with self.translated():
            options = {**_OPTIONS, **conninfo_to_dict(self._address)}
            connection = psycopg.connect(autocommit=True, **options)
        with connection, self.translated():
            # Prices and stamps go as they are, whatever the server's settings.
            connection.execute("set timezone to 'UTC'")
            connection.execute("set synchronous_commit to on")
            yield connection

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn psycopg's errors into ours, without secrets."""
        import psycopg

        try:
            yield
        except psycopg.OperationalError as error:
            raise ConnectionLostError(f"{self.described_as}: {self._shown(error)}") from None
        except psycopg.Error as error:
            raise DataError(f"{self.described_as}: {self._shown(error)}") from None

    def _shown(self, error: BaseException) -> str:
        from psycopg.conninfo import conninfo_to_dict

        text = first_line(error)
        password = conninfo_to_dict(self._address).get("password")
        return text.replace(str(password), "***") if password else text

    def prepare(self, connection: "Connection[Any]") -> None:
        """Make the schema and the tables of what is held, where they are not there.

        Raises:
            SchemaError: A newer quantkit made them.
            DataError: The server refuses.
        """
        with self.translated(), connection.transaction():
            self.lock(connection)
            for statement in tables.base_statements():
                connection.execute(statement)
            row = connection.execute("select max(version) from quantkit.version").fetchone()
            held = row[0] if row else None
            if held is None:
                connection.execute("insert into quantkit.version values (%s)", [tables.VERSION])
            elif held > tables.VERSION:
                raise self._newer(held)

    def lock(self, connection: "Connection[Any]") -> None:
        """Hold off other exporters until the transaction ends."""
        connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])

    def check(self, connection: "Connection[Any]") -> None:
        """Refuse a database that holds nothing of ours, or what a newer quantkit wrote.

        Raises:
            DataError: It says what to do.
        """
        row = connection.execute("select to_regclass('quantkit.version')::text").fetchone()
        if row is None or row[0] is None:
            raise DataError(
                f"{self.described_as}: holds no market data; fill it with "
                f"`quantkit data export data {self.described_as}`"
            )
        row = connection.execute("select max(version) from quantkit.version").fetchone()
        if row and row[0] and row[0] > tables.VERSION:
            raise self._newer(row[0])

    def _newer(self, version: int) -> SchemaError:
        return SchemaError(
            f"{self.described_as}: its tables have version {version}, this quantkit knows {tables.VERSION}; update it"
        )

    def parsed(self, lines: Iterable[bytes]) -> Manifest:
        """Return what lines of the table `manifest` say.

        Raises:
            DataError: One was changed.
        """
        return manifest.parse(lines, f"{self.described_as}, table quantkit.manifest")

    def is_hyper(self, connection: "Connection[Any]") -> bool:
        """Return whether the extension timescaledb is installed in the database."""
        return connection.execute("select 1 from pg_extension where extname = 'timescaledb'").fetchone() is not None

    def make_table(self, connection: "Connection[Any]", table: tables.DatabaseTable, *, is_hyper: bool) -> None:
        """Make a kind's table, where it is not there."""
        there = connection.execute("select to_regclass(%s)::text", [f"quantkit.{table.kind}"]).fetchone()
        if there is not None and there[0] is not None:
            return
        for statement in tables.table_statements(table, is_hyper=is_hyper):
            connection.execute(statement)
        if is_hyper and table.is_partitioned:
            for statement in tables.hypertable_statements(table):
                connection.execute(statement)

    def make_room(
        self,
        connection: "Connection[Any]",
        table: tables.DatabaseTable,
        first_ns: int,
        last_ns: int,
        *,
        is_hyper: bool,
    ) -> None:
        """Make a kind's table and the partitions of a span, where they are not there."""
        self.make_table(connection, table, is_hyper=is_hyper)
        row = connection.execute(
            "select relkind from pg_class where oid = %s::regclass", [f"quantkit.{table.kind}"]
        ).fetchone()
        if row is not None and row[0] in ("p", b"p"):
            for statement in tables.partition_statements(table, first_ns, last_ns):
                connection.execute(statement)
