"""What wakes the oracle's sleeping orders: a price that is reached, or one that follows the best so far."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from quantkit.instruments import Side
from quantkit.orders import Order, TriggerPrices


@dataclass
class Alarm:
    """One order's trigger. Prices come as the steps at or beside them: one number from below, one from above.

    Attributes:
        side: The order's.
        source: Whose price counts.
        wants_rise: Whether a price at or above `price` sets it off; else one at or below.
        price: A fixed trigger; None for one that trails.
        gap: How far it trails, in ticks; None for another.
        gap_bps: The same as a share of the best price, in basis points.
        starts_at: From which price on it is active; None from arrival on.
        best: The best price since it is active.
    """

    side: Side
    source: str
    wants_rise: bool
    price: int | None = None
    gap: int | None = None
    gap_bps: Fraction | None = None
    starts_at: int | None = None
    best: int | None = None
    is_active: bool = True
    is_changed: bool = False
    rang_on: int | None = None  # the price step when it rang: from then on it stays what it was

    @property
    def trails(self) -> bool:
        """Whether the trigger moves."""
        return self.gap is not None or self.gap_bps is not None

    def stands_at(self, one_step: int) -> int | None:
        """Return the trigger as it stands, on the price step, away from the market; never below zero."""
        if not self.trails:
            return self.price
        if self.best is None:
            return None
        off = Fraction(self.gap) if self.gap is not None else self.best * (self.gap_bps or Fraction(0)) / 10_000
        steps = (self.best + self.side.sign * off) / one_step
        whole = -((-steps) // 1) if self.side is Side.BUY else steps // 1
        return max(0, int(whole) * one_step)

    def rings(self, low: int, high: int, one_step: int) -> bool:
        """Whether a price sets it off; if not, let the best price follow it."""
        # A buy wants to see the price fall before it rises, a sell the other way round.
        reached = low if self.wants_rise else high
        gained = high if self.side is Side.BUY else low
        if not self.is_active:
            self.gain(gained)
            return False
        at = self.stands_at(one_step)
        if at is not None and (reached >= at if self.wants_rise else reached <= at):
            return True
        if self.trails:
            self.gain(gained)
        return False

    def gain(self, ticks: int) -> None:
        """Let a price become the best so far, or begin with it where it activates."""
        better = min if self.side is Side.BUY else max
        if self.is_active:
            self.best = ticks if self.best is None else better(self.best, ticks)
        elif self.starts_at is not None and (self.starts_at - ticks) * self.side.sign >= 0:
            self.is_active, self.best = True, ticks

    def said(self, one_step: int) -> TriggerPrices | None:
        """Return what a report says of it: nothing while it is as it was sent."""
        if not (self.trails or self.is_changed):
            return None
        bps = None if self.gap_bps is None else float(self.gap_bps)
        return TriggerPrices(self.stands_at(self.rang_on or one_step), self.gap, bps)

    def change(self, change: TriggerPrices) -> None:
        """Take another price or distance."""
        self.is_changed = True
        if change.ticks is not None:
            self.price = change.ticks
        if change.trailing_ticks is not None:
            self.gap = change.trailing_ticks
        if change.trailing_offset_bps is not None:
            self.gap_bps = Fraction(str(change.trailing_offset_bps))


def alarm_of(order: Order) -> Alarm | None:
    """Return what an order waits for; None for one that works at once."""
    terms = order.terms
    source = "last" if terms is None else terms.trigger_type.value
    is_buy = order.side is Side.BUY
    if terms is not None and terms.take_profit_ticks is not None:
        return Alarm(order.side, source, not is_buy, price=terms.take_profit_ticks)
    if terms is not None and (terms.trailing_ticks is not None or terms.trailing_offset_bps is not None):
        bps = None if terms.trailing_offset_bps is None else Fraction(str(terms.trailing_offset_bps))
        starts_at = terms.activation_ticks
        return Alarm(
            order.side,
            source,
            is_buy,
            gap=terms.trailing_ticks,
            gap_bps=bps,
            starts_at=starts_at,
            is_active=starts_at is None,
        )
    return None if order.stop_ticks is None else Alarm(order.side, source, is_buy, price=order.stop_ticks)
