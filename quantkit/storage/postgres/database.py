"""A database of market data: its address without secrets, its connections, its tables."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from quantkit.errors import ConfigError, DataError, SchemaError
from quantkit.storage import manifest
from quantkit.storage.manifest import Manifest
from quantkit.storage.places import scrubbed
from quantkit.storage.postgres import tables
from quantkit.storage.root import first_line

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg import Error as PsycopgError

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

#: The oldest servers that have what the tables are made of: stored generated columns, `by_range`.
_OLDEST: Final = 120000
_OLDEST_TIMESCALE: Final = (2, 13)
#: What to do, by the codes of PostgreSQL; by its words where a connection is refused.
_ADVICE: Final = {
    "25006": "it takes no changes: name the primary server, or let the user write",
    "42501": "the user needs the right to create in the database, and to write to what others made in it",
    "53100": "free some room there",
    "53200": "it is short of memory",
    "53300": "it is tried again when others have left",
}
_REFUSALS: Final = {
    "password": "give the right one by PGPASSWORD or ~/.pgpass",
    "no pg_hba.conf entry": "the server's pg_hba.conf lets this user in from elsewhere only",
    "role ": "the server knows no such user",
    "does not exist": "make the database first (createdb), or name another one",
    "permission denied": "the user may not connect to it",
}
#: No such column, no such table, another type, no such key.
_SCHEMA_STATES: Final = frozenset({"42703", "42P01", "42804", "42P10", "23502"})


class ConnectionLostError(DataError):
    """The server is gone or does not answer; the same may work later."""


class Database:
    """Where the rows lie.

    Args:
        address: `postgresql://user@host:port/name`. The password comes from `PGPASSWORD` or `~/.pgpass`, as for every
            client of PostgreSQL; one in the address works and is never shown.

    Attributes:
        described_as: The address without password and options.
        has_password: Whether one stands in the address.

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
        password = str(parts.get("password") or "")
        self.has_password = bool(password)
        spellings = {password, quote(password), quote(password, safe=""), str(parts.get("sslpassword") or "")} - {""}
        self._secrets = tuple(sorted(spellings, key=len, reverse=True))
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
            version = connection.info.server_version
            if version < _OLDEST:
                held, oldest = version // 10000, _OLDEST // 10000
                raise DataError(f"{self.described_as}: PostgreSQL {held} is too old; {oldest} or newer is needed")
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
        except psycopg.Error as error:
            raise self._failure(error) from None

    def _failure(self, error: "PsycopgError") -> DataError:
        """Return what is said of a failure: whether it may pass, and what to do."""
        import psycopg

        told = f"{self.described_as}: {self._shown(error)}"
        state = error.sqlstate or ""
        if state in _SCHEMA_STATES:
            return SchemaError(f"{told}; its tables are not those of this quantkit, use another database")
        if state in _ADVICE:
            told += f"; {_ADVICE[state]}"
        elif not state:
            # The server's refusals of a connection come without a code, and most of them stay.
            for words, advice in _REFUSALS.items():
                if words in told:
                    return DataError(f"{told}; {advice}")
        return ConnectionLostError(told) if isinstance(error, psycopg.OperationalError) else DataError(told)

    def _shown(self, error: BaseException) -> str:
        return scrubbed(first_line(error), self._secrets)

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
        """Return whether the extension timescaledb is installed in the database.

        Raises:
            DataError: It is too old.
        """
        row = connection.execute("select extversion from pg_extension where extname = 'timescaledb'").fetchone()
        if row is None:
            return False
        numbers = tuple(int(part) for part in row[0].partition("-")[0].split(".")[:2])
        if numbers < _OLDEST_TIMESCALE:
            oldest = ".".join(map(str, _OLDEST_TIMESCALE))
            raise DataError(f"{self.described_as}: timescaledb {row[0]} is too old; {oldest} or newer is needed")
        return True

    def compresses(self, connection: "Connection[Any]") -> bool:
        """Return whether the extension's licence has compression: the Apache edition of some distributions has none."""
        row = connection.execute("select current_setting('timescaledb.license', true)").fetchone()
        return row is not None and row[0] != "apache"

    def make_table(self, connection: "Connection[Any]", table: tables.DatabaseTable, *, is_hyper: bool) -> None:
        """Make a kind's table, where it is not there."""
        there = connection.execute("select to_regclass(%s)::text", [f"quantkit.{table.kind}"]).fetchone()
        if there is not None and there[0] is not None:
            return
        for statement in tables.table_statements(table, is_hyper=is_hyper):
            connection.execute(statement)
        if is_hyper and table.is_partitioned:
            for statement in tables.hypertable_statements(table, is_compressed=self.compresses(connection)):
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
