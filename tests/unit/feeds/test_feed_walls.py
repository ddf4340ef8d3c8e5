"""Walls that import-linter cannot see: single names of `quantkit.clock`, and feeds that do not exist yet."""

import ast
from pathlib import Path

import quantkit

ROOT = Path(quantkit.__file__).parent
FEEDS = ROOT / "feeds"
#: The rooms of a feed whose output follows from its input alone.
PURE_ROOMS = ("codec", "tracker")


def imports(path: Path) -> list[tuple[str, str]]:
    """Return each (module, name) that a file imports; the name is empty for a whole module."""
    found: list[tuple[str, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found += [(node.module or "", alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names]
    return found


def clock_readers() -> set[str]:
    """Return the functions of `quantkit.clock` that read the machine's time, directly or through each other."""
    tree = ast.parse((ROOT / "clock.py").read_text(encoding="utf-8"))
    names = {
        function.name: {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        for function in tree.body
        if isinstance(function, ast.FunctionDef)
    }
    found: set[str] = {"time"}
    while more := {name for name, used in names.items() if used & found} - found:
        found |= more
    return found - {"time"}


def test_the_readers_of_the_machines_clock_are_found() -> None:
    assert clock_readers() == {"wall_ns", "latest_epoch_ns", "monotonic_s", "cpu_ns"}


def test_parsing_takes_only_arithmetic_from_the_clock() -> None:
    forbidden = clock_readers() | {"", "*"}
    files = [file for room in PURE_ROOMS for file in FEEDS.glob(f"*/{room}/*.py")]
    assert files
    for file in files:
        for module, name in imports(file):
            assert (module, name) != ("quantkit", "clock"), file
            assert module != "quantkit.clock" or name not in forbidden, f"{file} reads the machine's clock: {name}"


def test_an_exchange_knows_no_other_exchange_and_no_shared_part_knows_one() -> None:
    exchanges = {folder.name for folder in FEEDS.iterdir() if (folder / "__init__.py").exists()}
    assert "okx" in exchanges
    for file in FEEDS.rglob("*.py"):
        place = file.relative_to(FEEDS).parts
        own = place[0] if len(place) > 1 else ""
        for module, name in imports(file):
            parts = f"{module}.{name}".split(".")
            other = parts[2] if parts[:2] == ["quantkit", "feeds"] and len(parts) > 2 else ""
            assert other not in exchanges - {own}, f"{file} imports {module}"
