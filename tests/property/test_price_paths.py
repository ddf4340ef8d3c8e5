"""A book's price path is the mid of a naive book after each row, whatever comes, wherever reading begins."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as generators
from oracle.book import NaiveBook

import quantkit as qk
from quantkit.events import BookUpdate, Gap, MarketEvent
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side

BTC = Instrument("BTC-USDT", price_step="0.5", qty_step="0.1")
START_NS = 10**18


class Watches(qk.Strategy):
    """Looks at nothing."""

    def on_start(self) -> None:
        self.subscribe_book(BTC.id)


@generators.composite
def recordings(draw: generators.DrawFn) -> list[MarketEvent]:
    """Draw rows of a book that is never crossed, and gaps, some at one moment."""
    events: list[MarketEvent] = []
    now_ns = START_NS
    for number in range(draw(generators.integers(2, 25))):
        now_ns += draw(generators.sampled_from([0, 1, 5]))
        if number and draw(generators.integers(0, 6)) == 0:
            channel = draw(generators.sampled_from(["book", "trades"]))
            events.append(Gap(BTC.id, now_ns, now_ns, channel, now_ns - 1, now_ns, "missing"))
            continue
        sides: list[tuple[float, ...]] = []
        for base in (100, 110):
            ticks = draw(generators.lists(generators.integers(base, base + 9), max_size=3, unique=True))
            sides.append(tuple(tick / 2 for tick in ticks))
            sides.append(tuple(draw(generators.sampled_from([0.0, 1.0, 2.0])) for _ in ticks))
        is_snapshot = number == 0 or draw(generators.integers(0, 4)) == 0
        events.append(BookUpdate(BTC.id, now_ns, now_ns, *sides, is_snapshot))
    # A gap stands before the rows of its moment.
    return sorted(events, key=lambda event: (event.received_ns, not isinstance(event, Gap)))


def naive(events: list[MarketEvent]) -> list[tuple[int, float]]:
    """Return the mid after each row: that of the sides that are there; rows of a lost book change nothing."""
    book, found = NaiveBook(BTC.id), list[tuple[int, float]]()
    for event in events:
        if isinstance(event, Gap):
            if event.channel == "book":
                book.invalidate()
        elif isinstance(event, BookUpdate):
            book.apply(event)
            best = [price for side in Side if (price := book.best(side)) is not None]
            if best:
                found.append((event.received_ns, (best[0] + best[-1]) / 2))
    return found


@settings(deadline=None, max_examples=150)
@given(recordings(), generators.sampled_from([1, 2, 7, 100]), generators.data())
def test_the_path_of_a_book_is_its_mid_after_each_row(
    events: list[MarketEvent], block_rows: int, data: generators.DataObject
) -> None:
    feed = MemoryFeed(events, [BTC], block_rows=block_rows)
    last_ns = max(event.received_ns for event in events)
    result = qk.backtest(Watches, data=feed, start=START_NS, end=max(last_ns, START_NS + 1))
    wanted = naive(events)
    assert pairs(result.prices.rows(BTC.id)) == wanted
    start_ns = data.draw(generators.integers(START_NS - 2, last_ns + 2))
    end_ns = data.draw(generators.integers(START_NS - 2, last_ns + 2))
    part = result.prices.rows(BTC.id, start_ns, end_ns)
    assert pairs(part) == [(ns, mid) for ns, mid in wanted if start_ns <= ns <= end_ns]


@settings(deadline=None, max_examples=100)
@given(recordings(), generators.sampled_from([1, 3, 100]), generators.data())
def test_a_book_at_a_moment_is_the_naive_one(
    events: list[MarketEvent], block_rows: int, data: generators.DataObject
) -> None:
    last_ns = max(event.received_ns for event in events)
    end_ns = max(last_ns, START_NS + 1)
    result = qk.backtest(Watches, data=MemoryFeed(events, [BTC], block_rows=block_rows), start=START_NS, end=end_ns)
    moments = data.draw(generators.lists(generators.integers(START_NS, end_ns), min_size=1, max_size=6))
    for moment, book in zip(moments, result.prices.books_at(BTC.id, moments, levels=2), strict=True):
        there = NaiveBook(BTC.id)
        for event in events:
            if event.received_ns <= moment:
                if isinstance(event, BookUpdate):
                    there.apply(event)
                elif isinstance(event, Gap) and event.channel == "book":
                    there.invalidate()
        assert (book is not None) is there.is_valid
        if book is not None:
            for side, levels in ((Side.BUY, book.bids), (Side.SELL, book.asks)):
                assert levels.tolist() == [list(level) for level in there.levels(side)[:2]]


def pairs(rows: Any) -> list[tuple[int, float]]:
    return list(zip(rows.time_ns.tolist(), rows.close.tolist(), strict=True))
