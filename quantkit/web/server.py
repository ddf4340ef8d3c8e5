"""The web application on a socket: what connections may cost, and the server in a thread or in the shell."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from quantkit.errors import ConfigError
from quantkit.serving import ServerThread, base_url, listen, quiet_server, run_until_signal
from quantkit.web.access import Admission, BrowserSessions, read_token
from quantkit.web.app import application
from quantkit.web.calls import Calls
from quantkit.web.link import LiveLink
from quantkit.web.security import OPEN, Site, is_loopback

if TYPE_CHECKING:
    import uvicorn

DEFAULT_PORT: Final = 8767
#: Names it in errors.
WHAT: Final = "quantkit serve"
#: Sockets open at a time. A further one is closed at once.
CONNECTIONS_MAX: Final = 512
#: How long a connection may take to send a whole request's head.
HEAD_S: Final = 10.0
#: How long a client may take for reading some of an answer.
READ_S: Final = 30.0
#: The longest message that a socket takes: it takes a key and no more.
MESSAGE_BYTES: Final = 4096
#: Answers to pings that a client may leave unread.
UNREAD_BYTES: Final = 2**20
#: A server that ends with its run lets pages read for so long that the run is over.
FAREWELL_S: Final = 5.0
#: Below the folder of runs.
SESSIONS: Final = ".serve-sessions.json"


class WebServer:
    """The web application on a port of this machine, in a thread of its own, for tests and notebooks.

    Args:
        calls: What it serves.
        link: To a live run.
        host, port: Address; port 0 takes a free one.
        token: What programs send; None makes one up.
        sessions: File that keeps the sessions of browsers; None keeps none.
        names: Further names that the server is reached by.
    """

    def __init__(
        self,
        calls: Calls,
        link: LiveLink | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        sessions: Path | None = None,
        names: Sequence[str] = (),
    ) -> None:
        self._calls = calls
        self._link = link
        self._host, self._port = host, port
        self._names = names
        self._admission = Admission(token, BrowserSessions(sessions))
        self._url = ""
        self._running: ServerThread | None = None

    def __enter__(self) -> Self:
        listening = listen(self._host, self._port, what=WHAT)
        port = listening.getsockname()[1]
        site = Site.of(self._host, port, names=self._names)
        self._url = base_url(listening, self._host, is_tls=False)
        server = _uvicorn_server(self._calls, site, self._admission, self._link, None, None)
        self._running = ServerThread(server, listening, what=WHAT)
        self._running.start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._running is not None, "the server was entered"
        self._running.stop()

    @property
    def url(self) -> str:
        """The base of all addresses."""
        return self._url

    @property
    def link(self) -> str:
        """The address that signs a browser in, once."""
        return link_of(self._url, self._admission)

    @property
    def token(self) -> str:
        """What programs send."""
        return self._admission.token


def serve(
    calls: Calls,
    link: LiveLink | None,
    *,
    host: str,
    port: int,
    names: Sequence[str],
    sessions: Path | None,
    token_file: Path | None,
    certificate: Path | None,
    key: Path | None,
    may_be_seen: bool,
    ends_with_run: bool = False,
    on_ready: Callable[[str, str, str], None],
) -> None:
    """Run the web application until SIGINT or SIGTERM. Call it from the main thread.

    Args:
        calls: What it serves.
        link: To a live run.
        host, port: Where it listens; port 0 takes a free one.
        names: Further names that browsers reach it by.
        sessions: File that keeps the sessions of browsers.
        token_file: File of the token, made where it is missing; None makes one up for this start.
        certificate, key: PEM files; with them it speaks TLS.
        may_be_seen: Whether the user knows that others on the network can read along without TLS.
        ends_with_run: Whether to end some seconds after the live run.
        on_ready: Called with URL, one-time link and token once connections are taken.

    Raises:
        ConfigError: The address is not this machine's alone, and neither TLS nor `may_be_seen` is there; or a file
            or an address is wrong.
        KeyboardInterrupt: A signal came before connections were taken.
    """
    if not is_loopback(host) and certificate is None and not may_be_seen:
        raise ConfigError(
            f"{host} is open to the network, where others can read along: add --certificate and --key for TLS, or "
            "--i-understand to serve without"
        )
    token = None if token_file is None else read_token(token_file)
    admission = Admission(token, BrowserSessions(sessions))
    listening = listen(host, port, what=WHAT)
    try:
        site = Site.of(host, listening.getsockname()[1], names=names, is_tls=certificate is not None)
        server = _uvicorn_server(calls, site, admission, link, certificate, key)
    except BaseException:
        listening.close()
        raise
    # Who listens on every address is reached by a name.
    shown = names[0] if names and not is_loopback(host) else host
    url = base_url(listening, shown, is_tls=certificate is not None)
    run_until_signal(
        server,
        listening,
        what=WHAT,
        on_ready=lambda: on_ready(url, link_of(url, admission), admission.token),
        until=None if link is None or not ends_with_run else partial(link.over, FAREWELL_S),
    )


def link_of(url: str, admission: Admission) -> str:
    """Return the address that signs a browser in, once. What stands behind `#` never goes over the network."""
    return f"{url}{OPEN}#{admission.link_key}"


def _uvicorn_server(
    calls: Calls,
    site: Site,
    admission: Admission,
    link: LiveLink | None,
    certificate: Path | None,
    key: Path | None,
) -> "uvicorn.Server":
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    class LimitedConnection(H11Protocol):
        """Uvicorn's connection, with limits: how many, how long a request's head may take, how long an answer waits."""

        _timer: asyncio.TimerHandle | None = None
        _reading: asyncio.TimerHandle | None = None
        _unread_bytes = 0
        _has_read = False

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            if len(self.connections) > CONNECTIONS_MAX:
                transport.abort()
                return
            self._timer = self.loop.call_later(HEAD_S, self._too_slow)
            self._reading = self.loop.call_later(READ_S, self._look_at_reading)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            is_idle = self._is_idle()
            if not is_idle and self._timer is not None:
                self._timer.cancel()
                self._timer = None
            elif is_idle and self._timer is None:
                # Another request has begun on a connection that is kept.
                self._timer = self.loop.call_later(HEAD_S, self._too_slow)

        def resume_writing(self) -> None:
            self._has_read = True
            super().resume_writing()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_timers()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._cancel_timers()
            super().handle_websocket_upgrade(event)

        def _cancel_timers(self) -> None:
            for timer in (self._timer, self._reading):
                if timer is not None:
                    timer.cancel()

        def _look_at_reading(self) -> None:
            """End the connection of a client that has not read a byte of what waits for it, closed or not."""
            waiting_bytes = self.transport.get_write_buffer_size()
            if waiting_bytes and not self._has_read and waiting_bytes >= self._unread_bytes > 0:
                self.transport.abort()
                return
            self._unread_bytes, self._has_read = waiting_bytes, False
            self._reading = self.loop.call_later(READ_S, self._look_at_reading)

        def _too_slow(self) -> None:
            self._timer = None
            if self._is_idle():
                self.transport.abort()

        def _is_idle(self) -> bool:
            cycle: Any = self.cycle  # None before the first request
            return cycle is None or cycle.response_complete

    class LimitedSocket(WebSocketsSansIOProtocol):
        """Uvicorn's socket, which ends where its answers to pings are not read."""

        def handle_ping(self) -> None:
            super().handle_ping()
            if self.transport.get_write_buffer_size() > UNREAD_BYTES:
                self.transport.abort()

    try:
        config = uvicorn.Config(
            application(calls, site, admission, link),
            http=LimitedConnection,
            ws=LimitedSocket,
            ws_max_size=MESSAGE_BYTES,
            ws_per_message_deflate=False,
            ws_ping_interval=20,
            ws_ping_timeout=20,
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=1,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
        config.load()
    except OSError as error:  # an SSLError is one
        raise ConfigError(f"{WHAT} cannot speak TLS with {certificate} and {key}: {error}") from None
    return quiet_server(config)
