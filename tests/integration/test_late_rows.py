"""Rows that come later than an order takes to arrive still happened before it: it meets the market after them."""

import pytest

import quantkit as qk
from quantkit.clock import NS_PER_MS
from quantkit.events import BookUpdate
from quantkit.feeds.replay import MemoryFeed
from quantkit.options import RunOptions
from quantkit.simulated import simulated_run

SWAP = qk.Instrument("X-USDT", kind="swap", price_step="1", qty_step="1")


class BuyOnce(qk.Strategy):
    """Buys one at the market at the second change of the book."""

    def on_start(self) -> None:
        self.subscribe_book(SWAP.id)
        self.seen = 0

    def on_book(self, book: qk.Book) -> None:
        self.seen += 1
        if self.seen == 2:
            self.buy(SWAP.id, 1)


@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize("lag_ms", [0, 10, 30, 60, 100, 500])
def test_a_market_order_fills_at_the_price_of_its_arrival(lag_ms: int, *, search: bool) -> None:
    """The offer moves from 101 to 110 at 1,005 ms; the order arrives after that, however late we see it."""

    def update(at_ms: int, asks: dict[float, float], *, snapshot: bool = False) -> BookUpdate:
        exchange_ns = at_ms * NS_PER_MS
        bids = ((99.0,), (9.0,)) if snapshot else ((), ())
        received_ns = exchange_ns + lag_ms * NS_PER_MS
        return BookUpdate(SWAP.id, exchange_ns, received_ns, *bids, tuple(asks), tuple(asks.values()), snapshot)

    rows = [
        update(0, {101.0: 5.0}, snapshot=True),
        update(1_000 - lag_ms, {102.0: 5.0}),  # what the strategy answers to, at 1,000 ms of its own time
        update(1_005, {101.0: 0.0, 102.0: 0.0, 110.0: 5.0}),
        update(3_000, {111.0: 1.0}),
    ]
    config = RunOptions(cash={"USDT": 1000}, latency_ns=20 * NS_PER_MS, search=search)
    outcome = simulated_run(MemoryFeed(rows, [SWAP]), BuyOnce(), config).run()
    assert [fill.price for fill in outcome.fills] == [110.0]
    assert outcome.fills[0].filled_ns == 1_020 * NS_PER_MS
