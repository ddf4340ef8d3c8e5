"""What news makes of an order: one pure function of the order's record and a piece of news.

The exchange's story of an order has one order of events; its news comes late, twice and in any order. Whatever the way
it comes, the record ends in the same state, every execution counts exactly once, and the changes that are reported keep
to the lifecycle graph:

- An execution counts by its id, once. So does the answer to a request, by the request's number.
- News that presupposes the acknowledgement implies it.
- Whole size and limit are those of the news with the latest exchange stamp; the filled size never falls.
- The end of an order waits for the executions that the exchange says it had.
- A final state stays. An execution that still comes is money all the same: it is booked, and the state stays.
- A request of unknown outcome leaves the order as it is until other news settles it.
"""

from typing import Final, NamedTuple, assert_never

import msgspec

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
from quantkit.orders import AMEND_REFUSED, AMEND_UNKNOWN, AMENDED, CANCEL_REFUSED, CANCEL_UNKNOWN, OrderState

#: The reason of an execution that came after the end of its order.
LATE_FILL: Final = "late_fill"
#: The reasons that say that nobody knows.
UNKNOWN_REASONS: Final = {"submit": "outcome_unknown", "cancel": CANCEL_UNKNOWN, "amend": AMEND_UNKNOWN}


_LONG_AGO_NS: Final = -(2**63)


class Change(NamedTuple):
    """A step of an order's life, to be reported: its state from now on, and the execution that brought it about."""

    state: OrderState
    reason: str
    at_ns: int
    executed: Executed | None = None


class OrderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An order as far as news goes.

    Attributes:
        request: The number of the request that submitted it.
        lots, limit_ticks: Whole size and limit.
        lots_ns, limit_ns: The exchange's stamps of the news that told them.
        filled_lots: The sum of the executions.
        told_lots: The filled size that the exchange has told, if that is more; then executions are missing.
        executions: Ids of the executions.
        answered: Requests whose answer has come.
        unknown: Requests whose outcome is not known at present.
        ending: The end that waits for missing executions.
    """

    order_id: str
    request: int
    lots: int
    limit_ticks: int | None
    lots_ns: int = _LONG_AGO_NS
    limit_ns: int = _LONG_AGO_NS
    state: OrderState = OrderState.PENDING
    filled_lots: int = 0
    told_lots: int = 0
    executions: frozenset[str] = frozenset()
    answered: frozenset[int] = frozenset()
    unknown: frozenset[int] = frozenset()
    ending: Cancelled | Completed | None = None

    @property
    def lacks_executions(self) -> bool:
        """Whether the exchange has told a larger filled size than the executions come to."""
        return not self.state.is_final and self.filled_lots < self.told_lots


class Reduced(NamedTuple):
    """An order after a piece of news, and what is to be reported of it, in order."""

    record: OrderRecord
    changes: tuple[Change, ...]


def reduce(record: OrderRecord, news: OrderInput) -> Reduced:
    """Return what a piece of news makes of an order; `news` is about this order."""
    if record.state.is_final:
        return _after_the_end(record, news)
    told_lots = max(record.told_lots, news.filled_lots or 0)
    if told_lots > record.told_lots:
        record = msgspec.structs.replace(record, told_lots=told_lots)
    step = _Step(record, news)
    match news:
        case Acknowledged():
            step.restate()
            step.accept()
        case Rejected():
            if record.state is OrderState.PENDING:
                step.end(OrderState.REJECTED, news.reason)
        case Executed():
            if news.execution_id not in record.executions:
                step.restate()
                step.execute(news)
        case Amended():
            step.amend(news)
        case AmendRefused():
            if step.answers(news.request):
                step.tell(f"{AMEND_REFUSED}: {news.reason}")
        case CancelRefused():
            if step.answers(news.request):
                step.tell(f"{CANCEL_REFUSED}: {news.reason}")
        case Cancelled() | Completed():
            step.restate()
            step.put(ending=news)
        case OutcomeUnknown():
            step.doubt(news)
        case _:
            assert_never(news)
    step.settle()
    return Reduced(step.record, tuple(step.changes))


def end_of_run(record: OrderRecord, reason: str, at_ns: int) -> Reduced:
    """Return an open order as cancelled by the end of the run, as far as anybody knows."""
    ended = msgspec.structs.replace(record, state=OrderState.CANCELLED, unknown=frozenset(), ending=None)
    return Reduced(ended, (Change(OrderState.CANCELLED, reason, at_ns),))


def _after_the_end(record: OrderRecord, news: OrderInput) -> Reduced:
    """Return an order that is over: only an execution that was never heard of counts."""
    if not isinstance(news, Executed) or news.execution_id in record.executions:
        return Reduced(record, ())
    late = msgspec.structs.replace(
        record,
        filled_lots=record.filled_lots + news.lots,
        executions=record.executions | {news.execution_id},
    )
    return Reduced(late, (Change(record.state, LATE_FILL, news.at_ns, news),))


class _Step:
    """One piece of news on its way through an order that is open: the record grows, and changes are noted down."""

    def __init__(self, record: OrderRecord, news: OrderInput) -> None:
        self.record = record
        self.changes: list[Change] = []
        self._news = news

    def put(self, **fields: object) -> None:
        """Set fields of the record."""
        self.record = msgspec.structs.replace(self.record, **fields)

    def tell(self, reason: str) -> None:
        """Report something that leaves the state as it is."""
        self.changes.append(Change(self.record.state, reason, self._news.at_ns))

    def end(self, state: OrderState, reason: str) -> None:
        """End the order."""
        self.put(state=state, unknown=frozenset(), ending=None)
        self.changes.append(Change(state, reason, self._news.at_ns))

    def accept(self) -> None:
        """Count the order as taken in, however that became known; the outcome of its submission is known then."""
        if self.record.state is OrderState.PENDING:
            self.put(state=OrderState.ACCEPTED, unknown=self.record.unknown - {self.record.request})
            self.tell("")

    def restate(self) -> None:
        """Use size and limit of the news, unless later news has told them already."""
        news, record = self._news, self.record
        if news.whole_lots is not None and news.at_ns >= record.lots_ns:
            self.put(lots=news.whole_lots, lots_ns=news.at_ns)
        if news.limit_ticks is not None and news.at_ns >= record.limit_ns:
            self.put(limit_ticks=news.limit_ticks, limit_ns=news.at_ns)

    def answers(self, request: int) -> bool:
        """Take note of a request's answer, and return whether it is the first."""
        record = self.record
        if request in record.answered:
            return False
        self.put(answered=record.answered | {request}, unknown=record.unknown - {request})
        return True

    def amend(self, news: Amended) -> None:
        """Take a change in: the answer to a request once, one by the exchange itself if it is news."""
        before = self.record.lots, self.record.limit_ticks
        if news.request and not self.answers(news.request):
            return
        self.restate()
        self.accept()
        if news.request or (self.record.lots, self.record.limit_ticks) != before:
            self.tell(AMENDED)

    def execute(self, news: Executed) -> None:
        """Count an execution."""
        self.accept()
        record = self.record
        filled = record.filled_lots + news.lots
        state = OrderState.FILLED if filled >= record.lots else OrderState.PARTLY_FILLED
        self.put(
            state=state,
            filled_lots=filled,
            executions=record.executions | {news.execution_id},
        )
        if state.is_final:
            self.put(unknown=frozenset(), ending=None)
        self.changes.append(Change(state, "", news.at_ns, news))

    def doubt(self, news: OutcomeUnknown) -> None:
        """Take note that nobody knows what became of a request, unless that is known by now."""
        record = self.record
        is_taken_in = news.request == record.request and record.state is not OrderState.PENDING
        if is_taken_in or news.request in record.answered | record.unknown:
            return
        self.put(unknown=record.unknown | {news.request})
        self.tell(UNKNOWN_REASONS[news.what])

    def settle(self) -> None:
        """End the order if its end was told and no execution is missing any more."""
        record = self.record
        if record.state.is_final or record.ending is None or record.lacks_executions:
            return
        if isinstance(record.ending, Cancelled):
            self.end(OrderState.CANCELLED, record.ending.reason)
        elif record.filled_lots:
            # What is not filled of it does not belong to it any more.
            self.put(lots=record.filled_lots)
            self.end(OrderState.FILLED, "")
        else:
            self.end(OrderState.CANCELLED, "nothing_filled")
