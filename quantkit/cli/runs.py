"""`quantkit runs`: the runs of a folder, one of them as text or as a page, its orders, and two of them compared."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from quantkit.cli.flags import Decorated, as_json, briefly
from quantkit.cli.output import encoded, print_json, print_result
from quantkit.report.console import console_of

#: So many are shown where nobody says how many.
_SHOWN = 20


def _ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the ids that may follow, for the shell."""
    from quantkit.errors import QuantkitError
    from quantkit.runs.folder import Runs

    try:
        entries = Runs(ctx.params.get("folder") or "runs").list()
    except QuantkitError:
        return []
    return list(dict.fromkeys(entry.id for entry in entries if entry.id.startswith(incomplete)))


def _in_folder(command: Decorated) -> Decorated:
    """Add the flag that says which folder of runs is meant."""
    return click.option(
        "--runs", "folder", default="runs", show_default=True, metavar="DIR", help="The folder of runs."
    )(command)


def _run(name: str) -> Callable[[Decorated], Decorated]:
    """Add an argument that names a run."""
    return click.argument(name, metavar=name.upper(), shell_complete=_ids)


def _id_of(run: str, folder: str) -> str:
    """Return a run as it stands in a list: a path below the folder is what a shell completes."""
    path, root = Path(run).absolute(), Path(folder).absolute()
    is_path = Path(run).parent != Path() and path.is_dir() and path != root and path.is_relative_to(root)
    return path.relative_to(root).as_posix() if is_path else run


@click.group()
def runs() -> None:
    """Look into a folder of runs: list them, show one, compare two, write a report.

    A run is named by its folder or by the first digits of its hash.

    \b
    Examples:
      quantkit runs ls
      quantkit runs show 68e599e6
      quantkit runs explain first bt12
      quantkit runs diff first 68e599e6
      quantkit runs report first first.html --open
    """


@runs.command("ls")
@_in_folder
@click.option("--strategy", metavar="NAME", help="Only those of this class, module or module:Class.")
@click.option("-n", "count", type=click.IntRange(min=1), metavar="N", help="Show so many.  [default: 20; --json: all]")
@as_json
def runs_ls(folder: str, strategy: str | None, count: int | None, *, is_json: bool) -> None:
    """List the runs, newest first.

    Strategy, span, return, Sharpe ratio, drawdown, and on wide terminals the hash. Of the parameters those are shown
    that differ between listed runs of one strategy.
    """
    from quantkit.runs.folder import Runs

    held = Runs(folder)
    entries = held.list()
    if strategy is not None:
        wanted = strategy.casefold()
        entries = [entry for entry in entries if wanted in _names(entry.strategy)]
    shown = entries[: count or (len(entries) if is_json else _SHOWN)]
    for note in held.notes():
        click.echo(f"quantkit: {note}", err=True)
    if is_json:
        print_json(encoded(shown))
    else:
        from quantkit.runs.tables import print_runs

        print_runs(shown, len(entries), folder, console_of())


@runs.command("show")
@_run("run")
@_in_folder
@briefly
@as_json
def runs_show(run: str, folder: str, *, is_brief: bool, is_json: bool) -> None:
    """Show one run.

    As `quantkit backtest` printed it; of a run that was not saved, its numbers alone.
    """
    from quantkit.runs.folder import Runs
    from quantkit.runs.tables import print_entry

    held = Runs(folder)
    entry = held.find(_id_of(run, folder))
    if entry.is_whole:
        print_result(held.load(entry.id), is_json=is_json, is_brief=is_brief)
    elif is_json:
        print_json(encoded(entry))
    else:
        print_entry(entry, folder, console_of())


@runs.command("explain")
@_run("run")
@click.argument("order_id", metavar="ORDER")
@_in_folder
@as_json
def runs_explain(run: str, order_id: str, folder: str, *, is_json: bool) -> None:
    """Say why an order of a saved run filled, or why not.

    ORDER is an id as in the result's orders, such as bt12. When it arrived, what the market showed, what stood in
    front, which rows moved it, and what it would have needed. The run is repeated for that: its data have to be
    there still.
    """
    from quantkit.runs.folder import Runs

    explanation = Runs(folder).load(_id_of(run, folder)).explain(order_id)
    if is_json:
        print_json(encoded(explanation.to_dict()))
    else:
        click.echo(str(explanation))


@runs.command("diff")
@_run("a")
@_run("b")
@_in_folder
@as_json
def runs_diff(a: str, b: str, folder: str, *, is_json: bool) -> None:
    """Show where two runs differ.

    Parameters, code, options, data, numbers, and the first order that is another. Assumptions, data files,
    code and orders are compared where both whole results were saved.
    """
    from quantkit.runs.folder import Runs
    from quantkit.runs.tables import print_diff

    diff = Runs(folder).diff(_id_of(a, folder), _id_of(b, folder))
    if is_json:
        print_json(encoded(_told(diff)))
    else:
        print_diff(diff, console_of())


@runs.command("report")
@_run("run")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@_in_folder
@click.option("--open", "is_opened", is_flag=True, help="Show the page in the browser.")
@as_json
def runs_report(run: str, file: Path | None, folder: str, *, is_opened: bool, is_json: bool) -> None:
    """Write a saved run as one HTML page.

    As `quantkit backtest --report` does. FILE defaults to the run's name with .html, in this folder; a file that is
    there is replaced.
    """
    from quantkit.report.page.file import refuse_unwritable
    from quantkit.runs.folder import Runs

    held = Runs(folder)
    entry = held.find(_id_of(run, folder))
    target = Path(f"{entry.id}.html") if file is None else file
    refuse_unwritable(target)
    held.load(entry.id).report(target, open=is_opened)
    if is_json:
        print_json(encoded({"report": str(target)}))
    else:
        from quantkit.report.text import escaped

        console_of().print(f"report: {escaped(str(target))}", soft_wrap=True)


def _told(diff: Any) -> dict[str, Any]:
    """Return a comparison with its verdict."""
    import msgspec

    return {"is_identical": diff.is_identical, **msgspec.structs.asdict(diff)}


def _names(strategy: str) -> set[str]:
    module, _, name = strategy.casefold().rpartition(":")
    return {strategy.casefold(), module, name}
