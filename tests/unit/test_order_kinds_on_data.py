"""The table of `docs/orders.md` on each kind of data: one market path, a line for each kind of order.

The market is at 100, goes to 101, down to 99, and back to 100. Each line says what fills when, and how the rest ends.
"""

from typing import NamedTuple

import pytest
from oracle.scripted import Act
from oracle.timelines import amend, book, buy, candle, play, sell, ticker, trade

from quantkit.events import MarketEvent
from quantkit.orders import TakeProfit

#: The kind that matches, and rows of it; a display without trades and one with them.
MARKETS: dict[str, tuple[str, list[MarketEvent]]] = {
    "trades": ("trade", [trade(0, 100), trade(50, 101), trade(100, 99), trade(200, 100), trade(300, 100)]),
    "tickers": (
        "ticker",
        [
            ticker(0, 99.9, 100.1),
            ticker(50, 100.9, 101.1),
            ticker(100, 98.9, 99.1),
            ticker(200, 99.9, 100.1),
            ticker(300, 99.9, 100.1),
        ],
    ),
    "book": (
        "book",
        [
            book(0, {99.9: 5}, {100.1: 5}, whole=True),
            book(50, {100.9: 5}, {101.1: 5}, whole=True),
            book(100, {98.9: 5}, {99.1: 5}, whole=True),
            book(200, {99.9: 5}, {100.1: 5}, whole=True),
            book(300, {99.9: 6}, {}),
        ],
    ),
    "book and trades": (
        "book",
        [
            book(0, {99.9: 5}, {100.1: 5}, whole=True),
            trade(40, 100),
            book(50, {100.9: 5}, {101.1: 5}, whole=True),
            trade(60, 101, 1, "buy"),
            book(100, {98.9: 5}, {99.1: 5}, whole=True),
            trade(110, 99),
            book(200, {99.9: 5}, {100.1: 5}, whole=True),
            trade(210, 100),
            book(300, {99.9: 6}, {}),
        ],
    ),
    "candles": (
        "candle",
        [
            candle(1, (100, 100, 100, 100)),
            candle(2, (100.5, 101.5, 100.5, 101)),
            candle(3, (100.4, 100.4, 98.5, 99)),
            candle(4, (100, 100, 100, 100)),
            candle(5, (100, 100, 100, 100)),
        ],
    ),
}


class Line(NamedTuple):
    """What is sent at the first row and at the second, and what comes of it by market.

    `outcomes` has the market's name, or `shown` for both displays without an entry of their own.
    """

    sent: list[Act]
    later: list[Act]
    outcomes: dict[str, tuple[list[str], list[str]]]


def both(*fills: str) -> tuple[list[str], list[str]]:
    """Return an outcome in which every order is filled."""
    return list(fills), []


LINES: dict[str, Line] = {
    "a stop limit rests where its limit does not take": Line(
        [sell(1, 99.8, stop_price=99.5)],
        [],
        {
            "trades": both("1 sell 1 @ 99.8 maker 200"),
            "shown": both("1 sell 1 @ 99.8 maker 200"),
            "book and trades": both("1 sell 1 @ 99.9 taker 200"),
            "candles": both("1 sell 1 @ 100 maker 180000"),
        },
    ),
    "an order ends by its time before the rows of that time": Line(
        [buy(1, 99.3, expires_in_ms=100)],
        [],
        {name: ([], ["1 cancelled expired"]) for name in ("trades", "shown", "candles")},
    ),
    "a fill takes its size off the others before they take from the same row": Line(
        [sell(2, 100.5, oco_group="x"), sell(3, 100.8, oco_group="x")],
        [],
        {
            "trades": both("1 sell 2 @ 100.5 maker 50", "2 sell 1 @ 100.8 maker 50"),
            "shown": both("1 sell 2 @ 100.5 maker 50", "2 sell 1 @ 100.8 maker 50"),
            "candles": both("1 sell 2 @ 100.5 maker 120000", "2 sell 1 @ 100.8 maker 120000"),
        },
    ),
    "stops of a group are one order too": Line(
        [sell(2, stop_price=99.5, oco_group="x"), sell(3, stop_price=99.4, oco_group="x")],
        [],
        {
            "trades": both("1 sell 2 @ 100 taker 200", "2 sell 1 @ 100 taker 200"),
            "shown": both("1 sell 2 @ 98.9 taker 100", "2 sell 1 @ 98.9 taker 100"),
            "book and trades": both("1 sell 2 @ 99.9 taker 200", "2 sell 1 @ 99.9 taker 200"),
            "candles": both("1 sell 2 @ 99.5 taker 180000", "2 sell 1 @ 99.4 taker 180000"),
        },
    ),
    "a bracket": Line(
        [buy(1, stop_loss=99.5, take_profit=TakeProfit(100.8, limit=100.8))],
        [],
        {
            "trades": (["1 buy 1 @ 101 taker 50", "1sl sell 1 @ 100 taker 200"], ["1tp cancelled oco"]),
            "shown": (["1 buy 1 @ 100.1 taker 20", "1tp sell 1 @ 100.8 maker 50"], ["1sl cancelled oco"]),
            "candles": (["1 buy 1 @ 100.5 taker 60000", "1tp sell 1 @ 100.8 maker 120000"], ["1sl cancelled oco"]),
        },
    ),
    "a changed trigger that is reached": Line(
        [sell(1, stop_price=95)],
        [amend(1, trigger=101.2)],
        {
            "trades": both("1 sell 1 @ 99 taker 100"),
            "shown": both("1 sell 1 @ 100.9 taker 70"),
            "candles": both("1 sell 1 @ 100.4 taker 120000"),
        },
    ),
    "a reduce-only limit beside the entry": Line(
        [buy(1), sell(3, 100.8, reduce_only=True)],
        [],
        {
            "trades": (["1 buy 1 @ 101 taker 50"], ["2 rejected reduce_only_no_position"]),
            "shown": (
                ["1 buy 1 @ 100.1 taker 20", "2 sell 1 @ 100.8 maker 50"],
                ["2 cancelled reduce_only_position_closed"],
            ),
            "candles": (["1 buy 1 @ 100.5 taker 60000"], ["2 rejected reduce_only_no_position"]),
        },
    ),
    "a reduce-only stop beside the entry": Line(
        [buy(1), sell(3, stop_price=99.5, reduce_only=True)],
        [],
        {
            "trades": (
                ["1 buy 1 @ 101 taker 50", "2 sell 1 @ 100 taker 200"],
                ["2 cancelled reduce_only_position_closed"],
            ),
            "shown": (
                ["1 buy 1 @ 100.1 taker 20", "2 sell 1 @ 98.9 taker 100"],
                ["2 cancelled reduce_only_position_closed"],
            ),
            "book and trades": (
                ["1 buy 1 @ 100.1 taker 20", "2 sell 1 @ 99.9 taker 200"],
                ["2 cancelled reduce_only_position_closed"],
            ),
            "candles": (
                ["1 buy 1 @ 100.5 taker 60000", "2 sell 1 @ 99.5 taker 180000"],
                ["2 cancelled reduce_only_position_closed"],
            ),
        },
    ),
}


@pytest.mark.parametrize("market", list(MARKETS))
@pytest.mark.parametrize("line", list(LINES))
def test_a_kind_of_order_on_a_kind_of_data(line: str, market: str) -> None:
    kind, events = MARKETS[market]
    sent, later, outcomes = LINES[line]
    played = play(events, {(kind, 0): sent, (kind, 1): later}, on=kind, latency=0 if kind == "candle" else 20)
    ended = [event.split(" ") for event in played.events]
    left = [f"{name} {state} {why[0]}" for name, state, _, *why in ended if state in ("cancelled", "rejected")]
    assert (played.fills, left) == (outcomes[market] if market in outcomes else outcomes["shown"])


@pytest.mark.parametrize(("lasts_ms", "fills"), [(60_000, []), (60_001, ["1 sell 1 @ 101 maker 120000"])])
def test_an_order_has_no_part_in_a_range_that_closes_at_its_end(lasts_ms: int, fills: list[str]) -> None:
    """Sent at the close of the first candle; the second has been above its limit."""
    events = [candle(1, (100, 100, 100, 100)), candle(2, (100, 102, 98, 100)), candle(3, (100, 100, 100, 100))]
    played = play(events, {("candle", 0): [sell(1, 101, expires_in_ms=lasts_ms)]}, on="candle", latency=0)
    assert played.fills == fills


def test_an_order_takes_an_open_before_its_end() -> None:
    events = [candle(1, (100, 100, 100, 100)), candle(2, (100, 102, 98, 100)), candle(3, (100, 100, 100, 100))]
    played = play(events, {("candle", 0): [sell(1, 99.9, expires_in_ms=1)]}, on="candle", latency=0)
    assert played.fills == ["1 sell 1 @ 100 taker 60000"]


@pytest.mark.parametrize(("opens", "fills"), [(99, ["1 sell 1 @ 99.8 maker 120000"]), (100, [])])
def test_a_stop_limit_rests_at_once_where_the_open_sets_it_off(opens: float, fills: list[str]) -> None:
    """Where the range sets it off, nobody knows whether the high came after that."""
    events = [candle(1, (100, 100, 100, 100)), candle(2, (opens, 101, 98, 100)), candle(3, (98, 98, 98, 98))]
    played = play(events, {("candle", 0): [sell(1, 99.8, stop_price=99.5)]}, on="candle", latency=0)
    assert played.fills == fills
