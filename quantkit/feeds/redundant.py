"""Several connections of every channel, merged into one: a collector that loses less."""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import ClassVar, Final, Self

import msgspec

from quantkit.errors import QuantkitError
from quantkit.events import Candle, Row
from quantkit.feeds.live_source import ClockReading, ConnectionLine, DataClient, LiveSink, LiveSource, TapeDecoder
from quantkit.feeds.merging import RowMerger
from quantkit.feeds.recording import refusals_of
from quantkit.instruments import Instrument
from quantkit.rows.columns import Stream

#: Cause of a gap of one client whose channel the exchange has ended.
_REFUSED_ONCE: Final = "refused to a connection"


class RedundantSource:
    """A source whose client is several clients of another one; see `LiveSource`.

    Its rows are merged, so frames cannot be kept on a tape.

    Args:
        source: The exchange.
        times: How many connections carry each channel, 2 or more.
    """

    name: ClassVar[str] = "redundant"
    title: ClassVar[str] = "redundant"

    def __init__(self, source: LiveSource, times: int) -> None:
        self._source = source
        self._times = times

    @classmethod
    def streams_of(cls, instrument: Instrument) -> Sequence[Stream]:
        """Return nothing: the exchange itself knows."""
        return ()

    @classmethod
    def polled_of(cls, instrument: Instrument) -> Sequence[Stream]:
        """Return nothing: the exchange itself knows."""
        return ()

    @classmethod
    def decoder(cls, instruments: Mapping[str, Instrument]) -> TapeDecoder:
        """Refuse: there are no tapes of it."""
        raise NotImplementedError("merged rows have no frames")

    @property
    def address(self) -> str:
        """The server, for people."""
        return self._source.address

    @property
    def queue_rows_max(self) -> int:
        """How many rows may wait before a client leaves some out."""
        return self._source.queue_rows_max

    def client(self, sink: LiveSink, *, wall: Callable[[], int]) -> "RedundantClient":
        """Return a client that delivers merged rows to a sink."""
        return RedundantClient(self._source, self._times, sink, wall=wall)


class _ReceiverSink:
    """The sink of one of the clients."""

    is_recorded: bool = False

    def __init__(self, number: int, merger: RowMerger, sink: LiveSink, clients: "RedundantClient") -> None:
        self.stamp = sink.stamp
        self.reading = sink.reading
        self.waiting = sink.waiting
        self._number = number
        self._merger = merger
        self._sink = sink
        self._clients = clients

    def keep(self, payload: bytes) -> None:
        """Do nothing: frames are not kept."""

    def deliver(self, rows: Sequence[Row]) -> None:
        """Hand on what no other client has brought."""
        merged = self._merger.take(self._number, rows)
        if merged:
            self._sink.deliver(merged)

    def refused(self, streams: Collection[Stream], error: QuantkitError) -> bool:
        """Leave streams to the other clients; once every client has lost one, it ends."""
        gaps = refusals_of(streams, self.stamp())
        if gaps:
            self.deliver([msgspec.structs.replace(gap, cause=_REFUSED_ONCE) for gap in gaps])
        return self._clients.refused(self._number, streams, error)

    def fail(self, error: QuantkitError) -> None:
        """End the feed once every client has failed."""
        self._clients.failed(self._number, error)


class RedundantClient:
    """Several clients as one; see `DataClient`.

    Args:
        source: Gives the clients.
        times: How many.
        sink: Gets the merged rows.
        wall: The machine's UTC time in nanoseconds.
    """

    def __init__(self, source: LiveSource, times: int, sink: LiveSink, *, wall: Callable[[], int]) -> None:
        merger = RowMerger(times)
        self._sink = sink
        self._failed: set[int] = set()
        self._refused: defaultdict[Stream, set[int]] = defaultdict(set)
        self._clients: list[DataClient] = [
            source.client(_ReceiverSink(number, merger, sink, self), wall=wall) for number in range(times)
        ]
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            for client in self._clients:
                await exits.enter_async_context(client)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    def failed(self, number: int, error: QuantkitError) -> None:
        """Take the failure of a client; the others go on."""
        self._failed.add(number)
        if len(self._failed) == len(self._clients):
            self._sink.fail(error)

    def refused(self, number: int, streams: Collection[Stream], error: QuantkitError) -> bool:
        """Take the refusal of streams to a client; return whether the feed goes on."""
        for stream in streams:
            self._refused[stream].add(number)
        lost = [stream for stream in streams if len(self._refused[stream]) == len(self._clients)]
        return not lost or self._sink.refused(lost, error)

    async def instruments(self, valid_from_ns: int) -> Sequence[Instrument]:
        """Load the metadata, for every client."""
        loaded = [await client.instruments(valid_from_ns) for client in self._clients]
        return loaded[0]

    async def clock_offset(self) -> ClockReading:
        """Measure the exchange's clock."""
        return await self._clients[0].clock_offset()

    async def subscribe(self, streams: Collection[Stream], names: Collection[str], since_ns: int) -> None:
        """Subscribe every client to every stream."""
        for client in self._clients:
            await client.subscribe(streams, names, since_ns)

    def poll(self, streams: Collection[Stream]) -> None:
        """Ask with one client: an answer is no row that could be lost."""
        self._clients[0].poll(streams)

    async def candles(self, stream: Stream, count: int, until_ns: int) -> Sequence[Candle]:
        """Fetch candles."""
        return await self._clients[0].candles(stream, count, until_ns)

    def ends_at(self, end_ns: int) -> None:
        """Take in nothing that is received at `end_ns` or later."""
        for client in self._clients:
            client.ends_at(end_ns)

    def end(self) -> None:
        """Deliver the gaps of outages that last until the end."""
        for client in self._clients:
            client.end()

    @property
    def has_ended(self) -> bool:
        """Whether nothing is delivered any more."""
        return all(client.has_ended for client in self._clients)

    @property
    def connections(self) -> tuple[ConnectionLine, ...]:
        """The connections of every client, with its number in front."""
        return tuple(
            msgspec.structs.replace(line, name=f"{number} {line.name}")
            for number, client in enumerate(self._clients, 1)
            for line in client.connections
        )

    @property
    def problems(self) -> Mapping[str, int]:
        """Counts of what was received and not used, of all clients."""
        total: dict[str, int] = {}
        for client in self._clients:
            for name, times in client.problems.items():
                total[name] = total.get(name, 0) + times
        return total
