"""A live run, its server and its page, for the tests in `tests/browser/`."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from quantkit.clock import monotonic_s

if TYPE_CHECKING:
    from playwright.sync_api import Page

#: A strategy with fills all the time, an order that rests, and names that would be markup.
STRATEGY = '''
import quantkit as qk


class Busy(qk.Strategy):
    """Buys and sells in turn."""

    instrument: str = "BTC-USDT-SWAP"

    def on_start(self) -> None:
        self.subscribe_book(self.instrument)
        self.every("300ms")
        self.turn = 0

    def on_timer(self, name: str) -> None:
        book = self.book(self.instrument)
        if book is None or book.mid is None:
            return
        self.turn += 1
        side = self.buy if self.turn % 2 else self.sell
        side(self.instrument, 0.01, tag="<img src=x onerror=alert(1)>")
        self.quote(self.instrument, bid=book.mid * (1 - 2e-5), ask=None, qty=0.01)
'''
#: The one-time link, as a server prints it.
LINK = r"http://127\.0\.0\.1:\d+/open#\S+"


class Session(NamedTuple):
    """A run under way."""

    folder: Path
    process: subprocess.Popen[str]


@contextmanager
def quantkit(*words: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a command, ended as by Ctrl-C if it still runs."""
    command = [sys.executable, "-m", "quantkit", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(30)
                except subprocess.TimeoutExpired:
                    process.kill()


def said(process: subprocess.Popen[str], pattern: str) -> str:
    """Return what a process prints by a pattern."""
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        found = re.search(pattern, line)
        if found:
            return found[0]
    raise AssertionError("".join(seen))


@contextmanager
def market(root: Path) -> Iterator[str]:
    """Run the local exchange in a process of its own, and write the strategy; give the exchange's address."""
    (root / "busy.py").write_text(STRATEGY, encoding="utf-8")
    with quantkit("sandbox", "--port", "0", "--instruments", "6", cwd=root) as sandbox:
        yield said(sandbox, r"ws://127\.0\.0\.1:\d+")


@contextmanager
def controlled(root: Path) -> Iterator[Session]:
    """Start a paper run that can be controlled."""
    with market(root) as address:
        words = ("live", "--paper", "busy.py", "--url", address, "--control", "--plain")
        with quantkit(*words, cwd=root) as process:
            until_s = monotonic_s() + 60
            while not (found := list((root / "runs").glob("*/control.json"))):
                assert process.poll() is None, process.stdout.read() if process.stdout else ""
                assert monotonic_s() < until_s, "the run did not start"
            drain(process)
            yield Session(found[0].parent, process)


def drain(process: subprocess.Popen[str]) -> None:
    """Read what a process prints: what nobody reads would fill the pipe, and stop it."""
    threading.Thread(target=process.communicate, daemon=True).start()


@contextmanager
def serving(run: Session, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Serve a run; give the process and the one-time link."""
    root = run.folder.parents[1]
    words = ("serve", "--runs", "runs", "--live", str(run.folder), "--port", str(port))
    with quantkit(*words, cwd=root) as process:
        yield process, said(process, LINK)


@contextmanager
def served(run: Session, port: int = 0) -> Iterator[str]:
    """Serve a run; give the one-time link."""
    with serving(run, port) as (_, link):
        yield link


@contextmanager
def followed(page: Page, run: Session) -> Iterator[str]:
    """Open the live page of a run; leave it before its server ends, which would be an error on the console."""
    with served(run) as link:
        yield opened(page, link)
        page.goto("about:blank")


def opened(page: Page, link: str) -> str:
    """Follow the link to the live page, and return the base of the server."""
    base = link.partition("/open#")[0]
    page.goto(link)
    page.wait_for_url(f"{base}/live")
    page.wait_for_selector("html[data-state=whole]")
    return base


def confirmed(page: Page, name: str, answer: str) -> str:
    """Click a command that asks once more, and answer yes as soon as it asks; return what it asked.

    Within the page, since the question is forgotten after some seconds, and a busy machine may take those from one call
    of the browser to the next.
    """
    page.click(f"#{name}")
    asked = page.wait_for_function(
        """([name, answer]) => {
            const button = document.getElementById(name), asked = document.getElementById('asked').textContent;
            if (button.disabled || button.textContent !== answer) return false;
            button.click();
            return asked;
        }""",
        arg=[name, answer],
    )
    return str(asked.json_value())


def wait_for_words(page: Page, words: str) -> None:
    """Wait until the line of the run's state holds some words."""
    page.wait_for_function("words => document.getElementById('state_words').textContent.includes(words)", arg=words)
