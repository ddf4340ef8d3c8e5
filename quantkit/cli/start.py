"""How the command line's process begins and ends: one line answers Ctrl-C, from the first import to the last."""

import os
import signal
import sys
import threading

from quantkit import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType
    from typing import Final, NoReturn

#: Exit code of a command that the user ended with Ctrl-C.
INTERRUPTED: "Final" = 130
_INTERRUPTED: "Final" = b"quantkit: interrupted\n"


def run() -> "NoReturn":
    """Run the command line as a process of its own, and exit with the command's code."""
    _end_at_once(INTERRUPTED, _INTERRUPTED)
    from quantkit.cli.commands import main

    try:
        main(prog_name="quantkit")
    except SystemExit as ending:
        # What is left is Python's own tidying up; it must neither be told as an error nor lose what was printed.
        for stream in (sys.stdout, sys.stderr):
            if not stream.closed:
                stream.flush()
        _end_at_once(ending.code if isinstance(ending.code, int) else 0, b"")
        raise
    raise AssertionError("a command ends by exiting")


def _end_at_once(code: int, words: bytes) -> None:
    """Let Ctrl-C end the process without unwinding: there is nothing yet, or nothing any more, that it could harm."""
    # Ignored from outside stays ignored, as in a background job of a shell.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        return

    signal.signal(signal.SIGINT, _End(code, words))


def let_interrupt() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` where it ended the process: a command that has begun may have to tidy up."""
    if isinstance(signal.getsignal(signal.SIGINT), _End):
        signal.signal(signal.SIGINT, signal.default_int_handler)


class _End:
    """A signal handler that ends the process."""

    def __init__(self, code: int, words: bytes) -> None:
        self._code = code
        self._words = words

    def __call__(self, _: int, __: "FrameType | None") -> "NoReturn":
        os.write(2, self._words)
        os._exit(self._code)
