"""The dense book and the view that hooks read: levels, windows, staleness, and what counts as crossed."""

import decimal
from collections.abc import Sequence

import numpy as np
import pytest

from quantkit.errors import ConfigError, DataError
from quantkit.events import BookUpdate
from quantkit.instruments import Instrument, Side
from quantkit.orderbook import WINDOW, Book, BookRows, DenseBook
from quantkit.rows.columns import Block

BTC = Instrument("BTC-USDT", price_step="0.5", qty_step="0.1")
Levels = Sequence[tuple[int, float]]


def row(bids: Levels = (), asks: Levels = (), *, is_snapshot: bool = False) -> BookUpdate:
    """Return a book row whose prices are given in steps."""
    return BookUpdate(
        BTC.id,
        0,
        0,
        tuple(BTC.price(ticks) for ticks, _ in bids),
        tuple(size for _, size in bids),
        tuple(BTC.price(ticks) for ticks, _ in asks),
        tuple(size for _, size in asks),
        is_snapshot,
    )


def rows_of(*updates: BookUpdate) -> BookRows:
    """Return rows ready for a dense book."""
    return BookRows(Block.from_events(updates).column, DenseBook(BTC))


def book_of(*updates: BookUpdate) -> DenseBook:
    """Return the book that `updates` leave, taken in one slice."""
    book = DenseBook(BTC)
    book.apply(rows_of(*updates), 0, len(updates))
    return book


def view_of(book: DenseBook) -> Book:
    """Return what a hook would get."""
    return Book(book, exchange_ns=1, received_ns=2)


def both_sides(book: DenseBook) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Return all bids and asks in steps, best first."""
    return list(book.levels(Side.BUY)), list(book.levels(Side.SELL))


SNAPSHOT = row([(200, 1.0), (198, 2.0), (190, 4.0)], [(202, 3.0), (203, 1.0)], is_snapshot=True)


# The dense book -----------------------------------------------------------------------------------------------


def test_a_book_is_invalid_until_its_first_snapshot() -> None:
    """Changes before it say nothing, since nobody knows what they change."""
    book = DenseBook(BTC)
    assert not book.is_valid
    book.apply(rows_of(row([(200, 1.0)])), 0, 1)
    assert not book.is_valid
    assert both_sides(book) == ([], [])
    book.apply(rows_of(SNAPSHOT), 0, 1)
    assert book.is_valid
    assert both_sides(book) == ([(200, 1.0), (198, 2.0), (190, 4.0)], [(202, 3.0), (203, 1.0)])


def test_changes_set_replace_and_remove_levels() -> None:
    """Size zero removes; removing what is not there is nothing."""
    book = book_of(SNAPSHOT, row([(200, 0.0), (199, 5.0), (150, 0.0)], [(202, 7.0), (201, 0.5)]))
    assert both_sides(book) == ([(199, 5.0), (198, 2.0), (190, 4.0)], [(201, 0.5), (202, 7.0), (203, 1.0)])
    assert (book.best_bid_ticks(), book.best_ask_ticks()) == (199, 201)


def test_the_last_change_of_a_level_within_a_slice_wins() -> None:
    """Whether the slice ends with the level there or gone."""
    there = book_of(SNAPSHOT, row([(201, 9.0)]), row([(201, 0.0)]), row([(201, 2.0)]))
    assert next(there.levels(Side.BUY)) == (201, 2.0)
    gone = book_of(SNAPSHOT, row([(201, 9.0)]), row([(201, 2.0)]), row([(201, 0.0)]))
    assert gone.best_bid_ticks() == 200


def test_a_snapshot_replaces_everything_before_it() -> None:
    """Rows before the last snapshot of a slice leave no trace, rows after it count."""
    book = book_of(SNAPSHOT, row([(201, 1.0)]), row([(10, 1.0)], [(12, 1.0)], is_snapshot=True), row([(11, 2.0)]))
    assert both_sides(book) == ([(11, 2.0), (10, 1.0)], [(12, 1.0)])


def test_a_snapshot_that_names_a_level_twice_ends_with_the_last() -> None:
    """Also where the last says that the level is empty."""
    book = book_of(row([(10, 1.0), (10, 3.0), (9, 1.0), (9, 0.0)], [(12, 1.0)], is_snapshot=True))
    assert list(book.levels(Side.BUY)) == [(10, 3.0)]


def test_snapshots_in_a_row_leave_nothing_of_each_other() -> None:
    """With and without changes between them, and with a removal of what only an earlier one had."""
    second = row([(300, 1.0)], [(301, 1.0)], is_snapshot=True)
    third = row([(100, 1.0)], [(101, 1.0)], is_snapshot=True)
    updates = (SNAPSHOT, second, row([(299, 1.0)]), third, row([(300, 0.0)]), second)
    book, rows = DenseBook(BTC), rows_of(*updates)
    seen = []
    for number in range(len(updates)):
        book.apply(rows, number, number + 1)
        seen.append(both_sides(book)[0])
    assert seen[1:] == [
        [(300, 1.0)],
        [(300, 1.0), (299, 1.0)],
        [(100, 1.0)],
        [(100, 1.0)],
        [(300, 1.0)],
    ]


def test_invalid_after_a_gap_until_the_next_snapshot() -> None:
    """Changes in between are not taken in."""
    book = book_of(SNAPSHOT)
    book.invalidate()
    book.apply(rows_of(row([(201, 1.0)])), 0, 1)
    assert not book.is_valid
    book.apply(rows_of(row([(5, 1.0)], is_snapshot=True)), 0, 1)
    assert book.is_valid
    assert both_sides(book) == ([(5, 1.0)], [])


def test_an_empty_slice_and_an_empty_row_change_nothing() -> None:
    """A heartbeat row has no levels at all."""
    book = book_of(SNAPSHOT)
    before = both_sides(book)
    book.apply(rows_of(row(), row()), 0, 2)
    book.apply(rows_of(row()), 1, 1)
    assert both_sides(book) == before


def test_one_sided_and_empty_books() -> None:
    """A side without levels has no best price."""
    bids_only = book_of(row([(10, 1.0)], is_snapshot=True))
    assert (bids_only.best_bid_ticks(), bids_only.best_ask_ticks()) == (10, None)
    asks_only = book_of(row([], [(10, 1.0)], is_snapshot=True))
    assert (asks_only.best_bid_ticks(), asks_only.best_ask_ticks()) == (None, 10)
    empty = book_of(row(is_snapshot=True))
    assert (empty.best_bid_ticks(), empty.best_ask_ticks()) == (None, None)
    assert empty.is_valid


def test_size_of_a_level() -> None:
    """Near, far, empty, and of the other side."""
    far = 200 - 3 * WINDOW
    book = book_of(SNAPSHOT, row([(far, 6.0)]))
    assert book.size(Side.BUY, 198) == 2.0
    assert book.size(Side.SELL, 198) == 0.0
    assert book.size(Side.BUY, 197) == 0.0
    assert book.size(Side.BUY, far) == 6.0
    assert book.size(Side.BUY, far - 1) == 0.0


def test_far_levels_are_kept_in_order_behind_the_near_ones() -> None:
    """And removing one that was never there is nothing."""
    low, high = 200 - 2 * WINDOW, 200 + 2 * WINDOW
    change = row([(low, 1.0), (low - 7, 2.0), (low - 9, 0.0)], [(high + 3, 4.0), (high, 3.0), (high + 1, 0.0)])
    book = book_of(SNAPSHOT, change)
    bids, asks = both_sides(book)
    assert bids[-2:] == [(low, 1.0), (low - 7, 2.0)]
    assert asks[-2:] == [(high, 3.0), (high + 3, 4.0)]
    book.apply(rows_of(row([(low, 0.0)], [(high, 0.0)])), 0, 1)
    assert book.size(Side.BUY, low) == 0.0
    assert both_sides(book)[1][-1] == (high + 3, 4.0)


LOW, HIGH = 200 - 2 * WINDOW, 200 + 2 * WINDOW
FAR_CHANGES = (
    row([(LOW, 1.0), (LOW - 1, 2.0)], [(HIGH, 1.0)]),
    row([(199, 1.0)], []),
    row([(LOW, 0.0), (LOW - 2, 3.0)], [(HIGH, 4.0)]),
    row([], [(HIGH + 1, 5.0)]),
)
FAR_BIDS = [(LOW - 1, 2.0), (LOW - 2, 3.0)]
FAR_ASKS = [(HIGH, 4.0), (HIGH + 1, 5.0)]


@pytest.mark.parametrize("blocks", [(4,), (1, 3), (2, 2), (1, 1, 1, 1)], ids=str)
@pytest.mark.parametrize("step", [1, 2, 4])
def test_far_levels_of_many_slices_are_there_when_they_are_asked_for(blocks: tuple[int, ...], step: int) -> None:
    """Nobody reads between the slices, in one block or in several."""
    book, first = book_of(SNAPSHOT), 0
    for count in blocks:
        rows = rows_of(*FAR_CHANGES[first : first + count])
        for begin in range(0, count, step):
            book.apply(rows, begin, min(begin + step, count))
        first += count
    twin = book.twin()
    for each in (book, twin):
        bids, asks = both_sides(each)
        assert bids[-2:] == FAR_BIDS
        assert asks[-2:] == FAR_ASKS
        assert each.size(Side.BUY, LOW - 2) == 3.0
        assert each.size_between(Side.SELL, 203, HIGH) == 1.0 + 4.0
        assert each.has_level_beyond(Side.BUY, LOW - 2)
        assert not each.has_level_beyond(Side.BUY, LOW - 3)


def test_far_levels_before_a_snapshot_are_gone_with_it() -> None:
    """Also those that nobody had asked for."""
    book = book_of(SNAPSHOT)
    book.apply(rows_of(*FAR_CHANGES), 0, 4)
    book.apply(rows_of(SNAPSHOT), 0, 1)
    assert both_sides(book) == ([(200, 1.0), (198, 2.0), (190, 4.0)], [(202, 3.0), (203, 1.0)])


def test_far_levels_are_kept_on_a_finer_grid() -> None:
    """Also those that nobody had asked for when it began."""
    book = book_of(SNAPSHOT)
    book.apply(rows_of(*FAR_CHANGES), 0, 4)
    update = BookUpdate(BTC.id, 0, 0, (100.1,), (7.0,), (), (), False)
    book.apply(BookRows(Block.from_events([update]).column, book), 0, 1)
    bids, asks = both_sides(book)
    assert book.instrument.tick == BTC.tick / 5
    assert bids[-2:] == [(5 * ticks, size) for ticks, size in FAR_BIDS]
    assert asks[-2:] == [(5 * ticks, size) for ticks, size in FAR_ASKS]


def test_a_far_level_on_the_market_s_side_is_the_best_at_once() -> None:
    """A bid a window above the asks: crossed, and seen to be."""
    book = book_of(SNAPSHOT, row([(HIGH, 1.0)]))
    assert book.best_bid_ticks() == HIGH
    book = book_of(SNAPSHOT, row([], [(LOW, 1.0)]))
    assert book.best_ask_ticks() == LOW
    with pytest.raises(DataError, match="crossed"):
        book.check_not_crossed(0)


def test_two_books_go_by_the_same_rows_with_windows_of_their_own() -> None:
    """What one has worked out for its window is none of the other's."""
    one, other = book_of(SNAPSHOT), book_of(row([(1000, 1.0)], [(1001, 1.0)], is_snapshot=True))
    edge = 200 - WINDOW // 2 + 100  # inside the one's window, outside the other's
    rows = rows_of(row([(edge, 5.0), (LOW, 6.0)], []))
    for book in (one, other):
        book.apply(rows, 0, 1)
    assert both_sides(one)[0] == [(200, 1.0), (198, 2.0), (190, 4.0), (edge, 5.0), (LOW, 6.0)]
    assert both_sides(other)[0] == [(1000, 1.0), (edge, 5.0), (LOW, 6.0)]


@pytest.mark.parametrize("move", [WINDOW, -WINDOW, 5 * WINDOW, -3 * WINDOW])
def test_the_window_follows_the_market(move: int) -> None:
    """A jump of both sides in one row; what stays behind is still there."""
    bid, ask = 10 * WINDOW, 10 * WINDOW + 2
    book = book_of(row([(bid, 1.0)], [(ask, 1.0)], is_snapshot=True))
    change = row([(bid, 0.0), (bid + move, 2.0)], [(ask, 0.0), (ask + move, 3.0)])
    book.apply(rows_of(change), 0, 1)
    assert both_sides(book) == ([(bid + move, 2.0)], [(ask + move, 3.0)])
    assert (book.best_bid_ticks(), book.best_ask_ticks()) == (bid + move, ask + move)


def test_a_jump_beyond_the_window_keeps_the_lesser_bids_of_the_same_row() -> None:
    """The most aggressive level of a row lies outside the window, another new best inside."""
    bid, ask = 10 * WINDOW, 10 * WINDOW + 2
    book = book_of(row([(bid, 1.0)], [(ask, 1.0)], is_snapshot=True))
    jump = bid + WINDOW
    book.apply(rows_of(row([(bid + 1, 5.0), (jump, 2.0)], [(ask, 0.0), (jump + 1, 1.0)])), 0, 1)
    assert list(book.levels(Side.BUY)) == [(jump, 2.0), (bid + 1, 5.0), (bid, 1.0)]


def test_the_side_left_behind_becomes_the_best() -> None:
    """When the near levels are gone the far ones are the market."""
    low = 10 * WINDOW - 2 * WINDOW
    book = book_of(row([(10 * WINDOW, 1.0), (low, 9.0)], [(10 * WINDOW + 1, 1.0)], is_snapshot=True))
    book.apply(rows_of(row([(10 * WINDOW, 0.0)])), 0, 1)
    assert book.best_bid_ticks() == low
    book.apply(rows_of(row([], [(10 * WINDOW + 1, 0.0)])), 0, 1)
    assert both_sides(book) == ([(low, 9.0)], [])
    book.apply(rows_of(row([(low + 1, 1.0)])), 0, 1)
    assert both_sides(book) == ([(low + 1, 1.0), (low, 9.0)], [])


def test_the_window_moves_to_the_side_left_behind_once_a_reader_has_seen_it() -> None:
    """Else every later reading would look through the far levels."""
    low, top = 8 * WINDOW, 10 * WINDOW
    book = book_of(row([(top, 1.0), (low, 9.0)], [(top + 1, 1.0)], is_snapshot=True))
    book.apply(rows_of(row([(top, 0.0)], [(top + 1, 0.0)])), 0, 1)
    assert book.best_bid_ticks() == low
    assert not low - WINDOW < book._base <= low
    book.apply(rows_of(row([(low + 1, 1.0)])), 0, 1)
    assert low - WINDOW < book._base <= low
    assert both_sides(book) == ([(low + 1, 1.0), (low, 9.0)], [])


def test_asks_left_behind_become_the_best() -> None:
    """The same on the other side."""
    high = 12 * WINDOW
    book = book_of(row([(10 * WINDOW, 1.0)], [(10 * WINDOW + 1, 1.0), (high, 9.0)], is_snapshot=True))
    book.apply(rows_of(row([], [(10 * WINDOW + 1, 0.0)])), 0, 1)
    assert book.best_ask_ticks() == high
    book.apply(rows_of(row([], [(high, 0.0)])), 0, 1)
    assert book.best_ask_ticks() is None


def test_a_spread_wider_than_the_window_does_not_lay_the_book_out_anew_each_row() -> None:
    """Nothing would be dense wherever the window lay, so it stays."""
    bid, ask = 10 * WINDOW, 13 * WINDOW
    book = book_of(row([(bid, 1.0)], [(ask, 1.0)], is_snapshot=True))
    changes = rows_of(*(row([(bid + number, 1.0)], [(ask - number, 2.0)]) for number in range(1, 4)))
    base = book._base
    for number in range(3):
        book.apply(changes, number, number + 1)
        assert (book.best_bid_ticks(), book.best_ask_ticks()) == (bid + number + 1, ask - number - 1)
    assert book._base == base
    assert [ticks for ticks, _ in book.levels(Side.SELL)] == [ask - 3, ask - 2, ask - 1, ask]


def test_a_widely_crossed_book_is_seen_to_be_crossed() -> None:
    """Bids far above and asks far below, with innocent levels between them."""
    mid = 10 * WINDOW
    bids, asks = [(mid + WINDOW, 1.0), (mid, 2.0)], [(mid + 1, 2.0), (mid - WINDOW, 1.0)]
    book = book_of(row(bids, asks, is_snapshot=True))
    assert (book.best_bid_ticks(), book.best_ask_ticks()) == (mid + WINDOW, mid - WINDOW)
    assert both_sides(book) == (bids, asks[::-1])
    with pytest.raises(DataError, match="crossed book"):
        book.check_not_crossed(0)
    book.apply(rows_of(row([(mid + WINDOW, 0.0)], [(mid - WINDOW, 0.0)])), 0, 1)
    book.check_not_crossed(0)
    assert both_sides(book) == ([(mid, 2.0)], [(mid + 1, 2.0)])


def test_the_best_is_found_across_long_empty_stretches() -> None:
    """Further than one look along, on both sides."""
    mid = 10 * WINDOW
    bids = [(mid, 1.0), (mid - 40, 1.0), (mid - 1_500, 1.0), (mid - 20_000, 1.0)]
    asks = [(mid + 1, 1.0), (mid + 41, 1.0), (mid + 1_501, 1.0), (mid + 20_001, 1.0)]
    book = book_of(row(bids, asks, is_snapshot=True))
    for number in range(3):
        book.apply(rows_of(row([(bids[number][0], 0.0)], [(asks[number][0], 0.0)])), 0, 1)
        assert book.best_bid_ticks() == bids[number + 1][0]
        assert book.best_ask_ticks() == asks[number + 1][0]
    book.apply(rows_of(row([(bids[3][0], 0.0)], [(asks[3][0], 0.0)])), 0, 1)
    assert (book.best_bid_ticks(), book.best_ask_ticks()) == (None, None)


@pytest.mark.parametrize(
    ("side", "ticks", "expected"),
    [
        (Side.BUY, 190, True),
        (Side.BUY, 189, True),
        (Side.BUY, 200 - 2 * WINDOW, True),
        (Side.BUY, 200 - 2 * WINDOW - 1, False),
        (Side.BUY, 10 * WINDOW, True),
        (Side.SELL, 203, True),
        (Side.SELL, 204, True),
        (Side.SELL, 200 + 2 * WINDOW, True),
        (Side.SELL, 201 + 2 * WINDOW, False),
        (Side.SELL, -10 * WINDOW, True),
    ],
)
def test_has_level_beyond(side: Side, ticks: int, *, expected: bool) -> None:
    """An empty level is known to be empty when something is displayed at it or further out."""
    book = book_of(SNAPSHOT, row([(200 - 2 * WINDOW, 1.0)], [(200 + 2 * WINDOW, 1.0)]))
    assert book.has_level_beyond(side, ticks) is expected


def test_has_level_beyond_without_far_levels() -> None:
    """The deepest level is the end of what is known."""
    book = book_of(SNAPSHOT)
    assert book.has_level_beyond(Side.BUY, 190)
    assert not book.has_level_beyond(Side.BUY, 189)
    assert book.has_level_beyond(Side.SELL, 203)
    assert not book.has_level_beyond(Side.SELL, 204)


def test_named_levels_of_rows() -> None:
    """A snapshot names all levels, a change its own, removed ones included."""
    rows = rows_of(row([(1, 1.0)]), SNAPSHOT, row([(5, 0.0)], [(7, 1.0)]), row())
    named = [rows.named_levels(number) for number in range(4)]
    assert named == [{(Side.BUY, 1)}, None, {(Side.BUY, 5), (Side.SELL, 7)}, set()]
    assert rows.last_snapshot(0, 4) == 1
    assert rows.last_snapshot(2, 4) is None
    assert rows.last_snapshot(0, 1) is None


def test_prices_become_steps_whatever_the_callers_decimal_context() -> None:
    """A thread that computes with few digits must not move prices."""
    third = Instrument("X-USDT", price_step="0.3", qty_step="1")
    update = BookUpdate("X-USDT", 0, 0, (30_000_000.3,), (1.0,), (), (), True)
    with decimal.localcontext(decimal.Context(prec=3)):
        rows = BookRows(Block.from_events([update]).column, DenseBook(third))
    assert rows.bids.ticks.tolist() == [100_000_001]


@pytest.mark.parametrize(("bid", "ask"), [(100.03, 101.0), (100.0, 101.03), (100.03, 101.045)])
def test_a_level_off_the_grid_is_kept_as_it_came(bid: float, ask: float) -> None:
    """The book goes over to a finer grid, with every level of before, near and far."""
    book = book_of(row([(200, 1.0), (198, 2.0), (1, 4.0)], [(204, 3.0), (3 * WINDOW, 7.0)], is_snapshot=True))
    update = BookUpdate(BTC.id, 0, 0, (bid,), (5.0,), (ask,), (6.0,), False)
    book.apply(BookRows(Block.from_events([update]).column, book), 0, 1)
    assert BTC.tick % book.instrument.tick == 0
    assert book.instrument.tick < BTC.tick
    price = book.instrument.price
    bids, asks = ([(price(ticks), size) for ticks, size in side] for side in both_sides(book))
    assert bids == sorted({100.0: 1.0, 99.0: 2.0, 0.5: 4.0, bid: 5.0}.items(), reverse=True)
    assert asks == sorted({102.0: 3.0, 1.5 * WINDOW: 7.0, ask: 6.0}.items())
    assert view_of(book).best_bid == max(bid, 100.0)
    low, high = 0, book.instrument.ticks(2.0 * WINDOW)
    assert (book.size_between(Side.BUY, low, high), book.size_between(Side.SELL, low, high)) == (
        sum(dict(bids).values()),
        16.0,
    )
    assert book.size_between(Side.BUY, -9, -5) == 0.0


def test_rounding_of_floats_is_no_finer_grid() -> None:
    """Beyond some 1e9 steps a price is not told from its neighbour, and no grid is fine enough for a mad one."""
    fine = Instrument("X-USDT", price_step="0.00001", qty_step="1")
    book = DenseBook(fine)
    noisy = BookUpdate("X-USDT", 0, 0, (70_000.00001 * (1 + 2e-16),) * 50, (1.0,) * 50, (), (), True)
    BookRows(Block.from_events([noisy]).column, book)
    assert book.instrument.tick == fine.tick
    mad = BookUpdate("X-USDT", 0, 0, (1e7 + 1 / 3, 1.23456789e-9), (1.0, 1.0), (), (), True)
    BookRows(Block.from_events([mad]).column, book)
    assert float(book.instrument.tick) * 1e15 > 1e7


def test_a_crossed_book_is_refused_with_place_and_advice() -> None:
    """Bid at the ask, as at the end of an auction, is a book like others."""
    book = book_of(SNAPSHOT)
    book.check_not_crossed(7)
    book.apply(rows_of(row([(202, 1.0)])), 0, 1)
    book.check_not_crossed(7)
    book.apply(rows_of(row([(203, 1.0)])), 0, 1)
    said = r"BTC-USDT: crossed book at 1970-01-01T00:00:00.000000007Z" r": bid 101.5 > ask 101.0; run `quantkit data"
    with pytest.raises(DataError, match=said):
        book.check_not_crossed(7)
    book_of(row([(5, 1.0)], is_snapshot=True)).check_not_crossed(0)


# The view -----------------------------------------------------------------------------------------------------


def test_a_view_reads_the_book() -> None:
    """Prices in the quote currency, best first, as arrays of shape (n, 2)."""
    view = view_of(book_of(SNAPSHOT))
    assert (view.instrument, view.exchange_ns, view.received_ns) == ("BTC-USDT", 1, 2)
    assert (view.best_bid, view.bid_qty, view.best_ask, view.ask_qty) == (100.0, 1.0, 101.0, 3.0)
    assert (view.mid, view.spread) == (100.5, 1.0)
    assert view.bids.tolist() == [[100.0, 1.0], [99.0, 2.0], [95.0, 4.0]]
    assert view.asks.tolist() == [[101.0, 3.0], [101.5, 1.0]]
    assert (view.bids.dtype, view.bids.shape) == (np.float64, (3, 2))
    assert repr(view) == "Book('BTC-USDT', bid=100.0 x 1.0, ask=101.0 x 3.0)"


def test_depth_gives_at_most_what_is_asked_for() -> None:
    """Fewer where there are fewer; none for zero; a negative number is a slip."""
    for view in (view_of(book_of(SNAPSHOT)), view_of(book_of(SNAPSHOT)).copy()):
        bids, asks = view.depth(2)
        assert (bids.shape, asks.shape) == ((2, 2), (2, 2))
        assert view.depth(9)[0].shape == (3, 2)
        assert view.depth(0)[0].shape == (0, 2)
        with pytest.raises(ConfigError, match="BTC-USDT: -1 levels of the book asked for; give zero or more"):
            view.depth(-1)


def test_imbalance() -> None:
    """Of the best level, of several, and of nothing."""
    view = view_of(book_of(SNAPSHOT))
    assert view.imbalance() == pytest.approx((1 - 3) / 4)
    assert view.imbalance(2) == pytest.approx((3 - 4) / 7)
    assert view_of(book_of(row([(1, 2.0)], is_snapshot=True))).imbalance(5) == 1.0
    assert view_of(book_of(row(is_snapshot=True))).imbalance() == 0.0


def test_a_one_sided_view_and_its_copy() -> None:
    """What is not there is None, its size zero."""
    for bids, asks in (([(10, 1.0)], []), ([], [(10, 1.0)])):
        view = view_of(book_of(row(bids, asks, is_snapshot=True)))
        for book in (view, view.copy()):
            assert (book.best_bid is None) is (not bids)
            assert (book.best_ask is None) is (not asks)
            assert (book.bid_qty, book.ask_qty) == (float(bool(bids)), float(bool(asks)))
            assert book.mid is None
            assert book.spread is None


def test_a_view_goes_stale_when_the_book_moves_on() -> None:
    """Every reading says so and how to keep levels; the repr does not raise."""
    dense = book_of(SNAPSHOT)
    view = view_of(dense)
    dense.apply(rows_of(row([(201, 1.0)])), 0, 1)
    readings = ("best_bid", "best_ask", "bid_qty", "ask_qty", "mid", "spread", "bids", "asks")
    for name in readings:
        with pytest.raises(ConfigError, match=r"BTC-USDT: this book view is stale; call book.copy\(\) to keep levels"):
            getattr(view, name)
    for call in (lambda: view.depth(1), view.imbalance, view.copy):
        with pytest.raises(ConfigError, match="stale"):
            call()
    assert repr(view) == "Book('BTC-USDT', stale)"


def test_invalidating_makes_views_stale() -> None:
    """A book that cannot be trusted is not read through an old view."""
    dense = book_of(SNAPSHOT)
    view = view_of(dense)
    dense.invalidate()
    with pytest.raises(ConfigError, match="stale"):
        view.mid


def test_a_copy_stays_readable() -> None:
    """Its levels are its own: neither the book nor a reader's changes reach them."""
    dense = book_of(SNAPSHOT)
    copy = view_of(dense).copy()
    dense.apply(rows_of(row([(200, 0.0)])), 0, 1)
    copy.bids[0, 1] = 99.0
    copy.depth(1)[0][0, 1] = 99.0
    assert (copy.best_bid, copy.bid_qty, copy.best_ask, copy.ask_qty) == (100.0, 1.0, 101.0, 3.0)
    assert copy.copy().asks.tolist() == [[101.0, 3.0], [101.5, 1.0]]
    assert (copy.exchange_ns, copy.received_ns) == (1, 2)
    assert copy.imbalance() == pytest.approx(-0.5)
    assert repr(copy) == "Book('BTC-USDT', bid=100.0 x 1.0, ask=101.0 x 3.0)"
