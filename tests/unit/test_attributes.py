"""Every attribute of a class is made when its object is: in `__init__`, its base's, or as a default of the class."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import quantkit

PACKAGE = Path(quantkit.__file__).parent
MAKERS = ("__init__", "__post_init__", "__new__", "__setstate__")


class Attributes:
    """The attributes of one class by its source: those made at once, and those first set by another method."""

    def __init__(self, definition: ast.ClassDef) -> None:
        self.bases = [ast.unparse(base).split("[")[0].rpartition(".")[2] for base in definition.bases]
        self.made = set(defaults(definition))
        self.set_later: dict[str, int] = {}
        for method in definition.body:
            if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
                for name, line in assignments(method):
                    if method.name in MAKERS:
                        self.made.add(name)
                    else:
                        self.set_later.setdefault(name, line)


def defaults(definition: ast.ClassDef) -> Iterator[str]:
    for statement in definition.body:
        if isinstance(statement, ast.Assign):
            yield from (target.id for target in statement.targets if isinstance(target, ast.Name))
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            assert isinstance(statement.target, ast.Name)
            yield statement.target.id
        elif isinstance(statement, ast.FunctionDef) and statement.decorator_list:
            yield statement.name  # a property with a setter is no attribute


def assignments(method: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, int]]:
    for node in ast.walk(method):
        is_set = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
        if is_set and isinstance(node.value, ast.Name) and node.value.id == "self":
            yield node.attr, node.lineno


def late(sources: Mapping[str, str]) -> list[str]:
    """Return `file:line: class.attribute` for every attribute that is not there from the beginning."""
    found = [
        (place, definition.name, Attributes(definition))
        for place, source in sources.items()
        for definition in ast.walk(ast.parse(source))
        if isinstance(definition, ast.ClassDef)
    ]
    classes = {name: attributes for _, name, attributes in found}

    def made(attributes: Attributes) -> set[str]:
        inherited = (made(classes[base]) for base in attributes.bases if base in classes)
        return attributes.made.union(*inherited)

    return [
        f"{place}:{line}: {name}.{attribute}"
        for place, name, attributes in found
        for attribute, line in attributes.set_later.items()
        if attribute not in made(attributes)
    ]


def test_no_attribute_comes_later() -> None:
    sources = {str(path.relative_to(PACKAGE)): path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    assert len(sources) > 100
    assert late(sources) == []


def test_a_late_attribute_is_found() -> None:
    source = """
class Base:
    def __init__(self):
        self.there = 1

class Late(Base):
    default = 0

    def go(self):
        self.there = self.default = 2
        self.new = 3
"""
    assert late({"late.py": source}) == ["late.py:11: Late.new"]
