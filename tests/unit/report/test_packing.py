"""Packed columns come back as they were: every value the float nearest to its multiple of the step."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from quantkit.report.page.packing import pack, range_step, step_for, unpack

STEPS = st.sampled_from(
    [Fraction(1), Fraction(1, 10), Fraction(1, 20), Fraction(3, 10), Fraction(1, 10**8), Fraction(25)]
)
WHOLE = st.integers(-(2**52), 2**52)


@given(st.lists(WHOLE, max_size=60), STEPS, st.booleans())
def test_what_is_unpacked_is_the_number_nearest_to_each_step(steps: list[int], step: Fraction, is_walk: bool) -> None:
    """Also where neighbours lie further apart than 32 bits, and for no row at all."""
    if any(abs(number) * step.numerator >= 2**53 for number in steps):
        steps = [number % 1_000_000 for number in steps]
    values = np.array([float(number * step) for number in steps], np.float64)
    packed = pack(values, step, is_walk=is_walk)
    assert json.loads(json.dumps(packed)) == packed
    expected = [float(Fraction(round(Fraction(value) / step)) * step) for value in values.tolist()]
    assert unpack(packed).tolist() == pytest.approx(expected, rel=1e-15, abs=0)


@given(arrays.arrays(np.int64, st.integers(0, 40), elements=st.integers(0, 2**52)), st.booleans())
def test_stamps_stay_whole(stamps: np.ndarray, is_walk: bool) -> None:
    """Milliseconds are integers, and stay the same ones."""
    assert unpack(pack(stamps, is_walk=is_walk)).astype(np.int64).tolist() == stamps.tolist()


def test_prices_on_a_grid_come_back_to_the_last_bit() -> None:
    """A price of a decimal step is the float that its text gives."""
    prices = np.array([float(f"{ticks / 10:.1f}") for ticks in range(1_000_000, 1_002_000, 7)])
    assert unpack(pack(prices, Fraction(1, 10))).tolist() == prices.tolist()


def test_a_column_is_no_place_for_what_is_not_finite() -> None:
    """A browser would draw nothing, and say nothing."""
    with pytest.raises(ValueError, match="not finite"):
        pack(np.array([1.0, np.nan]))


def test_a_step_too_small_for_the_browser_is_refused() -> None:
    """Its numbers are exact up to 2^53."""
    with pytest.raises(ValueError, match="take a larger step"):
        pack(np.array([1e9]), Fraction(1, 10**9))


def test_a_walk_of_prices_is_small() -> None:
    """2.2 bytes a row for the close of a year of minutes, base64 included."""
    closes = 50_000 + np.cumsum(np.random.default_rng(5).integers(-50, 51, 100_000)) / 10
    assert len(pack(closes, Fraction(1, 10))["z"]) < 1.7 * len(closes)


def test_prices_between_two_steps_get_a_finer_one() -> None:
    """The middle of bid and ask is on half a step, and a price of bad data anywhere."""
    assert step_for(np.array([100.0, 100.1]), Fraction(1, 10)) == Fraction(1, 10)
    assert step_for(np.array([100.05]), Fraction(1, 10)) == Fraction(1, 100)
    values = np.array([100.123456])
    assert unpack(pack(values, step_for(values, Fraction(1, 10)))).tolist() == values.tolist()


@given(arrays.arrays(np.float64, st.integers(1, 20), elements=st.floats(-1e12, 1e12)))
def test_a_step_of_a_range_can_be_packed(values: np.ndarray) -> None:
    """Whatever the range is: one that is flat, tiny or huge."""
    step = range_step(values, 20_000)
    found = unpack(pack(values, step))
    assert np.abs(found - values).max() <= float(step) * 0.51 + np.abs(values).max() * 1e-15
    assert float(step) <= max(float(np.ptp(values)) / 20_000, np.abs(values).max() * 1e-14, 1e-11)
