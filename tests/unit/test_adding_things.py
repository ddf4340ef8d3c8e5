"""A new kind of event is added to one table: no other module lists the kinds."""

import ast
from pathlib import Path

from quantkit.events import EVENT_KINDS

PACKAGE = Path(__file__).parents[2] / "quantkit"
#: A list of more kinds than this is a second table, which a new kind would have to be added to.
MOST_NAMED = len(EVENT_KINDS) // 2


def sources() -> dict[str, str]:
    """Return every module of the package by its path."""
    return {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))
    }


def test_no_other_module_lists_the_kinds() -> None:
    """A module may treat some kinds in its own way; one that names most of them has a table of its own."""
    allowed = {"events.py", "feeds/okx/codec/channels.py"}
    found = {path for path, text in sources().items() if _names_most(ast.parse(text))}
    assert found <= allowed
    assert "events.py" in {path for path, text in sources().items() if "EVENT_KINDS: Final" in text}


def test_a_list_of_kinds_would_be_noticed() -> None:
    """As a dictionary, a tuple or the cases of a match."""
    kinds = list(EVENT_KINDS)
    entries = ", ".join(f"{kind!r}: 1" for kind in kinds)
    cases = "".join(f"\n    case {kind!r}:\n        pass" for kind in kinds)
    for code in (f"A = {{{entries}}}", f"A = {tuple(kinds)}", f"match a:{cases}", f"A = {set(kinds)}"):
        assert _names_most(ast.parse(code))
    assert not _names_most(ast.parse(f"A = {tuple(kinds[:MOST_NAMED])}"))


def _names_most(tree: ast.Module) -> bool:
    return any(len(_named_in(node)) > MOST_NAMED for node in ast.walk(tree))


def _named_in(node: ast.AST) -> set[str]:
    """Return the kinds that a literal's own entries, or a match's own cases, name."""
    match node:
        case ast.Dict(keys=entries):
            found = [entry for entry in entries if entry is not None]
        case ast.Tuple(elts=found) | ast.List(elts=found) | ast.Set(elts=found):
            pass
        case ast.Match(cases=cases):
            patterns = [each for case in cases for each in ast.walk(case.pattern)]
            found = [each.value for each in patterns if isinstance(each, ast.MatchValue)]
        case _:
            return set()
    return {each.value for each in found if isinstance(each, ast.Constant) and each.value in EVENT_KINDS}
