"""The live page on a paper run against the local exchange: fills, commands, reload, restart, strangers."""

from __future__ import annotations

import http.client
import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browsing import Look, Watch, every_look
from browsing_live import Session, confirmed, controlled, followed, opened, served, wait_for_words

from quantkit.clock import NS_PER_MS, wall_ns

if TYPE_CHECKING:
    from playwright.sync_api import Page

SHOWN_MS = 1000


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Session]:
    """A paper run that can be controlled."""
    with controlled(tmp_path) as session:
        yield session


def test_fills_are_shown_within_a_second(page: Page, run: Session) -> None:
    """From the exchange's stamp to the page; the best of some, since the machine does other things too."""
    with followed(page, run):
        ages = page.evaluate(
            """async count => {
                const ages = [], known = () => Lines.fills.length;
                let last = known();
                while (ages.length < count) {
                    await new Promise(done => setTimeout(done, 20));
                    if (known() > last) {
                        last = known();
                        const shown = document.querySelector('#fills tr td').textContent;
                        const fill = Lines.fills[last - 1];
                        if (new Date(fill.ms).toISOString().slice(11, 19) === shown) ages.push(Date.now() - fill.ms);
                    }
                }
                return ages;
            }""",
            8,
        )
        assert min(ages) < SHOWN_MS, ages
        assert page.inner_text("#fills tr:first-child td:nth-child(2)") in ("buy", "sell")
        # Orders come and go with every quote, and not each rests within the levels shown.
        page.locator("#orders tr").first.wait_for()
        page.locator(".ladder .own").first.wait_for()
        # Names are text.
        assert "<img src=x onerror=alert(1)>" in page.evaluate("() => Lines.fills.map(fill => fill.tag).join()")
        assert page.locator("#orders img, #log img").count() == 0


def test_it_pauses_resumes_and_stops(page: Page, run: Session) -> None:
    """And says so; what cannot be undone asks once more in place; the paused run repeats to the last digit."""
    with followed(page, run):
        page.click("#pause")
        wait_for_words(page, "paused")
        assert page.inner_text("#pause") == "Resume strategy"
        page.wait_for_function("() => document.getElementById('log').textContent.includes('pause (web)')")
        page.click("#pause")
        wait_for_words(page, "running")
        asked = confirmed(page, "cancel_all", "Yes, cancel all")
        assert re.search(r"\d+ open orders? cancelled|no order is open", asked)  # between two quotes
        page.wait_for_function("() => document.getElementById('log').textContent.includes('cancel_all (web)')")
        page.click("#stop")
        page.wait_for_function("() => document.getElementById('stop').textContent === 'Yes, stop'")
        page.keyboard.press("Escape")
        assert page.inner_text("#stop") == "Stop"
        assert run.process.poll() is None
        confirmed(page, "stop", "Yes, stop")
        assert run.process.wait(60) == 0
        page.wait_for_function("() => document.getElementById('state').classList.contains('off')")
        assert page.is_disabled("#stop")
    done = subprocess.run(
        [sys.executable, "-m", "quantkit", "verify", str(run.folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_page_that_comes_later_shows_what_was_before(page: Page, run: Session) -> None:
    """Prices and equity from before there was a server, the lag of each connection, and the latest runs."""
    asked = "() => [Lines.firstMs(), Lines.lastPrice(document.getElementById('instrument').textContent)]"
    while sum(file.stat().st_size for file in (run.folder / "frames").glob("*")) < 20_000:
        page.wait_for_timeout(100)  # the run goes on without a server, and gets its first books
    page.wait_for_timeout(2_000)
    before_ms = wall_ns() // NS_PER_MS
    with followed(page, run):
        first_ms, last = page.evaluate(asked)
        assert first_ms < before_ms
        assert last > 0
        assert "lows and highs" in page.inner_text("#since")
        page.wait_for_function("() => /public \\d+ [\\d,]+ ms/.test(document.getElementById('health').textContent)")
        page.locator("#runs tr", has_text="running").wait_for()


def test_an_unconfirmed_stop_is_forgotten(page: Page, run: Session) -> None:
    """After some seconds the button is what it was."""
    with followed(page, run):
        page.click("#stop")
        page.wait_for_function("() => document.getElementById('stop').textContent === 'Yes, stop'")
        page.wait_for_function("() => document.getElementById('stop').textContent === 'Stop'")
        assert run.process.poll() is None


def test_it_survives_a_reload_and_a_restart_of_its_server(page: Page, run: Session, watch: Watch) -> None:
    """Signed in all the time; meanwhile it says that nothing comes, and the run goes on."""
    with served(run) as link:
        base = opened(page, link)
        page.reload()
        page.wait_for_selector("html[data-state=whole]")
        before = int(page.evaluate("() => document.documentElement.dataset.number"))
    wait_for_words(page, "does not answer")
    page.wait_for_function("() => document.body.classList.contains('stale')")
    assert "old" in page.inner_text("#state_words")
    assert page.is_disabled("#stop")
    assert run.process.poll() is None
    with served(run, int(base.rpartition(":")[2])):
        wait_for_words(page, "running")
        page.wait_for_function("before => Number(document.documentElement.dataset.number) > before", arg=before)
        page.wait_for_function("() => !document.body.classList.contains('stale')")
    # A connection that is refused is an error on the console, which is what this test made.
    page.goto("about:blank")
    watch.clear()


def test_a_closed_page_and_a_killed_server_change_nothing(page: Page, run: Session, watch: Watch) -> None:
    with served(run) as link:
        opened(page, link)
        page.close()
    watch.clear()
    with served(run) as link:
        assert run.process.poll() is None
        assert _ask(link, "/api/v1/live", {})[0] == 401


def test_a_killed_run_is_told(page: Page, run: Session) -> None:
    """The page stays, with what was last, and says that it is old."""
    with followed(page, run):
        run.process.kill()
        page.wait_for_function("() => document.body.classList.contains('stale')")
        assert page.get_attribute("#state", "class") == "state off"
        assert "old" in page.inner_text("#state_words")
        assert page.is_disabled("#pause")
        assert page.inner_text("#strategy") == "Busy"


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write nothing to stderr."""


def test_strangers_are_refused(open_page: Callable[..., Page], run: Session, watch: Watch, tmp_path: Path) -> None:
    """A page of another origin, with the user's cookies in its browser; and who has no token."""
    handler = partial(_Quiet, directory=str(tmp_path))
    page = open_page()
    with served(run) as link, http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        base = opened(page, link)
        (tmp_path / "evil.html").write_text("<link rel='icon' href='data:,'>", encoding="utf-8")
        page.goto(f"http://127.0.0.1:{other.server_port}/evil.html")
        told = page.evaluate(
            """async base => {
                const tries = [];
                const attempt = async (name, call) => {
                    try { await call(); tries.push(name); } catch { /* refused */ }
                };
                const body = JSON.stringify({command: "stop", confirm: ""});
                for (const headers of [{}, {"Content-Type": "application/json", "X-Quantkit-Key": "k"}]) {
                    await attempt("command", () => fetch(base + "/api/v1/live/commands",
                        {method: "POST", credentials: "include", headers, body}));
                }
                await attempt("status", async () =>
                    (await fetch(base + "/api/v1/live", {credentials: "include"})).json());
                await attempt("socket", () => new Promise((done, failed) => {
                    const socket = new WebSocket(base.replace("http", "ws") + "/api/v1/live/socket");
                    socket.onopen = done;
                    socket.onerror = failed;
                }));
                await attempt("script", () => new Promise((done, failed) => {
                    const script = document.createElement("script");
                    script.src = base + "/assets/live.js";
                    script.onload = done;
                    script.onerror = failed;
                    document.head.append(script);
                }));
                return tries;
            }""",
            base,
        )
        assert told == []
        assert run.process.poll() is None
        for path in ("/api/v1/live", "/api/v1/runs", "/metrics", "/assets/live.js", "/live"):
            assert _ask(link, path, {})[0] == 401
            assert _ask(link, path, {"Authorization": "Bearer wrong"})[0] == 401
        other.shutdown()
    page.goto("about:blank")
    watch.clear()


def _ask(link: str, path: str, headers: dict[str, str]) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(link.partition("//")[2].partition("/")[0], timeout=20)
    connection.request("GET", path, headers=headers)
    reply = connection.getresponse()
    content = reply.read()
    connection.close()
    return reply.status, json.loads(content) if content else None


@every_look
def test_it_fits(page: Page, run: Session, look: Look, screenshot: Callable[..., Path | None]) -> None:
    """Nothing is wider than the window; at 390 pixels the commands stick to its bottom."""
    with followed(page, run):
        page.wait_for_function("() => Lines.fills.length > 3")
        assert page.evaluate("() => document.documentElement.scrollWidth") <= look.width
        if look.width < 600:
            page.evaluate("() => scrollTo(0, document.body.scrollHeight / 2)")
            box = page.locator("#stop").bounding_box()
            assert box is not None
            assert look.height - 80 < box["y"] + box["height"] <= look.height
            page.evaluate("() => scrollTo(0, 0)")
        screenshot("live", full_page=look.width > 600)
