"""The served pages in a browser: signing in, the list, a report that loads finer rows, two runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import Look, Watch, every_look
from web_runs import DATA, one_run

import quantkit
from quantkit.runs.folder import Runs
from quantkit.web.calls import Calls
from quantkit.web.server import WebServer

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: A class, a parameter and a tag that would be markup, and one that would end a script.
HOSTILE = '''
import quantkit as qk


class Hostile(qk.Strategy):
    """</script><script>alert(1)</script>"""

    instrument: str = "binance:BTC-USDT-SWAP"
    note: str = "</script><img src=x onerror=alert(1)>"

    def on_start(self) -> None:
        self.subscribe_candles(self.instrument, "1h")

    def on_candle(self, candle: qk.Candle) -> None:
        side = self.sell if self.position(self.instrument) > 0 else self.buy
        side(self.instrument, 0.01, tag="<img src=x onerror=alert(1)>")
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs: two whole ones, one of which the numbers alone are kept, and a hostile one."""
    found = tmp_path_factory.mktemp("runs")
    one_run(found)
    one_run(found, fast=5, name="faster")
    file = found.parent / "hostile.py"
    file.write_text(HOSTILE, encoding="utf-8")
    hostile = quantkit.backtest(str(file), data=DATA, start="2025-05-10", end="2025-05-14")
    # Nothing is saved under such a name, but somebody may have given it afterwards.
    hostile.save(found / "hostile").rename(found / "<img src=x onerror=alert(1)>")
    strategy = str(Path(__file__).parents[2] / "strategies" / "ma_cross.py")
    quantkit.backtest(strategy, data=DATA, start="2025-05-10", end="2025-05-11", keep=found)
    return found


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[WebServer]:
    with WebServer(Calls(Runs(folder), DATA)) as running:
        yield running


@pytest.fixture
def signed_in(page: Page, server: WebServer) -> Page:
    """A page whose browser is signed in."""
    sign_in(page, server)
    return page


def sign_in(page: Page, server: WebServer) -> None:
    page.goto(f"{server.url}/open")
    page.fill("#token", server.token)
    page.click("form button")
    page.wait_for_url(f"{server.url}/")
    page.wait_for_selector("html[data-state=whole]")


def opened(page: Page, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("html[data-state=whole]")


def test_the_link_signs_in_and_leaves_no_key(page: Page, folder: Path) -> None:
    """Neither in the address nor in the history; a second browser needs the token."""
    with WebServer(Calls(Runs(folder), DATA)) as server:
        page.goto(server.link)
        page.wait_for_url(f"{server.url}/")
        page.wait_for_selector("html[data-state=whole]")
        cookies = page.context.cookies()
        assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in cookies] == [(True, "Strict")]
        assert page.evaluate("() => document.cookie") == ""
        page.go_back()
        assert page.url == "about:blank"


def test_a_stranger_is_led_to_the_door(page: Page, server: WebServer) -> None:
    """Which tells nothing; a wrong token stays outside."""
    page.goto(f"{server.url}/runs/ma_cross")
    page.wait_for_url(f"{server.url}/open")
    page.fill("#token", "wrong")
    # The refusal is an error on the console.
    with page.expect_response(f"{server.url}/api/v1/session") as refused:
        page.click("form button")
    assert refused.value.status == 401
    page.wait_for_function("() => document.getElementById('told').textContent !== ''")


@pytest.fixture(autouse=True)
def _forgive_refusals(watch: Watch, open_page: Callable[..., Page]) -> Iterator[None]:
    """A request that was refused on purpose is an error on the console, and nothing else is forgiven."""
    del open_page  # which looks at the errors, and therefore has to end after this
    yield
    watch.errors[:] = [error for error in watch.errors if "status of 401" not in error]


def test_the_list_is_searched_sorted_and_compared(signed_in: Page, server: WebServer) -> None:
    page = signed_in
    assert page.locator("#rows tr").count() == 4
    page.fill("#find", "fast=5")
    page.wait_for_function("() => document.querySelectorAll('#rows tr').length === 1")
    page.fill("#find", "macross")
    page.wait_for_function("() => document.querySelectorAll('#rows tr').length === 3")
    page.click("#heads button:has-text('Return')")
    returns = page.locator("#rows td:nth-child(4)").all_inner_texts()
    values = [float(text.replace("\u2212", "-").replace("+", "").removesuffix(" %")) for text in returns]
    assert values == sorted(values, reverse=True)
    assert page.locator("#heads th[aria-sort=descending]").count() == 1
    boxes = page.locator("#rows input:not([disabled])")
    assert boxes.count() == 2
    assert page.is_disabled("#compare")
    boxes.nth(0).check()
    boxes.nth(1).check()
    page.click("#compare")
    page.wait_for_url(f"{server.url}/diff?*")
    page.wait_for_selector("html[data-state=whole]")
    assert page.inner_text("#verdict") == "Different results"
    assert page.locator("#order tr.changed").count() >= 1
    assert "fast" in page.inner_text("#inputs")
    assert page.locator("#figure canvas").count() >= 1


def test_the_report_loads_finer_rows_on_zoom(signed_in: Page, server: WebServer) -> None:
    """From this server, and from nowhere else."""
    page = signed_in
    opened(page, f"{server.url}/runs/ma_cross")
    assert page.inner_text("h1") == "MaCross"
    with page.expect_response(lambda reply: "/prices/" in reply.url) as asked:
        page.click("[data-span]:has-text('1 h')")
    assert asked.value.ok
    assert len(asked.value.json()["rows"]["t"]) > 0
    page.click("header a")
    page.wait_for_url(f"{server.url}/")


def test_hostile_names_are_text(signed_in: Page, server: WebServer) -> None:
    """On every page that shows them."""
    page = signed_in
    assert "<img src=x onerror=alert(1)>" in page.inner_text("#rows")
    run = "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E"
    for address in (f"{server.url}/runs/{run}", f"{server.url}/diff?a={run}&b=ma_cross", f"{server.url}/"):
        opened(page, address)
        assert page.locator("img").count() == 0
    assert page.evaluate("() => window.alerted") is None


def test_signing_out_leads_to_the_door(page: Page, server: WebServer) -> None:
    sign_in(page, server)
    page.click("#leave")
    page.wait_for_url(f"{server.url}/open")
    page.goto(f"{server.url}/")
    page.wait_for_url(f"{server.url}/open")


def test_a_run_that_is_not_there(signed_in: Page, server: WebServer, watch: Watch) -> None:
    """One line says so."""
    page = signed_in
    opened(page, f"{server.url}/diff?a=gone&b=ma_cross")
    assert "there is no run 'gone'" in page.inner_text("#told")
    watch.errors[:] = [error for error in watch.errors if "status of 404" not in error]


@every_look
def test_they_fit(page: Page, server: WebServer, look: Look, screenshot: Callable[..., Path | None]) -> None:
    """Nothing is wider than the window."""
    page.goto(f"{server.url}/open")
    screenshot("sign-in")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= look.width
    sign_in(page, server)
    for name, address in (("runs", "/"), ("served-report", "/runs/ma_cross"), ("diff", "/diff?a=ma_cross&b=faster")):
        opened(page, server.url + address)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= look.width
        screenshot(name, full_page=True)
