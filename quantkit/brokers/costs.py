"""What an order costs and whether the account may have it: fees, spot locks, and the leverage bound on contracts."""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction

from quantkit.brokers.matching import Lock, Working
from quantkit.instruments import EXACT, Fees, Instrument, Side, decimal_of
from quantkit.portfolio import Portfolio

#: A market buy locks its cost at the last price and this much more.
MARKET_LOCK_MARGIN = Fraction(5, 100)


class Account:
    """One account at the simulated exchange: its ledger, its fee rates, and what working orders hold back."""

    def __init__(self, portfolio: Portfolio, fees: Mapping[str, Fees], *, max_leverage: Decimal) -> None:
        self.portfolio = portfolio
        self._fees = dict(fees)
        self._max_leverage = Fraction(max_leverage)
        self._locked: dict[str, Decimal] = {}
        self._open: dict[str, dict[str, Working]] = {}

    # Fees -----------------------------------------------------------------------------------------------------

    def fee(
        self, instrument: Instrument, side: Side, lots: int, value: Decimal, *, is_maker: bool
    ) -> tuple[Decimal, str]:
        """Return the fee of a fill without its order's part, and its currency; paid above zero."""
        fees, qty = self._fees[instrument.id], instrument.qty_decimal(lots)
        if instrument.is_spot and fees.currency == "received" and side is Side.BUY:
            return EXACT.multiply(qty, fees.rate(is_maker=is_maker)), instrument.base
        return fees.of_fill(instrument, qty, value, is_maker=is_maker), instrument.settle_currency

    def fee_due(self, order: Working, of_fill: Decimal) -> Decimal:
        """Return what an order has to pay with a fill that costs `of_fill`: its own part comes with the first."""
        fees = self._fees[order.instrument]
        if not fees.is_per_order:
            return of_fill
        return EXACT.subtract(fees.of_order(EXACT.add(order.fees_of_fills, of_fill)), order.fees_paid)

    # Locks ----------------------------------------------------------------------------------------------------

    def locked(self, currency: str) -> Decimal:
        """Return what working orders hold back of a currency."""
        return self._locked.get(currency, Decimal(0))

    def available(self, currency: str) -> Fraction:
        """Return the balance that no order holds back."""
        return self.portfolio.balance_exact(currency) - Fraction(self.locked(currency))

    def _lock_amount(self, order: Working, lock: Lock, lots: int) -> Decimal:
        instrument = self.portfolio.instruments[order.instrument]
        if not order.is_buy:
            return instrument.qty_decimal(lots)
        fees = self._fees[order.instrument]
        value = instrument.value(lots, lock.ticks)
        if fees.currency == "received" or not lots:
            return value
        qty = instrument.qty_decimal(lots)
        dearer = max(
            Decimal(0), *(fees.of_fill(instrument, qty, value, is_maker=is_maker) for is_maker in (True, False))
        )
        return EXACT.add(value, max(Decimal(0), self.fee_due(order, dearer)))

    def _lock_for(self, order: Working, limit: int | None, reference: int | None) -> Lock | None:
        instrument = self.portfolio.instruments[order.instrument]
        if not order.is_buy:
            return Lock(instrument.base, 0)
        if limit is not None:
            return Lock(instrument.quote, limit)
        price = order.stop if order.stop is not None else reference
        if price is None:
            return None
        return Lock(instrument.quote, math.ceil(price * (1 + MARKET_LOCK_MARGIN)))

    # Admission ------------------------------------------------------------------------------------------------

    def admit(self, order: Working, *, lots: int, limit: int | None, reference: int | None) -> str:
        """Judge an order, or its amended size and limit, against the account; return the refusal, empty if it may.

        On success the order's funds are locked and it counts as open.
        """
        instrument = self.portfolio.instruments[order.instrument]
        if lots < instrument.min_lots:
            return "below_min_qty"
        if not instrument.fits(lots=lots, left=lots - order.filled, limit=limit, stop=order.waiting_stop):
            return "instrument_changed"  # since it was sent
        if order.reduce_only:
            refusal = "" if self.reducible_lots(order) else "reduce_only_no_position"
        elif instrument.is_spot:
            refusal = self._admit_spot(order, lots, limit, reference)
        else:
            refusal = self._admit_contract(order, instrument, lots, limit, reference)
        if not refusal:
            self._open.setdefault(order.instrument, {})[order.id] = order
        return refusal

    def _admit_spot(self, order: Working, lots: int, limit: int | None, reference: int | None) -> str:
        lock = self._lock_for(order, limit, reference)
        if lock is None:
            return "no_price"
        needed = self._lock_amount(order, lock, lots - order.filled)
        held = self._lock_amount(order, order.lock, order.left) if order.lock is not None else Decimal(0)
        if Fraction(needed - held) > self.available(lock.currency):
            return "insufficient_cash" if order.is_buy else "insufficient_position"
        self._hold(lock.currency, needed - held)
        order.lock = lock
        return ""

    def _admit_contract(
        self, order: Working, instrument: Instrument, lots: int, limit: int | None, reference: int | None
    ) -> str:
        price = limit if limit is not None else order.stop if order.stop is not None else reference
        if price is None:
            return "no_price"
        worst, held = self._worst_lots(instrument, order, lots - order.filled)
        if worst <= held:
            return ""
        equity = self.portfolio.equity_exact()
        rate = self.portfolio.rate_exact(instrument.settle_currency)
        if equity is None or rate is None:
            return "no_price"
        value = Fraction(instrument.value(1, price))
        if order.stop is None and reference is not None and order.is_buy is instrument.is_inverse:
            # A limit that takes at once fills at the market, where one step is worth more than at the limit.
            value = max(value, Fraction(instrument.value(1, reference)))
        notional = value * worst * rate
        for other in self._other_contracts(instrument):
            mark = self.portfolio.mark(other.id)
            other_rate = self.portfolio.rate_exact(other.settle_currency)
            if mark is None or other_rate is None:
                return "no_price"
            size, _ = self._worst_lots(other, None, 0)
            notional += Fraction(other.notional(other.qty_decimal(1), mark)) * size * other_rate
        return "" if notional <= equity * self._max_leverage else "insufficient_margin"

    def _other_contracts(self, instrument: Instrument) -> Iterable[Instrument]:
        ids = dict.fromkeys([*self.portfolio.positions, *(i for i, orders in self._open.items() if orders)])
        for other_id in ids:
            other = self.portfolio.instruments[other_id]
            if other_id != instrument.id and not other.is_spot:
                size, _ = self._worst_lots(other, None, 0)
                if size:
                    yield other

    def _worst_lots(self, instrument: Instrument, order: Working | None, extra: int) -> tuple[Fraction, Fraction]:
        """Return the largest position, in lots, that open orders and `extra` of `order` could lead to.

        The second number is the size held now: an order that leads to no more than that only reduces.
        """
        held = Fraction(self.portfolio.position(instrument.id).qty) / Fraction(instrument.lot)
        buys, sells = Fraction(0), Fraction(0)
        for other in self._open.get(instrument.id, {}).values():
            if other.reduce_only or (order is not None and other.id == order.id):
                continue
            if other.is_buy:
                buys += other.left
            else:
                sells += other.left
        if order is None:
            return max(abs(held + buys), abs(held - sells)), abs(held)
        return (abs(held + buys + extra) if order.is_buy else abs(held - sells - extra)), abs(held)

    def reducible_lots(self, order: Working) -> int:
        """Return how many lots a reduce-only order may still take off the position, in whole size steps."""
        instrument = self.portfolio.instruments[order.instrument]
        held = self.portfolio.position(order.instrument).qty
        # Coins sold that were there at the start are no short position: buying them back is a purchase like any other.
        if not held or (held > 0) is order.is_buy or (instrument.is_spot and order.is_buy):
            return 0
        amount = Fraction(held.copy_abs())
        if instrument.is_spot:
            amount = min(amount, max(Fraction(0), self.available(instrument.base)))
        return instrument.lots_within(amount)

    def affordable_lots(self, order: Working, lots: int, ticks: int, *, is_maker: bool) -> int:
        """Return how many of `lots` the account can have: the position bounds reduce-only, cash a spot buy."""
        if order.reduce_only:
            return min(lots, self.reducible_lots(order))
        if order.lock is None or not order.is_buy or ticks <= order.lock.ticks:
            return lots
        instrument = self.portfolio.instruments[order.instrument]
        held = self._lock_amount(order, order.lock, order.left)
        free = self.available(instrument.quote) + Fraction(held)
        return min(lots, instrument.whole_lots(self._lots_for(order, instrument, free, ticks, is_maker=is_maker)))

    @staticmethod
    def _lots_in(amount: Fraction, per_lot: Decimal | Fraction) -> int:
        return max(0, amount // Fraction(per_lot))

    def _lots_for(self, order: Working, instrument: Instrument, free: Fraction, ticks: int, *, is_maker: bool) -> int:
        """Return how many lots of a spot buy an amount pays for, with fees."""
        value = instrument.value(1, ticks)
        fee, currency = self.fee(instrument, order.side, 1, value, is_maker=is_maker)
        cost = Fraction(value) + (max(Fraction(0), Fraction(fee)) if currency == instrument.quote else 0)
        fees = self._fees[order.instrument]
        if not fees.is_per_order:
            return self._lots_in(free, cost)
        # Either the fills' own fees count or the order's minimum does, whichever is more.
        left = free + Fraction(order.fees_paid)
        own = Fraction(decimal_of(fees.per_order)) + Fraction(order.fees_of_fills)
        found = self._lots_in(left - own, cost)
        if fees.min_per_order:
            found = min(found, self._lots_in(left - Fraction(decimal_of(fees.min_per_order)), Fraction(value)))
        return found

    def charge(self, order: Working, lots: int, value: Decimal, *, is_maker: bool) -> tuple[Decimal, str]:
        """Let an order pay for a fill, its own part with the first; return the fee and its currency."""
        instrument, lock = self.portfolio.instruments[order.instrument], order.lock
        of_fill, currency = self.fee(instrument, order.side, lots, value, is_maker=is_maker)
        if not self._fees[order.instrument].is_per_order:
            return of_fill, currency
        held = Decimal(0) if lock is None else self._lock_amount(order, lock, order.left)
        fee = self.fee_due(order, of_fill)
        order.fees_of_fills = EXACT.add(order.fees_of_fills, of_fill)
        order.fees_paid = EXACT.add(order.fees_paid, fee)
        if lock is not None:
            self._hold(lock.currency, EXACT.subtract(self._lock_amount(order, lock, order.left), held))
        return fee, currency

    def filled(self, order: Working, lots: int) -> None:
        """Release what an order held back for `lots` that filled; call before its `filled` is raised."""
        if order.lock is not None:
            before = self._lock_amount(order, order.lock, order.left)
            self._hold(order.lock.currency, self._lock_amount(order, order.lock, order.left - lots) - before)

    def ended(self, order: Working) -> None:
        """Release everything an order that is over held back."""
        if order.lock is not None:
            self._hold(order.lock.currency, -self._lock_amount(order, order.lock, order.left))
            order.lock = None
        self._open.get(order.instrument, {}).pop(order.id, None)

    def _hold(self, currency: str, amount: Decimal) -> None:
        self._locked[currency] = EXACT.add(self.locked(currency), amount)
