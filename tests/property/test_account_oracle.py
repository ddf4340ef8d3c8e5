"""Random accounts, valued after the fact by the engine and at every row and fill by the oracle: equal to the digit."""

from random import Random

import pytest
from campaign import scaled
from oracle.accounts import AccountCase, account_case, legged
from oracle.match import Told, difference, naive, real

from quantkit.errors import DataError

pytestmark = [pytest.mark.long, pytest.mark.campaign]

WHOLE = 131_072
#: Ways to run the engine: with the search or row by row, in blocks of so many rows.
WAYS = [(search, rows) for search in (False, True) for rows in (1, 7, 64, WHOLE)]


def run_by_oracle(case: AccountCase) -> Told:
    """Run a case row by row in fractions."""
    return naive(case.scenario, strategy=case.strategy())


def run_by_engine(case: AccountCase, *, search: bool, block_rows: int) -> Told:
    """Run a case by the engine."""
    return real(case.scenario, strategy=case.strategy(), search=search, block_rows=block_rows)


def assert_agree(case: AccountCase, ways: list[tuple[bool, int]]) -> Told:
    """Hold the engine against the oracle in some of its ways; return what both say."""
    slow = run_by_oracle(case)
    for search, block_rows in ways:
        if not slow.curve:
            # An account that was never valued has no result, whatever ended the run.
            with pytest.raises(DataError, match="cannot be valued"):
                run_by_engine(case, search=search, block_rows=block_rows)
            continue
        found = difference(slow, run_by_engine(case, search=search, block_rows=block_rows))
        assert not found, f"seed {case.seed}, search={search}, blocks of {block_rows}: {found}"
    return slow


@pytest.mark.parametrize("seed", range(scaled(8)))
def test_the_engine_values_an_account_as_the_oracle_does(seed: int) -> None:
    """Curve, excursions, ledgers, orders, their events, fills, and all that hooks read."""
    assert_agree(account_case(seed), Random(seed).sample(WAYS, 3))


@pytest.mark.parametrize("seed", range(scaled(6)))
def test_the_engine_values_legs_as_the_oracle_does(seed: int) -> None:
    """The same accounts in the long/short mode."""
    assert_agree(legged(account_case(seed)), Random(seed).sample(WAYS, 2))


@pytest.mark.parametrize(
    "seed",
    [
        pytest.param(1055, id="a holding has its first price in a later row of the curve's first moment"),
        pytest.param(1062, id="a settlement currency is ruined before it was ever valued"),
    ],
)
def test_an_account_whose_prices_come_late_is_valued_from_the_first_on(seed: int) -> None:
    """Random markets bring these once in a thousand."""
    assert_agree(account_case(seed), WAYS)
