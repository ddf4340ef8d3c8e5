"""Brackets: each fill of an order that asks for it gets a stop and a target, in force one order latency later."""

from collections import deque
from typing import Final

from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.children import child_of, specs_of
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.message_sender import MessageSender
from quantkit.brokers.simulated.oco_groups import OcoGroups
from quantkit.brokers.unprotected import Unprotected
from quantkit.rows.position import RunPosition

#: The reason of children that a further fill of their parent has made larger, and of those cut to the position.
PARENT_FILLED: Final = "parent_filled"
POSITION_CLOSED: Final = "position_closed"


class _Claim:
    """The protection of a fill: on its way first, then a pair of orders that further fills may add to.

    Attributes:
        parent: The order that filled.
        is_buy: The side of its children.
        waiting_lots: What is not in force yet.
        filled_ns, known_ns: When that filled, by the exchange's clock and by ours.
        legs: The children, the stop first.
    """

    __slots__ = ("filled_ns", "is_buy", "known_ns", "legs", "parent", "waiting_lots")

    def __init__(self, parent: ExchangeOrder, lots: int, filled_ns: int, known_ns: int) -> None:
        self.parent = parent
        self.is_buy = not parent.is_buy
        self.waiting_lots = lots
        self.filled_ns = filled_ns
        self.known_ns = known_ns
        self.legs: list[ExchangeOrder] = []

    @property
    def left(self) -> int:
        """How many size steps of the position it is for."""
        return self.waiting_lots + max([leg.left for leg in self.legs if not leg.state.is_final], default=0)


class Brackets:
    """The protection of all fills of orders with `take_profit` or `stop_loss`.

    What is claimed of a position never exceeds it: when it gets smaller by another order, the oldest claims are cut.

    Args:
        executions: Makes orders smaller and larger, and gets the children.
        account: Says what a child may close.
        groups: Makes a pair an OCO group.
        sender: Brings the moments at which protection is in force.
        position: The run's position.

    Attributes:
        is_following: Whether an order with a bracket has come.
        unprotected: Fills and how long they were without protection, in the order in which that ended.
    """

    def __init__(
        self,
        executions: Executions,
        account: Account,
        groups: OcoGroups,
        sender: MessageSender,
        position: RunPosition,
    ) -> None:
        self.is_following = False
        self.unprotected: list[Unprotected] = []
        self._executions = executions
        self._account = account
        self._groups = groups
        self._sender = sender
        self._position = position
        self._claims: dict[str, list[_Claim]] = {}  # by position, in the order of their fills
        self._coming: dict[str, deque[_Claim]] = {}  # by instrument those on their way, in the order in which they come
        self._pairs: dict[str, int] = {}  # how many a parent has had

    # What happens -------------------------------------------------------------------------------------------------

    def expect(self, order: ExchangeOrder) -> None:
        """Protect the fills of an order, if it asks for that."""
        if _asks(order):
            self.is_following = True

    def after_fill(self, order: ExchangeOrder, lots: int, at_ns: int) -> None:
        leg = order.leg
        if _asks(order):
            claim = _Claim(order, lots, at_ns, self._position.now_ns)
            self._claims.setdefault(leg, []).append(claim)
            self._coming.setdefault(order.instrument, deque()).append(claim)
            self._sender.protect(order, at_ns)
        if leg in self._claims:
            self._fit(leg, at_ns)

    def after_change(self, order: ExchangeOrder, at_ns: int) -> None: ...

    def after_end(self, order: ExchangeOrder, at_ns: int) -> None: ...

    def protect(self, parent: ExchangeOrder, at_ns: int) -> None:
        """Let the next protection that is on its way come into force."""
        claim = self._coming[parent.instrument].popleft()
        self._fit(parent.leg, at_ns)
        lots = claim.waiting_lots
        if not lots:
            return  # closed in the meantime
        self._note(claim, lots, at_ns)
        claim.waiting_lots = 0
        grown = next((c for c in self._claims[parent.leg] if c.parent is parent and _may_grow(c)), None)
        if grown is None:
            self._place(claim, lots, at_ns)
        else:
            self._grow(grown, lots, at_ns)

    def fit(self, child: ExchangeOrder, at_ns: int) -> None:
        """Cut what is claimed of a position to its size, since a child has been made larger by its owner."""
        self._fit(child.leg, at_ns)

    def finish(self, at_ns: int) -> None:
        """Count what is still on its way as unprotected until the end."""
        for claims in self._claims.values():
            for claim in claims:
                if claim.waiting_lots:
                    self._note(claim, claim.waiting_lots, at_ns)

    # Children -----------------------------------------------------------------------------------------------------

    def _place(self, claim: _Claim, lots: int, at_ns: int) -> None:
        """Place a new pair, which may fill at once."""
        parent = claim.parent
        listing = self._executions.listings[parent.instrument]
        number = self._pairs[parent.id] = self._pairs.get(parent.id, 0) + 1
        for spec in specs_of(parent):
            child = child_of(parent, spec, number, lots, listing.market.instrument, claim.known_ns)
            child.lots = self._groups.left_of(child)  # the stop may have filled as it came
            if child.lots <= 0:
                break
            child.arrived_ns = at_ns
            self._executions.orders[child.id] = child
            self._account.take_in(child)
            self._groups.join(child, lots)
            claim.legs.append(child)
            listing.market.arrive(child, at_ns)
            self._executions.tell_of_change(child, at_ns)

    def _grow(self, claim: _Claim, lots: int, at_ns: int) -> None:
        """Add a further fill to a pair: what waits for its trigger keeps its place, what rests loses it."""
        market = self._executions.listings[claim.parent.instrument].market
        for leg in claim.legs:
            self._groups.grow(leg, lots)
            self._executions.grow(leg, lots, PARENT_FILLED, at_ns)
        for leg in claim.legs:
            if leg.is_triggered and leg.limit_ticks is not None and not leg.state.is_final:
                leg.arrived_ns = at_ns
                market.requeue(leg, at_ns)
            self._executions.tell_of_change(leg, at_ns)

    # The position -------------------------------------------------------------------------------------------------

    def _fit(self, leg: str, at_ns: int) -> None:
        """Cut what is claimed of a position to its size, the oldest first."""
        claims = self._claims[leg] = [claim for claim in self._claims[leg] if claim.left]
        for is_buy in (False, True):
            excess = sum([claim.left for claim in claims if claim.is_buy is is_buy])
            if excess:
                excess -= self._account.closable_lots(leg, is_buy=is_buy)
            for claim in claims:
                if excess > 0 and claim.is_buy is is_buy:
                    cut = min(excess, claim.left)
                    excess -= cut
                    self._cut(claim, claim.left - cut, at_ns)

    def _cut(self, claim: _Claim, left: int, at_ns: int) -> None:
        """Leave so many size steps of a claim."""
        if claim.waiting_lots > left:
            if at_ns > claim.filled_ns:  # what a fill closes has opened nothing that waits
                self._note(claim, claim.waiting_lots - left, at_ns)
            claim.waiting_lots = left
        for leg in claim.legs:
            if not leg.state.is_final and leg.left > left:
                self._executions.reduce(leg, leg.left - left, POSITION_CLOSED, at_ns)

    def _note(self, claim: _Claim, lots: int, at_ns: int) -> None:
        """Note that so many size steps of a fill were unprotected until now."""
        parent = claim.parent
        instrument = self._executions.listings[parent.instrument].market.instrument
        qty = instrument.qty(lots)
        self.unprotected.append(Unprotected(parent.id, parent.instrument, qty, claim.filled_ns, at_ns))


def _asks(order: ExchangeOrder) -> bool:
    return order.terms is not None and order.terms.has_bracket


def _may_grow(claim: _Claim) -> bool:
    """Whether a pair is in force with all its children."""
    return len(claim.legs) == len(specs_of(claim.parent)) and not any(leg.state.is_final for leg in claim.legs)
