"""How one order moves up in the queue, found in a stretch of book rows and trades at once."""

from bisect import bisect_left, bisect_right

import numpy as np

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.price_band import AT_LEVEL
from quantkit.instruments import Instrument, Side
from quantkit.orderbook import DenseBook
from quantkit.queue_models import Moved, QueueModel, QueuePlace
from quantkit.rows.cursors import NOWHERE, BookCursor, StreamCursor


def is_queue_in_doubt(order: ExchangeOrder, book: DenseBook) -> bool:
    """Return whether any row may tell how many are ahead: its level is empty, and others say whether that is known."""
    assert order.limit_ticks is not None
    return order.ahead is None or (order.ahead != 0 and book.size(order.side, order.limit_ticks) == 0.0)


class QueueScan:
    """One resting order's `ahead`, looked up as far as rows have been looked through.

    Two kinds of rows change it: book rows that name the order's own level, and trades of the other side at its price.
    The rules are those of `DisplayedMarket` and its queue model.

    Args:
        order: It rests at a price on the display's steps, at a known place in the queue.
        instrument: The steps.
        model: The market's.

    Attributes:
        next_index: The index of the first row that has to be looked at closely, `NOWHERE` while there is none: a print
            that fills the order or is from before it, or a row that empties its level. Other levels decide whether that
            is known to be empty.
    """

    __slots__ = (
        "_indices",
        "_instrument",
        "_limit_ticks",
        "_model",
        "_order",
        "_place",
        "_places",
        "_price",
        "_side",
        "next_index",
    )

    def __init__(self, order: ExchangeOrder, instrument: Instrument, model: QueueModel) -> None:
        assert order.limit_ticks is not None
        self.next_index = NOWHERE
        self._order = order
        self._instrument = instrument
        self._limit_ticks = order.limit_ticks
        self._price = instrument.price(order.limit_ticks)
        self._side = int(order.is_buy)  # of trades of the other side, as the column has it
        self._model = model
        # As of the rows looked through.
        self._place = QueuePlace(order.ahead, order.shown, order.printed, order.moves)
        self._indices: list[int] = []  # rows that changed it
        self._places: list[tuple[int | None, int | None, int, tuple[Moved, ...]]] = []  # what they left

    def settle(self, index: int) -> None:
        """Give the order the place in the queue that the rows before an index leave."""
        seen = bisect_left(self._indices, index)
        if seen:
            order = self._order
            order.ahead, order.shown, order.printed, order.moves = self._places[seen - 1]

    def look_through(
        self, book: BookCursor, rows: tuple[int, int], trades: StreamCursor | None, prints: tuple[int, int]
    ) -> None:
        """Go on through the next rows of the book and the next trades, each given as first and last (exclusive)."""
        # With nobody ahead, what the level shows no longer matters.
        place, model = self._place, self._model
        assert place.ahead is not None
        shown = self._shown(book, *rows) if place.ahead != 0 and rows[0] < rows[1] else {}
        traded = self._traded(trades, *prints) if trades is not None and prints[0] < prints[1] else {}
        for index in sorted((*shown, *traded)):
            if index in shown:
                if place.ahead == 0:
                    continue
                size, stamp_ns = shown[index]
                if size == 0.0:
                    self.next_index = index
                    return
                model.see(place, self._instrument.lots_ceil(size), stamp_ns)
            else:
                size, stamp_ns = traded[index]
                lots = self._instrument.lots_floor(size)
                is_late = any(moved.stamp_ns > stamp_ns for moved in place.moves)
                if lots > place.ahead or is_late or stamp_ns < self._order.arrived_ns:
                    self.next_index = index
                    return
                model.take_print(place, lots, stamp_ns)
            self._indices.append(index)
            self._places.append((place.ahead, place.shown, place.printed, place.moves))

    def _shown(self, book: BookCursor, first: int, last: int) -> dict[int, tuple[float, int]]:
        """Return the sizes that book rows show at our price and their stamps, by index.

        Of a level named twice the last counts.
        """
        side = book.book_rows.bids if self._order.side is Side.BUY else book.book_rows.asks
        begin = side.start[first]
        found = (side.ticks[begin : side.start[last]] == self._limit_ticks).nonzero()[0]
        if not len(found):
            return {}
        found += begin
        rows = [bisect_right(side.start, level) - 1 for level in found.tolist()]
        told = zip(side.sizes[found].tolist(), book.column("exchange_ns")[rows].tolist(), strict=True)
        return dict(zip(book.positions[rows].tolist(), told, strict=True))

    def _traded(self, trades: StreamCursor, first: int, last: int) -> dict[int, tuple[float, int]]:
        """Return the sizes of trades of the other side at our price and their stamps, by index."""
        prices, sides = trades.column("price"), trades.column("side")
        is_near = np.abs(prices[first:last] - self._price) < AT_LEVEL * float(self._instrument.price_step)
        found = (is_near & (sides[first:last] == self._side)).nonzero()[0]
        if not len(found):
            return {}
        found += first
        rows = zip(
            trades.positions[found].tolist(),
            prices[found].tolist(),
            trades.column("qty")[found].tolist(),
            trades.column("exchange_ns")[found].tolist(),
            strict=True,
        )
        # A print off the step counts at the step that is worse for the order.
        price_of_ours, is_buy, around = self._price, self._order.is_buy, self._instrument.ticks_around
        return {
            index: (qty, stamp_ns)
            for index, price, qty, stamp_ns in rows
            if price == price_of_ours or around(price)[is_buy] == self._limit_ticks
        }
