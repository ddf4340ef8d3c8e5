"""Every way a paper run can go, repeated three times to one hash: live, from its tape, and over its recorded rows."""

from pathlib import Path
from typing import Any

import pytest

import quantkit as qk
from quantkit.api import paper
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.rebuild import rebuild
from quantkit.live.verify import verify
from quantkit.sandbox import faults
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer

EVERYTHING = """
import time
from quantkit import Candle, Fill, Funding, Gap, Mark, Strategy, Ticker, Trade

class Everything(Strategy):
    lever: float = 0.0
    stall_s: float = 0.0

    def on_start(self) -> None:
        self.swap, self.ids = "BTC-USDT-SWAP", ("BTC-USDT-SWAP", "ETH-USDT")
        for name in self.ids:
            self.subscribe_candles(name, "1s", warmup=7)
            self.subscribe_candles(name, "1h", warmup=2)
            self.subscribe_book(name)
            self.subscribe_trades(name)
            self.subscribe_tickers(name)
        self.subscribe_funding(self.swap)
        self.subscribe_marks(self.swap)
        self.every("100ms", "fast")
        self.every("1s", "slow")
        self.ticks = self.rows = 0
        self.level = float(self.rng.random())

    def on_trade(self, trade: Trade) -> None:
        self.rows += 1

    def on_ticker(self, ticker: Ticker) -> None:
        self.rows += 1
        if self.rows % 40 == 0 and ticker.instrument == self.swap and ticker.bid is not None:
            self.buy(self.swap, 0.01, price=ticker.bid, post_only=True, tag=f"{self.level:.6f}")

    def on_mark(self, mark: Mark) -> None:
        self.level = mark.price

    def on_funding(self, funding: Funding) -> None:
        self.level += funding.rate

    def on_gap(self, gap: Gap) -> None:
        self.cancel_all(gap.instrument)

    def on_candle(self, candle: Candle) -> None:
        closes = [bar.close for bar in self.history(candle.instrument, candle.interval, 5)]
        self.level += sum(closes) * float(self.rng.random())

    def on_fill(self, fill: Fill) -> None:
        if self.rng.random() < 0.3:
            self.at(self.now + 37_000_000, "later")

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        if self.stall_s and self.ticks == 20:
            time.sleep(self.stall_s)
        if self.lever:
            self.target(self.swap, self.lever if self.ticks % 4 < 2 else -self.lever)
            return
        if name == "later":
            self.cancel_all(self.swap)
        for instrument in self.ids:
            book = self.book(instrument)
            if book is None or book.mid is None:
                continue
            if name == "slow":
                self.target(instrument, round(float(self.rng.random()) * 0.2, 2))
            elif self.ticks % 3 == 0:
                ask = book.best_ask if instrument == self.swap else None
                self.quote(instrument, bid=book.best_bid, ask=ask, qty=0.05)
"""

OUTAGES = [faults.Drop(after_s=second, path=path) for second in (1.5, 3.0, 5.0) for path in ("public", "business")]
BROKEN = [faults.LostPush(after_s=second, channel="books") for second in (2.0, 4.0, 6.0)]
HANDOVER = [faults.UpgradeNotice(after_s=2.5, close_after_s=1.0, path="public")]


class Case:
    """One way that a run can go."""

    def __init__(
        self,
        *,
        told: str = "",
        ended: str = "completed",
        injected: list[faults.Fault] | None = None,
        okx: dict[str, Any] | None = None,
        orders_per_s: float = 30.0,
        duration_s: float | None = 8.0,
        batch_ms: float = 0,
        **options: Any,
    ) -> None:
        self.told = told
        self.ended = ended
        self.injected = injected or []
        self.okx = okx or {}
        self.orders_per_s = orders_per_s
        self.duration_s = duration_s
        self.batch_ms = batch_ms
        self.options = {"cash": {"USDT": 10_000}, "seed": 5, **options}


CASES = {
    "outages": Case(told="gaps in book", injected=[*OUTAGES, *BROKEN, *HANDOVER]),
    "shedding": Case(
        told="rows shed", orders_per_s=200.0, okx={"queue_events": 150}, params={"stall_s": 3.0}, latency_ms=0
    ),
    "quiet": Case(duration_s=5.0, injected=[faults.Stall(channel="trades"), faults.Stall(channel="candle1H")]),
    "ruin": Case(
        told="equity fell to zero",
        ended="bankrupt",
        duration_s=None,
        params={"lever": 40.0},
        cash={"USDT": 60},
        max_leverage=100_000,
    ),
    "trades": Case(
        duration_s=5.0, match_on="trade", touch=True, fees=qk.Fees(maker_bps=-0.5, taker_bps=3.3), equity_every="1s"
    ),
    "batches": Case(duration_s=5.0, batch_ms=40.0, orders_per_s=200.0, latency_ms=3.7),
    "tickers": Case(duration_s=5.0, match_on="ticker", latency_ms=3.7, stale_after="2s"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_run_gives_one_hash_three_times(name: str, tmp_path: Path) -> None:
    """Several instruments, every kind of row, warm-ups, timers, history and chance; and what the case adds."""
    case = CASES[name]
    file = tmp_path / "everything.py"
    file.write_text(EVERYTHING)
    # A busy machine gets more time for what has to happen.
    for times in (1, 4, 16):
        runs = tmp_path / str(times)
        with SandboxServer(GeneratedMarket(3, orders_per_s=case.orders_per_s)) as sandbox:
            sandbox.inject(*case.injected)
            live = paper(
                str(file),
                okx=OkxConfig(url=sandbox.url, **case.okx),
                record=runs,
                duration=case.duration_s and f"{case.duration_s * times}s",
                batch_ms=case.batch_ms,
                **case.options,
            )
        is_told = any(case.told in warning for warning in live.warnings) or not case.told
        if len(live.fills) > 3 and is_told:
            break
    assert (len(live.fills) > 3, is_told) == (True, True)
    (run,) = runs.iterdir()
    verdict = verify(run)
    assert (verdict.difference, verdict.ended, verdict.fills) == (None, case.ended, len(live.fills))
    # The rows know the run's span: neither start nor end has to be given.
    assert qk.backtest(str(file), data=run / "data", **case.options).hash == live.hash
    rebuild(run)
    assert qk.backtest(str(file), data=run / "data", **case.options).hash == live.hash


WARMED = """
from quantkit import Candle, Strategy

class Warmed(Strategy):
    def on_start(self) -> None:
        self.subscribe_candles("ETH-USDT-SWAP", "1m", warmup=4)
        self.every("300ms")
        self.bars = self.ticks = 0

    def on_candle(self, candle: Candle) -> None:
        self.bars += 1

    def on_timer(self, name: str) -> None:
        self.ticks += 1
        self.target("ETH-USDT-SWAP", self.bars if self.ticks % 2 else 0)
"""


def test_rows_of_a_run_that_warmed_up_begin_where_the_run_did(tmp_path: Path) -> None:
    """The candles of the warm-up end up to a minute before; orders are matched on a book that was not there yet."""
    (file := tmp_path / "warmed.py").write_text(WARMED)
    with SandboxServer(GeneratedMarket(3)) as sandbox:
        live = paper(str(file), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="4s")
    assert len(live.fills) > 3
    (run,) = (tmp_path / "runs").iterdir()
    assert qk.backtest(str(file), data=run / "data").hash == live.hash
    rebuild(run)
    assert qk.backtest(str(file), data=run / "data").hash == live.hash
