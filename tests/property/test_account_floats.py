"""An account decides in floats where the case is clear; the verdict is that of exact arithmetic, however close."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ledger_cases import Deal, Marks, fill_of

from quantkit.brokers.simulated import leverage_bound
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.funds import Funds
from quantkit.fees import Fees
from quantkit.instruments import EXACT, Instrument, Side
from quantkit.orders import Order
from quantkit.portfolio import Portfolio

ONE = Instrument("AAA-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.01", contract_value="0.003")
TWO = Instrument("BBB-USDT-SWAP", kind="swap", price_step="0.01", qty_step="1", contract_value="0.7", tick="0.001")
COIN = Instrument("CCC-USDT", price_step="0.01", qty_step="0.001")
INVERSE = Instrument("DDD-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True)
PAID_IN_COIN = Instrument("EEE-DDD-SWAP", kind="swap", price_step="1", qty_step="1")
OTHER = Instrument("FFF-DDD-SWAP", kind="swap", price_step="1", qty_step="1")
ALL = (ONE, TWO, COIN)

many = settings(max_examples=300, deadline=None)
sides = st.sampled_from(Side)
lots = st.integers(1, 10**6)
#: Around the bound: on it, a hair beside it, beside it by about the slack, and clearly off.
shares = st.sampled_from(("0", "1e-25", "1e-15", "1e-12", "1e-10", "5e-10", "1e-9", "3e-9", "1e-6", "0.3"))
fees = st.builds(
    Fees,
    maker_bps=st.sampled_from((-1.0, 0.0, 2.0, 7.25)),
    taker_bps=st.sampled_from((0.0, 5.0, 10.1)),
    per_contract=st.sampled_from((0.0, 0.0, 0.013)),
    per_share=st.sampled_from((0.0, 0.0, 0.07)),
    per_order=st.sampled_from((0.0, 0.0, 0.0, 1.5)),
)


class Case(NamedTuple):
    """What an account has before an order: a position and an open order in each contract, and marks."""

    held: tuple[int, int]
    entries: tuple[int, int]
    marks: tuple[float, float]
    working: tuple[int, int]
    leverage: str
    fees: Fees


cases = st.builds(
    Case,
    held=st.tuples(st.integers(-(10**5), 10**5), st.sampled_from((0, 0, -17, 40_001))),
    entries=st.tuples(st.integers(1, 10**6), st.integers(1, 10**7)),
    marks=st.tuples(st.floats(0.1, 1e5), st.floats(0.01, 1e4)),
    working=st.tuples(st.integers(-1000, 1000), st.sampled_from((0, 0, 333, -50_000))),
    leverage=st.sampled_from(("1", "3", "12.5", "100", "0.7")),
    fees=fees,
)


@contextmanager
def exact_alone() -> Iterator[None]:
    """Let no float decide."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leverage_bound, "SLACK", float("inf"))
        patch.setattr(Funds, "is_free", lambda self, currency, amount: Fraction(amount) <= self.available(currency))
        yield


def order_of(instrument: Instrument, side: Side, size: int, limit: int | None, number: int = 1) -> ExchangeOrder:
    """Make an order as it arrives."""
    return ExchangeOrder(
        Order(id=f"r{number}", instrument=instrument.id, side=side, qty=1.0, lots=size, price_ticks=limit)
    )


def account_of(case: Case, cash: Fraction) -> Account:
    """Build the account; `cash` is rounded down to 40 places."""
    deposit = EXACT.scaleb(Decimal(cash * 10**40 // 1), -40)
    marks = Marks({ONE.id: case.marks[0], TWO.id: case.marks[1], COIN.id: 10.0})
    # What is deposited after the positions were opened may be less than nothing.
    portfolio = Portfolio({"USDT": 0}, ALL, mark_of=marks.of)
    portfolio._settled["USDT"].settle(deposit)
    account = Account(portfolio, dict.fromkeys((i.id for i in ALL), case.fees), max_leverage=Decimal(case.leverage))
    for number, instrument in enumerate((ONE, TWO)):
        held = case.held[number]
        if held:
            deal = Deal(Side.BUY if held > 0 else Side.SELL, abs(held), case.entries[number])
            portfolio.apply(fill_of(instrument, deal))
        working = case.working[number]
        if working:
            side = Side.BUY if working > 0 else Side.SELL
            other = order_of(instrument, side, abs(working), 1, number + 10)
            holding = account._holdings[instrument.id]
            holding.orders[other.id], holding.open_lots[other.is_buy], other.open_lots = other, other.left, other.left
    return account


def admitted(case: Case, cash: Fraction, side: Side, size: int, limit: int, reference: int) -> tuple[str, bool, int]:
    """Judge an order in the first contract."""
    order = order_of(ONE, side, size, limit)
    refusal = account_of(case, cash).admit(order, lots=size, limit_ticks=limit, reference=reference)
    return refusal, order.only_closes, order.open_lots


@many
@given(cases, sides, lots, st.integers(1, 10**6), st.integers(1, 10**6), shares, st.booleans())
def test_an_order_is_admitted_as_by_exact_arithmetic(
    case: Case, side: Side, size: int, limit: int, reference: int, share: str, is_more: bool
) -> None:
    """On the bound, beside it, and far from it; on the bound it may be."""
    poor = account_of(case, Fraction(0))
    with exact_alone():
        poor.admit(order_of(ONE, side, size, limit), lots=size, limit_ticks=limit, reference=reference)
    assume(ONE.id in poor.bound.shortfalls)
    lack = poor.bound.shortfalls[ONE.id]
    beside = Fraction(share) * lack.needed * (1 if is_more else -1)
    cash = lack.needed - lack.equity + beside
    found = admitted(case, cash, side, size, limit, reference)
    with exact_alone():
        assert admitted(case, cash, side, size, limit, reference) == found
    if beside and abs(beside) > Fraction(1, 10**39):
        assert (found[0] == "" and not found[1]) is is_more


@many
@given(cases, sides, lots, st.integers(1, 10**6), shares, st.booleans(), st.booleans(), st.booleans())
def test_a_fill_is_carried_as_by_exact_arithmetic(
    case: Case, side: Side, size: int, ticks: int, share: str, is_more: bool, is_maker: bool, by_mark: bool
) -> None:
    """At the cash with which the notional, by the fill's own price or by the mark, is the bound, and beside it."""
    held, sign = [Fraction(lots) for lots in case.held], side.sign
    lot_values = [Fraction(i.lot_value) for i in (ONE, TWO)]
    marks = [Fraction(str(mark)) for mark in case.marks]
    price = Fraction(ONE.price_decimal(ticks))
    costs = [
        held[0] * lot_values[0] * Fraction(ONE.price_decimal(case.entries[0])),
        held[1] * lot_values[1] * Fraction(TWO.price_decimal(case.entries[1])),
    ]
    value = size * lot_values[0] * price
    fee = value * Fraction(case.fees.rate(is_maker=is_maker))
    fee += size * Fraction(ONE.lot) * Fraction(str(case.fees.per_contract)) + Fraction(str(case.fees.per_order))
    after = (held[0] + sign * size) * lot_values[0]
    other = held[1] * lot_values[1] * marks[1]
    at = marks[0] if by_mark else price
    needed = (abs(after * at) + abs(other)) / Fraction(case.leverage)
    beside = Fraction(share) * needed * (1 if is_more else -1)
    cash = needed - (after * at - costs[0] - sign * value - fee + other - costs[1]) + beside
    found = account_of(case, cash).affordable_lots(order_of(ONE, side, size, None), size, ticks, is_maker=is_maker)
    with exact_alone():
        exact = account_of(case, cash).affordable_lots(order_of(ONE, side, size, None), size, ticks, is_maker=is_maker)
    assert found == exact


@many
@given(cases, sides, lots, st.integers(1, 10**6), shares, st.booleans(), st.booleans())
def test_a_spot_order_is_admitted_as_by_exact_arithmetic(
    case: Case, side: Side, size: int, limit: int, share: str, is_more: bool, has_contracts: bool
) -> None:
    """Money or coins that just cover it, and a hair less or more."""
    if not has_contracts:
        case = case._replace(held=(0, 0))
    needed = account_of(case, Fraction(0))
    lock = needed.funds.lock_for(order_of(COIN, side, size, limit), limit, None)
    assert lock is not None
    amount = Fraction(needed.funds.lock_amount(order_of(COIN, side, size, limit), lock, size))
    have = amount * (1 + Fraction(share) * (1 if is_more else -1))

    def judged() -> tuple[str, Decimal, int]:
        account = account_of(case, have if side is Side.BUY else Fraction(10**12))
        if side is Side.SELL:
            account.ledger._money("CCC").settle(EXACT.scaleb(Decimal(have * 10**40 // 1), -40))
        order = order_of(COIN, side, size, limit)
        refusal = account.admit(order, lots=size, limit_ticks=limit, reference=limit)
        return refusal, account.funds.locked(lock.currency), account.affordable_lots(order, size, limit, is_maker=False)

    found = judged()
    with exact_alone():
        assert judged() == found
    assert found[1] == (0 if found[0] else amount)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(sides, st.integers(1, 50), st.integers(1, 60), st.booleans()), max_size=30), st.data())
def test_what_open_orders_may_add_is_a_running_sum(
    some: list[tuple[Side, int, int, bool]], data: st.DataObject
) -> None:
    """Whatever was admitted, amended, filled and ended, and in whatever order: it is the sum over the open ones."""
    account = account_of(Case((0, 0), (1, 1), (100.0, 1.0), (0, 0), "2", Fees(taker_bps=5)), Fraction(3))
    holding, open_orders = account._holdings[ONE.id], dict[str, ExchangeOrder]()
    for number, (side, size, filled, is_new) in enumerate(some):
        if is_new or not open_orders:
            order = order_of(ONE, side, size, 1000, number)
            order.reduce_only = number % 5 == 4
            if not account.admit(order, lots=size, limit_ticks=1000, reference=1000):
                open_orders[order.id] = order
        else:
            order = open_orders[data.draw(st.sampled_from(sorted(open_orders)))]
            if filled > 50:
                account.funds.release(open_orders.pop(order.id), order.left)
            elif filled > 25 and order.left > 1:
                if not account.admit(order, lots=order.filled_lots + size, limit_ticks=1000, reference=1000):
                    order.lots = order.filled_lots + size
            else:
                allowed = account.affordable_lots(order, min(filled, order.left), 1000, is_maker=True)
                if allowed:
                    account.funds.release(order, allowed)
                    order.filled_lots += allowed
                    account.ledger.apply(fill_of(ONE, Deal(order.side, allowed, 1000)))
                if not order.left:
                    open_orders.pop(order.id)
        for is_buy in (False, True):
            adding = [o for o in open_orders.values() if not (o.reduce_only or o.only_closes) and o.is_buy is is_buy]
            assert holding.open_lots[is_buy] == sum(o.left for o in adding)
        assert holding.orders == open_orders


@pytest.mark.parametrize("has_mark", [True, False])
def test_inverse_contracts_and_missing_marks_take_the_exact_way(has_mark: bool) -> None:
    """Their coin values are rounded, and without a mark there is no price to decide by."""
    marks = Marks({INVERSE.id: 100.0, PAID_IN_COIN.id: 10.0, OTHER.id: 10.0} if has_mark else {})
    contracts = (PAID_IN_COIN, OTHER, INVERSE)
    portfolio = Portfolio({"DDD": 1000}, contracts, mark_of=marks.of)
    account = Account(portfolio, dict.fromkeys(portfolio.instruments, Fees()), max_leverage=Decimal(1))
    own = account._holdings[PAID_IN_COIN.id]
    order = order_of(PAID_IN_COIN, Side.BUY, 10, 10)
    assert account.affordable_lots(order, 10, 10, is_maker=False) == 10
    assert account.bound._beside(own, at_worst=True) == (1000.0, 1000.0, 0.0)
    portfolio.apply(fill_of(OTHER, Deal(Side.BUY, 10, 7)))
    assert account.bound._beside(own, at_worst=False) == ((1030.0, 1170.0, 100.0) if has_mark else None)
    assert account.affordable_lots(order, 10, 10, is_maker=False) == (10 if has_mark else 0)
    portfolio.apply(fill_of(OTHER, Deal(Side.SELL, 10, 7)))
    portfolio.apply(fill_of(PAID_IN_COIN, Deal(Side.BUY, 10, 10)))
    assert account.admit(order, lots=10, limit_ticks=10, reference=None) == ("" if has_mark else "no_price")
    assert account.affordable_lots(order, 10, 10, is_maker=False) == (10 if has_mark else 0)
    portfolio.apply(fill_of(INVERSE, Deal(Side.BUY, 10, 1000)))
    assert account.bound._beside(own, at_worst=True) is None
    assert account.affordable_lots(order, 10, 10, is_maker=False) == (10 if has_mark else 0)
