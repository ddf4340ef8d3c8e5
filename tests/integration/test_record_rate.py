"""A collector at twenty thousand messages a second: nothing is lost, and the memory stays as it is."""

import pytest
from bench.recorder import MESSAGES_PER_S, collected
from campaign import SCALE

pytestmark = [pytest.mark.long, pytest.mark.campaign]

#: A minute in `.ci/run`.
SECONDS = 6 * min(SCALE, 300)
#: A machine that does other things too holds sender and collector up; what is late then comes in a burst.
LEAST_SHARE = 0.5


def test_nothing_is_lost_at_a_high_rate_and_memory_is_flat() -> None:
    """Every numbered row is in a file once, no gap tells of a loss, and what the process holds does not grow."""
    figures = collected(SECONDS)
    assert figures["sent"] >= figures["stored"] == figures["rows"] > LEAST_SHARE * MESSAGES_PER_S * SECONDS
    assert (figures["gaps"], figures["problems"]) == (0, {})
    # The queue in front of the files may fill where the machine is busy; it is bounded.
    assert figures["memory_mb"] < 800
    if SECONDS >= 60:
        # A megabyte a minute would be a gigabyte and a half a day; the allocator itself moves by a few.
        assert figures["memory_slope_mb_per_min"] < 10
