"""Messages that have arrived: new orders, cancels and changes judged against market and account as they stand."""

from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.listing import Listing, Message
from quantkit.brokers.simulated.market import ExchangeOrder, Market


class Arrivals:
    """Processes messages; each market has been brought up to date before.

    Args:
        account: The exchange's truth about money and positions.
        executions: Gets the judgement.
    """

    def __init__(self, account: Account, executions: Executions) -> None:
        self._account = account
        self._executions = executions

    def process(self, listing: Listing, message: Message) -> None:
        """Process a message to a listing."""
        order, at_ns, market = message.order, message.arrives_ns, listing.market
        if message.kind == "submit":
            order.arrived_ns = at_ns
            refusal = self._judge(market, order, lots=order.lots, limit=order.limit)
            if refusal:
                self._executions.rejected(order, refusal, at_ns)
            else:
                market.arrive(order, at_ns)
        elif order.state.is_final:
            return
        elif message.kind == "cancel":
            self._executions.cancelled(order, "requested", at_ns)
        else:
            self._amend(market, order, message)

    def _amend(self, market: Market, order: ExchangeOrder, message: Message) -> None:
        """Change a working order, or leave it as it is and say why."""
        at_ns = message.arrives_ns
        lots = order.lots if message.lots is None else message.lots
        limit = order.limit if message.limit is None else message.limit
        if lots <= order.filled:
            self._executions.cancelled(order, "amended_to_filled", at_ns)
            return
        keeps_place = limit == order.limit and lots <= order.lots
        refusal = ""
        if order.post_only and limit is not None and not keeps_place and market.crosses(order, limit):
            refusal = "post_only_would_take"
        if not refusal:
            refusal = self._judge(market, order, lots=lots, limit=limit)
        if refusal:
            self._executions.report(order, order.state, f"amend_refused: {refusal}", at_ns)
            return
        order.lots, order.limit = lots, limit
        self._executions.report(order, order.state, "amended", at_ns)
        if not keeps_place:
            order.arrived_ns = at_ns  # like a new order: rows stamped before cannot have met it
            market.requeue(order, at_ns)

    def _judge(self, market: Market, order: ExchangeOrder, *, lots: int, limit: int | None) -> str:
        """Return why the account may not have an order of this size and limit, empty if it may."""
        return self._account.admit(
            order,
            lots=lots,
            limit=limit,
            reference=market.reference_ticks(order.side),
            at_open=market.fills_at_opens,
            opening=market.opening_ticks(order) if market.fills_at_opens else None,
        )
