"""Strategies use the front door: what examples, notebooks and the starter import is public."""

import ast
import json
from pathlib import Path

import pytest

import quantkit
from quantkit import indicators
from quantkit.starter import _TEMPLATE

ROOT = Path(__file__).parents[2]
#: Modules that a strategy may name; everything else is behind the door.
OPEN = {"quantkit": {*quantkit.__all__, "__version__"}, "quantkit.indicators": set(indicators.__all__)}


def sources() -> dict[str, str]:
    """Return the code of each example, notebook and template, by name."""
    found = {file.name: file.read_text(encoding="utf-8") for file in (ROOT / "strategies").rglob("*.py")}
    for file in (ROOT / "notebooks").rglob("*.ipynb"):
        cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
        found[file.name] = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    found["the starter"] = _TEMPLATE.format(title="Mine", name="Mine", instrument="BTC-USDT", interval="1h")
    return dict(sorted(found.items()))


SOURCES = sources()


def private_names(code: str) -> set[str]:
    """Return what a source takes of quantkit that is not public.

    Examples:
        >>> sorted(private_names("import quantkit as qk, quantkit.engine\\nfrom quantkit.orders import Order\\nqk.run"))
        ['quantkit.engine', 'quantkit.orders', 'quantkit.run']
    """
    found, aliases = set(), {}
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for each in node.names:
                if each.name in OPEN:
                    aliases[each.asname or each.name] = each.name
                elif each.name.split(".")[0] == "quantkit":
                    found.add(each.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "quantkit":
            module = node.module or ""
            if module not in OPEN:
                found.add(module)
                continue
            full = {each.name: f"{module}.{each.name}" for each in node.names}
            found |= {full[name] for name in full if name not in OPEN[module] and full[name] not in OPEN}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            module = aliases[node.value.id]
            if node.attr not in OPEN[module] and f"{module}.{node.attr}" not in OPEN:
                found.add(f"{module}.{node.attr}")
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_nothing_is_taken_from_behind_the_door(name: str) -> None:
    """Neither a module nor a name that the package does not list."""
    assert "quantkit" in SOURCES[name]
    assert private_names(SOURCES[name]) == set()


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import quantkit as qk\nfrom quantkit.indicators import Sma\nqk.Strategy, qk.indicators.Ema", set()),
        ("from quantkit import indicators, Strategy", set()),
        ("from quantkit.engine.context import RunContext", {"quantkit.engine.context"}),
        ("from quantkit import engine", {"quantkit.engine"}),
        ("import quantkit.feeds.replay as replay", {"quantkit.feeds.replay"}),
        ("import quantkit\nquantkit.engine.engine.Engine", {"quantkit.engine"}),
        ("from quantkit.indicators import _Window", {"quantkit.indicators._Window"}),
        ("def late():\n    from quantkit.orders import Order", {"quantkit.orders"}),
    ],
)
def test_the_check_finds_what_it_looks_for(code: str, names: set[str]) -> None:
    """It would be of no use if it found nothing anywhere."""
    assert private_names(code) == names
