"""What an order costs and whether the account may have it: fees, spot locks, and the leverage bound on contracts.

A contract is backed by the equity in its settlement currency. The notional after a fill that adds stays within that
equity x `max_leverage`: orders are judged by it on arrival at their worst, and every fill is cut to it. What only
reduces is free; a flip beyond the bound keeps the part that closes.
"""

from decimal import Decimal
from fractions import Fraction

from quantkit.brokers.simulated.exposure import Exposure
from quantkit.brokers.simulated.market import ExchangeOrder, Lock
from quantkit.instruments import EXACT, Instrument, decimal_of


class Account(Exposure):
    """One account at the simulated exchange: which orders it may have, and how much of a fill."""

    # Admission ------------------------------------------------------------------------------------------------

    def admit(
        self,
        order: ExchangeOrder,
        *,
        lots: int,
        limit: int | None,
        reference: int | None,
        at_open: bool = False,
        opening: int | None = None,
    ) -> str:
        """Judge an order, or its amended size and limit, against the account; return the refusal, empty if it may.

        On success the order's funds are locked and it counts as open. An order in a contract of which the account
        carries no more than what closes its position is let in for that part (`only_closes`).

        Args:
            order: The order as it stands.
            lots, limit: The size and limit that it is to have.
            reference: The price by which an order without a limit is valued, None before the first.
            at_open: Whether a market order fills at the open of a candle.
            opening: That open, None while it has not come: the order is then judged when it does.
        """
        instrument = self.portfolio.instruments[order.instrument]
        closes = self._closes(order, instrument, lots)
        if lots < instrument.min_lots and not closes:
            return "below_min_qty"
        left, stop = lots - order.filled, order.waiting_stop
        if not instrument.fits(lots=lots, left=left, limit=limit, stop=stop, may_be_small=closes):
            return "instrument_changed"  # since it was sent
        if order.reduce_only:
            held = self.portfolio.position(order.instrument).qty
            can_reduce = instrument.tradable_lots(held) and self.reducible_lots(order)
            refusal = "" if can_reduce else "reduce_only_no_position"
            refusal = refusal or self._fee_refuses(order, instrument, left, limit, reference)
        elif instrument.is_spot:
            if at_open and order.is_buy and limit is None and order.stop is None:
                lock = None if opening is None else Lock(instrument.quote, opening)
                refusal = self._admit_spot(order, instrument, lots, lock)
            else:
                lock = self._lock_for(order, limit, reference)
                refusal = self._fee_refuses(order, instrument, left, limit, reference)
                if not refusal:
                    refusal = "no_price" if lock is None else self._admit_spot(order, instrument, lots, lock)
        else:
            refusal = self._admit_contract(order, instrument, lots, limit, reference)
        if not refusal:
            self._open.setdefault(order.instrument, {})[order.id] = order
        return refusal

    def _closes(self, order: ExchangeOrder, instrument: Instrument, lots: int) -> bool:
        """Whether an order takes the whole position in a contract off, which no smallest order can forbid."""
        held = self.portfolio.position(order.instrument).qty
        if instrument.is_spot or not held or (held > 0) is order.is_buy:
            return False
        left, size = lots - order.filled, abs(instrument.tradable_lots(held))
        # An order of nothing closes nothing, also where nothing is left that can be traded.
        return size > 0 and (left == size or (order.reduce_only and left > size))

    def _fee_refuses(
        self, order: ExchangeOrder, instrument: Instrument, left: int, limit: int | None, reference: int | None
    ) -> str:
        """Return why a spot sale may not be whose fee is more than it brings and the account can add to that."""
        if not self._may_cost_more(order, instrument):
            return ""
        prices = [price for price in (limit, order.stop) if price is not None][:1]
        if order.stop is None and reference is not None:
            prices.append(reference)  # a limit that takes at once fills at the market
        if not prices:
            return ""
        value = instrument.value(left, max(prices))
        is_paid = self._pays(order, value, self._dearer(order, instrument, left, value))
        return "" if is_paid else "insufficient_cash"

    def _admit_spot(self, order: ExchangeOrder, instrument: Instrument, lots: int, lock: Lock | None) -> str:
        """Lock the funds of a spot order; without a lock nothing is held back until the open that fills it."""
        currency = instrument.quote if order.is_buy else instrument.base
        held = self._lock_amount(order, order.lock, order.left) if order.lock is not None else Decimal(0)
        needed = self._lock_amount(order, lock, lots - order.filled) if lock is not None else Decimal(0)
        if lock is not None and Fraction(needed - held) > self.available(currency):
            return "insufficient_cash" if order.is_buy else "insufficient_position"
        self._hold(currency, needed - held)
        order.lock = lock
        return ""

    def _admit_contract(
        self, order: ExchangeOrder, instrument: Instrument, lots: int, limit: int | None, reference: int | None
    ) -> str:
        price = limit if limit is not None else order.stop if order.stop is not None else reference
        if price is None:
            return "no_price"
        held, after = self._lots_after(instrument, order, lots - order.filled)
        if after * held >= 0 and abs(after) <= abs(held):
            order.only_closes = False
            return ""
        worth = Fraction(instrument.value(1, price))
        if order.stop is None and reference is not None and order.is_buy is instrument.is_inverse:
            # A limit that takes at once fills at the market, where one step is worth more than at the limit.
            worth = max(worth, Fraction(instrument.value(1, reference)))
        refusal = self._exceeds(instrument, worth * abs(after))
        is_closing = held != 0 and (held > 0) is not order.is_buy
        if is_closing or not refusal:
            order.only_closes = bool(refusal)
            return ""
        return refusal

    # Fills ----------------------------------------------------------------------------------------------------

    def reducible_lots(self, order: ExchangeOrder) -> int:
        """Return how many lots an order that only reduces may still take off the position, in whole size steps."""
        instrument = self.portfolio.instruments[order.instrument]
        held = self.portfolio.position(order.instrument).qty
        # Coins sold that were there at the start are no short position: buying them back is a purchase like any other.
        if not held or (held > 0) is order.is_buy or (instrument.is_spot and order.is_buy):
            return 0
        amount = Fraction(held.copy_abs())
        if instrument.is_spot:
            amount = min(amount, max(Fraction(0), self.available(instrument.base)))
        return instrument.lots_within(amount)

    def affordable_lots(self, order: ExchangeOrder, lots: int, ticks: int, *, is_maker: bool) -> int:
        """Return how many of `lots` the account can have.

        The position bounds what only reduces, cash a spot buy, and equity x `max_leverage` what adds to a contract. A
        spot sale is bounded by its fee, where that is more than it brings.
        """
        instrument = self.portfolio.instruments[order.instrument]
        allowed = self._backed_lots(order, instrument, lots, ticks, is_maker=is_maker)
        if self._may_cost_more(order, instrument):
            return self._paid_lots(order, instrument, allowed, ticks, is_maker=is_maker)
        return allowed

    def _paid_lots(self, order: ExchangeOrder, instrument: Instrument, lots: int, ticks: int, *, is_maker: bool) -> int:
        """Return how many lots of a spot sale pay their fee, out of what they bring and free cash."""
        fees, one = self._fees[order.instrument], instrument.value(1, ticks)
        loss = EXACT.subtract(self.fee(instrument, order.side, 1, one, is_maker=is_maker)[0], one)
        if loss > 0:
            # Each lot costs more than it brings: the fewer are sold, the less cash they take.
            free = max(Fraction(0), self.available(instrument.quote)) + Fraction(order.fees_paid)
            own = Fraction(decimal_of(fees.per_order)) + Fraction(order.fees_of_fills)
            lots = min(lots, instrument.whole_lots(self._lots_in(free - own, loss)))
        value = instrument.value(lots, ticks)
        of_fill, _ = self.fee(instrument, order.side, lots, value, is_maker=is_maker)
        return lots if self._pays(order, value, of_fill) else 0

    def _backed_lots(
        self, order: ExchangeOrder, instrument: Instrument, lots: int, ticks: int, *, is_maker: bool
    ) -> int:
        """Return how many of `lots` the account has the position, the cash or the equity for."""
        if order.reduce_only:
            return min(lots, self.reducible_lots(order))
        if not instrument.is_spot:
            return self._carried_lots(order, instrument, lots, ticks, is_maker=is_maker)
        if order.lock is None:
            whole = self._lock_amount(order, Lock(instrument.quote, ticks), lots)
            return lots if Fraction(whole) <= self.available(instrument.quote) else 0
        currency = order.lock.currency
        is_within = not order.is_buy or ticks <= order.lock.ticks
        if is_within and not self.portfolio.backs_contracts(currency):
            return lots
        free = self.available(currency) + Fraction(self._lock_amount(order, order.lock, order.left))
        if order.is_buy:
            return min(lots, instrument.whole_lots(self._lots_for(order, instrument, free, ticks, is_maker=is_maker)))
        return min(lots, instrument.lots_within(max(Fraction(0), free)))

    @staticmethod
    def _lots_in(amount: Fraction, per_lot: Decimal | Fraction) -> int:
        return max(0, amount // Fraction(per_lot))

    def _lots_for(
        self, order: ExchangeOrder, instrument: Instrument, free: Fraction, ticks: int, *, is_maker: bool
    ) -> int:
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

    def _carried_lots(
        self, order: ExchangeOrder, instrument: Instrument, lots: int, ticks: int, *, is_maker: bool
    ) -> int:
        """Return how many of `lots` of a contract leave the notional after the fill within the bound."""
        closing = min(lots, self.reducible_lots(order))
        if order.only_closes or closing == lots:
            return closing
        if self._carries(order, instrument, lots, ticks, is_maker=is_maker):
            return lots
        step = instrument.lots_per_step
        low, high = 0, -(-(lots - closing) // step)  # whole steps beyond what closes
        while high - low > 1:
            middle = (low + high) // 2
            if self._carries(order, instrument, closing + middle * step, ticks, is_maker=is_maker):
                low = middle
            else:
                high = middle
        return closing + low * step

    def reason_for_cutting(self, order: ExchangeOrder) -> str:
        """Return the reason for the end of an order that could not take the market's whole offer."""
        if order.reduce_only and not self.reducible_lots(order):
            return "reduce_only_position_closed"
        is_spot = self.portfolio.instruments[order.instrument].is_spot
        return "insufficient_cash" if is_spot else "insufficient_margin"

    def ended(self, order: ExchangeOrder) -> None:
        """Release all funds of a finished order."""
        if order.lock is not None:
            self._hold(order.lock.currency, -self._lock_amount(order, order.lock, order.left))
            order.lock = None
        self._open.get(order.instrument, {}).pop(order.id, None)
