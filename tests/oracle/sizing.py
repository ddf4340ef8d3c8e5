"""Sizes by money a second time: what a size costs, in fractions, and the largest one that an amount pays for.

Written from docs/sizing.md. It tries sizes instead of solving for them, and borrows no formula from quantkit.
"""

from __future__ import annotations

from fractions import Fraction

from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side


def worth(instrument: Instrument, lots: int, price: Fraction) -> Fraction:
    """Return the value of some lots in the settlement currency."""
    size = (
        lots * Fraction(instrument.lot) * Fraction(instrument.contract_value) * Fraction(instrument.contract_multiplier)
    )
    return size / price if instrument.is_inverse else size * price


def fee_of(instrument: Instrument, fees: Fees, lots: int, price: Fraction) -> Fraction:
    """Return the fee of an order of some lots, at the dearer of both roles."""
    rate = max(Fraction(0), Fraction(str(fees.maker_bps)), Fraction(str(fees.taker_bps))) / 10_000
    each = fees.per_share if instrument.kind == "spot" else fees.per_contract
    sum_ = rate * worth(instrument, lots, price) + lots * Fraction(instrument.lot) * Fraction(str(each))
    return max(sum_ + Fraction(str(fees.per_order)), Fraction(str(fees.min_per_order)))


def cost_of(
    instrument: Instrument, fees: Fees, side: Side, lots: int, price: Fraction, stop: Fraction | None
) -> Fraction:
    """Return what an order of some lots costs, or loses at its stop."""
    if stop is not None:
        lost = abs(worth(instrument, lots, price) - worth(instrument, lots, stop))
        return lost + fee_of(instrument, fees, lots, price) + fee_of(instrument, fees, lots, stop)
    value = worth(instrument, lots, price)
    if instrument.kind == "spot" and (side is Side.SELL or fees.currency == "received"):
        return value
    return value + fee_of(instrument, fees, lots, price)


def largest(
    instrument: Instrument, fees: Fees, side: Side, money: Fraction, price: Fraction, stop: Fraction | None = None
) -> int:
    """Return the most lots, in whole size steps, that cost no more than an amount; 0 where one step costs more."""
    step = int(Fraction(instrument.qty_step) / Fraction(instrument.lot))

    def pays_for(steps: int) -> bool:
        return cost_of(instrument, fees, side, steps * step, price, stop) <= money

    high = 1
    while pays_for(high):
        high *= 2
    low = high // 2 if high > 1 else 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if pays_for(middle) else (low, middle)
    return low * step
