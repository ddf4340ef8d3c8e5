"""What a run leaves behind in its process is found by kind and name."""

import functools
import types

from quantkit.proving.leaks import changed, kept_state

SOURCE = """
import functools
import math

seen = []
LIMIT = 3


class Strategy:
    count = 0

    def decide(self, past=[]):
        return past


def remember(value, *, known={}):
    known[value] = value


@functools.lru_cache
def squared(value):
    return value * value


def counter():
    numbers = []

    def count():
        numbers.append(1)

    return count


tick = counter()
"""


def loaded() -> types.ModuleType:
    """Return a module of its own."""
    module = types.ModuleType("planted")
    exec(SOURCE, vars(module))  # noqa: S102  # a module without a file
    return module


def test_every_kind_of_state_is_named() -> None:
    """Globals, class attributes, defaults, caches, closures."""
    module = loaded()
    before = kept_state([module])
    module.seen.append(1)
    module.Strategy.count = 2
    module.Strategy().decide().append(1)
    module.remember(1)
    module.squared(3)
    module.tick()
    module.remember.calls = 1
    assert set(changed(before, kept_state([module]))) == {
        ("module global", "seen"),
        ("class attribute", "Strategy.count"),
        ("mutable default", "Strategy.decide"),
        ("mutable default", "remember"),
        ("cached function", "squared"),
        ("closure", "counter.<locals>.count"),
        ("function attribute", "remember"),
    }


def test_nothing_that_stays_is_named() -> None:
    """Constants, modules and functions; and what cannot be pickled is compared by its text."""
    module = loaded()
    module.lock = functools.partial(print, lambda: None)  # type: ignore[attr-defined]
    before = kept_state([module])
    assert changed(before, kept_state([module])) == []
