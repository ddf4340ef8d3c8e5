"""A paper run with sizes by money, money that travels and orders in parts: it repeats from its log and its rows."""

from pathlib import Path

import quantkit as qk
from quantkit.api import paper
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.verify import verify
from quantkit.sandbox.generated import GeneratedMarket
from quantkit.sandbox.server import SandboxServer

SIZED = """
import quantkit as qk

class Sized(qk.Strategy):
    def on_start(self) -> None:
        self.spot, self.swap = "BTC-USDT", "BTC-USDT-SWAP"
        for name in (self.spot, self.swap):
            self.subscribe_book(name)
        self.every("150ms")
        self.ticks = 0

    def on_timer(self, name: str) -> None:
        books = self.book(self.spot), self.book(self.swap)
        if None in books:
            return
        self.ticks += 1
        match self.ticks % 8:
            case 1:
                self.buy(self.spot, qk.Cash(500), at="fill")
            case 2:
                self.target_pct(self.swap, 0.2)
            case 3:
                self.sell(self.spot, qk.Pct(0.02))
            case 4:
                self.buy(self.swap, qk.Risk(0.001, stop=books[1].best_bid * 0.99))
            case 5:
                self.target_value(self.swap, -300.0)
            case 6:
                qk.Twap(self, self.swap, "buy", 0.4, over="400ms", slices=4)
            case 7:
                qk.Iceberg(self, self.swap, "sell", 0.3, price=books[1].best_bid, shown_qty=0.1)
            case 0:
                self.close(self.swap)
"""


def test_a_paper_run_with_sizes_by_money_repeats(tmp_path: Path) -> None:
    (file := tmp_path / "sized.py").write_text(SIZED)
    for times in (1, 4):  # a busy machine gets more time for what has to happen
        with SandboxServer(GeneratedMarket(3)) as sandbox:
            live = paper(
                str(file), okx=OkxConfig(url=sandbox.url), record=tmp_path / str(times), duration=f"{4 * times}s"
            )
        at_fill = [order for order in live.outcome.orders if order.amount is not None and order.amount.is_at_fill]
        if len(live.outcome.orders) > 15 and any(order.filled_qty for order in at_fill):
            break
    assert any(order.filled_qty for order in at_fill)
    assert all(order.state != "rejected" for order in at_fill)
    (run,) = (tmp_path / str(times)).iterdir()
    verdict = verify(run)
    assert (verdict.difference, verdict.ended, verdict.fills) == (None, "completed", len(live.fills))
    again = qk.backtest(str(file), data=run / "data")
    assert again.hash == live.hash
    assert [(order.id, order.qty, order.note) for order in again.outcome.orders] == [
        (order.id, order.qty, order.note) for order in live.outcome.orders
    ]
