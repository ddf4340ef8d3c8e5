"""What gaps lost in all: each moment once, wherever batches are cut."""

import pytest

from quantkit.clock import NS_PER_S, time_ns_of
from quantkit.engine.gaps import Gaps
from quantkit.events import BookUpdate, Gap, MarketEvent, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument
from quantkit.options import RunOptions
from quantkit.orders import Side
from quantkit.simulated import simulated_run
from quantkit.strategy import Strategy

START_NS = time_ns_of("2026-01-01")
NAME = "BTC-USDT"


class Watch(Strategy):
    def on_start(self) -> None:
        self.subscribe_book(NAME)
        self.subscribe_trades(NAME)


def at(second: int) -> int:
    return START_NS + second * NS_PER_S


def snapshot(second: int) -> BookUpdate:
    return BookUpdate(NAME, at(second), at(second), (99.0,), (1.0,), (101.0,), (1.0,), True)


def update(second: int) -> BookUpdate:
    return BookUpdate(NAME, at(second), at(second), (99.0,), (float(second),), (), (), False)


def gap(first: int, last: int, channel: str = "book", *, told: int | None = None) -> Gap:
    told_ns = at(last if told is None else told)
    return Gap(NAME, told_ns, told_ns, channel, at(first), at(last), "sequence")


BREAKS: dict[str, tuple[list[Gap], list[int], list[str]]] = {
    "twice before the next snapshot": ([gap(9, 10), gap(19, 20)], [30], ["2 gaps in book, 21s"]),
    "with a snapshot between": ([gap(9, 10), gap(19, 20)], [15, 30], ["2 gaps in book, 17s"]),
    "no snapshot ever": ([gap(9, 10), gap(19, 20)], [], ["2 gaps in book, 30s"]),
    "gaps that overlap": (
        [gap(5, 10, "trade"), gap(7, 10, "trade"), gap(3, 6, "trade", told=11)],
        [],
        ["3 gaps in trade, 7s"],
    ),
    "two channels of the book": (
        [gap(9, 10), gap(11, 12, "books5")],
        [20],
        ["1 gap in book, 11s", "1 gap in books5, 9s"],
    ),
}


@pytest.mark.parametrize("block_rows", [1, 4, 131_072])
@pytest.mark.parametrize("name", BREAKS)
def test_each_moment_is_lost_once(name: str, block_rows: int) -> None:
    gaps, snapshots, lost = BREAKS[name]
    events: list[MarketEvent] = [
        snapshot(second) if second in (0, *snapshots) else update(second) for second in range(40)
    ]
    events += [Trade(NAME, at(second), at(second), 100.0, 1.0, Side.BUY, second + 1) for second in (0, 39)]
    events += gaps
    events.sort(key=lambda event: event.received_ns)
    feed = MemoryFeed(events, [Instrument(NAME, price_step="1", qty_step="1")], block_rows=block_rows)
    warnings = simulated_run(feed, Watch(), RunOptions()).run().warnings
    assert [text for text in warnings if " lost in all" in text] == [f"{NAME}: {text} lost in all" for text in lost]


def test_a_book_is_out_to_the_end_of_a_run_that_does_not_come_to_its_snapshot() -> None:
    """Whether the snapshot is in the batch that the run ends in, or in one after it."""
    found, unknown = Gaps(), Gaps()
    for gaps in (found, unknown):
        gaps.add(gap(9, 10), hides_book=True)
    found.end_outage(NAME, at(20), at(20))
    assert found.notes() == found.notes(at(20)) == [f"{NAME}: 1 gap in book, 11s lost in all"]
    assert found.notes(at(15)) == unknown.notes(at(15)) == [f"{NAME}: 1 gap in book, 6s lost in all"]
    assert unknown.notes() == [f"{NAME}: 1 gap in book, 1s lost in all"]
