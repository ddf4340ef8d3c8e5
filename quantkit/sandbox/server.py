"""The local exchange on real sockets: a context manager for tests, and `serve` for the shell."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from quantkit import clock
from quantkit.sandbox.account import UserAccount
from quantkit.sandbox.asgi import uvicorn_server
from quantkit.sandbox.exchange import Exchange
from quantkit.sandbox.faults import Fault
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.log import ExchangeLog
from quantkit.sandbox.market import MarketSource
from quantkit.sandbox.rules import Rules
from quantkit.serving import ServerThread, base_url, listen, run_until_signal

_T = TypeVar("_T")

DEFAULT_PORT: Final = 8765
#: Names it in errors.
WHAT: Final = "the sandbox"
_CALL_S: Final = 20.0


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
        self._running: ServerThread | None = None

    def __enter__(self) -> Self:
        listening = listen(self._host, self._port, what=WHAT)
        self._port = listening.getsockname()[1]
        server = uvicorn_server(self.exchange, host=self._host, certificate=self._certificate, key=self._key)
        self._running = ServerThread(server, listening, what=WHAT)
        self._running.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._running is not None, "the server was entered"
        self._running.stop()

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

        assert self._running is not None, "the server was entered"
        return asyncio.run_coroutine_threadsafe(run(), self._running.loop).result(_CALL_S)

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
    listening = listen(host, port, what=WHAT)
    url = base_url(listening, host, is_tls=certificate is not None)
    server = uvicorn_server(exchange, host=host, certificate=certificate, key=key)

    def ready() -> None:
        exchange.inject(*faults)
        if on_ready is not None:
            on_ready(url)

    try:
        run_until_signal(server, listening, what=WHAT, on_ready=ready)
    finally:
        logging.getLogger("quantkit.sandbox").info("the sandbox has ended")
