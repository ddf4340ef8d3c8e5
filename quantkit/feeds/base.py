"""What every feed offers: instruments, subscriptions, and batches of rows in the one total order."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from quantkit.events import PositionTier
from quantkit.instruments import Instrument
from quantkit.rows.batch import Batch, Subscription
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Coverage


class Feed(Protocol):
    """A source of market data; replay and live look the same to the engine."""

    def instruments(self, at_ns: int | None = None) -> Mapping[str, Instrument]:
        """Return the metadata of every known instrument by id: as valid at a moment, or the newest.

        An instrument without metadata before the moment gets its first later ones.
        """
        ...

    def changes(self, instrument: str, start_ns: int, end_ns: int) -> Sequence[Instrument]:
        """Return the metadata of an instrument that become valid after `start_ns` and by `end_ns`, in order of time.

        A live feed does not know them beforehand: there they come as rows of kind `instrument`.
        """
        ...

    def position_tiers(self, instrument: str, margin_mode: str, at_ns: int) -> Sequence[PositionTier]:
        """Return the position tiers that hold at a moment, or else the first later ones; nothing where none are known.

        Args:
            instrument: The id.
            margin_mode: `isolated` or `cross`.
            at_ns: The moment.
        """
        ...

    def coverage(self) -> Mapping[Stream, Coverage]:
        """Return the streams that the feed can deliver, each with its span."""
        ...

    def source(self, stream: Stream, start_ns: int | None = None, end_ns: int | None = None) -> Stream:
        """Return the source of a stream's rows within a span: the stream itself, or shorter candles to build them from.

        Args:
            stream: The stream wanted.
            start_ns, end_ns: The span; None where it is open.

        Raises:
            DataError: The stream can neither be delivered nor built; the message lists the streams that exist.
        """
        ...

    def has_hole(self, stream: Stream, start_ns: int, end_ns: int) -> bool:
        """Return whether a deliverable stream is known to lack rows within [start_ns, end_ns]."""
        ...

    def assumptions(self) -> Sequence[str]:
        """Return assumptions about the data for the result, a sentence each."""
        ...

    def subscribe(self, subscriptions: Collection[Subscription]) -> None:
        """Name the rows that `batches` has to deliver; called once, before `batches`."""
        ...

    def warmup(self, stream: Stream, count: int, until_ns: int) -> Block | None:
        """Return the last `count` candles closed by `until_ns`, fewer if there are no more, None if there are none.

        Of a stream without an interval they are the rows received by then.
        """
        ...

    def book_before(self, stream: Stream, start_ns: int) -> list[Block]:
        """Return the rows that make up a book at `start_ns`: its last snapshot before, and the changes since."""
        ...

    def batches(self, next_wake_ns: Callable[[], int] | None = None) -> Iterator[Batch]:
        """Yield the subscribed rows in total order (`received_ns`, rank, instrument, `seq`).

        Args:
            next_wake_ns: Gives the next moment at which time alone has an effect, such as a timer. A live feed yields
                by then even without a row; a replay ignores it.
        """
        ...
