"""Costs that are no whole number, and money counted by them."""

from decimal import Decimal
from fractions import Fraction

import pytest

from quantkit.instruments import Instrument, Side
from quantkit.money import Netting
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio

UNIT = Instrument("X-USDT-SWAP", kind="swap", price_step="0.5", qty_step="1")


def bought_in_thirds() -> Netting:
    """Return two of three that cost ten."""
    net = Netting(UNIT)
    net.trade(3, 10)
    net.trade(-1, -4)
    return net


def test_a_finer_count_of_money_keeps_a_cost_that_is_no_whole_number() -> None:
    net = bought_in_thirds()
    before = net.open_value
    assert before == Fraction(20, 3 * net.scale)
    net.count_money(Decimal("0.0001"))
    assert (net.open_value, net.den) == (before, 3)


def test_a_cost_that_is_short_in_whole_units_is_not_rounded() -> None:
    """In the fine count of a tiny fee its denominator is long, as an amount of the currency it is not."""
    net, size = Netting(UNIT), 2**89 - 1
    net.count_money(Decimal(1).scaleb(-400))
    net.trade(size, 7 * net.scale)
    net.trade(-1, 0)
    assert (net.den * net.scale).bit_length() > 1024
    assert net.open_value == Fraction(7 * (size - 1), size)


@pytest.mark.parametrize(("amount", "is_covered"), [("10000.66", True), ("10000.67", False)])
def test_a_balance_with_thirds_covers_what_is_less(amount: str, is_covered: bool) -> None:
    """Three cost 301, and one of them brings 101: a profit of two thirds."""
    book = Portfolio({"USDT": 10_000}, [UNIT], mark_of=lambda _: None)
    for number, (lots, price) in enumerate(((1, 100.0), (2, 100.5), (-1, 101.0)), 1):
        ticks = UNIT.ticks(price)
        side = Side.BUY if lots > 0 else Side.SELL
        value = UNIT.value(abs(lots), ticks)
        made = {"lots": abs(lots), "ticks": ticks, "price": price, "qty": float(abs(lots)), "value": value}
        told = {"filled_ns": 0, "revealed_ns": 0, "role": "taker", "why": "", "tag": ""}
        paid = {"fee": Decimal(0), "fee_currency": "USDT"}
        book.apply(Fill(id=number, order_id="r1", instrument=UNIT.id, side=side, **made, **told, **paid))
    assert book.covers("USDT", Decimal(amount)) is is_covered


def test_a_currency_without_an_account_has_no_balance() -> None:
    book = Portfolio({"USDT": 10_000}, [UNIT], mark_of=lambda _: None)
    assert (book.balance_float("EUR"), book.balance_float("USDT")) == (0.0, 10_000.0)
    assert book.balance_exact("EUR") == 0
