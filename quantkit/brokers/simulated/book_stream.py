"""A book's rows while orders rest on it: the next one that can concern an order is searched for, not walked to.

Between two such rows nothing changes but the orders' places in the queue, which `QueueScan` works out. What matters to
an order at rest, and has to be run as it stands:

- a trade beyond its price, or at its price and larger than the queue before it;
- a row that sets a level of the other side at its price or beyond: before that row the other side was short of it;
- a row that empties its own level while somebody may stand before it: other levels say whether that is known;
- a snapshot, which says something of every level;
- for a trigger that has not gone off, a trade at its price or beyond, or one better than the best that it trails;
- the first row by whose clock the next message has arrived.

While the book is not valid nothing but its next snapshot matters, and trades to stops. Where a row that names none of
this may still decide something, all rows are needed: see `_needs_every_row`. A gap ends a search; it begins anew there.
"""

from bisect import bisect_left
from typing import Final

from quantkit.brokers.simulated.displayed import DisplayedMarket
from quantkit.brokers.simulated.price_band import AT_LEVEL, OPEN_BAND, PAST_LEVEL
from quantkit.brokers.simulated.queue_scan import QueueScan, is_queue_in_doubt
from quantkit.brokers.simulated.streams import GatedStream, MatchingStream
from quantkit.clock import NEVER_NS
from quantkit.orders import TriggerType
from quantkit.rows.cursors import NOWHERE, BookCursor, StreamCursor

#: Book rows in the first and the widest window.
_FIRST_WINDOW: Final = 32
_LAST_WINDOW: Final = 65_536
#: In a batch of fewer rows a search is dearer than the rows.
_FEW_ROWS: Final = 16
#: So many rows to a snapshot are the least with which a search is worth its while.
_ROWS_PER_SNAPSHOT: Final = 4


class BookStream(MatchingStream):
    """The stream of a book that orders are matched on, which says where the trades beside it matter too.

    Args:
        cursor: The book.
        market: Its orders.
        trades: The trades that orders meet; None without any.
        gaps: The losses of data; None without any.
    """

    __slots__ = (
        "_asks_to",
        "_bids_to",
        "_book",
        "_first",
        "_gap_index",
        "_gaps",
        "_high",
        "_horizon",
        "_instrument",
        "_is_searching",
        "_low",
        "_market",
        "_row",
        "_scans",
        "_trade_row",
        "_trades",
        "_until_index",
        "_window",
    )

    def __init__(
        self, cursor: BookCursor, market: DisplayedMarket, trades: GatedStream | None, gaps: StreamCursor | None
    ) -> None:
        super().__init__(cursor)
        self._book = cursor
        self._market = market
        self._trades = trades
        self._gaps = gaps
        self._is_searching = False
        self._instrument = market.instrument  # whose steps the search goes by
        self._until_index = NOWHERE  # the first row by whose clock the next message has arrived
        self._gap_index = NOWHERE  # the search ends here
        self._scans: list[QueueScan] = []
        self._low, self._high = float("-inf"), float("inf")  # trades between these prices are beyond no order
        self._bids_to, self._asks_to = -NOWHERE, NOWHERE  # a set ask (bid) at this tick or beyond reaches an order
        self._row = self._trade_row = 0  # the rows looked through
        self._horizon = 0  # the index before which they stand
        self._first = NOWHERE  # the index of the first of them that matters
        self._window = _FIRST_WINDOW

    # Changes --------------------------------------------------------------------------------------------------

    def watch(self, until_ns: int, index: int) -> bool:
        """Find the next row that matters, from an index on; return whether any may.

        Args:
            until_ns: When the next message has arrived.
            index: All rows before it have been seen.
        """
        market, trades = self._market, self._trades
        is_needed = market.needs_rows or until_ns != NEVER_NS
        # A search may have begun after the last row of the batch before.
        goes_on = self._is_searching and index > 0 and market.instrument is self._instrument
        if not goes_on or not is_needed:
            self.settle(index)
            if not is_needed or self._needs_every_row(index):
                self._go_by_rows(until_ns, index, is_needed=is_needed)
                return is_needed
            self._begin(index)
        self._until_index = NOWHERE
        if until_ns != NEVER_NS:
            if self.cursor.rows:
                self._until_index = self.cursor.index_of(self.row_from(self.row_at(index), until_ns))
            if trades is not None and trades.cursor.rows:
                first = trades.cursor.index_of(trades.row_from(trades.row_at(index), until_ns))
                self._until_index = min(self._until_index, first)
        self._point()
        return True

    def _go_by_rows(self, until_ns: int, index: int, *, is_needed: bool) -> None:
        """Need every row of the book, and trades beyond a band; or no row at all."""
        if is_needed:
            self.follow(index)
        else:
            self.rest()
        if self._trades is not None:
            if is_needed:
                self._trades.arm(self._market.band() if self._market.orders else OPEN_BAND, until_ns, index)
            else:
                self._trades.rest()

    def settle(self, index: int) -> None:
        """Give all orders their places in the queue as of an index: something happens there that may move them."""
        for scan in self._scans:
            scan.settle(index)
        self._scans = []
        self._is_searching = False

    def _begin(self, index: int) -> None:
        """Begin a search at an index."""
        gaps = self._gaps
        self._is_searching = True
        self._instrument = self._market.instrument
        self._gap_index = NOWHERE if gaps is None or not gaps.rows else gaps.index_of(gaps.row_at(index))
        self._row, self._trade_row = self.row_at(index), self._trade_row_at(index)
        self._horizon, self._first, self._window = index, NOWHERE, _FIRST_WINDOW
        self._take_stock()
        self._extend()

    def _needs_every_row(self, index: int) -> bool:
        """Return whether a row may decide something without naming what an order waits for."""
        market, cursor, book = self._market, self._book, self._book.book
        rows = cursor.rows + (0 if self._trades is None else self._trades.cursor.rows)
        if market.taken or market.is_waiting or rows < _FEW_ROWS:
            return True
        if not market.orders:
            return False
        row = self.row_at(index)
        if cursor.rows:
            if len(cursor.book_rows.snapshots) * _ROWS_PER_SNAPSHOT > cursor.rows:
                return True
            cursor.advance(row)
        if not book.instrument.tick == market.instrument.tick == market.instrument.price_step:
            return True  # levels are added up to the steps that orders have
        clock_ns = self.clock_before(row)
        if self._trades is not None:
            clock_ns = max(clock_ns, self._trades.clock_before(self._trade_row_at(index)))
        bid, ask = book.best_bid_ticks(), book.best_ask_ticks()
        for order in market.orders:
            if order.arrived_ns > clock_ns:
                return True  # rows stamped before its arrival may still come, and must not touch it
            if not order.is_triggered:
                if not market.has_trades and order.trigger is not None and order.trigger.type is TriggerType.LAST:
                    return True  # the best price sets it off, which moves as levels go
                continue
            if not book.is_valid:
                continue
            assert order.limit_ticks is not None
            if (
                (ask is not None and ask <= order.limit_ticks)
                if order.is_buy
                else (bid is not None and bid >= order.limit_ticks)
            ):
                return True  # the other side is there already, and the next row lets it fill
            if is_queue_in_doubt(order, book):
                return True
        return False

    def _trade_row_at(self, index: int) -> int:
        return 0 if self._trades is None else self._trades.cursor.row_at(index)

    def _take_stock(self) -> None:
        """Read from the orders what is to be looked for."""
        market = self._market
        step = float(market.instrument.price_step)
        price, is_valid, tick = market.instrument.price, self._book.book.is_valid, float(market.instrument.tick)
        low, high = float("-inf"), float("inf")
        bids_to, asks_to = -NOWHERE, NOWHERE
        for order in market.orders:
            if not order.is_triggered:
                if order.trigger is not None and order.trigger.type is TriggerType.LAST:
                    below, above = order.trigger.bounds(market.instrument.ticks_per_step)
                    low, high = max(low, below * tick), min(high, above * tick)
            elif is_valid:
                assert order.limit_ticks is not None
                # With nobody in front every trade at the price matters, and nothing that its level shows.
                is_first = order.ahead == 0
                beside = (AT_LEVEL if is_first else PAST_LEVEL) * step
                if order.is_buy:
                    low, bids_to = max(low, price(order.limit_ticks) + beside), max(bids_to, order.limit_ticks)
                else:
                    high, asks_to = min(high, price(order.limit_ticks) - beside), min(asks_to, order.limit_ticks)
                if not is_first:
                    self._scans.append(QueueScan(order, market.instrument, market.queue_model))
        self._low, self._high, self._bids_to, self._asks_to = low, high, bids_to, asks_to

    # The search -----------------------------------------------------------------------------------------------

    def search_on(self) -> None:
        self._extend()
        self._point()

    def _point(self) -> None:
        """Let the two streams stop where something matters, or where the search goes on."""
        next_index, trades = min(self._first, self._until_index), self._trades
        row = self._row
        is_hit = next_index < self._horizon
        if is_hit:
            row = self._book.row_at(next_index)
            is_hit = self._book.index_of(row) == next_index
            if not is_hit:
                assert trades is not None
                self.next_index, self.is_hit = NOWHERE, False
                trades.stop_at(trades.cursor.row_at(next_index), is_hit=True)
                return
        self.stop_at(row, is_hit=is_hit)
        if trades is not None:
            trades.rest()

    def _extend(self) -> None:
        """Look through one more window, twice as wide each time."""
        row, trade = self._row, self._trade_row
        end_row, end_trade = self._book.row_at(self._gap_index), self._trade_row_at(self._gap_index)
        first = NOWHERE
        if self._market.orders and row + self._window < end_row:
            end_row = row + self._window
            end_trade = self._trade_row_at(self._book.index_of(end_row))
            self._horizon = self._book.index_of(end_row)
        else:
            # What the book is worth after a gap is asked anew at the first row behind it.
            self._horizon = NOWHERE
            first = self._book.index_of(end_row)
            if self._trades is not None:
                first = min(first, self._trades.cursor.index_of(end_trade))
        self._window = min(2 * self._window, _LAST_WINDOW)
        self._row, self._trade_row = end_row, end_trade
        self._first = min(first, self._first_row(row, end_row), self._first_trade(trade, end_trade))
        trades = None if self._trades is None else self._trades.cursor
        for scan in self._scans:
            scan.look_through(self._book, (row, end_row), trades, (trade, end_trade))
            self._first = min(self._first, scan.next_index)

    def _first_row(self, first: int, last: int) -> int:
        """Return the index of the first of some book rows that is a snapshot or reaches an order."""
        if first >= last:
            return NOWHERE
        rows = self._book.book_rows
        snapshot = bisect_left(rows.snapshots, first)
        found = min([last, *rows.snapshots[snapshot : snapshot + 1]])
        asks, bids = rows.asks.tops[first:found], rows.bids.tops[first:found]
        if asks and min(asks) <= self._bids_to:
            found = min(found, first + next(n for n, tick in enumerate(asks) if tick <= self._bids_to))
        if bids and max(bids) >= self._asks_to:
            found = min(found, first + next(n for n, tick in enumerate(bids) if tick >= self._asks_to))
        return self._book.index_of(found) if found < last else NOWHERE

    def _first_trade(self, first: int, last: int) -> int:
        """Return the index of the first of some trades that is beyond a limit or sets a stop off."""
        if first >= last or self._trades is None:
            return NOWHERE
        prices = self._trades.cursor.column("price")[first:last]
        if prices.min() > self._low and prices.max() < self._high:
            return NOWHERE
        found = ((prices <= self._low) | (prices >= self._high)).argmax()
        return self._trades.cursor.index_of(first + int(found))
