"""How long rows take, counted in buckets."""

import numpy as np
import pytest

from quantkit.feeds.latencies import Latencies


def test_without_rows_there_is_no_quantile() -> None:
    latencies = Latencies()
    assert latencies.quantile_ns(0.99) is None
    latencies.turn()
    assert latencies.quantile_ns(0.5) is None


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.99, 1.0])
def test_a_quantile_is_at_most_a_sixteenth_too_high(share: float) -> None:
    dice = np.random.default_rng(3)
    values = np.sort(np.exp(dice.normal(12.0, 2.5, 5_000)).astype(np.int64) + 16)
    latencies = Latencies()
    for value in values.tolist():
        latencies.add(value)
    exact = int(values[max(0, int(np.ceil(share * len(values))) - 1)])
    found = latencies.quantile_ns(share)
    assert found is not None
    assert exact <= found <= exact * 17 // 16


@pytest.mark.parametrize("ns", [-5, 0, 1, 15, 16, 17, 31, 32, 1000, 10**9, 3_600 * 10**9, 2**62])
def test_every_length_has_a_bucket(ns: int) -> None:
    latencies = Latencies()
    latencies.add(ns)
    found = latencies.quantile_ns(1.0)
    assert found is not None
    assert max(ns, 16) <= found <= max(ns, 16) * 17 // 16


def test_two_spans_count_and_older_ones_do_not() -> None:
    latencies = Latencies()
    latencies.add(10**9)
    latencies.turn()
    latencies.add(1_000)
    found = latencies.quantile_ns(1.0)
    assert found is not None
    assert found >= 10**9
    latencies.turn()
    found = latencies.quantile_ns(1.0)
    assert found is not None
    assert found < 2_000
