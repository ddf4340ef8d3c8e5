"""Signals of a live command: the first asks, the second ends at once, and what was ignored stays ignored."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from quantkit.cli.ending import signals

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

#: Waits for signals as a run does; a line says that the handlers are there, and one that the first signal has come.
WAITS = """
import signal, sys, threading
from quantkit.cli.ending import signals
{before}
stop = threading.Event()
with signals(stop.set, last_words=lambda: "killed; see runs/x"):
    print("ready", flush=True)
    stop.wait()
    print("asked", flush=True)
    {after}
print("over", signal.getsignal(signal.SIGINT) is signal.default_int_handler, flush=True)
"""


@contextmanager
def waiting(before: str = "", after: str = "") -> Iterator["subprocess.Popen[str]"]:
    """Start a process that waits for signals, and read its first line."""
    code = WAITS.format(before=before, after=after)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks(number: signal.Signals) -> None:
    """The command ends by itself, and the handlers of before are back."""
    with waiting() as process:
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        assert (out, err, process.returncode) == ("asked\nover True\n", "", 0)


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_ends_at_once(second: signal.Signals) -> None:
    """Even where something never returns; the line says what is left."""
    with waiting(after="threading.Event().wait()") as process:
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        process.send_signal(second)
        out, err = process.communicate(timeout=60)
        assert (out, err, process.returncode) == ("", "quantkit: killed; see runs/x\n", 128 + second)


def test_an_ignored_signal_stays_ignored() -> None:
    """As under nohup."""
    with waiting(before="signal.signal(signal.SIGHUP, signal.SIG_IGN)") as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        assert out == "asked\nover True\n"


def test_off_the_main_thread_nothing_is_changed() -> None:
    """Handlers can be set on the main thread only."""
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work() -> None:
        with signals(lambda: None, last_words=str):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]
