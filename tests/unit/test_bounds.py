"""Bounds of a run by the models of its queues: the same as separate runs, over rows that are read once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import quantkit as qk
from quantkit import api
from quantkit.brokers.send_clock import CallClock
from quantkit.cli.commands import main
from quantkit.clock import NS_PER_MS
from quantkit.errors import ConfigError
from quantkit.feeds.replay import ReplayFeed
from quantkit.report.bounds import FillBound
from quantkit.rows.batch import Batch
from quantkit.storage.catalog import Catalog

ROOT = Path(__file__).parents[2]
SPAN: dict[str, Any] = {"data": ROOT / "data", "end": "2024-08-08T23:54:40Z"}
QUOTER = str(ROOT / "strategies" / "quoter.py")


def came_to(model: str) -> FillBound:
    result = qk.backtest(QUOTER, queue_model=model, **SPAN)
    return FillBound(model, float(result.outcome.equity - result.outcome.starting_equity), len(result.outcome.fills))


def test_bounds_are_those_of_separate_runs(tmp_path: Path) -> None:
    result = qk.backtest(QUOTER, queue_model="proportional", bounds=True, **SPAN)
    assert result.bounds == [came_to("risk_averse"), came_to("proportional"), came_to("front")]
    assert result.hash == qk.backtest(QUOTER, queue_model="proportional", **SPAN).hash
    assert "depending on who stood in front of resting orders: risk_averse" in result.assumptions[-1]
    loaded = qk.Result.load(result.save(tmp_path / "kept"))
    assert (loaded.bounds, loaded.assumptions) == (result.bounds, result.assumptions)


class CountedFeed(ReplayFeed):
    """Counts the batches that it reads."""

    read = 0

    def batches(self, next_wake_ns: Callable[[], int] | None = None) -> Iterator[Batch]:
        for batch in super().batches(next_wake_ns):
            self.read += 1
            yield batch


def test_the_rows_are_read_once() -> None:
    """In small blocks, so that the runs go on in turn."""
    counts = []
    for bounds in (False, True):
        feed = CountedFeed(Catalog(SPAN["data"]), block_rows=500)
        qk.backtest(QUOTER, data=feed, end=SPAN["end"], queue_model="log", bounds=bounds)
        counts.append(feed.read)
    assert counts[0] == counts[1] > 3


def test_the_default_model_is_one_of_the_bounds() -> None:
    result = qk.backtest(QUOTER, bounds=True, **SPAN)
    assert [bound.queue_model for bound in result.bounds] == ["risk_averse", "front"]
    assert result.bounds[0].fills == len(result.outcome.fills)


class LateClock(CallClock):
    """Every message leaves 300 ms after its row, as a recording may say."""

    def moment_ns(self, now_ns: int) -> int:
        return now_ns + 300 * NS_PER_MS


def test_each_run_sends_by_the_clock_that_it_has_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the rows of a live run all of them send when that one did."""
    prompt = came_to("front")
    monkeypatch.setattr(api, "send_clock_of", lambda *_: LateClock())
    result = qk.backtest(QUOTER, bounds=True, **SPAN)
    assert result.bounds == [came_to("risk_averse"), came_to("front")]
    assert result.bounds[1] != prompt


def test_orders_without_queues_have_no_bounds() -> None:
    with pytest.raises(ConfigError, match="orders matched on trade data have none"):
        qk.backtest(QUOTER, bounds=True, match_on="trade", **SPAN)


def test_the_command_line_says_the_interval() -> None:
    flags = ["--data", str(SPAN["data"]), "--to", SPAN["end"], "--no-keep", "--bounds", "--queue-model", "power:3"]
    ran = CliRunner().invoke(main, ["backtest", QUOTER, *flags])
    assert ran.exit_code == 0, ran.output
    words = " ".join(ran.output.split())
    assert "net PnL lies between" in words
    assert "power:3" in words
