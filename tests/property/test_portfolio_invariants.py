"""The ledger's invariants one by one, held exactly where exactness is promised."""

import pickle
import random
from collections.abc import Sequence
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ledger_cases import (
    ALL,
    BTC,
    CASH,
    COIN,
    CONTRACTS,
    EXACT_ONES,
    INVERSE,
    LINEAR,
    OTHER,
    Deal,
    Marks,
    account,
    balances,
    booked,
    contract_of,
    deal_lists,
    deals,
    equity_of,
    fee_bps,
    few,
    fill_of,
    sides,
    state,
)
from oracle.fraction_ledger import FractionLedger

from quantkit.instruments import Instrument, Side, decimal_of
from quantkit.money import CurrencyLedger, Netting
from quantkit.portfolio import Portfolio, Position, shown


def parts_of(total: int, cuts: Sequence[int]) -> list[int]:
    """Split a size at the given places into parts above zero."""
    edges = [0, *sorted({cut % total for cut in cuts} - {0}), total]
    return [right - left for left, right in pairwise(edges)]


@few
@given(st.sampled_from(EXACT_ONES), deal_lists, deals, st.lists(st.integers(0, 40), max_size=5), deal_lists)
def test_splitting_a_fill_changes_nothing(
    instrument: Instrument, before: list[Deal], deal: Deal, cuts: list[int], after: list[Deal]
) -> None:
    """Invariant 3, trap 24: the same size at the same price in any parts gives the same ledger, to the last digit."""
    parts = [deal._replace(lots=lots) for lots in parts_of(deal.lots, cuts)]
    whole = booked(instrument, [*before, deal, *after])
    split = booked(instrument, [*before, *parts, *after])
    assert state(whole, instrument) == state(split, instrument)
    assert balances(whole) == balances(split)


@few
@given(deal_lists, deals, st.lists(st.integers(0, 40), max_size=5))
def test_splitting_an_inverse_fill_moves_money_by_its_rounding_alone(
    before: list[Deal], deal: Deal, cuts: list[int]
) -> None:
    """Invariant 3 for inverse contracts: each part rounds its coin value once, by at most half a step."""
    parts = [deal._replace(lots=lots, fee_bps="0") for lots in parts_of(deal.lots, cuts)]
    whole = booked(INVERSE, [*before, deal._replace(fee_bps="0")])
    split = booked(INVERSE, [*before, *parts])
    assert whole.position(INVERSE.id).qty == split.position(INVERSE.id).qty
    mark = 50_000.0
    for left, right in (
        (whole.balance_exact("BTC"), split.balance_exact("BTC")),
        (whole.position(INVERSE.id).unrealised_exact(mark), split.position(INVERSE.id).unrealised_exact(mark)),
    ):
        assert abs(left - right) <= COIN * (len(parts) + 1) / 2


@few
@given(
    st.sampled_from(ALL),
    deal_lists,
    st.lists(st.tuples(st.integers(1, 40), fee_bps), min_size=2, max_size=8),
    deals,
    st.randoms(use_true_random=False),
)
def test_order_of_equal_fills_does_not_matter(
    instrument: Instrument, before: list[Deal], same: list[tuple[int, str]], at: Deal, rng: Any
) -> None:
    """Invariant 4: fills of one side and price may be swapped."""
    fills = [at._replace(lots=lots, fee_bps=bps) for lots, bps in same]
    shuffled = list(fills)
    rng.shuffle(shuffled)
    if instrument.is_inverse:
        # Splitting a flip's coin value depends on which fill crosses zero; swaps of equal sign are exact.
        before = [deal._replace(side=at.side) for deal in before]
    one, other = booked(instrument, [*before, *fills]), booked(instrument, [*before, *shuffled])
    assert state(one, instrument) == state(other, instrument)
    assert balances(one) == balances(other)


@few
@given(st.sampled_from(EXACT_ONES), deal_lists.filter(lambda some: len(some) > 1), st.randoms(use_true_random=False))
def test_order_of_any_fills_leaves_size_and_money(instrument: Instrument, some: list[Deal], rng: Any) -> None:
    """Invariant 4: whatever the order, the size and the money are the same; only realised and open profit trade."""
    shuffled = list(some)
    rng.shuffle(shuffled)
    one, other = booked(instrument, some), booked(instrument, shuffled)
    assert one.position(instrument.id).qty == other.position(instrument.id).qty
    assert equity_of(one) == equity_of(other)
    assert one.position(instrument.id).fees == other.position(instrument.id).fees
    if instrument.is_spot:
        assert balances(one) == balances(other)


@few
@given(st.sampled_from(ALL), deals, st.integers(1, 2_000_000), st.integers(1, 40))
def test_a_flip_is_a_close_and_an_open(instrument: Instrument, first: Deal, ticks: int, beyond: int) -> None:
    """Invariant 5, trap 26: through zero in one fill or in two."""
    back = Deal(first.side.opposite, first.lots + beyond, ticks, "5")
    one = booked(instrument, [first, back])
    two = booked(instrument, [first, back._replace(lots=first.lots), back._replace(lots=beyond)])
    position = one.position(instrument.id)
    assert Fraction(position.qty) == Fraction(instrument.qty_decimal(beyond)) * back.side.sign
    if instrument.is_inverse:
        assert abs(position.open_value - two.position(instrument.id).open_value) <= COIN
        assert abs(one.balance_exact("BTC") - two.balance_exact("BTC")) <= 2 * COIN
        share = Fraction(instrument.value(back.lots, ticks)) * Fraction(beyond, back.lots)
        assert abs(position.open_value) == share
    else:
        assert position.average_price_exact == Fraction(instrument.price_decimal(ticks))
        assert state(one, instrument) == state(two, instrument)
        assert balances(one) == balances(two)


@few
@given(st.sampled_from(ALL), st.sampled_from(Side), st.integers(1, 40), st.integers(1, 2_000_000), fee_bps)
def test_a_round_trip_at_one_price_costs_the_fees(
    instrument: Instrument, side: Side, lots: int, ticks: int, bps: str
) -> None:
    """Invariant 6, trap 28: both legs are charged, and nothing else is."""
    there = Deal(side, lots, ticks, bps)
    portfolio = booked(instrument, [there, there._replace(side=side.opposite)])
    fee = Fraction(fill_of(instrument, there).fee)
    settle = instrument.settle_currency
    assert portfolio.balance_exact(settle) == Fraction(CASH[settle]) - 2 * fee
    assert portfolio.position(instrument.id).realised_exact == 0
    assert portfolio.position(instrument.id).qty == 0


@few
@given(st.sampled_from(ALL), deal_lists)
def test_sides_are_symmetric(instrument: Instrument, some: list[Deal]) -> None:
    """Invariant 8: every fill mirrored gives the mirrored position and gross profit, and equal fees."""
    one = booked(instrument, some).position(instrument.id)
    other = booked(instrument, [deal._replace(side=deal.side.opposite) for deal in some]).position(instrument.id)
    assert other.qty == one.qty.copy_negate()
    assert other.open_value == -one.open_value
    assert other.realised_exact == -one.realised_exact
    assert other.average_price_exact == one.average_price_exact
    assert other.unrealised_exact(123.4) == -one.unrealised_exact(123.4)
    assert other.fees == one.fees


@few
@given(st.sampled_from(EXACT_ONES), deal_lists, st.integers(2, 1000))
def test_profit_scales_with_size(instrument: Instrument, some: list[Deal], times: int) -> None:
    """Invariant 9: `times` the size is `times` the profit, and the same average price."""
    one = booked(instrument, some).position(instrument.id)
    many = booked(instrument, [deal._replace(lots=deal.lots * times) for deal in some]).position(instrument.id)
    assert Fraction(many.qty) == Fraction(one.qty) * times
    assert many.realised_exact == one.realised_exact * times
    assert many.unrealised_exact(77.7) == one.unrealised_exact(77.7) * times
    assert many.average_price_exact == one.average_price_exact


@few
@given(st.sampled_from(EXACT_ONES), deal_lists, st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_higher_mark_adds_position_times_the_difference(
    instrument: Instrument, some: list[Deal], ticks: int, more: int
) -> None:
    """Invariant 10: unrealised profit is linear in the mark."""
    position = booked(instrument, some).position(instrument.id)
    low, high = instrument.price(ticks), instrument.price(ticks + more)
    per_step = Fraction(position.qty) * Fraction(instrument.unit) * Fraction(instrument.price_step)
    assert position.unrealised_exact(high) - position.unrealised_exact(low) == per_step * more


@few
@given(deal_lists, deal_lists, st.lists(st.booleans(), max_size=24), st.sampled_from([BTC, INVERSE, OTHER]))
def test_instruments_are_independent(
    mine: list[Deal], theirs: list[Deal], order: list[bool], other: Instrument
) -> None:
    """Invariant 11: whatever happens in another instrument, and when, this one's ledger is the same."""
    alone = booked(LINEAR, mine)
    mixed = account()
    queues = {True: list(mine), False: list(theirs)}
    for is_mine in [*order, *[True] * len(mine), *[False] * len(theirs)]:
        if queues[is_mine]:
            instrument = LINEAR if is_mine else other
            mixed.apply(fill_of(instrument, queues[is_mine].pop(0)))
    assert state(mixed, LINEAR) == state(alone, LINEAR)
    assert state(mixed, other) == state(booked(other, theirs), other)


@few
@given(st.sampled_from(ALL), deal_lists, st.integers(0, 12))
def test_every_prefix_is_a_fold_and_restoring_loses_nothing(
    instrument: Instrument, some: list[Deal], stop: int
) -> None:
    """Invariants 13 and 14: the state after a prefix is that of a fresh account, and a pickled copy goes on from it."""
    running = account()
    for number, deal in enumerate(some, start=1):
        running.apply(fill_of(instrument, deal))
        if number == stop:
            assert state(running, instrument) == state(booked(instrument, some[:stop]), instrument)
            running = pickle.loads(pickle.dumps(running))
    whole = booked(instrument, some)
    assert state(running, instrument) == state(whole, instrument)
    assert balances(running) == balances(whole)
    assert running.equity == whole.equity


@few
@given(st.sampled_from(Side), st.integers(1, 10_000), st.integers(1, 2_000_000), st.integers(1, 2_000_000))
def test_inverse_profit_is_the_formula(side: Side, lots: int, entry: int, exit_ticks: int) -> None:
    """Invariant 15, trap 30: `qty x unit x (1 / entry - 1 / exit)` coins, within the one rounding of each fill."""
    there = Deal(side, lots, entry)
    position = booked(INVERSE, [there, Deal(side.opposite, lots, exit_ticks)]).position(INVERSE.id)
    size = lots * Fraction(INVERSE.unit) * side.sign
    exact = size / Fraction(INVERSE.price_decimal(entry)) - size / Fraction(INVERSE.price_decimal(exit_ticks))
    assert abs(position.realised_exact - exact) <= COIN
    assert position.realised_exact == Fraction(
        INVERSE.pnl(INVERSE.qty_decimal(lots) * side.sign, INVERSE.price(entry), INVERSE.price(exit_ticks))
    )


@few
@given(st.integers(1, 10_000), st.integers(100_000, 1_000_000), st.integers(-50, 50))
def test_inverse_profit_is_nearly_linear_for_small_moves(lots: int, entry: int, move: int) -> None:
    """Trap 30: in quote currency at the exit, an inverse contract earns what its coins at the entry earned."""
    position = booked(INVERSE, [Deal(Side.BUY, lots, entry)]).position(INVERSE.id)
    out = INVERSE.price(entry + move)
    in_quote = position.unrealised_exact(out) * Fraction(decimal_of(out))
    linear = lots * Fraction(INVERSE.unit) * Fraction(move, entry)
    assert abs(in_quote - linear) <= abs(linear) / 1000 + COIN * entry


@few
@given(st.sampled_from(ALL), deal_lists)
def test_fees_add_up(instrument: Instrument, some: list[Deal]) -> None:
    """Invariant 16, traps 38 and 39: the ledger's fees are the sum of the fills' fees, unrounded."""
    portfolio = booked(instrument, some)
    total = sum(Fraction(fill_of(instrument, deal).fee) for deal in some)
    assert sum(map(Fraction, portfolio.position(instrument.id).fees.values())) == total
    assert sum(map(Fraction, portfolio.totals("fees").values())) == total


@few
@given(st.sampled_from(CONTRACTS), deals, st.integers(-(10**6), 10**6), st.integers(1, 2_000_000))
def test_funding_is_paid_from_one_side_to_the_other(
    instrument: Instrument, deal: Deal, rate_1e8: int, ticks: int
) -> None:
    """Invariant 17: what the long pays the short of equal size receives; flat neither pays nor receives."""
    mark, rate = instrument.price(ticks), rate_1e8 / 1e8
    received = []
    for side in Side:
        portfolio = booked(instrument, [deal._replace(side=side, fee_bps="0")])
        before = portfolio.balance_exact(instrument.settle_currency)
        qty = portfolio.position(instrument.id).qty
        amount = portfolio.charge_funding(instrument.id, rate=rate, mark=mark, qty=qty)
        assert portfolio.balance_exact(instrument.settle_currency) - before == Fraction(amount)
        assert portfolio.position(instrument.id).realised_exact == 0
        received.append(Fraction(amount))
        assert (amount < 0) is (side is Side.BUY and rate > 0) or (amount < 0) is (side is Side.SELL and rate < 0)
    assert received[0] == -received[1]
    assert account().charge_funding(instrument.id, rate=rate, mark=mark, qty=Decimal(0)) == 0


@few
@given(st.sampled_from(ALL), deal_lists, st.integers(1, 8))
def test_the_callers_decimal_context_does_not_reach_the_ledger(
    instrument: Instrument, some: list[Deal], digits: int
) -> None:
    """Traps 37 and 38: a strategy that lowers its thread's decimal precision rounds its own numbers, not ours."""
    fills = [fill_of(instrument, deal) for deal in some]
    plain = booked(instrument, some)
    plain.charge_funding(LINEAR.id, rate=0.00012345678, mark=98_765.4321, qty=Decimal("-12.34"))
    with localcontext() as context:
        context.prec = digits
        rounded = account()
        for fill in fills:
            rounded.apply(fill)
        rounded.charge_funding(LINEAR.id, rate=0.00012345678, mark=98_765.4321, qty=Decimal("-12.34"))
        assert state(rounded, instrument) == state(plain, instrument)
        assert balances(rounded) == balances(plain)
        assert rounded.equity == plain.equity
        assert rounded.cash == plain.cash


@few
@given(st.lists(st.tuples(st.integers(1, 10**15), st.integers(1, 10**12), sides), max_size=8))
def test_sums_wider_than_28_digits_stay_exact(some: list[tuple[int, int, Side]]) -> None:
    """Trap 39: sizes and prices whose products need more digits than Python's default context keeps."""
    wide = Instrument("A-USDT", price_step="1e-12", qty_step="1e-8")
    portfolio = Portfolio({"USDT": "1e9"}, [wide], mark_of=Marks({wide.id: 1.0}).of)
    expected = Fraction(10**9)
    for lots, ticks, side in some:
        fill = fill_of(wide, Deal(side, lots, ticks, "7.25"))
        portfolio.apply(fill)
        value = Fraction(lots, 10**8) * Fraction(ticks, 10**12)
        expected -= value * side.sign + value * Fraction(725, 10**6)
    assert portfolio.balance_exact("USDT") == expected


amounts = st.builds(lambda number, places: Decimal(number).scaleb(-places), st.integers(-999, 999), st.integers(0, 25))


@few
@given(st.lists(amounts, max_size=8), st.randoms(use_true_random=False))
def test_a_balance_counts_the_same_however_its_scale_grew(some: list[Decimal], dice: random.Random) -> None:
    """Amounts of any fineness, in any order, with a contract's profit between them."""
    expected = sum(map(Fraction, some), Fraction(0))
    for _ in range(3):
        dice.shuffle(some)
        balance, contract = CurrencyLedger(), Netting(LINEAR)
        for number, amount in enumerate(some):
            balance.settle(amount)
            taken, scale = contract.flow + contract.num if contract.den == 1 else None, contract.scale
            # Three of a size that cannot be halved, at a price of its own: what is taken in the end is a third.
            contract.trade(3 if number % 2 == 0 else -1, contract.count_money(amount))
            balance.follow(contract, taken, scale)
        assert Fraction(*balance.ratio()) == expected + contract.realised
        assert not some or balance.scale % contract.scale == 0


@few
@given(st.sampled_from(EXACT_ONES), st.integers(-(10**12), 10**12), st.integers(1, 10**9), amounts)
def test_the_value_of_a_fill_is_a_product_of_whole_numbers(
    instrument: Instrument, lots: int, ticks: int, other: Decimal
) -> None:
    """Lots times ticks times what one of each is worth, however fine the count of money has become."""
    net = Netting(instrument)
    for _ in range(2):
        assert Fraction(lots * ticks * net.lot_tick, net.scale) == Fraction(instrument.value(lots, ticks))
        net.count_money(other)


@few
@given(st.lists(st.tuples(amounts, amounts), max_size=8))
@example([(Decimal("0.000001"), Decimal(0)), (Decimal(-1), Decimal(1)), (Decimal(-1), Decimal("0.000001"))])
@example([(Decimal(3), Decimal(1)), (Decimal(-1), Decimal(1)), (Decimal(1), Decimal("0.000001"))])
def test_a_position_counts_the_same_however_its_scale_grew(some: list[tuple[Decimal, Decimal]]) -> None:
    """With its finest scale from the start, and with one that grows from trade to trade."""
    late, early = Position(LINEAR), Position(LINEAR)
    early._net.count_size(Decimal("1e-25"))
    early._net.count_money(Decimal("1e-25"))
    for qty, value in some:
        if qty:
            late.trade(qty, value.copy_sign(qty))
            early.trade(qty, value.copy_sign(qty))
            assert late.open_value == early.open_value
            assert late.realised_exact == early.realised_exact
            assert late.qty == early.qty
            assert late.lots == early.lots
            assert (late._net.den == 1) or late._net.num % late._net.den


@few
@given(st.fractions(), st.integers(0, 30), st.integers(0, 30))
def test_shown_amounts_are_exact_or_rounded_half_even(amount: Fraction, twos: int, fives: int) -> None:
    """An amount that is a decimal is shown as itself, any other to the nearest 1e-18."""
    finite = Fraction(amount.numerator, 2**twos * 5**fives)
    assert Fraction(shown(finite)) == finite
    assert Fraction(shown(amount)) == amount or Fraction(shown(amount)) == Fraction(round(amount * 10**18), 10**18)


def test_a_position_that_is_never_flat_keeps_short_numbers() -> None:
    """Thousands of partial closes must neither slow the ledger down nor cost a shown digit."""
    position, oracle = Position(LINEAR), FractionLedger({})
    bits = 0
    for step in range(2_000):
        side = Side.BUY if step % 2 == 0 else Side.SELL
        lots, ticks = 10_007 + step % 911 if side is Side.BUY else 9_973 - step % 877, 600_000 + step * 7919 % 1000
        position.book(fill_of(LINEAR, Deal(side, lots, ticks)))
        if step < 300:
            oracle.fill(
                contract_of(LINEAR),
                change=Fraction(LINEAR.qty_decimal(lots)) * side.sign,
                price=Fraction(LINEAR.price_decimal(ticks)),
                fee=Fraction(0),
                fee_currency="USDT",
            )
            holding = oracle.holding(contract_of(LINEAR))
            assert abs(position.realised_exact - holding.realised) < Fraction(1, 10**55)
            bits = max(bits, holding.cost.denominator.bit_length())
        # Kept and realised always add up to what the fills brought, whatever was rounded.
        assert position.realised_exact - position.open_value == Fraction(position._net.flow, position._net.scale)
        assert position.open_value.denominator.bit_length() <= 1100
    assert bits > 1024, "the sequence has to outgrow the limit, or this proves nothing"


def test_the_limit_of_the_denominator_is_that_of_the_reduced_one() -> None:
    """However fine the scale has become, an open value is rounded only when it is too long reduced."""
    late, early = Position(LINEAR), Position(LINEAR)
    early._net.count_money(Decimal("1e-100"))
    late.trade(Decimal(10_007), Decimal(6_000_007))
    early.trade(Decimal(10_007), Decimal(6_000_007))
    bits = []
    for step in range(200):
        qty = Decimal(9_973 - step % 877 if step % 2 else -(9_967 - step % 911))
        late.trade(qty, 601 * qty)
        early.trade(qty, 601 * qty)
        assert early.open_value == late.open_value
        bits.append(late.open_value.denominator.bit_length())
    assert 1024 > max(bits) > 1024 - 332, "with the bits of 1e100 it is too long, without them it is not"


@pytest.mark.parametrize("instrument", ALL, ids=lambda instrument: instrument.id)
def test_the_oracle_and_the_instrument_agree_on_value(instrument: Instrument) -> None:
    """Two independent readings of the contract formulas."""
    contract = contract_of(instrument)
    for lots in (1, 7, 999_983):
        for ticks in (1, 3, 654_321, 1_000_003):
            qty, price = Fraction(instrument.qty_decimal(lots)), Fraction(instrument.price_decimal(ticks))
            assert Fraction(instrument.value(lots, ticks)) == contract.value(qty, price)
            assert Fraction(instrument.value(-lots, ticks)) == -contract.value(qty, price)


@pytest.mark.parametrize(("lots", "steps"), [(1, 62), (-1, -62), (3, 188), (-3, -188), (5, 312), (2, 125)])
def test_coin_values_between_two_steps_round_to_the_even_one(lots: int, steps: int) -> None:
    """A value of 62.5 steps becomes 62 and one of 187.5 becomes 188, long or short."""
    tiny = Instrument("X-USD-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="1e-9", is_inverse=True)
    assert Fraction(tiny.value(lots, 16)) == steps * COIN
    assert contract_of(tiny).value(Fraction(lots), Fraction(16)) == steps * COIN
