"""Margin and liquidation as docs/margin.md has them: every way of running agrees, and with the table by hand."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from oracle.scripted import Act
from oracle.timelines import Played, When, book, buy, candle, funding, mark, ns, play, sell, ticker, trade

from quantkit.events import MarketEvent
from quantkit.fees import Fees
from quantkit.instruments import Instrument
from quantkit.orders import TakeProfit

BTC = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
ETH = Instrument("ETH-USDT-SWAP", kind="swap", price_step="0.01", qty_step="1", contract_value="0.1")
COIN = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True)
PAIR = Instrument("BTC-USDT", price_step="0.1", qty_step="0.001", min_qty="0.001")
FEES = Fees(maker_bps=2, taker_bps=5, currency="settle")
TIERS = {
    "BTC-USDT-SWAP": (("1000", "0.004", "100"), ("2000", "0.01", "10")),
    "ETH-USDT-SWAP": (("5000", "0.004", "100"),),
    "BTC-USD-SWAP": (("1000", "0.004", "100"),),
}


def run(
    events: Sequence[MarketEvent], calls: Mapping[When, Sequence[Act]], margin: str, leverage: str, **more: Any
) -> Played:
    instruments = more.pop("instruments", (BTC,))
    return play(
        events,
        calls,
        instruments=instruments,
        margin=margin,
        leverage={i.id: leverage for i in instruments if not i.is_spot},
        **{"tiers": TIERS, "on": "trade", "fees": FEES, "latency": 0, **more},
    )


def after(*marks: float, buys: float = 100) -> tuple[list[MarketEvent], dict[When, Sequence[Act]]]:
    """Return a market in which a position is opened at 80,000, and marks that follow."""
    events = [mark(0, 80_000, of=BTC), trade(1, 80_000, of=BTC), trade(2, 80_000, of=BTC)]
    events += [mark(10 + n, price, of=BTC) for n, price in enumerate(marks)]
    events.append(trade(100, 80_000, of=BTC))
    return events, {("trade", 0): [buy(buys, of=BTC) if buys > 0 else sell(-buys, of=BTC)]}


# Isolated, by hand ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marks", "liquidated_at"),
    [
        ((76_500, 76_343.6), None),
        ((76_500, 76_343.6, 76_343, 60_000), 12),
        ((60_000,), 10),
    ],
)
def test_the_table_of_an_isolated_long(marks: Sequence[float], liquidated_at: int | None) -> None:
    """Whatever the mark that goes beyond the liquidation price, the margin of 4,000 is lost, and no more."""
    events, calls = after(*marks)
    played = run(events, calls, "isolated", "20")
    opened = "1 buy 100 @ 80000 taker 2"
    if liquidated_at is None:
        assert played.fills == [opened]
        assert played.told.ledger["cash"] == "{'USDT': '9960'}"
        return
    assert played.fills == [opened, f"quidation1 sell 100 @ 76000 taker {liquidated_at}"]
    assert played.told.ledger["cash"] == "{'USDT': '5960'}"
    assert played.told.ended == "completed"
    assert min(row[1] for row in played.told.curve) >= 5960


def test_a_short_loses_its_margin_too() -> None:
    """8,000 at 10x: bankrupt at 88,000; the liquidation price is 88,000 / 1.0045 = 87,605.8."""
    events, calls = after(87_605.7, 87_605.8, buys=-100)
    played = run(events, calls, "isolated", "10")
    assert played.fills[1:] == ["quidation1 buy 100 @ 88000 taker 11"]
    assert played.told.ledger["cash"] == "{'USDT': '1960'}"


def test_a_price_off_the_step_leaves_a_charge() -> None:
    """80,000 / 3 of margin: the price is the step above 53,333.33, and what it leaves of the margin is charged."""
    events, calls = after(53_000)
    played = run(events, calls, "isolated", "3", cash={"USDT": 30_000.0})
    fills = [text.split(" ") for text in played.told.fills]
    assert played.fills[1] == "quidation1 sell 100 @ 53333.4 taker 10"
    assert fills[1][7] == "0.0666666666666666"
    assert played.told.ledger["cash"] == "{'USDT': '3293.3333333333333334'}"


def test_coins_back_inverse_contracts() -> None:
    """Vector 8: a short of 100 at 60,000 and 10x has its liquidation price at 66,366.67."""
    events = [mark(0, 60_000, of=COIN), trade(1, 60_000, of=COIN), trade(2, 60_000, of=COIN)]
    events += [mark(10, 66_366.6, of=COIN), mark(11, 66_366.7, of=COIN), trade(20, 60_000, of=COIN)]
    calls: dict[When, Sequence[Act]] = {("trade", 0): [sell(100, of=COIN)]}
    played = run(events, calls, "isolated", "10", instruments=(COIN,), cash={"BTC": 0.02}, report_currency="BTC")
    assert played.fills[1:] == ["quidation1 buy 100 @ 66666.6 taker 11"]
    # 0.02, less 0.0000833333333335 for opening, less a tenth of 0.166666666667.
    assert played.told.ledger["cash"] == "{'BTC': '0.0032499999999665'}"


def test_orders_of_the_scope_are_cancelled_first() -> None:
    """Those of other contracts stay with isolated margin."""
    events = [*(mark(0, p, of=i) for i, p in ((BTC, 80_000), (ETH, 2_600)))]
    events += [trade(1, 80_000, of=BTC), trade(1, 2_600, of=ETH), trade(2, 80_000, of=BTC), trade(3, 2_600, of=ETH)]
    events += [mark(10, 76_000, of=BTC), trade(20, 80_000, of=BTC), trade(21, 2_600, of=ETH)]
    calls: dict[When, Sequence[Act]] = {
        ("trade", 0): [
            buy(100, of=BTC),
            sell(100, 81_000, of=BTC, reduce_only=False),
            buy(1, 70_000, of=BTC),
            buy(1, 2_000, of=ETH),
        ]
    }
    for margin, still in (("isolated", "cancelled end_of_data"), ("cross", "cancelled liquidation")):
        cash = {"USDT": 20_000.0 if margin == "isolated" else 9_000.0}
        prices = {"isolated": 76_000, "cross": 71_000}
        moved = [*events[:-3], mark(10, prices[margin], of=BTC), *events[-2:]]
        played = run(moved, calls, margin, "20", instruments=(BTC, ETH), on="trade", cash=cash)
        assert played.final(3) == "cancelled liquidation", margin
        assert played.final(4) == still, margin


# Cross, by hand ---------------------------------------------------------------------------------------------------


def two(*marks: tuple[Instrument, float]) -> list[MarketEvent]:
    """Return a market for a long of 1 BTC and a short of 20 ETH, and marks that follow."""
    events = [mark(0, 80_000, of=BTC), mark(0, 2_600, of=ETH)]
    events += [trade(1, 80_000, of=BTC), trade(1, 2_600, of=ETH), trade(2, 80_000, of=BTC), trade(2, 2_600, of=ETH)]
    events += [mark(10 + n, price, of=of) for n, (of, price) in enumerate(marks)]
    return [*events, trade(100, 80_000, of=BTC), trade(101, 2_600, of=ETH)]


BOTH: dict[When, Sequence[Act]] = {("trade", 0): [buy(100, of=BTC), sell(200, of=ETH)]}


def test_the_table_of_a_cross_account() -> None:
    """Two positions share what is left in proportion to what they require, and lose the balance together."""
    events = two((BTC, 78_000), (ETH, 2_650), (BTC, 72_000), (BTC, 71_550))
    fees = Fees(taker_bps=5, maker_bps=5, currency="settle")
    # The table has no fees of its own: they are what the cash is more than 10,000.
    played = run(events, BOTH, "cross", "10", instruments=(BTC, ETH), fees=fees, cash={"USDT": 13_266.0})
    assert not any("quidation" in text for text in played.fills)
    cash = {"USDT": 10_000.0 + 40 + 26}
    played = run(events, BOTH, "cross", "5", instruments=(BTC, ETH), fees=fees, cash=cash)
    assert played.fills == []  # 80,000 / 5 is more than there is


@pytest.mark.parametrize(("last", "is_over"), [(72_000, False), (71_550, True)])
def test_the_last_rows_of_the_cross_table(last: float, is_over: bool) -> None:
    events = two((BTC, 78_000), (ETH, 2_650), (BTC, last))
    cash = {"USDT": 10_000.0 + 40 + 26}
    played = run(events, BOTH, "cross", "20", instruments=(BTC, ETH), cash=cash)
    assert len(played.fills) == (4 if is_over else 2)
    if is_over:
        assert played.fills[2:] == [
            "quidation1 sell 100 @ 71234.1 taker 12",
            "quidation2 buy 200 @ 2661.7 taker 12",
        ]
        assert played.told.ended == "bankrupt"
        assert played.told.ledger["cash"] == "{}"


def test_a_currency_that_lost_its_scope_does_not_end_a_run_with_another() -> None:
    """The run goes on with what is left in the other currency."""
    events = [
        mark(0, 80_000, of=BTC),
        trade(1, 80_000, of=PAIR),
        trade(1, 80_000, of=BTC),
        trade(2, 80_000, of=BTC),
        mark(10, 70_000, of=BTC),
        trade(20, 80_000, of=BTC),
        trade(21, 80_000, of=PAIR),
    ]
    calls: dict[When, Sequence[Act]] = {("trade", 1): [buy(100, of=BTC)]}
    played = run(
        events,
        calls,
        "cross",
        "20",
        instruments=(PAIR, BTC),
        cash={"USDT": 5_000.0, "BTC": 0.1},
        on="BTC-USDT=trade,BTC-USDT-SWAP=trade",
    )
    assert len(played.fills) == 2
    assert played.told.ended == "completed"


def test_what_a_jump_leaves_is_less_than_nothing() -> None:
    """The exchange pays for what the balance does not: a position for which there is no such price ends at its mark."""
    events = two((BTC, 100.0))
    calls: dict[When, Sequence[Act]] = {("trade", 0): [buy(100, of=BTC), sell(1, of=ETH)]}
    played = run(events, calls, "cross", "20", instruments=(BTC, ETH), cash={"USDT": 9_000.0})
    assert played.fills[2].endswith("taker 10")
    assert played.fills[3] == "quidation2 buy 1 @ 2600 taker 10"
    assert played.told.ledger["cash"] == "{}"


def test_a_cross_scope_of_coins_loses_its_balance_to_the_last_digit() -> None:
    """The fee of opening has 18 places, more than a charge elsewhere."""
    price = 81_234.5
    events = [mark(0, price, of=COIN), trade(1, price, of=COIN), trade(2, price, of=COIN), mark(10, 60_000, of=COIN)]
    events.append(trade(20, 60_000, of=COIN))
    fees = Fees(taker_bps=3.37)
    played = run(
        events,
        {("trade", 0): [buy(900, of=COIN)]},
        "cross",
        "7",
        instruments=(COIN,),
        cash={"BTC": 0.333},
        report_currency="BTC",
        fees=fees,
    )
    assert [text.split(" ")[0] for text in played.fills] == ["1", "quidation1"]
    assert played.told.ledger["cash"] == "{}"
    assert played.told.ended == "bankrupt"


def test_funding_may_bring_a_cross_account_to_its_next_mark() -> None:
    """There is no room for any move then: the next mark of either is judged."""
    events = two((ETH, 2_600))
    rate = 3_000 / 80_000
    events = [*events[:-3], funding(10, rate, ns(9), of=BTC), mark(20, 2_600, of=ETH), *events[-2:]]
    played = run(events, BOTH, "cross", "40", instruments=(BTC, ETH), cash={"USDT": 3_400.0})
    assert [text.split(" ")[0] for text in played.fills[2:]] == ["quidation1", "quidation2"]
    assert played.fills[2].endswith("taker 20")


def test_the_first_of_two_marks_liquidates() -> None:
    """Though either would."""
    events = two((BTC, 70_000), (ETH, 9_000))
    played = run(events, BOTH, "cross", "20", instruments=(BTC, ETH), cash={"USDT": 10_066.0})
    assert played.fills[2].endswith("taker 10")


def test_funding_beyond_the_margin_is_not_paid_twice() -> None:
    """96,000 are charged of a margin of 4,000: what the position costs is its margin, once it is taken over."""
    events, _ = after()
    events = [*events[:-1], funding(50, -1.2, ns(40), of=BTC), mark(60, 80_000, of=BTC), events[-1]]
    played = run(events, {("trade", 0): [sell(100, of=BTC)]}, "isolated", "20", cash={"USDT": 200_000.0})
    assert played.fills[1:] == ["quidation1 buy 100 @ 80000 taker 60"]
    assert played.told.ledger["cash"] == "{'USDT': '195960'}"


def test_without_maintenance_or_fee_a_position_is_bankrupt_when_it_is_liquidated() -> None:
    events, calls = after(76_000.1, 76_000)
    tiers = {"BTC-USDT-SWAP": (("1000", "0", "100"),)}
    played = run(events, calls, "isolated", "20", fees=Fees(), tiers=tiers)
    assert played.fills[1:] == ["quidation1 sell 100 @ 76000 taker 11"]


# When -------------------------------------------------------------------------------------------------------------


MINUTES = ((80_000, 80_000, 80_000, 80_000), (80_000, 80_000, 79_000, 79_000))


@pytest.mark.parametrize(
    ("last", "stop", "marked", "fills"),
    [
        ((79_000, 79_100, 77_500, 77_900), 78_000, None, ["2 sell 100 @ 78000 taker 180000"]),
        ((79_000, 79_100, 75_000, 79_000), 78_000, None, ["2 sell 100 @ 78000 taker 180000"]),
        ((79_000, 79_100, 75_000, 79_000), None, None, []),
        ((79_000, 79_100, 75_000, 76_300), None, None, ["quidation1 sell 100 @ 76000 taker 180000"]),
        ((79_000, 79_100, 75_000, 76_300), 78_000, 76_300, ["quidation1 sell 100 @ 76000 taker 180000"]),
        ((79_000, 79_100, 75_000, 76_300), 78_000, 76_400, ["2 sell 100 @ 78000 taker 180000"]),
    ],
)
def test_within_one_candle(
    last: tuple[float, float, float, float], stop: float | None, marked: float | None, fills: list[str]
) -> None:
    """The range comes before the close; a mark row of the close's stamp comes before the range."""
    events = [candle(n + 1, prices, of=BTC) for n, prices in enumerate((*MINUTES, last))]
    if marked is not None:
        events += [mark(60_000 * n, price, of=BTC) for n, price in enumerate((80_000, 80_000, 79_000, marked))]
    calls = {("candle", 0): [buy(100, of=BTC), *([sell(100, stop_price=stop, of=BTC)] if stop else [])]}
    played = run(events, calls, "isolated", "20", on="candle")
    assert played.fills == ["1 buy 100 @ 80000 taker 60000", *fills]


def test_tickers_and_books_are_judged_at_their_mids() -> None:
    for on in ("ticker", "book"):
        quote = ticker_at if on == "ticker" else _book
        events = [
            quote(at, price) for at, price in ((0, 80_000), (5, 80_000), (10, 76_400), (15, 76_340), (20, 80_000))
        ]
        played = run(events, {(on, 0): [buy(100, of=BTC)]}, "isolated", "20", on=on)
        assert [text.split(" ")[0] for text in played.fills][1:] == ["quidation1"], on
        assert played.fills[1].endswith("taker 15")


def _book(at: float, price: float) -> MarketEvent:
    return book(at, {price - 0.1: 500}, {price: 500}, whole=True, of=BTC)


def ticker_at(at: float, price: float) -> MarketEvent:
    return ticker(at, price - 0.1, price, 500, 500, of=BTC)


def test_funding_leaves_isolated_margin_and_the_next_mark_liquidates() -> None:
    """A charge of 3,700 leaves 300 of margin: the next mark, though it is no other, is beyond the liquidation price."""
    events, calls = after()
    rate = 3_700 / 80_000
    events = [*events[:-1], funding(50, rate, ns(40), of=BTC), mark(60, 80_000, of=BTC), events[-1]]
    played = run(events, calls, "isolated", "20")
    assert played.fills[1:] == ["quidation1 sell 100 @ 79700 taker 60"]
    assert played.told.ledger["cash"] == "{'USDT': '5960'}"


@pytest.mark.parametrize(("latency", "ends"), [(0, ["cancelled liquidation"] * 2), (20, [])])
def test_protection_ends_with_its_position(latency: float, ends: list[str]) -> None:
    """Children at work are cancelled like other orders of the scope; those under way find nothing to protect."""
    events, _ = after()
    events = [
        *events[:2],
        trade(30, 80_000, of=BTC),
        mark(35, 76_000, of=BTC),
        *(trade(at, 80_000, of=BTC) for at in (80, 90)),
    ]
    acts = [buy(100, of=BTC, stop_loss=70_000, take_profit=TakeProfit(90_000, 90_000))]
    played = run(events, {("trade", 0): acts}, "isolated", "20", latency=latency)
    assert [text.split(" ")[0] for text in played.fills] == ["1", "quidation1"]
    children = [e for e in played.told.order_events if e[0] in ("bt1sl", "bt1tp") and e[3] == "cancelled"]
    assert [f"{e[3]} {e[4]}" for e in children] == ends


def test_orders_under_way_are_judged_after_a_liquidation() -> None:
    """A close that arrives too late finds nothing to close, and opens nothing."""
    events, calls = after(76_000)
    events = [
        *events[:3],
        trade(30, 80_000, of=BTC),
        trade(40, 80_000, of=BTC),
        mark(50, 76_000, of=BTC),
        trade(90, 80_000, of=BTC),
    ]
    calls = {
        **calls,
        ("mark", 1): [sell(100, of=BTC, reduce_only=True)],
        ("trade", 3): [sell(100, of=BTC, reduce_only=True)],
    }
    played = run(events, calls, "isolated", "20", latency=20)
    assert played.fills[1].startswith("quidation1")
    assert played.final(2) == "rejected reduce_only_no_position"


# Orders -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cash", "margin", "qty", "final"),
    [
        (4_040.0, "isolated", 100, "filled"),
        (4_039.9, "isolated", 100, "rejected insufficient_margin"),
        (4_040.0, "cross", 100, "filled"),
        (100_000.0, "isolated", 1000, "filled"),
        (100_000.0, "isolated", 1001, "rejected leverage_tier"),
    ],
)
def test_admission(cash: float, margin: str, qty: float, final: str) -> None:
    """An order needs its initial margin and its fee, and a tier that allows the leverage."""
    events, _ = after(80_000)
    played = run(events, {("trade", 0): [buy(qty, of=BTC)]}, margin, "20", cash={"USDT": cash})
    assert played.final(1) == final


def test_the_larger_side_counts() -> None:
    """A bid and an offer of a flat account need the margin of one of them."""
    events, _ = after(80_000)
    acts = [buy(100, 79_000, of=BTC), sell(100, 81_000, of=BTC), buy(10, 79_000, of=BTC)]
    played = run(events, {("trade", 0): acts}, "isolated", "20", cash={"USDT": 4_100.0})
    assert [played.final(n) for n in (1, 2, 3)] == [
        "cancelled end_of_data",
        "cancelled end_of_data",
        "rejected insufficient_margin",
    ]


def test_a_fill_is_cut_to_the_margin() -> None:
    """The price has moved since the order was let in."""
    events = [mark(0, 80_000, of=BTC), trade(1, 80_000, of=BTC), mark(1.5, 100_000, of=BTC)]
    events += [trade(2, 100_000, of=BTC), trade(9, 100_000, of=BTC)]
    played = run(events, {("trade", 0): [buy(100, of=BTC)]}, "isolated", "20", cash={"USDT": 4_100.0})
    # A contract of 1,000 needs 50 and half a dollar.
    assert played.fills == ["1 buy 81 @ 100000 taker 2"]
    assert played.final(1) == "cancelled insufficient_margin"


def test_a_flip_beyond_the_margin_closes() -> None:
    events, calls = after(80_000)
    calls = {**calls, ("trade", 1): [sell(300, of=BTC)]}
    events = [*events[:-1], trade(50, 80_000, of=BTC), trade(60, 80_000, of=BTC), events[-1]]
    played = run(events, calls, "isolated", "20", cash={"USDT": 5_000.0})
    assert played.fills[1] == "2 sell 100 @ 80000 taker 50"


@pytest.mark.parametrize(("margin", "fills"), [("isolated", []), ("cross", ["1 buy 145 @ 81800 taker 2"])])
def test_a_fill_that_its_mark_leaves_no_margin_is_not_taken(margin: str, fills: list[str]) -> None:
    """At 50x 81,800 brings 1,636 of margin, and has lost 1,800 at the mark of 80,000: nothing else backs it.

    In cross margin the balance does: n x (16 + 18 + 0.409) is within 5,000.
    """
    events = [mark(0, 80_000, of=BTC), trade(1, 80_000, of=BTC), trade(2, 81_800, of=BTC), trade(3, 80_000, of=BTC)]
    calls: dict[When, Sequence[Act]] = {("trade", 0): [buy(200, of=BTC)]}
    played = run(events, calls, margin, "50", cash={"USDT": 5_000.0})
    assert played.fills == fills
    assert played.told.ended == "completed"
    assert played.final(1) == "cancelled insufficient_margin"


@pytest.mark.parametrize("margin", ["isolated", "cross"])
def test_what_spot_orders_hold_back_is_no_margin(margin: str) -> None:
    """9,000 of 10,000 wait for a coin: of the 1,000 that are left a contract at 10x needs 80."""
    events = [mark(0, 80_000, of=BTC), trade(1, 80_000, of=PAIR), trade(1, 80_000, of=BTC)]
    events += [trade(2, 80_000, of=PAIR), trade(3, 80_000, of=BTC), trade(4, 8_000, of=PAIR), trade(5, 80_000, of=BTC)]
    calls: dict[When, Sequence[Act]] = {("trade", 1): [buy(1, 9_000, of=PAIR), buy(13, of=BTC), buy(12, of=BTC)]}
    played = run(events, calls, margin, "10", instruments=(BTC, PAIR), cash={"USDT": 10_000.0}, fees=Fees())
    assert played.fills == ["3 buy 12 @ 80000 taker 3", "1 buy 1 @ 9000 maker 4"]
    assert played.final(2) == "rejected insufficient_margin"


@pytest.mark.parametrize("margin", ["isolated", "cross"])
@pytest.mark.parametrize(
    ("rows", "stop"),
    [
        (((100, 100, 80, 82),), 85),  # in the range: the stop lies beyond the bankruptcy price of 90
        (((80, 82, 80, 82),), 95),  # an open beyond both
        (((80, 82, 80, 82),), 85),
    ],
)
def test_a_fill_beyond_the_bankruptcy_price_costs_no_more_than_the_margin(
    rows: Sequence[tuple[float, float, float, float]], stop: float, margin: str
) -> None:
    """100 contracts of a coin at 100, 10x: the position is taken over at 90, and its orders end."""
    coin = Instrument("SOL-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="1")
    flat = (100.0, 100.0, 100.0, 100.0)
    events = [candle(n, prices, of=coin) for n, prices in enumerate((flat, flat, *rows, (82, 82, 82, 82)), 1)]
    cash = 1_100.0 if margin == "isolated" else 1_000.0
    played = run(
        events,
        {("candle", 0): [buy(100, of=coin)], ("candle", 1): [sell(100, of=coin, stop_price=stop, reduce_only=True)]},
        margin,
        "10",
        instruments=(coin,),
        tiers={coin.id: (("1000", "0.004", "100"),)},
        on="candle",
        fees=Fees(),
        cash={"USDT": cash},
    )
    assert [text.split(" taker")[0] for text in played.fills] == ["1 buy 100 @ 100", "quidation1 sell 100 @ 90"]
    assert played.final(2) == "cancelled liquidation"
    assert played.told.ledger["cash"] == ("{'USDT': '100'}" if margin == "isolated" else "{}")
    assert played.told.ended == ("completed" if margin == "isolated" else "bankrupt")


@pytest.mark.parametrize(("price", "last"), [(70_000, "3 sell 100 @ 70000"), (50_000, "quidation2 buy 200 @ 2498.03")])
def test_closing_one_of_two_positions_is_judged_by_what_backs_both(price: float, last: str) -> None:
    """16,000 are left at 70,000. At 50,000 it is -4,000: both are taken over, the short 52 / 102 of that better."""
    events = [*two()[:-2], trade(90, price, of=BTC), trade(101, 2_600, of=ETH)]
    calls: dict[When, Sequence[Act]] = {**BOTH, ("trade", 3): [sell(100, of=BTC)]}
    played = run(events, calls, "cross", "10", instruments=(BTC, ETH), cash={"USDT": 26_066.0})
    assert played.fills[-1].split(" taker")[0] == last


@pytest.mark.parametrize("margin", ["isolated", "cross"])
def test_a_market_order_into_bids_beyond_the_bankruptcy_price_is_taken_over_before_them(margin: str) -> None:
    """40 at 95, and the next bid is 80 where the mark is still 100: what is left of the position is closed at 90."""
    coin = Instrument("SOL-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="1")
    events = [
        mark(0, 100, of=coin),
        book(1, bids={99: 1_000}, asks={100: 1_000}, whole=True, of=coin),
        book(2, bids={99: 1_000}, asks={100: 1_000}, whole=True, of=coin),
        book(3, bids={95: 40, 80: 1_000}, asks={100: 1_000}, whole=True, of=coin),
        book(4, bids={95: 40, 80: 1_000}, asks={100: 1_000}, whole=True, of=coin),
    ]
    played = run(
        events,
        {("book", 0): [buy(100, of=coin)], ("book", 2): [sell(100, of=coin)]},
        margin,
        "10",
        instruments=(coin,),
        tiers={coin.id: (("1000", "0.004", "100"),)},
        on="book",
        fees=Fees(),
        cash={"USDT": 1_100.0},
    )
    closed = {"isolated": "quidation1 sell 60 @ 90", "cross": "quidation1 sell 60 @ 85"}[margin]
    fills = [text.split(" taker")[0] for text in played.fills]
    assert fills == ["1 buy 100 @ 100", "2 sell 40 @ 95", closed]
    assert played.final(2) == "cancelled liquidation"
    assert played.told.ledger["cash"] == {"isolated": "{'USDT': '300'}", "cross": "{}"}[margin]
