"""Wake-ups between rows: each comes before the rows of its moment, however many rows lie before it."""

import pytest

from quantkit import Instrument, Order, Side, Strategy, Trade, backtest
from quantkit.clock import NS_PER_MS, time_ns_of
from quantkit.feeds.replay import MemoryFeed

SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.001")
START_NS = time_ns_of("2025-01-01")
ROWS = 60


class Watcher(Strategy):
    """Notes the order of rows, timers and reports, in milliseconds since the start."""

    alarm_ms: int
    order_ms: int = -1

    def on_start(self) -> None:
        self.subscribe_trades(SWAP.id)
        self.at(START_NS + self.alarm_ms * NS_PER_MS, "alarm")
        self.seen: list[tuple[str, int]] = []

    def _note(self, what: str) -> None:
        self.seen.append((what, (self.now - START_NS) // NS_PER_MS))

    def on_trade(self, trade: Trade) -> None:
        self._note("row")
        if self.seen[-1][1] == self.order_ms:
            self.buy(SWAP.id, 1.0, price=1.0)

    def on_timer(self, name: str) -> None:
        self._note(name)

    def on_order(self, order: Order) -> None:
        self._note(order.state)


def seen_by(strategy: Watcher, block_rows: int) -> list[tuple[str, int]]:
    """Run a strategy over a row each millisecond."""
    stamps = [START_NS + at * NS_PER_MS for at in range(ROWS)]
    rows = [Trade(SWAP.id, at_ns, at_ns, 100.0, 1.0, Side.BUY) for at_ns in stamps]
    backtest(strategy, data=MemoryFeed(rows, [SWAP], block_rows=block_rows), cash={"USDT": 1e6}, latency_ms=20)
    return strategy.seen


@pytest.mark.parametrize("block_rows", [1_000, 7, 1])
@pytest.mark.parametrize("alarm_ms", [1, 2, 15, 16, 17, 18, 40, 59])
def test_a_timer_runs_before_the_row_of_its_moment(alarm_ms: int, block_rows: int) -> None:
    seen = seen_by(Watcher(alarm_ms=alarm_ms), block_rows)
    rows = [("row", at) for at in range(ROWS)]
    assert seen == [*rows[:alarm_ms], ("alarm", alarm_ms), *rows[alarm_ms:]]


@pytest.mark.parametrize("block_rows", [1_000, 7, 1])
@pytest.mark.parametrize("order_ms", [0, 3, 10])
def test_a_report_comes_before_the_row_of_its_moment(order_ms: int, block_rows: int) -> None:
    """It takes the latency twice, and a timer of the same moment runs after it."""
    due_ms = order_ms + 40
    seen = seen_by(Watcher(alarm_ms=due_ms, order_ms=order_ms), block_rows)
    rows = [("row", at) for at in range(ROWS)]
    end = [("cancelled", ROWS - 1)] if seen[-1][0] == "cancelled" else []
    assert seen == [*rows[:due_ms], ("accepted", due_ms), ("alarm", due_ms), *rows[due_ms:], *end]
