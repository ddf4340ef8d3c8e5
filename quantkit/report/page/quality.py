"""The page of a check: verdicts, findings, and pictures of each instrument, in one file that asks no network."""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from quantkit.clock import NS_PER_MS, iso_of
from quantkit.quality.findings import CLEAN, FAULTY, UNVERIFIED, Finding, QualityReport, StreamQuality, counted
from quantkit.report.metrics import FloatArray
from quantkit.report.page import charts
from quantkit.report.page.document import asset, bar, document
from quantkit.report.page.markup import Content, Markup, data_block, raw, tag, text
from quantkit.report.page.page import POLICY, STYLE
from quantkit.report.page.quality_pictures import STRETCHES, Pictures

#: The scripts in the order in which they run.
SCRIPTS: Final = ("columns.js", "chart.js", "theme.js", "quality.js")
#: So many instruments have a picture, those with most findings first.
DRAWN: Final = 12
_TONES: Final = {CLEAN: "gain", FAULTY: "loss", UNVERIFIED: "unsure"}
#: Sign of a verdict: colour is never alone.
_SIGNS: Final = {CLEAN: "●", FAULTY: "×", UNVERIFIED: "?"}
_ROW: Final = 26
_PANEL: Final = 170
_TAIL: Final = 0.005
#: Whose prices are drawn, those of the stream with most rows.
_PRICED: Final = ("trade", "ticker", "book", "candle", "mark")


def render(report: QualityReport, pictures: Pictures, *, is_part: bool = False) -> bytes:
    """Return the page of a check, `is_part` of one that only some of the folder was asked for."""
    instruments = list(dict.fromkeys(each.instrument for each in report.streams))
    found = Counter(
        each.instrument for each in report.streams for finding in each.findings if finding.severity != "info"
    )
    drawn = sorted(instruments, key=lambda name: -found[name])[:DRAWN]
    figures = {
        f"picture_{place}": _picture(name, [each for each in report.streams if each.instrument == name], pictures)
        for place, name in enumerate(drawn)
    }
    packed, bokeh_version = charts.library()
    licence = (
        f"<!-- BokehJS {bokeh_version}, Copyright Anaconda, Inc. and Bokeh Contributors, BSD-3-Clause: its text is "
        "inside -->"
    )
    parts: dict[str, Content] = {
        "bar": bar(tag("span", "data quality", class_="wide"), tag("button", "Print", id="print")),
        "root": report.root,
        "what": _what(report),
        "headline": _headline(report),
        "streams": _streams(report),
        "cards": text([_card(name, f"picture_{place}") for place, name in enumerate(drawn)]),
        "more": _more(len(instruments) - len(drawn)),
        "findings": _findings(report.findings, is_part=is_part),
        "version": version("quantkit"),
        "data": data_block("figures", figures),
        "scripts": text(
            [
                Markup(licence),
                raw("script", packed, type="text/plain", id="library"),
                *(raw("script", asset(name)) for name in SCRIPTS),
            ]
        ),
    }
    title = f"Data quality of {report.root}"
    return document(asset("quality.html"), parts, title=title, styles=raw("style", asset(STYLE)), policy=POLICY)


def _what(report: QualityReport) -> Markup:
    rows = sum(each.rows for each in report.streams)
    starts = [each.start_ns for each in report.streams if each.start_ns is not None]
    ends = [each.end_ns for each in report.streams if each.end_ns is not None]
    span = f", {_moment(min(starts))} to {_moment(max(ends))} UTC" if starts else ""
    return text(f"{len(report.streams):,} streams, {rows:,} rows{span}")


def _headline(report: QualityReport) -> Markup:
    counts = Counter(each.verdict for each in report.streams)
    severities = Counter(finding.severity for finding in report.findings)
    cells = [("Verdict", _verdict(report.verdict), "the worst of all streams")]
    for verdict, words in (
        (CLEAN, "a lost row would have shown"),
        (UNVERIFIED, "a lost row would not show"),
        (FAULTY, "see the findings"),
    ):
        cells.append((verdict.capitalize(), text(f"{counts[verdict]:,}"), words))
    cells.append(("Errors", text(f"{severities['error']:,}"), "rows that cannot be read or trusted"))
    cells.append(("Warnings", text(f"{severities['warning']:,}"), "a run may be wrong or incomplete"))
    return text(
        [
            tag("div", tag("dt", name), tag("dd", value, tag("small", words)), class_="kpi")
            for name, value, words in cells
        ]
    )


def _verdict(verdict: str) -> Markup:
    return tag("span", f"{_SIGNS.get(verdict, '')} {verdict}", class_=_TONES.get(verdict))


def _streams(report: QualityReport) -> Markup:
    heads = tag(
        "tr", [tag("th", name, scope="col") for name in ("Stream", "Verdict", "Rows", "From, UTC", "To", "Why")]
    )
    rows = []
    for each in report.streams:
        warned = [finding for finding in each.findings if finding.severity != "info"]
        why = f"{len(warned)} finding{'' if len(warned) == 1 else 's'}" if warned else "; ".join(each.unverified)
        span = [_moment(ns) if ns is not None else "" for ns in (each.start_ns, each.end_ns)]
        rows.append(
            tag(
                "tr",
                tag("th", tag("bdi", f"{each.instrument} {each.kind} {each.interval}".strip()), scope="row"),
                tag("td", _verdict(each.verdict)),
                tag("td", f"{each.rows:,}", class_="number"),
                tag("td", span[0], class_="wide"),
                tag("td", span[1], class_="wide"),
                tag("td", why),
            )
        )
    return tag("table", tag("thead", heads), tag("tbody", rows), class_="quality")


def _findings(findings: Sequence[Finding], *, is_part: bool) -> Markup:
    if not findings:
        read = "None in what was asked for." if is_part else "None: every file and every row was read."
        return tag("p", read, class_="none")
    rows = [
        tag(
            "tr",
            tag("td", finding.severity, class_={"error": "loss", "warning": "warned"}.get(finding.severity)),
            tag("td", tag("bdi", finding.where)),
            tag("td", tag("bdi", finding.what)),
        )
        for finding in findings
    ]
    heads = tag("tr", [tag("th", name, scope="col") for name in ("", "Where", "What")])
    return tag("table", tag("thead", heads), tag("tbody", rows), class_="quality findings")


def _card(instrument: str, figure: str) -> Markup:
    words = (
        "Rows of each stream over time; gaps and findings in orange. Below: price with findings marked, spread, latency"
    )
    return tag(
        "section",
        tag("h2", tag("bdi", instrument)),
        tag("p", words, class_="cap"),
        tag("div", "", id=f"figure_{figure}", class_="figure pictures"),
        class_="card",
    )


def _more(count: int) -> Markup:
    if not count:
        return Markup()
    return tag(
        "p", f"Pictures of {counted(count, 'further instrument')} with fewer findings are left out; use --instrument."
    )


def _moment(ns: int) -> str:
    return iso_of(ns)[:16].replace("T", " ")


# Pictures ----------------------------------------------------------------------------------------------------------


def _picture(instrument: str, streams: Sequence[StreamQuality], pictures: Pictures) -> charts.FigureJson:
    """Return the panels of one instrument, one below the other on one time axis."""
    from bokeh.layouts import column
    from bokeh.models import Range1d

    begin_ns, end_ns = pictures.spans[instrument]
    width_ns = pictures.width_ns(instrument)
    margin = max(1.0, (end_ns - begin_ns) * 0.01 / NS_PER_MS)
    shared = Range1d(start=begin_ns / NS_PER_MS - margin, end=end_ns / NS_PER_MS + margin)
    time_ms = (begin_ns + (np.arange(STRETCHES) + 0.5) * width_ns) / NS_PER_MS
    panels = [_coverage(streams, pictures, shared, begin_ns, width_ns)]
    priced = max((each for each in streams if each.kind in _PRICED and each.rows), key=_row_count, default=None)
    if priced is not None:
        panels.append(_price(priced, streams, pictures, shared, time_ms))
    for each in streams:
        rows = pictures.streams.get(each.stream)
        if rows is not None and np.isfinite(rows.spread_bps).any():
            lines = [("accent", rows.spread_bps)]
            panels.append(_lines(f"Spread of the {each.kind}, bps", shared, time_ms, lines))
            break
    for each in sorted(streams, key=_row_count, reverse=True):
        rows = pictures.streams.get(each.stream)
        if rows is None:
            continue
        half, most = rows.latency_ms(0.5), rows.latency_ms(0.99)
        if np.isfinite(half).any() and each.kind in ("book", "trade", "ticker"):
            panels.append(
                _lines(
                    f"Latency of the {each.kind}, ms: 50 and 99 %",
                    shared,
                    time_ms,
                    [("bench", most), ("accent", half)],
                )
            )
            break
    for panel in panels[:-1]:
        panel.xaxis.visible = False
    return charts.document(column(*panels, sizing_mode="stretch_width", spacing=0))


def _row_count(stream: StreamQuality) -> int:
    return stream.rows


def _panel(title: str, height: int, shared: Any) -> charts.Figure:
    from bokeh.models import NoOverlap, PanTool
    from bokeh.plotting import figure

    plot: charts.Figure = figure(
        height=height,
        x_range=shared,
        tools="",
        x_axis_type="datetime",
        y_axis_location="right",
        title=title,
        min_border_right=charts.AXIS,
        min_border_left=34,
        lod_threshold=None,
        sizing_mode="stretch_width",
        toolbar_location=None,
        outline_line_color=None,
        background_fill_color=None,
        border_fill_color=None,
    )
    plot.add_tools(PanTool(dimensions="width"))
    plot.xgrid.grid_line_color = None
    plot.xaxis.major_label_policy = NoOverlap(min_distance=8)
    plot.xaxis.ticker.desired_num_ticks = 4
    plot.yaxis.ticker.desired_num_ticks = 3
    return plot


def _coverage(
    streams: Sequence[StreamQuality], pictures: Pictures, shared: Any, begin_ns: int, width_ns: int
) -> charts.Figure:
    """Return a bar for each stream where it has rows, with its gaps and findings on it."""
    from bokeh.models import FixedTicker, Range1d

    plot = _panel("Rows", 56 + _ROW * len(streams), shared)
    names = {}
    for number, each in enumerate(streams):
        level = len(streams) - number
        names[level] = f"{each.kind} {each.interval}".strip()
        rows = pictures.streams.get(each.stream)
        if rows is not None:
            left, right = _runs(rows.counts > 0)
            edges = [(begin_ns + side * width_ns) / NS_PER_MS for side in (left, right)]
            plot.quad(left=edges[0], right=edges[1], bottom=level - 0.28, top=level + 0.28, name="fill_bench")
        marks = [place for finding in each.findings if finding.severity != "info" for place in finding.places]
        if marks:
            from_ms = np.array([place.at_ns for place in marks]) / NS_PER_MS
            to_ms = np.array([place.at_ns if place.to_ns is None else place.to_ns for place in marks]) / NS_PER_MS
            # A moment would be too thin to see.
            to_ms = np.maximum(to_ms, from_ms + width_ns / NS_PER_MS)
            plot.quad(left=from_ms, right=to_ms, bottom=level - 0.4, top=level + 0.4, name="mark_loss")
    plot.y_range = Range1d(start=0.4, end=len(streams) + 0.6)
    plot.yaxis.ticker = FixedTicker(ticks=list(names))
    plot.yaxis.major_label_overrides = names
    plot.ygrid.grid_line_color = None
    return plot


def _runs(filled: "np.typing.NDArray[np.bool_]") -> tuple[FloatArray, FloatArray]:
    """Return where runs of True begin and end.

    Examples:
        >>> [edges.tolist() for edges in _runs(np.array([True, True, False, True]))]
        [[0.0, 3.0], [2.0, 4.0]]
    """
    edges = np.flatnonzero(np.diff(filled.astype(np.int8), prepend=0, append=0)).astype(np.float64)
    return edges[::2], edges[1::2]


def _price(
    priced: StreamQuality, streams: Sequence[StreamQuality], pictures: Pictures, shared: Any, time_ms: FloatArray
) -> charts.Figure:
    """Return the lowest and highest price of each stretch, with a mark at every finding of the instrument."""
    from bokeh.models import Range1d

    rows = pictures.streams[priced.stream]
    plot = _panel(f"Price of the {priced.kind}", _PANEL, shared)
    known = np.isfinite(rows.low)
    # Lowest and highest in turn: one line that reaches both.
    x, y = np.repeat(time_ms[known], 2), np.column_stack((rows.low[known], rows.high[known])).ravel()
    plot.line(x, y, line_width=1.2, name="price")
    if len(y):
        # One price far out must not press all others into a line.
        least, most = (float(each) for each in np.quantile(y, [_TAIL, 1 - _TAIL]))
        room = 0.3 * (most - least) or 0.001 * abs(most)
        plot.y_range = Range1d(start=least - room, end=most + room)
        y = np.clip(y, least - room, most + room)
    marks = [
        place.at_ns
        for each in streams
        for finding in each.findings
        if finding.severity != "info"
        for place in finding.places
    ]
    if marks and known.any():
        at = np.array(sorted(marks)) / NS_PER_MS
        plot.scatter(at, np.interp(at, x, y), marker="x", size=9, line_width=2, name="dot_loss")
    return plot


def _lines(title: str, shared: Any, time_ms: FloatArray, lines: Sequence[tuple[str, FloatArray]]) -> charts.Figure:
    from bokeh.models import NumeralTickFormatter

    plot = _panel(title, _PANEL - 40, shared)
    for name, values in lines:
        plot.line(time_ms, values, line_width=1.4, name=name)
    plot.y_range.start = 0
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0.[000]")
    return plot
