"""What a fee in coins leaves over: a strategy can see that it is flat, and everything agrees on what a position is."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import quantkit as qk

ROOT = Path(__file__).parents[2]
HOURS = 60
STRICT = qk.Instrument("BTC-USDT", price_step="0.01", qty_step="0.00001")
#: As on OKX: orders may be as fine as a hundred-millionth, but none is smaller than a thousand of them.
FINE = qk.Instrument("BTC-USDT", price_step="0.01", qty_step="0.00000001", min_qty="0.00001")


class InAndOut(qk.Strategy):
    """Buys at every fifth hour when flat and leaves three hours later, the way that `leave` says."""

    leave: str = "close"

    def on_start(self) -> None:
        self.subscribe_candles("BTC-USDT", "1h")
        self.hours = self.entries = 0
        self.flat: list[bool] = []

    def on_candle(self, candle: qk.Candle) -> None:
        self.hours += 1
        held = self.position("BTC-USDT")
        self.flat.append(held == 0)
        if held == 0 and self.hours % 5 == 0:
            self.buy("BTC-USDT", 0.031234)
            self.entries += 1
        elif held > 0 and self.hours % 5 == 3:
            match self.leave:
                case "close":
                    self.close("BTC-USDT")
                case "target":
                    self.target("BTC-USDT", 0)
                case "sell":
                    self.sell("BTC-USDT", held)
                case _:
                    self.sell("BTC-USDT", 1, reduce_only=True)


def frame() -> pd.DataFrame:
    """Return hours whose open is the close before."""
    closes = np.round(40_000 + 50 * np.sin(np.arange(HOURS) / 3), 2)
    opens = np.r_[40_000.0, closes[:-1]]
    return pd.DataFrame(
        {
            "open": opens,
            "high": np.maximum(opens, closes),
            "low": np.minimum(opens, closes),
            "close": closes,
            "volume": 100.0,
        },
        index=pd.date_range("2024-01-01", periods=HOURS, freq="1h", tz="UTC"),
    )


def run(instrument: qk.Instrument, strategy: InAndOut, fees: qk.Fees | None = None) -> qk.Result:
    """Run on spot, by default with OKX's fees in coins."""
    return qk.backtest(
        strategy,
        data={"BTC-USDT": frame()},
        instruments=[instrument],
        cash={"USDT": 10_000},
        fees=fees or qk.Fees.okx_spot(),
    )


@pytest.mark.parametrize("leave", ["close", "target", "sell", "reduce only"])
@pytest.mark.parametrize("instrument", [STRICT, FINE], ids=["step", "minimum"])
def test_dust_does_not_end_the_trading(instrument: qk.Instrument, leave: str) -> None:
    """Twelve entries in sixty hours, as with fees in money, and the coins that are left are named once."""
    strategy = InAndOut(leave=leave)
    result = run(instrument, strategy)
    in_money = InAndOut(leave=leave)
    run(instrument, in_money, qk.Fees(8, 10, "quote"))
    assert strategy.entries == in_money.entries == 12
    assert strategy.flat == in_money.flat
    assert len(result.round_trips) == 11
    (told,) = [text for text in result.warnings if "left over" in text]
    rest = result.outcome.position_qty["BTC-USDT"]
    assert 0 < rest < instrument.min_qty
    assert told == (
        f"BTC-USDT: {rest.normalize():f} BTC is left over that cannot be sold (size step {instrument.qty_step:f}, "
        "smallest order 0.00001); it counts as no position"
    )
    assert len(result.fills) == 22
    # Three of every five hours.
    assert result.numbers["exposure_time_pct"] == pytest.approx(100 * 11 * 3 / 60, abs=0.1)


def test_nothing_is_said_where_nothing_is_left() -> None:
    """Fees in money leave no dust, and coins of the starting cash are none."""
    result = run(STRICT, InAndOut(), qk.Fees(8, 10, "quote"))
    assert not any("left over" in text for text in result.warnings)


def test_coins_of_the_starting_cash_are_no_position() -> None:
    """They are neither shown nor closed, and dust beside them stays named."""
    strategy = InAndOut()
    result = qk.backtest(
        strategy,
        data={"BTC-USDT": frame()},
        instruments=[STRICT],
        cash={"USDT": 10_000, "BTC": 1.5},
        fees=qk.Fees.okx_spot(),
    )
    assert strategy.entries == 12
    assert result.outcome.cash["BTC"] - result.outcome.position_qty["BTC-USDT"] == Decimal("1.5")


def test_the_shipped_breakout_trades_as_often_with_fees_in_coins() -> None:
    """Its size is not one that the fee divides evenly, so that every entry leaves dust."""
    options = {"data": ROOT / "data", "params": {"qty": 0.7123}, "end": "2025-05-20"}
    spot = qk.Instrument("binance:ETH-USDT-SWAP", price_step="0.01", qty_step="0.0001")
    coins, money = (
        qk.backtest(str(ROOT / "strategies" / "breakout.py"), instruments=[spot], fees=fees, **options)
        for fees in (qk.Fees(8, 10, "received"), qk.Fees(8, 10, "quote"))
    )
    assert len(coins.round_trips) == len(money.round_trips) > 3
    assert list(coins.round_trips.index) == list(money.round_trips.index)
