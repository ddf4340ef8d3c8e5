"""What a result says of its largest fills against the volume of their rows."""

import pytest

from quantkit.clock import NS_PER_MIN, time_ns_of
from quantkit.events import Candle
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument
from quantkit.options import RunOptions
from quantkit.simulated import simulated_run
from quantkit.strategy import Strategy

START_NS = time_ns_of("2026-01-01")
HOURLY, FIVES = "A-USDT", "B-USDT"


class Both(Strategy):
    """Buys each at the first candle that it sees an hour into the data."""

    def on_start(self) -> None:
        self._bought = set[str]()
        self.subscribe_candles(HOURLY, "1h")
        self.subscribe_candles(FIVES, "5m")

    def on_candle(self, candle: Candle) -> None:
        due_ns = START_NS + (60 if candle.instrument == HOURLY else 65) * NS_PER_MIN
        if candle.close_ns >= due_ns and candle.instrument not in self._bought:
            self._bought.add(candle.instrument)
            self.buy(candle.instrument, 1)


def candles(name: str, interval: str, minutes: int, volume: float) -> list[Candle]:
    """Return four hours of them."""
    found = []
    for open_ns in range(START_NS, START_NS + 240 * NS_PER_MIN, minutes * NS_PER_MIN):
        close_ns = open_ns + minutes * NS_PER_MIN
        prices = (100.0, 101.0, 99.0, 100.0)
        found.append(Candle(name, close_ns, close_ns, open_ns, close_ns, *prices, volume, interval))
    return found


@pytest.mark.parametrize("block_rows", [1, 5, 131_072])
def test_instruments_are_told_of_in_one_order(block_rows: int) -> None:
    """Theirs: a long candle may close many batches after its open filled an order, or in the same one."""
    events = sorted(
        [*candles(HOURLY, "1h", 60, 1000.0), *candles(FIVES, "5m", 5, 500.0)], key=lambda candle: candle.close_ns
    )
    instruments = [Instrument(name, price_step="1", qty_step="1") for name in (HOURLY, FIVES)]
    outcome = simulated_run(MemoryFeed(events, instruments, block_rows=block_rows), Both(), RunOptions()).run()
    said = "which does not cap fills on candles"
    assert [text for text in outcome.assumptions if "largest fill" in text] == [
        f"{HOURLY}: the largest fill was 0.10% of its candle's volume, {said}",
        f"{FIVES}: the largest fill was 0.20% of its candle's volume, {said}",
    ]
