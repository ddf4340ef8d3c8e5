"""Margin in the oracle, written from docs/margin.md: every number is counted anew, in fractions, at every question."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING

from oracle.ledger import exactly, instrument_of, leg_of, number, price_at, size_of, value_of

from quantkit.instruments import Instrument, Side
from quantkit.orders import Order, OrderState, OrderTerms, PositionSide

if TYPE_CHECKING:
    from oracle.exchange import Exchange, Held

#: Up to how many contracts, the maintenance rate, and the highest leverage.
Tier = tuple[str, str, str]
_PART = 10**16


@dataclass
class Margins:
    """What backs the positions of an exchange's account."""

    exchange: Exchange
    is_cross: bool
    leverage: Mapping[str, str]  # by instrument
    tiers: Mapping[str, Sequence[Tier]]  # by instrument
    funding: dict[str, Fraction] = field(default_factory=dict)  # of what is open
    taken_over: list[tuple[str, Fraction]] = field(default_factory=list)  # what each liquidation cost
    closed: int = 0  # orders of the exchange

    # One position -------------------------------------------------------------------------------------------------

    def qty(self, name: str) -> Fraction:
        """Return a signed size in contracts."""
        return self.exchange.ledger.qty(name)

    def cost(self, name: str) -> Fraction:
        """Return what a position cost, above zero."""
        return abs(self.exchange.ledger.open_value(name))

    def rate(self, name: str) -> Fraction:
        """Return the maintenance rate of the tier that a position is in."""
        rows = sorted((number(size), number(rate)) for size, rate, _ in self.tiers[instrument_of(name)])
        whole = abs(self.qty(name)) + self.beside(name)
        return next((rate for size, rate in rows if whole <= size), rows[-1][1])

    def twin(self, name: str) -> str:
        """Return the other leg, with which a position shares its tier; empty where there is none."""
        of, _, side = name.partition("+")
        return f"{of}+{'short' if side == 'long' else 'long'}" if side and self.is_cross else ""

    def beside(self, name: str) -> Fraction:
        """Return the size that counts for the tier beside a position's own."""
        return abs(self.qty(self.twin(name))) if self.twin(name) else Fraction(0)

    def fee(self, name: str) -> Fraction:
        """Return the taker's rate, zero for a rebate."""
        return max(Fraction(0), number(self.exchange.fees[instrument_of(name)].taker_bps) / 10_000)

    def lever(self, name: str) -> Fraction:
        """Return the leverage."""
        return number(self.leverage[instrument_of(name)])

    def largest(self, name: str) -> Fraction:
        """Return the largest size in contracts at this leverage."""
        return max(
            number(size) for size, _, most in self.tiers[instrument_of(name)] if number(most) >= self.lever(name)
        )

    def worth(self, name: str, mark: Fraction) -> Fraction:
        """Return what a position is worth at a mark, above zero and not rounded."""
        instrument = self.exchange.ledger.instruments[name]
        size = abs(self.qty(name)) * number(instrument.contract_value) * number(instrument.contract_multiplier)
        return size / mark if instrument.is_inverse else size * mark

    def profit(self, name: str, mark: Fraction) -> Fraction:
        """Return the open profit at a mark."""
        rise = self.worth(name, mark) - self.cost(name)
        is_gain = (self.qty(name) > 0) != self.exchange.ledger.instruments[name].is_inverse
        return rise if is_gain else -rise

    def own(self, name: str) -> Fraction:
        """Return the isolated margin of a position."""
        if not self.qty(name):
            return Fraction(0)
        return self.cost(name) / self.lever(name) + self.funding.get(name, Fraction(0))

    def charged(self, name: str, received: Fraction) -> None:
        """Let funding into the margin of what is open."""
        if self.qty(name):
            self.funding[name] = self.funding.get(name, Fraction(0)) + Fraction(round(received * _PART), _PART)

    def filled(self, name: str, before: Fraction) -> None:
        """Take the share of what was closed out of the funding."""
        after, kept = self.qty(name), self.funding.get(name, Fraction(0))
        if not after or after * before <= 0:
            kept = Fraction(0)
        elif abs(after) < abs(before):
            kept = Fraction(round(kept * after / before * _PART), _PART)
        self.funding[name] = kept

    # Orders ---------------------------------------------------------------------------------------------------------

    def _initial(self, name: str, worth: Fraction) -> Fraction:
        """Return the initial margin of a position that is worth so much."""
        return worth / self.lever(name) if self.is_cross else self.own(name)

    def _needs(self, instrument: Instrument, buys: int, sells: int, lot: Fraction) -> Fraction:
        """Return what a position and orders need; each lot of them is worth `lot`."""
        held = self.exchange.held(instrument)
        opening = lot / self.lever(instrument.id) + lot * self.fee(instrument.id)
        mine = self._initial(instrument.id, abs(held) * lot)
        longs = mine + buys * opening if held > 0 else max(Fraction(0), held + buys) * opening
        shorts = mine + sells * opening if held < 0 else max(Fraction(0), sells - held) * opening
        return max(longs, shorts)

    def refuses(self, instrument: Instrument, held: Held, extra: int, price: int) -> str:
        """Return why an order may not be let in for `extra` lots, empty if it may."""
        exchange, ledger, name = self.exchange, self.exchange.ledger, instrument.id
        position = exchange.held(instrument)
        working = {side: exchange.working(instrument, side, but=held) for side in Side}
        working[held.side] += extra
        after = position + held.side.sign * working[held.side]
        if min(0, position) <= after <= max(0, position):
            return ""
        beside = Fraction(0)
        if self.twin(name):
            twin = ledger.instruments[self.twin(name)]
            there_held = exchange.held(twin)
            lots = max(
                abs(there_held + exchange.working(twin, Side.BUY)), abs(there_held - exchange.working(twin, Side.SELL))
            )
            beside = size_of(twin, int(lots))
        if size_of(instrument, abs(int(after))) + beside > self.largest(name):
            return "leverage_tier"
        worth = value_of(instrument, 1, price)
        reference = exchange.venues[held.instrument].reference(held.side)
        if held.stop is None and reference is not None and (held.side is Side.BUY) == instrument.is_inverse:
            worth = value_of(instrument, 1, min(price, reference) if instrument.is_inverse else max(price, reference))
        currency = instrument.settle_currency
        needed = self._needs(instrument, working[Side.BUY], working[Side.SELL], worth)
        there = ledger.equity_in(currency) if self.is_cross else ledger.balance_exact(currency)
        if there is None:
            return "no_price"
        there -= exchange.locked(currency)
        for other in ledger.contracts_in(currency):
            orders = {side: exchange.working(other, side) for side in Side}
            if other.id == name or not (exchange.held(other) or any(orders.values())):
                continue
            mark = ledger.mark(other.id)
            if mark is None:
                return "no_price"
            lot = ledger.worth(other.id, size_of(other, 1), mark)
            needed += self._needs(other, orders[Side.BUY], orders[Side.SELL], lot)
        return "" if needed <= there else "insufficient_margin"

    def free(self, currency: str) -> Fraction:
        """Return the part of a balance that no position needs."""
        ledger = self.exchange.ledger
        balance = ledger.balance_exact(currency)
        open_ones = [i for i in ledger.contracts_in(currency) if self.qty(i.id)]
        if not open_ones:
            return balance
        there = ledger.equity_in(currency) if self.is_cross else balance
        if there is None:
            return Fraction(0)
        return min(balance, there - sum(self._need_of(i) for i in open_ones))

    def _need_of(self, instrument: Instrument) -> Fraction:
        """Return the initial margin of a position at its mark."""
        if not self.is_cross:
            return self.own(instrument.id)
        mark = self.exchange.ledger.mark(instrument.id)
        assert mark is not None
        return abs(self.exchange.ledger.worth(instrument.id, self.qty(instrument.id), mark)) / self.lever(instrument.id)

    def carries(self, instrument: Instrument, held: Held, lots: int, ticks: int, fee: Fraction) -> bool:
        """Whether a fill leaves enough for all positions, with its fee paid."""
        exchange, ledger, name = self.exchange, self.exchange.ledger, instrument.id
        currency, sign = instrument.settle_currency, held.side.sign
        position = exchange.held(instrument)
        if size_of(instrument, abs(int(position + sign * lots))) + self.beside(name) > self.largest(name):
            return False
        others = sum((self._need_of(i) for i in ledger.contracts_in(currency) if i.id != name and self.qty(i.id)), 0)
        value = value_of(instrument, lots, ticks)
        if not self.is_cross:
            closed = min(abs(position), lots) if position * sign < 0 else Fraction(0)
            share = closed / abs(position) if position else Fraction(0)
            rise = value * closed / lots - self.cost(name) * share
            taken = rise if (position > 0) != instrument.is_inverse else -rise
            opened = value * (lots - closed) / lots
            needed = self.own(name) * (1 - share) + opened / self.lever(name)
            there = ledger.balance_exact(currency) - exchange.locked(currency) - others - fee
            if needed > there + (taken if closed else 0):
                return False
            mark = ledger.mark(name)
            if mark is None:
                return True
            cost = ledger.open_value(name) * (1 - share) + sign * opened
            gain = ledger.worth(name, self.qty(name) + size_of(instrument, lots * sign), mark) - cost
            return bool(needed + (-gain if instrument.is_inverse else gain) > 0)
        mark, price = ledger.mark(name), price_at(instrument, ticks)
        equity = ledger.equity_in(currency)
        if equity is None:
            return False
        size = size_of(instrument, lots * sign)
        before = ledger.worth(name, self.qty(name), mark) if self.qty(name) and mark is not None else Fraction(0)
        for valued in (price, price if mark is None else mark):
            after = ledger.worth(name, self.qty(name) + size, valued)
            gain = after - before - sign * value
            there = equity - exchange.locked(currency) - fee - others + (-gain if instrument.is_inverse else gain)
            if abs(after) / self.lever(name) > there:
                return False
        return True

    # Liquidation ----------------------------------------------------------------------------------------------------

    def judge(self, name: str, mark: float, mark_of: Mapping[str, float | None], at_ns: int) -> None:
        """Judge the scopes of an instrument at its new mark."""
        ledger = self.exchange.ledger
        if ledger.instruments[name].is_spot:
            return
        currency = ledger.instruments[name].settle_currency
        if self.is_cross:
            self._judge(name, sorted(i.id for i in ledger.contracts_in(currency)), mark, mark_of, at_ns)
            return
        for side in ledger.sides_of(name):
            self._judge(name, [leg_of(name, side)], mark, mark_of, at_ns)

    def _judge(
        self, name: str, scope: Sequence[str], mark: float, mark_of: Mapping[str, float | None], at_ns: int
    ) -> None:
        """Judge the positions that share a margin."""
        ledger = self.exchange.ledger
        currency = ledger.instruments[name].settle_currency
        positions = [each for each in scope if self.qty(each)]
        if name not in map(instrument_of, positions):
            return
        marks: dict[str, Fraction] = {}
        for each in positions:
            found = mark if instrument_of(each) == name else mark_of[instrument_of(each)]
            if found is None:
                return
            marks[each] = number(found)
        margin = ledger.balance_exact(currency) if self.is_cross else self.own(scope[0])
        required = {each: self.worth(each, at) * (self.rate(each) + self.fee(each)) for each, at in marks.items()}
        left = margin + sum(self.profit(each, at) for each, at in marks.items())
        if left > sum(required.values()):
            return
        self._cancel(scope, at_ns)
        both = [each for each in positions if self.is_cross and each.endswith("+long") and self.qty(self.twin(each))]
        if both:
            for each in both:
                lots = int(
                    min(abs(self.qty(leg)) for leg in (each, self.twin(each))) / Fraction(ledger.instruments[each].lot)
                )
                for leg in (each, self.twin(each)):
                    self._close(leg, lots, self._ticks(leg, marks[leg], up=True), Fraction(0), at_ns)
            self._judge(name, scope, mark, mark_of, at_ns)
            return
        self._lose(positions, marks, margin, at_ns)

    def takes_over(self, held: Held, ticks: int, at_ns: int) -> bool:
        """Take a scope over that a closing fill would cost more than its margin."""
        exchange, ledger = self.exchange, self.exchange.ledger
        instrument = ledger.instruments[held.leg]
        if instrument.is_spot or self.qty(held.leg) * held.side.sign >= 0:
            return False
        currency = instrument.settle_currency
        scope = sorted(i.id for i in ledger.contracts_in(currency)) if self.is_cross else [held.leg]
        positions = [each for each in scope if self.qty(each)]
        marks: dict[str, Fraction] = {}
        for each in positions:
            own = instrument_of(each) == held.instrument
            found = price_at(instrument, ticks) if own else ledger.mark(instrument_of(each))
            if found is None:
                return False
            marks[each] = number(found)
        margin = ledger.balance_exact(currency) if self.is_cross else self.own(held.leg)
        if margin + sum(self.profit(each, at) for each, at in marks.items()) >= 0:
            return False
        self._cancel(scope, at_ns)
        if not held.is_over:
            exchange.end(held, OrderState.CANCELLED, "liquidation", at_ns)
        self._lose(positions, marks, margin, at_ns)
        return True

    def _cancel(self, scope: Sequence[str], at_ns: int) -> None:
        """End the open orders of a scope."""
        exchange = self.exchange
        for each in scope:
            for held in list(exchange.venues[instrument_of(each)].orders):
                if not held.is_over and held.leg == each:
                    exchange.end(held, OrderState.CANCELLED, "liquidation", at_ns)

    def _lose(self, positions: Sequence[str], marks: Mapping[str, Fraction], margin: Fraction, at_ns: int) -> None:
        """Let positions lose their margin together."""
        ledger, name = self.exchange.ledger, positions[0]
        currency = ledger.instruments[name].settle_currency
        left = margin + sum(self.profit(each, at) for each, at in marks.items())
        required = {each: self.worth(each, at) * (self.rate(each) + self.fee(each)) for each, at in marks.items()}
        weights = required if any(required.values()) else {each: self.worth(each, at) for each, at in marks.items()}
        whole = sum(weights.values())
        losses = {each: left * weights[each] / whole - self.profit(each, at) for each, at in marks.items()}
        before, rest = ledger.balance_exact(currency), Fraction(0)
        for each in positions:
            is_last = self.is_cross and each == positions[-1]
            rest = self._take_over(each, losses[each], rest, marks[each], at_ns, is_last=is_last)
        # What is lost is the margin: never more, and less by no more than what is not charged.
        lost = before - ledger.balance_exact(currency)
        assert 0 <= margin - lost < Fraction(1, _PART), f"{name}: {lost} of a margin of {margin}"
        assert not self.is_cross or ledger.balance_exact(currency) >= 0

    def _take_over(
        self, name: str, loss: Fraction, rest: Fraction, mark: Fraction, at_ns: int, *, is_last: bool
    ) -> Fraction:
        """Close a position so that it costs `loss` and the `rest` of the one before; return what is not charged."""
        exchange = self.exchange
        instrument = exchange.ledger.instruments[name]
        qty = self.qty(name)
        is_long = qty > 0
        lots = int(abs(qty) / Fraction(instrument.lot))
        size = abs(qty) * number(instrument.contract_value) * number(instrument.contract_multiplier)
        # A long of a linear contract and a short of an inverse one lose what their value falls by.
        falls = is_long != instrument.is_inverse
        worth = self.cost(name) - loss if falls else self.cost(name) + loss
        price = mark
        if worth > 0:
            price = size / worth if instrument.is_inverse else worth / size
        ticks = self._ticks(name, price, up=is_long)
        rise = value_of(instrument, lots, ticks) - self.cost(name)
        gain = rise if falls else -rise
        due = gain + loss + rest
        charge = due if is_last else Fraction(math.floor(due * _PART), _PART)
        self.taken_over.append((name, loss))
        self._close(name, lots, ticks, charge, at_ns)
        return due - charge

    def _ticks(self, name: str, price: Fraction, *, up: bool) -> int:
        """Return a price on the step, at least one."""
        instrument = self.exchange.ledger.instruments[name]
        steps = price / Fraction(instrument.price_step)
        whole = max(1, math.ceil(steps) if up else math.floor(steps))
        return int(whole * Fraction(instrument.price_step) / Fraction(instrument.tick))

    def _close(self, name: str, lots: int, ticks: int, charge: Fraction, at_ns: int) -> None:
        """Close lots of a position by an order of the exchange."""
        exchange = self.exchange
        instrument = exchange.ledger.instruments[name]
        self.closed += 1
        order = Order(
            id=f"liquidation{self.closed}",
            instrument=instrument_of(name),
            side=Side.SELL if self.qty(name) > 0 else Side.BUY,
            qty=float(size_of(instrument, lots)),
            reduce_only=True,
            tag="liquidation",
            sent_ns=exchange.now_ns(),
            updated_ns=exchange.now_ns(),
            lots=lots,
            terms=OrderTerms(),
            position_side=PositionSide(name.partition("+")[2] or PositionSide.NET),
        )
        held = exchange.held_of(order)
        held.arrived_ns = at_ns
        exchange.orders[order.id] = held
        exchange.introduce(held, order, at_ns)
        exchange.close_for(held, lots, ticks, exactly(charge), at_ns)
