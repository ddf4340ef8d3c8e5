"""The reference in a browser: it opens from the disk, fits both widths, and its search works without a server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import Watch, every_look

if TYPE_CHECKING:
    from playwright.sync_api import Page

SCRIPT = Path(__file__).parents[2] / "docs" / "reference" / "build.py"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of the public names."""
    pytest.importorskip("pdoc", reason="pdoc is not installed: pip install 'quantkit[docs]'")
    folder = tmp_path_factory.mktemp("reference")
    subprocess.run([sys.executable, str(SCRIPT), str(folder)], check=True, capture_output=True, timeout=120)
    return folder / "quantkit.html"


@every_look
def test_it_opens_from_the_disk(reference: Path, page: Page, watch: Watch, screenshot: Callable[..., object]) -> None:
    """Nothing is fetched, and no line is cut off."""
    page.goto(f"{reference.as_uri()}#Fees")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert watch.over_network == []
    screenshot("reference")


def test_the_search_finds_a_method(reference: Path, page: Page) -> None:
    """By a word of its docstring."""
    page.goto(reference.as_uri())
    page.fill("input[type=search]", "post-only bid and ask")
    page.wait_for_selector(".search-result")
    assert any("Strategy.quote" in found for found in page.locator(".search-result").all_inner_texts())


def test_a_class_of_the_list_shows_its_members(reference: Path, page: Page) -> None:
    """Folded away at first; the name itself leads to the class."""
    page.goto(reference.as_uri())
    member = page.locator("nav a[href='#Strategy.buy']")
    assert not member.is_visible()
    summary = page.locator("nav summary:has(a[href='#Strategy'])")
    box = summary.bounding_box()
    assert box is not None
    summary.click(position={"x": box["width"] - 12, "y": 8})
    assert member.is_visible()
