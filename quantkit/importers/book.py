"""The plain book of an import: it applies every update before storage, so that no crossed book gets in."""

from collections.abc import Sequence
from typing import Any, Final

from quantkit.events import BookUpdate, Gap

_NOTHING: Final = 0.0


class NaiveBook:
    """A book as two dicts of price to whatever is worth keeping of a level; slow and obvious.

    The best prices are kept beside the dicts, since looking for them in every update would be most of the work.
    """

    def __init__(self) -> None:
        self.bids: dict[float, Any] = {}
        self.asks: dict[float, Any] = {}
        self._best_bid: float | None = None
        self._best_ask: float | None = None

    @property
    def best_bid(self) -> float | None:
        """The highest bid."""
        if self._best_bid is None and self.bids:
            self._best_bid = max(self.bids)
        return self._best_bid

    @property
    def best_ask(self) -> float | None:
        """The lowest ask."""
        if self._best_ask is None and self.asks:
            self._best_ask = min(self.asks)
        return self._best_ask

    @property
    def is_crossed(self) -> bool:
        """Whether the best bid reaches the best ask."""
        bid, ask = self.best_bid, self.best_ask
        return bid is not None and ask is not None and bid >= ask

    def apply(self, update: BookUpdate, bids: Sequence[Any] | None = None, asks: Sequence[Any] | None = None) -> None:
        """Apply a snapshot or an update; removing a level that is not there is nothing.

        Args:
            update: The levels.
            bids: What to keep of each bid level, in the update's order; default its size.
            asks: Likewise.
        """
        if update.is_snapshot:
            self.bids.clear()
            self.asks.clear()
            self._best_bid = self._best_ask = None
        levels, best = self.bids, self._best_bid
        for price, qty, kept in zip(
            update.bid_prices, update.bid_qtys, update.bid_qtys if bids is None else bids, strict=True
        ):
            if qty == _NOTHING:
                levels.pop(price, None)
                if price == best:
                    best = None
            else:
                levels[price] = kept
                if best is not None and price > best:
                    best = price
        self._best_bid = best
        levels, best = self.asks, self._best_ask
        for price, qty, kept in zip(
            update.ask_prices, update.ask_qtys, update.ask_qtys if asks is None else asks, strict=True
        ):
            if qty == _NOTHING:
                levels.pop(price, None)
                if price == best:
                    best = None
            else:
                levels[price] = kept
                if best is not None and price < best:
                    best = price
        self._best_ask = best


def book_gap(update: BookUpdate, *, since_ns: int | None, cause: str) -> Gap:
    """Return the gap that an update reveals.

    Args:
        update: The one that does not fit.
        since_ns: Exchange time of the last update that did; None if there was none.
        cause: Why it does not fit.
    """
    start_ns = update.exchange_ns if since_ns is None else min(since_ns, update.exchange_ns)
    return Gap(update.instrument, update.exchange_ns, update.received_ns, "book", start_ns, update.exchange_ns, cause)
