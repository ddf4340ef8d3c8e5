"""Timelines of what an account can carry: flips, bounds at the fill, collateral, and cash at a candle's open.

As in `test_engine_timelines.py` each runs through the oracle and through every way of running the real engine.
"""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from oracle.scripted import Act
from oracle.timelines import OTHER, SPOT, SWAP, amend, book, buy, candle, mark, play, sell, ticker, trade

from quantkit.events import MarketEvent
from quantkit.fees import Fees
from quantkit.instruments import Instrument

INVERSE = Instrument(
    "AAA-USDT-COIN", kind="swap", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True
)
COARSE = Instrument("AAA-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", min_qty="5")


def market(kind: str, *prices: float) -> list[MarketEvent]:
    """Return a market that stands at each price in turn, in candles of a minute or every 100 ms."""
    match kind:
        case "candle":
            return [candle(number, (price,) * 4) for number, price in enumerate(prices, 1)]
        case "trade":
            return [trade(100 * number, price) for number, price in enumerate(prices)]
        case "ticker":
            return [ticker(100 * number, price, round(price + 0.1, 1), 99, 99) for number, price in enumerate(prices)]
        case _:
            # Shown in full at each moment, so that nothing of the price before is left.
            return [
                book(100 * number, {price: 7, round(price - 0.1, 1): 90}, {round(price + 0.1, 1): 90}, whole=True)
                for number, price in enumerate(prices)
            ]


KINDS = ("candle", "trade", "ticker", "book")
#: A short of ten at 100 on 1,010 has 510 left at 150.
JUMP = (100.0, 100.0, 150.0, 150.0, 150.0, 150.0)


def run(kind: str, calls: dict[Any, Sequence[Act]], prices: Sequence[float] = JUMP, **options: Any) -> Any:
    """Play calls by the number of the row."""
    defaults = {"cash": {"USDT": 1010.0}, "max_leverage": 1, "latency": 0 if kind == "candle" else 20}
    return play(
        market(kind, *prices), {(kind, n): acts for n, acts in calls.items()}, on=kind, **{**defaults, **options}
    )


def position(played: Any) -> float:
    """Return what the fills add up to."""
    signs = {"buy": 1, "sell": -1}
    return sum(signs[text.split(" ")[1]] * float(text.split(" ")[2]) for text in played.fills)


WAYS: dict[str, Callable[[], list[Act]]] = {
    "market": lambda: [buy(20)],
    "limit that takes": lambda: [buy(20, 160)],
    "stop": lambda: [buy(20, stop_price=120)],
    "stop-limit": lambda: [buy(20, 160, stop_price=120)],
    "immediate or cancel": lambda: [buy(20, 160, time_in_force="IOC")],
    "target": lambda: [Act("target", SWAP.id, 10.0)],
    "smaller": lambda: [buy(15)],
    "much larger": lambda: [buy(2000)],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_flip_beyond_the_bound_closes_and_opens_nothing(way: str, kind: str) -> None:
    """The losing short is closed whole; the rest of the order is cancelled, and says why."""
    played = run(kind, {0: [sell(10)], 2: WAYS[way]()})
    assert position(played) == 0
    assert played.final(2) == "cancelled insufficient_margin"


@pytest.mark.parametrize("kind", KINDS)
def test_a_fill_or_kill_flip_beyond_the_bound_fills_nothing(kind: str) -> None:
    """Whole or not at all: not even the part that closes."""
    played = run(kind, {0: [sell(10)], 2: [buy(20, 160, time_in_force="FOK")]})
    assert position(played) == -10
    assert played.final(2) == "cancelled fok_unfilled"
    assert position(run(kind, {0: [sell(10)], 2: [buy(10, 160, time_in_force="FOK")]})) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_one_order_ends_where_two_would(kind: str) -> None:
    """Closing, and then opening, which is refused."""
    played = run(kind, {0: [sell(10)], 2: [buy(10)], 3: [buy(10)]})
    assert position(played) == 0
    assert [played.final(order) for order in (2, 3)] == ["filled", "rejected insufficient_margin"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_flip_within_the_bound_is_whole(kind: str) -> None:
    """The 510 that are left carry three at 150."""
    played = run(kind, {0: [sell(10)], 2: [buy(13)]})
    assert position(played) == 3
    assert played.final(2) == "filled"


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_is_turned_as_a_short_is(kind: str) -> None:
    """At 50 a long of ten has left 510, which carry nine at 50 and not twenty."""
    prices = (100.0, 99.8, 50.0, 50.0, 50.0, 50.0)
    assert position(run(kind, {0: [buy(10, 100.2)], 2: [sell(19)]}, prices)) == -9
    played = run(kind, {0: [buy(10, 100.2)], 2: [sell(30)]}, prices)
    assert position(played) == 0
    assert played.final(2) == "cancelled insufficient_margin"


@pytest.mark.parametrize("kind", KINDS)
def test_a_resting_flip_closes_when_it_is_reached(kind: str) -> None:
    """A maker's fill is cut like a taker's, and an amend that grows beyond the bound leaves the closing part."""
    prices = (100.0, 100.0, 150.0, 150.0, 140.0, 130.0, 130.0)
    for acts in (
        {2: [buy(20, 140)]},
        {2: [buy(5, 140)], 3: [amend(2, qty=20)]},
        {2: [buy(20, 10)], 3: [amend(2, price=140)]},
    ):
        played = run(kind, {0: [sell(10)], **acts}, prices)
        assert played.fills[-1].split(" ")[5] == "maker"
        assert position(played) == 0
        assert played.final(2) == "cancelled insufficient_margin"
        assert played.final(1) == "filled"


@pytest.mark.parametrize("kind", KINDS)
def test_an_amend_back_within_the_bound_is_whole_again(kind: str) -> None:
    """What the account carries is judged by the numbers that the order has."""
    prices = (100.0, 100.0, 150.0, 150.0, 150.0, 140.0, 130.0, 130.0)
    played = run(kind, {0: [sell(10)], 2: [buy(20, 140)], 3: [amend(2, qty=12)]}, prices)
    assert position(played) == 2
    assert played.final(2) == "filled"


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_reduces_is_free(kind: str) -> None:
    """With less than nothing to spare, in two parts and whole."""
    played = run(kind, {0: [sell(10)], 2: [buy(4)], 3: [buy(6)]}, (100.0, 100.0, 190.0, 190.0, 190.0, 190.0))
    assert [played.final(order) for order in (2, 3)] == ["filled", "filled"]
    assert position(played) == 0


@pytest.mark.parametrize("kind", ["candle", "trade"])
def test_an_entry_is_cut_where_the_price_has_run_away(kind: str) -> None:
    """Ten at 100 were let in; at 110 the money carries nine."""
    played = run(kind, {0: [buy(10)]}, (100.0, 110.0, 110.0))
    assert position(played) == 9
    assert played.final(1) == "cancelled insufficient_margin"


def test_the_levels_of_a_book_are_taken_as_far_as_the_account_carries_them() -> None:
    """Four at 100 and four at 120: the second level is beyond the ninety left after the first and its mark."""
    events = [book(0, {99.0: 9}, {100.0: 4, 120.0: 4, 130.0: 9}, whole=True), mark(1, 100.0), mark(200, 100.0)]
    played = play(events, {("book", 0): [buy(8)]}, on="book", cash={"USDT": 850.0}, max_leverage=1)
    assert played.fills == ["1 buy 4 @ 100 taker 20", "1 buy 3 @ 120 taker 20"]
    assert played.final(1) == "cancelled insufficient_margin"


def test_fees_are_paid_before_the_bound_is_judged() -> None:
    """Ten at 100 and one per cent of fees leave 990, which do not carry a thousand."""
    played = run("trade", {0: [sell(10)]}, (100.0,) * 3, fees=Fees(taker_bps=100), cash={"USDT": 1000.0})
    assert played.fills == ["1 sell 9 @ 100 taker 100"]
    assert played.final(1) == "cancelled insufficient_margin"


def test_another_contract_counts_in_the_same_money() -> None:
    """Five of the other bind 500 of what 750 carry: of ten to buy five close, and the rest would be five too many."""
    events = [
        trade(100 * number, price, of=of)
        for number, own in enumerate((100.0, 100.0, 150.0, 150.0))
        for of, price in ((SWAP, own), (OTHER, 100.0))
    ]
    calls = {("trade", 0): [sell(5), buy(5, of=OTHER)], ("trade", 4): [buy(10)]}
    played = play(events, calls, on="trade", instruments=[SWAP, OTHER], cash={"USDT": 1000.0}, max_leverage=1)
    assert played.final(3) == "cancelled insufficient_margin"
    assert played.fills[-1] == "3 buy 5 @ 150 taker 300"


# Closing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way", [Act("close", COARSE.id), Act("target", COARSE.id, 0.0), sell(3), sell(9, reduce_only=True)]
)
def test_a_contract_below_the_smallest_order_can_be_closed(way: Act) -> None:
    """Where an order is at least five, a level of three left three."""
    events = [
        book(0, {99.0: 9}, {100.0: 3}, whole=True),
        book(100, {99.0: 9}, {100.0: 3}, whole=True),
        book(200, {99.0: 8}, {100.0: 3}, whole=True),
        mark(300, 100.0),
    ]
    played = play(events, {("book", 0): [buy(6)], ("book", 1): [way]}, on="book", instruments=[COARSE])
    assert played.fills == ["1 buy 3 @ 100 taker 20", "2 sell 3 @ 99 taker 120"]


# Collateral -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("coins", "final"), [(0.0, "rejected"), (1.9, "rejected"), (2.0, "filled")])
def test_an_inverse_contract_is_backed_by_coins(coins: float, final: str) -> None:
    """Two contracts of a hundred at 100 are two coins, whatever the money beside them."""
    events = [*(trade(100 * n, 100.0, of=INVERSE) for n in range(4)), mark(-1, 100.0, of=INVERSE)]
    played = play(
        sorted(events, key=lambda event: event.received_ns),
        {("trade", 0): [sell(2, of=INVERSE)]},
        on="trade",
        start=-1,
        instruments=[INVERSE],
        cash={"USDT": 1_000_000.0, "AAA": coins},
        max_leverage=1,
    )
    assert played.final(1).split(" ")[0] == final


@pytest.mark.parametrize("cash", [{"USDT": 1000.0, "AAA": 2.0}, {"AAA": 2.0, "USDT": 1000.0}])
def test_coins_that_are_gone_end_the_run_though_money_is_there(cash: dict[str, float]) -> None:
    """Long four coins on two: at 66.6 the loss is more than two coins."""
    prices = (100.0, 100.0, 70.0, 66.6, 100.0, 100.0)
    events = [mark(-1, 100.0, of=INVERSE)]
    for number, price in enumerate(prices):
        events += [trade(100 * number, price, of=INVERSE), mark(100 * number, price, of=INVERSE)]
    played = play(
        events,
        {("trade", 0): [buy(4, of=INVERSE)]},
        on="trade",
        start=-1,
        instruments=[INVERSE],
        cash=cash,
        max_leverage=2,
    )
    assert (played.told.ended, played.fills) == ("bankrupt", ["1 buy 4 @ 100 taker 100"])


def test_money_that_was_spent_on_coins_is_no_ruin() -> None:
    """A contract was traded in it and closed: nothing is left of it, and nothing is owed."""
    events: list[MarketEvent] = []
    for number in range(8):
        events += [trade(100 * number, 100.0), trade(100 * number, 100.0, of=SPOT)]
    calls = {("trade", 0): [buy(1)], ("trade", 4): [sell(1)], ("trade", 8): [buy(10, 100.1, of=SPOT)]}
    played = play(events, calls, on="trade", instruments=[SWAP, SPOT], cash={"USDT": 1001.0}, max_leverage=1)
    assert played.told.ended == "completed"
    assert played.fills[-1] == "3 buy 10 @ 100 taker 500"
    assert float(played.told.cash["USDT"]) == 1.0


# Cash at a candle's open ------------------------------------------------------------------------------------------

ONE_PER_CENT = Fees(maker_bps=0, taker_bps=100)


@pytest.mark.parametrize(
    ("opening", "qty", "fees", "final"),
    [
        (100.0, 10.0, Fees(), "filled"),  # to the last cent
        (100.0, 10.01, Fees(), "rejected insufficient_cash"),
        (100.0, 9.9, ONE_PER_CENT, "filled"),  # 999.90 with the fee
        (100.0, 9.91, ONE_PER_CENT, "rejected insufficient_cash"),
        (100.0, 10.0, Fees(taker_bps=100, currency="received"), "filled"),  # the fee comes out of the coins
        (80.0, 12.5, Fees(), "filled"),  # the open decides, not the close before it
        (125.0, 8.0, Fees(), "filled"),
        (125.0, 8.01, Fees(), "rejected insufficient_cash"),
    ],
)
def test_a_market_buy_on_candles_locks_its_cost_at_the_open(opening: float, qty: float, fees: Fees, final: str) -> None:
    """With the fee and without a reserve: the price that fills it is there."""
    events = [candle(1, (100,) * 4, of=SPOT), candle(2, (opening,) * 4, of=SPOT), candle(3, (opening,) * 4, of=SPOT)]
    played = play(
        events,
        {("candle", 0): [buy(qty, of=SPOT)]},
        on="candle",
        latency=0,
        instruments=[SPOT],
        fees=fees,
        cash={"USDT": 1000.0},
    )
    assert played.final(1) == final
    assert [event.split(" ")[2] for event in played.events] == ["60000>60000"] * len(played.events)


@pytest.mark.parametrize(
    ("opening", "events"),
    [
        (125.0, ["1 accepted 60000>60000", "1 filled 240000>240000"]),
        (125.1, ["1 accepted 60000>60000", "1 cancelled 240000>240000 insufficient_cash"]),
    ],
)
def test_after_a_pause_the_open_that_comes_is_paid(opening: float, events: list[str]) -> None:
    """The market closes for three minutes; the order waits with nothing locked, and is paid whole or not at all."""
    candles = [candle(1, (100,) * 4, of=SPOT), candle(5, (opening,) * 4, of=SPOT)]
    played = play(
        candles,
        {("candle", 0): [buy(8, of=SPOT)]},
        on="candle",
        latency=0,
        instruments=[SPOT],
        cash={"USDT": 1000.0},
    )
    assert played.events == events


def test_two_buys_at_one_open_do_not_spend_the_same_money() -> None:
    """The first takes it, the second is refused."""
    candles = [candle(n, (100,) * 4, of=SPOT) for n in (1, 2, 3)]
    played = play(
        candles,
        {("candle", 0): [buy(6, of=SPOT), buy(6, of=SPOT), buy(4, of=SPOT)]},
        on="candle",
        latency=0,
        instruments=[SPOT],
        cash={"USDT": 1000.0},
    )
    assert [played.final(order) for order in (1, 2, 3)] == ["filled", "rejected insufficient_cash", "filled"]


def test_a_stop_on_candles_keeps_its_reserve() -> None:
    """It may be gapped over, and has to hold its money until then."""
    candles = [candle(n, (100,) * 4, of=SPOT) for n in (1, 2, 3)]
    for qty, final in ((9.51, "cancelled end_of_data"), (9.52, "rejected insufficient_cash")):
        played = play(
            candles,
            {("candle", 0): [buy(qty, stop_price=105.0, of=SPOT)]},
            on="candle",
            latency=0,
            instruments=[SPOT],
            cash={"USDT": 1050.0},
        )
        assert played.final(1) == final
