"""`quantkit new`: a first strategy, and data to try it on."""

import shlex
from pathlib import Path

import click

from quantkit.report.console import console_of


@click.command()
@click.argument("name")
@click.option(
    "--to",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    metavar="DIR",
    help="Folder to start in; made if it is not there.  [default: the present one]",
)
def new(name: str, folder: Path) -> None:
    """Write a first strategy, and data to try it on.

    The strategy goes to strategies/NAME.py. Where there is no folder data yet, one is made with sixty days of
    generated candles: prices at which nobody traded, good for a first run and for nothing else.

    \b
    Example:
      quantkit new my_strategy
      quantkit backtest my_strategy
    """
    from quantkit.report.text import escaped
    from quantkit.starter import start

    started = start(name, folder)
    console = console_of()
    console.print(f"Strategy  [bold]{escaped(str(started.strategy))}[/bold]", soft_wrap=True)
    if started.data is not None:
        made = f"Data      [bold]{escaped(str(started.data))}[/bold], generated: 60 days of candles of 15m"
        console.print(f"{made} of {escaped(started.instrument)}", soft_wrap=True)
    there = "" if folder == Path() else f"cd {shlex.quote(str(folder))} && "
    console.print(f"Run it    {escaped(there)}quantkit backtest {escaped(name)}", soft_wrap=True)
