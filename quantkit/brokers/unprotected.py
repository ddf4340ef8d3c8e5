"""Fills that waited for their stop and target, and how long."""

from collections.abc import Sequence

import msgspec

from quantkit.clock import NS_PER_S


class Unprotected(msgspec.Struct, frozen=True, gc=False):
    """A fill of an order with a bracket, or a part of one, until its children were in force or it was closed.

    Attributes:
        order_id: The order that filled.
        from_ns, to_ns: By the exchange's clock.
    """

    order_id: str
    instrument: str
    qty: float
    from_ns: int
    to_ns: int


def mean_s(waits: Sequence[Unprotected]) -> float:
    """Return how long a unit of what was filled waited on average; 0 where nothing did.

    Examples:
        >>> mean_s([Unprotected("bt1", "X", 1.0, 0, 20_000_000), Unprotected("bt1", "X", 3.0, 0, 40_000_000)])
        0.035
    """
    size = sum([wait.qty for wait in waits])
    return sum([wait.qty * (wait.to_ns - wait.from_ns) for wait in waits]) / size / NS_PER_S if size else 0.0


def total_s(waits: Sequence[Unprotected]) -> float:
    """Return the time in which anything waited.

    Examples:
        >>> total_s([Unprotected("bt1", "X", 1.0, 0, 20_000_000), Unprotected("bt2", "Y", 3.0, 10_000_000, 40_000_000)])
        0.04
    """
    total_ns, until_ns = 0, 0
    for from_ns, to_ns in sorted([(wait.from_ns, wait.to_ns) for wait in waits]):
        total_ns += max(0, to_ns - max(from_ns, until_ns))
        until_ns = max(until_ns, to_ns)
    return total_ns / NS_PER_S
