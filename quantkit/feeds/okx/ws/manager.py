"""Which connections there are, which channels each carries, and how one takes over from another."""

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, Protocol, TypeAlias

import msgspec
import numpy as np

from quantkit.clock import NS_PER_S
from quantkit.errors import ConfigError, FeedClosedError, FeedError, QuantkitError, SubscriptionError
from quantkit.feeds.okx.codec.channels import Channel, Path
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.errors import OkxError, OkxServerError
from quantkit.feeds.okx.limits import SlidingLimit
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.feeds.okx.tracker.candles import open_at
from quantkit.feeds.okx.tracker.records import (
    Awaited,
    Closed,
    Command,
    FetchCandles,
    Listed,
    Overflow,
    Record,
    Resubscribe,
    Unsubscribed,
)
from quantkit.feeds.okx.tracker.tracker import ControlMessage, FeedMessage, Tracker
from quantkit.feeds.okx.ws.connection import Connection, ConnectionState, ConnectionStatus
from quantkit.feeds.okx.ws.fetches import Fetches
from quantkit.feeds.okx.ws.ports import Socket
from quantkit.feeds.okx.ws.session import Session
from quantkit.feeds.okx.ws.staleness import StalenessMonitor

_log: Final = logging.getLogger("quantkit.feeds.okx")

#: Handshakes are counted where they arrive, so the second is taken longer by what the network may vary.
_CONNECT_WINDOW_S: Final = 1.5

#: A successor that is told to close itself within this time was no better than the one before.
_SETTLED_S: Final = 20.0
#: How long at most it is waited before such a one is replaced in turn. OKX closes a minute after it said so.
_LONGEST_HESITATION_S: Final = 20.0

_NEVER_NS: Final = 2**63 - 1

OpenSocket: TypeAlias = Callable[[str, Session, str], Awaitable[Socket]]


class TapeSink(Protocol):
    """Takes what was received, and what changed, before anything else sees it; an error of it stops the client."""

    def frame(self, connection: int, received_ns: int, data: bytes) -> None:
        """Keep one text frame as received."""
        ...

    def record(self, event: Record) -> None:
        """Keep one record."""
        ...


class ConnectionManager:
    """Runs the connections of one client on one event loop.

    Args:
        config: Hosts, timeouts and limits.
        open_socket: Connects to an address.
        credentials: For channels that need a login.
        rest: Used for back-fills and the server's time; made when first needed if None.
        tape: Gets everything first.
        stamp: Returns strictly rising UTC ns.
        deliver: Gets the events.
        backlog: Returns how many delivered events are not consumed yet.
        trouble: Gets errors that no caller waits for.
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
        trouble: Callable[[FeedError], None],
        on_state: Callable[[ConnectionStatus], None] | None,
        rng: np.random.Generator,
    ) -> None:
        self.config = config
        self.rng = rng
        self.stamp = stamp
        self.counters: Counter[str] = Counter()
        self.refused: dict[Channel, FeedError] = {}
        self.connections: dict[int, Connection] = {}
        self.failure: FeedError | None = None
        self.is_over = False
        #: From this moment on nothing is taken in any more.
        self.ends_ns = _NEVER_NS
        self.tracker = Tracker(command=self._command, control=self._control)
        self._open = open_socket
        self._credentials = credentials
        self._tape = tape
        self._deliver = deliver
        self._backlog = backlog
        self._trouble = trouble
        self._on_state = on_state
        self._is_overflowing = False
        self._connects = SlidingLimit(config.connects_per_s, _CONNECT_WINDOW_S)
        self._clock_offset_ns = 0
        self._connection_numbers = itertools.count(1)
        self._request_numbers = itertools.count(1)
        self._homes: dict[Channel, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._pulse = asyncio.Event()
        self._fetches = Fetches(config, rest, stamp=stamp, record=self.record, spawn=self.spawn, rng=rng)
        self._staleness = StalenessMonitor(self)
        self.spawn(self._staleness.run(), "OKX staleness monitor")

    # Data -----------------------------------------------------------------------------------------------------

    def frame(self, connection: int, received_ns: int, data: bytes) -> bool:
        """Put a frame on the tape and deliver its events; return whether it brought some."""
        if self.is_over or received_ns >= self.ends_ns:
            self.end()
            return False
        try:
            if self._tape is not None:
                self._tape.frame(connection, received_ns, data)
            delivered = self.tracker.frame(connection, received_ns, data)
            if delivered:
                self._hand(delivered)
                return True
            if self._is_overflowing:
                self.check_backlog()
        except Exception as error:  # noqa: BLE001  told to everybody; left to the socket, a full disk passes for a loss
            self.crash(error)
        return False

    def record(self, event: Record) -> None:
        """Put a record on the tape and tell the tracker."""
        if self.is_over or event.received_ns >= self.ends_ns:
            self.end()
            return
        self._record(event)

    def _record(self, record: Record) -> None:
        try:
            if self._tape is not None:
                self._tape.record(record)
            delivered = self.tracker.record(record)
            if delivered:
                self._hand(delivered)
        except Exception as error:  # noqa: BLE001  told to everybody; whoever noted it may be a timer or a caller
            self.crash(error)

    def _hand(self, delivered: list[FeedMessage]) -> None:
        self._deliver(delivered)
        if self._is_overflowing or self._backlog() >= self.config.queue_events:
            self.check_backlog()

    def listed(self, steps: Mapping[str, str]) -> None:
        """Hold the books of instruments against their price steps."""
        for instrument, step in steps.items():
            self.record(Listed(self.stamp(), instrument, step))

    def check_backlog(self) -> None:
        """Stop delivering when too much waits for the consumer, and begin again when half of that is gone."""
        if self.is_over:
            return
        waiting = self._backlog()
        if self._is_overflowing:
            if waiting <= self.config.queue_events // 2:
                self._is_overflowing = False
                _log.warning("the consumer has caught up; events are delivered again")
                self.record(Overflow(self.stamp(), False))
        elif waiting >= self.config.queue_events:
            self._is_overflowing = True
            self.counters["times the queue was full"] += 1
            _log.error("%d events wait for the consumer: what comes now is lost, and told as gaps", waiting)
            self.record(Overflow(self.stamp(), True))

    @property
    def is_overflowing(self) -> bool:
        """Whether events are dropped because the consumer is too slow."""
        return self._is_overflowing

    def _command(self, command: Command) -> None:
        if self.is_over:
            return
        if isinstance(command, Resubscribe):
            connection = self.connections.get(command.connection)
            if connection is not None:
                connection.resync(command.channel)
        else:
            self._fetches.start(command)

    def fetch_late(self, command: FetchCandles) -> None:
        """Fetch bars that should have come by now, unless a look-up of theirs runs."""
        if not self._fetches.is_running(command.channel):
            self._fetches.start(command)

    def _control(self, number: int, message: ControlMessage) -> None:
        connection = self.connections.get(number)
        if connection is not None:
            connection.control(message)

    # Channels -------------------------------------------------------------------------------------------------

    async def subscribe(self, channels: Iterable[Channel], since_ns: int | None = None) -> None:
        """Subscribe channels and wait until each is acknowledged or refused.

        Args:
            channels: Which.
            since_ns: Every candle that closes after this moment is brought; None: from the first push on.

        Raises:
            ConfigError: A channel needs a login and there are no credentials.
            SubscriptionError: Some were refused; the others are live.
            FeedError: The client is closed or has failed.
        """
        wanted = list(dict.fromkeys(channels))
        self.check()
        for channel in wanted:
            if channel.needs_login and self._credentials is None:
                raise ConfigError(f"{channel}: needs a login; give credentials, for example Credentials.load()")
        if since_ns is not None:
            for channel in wanted:
                open_ns = open_at(channel, since_ns)
                if open_ns is not None and channel not in self._homes:
                    self.record(Awaited(self.stamp(), channel, open_ns))
        waits = {channel: self._want(channel) for channel in wanted}
        for connection in list(self.connections.values()):
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

    def _want(self, channel: Channel) -> "asyncio.Future[FeedError | None]":
        home = self._homes.get(channel)
        if (
            home is not None
            and (subscription := home.subscriptions.get(channel)) is not None
            and channel in home.subscriptions
        ):
            return subscription.settled
        self.refused.pop(channel, None)
        connection = self._connection_for(channel)
        self._homes[channel] = connection
        return connection.subscriptions.want(channel, asyncio.get_running_loop().create_future()).settled

    def _connection_for(self, channel: Channel) -> Connection:
        for connection in self.connections.values():
            if (
                connection.path != channel.path
                or connection.needs_login != channel.needs_login
                or not connection.takes_channels
            ):
                continue
            has_room = len(connection.subscriptions) < self.config.channels_per_connection
            if channel.is_depth:
                has_room = has_room and connection.subscriptions.depth < self.config.depth_channels_per_connection
            if has_room:
                return connection
        return self._new_connection(channel.path, needs_login=channel.needs_login)

    def _new_connection(self, path: Path, *, needs_login: bool) -> Connection:
        for failed in [connection for connection in self.connections.values() if connection.is_failed]:
            if failed.path == path and failed.needs_login == needs_login:
                del self.connections[failed.number]
        connection = Connection(self, next(self._connection_numbers), path, needs_login=needs_login)
        self.connections[connection.number] = connection
        connection.start()
        return connection

    async def unsubscribe(self, channels: Iterable[Channel]) -> None:
        """Give channels up; none of their events comes from now on."""
        self.check()
        for channel in dict.fromkeys(channels):
            self._homes.pop(channel, None)
            self.refused.pop(channel, None)
            for connection in list(self.connections.values()):
                if channel not in connection.subscriptions:
                    continue
                self._leave(connection, channel)
        empty = [
            connection
            for connection in self.connections.values()
            if connection.takes_channels and not connection.subscriptions
        ]
        for connection in empty:
            self.connections.pop(connection.number)
        await asyncio.gather(*(connection.end("no subscriptions left") for connection in empty))
        if self.failure is not None:
            raise self.failure

    def _leave(self, connection: Connection, channel: Channel) -> None:
        subscription = connection.subscriptions.get(channel)
        if subscription is not None:
            subscription.settle(FeedError(f"{channel}: unsubscribed before it was live"))
        if connection.subscriptions.leave(channel):
            self.record(Unsubscribed(self.stamp(), connection.number, channel))
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
                    failed = next(
                        (connection for connection in self.connections.values() if connection.is_failed), None
                    )
                    if failed is not None and failed.error is not None:
                        raise failed.error
                    if all(connection.is_live for connection in self.connections.values()):
                        return
                    await self._pulse.wait()
        except TimeoutError:
            waiting = [connection for connection in self.connections.values() if not connection.is_live]
            told = "; ".join(
                f"{connection.where} is {connection.state}{f' ({connection.error})' if connection.error else ''}"
                for connection in waiting
            )
            raise FeedError(f"not live after {timeout_s:g} s: {told or 'no connection'}") from None

    # Lines ----------------------------------------------------------------------------------------------------

    async def open_socket(self, path: Path, session: Session, where: str) -> Socket:
        """Connect to a path of the configured server."""
        return await self._open(self.config.ws_url(path), session, where)

    async def pace(self) -> None:
        """Wait for a place among the connects of a second."""
        loop = asyncio.get_running_loop()
        while (wait_s := self._connects.take(loop.time())) > 0.0:
            await asyncio.sleep(wait_s)

    def request_id(self) -> str:
        """Return an id that no request had before."""
        return str(next(self._request_numbers))

    def login_request(self) -> bytes:
        """Return a login, signed now."""
        assert self._credentials is not None
        timestamp_s = (self.stamp() + self._clock_offset_ns) // NS_PER_S
        return msgspec.json.encode({"op": "login", "args": [self._credentials.sign_login(timestamp_s)]})

    async def measure_clock(self) -> int:
        """Ask OKX for its time, use it for later logins, and return how far it is ahead, in ns."""
        try:
            rest = await self._fetches.rest()
            self._clock_offset_ns = await rest.clock_offset_ns()
        except OkxError:
            raise
        except QuantkitError as error:
            raise OkxServerError(f"OKX's time cannot be had: {error}", is_retryable=True) from error
        return self._clock_offset_ns

    def clean(self, text: str) -> str:
        """Return a foreign text without the credentials it may quote."""
        return text if self._credentials is None else self._credentials.clean(text)

    def connection_changed(self, connection: Connection) -> None:
        """Tell of a change of state."""
        old = connection.predecessor
        if old is not None and connection.is_up and old.state is ConnectionState.STALE:
            # What it did not bring in its silence may be lost, so its end must not pass for a handover.
            old.abort(f"silent when connection {connection.number} was ready to take over")
        self._pulse.set()
        self._pulse = asyncio.Event()
        if self._on_state is not None:
            try:
                self._on_state(connection.status())
            except Exception as error:  # noqa: BLE001  it would end the timer or task that saw the change
                self.crash(error)

    def connection_refused(self, connection: Connection, channel: Channel, error: FeedError, *, is_late: bool) -> None:
        """Remember that a subscription is dead."""
        if self._homes.get(channel) is connection:
            del self._homes[channel]
        self.refused[channel] = error
        self.connection_changed(connection)
        if is_late:
            self._trouble(error)

    def connection_failed(self, connection: Connection, error: OkxError, *, is_late: bool) -> None:
        """Remember that a connection is dead, and all that it carried."""
        for channel in [channel for channel, home in self._homes.items() if home is connection]:
            del self._homes[channel]
            self.refused[channel] = error
        if is_late:
            self._trouble(error)

    def connection_closed(self, connection: Connection) -> None:
        """Forget a connection that is not made again."""
        self.connections.pop(connection.number, None)

    def replace(self, connection: Connection) -> None:
        """Make a successor for a connection that the server will close, before it does."""
        if not connection.is_retiring and connection.is_up and not self.is_over:
            self.spawn(self._hand_over(connection, connection.attempts), f"{connection.where}: handover")

    async def _hand_over(self, old: Connection, attempt: int) -> None:
        predecessor = old.predecessor
        if predecessor is not None:
            # One at a time: a successor that is told to close itself is replaced once it stands alone.
            await predecessor.ended.wait()
        is_young = asyncio.get_running_loop().time() - old.made_s < _SETTLED_S
        handovers = old.handovers if is_young else 0
        if handovers:
            # Where every server is being upgraded the next one will close as well; there is a minute to take over.
            await asyncio.sleep(min(self.config.retry.bound_s(handovers), _LONGEST_HESITATION_S))
        if old.is_retiring or not old.is_up or old.attempts != attempt:
            return  # it has been made again meanwhile
        old.is_retiring = True
        new = self._new_connection(old.path, needs_login=old.needs_login)
        new.predecessor = old
        new.handovers = handovers + 1
        _log.info("%s will be closed by OKX; connection %d takes over", old.where, new.number)
        for subscription in old.subscriptions:
            if subscription.channel in old.subscriptions:
                new.subscriptions.want(subscription.channel, subscription.settled)
                self._homes[subscription.channel] = new
        await self._until(lambda: old.ended.is_set() or not old.subscriptions or new.is_failed or new.is_live)
        try:
            async with asyncio.timeout(self.config.successor_timeout_s):
                await self._until(
                    lambda: (
                        old.ended.is_set() or not old.subscriptions or new.is_failed or self._carries_all_of(old, new)
                    )
                )
        except TimeoutError:
            _log.warning(
                "%s: not every channel has arrived in time; connection %d ends all the same", new.where, old.number
            )
        if not new.is_failed:
            await old.end(f"replaced by connection {new.number}")
        await old.ended.wait()
        new.predecessor = None
        self.connections.pop(old.number, None)

    def _carries_all_of(self, old: Connection, new: Connection) -> bool:
        """Return whether a successor has its books, and something of every channel that its predecessor brings."""
        heard_ns = self.tracker.heard_ns
        return new.is_live and all(
            heard_ns(new.number, subscription.channel)
            or not (subscription.channel.is_book or heard_ns(old.number, subscription.channel))
            for subscription in new.subscriptions
        )

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait for a fact about connections; data make no pulse, so it is looked at now and then as well."""
        while not is_so():
            try:
                async with asyncio.timeout(min(self.config.watch_every_s, 0.05)):
                    await self._pulse.wait()
            except TimeoutError:
                continue

    # Heartbeat -----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Make sure that the client is usable.

        Raises:
            FeedError: It has failed, or is closed.
        """
        if self.failure is not None:
            raise self.failure
        if self.is_over:
            raise FeedClosedError("the OKX client is closed; make a new one")

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run something beside; an error of it stops the client."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.crash(error)

    def crash(self, error: BaseException) -> None:
        """Stop everything: a tape, a consumer or our own code has failed, and going on would hide it."""
        if self.failure is not None or self.is_over:
            return
        self.failure = FeedError(f"the OKX client has stopped: {type(error).__name__}: {self.clean(str(error))}")
        self.failure.__cause__ = error
        _log.error("%s", self.failure)
        self.is_over = True
        self._settle(self.failure)
        for connection in list(self.connections.values()):
            connection.fail(self.failure)
        self._trouble(self.failure)

    def end(self) -> None:
        """Deliver the outages that are still open, stamped at `ends_ns`, and nothing after, if it is set."""
        if not self.is_over and self.ends_ns != _NEVER_NS:
            self._record(Closed(self.ends_ns))
            self.is_over = True

    def _settle(self, error: FeedError) -> None:
        for connection in self.connections.values():
            for subscription in connection.subscriptions:
                subscription.settle(error)
        self._pulse.set()
        self._pulse = asyncio.Event()

    async def close(self) -> None:
        """End every connection in good order; outages that are still open are delivered as gaps.

        Raises:
            FeedError: The end could not be put on the tape or delivered; all is closed nevertheless.
        """
        had_failed = self.failure is not None
        if not self.is_over:
            self.record(Closed(self.stamp()))
        self.is_over = True
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(
            *(connection.end("closed", is_noted=False) for connection in list(self.connections.values()))
        )
        await self._fetches.close()
        self._settle(FeedClosedError("the OKX client was closed"))
        if self.failure is not None and not had_failed:
            raise self.failure
