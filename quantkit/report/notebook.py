"""A result in a notebook: strategy, summary tables in HTML, and the equity curve as a small SVG."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

import numpy as np

from quantkit.clock import NS_PER_DAY, iso_of
from quantkit.engine.outcome import EquityCurve, Outcome
from quantkit.quality.quoted import DataQuality
from quantkit.report import execution_card
from quantkit.report.downsample import min_max_rows
from quantkit.report.execution import Execution
from quantkit.report.stats import GROUPS, Value
from quantkit.report.text import listed, money, strategy_of, written

_WIDTH: Final = 760
_HEIGHT: Final = 200
#: Room for the amounts beside the curve, above it, and where it stands on the dates.
_LEFT: Final = 92
_TOP: Final = 8
_BASE: Final = 178
_TEXT: Final = 'font-size="11" fill="currentColor" fill-opacity=".7"'
_BUCKETS: Final = 1000
#: Colours that read on light and dark pages; text takes the page's own.
_LINE: Final = "#2f7ed8"
_WARN: Final = "#b8860b"
_CELL: Final = "text-align:left;padding:1px 12px 1px 0;white-space:nowrap"
_NUMBER: Final = "text-align:right;padding:1px 0;font-variant-numeric:tabular-nums;white-space:nowrap"


def page(
    outcome: Outcome,
    numbers: Mapping[str, Value],
    config: Mapping[str, Any],
    warnings: Sequence[str],
    decimals: int,
    data_quality: DataQuality,
    execution: Execution,
) -> str:
    """Return the HTML of a result, amounts with so many decimals; every text that came from outside is escaped."""
    name, parameters = strategy_of(config)
    parts = ['<div class="quantkit-result" style="font-family:sans-serif;font-size:13px;line-height:1.35">']
    parts.append(f'<div style="font-size:16px;font-weight:600">{escape(name)}</div>')
    if parameters:
        parts.append(f'<div style="opacity:.75;margin-bottom:4px"><code>{escape(listed(parameters))}</code></div>')
    if outcome.assumptions:
        items = "".join(f"<li>{escape(text)}</li>" for text in outcome.assumptions)
        parts.append(f'<details><summary>Assumptions</summary><ul style="margin:4px 0">{items}</ul></details>')
    told = "".join(f"<li>{escape(str(each))}</li>" for each in data_quality.streams)
    items = f'<ul style="margin:4px 0">{told}</ul>' if told else ""
    parts.append(f"<details><summary>Data: {escape(str(data_quality))}</summary>{items}</details>")
    parts.extend(f'<p style="margin:2px 0;color:{_WARN}">Warning: {escape(text)}</p>' for text in warnings)
    parts.append(equity_svg(outcome.curve, outcome.report_currency, decimals))
    columns = (("Run", "Equity", "Costs"), ("Risk", "Confidence"), ("Trades", "Benchmark"))
    parts.append('<div style="display:flex;flex-wrap:wrap;gap:28px;align-items:flex-start">')
    parts.extend(
        f"<div>{''.join(_table(group, numbers, outcome, decimals) for group in groups)}</div>" for groups in columns
    )
    parts.append(f"</div>{execution_card.card(execution)}</div>")
    return "".join(parts)


def equity_svg(curve: EquityCurve, currency: str, decimals: int = 2) -> str:
    """Return the equity curve as an SVG line of at most 1,000 min/max pairs, with axes; empty for an empty curve."""
    if not len(curve.time_ns):
        return ""
    rows = min_max_rows(curve.equity, buckets=_BUCKETS)
    first_ns, last_ns = int(curve.time_ns[0]), int(curve.time_ns[-1])
    time = curve.time_ns[rows].astype(np.float64) - float(first_ns)
    equity = curve.equity[rows]
    low, high = float(equity.min()), float(equity.max())
    # A flat curve is a line in the middle; rows of one moment are spread over the width, a single one goes across it.
    if not time[-1]:
        time = np.arange(len(rows), dtype=np.float64)
    x = _LEFT + time / (time[-1] or 1.0) * (_WIDTH - _LEFT)
    y = np.full(len(equity), 0.5) if high == low else (high - equity) / (high - low)
    if len(x) == 1:
        x, y = np.array([float(_LEFT), _WIDTH]), np.repeat(y, 2)
    y = _TOP + y * (_BASE - _TOP)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    first, last = iso_of(first_ns)[:10], iso_of(last_ns)[:10]
    label = f"Equity in {escape(currency)}: low {money(low, decimals)}, high {money(high, decimals)}, {first} to {last}"
    axes = _equity_axis(low, high, decimals) + _time_axis(first_ns, last_ns)
    return (
        f'<figure style="margin:6px 0"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'style="max-width:100%;height:auto" role="img" aria-label="{label}">{axes}'
        f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="1.5" '
        f'vector-effect="non-scaling-stroke"/></svg><figcaption style="opacity:.75">{label}</figcaption></figure>'
    )


def _equity_axis(low: float, high: float, decimals: int) -> str:
    """Return grid lines with amounts: the lowest, the highest and those between; one line for a flat curve."""
    parts = []
    for share in (0.5,) if high == low else (0.0, 1 / 3, 2 / 3, 1.0):
        y = _BASE - share * (_BASE - _TOP)
        amount = money(low + share * (high - low), decimals)
        parts.append(
            f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH}" y2="{y:.1f}" stroke="currentColor" stroke-opacity=".15"/>'
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" {_TEXT}>{amount}</text>'
        )
    return "".join(parts)


def _time_axis(first_ns: int, last_ns: int) -> str:
    """Return dates under the curve, with the time of day where the run is short."""
    if first_ns == last_ns:
        return ""
    stop = 10 if last_ns - first_ns >= 4 * NS_PER_DAY else 16
    parts = []
    for share, anchor in ((0.0, "start"), (1 / 3, "middle"), (2 / 3, "middle"), (1.0, "end")):
        moment = iso_of(first_ns + round(share * (last_ns - first_ns)))[:stop].replace("T", " ")
        x = _LEFT + share * (_WIDTH - _LEFT)
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 4}" text-anchor="{anchor}" {_TEXT}>{moment}</text>')
    return "".join(parts)


def _table(group: str, numbers: Mapping[str, Value], outcome: Outcome, decimals: int) -> str:
    """Return one group of numbers as a table; what a number means is its tooltip."""
    rows = []
    for stat in GROUPS[group]:
        label = f"{stat.label} [{outcome.report_currency}]" if stat.form == "money" else stat.label
        rows.append(
            f'<tr><td style="{_CELL}" title="{escape(stat.meaning)}">{escape(label)}</td>'
            f'<td style="{_NUMBER}">{escape(written(stat, numbers[stat.key], decimals))}</td></tr>'
        )
    return (
        f'<table style="border-collapse:collapse;margin-bottom:8px"><thead><tr><th colspan="2" style="{_CELL}">'
        f"{escape(group)}</th></tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )
