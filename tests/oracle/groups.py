"""Orders that depend on each other, in the oracle: who lost what by whose fill is counted anew at every fill."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from oracle.ledger import price_at, size_of, whole_steps
from oracle.venues import on_grid

from quantkit.instruments import Instrument, Side
from quantkit.orders import Order, OrderTerms, StopLoss, TakeProfit

if TYPE_CHECKING:
    from oracle.exchange import Exchange, Held


@dataclass(eq=False)
class Protection:
    """What a fill is owed: nothing but a promise at first, then children."""

    parent: Held
    promised: int
    filled_ns: int
    learned_ns: int
    children: list[Held] = field(default_factory=list)

    @property
    def side(self) -> Side:
        """The side of the children."""
        return self.parent.side.opposite

    @property
    def size(self) -> int:
        """How much of the position it is for."""
        return self.promised + max((child.left for child in self.children if not child.is_over), default=0)

    @property
    def is_whole(self) -> bool:
        """Whether every child that was asked for is at work."""
        return len(self.children) == len(asked_by(self.parent)) and not any(c.is_over for c in self.children)


def asked_by(held: Held) -> list[StopLoss | TakeProfit]:
    """Return what an order wants for its fills, the stop before the target."""
    return [spec for spec in (held.stop_loss, held.take_profit) if spec is not None]


@dataclass
class Groups:
    """OCO groups and brackets of one exchange."""

    exchange: Exchange
    protections: list[Protection] = field(default_factory=list)  # in the order of their fills
    promised: list[Protection] = field(default_factory=list)  # those to come, in the order of their coming
    pairs: dict[str, int] = field(default_factory=dict)
    unprotected: list[tuple[str, str, float, int, int]] = field(default_factory=list)
    last_ns: dict[str, int] = field(default_factory=dict)  # when the latest promise of an instrument is kept

    # OCO ------------------------------------------------------------------------------------------------------

    def siblings(self, held: Held) -> list[Held]:
        """Return the other orders that were let into the group of an order."""
        found = [h for h in self.exchange.orders.values() if h.is_in and h is not held and held.group]
        return [h for h in found if (h.instrument, h.group) == (held.instrument, held.group)]

    def room(self, held: Held, lots: int) -> int:
        """Return what the fills of others leave of a new order."""
        return lots - sum(other.filled for other in self.siblings(held))

    def amended(self, held: Held, lots: int) -> int:
        """Return the size that a change to `lots` gives: within the largest of the group, less the others' fills."""
        if not held.group:
            return lots
        others = self.siblings(held)
        largest = max(lots, *(h.asked for h in (held, *others)))
        return min(lots, largest - sum(other.filled for other in others))

    # After a fill -----------------------------------------------------------------------------------------------

    def filled(self, held: Held, lots: int, at_ns: int) -> None:
        """Let a fill have its effect on others, and promise what it is to be protected by."""
        for other in self.siblings(held):
            if not other.is_over:
                self.exchange.shrink(other, min(lots, other.left), "oco", at_ns)
        if asked_by(held):
            owed = Protection(held, lots, at_ns, self.exchange.now_ns())
            self.protections.append(owed)
            self.promised.append(owed)
            number = sum(p.parent.instrument == held.instrument for p in self.protections) - 1
            delay_ns = self.exchange.delay_ns(held.instrument, "bracket", number)
            moment = max(at_ns + delay_ns, self.last_ns.get(held.instrument, 0))
            self.last_ns[held.instrument] = moment
            self.exchange.promise(held, delay_ns, moment)
        self.fit(held.leg, at_ns)
        for side in (Side.SELL, Side.BUY):
            orders = self.exchange.venues[held.instrument].orders
            mine = [h for h in orders if h.leg == held.leg and h.side is side and self._is_reducing(h)]
            if mine:
                self.fit_reducing(mine[0], at_ns)

    # Reduce-only orders by the exchange's rules -----------------------------------------------------------------

    def _is_reducing(self, held: Held) -> bool:
        """Whether the position has to cover an order."""
        venue = self.exchange.venues[held.instrument]
        is_ruled = venue.rules is not None and not venue.instrument.is_spot
        return is_ruled and held.reduce_only and not held.is_asleep

    def _ranked(self, held: Held) -> list[Held]:
        """Return the orders that reduce the same position as one, the best price first, then the oldest."""
        orders = self.exchange.venues[held.instrument].orders
        same = [h for h in orders if h.leg == held.leg and h.side is held.side and self._is_reducing(h)]
        return sorted(same, key=_worse)

    def room_to_reduce(self, held: Held) -> int:
        """Return what the orders that come first leave of the position."""
        if not self._is_reducing(held):
            return max(1, held.left)
        first = [other for other in self._ranked(held) if _worse(other) <= _worse(held)]
        return self.closable(held.leg, held.side) - sum(other.left for other in first)

    def fit_reducing(self, held: Held, at_ns: int) -> None:
        """Cut what the position does not cover."""
        if not self._is_reducing(held):
            return
        left = self.closable(held.leg, held.side)
        for each in self._ranked(held):
            keep = min(left, each.left)
            left -= keep
            if each.left > keep:
                reason = "reduce_only_trimmed" if keep else "reduce_only_displaced"
                self.exchange.shrink(each, each.left - keep, reason, at_ns)

    def keep(self, parent: Held, at_ns: int) -> None:
        """Keep the next promise of an instrument."""
        owed = next(p for p in self.promised if p.parent.instrument == parent.instrument)
        self.promised.remove(owed)
        self.fit(parent.leg, at_ns)
        lots = owed.promised
        if not lots:
            return
        self._note(owed, lots, at_ns)
        owed.promised = 0
        for earlier in self.protections:
            if earlier.parent is parent and earlier.is_whole:
                self._grow(earlier, lots, at_ns)
                return
        self._place(owed, lots, at_ns)

    def end(self, at_ns: int) -> None:
        """Count what was promised and never came."""
        for owed in self.protections:
            if owed.promised:
                self._note(owed, owed.promised, at_ns)

    def fit(self, leg: str, at_ns: int) -> None:
        """Cut what protects a position to the position, from the oldest on."""
        for side in (Side.SELL, Side.BUY):
            mine = [p for p in self.protections if p.parent.leg == leg and p.side is side and p.size]
            too_much = sum(p.size for p in mine) - self.closable(leg, side)
            for owed in mine:
                cut = min(owed.size, max(0, too_much))
                too_much -= cut
                if not cut:
                    continue
                keep = owed.size - cut
                if owed.promised > keep:
                    if at_ns > owed.filled_ns:
                        self._note(owed, owed.promised - keep, at_ns)
                    owed.promised = keep
                for child in owed.children:
                    if not child.is_over and child.left > keep:
                        self.exchange.shrink(child, child.left - keep, "position_closed", at_ns)

    def closable(self, leg: str, side: Side) -> int:
        """Return the position that orders of a side close, in whole steps."""
        instrument = self.exchange.ledger.instruments[leg]
        qty = self.exchange.ledger.qty(leg)
        if instrument.is_spot and side is Side.BUY:
            return 0
        return whole_steps(max(Fraction(0), -qty * side.sign), instrument)

    def _note(self, owed: Protection, lots: int, at_ns: int) -> None:
        instrument = self.exchange.ledger.instruments[owed.parent.instrument]
        qty = float(size_of(instrument, lots))
        self.unprotected.append((owed.parent.id, instrument.id, qty, owed.filled_ns, at_ns))

    # Children -----------------------------------------------------------------------------------------------------

    def _place(self, owed: Protection, lots: int, at_ns: int) -> None:
        parent = owed.parent
        count = self.pairs[parent.id] = self.pairs.get(parent.id, 0) + 1
        venue = self.exchange.venues[parent.instrument]
        for spec in asked_by(parent):
            child, order = self._make(owed, spec, count, lots)
            child.lots = self.room(child, lots)
            if child.lots <= 0:
                return
            self.exchange.orders[child.id] = child
            child.arrived_ns, child.is_in = at_ns, True
            owed.children.append(child)
            self.exchange.introduce(child, order, at_ns)
            venue.enter(child, at_ns)
            if not child.is_over:
                self.fit_reducing(child, at_ns)

    def _grow(self, owed: Protection, lots: int, at_ns: int) -> None:
        for child in owed.children:
            child.lots += lots
            child.asked += lots
            self.exchange.tell(child, child.state, "parent_filled", at_ns)
        for child in owed.children:
            if not child.is_over and not child.is_asleep and child.limit is not None:
                child.arrived_ns = at_ns
                venue = self.exchange.venues[child.instrument]
                venue.orders.remove(child)
                venue.enter(child, at_ns)
            if not child.is_over:
                self.fit_reducing(child, at_ns)

    def _make(self, owed: Protection, spec: StopLoss | TakeProfit, count: int, lots: int) -> tuple[Held, Order]:
        """Return a child as the exchange has it, and as its owner will."""
        parent, side = owed.parent, owed.side
        instrument = self.exchange.ledger.instruments[parent.instrument]
        suffix = str(count) if count > 1 else ""
        limit = None if spec.limit is None else _passive(instrument, spec.limit, side)
        stop = target = gap = None
        offset = offset_bps = None
        if isinstance(spec, StopLoss):
            offset, offset_bps = spec.trailing_offset, spec.trailing_offset_bps
            stop = None if spec.price is None else _passive(instrument, spec.price, side.opposite)
            gap = None if offset is None else _passive(instrument, offset, Side.SELL)
        elif limit is None:
            target = _passive(instrument, spec.price, side)
        terms = OrderTerms(
            take_profit_price=None if target is None else float(price_at(instrument, target)),
            take_profit_ticks=target,
            trailing_offset=offset,
            trailing_offset_bps=offset_bps,
            trailing_ticks=gap,
            trigger_type=spec.trigger_type,
            oco_group=f"{parent.id}#bracket{suffix}",
            parent_id=parent.id,
        )
        order = Order(
            id=f"{parent.id}{'sl' if isinstance(spec, StopLoss) else 'tp'}{suffix}",
            instrument=instrument.id,
            side=side,
            qty=float(size_of(instrument, lots)),
            price=None if limit is None else float(price_at(instrument, limit)),
            stop_price=None if stop is None else float(price_at(instrument, stop)),
            reduce_only=True,
            tag=parent.tag,
            sent_ns=owed.learned_ns,
            updated_ns=owed.learned_ns,
            lots=lots,
            price_ticks=limit,
            stop_ticks=stop,
            terms=terms,
            position_side=parent.position_side,
        )
        return self.exchange.held_of(order), order


def _worse(held: Held) -> tuple[int, int]:
    """Return how bad a price is for whoever waits to be filled."""
    return (0, 0) if held.limit is None else (1, -held.side.sign * held.limit)


def _passive(instrument: Instrument, price: float, side: Side) -> int:
    """Return a price on the step that is better for its owner."""
    return on_grid(price, instrument.price_step, instrument.tick, up=side is Side.SELL)
