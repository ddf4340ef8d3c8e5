"""Columns and event objects are two spellings of the same rows; events are plain frozen values."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.events import EVENT_KINDS, EVENT_TYPES, KINDS, RANKS, BookUpdate, Mark, MarketEvent, Ticker, Trade
from quantkit.instruments import Side
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Stream, optional_list

NAME = "BTC-USDT"
few = settings(max_examples=60, deadline=None)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
maybe = st.none() | numbers
stamps = st.integers(0, 2**63 - 1)
words = st.text(max_size=8)
levels = st.lists(st.tuples(numbers, numbers), max_size=4)


@st.composite
def book_updates(draw: Callable[..., Any]) -> BookUpdate:
    """A book row with any number of levels on each side, none included."""
    bids, asks = draw(levels), draw(levels)
    return BookUpdate(
        NAME,
        draw(stamps),
        draw(stamps),
        tuple(price for price, _ in bids),
        tuple(qty for _, qty in bids),
        tuple(price for price, _ in asks),
        tuple(qty for _, qty in asks),
        draw(st.booleans()),
        draw(stamps),
        draw(st.integers(-1, 2**63 - 1)),
    )


#: What a column of each type is drawn from.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float": numbers,
    "optional": maybe,
    "stamp": stamps,
    "int": stamps,
    "flag": st.booleans(),
    "side": st.sampled_from(Side),
    "text": words,
}


def events_of(kind: str) -> st.SearchStrategy[MarketEvent]:
    """Any events of a kind, made of the columns that the table gives it."""
    if kind == "book":
        return book_updates()
    columns = [VALUES[field.type] for field in EVENT_KINDS[kind].fields]
    interval = [st.just("1m")] if kind == "candle" else []
    return st.builds(EVENT_TYPES[kind], st.just(NAME), stamps, stamps, *columns, *interval)


EVENTS: dict[str, st.SearchStrategy[MarketEvent]] = {kind: events_of(kind) for kind in EVENT_TYPES}


def same(left: Sequence[MarketEvent], right: Sequence[MarketEvent]) -> bool:
    """Equal in value and in type, field by field: 1 is not True, and 1 is not 1.0."""

    def spelled(event: MarketEvent) -> tuple[object, ...]:
        fields = msgspec.structs.astuple(event)
        return (type(event), *((type(x), [type(y) for y in x] if isinstance(x, tuple) else 0) for x in fields))

    return list(left) == list(right) and [spelled(e) for e in left] == [spelled(e) for e in right]


def trades(count: int) -> list[Trade]:
    """Some trades, all different."""
    return [Trade(NAME, i, 10 * i, 100.0 + i, 1.0 + i, Side.SELL if i % 2 else Side.BUY, i) for i in range(count)]


def books(count: int) -> list[BookUpdate]:
    """Some book rows with none, one, two, ... levels."""
    rows = []
    for i in range(count):
        prices = tuple(100.0 - j for j in range(i % 4))
        rows.append(BookUpdate(NAME, i, i, prices, prices, prices[:1], prices[:1], i == 0, i, i - 1))
    return rows


# Rows to columns and back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EVENTS)
@given(data=st.data())
@few
def test_columns_hold_every_event(kind: str, data: st.DataObject) -> None:
    """Events to columns to events is the identity, values and types, whole and in any slice."""
    events = data.draw(st.lists(EVENTS[kind], min_size=1, max_size=6))
    block = Block.from_events(events, first_seq=5)
    assert len(block) == len(events)
    assert block.stream == Stream(kind, NAME, "1m" if kind == "candle" else "")
    assert same(block.events(), events)
    assert block.column("seq").tolist() == list(range(5, 5 + len(events)))
    for name in (*STAMPS, *KIND_COLUMNS[kind]):
        assert len(block.column(name)) == len(events) + name.endswith("_start") or name.endswith(("prices", "qtys"))
    start = data.draw(st.integers(0, len(events)))
    stop = data.draw(st.integers(start, len(events)))
    assert same(block.events(start, stop), events[start:stop])
    assert same(block.slice(start, stop).events(), events[start:stop])
    assert same(block.events(start), events[start:])


@pytest.mark.parametrize("kind", EVENTS)
@given(data=st.data())
@few
def test_slices_join_to_the_whole(kind: str, data: st.DataObject) -> None:
    """Cut anywhere, in slices of slices too, and put together again."""
    events = data.draw(st.lists(EVENTS[kind], min_size=1, max_size=6))
    block = Block.from_events(events)
    first = data.draw(st.integers(0, len(events)))
    second = data.draw(st.integers(first, len(events)))
    tail = block.slice(first, len(events))
    joined = Block.concat(
        [block.slice(0, first), tail.slice(0, second - first), tail.slice(second - first, len(events) - first)]
    )
    assert same(joined.events(), events)
    for name in (*STAMPS, *KIND_COLUMNS[kind]):
        np.testing.assert_array_equal(joined.column(name), block.column(name))


def test_a_whole_slice_and_a_single_block_are_themselves() -> None:
    """Nothing is copied where nothing changes."""
    block = Block.from_events(trades(3))
    assert block.slice(0, 3) is block
    assert Block.concat([block]) is block
    assert block.slice(1, 3).column("price").base is block.column("price")


def test_an_empty_slice_has_no_rows() -> None:
    """Book offsets still have their one edge."""
    empty = Block.from_events(books(4)).slice(2, 2)
    assert len(empty) == 0
    assert empty.events() == []
    assert empty.column("bid_start").tolist() == [0]


def test_columns_are_decoded_once_and_only_when_asked_for() -> None:
    """A strategy that looks at prices never pays for ids."""
    source = Block.from_events(trades(4))
    asked: list[str] = []

    def load(name: str) -> Any:
        asked.append(name)
        return source.column(name)

    block = Block(source.stream, 4, {}, load)
    part = block.slice(1, 3)
    assert asked == []
    assert part.column("price").tolist() == [101.0, 102.0]
    assert part.column("price").tolist() == block.column("price").tolist()[1:3]
    assert asked == ["price"]


def test_a_missing_column_is_named() -> None:
    """With the stream that lacks it."""
    with pytest.raises(KeyError, match="BTC-USDT trade: no column colour"):
        Block.from_events(trades(1)).column("colour")
    with pytest.raises(KeyError, match="BTC-USDT trade: no column colour"):
        Block.from_events(trades(3)).slice(0, 1).column("colour")


def test_column_types() -> None:
    """Stamps and ids are 64-bit integers, prices and sizes 64-bit floats, a side one byte."""
    block = Block.from_events(trades(2))
    types = {name: str(block.column(name).dtype) for name in (*STAMPS, *KIND_COLUMNS["trade"])}
    assert types == {
        "received_ns": "int64",
        "exchange_ns": "int64",
        "seq": "int64",
        "price": "float64",
        "qty": "float64",
        "side": "int8",
        "trade_id": "int64",
    }
    assert block.column("side").tolist() == [0, 1]
    offsets = Block.from_events(books(5))
    assert offsets.column("bid_start").dtype == offsets.column("ask_start").dtype == np.int64
    assert offsets.column("bid_start").tolist() == [0, 0, 1, 3, 6, 6]


def test_an_absent_number_is_none_in_events_and_nan_in_columns() -> None:
    """An empty side of a ticker is not a price of zero."""
    block = Block.from_events([Ticker(NAME, 0, 0, None, None, 0.0, 1.0)])
    assert np.isnan(block.column("bid")[0])
    assert block.events()[0] == Ticker(NAME, 0, 0, None, None, 0.0, 1.0, None, None)
    assert optional_list(np.array([1.0, np.nan, 0.0])) == [1.0, None, 0.0]
    assert optional_list(np.array([1.0, 2.0])) == [1.0, 2.0]


# Names and order --------------------------------------------------------------------------------------------------


def test_streams_stand_in_the_one_order() -> None:
    """Rank first, short candles before long ones, then the instrument."""
    in_order = [
        Stream("gap", "B"),
        Stream("mark", "A"),
        Stream("open_interest", "A"),
        Stream("candle", "B", "1m"),
        Stream("candle", "A", "1h"),
        Stream("funding", "A"),
        Stream("candle_open", "A", "1m"),
        Stream("book", "A"),
        Stream("book", "B"),
        Stream("ticker", "A"),
        Stream("trade", "A"),
    ]
    assert (
        sorted([in_order[i] for i in (7, 2, 9, 4, 0, 5, 10, 3, 8, 1, 6)], key=lambda stream: stream.sort_key)
        == in_order
    )


def test_streams_have_a_readable_name() -> None:
    """The interval stands last, where there is one."""
    assert str(Stream("trade", "BTC-USDT")) == "BTC-USDT trade"
    assert str(Stream("candle", "BTC-USDT", "5m")) == "BTC-USDT candle 5m"


def test_every_kind_of_event_has_a_name_a_rank_and_columns() -> None:
    """What is read out of the table agrees with it."""
    assert {kind: event for event, kind in KINDS.items()} == EVENT_TYPES
    assert list(KIND_COLUMNS) == list(RANKS) == list(EVENT_KINDS)
    assert set(EVENT_TYPES) | {"candle_open", "instrument"} == set(RANKS)
    assert list(RANKS.values()) == sorted(set(RANKS.values()))


@pytest.mark.parametrize("event", [trades(1)[0], books(1)[0], Mark(NAME, 0, 0, 1.0)], ids=lambda e: type(e).__name__)
def test_events_are_frozen_and_not_tracked(event: Any) -> None:
    """Nobody downstream may change what another sees; the collector need not look at millions of them."""
    with pytest.raises(AttributeError, match="immutable"):
        event.received_ns = 1
    assert type(event).__struct_config__.frozen
    assert not type(event).__struct_config__.gc
    assert event == msgspec.structs.replace(event)
