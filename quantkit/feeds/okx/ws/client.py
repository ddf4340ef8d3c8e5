"""The live client of OKX's WebSockets: subscribe channels, iterate over typed events.

Connections are made, kept alive, logged in and made again here. Every loss is reported as a `Gap`.
"""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import Final, Generic, Self, TypeVar

import numpy as np

from quantkit.clock import wall_ns
from quantkit.errors import FeedClosedError, FeedError
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.feeds.okx.tracker.tracker import FeedMessage
from quantkit.feeds.okx.ws.connection import ConnectionState, ConnectionStatus
from quantkit.feeds.okx.ws.manager import ConnectionManager
from quantkit.feeds.okx.ws.pipeline import TapeSink
from quantkit.feeds.okx.ws.ports import Consumer
from quantkit.feeds.okx.ws.sockets import SocketOpener

__all__ = ["ConnectionState", "ConnectionStatus", "OkxClient", "TapeSink"]

Item = TypeVar("Item")

#: Events after which a busy consumer gives the event loop a turn, so that the sockets are read.
_TURN: Final = 64


class EventQueue(Generic[Item]):
    """A queue between the sockets' callbacks and an `async for`: in order, with errors after the events before them.

    The tracker keeps it bounded: it delivers nothing while the queue is full.
    """

    def __init__(self) -> None:
        self._items: deque[Item] = deque()
        self._errors: deque[BaseException] = deque()
        self._last: BaseException | None = None
        self._is_closed = False
        self._turn = 0
        self._ready = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: list[Item]) -> None:
        """Add items."""
        self._items.extend(items)
        self._ready.set()

    def fail(self, error: BaseException, *, is_last: bool = False) -> None:
        """Raise an error in `take`, once, after the items before it; with `is_last` at every further call as well."""
        self._errors.append(error)
        if is_last:
            self._last = error
        self._ready.set()

    def close(self) -> None:
        """End the iteration when all items are taken."""
        self._is_closed = True
        self._ready.set()

    async def take(self) -> Item:
        """Return the next item.

        Raises:
            StopAsyncIteration: The queue is closed and empty.
        """
        self._turn += 1
        if self._turn >= _TURN:
            self._turn = 0
            await asyncio.sleep(0)
        while not self._items:
            if self._errors:
                raise self._errors.popleft()
            if self._is_closed:
                raise StopAsyncIteration
            if self._last is not None:
                raise self._last
            self._ready.clear()
            await self._ready.wait()
        return self._items.popleft()


class OkxClient:
    """Receives OKX's channels as typed events, through every outage, without a silent loss.

    Use it as an asynchronous context manager and iterate over it. Subscriptions outlive connections. A consumer that
    falls behind by more than `config.queue_events` loses events: books become invalid, and a `Gap` reports the loss.

    Subscribe one channel for each kind of rows of an instrument. An event does not name its channel, so `trades` with
    `trades-all`, `tickers` with `bbo-tbt`, or two book channels would come mixed.

    Args:
        config: Where OKX is, and how patient to be.
        credentials: For private channels and VIP books.
        rest: A REST client in use, for back-fills; made when first needed if None.
        tape: Gets every frame and record before anything else sees it.
        stamp: Returns strictly rising UTC ns; the wall clock if None.
        consumer: Gets the events and errors as they come, instead of the iteration.
        on_state: Gets the status of a connection whenever it changes.
        rng: For the jitter of back-offs.

    Raises:
        ConfigError: Credentials for a host that must not have them, or, when entered, a `ca_file` that cannot be read.

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
        consumer: Consumer | None = None,
        on_state: Callable[[ConnectionStatus], None] | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.config = config or OkxConfig()
        if credentials is not None:
            self.config.check_keys_allowed()
        self._credentials = credentials
        self._rest = rest
        self._tape = tape
        self._stamp = stamp or _rising(wall_ns)
        self._consumer = consumer
        self._on_state = on_state
        self._rng = np.random.default_rng() if rng is None else rng
        self._manager: ConnectionManager | None = None
        self._queue: EventQueue[FeedMessage] | None = None

    def __repr__(self) -> str:
        return f"OkxClient({self.config.ws_url('public')}, connections={len(self.connections)})"

    async def __aenter__(self) -> Self:
        if self._manager is not None:
            raise FeedClosedError("an OkxClient is entered once; make a new one")
        queue: EventQueue[FeedMessage] = EventQueue()
        self._queue, consumer = queue, self._consumer
        self._manager = ConnectionManager(
            self.config,
            SocketOpener(self.config, None if consumer is None else consumer.reading),
            credentials=self._credentials,
            rest=self._rest,
            tape=self._tape,
            stamp=self._stamp,
            deliver=queue.put if consumer is None else consumer.deliver,
            backlog=queue.__len__ if consumer is None else consumer.waiting,
            refused=self._tell_refused,
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

        While OKX cannot be reached the call waits as long as the retry policy allows.

        Args:
            channels: Channels that are subscribed already stay subscribed.
            since_ns: Deliver every candle that closes after this moment, UTC ns, also candles that close before the
                subscription is acknowledged; by default from the first candle pushed.

        Raises:
            ConfigError: A channel needs a login and there are no credentials.
            SubscriptionError: Some were refused, each named with its reason in `refused`; the others are live.
            FeedError: The client is closed, or has failed.
        """
        await self._entered.subscribe(channels, since_ns)

    def listed(self, steps: Mapping[str, str]) -> None:
        """Check book prices against price steps; a price off its step makes a book invalid until metadata are reloaded.

        Args:
            steps: Plain text by id, as OKX writes them.
        """
        self._entered.pipeline.listed(steps)

    async def unsubscribe(self, *channels: Channel) -> None:
        """End subscriptions; events that wait already are still delivered, and no later ones.

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
            FeedError: A subscription or connection has ended for good; iterate again for the others. If the whole
                client has stopped, iterating again raises the same error.
        """
        pipeline, queue = self._entered.pipeline, self._queue
        assert queue is not None
        if self._consumer is not None:
            raise FeedError("this client hands its events to its consumer; it cannot be iterated")
        event = await queue.take()
        if pipeline.is_overflowing:
            pipeline.check_backlog()
        return event

    @property
    def connections(self) -> tuple[ConnectionStatus, ...]:
        """The connections and their states."""
        return () if self._manager is None else tuple(connection.status() for connection in self._manager.pool)

    @property
    def refused(self) -> Mapping[Channel, FeedError]:
        """The subscriptions that OKX refused or ended, and why."""
        return {} if self._manager is None else dict(self._manager.pool.refused)

    @property
    def counters(self) -> Counter[str]:
        """The number of received messages that were not delivered, by name."""
        return (
            Counter()
            if self._manager is None
            else self._manager.pipeline.tracker.counters + self._manager.pipeline.counters
        )

    def ends_at(self, end_ns: int) -> None:
        """Set the end of the run, later than every event so far: frames received then or later are dropped."""
        self._entered.pipeline.ends_ns = end_ns

    def end(self) -> None:
        """Deliver the gaps of open outages, stamped with the moment of `ends_at`, and nothing after them."""
        self._entered.pipeline.end()

    @property
    def has_ended(self) -> bool:
        """Whether the client delivers no more events."""
        return self._manager is not None and self._manager.pipeline.is_over

    async def close(self) -> None:
        """Close every connection in good order; the iteration ends after the events that wait.

        Raises:
            FeedError: The end could not be put on the tape or delivered; everything is closed all the same.
        """
        manager, queue = self._manager, self._queue
        if manager is not None and queue is not None:
            try:
                await manager.close()
            finally:
                queue.close()

    def _tell_refused(self, channel: Channel, error: FeedError) -> None:
        """Pass on the end of a subscription that no call waits for."""
        if self._consumer is not None:
            self._consumer.refused(channel, error)
        else:
            self._tell(error)

    def _tell(self, error: FeedError) -> None:
        """Pass on an error that no call waits for."""
        if self._consumer is not None:
            self._consumer.fail(error)
        elif self._queue is not None:
            self._queue.fail(error, is_last=self._manager is not None and error is self._manager.failure)

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
