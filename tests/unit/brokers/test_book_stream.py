"""The search along a book's rows: at which of them it stops for an order at rest, and what it leaves of the queue."""

import numpy as np
import pytest
from recording_sink import BUY, SELL, SWAP, RecordingSink, working

from quantkit.brokers.simulated.book_stream import BookStream
from quantkit.brokers.simulated.displayed import BookDisplay, DisplayedMarket
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.streams import GatedStream, MatchingStream
from quantkit.clock import NEVER_NS
from quantkit.events import BookUpdate, Gap, MarketEvent, Trade
from quantkit.instruments import Instrument
from quantkit.queue_models import queue_model
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import NOWHERE, BookCursor, StreamCursor

Levels = dict[float, float]
BIDS: Levels = {99: 5, 98: 5, 96: 5}
ASKS: Levels = {101: 5, 102: 5, 104: 5}


def shown(at: int, bids: Levels, asks: Levels, *, is_snapshot: bool = False) -> BookUpdate:
    sides = tuple(tuple(map(float, column)) for side in (bids, asks) for column in (side, side.values()))
    return BookUpdate(SWAP.id, at, at, *sides, is_snapshot)


def trade(at: int, price: float, qty: float, side: object = SELL) -> Trade:
    return Trade(SWAP.id, at, at, float(price), float(qty), side)  # type: ignore[arg-type]


class Walk:
    """A book with trades beside it: a snapshot at 0, and at every moment to 99 a row of a far level, or another one."""

    def __init__(self, *rows: MarketEvent) -> None:
        self.cursor = BookCursor(Stream("book", SWAP.id), SWAP)
        self.trades, self.gaps = StreamCursor(Stream("trade", SWAP.id)), StreamCursor(Stream("gap", SWAP.id))
        self.sink = RecordingSink()
        display = BookDisplay(self.cursor.book, SWAP)
        self.sink.market = self.market = DisplayedMarket(
            SWAP,
            self.sink,
            display,
            stale_after_ns=1_000,
            has_trades=True,
            excess_slippage_bps=None,
            queue_model=queue_model("risk_averse"),
        )
        self.prints = GatedStream(self.trades)
        self.stream = BookStream(self.cursor, self.market, self.prints, self.gaps)
        others = {row.received_ns: row for row in rows}
        first = shown(0, BIDS, ASKS, is_snapshot=True)
        self.enter([others.get(at, shown(at, {}, {120: 1 + at % 3}) if at else first) for at in range(100)])

    def enter(self, events: list[MarketEvent]) -> None:
        """Begin with the rows of a batch, and let go of those before."""
        for stream in (self.stream, self.prints):
            if stream.cursor.rows:
                stream.leave_rows()
        for cursor, kind in ((self.cursor, BookUpdate), (self.trades, Trade), (self.gaps, Gap)):
            found = [(index, event) for index, event in enumerate(events) if isinstance(event, kind)]
            block = Block.from_events([event for _, event in found]) if found else None
            cursor.load(block, np.array([index for index, _ in found], np.int64))
        self.stream.enter_rows()
        self.prints.enter_rows()

    def rest(self, order: ExchangeOrder, index: int = 1) -> None:
        """Let an order arrive behind a row."""
        self.cursor.advance(self.cursor.row_at(index))
        self.market.stand_as_of(index)
        self.market.arrive(order, index - 1)
        self.sink.take()

    def stop(self, index: int = 1, until_ns: int = NEVER_NS) -> int:
        """Return the index of the next row that matters, searched from an index on."""
        self.stream.watch(until_ns, index)
        while True:
            stop = min(self.stream.next_index, self.prints.next_index)
            is_hit = self.prints.is_hit if self.prints.next_index == stop else self.stream.is_hit
            if stop == NOWHERE or is_hit:
                return stop
            self.stream.search_on()


def bid(limit: int = 98) -> ExchangeOrder:
    return working(1, BUY, 3, limit)


@pytest.mark.parametrize(
    ("row", "stop"),
    [
        (shown(70, {98: 3}, {}), NOWHERE),  # the level shrinks
        (shown(70, {98: 0}, {}), 70),  # it goes
        (shown(70, {97: 0, 96: 0}, {}), NOWHERE),  # others go
        (shown(70, {}, {98: 1}), 70),  # the other side comes
        (shown(70, {}, {97: 1}), 70),
        (shown(70, {}, {98: 0, 99: 1}), NOWHERE),
        (shown(70, BIDS, ASKS, is_snapshot=True), 70),
        (trade(70, 98, 5), NOWHERE),  # as much as is ahead
        (trade(70, 98, 6), 70),
        (trade(70, 98, 6, BUY), NOWHERE),
        (trade(70, 97, 1, BUY), 70),
        (trade(70, 99, 9), NOWHERE),
        (Gap(SWAP.id, 70, 70, "book", 69, 70, "lost"), 71),  # what the book is worth then is asked there
    ],
)
def test_a_search_stops_where_an_order_may_change(row: MarketEvent, stop: int) -> None:
    """A buy of three at 98, behind five."""
    walk = Walk(row)
    walk.rest(bid())
    assert walk.stop() == stop


def test_no_row_is_missed_between_two_windows() -> None:
    """Wherever the one row stands that matters."""
    for at in range(2, 100):
        for row in (trade(at, 97, 1), shown(at, {}, {98: 1}), trade(at, 98, 6), shown(at, {98: 0}, {})):
            walk = Walk(row)
            walk.rest(bid())
            assert walk.stop() == at


def test_the_queue_is_settled_as_of_any_row() -> None:
    """Five are ahead, three after the print, two after the update; the row of the moment has not been seen."""
    rows = (trade(30, 98, 2), shown(60, {98: 2}, {}))
    for index, ahead in ((30, 5), (31, 3), (60, 3), (61, 2), (100, 2)):
        walk, order = Walk(*rows), bid()
        walk.rest(order)
        assert walk.stop() == NOWHERE
        walk.stream.settle(index)
        assert order.lots_in_front == ahead


def test_the_moment_of_a_message_is_a_stop() -> None:
    """The first row of either kind by whose clock it has arrived, with an order at rest or without."""
    walk = Walk(trade(30, 99, 1))
    assert [walk.stop(until_ns=moment) for moment in (30, 31, 99, 100)] == [30, 31, 99, NOWHERE]
    walk.rest(bid())
    assert [walk.stop(until_ns=moment) for moment in (30, 31, 99, 100)] == [30, 31, 99, NOWHERE]


def test_every_row_matters_while_a_level_is_not_known_to_be_empty() -> None:
    """Nothing is shown at 95 or beyond: a level there would tell that nobody is ahead."""
    walk = Walk()
    walk.rest(bid(95))
    assert walk.stop() == 1


def test_every_row_matters_until_the_clock_has_passed_an_arrival() -> None:
    """It came by time in a quiet market: rows from before may be on their way."""
    walk, order = Walk(), bid()
    order.arrived_ns = 50
    walk.rest(order)
    assert (walk.stop(), walk.stop(20)) == (1, 20)
    assert walk.stop(51) == NOWHERE


def test_every_row_matters_while_the_other_side_has_reached_an_order() -> None:
    """It came there with a row from before the arrival: the next newer row lets it fill, whatever that names."""
    walk, order = Walk(shown(10, {}, {100: 1})), bid(100)
    walk.rest(order)
    order.arrived_ns = 50
    assert walk.stop(60) == 60


def test_a_search_ends_with_its_batch() -> None:
    """The one that began behind the last row of a batch knows nothing of the next one."""
    walk = Walk()
    walk.rest(bid())
    assert walk.stop(100) == NOWHERE
    walk.enter([shown(100 + at, {}, {98: 1} if at == 7 else {120: 1}) for at in range(100)])
    assert walk.stop(0) == 7


def test_a_stop_waits_for_prints_in_its_direction() -> None:
    """A sell that 97 sets off, beside a buy at rest: a print there matters, one in between does not."""
    for price, found in ((97, 40), (98.5, NOWHERE)):
        walk = Walk(trade(40, price, 1, BUY))
        walk.rest(bid(96))
        walk.rest(working(2, SELL, 3, None, stop=97))
        assert walk.stop() == found


def test_every_row_matters_on_a_grid_finer_than_the_step() -> None:
    """Levels are added up to the steps that orders have."""
    walk = Walk()
    coarser = {**SWAP.to_dict(), "price_step": SWAP.price_step * 2}
    walk.market.use(Instrument.from_dict(coarser).on_grid(SWAP.tick, SWAP.lot))
    walk.rest(bid())
    assert walk.stop() == 1


def test_a_batch_of_prints_alone_is_searched_too() -> None:
    """The book stands as it stood: a print that goes through the queue is found, and the moment of a message."""
    walk = Walk()
    walk.rest(bid())
    walk.enter([trade(100 + at, 97 if at == 30 else 99, 1) for at in range(100)])
    assert walk.stop(0) == 30
    assert walk.stop(0, until_ns=120) == 20


def test_a_stream_without_a_search_never_stops_short_of_a_hit() -> None:
    with pytest.raises(AssertionError, match="is a hit"):
        MatchingStream(StreamCursor(Stream("ticker", SWAP.id))).search_on()


def test_a_search_for_a_sell_looks_the_other_way() -> None:
    """Three to sell at 102, behind five: bids that reach it and prints above it matter."""
    for row, found in (
        (shown(70, {102: 1}, {}), 70),
        (shown(70, {100: 1}, {}), NOWHERE),
        (trade(70, 103, 1, BUY), 70),
        (trade(70, 101, 9, BUY), NOWHERE),
    ):
        walk = Walk(row)
        walk.rest(working(1, SELL, 3, 102))
        assert walk.stop() == found
