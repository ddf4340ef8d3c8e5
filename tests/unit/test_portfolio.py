"""The ledger by worked examples: averages, flips, fees, contracts, funding, conversion and equity."""

from decimal import ROUND_UP, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.errors import ConfigError, OrderError
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio, Position, shown

D = Decimal
UNIT = Instrument("X-USDT-SWAP", kind="swap", price_step="0.5", qty_step="1")
SPOT = Instrument("BTC-USDT", price_step="0.1", qty_step="0.00000001")
LINEAR = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.01", contract_value="0.01")
INVERSE = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True)


def fill(
    instrument: Instrument, qty: float, price: float, *, fee: str = "0", fee_in: str = "", fill_id: int = 1
) -> Fill:
    """Build a fill from a signed size."""
    lots, ticks = instrument.lots(abs(qty)), instrument.ticks(price)
    return Fill(
        id=fill_id,
        order_id="r1",
        instrument=instrument.id,
        side=Side.BUY if qty > 0 else Side.SELL,
        price=price,
        qty=abs(qty),
        value=instrument.value(lots, ticks),
        fee=D(fee),
        fee_currency=fee_in or instrument.settle_currency,
        role="taker",
        filled_ns=0,
        revealed_ns=0,
        why="",
        tag="",
        lots=lots,
        ticks=ticks,
    )


def account(
    *instruments: Instrument, marks: dict[str, float] | None = None, report: str | None = None, **cash: Any
) -> Portfolio:
    """Build an account whose marks the test may change."""
    return Portfolio(
        cash or {"USDT": 10_000}, instruments, report_currency=report, mark_of=({} if marks is None else marks).get
    )


def no_marks(_: str) -> float | None:
    """Know no mark."""
    return None


# Averages and profit ----------------------------------------------------------------------------------------------


def test_reducing_keeps_the_average_and_adding_moves_it() -> None:
    """Trap 25: 10 @ 10, -5 @ 12.5, +7 @ 14.5."""
    portfolio = account(UNIT)
    position = portfolio.position(UNIT.id)
    portfolio.apply(fill(UNIT, 10, 10))
    assert (position.qty, position.average_price, position.realised) == (D(10), 10.0, D(0))
    portfolio.apply(fill(UNIT, -5, 12.5))
    assert (position.qty, position.average_price, position.realised) == (D(5), 10.0, D("12.5"))
    portfolio.apply(fill(UNIT, 7, 14.5))
    assert position.qty == 12
    assert position.average_price_exact == Fraction(5 * 10 * 10 + 7 * 145, 12 * 10)
    assert position.realised == D("12.5")
    assert portfolio.cash == {"USDT": D("10012.5")}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("deals", "qty", "average", "realised"),
    [
        ([(3, 10), (-3, 12)], 0, None, 6),
        ([(3, 10), (-5, 12)], -2, 12, 6),
        ([(3, 10), (-5, 12), (2, 11)], 0, None, 8),
        ([(3, 10), (-5, 12), (4, 11)], 2, 11, 8),
        ([(1, 10), (2, 13), (-1, 20)], 2, 12, 8),
        ([(2, 10), (-1, 9), (-1, 8)], 0, None, -3),
    ],
)
def test_closing_and_flipping(
    sign: int, deals: list[tuple[int, int]], qty: int, average: int | None, realised: int
) -> None:
    """Trap 26: a flip closes at the old average and opens the rest at the fill's price; shorts are mirrored longs."""
    portfolio = account(UNIT)
    for size, price in deals:
        portfolio.apply(fill(UNIT, size * sign, price))
    position = portfolio.position(UNIT.id)
    assert position.qty == qty * sign
    assert position.average_price == average
    assert position.realised == realised * sign
    assert portfolio.balance("USDT") == 10_000 + realised * sign


def test_splitting_a_fill_does_not_move_the_average() -> None:
    """Trap 24: sevenths that no float holds come out as if bought at once."""
    whole, parts = Position(LINEAR), Position(LINEAR)
    whole.book(fill(LINEAR, 0.03, 97_123.4))
    whole.book(fill(LINEAR, 0.04, 96_000.1))
    for size, price in [(0.01, 97_123.4)] * 3 + [(0.01, 96_000.1), (0.03, 96_000.1)]:
        parts.book(fill(LINEAR, size, price))
    assert parts.average_price_exact == whole.average_price_exact == Fraction(6_753_706, 70)
    assert parts.open_value == whole.open_value


def test_a_flat_position_has_no_average_and_nothing_open() -> None:
    """None, not zero: a price of zero is a price."""
    position = account(UNIT).position(UNIT.id)
    assert position.average_price is None
    assert position.average_price_exact is None
    assert position.unrealised(123.0) == 0
    assert repr(position) == "Position('X-USDT-SWAP', qty=0, average_price=None)"


def test_money_is_not_rounded_per_fill() -> None:
    """Traps 37 to 39: ten times 0.1 is 1, and the fees of a thousand tiny fills are their exact sum."""
    tiny = Instrument("A-USDT", price_step="0.0000001", qty_step="0.1")
    portfolio = account(tiny, marks={tiny.id: 1.0}, USDT="1")
    rate = Fees(taker_bps=7.25).rate(is_maker=False)
    for _ in range(1000):
        deal = fill(tiny, 0.1, 0.0000003)
        portfolio.apply(fill(tiny, 0.1, 0.0000003, fee=str(deal.value * rate)))
    assert portfolio.position(tiny.id).qty == 100
    assert portfolio.balance("USDT") == 1 - D("0.00003") - D("0.00003") * D("0.000725")
    assert portfolio.balance("A") == 100
    for _ in range(1000):
        portfolio.apply(fill(tiny, -0.1, 0.0000003))
    assert str(portfolio.position(tiny.id).qty) in ("0", "0.0")


# Contracts --------------------------------------------------------------------------------------------------------


def test_linear_contracts_count_coins_by_the_contract_value() -> None:
    """Trap 29: 2 contracts of 0.01 BTC from 50,000 to 51,000 earn 20 USDT."""
    portfolio = account(LINEAR, marks={LINEAR.id: 51_000.0})
    portfolio.apply(fill(LINEAR, 2, 50_000, fee="0.5"))
    assert portfolio.position(LINEAR.id).unrealised(51_000) == 20
    assert portfolio.cash == {"USDT": D("9999.5")}
    assert portfolio.equity == D("10019.5")
    portfolio.apply(fill(LINEAR, -2, 51_000, fee="0.51"))
    assert portfolio.position(LINEAR.id).realised == 20
    assert portfolio.cash == {"USDT": D("10018.99")}


def test_inverse_contracts_pay_coins_at_the_harmonic_average() -> None:
    """Trap 30: 10 x 100 USD at 50,000 and 10 at 40,000 are 0.045 BTC, an average of 44,444.44."""
    portfolio = account(SPOT, INVERSE, marks={SPOT.id: 50_000.0, INVERSE.id: 50_000.0}, report="USDT", BTC="1")
    portfolio.apply(fill(INVERSE, 10, 50_000))
    portfolio.apply(fill(INVERSE, 10, 40_000))
    position = portfolio.position(INVERSE.id)
    assert position.average_price_exact == Fraction(2000, 1) / Fraction(45, 1000)
    assert position.average_price == pytest.approx(44_444.4444, abs=1e-4)
    assert position.unrealised(50_000) == D("0.005")
    assert portfolio.equity == D("1.005") * 50_000
    portfolio.apply(fill(INVERSE, -20, 50_000))
    assert position.realised == D("0.005")
    assert portfolio.cash["BTC"] == D("1.005")


@pytest.mark.parametrize(("qty", "exit_price", "coins"), [(10, 40_000, "-0.005"), (-10, 40_000, "0.005")])
def test_inverse_profit_is_side_aware(qty: int, exit_price: int, coins: str) -> None:
    """A long loses more coins by a fall than it wins by the same rise."""
    position = Position(INVERSE)
    position.book(fill(INVERSE, qty, 50_000))
    assert position.unrealised(exit_price) == D(coins)
    position.book(fill(INVERSE, -qty, exit_price))
    assert position.realised == D(coins)


def test_inverse_coins_are_rounded_once_per_fill() -> None:
    """100 USD at 30,000 are 0.003333333333 BTC, and three of them 0.009999999999."""
    position = Position(INVERSE)
    for _ in range(3):
        position.book(fill(INVERSE, 1, 30_000))
    assert position.open_value == Fraction(9_999_999_999, 10**12)


def test_equity_is_at_the_mark_not_at_the_last_fill() -> None:
    """Trap 31: fills move the position, only marks move what it is worth."""
    marks = {LINEAR.id: 50_000.0}
    portfolio = account(LINEAR, marks=marks)
    portfolio.apply(fill(LINEAR, 100, 50_000))
    portfolio.apply(fill(LINEAR, 0.01, 60_000))
    assert portfolio.equity == 10_000 - D("0.01") * D("0.01") * 10_000
    marks[LINEAR.id] = 49_000.0
    assert portfolio.equity == 10_000 - 1000 - D("0.01") * D("0.01") * 11_000
    assert portfolio.mark(LINEAR.id) == 49_000.0


# Fees -------------------------------------------------------------------------------------------------------------


def test_a_coin_fee_leaves_dust() -> None:
    """Trap 27: a fee in the base currency comes off the position, and the average stays the price that was paid."""
    portfolio = account(SPOT, marks={SPOT.id: 50_000.0}, USDT=60_000)
    portfolio.apply(fill(SPOT, 1, 50_000, fee="0.001", fee_in="BTC"))
    position = portfolio.position(SPOT.id)
    assert position.qty == D("0.999")
    assert position.average_price == 50_000
    assert position.realised == 0
    assert portfolio.cash == {"USDT": 10_000, "BTC": D("0.999")}
    assert portfolio.equity == 60_000 - 50
    assert position.fees == portfolio.totals("fees") == {"BTC": D("0.001")}


@pytest.mark.parametrize("fee", ["0.01", "-0.01"])
def test_a_coin_fee_on_a_cover_keeps_the_average_of_what_is_left(fee: str) -> None:
    """Trap 25 with coins that were deposited and sold: buying part of them back is a reduction, fee and all."""
    portfolio = account(SPOT, marks={SPOT.id: 100.0}, USDT=1000, BTC=5)
    portfolio.apply(fill(SPOT, -4, 120))
    portfolio.apply(fill(SPOT, 1, 100, fee=fee, fee_in="BTC"))
    position = portfolio.position(SPOT.id)
    assert position.qty == -3 - D(fee)
    assert position.average_price == 120
    assert position.realised == 20 * (1 - D(fee))
    assert portfolio.balance("BTC") == 2 - D(fee)
    # 4 coins were sold 20 above the mark, and the fee was paid at the mark.
    assert portfolio.equity == 1500 + 80 - 100 * D(fee)


def test_a_rebate_is_a_negative_fee() -> None:
    """Trap 27: a rebate raises the balance, in quote and in coins alike."""
    portfolio = account(SPOT, marks={SPOT.id: 100.0})
    portfolio.apply(fill(SPOT, 1, 100, fee="-0.01"))
    portfolio.apply(fill(SPOT, 1, 100, fee="-0.002", fee_in="BTC"))
    assert portfolio.cash == {"USDT": D("9800.01"), "BTC": D("2.002")}
    assert portfolio.position(SPOT.id).qty == D("2.002")
    assert portfolio.totals("fees") == {"USDT": D("-0.01"), "BTC": D("-0.002")}


def test_both_legs_are_charged_by_role() -> None:
    """Trap 28: in and out at one price costs the maker's and the taker's fee."""
    portfolio = account(LINEAR, marks={LINEAR.id: 50_000.0})
    fees = Fees.okx_swap()
    for qty, is_maker in ((2, True), (-2, False)):
        deal = fill(LINEAR, qty, 50_000)
        portfolio.apply(fill(LINEAR, qty, 50_000, fee=str(deal.value * fees.rate(is_maker=is_maker))))
    assert portfolio.equity == 10_000 - D("0.2") - D("0.5")
    assert portfolio.totals("realised") == {"USDT": 0}


# Funding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("qty", "rate", "received"),
    [(2, 0.0001, "-0.1"), (-2, 0.0001, "0.1"), (2, -0.0001, "0.1"), (-2, -0.0001, "-0.1"), (2, 0.0, "0")],
)
def test_longs_pay_positive_funding_at_the_mark(qty: int, rate: float, received: str) -> None:
    """Trap 32: 2 contracts of 0.01 BTC at a mark of 50,000 and 1 bp are 0.1 USDT."""
    portfolio = account(LINEAR, marks={LINEAR.id: 40_000.0})
    portfolio.apply(fill(LINEAR, qty, 40_000))
    assert portfolio.charge_funding(LINEAR.id, rate=rate, mark=50_000, qty=D(qty)) == D(received)
    assert portfolio.balance("USDT") == 10_000 + D(received)
    assert portfolio.position(LINEAR.id).funding == portfolio.totals("funding") == {"USDT": D(received)}
    assert portfolio.position(LINEAR.id).realised == 0


def test_funding_of_an_inverse_contract_is_paid_in_coins() -> None:
    """Trap 32: 10 x 100 USD at a mark of 50,000 are 0.02 BTC, and 1 bp of it is 0.000002."""
    portfolio = account(SPOT, INVERSE, marks={}, report="USDT", BTC=1)
    portfolio.apply(fill(INVERSE, 10, 40_000))
    assert portfolio.charge_funding(INVERSE.id, rate=0.0001, mark=50_000, qty=D(10)) == D("-0.000002")
    assert portfolio.balance("BTC") == D("0.999998")


def test_flat_accounts_pay_no_funding() -> None:
    """Trap 32: none when flat at that instant, and no position appears; one since closed still owes for then."""
    portfolio = account(LINEAR)
    assert portfolio.charge_funding(LINEAR.id, rate=0.01, mark=50_000, qty=D(0)) == 0
    assert portfolio.positions == {}
    assert portfolio.charge_funding(LINEAR.id, rate=0.01, mark=50_000, qty=D(1)) == -5
    assert list(portfolio.positions) == [LINEAR.id]


def test_funding_over_a_schedule_adds_up() -> None:
    """Trap 32: long, flat, short: only what is held at each boundary counts."""
    portfolio = account(LINEAR)
    position = portfolio.position(LINEAR.id)
    for change, mark in ((3, 50_000), (-3, 51_000), (-1, 52_000)):
        portfolio.apply(fill(LINEAR, change, mark))
        portfolio.charge_funding(LINEAR.id, rate=0.001, mark=mark, qty=position.qty)
    assert position.funding == {"USDT": D("-1.5") + D("0.52")}


# Currencies and equity --------------------------------------------------------------------------------------------


def test_equity_waits_for_a_needed_mark() -> None:
    """Unknown is None: neither an open contract nor a balance of coins is worth nothing."""
    marks: dict[str, float] = {}
    portfolio = account(SPOT, LINEAR, marks=marks)
    assert portfolio.equity == 10_000
    portfolio.apply(fill(SPOT, 1, 100))
    assert portfolio.equity is None
    assert portfolio.equity_exact() is portfolio.equity_float is None
    marks[SPOT.id] = 110.0
    assert portfolio.equity == portfolio.equity_float == 10_010
    portfolio.apply(fill(LINEAR, 1, 100))
    assert portfolio.equity is portfolio.equity_float is None
    marks[LINEAR.id] = 200.0
    assert portfolio.equity == portfolio.equity_float == 10_011
    portfolio.apply(fill(LINEAR, -1, 100))
    del marks[LINEAR.id]
    assert portfolio.equity == 10_010


def test_conversion_works_both_ways_and_prefers_spot() -> None:
    """The report currency may be base or quote; a contract's mark stands in only where there is no spot."""
    marks = {SPOT.id: 40_000.0, LINEAR.id: 50_000.0, INVERSE.id: 60_000.0}
    assert account(SPOT, LINEAR, marks=marks, USDT=1, BTC=1).rate_exact("BTC") == 40_000
    assert account(SPOT, LINEAR, marks=marks, USDT=1, BTC=1).rate_exact("USDT") == 1
    assert account(LINEAR, marks=marks, USDT=1, BTC=1).rate_exact("BTC") == 50_000
    assert account(SPOT, LINEAR, USDT=1).converter("BTC") is SPOT
    assert account(LINEAR, USDT=1, BTC=1).converter("BTC") is LINEAR
    in_coins = account(SPOT, marks=marks, BTC=1, USDT=20_000)
    assert in_coins.report_currency == "BTC"
    assert in_coins.rate_exact("USDT") == Fraction(1, 40_000)
    assert in_coins.equity == D("1.5")
    usd = account(INVERSE, marks=marks, USD=0, BTC="0.5")
    assert usd.equity == 30_000
    assert account(SPOT, marks={}, USDT=1).rate_exact("BTC") is None


@pytest.mark.parametrize(
    ("instruments", "cash", "report", "words"),
    [
        ((), {"USDT": 1, "EUR": 2}, None, "EUR cannot be counted in USDT: the run has no instrument EUR-USDT"),
        ((INVERSE,), {"USDT": 1}, None, "BTC cannot be counted in USDT"),
        ((SPOT,), {"USDT": 1}, "EUR", "BTC cannot be counted in EUR"),
        ((), {"USDT": -1}, None, "starting cash of USDT is -1; it cannot be negative"),
        ((), {"USDT": float("nan")}, None, "nan is not a finite number"),
        ((), {"USDT": "lots"}, None, "'lots' is not a number"),
    ],
)
def test_accounts_that_cannot_be_valued_are_refused(
    instruments: tuple[Instrument, ...], cash: dict[str, Any], report: str | None, words: str
) -> None:
    """At the start, naming the missing pair."""
    with pytest.raises(ConfigError, match=words):
        Portfolio(cash, instruments, report_currency=report, mark_of=no_marks)


def test_an_account_needs_cash() -> None:
    """An empty account cannot even say what its equity is counted in."""
    with pytest.raises(ConfigError, match="the account has no cash"):
        Portfolio({}, [SPOT], mark_of=no_marks)


def test_balances_list_deposits_first() -> None:
    """Every currency that has or had a balance, in a stable order."""
    portfolio = account(SPOT, INVERSE, marks={SPOT.id: 1.0}, USDT=5)
    assert portfolio.currencies == ("USDT",)
    portfolio.apply(fill(INVERSE, 1, 50_000))
    assert portfolio.currencies == ("USDT", "BTC")
    assert portfolio.cash == {"USDT": 5, "BTC": 0}
    assert portfolio.balance("EUR") == 0
    assert portfolio.deposits == {"USDT": 5}


def test_a_position_is_one_object_from_the_first_look() -> None:
    """A strategy may keep what it looked at before the first fill."""
    portfolio = account(SPOT, LINEAR)
    early = portfolio.position(LINEAR.id)
    assert portfolio.positions == {}
    portfolio.apply(fill(LINEAR, 1, 50_000))
    assert early.qty == 1
    assert portfolio.position(LINEAR.id) is early
    assert portfolio.positions == {LINEAR.id: early}


def test_an_unknown_instrument_is_named() -> None:
    """The error says what the run has instead."""
    with pytest.raises(OrderError, match="BTC-USTD is no instrument of this run; it has BTC-USDT, BTC-USDT-SWAP"):
        account(SPOT, LINEAR).position("BTC-USTD")


def test_totals_add_up_instruments_by_currency() -> None:
    """Realised profit, fees and funding of all instruments that settle alike."""
    portfolio = account(LINEAR, UNIT)
    portfolio.apply(fill(UNIT, 2, 10, fee="0.25"))
    portfolio.apply(fill(UNIT, -1, 13, fee="0.25"))
    portfolio.apply(fill(LINEAR, 1, 50_000, fee="0.5"))
    portfolio.apply(fill(LINEAR, -1, 49_900))
    assert portfolio.totals("realised") == {"USDT": 2}
    assert portfolio.totals("fees") == {"USDT": 1}
    assert portfolio.totals("funding") == {}


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (Fraction(1, 3), "0.333333333333333333"),
        (Fraction(-2, 3), "-0.666666666666666667"),
        (Fraction(1, 2**40), str(Decimal(1) / Decimal(2**40))),
        (Fraction(1, 2**41), "0.000000000000454747"),
        (Fraction(10_000), "10000"),
        (Fraction(0), "0"),
    ],
)
def test_amounts_are_shown_whole_or_to_18_places(amount: Fraction, text: str) -> None:
    """Endless decimals, and finite ones of more than 40 places, are cut for display only."""
    assert shown(amount) == Decimal(text)


def test_a_never_flat_position_rounds_far_below_what_is_shown() -> None:
    """The cost of a position that always closes a part keeps a bounded denominator, and cash stays consistent."""
    position = Position(LINEAR)
    position.book(fill(LINEAR, 100, 50_000.1))
    for step in range(400):
        position.book(fill(LINEAR, -0.07 - step % 89 / 100, 50_000.1 + step))
        position.book(fill(LINEAR, 0.83, 50_001.7 - step))
    assert position.open_value.denominator.bit_length() <= 1024
    average = position.average_price
    assert average is not None
    assert 49_000 < average < 51_000


def test_size_and_cost_are_there_as_floats_too() -> None:
    position = Position(LINEAR)
    position.book(fill(LINEAR, 1.23, 50_000.1))
    assert (position.qty_float, position.open_value_float) == (1.23, float(position.open_value))


def test_a_currency_backs_contracts_from_their_first_fill_on() -> None:
    """Coins bought with it are no contracts, and having closed changes nothing: a debt of them would remain."""
    book = Portfolio({"USDT": 100_000}, [SPOT, LINEAR], mark_of=no_marks)
    book.apply(fill(SPOT, 1, 50_000))
    assert not book.backs_contracts("USDT")
    book.apply(fill(LINEAR, 1, 50_000))
    book.apply(fill(LINEAR, -1, 50_000))
    assert book.backs_contracts("USDT")
    assert not book.backs_contracts("BTC")


@given(st.decimals("-0.02", "0.02", places=8))
@settings(max_examples=100, deadline=None)
def test_lots_are_counted_both_ways(size: Decimal) -> None:
    """Whole lots in a holding of coins, and lots that bring it to zero."""
    coin = Instrument("BTC-USDT", price_step="0.1", qty_step="0.001")
    position = Position(coin)
    position.trade(size, size * 100)
    assert position.qty == size
    assert position.lots == int(size / coin.lot)
    assert position.lots_covering == int((size / coin.lot).to_integral_value(rounding=ROUND_UP))
