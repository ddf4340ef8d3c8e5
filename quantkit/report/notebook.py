"""A result in a notebook: the summary as an HTML table and the equity curve as a small inline SVG."""

from collections.abc import Mapping
from html import escape
from typing import Final

import numpy as np

from quantkit.clock import iso_of
from quantkit.engine.outcome import EquityCurve, Outcome
from quantkit.report.downsample import min_max_rows
from quantkit.report.stats import GROUPS, Value
from quantkit.report.text import money, written

_WIDTH: Final = 760
_HEIGHT: Final = 180
_BUCKETS: Final = 1000
#: Colours that read on light and dark pages; text takes the page's own.
_LINE: Final = "#2f7ed8"
_WARN: Final = "#b8860b"
_CELL: Final = "text-align:left;padding:1px 12px 1px 0;white-space:nowrap"
_NUMBER: Final = "text-align:right;padding:1px 0;font-variant-numeric:tabular-nums;white-space:nowrap"


def page(outcome: Outcome, numbers: Mapping[str, Value], decimals: int) -> str:
    """Return the HTML of a result, amounts with so many decimals; every text that came from outside is escaped."""
    parts = ['<div class="quantkit-result" style="font-family:sans-serif;font-size:13px;line-height:1.35">']
    if outcome.assumptions:
        items = "".join(f"<li>{escape(text)}</li>" for text in outcome.assumptions)
        parts.append(f'<details><summary>Assumptions</summary><ul style="margin:4px 0">{items}</ul></details>')
    parts.extend(f'<p style="margin:2px 0;color:{_WARN}">Warning: {escape(text)}</p>' for text in outcome.warnings)
    parts.append(equity_svg(outcome.curve, outcome.report_currency, decimals))
    columns = (("Run", "Equity", "Costs"), ("Risk",), ("Trades",))
    parts.append('<div style="display:flex;flex-wrap:wrap;gap:28px;align-items:flex-start">')
    parts.extend(
        f"<div>{''.join(_table(group, numbers, outcome, decimals) for group in groups)}</div>" for groups in columns
    )
    parts.append("</div></div>")
    return "".join(parts)


def equity_svg(curve: EquityCurve, currency: str, decimals: int = 2) -> str:
    """Return the equity curve as an SVG line of at most 1,000 min/max pairs; empty for an empty curve."""
    if not len(curve.time_ns):
        return ""
    rows = min_max_rows(curve.equity, buckets=_BUCKETS)
    time = curve.time_ns[rows].astype(np.float64) - float(curve.time_ns[0])
    equity = curve.equity[rows]
    low, high = float(equity.min()), float(equity.max())
    # A flat curve is a line in the middle; rows of one moment are spread over the width, a single one goes across it.
    if not time[-1]:
        time = np.arange(len(rows), dtype=np.float64)
    x = time / (time[-1] or 1.0) * _WIDTH
    y = np.full(len(equity), 0.5) if high == low else (high - equity) / (high - low)
    if len(x) == 1:
        x, y = np.array([0.0, _WIDTH]), np.repeat(y, 2)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), (4 + y * (_HEIGHT - 8)).tolist(), strict=True))
    first, last = iso_of(int(curve.time_ns[0]))[:10], iso_of(int(curve.time_ns[-1]))[:10]
    label = f"Equity in {escape(currency)}: low {money(low, decimals)}, high {money(high, decimals)}, {first} to {last}"
    return (
        f'<figure style="margin:6px 0"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'style="max-width:100%;height:auto" preserveAspectRatio="none" role="img" aria-label="{label}">'
        f'<polyline points="{points}" fill="none" stroke="{_LINE}" stroke-width="1.5" '
        f'vector-effect="non-scaling-stroke"/></svg><figcaption style="opacity:.75">{label}</figcaption></figure>'
    )


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
