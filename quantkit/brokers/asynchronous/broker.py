"""A broker whose exchange is elsewhere: requests go out through a gateway, and what comes back is input of the run.

Another thread reads the wire. It puts news into a queue and touches nothing else. Between two batches the engine lets
the broker take what has come: the queue logs it first. From then on it is like a row: it waits for its own moment among
rows and timers, the reducer says what it makes of its order, executions are booked, and reports go out at once. A
repetition takes the same news from the log, at the same place and with the same stamps, and needs neither thread nor
wire.
"""

from collections import deque
from collections.abc import Collection, Sequence
from operator import attrgetter
from typing import Final

from quantkit.brokers.any_room import AnyRoom
from quantkit.brokers.asynchronous.gateway import Gateway, SilentGateway
from quantkit.brokers.asynchronous.input_queue import InputQueue
from quantkit.brokers.asynchronous.inputs import AmendRefused, Executed, OrderInput, OrderInputs, Rejected
from quantkit.brokers.asynchronous.reducer import Change, OrderRecord, Reduced, end_of_run, reduce
from quantkit.brokers.base import REFUSED_AFTER_NS, Agenda, BrokerFactory, BrokerNotes, BrokerSetup, Decision, Report
from quantkit.clock import NEVER_NS
from quantkit.events import Candle
from quantkit.instruments import Instrument
from quantkit.orders import Fill, Order, TriggerPrices
from quantkit.portfolio import Portfolio
from quantkit.rows.cursors import StreamCursor

#: Reason of an order of which nobody knew what had become of it when the run ended.
FATE_UNKNOWN: Final = "fate_unknown"
#: Stands for the request of an order that was refused here and never left.
_NOT_SENT: Final = 0

_received_ns = attrgetter("received_ns")


def asynchronous(gateway: Gateway, queue: InputQueue) -> BrokerFactory:
    """Return a factory of the broker behind a gateway, which puts its news into the queue.

    Whoever owns the gateway closes it.
    """

    def make(setup: BrokerSetup) -> AsyncBroker:
        gateway.open(setup.instruments, queue)
        return AsyncBroker(setup, gateway, queue)

    return make


def repeated(name: str, inputs: OrderInputs) -> BrokerFactory:
    """Return a factory of the broker of a recorded run: its news come from the log, and nothing leaves.

    Args:
        name: Of the gateway of the recorded run.
        inputs: The recorded news.
    """

    def make(setup: BrokerSetup) -> AsyncBroker:
        return AsyncBroker(setup, SilentGateway(name), inputs)

    return make


class AsyncBroker:
    """Keeps the orders of an exchange that answers when it likes.

    Args:
        setup: The run's.
        gateway: The way out.
        inputs: The way in.
    """

    def __init__(self, setup: BrokerSetup, gateway: Gateway, inputs: OrderInputs) -> None:
        self.fills: list[Fill] = []
        self.reports: list[Report] = []
        self.agenda = Agenda()
        self._setup = setup
        self._gateway = gateway
        self._inputs = inputs
        self._orders: dict[str, Order] = {}
        self._records: dict[str, OrderRecord] = {}
        self._waiting: deque[OrderInput] = deque()  # news whose moment has not come
        self._requests = 0
        self._delivered = 0  # reports
        self._decisions: list[Decision] = []
        self._is_over = False
        self._strange = 0  # news of orders that are not of this run
        self._fateless: list[str] = []

    # Orders -----------------------------------------------------------------------------------------------------

    def submit(self, order: Order, now_ns: int) -> int:
        if order.terms is not None and (order.terms.oco_group or order.terms.has_bracket):
            self.refuse(order, now_ns, f"unsupported: {self._gateway.name} knows no OCO groups and no brackets")
            return now_ns
        sent_ns = self._leave(now_ns, "submit", order, order.lots, order.price_ticks)  # logged before it leaves
        self._orders[order.id] = order
        self._records[order.id] = OrderRecord(
            order_id=order.id, request=self._requests, lots=order.lots, limit_ticks=order.price_ticks
        )
        self._gateway.submit(order, self._requests)
        return sent_ns

    def cancel(self, order_id: str, now_ns: int) -> None:
        if self._is_out(self._records[order_id]):
            self._leave(now_ns, "cancel", self._orders[order_id], None, None)
            self._gateway.cancel(order_id, self._requests)

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
        record = self._records[order_id]
        if not self._is_out(record):
            return
        self._leave(now_ns, "amend", self._orders[order_id], lots, limit_ticks, change)
        if lots is not None and lots <= record.filled_lots:
            # Nothing is left of it to change.
            self._gateway.cancel(order_id, self._requests)
        else:
            self._gateway.amend(order_id, self._requests, lots=lots, limit_ticks=limit_ticks, change=change)

    def refuse(self, order: Order, now_ns: int, reason: str) -> None:
        self._orders[order.id] = order
        self._records[order.id] = OrderRecord(
            order_id=order.id, request=_NOT_SENT, lots=order.lots, limit_ticks=order.price_ticks
        )
        at_ns, received_ns = self._refusal_ns(order, now_ns)
        self._tell_ourselves(Rejected(order_id=order.id, at_ns=at_ns, received_ns=received_ns, reason=reason))

    def refuse_amend(self, order_id: str, now_ns: int, reason: str) -> None:
        if not self._records[order_id].state.is_final:
            self._requests += 1
            at_ns, received_ns = self._refusal_ns(self._orders[order_id], now_ns)
            self._tell_ourselves(
                AmendRefused(
                    order_id=order_id, at_ns=at_ns, received_ns=received_ns, request=self._requests, reason=reason
                )
            )

    def _refusal_ns(self, order: Order, now_ns: int) -> tuple[int, int]:
        """Return when something of ours is refused, by the exchange's clock, and when we hear of it."""
        setup = self._setup
        at_ns = now_ns - setup.send_clock.offset_at(now_ns)
        return at_ns, now_ns + max(setup.latency_ns[order.instrument], REFUSED_AFTER_NS)

    def _tell_ourselves(self, news: OrderInput) -> None:
        """Let news that no gateway has brought wait for its moment; no log has it, since the run makes it anew."""
        self._setup.dirty.add(self._orders[news.order_id].instrument)
        self._await([news])

    @staticmethod
    def _is_out(record: OrderRecord) -> bool:
        """Return whether an order is at the exchange, or on its way."""
        return record.request != _NOT_SENT and not record.state.is_final

    def _leave(
        self,
        now_ns: int,
        kind: str,
        order: Order,
        lots: int | None,
        limit_ticks: int | None,
        change: TriggerPrices | None = None,
    ) -> int:
        """Number a message, log it, and return when it leaves."""
        self._requests += 1
        sent_ns = self._setup.send_clock.leave(now_ns, order.instrument)
        if self._setup.keeps_decisions:
            self._decisions.append(_decision(sent_ns, kind, order, lots, limit_ticks, change))
        return sent_ns

    # News -------------------------------------------------------------------------------------------------------

    def take_inputs(self, until_ns: int) -> None:
        self._await(self._inputs.take(until_ns))

    def _await(self, news: Sequence[OrderInput]) -> None:
        """Add news to what waits for its moment."""
        if news:
            self._waiting = deque(sorted([*self._waiting, *news], key=_received_ns))
        self._note_next()

    def advance(self, now_ns: int) -> None:
        waiting = self._waiting
        while waiting and waiting[0].received_ns <= now_ns:
            self._hear(waiting.popleft())
        self._note_next()

    def _hear(self, news: OrderInput) -> None:
        record = self._records.get(news.order_id)
        if record is None:
            self._strange += 1
            return
        after = self._follow(reduce(record, news))
        if after.lacks_executions and not record.lacks_executions:
            self._gateway.fetch_executions(news.order_id)

    def _follow(self, reduced: Reduced) -> OrderRecord:
        """Keep an order's record, and book and report what has changed."""
        record = self._records[reduced.record.order_id] = reduced.record
        for change in reduced.changes:
            if change.executed is None:
                self._report(record, change, None)
            else:
                self._book(record, change, change.executed)
        return record

    def _book(self, record: OrderRecord, change: Change, executed: Executed) -> None:
        setup, order = self._setup, self._orders[record.order_id]
        instrument = setup.ledger.instruments[order.instrument]
        fill = Fill(
            id=len(self.fills) + 1,
            order_id=order.id,
            instrument=order.instrument,
            side=order.side,
            price=instrument.price(executed.ticks),
            qty=instrument.qty(executed.lots),
            value=instrument.value(executed.lots, executed.ticks),
            fee=executed.fee,
            fee_currency=executed.fee_currency,
            role=executed.role,
            filled_ns=executed.at_ns,
            revealed_ns=setup.position.now_ns,
            why=f"execution {executed.execution_id} at {self._gateway.name}",
            tag=order.tag,
            lots=executed.lots,
            ticks=executed.ticks,
            position_side=order.position_side,
        )
        setup.observer.before_fill()
        setup.ledger.apply(fill)
        self.fills.append(fill)
        self._report(record, change, fill)
        setup.observer.after_fill(fill)

    def _report(self, record: OrderRecord, change: Change, fill: Fill | None) -> None:
        self._setup.dirty.add(self._orders[record.order_id].instrument)
        self.reports.append(
            Report(
                self._setup.position.now_ns,
                len(self.reports),
                record.order_id,
                change.state,
                change.reason,
                change.at_ns,
                record.lots,
                record.limit_ticks,
                fill,
            )
        )

    def _note_next(self) -> None:
        self.agenda.wake_ns = self._waiting[0].received_ns if self._waiting else NEVER_NS
        is_told = self._delivered == len(self.reports)
        self.agenda.report_ns = NEVER_NS if is_told else self.reports[self._delivered].due_ns

    # Reports ----------------------------------------------------------------------------------------------------

    def take_report(self) -> Report:
        self._delivered += 1
        self._note_next()
        return self.reports[self._delivered - 1]

    def take_decisions(self) -> list[Decision]:
        found, self._decisions = self._decisions, []
        return found

    # Rows -------------------------------------------------------------------------------------------------------

    def see_candle(self, candle: Candle) -> None: ...

    def begin(self) -> None: ...

    def enter_batch(self, cursors: Collection[StreamCursor]) -> None: ...

    def leave_batch(self, cursors: Collection[StreamCursor]) -> None: ...

    def leave_rows(self, cursors: Collection[StreamCursor]) -> None: ...

    def rearm(self, dirty: Collection[str]) -> None: ...

    def search_on(self, index: int) -> None: ...

    def on_row(self, cursor: StreamCursor, index: int) -> None: ...  # what rows do to orders, the exchange tells

    # The account ------------------------------------------------------------------------------------------------

    def room(self, ledger: Portfolio) -> AnyRoom:
        return AnyRoom()

    def queue_ahead(self, order_id: str) -> float | None:
        return None

    def qty_at(self, leg: str, boundary_ns: int) -> int:
        return sum(f.signed_lots for f in self.fills if f.leg == leg and f.filled_ns < boundary_ns)

    def change_instrument(self, instrument: Instrument, at_ns: int) -> None:
        self._setup.ledger.change_instrument(instrument)  # the exchange itself cancels what no longer fits

    # The end ----------------------------------------------------------------------------------------------------

    def finish(self, now_ns: int, reason: str) -> list[Report]:
        """Cancel what is open and wait for it; what is still open then is told as cancelled, with a warning."""
        if not self._is_over:
            self._is_over = True
            for record in filter(self._is_out, self._open()):
                self._requests += 1
                self._gateway.cancel(record.order_id, self._requests)
            while self._hear_rest() and self._open():
                pass  # what came may have shown that more is missing
            at_ns = now_ns - self._setup.send_clock.offset_at(now_ns)
            for record in self._open():
                self._fateless.append(record.order_id)
                self._follow(end_of_run(record, FATE_UNKNOWN, at_ns))
        left, self._delivered = self.reports[self._delivered :], len(self.reports)
        self._note_next()
        return left

    def _hear_rest(self) -> bool:
        """Wait for the ends of orders, and return whether anything came."""
        self._gateway.settle()
        news = self._inputs.take_rest()
        self._waiting.extend(news)
        self.advance(NEVER_NS)
        return bool(news)

    def _open(self) -> list[OrderRecord]:
        return [record for record in self._records.values() if not record.state.is_final]

    def remedy(self, instrument: str) -> str:
        return ""

    def notes(self) -> BrokerNotes:
        warnings = []
        if self._fateless:
            warnings.append(
                f"{', '.join(self._fateless)}: the run ended before the exchange said what had become of them; look "
                f"at {self._gateway.name} whether they are still open, and what they have filled"
            )
        if self._strange:
            warnings.append(f"{self._gateway.name} told {self._strange} times of orders that are not of this run")
        return BrokerNotes([f"orders were sent to {self._gateway.name}, which told their fills and fees"], [], warnings)


def _decision(
    sent_ns: int, kind: str, order: Order, lots: int | None, limit_ticks: int | None, change: TriggerPrices | None
) -> Decision:
    """Return a message for the log."""
    return Decision(
        sent_ns,
        kind,
        order.id,
        order.instrument,
        order.side.value,
        lots,
        limit_ticks,
        order.stop_ticks,
        order.time_in_force.value,
        order.post_only,
        order.reduce_only,
        order.tag,
        order.terms if kind == "submit" else None,
        change,
        order.position_side,
    )
