"""Fees, and what working orders hold back of an account's balances."""

import math
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

from quantkit.brokers.simulated.market import ExchangeOrder, Lock
from quantkit.instruments import EXACT, Fees, Instrument, Side
from quantkit.portfolio import Portfolio

#: A market buy locks its cost at the last price and this much more.
MARKET_LOCK_MARGIN: Final = Fraction(5, 100)


class Funds:
    """Fees of orders, and the money left to pay for orders.

    Args:
        portfolio: The ledger.
        fees: Rates by instrument.
        max_leverage: Bound on the notional of contracts over the equity that backs them.
    """

    def __init__(self, portfolio: Portfolio, fees: Mapping[str, Fees], *, max_leverage: Decimal) -> None:
        self.portfolio = portfolio
        self._fees = dict(fees)
        self._max_leverage = Fraction(max_leverage)
        self._locked: dict[str, Decimal] = {}

    def fee(
        self, instrument: Instrument, side: Side, lots: int, value: Decimal, *, is_maker: bool
    ) -> tuple[Decimal, str]:
        """Return the fee of a fill without its order's part, and its currency; paid above zero."""
        fees, qty = self._fees[instrument.id], instrument.qty_decimal(lots)
        if instrument.is_spot and fees.currency == "received" and side is Side.BUY:
            return EXACT.multiply(qty, fees.rate(is_maker=is_maker)), instrument.base
        return fees.of_fill(instrument, qty, value, is_maker=is_maker), instrument.settle_currency

    def fee_due(self, order: ExchangeOrder, of_fill: Decimal) -> Decimal:
        """Return the fee due with a fill of fee `of_fill`: the first fill adds the amount per order."""
        fees = self._fees[order.instrument]
        if not fees.is_per_order:
            return of_fill
        return EXACT.subtract(fees.of_order(EXACT.add(order.fees_of_fills, of_fill)), order.fees_paid)

    def charge(self, order: ExchangeOrder, lots: int, value: Decimal, *, is_maker: bool) -> tuple[Decimal, str]:
        """Charge an order for a fill, the amount per order with the first; return the fee and its currency."""
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

    def _dearer(self, order: ExchangeOrder, instrument: Instrument, lots: int, value: Decimal) -> Decimal:
        """Return what a fill costs at the worse of both roles, without its order's part."""
        fees, qty = self._fees[order.instrument], instrument.qty_decimal(lots)
        roles = (fees.of_fill(instrument, qty, value, is_maker=is_maker) for is_maker in (True, False))
        return max(Decimal(0), *roles)

    def _may_cost_more(self, order: ExchangeOrder, instrument: Instrument) -> bool:
        """Whether an order may cost more than it brings: a spot sale with amounts of money among its fees."""
        fees = self._fees[order.instrument]
        return instrument.is_spot and not order.is_buy and bool(fees.per_share or fees.is_per_order)

    def _pays(self, order: ExchangeOrder, value: Decimal, of_fill: Decimal) -> bool:
        """Whether what a spot sale brings, and the free cash, pay for what is due with it."""
        free = max(Fraction(0), self.available(self.portfolio.instruments[order.instrument].quote))
        return Fraction(self.fee_due(order, of_fill)) <= Fraction(value) + free

    # Locks ----------------------------------------------------------------------------------------------------

    def locked(self, currency: str) -> Decimal:
        """Return the amount of a currency locked by working orders."""
        return self._locked.get(currency, Decimal(0))

    def available(self, currency: str) -> Fraction:
        """Return the free part of a balance: neither locked by orders nor backing open contracts."""
        return self._unpledged(currency) - Fraction(self.locked(currency))

    def _unpledged(self, currency: str) -> Fraction:
        """Return the balance less what open contracts that settle in it need within the bound."""
        balance = self.portfolio.balance_exact(currency)
        if not self.portfolio.open_contracts(currency):
            return balance
        equity, notional = self.portfolio.equity_in(currency), self._notional_held(currency)
        if equity is None or notional is None:
            return Fraction(0)
        return min(balance, equity - notional / self._max_leverage)

    def _notional_held(self, currency: str, *, but: str = "") -> Fraction | None:
        """Return what the open contracts that settle in a currency are worth at their marks; None without a mark."""
        total = Fraction(0)
        for position in self.portfolio.open_contracts(currency):
            if position.instrument.id != but:
                mark = self.portfolio.mark(position.instrument.id)
                if mark is None:
                    return None
                total += abs(Fraction(position.instrument.notional(position.qty, mark)))
        return total

    def _lock_amount(self, order: ExchangeOrder, lock: Lock, lots: int) -> Decimal:
        instrument = self.portfolio.instruments[order.instrument]
        if not order.is_buy:
            return instrument.qty_decimal(lots)
        fees = self._fees[order.instrument]
        value = instrument.value(lots, lock.ticks)
        if fees.currency == "received" or not lots:
            return value
        return EXACT.add(value, max(Decimal(0), self.fee_due(order, self._dearer(order, instrument, lots, value))))

    def _lock_for(self, order: ExchangeOrder, limit: int | None, reference: int | None) -> Lock | None:
        instrument = self.portfolio.instruments[order.instrument]
        if not order.is_buy:
            return Lock(instrument.base, 0)
        if limit is not None:
            return Lock(instrument.quote, limit)
        price = order.stop if order.stop is not None else reference
        if price is None:
            return None
        return Lock(instrument.quote, math.ceil(price * (1 + MARKET_LOCK_MARGIN)))

    def filled(self, order: ExchangeOrder, lots: int) -> None:
        """Release what an order held back for `lots` that filled; call before its `filled` is raised."""
        if order.lock is not None:
            before = self._lock_amount(order, order.lock, order.left)
            self._hold(order.lock.currency, self._lock_amount(order, order.lock, order.left - lots) - before)

    def _hold(self, currency: str, amount: Decimal) -> None:
        self._locked[currency] = EXACT.add(self.locked(currency), amount)
