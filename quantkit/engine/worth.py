"""What an account is worth at given marks: as floats for the curve and for solvency, exactly for its start.

The same operations in the same order count one moment and many: floats and aligned arrays of them give equal digits.
"""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantkit.instruments import decimal_of
from quantkit.portfolio import Portfolio

Floats: TypeAlias = NDArray[np.float64]
#: A float at one moment, or an array of them for several: the type checker has no word for what works on both.
Amount: TypeAlias = Any
#: Likewise a bool or an array of them.
Truth: TypeAlias = Any


class PositionView:
    """A position as floats.

    Attributes:
        name: The instrument, whose mark values it.
        leg: The key of the position.
        size: Signed, in units of the base, of the quote for inverse contracts; zero while flat.
        open_value: What it cost, signed like `size`.
        is_long: Whether it gains where the mark rises.
        is_inverse: Whether it is one of an inverse contract.
        converter, is_inverted: How its currency converts; None where it is reported in.
    """

    __slots__ = ("converter", "is_inverse", "is_inverted", "is_long", "leg", "name", "open_value", "size")

    def __init__(self, name: str, leg: str, converter: str | None, is_inverted: bool, *, is_inverse: bool) -> None:
        self.name = name
        self.leg = leg
        self.size: Amount = 0.0
        self.open_value: Amount = 0.0
        self.is_long = True
        self.is_inverse = is_inverse
        self.converter = converter
        self.is_inverted = is_inverted

    def at(self, size: Amount, open_value: Amount) -> "PositionView":
        """Return the position as it is at other moments."""
        other = PositionView(self.name, self.leg, self.converter, self.is_inverted, is_inverse=self.is_inverse)
        other.size, other.open_value = size, open_value
        return other


class CurrencyBalance:
    """One currency as floats.

    Attributes:
        currency: Its name.
        amount: The balance.
        contracts: Those that settle in it and were ever traded, in that order.
        converter, is_inverted: How it converts; None where it is reported in.
    """

    __slots__ = ("amount", "contracts", "converter", "currency", "is_inverted")

    def __init__(self, currency: str, converter: str | None, is_inverted: bool, amount: Amount) -> None:
        self.currency = currency
        self.amount = amount
        self.contracts: list[PositionView] = []
        self.converter = converter
        self.is_inverted = is_inverted

    def at(self, amount: Amount) -> "CurrencyBalance":
        """Return the currency as it is at other moments, without its contracts."""
        return CurrencyBalance(self.currency, self.converter, self.is_inverted, amount)

    def notional(self, marks: Mapping[str, float]) -> float:
        """Return the gross value of its contracts in its own currency, at one moment."""
        total = 0.0
        for held in self.contracts:
            mark = marks.get(held.name)
            if mark is not None:
                size = abs(float(held.size))
                total += size / mark if held.is_inverse else size * mark
        return total


class AccountView:
    """An account as floats, at one moment or at several.

    Attributes:
        balances: In the ledger's order.
        positions: Every position, in the order of first trades.
    """

    __slots__ = ("balances", "positions")

    def __init__(self, balances: list[CurrencyBalance], positions: list[PositionView]) -> None:
        self.balances = balances
        self.positions = positions

    def worths(self, lows: Mapping[str, Amount], highs: Mapping[str, Amount]) -> tuple[Amount, list[Amount]]:
        """Return the equity in the report currency, and the worth of each currency in itself.

        Args:
            lows, highs: The marks; where they differ, both are the least that can come of marks between them, if no
                currency that converts has debts. Every operation rises or falls with its mark, and rounding keeps that.
        """
        total: Amount = 0.0
        worths: list[Amount] = []
        for balance in self.balances:
            worth = balance.amount
            for held in balance.contracts:
                mark = (lows if held.is_long else highs).get(held.name)
                if mark is not None:
                    if held.is_inverse:
                        worth = worth + (held.open_value - held.size / mark)
                    else:
                        worth = worth + (held.size * mark - held.open_value)
            worths.append(worth)
            if balance.converter is None:
                total = total + worth
            else:
                rate = (highs if balance.is_inverted else lows).get(balance.converter)
                if rate is not None:
                    total = total + (worth / rate if balance.is_inverted else worth * rate)
        return total, worths

    def gross(self, marks: Mapping[str, Amount]) -> Amount:
        """Return the gross notional in the report currency."""
        gross: Amount = 0.0
        for held in self.positions:
            mark = marks.get(held.name)
            if mark is None:
                continue
            size = abs(held.size)
            worth = size / mark if held.is_inverse else size * mark
            if held.converter is not None:
                rate = marks.get(held.converter)
                if rate is None:
                    continue
                worth = worth / rate if held.is_inverted else worth * rate
            gross = gross + worth
        return gross

    def matters(self) -> dict[str, Truth]:
        """Return whether an instrument's mark decides the equity, for those that may."""
        found: dict[str, Truth] = {}
        for held in self.positions:
            is_held = held.size != 0
            found[held.name] = found[held.name] | is_held if held.name in found else is_held
        for balance in self.balances:
            if balance.converter is not None:
                is_needed: Truth = balance.amount != 0
                for held in balance.contracts:
                    is_needed = is_needed | found[held.name]
                found[balance.converter] = found.get(balance.converter, False) | is_needed
        return found

    @property
    def cash(self) -> Amount:
        """The balance of the report currency."""
        return next((balance.amount for balance in self.balances if balance.converter is None), 0.0)

    def at(self, states: NDArray[np.int64]) -> "AccountView":
        """Return the account at moments, of a view whose numbers go along states.

        Args:
            states: The state of each moment.
        """
        found = {
            held.leg: held.at(along_moments(held.size, states), along_moments(held.open_value, states))
            for held in self.positions
        }
        balances = []
        for balance in self.balances:
            there = balance.at(along_moments(balance.amount, states))
            there.contracts = [found[held.leg] for held in balance.contracts]
            balances.append(there)
        return AccountView(balances, list(found.values()))


def along_moments(number: Amount, states: NDArray[np.int64]) -> Amount:
    """Return a number along states at moments; a single number is the same at all of them."""
    return number[states] if isinstance(number, np.ndarray) else number


def exposure(gross: Amount, equity: Floats) -> Floats:
    """Return the gross notional over the equity: infinite for positions without equity."""
    lost = np.where(np.greater(gross, 0), np.inf, 0.0)
    return np.asarray(np.where(equity > 0, gross / np.where(equity > 0, equity, 1.0), lost), np.float64)


def equity_exact(ledger: Portfolio, marks: Mapping[str, float]) -> Fraction:
    """Return the equity at given marks, as the ledger would count it."""
    total = Fraction(0)
    for currency in ledger.currencies:
        amount = ledger.balance_exact(currency)
        for position in ledger.positions.values():
            if not position.instrument.is_spot and position.instrument.settle_currency == currency:
                mark = marks.get(position.instrument.id)
                amount += position.unrealised_exact(mark) if mark is not None else 0
        if amount and currency != ledger.report_currency:
            via = ledger.converter(currency)
            rate = Fraction(decimal_of(marks[via.id]))
            amount = amount * rate if via.base == currency else amount / rate
        total += amount
    return total


def converters_needed(ledger: Portfolio) -> dict[str, str]:
    """Return the instruments through which balances are counted, each with the currency it converts."""
    others = (currency for currency in ledger.currencies if currency != ledger.report_currency)
    return {ledger.converter(currency).id: currency for currency in others if ledger.balance_exact(currency)}
