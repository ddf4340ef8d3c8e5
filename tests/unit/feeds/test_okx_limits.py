"""Rate limits and back-off against an injected clock."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quantkit.feeds.okx.config import Backoff, RetryPolicy
from quantkit.feeds.okx.limits import Pacer, SlidingLimit


@given(
    st.integers(1, 5),
    st.sampled_from([0.5, 1.0, 2.0, 3600.0]),
    st.lists(st.floats(0.0, 1.0, allow_nan=False), max_size=60),
)
def test_no_window_ever_holds_more_than_the_limit(count, window_s, pauses):
    limit = SlidingLimit(count, window_s)
    now_s, taken = 0.0, []
    for pause in pauses:
        now_s += pause * window_s
        wait_s = limit.take(now_s)
        if wait_s > 0.0:
            assert limit.wait_s(now_s) == wait_s
            now_s += wait_s
            while (more_s := limit.take(now_s)) > 0.0:
                assert more_s < 1e-6
                now_s += more_s
        taken.append(now_s)
    for place in range(len(taken) - count):
        assert taken[place + count] - taken[place] >= window_s


def test_a_place_is_free_at_once_up_to_the_limit():
    limit = SlidingLimit(3, 1.0)
    assert [limit.take(0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
    assert limit.used == 3


def test_asking_takes_nothing():
    limit = SlidingLimit(1, 1.0)
    assert [limit.wait_s(0.0), limit.wait_s(0.0), limit.take(0.0)] == [0.0, 0.0, 0.0]


@given(st.integers(1, 100), st.lists(st.floats(0.0, 3.0, allow_nan=False), max_size=60))
def test_a_pacer_never_bursts(count, pauses):
    pacer = Pacer(count, 2.0)
    now_s, taken = 0.0, []
    for pause in pauses:
        now_s += pause
        now_s += pacer.take(now_s)
        if not taken or now_s > taken[-1]:
            while (wait_s := pacer.take(now_s)) > 0.0:
                now_s += wait_s
            taken.append(now_s)
    assert all(later - earlier >= 2.0 / count - 1e-9 for earlier, later in pairwise(taken))


def test_a_pacer_can_be_held():
    pacer = Pacer(1, 1.0)
    pacer.hold(5.0)
    assert [pacer.take(0.0), pacer.take(5.0), pacer.take(5.5)] == [5.0, 0.0, 0.5]


def test_back_off_is_fully_jittered_below_a_growing_bound():
    backoff = Backoff(RetryPolicy(base_s=1.0, cap_s=8.0), np.random.default_rng(7))
    assert backoff.wait_s() == 0.0
    highest = []
    for _ in range(6):
        backoff.failed()
        waits = [backoff.wait_s() for _ in range(2000)]
        assert min(waits) < 0.05 * max(waits)
        highest.append(max(waits))
    assert highest == pytest.approx([1.0, 2.0, 4.0, 8.0, 8.0, 8.0], rel=0.01)


def test_a_success_starts_again():
    backoff = Backoff(RetryPolicy(give_up_after=2), np.random.default_rng(7))
    backoff.failed()
    backoff.succeeded()
    backoff.failed()
    assert not backoff.is_exhausted
    backoff.failed()
    assert backoff.is_exhausted


def test_what_the_server_asks_for_is_honoured_within_reason():
    backoff = Backoff(RetryPolicy(), np.random.default_rng(7))
    backoff.failed()
    assert backoff.wait_s(retry_after_s=30.0) == 30.0
    assert backoff.wait_s(retry_after_s=1e9) == 3600.0
