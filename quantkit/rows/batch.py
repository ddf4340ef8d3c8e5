"""Rows as they are handed over: what was asked for, and a run of them in the one total order."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.rows.columns import Block, Stream


class Subscription(NamedTuple):
    """A request for one stream's rows with `start_ns <= received_ns <= end_ns`."""

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
