"""The command line: flags in, text out. Everything heavy is imported inside the command that needs it."""

from quantkit import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from quantkit.cli.commands import main

__all__ = ["main"]


def __getattr__(name: str) -> "Any":
    """Import the commands when they are first asked for: `start` has to come before them."""
    if name == "main":
        from quantkit.cli.commands import main

        return main
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
