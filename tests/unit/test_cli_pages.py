"""The server of pages beside a live run: started once, printed, and ended with the command."""

import subprocess
import sys
import time
from typing import Any

import pytest

from quantkit.cli import pages
from quantkit.cli.pages import Pages

SAYS = "import time; print('open http://127.0.0.1:9/#a\\x1b[2J', flush=True); time.sleep(60)"


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Start another program in its place, and note what was asked for."""
    asked: list[list[str]] = []
    popen = subprocess.Popen

    def start(command: list[str], **options: Any) -> Any:
        asked.append(command)
        return popen([sys.executable, "-c", SAYS], **options)

    monkeypatch.setattr(pages.subprocess, "Popen", start)
    return asked


def test_it_is_started_once_with_the_run_and_ends_with_the_command(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(pages.click, "echo", said.append)
    with Pages("127.0.0.1:9000") as shown:
        assert started == []
        for _ in range(3):
            shown.show("runs/Mine-1")
        server = shown._server
        assert server is not None
        until = time.monotonic() + 30
        while not said and time.monotonic() < until:
            time.sleep(0.01)
        assert server.poll() is None
    words = ["serve", "--runs", "runs", "--live", "runs/Mine-1", "--with-run", "--host", "127.0.0.1", "--port", "9000"]
    assert started == [[sys.executable, "-m", "quantkit", *words]]
    assert server.poll() is not None
    assert said == ["open http://127.0.0.1:9/#a[2J"]


def test_one_that_ends_by_itself_is_nothing_to_the_run(started: list[list[str]]) -> None:
    with Pages("127.0.0.1:9000") as shown:
        shown.show("runs/Mine-1")
        server = shown._server
        assert server is not None
        server.kill()
        server.wait()
        shown.show("runs/Mine-1")
    assert len(started) == 1


def test_without_a_run_nothing_is_started(started: list[list[str]]) -> None:
    with Pages("[::1]:9000"):
        pass
    assert started == []
