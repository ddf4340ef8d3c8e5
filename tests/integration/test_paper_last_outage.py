"""Streams that are down or shed when a paper run ends: told as gaps, whether its time is over or somebody ends it."""

import threading
from pathlib import Path
from typing import Any

import pytest

import quantkit as qk
from quantkit.api import paper
from quantkit.events import Gap
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.rebuild import rebuild
from quantkit.live.status import LiveStatus
from quantkit.live.verify import verify
from quantkit.rows.columns import Stream
from quantkit.sandbox import faults
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

SWAP = "BTC-USDT-SWAP"

ALL = """
import time
from quantkit import Strategy

class All(Strategy):
    stall_s: float = 0.0

    def on_start(self) -> None:
        self.subscribe_book("BTC-USDT-SWAP")
        self.subscribe_trades("BTC-USDT-SWAP")
        self.subscribe_tickers("BTC-USDT-SWAP")
        self.every("100ms")
        self.ticks = 0

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        if self.stall_s and self.ticks == 8:
            time.sleep(self.stall_s)
        self.target("BTC-USDT-SWAP", 0.1 * (self.ticks % 2))
"""


def gaps_of(run: Path) -> list[Gap]:
    """Return the gap rows of a run's own data."""
    catalog = Catalog(run / "data")
    held = catalog.coverage().get(Stream("gap", SWAP))
    if held is None:
        return []
    return [
        gap for gap in read_events(catalog, [Stream("gap", SWAP)], held.start_ns, held.end_ns) if isinstance(gap, Gap)
    ]


def run_all(
    tmp_path: Path, how: str, *injected: faults.Fault, seconds: float = 4.0, **options: Any
) -> tuple[qk.Result, Path, str]:
    """Run until its time is over, or until it is stopped after as long; check that it repeats."""
    (file := tmp_path / "all.py").write_text(ALL)
    okx = options.pop("okx", {})
    stop = threading.Event()
    waiting = list(injected)

    def watch(status: LiveStatus) -> None:
        if waiting and status.wall_ns - status.started_ns > 1e9 * seconds / 2:
            sandbox.inject(*waiting)
            waiting.clear()
        if how == "stopped" and status.wall_ns - status.started_ns > seconds * 1e9:
            stop.set()

    with SandboxServer(GeneratedMarket(3, orders_per_s=1000.0)) as sandbox:
        live = paper(
            str(file),
            okx=OkxConfig(url=sandbox.url, **okx),
            record=tmp_path / "runs",
            duration=f"{seconds}s" if how == "timed" else None,
            on_status=watch,
            stop=stop,
            **options,
        )
    (run,) = (tmp_path / "runs").iterdir()
    assert verify(run).difference is None
    recorded = gaps_of(run)
    again = qk.backtest(str(file), data=run / "data", **options)
    assert (again.hash, [w for w in again.warnings if "gap" in w]) == (
        live.hash,
        [w for w in live.warnings if "gap" in w],
    )
    rebuild(run)
    assert gaps_of(run) == recorded
    return live, run, str(file)


@pytest.mark.parametrize("how", ["timed", "stopped"])
def test_an_outage_that_lasts_to_the_end_is_told_for_every_stream(how: str, tmp_path: Path) -> None:
    """The connection is lost and cannot be had again: trades and quotes are as lost as the book."""
    down = [
        faults.Handshake(path="public", retry_after_s=60, times=0),
        faults.Drop(path="public"),
    ]
    live, run, _ = run_all(tmp_path, how, *down)
    end_ns = live.config["end_ns"]
    gaps = gaps_of(run)
    assert {gap.channel for gap in gaps} == {"book", "trade", "ticker", "mark", "funding"}
    for gap in gaps:
        assert gap.received_ns <= end_ns
        assert gap.to_ns <= end_ns
    if how == "timed":
        assert {gap.received_ns for gap in gaps if gap.channel != "book"} == {end_ns}
        assert live.config["end_ns"] - live.config["start_ns"] == 4_000_000_000
    assert any("1 gap in trade" in warning for warning in live.warnings)


@pytest.mark.parametrize("how", ["timed", "stopped"])
def test_rows_that_are_shed_at_the_end_are_told(how: str, tmp_path: Path) -> None:
    """The hook sleeps past the end, with more rows behind it than may wait."""
    options = {"params": {"stall_s": 1.6}, "okx": {"queue_events": 100}}
    live, run, _ = run_all(tmp_path, how, seconds=1.5 if how == "timed" else 1.0, **options)
    gaps = gaps_of(run)
    assert {"book", "trade"} <= {gap.channel for gap in gaps}
    assert all(gap.to_ns <= live.config["end_ns"] for gap in gaps)
    assert any("rows shed" in warning for warning in live.warnings)
