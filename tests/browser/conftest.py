"""Pages in a real browser: Debian's Chromium, driven by Playwright.

A test takes `page`, or `open_page` where it needs several. It fails at its end if a page wrote an error to the console,
raised, or asked another machine. Playwright marks an event loop as running while the browser is there; therefore the
browser ends with the last test of this folder, and what a test needs of asyncio runs in a process of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsing import FLAGS, Look, Watch, find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.service)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for the tests of this folder that run in this process."""
    reason = "playwright is not installed: pip install 'quantkit[ci]'"
    playwright = pytest.importorskip("playwright.sync_api", reason=reason)
    chromium = find_chromium()
    if chromium is None:
        pytest.skip("no Chromium here: install Debian's package chromium, or name one by CHROMIUM=/path")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def watch() -> Watch:
    """What the pages of this test do; a test that plants a fault takes it, and clears it."""
    return Watch()


@pytest.fixture
def open_page(browser: Browser, watch: Watch) -> Iterator[Callable[..., Page]]:
    """A call that opens an empty page in a profile of its own: `open_page(Look(390), timezone_id="Asia/Tokyo")`."""
    contexts: list[BrowserContext] = []

    def open_one(look: Look | None = None, **options: Any) -> Page:
        look = look or Look()
        size = {"width": look.width, "height": look.height}
        defaults = {"viewport": size, "color_scheme": look.scheme, "locale": "en-GB", "timezone_id": "UTC"}
        context = browser.new_context(**{**defaults, **options})
        contexts.append(context)
        context.set_default_timeout(60_000)
        watch.follow(context)
        return context.new_page()

    yield open_one
    # What a page still has to say, it says before it is closed.
    for context in contexts:
        for page in context.pages:
            page.evaluate("() => new Promise((done) => setTimeout(done))")
        context.close()
    problems = watch.problems()
    assert not problems, "\n".join(problems)


@pytest.fixture
def look() -> Look:
    """How `page` is looked at: wide and light, unless a test is marked `every_look`."""
    return Look()


@pytest.fixture
def page(open_page: Callable[..., Page], look: Look) -> Page:
    """An empty page."""
    return open_page(look)


@pytest.fixture
def screenshot(page: Page, look: Look) -> Callable[..., Path | None]:
    """A call that keeps a picture of `page` in the folder that QUANTKIT_SCREENSHOTS names: `<name>-1440-light.png`."""
    folder = os.environ.get("QUANTKIT_SCREENSHOTS")

    def keep(name: str, *, full_page: bool = False) -> Path | None:
        if folder is None:
            return None
        path = Path(folder) / f"{name}-{look}.png"
        page.screenshot(path=path, full_page=full_page)
        return path

    return keep
