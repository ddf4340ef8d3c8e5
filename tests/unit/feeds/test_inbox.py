"""The hand-over between the sockets' thread and the engine's: stamps, the passing of time, waking up, and the end."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators

from quantkit.events import Trade
from quantkit.feeds.inbox import Inbox
from quantkit.instruments import Side

NEVER_NS = 2**62


class Wall:
    """A clock that tests set."""

    def __init__(self, now_ns: int = 1_000) -> None:
        self.now_ns = now_ns

    def __call__(self) -> int:
        return self.now_ns


def trade(received_ns: int) -> Trade:
    return Trade("BTC-USDT", received_ns, received_ns, 1.0, 1.0, Side.BUY)


def put_now(inbox: Inbox) -> int:
    """Stamp and put one row, in a callback of its own."""
    stamp_ns = inbox.stamp()
    inbox.put([[trade(stamp_ns)]])
    inbox.settle()
    return stamp_ns


def test_stamps_rise_though_the_clock_stands_still_or_goes_back() -> None:
    wall = Wall()
    inbox = Inbox(wall)
    stamps = [inbox.stamp(), inbox.stamp()]
    wall.now_ns -= 500
    stamps += [inbox.stamp(), inbox.stamp()]
    wall.now_ns += 5_000
    stamps.append(inbox.stamp())
    assert stamps == [1_000, 1_001, 1_002, 1_003, 5_500]


def test_a_row_comes_after_every_moment_that_was_told() -> None:
    wall = Wall()
    inbox = Inbox(wall)
    put_now(inbox)
    taken, until_ns = inbox.take(lambda: 0, 10) or ([], 0)
    assert ([row.received_ns for rows in taken for row in rows], until_ns) == ([1_000], 1_000)
    # The clock has not moved since, and still the next row is later than what was told.
    assert put_now(inbox) == 1_001


def test_rows_far_apart_are_taken_in_turn() -> None:
    """A taker that is behind looks at the end of the run between them, however many rows it may take."""
    wall = Wall()
    inbox = Inbox(wall)
    stamps = []
    for _ in range(3):
        for apart_ns in (0, 50_000_000):
            wall.now_ns += apart_ns
            stamps.append(put_now(inbox))
        wall.now_ns += 100_000_000
    got = []
    while len(inbox):
        taken, until_ns = inbox.take(lambda: 0, 1_000) or ([], 0)
        got.append(([row.received_ns for rows in taken for row in rows], until_ns))
    pairs = [stamps[number : number + 2] for number in (0, 2, 4)]
    assert got == [(pairs[0], stamps[2] - 1), (pairs[1], stamps[4] - 1), (pairs[2], wall.now_ns)]


def test_time_does_not_pass_over_a_row_that_is_still_being_decoded() -> None:
    wall = Wall()
    inbox = Inbox(wall)
    stamp_ns = inbox.stamp()
    wall.now_ns += 10_000
    assert inbox.take(lambda: 0, 10) == ([], stamp_ns - 1)
    inbox.put([[trade(stamp_ns)]])
    # Another row of the same callback may still come.
    taken, until_ns = inbox.take(lambda: 0, 10) or ([], 0)
    assert (len(taken), until_ns) == (1, stamp_ns - 1)
    inbox.settle()
    assert inbox.take(lambda: 0, 10) == ([], wall.now_ns)


def test_what_is_too_much_for_a_batch_waits_and_so_does_time() -> None:
    inbox = Inbox(Wall())
    stamps = [put_now(inbox) for _ in range(5)]
    taken, until_ns = inbox.take(lambda: 0, 3) or ([], 0)
    assert ([rows[0].received_ns for rows in taken], until_ns) == (stamps[:3], stamps[3] - 1)
    assert len(inbox) == 2
    taken, _ = inbox.take(lambda: 0, 3) or ([], 0)
    assert [rows[0].received_ns for rows in taken] == stamps[3:]
    assert len(inbox) == 0


def test_a_delivery_of_more_rows_than_are_asked_for_is_taken_whole() -> None:
    """Rows of one stamp stay together; here nothing waits behind them."""
    inbox = Inbox(Wall())
    stamp_ns = inbox.stamp()
    inbox.put([[trade(stamp_ns), trade(stamp_ns), trade(stamp_ns)]])
    inbox.settle()
    taken, until_ns = inbox.take(lambda: 0, 2) or ([], 0)
    assert ([len(rows) for rows in taken], until_ns, len(inbox)) == ([3], 1_000, 0)


def test_closing_lets_the_taker_have_the_rest_first() -> None:
    inbox = Inbox(Wall())
    put_now(inbox)
    inbox.close()
    assert inbox.take(lambda: NEVER_NS, 10) is not None
    assert inbox.take(lambda: NEVER_NS, 10) is None


def test_time_stops_just_before_the_end_until_everything_before_it_has_been_put() -> None:
    """What is told at the end of a run is stamped at its end, and no moment may have been told by then."""
    wall = Wall()
    inbox = Inbox(wall)
    inbox.ends_at(2_000)
    wall.now_ns = 5_000
    assert inbox.take(lambda: 0, 10) == ([], 1_999)
    inbox.put([[trade(2_000)]])
    inbox.end()
    taken, until_ns = inbox.take(lambda: NEVER_NS, 10) or ([], 0)
    assert ([row.received_ns for rows in taken for row in rows], until_ns) == ([2_000], 2_000)
    inbox.close()
    assert inbox.take(lambda: NEVER_NS, 10) == ([], 2_000)


def test_what_is_too_much_for_the_last_batch_waits_for_another_one() -> None:
    inbox = Inbox(Wall())
    inbox.ends_at(2_000)
    stamps = [put_now(inbox) for _ in range(3)]
    inbox.end()
    assert [until_ns for _, until_ns in (inbox.take(lambda: 0, 2) or ([], 0), inbox.take(lambda: 0, 2) or ([], 0))] == [
        stamps[2] - 1,
        2_000,
    ]


@pytest.mark.parametrize("what", ["row", "close", "end"])
def test_a_waiting_taker_is_woken(what: str) -> None:
    inbox = Inbox(Wall())
    found: list[object] = []
    taker = threading.Thread(target=lambda: found.append(take_until_something(inbox)))
    taker.start()
    if what == "row":
        put_now(inbox)
    elif what == "end":
        inbox.ends_at(2_000)
        inbox.end()
    else:
        inbox.close()
    taker.join(10)
    assert len(found) == 1
    assert (found[0] is None) == (what == "close")


def take_until_something(inbox: Inbox) -> object:
    while True:
        taken = inbox.take(lambda: NEVER_NS, 10)
        if taken is None or taken[0] or taken[1] == 2_000:
            return taken


@settings(deadline=None)
@given(
    steps=generators.lists(
        generators.one_of(
            generators.tuples(generators.just("clock"), generators.integers(-2_000, 5_000)),
            generators.tuples(generators.just("rows"), generators.integers(0, 4)),
            generators.tuples(generators.just("take"), generators.integers(1, 5)),
        ),
        max_size=60,
    )
)
def test_rows_and_moments_have_one_order(steps: list[tuple[str, int]]) -> None:
    """Every row comes once, in order, after each moment told before it; moments never go back."""
    wall = Wall(1_000_000)
    inbox = Inbox(wall)
    put: list[int] = []
    seen: list[int] = []
    told_ns = 0
    for what, number in [*steps, ("take", 1_000)]:
        if what == "clock":
            wall.now_ns += number
        elif what == "rows":
            for _ in range(number):
                stamp_ns = inbox.stamp()
                assert stamp_ns > told_ns
                put.append(stamp_ns)
                inbox.put([[trade(stamp_ns)]])
            inbox.settle()
        else:
            taken, until_ns = inbox.take(lambda: 0, number) or ([], 0)
            rows = [row.received_ns for events in taken for row in events]
            assert all(stamp_ns > told_ns for stamp_ns in rows)
            assert until_ns >= told_ns
            seen += rows
            told_ns = until_ns
    assert seen == put == sorted(set(put))
