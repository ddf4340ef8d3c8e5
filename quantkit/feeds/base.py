"""What every feed offers: instruments, subscriptions, and batches of rows in the one total order."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol

from quantkit.instruments import Instrument
from quantkit.rows.batch import Batch, Subscription
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Coverage


class Feed(Protocol):
    """A source of market data; replay and live look the same to the engine."""

    def instruments(self, at_ns: int | None = None) -> Mapping[str, Instrument]:
        """Return the metadata of every instrument the feed knows, by id: as valid at a moment, or the newest.

        What only became known after the moment is taken as it was first.
        """
        ...

    def changes(self, instrument: str, start_ns: int, end_ns: int) -> Sequence[Instrument]:
        """Return the metadata of an instrument that become valid after `start_ns` and by `end_ns`, in order of time.

        As far as they are known beforehand: live ones come as rows of kind `instrument`.
        """
        ...

    def coverage(self) -> Mapping[Stream, Coverage]:
        """Return which streams the feed can deliver and over which span."""
        ...

    def source(self, stream: Stream, start_ns: int | None = None, end_ns: int | None = None) -> Stream:
        """Return the stream that rows of a span come from: the same, or finer candles that they are built from.

        Args:
            stream: What is wished for.
            start_ns, end_ns: The span; None where it is open.

        Raises:
            DataError: It can neither be delivered nor built; the message says what there is.
        """
        ...

    def has_hole(self, stream: Stream, start_ns: int, end_ns: int) -> bool:
        """Return whether a stream it can deliver is known to lack rows for good within [start_ns, end_ns]."""
        ...

    def assumptions(self) -> Sequence[str]:
        """Return what the reader of a result has to know about the data, a sentence each."""
        ...

    def subscribe(self, subscriptions: Collection[Subscription]) -> None:
        """Name the rows that `batches` has to deliver; called once, before `batches`."""
        ...

    def warmup(self, stream: Stream, count: int, until_ns: int) -> Block | None:
        """Return the last `count` candles closed by `until_ns`, fewer if there are no more, None if there are none."""
        ...

    def book_before(self, stream: Stream, start_ns: int) -> list[Block]:
        """Return what is needed to know a book at `start_ns`: its last snapshot before and the changes since."""
        ...

    def batches(self, next_wake_ns: Callable[[], int] | None = None) -> Iterator[Batch]:
        """Yield the subscribed rows in total order (`received_ns`, rank, instrument, `seq`).

        Args:
            next_wake_ns: Says when time alone makes something happen next. A live feed yields by then even if no row
                has come; a replay has no use for it.
        """
        ...
