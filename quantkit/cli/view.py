"""The terminal view of a live run: one status in, lines of text out."""

import re
from collections.abc import Sequence
from typing import Final

from quantkit.cli.layout import (
    UNICODE,
    Glyphs,
    Piece,
    ScreenColumn,
    ScreenLine,
    Section,
    StyledLines,
    beside,
    cells,
    clean,
    cut,
    ends,
    fitted,
    lines_of,
    shares,
    wanted,
)
from quantkit.clock import NS_PER_DAY, NS_PER_MS, NS_PER_S, delay_text
from quantkit.live.status import ConnectionLine, LiveStatus, OrderLine, PositionLine, StreamLine
from quantkit.orders import Fill
from quantkit.report.text import counted, money

#: From this width on, what the feed does stands at the left and what the strategy does at the right.
_WIDE: Final = 110
_GAP: Final = 2
_STATES: Final = {
    "live": "green",
    "waiting": "yellow",
    "connecting": "yellow",
    "login": "yellow",
    "stale": "magenta",
    "closing": "dim",
    "closed": "dim",
    "failed": "bold red",
}
#: A lag above these is shown as a warning, and as trouble.
_LAG_WARNS_MS: Final = 500.0
_LAG_HURTS_MS: Final = 3000.0
#: A stream that was quiet for longer is marked: books and tickers push at least once a minute.
_QUIET_S: Final = 75
#: The engine reports several times a second; silence for longer is a hook that does not return.
_BUSY_NS: Final = 2 * NS_PER_S
_MISSING: Final = "-"
#: How the client's messages name a connection.
_PLACE: Final = re.compile(r"OKX (\w+) connection (\d+)(?: at \S+)?: ")

_CONNECTIONS: Final = (
    ScreenColumn("connection", width_min=10),
    ScreenColumn("state", width_min=12),
    ScreenColumn("for", is_right=True, width_min=7, rank=2),
    ScreenColumn("channels", is_right=True, rank=3),
    ScreenColumn("frames", is_right=True, width_min=9, rank=4),
    ScreenColumn("error", rank=1, flex_min=20),
)
_STREAMS: Final = (
    ScreenColumn("stream", width_min=16, flex_min=20),
    ScreenColumn("rows", is_right=True, width_min=9, rank=2),
    ScreenColumn("rows/s", is_right=True, width_min=7),
    ScreenColumn("lag", is_right=True, width_min=7),
    ScreenColumn("last", is_right=True, width_min=6, rank=1),
)
_POSITIONS: Final = (
    ScreenColumn("instrument", width_min=8, flex_min=14),
    ScreenColumn("qty", is_right=True, width_min=7),
    ScreenColumn("average", is_right=True, width_min=9, rank=2),
    ScreenColumn("mark", is_right=True, width_min=9, rank=3),
    ScreenColumn("open PnL", is_right=True, width_min=8, rank=1),
    ScreenColumn("closed PnL", is_right=True, width_min=10, rank=1),
)
_ORDERS: Final = (
    ScreenColumn("instrument", width_min=8, flex_min=14),
    ScreenColumn("side", width_min=4),
    ScreenColumn("qty", is_right=True, width_min=7),
    ScreenColumn("filled", is_right=True, width_min=6, rank=2),
    ScreenColumn("price", is_right=True, width_min=9),
    ScreenColumn("state", width_min=8, rank=1),
    ScreenColumn("tag", rank=3, flex_min=4),
)
_FILLS: Final = (
    ScreenColumn("UTC", width_min=8),
    ScreenColumn("instrument", width_min=8, flex_min=14),
    ScreenColumn("side", width_min=4),
    ScreenColumn("qty", is_right=True, width_min=6),
    ScreenColumn("price", is_right=True, width_min=9),
    ScreenColumn("role", width_min=5, rank=2),
    ScreenColumn("fee", is_right=True, rank=1),
)
_NOTES: Final = (ScreenColumn("", flex_min=1),)


def frame_of(
    status: LiveStatus,
    *,
    width: int,
    height: int,
    wall_ns: int,
    printed: Sequence[str] = (),
    ending: str = "",
    glyphs: Glyphs = UNICODE,
) -> StyledLines:
    """Return the view of a run in at most `height` lines of exactly `width` cells.

    Args:
        status: The newest status.
        width, height: Of the terminal, in cells.
        wall_ns: The present time; a much older status means a busy engine.
        printed: What the strategy printed and logged, newest last.
        ending: Text of the last line, in place of the hint at Ctrl-C.
        glyphs: What the terminal can show.
    """
    head = [*_header(status, width, wall_ns, glyphs), _blank(width)]
    foot = ending or "Ctrl-C ends the run: open orders are cancelled, the result is printed"
    last = fitted([(foot, "yellow" if ending else "dim")], width, glyphs)
    body = _body(status, width, height - len(head) - 1, wall_ns, printed, glyphs)
    return StyledLines([*head, *body, last][:height])


def status_line(status: LiveStatus) -> str:
    """Return a status as one line of plain text, for logs and for terminals that cannot be redrawn."""
    rows_per_s = sum(stream.rows_per_s for stream in status.streams)
    lags = [stream.lag_ms for stream in status.streams if stream.lag_ms is not None]
    parts = [
        elapsed(status.wall_ns - status.started_ns),
        clean(status.strategy),
        "paused" if status.is_paused else "",
        f"equity {_amount(status.equity)} {clean(status.currency)}" + _signed(status.pnl, " ({})"),
        counted(status.orders, "order"),
        counted(status.fills_count, "fill"),
        f"{len(status.open_orders)} open",
        f"{rows_per_s:,.0f} rows/s",
        f"lag {_lag(max(lags, default=None))}",
        counted(status.gaps, "gap"),
        connections_text(status.connections),
    ]
    if status.queue:
        parts.append(f"{status.queue:,} waiting")
    if status.behind_ns_max:
        parts.append(f"engine up to {delay_text(status.behind_ns_max)} late")
    return "  ".join(part for part in parts if part)


def connections_text(connections: Sequence[ConnectionLine]) -> str:
    """Return how many connections are live, and the state of those that are not.

    Examples:
        >>> from quantkit.live.status import ConnectionLine
        >>> public = ConnectionLine("public 1", "live", since_ns=0, channels=2, frames=9, attempts=0)
        >>> lost = ConnectionLine("business 1", "connecting", since_ns=0, channels=1, frames=0, attempts=3)
        >>> connections_text([public, lost])
        '1/2 live, business 1 connecting'
    """
    live = sum(line.state == "live" for line in connections)
    others = [f", {clean(line.name)} {clean(line.state)}" for line in connections if line.state != "live"]
    return f"{live}/{len(connections)} live{''.join(others)}"


def brief(text: str) -> str:
    """Return a connection's error or warning with the connection's name as short as the view writes it.

    Examples:
        >>> brief("OKX public connection 1 at 127.0.0.1:8765: the connection was refused")
        'public 1: the connection was refused'
        >>> brief("closed with 1001")
        'closed with 1001'
    """
    return _PLACE.sub(r"\1 \2: ", text, count=1)


def elapsed(span_ns: int) -> str:
    """Return a length of time as hours, minutes and seconds.

    Examples:
        >>> elapsed(3_723_000_000_000), elapsed(0), elapsed(-5)
        ('1:02:03', '0:00:00', '0:00:00')
    """
    seconds = max(0, span_ns) // NS_PER_S
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def age(span_ns: int) -> str:
    """Return how long ago something was, in one unit.

    Examples:
        >>> age(200_000_000), age(59_000_000_000), age(125_000_000_000), age(90_000_000_000_000)
        ('0.2s', '59s', '2m', '1d')
    """
    tenths = max(0, span_ns) * 10 // NS_PER_S
    if tenths < 100:
        return f"{tenths / 10:.1f}s"
    seconds = tenths // 10
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def number(value: float | None, *, digits: int = 10) -> str:
    """Return a price or a size as it is usually written, at most so many digits of it.

    Examples:
        >>> number(106231.9), number(0.00012), number(-3.0), number(None)
        ('106,231.9', '0.00012', '-3', '-')
    """
    return _MISSING if value is None else f"{value:,.{digits}g}"


def clock_text(moment_ns: int) -> str:
    """Return the time of day of a moment, UTC.

    Examples:
        >>> clock_text(3_723_000_000_000)
        '01:02:03'
    """
    seconds = moment_ns % NS_PER_DAY // NS_PER_S
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def side_style(side: str) -> str:
    """Return the colour of a side."""
    return "green" if side == "buy" else "red"


def _header(status: LiveStatus, width: int, wall_ns: int, glyphs: Glyphs) -> list[ScreenLine]:
    recording = cut(clean(status.recording), width // 2, glyphs.ellipsis)
    name: list[Piece] = [
        ("paper", "bold magenta"),
        *([("  paused", "bold yellow")] if status.is_paused else []),
        (f"  {elapsed(wall_ns - status.started_ns)}  ", ""),
        (clean(status.strategy), "bold"),
    ]
    where: Piece = (f"  recorded in {recording}", "dim") if recording else ("  not recorded", "yellow")
    silent_ns = wall_ns - status.wall_ns
    # Nothing to wait for is the usual case and takes no room.
    told: list[tuple[Piece, Piece]] = []  # in full, and for a narrow terminal
    if silent_ns > _BUSY_NS:
        silent = age(silent_ns)
        told = [((f"  engine busy for {silent}", "bold red"), (f"  busy for {silent}", "bold red"))]
    elif status.queue:
        style = _queue_style(status)
        told = [((f"  {status.queue:,} events waiting", style), (f"  {status.queue:,} waiting", style))]
    elif status.behind_ns_max:
        behind, style = delay_text(status.behind_ns_max), _lag_style(status.behind_ns_max / NS_PER_MS) or "dim"
        told = [((f"  engine up to {behind} late", style), (f"  {behind} late", style))]
    share = "" if status.pnl is None or status.equity is None else _percent(status.pnl, status.equity)
    full = _values(status, share, "   ")
    if cells(full) + cells([long for long, _ in told]) <= width:
        return [ends(name, [where], width, glyphs), ends(full, [long for long, _ in told], width, glyphs)]
    # What is left out says least: the share is in the numbers beside it.
    short = _values(status, "", "  ")
    return [ends(name, [where], width, glyphs), ends(short, [brief for _, brief in told], width, glyphs)]


def _values(status: LiveStatus, share: str, space: str) -> list[Piece]:
    """Return what the run has come to so far."""
    return [
        ("equity ", "dim"),
        (f"{_amount(status.equity)} {clean(status.currency)}", "bold"),
        (f"{space}PnL ", "dim"),
        (f"{_signed(status.pnl, '{}') or _MISSING}{share}", _gain(status.pnl)),
        (f"{space}orders ", "dim"),
        (f"{status.orders:,}", ""),
        (f"{space}fills ", "dim"),
        (f"{status.fills_count:,}", ""),
        (f"{space}gaps ", "dim"),
        (f"{status.gaps:,}", "yellow" if status.gaps else ""),
    ]


def _body(
    status: LiveStatus, width: int, height: int, wall_ns: int, printed: Sequence[str], glyphs: Glyphs
) -> list[ScreenLine]:
    """Return the sections in exactly `height` lines."""
    feed = [_connections(status.connections, wall_ns), _streams(status.streams, wall_ns)]
    trading = [_positions(status.positions), _orders(status.open_orders), _fills(status.last_fills)]
    below = [_notes("Gaps and warnings", status.notes)]
    if printed:
        below.append(_notes("Printed and logged", [brief(line) for line in printed]))
    if width < _WIDE:
        lines = _stacked([*feed, *trading, *below], width, height, glyphs)
    else:
        left_width = (width - _GAP) // 2
        right_width = width - _GAP - left_width
        # What stands below gets a third of the height at most, so that the columns keep still when warnings come.
        foot = _stacked(below, width, min(height // 3, sum(wanted(section) + 1 for section in below)), glyphs)
        room = height - len(foot)
        left, right = _stacked(feed, left_width, room, glyphs), _stacked(trading, right_width, room, glyphs)
        lines = [*beside(left, right, left_width=left_width, right_width=right_width), *foot]
    return [*lines[:height], *(_blank(width) for _ in range(height - len(lines)))]


def _stacked(sections: Sequence[Section], width: int, height: int, glyphs: Glyphs) -> list[ScreenLine]:
    """Return sections one below the other, each with a blank line after it while the height allows."""
    wants = [wanted(section) for section in sections]
    is_airy = sum(wants) + len(wants) <= height
    lines: list[ScreenLine] = []
    for section, share in zip(sections, shares(wants, height), strict=True):
        lines += lines_of(section, width, share, glyphs)
        if is_airy:
            lines.append(_blank(width))
    return lines


def _connections(connections: Sequence[ConnectionLine], wall_ns: int) -> Section:
    def row(line: ConnectionLine) -> tuple[Piece, ...]:
        style = _STATES.get(line.state, "")
        state = f"{line.state} ({line.attempts})" if line.attempts and line.state != "live" else line.state
        return (
            (line.name, ""),
            (state, style),
            (age(wall_ns - line.since_ns), ""),
            (f"{line.channels:,}", ""),
            (f"{line.frames:,}", ""),
            (brief(line.error).removeprefix(f"{line.name}: "), "red" if line.state == "failed" else "dim"),
        )

    # What is wrong stands first, where it is seen however many there are.
    ordered = sorted(connections, key=lambda line: line.state == "live")
    live = sum(line.state == "live" for line in connections)
    return Section("Connections", f"{live} of {len(connections)} live", _CONNECTIONS, [row(c) for c in ordered])


def _streams(streams: Sequence[StreamLine], wall_ns: int) -> Section:
    def row(line: StreamLine) -> tuple[Piece, ...]:
        quiet_ns = wall_ns - line.last_received_ns
        last: Piece = (age(quiet_ns), "yellow" if quiet_ns > _QUIET_S * NS_PER_S else "")
        return (
            (line.name, ""),
            (f"{line.rows:,}", ""),
            (f"{line.rows_per_s:,.1f}", ""),
            (_lag(line.lag_ms), _lag_style(line.lag_ms)),
            last if line.last_received_ns else (_MISSING, "dim"),
        )

    lags = [line.lag_ms for line in streams if line.lag_ms is not None]
    rate = sum(line.rows_per_s for line in streams)
    summary = f"{rate:,.0f} rows/s, lag up to {_lag(max(lags))}" if lags else f"{rate:,.0f} rows/s"
    return Section("Streams", summary, _STREAMS, [row(line) for line in streams])


def _positions(positions: Sequence[PositionLine]) -> Section:
    def row(line: PositionLine) -> tuple[Piece, ...]:
        return (
            (line.name, ""),
            (number(line.qty), "green" if line.qty > 0 else "red" if line.qty < 0 else "dim"),
            (number(line.average, digits=8), ""),
            (number(line.mark), ""),
            (_signed(line.unrealised, "{}"), _gain(line.unrealised)),
            (f"{_signed(line.realised, '{}')} {line.currency}", _gain(line.realised)),
        )

    return Section("Positions", "", _POSITIONS, [row(line) for line in positions])


def _orders(orders: Sequence[OrderLine]) -> Section:
    def row(line: OrderLine) -> tuple[Piece, ...]:
        return (
            (line.name, ""),
            (line.side, side_style(line.side)),
            (number(line.qty), ""),
            (number(line.filled_qty), "" if line.filled_qty else "dim"),
            ("market" if line.price is None else number(line.price), ""),
            (line.state.replace("_", " "), "dim"),
            (line.tag, "dim"),
        )

    return Section("Open orders", f"{len(orders)}", _ORDERS, [row(line) for line in orders])


def _fills(fills: Sequence[Fill]) -> Section:
    def row(fill: Fill) -> tuple[Piece, ...]:
        return (
            (clock_text(fill.filled_ns), "dim"),
            (fill.leg, ""),
            (fill.side, side_style(fill.side)),
            (number(fill.qty), ""),
            (number(fill.price), ""),
            (fill.role, "dim"),
            (f"{money(float(fill.fee))} {fill.fee_currency}", ""),
        )

    return Section("Last fills", "", _FILLS, [row(fill) for fill in fills], empty="none yet", is_newest_last=True)


def _notes(title: str, notes: Sequence[str]) -> Section:
    rows = [((note, "yellow" if title.startswith("Gaps") else ""),) for note in notes]
    return Section(title, "", _NOTES, rows, is_newest_last=True, has_names=False)


def _blank(width: int) -> ScreenLine:
    return [(" " * width, "")]


def _amount(value: float | None) -> str:
    return _MISSING if value is None else money(value)


def _signed(value: float | None, form: str) -> str:
    """Return an amount with its sign in `form`, or nothing while it is not known."""
    if value is None:
        return ""
    return form.format(f"+{money(value)}" if value > 0 else money(value))


def _percent(gain: float, equity: float) -> str:
    start = equity - gain
    share = 100 * gain / start if start > 0 else 0.0
    # Less than it could show is no share worth its room.
    return f" ({share:+.2f} %)" if abs(share) >= 0.005 else ""


def _gain(value: float | None) -> str:
    return "" if not value else "green" if value > 0 else "red"


def _lag(lag_ms: float | None) -> str:
    if lag_ms is None:
        return _MISSING
    return f"{lag_ms:,.0f} ms" if abs(lag_ms) < 10_000 else f"{lag_ms / 1000:,.0f} s"


def _lag_style(lag_ms: float | None) -> str:
    if lag_ms is None or abs(lag_ms) < _LAG_WARNS_MS:
        return ""
    return "yellow" if abs(lag_ms) < _LAG_HURTS_MS else "bold red"


def _queue_style(status: LiveStatus) -> str:
    share = status.queue / status.queue_max if status.queue_max else 0.0
    return "bold red" if share > 0.5 else "yellow" if share > 0.1 else "dim"
