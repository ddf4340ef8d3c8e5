"""Pages that do what no page may; `test_harness.py` runs these, and each has to fail at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.mark.parametrize(
    "script",
    [
        "console.error('planted in the console')",
        "setTimeout(() => { throw new Error('planted exception') })",
        "fetch('http://planted.example/').catch(() => {})",
        "new WebSocket('ws://planted.example/')",
    ],
    ids=["console", "exception", "request", "socket"],
)
def test_fault(page: Page, script: str) -> None:
    """Nothing is asserted here: what the fixture finds counts."""
    page.set_content(f"<script>{script}</script>")
