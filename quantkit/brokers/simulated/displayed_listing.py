"""Instruments whose orders are matched on displayed sizes, a book or best bid and offer, and the trades beside them."""

from abc import abstractmethod
from collections.abc import Sequence

from quantkit.brokers.simulated.book_stream import BookStream
from quantkit.brokers.simulated.displayed import DisplayedMarket, TickerDisplay
from quantkit.brokers.simulated.listing import Listing, print_of
from quantkit.brokers.simulated.streams import MatchingStream
from quantkit.instruments import Side
from quantkit.latency import Travel
from quantkit.rows.cursors import BookCursor, StreamCursor
from quantkit.rows.marks import MarkSource
from quantkit.rows.position import RunPosition


class DisplayedListing(Listing):
    """An instrument with a display.

    Args:
        market: Its working orders.
        streams: The display's, then that of the trades where there is one.
        last_trades: The last trade's price, where there are trades.
    """

    market: DisplayedMarket

    def __init__(
        self,
        market: DisplayedMarket,
        streams: Sequence[MatchingStream],
        last_trades: MarkSource | None,
        *,
        travel: Travel,
        follows_rows: bool,
    ) -> None:
        super().__init__(market, streams, travel=travel, follows_rows=follows_rows)
        self._last_trades = last_trades

    def arm(self, index: int) -> bool:
        if super().arm(index):
            return True
        if self.market.needs_rows:
            self.streams[0].follow(index)
            return True
        return False

    def sync(self, index: int) -> None:
        if self._last_trades is not None:
            self.market.see(self._last_trades.before(index))
        rows = self.streams[0].row_at(index)
        if rows:
            self._show(rows)
            self.market.stand_as_of(self.clock_ns(self.streams[0].cursor.index_of(rows - 1) + 1))

    @abstractmethod
    def _show(self, rows: int) -> None:
        """Let the display show what it did after its first rows of this batch."""

    @abstractmethod
    def _update(self, row: int, clock_ns: int) -> None:
        """Let a row of the display reach the orders."""

    def apply_row(self, stream: MatchingStream, row: int, clock_ns: int) -> None:
        self.row_begun = None
        if stream is self.streams[0]:
            self._update(row, clock_ns)
            return
        cursor = stream.cursor
        qty, side, stamp_ns = 0.0, Side.BUY, clock_ns
        if self.market.orders:
            qty, side = print_of(cursor, row)
            stamp_ns = int(cursor.column("exchange_ns")[row])
        self.market.on_trade(float(cursor.column("price")[row]), qty, side, clock_ns, stamp_ns)


class BookListing(DisplayedListing):
    """An instrument with a book.

    Args:
        market, last_trades: As above.
        stream: The book's, which knows of the trades.
        trades: Their stream; None without any.
        cursor: The book's rows.
        position: The run's position.
    """

    def __init__(
        self,
        market: DisplayedMarket,
        stream: BookStream,
        trades: MatchingStream | None,
        last_trades: MarkSource | None,
        *,
        cursor: BookCursor,
        position: RunPosition,
        travel: Travel,
        follows_rows: bool,
    ) -> None:
        streams = [stream] if trades is None else [stream, trades]
        super().__init__(market, streams, last_trades, travel=travel, follows_rows=follows_rows)
        self._stream = stream
        self._cursor = cursor
        self._position = position

    def begin(self) -> None:
        self.market.stand_as_of(self._cursor.begun_ns)

    def arm(self, index: int) -> bool:
        if self._follows_rows:
            return super().arm(index)
        return self._stream.watch(self.arrival_ns(index), index)

    def sync(self, index: int) -> None:
        self._stream.settle(index)
        super().sync(index)

    def begin_row(self, stream: MatchingStream, row: int, index: int) -> int:
        self._stream.settle(index)
        return super().begin_row(stream, row, index)

    def _show(self, rows: int) -> None:
        self._cursor.advance(rows)

    def _update(self, row: int, clock_ns: int) -> None:
        market, cursor = self.market, self._cursor
        cursor.advance(row)
        if market.taken:
            market.before_update(cursor.book_rows.named_levels(row))
        if market.orders and not cursor.book.is_valid:
            market.lose_sight()
        cursor.advance(row + 1)
        if cursor.book.is_valid:
            cursor.book.check_not_crossed(self._position.now_ns)
        market.on_update(clock_ns, int(cursor.column("exchange_ns")[row]) if market.orders else clock_ns)


class TickerListing(DisplayedListing):
    """An instrument with best bid and offer.

    Args:
        market, streams, last_trades: As above.
        cursor: The tickers.
        display: What the last of them showed.
    """

    def __init__(
        self,
        market: DisplayedMarket,
        streams: Sequence[MatchingStream],
        last_trades: MarkSource | None,
        *,
        cursor: StreamCursor,
        display: TickerDisplay,
        travel: Travel,
        follows_rows: bool,
    ) -> None:
        super().__init__(market, streams, last_trades, travel=travel, follows_rows=follows_rows)
        self._cursor = cursor
        self._display = display

    def _show(self, rows: int) -> None:
        self._display.update(*_ticker(self._cursor, rows - 1))

    def _update(self, row: int, clock_ns: int) -> None:
        self._display.update(*_ticker(self._cursor, row))
        stamp_ns = int(self._cursor.column("exchange_ns")[row]) if self.market.orders else clock_ns
        # A ticker does not say when the size of its price changed: trades count as they come in.
        self.market.on_update(clock_ns, stamp_ns, is_dated=False)


def _ticker(cursor: StreamCursor, row: int) -> tuple[float | None, float | None, float | None, float | None]:
    """Return bid, bid_qty, ask and ask_qty of a row, None where the source had nothing."""
    values = (float(cursor.column(name)[row]) for name in ("bid", "bid_qty", "ask", "ask_qty"))
    bid, bid_qty, ask, ask_qty = (None if value != value else value for value in values)
    return bid, bid_qty, ask, ask_qty
