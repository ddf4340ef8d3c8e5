"""What an order costs and whether the account may have it: fees, spot locks, and the leverage bound on contracts.

A contract is backed by the equity in its settlement currency. The notional after a fill that adds stays within that
equity x `max_leverage`: orders are judged by it on arrival at their worst, and every fill is cut to it. What only
reduces is free; a flip beyond the bound keeps the part that closes.
"""

import math
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from quantkit.brokers.simulated.market import ExchangeOrder, Lock
from quantkit.instruments import EXACT, Fees, Instrument, Side, decimal_of, plain, round_up
from quantkit.portfolio import Portfolio

#: A market buy locks its cost at the last price and this much more.
MARKET_LOCK_MARGIN = Fraction(5, 100)


class Shortfall(NamedTuple):
    """What was missing for an order in a contract: the equity that was there, and the equity needed."""

    equity: Fraction
    needed: Fraction


class Account:
    """One account at the simulated exchange: its ledger, its fee rates, and what working orders hold back.

    Attributes:
        shortfalls: By instrument, the largest order that was refused for lack of equity in its settlement currency.
    """

    def __init__(self, portfolio: Portfolio, fees: Mapping[str, Fees], *, max_leverage: Decimal) -> None:
        self.portfolio = portfolio
        self._fees = dict(fees)
        self._max_leverage = Fraction(max_leverage)
        self.shortfalls: dict[str, Shortfall] = {}
        self._locked: dict[str, Decimal] = {}
        self._open: dict[str, dict[str, ExchangeOrder]] = {}

    # Fees -----------------------------------------------------------------------------------------------------

    def fee(
        self, instrument: Instrument, side: Side, lots: int, value: Decimal, *, is_maker: bool
    ) -> tuple[Decimal, str]:
        """Return the fee of a fill without its order's part, and its currency; paid above zero."""
        fees, qty = self._fees[instrument.id], instrument.qty_decimal(lots)
        if instrument.is_spot and fees.currency == "received" and side is Side.BUY:
            return EXACT.multiply(qty, fees.rate(is_maker=is_maker)), instrument.base
        return fees.of_fill(instrument, qty, value, is_maker=is_maker), instrument.settle_currency

    def fee_due(self, order: ExchangeOrder, of_fill: Decimal) -> Decimal:
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
        """Return what may be spent of a balance: what neither orders hold back nor open contracts are backed by."""
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

    def _dearer(self, order: ExchangeOrder, instrument: Instrument, lots: int, value: Decimal) -> Decimal:
        """Return what a fill costs at the worse of both roles, without its order's part."""
        fees, qty = self._fees[order.instrument], instrument.qty_decimal(lots)
        roles = (fees.of_fill(instrument, qty, value, is_maker=is_maker) for is_maker in (True, False))
        return max(Decimal(0), *roles)

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

    def _may_cost_more(self, order: ExchangeOrder, instrument: Instrument) -> bool:
        """Whether an order may cost more than it brings: a spot sale with amounts of money among its fees."""
        fees = self._fees[order.instrument]
        return instrument.is_spot and not order.is_buy and bool(fees.per_share or fees.is_per_order)

    def _pays(self, order: ExchangeOrder, value: Decimal, of_fill: Decimal) -> bool:
        """Whether what a spot sale brings, and the free cash, pay for what is due with it."""
        free = max(Fraction(0), self.available(self.portfolio.instruments[order.instrument].quote))
        return Fraction(self.fee_due(order, of_fill)) <= Fraction(value) + free

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

    def _exceeds(self, instrument: Instrument, notional: Fraction) -> str:
        """Return why a position worth `notional` may not be, beside all others at their worst; empty if it may.

        Contracts are backed by the equity in the currency that they settle in, and by no other.
        """
        equity = self.portfolio.equity_in(instrument.settle_currency)
        if equity is None:
            return "no_price"
        for other in self._other_contracts(instrument):
            mark = self.portfolio.mark(other.id)
            if mark is None:
                return "no_price"
            notional += Fraction(other.notional(other.qty_decimal(1), mark)) * self._most_lots(other)
        if notional <= equity * self._max_leverage:
            return ""
        needed = notional / self._max_leverage
        before = self.shortfalls.get(instrument.id)
        if before is None or needed > before.needed:
            self.shortfalls[instrument.id] = Shortfall(equity, needed)
        return "insufficient_margin"

    def _other_contracts(self, instrument: Instrument) -> Iterable[Instrument]:
        """Yield the other contracts of the same settlement currency that are held or may come to be."""
        ids = dict.fromkeys([*self.portfolio.positions, *(i for i, orders in self._open.items() if orders)])
        for other_id in ids:
            other = self.portfolio.instruments[other_id]
            is_shared = other.settle_currency == instrument.settle_currency and not other.is_spot
            if other_id != instrument.id and is_shared and self._most_lots(other):
                yield other

    def _held_lots(self, instrument: Instrument) -> Fraction:
        return Fraction(self.portfolio.position(instrument.id).qty) / Fraction(instrument.lot)

    def _working_lots(self, instrument: Instrument, *, buys: bool, but: str = "") -> int:
        """Return what open orders of one side may still add; those that can only reduce lead nowhere."""
        return sum(
            order.left
            for order in self._open.get(instrument.id, {}).values()
            if order.is_buy is buys and order.id != but and not (order.reduce_only or order.only_closes)
        )

    def _lots_after(self, instrument: Instrument, order: ExchangeOrder, extra: int) -> tuple[Fraction, Fraction]:
        """Return the position in lots now, and the one that `extra` and open orders of its side lead to."""
        held = self._held_lots(instrument)
        added = self._working_lots(instrument, buys=order.is_buy, but=order.id) + extra
        return held, held + added * order.side.sign

    def _most_lots(self, instrument: Instrument) -> Fraction:
        """Return the largest position, in lots, that the open orders of either side could lead to."""
        held = self._held_lots(instrument)
        buys, sells = (self._working_lots(instrument, buys=buys) for buys in (True, False))
        return max(abs(held + buys), abs(held - sells))

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
        if is_within and not self.portfolio.open_contracts(currency):
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

    def charge(self, order: ExchangeOrder, lots: int, value: Decimal, *, is_maker: bool) -> tuple[Decimal, str]:
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

    def _carries(self, order: ExchangeOrder, instrument: Instrument, lots: int, ticks: int, *, is_maker: bool) -> bool:
        """Whether the notional is within the bound after a fill, with its fee paid, by the mark and by its own price.

        The mark shows what the curve shows. Where the fill is the newest price there is, its own price says more.
        """
        ledger = self.portfolio
        position = ledger.position(instrument.id)
        equity = ledger.equity_in(instrument.settle_currency)
        others = self._notional_held(instrument.settle_currency, but=instrument.id)
        if equity is None or others is None:
            return False
        value, mark = instrument.value(lots, ticks), ledger.mark(instrument.id)
        of_fill, _ = self.fee(instrument, order.side, lots, value, is_maker=is_maker)
        fee = self.fee_due(order, of_fill)
        signed = Fraction(value) * order.side.sign
        before = Fraction(instrument.notional(position.qty, mark)) if position.qty and mark is not None else Fraction(0)
        after = EXACT.add(position.qty, instrument.qty_decimal(lots * order.side.sign))
        for price in (instrument.price_decimal(ticks), mark):
            if price is not None:
                notional = Fraction(instrument.notional(after, price))
                gain = notional - before - signed
                worth = equity - Fraction(fee) + (-gain if instrument.is_inverse else gain)
                if abs(notional) + others > worth * self._max_leverage:
                    return False
        return True

    def reason_for_cutting(self, order: ExchangeOrder) -> str:
        """Return why an order ends that could not have all that the market offered."""
        if order.reduce_only and not self.reducible_lots(order):
            return "reduce_only_position_closed"
        is_spot = self.portfolio.instruments[order.instrument].is_spot
        return "insufficient_cash" if is_spot else "insufficient_margin"

    def filled(self, order: ExchangeOrder, lots: int) -> None:
        """Release what an order held back for `lots` that filled; call before its `filled` is raised."""
        if order.lock is not None:
            before = self._lock_amount(order, order.lock, order.left)
            self._hold(order.lock.currency, self._lock_amount(order, order.lock, order.left - lots) - before)

    def ended(self, order: ExchangeOrder) -> None:
        """Release everything an order that is over held back."""
        if order.lock is not None:
            self._hold(order.lock.currency, -self._lock_amount(order, order.lock, order.left))
            order.lock = None
        self._open.get(order.instrument, {}).pop(order.id, None)

    def remedy(self, name: str) -> str:
        """Return what an instrument was short of, and how it is given."""
        currency = self.portfolio.instruments[name].settle_currency
        shortfall = self.shortfalls.get(name)
        if shortfall is None:
            return f": more than the equity in {currency} x max_leverage; send less"
        give = f"--cash {currency}={plain(round_up(shortfall.needed))}"
        if shortfall.equity <= 0:
            return f": {name} is backed by {currency}; the account has none ({give})"
        return (
            f": more than the equity in {currency} x max_leverage; "
            f"send less, or raise the cash ({give}) or --max-leverage"
        )

    def _hold(self, currency: str, amount: Decimal) -> None:
        self._locked[currency] = EXACT.add(self.locked(currency), amount)
