"""`quantkit verify`: a recorded run replayed, and what differs."""

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantkit.cli.flags import as_json
from quantkit.cli.output import console_of, encoded, print_json
from quantkit.cli.root import RUN_FAILED

if TYPE_CHECKING:
    from quantkit.verify import Verdict


@click.command()
@click.argument("run", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="RUN")
@as_json
def verify(run: Path, *, is_json: bool) -> None:
    """Replay a recorded run, and compare every decision.

    RUN is the folder that `quantkit live --paper` printed. Exits with 1 when a decision, an order, a fill or the ledger
    is not what the run itself recorded; the first difference is shown with both sides.

    \b
    Example:
      quantkit verify runs/Quoter-20260901-120000
    """
    from quantkit.verify import verify as verify_run

    # What the strategy prints when it runs once more is no part of the verdict.
    with redirect_stdout(sys.stderr):
        verdict = verify_run(run)
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
