"""Two-sided quotes on a book, leaned against the position."""

from quantkit import Book, Strategy


class Quoter(Strategy):
    """Quote `qty` on both sides, `half_spread_bps` off the mid, moved against what is held."""

    instrument: str = "binance:BTC-USDT-SWAP"  # what the sample data holds
    half_spread_bps: float = 1.0
    skew_bps: float = 0.5  # per `qty` held
    max_position: float = 0.05
    qty: float = 0.01
    refresh: str = "250ms"

    def on_start(self) -> None:
        self.subscribe_book(self.instrument)
        self.every(self.refresh)

    def on_timer(self, name: str) -> None:
        book: Book | None = self.book(self.instrument)
        if book is None or book.mid is None:
            self.cancel_all(self.instrument)  # never quote against a book that nobody can see
            return
        held = self.position(self.instrument)
        center = book.mid * (1 - self.skew_bps * 1e-4 * held / self.qty)
        half = book.mid * self.half_spread_bps * 1e-4
        self.quote(
            self.instrument,
            bid=center - half if held < self.max_position else None,
            ask=center + half if held > -self.max_position else None,
            qty=self.qty,
        )
