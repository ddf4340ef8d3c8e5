"""Printed tables about runs: a folder's list, one run of which only the numbers are kept, and two runs compared."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from quantkit.clock import NS_PER_MIN, span_text, time_ns_of
from quantkit.errors import QuantkitError
from quantkit.instruments import literal
from quantkit.report.stats import STATS, Stat, Value
from quantkit.report.summary import numbers_panel, stats_of_json
from quantkit.report.text import MISSING, counted, escaped, listed, title_of, written
from quantkit.runs.diff import FirstRecord, RunDiff, ValueChange
from quantkit.runs.entry import RunEntry

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: From this width on a list has room for the moment and the hash of each run.
_WIDE: Final = 110
_WIDTH_MAX: Final = 160
_DIGITS: Final = 12
_STYLES: Final = {"running": "cyan", "failed": "red", "killed": "yellow", "damaged": "bold red"}
#: What is said of an order, an order event and a fill, whether it differs or not.
_ALWAYS: Final = ("sent", "at", "filled", "order_id", "instrument", "side", "qty", "price", "state")
_PART_LINES_MAX: Final = 400


def print_runs(entries: Sequence[RunEntry], total: int, root: str, console: "Console") -> None:
    """Print a list of runs as a table.

    Args:
        entries: Those to show. total: How many there are.
        root: The folder.
        console: Where to; 80 columns are enough, 110 have room for hash and time.
    """
    if not entries:
        console.print(f"{escaped(root)} holds no such runs; [bold]quantkit backtest[/bold] leaves one")
        return
    is_wide = console.width >= _WIDE
    # The id of a live run is its folder: on a narrow terminal a name stands below it that has no room beside it.
    is_below = not is_wide and max(len(entry.id) for entry in entries) > _DIGITS
    table = _table()
    if is_below:
        table.add_column("run, strategy", overflow="fold", ratio=1)
    else:
        table.add_column("run", no_wrap=True)
        table.add_column("strategy", overflow="fold", min_width=12, ratio=1)
    table.add_column("span (UTC)", no_wrap=True)
    for name in ("return %", "Sharpe", "DD %"):
        table.add_column(name, justify="right", no_wrap=True)
    if is_wide:
        table.add_column("hash", no_wrap=True)
        table.add_column("when (UTC)", no_wrap=True)
    table.expand, table.width = True, min(console.width, _WIDTH_MAX)
    rest = [[escaped(_span(entry)), *_results(entry)] for entry in entries]
    heads = [str(column.header) for column in table.columns[1:]] if is_below else []
    free = table.width - sum(2 + max(map(_length, cells)) for cells in zip(heads, *rest, strict=False))
    for entry, parameters, results in zip(entries, _varied(entries), rest, strict=True):
        strategy = escaped(entry.name) + (f" [dim]{escaped(listed(parameters))}[/]" if parameters else "")
        names = [escaped(entry.id), strategy]
        if is_below:
            beside = f"{escaped(entry.id.ljust(_DIGITS))}  {strategy}"
            names = [beside if _length(beside) <= free else f"{names[0]}\n  {strategy}"]
        cells = [*names, *results]
        if is_wide:
            cells += [escaped(entry.hash[:_DIGITS]), escaped(_minute(entry.at))]
        table.add_row(*cells)
    console.print(table)
    if total > len(entries):
        console.print(
            f"[dim]the newest {len(entries)} of {counted(total, 'run')} in {escaped(root)}; -n {total} shows all[/dim]"
        )
    else:
        console.print(f"[dim]{counted(total, 'run')} in {escaped(root)}[/dim]")


def print_entry(entry: RunEntry, root: str, console: "Console") -> None:
    """Print a run of which there is no whole result: its numbers, or what became of it."""
    if entry.state == "finished":
        width = min(console.width, 132)
        config = {"strategy": entry.strategy, "parameters": entry.parameters}
        numbers = stats_of_json({**entry.stats, "start": entry.start, "end": entry.end})
        currency = str(entry.options.get("report_currency", ""))
        console.print(numbers_panel(numbers, title_of(config, width - 8), currency, decimals=2, width=width))
        _print_facts(entry, console)
        console.print(
            "[yellow]Only the numbers of this run are kept.[/] With --save DIR its orders, fills and equity are too.",
            soft_wrap=True,
        )
        return
    console.print(f"[{_STYLES[entry.state]}]{entry.state}[/]: {escaped(entry.note)}", soft_wrap=True)
    _print_facts(entry, console)
    if entry.state in ("killed", "failed"):
        place = escaped(f"{root}/{entry.id}")
        console.print(f"  quantkit verify {place}        repeats it up to its end", soft_wrap=True)
        console.print(f"  quantkit data rebuild {place}  writes its rows", soft_wrap=True)


def print_diff(diff: RunDiff, console: "Console") -> None:
    """Print where two runs differ; nothing is said of what is equal but that it is."""
    heads = _table()
    for name in ("", "run", "strategy", "span (UTC)", "hash", "when (UTC)"):
        heads.add_column(name, no_wrap=name != "strategy", overflow="fold")
    for letter, entry in (("A", diff.a), ("B", diff.b)):
        cells = (entry.id, entry.name, _span(entry), entry.hash[:_DIGITS], _minute(entry.at))
        heads.add_row(f"[bold]{letter}[/]", *map(escaped, cells))
    console.print(heads)
    console.print(_verdict(diff))
    _print_changes("Parameters", diff.parameters, console)
    _print_changes("Code", [ValueChange(each.name, _digits(each.a), _digits(each.b)) for each in diff.code], console)
    if diff.code_diff:
        _print_code(diff.code_diff, console)
    _print_changes("Options", diff.options, console)
    _print_changes("Data", [ValueChange(each.name, _digits(each.a), _digits(each.b)) for each in diff.data], console)
    if diff.assumptions_a or diff.assumptions_b:
        console.print("\n[bold]Assumptions[/bold] [dim]of one run alone[/]")
        table = _table()
        table.show_header = False
        table.add_column("", no_wrap=True)
        table.add_column("", overflow="fold")
        for letter, words in (("A", diff.assumptions_a), ("B", diff.assumptions_b)):
            for word in words:
                table.add_row(letter, escaped(word))
        console.print(table)
    _print_numbers(diff, console)
    for noun, first in (("order", diff.order), ("order event", diff.order_event), ("fill", diff.fill)):
        if first is not None:
            _print_first(noun, first, console)
    for note in diff.notes:
        console.print(f"\n[yellow]note:[/] {escaped(note)}")


def _verdict(diff: RunDiff) -> str:
    if diff.is_identical:
        return "\n[green]identical[/green]: the same was run, with the same orders, fills, equity and money"
    if diff.is_same_result:
        return "\n[green]the same result[/green]: the same orders, fills, equity and money, though not the same was run"
    if diff.is_same_result is None:
        return "\n[yellow]unknown[/yellow] whether the results are equal: there is no hash, or two ways of counting it"
    return "\n[bold]different[/bold] results"


def _print_changes(head: str, changes: Sequence[ValueChange], console: "Console") -> None:
    if not changes:
        return
    console.print(f"\n[bold]{head}[/bold]")
    table = _table()
    for name in ("", "A", "B"):
        table.add_column(name, overflow="fold")
    for change in changes:
        table.add_row(escaped(change.name), escaped(_text(change.a)), escaped(_text(change.b)))
    console.print(table)


def _print_numbers(diff: RunDiff, console: "Console") -> None:
    known = [stats_of_json(entry.stats) for entry in (diff.a, diff.b)]
    keys = {change.name.removesuffix("_s") if change.name not in STATS else change.name for change in diff.numbers}
    shown = [stat for stat in STATS.values() if stat.key in keys]
    if not shown:
        return
    console.print("\n[bold]Numbers[/bold]")
    table = _table()
    table.add_column("", no_wrap=True)
    for name in ("A", "B", "B - A"):
        table.add_column(name, justify="right", no_wrap=True)
    for stat in shown:
        a, b = (each.get(stat.key) for each in known)
        table.add_row(
            escaped(stat.label), *(escaped(written(stat, value)) for value in (a, b)), escaped(_change(stat, a, b))
        )
    console.print(table)


def _change(stat: Stat, a: Value, b: Value) -> str:
    """Return how much larger the second of two numbers is, with a sign; nothing for what is no number."""
    if not isinstance(a, int | float) or not isinstance(b, int | float) or a == b:
        return ""
    text = written(stat, b - a)
    return text if text.startswith("-") else f"+{text}"


def _print_code(text: str, console: "Console") -> None:
    """Print a unified diff, cut at a length that a terminal still holds."""
    lines = text.splitlines()
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines[:_PART_LINES_MAX]:
        # Tabs are kept as the spaces that they stand for; other control characters are no part of code.
        console.print(f"  [{styles.get(line[:1], 'default')}]{escaped(line.expandtabs(4))}[/]", soft_wrap=True)
    if len(lines) > _PART_LINES_MAX:
        console.print(f"  [dim]and {counted(len(lines) - _PART_LINES_MAX, 'line')} more; --json has all[/dim]")


def _print_first(noun: str, first: FirstRecord, console: "Console") -> None:
    console.print(f"\n[bold]First differing {noun}[/bold]: number {first.number:,}, {escaped(_second(first.at))}")
    if first.a is None or first.b is None:
        letter, there = ("A", first.b) if first.a is None else ("B", first.a)
        console.print(f"  {letter} has no more {noun}s")
        first_of = [
            ValueChange(name, value, None)
            for name, value in (there or {}).items()
            if name in _ALWAYS and value is not None
        ]
        table = _table()
        table.add_column("")
        table.add_column("B" if letter == "A" else "A", overflow="fold")
        for change in first_of:
            table.add_row(escaped(change.name), escaped(_text(change.a)))
        console.print(table)
        return
    differs = {change.name for change in first.changes}
    table = _table()
    for name in ("", "A", "B"):
        table.add_column(name, overflow="fold")
    for name, value in first.a.items():
        other = first.b.get(name)
        if name in differs or (name in _ALWAYS and value is not None):
            style = "bold yellow" if name in differs else "default"
            table.add_row(name, *(f"[{style}]{escaped(_text(each))}[/]" for each in (value, other)))
    console.print(table)


def _print_facts(entry: RunEntry, console: "Console") -> None:
    began = "began" if entry.kind == "live" else "ended"
    for name, value in (
        ("strategy", entry.strategy),
        ("parameters", listed(entry.parameters)),
        ("code", entry.digest or ""),
        ("data", entry.data),
        (began, entry.at),
        ("hash", entry.hash),
    ):
        if value:
            console.print(f"  [dim]{name:<10}[/] {escaped(value)}", soft_wrap=True)


def _varied(entries: Sequence[RunEntry]) -> list[dict[str, Any]]:
    """Return the parameters of each run that are not the same in all listed runs of its strategy."""
    values: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for entry in entries:
        for name, value in entry.parameters.items():
            values[entry.name][name].add(_text(value))
    return [
        {name: value for name, value in entry.parameters.items() if len(values[entry.name][name]) > 1}
        for entry in entries
    ]


def _results(entry: RunEntry) -> tuple[str, str, str]:
    """Return the cells of return, Sharpe ratio and drawdown; in the first one, what became of a run without."""
    if entry.state != "finished":
        return f"[{_STYLES[entry.state]}]{entry.state}[/]", "", ""
    numbers = stats_of_json(entry.stats)
    change = numbers.get("return_pct")
    colour = "default" if not isinstance(change, float) or not change else "green" if change > 0 else "red"
    cells = [escaped(_number(numbers, key)) for key in ("return_pct", "sharpe_ratio", "max_drawdown")]
    return f"[{colour}]{cells[0]}[/]", cells[1], cells[2]


def _length(marked: str) -> int:
    """Return how many columns a text takes without its markup."""
    from rich.text import Text

    return Text.from_markup(marked).cell_len


def _number(numbers: Mapping[str, Value], key: str) -> str:
    return written(STATS[key], numbers.get(key))


def _span(entry: RunEntry) -> str:
    """Return the day on which a run's span begins, and its length."""
    try:
        start_ns, end_ns = time_ns_of(entry.start), time_ns_of(entry.end)
    except QuantkitError:
        return entry.start[:10]
    length_ns = end_ns - start_ns
    # A length is read at a glance: days, or what is below a day.
    length = (
        span_text(length_ns // NS_PER_MIN * NS_PER_MIN) if length_ns >= NS_PER_MIN else span_text(max(0, length_ns))
    )
    return f"{entry.start[:10]} {length.partition(' ')[0]}"


def _minute(at: str) -> str:
    return at[:16].replace("T", " ")


def _second(at: str) -> str:
    return at.replace("T", " ").removesuffix("Z")


def _digits(value: Any) -> Any:
    """Return the first digits of a digest, as they are told apart by; anything else as it is."""
    is_digest = isinstance(value, str) and len(value) == 64 and all(c in "0123456789abcdef" for c in value)
    return value[:_DIGITS] if is_digest else value


def _text(value: Any) -> str:
    """Return a value as it would be typed; text without quotes."""
    if value is None:
        return MISSING
    return value if isinstance(value, str) else literal(value)


def _table() -> "Table":
    from rich.table import Table

    return Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
