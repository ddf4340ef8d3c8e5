"""Candles through a tracker: each closed bar once and in order, missing ones fetched, and a gap where that fails."""

from typing import Any

import pytest
from tracker_driver import NAME, Driver, kinds

from quantkit.events import Candle, Gap
from quantkit.feeds.okx.codec.channels import Channel
from quantkit.feeds.okx.tracker.records import FetchCandles, Fetched

BARS = Channel("candle1m", NAME)
MINUTE_NS = 60_000_000_000
START_NS = 1_700_000_040_000_000_000


def open_ns(place: int) -> int:
    return START_NS + place * MINUTE_NS


def row(place: int, confirm: str = "1") -> list[str]:
    return [str(open_ns(place) // 1_000_000), "10", "12", "9", "11", str(place + 1), "0", "0", confirm]


def places(events: list[Any]) -> list[int]:
    return [(event.open_ns - START_NS) // MINUTE_NS for event in events if isinstance(event, Candle)]


def missing(events: list[Any]) -> list[tuple[int, int, str]]:
    return [
        ((gap.from_ns - START_NS) // MINUTE_NS, (gap.to_ns - START_NS) // MINUTE_NS, gap.cause)
        for gap in events
        if isinstance(gap, Gap) and gap.channel == "candle 1m"
    ]


@pytest.fixture
def live() -> Driver:
    """Bar 0 has been delivered."""
    driver = Driver()
    driver.want(BARS)
    assert places(driver.push(BARS, row(0))) == [0]
    return driver


def test_a_bar_is_delivered_once_when_it_is_closed(live: Driver) -> None:
    assert kinds(live.push(BARS, row(1, "0"))) == ["FormingCandle"]
    (candle,) = live.push(BARS, row(1))
    assert candle == Candle(NAME, open_ns(2), live.now_ns, open_ns(1), open_ns(2), 10.0, 12.0, 9.0, 11.0, 2.0, "1m")
    assert live.push(BARS, row(1)) == []
    assert live.push(BARS, row(0)) == []
    assert live.tracker.counters["repeated bars"] == 2


def test_an_open_bar_comes_after_the_closed_one_of_its_frame(live: Driver) -> None:
    assert kinds(live.push(BARS, row(2, "0"), row(1))) == ["Candle", "FormingCandle"]


def test_a_bar_after_a_missing_one_waits_until_that_is_fetched(live: Driver) -> None:
    assert live.push(BARS, row(3)) == []
    assert live.commands == [FetchCandles(BARS, open_ns(1), open_ns(2))]
    assert live.push(BARS, row(4)) == []
    assert len(live.commands) == 1
    delivered = live.record(Fetched, BARS, [row(2), row(1), row(0), row(5, "0")], "")
    assert places(delivered) == [1, 2, 3, 4]
    assert {event.received_ns for event in delivered if isinstance(event, Candle)} == {live.now_ns}
    assert missing(delivered) == []


@pytest.mark.parametrize(("error", "cause"), [("", "missing"), ("no network", "not fetched: no network")])
def test_what_cannot_be_fetched_is_a_gap_and_the_rest_goes_on(live: Driver, error: str, cause: str) -> None:
    live.push(BARS, row(5))
    delivered = live.record(Fetched, BARS, [row(3)], error)
    assert missing(delivered) == [(1, 3, cause), (4, 5, cause)]
    assert places(delivered) == [3, 5]
    assert kinds(delivered) == ["Gap", "Gap", "Candle", "Candle"]
    assert delivered[0] == Gap(NAME, open_ns(3), live.now_ns, "candle 1m", open_ns(1), open_ns(3), cause)


def test_a_second_hole_is_fetched_after_the_first(live: Driver) -> None:
    live.push(BARS, row(2))
    live.push(BARS, row(4))
    assert places(live.record(Fetched, BARS, [row(1)], "")) == [1, 2]
    assert live.commands[1:] == [FetchCandles(BARS, open_ns(3), open_ns(3))]
    assert places(live.record(Fetched, BARS, [row(3)], "")) == [3, 4]


def test_malformed_and_stray_fetched_rows_are_counted(live: Driver) -> None:
    live.push(BARS, row(2))
    stray = row(1)
    stray[0] = str(open_ns(1) // 1_000_000 + 500)
    assert places(live.record(Fetched, BARS, [["x"], stray, row(1)], "")) == [1, 2]
    assert live.tracker.counters["malformed fetched bars"] == 1
    assert live.tracker.counters["bars that do not open on their interval"] == 1


def test_the_first_push_after_an_outage_shows_what_closed_meanwhile(live: Driver) -> None:
    assert live.lose() == []
    live.want(BARS, 1)
    assert kinds(live.push(BARS, row(4, "0"), connection=1)) == ["FormingCandle"]
    assert live.commands == [FetchCandles(BARS, open_ns(1), open_ns(3))]
    assert live.push(BARS, row(4), connection=1) == []
    assert places(live.record(Fetched, BARS, [row(1), row(2), row(3)], "")) == [1, 2, 3, 4]


def test_a_bar_that_is_lacking_at_the_end_of_the_answer_is_a_gap(live: Driver) -> None:
    live.lose()
    live.want(BARS, 1)
    live.push(BARS, row(4, "0"), connection=1)
    delivered = live.record(Fetched, BARS, [row(1), row(2)], "")
    assert (places(delivered), missing(delivered)) == ([1, 2], [(3, 4, "missing")])
    assert places(live.push(BARS, row(4), connection=1)) == [4]


def test_an_outage_within_one_bar_costs_nothing(live: Driver) -> None:
    live.push(BARS, row(1, "0"))
    live.lose()
    live.want(BARS, 1)
    live.push(BARS, row(1, "0"), connection=1)
    assert places(live.push(BARS, row(1), connection=1)) == [1]
    assert live.commands == []


def test_before_the_first_closed_bar_the_open_one_says_which_is_due() -> None:
    driver = Driver()
    driver.want(BARS)
    driver.push(BARS, row(0, "0"))
    assert driver.push(BARS, row(1)) == []
    assert driver.commands == [FetchCandles(BARS, open_ns(0), open_ns(0))]


def test_both_connections_of_a_handover_bring_each_bar_once(live: Driver) -> None:
    live.want(BARS, 1)
    assert live.push(BARS, row(1, "0"), connection=1) == []
    assert places(live.push(BARS, row(1), connection=1)) == [1]
    assert live.push(BARS, row(1)) == []
    live.lose(0)
    assert kinds(live.push(BARS, row(2, "0"), connection=1)) == ["FormingCandle"]
    assert places(live.push(BARS, row(2), connection=1)) == [2]
    assert live.commands == []


def test_bars_wait_while_the_consumer_has_no_room(live: Driver) -> None:
    live.shed(True)
    assert live.push(BARS, row(1, "0")) == []
    assert live.push(BARS, row(1)) == []
    assert live.push(BARS, row(3)) == []
    assert live.commands == []
    assert places(live.shed(False)) == [1]
    assert live.commands == [FetchCandles(BARS, open_ns(2), open_ns(2))]
    assert places(live.record(Fetched, BARS, [row(2)], "")) == [2, 3]


def test_an_answer_while_there_is_no_room_is_kept_and_asks_for_nothing(live: Driver) -> None:
    live.push(BARS, row(3))
    live.shed(True)
    assert live.record(Fetched, BARS, [row(1)], "no network") == []
    assert len(live.commands) == 1
    assert places(live.shed(False)) == [1]
    assert live.commands[1:] == [FetchCandles(BARS, open_ns(2), open_ns(2))]


def test_no_more_than_a_thousand_bars_wait(live: Driver) -> None:
    for place in range(2, 1002):
        assert live.push(BARS, row(place)) == []
    delivered = live.push(BARS, row(1002))
    assert missing(delivered) == [(1, 2, "not fetched in time")]
    assert places(delivered) == list(range(2, 1003))


def test_bars_beyond_a_thousand_are_shed(live: Driver) -> None:
    live.shed(True)
    for place in range(1, 1001):
        assert live.push(BARS, row(place)) == []
    assert missing(live.push(BARS, row(1001))) == [(1, 1002, "shed")]
    assert live.shed(False) == []
    assert places(live.push(BARS, row(1002))) == [1002]


def test_bars_are_overdue_a_while_after_their_close(live: Driver) -> None:
    overdue = live.tracker.overdue
    assert overdue(open_ns(2) + 4_000_000_000) == []
    assert overdue(open_ns(2) + 5_000_000_000) == [FetchCandles(BARS, open_ns(1), open_ns(1))]
    assert overdue(open_ns(4) + 1_000_000_000, 1_000_000_000) == [FetchCandles(BARS, open_ns(1), open_ns(3))]
    assert places(live.record(Fetched, BARS, [row(1)], "")) == [1]
    live.push(BARS, row(3))
    assert overdue(open_ns(9)) == []  # asked for already
    live.lose()
    assert overdue(open_ns(9)) == []


def test_an_answer_nobody_asked_for_that_lacks_a_bar_is_no_gap(live: Driver) -> None:
    assert live.record(Fetched, BARS, [], "no network") == []
    assert places(live.push(BARS, row(1))) == [1]


def test_answers_before_the_first_push_or_of_other_channels_are_ignored() -> None:
    driver = Driver()
    assert driver.record(Fetched, BARS, [row(1)], "") == []
    driver.want(BARS)
    assert driver.record(Fetched, BARS, [row(1)], "") == []


def test_bars_that_are_never_delivered_are_a_gap_at_the_end(live: Driver) -> None:
    live.push(BARS, row(3))
    assert missing(list(live.tracker.close(live.stamp()))) == [(1, 4, "missing")]
    assert live.tracker.close(live.stamp()) == []


def test_bars_that_close_after_the_connection_was_lost_are_a_gap_at_the_end(live: Driver) -> None:
    live.lose(cause="pong")
    live.now_ns = open_ns(3) + 5
    assert missing(list(live.tracker.close(live.stamp()))) == [(1, 3, "disconnected: pong")]


def test_a_connected_channel_leaves_no_gap_at_the_end(live: Driver) -> None:
    live.push(BARS, row(1, "0"))
    live.now_ns = open_ns(2) + 5
    assert live.tracker.close(live.stamp()) == []


def test_a_malformed_frame_makes_the_next_push_show_what_is_missing(live: Driver) -> None:
    assert live.push(BARS, ["x"]) == []
    assert kinds(live.push(BARS, row(2, "0"))) == ["FormingCandle"]
    assert live.commands == [FetchCandles(BARS, open_ns(1), open_ns(1))]


def test_an_answer_to_another_question_takes_nothing_from_the_one_that_is_open(live: Driver) -> None:
    # Bar 1 was late, so that it was looked up; bar 4 came while that ran, and its look-up waits for its turn.
    assert live.push(BARS, row(4)) == []
    assert live.commands == [FetchCandles(BARS, open_ns(1), open_ns(3))]
    assert places(live.record(Fetched, BARS, [row(1)], "", open_ns(1), open_ns(1))) == [1]
    assert live.record(Fetched, BARS, [], "timeout", open_ns(1), open_ns(1)) == []
    assert live.commands == [FetchCandles(BARS, open_ns(1), open_ns(3))]
    delivered = live.record(Fetched, BARS, [row(3), row(2)], "", open_ns(1), open_ns(3))
    assert (places(delivered), missing(delivered)) == ([2, 3, 4], [])


def test_an_answer_to_the_open_question_says_what_is_lost(live: Driver) -> None:
    live.push(BARS, row(4))
    delivered = live.record(Fetched, BARS, [row(2)], "", open_ns(1), open_ns(3))
    assert (places(delivered), missing(delivered)) == ([2, 4], [(1, 2, "missing"), (3, 4, "missing")])
