"""The one total order: merged batches against a plain sort, whatever the blocks and the spans."""

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as generators

from quantkit.clock import INTERVALS, NS_PER_S
from quantkit.events import EVENT_KINDS, EVENT_TYPES, KINDS, RANKS, Candle, MarketEvent
from quantkit.feeds.replay import MemoryFeed, merge_blocks
from quantkit.instruments import Side
from quantkit.rows.batch import Batch, Subscription
from quantkit.rows.columns import Block, Stream

NAMES = ("A-USD", "B-USD", "C-USD")
# Few stamps and many rows: ties everywhere. Multiples of a second, so that candles fit.
stamps = generators.integers(1, 8).map(lambda n: n * 60 * NS_PER_S)


def event_of(kind: str, name: str, at_ns: int, number: int, interval: str) -> MarketEvent:
    """Return a row that carries its number, so that no two are equal."""
    price = float(number)
    if kind == "candle":
        open_ns = at_ns - INTERVALS[interval]
        return Candle(name, at_ns, at_ns, open_ns, at_ns, price, price, price, price, 1.0, interval)
    values = {"float": price, "optional": price, "text": "lost", "side": Side.BUY, "flag": True, "levels": (price,)}
    fields = EVENT_KINDS[kind].fields
    return EVENT_TYPES[kind](name, at_ns, at_ns, *[values.get(field.type, number) for field in fields])


@generators.composite
def markets(draw: generators.DrawFn) -> list[MarketEvent]:
    """Draw rows of all kinds in no particular order, often many of one stream."""
    kinds = draw(generators.lists(generators.sampled_from(sorted(EVENT_TYPES)), min_size=1, max_size=4))
    rows = draw(
        generators.lists(
            generators.tuples(
                generators.sampled_from(kinds),
                generators.sampled_from(NAMES),
                stamps,
                generators.sampled_from(["1s", "1m", "1h"]),
            ),
            max_size=60,
        )
    )
    return [
        event_of(kind, name, at_ns, number + 1, interval) for number, (kind, name, at_ns, interval) in enumerate(rows)
    ]


def key_of(event: MarketEvent) -> tuple[int, int, int, str]:
    """Return the law's key: stamp, rank, short interval first, instrument; `seq` is the order given."""
    interval = event.interval if isinstance(event, Candle) else ""
    return event.received_ns, RANKS[KINDS[type(event)]], INTERVALS.get(interval, 0), event.instrument


def stream_of(event: MarketEvent) -> Stream:
    """Return the stream an event belongs to."""
    return Stream(KINDS[type(event)], event.instrument, getattr(event, "interval", ""))


def events_of(batch: Batch) -> list[MarketEvent]:
    """Return a batch's rows as its positions line them up."""
    assert sorted(place for positions in batch.positions for place in positions.tolist()) == list(range(len(batch)))
    lined_up: list[Any] = [None] * len(batch)
    for block, positions in zip(batch.blocks, batch.positions, strict=True):
        for place, event in zip(positions.tolist(), block.events(), strict=True):
            lined_up[place] = event
    assert [event.received_ns for event in lined_up] == batch.received_ns.tolist()
    return lined_up


@settings(max_examples=100, deadline=None)
@given(
    markets(),
    generators.integers(1, 70),
    stamps,
    stamps,
    generators.data(),
)
def test_batches_equal_a_plain_sort(
    events: list[MarketEvent], block_rows: int, one_ns: int, other_ns: int, data: generators.DataObject
) -> None:
    """Whatever the order of subscribing, the size of blocks and the span, both ends included."""
    start_ns, end_ns = sorted((one_ns, other_ns))
    feed = MemoryFeed(events, block_rows=block_rows)
    wishes = [Subscription(stream, start_ns, end_ns) for stream in feed.coverage()]
    feed.subscribe(data.draw(generators.permutations(wishes)))
    got = [event for batch in feed.batches() for event in events_of(batch)]
    assert got == sorted((event for event in events if start_ns <= event.received_ns <= end_ns), key=key_of)


@settings(max_examples=100, deadline=None)
@given(markets(), generators.data())
def test_streams_cut_into_any_blocks_equal_a_plain_sort(events: list[MarketEvent], data: generators.DataObject) -> None:
    """Row groups of every size side by side; no stamp is ever split between two batches."""
    streams: dict[Stream, list[MarketEvent]] = {}
    for event in sorted(events, key=lambda event: event.received_ns):
        streams.setdefault(stream_of(event), []).append(event)
    sources = []
    for rows in streams.values():
        blocks, start = [], 0
        while start < len(rows):
            stop = data.draw(generators.integers(start + 1, len(rows)))
            blocks.append(Block.from_events(rows[start:stop], first_seq=start))
            start = stop
        sources.append(iter(blocks))
    batches = list(merge_blocks(sources))
    got = [event for batch in batches for event in events_of(batch)]
    assert got == sorted(events, key=key_of)
    ends = [(int(batch.received_ns[0]), int(batch.received_ns[-1])) for batch in batches]
    assert all(before[1] < after[0] for before, after in pairwise(ends))
    seqs: dict[Stream, list[int]] = {}
    for batch in batches:
        for block in batch.blocks:
            seqs.setdefault(block.stream, []).extend(block.column("seq").tolist())
    assert all(numbers == list(range(len(numbers))) for numbers in seqs.values())


@settings(max_examples=60, deadline=None)
@given(generators.lists(generators.tuples(generators.integers(0, 3), stamps), max_size=6), generators.integers(60, 90))
def test_a_few_rows_among_very_many(few: list[tuple[int, int]], many: int) -> None:
    """One stream far larger than all others together, with rows of lower and higher rank at its stamps."""
    kinds = ("gap", "candle", "ticker", "trade")
    events = [event_of("book", "B-USD", (1 + n // 10) * 60 * NS_PER_S, n + 1, "") for n in range(many)]
    rare = [event_of(kinds[kind], NAMES[kind % 3], at_ns, 1_000 + n, "1m") for n, (kind, at_ns) in enumerate(few)]
    feed = MemoryFeed([*events, *rare])
    feed.subscribe([Subscription(stream, 0, 2**62) for stream in feed.coverage()])
    (batch,) = feed.batches()
    assert events_of(batch) == sorted([*events, *rare], key=key_of)
