"""Orders that end at a moment: by the matching clock, or by our own where the market is quiet."""

import heapq
from typing import NamedTuple

from quantkit.brokers.base import Agenda
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.clock import NEVER_NS
from quantkit.rows.position import RunPosition


class Expiry(NamedTuple):
    """The end of an order's time; equal ends come in the order of sending."""

    expire_ns: int  # by the exchange's clock
    number: int  # of the message that brought the order
    order: ExchangeOrder
    due_ns: int  # by ours


class ExpiryWakes:
    """When ends of time are due by our clock. Those of orders that are over are dropped when it is their turn.

    Args:
        position: The run's position.
        agenda: Gets the time at which an end is due though no row has shown that it has come.

    Attributes:
        due_ns: The first such moment; `NEVER_NS` for none.
    """

    def __init__(self, position: RunPosition, agenda: Agenda) -> None:
        self.due_ns = NEVER_NS
        self._position = position
        self._agenda = agenda
        self._by_due: list[tuple[int, int, Expiry]] = []

    def add(self, order: ExchangeOrder, expire_ns: int, number: int) -> Expiry:
        """Let an order of the exchange end at a moment, and return that end."""
        expiry = Expiry(expire_ns, number, order, max(order.expiry_due_ns, self._position.now_ns))
        heapq.heappush(self._by_due, (expiry.due_ns, number, expiry))
        self.due_ns = self._by_due[0][0]
        self._agenda.wake_ns = min(self._agenda.wake_ns, self.due_ns)
        return expiry

    def first_overdue(self, now_ns: int) -> Expiry | None:
        """Return the first end, by the exchange's clock, of those that are due by ours; drop what is over."""
        by_due = self._by_due
        while by_due and by_due[0][2].order.state.is_final:
            heapq.heappop(by_due)
        self.due_ns = by_due[0][0] if by_due else NEVER_NS
        overdue = [end for due_ns, _, end in by_due if due_ns <= now_ns and not end.order.state.is_final]
        return min(overdue, key=_moment, default=None)

    def clear(self) -> None:
        """Forget all of them."""
        self._by_due.clear()
        self.due_ns = NEVER_NS


def _moment(expiry: Expiry) -> tuple[int, int]:
    return expiry.expire_ns, expiry.number
