"""A result as text: the terminal's summary, and JSON for scripts."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from quantkit.clock import NS_PER_S, iso_of
from quantkit.engine.outcome import Outcome
from quantkit.quality.quoted import DataQuality
from quantkit.report.bounds import FillBound
from quantkit.report.downsample import sparkline
from quantkit.report.execution import Execution
from quantkit.report.stats import GROUPS, STATS, Stat, Value
from quantkit.report.text import MISSING, escaped, grouped, money, title_of, written

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from quantkit.orders import Fill

#: The groups in each column of the panel: two columns fit into 80 characters, three into a wide terminal.
_NARROW_COLUMNS: Final = (("Run", "Equity", "Costs"), ("Risk", "Trades"))
_WIDE_COLUMNS: Final = (("Run", "Equity", "Benchmark"), ("Risk", "Confidence"), ("Trades", "Costs"))
#: Words too long for a column, which stand below the panel.
_BELOW: Final = frozenset({"benchmark", "drawdown_marks"})
#: The narrow panel has these beside the numbers that they judge, where they are known.
_NARROW_EXTRAS: Final = {
    "return_pct": (
        ("Buy & Hold [%]", ("buy_and_hold_pct",)),
        ("90 % of runs [%]", ("return_low_pct", "return_high_pct")),
    ),
    "sharpe_ratio": (("90 % of runs", ("sharpe_low", "sharpe_high")),),
}
_WIDE: Final = 120
#: Longer ones would be cut in a narrow column; a wide terminal shows them.
_EXTRA_WIDTH: Final = 18
#: What the narrow panel leaves out: `--json`, `Result.stats` and a wide terminal show everything.
_NARROW_SKIPS: Final = frozenset(
    {
        "avg_drawdown",
        "avg_drawdown_duration",
        "avg_trade_duration",
        "expected_shortfall",
        "kelly_criterion",
        "kurtosis",
        "skew",
        "stability",
        "tail_ratio",
        "ulcer_index",
        "value_at_risk",
    }
)
#: What it leaves out of runs that have none of it.
_NARROW_IF_ANY: Final = frozenset({"unprotected_s", "unprotected_total_s"})
_FILLS_SHOWN: Final = 5


class Reported(Protocol):
    """What a report shows of a result.

    Attributes:
        outcome: The records of the run.
        config: Its configuration, JSON-ready.
        saved_to: Where it was saved or loaded from, if it was.
        bounds: What it came to with other models of its queues.
    """

    outcome: Outcome
    config: dict[str, Any]
    saved_to: Path | None
    bounds: list[FillBound]

    @property
    def data_quality(self) -> DataQuality:
        """What the last check said of the data."""
        ...

    @property
    def assumptions(self) -> list[str]:
        """What the run took for granted."""
        ...

    @property
    def warnings(self) -> list[str]:
        """What the reader has to know."""
        ...

    @property
    def numbers(self) -> dict[str, Value]:
        """The statistics by name."""
        ...

    @property
    def execution(self) -> Execution:
        """How well its orders did."""
        ...

    @property
    def hash(self) -> str:
        """Equal for equal runs."""
        ...

    @property
    def money_decimals(self) -> int:
        """The decimals in which amounts are shown."""
        ...


def render(result: Reported, console: "Console") -> None:
    """Print a result: assumptions first, then the numbers, the equity curve, the last fills and the warnings.

    Args:
        result: What to show.
        console: Where to; 80 columns are enough, 120 show every number.
    """
    outcome = result.outcome
    has_unicode = console.encoding.lower().startswith("utf")
    if result.assumptions:
        console.print(_bullets("Assumptions", result.assumptions, style="dim", has_unicode=has_unicode))
    width = min(console.width, 132)
    title, currency = title_of(result.config, width - 8), outcome.report_currency
    console.print(numbers_panel(result.numbers, title, currency, decimals=result.money_decimals, width=width))
    traded = dict.fromkeys(fill.instrument for fill in outcome.fills)
    benchmark = result.numbers["benchmark"]
    if isinstance(benchmark, str) and [*traded] not in ([], [benchmark]):
        console.print(f"[dim]Held against {escaped(benchmark)}[/dim]")
    if orders := _orders_line(result.execution):
        console.print(f"[dim]{orders}[/dim]")
    # A terminal without Unicode has no block characters to draw with.
    if len(outcome.curve.equity) and has_unicode:
        console.print(_curve(result, width))
    if outcome.fills:
        console.print(fills_table(outcome.fills))
    style = "yellow" if result.data_quality.faults else "dim"
    console.print(f"[{style}]Data: {escaped(str(result.data_quality))}[/]")
    if result.warnings:
        console.print(_bullets("Warnings", result.warnings, style="yellow", has_unicode=has_unicode))
    if outcome.ended != "completed":
        console.print(f"[bold red]The run ended early: {escaped(outcome.ended)} at {iso_of(outcome.end_ns)}[/bold red]")
    if result.saved_to is not None:
        console.print(f"Saved to [bold]{escaped(str(result.saved_to))}[/bold]", soft_wrap=True)


def as_json(result: Reported) -> bytes:
    """Return a result's words, numbers and hash as one JSON object, without a line end.

    The statistics are those of `json_stats`.
    """
    outcome = result.outcome
    return msgspec.json.encode(
        {
            "stats": json_stats(result.numbers),
            "execution": result.execution.figures,
            **({"execution_missing": missing} if (missing := result.execution.missing) else {}),
            "report_currency": outcome.report_currency,
            "cash": outcome.cash,
            "positions": {name: qty for name, qty in outcome.position_qty.items() if qty},
            "rows": outcome.rows,
            "assumptions": result.assumptions,
            "warnings": result.warnings,
            "data_quality": result.data_quality,
            **({"bounds": result.bounds} if result.bounds else {}),
            "config": result.config,
            "hash": result.hash,
            "saved_to": None if result.saved_to is None else str(result.saved_to),
        }
    )


def json_stats(numbers: Mapping[str, Value]) -> dict[str, Any]:
    """Return statistics as JSON-ready values; durations are seconds under keys ending in `_s`, moments ISO text."""
    return dict(_json_item(key, value) for key, value in numbers.items())


def stats_of_json(stats: Mapping[str, Any]) -> dict[str, Value]:
    """Return the statistics that `json_stats` took apart; what is not there, or is no such number, is left out.

    Examples:
        >>> stats_of_json({"trades": 3, "duration_s": 60.0, "return_pct": "much", "mood": 1})
        {'duration': datetime.timedelta(seconds=60), 'trades': 3}
    """
    found: dict[str, Value] = {}
    for key, stat in STATS.items():
        name = f"{key}_s" if stat.form == "duration" else key
        if name in stats:
            with suppress(ValueError, TypeError, OverflowError):
                found[key] = _value(stat, stats[name])
    return found


def _value(stat: Stat, plain: Any) -> Value:
    """Return one statistic from JSON.

    Raises:
        ValueError, TypeError, OverflowError: It is another kind of value.
    """
    match stat.form:
        case "duration":
            return None if plain is None else timedelta(seconds=plain)
        case "time":
            return datetime.fromisoformat(plain)
        case "text" if isinstance(plain, str):
            return plain
    if plain is not None and (isinstance(plain, bool) or not isinstance(plain, int | float)):
        raise TypeError(f"{stat.key} is no number")
    return plain


def _json_item(key: str, value: Value) -> tuple[str, Any]:
    if STATS[key].form == "duration":
        return f"{key}_s", value.total_seconds() if isinstance(value, timedelta) else None
    return key, value.isoformat() if isinstance(value, datetime) else value


def _bullets(head: str, lines: list[str], *, style: str, has_unicode: bool) -> "RenderableType":
    from rich.padding import Padding
    from rich.table import Table

    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(overflow="fold")
    for line in lines:
        grid.add_row("•" if has_unicode else "-", escaped(line))
    whole = Table.grid()
    whole.add_row(f"[bold]{head}[/bold]")
    whole.add_row(Padding(grid, (0, 0, 0, 1)))
    whole.rows[-1].style = style
    return whole


def numbers_panel(
    numbers: Mapping[str, Value], title: str, currency: str, *, decimals: int, width: int
) -> "RenderableType":
    """Return the groups of numbers in a frame.

    Args:
        numbers: Statistics by key; those that are not there are left out.
        title: Stands in the frame. currency: What amounts of money are in.
        decimals: Of amounts of money.
        width: Of the frame; 120 columns have room for every number.
    """
    from rich.panel import Panel

    columns = _numbers(numbers, decimals, wide=width >= _WIDE)
    words, marks = f"money in {currency}, 365 days a year", numbers.get("drawdown_marks")
    whole = f"{words}, drawdown at {marks}" if marks else words
    below = f"[dim]{escaped(whole if len(whole) <= width - 8 else words)}[/dim]"
    return Panel(columns, title=f"[bold]{escaped(title)}[/bold]", subtitle=below, width=width, padding=(0, 1))


def _numbers(numbers: Mapping[str, Value], decimals: int, *, wide: bool) -> "RenderableType":
    """Return the groups of numbers side by side: two columns, or three in a wide terminal."""
    from rich.table import Table

    columns = _WIDE_COLUMNS if wide else _NARROW_COLUMNS
    grid = Table.grid(expand=True, padding=(0, 3 if wide else 1))
    # The first column holds the two moments, the longest values there are.
    for ratio in (39, 39, 32) if wide else (39, 37):
        grid.add_column(ratio=ratio)
    grid.add_row(*(_column(numbers, decimals, groups, wide=wide) for groups in columns))
    return grid


def _column(numbers: Mapping[str, Value], decimals: int, groups: tuple[str, ...], *, wide: bool) -> "RenderableType":
    from rich.table import Table

    table = Table.grid(expand=True, padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for number, group in enumerate(groups):
        if number:
            table.add_row()
        table.add_row(f"[bold cyan]{group}[/bold cyan]")
        for stat in GROUPS[group]:
            value = numbers.get(stat.key)
            is_skipped = stat.key in _NARROW_SKIPS or (stat.key in _NARROW_IF_ANY and not value)
            if stat.key not in numbers or stat.key in _BELOW or (is_skipped and not wide):
                continue
            table.add_row(escaped(stat.label), f"[{_colour(stat, value)}]{escaped(written(stat, value, decimals))}[/]")
            for label, keys in () if wide else _NARROW_EXTRAS.get(stat.key, ()):
                values = [written(STATS[key], numbers.get(key)) for key in keys]
                shown = " to ".join(values)
                if MISSING not in values and len(shown) <= _EXTRA_WIDTH:
                    table.add_row(f"[dim]  {label}[/]", f"[dim]{escaped(shown)}[/]")
    return table


def _colour(stat: Stat, value: Value) -> str:
    """Return green for a gain and red for a loss, where a sign means one."""
    if stat.key in ("return_pct", "cagr_pct", "expectancy", "avg_trade_pct") and isinstance(value, float) and value:
        return "green" if value > 0 else "red"
    return "default" if value is not None else "dim"


def _orders_line(execution: Execution) -> str:
    """Return how a run's limit orders did, in a line; nothing of a run without any."""
    figures = execution.of_orders
    filled, waited, quoted = (figures[key] for key in ("limit_fill_ratio_pct", "queue_median_s", "quoted_pct"))
    if filled is None:
        return ""
    words = [f"{filled:.0f} % of their size filled"]
    if figures["maker_share_pct"] is not None:
        words.append(f"{figures['maker_share_pct']:.0f} % of what was traded as maker")
    if waited is not None:
        words.append(f"{waited:,.1f} s in queue (median)")
    if quoted:
        words.append(f"both sides quoted {quoted:.0f} % of the time")
    return f"Limit orders: {', '.join(words)}"


def _curve(result: Reported, width: int) -> str:
    curve = result.outcome.curve
    low, high = float(curve.equity.min()), float(curve.equity.max())
    span = f"{money(low, result.money_decimals)} to {money(high, result.money_decimals)}"
    head = f"[bold]Equity[/bold] {span} {escaped(result.outcome.report_currency)}"
    return f"{head}\n[cyan]{sparkline(curve.equity, width=width)}[/cyan]"


def fills_table(fills: "Sequence[Fill]") -> "RenderableType":
    """Return the last fills as a table; what all of them share stands in its head, so that 80 columns are enough.

    Args:
        fills: At least one.
    """
    from rich.table import Table

    shown = fills[-_FILLS_SHOWN:]
    head = f"Last {len(shown)} of {len(fills):,} fills" if len(fills) > len(shown) else "Fills"
    instruments, currencies = {fill.leg for fill in shown}, {fill.fee_currency for fill in shown}
    is_single, has_one_fee = len(instruments) == 1, len(currencies) == 1
    if is_single:
        head += f" of {escaped(shown[0].leg)}"
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", title_justify="left")
    table.title, table.title_style = f"[bold]{head}[/]", "default"
    table.add_column("time", no_wrap=True)
    if not is_single:
        table.add_column("instrument", overflow="fold")
    table.add_column("side", no_wrap=True)
    for name in ("qty", "price", f"fee [{shown[0].fee_currency}]" if has_one_fee else "fee"):
        table.add_column(escaped(name), justify="right", no_wrap=True)
    for fill in shown:
        moment = iso_of(fill.filled_ns // NS_PER_S * NS_PER_S).replace("T", " ").removesuffix("Z")
        fee = money(float(fill.fee)) + ("" if has_one_fee else f" {fill.fee_currency}")
        side = "[green]buy[/]" if fill.side == "buy" else "[red]sell[/]"
        numbers = grouped(fill.qty), grouped(fill.price), escaped(fee)
        table.add_row(moment, *(() if is_single else (escaped(fill.leg),)), side, *numbers)
    return table
