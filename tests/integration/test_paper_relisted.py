"""Live runs whose instrument's metadata change: the rules follow, the recording repeats it, or the run ends whole."""

import json
from pathlib import Path
from typing import Any

import pytest

import quantkit as qk
from quantkit.api import paper
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.journal import Started, Stopped, read_log
from quantkit.live.rebuild import rebuild
from quantkit.live.verify import verify
from quantkit.sandbox import wire
from quantkit.sandbox.channels import Topic
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.market import TopicPush
from quantkit.sandbox.server import SandboxServer
from quantkit.storage.catalog import Catalog

SWAP = "BTC-USDT-SWAP"
CHANGES = Topic("instruments", "SWAP")

RESTING = """
from quantkit import Strategy

class Resting(Strategy):
    def on_start(self):
        self.subscribe_book("BTC-USDT-SWAP")
        self.every("100ms")
        self.seen = []
        self.lots = 0.01

    def on_timer(self, name):
        info = self.instrument_info("BTC-USDT-SWAP")
        book = self.book("BTC-USDT-SWAP")
        if book is None or book.best_bid is None:
            return
        if not self.seen or self.seen[-1] != info.min_qty:
            self.seen.append(info.min_qty)
            self.buy("BTC-USDT-SWAP", 0.01, price=book.best_bid * 0.9)
            self.buy("BTC-USDT-SWAP", float(info.min_qty))
"""


class Relisting(GeneratedMarket):
    """Says something else of the swap than what REST listed, a second after somebody listens for it."""

    def __init__(self, **changes: str) -> None:
        super().__init__(7)
        self.changes = changes
        self.due_ms: int | None = None

    def first(self, topic: Topic, now_ms: int) -> list[TopicPush]:
        if topic == CHANGES:
            self.due_ms = now_ms + 1000
        return super().first(topic, now_ms)

    def tick(self, now_ms: int) -> None:
        super().tick(now_ms)
        if self.due_ms is not None and now_ms >= self.due_ms:
            self.due_ms = None
            (row,) = (row for row in self.instruments() if row["instId"] == SWAP)
            changed: dict[str, Any] = {**row, **self.changes}
            assert self._exchange is not None
            self._exchange.publish(CHANGES, TopicPush(wire.rows(changed)))


@pytest.fixture
def resting(tmp_path: Path) -> Path:
    file = tmp_path / "resting.py"
    file.write_text(RESTING)
    return file


def test_the_rules_follow_and_the_recording_gives_the_same_hash(resting: Path, tmp_path: Path) -> None:
    """Live, repeated from log and tape, as a backtest over its rows, and over rows rebuilt from the tape.

    The order that rested is cancelled, since the new minimum is above its size.
    """
    with SandboxServer(Relisting(minSz="0.5", lotSz="0.05")) as sandbox:
        live = paper(str(resting), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="3s")
    (run,) = (tmp_path / "runs").iterdir()
    assert [str(change.min_qty) for change in live.instrument_changes] == ["0.5"]
    reasons = [order.reason for order in live.outcome.orders]
    assert reasons == ["instrument_changed", "", "51020: size is below the smallest order", ""]
    assert [order.qty for order in live.outcome.orders if order.state == "filled"] == [0.01, 0.5]
    verdict = verify(run)
    assert (verdict.is_identical, verdict.difference) == (True, None)
    assert len(Catalog(run / "data").versions()[SWAP]) == 2
    entries = list(read_log(run / "engine"))
    started, stopped = entries[0], entries[-1]
    assert isinstance(started, Started)
    assert isinstance(stopped, Stopped)
    span = {"start": started.config["start_ns"], "end": stopped.end_ns}
    assert qk.backtest(str(resting), data=run / "data", cash={"USDT": 10_000}, **span).hash == live.hash
    rebuild(run)
    assert qk.backtest(str(resting), data=run / "data", cash={"USDT": 10_000}, **span).hash == live.hash


def test_a_change_that_cannot_be_counted_ends_the_run_with_its_result(resting: Path, tmp_path: Path) -> None:
    """A contract of another worth: nothing is lost, the reason is told, and what was recorded can be run."""
    with SandboxServer(Relisting(ctVal="0.02")) as sandbox:
        live = paper(str(resting), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="60s")
    assert live.outcome.ended == "completed"
    assert live.outcome.end_ns - live.outcome.start_ns < 30 * 10**9
    assert "contract_value from 0.01 to 0.02" in "\n".join(live.warnings)
    (run,) = (tmp_path / "runs").iterdir()
    assert verify(run).is_identical
    assert len(Catalog(run / "data").versions()[SWAP]) == 1
    assert json.loads((run / "result" / "manifest.json").read_bytes())["hash"] == live.hash


ASKING = """
from quantkit import Strategy

class Asking(Strategy):
    def on_start(self):
        self.subscribe_trades("BTC-USDT-SWAP")
        self.every("1s")

    def on_timer(self, name):
        self.buy("BTC-USDT-SWAP", float(self.instrument_info("ETH-USDT-SWAP").min_qty))
"""


def test_metadata_that_a_strategy_asked_for_are_recorded(tmp_path: Path) -> None:
    """Of an instrument without rows as well, and in rows rebuilt from the tape: a backtest asks for them again."""
    (file := tmp_path / "asking.py").write_text(ASKING)
    with SandboxServer(GeneratedMarket(7)) as sandbox:
        live = paper(str(file), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="2s")
    assert live.outcome.orders
    (run,) = (tmp_path / "runs").iterdir()
    assert verify(run).is_identical
    stopped = list(read_log(run / "engine"))[-1]
    assert isinstance(stopped, Stopped)
    assert stopped.asked == [SWAP, "ETH-USDT-SWAP"]
    span = {"start": live.config["start_ns"], "end": stopped.end_ns}
    for _ in range(2):
        assert sorted(Catalog(run / "data").instruments()) == stopped.asked
        assert qk.backtest(str(file), data=run / "data", cash={"USDT": 10_000}, **span).hash == live.hash
        rebuild(run)
