"""A run that starts in the middle of a recording knows the book as it stood there."""

from pathlib import Path

import numpy as np
import pytest

import quantkit as qk
from quantkit.clock import NS_PER_MS
from quantkit.events import BookUpdate, Gap, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.options import RunOptions
from quantkit.simulated import simulated_run

DATA = Path(__file__).parents[2] / "data"
BOOK = "binance:BTC-USDT-SWAP"
SWAP = qk.Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1")


class Watch(qk.Strategy):
    """Notes the best ten levels every five seconds."""

    instrument: str = BOOK

    def on_start(self) -> None:
        self.subscribe_book(self.instrument)
        self.every("5s")
        self.seen: dict[int, list[np.ndarray] | None] = {}

    def on_timer(self, name: str) -> None:
        book = self.book(self.instrument)
        self.seen[self.now] = None if book is None else list(book.depth(10))


def test_books_from_the_middle_equal_those_of_the_whole_run() -> None:
    """Every book seen after the later start is the one that the whole run saw at that moment."""
    whole, late = Watch(), Watch()
    qk.backtest(whole, data=DATA)
    qk.backtest(late, data=DATA, start="2024-08-08T23:57:30Z")
    assert len(late.seen) > 20
    for at_ns, levels in late.seen.items():
        assert levels is not None
        expected = whole.seen[at_ns]
        assert expected is not None
        for side, wanted in zip(levels, expected, strict=True):
            np.testing.assert_array_equal(side, wanted)


def test_a_late_start_trades_from_its_first_moments() -> None:
    """The display is as fresh as the last row before the start, so orders of the first second can fill."""
    result = qk.backtest("strategies/quoter.py", data=DATA, start="2024-08-08T23:57:30Z", end="2024-08-08T23:58:30Z")
    assert len(result.fills) > 0
    assert not any("snapshot" in warning for warning in result.warnings)


def rows(*, with_gap: bool) -> list[BookUpdate | Trade | Gap]:
    """Return a snapshot, a change after it and perhaps a gap, all before the start at 1 s, and rows after it."""

    def update(at_ms: int, bid: tuple[float, float], ask: tuple[float, float] | None, *, snapshot: bool) -> BookUpdate:
        asks = ((), ()) if ask is None else ((ask[0],), (ask[1],))
        return BookUpdate(SWAP.id, at_ms * NS_PER_MS, at_ms * NS_PER_MS, (bid[0],), (bid[1],), *asks, snapshot)

    found: list[BookUpdate | Trade | Gap] = [
        update(100, (100.0, 5.0), (101.0, 5.0), snapshot=True),
        update(400, (100.5, 2.0), None, snapshot=False),
        update(1_200, (100.0, 4.0), None, snapshot=False),
        update(7_000, (100.0, 3.0), None, snapshot=False),
    ]
    if with_gap:
        found.append(Gap(SWAP.id, 500 * NS_PER_MS, 500 * NS_PER_MS, "book", 400 * NS_PER_MS, 500 * NS_PER_MS, "lost"))
    return found


@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize("with_gap", [False, True])
def test_a_gap_before_the_start_leaves_no_book(*, with_gap: bool, search: bool) -> None:
    """The changes since the snapshot are applied; after a gap there is no book, and the result says so."""
    watch = Watch(instrument=SWAP.id)
    config = RunOptions(cash={"USDT": 1000}, start_ns=1000 * NS_PER_MS, end_ns=7_000 * NS_PER_MS, search=search)
    outcome = simulated_run(MemoryFeed(rows(with_gap=with_gap), [SWAP]), watch, config).run()
    (levels,) = watch.seen.values()
    if with_gap:
        assert levels is None
        assert any("a snapshot is missing" in warning for warning in outcome.warnings)
    else:
        assert levels is not None
        assert levels[0].tolist() == [[100.5, 2.0], [100.0, 4.0]]
        assert levels[1].tolist() == [[101.0, 5.0]]
        assert not any("a snapshot is missing" in warning for warning in outcome.warnings)


# A book that is read now and then -----------------------------------------------------------------------------------


class Stamps(qk.Strategy):
    """Notes twice a second when the book changed last, while another kind of row decides fills."""

    def on_start(self) -> None:
        self.subscribe_book(SWAP.id)
        self.subscribe_trades(SWAP.id)
        self.every("500ms")
        self.seen: list[tuple[int, int] | None] = []

    def on_timer(self, name: str) -> None:
        book = self.book(SWAP.id)
        self.seen.append(None if book is None else (book.exchange_ns // NS_PER_MS, book.received_ns // NS_PER_MS))


def stamped(at_ms: int, *, snapshot: bool = False) -> BookUpdate:
    at_ns = at_ms * NS_PER_MS
    return BookUpdate(SWAP.id, at_ns, at_ns + 2 * NS_PER_MS, (99.0,), (1.0,), (101.0,), (1.0,), snapshot)


def printed(at_ms: int) -> Trade:
    return Trade(SWAP.id, at_ms * NS_PER_MS, at_ms * NS_PER_MS, 100.0, 1.0, qk.Side.BUY, at_ms)


@pytest.mark.parametrize("match_on", ["book", "trade"])
@pytest.mark.parametrize("block_rows", [1, 2, 1000])
def test_a_book_tells_when_it_changed_last_whatever_the_batches(match_on: str, block_rows: int) -> None:
    """Also where nobody looked at it in the batch that brought the change, as live batches bring a row or two."""
    events = [printed(0), stamped(100, snapshot=True), stamped(200), *map(printed, range(300, 2600, 100))]
    strategy = Stamps()
    feed = MemoryFeed(events, [SWAP], block_rows=block_rows)
    qk.backtest(strategy, data=feed, start=0, end=2500 * NS_PER_MS, match_on=match_on)
    assert strategy.seen == [(200, 202)] * 5


@pytest.mark.parametrize("block_rows", [1, 1000])
def test_a_book_that_nobody_read_is_no_invalid_one(block_rows: int) -> None:
    """Its snapshot came, so nothing is missing at the end."""

    class Listens(qk.Strategy):
        def on_start(self) -> None:
            self.subscribe_book(SWAP.id)
            self.subscribe_trades(SWAP.id)

    events = [printed(0), stamped(100, snapshot=True), stamped(200), printed(300)]
    result = qk.backtest(Listens(), data=MemoryFeed(events, [SWAP], block_rows=block_rows), match_on="trade")
    assert not [warning for warning in result.warnings if "snapshot" in warning]


def test_reading_a_view_that_was_kept_is_the_hooks_own_error() -> None:
    """It says the hook and the moment, as any other slip in one does; nothing is wrong with the data."""

    class Keeps(Stamps):
        def on_book(self, book: qk.Book) -> None:
            self.first = getattr(self, "first", book)
            self.first.mid

    events = [printed(0), stamped(100, snapshot=True), stamped(200), printed(300)]
    with pytest.raises(qk.StrategyError, match=r"Keeps\.on_book at .*00\.202Z raised .* this book view is stale"):
        qk.backtest(Keeps(), data=MemoryFeed(events, [SWAP]), match_on="trade")
