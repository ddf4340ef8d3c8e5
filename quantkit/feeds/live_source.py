"""An exchange behind a live feed: the protocols between the two, and nothing of any exchange."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import ClassVar, Final, NamedTuple, Protocol, Self

import msgspec

from quantkit.errors import QuantkitError
from quantkit.events import Candle, Row
from quantkit.instruments import Instrument
from quantkit.rows.columns import Stream

#: The end of a live stream, which has none: later than any run, and short of `NEVER_NS`.
OPEN_END_NS: Final = 2**62
#: Kinds of rows without a subscription of their own: they come with those of the others.
BESIDE: Final = ("gap", "instrument")


class ConnectionLine(msgspec.Struct, frozen=True, gc=False):
    """One connection of a feed, as its state machine sees it."""

    name: str  # for example "public 1"
    state: str  # waiting, connecting, login, live, stale, closing, closed or failed
    since_ns: int
    channels: int
    frames: int
    attempts: int
    error: str = ""
    streams: tuple[str, ...] = ()  # names of the streams whose rows it brings


class ClockReading(NamedTuple):
    """A measurement of the exchange's clock: this machine's less the exchange's, and its largest error."""

    offset_ns: int
    error_ns: int


class LiveSink(Protocol):
    """The feed, as the client of an exchange sees it; used on the feed's thread.

    The client stamps a message, keeps it, and delivers its rows, all in one callback of the event loop.
    """

    @property
    def is_recorded(self) -> bool:
        """Whether there is a tape; without one `keep` has no use."""
        ...

    def stamp(self) -> int:
        """Return the receipt stamp of a message: UTC ns, later than every stamp before."""
        ...

    def keep(self, payload: bytes) -> None:
        """Put a payload on the tape, in the client's own format; its rows reach the engine after it."""
        ...

    def deliver(self, rows: Sequence[Row]) -> None:
        """Hand over the rows of one stamp, at least one, in the total order."""
        ...

    def reading(self, has_begun: bool) -> None:
        """Mark the begin and the end of one read from a socket: its rows are handed over together."""
        ...

    def waiting(self) -> int:
        """Return the count of delivered rows in front of the engine."""
        ...

    def refused(self, streams: Collection[Stream], error: QuantkitError) -> bool:
        """Take note that the exchange does not serve streams, or no longer; return whether the feed goes on without."""
        ...

    def fail(self, error: QuantkitError) -> None:
        """End the feed for good."""
        ...


class DataClient(Protocol):
    """The client of one exchange, open inside `async with`; used on the feed's thread, counts and connections too."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def instruments(self, valid_from_ns: int) -> Sequence[Instrument]:
        """Load the metadata of every instrument that can be traded.

        Raises:
            FeedError: They cannot be had, or there is none.
        """
        ...

    async def clock_offset(self) -> ClockReading:
        """Measure the exchange's clock.

        Raises:
            FeedError: No answer, or a refusal.
        """
        ...

    async def subscribe(self, streams: Collection[Stream], names: Collection[str], since_ns: int) -> None:
        """Subscribe to streams, and wait for every confirmation; called once, after `instruments`.

        Args:
            streams: Of any kind but `gap` and `instrument`.
            names: The instruments of the run; changes of their metadata are rows too.
            since_ns: Every candle that closes later is a row.

        Raises:
            ConfigError: The exchange has no such live stream.
            FeedError: It refuses one, or the connection cannot be had.
        """
        ...

    def poll(self, streams: Collection[Stream]) -> None:
        """Ask again and again for what has no channel, until the client is closed; what has changed is a row.

        Args:
            streams: Of those that `LiveSource.polled_of` names.
        """
        ...

    async def candles(self, stream: Stream, count: int, until_ns: int) -> Sequence[Candle]:
        """Fetch the last `count` candles closed by `until_ns`, the oldest first.

        Raises:
            FeedError: They cannot be had.
        """
        ...

    def ends_at(self, end_ns: int) -> None:
        """Take in nothing that is received at `end_ns` or later."""
        ...

    def end(self) -> None:
        """Deliver the gaps of outages that last until the end of the run, stamped with it, and nothing after them."""
        ...

    @property
    def has_ended(self) -> bool:
        """Whether nothing is delivered any more."""
        ...

    @property
    def connections(self) -> tuple[ConnectionLine, ...]:
        """The connections and their states."""
        ...

    @property
    def problems(self) -> Mapping[str, int]:
        """Counts of what was received and not used, by name."""
        ...


class TapeDecoder(Protocol):
    """Turns the payloads of a tape into the rows that its live client delivered: a pure function of them."""

    def follow(self, names: Iterable[str]) -> None:
        """Take changes of the metadata of more instruments into account."""
        ...

    def rows(self, payload: bytes) -> Sequence[Row]:
        """Return the rows of the next payload.

        Raises:
            DataError: It is no payload of this exchange.
        """
        ...

    @property
    def streams(self) -> Sequence[Stream]:
        """The streams that were subscribed up to here."""
        ...


class LiveSource(Protocol):
    """One exchange and how to reach it. `feeds/exchanges.py` has the list of them.

    Attributes:
        name: In the list of exchanges, and in the logs of runs.
        title: For people.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    @classmethod
    def streams_of(cls, instrument: Instrument) -> Sequence[Stream]:
        """Return every stream that the exchange sends of an instrument, but `gap` and `instrument`."""
        ...

    @classmethod
    def polled_of(cls, instrument: Instrument) -> Sequence[Stream]:
        """Return every stream of an instrument that has no channel, so that a collector has to ask for it."""
        ...

    @classmethod
    def decoder(cls, instruments: Mapping[str, Instrument]) -> TapeDecoder:
        """Return a decoder of tapes.

        Args:
            instruments: As the recorded run loaded them, by id.
        """
        ...

    @property
    def address(self) -> str:
        """The server, for people: for example `OKX eea demo`."""
        ...

    @property
    def queue_rows_max(self) -> int:
        """How many rows may wait for the engine before the client leaves some out."""
        ...

    def client(self, sink: LiveSink, *, wall: Callable[[], int]) -> DataClient:
        """Return a client that delivers to a sink; it connects when entered.

        Args:
            sink: The feed.
            wall: The machine's UTC time in nanoseconds.
        """
        ...
