"""A paper run in the long/short mode: it shows its legs while it runs, and verifies."""

import threading
from pathlib import Path

import quantkit as qk
from quantkit.clock import wall_ns
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.journal import Output, Started, Stopped, config_of, read_log
from quantkit.live.status import LiveStatus
from quantkit.live.verify import verify
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer
from quantkit.web import metrics

TRADER = """
from quantkit import Strategy

class Trader(Strategy):
    def on_start(self) -> None:
        self.subscribe_book("BTC-USDT-SWAP")
        self.every("70ms")
        self.ticks = 0

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        held = 0.02 + self.ticks % 4 / 100
        self.target("BTC-USDT-SWAP", held, side="long")
        self.target("BTC-USDT-SWAP", -held / 2, side="short")
        book = self.book("BTC-USDT-SWAP")
        if self.ticks % 5 == 0 and book is not None and book.best_ask is not None:
            self.sell("BTC-USDT-SWAP", 1, price=book.best_ask * 1.1, position_side="long", tag="far")
        if self.ticks % 9 == 0:
            self.close("BTC-USDT-SWAP", side="long")
"""


def test_a_run_with_legs_is_shown_and_repeats(tmp_path: Path) -> None:
    """Two positions of one contract in status, metrics, log and result."""
    (file := tmp_path / "trader.py").write_text(TRADER)
    stop, seen = threading.Event(), list[LiveStatus]()

    def watch(status: LiveStatus) -> None:
        if len(status.positions) == 2 and status.fills_count > 12:
            seen.append(status)
            stop.set()

    with SandboxServer(GeneratedMarket(3)) as sandbox:
        result = qk.paper(
            str(file),
            okx=OkxConfig(url=sandbox.url),
            record=tmp_path / "runs",
            duration="60s",
            cash={"USDT": 100_000},
            on_status=watch,
            stop=stop,
            position_mode="long_short",
            venue_rules="off",
        )
    legs = {line.name: line.qty for line in seen[0].positions}
    assert list(legs) == ["BTC-USDT-SWAP long", "BTC-USDT-SWAP short"]
    assert legs["BTC-USDT-SWAP long"] > 0 > legs["BTC-USDT-SWAP short"]
    told = metrics.text(seen[0], age_ns=wall_ns() - seen[0].wall_ns, sockets=0)
    assert 'quantkit_live_position{instrument="BTC-USDT-SWAP",position_side="short"} -' in told
    (run,) = (tmp_path / "runs").iterdir()
    entries = list(read_log(run / "engine"))
    assert isinstance(entries[0], Started)
    assert config_of(entries[0].config).position_mode == "long_short"
    sides = {decision.position_side for e in entries if isinstance(e, Output) for decision in e.decisions}
    assert sides == {"long", "short"}
    assert isinstance(entries[-1], Stopped)
    assert entries[-1].positions == result.outcome.position_qty
    verdict = verify(run, trust=True)
    assert (verdict.difference, verdict.fills) == (None, len(result.fills))
