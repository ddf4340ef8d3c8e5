"""The toy exchange as a live source: all that a new exchange needs beside its one line in the list."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import ClassVar, Self

from quantkit.clock import NS_PER_S, wall_ns
from quantkit.errors import ConfigError, FeedError
from quantkit.events import Candle, MarketEvent, Row, Ticker, Trade
from quantkit.feeds.live_source import ClockReading, ConnectionLine, LiveSink
from quantkit.feeds.relisting import Listings
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Stream

#: The server's word for each kind of row.
TOPICS = {"trade": "trade", "ticker": "ticker", "candle": "bar"}


def candle_of(words: Sequence[str], name: str, received_ns: int) -> Candle:
    """Return the bar of one second that a line tells of."""
    close_ns, opened, high, low, closed, volume = int(words[0]), *map(float, words[1:])
    return Candle(name, close_ns, received_ns, close_ns - NS_PER_S, close_ns, opened, high, low, closed, volume, "1s")


def rows_of(line: str, name: str, received_ns: int, listings: Listings) -> list[Row]:
    """Return the rows of a line that was pushed; the law for the live client and for tapes."""
    if listings.refusal is not None:
        return []
    kind, *words = line.split()
    event: MarketEvent
    match kind:
        case "trade":
            event = Trade(name, int(words[0]), received_ns, float(words[1]), float(words[2]), Side(words[3]), words[4])
        case "ticker":
            event = Ticker(name, int(words[0]), received_ns, float(words[1]), 5.0, float(words[2]), 5.0)
        case "bar":
            event = candle_of(words, name, received_ns)
        case "instrument":
            change = listings.change(listed(words, received_ns), received_ns)
            return [] if change is None else [change]
        case _:
            return []
    return [event]


def listed(words: Sequence[str], valid_from_ns: int) -> Instrument:
    """Return the metadata that a line tells."""
    return Instrument(words[0], price_step=words[1], qty_step=words[2], valid_from_ns=valid_from_ns)


class StubSource:
    """The toy exchange on a port of this machine."""

    name: ClassVar[str] = "stub"
    title: ClassVar[str] = "Stub"

    def __init__(self, port: int = 0) -> None:
        self._port = port

    @classmethod
    def streams_of(cls, instrument: Instrument) -> Sequence[Stream]:
        return [Stream("ticker", instrument.id), Stream("trade", instrument.id), Stream("candle", instrument.id, "1s")]

    @classmethod
    def polled_of(cls, instrument: Instrument) -> Sequence[Stream]:
        return []

    @classmethod
    def decoder(cls, instruments: Mapping[str, Instrument]) -> "StubDecoder":
        return StubDecoder(instruments)

    @property
    def address(self) -> str:
        return f"the stub at port {self._port}"

    @property
    def queue_rows_max(self) -> int:
        return 1_000_000

    def client(self, sink: LiveSink, *, wall: Callable[[], int]) -> "StubClient":
        return StubClient(self._port, sink)


class StubClient:
    """One connection: answers go to whoever asked, pushed lines become rows."""

    def __init__(self, port: int, sink: LiveSink) -> None:
        self._port = port
        self._sink = sink
        self._name = ""
        self._listings = Listings({})
        self._answers: asyncio.Queue[str] = asyncio.Queue()
        self._frames = 0
        self._topics = 0
        self._end_ns = 2**62
        self._has_ended = False
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        try:
            reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        except OSError as error:
            raise FeedError(f"the stub cannot be reached: {error}") from error
        self._reading = asyncio.create_task(self._read(reader))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._writer is not None
        assert self._reading is not None
        self._has_ended = True
        self._writer.close()
        await self._reading

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := (await reader.readline()).decode().strip():
                self._frames += 1
                if line.split()[0] in TOPICS.values() or (self._topics and line.startswith("instrument")):
                    self._take(line)
                else:
                    self._answers.put_nowait(line)
        except OSError:
            pass
        if not self._has_ended:
            self._sink.fail(FeedError("the stub hung up"))

    def _take(self, line: str) -> None:
        if self._has_ended:
            return
        stamp_ns = self._sink.stamp()
        if stamp_ns >= self._end_ns:
            self._has_ended = True
            return
        self._sink.keep(f"{stamp_ns} {line}".encode())
        rows = rows_of(line, self._name, stamp_ns, self._listings)
        if rows:
            self._sink.deliver(rows)
        elif self._listings.refusal is not None:
            self._sink.fail(self._listings.refusal)

    async def _ask(self, question: str) -> list[list[str]]:
        """Return the lines that answer a question, in words."""
        assert self._writer is not None
        self._writer.write(f"{question}\n".encode())
        found: list[list[str]] = []
        while (line := await self._answers.get()) != "done":
            if line.startswith("error"):
                raise FeedError(line)
            found.append(line.split()[1:])
            if line.startswith("subscribed"):
                break
        return found

    async def instruments(self, valid_from_ns: int) -> Sequence[Instrument]:
        found = [listed(words, valid_from_ns) for words in await self._ask("instruments")]
        self._name = found[0].id
        self._listings = Listings({each.id: each for each in found})
        return found

    async def clock_offset(self) -> ClockReading:
        asked_ns = wall_ns()
        ((told_ns,),) = await self._ask("clock")
        spent_ns = wall_ns() - asked_ns
        return ClockReading(asked_ns + spent_ns // 2 - int(told_ns), spent_ns // 2 + 1)

    async def subscribe(self, streams: Collection[Stream], names: Collection[str], since_ns: int) -> None:
        for stream in streams:
            if stream.kind not in TOPICS:
                raise ConfigError(f"{stream}: the stub has no such rows")
        for topic in (*(TOPICS[stream.kind] for stream in streams), "list"):
            stamp_ns = self._sink.stamp()
            self._sink.keep(f"{stamp_ns} subscribed {topic}".encode())
            await self._ask(f"subscribe {topic}")
            self._topics += 1
        await self._ask("go")

    def poll(self, streams: Collection[Stream]) -> None:
        raise AssertionError("nothing here is polled")

    async def candles(self, stream: Stream, count: int, until_ns: int) -> Sequence[Candle]:
        return [candle_of(words, self._name, int(words[0])) for words in await self._ask(f"candles {count} {until_ns}")]

    def ends_at(self, end_ns: int) -> None:
        self._end_ns = end_ns

    def end(self) -> None:
        self._has_ended = True

    @property
    def has_ended(self) -> bool:
        return self._has_ended

    @property
    def connections(self) -> tuple[ConnectionLine, ...]:
        return (ConnectionLine("stub 1", "live", 0, self._topics, self._frames, 1),)

    @property
    def problems(self) -> Mapping[str, int]:
        return {}


class StubDecoder:
    """The rows of a tape of the toy exchange."""

    def __init__(self, instruments: Mapping[str, Instrument]) -> None:
        self._instruments = instruments
        (self._name,) = instruments
        self._listings = Listings(instruments)
        self._topics: set[str] = set()

    def follow(self, names: Iterable[str]) -> None:
        pass

    def rows(self, payload: bytes) -> Sequence[Row]:
        stamp, _, line = payload.decode().partition(" ")
        if line.startswith("subscribed"):
            self._topics.add(line.split()[1])
        return rows_of(line, self._name, int(stamp), self._listings)

    @property
    def streams(self) -> Sequence[Stream]:
        return [
            stream
            for instrument in self._instruments.values()
            for stream in StubSource.streams_of(instrument)
            if TOPICS[stream.kind] in self._topics
        ]
