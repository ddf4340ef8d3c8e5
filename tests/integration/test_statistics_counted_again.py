"""The statistics of runs counted a second time, from fills and prices alone, on each kind of instrument and data."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from oracle.statistics import DAY_NS, Count, Market

import quantkit as qk
from quantkit.clock import NS_PER_MIN, time_ns_of
from quantkit.events import Candle, Funding, Mark, MarketEvent, Trade
from quantkit.instruments import Instrument, Side
from quantkit.report.result import Result
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import BLOCK_ROWS, read_blocks
from quantkit.storage.writer import Writer

ROOT = Path(__file__).parents[2]
NAME = "binance:BTC-USDT-SWAP"
START_NS = time_ns_of("2025-05-05")
NS_PER_HOUR = 60 * NS_PER_MIN
HOURS = 26 * 24
SWAP = Instrument("AAA-USDT-SWAP", kind="swap", price_step="0.01", qty_step="0.1")
OTHER = Instrument("BBB-USDT-SWAP", kind="swap", price_step="0.01", qty_step="0.1", contract_value="0.5")
COIN = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.01", qty_step="1", contract_value="100", is_inverse=True)
SPOT = Instrument("BTC-USDT", price_step="0.01", qty_step="0.001")


def same(result: Result, count: Count, *, beside: Iterable[str] = ()) -> None:
    """Compare each number that was counted; those that no fill and no price gives are listed."""
    counted = count.statistics()
    uncounted = {"start", "end", "duration", "ended", "drawdown_marks", "benchmark", "variants", "deflated_sharpe"}
    uncounted |= {"return_low_pct", "return_high_pct", "sharpe_low", "sharpe_high", "block_days"}  # of 2,000 draws
    assert set(counted) | uncounted | set(beside) == set(result.numbers)
    for key, value in counted.items():
        ours = result.numbers[key]
        if isinstance(ours, timedelta):
            assert ours / timedelta(microseconds=1) == pytest.approx(value / 1_000, abs=1), key
        else:
            assert ours == pytest.approx(value, rel=1e-9, abs=1e-12), key


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
    market = Market(prices, unit=Fraction(result.instruments[NAME].unit), step=Fraction("0.001"))
    fee, grid_ns = Fraction("0.0005"), NS_PER_MIN
    count = Count(outcome.fills, {NAME: market}, Fraction(9_000), **span, benchmark=NAME, taker=fee, grid_ns=grid_ns)
    same(result, count, beside=() if "probabilistic_sharpe" in count.statistics() else ["probabilistic_sharpe"])


# Other instruments and other data, made up -------------------------------------------------------------------------


class Turner(qk.Strategy):
    """Goes from one position to the next every few rows, on each instrument in its own order."""

    instruments: tuple[str, ...]
    sizes: tuple[float, ...]
    every_rows: int = 11
    is_on_trades: bool = False

    def on_start(self) -> None:
        for name in self.instruments:
            if self.is_on_trades:
                self.subscribe_trades(name)
            else:
                self.subscribe_candles(name, "1h")
        self.rows = dict.fromkeys(self.instruments, 0)

    def on_candle(self, candle: qk.Candle) -> None:
        self.turn(candle.instrument)

    def on_trade(self, trade: qk.Trade) -> None:
        self.turn(trade.instrument)

    def turn(self, name: str) -> None:
        self.rows[name] += 1
        turns, rest = divmod(self.rows[name], self.every_rows + self.instruments.index(name))
        if not rest:
            self.target(name, self.sizes[turns % len(self.sizes)])


def walk(seed: int, rows: int, base: float) -> list[float]:
    steps = np.random.default_rng(seed).normal(0, 0.008, rows).cumsum()
    return [round(float(price), 2) for price in base * np.exp(steps)]


def hourly(instrument: Instrument, seed: int, base: float) -> list[Candle]:
    """Return candles whose opens lie off the close before."""
    candles, closes = [], walk(seed, HOURS + 1, base)
    for hour, (before, close) in enumerate(pairwise(closes)):
        open_ns, opened = START_NS + hour * NS_PER_HOUR, round(before * 1.0007, 2)
        close_ns = open_ns + NS_PER_HOUR
        high, low = max(opened, close) + 0.5, min(opened, close) - 0.5
        candles.append(
            Candle(instrument.id, close_ns, close_ns, open_ns, close_ns, opened, high, low, close, 1e6, "1h")
        )
    return candles


def closes_of(candles: Sequence[Candle]) -> list[tuple[int, float]]:
    return [(candle.close_ns, candle.close) for candle in candles]


def run(
    folder: Path, instruments: Sequence[Instrument], rows: Iterable[Sequence[MarketEvent]], **options: Any
) -> Result:
    """Store rows, and turn on them from the first day on until the middle of the last."""
    with Writer(folder, source="generated") as writer:
        for instrument in instruments:
            writer.write_instrument(instrument)
        for events in rows:
            writer.write(Block.from_events(list(events)))
    params = {"instruments": tuple(instrument.id for instrument in instruments), **options.pop("params")}
    return qk.backtest(
        Turner,
        params=params,
        data=folder,
        start="2025-05-05",
        end="2025-05-30T12:00:00Z",
        equity_every="1h",
        **{"fees": qk.Fees(maker_bps=2, taker_bps=7), **options},
    )


def count_of(
    result: Result, markets: dict[str, Market], cash: int, benchmark: str, taker: Fraction = Fraction("0.0007")
) -> Count:
    """Count a run, within its span."""
    outcome = result.outcome
    assert len(result.trips.closed) > 10
    within = {
        name: replace(
            market,
            prices=[(at_ns, price) for at_ns, price in market.prices if outcome.start_ns <= at_ns <= outcome.end_ns],
        )
        for name, market in markets.items()
    }
    span = {"start_ns": outcome.start_ns, "end_ns": outcome.end_ns}
    money = Fraction(cash)
    return Count(outcome.fills, within, money, **span, benchmark=benchmark, taker=taker, grid_ns=NS_PER_HOUR)


def test_on_spot_with_fees_in_coins(tmp_path: Path) -> None:
    """What a fee leaves below the step of sizes is no position, and goes into the next trip at its cost."""
    candles = hourly(SPOT, 1, 100.0)
    sizes = {"sizes": (2.0, 0.0, 3.5, 1.0, 0.0)}
    result = run(tmp_path, [SPOT], [candles], cash={"USDT": 1_000}, params=sizes, fees=None)
    assert {fill.fee_currency for fill in result.outcome.fills} == {"BTC", "USDT"}
    market = Market(closes_of(candles), "spot", step=Fraction("0.001"))
    same(result, count_of(result, {SPOT.id: market}, 1_000, benchmark=SPOT.id, taker=Fraction("0.001")))


def test_on_an_inverse_contract(tmp_path: Path) -> None:
    """Profit in coins, of one over the price."""
    candles = hourly(COIN, 2, 100.0)
    result = run(tmp_path, [COIN], [candles], cash={"BTC": 20}, params={"sizes": (9.0, -7.0, 0.0, 12.0, -3.0)})
    market = Market(closes_of(candles), "inverse", unit=Fraction(100), step=Fraction(1))
    same(result, count_of(result, {COIN.id: market}, 20, benchmark=COIN.id))


def test_on_several_instruments_against_the_second(tmp_path: Path) -> None:
    """Round trips of all, one equity, and a benchmark that is not the first traded."""
    rows = {SWAP: hourly(SWAP, 3, 100.0), OTHER: hourly(OTHER, 4, 60.0)}
    sizes = {"sizes": (3.0, -2.0, 0.0, 1.5)}
    result = run(tmp_path, [*rows], rows.values(), cash={"USDT": 1_000}, params=sizes, benchmark=OTHER.id)
    markets = {
        instrument.id: Market(closes_of(candles), unit=Fraction(instrument.unit), step=Fraction("0.1"))
        for instrument, candles in rows.items()
    }
    same(result, count_of(result, markets, 1_000, benchmark=OTHER.id))


def test_on_trades(tmp_path: Path) -> None:
    """Each trade is looked at, and an order fills at the one after its arrival."""
    stamps = range(START_NS + 41 * 10**9, START_NS + HOURS * NS_PER_HOUR, 13 * NS_PER_MIN)
    prices = walk(5, len(stamps), 100.0)
    trades = [Trade(SWAP.id, at_ns, at_ns, price, 1.0, Side.BUY) for at_ns, price in zip(stamps, prices, strict=True)]
    params = {"sizes": (3.0, -2.0, 0.0, 1.5), "every_rows": 37, "is_on_trades": True}
    result = run(tmp_path, [SWAP], [trades], cash={"USDT": 1_000}, params=params)
    market = Market(list(zip(stamps, prices, strict=True)), step=Fraction("0.1"), is_filled_first=True)
    same(result, count_of(result, {SWAP.id: market}, 1_000, benchmark=SWAP.id))


@pytest.mark.parametrize("first_mark_ns", [START_NS, START_NS + NS_PER_HOUR], ids=["valued", "settled"])
def test_with_funding(first_mark_ns: int, tmp_path: Path) -> None:
    """A settlement takes its share of what was held before it, at its mark; marks that span the run value it too."""
    candles = hourly(SWAP, 6, 100.0)
    marked = [(START_NS, 99.0), *((at_ns, round(close * 0.999, 2)) for at_ns, close in closes_of(candles))]
    marked = [(at_ns, price) for at_ns, price in marked if at_ns >= first_mark_ns]
    marks = [Mark(SWAP.id, at_ns, at_ns, price) for at_ns, price in marked]
    chance = np.random.default_rng(7)
    settled = range(START_NS + 3 * NS_PER_HOUR, START_NS + 26 * DAY_NS, 8 * NS_PER_HOUR)
    rates = [(at_ns, round(float(chance.normal(0, 0.002)), 6)) for at_ns in settled]
    funding = [Funding(SWAP.id, at_ns, at_ns, rate, at_ns, True) for at_ns, rate in rates]
    sizes = {"sizes": (3.0, -2.0, 0.0, 1.5)}
    result = run(tmp_path, [SWAP], [candles, marks, funding], cash={"USDT": 1_000}, params=sizes)
    assert result.numbers["funding_received"]
    prices = marked if first_mark_ns == START_NS else closes_of(candles)
    market = Market(prices, step=Fraction("0.1"), rates=rates, settled_at=marked)
    same(result, count_of(result, {SWAP.id: market}, 1_000, benchmark=SWAP.id))
