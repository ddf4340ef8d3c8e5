"""What single pieces of news make of an order; `tests/property/test_order_news.py` has whole stories in any order."""

from decimal import Decimal
from typing import Any

from quantkit.brokers.asynchronous.inputs import (
    Acknowledged,
    Amended,
    AmendRefused,
    Cancelled,
    CancelRefused,
    Completed,
    Executed,
    OrderInput,
    OutcomeUnknown,
    Rejected,
)
from quantkit.brokers.asynchronous.reducer import OrderRecord, end_of_run, reduce
from quantkit.orders import OrderState

ACK = Acknowledged(order_id="a1", at_ns=10)


def record() -> OrderRecord:
    return OrderRecord(order_id="a1", request=1, lots=5, limit_ticks=100)


def executed(number: int, lots: int, at_ns: int = 20, **told: Any) -> Executed:
    return Executed(
        order_id="a1",
        at_ns=at_ns,
        execution_id=str(number),
        lots=lots,
        ticks=100,
        fee=Decimal(0),
        fee_currency="USDT",
        role="maker",
        **told,
    )


def unknown(request: int, what: Any = "submit") -> OutcomeUnknown:
    return OutcomeUnknown(order_id="a1", at_ns=30, request=request, what=what)


def after(*news: OrderInput) -> tuple[OrderRecord, list[tuple[OrderState, str]]]:
    """Return the order after some news, and the states and reasons that were reported."""
    order, told = record(), list[tuple[OrderState, str]]()
    for each in news:
        order, changes = reduce(order, each)
        told += [(change.state, change.reason) for change in changes]
    return order, told


def test_a_refusal_of_an_order_that_is_working_is_of_something_else() -> None:
    """Such as of a second try with the same id."""
    order, told = after(ACK, Rejected(order_id="a1", at_ns=40, reason="duplicate id"))
    assert (order.state, told) == (OrderState.ACCEPTED, [(OrderState.ACCEPTED, "")])


def test_an_unknown_outcome_leaves_the_order_as_it_is_until_news_settles_it() -> None:
    order, told = after(unknown(1))
    assert (order.state, order.unknown, told) == (
        OrderState.PENDING,
        frozenset({1}),
        [(OrderState.PENDING, "outcome_unknown")],
    )
    assert after(unknown(1), ACK)[0].unknown == frozenset()
    order, told = after(unknown(1), Rejected(order_id="a1", at_ns=50, reason="never_arrived"))
    assert (order.state, order.unknown, told[-1]) == (
        OrderState.REJECTED,
        frozenset(),
        (OrderState.REJECTED, "never_arrived"),
    )


def test_an_outcome_that_is_known_by_now_is_not_unknown() -> None:
    refused = CancelRefused(order_id="a1", at_ns=40, request=2, reason="busy")
    assert after(ACK, unknown(1))[1] == [(OrderState.ACCEPTED, "")]
    assert after(ACK, refused, unknown(2, "cancel"))[1][-1] == (OrderState.ACCEPTED, "cancel_refused: busy")
    assert len(after(ACK, unknown(2, "cancel"), unknown(2, "cancel"))[1]) == 2


def test_an_order_that_the_exchange_calls_filled_keeps_what_it_has() -> None:
    order, told = after(executed(1, 3), Completed(order_id="a1", at_ns=40, filled_lots=3))
    assert (order.state, order.lots, order.filled_lots) == (OrderState.FILLED, 3, 3)
    assert told == [(OrderState.ACCEPTED, ""), (OrderState.PARTLY_FILLED, ""), (OrderState.FILLED, "")]


def test_an_order_that_ends_filled_with_nothing_is_cancelled() -> None:
    order, told = after(ACK, Completed(order_id="a1", at_ns=40, filled_lots=0))
    assert (order.state, order.lots, told[-1]) == (OrderState.CANCELLED, 5, (OrderState.CANCELLED, "nothing_filled"))


def test_the_exchange_may_change_an_order_by_itself_more_than_once() -> None:
    """Even twice within the millisecond of its stamps; what is told again or late is no news."""
    first, second, third = (
        Amended(order_id="a1", at_ns=at_ns, request=0, whole_lots=lots) for at_ns, lots in ((40, 4), (50, 3), (50, 2))
    )
    amended = (OrderState.ACCEPTED, "amended")
    order, told = after(first, second, second, third, first)
    assert (order.lots, told) == (2, [(OrderState.ACCEPTED, ""), amended, amended, amended])
    assert after(third, first)[1] == [(OrderState.ACCEPTED, ""), amended]


def test_size_and_limit_have_news_of_their_own() -> None:
    """News that does not speak of the limit does not make older news of it worthless."""
    order, _ = after(
        executed(1, 1, at_ns=60, whole_lots=7),
        Amended(order_id="a1", at_ns=50, request=2, whole_lots=6, limit_ticks=99),
    )
    assert (order.lots, order.limit_ticks) == (7, 99)


def test_an_end_without_an_acknowledgement_is_one() -> None:
    assert after(Cancelled(order_id="a1", at_ns=40, reason="post_only", filled_lots=0), ACK)[1] == [
        (OrderState.CANCELLED, "post_only")
    ]


def test_the_end_of_a_run_ends_an_order_whatever_is_missing() -> None:
    waiting, _ = after(ACK, unknown(2, "cancel"), Cancelled(order_id="a1", at_ns=40, reason="x", filled_lots=2))
    assert waiting.lacks_executions
    order, changes = end_of_run(waiting, "fate_unknown", 90)
    assert (order.state, order.lacks_executions, order.unknown) == (OrderState.CANCELLED, False, frozenset())
    assert [(change.state, change.reason, change.at_ns) for change in changes] == [
        (OrderState.CANCELLED, "fate_unknown", 90)
    ]


def test_a_refusal_of_a_change_that_is_told_twice_counts_once() -> None:
    refused = AmendRefused(order_id="a1", at_ns=40, request=2, reason="busy")
    assert after(ACK, refused, refused)[1] == [(OrderState.ACCEPTED, ""), (OrderState.ACCEPTED, "amend_refused: busy")]
