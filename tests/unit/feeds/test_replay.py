"""Every kind of replay feed gives the same rows in the same order."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from quantkit.clock import INTERVALS, NS_PER_DAY, NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.errors import ConfigError, DataError
from quantkit.events import KINDS, BookUpdate, Candle, Funding, Gap, Mark, MarketEvent, Ticker, Trade
from quantkit.feeds.base import Feed
from quantkit.feeds.replay import MemoryFeed, ReplayFeed, StoredRows, merge_blocks
from quantkit.importers.frames import frame_feed
from quantkit.instruments import Instrument, Side
from quantkit.rows.batch import Batch, Subscription
from quantkit.rows.columns import Block, Stream
from quantkit.storage.writer import Writer

A, B = "BTC-USDT", "ETH-USDT"
START_NS = time_ns_of("2025-05-05")
END_NS = START_NS + 10 * NS_PER_DAY
INSTRUMENTS = [Instrument(name, price_step="0.1", qty_step="0.001") for name in (A, B)]
Make = Callable[..., StoredRows]


def candle(open_ns: int, *, close: float = 100.0, interval: str = "1m", instrument: str = A) -> Candle:
    """Return a candle delivered at its close."""
    close_ns = open_ns + INTERVALS[interval]
    return Candle(
        instrument, close_ns, close_ns, open_ns, close_ns, close - 1, close + 1, close - 2, close, 5.0, interval
    )


def minutes(count: int, *, start_ns: int = START_NS, instrument: str = A) -> list[Candle]:
    """Return candles of one minute, one after the other."""
    return [candle(start_ns + n * NS_PER_MIN, close=100.0 + n, instrument=instrument) for n in range(count)]


def trade(received_ns: int, price: float, *, instrument: str = A) -> Trade:
    """Return a trade."""
    return Trade(instrument, received_ns, received_ns, price, 1.0, Side.BUY, int(price))


def rows_of(batches: Iterable[Batch]) -> list[tuple[int, Stream, Any]]:
    """Return (stamp, stream, event or open price) in the order in which a batch lines them up."""
    found: list[tuple[int, Stream, Any]] = []
    for batch in batches:
        assert batch.received_ns.tolist() == sorted(batch.received_ns.tolist())
        lined_up: list[Any] = [None] * len(batch)
        assert len({block.stream for block in batch.blocks}) == len(batch.blocks)
        for block, positions in zip(batch.blocks, batch.positions, strict=True):
            values = block.column("open").tolist() if block.stream.kind == "candle_open" else block.events()
            stamps = block.column("received_ns").tolist()
            for place, stamp, value in zip(positions.tolist(), stamps, values, strict=True):
                lined_up[place] = (stamp, block.stream, value)
        assert batch.received_ns.tolist() == [row[0] for row in lined_up]
        found += lined_up
    return found


def read(feed: Feed, *streams: Stream, start_ns: int = START_NS, end_ns: int = END_NS) -> list[tuple[int, Stream, Any]]:
    """Subscribe and read everything."""
    feed.subscribe([Subscription(stream, start_ns, end_ns) for stream in streams])
    return rows_of(feed.batches())


def streams_of(events: Sequence[MarketEvent]) -> dict[Stream, list[MarketEvent]]:
    """Sort events into their streams."""
    found: dict[Stream, list[MarketEvent]] = {}
    for event in events:
        stream = Stream(KINDS[type(event)], event.instrument, getattr(event, "interval", ""))
        found.setdefault(stream, []).append(event)
    return found


def in_memory(tmp_path: Path, events: Sequence[MarketEvent], **options: Any) -> StoredRows:
    """Give events as they are."""
    return MemoryFeed(events, INSTRUMENTS, **options)


def in_blocks(tmp_path: Path, events: Sequence[MarketEvent], **options: Any) -> StoredRows:
    """Give events as blocks of columns."""
    blocks = [Block.from_events(rows) for rows in streams_of(events).values()]
    return MemoryFeed(instruments=INSTRUMENTS, blocks=blocks, **options)


def in_folder(tmp_path: Path, events: Sequence[MarketEvent], **options: Any) -> StoredRows:
    """Write events to a data folder of small row groups and read them from there."""
    with Writer(tmp_path / "data", row_group_rows=3) as writer:
        for instrument in INSTRUMENTS:
            writer.write_instrument(instrument)
        for rows in streams_of(events).values():
            writer.write(Block.from_events(rows))
    return ReplayFeed(tmp_path / "data", **options)


def in_frames(tmp_path: Path, events: Sequence[MarketEvent], **options: Any) -> StoredRows:
    """Turn candles into frames, which is all that a frame can hold."""
    frames = {}
    for stream, rows in streams_of(events).items():
        assert stream.kind == "candle"
        fields = {name: [getattr(row, name) for row in rows] for name in ("open", "high", "low", "close", "volume")}
        index = pd.DatetimeIndex([row.open_ns for row in rows], tz="UTC")  # type: ignore[attr-defined]
        frames[stream.instrument] = pd.DataFrame(fields, index=index)
    return frame_feed(frames, INSTRUMENTS, **options)


ANY = [in_memory, in_blocks, in_folder]
EVERY = [*ANY, in_frames]
MIXED: list[MarketEvent] = [
    *minutes(3),
    *minutes(3, instrument=B),
    candle(START_NS, interval="3m"),
    trade(START_NS + NS_PER_MIN, 1.0),
    trade(START_NS + NS_PER_MIN, 2.0),
    trade(START_NS + NS_PER_MIN, 3.0, instrument=B),
    trade(START_NS + 3 * NS_PER_MIN, 4.0),
    Ticker(A, START_NS, START_NS + NS_PER_MIN, 1.0, 1.0, 2.0, 1.0),
    BookUpdate(A, START_NS, START_NS + NS_PER_MIN, (1.0,), (1.0,), (2.0,), (1.0,), True),
    BookUpdate(A, START_NS, START_NS + 3 * NS_PER_MIN, (1.0,), (2.0,), (), (), False),
    Mark(A, START_NS, START_NS + NS_PER_MIN, 5.0),
    Funding(A, START_NS, START_NS + NS_PER_MIN, 0.1, START_NS, True),
    Gap(A, START_NS, START_NS + NS_PER_MIN, "book", 1, 2, "sequence"),
]


# The conformance every feed kind keeps ----------------------------------------------------------------------------


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("block_rows", [1, 2, 1000])
def test_candles_come_at_their_close_and_opens_after_them(make: Make, tmp_path: Path, block_rows: int) -> None:
    """At one instant: the candles that close, of every instrument, then the opens of those that begin."""
    events = minutes(4) + minutes(4, instrument=B)
    feed = make(tmp_path, events, block_rows=block_rows)
    streams = [Stream(kind, name, "1m") for kind in ("candle", "candle_open") for name in (A, B)]
    got = [(stamp, stream.kind, stream.instrument) for stamp, stream, _ in read(feed, *streams)]
    expected = []
    for minute in range(5):
        stamp = START_NS + minute * NS_PER_MIN
        expected += [(stamp, "candle", name) for name in (A, B) if minute > 0]
        expected += [(stamp, "candle_open", name) for name in (A, B) if minute < 4]
    assert got == expected


@pytest.mark.parametrize("make", EVERY)
def test_a_candle_open_carries_the_candles_own_open(make: Make, tmp_path: Path) -> None:
    """Stamped when it was first known."""
    feed = make(tmp_path, minutes(3))
    rows = read(feed, Stream("candle_open", A, "1m"))
    assert [(stamp, price) for stamp, _, price in rows] == [
        (START_NS, 99.0),
        (START_NS + NS_PER_MIN, 100.0),
        (START_NS + 2 * NS_PER_MIN, 101.0),
    ]


@pytest.mark.parametrize("make", EVERY)
def test_spans_include_both_ends(make: Make, tmp_path: Path) -> None:
    """Of candles by their close, of opens by their open."""
    feed = make(tmp_path, minutes(6))
    span = {"start_ns": START_NS + 2 * NS_PER_MIN, "end_ns": START_NS + 4 * NS_PER_MIN}
    closes = [row.close for _, _, row in read(feed, Stream("candle", A, "1m"), **span)]
    assert closes == [101.0, 102.0, 103.0]
    opens = [stamp for stamp, _, _ in read(feed, Stream("candle_open", A, "1m"), **span)]
    assert opens == [START_NS + n * NS_PER_MIN for n in (2, 3, 4)]
    later = {"start_ns": START_NS + NS_PER_MIN + 1, "end_ns": START_NS + 2 * NS_PER_MIN - 1}
    assert read(feed, Stream("candle", A, "1m"), **later) == []


@pytest.mark.parametrize("make", EVERY)
@pytest.mark.parametrize("block_rows", [1, 2, 1000])
def test_coarser_candles_are_built_from_finer_ones(make: Make, tmp_path: Path, block_rows: int) -> None:
    """What is not stored is made, and delivered at its own close."""
    feed = make(tmp_path, minutes(13), block_rows=block_rows)
    rows = read(feed, Stream("candle", A, "5m"))
    assert [(stamp, row.open_ns, row.open, row.high, row.low, row.close, row.volume) for stamp, _, row in rows] == [
        (START_NS + 5 * NS_PER_MIN, START_NS, 99.0, 105.0, 98.0, 104.0, 25.0),
        (START_NS + 10 * NS_PER_MIN, START_NS + 5 * NS_PER_MIN, 104.0, 110.0, 103.0, 109.0, 25.0),
    ]
    assert all(row.interval == "5m" for _, _, row in rows)


@pytest.mark.parametrize("make", EVERY)
def test_warm_up_gives_the_last_candles_closed_by_then(make: Make, tmp_path: Path) -> None:
    """Exactly as many as asked for, the one that closes at that very moment included."""
    feed = make(tmp_path, minutes(30), block_rows=4)
    block = feed.warmup(Stream("candle", A, "1m"), 3, START_NS + 10 * NS_PER_MIN)
    assert block is not None
    assert block.column("close_ns").tolist() == [START_NS + n * NS_PER_MIN for n in (8, 9, 10)]
    coarse = feed.warmup(Stream("candle", A, "5m"), 2, START_NS + 19 * NS_PER_MIN)
    assert coarse is not None
    assert coarse.column("close_ns").tolist() == [START_NS + n * NS_PER_MIN for n in (10, 15)]


@pytest.mark.parametrize("make", EVERY)
def test_warm_up_with_little_or_no_history(make: Make, tmp_path: Path) -> None:
    """What there is, and None when there is nothing."""
    feed = make(tmp_path, minutes(10))
    block = feed.warmup(Stream("candle", A, "1m"), 50, START_NS + 4 * NS_PER_MIN)
    assert block is not None
    assert block.size == 4
    assert feed.warmup(Stream("candle", A, "1m"), 5, START_NS) is None
    assert feed.warmup(Stream("candle", A, "1h"), 5, START_NS + 10 * NS_PER_MIN) is None


@pytest.mark.parametrize("make", EVERY)
def test_warm_up_looks_back_across_gaps(make: Make, tmp_path: Path) -> None:
    """A market that was closed for days still gives as many candles as asked for."""
    events = minutes(20) + minutes(2, start_ns=START_NS + 5 * NS_PER_DAY)
    feed = make(tmp_path, events)
    block = feed.warmup(Stream("candle", A, "1m"), 6, START_NS + 5 * NS_PER_DAY + 2 * NS_PER_MIN)
    assert block is not None
    assert block.column("close").tolist() == [116.0, 117.0, 118.0, 119.0, 100.0, 101.0]


@pytest.mark.parametrize("make", EVERY)
def test_what_is_missing_is_told_with_what_there_is(make: Make, tmp_path: Path) -> None:
    """Another kind, a shorter interval, another instrument."""
    feed = make(tmp_path, minutes(3))
    cases = [
        (Stream("trade", A), f"no data: {A} trade is not there; of {A} there is candle 1m"),
        (Stream("candle", A, "1s"), f"no data: {A} candle 1s is not there; of {A} there is candle 1m"),
        (Stream("candle_open", A, "5m"), f"no data: {A} candle_open 5m is not there; of {A} there is candle 1m"),
        (Stream("trade", B), f"no data: {B} is not there; there is {A}"),
    ]
    for stream, message in cases:
        with pytest.raises(DataError) as caught:
            feed.subscribe([Subscription(stream, START_NS, END_NS)])
        assert str(caught.value) == message
        if stream.kind == "candle":
            with pytest.raises(DataError, match="no data"):
                feed.warmup(stream, 1, END_NS)
    with pytest.raises(ConfigError, match="interval '7m' is not known"):
        feed.subscribe([Subscription(Stream("candle", A, "7m"), START_NS, END_NS)])


@pytest.mark.parametrize("make", EVERY)
def test_coverage_and_instruments(make: Make, tmp_path: Path) -> None:
    """Candles are covered from their first open to their last close."""
    feed = make(tmp_path, minutes(3))
    held = feed.coverage()[Stream("candle", A, "1m")]
    assert (held.start_ns, held.end_ns, held.rows) == (START_NS, START_NS + 3 * NS_PER_MIN, 3)
    assert feed.instruments()[A] == INSTRUMENTS[0]
    assert not feed.has_hole(Stream("candle", A, "1m"), START_NS, END_NS)
    said = ["BTC-USDT: candles of 1m, the most common step of the rows"] if make is in_frames else []
    assert list(feed.assumptions()) == said


@pytest.mark.parametrize("make", EVERY)
def test_a_feed_can_be_read_again(make: Make, tmp_path: Path) -> None:
    """The second reading gives what the first gave."""
    feed = make(tmp_path, minutes(5))
    assert read(feed, Stream("candle", A, "1m")) == read(feed, Stream("candle", A, "1m")) != []


@pytest.mark.parametrize("make", EVERY)
def test_blocks_hold_at_least_one_row(make: Make, tmp_path: Path) -> None:
    """Zero would never get anywhere."""
    with pytest.raises(ConfigError, match="block_rows is 0; a block has at least 1 row"):
        read(make(tmp_path, minutes(2), block_rows=0), Stream("candle", A, "1m"))


@pytest.mark.parametrize("make", ANY)
@pytest.mark.parametrize("block_rows", [1, 2, 1000])
def test_rows_of_all_kinds_stand_in_the_total_order(make: Make, tmp_path: Path, block_rows: int) -> None:
    """Stamp, rank, short interval first, instrument, and the order of recording."""
    feed = make(tmp_path, MIXED, block_rows=block_rows)
    got = read(feed, *streams_of(MIXED))
    keyed = [
        ((stamp, *stream.sort_key), n, stream, event)
        for stream, events in streams_of(MIXED).items()
        for n, (stamp, event) in enumerate((event.received_ns, event) for event in events)
    ]
    expected = [(key[0], stream, event) for key, _, stream, event in sorted(keyed, key=lambda row: (row[0], row[1]))]
    assert got == expected
    at_minute = [stream.kind for stamp, stream, _ in got if stamp == START_NS + NS_PER_MIN]
    assert at_minute == ["gap", "mark", "candle", "candle", "funding", "book", "ticker", "trade", "trade", "trade"]


# One kind's own ways ----------------------------------------------------------------------------------------------


def test_a_folder_knows_in_which_spans_it_has_holes(tmp_path: Path) -> None:
    """A missing day counts where the run would meet it, and nowhere else."""
    days = (0, 1, 3, 4)
    feed = in_folder(tmp_path, [trade(START_NS + day * NS_PER_DAY + n * NS_PER_S, 1.0) for day in days for n in (1, 2)])
    stream = Stream("trade", A)

    def has_hole(first: float, last: float) -> bool:
        return feed.has_hole(stream, START_NS + int(first * NS_PER_DAY), START_NS + int(last * NS_PER_DAY))

    assert feed.coverage()[stream].has_holes
    assert has_hole(0, 5)
    assert has_hole(1.5, 2.5)
    assert has_hole(2.5, 3.5)
    assert not has_hole(0, 2)
    assert not has_hole(3, 4.5)
    assert not has_hole(-9, 1)
    assert not has_hole(3.5, 99)


def test_months_without_candles_are_holes(tmp_path: Path) -> None:
    """The last candle of a month closes in the next one."""
    stamps = [time_ns_of(text) for text in ("2025-01-31T23:58:00Z", "2025-03-01", "2025-04-01")]
    feed = in_folder(tmp_path, [row for stamp in stamps for row in minutes(2, start_ns=stamp)])
    stream = Stream("candle", A, "1m")
    assert feed.has_hole(stream, time_ns_of("2025-01-01"), time_ns_of("2025-06-01"))
    assert not feed.has_hole(stream, time_ns_of("2025-01-01"), time_ns_of("2025-02-01"))
    assert not feed.has_hole(stream, time_ns_of("2025-03-01"), time_ns_of("2025-06-01"))


@pytest.mark.parametrize(
    "make",
    [
        lambda at: Mark(A, at, at, 100.0),
        lambda at: Funding(A, at, at, 0.0001, at, True),
    ],
)
def test_months_without_marks_or_funding_are_holes(tmp_path: Path, make: Callable[[int], MarketEvent]) -> None:
    """They come a few times a day and lie in monthly files: a day without one is none, a month without one is."""
    at = time_ns_of
    feed = in_folder(tmp_path, [make(at(day)) for day in ("2025-01-03", "2025-01-31", "2025-03-01", "2025-04-30")])
    (stream,) = feed.coverage()
    assert feed.coverage()[stream].has_holes
    assert feed.has_hole(stream, at("2025-01-01"), at("2025-06-01"))
    assert feed.has_hole(stream, at("2025-01-31"), at("2025-02-02"))
    assert feed.has_hole(stream, at("2025-02-27"), at("2025-03-02"))
    # A span that ends where a month begins does not reach into it.
    assert not feed.has_hole(stream, at("2025-01-01"), at("2025-02-01"))
    assert feed.has_hole(stream, at("2025-01-01"), at("2025-02-01") + 1)
    assert not feed.has_hole(stream, at("2025-03-15"), at("2025-04-15"))
    assert not feed.has_hole(stream, at("2025-04-01"), at("2025-12-01"))


def test_a_folder_tells_of_shifted_clocks(tmp_path: Path) -> None:
    """Of the files that the run reads, each instrument once."""
    with Writer(tmp_path / "data") as writer:
        writer.note("received_shift_ns", 1_270_000_000)
        writer.write(Block.from_events(minutes(2)))
    feed = ReplayFeed(tmp_path / "data")
    assert list(feed.assumptions()) == []
    feed.subscribe([Subscription(Stream("candle", A, "1m"), START_NS, END_NS)] * 2)
    assert list(feed.assumptions()) == [
        f"{A}: the recorder's clock ran behind the exchange's; 1270 ms were added to its stamps"
    ]


def test_given_instruments_win_over_the_folders(tmp_path: Path) -> None:
    """What the user says about an instrument holds."""
    in_folder(tmp_path, minutes(2))
    own = Instrument(A, price_step="1", qty_step="1")
    known = ReplayFeed(tmp_path / "data", instruments=[own]).instruments()
    assert (known[A], known[B]) == (own, INSTRUMENTS[1])


def test_metadata_is_that_of_the_moment_asked_for(tmp_path: Path) -> None:
    """What only became known later is better than nothing; what is given holds at any time."""
    old, new = (Instrument(A, price_step=step, qty_step="1", valid_from_ns=ns) for step, ns in (("1", 100), ("2", 200)))
    later = Instrument(B, price_step="3", qty_step="1", valid_from_ns=150)
    with Writer(tmp_path / "data") as writer:
        for instrument in (old, new, later):
            writer.write_instrument(instrument)
        writer.write(Block.from_events(minutes(2)))
    feed = ReplayFeed(tmp_path / "data")
    assert feed.instruments() == {A: new, B: later}
    assert feed.instruments(199) == {A: old, B: later}
    assert feed.instruments(200) == {A: new, B: later}
    assert feed.instruments(50) == {A: old, B: later}
    given = ReplayFeed(tmp_path / "data", instruments=[INSTRUMENTS[0]])
    assert given.instruments(199) == {A: INSTRUMENTS[0], B: later}
    assert MemoryFeed(instruments=[old]).instruments(5) == {A: old}


def test_a_row_group_of_one_stamp_does_not_pile_up(tmp_path: Path) -> None:
    """Thousands of equal stamps in blocks of one row are one batch, and late columns are there."""
    same = [trade(START_NS + NS_PER_S, float(n + 1)) for n in range(2_000)]
    feed = MemoryFeed([*same, trade(START_NS + 2 * NS_PER_S, 9.0), *minutes(2)], INSTRUMENTS, block_rows=1)
    rows = read(feed, Stream("trade", A), Stream("candle", A, "1m"))
    assert [event.price for _, stream, event in rows if stream.kind == "trade"] == [*(t.price for t in same), 9.0]


def test_a_column_asked_for_late_is_one_step_away() -> None:
    """After thousands of batches an unread column of a long block is cut from the block itself."""
    few = Block.from_events([trade(n, n + 1.0) for n in range(0, 3_000, 3)])
    many = [
        Block.from_events([trade(n, 1.0, instrument=B), trade(n + 1, 1.0, instrument=B)]) for n in range(0, 3_000, 2)
    ]
    batches = list(merge_blocks([iter([few]), iter(many)]))
    assert len(batches) > 1_000
    parts = [block for batch in batches for block in batch.blocks if block.stream.instrument == A]
    assert [price for block in parts for price in block.column("price").tolist()] == few.column("price").tolist()


def test_blocks_are_let_go_of() -> None:
    """A batch keeps its own blocks alive, never those of the batches before it."""

    class Watched(Block):
        __slots__ = ("__weakref__",)

    alive: list[weakref.ref[Block]] = []

    def source(name: str, step: int) -> Iterator[Block]:
        for n in range(0, 300, 3):
            # The next block begins with this one's last stamp, so that rows wait from batch to batch.
            events = [trade(n * step, 1.0, instrument=name), trade((n + 3) * step, 2.0, instrument=name)]
            block = Block.from_events(events)
            watched = Watched(block.stream, block.size, {}, block.column)
            alive.append(weakref.ref(watched))
            yield watched
            del watched

    worst = 0
    for _ in merge_blocks([source(A, 1), source(B, 2)]):
        worst = max(worst, sum(ref() is not None for ref in alive))
    assert len(alive) == 200
    assert worst < 20


def test_nothing_subscribed_is_nothing_read() -> None:
    """No streams, or streams without rows in the span."""
    feed = MemoryFeed(minutes(3), INSTRUMENTS)
    assert read(feed) == []
    assert read(feed, Stream("candle", A, "1m"), start_ns=END_NS, end_ns=END_NS + 1) == []
