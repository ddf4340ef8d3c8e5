"""`quantkit verify`: a recorded run repeated, and its first difference."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantkit.cli.flags import as_json
from quantkit.cli.output import encoded, print_json
from quantkit.cli.root import RUN_FAILED
from quantkit.errors import ConfigError
from quantkit.report.console import console_of

if TYPE_CHECKING:
    from quantkit.live.verify import Verdict


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="RUN")
@click.option("--trust", is_flag=True, help="Run the copy of the strategy in RUN, whoever made that folder.")
@click.option("--strategy", metavar="FILE", help="Run this strategy instead of the recorded file.")
@as_json
def verify(run: Path, *, trust: bool, strategy: str | None, is_json: bool) -> None:
    """Replay a recorded run, and compare every decision. This runs the strategy.

    RUN is the folder that `quantkit live --paper` printed. The strategy is the file that the run was recorded with, at
    the place where it was; it runs only if its bytes, and those of the modules beside it, are the recorded ones.

    Exits with 1 when a decision, an order, a fill or the ledger is not what the run itself recorded; the first
    difference is shown with both sides.

    \b
    Examples:
      quantkit verify runs/Quoter-20260901-120000
      quantkit verify received/Quoter-20260901-120000 --strategy my_strategy.py
    """
    if trust and strategy is not None:
        raise ConfigError("--trust runs the copy in RUN and --strategy another file; give one of them")

    from quantkit.live.verify import verify as verify_run

    # What the strategy prints when it runs once more is no part of the verdict.
    with redirect_stdout(sys.stderr):
        verdict = verify_run(run, strategy=strategy, trust=trust)
    if is_json:
        print_json(encoded(verdict))
    else:
        _print_verdict(verdict, run)
    if not verdict.is_identical:
        click.get_current_context().exit(RUN_FAILED)


def _print_verdict(verdict: "Verdict", run: Path) -> None:
    from quantkit.report.text import counted, escaped

    console = console_of()
    numbers = {"event": verdict.events, "decision": verdict.decisions, "order": verdict.orders, "fill": verdict.fills}
    counts = ", ".join(counted(count, noun) for noun, count in numbers.items())
    place = escaped(str(run))
    difference = verdict.difference
    if difference is None:
        console.print(f"[green]identical[/green]: {place}", soft_wrap=True)
        console.print(f"  {counts}; ended: {escaped(verdict.ended)}", soft_wrap=True)
    else:
        console.print(f"[bold red]different[/bold red]: {place}", soft_wrap=True)
        console.print(f"  {counts} alike, then {escaped(difference.where)}:", soft_wrap=True)
        console.print(f"  recorded  {escaped(difference.recorded)}", soft_wrap=True)
        console.print(f"  replayed  {escaped(difference.replayed)}", soft_wrap=True)
    for note in verdict.notes:
        console.print(f"  [yellow]note:[/] {escaped(note)}", soft_wrap=True)
