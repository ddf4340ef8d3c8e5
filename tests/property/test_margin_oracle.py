"""Random accounts under margin: the engine, with its bands and in any blocks, equals the oracle that judges every mark.

The oracle asserts at each liquidation that what is lost is the margin and no more.
"""

from random import Random

import pytest
from campaign import scaled
from oracle.accounts import AccountCase, legged, margin_case, shortened
from oracle.match import Told, difference, naive, real

from quantkit.errors import DataError

WHOLE = 131_072
WAYS = [(search, rows) for search in (False, True) for rows in (1, 7, 64, WHOLE)]


def agreed(case: AccountCase, ways: list[tuple[bool, int]]) -> Told:
    """Hold the engine against the oracle; return what both say."""
    slow = naive(case.scenario, strategy=case.strategy())
    for search, block_rows in ways:
        if not slow.curve:
            with pytest.raises(DataError, match="cannot be valued"):
                real(case.scenario, strategy=case.strategy(), search=search, block_rows=block_rows)
            continue
        found = difference(slow, real(case.scenario, strategy=case.strategy(), search=search, block_rows=block_rows))
        assert not found, f"seed {case.seed}, search={search}, blocks of {block_rows}: {found}"
    return slow


def liquidations(told: Told) -> int:
    return sum(order[0].startswith("liquidation") for order in told.orders)


@pytest.mark.long
@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(1_000, 1_000 + scaled(8)))
def test_the_engine_liquidates_as_the_oracle_does(seed: int) -> None:
    """Orders, their events, fills, curve, ledgers, and all that hooks read."""
    agreed(margin_case(seed), Random(seed).sample(WAYS, 2))


@pytest.mark.long
@pytest.mark.parametrize(
    ("seed", "count"),
    [
        pytest.param(330, 13, id="isolated, books and trades"),
        pytest.param(371, 9, id="isolated, tickers and trades"),
        pytest.param(353, 3, id="cross, candles, two currencies"),
        pytest.param(413, 2, id="cross, a book"),
        pytest.param(363, 2, id="cross, and nothing is left"),
        pytest.param(334, 4, id="a hook raises"),
    ],
)
def test_liquidations_of_every_kind(seed: int, count: int) -> None:
    assert liquidations(agreed(margin_case(seed), [(False, 7), (True, WHOLE)])) == count


@pytest.mark.long
@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(2_000, 2_000 + scaled(6)))
def test_the_engine_liquidates_legs_as_the_oracle_does(seed: int) -> None:
    """In the long/short mode."""
    agreed(legged(margin_case(seed)), Random(seed).sample(WAYS, 2))


@pytest.mark.parametrize(("seed", "count"), [pytest.param(53, 4, id="isolated"), pytest.param(119, 4, id="cross")])
def test_legs_are_liquidated_alone_or_together(seed: int, count: int) -> None:
    assert liquidations(agreed(legged(margin_case(seed)), [(False, 64), (True, WHOLE)])) == count


@pytest.mark.parametrize("seed", [371, 392, 414])
def test_a_cut_future_changes_nothing_before(seed: int) -> None:
    """All that hooks saw and did until then, liquidations among it."""
    case = margin_case(seed)
    whole = real(case.scenario, strategy=case.strategy())
    stamps = [event.received_ns for event in case.scenario.events]
    for share in (0.4, 0.7, 0.9):
        until_ns = sorted(stamps)[int(share * len(stamps))]
        part = shortened(case, until_ns)
        told = real(part.scenario, strategy=part.strategy())
        assert [each for each in told.trace if each[0] < until_ns] == [
            each for each in whole.trace if each[0] < until_ns
        ]
