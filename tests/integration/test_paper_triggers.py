"""A paper run with every type of order, against the sandbox on real sockets, repeated from its recording."""

from pathlib import Path

import quantkit as qk
from quantkit.api import paper
from quantkit.feeds.okx.config import OkxConfig
from quantkit.live.journal import Output, Started, Stopped, read_log
from quantkit.live.verify import verify
from quantkit.orders import OrderType
from quantkit.sandbox.server import SandboxServer

TRIGGERS = """
from quantkit import Book, Strategy

class Triggers(Strategy):
    instrument: str = "BTC-USDT-SWAP"

    def on_start(self) -> None:
        self.subscribe_book(self.instrument)
        self.subscribe_trades(self.instrument)
        self.subscribe_marks(self.instrument)
        self.every("100ms")
        self.ticks = 0

    def on_timer(self, name: str) -> None:
        book: Book | None = self.book(self.instrument)
        if book is None or book.mid is None:
            return
        self.ticks += 1
        mid, step, which = book.mid, book.mid * 2e-6, self.ticks % 9
        call = self.buy if self.position(self.instrument) <= 0 else self.sell
        sign = 1 if call == self.buy else -1
        far, near = mid - sign * step, mid + sign * step
        if which == 1:
            call(self.instrument, 0.1, take_profit_price=far)
        elif which == 2:
            call(self.instrument, 0.1, price=near, take_profit_price=far, trigger_type="mark")
        elif which == 3:
            call(self.instrument, 0.1, stop_price=near, trigger_type="mark")
        elif which == 4:
            call(self.instrument, 0.1, trailing_offset=step)
        elif which == 5:
            call(self.instrument, 0.1, trailing_offset_bps=0.02, activation_price=far, trigger_type="mark")
        elif which == 6:
            call(self.instrument, 0.1, price=far - 9 * sign * step, expire_time=self.now + 150_000_000)
        elif which == 7:
            for order in self.open_orders(self.instrument):
                if order.stop_price is not None and order.trailing_offset is order.trailing_offset_bps is None:
                    self.amend(order, stop_price=near)
        elif which == 8:
            self.cancel_all(self.instrument)
"""


def test_a_run_with_every_type_of_order_is_repeated(tmp_path: Path) -> None:
    """Live, from the engine log and tape, and as a backtest of the recorded rows: one hash, and one log."""
    file = tmp_path / "triggers.py"
    file.write_text(TRIGGERS)
    with SandboxServer() as sandbox:
        live = paper(str(file), okx=OkxConfig(url=sandbox.url), record=tmp_path / "runs", duration="6s", seed=7)
    types = {order.type for order in live.outcome.orders}
    assert types >= {
        OrderType.TAKE_PROFIT,
        OrderType.TAKE_PROFIT_LIMIT,
        OrderType.STOP,
        OrderType.TRAILING_STOP,
        OrderType.LIMIT,
    }
    assert "expired" in {event.reason for event in live.outcome.order_events}
    (run,) = (tmp_path / "runs").iterdir()
    verdict = verify(run)
    assert (verdict.is_identical, verdict.difference) == (True, None)
    entries = list(read_log(run / "engine"))
    logged = [decision.terms for entry in entries if isinstance(entry, Output) for decision in entry.decisions]
    assert any(terms is not None and terms.is_trailing for terms in logged)
    started, stopped = entries[0], entries[-1]
    assert isinstance(started, Started)
    assert isinstance(stopped, Stopped)
    again = qk.backtest(
        str(file),
        data=run / "data",
        start=started.config["start_ns"],
        end=stopped.end_ns,
        seed=7,
        cash={"USDT": 10_000},
    )
    assert again.hash == live.hash
    loaded = qk.Result.load(run / "result")
    assert [order.terms for order in loaded.outcome.orders] == [order.terms for order in live.outcome.orders]
