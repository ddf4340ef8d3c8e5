"""Further columns of a user's frame travel with their candles: as they stand there, at the close, and never before."""

import pickle
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators

import quantkit as qk
from quantkit import indicators
from quantkit.errors import ConfigError
from quantkit.events import NO_EXTRA, Candle, Extra
from quantkit.feeds.replay import MemoryFeed
from quantkit.importers import import_files
from quantkit.importers.frames import frame_feed
from quantkit.instruments import Instrument
from quantkit.rows.columns import Block, Stream

GOOG = Instrument("GOOG", quote="USD", price_step="0.01", qty_step="1")


def frame(rows: int = 200, **columns: Any) -> pd.DataFrame:
    index = pd.date_range("2025-05-05", periods=rows, freq="1min", tz="UTC")
    close = np.round(100 + np.random.default_rng(3).normal(size=rows).cumsum(), 2)
    prices = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 5.0}
    return pd.DataFrame({**prices, **columns}, index=index)


class Keeper(qk.Strategy):
    """Keeps what it is told, and what the history says at that moment."""

    intervals: tuple[str, ...] = ("1m",)
    warmup: int = 0

    def on_start(self) -> None:
        self.seen: list[Candle] = []
        self.histories: list[list[Candle]] = []
        for interval in self.intervals:
            self.subscribe_candles(GOOG.id, interval, warmup=self.warmup)

    def on_candle(self, candle: Candle) -> None:
        self.seen.append(candle)
        self.histories.append(self.history(GOOG.id, candle.interval, 3))


def seen(data: Any, **options: Any) -> Keeper:
    keeper = Keeper(**{name: options.pop(name) for name in ("intervals", "warmup") if name in options})
    qk.backtest(keeper, data=data, instruments=[GOOG], **options)
    return keeper


def same(one: Any, other: Any) -> bool:
    """Compare numbers with NaN equal to itself."""
    return type(one) is type(other) and (one == other or (one != one and other != other))


# What travels -------------------------------------------------------------------------------------------------------


def test_numbers_and_texts_travel_under_their_names() -> None:
    """Those of the row, under the names that the frame has; the prices are no part of it."""
    mine = frame(4, RSI=[np.nan, 30.5, -1e300, np.inf], regime=["up", "down", "", "up"], trades=[1, 2, 3, 2**53])
    mine["is_late"] = [True, False, True, False]
    mine[("a", 1)] = 7
    keeper = seen({GOOG.id: mine})
    assert len(keeper.seen) == 4
    for row, candle in enumerate(keeper.seen):
        assert list(candle.extra) == ["RSI", "regime", "trades", "is_late", "('a', 1)"]
        assert same(candle.extra["RSI"], float(mine["RSI"].iloc[row]))
        assert candle.extra["regime"] == mine["regime"].iloc[row]
        assert same(candle.extra["trades"], float(mine["trades"].iloc[row]))
        assert same(candle.extra["is_late"], float(row % 2 == 0))


@pytest.mark.parametrize(
    ("given_values", "wanted"),
    [
        (pd.array([1, None, 3], "Int64"), [1.0, np.nan, 3.0]),
        (pd.array([0.5, None, 2.5], "Float64"), [0.5, np.nan, 2.5]),
        (pd.array([True, None, False], "boolean"), [1.0, np.nan, 0.0]),
        (np.array([1, 2, 3], np.float32), [1.0, 2.0, 3.0]),
        (np.array([1, 2, 3], np.uint8), [1.0, 2.0, 3.0]),
        (pd.array(["a", None, "c"], "string"), ["a", "", "c"]),
        (pd.Series(["a", None, np.nan], dtype=object).to_numpy(), ["a", "", ""]),
        (pd.Categorical(["a", None, "b"]), ["a", "", "b"]),
        ([None, None, None], ["", "", ""]),
        ([np.nan, np.nan, np.nan], [np.nan, np.nan, np.nan]),
    ],
)
def test_what_is_missing_is_nan_or_an_empty_text(given_values: Any, wanted: list[Any]) -> None:
    mine = frame(3)
    mine["x"] = given_values
    found = [candle.extra["x"] for candle in seen({GOOG.id: mine}).seen]
    assert all(same(one, other) for one, other in zip(found, wanted, strict=True))


@pytest.mark.parametrize(
    ("given_values", "what"),
    [
        ([[1], [2], [3]], "holds a list"),
        (["a", 1, "b"], "holds a int"),
        (pd.date_range("2025-05-05", periods=3), "holds a Timestamp"),
        (pd.to_timedelta([1, 2, 3]), "holds a Timedelta"),
        ([1j, 2j, 3j], "holds a complex"),
        (pd.Categorical([1, 2, 3]), "holds a int"),
    ],
)
def test_what_cannot_travel_is_refused_in_a_line(given_values: Any, what: str) -> None:
    mine = frame(3)
    mine["note"] = given_values
    with pytest.raises(ConfigError) as error:
        seen({GOOG.id: mine})
    assert str(error.value) == (
        f"frame 'GOOG': column 'note' {what}; candle.extra has numbers and texts: make it one, or use "
        "frame.drop(columns='note')"
    )


def test_whole_numbers_that_no_float_holds_are_refused() -> None:
    mine = frame(3, trade_id=[1, 2, 2**53 + 1])
    with pytest.raises(ConfigError, match=r"whole numbers that no float holds; use frame\['trade_id'\].astype\(str\)"):
        seen({GOOG.id: mine})


def test_a_candle_from_elsewhere_has_none() -> None:
    candles = seen({GOOG.id: frame(3)}).seen
    assert all(candle.extra is NO_EXTRA for candle in candles)
    assert candles[0].extra == {}
    assert "rsi" not in candles[0].extra


def test_rows_on_a_smaller_step_take_theirs_with_them() -> None:
    """Each candle has the column of its own row, wherever rows between are left out."""
    mine = frame(30)
    mine["number"] = range(30)
    stray = mine.iloc[[10]].set_index(mine.index[[10]] + pd.Timedelta("7s")).assign(number=99)
    mine = pd.concat([mine, stray]).sort_index().drop(mine.index[20])
    numbers = [candle.extra["number"] for candle in seen({GOOG.id: mine}).seen]
    assert numbers == [float(number) for number in range(30) if number != 20]


def test_what_the_user_does_to_the_frame_afterwards_changes_nothing() -> None:
    mine = frame(3, x=[1.0, 2.0, 3.0])
    feed = frame_feed({GOOG.id: mine}, [GOOG])
    mine["x"] = 9.0
    mine.loc[mine.index[0], "close"] = 1.0
    stream = Stream("candle", GOOG.id, "1m")
    (block,) = feed.rows(stream, 0, 2**62)
    assert [extra["x"] for extra in block.extras()] == [1.0, 2.0, 3.0]


# When it comes ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(generators.integers(1, 90), generators.sampled_from([1, 3, 64, 1000]), generators.integers(0, 5))
def test_each_candle_has_its_row_however_rows_are_cut(rows: int, block_rows: int, warmup: int) -> None:
    """In hooks, warm-ups and histories; and of longer candles the last bar's."""
    mine = frame(rows + 1)
    mine["number"] = np.arange(rows + 1)
    keeper = seen({GOOG.id: mine}, block_rows=block_rows, intervals=("1m", "5m"), warmup=min(warmup, rows // 6))
    by_open = {stamp.value: number for stamp, number in zip(mine.index.as_unit("ns"), range(rows + 1), strict=True)}
    for candle, history in zip(keeper.seen, keeper.histories, strict=True):
        last_open = candle.close_ns - 60 * 10**9
        assert candle.extra == {"number": float(by_open[last_open])}
        assert candle.received_ns >= candle.close_ns
        assert history[-1].extra is candle.extra
        assert [each.extra["number"] for each in history] == [
            float(by_open[each.close_ns - 60 * 10**9]) for each in history
        ]


def test_an_indicator_from_outside_equals_the_one_inside() -> None:
    """A rolling mean of pandas, given beside the prices, and the package's own fed candle by candle."""

    class Compares(qk.Strategy):
        def on_start(self) -> None:
            self.subscribe_candles(GOOG.id, "1m")
            self.inside = indicators.Sma(14)
            self.pairs: list[tuple[float, float]] = []

        def on_candle(self, candle: Candle) -> None:
            mean = self.inside.update(candle.close)
            self.pairs.append((candle.extra["sma"], mean if self.inside.is_ready else float("nan")))

    mine = frame(300)
    mine["sma"] = mine["close"].rolling(14).mean()
    strategy = Compares()
    qk.backtest(strategy, data={GOOG.id: mine}, instruments=[GOOG])
    assert len(strategy.pairs) == 300
    outside, inside = map(np.array, zip(*strategy.pairs, strict=True))
    assert np.isnan(outside).tolist() == [True] * 13 + [False] * 287
    np.testing.assert_allclose(outside, inside, rtol=0, atol=1e-9, equal_nan=True)


def test_the_same_orders_come_of_either() -> None:
    """What is computed outside trades as what is computed inside: nothing is seen early."""

    class Crosses(qk.Strategy):
        is_inside: bool = True

        def on_start(self) -> None:
            self.subscribe_candles(GOOG.id, "1m")
            self.fast, self.slow = indicators.Sma(5), indicators.Sma(20)

        def on_candle(self, candle: Candle) -> None:
            fast, slow = self.fast.update(candle.close), self.slow.update(candle.close)
            is_ready = self.slow.is_ready
            if not self.is_inside:
                fast, slow = candle.extra["fast"], candle.extra["slow"]
                is_ready = slow == slow
            if is_ready:
                self.target(GOOG.id, 1 if fast - slow > 1e-9 else 0)

    mine = frame(400)
    mine["fast"], mine["slow"] = mine["close"].rolling(5).mean(), mine["close"].rolling(20).mean()
    results = [
        qk.backtest(Crosses, params={"is_inside": is_inside}, data={GOOG.id: mine}, instruments=[GOOG])
        for is_inside in (True, False)
    ]
    assert len(results[0].outcome.fills) > 10
    assert results[0].hash == results[1].hash


# Files --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_keeps_them_out_and_says_so(tmp_path: Path, kind: str) -> None:
    """A data folder holds candles alone; what exchanges send along is not worth a word."""
    mine = frame(5, rsi=30.5, word="up", quote_volume=7.0, ignore=0).rename_axis("time").reset_index()
    mine["Volume USDT"] = 3.0
    file = tmp_path / f"bars.{kind}"
    if kind == "csv":
        mine.to_csv(file, index=False)
    else:
        mine.to_parquet(file)
    report = import_files("candles", [file], to=tmp_path / "data", instrument="GOOG-USD")
    said = [warning for warning in report.warnings if "stayed out" in warning]
    assert said == [
        f"{file}: rsi, word stayed out: a data folder holds candles alone; a frame (data={{id: frame}}) takes further "
        "columns along as candle.extra"
    ]
    with_many = mine.assign(**{f"x{number}": 1.0 for number in range(9)})
    with_many.to_parquet(tmp_path / "many.parquet")
    report = import_files("candles", [tmp_path / "many.parquet"], to=tmp_path / "more", instrument="GOOG-USD")
    assert any(": rsi, word, x0, x1, x2 and 6 more stayed out" in warning for warning in report.warnings)


def test_ordinary_files_are_not_talked_about(tmp_path: Path) -> None:
    mine = (
        frame(5, close_time=1, count=2).rename_axis("unix").reset_index().assign(date="2025-05-05", symbol="GOOG-USD")
    )
    file = tmp_path / "bars.parquet"
    mine.to_parquet(file)
    report = import_files("candles", [file], to=tmp_path / "data", instrument="GOOG-USD")
    assert not any("stayed out" in warning for warning in report.warnings)


# What holds it ------------------------------------------------------------------------------------------------------


def test_nobody_can_write_into_it() -> None:
    (candle, *_) = seen({GOOG.id: frame(3, x=1.0)}).seen
    extra: Any = candle.extra
    for change in (
        lambda: extra.__setitem__("x", 2),
        lambda: extra.__delitem__("x"),
        lambda: extra.update(x=2),
        lambda: extra.pop("x"),
        lambda: extra.popitem(),
        lambda: extra.setdefault("y", 1),
        lambda: extra.clear(),
        lambda: extra.__ior__({"x": 2}),
    ):
        with pytest.raises(TypeError, match="cannot be changed; copy it: dict"):
            change()
    assert candle.extra == {"x": 1.0}
    assert dict(candle.extra) | {"y": 2} == {"x": 1.0, "y": 2}


def test_a_candle_is_what_it_was() -> None:
    """It can be hashed, pickled and written as JSON, with something beside it or without."""
    for beside in ({}, {"extra": Extra(rsi=30.5, word="up")}):
        candle = Candle(GOOG.id, 60, 60, 0, 60, 1.0, 2.0, 0.5, 1.5, 9.0, "1m", **beside)
        assert pickle.loads(pickle.dumps(candle)) == candle
        assert {candle: 1}[msgspec.structs.replace(candle)] == 1
        assert msgspec.json.decode(msgspec.json.encode(candle), type=Candle) == candle
        assert ("extra" in repr(candle)) is bool(beside)
        assert (b"extra" in msgspec.json.encode(candle)) is bool(beside)


def test_events_keep_theirs_in_any_cut() -> None:
    """Candles that somebody made, some with something beside them."""
    rows = [
        Candle(GOOG.id, n, n, n - 1, n, 1.0, 1.0, 1.0, 1.0, 1.0, "1m", {} if n % 3 else {"x": float(n)})
        for n in range(1, 12)
    ]
    block = Block.from_events(rows)
    assert block.events() == rows
    assert block.slice(2, 9).events() == rows[2:9]
    parts = [block.slice(0, 4), block.slice(4, 5), block.slice(5, 11)]
    joined = Block.concat(parts)
    assert joined.events() == rows
    assert joined.slice(3, 8).events() == rows[3:8]
    assert [dict(extra) for extra in joined.slice(1, 11).extras_at(np.array([1, 3, 4, 9]))] == [
        dict(rows[place + 1].extra) for place in (1, 3, 4, 9)
    ]
    feed = MemoryFeed(rows, [GOOG], block_rows=4)
    assert [event for each in feed.rows(block.stream, 0, 99) for event in each.events()] == rows
    assert not Block.from_events(rows[:2]).has_extras
