"""A paper run with brackets and OCO groups: its log and its rows give the same children, ids, fills and hash again."""

from pathlib import Path

import quantkit as qk
from quantkit.api import paper
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.verify import verify
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer

GUARDED = """
from quantkit import Order, Strategy, TakeProfit

class Guarded(Strategy):
    def on_start(self) -> None:
        self.name = "BTC-USDT-SWAP"
        self.subscribe_book(self.name)
        self.subscribe_trades(self.name)
        self.every("150ms")
        self.ticks = self.children = 0

    def on_order(self, order: Order) -> None:
        self.children += bool(order.parent_id)
        if order.parent_id and self.children % 7 == 0:
            self.amend(order, qty=order.qty / 2)

    def on_timer(self, name: str) -> None:
        book = self.book(self.name)
        if book is None or book.mid is None:
            return
        self.ticks += 1
        step = self.instrument_info(self.name).price_step
        near, far = 2 * float(step), 3 * float(step)
        match self.ticks % 6:
            case 0:
                target = book.best_ask + far
                self.buy(self.name, 0.3, stop_loss=book.best_bid - near, take_profit=TakeProfit(target, target))
            case 2:
                target = book.best_bid - far
                self.sell(self.name, 0.2, stop_loss=book.best_ask + near, take_profit=TakeProfit(target, target))
            case 3:
                for price, away, call in ((book.best_bid, -near, self.buy), (book.best_ask, near, self.sell)):
                    call(self.name, 0.1, price=price, oco_group="in", stop_loss=price + away / 2)
            case 5:
                self.cancel_all(self.name)
"""


def test_a_paper_run_with_brackets_repeats(tmp_path: Path) -> None:
    (file := tmp_path / "guarded.py").write_text(GUARDED)
    for times in (1, 4):  # a busy machine gets more time for what has to happen
        with SandboxServer(GeneratedMarket(3)) as sandbox:
            live = paper(
                str(file), okx=OkxConfig(url=sandbox.url), record=tmp_path / str(times), duration=f"{4 * times}s"
            )
        children = [order for order in live.outcome.orders if order.parent_id]
        if len(children) > 6 and any(order.filled_qty for order in children):
            break
    assert any(order.filled_qty for order in children)
    assert live.stats["unprotected_total_s"] > 0
    (run,) = (tmp_path / str(times)).iterdir()
    verdict = verify(run)
    assert (verdict.difference, verdict.ended, verdict.fills) == (None, "completed", len(live.fills))
    again = qk.backtest(str(file), data=run / "data")
    assert again.hash == live.hash
    assert [order.id for order in again.outcome.orders] == [order.id for order in live.outcome.orders]
    assert again.outcome.unprotected == live.outcome.unprotected
