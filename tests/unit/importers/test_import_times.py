"""Times of foreign tables: units by magnitude, refused naive times, clocks set back and forward."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.clock import NS_PER_DAY, NS_PER_S, time_ns_of
from quantkit.errors import ConfigError
from quantkit.importers.times import TimeFormat, TimeReader, unit_of, zone_of

MOMENT_NS = time_ns_of("2024-08-08T23:54:15.030314667Z")
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "UTC")


def read(*texts: str, zone: str | None = None) -> tuple[list[int], dict[int, str]]:
    values, bad = TimeReader("t.csv", zone_of(zone), is_strict=True).texts(texts)
    return values.tolist(), bad


@pytest.mark.parametrize(
    ("text", "lost_ns"),
    [
        ("1723161255030314667", 0),
        ("1723161255030314", 667),
        ("1723161255030", 314_667),
        ("1723161255", 30_314_667),
        ("1723161255.030314667", 0),
        ("1723161255030.5", MOMENT_NS - 1723161255030_500_000),
        ("2024-08-08T23:54:15.030314667Z", 0),
        ("2024-08-08 23:54:15.030314667 UTC", 0),
        ("2024-08-09T01:54:15.030314667+02:00", 0),
        ("2024-08-08T18:24:15.030314667-0530", 0),
        ("20240808T23:54:15.030314667Z", 0),
    ],
)
def test_every_spelling_of_one_moment(text: str, lost_ns: int) -> None:
    assert read(text) == ([MOMENT_NS - lost_ns], {})


@pytest.mark.parametrize(("unit", "per_s"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
@pytest.mark.parametrize("year", [1990, 1999, 2024, 2026])
def test_epoch_units_are_told_by_what_is_plausible(unit: str, per_s: int, year: int) -> None:
    seconds = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    assert unit_of(seconds * per_s) == unit
    values, bad = TimeReader("t", None).integers(np.array([seconds * per_s], np.int64))
    assert (values.tolist(), bad) == ([seconds * NS_PER_S], {})


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("45312", "1970-01-01T12:35:12Z"),
        ("450000000", "1984-04-05T08:00:00Z"),
        ("4000000000", "2096-10-02T07:06:40Z"),
        ("450000000000", "1984-04-05T08:00:00Z"),
        ("45312.5", "1970-01-01T12:35:12Z"),
        ("20241340", "1970-08-23T06:35:40Z"),
        ("202405239930", "1976-05-31T15:40:39.93Z"),
        ("-5", "-5 s since 1970"),
        ("-5000000000", "-5000000000 s since 1970"),
    ],
)
@pytest.mark.parametrize("is_typed", [False, True])
def test_an_implausible_number_is_refused_with_its_reading(text: str, reading: str, is_typed: bool) -> None:
    reader = TimeReader("t", None)
    if is_typed:
        number = float(text)
        read_typed = reader.integers if number.is_integer() else reader.floats
        values, bad = read_typed(np.array([int(number) if number.is_integer() else number]))  # type: ignore[arg-type]
    else:
        values, bad = reader.texts([text])
    assert values.tolist() == [0]
    assert bad[0].startswith(f"time {text} would read as {reading}, which is not between 1990 and a year from now; say")
    assert "--time-format" in bad[0]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("20240523", "2024-05-23T00:00Z"),
        ("20240523.0", "2024-05-23T00:00Z"),
        ("202405231530", "2024-05-23T15:30Z"),
        ("20240523153045", "2024-05-23T15:30:45Z"),
        ("20240523153045123", "2024-05-23T15:30:45.123Z"),
        ("2024.05.23 15:30", "2024-05-23T15:30Z"),
        ("19620102", "1970-01-01"),
    ],
)
def test_dates_written_as_one_number_are_dates(text: str, moment: str) -> None:
    values, bad = read(text, zone="UTC")
    if text == "19620102":
        assert bad == {0: "time '19620102' is out of range"}
    else:
        assert (values, bad) == ([time_ns_of(moment)], {})
        if text.isdecimal():
            assert TimeReader("t", UTC).integers(np.array([int(text)]))[0].tolist() == values


def test_dates_written_as_one_number_need_a_zone_where_they_hold_a_time() -> None:
    with pytest.raises(ConfigError, match=r"times such as '202405231530' carry no time zone.*--timezone UTC"):
        read("202405231530")
    (value,), _ = read("202401020930", zone="America/New_York")
    assert value == time_ns_of("2024-01-02T14:30Z")


def test_days_and_times_of_day_in_two_columns_are_one_time() -> None:
    def dated(days: list[str], clocks: list[str]) -> list[str] | None:
        return TimeReader("t", UTC).dated(days, clocks)

    assert dated(["20240102"] * 3, ["930", "0", "1600"]) == ["20240102 09:30", "20240102 00:00", "20240102 16:00"]
    assert dated(["2024-01-02"] * 2, ["93000", "500"]) == ["2024-01-02 09:30:00", "2024-01-02 00:05:00"]
    assert dated(["2024-01-02 00:00:00", "2024-01-02T00:00"], ["", "9:30"]) == ["2024-01-02 ", "2024-01-02 09:30"]
    assert dated(["2024-01-02"], ["09:30:01.5"]) == ["2024-01-02 09:30:01.5"]
    assert dated(["2024-01-02"], ["1704187800"]) is None
    assert dated(["2024-01-02"], ["2024-01-02T09:30Z"]) is None


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("23/05/2024", "; say how times are written: --time-format '%d/%m/%Y' (time_format=)"),
        ("05/23/2024 10:30:15", "; say how times are written: --time-format '%m/%d/%Y %H:%M:%S' (time_format=)"),
        ("23.05.24 10:30:15.25", "; say how times are written: --time-format '%d.%m.%y %H:%M:%S.%f' (time_format=)"),
        (
            "05/06/2024",
            "; say how times are written: --time-format '%d/%m/%Y' or '%m/%d/%Y' where months come first "
            "(time_format=)",
        ),
        ("23 May 2024", "; say how times are written: --time-format (time_format=)"),
        ("31/31/2024", "; say how times are written: --time-format (time_format=)"),
        ("total", ""),
    ],
)
def test_a_date_of_another_order_is_refused_with_its_format(text: str, remedy: str) -> None:
    assert TimeReader("t", None).texts([text])[1] == {0: f"time {text!r} is not understood{remedy}"}


def test_a_time_format_says_how_times_are_written() -> None:
    def formatted(text: str, form: str, zone: str | None = "UTC") -> tuple[list[int], dict[int, str]]:
        values, bad = TimeReader("t", zone_of(zone), time_format=TimeFormat(form)).texts([text])
        return values.tolist(), bad

    assert formatted("23.05.2024 15:30:00.250", "%d.%m.%Y %H:%M:%S.%f") == ([time_ns_of("2024-05-23T15:30:00.25Z")], {})
    assert formatted("May 23, 2024", "%b %d, %Y", None) == ([time_ns_of("2024-05-23")], {})
    assert formatted("23.05.2024 +0200", "%d.%m.%Y %z", None) == ([time_ns_of("2024-05-22T22:00Z")], {})
    assert formatted("450000000", "s") == ([450_000_000 * NS_PER_S], {})
    assert formatted("x", "%d.%m.%Y")[1] == {0: "time 'x' does not follow the format %d.%m.%Y"}
    assert formatted("", "%d.%m.%Y")[1] == {0: "time is missing"}
    assert formatted("99999999999999999999", "s")[1] == {0: "time '99999999999999999999' is not understood"}
    assert formatted("9999999999999", "s")[1] == {0: "time 9999999999999 does not count s as the first row"}
    with pytest.raises(ConfigError, match="carry no time zone"):
        formatted("23.05.2024 15", "%d.%m.%Y %H", None)
    for form in ("yyyy-mm-dd", "%d.%Q", "%"):
        with pytest.raises(ConfigError, match="time format"):
            formatted("23.05.2024", form)
    days = np.array([20240523, 20240524])
    values, bad = TimeReader("t", None, time_format=TimeFormat("%Y%m%d")).integers(days)
    assert (np.diff(values).tolist(), bad) == ([NS_PER_DAY], {})


def test_typed_stamps_that_were_made_of_numbers_are_refused() -> None:
    _, bad = TimeReader("t", None).stamps(np.array([1_704_067_200], np.int64), is_naive=False)
    assert bad == {0: "time reads as 1970-01-01T00:00:01.7040672Z; it was made from a number of another unit"}


def test_epoch_floats_are_exact_to_the_microsecond() -> None:
    values, bad = TimeReader("t", None).floats(np.array([1625097621.647, np.nan, 1625097621.989]))
    assert values.tolist() == [1625097621_647_000_000, 0, 1625097621_989_000_000]
    assert bad == {1: "time is missing"}


def test_a_row_of_another_unit_is_a_bad_row() -> None:
    _, bad = read("1723161255030", "1723161255", "1723161255031")
    assert bad == {1: "time 1723161255 does not count ms as the first row"}
    _, bad = TimeReader("t", None).integers(np.array([1723161255030, 1723161255, 0, -5], np.int64))
    assert list(bad) == [1, 2, 3]


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2024-13-01", "2024-02-30", "2024-01-01T25:00:00Z", "1" * 20, "12:30"]
)
def test_what_is_no_time_is_a_bad_row(text: str) -> None:
    values, bad = read(text)
    assert values == [0]
    assert list(bad) == [0]


def test_naive_times_need_a_zone_and_whole_days_do_not() -> None:
    with pytest.raises(ConfigError, match=r"--timezone UTC"):
        read("2024-01-01 00:01:00")
    with pytest.raises(ConfigError, match=r"t\.csv: times such as '2024-01-01T00:01' carry no time zone"):
        read("2024-01-01 00:00:00", "2024-01-01T00:01")
    assert read("2024-01-01", "2024-01-02 00:00:00")[0] == [time_ns_of("2024-01-01"), time_ns_of("2024-01-02")]
    assert read("2024-01-01 00:01:00", zone="UTC")[0] == [time_ns_of("2024-01-01T00:01:00Z")]
    assert read("2024-07-01", zone="Europe/Berlin")[0] == [time_ns_of("2024-06-30T22:00:00Z")]


def test_naive_stamps_of_typed_columns_follow_the_same_rule() -> None:
    day, later = time_ns_of("2024-07-01"), time_ns_of("2024-07-01T00:01:00Z")
    column = np.array([day, later], np.int64)
    with pytest.raises(ConfigError, match="2024-07-01T00:01"):
        TimeReader("t", None).stamps(column, is_naive=True)
    assert TimeReader("t", None).stamps(column[:1], is_naive=True)[0].tolist() == [day]
    assert TimeReader("t", None).stamps(column, is_naive=False)[0].tolist() == [day, later]
    berlin, _ = TimeReader("t", zone_of("Europe/Berlin")).stamps(column, is_naive=True)
    assert (column - berlin).tolist() == [7200 * NS_PER_S] * 2
    assert TimeReader("t", None).stamps(np.array([0], np.int64), is_naive=False)[1] == {
        0: "time is missing or before 1970"
    }


def test_unknown_zones_are_refused() -> None:
    for name in ("Mars/Base", "../etc/passwd", ""):
        with pytest.raises(ConfigError, match="time zone"):
            zone_of(name)


def test_a_clock_set_forward_leaves_times_that_do_not_exist() -> None:
    values, bad = read("2024-03-31 01:59:00", "2024-03-31 02:30:00", "2024-03-31 03:00:00", zone="Europe/Berlin")
    assert (values[2] - values[0]) == 60 * NS_PER_S
    assert list(bad) == [1]
    assert "does not exist in Europe/Berlin" in bad[1]


def test_a_clock_set_back_is_told_apart_by_order() -> None:
    reader = TimeReader("t", zone_of("Europe/Berlin"), is_strict=True)
    texts = [
        "2024-10-27 02:00:00",
        "2024-10-27 02:30:00",
        "2024-10-27 02:00:00",
        "2024-10-27 02:30:00",
        "2024-10-27 03:00:00",
    ]
    values, bad = reader.texts(texts)
    assert np.diff(values).tolist() == [1800 * NS_PER_S] * 4
    assert (bad, reader.ambiguous) == ({}, 4)


def test_trades_of_one_moment_stay_together_when_the_clock_is_set_back() -> None:
    reader = TimeReader("t", zone_of("Europe/Berlin"))
    values, _ = reader.texts(
        ["2024-10-27 02:30:00", "2024-10-27 02:30:00", "2024-10-27 02:10:00", "2024-10-27 02:10:00"]
    )
    assert np.diff(values).tolist() == [0, 2400 * NS_PER_S, 0]


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    start=st.datetimes(datetime(2015, 1, 1), datetime(2025, 12, 1)),  # noqa: DTZ001  made UTC below
    step_min=st.sampled_from([1, 5, 15, 30, 60]),
)
def test_regular_local_times_are_utc_again_over_clock_changes(zone: str, start: datetime, step_min: int) -> None:
    """A regular UTC series, written as local time without a zone, reads back as itself."""
    place = ZoneInfo(zone)
    first = start.replace(second=0, microsecond=0, tzinfo=UTC)
    # A series that begins within the repeated hour cannot be told from one an hour earlier.
    while first.astimezone(place).replace(fold=0).utcoffset() != first.astimezone(place).replace(fold=1).utcoffset():
        first += timedelta(hours=1)
    moments = [first + timedelta(minutes=step_min * index) for index in range(400)]
    texts = [moment.astimezone(place).strftime("%Y-%m-%d %H:%M:%S") for moment in moments]
    values, bad = read(*texts, zone=zone)
    assert bad == {}
    assert values == [int(moment.timestamp()) * NS_PER_S for moment in moments]


@settings(max_examples=12, deadline=None)
@given(zone=st.sampled_from(ZONES), start_day=st.integers(16_000, 20_000))
def test_hours_over_every_clock_change_of_a_year(zone: str, start_day: int) -> None:
    """Hours over clock changes are an hour apart, whatever the clocks did."""
    place = ZoneInfo(zone)
    first_s = start_day * NS_PER_DAY // NS_PER_S + 12 * 3600
    moments = [datetime.fromtimestamp(first_s + 3600 * hour, UTC) for hour in range(24 * 366)]
    texts = [moment.astimezone(place).isoformat()[:19] for moment in moments]
    values, bad = read(*texts, zone=zone)
    assert bad == {}
    assert set(np.diff(values).tolist()) == {3600 * NS_PER_S}
