"""How the command line prints: results, JSON, and progress bars on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from quantkit.report.console import console_of

if TYPE_CHECKING:
    from quantkit.report.result import Result


def encoded(value: Any) -> bytes:
    """Return a struct, or a container of structs, as JSON without a line end."""
    import msgspec

    return msgspec.json.encode(value)


def print_json(line: bytes) -> None:
    """Print JSON as it is: a console would wrap it."""
    click.echo(line.decode())


def print_result(result: "Result", *, is_json: bool, is_brief: bool) -> None:
    """Print a result to standard output: as JSON, in at most 24 lines, or whole."""
    from quantkit.report import brief, summary

    if is_json:
        print_json(summary.as_json(result))
    elif is_brief:
        brief.render(result, console_of())
    else:
        summary.render(result, console_of())


@contextmanager
def progress_bar(*, is_shown: bool) -> Iterator[Callable[[int, int, int], None] | None]:
    """Give a `progress(done_ns, start_ns, end_ns)` that draws a bar on standard error, or None off a terminal."""
    if not (is_shown and sys.stderr.isatty()):
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from quantkit.clock import iso_of

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console_of(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def progress(done_ns: int, start_ns: int, end_ns: int) -> None:
            moment = iso_of(done_ns)[:16].replace("T", " ")
            bar.update(task, description=moment, completed=done_ns - start_ns, total=max(1, end_ns - start_ns))

        yield progress


@contextmanager
def file_bar(*, is_shown: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Give a `progress(file, bytes_done, bytes_total)` that draws a bar on standard error, or None off a terminal."""
    if not (is_shown and sys.stderr.isatty()):
        yield None
        return
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console_of(stderr=True), transient=True) as bar:
        task = bar.add_task("reading", total=None)

        def progress(file: str, done: int, total: int) -> None:
            bar.update(task, description=Path(file).name, completed=done, total=max(1, total))

        yield progress
