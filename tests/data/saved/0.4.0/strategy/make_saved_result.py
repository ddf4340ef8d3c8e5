"""Save a short run with every type of order, by the quantkit that is imported: `saved/<version>` is made by this."""

import sys

import quantkit as qk

INSTRUMENTS = ("binance:BTC-USDT-SWAP", "binance:ETH-USDT-SWAP")


class EveryOrder(qk.Strategy):
    """Every half hour an order of the next type, in turn on two instruments."""

    qty: float = 0.1

    def on_start(self) -> None:
        for instrument in INSTRUMENTS:
            self.subscribe_candles(instrument, "1m")
        self.every("30m")
        self.count = 0

    def on_timer(self, name: str) -> None:
        instrument = INSTRUMENTS[self.count % 2]
        last = self.history(instrument, "1m", 1)
        if not last:
            return
        close, step = last[-1].close, self.count // 2 % 8
        self.count += 1
        match step:
            case 0:
                self.buy(instrument, self.qty, tag="in")
            case 1:
                self.sell(instrument, self.qty / 2, price=close * 1.0005)
            case 2:
                self.sell(instrument, self.qty, stop_price=close * 0.9995, tag="stop")
            case 3:
                self.buy(instrument, self.qty, stop_price=close * 1.0005, price=close * 1.001)
            case 4:
                self.sell(instrument, self.qty, price=close * 1.05, post_only=True)
            case 5:
                for order in self.open_orders(instrument):
                    if order.stop_price is None:
                        self.amend(order, price=close * 1.04)
                    else:
                        self.cancel(order)
            case 6:
                self.cancel_all(instrument)
                self.sell(instrument, self.qty * 50, reduce_only=True)
            case _:
                self.close(instrument)


def run(strategy: qk.Strategy, data: str) -> qk.Result:
    """Run it on the sample data."""
    return qk.backtest(
        strategy,
        data=data,
        start="2025-05-06T12:00:00Z",
        end="2025-05-07T06:00:00Z",
        cash={"USDT": 100_000},
        fees=qk.Fees(maker_bps=2, taker_bps=5),
        equity_every="1h",
        seed=7,
    )


if __name__ == "__main__":
    print(run(EveryOrder(), "data").save(sys.argv[1]))
