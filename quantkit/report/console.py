"""The factory of consoles: they print names, numbers and paths as written."""

from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def console_of(*, stderr: bool = False, file: IO[str] | None = None) -> "Console":
    """Return a console that leaves numbers and paths in their plain colour.

    Instruments are called `nasdaq:SUN` or `BTC-USDT:X`; their colons begin no emoji.

    Args:
        stderr: Print to standard error.
        file: Print to a stream, whichever standard error is later.
    """
    # Only what prints needs rich.
    from rich.console import Console

    return Console(stderr=stderr, file=file, highlight=False, emoji=False)
