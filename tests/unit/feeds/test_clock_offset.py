"""How far the clocks are apart: measured, never above what rows prove, moved in steps."""

import pytest

from quantkit.clock import NS_PER_MIN, NS_PER_MS, NS_PER_S
from quantkit.feeds.clock_offset import ClockOffset


def test_clocks_that_agree_within_the_error_of_the_measurement_are_left_alone() -> None:
    offset = ClockOffset()
    offset.measured(700_000, 1_200_000)
    assert not offset.settle(2 * NS_PER_MS, until_ns=1)
    assert offset.value_ns == 0


@pytest.mark.parametrize("apart_ns", [3 * NS_PER_S, -3 * NS_PER_S])
def test_a_measurement_moves_it_once(apart_ns: int) -> None:
    offset = ClockOffset()
    offset.measured(apart_ns, NS_PER_MS)
    assert offset.settle(None, until_ns=1)
    assert offset.value_ns == apart_ns
    assert not offset.settle(apart_ns + NS_PER_MS, until_ns=2)
    offset.measured(apart_ns + 900_000, NS_PER_MS)
    assert not offset.settle(None, until_ns=3)


def test_it_is_never_above_the_smallest_receipt_less_stamp() -> None:
    """No row comes before it was sent; in whole milliseconds, so that not each row is a step."""
    offset = ClockOffset()
    assert not offset.settle(3 * NS_PER_MS, until_ns=1)
    assert offset.settle(-2_300_000, until_ns=2)
    assert offset.value_ns == -3 * NS_PER_MS
    assert not offset.settle(-2_900_000, until_ns=3)
    assert offset.settle(-3_000_001, until_ns=4)
    assert offset.value_ns == -4 * NS_PER_MS


def test_a_wrong_measurement_is_bounded_by_the_rows_before_and_after_it() -> None:
    """Half a second of it was the way there alone."""
    offset = ClockOffset()
    offset.settle(20 * NS_PER_MS, until_ns=1)
    offset.measured(500 * NS_PER_MS, NS_PER_MS)
    assert offset.settle(None, until_ns=2)
    assert offset.value_ns == 20 * NS_PER_MS
    assert not offset.settle(25 * NS_PER_MS, until_ns=3)
    assert offset.settle(15 * NS_PER_MS, until_ns=4)
    assert offset.value_ns == 15 * NS_PER_MS


def test_rows_from_before_a_clock_was_set_forward_are_forgotten() -> None:
    """The measurement waits for that."""
    offset = ClockOffset()
    offset.settle(5 * NS_PER_MS, until_ns=NS_PER_MIN)
    apart_ns = 3 * NS_PER_S
    offset.measured(apart_ns, NS_PER_MS)
    offset.settle(apart_ns + 5 * NS_PER_MS, until_ns=NS_PER_MIN + 1)
    assert offset.value_ns == 5 * NS_PER_MS
    offset.settle(apart_ns + 5 * NS_PER_MS, until_ns=2 * NS_PER_MIN)
    assert offset.value_ns == 5 * NS_PER_MS
    assert offset.settle(apart_ns + 5 * NS_PER_MS, until_ns=3 * NS_PER_MIN)
    assert offset.value_ns == apart_ns
