"""Objects of a strategy that work orders by themselves: they hear of orders and their own timers before its hooks."""

from quantkit.orders import Order
from quantkit.strategy import ExecAlgorithm


class Algorithms:
    """Tells algorithms what has happened, in the order in which they began.

    Attributes:
        names: Of the timers of all of them.
        active: Those that are not over, by the name of their timers.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.active: dict[str, ExecAlgorithm] = {}

    def follow(self, algorithm: ExecAlgorithm) -> str:
        """Tell an algorithm of orders and timers from now on; return the name of its timers."""
        name = f"quantkit {type(algorithm).__name__} {len(self.names) + 1}"
        self.names.add(name)
        self.active[name] = algorithm
        return name

    def on_order(self, order: Order) -> None:
        """Tell of an order's news."""
        for name, algorithm in list(self.active.items()):
            if not algorithm.is_over:
                algorithm.on_order(order)
            if algorithm.is_over:
                del self.active[name]

    def on_timer(self, name: str) -> None:
        """Tell of a timer's moment; one of an algorithm that is over has no effect."""
        algorithm = self.active.get(name)
        if algorithm is not None and not algorithm.is_over:
            algorithm.on_timer(name)
