"""Fees, and what working orders hold back of an account's balances."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

from quantkit.brokers.simulated.exchange_order import ExchangeOrder, Lock
from quantkit.brokers.simulated.holding import Holding
from quantkit.fees import Fees
from quantkit.instruments import EXACT
from quantkit.portfolio import Portfolio

#: A market buy locks its cost at the last price and this much more.
MARKET_LOCK_MARGIN_PCT: Final = 5
_NOTHING: Final = Decimal(0)


class Funds:
    """Fees of orders, and the money left to pay for orders.

    Args:
        portfolio: The ledger.
        fees: Rates by instrument.
        max_leverage: Bound on the notional of contracts over the equity that backs them.
    """

    def __init__(self, portfolio: Portfolio, fees: Mapping[str, Fees], *, max_leverage: Decimal) -> None:
        self.portfolio = portfolio
        self._max_leverage = Fraction(max_leverage)
        self._max_leverage_float = float(max_leverage)
        self._locked: dict[str, Decimal] = {}
        self._holdings = {
            instrument.id: Holding(portfolio, instrument, fees[instrument.id])
            for instrument in portfolio.instruments.values()
        }

    def fee_due(self, order: ExchangeOrder, of_fill: Decimal) -> Decimal:
        """Return the fee due with a fill of fee `of_fill`: the first fill adds the amount per order."""
        fees = self._holdings[order.instrument].fees
        if not fees.is_per_order:
            return of_fill
        return EXACT.subtract(fees.of_order(EXACT.add(order.fees_of_fills, of_fill)), order.fees_paid)

    def charge(self, order: ExchangeOrder, lots: int, value: Decimal, *, is_maker: bool) -> tuple[Decimal, str]:
        """Charge an order for a fill, the amount per order with the first; return the fee and its currency."""
        holding, lock = self._holdings[order.instrument], order.lock
        of_fill, currency = holding.fee(order.side, lots, value, is_maker=is_maker)
        if not holding.is_per_order:
            return of_fill, currency
        held = _NOTHING if lock is None else self._lock_amount(order, lock, order.left)
        fee = self.fee_due(order, of_fill)
        order.fees_of_fills = EXACT.add(order.fees_of_fills, of_fill)
        order.fees_paid = EXACT.add(order.fees_paid, fee)
        if lock is not None:
            self._hold(lock.currency, EXACT.subtract(self._lock_amount(order, lock, order.left), held))
        return fee, currency

    def _pays(self, order: ExchangeOrder, value: Decimal, of_fill: Decimal) -> bool:
        """Whether what a spot sale brings, and the free cash, pay for what is due with it."""
        free = max(Fraction(0), self.available(self.portfolio.instruments[order.instrument].quote))
        return Fraction(self.fee_due(order, of_fill)) <= Fraction(value) + free

    # Locks ----------------------------------------------------------------------------------------------------

    def locked(self, currency: str) -> Decimal:
        """Return the amount of a currency locked by working orders."""
        return self._locked.get(currency, _NOTHING)

    def is_free(self, currency: str, amount: Decimal) -> bool:
        """Whether an amount is available."""
        if self.portfolio.open_contracts(currency):
            return Fraction(amount) <= self.available(currency)
        return self.portfolio.covers(currency, EXACT.add(amount, self.locked(currency)))

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

    def _lock_at(self, order: ExchangeOrder, ticks: int) -> Lock:
        """Return the lock of a purchase that is counted at a price."""
        holding = self._holdings[order.instrument]
        instrument = holding.position.instrument
        value = instrument.value(1, ticks)
        if holding.pays_in_coins:
            return Lock(instrument.quote, ticks, value, None)
        fee = holding.dearer_fee(1, value)
        if holding.is_per_order:
            return Lock(instrument.quote, ticks, value, fee)
        return Lock(instrument.quote, ticks, EXACT.add(value, fee), None)

    def _lock_for(self, order: ExchangeOrder, limit_ticks: int | None, reference: int | None) -> Lock | None:
        if not order.is_buy:
            instrument = self._holdings[order.instrument].position.instrument
            return Lock(instrument.base, 0, instrument.lot, None)
        if limit_ticks is not None:
            return self._lock_at(order, limit_ticks)
        price = order.stop_ticks if order.stop_ticks is not None else reference
        if price is None:
            return None
        return self._lock_at(order, -(-price * (100 + MARKET_LOCK_MARGIN_PCT) // 100))

    def _lock_amount(self, order: ExchangeOrder, lock: Lock, lots: int) -> Decimal:
        amount = EXACT.multiply(lock.per_lot, lots)
        if lock.fee_per_lot is None or not lots:
            return amount
        return EXACT.add(amount, max(_NOTHING, self.fee_due(order, EXACT.multiply(lock.fee_per_lot, lots))))

    def release(self, order: ExchangeOrder, lots: int) -> None:
        """Release what an order held back for `lots` that filled; call before its `filled_lots` is raised."""
        lock = order.lock
        if order.open_lots:
            order.open_lots -= lots
            self._holdings[order.instrument].open_lots[order.is_buy] -= lots
        if lock is not None:
            if lock.fee_per_lot is None:
                freed = self._lock_amount(order, lock, lots)
            else:
                left = self._lock_amount(order, lock, order.left - lots)
                freed = EXACT.subtract(self._lock_amount(order, lock, order.left), left)
            self._hold(lock.currency, freed.copy_negate())

    def _hold(self, currency: str, amount: Decimal) -> None:
        self._locked[currency] = EXACT.add(self.locked(currency), amount)
