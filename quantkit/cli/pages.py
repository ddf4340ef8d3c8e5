"""The server of pages that follows a live run: `quantkit serve --live`, a process of its own."""

import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import click

from quantkit.cli.root import one_line
from quantkit.errors import ConfigError

_END_S: Final = 5.0


class Pages:
    """Starts `quantkit serve --live` for a run, and ends it with the command; what becomes of it is nothing to the run.

    Where the command is killed, the server sees that the run is over, and ends by itself. What it prints, its link
    among it, is printed here as well, since the view of the run has the terminal.

    Args:
        address: Where it listens, `HOST:PORT`.

    Raises:
        ConfigError: The address is none.
    """

    def __init__(self, address: str) -> None:
        self._host, _, port = address.rpartition(":")
        if not self._host or not port.isdecimal() or int(port) > 65_535:
            raise ConfigError(f"--serve {one_line(address)}: give HOST:PORT, for example 127.0.0.1:8767")
        self._port = port
        self._server: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        server = self._server
        if server is not None:
            server.terminate()
            with suppress(subprocess.TimeoutExpired):
                server.wait(_END_S)
            server.kill()
            server.wait()

    def show(self, run: str) -> None:
        """Start it, once the folder of the run is known."""
        if self._server is not None:
            return
        arguments = [
            "serve",
            "--runs",
            str(Path(run).parent),
            "--live",
            run,
            "--with-run",
            "--host",
            self._host,
            "--port",
            self._port,
        ]
        self._server = subprocess.Popen(
            [sys.executable, "-m", "quantkit", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        threading.Thread(target=_print_lines, args=(self._server,), name="quantkit-pages", daemon=True).start()


def _print_lines(server: "subprocess.Popen[str]") -> None:
    assert server.stdout is not None
    with server.stdout as lines:
        for line in lines:
            click.echo(one_line(line))
