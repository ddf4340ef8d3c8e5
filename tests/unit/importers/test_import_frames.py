"""Frames: the rows are checked as those of files are, and what is wrong names its remedy."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import quantkit as qk
from quantkit.clock import INTERVALS, NS_PER_MIN
from quantkit.errors import ConfigError, DataError
from quantkit.events import Candle, Gap
from quantkit.feeds.replay import MemoryFeed
from quantkit.importers import import_files
from quantkit.importers.frames import frame_feed
from quantkit.instruments import Instrument
from quantkit.rows.batch import Subscription
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

GOOG = [Instrument("GOOG", quote="USD", price_step="0.01", qty_step="1")]
FAR_NS = 2**62


def frame(index: Any, *, rows: int | None = None, **changes: Any) -> pd.DataFrame:
    """Return OHLCV rows on an index."""
    rows = len(index) if rows is None else rows
    columns = {"open": [10.0] * rows, "high": [12.0] * rows, "low": [9.0] * rows, "close": [11.0] * rows}
    return pd.DataFrame({**columns, "volume": [1.0] * rows, **changes}, index=index)


def days(count: int = 3, *, freq: str = "D", tz: str | None = None, start: str = "2025-01-06") -> pd.DatetimeIndex:
    """Return an index of `count` bars."""
    return pd.date_range(start, periods=count, freq=freq, tz=tz)


def candles_of(feed: MemoryFeed) -> list[Candle]:
    """Return the candles of a feed with one stream of them."""
    (stream,) = (stream for stream in feed.coverage() if stream.kind == "candle")
    feed.subscribe([Subscription(stream, 0, FAR_NS)])
    return [event for batch in feed.batches() for block in batch.blocks for event in block.events()]  # type: ignore[misc]


def gaps_of(feed: MemoryFeed) -> list[Gap]:
    """Return the gaps of a feed."""
    stream = Stream("gap", "GOOG")
    if stream not in feed.coverage():
        return []
    feed.subscribe([Subscription(stream, 0, FAR_NS)])
    return [event for batch in feed.batches() for block in batch.blocks for event in block.events()]  # type: ignore[misc]


# The interval -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "interval"),
    [
        (days(freq="1min", tz="UTC"), "1m"),
        (days(freq="15min", tz="UTC"), "15m"),
        (days(freq="4h", tz="Europe/Berlin"), "4h"),
        (days(), "1d"),
        (days(freq="7D"), "1w"),
        (pd.DatetimeIndex(["2025-01-03", "2025-01-06", "2025-01-07"]), "1d"),
        (days(freq="1h", tz="UTC").as_unit("s"), "1h"),
        (days(freq="1s", tz="UTC").as_unit("us"), "1s"),
    ],
)
def test_the_most_common_step_is_the_interval(index: pd.DatetimeIndex, interval: str) -> None:
    """Whatever the index's unit, zone and gaps; and the result says so."""
    feed = frame_feed({"GOOG": frame(index)}, GOOG)
    first = candles_of(feed)[0]
    utc = index if index.tz is not None else index.tz_localize("UTC")
    assert first.interval == interval
    assert first.open_ns == pd.Timestamp(utc[0]).value
    assert first.received_ns == first.exchange_ns == first.close_ns == first.open_ns + INTERVALS[interval]
    assert feed.assumptions()[0].startswith(f"GOOG: candles of {interval}, the most common step of the rows")


def test_the_interval_can_be_said() -> None:
    """For all frames or for one; then nothing is assumed, one row is enough, and a wrong one is refused."""
    one = frame(days(1))
    for interval in ("1d", {"GOOG": "1d"}):
        feed = frame_feed({"GOOG": one}, GOOG, interval=interval)
        assert ([bar.interval for bar in candles_of(feed)], feed.assumptions()) == (["1d"], ())
    with pytest.raises(
        DataError, match=r"frame 'GOOG': .*most common step is 86400 s, and none is 1h; give interval='1"
    ):
        frame_feed({"GOOG": frame(days())}, GOOG, interval="1h")
    with pytest.raises(ConfigError, match="interval 'hourly' is not known"):
        frame_feed({"GOOG": one}, GOOG, interval="hourly")
    with pytest.raises(ConfigError, match="interval names 'MSFT', of which there is no frame; there is GOOG"):
        frame_feed({"GOOG": frame(days())}, GOOG, interval={"MSFT": "1d"})
    with pytest.raises(ConfigError, match="interval and strict are for frames"):
        qk.backtest(qk.Strategy, data="data", interval="1d")
    with pytest.raises(ConfigError, match="interval and strict are for frames"):
        qk.backtest(qk.Strategy, data="data", strict=True)


@pytest.mark.parametrize("place", ["15min", "-15min"])
def test_a_row_on_a_smaller_step_is_left_out_and_named(place: str) -> None:
    """Wherever it lies, the bars on the step stay; `strict` refuses the frame."""
    hours = days(48, freq="1h", tz="UTC")
    for number in (0, 20, 47):
        stray = hours[number] + pd.Timedelta(place)
        index = hours.append(pd.DatetimeIndex([stray])).sort_values()
        feed = frame_feed({"GOOG": frame(index)}, GOOG)
        assert [bar.open_ns for bar in candles_of(feed)] == [stamp.value for stamp in hours.as_unit("ns")]
        assert gaps_of(feed) == []
        (said,) = (text for text in feed.assumptions() if "left out" in text)
        row = index.get_loc(stray)
        assert said == f"GOOG: 1 row is left out, being on a smaller step than the candles: row {row} ({stray})"
        with pytest.raises(
            DataError, match=rf"row {row} .*: the bar opens on a smaller step than 1h; drop the row, or"
        ):
            frame_feed({"GOOG": frame(index)}, GOOG, strict=True)


def test_a_stray_row_after_a_hole_does_not_push_out_the_bar_it_overlaps() -> None:
    """Of two bars that overlap the one stays that is on the step of those around it."""
    hours = days(48, freq="1h", tz="UTC")
    index = hours.delete([10, 11]).append(pd.DatetimeIndex([hours[11] + pd.Timedelta("15min")])).sort_values()
    feed = frame_feed({"GOOG": frame(index)}, GOOG)
    assert [bar.open_ns for bar in candles_of(feed)] == [stamp.value for stamp in hours.delete([10, 11]).as_unit("ns")]
    (gap,) = gaps_of(feed)
    assert (gap.from_ns, gap.to_ns) == (hours[10].value, hours[12].value)


def test_many_rows_left_out_are_counted() -> None:
    """Three are named."""
    hours = days(60, freq="1h", tz="UTC")
    index = hours.append(hours[10:20] + pd.Timedelta("20min")).sort_values()
    (said,) = (text for text in frame_feed({"GOOG": frame(index)}, GOOG).assumptions() if "left out" in text)
    assert said.startswith("GOOG: 10 rows are left out")
    assert said.endswith(" and 7 more")


@pytest.mark.parametrize(("first", "then"), [("1h", "15min"), ("15min", "1h"), ("1h", "1D")])
def test_two_intervals_are_refused(first: str, then: str) -> None:
    """Both are named, and where they change; nineteen steps are no second interval."""
    names = {"15min": "15m", "1h": "1h", "1D": "1d"}
    early = days(100, freq=first, tz="UTC")
    for count, is_refused in ((20, True), (19, False)):
        late = pd.date_range(early[-1], periods=count + 1, freq=then)[1:]
        given = frame(early.append(late))
        if is_refused:
            change = early[-1].isoformat().replace("+00:00", "Z")
            words = f"frame 'GOOG': the rows have two intervals, {names[first]} and from {change} on {names[then]}"
            with pytest.raises(DataError, match=words):
                frame_feed({"GOOG": given}, GOOG)
        else:
            assert candles_of(frame_feed({"GOOG": given}, GOOG))[0].interval == names[first]


def test_the_second_interval_may_come_first() -> None:
    """The change is named where the rarer step ends."""
    early = days(30, freq="1h", tz="UTC")
    late = pd.date_range(early[-1], periods=100, freq="15min")[1:]
    with pytest.raises(DataError, match="two intervals, 1h and from 2025-01-07T05:00:00Z on 15m"):
        frame_feed({"GOOG": frame(early.append(late))}, GOOG)


def berlin(until: str) -> pd.DataFrame:
    """Return a rising market in bars of two local hours, whose clock goes forward on 31 March 2024."""
    stamps = pd.date_range("2024-02-01 02:00", until, freq="2h")
    index = stamps.tz_localize("Europe/Berlin", nonexistent="shift_forward", ambiguous=True)
    price = 100 + np.sin(np.arange(len(index)) * 0.7)
    return pd.DataFrame({"open": price, "high": price + 2, "low": price - 2, "close": price + 1, "volume": 1e4}, index)


def test_a_longer_frame_changes_nothing_before_its_odd_row() -> None:
    """One row of an hour in a frame of two-hour bars once made all of them known an hour early."""
    short, whole = (
        candles_of(frame_feed({"GOOG": berlin(until)}, GOOG)) for until in ("2024-03-30 22:00", "2024-04-30")
    )
    assert whole[: len(short)] == short
    assert {bar.interval for bar in whole} == {"2h"}
    assert all(bar.close_ns == after.open_ns for bar, after in pairwise(whole))
    said = frame_feed({"GOOG": berlin("2024-04-30")}, GOOG).assumptions()
    odd = "clocks change; 1 of the bars lasts longer or shorter than 2h, first the one of 2024-03-31T01:00:00Z"
    assert f"GOOG: {odd}" in said


# Holes and sessions -----------------------------------------------------------------------------------------------


class Gaps(qk.Strategy):
    """Counts what `on_gap` is told."""

    def on_start(self) -> None:
        """Take the hours."""
        self.subscribe_candles("GOOG", "1h")
        self.gaps = 0

    def on_candle(self, candle: Candle) -> None:
        """Do nothing."""

    def on_gap(self, gap: Gap) -> None:
        """Count."""
        self.gaps += 1


def test_a_hole_is_told_as_for_the_same_rows_imported(tmp_path: Path) -> None:
    """`on_gap` is called once, and the result warns."""
    index = days(100, freq="1h", tz="UTC").delete(range(40, 60))
    given = frame(index)
    given.to_csv(tmp_path / "goog.csv", index_label="time")
    import_files("candles", [tmp_path / "goog.csv"], to=tmp_path / "data", instrument=GOOG[0])
    for data in ({"GOOG": given}, tmp_path / "data"):
        strategy = Gaps()
        result = qk.backtest(strategy, data=data, instruments=GOOG, cash={"USD": 1000})
        told = [text for text in result.warnings if "gap" in text]
        assert (strategy.gaps, told) == (1, ["GOOG: 1 gap in candle 1h, 20h lost in all"])


def stock_days(start: str = "2024-01-01", end: str = "2024-12-31", tz: str | None = None) -> pd.DatetimeIndex:
    """Return the weekdays of a span."""
    return pd.bdate_range(start, end, tz=tz)


@pytest.mark.parametrize("tz", [None, "America/New_York"])
def test_weekends_are_closed_sessions_and_holidays_gaps(tz: str | None) -> None:
    """Weekends are told once; a Thursday that is missing is a gap of a day."""
    index = stock_days(tz=tz)
    thursday = index[index.get_loc(pd.Timestamp("2024-11-28", tz=tz))]
    feed = frame_feed({"GOOG": frame(index.drop(thursday))}, GOOG)
    (gap,) = gaps_of(feed)
    assert (gap.from_ns, gap.to_ns) == (pd.Timestamp(thursday).value, (thursday + pd.Timedelta("1D")).value)
    assert "GOOG: 52 weekends, in which no bar ever opens, count as closed and not as gaps" in feed.assumptions()


def test_a_holiday_beside_a_weekend_is_the_gap_alone() -> None:
    """A Monday that is missing is a gap from Monday to Tuesday."""
    index = stock_days()
    feed = frame_feed({"GOOG": frame(index.drop(pd.Timestamp("2024-05-27")))}, GOOG)
    (gap,) = gaps_of(feed)
    assert (gap.from_ns, gap.to_ns) == (pd.Timestamp("2024-05-27").value, pd.Timestamp("2024-05-28").value)


@pytest.mark.parametrize("in_utc", [False, True])
def test_nights_are_closed_sessions_on_local_and_on_utc_stamps(in_utc: bool) -> None:
    """Hours from half past nine to half past three of New York's clock, over both changes of it."""
    parts = [pd.date_range(day + pd.Timedelta("9h30min"), periods=7, freq="1h") for day in stock_days()]
    index = pd.DatetimeIndex(np.concatenate(parts)).tz_localize("America/New_York")
    lost = index[(index.date == pd.Timestamp("2024-06-12").date()) & (index.hour == 12)]
    feed = frame_feed({"GOOG": frame((index.tz_convert("UTC") if in_utc else index).drop(lost))}, GOOG)
    (gap,) = gaps_of(feed)
    assert (gap.from_ns, gap.to_ns) == (lost[0].value, lost[0].value + 60 * NS_PER_MIN)
    assert any("261 nights and weekends, in which no bar ever opens, count" in text for text in feed.assumptions())


def test_stretches_of_data_far_apart_make_no_sessions() -> None:
    """Where most times of the week were never seen, a month without rows is a gap."""
    index = days(20, freq="1min", tz="UTC").append(days(20, freq="1min", tz="UTC", start="2025-02-06"))
    (gap,) = gaps_of(frame_feed({"GOOG": frame(index)}, GOOG))
    assert gap.to_ns - gap.from_ns == (31 * 1440 - 20) * NS_PER_MIN


def test_a_short_look_does_not_make_sessions_of_holes() -> None:
    """Two weekends of days prove no rule."""
    feed = frame_feed({"GOOG": frame(stock_days("2024-01-01", "2024-01-17"))}, GOOG)
    assert len(gaps_of(feed)) == 2


# Local days -------------------------------------------------------------------------------------------------------


def hours_of(feed: MemoryFeed) -> list[float]:
    """Return how long each candle lasts."""
    return [(bar.close_ns - bar.open_ns) / (60 * NS_PER_MIN) for bar in candles_of(feed)]


@pytest.mark.parametrize(
    ("start", "count", "lengths"),
    [
        ("2025-03-08", 3, [24, 23, 24]),
        ("2025-11-01", 3, [24, 25, 24]),
        ("2024-11-01", 3, [24, 24, 25]),
        ("2025-03-08", 2, [24, 23]),
    ],
    ids=["spring", "autumn", "the last bar", "the last bar in spring"],
)
def test_local_days_last_as_long_as_they_do(start: str, count: int, lengths: list[int]) -> None:
    """A day closes at the next local midnight, which needs no further row to be known."""
    index = days(count, tz="America/New_York", start=start)
    feed = frame_feed({"GOOG": frame(index)}, GOOG)
    assert hours_of(feed) == lengths
    assert all(bar.close_ns <= after.open_ns for bar, after in pairwise(candles_of(feed)))
    assert any(text.startswith("GOOG: clocks change; 1 of the bars lasts longer or sh") for text in feed.assumptions())


def test_the_last_of_new_yorks_third_of_november_is_known_at_five() -> None:
    """Not at four, when its last hour is still traded."""
    bar = candles_of(frame_feed({"GOOG": frame(days(3, tz="America/New_York", start="2024-11-01"))}, GOOG))[-1]
    assert bar.received_ns == pd.Timestamp("2024-11-04T05:00Z").value


@pytest.mark.parametrize(
    ("start", "lengths"), [("2025-03-08", [24, 23, 24]), ("2025-11-01", [24, 25, 24])], ids=["spring", "autumn"]
)
def test_without_a_zone_the_next_open_tells_how_long_a_day_is(start: str, lengths: list[int]) -> None:
    """The same days as UTC stamps."""
    index = days(tz="America/New_York", start=start).tz_convert("UTC")
    assert hours_of(frame_feed({"GOOG": frame(index)}, GOOG)) == lengths


@pytest.mark.parametrize("start", ["2025-03-08", "2025-11-01"])
@pytest.mark.parametrize("freq", ["4h", "2h", "12h"])
def test_bars_of_utc_hours_shown_on_a_local_clock_stay_as_long(start: str, freq: str) -> None:
    """The rows show which clock they follow."""
    index = days(40, freq=freq, tz="UTC", start=start).tz_convert("America/New_York")
    assert set(hours_of(frame_feed({"GOOG": frame(index)}, GOOG))) == {float(freq[:-1])}


@pytest.mark.parametrize(
    ("start", "odd"), [("2025-03-08 00:00", 3.0), ("2025-11-01 00:00", 5.0)], ids=["spring", "autumn"]
)
@pytest.mark.parametrize("in_utc", [False, True])
def test_local_bars_of_four_hours_are_shorter_or_longer_once(start: str, odd: float, in_utc: bool) -> None:
    """From midnight to four on the night that the clocks change."""
    stamps = pd.date_range(start, periods=18, freq="4h")
    index = stamps.tz_localize("America/New_York", nonexistent="shift_forward", ambiguous=True)
    feed = frame_feed({"GOOG": frame(index.tz_convert("UTC") if in_utc else index)}, GOOG)
    assert sorted(hours_of(feed)) == sorted([4.0] * 17 + [odd])
    assert all(bar.close_ns == after.open_ns for bar, after in pairwise(candles_of(feed)))


@pytest.mark.parametrize("which", [True, False], ids=["the first", "the second"])
def test_a_bar_may_open_at_either_of_two_equal_times(which: bool) -> None:
    """Two-hour bars on the night that two o'clock in Berlin comes twice: no bar closes after the next one opens."""
    stamps = pd.date_range("2024-10-26 00:00", periods=30, freq="2h")
    bars = candles_of(frame_feed({"GOOG": frame(stamps.tz_localize("Europe/Berlin", ambiguous=[which] * 30))}, GOOG))
    lengths = [(bar.close_ns - bar.open_ns) // (60 * NS_PER_MIN) for bar in bars]
    assert (len(bars), lengths.count(3), lengths.count(2)) == (30, 1, 29)
    assert all(bar.close_ns == after.open_ns for bar, after in pairwise(bars))


def test_where_rows_do_not_tell_their_clock_the_later_close_is_taken() -> None:
    """The last bar before a change might end with either clock."""
    for start, last in (("2025-03-29", 4.0), ("2025-10-25", 5.0)):
        index = pd.date_range(start, periods=7, freq="4h", tz="Europe/Berlin")
        assert hours_of(frame_feed({"GOOG": frame(index)}, GOOG))[-1] == last


def test_a_bar_ends_where_the_clock_skips_its_end() -> None:
    """Two-hour bars from half past ten: half past two does not exist on 30 March 2025."""
    stamps = pd.date_range("2025-03-29 00:30", periods=20, freq="2h")
    index = stamps.tz_localize("Europe/Berlin", nonexistent="shift_forward")
    bars = candles_of(frame_feed({"GOOG": frame(index)}, GOOG))
    odd = [bar for bar in bars if bar.close_ns - bar.open_ns != INTERVALS["2h"]]
    assert [pd.Timestamp(bar.close_ns, tz="UTC").strftime("%H:%M") for bar in odd] == ["01:00", "02:30"]


# What is in the columns -------------------------------------------------------------------------------------------


def test_columns_in_any_case_and_without_volume() -> None:
    """What yfinance and others call them; more columns do no harm."""
    given = frame(days()).rename(columns=str.title).drop(columns="Volume").assign(Adj=1.0)
    row = candles_of(frame_feed({"GOOG": given}, GOOG))[0]
    assert (row.open, row.high, row.low, row.close, row.volume) == (10.0, 12.0, 9.0, 11.0, 0.0)


def test_integers_and_nullable_numbers_are_numbers() -> None:
    """Frames from databases have both."""
    given = frame(days()).astype({"open": "int64", "close": "Float64"})
    assert candles_of(frame_feed({"GOOG": given}, GOOG))[0].close == 11.0


def test_float_noise_of_adjusted_prices_is_no_contradiction() -> None:
    """A close a billionth of a billionth above the high; the range is widened to hold it, as for files."""
    noisy = 12.0 * (1 + 1e-12)
    for bar in candles_of(frame_feed({"GOOG": frame(days(), close=[noisy] * 3)}, GOOG)):
        assert bar.high == bar.close == noisy


def test_an_adjusted_close_that_says_the_same_is_no_matter() -> None:
    """Where nothing was adjusted."""
    given = frame(days())
    given["Adj Close"] = given["close"]
    assert len(candles_of(frame_feed({"GOOG": given}, GOOG))) == 3


HOURS = days(freq="1h", tz="UTC")
TWO_LEVELS = frame(days()).rename(columns=str.title)
ONE_TICKER = TWO_LEVELS.set_axis(
    pd.MultiIndex.from_product([TWO_LEVELS.columns, ["GOOG"]], names=["Price", "Ticker"]), axis=1
)
BY_TICKER = pd.concat({"GOOG": TWO_LEVELS, "MSFT": TWO_LEVELS}, axis=1)
REFUSED: list[tuple[Any, type[Exception], str]] = [
    (
        frame([0, 1, 2]),
        ConfigError,
        r"frame 'GOOG': the index is no DatetimeIndex of bar open times; it counts rows; us",
    ),
    (frame(days().astype(str)), ConfigError, r"use frame\.set_index\(pd\.to_datetime\(frame\.index, utc=True\)\)"),
    (
        frame(days()).rename_axis("Date").reset_index(),
        ConfigError,
        r"use frame\.set_index\(pd\.to_datetime\(frame\['Date'\], utc=True\)\)",
    ),
    (
        frame([0, 1, 2]).assign(open_time=[1704067200000, 1704067260000, 1704067320000]),
        ConfigError,
        r"use frame\.set_index\(pd\.to_datetime\(frame\['open_time'\], unit='ms', utc=True\)\)",
    ),
    (
        frame([0, 1, 2]).assign(date=[20240102, 20240103, 20240104]),
        ConfigError,
        r"use frame\.set_index\(pd\.to_datetime\(frame\['date'\]\.astype\(str\), format='%Y%m%d', utc=True\)\)",
    ),
    (
        frame([1704067200, 1704067260, 1704067320]),
        ConfigError,
        r"use frame\.set_index\(pd\.to_datetime\(frame\.index, unit='s', utc=True\)\)",
    ),
    (
        frame([20240102, 20240103, 20240104]),
        ConfigError,
        r"; 20240102 reads as a date, use .*to_datetime\(frame\.index\.astype\(str\), format='%Y%m%d', utc=True\)\)$",
    ),
    (
        frame([20240102.0, 20240103.0, 20240104.0]),
        ConfigError,
        r"to_datetime\(frame\.index\.astype\('int64'\)\.astype\(str\), format='%Y%m%d', utc=True\)\)$",
    ),
    (
        frame([1704067200000, 1704067260000, 1704067320000]),
        ConfigError,
        r"; 1704067200000 reads as 2024-01-01T00:00:00Z, use .*\(frame\.index, unit='ms', utc=True\)\)$",
    ),
    (
        frame([45312, 45313, 45314]),
        ConfigError,
        r"; 45312 would read as 1970-01-01T12:35:12Z, which is not between 1990 and .*; use frame\.set_index\(\.\.\.\)",
    ),
    (frame([float("inf")] * 3), ConfigError, r"open times; use frame\.set_index\(\.\.\.\) with the bars' open times$"),
    (
        frame(["22/05/2024", "23/05/2024", "24/05/2024"]),
        ConfigError,
        r"use frame\.set_index\(pd\.to_datetime\(frame\.index, format='%d/%m/%Y', utc=True\)\)$",
    ),
    (
        frame(["05/22/2024", "05/23/2024", "05/24/2024"]),
        ConfigError,
        r"to_datetime\(frame\.index, format='%m/%d/%Y', utc=True\)\)$",
    ),
    (
        frame(["01/05/2024 10:30", "02/05/2024 10:30", "03/05/2024 10:30"]),
        ConfigError,
        r"format='%d/%m/%Y %H:%M', utc=True\)\), or format='%m/%d/%Y %H:%M' where months come first$",
    ),
    (
        frame(["3 May 2024", "4 May 2024", "6 May 2024"]),
        ConfigError,
        r"format=\.\.\., utc=True\)\), with the format in which times such as '3 May 2024' are written$",
    ),
    (frame(["23/05/2024", "05/24/2024", "2024"]), ConfigError, r"times such as '23/05/2024' are written$"),
    (frame(days().to_period()), ConfigError, r"use frame\.to_timestamp\(\)"),
    (frame(pd.MultiIndex.from_product([["GOOG"], days()])), ConfigError, r"use frame\.xs\(\.\.\., level=0\)"),
    (
        frame(HOURS.tz_localize(None)),
        ConfigError,
        r"frame 'GOOG': the index has no time zone; use frame\.tz_localize\('",
    ),
    (frame(days(1)), DataError, r"frame 'GOOG' has 1 rows; two are needed to tell the interval, or interval='1d'"),
    (frame(days(0)), DataError, r"frame 'GOOG' has 0 rows"),
    (
        frame(HOURS[[1, 0, 2]]),
        DataError,
        r"row 1 \(2025-01-06 00:00:00\+00:00\): the bar opens before .*; use frame\.sort",
    ),
    (frame(HOURS[::-1]), DataError, r"row 1 .*: the bar opens before the one before it; use frame\.sort_index\(\)"),
    (frame(HOURS[[0, 1, 1]]), DataError, r"row 2 .*; use frame\[~frame\.index\.duplicated\(\)\]"),
    (
        frame(pd.DatetimeIndex([HOURS[0], pd.NaT, HOURS[2]])),
        DataError,
        r"frame 'GOOG': row 1 has no time; use frame\[frame\.index\.notna\(\)\]",
    ),
    (
        frame(pd.to_datetime([1704067200, 1704067260, 1704067320]).tz_localize("UTC")),
        DataError,
        r"the index reads as 1970-01-01T00:00:01\.7040672Z; it was made from numbers, use pd\.to_datetime\(\.\.\., uni",
    ),
    (
        frame(pd.to_datetime([20240102, 20240103, 20240104]).tz_localize("UTC")),
        DataError,
        r"the index reads as 1970-01-01T00:00:00\.020240102Z; .*use pd\.to_datetime\(\.\.\., format='%Y%m%d', utc=T",
    ),
    (
        frame(days(freq="7min", tz="UTC")),
        DataError,
        r"frame 'GOOG': the candles' most common step is 420 s, which is no",
    ),
    (frame(HOURS).drop(columns="low"), ConfigError, r"frame 'GOOG' has no column 'low'; it has open, high, close, vol"),
    (
        pd.DataFrame({"price": 1.0, "size": 1.0}, index=HOURS),
        ConfigError,
        r"frame 'GOOG' has no column 'open'; it has price, size; a frame holds candles, other rows are imported",
    ),
    (frame(HOURS).assign(Close=1.0), ConfigError, r"frame 'GOOG' has column 'Close' twice but for case; keep one"),
    (ONE_TICKER, ConfigError, r"frame 'GOOG': its columns have two levels; use frame\.droplevel\(1, axis=1\)"),
    (BY_TICKER, ConfigError, r"use frame\.xs\('GOOG', axis=1, level=0\) for each of GOOG, MSFT"),
    (BY_TICKER.swaplevel(axis=1), ConfigError, r"use frame\.xs\('GOOG', axis=1, level=1\) for each of GOOG, MSFT"),
    (
        BY_TICKER[["GOOG"]].drop(columns=("GOOG", "Low")),
        ConfigError,
        r"give one frame of open, high, low, close for each",
    ),
    (
        TWO_LEVELS.assign(**{"Adj Close": 5.0}),
        ConfigError,
        r"frame 'GOOG' has 'Adj Close' beside 'Close': use frame\.drop\(columns='Adj Close'\) for prices as they",
    ),
    (
        TWO_LEVELS.rename(columns={"Close": "Adj Close"}),
        ConfigError,
        r"has no column 'close'; if all its prices are adjusted, use frame\.rename\(columns=\{'Adj Close': 'Close'\}\)",
    ),
    (frame(HOURS, close=[11.0, np.nan, 11.0]), DataError, r"row 1 .*: close is missing; use frame\.dropna\(\)"),
    (
        frame(HOURS, close=pd.array([11.0, None, 11.0], "Float64")),
        DataError,
        r"row 1 .*: close is missing; use frame\.d",
    ),
    (frame(HOURS, open=[10.0, 10.0, np.inf]), DataError, r"row 2 .*: open is infinite; mend or drop the row"),
    (frame(HOURS, low=[9.0, 0.0, 9.0]), DataError, r"row 1 .*: low is not above zero"),
    (frame(HOURS, low=[-9.0, 9.0, 9.0]), DataError, r"row 0 .*: low is not above zero"),
    (frame(HOURS, volume=[1.0, -1.0, 1.0]), DataError, r"row 1 .*: volume is below zero"),
    (frame(HOURS, volume=[1.0, np.nan, 1.0]), DataError, r"row 1 .*: volume is missing; use frame\.dropna\(\)"),
    (frame(HOURS, high=[12.0, 10.5, 12.0]), DataError, r"row 1 .*: high is not the highest price"),
    (frame(HOURS, low=[9.0, 9.0, 10.5]), DataError, r"row 2 .*: low is not the lowest price"),
    (frame(HOURS, low=[9.0, 13.0, 9.0]), DataError, r"row 1 .*: high is not the highest price"),
    (frame(HOURS, open=["a", "b", "c"]), DataError, r"frame 'GOOG': column 'open' holds no numbers"),
    (frame(HOURS)["close"], ConfigError, r"data of 'GOOG' is a Series; give an OHLCV DataFrame"),
]


@pytest.mark.parametrize(("given", "kind", "message"), REFUSED, ids=[case[2][:48] for case in REFUSED])
def test_frames_that_cannot_be_candles_are_refused(given: Any, kind: type[Exception], message: str) -> None:
    """Each says which frame, which row, and what to do, in one line."""
    with pytest.raises(kind, match=message) as error:
        frame_feed({"GOOG": given}, GOOG)
    assert "\n" not in str(error.value)


def test_a_frame_needs_metadata() -> None:
    """The message is the line to add."""
    with pytest.raises(
        ConfigError, match=r"frame 'GOOG' has no metadata; pass instruments=\[Instrument\('GOOG', quote="
    ):
        frame_feed({"GOOG": frame(days())}, [])


# Frame and file ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_a_frame_and_a_file_of_the_same_rows_give_the_same_candles_and_gaps(seed: int, tmp_path: Path) -> None:
    """Over zones, intervals, holes and stray rows drawn by chance."""
    rng = np.random.default_rng(seed)
    zone = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe")[seed % 4]
    freq, step = (("1h", "7min"), ("4h", "50min"), ("1D", "5h"))[seed % 3]
    index = pd.date_range("2024-09-20", periods=200, freq="1D" if freq == "1D" else freq, tz=zone)
    index = index[rng.random(len(index)) > 0.1]
    index = index.append(index[rng.choice(len(index), 3, replace=False)] + pd.Timedelta(step)).sort_values()
    given = frame(index)
    given["close"] = np.round(9 + 3 * rng.random(len(index)), 2)
    local = given.set_axis(index.strftime("%Y-%m-%d %H:%M:%S%z"), axis=0)
    local.to_csv(tmp_path / "bars.csv", index_label="time")
    import_files("candles", [tmp_path / "bars.csv"], to=tmp_path / "data", instrument=GOOG[0], timezone=zone)
    catalog = Catalog(tmp_path / "data")
    kinds = {kind: [s for s in catalog.coverage() if s.kind == kind] for kind in ("candle", "gap")}
    feed = frame_feed({"GOOG": given}, GOOG)
    assert candles_of(feed) == list(read_events(catalog, kinds["candle"], 0, FAR_NS))
    assert gaps_of(feed) == list(read_events(catalog, kinds["gap"], 0, FAR_NS))
