"""Brackets and OCO groups at the exchange: what children are made of, when protection comes, what is told of it."""

from decimal import Decimal

import pytest
from recording_sink import BUY, SELL, SWAP, order_of
from test_simulated_broker import ETH, Exchange

from quantkit.brokers.simulated.children import child_of
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.clock import NEVER_NS
from quantkit.instruments import Instrument
from quantkit.orders import OrderTerms, StopLoss, TakeProfit, TriggerType

SPOT = Instrument("BTC-USDT", price_step="1", qty_step="0.1", min_qty="0.5")
STOP = OrderTerms(stop_loss=StopLoss(95.0))
BOTH = OrderTerms(stop_loss=StopLoss(95.0), take_profit=TakeProfit(110.0, 110.0))


# Children -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "stop", "limit", "own"),
    [
        (StopLoss(95.0), 95, None, {}),
        (StopLoss(95.0, 94.0, TriggerType.MARK), 95, 94, {"trigger_type": TriggerType.MARK}),
        (StopLoss(trailing_offset=2.0), None, None, {"trailing_offset": 2.0, "trailing_ticks": 2}),
        (StopLoss(trailing_offset_bps=5.0), None, None, {"trailing_offset_bps": 5.0}),
        (TakeProfit(105.0), None, None, {"take_profit_price": 105.0, "take_profit_ticks": 105}),
        (TakeProfit(105.0, 106.0), None, 106, {}),
    ],
)
def test_a_child_is_what_was_asked_for_on_the_other_side(
    spec: StopLoss | TakeProfit, stop: int | None, limit: int | None, own: dict[str, object]
) -> None:
    parent = ExchangeOrder(order_of(7, BUY, 3, tag="mine"))
    child = child_of(parent, spec, 1, 2, SWAP, known_ns=9)
    assert child.id == ("bt7sl" if isinstance(spec, StopLoss) else "bt7tp")
    assert (child.side, child.lots, child.stop_ticks, child.limit_ticks) == (SELL, 2, stop, limit)
    assert child.reduce_only
    assert child.is_child
    assert not parent.is_child
    assert child.terms == OrderTerms(parent_id="bt7", oco_group="bt7#bracket", **own)  # type: ignore[arg-type]
    assert child.introduction is not None
    order = child.introduction.order(child.id, SWAP, child.lots, child.limit_ticks)
    assert (order.tag, order.sent_ns, order.lots, order.stop_ticks, order.price_ticks) == ("mine", 9, 2, stop, limit)
    assert order.parent_id == "bt7"


def test_later_pairs_have_their_number() -> None:
    child = child_of(ExchangeOrder(order_of(7, SELL, 3)), StopLoss(105.0), 2, 2, SWAP, known_ns=9)
    assert (child.id, child.side) == ("bt7sl2", BUY)
    assert child.terms is not None
    assert child.terms.oco_group == "bt7#bracket2"


def test_the_owner_hears_of_a_child_once() -> None:
    exchange = Exchange()
    exchange.send(0, BUY, 2, terms=STOP)
    exchange.row(30, 100.0)
    exchange.row(60, 94.0)
    exchange.row(70, 94.0)
    told = [report for report in exchange.broker.reports if report.order_id == "bt1sl"]
    assert [report.introduction is None for report in told] == [False, True]


# Protection -----------------------------------------------------------------------------------------------------------


def test_fills_are_unprotected_until_their_children_are_in_force_or_they_are_closed() -> None:
    """The second fill is closed by an order of its own before its time, the third is open when the run ends."""
    exchange = Exchange()
    exchange.send(0, BUY, 2, terms=STOP)
    exchange.row(30, 100.0)
    exchange.row(55, 100.0)
    exchange.send(60, BUY, 1, terms=STOP)
    exchange.send(60, SELL, 1)
    exchange.row(90, 100.0)
    exchange.send(100, BUY, 4, terms=STOP)
    exchange.row(130, 100.0)
    exchange.finish(140)
    waits = exchange.broker.notes().unprotected
    assert [(wait.order_id, wait.qty, wait.from_ns, wait.to_ns) for wait in waits] == [
        ("bt1", 2.0, 30, 50),
        ("bt2", 1.0, 90, 110),
        ("bt4", 4.0, 130, 140),
    ]
    assert exchange.broker.notes().assumptions == [
        "brackets: fills waited 1.43e-08 s on average for their stop or target, by size; "
        "some size was unprotected for 5e-08 s in all"
    ]


def test_what_was_closed_before_its_time_is_unprotected_until_then() -> None:
    exchange = Exchange()
    exchange.send(0, BUY, 2, terms=STOP)
    exchange.send(15, SELL, 2)
    exchange.row(30, 100.0)
    exchange.row(40, 100.0)
    exchange.row(60, 100.0)
    assert [(w.qty, w.from_ns, w.to_ns) for w in exchange.broker.notes().unprotected] == [(2.0, 30, 40)]
    assert list(exchange.broker.orders) == ["bt1", "bt2"]


def test_what_a_fill_closes_was_never_unprotected() -> None:
    """Of two bought one closes the short position: only the other one waits."""
    exchange = Exchange()
    exchange.send(0, SELL, 1)
    exchange.row(30, 100.0)
    exchange.send(40, BUY, 2, terms=STOP)
    exchange.row(70, 100.0)
    exchange.row(100, 100.0)
    assert [(w.qty, w.from_ns, w.to_ns) for w in exchange.broker.notes().unprotected] == [(1.0, 70, 90)]


def test_a_run_without_brackets_says_nothing_of_them() -> None:
    notes = Exchange().broker.notes()
    assert (notes.unprotected, notes.assumptions) == ([], [])


def test_protection_comes_between_messages_and_each_is_looked_at_after_those_before() -> None:
    """Where a stamp of the exchange is ahead of our clock, a message may arrive sooner than earlier protection."""
    exchange = Exchange()
    exchange.send(0, BUY, 1, terms=STOP)
    exchange.row(90, 100.0, now_ns=30)
    queue = exchange.life.listings[SWAP.id].queue
    exchange.send(35, BUY, 1)
    exchange.send(95, BUY, 1)
    exchange.send(96, BUY, 1)
    assert [(m.kind, m.arrives_ns) for m in queue] == [
        ("submit", 55),
        ("protect", 110),
        ("submit", 115),
        ("submit", 116),
    ]
    dues = [message.due_ns for message in queue]
    assert dues == sorted(dues)
    assert exchange.broker.agenda.wake_ns == dues[0]
    exchange.life.advance(dues[0])
    assert [m.kind for m in queue] == ["protect", "submit", "submit"]
    assert exchange.broker.agenda.wake_ns == dues[1]


def test_a_later_pair_of_a_shorter_way_is_not_in_force_sooner() -> None:
    """By the exchange's clock, which the first fill has moved on."""
    exchange = Exchange()
    exchange.life.listings[SWAP.id].protected_ns = 500
    exchange.send(0, BUY, 1, terms=STOP)
    exchange.row(30, 100.0)
    assert exchange.life.listings[SWAP.id].queue[0].arrives_ns == 500


def test_no_message_is_looked_at_in_the_past() -> None:
    """A row that comes late may bring a fill whose protection was due before."""
    exchange = Exchange()
    exchange.send(0, BUY, 1, terms=STOP)
    exchange.row(30, 100.0, now_ns=400)
    assert exchange.life.listings[SWAP.id].queue[0].due_ns == 401


def test_stops_that_rest_lose_their_place_as_they_grow_and_those_that_wait_keep_it() -> None:
    terms = OrderTerms(stop_loss=StopLoss(95.0, 96.0))
    exchange = Exchange(touch=True)
    exchange.send(0, BUY, 3, 100, terms=terms)
    exchange.row(30, 100.0, 1.0)
    exchange.row(60, 94.0)  # the rest is filled and the stop of the first is set off; its limit rests at 96
    stop = exchange.broker.orders["bt1sl"]
    assert (stop.lots, stop.is_triggered, stop.arrived_ns) == (1, True, 50)
    exchange.row(85, 95.0)
    assert (stop.lots, stop.arrived_ns) == (3, 80)
    other = Exchange(touch=True)
    other.send(0, BUY, 3, 100, terms=STOP)
    other.row(30, 100.0, 1.0)
    other.row(40, 100.0, 1.0)
    other.row(85, 99.5)
    waiting = other.broker.orders["bt1sl"]
    assert (waiting.lots, waiting.arrived_ns) == (2, 50)


def test_spot_protects_whole_steps_however_small() -> None:
    exchange = Exchange(SPOT, touch=True)
    parent = order_of(1, BUY, 10, 100, instrument=SPOT, terms=STOP)
    exchange.broker.submit(parent, 0)
    exchange.row(30, 100.0, 0.3, instrument=SPOT)
    exchange.life.arrive(SPOT.id, 60, 60)
    assert exchange.broker.orders["bt1sl"].lots == 3  # less than the smallest order
    account = exchange.broker.account
    assert account.closable_lots(SPOT.id, is_buy=False) == 3
    assert account.closable_lots(SPOT.id, is_buy=True) == 0


# Groups ---------------------------------------------------------------------------------------------------------------


def test_an_order_that_the_market_refuses_is_no_size_of_its_group() -> None:
    exchange = Exchange()
    group = OrderTerms(oco_group="in")
    exchange.send(0, BUY, 1, 90, terms=group)
    refused = exchange.send(0, BUY, 9, 105, terms=group, post_only=True)
    exchange.life.arrive(SWAP.id, 20, 20)
    assert exchange.broker.orders[refused].state == "rejected"
    exchange.broker.amend("bt1", 25, lots=5, limit_ticks=None)
    exchange.life.arrive(SWAP.id, 45, 45)
    assert exchange.broker.orders["bt1"].lots == 5


def test_a_change_of_an_order_without_a_group_is_as_asked() -> None:
    exchange = Exchange()
    exchange.send(0, BUY, 1, 90, terms=STOP)
    exchange.broker.amend("bt1", 0, lots=5, limit_ticks=None)
    exchange.life.arrive(SWAP.id, 20, 20)
    assert exchange.broker.orders["bt1"].lots == 5
    assert exchange.portfolio.cash["USDT"] == Decimal(100_000)
    assert exchange.broker.agenda.wake_ns == NEVER_NS


def test_a_smallest_order_that_grows_leaves_protection() -> None:
    """Other orders that have become too small are cancelled."""
    exchange = Exchange()
    exchange.send(0, BUY, 2, terms=STOP)
    exchange.row(30, 100.0)
    exchange.send(40, BUY, 2, 90)
    exchange.row(60, 100.0)
    exchange.broker.change_instrument(Instrument.from_dict({**SWAP.to_dict(), "min_qty": "5"}), 70)
    assert exchange.broker.orders["bt1sl"].state == "accepted"
    assert exchange.broker.orders["bt2"].state == "cancelled"


def test_a_fill_elsewhere_is_nothing_to_a_bracket() -> None:
    exchange = Exchange(SWAP, ETH)
    exchange.send(0, BUY, 2, terms=STOP)
    exchange.row(30, 100.0)
    exchange.broker.submit(order_of(9, SELL, 2, instrument=ETH), 40)
    exchange.row(70, 100.0, instrument=ETH)
    exchange.row(71, 100.0)
    assert exchange.broker.orders["bt1sl"].left == 2


def test_a_child_that_is_small_enough_is_not_cut() -> None:
    """Its owner has made it smaller; the position then loses 1 of 3."""
    exchange = Exchange()
    exchange.send(0, BUY, 3, terms=BOTH)
    exchange.row(30, 100.0)
    exchange.row(55, 100.0)
    exchange.broker.amend("bt1sl", 60, lots=1, limit_ticks=None)
    exchange.send(60, SELL, 1)
    exchange.row(90, 100.0)
    assert [exchange.broker.orders[name].left for name in ("bt1sl", "bt1tp")] == [1, 2]
