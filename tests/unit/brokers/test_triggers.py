"""Triggers by themselves: what sets them off, what they trail, and the prices between which nothing happens."""

from math import inf

import pytest
from oracle.timelines import SWAP, book, buy, cancel, candle, mark, play, sell, trade

from quantkit.brokers.simulated.triggers import Trigger, trigger_of
from quantkit.instruments import Side
from quantkit.orders import Order, OrderTerms, TriggerPrices


def trigger(side: Side = Side.SELL, *, stop: int | None = None, **terms: object) -> Trigger:
    """Return the trigger of an order with these terms."""
    kept = OrderTerms(**terms) if terms else None  # type: ignore[arg-type]
    found = trigger_of(Order(id="a", instrument=SWAP.id, side=side, qty=1, lots=1, stop_ticks=stop, terms=kept))
    assert found is not None
    return found


def test_an_order_without_a_trigger_has_none() -> None:
    """Whatever else it has."""
    order = Order(id="a", instrument=SWAP.id, side=Side.BUY, qty=1, lots=1, terms=OrderTerms(expire_ns=5))
    assert trigger_of(order) is None


@pytest.mark.parametrize(
    ("one", "prices", "bounds"),
    [
        (trigger(stop=95), [100], (95.51, inf)),
        (trigger(Side.BUY, stop=105), [100], (-inf, 104.49)),
        (trigger(take_profit_ticks=105), [100], (-inf, 104.49)),
        (trigger(Side.BUY, take_profit_ticks=95), [100], (95.51, inf)),
        (trigger(trailing_ticks=5), [], (inf, -inf)),
        (trigger(trailing_ticks=5), [100, 103, 101], (98.51, 103.49)),
        (trigger(Side.BUY, trailing_ticks=5), [100, 97, 99], (96.51, 101.49)),
        (trigger(trailing_ticks=5, activation_ticks=105), [100], (-inf, 104.49)),
        (trigger(Side.BUY, trailing_ticks=5, activation_ticks=95), [100], (95.51, inf)),
    ],
)
def test_nothing_happens_between_its_bounds(one: Trigger, prices: list[int], bounds: tuple[float, float]) -> None:
    """And each of them is the nearest price that changes something."""
    for price in prices:
        assert not one.meets(price, price)
    assert one.bounds(1) == pytest.approx(bounds)


def test_a_coarser_step_moves_what_trails_away_from_the_market() -> None:
    """The best price stays as it was."""
    sale, purchase = trigger(trailing_ticks=5), trigger(Side.BUY, trailing_offset_bps=100.0)
    for one in (sale, purchase):
        one.meets(103, 103)
    assert (sale.ticks, purchase.ticks) == (98, 105)
    for one in (sale, purchase):
        one.use(10)
        one.use(10)
    assert (sale.ticks, purchase.ticks) == (90, 110)


def test_a_change_keeps_the_best_price_and_is_restated() -> None:
    """In the unit that the order was sent with."""
    one = trigger(trailing_offset_bps=100.0)
    assert one.restated() == TriggerPrices(None, None, 100.0)
    one.meets(1_000, 1_000)
    one.change(TriggerPrices(trailing_offset_bps=250.0))
    assert one.restated() == TriggerPrices(975, None, 250.0)
    fixed = trigger(stop=95)
    assert fixed.restated() is None
    fixed.change(TriggerPrices(90))
    assert fixed.restated() == TriggerPrices(90)


def test_a_long_search_through_marks_finds_the_first_that_matters() -> None:
    """Past several windows of rows of both prices, on trades that say nothing."""
    marks = [mark(n, 100 if n % 2 else 99, source="mark" if n % 3 else "index") for n in range(900)]
    marks.append(mark(900, 95))
    events = [trade(0, 100), *marks, trade(901, 98), trade(950, 97)]
    orders = [sell(1, stop_price=95, trigger_type="mark"), sell(1, stop_price=98, trigger_type="index")]
    played = play(events, {("trade", 0): orders}, on="trade", latency=0, hooks=("trade",))
    assert played.fills == ["1 sell 1 @ 98 taker 901"]


def test_each_price_is_searched_on_from_where_its_own_search_stands() -> None:
    """The trailing stop begins anew at each new best mark, while the search for the index is far ahead."""
    marks = [mark(n, 101 if n == 600 else 100, source="index" if n % 2 else "mark") for n in range(1_400)]
    marks += [mark(1_401, 98, source="index"), mark(1_450, 95.9)]
    events = [trade(0, 100), *marks, trade(1_420, 99), trade(1_460, 97), trade(1_470, 97)]
    orders = [sell(1, trailing_offset=5, trigger_type="mark"), sell(1, stop_price=98, trigger_type="index")]
    played = play(events, {("trade", 0): orders}, on="trade", latency=0, hooks=("trade",))
    assert played.fills == ["2 sell 1 @ 99 taker 1420", "1 sell 1 @ 97 taker 1460"]


def test_a_stop_on_the_mark_needs_no_row_of_the_book() -> None:
    """The search passes over trades at its price, on a book as on candles."""
    rows = [book(n, {99.0: 5 + n % 3}, {}) for n in range(1, 60)]
    events = [mark(0, 100), book(0, {99.0: 5}, {101.0: 5}, whole=True), *rows, trade(30, 95), mark(55, 95)]
    order = sell(1, stop_price=95, trigger_type="mark")
    played = play([*events, trade(59, 99), mark(59, 99)], {("book", 0): [order]}, on="book", latency=5, hooks=("book",))
    assert played.fills == ["1 sell 1 @ 99 taker 55"]
    bars = [candle(1, (100, 100, 100, 100)), candle(2, (100, 101, 90, 100)), candle(3, (100, 100, 100, 100))]
    marks = [mark(0, 100), mark(180_000, 99)]
    assert play([*bars, *marks], {("candle", 0): [order]}, on="candle", latency=0).fills == []


def test_ends_and_messages_of_one_row_come_in_turn() -> None:
    """The first end, a cancel, a new order and the second end, all before the row that shows them."""
    events = [trade(0, 100), trade(5, 100), trade(200, 98)]
    orders = [buy(1, 99, expires_in_ms=25), buy(1, 99), buy(1, 99, expires_in_ms=35)]
    calls = {("trade", 0): orders, ("trade", 1): [cancel(2), buy(1, 97)]}
    played = play(events, calls, on="trade", latency=20)
    assert [played.final(n) for n in (1, 2, 3, 4)] == [
        "cancelled expired",
        "cancelled requested",
        "cancelled expired",
        "cancelled end_of_data",
    ]
