"""A live run's hooks see nothing before it happened and came; a backtest of its rows sees the same."""

import time
from pathlib import Path

from property.test_nothing_early import SUBSCRIBE, Witness
from property.ways_in import Given, Setting

import quantkit as qk
from quantkit.api import paper
from quantkit.feeds.okx.config import OkxConfig
from quantkit.rows.columns import Stream
from quantkit.sandbox.server import SandboxServer

SWAP = "BTC-USDT-SWAP"
SETTING = Setting(0, "UTC", "1s", None, 0, 0, 3, 1)


class LiveWitness(Witness):
    """Compares with the machine's clock too, and notes the rows and when it was given them."""

    def on_start(self) -> None:
        super().on_start()
        self.rows: list[tuple[str, int, int]] = []

    def see(self, source: str, numbers: list[float | None], *moments_ns: int) -> None:
        super().see(source, numbers, *moments_ns)
        wall_ns = time.time_ns()
        if any(moment > wall_ns for moment in moments_ns):
            self.early.append(f"{source}: stamped {moments_ns}, the clock says {wall_ns}")
        self.rows.append((source, self.now, max(moments_ns, default=0)))


def witness() -> LiveWitness:
    """Return a strategy that listens to every kind of row."""
    streams = [Stream(kind, SWAP, "1s" if kind == "candle" else "") for kind in SUBSCRIBE]
    return LiveWitness(Given(None, SWAP, {}), streams, SETTING)


def test_a_live_run_sees_nothing_early(tmp_path: Path) -> None:
    """Of any kind, in the warm-up, in hooks and looking back."""
    live = witness()
    with SandboxServer() as sandbox:
        paper(live, okx=OkxConfig(url=sandbox.url), record=tmp_path, duration="4s")
    assert live.early == []
    sources = {source for source, _, _ in live.rows}
    assert sources >= {*SUBSCRIBE, "book()", "candle 1s", "history"} - {"candle"}
    (run,) = tmp_path.iterdir()
    again = witness()
    qk.backtest(again, data=run / "data")
    assert again.early == []
    # The backtest begins and ends with the rows, the run with the wall clock: what both saw is the same.
    last_ns = min(live.rows[-1][1], again.rows[-1][1])
    seen = [[row for row in each.rows if row[1] <= last_ns and row[0] != "book()"] for each in (live, again)]
    assert set(seen[1]) <= set(seen[0])
