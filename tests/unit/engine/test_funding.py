"""Funding over longer runs: marks that end early, rates that come late, fills close to a boundary."""

from collections.abc import Sequence
from decimal import Decimal

import pytest

from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.engine.funding import KEPT_NS
from quantkit.engine.outcome import FundingPayment, Outcome
from quantkit.events import BookUpdate, Candle, Funding, Gap, Mark, MarketEvent, Ticker
from quantkit.feeds.replay import MemoryFeed
from quantkit.fees import Fees
from quantkit.instruments import Instrument
from quantkit.options import RunOptions
from quantkit.simulated import simulated_run
from quantkit.strategy import Strategy

START_NS = time_ns_of("2026-01-01")
HOUR_NS = 60 * NS_PER_MIN
SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1")
NAME = SWAP.id


class Hold(Strategy):
    """Buys one at the n-th candle or ticker, and sells it at another one."""

    buys: int = 1
    sells: int = 0
    on: str = "candle"

    def on_start(self) -> None:
        self._seen = 0
        {"candle": lambda: self.subscribe_candles(NAME, "1m"), "ticker": lambda: self.subscribe_tickers(NAME)}.get(
            self.on, lambda: self.subscribe_book(NAME)
        )()

    def on_candle(self, candle: Candle) -> None:
        self._step()

    def on_ticker(self, ticker: Ticker) -> None:
        self._step()

    def on_book(self, book: object) -> None:
        self._step()

    def _step(self) -> None:
        self._seen += 1
        if self._seen == self.buys:
            self.buy(NAME, 1)
        if self._seen == self.sells:
            self.sell(NAME, 1)


def minute(number: int, price: float) -> Candle:
    """Return the candle of a minute of the run, counted from 0, at one price."""
    open_ns = START_NS + number * NS_PER_MIN
    close_ns = open_ns + NS_PER_MIN
    return Candle(NAME, close_ns, close_ns, open_ns, close_ns, *(4 * [price]), 1.0, "1m")


def mark(at_ns: int, price: float) -> Mark:
    return Mark(NAME, at_ns, at_ns, price)


def settled(boundary_ns: int, *, told_ns: int | None = None, rate: float = 0.01) -> Funding:
    told_ns = boundary_ns if told_ns is None else told_ns
    return Funding(NAME, told_ns, told_ns, rate, boundary_ns, True)


def run(events: Sequence[MarketEvent], strategy: Strategy, *, block_rows: int = 131_072) -> Outcome:
    config = RunOptions(fees=Fees(), max_leverage=5)
    return simulated_run(MemoryFeed(events, [SWAP], block_rows=block_rows), strategy, config).run()


@pytest.mark.parametrize("block_rows", [1, 131_072])
def test_marks_that_end_before_the_candles_serve_funding_as_far_as_they_reach(block_rows: int) -> None:
    """And value nothing: the curve has one source over the run, which the assumptions name."""
    events: list[MarketEvent] = [minute(number, 100.0) for number in range(180)]
    events += [mark(START_NS + number * NS_PER_MIN, 200.0) for number in range(1, 70)]
    events += [settled(START_NS + HOUR_NS), settled(START_NS + 2 * HOUR_NS)]
    outcome = run(events, Hold(), block_rows=block_rows)
    assert outcome.funding == {"USDT": Decimal(-3)}
    assert set(outcome.curve.equity.tolist()) == {10_000.0, 9_998.0, 9_997.0}
    assert any("valued at candle" in text for text in outcome.assumptions)


def test_each_payment_is_noted_with_its_boundary() -> None:
    """What was received, at which rate and price; they add up to the ledger's sum. Without a position there is none."""
    events: list[MarketEvent] = [minute(number, 100.0 + number) for number in range(180)]
    rates = ((START_NS + HOUR_NS, 0.01), (START_NS + 2 * HOUR_NS, -0.02))
    outcome = run([*events, *(settled(at_ns, rate=rate) for at_ns, rate in rates)], Hold())
    assert outcome.funding_payments == [
        FundingPayment(NAME, START_NS + HOUR_NS, 0.01, 159.0, Decimal("-1.59"), "USDT"),
        FundingPayment(NAME, START_NS + 2 * HOUR_NS, -0.02, 219.0, Decimal("4.38"), "USDT"),
    ]
    assert sum(payment.amount for payment in outcome.funding_payments) == outcome.funding["USDT"]
    assert run([*events, settled(START_NS)], Hold()).funding_payments == []


def test_marks_coarser_than_the_rest_count_where_they_are_no_older() -> None:
    """A mark of the very boundary wins over a candle of the same stamp; so does one a minute old, and no older one."""
    candles: list[MarketEvent] = [minute(number, 100.0) for number in range(180)]
    boundary_ns = START_NS + 2 * HOUR_NS
    for age_ns, paid in ((0, 3), (NS_PER_MIN, 3), (NS_PER_MIN + 1, 1)):
        marks = [mark(boundary_ns - age_ns, 300.0)]
        assert run([*candles, *marks, settled(boundary_ns)], Hold()).funding == {"USDT": Decimal(-paid)}, age_ns


@pytest.mark.parametrize("block_rows", [1, 7, 300, 131_072])
def test_a_rate_told_later_than_prices_are_kept_is_told_of(block_rows: int) -> None:
    """It is valued at the oldest price that counts, which stood an hour before, however the rows are cut."""
    events: list[MarketEvent] = [minute(number, 100.0 + number) for number in range(400)]
    boundary_ns = START_NS + 10 * NS_PER_MIN
    on_time, late = (
        run([*events, settled(boundary_ns, told_ns=boundary_ns + delay_ns)], Hold(), block_rows=block_rows)
        for delay_ns in (KEPT_NS - 2 * NS_PER_MIN, 5 * HOUR_NS)
    )
    assert on_time.funding == {"USDT": Decimal("-1.09")}
    assert not any("oldest price" in text for text in on_time.warnings)
    # Told at 5:10. The candle that closed at 4:10 counts in full, the one that closed at 4:09 stood when it came.
    assert late.funding == {"USDT": Decimal("-3.48")}
    assert [text for text in late.warnings if "oldest price" in text] == [
        f"{NAME}: 1 funding rate was told up to 5h late and valued at the oldest price that was kept"
    ]


@pytest.mark.parametrize("block_rows", [1, 7, 131_072])
def test_rows_without_a_price_do_not_push_out_the_last_price(block_rows: int) -> None:
    """One side of the quotes went away hours ago: what they said last still stands."""
    rows: list[MarketEvent] = [Ticker(NAME, START_NS, START_NS, 99.0, 9.0, 101.0, 9.0)]
    rows += [Ticker(NAME, at, at, 99.0, 9.0, 103.0, 9.0) for at in (START_NS + NS_PER_S, START_NS + 2 * NS_PER_S)]
    for number in range(1, 300):
        at_ns = START_NS + number * NS_PER_MIN
        rows.append(Ticker(NAME, at_ns, at_ns, 99.0, 9.0, None, None))
    outcome = run([*rows, settled(START_NS + 4 * HOUR_NS)], Hold(on="ticker"), block_rows=block_rows)
    assert outcome.funding == {"USDT": Decimal("-1.01")}
    assert not any("oldest price" in text for text in outcome.warnings)


def test_fills_just_after_a_boundary_are_warned_of() -> None:
    """They pay nothing here, those at the boundary itself among them; the exchange may read positions seconds late."""
    events: list[MarketEvent] = [minute(number, 100.0) for number in range(20)]
    for number, at_ns in ((0, 5 * NS_PER_MIN), (1, 4 * NS_PER_MIN), (2, 4 * NS_PER_MIN - 1), (3, 6 * NS_PER_MIN)):
        outcome = run([*events, settled(START_NS + at_ns)], Hold(buys=5))
        assert outcome.funding == ({"USDT": Decimal(-1)} if number == 3 else {}), number
        told = [text for text in outcome.warnings if "after a funding boundary" in text]
        assert bool(told) is (number < 2), number
        if told:
            stamp = "00:05:00" if number == 0 else "00:04:00"
            assert told == [
                f"{NAME}: 1 fill within 60 s after a funding boundary (first: 2026-01-01T{stamp}Z) paid none; "
                "the exchange may charge it"
            ]


@pytest.mark.parametrize(("has_marks", "paid"), [(False, "-6.99"), (True, "-7")])
def test_thousands_of_small_batches_are_looked_back_at(has_marks: bool, paid: str) -> None:
    """Live rows come one by one: they are kept joined, and index prices among them value nothing."""
    rows: list[MarketEvent] = []
    for number in range(1_500):
        at_ns = START_NS + number * NS_PER_S
        rows.append(Ticker(NAME, at_ns, at_ns, 99.0 + number, 9.0, 101.0 + number, 9.0))
        if has_marks:
            source = "mark" if number % 3 == 0 else "index"
            rows.append(Mark(NAME, at_ns, at_ns, 100.0 + number, source))
    boundary_ns = START_NS + 600 * NS_PER_S
    rows.append(settled(boundary_ns, told_ns=START_NS + 1_400 * NS_PER_S))
    outcome = run(rows, Hold(on="ticker", sells=700), block_rows=1)
    assert outcome.funding == {"USDT": Decimal(paid)}


def test_books_that_nobody_looked_at_before_the_order_are_valued_too() -> None:
    """The mid that the first fill met is kept, wherever its row lies."""
    rows: list[MarketEvent] = [
        BookUpdate(NAME, START_NS, START_NS, (99.0,), (9.0,), (101.0,), (9.0,), True),
        *(
            BookUpdate(NAME, at, at, (99.0,), (float(at % 7 + 1),), (), (), False)
            for at in range(START_NS + 1, START_NS + 9)
        ),
    ]
    late_ns = START_NS + 70 * NS_PER_S
    rows.append(BookUpdate(NAME, late_ns, late_ns, (120.0,), (1.0,), (101.0, 130.0), (0.0, 9.0), False))
    rows.append(settled(START_NS + 60 * NS_PER_S, told_ns=late_ns))
    for block_rows in (1, 3, 131_072):
        assert run(rows, Hold(on="book"), block_rows=block_rows).funding == {"USDT": Decimal(-1)}


BLOCKS = pytest.mark.parametrize("block_rows", [1, 7, 95, 100, 131_072])


def book_row(at_s: float, bid: float, ask: float, *, told_s: float | None = None) -> BookUpdate:
    """Return a whole book of one level a side, stamped so many seconds after the start."""
    stamps = (START_NS + round(seconds * NS_PER_S) for seconds in (at_s, at_s if told_s is None else told_s))
    return BookUpdate(NAME, *stamps, (bid,), (9.0,), (ask,), (9.0,), True)


@BLOCKS
def test_a_mid_that_came_late_counts_after_the_position_has_ended(block_rows: int) -> None:
    """Stamped before the boundary, received when nothing was held any more: however the rows are cut."""
    rows: list[MarketEvent] = [
        book_row(0, 99.0, 101.0),  # buys
        book_row(1, 99.0, 101.0),
        book_row(8, 99.0, 101.0),  # sells
        book_row(9.9, 99.0, 101.0),
        book_row(8.001, 119.0, 121.0, told_s=12),
        book_row(12.5, 129.0, 131.0),
        settled(START_NS + 8_002 * NS_PER_S // 1_000, told_ns=START_NS + 13 * NS_PER_S),
        book_row(14, 139.0, 141.0),
    ]
    outcome = run(rows, Hold(on="book", sells=3), block_rows=block_rows)
    assert [fill.filled_ns - START_NS > 8_002 * NS_PER_S // 1_000 for fill in outcome.fills] == [False, True]
    assert outcome.funding == {"USDT": Decimal("-1.2")}


@BLOCKS
def test_a_late_rate_finds_the_mid_of_an_hour_before_though_nothing_was_held(block_rows: int) -> None:
    """Sold in the third minute. What a gap took from the book is in no mid, and neither is a book without levels."""
    rows: list[MarketEvent] = [book_row(60 * number, 99.0 + number, 101.0 + number) for number in range(372)]
    for number in range(275, 290):
        rows[number] = BookUpdate(NAME, *(2 * [rows[number].received_ns]), (), (), (), (), True)
    change_ns = START_NS + 290 * NS_PER_MIN
    rows[290] = BookUpdate(NAME, change_ns, change_ns, (340.0,), (1.0,), (), (), False)
    rows.insert(290, Gap(NAME, change_ns - 2, change_ns - 1, "book", 0, 1, "lost"))
    boundary_ns = START_NS + NS_PER_MIN + NS_PER_S
    # Told at 5:50 it looks for the mid of 4:50. The last one was that of 4:34: then the book was empty, and at 4:50 the
    # gap hid a level.
    for told_min, paid in ((350, "-3.74"), (370, "-4.1")):
        told = settled(boundary_ns, told_ns=START_NS + told_min * NS_PER_MIN + 1)
        outcome = run([*rows, told], Hold(on="book", sells=3), block_rows=block_rows)
        assert outcome.funding == {"USDT": Decimal(paid)}, told_min
        assert any("oldest price" in text for text in outcome.warnings)


def test_settlements_that_are_told_again_are_counted() -> None:
    """By another rate or the same: the first one that was told is what was charged."""
    events: list[MarketEvent] = [minute(number, 100.0) for number in range(20)]
    boundary_ns = START_NS + 9 * NS_PER_MIN
    for again, many in ((1, "1 settled funding rate was"), (2, "2 settled funding rates were")):
        repeats = [settled(boundary_ns, told_ns=boundary_ns + number + 1, rate=0.5) for number in range(again)]
        outcome = run([*events, settled(boundary_ns), *repeats], Hold())
        assert outcome.funding == {"USDT": Decimal(-1)}
        assert f"{NAME}: {many} of a boundary that had been charged already, and charged nothing" in outcome.warnings
