"""How likely a Sharpe ratio is to be more than luck: for one series, and for the best of several that were tried."""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import Final

import numpy as np

from quantkit.report.metrics import FloatArray, deviation_of, finite

_NORMAL: Final = NormalDist()
_EULER: Final = 0.5772156649015329


def probabilistic_sharpe(returns: FloatArray, *, threshold: float = 0.0) -> float | None:
    """Return the probability that the true Sharpe ratio is above a threshold, given length, skew and fat tails.

    Args:
        returns: Shape (n,), fractions per period.
        threshold: Sharpe ratio per period, not annualised.

    Returns:
        Fraction in [0, 1]; None for n < 3 or a series without dispersion.

    Source: Bailey and Lopez de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 2012, equation 11; the
    ratio's deviation by the sample's (n - 1), skew and kurtosis without correction for n.

    Examples:
        >>> round(probabilistic_sharpe(np.array([0.01, -0.01, 0.02, 0.01])), 6)
        0.801467
    """
    deviation = deviation_of(returns)
    if deviation is None or len(returns) < 3:
        return None
    centred = returns - np.mean(returns)
    centred = centred / np.abs(centred).max()
    second, third, fourth = (float(np.mean(centred**k)) for k in (2, 3, 4))
    sharpe = float(np.mean(returns)) / deviation
    skew, kurtosis = third / second**1.5, fourth / second**2
    variance = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if not variance > 0:
        return None
    score = finite((sharpe - threshold) * math.sqrt((len(returns) - 1) / variance))
    return None if score is None else _NORMAL.cdf(score)


def expected_best_sharpe(count: int, deviation: float) -> float:
    """Return the Sharpe ratio that the best of several variants without any skill is expected to have.

    Args:
        count: How many were tried, 1 or more.
        deviation: Of their Sharpe ratios.

    Returns:
        In the unit of `deviation`; 0 for a single one.

    Source: Bailey and Lopez de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 2014, equation 1.

    Examples:
        >>> expected_best_sharpe(1, 0.5), round(expected_best_sharpe(100, 1.0), 6)
        (0.0, 2.530603)
    """
    if count < 2:
        return 0.0
    least, more = _NORMAL.inv_cdf(1 - 1 / count), _NORMAL.inv_cdf(1 - 1 / (count * math.e))
    return deviation * ((1 - _EULER) * least + _EULER * more)


def deflated_sharpe(
    returns: FloatArray, sharpes_of_variants: Sequence[float | None], *, periods_per_year: float
) -> float | None:
    """Return the probability that the true Sharpe ratio is above what the best of all variants has by luck.

    Args:
        returns: Shape (n,), fractions per period, of the variant that was chosen.
        sharpes_of_variants: Of every variant that was tried, that one included, annualised; None where one had none.
        periods_per_year: How many periods a year has.

    Returns:
        Fraction in [0, 1]: of a single variant the probabilistic Sharpe ratio; None for several of which fewer than two
        have a Sharpe ratio.

    Source: Bailey and Lopez de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 2014, equation 2.

    Examples:
        >>> returns = np.array([0.01, -0.01, 0.02, 0.01])
        >>> round(deflated_sharpe(returns, [1.0, 3.0, 5.0], periods_per_year=365), 6)
        0.764246
    """
    count, deviation = len(sharpes_of_variants), 0.0
    if count > 1:
        known = np.array([each for each in sharpes_of_variants if each is not None], np.float64)
        if len(known) < 2:
            return None
        deviation = float(np.std(known, ddof=1)) / math.sqrt(periods_per_year)
    return probabilistic_sharpe(returns, threshold=expected_best_sharpe(count, deviation))
