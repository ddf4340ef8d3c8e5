"""Every indicator against its pandas formula, by hand, and over long runs."""

import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit import indicators
from quantkit.errors import ConfigError, DataError
from quantkit.indicators import Atr, Bollinger, Ema, Rsi, Sma, Vwap, Zscore

windows = st.integers(1, 12)
prices = st.lists(st.floats(1, 1e6), min_size=1, max_size=60)
few = settings(max_examples=100, deadline=None)


def close_to(values: Sequence[float], expected: pd.Series, *, rtol: float = 1e-9, atol: float = 1e-9) -> None:
    """Compare a whole run with pandas."""
    np.testing.assert_allclose(values, expected.to_numpy(), rtol=rtol, atol=atol)


def wilder(series: pd.Series, window: int) -> pd.Series:
    """Wilder's smoothing in pandas: the plain mean of what is there up to `window`, then weight 1 / window."""
    means = series.expanding().mean()
    seeded = pd.concat([means.iloc[window - 1 : window], series.iloc[window:]])
    smoothed: pd.Series = pd.concat([means.iloc[: window - 1], seeded.ewm(alpha=1 / window, adjust=False).mean()])
    return smoothed


# Against pandas ---------------------------------------------------------------------------------------------------


@few
@given(prices, windows)
def test_sma_is_the_rolling_mean(some: list[float], window: int) -> None:
    """Before the window is full, the mean of what is there."""
    average = Sma(window)
    close_to([average.update(price) for price in some], pd.Series(some).rolling(window, min_periods=1).mean())


@few
@given(prices, windows)
def test_ema_is_ewm_without_adjustment(some: list[float], window: int) -> None:
    """Seeded with the first price."""
    average = Ema(window)
    close_to([average.update(price) for price in some], pd.Series(some).ewm(span=window, adjust=False).mean())


@few
@given(prices, windows)
def test_rsi_is_wilders(some: list[float], window: int) -> None:
    """100 x gain / (gain + loss) of the smoothed changes."""
    strength = Rsi(window)
    values = [strength.update(price) for price in some]
    assert values[0] == 50.0
    changes = pd.Series(some).diff().iloc[1:]
    gain, loss = wilder(changes.clip(lower=0), window), wilder(-changes.clip(upper=0), window)
    moved = gain + loss
    expected = (100 * gain / moved.where(moved > 0)).fillna(50.0)
    close_to(values[1:], expected, rtol=1e-6, atol=1e-6)


@few
@given(st.lists(st.lists(st.floats(1, 1e6), min_size=3, max_size=3).map(sorted), min_size=1, max_size=40), windows)
def test_atr_is_wilders(some: list[list[float]], window: int) -> None:
    """The true range reaches to the close before."""
    width = Atr(window)
    frame = pd.DataFrame(some, columns=["low", "close", "high"])
    before = frame["close"].shift()
    ranges = pd.concat([frame["high"], before], axis=1).max(axis=1) - pd.concat([frame["low"], before], axis=1).min(
        axis=1
    )
    close_to([width.update(high, low, close) for low, close, high in some], wilder(ranges, window), atol=1e-6)


@few
@given(prices, st.integers(2, 12))
def test_bollinger_and_zscore_use_the_population_deviation(some: list[float], window: int) -> None:
    """`ddof=0`, as Bollinger wrote it."""
    bands, score = Bollinger(window, deviations=1.5), Zscore(window)
    rolling = pd.Series(some).rolling(window, min_periods=1)
    # Exact in fractions, since pandas itself loses digits where a window is nearly flat.
    for number, price in enumerate(some):
        middle, z = bands.update(price), score.update(price)
        inside = [Fraction(x) for x in some[max(0, number - window + 1) : number + 1]]
        mean = sum(inside) / len(inside)
        variance = sum((x - mean) ** 2 for x in inside) / len(inside)
        deviation = math.sqrt(variance)
        spread = float(max(inside) - min(inside))
        assert middle == bands.middle == pytest.approx(float(mean), rel=1e-12)
        assert bands.upper - middle == pytest.approx(1.5 * deviation, rel=1e-6, abs=1e-7 * spread + 1e-9)
        assert middle - bands.lower == pytest.approx(1.5 * deviation, rel=1e-6, abs=1e-7 * spread + 1e-9)
        if deviation > 1e-6 * float(mean):
            assert z == pytest.approx(float(Fraction(price) - mean) / deviation, rel=1e-5, abs=1e-5)
    assert bands.middle == pytest.approx(rolling.mean().iloc[-1], rel=1e-9)


@few
@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(0, 1e3)), min_size=1, max_size=60), windows)
def test_vwap_is_the_weighted_rolling_mean(some: list[tuple[float, float]], window: int) -> None:
    """Turnover by volume; the latest price while there is no volume; never outside the window's prices."""
    average = Vwap(window)
    for number, (price, qty) in enumerate(some):
        value = average.update(price, qty)
        inside = [(Fraction(p), Fraction(q)) for p, q in some[max(0, number - window + 1) : number + 1]]
        volume = sum(q for _, q in inside)
        if volume > Fraction(1, 10**290):
            assert value == pytest.approx(float(sum(p * q for p, q in inside) / volume), rel=1e-9)
        elif volume == 0:
            assert value == price


# Long runs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1e9, -1e9])
@pytest.mark.parametrize("window", [1, 20, 500])
def test_long_runs_do_not_drift(offset: float, window: int) -> None:
    """1e5 values on a large offset: the last window counts, and nothing that came before it."""
    rng = np.random.default_rng(7)
    values = (offset + rng.normal(0, 1, 100_000).cumsum() % 50).tolist()
    series = pd.Series(values)
    average, weighted = Sma(window), Vwap(window)
    qtys = rng.uniform(0, 3, len(values)).tolist()
    means = [average.update(value) for value in values]
    weighted_means = [weighted.update(value, qty) for value, qty in zip(values, qtys, strict=True)]
    # The offset is taken off for pandas, whose own rolling sums would lose digits to it.
    small = series - offset
    close_to([mean - offset for mean in means], small.rolling(window, min_periods=1).mean(), atol=3e-16 * abs(offset))
    turnover = (small * pd.Series(qtys)).rolling(window, min_periods=1).sum()
    volume = pd.Series(qtys).rolling(window, min_periods=1).sum()
    close_to([v - offset for v in weighted_means], turnover / volume, rtol=1e-8, atol=1e-8 + 3e-16 * abs(offset))
    if window > 1:
        bands, score = Bollinger(window), Zscore(window)
        scores = [score.update(value) for value in values]
        widths = [(bands.update(value), bands.upper - bands.lower)[1] / 4 for value in values]
        # Numbers at this offset have few digits left, but their differences are exact: so is the deviation.
        deviation = small.rolling(window, min_periods=1).std(ddof=0)
        close_to(widths[window:], deviation[window:], rtol=1e-6, atol=1e-6 + 3e-16 * abs(offset))
        expected = (small - small.rolling(window, min_periods=1).mean()) / deviation
        close_to(scores[window:], expected[window:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [2, 3, 10, 64])
def test_a_spike_leaves_nothing_behind(window: int) -> None:
    """Once 1e15 is out of the window, the sums are what they are without it, to the last digit."""
    clean, spiked = [0.1 * (i % 17) for i in range(5 * window)], [0.1 * (i % 17) for i in range(5 * window)]
    spiked[window] = 1e15
    for kind in (Sma, Bollinger, Zscore):
        one, other = kind(window), kind(window)
        pairs = [(one.update(a), other.update(b)) for a, b in zip(clean, spiked, strict=True)]
        assert pairs[window][0] != pairs[window][1]
        # Blocks begin at the same places, so the sums are the same sums.
        assert all(a == b for a, b in pairs[3 * window :])


@pytest.mark.parametrize("price", [0.1, 1 / 3, 97_123.4, 1e-8])
def test_flat_markets_give_equal_averages(price: float) -> None:
    """Two averages of one price are that price, so that no crossing comes from rounding."""
    made: list[Any] = [Sma(10), Sma(49), Ema(9), Ema(31), Bollinger(20)]
    weighted, score, strength, width = Vwap(7), Zscore(5), Rsi(3), Atr(3)
    for number in range(500):
        assert [average.update(price) for average in made] == [price] * len(made)
        assert weighted.update(price, 0.1 * (number % 3)) == price
        assert score.update(price) == 0.0
        assert strength.update(price) == 50.0
        assert width.update(price, price, price) == 0.0
    assert made[-1].upper == made[-1].lower == price


# Life of an indicator ---------------------------------------------------------------------------------------------

MAKERS: dict[str, tuple[Callable[[int], Any], Callable[[Any, float], float], int]] = {
    "Sma": (Sma, lambda i, x: i.update(x), 0),
    "Ema": (Ema, lambda i, x: i.update(x), 0),
    "Rsi": (Rsi, lambda i, x: i.update(x), 1),
    "Atr": (Atr, lambda i, x: i.update(x + 1, x - 1, x), 0),
    "Bollinger": (Bollinger, lambda i, x: i.update(x), 0),
    "Zscore": (Zscore, lambda i, x: i.update(x), 0),
    "Vwap": (Vwap, lambda i, x: i.update(x, 2.0), 0),
}


def test_every_indicator_is_tested() -> None:
    """The table covers what the module offers."""
    assert sorted(MAKERS) == indicators.__all__


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("window", [2, 3, 5])
def test_value_is_a_float_from_the_first_update_and_ready_when_full(name: str, window: int) -> None:
    """NaN before; `update` returns what `value` then holds; ready once, and for good."""
    make, update, extra = MAKERS[name]
    made = make(window)
    assert math.isnan(made.value)
    assert not made.is_ready
    assert made.window == window
    for number in range(1, 4 * window):
        value = update(made, 100.0 + number)
        assert isinstance(value, float)
        assert math.isfinite(value)
        assert made.value == value
        assert made.is_ready is (number >= window + extra)
    assert repr(made) == f"{name}(window={window}, value={made.value}, is_ready=True)"


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("window", [0, -1, 2.0, "3", True, None])
def test_windows_that_make_no_sense_are_refused(name: str, window: Any) -> None:
    """A whole number of at least one, or of two where a deviation is taken."""
    with pytest.raises(ConfigError, match=rf"{name}: window is {window!r}; it must be a whole number of at least"):
        MAKERS[name][0](window)


@pytest.mark.parametrize("kind", [Bollinger, Zscore])
def test_one_price_has_no_deviation(kind: type[Bollinger] | type[Zscore]) -> None:
    """Two prices are the least."""
    with pytest.raises(ConfigError, match="at least 2"):
        kind(1)


@pytest.mark.parametrize("deviations", [0.0, -1.0, math.inf, math.nan])
def test_bands_need_a_width(deviations: float) -> None:
    """Finite and above zero."""
    with pytest.raises(ConfigError, match="Bollinger: deviations is"):
        Bollinger(20, deviations=deviations)


def test_usual_windows_are_the_default() -> None:
    """14 for Wilder's two, 20 and 2 for Bollinger's bands."""
    assert (Rsi().window, Atr().window, Bollinger().window, Bollinger().deviations) == (14, 14, 20, 2.0)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused_and_change_nothing(name: str, bad: float) -> None:
    """The indicator goes on as if the number had not come."""
    make, update, _ = MAKERS[name]
    one, other = make(3), make(3)
    for price in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0):
        with pytest.raises(DataError, match=rf"{name}: .*(nan|inf)"):
            update(one, bad)
        assert update(one, price) == update(other, price)
        assert one.is_ready == other.is_ready


@pytest.mark.parametrize(
    ("high", "low", "close"), [(1.0, 2.0, 1.5), (math.nan, 1.0, 1.0), (2.0, math.nan, 1.0), (2.0, 1.0, math.inf)]
)
def test_atr_refuses_impossible_candles(high: float, low: float, close: float) -> None:
    """A high below its low, or a price that is no number."""
    with pytest.raises(DataError, match="Atr: "):
        Atr(3).update(high, low, close)


@pytest.mark.parametrize(("price", "qty"), [(1.0, -0.5), (1.0, math.nan), (1.0, math.inf), (math.nan, 1.0)])
def test_vwap_refuses_impossible_volumes(price: float, qty: float) -> None:
    """Below zero, or no number."""
    with pytest.raises(DataError, match="Vwap: "):
        Vwap(3).update(price, qty)


# To the last digit ------------------------------------------------------------------------------------------------


def sma_written_out(some: list[float], window: int) -> list[float]:
    """Sum the block of the present, and the part of the block before it that is still in the window, newest first."""
    values = []
    for number in range(len(some)):
        begin = number - number % window
        block = some[begin : number + 1]
        origin, total, rest = block[0], 0.0, 0.0
        for price in block:
            total += price - origin
        for price in reversed(some[max(begin - window, 0) : begin][len(block) :]):
            rest += price - origin
        values.append(origin + (total + rest) / (window if begin else len(block)))
    return values


def ema_written_out(some: list[float], window: int) -> list[float]:
    """Move towards each price by its weight."""
    values = some[:1]
    for price in some[1:]:
        values.append(values[-1] + 2.0 / (window + 1) * (price - values[-1]))
    return values


def rsi_written_out(some: list[float], window: int) -> list[float]:
    """Smooth gains and losses apart."""
    values, gain, loss = [50.0], 0.0, 0.0
    for count, (before, price) in enumerate(pairwise(some), start=1):
        gain += (max(price - before, 0.0) - gain) / min(count, window)
        loss += (max(before - price, 0.0) - loss) / min(count, window)
        values.append(100.0 * (gain / (gain + loss)) if gain + loss > 0 else 50.0)
    return values


def atr_written_out(some: list[float], window: int) -> list[float]:
    """Smooth the ranges; a candle here closes where it likes, above its high as well."""
    values, average, before = [], 0.0, None
    for count, close in enumerate(some, start=1):
        high, low = CANDLE_HIGH, CANDLE_LOW
        true_range = high - low if before is None else max(high, before) - min(low, before)
        average += (true_range - average) / min(count, window)
        before = close
        values.append(average)
    return values


CANDLE_HIGH, CANDLE_LOW = 600_000.0, 400_000.0


@few
@given(prices, windows)
def test_values_have_the_digits_of_the_written_out_sums(some: list[float], window: int) -> None:
    """However the work is saved: runs that were saved are compared with later ones to the last digit."""
    width = Atr(window)
    assert [width.update(CANDLE_HIGH, CANDLE_LOW, close) for close in some] == atr_written_out(some, window)
    for made, expected in ((Sma, sma_written_out), (Ema, ema_written_out), (Rsi, rsi_written_out)):
        average = made(window)
        for number, (price, value) in enumerate(zip(some, expected(some, window), strict=True), start=1):
            assert (average.update(price), average.value) == (value, value)
            assert average.is_ready is (number - (made is Rsi) >= window)


# By hand ----------------------------------------------------------------------------------------------------------


def test_atr_extends_the_range_to_the_close_before() -> None:
    """Gaps up and down count; the first candle has nothing before it."""
    width = Atr(1)
    assert [width.update(*candle) for candle in [(12, 10, 11), (16, 14, 15), (9, 8, 8), (9, 7, 8)]] == [2, 5, 7, 2]


def test_rsi_by_hand() -> None:
    """Only rises are 100, only falls 0; Wilder's weights after the first window."""
    rising, falling, mixed = Rsi(3), Rsi(3), Rsi(2)
    for step in range(6):
        rising.update(100.0 + step)
        falling.update(100.0 - step)
    assert (rising.value, falling.value) == (100.0, 0.0)
    # Changes +2 and -1 average to gain 1 and loss 0.5; then +3: gain (1 + 3) / 2 = 2, loss 0.25.
    assert [mixed.update(price) for price in (10.0, 12.0, 11.0, 14.0)][2:] == [
        pytest.approx(100 * 1 / 1.5),
        pytest.approx(100 * 2 / 2.25),
    ]


def test_zscore_by_hand() -> None:
    """2, 4, 4, 4, 5, 5, 7, 9 has mean 5 and population deviation 2."""
    score, bands = Zscore(8), Bollinger(8)
    for price in (2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0):
        score.update(price)
        bands.update(price)
    assert score.value == 2.0
    assert (bands.lower, bands.middle, bands.upper) == (1.0, 5.0, 9.0)


def test_vwap_forgets_volume_that_left_the_window() -> None:
    """And gives the latest price while all that is left is empty."""
    average = Vwap(2)
    steps = [(10.0, 1.0), (20.0, 3.0), (30.0, 0.0), (40.0, 0.0), (50.0, 5.0)]
    assert [average.update(price, qty) for price, qty in steps] == [10.0, 17.5, 20.0, 40.0, 50.0]


def test_an_update_costs_the_same_whatever_the_window() -> None:
    """Work is counted, not timed: blocks are summed once for each window of updates."""
    window = 4096
    average = Sma(window)
    lengths = []
    for number in range(4 * window):
        average.update(float(number))
        lengths.append(len(average._tails))
    rebuilt = [number for number, (left, right) in enumerate(pairwise(lengths), start=1) if right > left]
    assert rebuilt == [window, 2 * window, 3 * window]
    assert max(lengths) < window
