"""Messages that have arrived: new orders, cancels and changes judged against market and account as they stand."""

from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.contingent import ContingentOrders
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.listing import Listing
from quantkit.brokers.simulated.market import Market
from quantkit.brokers.simulated.oco_groups import OCO
from quantkit.brokers.simulated.order_message import OrderMessage
from quantkit.brokers.simulated.reduce_only import DISPLACED, TRIMMED
from quantkit.orders import AMEND_REFUSED, AMENDED, CANCEL_REFUSED, REQUESTED


class Arrivals:
    """Processes messages; each market has been brought up to date before.

    Args:
        account: The exchange's truth about money and positions.
        executions: Gets the judgement.
        contingent: Says what other orders leave of one that arrives, and gets those that others depend on.
    """

    def __init__(self, account: Account, executions: Executions, contingent: ContingentOrders) -> None:
        self._account = account
        self._executions = executions
        self._groups, self._brackets, self._reduce_only = contingent

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
                left = self._groups.left_of(order)
                if left < lots:
                    refusal = OCO if left <= 0 else refusal
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
            keeps_place = limit_ticks == order.limit_ticks and lots <= order.lots
            if order.post_only and not keeps_place:
                refusal = refusal or market.post_only_refusal(order, limit_ticks)
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
        elif refusal:
            # It stays as it is.
            executions.report(order, order.state, f"{AMEND_REFUSED}: {refusal}", at_ns)
        else:
            order.lots, order.limit_ticks = lots, limit_ticks
            executions.report(order, order.state, AMENDED, at_ns)
            if not keeps_place:
                order.arrived_ns = at_ns  # like a new order: rows stamped before cannot have met it
                market.requeue(order, at_ns)
            if order.reduce_only and venue is not None:
                self._reduce_only.fit(order, at_ns)

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
