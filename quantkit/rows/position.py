"""How far a run has come: the only place that knows."""

import numpy as np
from numpy.typing import NDArray


class RunPosition:
    """Engine time, and the row that the run has come to: plain numbers, written by the engine and read by everybody.

    Attributes:
        now_ns: Engine time.
        index: The index before which the rows of this batch have been seen.
        received_ns: Of the rows of the present batch.
        stamps: The same, for reading one by one: plain integers.
        is_after_candles: Whether what happens belongs after the candles that close at its moment.
    """

    __slots__ = ("index", "is_after_candles", "now_ns", "received_ns", "stamps")

    def __init__(self, now_ns: int = 0) -> None:
        self.now_ns = now_ns
        self.index = 0
        self.received_ns: NDArray[np.int64] = np.empty(0, np.int64)
        self.stamps = self.received_ns.data
        self.is_after_candles = False

    def enter_batch(self, received_ns: NDArray[np.int64]) -> None:
        """Stand before the first row of a batch."""
        self.received_ns = received_ns
        self.stamps = received_ns.data
        self.index = 0
