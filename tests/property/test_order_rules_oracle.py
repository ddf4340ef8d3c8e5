"""OKX's order rules in engine and oracle: refusals, bands and self-trade prevention, in every kind of data."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as generators
from oracle.contingent import with_groups
from oracle.legs import with_legs
from oracle.match import difference, naive, real
from oracle.scenarios import Scenario, scenarios

from quantkit.clock import NS_PER_MS
from quantkit.venue_rules.okx import STP_MODES

pytestmark = pytest.mark.long


@pytest.mark.parametrize("kind", ["book", "ticker", "trade", "candle"])
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=generators.data(), mode=generators.sampled_from(STP_MODES))
def test_oracle_search_and_blocks_agree_under_the_rules(kind: str, data: generators.DataObject, mode: str) -> None:
    """Every scenario has the rules on, and price limits where it drew some."""
    drawn = data.draw(scenarios((kind,)))
    assert_all_agree(replace(drawn, venue_rules="okx", stp_mode=mode, equity_every_ns=5 * NS_PER_MS))


@pytest.mark.parametrize("kind", ["book", "ticker", "trade", "candle"])
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=generators.data(), mode=generators.sampled_from(STP_MODES), seed=generators.integers(0, 10**6))
def test_they_agree_in_the_long_short_mode(kind: str, data: generators.DataObject, mode: str, seed: int) -> None:
    """Closing orders of a leg are cut and displaced by each other, and those of the other leg leave them alone."""
    drawn = data.draw(scenarios((kind,)))
    drawn = with_legs(with_groups(drawn, seed) if seed % 2 else drawn, seed)
    assert_all_agree(replace(drawn, venue_rules="okx", stp_mode=mode, equity_every_ns=5 * NS_PER_MS))


def assert_all_agree(scenario: Scenario) -> None:
    """Compare the oracle and every way of running the engine with the plain one."""
    slow = real(scenario, search=False)
    for name, other in (
        ("the oracle", naive(scenario)),
        ("the search", real(scenario, search=True)),
        ("blocks of three rows", real(scenario, search=True, block_rows=3)),
    ):
        found = difference(slow, other)
        assert not found, f"{name} differs: {found}"
