"""Sizes by money: a share of the equity, an amount, a risk; and the largest size that an amount pays for, exactly."""

import math
from decimal import Decimal
from fractions import Fraction
from itertools import product
from typing import Final, TypeAlias

import msgspec

from quantkit.errors import OrderError
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side, decimal_of, literal

#: A cost as the largest of some straight lines: fixed amounts with amounts per lot.
_Lines: TypeAlias = list[tuple[Fraction, Fraction]]
#: What each line of a cost has come to, by what has been filled.
Spent: TypeAlias = tuple[tuple[Fraction, ...], ...]
_NOTHING: Final = Fraction(0)
#: No amount of money asks for more: what floats count beside it stays exact enough, and no account takes it.
_MOST_LOTS: Final = 10**15
#: How the note ends of an order that asked for more than the account takes.
ACCOUNT_CUTS: Final = ", as much as the account takes"


class Pct(msgspec.Struct, frozen=True):
    """A size worth a share of the equity.

    Attributes:
        fraction: The share: 0.95 is 95 %. Above 1 with leverage.

    Raises:
        OrderError: It is no finite number above zero.
    """

    fraction: float

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "fraction", _above_zero(self.fraction, "Pct"))

    def __repr__(self) -> str:
        return f"Pct({literal(self.fraction)})"


class Cash(msgspec.Struct, frozen=True):
    """A size worth an amount of money.

    Attributes:
        amount: In the quote currency; in coins for inverse contracts, which are paid in them.

    Raises:
        OrderError: It is no finite number above zero.
    """

    amount: float

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "amount", _above_zero(self.amount, "Cash"))

    def __repr__(self) -> str:
        return f"Cash({literal(self.amount)})"


class Risk(msgspec.Struct, frozen=True):
    """A size that loses a share of the equity between its entry and a stop, fees of both counted.

    Attributes:
        fraction: The share: 0.01 is 1 %.
        stop: The price of the stop; by default that of the order's own `stop_loss`.

    Raises:
        OrderError: One of them is no finite number above zero.
    """

    fraction: float
    stop: float | None = None

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "fraction", _above_zero(self.fraction, "Risk"))
        if self.stop is not None:
            msgspec.structs.force_setattr(self, "stop", _above_zero(self.stop, "Risk: stop"))

    def __repr__(self) -> str:
        stop = "" if self.stop is None else f", stop={literal(self.stop)}"
        return f"Risk({literal(self.fraction)}{stop})"


#: How a size may be given beside a number.
Size: TypeAlias = Pct | Cash | Risk
SIZES: Final = (Pct, Cash, Risk)


class OrderAmount(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The money that an order's size comes from.

    Attributes:
        money: What it may cost with its fee, in the settlement currency; with a stop, what it may lose.
        stop: The stop of a risk; None for an order that spends the money.
        is_at_fill: Whether the order travels with the money, and gets its size by the price that fills it.
        trailing_offset, trailing_offset_bps: Of one that travels: how far from that price its stop is, in place of
            `stop`, which is that of the price at the call.
    """

    money: Decimal
    stop: Decimal | None = None
    is_at_fill: bool = False
    trailing_offset: Decimal | None = None
    trailing_offset_bps: Decimal | None = None

    def stop_at(self, price: Decimal, side: Side) -> Decimal | None:
        """Return the stop of a fill at a price; None for an order that spends the money."""
        offset = self.trailing_offset
        if self.trailing_offset_bps is not None:
            offset = price * self.trailing_offset_bps / 10_000
        return self.stop if offset is None else price - offset * side.sign


def _above_zero(number: float | Decimal, what: str) -> float:
    """Return a finite number above zero as a float.

    Raises:
        OrderError: It is not one.
    """
    try:
        value = float(number)
    except (TypeError, ValueError):
        raise OrderError(f"{what} is {number!r}, which is no number") from None
    if not (math.isfinite(value) and value > 0):
        raise OrderError(f"{what} is {value}; give a finite number above zero")
    return value


# What a size costs ------------------------------------------------------------------------------------------------


class SizeCost:
    """What an order in an instrument costs or may lose, by its size.

    A purchase of coins and a position in a contract cost their value and the fee. A fee in the coins that a purchase
    brings costs no money. A spot sale is worth its value: its fee comes out of what it brings. With a stop, a size
    costs what it loses between the price and the stop, and the fees of both.

    Args:
        instrument, fees: What is traded, and its fees: the dearer of both roles, and nothing for a rebate.
        side: Of the order.
        ticks: The price of the order, above zero.
        stop: The price of the stop, not that of the order; None for an order that spends money.
        spent: What fills of the same order at other prices have come to: its fixed amounts are due once.

    Examples:
        >>> swap = Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.01")
        >>> SizeCost(swap, Fees(taker_bps=5), Side.BUY, 100).lots_for(Fraction(10_000))
        9995
        >>> SizeCost(swap, Fees(), Side.BUY, 100, Decimal(98)).lots_for(Fraction(100))
        5000
    """

    __slots__ = ("_instrument", "_lines")

    def __init__(
        self,
        instrument: Instrument,
        fees: Fees,
        side: Side,
        ticks: int,
        stop: Decimal | None = None,
        spent: Spent = (),
    ) -> None:
        self._instrument = instrument
        price = Fraction(instrument.price_decimal(ticks))
        value = _value_of_lot(instrument, price)
        # Each cost is the largest of straight lines: a fixed amount, and an amount for each lot.
        if stop is not None:
            at_stop = _value_of_lot(instrument, Fraction(stop))
            self._lines = [
                [(_NOTHING, abs(value - at_stop))],
                _fee_lines(instrument, fees, value),
                _fee_lines(instrument, fees, at_stop),
            ]
        else:
            self._lines = [[(_NOTHING, value)]]
            if not instrument.is_spot or (side is Side.BUY and fees.currency != "received"):
                self._lines.append(_fee_lines(instrument, fees, value))
        if spent:
            self._lines = [
                [(so_far, per_lot) for so_far, (_, per_lot) in zip(amounts, lines, strict=True)]
                for amounts, lines in zip(spent, self._lines, strict=True)
            ]

    def lots_for(self, money: Fraction) -> int:
        """Return the most lots that cost no more than an amount of money, in whole size steps."""
        found = min(
            (money - sum(fixed for fixed, _ in lines)) // sum(per_lot for _, per_lot in lines)
            for lines in product(*self._lines)
        )
        return self._instrument.whole_lots(min(max(0, found), _MOST_LOTS))

    def of(self, lots: int) -> Fraction:
        """Return what a number of lots, above zero, costs."""
        return sum((max(amounts) for amounts in self.spent(lots)), _NOTHING)

    def spent(self, lots: int) -> Spent:
        """Return what each line has come to once so many lots more are filled at this price."""
        return tuple(tuple(fixed + per_lot * lots for fixed, per_lot in lines) for lines in self._lines)


def _value_of_lot(instrument: Instrument, price: Fraction) -> Fraction:
    """Return the value of a lot in the settlement currency, without rounding."""
    size = Fraction(instrument.lot_value)
    return size / price if instrument.is_inverse else size * price


def _fee_lines(instrument: Instrument, fees: Fees, value: Fraction) -> _Lines:
    """Return the fee of an order whose lots are worth `value` each."""
    rate = max(_NOTHING, *(Fraction(fees.rate(is_maker=is_maker)) for is_maker in (False, True)))
    per_lot = Fraction(decimal_of(fees.per_unit(instrument))) * Fraction(instrument.lot)
    lines = [(Fraction(decimal_of(fees.per_order)), rate * value + per_lot)]
    if fees.min_per_order:
        lines.append((Fraction(decimal_of(fees.min_per_order)), _NOTHING))
    return lines
