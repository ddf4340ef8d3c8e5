"""OCO groups: what one of their orders fills, the others lose at the same instant."""

from typing import Final

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.executions import Executions
from quantkit.orders import OrderState

#: The reason of what a fill of its group does to an order.
OCO: Final = "oco"


class _Group:
    """One group.

    Attributes:
        orders: Those that were let in, in the order of their arrival.
        sizes: The most that each of them was ever to have, by id.
        filled_lots: Of all of them.
    """

    __slots__ = ("filled_lots", "orders", "sizes")

    def __init__(self) -> None:
        self.orders: list[ExchangeOrder] = []
        self.sizes: dict[str, int] = {}
        self.filled_lots = 0


class OcoGroups:
    """The groups of all instruments; an order without a group costs it nothing.

    All orders of a group together never fill more than the largest of them: each has what its own size leaves after the
    fills of all the others.

    Args:
        executions: Makes orders smaller.

    Attributes:
        is_following: Whether there has been a group.
    """

    def __init__(self, executions: Executions) -> None:
        self.is_following = False
        self._executions = executions
        self._groups: dict[tuple[str, str], _Group] = {}

    def _of(self, order: ExchangeOrder) -> _Group | None:
        """Return the group that an order says it is in, None where none of that has been let in."""
        return None if order.terms is None else self._groups.get((order.instrument, order.terms.oco_group))

    def left_of(self, order: ExchangeOrder) -> int:
        """Return what the fills of its group leave of an order that arrives."""
        group = self._of(order)
        return order.lots if group is None else order.lots - group.filled_lots

    def join(self, order: ExchangeOrder, lots: int) -> None:
        """Let an order in that was sent with so many size steps."""
        assert order.terms is not None
        group = self._groups.setdefault((order.instrument, order.terms.oco_group), _Group())
        group.orders.append(order)
        group.sizes[order.id] = lots
        self.is_following = True

    def amended(self, order: ExchangeOrder, lots: int) -> int:
        """Return the whole size that an order would get by a change to `lots`."""
        group = self._of(order)
        if group is None:
            return lots
        return min(lots, max(lots, *group.sizes.values()) - (group.filled_lots - order.filled_lots))

    def change(self, order: ExchangeOrder, lots: int) -> None:
        """Take note of a change to `lots` that was let in."""
        group = self._of(order)
        if group is not None:
            group.sizes[order.id] = max(group.sizes[order.id], lots)

    def grow(self, order: ExchangeOrder, lots: int) -> None:
        """Take note that the exchange itself has made an order larger by so many size steps."""
        group = self._of(order)
        assert group is not None
        group.sizes[order.id] += lots

    def after_fill(self, order: ExchangeOrder, lots: int, at_ns: int) -> None:
        group = self._of(order)
        if group is None:
            return
        group.filled_lots += lots
        for other in tuple(group.orders):
            if other is not order and not other.state.is_final:
                self._executions.reduce(other, min(lots, other.left), OCO, at_ns)

    def after_change(self, order: ExchangeOrder, at_ns: int) -> None: ...

    def after_end(self, order: ExchangeOrder, at_ns: int) -> None:
        group = self._of(order)
        if group is not None and order in group.orders:
            group.orders.remove(order)
            if order.state is OrderState.REJECTED:
                del group.sizes[order.id]
