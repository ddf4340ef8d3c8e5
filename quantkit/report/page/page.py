"""The page of a run: everything in one pass, as one file or with its data served."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from quantkit.clock import NS_PER_DAY, NS_PER_MS
from quantkit.engine.outcome import FundingPayment
from quantkit.errors import DataError
from quantkit.report.metrics import FloatArray, IntArray
from quantkit.report.page import calendar, cards, charts, execution
from quantkit.report.page.document import asset, bar, document
from quantkit.report.page.markup import Content, Markup, data_block, fill, raw, tag, text
from quantkit.report.page.payload import Payload, payload
from quantkit.report.page.subject import Subject
from quantkit.report.page.tracks import ROWS_MAX, Track, shares, track_of
from quantkit.report.prices import PriceRows, traded
from quantkit.report.round_trips import RoundTrip
from quantkit.report.text import strategy_of

Mode: TypeAlias = Literal["file", "served"]
#: The first and the last moment, UTC ns.
Span: TypeAlias = tuple[int, int]
STYLE: Final = "report.css"
#: The page's scripts in the order in which they run; each defines one name.
SCRIPTS: Final = (
    "format.js",
    "columns.js",
    "levels.js",
    "source.js",
    "chart.js",
    "panels.js",
    "view.js",
    "depth.js",
    "trips.js",
    "theme.js",
    "main.js",
)
#: Nothing is fetched, and nothing is evaluated.
POLICY: Final = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
)
#: Of a served page: its own scripts and answers alone. The chart library writes styles into its elements.
SERVED_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data: blob:"
)
#: Spans of the buttons, in days.
_SPANS: Final = (
    ("1 min", 1 / 1440),
    ("10 min", 1 / 144),
    ("1 h", 1 / 24),
    ("1 D", 1.0),
    ("1 W", 7.0),
    ("1 M", 30.44),
    ("3 M", 91.3),
    ("1 Y", 365.25),
)
_SPAN_MOST: Final = 1_500
_COLUMNS: Final = (
    ("number", "#", "wide"),
    ("entry", "Entry, UTC", ""),
    ("exit", "Exit, UTC", "wide"),
    ("instrument", "Instrument", "wide"),
    ("side", "Side", ""),
    ("qty", "Qty", "wide"),
    ("entry_price", "Entry price", "wide"),
    ("exit_price", "Exit price", "wide"),
    ("held", "Held", "wide"),
    ("fees", "Fees", "wide"),
    ("pnl", "PnL", ""),
    ("return", "Return", ""),
    ("mae", "MAE", "wide"),
    ("mfe", "MFE", "wide"),
    ("tag", "Tag", "wide"),
)


class Card(NamedTuple):
    """The chart of a run as a page of its own.

    Attributes:
        page: It.
        instruments: In the order of its tabs.
        is_cut: Whether a price path is longer than what it holds.
    """

    page: str
    instruments: list[str]
    is_cut: bool


def card(subject: Subject, span: Span | None = None, *, plot: str = "") -> Card:
    """Return the chart of a run alone, for a notebook.

    Args:
        subject: The result.
        span: What is drawn; it lies in the run, and is the run's by default.
        plot: The name under which the page asks whoever shows it for rows that it does not hold; "" for nobody.
    """
    paths, reasons = tracks_of(subject, span)
    load = payload(subject, paths, reasons)
    is_cut = any(path.stride > 1 for path in paths)
    begin_ns, end_ns = span or (subject.outcome.start_ns, subject.outcome.end_ns)
    load.meta.update(mode="card", plot=plot if is_cut else "", begin=begin_ns // NS_PER_MS, end=end_ns // NS_PER_MS)
    load.meta["is_fine"] = end_ns - begin_ns < NS_PER_DAY
    figures = _figures(subject, load, only_panels=True)
    parts = _shared(load, figures, "file", _spans(begin_ns, end_ns))
    page = document(asset("card.html"), parts, title=_title(subject), styles=_style("file", ""), policy=POLICY)
    return Card(page.decode(), [*(path.rows.instrument for path in paths), *reasons], is_cut)


def render(subject: Subject, *, mode: Mode = "file", assets: str = "", api: str = "", home: str = "") -> bytes:
    """Return the page of a run.

    Args:
        subject: The result.
        mode: `file` holds everything and asks no network; `served` names its scripts and asks for its rows.
        assets: Where a served page finds `report.css`, the scripts and `bokeh.min.js`, without a slash at its end.
        api: Where a served page asks for `prices/<instrument>?from&to&buckets`, likewise.
        home: Where a served page leads back to; "" for nowhere.
    """
    paths, reasons = tracks_of(subject)
    load = payload(subject, paths, reasons)
    load.meta.update(mode=mode, api=api)
    figures = _figures(subject, load, only_panels=False)
    drawn = execution.figures(subject)
    figures |= drawn
    name, _ = strategy_of(subject.config)
    spans = _spans(subject.outcome.start_ns, subject.outcome.end_ns)
    shared = _shared(load, figures, mode, spans, assets)
    parts: dict[str, Content] = {
        "name": name,
        "what": cards.what(subject),
        "parameters": cards.parameters(subject),
        "headline": cards.headline(subject),
        "warnings": cards.warnings(subject),
        "assumptions": cards.assumptions(subject),
        "data_quality": cards.data_quality(subject),
        "calendar": calendar.returns(subject),
        "hours": calendar.hours(subject),
        "falls": calendar.falls(subject),
        "returns": _figure("returns", figures, "No round trip was closed."),
        "excursions": _figure("excursions", figures, "No round trip was closed."),
        "costs": _figure("costs", figures, _why_no_costs(subject)),
        "costs_in_words": cards.costs(subject),
        "costs_caption": _costs_caption(subject),
        "execution": execution.section(subject, drawn),
        "trips": _trips(subject, load),
        "open_positions": cards.open_positions(subject),
        "numbers": cards.all_numbers(subject),
        "missing": cards.missing(subject),
        "hash": subject.hash,
        "manifest": cards.manifest(subject),
        "bar": bar(
            tag("a", "All runs", href=home) if home else tag("span", "backtest report", class_="wide"),
            tag("button", "Print", id="print"),
        ),
        "version": subject.manifest["versions"].get("quantkit", ""),
    }
    return document(
        asset("report.html"),
        {**shared, **parts},
        title=_title(subject),
        styles=_style(mode, assets),
        policy=POLICY if mode != "served" else SERVED_POLICY,
    )


def _title(subject: Subject) -> str:
    name, _ = strategy_of(subject.config)
    return f"{name}, {', '.join(list(subject.instruments)[:3])}"


def _shared(
    load: Payload,
    figures: Mapping[str, charts.FigureJson],
    mode: Mode,
    spans: Markup,
    assets: str = "",
) -> dict[str, Content]:
    """Return what the page of a run and its chart alone both have."""
    return {
        "chart": Markup(fill(asset("chart.html"), {"tabs": _tabs(load), "spans": spans})),
        "data": text([data_block("meta", load.meta), data_block("figures", figures), data_block("first", load.first)]),
        "rest": data_block("rest", _rest(load, mode)),
        "scripts": _scripts(mode, assets),
    }


def tracks_of(subject: Subject, span: Span | None = None) -> tuple[list[Track], dict[str, str]]:
    """Return the price paths that a page keeps, traded instruments first, and why others have none."""
    prices = subject.prices
    found: list[PriceRows] = []
    for name in prices.instruments:
        with suppress(DataError):  # damage inside a file, of which `reason` tells from then on
            rows = prices.rows(name, *(span or ()))
            if len(rows):
                found.append(rows)
    trips: dict[str, list[RoundTrip]] = {}
    for trip in subject.trips.closed:
        trips.setdefault(trip.instrument, []).append(trip)
    cut = [
        track_of(rows, trips.get(rows.instrument, []), offset_ns=subject.outcome.offset_ns, most=most)
        for rows, most in zip(found, shares([len(rows) for rows in found], ROWS_MAX), strict=True)
    ]
    known = {rows.instrument for rows in found}
    wanted = [name for name in traded(subject.outcome) or subject.instruments if name not in known]
    return cut, {name: prices.reason(name) or "no row in the run's span has a price" for name in wanted}


def _style(mode: Mode, assets: str) -> Markup:
    if mode == "served":
        return tag("link", rel="stylesheet", href=f"{assets}/{STYLE}")
    return raw("style", asset(STYLE))


def _rest(load: Payload, mode: Mode) -> dict[str, Any]:
    """Return the columns behind the first picture; a served page asks for its rows."""
    if mode != "served":
        return load.rest
    light = [{key: track[key] for key in ("fills", "stops", "books")} for track in load.rest["tracks"]]
    return {**load.rest, "tracks": light}


def _scripts(mode: Mode, assets: str) -> Markup:
    """Return the library and the page's own scripts, inside the page or as names of files."""
    if mode == "served":
        return text([tag("script", src=f"{assets}/{name}") for name in (charts.library_file().name, *SCRIPTS)])
    packed, version = charts.library()
    licence = (
        f"<!-- BokehJS {version}, Copyright Anaconda, Inc. and Bokeh Contributors, BSD-3-Clause: its text is inside -->"
    )
    library = raw("script", packed, type="text/plain", id="library")
    return text([Markup(licence), library, *(raw("script", asset(name)) for name in SCRIPTS)])


def _figures(subject: Subject, load: Payload, *, only_panels: bool) -> dict[str, charts.FigureJson]:
    """Return the documents of every chart that has something to show."""
    closed = subject.trips.closed
    decimals = max((track["price_decimals"] for track in load.meta["tracks"]), default=2)
    found = {"panels": charts.panels(decimals, subject.money_decimals)}
    if only_panels or not closed:
        return found
    found["returns"] = charts.returns_of_trips(np.array([trip.return_pct for trip in closed]))
    found["excursions"] = charts.excursions(
        np.array([100 * trip.mae for trip in closed]),
        np.array([100 * trip.mfe for trip in closed]),
        [trip.pnl > 0 for trip in closed],
    )
    if not _why_no_costs(subject):
        found["costs"] = _costs(subject)
    return found


def _costs(subject: Subject) -> charts.FigureJson:
    """Return sums over closed round trips at each exit, and over funding at each boundary."""
    closed, payments = subject.trips.closed, _payments(subject)
    exits = np.array([trip.exit_ns for trip in closed], np.int64) // NS_PER_MS
    pnl, fees = (np.array([float(getattr(trip, name)) for trip in closed]) for name in ("pnl", "fees"))
    settled = np.array([payment.funding_ns for payment in payments], np.int64) // NS_PER_MS
    amounts = np.array([float(payment.amount) for payment in payments])
    moments, changes = np.append(exits, settled), np.append(pnl, amounts)
    order = np.argsort(moments, kind="stable")
    start_ms = (subject.outcome.start_ns - subject.outcome.offset_ns) // NS_PER_MS
    sums = (exits, pnl + fees), (moments[order], changes[order]), (exits, -fees), (settled, amounts)
    return charts.costs(*(_summed(at_ms, each, start_ms) for at_ms, each in sums))


def _summed(at_ms: IntArray, changes: FloatArray, start_ms: int) -> tuple[IntArray, FloatArray]:
    """Return a sum from the start of the run on, where it is zero; of one change alone there would be no line."""
    if not len(at_ms):
        return at_ms, changes
    return np.append(start_ms, at_ms), np.append(0.0, np.cumsum(changes))


def _payments(subject: Subject) -> list[FundingPayment]:
    """Return the funding that has a common sum with the round trips; none where some is in another currency."""
    payments = subject.outcome.funding_payments
    is_common = {payment.currency for payment in payments} <= {trip.currency for trip in subject.trips.closed}
    return payments if is_common else []


def _costs_caption(subject: Subject) -> Markup:
    """Return what the lines of the costs are; funding where there was some."""
    currency = next((trip.currency for trip in subject.trips.closed), subject.outcome.report_currency)
    parts: list[Content] = ["Sums over closed round trips, ", tag("bdi", currency), ": "]
    lines = {"bench": "before costs", "accent": "after", "dash loss": "fees"}
    if _payments(subject):
        lines["dots funding"] = "funding received, as it was settled"
    for kind, words in lines.items():
        parts += [tag("span", tag("i", "", class_=f"key {kind}"), words, class_="line"), " "]
    return text(parts)


def _why_no_costs(subject: Subject) -> str:
    currencies = {trip.currency for trip in subject.trips.closed}
    if not currencies:
        return "No round trip was closed."
    if len(currencies) > 1:
        return f"The round trips are in {', '.join(sorted(currencies))}, which have no common sum over time."
    return ""


def _figure(name: str, figures: Mapping[str, charts.FigureJson], why_not: str) -> Markup:
    return tag("div", "" if name in figures else cards.none(why_not), id=f"figure_{name}", class_="figure")


def _tabs(load: Payload) -> Markup:
    """Return a tab for each instrument, if there are several."""
    named = load.meta["tracks"]
    if len(named) < 2:
        return Markup()
    tabs = [
        tag("button", tag("bdi", track["id"]), role="tab", data_track=place, aria_selected="false", tabindex=-1)
        for place, track in enumerate(named)
    ]
    return tag("div", tabs, class_="tabs", role="tablist", aria_label="Instrument")


def _spans(begin_ns: int, end_ns: int) -> Markup:
    """Return buttons for the spans that a run of this length has use for."""
    days = (end_ns - begin_ns) / NS_PER_DAY
    fitting = [(name, span) for name, span in _SPANS if span < days < span * _SPAN_MOST]
    return text(
        [
            *(
                tag("button", name, data_span=round(span * NS_PER_DAY / NS_PER_MS), aria_pressed="false")
                for name, span in fitting[-5:]
            ),
            tag("button", "All", data_span="all", aria_pressed="true"),
        ]
    )


def _trips(subject: Subject, load: Payload) -> Markup:
    """Return the table of round trips, whose rows the page's script makes."""
    if not subject.trips.closed:
        return cards.none("No round trip was closed.")
    left_out = set()
    if len(load.meta["tracks"]) < 2:
        left_out.add("instrument")
    if not any(load.meta["tags"]):
        left_out.add("tag")
    heads = [
        tag("th", tag("button", label), class_=kind or None, data_column=key, scope="col")
        for key, label, kind in _COLUMNS
        if key not in left_out
    ]
    table = tag("table", tag("thead", tag("tr", heads)), tag("tbody", "", id="rows"), class_="trips")
    return tag("div", table, class_="scroll", id="scroll", tabindex=-1)
