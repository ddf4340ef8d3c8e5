"""Time: intervals, durations, and moments as text, datetimes and nanoseconds."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit import clock
from quantkit.clock import INTERVALS, NS_PER_DAY, datetime_of, duration_ns, interval_ns, iso_of, time_ns_of
from quantkit.errors import ConfigError

YEAR_2000_NS = 946_684_800_000_000_000
moments = st.integers(-(2**62), 2**63 - 1)
few = settings(max_examples=200, deadline=None)


def test_the_machines_clocks_move_forward() -> None:
    """Wall time is in nanoseconds since 1970, the other one only measures."""
    assert clock.wall_ns() > YEAR_2000_NS
    before = clock.monotonic_s()
    assert clock.monotonic_s() >= before >= 0


@pytest.mark.parametrize(
    ("interval", "seconds"),
    [("1s", 1), ("1m", 60), ("15m", 900), ("1h", 3600), ("6h", 21_600), ("1d", 86_400), ("1w", 604_800)],
)
def test_intervals(interval: str, seconds: int) -> None:
    """Every interval of the law, in nanoseconds."""
    assert interval_ns(interval) == seconds * 1_000_000_000


def test_intervals_rise_and_divide() -> None:
    """Short ones first, and every one is whole seconds that fit into a week."""
    lengths = list(INTERVALS.values())
    assert lengths == sorted(lengths)
    assert list(INTERVALS) == ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d", "1w"]
    assert all(INTERVALS["1w"] % length == 0 for length in lengths)


@pytest.mark.parametrize("interval", ["", "1M", "60s", "1 m", "7m", "1mo"])
def test_unknown_intervals_are_refused(interval: str) -> None:
    """With the list of what there is."""
    with pytest.raises(ConfigError, match="is not known; use one of 1s, 1m, 3m"):
        interval_ns(interval)


@pytest.mark.parametrize(
    ("duration", "ns"),
    [
        ("1ns", 1),
        ("2us", 2_000),
        ("100ms", 100_000_000),
        ("1s", 1_000_000_000),
        ("1.5s", 1_500_000_000),
        (" 0.1 s ", 100_000_000),
        ("0.000000001s", 1),
        ("5m", 300_000_000_000),
        ("5min", 300_000_000_000),
        ("2h", 7_200_000_000_000),
        ("1d", NS_PER_DAY),
        (7, 7),
        (timedelta(milliseconds=20), 20_000_000),
        (timedelta(days=1, microseconds=1), NS_PER_DAY + 1_000),
    ],
)
def test_durations(duration: Any, ns: int) -> None:
    """Text with a unit, a timedelta, or nanoseconds; fractions are exact."""
    assert duration_ns(duration) == ns


@pytest.mark.parametrize("duration", ["", "1", "s", "-1s", "1e3s", "1.s", ".5s", "1 fortnight", "1s1s", "1,5s", "1S"])
def test_durations_that_are_not_understood(duration: str) -> None:
    """The error shows how to write one."""
    with pytest.raises(ConfigError, match="is not understood; write for example '100ms'"):
        duration_ns(duration)


@pytest.mark.parametrize("duration", ["0s", "0.0ms", "0.1ns", 0, -5, timedelta(0), timedelta(seconds=-1)])
def test_durations_have_to_last(duration: Any) -> None:
    """A timer of zero would never let time pass."""
    with pytest.raises(ConfigError, match="must be above zero"):
        duration_ns(duration)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_500_000_000, "1970-01-01T00:00:01.5Z"),
        (10_000_000_000, "1970-01-01T00:00:10Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (YEAR_2000_NS + 123_456_789, "2000-01-01T00:00:00.123456789Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    ],
)
def test_iso_text(ns: int, text: str) -> None:
    """As many digits as needed, and back."""
    assert iso_of(ns) == text
    assert time_ns_of(text) == ns


@few
@given(moments)
def test_moments_survive_text(ns: int) -> None:
    """Nanoseconds to text to nanoseconds is the identity, and the text is pandas' moment."""
    assert time_ns_of(iso_of(ns)) == ns
    assert pd.Timestamp(iso_of(ns)).as_unit("ns").value == ns


@few
@given(moments)
def test_datetimes_are_cut_to_microseconds(ns: int) -> None:
    """Always downward, so that a stamp never moves into the future."""
    moment = datetime_of(ns)
    assert moment.tzinfo is UTC
    assert time_ns_of(moment) == ns // 1000 * 1000


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("1970-01-02", NS_PER_DAY),
        ("1970-01-02T00:00", NS_PER_DAY),
        (" 1970-01-02 00:00:00 ", NS_PER_DAY),
        ("1970-01-02T02:00:00+02:00", NS_PER_DAY),
        ("1970-01-01T00:00:00.0000005Z", 500),
        ("1970-01-01T00:00:00.12345678Z", 123_456_780),
        ("1970-01-01T00:00:00,123456789Z", 123_456_789),
        ("1970-01-01T01:00:00.123456789+01:00", 123_456_789),
        (42, 42),
        (datetime(1970, 1, 1, 0, 0, 1, 5, tzinfo=UTC), 1_000_005_000),
        (datetime(1970, 1, 1, 3, tzinfo=timezone(timedelta(hours=3))), 0),
        (pd.Timestamp("1970-01-01T00:00:00.123456789Z"), 123_456_789),
        (pd.Timestamp(-1, tz="UTC"), -1),
    ],
)
def test_moments(moment: Any, expected: int) -> None:
    """Text without an offset is UTC; a pandas stamp keeps its nanoseconds."""
    assert time_ns_of(moment) == expected


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        (datetime(2025, 3, 9, 1, 59, tzinfo=ZoneInfo("America/New_York")), "2025-03-09T06:59:00Z"),
        (datetime(2025, 3, 9, 3, 0, tzinfo=ZoneInfo("America/New_York")), "2025-03-09T07:00:00Z"),
        (datetime(2025, 11, 2, 1, 30, tzinfo=ZoneInfo("America/New_York")), "2025-11-02T05:30:00Z"),
        (datetime(2025, 11, 2, 1, 30, tzinfo=ZoneInfo("America/New_York"), fold=1), "2025-11-02T06:30:00Z"),
    ],
)
def test_clock_changes_are_left_to_the_zone(local: datetime, utc: str) -> None:
    """Trap 50: an hour that is missing or comes twice is one moment in UTC each."""
    assert iso_of(time_ns_of(local)) == utc


@pytest.mark.parametrize("moment", ["", "yesterday", "2025-13-01", "2025-05-05T25:00", "05.05.2025", "1970"])
def test_moments_that_are_not_understood(moment: str) -> None:
    """The error shows how to write one."""
    with pytest.raises(ConfigError, match="is not understood; write for example 2025-05-05"):
        time_ns_of(moment)


def test_digits_beyond_nanoseconds_are_refused() -> None:
    """Rather than cut without a word."""
    with pytest.raises(ConfigError, match="is finer than a nanosecond"):
        time_ns_of("1970-01-01T00:00:00.1234567891Z")


@pytest.mark.parametrize("moment", [datetime(2025, 5, 5), pd.Timestamp("2025-05-05")])  # noqa: DTZ001
def test_naive_datetimes_are_refused(moment: datetime) -> None:
    """Their zone is unknown, and the error says how to give it."""
    with pytest.raises(ConfigError, match=r"has no time zone; add one: \.replace\(tzinfo=datetime\.UTC\)"):
        time_ns_of(moment)
