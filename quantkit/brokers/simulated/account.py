"""What an order costs and whether the account may have it: fees, spot locks, and the leverage bound on contracts.

A contract is backed by the equity in its settlement currency. The notional after a fill that adds stays within that
equity x `max_leverage`, or in a run with margin its margin within what there is: orders are judged by it on arrival at
their worst, and every fill is cut to it. What only reduces is free; a flip beyond the bound keeps the part that closes.
"""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final

from quantkit.brokers.simulated.contract_bound import ContractBound
from quantkit.brokers.simulated.exchange_order import ExchangeOrder, Lock
from quantkit.brokers.simulated.funds import Funds
from quantkit.brokers.simulated.holding import Holding
from quantkit.brokers.simulated.leverage_bound import LeverageBound
from quantkit.brokers.simulated.locks import Locks
from quantkit.brokers.simulated.margin_bound import MarginBound
from quantkit.fees import Fees
from quantkit.instruments import EXACT
from quantkit.margin_account import MarginAccount
from quantkit.orders import leg_of
from quantkit.portfolio import Portfolio

_NOTHING: Final = Decimal(0)


class Account:
    """One account at the simulated exchange: which orders it may have, and how much of a fill.

    Args:
        ledger: Its balances and positions.
        fees: By instrument.
        max_leverage: Bound on the notional of contracts over the equity that backs them.
        margins: What backs positions in contracts in a run with margin, which has no other bound.
        counts_locks: Whether `max_leverage` bounds all contracts by what spot orders leave, not just sizes by money.

    Attributes:
        ledger: As above.
        holdings: What it has, by instrument.
        bound: What its contracts may come to.
        funds: What its orders cost and hold back.
    """

    def __init__(
        self,
        ledger: Portfolio,
        fees: Mapping[str, Fees],
        *,
        max_leverage: Decimal,
        margins: MarginAccount | None = None,
        counts_locks: bool = False,
    ) -> None:
        self.ledger = ledger
        self.fees = fees
        self._max_leverage = max_leverage
        self._margins = margins
        self._holdings = {
            leg_of(name, side): Holding(ledger, instrument, fees[name], side)
            for name, instrument in ledger.instruments.items()
            for side in ledger.sides_of(name)
        }
        self.holdings: Mapping[str, Holding] = self._holdings
        locks = Locks()
        self.bound: ContractBound = (
            LeverageBound(ledger, self._holdings, max_leverage, locks, counts_locks=counts_locks)
            if margins is None
            else MarginBound(margins, self._holdings, locks)
        )
        self.funds = Funds(ledger, self._holdings, self.bound, locks)

    def standing(self, order: ExchangeOrder) -> tuple[int | None, int, int]:
        """Return an order's position in lots, None of spot, and the open orders in its instrument and in all."""
        own, counts = self._holdings[order.leg], [(each.id, len(each.orders)) for each in self._holdings.values()]
        in_it, in_all = sum(count for name, count in counts if name == own.id), sum(count for _, count in counts)
        return None if own.is_spot else own.net.size // own.net.lot, in_it, in_all

    def over(self, ledger: Portfolio) -> "Account":
        """Return the same rules for sizes by money over another ledger, without orders."""
        margins = None if self._margins is None else MarginAccount(ledger, self._margins.terms)
        return Account(ledger, self.fees, max_leverage=self._max_leverage, margins=margins, counts_locks=True)

    # Admission ------------------------------------------------------------------------------------------------

    def admit(
        self,
        order: ExchangeOrder,
        *,
        lots: int,
        limit_ticks: int | None,
        reference: int | None,
        at_open: bool = False,
        opening: int | None = None,
    ) -> str:
        """Judge an order, or its amended size and limit, against the account; return the refusal, empty if it may.

        On success the order's funds are locked and it counts as open. An order in a contract of which the account
        carries no more than what closes its position is let in for that part (`only_closes`). An order that was sized
        by money is let in for what the account has: its fills are cut. One that travels with its money holds nothing
        back.

        Args:
            order: The order as it stands.
            lots, limit_ticks: The size and limit that it is to have.
            reference: The price by which an order without a limit is valued, None before the first.
            at_open: Whether a market order fills at the open of a candle.
            opening: That open, None while it has not come: the order is then judged when it does.
        """
        own = self._holdings[order.leg]
        if order.spends is not None:
            own.orders[order.id] = order
            return ""
        instrument, left = own.position.instrument, lots - order.filled_lots
        is_small = lots < instrument.min_lots
        if is_small and not self._closes(order, own, left):
            return "below_min_qty"
        if instrument.is_on_finer_grid and not instrument.fits(
            lots=lots, left=left, limit=limit_ticks, stop=order.waiting_stop, may_be_small=is_small
        ):
            return "instrument_changed"  # since it was sent
        if order.reduce_only:
            refusal = "" if order.is_waiting or self._can_reduce(order, own) else "reduce_only_no_position"
            refusal = refusal or self._fee_refuses(order, own, left, limit_ticks, reference)
        elif not own.is_spot:
            refusal = self._admit_contract(order, own, left, limit_ticks, reference)
        elif at_open and order.is_buy and limit_ticks is None and order.trigger is None:
            lock = None if opening is None or order.is_sized else self.funds.lock_at(order, opening)
            refusal = self._admit_spot(order, lots, lock)
        else:
            lock = self.funds.lock_for(order, limit_ticks, reference)
            refusal = self._fee_refuses(order, own, left, limit_ticks, reference)
            if not refusal:
                refusal = "no_price" if lock is None else self._admit_spot(order, lots, lock)
            if refusal == "insufficient_cash" and order.is_sized and limit_ticks is None and reference is not None:
                # The reserve is no more than what is there.
                refusal = self._admit_spot(order, lots, self.funds.lock_at(order, reference))
        if not refusal:
            own.orders[order.id] = order
            adds = 0 if order.reduce_only or order.only_closes else left
            own.open_lots[order.is_buy] += adds - order.open_lots
            order.open_lots = adds
        return refusal

    def take_in(self, order: ExchangeOrder) -> None:
        """Count an order as open that the exchange has made and that can only reduce: it needs no judgement."""
        self._holdings[order.leg].orders[order.id] = order

    def _closes(self, order: ExchangeOrder, own: Holding, left: int) -> bool:
        """Whether an order takes the whole position in a contract off, which no smallest order can forbid."""
        if own.is_spot:
            return False
        size = self.reducible_lots(order)
        # An order of nothing closes nothing, also where nothing is left that can be traded.
        return size > 0 and (left == size or (order.reduce_only and left > size))

    def _can_reduce(self, order: ExchangeOrder, own: Holding) -> bool:
        if own.is_spot and not own.position.instrument.tradable_lots(own.position.qty):
            return False
        return self.reducible_lots(order) > 0

    def _fee_refuses(
        self, order: ExchangeOrder, own: Holding, left: int, limit_ticks: int | None, reference: int | None
    ) -> str:
        """Return why a spot sale may not be whose fee is more than it brings and the account can add to that."""
        if order.is_buy or not own.sales_may_cost:
            return ""
        prices = [price for price in (limit_ticks, order.trigger_ticks) if price is not None][:1]
        if order.trigger_ticks is None and reference is not None:
            prices.append(reference)  # a limit that takes at once fills at the market
        if not prices:
            return ""
        value = own.position.instrument.value(left, max(prices))
        is_paid = self.funds.pays(order, value, own.dearer_fee(left, value))
        return "" if is_paid else "insufficient_cash"

    def _admit_spot(self, order: ExchangeOrder, lots: int, lock: Lock | None) -> str:
        """Lock the funds of a spot order; without a lock nothing is held back until the open that fills it."""
        instrument = self._holdings[order.leg].position.instrument
        currency = instrument.quote if order.is_buy else instrument.base
        more = _NOTHING if lock is None else self.funds.lock_amount(order, lock, lots - order.filled_lots)
        if order.lock is not None:
            more = EXACT.subtract(more, self.funds.lock_amount(order, order.lock, order.left))
        if lock is not None and not self.funds.is_free(currency, more):
            return "insufficient_cash" if order.is_buy else "insufficient_position"
        self.funds.hold(currency, more)
        order.lock = lock
        return ""

    def _admit_contract(
        self, order: ExchangeOrder, own: Holding, left: int, limit_ticks: int | None, reference: int | None
    ) -> str:
        price = (
            limit_ticks
            if limit_ticks is not None
            else order.trigger_ticks
            if order.trigger_ticks is not None
            else reference
        )
        if price is None:
            return "no_price"
        net = own.net
        held = net.size // net.lot  # a contract has whole lots alone
        after = held + (own.open_lots[order.is_buy] - order.open_lots + left) * order.side.sign
        if after * held >= 0 and abs(after) <= abs(held):
            order.only_closes = False
            return ""
        instrument = own.position.instrument
        if order.trigger_ticks is None and reference is not None and order.is_buy is instrument.is_inverse:
            # A limit that takes at once fills at the market, where one step is worth more than at the limit.
            price = min(price, reference) if instrument.is_inverse else max(price, reference)
        if own.is_linear and self.bound.may_clearly_be(own, after, abs(after) * price * net.lot_tick / net.scale):
            order.only_closes = False
            return ""
        refusal = self.bound.exceeds(own, after, Fraction(instrument.value(1, price)) * abs(after))
        if order.is_sized and refusal == "insufficient_margin":
            order.only_closes = False
            return ""  # its fills are cut to what the account carries
        is_closing = held != 0 and (held > 0) is not order.is_buy
        if is_closing or not refusal:
            order.only_closes = bool(refusal)
            return ""
        return refusal

    # Fills ----------------------------------------------------------------------------------------------------

    def reducible_lots(self, order: ExchangeOrder) -> int:
        """Return how many lots an order that only reduces may still take off the position, in whole size steps."""
        own = self._holdings[order.leg]
        net = own.net
        # Coins sold that were there at the start are no short position: buying them back is a purchase like any other.
        if not net.size or (net.size > 0) is order.is_buy or (own.is_spot and order.is_buy):
            return 0
        instrument = own.position.instrument
        if own.is_spot:
            free = max(Fraction(0), self.funds.available(instrument.base))
            return instrument.lots_within(min(Fraction(own.position.qty), free))
        held = abs(net.size) // net.lot
        return held - held % instrument.lots_per_step

    def closable_lots(self, leg: str, *, is_buy: bool) -> int:
        """Return how much of a position orders of one side close, in whole size steps, whatever others hold back."""
        own = self._holdings[leg]
        position, net = own.position, own.net
        if own.is_spot:
            return 0 if is_buy else max(0, position.instrument.lots_within(position.qty))
        if not net.size or (net.size > 0) is is_buy:
            return 0
        return position.instrument.whole_lots(abs(net.size) // net.lot)

    def affordable_lots(self, order: ExchangeOrder, lots: int, ticks: int, *, is_maker: bool) -> int:
        """Return how many of `lots` the account can have.

        The position bounds what only reduces, cash a spot buy, and equity x `max_leverage` what adds to a contract. A
        spot sale is bounded by its fee, where that is more than it brings.
        """
        own = self._holdings[order.leg]
        if own.is_spot:
            return self._spot_lots(order, own, lots, ticks, is_maker=is_maker)
        is_opening = not own.net.size or (own.net.size > 0) is order.is_buy
        closing = 0 if is_opening else min(lots, self.reducible_lots(order))
        if order.reduce_only or order.only_closes or closing == lots:
            return closing
        if own.is_linear and self.bound.clearly_carries(order, own, lots, ticks, is_maker=is_maker):
            return lots
        return self._carried_lots(order, own, lots, ticks, closing, is_maker=is_maker)

    def _spot_lots(self, order: ExchangeOrder, own: Holding, lots: int, ticks: int, *, is_maker: bool) -> int:
        """Return how many of `lots` of a spot order the account can have."""
        if order.reduce_only:
            allowed = min(lots, self.reducible_lots(order))
        else:
            allowed = self._backed_lots(order, own, lots, ticks, is_maker=is_maker)
        if own.sales_may_cost and not order.is_buy:
            return self.funds.paid_lots(order, own, allowed, ticks, is_maker=is_maker)
        return allowed

    def _backed_lots(self, order: ExchangeOrder, own: Holding, lots: int, ticks: int, *, is_maker: bool) -> int:
        """Return how many of `lots` of a spot order the account has the coins or the cash for."""
        instrument, lock = own.position.instrument, order.lock
        if lock is None and not order.is_buy:  # it travels with its money: the coins that no order holds back are there
            return min(lots, instrument.lots_within(max(Fraction(0), self.funds.available(instrument.base))))
        if lock is None:
            whole = self.funds.lock_amount(order, self.funds.lock_at(order, ticks), lots)
            if self.funds.is_free(instrument.quote, whole):
                return lots
            if not order.is_sized:
                return 0
            free = self.funds.available(instrument.quote)
            return min(lots, instrument.whole_lots(self.funds.lots_for(order, own, free, ticks, is_maker=is_maker)))
        is_within = not order.is_buy or ticks <= lock.ticks
        if is_within and not self.ledger.backs_contracts(lock.currency):
            return lots
        free = self.funds.available(lock.currency) + Fraction(self.funds.lock_amount(order, lock, order.left))
        if order.is_buy:
            return min(lots, instrument.whole_lots(self.funds.lots_for(order, own, free, ticks, is_maker=is_maker)))
        return min(lots, instrument.lots_within(max(Fraction(0), free)))

    def _carried_lots(
        self, order: ExchangeOrder, own: Holding, lots: int, ticks: int, closing: int, *, is_maker: bool
    ) -> int:
        """Return how many of `lots` of a contract, `closing` of them free, leave the notional within the bound."""
        if self.bound.carries(order, own, lots, ticks, is_maker=is_maker):
            return lots
        step = own.position.instrument.lots_per_step
        low, high = 0, -(-(lots - closing) // step)  # whole steps beyond what closes
        while high - low > 1:
            middle = (low + high) // 2
            if self.bound.carries(order, own, closing + middle * step, ticks, is_maker=is_maker):
                low = middle
            else:
                high = middle
        return closing + low * step

    def reason_for_cutting(self, order: ExchangeOrder) -> str:
        """Return the reason for the end of an order that could not take the market's whole offer."""
        if order.reduce_only and not self.reducible_lots(order):
            return "reduce_only_position_closed"
        if not self._holdings[order.leg].is_spot:
            return "insufficient_margin"
        return "insufficient_position" if order.spends is not None and not order.is_buy else "insufficient_cash"
