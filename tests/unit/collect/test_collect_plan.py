"""Words of kinds, spans that are taken apart, and the plan of a download over what is stored."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, time_ns_of
from quantkit.collect.kinds import WORDS, kinds_of
from quantkit.collect.plan import KindOf, Wish, held_spans, pairs_of, tasks_of, unfit
from quantkit.collect.spans import TimeSpan, by_month, cut, joined, missing, without
from quantkit.errors import ConfigError
from quantkit.events import EVENT_KINDS, Candle, Mark, MarketEvent
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.writer import Writer

SWAP, SPOT = "BTC-USDT-SWAP", "BTC-USDT"
START_NS = time_ns_of("2026-01-10")
SETTLED_NS = time_ns_of("2026-03-01")

moments = st.integers(0, 60)
spans = st.tuples(moments, moments).map(lambda ends: (min(ends), max(ends)))


def points(found: list[TimeSpan]) -> set[int]:
    return {at for begin, end in found for at in range(begin, end)}


@given(span=spans, held=st.lists(spans, max_size=6))
@example(span=(0, 2), held=[(1, 1)])
def test_what_is_left_of_a_span_is_all_that_nobody_holds(span: TimeSpan, held: list[TimeSpan]) -> None:
    left = without(span, held)
    assert points(left) == points([span]) - points(held)
    assert left == joined(left)
    assert points(joined(held)) == points(held)


@given(span=spans, length=st.integers(1, 20))
def test_the_parts_of_a_span_are_the_span(span: TimeSpan, length: int) -> None:
    parts = list(cut(span, length))
    assert [end for _, end in parts[:-1]] == [begin for begin, _ in parts[1:]]
    assert points(parts) == points([span])
    assert all(begin // length == (end - 1) // length for begin, end in parts)


@given(span=spans, step=st.integers(1, 7), phase=st.integers(0, 6), seed=st.sets(moments))
def test_each_stamp_that_is_not_there_is_missing(span: TimeSpan, step: int, phase: int, seed: set[int]) -> None:
    could = [at for at in range(*span) if at % step == phase % step]
    there = [at for at in could if at in seed]
    found = missing(span, there, step, phase_ns=phase % step)
    assert [at for begin, end in found for at in range(begin, end, step)] == [at for at in could if at not in seed]


def test_months_end_where_they_do() -> None:
    parts = list(by_month((time_ns_of("2026-01-31T12:00:00"), time_ns_of("2026-03-01T01:00:00"))))
    assert [end - begin for begin, end in parts] == [NS_PER_DAY // 2, 28 * NS_PER_DAY, 60 * NS_PER_MIN]


def test_every_word_is_of_a_kind_of_rows() -> None:
    """And a history has a place to be stored by month or day."""
    assert {each.kind for each in WORDS.values()} <= set(EVENT_KINDS)
    assert [kind.text for kind in kinds_of(["candles-1m", "trades", "candles-1m"])] == ["candles-1m", "trades"]
    assert kinds_of("index-1m")[0].stream("BTC-USD_UM-SWAP") == Stream("mark", "BTC-USD")
    assert kinds_of("candles-1h")[0].stream(SWAP) == Stream("candle", SWAP, "1h")


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("", "no kind of data is named; use candles-1m, trades"),
        ("candles", "kind 'candles' needs an interval: candles-1m"),
        ("candles-7m", "kind 'candles-7m' needs an interval"),
        ("trades-1m", "kind 'trades-1m' is not known"),
        ("bars", "kind 'bars' is not known"),
    ],
)
def test_words_that_nobody_knows_are_refused(texts: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kinds_of(texts)


def wish(kinds: str, instruments: tuple[str, ...] = (SWAP,), *, update: bool = False, replace: bool = False) -> Wish:
    return Wish(instruments, kinds_of(kinds), START_NS, None, update, replace)


def bar(open_ns: int) -> MarketEvent:
    close_ns = open_ns + NS_PER_MIN
    return Candle(SWAP, close_ns, close_ns, open_ns, close_ns, 1.0, 1.0, 1.0, 1.0, 1.0, "1m")


def test_each_instrument_is_asked_for_what_it_has() -> None:
    both = wish("candles-1m,funding,index-1m", (SPOT, SWAP))
    texts = [str(pair) for pair in pairs_of(both, None)]
    assert texts == [f"{SPOT} candles-1m", f"{SWAP} candles-1m", f"{SWAP} funding", f"{SPOT} index-1m"]
    assert unfit(both) == [f"{SPOT} has no funding"]
    with pytest.raises(ConfigError, match="funding: only swap instruments have it, not BTC-USDT"):
        pairs_of(wish("funding", (SPOT,)), None)
    with pytest.raises(ConfigError, match="BTC-USDT-SWAP marks-1m and BTC-USDT-SWAP marks-1h are rows of one stream"):
        pairs_of(wish("marks-1m,marks-1h"), None)


def test_what_is_stored_recorded_or_asked_for_is_not_asked_for_again(tmp_path: Path) -> None:
    minute, stream = NS_PER_MIN, Stream("candle", SWAP, "1m")
    with Writer(tmp_path, source="elsewhere") as writer:
        writer.write(Block.from_events([bar(START_NS + 10 * minute), bar(START_NS + 12 * minute)]))
        writer.asked(stream, START_NS, START_NS + 5 * minute - 1, source="okx candles-1m")
        writer.watched(stream, START_NS + 20 * minute, START_NS + 30 * minute)
    catalog = Catalog(tmp_path)
    (pair,) = pairs_of(wish("candles-1m"), catalog)
    # The file's hole stays: whoever imported it knows why. What closed while somebody listened is held.
    held = [((begin - START_NS) / minute, (end - START_NS) / minute) for begin, end in held_spans(catalog, pair)]
    assert held == [(0, 5), (10, 13), (20, pytest.approx(29))]
    (task,) = tasks_of(wish("candles-1m"), [pair], catalog, SETTLED_NS)
    asked = [piece.span for piece in task.pieces]
    assert asked[0] == (START_NS + 5 * minute, START_NS + 10 * minute)
    assert [end for _, end in asked[-2:]] == [time_ns_of("2026-02-01"), SETTLED_NS - minute + 1]
    assert task.report.held_rows == 2
    (task,) = tasks_of(wish("candles-1m", replace=True), [pair], catalog, SETTLED_NS)
    assert (task.pieces[0].span[0], task.report.held_rows) == (START_NS, 0)
    (task,) = tasks_of(wish("candles-1m", update=True), [pair], catalog, SETTLED_NS)
    assert task.pieces[0].span[0] == START_NS + 29 * minute + 1


def test_an_update_knows_what_was_downloaded(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.write(Block.from_events([Mark(SPOT, START_NS, START_NS, 1.0, "index")]))
        writer.asked(Stream("mark", SPOT), START_NS, START_NS, source="okx index-1m")
        writer.asked(Stream("trade", SWAP), START_NS, START_NS, source="okx at 127.0.0.1:1 trades")
        writer.asked(Stream("funding", SWAP), START_NS, START_NS, source="others")
    nothing = Wish([], [], None, None, True, False)
    assert [str(pair) for pair in pairs_of(nothing, Catalog(tmp_path))] == [f"{SPOT} index-1m", f"{SWAP} trades"]
    with pytest.raises(ConfigError, match="nothing was downloaded into this folder yet"):
        pairs_of(nothing, None)
    unknown = KindOf(kinds_of("candles-1m")[0], SWAP)
    with pytest.raises(ConfigError, match="BTC-USDT-SWAP candles-1m is not stored yet; say from when"):
        tasks_of(nothing, [unknown], Catalog(tmp_path), SETTLED_NS)
