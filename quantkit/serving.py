"""What every server here needs: a listening socket, uvicorn in a thread or until a signal, and a request's body."""

import asyncio
import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Final

from quantkit.errors import ConfigError

if TYPE_CHECKING:
    import uvicorn
    from starlette.requests import Request

#: A longer body is refused.
BODY_BYTES: Final = 65_536
_START_S: Final = 20.0


def listen(host: str, port: int, *, what: str) -> socket.socket:
    """Return a socket that listens on an address.

    Args:
        host, port: The address; port 0 takes a free one.
        what: Names the server in the error.

    Raises:
        ConfigError: The address cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only with the protocol named does asyncio turn Nagle's delay off for the connections; else acks cost them 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{what} cannot listen on {host}:{port}: {reason}; choose another --port or --host") from None
    listening.setblocking(False)
    return listening


def base_url(listening: socket.socket, host: str, *, is_tls: bool) -> str:
    """Return the URL of a listening socket, by the address that was asked for."""
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if is_tls else 'http'}://{shown}:{listening.getsockname()[1]}"


def quiet_server(config: "uvicorn.Config") -> "uvicorn.Server":
    """Return uvicorn's server, which leaves signals to whoever runs it."""
    import uvicorn

    class QuietServer(uvicorn.Server):
        """Captures no signals."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return QuietServer(config)


class ServerThread:
    """A server in a thread of its own.

    Args:
        server: Not yet started.
        listening: Its socket; closed at the end.
        what: Names it in errors, and its thread.
    """

    def __init__(self, server: "uvicorn.Server", listening: socket.socket, *, what: str) -> None:
        self._server = server
        self._listening = listening
        self._what = what
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name=what, daemon=True)

    def start(self) -> None:
        """Return once connections are taken.

        Raises:
            ConfigError: The server did not start.
        """
        self._thread.start()
        is_started = self._started.wait(_START_S)
        if not is_started or self._error is not None:
            raise ConfigError(f"{self._what} did not start: {self._error or 'it took too long'}") from self._error

    def stop(self) -> None:
        """End the server and wait for its end."""
        self._server.should_exit = True
        self._thread.join(_START_S)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that the server runs in."""
        assert self._loop is not None, "the server was started"
        return self._loop

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:  # noqa: BLE001  the thread that waits for the start raises it
            self._error = error
        finally:
            self._listening.close()
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        running = asyncio.create_task(self._server.serve(sockets=[self._listening]))
        if await _has_started(self._server, running):
            self._started.set()
        await running


def run_until_signal(
    server: "uvicorn.Server",
    listening: socket.socket,
    *,
    what: str,
    on_ready: Callable[[], None],
    until: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """Run a server in the main thread until SIGINT or SIGTERM.

    Args:
        server: Not yet started.
        listening: Its socket; closed at the end.
        what: Names it in errors.
        on_ready: Called once connections are taken.
        until: The server ends also when this does; None for a signal alone.

    Raises:
        ConfigError: It cannot run.
        KeyboardInterrupt: A signal came before connections were taken.
    """
    is_ready = is_stopped = False

    async def run() -> None:
        nonlocal is_ready
        running = asyncio.create_task(server.serve(sockets=[listening]))
        if await _has_started(server, running) and not is_stopped:
            on_ready()
            is_ready = True
        if until is None:
            await running
            return
        ending = asyncio.create_task(until())
        await asyncio.wait((running, ending), return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        ending.cancel()
        await running

    def stop(*_: object) -> None:
        nonlocal is_stopped
        is_stopped = server.should_exit = True

    # Not every platform's loop takes signals; this works on all, and wakes the loop within its next tick. The loop
    # leaves alone what is there before it runs.
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        asyncio.run(run())
        if is_stopped and not is_ready:
            raise KeyboardInterrupt
    except OSError as error:
        raise ConfigError(f"{what} cannot run: {error}") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        listening.close()


async def _has_started(server: "uvicorn.Server", running: "asyncio.Task[Any]") -> bool:
    while not server.started and not running.done():
        await asyncio.sleep(0.001)
    return server.started


async def body_of(request: "Request") -> bytes | None:
    """Return a request's body, None for one that is too long to be read."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > BODY_BYTES:
            return None
    return bytes(body)
