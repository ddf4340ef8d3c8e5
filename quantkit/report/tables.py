"""Printed tables about data: streams of a folder, findings of a check, the outcome of an import."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from quantkit.clock import iso_of
from quantkit.importers.report import ImportReport
from quantkit.report.text import counted, escaped
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog, Coverage
from quantkit.storage.quality import Finding

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Of an answer, on a terminal.
_SHOWN_ROWS: Final = 200
_STYLES: Final = {"error": "bold red", "warning": "yellow", "info": "dim"}


class StreamRow(msgspec.Struct, frozen=True):
    """One stream of a data folder, as `data ls` lists it."""

    instrument: str
    kind: str
    interval: str
    start: str
    end: str
    rows: int
    size_bytes: int
    files: int
    has_holes: bool


def stream_rows(catalog: Catalog) -> list[StreamRow]:
    """Return the streams of a catalog by instrument, each with its span, rows and size on disk."""
    sizes: Counter[Stream] = Counter()
    files: Counter[Stream] = Counter()
    for entry in catalog.entries:
        sizes[entry.stream] += entry.size_bytes
        files[entry.stream] += 1

    def row(stream: Stream, held: Coverage) -> StreamRow:
        return StreamRow(
            instrument=stream.instrument,
            kind=stream.kind,
            interval=stream.interval,
            start=iso_of(held.start_ns),
            end=iso_of(held.end_ns),
            rows=held.rows,
            size_bytes=sizes[stream],
            files=files[stream],
            has_holes=held.has_holes,
        )

    rows = [row(stream, held) for stream, held in catalog.coverage().items()]
    return sorted(rows, key=lambda r: (r.instrument, Stream(r.kind, r.instrument, r.interval).sort_key))


def print_streams(rows: Sequence[StreamRow], root: str, console: "Console") -> None:
    """Print the streams of a data folder as a table."""
    if not rows:
        console.print(f"{escaped(root)} holds no market data yet; fill it with [bold]quantkit import[/bold]")
        return
    table = _table("stream", "from (UTC)", "to (UTC)", right=("rows", "size"))
    last = ""
    for row in rows:
        if row.instrument != last:
            last = row.instrument
            table.add_row(f"[bold cyan]{escaped(last)}[/]")
        stream = f"  {row.kind} {row.interval}".rstrip() + (" [yellow]*[/]" if row.has_holes else "")
        table.add_row(stream, _moment(row.start), _moment(row.end), f"{row.rows:,}", size(row.size_bytes))
    console.print(table)
    total = sum(row.rows for row in rows), sum(row.size_bytes for row in rows)
    console.print(f"[dim]{counted(len(rows), 'stream')}, {total[0]:,} rows, {size(total[1])} in {escaped(root)}[/dim]")
    if any(row.has_holes for row in rows):
        console.print("[yellow]*[/] [dim]whole days or months are missing; see[/dim] quantkit data check")


def print_answer(names: Sequence[str], rows: Sequence[Mapping[str, Any]], console: "Console") -> None:
    """Print the first rows of a question's answer as a table, numbers to the right."""
    shown = rows[:_SHOWN_ROWS]
    numbers = {name for name in names if all(isinstance(row[name], int | float | None) for row in shown)}
    table = _table()
    for name in names:
        table.add_column(escaped(name), justify="right" if name in numbers else "left", overflow="fold")
    for row in shown:
        table.add_row(*("" if row[name] is None else escaped(str(row[name])) for name in names))
    console.print(table)
    if len(rows) > len(shown):
        console.print(f"[dim]and {len(rows) - len(shown):,} more rows; --csv or --json print all of them[/dim]")


def print_findings(findings: Sequence[Finding], root: str, console: "Console") -> None:
    """Print what a check found, worst first, and how many of each."""
    if not findings:
        console.print(f"[green]{escaped(root)} is sound[/green]: every file and every row was read")
        return
    table = _table("", "where", "what")
    table.columns[1].overflow = table.columns[2].overflow = "fold"
    table.columns[1].no_wrap = False
    for finding in findings:
        table.add_row(
            f"[{_STYLES[finding.severity]}]{finding.severity}[/]", escaped(finding.where), escaped(finding.what)
        )
    console.print(table)
    counts = Counter(finding.severity for finding in findings)
    console.print(", ".join(counted(count, severity) for severity, count in counts.items()))


def print_import(report: ImportReport, target: str, console: "Console") -> None:
    """Print an import: rows written, rules applied, rows that could not be understood with file and line."""
    table = _table("stream", right=("rows written",))
    for stream, rows in sorted(report.rows_written.items()):
        table.add_row(escaped(stream), f"{rows:,}")
    console.print(table)
    files = counted(len(report.files), "file")
    console.print(
        f"[dim]{files}, {report.rows_read:,} rows read, {sum(report.rows_written.values()):,} written to "
        f"{escaped(target)}[/dim]"
    )
    alike: dict[str, list[str]] = {}
    for file, found in report.recognised.items():
        alike.setdefault(found, []).append(file)
    for found, named in alike.items():
        which = named[0] if len(named) == 1 else f"{len(named)} files from {named[0]} on"
        console.print(f"[dim]{escaped(which)}: {escaped(found)}[/dim]")
    for name, source in sorted(report.instruments.items()):
        console.print(f"[dim]{escaped(name)}: metadata {escaped(source)}[/dim]")
    for rule, count in sorted(report.ignored.items()):
        console.print(f"[dim]{count:,} left out: {escaped(rule)}[/dim]")
    for what, count in sorted(report.checked.items()):
        console.print(f"[dim]{count:,} proved: {escaped(what)}[/dim]")
    if report.received_shift_ns:
        console.print(
            f"receipt stamps shifted by {report.received_shift_ns / 1e6:,.3f} ms: the receiver's clock was behind"
        )
    for sentence in report.warnings:
        console.print(f"[yellow]warning:[/] {escaped(sentence)}")
    if report.skipped:
        console.print(f"[yellow]{counted(report.skipped, 'row')} could not be understood:[/]")
        for row in report.skipped_rows:
            console.print(f"  {escaped(str(row))}", soft_wrap=True)
        if report.skipped > len(report.skipped_rows):
            console.print(f"  [dim]and {report.skipped - len(report.skipped_rows):,} more[/dim]")


def size(count: int) -> str:
    """Return a number of bytes with its unit.

    Examples:
        >>> size(900), size(1536), size(8 * 1024 * 1024)
        ('900 B', '1.5 KiB', '8.0 MiB')
    """
    if count < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB"):
        amount /= 1024
        if amount < 1024:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1024:.1f} TiB"


def _moment(iso: str) -> str:
    """Return ISO text to the minute, as a table shows it; `--json` has all of it."""
    return iso[:16].replace("T", " ")


def _table(*left: str, right: Sequence[str] = ()) -> "Table":
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for name in left:
        table.add_column(name, no_wrap=name != "what")
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table
