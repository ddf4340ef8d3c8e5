"""Rows of several receivers merged: each once, in order, and a gap only where all have lost."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.events import BookUpdate, Candle, Gap, InstrumentChange, Row, Ticker, Trade
from quantkit.feeds.merging import HOLD_NS, RowMerger
from quantkit.instruments import Instrument, Side

BTC = "BTC-USDT"
STEP_NS = 1_000_000
#: The number of a row and of the receiver that brings it, in the order of their arrival.
Arrivals = Sequence[tuple[int, int]]


def trade(number: int) -> Trade:
    """A trade."""
    return Trade(BTC, number * STEP_NS, 0, 100.0, 1.0, Side.BUY, number)


def ticker(number: int) -> Ticker:
    """A quote."""
    return Ticker(BTC, number * STEP_NS, 0, 99.0, 1.0, 101.0 + number, 1.0)


def candle(number: int) -> Candle:
    """A bar of a minute."""
    opened = number * 60_000_000_000
    return Candle(BTC, opened, 0, opened, opened + 60_000_000_000, 1.0, 2.0, 0.5, 1.5, 9.0, "1m")


def book(number: int, *, is_snapshot: bool = False) -> BookUpdate:
    """An update, or a snapshot as it stands after it."""
    before = -1 if is_snapshot else number - 1
    return BookUpdate(BTC, number * STEP_NS, 0, (1.0 + number,), (1.0,), (), (), is_snapshot, number, before)


def gap(channel: str) -> Gap:
    """What a tracker tells of a loss."""
    return Gap(BTC, 0, 0, channel, 0, 0, "lost")


class Receivers:
    """Receivers of one series, and what their rows become."""

    def __init__(self, count: int = 2) -> None:
        self.merger = RowMerger(count)
        self.now_ns = 10**18
        self.out: list[Row] = []

    def bring(self, receiver: int, *rows: Row, after_ns: int = 1000) -> list[Row]:
        """Bring rows of one stamp; return what is new."""
        from msgspec.structs import replace

        self.now_ns += after_ns
        new = self.merger.take(receiver, [replace(row, received_ns=self.now_ns) for row in rows])
        assert all(row.received_ns == self.now_ns for row in new)
        self.out += new
        return new

    @property
    def keys(self) -> list[object]:
        """What came out: the numbers of rows, and gaps by their channel."""
        return [row.channel if isinstance(row, Gap) else row.exchange_ns // STEP_NS for row in self.out]


@st.composite
def arrivals(draw: st.DrawFn, count: int = 60) -> tuple[Arrivals, list[set[int]]]:
    """Generate the arrivals of two receivers that lose different rows, no two of them near each other."""
    lost: list[set[int]] = [set(), set()]
    number = 4
    while number < count - 4:
        if draw(st.booleans()):
            lost[draw(st.integers(0, 1))].add(number)
        number += draw(st.integers(12, 16))
    order: list[tuple[int, int]] = []
    at = [1, 1]
    while min(at) <= count:
        receiver = draw(st.integers(0, 1))
        if at[receiver] > count or at[receiver] - at[1 - receiver] > 3:
            receiver = 1 - receiver
        order.append((at[receiver], receiver))
        at[receiver] += 1
    return order, lost


@settings(max_examples=150, deadline=None)
@given(arrivals())
def test_trades_that_one_receiver_lost_come_from_the_other(case: tuple[Arrivals, list[set[int]]]) -> None:
    """In their order, without a gap."""
    order, lost = case
    receivers = Receivers()
    is_due = [False, False]
    for number, receiver in order:
        if number in lost[receiver]:
            is_due[receiver] = True
        else:
            told = [gap("trade")] if is_due[receiver] else []
            is_due[receiver] = False
            receivers.bring(receiver, *told, trade(number))
    receivers.bring(0, ticker(10**6), after_ns=2 * HOLD_NS)
    assert receivers.keys[:-1] == list(range(1, 61))


@settings(max_examples=150, deadline=None)
@given(arrivals())
def test_quotes_that_one_receiver_lost_come_from_the_other(case: tuple[Arrivals, list[set[int]]]) -> None:
    """Though nothing tells that they are missing."""
    order, lost = case
    receivers = Receivers()
    receivers.bring(0, ticker(0))
    receivers.bring(1, ticker(0))
    for number, receiver in order:
        if number not in lost[receiver]:
            receivers.bring(receiver, ticker(number))
    receivers.bring(0, trade(10**6), after_ns=2 * HOLD_NS)
    assert sorted(receivers.keys[:-1], key=str) == sorted(range(61), key=str)
    assert receivers.keys[:-1] == list(range(61))


@settings(max_examples=150, deadline=None)
@given(arrivals(), st.integers(1, 3))
def test_a_book_goes_on_with_whoever_has_the_next_update(case: tuple[Arrivals, list[set[int]]], away: int) -> None:
    """A receiver whose chain broke comes back with a snapshot, which nobody needs."""
    order, lost = case
    receivers = Receivers()
    receivers.bring(0, book(0, is_snapshot=True))
    receivers.bring(1, book(0, is_snapshot=True))
    broken = [0, 0]  # how many updates a receiver ignores until its snapshot comes
    due = [False, False]
    for number, receiver in order:
        if number in lost[receiver]:
            due[receiver] = True
        elif due[receiver]:
            due[receiver], broken[receiver] = False, away
            receivers.bring(receiver, gap("book"))
        elif broken[receiver]:
            broken[receiver] -= 1
            if not broken[receiver]:
                receivers.bring(receiver, book(number, is_snapshot=True))
        else:
            receivers.bring(receiver, book(number))
    receivers.bring(0, ticker(10**6), after_ns=2 * HOLD_NS)
    assert receivers.keys[:-1] == list(range(61))


def test_what_all_have_lost_is_a_gap() -> None:
    """Between the rows around it, with the words of the trackers."""
    receivers = Receivers()
    for number in (1, 2):
        receivers.bring(0, trade(number))
        receivers.bring(1, trade(number))
    assert receivers.bring(0, gap("trade"), trade(5)) == []  # the other one may have the two between
    found = receivers.bring(1, gap("trade"), trade(5))
    assert [type(row) for row in found] == [Gap, Trade]
    told = found[0]
    assert isinstance(told, Gap)
    assert (told.channel, told.from_ns, told.to_ns, told.cause) == ("trade", 2 * STEP_NS, 5 * STEP_NS, "lost")
    assert receivers.keys == [1, 2, "trade", 5]


def test_nobody_waits_for_ever_for_a_receiver_that_is_away() -> None:
    """Its rows count again when it is back, and late ones are no loss."""
    receivers = Receivers()
    for number in (1, 2):
        receivers.bring(0, trade(number))
        receivers.bring(1, trade(number))
    assert receivers.bring(0, gap("trade"), trade(4)) == []
    found = receivers.bring(0, trade(5), after_ns=2 * HOLD_NS)
    assert [type(row) for row in found] == [Gap, Trade, Trade]
    assert [row.trade_id for row in receivers.bring(1, trade(3)) if isinstance(row, Trade)] == [3]
    assert receivers.bring(1, trade(4)) == []
    assert receivers.keys == [1, 2, "trade", 4, 5, 3]


def test_a_book_that_all_have_lost_has_one_gap_and_goes_on_with_the_first_snapshot() -> None:
    """And the snapshot of the other one is none too many."""
    receivers = Receivers()
    receivers.bring(0, book(1, is_snapshot=True))
    receivers.bring(1, book(1, is_snapshot=True))
    receivers.bring(0, book(2))
    receivers.bring(1, gap("book"))
    receivers.bring(0, gap("book"))
    receivers.bring(1, book(5, is_snapshot=True))
    receivers.bring(0, book(6, is_snapshot=True))
    receivers.bring(1, book(6))
    receivers.bring(0, book(7))
    assert receivers.keys == [1, 2, "book", 5, 6, 7]


def test_a_snapshot_that_nobody_reaches_replaces_the_book() -> None:
    """After a while, with a gap before it."""
    receivers = Receivers()
    receivers.bring(0, book(1, is_snapshot=True))
    receivers.bring(1, book(1, is_snapshot=True))
    receivers.bring(0, gap("book"))
    assert receivers.bring(0, book(4, is_snapshot=True)) == []
    assert receivers.bring(0, book(5)) == []
    receivers.bring(0, book(6), after_ns=2 * HOLD_NS)
    assert receivers.keys == [1, "book", 4, 5, 6]
    receivers.bring(1, book(2))  # the other one is far behind
    assert receivers.keys == [1, "book", 4, 5, 6]


def test_numbers_that_begin_anew_and_signs_of_life() -> None:
    """A lower number links to the one before; an update without a change comes once."""
    receivers = Receivers()
    rows = [
        book(1, is_snapshot=True),
        book(2),
        BookUpdate(BTC, 3 * STEP_NS, 0, (), (), (), (), False, 2, 2),
        BookUpdate(BTC, 4 * STEP_NS, 0, (9.0,), (1.0,), (), (), False, 1, 2),
        BookUpdate(BTC, 5 * STEP_NS, 0, (8.0,), (1.0,), (), (), False, 5, 1),
    ]
    for row in rows:
        receivers.bring(0, row)
    for row in rows:
        receivers.bring(1, row)
    assert receivers.keys == [1, 2, 3, 4, 5]


def test_bars_and_metadata_come_once() -> None:
    """The bar of whoever is first; metadata that say the same are no change."""
    receivers = Receivers()
    one = Instrument(id=BTC, kind="spot", base="BTC", quote="USDT", price_step="0.1", qty_step="0.1", valid_from_ns=1)
    same = Instrument.from_dict({**one.to_dict(), "valid_from_ns": 2})
    other = Instrument.from_dict({**one.to_dict(), "price_step": "0.5", "valid_from_ns": 3})
    for receiver in (0, 1):
        receivers.bring(receiver, candle(1), candle(2))
        receivers.bring(receiver, InstrumentChange(BTC, 1, 0, (one, same)[receiver]))
        receivers.bring(receiver, InstrumentChange(BTC, 1, 0, other))
    assert [type(row) for row in receivers.out] == [Candle, Candle, InstrumentChange, InstrumentChange]


def test_the_end_of_all_is_one_gap() -> None:
    """An outage that lasts until the recording ends is told by every tracker."""
    receivers = Receivers()
    for receiver in (0, 1):
        receivers.bring(receiver, ticker(1))
    assert receivers.bring(0, gap("ticker")) == []
    assert len(receivers.bring(1, gap("ticker"))) == 1


def test_books_without_numbers_are_those_of_one_receiver() -> None:
    """Nobody could tell a copy."""
    receivers = Receivers()
    plain = BookUpdate(BTC, STEP_NS, 0, (1.0,), (1.0,), (), (), False)
    receivers.bring(0, plain)
    receivers.bring(1, plain)
    receivers.bring(0, plain)
    assert receivers.keys == [1, 1]
