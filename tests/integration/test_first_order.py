"""Orders that reach a market before its first price are judged by that price itself."""

import numpy as np
import pandas as pd
import pytest

import quantkit as qk
from quantkit.clock import NS_PER_MS
from quantkit.events import Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.options import RunOptions
from quantkit.simulated import simulated_run

GOOG = qk.Instrument("GOOG", quote="USD", price_step="0.01", qty_step="1")


class Hold(qk.Strategy):
    """Buys at the very start and keeps it."""

    qty: float = 10.0

    def on_start(self) -> None:
        self.subscribe_candles("GOOG", "1d")
        self.target("GOOG", self.qty)


class HoldTrades(qk.Strategy):
    """The same on trades."""

    def on_start(self) -> None:
        self.subscribe_trades("GOOG")
        self.target("GOOG", 1)


def frame() -> pd.DataFrame:
    """Return ten days of a rising price."""
    index = pd.date_range("2024-01-01", periods=10, freq="D", tz="UTC")
    opens = np.arange(100.0, 110.0)
    return pd.DataFrame(
        {"Open": opens, "High": opens + 1, "Low": opens - 1, "Close": opens + 0.5, "Volume": 50.0}, index=index
    )


@pytest.mark.parametrize("search", [True, False])
def test_buy_and_hold_fills_at_the_first_open(*, search: bool) -> None:
    """A target set in `on_start` is filled at the first candle's open, at its stamp."""
    result = qk.backtest(
        Hold, data={"GOOG": frame()}, instruments=[GOOG], cash={"USD": 10_000}, fees=qk.Fees(0, 10), search=search
    )
    fill = result.outcome.fills[0]
    assert len(result.outcome.fills) == 1
    assert (fill.price, fill.qty) == (100.0, 10.0)
    assert result.fills.index[0] == pd.Timestamp("2024-01-01", tz="UTC")
    assert float(result.outcome.equity) == pytest.approx(10_000 - 1000 - 1 + 10 * 109.5)


def test_the_first_price_bounds_what_can_be_bought() -> None:
    """Cash is judged by the first price too: what it cannot pay is refused."""
    result = qk.backtest(Hold(qty=100), data={"GOOG": frame()}, instruments=[GOOG], cash={"USD": 10_000})
    assert [(order.state, order.reason) for order in result.outcome.orders] == [("rejected", "insufficient_cash")]


@pytest.mark.parametrize("search", [True, False])
def test_on_trades_the_first_one_to_come_after_the_arrival_fills(*, search: bool) -> None:
    """The order arrives 20 ms after the start; the trade at 0 ms is not its price, the one at 30 ms is."""

    def trade(at_ms: int, price: float) -> Trade:
        return Trade("GOOG", at_ms * NS_PER_MS, at_ms * NS_PER_MS, price, 1.0, qk.Side.BUY)

    feed = MemoryFeed([trade(0, 100.0), trade(30, 101.0), trade(90, 102.0)], [GOOG])
    outcome = simulated_run(feed, HoldTrades(), RunOptions(cash={"USD": 1000}, start_ns=0, search=search)).run()
    assert [fill.price for fill in outcome.fills] == [101.0]


class Averages(qk.Strategy):
    """Wants thirty candles before it begins."""

    def on_start(self) -> None:
        self.subscribe_candles("GOOG", "1d", warmup=30)
        self.warm: list[int] = []

    def on_candle(self, candle: qk.Candle) -> None:
        self.warm.append(len(self.history("GOOG", "1d", 100)))


def test_a_warm_up_over_weekends_is_whole() -> None:
    """The start moves on until thirty candles lie before it, and not further."""
    index = pd.bdate_range("2024-01-01", periods=60, tz="UTC")
    prices = {name: np.full(60, 100.0) for name in ("open", "high", "low", "close")}
    strategy = Averages()
    result = qk.backtest(
        strategy, data={"GOOG": pd.DataFrame(prices, index=index)}, instruments=[GOOG], cash={"USD": 1}
    )
    assert not any("warm-up" in text for text in result.warnings)
    assert len(strategy.warm) == 60
    start = pd.Timestamp(result.outcome.start_ns, tz="UTC")
    assert pd.Timestamp("2024-02-10", tz="UTC") <= start <= pd.Timestamp("2024-02-14", tz="UTC")
