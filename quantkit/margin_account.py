"""An account under margin: what backs its positions, and how far they are from being liquidated."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import NamedTuple

from quantkit.instruments import decimal_of
from quantkit.margin import Margin, MarginTerms, OpenContract
from quantkit.orders import leg_of
from quantkit.portfolio import Portfolio, Position


class MarkedPosition(NamedTuple):
    """A position at a mark.

    Attributes:
        position: The ledger's.
        contract: The same as its formulas take it.
        rates: Maintenance rate of its tier and taker's rate together.
        mark: The price.
    """

    position: Position
    contract: OpenContract
    rates: Fraction
    mark: Fraction

    @property
    def unrealised(self) -> Fraction:
        """Its open profit."""
        return self.contract.unrealised(self.mark)

    @property
    def required(self) -> Fraction:
        """Its maintenance margin and fee reserve."""
        return self.contract.notional(self.mark) * self.rates


class TakenOver(NamedTuple):
    """A position that the exchange takes over.

    Attributes:
        position: The ledger's.
        price: At which nothing is left of its part of the margin; None where there is no such price.
        loss: What it costs the account, fees and all, in the settlement currency.
    """

    position: Position
    price: Fraction | None
    loss: Fraction


class MarginAccount:
    """Says what backs the positions of a ledger.

    A scope is what shares one margin: a position alone, or in cross margin all contracts that settle in a currency. The
    two legs of a contract are two positions; in cross margin their sizes together decide the tier of both.

    Args:
        ledger: Balances and positions.
        terms: How contracts are margined.
    """

    def __init__(self, ledger: Portfolio, terms: MarginTerms) -> None:
        self.ledger = ledger
        self.terms = terms

    def contract(self, position: Position) -> OpenContract:
        """Return a position as its formulas take it."""
        instrument = position.instrument
        size = Fraction(position.qty) * Fraction(instrument.unit)
        return OpenContract(size, abs(position.open_value), instrument.is_inverse)

    def rates(self, position: Position) -> Fraction:
        """Return maintenance rate and taker's rate of a position."""
        terms = self.terms.contracts[position.instrument.id]
        qty = sum((abs(Fraction(each.qty)) for each in self._tiered_with(position)), Fraction(0))
        return terms.tiers.rate(qty) + terms.fee_rate

    def _tiered_with(self, position: Position) -> list[Position]:
        """Return the positions whose sizes together decide the tier of one."""
        if not (self.terms.is_cross and self.ledger.is_long_short):
            return [position]
        name = position.instrument.id
        return [self.ledger.leg(leg_of(name, side)) for side in self.ledger.sides_of(name)]

    def own_margin(self, position: Position) -> Fraction:
        """Return the isolated margin of a position: its initial margin at entry, and funding since."""
        if position.is_flat:
            return Fraction(0)
        leverage = self.terms.contracts[position.instrument.id].leverage
        return abs(position.open_value) / leverage + position.margin_funding

    def initial(self, position: Position, price: Fraction) -> Fraction:
        """Return the initial margin of a position: as it was at entry if isolated, else at a price."""
        if not self.terms.is_cross:
            return self.own_margin(position)
        return self.contract(position).notional(price) / self.terms.contracts[position.instrument.id].leverage

    # Scopes -------------------------------------------------------------------------------------------------------

    def scope_of(self, position: Position) -> list[Position]:
        """Return the open positions that share the margin of one."""
        if self.terms.is_cross:
            return self.ledger.open_contracts(position.instrument.settle_currency)
        return [] if position.is_flat else [position]

    def margin_of(self, scope: Sequence[Position]) -> Fraction:
        """Return what backs a scope's positions, without their open profit."""
        if self.terms.is_cross:
            return self.ledger.balance_exact(scope[0].instrument.settle_currency)
        return self.own_margin(scope[0])

    def marked(self, scope: Sequence[Position], mark_of: Callable[[str], float | None]) -> list[MarkedPosition] | None:
        """Return a scope's positions at their marks; None while one is missing."""
        found = []
        for position in scope:
            mark = mark_of(position.instrument.id)
            if mark is None:
                return None
            price = Fraction(decimal_of(mark))
            found.append(MarkedPosition(position, self.contract(position), self.rates(position), price))
        return found

    def is_used_up(self, marked: Sequence[MarkedPosition]) -> bool:
        """Whether the margin ratio of a scope is 1 or less."""
        return self.left(marked) <= sum(each.required for each in marked)

    def left(self, marked: Sequence[MarkedPosition]) -> Fraction:
        """Return what is left of a scope's margin at the marks."""
        margin = self.margin_of([each.position for each in marked])
        return margin + sum((each.unrealised for each in marked), Fraction(0))

    def taken_over(self, marked: Sequence[MarkedPosition]) -> list[TakenOver]:
        """Return how the positions of a scope end whose margin is used up: together they lose all of it.

        What is left of the margin at the marks is shared in proportion to what each position requires.
        """
        left = self.left(marked)
        weights = [each.required for each in marked]
        if not any(weights):
            weights = [each.contract.notional(each.mark) for each in marked]
        whole, found = sum(weights), []
        for each, weight in zip(marked, weights, strict=True):
            loss = left * weight / whole - each.unrealised
            found.append(TakenOver(each.position, each.contract.bankruptcy_price(loss), loss))
        return found

    # For strategies -----------------------------------------------------------------------------------------------

    def margin(self, name: str, side: str = "") -> Margin:
        """Return the margin of a position as it stands.

        Raises:
            OrderError: The side is missing, unknown or too much.
        """
        position = self.ledger.position(name, side)
        scope = self.scope_of(position)
        marked = None if position.is_flat else self.marked(scope, self.ledger.mark)
        if marked is None:
            return Margin()
        (own,) = [each for each in marked if each.position is position]
        backing = self.margin_of(scope)
        total = backing + sum(each.unrealised for each in marked)
        required = sum(each.required for each in marked)
        moving = [each for each in marked if each.position.instrument.id == name]
        others = sum((each.unrealised - each.required for each in marked if each not in moving), Fraction(0))
        if moving == [own]:
            price = own.contract.liquidation_price(backing + others, own.rates)
        else:
            price = _joint_liquidation_price(moving, backing + others)
        terms = self.terms.contracts[name]
        return Margin(
            initial=float(self.initial(position, own.mark)),
            maintenance=float(own.contract.notional(own.mark) * (own.rates - terms.fee_rate)),
            ratio=float(total / required) if required else None,
            liquidation_price=None if price is None else float(price),
        )


def _joint_liquidation_price(legs: Sequence[MarkedPosition], margin: Fraction) -> Fraction | None:
    """Return the mark at which a margin for both legs of a contract is used up, None where there is none.

    Profit and requirement of both are a straight line over the price, of an inverse contract over its inverse.
    """
    is_inverse = legs[0].contract.is_inverse
    slope, there = Fraction(0), margin
    for each in legs:
        size, sign = each.contract.size, 1 if each.contract.size > 0 else -1
        there += each.contract.open_value * (sign if is_inverse else -sign)
        slope += (-size if is_inverse else size) - abs(size) * each.rates
    if not slope or there / slope >= 0:
        return None
    found = -there / slope
    return 1 / found if is_inverse else found
