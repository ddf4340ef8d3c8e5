"""A channel breakout with a protective stop, on candles."""

from quantkit import Candle, Fill, Strategy


class Breakout(Strategy):
    """Buy a new high of `window` candles; leave at a stop `stop_pct` below, or on a low of half the window."""

    instrument: str = "binance:ETH-USDT-SWAP"  # what the sample data holds
    interval: str = "15m"
    window: int = 48
    stop_pct: float = 1.5
    qty: float = 1.0

    def on_start(self) -> None:
        self.subscribe_candles(self.instrument, self.interval, warmup=self.window)

    def on_candle(self, candle: Candle) -> None:
        past = self.history(self.instrument, self.interval, self.window + 1)[:-1]  # the last one is `candle` itself
        if len(past) < self.window:
            return
        held = self.position(self.instrument)
        if held == 0 and candle.close > max(c.high for c in past):
            self.buy(self.instrument, self.qty, tag="entry")
        elif held > 0 and candle.close < min(c.low for c in past[self.window // 2 :]):
            self.close(self.instrument)  # takes the stop off the market too

    def on_fill(self, fill: Fill) -> None:
        if fill.tag == "entry":
            stop_price = fill.price * (1 - self.stop_pct / 100)
            self.sell(fill.instrument, fill.qty, stop_price=stop_price, reduce_only=True, tag="stop")
