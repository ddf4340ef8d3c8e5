"""The local exchange on real sockets: a context manager for tests, and `serve` for the shell."""

import asyncio
import logging
import signal
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from quantkit import clock
from quantkit.errors import ConfigError
from quantkit.sandbox.account import UserAccount
from quantkit.sandbox.asgi import uvicorn_server
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.faults import Fault
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.log import ExchangeLog
from quantkit.sandbox.market import MarketSource
from quantkit.sandbox.rules import Rules

if TYPE_CHECKING:
    import uvicorn

_T = TypeVar("_T")

DEFAULT_PORT: Final = 8765
_START_S: Final = 20.0


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Only with the protocol named does asyncio turn Nagle's delay off for the connections; else acks cost them 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"the sandbox cannot listen on {host}:{port}: {reason}; choose another --port or --host"
        ) from None
    listening.setblocking(False)
    return listening


class SandboxServer:
    """An exchange on a port of this machine, in a thread of its own, for tests and notebooks.

    Args:
        market: The market; default a generated one.
        rules: Limits and timers.
        host, port: Address of the server; port 0 takes a free one.
        is_demo: Whether it takes demo keys only.
        log: Default keeps every push with its text.
        account: The account behind the private channels.
        certificate, key: PEM files; with them it speaks TLS.
        wall_ns: The exchange's clock, UTC ns.

    Examples:
        >>> with SandboxServer() as sandbox:
        ...     sandbox.url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(
        self,
        market: MarketSource | None = None,
        *,
        rules: Rules | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        is_demo: bool = False,
        log: ExchangeLog | None = None,
        account: UserAccount | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
        wall_ns: Callable[[], int] = clock.wall_ns,
    ) -> None:
        self.exchange = Exchange(
            market or GeneratedMarket(),
            rules=rules,
            is_demo=is_demo,
            wall_ns=wall_ns,
            log=log or ExchangeLog(is_complete=True),
            account=account,
        )
        self._host, self._port = host, port
        self._certificate, self._key = certificate, key
        self._started = threading.Event()
        self._server: uvicorn.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        listening = _listen(self._host, self._port)
        self._port = listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, args=(listening,), name="sandbox", daemon=True)
        self._thread.start()
        is_started = self._started.wait(_START_S)
        if not is_started or self._error is not None:
            raise ConfigError(f"the sandbox did not start: {self._error or 'it took too long'}") from self._error
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None, "the server was entered"
        self._server.should_exit = True
        assert self._thread is not None, "the server was entered"
        self._thread.join(_START_S)

    def _run(self, listening: socket.socket) -> None:
        try:
            asyncio.run(self._serve(listening))
        except Exception as error:  # noqa: BLE001  the thread that waits for the start raises it
            self._error = error
        finally:
            listening.close()
            self._started.set()

    async def _serve(self, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server = uvicorn_server(
            self.exchange, host=self._host, certificate=self._certificate, key=self._key
        )
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not running.done():
            await asyncio.sleep(0.001)
        if server.started:
            self._started.set()
        await running

    @property
    def url(self) -> str:
        """The base that REST and, with `ws` for `http`, all three socket paths begin with."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._certificate else 'http'}://{host}:{self._port}"

    @property
    def ws_url(self) -> str:
        """The base of the socket paths, for clients that want `ws://`."""
        return "ws" + self.url.removeprefix("http")

    def call(self, function: Callable[[], _T]) -> _T:
        """Run a function on the exchange's own thread, and return what it returns."""

        async def run() -> _T:
            return function()

        assert self._loop is not None, "the server was entered"
        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_START_S)

    def inject(self, *wanted: Fault) -> None:
        """Arm faults; returns once the exchange has them."""
        self.call(lambda: self.exchange.inject(*wanted))

    def push(self, channel: str, *data: dict[str, Any], **envelope: Any) -> None:
        """Send rows of a private channel; see `Exchange.push`."""
        self.call(lambda: self.exchange.push(channel, *data, **envelope))

    def state(self) -> dict[str, Any]:
        """Return the state of the exchange."""
        return self.call(self.exchange.state)


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = DEFAULT_PORT,
    market: MarketSource | None = None,
    rules: Rules | None = None,
    is_demo: bool = False,
    faults: Sequence[Fault] = (),
    certificate: Path | None = None,
    key: Path | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Run an exchange until SIGINT or SIGTERM. Call it from the main thread.

    Args:
        host, port: Where it listens; port 0 takes a free one.
        market: What is traded; default a generated one.
        rules: Limits and timers.
        is_demo: Whether it takes demo keys only.
        faults: Injected at the start; their `after_s` counts from there.
        certificate, key: PEM files; with them it speaks TLS.
        on_ready: Called with the URL once connections are taken.

    Raises:
        ConfigError: The port is taken, a file is no certificate, or a fault is not for this market.
        KeyboardInterrupt: A signal came before connections were taken.
    """
    exchange = Exchange(market or GeneratedMarket(), rules=rules, is_demo=is_demo, wall_ns=clock.wall_ns)
    exchange.check(*faults)
    listening = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = f"{'https' if certificate else 'http'}://{shown}:{listening.getsockname()[1]}"

    server = uvicorn_server(exchange, host=host, certificate=certificate, key=key)
    is_ready = is_stopped = False

    async def run() -> None:
        nonlocal is_ready
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started and not running.done():
            await asyncio.sleep(0.001)
        if server.started and not is_stopped:
            exchange.inject(*faults)
            if on_ready is not None:
                on_ready(url)
            is_ready = True
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
        raise ConfigError(f"the sandbox cannot run: {error}") from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        listening.close()
        logging.getLogger("quantkit.sandbox").info("the sandbox has ended")
