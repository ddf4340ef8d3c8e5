"""`quantkit data`: the contents of a data folder, its faults, and the rows of a killed run."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from quantkit.cli.flags import as_json
from quantkit.cli.output import encoded, file_bar, print_json
from quantkit.cli.root import RUN_FAILED
from quantkit.cli.stores import holdings_of
from quantkit.report.console import console_of

if TYPE_CHECKING:
    from quantkit.storage.catalog import Holdings
    from quantkit.storage.manifest import FileEntry


@click.group()
def data() -> None:
    """Look into a data folder, or rebuild one."""


@data.command("ls")
@click.argument("folder", default="data", metavar="[DIR]")
@as_json
def data_ls(folder: str, *, is_json: bool) -> None:
    """List the streams of a data folder or a database: span, rows, size, the last check.

    DIR defaults to data; it may be postgresql://USER@HOST/NAME.
    """
    from quantkit.report.tables import print_streams, stream_rows

    holdings = holdings_of(folder)
    rows = stream_rows(holdings)
    if is_json:
        print_json(encoded(rows))
    else:
        print_streams(rows, holdings.described_as, console_of())


@data.command("check")
@click.argument("folder", default="data", metavar="[DIR]")
@click.option(
    "--instrument", "instruments", multiple=True, metavar="ID", help="Check this instrument; repeat for more."
)
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Check this kind (trade, candle, book); repeat.")
@click.option("--from", "start", metavar="T", help="First moment, UTC: 2025-05-05 or 2025-05-05T12:00:00Z.")
@click.option("--to", "end", metavar="T", help="Last moment, UTC.")
@click.option("--html", "page", metavar="FILE", help="Write the report as one HTML file with pictures.")
@click.option("--open", "is_opened", is_flag=True, help="Show the HTML file in the browser; with --html.")
@as_json
def data_check(
    folder: str,
    instruments: tuple[str, ...],
    kinds: tuple[str, ...],
    start: str | None,
    end: str | None,
    page: str | None,
    *,
    is_opened: bool,
    is_json: bool,
) -> None:
    """Read the rows of a data folder or a database and say what is wrong with it.

    DIR defaults to data; it may be postgresql://USER@HOST/NAME.

    Each stream is `clean`, `faulty`, or `cannot be verified`: rows without sequence numbers cannot show that none is
    missing. What is said of whole streams is kept beside the data, for `quantkit data ls` and for results of runs.

    Exits with 1 when there are errors: files that cannot be read or rows that cannot be trusted.
    """
    from quantkit.clock import time_ns_of, wall_ns
    from quantkit.errors import ConfigError, DataError
    from quantkit.quality import check
    from quantkit.quality.kept import remember
    from quantkit.report.page import file
    from quantkit.report.page.quality_pictures import Pictures
    from quantkit.report.tables import print_quality

    target = None if page is None else Path(page)
    if target is not None:
        file.refuse_unwritable(target)
    elif is_opened:
        raise ConfigError("--open shows the HTML file; name it with --html FILE")
    holdings = holdings_of(folder)
    pictures = None if target is None else Pictures(holdings)
    _refuse_unknown(holdings, instruments, kinds)
    start_ns, end_ns = (None if moment is None else time_ns_of(moment) for moment in (start, end))
    _refuse_empty(holdings, instruments, kinds, start_ns, end_ns)
    is_part = bool(instruments or kinds) or start_ns is not None or end_ns is not None
    with _check_bar(holdings.entries, is_shown=not is_json) as progress:
        report = check(
            holdings,
            instruments=instruments,
            kinds=kinds,
            start_ns=start_ns,
            end_ns=end_ns,
            progress=progress,
            sink=pictures,
        )
    if start_ns is None and end_ns is None:
        # A folder that cannot be written, say one on a medium of its own, is checked all the same.
        with suppress(DataError):
            remember(holdings, report, wall_ns())
    if target is not None and pictures is not None:
        from quantkit.report.page import quality

        file.write(target, quality.render(report, pictures, is_part=is_part))
        if is_opened:
            file.show(target)
    if is_json:
        print_json(encoded(report))
    else:
        print_quality(report, console_of(), is_part=is_part)
    if any(finding.severity == "error" for finding in report.findings):
        click.get_current_context().exit(RUN_FAILED)


def _refuse_unknown(holdings: "Holdings", instruments: tuple[str, ...], kinds: tuple[str, ...]) -> None:
    """Refuse what is not there, which would pass for clean.

    Raises:
        ConfigError: It names what there is.
    """
    from quantkit.errors import ConfigError

    streams = holdings.coverage()
    for what, given, known in (
        ("instrument", instruments, sorted({stream.instrument for stream in streams})),
        ("kind", kinds, sorted({stream.kind for stream in streams})),
    ):
        for each in given:
            if each not in known:
                raise ConfigError(f"{holdings.described_as} holds no {what} {each!r}; it has {', '.join(known)}")


def _refuse_empty(
    holdings: "Holdings",
    instruments: tuple[str, ...],
    kinds: tuple[str, ...],
    start_ns: int | None,
    end_ns: int | None,
) -> None:
    """Refuse a span without anything in it, which would pass for clean.

    Raises:
        ConfigError: It names the span that there is.
    """
    from quantkit.clock import iso_of
    from quantkit.errors import ConfigError

    if start_ns is not None and end_ns is not None and end_ns < start_ns:
        raise ConfigError(f"the end {iso_of(end_ns)} is before the start {iso_of(start_ns)}")
    spans = [
        (held.start_ns, held.end_ns)
        for stream, held in holdings.coverage().items()
        if (not instruments or stream.instrument in instruments) and (not kinds or stream.kind in kinds)
    ]
    if not spans or any(
        (end_ns is None or first_ns <= end_ns) and (start_ns is None or start_ns <= last_ns)
        for first_ns, last_ns in spans
    ):
        return
    first_ns, last_ns = min(first for first, _ in spans), max(last for _, last in spans)
    held_span = f"{iso_of(first_ns)} to {iso_of(last_ns)}"
    raise ConfigError(f"{holdings.described_as} holds nothing of it in the span asked for; it runs from {held_span}")


@contextmanager
def _check_bar(entries: "list[FileEntry]", *, is_shown: bool) -> "Iterator[Callable[[FileEntry], None] | None]":
    """Give a `progress(entry)` that draws how many bytes of some files were read, or None off a terminal."""
    total, done = sum(entry.size_bytes for entry in entries), 0
    with file_bar(is_shown=is_shown) as bar:
        if bar is None:
            yield None
            return

        def progress(entry: "FileEntry") -> None:
            nonlocal done
            bar(str(entry.stream), done, total)
            done += entry.size_bytes

        yield progress


@data.command("sql")
@click.argument("question", metavar="SELECT")
@click.argument("folder", default="data", metavar="[DIR]")
@click.option("--csv", "is_csv", is_flag=True, help="Print all rows as CSV.")
@as_json
def data_sql(question: str, folder: str, *, is_csv: bool, is_json: bool) -> None:
    """Answer a question in SQL. DIR defaults to data.

    Each kind of rows is a view: trade, candle, book, ticker, mark, funding, gap, ... with a column `instrument`. Needs
    DuckDB: pip install 'quantkit[sql]'.

    quantkit data sql "select instrument, count(*) from trade group by all"
    """
    import csv
    from io import StringIO

    from quantkit.report.tables import print_answer
    from quantkit.research.sql import plain_rows, sql
    from quantkit.storage.catalog import Catalog

    answer = sql(Catalog(folder), question)
    rows = plain_rows(answer)
    if is_json:
        print_json(encoded(rows))
    elif is_csv:
        text = StringIO()
        writer = csv.DictWriter(text, answer.column_names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        click.echo(text.getvalue(), nl=False)
    else:
        print_answer(answer.column_names, rows, console_of())


@data.command("repair")
@click.argument("folder", default="data", metavar="[DIR]")
@click.option("--yes", "is_done", is_flag=True, help="Mend; without it, only say what would be done.")
@as_json
def data_repair(folder: str, *, is_done: bool, is_json: bool) -> None:
    """Say what can be mended in a data folder, and mend it with --yes. DIR defaults to data.

    A torn last line of the manifest is dropped, rows out of order are sorted and exact doubles of rows dropped, a whole
    file that no manifest lists is written anew, and small files of one day or month become one. No row is invented or
    lost, and each mend is done whole or not at all; repairs.jsonl has a line for each, with the digests of the rows
    before and after. What cannot be mended is said. Do not repair a folder that something writes to.
    """
    from quantkit.clock import wall_ns
    from quantkit.errors import DataError
    from quantkit.quality.repair import planned, repair
    from quantkit.report.tables import print_repairs
    from quantkit.storage.catalog import Catalog
    from quantkit.storage.root import Root

    root = Root.of(folder)
    if not root.has_folder():
        Catalog(folder)  # it says what is missing
    entries: list[FileEntry] = []
    with suppress(DataError):
        # A torn manifest is mended first; what cannot be read is said below.
        entries = Catalog(root).entries
    with _check_bar(entries, is_shown=not is_json) as progress:
        repairs = list(repair(root, wall_ns(), progress) if is_done else planned(root, wall_ns(), progress))
    if is_json:
        print_json(encoded(repairs))
    else:
        print_repairs(repairs, str(root), console_of(), is_done=is_done)


@data.command("rebuild")
@click.argument("run", metavar="RUN")
@as_json
def data_rebuild(run: str, *, is_json: bool) -> None:
    """Write a killed run's rows anew from its tape.

    RUN is the folder that `quantkit live --paper` recorded in.
    """
    from quantkit.live.rebuild import rebuild
    from quantkit.report.text import counted

    counts = {str(stream): rows for stream, rows in sorted(rebuild(run).items(), key=lambda item: item[0].sort_key)}
    if is_json:
        print_json(encoded(counts))
    else:
        console = console_of()
        for stream, rows in counts.items():
            console.print(f"{stream}: {counted(rows, 'row')}", markup=False, highlight=False)
        console.print(f"{counted(sum(counts.values()), 'row')} in {run}/data", markup=False, highlight=False)
