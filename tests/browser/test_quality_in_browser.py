"""The page of a check in a browser: verdicts in words, signs and colours, planted defects, pictures; in every look."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from browsing import Look, Watch, every_look
from click.testing import CliRunner
from quality_rows import books, stored, tickers, trades

from quantkit.cli import main

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def quality_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten minutes of trades, ten of them missing and one ten times too high; whole books; tickers."""
    folder = tmp_path_factory.mktemp("checked")
    rows = [msgspec.structs.replace(row, price=1050.0) if n == 123 else row for n, row in enumerate(trades(600))]
    data = stored(folder / "data", [*rows[:300], *rows[310:]], tickers(600), books(600))
    page = folder / "quality.html"
    done = CliRunner().invoke(main, ["data", "check", str(data), "--html", str(page)])
    assert done.exit_code == 0, done.output
    return page


def whole(page: Page, file: Path) -> Page:
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-state=whole]", timeout=60_000)
    return page


@every_look
def test_what_is_planted_is_seen(page: Page, quality_page: Path, look: Look, watch: Watch) -> None:
    """In the words of the check, each verdict with a sign and a colour of its own, nothing beside the window's edge."""
    whole(page, quality_page)
    assert page.evaluate("document.documentElement.dataset.theme") == look.scheme
    verdicts = page.locator("table.quality").last.locator("tbody tr").all()
    shown = {row.locator("th").inner_text().split()[1]: row.locator("td span").first for row in verdicts}
    assert {kind: each.inner_text() for kind, each in shown.items()} == {
        "trade": "× faulty",
        "ticker": "? cannot be verified",
        "book": "● clean",
    }
    colours = [re.findall(r"\d+", each.evaluate("e => getComputedStyle(e).color"))[:3] for each in shown.values()]
    for one, other in combinations(colours, 2):
        # Two blues would do for a machine alone.
        assert sum(abs(int(a) - int(b)) for a, b in zip(one, other, strict=True)) > 120
    said = page.locator("table.findings").inner_text()
    assert re.search(r"1 outlier of price: .* first 1050 at 2026-01-01T12:02:03Z \(.*row 123\)", said)
    assert "10 trades missing in 1 sequence gap of the trade id" in said
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator(".pictures canvas").count() >= 4
    assert watch.over_network == []


def test_the_button_turns_the_light_off(page: Page, quality_page: Path) -> None:
    """And colours stay three."""
    whole(page, quality_page)
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    assert page.locator("#theme").inner_text() == "Light"


def test_narrow_pictures_stay_in_their_card(open_page: Callable[..., Page], quality_page: Path) -> None:
    """On a telephone a picture is as wide as its card."""
    page = whole(open_page(Look(390)), quality_page)
    card, picture = (page.locator(name).first.bounding_box() for name in ("section.card:has(.pictures)", ".pictures"))
    assert card is not None
    assert picture is not None
    assert picture["x"] >= card["x"]
    assert picture["x"] + picture["width"] <= card["x"] + card["width"]
