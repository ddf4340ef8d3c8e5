"""How well orders did, for the notebook: a table of figures and three small pictures; no script, no library."""

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np

from quantkit.instruments import plain
from quantkit.report.execution import HORIZONS_S, NAMED, ROLES, Execution, Inventory
from quantkit.report.metrics import FloatArray

_WIDTH: Final = 240
_HEIGHT: Final = 120
#: Where a picture's own begins and ends, within room for words.
_LEFT: Final = 8
_RIGHT: Final = 200
_TOP: Final = 10
_BASE: Final = 98
#: Colours that read on light and dark pages; text takes the page's own.
_MAKER: Final = "#2f7ed8"
_SHORT: Final = "#d9772b"
_TEXT: Final = 'font-size="10" fill="currentColor" fill-opacity=".7"'
_CELL: Final = "text-align:left;padding:1px 12px 1px 0;white-space:nowrap"
_NUMBER: Final = "text-align:right;padding:1px 0;font-variant-numeric:tabular-nums;white-space:nowrap"
_BARS: Final = 14


def card(execution: Execution) -> str:
    """Return the HTML of a run's figures; empty for one without limit orders, which has little to say."""
    if execution.of_orders["limit_fill_ratio_pct"] is None:
        return ""
    figures = execution.figures
    rows = "".join(
        f'<tr><td style="{_CELL}" title="{escape(each.meaning)}">{escape(each.label)}</td>'
        f'<td style="{_NUMBER}">{figures[each.key]:,.2f}</td></tr>'
        for each in NAMED
        if figures[each.key] is not None
    )
    pictures = [_markouts(execution), _queue(execution.queue_times_s), *map(_inventory, execution.inventories[:1])]
    return (
        '<div style="display:flex;flex-wrap:wrap;gap:28px;align-items:flex-start">'
        f'<table style="border-collapse:collapse;margin-bottom:8px"><thead><tr><th colspan="2" style="{_CELL}">'
        f"Execution</th></tr></thead><tbody>{rows}</tbody></table>{''.join(pictures)}</div>"
    )


def _markouts(execution: Execution) -> str:
    """Return markouts of makers and takers, at the fill and after each horizon."""
    figures = execution.figures
    firsts = {"maker": figures["spread_captured_bps"], "taker": figures["taker_spread_bps"]}
    lines = {role: [firsts[role], *(row.bps for row in execution.markout_rows if row.role == role)] for role in ROLES}
    known = [value for line in lines.values() for value in line if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(0.0, *known), max(0.0, *known)
    steps = len(HORIZONS_S)
    parts = [_rule(_y(0.0, low, high), "0")]
    for role, stroke in (("maker", f'stroke="{_MAKER}"'), ("taker", 'stroke="currentColor" stroke-dasharray="5 3"')):
        points = [
            f"{_LEFT + 10 + place * (_RIGHT - _LEFT - 20) / steps:.1f},{_y(value, low, high):.1f}"
            for place, value in enumerate(lines[role])
            if value is not None
        ]
        if len(points) > 1:
            parts.append(f'<polyline points="{" ".join(points)}" fill="none" {stroke} stroke-width="1.6"/>')
    for place, name in enumerate(["fill", *(f"{horizon} s" for horizon in HORIZONS_S)]):
        x = _LEFT + 10 + place * (_RIGHT - _LEFT - 20) / steps
        parts.append(f'<text x="{x:.1f}" y="112" text-anchor="middle" {_TEXT}>{name}</text>')
    parts += [
        f'<text x="{_RIGHT + 4}" y="{_y(value, low, high) + 3:.1f}" {_TEXT}>{value:+.2f}</text>'
        for value in (low, high)
        if value
    ]
    return _figure("Markouts, bps: maker (solid), taker (dashed)", parts)


def _queue(seconds: FloatArray) -> str:
    """Return how long orders were in the queue before their first maker fill, on bars of one ratio."""
    if not len(seconds):
        return ""
    shown = np.log10(np.maximum(seconds, 0.001))
    counts, edges = np.histogram(shown, bins=_BARS)
    tops = counts / counts.max()
    parts = _bars([(float(edges[n]), float(edges[n + 1]), float(tops[n]), f'fill="{_MAKER}"') for n in range(_BARS)])
    for share, anchor in ((0, "start"), (-1, "end")):
        x = _LEFT if anchor == "start" else _RIGHT
        parts.append(f'<text x="{x}" y="112" text-anchor="{anchor}" {_TEXT}>{10 ** edges[share]:.3g} s</text>')
    parts.append(f'<text x="{_RIGHT + 4}" y="{_TOP + 3}" {_TEXT}>{counts.max():,}</text>')
    return _figure(f"Time in queue of {len(seconds):,} orders, log scale", parts)


def _inventory(held: Inventory) -> str:
    """Return the share of time at each position."""
    most = float(held.shares.max())
    if not most:
        return ""
    bars = []
    for qty, share in zip(held.qtys.tolist(), held.shares.tolist(), strict=True):
        flat = 'fill="currentColor" fill-opacity=".45"'
        fill = flat if not qty else f'fill="{_MAKER if qty > 0 else _SHORT}"'
        bars.append((qty - held.width / 2, qty + held.width / 2, share / most, fill))
    parts = _bars(bars)
    for qty, x, anchor in ((held.qtys[0], _LEFT, "start"), (held.qtys[-1], _RIGHT, "end")):
        parts.append(f'<text x="{x}" y="112" text-anchor="{anchor}" {_TEXT}>{plain(float(qty))}</text>')
    parts.append(f'<text x="{_RIGHT + 4}" y="{_TOP + 3}" {_TEXT}>{100 * most:.0f} %</text>')
    return _figure(f"Inventory, share of the time: {held.instrument}", parts)


def _bars(bars: Sequence[tuple[float, float, float, str]]) -> list[str]:
    """Return bars, each as (from, to, height as a fraction, fill), and the line that they stand on."""
    low, high = bars[0][0], bars[-1][1]
    scale = (_RIGHT - _LEFT) / ((high - low) or 1.0)
    parts = [_rule(_BASE, "")]
    for begin, end, share, fill in bars:
        x, width, height = _LEFT + (begin - low) * scale, max((end - begin) * scale - 1, 0.8), share * (_BASE - _TOP)
        parts.append(f'<rect x="{x:.1f}" y="{_BASE - height:.1f}" width="{width:.1f}" height="{height:.1f}" {fill}/>')
    return parts


def _rule(y: float, name: str) -> str:
    line = f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_RIGHT}" y2="{y:.1f}" stroke="currentColor" stroke-opacity=".3"/>'
    return line + (f'<text x="{_RIGHT + 4}" y="{y + 3:.1f}" {_TEXT}>{name}</text>' if name else "")


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (high - value) / ((high - low) or 1.0) * (_BASE - _TOP)


def _figure(label: str, parts: Sequence[str]) -> str:
    return (
        f'<figure style="margin:6px 0"><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'style="max-width:100%;height:auto" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'
        f'<figcaption style="opacity:.75;font-size:12px">{escape(label)}</figcaption></figure>'
    )
