"""OKX as a live source: its channels as streams, its client as a data client, its tapes as rows again."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import ClassVar, Final, Self

import numpy as np

from quantkit.clock import INTERVALS
from quantkit.errors import ConfigError, FeedError, SubscriptionError
from quantkit.events import Candle, Row
from quantkit.feeds.live_source import BESIDE, ClockReading, ConnectionLine, LiveSink
from quantkit.feeds.okx.codec import channels
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.credentials import Credentials
from quantkit.feeds.okx.rest.polling import POLLED, RulesPoller
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.feeds.okx.rows import MessageRows
from quantkit.feeds.okx.tracker.records import FrameRecord, Record, Subscribed, pack, pack_frame, unpack
from quantkit.feeds.okx.tracker.tracker import FeedMessage, Tracker
from quantkit.feeds.okx.ws.client import ConnectionState, OkxClient
from quantkit.instruments import Instrument, plain
from quantkit.rows.columns import Stream

#: The exchange's word for each kind of instrument.
_TYPES: Final = {"spot": "SPOT", "swap": "SWAP", "future": "FUTURES"}


class OkxSource:
    """OKX, or a server that speaks its protocol; see `quantkit.feeds.live_source.LiveSource`.

    Args:
        config: Hosts, limits and patience.
        credentials: Of an account, for the polls of its fees.
        rng: Jitter of the back-off.
    """

    name: ClassVar[str] = "okx"
    title: ClassVar[str] = "OKX"

    def __init__(
        self,
        config: OkxConfig | None = None,
        *,
        credentials: Credentials | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.config = config or OkxConfig()
        self._credentials = credentials
        self._rng = rng

    @classmethod
    def streams_of(cls, instrument: Instrument) -> Sequence[Stream]:
        """Return every stream that OKX sends of an instrument."""
        streams = [Stream(kind, instrument.id) for kind in channels.STREAM_KINDS[instrument.kind]]
        return streams + [Stream("candle", instrument.id, interval) for interval in INTERVALS]

    @classmethod
    def polled_of(cls, instrument: Instrument) -> Sequence[Stream]:
        """Return every stream of an instrument that OKX tells by REST alone; an account's fees are among them."""
        return [Stream(kind, instrument.id) for kind, (kinds, _) in POLLED.items() if instrument.kind in kinds]

    @classmethod
    def decoder(cls, instruments: Mapping[str, Instrument]) -> "OkxTapeDecoder":
        """Return a decoder of tapes."""
        return OkxTapeDecoder(instruments)

    @property
    def address(self) -> str:
        """The server, for people."""
        config = self.config
        return config.url or f"OKX {config.region}{' demo' if config.demo else ''}"

    @property
    def queue_rows_max(self) -> int:
        """How many rows may wait for the engine before the client leaves some out."""
        return self.config.queue_events

    def client(self, sink: LiveSink, *, wall: Callable[[], int]) -> "OkxDataClient":
        """Return a client that delivers to a sink."""
        return OkxDataClient(self.config, sink, wall=wall, credentials=self._credentials, rng=self._rng)


class _PackingTape:
    """Packs frames and records for the sink's tape."""

    def __init__(self, sink: LiveSink) -> None:
        self._keep = sink.keep

    def frame(self, connection: int, received_ns: int, data: bytes) -> None:
        """Keep a frame as received."""
        self._keep(pack_frame(connection, received_ns, data))

    def record(self, event: Record) -> None:
        """Keep what the tracker was given beside frames."""
        self._keep(pack(event))


class _SinkRows:
    """Makes the sink's rows of messages; the rest of what a client tells is the sink's own.

    Attributes:
        messages: Knows the instruments.
        streams: What each channel brings.
    """

    def __init__(self, sink: LiveSink) -> None:
        self.messages = MessageRows({})
        self.streams: dict[Channel, tuple[Stream, ...]] = {}
        self.waiting = sink.waiting
        self.reading = sink.reading
        self.fail = sink.fail
        self._sink = sink

    def deliver(self, messages: Sequence[FeedMessage]) -> None:
        """Hand on the rows of one frame."""
        rows = self.messages.rows(messages)
        if rows:
            self._sink.deliver(rows)
        elif self.messages.refusal is not None:
            self._sink.fail(self.messages.refusal)

    def refused(self, channel: Channel, error: FeedError) -> None:
        """Go on without a channel, if the sink does."""
        if not self._sink.refused(self.streams[channel], error):
            self._sink.fail(error)


class OkxDataClient:
    """OKX's sockets and REST as one data client; see `quantkit.feeds.live_source.DataClient`.

    Args:
        config: Hosts, limits and patience.
        sink: Gets the rows.
        wall: The machine's UTC time in nanoseconds.
        credentials: Of an account, for the polls of its fees.
        rng: Jitter of the back-off.
    """

    def __init__(
        self,
        config: OkxConfig,
        sink: LiveSink,
        *,
        wall: Callable[[], int],
        credentials: Credentials | None,
        rng: np.random.Generator | None,
    ) -> None:
        self._config = config
        self._sink = sink
        self._instruments: dict[str, Instrument] = {}
        self._rows = _SinkRows(sink)
        self._rest = OkxRest(config, credentials=credentials, now_ns=wall)
        self._has_key = credentials is not None
        self._client = OkxClient(
            config,
            rest=self._rest,
            tape=_PackingTape(sink) if sink.is_recorded else None,
            stamp=sink.stamp,
            consumer=self._rows,
            rng=rng,
        )
        self._poller = RulesPoller(self._rest, sink)
        self._exits = AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self._rest)
            exits.push_async_callback(self._poller.close)
            await exits.enter_async_context(self._client)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._exits.aclose()

    async def instruments(self, valid_from_ns: int) -> Sequence[Instrument]:
        """Load the metadata of every instrument that can be traded."""
        for kind in _TYPES:
            for instrument in await self._rest.instruments(kind, valid_from_ns=valid_from_ns):
                self._instruments[instrument.id] = instrument
        if not self._instruments:
            raise FeedError(f"{self._config.rest_url} lists no instrument that can be traded here")
        self._rows.messages = MessageRows(self._instruments)
        return list(self._instruments.values())

    async def clock_offset(self) -> ClockReading:
        """Measure OKX's clock."""
        ahead_ns = await self._rest.clock_offset_ns()
        return ClockReading(-ahead_ns, self._rest.clock_offset_error_ns)

    async def subscribe(self, streams: Collection[Stream], names: Collection[str], since_ns: int) -> None:
        """Subscribe to the channels that bring the streams, and wait for every confirmation."""
        wanted: dict[Channel, tuple[Stream, ...]] = {channels.channel_of(stream): (stream,) for stream in streams}
        # Changes of metadata have a channel of their own for each kind; last, so that nothing waits for them.
        for kind in sorted({self._instruments[name].kind for name in names}):
            listed = (Stream("instrument", name) for name in names if self._instruments[name].kind == kind)
            wanted[channels.instruments(_TYPES[kind])] = tuple(listed)
        self._rows.streams |= wanted
        self._rows.messages.follow(names)
        books = sorted({stream.instrument for stream in streams if stream.kind == "book"})
        self._client.listed({name: plain(self._instruments[name].price_step) for name in books})
        try:
            await self._client.subscribe(*wanted, since_ns=since_ns)
        except SubscriptionError as error:
            # A connection that has failed for good is no refusal of a channel.
            has_failed = any(each.state is ConnectionState.FAILED for each in self._client.connections)
            if has_failed or not all(self._sink.refused(wanted[name], why) for name, why in error.refused.items()):
                raise

    def poll(self, streams: Collection[Stream]) -> None:
        """Ask again and again for what has no channel.

        Raises:
            ConfigError: The account's fees are wanted, and there is no API key.
        """
        if not self._has_key and any(stream.kind == "fee_rate" for stream in streams):
            raise ConfigError(
                "fee-rates are an account's own and need an API key: set OKX_API_KEY, OKX_API_SECRET and "
                "OKX_API_PASSPHRASE, or name a file of it (--credentials)"
            )
        self._poller.start(streams)

    async def candles(self, stream: Stream, count: int, until_ns: int) -> Sequence[Candle]:
        """Fetch the last candles closed by a moment."""
        return await self._rest.candles(stream.instrument, stream.interval, count=count, end_ns=until_ns)

    def ends_at(self, end_ns: int) -> None:
        """Take in nothing that is received at `end_ns` or later."""
        self._client.ends_at(end_ns)

    def end(self) -> None:
        """Deliver the gaps of outages that last until the end."""
        self._client.end()

    @property
    def has_ended(self) -> bool:
        """Whether nothing is delivered any more."""
        return self._client.has_ended

    @property
    def connections(self) -> tuple[ConnectionLine, ...]:
        """The connections and their states."""
        return tuple(
            ConnectionLine(
                f"{c.path} {c.number}",
                c.state.value,
                c.since_ns,
                c.channels,
                c.frames,
                c.attempts,
                c.error,
                tuple(
                    str(stream)
                    for channel in c.carries
                    for stream in self._rows.streams.get(channel, ())
                    if stream.kind not in BESIDE
                ),
            )
            for c in self._client.connections
        )

    @property
    def problems(self) -> Mapping[str, int]:
        """Counts of what was received and not used, by name."""
        return dict(self._client.counters + self._poller.counters)


class OkxTapeDecoder:
    """The rows of an OKX tape; see `quantkit.feeds.live_source.TapeDecoder`.

    Args:
        instruments: As the run loaded them, by id.
    """

    def __init__(self, instruments: Mapping[str, Instrument]) -> None:
        self._instruments = instruments
        self._messages = MessageRows(instruments)
        self._tracker = Tracker()
        self._subscribed: set[Channel] = set()

    def follow(self, names: Iterable[str]) -> None:
        """Take changes of the metadata of more instruments into account."""
        self._messages.follow(names)

    def rows(self, payload: bytes) -> Sequence[Row]:
        """Return the rows of the next payload."""
        record = unpack(payload)
        if isinstance(record, FrameRecord):
            return self._messages.rows(self._tracker.frame(record.connection, record.received_ns, record.data))
        if isinstance(record, Subscribed):
            self._subscribed.add(record.channel)
            self._messages.follow([record.channel.inst_id])
        return self._messages.rows(self._tracker.record(record))

    @property
    def streams(self) -> Sequence[Stream]:
        """The streams that were subscribed up to here."""
        return [
            stream
            for instrument in self._instruments.values()
            for stream in OkxSource.streams_of(instrument)
            if channels.channel_of(stream) in self._subscribed
        ]
