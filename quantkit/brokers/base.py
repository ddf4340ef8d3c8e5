"""What every broker offers: orders in, reports out."""

from typing import NamedTuple, Protocol

from quantkit.orders import Fill, Order, OrderState


class Report(NamedTuple):
    """News of one order on its way to the strategy, due at `due_ns`.

    `lots` and `price_ticks` restate the order's size and price, which an amend may have changed.
    """

    due_ns: int
    number: int
    order_id: str
    state: OrderState
    reason: str
    at_ns: int
    lots: int
    price_ticks: int | None
    fill: Fill | None


class Decision(NamedTuple):
    """A message that the strategy sent at `at_ns`: a new order, a cancel or a change. `lots` and prices count steps."""

    at_ns: int
    kind: str  # submit, cancel or amend
    order_id: str
    instrument: str
    side: str
    lots: int | None
    limit: int | None
    stop: int | None
    time_in_force: str
    post_only: bool
    reduce_only: bool
    tag: str


class Broker(Protocol):
    """Takes orders and says later what became of them."""

    def submit(self, order: Order, now_ns: int) -> int:
        """Send a new order on its way and return when it left, which is `now_ns` at the earliest."""
        ...

    def cancel(self, order_id: str, now_ns: int) -> None:
        """Send a cancel on its way; one that comes too late changes nothing."""
        ...

    def amend(self, order_id: str, now_ns: int, *, lots: int | None, price_ticks: int | None) -> None:
        """Send a change of size or limit price on its way."""
        ...
