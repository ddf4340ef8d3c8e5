"""Sizes by money in small runs: what is sent, on which data, by which price, and what is refused."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators
from sized_runs import (
    COINS,
    FEES,
    INVERSE,
    PAIR,
    SPOT,
    START_NS,
    SWAP,
    TIERS,
    Caller,
    books,
    buys,
    candles,
    order_of,
    run,
    sells,
    tickers,
    trades,
)

import quantkit as qk
from quantkit.brokers.any_room import AnyRoom
from quantkit.clock import NS_PER_MIN, NS_PER_MS, NS_PER_S
from quantkit.engine.books import Books
from quantkit.engine.gaps import Gaps
from quantkit.engine.last_prices import LastPrices
from quantkit.engine.sizing import Sizing
from quantkit.errors import OrderError, StrategyError
from quantkit.events import Candle, Mark, MarketEvent, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.orders import OrderTerms
from quantkit.portfolio import Portfolio
from quantkit.rows.columns import Stream
from quantkit.rows.cursors import make_cursors
from quantkit.rows.position import RunPosition

# The price ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block_rows", [1, 1_000])
@pytest.mark.parametrize(
    ("kind", "rows", "call", "qty"),
    [
        # 1,000 USDT: at the ask 1000 / (101 * 0.01 * 1.001), at the bid 1000 / (99 * 0.01 * 1.001).
        ("ticker", tickers(SWAP, *[(99.0, 101.0)] * 3), buys(qk.Cash(1_000)), 989),
        ("ticker", tickers(SWAP, *[(99.0, 101.0)] * 3), sells(qk.Cash(1_000)), 1_009),
        ("book", books(SWAP, *[({99.0: 1e6}, {101.0: 1e6})] * 3), buys(qk.Cash(1_000)), 989),
        ("book", books(SWAP, *[({99.0: 1e6}, {101.0: 1e6})] * 3), sells(qk.Cash(1_000)), 1_009),
        ("trade", trades(SWAP, 100, 100, 100), buys(qk.Cash(1_000)), 999),
        ("candle", candles(SWAP, 100, 100, 100), buys(qk.Cash(1_000)), 999),
        # A limit, a trigger and a take-profit go before the market's price; so does the limit of a stop.
        ("trade", trades(SWAP, 100, 100, 100), buys(qk.Cash(1_000), price=90.0), 1_110),
        ("trade", trades(SWAP, 100, 100, 100), buys(qk.Cash(1_000), stop_price=110.0), 908),
        ("trade", trades(SWAP, 100, 100, 100), buys(qk.Cash(1_000), stop_price=110.0, price=120.0), 832),
    ],
)
def test_the_price_that_an_order_is_sized_by(
    kind: str, rows: list[MarketEvent], call: Callable[[Caller], Any], qty: float, block_rows: int
) -> None:
    """Its own; else what would meet it; the row may be of the batch before."""
    caller, _ = run(kind, rows, SWAP, call, at_row=2, block_rows=block_rows)
    order = order_of(caller)
    assert order.qty == qty
    assert order.amount is not None
    assert order.amount.money == 1_000
    assert order.note.startswith("Cash(1000.0): 1000 USDT at ")


def test_a_side_without_an_offer_is_sized_by_the_mark() -> None:
    """The ticker has no ask; the mark has a price."""
    rows = sorted(
        [
            *tickers(SWAP, (99.0, 101.0), (99.0, None), (99.0, 101.0)),
            *(Mark(SWAP.id, START_NS + n, START_NS + n, 105.0) for n in (0, NS_PER_S, 2 * NS_PER_S)),
        ],
        key=lambda row: row.received_ns,
    )
    caller, _ = run("ticker", rows, SWAP, buys(qk.Cash(1_000)), at_row=2)
    assert order_of(caller).qty == 951  # 1000 / (105 * 0.01 * 1.001)


def test_a_timer_before_the_first_candle_sizes_by_the_last_close_of_the_warm_up() -> None:
    """Nothing else has shown a price by then."""

    class Early(qk.Strategy):
        def on_start(self) -> None:
            self.subscribe_candles(SWAP.id, "1m", warmup=2)
            self.at(START_NS + 2 * NS_PER_MIN + NS_PER_S)

        def on_timer(self, name: str) -> None:
            self.order = self.buy(SWAP.id, qk.Cash(1_000))

    strategy = Early()
    feed = MemoryFeed(candles(SWAP, 90, 100, 101, 102), [SWAP])
    qk.backtest(strategy, data=feed, start=START_NS + 2 * NS_PER_MIN, cash={"USDT": 10_000}, fees=FEES)
    assert (strategy.order.qty, strategy.order.state) == (999, "filled")


# The money ------------------------------------------------------------------------------------------------------------


def test_a_share_of_spot_counts_the_coins_too() -> None:
    """2,000 in cash and 80 coins at 100: a tenth of the account is 10 coins."""
    rows = trades(SPOT, 100, 100, 100, 100)
    caller, _ = run("trade", rows, SPOT, buys(qk.Pct(0.1)), cash={"USDT": 2_000, "BTC": 80}, fees=qk.Fees())
    assert order_of(caller).qty == 10
    caller, _ = run("trade", rows, SPOT, sells(qk.Pct(0.1)), cash={"USDT": 2_000, "BTC": 80}, fees=qk.Fees())
    assert order_of(caller).qty == 10
    # No more than is held; and no more than the cash pays for.
    caller, _ = run("trade", rows, SPOT, sells(qk.Pct(1)), cash={"USDT": 2_000, "BTC": 8}, fees=qk.Fees())
    assert (order_of(caller).qty, order_of(caller).state) == (8, "filled")
    assert order_of(caller).note.endswith("as much as the account takes")


class Beside(Caller):
    """Subscribes to the trades of others as well."""

    def on_start(self) -> None:
        super().on_start()
        self.subscribe_trades(SPOT.id)
        self.subscribe_trades(PAIR.id)


def beside(spot_from: int, size: Any, cash: dict[str, float], report_currency: str) -> Caller:
    """Buy ETH for BTC in a run whose BTC has a price in USDT from some second on."""
    rows = [*trades(COINS, *[0.1] * 5), *trades(SPOT, *[100] * 5)[spot_from:], *trades(PAIR, *[10] * 5)]
    caller = Beside("trade", COINS, buys(size), 3)
    feed = MemoryFeed(sorted(rows, key=lambda row: row.received_ns), [COINS, SPOT, PAIR])
    span = {"start": START_NS, "end": START_NS + 4 * NS_PER_S}
    qk.backtest(caller, data=feed, cash=cash, fees=qk.Fees(), report_currency=report_currency, **span)
    return caller


def test_a_share_is_counted_in_the_currency_that_pays() -> None:
    """ETH is paid in BTC: 1,000 USDT at 100 and 10 BTC are 20 BTC."""
    caller = beside(0, qk.Pct(0.25), {"USDT": 1_000, "BTC": 10}, "USDT")
    assert order_of(caller).qty == 50  # 5 BTC at 0.1


@pytest.mark.parametrize("report_currency", ["USDT", "BTC"])
def test_a_share_needs_the_prices_that_count_the_account(report_currency: str) -> None:
    """BTC has no price in USDT yet: neither is a balance counted, nor a whole turned into coins."""
    with pytest.raises(StrategyError, match="the equity is not known yet"):
        beside(4, qk.Pct(0.25), {"USDT": 1_000}, report_currency)


def test_contracts_count_what_backs_them() -> None:
    """Coins back inverse contracts; the open orders beside take their part."""
    rows = trades(INVERSE, *[100] * 4)
    mark = [Mark(INVERSE.id, START_NS, START_NS, 100.0)]
    caller, result = run("trade", mark + rows, INVERSE, buys(qk.Pct(1)), cash={"BTC": 10}, fees=FEES)
    assert order_of(caller).qty == 99  # 10 * 100 / (10 * 1.001)
    assert [fill.qty for fill in result.outcome.fills] == [99]


def test_open_orders_take_their_part() -> None:
    """A resting limit for 4,000 of 10,000 leaves 6,000; one that is being cancelled leaves all."""

    def call(strategy: Caller, *, cancels: bool) -> qk.Order:
        first = strategy.buy(SWAP.id, 4_000, price=99.0)
        if cancels:
            strategy.cancel(first)
        return strategy.buy(SWAP.id, qk.Pct(1), price=100.0)

    rows = trades(SWAP, 100, 100, 100)
    for cancels, qty in ((False, 6_000), (True, 10_000)):
        caller, result = run("trade", rows, SWAP, lambda s, c=cancels: call(s, cancels=c), fees=qk.Fees())
        assert order_of(caller).qty == qty
        assert "rejected" not in set(result.order_events["state"])


@pytest.mark.parametrize("margin", ["off", "cross", "isolated"])
@pytest.mark.parametrize("at", ["send", "fill"])
def test_what_spot_orders_hold_back_backs_no_size_by_money(margin: str, at: str) -> None:
    """9,000 of 10,000 wait for coins: 1,000 are left for contracts, and the coins are paid for when they come."""

    class Both(qk.Strategy):
        def on_start(self) -> None:
            self.rows = 0
            self.subscribe_candles(SWAP.id, "1m")
            self.subscribe_candles(SPOT.id, "1m")

        def on_candle(self, candle: Candle) -> None:
            self.rows += 1
            if self.rows == 2:
                self.buy(SPOT.id, 100, price=90)
            elif self.rows == 4:
                self.buy(SWAP.id, qk.Pct(1.0), at=at)

    options = {} if margin == "off" else {"margin": margin, "tiers": TIERS}
    rows = sorted(
        [*candles(SWAP, 100, 100, 100, 100, 100), *candles(SPOT, 100, 100, 100, 89, 89)],
        key=lambda row: (row.received_ns, row.instrument),
    )
    feed = MemoryFeed(rows, [SWAP, SPOT])
    result = qk.backtest(Both(), data=feed, cash={"USDT": 10_000}, fees=qk.Fees(), **options)
    assert sorted((fill.instrument, fill.qty) for fill in result.outcome.fills) == [(SPOT.id, 100), (SWAP.id, 1_000)]


def test_a_share_above_one_needs_leverage() -> None:
    """Three times the equity, fees out of it: n u p <= 3 (E - n u p f)."""
    rows = trades(SWAP, *[100] * 3)
    caller, result = run("trade", rows, SWAP, buys(qk.Pct(3)), max_leverage=3)
    assert order_of(caller).qty == 29_910  # 30,000 / (1 * 1.003)
    assert result.outcome.orders[0].state == "filled"
    caller, _ = run("trade", rows, SWAP, buys(qk.Pct(3)))
    assert (order_of(caller).qty, order_of(caller).state) == (9_990, "filled")


def test_a_market_buy_on_spot_leaves_its_reserve() -> None:
    """10,000 / 1.05 / 100 / 1.001; what is held back is free again after the fill."""
    caller, _ = run("trade", trades(SPOT, *[100] * 3), SPOT, buys(qk.Pct(1)))
    assert (order_of(caller).qty, order_of(caller).state) == (95.142, "filled")


@pytest.mark.parametrize(("size", "state"), [(qk.Pct(1), "filled"), (95.142, "rejected")])
def test_the_reserve_of_an_order_by_money_is_what_is_there(size: Any, state: str) -> None:
    """The price has risen by a step on the way: a number is refused for the reserve, a size by money is not."""
    caller, _ = run("trade", trades(SPOT, 100, 100, 100.1, 100.1, 100.1), SPOT, buys(size), latency_ms=2_500)
    assert order_of(caller).state == state


def test_the_price_that_moves_cuts_an_order_by_money() -> None:
    """A contract is carried as far as it can be, coins are bought for what is there."""
    caller, _ = run("trade", trades(SWAP, 100, 100, 101, 101), SWAP, buys(qk.Pct(1)), at_row=2, latency_ms=500)
    assert (order_of(caller).filled_qty, order_of(caller).reason) == (9_891, "insufficient_margin")
    caller, _ = run("trade", trades(SPOT, 100, 100, 110, 110), SPOT, buys(qk.Pct(1)), at_row=2, latency_ms=500)
    assert (order_of(caller).filled_qty, order_of(caller).reason) == (90.818, "insufficient_cash")
    caller, _ = run("candle", candles(SPOT, 100, 101, 101), SPOT, buys(qk.Pct(1)))
    assert (order_of(caller).filled_qty, order_of(caller).reason) == (98.91, "insufficient_cash")


def test_nothing_free_is_refused_for_its_own_reason() -> None:
    """The smallest order goes out, so that the exchange says why."""
    caller, _ = run("trade", trades(SPOT, *[100] * 3), SPOT, buys(qk.Cash(50)), cash={"USDT": 0, "BTC": 1})
    assert (order_of(caller).qty, order_of(caller).reason) == (0.002, "insufficient_cash")
    caller, _ = run("trade", trades(SPOT, *[100] * 3), SPOT, buys(qk.Cash(0.1)))
    assert (order_of(caller).qty, order_of(caller).reason) == (0, "below_min_qty")


def test_the_price_that_has_moved_before_the_arrival_cuts_it_too() -> None:
    """A number is refused there."""
    for size, state, filled in ((qk.Pct(1), "cancelled", 9_891), (9_990, "rejected", 0)):
        rows = trades(SWAP, 100, 100, 101, 101, 101)
        caller, _ = run("trade", rows, SWAP, buys(size), at_row=2, latency_ms=1_500)
        order = order_of(caller)
        assert (order.state, order.reason, order.filled_qty) == (state, "insufficient_margin", filled)


@pytest.mark.parametrize(
    "call",
    [
        buys(qk.Pct(1e308)),
        buys(qk.Cash(1e308)),
        buys(qk.Pct(1e308), at="fill"),
        lambda strategy: strategy.target_pct(strategy.traded.id, 1e308),
        lambda strategy: strategy.target_value(strategy.traded.id, 1e308),
    ],
)
@pytest.mark.parametrize("instrument", [SPOT, SWAP])
def test_more_money_than_there_is_buys_what_the_account_takes(instrument: Instrument, call: Any) -> None:
    """However much it is."""
    caller, _ = run("candle", candles(instrument, 100, 100, 100), instrument, call, fees=qk.Fees())
    assert order_of(caller).filled_qty == (100 if instrument is SPOT else 10_000)


def test_a_limit_by_money_is_cut_to_what_is_there_on_its_arrival() -> None:
    """50 at the open of 104 leave 4,800 of 10,000; at the call they were thought to leave 5,000."""

    def call(strategy: Caller) -> Any:
        strategy.buy(SPOT.id, 50)
        return strategy.buy(SPOT.id, qk.Pct(1.0), price=99.0)

    caller, result = run("candle", candles(SPOT, 100, 104, 98, 98), SPOT, call, fees=qk.Fees())
    assert (order_of(caller).qty, order_of(caller).state) == (48.484, "filled")
    assert result.outcome.cash["USDT"] >= 0
    caller, _ = run("candle", candles(SPOT, 100, 200, 98, 98), SPOT, call, fees=qk.Fees())
    assert (order_of(caller).qty, order_of(caller).reason) == (50.505, "insufficient_cash")  # nothing is left


def test_a_purchase_by_money_at_the_market_is_cut_on_its_arrival() -> None:
    """What is there is counted at the last trade, without a reserve."""

    def call(strategy: Caller) -> Any:
        strategy.buy(SPOT.id, 50, price=106.0)
        return strategy.buy(SPOT.id, qk.Cash(5_000))

    rows = trades(SPOT, 100, 100, 107, 107, 107)
    caller, _ = run("trade", rows, SPOT, call, at_row=2, latency_ms=1_500, fees=qk.Fees())
    assert (order_of(caller).filled_qty, order_of(caller).state) == (43.925, "filled")  # 4,700 / 107


# Risk -----------------------------------------------------------------------------------------------------------------


def test_a_risk_loses_its_share_at_the_stop() -> None:
    """100 / (0.01 (2 + 0.1 + 0.098)) contracts; stopped out at 98 the equity is 1 % down, fees and all."""

    def call(strategy: Caller) -> qk.Order:
        order = strategy.buy(SWAP.id, qk.Risk(0.01, stop=98))
        strategy.sell(SWAP.id, order.qty, stop_price=98.0)
        return order

    caller, result = run("candle", candles(SWAP, 100, 100, 98, 98), SWAP, call)
    assert order_of(caller).qty == 4_549
    assert 9_900 <= result.outcome.equity < 9_900.03
    caller, _ = run("candle", candles(SWAP, 100, 100, 100), SWAP, sells(qk.Risk(0.01, stop=102)))
    assert order_of(caller).qty == 4_541  # 100 / (0.01 (2 + 0.1 + 0.102))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (buys(qk.Risk(0.01)), "Risk needs a stop"),
        (buys(qk.Risk(0.01, stop=100)), "the stop 100 is not below the price 100"),
        (buys(qk.Risk(0.01, stop=101)), "the stop 101 is not below the price 100"),
        (buys(qk.Risk(0.01, stop=101.80000000000001)), "the stop 101.8 is not below the price 100"),
        (sells(qk.Risk(0.01, stop=99)), "the stop 99 is not above the price 100"),
        (lambda s: s.amend(s.buy(SWAP.id, 1, price=90.0), qty=qk.Pct(0.5)), "which is no number"),
        (lambda s: s.quote(SWAP.id, bid=90.0, qty=qk.Pct(0.5)), "give a number"),
        (lambda s: s.target(SWAP.id, qk.Pct(0.5)), "give a number, or use target_pct"),
        (lambda s: s.target_pct(SWAP.id, float("nan")), "is no finite number"),
        (lambda s: s.target_value(SWAP.id, "much"), "is no finite number"),
        (lambda s: s.buy(SWAP.id, 1, at="fill"), "needs a size by money"),
        (lambda s: s.buy(SWAP.id, qk.Pct(1), at="open"), "at 'open' is not known"),
    ],
)
def test_calls_that_cannot_be_sized(call: Callable[[Caller], Any], message: str) -> None:
    """One line each."""
    with pytest.raises(StrategyError, match=message) as raised:
        run("trade", trades(SWAP, *[100] * 3), SWAP, call)
    assert isinstance(raised.value.__cause__, OrderError)


@pytest.mark.parametrize(
    ("side", "stop_loss", "stop"),
    [
        ("buy", qk.StopLoss(98.0), "98"),
        ("buy", qk.StopLoss(trailing_offset=2.5), "97.5"),
        ("sell", qk.StopLoss(trailing_offset=2.5), "102.5"),
        ("buy", qk.StopLoss(trailing_offset_bps=150.0), "98.5"),
        ("buy", qk.StopLoss(), None),
    ],
)
def test_a_risk_without_a_stop_takes_that_of_its_protection(
    side: str, stop_loss: qk.StopLoss, stop: str | None
) -> None:
    """A trailing one as far from the price as it trails."""
    reported = Portfolio({"USDT": 10_000}, [SWAP], mark_of=lambda _: 100.0)
    position = RunPosition(0)
    cursors = make_cursors([Stream("trade", SWAP.id)], {SWAP.id: SWAP})
    prices = LastPrices({SWAP.id: Stream("trade", SWAP.id)}, cursors, Books([], Gaps(), position), position)
    sizing = Sizing(reported, {SWAP.id: FEES}, prices, AnyRoom())
    terms = OrderTerms(stop_loss=stop_loss)
    order = qk.Order(id="bt1", instrument=SWAP.id, side=Side(side), qty=0.0, terms=terms)
    if stop is None:
        with pytest.raises(OrderError, match=r"Risk needs a stop"):
            sizing.size(order, qk.Risk(0.01), "send", [])
        return
    _, amount, _ = sizing.size(order, qk.Risk(0.01), "send", [])
    assert (amount.money, amount.stop) == (100, Decimal(stop))


def test_without_a_price_or_a_value_nothing_is_sized() -> None:
    """A timer comes before the first trade; a share needs the mark of what is held beside."""

    class Early(Caller):
        def on_start(self) -> None:
            super().on_start()
            self.at(START_NS + NS_PER_MS)

        def on_timer(self, name: str) -> None:
            self.answers.append(self.call(self))

    for call, message in (
        (buys(qk.Cash(10)), "there is no price to size by yet"),
        (lambda s: s.target_value(SWAP.id, 10), "target_value BTC-USDT-SWAP: there is no price to size by yet"),
    ):
        rows = [row for row in trades(SWAP, *[100] * 4) if row.received_ns > START_NS]
        feed = MemoryFeed(rows, [SWAP])
        with pytest.raises(StrategyError, match=message):
            qk.backtest(Early("trade", SWAP, call), data=feed, start=START_NS, cash={"USDT": 1_000})


def test_orders_by_money_are_refused_in_the_warm_up_like_others() -> None:
    """No price is needed for that; in `on_start` neither. A target counts from the start on."""

    class Warm(qk.Strategy):
        def on_start(self) -> None:
            self.subscribe_candles(SWAP.id, "1m", warmup=2)
            self.orders = [self.buy(SWAP.id, qk.Pct(0.5))]
            for call in (self.target_pct, self.target_value):
                with pytest.raises(OrderError, match="there is no price in on_start"):
                    call(SWAP.id, 0.5)
            with pytest.raises(OrderError, match="give a number"):
                self.target(SWAP.id, qk.Pct(0.5))  # type: ignore[arg-type]
            self.order = None

        def on_candle(self, candle: Candle) -> None:
            if self.is_warming_up:
                self.orders.append(self.buy(SWAP.id, qk.Pct(0.5)))
                self.target(SWAP.id, 3)
                assert self.target_pct(SWAP.id, 0.5) is None

    strategy = Warm()
    feed = MemoryFeed(candles(SWAP, 90, 100, 101, 102), [SWAP])
    result = qk.backtest(strategy, data=feed, start=START_NS + 2 * NS_PER_MIN, cash={"USDT": 10_000}, fees=FEES)
    assert [(order.state, order.reason, order.qty) for order in strategy.orders] == [("rejected", "warmup", 0)] * 3
    (fill,) = result.outcome.fills
    assert (fill.qty, fill.price) == (5_000, 101)


# Targets --------------------------------------------------------------------------------------------------------------


def test_a_target_by_worth_trades_the_difference() -> None:
    """Half of the equity, then a quarter, then short, then nothing; amended while it is under way."""
    wanted = [("pct", 0.5), ("pct", 0.5), ("value", 2_500), ("pct", -0.25), ("value", 0)]

    class Steps(qk.Strategy):
        def on_start(self) -> None:
            self.subscribe_trades(SWAP.id)
            self.held: list[float] = []
            self.seen = 0

        def on_trade(self, trade: Trade) -> None:
            if self.seen % 2 == 0 and self.seen // 2 < len(wanted):
                kind, number = wanted[self.seen // 2]
                (self.target_pct if kind == "pct" else self.target_value)(SWAP.id, number)
            elif self.seen % 2:
                self.held.append(self.position(SWAP.id))
            self.seen += 1

    strategy = Steps()
    # A trade a second: what is sent at one is filled at the next, and reported before the one after that.
    rows = trades(SWAP, *[100] * 14)
    qk.backtest(strategy, data=MemoryFeed(rows, [SWAP]), cash={"USDT": 10_000}, fees=qk.Fees(), latency_ms=0)
    assert strategy.held[:5] == [5_000, 5_000, 2_500, -2_500, 0]


def test_a_target_under_way_is_amended_and_never_too_large() -> None:
    """The order of the first call counts; the second is cut to what the account takes beside nothing else."""

    def call(strategy: Caller) -> list[Any]:
        first = strategy.target_pct(SWAP.id, 0.5)
        second = strategy.target_pct(SWAP.id, 2.0)
        third = strategy.target_pct(SWAP.id, 2.0)
        return [first, second, third]

    caller, result = run("trade", trades(SWAP, *[100] * 4), SWAP, call)
    ((first, second, third),) = caller.answers
    assert first is second
    assert third is None
    assert (first.qty, first.state) == (9_990, "filled")
    assert first.note == "target_pct 2: 20000 more wanted, as much as the account takes"
    assert len(result.outcome.orders) == 1


class Flattening(qk.Strategy):
    """Goes short beside a bid that is larger than the position, and asks for what closes it."""

    def __init__(self, close: Callable[["Flattening"], qk.Order | None]) -> None:
        super().__init__()
        self.close_it = close

    def on_start(self) -> None:
        self.rows = 0
        self.subscribe_candles(SWAP.id, "1m")

    def on_candle(self, candle: Candle) -> None:
        self.rows += 1
        if self.rows == 1:
            self.sell(SWAP.id, 5_000)
        elif self.rows == 2:
            self.buy(SWAP.id, 14_000, price=90.0)
            self.close_it(self)


@pytest.mark.parametrize("margin", ["off", "cross", "isolated"])
@pytest.mark.parametrize(
    "close",
    [
        lambda strategy: strategy.target_pct(SWAP.id, 0),
        lambda strategy: strategy.target_value(SWAP.id, 0),
        lambda strategy: strategy.buy(SWAP.id, qk.Cash(5_000)),
        lambda strategy: strategy.buy(SWAP.id, qk.Cash(5_000), at="fill"),
    ],
)
def test_what_closes_is_free_beside_an_open_order_of_its_side(margin: str, close: Any) -> None:
    """Short 5,000 against 10,000 USDT, and a bid for 14,000 that rests: all of the 5,000 are bought back."""
    options = {} if margin == "off" else {"margin": margin, "tiers": TIERS}
    feed = MemoryFeed(candles(SWAP, 100, 100, 100, 100), [SWAP])
    result = qk.backtest(Flattening(close), data=feed, cash={"USDT": 10_000}, fees=qk.Fees(), **options)
    assert [(fill.side, fill.qty) for fill in result.outcome.fills] == [("sell", 5_000), ("buy", 5_000)]


@pytest.mark.parametrize(("instrument", "filled"), [(SPOT, 98.039), (SWAP, 9_803)])
def test_a_target_by_worth_cuts_the_order_of_a_target_before_it(instrument: Instrument, filled: float) -> None:
    """10,000 at an open of 102: the order under way becomes one that is sized by money."""

    def call(strategy: Caller) -> Any:
        strategy.target(instrument.id, 1)
        return strategy.target_pct(instrument.id, 1.0)

    caller, result = run("candle", candles(instrument, 100, 102, 102), instrument, call, fees=qk.Fees())
    assert (order_of(caller).filled_qty, len(result.outcome.orders)) == (filled, 1)


@pytest.mark.parametrize(
    ("name", "number", "note"),
    [
        ("target_pct", 3, "target_pct 3: 30000 more wanted, as much as the account takes"),
        ("target_value", -50_000.5, "target_value -50000.5: 50000 more wanted, as much as the account takes"),
        ("target_pct", 0.5, ""),
    ],
)
def test_a_target_that_is_cut_says_so(name: str, number: float, note: str) -> None:
    """In the note of its order, as a size by money does."""
    caller, _ = run("trade", trades(SWAP, *[100] * 4), SWAP, lambda strategy: getattr(strategy, name)(SWAP.id, number))
    assert (order_of(caller).note, order_of(caller).state) == (note, "filled")


def test_a_target_on_spot_is_never_short() -> None:
    """Below zero is none; nothing is sent for less than the smallest order."""

    def call(strategy: Caller) -> list[Any]:
        return [strategy.target_value(SPOT.id, 0.1), strategy.target_pct(SPOT.id, -1.0)]

    cash = {"USDT": 1_000, "BTC": 5}
    caller, result = run("trade", trades(SPOT, *[100] * 4), SPOT, call, cash=cash, fees=qk.Fees())
    assert caller.answers == [[None, None]]
    assert result.outcome.orders == []


def test_an_order_that_a_target_of_worth_sends_is_cut_not_refused() -> None:
    """The price has moved on its way."""
    caller, _ = run(
        "trade",
        trades(SWAP, 100, 100, 101, 101),
        SWAP,
        lambda strategy: strategy.target_pct(SWAP.id, 1.0),
        at_row=2,
        latency_ms=500,
    )
    assert (order_of(caller).qty, order_of(caller).filled_qty) == (9_990, 9_891)


# The largest that the account takes -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    generators.sampled_from(("trade", "ticker", "candle")),
    generators.sampled_from((SPOT, SWAP, INVERSE)),
    generators.booleans(),
    generators.integers(500, 2_000),
    generators.sampled_from(
        (qk.Fees(), qk.Fees(taker_bps=7.5), qk.Fees(taker_bps=2, per_order=0.3, min_per_order=1.25))
    ),
    generators.sampled_from((1, 2.5, 10)),
    generators.booleans(),
)
def test_all_of_the_account_is_neither_refused_nor_cut_and_a_step_more_is(
    kind: str,
    instrument: Instrument,
    is_buy: bool,
    tenths: int,
    fees: qk.Fees,
    leverage: float,
    has_limit: bool,
) -> None:
    """At a price that stands still, for each kind of instrument and of data, with the bound that the leverage gives."""
    price = tenths / 10
    rows = {
        "trade": trades(instrument, *[price] * 4),
        "ticker": tickers(instrument, *[(price, price)] * 4),
        "candle": candles(instrument, *[price] * 4),
    }[kind]
    rows = [Mark(instrument.id, START_NS, START_NS, price), *rows] if instrument is INVERSE else rows
    # A limit as good as a market order, with another reserve.
    limit = {"price": price} if has_limit and kind == "ticker" else {}
    side, currency = "buy" if is_buy or instrument.is_spot else "sell", instrument.settle_currency
    options: dict[str, Any] = {"cash": {currency: 1_000}, "fees": fees, "max_leverage": leverage}
    size = qk.Pct(1.0 if instrument.is_spot else leverage)
    caller, _ = run(kind, rows, instrument, lambda s: getattr(s, side)(instrument.id, size, **limit), **options)
    order = order_of(caller)
    assert (order.state, order.filled_lots) == ("filled", order.lots)
    more = instrument.qty(order.lots + 1)
    caller, _ = run(kind, rows, instrument, lambda s: getattr(s, side)(instrument.id, more, **limit), **options)
    order = order_of(caller)
    assert order.state in ("rejected", "cancelled")
    assert order.reason in ("insufficient_cash", "insufficient_margin")
