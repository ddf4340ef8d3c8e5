"""The live client of OKX's WebSockets: subscribe channels, iterate over typed events.

Connections are made, kept alive, logged in and made again here; what is lost on the way is told as `Gap`.
"""

import functools
import logging
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Final, Self, cast
from urllib.parse import urlsplit

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidProxy, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from quantkit.clock import datetime_of, wall_ns
from quantkit.errors import ConfigError, FeedClosedError, FeedError
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.errors import (
    OkxError,
    OkxNetworkError,
    OkxServerError,
    close_error,
    network_error,
    reply_error,
)
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.feeds.okx.tracker.tracker import FeedMessage
from quantkit.feeds.okx.ws.connection import ConnectionState, ConnectionStatus
from quantkit.feeds.okx.ws.heartbeat import Heartbeat
from quantkit.feeds.okx.ws.inbox import Inbox
from quantkit.feeds.okx.ws.manager import ConnectionManager, TapeSink
from quantkit.feeds.okx.ws.ports import Ending, Socket
from quantkit.feeds.okx.ws.session import Session

__all__ = ["ConnectionState", "ConnectionStatus", "OkxClient", "TapeSink"]

#: The library logs every frame at DEBUG, logins included, so it gets a logger that nobody can turn up.
_quiet_log: Final = logging.Logger("quantkit.feeds.okx.websockets", logging.WARNING)
_quiet_log.parent = logging.getLogger("quantkit.feeds.okx")
_DATA: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class OkxClient:
    """Receives OKX's channels as typed events, through every outage, without a silent loss.

    Used as an asynchronous context manager and iterated. Subscriptions outlive connections. A consumer that falls
    behind by more than `config.queue_events` loses events; the books concerned become invalid, and a `Gap` says so.

    Subscribe one channel for each kind of rows of an instrument: an event does not say which channel brought it, so
    `trades` with `trades-all`, `tickers` with `bbo-tbt`, or two book channels would come mixed.

    Args:
        config: Where OKX is, and how patient to be.
        credentials: For private channels and VIP books.
        rest: A REST client in use, for back-fills; made when first needed if None.
        tape: Gets every frame and record before anything else sees it.
        stamp: Returns strictly rising UTC ns; the wall clock if None.
        deliver: Gets the events of one frame at a time, instead of the iteration.
        backlog: With `deliver`: how many delivered events are not consumed yet.
        on_state: Gets the status of a connection whenever it changes.
        on_trouble: Gets the errors that end a subscription or connection for good, or stop the client, when no call
            waits for them; the iteration, where there is one, raises them.
        on_read: Called with True before the frames of one read from a socket are delivered, with False after them, for
            consumers that take them together.
        rng: For the jitter of back-offs.

    Raises:
        ConfigError: Credentials for a host that must not have them, `backlog` without `deliver`, or, when entered, a
            `ca_file` that cannot be read.

    Examples:
        >>> from quantkit.feeds.okx.codec.channels import tickers
        >>> async def print_tickers() -> None:
        ...     async with OkxClient(OkxConfig()) as okx:
        ...         await okx.subscribe(tickers("BTC-USDT"))
        ...         async for event in okx:
        ...             print(event)
    """

    def __init__(
        self,
        config: OkxConfig | None = None,
        *,
        credentials: Credentials | None = None,
        rest: OkxRest | None = None,
        tape: TapeSink | None = None,
        stamp: Callable[[], int] | None = None,
        deliver: Callable[[list[FeedMessage]], None] | None = None,
        backlog: Callable[[], int] | None = None,
        on_state: Callable[[ConnectionStatus], None] | None = None,
        on_trouble: Callable[[FeedError], None] | None = None,
        on_read: Callable[[bool], None] | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.config = config or OkxConfig()
        if credentials is not None:
            self.config.check_keys_allowed()
        if backlog is not None and deliver is None:
            raise ConfigError("OkxClient: backlog belongs to deliver; leave it out, or give both")
        self._credentials = credentials
        self._rest = rest
        self._tape = tape
        self._stamp = stamp or _rising(wall_ns)
        self._deliver = deliver
        self._backlog = backlog
        self._on_state = on_state
        self._on_trouble = on_trouble
        self._on_read = on_read
        self._rng = np.random.default_rng() if rng is None else rng
        self._manager: ConnectionManager | None = None
        self._inbox: Inbox[FeedMessage] | None = None

    def __repr__(self) -> str:
        return f"OkxClient({self.config.ws_url('public')}, connections={len(self.connections)})"

    async def __aenter__(self) -> Self:
        if self._manager is not None:
            raise FeedClosedError("an OkxClient is entered once; make a new one")
        inbox: Inbox[FeedMessage] = Inbox()
        self._inbox = inbox
        self._manager = ConnectionManager(
            self.config,
            _Opener(self.config, self._on_read),
            credentials=self._credentials,
            rest=self._rest,
            tape=self._tape,
            stamp=self._stamp,
            deliver=self._deliver or inbox.put,
            backlog=self._backlog or (inbox.__len__ if self._deliver is None else _nothing_waits),
            trouble=self._tell,
            on_state=self._on_state,
            rng=self._rng,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def subscribe(self, *channels: Channel, since_ns: int | None = None) -> None:
        """Subscribe channels and wait until OKX has acknowledged each; connections are made as needed.

        While OKX cannot be reached this waits as long as the retry policy lasts.

        Args:
            channels: Those that are subscribed already stay so.
            since_ns: Bring every candle that closes after this moment, UTC ns, also those that close before the
                subscription is there; default from the first one that is pushed on.

        Raises:
            ConfigError: A channel needs a login and there are no credentials.
            SubscriptionError: Some were refused, each named with its reason in `refused`; the others are live.
            FeedError: The client is closed, or has failed.
        """
        await self._entered.subscribe(channels, since_ns)

    def listed(self, steps: Mapping[str, str]) -> None:
        """Tell the price steps of instruments; a book with a level off its step is invalid until they are loaded anew.

        Args:
            steps: Plain text by id, as OKX writes them.
        """
        self._entered.listed(steps)

    async def unsubscribe(self, *channels: Channel) -> None:
        """Give channels up; events of theirs that wait already are still delivered, and none after.

        Raises:
            FeedError: The client is closed, or has failed.
        """
        await self._entered.unsubscribe(channels)

    async def wait_live(self, timeout_s: float | None = None) -> None:
        """Wait until every connection is up and every channel acknowledged.

        Raises:
            FeedError: A connection failed for good, or it took longer than `timeout_s`.
        """
        await self._entered.wait_live(timeout_s)

    def __aiter__(self) -> AsyncIterator[FeedMessage]:
        return self

    async def __anext__(self) -> FeedMessage:
        """Return the next event.

        Raises:
            StopAsyncIteration: The client was closed, and all is taken.
            FeedError: A subscription or connection has ended for good; iterating again goes on with the others. Where
                the whole client has stopped, iterating again raises the same.
        """
        manager, inbox = self._entered, self._inbox
        assert inbox is not None
        if self._deliver is not None:
            raise FeedError("this client hands its events to `deliver`; it cannot be iterated")
        event = await inbox.take()
        if manager.is_overflowing and not manager.is_over:
            manager.check_backlog()
        return event

    @property
    def connections(self) -> tuple[ConnectionStatus, ...]:
        """The connections and their states."""
        return (
            ()
            if self._manager is None
            else tuple(connection.status() for connection in self._manager.connections.values())
        )

    @property
    def refused(self) -> Mapping[Channel, FeedError]:
        """The subscriptions that OKX refused or ended, and why."""
        return {} if self._manager is None else dict(self._manager.refused)

    @property
    def counters(self) -> Counter[str]:
        """What was received and not delivered, by name."""
        return Counter() if self._manager is None else self._manager.tracker.counters + self._manager.counters

    def ends_at(self, end_ns: int) -> None:
        """Take in nothing that is received from a moment on, which no event so far was; see `end`."""
        self._entered.ends_ns = end_ns

    def end(self) -> None:
        """Deliver the gaps of outages that are still open, stamped as `ends_at` was told, and nothing after them."""
        self._entered.end()

    @property
    def has_ended(self) -> bool:
        """Whether nothing is delivered any more."""
        return self._manager is not None and self._manager.is_over

    async def close(self) -> None:
        """Close every connection in good order; the iteration ends when all that came before is taken.

        Raises:
            FeedError: The end could not be put on the tape or delivered; all is closed nevertheless.
        """
        manager, inbox = self._manager, self._inbox
        if manager is not None and inbox is not None:
            try:
                await manager.close()
            finally:
                inbox.close()

    def _tell(self, error: FeedError) -> None:
        """Pass an error on that no call waits for."""
        if self._deliver is None and self._inbox is not None:
            self._inbox.fail(error, is_last=self._manager is not None and error is self._manager.failure)
        if self._on_trouble is not None:
            self._on_trouble(error)

    @property
    def _entered(self) -> ConnectionManager:
        if self._manager is None:
            raise FeedClosedError("the OKX client is not open: use it as `async with OkxClient(...) as okx:`")
        return self._manager


def _rising(clock: Callable[[], int]) -> Callable[[], int]:
    """Return a clock that never gives the same time twice."""
    last_ns = 0

    def stamp() -> int:
        nonlocal last_ns
        last_ns = max(clock(), last_ns + 1)
        return last_ns

    return stamp


def _nothing_waits() -> int:
    return 0


# The socket ---------------------------------------------------------------------------------------------------


class _Socket(ClientConnection):
    """A WebSocket that hands whole text frames to its session as they are parsed, and watches over its own life.

    The library's queue is passed by: no task switch for a message, and no pause of reading that would also hold up
    the sign of life. Heartbeat is any received byte.
    """

    def __init__(
        self,
        session: Session,
        config: OkxConfig,
        where: str,
        on_read: Callable[[bool], None] | None,
        *args: Any,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self._session = session
        self._config = config
        self._where = where
        self._on_read = on_read
        self._is_over = False
        self._is_closing = False  # in good order: what comes is read for the answer to the close frame alone
        self._pieces: bytearray | None = None  # of a text message in several frames
        self._is_binary = False
        self._heartbeat = Heartbeat(config, ping=self._ping, abort=self.abort, stale=session.stale)

    @property
    def is_over(self) -> bool:
        """Whether nothing is taken from it any more."""
        return self._is_over

    def start(self) -> None:
        """Begin to watch, once the handshake is done."""
        if not self._is_over:
            self._heartbeat.start()

    # Sending --------------------------------------------------------------------------------------------------

    def send_text(self, data: bytes) -> None:
        """Send one text frame at once, or nothing if the connection is over."""
        if self._is_over or self.protocol.state is not State.OPEN:
            return
        self.protocol.send_text(data)
        self.send_data()

    def _ping(self) -> None:
        self.send_text(b"ping")

    # Receiving ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            if self._is_closing:
                super().data_received(data)
            return
        self._heartbeat.heard()
        if self._on_read is None:
            super().data_received(data)
        else:
            self._on_read(True)
            try:
                super().data_received(data)
            finally:
                self._on_read(False)
        if self.is_over or self.response is None:
            return
        if self.protocol.state is not State.OPEN:
            # The library has found the bytes to be no WebSocket frames, and has answered with a close frame.
            problem = self.protocol.parser_exc
            self._end(OkxServerError(f"{self._where}: {problem or 'closing'}", where=self._where, is_retryable=True))
            self._hang_up()
        elif self.protocol.reader.buffer or self._pieces is not None:
            self._heartbeat.begun()

    def process_event(self, event: Event) -> None:
        if self.response is None:
            super().process_event(event)
            return
        if self._is_over:
            return
        frame = cast(Frame, event)
        if frame.opcode in _DATA:
            self._take(frame)
        elif frame.opcode is Opcode.CLOSE:
            received = self.protocol.close_rcvd
            code, reason = (1005, "") if received is None else (int(received.code), received.reason)
            self._end(close_error(code, self._session.clean(reason), where=self._where))
            self._hang_up()

    def _take(self, frame: Frame) -> None:
        """Put a message together and pass it on."""
        if frame.opcode is Opcode.TEXT and frame.fin:
            self._heartbeat.complete()
            self._session.frame(bytes(frame.data))
            return
        if frame.opcode is not Opcode.CONT:
            self._pieces, self._is_binary = bytearray(), frame.opcode is Opcode.BINARY
        assert self._pieces is not None  # the library refuses a continuation of nothing
        self._pieces += frame.data
        if frame.fin:
            data, self._pieces = bytes(self._pieces), None
            self._heartbeat.complete()
            if self._is_binary:
                self._session.binary(len(data))
            else:
                self._session.frame(data)

    # The end --------------------------------------------------------------------------------------------------

    def abort(self, cause: str) -> None:
        """End the connection at once, as a loss."""
        self._end(OkxNetworkError(f"{self._where}: {cause}", where=self._where, is_retryable=True))
        self.transport.abort()

    async def close_politely(self) -> None:
        """End the connection in good order, in bounded time; no frame is taken any more."""
        self._is_over = True
        self._is_closing = True
        self._heartbeat.stop()
        await self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.response is None:
            return
        # What is no error of the network was raised by our own code while it took a frame.
        crash = exc if exc is not None and not isinstance(exc, OSError) else None
        if exc is None:
            self._end(
                OkxNetworkError(f"{self._where}: cut without a close frame", where=self._where, is_retryable=True)
            )
        else:
            self._end(network_error(exc, where=self._where), crash)

    def _end(self, error: OkxError, crash: BaseException | None = None) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._heartbeat.stop()
        self._session.lost(Ending(error, crash))

    def _hang_up(self) -> None:
        """Close the transport once what was written is out, by force if that takes long."""
        self.transport.close()
        self.loop.call_later(self._config.close_timeout_s, self.transport.abort)


class _Handle:
    """What a session sees of a socket."""

    def __init__(self, socket_: _Socket) -> None:
        self._socket = socket_

    def send(self, data: bytes) -> None:
        """Send one text frame at once, or nothing if the connection is over."""
        self._socket.send_text(data)

    def abort(self, cause: str) -> None:
        """End the connection at once, as a loss."""
        self._socket.abort(cause)

    async def close(self) -> None:
        """End the connection in good order, in bounded time."""
        await self._socket.close_politely()


class _Connect(connect):
    """Follows no redirect: another host than the configured one gets nothing."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Opener:
    """Opens WebSockets to the configured server, and says in our own errors why one cannot be had."""

    def __init__(self, config: OkxConfig, on_read: Callable[[bool], None] | None) -> None:
        self._config = config
        self._on_read = on_read
        self._trust: ssl.SSLContext | None = self._load(config.ca_file) if config.ca_file else None
        self._addresses: dict[str, str] = {}  # by host: where it was reached last

    async def __call__(self, url: str, session: Session, where: str) -> Socket:
        try:
            return await self._open(url, session, where)
        except InvalidStatus as error:
            response = error.response
            retry_after_s = _retry_after_s(response.headers)
            raise reply_error(
                "", "handshake refused", where=where, status=response.status_code, retry_after_s=retry_after_s
            ) from None
        except OSError as error:
            raise network_error(error, where=f"{where} at {urlsplit(url).netloc}") from error
        except InvalidProxy:
            # The address of a proxy may hold a password, so it is not shown.
            text = f"{where}: the environment's proxy cannot be used; check HTTPS_PROXY, or set trust_env=False"
            raise OkxNetworkError(text, where=where) from None
        except ImportError:
            text = f"{where}: a SOCKS proxy needs the package python-socks; install it, or set trust_env=False"
            raise OkxNetworkError(text, where=where) from None
        except (InvalidHandshake, WebSocketException) as error:
            told = " ".join(str(error.__cause__ or error).split())[:200]
            text = f"{where}: what answers is no WebSocket server ({told}); check the url"
            raise OkxServerError(text, where=where, is_retryable=True) from None

    async def _open(self, url: str, session: Session, where: str) -> Socket:
        config, parts = self._config, urlsplit(url)
        host = parts.hostname or ""
        options: dict[str, Any] = {}
        if parts.scheme == "wss":
            options["ssl"] = self._trusted()
        proxy = get_proxy(parse_uri(url)) if config.trust_env and not config.is_loopback else None
        options["proxy"] = proxy
        try:
            connection = await self._connect(url, session, where, options)
        except socket.gaierror:
            # The name service may fail alone; the address it gave last is most likely still right.
            if proxy is not None or host not in self._addresses:
                raise
            connection = await self._connect(url, session, where, {**options, "host": self._addresses[host]})
        peer = connection.remote_address
        if proxy is None and isinstance(peer, tuple):
            self._addresses[host] = str(peer[0])
        connection.start()
        return _Handle(connection)

    async def _connect(self, url: str, session: Session, where: str, options: dict[str, Any]) -> _Socket:
        config = self._config
        factory = functools.partial(_Socket, session, config, where, self._on_read)
        connection = await _Connect(
            url,
            compression="deflate" if config.compress else None,
            user_agent_header="quantkit",
            open_timeout=None,  # the caller's time covers the login as well
            ping_interval=None,
            close_timeout=config.close_timeout_s,
            max_size=config.max_frame_bytes,
            max_queue=None,
            logger=_quiet_log,
            create_connection=cast("type[ClientConnection]", factory),
            **options,
        )
        return cast(_Socket, connection)

    def _trusted(self) -> ssl.SSLContext:
        if self._trust is None:
            self._trust = self._load(None)
        return self._trust

    @staticmethod
    def _load(ca_file: str | None) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=ca_file)
        except OSError:
            raise ConfigError(f"ca_file {ca_file}: no certificates can be read from it; name a PEM file") from None


def _retry_after_s(headers: Headers) -> float | None:
    """Return how long a refused handshake asks to wait, in either of HTTP's two forms."""
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        wait = parsedate_to_datetime(text) - datetime_of(wall_ns())
    except (ValueError, TypeError):
        return None
    return max(wait / timedelta(seconds=1), 0.0)
