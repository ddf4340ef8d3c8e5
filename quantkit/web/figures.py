"""The charts of the served pages as bokeh documents, without data and colours, which the pages' scripts give them."""

from typing import Any, Final

from quantkit.report.page import charts
from quantkit.report.page.charts import FigureJson

#: Room for the numbers at the right.
_PRICE: Final = 330
_EQUITY: Final = 120
_COMPARED: Final = 320


def live() -> FigureJson:
    """Return price with own orders and fills, and equity below it."""
    from bokeh.layouts import column
    from bokeh.models import NumeralTickFormatter, Range1d

    shared = Range1d(start=0, end=1)
    price, equity = _panel("price", _PRICE, shared), _panel("equity", _EQUITY, shared)
    price.step("x", "y", source=charts.empty_source("price", "x", "y"), mode="after", line_width=1.3, name="price")
    for name, colour in (("bids", "gain"), ("asks", "loss")):
        own = charts.empty_source(name, "x0", "x1", "y")
        price.segment("x0", "y", "x1", "y", source=own, line_width=1.5, line_dash="5 3", name=colour)
    for name, marker in (("buy", "triangle"), ("sell", "inverted_triangle")):
        price.scatter("x", "y", source=charts.empty_source(name, "x", "y"), marker=marker, size=10, name=name)
    equity.step("x", "y", source=charts.empty_source("equity", "x", "y"), mode="after", line_width=1.8, name="accent")
    price.xaxis.visible = False
    for plot in (price, equity):
        plot.yaxis.formatter = NumeralTickFormatter(format="0,0.[00000000]")
    return charts.document(column(price, equity, sizing_mode="stretch_width", spacing=0))


def comparison() -> FigureJson:
    """Return the change of two equities in per cent of their starts."""
    from bokeh.models import NumeralTickFormatter, Range1d

    plot = _panel("change", _COMPARED, Range1d(start=0, end=1))
    plot.line("x", "y", source=charts.empty_source("second", "x", "y"), line_width=1.6, line_dash="5 3", name="loss")
    plot.line("x", "y", source=charts.empty_source("first", "x", "y"), line_width=1.8, name="accent")
    plot.yaxis.formatter = NumeralTickFormatter(format="0,0.[00]")
    return charts.document(plot)


def _panel(name: str, height: int, x_range: Any) -> charts.Figure:
    """Return a panel of a chart that follows by itself: nobody pans it."""
    from bokeh.models.annotations import Span

    plot = charts.linked_panel(name, height, x_range, Span(dimension="height", line_dash="solid", line_width=1))
    plot.toolbar.tools = plot.toolbar.tools[:1]  # the crosshair
    return plot
