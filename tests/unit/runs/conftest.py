"""Backtests over a frame of daily bars, as quick as a run can be, and folders of runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import quantkit as qk

GOOG = qk.Instrument("GOOG", quote="USD", price_step="0.01", qty_step="1", kind="swap", settle="USD")


class Now(qk.Strategy):
    """Holds `qty` on every other day from a day on."""

    qty: float = 1.0
    first_day: int = 1
    api_key: str = ""
    limit: float = float("inf")

    def on_start(self) -> None:
        self.subscribe_candles("GOOG", "1d")
        self.days = 0

    def on_candle(self, candle: qk.Candle) -> None:
        self.days += 1
        if self.days >= self.first_day:
            self.target("GOOG", self.qty if self.days % 2 else 0)


def daily(days: int) -> pd.DataFrame:
    """Return daily bars."""
    opens = 100 + np.cumsum(np.random.default_rng(5).integers(-3, 4, days)).astype(float)
    columns = {"open": opens, "high": opens + 2, "low": opens - 2, "close": opens + 1, "volume": 1000.0}
    return pd.DataFrame(columns, index=pd.date_range("2025-01-01", periods=days, freq="D", tz="UTC"))


def run_now(keep: Path | None = None, *, days: int = 40, bars: pd.DataFrame | None = None, **options: Any) -> qk.Result:
    """Run a backtest over some days, or over bars that are given."""
    given: dict[str, Any] = {"cash": {"USD": 10_000}, **options}
    strategy = given.pop("strategy", Now)
    data = {"GOOG": daily(days) if bars is None else bars}
    return qk.backtest(strategy, data=data, instruments=[GOOG], keep=keep, **given)


@pytest.fixture
def run() -> Callable[..., qk.Result]:
    """`run_now`, for tests."""
    return run_now


@pytest.fixture
def frame() -> Callable[[int], pd.DataFrame]:
    """Makes daily bars."""
    return daily


@pytest.fixture
def now() -> type[Now]:
    """The strategy."""
    return Now
