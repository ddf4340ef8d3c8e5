"""Following a trend with a share of the equity, on candles."""

from quantkit import Candle, Strategy


class Momentum(Strategy):
    """Hold `fraction` of the equity while the price is above that of `window` candles ago, else nothing."""

    instrument: str = "binance:SOL-USDT-SWAP"  # what the sample data holds
    interval: str = "1h"
    window: int = 72
    fraction: float = 0.9

    def on_start(self) -> None:
        self.subscribe_candles(self.instrument, self.interval, warmup=self.window)

    def on_candle(self, candle: Candle) -> None:
        past = self.history(self.instrument, self.interval, self.window + 1)  # the last one is `candle` itself
        if self.is_warming_up or len(past) <= self.window:
            return
        held = self.position(self.instrument)
        if held == 0 and candle.close > past[0].close:
            coins = self.fraction * self.equity / candle.close
            contract = self.instrument_info(self.instrument)
            self.buy(self.instrument, contract.qty_for(base=coins, price=candle.close))
        elif held > 0 and candle.close < past[0].close:
            self.close(self.instrument)
