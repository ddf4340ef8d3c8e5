"""The charts of a page as bokeh documents, without colours and mostly without data: `assets/chart.js` gives both.

bokeh is imported inside the functions: importing this module loads nothing heavy.
"""

import base64
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from quantkit.report.execution import HORIZONS_S
from quantkit.report.metrics import FloatArray, IntArray

FigureJson: TypeAlias = dict[str, Any]
#: bokeh's figure, whose types do not know most of its properties.
Figure: TypeAlias = Any

#: Heights of the linked panels, from top to bottom, on a wide page.
HEIGHTS: Final = {"price": 380, "position": 54, "equity": 190, "drawdown": 112}
#: Room for the numbers at the right of every panel.
AXIS: Final = 78
_SMALL: Final = 230
_TALL: Final = 340
_BARS: Final = 44
#: How far the bars go on beyond the middle nine tenths of all values, in widths of those.
_TAIL: Final = 0.75
_DOTS: Final = 2_500
_ROWS: Final = 1_000
#: Of times in queue: bars to a factor of ten, and what is shorter stands in the first.
_PER_DECADE: Final = 5
_SHORTEST_S: Final = 0.001
_ID: Final = re.compile(r"p\d+")


def library() -> tuple[str, str]:
    """Return bokeh's script, deflated and as base64, and its version."""
    import bokeh

    return base64.b64encode(zlib.compress(library_file().read_bytes(), 9)).decode(), bokeh.__version__


def library_file() -> Path:
    """Return where bokeh's script is on this machine."""
    import bokeh

    return Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"


def panels(price_decimals: int, money_decimals: int) -> FigureJson:
    """Return the four linked panels, empty."""
    from bokeh.layouts import column
    from bokeh.models import NumeralTickFormatter, Range1d
    from bokeh.models.annotations import Span

    shared = Range1d(start=0, end=1)
    cross = Span(dimension="height", line_dash="solid", line_width=1)
    plots = {name: linked_panel(name, height, shared, cross) for name, height in HEIGHTS.items()}
    _price(plots["price"])
    _position(plots["position"])
    equity, drawdown = plots["equity"], plots["drawdown"]
    equity.line("x", "y", source=empty_source("hold", "x", "y"), line_width=1.2, name="bench")
    equity.line("x", "y", source=empty_source("equity", "x", "y"), line_width=1.8, name="accent")
    under = empty_source("drawdown", "x", "zero", "y")
    drawdown.varea("x", "zero", "y", source=under, name="loss_area")
    drawdown.line("x", "y", source=under, line_width=1, name="loss")
    for name in ("price", "position", "equity"):
        plots[name].xaxis.visible = False
    plots["price"].yaxis.formatter = NumeralTickFormatter(format=_pattern(price_decimals))
    plots["position"].yaxis.formatter = NumeralTickFormatter(format="0,0.[000000]")
    plots["equity"].yaxis.formatter = NumeralTickFormatter(format=_pattern(money_decimals))
    drawdown.yaxis.formatter = NumeralTickFormatter(format="0.[0000]%")
    return document(column(*plots.values(), sizing_mode="stretch_width", spacing=0))


def returns_of_trips(returns_pct: FloatArray) -> FigureJson:
    """Return the histogram of round trips by return; zero is an edge, and the outermost bars hold the tails."""
    from bokeh.models import NumeralTickFormatter

    edges, counts = histogram(returns_pct)
    plot = _small()
    middle = (edges[1] - edges[0]) / 2
    for kind, part in (("gain", edges[:-1] > -middle), ("loss", edges[:-1] <= -middle)):
        plot.quad(left=edges[:-1][part], right=edges[1:][part], top=counts[part], bottom=0, name=f"fill_{kind}")
    plot.y_range.start = 0
    plot.xaxis.formatter = NumeralTickFormatter(format="0.[0000]")
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0")
    plot.yaxis.ticker.min_interval = 1
    return document(plot)


def histogram(values: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return edges at round numbers, zero among them, and how many values lie between; tails go to the outer bars.

    Examples:
        >>> edges, counts = histogram(np.array([-1.0, -0.4, 0.3, 0.8, 2.0]))
        >>> np.round(edges, 1).tolist(), counts.tolist()
        ([-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0], [1, 1, 1, 1, 0, 1])
    """
    least, most = (float(each) for each in np.quantile(values, [0.05, 0.95]))
    # One trip far out must not press all others into two bars.
    room = _TAIL * (most - least)
    low = min(max(least - room, float(values.min())), 0.0)
    high = max(min(most + room, float(values.max())), 0.0)
    rough = max(high - low, 1e-9) / min(_BARS, max(8.0, 1.6 * len(values) ** 0.5))
    decade = 10.0 ** np.floor(np.log10(rough))
    step = float(next(part * decade for part in (1, 2, 2.5, 5, 10) if part * decade >= rough))
    edges = np.arange(np.floor(low / step), max(np.ceil(high / step), np.floor(low / step) + 1) + 1) * step
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    return edges, counts


def excursions(mae_pct: FloatArray, mfe_pct: FloatArray, is_won: Sequence[bool]) -> FigureJson:
    """Return each round trip by its worst and its best moment; of many, evenly picked ones."""
    plot = _small()
    won = np.array(is_won, bool)
    for kind, marker, part in (("loss", "x", ~won), ("gain", "circle", won)):
        rows = _spread(np.flatnonzero(part), _DOTS // 2)
        plot.scatter(-mae_pct[rows] + 0.0, mfe_pct[rows], marker=marker, size=5, name=f"dot_{kind}")
    return document(plot)


def costs(
    before: tuple[IntArray, FloatArray],
    after: tuple[IntArray, FloatArray],
    fees: tuple[IntArray, FloatArray],
    funding: tuple[IntArray, FloatArray],
) -> FigureJson:
    """Return sums over time: profit before costs and after them, fees, and funding, each as (ms, amounts)."""
    from bokeh.models import NumeralTickFormatter

    plot = _small(x_axis_type="datetime")
    for (time_ms, amounts), name, width, dash in (
        (before, "bench", 1.6, "solid"),
        (after, "accent", 1.8, "solid"),
        (fees, "loss", 1.4, "5 3"),
        (funding, "funding", 1.4, "2 3"),
    ):
        rows = _spread(np.arange(len(time_ms)), _ROWS)
        plot.line(time_ms[rows].astype(np.float64), amounts[rows], line_width=width, line_dash=dash, name=name)
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0.[0000]")
    return document(plot)


def markouts(lines: Mapping[str, Sequence[float | None]]) -> FigureJson:
    """Return markouts in basis points at the fill and at each horizon after it.

    Args:
        lines: Of makers and of takers; None where not known.
    """
    from bokeh.models import NumeralTickFormatter, Range1d
    from bokeh.models.annotations import Span

    names = ["at fill", *(f"{horizon} s" for horizon in HORIZONS_S)]
    places = list(range(len(names)))
    plot = _small(x_range=Range1d(start=-0.35, end=len(names) - 0.65))
    plot.xaxis.ticker = places
    plot.xaxis.major_label_overrides = dict(zip(places, names, strict=True))
    plot.add_layout(Span(location=0, dimension="width", line_width=1))
    for role, name, marker, dash in (("maker", "accent", "circle", "solid"), ("taker", "bench", "x", "5 3")):
        xs = [x for x in places if lines[role][x] is not None]
        ys = [lines[role][x] for x in xs]
        if role == "maker" and xs[:1] == [0]:
            plot.line([0, places[-1]], [ys[0], ys[0]], line_width=1.4, line_dash="2 3", name=name)
        plot.line(xs, ys, line_width=1.8, line_dash=dash, name=name)
        plot.scatter(xs, ys, marker=marker, size=7, name=f"dot_{name}")
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0.[00]")
    return document(plot)


def queue_times(seconds: FloatArray) -> FigureJson:
    """Return the histogram of times in queue, on bars that widen by a constant ratio."""
    from bokeh.models import NumeralTickFormatter

    shown = np.maximum(seconds, _SHORTEST_S)
    low, high = np.floor(_PER_DECADE * np.log10(shown.min())), np.ceil(_PER_DECADE * np.log10(shown.max()))
    edges = 10.0 ** (np.arange(low, max(high, low + 1) + 1) / _PER_DECADE)
    # The ends are the data's own, whatever the last bits of a power are.
    edges[0], edges[-1] = min(edges[0], shown.min()), max(edges[-1], shown.max())
    counts, _ = np.histogram(shown, edges)
    plot = _small(x_axis_type="log")
    plot.quad(left=edges[:-1], right=edges[1:], top=counts, bottom=0, name="fill_accent")
    plot.y_range.start = 0
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0.[000]")
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0")
    plot.yaxis.ticker.min_interval = 1
    return document(plot)


def inventory(qtys: FloatArray, shares_pct: FloatArray, width: float, *, is_tall: bool) -> FigureJson:
    """Return the share of time at each position: bars around it, long, short and flat.

    Args:
        qtys: Positions, `width` apart. shares_pct: Of the time.
        is_tall: Whether it stands beside charts with numbers below them.
    """
    from bokeh.models import NumeralTickFormatter

    plot = _small()
    if is_tall:
        plot.height = _TALL
    is_flat = np.abs(qtys) < width / 2
    for name, part in (("gain", (qtys > 0) & ~is_flat), ("loss", (qtys < 0) & ~is_flat), ("bench", is_flat)):
        half = 0.46 * width
        plot.quad(left=qtys[part] - half, right=qtys[part] + half, top=shares_pct[part], bottom=0, name=f"fill_{name}")
    plot.y_range.start = 0
    plot.xaxis.formatter = NumeralTickFormatter(format="0,0.[000000]")
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0.[0]")
    return document(plot)


def linked_panel(name: str, height: int, x_range: Any, cross: Any) -> Figure:
    """Return one panel: no toolbar, no frame, the shared crosshair, numbers at the right."""
    from bokeh.models import CrosshairTool, NoOverlap, PanTool, Range1d, WheelZoomTool
    from bokeh.plotting import figure

    plot: Figure = figure(
        name=name,
        height=height,
        x_range=x_range,
        y_range=Range1d(start=0, end=1),
        tools="",
        x_axis_type="datetime",
        y_axis_location="right",
        min_border_right=AXIS,
        # Room for half a label below the first moment. None at all leaves stale pixels when the view moves.
        min_border_left=18,
        min_border_top=4,
        min_border_bottom=2,
        # Otherwise every tenth point is drawn while the view moves, and a spike is lost.
        lod_threshold=None,
        **_BARE,
    )
    plot.add_tools(
        CrosshairTool(overlay=cross), PanTool(dimensions="width"), WheelZoomTool(dimensions="width", speed=1 / 1500)
    )
    plot.toolbar.active_scroll = None  # the page gives the wheel to the chart, once that is clicked
    plot.xgrid.grid_line_color = None
    plot.xaxis.major_label_policy = NoOverlap(min_distance=8)
    plot.yaxis.ticker.desired_num_ticks = max(2, height // 60)
    return plot


def _price(plot: Figure) -> None:
    """Add the price, its candles, triggers, round trips, fills and liquidations, from back to front."""
    plot.line("x", "y", source=empty_source("price", "x", "y"), line_width=1.2, name="price")
    plot.segment("x", "low", "x", "high", source=empty_source("wicks", "x", "low", "high"), line_width=1, name="price")
    for kind in ("up", "down"):
        source = empty_source(kind, "x", "width", "open", "close")
        plot.vbar("x", "width", "open", "close", source=source, name=kind, line_width=1)
    plot.segment("x0", "y", "x1", "y", source=empty_source("stops", "x0", "x1", "y"), line_dash="2 3", name="warn")
    for kind, dash in (("gain", "solid"), ("loss", "5 3")):
        source = empty_source(f"trip_{kind}", "x0", "y0", "x1", "y1")
        plot.segment("x0", "y0", "x1", "y1", source=source, line_width=1.6, line_dash=dash, name=kind)
    for kind, marker in (("buy", "triangle"), ("sell", "inverted_triangle")):
        plot.scatter("x", "y", source=empty_source(kind, "x", "y"), marker=marker, size=10, name=kind)
    taken = empty_source("liquidation", "x", "y")
    plot.scatter("x", "y", source=taken, marker="x", size=11, line_width=2.4, name="mark_warn")


def _position(plot: Figure) -> None:
    """Add the signed band."""
    source = empty_source("position", "x", "zero", "long", "short")
    plot.varea("x", "zero", "long", source=source, name="long_area")
    plot.varea("x", "short", "zero", source=source, name="short_area")


#: No frame, no toolbar, no ground of its own: the page's tokens colour everything.
_BARE: Final[dict[str, Any]] = {
    "sizing_mode": "stretch_width",
    "toolbar_location": None,
    "outline_line_color": None,
    "background_fill_color": None,
    "border_fill_color": None,
}


def _small(**more: Any) -> Figure:
    """Return a figure of a card, which never changes."""
    from bokeh.models import NoOverlap
    from bokeh.plotting import figure

    plot: Figure = figure(tools="", height=_SMALL, y_axis_location="right", **_BARE, **more)
    plot.xgrid.grid_line_color = None
    plot.xaxis.major_label_policy = NoOverlap(min_distance=8)
    plot.xaxis.ticker.desired_num_ticks = plot.yaxis.ticker.desired_num_ticks = 3
    return plot


def empty_source(name: str, *columns: str) -> Any:
    from bokeh.models import ColumnDataSource

    return ColumnDataSource({column: [] for column in columns}, name=name)


def _pattern(decimals: int) -> str:
    """Return how an axis writes numbers: as many decimals as they need, and no more than there are."""
    return f"0,0.[{'0' * max(1, decimals)}]"


def _spread(rows: IntArray, most: int) -> IntArray:
    """Return at most so many rows, evenly, the first and the last among them."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, most).astype(np.int64))] if len(rows) > most else rows


def document(root: Any) -> FigureJson:
    """Return a document as JSON, its ids counted from one: bokeh's go on from run to run."""
    from bokeh.embed import json_item
    from bokeh.themes import Theme

    item = json_item(root, theme=Theme(json={}))
    found: FigureJson = _renumbered({"root": item["root_id"], "doc": item["doc"]}, {})
    return found


def _renumbered(value: Any, known: dict[str, str], key: str = "") -> Any:
    """Return a value with every id replaced by its place in order of appearance."""
    if isinstance(value, Mapping):
        return {name: _renumbered(inner, known, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_renumbered(inner, known) for inner in value]
    if key in ("id", "root") and isinstance(value, str) and _ID.fullmatch(value):
        return known.setdefault(value, f"q{len(known) + 1}")
    return value
