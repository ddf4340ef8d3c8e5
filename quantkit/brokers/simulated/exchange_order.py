"""An order as the exchange holds it, with the funds locked for it."""

from decimal import Decimal
from typing import NamedTuple

from quantkit.brokers.introduction import Introduction
from quantkit.brokers.simulated.triggers import trigger_of
from quantkit.instruments import Side
from quantkit.orders import Order, OrderState, PositionSide
from quantkit.queue_models import Moved
from quantkit.sizes import OrderAmount, Spent


class Lock(NamedTuple):
    """Spot funds kept for an order.

    Attributes:
        currency: What is kept: coins for a sale, money for a purchase.
        ticks: The price at which a purchase is counted, 0 for a sale.
        per_lot: What each open size step keeps.
        fee_per_lot: What each adds to the fees of the fills where the order has a fee of its own; else None.
    """

    currency: str
    ticks: int
    per_lot: Decimal
    fee_per_lot: Decimal | None


class ExchangeOrder:
    """An order as the exchange holds it. Each group of attributes has one writer; the first never changes.

    Attributes:
        id, instrument, side, is_buy, tif, post_only, reduce_only, stop_ticks, tag, terms, sent_ns, expire_ns,
            position_side: As it was sent.
        leg: The key of the position that it changes.
        spends: The money that it travels with, to be sized by the prices that fill it; None for others.

        Written by the message sender:
        expiry_due_ns: When its end of time is due by our clock, where it has one.

        Written by `Arrivals`:
        arrived_ns: When it arrived, or changed so that it lost its place; its market counts one that a mark or index
            price set off as arrived with that.
        lots, limit_ticks: Its whole size and its limit, which a change sets anew.
        is_sized: Whether its size comes from money: the account cuts it instead of refusing it.
        trigger_ticks: The stop or take-profit price, by which it is valued; None for others, trailing stops among them.

        Written by `Executions`:
        lots: Its whole size, where the exchange itself makes it smaller or larger.
        introduction: What its owner has not been told yet of an order that the exchange has made.
        state, filled_lots: How far it has come.
        reported_ns: When the latest news of it is due.

        Written by `Spending`:
        lots: Its whole size at the price that fills it.
        spent: What its fills have cost of its money.

        Written by its market's queue model, also on behalf of the market's `QueueScan`:
        ahead, shown, printed, moves: Its place in the queue of its level (displayed books), as `Queued` has it.

        Written by its market:
        is_taking: Waits for the next price to take it, instead of resting.
        is_triggered: Whether it works, so that a trigger has gone off where there was one.
        is_passed: Whether the market has been beyond its limit while `max_share` left some of it (candles).
        trigger: What sets it off; None for one that works at once.

        Written by the account:
        lock: Spot funds kept for it.
        open_lots: What the account counts it as that may still add.
        only_closes: Whether the account carries no more than the closing of its contract position.
        fees_of_fills, fees_paid: What its fills cost so far, without and with the order's own part.
    """

    __slots__ = (
        "ahead",
        "arrived_ns",
        "expire_ns",
        "expiry_due_ns",
        "fees_of_fills",
        "fees_paid",
        "filled_lots",
        "id",
        "instrument",
        "introduction",
        "is_buy",
        "is_passed",
        "is_sized",
        "is_taking",
        "is_triggered",
        "leg",
        "limit_ticks",
        "lock",
        "lots",
        "moves",
        "only_closes",
        "open_lots",
        "position_side",
        "post_only",
        "printed",
        "reduce_only",
        "reported_ns",
        "sent_ns",
        "shown",
        "side",
        "spends",
        "spent",
        "state",
        "stop_ticks",
        "tag",
        "terms",
        "tif",
        "trigger",
        "trigger_ticks",
    )

    def __init__(self, order: Order, introduction: Introduction | None = None) -> None:
        self.id = order.id
        self.instrument = order.instrument
        self.side = order.side
        self.is_buy = order.side is Side.BUY
        self.lots = order.lots
        self.filled_lots = 0
        self.limit_ticks = order.price_ticks
        self.stop_ticks = order.stop_ticks
        self.trigger = None if order.stop_ticks is None and order.terms is None else trigger_of(order)
        self.trigger_ticks = (
            order.stop_ticks if order.terms is None else order.terms.take_profit_ticks or order.stop_ticks
        )
        self.expire_ns = None if order.terms is None else order.terms.expire_ns
        self.expiry_due_ns = 0
        self.tif = order.time_in_force
        self.post_only = order.post_only
        self.reduce_only = order.reduce_only
        self.tag = order.tag
        self.position_side = order.position_side
        self.leg = order.instrument if order.position_side is PositionSide.NET else order.leg
        self.terms = terms = order.terms
        self.spends: OrderAmount | None = None
        self.is_sized = False
        self.spent: Spent = ()
        if terms is not None and terms.amount is not None:
            self.is_sized = True
            if terms.amount.is_at_fill:
                self.spends = terms.amount
        self.state = OrderState.PENDING
        self.sent_ns = order.sent_ns
        self.arrived_ns = 0
        self.ahead: int | None = None
        self.shown: int | None = None
        self.printed = 0
        self.moves: tuple[Moved, ...] = ()
        self.is_taking = False
        self.is_passed = False
        self.is_triggered = self.trigger is None
        self.lock: Lock | None = None
        self.fees_of_fills = self.fees_paid = Decimal(0)
        self.only_closes = False
        self.open_lots = 0
        self.reported_ns = 0
        self.introduction = introduction

    @property
    def left(self) -> int:
        """Size steps still open."""
        return self.lots - self.filled_lots

    @property
    def is_waiting(self) -> bool:
        """Whether its trigger has not gone off."""
        return not self.is_triggered

    @property
    def is_child(self) -> bool:
        """Whether the exchange has made it for the fills of another order."""
        return self.terms is not None and bool(self.terms.parent_id)

    @property
    def lots_in_front(self) -> int | None:
        """Displayed size steps that stand before it in the queue, as far as known."""
        return self.ahead

    @property
    def waiting_stop(self) -> int | None:
        """The stop or take-profit price while it has not been set off."""
        return None if self.is_triggered else self.trigger_ticks

    def allows(self, ticks: int) -> bool:
        """Whether a fill at `ticks` is within the limit."""
        return self.limit_ticks is None or (ticks <= self.limit_ticks if self.is_buy else ticks >= self.limit_ticks)

    def is_beyond(self, ticks: int) -> bool:
        """Whether `ticks` is strictly better than the limit, so that the market went through it."""
        assert self.limit_ticks is not None
        return ticks < self.limit_ticks if self.is_buy else ticks > self.limit_ticks
