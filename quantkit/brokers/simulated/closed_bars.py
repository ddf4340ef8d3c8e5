"""What is known of a market at a row that fills: bars that have closed, and the last prices of buyers and sellers."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from typing import Final

import numpy as np

from quantkit.brokers.simulated.streams import MatchingStream
from quantkit.clock import NS_PER_MIN
from quantkit.events import Candle
from quantkit.slippage import WINDOW, ClosedBar

#: How long a bar of trades is; the matching clock says when it has closed.
_BAR_NS: Final = NS_PER_MIN


class ClosedBars(ABC):
    """Bars from the rows before one, however many rows were skipped.

    Args:
        stream: The rows.

    Attributes:
        bought, sold: The last prices at which a buyer and a seller took; None where nobody knows.
    """

    def __init__(self, stream: MatchingStream) -> None:
        self._bars: deque[ClosedBar] = deque(maxlen=WINDOW + 1)
        self.bought: float | None = None
        self.sold: float | None = None
        self._stream = stream
        self._row = 0  # of this batch, the rows before it have been taken in

    @property
    def bars(self) -> Sequence[ClosedBar]:
        """The last that have closed, oldest first."""
        return tuple(self._bars)

    @property
    def volume(self) -> float | None:
        """The volume of the last bar that has closed, None before the first."""
        return self._bars[-1].volume if self._bars else None

    def advance(self, row: int) -> None:
        """Take in this batch's rows before one."""
        if row > self._row:
            self._take(self._row, row)
            self._row = row

    def leave_rows(self) -> None:
        """Take in the rest of a batch, which ends."""
        self.advance(self._stream.cursor.rows)
        self._row = 0

    @abstractmethod
    def _take(self, first: int, last: int) -> None:
        """Take in some rows, the last one excluded."""


class CandleBars(ClosedBars):
    """Candles are bars."""

    def see(self, candle: Candle) -> None:
        """Take in a candle from before the rows."""
        self._bars.append(ClosedBar(candle.high, candle.low, candle.close, candle.volume))

    def _take(self, first: int, last: int) -> None:
        cursor = self._stream.cursor
        first = max(first, last - WINDOW - 1)
        columns = [cursor.column(name)[first:last].tolist() for name in ("high", "low", "close", "volume")]
        self._bars.extend(map(ClosedBar, *columns))


class TradeBars(ClosedBars):
    """Minutes of trades are bars; minutes without any are left out."""

    def __init__(self, stream: MatchingStream) -> None:
        super().__init__(stream)
        self._minute: int | None = None
        self._open: ClosedBar | None = None  # of the trades of the minute that has begun

    def close_before(self, clock_ns: int) -> None:
        """Close the bar that has ended by a moment of the matching clock."""
        minute = clock_ns // _BAR_NS
        if self._open is not None and minute != self._minute:
            self._bars.append(self._open)
            self._open = None
        self._minute = minute

    def _take(self, first: int, last: int) -> None:
        cursor = self._stream.cursor
        prices, sizes = cursor.column("price")[first:last], cursor.column("qty")[first:last]
        minutes = self._stream.clocks(first, last) // _BAR_NS
        starts = [0, *(np.flatnonzero(np.diff(minutes)) + 1).tolist()]
        for start, end in zip(starts, [*starts[1:], last - first], strict=True):
            self.close_before(int(minutes[start]) * _BAR_NS)
            of_minute = prices[start:end]
            high, low, before = float(of_minute.max()), float(of_minute.min()), 0.0
            if self._open is not None:
                high, low, before = max(high, self._open.high), min(low, self._open.low), self._open.volume
            # Added up one by one: where batches are cut changes no digit.
            volume = float(np.add.accumulate([before, *sizes[start:end]])[-1])
            self._open = ClosedBar(high, low, float(of_minute[-1]), volume)
        is_sale = cursor.column("side")[first:last] == 1
        if is_sale.any():
            self.sold = float(prices[is_sale][-1])
        if not is_sale.all():
            self.bought = float(prices[~is_sale][-1])
