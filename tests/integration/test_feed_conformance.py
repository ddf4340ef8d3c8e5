"""What every feed keeps, replay or live: the engine cannot tell them apart."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from quantkit.clock import NS_PER_S
from quantkit.errors import FeedError
from quantkit.events import EVENT_TYPES, BookUpdate, Candle
from quantkit.feeds.base import Feed
from quantkit.feeds.live_feed import LiveFeed
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.source import OkxSource
from quantkit.feeds.replay import MemoryFeed, ReplayFeed
from quantkit.instruments import Instrument
from quantkit.rows.batch import Batch, Subscription
from quantkit.rows.columns import Stream
from quantkit.sandbox import faults
from quantkit.sandbox.server import SandboxServer

SWAP = "BTC-USDT-SWAP"
STREAMS = (Stream("book", SWAP), Stream("trade", SWAP), Stream("mark", SWAP), Stream("candle", SWAP, "1s"))
SPAN_NS = 4 * NS_PER_S


class Opened(NamedTuple):
    """A feed that is ready, and the span that it is to deliver."""

    feed: Feed
    start_ns: int
    end_ns: int


@contextmanager
def live(folder: Path | None = None) -> Iterator[Opened]:
    with SandboxServer() as sandbox, LiveFeed(OkxSource(OkxConfig(url=sandbox.url)), folder=folder) as feed:
        start_ns = feed.now_ns()
        yield Opened(feed, start_ns, start_ns + SPAN_NS)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int, int]:
    """Record a few seconds, warm-up included, and return the data folder and the span."""
    folder = tmp_path_factory.mktemp("recorded")
    with live(folder) as opened:
        subscribe(opened)
        opened.feed.warmup(STREAMS[3], 5, opened.start_ns)
        assert sum(map(len, opened.feed.batches())) > 0
    return folder / "data", opened.start_ns, opened.end_ns


@contextmanager
def replayed(recorded: tuple[Path, int, int]) -> Iterator[Opened]:
    yield Opened(ReplayFeed(recorded[0], block_rows=7), recorded[1], recorded[2])


@contextmanager
def remembered(recorded: tuple[Path, int, int]) -> Iterator[Opened]:
    source = ReplayFeed(recorded[0])
    source.subscribe([Subscription(stream, 0, recorded[2]) for stream in STREAMS])
    events = [event for batch in source.batches() for block in batch.blocks for event in block.events()]
    yield Opened(MemoryFeed(events, source.instruments().values()), recorded[1], recorded[2])


@pytest.fixture(params=["live", "replay", "memory"])
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    if request.param == "live":
        with live() as found:
            yield found
    else:
        make: Callable[..., object] = replayed if request.param == "replay" else remembered
        with make(request.getfixturevalue("recorded")) as found:  # type: ignore[attr-defined]
            yield found


def subscribe(opened: Opened) -> None:
    opened.feed.subscribe([Subscription(stream, opened.start_ns, opened.end_ns) for stream in STREAMS])


def test_instruments_and_coverage_say_what_there_is(opened: Opened) -> None:
    instruments = opened.feed.instruments()
    assert isinstance(instruments[SWAP], Instrument)
    assert instruments[SWAP].id == SWAP
    assert opened.feed.instruments(opened.end_ns).keys() == instruments.keys()
    coverage = opened.feed.coverage()
    assert set(STREAMS) <= set(coverage)
    for held in coverage.values():
        assert held.start_ns <= held.end_ns
    assert all(isinstance(said, str) for said in opened.feed.assumptions())
    assert opened.feed.has_hole(STREAMS[0], opened.start_ns, opened.end_ns) is False


def test_a_warm_up_is_closed_candles_oldest_first(opened: Opened) -> None:
    block = opened.feed.warmup(STREAMS[3], 3, opened.start_ns)
    assert block is not None
    assert block.stream == STREAMS[3]
    candles = [event for event in block.events() if isinstance(event, Candle)]
    assert len(candles) == 3
    assert [candle.open_ns for candle in candles] == sorted({candle.open_ns for candle in candles})
    assert all(candle.received_ns <= opened.start_ns for candle in candles)
    assert all(candle.close_ns - candle.open_ns == NS_PER_S for candle in candles)


def test_batches_are_rows_in_the_one_order(opened: Opened) -> None:
    subscribe(opened)
    opened.feed.warmup(STREAMS[3], 3, opened.start_ns)
    before = opened.feed.book_before(STREAMS[0], opened.start_ns)
    last: tuple[int, int, int, str] = (0, 0, 0, "")
    until_ns = 0
    seen: dict[Stream, int] = {}
    has_snapshot = bool(before)
    for batch in opened.feed.batches(lambda: 2**62):
        assert_well_formed(batch)
        for stamp, key, event in in_order(batch):
            place = (stamp, *key)
            assert place >= last
            assert until_ns < stamp <= opened.end_ns
            last = place
            if isinstance(event, BookUpdate):
                assert has_snapshot or event.is_snapshot
                has_snapshot = True
        for block in batch.blocks:
            seen[block.stream] = seen.get(block.stream, 0) + block.size
        if batch.until_ns is not None:
            assert batch.until_ns >= until_ns
            until_ns = batch.until_ns
    assert set(STREAMS) <= set(seen)
    assert all(stream in STREAMS for stream in seen)


def in_order(batch: Batch) -> list[tuple[int, tuple[int, int, str], object]]:
    rows: list[tuple[int, tuple[int, tuple[int, int, str], object]]] = []
    for block, positions in zip(batch.blocks, batch.positions, strict=True):
        stamps = block.column("received_ns").tolist()
        for place, stamp, event in zip(positions.tolist(), stamps, block.events(), strict=True):
            rows.append((place, (stamp, block.stream.sort_key, event)))
    return [row for _, row in sorted(rows, key=lambda entry: entry[0])]


def assert_well_formed(batch: Batch) -> None:
    places = np.concatenate([np.empty(0, np.int64), *batch.positions])
    assert sorted(places.tolist()) == list(range(len(batch)))
    assert (np.diff(batch.received_ns) >= 0).all()
    assert [block.stream.sort_key for block in batch.blocks] == sorted(block.stream.sort_key for block in batch.blocks)
    assert batch.until_ns is not None or len(batch)
    for block, positions in zip(batch.blocks, batch.positions, strict=True):
        assert (batch.received_ns[positions] == block.column("received_ns")).all()
        assert {type(event) for event in block.events()} == {EVENT_TYPES[block.stream.kind]}
        assert all(event.instrument == block.stream.instrument for event in block.events())


def test_a_live_feed_lets_time_pass_by_the_moment_it_is_asked_for() -> None:
    """A timer between two rows is not kept waiting for the next row."""
    with SandboxServer() as sandbox, LiveFeed(OkxSource(OkxConfig(url=sandbox.url))) as feed:
        start_ns = feed.now_ns()
        feed.subscribe([Subscription(Stream("funding", SWAP), start_ns, start_ns + 2 * NS_PER_S)])
        wakes = list(range(start_ns, start_ns + 2 * NS_PER_S, NS_PER_S // 10))
        late: list[int] = []
        for batch in feed.batches(lambda: wakes[0] if wakes else 2**62):
            assert batch.until_ns is not None
            while wakes and wakes[0] <= batch.until_ns:
                late.append(batch.until_ns - wakes.pop(0))
    assert len(late) >= 19
    # A shared machine may hold a thread up; most wake-ups come well before the feed would move by itself.
    assert sorted(late)[len(late) // 2] < NS_PER_S // 10


def test_a_feed_that_is_lost_ends_like_one_that_is_stopped_and_says_why() -> None:
    """What was taken until then is not lost with it."""
    with SandboxServer() as sandbox, LiveFeed(OkxSource(OkxConfig(url=sandbox.url))) as feed:
        start_ns = feed.now_ns()
        feed.subscribe([Subscription(Stream("ticker", SWAP), start_ns, 2**62)])
        rows = 0
        for batch in feed.batches():
            rows += len(batch)
            if rows and feed.failure is None:
                sandbox.inject(faults.Close(code=4008, reason="too many channels", path="public"))
                rows = -(2**62)  # once
        assert feed.failure is not None
        assert "4008" in str(feed.failure)
        assert any("the feed was lost" in note for note in feed.notes)
        with pytest.raises(FeedError, match="4008"):
            next(feed.batches())
