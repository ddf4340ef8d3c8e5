"""The band of prices in which nothing can happen to the orders of an instrument, and the search for its end."""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NEVER_NS
from quantkit.rows.columns import Block, Column, Stream
from quantkit.rows.cursors import NOWHERE, StreamCursor

_FIRST_WINDOW: Final = 256
_LAST_WINDOW: Final = 65_536


class PriceBand(NamedTuple):
    """While `low < price < high` and the time is before `until_ns`, nothing happens; equality is a hit."""

    low: float
    high: float
    until_ns: int


OPEN_BAND: Final = PriceBand(float("-inf"), float("inf"), NEVER_NS)


class GatedCursor(StreamCursor):
    """Trades or candles that reach the broker only where they hit its gate."""

    __slots__ = ("_hit", "_scanned", "_until_row", "_window", "band", "every_row")

    def __init__(self, stream: Stream, *, is_matching: bool, every_row: bool) -> None:
        super().__init__(stream, is_matching=is_matching)
        self.every_row = every_row
        self.band: PriceBand = OPEN_BAND
        self._scanned = 0
        self._until_row = 0
        self._hit: int | None = None
        self._window = _FIRST_WINDOW

    def load(self, block: Block | None, positions: NDArray[np.int64]) -> None:
        super().load(block, positions)
        if self.band is OPEN_BAND:
            self._scanned, self._hit = 0, None
        else:
            self._restart(0)

    def arm(self, gate: PriceBand, index: int) -> None:
        """Search on from an index, anew if the gate has changed or its last hit is behind."""
        if gate != self.band or (self._hit is not None and self.index_of(self._hit) < index):
            self.band = OPEN_BAND if gate == OPEN_BAND else gate
            self._restart(index)

    def _restart(self, index: int) -> None:
        self._scanned = self.row_at(index) if self.rows else 0
        self._hit = None
        self._window = _FIRST_WINDOW
        self._until_row = self.rows
        if self.rows and self.band.until_ns != NEVER_NS:
            self._until_row = max(self._scanned, int(self.clock.searchsorted(self.band.until_ns)))

    def next_stop(self, index: int) -> tuple[int, bool]:
        """Return the next index that matters and whether it is a hit; else it is how far the search has looked."""
        if not self.rows:
            return NOWHERE, False
        if self.every_row:
            return self.index_of(self.row_at(index)), True
        if self.band is OPEN_BAND:
            return NOWHERE, False
        if self._hit is None and self._scanned < self.rows and self.index_of(self._scanned) <= index:
            self._scan()
        if self._hit is not None:
            return self.index_of(self._hit), True
        if self._scanned >= self.rows:
            return NOWHERE, False
        return self.index_of(self._scanned), False

    def _scan(self) -> None:
        """Look through one more window, twice as wide each time."""
        low, high = self.band.low, self.band.high
        start = self._scanned
        if low >= high or start >= self._until_row:
            self._hit = start
            return
        if low == OPEN_BAND.low and high == OPEN_BAND.high:
            # Without a band there is nothing to look for but the moment.
            self._scanned = self._until_row
            self._hit = self._until_row if self._until_row < self.rows else None
            return
        stop = min(start + self._window, self._until_row)
        self._window = min(2 * self._window, _LAST_WINDOW)
        lows, highs = self._extremes()
        below, above = lows[start:stop], highs[start:stop]
        if below.min() <= low or above.max() >= high:
            self._hit = start + int(np.argmax((below <= low) | (above >= high)))
        else:
            self._scanned = stop
            if stop == self._until_row < self.rows:
                self._hit = stop

    def _extremes(self) -> tuple[Column, Column]:
        if self.kind == "candle":
            return self.column("low"), self.column("high")
        prices = self.column("open" if self.kind == "candle_open" else "price")
        return prices, prices
