"""Returns by month, by day and by hour of the week, and the deepest drawdowns, against plain loops over the days."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from handmade_run import START_NS, make_outcome

from quantkit.clock import NS_PER_DAY, NS_PER_MIN
from quantkit.engine.outcome import EquityCurve
from quantkit.report import calendar
from quantkit.report.result import Result

NS_PER_HOUR = 60 * NS_PER_MIN


def outcome_of(steps: int, step_ns: int, *, begin_ns: int = START_NS, seed: int = 1) -> Any:
    """Return a run with an equity that wanders, a grid row each step."""
    equity = 1000 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.01, steps)))
    time_ns = begin_ns + np.arange(1, steps + 1, dtype=np.int64) * step_ns
    peak = np.maximum.accumulate(np.append(1000.0, equity))[1:]
    none = np.zeros(steps)
    curve = EquityCurve(time_ns, equity, equity, none, equity / peak - 1, np.ones(steps, np.bool_))
    return make_outcome(curve=curve, start_ns=begin_ns, end_ns=int(time_ns[-1]), equity=equity[-1])


def test_months_compound_their_days() -> None:
    """Over a year's end; months without a day are empty, and the year is the product of its months."""
    outcome = outcome_of(400, NS_PER_DAY)
    frame = calendar.monthly_frame(outcome)
    equity = [1000.0, *outcome.curve.equity.tolist()]
    months: dict[tuple[int, int], float] = {}
    for day in range(400):
        moment = datetime.fromtimestamp(START_NS / 1e9, UTC) + timedelta(days=day)
        key = moment.year, moment.month
        months[key] = months.get(key, 1.0) * equity[day + 1] / equity[day]
    assert frame.index.tolist() == [2025, 2026]
    for year in (2025, 2026):
        for month, name in enumerate(calendar.MONTHS, 1):
            expected = 100 * (months[year, month] - 1) if (year, month) in months else math.nan
            assert frame.loc[year, name] == pytest.approx(expected, rel=1e-9, nan_ok=True)
        whole = math.prod(growth for (own, _), growth in months.items() if own == year)
        assert frame.loc[year, "Year"] == pytest.approx(100 * (whole - 1), rel=1e-9)
    total = math.prod(1 + frame["Year"] / 100)
    assert total == pytest.approx(equity[-1] / 1000, rel=1e-9)


@pytest.mark.parametrize("first", range(7))
def test_days_stand_under_their_weekdays(first: int, result_of: Callable[..., Result]) -> None:
    """Whatever weekday a run begins on."""
    begin_ns = START_NS + first * NS_PER_DAY
    outcome = outcome_of(17, NS_PER_DAY, begin_ns=begin_ns)
    frame = calendar.daily_frame(outcome)
    equity = [1000.0, *outcome.curve.equity.tolist()]
    found = 0
    for week, row in frame.iterrows():
        assert isinstance(week, pd.Timestamp)
        assert week.day_name() == "Monday"
        for place, name in enumerate(calendar.WEEKDAYS):
            day = (week.value + place * NS_PER_DAY - begin_ns) // NS_PER_DAY
            if 0 <= day < 17:
                found += 1
                assert row[name] == pytest.approx(100 * (equity[day + 1] / equity[day] - 1), rel=1e-9)
            else:
                assert math.isnan(row[name])
    assert found == 17


@pytest.mark.parametrize("late", [0, 17])
def test_hours_of_the_week_have_mean_and_t_value(late: int) -> None:
    """Whole hours alone: those of a run that begins and ends within one are left out."""
    begin_ns = START_NS + late * NS_PER_MIN
    outcome = outcome_of(24 * 60 * 16 + 30, NS_PER_MIN, begin_ns=begin_ns)
    frame = calendar.hourly_frame(outcome)
    at = {begin_ns: 1000.0, **dict(zip(outcome.curve.time_ns.tolist(), outcome.curve.equity.tolist(), strict=True))}
    slots: dict[tuple[str, int], list[float]] = {}
    for hour_ns in range(-(-begin_ns // NS_PER_HOUR) * NS_PER_HOUR, outcome.end_ns - NS_PER_HOUR + 1, NS_PER_HOUR):
        moment = datetime.fromtimestamp(hour_ns / 1e9, UTC)
        slots.setdefault((calendar.WEEKDAYS[moment.weekday()], moment.hour), []).append(
            at[hour_ns + NS_PER_HOUR] / at[hour_ns] - 1
        )
    assert len(frame) == 168
    assert int(frame["count"].sum()) == 24 * 16 - (late > 0)
    for slot, own in slots.items():
        error = np.std(own, ddof=1) / math.sqrt(len(own))
        row = frame.loc[slot]
        assert row["mean_bps"] == pytest.approx(1e4 * np.mean(own), rel=1e-9)
        assert row["t_value"] == pytest.approx(np.mean(own) / error, rel=1e-9)
        assert row["count"] == len(own)


def test_hours_that_the_curve_leaves_out_give_an_empty_table(result_of: Callable[..., Result]) -> None:
    """A grid of days, or a run of half an hour."""
    assert calendar.hourly_frame(outcome_of(40, NS_PER_DAY)).empty
    assert calendar.hourly_frame(outcome_of(30, NS_PER_MIN, begin_ns=START_NS + NS_PER_MIN)).empty
    assert list(result_of().hourly_returns.columns) == ["mean_bps", "t_value", "count"]
    assert result_of().hourly_returns["count"].sum() == 72


def test_an_hour_that_lost_everything_is_the_last() -> None:
    """What comes after has no return."""
    outcome = outcome_of(60 * 5, NS_PER_MIN)
    equity = outcome.curve.equity.copy()
    equity[150:] = -5.0
    curve = EquityCurve(
        outcome.curve.time_ns, equity, equity, equity, np.minimum(equity / 1000 - 1, 0), outcome.curve.is_grid
    )
    found = calendar.hourly_frame(make_outcome(curve=curve, start_ns=START_NS, end_ns=outcome.end_ns))
    assert found["count"].sum() == 3


def test_the_deepest_drawdowns_come_first() -> None:
    """Peak, trough and recovery by a loop over the rows; what the end found below its peak has no recovery."""
    outcome = outcome_of(500, NS_PER_HOUR, seed=4)
    frame = calendar.drawdown_frame(outcome, 5)
    equity, time_ns = np.append(1000.0, outcome.curve.equity), np.append(START_NS, outcome.curve.time_ns)
    found, peak = [], 0
    for row in range(1, len(equity) + 1):
        if row == len(equity) or equity[row] >= equity[peak]:
            if row - peak > 1:
                trough = peak + int(np.argmin(equity[peak:row]))
                end = row if row < len(equity) else None
                found.append((equity[trough] / equity[peak] - 1, peak, trough, end))
            peak = row
    found.sort()
    assert len(frame) == 5
    for (depth, peak, trough, end), (_, row) in zip(found[:5], frame.iterrows(), strict=True):
        assert row["depth"] == pytest.approx(depth, rel=1e-12)
        assert (row["peak_time"].value, row["trough_time"].value) == (time_ns[peak], time_ns[trough])
        assert row["duration"].value == time_ns[-1 if end is None else end] - time_ns[peak]
        if end is None:
            assert pd.isna(row["recovery_time"])
            assert pd.isna(row["recovery"])
        else:
            assert row["recovery_time"].value == time_ns[end]
            assert row["recovery"].value == time_ns[end] - time_ns[trough]
    assert any(end is None for *_, end in found)


def test_a_run_without_anything_has_empty_tables(blank_result: Result) -> None:
    """No row of the curve, no drawdown; a flat day each."""
    assert blank_result.drawdown_table.empty
    assert blank_result.hourly_returns.empty
    assert blank_result.monthly_returns["May"].tolist() == [0.0]
    assert blank_result.daily_table.iloc[0, :3].tolist() == [0.0, 0.0, 0.0]
    assert blank_result.intervals is None
