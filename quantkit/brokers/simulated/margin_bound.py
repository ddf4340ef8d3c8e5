"""What an account's contracts may come to under margin: positions and orders paid for, within a tier's leverage."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, Final, TypeAlias

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.holding import Holding
from quantkit.brokers.simulated.leverage_bound import SLACK, Shortfall
from quantkit.brokers.simulated.locks import Locks
from quantkit.instruments import plain, round_up
from quantkit.margin_account import MarginAccount
from quantkit.portfolio import Position

#: The reason of orders beyond the tiers that allow the leverage.
LEVERAGE_TIER: Final = "leverage_tier"
#: A float, or a fraction: the same rule counts both.
_Amount: TypeAlias = Any


class MarginBound:
    """Positions in contracts, held and to come, against the margin that their settlement currency has.

    Isolated, position margins and order margins are within the balance. In cross margin, initial margins at the marks
    and order margins are within the equity. What spot orders hold back is neither.

    Args:
        margins: What backs the positions.
        holdings: What the account has, by position.
        locks: What spot orders hold back.

    Attributes:
        shortfalls: By instrument, the largest order that was refused for lack of margin.
    """

    def __init__(self, margins: MarginAccount, holdings: Mapping[str, Holding], locks: Locks) -> None:
        self.shortfalls: dict[str, Shortfall] = {}
        self._locks = locks
        self._margins = margins
        self._ledger = margins.ledger
        self._is_cross = margins.terms.is_cross
        self._contracts: dict[str, list[Holding]] = {}  # by settlement currency
        self._rates: dict[str, tuple[float, float]] = {}  # initial margin, and with the fee that opening costs
        self._exact_rates: dict[str, tuple[Fraction, Fraction]] = {}
        self._largest: dict[str, int] = {}  # in lots
        for holding in holdings.values():
            if not holding.is_spot:
                terms, instrument = margins.terms.contracts[holding.id], holding.position.instrument
                initial = 1 / terms.leverage
                self._contracts.setdefault(holding.currency, []).append(holding)
                self._exact_rates[holding.id] = initial, initial + terms.fee_rate
                self._rates[holding.id] = float(initial), float(initial + terms.fee_rate)
                self._largest[holding.id] = terms.largest // Fraction(instrument.lot)
        #: The other leg of a position in cross margin, which shares its tier.
        self._twins: dict[str, Holding] = {}
        if self._is_cross:
            contracts = [each for of_currency in self._contracts.values() for each in of_currency]
            self._twins = {
                own.leg: twin for own in contracts for twin in contracts if twin.id == own.id and twin is not own
            }

    def _is_too_large(self, own: Holding, after: int, *, at_worst: bool) -> bool:
        """Whether no tier allows so many lots with the leverage, beside the other leg: as held, or with its orders."""
        twin = self._twins.get(own.leg)
        beside = 0 if twin is None else twin.most_lots if at_worst else abs(twin.net.size // twin.net.lot)
        return abs(after) + beside > self._largest[own.id]

    # In floats ------------------------------------------------------------------------------------------------

    def _beside(self, own: Holding, *, at_worst: bool) -> tuple[float, float] | None:
        """Return what the account has for one contract, and the sum of its terms' sizes; None where it is not clear."""
        num, den = own.money.ratio()
        held_back = float(self._locks.of(own.currency))
        free = num / den - held_back
        size = abs(num / den) + held_back
        for other in self._contracts[own.currency]:
            net = other.net
            if other is own or not (net.size or (at_worst and other.orders)):
                continue
            mark = self._ledger.mark(other.id)
            if mark is None or not other.is_linear:
                return None
            per_lot, held, cost = other.lot_value * mark, net.size // net.lot, net.num / (net.den * net.scale)
            sells, buys = other.open_lots if at_worst else (0, 0)
            margin = self._margin_float(other, per_lot)
            needed = _needed(held, buys, sells, per_lot * self._rates[other.id][1], margin)
            free -= needed
            size += needed
            if self._is_cross:
                worth = held * per_lot
                free += worth - cost
                size += abs(worth) + abs(cost)
        return free, size

    def _margin_float(self, own: Holding, per_lot: float) -> float:
        """Return the initial margin of a position."""
        net, rate = own.net, self._rates[own.id][0]
        if self._is_cross:
            return abs(net.size // net.lot) * per_lot * rate
        funding = float(own.position.margin_funding) if own.position.has_margin_funding else 0.0
        return abs(net.num) / (net.den * net.scale) * rate + funding

    def may_clearly_be(self, own: Holding, after: int, notional: float) -> bool:
        """Whether floats already show what `exceeds` decides: that a position of so many lots may be.

        Args:
            own: The contract.
            after: The position that the order may lead to, in lots.
            notional: Its worth.
        """
        beside = self._beside(own, at_worst=True)
        if beside is None or self._is_too_large(own, after, at_worst=True):
            return False
        free, size = beside
        net, per_lot = own.net, notional / abs(after)
        held = net.size // net.lot
        needed = self._needed_of(own, held, after, per_lot * self._rates[own.id][1], self._margin_float(own, per_lot))
        if self._is_cross and held:
            mark = self._ledger.mark(own.id)
            if mark is None:
                return False
            worth, cost = held * own.lot_value * mark, net.num / (net.den * net.scale)
            free += worth - cost
            size += abs(worth) + abs(cost)
        return bool(needed + SLACK * (needed + size) < free)

    def clearly_carries(self, order: ExchangeOrder, own: Holding, lots: int, ticks: int, *, is_maker: bool) -> bool:
        """Whether floats already show what `carries` decides: that the account carries a linear contract's fill."""
        beside = None if own.is_per_order else self._beside(own, at_worst=False)
        net = own.net
        held, sign = net.size // net.lot, order.side.sign
        after = held + lots * sign
        if beside is None or after * sign <= lots - 1 or self._is_too_large(own, after, at_worst=False):
            return False  # a flip is counted exactly
        free, size = beside
        value = lots * ticks * net.lot_tick / net.scale
        fee = value * own.rates_float[is_maker] + lots * own.per_lot_float
        rate = self._rates[own.id][0]
        free -= fee
        size += abs(fee) + value
        if not self._is_cross:
            needed = self._margin_float(own, 0.0) + value * rate
            return needed + SLACK * (needed + size) < free and self._clearly_outlives(own, after, value * sign, needed)
        cost, mark = net.num / (net.den * net.scale), self._ledger.mark(own.id)
        free -= cost + value * sign
        size += abs(cost)
        price = ticks * net.lot_tick / net.scale
        for per_lot in (price, price if mark is None else own.lot_value * mark):
            worth = after * per_lot
            needed = abs(worth) * rate
            if not needed + SLACK * (needed + size + abs(worth)) < free + worth:
                return False
        return mark is not None or not held

    def _clearly_outlives(self, own: Holding, after: int, value: float, margin: float) -> bool:
        """Whether floats show that a linear position, enlarged by a signed value, has margin left at its mark."""
        net, mark = own.net, self._ledger.mark(own.id)
        if mark is None:
            return True
        worth, cost = after * own.lot_value * mark, net.num / (net.den * net.scale) + value
        return worth - cost + margin > SLACK * (abs(worth) + abs(cost) + margin)

    # Exactly --------------------------------------------------------------------------------------------------

    def exceeds(self, own: Holding, after: int, notional: Fraction) -> str:
        """Return why a position of so many lots may not be, beside all others at their worst; empty if it may.

        Args:
            own: The contract.
            after: The position that the order may lead to, in lots.
            notional: Its worth.
        """
        if self._is_too_large(own, after, at_worst=True):
            return LEVERAGE_TIER
        free = self._free(own.currency)
        if free is None:
            return "no_price"
        per_lot, held = notional / abs(after), own.net.size // own.net.lot
        with_fee = self._exact_rates[own.id][1]
        needed = self._needed_of(own, held, after, per_lot * with_fee, self._margin(own, per_lot))
        for other in self._contracts[own.currency]:
            if other is own or not other.most_lots:
                continue
            mark = self._ledger.mark(other.id)
            if mark is None:
                return "no_price"
            instrument = other.position.instrument
            worth = Fraction(instrument.notional(instrument.qty_decimal(1), mark))
            sells, buys = other.open_lots
            per_lot, with_fee = worth, self._exact_rates[other.id][1]
            other_held = other.net.size // other.net.lot
            needed += _needed(other_held, buys, sells, per_lot * with_fee, self._margin(other, per_lot))
        if needed <= free:
            return ""
        before = self.shortfalls.get(own.id)
        if before is None or needed > before.needed:
            self.shortfalls[own.id] = Shortfall(free, needed)
        return "insufficient_margin"

    def carries(self, order: ExchangeOrder, own: Holding, lots: int, ticks: int, *, is_maker: bool) -> bool:
        """Whether the margin carries a fill with its fee paid, by the mark and by its own price.

        An isolated position has to have margin left at the mark: what is bought so far from it that it has none is lost
        at once, and nothing else backs it.
        """
        ledger, position, instrument, net = self._ledger, own.position, own.position.instrument, own.net
        sign = order.side.sign
        held = net.size // net.lot
        after = held + lots * sign
        if self._is_too_large(own, after, at_worst=False):
            return False
        free = self._free(own.currency)
        others = self._held(own.currency, but=position)
        if free is None or others is None:
            return False
        value = Fraction(instrument.value(lots, ticks))
        of_fill, _ = own.fee(order.side, lots, instrument.value(lots, ticks), is_maker=is_maker)
        free -= Fraction(own.fee_due(order, of_fill)) + others
        rate, mark, signed = self._exact_rates[own.id][0], ledger.mark(own.id), value * sign
        if not self._is_cross:
            closed = min(abs(held), lots) if held * sign < 0 else 0
            kept = Fraction(abs(held) - closed, abs(held)) if held else Fraction(0)
            free += self._taken(own, value * closed / lots, 1 - kept) if closed else 0
            opened = value * (lots - closed) / lots
            margin = self._margin(own, value) * kept + opened * rate
            if margin > free:
                return False
            if mark is None:
                return True
            worth = Fraction(instrument.notional(instrument.qty_decimal(after), mark))
            gain = worth - position.open_value * kept - opened * sign
            return margin + (-gain if instrument.is_inverse else gain) > 0
        before = Fraction(instrument.notional(position.qty, mark)) if held and mark is not None else Fraction(0)
        for price in (instrument.price_decimal(ticks), mark):
            if price is not None:
                worth = Fraction(instrument.notional(instrument.qty_decimal(after), price))
                gain = worth - before - signed
                if abs(worth) * rate > free + (-gain if instrument.is_inverse else gain):
                    return False
        return True

    def _taken(self, own: Holding, value: Fraction, share: Fraction) -> Fraction:
        """Return the profit of closing a share of a position for a value."""
        gain = value - abs(own.position.open_value) * share
        return gain if (own.net.size > 0) is not own.position.instrument.is_inverse else -gain

    def unpledged(self, currency: str) -> Fraction:
        """Return the balance less what open contracts that settle in it need."""
        balance = self._ledger.balance_exact(currency)
        if not self._ledger.open_contracts(currency):
            return balance
        backing, held = self._backing(currency), self._held(currency)
        if backing is None or held is None:
            return Fraction(0)
        return min(balance, backing - held)

    def _backing(self, currency: str) -> Fraction | None:
        """Return what there is for margin: the balance, in cross margin the equity, None while a mark is missing."""
        return self._ledger.equity_in(currency) if self._is_cross else self._ledger.balance_exact(currency)

    def _free(self, currency: str) -> Fraction | None:
        """Return what there is for margin beside what spot orders hold back; None while a mark is missing."""
        backing = self._backing(currency)
        return None if backing is None else backing - Fraction(self._locks.of(currency))

    def _margin(self, own: Holding, per_lot: Fraction) -> Fraction:
        """Return the initial margin of a position, in cross margin at a worth of each lot."""
        if self._is_cross:
            return abs(own.net.size // own.net.lot) * per_lot * self._exact_rates[own.id][0]
        return self._margins.own_margin(own.position)

    def _held(self, currency: str, *, but: Position | None = None) -> Fraction | None:
        """Return the initial margins of the open positions that settle in a currency; None without a mark."""
        total = Fraction(0)
        for position in self._ledger.open_contracts(currency):
            if position is but:
                continue
            name = position.instrument.id
            if self._is_cross:
                mark = self._ledger.mark(name)
                if mark is None:
                    return None
                notional = Fraction(position.instrument.notional(position.qty, mark))
                total += abs(notional) * self._exact_rates[name][0]
            else:
                total += self._margins.own_margin(position)
        return total

    @staticmethod
    def _needed_of(own: Holding, held: int, after: int, cost: _Amount, margin: _Amount) -> _Amount:
        """Return what a contract needs with an order that may lead to a position of so many lots."""
        sells, buys = own.open_lots
        if after > held:
            return _needed(held, after - held, sells, cost, margin)
        return _needed(held, buys, held - after, cost, margin)

    def remedy(self, name: str) -> str:
        """Return the lack of margin for an instrument, and the option that gives it."""
        currency = self._ledger.instruments[name].settle_currency
        shortfall = self.shortfalls.get(name)
        if shortfall is None:
            return f": more than the margin in {currency}; send less"
        give = f"--cash {currency}={plain(round_up(shortfall.needed))}"
        if shortfall.equity <= 0:
            return f": {name} is margined in {currency}; the account has none ({give})"
        return f": more than the margin in {currency}; send less, or raise the cash ({give}) or --leverage"


def _needed(held: int, buys: int, sells: int, cost: _Amount, margin: _Amount) -> _Amount:
    """Return what a position and its orders need: of position with buys and position with sells the larger.

    Args:
        held, buys, sells: Position and orders, in lots.
        cost: What opening one lot needs, its fee included.
        margin: What the position has or needs by itself.
    """
    if held > 0:
        return max(margin + buys * cost, (sells - held) * cost)
    if held < 0:
        return max(margin + sells * cost, (buys + held) * cost)
    return max(buys, sells) * cost
