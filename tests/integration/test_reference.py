"""The reference is built from the docstrings without a warning, and holds every public name."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import quantkit

pytest.importorskip("pdoc", reason="pdoc is not installed: pip install 'quantkit[docs]'")

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "docs" / "reference" / "build.py"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built by the command that CONTRIBUTING.md gives; a warning ends it."""
    folder = tmp_path_factory.mktemp("reference")
    done = subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{folder / 'index.html'}\n"
    assert done.stderr == ""
    return folder


def test_the_first_page_leads_to_the_public_names(reference: Path) -> None:
    """The index goes there by itself."""
    assert "url=./quantkit.html" in (reference / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "page"),
    [
        ("quantkit", "quantkit.html"),
        ("quantkit.indicators", "quantkit/indicators.html"),
        ("quantkit.storage.catalog", "quantkit/storage/catalog.html"),
    ],
)
def test_every_public_name_has_its_place(reference: Path, module: str, page: str) -> None:
    """With the first line of its docstring."""
    text = (reference / page).read_text(encoding="utf-8")
    of_module = importlib.import_module(module)
    own = [name for name, value in vars(of_module).items() if getattr(value, "__module__", None) == module]
    names = getattr(of_module, "__all__", [name for name in own if not name.startswith("_")])
    assert names
    shown = set(re.findall(r'<section id="(\w+)">', text))
    assert set(names) - shown == set()
    for name in names:
        doc = getattr(of_module, name).__doc__
        words = re.findall(r"\w+", doc.splitlines()[0].partition("`")[0])
        assert " ".join(words[:3]) in " ".join(re.findall(r"\w+", re.sub(r"<[^>]+>", "", text))), name


def test_every_method_of_a_strategy_is_there(reference: Path) -> None:
    """Hooks, orders and readings."""
    text = (reference / "quantkit.html").read_text(encoding="utf-8")
    own = [name for name in vars(quantkit.Strategy) if not name.startswith("_")]
    assert {name for name in own if f'id="Strategy.{name}"' not in text} == set()


def test_the_pages_name_no_folder_of_this_machine(reference: Path) -> None:
    """Nor anything that has to be fetched."""
    for page in reference.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert str(ROOT) not in text
        assert re.findall(r'(?:src|<link[^>]*href)="https?:', text) == []
