"""Start and end of the command line's process: one line answers Ctrl-C, from the first import to the last."""

import sys

from quantkit import TYPE_CHECKING
from quantkit.cli.interrupt import INTERRUPTED, end_at_once

if TYPE_CHECKING:
    from typing import Final, NoReturn

_INTERRUPTED: "Final" = b"quantkit: interrupted\n"


def run() -> "NoReturn":
    """Run the command line as a process of its own, and exit with the command's code."""
    end_at_once(INTERRUPTED, _INTERRUPTED)
    from quantkit.cli.commands import main

    try:
        main(prog_name="quantkit")
    except SystemExit as ending:
        # What is left is Python's own tidying up; it must neither be told as an error nor lose what was printed.
        for stream in (sys.stdout, sys.stderr):
            if not stream.closed:
                stream.flush()
        end_at_once(ending.code if isinstance(ending.code, int) else 0, b"")
        raise
    raise AssertionError("a command ends by exiting")
