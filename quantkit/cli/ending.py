"""How signals end a command: the first one asks, the second one insists."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

#: Leaves the alternate screen, shows the cursor, resets colours: what a view that is cut off cannot do itself.
_RESTORE: Final = b"\x1b[?1049l\x1b[?25h\x1b[0m\r"
_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")


@contextmanager
def signals(ask: Callable[[], object], *, last_words: Callable[[], str]) -> Iterator[None]:
    """Call `ask` at the first SIGINT, SIGTERM or SIGHUP; end the process at the second, with a message.

    The second one does not unwind: a hook that never returns, or a disk that hangs, must not keep the user waiting.
    A signal that is ignored from outside (`nohup`) stays ignored. Off the main thread nothing is changed.

    Args:
        ask: Runs inside the signal handler: it may set an event, and must not lock.
        last_words: Gives the line to print before the hard end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked = False

    def handle(number: int, _: FrameType | None) -> None:
        nonlocal asked
        if not asked:
            asked = True
            ask()
            return
        restore = _RESTORE if os.isatty(2) else b""
        os.write(2, restore + f"quantkit: {last_words()}\n".encode())
        os._exit(128 + number)

    before = {}
    for name in _SIGNALS:
        number = getattr(signal, name, None)
        # None stands for a handler that was not set from Python, which could not be put back.
        if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.stderr.flush()
