"""Every example in the package's docstrings runs and gives what it shows."""

import doctest
import importlib
import pkgutil
from collections.abc import Iterator

import pytest

import quantkit


def names() -> Iterator[str]:
    """Yield every module of the package."""
    yield "quantkit"
    for module in pkgutil.walk_packages(quantkit.__path__, "quantkit."):
        yield module.name


def examples() -> list[doctest.DocTest]:
    """Return the docstrings that hold an example."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = [test for name in names() for test in finder.find(importlib.import_module(name), name)]
    return [test for test in found if test.examples]


def test_there_are_examples() -> None:
    """The list below is not empty by mistake."""
    assert len(examples()) >= 10
    assert {test.name.split(".")[1] for test in examples()} >= {"indicators", "instruments", "report"}


@pytest.mark.parametrize("test", examples(), ids=lambda test: test.name)
def test_the_example_runs(test: doctest.DocTest) -> None:
    """Letter by letter; `np` alone is taken as known."""
    test.globs.setdefault("np", importlib.import_module("numpy"))
    said: list[str] = []
    outcome = doctest.DocTestRunner(optionflags=doctest.FAIL_FAST).run(test, out=said.append)
    assert outcome.failed == 0, "".join(said)
    assert outcome.attempted == len(test.examples)
