"""Bars that follow a place's clock close when that clock says so, and none before the last hour of it has passed."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.clock import INTERVALS, NS_PER_DAY, NS_PER_MIN
from quantkit.importers.frames import frame_feed
from quantkit.instruments import Instrument
from quantkit.rows.batch import Subscription

#: Clocks that change at two o'clock, at midnight, by half an hour, for Ramadan, and not at all.
ZONES = (
    "America/New_York",
    "Europe/Berlin",
    "Australia/Lord_Howe",
    "America/Santiago",
    "America/Havana",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Asia/Tokyo",
)
LENGTHS = ("2h", "4h", "6h", "12h", "1d")
STEP_NS = 15 * NS_PER_MIN
YEAR_NS = 365 * NS_PER_DAY
START_NS = 1_704_067_200 * 10**9  # 2024-01-01


def opens_of(zone: str, length: str, start_ns: int, days: int) -> list[int]:
    """Return every moment at which a place's clock enters another bar, found by looking every quarter of an hour."""
    place = ZoneInfo(zone)
    opens, newest = [], -1
    for moment_ns in range(start_ns, start_ns + days * NS_PER_DAY, STEP_NS):
        local = datetime.fromtimestamp(moment_ns // 10**9, UTC).astimezone(place).replace(tzinfo=UTC)
        label = int(local.timestamp()) * 10**9 // INTERVALS[length]
        if label > newest:
            opens.append(moment_ns)
            newest = label
    return opens[1:]  # the first bar began before the first look


def spans_of(index: pd.DatetimeIndex) -> list[tuple[int, int]]:
    """Return opens and closes of a frame's candles."""
    columns = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 1.0}
    feed = frame_feed(
        {"X": pd.DataFrame(columns, index=index)}, [Instrument("X", quote="USD", price_step=1, qty_step=1)]
    )
    (stream,) = (stream for stream in feed.coverage() if stream.kind == "candle")
    feed.subscribe([Subscription(stream, 0, 2**62)])
    blocks = [block for batch in feed.batches() for block in batch.blocks]
    return [(bar.open_ns, bar.close_ns) for block in blocks for bar in block.events()]  # type: ignore[union-attr]


@settings(max_examples=60, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    length=st.sampled_from(LENGTHS),
    first_day=st.integers(0, 700),
    count=st.integers(20, 60),
    seed=st.integers(0, 2**32),
)
def test_bars_of_a_places_clock_close_with_it(zone: str, length: str, first_day: int, count: int, seed: int) -> None:
    """Whatever rows are missing: the zone tells the close, not the next row."""
    opens = opens_of(zone, length, START_NS + first_day * NS_PER_DAY, count * INTERVALS[length] // NS_PER_DAY + 3)
    kept = np.flatnonzero(np.random.default_rng(seed).random(len(opens) - 1) > 0.1)
    index = pd.DatetimeIndex([opens[place] for place in kept], tz="UTC").tz_convert(zone)
    for place, (open_ns, close_ns) in zip(kept.tolist(), spans_of(index), strict=True):
        assert open_ns == opens[place]
        # Where no row shows which clock bars within the day follow, the later close is never too early.
        is_odd = length != "1d" and opens[place + 1] - open_ns != INTERVALS[length]
        assert close_ns == opens[place + 1] or (is_odd and close_ns >= opens[place + 1])


@settings(max_examples=40, deadline=None)
@given(zone=st.sampled_from(ZONES), first_day=st.integers(0, 700), seed=st.integers(0, 2**32))
def test_days_as_utc_stamps_close_at_the_next_open(zone: str, first_day: int, seed: int) -> None:
    """And after 24 hours where that is missing."""
    opens = opens_of(zone, "1d", START_NS + first_day * NS_PER_DAY, 40)
    kept = np.flatnonzero(np.random.default_rng(seed).random(len(opens) - 1) > 0.1)
    found = spans_of(pd.DatetimeIndex([opens[place] for place in kept], tz="UTC"))
    follows = np.append(np.diff(kept) == 1, False).tolist()
    for place, is_next, (open_ns, close_ns) in zip(kept.tolist(), follows, found, strict=True):
        assert open_ns == opens[place]
        assert close_ns == (opens[place + 1] if is_next else open_ns + NS_PER_DAY)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("length", LENGTHS)
def test_bars_of_utc_keep_their_length_whatever_clock_shows_them(zone: str, length: str) -> None:
    """Over two years with every change of clocks."""
    count = 2 * YEAR_NS // INTERVALS[length]
    index = pd.DatetimeIndex(START_NS + np.arange(min(count, 2400)) * INTERVALS[length], tz="UTC").tz_convert(zone)
    assert {close_ns - open_ns for open_ns, close_ns in spans_of(index)} == {INTERVALS[length]}
