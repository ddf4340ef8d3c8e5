"""The strategy's side of orders: checks, rounding, targets, quotes, and taking reports in."""

import math
import sys
from collections.abc import Callable
from decimal import Decimal
from types import FrameType
from typing import Any

import pytest

from quantkit.brokers.any_room import AnyRoom
from quantkit.brokers.base import Report
from quantkit.engine.books import Books
from quantkit.engine.gaps import Gaps
from quantkit.engine.last_prices import LastPrices
from quantkit.engine.order_manager import OrderManager, Refusal
from quantkit.engine.quotes import Quotes
from quantkit.engine.sizing import Sizing
from quantkit.engine.targets import Targets
from quantkit.errors import OrderError
from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill, Order, OrderRequest, OrderState, OrderType, TimeInForce, TriggerPrices
from quantkit.portfolio import Portfolio
from quantkit.rows.position import RunPosition

SPOT = Instrument("BTC-USDT", price_step="0.5", qty_step="0.1", min_qty="0.2")
SWAP = Instrument("BTC-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.1")
INVERSE = Instrument("BTC-USD-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="100", is_inverse=True)


REFUSALS: tuple[Refusal, ...] = ("", "warmup")


class Post:
    """A broker that only writes down what reaches it."""

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def submit(self, order: Order, now_ns: int) -> int:
        """Note a new order."""
        self.sent.append(("submit", order.id, now_ns))
        return now_ns

    def cancel(self, order_id: str, now_ns: int) -> None:
        """Note a cancel."""
        self.sent.append(("cancel", order_id, now_ns))

    def amend(
        self,
        order_id: str,
        now_ns: int,
        *,
        lots: int | None,
        limit_ticks: int | None,
        change: TriggerPrices | None = None,
        is_sized: bool = False,
    ) -> None:
        """Note an amend."""
        self.sent.append(("amend", order_id, now_ns, lots, limit_ticks, *([] if change is None else [change])))

    def refuse(self, order: Order, now_ns: int, reason: str) -> None:
        """Note a refused order."""
        self.sent.append(("refuse", order.id, now_ns, reason))

    def refuse_amend(self, order_id: str, now_ns: int, reason: str) -> None:
        """Note a refused amend."""
        self.sent.append(("refuse_amend", order_id, now_ns, reason))

    def take(self) -> list[tuple[Any, ...]]:
        """Return what has come since the last time."""
        sent, self.sent = self.sent, []
        return sent


class Office:
    """A desk with its broker and ledger, and an exchange side that is played by hand."""

    def __init__(self) -> None:
        self.post = Post()
        self.reported = Portfolio({"USDT": 1_000_000, "BTC": 100}, [SPOT, SWAP, INVERSE], mark_of=lambda _: 100.0)
        self.position = RunPosition(1_000)
        prices = LastPrices({}, {}, Books([], Gaps(), self.position), self.position)
        self.sizing = Sizing(self.reported, {}, prices, AnyRoom())
        self.desk = OrderManager(self.post, self.reported, self.sizing, run_id="bt", position=self.position)
        self.targets = Targets(self.desk, self.sizing, self.reported)
        self.quotes = Quotes(self.desk)
        self.fills = 0
        self.reports = 0

    def send(self, *what: Any, **more: Any) -> Order:
        """Ask for an order."""
        return self.desk.send(OrderRequest(*what, **more))

    def report(self, order: Order, state: OrderState, reason: str = "", **more: Any) -> Order:
        """Let a report about an order come in."""
        self.reports += 1
        lots, ticks = more.pop("lots", order.lots), more.pop("ticks", order.price_ticks)
        fill = more.get("fill")
        return self.desk.apply(
            Report(self.position.now_ns, self.reports, order.id, state, reason, self.position.now_ns, lots, ticks, fill)
        )

    def accept(self, order: Order) -> None:
        """Let an order be accepted."""
        self.report(order, OrderState.ACCEPTED)

    def fill(self, order: Order, lots: int, ticks: int = 200, *, fee: str = "0", currency: str = "USDT") -> None:
        """Let an order be filled, in part or whole."""
        instrument = self.reported.instruments[order.instrument]
        self.fills += 1
        fill = Fill(
            id=self.fills,
            order_id=order.id,
            instrument=order.instrument,
            side=order.side,
            price=instrument.price(ticks),
            qty=instrument.qty(lots),
            value=instrument.value(lots, ticks),
            fee=Decimal(fee),
            fee_currency=currency,
            role="taker",
            filled_ns=self.position.now_ns,
            revealed_ns=self.position.now_ns,
            why="",
            tag="",
            lots=lots,
            ticks=ticks,
        )
        is_whole = order.filled_lots + lots == order.lots
        self.report(order, OrderState.FILLED if is_whole else OrderState.PARTLY_FILLED, fill=fill)


@pytest.fixture
def office() -> Office:
    """A desk that has done nothing yet."""
    return Office()


# Sending ------------------------------------------------------------------------------------------------------------


def test_an_order_goes_out_pending_with_the_next_id(office: Office) -> None:
    """Ids count from one; the broker gets it at once."""
    first = office.send(SPOT.id, Side.BUY, 1.5)
    office.position.now_ns = 2_000
    second = office.send(SWAP.id, Side.SELL, 3, price=100, tag="exit", reduce_only=True)
    assert (first.id, second.id) == ("bt1", "bt2")
    assert (first.state, first.is_open, first.sent_ns, first.updated_ns) == (OrderState.PENDING, True, 1_000, 1_000)
    assert (second.qty, second.price, second.tag, second.reduce_only, second.lots) == (3.0, 100.0, "exit", True, 3)
    assert office.post.take() == [("submit", "bt1", 1_000), ("submit", "bt2", 2_000)]
    assert list(office.desk.orders.values()) == [first, second]


@pytest.mark.parametrize(
    ("side", "given", "expected", "note"),
    [
        (Side.BUY, {"qty": 1.5, "price": 100.5}, (1.5, 100.5, None), ""),
        (Side.BUY, {"qty": 0.1 + 0.2, "price": 100.5}, (0.3, 100.5, None), "size 0.30000000000000004 rounded to 0.3"),
        (Side.BUY, {"qty": 1.57}, (1.5, None, None), "size 1.57 rounded to 1.5"),
        (Side.BUY, {"qty": 1, "price": 100.4}, (1.0, 100.0, None), "price 100.4 rounded to 100"),
        (Side.SELL, {"qty": 1, "price": 100.1}, (1.0, 100.5, None), "price 100.1 rounded to 100.5"),
        (Side.BUY, {"qty": 1, "stop_price": 100.1}, (1.0, None, 100.5), "stop 100.1 rounded to 100.5"),
        (Side.SELL, {"qty": 1, "stop_price": 100.4}, (1.0, None, 100.0), "stop 100.4 rounded to 100"),
        (
            Side.BUY,
            {"qty": 1.57, "price": 101.2, "stop_price": 100.1},
            (1.5, 101.0, 100.5),
            "size 1.57 rounded to 1.5; price 101.2 rounded to 101; stop 100.1 rounded to 100.5",
        ),
        (Side.BUY, {"qty": Decimal("1.5"), "price": Decimal("100.5")}, (1.5, 100.5, None), ""),
    ],
)
def test_sizes_round_to_zero_limits_to_the_passive_side_stops_away(
    office: Office, side: Side, given: dict[str, Any], expected: tuple[float | None, ...], note: str
) -> None:
    """And the order says what became of the numbers."""
    order = office.send(SPOT.id, side, **given)
    assert (order.qty, order.price, order.stop_price) == expected
    assert order.note == note


def test_a_size_below_one_step_is_the_markets_to_refuse(office: Office) -> None:
    """It is a valid call with an order of nothing, and is told so."""
    order = office.send(SPOT.id, Side.BUY, 0.05)
    assert (order.lots, order.note) == (0, "size 0.05 rounded to 0")
    assert office.post.take() == [("submit", "bt1", 1_000)]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"qty": math.nan}, "buy BTC-USDT: qty is nan; give a finite number above zero"),
        ({"qty": math.inf}, "buy BTC-USDT: qty is inf; give a finite number above zero"),
        ({"qty": 0}, "buy BTC-USDT: qty is 0.0; give a finite number above zero"),
        ({"qty": -1}, "buy BTC-USDT: qty is -1.0; give a finite number above zero"),
        ({"qty": "much"}, "buy BTC-USDT: qty is 'much', which is no number"),
        ({"qty": None}, "buy BTC-USDT: qty is None, which is no number"),
        ({"qty": 1, "price": math.nan}, "buy BTC-USDT: price is nan; give a finite number above zero"),
        ({"qty": 1, "price": 0.0}, "buy BTC-USDT: price is 0.0; give a finite number above zero"),
        ({"qty": 1, "price": 0.4}, "buy BTC-USDT: price 0.4 rounds to zero on the step 0.5; give a larger one"),
        ({"qty": 1, "stop_price": -2}, "buy BTC-USDT: stop_price is -2.0; give a finite number above zero"),
        (
            {"qty": 1, "time_in_force": "GTX"},
            "buy BTC-USDT: time_in_force 'GTX' is not known; use GTC, IOC, FOK or GTD",
        ),
        ({"qty": 1, "time_in_force": "GTD"}, "buy BTC-USDT: time_in_force GTD needs expire_time="),
        (
            {"qty": 1, "post_only": True},
            "buy BTC-USDT: post_only needs a plain GTC or GTD limit order; give price= and no trigger",
        ),
        (
            {"qty": 1, "price": 9, "post_only": True, "time_in_force": "IOC"},
            "buy BTC-USDT: post_only needs a plain GTC",
        ),
        (
            {"qty": 1, "price": 9, "stop_price": 8, "post_only": True},
            "buy BTC-USDT: post_only needs a plain GTC or GTD limit",
        ),
        (
            {"instrument": "ETH", "qty": 1},
            "'ETH' is no instrument of this run; subscribe to it (there are BTC-USDT, ",
        ),
    ],
)
def test_calls_that_could_never_be_orders(office: Office, given: dict[str, Any], message: str) -> None:
    """Nothing is sent, and no id is used up."""
    with pytest.raises(OrderError) as caught:
        office.send(**{"instrument": SPOT.id, "side": Side.BUY, **given})
    assert str(caught.value).startswith(message)
    assert (office.desk.orders, office.post.take()) == ({}, [])


def test_prices_make_the_type(office: Office) -> None:
    """Market, limit, stop and stop-limit."""
    send = office.send
    types = [
        send(SPOT.id, Side.BUY, 1).type,
        send(SPOT.id, Side.BUY, 1, price=9, time_in_force="FOK").type,
        send(SPOT.id, Side.BUY, 1, stop_price=9).type,
        send(SPOT.id, Side.BUY, 1, price=9, stop_price=9).type,
    ]
    assert types == [OrderType.MARKET, OrderType.LIMIT, OrderType.STOP, OrderType.STOP_LIMIT]
    assert office.desk.orders["bt2"].time_in_force is TimeInForce.FOK


@pytest.mark.parametrize("why", ["warmup", "stopped"])
def test_orders_are_refused_while_they_are_not_wanted(office: Office, why: Refusal) -> None:
    """They come back rejected, and nothing leaves."""
    working = office.send(SPOT.id, Side.BUY, 1, price=9)
    office.post.take()
    office.desk.refusal = why
    order = office.send(SPOT.id, Side.BUY, 1)
    assert (order.state, order.reason, order.is_open) == (OrderState.REJECTED, why, False)
    office.desk.amend(working, qty=2)
    office.desk.cancel(working)
    office.desk.cancel_all(None)
    assert office.quotes.quote(SPOT.id, bid=None, ask=None, qty=1) == (None, None)
    assert office.post.take() == []
    assert office.desk.open_orders(None) == [working]
    with pytest.raises(OrderError):
        office.send(SPOT.id, Side.BUY, math.nan)


def test_while_paused_nothing_leaves_but_cancels(office: Office) -> None:
    """The broker reports the refusals; until then an order counts as sent."""
    working = office.send(SPOT.id, Side.BUY, 1, price=9)
    office.post.take()
    office.desk.is_paused = True
    order = office.send(SPOT.id, Side.BUY, 1)
    assert (order.state, order.sent_ns) == (OrderState.PENDING, 1_000)
    office.desk.amend(working, qty=2)
    assert office.desk.open_orders(None) == [working, order]
    office.desk.cancel(working)
    assert office.post.take() == [
        ("refuse", "bt2", 1_000, "paused"),
        ("refuse_amend", "bt1", 1_000, "paused"),
        ("cancel", "bt1", 1_000),
    ]
    office.desk.is_paused = False
    office.send(SPOT.id, Side.BUY, 1)
    assert office.post.take() == [("submit", "bt3", 1_000)]


# Changing and cancelling ----------------------------------------------------------------------------------------------


def test_an_amend_goes_out_in_steps(office: Office) -> None:
    """Size, price, or both, rounded as in an order."""
    order = office.send(SPOT.id, Side.BUY, 1, price=9)
    office.post.take()
    office.desk.amend(order, qty=2.06)
    office.desk.amend(order, price=9.7)
    office.desk.amend(order, qty=3, price=10)
    assert office.post.take() == [
        ("amend", "bt1", 1_000, 20, None),
        ("amend", "bt1", 1_000, None, 19),
        ("amend", "bt1", 1_000, 30, 20),
    ]
    assert (order.qty, order.price) == (1.0, 9.0)
    office.report(order, OrderState.PENDING, "amended", lots=30, ticks=20)
    assert (order.qty, order.price, order.lots) == (3.0, 10.0, 30)


@pytest.mark.parametrize(
    ("amended", "lots", "ticks", "note"),
    [
        ({"qty": 2, "price": 10}, 20, 20, ""),
        ({"qty": 2.06, "price": 10}, 20, 20, "size 2.06 rounded to 2"),
        ({"qty": 2, "price": 9.7}, 20, 19, "price 9.7 rounded to 9.5"),
        ({"qty": 2.06, "price": 9.7}, 20, 19, "size 2.06 rounded to 2; price 9.7 rounded to 9.5"),
        # A number that was not amended is still what the first rounding made of it.
        ({"qty": 2}, 20, 18, "price 9.2 rounded to 9"),
        ({"price": 9.7}, 15, 19, "size 1.57 rounded to 1.5; price 9.7 rounded to 9.5"),
        # The same steps as before, this time asked for as they are.
        ({"qty": 1.5, "price": 9}, 15, 18, ""),
    ],
)
def test_the_note_goes_with_the_amended_numbers(
    office: Office, amended: dict[str, float], lots: int, ticks: int, note: str
) -> None:
    """It changes when they do: with the report of the amend."""
    order = office.send(SPOT.id, Side.BUY, 1.57, price=9.2)
    first = "size 1.57 rounded to 1.5; price 9.2 rounded to 9"
    office.accept(order)
    office.desk.amend(order, **amended)
    assert (order.note, order.lots, order.price_ticks) == (first, 15, 18)
    office.report(order, OrderState.ACCEPTED, "amended", lots=lots, ticks=ticks)
    assert (order.note, order.lots, order.price_ticks) == (note, lots, ticks)
    office.fill(order, lots - 5)
    assert order.note == note
    office.fill(order, 5)
    assert order.note == note


def test_an_amend_leaves_the_note_of_the_stop(office: Office) -> None:
    """A stop's trigger cannot be amended, so what became of it stays said."""
    order = office.send(SPOT.id, Side.BUY, 1, price=101.2, stop_price=100.1)
    assert order.note == "price 101.2 rounded to 101; stop 100.1 rounded to 100.5"
    office.desk.amend(order, price=102)
    office.report(order, OrderState.ACCEPTED, "amended", ticks=204)
    assert order.note == "stop 100.1 rounded to 100.5"


def test_the_note_of_a_refused_amend_is_not_taken_over(office: Office) -> None:
    """The order keeps its numbers, and what is said about them."""
    order = office.send(SPOT.id, Side.BUY, 1.57, price=9)
    office.accept(order)
    office.desk.amend(order, qty=90.08, price=9.7)
    office.report(order, OrderState.ACCEPTED, "amend_refused: insufficient_cash")
    assert (order.note, order.qty, order.price) == ("size 1.57 rounded to 1.5", 1.5, 9.0)
    office.desk.amend(order, price=9.5)
    office.report(order, OrderState.ACCEPTED, "amended", ticks=19)
    assert (order.note, order.qty, order.price) == ("size 1.57 rounded to 1.5", 1.5, 9.5)


@pytest.mark.parametrize(
    ("given", "amended", "message"),
    [
        ({"price": 9}, {}, "amend bt1: nothing to change; give qty=, price= or a trigger"),
        ({"price": 9}, {"qty": 0}, "amend bt1: qty is 0.0; give a finite number above zero"),
        ({"price": 9}, {"price": math.inf}, "amend bt1: price is inf; give a finite number above zero"),
        ({}, {"price": 9}, "amend bt1: a market order has no limit price to change"),
        ({"stop_price": 9}, {"price": 9}, "amend bt1: a stop order has no limit price to change"),
    ],
)
def test_amends_that_make_no_sense(office: Office, given: Any, amended: Any, message: str) -> None:
    """Nothing is sent."""
    order = office.send(SPOT.id, Side.BUY, 1, **given)
    office.post.take()
    with pytest.raises(OrderError) as caught:
        office.desk.amend(order, **amended)
    assert str(caught.value) == message
    assert office.post.take() == []


def test_a_cancel_goes_out_once(office: Office) -> None:
    """And nothing is asked of an order that is being cancelled or is over."""
    order = office.send(SPOT.id, Side.BUY, 1, price=9)
    office.post.take()
    office.desk.cancel(order)
    office.desk.cancel(order)
    office.desk.amend(order, qty=2)
    office.desk.cancel_all(SPOT.id)
    assert office.post.take() == [("cancel", "bt1", 1_000)]
    office.report(order, OrderState.CANCELLED, "requested")
    assert (order.state, order.reason, office.desk.open_orders(None)) == (OrderState.CANCELLED, "requested", [])
    office.desk.cancel(order)
    office.desk.amend(order, qty=2)
    assert office.post.take() == []


def test_cancel_all_of_one_instrument_or_of_all(office: Office) -> None:
    """Oldest first."""
    for instrument in (SPOT, SWAP, SPOT):
        office.send(instrument.id, Side.BUY, 1, price=9)
    office.post.take()
    office.desk.cancel_all(SPOT.id)
    assert [order_id for _, order_id, _ in office.post.take()] == ["bt1", "bt3"]
    office.desk.cancel_all(None)
    assert [order_id for _, order_id, _ in office.post.take()] == ["bt2"]


def test_open_orders_are_oldest_first_past_the_tenth(office: Office) -> None:
    """By number, not by text."""
    for n in range(12):
        office.send((SPOT, SWAP)[n % 2].id, Side.BUY, 1, price=9)
    assert [order.id for order in office.desk.open_orders(None)] == [f"bt{n}" for n in range(1, 13)]
    assert [order.id for order in office.desk.open_orders(SWAP.id)] == [f"bt{n}" for n in range(2, 13, 2)]
    with pytest.raises(OrderError, match="'ETH' is no instrument of this run"):
        office.desk.open_orders("ETH")


def test_orders_of_another_run_are_refused(office: Office) -> None:
    """An order that was refused before the run began is over, and no mistake."""
    other = Office().send(SPOT.id, Side.BUY, 1, price=9)
    for call in (office.desk.cancel, lambda order: office.desk.amend(order, qty=2)):
        with pytest.raises(OrderError, match="order bt1 is not of this run"):
            call(other)
    early = Order(id="", instrument=SPOT.id, side=Side.BUY, qty=1.0, state=OrderState.REJECTED)
    office.desk.cancel(early)
    office.desk.amend(early, qty=2)
    assert office.post.take() == []


# Reports ------------------------------------------------------------------------------------------------------------


def test_fills_are_counted_and_averaged(office: Office) -> None:
    """By size for linear, harmonically for inverse contracts."""
    order = office.send(SPOT.id, Side.BUY, 0.4, price=150)
    office.fill(order, 1, 200)
    assert (order.state, order.filled_qty, order.average_price) == (OrderState.PARTLY_FILLED, 0.1, 100.0)
    assert (order.remaining_lots, order.remaining_qty) == (3, pytest.approx(0.3))
    office.fill(order, 3, 280)
    assert (order.state, order.filled_qty, order.average_price) == (OrderState.FILLED, 0.4, 130.0)
    assert office.desk.open_orders(None) == []
    coins = office.send(INVERSE.id, Side.BUY, 2)
    office.fill(coins, 1, 100)
    office.fill(coins, 1, 300)
    assert coins.average_price == pytest.approx(150.0)


def test_a_report_brings_time_and_reason(office: Office) -> None:
    """As they were when it was due."""
    order = office.send(SPOT.id, Side.BUY, 1, price=9)
    office.position.now_ns = 5_000
    office.report(order, OrderState.REJECTED, "insufficient_cash")
    assert (order.state, order.reason, order.sent_ns, order.updated_ns) == (
        OrderState.REJECTED,
        "insufficient_cash",
        1_000,
        5_000,
    )


# Targets ------------------------------------------------------------------------------------------------------------


def test_a_target_trades_what_is_missing(office: Office) -> None:
    """Counting the position and the order under way."""
    order = office.targets.target(SWAP.id, 5)
    assert order is not None
    assert (order.side, order.qty, order.type) == (Side.BUY, 5.0, OrderType.MARKET)
    assert office.targets.target(SWAP.id, 5) is None
    office.fill(order, 5)
    assert office.targets.target(SWAP.id, 5) is None
    lower = office.targets.target(SWAP.id, 2.9)
    assert lower is not None
    assert (lower.side, lower.qty) == (Side.SELL, 3.0)
    office.fill(lower, 3)
    flipped = office.targets.target(SWAP.id, -4)
    assert flipped is not None
    assert (flipped.side, flipped.qty) == (Side.SELL, 6.0)


def test_a_target_amends_its_working_order(office: Office) -> None:
    """Also when part of it is filled; the size is the whole of it."""
    order = office.targets.target(SWAP.id, 5)
    assert order is not None
    office.fill(order, 2)
    office.post.take()
    assert office.targets.target(SWAP.id, 5) is None
    assert office.targets.target(SWAP.id, 8) is order
    assert office.targets.target(SWAP.id, 8) is None
    assert office.post.take() == [("amend", "bt1", 1_000, 8, None)]
    assert office.targets.target(SWAP.id, 4) is order
    assert office.post.take() == [("amend", "bt1", 1_000, 4, None)]


def test_a_refused_amend_is_asked_for_again(office: Office) -> None:
    """What counts is what the exchange has."""
    order = office.targets.target(SWAP.id, 5)
    assert order is not None
    office.targets.target(SWAP.id, 9)
    office.report(order, OrderState.PENDING, "amend_refused: insufficient_margin")
    office.post.take()
    assert office.targets.target(SWAP.id, 9) is order
    assert office.post.take() == [("amend", "bt1", 1_000, 9, None)]


def test_a_target_on_the_other_side_cancels_and_sends(office: Office) -> None:
    """Counted from the reported position alone: the cancelled order may still fill, the next call sees it."""
    first = office.targets.target(SWAP.id, 5)
    office.post.take()
    second = office.targets.target(SWAP.id, -2)
    assert second is not None
    assert office.post.take() == [("cancel", "bt1", 1_000), ("submit", "bt2", 1_000)]
    assert (second.side, second.qty) == (Side.SELL, 2.0)
    assert first is not None
    office.fill(first, 5)
    office.fill(second, 2)
    third = office.targets.target(SWAP.id, -2)
    assert third is not None
    assert (third.side, third.qty) == (Side.SELL, 5.0)


def test_a_target_that_is_reached_takes_its_working_order_off(office: Office) -> None:
    """Nothing is missing any more."""
    office.targets.target(SWAP.id, 5)
    office.post.take()
    assert office.targets.target(SWAP.id, 0) is None
    assert office.post.take() == [("cancel", "bt1", 1_000)]


def test_a_target_that_was_reached_before_is_looked_at_again(office: Office) -> None:
    """After another target, after news and after a change of the steps; till then it costs one call."""
    office.targets.target(SWAP.id, 0)
    assert calls_of(lambda: office.targets.target(SWAP.id, 0)) <= 2
    first = office.targets.target(SWAP.id, 5)
    assert first is not None
    assert office.targets.target(SWAP.id, 0) is None
    assert office.post.take() == [("submit", "bt1", 1_000), ("cancel", "bt1", 1_000)]
    office.report(first, OrderState.ACCEPTED, "cancel_refused: too late")
    assert office.targets.target(SWAP.id, 0) is None
    assert office.post.take() == [("cancel", "bt1", 1_000)]
    office.fill(first, 5)
    back = office.targets.target(SWAP.id, 0)
    assert back is not None
    assert (back.side, back.qty) == (Side.SELL, 5.0)
    office.fill(back, 5)
    assert office.targets.target(SPOT.id, 0.15) is None
    office.reported.change_instrument(Instrument(SPOT.id, price_step="0.5", qty_step="0.1", min_qty="0.1"))
    small = office.targets.target(SPOT.id, 0.15)
    assert small is not None
    assert small.qty == 0.1


def test_a_target_below_the_smallest_order_is_left_alone(office: Office) -> None:
    """And so is the dust that a fee in coins leaves."""
    assert office.targets.target(SPOT.id, 0.1) is None
    order = office.targets.target(SPOT.id, 1.0)
    assert order is not None
    office.fill(order, 10, fee="0.001", currency="BTC")
    assert office.targets.target(SPOT.id, 1.0) is None
    down = office.targets.target(SPOT.id, 0)
    assert down is not None
    assert (down.side, down.qty) == (Side.SELL, 0.9)
    office.fill(down, 9)
    assert office.reported.position(SPOT.id).qty == Decimal("0.099")
    assert office.targets.target(SPOT.id, 0) is None
    assert office.targets.close(SPOT.id) is None


def test_a_target_counts_what_can_be_traded(office: Office) -> None:
    """A holding below the smallest order of two steps is no position: the next target buys its whole size."""
    entry = office.send(SPOT.id, Side.BUY, 1.0)
    office.fill(entry, 10, fee="0.05", currency="BTC")
    office.fill(office.send(SPOT.id, Side.SELL, 0.8), 8)
    assert office.reported.position(SPOT.id).qty == Decimal("0.15")
    assert office.targets.close(SPOT.id) is None
    order = office.targets.target(SPOT.id, 1.0)
    assert order is not None
    assert (order.side, order.qty) == (Side.BUY, 1.0)


@pytest.mark.parametrize("qty", [math.nan, math.inf, -math.inf])
def test_a_target_is_a_finite_number(office: Office, qty: float) -> None:
    """Also during the warm-up, where it would only be remembered."""
    for refusal in REFUSALS:
        office.desk.refusal = refusal
        with pytest.raises(OrderError, match=r"target BTC-USDT-SWAP: qty is .*; give a finite number"):
            office.targets.target(SWAP.id, qty)
    with pytest.raises(OrderError, match="'ETH' is no instrument"):
        office.targets.target("ETH", 1)


def test_targets_of_the_warm_up_are_remembered(office: Office) -> None:
    """The last of each instrument."""
    office.desk.refusal = "warmup"
    for instrument, qty in ((SWAP, 1), (SPOT, 2), (SWAP, -3)):
        assert office.targets.target(instrument.id, qty) is None
    assert office.targets.close(SPOT.id) is None
    assert office.targets.remembered == {SWAP.id: -3, SPOT.id: 0.0}
    assert office.desk.orders == {}


def test_close_cancels_everything_and_leaves_the_position(office: Office) -> None:
    """With one market order; a second call has nothing to do."""
    entry = office.send(SWAP.id, Side.BUY, 4)
    office.fill(entry, 4)
    office.send(SWAP.id, Side.SELL, 4, price=120)
    office.send(SPOT.id, Side.BUY, 1, price=9)
    office.post.take()
    order = office.targets.close(SWAP.id)
    assert order is not None
    assert (order.side, order.qty) == (Side.SELL, 4.0)
    assert office.post.take() == [("cancel", "bt2", 1_000), ("submit", "bt4", 1_000)]
    assert office.targets.close(SWAP.id) is None
    assert office.post.take() == []


# Quotes -------------------------------------------------------------------------------------------------------------


def test_quotes_are_post_only_and_left_alone_while_unchanged(office: Office) -> None:
    """So that their place in the queue survives."""
    bid, ask = office.quotes.quote(SPOT.id, bid=100, ask=101, qty=1)
    assert bid is not None
    assert ask is not None
    assert [(order.side, order.price, order.qty, order.post_only) for order in (bid, ask)] == [
        (Side.BUY, 100.0, 1.0, True),
        (Side.SELL, 101.0, 1.0, True),
    ]
    office.post.take()
    office.accept(bid)
    # The same on the steps: a bid rounds down, an ask up.
    assert office.quotes.quote(SPOT.id, bid=100.4, ask=100.6, qty=1.04) == (bid, ask)
    assert office.post.take() == []


@pytest.mark.parametrize("side", ["bid", "ask"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_bad_price_of_a_quote_is_named_as_it_was_given(office: Office, side: str, is_first: bool) -> None:
    """The first time, where an order is sent, and later, where it is amended."""
    if not is_first:
        office.quotes.quote(SPOT.id, bid=100, ask=101, qty=1)
    prices: dict[str, Any] = {"bid": None, "ask": None, side: math.nan}
    with pytest.raises(OrderError, match=f"quote BTC-USDT: {side} is nan; give a finite number"):
        office.quotes.quote(SPOT.id, **prices, qty=1)


def test_a_quote_that_moved_is_amended(office: Office) -> None:
    """Once, however often it is asked for; size counts too."""
    bid, ask = office.quotes.quote(SPOT.id, bid=100, ask=101, qty=1)
    office.post.take()
    for _ in range(2):
        assert office.quotes.quote(SPOT.id, bid=99, ask=101, qty=1) == (bid, ask)
    assert office.post.take() == [("amend", "bt1", 1_000, 10, 198)]
    office.quotes.quote(SPOT.id, bid=99, ask=101, qty=2)
    assert office.post.take() == [("amend", "bt1", 1_000, 20, 198), ("amend", "bt2", 1_000, 20, 202)]


def test_a_quote_whose_change_was_refused_is_amended_again(office: Office) -> None:
    """Though the same numbers are asked for as before: what counts is what the exchange has."""
    bid, _ = office.quotes.quote(SPOT.id, bid=100, ask=None, qty=1)
    assert bid is not None
    office.quotes.quote(SPOT.id, bid=99, ask=None, qty=1)
    office.report(bid, OrderState.ACCEPTED, "amend_refused: post_only_would_take")
    office.post.take()
    for _ in range(2):
        assert office.quotes.quote(SPOT.id, bid=99, ask=None, qty=1)[0] is bid
    assert office.post.take() == [("amend", "bt1", 1_000, 10, 198)]


def test_a_quote_is_rounded_anew_when_the_steps_change(office: Office) -> None:
    """And not before: numbers that stay cost four calls."""
    bid, _ = office.quotes.quote(SPOT.id, bid=100.6, ask=None, qty=1)
    for _ in range(2):
        office.quotes.quote(SPOT.id, bid=100.6, ask=None, qty=1)
    assert calls_of(lambda: office.quotes.quote(SPOT.id, bid=100.6, ask=None, qty=1)) <= 4
    assert bid is not None
    assert bid.price == 100.5
    office.post.take()
    coarse = Instrument(SPOT.id, price_step="1", qty_step="0.1", min_qty="0.2").on_grid(SPOT.tick, SPOT.lot)
    office.reported.change_instrument(coarse)
    office.quotes.quote(SPOT.id, bid=100.6, ask=None, qty=1)
    assert office.post.take() == [("amend", "bt1", 1_000, 10, 200)]


def calls_of(call: Callable[[], object]) -> int:
    """Return how many Python functions a call enters."""
    names: list[str] = []

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            names.append(frame.f_code.co_name)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(before)
    return len(names)


def test_a_side_without_a_price_is_taken_off(office: Office) -> None:
    """And comes back as a new order, while the old one may still be on its way out."""
    bid, _ = office.quotes.quote(SPOT.id, bid=100, ask=101, qty=1)
    office.post.take()
    assert office.quotes.quote(SPOT.id, bid=None, ask=101, qty=1)[0] is None
    assert office.quotes.quote(SPOT.id, bid=None, ask=101, qty=1)[0] is None
    assert office.post.take() == [("cancel", "bt1", 1_000)]
    again = office.quotes.quote(SPOT.id, bid=100, ask=101, qty=1)[0]
    assert again is not None
    assert again is not bid
    assert office.post.take() == [("submit", "bt3", 1_000)]


@pytest.mark.parametrize("end", [OrderState.REJECTED, OrderState.CANCELLED])
def test_a_quote_that_is_gone_is_sent_anew(office: Office, end: OrderState) -> None:
    """Refused for taking, or cancelled by hand."""
    bid, _ = office.quotes.quote(SPOT.id, bid=100, ask=None, qty=1)
    assert bid is not None
    office.report(bid, end, "post_only_would_take")
    office.post.take()
    assert office.quotes.quote(SPOT.id, bid=100, ask=None, qty=1)[0] is not bid
    assert office.post.take() == [("submit", "bt2", 1_000)]


@pytest.mark.parametrize(
    ("quote", "message"),
    [
        ({"bid": math.nan, "ask": None, "qty": 1}, "bid|buy"),
        ({"bid": 100, "ask": -1, "qty": 1}, "ask|sell"),
        ({"bid": 100, "ask": None, "qty": 0}, "qty is 0.0"),
    ],
)
def test_quotes_are_checked_whether_or_not_one_is_working(office: Office, quote: Any, message: str) -> None:
    """The first call sends, the second would amend."""
    for prepare in (lambda: None, lambda: office.quotes.quote(SPOT.id, bid=99, ask=102, qty=1)):
        call: Callable[[], object] = prepare
        call()
        with pytest.raises(OrderError, match=message):
            office.quotes.quote(SPOT.id, **quote)
