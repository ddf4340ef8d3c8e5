"""The statistics of the example strategies over the sample data, counted a second time from fills and prices alone."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from oracle.statistics import Count

import quantkit as qk
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import BLOCK_ROWS, read_blocks

ROOT = Path(__file__).parents[2]
NAME = "binance:BTC-USDT-SWAP"


@pytest.mark.parametrize("end", ["2025-05-21", "2025-06-01T10:30:00Z"])
@pytest.mark.parametrize(
    "params", [{}, {"fast": 4, "slow": 9, "qty": 0.03}, {"interval": "15m", "fast": 20, "slow": 50}]
)
def test_every_statistic_is_what_fills_and_prices_say(params: dict[str, Any], end: str) -> None:
    """Orders fill at the open after a candle; the second count knows no curve, no round trip and no formula of ours."""
    file, cash = str(ROOT / "strategies" / "ma_cross.py"), {"USDT": 9_000}
    result = qk.backtest(file, data=ROOT / "data", start="2025-05-10", end=end, cash=cash, params=params)
    outcome = result.outcome
    assert len(result.trips.closed) > 4
    span = {"start_ns": outcome.start_ns, "end_ns": outcome.end_ns}
    blocks = read_blocks(Catalog(ROOT / "data"), Stream("candle", NAME, "1m"), block_rows=BLOCK_ROWS, **span)
    prices = [
        (stamp, close)
        for block in blocks
        for stamp, close in zip(block.column("received_ns").tolist(), block.column("close").tolist(), strict=True)
    ]
    unit = Fraction(result.instruments[NAME].unit)
    counted = Count(outcome.fills, prices, unit, Fraction(9_000), **span).statistics()
    assert len(counted) > 20
    for key, value in counted.items():
        assert result.numbers[key] == pytest.approx(value, rel=1e-9, abs=1e-12), key
