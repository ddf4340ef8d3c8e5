"""The names of OCO groups: a name that a strategy uses again stands for a new group once the old one is over."""

from quantkit.errors import OrderError
from quantkit.orders import OWN_SIGN, Order


class _Named:
    """The latest group of a name.

    Attributes:
        group: What it is called: the name, from the second group on with its number.
        number: How many groups have had the name.
        instrument: That of its orders.
        orders: Those that were not over when looked at last.
    """

    __slots__ = ("group", "instrument", "number", "orders")

    def __init__(self, group: str, instrument: str, number: int) -> None:
        self.group = group
        self.instrument = instrument
        self.number = number
        self.orders: list[Order] = []


class OcoNames:
    """Says which group a name stands for at the moment."""

    def __init__(self) -> None:
        self._named: dict[str, _Named] = {}

    def group_of(self, name: str, instrument: str, where: str) -> str:
        """Return the group that an order sent now is in; a call that is refused in the end leaves nothing behind.

        Raises:
            OrderError: The group has orders in another instrument.
        """
        named = self._named.get(name)
        if named is None:
            return name
        named.orders = [order for order in named.orders if order.is_open]
        if not named.orders:
            return f"{name}{OWN_SIGN}{named.number + 1}"
        if named.instrument != instrument:
            raise OrderError(
                f"{where}: oco_group {name!r} has orders in {named.instrument}; a group is of one instrument"
            )
        return named.group

    def add(self, name: str, order: Order) -> None:
        """Count an order in that has just been sent."""
        named = self._named.get(name)
        if named is None or named.group != order.oco_group:
            number = 1 if named is None else named.number + 1
            named = self._named[name] = _Named(order.oco_group, order.instrument, number)
        named.orders.append(order)
