"""How far a run has come: the only place that knows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class RunPosition:
    """Engine time, and the row that the run has come to.

    While hooked rows are handed out, the index is worked out from how many of them are left when somebody asks: a
    row costs nothing for it.

    Attributes:
        now_ns: Engine time.
        received_ns: Of the rows of the present batch.
        is_after_candles: Whether what happens belongs after the candles that close at its moment.
    """

    __slots__ = ("_index", "_indices", "_left", "is_after_candles", "now_ns", "received_ns")

    def __init__(self, now_ns: int = 0) -> None:
        self.now_ns = now_ns
        self.received_ns: NDArray[np.int64] = np.empty(0, np.int64)
        self.is_after_candles = False
        self._index = 0
        self._indices: NDArray[np.int64] = self.received_ns
        self._left: Any = None  # what hooked rows are left, while they are handed out

    @property
    def index(self) -> int:
        """The index before which the rows of this batch have been seen."""
        if self._left is None:
            return self._index
        return int(self._indices[len(self._indices) - self._left.__length_hint__() - 1]) + 1

    @index.setter
    def index(self, index: int) -> None:
        self._index = index

    def enter_batch(self, received_ns: NDArray[np.int64]) -> None:
        """Stand before the first row of a batch."""
        self.received_ns = received_ns
        self._index = 0

    def follow(self, indices: NDArray[np.int64], left: Iterator[Any]) -> None:
        """Move with rows that are handed out from now on.

        Args:
            indices: Of all that are handed out one by one in this batch.
            left: An iterator over them, which tells how many are left.
        """
        self._indices, self._left = indices, left

    def rest(self) -> None:
        """Stay after the row that was handed out last."""
        self._index = self.index
        self._left = None
