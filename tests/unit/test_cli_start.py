"""Ctrl-C while a command starts and when it has ended: one line and the right code, whatever was being imported."""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

import quantkit.cli
from quantkit.cli import main, root
from quantkit.cli.interrupt import let_interrupt
from quantkit.cli.watching import Watch
from quantkit.errors import FeedClosedError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

#: Starts as the script `quantkit` does, and presses Ctrl-C at the moment a module is first looked for.
PRESSES = """
import os, signal, sys

wanted = sys.argv.pop(1)

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)

{before}
from quantkit.cli.start import run
sys.meta_path.insert(0, Finder())
run()
"""
STRATEGY = """
from quantkit import Strategy

class Idle(Strategy):
    instrument: str = "BTC-USDT"

    def on_start(self):
        self.subscribe_tickers(self.instrument)
"""
NOWHERE = ("--url", "ws://127.0.0.1:9")
COMMANDS = {
    "sandbox": ["sandbox", "--port", "0"],
    "live": ["live", "--paper", "idle.py", "--no-record", *NOWHERE],
    "watch": ["watch", "BTC-USDT", *NOWHERE],
    "backtest": [
        "backtest",
        "idle.py",
        "-p",
        "instrument=ELON-USDT",
        "--data",
        str(Path(__file__).parents[2] / "data"),
    ],
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a strategy, to work in."""
    (tmp_path / "idle.py").write_text(STRATEGY)
    return tmp_path


def pressed(module: str, *arguments: str, cwd: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in which Ctrl-C is pressed when it imports a module."""
    return subprocess.run(
        [sys.executable, "-c", PRESSES.replace("{before}", before), module, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("command", "module"),
    [
        # What every command needs, before it is known which one is asked for.
        ("sandbox", "quantkit.cli.commands"),
        *((command, "click") for command in COMMANDS),
        # What each imports once it runs: compiled modules, and what starts threads and loops.
        *(("sandbox", module) for module in ("numpy", "quantkit.sandbox.generated", "starlette", "uvicorn")),
        *(("sandbox", module) for module in ("uvicorn.lifespan.on", "uvicorn.protocols.http.auto")),
        *(("watch", module) for module in ("asyncio", "websockets", "httpx2", "rich")),
        *(("live", module) for module in ("numpy", "msgspec", "quantkit.live.run", "httpx2")),
        *(("backtest", module) for module in ("numpy", "pyarrow", "quantkit.api")),
    ],
)
def test_one_line_answers_an_early_ctrl_c(command: str, module: str, place: Path) -> None:
    """No traceback, nothing on standard output, and the exit code of an interrupted command."""
    done = pressed(module, *COMMANDS[command], cwd=place)
    *before, last = done.stderr.splitlines()
    assert (done.returncode, done.stdout, last) == (130, "", "quantkit: interrupted")
    # The sockets' thread may have found nobody at the address by then.
    assert all(line.startswith("WARNING quantkit.feeds.okx: ") for line in before)


def test_a_run_that_was_stopped_before_it_could_start_did_not_fail(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal has been taken as a wish to end, and there is no result to print."""

    def paper(_: str, *, stop: threading.Event, **__: object) -> None:
        stop.set()
        raise FeedClosedError("stopped before the run could start")

    monkeypatch.chdir(place)
    monkeypatch.setattr("quantkit.api.paper", paper)
    result = CliRunner().invoke(main, COMMANDS["live"])
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "quantkit: interrupted\n")


def test_watch_that_has_shown_nothing_was_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it has a connection; afterwards a signal is how it ends."""

    @contextmanager
    def asked_at_once(ask: Callable[[], object], **_: object) -> Iterator[None]:
        asyncio.get_running_loop().call_soon(ask)
        yield

    async def wait(_: Watch) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr("quantkit.cli.watching.signals", asked_at_once)
    monkeypatch.setattr(Watch, "_check", wait)
    result = CliRunner().invoke(main, COMMANDS["watch"])
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "quantkit: interrupted\n")


def test_help_and_version_are_interrupted_too(place: Path) -> None:
    """They are printed while the command line is taken apart, where click has words of its own for Ctrl-C."""
    done = pressed("importlib.metadata", "--version", cwd=place)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "quantkit: interrupted\n")


def test_what_is_ignored_from_outside_stays_ignored(place: Path) -> None:
    """As in a job that a shell started in the background."""
    before = "signal.signal(signal.SIGINT, signal.SIG_IGN)"
    done = pressed("click", "--version", cwd=place, before=before)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("quantkit ")


def test_after_the_end_nothing_is_lost_and_the_code_stays(place: Path) -> None:
    """While Python tidies up, the result is out already; Ctrl-C only makes it quicker."""
    for arguments, code in ((["--version"], 0), (["backtest", "no_such.py"], 2)):
        before = "import atexit; atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))"
        done = pressed("no.such.module", *arguments, cwd=place, before=before)
        assert done.returncode == code
        assert "interrupted" not in done.stderr + done.stdout
        assert "Traceback" not in done.stderr
        assert len((done.stdout + done.stderr).splitlines()) == 1


def test_a_handler_of_somebody_else_is_left_alone() -> None:
    """The command line may run inside another program."""
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, mine := lambda *_: None)
        let_interrupt()
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


def test_the_commands_come_when_asked_for() -> None:
    """`from quantkit.cli import main` works as ever, and nothing else is there."""
    assert main is root.main
    assert "watch" in main.commands
    with pytest.raises(AttributeError, match="no attribute 'min'"):
        quantkit.cli.min  # type: ignore[attr-defined]
