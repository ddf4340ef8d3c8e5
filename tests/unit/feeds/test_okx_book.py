"""The sequenced book: how messages follow each other, and the levels they leave."""

import random

import pytest

from quantkit.events import BookUpdate
from quantkit.feeds.okx.codec.decode import BookData
from quantkit.feeds.okx.tracker.book import ChecksummedBook, Link, SequencedBook, link

Levels = list[tuple[float, float]]


def message(bids: Levels, asks: Levels, *, seq: int | None, prev: int | None, is_snapshot: bool = False) -> BookData:
    update = BookUpdate(
        "A-B",
        5,
        6,
        tuple(price for price, _ in bids),
        tuple(size for _, size in bids),
        tuple(price for price, _ in asks),
        tuple(size for _, size in asks),
        is_snapshot,
        0 if seq is None else seq,
        -1 if prev is None else prev,
    )
    return BookData("books", update, ((), ()), ((), ()), 0, seq, prev)


def begun(depth: int = 400) -> SequencedBook:
    book = SequencedBook(depth)
    book.apply(message([(99, 1), (98, 2)], [(101, 1), (102, 2)], seq=10, prev=-1, is_snapshot=True))
    return book


# The chain --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prev", "seq", "last", "expected"),
    [
        (10, 15, 10, Link.NEXT),
        (15, 15, 15, Link.NEXT),  # sign of life
        (15, 3, 15, Link.NEXT),  # maintenance reset
        (10, 15, 15, Link.REPEAT),
        (15, 20, 10, Link.BROKEN),
        (0, 7, 0, Link.NEXT),  # zero is a number
        (0, 7, 5, Link.BROKEN),
        (-1, 7, 5, Link.BROKEN),  # an update cannot begin a chain
        (-1, 7, -1, Link.NEXT),
        (None, 7, 5, Link.BROKEN),  # absent is neither 0 nor -1
        (None, None, 5, Link.BROKEN),
        (5, None, 5, Link.BROKEN),
        (None, None, None, Link.NEXT),  # a recording from before there were numbers
        (5, 7, None, Link.NEXT),
    ],
)
def test_how_an_update_follows(prev: int | None, seq: int | None, last: int | None, expected: Link) -> None:
    assert link(message([], [], seq=seq, prev=prev), last) is expected


@pytest.mark.parametrize("last", [None, 0, 3, 50])
def test_a_snapshot_begins_anew_wherever_it_comes(last: int | None) -> None:
    assert link(message([], [], seq=7, prev=-1, is_snapshot=True), last) is Link.START


# Levels -----------------------------------------------------------------------------------------------------------


def test_an_update_sets_and_removes_levels_and_keeps_the_best() -> None:
    book = begun()
    assert (book.best_bid, book.best_ask, book.seq_id, book.exchange_ns) == (99, 101, 10, 5)
    assert book.apply(message([(99, 0), (97, 3)], [(100.5, 4), (102, 0)], seq=12, prev=10)) == 0
    assert book.bids == {98: 2, 97: 3}
    assert book.asks == {101: 1, 100.5: 4}
    assert (book.best_bid, book.best_ask, book.seq_id, book.prev_seq_id) == (98, 100.5, 12, 10)


def test_removals_of_unknown_levels_are_counted_and_change_nothing() -> None:
    book = begun()
    assert book.apply(message([(99.5, 0), (97, 0), (98, 0)], [(100, 0)], seq=12, prev=10)) == 3
    assert book.bids == {99: 1}
    assert (book.best_bid, book.best_ask) == (99, 101)


def test_a_level_named_twice_counts_as_named_last() -> None:
    book = begun()
    book.apply(message([(99, 0), (99, 7)], [(101, 5), (101, 0)], seq=12, prev=10))
    assert book.bids[99] == 7
    assert book.asks == {102: 2}
    assert (book.best_bid, book.best_ask) == (99, 102)


def test_a_snapshot_replaces_everything() -> None:
    book = begun()
    book.apply(message([(50, 1)], [], seq=3, prev=-1, is_snapshot=True))
    assert (book.bids, book.asks) == ({50: 1}, {})
    assert (book.best_bid, book.best_ask) == (50, None)
    assert not book.is_crossed


def test_an_emptied_side_has_no_best_price() -> None:
    book = begun()
    book.apply(message([(99, 0), (98, 0)], [], seq=12, prev=10))
    assert book.best_bid is None
    assert not book.is_crossed
    book.apply(message([(90, 1)], [], seq=13, prev=12))
    assert book.best_bid == 90


@pytest.mark.parametrize(("bid", "is_crossed"), [(100.9, False), (101, True), (101.5, True)])
def test_a_touching_book_is_crossed(bid: float, is_crossed: bool) -> None:
    book = begun()
    book.apply(message([(bid, 1)], [], seq=12, prev=10))
    assert book.is_crossed is is_crossed


def test_a_removal_beyond_the_best_hides_no_level_that_crosses() -> None:
    book = begun()
    book.apply(message([(105, 0), (103, 1)], [], seq=12, prev=10))
    assert book.best_bid == 103
    assert book.is_crossed
    book = begun()
    book.apply(message([], [(95, 0), (98.5, 1)], seq=12, prev=10))
    assert book.is_crossed
    assert book.best_ask == 98.5


def test_best_prices_are_those_of_the_levels_whatever_came() -> None:
    dice = random.Random(7)
    book = begun()
    for seq in range(13, 1000):
        bids = [(float(dice.randint(90, 104)), float(dice.randint(0, 1))) for _ in range(3)]
        asks = [(float(dice.randint(96, 110)), float(dice.randint(0, 1))) for _ in range(3)]
        book.apply(message(bids, asks, seq=seq, prev=seq - 1, is_snapshot=dice.random() < 0.02))
        is_crossed = bool(book.bids and book.asks) and max(book.bids) >= min(book.asks)
        assert book.is_crossed is is_crossed
        if dice.random() < 0.5:
            assert (book.best_bid, book.best_ask) == (max(book.bids, default=None), min(book.asks, default=None))


def test_more_levels_than_the_exchange_holds_show_a_loss() -> None:
    book = begun(depth=3)
    book.apply(message([(97, 1)], [], seq=12, prev=10))
    assert book.fault() == ""
    book.apply(message([], [(103, 1), (104, 1)], seq=13, prev=12))
    assert book.fault() == "levels"


def test_a_snapshot_of_it_has_the_best_levels_first() -> None:
    book = begun()
    book.apply(message([(99.5, 3)], [(100.5, 4)], seq=12, prev=10))
    assert book.snapshot("A-B", 77) == BookUpdate(
        "A-B", 5, 77, (99.5, 99, 98), (3, 1, 2), (100.5, 101, 102), (4, 1, 2), True, 12, -1
    )


def test_a_wrong_checksum_is_a_fault_of_a_book_that_proves_them() -> None:
    def told(value: int) -> BookData:
        update = BookUpdate("A-B", 5, 6, (3366.1,), (7.0,), (3366.8, 3368.0), (9.0, 8.0), True, 0, -1)
        return BookData("books", update, (("3366.1",), ("7",)), (("3366.8", "3368"), ("9", "8")), value)

    book = ChecksummedBook(depth=400)
    for value, fault in ((-1471518219, ""), (5, "checksum"), (0, "")):
        book.apply(told(value))
        assert book.fault() == fault
    plain = SequencedBook(depth=400)
    plain.apply(told(5))
    assert plain.fault() == ""
