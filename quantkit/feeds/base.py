"""What every feed offers: instruments, subscriptions, and batches of rows in the one total order."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from quantkit.instruments import Instrument
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Coverage


class Subscription(NamedTuple):
    """A wish for one stream's rows with `start_ns <= received_ns <= end_ns`."""

    stream: Stream
    start_ns: int
    end_ns: int


class Batch:
    """A run of rows in total order: one block for each stream and the way they interleave.

    Attributes:
        blocks: In the order of `Stream.sort_key`.
        received_ns: Shape (n,), the rows' stamps, never falling.
        positions: For each block, where its rows stand among the n, rising.
        until_ns: The moment by which no further row was stamped, live; the engine lets time pass up to it. None where
            the rows alone move time, as in a replay. Only then may a batch be without rows.
    """

    __slots__ = ("blocks", "positions", "received_ns", "until_ns")

    def __init__(self, blocks: Sequence[Block], *, until_ns: int | None = None) -> None:
        self.until_ns = until_ns
        self.blocks = sorted(blocks, key=lambda block: block.stream.sort_key)
        self.received_ns: NDArray[np.int64]
        self.positions: list[NDArray[np.int64]]
        if not self.blocks:
            self.received_ns, self.positions = np.empty(0, np.int64), []
            return
        if len(self.blocks) == 1:
            self.received_ns = self.blocks[0].column("received_ns")
            self.positions = [np.arange(self.blocks[0].size, dtype=np.int64)]
            return
        largest = max(self.blocks, key=len)
        rest = sum(block.size for block in self.blocks) - largest.size
        if rest * 8 < largest.size:
            self._thread_in(largest)
            return
        stamps = np.concatenate([block.column("received_ns") for block in self.blocks])
        # Blocks stand in rank order and are sorted themselves, so a stable sort by stamp alone is the total order.
        order = np.argsort(stamps, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order), dtype=np.int64)
        self.received_ns = stamps[order]
        edges = np.cumsum([block.size for block in self.blocks])[:-1]
        self.positions = np.split(place, edges)

    @classmethod
    def lined_up(
        cls,
        blocks: list[Block],
        received_ns: NDArray[np.int64],
        positions: list[NDArray[np.int64]],
        *,
        until_ns: int,
    ) -> "Batch":
        """Return a batch of what is known to be in order: `blocks` of streams, and how their rows interleave."""
        batch = cls.__new__(cls)
        batch.blocks, batch.received_ns, batch.positions, batch.until_ns = blocks, received_ns, positions, until_ns
        return batch

    def _thread_in(self, largest: Block) -> None:
        """Put the few rows of the other blocks between those of the largest, without sorting all."""
        main = largest.column("received_ns")
        others = [block for block in self.blocks if block is not largest]
        before = self.blocks.index(largest)
        # Rows of a lower rank go before equal stamps of the largest, those of a higher rank after.
        slots = np.concatenate(
            [
                main.searchsorted(block.column("received_ns"), "left" if number < before else "right")
                for number, block in enumerate(others)
            ]
        )
        stamps = np.concatenate([block.column("received_ns") for block in others])
        order = np.lexsort((np.arange(len(slots)), stamps, slots))
        places = np.empty(len(order), np.int64)
        places[order] = slots[order] + np.arange(len(order))
        size = main.size + len(places)
        is_main = np.ones(size, np.bool_)
        is_main[places] = False
        self.received_ns = np.empty(size, np.int64)
        self.received_ns[is_main] = main
        self.received_ns[places] = stamps
        edges = np.cumsum([block.size for block in others])[:-1]
        threaded = iter(np.split(places, edges))
        self.positions = [np.flatnonzero(is_main) if block is largest else next(threaded) for block in self.blocks]

    def __len__(self) -> int:
        return len(self.received_ns)


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
