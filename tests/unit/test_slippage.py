"""Named slippage: what takes on trades and candles fills worse by, worked out by hand and against the oracle."""

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from oracle.match import difference, naive, real
from oracle.scenarios import Scenario
from oracle.scripted import Act, Scripted

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.errors import ConfigError
from quantkit.events import Candle, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.slippage import ClosedBar, estimated_spread, slippage_model, volatility

BTC = "BTC-USDT-SWAP"
SWAP = Instrument(BTC, kind="swap", price_step="0.01", qty_step="1")
START_NS = time_ns_of("2026-01-01")
B, S = Side.BUY, Side.SELL


class SendsFive(qk.Strategy):
    """Sends one order of five at the row of a number."""

    candles: bool = True
    row: int = 3
    side: str = "buy"
    price: float = 0.0

    def on_start(self) -> None:
        self.rows = 0
        if self.candles:
            self.subscribe_candles(BTC, "1m")
        else:
            self.subscribe_trades(BTC)

    def on_candle(self, candle: qk.Candle) -> None:
        self.count()

    def on_trade(self, trade: qk.Trade) -> None:
        self.count()

    def count(self) -> None:
        self.rows += 1
        if self.rows == self.row:
            (self.buy if self.side == "buy" else self.sell)(BTC, 5, price=self.price or None)


def taken(rows: list[Any], slippage: str | None, **more: Any) -> float:
    """Return the price of the only fill."""
    is_candle = isinstance(rows[0], Candle)
    options: dict[str, Any] = {"latency_ms": None if is_candle else 1, "cash": {"USDT": 1e6}, "slippage": slippage}
    result = qk.backtest(SendsFive(candles=is_candle, **more), data=MemoryFeed(rows, [SWAP]), **options)
    [fill] = result.outcome.fills
    return fill.price


def candles(*bars: tuple[float, float, float, float, float]) -> list[Any]:
    """Return a candle a minute: open, high, low, close, volume."""
    found = []
    for number, bar in enumerate(bars):
        open_ns = START_NS + number * NS_PER_MIN
        close_ns = open_ns + NS_PER_MIN
        found.append(Candle(BTC, close_ns, close_ns, open_ns, close_ns, *bar, "1m"))
    return found


def trades(*prints: tuple[int, float, float, Side]) -> list[Any]:
    """Return trades: second, price, size, aggressor."""
    return [
        Trade(BTC, START_NS + at * NS_PER_S, START_NS + at * NS_PER_S, price, qty, side, number)
        for number, (at, price, qty, side) in enumerate(prints)
    ]


#: The last candle is worlds apart from the others: it fills, and says nothing of itself.
BARS = [(100, 102, 99, 101, 40), (101, 103, 100, 102, 60), (102, 103, 100, 101, 140), (200, 999, 1, 500, 1e9)]
SIGMA = math.sqrt((math.log(102 / 101) ** 2 + math.log(101 / 102) ** 2) / 2)


def test_the_root_of_the_part_of_the_volume() -> None:
    """The mean volume behind the two returns is 100; five of it are a twentieth."""
    worse = SIGMA * math.sqrt(0.05)
    assert taken(candles(*BARS), "sqrt:1") == pytest.approx(200 * (1 + worse), abs=0.01)
    assert taken(candles(*BARS), "sqrt:2") == pytest.approx(200 * (1 + 2 * worse), abs=0.01)
    assert taken(candles(*BARS), "sqrt:2", side="sell") == pytest.approx(200 * (1 - 2 * worse), abs=0.01)
    assert taken(candles(*BARS), "sqrt:1") > 200


def test_an_unknown_volume_counts_as_the_order_alone() -> None:
    bars = [(*bar[:4], float("nan")) for bar in BARS]
    assert taken(candles(*bars), "sqrt:1") == pytest.approx(200 * (1 + SIGMA), abs=0.01)


def test_with_fewer_than_two_returns_nothing_is_known() -> None:
    assert taken(candles(*BARS), "sqrt:1", row=2) == 102.0
    assert taken(candles(*BARS), "half_spread", row=2) == 102.01  # half a step, rounded up


def test_half_a_spread_that_candles_suggest() -> None:
    """Closes bounce between the highs and the lows: bid and ask are these."""
    bars = [(100, 101, 99, 101, 9), (100, 101, 99, 99, 9), (100, 101, 99, 101, 9), (100, 101, 99, 99, 9)]
    spread = estimated_spread([ClosedBar(*bar[1:]) for bar in bars[:3]])
    assert spread == pytest.approx(0.02, abs=1e-4)
    assert taken(candles(*bars), "half_spread") == pytest.approx(100 * (1 + spread / 2), abs=0.01)


def test_half_a_spread_between_buyers_and_sellers() -> None:
    """The print that fills has no say."""
    rows = trades((0, 100, 1, S), (1, 101, 1, B), (2, 100.4, 1, S), (3, 100.5, 1, B), (4, 90, 1, S))
    assert taken(rows, "half_spread", row=3) == pytest.approx(100.5 + 0.3)
    assert taken(rows, "half_spread", row=4) == pytest.approx(90 + 0.05)
    assert taken(rows, "half_spread", row=1) == pytest.approx(101.01)  # nobody bought before: half a step


def test_minutes_of_trades_are_bars() -> None:
    """The minute of the fill has not closed."""
    rows = trades((0, 90, 1, S), (50, 100, 49, S), (61, 50, 20, B), (70, 101, 40, B), (150, 100, 140, B))
    rows += trades((185, 300, 1, B), (190, 200, 1, B))
    worse = math.sqrt((math.log(1.01) ** 2 + math.log(1 / 1.01) ** 2) / 2) * math.sqrt(5 / 100)
    assert taken(rows, "sqrt:1", row=6) == pytest.approx(200 * (1 + worse), abs=0.01)


def test_a_limit_is_kept_and_a_price_stays_above_nothing() -> None:
    assert taken(candles(*BARS), "sqrt:100", price=200.5) == 200.5
    thin = candles(*((*bar[:4], 1e-6) for bar in BARS))
    assert taken(thin, "sqrt:100", side="sell", price=100.5) == 100.5
    assert taken(candles(*BARS), "sqrt:100", side="sell") == pytest.approx(
        200 * (1 - 100 * SIGMA * 0.05**0.5), abs=0.01
    )
    assert taken(thin, "sqrt:100", side="sell") == 0.01


def test_basis_points_are_the_plain_option() -> None:
    rows = candles(*BARS)
    plain = qk.backtest(SendsFive(), data=MemoryFeed(rows, [SWAP]), cash={"USDT": 1e6}, slippage_bps=50)
    assert [fill.price for fill in plain.outcome.fills] == [taken(rows, "bps:50")] == [201.0]


def test_prices_that_have_no_logarithm_are_left_out() -> None:
    bars = [ClosedBar(1.0, -1.0, 0.0, 1.0)] * 4
    assert (volatility(bars), estimated_spread(bars)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sqr:1", r"slippage is 'sqr:1'; did you mean sqrt:1\?"),
        ("bp", r"slippage is 'bp'; did you mean bps:1\?"),
        ("half-spread", r"slippage is 'half-spread'; did you mean half_spread\?"),
        ("much", r"slippage is 'much'; there are half_spread, bps:N, sqrt:C, for example sqrt:1"),
        (3, r"slippage is 3; there are half_spread, bps:N, sqrt:C"),
        ("bps:-1", r"slippage 'bps:-1' needs basis points from 0 to below 10000; for example bps:2"),
        ("bps:nan", r"slippage 'bps:nan' needs basis points"),
        ("sqrt", r"slippage 'sqrt' needs a factor above 0, at most 100; for example sqrt:1"),
        ("sqrt:0", r"slippage 'sqrt:0' needs a factor above 0"),
    ],
)
def test_what_names_none_is_refused(name: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        qk.backtest(SendsFive(), data=MemoryFeed(candles(*BARS), [SWAP]), slippage=name)
    assert "\n" not in str(caught.value)


def test_one_of_two_ways_is_enough() -> None:
    with pytest.raises(ConfigError, match="give one of them"):
        qk.backtest(SendsFive(), data=MemoryFeed(candles(*BARS), [SWAP]), slippage="bps:1", slippage_bps=1)


def test_the_assumptions_name_it() -> None:
    result = qk.backtest(SendsFive(), data=MemoryFeed(candles(*BARS), [SWAP]), slippage="sqrt:1", cash={"USDT": 1e6})
    assert "on trades and candles, what takes fills worse than the traded price by sqrt:1" in result.assumptions
    assert result.config["slippage"] == "sqrt:1"
    assert slippage_model("half_spread").needs_past


@pytest.mark.parametrize("slippage", ["sqrt:5", "half_spread"])
@pytest.mark.parametrize("max_share", [None, 0.5])
def test_the_oracle_has_the_same_minutes_and_spreads(slippage: str, max_share: float | None) -> None:
    """With the search and without, and however batches are cut."""
    dice, at_ns, events = Random(7), START_NS, list[Trade]()
    for number in range(250):
        at_ns += dice.choice((0, 1, 5, 13, 30)) * NS_PER_S
        price, side = 100.0 + dice.randint(-30, 30) / 10, dice.choice((B, S))
        late_ns = dice.choice((1, 1, 20_000)) * 1_000_000
        events.append(Trade(BTC, at_ns - late_ns, at_ns, price, float(dice.randint(1, 9)), side, number))

    def script(number: int, hook: str, strategy: Scripted) -> Sequence[Act]:
        what = Random(number)
        price = None if what.random() < 0.7 else 100.0 + what.randint(-3, 3)
        return [Act(what.choice(("buy", "sell")), BTC, what.randint(1, 9), price)] if hook == "timer" else ()

    scenario = Scenario(
        events=tuple(events),
        instruments=(SWAP,),
        match_on={BTC: "trade"},
        fees={BTC: Fees(maker_bps=1, taker_bps=3)},
        latency_ns=20_000_000,
        start_ns=START_NS,
        end_ns=events[-1].received_ns,
        subscriptions=(("trade", BTC, "", 0),),
        hooks=(),
        acts={},
        timers=("20s",),
        cash={"USDT": 100_000.0},
        slippage=slippage,
        max_share=max_share,
    )
    slow = real(scenario, search=False, strategy=scenario.strategy_with(script))
    assert len(slow.fills) > 40
    for other in (
        naive(scenario, strategy=scenario.strategy_with(script)),
        real(scenario, strategy=scenario.strategy_with(script)),
        real(scenario, strategy=scenario.strategy_with(script), block_rows=7),
    ):
        assert not difference(slow, other)
