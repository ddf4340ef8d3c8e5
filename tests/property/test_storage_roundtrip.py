"""Write then read is the identity, for every kind of row and however the rows are cut on the way."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.clock import INTERVALS, NS_PER_DAY, NS_PER_MIN, datetime_of, time_ns_of
from quantkit.errors import DataError
from quantkit.events import EVENT_KINDS, EVENT_TYPES, KINDS, BookUpdate, Candle, Field, Gap, MarketEvent, Trade
from quantkit.instruments import Side
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_blocks, read_events
from quantkit.storage.writer import Writer

EPOCH_NS = time_ns_of("2025-12-31T22:00:00Z")
END_NS = 2**62
IDS = ("BTC-USDT", "binance:BTC-USDT-SWAP")

prices = st.floats(min_value=1e-12, max_value=1e12)
sizes = st.just(0.0) | st.floats(min_value=1e-9, max_value=1e12)
stamps = st.integers(EPOCH_NS - NS_PER_DAY, EPOCH_NS + NS_PER_DAY)
ids = st.integers(0, 2**63 - 1)
# Steps of zero make rows of one stamp, steps of hours make files of several days.
steps = st.sampled_from((0, 0, 1, 999, 5 * NS_PER_MIN, NS_PER_DAY // 3))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def levels(draw: st.DrawFn, low: float, high: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Prices in [low, high] and as many sizes."""
    found = draw(st.lists(st.tuples(st.floats(low, high), sizes), max_size=4))
    return tuple(price for price, _ in found), tuple(qty for _, qty in found)


@st.composite
def event(draw: st.DrawFn, kind: str, instrument: str, received_ns: int, index: int) -> MarketEvent:
    """One event of a kind."""
    head = (instrument, draw(stamps), received_ns)
    if kind == "book":
        # Below and above 100, so that no snapshot is crossed.
        bids, asks = draw(levels(1e-6, 99.0)), draw(levels(100.0, 1e9))
        return BookUpdate(*head, *bids, *asks, draw(st.booleans()), draw(ids), draw(st.integers(-1, 2**62)))
    return EVENT_TYPES[kind](*head, *[draw(values(field)) for field in EVENT_KINDS[kind].fields])


def values(field: Field) -> st.SearchStrategy[Any]:
    """Everything that a column may hold."""
    match field.type:
        case "float" | "optional":
            wish = {"price": prices, "size": sizes, "number": st.floats(-1, 1)}[field.rule]
            return st.none() | wish if field.type == "optional" else wish
        case "side":
            return st.sampled_from(Side)
        case "text":
            return texts
        case "flag":
            return st.booleans()
        case _:
            return stamps if field.type == "stamp" else ids


@st.composite
def runs(draw: st.DrawFn) -> list[MarketEvent]:
    """The rows of one stream, in order."""
    kind = draw(st.sampled_from(sorted(EVENT_TYPES)))
    instrument = draw(st.sampled_from(IDS))
    found: list[MarketEvent] = []
    if kind == "candle":
        interval = draw(st.sampled_from(tuple(INTERVALS)))
        opened = EPOCH_NS
        for _ in range(draw(st.integers(1, 12))):
            opened += INTERVALS[interval] * draw(st.integers(1, 400))
            closed = opened + INTERVALS[interval]
            low, one, two, high = sorted(draw(st.tuples(prices, prices, prices, prices)))
            late = draw(st.integers(0, 3))
            numbers = (one, high, low, two, draw(sizes))
            found.append(Candle(instrument, closed, closed + late, opened, closed, *numbers, interval))
        return found
    received_ns = EPOCH_NS
    for index in range(draw(st.integers(1, 12))):
        received_ns += draw(steps)
        found.append(draw(event(kind, instrument, received_ns, index)))
    # Of equal gap rows one is stored.
    return list(dict.fromkeys(found)) if kind == "gap" else found


@contextmanager
def folder() -> Iterator[Path]:
    """A fresh folder for one example."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)


def stream_of(events: list[MarketEvent]) -> Stream:
    """The stream that events belong to."""
    first = events[0]
    return Stream(KINDS[type(first)], first.instrument, first.interval if isinstance(first, Candle) else "")


def write(root: Path, events: list[MarketEvent], *, cut: int, row_group_rows: int) -> None:
    """Write events in blocks of `cut` rows."""
    with Writer(root, row_group_rows=row_group_rows) as writer:
        for at in range(0, len(events), cut):
            writer.write(Block.from_events(events[at : at + cut]))


def digests(root: Path) -> dict[str, str]:
    """The digest of every file by its path."""
    return {entry.path: entry.sha256 for entry in Catalog(root).entries}


cuts = st.integers(1, 13)


@settings(max_examples=120, deadline=None)
@given(events=runs(), cut=cuts, row_group_rows=cuts, block_rows=cuts)
def test_what_is_written_is_read_back_equal_however_it_is_cut(
    events: list[MarketEvent], cut: int, row_group_rows: int, block_rows: int
) -> None:
    with folder() as root:
        write(root, events, cut=cut, row_group_rows=row_group_rows)
        catalog = Catalog(root)
        blocks = list(
            read_blocks(
                catalog, stream_of(events), start_ns=0, end_ns=END_NS, block_rows=block_rows, verify_digest=True
            )
        )
        assert [event for block in blocks for event in block.events()] == events
        assert all(0 < block.size <= block_rows for block in blocks)
        assert sum(entry.rows for entry in catalog.entries) == len(events)
        keys = [
            key
            for block in blocks
            for key in zip(block.column("received_ns").tolist(), block.column("seq").tolist(), strict=True)
        ]
        assert keys == sorted(set(keys))


@settings(max_examples=60, deadline=None)
@given(events=runs(), row_group_rows=cuts, data=st.data())
def test_equal_rows_give_equal_files_whatever_blocks_they_came_in(
    events: list[MarketEvent], row_group_rows: int, data: st.DataObject
) -> None:
    with folder() as one, folder() as other:
        write(one, events, cut=len(events), row_group_rows=row_group_rows)
        write(other, events, cut=data.draw(cuts), row_group_rows=row_group_rows)
        assert digests(one) == digests(other)


@settings(max_examples=60, deadline=None)
@given(events=runs(), data=st.data())
def test_a_span_is_the_filter_of_the_whole(events: list[MarketEvent], data: st.DataObject) -> None:
    edges = st.sampled_from([event.received_ns + shift for event in events for shift in (-1, 0, 1)])
    start_ns, end_ns = data.draw(edges), data.draw(edges)
    with folder() as root:
        write(root, events, cut=5, row_group_rows=data.draw(cuts))
        found = list(read_events(Catalog(root), [stream_of(events)], start_ns, end_ns))
    assert found == [event for event in events if start_ns <= event.received_ns <= end_ns]


@settings(max_examples=40, deadline=None)
@given(events=runs(), data=st.data())
def test_files_written_in_any_order_read_as_one_stream(events: list[MarketEvent], data: st.DataObject) -> None:
    """Rows of one stamp stay together, since their order is only known within a commit."""
    groups: list[list[MarketEvent]] = []
    for item in events:
        if groups and groups[-1][-1].received_ns == item.received_ns:
            groups[-1].append(item)
        else:
            groups.append([item])
    with folder() as root:
        for group in data.draw(st.permutations(groups)):
            write(root, group, cut=3, row_group_rows=2)
        assert list(read_events(Catalog(root), [stream_of(events)], 0, END_NS)) == events


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_gaps_of_any_commits_join_and_each_is_kept_once(data: st.DataObject) -> None:
    moments = st.sampled_from([EPOCH_NS + i * NS_PER_DAY // 3 for i in range(-3, 4)])
    channels = st.sampled_from(("book", "trade"))
    gaps = st.builds(Gap, st.just(IDS[0]), moments, moments, channels, moments, moments, st.just("sequence"))
    some_gaps = st.lists(gaps, min_size=1, max_size=6)
    commits = data.draw(st.lists(some_gaps, min_size=1, max_size=4))
    with folder() as root:
        for commit in commits:
            write(root, sorted(commit, key=lambda each: each.received_ns), cut=data.draw(cuts), row_group_rows=2)
        catalog = Catalog(root)
        found = list(read_events(catalog, [Stream("gap", IDS[0])], 0, END_NS))
        listed = {entry.path for entry in catalog.entries}
        assert {str(path.relative_to(root).as_posix()) for path in root.rglob("*.parquet")} == listed
    # Rows of one stamp lie in the order of their commits.
    in_order = [each for commit in commits for each in commit]
    assert found == sorted(dict.fromkeys(in_order), key=lambda each: each.received_ns)
    assert len(listed) == len({datetime_of(each.received_ns).month for each in in_order})


@settings(max_examples=40, deadline=None)
@given(events=runs(), row_group_rows=cuts, again=cuts)
def test_writing_again_with_other_row_groups_keeps_every_event(
    events: list[MarketEvent], row_group_rows: int, again: int
) -> None:
    with folder() as root, folder() as other:
        write(root, events, cut=4, row_group_rows=row_group_rows)
        stream = stream_of(events)
        with Writer(other, row_group_rows=again) as writer:
            for block in read_blocks(Catalog(root), stream, start_ns=0, end_ns=END_NS):
                writer.write(block)
        assert list(read_events(Catalog(other), [stream], 0, END_NS)) == events


@st.composite
def trades(draw: st.DrawFn, price: float) -> list[MarketEvent]:
    """Trades over a few days that are told apart by their price."""
    gaps = draw(st.lists(steps, min_size=1, max_size=10))
    first_ns = EPOCH_NS + draw(st.integers(0, 3)) * (NS_PER_DAY // 3)
    moments = [first_ns + sum(gaps[: i + 1]) for i in range(len(gaps))]
    return [Trade(IDS[0], moment, moment, price, 1.0, Side.BUY, i) for i, moment in enumerate(moments)]


@settings(max_examples=60, deadline=None)
@given(old=trades(1.0), new=trades(2.0))
def test_replacing_keeps_the_stored_rows_before_and_after_the_new_ones(
    old: list[MarketEvent], new: list[MarketEvent]
) -> None:
    spans: dict[int, list[int]] = {}
    for item in new:
        spans.setdefault(item.received_ns // NS_PER_DAY, []).append(item.received_ns)
    kept = [
        item
        for item in old
        if not (span := spans.get(item.received_ns // NS_PER_DAY)) or not span[0] <= item.received_ns <= span[-1]
    ]
    with folder() as root:
        write(root, old, cut=4, row_group_rows=2)
        with Writer(root, replace=True) as writer:
            writer.write(Block.from_events(new))
        catalog = Catalog(root)
        found = list(read_events(catalog, [stream_of(old)], 0, END_NS))
        listed = {entry.path for entry in catalog.entries}
        assert {str(path.relative_to(root).as_posix()) for path in root.rglob("*.parquet")} == listed
    assert found == sorted(kept + new, key=lambda item: item.received_ns)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_flipped_bit_is_read_as_other_rows(data: st.DataObject, flip_root: tuple[Path, list[MarketEvent]]) -> None:
    root, events = flip_root
    (entry,) = Catalog(root).entries
    path = root / entry.path
    good = path.read_bytes()
    spoilt = bytearray(good)
    spoilt[data.draw(st.integers(0, len(good) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(spoilt))
    try:
        # Without the digest a flip where nothing is kept may go unnoticed; one that changes a row may not.
        try:
            found = list(read_events(Catalog(root), [entry.stream], 0, END_NS))
        except DataError:
            found = events
        assert found == events
        with pytest.raises(DataError, match="restore or import it again"):
            list(read_blocks(Catalog(root), entry.stream, start_ns=0, end_ns=END_NS, verify_digest=True))
    finally:
        path.write_bytes(good)


@pytest.fixture(scope="module")
def flip_root(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[MarketEvent]]:
    """A stored run of trades, spoilt and mended again by each example."""
    root = tmp_path_factory.mktemp("flips")
    events: list[MarketEvent] = [
        Trade("BTC-USDT", EPOCH_NS + i, EPOCH_NS + i * 7, 100 + i * 0.37 % 3, 1 + i % 5, Side.BUY, i)
        for i in range(300)
    ]
    write(root, events, cut=300, row_group_rows=64)
    return root, events


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_spoilt_manifest_gives_entries_or_a_data_error(
    data: st.DataObject, flip_root: tuple[Path, list[MarketEvent]]
) -> None:
    root, _ = flip_root
    path = root / "manifest.jsonl"
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good)))
    path.write_bytes(good[:at] + data.draw(st.binary(max_size=8)) + good[at + data.draw(st.integers(0, 8)) :])
    try:
        catalog = Catalog(root)
        for entry in catalog.entries:
            assert not list(read_blocks(catalog, entry.stream, start_ns=END_NS, end_ns=END_NS))
    except DataError as error:
        message = str(error)
        assert "\n" not in message
    finally:
        path.write_bytes(good)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_every_truncation_is_named(data: st.DataObject, flip_root: tuple[Path, list[MarketEvent]]) -> None:
    root, _ = flip_root
    (entry,) = Catalog(root).entries
    path = root / entry.path
    good = path.read_bytes()
    length = data.draw(st.integers(0, len(good) - 1))
    path.write_bytes(good[:length])
    try:
        with pytest.raises(DataError, match=f"holds {length} bytes, the manifest says {len(good)}"):
            list(read_blocks(Catalog(root), entry.stream, start_ns=0, end_ns=END_NS))
    finally:
        path.write_bytes(good)
