"""The command group: help, version, and how every command's errors become one line and an exit code."""

import errno
import io
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

import click

from quantkit.cli.interrupt import INTERRUPTED, let_interrupt
from quantkit.errors import ConfigError, QuantkitError, StrategyError

#: Exit codes beside 0: the run failed, the command was wrong. Ctrl-C has its own.
RUN_FAILED: Final = 1
WRONG_COMMAND: Final = 2


class Main(click.Group):
    """A group that turns quantkit's errors into one line and an exit code."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the command line; help and version are printed on the way."""
        try:
            return super().make_context(*args, **kwargs)
        except OSError as error:
            _end_without_space(error)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; unknown exceptions pass, since a traceback of ours is a bug report."""
        let_interrupt()
        try:
            return super().invoke(ctx)
        except StrategyError as error:
            _print_strategy_error(error)
            ctx.exit(RUN_FAILED)
        except QuantkitError as error:
            click.echo(f"quantkit: error: {one_line(str(error))}", err=True)
            ctx.exit(WRONG_COMMAND if isinstance(error, ConfigError) else RUN_FAILED)
        except OSError as error:
            _end_without_space(error)
        except KeyboardInterrupt:
            click.echo("quantkit: interrupted", err=True)
            ctx.exit(INTERRUPTED)


def _end_without_space(error: OSError) -> NoReturn:
    """End with a line where the output found no space; any other error passes."""
    if error.errno != errno.ENOSPC:
        raise error
    click.echo("quantkit: error: the output cannot be written: no space left; free some, or print elsewhere", err=True)
    raise click.exceptions.Exit(RUN_FAILED)


_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=Main, context_settings=_SETTINGS, epilog="Every command explains itself: quantkit COMMAND --help")
@click.version_option(package_name="quantkit", message="quantkit %(version)s")
def main() -> None:
    """Write one trading strategy; replay it over recorded markets with fills and money you can trust.

    \b
    Start from nothing:
      quantkit new my_strategy
      quantkit backtest my_strategy

    \b
    Try the examples on the sample data, in a clone of the repository:
      quantkit data ls
      quantkit backtest ma_cross
      quantkit backtest ma_cross -p fast=5 --from 2025-05-10 --to 2025-05-20
      quantkit runs ls

    \b
    Live, with simulated fills:
      quantkit watch BTC-USDT
      quantkit live --paper quoter -p instrument=BTC-USDT-SWAP
    """
    # A pipe that takes ASCII alone gets question marks for bullets and bars, not a traceback after the run.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="replace")


def one_line(text: str) -> str:
    """Return outside text as one line that no terminal takes for a command.

    Examples:
        >>> one_line("lost:\\n  \\x1b[2J reset")
        'lost: [2J reset'
    """
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _print_strategy_error(error: StrategyError) -> None:
    """Print which hook raised, when in the market, and the user's own traceback without the values of variables."""
    from rich.markup import escape
    from rich.traceback import Traceback

    from quantkit.clock import iso_of
    from quantkit.report.console import console_of

    console = console_of(stderr=True)
    message = one_line(str(error))
    moment = "" if error.now_ns is None else iso_of(error.now_ns)
    click.echo(f"quantkit: error: {message}", err=True)
    if error.hook not in message or moment not in message:
        when = f" at [bold]{moment}[/bold] (market time)" if moment else ""
        console.print(f"hook [bold]{escape(error.hook)}[/bold]{when}")
    cause = error.__cause__
    if cause is not None:
        trace = cause.__traceback__
        # Frames of the engine above the hook say nothing about the user's code.
        while trace is not None and trace.tb_next is not None and _is_ours(trace.tb_frame.f_code.co_filename):
            trace = trace.tb_next
        console.print(Traceback.from_exception(type(cause), cause, trace, show_locals=False, suppress=[_package()]))


def _package() -> str:
    return str(Path(__file__).parents[1])


def _is_ours(file: str) -> bool:
    return Path(file).is_relative_to(_package())
