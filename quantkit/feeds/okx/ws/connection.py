"""One connection: its states, and the loop that makes its WebSocket again after every loss."""

import asyncio
import logging
from enum import StrEnum
from typing import Final, Protocol

import msgspec
import numpy as np

from quantkit.errors import FeedError
from quantkit.feeds.okx.codec.channels import Channel, WsPath
from quantkit.feeds.okx.config import Backoff
from quantkit.feeds.okx.errors import OkxError, network_error
from quantkit.feeds.okx.tracker.records import Lost, Opened
from quantkit.feeds.okx.ws.ports import ClientServices, Socket
from quantkit.feeds.okx.ws.session import Session, is_final
from quantkit.feeds.okx.ws.subscriptions import Subscriptions

_log: Final = logging.getLogger("quantkit.feeds.okx")

#: "Login failed", without a reason.
_VAGUE_LOGIN: Final = "60009"


class ConnectionState(StrEnum):
    """State of a connection."""

    WAITING = "waiting"  # before the next attempt
    CONNECTING = "connecting"
    LOGIN = "login"
    LIVE = "live"
    STALE = "stale"  # silent for a while; a ping was sent
    CLOSING = "closing"
    CLOSED = "closed"
    FAILED = "failed"  # for good: another attempt would fail the same way


class ConnectionStatus(msgspec.Struct, frozen=True):
    """Status of a connection, for display.

    Attributes:
        number: Stays the same when the connection is made again.
        since_ns: Begin of this state, UTC ns.
        attempts: Attempts to connect so far.
        channels: Channels that it carries or is to carry.
        frames: Frames received, over all attempts.
        last_frame_ns: Receipt of the newest frame, UTC ns; 0 before the first.
        error: The last error, empty without one.
        carries: The channels.
    """

    number: int
    path: str
    state: ConnectionState
    since_ns: int
    attempts: int
    channels: int
    frames: int
    last_frame_ns: int
    error: str
    carries: tuple[Channel, ...] = ()


class ConnectionCallbacks(ClientServices, Protocol):
    """What a connection needs of the manager, and tells it."""

    rng: np.random.Generator

    async def open_socket(self, path: WsPath, session: Session, where: str) -> Socket:
        """Connect and shake hands.

        Raises:
            OkxError: It failed.
        """
        ...

    async def pace(self) -> None:
        """Wait until the limit of connects allows one more."""
        ...

    def connection_changed(self, connection: "Connection") -> None:
        """Take a change of state."""
        ...

    def connection_refused(
        self, connection: "Connection", channel: Channel, error: FeedError, *, is_late: bool
    ) -> None:
        """Take the end of a subscription by OKX; `is_late` if no call waits for it."""
        ...

    def connection_failed(self, connection: "Connection", error: OkxError, *, is_late: bool) -> None:
        """Take the failure of a connection for good; `is_late` if no call waits for it."""
        ...

    def connection_closed(self, connection: "Connection") -> None:
        """Take the end of a connection that is not made again, in good order."""
        ...

    def replace(self, connection: "Connection") -> None:
        """Replace a connection before the server closes it."""
        ...

    def crash(self, error: BaseException) -> None:
        """Stop everything: our own code failed."""
        ...


class Connection:
    """Keeps one connection alive and its channels subscribed.

    Args:
        manager: Opens sockets, and hears of changes.
        number: Unique among the client's connections.
        path: Of the WebSocket.
        needs_login: Whether to log in.
    """

    def __init__(self, manager: ConnectionCallbacks, number: int, path: WsPath, *, needs_login: bool) -> None:
        self.number = number
        self.path = path
        self.needs_login = needs_login
        self.subscriptions = Subscriptions()
        self.backoff = Backoff(manager.config.retry, manager.rng)
        self.state = ConnectionState.WAITING
        self.frames = 0
        self.last_frame_ns = 0
        self.is_retiring = False  # a successor takes over; a lost connection is not made again
        self.predecessor: Connection | None = None  # the connection it takes over from, until that ends
        self.handovers = 0  # handovers in quick succession before it
        self.made_s = asyncio.get_running_loop().time()
        self.error: FeedError | None = None
        self.ended = asyncio.Event()
        self._manager = manager
        self._since_ns = manager.pipeline.stamp()
        self.attempts = 0
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._was_vague = False

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run(), name=self.where)
        self._task.add_done_callback(self._done)

    @property
    def where(self) -> str:
        """Name of the connection in errors and logs."""
        return f"OKX {self.path} connection {self.number}"

    @property
    def is_up(self) -> bool:
        """Whether the connection is usable."""
        return self.state in (ConnectionState.LIVE, ConnectionState.STALE)

    @property
    def is_failed(self) -> bool:
        """Whether the connection has failed for good."""
        return self.state is ConnectionState.FAILED

    @property
    def takes_channels(self) -> bool:
        """Whether it may carry new channels."""
        over = (ConnectionState.CLOSING, ConnectionState.CLOSED, ConnectionState.FAILED)
        return not self.is_retiring and self.state not in over

    @property
    def is_live(self) -> bool:
        """Whether the connection is usable and every channel acknowledged."""
        return self.is_up and self.subscriptions.is_live

    def status(self) -> ConnectionStatus:
        """Return the present status."""
        error = "" if self.error is None else str(self.error)
        session = self._session
        if session is not None and session.waits_until_s:
            wait_s = session.waits_until_s - asyncio.get_running_loop().time()
            error = f"the hourly limit of requests is reached; the next follows in {max(wait_s, 0.0):.0f} s"
        return ConnectionStatus(
            self.number,
            self.path,
            self.state,
            self._since_ns,
            self.attempts,
            len(self.subscriptions),
            self.frames,
            self.last_frame_ns,
            error,
            tuple(subscription.channel for subscription in self.subscriptions),
        )

    def wake(self) -> None:
        """Look at the subscriptions again: some have changed."""
        if self._session is not None:
            self._session.wake()

    def resync(self, channel: Channel) -> None:
        """Subscribe a channel anew, unless that is under way; also on a connection that retires.

        A channel that needs this too often rests before.
        """
        if not self.is_up or not self.subscriptions.resync(channel):
            return
        loop = asyncio.get_running_loop()
        wait_s = self.subscriptions.rest(channel, loop.time(), self._manager.config.retry)
        if wait_s:
            _log.warning("%s: %s breaks too often; it is subscribed anew in %.1f s", self.where, channel, wait_s)
            loop.call_later(wait_s, self._rested, channel)
        self.wake()

    def _rested(self, channel: Channel) -> None:
        if self.subscriptions.rested(channel):
            self.wake()

    def abort(self, cause: str) -> None:
        """End the present WebSocket at once and make another."""
        session = self._session
        if session is not None:
            self._lose(session, cause)
            session.abort(cause)

    def fail(self, error: FeedError) -> None:
        """Stop at once: the client has failed."""
        if self.state in (ConnectionState.CLOSING, ConnectionState.CLOSED, ConnectionState.FAILED):
            return
        self.error = error
        session, self._session = self._session, None
        if self._task is not None:
            self._task.cancel()
        if session is not None:
            session.abort("the client has stopped")
        self._finish(ConnectionState.FAILED)

    def control(self, message: object) -> None:
        """Take a message that is about the connection."""
        if self._session is not None:
            self._session.control(message)

    async def end(self, cause: str, *, is_noted: bool = True) -> None:
        """End the connection in good order and for good.

        Args:
            cause: For the record of the loss.
            is_noted: Whether to make a record.
        """
        if self._task is None or self.state in (ConnectionState.CLOSED, ConnectionState.FAILED):
            self.ended.set()
            return
        session, self._session = self._session, None
        self._set(ConnectionState.CLOSING)
        if session is not None:
            if is_noted:
                self._lose(session, cause)
            session.is_open = False
        self._task.cancel()
        try:
            await asyncio.gather(self._task, return_exceptions=True)
            if session is not None:
                await session.close()
        finally:
            # The caller may give up waiting before the other side answers; the socket must close all the same.
            if session is not None:
                session.abort("closed")
            self._set(ConnectionState.CLOSED)
            self.ended.set()

    # Called by the session ------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Report a change that is worth showing."""
        self._manager.connection_changed(self)

    def stale(self, is_stale: bool) -> None:
        """Take the begin or end of a silence of the other side."""
        if self.is_up:
            self._set(ConnectionState.STALE if is_stale else ConnectionState.LIVE)

    def refused(self, channel: Channel, error: FeedError, *, is_late: bool) -> None:
        """Report the end of a subscription by OKX."""
        self._manager.connection_refused(self, channel, error, is_late=is_late)

    def planned_close(self) -> None:
        """Have the connection replaced before the server closes it."""
        self._manager.replace(self)

    # The loop -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop_error: OkxError | None = None
        while True:
            if loop_error is not None:
                self.backoff.failed()
                self._trouble(loop_error)
                if self.is_retiring:
                    self._finish(ConnectionState.CLOSED)
                    self._manager.connection_closed(self)
                    return
                if self._is_hopeless(loop_error):
                    self._fail(loop_error)
                    return
                self._set(ConnectionState.WAITING)
                await asyncio.sleep(self.backoff.wait_s(loop_error.retry_after_s))
            self._set(ConnectionState.WAITING)
            await self._manager.pace()
            try:
                loop_error = await self._attempt()
            except OkxError as error:
                loop_error = error
            if self.is_failed:
                return

    async def _attempt(self) -> OkxError:
        """Make one connection and use it to its end; return why it ended."""
        manager = self._manager
        self.attempts += 1
        session = Session(manager, self, self.where)
        self._set(ConnectionState.CONNECTING)
        is_served = False
        try:
            async with asyncio.timeout(manager.config.handshake_timeout_s):
                session.attach(await manager.open_socket(self.path, session, self.where))
                self._session = session
                if self.needs_login:
                    self._set(ConnectionState.LOGIN)
                    await session.login()
            if session.ending is None:
                is_served = True
                return await self._serve(session)
            return session.ending.error
        except TimeoutError as error:
            raise network_error(error, where=self.where) from None
        finally:
            if not is_served:
                session.abort("the login failed")
            # `end` closes the session itself.
            if self._session is session and self.state is not ConnectionState.CLOSING:
                self._session = None

    async def _serve(self, session: Session) -> OkxError:
        manager = self._manager
        self.subscriptions.restart()
        session.is_open = True
        manager.pipeline.record(Opened(manager.pipeline.stamp(), self.number, self.path))
        self._set(ConnectionState.LIVE)
        ending = await session.serve()
        if ending.crash is not None:
            manager.crash(ending.crash)
        # The record stands beside its connection's number and is read years later: the cause alone, without advice.
        self._lose(session, str(ending.error).removeprefix(f"{self.where}: ").partition(";")[0])
        session.abort("over")
        return ending.error

    def _lose(self, session: Session, cause: str) -> None:
        """Record the end of a WebSocket, once; none of its frames are taken any more."""
        if session.is_open:
            session.is_open = False
            self._manager.pipeline.record(Lost(self._manager.pipeline.stamp(), self.number, cause))

    def _is_hopeless(self, error: OkxError) -> bool:
        """Return whether to give up; OKX's code for any failed login gets a second attempt."""
        if error.code == _VAGUE_LOGIN and not self._was_vague:
            self._was_vague = True
            return False
        return is_final(error) or self.backoff.is_exhausted

    def _trouble(self, error: OkxError) -> None:
        self.error = error
        _log.warning("%s (failure %d)", error, self.backoff.failures)

    def _fail(self, error: OkxError) -> None:
        """Give up for good."""
        # Listeners see the failed connection with the channels that it carried.
        self._finish(ConnectionState.FAILED)
        # The error goes to calls that wait for a channel; channels that were live end with it as well.
        is_late = not len(self.subscriptions)
        for subscription in self.subscriptions:
            self.subscriptions.remove(subscription.channel)
            is_late = not subscription.settle(error) or is_late
        _log.error("%s; it is not tried again", error)
        self._manager.connection_failed(self, error, is_late=is_late)

    def _finish(self, state: ConnectionState) -> None:
        self._set(state)
        self.ended.set()

    def _set(self, state: ConnectionState) -> None:
        # A failure is final: the loop may notice it later, and must not leave this state.
        if state is not self.state and not self.is_failed:
            self.state = state
            self._since_ns = self._manager.pipeline.stamp()
            self._manager.connection_changed(self)

    def _done(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.ended.set()
            self._manager.crash(error)
