"""A broker's answer where nobody here knows how much of an order an account would take."""

from collections.abc import Sequence

from quantkit.brokers.base import AskedOrder
from quantkit.orders import Order


class AnyRoom:
    """Takes any size: what an exchange elsewhere takes, it says itself."""

    def most_lots(self, order: Order, price_ticks: int, others: Sequence[AskedOrder]) -> int:
        """Return all lots of an order."""
        return order.lots

    def amount_refusal(self, order: Order) -> str:
        """Return why no order travels with its money."""
        return "is not what this exchange takes; leave it out"
