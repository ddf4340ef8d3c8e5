"""Printed tables about data: streams of a folder, findings of a check, the outcome of an import."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from quantkit.clock import iso_of
from quantkit.importers.report import ImportReport
from quantkit.quality.findings import CLEAN, FAULTY, SEVERITIES, UNVERIFIED, QualityReport
from quantkit.quality.kept import recall
from quantkit.quality.quoted import NOT_CHECKED
from quantkit.quality.repair import LEFT, Repair
from quantkit.report.text import counted, escaped
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Coverage, Holdings

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Of an answer, on a terminal.
_SHOWN_ROWS: Final = 200
_STYLES: Final = {"error": "bold red", "warning": "yellow", "info": "dim"}
#: What cannot be verified is neither good nor bad, and looks like neither.
_VERDICT_STYLES: Final = {CLEAN: "green", FAULTY: "bold red", UNVERIFIED: "blue"}
#: Streams that are named with one reason.
_NAMED: Final = 3
#: With this word begin the sources of downloads; those of imports begin with `import`.
_DOWNLOADED: Final = "okx"


class StreamRow(msgspec.Struct, frozen=True):
    """One stream of a data folder, as `data ls` lists it."""

    instrument: str
    kind: str
    interval: str
    start: str
    end: str
    rows: int
    #: None of a database, which has no size for one stream.
    size_bytes: int | None
    files: int
    has_holes: bool
    #: Whether rows were recorded live, `live`, asked for of an exchange, `downloaded`, or come from elsewhere,
    #: `imported`; `live, imported` where some were recorded and others not.
    origin: str = "imported"
    #: Of the last check: `clean`, `faulty`, `cannot be verified`; `not checked` if never, or if files changed since.
    verdict: str = NOT_CHECKED
    checked: str = ""


def stream_rows(holdings: Holdings) -> list[StreamRow]:
    """Return the streams of a folder or database by instrument, each with its span, rows and size on disk."""
    files: Counter[Stream] = Counter()
    for entry in holdings.entries:
        files[entry.stream] += 1

    kept = recall(holdings)

    def row(stream: Stream, held: Coverage) -> StreamRow:
        known = kept.get(stream)
        return StreamRow(
            instrument=stream.instrument,
            kind=stream.kind,
            interval=stream.interval,
            start=iso_of(held.start_ns),
            end=iso_of(held.end_ns),
            rows=held.rows,
            size_bytes=holdings.bytes_of(stream),
            files=files[stream],
            has_holes=held.has_holes,
            origin=_origin(holdings, stream, held),
            verdict=NOT_CHECKED if known is None else known.quality.verdict,
            checked="" if known is None else iso_of(known.checked_ns),
        )

    rows = [row(stream, held) for stream, held in holdings.coverage().items()]
    return sorted(rows, key=lambda r: (r.instrument, Stream(r.kind, r.instrument, r.interval).sort_key))


def _origin(holdings: Holdings, stream: Stream, held: Coverage) -> str:
    """Return where a stream comes from: what was recorded live was watched over a span."""
    if stream.kind == "gap":
        # Gap rows tell of other streams: those of a recording, or of imported captures.
        return "live" if any(span.stream.instrument == stream.instrument for span in holdings.watched) else "imported"
    if held.live_ns is None:
        # What only has a present is asked for without a span.
        is_asked = any(each.stream == stream for each in holdings.asked) or any(
            entry.source.partition(" ")[0] == _DOWNLOADED for entry in holdings.files(stream, -(2**63), 2**63 - 1)
        )
        return "downloaded" if is_asked else "imported"
    spans = [span for span in holdings.watched if span.stream == stream]
    inside = all(
        any(span.from_ns <= entry.last_ns and entry.first_ns <= span.to_ns for span in spans)
        for entry in holdings.files(stream, -(2**63), 2**63 - 1)
    )
    return "live" if inside else "live, imported"


def print_streams(rows: Sequence[StreamRow], root: str, console: "Console") -> None:
    """Print the streams of a data folder as a table."""
    if not rows:
        console.print(f"{escaped(root)} holds no market data yet; fill it with [bold]quantkit import[/bold]")
        return
    from rich.cells import cell_len

    # A narrow terminal has room for days, and maybe not for sizes.
    sizes = [row.size_bytes for row in rows if row.size_bytes is not None]
    for clock, wants_size in ((16, True), (10, True), (10, False)):
        has_size = wants_size and bool(sizes)
        heads = ("stream", "from (UTC)", "to (UTC)", "rows", *(["size"] if has_size else []), "last check", "source")
        shown = [_stream_cells(row, clock, has_size=has_size) for row in rows]
        widths = [max(cell_len(cells[place]) for cells in (heads, *shown)) for place in range(len(heads))]
        if sum(widths) + len(widths) <= console.width:
            break
    last = ""
    _print_cells(console, heads, widths, "bold")
    for row, cells in zip(rows, shown, strict=True):
        if row.instrument != last:
            last = row.instrument
            console.print(f"[bold cyan]{escaped(last)}[/]")
        _print_cells(console, cells, widths, "", row.verdict)
    told = [counted(len(rows), "stream"), counted(sum(row.rows for row in rows), "row"), size(sum(sizes))]
    console.print(f"[dim]{', '.join(told if sizes else told[:2])} in {escaped(root)}[/dim]")
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


def _stream_cells(row: StreamRow, clock: int, *, has_size: bool) -> tuple[str, ...]:
    name = f"  {row.kind} {row.interval}".rstrip() + (" *" if row.has_holes else "")
    start, end = (_moment(each)[:clock] for each in (row.start, row.end))
    return (
        name,
        start,
        end,
        f"{row.rows:,}",
        *([size(row.size_bytes or 0)] if has_size else []),
        row.verdict,
        row.origin,
    )


def _print_cells(
    console: "Console", cells: Sequence[str], widths: Sequence[int], style: str, verdict: str = ""
) -> None:
    """Print a line of a table whose numbers stand right; a verdict has its colour."""
    from rich.text import Text

    line = Text()
    for place, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        is_number = 3 <= place < len(cells) - 2
        own = _VERDICT_STYLES.get(verdict, "dim") if verdict and place == len(cells) - 2 else style
        line.append(f"{cell:>{width}}" if is_number else f"{cell:<{width}}", own or None)
        line.append(" " if sum(widths) + 2 * len(widths) > console.width else "  ")
    line.rstrip()
    console.print(line, no_wrap=True, overflow="ellipsis", crop=False)


def print_quality(report: QualityReport, console: "Console", *, is_part: bool = False) -> None:
    """Print what a check found: a verdict for each stream, what cannot be verified and why, findings worst first.

    Args:
        report: The check's.
        console: Where to.
        is_part: Whether only some of the folder was asked for.
    """
    if not report.streams and not report.folder:
        console.print(f"{escaped(report.root)} holds no market data to check")
        return
    table = _table("stream", "verdict", right=("rows", "findings"))
    last = ""
    for each in report.streams:
        if each.instrument != last:
            last = each.instrument
            table.add_row(f"[bold cyan]{escaped(last)}[/]")
        found = sum(finding.severity != "info" for finding in each.findings)
        name = f"  {each.kind} {each.interval}".rstrip()
        table.add_row(name, verdict_words(each.verdict), f"{each.rows:,}", f"{found or ''}")
    console.print(table)
    reasons: dict[str, list[str]] = {}
    for each in report.streams:
        for reason in each.unverified:
            reasons.setdefault(reason, []).append(str(each.stream))
    for reason, streams in reasons.items():
        names = ", ".join(streams[:_NAMED]) + (f" and {len(streams) - _NAMED} more" if len(streams) > _NAMED else "")
        console.print(f"[{_VERDICT_STYLES[UNVERIFIED]}]{UNVERIFIED}:[/] {escaped(reason)} [dim]({escaped(names)})[/]")
    for finding in report.findings:
        style = _STYLES[finding.severity]
        console.print(f"[{style}]{finding.severity}:[/] [bold]{escaped(finding.where)}[/]: {escaped(finding.what)}")
    counts = Counter(each.verdict for each in report.streams)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in (CLEAN, UNVERIFIED, FAULTY) if counts[verdict])
    severities = Counter(finding.severity for finding in report.findings)
    found_words = ", ".join(counted(severities[severity], severity) for severity in SEVERITIES if severities[severity])
    console.print(f"{escaped(report.root)}: {verdict_words(report.verdict)} ({told or 'no stream'})", soft_wrap=True)
    read = "no findings in what was asked for" if is_part else "no findings: every file and every row was read"
    console.print(found_words or read)


def print_repairs(repairs: Sequence[Repair], root: str, console: "Console", *, is_done: bool) -> None:
    """Print what was mended or would be, what cannot be mended last, and what to do."""
    todo = [each for each in repairs if each.action != LEFT]
    for each in todo:
        # Whole paths, so that they can be copied.
        console.print(f"[bold cyan]{each.action}:[/] {escaped(each.what)}", soft_wrap=True)
        if each.digest_after:
            before = each.digest_before[:16] or "none, readers refuse the files"
            console.print(f"  [dim]digest of the rows before: {before}, after: {each.digest_after[:16]}[/]")
    for each in repairs:
        if each.action == LEFT:
            console.print(f"[yellow]{LEFT}:[/] {escaped(each.what)}", soft_wrap=True)
    if not todo:
        console.print("nothing to mend" if len(repairs) == len(todo) else "nothing else to mend")
    elif not is_done:
        console.print(f"nothing was changed; quantkit data repair {escaped(root)} --yes mends it", soft_wrap=True)


def verdict_words(verdict: str) -> str:
    """Return a verdict in its colour."""
    return f"[{_VERDICT_STYLES.get(verdict, 'dim')}]{verdict}[/]"


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
