"""A market from a seed: instruments whose books, trades, candles and rates belong together."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from quantkit.errors import ConfigError
from quantkit.sandbox import wire
from quantkit.sandbox.channels import BOOKS, Topic, bar_of
from quantkit.sandbox.listing import ListedInstrument, default_listings, tiers
from quantkit.sandbox.market import JsonRow
from quantkit.sandbox.past_books import past_book
from quantkit.sandbox.paths import PricePath
from quantkit.sandbox.ports import Publisher
from quantkit.sandbox.simulator import ORDER, InstrumentSimulator
from quantkit.sandbox.wire import TopicPush

#: An instrument that nobody listens to is brought up to date so often.
_ASIDE_MS: Final = 1_000
_SWAP_ONLY: Final = ("funding-rate", "open-interest")


class GeneratedMarket:
    """A believable market: orders arrive at random around a price path, and everything else follows from them.

    The same seed gives the same prices at the same times, before and after the start, whatever was asked meanwhile.

    Args:
        seed: Decides everything that is random.
        instruments: How many, or which.
        orders_per_s: Orders and cancellations of each instrument each second; 0 for books at rest.
        tick_ms: How often what is due is pushed.
        trades_kept: How many trades are remembered, of all instruments together; 500 of each at least.
    """

    def __init__(
        self,
        seed: int = 1,
        instruments: int | Sequence[ListedInstrument] = 6,
        *,
        orders_per_s: float = 30.0,
        tick_ms: int = 10,
        trades_kept: int = 300_000,
    ) -> None:
        if isinstance(instruments, int) and instruments < 1:
            raise ConfigError(f"a market of {instruments} instruments is none; ask for one or more")
        if not 0 <= orders_per_s <= 100_000:
            raise ConfigError(f"{orders_per_s} orders a second cannot be generated; use 0 to 100000")
        if tick_ms < 1:
            raise ConfigError(f"a tick of {tick_ms} ms is too short; use 1 or more")
        self.open_channels: frozenset[str] = frozenset()
        self.seed = seed
        self.listings = default_listings(instruments) if isinstance(instruments, int) else list(instruments)
        self.simulators: dict[str, InstrumentSimulator] = {}
        self._orders_per_s = orders_per_s
        self._tick_ms = tick_ms
        self._trades_kept = trades_kept
        self._exchange: Publisher | None = None
        self._by_id = {each.id: each for each in self.listings}
        #: An index is priced by the first instrument that is built on it.
        self._indexes: dict[str, str] = {}
        for each in self.listings:
            self._indexes.setdefault(each.index, each.id)
        self._held: dict[str, list[str]] = {}
        self._held_version = -1
        self._aside_ms = 0

    # Running --------------------------------------------------------------------------------------------------

    async def run(self, exchange: Publisher) -> None:
        """Push what is due until cancelled."""
        self._open(exchange)
        loop = asyncio.get_running_loop()
        next_s = loop.time()
        while True:
            self.tick(exchange.now_ms())
            next_s = max(next_s + self._tick_ms / 1000, loop.time() - 1.0)
            await asyncio.sleep(max(0.0, next_s - loop.time()))

    def _open(self, exchange: Publisher) -> None:
        self._exchange = exchange
        now_ms = exchange.now_ms()
        for listing in self.listings:
            self.simulators[listing.id] = InstrumentSimulator(
                listing,
                seed=self.seed,
                orders_per_s=self._orders_per_s,
                start_ms=now_ms,
                keep_alive_s=exchange.rules.keep_alive_s,
                kept=max(self._trades_kept // len(self.listings), 500),
            )

    def tick(self, now_ms: int) -> None:
        """Let the market live until now and push what is due."""
        exchange = self._exchange
        assert exchange is not None, "the market has not been opened"
        if self._held_version != exchange.version:
            self._held_version = exchange.version
            self._held = self._channels_held(list(exchange.topics))
        for name, channels in self._held.items():
            self.simulators[name].tick(now_ms, channels, self._publish)
        if now_ms >= self._aside_ms:
            self._aside_ms = now_ms + _ASIDE_MS
            for name, simulator in self.simulators.items():
                if name not in self._held:
                    simulator.advance(now_ms)

    def _publish(self, topic: Topic, push: TopicPush) -> None:
        assert self._exchange is not None
        channel, key = topic
        if channel.startswith("index-"):
            key = self._by_id[key].index
        elif channel == "liquidation-orders":
            key = self._by_id[key].kind
        self._exchange.publish(Topic(channel, key), push)

    def _channels_held(self, topics: list[Topic]) -> dict[str, list[str]]:
        """Return the channels that somebody holds, by instrument, in the order in which they are pushed."""
        held: dict[str, list[str]] = {}
        for topic in sorted(topics):
            for simulator in self._simulators_of(topic):
                held.setdefault(simulator.id, []).append(topic.channel)
        for channels in held.values():
            channels.sort(key=lambda channel: (ORDER.index(channel) if channel in ORDER else len(ORDER), channel))
        return held

    def _simulators_of(self, topic: Topic) -> list[InstrumentSimulator]:
        """Return the instruments that push to a topic: every swap tells of liquidations."""
        if topic.channel == "liquidation-orders":
            return [simulator for simulator in self.simulators.values() if simulator.listing.kind == topic.key]
        simulator = self._simulator_of(topic)
        return [] if simulator is None else [simulator]

    def _simulator_of(self, topic: Topic) -> InstrumentSimulator | None:
        if topic.channel.startswith("index-"):
            return self.simulators.get(self._indexes.get(topic.key, ""))
        return self.simulators.get(topic.key)

    # What the exchange asks -----------------------------------------------------------------------------------

    def time_ms(self, now_ms: int) -> int:
        """Return the exchange's own time: rows are made when they are sent."""
        return now_ms

    def has(self, topic: Topic) -> bool:
        """Return whether a topic exists."""
        channel, key = topic
        if channel in ("status", "instruments", "liquidation-orders"):
            return True
        if channel.startswith("index-"):
            return key in self._indexes
        listing = self._by_id.get(key)
        if listing is None or (channel in _SWAP_ONLY and listing.kind != "SWAP"):
            return False
        known = (*BOOKS, "tickers", "trades", "trades-all", "mark-price", "price-limit", *_SWAP_ONLY)
        return channel in known or bool(bar_of(channel))

    def first(self, topic: Topic, now_ms: int) -> list[TopicPush]:
        """Return what a new subscriber gets at once."""
        if topic.channel in ("instruments", "liquidation-orders"):
            return []
        if topic.channel == "status":
            return [TopicPush(wire.rows(self.status()[0]))]
        simulator = self._simulator_of(topic)
        assert simulator is not None, "the exchange asks for topics that exist"
        return simulator.first(topic.channel, now_ms, is_held=self._is_held(topic))

    def _is_held(self, topic: Topic) -> bool:
        return self._exchange is not None and topic in self._exchange.topics

    def resetter(self, instrument: str) -> Callable[[], None]:
        """Return what lets sequence numbers start again from a low one."""
        if instrument and instrument not in self._by_id:
            raise ConfigError(f"the sandbox has no instrument {instrument!r}")

        def reset() -> None:
            for simulator in self.simulators.values():
                if instrument in ("", simulator.id):
                    # Half of the present number is lower than it, and above zero.
                    simulator.flow.seq_id //= 2

        return reset

    # REST -----------------------------------------------------------------------------------------------------

    def instruments(self) -> list[JsonRow]:
        """Return the rows of `public/instruments`; once the market is open, listed when their history begins.

        A future that has been settled is not listed any more.
        """
        now_ms = 0 if self._exchange is None else self._exchange.now_ms()
        found = []
        for each in self.listings:
            if each.expires_ms is None or now_ms < each.expires_ms:
                simulator = self.simulators.get(each.id)
                found.append(each.row() if simulator is None else each.row(simulator.history.oldest_ms))
        return found

    def ticker(self, instrument: str, now_ms: int) -> JsonRow | None:
        """Return the row of `market/ticker`."""
        simulator = self._ready(instrument, now_ms)
        return None if simulator is None else simulator.ticker(now_ms)

    def book(self, instrument: str, depth: int, now_ms: int) -> JsonRow | None:
        """Return the row of `market/books`."""
        simulator = self._advanced(instrument, now_ms)
        is_held = self._is_held(Topic("books", instrument))
        return None if simulator is None else simulator.book(depth, now_ms, is_held=is_held)

    def full_book(self, instrument: str, depth: int, now_ms: int) -> JsonRow | None:
        """Return a book of any depth; behind the 400 levels that channels show there are some more."""
        simulator = self._advanced(instrument, now_ms)
        return None if simulator is None else simulator.full_book(depth, now_ms)

    def trades(self, instrument: str, now_ms: int) -> list[JsonRow]:
        """Return the newest 500 matches, newest first."""
        simulator = self.simulators[instrument]
        return [simulator.match_row(*each) for each in simulator.history.newest(500)]

    def older_trades(self, instrument: str, trade_id: int | None, at_ms: int | None, count: int) -> list[JsonRow]:
        """Return matches before an id or a time, newest first."""
        simulator = self.simulators[instrument]
        return [simulator.match_row(*each) for each in simulator.history.before(trade_id, at_ms, count)]

    def candles(self, topic: Topic, until_ms: int, count: int, now_ms: int) -> list[list[str]]:
        """Return rows of bars, newest first."""
        simulator = self._simulator_of(topic)
        assert simulator is not None, "the exchange asks for topics that exist"
        simulator.history.fill_to(now_ms)
        return simulator.candles(topic.channel, until_ms, count, now_ms)

    def fundings(self, instrument: str, now_ms: int) -> list[JsonRow]:
        """Return settled funding rates, newest first."""
        return self.simulators[instrument].funding.settled(now_ms)

    def row(self, channel: str, key: str, now_ms: int) -> JsonRow | None:
        """Return what a channel of single rows would push now."""
        if not self.has(Topic(channel, key)):
            return None
        simulator = self._simulator_of(Topic(channel, key))
        if simulator is None:
            return None
        simulator.history.fill_to(now_ms)
        return simulator.row(channel, now_ms)

    def past_book(self, instrument: str, begin_ms: int, end_ms: int) -> Iterator[JsonRow]:
        """Yield a book's snapshots and updates of a span before the start."""
        listing = self._by_id[instrument]
        path = PricePath(self.seed, listing.asset, price=listing.price)
        return past_book(listing, path, self.seed, begin_ms, end_ms)

    def tiers(self, row: JsonRow) -> list[JsonRow]:
        """Return the tiers of an instrument."""
        return tiers(self._by_id[row["instId"]])

    def _advanced(self, instrument: str, now_ms: int) -> InstrumentSimulator | None:
        """Return an instrument whose orders came until now; where somebody follows it, until its last tick.

        What trades before the next tick is pushed there, and would otherwise be lost.
        """
        simulator = self.simulators.get(instrument)
        topics = () if self._exchange is None else self._exchange.topics
        if simulator is not None and not any(simulator in self._simulators_of(topic) for topic in topics):
            simulator.advance(now_ms)
        return simulator

    def _ready(self, instrument: str, now_ms: int) -> InstrumentSimulator | None:
        simulator = self.simulators.get(instrument)
        if simulator is not None:
            simulator.history.fill_to(now_ms)
        return simulator

    def status(self) -> list[JsonRow]:
        """Return one completed maintenance."""
        row: dict[str, Any] = {
            "title": "Sandbox system upgrade",
            "state": "completed",
            "begin": "1767222000000",
            "end": "1767225600000",
            "href": "",
            "serviceType": "0",
            "system": "unified",
            "scheDesc": "",
            "maintType": "1",
            "env": "1",
            "ts": "1767225600000",
        }
        return [row]
