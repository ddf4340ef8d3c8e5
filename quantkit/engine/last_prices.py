"""The prices that a strategy saw last: those by which an order without a limit is sized."""

from collections.abc import Collection, Mapping
from typing import Final

from quantkit.engine.books import Books
from quantkit.events import Candle
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import StreamCursor
from quantkit.rows.position import RunPosition

_COLUMNS: Final = {"trade": "price", "candle": "close"}


class LastPrices:
    """What the rows say that orders are matched on: the best opposite price, or the last one that was traded.

    Args:
        matching: The stream that matches each instrument's orders.
        cursors: The run's streams.
        books: The run's books.
        position: The run's position.
    """

    def __init__(
        self,
        matching: Mapping[str, Stream],
        cursors: Mapping[Stream, StreamCursor],
        books: Books,
        position: RunPosition,
    ) -> None:
        self._cursors = {instrument: cursors[stream] for instrument, stream in matching.items()}
        self._books = books
        self._position = position
        self._before: dict[StreamCursor, Block] = {}  # the last rows before the present batch
        self._closes: dict[str, float] = {}  # of the warm-up

    def see_candle(self, candle: Candle) -> None:
        """Take note of a candle from before the start."""
        self._closes[candle.instrument] = candle.close

    def leave_rows(self, cursors: Collection[StreamCursor]) -> None:
        """Keep of a batch that has ended, in which these cursors had rows, what may be asked for later."""
        for cursor in cursors:
            if cursor.block is not None and cursor is self._cursors.get(cursor.instrument):
                self._before[cursor] = cursor.block

    def ticks(self, instrument: Instrument, side: Side) -> int | None:
        """Return the price at which an order would take, rounded against it; None where nothing has shown one."""
        price = self._price(self._cursors[instrument.id], side)
        return None if price is None else instrument.market_ticks(price, side)

    def _price(self, cursor: StreamCursor, side: Side) -> float | None:
        if cursor.kind == "book":
            book = self._books.view(cursor.instrument)
            return None if book is None else book.best_ask if side is Side.BUY else book.best_bid
        row = cursor.row_at(self._position.index) if cursor.rows else 0
        block = cursor.block if row else self._before.get(cursor)
        if block is None:
            return self._closes.get(cursor.instrument)
        column = _COLUMNS.get(cursor.kind) or ("ask" if side is Side.BUY else "bid")
        price = float(block.column(column)[row - 1])
        return None if price != price else price  # a side without an offer is not a number
