"""Books while orders rest, in long random markets: the search, row by row, and the oracle give the same run."""

import pytest
from campaign import scaled
from oracle.match import difference, naive, real
from oracle.resting import resting_scenario, resting_script
from oracle.scripted import Scripted

pytestmark = [pytest.mark.long, pytest.mark.campaign]

WHOLE = 131_072


@pytest.mark.parametrize("seed", range(scaled(4)))
def test_resting_orders_fill_the_same_whoever_looks(seed: int) -> None:
    """Fills, queues, reports, curve and what hooks read; in one block, and in blocks of 40 rows."""
    scenario = resting_scenario(seed)

    def fresh() -> Scripted:
        return scenario.strategy_with(resting_script(seed))

    slow = naive(scenario, strategy=fresh())
    for search, block_rows in ((False, WHOLE), (True, WHOLE), (True, 40)):
        told = real(scenario, search=search, block_rows=block_rows, strategy=fresh())
        found = difference(slow, told)
        assert not found, f"search={search}, blocks of {block_rows}: {found}"
    assert slow.fills
