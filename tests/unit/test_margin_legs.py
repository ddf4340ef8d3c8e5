"""Margin in the long/short mode as docs/margin.md has it: each leg by itself if isolated, together in cross margin."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from oracle.timelines import buy, mark, play, sell, trade
from test_margin_timelines import BTC, COIN, FEES, PAIR, TIERS

import quantkit as qk
from quantkit.events import Mark, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.margin import ContractTerms, MarginTerms, MarginTier, MarginTiers
from quantkit.margin_account import MarginAccount
from quantkit.orders import Fill, PositionSide
from quantkit.portfolio import Portfolio

LONG, SHORT = PositionSide.LONG, PositionSide.SHORT


def played(margin: str, *marks: float, longs: float, shorts: float, cash: float = 10_000, leverage: str = "20") -> Any:
    """Open two legs at 80,000, one after the other, and let marks follow."""
    events = [mark(0, 80_000, of=BTC), *(trade(n, 80_000, of=BTC) for n in (1, 2, 3))]
    events += [mark(10 + n, price, of=BTC) for n, price in enumerate(marks)]
    events.append(trade(100, 80_000, of=BTC))
    calls = {
        ("trade", 0): [buy(longs, of=BTC, position_side="long")],
        ("trade", 1): [sell(shorts, of=BTC, position_side="short")],
    }
    return play(
        events,
        calls,
        instruments=(BTC,),
        margin=margin,
        leverage={BTC.id: leverage},
        tiers=TIERS,
        on="trade",
        fees=FEES,
        latency=0,
        is_long_short=True,
        cash={"USDT": cash},
    )


def test_an_isolated_leg_is_liquidated_alone() -> None:
    """4,000 of margin each; at 76,343 the long one is gone at 76,000, and the short one goes on."""
    told = played("isolated", 76_343.6, 76_343, longs=100, shorts=100)
    assert told.fills == [
        "1 buy 100 @ 80000 taker 2",
        "2 sell 100 @ 80000 taker 3",
        "quidation1 sell 100 @ 76000 taker 11",
    ]
    assert told.told.fills[-1].endswith(" long")
    assert told.told.ledger["cash"] == "{'USDT': '5920'}"
    assert told.told.ledger["sizes"] == "{'BTC-USDT-SWAP short': '-100'}"


@pytest.mark.parametrize(
    ("marks", "fills", "cash", "sizes"),
    [
        # Joint liquidation price 62,084 / 0.89055 = 69,714.2.
        ((69_714.3,), [], "9916", "{'BTC-USDT-SWAP long': '150', 'BTC-USDT-SWAP short': '-60'}"),
        (
            (69_500,),
            ["quidation1 sell 60 @ 69500 taker 10", "quidation2 buy 60 @ 69500 taker 10"],
            "9916",
            "{'BTC-USDT-SWAP long': '90'}",
        ),
    ],
)
def test_legs_in_cross_margin_are_closed_against_each_other_first(
    marks: tuple[float, ...], fills: list[str], cash: str, sizes: str
) -> None:
    """That costs nothing and frees what 120 contracts required: 466 of equity are enough for the 90 that are left."""
    told = played("cross", *marks, longs=150, shorts=60)
    assert told.fills[2:] == fills
    assert told.told.ledger["cash"] == f"{{'USDT': '{cash}'}}"
    assert told.told.ledger["sizes"] == sizes


@pytest.mark.parametrize("marks", [(69_500, 69_000), (69_000,)])
def test_what_is_left_of_a_cross_account_is_lost_with_its_balance(marks: tuple[float, ...]) -> None:
    """At 69,000 there are 16 of equity for 279.45: the rest of the long leg goes at 80,000 - 9,916 / 0.9."""
    told = played("cross", *marks, longs=150, shorts=60)
    assert told.fills[-1].startswith("quidation3 sell 90 @ 68982.3 taker")
    assert told.told.ended == "bankrupt"
    assert told.told.ledger["cash"] == "{}"


def test_legs_of_one_size_leave_nothing_to_liquidate() -> None:
    """A perfect hedge without equity is closed against itself."""
    told = played("cross", 60_000, 2_500_000, longs=60, shorts=60, leverage="20")
    assert told.fills[2:] == ["quidation1 sell 60 @ 2.5e+06 taker 11", "quidation2 buy 60 @ 2.5e+06 taker 11"]
    assert told.told.ledger["sizes"] == "{}"


@pytest.mark.parametrize(("margin", "final"), [("isolated", "filled"), ("cross", "rejected leverage_tier")])
def test_legs_share_a_tier_in_cross_margin(margin: str, final: str) -> None:
    """600 and 500 are more than the 1,000 that the tiers allow at 20x."""
    assert played(margin, longs=600, shorts=500, cash=1_000_000).final(2) == final


def test_a_strategy_reads_the_margin_of_a_leg() -> None:
    """Initial and maintenance are the leg's; the ratio is that of the scope, the price that of both legs together."""
    found: list[Any] = []

    class Reads(qk.Strategy):
        def on_start(self) -> None:
            self.subscribe_trades(BTC.id)
            self.subscribe_marks(BTC.id)
            assert self.margin(BTC.id, side="short") == qk.Strategy.margin(self, BTC.id, side="long")

        def on_trade(self, trade: Trade) -> None:
            if trade.exchange_ns == 1:
                self.buy(BTC.id, 150, position_side="long")
                self.sell(BTC.id, 60, position_side="short")

        def on_mark(self, mark: Mark) -> None:
            if mark.price == 70_000:
                found.extend(self.margin(BTC.id, side=side) for side in ("long", "short"))
                with pytest.raises(qk.OrderError, match="has a long and a short position"):
                    self.margin(BTC.id)

    rows = [Trade(BTC.id, n, n, 80_000.0, 1e6, Side.BUY, n) for n in (1, 2, 9)]
    rows[2:2] = [Mark(BTC.id, 5, 5, 70_000.0)]
    rows.insert(0, Mark(BTC.id, 1, 1, 80_000.0))
    tiers = {"BTC-USDT": [MarginTier(Decimal(1000), Decimal("0.004"), Decimal(100))]}
    qk.backtest(
        Reads(),
        data=MemoryFeed(rows, [BTC]),
        margin="cross",
        leverage=20,
        tiers=tiers,
        fees=FEES,
        latency_ms=0,
        position_mode="long_short",
        cash={"USDT": 10_000},
        venue_rules="off",
    )
    long, short = found
    assert (long.initial, long.maintenance, short.initial, short.maintenance) == (5_250, 420, 2_100, 168)
    assert long.ratio == short.ratio == pytest.approx(916 / 661.5, rel=1e-14)
    assert long.liquidation_price == short.liquidation_price == pytest.approx(62_084 / 0.89055, rel=1e-14)


@pytest.mark.parametrize("instrument", [BTC, COIN])
@pytest.mark.parametrize(("longs", "shorts"), [(150, 60), (60, 150), (80, 80)])
@pytest.mark.parametrize("cash", ["500", "1000000000"])
def test_the_joint_liquidation_price_uses_the_margin_up(
    instrument: Instrument, longs: int, shorts: int, cash: str
) -> None:
    """Exactly there both sides of the ratio are equal; without such a price none is said."""
    currency = instrument.settle_currency
    marks = {instrument.id: 80_000.0, PAIR.id: 80_000.0}
    book = Portfolio({currency: cash}, [instrument, PAIR], mark_of=marks.get, is_long_short=True)
    for side, leg, lots, ticks in ((Side.BUY, LONG, longs, 800_000), (Side.SELL, SHORT, shorts, 790_000)):
        book.apply(
            Fill(
                id=1, order_id="a", instrument=instrument.id, side=side, price=instrument.price(ticks),
                qty=instrument.qty(lots), value=instrument.value(lots, ticks), fee=Decimal(0), fee_currency=currency,
                role="taker", filled_ns=0, revealed_ns=0, why="", tag="", lots=lots, ticks=ticks, position_side=leg,
            )
        )  # fmt: skip
    tiers = MarginTiers([MarginTier(Decimal(1000), Decimal("0.004"), Decimal(100))], "BTC")
    terms = ContractTerms(Fraction(20), tiers, Fraction("0.0005"), Fraction(1000))
    account = MarginAccount(book, MarginTerms(True, {instrument.id: terms}))
    price = account.margin(instrument.id, "long").liquidation_price
    assert price == account.margin(instrument.id, "short").liquidation_price
    scope = book.open_contracts(currency)
    wide = (1.0, 79_000.0, 1e9) if price is None else (price * (1 - 1e-9), price * (1 + 1e-9))
    judged = {account.is_used_up(account.marked(scope, {instrument.id: mark}.get) or []) for mark in wide}
    assert len(judged) == (1 if price is None else 2)
