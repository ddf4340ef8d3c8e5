"""Money in whole numbers: net positions with their cost, and balances.

An amount is an `int` that counts a power of ten of its currency, a size one that counts a power of ten of its unit. The
first amount that is finer than the scale makes the scale finer; a scale never becomes coarser. Nothing is rounded, so
the order in which finer amounts come does not matter.
"""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Final

from quantkit.instruments import EXACT, Instrument

#: An open value whose denominator outgrows this many bits is rounded to `_FINEST`: far below any shown digit, and
#: it keeps a market maker that is never flat from dragging along ever longer numbers.
_MAX_BITS: Final = 1024
_FINEST: Final = 10**60
#: A denominator up to this is not worth reducing, nor can it be near `_MAX_BITS` at any scale that market data need.
_LARGE: Final = 2**62


def decimal_places(amount: Decimal) -> int:
    """Return how many decimal places an amount is written with, zero or more.

    Examples:
        >>> decimal_places(Decimal("1.50")), decimal_places(Decimal("1E+3"))
        (2, 0)
    """
    exponent = amount.as_tuple().exponent
    assert isinstance(exponent, int)  # finite
    return max(0, -exponent)


class Netting:
    """A net size in one instrument and what it cost.

    Attributes:
        size: Signed; counts `1 / size_scale` of the instrument's unit.
        lot: One lot in the same count.
        lot_tick: The value of one lot at a price of one tick, in the count of money; 0 for an inverse contract, whose
            value is a quotient.
        flow: What the fills brought in, below zero for what they cost; counts `1 / scale` of the currency.
        num, den: The open value is `num / den` in the same count. `den` is 1 but where a part of the position was
            closed whose cost is no whole number.
        size_scale, scale: `10 ** size_places` and `10 ** places`.
        sign: -1 for an inverse contract, whose profit falls as its value rises, else 1.
        is_used: Whether anything has been booked.
    """

    __slots__ = (
        "den",
        "flow",
        "is_used",
        "lot",
        "lot_tick",
        "num",
        "places",
        "scale",
        "sign",
        "size",
        "size_places",
        "size_scale",
    )

    def __init__(self, instrument: Instrument) -> None:
        self.sign = -1 if instrument.is_inverse else 1
        self.size = self.size_places = self.lot = 0
        self.flow = self.num = self.lot_tick = self.places = 0
        self.den = self.scale = self.size_scale = 1
        self.is_used = False
        self.use(instrument)

    def use(self, instrument: Instrument) -> None:
        """Count in the lots and ticks of an instrument from now on."""
        self.lot = self.lot_tick = 0
        self.lot = self.count_size(instrument.lot)
        if not instrument.is_inverse:
            self.lot_tick = self.count_money(instrument.value(1, 1))

    def count_size(self, qty: Decimal) -> int:
        """Return a size in the scale, which becomes finer if need be: `qty` is written as the finest size was."""
        places = decimal_places(qty)
        if places > self.size_places:
            finer = 10 ** (places - self.size_places)
            self.size, self.lot, self.size_scale = self.size * finer, self.lot * finer, self.size_scale * finer
            self.size_places = places
        return int(EXACT.scaleb(qty, self.size_places))

    def count_money(self, amount: Decimal) -> int:
        """Return an amount in the scale, which becomes finer if need be."""
        scaled = EXACT.scaleb(amount, self.places)
        count = int(scaled)
        if count == scaled:
            return count
        finer = 10 ** (decimal_places(amount) - self.places)
        self.flow, self.num, self.scale = self.flow * finer, self.num * finer, self.scale * finer
        if self.num % self.den == 0:  # whole in the finer count
            self.num, self.den = self.num // self.den, 1
        self.lot_tick *= finer
        self.places = decimal_places(amount)
        return int(EXACT.scaleb(amount, self.places))

    def trade(self, size: int, value: int) -> None:
        """Book a signed size that cost `value`, signed like it: add, reduce, or flip through zero."""
        held = self.size
        self.is_used = True
        self.flow -= value
        self.size = held + size
        if not held or (held > 0) is (size > 0):
            self.num += value * self.den
        else:
            closed, before = abs(size), abs(held)
            if closed < before:
                self.num *= before - closed
                self.den *= before
            else:
                self.num, self.den = value * (closed - before), closed
            if self.num % self.den == 0:
                self.num, self.den = self.num // self.den, 1
        if self.den > _LARGE:
            self._shorten()

    def _shorten(self) -> None:
        """Reduce the open value; round it where even so its denominator is too long."""
        self._reduce()
        # The reduced denominator in whole units of the currency can only be shorter than this one.
        if (self.den * self.scale).bit_length() > _MAX_BITS:
            exact = self.open_value
            if exact.denominator.bit_length() > _MAX_BITS:
                self.num, self.den = round(exact * _FINEST) * self.scale, _FINEST
                self._reduce()

    def _reduce(self) -> None:
        common = math.gcd(self.num, self.den)
        self.num, self.den = self.num // common, self.den // common

    @property
    def open_value(self) -> Fraction:
        """What the size cost."""
        return Fraction(self.num, self.den * self.scale)

    @property
    def realised(self) -> Fraction:
        """The profit taken so far."""
        return Fraction(*self.realised_ratio)

    @property
    def realised_ratio(self) -> tuple[int, int]:
        """`realised` as a quotient of whole numbers, not reduced."""
        return self.sign * (self.flow * self.den + self.num), self.den * self.scale


class CurrencyLedger:
    """The money of one currency: what was settled in it, and what the contracts brought that settle in it.

    Attributes:
        settled: Deposits, spot trades, fees and funding; counts `10 ** -places` of the currency.
        brought: The profit taken of the contracts whose open value is whole, in the same count.
        fractional: The other contracts.
        scale: `10 ** places`, at least as fine as that of each of the contracts.
    """

    __slots__ = ("_unit", "brought", "fractional", "places", "scale", "settled")

    def __init__(self) -> None:
        self.settled = self.brought = self.places = 0
        self.scale = 1
        self._unit = Decimal(1)  # what the scale is, as a power of ten: to shift an amount's point is cheap
        self.fractional: list[Netting] = []

    def settle(self, amount: Decimal) -> None:
        """Add an amount, below zero for what goes out."""
        scaled = EXACT.multiply(amount, self._unit)
        count = int(scaled)
        if count != scaled:
            self._refine(decimal_places(amount))
            count = int(EXACT.multiply(amount, self._unit))
        self.settled += count

    def settle_count(self, count: int, places: int) -> None:
        """Add an amount that counts `10 ** -places` of the currency, below zero for what goes out."""
        if places > self.places:
            self._refine(places)
        self.settled += count * 10 ** (self.places - places)

    def follow(self, contract: Netting, taken: int | None, scale: int) -> None:
        """Take over what a fill changed.

        Args:
            contract: As it is after the fill.
            taken: Its whole profit taken before the fill, unsigned: `flow + num`. None if its open value was not whole.
            scale: Its scale before.
        """
        if contract.places > self.places:
            self._refine(contract.places)
        before = 0 if taken is None else taken * (contract.scale // scale)
        after = contract.flow + contract.num if contract.den == 1 else 0
        self.brought += contract.sign * (after - before) * (self.scale // contract.scale)
        if taken is None:
            if contract.den == 1:
                self.fractional.remove(contract)
        elif contract.den != 1:
            self.fractional.append(contract)

    def _refine(self, places: int) -> None:
        finer = 10 ** (places - self.places)
        self.settled, self.brought, self.scale = self.settled * finer, self.brought * finer, self.scale * finer
        self.places, self._unit = places, Decimal(1).scaleb(places)

    def covers(self, amount: Decimal) -> bool:
        """Whether the balance is an amount or more."""
        if self.fractional:
            num, den = self.ratio()
            return Fraction(amount) * den <= num
        return EXACT.multiply(amount, self._unit) <= self.settled + self.brought

    def ratio(self) -> tuple[int, int]:
        """Return the balance as a quotient of whole numbers, not reduced."""
        num, den = self.settled + self.brought, 1
        for contract in self.fractional:
            part = contract.sign * (contract.flow * contract.den + contract.num) * (self.scale // contract.scale)
            num, den = num * contract.den + part * den, den * contract.den
        return num, den * self.scale
