"""The hand-over between the sockets' thread and the engine's: stamps, the passing of time, waking up, and the end."""

import threading
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators

from quantkit.events import Row, Trade
from quantkit.feeds.inbox import Inbox
from quantkit.instruments import Side

NEVER_NS = 2**62
MS = 1_000_000


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
    taken, until_ns = inbox.take(0, 10) or ([], 0)
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
        taken, until_ns = inbox.take(0, 1_000) or ([], 0)
        got.append(([row.received_ns for rows in taken for row in rows], until_ns))
    pairs = [stamps[number : number + 2] for number in (0, 2, 4)]
    assert got == [(pairs[0], stamps[2] - 1), (pairs[1], stamps[4] - 1), (pairs[2], wall.now_ns)]


def test_what_is_due_in_a_gap_of_the_market_comes_in_turn_before_the_rows_behind_it() -> None:
    """A taker that is behind would else go through every timer of the gap before it looks at the end of the run."""
    wall = Wall()
    inbox = Inbox(wall)
    due_ns = wall.now_ns + 100 * MS
    wall.now_ns += 900 * MS
    row_ns = put_now(inbox)
    for later_ns in (0, 100 * MS, 700 * MS):
        assert inbox.take(due_ns + later_ns, 1_000, due_ns + later_ns) == ([], row_ns - 1)
    taken, until_ns = inbox.take(row_ns - 50 * MS, 1_000, row_ns - 50 * MS) or ([], 0)
    assert ([row.received_ns for rows in taken for row in rows], until_ns) == ([row_ns], wall.now_ns)


def test_time_does_not_pass_over_a_row_that_is_still_being_decoded() -> None:
    wall = Wall()
    inbox = Inbox(wall)
    stamp_ns = inbox.stamp()
    wall.now_ns += 10_000
    assert inbox.take(0, 10) == ([], stamp_ns - 1)
    later_ns = inbox.stamp()
    wall.now_ns += 10_000
    # The rows of one callback come together.
    inbox.put([[trade(stamp_ns)], [trade(later_ns)]])
    taken, until_ns = inbox.take(0, 10) or ([], 0)
    assert (len(taken), until_ns) == (2, wall.now_ns)


def test_what_is_too_much_for_a_batch_waits_and_so_does_time() -> None:
    inbox = Inbox(Wall())
    stamps = [put_now(inbox) for _ in range(5)]
    taken, until_ns = inbox.take(0, 3) or ([], 0)
    assert ([rows[0].received_ns for rows in taken], until_ns) == (stamps[:3], stamps[3] - 1)
    assert len(inbox) == 2
    taken, _ = inbox.take(0, 3) or ([], 0)
    assert [rows[0].received_ns for rows in taken] == stamps[3:]
    assert len(inbox) == 0


def test_a_delivery_of_more_rows_than_are_asked_for_is_taken_whole() -> None:
    """Rows of one stamp stay together; here nothing waits behind them."""
    inbox = Inbox(Wall())
    stamp_ns = inbox.stamp()
    inbox.put([[trade(stamp_ns), trade(stamp_ns), trade(stamp_ns)]])
    taken, until_ns = inbox.take(0, 2) or ([], 0)
    assert ([len(rows) for rows in taken], until_ns, len(inbox)) == ([3], 1_000, 0)


def test_closing_lets_the_taker_have_the_rest_first() -> None:
    inbox = Inbox(Wall())
    put_now(inbox)
    inbox.close()
    assert inbox.take(NEVER_NS, 10) is not None
    assert inbox.take(NEVER_NS, 10) is None


def test_time_stops_just_before_the_end_until_everything_before_it_has_been_put() -> None:
    """What is told at the end of a run is stamped at its end, and no moment may have been told by then."""
    wall = Wall()
    inbox = Inbox(wall)
    inbox.ends_at(2_000)
    wall.now_ns = 5_000
    assert inbox.take(0, 10) == ([], 1_999)
    inbox.put([[trade(2_000)]])
    inbox.end()
    taken, until_ns = inbox.take(NEVER_NS, 10) or ([], 0)
    assert ([row.received_ns for rows in taken for row in rows], until_ns) == ([2_000], 2_000)
    inbox.close()
    assert inbox.take(NEVER_NS, 10) == ([], 2_000)


def test_what_is_too_much_for_the_last_batch_waits_for_another_one() -> None:
    inbox = Inbox(Wall())
    inbox.ends_at(2_000)
    stamps = [put_now(inbox) for _ in range(3)]
    inbox.end()
    assert [until_ns for _, until_ns in (inbox.take(0, 2) or ([], 0), inbox.take(0, 2) or ([], 0))] == [
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
        taken = inbox.take(NEVER_NS, 10)
        if taken is None or taken[0] or taken[1] == 2_000:
            return taken


class Naps:
    """Stands for the condition that the taker waits on: time passes in no time, and something may happen meanwhile."""

    def __init__(self, wall: Wall) -> None:
        self.wall = wall
        self.ms: list[float] = []
        self.meanwhile: list[Callable[[], object]] = []
        self.is_asleep = False
        self.woken = 0

    def wait(self, nap_s: float) -> None:
        self.ms.append(round(nap_s * 1e3, 6))
        self.wall.now_ns += round(nap_s * 1e9)
        self.is_asleep = True
        if self.meanwhile:
            self.meanwhile.pop(0)()
        self.is_asleep = False

    def notify(self) -> None:
        self.woken += self.is_asleep


def napping(*, batch_ms: int = 0) -> tuple[Inbox, Wall, Naps]:
    """Return an inbox, its clock and its naps."""
    wall = Wall(1_000_000_000)
    inbox = Inbox(wall, batch_ns=batch_ms * MS)
    naps = Naps(wall)
    inbox._lock = threading.RLock()  # what happens during a nap happens on this thread
    inbox._filled = naps
    return inbox, wall, naps


def rows_of(taken: tuple[list[Sequence[Row]], int] | None) -> list[int]:
    assert taken is not None
    return [row.received_ns for rows in taken[0] for row in rows]


def test_a_row_is_taken_at_once_however_short_ago_the_last_batch_was() -> None:
    inbox, _, naps = napping()
    for _ in range(3):
        assert rows_of(inbox.take(NEVER_NS, 10)) == []
        stamps = [put_now(inbox)]
        assert rows_of(inbox.take(NEVER_NS, 10)) == stamps
        # Rows that come while the taker works are its next batch.
        stamps = [put_now(inbox), put_now(inbox)]
        assert rows_of(inbox.take(NEVER_NS, 10)) == stamps
    assert naps.ms == [250.0, 250.0, 250.0]


def test_a_row_wakes_a_waiting_taker_and_a_message_without_rows_does_not() -> None:
    inbox, _, naps = napping()
    naps.meanwhile = [lambda: (inbox.stamp(), inbox.put([])), lambda: put_now(inbox)]
    inbox.take(NEVER_NS, 10)
    assert naps.woken == 0
    inbox.take(NEVER_NS, 10)
    assert naps.woken == 1
    put_now(inbox)  # nobody waits
    assert naps.woken == 1


def test_the_taker_waits_for_its_next_moment_and_no_longer() -> None:
    inbox, wall, naps = napping()
    begun_ns = wall.now_ns
    assert inbox.take(begun_ns + 3 * MS, 10) == ([], begun_ns + 3 * MS)
    assert inbox.take(wall.now_ns, 10) == ([], wall.now_ns)
    # Nothing is too short to be waited for: who looks again and again takes the time of those who fill the inbox.
    assert inbox.take(wall.now_ns + 50_000, 10) == ([], begun_ns + 3 * MS + 50_000)
    assert naps.ms == [3.0, 0.05]


def test_a_moment_behind_rows_on_their_way_is_waited_for_once() -> None:
    """Time may not pass over them, and the hand-over lets it pass, with rows or without."""
    inbox, wall, naps = napping()
    stamp_ns = inbox.stamp()
    naps.meanwhile = [lambda: inbox.put([])]
    taken = inbox.take(stamp_ns + MS, 10)
    assert (taken, naps.ms, naps.woken) == (([], wall.now_ns), [250.0], 1)


def test_a_moment_that_somebody_asks_for_does_not_wait_for_a_row() -> None:
    """News of an order in a quiet market; asked for before the taker waits, or while it does, and once alone."""
    inbox, wall, naps = napping()
    inbox.wake_at(wall.now_ns)
    assert inbox.take(NEVER_NS, 10) == ([], wall.now_ns)
    assert naps.ms == []
    naps.meanwhile = [lambda: inbox.wake_at(wall.now_ns)]
    assert inbox.take(NEVER_NS, 10) == ([], wall.now_ns)
    assert (naps.ms, naps.woken) == ([250.0], 1)
    inbox.take(NEVER_NS, 10)
    assert naps.ms == [250.0, 250.0]


def test_a_moment_that_is_asked_for_stays_until_time_has_come_there() -> None:
    """Time may not pass over a row on its way: its hand-over ends the wait, and nobody looks again and again."""
    inbox, wall, naps = napping()
    stamp_ns = inbox.stamp()
    inbox.wake_at(stamp_ns + MS)
    inbox.wake_at(stamp_ns + 5 * MS)
    naps.meanwhile = [lambda: None, lambda: inbox.put([])]
    assert inbox.take(NEVER_NS, 10) == ([], stamp_ns - 1)
    assert inbox.take(NEVER_NS, 10) == ([], wall.now_ns)
    assert (naps.ms, naps.woken) == ([250.0, 250.0], 1)
    inbox.wake_at(wall.now_ns + MS)
    inbox.take(NEVER_NS, 10)
    assert naps.ms[2:] == [1.0]


def test_a_moment_at_the_end_of_the_run_is_waited_for_once() -> None:
    inbox, wall, naps = napping()
    end_ns = wall.now_ns + MS
    inbox.ends_at(end_ns)
    wall.now_ns = end_ns + MS
    naps.meanwhile = [inbox.end]
    assert inbox.take(end_ns, 10) == ([], end_ns)
    assert (naps.ms, naps.woken) == ([250.0], 1)


def test_rows_gather_between_two_batches_where_that_is_asked_for() -> None:
    """The first one after a pause does not wait, and nobody is woken meanwhile."""
    inbox, wall, naps = napping(batch_ms=4)
    first_ns = put_now(inbox)
    assert rows_of(inbox.take(NEVER_NS, 10)) == [first_ns]
    wall.now_ns += MS
    stamps = [put_now(inbox)]
    naps.meanwhile = [lambda: stamps.append(put_now(inbox))]
    assert rows_of(inbox.take(NEVER_NS, 10)) == stamps
    assert (len(stamps), naps.ms, naps.woken) == (2, [3.0], 0)
    wall.now_ns += 5 * MS
    last_ns = put_now(inbox)
    assert rows_of(inbox.take(NEVER_NS, 10)) == [last_ns]
    assert naps.ms == [3.0]


def test_gathering_lets_no_wake_up_go_by() -> None:
    inbox, wall, naps = napping(batch_ms=40)
    put_now(inbox)
    inbox.take(NEVER_NS, 10)
    wake_ns = wall.now_ns + 5 * MS
    assert inbox.take(wake_ns, 10) == ([], wake_ns)
    assert naps.ms == [5.0]


def test_gathering_lets_no_moment_go_by_that_another_thread_asks_for() -> None:
    """Before the taker sleeps, or while it does."""
    inbox, wall, naps = napping(batch_ms=40)
    put_now(inbox)
    inbox.take(NEVER_NS, 10)
    wake_ns = wall.now_ns + 5 * MS
    inbox.wake_at(wake_ns)
    assert inbox.take(NEVER_NS, 10) == ([], wake_ns)
    naps.meanwhile = [lambda: inbox.wake_at(wall.now_ns)]
    inbox.take(NEVER_NS, 10)
    assert (naps.ms, naps.woken) == ([5.0, 40.0], 1)


def test_gathering_ends_when_a_batch_is_full_or_the_feed_over() -> None:
    inbox, _, naps = napping(batch_ms=40)
    stamps = [put_now(inbox) for _ in range(3)]
    assert rows_of(inbox.take(NEVER_NS, 2)) == stamps[:2]
    assert rows_of(inbox.take(NEVER_NS, 1)) == stamps[2:]
    stamps = [put_now(inbox)]
    inbox.close()
    assert rows_of(inbox.take(NEVER_NS, 10)) == stamps
    assert naps.ms == []


def test_rows_that_a_batch_left_behind_wait_no_longer_than_others() -> None:
    """A batch spans 50 ms: with longer times between batches the taker would fall behind for good."""
    inbox, wall, naps = napping(batch_ms=80)
    inbox.take(wall.now_ns, 10)
    stamps = []
    for _ in range(4):
        wall.now_ns += 30 * MS
        stamps.append(put_now(inbox))
    assert [rows_of(inbox.take(NEVER_NS, 10)) for _ in range(2)] == [stamps[:2], stamps[2:]]
    assert (naps.ms, wall.now_ns) == ([50.0], stamps[2] + 80 * MS)


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
            stamps = [inbox.stamp() for _ in range(number)]
            assert all(stamp_ns > told_ns for stamp_ns in stamps)
            put += stamps
            inbox.put([[trade(stamp_ns)] for stamp_ns in stamps])
        else:
            taken, until_ns = inbox.take(0, number) or ([], 0)
            rows = [row.received_ns for events in taken for row in events]
            assert all(stamp_ns > told_ns for stamp_ns in rows)
            assert until_ns >= told_ns
            seen += rows
            told_ns = until_ns
    assert seen == put == sorted(set(put))
