"""The order flow of one generated instrument: the only source of its book and trades."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from quantkit.sandbox.listing import ListedInstrument
from quantkit.sandbox.paths import PricePath

#: Levels of each side that the world sees.
SHOWN: Final = 400
_SEEDED: Final = 430
_THINNEST: Final = 405
_THICKEST: Final = 520
_DRAWN: Final = 4096
#: A flow that was asked for nothing for longer than this, ms, catches up with fewer orders.
_CATCH_UP_MS: Final = 120_000


class Match(NamedTuple):
    """One fill of one resting order, or of several at a price by one taker.

    Attributes:
        trade_id: Of the last match.
        ticks: Price.
        parts: Size of each match in lots, in the order of their ids.
        is_buy: Whether the taker bought.
        at_ms: When.
        seq_id: The book's number then.
    """

    trade_id: int
    ticks: int
    parts: tuple[int, ...]
    is_buy: bool
    at_ms: int
    seq_id: int

    @property
    def lots(self) -> int:
        """Size in lots."""
        return sum(self.parts)


class BookSide:
    """One side of a book: levels by price, and their prices in order.

    Attributes:
        levels: Ticks to (lots, number of orders).
        prices: Ticks, rising.
    """

    __slots__ = ("levels", "prices")

    def __init__(self) -> None:
        self.levels: dict[int, tuple[int, int]] = {}
        self.prices: list[int] = []

    def put(self, ticks: int, lots: int, orders: int) -> None:
        """Set a level; zero lots remove it."""
        if lots <= 0:
            if self.levels.pop(ticks, None) is not None:
                del self.prices[bisect_left(self.prices, ticks)]
            return
        if ticks not in self.levels:
            insort(self.prices, ticks)
        self.levels[ticks] = (lots, max(1, orders))


class OrderFlow:
    """Orders that arrive at random around a price path, and the book that they make.

    Args:
        listing: The instrument.
        path: Where its fair price goes.
        rng: Chance.
        orders_per_s: How many orders and cancellations come; 0 for a market at rest.
        start_ms: When the book opens, UTC ms.
        first_trade_id: The id before the first match.
    """

    def __init__(
        self,
        listing: ListedInstrument,
        path: PricePath,
        rng: np.random.Generator,
        *,
        orders_per_s: float,
        start_ms: int,
        first_trade_id: int,
    ) -> None:
        self.listing = listing
        self.bids, self.asks = BookSide(), BookSide()
        self.now_ms = start_ms
        self.seq_id = 1_000_000 + int(rng.integers(1_000_000))
        self.trade_id = first_trade_id
        self._path = path
        self._rng = rng
        self._orders_per_s = orders_per_s
        self._scale = 10.0**listing.price_decimals
        self._draws: Iterator[tuple[float, float, float, float]] = iter(())
        self._next_ms = float(start_ms)
        self._fill_from(self.fair(start_ms))

    def fair(self, at_ms: float) -> int:
        """Return the fair price in ticks."""
        return max(3, round(self._path.now(at_ms) * self._scale))

    def advance(self, to_ms: int) -> list[Match]:
        """Let time pass, and return what traded, in order."""
        matches: list[Match] = []
        if self._orders_per_s > 0:
            mean_ms = 1000.0 / self._orders_per_s * max(1.0, (to_ms - self.now_ms) / _CATCH_UP_MS)
            while self._next_ms <= to_ms:
                at_ms = self._next_ms
                wait, what, where, size = self._draw()
                self._order(at_ms, what, where, size, matches)
                self._next_ms = at_ms + wait * mean_ms
        self.now_ms = max(self.now_ms, to_ms)
        return matches

    # Orders ---------------------------------------------------------------------------------------------------

    def _draw(self) -> tuple[float, float, float, float]:
        found = next(self._draws, None)
        if found is None:
            rng = self._rng
            columns = (
                rng.exponential(1.0, _DRAWN),
                rng.random(_DRAWN),
                rng.exponential(1.0, _DRAWN),
                rng.lognormal(0.0, 0.9, _DRAWN),
            )
            self._draws = zip(*(column.tolist() for column in columns), strict=True)
            found = next(self._draws)
        return found

    def _order(self, at_ms: float, what: float, where: float, size: float, matches: list[Match]) -> None:
        """Let one order happen: `what` decides which and on which side, `where` how deep, `size` how large."""
        fair = self.fair(at_ms)
        self._seq(what)
        lots = max(self.listing.min_lots, int(size * self.listing.lots))
        best_bid, best_ask = self.bids.prices[-1], self.asks.prices[0]
        if best_ask < fair or best_bid > fair:
            self._catch_up(fair, what, at_ms, lots, matches)
        elif what < 0.16:
            self._take(what < 0.08, lots, best_ask + 3 if what < 0.08 else best_bid - 3, at_ms, matches)
        elif what < 0.50:
            self._cancel(self.bids if what < 0.33 else self.asks, what < 0.33, where)
        else:
            is_buy = what < 0.75
            away = 1 + int(where * 6.0)
            self._rest(self.bids if is_buy else self.asks, fair - away if is_buy else fair + away, lots)
        self._keep_depth()

    def _catch_up(self, fair: int, what: float, at_ms: float, lots: int, matches: list[Match]) -> None:
        """Move the book after its price: some who know trade, most makers pull their orders first."""
        is_up = self.asks.prices[0] < fair
        if what < 0.3:
            self._take(is_up, lots, fair, at_ms, matches)
            return
        side = self.asks if is_up else self.bids
        edge = bisect_left(side.prices, fair)
        # All but the last of the stale levels go at once; the book follows a fast price without trading through all.
        stale = side.prices[: max(1, edge)] if is_up else side.prices[min(edge, len(side.prices) - 1) :]
        for ticks in list(stale):
            if len(side.prices) > 1:
                side.put(ticks, 0, 0)
        self._rest(self.bids if is_up else self.asks, fair - 1 if is_up else fair + 1, lots)

    def _take(self, is_buy: bool, lots: int, limit: int, at_ms: float, matches: list[Match]) -> None:
        side = self.asks if is_buy else self.bids
        while lots > 0 and len(side.prices) > 1:
            ticks = side.prices[0] if is_buy else side.prices[-1]
            if (ticks > limit) if is_buy else (ticks < limit):
                return
            there, orders = side.levels[ticks]
            filled = min(lots, there)
            count = orders if filled == there else max(1, orders * filled // there)
            parts = _split(filled, count)
            left = 0 if filled == there else max(1, orders - len(parts))
            side.put(ticks, there - filled, left)
            self.trade_id += len(parts)
            matches.append(Match(self.trade_id, ticks, parts, is_buy, int(at_ms), self.seq_id))
            lots -= filled

    def _cancel(self, side: BookSide, is_bid: bool, where: float) -> None:
        depth = int(where * 12.0)
        if depth >= len(side.prices) - 1:
            return
        ticks = side.prices[-1 - depth] if is_bid else side.prices[depth]
        lots, orders = side.levels[ticks]
        side.put(ticks, lots - max(1, lots // orders), orders - 1) if orders > 1 else side.put(ticks, 0, 0)

    def _rest(self, side: BookSide, ticks: int, lots: int) -> None:
        other = self.asks.prices[0] if side is self.bids else self.bids.prices[-1]
        ticks = min(ticks, other - 1) if side is self.bids else max(ticks, other + 1)
        if ticks > 0:
            there, orders = side.levels.get(ticks, (0, 0))
            side.put(ticks, there + lots, orders + 1)

    # The book's depth -----------------------------------------------------------------------------------------

    def _seq(self, what: float) -> None:
        self.seq_id += 1 + int(what * 17.0)

    def _fill_from(self, fair: int) -> None:
        self._deepen(self.bids, fair, -1)
        self._deepen(self.asks, fair + 1, 1)

    def _deepen(self, side: BookSide, start: int, step: int) -> None:
        """Add levels behind the last one until there are enough; fewer where the price itself is too low."""
        missing = _SEEDED - len(side.prices)
        gaps = np.minimum(self._rng.geometric(0.5, missing), 6).cumsum().tolist()
        sizes = self._rng.lognormal(0.6, 0.9, missing).tolist()
        orders = self._rng.geometric(0.4, missing).tolist()
        for gap, size, count in zip(gaps, sizes, orders, strict=True):
            ticks = start + step * gap
            if ticks <= 0:
                return
            side.put(ticks, max(count, self.listing.min_lots, int(size * self.listing.lots)), count)

    def _keep_depth(self) -> None:
        for side, step, last in ((self.bids, -1, 0), (self.asks, 1, -1)):
            count = len(side.prices)
            if count < _THINNEST and side.prices[last] > 8:
                self._deepen(side, side.prices[last], step)
            elif count > _THICKEST:
                for ticks in side.prices[: count - _SEEDED] if step < 0 else side.prices[_SEEDED:]:
                    side.levels.pop(ticks)
                if step < 0:
                    del side.prices[: count - _SEEDED]
                else:
                    del side.prices[_SEEDED:]


def _split(lots: int, count: int) -> tuple[int, ...]:
    """Return up to `count` sizes that add up to `lots`.

    Examples:
        >>> _split(7, 3), _split(1, 4)
        ((2, 2, 3), (1,))
    """
    count = min(lots, max(1, count))
    each = lots // count
    return (each,) * (count - 1) + (lots - each * (count - 1),)
