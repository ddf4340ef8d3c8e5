"""Messages that have arrived: new orders, cancels and changes judged against market and account as they stand."""

import heapq

from quantkit.brokers.base import Agenda
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.contingent import ContingentOrders
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.expiries import Expiry, ExpiryWakes
from quantkit.brokers.simulated.listing import Listing
from quantkit.brokers.simulated.market import Market
from quantkit.brokers.simulated.message_sender import MessageSender
from quantkit.brokers.simulated.oco_groups import OCO
from quantkit.brokers.simulated.order_message import OrderMessage
from quantkit.brokers.simulated.reduce_only import DISPLACED, TRIMMED
from quantkit.clock import NEVER_NS
from quantkit.orders import ALREADY_TRIGGERED, AMEND_REFUSED, AMENDED, CANCEL_REFUSED, EXPIRED, REQUESTED, TimeInForce
from quantkit.rows.position import RunPosition


class Arrivals:
    """Processes messages and ends of orders' time, after the market of each has been brought up to date.

    Args:
        account: The exchange's truth about money and positions.
        executions: Gets the judgement.
        contingent: Says what other orders leave of one that arrives, and gets those that others depend on.
        sender: Has the messages under way.
        wakes: When ends of orders' time are due.
        position: The run's position.
        dirty: Gets the instruments of what is processed.
        agenda: Says when something is due though no row has shown it.
    """

    def __init__(
        self,
        account: Account,
        executions: Executions,
        contingent: ContingentOrders,
        sender: MessageSender,
        wakes: ExpiryWakes,
        *,
        position: RunPosition,
        dirty: set[str],
        agenda: Agenda,
    ) -> None:
        self._account = account
        self._executions = executions
        self._groups, self._brackets, self._reduce_only = contingent
        self._sender = sender
        self._wakes = wakes
        self._position = position
        self._dirty = dirty
        self._agenda = agenda

    def process_until(self, listing: Listing, clock_ns: int) -> None:
        """Process what has arrived by a listing's matching clock, before the row that moved it."""
        queue = listing.queue
        if listing.expiries:
            self._process_in_turn(listing, clock_ns)
        elif queue and queue[0].arrives_ns <= clock_ns:
            self._dirty.add(listing.id)
            listing.sync(self._position.index)
            while queue and queue[0].arrives_ns <= clock_ns and not listing.expiries:
                self.process(listing, self._sender.take(listing))
            if listing.expiries:
                self._process_in_turn(listing, clock_ns)

    def process_overdue(self, now_ns: int) -> None:
        """Process what no row has revealed in time, each after all that came to its market before it."""
        agenda, sender = self._agenda, self._sender
        while agenda.wake_ns <= now_ns:
            if self._wakes.due_ns <= now_ns:
                expiry = sender.overdue_expiry(now_ns)
                if expiry is not None:
                    self._process_in_turn(self._executions.listings[expiry.order.instrument], last=expiry)
                if expiry is not None or agenda.wake_ns > now_ns:
                    continue
            listing = sender.busy[0] if len(sender.busy) == 1 else sender.first_overdue(now_ns)
            if listing.expiries:
                self._process_in_turn(listing, last=listing.queue[0])
                continue
            self._dirty.add(listing.id)
            listing.sync(self._position.index)
            self.process(listing, sender.take(listing))

    def _process_in_turn(
        self, listing: Listing, until_ns: int = NEVER_NS, *, last: Expiry | OrderMessage | None = None
    ) -> None:
        """Process messages to a listing and ends of its orders' time as they come, up to a moment or to one of them.

        Of one moment ends come first.
        """
        queue, is_synced = listing.queue, False
        while True:
            expiry, message = listing.next_expiry(), queue[0] if queue else None
            is_end = expiry is not None and (message is None or expiry.expire_ns <= message.arrives_ns)
            moment_ns = expiry.expire_ns if is_end and expiry else message.arrives_ns if message else NEVER_NS
            if moment_ns == NEVER_NS or moment_ns > until_ns:
                return
            if not is_synced:
                is_synced = True
                self._dirty.add(listing.id)
                listing.sync(self._position.index)
            if is_end and expiry is not None:
                self._executions.cancel(expiry.order, EXPIRED, expiry.expire_ns)
            else:
                self.process(listing, self._sender.take(listing))
            # A message before its end may have ended the order.
            if last is not None and (message is last if isinstance(last, OrderMessage) else last.order.state.is_final):
                return

    def process(self, listing: Listing, message: OrderMessage) -> None:
        """Process a message to a listing: let an order in, cancel it, or change it; or say why not."""
        order, at_ns, market, executions = message.order, message.arrives_ns, listing.market, self._executions
        is_new, lots, limit_ticks = message.kind == "submit", order.lots, order.limit_ticks
        if message.kind == "protect":
            self._brackets.protect(order, at_ns)
            return
        venue, sent_lots = market.venue, lots
        keeps_place, refusal = True, "" if venue is None else venue.count(message.kind, at_ns)
        if is_new:
            order.arrived_ns = at_ns
            if order.terms is not None:
                if order.expire_ns is not None and order.expire_ns <= at_ns:
                    refusal = refusal or EXPIRED
                left = self._groups.left_of(order)
                if left < lots:
                    refusal = OCO if left <= 0 or order.tif is TimeInForce.FOK else refusal
                    lots = order.lots = max(left, 0) or lots
        elif order.state.is_final:
            return
        elif message.kind == "cancel":
            if refusal:
                executions.report(order, order.state, f"{CANCEL_REFUSED}: {refusal}", at_ns)
            else:
                executions.cancel(order, REQUESTED, at_ns)
            return
        else:
            if message.lots is not None:
                lots = message.lots if order.terms is None else self._groups.amended(order, message.lots)
            limit_ticks = limit_ticks if message.limit_ticks is None else message.limit_ticks
            if lots <= order.filled_lots and not refusal:
                executions.cancel(order, "amended_to_filled", at_ns)
                return
            keeps_place = limit_ticks == order.limit_ticks and lots <= order.lots and message.change is None
            if message.change is not None and order.is_triggered:
                refusal = refusal or ALREADY_TRIGGERED
            elif order.post_only and not keeps_place:
                refusal = refusal or market.post_only_refusal(order, limit_ticks)
        trigger_ticks, was_sized = order.trigger_ticks, order.is_sized
        order.is_sized = was_sized or message.is_sized
        if message.change is not None and message.change.ticks is not None:
            order.trigger_ticks = message.change.ticks  # for venue and account to judge
        reference = market.reference_ticks(order.side)
        if venue is not None and not refusal:
            refusal = venue.refusal(order, market.instrument, lots=lots, limit_ticks=limit_ticks, reference=reference)
        refusal = refusal or self._account.admit(
            order,
            lots=lots,
            limit_ticks=limit_ticks,
            reference=reference,
            at_open=market.fills_at_opens,
            opening=market.opening_ticks(order) if market.fills_at_opens else None,
        )
        if refusal == "insufficient_cash" and is_new and order.is_sized and order.is_buy:
            refusal = "" if self._lets_less_in(order, reference) else refusal
        if is_new:
            if refusal:
                executions.reject(order, refusal, at_ns)
            else:
                if order.terms is not None:
                    self._let_in(order, sent_lots)
                if order.reduce_only and venue is not None:
                    self._arrive_reducing(order, market, at_ns)
                else:
                    market.arrive(order, at_ns)
                if order.expire_ns is not None and not order.state.is_final:
                    heapq.heappush(listing.expiries, self._wakes.add(order, order.expire_ns, message.number))
        elif refusal:
            # It stays as it is.
            order.trigger_ticks = trigger_ticks
            order.is_sized = was_sized
            executions.report(order, order.state, f"{AMEND_REFUSED}: {refusal}", at_ns)
        else:
            if message.lots is not None and order.terms is not None:
                self._groups.change(order, message.lots)
            is_larger = lots > order.lots
            order.lots, order.limit_ticks = lots, limit_ticks
            if message.change is not None:
                assert order.trigger is not None
                order.trigger.change(message.change)
            executions.report(order, order.state, AMENDED, at_ns)
            if is_larger and order.is_child:
                self._brackets.fit(order, at_ns)
            if not keeps_place and not order.state.is_final:
                order.arrived_ns = at_ns  # like a new order: rows stamped before cannot have met it
                market.requeue(order, at_ns)
            if order.reduce_only and venue is not None:
                self._reduce_only.fit(order, at_ns)

    def _lets_less_in(self, order: ExchangeOrder, reference: int | None) -> bool:
        """Cut a new spot order that is sized by money to what there is, and return whether that is let in."""
        limit_ticks = order.limit_ticks
        price = reference if limit_ticks is None else limit_ticks
        assert price is not None  # it was refused at one
        lots = self._account.funds.purchasable_lots(order, price)
        if not lots or self._account.admit(order, lots=lots, limit_ticks=limit_ticks, reference=reference):
            return False
        order.lots = lots
        return True

    def _arrive_reducing(self, order: ExchangeOrder, market: Market, at_ns: int) -> None:
        """Let a reduce-only order in for what better ones leave of the position, and cut worse ones."""
        room = self._reduce_only.room(order, market)
        if room <= 0:
            self._executions.reject(order, DISPLACED, at_ns)
            return
        is_trimmed = room < order.left
        order.lots -= max(0, order.left - room)
        market.arrive(order, at_ns)
        if is_trimmed and not order.state.is_final:
            self._executions.report(order, order.state, TRIMMED, at_ns)
        self._reduce_only.fit(order, at_ns)

    def _let_in(self, order: ExchangeOrder, sent_lots: int) -> None:
        """Let an order into the parts that act on its fills."""
        assert order.terms is not None
        if order.terms.oco_group:
            self._groups.join(order, sent_lots)
        self._brackets.expect(order)
