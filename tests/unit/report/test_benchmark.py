"""What a run is held against: its own instruments, others of the data, prices of the user's."""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
from handmade_run import SPOT, START_NS, SWAP, make_outcome, make_result

import quantkit as qk
from quantkit.clock import NS_PER_DAY, NS_PER_MIN
from quantkit.engine.outcome import DailyMark
from quantkit.errors import ConfigError
from quantkit.events import Mark, MarketEvent, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.report.benchmark import Benchmark, chosen, given_prices, of_marks
from quantkit.report.result import Result

NS_PER_HOUR = 60 * NS_PER_MIN


def test_the_first_traded_instrument_is_the_default() -> None:
    """Its price along the days, from its first mark on."""
    result = make_result()
    held = result.benchmark
    assert held is not None
    assert (held.name, held.start, held.closes.tolist()) == (SWAP.id, 100.0, [118.0, 120.0, 125.0])
    assert held.returns.tolist() == pytest.approx([0.18, 2 / 118, 5 / 120])
    assert held.return_pct == pytest.approx(25.0)
    assert result.numbers["buy_and_hold_pct"] == held.return_pct
    assert result.buy_and_hold == pytest.approx({SWAP.id: 25.0, SPOT.id: 100 * 26 / 99})
    assert repr(held) == f"<Benchmark {SWAP.id}, 3 days, +25.00 %>"
    assert make_result(fills=[], position_qty={}, excursions=[]).buy_and_hold == {}
    assert make_result(fills=[], position_qty={}, excursions=[]).benchmark.name == SWAP.id  # type: ignore[union-attr]


def test_an_instrument_that_comes_late_is_compared_from_then_on() -> None:
    """Its days before have no return, and its first one goes from its first price."""
    marks = [
        DailyMark(SWAP.id, START_NS + NS_PER_DAY + NS_PER_HOUR, 50.0),
        DailyMark(SWAP.id, START_NS + 2 * NS_PER_DAY, 55.0),
    ]
    outcome = make_outcome(daily_marks=[*marks, DailyMark(SWAP.id, START_NS + 3 * NS_PER_DAY, 66.0)])
    held = of_marks(outcome, SWAP.id)
    assert held is not None
    assert math.isnan(held.closes[0])
    assert math.isnan(held.returns[0])
    assert held.returns[1:].tolist() == pytest.approx([0.1, 0.2])
    assert held.return_pct == pytest.approx(32.0)
    result = make_result(daily_marks=outcome.daily_marks)
    assert result.numbers["buy_and_hold_pct"] == pytest.approx(32.0)
    # Two days are left, and two points always lie on a line.
    assert (result.numbers["beta"], result.numbers["correlation"], result.numbers["alpha_pct"]) == (None, None, None)
    assert make_result().numbers["beta"] is not None


def test_without_daily_marks_there_is_none_and_the_reason_is_said() -> None:
    """As in a result that an older quantkit saved."""
    result = make_result(daily_marks=[])
    assert (result.benchmark, result.buy_and_hold, result.numbers["beta"]) == (None, {}, None)
    assert [word for word in result.warnings if "older quantkit" in word] == [
        "no benchmark, buy_and_hold_pct, alpha_pct, beta, correlation, information_ratio: the run kept no daily marks; "
        "no price came, or an older quantkit saved it"
    ]


def days(*prices: float, start: str = "2025-05-05", tz: str | None = None) -> "pd.Series[Any]":
    """Return closes of days in a row."""
    index = pd.date_range(start, periods=len(prices), freq="D", tz=tz)
    return pd.Series(prices, index=index, name="index")


@pytest.mark.parametrize("tz", [None, "UTC"])
def test_prices_on_whole_days_are_their_closes(tz: str | None) -> None:
    """A run from midnight begins with the close of the day before."""
    given = given_prices(days(50.0, 60.0, 66.0, 33.0, start="2025-05-04", tz=tz))
    held = chosen(make_outcome(), given, None)
    assert held is not None
    assert (held.name, held.start, held.closes.tolist()) == ("index", 50.0, [60.0, 66.0, 33.0])
    assert held.return_pct == pytest.approx(-34.0)


def test_prices_within_days_hold_until_the_next() -> None:
    """The last one by each midnight; none from after the run's end, holes carried on, gaps left out."""
    stamps = pd.to_datetime(
        ["2025-05-04 23:00", "2025-05-05 12:00", "2025-05-06 01:00", "2025-05-07 20:00", "2025-05-07 23:00"]
    )
    series = pd.Series([10.0, 11.0, math.nan, 12.0, 99.0], index=stamps.tz_localize("Europe/Berlin").tz_convert("UTC"))
    end_ns = START_NS + 2 * NS_PER_DAY + 20 * NS_PER_HOUR
    held = chosen(make_outcome(end_ns=end_ns), given_prices(series), None)
    assert held is not None
    assert (held.name, held.start, held.closes.tolist()) == ("benchmark", 10.0, [11.0, 11.0, 12.0])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (5, "benchmark is int; give the id of an instrument, or a pandas Series of prices on a DatetimeIndex"),
        ("", "benchmark is str; give the id"),
        (pd.Series([1.0, 2.0]), "benchmark is Series; give the id"),
        (days(1.0, 2.0).to_frame(), "benchmark is DataFrame; give the id"),
        (
            days(0.01, -0.02),
            r"benchmark index: it holds no prices above zero; of returns make prices: \(1 \+ returns\)",
        ),
        (days(math.nan), "it holds no prices above zero"),
        (days(1.0, 2.0)[::-1], r"its times do not rise; sort it: series\.sort_index\(\)"),
        (days(1.0, 2.0).shift(freq="1h"), r"its times have no zone; localise them: series\.tz_localize\('UTC'\)"),
    ],
)
def test_a_wrong_benchmark_is_refused_before_the_run(wrong: Any, told: str) -> None:
    """Each message shows what to give."""
    with pytest.raises(ConfigError, match=told):
        qk.backtest("nothing_is_loaded_yet", benchmark=wrong)


# A run's own words ------------------------------------------------------------------------------------------------

A = Instrument("A-USDT", price_step="0.1", qty_step="0.001")
BEGIN_NS = START_NS + 12 * NS_PER_HOUR


class Holds(qk.Strategy):
    """Buys one and holds it."""

    def on_start(self) -> None:
        self.subscribe_trades(A.id)

    def on_trade(self, trade: Trade) -> None:
        if not self.position(A.id):
            self.buy(A.id, 1)


def feed() -> MemoryFeed:
    """Return three days of an instrument, and of two others beside it."""
    rows: list[MarketEvent] = []
    for hour in range(61):
        at_ns = BEGIN_NS + hour * NS_PER_HOUR
        rows.append(Trade(A.id, at_ns, at_ns, 100.0 + hour, 1.0, Side.BUY))
        rows.append(Trade("B-USDT", at_ns, at_ns, 50.0 - hour / 4, 1.0, Side.BUY))
        rows.append(Mark("C-USDT", at_ns, at_ns, 10.0 + hour % 7, "index" if hour == 12 else "mark"))
    return MemoryFeed(rows, [A], block_rows=7)


def run(**options: Any) -> Result:
    """Run it."""
    return qk.backtest(Holds(), data=feed(), cash={"USDT": 1000}, match_on="trade", **options)


def test_another_instrument_of_the_data_is_read_from_them() -> None:
    """Day by day as the run's own; an index price values nothing."""
    result = run(benchmark="B-USDT")
    held = result.benchmark
    assert held is not None
    assert (held.name, held.start, held.closes.tolist()) == ("B-USDT", 50.0, [47.0, 41.0, 35.0])
    assert (result.numbers["benchmark"], result.numbers["buy_and_hold_pct"]) == ("B-USDT", pytest.approx(-30.0))
    assert result.buy_and_hold == {A.id: pytest.approx(60.0)}
    third = run(benchmark="C-USDT").benchmark
    assert third is not None
    assert third.closes.tolist() == [10.0 + 11 % 7, 10.0 + 36 % 7, 10.0 + 60 % 7]
    # What a run is held against changes nothing that it did.
    assert run().hash == result.hash
    same = run(benchmark=A.id)
    assert same.numbers == run().numbers
    correlation = same.numbers["correlation"]
    assert isinstance(correlation, float)
    assert correlation > 0.9


def test_a_benchmark_that_nobody_has_is_refused() -> None:
    """Before the run, with what there is."""
    with pytest.raises(ConfigError, match="benchmark 'X-USDT' is no instrument of the run or its data as candles"):
        run(benchmark="X-USDT")


def test_a_benchmark_of_another_time_is_a_warning() -> None:
    """The run's result is not lost for it."""
    result = run(benchmark=days(1.0, 2.0, start="2030-01-01"))
    assert result.benchmark is not None
    assert result.benchmark.name == A.id
    told = "benchmark index: it has no price in the time of the run; the run is held against its own instrument instead"
    assert told in result.warnings


def test_a_benchmark_is_saved_with_its_result(tmp_path: Path) -> None:
    """Prices that somebody gave cannot be read again; days without one stay so."""
    result = run(benchmark=days(7.0, 6.0, start="2025-05-06"))
    held = result.benchmark
    assert isinstance(held, Benchmark)
    assert math.isnan(held.closes[0])
    loaded = Result.load(result.save(tmp_path / "run"))
    assert loaded.numbers == result.numbers
    assert loaded.manifest == result.manifest
    assert np.array_equal(loaded.benchmark.closes, held.closes, equal_nan=True)  # type: ignore[union-attr]
    assert "benchmark" not in run().manifest
    assert msgspec.json.decode(msgspec.json.encode(result.manifest["benchmark"]))["closes"] == [None, 7.0, 6.0]
