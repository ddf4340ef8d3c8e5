"""Fees, and what working orders hold back of an account's balances."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

from quantkit.brokers.simulated.contract_bound import ContractBound
from quantkit.brokers.simulated.exchange_order import ExchangeOrder, Lock
from quantkit.brokers.simulated.holding import Holding
from quantkit.brokers.simulated.locks import Locks
from quantkit.instruments import EXACT, decimal_of
from quantkit.portfolio import Portfolio

#: A market buy locks its cost at the last price and this much more.
MARKET_LOCK_MARGIN_PCT: Final = 5
_NOTHING: Final = Decimal(0)


class Funds:
    """Fees of orders, and the money left to pay for orders.

    Args:
        ledger: The account's balances and positions.
        holdings: What the account has, by position.
        bound: Says how much of a balance open contracts need.
        locks: What spot orders hold back. Nobody else writes it.
    """

    def __init__(self, ledger: Portfolio, holdings: Mapping[str, Holding], bound: ContractBound, locks: Locks) -> None:
        self._ledger = ledger
        self._holdings = holdings
        self._bound = bound
        self._locks = locks

    def charge(self, order: ExchangeOrder, lots: int, value: Decimal, *, is_maker: bool) -> tuple[Decimal, str]:
        """Charge an order for a fill, the amount per order with the first; return the fee and its currency."""
        holding, lock = self._holdings[order.leg], order.lock
        of_fill, currency = holding.fee(order.side, lots, value, is_maker=is_maker)
        if not holding.is_per_order:
            return of_fill, currency
        held = _NOTHING if lock is None else self.lock_amount(order, lock, order.left)
        fee = holding.fee_due(order, of_fill)
        order.fees_of_fills = EXACT.add(order.fees_of_fills, of_fill)
        order.fees_paid = EXACT.add(order.fees_paid, fee)
        if lock is not None:
            self.hold(lock.currency, EXACT.subtract(self.lock_amount(order, lock, order.left), held))
        return fee, currency

    def pays(self, order: ExchangeOrder, value: Decimal, of_fill: Decimal) -> bool:
        """Whether what a spot sale brings, and the free cash, pay for what is due with it."""
        free = max(Fraction(0), self.available(self._ledger.instruments[order.instrument].quote))
        return Fraction(self._holdings[order.leg].fee_due(order, of_fill)) <= Fraction(value) + free

    @staticmethod
    def lots_in(amount: Fraction, per_lot: Decimal | Fraction) -> int:
        """Return how many lots an amount pays for, at least none."""
        return max(0, amount // Fraction(per_lot))

    def lots_for(self, order: ExchangeOrder, own: Holding, free: Fraction, ticks: int, *, is_maker: bool) -> int:
        """Return how many lots of a spot buy an amount pays for, with fees."""
        value = own.position.instrument.value(1, ticks)
        fee, _ = own.fee(order.side, 1, value, is_maker=is_maker)
        cost = Fraction(value) + (0 if own.pays_in_coins else max(Fraction(0), Fraction(fee)))
        fees = own.fees
        if not fees.is_per_order:
            return self.lots_in(free, cost)
        # Either the fills' own fees count or the order's minimum does, whichever is more.
        left = free + Fraction(order.fees_paid)
        own_part = Fraction(decimal_of(fees.per_order)) + Fraction(order.fees_of_fills)
        found = self.lots_in(left - own_part, cost)
        if fees.min_per_order:
            found = min(found, self.lots_in(left - Fraction(decimal_of(fees.min_per_order)), Fraction(value)))
        return found

    def paid_lots(self, order: ExchangeOrder, own: Holding, lots: int, ticks: int, *, is_maker: bool) -> int:
        """Return how many lots of a spot sale pay their fee, out of what they bring and free cash."""
        instrument, fees = own.position.instrument, own.fees
        one = instrument.value(1, ticks)
        loss = EXACT.subtract(own.fee(order.side, 1, one, is_maker=is_maker)[0], one)
        if loss > 0:
            # Each lot costs more than it brings: the fewer are sold, the less cash they take.
            free = max(Fraction(0), self.available(instrument.quote)) + Fraction(order.fees_paid)
            own_part = Fraction(decimal_of(fees.per_order)) + Fraction(order.fees_of_fills)
            lots = min(lots, instrument.whole_lots(self.lots_in(free - own_part, loss)))
        value = instrument.value(lots, ticks)
        of_fill, _ = own.fee(order.side, lots, value, is_maker=is_maker)
        return lots if self.pays(order, value, of_fill) else 0

    # Locks ----------------------------------------------------------------------------------------------------

    def locked(self, currency: str) -> Decimal:
        """Return the amount of a currency locked by working orders."""
        return self._locks.of(currency)

    def is_free(self, currency: str, amount: Decimal) -> bool:
        """Whether an amount is available."""
        if self._ledger.open_contracts(currency):
            return Fraction(amount) <= self.available(currency)
        return self._ledger.covers(currency, EXACT.add(amount, self.locked(currency)))

    def available(self, currency: str) -> Fraction:
        """Return the free part of a balance: neither locked by orders nor backing open contracts."""
        return self._bound.unpledged(currency) - Fraction(self.locked(currency))

    def lock_at(self, order: ExchangeOrder, ticks: int) -> Lock:
        """Return the lock of a purchase that is counted at a price."""
        holding = self._holdings[order.leg]
        instrument = holding.position.instrument
        value = instrument.value(1, ticks)
        if holding.pays_in_coins:
            return Lock(instrument.quote, ticks, value, None)
        fee = holding.dearer_fee(1, value)
        if holding.is_per_order:
            return Lock(instrument.quote, ticks, value, fee)
        return Lock(instrument.quote, ticks, EXACT.add(value, fee), None)

    def lock_for(self, order: ExchangeOrder, limit_ticks: int | None, reference: int | None) -> Lock | None:
        """Return the lock of an order that has a limit, or is counted at a reference price; None without a price."""
        if not order.is_buy:
            instrument = self._holdings[order.leg].position.instrument
            return Lock(instrument.base, 0, instrument.lot, None)
        if limit_ticks is not None:
            return self.lock_at(order, limit_ticks)
        price = order.trigger_ticks if order.trigger_ticks is not None else reference
        if price is None:
            return None
        return self.lock_at(order, -(-price * (100 + MARKET_LOCK_MARGIN_PCT) // 100))

    def purchasable_lots(self, order: ExchangeOrder, ticks: int) -> int:
        """Return how many lots of a new purchase, counted at a price, there is cash for; 0 if that is no order."""
        instrument, lock = self._holdings[order.leg].position.instrument, self.lock_at(order, ticks)
        step, low = instrument.lots_per_step, 0
        high = -(-order.lots // step)
        while high - low > 1:
            middle = (low + high) // 2
            is_there = self.is_free(lock.currency, self.lock_amount(order, lock, middle * step))
            low, high = (middle, high) if is_there else (low, middle)
        return low * step if low * step >= instrument.min_lots else 0

    def lock_amount(self, order: ExchangeOrder, lock: Lock, lots: int) -> Decimal:
        """Return what a lock keeps while `lots` of its order are open."""
        amount = EXACT.multiply(lock.per_lot, lots)
        if lock.fee_per_lot is None or not lots:
            return amount
        fee = self._holdings[order.leg].fee_due(order, EXACT.multiply(lock.fee_per_lot, lots))
        return EXACT.add(amount, max(_NOTHING, fee))

    def release(self, order: ExchangeOrder, lots: int) -> None:
        """Release what an order held back for `lots`, which fill or end unfilled. With the last it is open no more.

        Call before its `filled_lots` is raised.
        """
        own, lock, left = self._holdings[order.leg], order.lock, order.left - lots
        if order.open_lots:
            order.open_lots -= lots
            own.open_lots[order.is_buy] -= lots
        if lock is not None:
            if lock.fee_per_lot is None:
                freed = self.lock_amount(order, lock, lots)
            else:
                freed = EXACT.subtract(self.lock_amount(order, lock, order.left), self.lock_amount(order, lock, left))
            self.hold(lock.currency, freed.copy_negate())
        if not left:
            own.orders.pop(order.id, None)
            order.lock = None

    def hold(self, currency: str, amount: Decimal) -> None:
        """Hold an amount of a currency back; less than nothing sets it free."""
        self._locks.hold(currency, amount)
