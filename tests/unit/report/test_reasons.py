"""Statistics that have no value say why, and whatever pair of the run converts does."""

from decimal import Decimal

import msgspec
import numpy as np
import pandas as pd
import pytest

import quantkit as qk
from quantkit.engine.outcome import EquityCurve
from quantkit.report import stats

SWAP = qk.Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.001")
PAIR = qk.Instrument("USDT-USD", price_step="0.0001", qty_step="0.01")


class Two(qk.Strategy):
    """Buys at one candle of the swap, sells at another; the pair beside it is never traded."""

    sells: int = 5

    def on_start(self) -> None:
        self.subscribe_candles(SWAP.id, "1m")
        self.subscribe_candles(PAIR.id, "1m")
        self.seen = 0

    def on_candle(self, candle: qk.Candle) -> None:
        self.seen += candle.instrument == SWAP.id
        if candle.instrument == SWAP.id and self.seen == 2:
            self.buy(SWAP.id, 0.01)
        if candle.instrument == SWAP.id and self.seen == self.sells:
            self.sell(SWAP.id, 0.01)


def run(*, sells: int = 5) -> qk.Result:
    index = pd.date_range("2024-01-01", periods=10, freq="1min", tz="UTC")

    def bars(prices: object) -> pd.DataFrame:
        return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), prices) | {"volume": 1.0}, index=index)

    return qk.backtest(
        Two(sells=sells),
        data={SWAP.id: bars([100.0 + number for number in range(10)]), PAIR.id: bars(0.5)},
        instruments=[SWAP, PAIR],
        cash={"USD": 1000, "USDT": 1000},
        fees=qk.Fees(2, 5),
    )


def test_a_pair_that_did_not_trade_converts() -> None:
    """Fees, turnover and profit are counted at its last mark, half a dollar."""
    result = run()
    assert result.outcome.position_mark == {SWAP.id: 109.0, PAIR.id: 0.5}
    assert result.stats["fees_paid"] == pytest.approx(float(result.outcome.fees["USDT"]) / 2, rel=1e-12)
    assert result.stats["expectancy"] == pytest.approx(float(result.round_trips["pnl"].iloc[0]) / 2, rel=1e-12)
    assert result.stats["turnover"] == pytest.approx((0.01 * 102 + 0.01 * 105) / 2 / 1500, rel=1e-4)
    assert run(sells=0).stats["equity_closed"] is not None


def test_every_statistic_without_a_value_is_named_once() -> None:
    """With the reason, one sentence for each."""
    for result in (run(), run(sells=0)):
        missing = result.stats.index[result.stats.isna()].tolist()
        said = [text for text in result.warnings if text.startswith("no ")]
        named = [key for text in said for key in text.removeprefix("no ").split(":")[0].split(", ")]
        assert sorted(named) == sorted(missing)
        assert any("less than a day" in text for text in said)
    assert any(text.endswith(": no trade was closed") for text in said)


def test_what_has_no_rate_or_mark_is_named() -> None:
    """The currency with the pair that had no price; the position that nobody priced."""
    result = run()
    outcome = msgspec.structs.replace(result.outcome, position_mark={SWAP.id: 109.0})
    said = qk.Result(outcome, result.config, result.instruments).warnings
    assert any(
        "fees_paid" in text and "USDT cannot be counted in USD, as USDT-USD had no price" in text for text in said
    )
    alone = qk.Result(outcome, result.config, {SWAP.id: SWAP}).warnings
    assert any("USDT cannot be counted in USD, as no instrument of the run converts it" in text for text in alone)
    held = run(sells=0)
    outcome = msgspec.structs.replace(held.outcome, position_mark={PAIR.id: 0.5})
    said = qk.Result(outcome, held.config, held.instruments).warnings
    assert any("no equity_closed: BTC-USDT-SWAP is held and has no mark" in text for text in said)


def test_long_runs_name_what_their_days_lack() -> None:
    """Days that are all alike have no deviation; a run that began with nothing has no return."""
    result = run()
    day_ns, start_ns = 86_400 * 10**9, result.outcome.start_ns
    times = start_ns + np.arange(6) * day_ns
    flat, none = np.full(6, 1500.0), np.zeros(6)
    outcome = msgspec.structs.replace(
        result.outcome,
        end_ns=int(times[-1]),
        curve=EquityCurve(times, flat, flat, none, none),
        starting_equity=Decimal(1500),
        equity=Decimal(1500),
    )
    long = qk.Result(outcome, result.config, result.instruments)
    assert long.stats["sharpe_ratio"] is None
    assert any("sharpe_ratio" in text and "all alike" in text for text in long.warnings)
    broke = msgspec.structs.replace(outcome, starting_equity=Decimal(0))
    assert any(
        text.endswith("the run began with nothing") for text in qk.Result(broke, {}, result.instruments).warnings
    )


def test_a_result_that_lacks_nothing_says_nothing() -> None:
    """No sentence without a reason."""
    result = run()
    numbers = dict.fromkeys(stats.STATS, 1.0)
    assert stats.missing(result.outcome, result.instruments, result.trips, numbers) == []
