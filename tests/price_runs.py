"""Small runs over candles that tests of price paths share."""

from pathlib import Path

import quantkit as qk
from quantkit.clock import NS_PER_MIN, time_ns_of
from quantkit.events import Candle, MarketEvent
from quantkit.instruments import Instrument
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer

START_NS = time_ns_of("2025-05-05")
BTC = Instrument("BTC-USDT", price_step="0.5", qty_step="0.1")
ETH = Instrument("ETH-USDT", price_step="0.5", qty_step="0.1")
MINUTES = 30


class Buyer(qk.Strategy):
    """Buys once of `first`, then of the others."""

    instruments: tuple[str, ...] = ()
    kind: str = "candle"

    def on_start(self) -> None:
        for name in self.instruments:
            if self.kind == "candle":
                self.subscribe_candles(name, "1m")
            else:
                getattr(self, f"subscribe_{self.kind}")(name)
        self.every("5m")
        self.left = [*self.instruments]

    def on_timer(self, name: str) -> None:
        if self.left:
            self.buy(self.left.pop(), 0.1)


def candle(instrument: Instrument, minute: int, price: float) -> Candle:
    open_ns = START_NS + minute * NS_PER_MIN
    close_ns = open_ns + NS_PER_MIN
    ohlc = (price, price + 2, price - 3, price + 1)
    return Candle(instrument.id, close_ns, close_ns, open_ns, close_ns, *ohlc, 5.0, "1m")


def candles(instrument: Instrument, base: float = 100.0) -> list[MarketEvent]:
    return [candle(instrument, minute, base + minute % 7) for minute in range(MINUTES)]


def folder_of(path: Path, *rows: list[MarketEvent]) -> Path:
    with Writer(path, source="test") as writer:
        for instrument in (BTC, ETH):
            writer.write_instrument(instrument)
        for events in rows:
            writer.write(Block.from_events(events))
    return path
