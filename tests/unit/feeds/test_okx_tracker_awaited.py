"""Bars that are awaited from a moment on: none is missing because it closed before the first push."""

import pytest
from test_okx_tracker_candles import BARS, MINUTE_NS, missing, open_ns, places, row
from tracker_driver import Driver, kinds

from quantkit.feeds.okx.codec.channels import candles
from quantkit.feeds.okx.tracker.candles import open_at
from quantkit.feeds.okx.tracker.records import (
    Awaited,
    Closed,
    FetchCandles,
    Fetched,
    Subscribed,
    Unsubscribed,
    pack,
    unpack,
)


def awaiting(place: int) -> Driver:
    driver = Driver()
    assert driver.record(Awaited, BARS, open_ns(place)) == []
    driver.want(BARS)
    return driver


def test_bars_that_closed_before_the_first_push_are_fetched() -> None:
    driver = awaiting(0)
    assert kinds(driver.push(BARS, row(2, "0"))) == ["FormingCandle"]
    assert driver.commands == [FetchCandles(BARS, open_ns(0), open_ns(1))]
    assert places(driver.record(Fetched, BARS, [row(0), row(1)])) == [0, 1]
    assert places(driver.push(BARS, row(2))) == [2]


def test_a_closed_bar_as_the_first_push_waits_for_them_too() -> None:
    driver = awaiting(0)
    assert driver.push(BARS, row(2)) == []
    assert driver.commands == [FetchCandles(BARS, open_ns(0), open_ns(1))]
    assert places(driver.record(Fetched, BARS, [row(0), row(1)])) == [0, 1, 2]


def test_what_cannot_be_fetched_is_a_gap() -> None:
    driver = awaiting(0)
    driver.push(BARS, row(2, "0"))
    assert missing(driver.record(Fetched, BARS, [row(1)])) == [(0, 1, "missing")]


def test_nothing_is_fetched_where_the_awaited_bar_comes_first() -> None:
    driver = awaiting(2)
    assert kinds(driver.push(BARS, row(2, "0"))) == ["FormingCandle"]
    assert places(driver.push(BARS, row(2))) == [2]
    assert driver.commands == []


@pytest.mark.parametrize("confirm", ["0", "1"])
def test_a_clock_that_is_ahead_costs_no_bar(confirm: str) -> None:
    """The machine believed bar 3 to be open while it was bar 1."""
    driver = awaiting(3)
    assert kinds(driver.push(BARS, row(1, confirm))) == ["FormingCandle" if confirm == "0" else "Candle"]
    assert places(driver.push(BARS, row(1 if confirm == "0" else 2))) == [1 if confirm == "0" else 2]
    assert driver.commands == []


def test_bars_that_never_came_are_overdue_and_a_gap_at_the_end() -> None:
    driver = awaiting(0)
    late_ns = open_ns(2) + 6_000_000_000
    assert driver.tracker.overdue(late_ns) == [FetchCandles(BARS, open_ns(0), open_ns(1))]
    driver.now_ns = late_ns
    assert missing(driver.record(Closed)) == [(0, 2, "missing")]


def test_a_run_that_is_shorter_than_a_bar_misses_none() -> None:
    assert awaiting(0).record(Closed) == []


def test_what_is_delivered_already_is_not_awaited() -> None:
    driver = awaiting(0)
    assert places(driver.push(BARS, row(0))) == [0]
    assert driver.record(Awaited, BARS, open_ns(0)) == []
    assert places(driver.push(BARS, row(1))) == [1]
    driver.record(Unsubscribed, 0, BARS)
    driver.record(Subscribed, 0, BARS)
    assert places(driver.push(BARS, row(9))) == [9]


def test_a_moment_lies_in_the_bar_that_is_open_then() -> None:
    monday_ns = 1_700_438_400_000_000_000  # 2023-11-20
    assert open_at(candles("A-B", "1m"), open_ns(1)) == open_ns(1)
    assert open_at(candles("A-B", "1m"), open_ns(1) + MINUTE_NS - 1) == open_ns(1)
    assert open_at(candles("A-B", "1w"), monday_ns + 123) == monday_ns
    assert open_at(candles("A-B", "1w"), monday_ns - 1) == monday_ns - 7 * 86_400_000_000_000


def test_it_is_on_the_tape() -> None:
    record = Awaited(5, BARS, 7)
    assert unpack(pack(record)) == record
