"""Performance formulas: pure functions from numpy arrays to one number each, without pandas or display.

Ratios are bare fractions (0.12 is 12 %), drawdowns negative fractions, durations integer nanoseconds. A number that
the data cannot give (too few values, no dispersion, a division by zero) is None, never NaN or infinity.
`periods_per_year` is always said by the caller: 365 for daily returns of markets that never close.
"""

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]


def finite(value: float | np.floating[Any]) -> float | None:
    """Return `value` as a plain float, or None where it is no finite number."""
    number = float(value)
    return number if math.isfinite(number) else None


def deviation_of(values: FloatArray) -> float | None:
    """Return the sample deviation, or None where all values are equal: their computed one is only rounding."""
    if len(values) < 2 or values.max() == values.min():
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        deviation = finite(np.std(values, ddof=1))
    return deviation if deviation else None


def ratio(numerator: float, denominator: float) -> float | None:
    """Return a quotient, or None where it has no finite value."""
    if denominator == 0 or not (math.isfinite(numerator) and math.isfinite(denominator)):
        return None
    return finite(numerator / denominator)


# Growth -------------------------------------------------------------------------------------------------------


def total_return(start: float, end: float) -> float | None:
    """Return the gain of one unit of starting equity.

    Args:
        start, end: Equity in one currency; `start` above zero.

    Returns:
        Fraction of the start; None when `start` is not above zero.

    Examples:
        >>> total_return(100.0, 125.0)
        0.25
    """
    return ratio(end - start, start) if start > 0 else None


def cagr(growth: float, years: float) -> float | None:
    """Return the compound annual growth rate.

    Args:
        growth: Final over starting equity; at or below zero everything was lost.
        years: Length of the run, above zero.

    Returns:
        Fraction per year, -1 for a total loss; None when the span is empty or the rate is beyond all floats.

    Source: CFA Institute, "Global Investment Performance Standards", annualised return: `growth ** (1 / years) - 1`.

    Examples:
        >>> round(cagr(1.21, 2.0), 12)
        0.1
    """
    if years <= 0:
        return None
    if growth <= 0:
        return -1.0
    try:
        return finite(growth ** (1 / years) - 1)
    except OverflowError:
        return None


# Risk and reward of a return series ---------------------------------------------------------------------------


def annualised_volatility(returns: FloatArray, *, periods_per_year: float) -> float | None:
    """Return the standard deviation of returns, scaled to a year.

    Args:
        returns: Shape (n,), fractions per period.
        periods_per_year: How many periods a year has.

    Returns:
        Fraction per year, 0 for a constant series; None for n < 2.

    Source: Hull, "Options, Futures, and Other Derivatives", estimating volatility from historical data.

    Examples:
        >>> round(annualised_volatility(np.array([0.01, -0.01, 0.02]), periods_per_year=365), 6)
        0.291833
    """
    if len(returns) < 2:
        return None
    if returns.max() == returns.min():
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        return finite(np.std(returns, ddof=1) * math.sqrt(periods_per_year))


def sharpe_ratio(returns: FloatArray, *, periods_per_year: float, risk_free: float = 0.0) -> float | None:
    """Return the mean excess return over its deviation, annualised.

    Args:
        returns: Shape (n,), fractions per period.
        periods_per_year: How many periods a year has.
        risk_free: Fraction per period that costs no risk.

    Returns:
        None for n < 2 or a series without dispersion.

    Source: Sharpe, "The Sharpe Ratio", Journal of Portfolio Management 1994, equation 6.

    Examples:
        >>> round(sharpe_ratio(np.array([0.01, -0.01, 0.02]), periods_per_year=365), 6)
        8.338094
    """
    deviation = deviation_of(returns)
    if deviation is None:
        return None
    return ratio(float(np.mean(returns)) - risk_free, deviation / math.sqrt(periods_per_year))


def sortino_ratio(returns: FloatArray, *, periods_per_year: float, required: float = 0.0) -> float | None:
    """Return the mean excess return over the downside deviation, annualised.

    Args:
        returns: Shape (n,), fractions per period.
        periods_per_year: How many periods a year has.
        required: Fraction per period below which a return counts as a loss.

    Returns:
        None for n < 2 or a series without a loss.

    Source: Sortino and Price, "Performance Measurement in a Downside Risk Framework", Journal of Investing 1994;
    the downside deviation averages over all periods, not over the losing ones.

    Examples:
        >>> round(sortino_ratio(np.array([0.01, -0.01, 0.02]), periods_per_year=365), 6)
        22.060523
    """
    if len(returns) < 2:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        downside = float(np.sqrt(np.mean(np.minimum(returns - required, 0.0) ** 2)))
    return ratio((float(np.mean(returns)) - required) * math.sqrt(periods_per_year), downside)


def calmar_ratio(annual_return: float | None, deepest: float | None) -> float | None:
    """Return the annual return over the depth of the worst drawdown.

    Args:
        annual_return: Fraction per year.
        deepest: Negative fraction.

    Returns:
        None where either is missing or there was no drawdown.

    Source: Young, "Calmar Ratio: A Smoother Tool", Futures 1991 (over the whole run, not over 36 months).

    Examples:
        >>> calmar_ratio(0.3, -0.15)
        2.0
    """
    if annual_return is None or deepest is None:
        return None
    return ratio(annual_return, abs(deepest))


def value_at_risk(returns: FloatArray, *, cutoff: float = 0.05) -> float | None:
    """Return the quantile of returns that only the worst `cutoff` of periods fall below.

    Args:
        returns: Shape (n,), fractions per period.
        cutoff: Fraction of periods in the tail.

    Returns:
        Fraction per period, negative for a loss; None for n = 0. Interpolated linearly between neighbours.

    Source: Jorion, "Value at Risk", historical simulation.

    Examples:
        >>> value_at_risk(np.array([-0.04, -0.02, 0.0, 0.02, 0.04]), cutoff=0.25)
        -0.02
    """
    return finite(np.percentile(returns, 100 * cutoff)) if len(returns) else None


def expected_shortfall(returns: FloatArray, *, cutoff: float = 0.05) -> float | None:
    """Return the mean of the worst `cutoff` of returns, also called conditional value at risk.

    Args:
        returns: Shape (n,), fractions per period.
        cutoff: Fraction of periods in the tail; at least one period is.

    Returns:
        Fraction per period; None for n = 0.

    Source: Acerbi and Tasche, "On the coherence of expected shortfall", Journal of Banking & Finance 2002.

    Examples:
        >>> round(expected_shortfall(np.array([-0.04, -0.02, 0.0, 0.02, 0.04]), cutoff=0.25), 12)
        -0.03
    """
    if not len(returns):
        return None
    last = int((len(returns) - 1) * cutoff)
    return finite(np.mean(np.partition(returns, last)[: last + 1]))


def tail_ratio(returns: FloatArray) -> float | None:
    """Return the size of the 95th percentile over the size of the 5th: 2 means gains reach twice as far as losses.

    Args:
        returns: Shape (n,), fractions per period.

    Returns:
        None for n = 0 or a 5th percentile of zero.

    Source: Quantopian, empyrical, `tail_ratio`.

    Examples:
        >>> round(tail_ratio(np.array([-1.0, 0.0, 2.0])), 12)
        2.0
    """
    if not len(returns):
        return None
    low, high = np.percentile(returns, [5, 95])
    return ratio(abs(float(high)), abs(float(low)))


def skewness(returns: FloatArray) -> float | None:
    """Return the adjusted third standardised moment: below zero, the losses are the outliers.

    Args:
        returns: Shape (n,), fractions per period.

    Returns:
        None for n < 3 or a series without dispersion.

    Source: Joanes and Gill, "Comparing measures of sample skewness and kurtosis", The Statistician 1998, G1.

    Examples:
        >>> round(skewness(np.array([0.0, 0.0, 0.0, 1.0])), 12)
        2.0
    """
    moments = _central_moments(returns, least=3)
    if moments is None:
        return None
    n, second, third, _ = moments
    return finite(third / second**1.5 * math.sqrt(n * (n - 1)) / (n - 2))


def kurtosis(returns: FloatArray) -> float | None:
    """Return the adjusted excess kurtosis: zero for normal returns, above it fat tails.

    Args:
        returns: Shape (n,), fractions per period.

    Returns:
        None for n < 4 or a series without dispersion.

    Source: Joanes and Gill, "Comparing measures of sample skewness and kurtosis", The Statistician 1998, G2.

    Examples:
        >>> round(kurtosis(np.array([1.0, 2.0, 3.0, 4.0])), 12)
        -1.2
    """
    moments = _central_moments(returns, least=4)
    if moments is None:
        return None
    n, second, _, fourth = moments
    excess = fourth / second**2 - 3
    return finite((n - 1) / ((n - 2) * (n - 3)) * ((n + 1) * excess + 6))


def _central_moments(values: FloatArray, *, least: int) -> tuple[int, float, float, float] | None:
    """Return the count and the second to fourth central moments in units of the largest deviation."""
    if len(values) < least or values.max() == values.min():
        return None
    centred = values - np.mean(values)
    # Scaled first, since the fourth power of small returns would underflow; the scale cancels in both moments.
    centred /= np.abs(centred).max()
    return len(values), *(float(np.mean(centred**k)) for k in (2, 3, 4))  # type: ignore[return-value]


def stability(returns: FloatArray) -> float | None:
    """Return how straight the growth was: R squared of a line through the cumulative log returns.

    Args:
        returns: Shape (n,), fractions per period.

    Returns:
        Fraction in [0, 1]; None for n < 3, a total loss, or no growth at all.

    Source: Quantopian, empyrical, `stability_of_timeseries`.

    Examples:
        >>> round(stability(np.array([0.01, 0.01, 0.01, 0.01])), 12)
        1.0
    """
    if len(returns) < 3 or returns.min() <= -1:
        return None
    growth = np.cumsum(np.log1p(returns))
    if growth.max() == growth.min():
        return None
    steps = np.arange(len(growth), dtype=np.float64)
    steps -= steps.mean()
    growth -= growth.mean()
    # Not by `@`, which splits a long sum among as many threads as there are: the last digits would be the machine's.
    shared, spread = (steps * growth).sum(), (growth * growth).sum()
    return ratio(float(shared) ** 2, float((steps * steps).sum()) * float(spread))


# Drawdown -----------------------------------------------------------------------------------------------------


class Drawdowns(NamedTuple):
    """Every fall below a running peak, as aligned arrays of shape (k,), in order of time."""

    start_ns: IntArray  # the peak
    end_ns: IntArray  # back at the peak, or the last row
    depth: FloatArray  # negative fraction of the peak
    trough_ns: IntArray  # the row by which the fall was deepest
    is_recovered: NDArray[np.bool_]


def drawdown_curve(equity: FloatArray) -> FloatArray:
    """Return the fall below the running peak at each row.

    Args:
        equity: Shape (n,), the first value above zero.

    Returns:
        Shape (n,), fractions at or below zero; below -1 where the equity is negative.

    Examples:
        >>> drawdown_curve(np.array([100.0, 120.0, 90.0, 150.0])).tolist()
        [0.0, 0.0, -0.25, 0.0]
    """
    return np.asarray(equity / np.maximum.accumulate(equity) - 1, np.float64)


def max_drawdown(equity: FloatArray) -> float | None:
    """Return the deepest fall from a running peak.

    Args:
        equity: Shape (n,), one currency, the first value above zero.

    Returns:
        Negative fraction of the peak, 0 when the equity never fell; None for n = 0.

    Source: Magdon-Ismail and Atiya, "Maximum Drawdown", Risk 2004.

    Examples:
        >>> max_drawdown(np.array([100.0, 120.0, 90.0]))
        -0.25
    """
    return finite(drawdown_curve(equity).min()) if len(equity) else None


def drawdowns(time_ns: IntArray, equity: FloatArray, depth: FloatArray | None = None) -> Drawdowns:
    """Return each drawdown from its peak to its recovery; the last one may not have recovered.

    Args:
        time_ns: Shape (n,), UTC nanoseconds, never falling.
        equity: Shape (n,), one currency, the first value above zero.
        depth: Shape (n,), the deepest fall since the row before where something finer than the rows knows it.

    Examples:
        >>> found = drawdowns(np.array([0, 10, 20, 30]), np.array([100.0, 120.0, 90.0, 120.0]))
        >>> found.start_ns.tolist(), found.end_ns.tolist(), found.depth.tolist()
        ([10], [30], [-0.25])
    """
    nothing, never = np.empty(0, np.int64), np.empty(0, np.bool_)
    if len(equity) == 0:
        return Drawdowns(nothing, nothing, np.empty(0), nothing, never)
    is_under = equity < np.maximum.accumulate(equity)
    edges = np.diff(is_under.astype(np.int8), prepend=0, append=0)
    first, after = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    if len(first) == 0:
        return Drawdowns(nothing, nothing, np.empty(0), nothing, never)
    lowest = drawdown_curve(equity) if depth is None else np.minimum(depth, drawdown_curve(equity))
    # A row's depth reaches back to the row before, so the recovery row's still belongs to the fall it ends.
    bounds = np.column_stack((first, np.minimum(after + 1, len(equity)))).ravel()
    padded = np.append(lowest, 0.0)
    deepest = np.minimum.reduceat(padded, bounds)[::2]
    lengths = bounds[1::2] - bounds[::2]
    whose = np.repeat(np.arange(len(first)), lengths)
    rows = np.arange(len(whose)) + (bounds[::2] - np.cumsum(lengths) + lengths)[whose]
    hits = np.flatnonzero(padded[rows] == deepest[whose])
    troughs = rows[hits[np.unique(whose[hits], return_index=True)[1]]]
    return Drawdowns(
        time_ns[first - 1], time_ns[np.minimum(after, len(equity) - 1)], deepest, time_ns[troughs], after < len(equity)
    )


def avg_drawdown(found: Drawdowns) -> float | None:
    """Return the mean depth over all drawdowns, a negative fraction; None when there was none."""
    return finite(np.mean(found.depth)) if len(found.depth) else None


def max_drawdown_duration_ns(found: Drawdowns) -> int | None:
    """Return the longest time from a peak to its recovery, or to the end; None when there was no drawdown."""
    return int((found.end_ns - found.start_ns).max()) if len(found.depth) else None


def avg_drawdown_duration_ns(found: Drawdowns) -> int | None:
    """Return the mean time from a peak to its recovery, or to the end; None when there was no drawdown."""
    return round(int((found.end_ns - found.start_ns).sum()) / len(found.depth)) if len(found.depth) else None


def ulcer_index(equity: FloatArray) -> float | None:
    """Return the root mean square of the drawdown, which weighs deep and long falls alike.

    Args:
        equity: Shape (n,), evenly spaced in time, the first value above zero.

    Returns:
        Fraction; None for n = 0.

    Source: Martin and McCann, "The Investor's Guide to Fidelity Funds", 1989 (there in per cent).

    Examples:
        >>> round(ulcer_index(np.array([100.0, 80.0, 100.0, 100.0])), 12)
        0.1
    """
    return finite(np.sqrt(np.mean(drawdown_curve(equity) ** 2))) if len(equity) else None


# Holding ------------------------------------------------------------------------------------------------------


def exposure_time(entry_ns: IntArray, exit_ns: IntArray, *, start_ns: int, end_ns: int) -> float | None:
    """Return the share of the time during which at least one position was held.

    Args:
        entry_ns, exit_ns: Shape (n,), when each position was held, UTC nanoseconds, in any order; they may overlap.
        start_ns, end_ns: The run's span.

    Returns:
        Fraction in [0, 1]; None when no time passed.

    Examples:
        >>> exposure_time(np.array([0, 10, 80]), np.array([20, 30, 90]), start_ns=0, end_ns=100)
        0.4
    """
    if end_ns <= start_ns:
        return None
    if len(entry_ns) == 0:
        return 0.0
    order = np.argsort(entry_ns, kind="stable")
    # What earlier positions cover already is cut off the beginning of each.
    ends = np.maximum.accumulate(np.clip(exit_ns[order], start_ns, end_ns))
    starts = np.maximum(np.clip(entry_ns[order], start_ns, end_ns), np.append(start_ns, ends[:-1]))
    return ratio(float(np.maximum(ends - starts, 0).sum()), float(end_ns - start_ns))


def turnover(traded: float, equity: FloatArray) -> float | None:
    """Return how often the average equity was traded: the sum of all fills' notional over the mean equity.

    Args:
        traded: Gross notional of all fills, in the currency of `equity`.
        equity: Shape (n,), evenly spaced in time.

    Returns:
        Multiple of the equity over the whole run, both directions counted; None when the mean is not above zero.

    Examples:
        >>> turnover(300.0, np.array([100.0, 200.0]))
        2.0
    """
    mean = float(np.mean(equity)) if len(equity) else 0.0
    return ratio(traded, mean) if mean > 0 else None


# Trades -------------------------------------------------------------------------------------------------------


def win_rate(pnl: FloatArray) -> float | None:
    """Return the share of trades that earned money; one that broke even did not.

    Args:
        pnl: Shape (n,), profit of each round trip after fees.

    Returns:
        Fraction in [0, 1]; None for n = 0.

    Examples:
        >>> win_rate(np.array([5.0, -1.0, 0.0, 2.0]))
        0.5
    """
    return float(np.count_nonzero(pnl > 0)) / len(pnl) if len(pnl) else None


def profit_factor(pnl: FloatArray) -> float | None:
    """Return the sum of wins over the sum of losses.

    Args:
        pnl: Shape (n,), profit of each round trip after fees, one currency.

    Returns:
        0 when nothing was won; None when nothing was lost.

    Source: Pardo, "The Evaluation and Optimization of Trading Strategies", 2008.

    Examples:
        >>> profit_factor(np.array([6.0, -2.0, -1.0]))
        2.0
    """
    return ratio(float(pnl[pnl > 0].sum()), -float(pnl[pnl < 0].sum()))


def expectancy(pnl: FloatArray) -> float | None:
    """Return the mean profit of a trade, in the unit of `pnl`; None for no trades.

    Source: Tharp, "Trade Your Way to Financial Freedom", 1998: `P(win) x mean win - P(loss) x mean loss`.

    Examples:
        >>> expectancy(np.array([6.0, -2.0, -1.0]))
        1.0
    """
    return finite(np.mean(pnl)) if len(pnl) else None


def payoff_ratio(pnl: FloatArray) -> float | None:
    """Return the mean win over the mean loss; None unless there is one of each.

    Examples:
        >>> payoff_ratio(np.array([6.0, -2.0, -1.0]))
        4.0
    """
    wins, losses = pnl[pnl > 0], pnl[pnl < 0]
    if not len(wins) or not len(losses):
        return None
    return ratio(float(np.mean(wins)), -float(np.mean(losses)))


def system_quality_number(pnl: FloatArray) -> float | None:
    """Return the mean profit over its deviation, times the root of the number of trades.

    Args:
        pnl: Shape (n,), profit of each round trip after fees, one currency.

    Returns:
        None for n < 2 or trades that all earned the same.

    Source: Tharp, "The Definitive Guide to Position Sizing", 2008, SQN.

    Examples:
        >>> round(system_quality_number(np.array([6.0, -2.0, -1.0])), 6)
        0.39736
    """
    deviation = deviation_of(pnl)
    return None if deviation is None else ratio(float(np.mean(pnl)) * math.sqrt(len(pnl)), deviation)


def kelly_criterion(pnl: FloatArray) -> float | None:
    """Return the share of the equity that would have grown it fastest: `W - (1 - W) / R`.

    Args:
        pnl: Shape (n,), profit of each round trip after fees, one currency.

    Returns:
        Fraction, below zero for a losing system; None unless there is a win and a loss.

    Source: Kelly, "A New Interpretation of Information Rate", Bell System Technical Journal 1956, with `W` the share
    of wins and `R` the payoff ratio.

    Examples:
        >>> kelly_criterion(np.array([6.0, 6.0, -3.0, -3.0]))
        0.25
    """
    share, payoff = win_rate(pnl), payoff_ratio(pnl)
    if share is None or payoff is None:
        return None
    return finite(share - (1 - share) / payoff)


# Against a benchmark -------------------------------------------------------------------------------------------


def beta(returns: FloatArray, benchmark: FloatArray) -> float | None:
    """Return how far a series moves with a benchmark: the slope of a line through both, without a risk-free rate.

    Args:
        returns, benchmark: Shape (n,), fractions of the same periods.

    Returns:
        None for n < 2 or a benchmark without dispersion.

    Source: Sharpe, "Capital Asset Prices", Journal of Finance 1964: covariance over the benchmark's variance.

    Examples:
        >>> round(beta(np.array([0.02, -0.01, 0.03]), np.array([0.01, -0.005, 0.015])), 12)
        2.0
    """
    if deviation_of(benchmark) is None:
        return None
    moves = benchmark - np.mean(benchmark)
    # Not by `@`: the last digits would be the machine's.
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        shared, spread = ((returns - np.mean(returns)) * moves).sum(), (moves * moves).sum()
    return ratio(float(shared), float(spread))


def alpha(returns: FloatArray, benchmark: FloatArray, *, periods_per_year: float) -> float | None:
    """Return what a series earned a year beyond its beta times the benchmark, without a risk-free rate.

    Args:
        returns, benchmark: Shape (n,), fractions of the same periods.
        periods_per_year: How many periods a year has.

    Returns:
        Fraction per year, compounded from the mean of a period; None where there is no beta.

    Source: Jensen, "The Performance of Mutual Funds in the Period 1945-1964", Journal of Finance 1968; compounded as
    in Quantopian, empyrical, `alpha`.

    Examples:
        >>> round(alpha(np.array([0.03, 0.0, 0.04]), np.array([0.01, -0.005, 0.015]), periods_per_year=2), 12)
        0.0201
    """
    slope = beta(returns, benchmark)
    if slope is None:
        return None
    beyond = float(np.mean(returns)) - slope * float(np.mean(benchmark))
    try:
        return finite((1 + beyond) ** periods_per_year - 1) if beyond > -1 else None
    except OverflowError:
        return None


def correlation(returns: FloatArray, benchmark: FloatArray) -> float | None:
    """Return how straight the line is on which a series moves with a benchmark.

    Args:
        returns, benchmark: Shape (n,), fractions of the same periods.

    Returns:
        From -1 to 1; None for n < 2 or where one of them has no dispersion.

    Source: Pearson, "Notes on Regression and Inheritance", Proceedings of the Royal Society 1895.

    Examples:
        >>> correlation(np.array([0.01, 0.02, 0.03]), np.array([0.03, 0.02, 0.01]))
        -1.0
    """
    if deviation_of(returns) is None or deviation_of(benchmark) is None:
        return None
    ours, theirs = returns - np.mean(returns), benchmark - np.mean(benchmark)
    # Scaled first, since squares of small returns would underflow; the scale cancels.
    ours, theirs = ours / np.abs(ours).max(), theirs / np.abs(theirs).max()
    found = ratio(float((ours * theirs).sum()), math.sqrt(float((ours * ours).sum()) * float((theirs * theirs).sum())))
    return None if found is None else min(1.0, max(-1.0, found))


def information_ratio(returns: FloatArray, benchmark: FloatArray, *, periods_per_year: float) -> float | None:
    """Return the mean return beyond a benchmark over its deviation, annualised.

    Args:
        returns, benchmark: Shape (n,), fractions of the same periods.
        periods_per_year: How many periods a year has.

    Returns:
        None for n < 2 or where both differ by the same in all periods.

    Source: Grinold and Kahn, "Active Portfolio Management", 2000, chapter 5.

    Examples:
        >>> round(information_ratio(np.array([0.02, 0.0, 0.03]), np.array([0.01, 0.01, 0.01]), periods_per_year=365), 6)
        8.338094
    """
    return sharpe_ratio(returns - benchmark, periods_per_year=periods_per_year)
