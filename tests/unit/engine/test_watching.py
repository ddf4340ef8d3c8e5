"""What a watcher may read of a run between two batches, and that reading it changes nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from cut_feed import CutFeed, Script

from quantkit.brokers.simulated.build import simulated
from quantkit.clock import NS_PER_DAY, NS_PER_MS, NS_PER_S
from quantkit.engine.engine import Engine
from quantkit.engine.prepared import Prepared
from quantkit.events import BookUpdate, Gap, MarketEvent, Trade
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.options import RunOptions
from quantkit.orders import OrderState
from quantkit.report.digest import result_hash
from quantkit.strategy import Strategy

SWAP = Instrument("AAA-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="1")
#: Runs begin ten seconds before a UTC midnight.
T0 = NS_PER_DAY - 10 * NS_PER_S
SECONDS = 30


def at(second: float) -> int:
    return T0 + round(second * NS_PER_S)


def rows() -> list[MarketEvent]:
    """Return a book that goes up by one a second, with trades at its bid."""
    found: list[MarketEvent] = []
    for n in range(SECONDS):
        price, ns = 100.0 + n, at(n + 0.1)
        bids = tuple(price - level for level in range(20)), tuple(5.0 + level for level in range(20))
        asks = tuple(price + 1 + level for level in range(20)), tuple(7.0 for _ in range(20))
        found.append(BookUpdate(SWAP.id, ns, ns, *bids, *asks, True))
        found.append(Trade(SWAP.id, at(n + 0.6), at(n + 0.6), price, 1.0, Side.SELL, n + 1))
    found.append(Gap(SWAP.id, at(20.2), at(20.2), "trades", at(20.0), at(20.1), "lost"))
    return found


class Trader(Strategy):
    """Buys three at 2 s, and quotes at the bid from 5 s on."""

    def on_start(self) -> None:
        self.subscribe_book(SWAP.id)
        self.subscribe_trades(SWAP.id)
        self.every("1s")
        self.second = 0

    def on_timer(self, name: str) -> None:
        self.second += 1
        if self.second == 2:
            self.buy(SWAP.id, 3)
        if self.second == 5:
            self.buy(SWAP.id, 2, price=90, tag="rests")


def run(look: Callable[[Engine, int], Any] | None = None, *, cut_ms: int = 500) -> str:
    """Run to the end, looking at it after each batch, and return the hash of the result."""
    options = RunOptions(
        cash={"USDT": 10_000},
        latency_ns=20 * NS_PER_MS,
        fees=Fees(maker_bps=0, taker_bps=10),
        start_ns=T0,
        end_ns=at(SECONDS),
        equity_every_ns=NS_PER_S,
    )
    cuts = range(T0, at(SECONDS) + 1, cut_ms * NS_PER_MS)
    prepared = Prepared(CutFeed(rows(), [SWAP], [*cuts]), Trader(), options, is_live=True)
    engines: list[Engine] = []
    progress = None if look is None else (lambda now_ns, *_: look(engines[0], now_ns))
    engines.append(Engine(prepared, simulated(options), progress=progress, commands=Script([(at(9), "pause")])))
    return result_hash(engines[0].run())


def everything(engine: Engine, now_ns: int) -> tuple[Any, ...]:
    """Read all there is."""
    books = [engine.book(name) for name in engine.books]
    return (
        [book.depth(12) for book in books if book is not None],
        engine.last_reports(40),
        [engine.queue_ahead(order) for order in engine.open_orders],
        engine.equity_at(now_ns),
        (engine.peak_equity, engine.last_gaps, engine.commands, engine.notes),
    )


@pytest.mark.parametrize("cut_ms", [100, 500, 7000])
def test_a_run_that_is_watched_is_the_same(cut_ms: int) -> None:
    assert run(everything, cut_ms=cut_ms) == run(cut_ms=cut_ms)


def test_what_is_read_is_as_of_now() -> None:
    seen: dict[float, Any] = {}

    def look(engine: Engine, now_ns: int) -> None:
        book = engine.book(SWAP.id)
        (order, *_) = engine.open_orders or [None]
        seen[(now_ns - T0) / NS_PER_S] = (
            None if book is None else book.best_bid,
            None if order is None else engine.queue_ahead(order),
            engine.peak_equity,
            engine.equity_at(NS_PER_DAY),
            [(report.at_ns, report.state) for report, _ in engine.last_reports(2)],
            len(engine.last_gaps),
            engine.is_paused,
        )

    run(look)
    # Three bought at 102 as the book of 1.1 shows it, with ten basis points of fee; marked at the mid.
    fee = 3 * 102 * 0.001
    assert seen[0.5][0] == 100.0
    assert seen[5.5][:2] == (105.0, 19.0)  # at the level as the order came to it, one deeper since
    assert seen[25.5][0] == 125.0
    assert seen[25.5][2] == pytest.approx(10_000 + 3 * (125.5 - 102) - fee)
    assert seen[8.5][3] == pytest.approx(10_000 + 3 * (107.5 - 102) - fee)  # the last row by then
    assert seen[25.5][3] == pytest.approx(10_000 + 3 * (109.5 - 102) - fee)  # that of midnight
    assert seen[3.5][4][-1][1] is OrderState.FILLED
    assert (seen[20.0][5], seen[20.5][5]) == (0, 1)
    assert (seen[8.5][6], seen[9.0][6]) == (False, True)
