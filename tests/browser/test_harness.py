"""The harness of this folder finds what it is there to find, and leaves pytest's event loops alone."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browsing import LOOKS, Look, Watch, every_look, find_chromium

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).parents[2]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A server on this machine that serves one page."""
    (tmp_path / "index.html").write_text("<link rel='icon' href='data:,'><h1>served</h1>", encoding="utf-8")
    handler = partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Write nothing to stderr."""


@pytest.mark.usefixtures("browser")
def test_planted_faults_fail_their_tests(tmp_path: Path) -> None:
    """One each for the console, an exception, a request and a socket; a test after them may run an event loop."""
    after = tmp_path / "test_after.py"
    after.write_text("import asyncio\n\ndef test_loop(): asyncio.run(asyncio.sleep(0))\n", encoding="utf-8")
    words = [sys.executable, "-m", "pytest", "-n0", "-p", "no:cacheprovider", "-c", "pyproject.toml"]
    words += ["tests/browser/planted_faults.py", str(after)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "5 passed, 4 errors" in done.stdout, done.stdout + done.stderr
    for told in (
        "console: planted in the console",
        "uncaught: planted exception",
        "asks another machine: http://planted.example/",
        "asks another machine: ws://planted.example/",
    ):
        assert told in done.stdout, done.stdout


def test_a_page_of_this_machine_is_no_problem(page: Page, site: str, watch: Watch) -> None:
    """It is still counted as a request over a network, which a report may not make."""
    page.goto(site)
    assert page.inner_text("h1") == "served"
    assert watch.over_network == [site]
    assert watch.problems() == []


def test_a_file_asks_nobody(page: Page, tmp_path: Path, watch: Watch) -> None:
    """Pages from the disk have their requests recorded, and none of them goes over a network."""
    file = tmp_path / "page.html"
    file.write_text("<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw='><p>from the disk</p>", encoding="utf-8")
    page.goto(file.as_uri())
    assert watch.requests[0] == file.as_uri()
    assert watch.over_network == []


@every_look
def test_a_page_has_the_look_asked_for(page: Page, look: Look) -> None:
    """Width and colour scheme."""
    page.set_content("<p>empty</p>")
    assert page.evaluate("innerWidth") == look.width
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") == (look.scheme == "dark")


def test_several_pages_have_profiles_of_their_own(open_page: Callable[..., Page], site: str) -> None:
    """What one keeps, the other does not see."""
    one, other = open_page(), open_page(Look(390))
    one.goto(site)
    other.goto(site)
    one.evaluate("localStorage.setItem('kept', 'yes')")
    assert other.evaluate("localStorage.getItem('kept')") is None


def test_pictures_are_kept_where_a_folder_is_named(
    page: Page, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Named by what is shown, how wide and how light."""
    monkeypatch.setenv("QUANTKIT_SCREENSHOTS", str(tmp_path))
    page.set_content("<p>seen</p>")
    path = request.getfixturevalue("screenshot")("harness")
    assert path == tmp_path / "harness-1440-light.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_pictures_are_not_kept_unasked(
    page: Page, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """A plain run leaves no files."""
    monkeypatch.delenv("QUANTKIT_SCREENSHOTS", raising=False)
    assert request.getfixturevalue("screenshot")("harness") is None


def test_chromium_is_the_one_named(tmp_path: Path) -> None:
    """A name that leads nowhere is not passed over for another browser."""
    there = tmp_path / "chromium"
    there.touch(mode=0o755)
    assert find_chromium({"CHROMIUM": str(there)}) == str(there)
    assert find_chromium({"CHROMIUM": str(tmp_path / "gone"), "PATH": str(tmp_path)}) is None
    assert find_chromium({"PATH": str(tmp_path)}) == str(there)


def test_the_looks_are_wide_and_narrow_light_and_dark() -> None:
    """Four, each with a name of its own."""
    assert [str(look) for look in LOOKS] == ["1440-light", "1440-dark", "390-light", "390-dark"]
