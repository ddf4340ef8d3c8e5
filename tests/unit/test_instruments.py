"""Instruments: OKX's worked examples, the grids, directed rounding, contract arithmetic and hostile input."""

import copy
import math
import pickle
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.errors import ConfigError, OrderError
from quantkit.fees import Fees
from quantkit.instruments import (
    CHANGEABLE,
    COIN_STEP,
    EXACT,
    Instrument,
    Side,
    check_id,
    closest_id,
    decimal_of,
    on_step_of,
    plain,
)

D = Decimal
BUY, SELL = Side.BUY, Side.SELL
SPOT = Instrument("BTC-USDT", price_step="0.1", qty_step="0.00000001", min_qty="0.00001")
LINEAR = Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.01", contract_value="0.01")
ETH = Instrument("ETH-USDT-SWAP", kind="swap", price_step="0.01", qty_step="0.01", contract_value="0.1")
INVERSE = Instrument("BTC-USD-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="100", is_inverse=True)
#: Every tick size that OKX's instruments use, and the odd ones of its old futures.
STEPS = [f"1e-{places}" for places in range(13)] + ["0.5", "0.05", "0.25", "0.0005", "5", "10", "100"]
few = settings(max_examples=200, deadline=None)


def made(price_step: str = "0.1", qty_step: str = "0.01") -> Instrument:
    """Build a spot instrument on the given grids."""
    return Instrument("A-USDT", price_step=price_step, qty_step=qty_step)


# Worked examples --------------------------------------------------------------------------------------------------


def test_linear_swap_as_okx_counts_it() -> None:
    """BTC-USDT-SWAP, contract value 0.01 BTC: notional `n x u x px`, profit `n x u x (exit - entry)`, in USDT."""
    assert LINEAR.settle_currency == LINEAR.quote == "USDT"
    assert LINEAR.notional(3, 50_000) == 1500
    assert LINEAR.value(300, 500_000) == 1500
    assert LINEAR.pnl(3, 50_000, 51_000) == 30
    assert LINEAR.pnl(-3, 50_000, 51_000) == -30
    assert LINEAR.coins(3, 50_000) == 0.03
    assert ETH.notional(D("2.5"), D("2000")) == 500


def test_inverse_swap_as_okx_counts_it() -> None:
    """BTC-USD-SWAP, contract value 100 USD: notional `n x u / px`, profit `n x u x (1 / entry - 1 / exit)`, in BTC."""
    assert INVERSE.settle_currency == INVERSE.base == "BTC"
    assert INVERSE.notional(10, 50_000) == D("0.02")
    assert INVERSE.value(10, 500_000) == D("0.02")
    assert INVERSE.value(-10, 500_000) == D("-0.02")
    assert INVERSE.pnl(10, 50_000, 40_000) == D("-0.005")
    assert INVERSE.pnl(-10, 50_000, 40_000) == D("0.005")
    assert INVERSE.coins(10, 50_000) == 0.02


def test_inverse_values_are_rounded_once_half_even() -> None:
    """100 USD at 30,000 are 0.00333... BTC, kept to 1e-12."""
    assert INVERSE.value(1, 300_000) == INVERSE.notional(1, 30_000) == D("0.003333333333")
    assert INVERSE.value(2, 300_000) == D("0.006666666667")
    assert INVERSE.value(1, 300_000).as_tuple().exponent == COIN_STEP.as_tuple().exponent
    assert INVERSE.pnl(1, 30_000, 60_000) == D("0.003333333333") - D("0.001666666667")


def test_the_multiplier_is_part_of_the_unit() -> None:
    """Contract size is contract value times multiplier."""
    future = Instrument(
        "X-USDT-260327",
        kind="future",
        price_step="1",
        qty_step="1",
        contract_value="0.1",
        contract_multiplier="10",
    )
    assert future.unit == 1
    assert future.notional(3, 7) == 21


def test_spot_is_worth_size_times_price() -> None:
    """And profit is the difference, exactly."""
    assert SPOT.notional(0.1, 0.2) == D("0.02")
    assert SPOT.pnl(D("0.3"), 0.1, 0.2) == D("0.03")
    assert SPOT.value(SPOT.lots(0.12345678), SPOT.ticks(97_123.4)) == D("0.12345678") * D("97123.4")


@pytest.mark.parametrize(
    ("instrument", "base", "price", "qty"),
    [
        (LINEAR, 0.02, None, 2.0),
        (LINEAR, 0.0205999, None, 2.05),
        (LINEAR, 0.3 - 0.1, None, 20.0),
        (LINEAR, 0.00009, None, 0.0),
        (LINEAR, -0.0205999, None, -2.05),
        (ETH, 1, 123.0, 10.0),
        (SPOT, 0.1 + 0.2, None, 0.3),
        (INVERSE, 0.02, 50_000, 10.0),
        (INVERSE, 0.02, 54_999, 10.0),
        (INVERSE, 0.001, 50_000, 0.0),
    ],
)
def test_qty_for_turns_coins_into_the_instruments_unit(
    instrument: Instrument, base: float, price: float | None, qty: float
) -> None:
    """Rounded toward zero to the step, but float noise is no reason to lose one."""
    assert instrument.qty_for(base=base, price=price) == qty


def test_qty_for_needs_a_price_for_inverse_contracts() -> None:
    """Their size is counted in quote currency."""
    with pytest.raises(OrderError, match="BTC-USD-SWAP: an inverse contract's size depends on the price"):
        INVERSE.qty_for(base=0.02)


@few
@given(st.integers(1, 10**7), st.sampled_from([SPOT, LINEAR, ETH]))
def test_qty_for_inverts_coins(lots: int, instrument: Instrument) -> None:
    """What a size stands for in coins buys that size."""
    qty = instrument.qty(lots)
    assert instrument.qty_for(base=instrument.coins(qty, 1.0)) == qty


# The grids --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
@given(ticks=st.integers(1, 10**9))
@settings(max_examples=40, deadline=None)
def test_text_to_ticks_to_text(step: str, ticks: int) -> None:
    """Trap 37: the exchange's text, as a float, on the grid, and back: the same text and the same float."""
    instrument = made(step, step)
    text = plain(D(step) * ticks)
    price = float(text)
    assert instrument.ticks(price) == instrument.lots(price) == instrument.lots_floor(price) == ticks
    for side in Side:
        assert instrument.limit_ticks(price, side) == instrument.stop_ticks(price, side) == ticks
        assert instrument.market_ticks(price, side) == ticks
    assert instrument.price(ticks) == instrument.qty(ticks) == price
    assert plain(instrument.price(ticks)) == plain(instrument.price_decimal(ticks)) == text
    assert plain(instrument.qty_decimal(ticks)) == text


@few
@given(st.integers(10**9, 2**50), st.sampled_from(STEPS))
def test_large_counts_keep_their_last_step(ticks: int, step: str) -> None:
    """Beyond 1e9 steps the float's own rounding is more than a millionth of a step, and still noise."""
    instrument = made(step, step)
    price = float(D(step) * ticks)
    assert instrument.lots_floor(price) == instrument.limit_ticks(price, BUY) == instrument.limit_ticks(price, SELL)
    assert abs(instrument.lots_floor(price) - ticks) <= ticks * 2**-52
    # A quotient of whole numbers is the float that the exact decimal is.
    assert instrument.price(ticks) == instrument.qty(ticks) == float(instrument.price_decimal(ticks))


def test_sides_mirror_each_other() -> None:
    """The sign of a size, and the other side of the market."""
    assert [(side.sign, side.opposite) for side in Side] == [(1, SELL), (-1, BUY)]


def test_a_hundred_coins_in_satoshis_lose_none() -> None:
    """123.45678901 is on the grid of 1e-8 and stays there."""
    assert SPOT.lots_floor(123.45678901) == 12_345_678_901
    assert all(SPOT.lots_floor(lots / 1e8) == lots for lots in range(12_345_678_900, 12_345_679_900))


@pytest.mark.parametrize(
    ("price", "limit_buy", "limit_sell"),
    [(0.1 + 0.2, 3, 3), (0.35, 3, 4), (0.31, 3, 4), (0.39, 3, 4), (0.3000000001, 3, 3), (0.2999999999, 3, 3)],
)
def test_limits_round_passive_and_stops_away(price: float, limit_buy: int, limit_sell: int) -> None:
    """Buys down and sells up for limits; the other way for stops and for what the market takes."""
    instrument = made()
    assert (instrument.limit_ticks(price, BUY), instrument.limit_ticks(price, SELL)) == (limit_buy, limit_sell)
    assert (instrument.stop_ticks(price, BUY), instrument.stop_ticks(price, SELL)) == (limit_sell, limit_buy)
    assert (instrument.market_ticks(price, BUY), instrument.market_ticks(price, SELL)) == (limit_sell, limit_buy)


@few
@given(st.floats(1e-3, 1e7), st.sampled_from(["0.1", "0.01", "0.5", "1", "0.001"]))
def test_directed_rounding_is_within_a_step_of_the_price(price: float, step: str) -> None:
    """A buy limit is never above what was asked, but for float noise, and less than a step below; sells mirror it."""
    instrument = made(step)
    exact, size = Fraction(price), Fraction(step)
    noise = size / 10**6 + exact / 2**50
    down, up = instrument.limit_ticks(price, BUY), instrument.limit_ticks(price, SELL)
    assert exact - size < down * size <= exact + noise
    assert exact - noise <= up * size < exact + size
    assert up - down in (0, 1)


@pytest.mark.parametrize(
    ("qty", "lots"),
    [(0.1 + 0.2, 30), (0.019999, 1), (0.0, 0), (0.3 - 0.1, 20), (-0.019999, -1), (-0.02, -2), (0.009999, 0)],
)
def test_sizes_round_toward_zero(qty: float, lots: int) -> None:
    """0.1 + 0.2 is 30 steps of 0.01, and so is nothing less than 0.3."""
    assert made().lots_floor(qty) == lots


def test_nearest_counts_round_to_the_nearest() -> None:
    """For text that is on the grid already."""
    assert (made().ticks(0.34), made().ticks(0.36), made().lots(0.016)) == (3, 4, 2)


@pytest.mark.parametrize(("min_qty", "lots"), [(None, 1), ("0.01", 1), ("0.05", 5), ("0.055", 6), ("0.001", 1)])
def test_the_smallest_order_is_whole_steps(min_qty: str | None, lots: int) -> None:
    """Rounded up, and never below one."""
    assert Instrument("A-USDT", price_step="1", qty_step="0.01", min_qty=min_qty).min_lots == lots


def test_the_callers_decimal_context_does_not_matter() -> None:
    """A strategy that lowers its precision gets the same prices, values and profits."""

    def numbers() -> list[object]:
        return [
            LINEAR.price(971_234),
            made("0.03").price(971_234),
            LINEAR.qty(123_456),
            LINEAR.price_decimal(971_234),
            LINEAR.qty_decimal(-123_456),
            LINEAR.value(123_456, 971_234),
            LINEAR.pnl(D("12.345678901"), 97_123.4, 98_765.4321),
            INVERSE.pnl(-1234, 97_123.4, 98_765.4321),
            LINEAR.qty_for(base=1.23456),
            Instrument("A-USDT", price_step="0.12345", qty_step="1").to_dict(),
            Fees(taker_bps=7.25).rate(is_maker=False),
        ]

    expected = numbers()
    with localcontext() as context:
        context.prec = 2
        assert numbers() == expected


def test_values_wider_than_28_digits_are_exact() -> None:
    """Python's default context would have rounded the profit."""
    wide = Instrument("A-USDT", price_step="1e-12", qty_step="1e-12")
    qty, entry, out = D("1234567890123.123456789012"), D("98765432109.123456789012"), D("1e-12")
    assert Fraction(wide.pnl(qty, entry, out)) == Fraction(qty) * (Fraction(out) - Fraction(entry))


# Fields -----------------------------------------------------------------------------------------------------------


def test_currencies_come_from_the_id_or_from_fields() -> None:
    """BASE-QUOTE...; else fields; a share has its own id as base."""
    goog = Instrument("GOOG", quote="USD", price_step="0.01", qty_step="1")
    assert (goog.base, goog.quote, goog.settle, goog.kind, goog.exchange) == ("GOOG", "USD", "USD", "spot", "okx")
    short = Instrument("GOOG", kind="swap", settle="USD", price_step="0.01", qty_step="1")
    assert (short.quote, short.settle, short.unit) == ("USD", "USD", D(1))
    assert (INVERSE.base, INVERSE.quote, INVERSE.settle) == ("BTC", "USD", "BTC")
    assert Instrument("A-B", base="X", quote="Y", price_step=1, qty_step=1).settle == "Y"
    assert Instrument("A-B-SWAP", kind="swap", settle="C", price_step=1, qty_step=1).settle == "C"


def test_the_exchange_is_the_prefix_unless_given() -> None:
    """A plain id is OKX's."""
    binance = Instrument("binance:BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="0.001")
    assert (binance.exchange, binance.name, binance.base) == ("binance", "BTC-USDT-SWAP", "BTC")
    assert (LINEAR.exchange, LINEAR.name) == ("okx", "BTC-USDT-SWAP")
    assert Instrument("BTC-USDT", exchange="gemini", price_step=1, qty_step=1).exchange == "gemini"


@pytest.mark.parametrize("instrument", [SPOT, LINEAR, INVERSE], ids=lambda i: i.id)
def test_an_instrument_survives_every_copy(instrument: Instrument) -> None:
    """As a dictionary, pickled, copied: equal, and of one hash."""
    for twin in (
        Instrument.from_dict(instrument.to_dict()),
        pickle.loads(pickle.dumps(instrument)),
        copy.deepcopy(instrument),
    ):
        assert twin == instrument
        assert hash(twin) == hash(instrument)
        assert twin.to_dict() == instrument.to_dict()
        assert twin.value(7, 654_321) == instrument.value(7, 654_321)
    assert all(isinstance(value, str | bool | int) for value in instrument.to_dict().values())


def test_instruments_differ_when_a_field_does() -> None:
    """Steps given as text, float or decimal are the same steps."""
    assert made("0.10") == Instrument("A-USDT", price_step=0.1, qty_step=D("0.01"))
    assert made("0.1") != made("0.2")
    assert made() != "A-USDT"
    assert len({made(), made("0.10"), made("0.2")}) == 2


def test_the_largest_orders_are_whole_steps_and_may_be_unknown() -> None:
    """What is not known is not in the dictionary; that it becomes known is a change which a run can go through."""
    bare = made()
    assert (bare.max_limit_lots, bare.max_market_lots, bare.order_limits()) == (None, None, {})
    known = Instrument.from_dict(
        {**bare.to_dict(), "lot": "0.001", "max_limit_qty": "1.057", "max_market_qty": 0.5, "max_limit_value": "900"}
    )
    assert (known.max_limit_lots, known.max_market_lots) == (1050, 500)
    assert known.order_limits() == {"max_limit_qty": "1.057", "max_market_qty": "0.5", "max_limit_value": "900"}
    assert Instrument.from_dict(known.to_dict()) == known != bare
    assert bare.change_to(known)["max_market_qty"] == ("not known", "0.5")
    assert set(known.change_to(bare)) == set(known.order_limits()) <= set(CHANGEABLE)
    other = Instrument.from_dict({**known.to_dict(), "max_limit_value": "901"})
    assert known.change_to(other) == {"max_limit_value": ("900", "901")}


def test_an_instrument_cannot_change() -> None:
    """Nobody may move a step under an open order."""
    with pytest.raises(AttributeError, match="an Instrument is immutable; build a new one to change price_step"):
        LINEAR.price_step = D(1)
    with pytest.raises(AttributeError, match="an Instrument is immutable"):
        del LINEAR.price_step


def test_repr_says_what_matters() -> None:
    """And leaves out what is as usual."""
    assert repr(SPOT) == "Instrument('BTC-USDT', kind='spot', price_step='0.1', qty_step='0.00000001', settle='USDT')"
    assert repr(INVERSE) == (
        "Instrument('BTC-USD-SWAP', kind='swap', price_step='0.1', qty_step='1', settle='BTC', "
        "contract_value='100', is_inverse=True)"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "option"}, "A-USDT: kind 'option' is not known; use one of spot, swap, future"),
        ({"is_inverse": True}, "A-USDT: a spot instrument cannot be inverse"),
        ({"contract_value": "0.01"}, "A-USDT: a spot instrument has no contract value"),
        ({"price_step": "0"}, "A-USDT: price_step is 0; it must be above zero"),
        ({"price_step": -0.1}, "A-USDT: price_step is -0.1; it must be above zero"),
        ({"qty_step": "1e-21"}, "A-USDT: qty_step is 1e-21; it must be above zero, from 1E-20 to 1E\\+20"),
        ({"price_step": "1e999999"}, "A-USDT: price_step is 1e999999; it must be"),
        ({"min_qty": "nan"}, "A-USDT: min_qty 'nan' is not a finite number"),
        ({"contract_multiplier": "ten"}, "A-USDT: contract_multiplier 'ten' is not a number"),
        ({"qty_step": None}, "A-USDT: qty_step None is not a number"),
        ({"max_limit_qty": "many"}, "A-USDT: max_limit_qty 'many' is not a number"),
        ({"max_market_value": 0}, "A-USDT: max_market_value is 0; it must be above zero"),
        ({"id": "A"}, "A: the quote currency is not in the id; give quote='USD'"),
        ({"id": "A-"}, "A-: the quote currency is not in the id"),
        ({"id": "-USDT"}, "-USDT: the base currency is not in the id"),
        ({"id": "../A-USDT"}, "instrument id '../A-USDT' is not usable"),
        ({"id": None}, "instrument id None is not text"),
        ({"colour": "red"}, "instrument A-USDT: .*unexpected keyword argument 'colour'"),
    ],
)
def test_fields_that_make_no_sense_are_refused(fields: dict[str, Any], words: str) -> None:
    """The message names the field and what it should be."""
    with pytest.raises(ConfigError, match=words):
        Instrument.from_dict({"id": "A-USDT", "price_step": "0.1", "qty_step": "1", **fields})


def test_a_missing_field_is_named() -> None:
    """Steps have no default."""
    with pytest.raises(ConfigError, match=r"instrument \?: .*'id'"):
        Instrument.from_dict({"price_step": "1", "qty_step": "1"})
    with pytest.raises(ConfigError, match=r"instrument A-USDT: .*'qty_step'"):
        Instrument.from_dict({"id": "A-USDT", "price_step": "1"})


@pytest.mark.parametrize(
    "name", ["BTC-USDT", "binance:BTC-USDT-SWAP", "GOOG", "BRK.B", "a_b+c", "BTC-USD-260327-50000-C", "1INCH-USDT", "é"]
)
def test_good_ids(name: str) -> None:
    """Letters, digits and - _ . + with an optional exchange prefix."""
    check_id(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        ":",
        "okx:",
        ":BTC",
        ".",
        "..",
        "okx:..",
        "..:BTC",
        "a:b:c",
        "a/b",
        "a\\b",
        "BTC USDT",
        "BTC\n",
        "BTC\x00",
        "BTC\u202eUSDT",
        "kind=trade",
        "a%2fb",
        "~",
        "*",
        "x" * 121,
        "NUL",
        "con",
        "okx:Aux.USDT",
        "LPT1:BTC",
        "BTC.",
        "okx.:BTC",
        "\uff22\uff34\uff23-USDT",
        "\u1112\u1161\u11ab",
        "\u212bA",
    ],
)
def test_hostile_ids_are_refused(name: str) -> None:
    """An id becomes part of a path, so nothing that leaves a folder or confuses one may pass."""
    with pytest.raises(ConfigError, match=r"instrument id .* is not usable"):
        check_id(name)


@few
@given(st.text(max_size=30))
def test_whatever_passes_stays_in_its_folder(name: str) -> None:
    """Any text is either refused or a single path component beside its prefix."""
    try:
        check_id(name)
    except ConfigError:
        return
    for part in name.split(":"):
        assert part not in ("", ".", "..")
        assert not set(part) & set('/\\\0\r\n\t =%*?"<>|~')


# Numbers and fees -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (0.1, "0.1"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e-7, "1E-7"),
        (3, "3"),
        ("1.50", "1.50"),
        (D("2.5"), "2.5"),
        (np.float64(0.1), "0.1"),
        (-0.0, "-0.0"),
    ],
)
def test_numbers_are_the_shortest_decimal_they_equal(number: Any, expected: str) -> None:
    """Numpy's floats too, whose text is their own."""
    assert decimal_of(number) == D(expected)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, "nan", "Infinity", D("NaN"), np.float64("nan")])
def test_numbers_that_are_not_finite_are_refused(number: Any) -> None:
    """Money is finite."""
    with pytest.raises(ConfigError, match="is not a finite number"):
        decimal_of(number)


@pytest.mark.parametrize("number", ["", "ten", "0x10", "1,5", None, [1], object()])
def test_what_is_no_number_is_refused(number: Any) -> None:
    """With the text in question."""
    with pytest.raises(ConfigError, match="is not a number"):
        decimal_of(number)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (D("1E+3"), "1000"),
        (D("1.500"), "1.5"),
        (D("-0"), "0"),
        (D("-0.00"), "0"),
        (D("-1.10"), "-1.1"),
        (100.0, "100"),
        (1e-8, "0.00000001"),
        (1e22, "10000000000000000000000"),
        (0.1, "0.1"),
        (-0.0, "0"),
    ],
)
def test_plain_text_has_no_exponent(number: D | float, text: str) -> None:
    """And no trailing zeros."""
    assert plain(number) == text


@few
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_plain_text_is_the_number(number: float) -> None:
    """Parsing it gives the same float."""
    assert float(plain(number)) == number


@few
@given(
    st.decimals(allow_nan=False, allow_infinity=False) | st.sampled_from([D("0E-9"), D("-0E+5"), D("1E-9"), D("1E+9")])
)
def test_plain_text_of_a_decimal_is_the_number_and_as_short_as_can_be(number: D) -> None:
    """Without exponent, trailing zeros or a zero below zero."""
    text = plain(number)
    assert D(text) == number
    assert "E" not in text
    assert text != "-0"
    assert "." not in text or not text.endswith(("0", "."))


@few
@given(
    st.sampled_from(["spot", "swap"]),
    st.integers(1, 12),
    st.integers(1, 3),
    st.decimals("-0.2", "0.2", places=6),
)
def test_what_can_be_traded_follows_from_whole_lots(kind: str, step: int, least: int, holding: D) -> None:
    """Of a holding with dust as of the whole lots in it: size steps, and nothing below the smallest order."""
    one = Instrument(
        "A-B", kind=kind, price_step="1", qty_step=D(step) / 1000, min_qty=D(step * least) / 1000, contract_value=1
    ).on_grid(D(1), D("0.001"))
    lots = int(holding / one.lot)  # toward zero
    steps = int(holding / one.qty_step)
    expected = 0 if kind == "spot" and abs(steps) < least else steps * step
    assert one.tradable_of(lots) == one.tradable_lots(holding) == expected


def test_exact_arithmetic_is_wide() -> None:
    """The context that money goes through keeps 120 digits."""
    assert EXACT.multiply(D(10**50 + 1), D(10**50 + 1)) == D(10**100 + 2 * 10**50 + 1)


def test_sides() -> None:
    """A side is its text, its sign and its opposite."""
    assert (BUY, SELL) == ("buy", "sell")
    assert (BUY.sign, SELL.sign) == (1, -1)
    assert (BUY.opposite, SELL.opposite) == (SELL, BUY)


@pytest.mark.parametrize(
    ("holding", "spot", "contract"),
    [
        ("0", 0, 0),
        ("0.004", 0, 4),  # below the smallest order of five steps
        ("0.0049999", 0, 4),
        ("0.005", 5, 5),
        ("0.0059999", 5, 5),
        ("-0.0059999", -5, -5),
        ("-0.004", 0, -4),
        ("123456789.0009", 123_456_789_000, 123_456_789_000),
    ],
)
def test_a_position_is_what_can_be_traded(holding: str, spot: int, contract: int) -> None:
    """Whole steps toward zero; on spot nothing below the smallest order, while a contract can always be closed."""
    steps: dict[str, Any] = {"price_step": "1", "qty_step": "0.001", "min_qty": "0.005"}
    coin, swap = Instrument("A-B", **steps), Instrument("A-B-SWAP", kind="swap", **steps)
    for instrument, lots in ((coin, spot), (swap, contract)):
        assert instrument.tradable_lots(Decimal(holding)) == lots
        assert instrument.tradable_qty(Decimal(holding)) == instrument.qty_decimal(lots)


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("BTC-USDT-SWAP", "binance:BTC-USDT-SWAP"),
        ("ethusdt", "binance:ETH-USDT-SWAP"),  # letters alone count, and the shortest continuation
        ("ZEN-USD", "ZEN-USDT"),
        ("ZNE-USDT", "ZEN-USDT"),  # no continuation, but alike
        ("?", None),
    ],
)
def test_the_instrument_that_was_meant(wanted: str, meant: str | None) -> None:
    ids = ["ZEN-USDT", "binance:BTC-USDT-SWAP", "binance:ETH-USDT-SWAP", "binance:ETH-USDT-SWAP-LONG"]
    assert closest_id(wanted, ids) == meant


def test_prices_and_sizes_off_their_steps() -> None:
    """As far as rounding of floats tells; NaN counts as on the step."""
    is_on = on_step_of("0.1")
    assert [is_on(price) for price in (0.1 + 0.2, 0.3, 0.25)] == [True, True, False]
    assert list(made(qty_step="0.01").off_qty_step(np.array([0.03, 0.035, math.nan]))) == [False, True, False]


@pytest.mark.parametrize("price", [1e18, -1e18])
def test_a_limit_of_more_steps_than_can_be_counted_is_refused(price: float) -> None:
    with pytest.raises(OrderError, match=r"a price of .* is more than"):
        made().limit_ticks(price, BUY)
