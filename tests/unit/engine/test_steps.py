"""Prices off the step, and steps that change while a run goes on: what orders meet, what is told, what is refused."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from quantkit import (
    BookUpdate,
    Candle,
    Fees,
    Fill,
    Instrument,
    Order,
    Result,
    Side,
    Strategy,
    Ticker,
    Trade,
    backtest,
)
from quantkit.errors import ConfigError
from quantkit.events import MarketEvent
from quantkit.feeds.replay import MemoryFeed
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer

S = 10**9
T0 = 1_706_745_600 * S  # 2024-02-01
NO_FEES = Fees(maker_bps=0, taker_bps=0)
ID = "A-USDT-SWAP"


def swap(price_step: str = "0.1", qty_step: str = "1", from_s: float | None = None, **more: Any) -> Instrument:
    valid_from_ns = 0 if from_s is None else T0 + round(from_s * S)
    return Instrument(ID, kind="swap", price_step=price_step, qty_step=qty_step, valid_from_ns=valid_from_ns, **more)


def tickers(count: int, bid: float, ask: float, qty: float = 9.0, *, first: int = 1) -> list[MarketEvent]:
    moments = (T0 + second * S for second in range(first, first + count))
    return [Ticker(ID, at, at, bid, qty, ask, qty) for at in moments]


def trades(*prices: float, qty: float = 5.0, side: Side = Side.SELL) -> list[MarketEvent]:
    return [Trade(ID, T0 + n * S, T0 + n * S, price, qty, side) for n, price in enumerate(prices, 1)]


class Timed(Strategy):
    """Does at each moment (seconds after the start of the data) what a table says."""

    def __init__(self, what: dict[float, Callable[["Timed"], Any]], kind: str = "ticker") -> None:
        super().__init__()
        self.what = what
        self.kind = kind
        self.answers: dict[float, Any] = {}
        self.reports: list[tuple[str, str, str]] = []
        self.my_fills: list[Fill] = []

    def on_start(self) -> None:
        self._context.subscribe(self.kind, ID, "1s" if self.kind == "candle" else "", 0)
        for moment in self.what:
            self.at(T0 + round(moment * S), str(moment))

    def on_timer(self, name: str) -> None:
        moment = next(moment for moment in self.what if str(moment) == name)
        self.answers[moment] = self.what[moment](self)

    def on_order(self, order: Order) -> None:
        self.reports.append((order.id, order.state, order.reason))

    def on_fill(self, fill: Fill) -> None:
        self.my_fills.append(fill)


def run(
    events: Sequence[MarketEvent],
    what: dict[float, Callable[[Timed], Any]],
    *instruments: Instrument,
    kind: str = "ticker",
    **options: Any,
) -> tuple[Result, Timed]:
    strategy = Timed(what, kind)
    feed = MemoryFeed(events, instruments or (swap(),))
    options = {"fees": NO_FEES, "cash": {"USDT": 1_000_000}, **options}
    return backtest(strategy, data=feed, **options), strategy


def buy(qty: float, price: float | None = None, **more: Any) -> Callable[[Timed], Order]:
    return lambda strategy: strategy.buy(ID, qty, price=price, **more)


def sell(qty: float, price: float | None = None, **more: Any) -> Callable[[Timed], Order]:
    return lambda strategy: strategy.sell(ID, qty, price=price, **more)


def prices_of(result: Result) -> list[tuple[str, float, float]]:
    return [(fill.side.value, fill.price, fill.qty) for fill in result.outcome.fills]


# Off the step -------------------------------------------------------------------------------------------------------


def test_a_quote_off_the_step_is_met_at_the_step_that_is_worse() -> None:
    """A bid of 100.06 pays 100.0, an ask of 100.14 asks 100.2, and the run says that quotes were off the step."""
    result, _ = run(tickers(7, 100.06, 100.14), {2.5: sell(1), 4.5: buy(1)})
    assert prices_of(result) == [("sell", 100.0, 1.0), ("buy", 100.2, 1.0)]
    assert result.outcome.equity - result.outcome.starting_equity == Decimal("-0.2")
    assert [text for text in result.warnings if "off the step" in text] == [
        "A-USDT-SWAP ticker: 7 of 7 rows had a price off the step of 0.1: orders met bids at the step below and asks "
        "at the step above; if the step is too coarse, give the right one (import --price-step, instruments=)"
    ]


class Both(Strategy):
    def on_start(self) -> None:
        for name in ("B-USDT-SWAP", "A-USDT-SWAP"):
            self.subscribe_tickers(name)


@pytest.mark.parametrize("block_rows", [1, 3, 131_072])
def test_streams_off_the_step_are_told_of_in_one_order(block_rows: int) -> None:
    """Theirs, whichever was off first and wherever the rows are cut."""
    names = ("A-USDT-SWAP", "B-USDT-SWAP")
    events = [
        Ticker(name, T0 + n * S, T0 + n * S, 100.06 if n > 3 or name == names[1] else 100.0, 1.0, 100.2, 1.0)
        for n in range(1, 7)
        for name in names
    ]
    instruments = [Instrument(name, kind="swap", price_step="0.1", qty_step="1") for name in names]
    result = backtest(Both, data=MemoryFeed(events, instruments, block_rows=block_rows))
    told = [text.split(" rows")[0] for text in result.warnings if "off the step" in text]
    assert told == ["A-USDT-SWAP ticker: 3 of 6", "B-USDT-SWAP ticker: 6 of 6"]


def book(at_s: float, bids: dict[float, float], asks: dict[float, float], *, is_snapshot: bool = True) -> BookUpdate:
    at = T0 + round(at_s * S)
    sides = (tuple(bids), tuple(bids.values()), tuple(asks), tuple(asks.values()))
    return BookUpdate(ID, at, at, *sides, is_snapshot)


@pytest.mark.parametrize("search", [True, False])
def test_a_queue_is_counted_in_the_steps_of_the_moment(*, search: bool) -> None:
    """1.5 ahead are two whole steps before the change and three halves after it: of a print of 2.5 one is ours."""
    far = [book(at / 4, {}, {140.0: at}, is_snapshot=False) for at in range(5, 200)]
    events: list[MarketEvent] = [
        book(1, {101.0: 3.0, 100.0: 5.0, 95.0: 1.0}, {110.0: 5.0, 140.0: 1.0}),
        book(20.1, {100.0: 1.5}, {}, is_snapshot=False),
        Trade(ID, T0 + 30 * S, T0 + 30 * S, 100.0, 2.5, Side.SELL),
        Trade(ID, T0 + 60 * S, T0 + 60 * S, 105.0, 1.0, Side.SELL),
        *far,
    ]
    events.sort(key=lambda event: event.received_ns)
    result, _ = run(events, {2.0: buy(3, 100.0)}, swap(), swap(qty_step="0.5", from_s=10.0), kind="book", search=search)
    assert prices_of(result) == [("buy", 100.0, 1.0)]


@pytest.mark.parametrize("search", [True, False])
def test_a_part_of_a_step_ahead_is_a_whole_one(*, search: bool) -> None:
    """A queue is not shortened: 1.5 ahead are two."""
    far = [book(at / 4, {}, {140.0: at}, is_snapshot=False) for at in range(5, 200)]
    events: list[MarketEvent] = [
        book(1, {101.0: 3.0, 100.0: 5.0, 95.0: 1.0}, {110.0: 5.0, 140.0: 1.0}),
        book(20.1, {100.0: 1.5}, {}, is_snapshot=False),
        Trade(ID, T0 + 30 * S, T0 + 30 * S, 100.0, 3.0, Side.SELL),
        Trade(ID, T0 + 60 * S, T0 + 60 * S, 105.0, 1.0, Side.SELL),
        *far,
    ]
    events.sort(key=lambda event: event.received_ns)
    result, _ = run(events, {2.0: buy(3, 100.0)}, kind="book", search=search)
    assert prices_of(result) == [("buy", 100.0, 1.0)]


def test_a_book_keeps_its_own_levels_while_orders_meet_the_steps() -> None:
    """Two bids on one step are one of both sizes; the view shows what the exchange sent."""
    events = [
        book(1, {99.5: 5.0}, {100.5: 5.0}),
        book(2, {100.06: 3.0, 100.02: 4.0}, {100.14: 2.0, 100.11: 2.0, 100.3: 9.0}, is_snapshot=False),
        book(3, {100.06: 3.0}, {}, is_snapshot=False),
        book(9, {}, {}, is_snapshot=False),
    ]
    what: dict[float, Callable[[Timed], Any]] = {
        2.2: lambda s: (s.book(ID).best_bid, s.book(ID).best_ask, len(s.book(ID).bids)),  # type: ignore[union-attr]
        2.3: sell(8),
        2.5: buy(5),
        3.5: sell(8),
    }
    result, strategy = run(events, what, kind="book")
    assert strategy.answers[2.2] == (100.06, 100.11, 3)
    assert prices_of(result) == [
        ("sell", 100.0, 7.0),
        ("sell", 99.5, 1.0),
        ("buy", 100.2, 4.0),
        ("buy", 100.3, 1.0),
        # The row at 3 s names one of the levels on the step of 100.0, which is thereby shown anew.
        ("sell", 100.0, 7.0),
        ("sell", 99.5, 1.0),
    ]
    assert "A-USDT-SWAP book: 2 of 4 rows had a price off the step of 0.1" in "\n".join(result.warnings)


def test_the_queue_at_a_step_holds_every_level_on_it_and_is_not_shortened() -> None:
    """Bids of 100.06 x 1.5 and 100.02 x 1 stand before ours at 100.0; a step begun counts whole."""
    events: list[MarketEvent] = [book(1, {100.06: 1.5, 100.02: 1.0, 99.0: 1.0}, {101.0: 5.0})]
    prints = [Trade(ID, T0 + n * S, T0 + n * S, 100.0, 1.0, Side.SELL) for n in (3, 4, 5, 6)]
    result, _ = run(
        [*events, *prints, book(6.5, {}, {101.0: 5.0}, is_snapshot=False)], {1.5: buy(1, 100.0)}, kind="book"
    )
    assert [(fill.price, fill.filled_ns) for fill in result.outcome.fills] == [(100.0, T0 + 6 * S)]


@pytest.mark.parametrize(
    ("what", "prices", "expected"),
    [
        (buy(1), [100.0, 100.04, 100.0], [("buy", 100.1)]),
        (sell(1), [100.0, 100.04, 100.0], [("sell", 100.0)]),
        # A print between the steps passes a limit only from a whole step further on.
        (buy(1, 100.0), [100.1, 99.96, 99.96], []),
        (buy(1, 100.0), [100.1, 99.96, 99.84], [("buy", 100.0)]),
        (sell(1, 100.0), [99.9, 100.04, 100.04], []),
        (sell(1, 100.0), [99.9, 100.04, 100.16], [("sell", 100.0)]),
        # A stop is set off only by a price that has really reached it.
        (sell(1, stop_price=100.0), [100.4, 100.04, 100.04, 100.3], []),
        (sell(1, stop_price=100.0), [100.4, 99.96, 100.3], [("sell", 100.3)]),
        (buy(1, stop_price=100.4), [100.0, 100.36, 100.36, 100.0], []),
        (buy(1, stop_price=100.4), [100.0, 100.44, 100.0], [("buy", 100.0)]),
        # What has arrived is judged by the last print in the same way.
        (buy(1, 100.0, post_only=True), [99.96, 99.96, 99.96], []),
        (sell(1, stop_price=100.0), [100.04, 100.3, 100.3], []),
    ],
)
def test_a_trade_off_the_step_never_counts_in_the_orders_favour(
    what: Callable[[Timed], Order], prices: list[float], expected: list[tuple[str, float]]
) -> None:
    """A taker pays the worse step, a limit that is only touched is not passed, and no stop is set off early."""
    result, _ = run(trades(*prices), {1.5: what}, kind="trade")
    assert [(side, price) for side, price, _ in prices_of(result)] == expected
    off = sum(round(price * 100) % 10 > 0 for price in prices)
    assert (
        f"trade: {off} of {len(prices)} rows had a price off the step of 0.1: orders met each at the step that is "
        in ("\n".join(result.warnings))
    )


def candle(second: int, open_: float, high: float, low: float, close: float) -> Candle:
    end = T0 + second * S
    return Candle(ID, end, end, end - S, end, open_, high, low, close, 50.0, "1s")


@pytest.mark.parametrize(
    ("what", "bar", "expected"),
    [
        (buy(1), (100.04, 100.3, 99.7, 100.0), [("buy", 100.1)]),
        (sell(1), (100.04, 100.3, 99.7, 100.0), [("sell", 100.0)]),
        (buy(1, 99.5), (100.0, 100.0, 99.46, 100.0), []),
        (buy(1, 99.5), (100.0, 100.0, 99.34, 100.0), [("buy", 99.5)]),
        (sell(1, stop_price=99.5), (100.0, 100.0, 99.54, 100.0), []),
        (sell(1, stop_price=99.5), (100.0, 100.0, 99.46, 100.0), [("sell", 99.5)]),
        (buy(1, stop_price=100.5), (100.0, 100.46, 100.0, 100.0), []),
        (buy(1, stop_price=100.5), (100.54, 100.54, 100.0, 100.0), [("buy", 100.6)]),
    ],
)
def test_a_candle_off_the_step_never_counts_in_the_orders_favour(
    what: Callable[[Timed], Order], bar: tuple[float, float, float, float], expected: list[tuple[str, float]]
) -> None:
    """Open, range and close alike."""
    bars = [candle(n, 100.0, 100.0, 100.0, 100.0) for n in (1, 2)]
    result, _ = run([*bars, candle(3, *bar)], {2.0: what}, kind="candle")
    assert [(side, price) for side, price, _ in prices_of(result)] == expected
    assert "candle 1s: 1 of 3 rows had a price off the step" in "\n".join(result.warnings)


def test_rows_are_counted_the_same_however_they_are_cut() -> None:
    """As events one by one, and as columns by the thousand."""
    prices = [100.0 + (n % 7) * 0.05 for n in range(1000)]
    off = sum(round(price * 100) % 10 > 0 for price in prices)
    for rows in (3, 100_000):
        feed = MemoryFeed(trades(*prices), [swap()], block_rows=rows)
        warnings = backtest(Timed({}, "trade"), data=feed).warnings
        assert f"A-USDT-SWAP trade: {off} of 1,000 rows had a price off the step of 0.1" in "\n".join(warnings)
    ended, _ = run(trades(*prices), {}, kind="trade", end=T0 + 500 * S)
    assert " of 500 rows" in "\n".join(ended.warnings)


def test_data_on_the_step_are_not_spoken_of() -> None:
    """Float noise is none of a price."""
    noisy = [0.1 + 0.2, 0.7 + 0.1, 1e9 / 3 // 1 / 10]
    result, _ = run(trades(*noisy), {}, kind="trade")
    assert not [text for text in result.warnings if "step" in text]


def test_a_locked_ticker_and_a_locked_book_are_traded_on() -> None:
    """Bid and ask at one price: both sides can be taken there."""
    result, _ = run(tickers(5, 100.0, 100.0), {1.5: buy(1), 2.5: sell(1)})
    assert prices_of(result) == [("buy", 100.0, 1.0), ("sell", 100.0, 1.0)]
    books = [book(n, {100.0: 5.0}, {100.0: 5.0}) for n in (1, 2, 3)]
    result, _ = run(books, {1.5: buy(1), 1.6: sell(1)}, kind="book")
    assert prices_of(result) == [("buy", 100.0, 1.0), ("sell", 100.0, 1.0)]


# Changes ------------------------------------------------------------------------------------------------------------


def test_the_steps_of_the_moment_count() -> None:
    """A finer price step from the second minute on: bought at 100.04, not at a price below the ask."""
    events = [*tickers(2, 100.0, 100.1, first=1), *tickers(5, 100.03, 100.04, first=11)]
    what: dict[float, Callable[[Timed], Any]] = {
        1.5: lambda s: s.instrument_info(ID).price_step,
        1.6: buy(1),
        12.4: lambda s: s.instrument_info(ID).price_step,
        12.5: buy(1),
    }
    result, strategy = run(events, what, swap("0.1"), swap("0.01", from_s=10))
    assert prices_of(result) == [("buy", 100.1, 1.0), ("buy", 100.04, 1.0)]
    assert (strategy.answers[1.5], strategy.answers[12.4]) == (Decimal("0.1"), Decimal("0.01"))
    assert not [text for text in result.warnings if "step" in text]
    assert result.instruments[ID].price_step == Decimal("0.1")
    assert [change.price_step for change in result.instrument_changes] == [Decimal("0.01")]


def test_a_smaller_lot_can_be_traded_from_its_moment_on() -> None:
    """Half a contract is refused before and filled after."""
    what: dict[float, Callable[[Timed], Any]] = {1.5: buy(0.5), 5.5: buy(0.5), 7.5: lambda s: s.target(ID, 0.0)}
    result, _ = run(tickers(9, 100.0, 100.1), what, swap(), swap(qty_step="0.1", from_s=4))
    assert [(o.state, o.reason) for o in result.outcome.orders] == [
        ("rejected", "below_min_qty"),
        ("filled", ""),
        ("filled", ""),
    ]
    assert prices_of(result) == [("buy", 100.1, 0.5), ("sell", 100.0, 0.5)]


def test_an_order_that_rounds_to_nothing_is_refused_though_what_is_held_does_too() -> None:
    """Half a contract, when lots become whole: no order to sell it may rest."""
    what: dict[float, Callable[[Timed], Any]] = {
        1.5: buy(0.5),
        5.5: sell(0.5),
        6.5: sell(0.5, 120.0),
        7.5: lambda s: len(s.open_orders(ID)),
        7.6: sell(1, reduce_only=True),
    }
    result, strategy = run(tickers(9, 100.0, 100.1), what, swap(qty_step="0.5"), swap(qty_step="1", from_s=4))
    assert [(o.state, o.reason) for o in result.outcome.orders] == [
        ("filled", ""),
        ("rejected", "below_min_qty"),
        ("rejected", "below_min_qty"),
        ("rejected", "reduce_only_no_position"),
    ]
    assert strategy.answers[7.5] == 0


def test_resting_orders_that_no_longer_fit_are_cancelled_with_the_reason() -> None:
    """By price, stop, size or minimum; the others stay, and news of it come after the way back."""
    orders: dict[float, Callable[[Timed], Any]] = {
        1.1: buy(4, 99.5),
        1.2: buy(4, 99.3),  # off the new price step
        1.3: sell(4, stop_price=99.1),  # likewise
        1.4: buy(3, 99.5),  # off the new size step
        1.5: buy(2, 99.5),  # below the new minimum
        1.6: sell(4, 101.0, stop_price=99.0),
        5.0: lambda s: [order.id for order in s.open_orders(ID)],
    }
    change = swap("0.5", "2", from_s=4, min_qty="4")
    result, strategy = run(tickers(9, 100.0, 100.5), orders, swap(), change)
    assert strategy.answers[5.0] == ["bt1", "bt6"]
    gone = [(e.order_id, e.at_ns - T0, e.reported_ns - T0) for e in result.outcome.order_events if e.reason]
    at = [(name, 4 * S, 4 * S + S // 50) for name in ("bt2", "bt3", "bt4", "bt5")]
    assert gone[:4] == at
    assert {e.reason for e in result.outcome.order_events} == {"", "instrument_changed", "end_of_data"}


def test_what_is_left_of_a_partly_filled_order_has_to_fit_too() -> None:
    """Two of five are filled: three are left, which lots of two cannot be."""
    events: list[MarketEvent] = tickers(9, 100.0, 100.5, qty=1.0)
    prints = [Trade(ID, T0 + 2 * S + 1, T0 + 2 * S + 1, 99.0, 2.0, Side.SELL)]
    what: dict[float, Callable[[Timed], Any]] = {1.1: buy(4, 100.0), 1.2: buy(6, 99.0)}
    result, _ = run([*events, *prints], what, swap(), swap(qty_step="2", from_s=4))
    assert [(o.qty, o.filled_qty, o.state) for o in result.outcome.orders] == [
        (4.0, 4.0, "filled"),
        (6.0, 0.0, "cancelled"),
    ]


def test_orders_that_arrived_before_a_change_are_judged_by_the_steps_of_then() -> None:
    """Though no row of their market has come between: one fills, one rests and goes with the change, one is late."""
    what: dict[float, Callable[[Timed], Any]] = {
        3.95: buy(0.5),
        3.951: buy(0.5, 99.0),
        3.979: buy(0.5, 99.0),
        3.98: buy(0.5),
    }
    result, _ = run(tickers(9, 100.0, 100.5), what, swap(qty_step="0.5"), swap(qty_step="1", from_s=4))
    assert [(o.state, o.reason) for o in result.outcome.orders] == [
        ("filled", ""),
        ("cancelled", "instrument_changed"),
        ("cancelled", "instrument_changed"),
        ("rejected", "below_min_qty"),
    ]
    assert [(fill.price, fill.filled_ns) for fill in result.outcome.fills] == [(100.5, T0 + round(3.97 * S))]


def test_orders_under_way_are_judged_on_arrival_by_the_new_steps() -> None:
    """New ones are refused, changes are refused and leave the order as it is."""
    seen: list[Order] = []

    def amend(strategy: Timed) -> None:
        strategy.amend(seen[0], price=99.3)

    what: dict[float, Callable[[Timed], Any]] = {
        1.1: lambda s: seen.append(s.buy(ID, 4, price=99.5)),
        3.99: buy(4, 99.3),
        3.991: sell(3),
        3.992: amend,
    }
    result, strategy = run(tickers(9, 100.0, 100.5), what, swap(), swap("0.5", "2", from_s=4))
    assert strategy.reports[1:4] == [
        ("bt2", "rejected", "instrument_changed"),
        ("bt3", "rejected", "instrument_changed"),
        ("bt1", "accepted", "amend_refused: instrument_changed"),
    ]
    assert result.outcome.orders[0].price == 99.5


def test_what_we_took_stays_taken_across_a_change() -> None:
    """Of an ask on one step it is missing from the levels that lay on it, from a finer step to a coarser one too."""
    books = [
        book(1, {99.0: 5.0}, {100.11: 2.0, 100.14: 2.0, 101.0: 9.0}),
        book(2, {99.0: 6.0}, {}, is_snapshot=False),
        book(9, {99.0: 7.0}, {}, is_snapshot=False),
    ]
    what: dict[float, Callable[[Timed], Any]] = {2.1: buy(3), 4.5: buy(2), 6.5: buy(1)}
    versions = (swap(), swap("0.01", from_s=4), swap("0.5", from_s=6))
    result, _ = run(books, what, *versions, kind="book", stale_after="1m")
    assert prices_of(result) == [("buy", 100.2, 3.0), ("buy", 100.14, 1.0), ("buy", 101.0, 1.0), ("buy", 101.0, 1.0)]


def test_a_position_is_read_right_across_a_change(tmp_path: Path) -> None:
    """Opened in whole contracts, closed in tenths: one round trip, exact money, and the same when loaded."""
    what: dict[float, Callable[[Timed], Any]] = {
        1.5: buy(2),
        5.5: sell(0.5),
        6.5: lambda s: s.position(ID),
        7.5: lambda s: s.close(ID),
    }
    events = [*tickers(3, 100.0, 100.1), *tickers(7, 101.03, 101.04, first=4)]
    versions = (swap(), swap("0.01", "0.1", from_s=3.5, min_qty="0.2"))
    result, strategy = run(events, what, *versions, fees=Fees(maker_bps=0, taker_bps=10))
    assert strategy.answers[6.5] == 1.5
    assert prices_of(result) == [("buy", 100.1, 2.0), ("sell", 101.03, 0.5), ("sell", 101.03, 1.5)]
    gross = 2 * (Decimal("101.03") - Decimal("100.1"))
    fees = (Decimal("200.2") + 2 * Decimal("101.03")) / 1000
    assert result.outcome.equity == 1_000_000 + gross - fees
    (trip,) = result.trips.closed
    assert (trip.qty, trip.entry_price, trip.exit_price, trip.pnl) == (2, 100.1, 101.03, gross - fees)
    loaded = Result.load(result.save(tmp_path / "kept"))
    assert loaded.hash == result.hash
    assert loaded.trips == result.trips
    assert loaded.instruments == result.instruments
    assert loaded.instrument_changes == result.instrument_changes
    assert loaded.instruments[ID].tick == Decimal("0.01")
    assert loaded.fills.equals(result.fills)


def test_what_is_too_small_for_the_new_step_ends_a_round_trip() -> None:
    """Half a contract is left when lots become whole: it cannot be sold any more, and the next fill opens a trip."""
    what: dict[float, Callable[[Timed], Any]] = {1.5: buy(2.5), 5.5: sell(2), 6.5: buy(1)}
    versions = (swap(qty_step="0.5"), swap(qty_step="1", from_s=4))
    result, _ = run(tickers(9, 100.0, 100.1), what, *versions)
    assert [trip.qty for trip in result.trips.closed] == [Decimal("2.5")]
    assert len(result.trips.open) == 1


def test_a_flip_into_less_than_the_new_step_opens_no_trip() -> None:
    """Half a contract is held when lots become whole: selling one leaves half of it short, which is no position."""
    what: dict[float, Callable[[Timed], Any]] = {1.5: buy(0.5), 5.5: sell(1), 7.5: lambda s: s.position(ID)}
    result, strategy = run(tickers(9, 100.0, 100.1), what, swap(qty_step="0.5"), swap(qty_step="1", from_s=4))
    assert strategy.answers[7.5] == 0
    assert [trip.qty for trip in result.trips.closed] == [Decimal("0.5")]
    assert (result.stats.open_trades, result.trips.open) == (0, [])
    assert [text for text in result.warnings if "left over" in text] == [
        "A-USDT-SWAP: -0.5 contracts are left over that cannot be traded (size step 1); they count as no position, "
        "and the equity still moves with them"
    ]


def test_closing_at_the_end_goes_by_the_steps_of_the_end() -> None:
    """Of 2.5 contracts two can be closed once lots are whole: their fee alone is taken off."""
    fees = Fees(maker_bps=100, taker_bps=100)
    versions = (swap(qty_step="0.5"), swap(qty_step="1", from_s=4))
    for qty, closing_fee in ((2.5, 2.0), (0.5, 0.0)):
        result, _ = run(tickers(9, 100.0, 100.0), {1.5: buy(qty)}, *versions, fees=fees)
        assert result.stats.equity_closed == result.stats.equity_final - closing_fee


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"contract_value": "0.1"}, "contract_value changes from 1 to 0.1"),
        ({"contract_multiplier": "10"}, "contract_multiplier changes from 1 to 10"),
        ({"settle": "USDC"}, "settle changes from USDT to USDC"),
        ({"is_inverse": True, "settle": "USDT"}, "is_inverse changes from False to True"),
    ],
)
def test_a_change_of_what_a_contract_is_worth_is_refused_with_the_spans_that_can_be_run(
    change: dict[str, Any], said: str
) -> None:
    """Both of them really can."""
    versions = (swap(), swap("0.01", from_s=4, **change))
    with pytest.raises(ConfigError) as error:
        run(tickers(9, 100.0, 100.1), {}, *versions)
    assert str(error.value) == (
        f"A-USDT-SWAP: {said} at 2024-02-01T00:00:04Z, within the run, and no position can be carried over that; "
        "run the two spans apart: 2024-02-01T00:00:01Z to 2024-02-01T00:00:03.999999999Z (--to, end=), "
        "and 2024-02-01T00:00:04Z to 2024-02-01T00:00:09Z (--from, start=)"
    )
    before, _ = run(tickers(9, 100.0, 100.1), {}, *versions, end="2024-02-01T00:00:03.999999999Z")
    cash = {versions[1].settle: 1000}
    after, _ = run(tickers(9, 100.0, 100.1), {}, *versions, start="2024-02-01T00:00:04Z", cash=cash)
    assert (before.instruments[ID].price_step, after.instruments[ID].price_step) == (Decimal("0.1"), Decimal("0.01"))


def test_metadata_that_say_the_same_again_are_no_change() -> None:
    """A recorder notes them anew with every run; where they come from does not matter either."""
    again = swap(from_s=4, source="capture")
    result, _ = run(tickers(9, 100.0, 100.1), {5.5: buy(1)}, swap(), again)
    assert result.instrument_changes == []
    assert result.instruments[ID].tick == result.instruments[ID].price_step


def test_changes_are_read_from_a_data_folder_too(tmp_path: Path) -> None:
    """The ask is 100.04 on a step of 0.01 that holds since the data's second file: a buy fills there."""
    with Writer(tmp_path / "data") as writer:
        writer.write(Block.from_events([*tickers(2, 100.0, 100.1), *tickers(5, 100.03, 100.04, first=11)]))
        for instrument in (swap("0.1"), swap("0.01", from_s=10)):
            writer.write_instrument(instrument)
    strategy = Timed({12.5: buy(1)})
    result = backtest(strategy, data=tmp_path / "data", fees=NO_FEES)
    assert prices_of(result) == [("buy", 100.04, 1.0)]
    assert any("kind=instrument" in path for path in result.config["data_files"])
    assert [change.price_step for change in result.instrument_changes] == [Decimal("0.01")]
