"""Timelines of triggers, take profits, trailing stops and expiry, as docs/orders.md has them.

Each runs through the oracle and through the real engine with the search off and on, in one block and in blocks of one
row; all must agree before the expectation is looked at. Times are milliseconds, of candles minutes.
"""

from typing import Any

import pytest
from oracle.scripted import Act
from oracle.timelines import (
    OTHER,
    SWAP,
    Played,
    amend,
    book,
    buy,
    cancel,
    candle,
    gap,
    mark,
    ms,
    ns,
    play,
    sell,
    ticker,
    trade,
)

from quantkit.events import MarketEvent
from quantkit.orders import StopLoss, TriggerType

# Every type on every kind of data ---------------------------------------------------------------------------------

#: One market: 100, up to 101, down to 99, and back to 100. Marks run ahead of it by ten.
PATHS: dict[str, list[MarketEvent]] = {
    "trade": [trade(0, 100), trade(50, 101), trade(100, 99), trade(200, 100), trade(300, 100)],
    "ticker": [
        ticker(0, 99.9, 100.1),
        ticker(50, 100.9, 101.1),
        ticker(100, 98.9, 99.1),
        ticker(200, 99.9, 100.1),
        ticker(300, 99.9, 100.1),
    ],
    "book": [
        book(0, {99.9: 5}, {100.1: 5}, whole=True),
        book(50, {100.9: 5}, {101.1: 5}, whole=True),
        book(100, {98.9: 5}, {99.1: 5}, whole=True),
        book(200, {99.9: 5}, {100.1: 5}, whole=True),
        book(300, {99.9: 6}, {}),
    ],
    "candle": [
        candle(1, (100, 100, 100, 100)),
        candle(2, (100.5, 101.5, 100.5, 101)),
        candle(3, (100.4, 100.4, 98.5, 99)),
        candle(4, (100, 100, 100, 100)),
        candle(5, (100, 100, 100, 100)),
    ],
}
#: An order sent at the first row, and its fill on trades, on a display and on candles.
ORDERS: list[tuple[str, Act, str, str, str]] = [
    ("buy take profit", buy(1, take_profit_price=99.5), "100 taker 200", "99.1 taker 100", "99.5 taker 180000"),
    ("sell take profit", sell(1, take_profit_price=100.8), "99 taker 100", "100.9 taker 50", "100.8 taker 120000"),
    (
        "sell take-profit limit",
        sell(1, 100.6, take_profit_price=100.6),
        "",
        "100.9 taker 50",
        "100.6 maker 120000",
    ),
    (
        "buy take-profit limit that takes",
        buy(1, 99.9, take_profit_price=99.5),
        "",
        "99.1 taker 100",
        "99.5 taker 180000",
    ),
    ("sell trailing", sell(1, trailing_offset=1.5), "100 taker 200", "98.9 taker 100", "100 taker 180000"),
    ("buy trailing", buy(1, trailing_offset_bps=90), "99 taker 100", "101.1 taker 50", "100.9 taker 120000"),
    (
        "sell trailing, active late",
        sell(1, trailing_offset=1.5, activation_price=100.8),
        "100 taker 200",
        "98.9 taker 100",
        "100 taker 180000",
    ),
]


@pytest.mark.parametrize("kind", list(PATHS))
@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order[0])
def test_every_type_on_every_kind_of_data(order: tuple[str, Act, str, str, str], kind: str) -> None:
    """One market path, told as trades, tickers, book or candles, and one order of each type."""
    _, act, on_trades, displayed, on_candles = order
    expected = {"trade": on_trades, "candle": on_candles}.get(kind, displayed)
    played = play(PATHS[kind], {(kind, 0): [act]}, on=kind, latency=0 if kind == "candle" else 20)
    assert [fill.split(" @ ")[1] for fill in played.fills] == ([expected] if expected else [])


@pytest.mark.parametrize("source", ["mark", "index"])
@pytest.mark.parametrize("kind", list(PATHS))
def test_marks_set_off_and_the_next_row_fills(kind: str, source: str) -> None:
    """On a display the next update, of trades the next one, of candles the next open; the other source does nothing."""
    at = 60_000 if kind == "candle" else 1
    other = {"mark": "index", "index": "mark"}[source]
    marks = [
        mark(at * 0, 100, source=source),
        mark(at * 1.2, 105, source=other),
        mark(at * 1.5 if kind == "candle" else 60, 105, source=source),
        mark(at * 4.5, 100, source=source),
    ]
    played = play(
        [*PATHS[kind], *marks],
        {(kind, 0): [buy(1, stop_price=105, trigger_type=source)]},
        on=kind,
        latency=0 if kind == "candle" else 20,
    )
    expected = {"trade": "99 taker 100", "candle": "100.4 taker 120000"}.get(kind, "99.1 taker 100")
    assert [fill.split(" @ ")[1] for fill in played.fills] == [expected]


# Triggers ---------------------------------------------------------------------------------------------------------


def test_the_timeline_of_a_stop_on_the_mark() -> None:
    """Trades do not set it off, and a row of the mark fills nothing."""
    events = [mark(0, 99), trade(0, 100), trade(10, 94), mark(20, 95), trade(30, 97)]
    played = play(events, {("trade", 0): [sell(1, stop_price=95, trigger_type="mark")]}, on="trade", latency=0)
    assert played.fills == ["1 sell 1 @ 97 taker 30"]


QUIET = [mark(0, 100), trade(1, 100), trade(40, 100), mark(90, 100), trade(100, 100), mark(121, 94), mark(125, 99)]
QUIET += [trade(135, 99), trade(150, 99), trade(200, 99)]


@pytest.mark.parametrize("between", [False, True])
def test_a_change_that_has_arrived_holds_for_the_mark_after_it(between: bool) -> None:
    """It came at 120, whether or not a trade shows that before the mark of 121."""
    events = sorted([*QUIET, trade(120.5, 100)], key=_received) if between else QUIET
    calls = {("trade", 0): [sell(1, stop_price=95, trigger_type="mark")], ("trade", 2): [amend(1, trigger=90)]}
    played = play(events, calls, on="trade")
    assert not played.fills
    assert "1 accepted 120>140 amended" in played.events


@pytest.mark.parametrize("on", ["trade", "book"])
def test_a_stop_that_has_arrived_is_met_by_the_mark_after_it(on: str) -> None:
    """It came at 120; at 135 the mark is back above it."""
    events = [event for event in QUIET if event is not QUIET[2]]
    if on == "book":
        events = sorted([book(0, {99: 5}, {101: 5}, whole=True), book(136, {98: 5}, {}), *events], key=_received)
    played = play(events, {("trade", 1): [sell(1, stop_price=95, trigger_type="mark")]}, on=on)
    assert played.fills == ["1 sell 1 @ 99 taker " + ("135" if on == "trade" else "136")]


def test_a_mark_on_the_way_of_an_order_hides_no_later_one() -> None:
    """Neither in one block nor in blocks of one row: 10 is before the arrival at 21, 30 after it."""
    events = [mark(0, 100), trade(1, 100), mark(10, 100), mark(30, 94), mark(35, 99), trade(50, 99), trade(70, 99)]
    played = play(events, {("trade", 0): [sell(1, stop_price=95, trigger_type="mark")]}, on="trade")
    assert played.fills == ["1 sell 1 @ 99 taker 50"]


def test_a_stop_that_has_expired_is_not_met_by_the_mark_after_it() -> None:
    call = sell(1, stop_price=95, trigger_type="mark", expire_time=ns(110))
    played = play(QUIET, {("trade", 0): [call]}, on="trade")
    assert played.final(1) == "cancelled expired"


def test_children_that_are_in_force_are_met_by_the_mark_after_that() -> None:
    """The fill of 100 is protected at 120; the mark of 121 comes before any other row."""
    call = buy(1, stop_loss=StopLoss(95, trigger_type=TriggerType.MARK))
    played = play(QUIET, {("trade", 1): [call]}, on="trade")
    assert played.fills == ["1 buy 1 @ 100 taker 100", "1sl sell 1 @ 99 taker 135"]


@pytest.mark.parametrize("trigger_type", ["last", "mark"])
def test_an_update_from_before_what_set_it_off_fills_nothing(trigger_type: str) -> None:
    """A trade of 103 has moved the clock on; the update stamped 95 comes after that, and is still from before."""
    whole = {"whole": True}
    events = [book(0, {99: 5, 96: 5}, {101: 5}, **whole), mark(0, 100), trade(1, 100)]
    events += [trade(100, 97, 5) if trigger_type == "last" else mark(100, 97), trade(103, 98.5)]
    events += [
        book(95, {98.5: 1}, {}, late=10),
        book(101, {99: 0, 98.5: 0, 97: 5}, {}, late=12),
        book(130, {96: 4}, {}),
    ]
    calls = {("book", 0): [sell(1, stop_price=98, trigger_type=trigger_type)]}
    assert play(events, calls, on="book").fills == ["1 sell 1 @ 97 taker 103"]


@pytest.mark.parametrize("call", [buy(1, 100), buy(1, stop_price=102.0)])
def test_a_trade_from_before_an_order_does_not_meet_it(call: Act) -> None:
    """A book row of 40 has moved the clock past the arrival at 20; the trade is still of 15."""
    late = trade(15, 99.5 if call.price else 102, 1, late=30)
    events = [book(0, {99: 5}, {101: 5}, whole=True), trade(1, 100), book(40, {99: 6}, {}), late]
    events += [book(50, {99: 5}, {}), trade(60, 100.5), trade(90, 100.5)]
    assert not play(events, {("book", 0): [call]}, on="book").fills


def test_a_trade_from_before_an_order_does_not_meet_it_on_trades() -> None:
    events = [trade(0, 100), trade(40, 100), trade(15, 99, late=30), trade(60, 100), trade(90, 100)]
    assert not play(events, {("trade", 0): [buy(1, 99.5)]}, on="trade").fills


def test_an_update_from_before_an_order_does_not_meet_it() -> None:
    events = [book(0, {99: 5}, {101: 5}, whole=True), trade(1, 100), trade(40, 100.5), book(15, {}, {100: 5}, late=30)]
    events += [book(50, {}, {100: 0}), trade(90, 100.5)]
    assert not play(events, {("book", 0): [buy(1, 100)]}, on="book").fills


def test_an_update_from_before_a_stop_does_not_set_it_off() -> None:
    """A row of 40 has moved the clock past the arrival at 20; the bid of 94 is still of 15."""
    events = [ticker(0, 99, 101), ticker(40, 99, 101), ticker(15, 94, 95, late=30)]
    events += [ticker(50, 99, 101), ticker(90, 99, 101)]
    assert not play(events, {("ticker", 0): [sell(1, stop_price=95)]}, on="ticker").fills


def test_a_ticker_from_before_the_trade_fills_nothing() -> None:
    events = [ticker(0, 99, 101), trade(1, 100), trade(100, 97), ticker(95, 98.5, 101, late=10)]
    events += [ticker(101, 97, 101, late=12), ticker(130, 96, 101)]
    played = play(events, {("ticker", 0): [sell(1, stop_price=98)]}, on="ticker")
    assert played.fills == ["1 sell 1 @ 97 taker 101"]


def test_a_stop_that_goes_off_on_arrival_waits_where_the_display_is_too_old() -> None:
    """Nothing is known of the market, and a stop is not lost for that."""
    events = [book(0, {99: 5}, {101: 5}, whole=True), trade(1, 97), trade(11_000, 97), trade(11_050, 97)]
    events += [book(11_100, {96: 5, 99: 0}, {})]
    played = play(events, {("trade", 1): [sell(1, stop_price=98)]}, on="book")
    assert played.fills == ["1 sell 1 @ 96 taker 11100"]


def test_a_stop_before_the_first_trade_takes_the_trade_after_it() -> None:
    events = [trade(0, 50, of=OTHER), trade(30, 94), trade(60, 90), trade(70, 90)]
    calls = {("trade", 0): [sell(1, stop_price=95)]}
    played = play(events, calls, on="trade", instruments=(SWAP, OTHER))
    assert played.fills == ["1 sell 1 @ 90 taker 60"]


def _received(event: MarketEvent) -> int:
    return event.received_ns


@pytest.mark.parametrize(
    ("stands", "filled"), [(96, []), (95, ["1 sell 1 @ 100 taker 30"]), (94.9, ["1 sell 1 @ 100 taker 30"])]
)
def test_the_mark_that_stands_is_met_on_arrival(stands: float, filled: list[str]) -> None:
    """At or beyond the trigger the order goes off at once, and takes the next trade."""
    events = [mark(0, stands), trade(0, 100), trade(30, 100), trade(40, 100)]
    played = play(events, {("trade", 0): [sell(1, stop_price=95, trigger_type="mark")]}, on="trade")
    assert played.fills == filled


@pytest.mark.parametrize(("late", "filled"), [(0, ["1 sell 1 @ 100 taker 40"]), (25, [])])
def test_a_mark_from_before_the_arrival_sets_nothing_off(late: float, filled: list[str]) -> None:
    """It was stamped before the order came, however late it is received."""
    stamped = 30 - late
    events = [mark(0, 99), trade(0, 100), trade(21, 100), mark(stamped, 95, late=late), trade(40, 100), mark(60, 99)]
    played = play(events, {("trade", 0): [sell(1, stop_price=95, trigger_type="mark")]}, on="trade")
    assert played.fills == filled


def test_an_update_from_before_the_mark_fills_nothing() -> None:
    """What the mark has set off counts as arrived with it."""
    events = [
        mark(0, 99),
        book(0, {99: 5}, {100: 5}, whole=True),
        book(25, {98: 5}, {}),
        mark(50, 95),
        book(45, {97: 5}, {}, late=10),
        book(60, {96: 5}, {}),
    ]
    played = play(events, {("book", 0): [sell(1, stop_price=95, trigger_type="mark")]}, on="book")
    assert played.fills == ["1 sell 1 @ 99 taker 60"]


def test_a_mark_at_the_close_acts_at_the_next_open() -> None:
    """Mark and range of one stamp: the mark comes first, and still the range is not the order's."""
    events = [
        candle(1, (100, 100, 100, 100)),
        mark(60_000, 100),
        candle(2, (100, 106, 99, 100)),
        mark(120_000, 105),
        candle(3, (101, 101, 101, 101)),
    ]
    played = play(events, {("candle", 0): [buy(1, stop_price=105, trigger_type="mark")]}, on="candle", latency=0)
    assert played.fills == ["1 buy 1 @ 101 taker 120000"]


@pytest.mark.parametrize("limit", [106, 104])
def test_a_limit_that_the_mark_sets_off_within_a_candle_waits_for_the_next(limit: float) -> None:
    """Its range may lie before the mark."""
    events = [
        candle(1, (100, 100, 100, 100)),
        mark(60_000, 100),
        mark(90_000, 105),
        candle(2, (105, 110, 95, 105)),
        candle(3, (105, 105, 103, 104)),
        mark(180_000, 100),
    ]
    order = buy(1, limit, stop_price=105, trigger_type="mark")
    played = play(events, {("candle", 0): [order]}, on="candle", latency=0)
    assert played.fills == [f"1 buy 1 @ {min(limit, 105):g} {'taker 120000' if limit > 105 else 'maker 180000'}"]


def test_an_ioc_limit_that_the_mark_sets_off_out_of_reach_ends() -> None:
    """As one that a trade sets off."""
    events = [mark(0, 99), trade(0, 100), mark(30, 95), trade(40, 100), mark(60, 99)]
    order = sell(1, 101, stop_price=95, trigger_type="mark", time_in_force="IOC")
    played = play(events, {("trade", 0): [order]}, on="trade", latency=0)
    assert played.final(1) == "cancelled ioc_unfilled"


def test_without_marks_that_span_the_run_there_is_no_such_trigger() -> None:
    """The call says so, whoever runs the strategy."""
    events = [trade(0, 100), trade(30, 100)]
    played = play(events, {("trade", 0): [sell(1, stop_price=95, trigger_type="mark")]}, on="trade")
    assert played.told.orders == []
    assert ("call", "sell OrderError") in [(name, text) for _, name, text in played.told.trace]


def test_a_price_off_the_step_sets_off_only_where_it_really_was() -> None:
    """100.96 is no 101, but 101.04 is."""
    events = [trade(0, 100), trade(30, 100.96), trade(40, 101.04), trade(50, 102)]
    played = play(events, {("trade", 0): [sell(1, take_profit_price=101)]}, on="trade", latency=0)
    assert played.fills == ["1 sell 1 @ 102 taker 50"]


# Take profit on candles ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bar", "expected"),
    [
        ((108, 111, 94, 100), ["2 sell 1 @ 95 taker 180000"]),
        ((112, 113, 111, 112), ["3 sell 1 @ 112 taker 120000"]),
        ((108, 110, 96, 100), ["3 sell 1 @ 110 taker 180000"]),
        ((108, 109.9, 95.1, 100), []),
    ],
    ids=["both", "open beyond", "touched", "neither"],
)
def test_the_stop_comes_before_the_target(bar: tuple[float, float, float, float], expected: list[str]) -> None:
    """Whoever was sent first: the range does not say which price came first."""
    events = [candle(1, (100, 100, 100, 100)), candle(2, (100, 109, 96, 108)), candle(3, bar), candle(4, (100,) * 4)]
    exits = [sell(1, stop_price=95, reduce_only=True), sell(1, take_profit_price=110, reduce_only=True)]
    for order in (exits, exits[::-1]):
        played = play(events, {("candle", 0): [buy(1)], ("fill", 0): order}, on="candle", latency=0)
        found = [fill for fill in played.fills if " sell " in fill]
        assert [fill[2:] for fill in found] == [fill[2:] for fill in expected]


@pytest.mark.parametrize(
    ("limit", "high", "expected"),
    [
        (110, 110, []),
        (110, 110.1, ["110 maker 120000"]),
        (112, 112, []),
        (112, 113, ["112 maker 120000"]),
        (109, 110, ["110 taker 120000"]),
    ],
)
def test_a_take_profit_limit_within_a_candle(limit: float, high: float, expected: list[str]) -> None:
    """Takes at the trigger if that is beyond the limit; else it rests from there on."""
    events = [candle(1, (100, 100, 100, 100)), candle(2, (100, high, 100, 100))]
    played = play(events, {("candle", 0): [sell(1, limit, take_profit_price=110)]}, on="candle", latency=0)
    assert [fill.split(" @ ")[1] for fill in played.fills] == expected


def test_a_take_profit_limit_that_the_open_sets_off_takes_part_in_the_range() -> None:
    """It rests from the open on."""
    events = [candle(1, (100, 100, 100, 100)), candle(2, (111, 113, 111, 111))]
    played = play(events, {("candle", 0): [sell(1, 112, take_profit_price=110)]}, on="candle", latency=0)
    assert played.fills == ["1 sell 1 @ 112 maker 120000"]


# Trailing stops -----------------------------------------------------------------------------------------------------


def stops(played: Played) -> list[str]:
    """Return where the trigger stood at each report, as the strategy saw it."""
    return [text.split(" ")[7] for _, hook, text in played.told.trace if hook == "order"]


def test_the_timeline_of_a_trailing_stop() -> None:
    """Active at 102, up to 106, and set off by 101 on the way back."""
    events = [trade(10 * n, price) for n, price in enumerate((100, 102, 106, 103, 101, 100))]
    order = sell(1, trailing_offset=5, activation_price=102)
    played = play(events, {("trade", 0): [order]}, on="trade", latency=0)
    assert played.fills == ["1 sell 1 @ 100 taker 50"]
    assert stops(played) == ["None", "101.0"]


def test_the_timeline_of_a_trailing_stop_on_candles() -> None:
    """A range is tested before it moves the trigger."""
    bars = [(100, 100, 100, 100), (100, 108, 99, 107), (107, 109, 104, 105), (106, 110, 103, 109)]
    events = [candle(n, bar) for n, bar in enumerate(bars, 1)]
    played = play(events, {("candle", 0): [sell(1, trailing_offset=5)]}, on="candle", latency=0)
    assert played.fills == ["1 sell 1 @ 104 taker 240000"]


@pytest.mark.parametrize(
    ("bar", "filled"),
    [((101, 106, 95, 100), []), ((103, 106, 97, 100), ["1 sell 1 @ 98 taker 120000"])],
    ids=["range reaches", "open reaches"],
)
def test_a_range_that_activates_does_not_set_off(bar: tuple[float, float, float, float], filled: list[str]) -> None:
    """An open does both: what follows in the candle comes after it."""
    events = [candle(1, (100, 100, 100, 100)), candle(2, bar), candle(3, (102, 102, 102, 102))]
    order = sell(1, trailing_offset=5, activation_price=102)
    played = play(events, {("candle", 0): [order]}, on="candle", latency=0)
    assert played.fills == filled


@pytest.mark.parametrize(
    ("side", "trade_at", "trigger"), [("sell", 101, 99.9), ("buy", 99, 100.0)], ids=["sell down", "buy up"]
)
def test_basis_points_are_rounded_away_from_the_market(side: str, trade_at: float, trigger: float) -> None:
    """101 less 1 % is 99.99, and 99 and 1 % are 99.99."""
    events = [trade(0, 100), trade(10, trade_at), trade(20, trigger), trade(30, 100)]
    call = {"sell": sell, "buy": buy}[side](1, trailing_offset_bps=100)
    played = play(
        events, {("trade", 0): [call], ("order", 0): [Act("cancel", more={"any": True})]}, on="trade", latency=0
    )
    assert played.final(1) == "cancelled requested"
    played = play(events, {("trade", 0): [call]}, on="trade", latency=0)
    assert stops(played) == ["None", str(trigger)]
    assert [fill.split(" @ ")[1] for fill in played.fills] == ["100 taker 30"]


def test_a_trailing_stop_on_the_mark() -> None:
    """The best mark counts, and no trade."""
    events = [
        mark(0, 100),
        trade(0, 100),
        mark(10, 110),
        trade(15, 90),
        mark(20, 106),
        trade(25, 120),
        mark(30, 105),
        trade(40, 104),
        mark(50, 104),
    ]
    order = sell(1, trailing_offset=5, trigger_type="mark")
    played = play(events, {("trade", 0): [order]}, on="trade", latency=0)
    assert played.fills == ["1 sell 1 @ 104 taker 40"]


def test_a_trailing_stop_wider_than_the_price_never_goes_off() -> None:
    """Its trigger stands at zero."""
    events = [trade(0, 3), trade(10, 4), trade(20, 0.1), trade(30, 1)]
    played = play(events, {("trade", 0): [sell(1, trailing_offset=5)]}, on="trade", latency=0)
    assert (played.fills, stops(played)[-1]) == ([], "None")
    assert "stop_price=0.0" in played.told.orders[0][1]


# Good till date -----------------------------------------------------------------------------------------------------


def test_the_timeline_of_an_order_that_expires() -> None:
    """It ends before a trade of the same stamp, and the report takes its way."""
    events = [trade(0, 100), trade(30, 100), trade(100, 98), trade(130, 98), trade(150, 98)]
    played = play(events, {("trade", 0): [buy(1, 99, expires_in_ms=100)]}, on="trade")
    assert played.fills == []
    assert played.events == ["1 accepted 20>40", "1 cancelled 100>120 expired"]


def test_a_trade_from_before_the_end_fills_even_if_it_comes_later() -> None:
    """Stamped 99, received 110: the market's rows are ten late, and are waited for."""
    events = [trade(n, 100, late=10) for n in (0, 30)] + [trade(99, 98, late=11), trade(140, 98, late=10)]
    played = play(events, {("trade", 0): [buy(1, 99, expires_in_ms=90)]}, on="trade")
    assert played.fills == ["1 buy 1 @ 99 maker 99"]


@pytest.mark.parametrize(("late", "reported"), [(0, 120), (50, 150)])
def test_in_a_quiet_market_it_ends_by_our_clock(late: float, reported: float) -> None:
    """After the way of a message, or as late as the market's rows came."""
    events = [trade(0, 100), trade(5 - late, 100, late=late), trade(1_000, 98)]
    played = play(events, {("trade", 1): [buy(1, 99, expires_in_ms=95)]}, on="trade")
    assert played.events[-1] == f"1 cancelled 100>{reported} expired"


@pytest.mark.parametrize(("expires", "final"), [(20, "rejected expired"), (21, "cancelled expired")])
def test_an_order_that_arrives_too_late_is_rejected(expires: int, final: str) -> None:
    """At its end already, it never was."""
    events = [trade(0, 100), trade(30, 100), trade(60, 100)]
    played = play(events, {("trade", 0): [buy(1, 99, expires_in_ms=expires)]}, on="trade")
    assert played.final(1) == final


def test_a_partial_fill_stays_and_the_rest_ends() -> None:
    """On a book: one of three fills before the end."""
    events = [
        book(0, {100: 5}, {101: 5}, whole=True),
        trade(30, 100, 6),
        book(31, {100: 0, 99: 5}, {}),
        book(200, {99: 6}, {}),
    ]
    played = play(events, {("book", 0): [buy(3, 100, expires_in_ms=90)]}, on="book")
    assert played.fills == ["1 buy 1 @ 100 maker 30"]
    assert played.final(1) == "cancelled expired"


def test_of_one_moment_the_end_comes_before_a_message() -> None:
    """A cancel that arrives with the end finds nothing; one before it ends the order, and nothing is left to expire."""
    events = [trade(0, 100), trade(30, 100), *(trade(n, 100) for n in (79, 80, 130))]
    for at, final in ((2, "cancelled requested"), (3, "cancelled expired")):
        played = play(events, {("trade", 0): [buy(1, 99, expires_in_ms=100)], ("trade", at): [cancel(1)]}, on="trade")
        assert played.final(1) == final, ms(0)


def test_an_end_frees_what_was_held_for_a_later_order() -> None:
    """The money of an order that has expired is there for one that arrives with its end, also in a quiet market."""
    events = [trade(0, 100), trade(30, 100), trade(1_000, 100)]
    orders = {("trade", 0): [buy(1, 99, expires_in_ms=50)], ("trade", 1): [buy(1, 99)]}
    played = play(events, orders, on="trade", cash={"USDT": 100.0}, max_leverage=1)
    assert (played.final(1), played.final(2)) == ("cancelled expired", "cancelled end_of_data")


def test_a_waiting_trigger_expires_too() -> None:
    """And a cancel by a hook of the report comes too late for anything."""
    events = [ticker(0, 99, 100), ticker(30, 99, 100.1), ticker(120, 94, 95), ticker(200, 94, 95)]
    played = play(events, {("ticker", 0): [sell(1, stop_price=95, expires_in_ms=100)]}, on="ticker")
    assert (played.fills, played.final(1)) == ([], "cancelled expired")


# Changes of a trigger -----------------------------------------------------------------------------------------------


def test_a_change_of_a_stop_is_judged_on_arrival() -> None:
    """The price that stands has reached the new stop, so it goes off at once."""
    events = [trade(0, 100), trade(30, 98), trade(60, 98), trade(70, 97), trade(100, 97)]
    played = play(events, {("trade", 0): [sell(1, stop_price=95)], ("trade", 1): [amend(1, trigger=98.5)]}, on="trade")
    assert played.fills == ["1 sell 1 @ 98 taker 60"]
    assert stops(played) == ["95.0", "98.5", "98.5"]


def test_a_take_profit_changes() -> None:
    """And the order says where it stands."""
    events = [trade(0, 100), trade(30, 100), trade(80, 105), trade(90, 110), trade(100, 111)]
    order = sell(1, take_profit_price=104)
    played = play(events, {("trade", 0): [order], ("trade", 1): [amend(1, trigger=109.94)]}, on="trade")
    assert played.fills == ["1 sell 1 @ 111 taker 100"]
    assert "take_profit_price=110.0" in played.told.orders[0][1]


@pytest.mark.parametrize(("distance", "filled"), [(2, ["1 sell 1 @ 103 taker 80"]), (4, [])])
def test_a_trailing_stop_keeps_its_best_price(distance: float, filled: list[str]) -> None:
    """The trigger is worked out anew from it."""
    events = [trade(0, 100), trade(25, 105), trade(30, 103), trade(80, 103), trade(90, 103)]
    calls = {("trade", 0): [sell(1, trailing_offset=5)], ("trade", 2): [amend(1, distance=distance)]}
    played = play(events, calls, on="trade")
    assert played.fills == filled


def test_what_has_gone_off_refuses_a_change() -> None:
    """With all else that the change asked for."""
    events = [trade(0, 100), trade(30, 95), trade(45, 99), trade(80, 99), trade(90, 99)]
    calls = {
        ("trade", 0): [sell(2, 97, stop_price=95)],
        ("trade", 1): [amend(1, trigger=90, qty=1)],
        ("trade", 3): [cancel(1)],
    }
    played = play([*events, gap(91, "trade")], calls, on="trade", max_share=0.5)
    assert "amend_refused: already_triggered" in [event.split(" ", 3)[-1] for event in played.events]
    assert "qty=2.0" in played.told.orders[0][1]


def test_a_change_that_the_account_refuses_leaves_the_stop() -> None:
    """A buy stop is valued at its trigger."""
    events = [trade(0, 100), trade(30, 100), trade(70, 100), trade(80, 104), trade(90, 104)]
    calls = {("trade", 0): [buy(1, stop_price=103)], ("trade", 1): [amend(1, trigger=130)]}
    played = play(events, calls, on="trade", cash={"USDT": 110.0}, max_leverage=1)
    assert [event.split(" ", 3)[-1] for event in played.events][1] == "amend_refused: insufficient_margin"
    assert played.fills == ["1 buy 1 @ 104 taker 90"]


def test_a_refused_change_of_a_stop_leaves_what_the_next_change_is_valued_at() -> None:
    """230 is refused; two at 103 are within the account."""
    events = [trade(at, 100) for at in (0, 30, 70, 100)]
    calls = {("trade", 0): [buy(1, stop_price=103)], ("trade", 1): [amend(1, trigger=230)]}
    calls |= {("trade", 2): [amend(1, qty=2)]}
    played = play(events, calls, on="trade", cash={"USDT": 210.0}, max_leverage=1)
    assert [event.split(" ", 3)[-1] for event in played.events][1:3] == [
        "amend_refused: insufficient_margin",
        "amended",
    ]


def test_a_mark_from_before_a_change_does_not_meet_the_new_trigger() -> None:
    """The order counts as arrived with it, at 50."""
    marks = [mark(0, 100), mark(49, 96, late=12), mark(95, 100)]
    events = [*marks, *(trade(at, 100) for at in (0, 30, 55, 80, 90))]
    order = sell(1, stop_price=90, trigger_type="mark")
    assert play(events, {("trade", 0): [order], ("trade", 1): [amend(1, trigger=97)]}, on="trade").fills == []


# Money --------------------------------------------------------------------------------------------------------------


def test_a_trailing_stop_is_valued_as_a_market_order() -> None:
    """By the last price: there is no trigger on arrival."""
    events: list[Any] = [trade(0, 100), trade(30, 100), trade(90, 100)]
    for cash, final in ((99.0, "rejected insufficient_margin"), (101.0, "cancelled end_of_data")):
        orders = {("trade", 0): [buy(1, trailing_offset=5)]}
        assert play(events, orders, on="trade", cash={"USDT": cash}, max_leverage=1).final(1) == final
