"""The model exchange's market: books, trades, quotes, marks and bars that remember everything they ever were."""

import asyncio
import bisect
import itertools
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
import numpy as np
from simulation.virtual import VirtualLoop

MS: Final = 1_000_000
BAR_MS: Final = 60_000
_LEVELS: Final = 12


class Row(NamedTuple):
    """One push of a channel: the envelope's `action` (empty without one) and the row's JSON."""

    action: str
    data: str


class Print(NamedTuple):
    """One aggregated trade: the ids it stands for, its time, price and size."""

    first_id: int
    last_id: int
    ts_ms: int
    price: float
    qty: float


class Levels(NamedTuple):
    """A whole book: size by price."""

    bids: dict[float, float]
    asks: dict[float, float]


class SimMarket:
    """One instrument with its whole past.

    Attributes:
        books: Every state the book was ever in, by (seq, exchange ms).
        prints: Every trade.
        quotes, marks: Exchange ms of every ticker and mark price.
        bars: Every closed one-minute bar, by open ms, as OKX's row.
        unasked: Which of the books were published as snapshots that nobody asked for.
        restated: Exchange ms of quotes and marks that one connection was sent twice; this market has none.
    """

    def __init__(self, name: str, loop: VirtualLoop, rng: np.random.Generator, *, pace_s: float) -> None:
        self.name = name
        self.publish: Callable[[str, SimMarket, Row], None] = lambda channel, market, row: None
        self.books: dict[tuple[int, int], Levels] = {}
        self.prints: list[Print] = []
        self.quotes: list[int] = []
        self.marks: list[int] = []
        self.bars: dict[int, list[str]] = {}
        self.unasked: set[tuple[int, int]] = set()
        self.restated: set[int] = set()
        self.pace_s = pace_s
        self.is_quiet = False
        self._loop = loop
        self._rng = rng
        self._mid = int(rng.integers(5_000, 50_000))
        self._bids = {self._mid - 1 - step: self._size() for step in range(_LEVELS)}
        self._asks = {self._mid + 1 + step: self._size() for step in range(_LEVELS)}
        self._seq = int(rng.integers(1_000, 1_000_000))
        self._ts_ms = self._book_ms = 0
        self._forming: list[float] = []
        self._forming_ms = 0
        self._remember(self._next_ms())
        self._trade()
        self._quote()
        self._mark()

    # Time --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Let the market live until it is cancelled."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 1.5) * self.pace_s)
            self._close_bar()
            if self.is_quiet:
                continue
            for _ in range(int(self._rng.integers(1, 3))):
                self.change()
            if self._rng.random() < 0.5:
                self.publish("trades", self, self._trade())
            self.publish("tickers", self, self._quote())
            self.publish("mark-price", self, self._mark())
            self.publish("candle1m", self, Row("", msgspec.json.encode(self._bar("0")).decode()))

    def _next_ms(self) -> int:
        """Return the exchange's time, above every stamp before."""
        self._ts_ms = max(self._loop.wall_ns() // MS, self._ts_ms + 1)
        return self._ts_ms

    # The book ----------------------------------------------------------------------------------------------------

    def change(self) -> None:
        """Move some levels, keeping the book uncrossed, and publish the update."""
        before_bids, before_asks = dict(self._bids), dict(self._asks)
        step = int(self._rng.integers(-2, 3))
        self._mid += step
        for price in [price for price in self._bids if price >= self._mid]:
            del self._bids[price]
        for price in [price for price in self._asks if price <= self._mid]:
            del self._asks[price]
        for _ in range(int(self._rng.integers(1, 5))):
            self._bids[self._mid - int(self._rng.integers(1, 20))] = self._size()
            self._asks[self._mid + int(self._rng.integers(1, 20))] = self._size()
        for price in sorted(self._bids)[: max(0, len(self._bids) - _LEVELS)]:
            del self._bids[price]
        for price in sorted(self._asks, reverse=True)[: max(0, len(self._asks) - _LEVELS)]:
            del self._asks[price]
        prev, self._seq = self._seq, self._seq + int(self._rng.integers(1, 100))
        # OKX also removes levels that its subscribers never had.
        stray = {self._mid + 400: 0} if self._rng.random() < 0.2 else {}
        self._push(prev, _changes(before_bids, self._bids), {**_changes(before_asks, self._asks), **stray})

    def keep_alive(self) -> None:
        """Say that nothing has changed: equal numbers, no levels."""
        self._push(self._seq, {}, {})

    def reset_sequence(self) -> None:
        """Go on at a lower number, as after maintenance."""
        prev, self._seq = self._seq, int(self._rng.integers(1, 500))
        self._push(prev, {}, {})

    def snapshot(self) -> Row:
        """Return the whole book as a subscriber gets it first."""
        return self._row("snapshot", -1, self._bids, self._asks, self._book_ms)

    def whole_again(self) -> None:
        """Publish a snapshot that nobody asked for."""
        self._seq += 5
        self._remember(self._next_ms())
        self.unasked.add((self._seq, self._book_ms))
        self.publish("books", self, self.snapshot())

    def recent_seqs(self, count: int = 4) -> list[int]:
        """Return the numbers of the last states of the book."""
        return [seq for seq, _ in itertools.islice(reversed(self.books), count)]

    @property
    def seq(self) -> int:
        """The newest sequence number."""
        return self._seq

    def crossing(self, prev_seq: int) -> Row:
        """Return an update as a damaged exchange might send it: in sequence, and crossing the book."""
        return self._row("update", prev_seq, {self._mid + 300: 100}, {}, self._book_ms)

    def rest_book(self) -> str:
        """Return the data of `GET /market/books`."""
        return self.snapshot().data

    def _push(self, prev: int, bids: dict[int, int], asks: dict[int, int]) -> None:
        ts_ms = self._next_ms()
        self._remember(ts_ms)
        self.publish("books", self, self._row("update", prev, bids, asks, ts_ms))

    def _remember(self, ts_ms: int) -> None:
        self._book_ms = ts_ms
        self.books[self._seq, ts_ms] = Levels(_numbers(self._bids), _numbers(self._asks))

    def _row(self, action: str, prev: int, bids: dict[int, int], asks: dict[int, int], ts_ms: int) -> Row:
        return Row(
            action,
            f'{{"asks":{_texts(asks)},"bids":{_texts(bids)},"ts":"{ts_ms}","checksum":0,'
            f'"prevSeqId":{prev},"seqId":{self._seq}}}',
        )

    def _size(self) -> int:
        return int(self._rng.integers(1, 1000))

    # Trades, quotes, marks, bars ---------------------------------------------------------------------------------

    def last_trade(self) -> Row:
        """Return the newest trade, the first push of a subscription."""
        last = self.prints[-1]
        return Row(
            "",
            f'{{"instId":"{self.name}","tradeId":"{last.last_id}","px":"{last.price:.1f}","sz":"{last.qty:g}",'
            f'"side":"buy","ts":"{last.ts_ms}","count":"{last.last_id - last.first_id + 1}","source":"0",'
            f'"seqId":{self._seq}}}',
        )

    def last_quote(self) -> Row:
        """Return the newest ticker, the first push of a subscription."""
        bid, ask = max(self._bids), min(self._asks)
        return Row(
            "",
            f'{{"instType":"SPOT","instId":"{self.name}","last":"{self.prints[-1].price:.1f}","lastSz":"1",'
            f'"askPx":"{ask / 10:.1f}","askSz":"{self._asks[ask] / 100:g}","bidPx":"{bid / 10:.1f}",'
            f'"bidSz":"{self._bids[bid] / 100:g}","open24h":"1","high24h":"1","low24h":"1","volCcy24h":"1",'
            f'"vol24h":"1","sodUtc0":"1","sodUtc8":"1","ts":"{self.quotes[-1]}"}}',
        )

    def last_mark(self) -> Row:
        """Return the newest mark price."""
        return Row(
            "",
            f'{{"instType":"SWAP","instId":"{self.name}","markPx":"{self._mid / 10:.1f}","ts":"{self.marks[-1]}"}}',
        )

    def print_of(self, trade_id: int) -> Print | None:
        """Return the trade of an id, which is the last of the ids it stands for; None where there is none."""
        place = bisect.bisect_left(self.prints, trade_id, key=lambda each: each.last_id)
        found = self.prints[place] if place < len(self.prints) else None
        return found if found is not None and found.last_id == trade_id else None

    def _trade(self) -> Row:
        first_id = self.prints[-1].last_id + 1 if self.prints else 1_000_000
        count = int(self._rng.integers(1, 4))
        price, qty = (self._mid + 1) / 10, self._size() / 100
        self.prints.append(Print(first_id, first_id + count - 1, self._next_ms(), price, qty))
        self._into_bar(price, qty)
        return self.last_trade()

    def _quote(self) -> Row:
        self.quotes.append(self._next_ms())
        return self.last_quote()

    def _mark(self) -> Row:
        self.marks.append(self._next_ms())
        return self.last_mark()

    def _into_bar(self, price: float, qty: float) -> None:
        self._close_bar()
        if not self._forming:
            self._forming, self._forming_ms = [price] * 4 + [0.0], self._minute()
        _, high, low, _, volume = self._forming
        self._forming[1:] = [max(high, price), min(low, price), price, volume + qty]

    def _close_bar(self) -> None:
        """Close the bars whose minute is over; one without a trade repeats the close."""
        while self._forming and self._forming_ms < self._minute():
            row = self.bars[self._forming_ms] = self._bar("1")
            self.publish("candle1m", self, Row("", msgspec.json.encode(row).decode()))
            self._forming = [self._forming[3]] * 4 + [0.0]
            self._forming_ms += BAR_MS

    def _minute(self) -> int:
        return self._loop.wall_ns() // MS // BAR_MS * BAR_MS

    def _bar(self, confirm: str) -> list[str]:
        first, high, low, last, volume = self._forming
        prices = [f"{price:.1f}" for price in (first, high, low, last)]
        return [str(self._forming_ms), *prices, f"{volume:.2f}", "1", "1", confirm]


def _changes(before: dict[int, int], after: dict[int, int]) -> dict[int, int]:
    changed = {price: size for price, size in after.items() if before.get(price) != size}
    return changed | dict.fromkeys(before.keys() - after.keys(), 0)


def _texts(levels: dict[int, int]) -> str:
    return "[" + ",".join(f'["{price / 10:.1f}","{size / 100:g}","0","1"]' for price, size in levels.items()) + "]"


def _numbers(levels: dict[int, int]) -> dict[float, float]:
    return {float(f"{price / 10:.1f}"): float(f"{size / 100:g}") for price, size in levels.items()}
