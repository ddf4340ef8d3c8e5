"""Levels of a long series and the rows that a file of limited size keeps: no spike is lost, no budget is passed."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators

from quantkit.report.downsample import KeptRows, Levels, rows_to_keep

prices = generators.lists(generators.floats(1.0, 2.0), min_size=1, max_size=70).map(np.array)


def levels_of(values: np.ndarray) -> Levels:
    return Levels(np.arange(len(values), dtype=np.int64) * 10, values, values)


@settings(deadline=None)
@given(prices, generators.integers(0, 8))
def test_no_spike_is_lost(values: np.ndarray, k: int) -> None:
    """Each bucket of a level has the lowest and the highest of just its 2^k rows, and the stamp of the first."""
    levels = levels_of(values)
    level = levels.level(k)
    step = 2 ** min(k, levels.count - 1)
    buckets = [values[start : start + step] for start in range(0, len(values), step)]
    assert level.low.tolist() == [bucket.min() for bucket in buckets]
    assert level.high.tolist() == [bucket.max() for bucket in buckets]
    assert level.time_ns.tolist() == [start * 10 for start in range(0, len(values), step)]


@settings(deadline=None)
@given(prices)
def test_the_last_level_is_one_bucket(values: np.ndarray) -> None:
    levels = levels_of(values)
    assert len(levels.level(levels.count - 1).low) == 1
    assert levels.count == 1 or len(levels.level(levels.count - 2).low) > 1
    assert levels.level(99) is levels.level(levels.count - 1)


@settings(deadline=None)
@given(generators.integers(1, 300), generators.data(), generators.integers(1, 50))
def test_the_finest_level_is_picked_that_fits_a_view(count: int, data: generators.DataObject, buckets: int) -> None:
    start = data.draw(generators.integers(0, count - 1))
    stop = data.draw(generators.integers(start + 1, count))
    levels = levels_of(np.ones(count))

    def shown(k: int) -> int:
        return len({row // 2**k for row in range(start, stop)})

    picked = levels.pick(start, stop, buckets)
    assert shown(picked) <= buckets or picked == levels.count - 1
    assert picked == 0 or shown(picked - 1) > buckets


def test_a_level_is_worked_out_once_and_nothing_before_it_is_asked_for() -> None:
    levels = levels_of(np.arange(9.0))
    assert levels.level(0).low is levels.level(0).high
    assert levels.level(2) is levels.level(2)
    assert levels.level(2).high.tolist() == [3.0, 7.0, 8.0]


def test_rows_between_two_moments_include_both() -> None:
    levels = Levels(np.array([1, 5, 5, 9]), np.ones(4), np.ones(4))
    assert levels.rows_between(5, 9) == (1, 4)
    assert levels.rows_between(6, 8) == (3, 3)


@pytest.mark.parametrize("wrong", [(3, 2, 3), (3, 3, 2)])
def test_columns_of_other_lengths_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="give as many of each"):
        Levels(np.arange(wrong[0]), np.ones(wrong[1]), np.ones(wrong[2]))


def test_no_rows_have_one_level_without_buckets() -> None:
    levels = levels_of(np.empty(0))
    assert (levels.count, len(levels), levels.pick(0, 0, 5)) == (1, 0, 0)
    assert len(levels.level(3).low) == 0


def test_five_million_rows_take_well_under_a_second() -> None:
    values = np.random.default_rng(1).normal(size=5_000_000).cumsum()
    levels = levels_of(values)
    began = time.process_time()
    levels.level(99)
    assert time.process_time() - began < 0.8
    assert (levels.level(99).low[0], levels.level(99).high[0]) == (values.min(), values.max())


# What a file keeps --------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(generators.integers(0, 400), generators.lists(generators.integers(-5, 410), max_size=30), generators.data())
def test_what_is_kept_stays_within_the_budget(count: int, fills: list[int], data: generators.DataObject) -> None:
    """And each fill has the rows around it, as many as there is room for: one more on each side would be too many."""
    budget = data.draw(generators.integers(2, 500))
    kept = rows_to_keep(np.arange(count), np.array(fills, np.int64), budget)
    assert kept.size(count) <= budget
    assert all(start < stop for start, stop in kept.spans)
    assert all(before[1] < after[0] for before, after in zip(kept.spans, kept.spans[1:], strict=False))
    if count <= budget:
        assert kept == KeptRows(0, [])
        return
    share = budget // 2 if fills else budget
    assert -(-count // 2**kept.level) <= share < -(-count // 2 ** (kept.level - 1))
    single = {row for start, stop in kept.spans for row in range(start, stop)}
    rows = list(dict.fromkeys(min(max(fill, 0), count - 1) for fill in fills))
    room = budget - -(-count // 2**kept.level)
    assert single.issuperset(rows[:room])
    if len(rows) > room:
        assert single == set(rows[:room])
    elif rows:
        margin = max(m for m in range(count) if single.issuperset(around(rows, m, count)))
        assert single == around(rows, margin, count)
        assert len(around(rows, margin + 1, count)) > room


def around(rows: list[int], margin: int, count: int) -> set[int]:
    """Return rows with their neighbours."""
    return {near for row in rows for near in range(max(row - margin, 0), min(row + margin + 1, count))}


def test_where_not_all_fills_fit_the_first_ones_named_are_kept() -> None:
    kept = rows_to_keep(np.arange(100), np.array([90, 10, 50, 30, 70]), 6)
    assert kept == KeptRows(6, [(10, 11), (30, 31), (50, 51), (90, 91)])
    assert kept.size(100) == 6


def test_equal_stamps_belong_to_the_last_row() -> None:
    """A fill comes after what was received by then."""
    kept = rows_to_keep(np.array([0, 1, 1, 1] + [2] * 20), np.array([1]), 4)
    assert any(start <= 3 < stop for start, stop in kept.spans)


def test_a_budget_for_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="give 2 or more"):
        rows_to_keep(np.arange(9), np.array([1]), 1)
    with pytest.raises(ValueError, match="give 1 or more"):
        levels_of(np.ones(9)).pick(0, 9, 0)
