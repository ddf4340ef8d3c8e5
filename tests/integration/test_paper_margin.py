"""A paper run with margin, two legs, brackets and sizes by money: it repeats from its log and from its rows."""

import threading
from pathlib import Path
from typing import Any

import quantkit as qk
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.status import LiveStatus
from quantkit.live.verify import verify
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer

SWAP = "BTC-USDT-SWAP"
MARGINED = """
import quantkit as qk

class Margined(qk.Strategy):
    def on_start(self) -> None:
        self.swap = "BTC-USDT-SWAP"
        self.subscribe_book(self.swap)
        self.every("70ms")
        self.ticks = 0

    def on_timer(self, name: str) -> None:
        book = self.book(self.swap)
        if book is None or book.best_bid is None or book.best_ask is None:
            return
        self.ticks += 1
        bid, ask, step = book.best_bid, book.best_ask, float(self.instrument_info(self.swap).price_step)
        # What margin says goes into the orders, so that a replay that has other numbers sends others.
        margins = [self.margin(self.swap, side=side) for side in ("long", "short")]
        told = "|".join(f"{each.ratio} {each.liquidation_price}" for each in margins)
        match self.ticks % 6:
            case 1:
                around = {"take_profit": ask + step, "stop_loss": bid - step}
                self.buy(self.swap, qk.Pct(4), position_side="long", tag=told, **around)
            case 2:
                self.sell(self.swap, qk.Risk(0.002, stop=ask * 1.002), position_side="short", tag=told)
            case 3:
                self.sell(self.swap, qk.Risk(0.001), position_side="short", stop_loss=ask + 40 * step, tag=told)
            case 4:
                self.target_pct(self.swap, -3, side="short")
            case 5:
                self.close(self.swap, side="long")
            case 0:
                self.buy(self.swap, qk.Pct(500), position_side="long", price=bid, expire_time=self.now + 50_000_000)
"""
#: The maintenance margin is not far below the initial one of 50x: what the market does moves the ratio.
TIERS = """instFamily,tier,minSz,maxSz,mmr,imr,maxLever
BTC-USDT,1,0,1000,0.01,0.01,100
BTC-USDT,2,1000,1000000,0.015,0.02,50
"""


def test_a_paper_run_with_margin_repeats(tmp_path: Path) -> None:
    (file := tmp_path / "margined.py").write_text(MARGINED)
    (tiers := tmp_path / "tiers.csv").write_text(TIERS)
    account: dict[str, Any] = {
        "margin": "cross",
        "leverage": {SWAP: 50},
        "tiers": str(tiers),
        "position_mode": "long_short",
        "cash": {"USDT": 10_000},
    }
    stop = threading.Event()

    def watch(status: LiveStatus) -> None:
        if status.fills_count > 30 and status.orders > 20:
            stop.set()

    with SandboxServer(GeneratedMarket(3)) as sandbox:
        okx = OkxConfig(url=sandbox.url)
        record = tmp_path / "runs"
        live = qk.paper(str(file), okx=okx, record=record, duration="60s", on_status=watch, stop=stop, **account)
    (run,) = record.iterdir()
    verdict = verify(run)
    assert (verdict.difference, verdict.fills) == (None, len(live.fills))
    again = qk.backtest(str(file), data=run / "data", **account)
    assert again.hash == live.hash

    # It was such a run.
    orders = live.outcome.orders
    assert {order.position_side for order in orders} == {"long", "short"}
    assert any(order.parent_id and order.filled_lots for order in orders)
    words = {order.note.partition("(")[0] for order in orders if order.amount is not None and order.filled_lots}
    assert {"Pct", "Risk"} <= words
    assert len({order.tag for order in orders if order.tag not in ("", "None None|None None")}) > 1
    assert any("cross margin at 50x" in said for said in live.assumptions)
