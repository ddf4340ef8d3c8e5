"""How many Python functions an order costs: the figure carries no noise, so a test can hold it.

`tests/bench/orders.py` measures the time. Lower the figures here when an order has become cheaper.
"""

import gc
import sys
from types import FrameType

import pytest

from quantkit import Fill, Instrument, Order, Side, Strategy, Trade, backtest
from quantkit.clock import NS_PER_MS, time_ns_of
from quantkit.events import MarketEvent
from quantkit.feeds.replay import MemoryFeed

SWAP = Instrument("BENCH-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.001")
START_NS = time_ns_of("2025-01-01")
#: Trades for each order: it is sent at one, fills at the next, and is reported before the one after that.
SPACING = 10
ORDERS = 40
TRADES: list[MarketEvent] = [
    Trade(SWAP.id, at_ns, at_ns + NS_PER_MS, 50_000 + n % 7 / 10, 1.0, Side.BUY if n % 2 else Side.SELL)
    for n, at_ns in enumerate(range(START_NS, START_NS + 100 * NS_PER_MS * (ORDERS * SPACING + 30), 100 * NS_PER_MS))
]


class Counted(Strategy):
    """Does one thing at every tenth trade, so many times, and counts what comes of it."""

    times: int
    amends: bool = False

    def on_start(self) -> None:
        self.subscribe_trades(SWAP.id)
        self.seen = self.reports = self.fills = 0

    def on_trade(self, trade: Trade) -> None:
        self.seen += 1
        if self.amends and self.seen == 1:
            self.order = self.buy(SWAP.id, 0.01, price=10_000.0)
        done, rest = divmod(self.seen, SPACING)
        if rest == 0 and done <= self.times:
            if self.amends:
                self.amend(self.order, price=10_000.0 + done)
            elif done % 2:
                self.buy(SWAP.id, 0.01)
            else:
                self.sell(SWAP.id, 0.01)

    def on_order(self, order: Order) -> None:
        self.reports += 1

    def on_fill(self, fill: Fill) -> None:
        self.fills += 1


def calls_of(strategy: Counted) -> int:
    """Run a strategy and return how many Python functions were entered."""
    count = 0

    def note(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    feed = MemoryFeed(TRADES, [SWAP])
    before = sys.getprofile()
    gc.collect()
    gc.disable()  # a collection may call functions that others have registered
    sys.setprofile(note)
    try:
        backtest(strategy, data=feed, cash={"USDT": 1e6})
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


@pytest.mark.parametrize(("amends", "most"), [(False, 107), (True, 54)], ids=["market order and fill", "amend"])
def test_python_calls_of_an_order(amends: bool, most: int) -> None:
    """Half as many orders on the same trades: the difference is what one of them costs."""
    half, whole = Counted(times=ORDERS // 2, amends=amends), Counted(times=ORDERS, amends=amends)
    calls_of(Counted(times=1, amends=amends))  # what is imported or remembered once
    each = (calls_of(whole) - calls_of(half)) / (ORDERS // 2)
    assert whole.reports - half.reports == ORDERS // 2 * (1 if amends else 2)
    assert whole.fills - half.fills == (0 if amends else ORDERS // 2)
    assert each <= most
