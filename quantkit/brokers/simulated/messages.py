"""Messages on their way to the exchange: when each leaves, arrives and has to have been looked at."""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from quantkit.brokers.base import Agenda, Decision
from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.simulated.market import ExchangeOrder
from quantkit.clock import NEVER_NS


class Message(NamedTuple):
    """A new order, a cancel or a change on its way."""

    arrives_ns: int  # by the exchange's clock
    due_ns: int  # by ours: looked at by then, even if no row of its market has shown that it has arrived
    number: int  # counts messages in the order of sending
    kind: str  # submit, cancel or amend
    order: ExchangeOrder
    lots: int | None = None
    limit: int | None = None


class MessageQueue:
    """Keeps messages under way, by instrument and in the order of sending: none overtakes another.

    Args:
        latency_ns: One way, by instrument.
        send_clock: Says when messages leave, and how far our clock is ahead of the exchange's.
        agenda: Gets the time at which a message is due though no row has shown its arrival.
        keeps_decisions: Whether what is sent is kept for a log.
    """

    def __init__(
        self, latency_ns: Mapping[str, int], send_clock: SendClock, agenda: Agenda, *, keeps_decisions: bool
    ) -> None:
        self._latency_ns = dict(latency_ns)
        self._send_clock = send_clock
        self._agenda = agenda
        self._queues: dict[str, deque[Message]] = {}
        self._sent = 0
        self._left_ns = -NEVER_NS  # when the last message left, by the exchange's clock
        self._keeps_decisions = keeps_decisions
        self._decisions: list[Decision] = []

    def send(
        self,
        now_ns: int,
        kind: str,
        order: ExchangeOrder,
        *,
        lag_ns: int | None,
        lots: int | None = None,
        limit: int | None = None,
    ) -> int:
        """Send a message and return when it leaves.

        Args:
            now_ns: Engine time.
            kind, order, lots, limit: Its content.
            lag_ns: How late the market's last row came, received less exchange stamp; None where none has come.
        """
        instrument = order.instrument
        latency_ns = self._latency_ns[instrument]
        sent_ns, offset_ns = self._send_clock.leave(now_ns, instrument), self._send_clock.offset_ns(now_ns)
        # Where the offset moves, a later message may still not overtake an earlier one.
        self._left_ns = max(sent_ns - offset_ns, self._left_ns)
        arrives_ns = self._left_ns + latency_ns
        # Without a row so far nothing says how late they come.
        late_ns = 0 if lag_ns is None else lag_ns - offset_ns
        # With no latency the report would be due at once; the next row, or the next moment, is the earliest.
        due_ns = arrives_ns + offset_ns + max(latency_ns, late_ns, 1)
        queue = self._queues.get(instrument)
        if queue is None:
            queue = self._queues[instrument] = deque()
        if queue:
            due_ns = max(due_ns, queue[-1].due_ns)
        self._agenda.wake_ns = min(self._agenda.wake_ns, due_ns)
        queue.append(Message(arrives_ns, due_ns, self._sent, kind, order, lots, limit))
        self._sent += 1
        if self._keeps_decisions:
            self._decisions.append(_decision(sent_ns, kind, order, lots, limit))
        return sent_ns

    def take_decisions(self) -> list[Decision]:
        """Return the messages sent since the last call."""
        decisions, self._decisions = self._decisions, []
        return decisions

    def is_empty(self, instrument: str) -> bool:
        """Return whether no message for the instrument is on its way."""
        return not self._queues.get(instrument)

    def first_arrival_ns(self, instrument: str) -> int | None:
        """Return when the next message for an instrument arrives; None while there is none."""
        queue = self._queues.get(instrument)
        return queue[0].arrives_ns if queue else None

    def take_arrived(self, instrument: str, clock_ns: int) -> Message | None:
        """Return the next message that has arrived by an instrument's matching clock, or None."""
        queue = self._queues.get(instrument)
        return self._take(queue) if queue and queue[0].arrives_ns <= clock_ns else None

    def _take(self, queue: deque[Message]) -> Message:
        message = queue.popleft()
        self._agenda.wake_ns = min((queue[0].due_ns for queue in self._queues.values() if queue), default=NEVER_NS)
        return message

    def take_overdue(self, now_ns: int) -> Message | None:
        """Return the next message that no row revealed in time, or None.

        Messages to several markets are taken in the order of their arrival, and of sending where they arrive together:
        they draw on the same money.
        """
        due = [
            (queue[0].arrives_ns, queue[0].number, instrument)
            for instrument, queue in self._queues.items()
            if queue and queue[0].due_ns <= now_ns
        ]
        return self._take(self._queues[min(due)[2]]) if due else None

    def clear(self) -> None:
        """Lose everything under way."""
        self._queues.clear()
        self._agenda.wake_ns = NEVER_NS


def _decision(sent_ns: int, kind: str, order: ExchangeOrder, lots: int | None, limit: int | None) -> Decision:
    is_new = kind == "submit"
    return Decision(
        sent_ns,
        kind,
        order.id,
        order.instrument,
        order.side.value,
        order.lots if is_new else lots,
        order.limit if is_new else limit,
        order.stop,
        order.tif.value,
        order.post_only,
        order.reduce_only,
        order.tag,
    )
