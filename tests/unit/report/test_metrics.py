"""Metrics against hand values, against empyrical where it defines the same thing, and on data that give none."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from quantkit.clock import NS_PER_DAY
from quantkit.report import metrics

empyrical = pytest.importorskip("empyrical")

PERIODS = 365
RETURNS = np.random.default_rng(5).normal(0.001, 0.02, 500)


def equity_of(returns: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return what a start of 1 grows to, the start included."""
    return np.append(1.0, np.cumprod(1 + returns))


# Against empyrical --------------------------------------------------------------------------------------------

SAME: dict[str, tuple[Callable[[Any], float | None], Callable[[Any], float]]] = {
    "total_return": (lambda r: metrics.total_return(1.0, equity_of(r)[-1]), empyrical.cum_returns_final),
    "cagr": (
        lambda r: metrics.cagr(equity_of(r)[-1], len(r) / PERIODS),
        lambda r: empyrical.cagr(r, annualization=PERIODS),
    ),
    "volatility": (
        lambda r: metrics.annualised_volatility(r, periods_per_year=PERIODS),
        lambda r: empyrical.annual_volatility(r, annualization=PERIODS),
    ),
    "sharpe": (
        lambda r: metrics.sharpe_ratio(r, periods_per_year=PERIODS, risk_free=0.0002),
        lambda r: empyrical.sharpe_ratio(r, risk_free=0.0002, annualization=PERIODS),
    ),
    "sortino": (
        lambda r: metrics.sortino_ratio(r, periods_per_year=PERIODS, required=0.0002),
        lambda r: empyrical.sortino_ratio(r, required_return=0.0002, annualization=PERIODS),
    ),
    "max_drawdown": (lambda r: metrics.max_drawdown(equity_of(r)), empyrical.max_drawdown),
    "calmar": (
        lambda r: metrics.calmar_ratio(
            metrics.cagr(equity_of(r)[-1], len(r) / PERIODS), metrics.max_drawdown(equity_of(r))
        ),
        lambda r: empyrical.calmar_ratio(r, annualization=PERIODS),
    ),
    "value_at_risk": (metrics.value_at_risk, empyrical.value_at_risk),
    "expected_shortfall": (metrics.expected_shortfall, empyrical.conditional_value_at_risk),
    "tail_ratio": (metrics.tail_ratio, empyrical.tail_ratio),
    "stability": (metrics.stability, empyrical.stability_of_timeseries),
}


@pytest.mark.parametrize("name", SAME)
@pytest.mark.parametrize("size", [3, 31, 500])
def test_equals_empyrical(name: str, size: int) -> None:
    """Same definition, same number."""
    ours, theirs = SAME[name]
    assert ours(RETURNS[:size]) == pytest.approx(theirs(RETURNS[:size]), rel=1e-9)


@given(arrays.arrays(np.float64, st.integers(3, 60), elements=st.floats(-0.2, 0.2).map(lambda x: round(x, 4))))
@settings(max_examples=100, deadline=None)
def test_equals_empyrical_wherever_it_has_a_number(returns: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """Where the library gives a finite number, so do we, the same; where it gives NaN or infinity, we give None."""
    for name in ("sharpe", "sortino", "volatility", "value_at_risk", "expected_shortfall", "max_drawdown"):
        ours, theirs = SAME[name]
        with np.errstate(all="ignore"):
            expected = float(theirs(returns))
        if math.isfinite(expected):
            assert ours(returns) == pytest.approx(expected, rel=1e-9, abs=1e-12), name
        else:
            assert ours(returns) is None, name


BENCHMARK = 0.6 * RETURNS + np.random.default_rng(6).normal(0.0005, 0.01, 500)
#: Of two series: ours, and what an independent library gives for the same definition.
OF_TWO: dict[str, tuple[Callable[[Any, Any], float | None], Callable[[Any, Any], float]]] = {
    "beta": (metrics.beta, empyrical.beta),
    "alpha": (
        lambda r, b: metrics.alpha(r, b, periods_per_year=PERIODS),
        lambda r, b: empyrical.alpha(r, b, annualization=PERIODS),
    ),
    "correlation": (metrics.correlation, lambda r, b: __import__("scipy.stats").stats.pearsonr(r, b)[0]),
    "information_ratio": (
        lambda r, b: metrics.information_ratio(r, b, periods_per_year=PERIODS),
        lambda r, b: empyrical.excess_sharpe(r, b) * math.sqrt(PERIODS),
    ),
}


@pytest.mark.parametrize("name", OF_TWO)
@pytest.mark.parametrize("size", [3, 31, 500])
def test_a_comparison_equals_an_independent_library(name: str, size: int) -> None:
    """Alpha, beta and the excess over the tracking error by empyrical, the correlation by scipy."""
    ours, theirs = OF_TWO[name]
    assert ours(RETURNS[:size], BENCHMARK[:size]) == pytest.approx(theirs(RETURNS[:size], BENCHMARK[:size]), rel=1e-9)


pairs = st.integers(2, 40).flatmap(
    lambda n: st.tuples(
        *(arrays.arrays(np.float64, n, elements=st.floats(-0.2, 0.2).map(lambda x: round(x, 4))) for _ in range(2))
    )
)


@given(pairs)
@settings(max_examples=150, deadline=None)
def test_comparisons_hold_together(both: tuple[Any, Any]) -> None:
    """A series against itself; beta by correlation and deviations; no alpha of a multiple; a finite number or None."""
    ours, theirs = both
    slope, shared = metrics.beta(ours, theirs), metrics.correlation(ours, theirs)
    if slope is not None and shared is not None:
        spread = np.std(ours, ddof=1) / np.std(theirs, ddof=1)
        assert slope == pytest.approx(shared * spread, rel=1e-6, abs=1e-9)
        assert -1 <= shared <= 1
    if np.ptp(theirs) > 1e-3:
        assert metrics.beta(theirs, theirs) == pytest.approx(1)
        assert metrics.correlation(-3 * theirs, theirs) == pytest.approx(-1)
        assert metrics.alpha(2 * theirs, theirs, periods_per_year=PERIODS) == pytest.approx(0, abs=1e-9)
        assert metrics.information_ratio(theirs, theirs, periods_per_year=PERIODS) is None
    for name, (counted, _) in OF_TWO.items():
        found = counted(ours, theirs)
        assert found is None or math.isfinite(found), name


def test_a_comparison_without_dispersion_has_none() -> None:
    """Nor has one of a single day, of all but everything lost, or beyond all floats."""
    flat = np.full(9, 0.01)
    for name, (counted, _) in OF_TWO.items():
        assert counted(RETURNS[:1], BENCHMARK[:1]) is None, name
        if name != "information_ratio":
            assert counted(RETURNS[:9], flat) is None, name
    assert metrics.correlation(flat, RETURNS[:9]) is None
    assert metrics.alpha(np.full(3, -2.0), RETURNS[:3], periods_per_year=PERIODS) is None
    assert metrics.alpha(np.full(3, 1e9), RETURNS[:3], periods_per_year=PERIODS) is None


def test_moments_equal_scipy() -> None:
    """The adjusted moments are the ones that pandas and scipy call unbiased."""
    from scipy import stats

    assert metrics.skewness(RETURNS) == pytest.approx(stats.skew(RETURNS, bias=False))
    assert metrics.kurtosis(RETURNS) == pytest.approx(stats.kurtosis(RETURNS, bias=False))
    tiny = RETURNS * 1e-90
    assert metrics.kurtosis(tiny) == pytest.approx(stats.kurtosis(RETURNS, bias=False))


# Hand values --------------------------------------------------------------------------------------------------


def test_a_year_of_constant_growth() -> None:
    """One per cent a day: known growth, no risk, hence no ratio."""
    returns = np.full(365, 0.01)
    growth = equity_of(returns)[-1]
    assert metrics.cagr(growth, 1.0) == pytest.approx(1.01**365 - 1)
    assert metrics.annualised_volatility(returns, periods_per_year=PERIODS) == 0.0
    assert metrics.sharpe_ratio(returns, periods_per_year=PERIODS) is None
    assert metrics.sortino_ratio(returns, periods_per_year=PERIODS) is None
    assert metrics.skewness(returns) is None
    assert metrics.kurtosis(returns) is None


def test_sharpe_scales_with_the_root_of_the_periods() -> None:
    """A library that assumes 252 days shows a Sharpe ratio lower by a known factor."""
    of_365 = metrics.sharpe_ratio(RETURNS, periods_per_year=365)
    of_252 = metrics.sharpe_ratio(RETURNS, periods_per_year=252)
    assert of_365 is not None
    assert of_252 is not None
    assert of_365 / of_252 == pytest.approx(math.sqrt(365 / 252))


def test_drawdowns_have_peak_recovery_and_depth() -> None:
    """Two falls: one recovered after two days, one still open at the end."""
    time_ns = np.arange(7, dtype=np.int64) * NS_PER_DAY
    found = metrics.drawdowns(time_ns, np.array([100.0, 80.0, 100.0, 120.0, 90.0, 60.0, 110.0]))
    assert (found.start_ns // NS_PER_DAY).tolist() == [0, 3]
    assert (found.end_ns // NS_PER_DAY).tolist() == [2, 6]
    assert found.depth.tolist() == [pytest.approx(-0.2), pytest.approx(-0.5)]
    assert metrics.avg_drawdown(found) == pytest.approx(-0.35)
    assert metrics.max_drawdown_duration_ns(found) == 3 * NS_PER_DAY
    assert metrics.avg_drawdown_duration_ns(found) == 2.5 * NS_PER_DAY


def test_drawdowns_take_the_finer_depth_up_to_the_recovery() -> None:
    """The deepest mark fell between the last row below the peak and the row that recovered."""
    time_ns = np.arange(4, dtype=np.int64)
    found = metrics.drawdowns(time_ns, np.array([100.0, 90.0, 100.0, 101.0]), np.array([0.0, -0.1, -0.3, -0.9]))
    assert found.depth.tolist() == [-0.3]


@given(arrays.arrays(np.float64, st.integers(1, 40), elements=st.integers(1, 9).map(float)))
@settings(max_examples=150, deadline=None)
def test_drawdowns_equal_the_obvious_loop(equity: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """Walk row by row: a fall begins at the last row on the peak and ends at the first one back on it."""
    expected: list[tuple[int, int, float]] = []
    peak_row, lowest = 0, 0.0
    for row, value in enumerate(equity):
        if value < equity[peak_row]:
            lowest = min(lowest, value / equity[peak_row] - 1)
            continue
        if lowest < 0:
            expected.append((peak_row, row, lowest))
        peak_row, lowest = row, 0.0
    if lowest < 0:
        expected.append((peak_row, len(equity) - 1, lowest))
    found = metrics.drawdowns(np.arange(len(equity), dtype=np.int64), equity)
    for start, trough, end, deepest in zip(found.start_ns, found.trough_ns, found.end_ns, found.depth, strict=True):
        fall = equity[start : end + 1] / equity[start] - 1
        assert (trough, deepest) == (start + int(np.argmin(fall)), fall.min())
    assert found.is_recovered.tolist() == [equity[end] >= equity[start] for start, end, _ in expected]
    assert list(zip(found.start_ns.tolist(), found.end_ns.tolist(), found.depth.tolist(), strict=True)) == expected
    assert metrics.max_drawdown(equity) == min((depth for _, _, depth in expected), default=0.0)


def test_exposure_counts_time_once_and_inside_the_run() -> None:
    """Two positions at a time count once, and what lies outside the span does not."""
    entries, exits = np.array([30, -10, 35, 90]), np.array([50, 10, 40, 200])
    assert metrics.exposure_time(entries, exits, start_ns=0, end_ns=100) == 0.4
    assert metrics.exposure_time(entries[:0], exits[:0], start_ns=0, end_ns=100) == 0.0
    assert metrics.exposure_time(entries, exits, start_ns=5, end_ns=5) is None


@given(st.lists(st.tuples(st.integers(-5, 25), st.integers(0, 12)), max_size=8))
@settings(max_examples=150, deadline=None)
def test_exposure_equals_counting_every_nanosecond(spans: list[tuple[int, int]]) -> None:
    """Walk the twenty nanoseconds of the run and look whether anything was held in each."""
    entries = np.array([start for start, _ in spans], np.int64)
    exits = np.array([start + length for start, length in spans], np.int64)
    held = sum(any(a <= t < b for a, b in zip(entries, exits, strict=True)) for t in range(20))
    assert metrics.exposure_time(entries, exits, start_ns=0, end_ns=20) == held / 20


def test_trade_metrics_by_hand() -> None:
    """Three wins of 4, 2 and 6, two losses of 1 and 3, one trade that broke even."""
    pnl = np.array([4.0, -1.0, 2.0, 0.0, -3.0, 6.0])
    assert metrics.win_rate(pnl) == 0.5
    assert metrics.profit_factor(pnl) == 3.0
    assert metrics.expectancy(pnl) == pytest.approx(8 / 6)
    assert metrics.payoff_ratio(pnl) == 2.0
    assert metrics.kelly_criterion(pnl) == 0.25
    assert metrics.system_quality_number(pnl) == pytest.approx(math.sqrt(6) * (8 / 6) / np.std(pnl, ddof=1))


def test_turnover_counts_both_directions() -> None:
    """Bought and sold 150 with a mean equity of 100."""
    assert metrics.turnover(300.0, np.array([90.0, 110.0])) == 3.0


def test_ulcer_index_by_hand() -> None:
    """Falls of 10 and 20 % on two of four days."""
    assert metrics.ulcer_index(np.array([100.0, 90.0, 80.0, 100.0])) == pytest.approx(math.sqrt(0.05 / 4))


# No number ----------------------------------------------------------------------------------------------------

EMPTY = np.empty(0)
OF_SERIES: dict[str, Callable[[Any], float | None]] = {
    "volatility": lambda x: metrics.annualised_volatility(x, periods_per_year=PERIODS),
    "sharpe": lambda x: metrics.sharpe_ratio(x, periods_per_year=PERIODS),
    "sortino": lambda x: metrics.sortino_ratio(x, periods_per_year=PERIODS),
    "value_at_risk": metrics.value_at_risk,
    "expected_shortfall": metrics.expected_shortfall,
    "tail_ratio": metrics.tail_ratio,
    "skewness": metrics.skewness,
    "kurtosis": metrics.kurtosis,
    "stability": metrics.stability,
    "win_rate": metrics.win_rate,
    "profit_factor": metrics.profit_factor,
    "expectancy": metrics.expectancy,
    "payoff_ratio": metrics.payoff_ratio,
    "sqn": metrics.system_quality_number,
    "kelly": metrics.kelly_criterion,
    "max_drawdown": metrics.max_drawdown,
    "ulcer_index": metrics.ulcer_index,
    "turnover": lambda x: metrics.turnover(1.0, x),
}


@pytest.mark.parametrize("name", OF_SERIES)
def test_nothing_gives_none(name: str) -> None:
    """Without values there is no number, and no exception either."""
    assert OF_SERIES[name](EMPTY) is None


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (metrics.total_return(0.0, 5.0), None),
        (metrics.cagr(0.0, 1.0), -1.0),
        (metrics.cagr(-0.5, 1.0), -1.0),
        (metrics.cagr(1.1, 0.0), None),
        (metrics.cagr(3.0, 1e-6), None),
        (metrics.calmar_ratio(None, -0.1), None),
        (metrics.calmar_ratio(0.1, None), None),
        (metrics.calmar_ratio(0.1, 0.0), None),
        (metrics.stability(np.array([0.1, -1.0, 0.1])), None),
        (metrics.stability(np.zeros(5)), None),
        (metrics.profit_factor(np.array([1.0, 2.0])), None),
        (metrics.profit_factor(np.array([-1.0])), 0.0),
        (metrics.payoff_ratio(np.array([1.0, 2.0])), None),
        (metrics.tail_ratio(np.zeros(9)), None),
        (metrics.max_drawdown_duration_ns(metrics.drawdowns(np.arange(2), np.array([1.0, 2.0]))), None),
        (metrics.avg_drawdown_duration_ns(metrics.drawdowns(np.arange(0), EMPTY)), None),
        (metrics.avg_drawdown(metrics.drawdowns(np.arange(0), EMPTY)), None),
    ],
)
def test_edges(value: float | None, wanted: float | None) -> None:
    """What cannot be computed is None; what is certain, as a total loss, is a number."""
    assert value == wanted


@given(
    st.sampled_from(sorted(OF_SERIES)),
    arrays.arrays(
        np.float64, st.integers(0, 12), elements=st.sampled_from([-1.0, -0.5, 0.0, 1e-300, 0.01, 1.0, 1e150, 3.0])
    ),
)
@settings(max_examples=300, deadline=None)
def test_no_number_is_nan_or_infinite(name: str, values: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """Whatever the data, a metric is a finite plain float or None."""
    if name in ("max_drawdown", "ulcer_index"):
        values = np.abs(values) + 1.0
    value = OF_SERIES[name](values)
    assert value is None or (type(value) is float and math.isfinite(value))
