"""Probabilistic and deflated Sharpe ratio: against scipy, the papers' own examples, and what must hold for any data."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from quantkit.report.confidence import deflated_sharpe, expected_best_sharpe, probabilistic_sharpe

stats = pytest.importorskip("scipy.stats")
RETURNS = np.random.default_rng(5).normal(0.001, 0.02, 500)


def by_scipy(returns: Any, threshold: float) -> float:
    """Return the probability by the paper's formula, its parts from scipy."""
    sharpe, n = returns.mean() / returns.std(ddof=1), len(returns)
    skew, kurtosis = stats.skew(returns), stats.kurtosis(returns, fisher=False)
    error = math.sqrt((1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2) / (n - 1))
    return float(stats.norm.cdf((sharpe - threshold) / error))


@pytest.mark.parametrize("size", [3, 31, 500])
@pytest.mark.parametrize("threshold", [0.0, 0.05, -0.1])
def test_the_probability_equals_scipys(size: int, threshold: float) -> None:
    """Moments and the normal distribution are scipy's."""
    expected = by_scipy(RETURNS[:size], threshold)
    assert probabilistic_sharpe(RETURNS[:size], threshold=threshold) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [2, 10, 88, 1000])
def test_the_best_of_many_by_luck_equals_scipys(count: int) -> None:
    """Its quantiles are scipy's."""
    high, higher = stats.norm.ppf(1 - 1 / count), stats.norm.ppf(1 - 1 / (count * math.e))
    expected = 0.7 * ((1 - np.euler_gamma) * high + np.euler_gamma * higher)
    assert expected_best_sharpe(count, 0.7) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [10, 100])
def test_the_best_of_many_by_luck_is_about_their_mean_maximum(count: int) -> None:
    """Counted by drawing: the formula is an approximation, good to some per cent from ten variants on."""
    drawn = np.random.default_rng(3).normal(0, 1, (20_000, count)).max(axis=1).mean()
    assert expected_best_sharpe(count, 1.0) == pytest.approx(drawn, rel=0.03)


def test_the_example_of_the_paper() -> None:
    """Bailey and Lopez de Prado 2014: of 100 strategies the best has 2.5 a year over 1250 days; deflated, 0.9004."""
    sharpe, deviation = 2.5 / math.sqrt(250), math.sqrt(0.5 / 250)
    threshold = expected_best_sharpe(100, deviation)
    assert threshold == pytest.approx(0.1132, abs=5e-5)
    variance = 1 + 3 * sharpe + (10 - 1) / 4 * sharpe**2
    score = (sharpe - threshold) * math.sqrt(1249 / variance)
    assert stats.norm.cdf(score) == pytest.approx(0.9004, abs=5e-4)


def test_more_variants_make_the_best_less_likely() -> None:
    """One variant is only probabilistic; equal ones teach nothing about luck."""
    alone = probabilistic_sharpe(RETURNS)
    assert alone is not None
    assert deflated_sharpe(RETURNS, [1.0], periods_per_year=365) == alone
    assert deflated_sharpe(RETURNS, [None], periods_per_year=365) == alone
    assert deflated_sharpe(RETURNS, [1.0, 1.0], periods_per_year=365) == alone
    some = deflated_sharpe(RETURNS, [1.0, 0.0, -1.0], periods_per_year=365)
    many = deflated_sharpe(RETURNS, [1.0, 0.0, -1.0] * 20, periods_per_year=365)
    assert some is not None
    assert many is not None
    assert alone > some > many > 0
    # A variant without a ratio was tried all the same.
    more = deflated_sharpe(RETURNS, [1.0, 0.0, -1.0, None, None], periods_per_year=365)
    assert more is not None
    assert more < some
    assert deflated_sharpe(RETURNS, [1.0, None], periods_per_year=365) is None


@given(
    arrays.arrays(np.float64, st.integers(0, 40), elements=st.floats(-0.5, 0.5).map(lambda x: round(x, 3))),
    st.floats(-1, 1),
)
@settings(max_examples=200, deadline=None)
def test_a_probability_is_one(returns: Any, threshold: float) -> None:
    """From 0 to 1, lower for a higher threshold, and turned around by turning the returns around."""
    found = probabilistic_sharpe(returns, threshold=threshold)
    if found is None:
        return
    assert 0 <= found <= 1
    higher = probabilistic_sharpe(returns, threshold=threshold + 0.1)
    assert higher is not None
    assert higher <= found
    mirrored = probabilistic_sharpe(-returns, threshold=-threshold)
    assert mirrored == pytest.approx(1 - found, abs=1e-12)


def test_too_little_has_none() -> None:
    """Two days, equal days."""
    assert probabilistic_sharpe(RETURNS[:2]) is None
    assert probabilistic_sharpe(np.full(30, 0.01)) is None
    assert deflated_sharpe(np.full(30, 0.01), [None], periods_per_year=365) is None
