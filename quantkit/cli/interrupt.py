"""Ctrl-C before a command has begun and after it has ended: the process ends at once. Imports next to nothing."""

import os
import signal
import threading

from quantkit import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType
    from typing import Final, NoReturn

#: Exit code of a command that the user ended with Ctrl-C.
INTERRUPTED: "Final" = 130


def end_at_once(code: int, words: bytes) -> None:
    """Let Ctrl-C end the process without unwinding, before a command begins and after it has ended."""
    # Ignored from outside stays ignored, as in a background job of a shell.
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        return
    signal.signal(signal.SIGINT, _End(code, words))


def let_interrupt() -> None:
    """Let Ctrl-C raise `KeyboardInterrupt` again: a running command may have to clean up."""
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
