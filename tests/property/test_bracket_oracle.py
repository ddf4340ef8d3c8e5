"""Brackets and OCO groups in random markets: the oracle, the search and row by row give the same run."""

import pytest
from campaign import scaled
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as generators
from oracle.contingent import with_groups
from oracle.match import difference, naive, real
from oracle.scenarios import Scenario, scenarios

pytestmark = [pytest.mark.long, pytest.mark.campaign]

KINDS = ("book", "ticker", "trade", "candle")
QUICK = settings(deadline=None, max_examples=scaled(15), suppress_health_check=list(HealthCheck))
SEEDS = generators.integers(0, 2**32 - 1)


@pytest.mark.parametrize("kind", KINDS)
@QUICK
@given(data=generators.data(), seed=SEEDS)
def test_oracle_search_and_blocks_agree_on_groups(kind: str, data: generators.DataObject, seed: int) -> None:
    """Children, their ids and news, fills, ledgers and curves, on each kind of data."""
    assert_all_agree(with_groups(data.draw(scenarios((kind,))), seed))


@QUICK
@given(scenario=scenarios(), seed=SEEDS)
def test_oracle_search_and_blocks_agree_on_groups_in_mixed_markets(scenario: Scenario, seed: int) -> None:
    """Of two instruments at once."""
    assert_all_agree(with_groups(scenario, seed))


@QUICK
@given(scenario=scenarios(), seed=SEEDS, search=generators.booleans())
def test_groups_on_rows_that_drip_as_they_do_live(scenario: Scenario, seed: int, search: bool) -> None:
    """However few rows come at a time."""
    grouped = with_groups(scenario, seed)
    found = difference(real(grouped), real(grouped, search=search, drip_seed=seed))
    assert not found, found


def assert_all_agree(scenario: Scenario) -> None:
    """Run a scenario in every way and hold the results against each other."""
    slow = real(scenario, search=False)
    for name, other in (
        ("the oracle", naive(scenario)),
        ("the search", real(scenario, search=True)),
        ("blocks of one row", real(scenario, search=True, block_rows=1)),
    ):
        found = difference(slow, other)
        assert not found, f"{name} differs: {found}"
