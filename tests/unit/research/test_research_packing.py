"""Packed columns come back to the last bit."""

from decimal import Decimal

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from quantkit.research.packing import pack, unpack

STEPS = st.sampled_from([None, Decimal("0.1"), Decimal("0.25"), Decimal("1e-8"), Decimal(3)])


@given(hnp.arrays(np.int64, st.integers(0, 50), elements=st.integers(-(2**62), 2**62)))
def test_whole_numbers(column: np.ndarray) -> None:
    """Differences wrap around as they are taken."""
    assert unpack(pack(column)).tobytes() == column.tobytes()


@given(hnp.arrays(np.float64, st.integers(0, 50), elements=st.floats(allow_nan=False)), STEPS)
@example(np.array([1.7e308, -np.inf, -0.0]), Decimal("0.1"))
def test_floats(column: np.ndarray, step: Decimal | None) -> None:
    """On the step or off it, with zeros below zero."""
    assert unpack(pack(column, step)).tobytes() == column.tobytes()


@given(st.lists(st.integers(-(2**40), 2**40), max_size=50), STEPS)
def test_multiples_of_a_step(counts: list[int], step: Decimal | None) -> None:
    column = np.array([float(count * (step or 1)) for count in counts], np.float64)
    assert unpack(pack(column, step)).tobytes() == column.tobytes()


@given(st.lists(st.booleans(), max_size=50))
def test_flags(flags: list[bool]) -> None:
    column = np.array(flags, np.bool_)
    assert unpack(pack(column)).tolist() == flags
