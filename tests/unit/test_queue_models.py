"""Places in a level's queue: the hand-made tables of docs/fills.md, and what every model obeys."""

from collections.abc import Collection

import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators
from oracle.queues import Queue

from quantkit.errors import ConfigError
from quantkit.queue_models import QUEUE_MODELS, REMEMBERED, QueuePlace, queue_model

NAMES = [name.replace(":N", f":{power}") for name in QUEUE_MODELS for power in ((2, 0.5, 3) if ":N" in name else (1,))]
#: Size shown (above zero) or printed (below), one after the other.
STEPS = generators.lists(generators.integers(-9, 30).filter(bool), max_size=12)


def places(name: str, joined: int | None, steps: list[int], late: Collection[int] = ()) -> list[int | None]:
    """Return what is ahead on joining and after each step; prints at `late` are stamped before the row before them."""
    model, place = queue_model(name), QueuePlace()
    model.join(place, joined)
    found = [place.ahead]
    for number, step in enumerate(steps):
        if step > 0:
            model.see(place, step, 10 * number)
        elif place.ahead is not None:
            model.take_print(place, -step, 10 * number - (15 if number in late else 0))
        found.append(place.ahead)
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("risk_averse", [8, 8, 6, 6, 4]),
        ("front", [0, 0, 0, 0, 0]),
        ("proportional", [8, 8, 6, 5, 3]),
        # At 30: B 4, F 6, p 16/52, from behind 0.92, in front 2.08 of 6; at 40: B 3, F 4, p 9/25, 1.08, 1.92 of 4.
        ("power:2", [8, 8, 6, 4, 3]),
        # p 0.16 and then 0.18: of three 0.48 and 0.55 from behind.
        ("power2:2", [8, 8, 6, 4, 2]),
        # p 0.64: 1.92 from behind; then B 2, F 5, p 0.49: 1.47.
        ("power3:2", [8, 8, 6, 5, 4]),
        # p log 5/(log 5 + log 7) 0.453: 1.36 from behind; then B 2, F 5: 0.38, 1.14.
        ("log", [8, 8, 6, 5, 4]),
        # p log 5/log 11 0.671: 2.01 from behind, 6 - 0.99; then B 1, F 6: p 0.33 of three, 1.00 from behind.
        ("log2", [8, 8, 6, 6, 4]),
    ],
)
def test_the_models_differ_in_who_cancelled(name: str, expected: list[int]) -> None:
    """The timeline of docs/fills.md."""
    assert places(name, 8, [12, -2, 7, 4]) == expected


def test_a_trade_is_not_counted_again_when_the_level_shrinks() -> None:
    assert places("proportional", 10, [-4, 6]) == [10, 6, 6]
    assert places("proportional", 10, [12, -4, 8]) == [10, 10, 6, 6]


def test_what_exceeds_the_size_behind_came_from_the_front() -> None:
    # One behind; of five cancels the model puts 5 x 0.98 behind, where only one stood.
    assert places("power3:100", 9, [10, 5]) == [9, 9, 5]
    assert places("power2:0.01", 9, [10, 6]) == [9, 9, 6]


@pytest.mark.parametrize(
    ("name", "steps", "expected"),
    [
        # The level shrinks by the sale of 3, which comes in after it.
        ("risk_averse", [8, 5, -3], [8, 8, 5, 5]),
        ("proportional", [12, 9, -3], [8, 8, 6, 5]),
        ("front", [12, 9, -3], [0, 0, 0, 0]),
    ],
)
def test_a_trade_that_an_update_has_shown_already_counts_once(name: str, steps: list[int], expected: list[int]) -> None:
    """As if it had come in before it."""
    assert places(name, 8, steps, late={2}) == expected
    assert places(name, 8, [steps[0], steps[2], steps[1]])[-1] == expected[-1]
    assert places(name, 8, steps)[-1] == max(0, expected[-2] - 3)


def test_only_the_last_updates_are_gone_back_on() -> None:
    """What moved the place before that stays."""
    model, place, twin = queue_model("risk_averse"), QueuePlace(), Queue()
    model.join(place, 100)
    twin.join(100)
    for number in range(12):
        model.see(place, 99 - number, number + 1)
        twin.shown(99 - number, number + 1)
    assert len(place.moves) == REMEMBERED
    before = model.take_print(place, 10, 0)
    assert (before, place.ahead) == (twin.traded(10, 0), twin.ahead) == (96, 86)


def test_an_unknown_place_is_at_the_back_when_the_level_is_first_shown() -> None:
    assert places("risk_averse", None, [5, 3]) == [None, 5, 3]
    assert places("proportional", None, [5, -1, 3]) == [None, 5, 4, 3]
    assert places("front", None, [5, -1]) == [0, 0, 0]


def test_nothing_is_read_out_of_a_gap() -> None:
    model, place = queue_model("proportional"), QueuePlace()
    model.join(place, 10)
    model.see(place, 20, 0)
    model.lose_sight(place)
    model.see(place, 12, 1)
    assert place.ahead == 10
    model.see(place, 6, 2)  # half of the twelve: five of ten
    assert place.ahead == 5


@pytest.mark.parametrize("name", NAMES)
@given(
    joined=generators.none() | generators.integers(0, 30), steps=STEPS, late=generators.sets(generators.integers(0, 11))
)
@settings(max_examples=40)
def test_every_model_keeps_within_its_bounds(name: str, joined: int | None, steps: list[int], late: set[int]) -> None:
    """Never growing, never below nothing or beyond the level, between `front` and `risk_averse`, as counted twice."""
    found, worst, best = (places(each, joined, steps, late) for each in (name, "risk_averse", "front"))
    twin = Queue(name)
    twin.join(joined)
    for number, step in enumerate(steps):
        now, before = found[number + 1], found[number]
        if step > 0:
            twin.shown(step, 10 * number)
            assert now is not None
            assert now <= step
        elif twin.ahead is not None:
            twin.traded(-step, 10 * number - (15 if number in late else 0))
        assert twin.ahead == now
        if now is not None:
            assert before is None or now <= before
            assert 0 <= (best[number + 1] or 0) <= now
            assert worst[number + 1] is None or now <= worst[number + 1]


@pytest.mark.parametrize(
    "name", ["", "best", "power", "power:", "power:0", "power:-1", "power:101", "log:2", "power:x", 3]
)
def test_another_name_is_refused_in_one_line(name: object) -> None:
    with pytest.raises(ConfigError, match="queue_model") as raised:
        queue_model(name)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
