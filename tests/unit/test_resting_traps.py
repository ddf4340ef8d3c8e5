"""Orders at rest in a book, each with what a search that skips rows could get wrong; all ways of running agree.

Rows of a far level stand in between, so that there is something to skip.
"""

from oracle.timelines import SWAP, Levels, Played, book, buy, gap, ns, play, sell, trade

from quantkit.events import BookUpdate, MarketEvent


def far(first: int, last: int) -> list[MarketEvent]:
    """Return rows, a millisecond apart, that change an ask which nobody is near."""
    return [book(at, {}, {140.0: 1 + at % 7}) for at in range(first, last)]


def rest(*rows: MarketEvent, price: float = 100.0, qty: float = 3, bids: Levels, latency: float = 20) -> Played:
    """Play a buy limit that is sent at 0 and arrives at 20 into a book with an ask at 110."""
    events = [book(0, bids, {110.0: 5, 140.0: 1}, whole=True), *far(1, 24), *rows]
    events += far(25, 140)
    events.sort(key=lambda event: event.received_ns)
    return play(events, {("book", 0): [buy(qty, price)]}, on="book", hooks=("book",), latency=latency)


def test_an_emptied_level_beyond_the_last_one_shown_is_not_known_to_be_empty() -> None:
    """Two levels are shown, ours is the last: when it goes, what stands there is not told any more."""
    played = rest(
        book(30, {100.0: 0}, {}),
        trade(40, 100.0, 4),
        trade(60, 100.0, 3),
        bids={101.0: 3, 100.0: 5},
    )
    # Five were ahead, four have traded: one is ahead, and of the next three two are ours.
    assert played.fills == ["1 buy 2 @ 100 maker 60"]


def test_an_emptied_level_before_another_one_is_empty() -> None:
    """A level further out is still shown: nobody is ahead at ours."""
    played = rest(
        book(30, {100.0: 0}, {}),
        trade(40, 100.0, 2),
        bids={101.0: 3, 100.0: 5, 95.0: 1},
    )
    assert played.fills == ["1 buy 2 @ 100 maker 40"]


def test_a_level_that_a_row_names_twice_has_its_last_size() -> None:
    """One row says nine, then two."""
    twice = BookUpdate(SWAP.id, ns(30), ns(30), (100.0, 100.0), (9.0, 2.0), (), (), False)
    played = rest(twice, trade(40, 100.0, 3), bids={101.0: 3, 100.0: 5, 95.0: 1})
    assert played.fills == ["1 buy 1 @ 100 maker 40"]


def test_a_snapshot_says_anew_what_is_ahead() -> None:
    """What had been looked through behind it counts for nothing: one is ahead from then on."""
    played = rest(
        book(30, {101.0: 3, 100.0: 1}, {110.0: 5, 140.0: 1}, whole=True),
        trade(40, 100.0, 2),
        trade(41, 100.0, 1),
        bids={101.0: 3, 100.0: 5, 95.0: 1},
    )
    assert played.fills == ["1 buy 1 @ 100 maker 40", "1 buy 1 @ 100 maker 41"]


def test_after_a_gap_nothing_happens_before_the_next_snapshot() -> None:
    """Prints and rows in between are of a book that nobody knows; the place in the queue outlives it."""
    played = rest(
        gap(30),
        trade(31, 100.0, 9),
        book(32, {100.0: 1}, {}),
        book(50, {101.0: 3, 100.0: 4}, {110.0: 5, 140.0: 1}, whole=True),
        trade(60, 100.0, 5),
        bids={101.0: 3, 100.0: 5, 95.0: 1},
    )
    assert played.fills == ["1 buy 1 @ 100 maker 60"]


def test_the_mid_is_known_again_after_a_gap() -> None:
    """A position is valued by it: at every row of the new book, as at those of the old one."""
    events = [book(0, {99.0: 9}, {101.0: 9, 140.0: 1}, whole=True), *far(1, 30), gap(40), *far(41, 45)]
    events += [book(50, {89.0: 9}, {91.0: 9, 140.0: 1}, whole=True), *far(51, 60)]
    events += [book(61, {}, {91.0: 0, 93.0: 9}), *far(62, 80), book(81, {91.0: 9}, {}), *far(82, 99)]
    played = play(
        events,
        {("book", 0): [buy(9)], ("book", 60): [sell(9)]},
        on="book",
        hooks=("book",),
        equity_every_ns=10_000_000,
    )
    equity = {(row[0] // 10**6) % 1000: row[1] for row in played.told.curve if row[5]}
    # Bought at 101; mids of 100, 90, 91 and 92.
    assert [equity[at] for at in (30, 40, 50, 60, 70)] == [9_991, 9_991, 9_901, 9_901, 9_910]
    assert played.told.trips[0][2:] == (90.0, 101.0)


def late_rows() -> list[MarketEvent]:
    """Return a book whose rows come 36 ms late: what is sent at 0 has arrived at 20, by time alone, at 40."""
    events = [book(0, {99.0: 5}, {101.0: 5}, whole=True)]
    return events + [book(12 + n / 2, {98.0 - n: 1}, {}, late=36) for n in range(4)]


def test_rows_from_before_an_arrival_do_not_touch_it() -> None:
    """The ask that was at the limit had gone when the order came; the next one is newer."""
    events = late_rows()
    events += [book(16, {99.0: 0}, {100.0: 2, 101.0: 0}, late=36), book(18, {99.0: 5}, {100.0: 0, 101.0: 5}, late=36)]
    events += [book(60 + n, {90.0: n}, {}) for n in range(1, 20)] + [book(90, {}, {100.0: 1})]
    played = play(events, {("book", 0): [buy(3, 100.0)]}, on="book", hooks=("book",))
    assert played.fills == ["1 buy 3 @ 100 maker 90"]


def test_a_limit_that_was_reached_before_an_arrival_fills_with_the_next_newer_row() -> None:
    """It names another level, and the ask still stands at the limit."""
    events = [*late_rows(), book(16, {99.0: 0}, {100.0: 2, 101.0: 0}, late=36)]
    events += [book(60 + n, {90.0: n}, {}) for n in range(1, 20)]
    played = play(events, {("book", 0): [buy(3, 100.0)]}, on="book", hooks=("book",))
    assert played.fills == ["1 buy 3 @ 100 maker 61"]


def test_a_limit_that_was_reached_before_an_arrival_waits_for_a_row_of_the_book() -> None:
    """A print of our own side has moved the clock past the arrival and fills nothing; the next update does."""
    events = [*late_rows(), book(16, {99.0: 0}, {100.0: 2, 101.0: 0}, late=36), trade(60, 100.0, 1, "buy")]
    events += [book(61 + n, {90.0: n}, {}) for n in range(1, 20)]
    played = play(events, {("book", 0): [buy(3, 100.0)]}, on="book", hooks=("book",))
    assert played.fills == ["1 buy 3 @ 100 maker 62"]


def test_the_queue_moves_on_through_many_rows() -> None:
    """A search looks through windows of rows: what one has found holds in the next."""
    played = rest(
        trade(60, 100.0, 2),
        book(100, {100.0: 2}, {}),
        trade(110, 100.0, 1),
        trade(130, 100.0, 3),
        bids={101.0: 3, 100.0: 5, 95.0: 1},
    )
    # Five were ahead, then three, two and one.
    assert played.fills == ["1 buy 2 @ 100 maker 130"]


def test_a_trade_sets_a_stop_off_far_along_the_rows() -> None:
    """It takes from the next update, and every row matters until then."""
    events = [book(0, {99.0: 9}, {101.0: 9, 140.0: 1}, whole=True), *far(1, 140), trade(100.5, 105.0)]
    events.sort(key=lambda event: event.received_ns)
    played = play(events, {("book", 0): [buy(2, stop_price=105.0)]}, on="book", hooks=("book",))
    assert played.fills == ["1 buy 2 @ 101 taker 101"]


def test_a_best_price_sets_a_stop_off_where_there_are_no_trades() -> None:
    """It has moved there since the levels before it have gone: no row names a price of interest."""
    events = [book(0, {99.0: 9}, {101.0: 9, 106.0: 9, 140.0: 1}, whole=True), *far(1, 140), book(100.5, {}, {101.0: 0})]
    events.sort(key=lambda event: event.received_ns)
    played = play(events, {("book", 0): [buy(2, stop_price=105.0)]}, on="book", hooks=("book",))
    assert played.fills == ["1 buy 2 @ 106 taker 100.5"]


def test_prints_beside_the_step_count_at_the_worse_step() -> None:
    """For a buy at 100 a print at 99.96 is one at 100, and one at 100.04 is none."""
    played = rest(
        trade(60, 99.96, 3),
        trade(70, 100.04, 9),
        trade(80, 99.96, 3),
        bids={101.0: 3, 100.0: 5, 95.0: 1},
    )
    assert played.fills == ["1 buy 1 @ 100 maker 80"]
