"""What few orders have: the terms of a call checked, put on the steps, and kept with the order."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from quantkit.brokers.base import Report
from quantkit.clock import iso_of, time_ns_of
from quantkit.engine.desks import Number
from quantkit.engine.order_terms import NO_TRIGGER, change_of, restate_trigger, terms_of
from quantkit.errors import OrderError
from quantkit.instruments import Instrument, Side
from quantkit.orders import (
    Order,
    OrderRequest,
    OrderTerms,
    OrderType,
    RequestTerms,
    TimeInForce,
    TriggerPrices,
    TriggerType,
)
from quantkit.sizes import OrderAmount

SPOT = Instrument("BTC-USDT", price_step="0.5", qty_step="0.1", min_qty="0.2")
NOW_NS = time_ns_of("2026-01-01")


def asked(side: Side = Side.SELL, tif: TimeInForce = TimeInForce.GTC, **given: Any) -> tuple[OrderTerms, TimeInForce]:
    """Return the terms of a call with these arguments."""
    plain = {name: given.pop(name) for name in ("price", "stop_price", "post_only") if name in given}
    request = OrderRequest(SPOT.id, side, 1.0, **plain)
    has_marks = given.pop("has_marks", True)
    return terms_of(request, RequestTerms(**given), tif, SPOT, f"{side} BTC-USDT", {}, NOW_NS, has_marks=has_marks)


def order_with(side: Side = Side.SELL, terms: OrderTerms | None = None, **more: Any) -> Order:
    """Return an order as its owner has it."""
    return Order(id="bt1", instrument=SPOT.id, side=side, qty=1.0, lots=10, terms=terms, **more)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"stop_price": 9, "take_profit_price": 8},
            "give stop_price= or take_profit_price=, not both; send two orders for both",
        ),
        ({"trailing_offset": 1, "trailing_offset_bps": 1}, "give trailing_offset= or trailing_offset_bps=, not both"),
        (
            {"trailing_offset": 1, "stop_price": 9},
            "a trailing stop sets its own trigger; give no stop_price and no take_profit_price",
        ),
        (
            {"trailing_offset_bps": 1, "take_profit_price": 9},
            "a trailing stop sets its own trigger; give no stop_price and no take_profit_price",
        ),
        ({"trailing_offset": 1, "price": 9}, "a trailing stop becomes a market order; give no price="),
        ({"activation_price": 9}, "activation_price needs trailing_offset= or trailing_offset_bps="),
        (
            {"trigger_type": "mark", "price": 9},
            "trigger_type needs a trigger; give stop_price=, take_profit_price= or a trailing one",
        ),
        ({"trigger_type": "index", "trailing_offset": 1}, "a trailing stop follows last or mark, not index"),
        ({"trigger_type": "bid", "stop_price": 9}, "trigger_type 'bid' is not known; use last, mark or index"),
        (
            {"take_profit_price": 9, "price": 9, "post_only": True},
            "post_only needs a plain GTC or GTD limit order; give price= and no trigger",
        ),
        ({"take_profit_price": -9}, "take_profit_price is -9.0; give a finite number above zero"),
        ({"take_profit_price": 0.0}, "take_profit_price is 0.0; give a finite number above zero"),
        ({"trailing_offset": float("nan")}, "trailing_offset is nan; give a finite number above zero"),
        ({"trailing_offset_bps": "much"}, "trailing_offset_bps is 'much', which is no number"),
        (
            {"trailing_offset_bps": 10_000},
            "trailing_offset_bps is 10000; give less than 10,000, the whole price",
        ),
        (
            {"trailing_offset_bps": 5, "activation_price": float("inf")},
            "activation_price is inf; give a finite number above zero",
        ),
        (
            {"tif": TimeInForce.IOC, "price": 9, "expire_time": NOW_NS + 1},
            "an IOC order does not wait for its expire_time; give one of the two",
        ),
        (
            {"expire_time": NOW_NS + 1},
            "a market order does not wait for its expire_time; give price= or a trigger",
        ),
        (
            {"price": 9, "expire_time": "2026-01-01"},
            f"expire_time 2026-01-01T00:00:00Z is not after the present time {iso_of(NOW_NS)}",
        ),
        ({"price": 9, "expire_time": "soon"}, "expire_time: "),
        ({"oco_group": ["a"]}, "oco_group ['a'] is no name; give a text without #"),
        ({"oco_group": 5}, "oco_group 5 is no name; give a text without #"),
        ({"oco_group": None}, "oco_group None is no name; give a text without #"),
        ({"oco_group": "exit#2"}, "oco_group 'exit#2' is no name; give a text without #"),
        ({"price": 9, "tif": TimeInForce.GTD, "oco_group": "a"}, "time_in_force GTD needs expire_time="),
        (
            {"stop_price": 9, "trigger_type": "mark", "has_marks": False},
            "trigger_type mark needs marks that span the run; record marks, or use last",
        ),
    ],
)
def test_terms_that_contradict_each_other(given: dict[str, Any], message: str) -> None:
    """One line for each."""
    with pytest.raises(OrderError) as caught:
        asked(**given)
    assert str(caught.value).startswith(f"sell BTC-USDT: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("prices", "terms", "type_"),
    [
        ({}, None, OrderType.MARKET),
        ({"price_ticks": 9}, OrderTerms(expire_ns=1), OrderType.LIMIT),
        ({"stop_ticks": 9}, OrderTerms(trigger_type=TriggerType.MARK), OrderType.STOP),
        ({"stop_ticks": 9, "price_ticks": 9}, None, OrderType.STOP_LIMIT),
        ({}, OrderTerms(take_profit_ticks=9), OrderType.TAKE_PROFIT),
        ({"price_ticks": 9}, OrderTerms(take_profit_ticks=9), OrderType.TAKE_PROFIT_LIMIT),
        ({}, OrderTerms(trailing_ticks=9), OrderType.TRAILING_STOP),
        ({"stop_ticks": 9}, OrderTerms(trailing_offset_bps=9), OrderType.TRAILING_STOP),
    ],
)
def test_the_type_is_what_the_prices_make_of_it(
    prices: dict[str, Any], terms: OrderTerms | None, type_: OrderType
) -> None:
    """A trailing stop stays one when the exchange has restated its trigger."""
    assert order_with(terms=terms, **prices).type is type_


def test_an_order_says_its_terms() -> None:
    """And a plain one that it has none."""
    terms = OrderTerms(
        take_profit_price=110.0,
        take_profit_ticks=220,
        trigger_type=TriggerType.MARK,
        trailing_offset=1.0,
        trailing_offset_bps=5.0,
        activation_price=120.0,
        expire_ns=7,
        oco_group="exit",
        parent_id="bt0",
        amount=OrderAmount(Decimal(1_000)),
    )
    names = [name for name in OrderTerms.__struct_fields__ if hasattr(Order, name)]
    assert len(names) == 10
    assert {name: getattr(order_with(terms=terms), name) for name in names} == {
        name: getattr(terms, name) for name in names
    }
    plain = {"trigger_type": TriggerType.LAST, "oco_group": "", "parent_id": ""}
    assert {name: getattr(order_with(), name) for name in names} == {**dict.fromkeys(names), **plain}


@pytest.mark.parametrize(
    ("order", "asked_for", "message"),
    [
        (order_with(), (9.0, None, None, None), "a market order has no stop_price to change"),
        (order_with(stop_ticks=9), (None, 9.0, None, None), "a stop order has no take_profit_price to change"),
        (
            order_with(stop_ticks=9, terms=OrderTerms(trailing_offset=1.0, trailing_ticks=2)),
            (9.0, None, None, None),
            "a trailing-stop order has no stop_price to change",
        ),
        (
            order_with(terms=OrderTerms(trailing_offset=1.0, trailing_ticks=2)),
            (None, None, None, 5.0),
            "a trailing-stop order has no trailing_offset_bps to change",
        ),
        (
            order_with(terms=OrderTerms(trailing_offset_bps=1.0)),
            (None, None, 1.0, None),
            "a trailing-stop order has no trailing_offset to change",
        ),
        (
            order_with(stop_ticks=9),
            (-1.0, None, None, None),
            "stop_price is -1.0; give a finite number above zero",
        ),
    ],
)
def test_changes_of_a_trigger_that_make_no_sense(order: Order, asked_for: Any, message: str) -> None:
    """One line for each."""
    assert asked_for != NO_TRIGGER
    roundings: dict[Number, str] = {}
    with pytest.raises(OrderError) as caught:
        change_of(order, asked_for, SPOT, "amend bt1", roundings)
    assert str(caught.value).startswith(f"amend bt1: {message}")


@pytest.mark.parametrize(
    ("order", "asked_for", "expected", "notes"),
    [
        (order_with(stop_ticks=9), (9.4, None, None, None), TriggerPrices(18), ["stop 9.4 rounded to 9"]),
        (
            order_with(terms=OrderTerms(take_profit_ticks=9)),
            (None, 9.1, None, None),
            TriggerPrices(19),
            ["take profit 9.1 rounded to 9.5"],
        ),
        (
            order_with(terms=OrderTerms(trailing_offset=1.0, trailing_ticks=2)),
            (None, None, 3.1, None),
            TriggerPrices(None, 7),
            ["trailing offset 3.1 rounded to 3.5"],
        ),
        (
            order_with(terms=OrderTerms(trailing_offset_bps=1.0)),
            (None, None, None, 3),
            TriggerPrices(None, None, 3.0),
            [],
        ),
    ],
)
def test_a_change_of_a_trigger_is_put_on_the_steps(
    order: Order, asked_for: Any, expected: TriggerPrices, notes: list[str]
) -> None:
    """As the number of a new order is."""
    roundings: dict[Number, str] = {}
    assert change_of(order, asked_for, SPOT, "amend bt1", roundings) == expected
    assert [note for note in roundings.values() if note] == notes


@pytest.mark.parametrize(
    ("given", "expected", "lives"),
    [
        ({"take_profit_price": 9.1}, OrderTerms(take_profit_price=9.5, take_profit_ticks=19), TimeInForce.GTC),
        (
            {"trailing_offset": 1.2, "activation_price": 9.1, "trigger_type": "mark"},
            OrderTerms(
                trailing_offset=1.5,
                trailing_ticks=3,
                activation_price=9.5,
                activation_ticks=19,
                trigger_type=TriggerType.MARK,
            ),
            TimeInForce.GTC,
        ),
        ({"trailing_offset_bps": 5, "tif": TimeInForce.IOC}, OrderTerms(trailing_offset_bps=5.0), TimeInForce.IOC),
        (
            {"price": 9, "expire_time": "2026-01-02", "post_only": True},
            OrderTerms(expire_ns=NOW_NS + 86_400 * 10**9),
            TimeInForce.GTD,
        ),
        ({"stop_price": 9, "trigger_type": "index"}, OrderTerms(trigger_type=TriggerType.INDEX), TimeInForce.GTC),
    ],
)
def test_terms_are_put_on_the_steps(given: dict[str, Any], expected: OrderTerms, lives: TimeInForce) -> None:
    """A take profit to the passive side, a distance up."""
    assert asked(**given) == (expected, lives)


def test_a_report_restates_a_stop() -> None:
    """In steps and as a price."""
    order = order_with(stop_ticks=200, stop_price=100.0)
    restate_trigger(order, TriggerPrices(210), SPOT)
    assert (order.stop_ticks, order.stop_price, order.terms) == (210, 105.0, None)


def test_a_report_restates_a_take_profit() -> None:
    """Which leaves what else the order has."""
    order = order_with(terms=OrderTerms(take_profit_price=100.0, take_profit_ticks=200, expire_ns=5))
    restate_trigger(order, TriggerPrices(210), SPOT)
    assert (order.take_profit_ticks, order.take_profit_price, order.expire_ns) == (210, 105.0, 5)
    assert (order.stop_ticks, order.stop_price) == (None, None)


@pytest.mark.parametrize(
    ("terms", "trigger", "expected"),
    [
        (OrderTerms(trailing_offset=1.0, trailing_ticks=2), TriggerPrices(None, 3), (None, None, 1.5, None)),
        (OrderTerms(trailing_offset=1.0, trailing_ticks=2), TriggerPrices(190, 2), (190, 95.0, 1.0, None)),
        (OrderTerms(trailing_offset_bps=5.0), TriggerPrices(190, None, 7.5), (190, 95.0, None, 7.5)),
    ],
)
def test_a_report_restates_a_trailing_stop(
    terms: OrderTerms, trigger: TriggerPrices, expected: tuple[Any, ...]
) -> None:
    """Where its trigger stands at present, and how far behind."""
    order = order_with(terms=terms)
    restate_trigger(order, trigger, SPOT)
    assert (order.stop_ticks, order.stop_price, order.trailing_offset, order.trailing_offset_bps) == expected
    assert order.type is OrderType.TRAILING_STOP


def test_a_report_of_an_older_log_has_no_trigger() -> None:
    """What was written before has fewer fields."""
    written = msgspec.json.decode(b'[1, 2, "bt1", "accepted", "", 1, 5, null, null]', type=Report)
    assert written.trigger is None
    again = msgspec.json.decode(msgspec.json.encode(msgspec.structs.replace(written, trigger=TriggerPrices(5))))
    assert again[9:] == [{"ticks": 5}, None]
