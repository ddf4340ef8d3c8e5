"""A moving-average cross on candles."""

from quantkit import Candle, Strategy
from quantkit.indicators import Sma


class MaCross(Strategy):
    """Hold `qty` while the fast average is above the slow one, else nothing."""

    instrument: str = "binance:BTC-USDT-SWAP"  # what the sample data holds
    interval: str = "1h"
    fast: int = 10
    slow: int = 30
    qty: float = 0.05

    def on_start(self) -> None:
        self.subscribe_candles(self.instrument, self.interval, warmup=self.slow)
        self.fast_ma, self.slow_ma = Sma(self.fast), Sma(self.slow)

    def on_candle(self, candle: Candle) -> None:
        fast, slow = self.fast_ma.update(candle.close), self.slow_ma.update(candle.close)
        if self.slow_ma.is_ready:
            self.target(candle.instrument, self.qty if fast > slow else 0.0)
