"""The naive book: two dictionaries from price to size, and the plain view of it that hooks read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from quantkit.events import BookUpdate
from quantkit.instruments import Side


class NaiveBook:
    """A book as anybody would write it first: one dictionary a side, the best price by looking at every level.

    Prices are kept as they come, whatever the step is.
    """

    def __init__(self, instrument: str) -> None:
        self.instrument = instrument
        self.is_valid = False
        self.sides: dict[Side, dict[float, float]] = {Side.BUY: {}, Side.SELL: {}}

    def apply(self, update: BookUpdate) -> None:
        """Take in one row: a snapshot replaces everything, a change before the first snapshot says nothing."""
        if update.is_snapshot:
            self.is_valid = True
            self.sides = {Side.BUY: {}, Side.SELL: {}}
        if not self.is_valid:
            return
        for side, price, size in named_levels(update):
            if size > 0:
                self.sides[side][price] = size
            else:
                self.sides[side].pop(price, None)

    def twin(self) -> NaiveBook:
        """Return a copy that goes its own way."""
        other = NaiveBook(self.instrument)
        other.is_valid, other.sides = self.is_valid, {side: dict(self.sides[side]) for side in Side}
        return other

    def invalidate(self) -> None:
        """Stop believing the book until the next snapshot."""
        self.is_valid = False

    def best(self, side: Side) -> float | None:
        """Return the best price of a side, None when it is empty."""
        levels = self.sides[side]
        if not levels:
            return None
        return max(levels) if side is Side.BUY else min(levels)

    def levels(self, side: Side) -> list[tuple[float, float]]:
        """Return (price, size) from the best price outward."""
        return sorted(self.sides[side].items(), reverse=side is Side.BUY)


class NaiveView:
    """What `book()` and `on_book` give in the oracle, named as in the real one as far as tests read it."""

    def __init__(self, book: NaiveBook) -> None:
        self.instrument = book.instrument
        self.bids = book.levels(Side.BUY)
        self.asks = book.levels(Side.SELL)

    @property
    def best_bid(self) -> float | None:
        """Highest bid."""
        return self.bids[0][0] if self.bids else None

    @property
    def best_ask(self) -> float | None:
        """Lowest ask."""
        return self.asks[0][0] if self.asks else None

    @property
    def mid(self) -> float | None:
        """Middle of the best prices, None when a side is empty."""
        if self.best_bid is None or self.best_ask is None:
            return None
        return (self.best_bid + self.best_ask) / 2

    def imbalance(self, levels: int = 1) -> float:
        """How much more is bid than offered over the best levels, as a share of both."""
        # Summed as the real one sums, since strategies compare the result with a threshold.
        bid, ask = (float(np.array([size for _, size in side[:levels]]).sum()) for side in (self.bids, self.asks))
        return (bid - ask) / (bid + ask) if bid + ask > 0 else 0.0


def named_levels(update: BookUpdate) -> Iterator[tuple[Side, float, float]]:
    """Yield the (side, price, size) that a row names."""
    for price, size in zip(update.bid_prices, update.bid_qtys, strict=True):
        yield Side.BUY, price, size
    for price, size in zip(update.ask_prices, update.ask_qtys, strict=True):
        yield Side.SELL, price, size
