"""Messages on their way to the exchange: when each leaves, arrives and has to have been looked at."""

from bisect import bisect_right
from collections.abc import Mapping
from itertools import pairwise

from quantkit.brokers.base import Agenda, Decision
from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.expiries import Expiry, ExpiryWakes
from quantkit.brokers.simulated.listing import Listing
from quantkit.brokers.simulated.order_message import OrderMessage
from quantkit.clock import NEVER_NS
from quantkit.orders import TriggerPrices
from quantkit.rows.position import RunPosition


class MessageSender:
    """Sends messages to listings, where each waits for its arrival behind those sent before it.

    Args:
        listings: By instrument.
        position: The run's position.
        send_clock: Says when messages leave, and how far our clock is ahead of the exchange's.
        dirty: Gets the instruments that messages are sent to.
        agenda: Gets the time at which a message is due though no row has shown its arrival.
        wakes: When ends of orders' time are due.
        keeps_decisions: Whether what is sent is kept for a log.

    Attributes:
        busy: The listings with messages under way.
    """

    def __init__(
        self,
        listings: Mapping[str, Listing],
        position: RunPosition,
        send_clock: SendClock,
        dirty: set[str],
        agenda: Agenda,
        wakes: ExpiryWakes,
        *,
        keeps_decisions: bool,
    ) -> None:
        self._listings = listings
        self._position = position
        self._send_clock = send_clock
        self._dirty = dirty
        self._agenda = agenda
        self._wakes = wakes
        self.busy: list[Listing] = []
        self._sent = 0
        self._left_ns = -NEVER_NS  # when the last message left, by the exchange's clock
        self._keeps_decisions = keeps_decisions
        self._decisions: list[Decision] = []

    def send(
        self,
        now_ns: int,
        kind: str,
        order: ExchangeOrder,
        lots: int | None = None,
        limit_ticks: int | None = None,
        change: TriggerPrices | None = None,
        *,
        is_sized: bool = False,
    ) -> int:
        """Send a message with this content and return when it leaves."""
        name, clock, agenda = order.instrument, self._send_clock, self._agenda
        listing = self._listings[name]
        latency_ns, queue = listing.travel.steady_ns, listing.queue
        if latency_ns is None:
            latency_ns = listing.travel.order_ns()
        lag_ns = listing.lag_ns(self._position.index)
        sent_ns = clock.leave(now_ns, name)
        # What `offset_at` returns, without a call for every message.
        offset_ns = clock.offset_ns if now_ns < clock.next_step_ns else clock.offset_at(now_ns)
        # Where the offset moves, a later message may still not overtake an earlier one.
        left_ns = self._left_ns = max(sent_ns - offset_ns, self._left_ns)
        arrives_ns = left_ns + latency_ns
        if arrives_ns < listing.arrived_ns:
            arrives_ns = listing.arrived_ns
        listing.arrived_ns = arrives_ns
        # Without a row so far nothing says how late they come.
        late_ns = 0 if lag_ns is None else lag_ns - offset_ns
        # With no latency the report would be due at once; the next row, or the next moment, is the earliest.
        due_ns = arrives_ns + offset_ns + max(latency_ns, late_ns, 1)
        if order.expire_ns is not None and kind == "submit":
            order.expiry_due_ns = due_ns - arrives_ns + order.expire_ns
        message = OrderMessage(arrives_ns, due_ns, self._sent, kind, order, lots, limit_ticks, change, is_sized)
        if not queue:
            self.busy.append(listing)
            agenda.wake_ns = min(due_ns, agenda.wake_ns)
            queue.append(message)
        elif queue[-1].arrives_ns <= arrives_ns:
            message.due_ns = max(due_ns, queue[-1].due_ns)
            queue.append(message)
        else:
            self._put_between(listing, message)
        self._sent += 1
        self._dirty.add(name)
        if self._keeps_decisions:
            self._decisions.append(_decision(sent_ns, kind, order, lots, limit_ticks, change))
        return sent_ns

    def protect(self, order: ExchangeOrder, filled_ns: int) -> None:
        """Let the exchange itself act on a fill of an order one latency later, between the messages that arrive."""
        now_ns, name = self._position.now_ns, order.instrument
        listing = self._listings[name]
        latency_ns, lag_ns = listing.travel.bracket_ns(), listing.lag_ns(self._position.index)
        offset_ns = self._send_clock.offset_at(now_ns)
        arrives_ns = listing.protected_ns = max(filled_ns + latency_ns, listing.protected_ns)
        late_ns = 0 if lag_ns is None else lag_ns - offset_ns
        due_ns = max(arrives_ns + offset_ns + max(latency_ns, late_ns, 1), now_ns + 1)
        message = OrderMessage(arrives_ns, due_ns, self._sent, "protect", order)
        self._sent += 1
        self._dirty.add(name)
        if not listing.queue:
            self.busy.append(listing)
        self._put_between(listing, message)

    def _put_between(self, listing: Listing, message: OrderMessage) -> None:
        """Put a message behind those that arrive before it; each is looked at no sooner than the one before it."""
        queue = listing.queue
        place = bisect_right(queue, message.arrives_ns, key=_arrives_ns)
        queue.insert(place, message)
        for earlier, later in pairwise(list(queue)[max(place - 1, 0) :]):
            later.due_ns = max(later.due_ns, earlier.due_ns)
        wake_ns = min([other.queue[0].due_ns for other in self.busy])
        self._agenda.wake_ns = min(wake_ns, self._wakes.due_ns)

    def take(self, listing: Listing) -> OrderMessage:
        """Return the next message to a listing, which is taken to have arrived."""
        message = listing.queue.popleft()
        busy = self.busy
        if not listing.queue:
            busy.remove(listing)
        wake_ns = min([other.queue[0].due_ns for other in busy]) if busy else NEVER_NS
        self._agenda.wake_ns = min(wake_ns, self._wakes.due_ns)
        return message

    def overdue_expiry(self, now_ns: int) -> Expiry | None:
        """Return the first end of an order's time that is due and comes before every overdue message; None for none."""
        expiry = self._wakes.first_overdue(now_ns)
        wake_ns = min([listing.queue[0].due_ns for listing in self.busy], default=NEVER_NS)
        self._agenda.wake_ns = min(wake_ns, self._wakes.due_ns)
        if expiry is None or wake_ns > now_ns:
            return expiry
        message = self.first_overdue(now_ns).queue[0]
        return expiry if expiry.expire_ns <= message.arrives_ns else None

    def first_overdue(self, now_ns: int) -> Listing:
        """Return the busy listing whose overdue message comes first: no row has revealed it in time.

        Messages to several markets are taken in the order of their arrival, and of sending where they arrive together:
        they draw on the same money.
        """
        due = [listing for listing in self.busy if listing.queue[0].due_ns <= now_ns]
        return min(due, key=_arrival)

    def take_decisions(self) -> list[Decision]:
        """Return the messages sent since the last call."""
        decisions, self._decisions = self._decisions, []
        return decisions

    def clear(self) -> None:
        """Lose everything under way."""
        for listing in self.busy:
            listing.queue.clear()
        self.busy.clear()
        self._wakes.clear()
        self._agenda.wake_ns = NEVER_NS


def _arrives_ns(message: OrderMessage) -> int:
    return message.arrives_ns


def _arrival(listing: Listing) -> tuple[int, int]:
    """Return the order in which overdue messages count."""
    message = listing.queue[0]
    return message.arrives_ns, message.number


def _decision(
    sent_ns: int,
    kind: str,
    order: ExchangeOrder,
    lots: int | None,
    limit_ticks: int | None,
    change: TriggerPrices | None,
) -> Decision:
    is_new = kind == "submit"
    return Decision(
        sent_ns,
        kind,
        order.id,
        order.instrument,
        order.side.value,
        order.lots if is_new else lots,
        order.limit_ticks if is_new else limit_ticks,
        order.stop_ticks,
        order.tif.value,
        order.post_only,
        order.reduce_only,
        order.tag,
        order.terms if is_new else None,
        change,
        order.position_side,
    )
