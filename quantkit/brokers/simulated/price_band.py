"""The band of prices in which nothing can happen to the orders of an instrument."""

from typing import Final

import msgspec


class PriceBand(msgspec.Struct, frozen=True, gc=False):
    """While `low < price < high`, nothing happens; equality is a hit."""

    low: float
    high: float


OPEN_BAND: Final = PriceBand(float("-inf"), float("inf"))
#: No price is within it.
SHUT_BAND: Final = PriceBand(float("inf"), float("-inf"))
