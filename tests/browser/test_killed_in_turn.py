"""Browser, server and run are killed in turn, and what is left goes on; `quantkit live --serve` brings its own page."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from browsing import FLAGS, Watch, find_chromium
from browsing_live import (
    LINK,
    confirmed,
    controlled,
    drain,
    market,
    opened,
    quantkit,
    said,
    served,
    serving,
    wait_for_words,
)

from quantkit.clock import monotonic_s
from quantkit.live.verify import verify

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WAIT_S = 30.0


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait until something is so."""
    until_s = monotonic_s() + WAIT_S
    while not is_so():
        assert monotonic_s() < until_s, what


def number_of(page: Page) -> int:
    """Return the number of the status that a page shows."""
    return int(page.evaluate("() => document.documentElement.dataset.number"))


def wait_for_newer(page: Page, number: int) -> None:
    page.wait_for_function("number => Number(document.documentElement.dataset.number) > number", arg=number)


def kill_browser(browser: Browser, other: Page) -> None:
    """Kill a browser, which says its process' id itself; the page of another one lets Playwright notice."""
    told = browser.new_browser_cdp_session().send("SystemInfo.getProcessInfo")
    (pid,) = [each["id"] for each in told["processInfo"] if each["type"] == "browser"]
    os.kill(pid, signal.SIGKILL)
    until_s = monotonic_s() + WAIT_S
    while browser.is_connected():
        other.wait_for_timeout(20)
        assert monotonic_s() < until_s, "the browser is still there"


def is_listening(base: str) -> bool:
    """Return whether anything answers at an address."""
    connection = http.client.HTTPConnection(urlsplit(base).netloc, timeout=10)
    try:
        connection.request("GET", "/open")
        connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def test_browser_server_and_run_are_killed_in_turn(browser: Browser, page: Page, watch: Watch, tmp_path: Path) -> None:
    """Each with SIGKILL; who is left tells what is missing, and finds what comes back."""
    with controlled(tmp_path) as run:
        with serving(run) as (server, link):
            other = browser.browser_type.launch(executable_path=find_chromium(), args=FLAGS)
            first = other.new_page()
            base = opened(first, link)
            token = said_token(server)
            before = number_of(first)
            kill_browser(other, page)
            # The server goes on: another browser signs in by the token, and sees later statuses of the same run.
            page.goto(f"{base}/open")
            page.fill("#token", token)
            page.press("#token", "Enter")
            page.wait_for_url(f"{base}/live")
            page.wait_for_selector("html[data-state=whole]")
            wait_for_newer(page, before)
            assert run.process.poll() is None
            before = number_of(page)
            server.kill()
            server.wait()
            wait_for_words(page, "does not answer")
            assert page.is_disabled("#stop")
            assert run.process.poll() is None
        with served(run, urlsplit(base).port or 0) as link:
            # The restarted server finds the run, and the page finds the server; reloaded, it is still signed in.
            wait_for_newer(page, before)
            page.reload()
            page.wait_for_selector("html[data-state=whole]")
            wait_for_words(page, "running")
            page.wait_for_function("() => Lines.fills.length > 0")
            fills = page.evaluate("() => Lines.fills.at(-1).id")
            run.process.kill()
            run.process.wait()
            wait_for_words(page, "it was killed")
            page.wait_for_function("() => document.body.classList.contains('stale')")
            assert all(page.is_disabled(f"#{name}") for name in ("pause", "cancel_all", "stop"))
            assert page.inner_text("#strategy") == "Busy"
            page.goto(base)
            page.locator("#rows .tag.bad", has_text="killed").wait_for()
            page.goto("about:blank")
    watch.clear()  # of refused connections, which this test made
    verdict = verify(run.folder)
    assert (verdict.difference, verdict.ended) == (None, "cut short")
    assert verdict.fills >= fills  # numbered from 1; the run may have been killed before its next fill
    rebuilt = subprocess.run(
        [sys.executable, "-m", "quantkit", "data", "rebuild", str(run.folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert rebuilt.returncode == 0, rebuilt.stdout + rebuilt.stderr


def said_token(server: subprocess.Popen[str]) -> str:
    """Return the token that a server prints."""
    return said(server, r"the token: \S+").rpartition(" ")[2]


SERVE = ("--serve", "127.0.0.1:0", "--plain", "--brief")


def test_a_run_brings_its_own_page(page: Page, watch: Watch, tmp_path: Path) -> None:
    """`--serve`: a fill within a second, a pause, a stop; its server ends with it."""
    with market(tmp_path) as address, quantkit(*LIVE, address, *SERVE, cwd=tmp_path) as process:
        base = opened(page, said(process, LINK))
        drain(process)
        ages = page.evaluate(
            """async count => {
                const ages = [];
                let last = Lines.fills.length;
                while (ages.length < count) {
                    await new Promise(done => setTimeout(done, 20));
                    if (Lines.fills.length > last) {
                        last = Lines.fills.length;
                        ages.push(Date.now() - Lines.fills[last - 1].ms);
                    }
                }
                return ages;
            }""",
            8,
        )
        assert min(ages) < 1000, ages
        page.click("#pause")
        wait_for_words(page, "paused")
        confirmed(page, "stop", "Yes, stop")
        assert process.wait(60) == 0
        assert not is_listening(base)
        page.wait_for_function("() => document.getElementById('state').classList.contains('off')")
        page.goto("about:blank")
    watch.clear()
    (folder,) = (each for each in (tmp_path / "runs").iterdir() if each.is_dir())
    assert verify(folder).difference is None


def test_the_server_of_a_killed_run_ends(page: Page, watch: Watch, tmp_path: Path) -> None:
    """By itself, after the page has said why."""
    with market(tmp_path) as address, quantkit(*LIVE, address, *SERVE, cwd=tmp_path) as process:
        base = opened(page, said(process, LINK))
        drain(process)
        process.kill()
        # Its server has told why before it ended, whenever that is.
        wait_for_words(page, "it was killed")
        until(lambda: not is_listening(base), "the server is still there")
        # What the server knew, the page still says.
        wait_for_words(page, "does not answer")
        assert "it was killed" in page.inner_text("#state_words")
        page.goto("about:blank")
    watch.clear()


LIVE = ("live", "--paper", "busy.py", "--url")
