"""What a live run notes of its clocks: each message and each step, before anything comes of them, and as rows."""

from collections.abc import Iterable
from typing import Any

from quantkit.clock import NS_PER_MS, NS_PER_S
from quantkit.events import Candle, Timing, Trade
from quantkit.feeds.live_clock import LiveClock
from quantkit.feeds.taken import TakenRows
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Stream

BTC = "BTC-USDT"


class Notebook:
    """Stands for whoever is told: an input log and a recorder."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.rows: list[Any] = []

    def sent(self, *what: Any) -> None:
        self.told.append(("sent", *what))

    def stepped(self, *what: Any) -> None:
        self.told.append(("stepped", *what))

    def add(self, rows: list[Any]) -> None:
        self.rows += rows

    def add_instruments(self, instruments: Iterable[Instrument]) -> None:
        self.rows += instruments


class Desk:
    """A live clock with a wall clock that is set by hand."""

    def __init__(self, *, is_recorded: bool = True) -> None:
        self.notebook = Notebook()
        self.now_ns = 1_000
        self.taken = TakenRows(lambda: self.now_ns, end_ns=10_000)
        recorder: Any = self.notebook
        self.taken.recorder = recorder if is_recorded else None
        self.clock = LiveClock(lambda: self.now_ns, input_log=recorder, taken=self.taken, sender="me")

    def rows(self) -> list[Any]:
        """Return what the recorder has been given in the end."""
        self.taken.record(everything=True)
        return self.notebook.rows


def trade(received_ns: int) -> Trade:
    return Trade(BTC, received_ns, received_ns, 1.0, 1.0, Side.BUY)


def candle(close_ns: int) -> Candle:
    return Candle(BTC, close_ns, close_ns, close_ns - 10, close_ns, 1.0, 1.0, 1.0, 1.0, 1.0, "1m")


def test_messages_are_numbered_and_noted_with_the_moment_of_the_call() -> None:
    desk = Desk()
    assert desk.clock.leave(900, BTC) == 1_000
    desk.now_ns = 950  # set back: nothing leaves before what left already
    assert desk.clock.leave(910, BTC) == 1_000
    assert desk.notebook.told == [("sent", BTC, 1, 900, 1_000), ("sent", BTC, 2, 910, 1_000)]
    assert desk.rows() == [Timing(BTC, 900, 900, 1, 1_000, 0, "me"), Timing(BTC, 910, 910, 2, 1_000, 0, "me")]


def test_a_step_is_noted_for_every_instrument_and_holds_for_what_is_sent_after_it() -> None:
    desk = Desk()
    desk.clock.offset.measured(3_000_000_000, NS_PER_MS)
    desk.clock.settle(901, None, (BTC, "ETH-USDT"))
    desk.clock.settle(905, None, (BTC, "ETH-USDT"))  # nothing has moved
    desk.clock.leave(902, BTC)
    assert (desk.clock.offset_at(900), desk.clock.offset_at(901)) == (0, 3_000_000_000)
    assert desk.notebook.told == [("stepped", 901, 3_000_000_000), ("sent", BTC, 1, 902, 1_000)]
    assert desk.rows() == [
        Timing(BTC, 901, 901, 0, 901, 3_000_000_000),
        Timing("ETH-USDT", 901, 901, 0, 901, 3_000_000_000),
        Timing(BTC, 902, 902, 1, 1_000, 3_000_000_000, "me"),
    ]


def test_nothing_is_said_of_a_clock_that_is_right() -> None:
    desk = Desk()
    assert (desk.clock.notes, desk.clock.said()) == ([], [])


def test_what_is_said_names_the_largest_lag_and_the_largest_offset() -> None:
    desk = Desk()
    desk.now_ns = 2 * NS_PER_S
    desk.clock.leave(NS_PER_S // 2, BTC)
    for number, offset_ns in enumerate((-NS_PER_S, 700 * NS_PER_MS)):
        desk.clock.offset.measured(offset_ns, NS_PER_MS)
        desk.clock.settle(number, None, ())
    desk.clock.offset.missed()
    assert desk.clock.said() == [
        "orders left when their hooks had sent them, at most 1.50 s after what they answered to"
    ]
    behind, unmeasured = desk.clock.notes
    assert behind.startswith("this machine's clock was 1.00 s behind the exchange's")
    assert unmeasured.startswith("the exchange's time could not be had 1 time;")


def test_rows_and_timings_are_handed_over_in_one_order() -> None:
    """Those of a batch come first, what answered to them is kept after them."""
    desk = Desk()
    desk.taken.take([[trade(100)], [trade(200)], [trade(10_001)]])
    desk.now_ns = 5
    desk.clock.leave(100, BTC)
    desk.taken.record()  # it is not time yet
    assert desk.notebook.rows == []
    assert [row.received_ns for row in desk.rows()] == [100, 100, 200]
    assert isinstance(desk.rows()[1], Timing)


def test_bars_of_the_warm_up_are_not_recorded_twice() -> None:
    desk = Desk()
    desk.taken.warmed(Stream("candle", BTC, "1m"), [candle(100)])
    desk.taken.warmed(Stream("candle", BTC, "1m"), [])
    desk.taken.take([[candle(100)], [candle(110)]])
    assert desk.rows() == [candle(100), candle(110)]


def test_without_a_recorder_nothing_is_kept() -> None:
    desk = Desk(is_recorded=False)
    desk.taken.warmed(Stream("candle", BTC, "1m"), [candle(100)])
    desk.taken.take([[trade(100)]])
    desk.clock.leave(100, BTC)
    assert desk.rows() == []
