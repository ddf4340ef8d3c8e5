"""Two positions in one contract against the fraction ledger, every number compared after every step."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ledger_cases import (
    ALL,
    BTC,
    CASH,
    CONTRACTS,
    ETH,
    INVERSE,
    LINEAR,
    Deal,
    Marks,
    account,
    balances,
    contract_of,
    equity_of,
    fee_bps,
    few,
    fill_of,
    state,
)
from oracle.accounts import account_case, legged
from oracle.fraction_ledger import FractionLedger
from oracle.match import difference, naive, real

from quantkit.instruments import Instrument, Side
from quantkit.orders import PositionSide
from quantkit.portfolio import Portfolio

LEGS = (PositionSide.LONG, PositionSide.SHORT)
#: A step: what is traded, its leg, the size as a share of the leg where it closes, a price, a fee.
steps = st.lists(
    st.tuples(
        st.sampled_from(CONTRACTS),
        st.sampled_from(LEGS),
        st.one_of(st.integers(1, 40), st.fractions(Fraction(1, 7), 1)),
        st.integers(1, 2_000_000),
        fee_bps,
        st.sampled_from((None, None, 0.0001, -0.00375)),
    ),
    max_size=25,
)


def two_legs(marks: Marks) -> Portfolio:
    """Build an account in the long/short mode."""
    return Portfolio(CASH, ALL, report_currency="USDT", mark_of=marks.of, is_long_short=True)


def deal_in(book: Portfolio, instrument: Instrument, leg: PositionSide, size: Any, ticks: int, bps: str) -> Deal | None:
    """Return a deal: a number of lots opens a leg, a share of it closes so much; None where there is nothing."""
    opens = Side.BUY if leg is PositionSide.LONG else Side.SELL
    if isinstance(size, int):
        return Deal(opens, size, ticks, bps)
    lots = round(abs(book.position(instrument.id, leg).lots) * size)
    return Deal(Side.SELL if opens is Side.BUY else Side.BUY, lots, ticks, bps) if lots else None


@few
@given(steps=steps)
def test_legs_agree_with_the_oracle(steps: list[Any]) -> None:
    """Sizes, averages, profit, fees, funding, balances and equity, exactly; a leg never changes its side."""
    marks = Marks({instrument.id: 100.0 for instrument in ALL})
    book = two_legs(marks)
    oracle = FractionLedger({currency: Fraction(amount) for currency, amount in CASH.items()})
    for instrument, leg, size, ticks, bps, rate in steps:
        contract = replace(contract_of(instrument), side=leg.value)
        deal = deal_in(book, instrument, leg, size, ticks, bps)
        if deal is not None:
            fill = msgspec.structs.replace(fill_of(instrument, deal), position_side=leg)
            book.apply(fill)
            oracle.fill(
                contract,
                change=Fraction(instrument.qty_decimal(deal.lots)) * deal.side.sign,
                price=Fraction(instrument.price_decimal(deal.ticks)),
                fee=Fraction(fill.fee),
                fee_currency=fill.fee_currency,
            )
        marks[instrument.id] = instrument.price(ticks)
        if rate is not None:
            received = book.charge_funding(
                instrument.id,
                rate=rate,
                mark=marks[instrument.id],
                qty=book.position(instrument.id, leg).qty,
                position_side=leg,
            )
            assert Fraction(received) == oracle.settle_funding(
                contract, rate=Fraction(repr(rate)), mark=Fraction(repr(marks[instrument.id]))
            )
        holding, position = oracle.holding(contract), book.position(instrument.id, leg)
        mark = Fraction(repr(marks[instrument.id]))
        assert (Fraction(position.qty), position.average_price_exact) == (holding.qty, holding.average_price)
        assert (position.realised_exact, position.unrealised_exact(marks[instrument.id])) == (
            holding.realised,
            holding.unrealised(mark),
        )
        assert position.qty * (1 if leg is PositionSide.LONG else -1) >= 0
    rates = {"USDT": Fraction(1), **{i.base: Fraction(repr(marks[i.id])) for i in (BTC, ETH)}}
    assert equity_of(book) == oracle.equity({i.id: Fraction(repr(marks[i.id])) for i in ALL}, rates)
    for currency in {*book.currencies, *oracle.cash}:
        assert book.balance_exact(currency) == oracle.cash.get(currency, 0)
    # What the account has gained is what its legs have: realised, open, funding, less fees.
    gained = equity_of(book) - sum(Fraction(amount) * rates[currency] for currency, amount in CASH.items())
    parts = Fraction(0)
    for position in book.positions.values():
        instrument = position.instrument
        settle = instrument.settle_currency
        own = position.realised_exact + position.unrealised_exact(marks[instrument.id])
        own += Fraction(position.funding.get(settle, 0)) - Fraction(position.fees.get(settle, 0))
        parts += own * rates[settle]
    assert gained == parts


@few
@given(steps=steps, leg=st.sampled_from(LEGS))
def test_one_leg_is_the_net_ledger(steps: list[Any], leg: PositionSide) -> None:
    """Fills of one leg alone leave what the same fills leave in a net account, to the last fraction."""
    marks = Marks({instrument.id: 100.0 for instrument in ALL})
    net, book = account(marks=marks), two_legs(marks)
    for instrument, _, size, ticks, bps, rate in steps:
        deal = deal_in(book, instrument, leg, size, ticks, bps)
        if deal is not None:
            fill = fill_of(instrument, deal)
            net.apply(fill)
            book.apply(msgspec.structs.replace(fill, position_side=leg))
        if rate is not None:
            qty = net.position(instrument.id).qty
            one = net.charge_funding(instrument.id, rate=rate, mark=100.0, qty=qty)
            assert one == book.charge_funding(instrument.id, rate=rate, mark=100.0, qty=qty, position_side=leg)
    assert balances(net) == balances(book)
    assert equity_of(net) == equity_of(book)
    for instrument in (LINEAR, INVERSE):
        position = book.position(instrument.id, leg)
        assert state(net, instrument) == (
            position.qty,
            position.average_price_exact,
            position.open_value,
            position.realised_exact,
            dict(position.fees),
            dict(position.funding),
        )


@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize("seed", [0, 9])
def test_a_run_with_legs_is_what_the_oracle_says(seed: int, search: bool) -> None:
    """Orders, fills, curve, excursions, ledgers and all that hooks read; `test_account_oracle` has more of them."""
    case = legged(account_case(seed))
    slow = naive(case.scenario, strategy=case.strategy())
    assert {fill.rpartition(" ")[2] for fill in slow.fills} == {"long", "short"}
    assert not difference(slow, real(case.scenario, strategy=case.strategy(), search=search, block_rows=64))
