"""Two runs compared: what was set, what was read, what came out, and the first order that is another."""

import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import quantkit as qk
from quantkit.report.digest import result_hash
from quantkit.report.result import Result
from quantkit.runs.diff import MISSING, RunDiff, ValueChange
from quantkit.runs.folder import Runs

DATA = Path(__file__).parents[3] / "data"
Run = Callable[..., qk.Result]
Frame = Callable[[int], pd.DataFrame]


@pytest.fixture
def compared(run: Run, tmp_path: Path) -> Callable[..., RunDiff]:
    """Save two runs and compare them."""

    def compare(a: dict[str, Any], b: dict[str, Any]) -> RunDiff:
        for name, options in (("a", a), ("b", b)):
            shutil.rmtree(tmp_path / "runs" / name, ignore_errors=True)
            run(None, save=tmp_path / "runs" / name, **options)
        return Runs(tmp_path / "runs").diff("a", "b")

    return compare


def test_a_repeated_run_is_identical(compared: Callable[..., RunDiff]) -> None:
    """Nothing differs."""
    diff = compared({}, {})
    assert diff.is_identical
    assert diff.is_same_result
    assert (diff.code, diff.parameters, diff.options, diff.data, diff.numbers) == ([], [], [], [], [])
    assert (diff.order, diff.order_event, diff.fill, diff.code_diff, diff.notes) == (None, None, None, "", [])


def test_parameters_and_numbers_that_differ_are_named(compared: Callable[..., RunDiff]) -> None:
    """Both values of each, and the first order with its time, side, size and price."""
    diff = compared({"params": {"qty": 2}}, {"params": {"qty": 3}})
    assert diff.parameters == [ValueChange("qty", 2.0, 3.0)]
    assert (diff.is_identical, diff.is_same_result) == (False, False)
    assert (diff.code, diff.options, diff.data) == ([], [], [])
    fees = next(change for change in diff.numbers if change.name == "fees_paid")
    assert fees.b == pytest.approx(1.5 * fees.a)
    assert "trades" not in [change.name for change in diff.numbers]
    for first, at in ((diff.order, "2025-01-02T00:00:00Z"), (diff.fill, "2025-01-02T00:00:00Z")):
        assert first is not None
        assert first.a is not None
        assert first.b is not None
        assert (first.number, first.at) == (1, at)
        assert (first.a["qty"], first.b["qty"], first.a["side"]) == (2.0, 3.0, "buy")
        assert ValueChange("qty", 2.0, 3.0) in first.changes
        assert {"lots", "ticks"}.isdisjoint(first.a)
    assert diff.order_event is None


def test_a_run_with_more_orders_is_told(compared: Callable[..., RunDiff]) -> None:
    """The first one that the other does not have."""
    diff = compared({"end": "2025-01-20"}, {})
    assert diff.data[0] == ValueChange("end", "2025-01-20T00:00:00Z", "2025-02-10T00:00:00Z")
    assert diff.order is not None
    assert (diff.order.number, diff.order.at, diff.order.a) == (20, "2025-01-21T00:00:00Z", None)
    assert diff.order.changes == []
    assert diff.order.b is not None
    assert diff.order.b["side"] == "sell"


class Guarded(qk.Strategy):
    """Buy once, with a stop that is never reached."""

    stop: float = 5.0

    def on_start(self) -> None:
        self.subscribe_candles("GOOG", "1d")

    def on_candle(self, candle: qk.Candle) -> None:
        if not self.position("GOOG"):
            self.buy("GOOG", 1, stop_loss=self.stop)


def test_what_few_orders_have_is_compared(compared: Callable[..., RunDiff]) -> None:
    """A bracket's own stop is another order."""
    diff = compared({"strategy": Guarded(stop=5)}, {"strategy": Guarded(stop=4)})
    assert diff.order is not None
    assert diff.order.changes == [ValueChange("stop_loss", {"price": 5.0}, {"price": 4.0})]


def test_the_moment_is_that_of_the_earlier_one(compared: Callable[..., RunDiff]) -> None:
    """Whichever of the two runs it stands in."""
    for days in ((1, 3), (3, 1)):
        diff = compared(*({"params": {"first_day": day}} for day in days))
        assert diff.order is not None
        assert (diff.order.number, diff.order.at) == (1, "2025-01-02T00:00:00Z")
        assert "sent" in {change.name for change in diff.order.changes}


def test_a_later_difference_is_found_behind_equal_orders(compared: Callable[..., RunDiff], frame: Frame) -> None:
    """Those before are passed over; the moment is that of the earlier one of the two."""
    bars = frame(40)
    later = bars.copy()
    later.iloc[9, 0] += 0.5  # the open that the ninth order fills at
    diff = compared({"bars": bars}, {"bars": later})
    assert (diff.order, diff.fill) != (None, None)
    for first in (diff.order, diff.fill):
        assert first is not None
        assert (first.number, first.at) == (9, "2025-01-10T00:00:00Z")
    assert diff.order_event is None


def test_options_stand_one_by_one(compared: Callable[..., RunDiff]) -> None:
    """Those of an instrument or a currency too."""
    diff = compared({"seed": 1}, {"seed": 2, "cash": {"USD": 5_000}, "fees": qk.Fees(maker_bps=1, taker_bps=2)})
    changes = {change.name: (change.a, change.b) for change in diff.options}
    assert changes["seed"] == (1, 2)
    assert changes["cash.USD"] == ("10000", "5000")
    assert changes["fees.GOOG.maker_bps"][1] == 1.0
    assert diff.assumptions_a
    assert diff.assumptions_b
    assert not set(diff.assumptions_a) & set(diff.assumptions_b)


def test_other_options_that_change_nothing_are_not_identical(compared: Callable[..., RunDiff]) -> None:
    """The same result, but not the same run."""
    diff = compared({"seed": 1}, {"seed": 2})
    assert (diff.is_identical, diff.is_same_result, diff.options) == (False, True, [ValueChange("seed", 1, 2)])


def test_data_that_differ_are_told(compared: Callable[..., RunDiff]) -> None:
    """Frames by their digest."""
    diff = compared({"days": 39}, {"days": 40})
    assert {"end", "data_digest"} == {change.name for change in diff.data}


def strategy(folder: Path, step: str, helper: str = "STEP = 1") -> str:
    """Write a strategy with a module beside it."""
    folder.mkdir(parents=True)
    (folder / "beside.py").write_text(f"{helper}\n")
    (folder / "mine.py").write_text(
        textwrap.dedent(f"""
        import quantkit as qk
        from beside import STEP


        class Mine(qk.Strategy):
            def on_start(self):
                self.subscribe_candles("binance:BTC-USDT-SWAP", "1h")

            def on_candle(self, candle):
                self.target(candle.instrument, {step})
        """)
    )
    return str(folder / "mine.py")


def saved(file: str, folder: Path, **options: Any) -> qk.Result:
    """Run a strategy on the sample data in a process of its own, as two versions of a file are."""
    code = (
        "import sys, quantkit as qk\n"
        "qk.backtest(sys.argv[1], data=sys.argv[2], start='2025-05-06', end='2025-05-07', save=sys.argv[3],"
        " keep=sys.argv[4])"
    )
    subprocess.run([sys.executable, "-c", code, file, str(DATA), str(folder), str(folder.parent)], check=True)
    return Result.load(folder)


def test_code_is_compared_line_by_line(tmp_path: Path) -> None:
    """Of the strategy's own file and of the modules beside it."""
    runs = tmp_path / "runs"
    a = saved(strategy(tmp_path / "one", "0.01 * STEP"), runs / "a")
    b = saved(strategy(tmp_path / "two", "0.02 * STEP"), runs / "b")
    c = saved(strategy(tmp_path / "three", "0.02 * STEP", "STEP = 1  # the same"), runs / "c")
    assert list(a.sources) == ["mine.py", "beside.py"]
    diff = Runs(runs).diff("a", "b")
    assert [change.name for change in diff.code] == ["mine.py"]
    assert diff.code[0].a == a.config["strategy_digest"]
    assert "--- a/mine.py\n+++ b/mine.py\n" in diff.code_diff
    assert "-        self.target(candle.instrument, 0.01 * STEP)\n" in diff.code_diff
    assert "+        self.target(candle.instrument, 0.02 * STEP)\n" in diff.code_diff
    beside = Runs(runs).diff("b", "c")
    assert [change.name for change in beside.code] == ["beside.py"]
    assert (beside.is_same_result, beside.is_identical) == (True, False)
    assert b.hash == c.hash
    assert Runs(runs).diff("a", "a").is_identical


def test_numbers_alone_are_compared_as_far_as_they_go(run: Run, tmp_path: Path) -> None:
    """And what is not is said."""
    runs = tmp_path / "runs"
    run(runs, params={"qty": 2})
    run(runs, params={"qty": 3}, save=runs / "b")
    line = next(entry.id for entry in Runs(runs).list() if not entry.is_whole)
    diff = Runs(runs).diff(line, "b")
    assert diff.parameters == [ValueChange("qty", 2.0, 3.0)]
    assert diff.is_same_result is False
    assert (diff.order, diff.assumptions_a, diff.assumptions_b, diff.code) == (None, [], [], [])
    assert diff.notes == [
        f"of {line} only the numbers are kept: its assumptions, data files and orders are not compared"
    ]


def test_a_run_under_way_is_compared_as_far_as_it_goes(run: Run, tmp_path: Path) -> None:
    """Parameters and code are known from its beginning."""
    runs = tmp_path / "runs"
    with zipfile.ZipFile(DATA.parent / "tests" / "data" / "runs" / "0.2.0.zip") as packed:
        packed.extractall(runs / "live")
    run(None, save=runs / "saved")
    diff = Runs(runs).diff("live", "saved")
    assert diff.is_same_result is None
    assert (diff.options, diff.data, diff.numbers, diff.order) == ([], [], [], None)
    assert {"strategy", "qty"} <= {change.name for change in diff.parameters}
    assert [change.name for change in diff.code] == ["digest"]
    assert any(note.startswith("live has no result (it ended (completed)") for note in diff.notes)


def test_other_strategies_are_told_apart(run: Run, now: type[qk.Strategy], tmp_path: Path) -> None:
    """By name, and by parameters that one of them does not have."""
    runs = tmp_path / "runs"
    other = type("Other", (now,), {"__annotations__": {"extra": int}, "extra": 5})
    run(None, save=runs / "a")
    run(None, save=runs / "b", strategy=other)
    names = {change.name: change for change in Runs(runs).diff("a", "b").parameters}
    assert names["strategy"].b.endswith(":Other")
    assert names["extra"] == ValueChange("extra", MISSING, 5)


def test_a_hash_that_was_counted_in_another_way_is_counted_anew(run: Run, tmp_path: Path) -> None:
    """Two whole results can always be compared; numbers alone cannot."""
    runs = tmp_path / "runs"
    old = run(None)
    old._hash_encoding = "quantkit-result-1"
    old.hash = result_hash(old.outcome, "quantkit-result-1")
    old.save(runs / "old")
    run(runs, save=runs / "new")
    diff = Runs(runs).diff("old", "new")
    assert diff.a.hash != diff.b.hash
    assert diff.is_same_result is True
    shutil.rmtree(runs / "new")
    line = next(entry.id for entry in Runs(runs).list() if not entry.is_whole)
    assert Runs(runs).diff("old", line).is_same_result is None
