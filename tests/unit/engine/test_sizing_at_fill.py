"""Orders that travel with their money: sized by the open, the trade or the levels that fill them."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators
from oracle.sizing import fee_of, largest, worth
from sized_runs import INVERSE, SPOT, SWAP, books, buys, candles, order_of, run, sells, tickers, trades

import quantkit as qk
from quantkit.errors import OrderError, StrategyError
from quantkit.events import Mark
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument
from quantkit.sizes import OrderAmount


def all_in(instrument: Instrument, close: float, open_: float, **options: Any) -> tuple[qk.Order, qk.Result]:
    """Buy with everything at a close; the next candle opens where it is said."""
    rows = candles(instrument, close, open_, open_)
    caller, result = run("candle", rows, instrument, buys(qk.Pct(1), at="fill"), **options)
    return order_of(caller), result


@pytest.mark.parametrize(("open_", "qty"), [(101.0, 98.91), (99.0, 100.909), (100.0, 99.9)])
@pytest.mark.parametrize("instrument", [SPOT, SWAP], ids=["spot", "swap"])
def test_all_in_at_the_next_open(instrument: Instrument, open_: float, qty: float) -> None:
    """10,000 / 1.001 / open, whole steps; the order is filled whole, whatever it was thought to be."""
    order, result = all_in(instrument, 100.0, open_)
    contracts = 100 if instrument is SWAP else 1
    qty = int(qty * contracts) if instrument is SWAP else qty
    assert (order.qty, order.filled_qty, order.state, order.reason) == (qty, qty, "filled", "")
    assert order.amount == OrderAmount(Decimal(10_000), None, is_at_fill=True)
    first = result.outcome.order_events[0]
    assert first.state == "accepted"
    assert len(result.outcome.fills) == 1


def test_what_is_free_at_the_fill_counts() -> None:
    """The money of the call is the most; what an earlier order took is gone."""

    def call(strategy: Any) -> qk.Order:
        strategy.buy(SPOT.id, 40)
        return strategy.buy(SPOT.id, qk.Pct(1), at="fill")

    caller, _ = run("candle", candles(SPOT, 100, 100, 100), SPOT, call, fees=qk.Fees())
    assert (order_of(caller).qty, order_of(caller).state) == (60, "filled")
    caller, _ = run("candle", candles(SPOT, 100, 50, 50), SPOT, buys(qk.Cash(1_000), at="fill"), fees=qk.Fees())
    assert order_of(caller).qty == 20


def test_leverage_bounds_contracts_at_the_fill() -> None:
    """Three times the equity at the open, fees out of it; what is short is worth the last close until the next."""
    for call, qty in (
        (buys(qk.Pct(3), at="fill"), 37_387),  # 30,000 / (0.8 * 1.003)
        (sells(qk.Pct(3), at="fill"), 18_721),  # n <= 3 (10,000 - 0.2 n - 0.0008 n)
    ):
        caller, _ = run("candle", candles(SWAP, 100, 80, 80), SWAP, call, max_leverage=3)
        assert (order_of(caller).qty, order_of(caller).state) == (qty, "filled")
    caller, _ = run("candle", candles(SWAP, 100, 80, 80), SWAP, buys(qk.Pct(3), at="fill"))
    assert order_of(caller).qty == 12_487  # 10,000 / (0.8 * 1.001)


def test_inverse_contracts_at_the_fill() -> None:
    """Coins buy fewer contracts at a lower price."""
    rows = candles(INVERSE, 100, 80, 80)
    rows = [Mark(INVERSE.id, rows[0].received_ns - 1, rows[0].received_ns - 1, 100.0), *rows]
    caller, _ = run("candle", rows, INVERSE, buys(qk.Pct(1), at="fill"), cash={"BTC": 10})
    assert order_of(caller).qty == 79  # 10 * 80 / (10 * 1.001)


def test_a_risk_at_the_fill_counts_from_the_open() -> None:
    """100 USDT between an open of 101 and a stop at 98: 100 / (0.01 * 3)."""
    call = buys(qk.Risk(0.01, stop=98), at="fill")
    caller, _ = run("candle", candles(SWAP, 100, 101, 101), SWAP, call, fees=qk.Fees())
    assert order_of(caller).qty == 3_333


@pytest.mark.parametrize(
    ("rows", "call", "reason"),
    [
        (candles(SPOT, 100, 100_000, 100_000), buys(qk.Cash(100), at="fill"), "below_min_qty"),
        (candles(SPOT, 100, 100, 100), buys(qk.Cash(0.1), at="fill"), "below_min_qty"),
    ],
)
def test_too_little_money_for_the_open(rows: list[Any], call: Any, reason: str) -> None:
    """The order ends there."""
    caller, result = run("candle", rows, SPOT, call)
    assert (order_of(caller).state, order_of(caller).reason) == ("cancelled", reason)
    assert result.outcome.fills == []


def test_no_money_at_the_fill() -> None:
    """It went to another order: the reason is the lack of cash."""

    def call(strategy: Any) -> qk.Order:
        strategy.buy(SPOT.id, 100)
        return strategy.buy(SPOT.id, qk.Pct(1), at="fill")

    caller, _ = run("candle", candles(SPOT, 100, 100, 100), SPOT, call, fees=qk.Fees())
    assert (order_of(caller).state, order_of(caller).reason) == ("cancelled", "insufficient_cash")


@pytest.mark.parametrize(
    ("cash", "filled", "reason"),
    [
        ({"USDT": 10_000}, 0, "insufficient_position"),  # nothing is sold short
        ({"USDT": 10, "BTC": 5}, 5, "insufficient_position"),  # all coins, whatever the cash
        ({"USDT": 10, "BTC": 50}, 10, ""),
    ],
)
def test_a_spot_sale_sells_the_coins_held_and_no_more(cash: dict[str, float], filled: float, reason: str) -> None:
    """1,000 USDT at 100 are 10 coins."""
    call = sells(qk.Cash(1_000), at="fill")
    caller, result = run("candle", candles(SPOT, 100, 100, 100), SPOT, call, cash=cash, fees=qk.Fees())
    order = order_of(caller)
    assert (order.filled_qty, result.outcome.cash.get("BTC", 0)) == (filled, cash.get("BTC", 0) - filled)
    assert order.state == ("filled" if filled else "cancelled")
    assert filled or order.reason == reason


def test_a_spot_sale_leaves_the_coins_that_orders_hold_back() -> None:
    """4 of 5 coins are for sale at 200; one is left to sell."""

    def call(strategy: Any) -> qk.Order:
        strategy.sell(SPOT.id, 4, price=200.0)
        return strategy.sell(SPOT.id, qk.Cash(1_000), at="fill")

    cash = {"USDT": 10, "BTC": 5}
    caller, _ = run("candle", candles(SPOT, 100, 100, 100), SPOT, call, cash=cash, fees=qk.Fees())
    assert (order_of(caller).filled_qty, order_of(caller).state) == (1, "filled")


@pytest.mark.parametrize(
    ("call", "prices"),
    [
        (buys(qk.Risk(0.01, stop=98), at="fill"), (100, 98, 98)),
        (buys(qk.Risk(0.01, stop=98), at="fill"), (100, 97.9, 98)),
        (sells(qk.Risk(0.01, stop=102), at="fill"), (100, 102, 102)),
        (sells(qk.Risk(0.01, stop=102), at="fill"), (100, 102.1, 102)),
    ],
)
def test_an_open_at_or_beyond_the_stop_of_a_risk_ends_the_order(call: Any, prices: tuple[float, ...]) -> None:
    """Nothing says what such a position would lose."""
    caller, result = run("candle", candles(SWAP, *prices), SWAP, call, fees=qk.Fees())
    assert (order_of(caller).state, order_of(caller).reason) == ("cancelled", "stop_passed")
    assert result.outcome.fills == []


@pytest.mark.parametrize("open_", [98.5, 100.0, 103.0])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_trailing_stop_is_counted_from_the_open_that_fills(open_: float, sign: int) -> None:
    """100 USDT at a distance of 2, or of a hundredth of the open."""
    call = buys if sign > 0 else sells
    for stop, qty in (
        (qk.StopLoss(trailing_offset=2.0), 5_000),
        (qk.StopLoss(trailing_offset_bps=100.0), int(Fraction(1_000_000) / Fraction(str(open_)))),
    ):
        rows = candles(SWAP, 100, open_, open_, open_ - 3 * sign, open_ - 3 * sign)
        ask = call(qk.Risk(0.01), stop_loss=stop, at="fill")
        caller, _ = run("candle", rows, SWAP, ask, fees=qk.Fees(), max_leverage=10)
        assert order_of(caller).qty == qty


# Market buys on spot --------------------------------------------------------------------------------------------------


def test_a_spot_buy_spends_its_money_on_a_trade() -> None:
    """No reserve: all of it, at the price of the next trade."""
    caller, _ = run("trade", trades(SPOT, 100, 100, 80, 80), SPOT, buys(qk.Pct(1), at="fill"), at_row=2)
    assert (order_of(caller).qty, order_of(caller).state) == (124.875, "filled")  # 10,000 / 80.08


def test_a_spot_buy_walks_the_book_until_its_money_is_spent() -> None:
    """10 at 100, 20 at 110, the rest of 10,000 at 120: 6,800 / 120."""
    book = ({99.0: 1e6}, {100.0: 10.0, 110.0: 20.0, 120.0: 1e6})
    caller, result = run("book", books(SPOT, *[book] * 3), SPOT, buys(qk.Pct(1), at="fill"), fees=qk.Fees())
    fills = [(fill.price, fill.qty) for fill in result.outcome.fills]
    assert fills == [(100.0, 10.0), (110.0, 20.0), (120.0, 56.666)]
    order = order_of(caller)
    assert (order.qty, order.filled_qty, order.state, order.reason) == (86.666, 86.666, "filled", "")
    assert result.outcome.cash["USDT"] == Decimal("0.080")


@pytest.mark.parametrize(
    ("fees", "qty"),
    [
        (qk.Fees(per_order=100), 28.725),  # 1,000 + 1,010 + 8.725 x 102 + 100 once
        (qk.Fees(taker_bps=100, min_per_order=25), 29.414),  # 1.01 x (2,010 + 9.414 x 102)
        (qk.Fees(taker_bps=10, min_per_order=25), 29.460),  # 2,010 + 9.46 x 102 + 25: no level pays it alone
    ],
)
def test_the_amounts_of_an_order_are_due_once_over_all_levels(fees: qk.Fees, qty: float) -> None:
    """Levels 10 at 100, 10 at 101 and 100 at 102; what the order itself costs comes with its first fill."""
    book = ({99.0: 1e6}, {100.0: 10.0, 101.0: 10.0, 102.0: 100.0})
    caller, result = run("book", books(SPOT, *[book] * 3), SPOT, buys(qk.Cash(3_000), at="fill"), fees=fees)
    assert (order_of(caller).qty, order_of(caller).state) == (qty, "filled")
    assert sum(fill.value + fill.fee for fill in result.outcome.fills) <= 3_000
    whole, price = Decimal(10_000) - result.outcome.cash["USDT"], Decimal("0.102")
    assert whole <= 3_000 < whole + price * Decimal("1.01"), "one step more would cost more than the money"


def test_a_rest_that_the_next_level_is_too_dear_for_ends_the_order() -> None:
    """1,000.15 pays for 10 at 100; what is left buys 0.001 at 100, which is gone, and nothing at 200."""
    book = ({99.0: 1e6}, {100.0: 10.0, 200.0: 1e6})
    caller, result = run("book", books(SPOT, *[book] * 3), SPOT, buys(qk.Cash(1_000.15), at="fill"), fees=qk.Fees())
    order = order_of(caller)
    assert (order.filled_qty, order.qty, order.state, order.reason) == (10, 10, "cancelled", "amount_spent")
    assert len(result.outcome.fills) == 1


def test_a_book_that_is_too_thin_cancels_the_rest() -> None:
    """As any market order."""
    book = ({99.0: 1e6}, {100.0: 10.0})
    caller, _ = run("book", books(SPOT, *[book] * 3), SPOT, buys(qk.Pct(1), at="fill"), fees=qk.Fees())
    order = order_of(caller)
    assert (order.filled_qty, order.state, order.reason) == (10, "cancelled", "no_liquidity")


def test_a_side_without_an_offer_fills_nothing() -> None:
    """The ticker shows no ask when the order comes."""
    rows = tickers(SPOT, (99.0, 101.0), (99.0, None), (99.0, None), (99.0, 101.0))
    caller, _ = run("ticker", rows, SPOT, buys(qk.Pct(0.5), at="fill"), latency_ms=1_500)
    assert (order_of(caller).filled_qty, order_of(caller).reason) == (0, "no_liquidity")
    caller, _ = run("ticker", tickers(SPOT, *[(99.0, 101.0)] * 3), SPOT, buys(qk.Cash(0.01), at="fill"))
    assert (order_of(caller).filled_qty, order_of(caller).reason) == (0, "below_min_qty")


def test_a_share_of_the_volume_caps_it_row_by_row() -> None:
    """Each trade of 1 fills half of one; the money left is spent at the trades that follow."""
    call = buys(qk.Cash(100), at="fill")
    caller, result = run("trade", trades(SPOT, 100, 100, 80, 50, 50), SPOT, call, fees=qk.Fees(), max_share=0.5)
    fills = [(fill.price, fill.qty) for fill in result.outcome.fills]
    assert fills == [(100.0, 0.5), (80.0, 0.5), (50.0, 0.2)]
    assert (order_of(caller).qty, order_of(caller).state) == (1.2, "filled")


# With what else there is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("instrument", [SPOT, SWAP], ids=["spot", "swap"])
def test_a_bracket_protects_what_the_fill_was(instrument: Instrument) -> None:
    """The children have the size of the fill at the open, not that of the call."""
    call = buys(qk.Pct(0.5), at="fill", stop_loss=50.0, take_profit=qk.TakeProfit(150.0, 150.0))
    caller, result = run("candle", candles(instrument, 100, 80, 80, 80), instrument, call, fees=qk.Fees())
    size = 62.5 if instrument is SPOT else 6_250
    assert (order_of(caller).qty, order_of(caller).state) == (size, "filled")
    assert [order.qty for order in result.outcome.orders if order.parent_id] == [size, size]


class Churn(qk.Strategy):
    """Trades by money at every few rows, in every way that there is."""

    def on_start(self) -> None:
        self.subscribe_trades(SPOT.id)
        self.subscribe_trades(SWAP.id)
        self.seen = 0

    def on_trade(self, trade: Any) -> None:
        self.seen += 1
        match self.seen % 14:
            case 1:
                self.buy(SPOT.id, qk.Pct(0.3), at="fill")
            case 3:
                self.sell(SPOT.id, qk.Cash(700))
            case 5:
                self.target_pct(SWAP.id, 0.4)
            case 7:
                self.buy(SWAP.id, qk.Pct(0.2), price=trade.price)
            case 9:
                self.target_value(SWAP.id, -1_000)
            case 11:
                self.sell(SWAP.id, qk.Risk(0.01, stop=trade.price * 1.1))
            case 13:
                self.close(SWAP.id)


def test_how_the_replay_walks_changes_no_size() -> None:
    """With the gate search off and on, in blocks of any size."""
    prices = [100 + (n * 7 % 23 - 11) / 5 for n in range(160)]
    rows = sorted(trades(SPOT, *prices) + trades(SWAP, *prices[::-1]), key=lambda row: row.received_ns)

    def hash_of(**more: Any) -> str:
        feed = MemoryFeed(rows, [SPOT, SWAP], block_rows=more.pop("block_rows", 1_000))
        result = qk.backtest(Churn(), data=feed, cash={"USDT": 10_000}, latency_ms=300, **more)
        assert len(result.outcome.fills) > 80
        return result.hash

    first = hash_of()
    assert [hash_of(search=False), hash_of(block_rows=7), hash_of(block_rows=1, search=False)] == [first] * 3


# Where it does not exist ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "instrument", "call", "message"),
    [
        (
            "trade",
            SWAP,
            buys(qk.Pct(1), at="fill"),
            "at='fill' needs an order matched on candles, or a spot market buy",
        ),
        ("trade", SPOT, sells(qk.Pct(1), at="fill"), "at='fill' needs an order matched on candles, or a spot market"),
        ("trade", SPOT, buys(qk.Pct(1), at="fill", price=90.0), "at='fill' needs a plain market order"),
        ("trade", SPOT, buys(qk.Pct(1), at="fill", stop_price=90.0), "at='fill' needs a plain market order"),
        ("trade", SPOT, buys(qk.Pct(1), at="fill", time_in_force="IOC"), "at='fill' needs a plain market order"),
        ("trade", SPOT, buys(qk.Pct(1), at="fill", reduce_only=True), "at='fill' needs a plain market order"),
        ("trade", SPOT, buys(10, at="fill"), "at='fill' needs a size by money"),
        (
            "trade",
            SPOT,
            lambda s: s.amend(s.buy(SPOT.id, qk.Pct(1), at="fill"), qty=3),
            "its size comes with its fill; cancel it",
        ),
    ],
)
def test_elsewhere_it_is_refused_at_the_call(kind: str, instrument: Instrument, call: Any, message: str) -> None:
    """In one line."""
    with pytest.raises(StrategyError, match=message) as raised:
        run(kind, trades(instrument, *[100] * 3), instrument, call)
    assert isinstance(raised.value.__cause__, OrderError)


# Against the oracle ---------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    generators.sampled_from((SPOT, SWAP, INVERSE)),
    generators.booleans(),
    generators.integers(500, 2_000),
    generators.integers(500, 2_000),
    generators.sampled_from((0.0, 5.0, 12.5)),
    generators.sampled_from((1, 2.5, 10)),
    generators.integers(1, 120),
)
def test_the_size_at_the_fill_is_the_oracles(
    instrument: Instrument, is_buy: bool, close: int, open_: int, taker_bps: float, leverage: float, percent: int
) -> None:
    """The largest that the money pays for at the open and the leverage carries, by trying."""
    side = qk.Side.BUY if is_buy or instrument.is_spot else qk.Side.SELL
    fees, before, after = qk.Fees(taker_bps=taker_bps), close / 10, open_ / 10
    rows = candles(instrument, before, after, after)
    currency = instrument.settle_currency
    if instrument is INVERSE:
        rows = [Mark(instrument.id, rows[0].received_ns - 1, rows[0].received_ns - 1, before), *rows]
    call = (buys if side is qk.Side.BUY else sells)(qk.Pct(percent / 100), at="fill")
    caller, result = run("candle", rows, instrument, call, cash={currency: 1_000}, fees=fees, max_leverage=leverage)
    money, price = Fraction(1_000 * percent, 100), Fraction(str(after))
    wanted = largest(instrument, fees, side, money, price)
    if instrument.is_spot:
        carried = largest(instrument, fees, side, Fraction(1_000), price)
    else:
        carried, too_many = 0, wanted + 1
        while too_many - carried > 1:
            middle = (carried + too_many) // 2
            prices = price, Fraction(str(before))
            if _carries(instrument, fees, middle * side.sign, *prices, Fraction(str(leverage))):
                carried = middle
            else:
                too_many = middle
    lots = sum(fill.lots for fill in result.outcome.fills)
    assert lots == min(wanted, carried)
    assert order_of(caller).lots == lots


def _carries(
    instrument: Instrument, fees: qk.Fees, lots: int, price: Fraction, mark: Fraction, leverage: Fraction
) -> bool:
    """Whether a position from nothing is within the leverage on 1,000, at its own price and at the last close."""
    size = abs(lots)
    value = worth(instrument, size, price)
    at_mark = worth(instrument, size, mark)
    gain = (at_mark - value) * (1 if lots > 0 else -1) * (-1 if instrument.is_inverse else 1)
    equity = 1_000 - fee_of(instrument, fees, size, price)
    return value <= equity * leverage and at_mark <= (equity + gain) * leverage
