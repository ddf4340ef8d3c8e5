"""Following the pressure of the book, confirmed by trades."""

from quantkit import Book, Side, Strategy, Trade
from quantkit.indicators import Ema


class Imbalance(Strategy):
    """Hold `qty` on the side where the displayed size and the recent trades both lean."""

    instrument: str = "binance:BTC-USDT-SWAP"  # what the sample data holds
    levels: int = 10
    book_threshold: float = 0.6  # of -1 (only asks) to +1 (only bids)
    flow_window: int = 200  # trades
    flow_threshold: float = 0.3  # of -1 (only sellers take) to +1 (only buyers take)
    qty: float = 0.01

    def on_start(self) -> None:
        self.subscribe_book(self.instrument)
        self.subscribe_trades(self.instrument)
        self.flow = Ema(self.flow_window)

    def on_trade(self, trade: Trade) -> None:
        self.flow.update(1.0 if trade.side is Side.BUY else -1.0)

    def on_book(self, book: Book) -> None:
        if not self.flow.is_ready:
            return
        lean = book.imbalance(self.levels)
        if lean > self.book_threshold and self.flow.value > self.flow_threshold:
            self.target(self.instrument, self.qty)
        elif lean < -self.book_threshold and self.flow.value < -self.flow_threshold:
            self.target(self.instrument, -self.qty)
