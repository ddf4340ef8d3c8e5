"""How objects show themselves in a notebook: small tables that take the colours of the page, every text escaped."""

from collections.abc import Sequence
from html import escape
from typing import Final

_FONT: Final = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.4"
_TITLE: Final = "font-weight:600"
_NOTE: Final = "opacity:.7"
_HEAD: Final = "font-weight:400;opacity:.7;border-bottom:1px solid rgba(128,128,128,.35);background:none"
_CELL: Final = "padding:1px 14px 1px 0;white-space:nowrap;background:none;"
_LEFT: Final = f"{_CELL}text-align:left"
_RIGHT: Final = f"{_CELL}text-align:right;font-variant-numeric:tabular-nums"
#: Blue for bids, orange for asks, as in the report; thin enough for text on light and dark pages.
_BARS: Final = {"bid": ("to left", "rgba(0,104,179,.28)"), "ask": ("to right", "rgba(240,136,62,.32)")}


def card(
    title: str,
    note: str = "",
    *,
    headings: Sequence[str] = (),
    rows: Sequence[Sequence[str]],
    texts: int = 1,
    more: str = "",
) -> str:
    """Return a titled table as HTML.

    Args:
        headings: Of the columns; none for a list of names and values.
        rows: Cells as text.
        texts: How many columns, from the left, hold text; the others are numbers and stand at the right.
        more: What stands below the table.

    Examples:
        >>> "&lt;b&gt;" in card("<b>", rows=[["a", "1"]])
        True
    """
    styles = [_LEFT] * texts + [_RIGHT] * max((len(row) for row in [headings, *rows]), default=0)
    head = "".join(
        f'<th style="{style};{_HEAD}">{escape(text)}</th>' for style, text in zip(styles, headings, strict=False)
    )
    body = "".join(
        "<tr>" + "".join(_cell(style, text) for style, text in zip(styles, row, strict=False)) + "</tr>" for row in rows
    )
    return _framed(title, note, f"<thead><tr>{head}</tr></thead>" if headings else "", body, more)


def ladder(
    title: str,
    note: str,
    *,
    bids: Sequence[tuple[str, str, float]],
    asks: Sequence[tuple[str, str, float]],
    more: str = "",
) -> str:
    """Return a book as HTML: bids at the left and asks at the right, best first, with a bar for each size.

    Args:
        bids, asks: Price, size, and the size as a share of the largest one, in [0, 1].
    """
    heads = ("bid size", "bid", "ask", "ask size")
    head = "".join(f'<th style="{_RIGHT};{_HEAD}">{text}</th>' for text in heads)
    body = []
    for level in range(max(len(bids), len(asks))):
        bid = bids[level] if level < len(bids) else ("", "", 0.0)
        ask = asks[level] if level < len(asks) else ("", "", 0.0)
        cells = (
            _cell(_RIGHT + _bar("bid", bid[2]), bid[1]),
            _cell(_RIGHT, bid[0]),
            _cell(_RIGHT, ask[0]),
            _cell(_RIGHT + _bar("ask", ask[2]), ask[1]),
        )
        body.append(f"<tr>{''.join(cells)}</tr>")
    return _framed(title, note, f"<thead><tr>{head}</tr></thead>", "".join(body), more)


def _framed(title: str, note: str, head: str, body: str, more: str) -> str:
    told = f' <span style="{_NOTE}">{escape(note)}</span>' if note else ""
    below = f'<div style="{_NOTE}">{escape(more)}</div>' if more else ""
    table = f'<table style="border-collapse:collapse;margin:4px 0;{_FONT}">{head}<tbody>{body}</tbody></table>'
    return (
        f'<div class="quantkit-card" style="{_FONT};overflow-x:auto">'
        f'<span style="{_TITLE}">{escape(title)}</span>{told}{table}{below}</div>'
    )


def _cell(style: str, text: str) -> str:
    return f'<td style="{style}">{escape(text)}</td>'


def _bar(side: str, share: float) -> str:
    direction, colour = _BARS[side]
    return f";background:linear-gradient({direction},{colour} {100 * share:.0f}%,transparent 0)"
