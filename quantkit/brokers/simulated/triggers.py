"""What sets orders off: a price that is reached, or one that follows the best so far; and the mark and index prices.

Prices come as the steps at or beside them, one from below and one from above. A trigger is reached only where the price
has really come to it, and the best price is that which it has really been at.
"""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Final

from quantkit.brokers.simulated.price_band import AT_LEVEL, PAST_LEVEL, PriceBand
from quantkit.instruments import Side, decimal_of
from quantkit.orders import Order, OrderType, TriggerPrices, TriggerType
from quantkit.rows.marks import MarkSource
from quantkit.rows.position import RunPosition

_BPS: Final = 10_000
_NAMES: Final = {
    OrderType.TAKE_PROFIT: "take profit",
    OrderType.TAKE_PROFIT_LIMIT: "take profit",
    OrderType.TRAILING_STOP: "trailing stop",
}


class Trigger:
    """What sets one order off. Its market asks it about every price of its type, and nobody else writes it.

    Attributes:
        type: Whose price counts.
        name: What it is, in words.
        ticks: The price that sets the order off, in ticks; None while a trailing stop has none.
        is_upward: Whether prices at or above `ticks` do, else those at or below.
        is_target: Whether it takes a profit.
        is_trailing: Whether `ticks` follows the best price.
        is_changed: Whether it is no longer as it was sent.
    """

    __slots__ = (
        "_activation_ticks",
        "_best",
        "_is_active",
        "_is_buy",
        "_offset",
        "_offset_bps",
        "_offset_ticks",
        "_per_step",
        "is_changed",
        "is_target",
        "is_trailing",
        "is_upward",
        "name",
        "ticks",
        "type",
    )

    def __init__(self, order: Order) -> None:
        terms = order.terms
        self._is_buy = order.side is Side.BUY
        self.type = order.trigger_type
        self.name = _NAMES.get(order.type, "stop")
        self.is_target = order.take_profit_ticks is not None
        self.is_trailing = terms is not None and terms.is_trailing
        self.is_upward = self._is_buy is not self.is_target
        self.ticks = order.take_profit_ticks if self.is_target else order.stop_ticks
        self._offset_ticks = None if terms is None else terms.trailing_ticks
        self._offset_bps = order.trailing_offset_bps
        self._offset = _share(self._offset_bps)
        self._activation_ticks = None if terms is None else terms.activation_ticks
        self._is_active = self._activation_ticks is None
        self._best: int | None = None
        self.is_changed = False
        self._per_step = 1

    @property
    def opposite(self) -> Side:
        """The side that the order trades with."""
        return Side.SELL if self._is_buy else Side.BUY

    def use(self, per_step: int) -> None:
        """Go by another price step, given in ticks."""
        if per_step != self._per_step:
            self._per_step = per_step
            self._follow()

    def meets(self, low: int, high: int) -> bool:
        """Take in a price, given as the steps below and above it; return whether it sets the order off."""
        if self.is_reached(low, high):
            return True
        if self.is_trailing:
            self.gain(low, high)
        return False

    def is_reached(self, low: int, high: int) -> bool:
        """Return whether a price has come to the trigger."""
        ticks = self.ticks
        return ticks is not None and (low >= ticks if self.is_upward else high <= ticks)

    def gain(self, low: int, high: int) -> None:
        """Let the best price follow a price, or begin with it where that activates."""
        price, sign = (high, -1) if self._is_buy else (low, 1)
        if not self._is_active:
            assert self._activation_ticks is not None
            self._is_active = (price - self._activation_ticks) * sign >= 0
        if self._is_active and (self._best is None or (price - self._best) * sign > 0):
            self._best = price
            self._follow()

    def change(self, prices: TriggerPrices) -> None:
        """Take another price or distance; the best price stays."""
        self.is_changed = True
        if prices.ticks is not None:
            self.ticks = prices.ticks
        if prices.trailing_ticks is not None:
            self._offset_ticks = prices.trailing_ticks
        if prices.trailing_offset_bps is not None:
            self._offset_bps, self._offset = prices.trailing_offset_bps, _share(prices.trailing_offset_bps)
        self._follow()

    def restated(self) -> TriggerPrices | None:
        """Return how it stands, for a report; None for one that is as it was sent."""
        if not (self.is_trailing or self.is_changed):
            return None
        return TriggerPrices(self.ticks, self._offset_ticks, self._offset_bps)

    def bounds(self, per_step: int) -> tuple[float, float]:
        """Return the ticks between which a price changes nothing: equality is a hit."""
        at, beside = AT_LEVEL * per_step, PAST_LEVEL * per_step
        if not self._is_active:
            assert self._activation_ticks is not None
            if self._is_buy:
                return self._activation_ticks + at, float("inf")
            return float("-inf"), self._activation_ticks - at
        if self.ticks is None:
            return float("inf"), float("-inf")  # the first price begins it
        if self.is_upward:
            return float("-inf") if self._best is None else self._best + beside, self.ticks - at
        return self.ticks + at, float("inf") if self._best is None else self._best - beside

    def _follow(self) -> None:
        """Put a trailing trigger behind the best price, on the step, away from the market."""
        best = self._best
        if best is not None:
            offset = self._offset_ticks if self._offset_ticks is not None else best * self._offset
            steps = (best + offset if self._is_buy else best - offset) / Fraction(self._per_step)
            whole = -(-steps // 1) if self._is_buy else steps // 1
            self.ticks = max(0, int(whole) * self._per_step)


def trigger_of(order: Order) -> Trigger | None:
    """Return what an order waits for; None for one that works at once."""
    if order.stop_ticks is None and (order.terms is None or not order.terms.has_trigger):
        return None
    return Trigger(order)


def band_of(triggers: Iterable[Trigger], type_: TriggerType, *, per_step: int, tick: float) -> PriceBand:
    """Return the band of prices of a type in which nothing happens to triggers."""
    low, high = float("-inf"), float("inf")
    for trigger in triggers:
        if trigger.type is type_:
            below, above = trigger.bounds(per_step)
            low, high = max(low, below), min(high, above)
    return PriceBand(low * tick, high * tick)


class WatchedPrices:
    """The mark price and the index of an instrument, as they stand.

    Args:
        sources: Where they come from.
        position: How far the run has come.
    """

    def __init__(self, sources: Mapping[TriggerType, MarkSource], position: RunPosition) -> None:
        self._sources = sources
        self._position = position

    def standing(self, type_: TriggerType) -> float | None:
        """Return the latest price before the run's position, None before the first."""
        return self._sources[type_].before(self._position.index)


def _share(bps: float | None) -> Fraction:
    return Fraction(0) if bps is None else Fraction(decimal_of(bps)) / _BPS
