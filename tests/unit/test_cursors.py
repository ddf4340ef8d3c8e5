"""Cursors: where a stream's rows stand in a batch, and what a reader of its book gets."""

from bisect import bisect_left

import numpy as np
from hypothesis import given
from hypothesis import strategies as generators

from quantkit.events import BookUpdate, Trade
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Block, Stream
from quantkit.rows.cursors import NOWHERE, BookCursor, StreamCursor

BTC = Instrument("BTC-USDT", price_step="0.5", qty_step="0.1")

places = generators.sets(generators.integers(0, 200), min_size=1, max_size=80).map(sorted)


def book_cursor(positions: list[int]) -> BookCursor:
    """Return a cursor with a book row at each index, the first a snapshot: each sets the bid to the row's number."""
    rows = [
        BookUpdate(BTC.id, 1_000 + number, 2_000 + number, (100.0,), (number + 1.0,), (), (), number == 0)
        for number in range(len(positions))
    ]
    cursor = BookCursor(Stream("book", BTC.id), BTC)
    cursor.load(Block.from_events(rows), np.array(positions, np.int64))
    return cursor


def test_a_cursor_tells_rows_and_indices() -> None:
    cursor = StreamCursor(Stream("trade", BTC.id))
    assert (cursor.row_at(5), cursor.index_of(0)) == (0, NOWHERE)
    rows = [Trade(BTC.id, 1, number, 100.0, 1.0, Side.BUY, number) for number in range(3)]
    cursor.load(Block.from_events(rows), np.array([2, 5, 9], np.int64))
    assert [cursor.row_at(index) for index in (0, 2, 3, 5, 6, 9, 10, 99)] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [cursor.index_of(row) for row in range(4)] == [2, 5, 9, NOWHERE]
    assert {type(cursor.row_at(6)), type(cursor.index_of(0))} == {int}


@given(places, generators.integers(0, 80), generators.integers(0, 210))
def test_a_book_finds_its_rows_wherever_it_has_come_to(positions: list[int], applied: int, index: int) -> None:
    """The exchange may have applied the row that a reader has not come to."""
    cursor = book_cursor(positions)
    cursor.advance(min(applied, cursor.rows))
    assert cursor.row_at(index) == bisect_left(positions, index)


@given(places, generators.lists(generators.integers(0, 210), max_size=8))
def test_a_reader_gets_the_rows_before_an_index_and_their_last_stamps(positions: list[int], indices: list[int]) -> None:
    cursor = book_cursor(positions)
    seen = 0
    for index in sorted(indices):
        cursor.read_to(index)
        seen = bisect_left(positions, index)
        stamps = (999 + seen, 1_999 + seen) if seen else (0, 0)
        assert (cursor.exchange_ns, cursor.received_ns) == stamps
        assert (cursor.applied, cursor.book.is_valid) == (seen, seen > 0)
        assert cursor.book.size(Side.BUY, 200) == seen
