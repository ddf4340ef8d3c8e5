"""A setting for simulations: model exchange, real client, consumer and tape, and the question whether all is well."""

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, Protocol

import numpy as np
from simulation.sim_okx import URL, SimOkx, SimRest, SimSession
from simulation.virtual import VirtualLoop, settle, until, virtual_loop
from simulation.witness import TapeList, Witness

from quantkit.errors import FeedError
from quantkit.events import Gap
from quantkit.feeds.okx.codec.channels import Channel, book, candles, mark_price, tickers, trades
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.feeds.okx.ws.client import OkxClient

NAMES: Final = ("BTC-USDT", "ETH-USDT", "SOL-USDT", "BTC-USDT-SWAP")
CHANNELS: Final = (
    *(make(name) for name in NAMES for make in (book, trades, tickers)),
    mark_price("BTC-USDT-SWAP"),
    candles("BTC-USDT", "1m"),
    candles("ETH-USDT", "1m"),
)
CONFIG: Final = OkxConfig(url=URL, trust_env=False, queue_events=400, depth_channels_per_connection=2)
_KINDS: Final = {"books": "book", "trades": "trade", "tickers": "ticker", "mark-price": "mark", "candle1m": "candle 1m"}


class Watcher(Protocol):
    """What a consumer shows its events to."""

    def see(self, events: Iterable[Any]) -> None:
        """Look at events, in the order of their delivery."""
        ...


class Consumer:
    """Reads the client's events as a strategy would, and can stop reading for a while.

    Args:
        watcher: Checks what is read.

    Attributes:
        events: Everything that was read.
        troubles: Errors that the iteration raised; it goes on after them.
        pause_until_s: Nothing is read before; seconds of the loop's clock.
    """

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.events: list[Any] = []
        self.troubles: list[FeedError] = []
        self.pause_until_s = 0.0
        self._go_on = asyncio.Event()

    async def read(self, client: OkxClient) -> None:
        """Read until the client is closed."""
        while True:
            try:
                event = await anext(client)
            except StopAsyncIteration:
                return
            except FeedError as error:
                self.troubles.append(error)
                continue
            self.events.append(event)
            self._watcher.see((event,))
            while (wait_s := self.pause_until_s - asyncio.get_running_loop().time()) > 0:
                self._go_on.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if math.isinf(wait_s) else wait_s):
                        await self._go_on.wait()

    def resume(self) -> None:
        """Read on."""
        self.pause_until_s = 0.0
        self._go_on.set()


class Setting:
    """Everything of one run but the faults.

    Args:
        seed: Everything follows from it.
        channels: What is subscribed.
        config: The client's.
        pace_s: Mean time between two moments at which a market moves.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        channels: Sequence[Channel] = CHANNELS,
        config: OkxConfig = CONFIG,
        pace_s: float = 1.0,
    ) -> None:
        self.loop: VirtualLoop = virtual_loop()
        self.network = self.loop.network
        self.channels = tuple(channels)
        self.names = tuple(dict.fromkeys(channel.inst_id for channel in channels))
        self.exchange = SimOkx(self.names, pace_s=pace_s, seed=seed)
        self.witness = Witness(self.exchange.markets)
        self.consumer = Consumer(self.witness)
        self.tape = TapeList()
        self._stamp_ns = 0
        rest = OkxRest(
            config, transport=SimRest(self.exchange), now_ns=self.loop.wall_ns, rng=np.random.default_rng([seed, 3])
        )
        self.client = OkxClient(
            config, rest=rest, tape=self.tape, stamp=self._stamp, rng=np.random.default_rng([seed, 4])
        )
        self._rest = rest

    def _stamp(self) -> int:
        """Return the virtual wall clock, strictly rising."""
        self._stamp_ns = max(self.loop.wall_ns(), self._stamp_ns + 1)
        return self._stamp_ns

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Start the exchange, the client and its consumer; end them all afterwards."""
        async with self.exchange, self._rest:
            async with self.client:
                reading = asyncio.create_task(self.consumer.read(self.client))
                yield
            await settle(reading, within_s=60)

    @asynccontextmanager
    async def live(self) -> AsyncIterator[None]:
        """Start everything, subscribe, and begin when all is well."""
        async with self.open():
            await settle(self.client.subscribe(*self.channels), within_s=60)
            await self.recover(within_s=60)
            yield

    async def recover(self, *, within_s: float) -> float:
        """Wait until all is well and return how long that took, in seconds."""
        try:
            return await until(self.is_healthy, within_s=within_s)
        except AssertionError:
            raise AssertionError(f"not well after {within_s} s: {self.troubles()}") from None

    async def next_rows(self, *, within_s: float) -> None:
        """Wait until every stream has brought another row."""
        before = {channel: self.rows(channel) for channel in self.channels}
        await until(
            lambda: all(self.rows(each) > count for each, count in before.items()), within_s=within_s, what="next rows"
        )

    # What has come of it -----------------------------------------------------------------------------------------

    def rows(self, channel: Channel) -> int:
        """Return how many rows of a channel were delivered."""
        return self.witness.rows(_KINDS[channel.name], channel.inst_id)

    def troubles(self) -> list[str]:
        """Name what is not live, not valid, not up to date, or pushed other than once."""
        found = [
            f"connection {each.number} ({each.path}) is {each.state}: {each.error}"
            for each in self.client.connections
            if each.state.value != "live"
        ]
        for channel in self.channels:
            if channel.name == "books" and not self._is_current(channel.inst_id):
                found.append(f"the book of {channel.inst_id} is invalid or late")
            holders = len(self.holders(channel))
            if holders != 1:
                found.append(f"{channel} is pushed on {holders} connections")
        return found

    def is_healthy(self) -> bool:
        """Return whether all is well."""
        return not self.troubles()

    def holders(self, channel: Channel) -> list[SimSession]:
        """Return the connections that really bring a channel, leaving out those that only one side believes in."""
        alive = {link.server.protocol for link in self.network.live}
        return [
            session
            for session in self.exchange.holders(channel.name, channel.inst_id)
            if session.peer in alive and not session.is_silent
        ]

    def _is_current(self, name: str) -> bool:
        # What was published last may be under way still; what came some changes before has to be there.
        return self.witness.is_valid(name) and self.witness.seq(name) in self.exchange.markets[name].recent_seqs()

    def check(self) -> None:
        """Make sure that nothing wrong was delivered, the rules were kept, and the tape gives the same events again."""
        assert not self.witness.errors, "\n".join(self.witness.errors[:20])
        assert not self.exchange.violations
        assert most_within(self.network.dials, 1.0) <= 3
        for session in self.exchange.sessions:
            assert most_within(session.operations, 3600.0) <= 480
        stamps = [record.received_ns for record in self.tape.records()]
        assert all(earlier < later for earlier, later in itertools.pairwise(stamps))
        self.check_replay()

    def check_replay(self) -> None:
        """Make sure that a fresh tracker makes the same events of the tape, up to the gaps told at the end."""
        replayed = self.tape.replayed()
        assert self.consumer.events[: len(replayed)] == replayed
        assert all(type(event) is Gap for event in self.consumer.events[len(replayed) :])


def most_within(moments_s: Sequence[float], window_s: float) -> int:
    """Return how many moments, in rising order, a half-open window of that length holds at most."""
    most = first = 0
    for last, at_s in enumerate(moments_s):
        while moments_s[first] <= at_s - window_s:
            first += 1
        most = max(most, last - first + 1)
    return most
