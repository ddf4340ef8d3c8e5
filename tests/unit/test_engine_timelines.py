"""Timelines of the engine: what arrives when, what fills at which price, what is reported when.

Every timeline runs through the oracle and through the real engine with the search off and on, in one block and in
blocks of one row; all five must agree before the expectation is looked at. Times are milliseconds, the latency is 20
unless said, an order is named by its number.
"""

from decimal import Decimal
from typing import Any

import pytest
from oracle.scripted import Act
from oracle.timelines import (
    OTHER,
    SPOT,
    SWAP,
    amend,
    book,
    buy,
    cancel,
    candle,
    funding,
    gap,
    mark,
    ns,
    play,
    sell,
    ticker,
    trade,
)

from quantkit.events import Mark, MarketEvent
from quantkit.fees import Fees

# The four timelines of the law ------------------------------------------------------------------------------------


def test_candles_fill_at_the_next_open_and_in_its_range() -> None:
    """A target at candle A's close fills at B's open; an order sent in that `on_fill` takes part in B's range."""
    events = [candle(1, (99, 101, 98, 100)), candle(2, (101, 103, 99, 102)), candle(3, (102, 102, 102, 102))]
    calls = {("candle", 0): [Act("target", SWAP.id, 1.0)], ("fill", 0): [sell(1, 102)]}
    played = play(events, calls, on="candle", latency=0)
    assert played.fills == ["1 buy 1 @ 101 taker 60000", "2 sell 1 @ 102 maker 120000"]
    assert played.calls("fill") == [60_000, 120_000]
    assert played.hooks[:7] == ["candle", "order", "order", "fill", "order", "order", "fill"]
    assert played.hooks[7] == "candle"


def test_trades_fill_beyond_the_limit_only() -> None:
    """Not before arrival, not on a touch; the report takes the way back."""
    prices = {0: 100.0, 10: 99.0, 35: 99.5, 50: 99.4, 90: 99.4}
    played = play([trade(at, price) for at, price in prices.items()], {("trade", 0): [buy(1, 99.5)]}, on="trade")
    assert played.fills == ["1 buy 1 @ 99.5 maker 50"]
    assert played.events == ["1 accepted 20>40", "1 filled 50>70"]
    assert played.calls("fill") == [70]


def test_a_book_queue_shrinks_by_prints_and_by_what_is_displayed() -> None:
    """The place in the queue follows prints at the price and the displayed size, and nothing else."""
    events = [
        book(0, {100.0: 5}, {101.0: 5}, whole=True),
        trade(30, 100.0, 3),
        book(31, {100.0: 4}, {}),
        trade(40, 100.0, 3),
        book(41, {100.0: 0, 99.0: 5}, {}),
        book(60, {}, {100.0: 5}),
        book(120, {}, {100.0: 4}),
    ]
    played = play(events, {("book", 0): [buy(2, 100.0, post_only=True)]}, on="book")
    assert played.fills == ["1 buy 1 @ 100 maker 40", "1 buy 1 @ 100 maker 60"]
    assert played.events == ["1 accepted 20>40", "1 partly_filled 40>60", "1 filled 60>80"]


def test_what_was_taken_stays_taken() -> None:
    """Two market orders sent together do not get the same displayed size twice."""
    events = [book(0, {100.0: 5}, {101.0: 1, 102.0: 5}, whole=True), book(50, {100.0: 6}, {})]
    played = play(events, {("book", 0): [buy(1), buy(1)]}, on="book")
    assert played.fills == ["1 buy 1 @ 101 taker 20", "2 buy 1 @ 102 taker 20"]


# Every kind of order on every kind of data -----------------------------------------------------------------------

PATHS = {
    "trade": [trade(0, 100.0), trade(50, 101.0), trade(100, 99.0), trade(200, 99.0)],
    "ticker": [ticker(0, 99.9, 100.1), ticker(50, 100.9, 101.1), ticker(100, 98.9, 99.1), ticker(200, 98.9, 99.1)],
    "book": [
        book(0, {99.9: 5}, {100.1: 5}, whole=True),
        book(50, {100.9: 5}, {101.1: 5}, whole=True),
        book(100, {98.9: 5}, {99.1: 5}, whole=True),
        book(200, {98.9: 6}, {}),
    ],
    "candle": [
        candle(1, (100, 100, 100, 100)),
        candle(2, (101, 102, 100.5, 101)),
        candle(3, (99, 100, 98, 99)),
        candle(4, (99, 99, 99, 99)),
    ],
}
#: An order sent at the first row, and what becomes of it by kind of data: a fill, or the state it ends in.
KINDS_OF_ORDERS = [
    ("market", buy(1), "101 taker 50", "100.1 taker 20", "101 taker 60000"),
    ("limit", buy(1, 99.5), "99.5 maker 100", "99.5 maker 100", "99 maker 120000"),
    ("limit that takes", buy(1, 100.5), "100.5 maker 100", "100.1 taker 20", "99 maker 120000"),
    ("stop", buy(1, stop_price=100.8), "99 taker 100", "101.1 taker 50", "101 taker 60000"),
    ("stop-limit", buy(1, 101.5, stop_price=100.8), "99 taker 100", "101.1 taker 50", "101 taker 60000"),
    ("ioc taking", buy(1, 100.5, time_in_force="IOC"), "cancelled ioc_unfilled", "100.1 taker 20", None),
    ("ioc resting", buy(1, 99.0, time_in_force="IOC"), "cancelled ioc_unfilled", "cancelled ioc_unfilled", None),
    ("fok", buy(6, 100.1, time_in_force="FOK"), "cancelled fok_unfilled", "cancelled fok_unfilled", None),
    ("post-only crossing", buy(1, 100.5, post_only=True), *["rejected post_only_would_take"] * 3),
    ("post-only", buy(1, 100.0, post_only=True), "100 maker 100", "100 maker 100", "99 maker 120000"),
    ("reduce-only", sell(1, reduce_only=True), *["rejected reduce_only_no_position"] * 3),
    ("sell limit", sell(1, 100.6), "100.6 maker 50", "100.6 maker 50", "101 maker 60000"),
    ("sell stop", sell(1, stop_price=99.5), "99 taker 200", "98.9 taker 100", "99 taker 120000"),
]


@pytest.mark.parametrize("kind", list(PATHS))
@pytest.mark.parametrize("order", KINDS_OF_ORDERS, ids=lambda order: order[0])
def test_every_order_on_every_kind_of_data(order: tuple[str, Act, str, str, str | None], kind: str) -> None:
    """One market path, told as trades, tickers, book or candles, and one order of each kind."""
    _, act, on_trades, displayed, on_candles = order
    expected = {"trade": on_trades, "candle": on_candles or on_trades}.get(kind, displayed)
    hook = (kind, 0)
    played = play(PATHS[kind], {hook: [act]}, on=kind, latency=0 if kind == "candle" else 20)
    if played.fills:
        assert [fill.split(" @ ")[1] for fill in played.fills] == [expected]
    else:
        assert played.final(1) == expected


# Taking from a display --------------------------------------------------------------------------------------------


def test_a_walk_goes_level_by_level_and_what_is_missing_is_cancelled() -> None:
    """A market order larger than the book gets what there is."""
    events = [book(0, {100.0: 5}, {101.0: 1, 101.5: 2}, whole=True), book(50, {100.0: 6}, {})]
    played = play(events, {("book", 0): [buy(5)]}, on="book")
    assert played.fills == ["1 buy 1 @ 101 taker 20", "1 buy 2 @ 101.5 taker 20"]
    assert played.final(1) == "cancelled no_liquidity"


def test_a_limit_takes_to_its_price_and_rests() -> None:
    """What a crossing limit cannot take rests at the limit, as maker."""
    events = [
        book(0, {100.0: 5}, {101.0: 1, 101.5: 2}, whole=True),
        book(50, {100.0: 6}, {}),
        book(60, {}, {101.0: 3}),
        book(90, {100.0: 5}, {}),
    ]
    played = play(events, {("book", 0): [buy(3, 101.0)]}, on="book")
    assert played.fills == ["1 buy 1 @ 101 taker 20", "1 buy 2 @ 101 maker 60"]


@pytest.mark.parametrize(("qty", "fills"), [(3, 2), (4, 0)])
def test_fok_is_all_or_none(qty: float, fills: int) -> None:
    """The whole size is displayed within the limit, or nothing happens."""
    events = [book(0, {100.0: 5}, {101.0: 1, 101.5: 2, 102.0: 9}, whole=True), book(50, {100.0: 6}, {})]
    played = play(events, {("book", 0): [buy(qty, 101.5, time_in_force="FOK")]}, on="book")
    assert len(played.fills) == fills
    assert played.final(1) == ("filled" if fills else "cancelled fok_unfilled")


def test_ioc_leaves_nothing() -> None:
    """What an IOC order does not get at once is cancelled."""
    events = [book(0, {100.0: 5}, {101.0: 1, 102.0: 9}, whole=True), book(50, {}, {101.0: 9})]
    played = play(events, {("book", 0): [buy(3, 101.0, time_in_force="IOC")]}, on="book")
    assert played.fills == ["1 buy 1 @ 101 taker 20"]
    assert played.final(1) == "cancelled ioc_unfilled"


def test_a_level_comes_back_when_it_is_shown_anew() -> None:
    """A change that names the level makes it whole, whatever its size; one that names another does not."""
    events = [
        book(0, {100.0: 5}, {101.0: 2, 102.0: 9}, whole=True),
        book(30, {100.0: 4}, {}),
        book(70, {}, {101.0: 2}),
        book(150, {100.0: 5}, {}),
    ]
    calls = {("book", 0): [buy(2)], ("book", 1): [buy(1)], ("book", 2): [buy(1)]}
    played = play(events, calls, on="book")
    assert played.fills == ["1 buy 2 @ 101 taker 20", "2 buy 1 @ 102 taker 50", "3 buy 1 @ 101 taker 90"]


def test_a_repeated_snapshot_does_not_give_back_what_was_taken() -> None:
    """The same size shown again is the size we took from; another size is new."""
    events = [
        book(0, {100.0: 5}, {101.0: 2, 102.0: 9}, whole=True),
        book(30, {100.0: 5}, {101.0: 2, 102.0: 9}, whole=True),
        book(70, {100.0: 5}, {101.0: 3, 102.0: 9}, whole=True),
        book(150, {100.0: 5}, {}),
    ]
    calls = {("book", 0): [buy(2)], ("book", 1): [buy(1)], ("book", 2): [buy(1)]}
    played = play(events, calls, on="book")
    assert played.fills == ["1 buy 2 @ 101 taker 20", "2 buy 1 @ 102 taker 50", "3 buy 1 @ 101 taker 90"]


@pytest.mark.parametrize("on", ["book", "ticker"])
def test_an_order_that_another_kind_of_row_has_let_arrive_is_brought_in_by_the_next_row(on: str) -> None:
    """The receiver's clock is behind: the display is stamped after the order's arrival, the trade before it."""
    shown = {
        "book": [book(100, {100.0: 5}, {101.0: 5}, whole=True, late=-100), book(160, {100.0: 4}, {}, late=-100)],
        "ticker": [ticker(100, 100.0, 101.0, late=-100), ticker(160, 100.0, 101.0, late=-100)],
    }[on]
    events = [shown[0], trade(10, 100.5), shown[1]]
    played = play(events, {(on, 0): [buy(1)]}, on=on)
    assert played.fills == ["1 buy 1 @ 101 taker 20"]
    assert played.calls("fill") == [40]


def test_beyond_a_ticker_the_rest_is_worse() -> None:
    """The size that a ticker does not show fills at the stated slippage, rounded against the taker."""
    events = [ticker(0, 99.9, 100.0, 5, 2), ticker(90, 99.9, 100.0)]
    played = play(events, {("ticker", 0): [buy(5)]}, on="ticker", excess_slippage_bps=15.0)
    assert played.fills == ["1 buy 2 @ 100 taker 20", "1 buy 3 @ 100.2 taker 20"]


@pytest.mark.parametrize(
    ("order", "reason"), [(buy(1), "book_stale"), (buy(1, 101.0, time_in_force="IOC"), "book_stale")]
)
def test_a_stale_book_fills_nothing(order: Act, reason: str) -> None:
    """An order that needs the display is refused when it is too old."""
    events = [book(0, {100.0: 5}, {101.0: 5}, whole=True), mark(100, 100.0), book(300, {100.0: 4}, {})]
    played = play(events, {("mark", 0): [order]}, on="book", stale_after_ns=119_999_999)
    assert not played.fills
    assert played.final(1) == f"rejected {reason}"


def test_a_book_is_not_stale_at_the_very_limit() -> None:
    """As old as allowed is not too old."""
    events = [book(0, {100.0: 5}, {101.0: 5}, whole=True), mark(100, 100.0), book(300, {100.0: 4}, {})]
    played = play(events, {("mark", 0): [buy(1)]}, on="book", stale_after_ns=120_000_000)
    assert played.fills == ["1 buy 1 @ 101 taker 120"]


def test_an_invalid_book_fills_nothing() -> None:
    """After a gap nothing takes and nothing resting fills until the next snapshot."""
    events = [
        book(0, {100.0: 5}, {101.0: 5}, whole=True),
        gap(30),
        trade(50, 98.0, 9),
        book(55, {}, {99.0: 3}),
        trade(60, 98.0, 9),
        book(100, {100.0: 2}, {101.0: 2}, whole=True),
        trade(120, 99.0, 1),
        trade(160, 99.0, 1),
    ]
    calls = {("book", 0): [buy(1, 100.0)], ("trade", 0): [buy(1)]}
    played = play(events, calls, on="book")
    assert played.fills == ["1 buy 1 @ 100 maker 120"]
    assert played.final(2) == "rejected book_invalid"


def test_post_only_is_judged_on_arrival() -> None:
    """The market may come while the order is under way, and may go as well."""
    coming = [book(0, {100.0: 5}, {101.0: 5}, whole=True), book(10, {}, {100.5: 1}), book(60, {100.0: 4}, {})]
    assert play(coming, {("book", 0): [buy(1, 100.5, post_only=True)]}, on="book").final(1) == (
        "rejected post_only_would_take"
    )
    going = [book(0, {100.0: 5}, {100.5: 5}, whole=True), book(10, {}, {100.5: 0, 101.0: 1}), book(60, {100.0: 4}, {})]
    assert play(going, {("book", 0): [buy(1, 100.5, post_only=True)]}, on="book").final(1) == "cancelled end_of_data"


# The queue --------------------------------------------------------------------------------------------------------


def test_own_orders_share_one_print_in_arrival_order() -> None:
    """What a print leaves after the queue goes to the first of our orders, then to the second."""
    events = [book(0, {100.0: 2}, {101.0: 5}, whole=True), trade(50, 100.0, 7), trade(90, 100.0, 1), mark(130, 100.0)]
    played = play(events, {("book", 0): [buy(3, 100.0), buy(4, 100.0)]}, on="book")
    assert played.fills == ["1 buy 3 @ 100 maker 50", "2 buy 2 @ 100 maker 50", "2 buy 1 @ 100 maker 90"]


def test_a_print_of_our_own_side_moves_nothing() -> None:
    """A buyer's print at our bid neither fills it nor shortens its queue."""
    events = [
        book(0, {100.0: 2}, {101.0: 5}, whole=True),
        trade(50, 100.0, 9, "buy"),
        trade(60, 100.0, 3),
        mark(99, 1.0),
    ]
    assert play(events, {("book", 0): [buy(3, 100.0)]}, on="book").fills == ["1 buy 1 @ 100 maker 60"]


def test_outside_the_display_the_queue_is_unknown() -> None:
    """A price that was never shown does not fill on a touch, and does once it has been shown."""
    events = [
        book(0, {100.0: 2}, {101.0: 5}, whole=True),
        trade(50, 98.0, 9),
        book(60, {98.0: 1}, {}),
        trade(70, 98.0, 2),
        mark(100, 100.0),
    ]
    # The print at 98 goes through 99, which rests there as well.
    played = play(events, {("book", 0): [buy(2, 98.0), buy(1, 99.0)]}, on="book")
    assert played.fills == ["2 buy 1 @ 99 maker 50", "1 buy 1 @ 98 maker 70"]


@pytest.mark.parametrize(
    ("change", "fills"),
    [
        (amend(1, qty=2), ["1 buy 2 @ 100 maker 80"]),  # smaller: keeps its place behind 2
        (amend(1, qty=4), ["2 buy 1 @ 100 maker 80", "1 buy 1 @ 100 maker 80"]),  # larger: behind the second order
        (amend(1, price=100.0), ["1 buy 2 @ 100 maker 80"]),  # nothing changed
    ],
)
def test_only_a_smaller_size_keeps_its_place(change: Act, fills: list[str]) -> None:
    """Growing and repricing go to the back of the queue."""
    events = [
        book(0, {100.0: 2}, {101.0: 5}, whole=True),
        book(40, {100.0: 2}, {}),
        trade(80, 100.0, 4),
        mark(120, 100.0),
    ]
    played = play(events, {("book", 0): [buy(3, 100.0), buy(1, 100.0)], ("book", 1): [change]}, on="book")
    assert played.fills == fills


def test_an_amended_price_loses_its_place() -> None:
    """Away and back again is at the back."""
    events = [
        book(0, {100.0: 2, 99.0: 1}, {101.0: 5}, whole=True),
        book(40, {100.0: 1}, {}),
        book(70, {100.0: 6}, {}),
        trade(120, 100.0, 3),
        mark(150, 100.0),
    ]
    calls = {("book", 0): [buy(1, 100.0)], ("book", 1): [amend(1, price=99.0)], ("book", 2): [amend(1, price=100.0)]}
    assert not play(events, calls, on="book").fills
    assert play(events, {("book", 0): [buy(1, 100.0)]}, on="book").fills == ["1 buy 1 @ 100 maker 120"]


# Stops ------------------------------------------------------------------------------------------------------------


def test_a_stop_set_off_by_a_trade_takes_from_the_next_update() -> None:
    """The display before the update still shows what the trade took; an amend does not jump the wait."""
    events = [
        book(0, {100.0: 5}, {101.0: 5}, whole=True),
        trade(50, 101.0, 5, "buy"),
        book(75, {}, {101.0: 0, 102.0: 4}),
        mark(120, 100.0),
    ]
    plain = play(events, {("book", 0): [buy(1, stop_price=101.0)]}, on="book")
    assert plain.fills == ["1 buy 1 @ 102 taker 75"]
    calls = {("book", 0): [buy(1, stop_price=101.0)], ("trade", 0): [amend(1, qty=2)]}
    assert play(events, calls, on="book").fills == ["1 buy 2 @ 102 taker 75"]


def test_a_stop_already_beyond_the_market_goes_off_on_arrival() -> None:
    """A stop that the last trade has passed is a market order."""
    events = [trade(0, 100.0), trade(50, 101.0), trade(90, 101.0)]
    assert play(events, {("trade", 0): [buy(1, stop_price=99.0)]}, on="trade").fills == ["1 buy 1 @ 101 taker 50"]


def test_a_gap_through_a_candle_stop_fills_at_the_open() -> None:
    """Not at the stop: the market never traded there."""
    events = [candle(1, (100, 100, 100, 100)), candle(2, (95, 96, 94, 95)), candle(3, (95, 95, 95, 95))]
    played = play(events, {("candle", 0): [sell(1, stop_price=98.0)]}, on="candle", latency=0)
    assert played.fills == ["1 sell 1 @ 95 taker 60000"]


def test_within_one_candle_the_stop_comes_before_the_target() -> None:
    """Both are inside the range, so the worse is assumed; reduce-only then has nothing left to sell."""
    events = [candle(1, (100, 100, 100, 100)), candle(2, (100, 110, 90, 100)), candle(3, (100, 100, 100, 100))]
    calls = {
        ("candle", 0): [buy(1)],
        ("fill", 0): [sell(1, 105.0, reduce_only=True), sell(1, stop_price=95.0, reduce_only=True)],
    }
    played = play(events, calls, on="candle", latency=0)
    assert played.fills == ["1 buy 1 @ 100 taker 60000", "3 sell 1 @ 95 taker 120000"]
    assert played.final(2) == "cancelled reduce_only_position_closed"


def test_a_candle_touch_is_no_fill() -> None:
    """The range has to go beyond the limit."""
    events = [candle(1, (100, 100, 100, 100)), candle(2, (100, 101, 98, 100)), candle(3, (100, 101, 97.9, 100))]
    played = play(events, {("candle", 0): [buy(1, 98.0)]}, on="candle", latency=0)
    assert played.fills == ["1 buy 1 @ 98 maker 180000"]


# Latency and quiet markets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arrival", "fills"), [(20, 1), (19.999999, 0)])
def test_an_order_arrives_before_the_row_of_its_moment(arrival: float, fills: int) -> None:
    """A row stamped at the arrival meets the order, one stamped a nanosecond earlier does not."""
    events = [trade(0, 100.0), trade(arrival, 98.0), mark(60, 100.0)]
    assert len(play(events, {("trade", 0): [buy(1, 99.0)]}, on="trade").fills) == fills


def test_the_exchange_clock_decides_not_the_receiver() -> None:
    """A row received after the arrival but stamped before it fills nothing."""
    events = [trade(0, 100.0), trade(15, 98.0, late=30), trade(25, 98.5, late=40), mark(120, 100.0)]
    played = play(events, {("trade", 0): [buy(1, 99.0)]}, on="trade")
    assert played.fills == ["1 buy 1 @ 99 maker 25"]
    assert played.events == ["1 accepted 20>40", "1 filled 25>65"]


def test_a_quiet_market_answers_all_the_same() -> None:
    """Without a row the order is looked at when its answer is due."""
    events = [book(0, {100.0: 5}, {101.0: 5}, whole=True), book(500, {100.0: 4}, {})]
    played = play(events, {("book", 0): [buy(1)]}, on="book")
    assert played.events == ["1 accepted 20>40", "1 filled 20>40"]
    assert played.calls("fill") == [40]


def test_a_cancel_in_flight_does_not_stop_a_fill() -> None:
    """The order rests until the cancel has arrived, and is gone from then on."""
    events = [trade(0, 100.0), trade(40, 100.0), trade(59, 98.0), trade(70, 98.0), trade(120, 98.0)]
    calls = {("trade", 0): [buy(1, 99.0), buy(1, 97.0)], ("trade", 1): [cancel(1), cancel(2)]}
    played = play(events, calls, on="trade")
    assert played.fills == ["1 buy 1 @ 99 maker 59"]
    assert played.events[2:] == ["1 filled 59>79", "2 cancelled 60>80 requested"]


def test_a_cancel_arriving_with_the_row_comes_first() -> None:
    """What has arrived is processed before the row is applied."""
    events = [trade(0, 100.0), trade(40, 100.0), trade(60, 98.0), trade(120, 98.0)]
    played = play(events, {("trade", 0): [buy(1, 99.0)], ("trade", 1): [cancel(1)]}, on="trade")
    assert not played.fills
    assert played.final(1) == "cancelled requested"


# Reduce-only, accounts --------------------------------------------------------------------------------------------


def test_reduce_only_is_cut_at_the_position() -> None:
    """It sells what is there and not more."""
    events = [book(0, {100.0: 9}, {101.0: 9}, whole=True), book(50, {100.0: 8}, {}), book(150, {100.0: 7}, {})]
    calls = {("book", 0): [buy(2)], ("book", 1): [sell(5, reduce_only=True)]}
    played = play(events, calls, on="book")
    assert played.fills == ["1 buy 2 @ 101 taker 20", "2 sell 2 @ 100 taker 70"]
    assert played.final(2) == "cancelled reduce_only_position_closed"


@pytest.mark.parametrize(("qty", "final"), [(9.80, "filled"), (9.81, "rejected insufficient_cash")])
def test_a_spot_order_locks_cost_and_fee(qty: float, final: str) -> None:
    """9.80 at 101.0 and 1 % cost 999.698; a hundredth more would not fit into 1000."""
    events = [trade(0, 102.0, of=SPOT), trade(50, 100.0, of=SPOT), trade(150, 100.0, of=SPOT)]
    played = play(
        events,
        {("trade", 0): [buy(qty, 101.0, of=SPOT)]},
        on="trade",
        instruments=[SPOT],
        fees=Fees(maker_bps=100, taker_bps=100),
        cash={"USDT": 1000.0},
    )
    assert played.final(1) == final


@pytest.mark.parametrize(("qty", "final"), [(9.52, "filled"), (9.53, "rejected insufficient_cash")])
def test_a_spot_market_order_locks_five_percent_more(qty: float, final: str) -> None:
    """1.05 x 100 x 9.52 = 999.6."""
    events = [trade(0, 100.0, of=SPOT), trade(50, 100.0, of=SPOT), trade(150, 100.0, of=SPOT)]
    calls = {("trade", 0): [buy(qty, of=SPOT)]}
    played = play(events, calls, on="trade", instruments=[SPOT], cash={"USDT": 1000.0})
    assert played.final(1) == final


def test_spot_cannot_be_sold_short_nor_twice() -> None:
    """What a resting sale holds back is not there for another; a cancel gives it back."""
    events = [trade(at, 100.0, of=SPOT) for at in (0, 50, 100, 200)]
    calls = {
        ("trade", 0): [sell(1, 101.0, of=SPOT), sell(1, 101.0, of=SPOT), cancel(1), sell(1, 101.0, of=SPOT)],
        ("trade", 1): [sell(5, 101.0, of=SPOT)],
    }
    played = play(events, calls, on="trade", instruments=[SPOT], cash={"USDT": 1000.0, "AAA": 1.5})
    assert [played.final(order) for order in (1, 2, 3, 4)] == [
        "cancelled requested",
        "rejected insufficient_position",
        "cancelled end_of_data",
        "rejected insufficient_position",
    ]


def test_a_fee_in_what_is_received_leaves_dust() -> None:
    """OKX's spot rule: the buyer pays in coins, and `close` sells what is left of them."""
    events = [trade(at, 100.0, of=SPOT) for at in (0, 50, 100, 150, 250)]
    calls = {("trade", 0): [buy(1, of=SPOT)], ("trade", 2): [Act("close", SPOT.id)]}
    played = play(
        events,
        calls,
        on="trade",
        instruments=[SPOT],
        fees=Fees(taker_bps=10, currency="received"),
        cash={"USDT": 1000.0},
    )
    assert played.fills == ["1 buy 1 @ 100 taker 50", "2 sell 0.99 @ 100 taker 150"]
    assert played.told.cash == {"USDT": played.told.cash["USDT"], "AAA": played.told.cash["AAA"]}
    assert [str(played.told.cash[currency]) for currency in ("AAA", "USDT")] == ["0.009", "998.901"]


@pytest.mark.parametrize(("qty", "final"), [(20, "filled"), (21, "rejected insufficient_margin")])
def test_leverage_bounds_the_notional(qty: float, final: str) -> None:
    """Equity 1000 at leverage 2 carries 20 at 100 and not 21."""
    events = [trade(0, 101.0), trade(50, 99.0), trade(100, 99.0)]
    played = play(events, {("trade", 0): [buy(qty, 100.0)]}, on="trade", cash={"USDT": 1000.0}, max_leverage=2)
    assert played.final(1) == final


def test_leverage_counts_open_orders_and_other_contracts() -> None:
    """Five at 100 in each of two contracts are the limit of 1000; what only reduces is always allowed."""
    events = [
        trade(0, 100.0),
        trade(0, 100.0, of=OTHER),
        trade(50, 100.0),
        trade(50, 100.0, of=OTHER),
        trade(90, 100.0),
    ]
    calls = {
        ("trade", 0): [buy(5)],
        ("trade", 1): [buy(5, 99.9, of=OTHER), buy(1, 90.0)],
        ("trade", 2): [sell(3, 110.0), buy(1, 90.0)],
    }
    played = play(events, calls, on="trade", instruments=[SWAP, OTHER], cash={"USDT": 1000.0}, max_leverage=1)
    assert [played.final(order) for order in (1, 2, 3, 4, 5)] == [
        "filled",
        "cancelled end_of_data",
        "rejected insufficient_margin",
        "cancelled end_of_data",
        "rejected insufficient_margin",
    ]


def test_the_run_ends_when_nothing_is_left() -> None:
    """The row that ruins the account is its last; nobody sees it."""
    events = [trade(0, 100.0), trade(50, 100.0), mark(60, 100.0), mark(100, 50.0), trade(150, 100.0), mark(200, 100.0)]
    played = play(events, {("trade", 0): [buy(20), buy(1, 40.0)]}, on="trade", cash={"USDT": 1000.0}, max_leverage=9)
    assert (played.told.ended, played.told.end_ns) == ("bankrupt", ns(100))
    assert played.calls("mark") == [60]
    assert played.final(2) == "cancelled bankrupt"


def test_not_ruined_by_a_hair() -> None:
    """One tick above the end the run goes on."""
    events = [trade(0, 100.0), trade(50, 100.0), mark(60, 100.0), mark(100, 50.1), trade(150, 100.0), mark(200, 100.0)]
    played = play(events, {("trade", 0): [buy(20)]}, on="trade", cash={"USDT": 1000.0}, max_leverage=9)
    assert played.told.ended == "completed"


# Funding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("boundary_ns", "settled", "cash"),
    [
        (ns(50) - 1, True, "10000"),  # before the fill: nothing held yet
        (ns(50), True, "10000"),  # the fill at the boundary itself is after it
        (ns(50) + 1, True, "9999.8"),
        (ns(50) + 1, False, "10000"),  # a prediction is not charged
    ],
)
def test_funding_is_charged_on_what_was_held_at_the_boundary(boundary_ns: int, settled: bool, cash: str) -> None:
    """A long of 2 at a mark of 100 pays 0.1 %."""
    events = [
        trade(0, 100.0),
        mark(1, 100.0),
        trade(50, 100.0),
        funding(70, 0.001, boundary_ns, settled=settled),
        trade(90, 100.0),
    ]
    played = play(events, {("trade", 0): [buy(2)]}, on="trade")
    assert str(played.told.cash["USDT"].normalize() + 0) == str(type(played.told.cash["USDT"])(cash).normalize() + 0)


def test_shorts_receive_what_longs_pay() -> None:
    """The sign turns with the position."""
    events = [trade(0, 100.0), mark(1, 100.0), trade(50, 100.0), funding(70, 0.001, ns(60)), trade(90, 100.0)]
    paid = {act.what: play(events, {("trade", 0): [act]}, on="trade").told.cash["USDT"] for act in (buy(2), sell(2))}
    assert paid["sell"] - 10_000 == 10_000 - paid["buy"] > 0


def _funded(*around: MarketEvent, rate: float = 0.1, told: float = 60_000.0, on: str = "trade", **more: Any) -> Decimal:
    """Return what a long of 1, bought at 100, paid at a boundary in minute 1."""
    hours = [book(0, {99.0: 9}, {100.0: 9}, whole=True)] if on == "book" else [trade(0, 100.0), trade(30, 100.0)]
    events = [*hours, *around, funding(told, rate, ns(60_000)), trade(max(told, 90_000), 77.0)]
    events.sort(key=lambda event: event.received_ns)
    played = play(events, {(more.pop("hook", "trade"), 0): [buy(1)]}, on=on, **more)
    return (10_000 - played.told.cash["USDT"] + 0).normalize()


def test_funding_is_charged_at_the_price_of_its_boundary() -> None:
    """A mark or a candle of the boundary's own stamp counts, whatever the order in which rows are given."""
    assert _funded(mark(50, 100.0), mark(60_000, 200.0), mark(60_001, 300.0)) == 20
    assert _funded(mark(50, 100.0), mark(59_999, 200.0)) == 20


def test_candles_of_the_boundary_count() -> None:
    """A candle that closes at the boundary is its price; the next open is not."""
    events = [candle(1, (100, 100, 100, 100)), candle(2, (100, 250, 100, 200)), candle(3, (999, 999, 999, 999))]
    events.insert(2, funding(120_000, 0.1, ns(120_000)))
    played = play(events, {("candle", 0): [buy(1)]}, on="candle", latency=0)
    assert 10_000 - played.told.cash["USDT"] == 20


def test_trades_of_the_boundary_belong_after_it() -> None:
    """A print at the very stamp is of the next interval, and so is a display."""
    assert _funded(trade(59_999, 120.0), trade(60_000, 500.0)) == 12
    assert _funded(ticker(0, 99, 101), ticker(59_999, 119, 121), ticker(60_000, 499, 501)) == 12


def test_a_rate_told_minutes_later_looks_back() -> None:
    """What came after the boundary says nothing about it, in this batch or in ones before."""
    later = [mark(60_000 + 100 * n, 500.0 + n) for n in range(1, 400)]
    assert _funded(mark(50, 100.0), mark(59_000, 200.0), *later, told=240_000) == 20
    assert _funded(mark(50, 100.0), *later, told=240_000) == 10


def test_a_mark_that_came_late_counts_by_its_stamp() -> None:
    """Received after the boundary, stamped at it."""
    late = Mark(SWAP.id, ns(60_000), ns(60_050), 300.0)
    assert _funded(mark(50, 100.0), late, told=60_100) == 30


def test_book_mids_are_looked_back_at() -> None:
    """Also where the position was closed before the rate was told, and where no row came between fill and boundary."""
    before = book(59_000, {139.0: 9}, {141.0: 9, 100.0: 0})
    at = book(60_000, {499.0: 9}, {501.0: 9, 141.0: 0, 100.0: 0})
    assert _funded(before, at, told=120_000, on="book", hook="book") == 14
    assert _funded(at, told=120_000, on="book", hook="book") == Decimal("9.95")


def test_without_any_price_before_it_the_last_fill_is_taken() -> None:
    """The own price is the only one that was known."""
    assert _funded(mark(70_000, 900.0), told=80_000) == 10


def test_a_boundary_told_twice_is_charged_once() -> None:
    """An import and a recording of the same settlement may lie in one folder."""
    assert _funded(mark(50, 100.0), funding(60_000, 0.1, ns(60_000))) == 10


# Time -------------------------------------------------------------------------------------------------------------


def test_timers_run_before_rows_of_their_stamp() -> None:
    """At one instant: arrivals, reports, timers, rows."""
    events = [trade(0, 100.0), trade(40, 100.0), trade(80, 100.0)]
    played = play(events, {("trade", 0): [buy(1, 90.0)]}, on="trade", timers=("40ms",))
    assert played.hooks == ["trade", "order", "timer", "trade", "timer", "trade", "stop"]
    assert played.calls("timer") == [40, 80]


def test_a_timer_runs_between_rows_and_once() -> None:
    """`at` needs no row."""
    events = [trade(0, 100.0), trade(80, 100.0)]
    played = play(events, {("timer", 0): [buy(1)]}, on="trade", moments=(ns(30),))
    assert played.calls("timer") == [30]
    assert played.fills == ["1 buy 1 @ 100 taker 80"]


def test_the_end_of_data_cancels_what_is_open_and_under_way() -> None:
    """Resting and travelling orders alike; the strategy is told nothing more."""
    events = [trade(0, 100.0), trade(50, 100.0)]
    played = play(events, {("trade", 0): [buy(1, 90.0)], ("trade", 1): [buy(1)]}, on="trade")
    assert [played.final(order) for order in (1, 2)] == ["cancelled end_of_data"] * 2
    assert played.hooks[-1] == "stop"


def test_on_stop_cannot_order() -> None:
    """Orders there are refused, and say so."""
    events = [trade(0, 100.0), trade(50, 100.0)]
    played = play(events, {("stop", 0): [buy(1), Act("target", SWAP.id, 5.0)]}, on="trade")
    assert not played.told.order_events
    assert [order[-1] for order in played.told.orders] == ["rejected", "rejected"]
    calls = [text for _, name, text in played.told.trace if name == "call"]
    assert all("rejected stopped" in text for text in calls)


def test_warm_up_shows_candles_and_refuses_orders() -> None:
    """Candles closed by the start come first; a target given then is applied at the start."""
    events = [candle(n, (100, 100, 100, 100)) for n in (1, 2, 3, 4, 5)]
    calls = {("candle", 0): [buy(1)], ("candle", 1): [Act("target", SWAP.id, 2.0)]}
    played = play(events, calls, on="candle", latency=0, start=180_000, warmup=2)
    assert played.calls("candle") == [120_000, 180_000, 240_000, 300_000]
    assert [order[-1] for order in played.told.orders] == ["rejected", "filled"]
    assert played.fills == ["2 buy 2 @ 100 taker 180000"]


def test_two_markets_share_one_account_in_arrival_order() -> None:
    """Orders to two quiet markets that arrive together draw on the money in the order they were sent."""
    events = [
        book(0, {100.0: 20}, {101.0: 20}, whole=True),
        book(0, {100.0: 20}, {101.0: 20}, whole=True, of=OTHER),
        mark(30, 100.0),
        mark(100, 100.0),
        book(400, {100.0: 4}, {}),
        book(400, {100.0: 4}, {}, of=OTHER),
    ]
    calls = {("book", 0): [buy(1, 90.0), buy(1, 90.0, of=OTHER)], ("mark", 1): [buy(9, of=OTHER), buy(9)]}
    played = play(events, calls, on="book", instruments=[SWAP, OTHER], cash={"USDT": 1200.0}, max_leverage=1)
    assert played.final(3) == "filled"
    assert played.final(4) == "rejected insufficient_margin"


def test_an_order_from_before_the_first_trade_is_judged_by_that_trade() -> None:
    """It arrived at 15 and is looked at when the first row comes: nothing else says what it may cost."""
    events = [trade(17, 100.0), trade(40, 101.0)]
    for qty, final in ((1, "filled"), (100, "rejected insufficient_margin")):
        played = play(
            events,
            {("timer", 0): [buy(qty)]},
            on="trade",
            cash={"USDT": 1000.0},
            hooks=("mark",),
            timers=("10ms",),
            latency=5,
            max_leverage=5,
        )
        assert played.final(1) == final


def test_a_target_of_the_start_is_judged_by_the_first_open() -> None:
    """It arrives with the open of the first candle, the first price there is."""
    events = [candle(1, (100, 101, 99, 100)), candle(2, (100, 101, 99, 100))]
    for qty, final in ((1.0, "filled"), (100.0, "rejected insufficient_margin")):
        calls = {("start", 0): [Act("target", SWAP.id, qty)]}
        played = play(events, calls, on="candle", cash={"USDT": 1000.0}, latency=0, max_leverage=5)
        assert played.final(1) == final
