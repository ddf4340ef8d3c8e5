"""`quantkit backtest`: recorded data through a strategy."""

import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import click

from quantkit.cli.flags import account_of, account_options, as_json, briefly, held_against
from quantkit.cli.output import print_result, progress_bar


@click.command()
@click.argument("strategy")
@click.option("--data", default="data", show_default=True, metavar="DIR", help="Data folder or URI.")
@click.option("--from", "start", metavar="T", help="First moment, UTC: 2025-05-05 or 2025-05-05T12:00:00Z.")
@click.option("--to", "end", metavar="T", help="Last moment, UTC.")
@account_options
@click.option(
    "--save", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Keep the result in a new folder."
)
@click.option(
    "--runs",
    default="runs",
    show_default=True,
    metavar="DIR",
    help="Folder of runs; its index gets a line: strategy, parameters, digests, statistics.",
)
@click.option("--no-keep", "is_unkept", is_flag=True, help="Leave no line in the index.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the result as one HTML page that opens without a network.",
)
@click.option("--open", "is_opened", is_flag=True, help="Show that page in the browser.")
@click.option(
    "--compute",
    metavar="TIME",
    help="How long the strategy takes from a row to an order: 300us, lognormal:MEDIAN:P99 in milliseconds, or "
    "file:FILE, which `quantkit check --save-compute FILE` has measured.",
)
@click.option(
    "--bounds",
    "has_bounds",
    is_flag=True,
    help="Run risk_averse and front queues beside the chosen ones: between which PnL and fills does the result lie?",
)
@held_against
@briefly
@as_json
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
def backtest(
    strategy: str,
    data: str,
    start: str | None,
    end: str | None,
    folder: Path | None,
    runs: str,
    report: Path | None,
    benchmark: str | None,
    *,
    is_opened: bool,
    has_bounds: bool,
    is_unkept: bool,
    is_brief: bool,
    is_json: bool,
    quiet: bool,
    **account: Any,
) -> None:
    """Replay recorded data through a strategy.

    STRATEGY is a file (my_strategy.py), a name in the folder strategies (ma_cross), or module:Class.

    \b
    Examples:
      quantkit backtest ma_cross --from 2025-05-05 --to 2025-06-01
      quantkit backtest my_strategy.py -p fast=5 -p slow=50
      quantkit backtest ma_cross --cash USDT=5000 --save runs/first
      quantkit backtest ma_cross --report ma_cross.html --open
      quantkit backtest ma_cross --json | jq .stats.sharpe_ratio
    """
    options = account_of(account)
    if is_opened and report is None:
        raise click.UsageError("--open shows the page of --report; name a file, such as --report run.html")
    if report is not None:
        from quantkit.report.page.file import refuse_unwritable

        refuse_unwritable(report)

    from quantkit.api import backtest as run_backtest

    # What a strategy prints is no part of the JSON.
    aside: AbstractContextManager[Any] = redirect_stdout(sys.stderr) if is_json else nullcontext()
    with aside, progress_bar(is_shown=not (quiet or is_json)) as progress:
        result = run_backtest(
            strategy,
            data=data,
            start=start,
            end=end,
            save=folder,
            keep=None if is_unkept else runs,
            benchmark=benchmark,
            bounds=has_bounds,
            progress=progress,
            **options,
        )
    if not quiet:
        print_result(result, is_json=is_json, is_brief=is_brief)
    if report is not None:
        result.report(report, open=is_opened)
        if not quiet:
            click.echo(f"report: {report}", err=True)
