"""The band of prices in which nothing can happen to the orders of an instrument."""

from typing import Final

import msgspec


class PriceBand(msgspec.Struct, frozen=True, gc=False):
    """While `low < price < high`, nothing happens; equality is a hit."""

    low: float
    high: float


#: How far beside a level a band ends, in price steps towards the middle; half a step is hit by every price that rounds
#: to the level, and a hundredth more forgives float noise.
AT_LEVEL: Final = 0.51
#: The same where only prices beyond the level are hits, not those at it.
PAST_LEVEL: Final = -0.49

OPEN_BAND: Final = PriceBand(float("-inf"), float("inf"))
#: No price is within it.
SHUT_BAND: Final = PriceBand(float("inf"), float("-inf"))
