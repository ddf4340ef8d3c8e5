"""An exchange's story of an order, told late, twice and in any order, comes to the same order and the same fills."""

from collections import Counter
from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

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
from quantkit.brokers.asynchronous.reducer import Change, OrderRecord, reduce
from quantkit.orders import TRANSITIONS, OrderState

#: The number of the request that submits.
FIRST = 1


class Story:
    """All that is true of one order, in the exchange's own order, and how it ended there."""

    def __init__(self) -> None:
        self.news: list[OrderInput] = []
        self.lots = 10
        self.limit = 100
        self.filled = 0
        self.state = OrderState.PENDING
        self.is_terse = False  # executions say nothing of the order
        self._at_ns = 1_000
        self._executions = 0

    def standing(self) -> dict[str, Any]:
        """Return what every push says."""
        self._at_ns += 1
        return {
            "order_id": "a1",
            "at_ns": self._at_ns,
            "whole_lots": self.lots,
            "limit_ticks": self.limit,
            "filled_lots": self.filled,
        }

    def answer(self) -> dict[str, Any]:
        """Return what an answer to a request says: nothing but the moment."""
        self._at_ns += 1
        return {"order_id": "a1", "at_ns": self._at_ns}

    def execute(self, lots: int) -> None:
        self.filled += lots
        self._executions += 1
        self.news.append(
            Executed(
                **(self.answer() if self.is_terse else self.standing()),
                execution_id=str(self._executions),
                lots=lots,
                ticks=self.limit,
                fee=Decimal(1),
                fee_currency="USDT",
                role="maker",
            )
        )

    def end(self, state: OrderState) -> None:
        self.state = state

    def start(self) -> OrderRecord:
        """Return the order as it was sent."""
        return OrderRecord(order_id="a1", request=FIRST, lots=10, limit_ticks=100)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Generate valid stories that have come to their end."""
    story = Story()
    story.is_terse = draw(st.booleans())
    if draw(st.integers(0, 9)) == 0:
        story.news.append(OutcomeUnknown(**story.answer(), request=FIRST, what="submit"))
    if draw(st.integers(0, 9)) == 0:
        story.news.append(Rejected(**story.answer(), reason="no"))
        story.end(OrderState.REJECTED)
        return story
    if draw(st.booleans()):
        story.news.append(Acknowledged(**story.standing()))
    for request in range(FIRST + 1, FIRST + 1 + draw(st.integers(0, 8))):
        match draw(st.integers(0, 6)):
            case 0 | 1:
                story.execute(draw(st.integers(1, story.lots - story.filled)))
            case 2:
                if not story.is_terse:
                    story.lots = draw(st.integers(story.filled + 1, story.filled + 9))
                story.limit = draw(st.integers(90, 110))
                if draw(st.booleans()):
                    story.news.append(OutcomeUnknown(**story.answer(), request=request, what="amend"))
                story.news.append(Amended(**story.standing(), request=draw(st.sampled_from([request, request, 0]))))
            case 3:
                story.news.append(AmendRefused(**story.answer(), request=request, reason="no"))
            case 4:
                story.news.append(OutcomeUnknown(**story.answer(), request=request, what="cancel"))
            case _:
                story.news.append(CancelRefused(**story.answer(), request=request, reason="no"))
        if story.filled == story.lots:
            break
    if story.filled == story.lots:
        story.news += [Completed(**story.standing())] * draw(st.integers(0, 1))
        story.end(OrderState.FILLED)
    elif story.filled and draw(st.integers(0, 4)) == 0:
        story.news.append(Completed(**story.standing()))
        story.lots = story.filled
        story.end(OrderState.FILLED)
    else:
        story.news.append(Cancelled(**story.standing(), reason="requested"))
        story.end(OrderState.CANCELLED)
    if draw(st.booleans()):
        story.news.append(CancelRefused(**story.answer(), request=50, reason="it is over"))
    return story


@st.composite
def tellings(draw: st.DrawFn) -> tuple[Story, list[OrderInput]]:
    """Generate a story, and its news in any order, each at least once."""
    story = draw(stories())
    again = draw(st.lists(st.sampled_from(story.news), max_size=len(story.news)))
    return story, draw(st.permutations([*story.news, *again]))


def told(story: Story, news: list[OrderInput]) -> tuple[OrderRecord, list[Change], list[OrderRecord]]:
    """Return the last record, all changes, and every record on the way."""
    record, changes, records = story.start(), list[Change](), [story.start()]
    for each in news:
        record, more = reduce(record, each)
        changes += more
        records.append(record)
    return record, changes, records


@given(tellings())
def test_the_end_is_that_of_the_exchange(telling: tuple[Story, list[OrderInput]]) -> None:
    story, news = telling
    record, _, _ = told(story, news)
    assert (record.state, record.filled_lots, record.lots) == (story.state, story.filled, story.lots)
    if not (story.is_terse and story.state is OrderState.FILLED):
        # Only an order that the last execution has ended may not hear of the last change of its limit.
        assert record.limit_ticks == story.limit
    assert not record.lacks_executions
    assert not record.unknown


@given(tellings())
def test_every_execution_is_told_once(telling: tuple[Story, list[OrderInput]]) -> None:
    story, news = telling
    _, changes, _ = told(story, news)
    executions = Counter(change.executed.execution_id for change in changes if change.executed is not None)
    assert executions == Counter({each.execution_id: 1 for each in story.news if isinstance(each, Executed)})


@given(tellings())
def test_reports_keep_to_the_graph_and_end_once(telling: tuple[Story, list[OrderInput]]) -> None:
    story, news = telling
    _, changes, _ = told(story, news)
    state = OrderState.PENDING
    for change in changes:
        assert not state.is_final
        assert change.state is state or change.state in TRANSITIONS[state]
        if change.executed is not None:
            assert change.state in (OrderState.PARTLY_FILLED, OrderState.FILLED)
        state = change.state
    assert state.is_final


@given(tellings())
def test_nothing_goes_back(telling: tuple[Story, list[OrderInput]]) -> None:
    story, news = telling
    _, _, records = told(story, news)
    for before, after in pairwise(records):
        assert after.filled_lots >= before.filled_lots
        assert after.told_lots >= before.told_lots
        assert after.executions >= before.executions
        assert after.answered >= before.answered
        assert not before.state.is_final or after.state is before.state


@given(tellings())
def test_every_request_is_answered_once(telling: tuple[Story, list[OrderInput]]) -> None:
    """Refusals and changes are reported once at most, and so are unknown outcomes."""
    story, news = telling
    _, changes, _ = told(story, news)
    reasons = Counter(change.reason for change in changes)
    for reason, kinds in (
        ("amended", (Amended,)),
        ("amend_refused: no", (AmendRefused,)),
        ("cancel_refused: no", (CancelRefused,)),
        ("cancel_unknown", (OutcomeUnknown,)),
        ("outcome_unknown", (OutcomeUnknown,)),
    ):
        assert reasons[reason] <= sum(isinstance(each, kinds) for each in story.news)
    assert sum(change.state is OrderState.ACCEPTED and not change.reason for change in changes) <= 1


@given(tellings(), st.data())
def test_news_of_the_past_changes_nothing(telling: tuple[Story, list[OrderInput]], data: st.DataObject) -> None:
    """Told whole, then once more in any order: not one more change."""
    story, news = telling
    record, _, _ = told(story, news)
    for each in data.draw(st.permutations(story.news)):
        after = reduce(record, each)
        assert after.changes == ()
        assert after.record == record
