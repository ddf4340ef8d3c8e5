"""The band of prices in which nothing can happen to the orders of an instrument."""

from typing import Final, NamedTuple

from quantkit.clock import NEVER_NS


class PriceBand(NamedTuple):
    """While `low < price < high` and the time is before `until_ns`, nothing happens; equality is a hit."""

    low: float
    high: float
    until_ns: int


OPEN_BAND: Final = PriceBand(float("-inf"), float("inf"), NEVER_NS)
