"""Longer candles against a bar by bar building after ENGINE 9.9, for late receipts, odd grids and any span."""

import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators

from quantkit.clock import INTERVALS, NS_PER_MIN, NS_PER_S, bar_open_ns, time_ns_of
from quantkit.errors import DataError
from quantkit.events import Candle
from quantkit.feeds.replay import MemoryFeed, ReplayFeed
from quantkit.instruments import Instrument
from quantkit.rows.batch import Subscription
from quantkit.rows.columns import Block, Stream
from quantkit.storage.writer import Writer

NAME = "AAA-USDT"
MONDAY_NS = time_ns_of("2025-05-05")
SPOT = Instrument(NAME, price_step="1", qty_step="1")


class Wish(NamedTuple):
    """Bars, and the longer candles asked of them."""

    bars: list[Candle]
    interval: str
    start_ns: int
    end_ns: int


@generators.composite
def wishes(draw: generators.DrawFn) -> Wish:
    """Draw minutes with holes, on the grid, off it for all or for some, that come in time, late or very late."""
    interval = draw(generators.sampled_from(["3m", "5m", "15m"]))
    shift_ns = draw(generators.sampled_from([0, 0, 0, 14 * NS_PER_S])) * draw(generators.sampled_from([0, 1]))
    places = draw(generators.lists(generators.integers(0, 60), min_size=1, max_size=40, unique=True))
    shifted_from = draw(generators.integers(0, 60))
    late_s = draw(generators.lists(generators.sampled_from([0, 0, 0, 7, 90, 1_000]), min_size=40, max_size=40))
    bars: list[Candle] = []
    received_ns = 0
    for number, (place, late) in enumerate(zip(sorted(places), late_s, strict=False)):
        open_ns = MONDAY_NS + place * NS_PER_MIN + (shift_ns if place >= shifted_from else 0)
        close_ns = open_ns + NS_PER_MIN
        received_ns = max(received_ns, close_ns + late * NS_PER_S)
        price = float(number + 10)
        bars.append(
            Candle(NAME, close_ns, received_ns, open_ns, close_ns, price, price + 2, price - 1, price, 1.0, "1m")
        )
    first, last = sorted(draw(generators.tuples(generators.integers(0, 80), generators.integers(0, 80))))
    return Wish(bars, interval, MONDAY_NS + first * NS_PER_MIN, MONDAY_NS + last * NS_PER_MIN)


def built_slowly(wish: Wish) -> list[Candle]:
    """Return the candles that are received in the span, of bars that are within one each."""
    length = INTERVALS[wish.interval]
    known = [bar for bar in wish.bars if bar.received_ns <= wish.end_ns]
    inside: dict[int, list[Candle]] = {}
    for bar in known:
        inside.setdefault(bar_open_ns(bar.open_ns, wish.interval), []).append(bar)
    found = []
    for open_ns, bars in inside.items():
        close_ns = open_ns + length
        is_over = bars[-1].close_ns == close_ns or known[-1].open_ns >= close_ns
        if not is_over or open_ns < wish.bars[0].open_ns:
            continue
        received_ns = max(close_ns, *(bar.received_ns for bar in bars))
        if not wish.start_ns <= received_ns <= wish.end_ns:
            continue
        high, low = max(bar.high for bar in bars), min(bar.low for bar in bars)
        volume = sum(bar.volume for bar in bars)
        ends = (bars[0].open, high, low, bars[-1].close)
        found.append(Candle(NAME, close_ns, received_ns, open_ns, close_ns, *ends, volume, wish.interval))
    return found


def astride(bar: Candle, interval: str) -> bool:
    """Whether a bar opens in one longer candle and closes in another."""
    return bar.close_ns > bar_open_ns(bar.open_ns, interval) + INTERVALS[interval]


def delivered(feed: ReplayFeed, wish: Wish) -> list[Candle]:
    """Return the longer candles as the feed hands them over."""
    stream = Stream("candle", NAME, wish.interval)
    feed.subscribe([Subscription(stream, wish.start_ns, wish.end_ns)])
    return [event for batch in feed.batches() for block in batch.blocks for event in block.events()]  # type: ignore[misc]


@given(wish=wishes(), block_rows=generators.sampled_from([1, 3, 1_000]))
@settings(max_examples=300, deadline=None)
def test_longer_candles_are_what_their_bars_make(wish: Wish, block_rows: int) -> None:
    """And are known when the last of their bars is; or the pair is refused before the first row."""
    feed = MemoryFeed(wish.bars, [SPOT], block_rows=block_rows)
    known = [bar for bar in wish.bars if bar.received_ns <= wish.end_ns and astride(bar, wish.interval)]
    refusal = f"{wish.interval} of {NAME} cannot be built from 1m that open 14s past a multiple of 1m"
    if any(bar.received_ns > wish.start_ns - INTERVALS[wish.interval] for bar in known):
        with pytest.raises(DataError, match=refusal):
            feed.subscribe([Subscription(Stream("candle", NAME, wish.interval), wish.start_ns, wish.end_ns)])
    elif known:
        # Bars of a candle that is received in the span may lie long before it; then it is their reading that refuses.
        with suppress(DataError):
            assert delivered(feed, wish) == built_slowly(wish)
    else:
        assert delivered(feed, wish) == built_slowly(wish)


@given(wish=wishes(), count=generators.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_a_warm_up_is_the_end_of_what_came_before(wish: Wish, count: int) -> None:
    """From a folder: the last candles received by the moment asked for, none that came later."""
    with tempfile.TemporaryDirectory() as folder:
        feed = folder_of(Path(folder) / "data", wish.bars)
        stream = Stream("candle", NAME, wish.interval)
        if any(astride(bar, wish.interval) for bar in wish.bars):
            with pytest.raises(DataError, match="cannot be built"):
                feed.source(stream)
            return
        block = feed.warmup(stream, count, wish.end_ns)
        assert (list(block.events()) if block is not None else []) == built_slowly(wish._replace(start_ns=0))[-count:]


def folder_of(path: Path, bars: Sequence[Candle]) -> ReplayFeed:
    """Write bars in small row groups."""
    with Writer(path, row_group_rows=4) as writer:
        writer.write(Block.from_events(bars))
    return ReplayFeed(path, instruments=[SPOT])
