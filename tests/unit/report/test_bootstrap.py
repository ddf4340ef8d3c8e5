"""The stationary bootstrap: the same draws gone through one by one, the rule of the block length, and coverage."""

import math
from statistics import mean, stdev
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from quantkit.report import bootstrap
from quantkit.report.bootstrap import LEAST_DAYS, block_length, intervals, stationary_indices


def remembering(n: int, memory: float, seed: int, drift: float = 0.0) -> Any:
    """Return a series of which each value keeps a share of the one before."""
    noise = np.random.default_rng(seed).normal(0, 0.02, n)
    values = [float(noise[0])]
    for step in noise[1:].tolist():
        values.append(memory * values[-1] + step)
    return np.array(values) + drift


def quantile(values: list[float], share: float) -> float:
    """Return a quantile, linear between neighbours."""
    ordered, place = sorted(values), share * (len(values) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


@pytest.mark.parametrize("memory", [0.0, 0.6])
def test_intervals_equal_a_slow_walk_through_the_same_draws(memory: float) -> None:
    """Block by block and day by day, in plain Python."""
    returns, draws, seed = remembering(60, memory, 7, 0.002), 300, 11
    found = intervals(returns, periods_per_year=365, draws=draws, seed=seed)
    assert found is not None
    rng = np.random.default_rng(seed)
    starts, dice = rng.integers(0, 60, (draws, 60)).tolist(), rng.random((draws, 60)).tolist()
    totals, sharpes = [], []
    for row in range(draws):
        day, run = -1, []
        for place in range(60):
            begins_block = place == 0 or dice[row][place] < 1 / found.block_days
            day = starts[row][place] if begins_block else (day + 1) % 60
            run.append(float(returns[day]))
        totals.append(math.prod(1 + each for each in run) - 1)
        sharpes.append(mean(run) / stdev(run) * math.sqrt(365))
    assert found.total_return == pytest.approx((quantile(totals, 0.05), quantile(totals, 0.95)), rel=1e-9)
    assert found.sharpe == pytest.approx((quantile(sharpes, 0.05), quantile(sharpes, 0.95)), rel=1e-9)


def slow_block_length(returns: list[float]) -> float:
    """Follow Politis and White 2004 with the correction of 2009, by loops over all lags of both signs."""
    n, centre = len(returns), mean(returns)

    def covariance(lag: int) -> float:
        lag = abs(lag)
        return sum((returns[t] - centre) * (returns[t + lag] - centre) for t in range(n - lag)) / n

    bound, most = 2 * math.sqrt(math.log10(n) / n), min(n - 1, math.ceil(math.sqrt(n)) + 5)
    small = {lag: abs(covariance(lag) / covariance(0)) < bound for lag in range(1, most + 1)}
    quiet = [m for m in range(most - 5 + 1) if all(small[m + k] for k in range(1, 6))]
    memory = quiet[0] if quiet else max((lag for lag in small if not small[lag]), default=0)
    width = min(2 * memory, most)
    if width == 0:
        return 1.0

    def window(lag: int) -> float:
        share = abs(lag) / width
        return 1.0 if share <= 0.5 else 2 * (1 - share)

    lags = range(-width, width + 1)
    g = sum(window(lag) * abs(lag) * covariance(lag) for lag in lags)
    d = 2 * sum(window(lag) * covariance(lag) for lag in lags) ** 2
    found = (2 * g**2 / d) ** (1 / 3) * n ** (1 / 3)
    return min(max(1.0, found), math.ceil(min(3 * math.sqrt(n), n / 3)))


@pytest.mark.parametrize("n", [20, 31, 365])
@pytest.mark.parametrize("memory", [-0.5, 0.0, 0.3, 0.9])
@pytest.mark.parametrize("seed", range(3))
def test_the_block_length_equals_the_papers_sums(n: int, memory: float, seed: int) -> None:
    """Written down a second time, slowly."""
    returns = remembering(n, memory, seed)
    assert block_length(returns) == pytest.approx(slow_block_length(returns.tolist()), rel=1e-9)


def test_blocks_are_as_long_as_asked_for() -> None:
    """On average, and each goes on at the next day, around the end."""
    found = stationary_indices(np.random.default_rng(2), 400, 250, 8.0)
    assert (found.min(), found.max()) == (0, 249)
    goes_on = (found[:, 1:] == (found[:, :-1] + 1) % 250).mean()
    # A new block may begin where the last one would have gone on.
    assert goes_on == pytest.approx(1 - 1 / 8 * (1 - 1 / 250), abs=0.005)
    alone = stationary_indices(np.random.default_rng(2), 400, 250, 1.0)
    assert (alone[:, 1:] == (alone[:, :-1] + 1) % 250).mean() == pytest.approx(1 / 250, abs=0.002)


@pytest.mark.parametrize("memory", [0.0, 0.4])
def test_an_interval_covers_the_truth_about_as_often_as_it_says(memory: float) -> None:
    """Nine times of ten, somewhat less for days that remember: of 300 series of 200 days with a known mean."""
    drift, n, runs = 0.001, 200, 300
    truth = n * math.log1p(drift)
    hits = 0
    for seed in range(runs):
        series = np.expm1(remembering(n, memory, seed, 0.0) + math.log1p(drift))
        found = intervals(series, periods_per_year=365, draws=200, seed=seed)
        assert found is not None
        low, high = found.total_return
        hits += math.log1p(low) <= truth <= math.log1p(high)
    assert 0.78 <= hits / runs <= 0.95


@given(
    arrays.arrays(np.float64, st.integers(0, 60), elements=st.floats(-0.9, 0.9).map(lambda x: round(x, 3))),
    st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_intervals_are_finite_and_in_order(returns: Any, seed: int) -> None:
    """From 20 days on; the same seed gives the same; scaling does not move the Sharpe ratio's."""
    found = intervals(returns, periods_per_year=365, draws=50, seed=seed)
    assert (found is None) is (len(returns) < LEAST_DAYS)
    if found is None:
        return
    assert -1 <= found.total_return[0] <= found.total_return[1] < math.inf
    assert 1 <= found.block_days <= len(returns) / 3 + 1
    assert found == intervals(returns, periods_per_year=365, draws=50, seed=seed)
    if np.ptp(returns) == 0:
        assert found.sharpe is None
    if found.sharpe is not None:
        halved = intervals(returns / 2, periods_per_year=365, draws=50, seed=seed)
        assert halved is not None
        assert halved.sharpe == pytest.approx(found.sharpe, rel=1e-9, abs=1e-9)


def test_many_days_are_drawn_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few rows are held in memory, and a run of many days still has all its draws."""
    monkeypatch.setattr(bootstrap, "_AT_A_TIME", 100)
    found = intervals(remembering(40, 0.0, 1), periods_per_year=365, draws=7)
    assert found is not None
    assert found.total_return[0] < found.total_return[1]


def test_what_has_no_finite_growth_has_no_interval() -> None:
    """Days beyond all floats, days without a number."""
    assert intervals(np.array([1e300, -0.5] * 15), periods_per_year=365) is None
    assert intervals(np.array([math.nan] * 30), periods_per_year=365) is None
