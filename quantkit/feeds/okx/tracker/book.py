"""OKX's sequenced book: whether a message follows the one before it, and the levels after it.

Sequence numbers prove the order; the checksum proves older recordings.
"""

import zlib
from collections.abc import Sequence
from enum import StrEnum
from math import inf
from typing import Final

from quantkit.events import BookUpdate
from quantkit.feeds.okx.codec.decode import BookData

#: How many levels of each side the checksum covers.
CHECKSUM_LEVELS: Final = 25
#: Levels of a side that each channel holds. OKX removes levels that leave this window, so more levels show a loss.
DEPTHS: Final = {"books": 400, "books-l2-tbt": 400, "books50-l2-tbt": 50}


class Link(StrEnum):
    """Relation of a book message to the one before it."""

    START = "start"  # a snapshot: replaces the book
    NEXT = "next"  # in order, sign-of-life frames and maintenance resets included
    REPEAT = "repeat"  # the frame that was just applied, repeated
    BROKEN = "broken"  # a message in between was lost


def link(data: BookData, last_seq_id: int | None) -> Link:
    """Decide how `data` follows a book whose last sequence number is `last_seq_id`.

    Frames from before OKX sent sequence numbers count as in order; their checksum proves them. Once a book is numbered,
    a message without numbers is a break. Equal numbers are a sign of life; a lower number after the right predecessor
    is a reset. Source: OKX API v5, "Order book channel", sequence rules.

    Args:
        data: The message.
        last_seq_id: Of the last message applied; None if it had none.
    """
    if data.update.is_snapshot:
        return Link.START
    if last_seq_id is None:
        return Link.NEXT
    if data.prev_seq_id is None or data.seq_id is None:
        return Link.BROKEN
    if data.prev_seq_id == last_seq_id:
        return Link.NEXT
    if data.seq_id == last_seq_id and data.prev_seq_id < last_seq_id:
        return Link.REPEAT
    return Link.BROKEN


def checksum(bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> int:
    """Return OKX's book checksum: CRC-32 as a signed 32-bit number of the best 25 levels of each side, interleaved.

    Args:
        bids: (price, size) as sent, best first. Only the first 25 count.
        asks: The same for the other side.

    Examples:
        >>> checksum([("3366.1", "7")], [("3366.8", "9"), ("3368", "8")])
        -1471518219
    """
    parts: list[str] = []
    for rank in range(CHECKSUM_LEVELS):
        for side in (bids, asks):
            if rank < len(side):
                parts += side[rank]
    value = zlib.crc32(":".join(parts).encode())
    return value - (1 << 32) if value >= 1 << 31 else value


class SequencedBook:
    """The levels of one book and the sequence number of its last message.

    Attributes:
        bids, asks: Size by price; no level is empty.
        seq_id, prev_seq_id: Of the last message; None if it had none, and before the first message.
        exchange_ns: The exchange's stamp of the last message.

    Args:
        depth: Levels of a side that the exchange holds.
    """

    __slots__ = ("_ask_low", "_bid_high", "asks", "bids", "depth", "exchange_ns", "prev_seq_id", "seq_id")

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}
        self.seq_id: int | None = None
        self.prev_seq_id: int | None = None
        self.exchange_ns = 0
        # Bounds of the best prices. They are not searched anew when the best level goes: that would be half of the
        # work, and it matters only once the bounds meet.
        self._bid_high = -inf
        self._ask_low = inf

    @property
    def best_bid(self) -> float | None:
        """The highest bid; None without bids."""
        if self._bid_high not in self.bids:
            self._bid_high = max(self.bids, default=-inf)
        return self._bid_high if self.bids else None

    @property
    def best_ask(self) -> float | None:
        """The lowest ask; None without asks."""
        if self._ask_low not in self.asks:
            self._ask_low = min(self.asks, default=inf)
        return self._ask_low if self.asks else None

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid reaches the best ask."""
        if self._bid_high < self._ask_low:
            return False
        bid, ask = self.best_bid, self.best_ask
        return bid is not None and ask is not None and bid >= ask

    def fault(self) -> str:
        """Return the fault of the levels: `levels` for too many, `crossed`, or an empty text."""
        if len(self.bids) > self.depth or len(self.asks) > self.depth:
            return "levels"
        return "crossed" if self._bid_high >= self._ask_low and self.is_crossed else ""

    def apply(self, data: BookData) -> int:
        """Apply a message that follows.

        Returns:
            The number of removals of levels that were not there; they change nothing.
        """
        update = data.update
        self.seq_id, self.prev_seq_id = data.seq_id, data.prev_seq_id
        self.exchange_ns = update.exchange_ns
        bids, asks = self.bids, self.asks
        if update.is_snapshot:
            bids.clear()
            asks.clear()
            self._bid_high, self._ask_low = -inf, inf
        unknown = 0
        prices = update.bid_prices
        if prices:
            unknown = _merge(bids, prices, update.bid_qtys)
            self._bid_high = max(self._bid_high, max(prices))
        prices = update.ask_prices
        if prices:
            unknown += _merge(asks, prices, update.ask_qtys)
            self._ask_low = min(self._ask_low, min(prices))
        return unknown

    def snapshot(self, instrument: str, received_ns: int) -> BookUpdate:
        """Return the whole book as a snapshot, best levels first, stamped and numbered as its last message."""
        bids = sorted(self.bids.items(), reverse=True)
        asks = sorted(self.asks.items())
        return BookUpdate(
            instrument,
            self.exchange_ns,
            received_ns,
            tuple([price for price, _ in bids]),
            tuple([size for _, size in bids]),
            tuple([price for price, _ in asks]),
            tuple([size for _, size in asks]),
            is_snapshot=True,
            seq=0 if self.seq_id is None else self.seq_id,
        )


class ChecksummedBook(SequencedBook):
    """A book that also checks the checksum of each message.

    Recordings from before OKX sent sequence numbers have no other proof. The checksum covers prices and sizes as text,
    so the texts are kept beside the numbers.
    """

    __slots__ = ("_ask_texts", "_bid_texts", "_is_proven")

    def __init__(self, depth: int) -> None:
        super().__init__(depth)
        self._bid_texts: dict[float, tuple[str, str]] = {}
        self._ask_texts: dict[float, tuple[str, str]] = {}
        self._is_proven = True

    def apply(self, data: BookData) -> int:
        """Apply a message that follows, and compare its checksum; 0 means that it has none."""
        update = data.update
        if update.is_snapshot:
            self._bid_texts.clear()
            self._ask_texts.clear()
        unknown = super().apply(data)
        for texts, levels, prices, sent in (
            (self._bid_texts, self.bids, update.bid_prices, data.bid_texts),
            (self._ask_texts, self.asks, update.ask_prices, data.ask_texts),
        ):
            for price, *text in zip(prices, *sent, strict=True):
                if price in levels:
                    texts[price] = (text[0], text[1])
                else:
                    texts.pop(price, None)
        self._is_proven = not data.checksum or data.checksum == self._checksum()
        return unknown

    def fault(self) -> str:
        """Return the fault of the levels, `checksum` included."""
        return super().fault() or ("" if self._is_proven else "checksum")

    def _checksum(self) -> int:
        bids, asks = self._bid_texts, self._ask_texts
        return checksum(
            [bids[price] for price in sorted(bids, reverse=True)[:CHECKSUM_LEVELS]],
            [asks[price] for price in sorted(asks)[:CHECKSUM_LEVELS]],
        )


def _merge(levels: dict[float, float], prices: Sequence[float], sizes: Sequence[float]) -> int:
    """Set and remove levels; of a price named twice the last counts. Return the number of removals of no level."""
    if 0.0 not in sizes:
        levels.update(zip(prices, sizes, strict=True))
        return 0
    removed = [price for price, size in zip(prices, sizes, strict=True) if not size]
    known = sum(map(levels.__contains__, removed))
    levels.update(zip(prices, sizes, strict=True))
    for price in removed:
        if not levels.get(price, 1.0):
            del levels[price]
    return len(removed) - known
