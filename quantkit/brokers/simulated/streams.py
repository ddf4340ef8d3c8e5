"""The streams that orders are matched on: their clock, and the search for the next row that can concern an order."""

from bisect import bisect_left
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quantkit.brokers.simulated.price_band import OPEN_BAND, PriceBand
from quantkit.clock import NEVER_NS
from quantkit.rows.cursors import NOWHERE, StreamCursor

_FIRST_WINDOW: Final = 256
_LAST_WINDOW: Final = 65_536


class MatchingStream:
    """A stream whose rows move its market's clock and reach its orders one by one while they are needed.

    Attributes:
        cursor: Its rows.
        next_index: The index of the next row that matters, `NOWHERE` for none.
        is_hit: Whether that row does; else the search has come as far and goes on with `search_on`.
        row: Which row it is.
    """

    __slots__ = ("_clock", "_clock_before", "cursor", "is_hit", "next_index", "row")

    def __init__(self, cursor: StreamCursor) -> None:
        self.cursor = cursor
        self.next_index = NOWHERE
        self.is_hit = False
        self.row = 0
        self._clock: memoryview | None = None
        self._clock_before = -NEVER_NS

    # Batches ------------------------------------------------------------------------------------------------------

    def enter_rows(self) -> None:
        """Begin with the rows that the cursor has been given; none of them matters so far."""
        self.rest()

    def leave_rows(self) -> None:
        """Keep the clock of the rows that the cursor is about to lose."""
        assert self.cursor.block is not None
        self._clock_before = max(self._clock_before, self.cursor.block.exchange_ns_max())
        self._clock = None
        self.rest()

    # The clock ----------------------------------------------------------------------------------------------------

    def _read_clock(self) -> memoryview:
        """Return the running maximum of `exchange_ns` over this stream, at each row, and keep it for the batch."""
        clock = np.maximum.accumulate(self.cursor.column("exchange_ns"))
        if clock[0] < self._clock_before:
            clock = np.maximum(clock, self._clock_before)
        self._clock = clock.data
        return self._clock

    def clock_before(self, row: int) -> int:
        """Return the running maximum of `exchange_ns` over the rows before one."""
        if not row:
            return self._clock_before
        clock = self._clock
        return (self._read_clock() if clock is None else clock)[row - 1]

    def clocks(self, first: int, last: int) -> NDArray[np.int64]:
        """Return the running maximum of `exchange_ns` over this stream at some rows, the last one excluded."""
        clock = self._clock
        return np.asarray((self._read_clock() if clock is None else clock)[first:last])

    def row_from(self, row: int, moment_ns: int) -> int:
        """Return the first row from one on by whose clock a moment has come."""
        clock = self._clock
        return bisect_left(self._read_clock() if clock is None else clock, moment_ns, row)

    def row_at(self, index: int) -> int:
        """Return how many rows stand before an index."""
        if index == self.next_index:
            return self.row
        if index == self.next_index + 1:
            return self.row + 1
        return bisect_left(self.cursor.places, index)

    # The next row that matters ------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Need no row."""
        self.next_index, self.is_hit = NOWHERE, False

    def stop_at(self, row: int, *, is_hit: bool) -> None:
        """Need a row, or search on from there; past the last one need none."""
        cursor = self.cursor
        self.row = row
        self.next_index, self.is_hit = (cursor.places[row], is_hit) if row < cursor.rows else (NOWHERE, False)

    def follow(self, index: int) -> None:
        """Need the next row from an index on, whatever it says."""
        self.stop_at(self.row_at(index), is_hit=True)

    def arm(self, band: PriceBand, until_ns: int, index: int) -> None:
        """Need the next row from an index on that leaves a band, or whose clock has come to a moment: here, any."""
        self.follow(index)

    def search_on(self) -> None:
        """Search on from `next_index`, which was no hit."""
        raise AssertionError("every stop of a stream without a search is a hit")


class GatedStream(MatchingStream):
    """Trades or candles, which matter only where they leave a band of prices, or from a moment on.

    Attributes:
        prices: What `read_prices` has found; None before.
        stamps: What `read_stamps` has found; None before.
    """

    __slots__ = ("_band", "_until_ns", "_until_row", "_window", "prices", "stamps")

    def __init__(self, cursor: StreamCursor) -> None:
        super().__init__(cursor)
        self._band: PriceBand = OPEN_BAND
        self._until_ns = NEVER_NS
        self._until_row = 0
        self._window = _FIRST_WINDOW
        self.prices: tuple[NDArray[Any], NDArray[Any]] | None = None
        self.stamps: memoryview | None = None

    def leave_rows(self) -> None:
        super().leave_rows()
        self.prices = self.stamps = None

    def rest(self) -> None:
        self.next_index, self.is_hit = NOWHERE, False
        self._band, self._until_ns = OPEN_BAND, NEVER_NS

    def arm(self, band: PriceBand, until_ns: int, index: int) -> None:
        is_ahead = self.next_index > index or (self.is_hit and self.next_index == index)
        if is_ahead and band == self._band and until_ns == self._until_ns:
            return
        self._band, self._until_ns, self._window = band, until_ns, _FIRST_WINDOW
        cursor = self.cursor
        rows = self._until_row = cursor.rows
        start = self.row_at(index)
        if until_ns != NEVER_NS and rows:
            self._until_row = self.row_from(start, until_ns)
        if start >= self._until_row or band.low >= band.high:
            self.stop_at(start, is_hit=True)
        elif band == OPEN_BAND:
            # Without bounds there is nothing to look for but the moment.
            self.stop_at(self._until_row, is_hit=True)
        else:
            self._search(start)

    def search_on(self) -> None:
        self._search(self.row)

    def _search(self, start: int) -> None:
        """Look through one more window of rows from `start` on, twice as wide each time."""
        low, high = self._band.low, self._band.high
        end = min(start + self._window, self._until_row)
        self._window = min(2 * self._window, _LAST_WINDOW)
        lows, highs = self.prices or self.read_prices()
        below, above = lows[start:end], highs[start:end]
        if np.minimum.reduce(below) <= low or np.maximum.reduce(above) >= high:
            found, is_hit = start + int(((below <= low) | (above >= high)).argmax()), True
        else:
            found, is_hit = end, end == self._until_row
        self.stop_at(found, is_hit=is_hit)

    def read_prices(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return the lowest and the highest price of each row, which are the same but for a candle's range."""
        column = self.cursor.column
        if self.cursor.kind == "candle":
            self.prices = column("low"), column("high")
        else:
            prices = column("open" if self.cursor.kind == "candle_open" else "price")
            self.prices = prices, prices
        return self.prices

    def read_stamps(self) -> memoryview:
        """Return the exchange's stamp of each row, and keep them for the batch: plain integers, read one by one."""
        self.stamps = np.ascontiguousarray(self.cursor.column("exchange_ns")).data
        return self.stamps
