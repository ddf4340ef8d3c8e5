"""A replay handed over as a live feed hands rows over: a few at a time, with time passing between them."""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from quantkit.feeds.replay import MemoryFeed
from quantkit.rows.batch import Batch


class DrippingFeed(MemoryFeed):
    """Cuts the rows at random stamps and lets time pass, with and without rows, as the sockets would.

    Args:
        seed: Of the cuts.
        end_ns: How far time passes in the end.
    """

    def __init__(self, *arguments: object, seed: int, end_ns: int, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        self._rng = np.random.default_rng(seed)
        self._end_ns = end_ns

    def batches(self, next_wake_ns: Callable[[], int] | None = None) -> Iterator[Batch]:
        assert next_wake_ns is not None
        for batch in super().batches():
            stamps = batch.received_ns
            # Rows of one stamp come together; everything else may be torn apart.
            borders = [0, *(np.flatnonzero(np.diff(stamps)) + 1).tolist(), len(stamps)]
            kept = [0, *(border for border in borders[1:-1] if self._rng.random() < 0.6), len(stamps)]
            for first, last in pairwise(kept):
                if first == last:
                    continue
                if first and self._rng.random() < 0.3:
                    yield Batch([], until_ns=self._moment(int(stamps[first - 1]), int(stamps[first])))
                blocks = [
                    block.slice(*map(int, positions.searchsorted((first, last))))
                    for block, positions in zip(batch.blocks, batch.positions, strict=True)
                ]
                following = int(stamps[last]) if last < len(stamps) else int(stamps[last - 1]) + 1
                until_ns = self._moment(int(stamps[last - 1]), following)
                yield Batch([block for block in blocks if block.size], until_ns=until_ns)
        yield Batch([], until_ns=self._end_ns)

    def _moment(self, after_ns: int, before_ns: int) -> int:
        """Return a moment from one row to just before the next: often its very end."""
        if self._rng.random() < 0.3:
            return before_ns - 1
        return int(self._rng.integers(after_ns, before_ns))
