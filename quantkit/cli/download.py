"""`quantkit download`: an exchange's history into a data folder."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from quantkit.cli.flags import as_json, okx_of, okx_options
from quantkit.cli.interrupt import INTERRUPTED
from quantkit.cli.output import encoded, print_json
from quantkit.cli.root import RUN_FAILED

if TYPE_CHECKING:
    from quantkit.collect.report import DownloadReport
    from quantkit.feeds.okx.config import Region

#: So many holes of a stream are printed; JSON has all of them.
_HOLES_SHOWN = 5


@click.command()
@click.argument("instruments", nargs=-1, metavar="[INSTRUMENT]...")
@click.option("--kinds", default="", metavar="LIST", help="What of each, with commas: candles-1m,funding.")
@click.option("--from", "start", metavar="T", help="First moment, UTC: 2026-01-01 or 2026-01-01T12:00:00Z.")
@click.option("--to", "end", metavar="T", help="First moment that is no longer wanted.  [default: a minute ago]")
@click.option("--update", "is_update", is_flag=True, help="Go on from the end of what is stored.")
@click.option("--replace", "replaces", is_flag=True, help="Ask for stored rows again and replace them.")
@click.option("--no-files", "no_files", is_flag=True, help="Ask for all by request, not by files of days and months.")
@click.option("--data", "folder", default="data", show_default=True, metavar="DIR", help="Data folder to fill.")
@click.option("--credentials", "keys", metavar="FILE", help="API key for fee-rates, if not in the environment.")
@okx_options
@as_json
def download(
    instruments: tuple[str, ...],
    kinds: str,
    start: str | None,
    end: str | None,
    folder: str,
    keys: str | None,
    region: "Region | None",
    url: str | None,
    ca_file: str | None,
    *,
    is_update: bool,
    replaces: bool,
    no_files: bool,
    is_demo: bool,
    is_json: bool,
) -> None:
    """Download OKX's history into a data folder.

    INSTRUMENT is OKX's id: BTC-USDT, BTC-USDT-SWAP. What is stored is not asked
    for again, so the same command goes on where it was interrupted.

    \b
      candles-1m        bars, of any interval; marks-1m and index-1m likewise
      trades            each match, since 2021
      funding           settled rates, since 2022
      books             400 levels by whole days, since 2023, three days late
      open-interest, tiers, price-limit, fee-rates, instruments
                        as they are now, stored with the moment

    \b
    Examples:
      quantkit download BTC-USDT-SWAP --kinds candles-1m,funding,marks-1m \\
          --from 2026-01-01 --to 2026-02-01
      quantkit download BTC-USDT --kinds trades --from 2026-01-05
      quantkit download --update
    """
    from quantkit.collect.download import download as run
    from quantkit.collect.report import DownloadError
    from quantkit.feeds.okx.credentials import Credentials

    config = okx_of(is_demo=is_demo, region=region, url=url, ca_file=ca_file)
    credentials = None if keys is None else Credentials.from_file(keys)
    with _bar(is_shown=not is_json) as progress:
        try:
            report = run(
                instruments,
                kinds,
                start,
                end,
                data=folder,
                update=is_update,
                replace=replaces,
                files=not no_files,
                okx=config,
                credentials=credentials,
                progress=progress,
            )
        except DownloadError as error:
            report = error.report
        except KeyboardInterrupt:
            click.echo("quantkit: interrupted; what came is stored, and the same command goes on from there", err=True)
            click.get_current_context().exit(INTERRUPTED)
    if is_json:
        print_json(encoded(report))
    else:
        _print(report)
    if report.failures:
        click.get_current_context().exit(RUN_FAILED)


@contextmanager
def _bar(*, is_shown: bool) -> Iterator[Callable[[str, int, int], None] | None]:
    """Give a `progress(what, done, wanted)` that draws a bar on standard error, or None off a terminal."""
    if not (is_shown and sys.stderr.isatty()):
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from quantkit.report.console import console_of

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console_of(stderr=True), transient=True) as bar:
        task = bar.add_task("asking", total=None)
        width = 0

        def progress(what: str, done: int, wanted: int) -> None:
            # Several streams take turns; as wide as the longest name, the bar stays where it is.
            nonlocal width
            width = max(width, len(what))
            bar.update(task, description=what.ljust(width), completed=done, total=wanted)

        yield progress


def _print(report: "DownloadReport") -> None:
    """Print rows, holes and retries as lines that a pipe takes too."""
    from quantkit.report.console import console_of
    from quantkit.report.text import counted, escaped

    console = console_of()
    files = f", {counted(report.files, 'file')}" if report.files else ""
    console.print(
        f"[bold]{report.rows:,}[/] rows in {counted(len(report.streams), 'stream')} to {escaped(report.folder)}, "
        f"[dim]{counted(report.requests, 'request')}{files}[/]",
        soft_wrap=True,
    )
    width = max((len(f"{stream.instrument} {stream.kind}") for stream in report.streams), default=0)
    for stream in report.streams:
        name = f"{stream.instrument} {stream.kind}".ljust(width)
        span = f"{_moment(stream.from_ns)} to {_moment(stream.to_ns)}" if stream.to_ns else "now"
        held = f" [dim](stored before: {stream.held_rows:,})[/]" if stream.held_rows else ""
        console.print(f"  [cyan]{escaped(name)}[/]  {span}  {stream.rows:,}{held}", soft_wrap=True)
        for hole in stream.holes[:_HOLES_SHOWN]:
            console.print(
                f"    [yellow]hole[/] {_moment(hole.from_ns)} to {_moment(hole.to_ns)}: the exchange has nothing",
                soft_wrap=True,
            )
        if len(stream.holes) > _HOLES_SHOWN:
            console.print(f"    and {len(stream.holes) - _HOLES_SHOWN:,} more holes; --json lists them")
        if stream.late_from_ns:
            console.print(
                f"    [dim]from {_moment(stream.late_from_ns)} on no file is out yet; --update brings it later[/]",
                soft_wrap=True,
            )
    for line in report.failures:
        console.print(f"  [red]failed[/] {escaped(line)}", soft_wrap=True)
    for sentence in report.left_out:
        console.print(f"  [dim]{escaped(sentence)}[/]", soft_wrap=True)
    for name, count in sorted(report.counters.items()):
        console.print(f"  [dim]{counted(count, 'time')}: {escaped(name)}[/]", soft_wrap=True)


def _moment(stamp_ns: int) -> str:
    from quantkit.clock import iso_of

    return iso_of(stamp_ns)[:16].replace("T", " ")
