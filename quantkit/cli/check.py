"""`quantkit check`: whether a strategy's backtest can be believed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from quantkit.cli.flags import account_of, account_options, as_json
from quantkit.cli.output import encoded, print_json
from quantkit.cli.root import RUN_FAILED
from quantkit.report.console import console_of


@click.command()
@click.argument("strategy")
@click.option("--data", default="data", show_default=True, metavar="DIR", help="Data folder or URI.")
@click.option("--instrument", metavar="ID", help="The parameter `instrument`, as -p instrument=ID.")
@click.option("--from", "start", metavar="T", help="First moment, UTC: 2025-05-05 or 2025-05-05T12:00:00Z.")
@click.option("--to", "end", metavar="T", help="Last moment, UTC.")
@account_options
@click.option(
    "--only",
    multiple=True,
    metavar="CHECK",
    help="Ask this alone, such as look-ahead; repeat for more.  [default: all]",
)
@click.option(
    "--allow", multiple=True, metavar="FILE", help="A file that the strategy may read, or a pattern; repeat for more."
)
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Processes at a time.  [default: processors]")
@click.option(
    "--save-compute",
    metavar="FILE",
    help="Write how long the strategy took to each message, for `quantkit backtest --compute file:FILE`.",
)
@click.option("--timeout", default="10m", show_default=True, metavar="TIME", help="What one run may take.")
@as_json
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def check(
    strategy: str,
    data: str,
    instrument: str | None,
    start: str | None,
    end: str | None,
    only: tuple[str, ...],
    allow: tuple[str, ...],
    workers: int | None,
    timeout: str,
    save_compute: str | None,
    *,
    is_json: bool,
    quiet: bool,
    **account: Any,
) -> None:
    """Look for what would make a strategy's backtest a fiction.

    It is run some twenty times, with other futures, in other surroundings and under other assumptions: does it look
    ahead, depend on chance, keep something between runs, lose its profit with a little latency? Data are checked by
    `quantkit data check`.

    Exits with 1 when a check fails.

    \b
    Examples:
      quantkit check ma_cross
      quantkit check my_strategy.py -p fast=5 --from 2025-05-05 --to 2025-06-01
    """
    options = account_of(account)
    params = dict(options.pop("params", {}))
    if instrument is not None:
        if "instrument" in params:
            raise click.UsageError("--instrument and -p instrument= are the same; give one of them")
        params["instrument"] = instrument

    from quantkit.proving.check import check as run_check
    from quantkit.proving.table import render

    with _run_bar(is_shown=not (quiet or is_json)) as progress:
        checked = run_check(
            strategy,
            data=data,
            start=start,
            end=end,
            params=params,
            **({"only": only} if only else {}),
            allow=allow,
            workers=workers,
            timeout=timeout,
            save_compute=save_compute,
            progress=progress,
            **options,
        )
    if is_json:
        print_json(encoded({"verdict": checked.verdict, **_fields(checked)}))
    elif not quiet:
        render(checked, console_of())
        if save_compute is not None:
            click.echo(f"compute: {checked.compute}; saved to {save_compute}")
    if checked.faults:
        click.get_current_context().exit(RUN_FAILED)


def _fields(checked: Any) -> dict[str, Any]:
    import msgspec

    return msgspec.structs.asdict(checked)


@contextmanager
def _run_bar(*, is_shown: bool) -> Iterator[Callable[[int, str], None] | None]:
    """Give a `progress(runs, name)` that shows how many runs are done, or None off a terminal."""
    import sys

    if not (is_shown and sys.stderr.isatty()):
        yield None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console_of(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        count = 0

        def progress(runs: int, name: str) -> None:
            nonlocal count
            count += runs
            bar.update(task, description=f"{count} runs: {name}")

        yield progress
