"""The manager of a client's connections: subscriptions, changes and failures of connections, and the end."""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, TypeAlias

import numpy as np

from quantkit.errors import ConfigError, FeedClosedError, FeedError, SubscriptionError
from quantkit.feeds.okx.codec.channels import Channel, WsPath
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.errors import OkxError
from quantkit.feeds.okx.limits import SlidingLimit
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.feeds.okx.tracker.candles import open_at
from quantkit.feeds.okx.tracker.records import (
    Awaited,
    Command,
    FetchCandles,
    Resubscribe,
    Unsubscribed,
)
from quantkit.feeds.okx.tracker.tracker import ControlMessage, FeedMessage, Tracker
from quantkit.feeds.okx.ws.connection import Connection, ConnectionState, ConnectionStatus
from quantkit.feeds.okx.ws.fetches import Fetches
from quantkit.feeds.okx.ws.handover import Handovers
from quantkit.feeds.okx.ws.login import Login
from quantkit.feeds.okx.ws.pipeline import Pipeline, TapeSink
from quantkit.feeds.okx.ws.pool import ConnectionPool
from quantkit.feeds.okx.ws.ports import Socket
from quantkit.feeds.okx.ws.session import Session
from quantkit.feeds.okx.ws.staleness import StalenessMonitor

_log: Final = logging.getLogger("quantkit.feeds.okx")

#: The server counts handshakes as they arrive, so the second is taken longer by the network's jitter.
_CONNECT_WINDOW_S: Final = 1.5

OpenSocket: TypeAlias = Callable[[str, Session, str], Awaitable[Socket]]


class ConnectionManager:
    """Runs the connections of one client on one event loop.

    Args:
        config: Hosts, timeouts and limits.
        open_socket: Connects to an address.
        credentials: For channels that need a login.
        rest: For fetches and the server's time; made when first needed if None.
        tape: Gets everything first.
        stamp: Returns strictly rising UTC ns.
        deliver: Gets the events.
        backlog: Returns the number of delivered events that are not consumed yet.
        refused: Gets the end of a subscription by OKX that no call waits for.
        trouble: Gets other errors that no call waits for.
        on_state: Gets the status of a connection whenever it changes.
        rng: For the jitter.
    """

    def __init__(
        self,
        config: OkxConfig,
        open_socket: OpenSocket,
        *,
        credentials: Credentials | None,
        rest: OkxRest | None,
        tape: TapeSink | None,
        stamp: Callable[[], int],
        deliver: Callable[[list[FeedMessage]], None],
        backlog: Callable[[], int],
        refused: Callable[[Channel, FeedError], None],
        trouble: Callable[[FeedError], None],
        on_state: Callable[[ConnectionStatus], None] | None,
        rng: np.random.Generator,
    ) -> None:
        self.config = config
        self.rng = rng
        self.pool = ConnectionPool(config, self)
        self.failure: FeedError | None = None
        self.pipeline = Pipeline(
            Tracker(command=self._command, control=self._control),
            self,
            tape=tape,
            stamp=stamp,
            deliver=deliver,
            backlog=backlog,
            queue_events=config.queue_events,
        )
        self._open = open_socket
        self._refused = refused
        self._trouble = trouble
        self._on_state = on_state
        self._connects = SlidingLimit(config.connects_per_s, _CONNECT_WINDOW_S)
        self._request_numbers = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pulse = asyncio.Event()
        record = self.pipeline.record
        self._fetches = Fetches(config, rest, stamp=stamp, record=record, spawn=self.spawn, rng=rng)
        self.login = Login(credentials, self._fetches, stamp)
        self._handovers = Handovers(self)
        self.spawn(StalenessMonitor(self).run(), "OKX staleness monitor")

    # The tracker's side ---------------------------------------------------------------------------------------

    def _command(self, command: Command) -> None:
        if self.pipeline.is_over:
            return
        if isinstance(command, Resubscribe):
            connection = self.pool.get(command.connection)
            if connection is not None:
                connection.resync(command.channel)
        else:
            self._fetches.start(command)

    def fetch_late(self, command: FetchCandles) -> None:
        """Fetch late bars, unless a fetch of theirs is under way."""
        if not self._fetches.is_running(command.channel):
            self._fetches.start(command)

    def _control(self, number: int, message: ControlMessage) -> None:
        connection = self.pool.get(number)
        if connection is not None:
            connection.control(message)

    # Channels -------------------------------------------------------------------------------------------------

    async def subscribe(self, channels: Iterable[Channel], since_ns: int | None = None) -> None:
        """Subscribe channels and wait until each is acknowledged or refused.

        Args:
            channels: The channels.
            since_ns: Deliver every candle that closes after this moment; None begins with the first candle pushed.

        Raises:
            ConfigError: A channel needs a login and there are no credentials.
            SubscriptionError: Some were refused; the others are live.
            FeedError: The client is closed or has failed.
        """
        wanted = list(dict.fromkeys(channels))
        self.check()
        for channel in wanted:
            if channel.needs_login and not self.login.is_possible:
                raise ConfigError(f"{channel}: needs a login; give credentials, for example Credentials.load()")
        if since_ns is not None:
            for channel in wanted:
                open_ns = open_at(channel, since_ns)
                if open_ns is not None and not self.pool.carries(channel):
                    self.pipeline.record(Awaited(self.pipeline.stamp(), channel, open_ns))
        waits = {channel: self.pool.want(channel) for channel in wanted}
        for connection in self.pool:
            connection.wake()
        if waits:
            await asyncio.wait(set(waits.values()))
        self.check()
        errors = {channel: error for channel, wait in waits.items() if (error := wait.result()) is not None}
        if errors:
            told = "; ".join(dict.fromkeys(str(error) for error in errors.values()))
            live = len(waits) - len(errors)
            raise SubscriptionError(
                f"{len(errors)} of {len(waits)} subscriptions refused, {live} live: {told}", refused=errors
            ) from next(iter(errors.values()))

    async def unsubscribe(self, channels: Iterable[Channel]) -> None:
        """End subscriptions; none of their events comes from now on."""
        self.check()
        for channel in dict.fromkeys(channels):
            self.pool.forget(channel)
            for connection in self.pool:
                if channel in connection.subscriptions:
                    self._leave(connection, channel)
        await asyncio.gather(*(connection.end("no subscriptions left") for connection in self.pool.take_empty()))
        if self.failure is not None:
            raise self.failure

    def _leave(self, connection: Connection, channel: Channel) -> None:
        subscription = connection.subscriptions.get(channel)
        if subscription is not None:
            subscription.settle(FeedError(f"{channel}: unsubscribed before it was live"))
        if connection.subscriptions.leave(channel):
            self.pipeline.record(Unsubscribed(self.pipeline.stamp(), connection.number, channel))
            connection.wake()

    async def wait_live(self, timeout_s: float | None) -> None:
        """Wait until every channel is acknowledged.

        Raises:
            FeedError: A connection has failed for good, or it took too long.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    self.check()
                    if self.pool.check_live():
                        return
                    await self._pulse.wait()
        except TimeoutError:
            raise FeedError(f"not live after {timeout_s:g} s: {self.pool.waiting() or 'no connection'}") from None

    # Connections ----------------------------------------------------------------------------------------------

    async def open_socket(self, path: WsPath, session: Session, where: str) -> Socket:
        """Connect to a path of the configured server."""
        return await self._open(self.config.ws_url(path), session, where)

    async def pace(self) -> None:
        """Wait until the limit of connects allows one more."""
        loop = asyncio.get_running_loop()
        while (wait_s := self._connects.take(loop.time())) > 0.0:
            await asyncio.sleep(wait_s)

    def request_id(self) -> str:
        """Return an id that no request had before."""
        return str(next(self._request_numbers))

    def connection_changed(self, connection: Connection) -> None:
        """Report a change of state."""
        old = connection.predecessor
        if old is not None and connection.is_up and old.state is ConnectionState.STALE:
            # Its frames may have been lost in the silence, so its end must count as a loss, not as a handover.
            old.abort(f"silent when connection {connection.number} was ready to take over")
        self._signal()
        if self._on_state is not None:
            try:
                self._on_state(connection.status())
            except Exception as error:  # noqa: BLE001  it would end the timer or task that saw the change
                self.crash(error)

    def connection_refused(self, connection: Connection, channel: Channel, error: FeedError, *, is_late: bool) -> None:
        """Keep the error that ended a subscription."""
        self.pool.refuse(channel, connection, error)
        self.connection_changed(connection)
        if is_late:
            self._refused(channel, error)

    def connection_failed(self, connection: Connection, error: OkxError, *, is_late: bool) -> None:
        """Keep the error that ended a connection and its subscriptions."""
        self.pool.fail(connection, error)
        if is_late:
            self._trouble(error)

    def connection_closed(self, connection: Connection) -> None:
        """Forget a connection that is not made again."""
        self.pool.remove(connection)

    def replace(self, connection: Connection) -> None:
        """Replace a connection before the server closes it."""
        if not self.pipeline.is_over:
            self._handovers.start(connection)

    def _signal(self) -> None:
        """Wake every task that waits for a change."""
        self._pulse.set()
        self._pulse = asyncio.Event()

    async def wait_change(self, timeout_s: float) -> None:
        """Wait until the state of a connection changes, at most so long."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._pulse.wait()
        except TimeoutError:
            return

    # Failure and end ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check that the client is usable.

        Raises:
            FeedError: It has failed, or is closed.
        """
        if self.failure is not None:
            raise self.failure
        if self.pipeline.is_over:
            raise FeedClosedError("the OKX client is closed; make a new one")

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a task; an error of it stops the client."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.crash(error)

    def crash(self, error: BaseException) -> None:
        """Stop everything: the tape, the consumer or our own code has failed."""
        if self.failure is not None or self.pipeline.is_over:
            return
        self.failure = FeedError(f"the OKX client has stopped: {type(error).__name__}: {self.login.clean(str(error))}")
        self.failure.__cause__ = error
        _log.error("%s", self.failure)
        self.pipeline.is_over = True
        self._settle(self.failure)
        for connection in self.pool:
            connection.fail(self.failure)
        self._trouble(self.failure)

    def _settle(self, error: FeedError) -> None:
        self.pool.settle(error)
        self._signal()

    async def close(self) -> None:
        """End every connection in good order and deliver the gaps of open outages.

        Raises:
            FeedError: The end could not be put on the tape or delivered; everything is closed all the same.
        """
        had_failed = self.failure is not None
        self.pipeline.close()
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(connection.end("closed", is_noted=False) for connection in self.pool))
        await self._fetches.close()
        self._settle(FeedClosedError("the OKX client was closed"))
        if self.failure is not None and not had_failed:
            raise self.failure
