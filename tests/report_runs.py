"""Runs whose pages the tests look at: made of generated rows, small, the same each time."""

from pathlib import Path

import numpy as np

import quantkit as qk
from quantkit.clock import NS_PER_MIN, time_ns_of
from quantkit.events import Candle, MarketEvent
from quantkit.instruments import Instrument
from quantkit.report.result import Result
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer

START_NS = time_ns_of("2025-05-05")
BTC = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.001")
ETH = Instrument("ETH-USDT-SWAP", kind="swap", price_step="0.01", qty_step="0.001")
#: The minute whose wick stands alone, and its prices.
SPIKE = 4_000
SPIKE_HIGH, SPIKE_LOW = 57_123.4, 41_234.5
#: What a page must show as it is.
HOSTILE = "</script><img src=x onerror=window.owned=1>{{hash}}\u202e&amp;"


class Turns(qk.Strategy):
    """Holds each instrument for `held` candles of every `period`."""

    instruments: tuple[str, ...] = (BTC.id,)
    period: int = 60
    held: int = 25
    word: str = "plain"

    def on_start(self) -> None:
        for name in self.instruments:
            self.subscribe_candles(name, "1m")
        self.seen = dict.fromkeys(self.instruments, 0)

    def on_candle(self, candle: Candle) -> None:
        name = candle.instrument
        self.seen[name] += 1
        place = self.seen[name] % self.period
        if place == 1:
            self.buy(name, 0.01, tag=self.word)
            self.sell(name, 0.01, stop_price=candle.close * 0.97, reduce_only=True)
        elif place == self.held:
            self.cancel_all(name)
            self.close(name)


class Silent(qk.Strategy):
    """Trades nothing."""

    def on_start(self) -> None:
        self.subscribe_candles(BTC.id, "1m")


def store(root: Path, *, days: int = 5, instruments: tuple[Instrument, ...] = (BTC,)) -> Path:
    """Store minute candles of a random walk; one of BTC has a spike on both sides."""
    with Writer(root, source="generated") as writer:
        for seed, instrument in enumerate(instruments):
            writer.write_instrument(instrument)
            ticks = 500_000 + np.cumsum(np.random.default_rng(seed).integers(-60, 61, (days * 1440, 5)).ravel())
            rows = (ticks.reshape(-1, 5) / (10 if instrument is BTC else 100)).round(2)
            candles: list[MarketEvent] = [_candle(instrument, minute, row.tolist()) for minute, row in enumerate(rows)]
            writer.write(Block.from_events(candles))
    return root


def _candle(instrument: Instrument, minute: int, prices: list[float]) -> Candle:
    open_ns = START_NS + minute * NS_PER_MIN
    close_ns = open_ns + NS_PER_MIN
    low, high = min(prices), max(prices)
    if instrument is BTC and minute == SPIKE:
        low, high = SPIKE_LOW, SPIKE_HIGH
    return Candle(instrument.id, close_ns, close_ns, open_ns, close_ns, prices[0], high, low, prices[-1], 500.0, "1m")


def run(root: Path, strategy: qk.Strategy | None = None) -> Result:
    """Run a strategy over what `store` wrote."""
    return qk.backtest(strategy or Turns(), data=root, cash={"USDT": 100_000})
