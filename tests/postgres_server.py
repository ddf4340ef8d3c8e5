"""A PostgreSQL cluster of one's own on a free port of this machine, from Debian's packages."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

#: As Debian names them, the newest last.
_PLACES: Final = "/usr/lib/postgresql/*/bin"
#: Why a test is left out that needs its driver.
WITHOUT_PSYCOPG: Final = "psycopg is not installed: pip install 'quantkit[postgres]'"


def find_binaries() -> Path | None:
    """Return the folder of `initdb`, None where PostgreSQL is not installed."""
    named = os.environ.get("POSTGRES_BIN")
    if named:
        return Path(named)
    found = sorted(Path("/").glob(_PLACES.lstrip("/")), key=lambda place: int(place.parent.name))
    found = [place for place in found if (place / "initdb").exists()]
    return found[-1] if found else None


class Server:
    """A cluster that a test starts, crashes and starts again.

    Attributes:
        port: Where it listens, on 127.0.0.1.
    """

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        self.port = _free_port()
        self._run(
            "initdb", "-D", str(folder / "cluster"), "-U", "postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"
        )
        with (folder / "cluster" / "postgresql.conf").open("a") as settings:
            settings.write(
                f"listen_addresses='127.0.0.1'\nport={self.port}\nunix_socket_directories='{folder}'\nfsync=off\n"
                "timezone='Europe/Berlin'\n"  # whatever the server's zone is, stamps are UTC
            )
        self.start()

    def address(self, database: str = "postgres") -> str:
        """Return a database's address."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait for it."""
        self._run("pg_ctl", "-D", str(self._folder / "cluster"), "-w", "-l", str(self._folder / "log"), "start")

    def crash(self) -> None:
        """Stop it as a crash does: the next start recovers."""
        self._run("pg_ctl", "-D", str(self._folder / "cluster"), "-m", "immediate", "stop")

    def fresh(self, name: str) -> str:
        """Make an empty database and return its address."""
        import psycopg

        with psycopg.connect(self.address(), autocommit=True) as connection:
            connection.execute(f'create database "{name}"')  # type: ignore[call-overload,unused-ignore]
        return self.address(name)

    def guard(self, user: str, password: str) -> None:
        """Make a user who needs a password, while all others need none."""
        import psycopg

        rules = self._folder / "cluster" / "pg_hba.conf"
        rules.write_text(f"host all {user} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
        with psycopg.connect(self.address(), autocommit=True) as connection:
            connection.execute(f"create user {user} password '{password}'")  # type: ignore[call-overload,unused-ignore]
            connection.execute("select pg_reload_conf()")

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            command = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self._folder, timeout=60, check=False)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout}{done.stderr}")


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def running() -> Iterator[Server]:
    """A server; the test skips where PostgreSQL or psycopg is not installed."""
    pytest.importorskip("psycopg", reason=WITHOUT_PSYCOPG)
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL here: install Debian's package postgresql, or name one by POSTGRES_BIN=/path")
    folder = Path(tempfile.mkdtemp(prefix="quantkit-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        server = Server(binaries, folder)
        try:
            yield server
        finally:
            server.crash()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def rows_of(address: str, query: str) -> list[tuple[Any, ...]]:
    """Return what a query gives."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        return connection.execute(query).fetchall()  # type: ignore[call-overload,unused-ignore,no-any-return]


def run_sql(address: str, *statements: str) -> None:
    """Run statements, each a transaction of its own."""
    import psycopg

    with psycopg.connect(address, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload,unused-ignore]
