"""Swarms of forced disconnects in virtual time: nothing wrong, nothing twice, nothing lost in silence.

A campaign: a plain run tries a seed for each way of losing a connection, `.ci/run` all of them: more than a thousand
disconnects.
"""

import pytest
from campaign import scaled
from simulation.swarm import DISCONNECTS, Swarm
from simulation.virtual import simulate

pytestmark = [pytest.mark.long, pytest.mark.campaign]

_ALL = 40
#: One for each way of losing a connection.
_FEW = len(DISCONNECTS)
#: And those that once showed a fault that the others do not.
_SEEDS = (*range(min(scaled(_FEW), _ALL)), 1059, 1139, 1151)
#: Forced disconnects of each seed: more than a thousand in all.
_DISCONNECTS = 28


async def _run(seed: int, disconnects: int) -> Swarm:
    swarm = Swarm(seed)
    await swarm.run(disconnects=disconnects)
    return swarm


@pytest.mark.parametrize("seed", _SEEDS)
def test_a_swarm_of_faults_leaves_no_wrong_book_and_no_silent_loss(seed: int) -> None:
    swarm = simulate(_run(seed, _DISCONNECTS), seed=seed)
    swarm.check()
    assert len(swarm.tape.losses) >= _DISCONNECTS
    assert swarm.witness.books_checked > 100


def test_the_swarms_lose_connections_in_every_way() -> None:
    assert (_ALL + 3) * _DISCONNECTS >= 1_000
    assert {DISCONNECTS[seed % len(DISCONNECTS)] for seed in _SEEDS} == set(DISCONNECTS)


def test_the_same_seed_gives_the_same_events() -> None:
    first, second, other = (simulate(_run(seed, 8), seed=seed).consumer.events for seed in (5, 5, 6))
    assert first == second
    assert first != other
