"""The terminal of a live run: lines for logs, what a strategy prints behind the view, and log lines."""

import io
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import pytest
from live_statuses import NOW_NS, status

from quantkit.cli.layout import UNICODE
from quantkit.cli.screen import Lines, PlainScreen, Screen, can_draw, live_screen
from quantkit.clock import NS_PER_S


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """Say yes."""
        return True


@contextmanager
def bare_logging() -> Iterator[None]:
    """Logging as in a process that has configured none."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers[:] = []
    try:
        yield
    finally:
        root.handlers[:] = handlers


def test_lines_keep_the_last_ones() -> None:
    """Whole lines and the one under way, in the order written; the count knows those that went."""
    lines = Lines(3)
    for text in ("a\nb", "c\n", "d\n\n", "e"):
        assert lines.write(text) == len(text)
    assert lines.last(9) == ["bc", "d", "", "e"]
    assert lines.last(2) == ["", "e"]
    assert lines.last(0) == []
    lines.write("\nf\n")
    assert lines.last(9) == ["", "e", "f"]
    assert lines.count == 6
    assert lines.writable()


def test_a_line_every_ten_seconds_and_each_note_once() -> None:
    """The first at once."""
    said: list[str] = []
    screen = PlainScreen(said.append)
    for second in range(25):
        notes = tuple(f"note {number}" for number in range(max(0, second - 10), second))[-10:]
        screen.show(status(wall_ns=NOW_NS + second * NS_PER_S, notes=notes))
    assert [line for line in said if line.startswith("note: ")] == [f"note: note {number}" for number in range(24)]
    lines = [line for line in said if not line.startswith("note: ")]
    assert [line.split()[0] for line in lines] == ["0:12:34", "0:12:44", "0:12:54"]


def test_the_end_is_told_once() -> None:
    """With the next status."""
    said: list[str] = []
    screen = PlainScreen(said.append)
    screen.show(status(notes=()))
    screen.ending = "ending"
    screen.show(status(notes=()))
    screen.show(status(notes=()))
    assert said[1:] == ["ending"]


def test_the_view_says_something_before_the_first_status() -> None:
    """And why it ends before there was one."""
    screen = Screen(lambda: (40, 10), UNICODE, Lines(5))
    assert screen.frame().text == "connecting ..."
    screen.ending = "ending"
    assert screen.frame().text == "ending"
    screen.show(status())
    assert screen.frame().text.splitlines()[-1] == "ending"


def test_only_a_terminal_that_can_be_redrawn_gets_the_view(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not a file, not a dumb one."""
    monkeypatch.setenv("TERM", "xterm-256color")
    assert can_draw(Terminal())
    assert not can_draw(io.StringIO())
    monkeypatch.setenv("TERM", "dumb")
    assert not can_draw(Terminal())


def test_lines_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A strategy's own log lines among them, and of others what is a warning; nothing is left behind."""
    with bare_logging(), live_screen(is_drawn=False, is_quiet=False) as screen:
        assert isinstance(screen, PlainScreen)
        screen.show(status(notes=()))
        logging.getLogger("quantkit.strategy.Quoter").info("my own line")
        logging.getLogger("quantkit.feeds.okx").info("not this one")
        logging.getLogger("quantkit.feeds.okx").warning("but this")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[1:] == [
        "INFO quantkit.strategy.Quoter: my own line",
        "WARNING quantkit.feeds.okx: but this",
    ]
    assert err.startswith("0:12:34  Quoter  equity")
    assert logging.getLogger("quantkit").handlers == []
    assert logging.getLogger("quantkit.strategy").level == logging.NOTSET


def test_configured_logging_stays_in_charge(capsys: pytest.CaptureFixture[str]) -> None:
    """As by a strategy's file that calls `logging.basicConfig`."""
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    with bare_logging(), live_screen(is_drawn=False, is_quiet=False):
        logging.getLogger().addHandler(handler)
        logging.getLogger("quantkit.strategy.Quoter").info("my own line")
    assert lines.getvalue() == "my own line\n"
    assert capsys.readouterr() == ("", "")


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Not even log lines below a warning."""
    with bare_logging(), live_screen(is_drawn=False, is_quiet=True) as screen:
        assert screen is None
        logging.getLogger("quantkit.strategy.Quoter").info("my own line")
    assert capsys.readouterr() == ("", "")


def test_behind_the_view_prints_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The view shows them, the terminal gets them when the view has gone, and is as it was before."""
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "50"}.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    with redirect_stderr(terminal):
        with bare_logging(), live_screen(is_drawn=True, is_quiet=False) as screen:
            assert isinstance(screen, Screen)
            screen.show(status())
            print("from a hook")
            print("to standard error", file=sys.stderr)
            logging.getLogger("quantkit.strategy.Quoter").info("logged")
            assert "from a hook" in screen.frame().text
            assert "INFO quantkit.strategy.Quoter: logged" in screen.frame().text
        assert sys.stderr is terminal
    entered, left = terminal.getvalue().split("\x1b[?1049l")
    assert entered.startswith("\x1b[?1049h")
    assert "\x1b[?25h" in terminal.getvalue()
    lines = left.replace("\x1b[?25h", "").split("\n")
    assert [line for line in lines if line] == [
        "from a hook",
        "to standard error",
        "INFO quantkit.strategy.Quoter: logged",
    ]
