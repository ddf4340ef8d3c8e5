"""The band of order prices that the exchange told of an instrument, as it stood before any row."""

import math

from quantkit.events import PriceLimit
from quantkit.instruments import Instrument, Side
from quantkit.rows.cursors import StreamCursor
from quantkit.venue_rules.okx import NO_BAND, OrderBand


class PriceLimits:
    """Reads the latest band from the rows of `price_limit`, which are few.

    Args:
        cursor: Their stream.
        told: The one from before the run; None without one.
    """

    def __init__(self, cursor: StreamCursor, told: PriceLimit | None = None) -> None:
        self.cursor = cursor
        self._last: tuple[float, float, bool] | None = None  # of the batches that have ended
        if told is not None:
            highest, lowest = (math.nan if each is None else each for each in (told.highest_buy, told.lowest_sell))
            self._last = highest, lowest, told.is_enforced

    def leave_rows(self) -> None:
        """Keep the last band of a batch that ends."""
        if self.cursor.rows:
            self._last = self._at(self.cursor.rows - 1)

    def before(self, index: int, instrument: Instrument) -> OrderBand:
        """Return the band as it was told before an index, on the instrument's price step."""
        row = self.cursor.row_at(index) if self.cursor.rows else 0
        told = self._at(row - 1) if row else self._last
        if told is None or not told[2]:
            return NO_BAND
        highest, lowest, _ = told
        # Without a limit the column has NaN, which equals nothing.
        return OrderBand(
            instrument.limit_ticks(highest, Side.BUY) if highest == highest else None,
            instrument.limit_ticks(lowest, Side.SELL) if lowest == lowest else None,
        )

    def _at(self, row: int) -> tuple[float, float, bool]:
        column = self.cursor.column
        return float(column("highest_buy")[row]), float(column("lowest_sell")[row]), bool(column("is_enforced")[row])
