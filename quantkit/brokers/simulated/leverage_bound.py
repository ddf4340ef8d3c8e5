"""What an account's contracts may come to: the leverage bound, with open orders at their worst."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.holding import Holding
from quantkit.brokers.simulated.locks import Locks
from quantkit.instruments import EXACT, plain, round_up
from quantkit.portfolio import Portfolio, Position

#: Sums of floats decide where they differ by more than this share of their terms' size; each term is right to a few
#: units in the last place, 1e-16 of it. What is closer, equality mostly, is decided exactly.
SLACK: Final = 1e-9


class Shortfall(NamedTuple):
    """The lack of equity for an order in a contract: the equity there, and the equity needed."""

    equity: Fraction
    needed: Fraction


class LeverageBound:
    """Positions in contracts, held and to come, against the equity in their settlement currency.

    The two legs of a contract are two positions: both notionals count, though one may hedge the other.

    Args:
        ledger: The account's balances and positions.
        holdings: What the account has, by position.
        max_leverage: Bound on the notional of contracts over the equity that backs them.
        locks: What spot orders hold back, which backs no order that is sized by money.
        counts_locks: Whether it backs no other either.

    Attributes:
        shortfalls: By instrument, the largest order that was refused for lack of equity in its settlement currency.
    """

    def __init__(
        self,
        ledger: Portfolio,
        holdings: Mapping[str, Holding],
        max_leverage: Decimal,
        locks: Locks,
        *,
        counts_locks: bool,
    ) -> None:
        self._ledger = ledger
        self._locks = locks
        self._counts_locks = counts_locks
        self._max_leverage = Fraction(max_leverage)
        self._max_leverage_float = float(max_leverage)
        self.shortfalls: dict[str, Shortfall] = {}
        self._contracts: dict[str, list[Holding]] = {}  # by settlement currency
        for holding in holdings.values():
            if not holding.is_spot:
                self._contracts.setdefault(holding.currency, []).append(holding)

    # In floats ------------------------------------------------------------------------------------------------

    def _beside(self, own: Holding, *, at_worst: bool, is_sized: bool = False) -> tuple[float, float, float] | None:
        """Return what the account has beside one contract in its settlement currency.

        Returns:
            Equity, its size as the sum of its terms' sizes, and the notional of the other contracts: as held, or
            `at_worst` with their open orders. None where a mark is missing or a contract is not linear.
        """
        num, den = own.money.ratio()
        equity, notional = num / den, 0.0
        size, mark_of = abs(equity), self._ledger.mark
        if is_sized or self._counts_locks:
            held_back = float(self._locks.of(own.currency))
            equity -= held_back
            size += held_back
        for other in self._contracts[own.currency]:
            net = other.net
            if other is own or not (net.size or (at_worst and other.orders)):
                continue
            mark = mark_of(other.id)
            if mark is None or not other.is_linear:
                return None
            per_lot = other.lot_value * mark
            worth, cost = net.size / net.lot * per_lot, net.num / (net.den * net.scale)
            equity += worth - cost
            size += abs(worth) + abs(cost)
            notional += other.most_lots * per_lot if at_worst and other.orders else abs(worth)
        return equity, size, notional

    def _is_clearly_within(self, equity: float, size: float, notional: float) -> bool:
        """Whether a notional is within the bound, and by more than the rounding of floats explains.

        Args:
            equity: What backs it.
            size: The sum of the sizes of the equity's terms.
            notional: The sum of what all contracts are worth.
        """
        leverage = self._max_leverage_float
        return notional + SLACK * (notional + size * leverage) < equity * leverage

    def may_clearly_be(self, own: Holding, after: int, notional: float) -> bool:
        """Whether floats already show what `exceeds` decides: that a position of this worth may be."""
        beside = self._beside(own, at_worst=True)
        if beside is None:
            return False
        equity, size, others = beside
        net = own.net
        if net.size:
            mark = self._ledger.mark(own.id)
            if mark is None:
                return False
            worth, cost = net.size / net.lot * own.lot_value * mark, net.num / (net.den * net.scale)
            equity += worth - cost
            size += abs(worth) + abs(cost)
        return self._is_clearly_within(equity, size, notional + others)

    def clearly_carries(self, order: ExchangeOrder, own: Holding, lots: int, ticks: int, *, is_maker: bool) -> bool:
        """Whether floats already show what `carries` decides: that the account carries a linear contract's fill."""
        beside = None if own.is_per_order else self._beside(own, at_worst=False, is_sized=order.is_sized)
        net, mark = own.net, self._ledger.mark(own.id)
        if beside is None or (mark is None and net.size):
            return False
        equity, size, others = beside
        value, cost = lots * ticks * net.lot_tick / net.scale, net.num / (net.den * net.scale)
        fee = value * own.rates_float[is_maker] + lots * own.per_lot_float
        # What the position is worth at the mark before the fill is part of the equity, and goes out with the gain.
        equity -= fee + cost + value * order.side.sign
        size += abs(fee) + abs(cost) + value
        after = net.size // net.lot + lots * order.side.sign
        worth = after * ticks * net.lot_tick / net.scale
        if not self._is_clearly_within(equity + worth, size + abs(worth), abs(worth) + others):
            return False
        if mark is None:
            return True
        worth = after * own.lot_value * mark
        return self._is_clearly_within(equity + worth, size + abs(worth), abs(worth) + others)

    # Exactly --------------------------------------------------------------------------------------------------

    def exceeds(self, own: Holding, after: int, notional: Fraction) -> str:
        """Return why a position worth `notional` may not be, beside all others at their worst; empty if it may.

        Contracts are backed by the equity in the currency that they settle in, and by no other.
        """
        equity = self._ledger.equity_in(own.currency)
        if equity is None:
            return "no_price"
        equity -= self._held_back(own.currency, is_sized=False)
        for other in self._contracts[own.currency]:
            lots = other.most_lots
            if other is own or not lots:
                continue
            mark = self._ledger.mark(other.id)
            if mark is None:
                return "no_price"
            instrument = other.position.instrument
            notional += Fraction(instrument.notional(instrument.qty_decimal(1), mark)) * lots
        if notional <= equity * self._max_leverage:
            return ""
        needed = notional / self._max_leverage
        before = self.shortfalls.get(own.id)
        if before is None or needed > before.needed:
            self.shortfalls[own.id] = Shortfall(equity, needed)
        return "insufficient_margin"

    def carries(self, order: ExchangeOrder, own: Holding, lots: int, ticks: int, *, is_maker: bool) -> bool:
        """Whether the notional is within the bound after a fill, with its fee paid, by the mark and by its own price.

        The mark shows what the curve shows. Where the fill is the newest price there is, its own price says more.
        """
        ledger, position, instrument = self._ledger, own.position, own.position.instrument
        equity = ledger.equity_in(own.currency)
        others = self._notional_held(own.currency, but=position)
        if equity is None or others is None:
            return False
        equity -= self._held_back(own.currency, is_sized=order.is_sized)
        value, mark = instrument.value(lots, ticks), ledger.mark(own.id)
        of_fill, _ = own.fee(order.side, lots, value, is_maker=is_maker)
        fee = own.fee_due(order, of_fill)
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

    def _held_back(self, currency: str, *, is_sized: bool) -> Fraction:
        """Return what spot orders hold back of a currency, where that backs no contract of an order."""
        return Fraction(self._locks.of(currency)) if is_sized or self._counts_locks else Fraction(0)

    def unpledged(self, currency: str) -> Fraction:
        """Return the balance less what open contracts that settle in it need within the bound."""
        balance = self._ledger.balance_exact(currency)
        if not self._ledger.open_contracts(currency):
            return balance
        equity, notional = self._ledger.equity_in(currency), self._notional_held(currency)
        if equity is None or notional is None:
            return Fraction(0)
        return min(balance, equity - notional / self._max_leverage)

    def _notional_held(self, currency: str, *, but: Position | None = None) -> Fraction | None:
        """Return what the open contracts that settle in a currency are worth at their marks; None without a mark."""
        total = Fraction(0)
        for position in self._ledger.open_contracts(currency):
            if position is not but:
                mark = self._ledger.mark(position.instrument.id)
                if mark is None:
                    return None
                total += abs(Fraction(position.instrument.notional(position.qty, mark)))
        return total

    def remedy(self, name: str) -> str:
        """Return the lack of equity for an instrument, and the option that gives it."""
        currency = self._ledger.instruments[name].settle_currency
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
