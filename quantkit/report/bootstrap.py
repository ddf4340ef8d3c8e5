"""Intervals of statistics from the days themselves: a bootstrap that keeps neighbouring days together."""

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator

from quantkit.report.metrics import FloatArray, IntArray

#: The share of resampled runs that an interval holds.
LEVEL: Final = 0.90
#: Fewer days say too little about their own spread.
LEAST_DAYS: Final = 20
DRAWS: Final = 2000
#: So that the same run has the same interval.
SEED: Final = 20_260_101
#: How many days are resampled at once: what is held in memory.
_AT_A_TIME: Final = 1_000_000


class Intervals(NamedTuple):
    """Where a run's return and Sharpe ratio might have come to with its days in another order.

    Attributes:
        total_return: Lowest and highest, fractions. sharpe: likewise, annualised; None without dispersion.
        block_days: The mean length of the blocks.
    """

    total_return: tuple[float, float]
    sharpe: tuple[float, float] | None
    block_days: float


def intervals(
    returns: FloatArray, *, periods_per_year: float, draws: int = DRAWS, seed: int = SEED, level: float = LEVEL
) -> Intervals | None:
    """Return percentile intervals by a stationary block bootstrap.

    Each draw puts together as many days as the run had, in blocks of random length that begin anywhere and go on at the
    first day behind the last.

    Args:
        returns: Shape (n,), fractions per day.
        periods_per_year: Days a year.
        draws, seed: How many, and of which numbers.
        level: The share of draws within the interval.

    Returns:
        None below 20 days, or where a statistic has no finite value.

    Source: Politis and Romano, "The Stationary Bootstrap", Journal of the American Statistical Association 1994; the
    block length by `block_length`; percentiles as in Efron, "Nonparametric Standard Errors and Confidence Intervals",
    Canadian Journal of Statistics 1981.
    """
    n = len(returns)
    if n < LEAST_DAYS or not np.isfinite(returns).all():
        return None
    mean_length, rng = block_length(returns), np.random.default_rng(seed)
    growth, sharpes = [], []
    for begin in range(0, draws, max(1, _AT_A_TIME // n)):
        rows = min(max(1, _AT_A_TIME // n), draws - begin)
        drawn = returns[stationary_indices(rng, rows, n, mean_length)]
        with np.errstate(all="ignore"):
            growth.append(np.prod(1 + drawn, axis=1))
            sharpes.append(np.mean(drawn, axis=1) / np.std(drawn, axis=1, ddof=1))
        # The computed deviation of equal days is rounding, or nothing.
        sharpes[-1][drawn.max(axis=1) == drawn.min(axis=1)] = math.nan
    totals, ratios = np.concatenate(growth) - 1, np.concatenate(sharpes)
    if not np.isfinite(totals).all():
        return None
    tails = (1 - level) / 2, (1 + level) / 2
    ratios = ratios[np.isfinite(ratios)] * math.sqrt(periods_per_year)
    low, high = np.quantile(totals, tails).tolist()
    worst, best = np.quantile(ratios, tails).tolist() if len(ratios) else (math.nan, math.nan)
    is_known = math.isfinite(worst) and math.isfinite(best)
    return Intervals((low, high), (worst, best) if is_known else None, mean_length)


def stationary_indices(rng: Generator, draws: int, n: int, mean_length: float) -> IntArray:
    """Return which days each draw is made of.

    Args:
        rng: Where chance comes from.
        draws, n: How many draws of how many days.
        mean_length: Of blocks, whose lengths have a geometric distribution; 1 or more.

    Returns:
        Shape (draws, n), from 0 to n - 1.

    Source: Politis and Romano 1994, section 2.

    Examples:
        >>> stationary_indices(np.random.default_rng(1), 1, 6, 1e9).tolist()
        [[2, 3, 4, 5, 0, 1]]
    """
    starts = rng.integers(0, n, (draws, n))
    begins = rng.random((draws, n)) < 1 / mean_length
    begins[:, 0] = True
    places = np.arange(n)
    since = np.maximum.accumulate(np.where(begins, places, 0), axis=1)
    return np.asarray((np.take_along_axis(starts, since, axis=1) + places - since) % n, np.int64)


def block_length(returns: FloatArray) -> float:
    """Return the mean block length that suits how long a series remembers itself.

    Args:
        returns: Shape (n,), n above 1.

    Returns:
        1 or more, and at most min(3 sqrt(n), n / 3); 1 for a series without memory or dispersion.

    Source: Politis and White, "Automatic Block-Length Selection for the Dependent Bootstrap", Econometric Reviews 2004,
    with the correction of Patton, Politis and White, Econometric Reviews 2009: the smallest lag after which five
    autocorrelations in a row lie within 2 sqrt(log10(n) / n), twice that as the width of a flat-top window, and
    `(n g^2 / s^2)^(1/3)` of the windowed sums `g` of lag times covariance and `s` of covariances.

    Examples:
        >>> block_length(np.array([0.01, -0.01] * 50)) > 5, block_length(np.zeros(50))
        (True, 1.0)
    """
    n = len(returns)
    if returns.max() == returns.min():
        return 1.0
    centred = returns - np.mean(returns)
    centred = centred / np.abs(centred).max()  # the scale cancels, and squares do not underflow
    quiet = max(5, math.ceil(math.sqrt(math.log10(n))))
    most = min(n - 1, math.ceil(math.sqrt(n)) + quiet)
    shared = np.array([float((centred[lag:] * centred[: n - lag]).sum()) / n for lag in range(most + 1)])
    is_small = np.abs(shared[1:] / shared[0]) < 2 * math.sqrt(math.log10(n) / n)
    large = np.flatnonzero(~is_small) + 1
    memory = int(large[-1]) if len(large) else 0
    for lag in range(most - quiet + 1):
        if is_small[lag : lag + quiet].all():
            memory = lag
            break
    width = min(2 * memory, most)
    if width == 0:
        return 1.0
    lags = np.arange(1, width + 1)
    window = np.where(2 * lags <= width, 1.0, 2 * (1 - lags / width))
    weighed = window * shared[1 : width + 1]
    slope, level = 2 * float((lags * weighed).sum()), float(shared[0] + 2 * weighed.sum())
    if level == 0:
        return 1.0
    found = math.cbrt(n * (slope / level) ** 2)
    return min(max(1.0, found), float(math.ceil(min(3 * math.sqrt(n), n / 3))))
