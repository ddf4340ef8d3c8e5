"""The terminal during a live run: the view four times a second, or a plain line every ten seconds."""

import io
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Final, TextIO

import click

from quantkit.clock import NS_PER_S, wall_ns
from quantkit.report.console import console_of

if TYPE_CHECKING:
    from rich.console import Console

    from quantkit.cli.layout import Glyphs, StyledLines
    from quantkit.live.status import LiveStatus

_DRAWS_PER_S: Final = 4
_LINE_EVERY_NS: Final = 10 * NS_PER_S
#: Of what a strategy prints behind the view, this much is shown, and this much is printed when the view has gone.
_PRINTED_SHOWN: Final = 5
_PRINTED_KEPT: Final = 1000


class Lines(io.TextIOBase):
    """A text stream that keeps the last lines written to it."""

    def __init__(self, kept: int) -> None:
        self._whole: deque[str] = deque(maxlen=kept)
        self._part = ""
        self._lock = threading.Lock()
        self.count = 0

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, text: str) -> int:
        """Keep the whole lines of `text`; the rest waits for its end."""
        with self._lock:
            *whole, self._part = (self._part + text).split("\n")
            self._whole += whole
            self.count += len(whole)
        return len(text)

    def last(self, lines: int) -> list[str]:
        """Return at most so many lines, newest last."""
        with self._lock:
            whole = [*self._whole, self._part] if self._part else list(self._whole)
        return whole[-lines:] if lines else []


class PlainScreen:
    """A line about the run every ten seconds, and each warning once: for logs, pipes and simple terminals."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._due_ns = 0
        self._notes: tuple[str, ...] = ()
        self.ending = ""

    def show(self, status: "LiveStatus") -> None:
        """Print what is new."""
        from quantkit.cli.layout import clean
        from quantkit.cli.view import status_line

        for note in newer(self._notes, status.notes):
            self._write(f"note: {clean(note)}")
        self._notes = status.notes
        if self.ending:
            self._write(self.ending)
            self.ending = ""
        if status.wall_ns >= self._due_ns:
            self._due_ns = status.wall_ns + _LINE_EVERY_NS
            self._write(status_line(status))


class Screen:
    """The view of a run: drawn by a thread of its own, so that a hook that hangs does not stop it."""

    def __init__(self, size: Callable[[], tuple[int, int]], glyphs: "Glyphs", printed: Lines) -> None:
        self._size = size
        self._glyphs = glyphs
        self._printed = printed
        self._status: LiveStatus | None = None
        self.ending = ""

    def show(self, status: "LiveStatus") -> None:
        """Take the newest status; the next drawing has it."""
        self._status = status

    def frame(self) -> "StyledLines":
        """Return the lines to draw now."""
        from quantkit.cli.layout import StyledLines, fitted
        from quantkit.cli.view import frame_of

        width, height = self._size()
        status = self._status
        if status is None:
            said = self.ending or "connecting ..."
            return StyledLines([fitted([(said, "dim")], width, self._glyphs)])
        return frame_of(
            status,
            width=width,
            height=height,
            wall_ns=wall_ns(),
            printed=self._printed.last(_PRINTED_SHOWN),
            ending=self.ending,
            glyphs=self._glyphs,
        )


def newer(seen: tuple[str, ...], notes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the notes after the ones seen, though the oldest notes may be gone.

    Examples:
        >>> newer(("a", "b"), ("a", "b", "c")), newer(("a", "b"), ("b", "c")), newer(("a",), ("a",)), newer((), ("a",))
        (('c',), ('c',), (), ('a',))
    """
    for shared in range(min(len(seen), len(notes)), 0, -1):
        if seen[-shared:] == notes[:shared]:
            return notes[shared:]
    return notes


@contextmanager
def live_screen(*, is_drawn: bool, is_quiet: bool) -> Iterator["Screen | PlainScreen | None"]:
    """Give the screen that shows the run's status on standard error, or None if nothing is to be shown.

    The drawn view shows the end of the strategy's prints and log lines. All of them go to standard error when the view
    ends.

    Args:
        is_drawn: Draw the view; else print lines.
        is_quiet: Show nothing.
    """
    if is_quiet:
        yield None
        return
    with ExitStack() as stack:
        stack.enter_context(_strategy_log())
        if not is_drawn:
            yield PlainScreen(lambda line: click.echo(line, err=True))
            return
        printed = Lines(_PRINTED_KEPT)
        # Called last on the way out, when the terminal is itself again.
        stack.callback(_print_kept, printed, sys.stderr)
        yield stack.enter_context(_run_view(printed))


@contextmanager
def drawn(console: "Console", frame: "Callable[[], StyledLines]") -> Iterator[None]:
    """Draw `frame()` on all of a terminal four times a second; the terminal is as before when it ends."""
    from rich.live import Live

    view = Live(
        get_renderable=frame,
        console=console,
        screen=True,
        refresh_per_second=_DRAWS_PER_S,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with view:
        yield


def can_draw(stream: TextIO) -> bool:
    """Whether a stream is a terminal that can be redrawn."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def glyphs_of(console: "Console") -> "Glyphs":
    """Return what a terminal can show."""
    from quantkit.cli.layout import ASCII, UNICODE

    return UNICODE if console.encoding.lower().startswith("utf") else ASCII


@contextmanager
def _run_view(printed: Lines) -> Iterator[Screen]:
    # The stream itself and not its name, which is redirected below.
    console = console_of(file=sys.stderr)
    screen = Screen(lambda: (console.width, console.height), glyphs_of(console), printed)
    with redirect_stdout(printed), redirect_stderr(printed), drawn(console, screen.frame):
        yield screen


@contextmanager
def _strategy_log() -> Iterator[None]:
    """Print log lines: a strategy's own from INFO on, the library's warnings.

    Where somebody has configured logging, before the run or in the strategy's file, that stays in charge.
    """
    handler = logging.StreamHandler(_StandardError())
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    handler.addFilter(lambda _: not logging.getLogger().handlers)
    library, strategies = logging.getLogger("quantkit"), logging.getLogger("quantkit.strategy")
    before = strategies.level
    library.addHandler(handler)
    strategies.setLevel(logging.INFO)
    try:
        yield
    finally:
        strategies.setLevel(before)
        library.removeHandler(handler)


class _StandardError(io.TextIOBase):
    """Whatever standard error is at the moment: the view's own lines while it is drawn."""

    def writable(self) -> bool:
        """Say yes."""
        return True

    def write(self, text: str) -> int:
        """Pass the text on."""
        return sys.stderr.write(text)


def _print_kept(printed: Lines, target: TextIO) -> None:
    lines = printed.last(_PRINTED_KEPT)
    if printed.count > len(lines):
        print(f"({printed.count - len(lines):,} earlier lines are not shown)", file=target)
    for line in lines:
        print(line, file=target)
