"""The name of a type means one thing in the whole package, and rooms are named after what they hold."""

import ast
from collections import defaultdict
from pathlib import Path

import quantkit

PACKAGE = Path(quantkit.__file__).parent
#: Names of types that may be used twice, with the reason.
TWICE: dict[str, str] = {"Catalog": "the public one is the stored one with what research reads from it"}
#: Names that hide what a file holds.
EMPTY_NAMES = frozenset({"util", "utils", "helper", "helpers", "common", "misc", "tools"})


def places() -> dict[str, list[str]]:
    """Return where each class and each alias of a type is defined, nested ones too, and each public type variable."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = named_by(node)
            if name:
                found[name].append(f"{file.relative_to(PACKAGE)}:{node.lineno}")
    return found


def named_by(node: ast.AST) -> str:
    """Return the name of a type that a statement gives, empty if it gives none."""
    match node:
        case ast.ClassDef(name=name):
            return name
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation) if ast.unparse(annotation) == "TypeAlias":
            return name
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id="TypeVar"))):
            return "" if name.startswith("_") else name
    return ""


def test_no_name_of_a_type_is_used_twice() -> None:
    """Somebody who reads `Session` must not have to ask which; exceptions are listed with their reason."""
    twice = {name: where for name, where in places().items() if len(where) > 1}
    assert {name: where for name, where in twice.items() if name not in TWICE} == {}
    assert set(TWICE) <= set(twice), "an exception is no longer needed"


def test_the_classes_are_found() -> None:
    """The list above is not empty by mistake."""
    found = places()
    assert len(found) > 300
    assert found["Strategy"] == [f"strategy.py:{found['Strategy'][0].partition(':')[2]}"]
    assert [place.partition(":")[0] for name in ("MarketEvent", "Item") for place in found[name]] == [
        "events.py",
        "feeds/okx/ws/client.py",
    ]


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
