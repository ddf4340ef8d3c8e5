"""The streams that orders are matched on: their clock, and the search for the next row that can concern an order."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.brokers.simulated.gates import OPEN_BAND, PriceBand
from quantkit.clock import NEVER_NS
from quantkit.rows.columns import Column
from quantkit.rows.cursors import NOWHERE, StreamCursor

_FIRST_WINDOW: Final = 256
_LAST_WINDOW: Final = 65_536


class MatchingStream:
    """A stream whose rows move its market's clock and reach its orders one by one while they are needed.

    Attributes:
        cursor: Its rows.
        checked: How many of them have been held against the price step.
        is_active: Whether every row is needed.
    """

    __slots__ = ("_clock", "_clock_before", "checked", "cursor", "is_active")

    def __init__(self, cursor: StreamCursor) -> None:
        self.cursor = cursor
        self.checked = 0
        self.is_active = False
        self._clock: NDArray[np.int64] | None = None
        self._clock_before = -NEVER_NS

    def enter_rows(self) -> None:
        """Begin with the rows that the cursor has been given."""
        self.checked = 0

    def leave_rows(self) -> None:
        """Keep the clock of the rows that the cursor is about to lose."""
        assert self.cursor.block is not None
        self._clock_before = max(self._clock_before, self.cursor.block.exchange_ns_max())
        self._clock = None

    @property
    def clock(self) -> NDArray[np.int64]:
        """The running maximum of `exchange_ns` over this stream, at each row."""
        if self._clock is None:
            clock = np.maximum.accumulate(self.cursor.column("exchange_ns"))
            if clock[0] < self._clock_before:
                clock = np.maximum(clock, self._clock_before)
            self._clock = clock
        return self._clock

    def clock_before_row(self, row: int) -> int:
        """Return the running maximum over the rows before `row`."""
        return self._clock_before if row == 0 else int(self.clock[row - 1])

    def lag_ns(self, row: int) -> int:
        """Return how late a row came by the two clocks: received less exchange stamp."""
        assert self.cursor.block is not None
        received_ns, exchange_ns = self.cursor.block.stamps_of(row)
        return received_ns - exchange_ns

    def next_stop(self, index: int) -> tuple[int, bool]:
        """Return the next index that matters and whether it is a hit; else it is how far the search has looked."""
        cursor = self.cursor
        return (cursor.index_of(cursor.row_at(index)) if self.is_active and cursor.rows else NOWHERE), True


class GatedStream(MatchingStream):
    """Trades or candles that reach the broker only where they leave the band of prices."""

    __slots__ = ("_hit", "_scanned", "_until_row", "_window", "band")

    def __init__(self, cursor: StreamCursor, *, every_row: bool) -> None:
        super().__init__(cursor)
        self.is_active = every_row
        self.band: PriceBand = OPEN_BAND
        self._scanned = 0
        self._until_row = 0
        self._hit: int | None = None
        self._window = _FIRST_WINDOW

    def enter_rows(self) -> None:
        super().enter_rows()
        if self.band is OPEN_BAND:
            self._scanned, self._hit = 0, None
        else:
            self._restart(0)

    def arm(self, band: PriceBand, index: int) -> None:
        """Search on from an index, anew if the band has changed or its last hit is behind."""
        if band != self.band or (self._hit is not None and self.cursor.index_of(self._hit) < index):
            self.band = OPEN_BAND if band == OPEN_BAND else band
            self._restart(index)

    def _restart(self, index: int) -> None:
        rows = self.cursor.rows
        self._scanned = self.cursor.row_at(index) if rows else 0
        self._hit = None
        self._window = _FIRST_WINDOW
        self._until_row = rows
        if rows and self.band.until_ns != NEVER_NS:
            self._until_row = max(self._scanned, int(self.clock.searchsorted(self.band.until_ns)))

    def next_stop(self, index: int) -> tuple[int, bool]:
        cursor = self.cursor
        if not cursor.rows:
            return NOWHERE, False
        if self.is_active:
            return cursor.index_of(cursor.row_at(index)), True
        if self.band is OPEN_BAND:
            return NOWHERE, False
        if self._hit is None and self._scanned < cursor.rows and cursor.index_of(self._scanned) <= index:
            self._scan()
        if self._hit is not None:
            return cursor.index_of(self._hit), True
        if self._scanned >= cursor.rows:
            return NOWHERE, False
        return cursor.index_of(self._scanned), False

    def _scan(self) -> None:
        """Look through one more window, twice as wide each time."""
        low, high, rows = self.band.low, self.band.high, self.cursor.rows
        start = self._scanned
        if low >= high or start >= self._until_row:
            self._hit = start
            return
        if low == OPEN_BAND.low and high == OPEN_BAND.high:
            # Without a band there is nothing to look for but the moment.
            self._scanned = self._until_row
            self._hit = self._until_row if self._until_row < rows else None
            return
        stop = min(start + self._window, self._until_row)
        self._window = min(2 * self._window, _LAST_WINDOW)
        lows, highs = self._extremes()
        below, above = lows[start:stop], highs[start:stop]
        if below.min() <= low or above.max() >= high:
            self._hit = start + int(np.argmax((below <= low) | (above >= high)))
        else:
            self._scanned = stop
            if stop == self._until_row < rows:
                self._hit = stop

    def _extremes(self) -> tuple[Column, Column]:
        cursor = self.cursor
        if cursor.kind == "candle":
            return cursor.column("low"), cursor.column("high")
        prices = cursor.column("open" if cursor.kind == "candle_open" else "price")
        return prices, prices
