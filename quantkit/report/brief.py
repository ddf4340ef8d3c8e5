"""A result in at most 24 lines of 80 columns, the return last."""

from datetime import datetime
from typing import TYPE_CHECKING, Final

from quantkit.clock import iso_of
from quantkit.report.downsample import sparkline
from quantkit.report.result import Result
from quantkit.report.stats import STATS
from quantkit.report.text import counted, escaped, listed, money, strategy_of, title_of, written

if TYPE_CHECKING:
    from rich.console import Console

#: Each row of the numbers: two of them side by side.
_ROWS: Final = (
    ("sharpe_ratio", "trades"),
    ("sortino_ratio", "win_rate_pct"),
    ("max_drawdown", "avg_trade_pct"),
    ("max_drawdown_duration", "profit_factor"),
    ("volatility_pct", "fees_paid"),
    ("exposure_time_pct", "funding_received"),
)
_ASSUMPTIONS_SHOWN: Final = 5
_WARNINGS_SHOWN: Final = 4
_WIDTH_MAX: Final = 80


def render(result: Result, console: "Console") -> None:
    """Print the short report: the run, its assumptions and warnings in a line each, numbers, and the return last.

    Args:
        result: What to show.
        console: Where to; lines are cut at its width, and at 80 columns.
    """
    outcome, numbers = result.outcome, result.numbers
    width = min(console.width, _WIDTH_MAX)
    title = title_of(result.config, width)
    lines = [f"[bold]{escaped(title)}[/bold]"]
    name, parameters = strategy_of(result.config)
    if title == name and parameters:
        lines.append(f"[dim]{escaped(_shortened(listed(parameters), width))}[/dim]")
    start, end = numbers["start"], numbers["end"]
    assert isinstance(start, datetime)
    assert isinstance(end, datetime)
    lines.append(
        escaped(f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}, {outcome.ended}; data {result.data_quality}")
    )
    lines += _cut("assumption", result.assumptions, _ASSUMPTIONS_SHOWN, width, "dim")
    lines += _cut("warning", result.warnings, _WARNINGS_SHOWN, width, "yellow")
    half = (width - 3) // 2
    for row in _ROWS:
        cells = []
        for key in row:
            value = written(STATS[key], numbers[key], result.money_decimals)
            cells.append(f"{STATS[key].label:<{half - 11}}{value:>11}"[:half])
        lines.append(escaped("   ".join(cells)))
    if len(outcome.curve.equity) and console.encoding.lower().startswith("utf"):
        lines.append(f"[cyan]{sparkline(outcome.curve.equity, width=width)}[/cyan]")
    if outcome.ended != "completed":
        lines.append(f"[bold red]The run ended early: {escaped(outcome.ended)} at {iso_of(outcome.end_ns)}[/bold red]")
    if result.saved_to is not None:
        lines.append(f"Saved to [bold]{escaped(str(result.saved_to))}[/bold]")
    lines.append(_return_line(result))
    for line in lines:
        console.print(line, overflow="ellipsis", no_wrap=True, crop=False)


def _cut(noun: str, texts: list[str], most: int, width: int, style: str) -> list[str]:
    """Return a list's first lines, each cut to the width, under a head that says how many there are."""
    if not texts:
        return []
    more = f", the first {most}" if len(texts) > most else ""
    cut = (escaped(_shortened(" ".join(text.split()), width - 3)) for text in texts[:most])
    return [f"[bold]{counted(len(texts), noun)}{more}[/bold]", *(f"[{style}] - {text}[/]" for text in cut)]


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _return_line(result: Result) -> str:
    outcome, decimals = result.outcome, result.money_decimals
    change = result.numbers["return_pct"]
    start, final = float(outcome.starting_equity), float(outcome.equity)
    colour = "default" if not isinstance(change, float) or not change else "green" if change > 0 else "red"
    shown = written(STATS["return_pct"], change)
    amounts = f"{money(start, decimals)} to {money(final, decimals)} {outcome.report_currency}"
    held = result.numbers["buy_and_hold_pct"]
    compared = "" if held is None else f", buy and hold {written(STATS['buy_and_hold_pct'], held)} %"
    rest = amounts + compared if len(amounts + compared) <= _WIDTH_MAX - 25 else amounts
    return f"[bold]Return \\[%] [{colour}]{shown}[/][/bold]   {escaped(rest)}"
