"""Results of the run made by hand, for tests of what is made of a result."""

from collections.abc import Callable

import pytest
from handmade_run import CONFIG, INSTRUMENTS, empty_outcome, make_result

from quantkit.report.result import Result


@pytest.fixture
def result() -> Result:
    """The run's result, fresh for each test."""
    return make_result()


@pytest.fixture
def result_of() -> Callable[..., Result]:
    """`make_result`, for runs that differ in some fields."""
    return make_result


@pytest.fixture
def blank_result() -> Result:
    """The result of a run without orders and without a single row of the curve."""
    return Result(empty_outcome(), CONFIG, INSTRUMENTS)
