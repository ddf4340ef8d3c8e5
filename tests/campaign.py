"""How far campaigns go: tests over random seeds, kills and flipped bits whose number one setting scales."""

import os

#: 1 in `pytest`, 10 in `.ci/run`, 1000 by hand; `QUANTKIT_CAMPAIGN` sets it.
SCALE = int(os.environ.get("QUANTKIT_CAMPAIGN", "1"))


def scaled(count: int) -> int:
    """Return how many cases a campaign tries where a plain run of the tests tries `count`."""
    return count * SCALE
