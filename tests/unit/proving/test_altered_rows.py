"""Rows with another future are the same up to the cut, and columns of candles are known for what they knew."""

import numpy as np
import pandas as pd
import pytest

import quantkit as qk
from quantkit.feeds.replay import MemoryFeed
from quantkit.importers.frames import frame_feed
from quantkit.proving.altered import Alteration, AlteredRows, Future
from quantkit.proving.columns import Knowledge, further_columns, knowledge
from quantkit.rows.batch import Subscription
from quantkit.rows.columns import Stream

ID = "X"
STREAM = Stream("candle", ID, "1h")
COUNT = 400
INSTRUMENT = qk.Instrument(ID, quote="USD", price_step="0.01", qty_step="1")


def frame() -> pd.DataFrame:
    """Return candles of a random walk, with columns that knew nothing and columns that knew more."""
    rng = np.random.default_rng(7)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, COUNT)))
    opens = np.append(100.0, close[:-1])
    found = pd.DataFrame(
        {
            "open": opens,
            "high": np.maximum(opens, close) * 1.001,
            "low": np.minimum(opens, close) * 0.999,
            "close": close,
            "volume": rng.integers(1, 100, COUNT).astype(float),
        },
        index=pd.date_range("2025-01-01", periods=COUNT, freq="1h", tz="UTC"),
    )
    past = found["close"]
    found["average"] = past.rolling(10).mean()
    found["momentum"] = past.pct_change(5)
    found["before"] = past.shift(1)
    found["next_close"] = past.shift(-1)
    found["centred"] = past.rolling(5, center=True).mean()
    found["week_high"] = found["high"].rolling(120).max()
    found["day_close"] = past.groupby(np.arange(COUNT) // 24).transform("last")
    found["will_rise"] = (past.shift(-1) > past).astype(float)
    return found


@pytest.fixture(scope="module")
def feed() -> MemoryFeed:
    """The frame as a feed."""
    return frame_feed({ID: frame()}, [INSTRUMENT])


def rows_of(feed: MemoryFeed, future: Future | None = None, late: str | None = None) -> list[qk.Candle]:
    """Return the candles that a run would get."""
    rows = AlteredRows(feed, [INSTRUMENT], future=future, late=late, block_rows=97)
    held = feed.coverage()[STREAM]
    rows.subscribe([Subscription(STREAM, held.start_ns, held.end_ns)])
    return [event for batch in rows.batches() for block in batch.blocks for event in block.events()]  # type: ignore[misc]


@pytest.mark.parametrize("alteration", ["moved", "shuffled", "removed"])
def test_rows_up_to_the_cut_are_the_same_and_later_ones_are_not(feed: MemoryFeed, alteration: Alteration) -> None:
    """Prices, sizes and further columns; stamps stay."""
    plain = rows_of(feed)
    cut_ns = plain[200].received_ns
    altered = rows_of(feed, Future(cut_ns, alteration))
    assert list(map(str, altered[:201])) == list(map(str, plain[:201]))  # NaN is what it is
    if alteration == "removed":
        assert len(altered) == 201
        return
    assert [row.close_ns for row in altered] == [row.close_ns for row in plain]
    differing = sum(one != other for one, other in zip(altered[201:], plain[201:], strict=True))
    assert differing >= 0.9 * (COUNT - 201)
    for row in altered:
        assert row.low <= min(row.open, row.close) <= max(row.open, row.close) <= row.high


def test_an_altered_future_may_end(feed: MemoryFeed) -> None:
    """What is compared lies long before."""
    plain = rows_of(feed)
    altered = rows_of(feed, Future(plain[200].received_ns, "moved", plain[250].received_ns))
    assert len(altered) == 251


def test_a_late_column_is_that_of_the_row_before(feed: MemoryFeed) -> None:
    """Over the bounds of blocks, and no other column."""
    plain, late = rows_of(feed), rows_of(feed, late="momentum")
    for number in range(1, COUNT):
        assert late[number].extra["before"] == pytest.approx(plain[number].extra["before"], nan_ok=True)
        assert late[number].extra["momentum"] == pytest.approx(plain[number - 1].extra["momentum"], nan_ok=True)


def test_rows_are_counted_as_they_are_handed_out(feed: MemoryFeed) -> None:
    """By moment, within a batch and after it."""
    rows = AlteredRows(feed, [INSTRUMENT], block_rows=97)
    held = feed.coverage()[STREAM]
    rows.subscribe([Subscription(STREAM, held.start_ns, held.end_ns)])
    counts = [rows.taken_by(int(batch.received_ns[0])) for batch in rows.batches()]
    assert counts[0] == 1
    assert counts == sorted(counts)
    assert rows.taken_by(held.end_ns) == COUNT


def test_a_bouncing_market_accuses_no_column() -> None:
    """Where a move is mostly taken back, the last move says much of the next one, and nobody knew it."""
    rng = np.random.default_rng(3)
    close = 100 + np.cumsum(rng.normal(0, 0.01, 2_000)) + rng.choice([-0.5, 0.5], 2_000)
    opens = np.append(100.0, close[:-1])
    prices = {"open": opens, "high": np.maximum(opens, close), "low": np.minimum(opens, close), "close": close}
    mean = pd.Series(close).rolling(20).mean().to_numpy()
    for values in (opens, close - opens, np.append(0.0, np.diff(close)), mean):
        assert not knowledge("x", "X candle 1m", values, prices).knows_more
    assert knowledge("x", "X candle 1m", np.append(np.diff(close), 0.0), prices).knows_more


def test_columns_that_knew_more_are_told_from_those_that_did_not(feed: MemoryFeed) -> None:
    """A shifted close, a centred mean, a day's close filled back, a flag of the next move; no honest one."""
    found = {known.column: known for known in further_columns(feed)}
    assert {name for name, known in found.items() if known.knows_more} == {
        "next_close",
        "centred",
        "day_close",
        "will_rise",
    }
    assert set(found) >= {"average", "momentum", "before"}
    assert (found["next_close"].copied_price, found["next_close"].copied_ahead) == ("close", 1)
    assert found["will_rise"].ahead == 1
    assert isinstance(found["average"], Knowledge)
