"""OKX's WebSockets over the `websockets` library: opening them, whole frames in, and why they ended."""

import functools
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Any, Final, cast
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, InvalidProxy, InvalidStatus, WebSocketException
from websockets.frames import Frame, Opcode
from websockets.protocol import Event, State
from websockets.proxy import get_proxy
from websockets.uri import parse_uri

from quantkit.clock import wall_ns
from quantkit.errors import ConfigError
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.errors import (
    OkxError,
    OkxNetworkError,
    OkxServerError,
    close_error,
    network_error,
    parse_retry_after,
    reply_error,
)
from quantkit.feeds.okx.ws.heartbeat import Heartbeat
from quantkit.feeds.okx.ws.ports import Ending, Socket
from quantkit.feeds.okx.ws.session import Session

#: The library logs every frame at DEBUG, logins included; this logger's level cannot be lowered by configuration.
_quiet_log: Final = logging.Logger("quantkit.feeds.okx.websockets", logging.WARNING)
_quiet_log.parent = logging.getLogger("quantkit.feeds.okx")
_DATA: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class FrameSocket(ClientConnection):
    """A WebSocket that hands whole text frames to its session as they are parsed, with a heartbeat.

    It bypasses the library's queue: no task switch for a message, and no pause of reading that would also delay the
    pong. Every received byte counts as a sign of life.
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
        self._is_closing = False  # in good order: only the answer to the close frame is still read
        self._pieces: bytearray | None = None  # of a text message in several frames
        self._is_binary = False
        self._heartbeat = Heartbeat(config, ping=self._ping, abort=self.abort, stale=session.stale)

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended: no frame is taken any more."""
        return self._is_over

    def start(self) -> None:
        """Start the heartbeat after the handshake."""
        if not self._is_over:
            self._heartbeat.start()

    # Sending --------------------------------------------------------------------------------------------------

    def send_text(self, data: bytes) -> None:
        """Send one text frame at once; do nothing if the connection has ended."""
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
            # The bytes were no WebSocket frames; the library has answered with a close frame.
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
        assert self._pieces is not None  # the library refuses a continuation without a beginning
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
        # Anything but an error of the network was raised by our own code while it took a frame.
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
        """Close the transport after the written bytes are sent, by force if that takes long."""
        self.transport.close()
        self.loop.call_later(self._config.close_timeout_s, self.transport.abort)


class SocketHandle:
    """A `FrameSocket` as its session sees it: there the names `send` and `close` are the library's coroutines."""

    def __init__(self, socket_: FrameSocket) -> None:
        self._socket = socket_

    def send(self, data: bytes) -> None:
        """Send one text frame at once; do nothing if the connection has ended."""
        self._socket.send_text(data)

    def abort(self, cause: str) -> None:
        """End the connection at once, as a loss."""
        self._socket.abort(cause)

    async def close(self) -> None:
        """End the connection in good order, in bounded time."""
        await self._socket.close_politely()


class DirectConnect(connect):
    """Follows no redirect: only the configured host gets requests."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class SocketOpener:
    """Opens WebSockets to the configured server and translates the library's errors."""

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
            patience_s = parse_retry_after(response.headers.get("Retry-After", ""), wall_ns())
            raise reply_error(
                "", "handshake refused", where=where, status=response.status_code, retry_after_s=patience_s
            ) from None
        except OSError as error:
            raise network_error(error, where=f"{where} at {urlsplit(url).netloc}") from error
        except InvalidProxy:
            # The address of a proxy may hold a password, so the error leaves it out.
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
            # Only the name service may have failed; its last address is most likely still right.
            if proxy is not None or host not in self._addresses:
                raise
            connection = await self._connect(url, session, where, {**options, "host": self._addresses[host]})
        peer = connection.remote_address
        if proxy is None and isinstance(peer, tuple):
            self._addresses[host] = str(peer[0])
        connection.start()
        return SocketHandle(connection)

    async def _connect(self, url: str, session: Session, where: str, options: dict[str, Any]) -> FrameSocket:
        config = self._config
        factory = functools.partial(FrameSocket, session, config, where, self._on_read)
        connection = await DirectConnect(
            url,
            compression="deflate" if config.compress else None,
            user_agent_header="quantkit",
            open_timeout=None,  # the caller's timeout covers the login as well
            ping_interval=None,
            close_timeout=config.close_timeout_s,
            max_size=config.max_frame_bytes,
            max_queue=None,
            logger=_quiet_log,
            create_connection=cast("type[ClientConnection]", factory),
            **options,
        )
        return cast(FrameSocket, connection)

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
