"""Small runs in which a strategy makes one call about an order, on rows of any kind."""

from collections.abc import Callable, Sequence
from typing import Any

import quantkit as qk
from quantkit.clock import NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.events import BookUpdate, Candle, MarketEvent, Ticker, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side

SPOT = Instrument("BTC-USDT", price_step="0.1", qty_step="0.001", min_qty="0.002")
SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
INVERSE = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="10", is_inverse=True)
COINS = Instrument("ETH-BTC", price_step="0.001", qty_step="0.001")
PAIR = Instrument("ETH-USDT", price_step="0.1", qty_step="0.001")
START_NS = time_ns_of("2025-01-01")
FEES = qk.Fees(taker_bps=10)
_TIER = {"max_qty": "10000000", "maintenance_rate": "0.004", "max_leverage": "100"}
#: For runs with margin.
TIERS = {"BTC-USDT": [_TIER], "BTC-USD": [_TIER]}


def candles(instrument: Instrument, *prices: float) -> list[MarketEvent]:
    """Return one-minute candles, each flat at its price."""
    rows: list[MarketEvent] = []
    for n, price in enumerate(prices):
        open_ns, close_ns = START_NS + n * NS_PER_MIN, START_NS + (n + 1) * NS_PER_MIN
        rows.append(Candle(instrument.id, close_ns, close_ns, open_ns, close_ns, price, price, price, price, 1e9, "1m"))
    return rows


def trades(instrument: Instrument, *prices: float) -> list[MarketEvent]:
    """Return a trade a second."""
    stamps = [START_NS + n * NS_PER_S for n in range(len(prices))]
    return [Trade(instrument.id, at, at, price, 1.0, Side.BUY) for at, price in zip(stamps, prices, strict=True)]


def tickers(instrument: Instrument, *quotes: tuple[float | None, float | None]) -> list[MarketEvent]:
    """Return a bid and an ask a second."""
    stamps = [START_NS + n * NS_PER_S for n in range(len(quotes))]
    return [
        Ticker(instrument.id, at, at, bid, bid and 1e6, ask, ask and 1e6)
        for at, (bid, ask) in zip(stamps, quotes, strict=True)
    ]


def books(instrument: Instrument, *books: tuple[dict[float, float], dict[float, float]]) -> list[MarketEvent]:
    """Return a snapshot a second."""
    rows: list[MarketEvent] = []
    for n, (bids, asks) in enumerate(books):
        at = START_NS + n * NS_PER_S
        sides = tuple(bids), tuple(bids.values()), tuple(asks), tuple(asks.values())
        rows.append(BookUpdate(instrument.id, at, at, *sides, True))
    return rows


class Caller(qk.Strategy):
    """Makes one call at a row, and keeps what comes of it."""

    def __init__(self, kind: str, instrument: Instrument, call: Callable[["Caller"], Any], at_row: int = 1) -> None:
        super().__init__()
        self.kind, self.traded, self.call, self.at_row = kind, instrument, call, at_row
        self.answers: list[Any] = []

    def on_start(self) -> None:
        self.rows = 0
        match self.kind:
            case "candle":
                self.subscribe_candles(self.traded.id, "1m")
            case "trade":
                self.subscribe_trades(self.traded.id)
            case "ticker":
                self.subscribe_tickers(self.traded.id)
            case "book":
                self.subscribe_book(self.traded.id)

    def on_candle(self, candle: Candle) -> None:
        self._row()

    def on_trade(self, trade: Trade) -> None:
        self._row()

    def on_ticker(self, ticker: Ticker) -> None:
        self._row()

    def on_book(self, book: qk.Book) -> None:
        self._row()

    def _row(self) -> None:
        self.rows += 1
        if self.rows == self.at_row:
            self.answers.append(self.call(self))


def run(
    kind: str,
    rows: Sequence[MarketEvent],
    instrument: Instrument,
    call: Callable[[Caller], Any],
    *,
    at_row: int = 1,
    instruments: Sequence[Instrument] = (),
    block_rows: int = 1_000,
    **options: Any,
) -> tuple[Caller, qk.Result]:
    """Run a caller and return it with the result."""
    feed = MemoryFeed(rows, [instrument, *instruments], block_rows=block_rows)
    strategy = Caller(kind, instrument, call, at_row)
    options = {"cash": {"USDT": 10_000}, "fees": FEES} | options
    return strategy, qk.backtest(strategy, data=feed, **options)


def buys(size: Any, **more: Any) -> Callable[[Caller], Any]:
    """Return a call that buys."""
    return lambda strategy: strategy.buy(strategy.traded.id, size, **more)


def sells(size: Any, **more: Any) -> Callable[[Caller], Any]:
    """Return a call that sells."""
    return lambda strategy: strategy.sell(strategy.traded.id, size, **more)


def order_of(caller: Caller) -> qk.Order:
    """Return the order that a call has returned."""
    (order,) = caller.answers
    assert isinstance(order, qk.Order)
    return order
