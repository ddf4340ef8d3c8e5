"""Books through a tracker: the chain, when a book is invalid, the one gap, the one resync, and handovers."""

import json
from itertools import pairwise

import pytest
from tracker_driver import NAME, TS_NS, Driver, gaps, kinds

from quantkit.events import BookUpdate, Gap
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.tracker.records import BookFetched, FetchBook, Resubscribe

BOOKS = Channel("books", NAME)
BOOKS5 = Channel("books5", NAME)


@pytest.fixture
def live() -> Driver:
    """A book at number 10 on connection 0."""
    driver = Driver()
    driver.want(BOOKS)
    assert kinds(driver.snapshot(BOOKS, 10)) == ["BookUpdate"]
    return driver


# The chain --------------------------------------------------------------------------------------------------------


def test_the_example_chain_of_the_documentation_is_no_gap(live: Driver) -> None:
    delivered = live.update(BOOKS, 10, 15, [["98", "3"]], ts=1)
    delivered += live.update(BOOKS, 15, 15, ts=2)
    delivered += live.update(BOOKS, 15, 3, [["98", "0"]], ts=3)
    delivered += live.update(BOOKS, 3, 5, ts=4)
    assert [(event.prev_seq, event.seq) for event in delivered] == [(10, 15), (15, 15), (15, 3), (3, 5)]
    assert live.commands == []


@pytest.mark.parametrize("again", [(10, 15), (15, 3)])
def test_the_frame_that_was_applied_last_is_ignored_when_it_comes_again(live: Driver, again: tuple[int, int]) -> None:
    live.update(BOOKS, 10, 15)
    if again == (15, 3):
        live.update(BOOKS, 15, 3)
    assert live.update(BOOKS, *again) == []
    assert live.tracker.counters["repeated book frames"] == 1
    assert kinds(live.update(BOOKS, again[1], 20)) == ["BookUpdate"]


@pytest.mark.parametrize("numbers", [(17, 18), (-1, 18), (0, 18), (None, 18), (10, None), (None, None), (9, 12)])
def test_anything_else_is_a_gap(live: Driver, numbers: tuple[int | None, int | None]) -> None:
    (gap,) = live.update(BOOKS, *numbers, ts=100)
    assert gap == Gap(NAME, TS_NS + 100_000_000, live.now_ns, "book", TS_NS, TS_NS + 100_000_000, "sequence")
    assert live.commands == [Resubscribe(0, BOOKS, "sequence")]
    assert list(live.tracker.invalid_books()) == [BOOKS]


def test_updates_after_a_gap_are_ignored_until_the_snapshot_and_ask_for_nothing(live: Driver) -> None:
    live.update(BOOKS, 17, 18)
    for seq in range(18, 118):
        assert live.update(BOOKS, seq, seq + 1) == []
    assert len(live.commands) == 1
    live.want(BOOKS)
    (snapshot,) = live.snapshot(BOOKS, 200)
    assert snapshot.is_snapshot
    assert list(live.tracker.invalid_books()) == []
    assert live.tracker.counters["book updates while waiting for a snapshot"] == 100


def test_a_snapshot_nobody_asked_for_replaces_the_book(live: Driver) -> None:
    (snapshot,) = live.snapshot(BOOKS, 7, [["50", "1"]], [["51", "1"]])
    assert (snapshot.seq, snapshot.bid_prices) == (7, (50.0,))
    assert kinds(live.update(BOOKS, 7, 8, [], [["60", "1"]])) == ["BookUpdate"]


def test_the_same_snapshot_again_is_a_repeat(live: Driver) -> None:
    assert live.snapshot(BOOKS, 10) == []
    assert kinds(live.update(BOOKS, 10, 11)) == ["BookUpdate"]


@pytest.mark.parametrize("checksum", [0, 1, -855196043, 2**31 - 1])
def test_the_checksum_is_never_validated(live: Driver, checksum: int) -> None:
    assert kinds(live.update(BOOKS, 10, 15, checksum=checksum)) == ["BookUpdate"]


def test_books_of_before_there_were_numbers_are_taken_as_in_order() -> None:
    driver = Driver()
    driver.want(BOOKS)
    driver.snapshot(BOOKS, None)
    assert kinds(driver.update(BOOKS, None, None, [["98", "1"]], checksum=77)) == ["BookUpdate"]
    assert kinds(driver.snapshot(BOOKS, None)) == ["BookUpdate"]


def test_unknown_removals_are_counted_and_harm_nothing(live: Driver) -> None:
    assert kinds(live.update(BOOKS, 10, 15, [["55", "0"], ["99", "0"]], [["155", "0"]])) == ["BookUpdate"]
    assert live.tracker.counters["removed levels that were not there"] == 2


# Books that cannot be right ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("bid", ["101", "102"])
def test_an_update_that_crosses_the_book_is_a_gap_and_a_resync(live: Driver, bid: str) -> None:
    assert gaps(live.update(BOOKS, 10, 15, [[bid, "1"]])) == [("book", "crossed")]
    assert live.commands == [Resubscribe(0, BOOKS, "crossed")]
    assert live.update(BOOKS, 15, 16, [[bid, "0"]]) == []
    live.want(BOOKS)
    assert kinds(live.snapshot(BOOKS, 20)) == ["BookUpdate"]
    assert len(live.commands) == 1


def test_an_auctions_book_is_followed_unseen_until_it_is_not_crossed(live: Driver) -> None:
    crossed = ([["102", "1"], ["99", "1"]], [["101", "1"]])
    assert gaps(live.snapshot(BOOKS, 20, *crossed)) == [("book", "crossed")]
    live.want(BOOKS)
    assert live.snapshot(BOOKS, 30, *crossed) == []
    assert live.update(BOOKS, 30, 31, [["98", "5"]]) == []
    (snapshot,) = live.update(BOOKS, 31, 32, [["102", "0"]], ts=9)
    assert snapshot == BookUpdate(
        NAME, TS_NS + 9_000_000, live.now_ns, (99.0, 98.0), (1.0, 5.0), (101.0,), (1.0,), True, 32
    )
    assert len(live.commands) == 1
    assert kinds(live.update(BOOKS, 32, 33)) == ["BookUpdate"]


@pytest.mark.parametrize(("channel", "depth"), [("books", 400), ("books-l2-tbt", 400), ("books50-l2-tbt", 50)])
def test_more_levels_than_the_exchange_holds_are_a_gap_and_a_resync(channel: str, depth: int) -> None:
    driver = Driver()
    books = Channel(channel, NAME)
    driver.want(books)
    driver.snapshot(books, 10, [[str(1000 - n), "1"] for n in range(depth)], [["2000", "1"]])
    assert kinds(driver.update(books, 10, 11, [["1", "0"]])) == ["BookUpdate"]
    assert gaps(driver.update(books, 11, 12, [["2", "1"]])) == [("book", "levels")]
    assert driver.commands == [Resubscribe(0, books, "levels")]


@pytest.mark.parametrize("row", [{"bids": [["nan", "1"]], "asks": [], "ts": "1", "seqId": 15, "prevSeqId": 10}, 5])
def test_a_malformed_frame_of_the_channel_is_a_gap_and_a_resync(live: Driver, row: object) -> None:
    assert gaps(live.push(BOOKS, row, action="update")) == [("book", "malformed")]
    assert live.commands == [Resubscribe(0, BOOKS, "malformed")]
    assert live.tracker.counters["malformed frames of books"] == 1


@pytest.mark.parametrize("data", [b"", b"\xff", b'{"arg":{"channel":"books","instId":"ETH-USDT"},"data":[5]}'])
def test_a_malformed_frame_of_something_else_is_counted(live: Driver, data: bytes) -> None:
    assert live.raw(data) == []
    assert live.commands == []
    assert kinds(live.update(BOOKS, 10, 11)) == ["BookUpdate"]


def test_one_sided_and_empty_books_are_books() -> None:
    driver = Driver()
    driver.want(BOOKS)
    assert kinds(driver.snapshot(BOOKS, 1, [], [])) == ["BookUpdate"]
    assert kinds(driver.update(BOOKS, 1, 2, [["5", "1"]])) == ["BookUpdate"]


# Connections ------------------------------------------------------------------------------------------------------


def test_a_lost_connection_is_one_gap_stamped_by_both_clocks(live: Driver) -> None:
    live.update(BOOKS, 10, 15, ts=20)
    (gap,) = live.lose(cause="closed 1006")
    last_ns = TS_NS + 20_000_000
    assert gap == Gap(NAME, last_ns, live.now_ns, "book", last_ns, live.now_ns, "disconnected: closed 1006")
    assert live.lose() == []
    assert live.update(BOOKS, 15, 16) == []
    live.want(BOOKS, 1)
    assert live.update(BOOKS, 15, 16) == []  # of the connection that is gone
    assert kinds(live.snapshot(BOOKS, 16, connection=1)) == ["BookUpdate"]
    assert live.commands == []
    assert live.tracker.close(live.stamp()) == []


def test_a_loss_before_the_first_snapshot_is_no_gap() -> None:
    driver = Driver()
    driver.want(BOOKS)
    assert driver.lose() == []


def test_the_gaps_of_a_lost_connection_come_in_the_order_of_instruments() -> None:
    driver = Driver()
    names = ["SOL-USDT", "BTC-USDT", "ETH-USDT"]
    for name in names:
        driver.want(Channel("books", name))
        driver.snapshot(Channel("books", name), 1)
    assert [event.instrument for event in driver.lose() if isinstance(event, Gap)] == sorted(names)


def test_a_stalled_book_is_invalid_and_subscribed_anew_each_time(live: Driver) -> None:
    assert gaps(live.stall(BOOKS)) == [("book", "stalled for 1m 30s")]
    assert live.stall(BOOKS) == []
    assert live.commands == [Resubscribe(0, BOOKS, "stalled for 1m 30s")] * 2


def test_a_resync_that_has_not_begun_is_not_asked_for_again(live: Driver) -> None:
    live.update(BOOKS, 17, 18)
    live.snapshot(BOOKS, 30)
    assert gaps(live.update(BOOKS, 40, 41)) == [("book", "sequence")]
    assert len(live.commands) == 1
    live.want(BOOKS)
    live.snapshot(BOOKS, 50)
    live.update(BOOKS, 60, 61)
    assert len(live.commands) == 2


def test_frames_of_unknown_connections_and_unwanted_books_leave_no_trace(live: Driver) -> None:
    assert live.snapshot(BOOKS, 11, connection=9) == []
    assert live.snapshot(Channel("books", "ETH-USDT"), 11) == []
    assert live.update(BOOKS, 11, 12, connection=9) == []
    live.unwant(BOOKS)
    assert live.update(BOOKS, 10, 11) == []
    assert live.lose() == []
    counters = live.tracker.counters
    assert counters["frames of a connection that is not asked for their channel"] == 2
    assert counters["rows of channels that nobody wants"] == 2


# Handover ---------------------------------------------------------------------------------------------------------


def test_during_a_handover_each_update_is_delivered_once_from_whichever_is_first(live: Driver) -> None:
    live.want(BOOKS, 1)
    assert live.snapshot(BOOKS, 10, connection=1) == []
    assert kinds(live.update(BOOKS, 10, 11, ts=1, connection=1)) == ["BookUpdate"]
    assert live.update(BOOKS, 10, 11, ts=1) == []
    assert kinds(live.update(BOOKS, 11, 12, ts=2)) == ["BookUpdate"]
    assert kinds(live.update(BOOKS, 12, 13, ts=3)) == ["BookUpdate"]
    assert live.lose(0) == []  # nothing is lost
    assert live.update(BOOKS, 11, 12, ts=2, connection=1) == []
    assert live.update(BOOKS, 12, 13, ts=3, connection=1) == []
    assert kinds(live.update(BOOKS, 13, 14, ts=4, connection=1)) == ["BookUpdate"]
    assert live.commands == []


def test_a_successors_newer_snapshot_replaces_the_book_and_an_older_one_does_not(live: Driver) -> None:
    live.update(BOOKS, 10, 20, ts=1)
    live.want(BOOKS, 1)
    assert live.snapshot(BOOKS, 15, connection=1) == []
    live.want(BOOKS, 1)
    assert kinds(live.snapshot(BOOKS, 25, ts=2, connection=1)) == ["BookUpdate"]
    assert live.update(BOOKS, 20, 25, ts=2) == []
    assert kinds(live.update(BOOKS, 25, 26, ts=3)) == ["BookUpdate"]


def test_both_connections_signs_of_life_are_one(live: Driver) -> None:
    live.want(BOOKS, 1)
    live.snapshot(BOOKS, 10, connection=1)
    assert kinds(live.update(BOOKS, 10, 10, ts=60)) == ["BookUpdate"]
    assert live.update(BOOKS, 10, 10, ts=60, connection=1) == []


def test_a_reset_seen_by_one_connection_first_is_no_gap(live: Driver) -> None:
    live.want(BOOKS, 1)
    live.snapshot(BOOKS, 10, connection=1)
    assert kinds(live.update(BOOKS, 10, 3, ts=1, connection=1)) == ["BookUpdate"]
    assert kinds(live.update(BOOKS, 3, 5, ts=2, connection=1)) == ["BookUpdate"]
    assert live.update(BOOKS, 10, 3, ts=1) == []
    assert live.update(BOOKS, 3, 5, ts=2) == []
    assert kinds(live.update(BOOKS, 5, 6, ts=3)) == ["BookUpdate"]
    assert live.commands == []


def test_a_loss_on_one_of_two_connections_is_none(live: Driver) -> None:
    live.want(BOOKS, 1)
    live.snapshot(BOOKS, 10, connection=1)
    live.update(BOOKS, 10, 11, ts=1, connection=1)
    assert live.update(BOOKS, 12, 13, ts=3) == []  # 11 to 12 never came on this one
    assert kinds(live.update(BOOKS, 11, 12, ts=2, connection=1)) == ["BookUpdate"]
    assert kinds(live.update(BOOKS, 12, 13, ts=3, connection=1)) == ["BookUpdate"]
    assert kinds(live.update(BOOKS, 13, 14, ts=4)) == ["BookUpdate"]
    assert live.commands == []


def test_when_the_connection_that_carried_the_book_goes_too_it_is_one_gap(live: Driver) -> None:
    live.want(BOOKS, 1)
    live.snapshot(BOOKS, 10, connection=1)
    live.update(BOOKS, 12, 13, ts=3)
    assert gaps(live.lose(1)) == [("book", "sequence")]
    assert live.commands == [Resubscribe(0, BOOKS, "sequence")]


def test_a_successor_without_a_snapshot_does_not_carry_the_book(live: Driver) -> None:
    live.want(BOOKS, 1)
    assert live.tracker.heard_ns(1, BOOKS) == 0
    assert gaps(live.lose(0)) == [("book", "disconnected: reset")]
    assert kinds(live.snapshot(BOOKS, 30, connection=1)) == ["BookUpdate"]
    assert live.tracker.heard_ns(1, BOOKS) == live.now_ns


def test_a_resync_is_asked_of_the_owner_even_if_the_other_broke_last(live: Driver) -> None:
    live.want(BOOKS, 1)
    live.snapshot(BOOKS, 10, connection=1)
    assert live.update(BOOKS, 12, 13, ts=3) == []
    assert gaps(live.update(BOOKS, 14, 15, ts=4, connection=1)) == [("book", "sequence")]
    assert live.commands == [Resubscribe(0, BOOKS, "sequence")]
    live.lose(1)
    live.want(BOOKS, 0)
    assert kinds(live.snapshot(BOOKS, 30)) == ["BookUpdate"]


def test_a_successor_that_overtook_a_loss_is_told_from_one_that_lags(live: Driver) -> None:
    live.want(BOOKS, 1)
    live.snapshot(BOOKS, 10, connection=1)
    live.update(BOOKS, 10, 20, ts=5)
    live.lose(0)
    # It stands at 10, and what it brings next is later than the book and does not lead to 20.
    assert gaps(live.update(BOOKS, 10, 15, ts=9, connection=1)) == [("book", "sequence")]
    assert live.commands == [Resubscribe(1, BOOKS, "sequence")]


def test_a_malformed_frame_or_a_stall_on_one_of_two_connections_is_no_gap(live: Driver) -> None:
    live.want(BOOKS, 1)
    live.snapshot(BOOKS, 10, connection=1)
    assert live.push(BOOKS, 5, connection=1, action="update") == []
    assert live.tracker.heard_ns(1, BOOKS) == 0
    assert live.stall(BOOKS, 1) == []
    assert live.commands == [Resubscribe(1, BOOKS, "stalled for 1m 30s")]
    live.want(BOOKS, 1)
    assert live.snapshot(BOOKS, 10, connection=1) == []
    assert live.push(BOOKS, 5, action="update") == []
    assert kinds(live.update(BOOKS, 10, 11, ts=1, connection=1)) == ["BookUpdate"]
    assert live.push(BOOKS, 5, connection=9, action="update") == []
    assert len(live.commands) == 1


def test_books_without_numbers_are_not_mixed_from_two_connections() -> None:
    driver = Driver()
    driver.want(BOOKS)
    driver.snapshot(BOOKS, None)
    driver.want(BOOKS, 1)
    assert kinds(driver.snapshot(BOOKS, None, connection=1)) == ["BookUpdate"]
    assert driver.update(BOOKS, None, None, [["98", "1"]], connection=1) == []
    assert kinds(driver.update(BOOKS, None, None, [["98", "1"]])) == ["BookUpdate"]


# Shedding ---------------------------------------------------------------------------------------------------------


def test_a_consumer_without_room_gets_one_gap_and_then_the_book_as_it_is(live: Driver) -> None:
    assert gaps(live.shed(True)) == [("book", "shed")]
    assert live.update(BOOKS, 10, 11, [["98", "4"]], ts=1) == []
    assert live.update(BOOKS, 11, 12, [["99", "0"]], ts=2) == []
    assert live.shed(True) == []
    (snapshot,) = live.shed(False)
    assert snapshot == BookUpdate(NAME, TS_NS + 2_000_000, live.now_ns, (98.0,), (4.0,), (101.0,), (1.0,), True, 12)
    assert kinds(live.update(BOOKS, 12, 13)) == ["BookUpdate"]
    assert live.commands == []


def test_a_chain_that_breaks_unseen_is_not_told_again(live: Driver) -> None:
    live.shed(True)
    assert live.update(BOOKS, 17, 18) == []
    assert live.commands == [Resubscribe(0, BOOKS, "sequence")]
    assert live.shed(False) == []
    live.want(BOOKS)
    assert kinds(live.snapshot(BOOKS, 30)) == ["BookUpdate"]


def test_a_book_that_is_wanted_while_there_is_no_room_waits(live: Driver) -> None:
    other = Channel("books", "ETH-USDT")
    live.shed(True)
    live.want(other)
    assert live.snapshot(other, 5) == []
    assert {event.instrument for event in live.shed(False) if isinstance(event, BookUpdate)} == {NAME, "ETH-USDT"}


# No snapshot ------------------------------------------------------------------------------------------------------


def reply(seq: int | None, *, code: str = "0", ts: int = 0) -> bytes:
    row = {"asks": [["101", "7", "0", "1"]], "bids": [["99", "7", "0", "1"]], "ts": str(1_700_000_000_000 + ts)}
    return json.dumps({"code": code, "msg": "", "data": [row if seq is None else row | {"seqId": seq}]}).encode()


@pytest.fixture
def bare() -> Driver:
    """A book whose first frames are the updates 10 to 12 and 12 to 15."""
    driver = Driver()
    driver.want(BOOKS)
    assert driver.update(BOOKS, 10, 12, [["98", "1"]]) == []
    assert driver.update(BOOKS, 12, 15, [["97", "1"]]) == []
    assert driver.commands == [FetchBook(BOOKS)]
    return driver


@pytest.mark.parametrize(("seq", "kept"), [(10, 2), (11, 2), (12, 1), (14, 1), (15, 0)])
def test_a_fetched_book_goes_before_the_updates_it_does_not_hold(bare: Driver, seq: int, kept: int) -> None:
    delivered = bare.record(BookFetched, BOOKS, reply(seq))
    assert [(event.is_snapshot, event.seq) for event in delivered if isinstance(event, BookUpdate)] == [
        (True, seq),
        *[(False, 12), (False, 15)][2 - kept :],
    ]
    chain = [event for event in delivered if isinstance(event, BookUpdate)]
    assert all(after.prev_seq == before.seq for before, after in pairwise(chain))
    assert {event.received_ns for event in chain} == {bare.now_ns}
    assert kinds(bare.update(BOOKS, 15, 16)) == ["BookUpdate"]


def test_a_fetched_book_that_is_ahead_waits_for_the_updates_to_reach_it(bare: Driver) -> None:
    assert bare.record(BookFetched, BOOKS, reply(18)) == []
    assert bare.update(BOOKS, 15, 17) == []
    delivered = bare.update(BOOKS, 17, 20)
    assert [(event.prev_seq, event.seq) for event in delivered] == [(-1, 18), (18, 20)]


def test_a_fetched_book_that_is_too_old_is_fetched_again_and_given_up_in_the_end(bare: Driver) -> None:
    for _ in range(5):
        assert bare.record(BookFetched, BOOKS, reply(9)) == []
    assert bare.commands == [FetchBook(BOOKS)] * 5 + [Resubscribe(0, BOOKS, "no snapshot")]


@pytest.mark.parametrize(
    "answer",
    [
        (b"", "no network"),
        (reply(None), ""),
        (reply(12, code="50011"), ""),
        (b"{", ""),
        (b'{"code":"0","data":[]}', ""),
    ],
)
def test_a_book_that_cannot_be_fetched_is_subscribed_anew(bare: Driver, answer: tuple[bytes, str]) -> None:
    assert bare.record(BookFetched, BOOKS, *answer) == []
    assert bare.commands[1:] == [Resubscribe(0, BOOKS, "no snapshot")]


def test_a_snapshot_that_comes_after_all_makes_the_fetch_needless(bare: Driver) -> None:
    assert kinds(bare.snapshot(BOOKS, 20)) == ["BookUpdate"]
    assert bare.record(BookFetched, BOOKS, reply(12)) == []
    assert kinds(bare.update(BOOKS, 20, 21)) == ["BookUpdate"]


def test_a_reset_among_the_updates_that_wait_misleads_nobody() -> None:
    driver = Driver()
    driver.want(BOOKS)
    driver.update(BOOKS, 10, 3, [["98", "1"]], ts=1)
    driver.update(BOOKS, 3, 5, ts=2)
    delivered = driver.record(BookFetched, BOOKS, reply(10))
    assert [event.seq for event in delivered if isinstance(event, BookUpdate)] == [10, 3, 5]
    # A book of before the reset looks newer than all that came after; its stamp shows that it is not.
    driver.lose()
    driver.want(BOOKS, 1)
    driver.update(BOOKS, 3, 5, ts=2, connection=1)
    assert driver.record(BookFetched, BOOKS, reply(10, ts=0)) == []
    assert driver.commands == [FetchBook(BOOKS)] * 3
    delivered = driver.record(BookFetched, BOOKS, reply(5, ts=2))
    assert [event.seq for event in delivered if isinstance(event, BookUpdate)] == [5]


def test_updates_that_do_not_follow_each_other_begin_the_waiting_anew(bare: Driver) -> None:
    assert bare.update(BOOKS, 12, 15) == []  # once more
    assert bare.update(BOOKS, 30, 31) == []
    assert bare.record(BookFetched, BOOKS, reply(14)) == []
    assert bare.commands == [FetchBook(BOOKS)] * 2
    delivered = bare.record(BookFetched, BOOKS, reply(30))
    assert [(event.prev_seq, event.seq) for event in delivered] == [(-1, 30), (30, 31)]  # type: ignore[union-attr]


def test_a_fetched_book_that_is_crossed_is_subscribed_anew(bare: Driver) -> None:
    body = reply(10).replace(b'"99"', b'"105"')
    assert bare.record(BookFetched, BOOKS, body, "") == []
    assert bare.commands[1:] == [Resubscribe(0, BOOKS, "crossed")]


def test_no_more_than_a_thousand_updates_wait(bare: Driver) -> None:
    for seq in range(15, 1015):
        bare.update(BOOKS, seq, seq + 1)
    assert bare.commands[1:] == [Resubscribe(0, BOOKS, "no snapshot")]


# Whole books ------------------------------------------------------------------------------------------------------


def five(seq: int, bid: str = "99") -> dict[str, object]:
    return {"bids": [[bid, "1"]], "asks": [["101", "1"]], "ts": str(1_700_000_000_000 + seq), "seqId": seq}


def test_a_whole_book_is_a_snapshot_each_time_and_crossed_ones_are_hidden() -> None:
    driver = Driver()
    driver.want(BOOKS5)
    assert kinds(driver.push(BOOKS5, five(1))) == ["BookUpdate"]
    assert driver.push(BOOKS5, five(2), connection=9) == []
    assert driver.push(BOOKS5, 5, connection=9) == []
    assert gaps(driver.push(BOOKS5, five(2, "101"))) == [("book", "crossed")]
    assert driver.push(BOOKS5, five(3, "102")) == []
    assert kinds(driver.push(BOOKS5, five(4))) == ["BookUpdate"]
    assert gaps(driver.push(BOOKS5, 5)) == [("book", "malformed")]
    assert kinds(driver.push(BOOKS5, five(5))) == ["BookUpdate"]
    assert gaps(driver.shed(True)) == [("book", "shed")]
    assert driver.push(BOOKS5, five(6)) == []
    assert driver.shed(False) == []
    assert kinds(driver.push(BOOKS5, five(7))) == ["BookUpdate"]
    assert gaps(driver.lose()) == [("book", "disconnected: reset")]
    assert driver.commands == []


def test_a_whole_book_is_handed_over_without_a_copy() -> None:
    driver = Driver()
    driver.want(BOOKS5)
    driver.push(BOOKS5, five(5))
    driver.want(BOOKS5, 1)
    assert driver.push(BOOKS5, five(5), connection=1) == []
    assert kinds(driver.push(BOOKS5, five(6), connection=1)) == ["BookUpdate"]
    assert driver.push(BOOKS5, five(6)) == []
    assert driver.lose(0) == []
    assert kinds(driver.push(BOOKS5, five(7), connection=1)) == ["BookUpdate"]
