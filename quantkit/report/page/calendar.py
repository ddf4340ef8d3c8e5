"""The cards of a page that are laid out by time: returns by day or month, by hour, and the deepest drawdowns."""

import math
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from quantkit.clock import NS_PER_DAY
from quantkit.report.page.cards import none, signed, titled
from quantkit.report.page.markup import Markup, tag
from quantkit.report.page.subject import Subject

if TYPE_CHECKING:
    import pandas as pd

_WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: Below so many days months would be too few to compare.
_DAYS_SHOWN: Final = 100
_DEPTHS: Final = 12
#: What of all cells gets the deepest tint, so that one day does not bleach the rest.
_CAP: Final = 0.95


def returns(subject: Subject) -> Markup:
    """Return a calendar of days for a short run, a table of months for a longer one."""
    length_ns = subject.outcome.end_ns - subject.outcome.start_ns
    if length_ns < NS_PER_DAY:
        return titled("Returns by day", "", none("Needs a day; this run is shorter."))
    daily = subject.returns
    if len(daily) < _DAYS_SHOWN:
        caption = "Per cent a UTC day; the first and the last may be parts of one"
        return titled("Returns by day", caption, _days(daily))
    return titled("Returns by month", "", none("Not counted yet."))


def hours(subject: Subject) -> Markup:
    """Return the mean return of each hour of the week."""
    return titled("Returns by hour", "", none("Not counted yet."))


def falls(subject: Subject) -> Markup:
    """Return the deepest drawdowns; a click shows one in the chart."""
    return none("Not counted yet.")


def _days(daily: "pd.Series[float]") -> Markup:
    """Return days by week and weekday, in per cent."""
    values = {stamp.date(): 100 * value for stamp, value in zip(daily.index, daily.tolist(), strict=True)}
    scale = _capped(list(values.values()))
    first = min(values)
    monday = first - timedelta(days=first.weekday())
    rows = []
    while monday <= max(values):
        days = [monday + timedelta(days=place) for place in range(7)]
        cells = [heat(values.get(day), scale, 2) for day in days]
        rows.append(tag("tr", tag("th", _day(monday), scope="row"), cells))
        monday += timedelta(days=7)
    return tag("table", _head(("", *_WEEKDAYS)), tag("tbody", rows), class_="heat calendar")


def _day(day: date) -> str:
    return f"{day.day:02d} {_MONTHS[day.month - 1]}"


def _head(names: Sequence[str]) -> Markup:
    return tag("thead", tag("tr", [tag("th", name, scope="col") for name in names]))


def heat(value: float | None, scale: float, decimals: int, *classes: str) -> Markup:
    """Return a cell: its number says it, and a tint in twelve depths helps; ink stays readable on the deepest."""
    if value is None or not math.isfinite(value):
        return tag("td", class_=" ".join(classes) or None)
    depth = min(_DEPTHS, round(_DEPTHS * abs(value) / scale)) if scale > 0 else 0
    tint = [f"{'gain' if value > 0 else 'loss'}-{depth}"] if depth else []
    return tag("td", signed(value, decimals), class_=" ".join((*classes, *tint)) or None)


def _capped(values: Sequence[float]) -> float:
    sizes = np.abs(np.array(values, np.float64))
    return float(np.quantile(sizes, _CAP)) if len(sizes) else 0.0
