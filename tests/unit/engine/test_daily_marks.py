"""The mark of each instrument from day to day: what it was valued at, whatever was traded and however rows are cut."""

from collections.abc import Sequence
from typing import Any

import pytest

from quantkit.clock import NS_PER_DAY, NS_PER_S, time_ns_of
from quantkit.engine.outcome import Outcome
from quantkit.errors import StrategyError
from quantkit.events import BookUpdate, MarketEvent, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.options import RunOptions
from quantkit.simulated import simulated_run
from quantkit.strategy import Strategy

START_NS = time_ns_of("2026-01-01T23:59:30Z")
MIDNIGHT_NS = START_NS + 30 * NS_PER_S
SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="1")
SPOT = Instrument("ETH-USDT", price_step="0.1", qty_step="0.001")


class Watcher(Strategy):
    """Looks at both instruments; buys or raises at its first trade where it is told to."""

    buys: float = 0.0
    fails: bool = False

    def on_start(self) -> None:
        self.subscribe_trades(SWAP.id)
        self.subscribe_trades(SPOT.id)

    def on_trade(self, trade: Trade) -> None:
        if self.fails:
            raise RuntimeError("broken")
        if self.buys and not self.position(SWAP.id):
            self.buy(SWAP.id, self.buys)


def trade(instrument: Instrument, at_ns: int, price: float) -> Trade:
    """Return a trade received as it was made."""
    return Trade(instrument.id, at_ns, at_ns, price, 1.0, Side.BUY)


def run(events: Sequence[MarketEvent], strategy: Strategy | None = None, **options: Any) -> Outcome:
    """Run a strategy over events in memory."""
    block_rows, kind = options.pop("block_rows", 131_072), options.pop("kind", "trade")
    options = {"match_on": {"*": kind}, "fees": Fees(0, 0), "latency_ns": 0, "max_leverage": 100, **options}
    feed = MemoryFeed(events, [SWAP, SPOT], block_rows=block_rows)
    return simulated_run(feed, strategy or Watcher(), RunOptions(cash={"USDT": 1000}, **options)).run()


def marks(outcome: Outcome, instrument: Instrument) -> list[tuple[int, float]]:
    """Return an instrument's daily marks."""
    return [(mark.at_ns, mark.price) for mark in outcome.daily_marks if mark.instrument == instrument.id]


EVENTS: list[MarketEvent] = [
    trade(SWAP, START_NS + NS_PER_S, 100.0),
    trade(SWAP, START_NS + 2 * NS_PER_S, 101.0),
    trade(SPOT, MIDNIGHT_NS, 10.0),
    trade(SWAP, MIDNIGHT_NS, 102.0),
    trade(SWAP, MIDNIGHT_NS, 103.0),  # of two rows at midnight the last
    trade(SWAP, MIDNIGHT_NS + 1, 104.0),  # the next day's
    # Two days without a row, and one at the last midnight.
    trade(SPOT, MIDNIGHT_NS + 3 * NS_PER_DAY, 12.0),
    trade(SWAP, MIDNIGHT_NS + 3 * NS_PER_DAY + NS_PER_S, 90.0),
]
END_NS = MIDNIGHT_NS + 3 * NS_PER_DAY + 5 * NS_PER_S


@pytest.mark.parametrize("block_rows", [1, 2, 3, 5, 131_072])
@pytest.mark.parametrize("buys", [0.0, 1.0])
def test_a_day_ends_with_the_last_row_by_its_midnight(block_rows: int, buys: float) -> None:
    """The first mark of an instrument whenever it comes, a midnight's without rows, and the end of the run."""
    found = run(EVENTS, Watcher(buys=buys), block_rows=block_rows, start_ns=START_NS, end_ns=END_NS)
    assert marks(found, SWAP) == [
        (START_NS + NS_PER_S, 100.0),
        (MIDNIGHT_NS, 103.0),
        (MIDNIGHT_NS + NS_PER_DAY, 104.0),
        (MIDNIGHT_NS + 2 * NS_PER_DAY, 104.0),
        (MIDNIGHT_NS + 3 * NS_PER_DAY, 104.0),
        (END_NS, 90.0),
    ]
    assert marks(found, SPOT) == [
        (MIDNIGHT_NS, 10.0),
        (MIDNIGHT_NS + NS_PER_DAY, 10.0),
        (MIDNIGHT_NS + 2 * NS_PER_DAY, 10.0),
        (MIDNIGHT_NS + 3 * NS_PER_DAY, 12.0),
        (END_NS, 12.0),
    ]


def test_days_are_those_of_the_equity_curve() -> None:
    """A position of one unit without fees moves the equity by what its mark moves."""
    found = run(EVENTS, Watcher(buys=1.0), start_ns=START_NS, end_ns=END_NS)
    curve, (fill,) = found.curve, found.fills
    grid = {int(t): float(e) for t, e, g in zip(curve.time_ns, curve.equity, curve.is_grid, strict=True) if g}
    for at_ns, price in marks(found, SWAP)[1:-1]:
        assert grid[at_ns] == 1000 + price - fill.price


def test_a_run_that_ends_at_midnight_has_one_mark_there() -> None:
    """That of the end, also where it is the first."""
    found = run(EVENTS[:5], start_ns=START_NS, end_ns=MIDNIGHT_NS)
    assert marks(found, SWAP) == [(START_NS + NS_PER_S, 100.0), (MIDNIGHT_NS, 103.0)]
    assert marks(found, SPOT) == [(MIDNIGHT_NS, 10.0)]


def test_a_midnight_behind_the_last_row_has_its_mark() -> None:
    """No row comes after it any more."""
    found = run(
        [
            *EVENTS[:2],
            trade(SPOT, START_NS, 9.0),
            trade(SWAP, MIDNIGHT_NS - 1, 99.0),
            trade(SPOT, MIDNIGHT_NS - 1, 8.0),
        ],
        start_ns=START_NS,
        end_ns=MIDNIGHT_NS + 20 * NS_PER_S,
    )
    assert marks(found, SWAP)[1:] == [(MIDNIGHT_NS, 99.0), (MIDNIGHT_NS + 20 * NS_PER_S, 99.0)]
    assert marks(found, SPOT) == [(START_NS, 9.0), (MIDNIGHT_NS, 8.0), (MIDNIGHT_NS + 20 * NS_PER_S, 8.0)]


@pytest.mark.parametrize("block_rows", [1, 131_072])
def test_a_run_that_ends_early_has_no_later_marks(block_rows: int) -> None:
    """Ruined in the middle of a batch, or ended by an error, whatever rows the batch still held."""
    fall = [trade(SWAP, MIDNIGHT_NS + 2, 1.0), *EVENTS[6:]]
    ruined = run([*EVENTS[:6], *fall], Watcher(buys=900.0), block_rows=block_rows, start_ns=START_NS, end_ns=END_NS)
    assert ruined.ended == "bankrupt"
    assert marks(ruined, SWAP) == [(START_NS + NS_PER_S, 100.0), (MIDNIGHT_NS, 103.0), (MIDNIGHT_NS + 2, 1.0)]
    assert marks(ruined, SPOT) == [(MIDNIGHT_NS, 10.0), (MIDNIGHT_NS + 2, 10.0)]
    options = RunOptions(cash={"USDT": 1000}, start_ns=START_NS, end_ns=END_NS, match_on={"*": "trade"})
    engine = simulated_run(MemoryFeed(EVENTS, [SWAP, SPOT], block_rows=block_rows), Watcher(fails=True), options)
    with pytest.raises(StrategyError) as caught:
        engine.run()
    partial = engine.partial_result(caught.value)
    assert partial is not None
    assert marks(partial, SWAP) == [(START_NS + NS_PER_S, 100.0)]


class Books(Strategy):
    """Looks at a book and never trades."""

    def on_start(self) -> None:
        self.subscribe_book(SWAP.id)


def book(at_ns: int, bid: float, ask: float, size: float = 1.0, *, is_snapshot: bool = True) -> BookUpdate:
    """Return a book of one level on each side, or its end with a size of 0."""
    return BookUpdate(SWAP.id, at_ns, at_ns, (bid,), (size,), (ask,), (size,), is_snapshot)


@pytest.mark.parametrize("block_rows", [1, 2, 3, 131_072])
def test_a_book_is_worth_its_mid_while_it_has_one(block_rows: int) -> None:
    """From the first row with a level on; a midnight at which it is empty has no mark."""
    events: list[MarketEvent] = [
        book(START_NS + 1, 100.0, 102.0),
        *(book(START_NS + 2 + n, 101.0 + n, 103.0 + n) for n in range(150)),
        book(MIDNIGHT_NS - 5, 110.0, 112.0),
        book(MIDNIGHT_NS - 4, 110.0, 112.0, 0.0, is_snapshot=False),
        book(MIDNIGHT_NS + 5, 120.0, 122.0),
        book(MIDNIGHT_NS + NS_PER_DAY + 5, 130.0, 132.0),
    ]
    end_ns = MIDNIGHT_NS + NS_PER_DAY + NS_PER_S
    found = run(events, Books(), kind="book", block_rows=block_rows, start_ns=START_NS, end_ns=end_ns)
    assert marks(found, SWAP) == [(START_NS + 1, 101.0), (MIDNIGHT_NS + NS_PER_DAY, 121.0), (end_ns, 131.0)]


@pytest.mark.parametrize("block_rows", [7, 131_072])
def test_a_book_is_looked_through_to_its_first_level(block_rows: int) -> None:
    """However many rows there are before."""
    empty = [book(START_NS + n, 100.0, 102.0, 0.0, is_snapshot=False) for n in range(700)]
    events: list[MarketEvent] = [*empty, book(START_NS + 700, 104.0, 106.0)]
    found = run(events, Books(), kind="book", block_rows=block_rows, start_ns=START_NS, end_ns=START_NS + 800)
    assert marks(found, SWAP) == [(START_NS + 700, 105.0), (START_NS + 800, 105.0)]
    none = run(empty, Books(), kind="book", block_rows=block_rows, start_ns=START_NS, end_ns=START_NS + 800)
    assert none.daily_marks == []


def test_a_book_that_stands_at_the_start_has_its_mark_there() -> None:
    """Rows from before the run have built it."""
    events = [book(START_NS - 5, 100.0, 102.0), *(book(START_NS + n, 104.0, 106.0) for n in (5, 9))]
    found = run(events, Books(), kind="book", start_ns=START_NS, end_ns=START_NS + 9)
    assert marks(found, SWAP) == [(START_NS, 101.0), (START_NS + 9, 105.0)]
