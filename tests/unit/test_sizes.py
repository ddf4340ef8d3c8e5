"""Sizes by money, and what a size costs: by hand, and against the oracle's fractions."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators
from oracle.sizing import cost_of, largest

from quantkit.errors import OrderError
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.sizes import Cash, Pct, Risk, SizeCost

SPOT = Instrument("BTC-USDT", price_step="0.1", qty_step="0.00001")
SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.01", contract_value="0.01")
INVERSE = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True)
FINE = Instrument("ETH-USDT", price_step="0.5", qty_step="0.1", lot="0.025")
BUY, SELL = Side.BUY, Side.SELL
FEE = Fees(taker_bps=5)


@pytest.mark.parametrize("make", [Pct, Cash, Risk, lambda number: Risk(0.01, number)])
@pytest.mark.parametrize("number", [0, -1.0, float("nan"), float("inf"), "much", None])
def test_a_size_is_a_finite_number_above_zero(make: Any, number: Any) -> None:
    """One line says so; a risk may have no stop."""
    if number is None and make not in (Pct, Cash, Risk):
        assert make(number).stop is None
        return
    with pytest.raises(OrderError, match=r"give a finite number above zero|which is no number"):
        make(number)


def test_numbers_of_other_types_become_floats() -> None:
    """So that equal sizes are equal."""
    assert Pct(Decimal("0.5")) == Pct(0.5)  # type: ignore[arg-type]
    assert (Cash(1000), Risk(0.01, 98)) == (Cash(1000.0), Risk(0.01, 98.0))


def test_a_size_is_shown_as_it_is_written() -> None:
    """In notes and traces."""
    sizes = Pct(0.95), Cash(1000), Risk(0.01, 98), Risk(0.00005)
    assert str(sizes) == "(Pct(0.95), Cash(1000.0), Risk(0.01, stop=98.0), Risk(0.00005))"


@pytest.mark.parametrize(
    ("instrument", "side", "fees", "money", "price", "stop", "qty"),
    [
        # The rows of docs/sizing.md.
        (SPOT, BUY, FEE, 9_500, 100_000, None, 0.09495),
        (SWAP, BUY, FEE, 9_500, 100_000, None, 9.49),
        (SWAP, SELL, FEE, 1_000, 100_000, None, 0.99),
        (INVERSE, BUY, FEE, "0.1", 100_000, None, 99.0),
        (SWAP, BUY, FEE, 100, 100_000, 98_000, 4.76),
        # What the fee is taken from: coins, or what a sale brings.
        (SPOT, BUY, Fees(taker_bps=5, currency="received"), 9_500, 100_000, None, 0.095),
        (SPOT, SELL, FEE, 9_500, 100_000, None, 0.095),
        # A rebate is no money to spend; the dearer role counts.
        (SWAP, BUY, Fees(maker_bps=-2, taker_bps=-1), 10_000, 100_000, None, 10.0),
        (SWAP, BUY, Fees(maker_bps=5), 10_000, 100_000, None, 9.99),
        # Amounts: 10 for the order and 1 a contract; at least 100 for the order.
        (SWAP, BUY, Fees(per_order=10, per_contract=1), 1_011, 100_000, None, 1.0),
        (SWAP, BUY, Fees(taker_bps=5, min_per_order=100), 10_000, 100_000, None, 9.9),
        # Nothing is left of too little.
        (SWAP, BUY, Fees(per_order=10), 5, 100_000, None, 0.0),
        (FINE, BUY, Fees(), "12.4", 10, None, 1.2),
    ],
)
def test_the_largest_size_by_hand(
    instrument: Instrument, side: Side, fees: Fees, money: Any, price: int, stop: int | None, qty: float
) -> None:
    """Whole steps, fees counted."""
    ticks = round(price / float(instrument.tick))
    cost = SizeCost(instrument, fees, side, ticks, None if stop is None else Decimal(stop))
    assert instrument.qty(cost.lots_for(Fraction(money))) == qty


_MONEY = generators.integers(0, 10**9).map(lambda cents: Fraction(cents, 100))
_FEES = generators.builds(
    Fees,
    maker_bps=generators.sampled_from((0.0, -1.5, 2.0, 9.0)),
    taker_bps=generators.sampled_from((0.0, 5.0, 7.5)),
    per_contract=generators.sampled_from((0.0, 0.02)),
    per_share=generators.sampled_from((0.0, 0.01)),
    per_order=generators.sampled_from((0.0, 0.3)),
    min_per_order=generators.sampled_from((0.0, 1.25)),
) | generators.just(Fees.okx_spot())


@settings(max_examples=150, deadline=None)
@given(
    generators.sampled_from((SPOT, SWAP, INVERSE, FINE)),
    generators.sampled_from((BUY, SELL)),
    _FEES,
    _MONEY,
    generators.integers(1, 10**6),
    generators.none() | generators.integers(1, 10**6),
)
def test_the_largest_size_is_the_oracles(
    instrument: Instrument, side: Side, fees: Fees, money: Fraction, ticks: int, stop_ticks: int | None
) -> None:
    """Found by solving here and by trying there; so is what it costs."""
    if stop_ticks == ticks:
        stop_ticks += 1
    stop = None if stop_ticks is None else instrument.price_decimal(stop_ticks)
    cost = SizeCost(instrument, fees, side, ticks, stop)
    price, exact_stop = Fraction(instrument.price_decimal(ticks)), None if stop is None else Fraction(stop)
    lots = cost.lots_for(money)
    assert lots == largest(instrument, fees, side, money, price, exact_stop)
    assert cost.of(lots + 1) == cost_of(instrument, fees, side, lots + 1, price, exact_stop)
