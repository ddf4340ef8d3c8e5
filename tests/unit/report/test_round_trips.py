"""Round trips: opening, closing, flips, dust, inverse contracts, excursions, and agreement with the ledger."""

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.engine.outcome import Excursion
from quantkit.errors import DataError
from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio, shown, shown_ratio
from quantkit.report.round_trips import fold

SPOT = Instrument("BTC-USDT", price_step="0.1", qty_step="0.001")
LINEAR = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
INVERSE = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True)
ALL = {i.id: i for i in (SPOT, LINEAR, INVERSE)}


def fill(number: int, instrument: Instrument, lots: int, price: float, fee: str = "0", **rest: Any) -> Fill:
    """Make a fill of signed `lots` at `price`, one second after the one before."""
    ticks = instrument.ticks(price)
    fields: dict[str, Any] = {
        "fee_currency": instrument.settle_currency,
        "tag": "",
        **rest,
    }
    return Fill(
        id=number,
        order_id=f"r{number}",
        instrument=instrument.id,
        side=Side.BUY if lots > 0 else Side.SELL,
        price=instrument.price(ticks),
        qty=instrument.qty(abs(lots)),
        value=instrument.value(abs(lots), ticks),
        fee=Decimal(fee),
        role="taker",
        filled_ns=number * 10**9,
        revealed_ns=number * 10**9,
        why="test",
        lots=abs(lots),
        ticks=ticks,
        **fields,
    )


def test_a_long_trip_counts_entries_exits_and_fees() -> None:
    """Two entries, two exits: averages by size, profit after fees, the first fill's tag."""
    fills = [
        fill(1, LINEAR, 100, 100.0, "0.05", tag="in"),
        fill(2, LINEAR, 100, 110.0, "0.05", tag="more"),
        fill(3, LINEAR, -50, 120.0, "0.03"),
        fill(4, LINEAR, -150, 130.0, "0.07"),
    ]
    closed, still_open = fold(fills, ALL)
    assert still_open == []
    (trip,) = closed
    assert (trip.side, trip.qty, trip.entry_price, trip.exit_price) == (Side.BUY, Decimal(200), 105.0, 127.5)
    # 200 contracts of 0.01 BTC gained 22.5 each coin: 45, less 0.20 of fees.
    assert (trip.fees, trip.pnl, trip.currency) == (Decimal("0.20"), Decimal("44.80"), "USDT")
    assert trip.return_pct == pytest.approx(44.80 / 210 * 100)
    assert (trip.entry_ns, trip.exit_ns, trip.tag) == (10**9, 4 * 10**9, "in")


def test_a_short_trip_earns_when_the_price_falls() -> None:
    """Sold at 100, bought back at 90."""
    (trip,) = fold([fill(1, LINEAR, -100, 100.0), fill(2, LINEAR, 100, 90.0)], ALL).closed
    assert (trip.side, trip.pnl, trip.return_pct) == (Side.SELL, Decimal(10), 10.0)


def test_a_flip_splits_the_fill_and_its_fee_exactly() -> None:
    """Long 1, sold 3: a third of the fee closes the long trip, two thirds open the short one."""
    fills = [fill(1, LINEAR, 1, 100.0), fill(2, LINEAR, -3, 110.0, "0.1"), fill(3, LINEAR, 2, 110.0)]
    first, second = fold(fills, ALL).closed
    assert (first.qty, first.exit_price, first.pnl + first.fees) == (Decimal(1), 110.0, Decimal("0.1"))
    assert (second.side, second.qty, second.entry_ns, second.pnl) == (Side.SELL, Decimal(2), 2 * 10**9, -second.fees)
    assert first.fees == Decimal("0.033333333333333333")
    assert first.fees + second.fees == Decimal("0.1")


def test_dust_of_a_base_fee_does_not_keep_a_trip_open() -> None:
    """The fee leaves 0.9985; 0.998 can be sold; the 0.0005 left over is below one step of 0.001."""
    fills = [
        fill(1, SPOT, 1000, 100.0, "0.0015", fee_currency="BTC"),
        fill(2, SPOT, -998, 110.0, "0.1"),
        fill(3, SPOT, 1000, 120.0, "0.0015", fee_currency="BTC"),
    ]
    closed, still_open = fold(fills, ALL, marks={SPOT.id: 125.0})
    (trip,) = closed
    # The coins paid as a fee count at the entry's price: 0.15 USDT, beside the 0.1 of the exit.
    assert trip.fees == Decimal("0.25")
    assert trip.pnl == Decimal("0.998") * 10 - Decimal("0.25")
    (left,) = still_open
    assert left.qty == Decimal("0.0005") + Decimal("0.9985")
    # The dust kept its cost of 100 and moved into the next trip.
    assert left.unrealised == Decimal("0.0005") * 25 + Decimal("0.9985") * 5


COARSE = Instrument("BTC-USDT", price_step="0.1", qty_step="0.001", min_qty="0.005")


def test_a_remainder_below_the_smallest_order_ends_a_trip() -> None:
    """Four steps cannot be sold where an order is at least five: the next buy begins a new trip."""
    fills = [fill(1, COARSE, 12, 100.0), fill(2, COARSE, -8, 110.0), fill(3, COARSE, 10, 120.0)]
    closed, (left,) = fold(fills, {COARSE.id: COARSE}, marks={COARSE.id: 120.0})
    assert [(trip.entry_ns, trip.exit_ns, trip.pnl) for trip in closed] == [(10**9, 2 * 10**9, Decimal("0.08"))]
    assert (left.entry_ns, left.qty, left.realised) == (3 * 10**9, Decimal("0.014"), 0)


def test_the_rest_of_an_order_that_closes_in_parts_belongs_to_its_trip() -> None:
    """Eight of twelve, then the four that alone would be no order: one trip with both exits, closed by the second."""
    fills = [fill(1, COARSE, 12, 100.0), fill(2, COARSE, -8, 110.0), fill(3, COARSE, -4, 120.0)]
    (trip,), still_open = fold(fills, {COARSE.id: COARSE})
    assert still_open == []
    assert (trip.exit_ns, trip.pnl) == (3 * 10**9, Decimal("0.16"))
    assert trip.exit_price == pytest.approx((8 * 110 + 4 * 120) / 12)


def test_coins_sold_beyond_the_rest_begin_a_trip_of_their_own() -> None:
    """Four were left of the trip; of ten sold then, six are coins of the starting cash."""
    fills = [
        fill(1, COARSE, 12, 100.0),
        fill(2, COARSE, -8, 110.0),
        fill(3, COARSE, -10, 120.0),
        fill(4, COARSE, 6, 120.0),
        fill(5, COARSE, -7, 130.0),
    ]
    closed, (left,) = fold(fills, {COARSE.id: COARSE})
    assert [(trip.side, trip.qty, trip.pnl) for trip in closed] == [
        (Side.BUY, Decimal("0.012"), Decimal("0.16")),
        (Side.SELL, Decimal("0.006"), Decimal(0)),
    ]
    assert (left.side, left.qty, left.entry_ns) == (Side.SELL, Decimal("0.007"), 5 * 10**9)


def test_trips_are_listed_as_they_closed() -> None:
    """Also where only a later fill shows that one was over."""
    fills = [
        fill(1, COARSE, 12, 100.0),
        fill(2, LINEAR, 1, 100.0),
        fill(3, COARSE, -8, 110.0),
        fill(4, LINEAR, -1, 100.0),
        fill(5, COARSE, 12, 110.0),
    ]
    closed = fold(fills, {COARSE.id: COARSE, LINEAR.id: LINEAR}).closed
    assert [trip.exit_ns // 10**9 for trip in closed] == [3, 4]


def test_a_fill_that_leaves_nothing_tradable_is_no_open_trip() -> None:
    """One step bought, part of it gone as a fee: no position. With the next fill it is one, and a trip of both."""
    fills = [fill(n, SPOT, 1, 100.0, "0.0001", fee_currency="BTC") for n in (1, 2)]
    assert fold(fills[:1], ALL) == ([], [])
    closed, (trip,) = fold(fills, ALL)
    assert closed == []
    assert (trip.qty, trip.entry_ns, trip.fees) == (Decimal("0.0018"), 2 * 10**9, Decimal("0.02"))


def test_a_purchase_in_parts_below_the_smallest_order_is_one_trip() -> None:
    """Three and three of five at least, and sold in one: begun when it could be sold."""
    fills = [fill(1, COARSE, 3, 100.0), fill(2, COARSE, 3, 110.0), fill(3, COARSE, -6, 120.0)]
    assert fold(fills[:1], {COARSE.id: COARSE}) == ([], [])
    (trip,), still_open = fold(fills, {COARSE.id: COARSE})
    assert still_open == []
    assert (trip.entry_ns, trip.qty, trip.pnl) == (2 * 10**9, Decimal("0.006"), Decimal("0.09"))


def test_coins_bought_below_the_smallest_order_and_sold_again_are_a_trip() -> None:
    """Within larger orders, both ways; it was no position for any time, and the next purchase begins another."""
    fills = [fill(1, COARSE, 3, 100.0), fill(2, COARSE, -6, 110.0), fill(3, COARSE, 9, 100.0)]
    closed, still_open = fold(fills, {COARSE.id: COARSE})
    assert [(trip.side, trip.qty, trip.pnl) for trip in closed] == [
        (Side.BUY, Decimal("0.003"), Decimal("0.03")),
        (Side.SELL, Decimal("0.003"), Decimal("0.03")),
    ]
    assert all(trip.entry_ns == trip.exit_ns for trip in closed)
    assert [trip.qty for trip in still_open] == [Decimal("0.006")]


def test_inverse_contracts_average_harmonically_and_pay_coin() -> None:
    """The worked example of an inverse contract: profit is `n x u x (1 / entry - 1 / exit)` in the coin."""
    fills = [fill(1, INVERSE, 1, 40_000.0), fill(2, INVERSE, 1, 60_000.0), fill(3, INVERSE, -2, 50_000.0)]
    (trip,) = fold(fills, ALL).closed
    assert trip.entry_price == pytest.approx(48_000.0)
    expected = INVERSE.value(1, 400_000) + INVERSE.value(1, 600_000) - INVERSE.value(2, 500_000)
    assert (trip.pnl, trip.currency) == (expected, "BTC")
    assert expected == Decimal("0.000166666667")


@pytest.mark.parametrize(
    ("lots", "low", "high", "mae", "mfe"),
    [(1, 95.0, 120.0, -0.05, 0.20), (-1, 95.0, 120.0, -0.20, 0.05), (1, 100.5, 101.0, 0.0, 0.01), (-1, 90, 90, 0, 0.1)],
)
def test_excursions_are_seen_from_the_trips_side(lots: int, low: float, high: float, mae: float, mfe: float) -> None:
    """What is against a long trip is for a short one, and neither passes zero."""
    marks = [Excursion("BTC-USDT-SWAP", 1, low, high)]
    (trip,) = fold([fill(1, LINEAR, lots, 100.0), fill(2, LINEAR, -lots, 101.0)], ALL, excursions=marks).closed
    assert (trip.mae, trip.mfe) == (pytest.approx(mae), pytest.approx(mfe))
    assert str(trip.mae) != "-0.0"


def test_a_trip_without_marks_uses_its_own_prices() -> None:
    """The exit at 97 is the only other price the trip ever saw."""
    (trip,) = fold([fill(1, LINEAR, 1, 100.0), fill(2, LINEAR, -1, 97.0)], ALL).closed
    assert (trip.mae, trip.mfe) == (pytest.approx(-0.03), 0.0)


def test_an_open_trip_is_reported_apart() -> None:
    """Half of it is closed: that profit is realised, the rest is not, and no closed trip appears."""
    fills = [fill(1, LINEAR, 100, 100.0, "0.05"), fill(2, LINEAR, -50, 120.0, "0.03")]
    closed, (left,) = fold(fills, ALL, marks={LINEAR.id: 130.0})
    assert closed == []
    assert (left.qty, left.realised, left.unrealised) == (Decimal(50), Decimal(10), Decimal(15))
    assert (left.fees, left.mark_price, left.entry_price) == (Decimal("0.08"), 130.0, 100.0)


def test_unknown_instruments_and_fee_currencies_are_refused() -> None:
    """Both would make money appear or vanish."""
    with pytest.raises(DataError, match="fill 1: instrument BTC-USDT is not among"):
        fold([fill(1, SPOT, 1, 100.0)], {})
    with pytest.raises(DataError, match="a fee in OKB has no price here; expected USDT"):
        fold([fill(1, SPOT, 1, 100.0, "1", fee_currency="OKB")], ALL)


@st.composite
def fill_lists(draw: st.DrawFn) -> list[Fill]:
    """Draw fills of contracts in both directions, with fees and rebates."""
    steps = st.tuples(
        st.sampled_from([LINEAR, INVERSE]),
        st.integers(-5, 5).filter(bool),
        st.integers(900, 1100),
        st.decimals("-0.01", "0.05", places=4),
    )
    drawn = draw(st.lists(steps, max_size=25))
    return [fill(n, i, lots, ticks / 10, str(fee)) for n, (i, lots, ticks, fee) in enumerate(drawn, 1)]


@given(fill_lists())
@settings(max_examples=150, deadline=None)
def test_all_trips_together_are_the_ledger(fills: list[Fill]) -> None:
    """No profit and no fee is lost or counted twice, whatever the order of adding, reducing and flipping."""
    portfolio = Portfolio({"USD": 0}, [LINEAR, INVERSE, *_CONVERTERS], mark_of=lambda _: 100.0)
    for one in fills:
        portfolio.apply(one)
    closed, still_open = fold(fills, ALL, marks={LINEAR.id: 100.0, INVERSE.id: 100.0})
    for currency in ("USDT", "BTC"):
        fees = sum((t.fees for t in [*closed, *still_open] if t.currency == currency), Decimal(0))
        gross = sum((t.pnl + t.fees for t in closed if t.currency == currency), Decimal(0))
        gross += sum((t.realised for t in still_open if t.currency == currency), Decimal(0))
        # Each shown amount is rounded to 1e-18 at most once.
        near = Decimal("1e-16")
        assert abs(gross - portfolio.totals("realised").get(currency, Decimal(0))) <= near
        assert abs(fees - portfolio.totals("fees").get(currency, Decimal(0))) <= near
    for trip in closed:
        assert trip.entry_ns <= trip.exit_ns
        assert trip.mae <= 0 <= trip.mfe
    held = {i: p.qty for i, p in portfolio.positions.items() if p.qty}
    assert {t.instrument: t.qty * t.side.sign for t in still_open} == held


def changed(instrument: Instrument, **fields: Any) -> Instrument:
    """Return later metadata on the same grid, in force a minute after the first fill."""
    given = {**instrument.to_dict(), "tick": instrument.tick, "lot": instrument.lot, "valid_from_ns": 60 * 10**9}
    return Instrument.from_dict({**given, **fields})


def test_what_the_steps_of_the_end_leave_untradable_is_no_open_trip() -> None:
    """A larger size step after the last fill: what has sold a part is closed by that, what has not is no position."""
    coarse = [changed(LINEAR, qty_step="10", min_qty="10")]
    bought = [fill(1, LINEAR, 15, 100.0, "0.1")]
    sold = [*bought, fill(2, LINEAR, -10, 110.0, "0.1")]
    assert fold(bought, ALL, changes=coarse).open[0].qty == Decimal(15)
    assert len(fold(sold, ALL).open) == 1
    closed, left = fold(sold, ALL, changes=coarse)
    assert left == []
    assert [(trip.exit_ns, trip.qty, trip.pnl) for trip in closed] == [(2 * 10**9, Decimal(15), Decimal("0.80"))]
    small = [fill(1, LINEAR, 5, 100.0)]
    assert fold(small, ALL, changes=coarse) == ([], [])
    assert len(fold(small, ALL, changes=[*coarse, changed(LINEAR)]).open) == 1


def test_what_the_steps_of_the_end_make_tradable_is_an_open_trip() -> None:
    """Coins bought below the smallest order, which has become smaller."""
    least = Instrument("BTC-USDT", price_step="0.1", qty_step="0.001", min_qty="0.01")
    bought = [fill(1, least, 5, 100.0)]
    assert fold(bought, {least.id: least}) == ([], [])
    (trip,) = fold(bought, {least.id: least}, changes=[changed(least, min_qty="0.001")]).open
    assert trip.qty == Decimal("0.005")


def trips_in_fractions(fills: list[Fill]) -> list[tuple[Any, ...]]:
    """Cut the fills of contracts where nothing is held, and add up what each trip got and paid."""
    done: list[tuple[Any, ...]] = []
    held: dict[str, int] = {}
    sums: dict[str, list[Fraction]] = {}
    for one in fills:
        name, sign, lots = one.instrument, one.side.sign, one.lots
        instrument = ALL[name]
        while lots:
            before = held.get(name, 0)
            part = min(lots, abs(before)) if before * sign < 0 else lots
            share = Fraction(part, one.lots)
            entered, left, fees, size = sums.setdefault(name, [Fraction(0)] * 4)
            if before * sign < 0:
                sums[name] = [entered, left + Fraction(one.value) * share, fees + Fraction(one.fee) * share, size]
            else:
                sums[name] = [
                    entered + Fraction(one.value) * share,
                    left,
                    fees + Fraction(one.fee) * share,
                    size + part * Fraction(instrument.lot_value),
                ]
            held[name] = before + sign * part
            lots -= part
            if not held[name]:
                entered, left, fees, size = sums.pop(name)
                is_rise_good = (before > 0) is not instrument.is_inverse
                profit = (left - entered if is_rise_good else entered - left) - fees
                prices = [size / each if instrument.is_inverse else each / size for each in (entered, left)]
                done.append((name, shown(fees), shown(profit), float(100 * profit / entered), *map(float, prices)))
    return done


@given(fill_lists())
@settings(max_examples=300, deadline=None)
def test_trips_have_the_digits_of_fractions(fills: list[Fill]) -> None:
    """However the sums are kept: amounts rounded once, prices and per cents the floats nearest to them."""
    closed = fold(fills, ALL).closed
    found = [
        (trip.instrument, trip.fees, trip.pnl, trip.return_pct, trip.entry_price, trip.exit_price) for trip in closed
    ]
    assert [list(map(str, trip)) for trip in found] == [list(map(str, trip)) for trip in trips_in_fractions(fills)]


_CONVERTERS = [
    Instrument("USDT-USD", price_step="0.0001", qty_step="1"),
    Instrument("BTC-USD", price_step="0.1", qty_step="0.001"),
]


def test_splitting_a_fill_changes_no_trip() -> None:
    """One exit of 9 or three of 3: the same trip."""
    whole = [fill(1, LINEAR, 9, 100.0, "0.9"), fill(2, LINEAR, -9, 107.3, "0.9")]
    parts = [fill(1, LINEAR, 9, 100.0, "0.9"), *(fill(2, LINEAR, -3, 107.3, "0.3") for _ in range(3))]
    assert fold(whole, ALL) == fold(parts, ALL)
    assert Fraction(fold(whole, ALL).closed[0].pnl) == Fraction("0.657") - Fraction("1.8")


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**30) | st.integers(0, 45).map(lambda n: 10**n))
@settings(max_examples=200, deadline=None)
def test_a_quotient_is_shown_like_its_fraction(num: int, den: int) -> None:
    """Reduced or not: whole where it is a decimal of few places, else rounded once."""
    exact = Fraction(num, den)
    for factor in (1, 3, 10**12):
        assert str(shown_ratio(num * factor, den * factor)) == str(shown(exact))
    is_decimal = not 10**40 % exact.denominator
    assert (Fraction(shown(exact)) == exact) if is_decimal else (shown(exact).as_tuple().exponent == -18)
