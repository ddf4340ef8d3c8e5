"""A channel breakout with a protective stop, on candles."""

from quantkit import Candle, Fill, Order, Strategy


class Breakout(Strategy):
    """Buy a new `window`-candle high; leave at a stop `stop_pct` below the entry, or on a new low."""

    instrument: str = "binance:ETH-USDT-SWAP"
    interval: str = "15m"
    window: int = 48
    stop_pct: float = 1.5
    qty: float = 1.0

    def on_start(self) -> None:
        self.subscribe_candles(self.instrument, self.interval, warmup=self.window)
        self.stop: Order | None = None

    def on_candle(self, candle: Candle) -> None:
        past = self.history(self.instrument, self.interval, self.window + 1)[:-1]
        if len(past) < self.window:
            return
        held = self.position(self.instrument)
        if held == 0 and candle.close > max(c.high for c in past):
            self.buy(self.instrument, self.qty, tag="entry")
        elif held > 0 and candle.close < min(c.low for c in past[-self.window // 2 :]):
            self.close(self.instrument)

    def on_fill(self, fill: Fill) -> None:
        if fill.tag == "entry":
            stop_price = fill.price * (1 - self.stop_pct / 100)
            self.stop = self.sell(fill.instrument, fill.qty, stop_price=stop_price, reduce_only=True, tag="stop")
