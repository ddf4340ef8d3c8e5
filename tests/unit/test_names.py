"""A class name means one thing in the whole package, and rooms are named after what they hold."""

import ast
from collections import defaultdict
from pathlib import Path

import quantkit

PACKAGE = Path(quantkit.__file__).parent
#: Class names that may be used twice, with the reason.
TWICE: dict[str, str] = {}
#: Names that hide what a file holds.
EMPTY_NAMES = frozenset({"util", "utils", "helper", "helpers", "common", "misc", "tools"})


def places() -> dict[str, list[str]]:
    """Return where each class of the package is defined, nested ones too."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(f"{file.relative_to(PACKAGE)}:{node.lineno}")
    return found


def test_no_class_name_is_used_twice() -> None:
    """Somebody who reads `Session` must not have to ask which; exceptions are listed with their reason."""
    twice = {name: where for name, where in places().items() if len(where) > 1}
    assert {name: where for name, where in twice.items() if name not in TWICE} == {}
    assert set(TWICE) <= set(twice), "an exception is no longer needed"


def test_the_classes_are_found() -> None:
    """The list above is not empty by mistake."""
    found = places()
    assert len(found) > 300
    assert found["Strategy"] == [f"strategy.py:{found['Strategy'][0].partition(':')[2]}"]


def test_no_file_is_called_after_nothing() -> None:
    """A function without a home shows a missing noun."""
    named = [file.relative_to(PACKAGE) for file in PACKAGE.rglob("*") if file.stem in EMPTY_NAMES]
    assert named == []


def test_every_file_opens_with_a_sentence_about_its_content() -> None:
    """On one line, ended by a full stop, a colon or an explanation below."""
    for file in sorted(PACKAGE.rglob("*.py")):
        said = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
        assert said, f"{file.relative_to(PACKAGE)} does not say what it holds"
        assert said.splitlines()[0].endswith((".", ":")), file.relative_to(PACKAGE)
