"""One open WebSocket from its handshake to its end: the login, the frames, and the messages about the connection."""

import asyncio
import logging
from typing import Final

from quantkit.clock import NS_PER_S, span_text
from quantkit.errors import ParseError
from quantkit.feeds.okx.codec.decode import Ack, ConnectionCount, ErrorEvent, Notice, decode
from quantkit.feeds.okx.errors import (
    OkxAuthError,
    OkxError,
    OkxNetworkError,
    OkxRequestError,
    is_clock_skew,
    is_fatal_close,
    is_retryable,
    reply_error,
)
from quantkit.feeds.okx.ws.outbox import Outbox
from quantkit.feeds.okx.ws.ports import ClientServices, Ending, SessionCallbacks, Socket
from quantkit.feeds.okx.ws.subscriber import Subscriber

_log: Final = logging.getLogger("quantkit.feeds.okx")

#: The server announces that it will close the connection.
_PLANNED_CLOSE: Final = "64008"
#: Close codes have four digits, OKX's own codes five.
_CLOSE_DIGITS: Final = 4


class Session:
    """Talks over one socket. Frames come in through `frame`, the end of the connection through `lost`.

    Args:
        services: The client around it.
        connection: The connection it serves.
        where: The connection's name in errors.

    Attributes:
        is_open: Whether frames count: the connection sets it after the login, and takes it back at the end.
    """

    def __init__(self, services: ClientServices, connection: SessionCallbacks, where: str) -> None:
        self.is_open = False
        self._services = services
        self._pipeline = services.pipeline
        self._login = services.login
        self._connection = connection
        self._where = where
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(connection, where, services.config.operations_per_h)
        self._subscriber = Subscriber(services, connection, self._outbox, where)
        self._login_answer: asyncio.Future[Ack | ErrorEvent | Ending] | None = None
        self._is_proven = False
        self._told: set[str] = set()

    @property
    def ending(self) -> Ending | None:
        """Why the connection is over; None while it is not."""
        return self._outbox.ending

    @property
    def waits_until_s(self) -> float:
        """Loop time at which the hourly limit lets the next request through, 0 if it does now."""
        return self._outbox.waits_until_s

    def attach(self, socket: Socket) -> None:
        """Send over a socket from now on."""
        self._outbox.socket = socket

    # The socket's side ----------------------------------------------------------------------------------------

    def frame(self, data: bytes) -> None:
        """Take one text frame."""
        if not self.is_open:
            self._early(data)
            return
        connection = self._connection
        if connection.needs_login and b'"error"' in data:
            # OKX quotes malformed requests; a quoted key must not reach the tape.
            data = self._login.clean(data.decode("utf-8", "replace")).encode()
        received_ns = self._pipeline.stamp()
        connection.frames += 1
        connection.last_frame_ns = received_ns
        if self._pipeline.frame(connection.number, received_ns, data) and not self._is_proven:
            self._prove()

    def binary(self, size: int) -> None:
        """Count a binary message; OKX's channels send none."""
        self._pipeline.counters["binary frames"] += 1

    def stale(self, is_stale: bool) -> None:
        """Take the begin or end of a silence of the other side."""
        self._connection.stale(is_stale)

    def clean(self, text: str) -> str:
        """Return a foreign text without the credentials it may quote."""
        return self._login.clean(text)

    def lost(self, ending: Ending) -> None:
        """Take the end of the connection; the first cause counts."""
        if self._outbox.end(ending):
            self._subscriber.stop()
            if self._login_answer is not None and not self._login_answer.done():
                self._login_answer.set_result(ending)

    def _early(self, data: bytes) -> None:
        """Take a frame from before the end of the login; it may quote the login, so it goes on no tape."""
        if self._login_answer is None or self._login_answer.done():
            return
        try:
            messages = decode(data, received_ns=self._pipeline.stamp())
        except ParseError:
            return
        for message in messages:
            if isinstance(message, ErrorEvent) or (isinstance(message, Ack) and message.event == "login"):
                self._login_answer.set_result(message)
                return

    def _prove(self) -> None:
        """Count the connection as a success: it brought data or an answer."""
        self._is_proven = True
        self._connection.backoff.succeeded()

    # Login ----------------------------------------------------------------------------------------------------

    async def login(self) -> None:
        """Log in; a wrong clock is measured and corrected once.

        Raises:
            OkxError: It failed; `is_retryable` says whether another connection may do better.
        """
        error = await self._try_login()
        if error is None:
            return
        if not is_clock_skew(error.code):
            raise error
        ahead_ns = await self._login.measure_clock()
        _log.warning(
            "%s: this machine's clock is %s %s OKX's; logging in with the corrected time",
            self._where,
            span_text(abs(ahead_ns)),
            "behind" if ahead_ns > 0 else "ahead of",
        )
        error = await self._try_login()
        if error is not None:
            shown = f"{error} (measured: OKX is {ahead_ns / NS_PER_S:+.3f} s from this clock)"
            raise OkxAuthError(shown, code=error.code, text=error.text, where=self._where)

    async def _try_login(self) -> OkxError | None:
        self._login_answer = self._loop.create_future()
        await self._outbox.pace()
        self._outbox.send(self._login.request())
        try:
            async with asyncio.timeout(self._services.config.ack_timeout_s):
                answer = await self._login_answer
        except TimeoutError:
            raise OkxError(f"{self._where}: no answer to the login", where=self._where, is_retryable=True) from None
        if isinstance(answer, Ending):
            raise answer.error
        if isinstance(answer, Ack):
            self._prove()
            return None
        return reply_error(answer.code, self._login.clean(answer.text), where=self._where)

    # Work -----------------------------------------------------------------------------------------------------

    async def serve(self) -> Ending:
        """Keep the subscriptions as they are wanted until the connection ends; return the cause."""
        worker = asyncio.create_task(self._subscriber.run(), name=f"{self._where}: requests")
        over = asyncio.create_task(self._outbox.wait_over())
        try:
            await asyncio.wait((worker, over), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (worker, over):
                task.cancel()
            results = await asyncio.gather(worker, over, return_exceptions=True)
        if self.ending is None and isinstance(results[0], BaseException):
            self._outbox.end(Ending(OkxError(f"{self._where}: {results[0]}", where=self._where), results[0]))
        assert self.ending is not None
        return self.ending

    def wake(self) -> None:
        """Look at the subscriptions again: some have changed."""
        self._subscriber.wake()

    def abort(self, cause: str) -> None:
        """Give the connection up, as a loss."""
        self._outbox.abort(cause)

    async def close(self) -> None:
        """End the connection in good order."""
        if self._outbox.socket is not None:
            await self._outbox.socket.close()

    # Answers --------------------------------------------------------------------------------------------------

    def control(self, message: object) -> None:
        """Take a message about the connection."""
        match message:
            case Ack():
                if not self._is_proven:
                    self._prove()
                self._subscriber.acked(message)
            case ErrorEvent():
                if not self._subscriber.failed(message):
                    text = f"error {message.code}: {self._login.clean(message.text)}"
                    self._tell_once(f"error {message.code}", text)
            case Notice(code=code, text=text):
                if code == _PLANNED_CLOSE:
                    self._connection.planned_close()
                else:
                    self._tell_once(f"notice {code}", f"notice {code}: {text}")
            case ConnectionCount(is_refused=True, channel=name, count=count):
                self._subscriber.count_refused(name, count)
            case ConnectionCount(channel=name, count=count):
                self._tell_once(f"count {name}", f"{count} connections of this account carry {name}")
            case _:  # a pong, or an answer that needs no action
                pass

    def _tell_once(self, name: str, text: str) -> None:
        if name not in self._told and len(self._told) < 100:
            self._told.add(name)
            _log.info("%s: %s", self._where, text)


def is_final(error: OkxError) -> bool:
    """Return whether another attempt would fail the same way: a refused login, an untrusted certificate, a fatal close.

    A gateway's answer to a handshake is never final.
    """
    if isinstance(error, OkxNetworkError):
        return not error.is_retryable
    if not error.code.isdigit():
        return False
    if len(error.code) == _CLOSE_DIGITS:
        return is_fatal_close(int(error.code))
    return isinstance(error, OkxAuthError | OkxRequestError) and not is_retryable(error.code)
