"""What every feed keeps, replay or live: the engine cannot tell them apart."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pytest
from integration.stub_exchange.stub_server import NAME, StubServer
from integration.stub_exchange.stub_source import StubSource

from quantkit.clock import NS_PER_S, wall_ns
from quantkit.errors import FeedError
from quantkit.events import EVENT_TYPES, BookUpdate, Candle
from quantkit.feeds.base import Feed
from quantkit.feeds.live_feed import LiveFeed
from quantkit.feeds.live_source import LiveSource
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.source import OkxSource
from quantkit.feeds.recorded import RecordedFeed
from quantkit.feeds.replay import MemoryFeed, ReplayFeed
from quantkit.instruments import Instrument
from quantkit.live.journal import InputBatch
from quantkit.rows.batch import Batch, Subscription
from quantkit.rows.columns import Stream
from quantkit.sandbox import faults
from quantkit.sandbox.server import SandboxServer

SWAP = "BTC-USDT-SWAP"
STREAMS = (Stream("book", SWAP), Stream("trade", SWAP), Stream("mark", SWAP), Stream("candle", SWAP, "1s"))
STUB_STREAMS = (Stream("ticker", NAME), Stream("trade", NAME), Stream("candle", NAME, "1s"))


class Opened(NamedTuple):
    """A feed that is ready, and the streams and the span that it is to deliver; the last stream is one of candles."""

    feed: Feed
    streams: tuple[Stream, ...]
    start_ns: int
    end_ns: int


class Inputs:
    """Keeps the inputs of a run in memory, and gives them again."""

    def __init__(self) -> None:
        self.taken: list[InputBatch] = []
        self.candles: list[Candle] = []

    def input_batch(self, deliveries: int, last_ns: int, until_ns: int) -> None:
        self.taken.append(InputBatch(deliveries, last_ns, until_ns))

    def warmup_loaded(self, stream: Stream, count: int, candles: Sequence[Candle]) -> None:
        self.candles = list(candles)

    def feed_ended(self) -> None:
        pass

    def sent(self, instrument: str, number: int, at_ns: int, sent_ns: int) -> None:
        pass

    def stepped(self, from_ns: int, offset_ns: int) -> None:
        pass

    def warmup(self, stream: Stream, count: int) -> list[Candle]:
        return self.candles[-count:]

    def batches(self) -> Iterator[InputBatch]:
        return iter(self.taken)


class Live(Protocol):
    """Opens a live feed."""

    def __call__(self, folder: Path | None = None, inputs: Inputs | None = None) -> AbstractContextManager[Opened]: ...


class Recording(NamedTuple):
    """A live feed's recording of a few seconds, warm-up included, and how it was opened."""

    folder: Path
    source: type[LiveSource]
    opened: Opened
    inputs: Inputs


@contextmanager
def okx(folder: Path | None = None, inputs: Inputs | None = None) -> Iterator[Opened]:
    with SandboxServer() as sandbox:
        source = OkxSource(OkxConfig(url=sandbox.url))
        with LiveFeed(source, folder=folder, input_log=inputs) as feed:
            start_ns = feed.now_ns()
            yield Opened(feed, STREAMS, start_ns, start_ns + 4 * NS_PER_S)


@contextmanager
def stub(folder: Path | None = None, inputs: Inputs | None = None) -> Iterator[Opened]:
    with StubServer() as server, LiveFeed(StubSource(server.port), folder=folder, input_log=inputs) as feed:
        start_ns = feed.now_ns()
        yield Opened(feed, STUB_STREAMS, start_ns, start_ns + 5 * NS_PER_S // 2)


def record(live: Live, source: type[LiveSource], folder: Path) -> Recording:
    inputs = Inputs()
    with live(folder, inputs) as opened:
        subscribe(opened)
        opened.feed.warmup(opened.streams[-1], 5, opened.start_ns)
        assert sum(map(len, opened.feed.batches())) > 0
    return Recording(folder, source, opened, inputs)


@pytest.fixture(scope="module")
def okx_recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(okx, OkxSource, tmp_path_factory.mktemp("okx"))


@pytest.fixture(scope="module")
def stub_recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return record(stub, StubSource, tmp_path_factory.mktemp("stub"))


def replayed(made: Recording) -> Opened:
    return made.opened._replace(feed=ReplayFeed(made.folder / "data", block_rows=7))


def remembered(made: Recording) -> Opened:
    source = ReplayFeed(made.folder / "data")
    source.subscribe([Subscription(stream, 0, made.opened.end_ns) for stream in made.opened.streams])
    events = [event for batch in source.batches() for block in batch.blocks for event in block.events()]
    return made.opened._replace(feed=MemoryFeed(events, source.instruments().values()))


def recorded(made: Recording) -> Opened:
    """Return the tape once more as the live feed that it was."""
    instruments = made.opened.feed.instruments()
    frames = made.folder / "frames"
    return made.opened._replace(feed=RecordedFeed(frames, made.source, instruments, made.opened.start_ns, made.inputs))


LIVE: dict[str, Live] = {"okx": okx, "stub": stub}
AGAIN: dict[str, Callable[[Recording], Opened]] = {"replay": replayed, "memory": remembered, "recorded": recorded}


@pytest.fixture(params=[f"{way} {name}" for name in LIVE for way in ("live", *AGAIN)])
def opened(request: pytest.FixtureRequest) -> Iterator[Opened]:
    way, name = request.param.split()
    if way == "live":
        with LIVE[name]() as found:
            yield found
    else:
        yield AGAIN[way](request.getfixturevalue(f"{name}_recording"))


def subscribe(opened: Opened) -> None:
    opened.feed.subscribe([Subscription(stream, opened.start_ns, opened.end_ns) for stream in opened.streams])


def test_instruments_and_coverage_say_what_there_is(opened: Opened) -> None:
    instruments = opened.feed.instruments()
    name = opened.streams[0].instrument
    assert isinstance(instruments[name], Instrument)
    assert instruments[name].id == name
    assert opened.feed.instruments(opened.end_ns).keys() == instruments.keys()
    coverage = opened.feed.coverage()
    assert set(opened.streams) <= set(coverage)
    for held in coverage.values():
        assert held.start_ns <= held.end_ns
    assert all(isinstance(said, str) for said in opened.feed.assumptions())
    assert opened.feed.has_hole(opened.streams[0], opened.start_ns, opened.end_ns) is False


def test_a_warm_up_is_closed_candles_oldest_first(opened: Opened) -> None:
    block = opened.feed.warmup(opened.streams[-1], 3, opened.start_ns)
    assert block is not None
    assert block.stream == opened.streams[-1]
    candles = [event for event in block.events() if isinstance(event, Candle)]
    assert len(candles) == 3
    assert [candle.open_ns for candle in candles] == sorted({candle.open_ns for candle in candles})
    assert all(candle.received_ns <= opened.start_ns for candle in candles)
    assert all(candle.close_ns - candle.open_ns == NS_PER_S for candle in candles)


def test_batches_are_rows_in_the_one_order(opened: Opened) -> None:
    subscribe(opened)
    opened.feed.warmup(opened.streams[-1], 3, opened.start_ns)
    before = opened.feed.book_before(Stream("book", opened.streams[0].instrument), opened.start_ns)
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
    assert set(opened.streams) <= set(seen)
    assert all(stream in opened.streams for stream in seen)


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


def test_a_live_feed_that_is_behind_lets_no_two_moments_pass_at_once_though_rows_come_after_them() -> None:
    """Ten of them lie between two bars; with the first of those bars they would take the run far beyond its end."""
    with StubServer() as server, LiveFeed(StubSource(server.port)) as feed:
        start_ns = feed.now_ns()
        end_ns = start_ns + 9 * NS_PER_S // 4
        feed.subscribe([Subscription(Stream("candle", NAME, "1s"), start_ns, end_ns)])
        wakes = list(range(start_ns + NS_PER_S // 10, end_ns, NS_PER_S // 10))
        passed: list[int] = []
        for batch in feed.batches(lambda: wakes[0] if wakes else 2**62):
            assert batch.until_ns is not None
            count = sum(wake <= batch.until_ns for wake in wakes)
            del wakes[:count]
            passed.append(count)
            # All but behind its end from the first batch on.
            time.sleep(max(0, end_ns - NS_PER_S // 10 - wall_ns()) / NS_PER_S)
    # A batch may reach from one moment over rows to the next.
    assert max(passed) <= 2


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
