"""Coarser candles against pandas' own resampling, however the finer ones are cut into blocks."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from quantkit.clock import INTERVALS, NS_PER_DAY, NS_PER_MIN, time_ns_of
from quantkit.feeds.resample import coarser_blocks
from quantkit.rows.columns import Block, Stream

NAME = "BTC-USDT"
NEVER_NS = 2**63 - 1
MONDAY_NS = time_ns_of("2025-05-05")
COLUMNS = ("open", "high", "low", "close", "volume")
RULES = {"5m": "5min", "1h": "1h", "1d": "1D", "1w": "W-MON"}


def bars(opens: Sequence[int], *, length: int = NS_PER_MIN, seed: int = 0) -> Block:
    """Return random finer candles at the given opens."""
    opens = np.asarray(opens, np.int64)
    random = np.random.default_rng(seed)
    first, last = 100 + random.normal(size=(2, len(opens)))
    stamps = dict.fromkeys(("received_ns", "exchange_ns", "close_ns"), opens + length)
    numbers = {
        "open": first,
        "high": np.maximum(first, last) + 0.1,
        "low": np.minimum(first, last) - 0.1,
        "close": last,
        "volume": random.exponential(size=len(opens)),
    }
    return Block(Stream("candle", NAME, "1m"), len(opens), {"open_ns": opens, "seq": opens, **stamps, **numbers})


def cut(block: Block, edges: Sequence[int]) -> Iterator[Block]:
    """Yield a block in pieces."""
    places = [0, *sorted(set(edges) - {0, block.size}), block.size]
    for start, stop in pairwise(places):
        yield block.slice(start, stop)


def built(
    block: Block,
    interval: str,
    *,
    edges: Sequence[int] = (),
    start_ns: int = 0,
    end_ns: int = NEVER_NS,
    data_start_ns: int = 0,
) -> pd.DataFrame:
    """Return coarser candles as a frame by open, with their stamps."""
    stream = Stream("candle", NAME, interval)
    pieces = list(
        coarser_blocks(cut(block, edges), stream, start_ns=start_ns, end_ns=end_ns, data_start_ns=data_start_ns)
    )
    assert all(piece.size and piece.stream == stream for piece in pieces)
    names = ("open_ns", "close_ns", "received_ns", "exchange_ns", *COLUMNS)
    columns = {name: np.concatenate([piece.column(name) for piece in pieces] or [[]]) for name in names}
    return pd.DataFrame(columns).set_index("open_ns")


def resampled(block: Block, interval: str) -> pd.DataFrame:
    """Return what pandas makes of it: all buckets that hold a bar."""
    index = pd.DatetimeIndex(block.column("open_ns"), tz="UTC")
    frame = pd.DataFrame({name: block.column(name) for name in COLUMNS}, index=index)
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    # pandas' W-MON ends on Mondays; weeks that begin on Monday are labelled left and closed left.
    coarse = frame.resample(RULES[interval], label="left", closed="left").agg(how).dropna()
    coarse.index = coarse.index.as_unit("ns").asi8
    return coarse


@pytest.mark.parametrize("interval", list(RULES))
@pytest.mark.parametrize("seed", range(3))
def test_random_bars_with_gaps_equal_pandas(interval: str, seed: int) -> None:
    """The part that begins before the data and the one they do not reach the end of are left out."""
    random = np.random.default_rng(seed)
    length = INTERVALS[interval]
    count = {"5m": 400, "1h": 3_000, "1d": 9_000, "1w": 65_000}[interval]
    opens = MONDAY_NS + 7 * NS_PER_MIN + np.flatnonzero(random.random(count) < 0.7) * NS_PER_MIN
    opens = np.delete(opens, slice(count // 3, count // 2))
    block = bars(opens, seed=seed)
    edges = sorted(random.integers(0, len(opens), size=40).tolist())
    got = built(block, interval, edges=edges, data_start_ns=int(opens[0]))
    expected = resampled(block, interval)
    whole = (expected.index >= opens[0]) & (expected.index + length <= opens[-1] + NS_PER_MIN)
    # A candle whose last bars are missing is known to be over once a later bar has come.
    over = expected.index < (opens[-1] - (MONDAY_NS % length)) // length * length + MONDAY_NS % length
    expected = expected[whole | ((expected.index >= opens[0]) & over)]
    assert len(expected) >= 3
    assert got.index.tolist() == expected.index.tolist()
    for name in ("open", "high", "low", "close"):
        assert got[name].tolist() == expected[name].tolist()
    np.testing.assert_allclose(got["volume"], expected["volume"], rtol=1e-12)
    for stamp in ("close_ns", "received_ns", "exchange_ns"):
        assert (got[stamp] - got.index == length).all()


@pytest.mark.parametrize("interval", ["5m", "1h"])
def test_blocks_cut_anywhere_change_no_digit(interval: str) -> None:
    """One row at a time, at random, or all at once."""
    random = np.random.default_rng(9)
    block = bars(MONDAY_NS + np.flatnonzero(random.random(700) < 0.8) * NS_PER_MIN)
    whole = built(block, interval)
    assert len(whole) > 5
    for edges in (range(block.size), random.integers(0, block.size, size=30).tolist(), [1], [block.size - 1]):
        pd.testing.assert_frame_equal(built(block, interval, edges=edges), whole, check_exact=True)


def test_a_week_begins_on_monday() -> None:
    """Also where bars only come on Sunday and Monday."""
    sunday, monday = MONDAY_NS - NS_PER_DAY, MONDAY_NS
    block = bars([sunday, monday, monday + 7 * NS_PER_DAY], length=NS_PER_DAY)
    got = built(block, "1w")
    assert got.index.tolist() == [MONDAY_NS - 7 * NS_PER_DAY, MONDAY_NS]


def test_a_candle_that_begins_before_the_data_is_left_out() -> None:
    """Wherever the reading begins: a missing first bar further on is a gap like any other."""
    opens = [MONDAY_NS + minute * NS_PER_MIN for minute in (2, 3, 4, 6, 7, 8, 9)]
    block = bars(opens)
    five = [MONDAY_NS + minute * NS_PER_MIN for minute in (0, 5)]
    assert built(block, "5m", data_start_ns=opens[0]).index.tolist() == five[1:]
    assert built(block.slice(3, 7), "5m", data_start_ns=opens[0]).index.tolist() == five[1:]
    assert built(block, "5m", data_start_ns=MONDAY_NS - 1).index.tolist() == five


def test_the_last_candle_comes_only_when_it_is_whole() -> None:
    """With its last bar, or with a bar of a later candle."""
    opens = [MONDAY_NS + minute * NS_PER_MIN for minute in range(10)]
    assert len(built(bars(opens[:9]), "5m")) == 1
    assert len(built(bars(opens), "5m")) == 2
    late = bars([*opens[:8], MONDAY_NS + 20 * NS_PER_MIN])
    assert len(built(late, "5m")) == 2
    assert len(built(late, "5m", edges=range(9))) == 2


def test_candles_that_close_before_the_start_are_left_out() -> None:
    """The one that closes at the start is the first."""
    block = bars([MONDAY_NS + minute * NS_PER_MIN for minute in range(20)])
    start_ns = MONDAY_NS + 10 * NS_PER_MIN
    got = built(block, "5m", start_ns=start_ns, edges=range(20))
    assert got["received_ns"].tolist() == [start_ns, start_ns + 5 * NS_PER_MIN, start_ns + 10 * NS_PER_MIN]
    assert built(block, "5m", start_ns=start_ns + 11 * NS_PER_MIN).empty


def test_a_candle_spread_over_very_many_blocks() -> None:
    """A week of minutes, one row in each block."""
    block = bars([MONDAY_NS + minute * NS_PER_MIN for minute in range(7 * 1440)])
    got = built(block, "1w", edges=range(block.size))
    assert got.index.tolist() == [MONDAY_NS]
    assert got["high"].tolist() == [block.column("high").max()]


def test_nothing_finer_is_nothing_coarser() -> None:
    """And one bar of many is not yet a candle."""
    assert list(coarser_blocks(iter(()), Stream("candle", NAME, "5m"), start_ns=0, end_ns=NEVER_NS)) == []
    assert built(bars([MONDAY_NS]), "5m").empty
