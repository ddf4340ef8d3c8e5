"""How long fills waited for their protection."""

from quantkit.brokers.unprotected import Unprotected, mean_s, total_s
from quantkit.clock import NS_PER_MS


def wait(qty: float, from_ms: int, to_ms: int) -> Unprotected:
    return Unprotected("bt1", "X", qty, from_ms * NS_PER_MS, to_ms * NS_PER_MS)


def test_the_mean_is_by_size_and_the_total_counts_each_moment_once() -> None:
    waits = [wait(1, 0, 20), wait(3, 10, 50), wait(1, 15, 18), wait(5, 100, 110)]
    assert mean_s(waits) == (20 + 120 + 3 + 50) / 10 / 1000
    assert total_s(waits) == 0.06


def test_nothing_waited_where_nothing_was_filled() -> None:
    assert (mean_s([]), total_s([])) == (0.0, 0.0)
