"""The verdict on a strategy in the terminal."""

from typing import TYPE_CHECKING, Final

from quantkit.proving.verdict import FAIL, PASS, UNTOLD, WARN, StrategyCheck
from quantkit.report.text import MISSING, counted, escaped, money

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_STYLES: Final = {PASS: "green", WARN: "yellow", FAIL: "bold red", UNTOLD: "blue"}


def render(checked: StrategyCheck, console: "Console") -> None:
    """Print what was asked, what was found, and how the result changes with its assumptions."""
    span = f" over {checked.start} to {checked.end}" if checked.start else ""
    console.print(f"[bold]{escaped(checked.strategy)}[/bold]{escaped(span)}, {counted(checked.runs, 'run')}")
    table = _table()
    for name in ("check", "verdict"):
        table.add_column(name, no_wrap=name == "verdict")
    table.add_column("evidence", overflow="fold")
    for row in checked.rows:
        kind = f"[bold]{escaped(row.kind)}[/]: " if row.verdict == FAIL and row.kind != row.check else ""
        table.add_row(row.check, f"[{_STYLES[row.verdict]}]{row.verdict}[/]", kind + escaped(row.evidence))
    console.print(table)
    if checked.variants:
        console.print(_variants(checked))
    console.print(f"[{_STYLES[checked.verdict]}]{checked.verdict}[/]")


def _variants(checked: StrategyCheck) -> "Table":
    table = _table()
    table.add_column("assumptions")
    for name in (f"PnL {checked.currency}", "fills", "Sharpe"):
        table.add_column(escaped(name), justify="right", no_wrap=True)
    for each in checked.variants:
        pnl = MISSING if each.pnl is None else money(each.pnl)
        sharpe = MISSING if each.sharpe is None else f"{each.sharpe:.2f}"
        table.add_row(escaped(each.name), pnl, MISSING if each.pnl is None else f"{each.fills:,}", sharpe)
    return table


def _table() -> "Table":
    from rich import box
    from rich.table import Table

    return Table(box=box.SIMPLE_HEAD, pad_edge=False)
