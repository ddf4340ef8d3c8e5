"""The cards of a page that are laid out by time: returns by day or month, by hour, and the deepest drawdowns."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from quantkit.clock import NS_PER_DAY, NS_PER_MS
from quantkit.report.page.cards import none, number, signed, titled
from quantkit.report.page.markup import Markup, tag
from quantkit.report.page.subject import Subject
from quantkit.report.text import duration

if TYPE_CHECKING:
    import pandas as pd

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
#: Below so many days months would be too few to compare.
_DAYS_SHOWN: Final = 100
_DAYS_FOR_HOURS: Final = 3
_HOURS: Final = 24
_DEPTHS: Final = 12
#: What of all cells gets the deepest tint, so that one day does not bleach the rest.
_CAP: Final = 0.95
#: Standard errors beyond which an hour's mean is set in bold.
_SURE: Final = 2.0
_FALLS: Final = 5
_DECIMALS_MAX: Final = 4
_TWO_DIGITS: Final = 10
#: Basis points from which on whole ones can be told apart.
_WHOLE_BPS: Final = 3.0


def returns(subject: Subject) -> Markup:
    """Return a calendar of days for a short run, a table of months for a longer one."""
    days = _days(subject)
    if days < 1:
        return titled("Returns by day", "", none("Needs a day; this run is shorter."))
    if days < _DAYS_SHOWN:
        caption = "Per cent a UTC day; the first and the last may be parts of one"
        table = subject.daily_table
        names = [f"{stamp.day:02d} {_MONTHS[stamp.month - 1]}" for stamp in table.index]
        return titled("Returns by day", caption, _table(table, names, decimals=2))
    caption = "Per cent a UTC month, compounded from days; the last column is the year"
    table = subject.monthly_returns
    return titled("Returns by month", caption, _table(table, [str(year) for year in table.index], decimals=1))


def hours(subject: Subject) -> Markup:
    """Return the mean return of each hour of the week."""
    if _days(subject) < _DAYS_FOR_HOURS:
        return titled("Returns by hour", "", none(f"Needs {_DAYS_FOR_HOURS} days; this run has less."))
    table = subject.hourly_returns
    if table.empty:
        return titled("Returns by hour", "", none("The grid of the equity has no row at every hour."))
    means = dict(zip(table.index.tolist(), table["mean_bps"].tolist(), strict=True))
    sure = dict(zip(table.index.tolist(), (table["t_value"].abs() > _SURE).tolist(), strict=True))
    scale = _capped(list(means.values()))
    decimals = 0 if scale >= _WHOLE_BPS else 1
    heads = [tag("th", ""), *(_hour_head(hour) for hour in range(_HOURS))]
    rows = []
    for day in dict.fromkeys(day for (day, _), mean in means.items() if math.isfinite(mean)):
        cells = [
            heat(
                means[day, hour], scale, decimals, *(["sure"] if sure[day, hour] else []), title=_hour(table, day, hour)
            )
            for hour in range(_HOURS)
        ]
        rows.append(tag("tr", tag("th", day, scope="row"), cells))
    caption = "Mean return of an hour in basis points, weekday by UTC hour; bold beyond two standard errors"
    made = tag(
        "table",
        tag("thead", tag("tr", heads)),
        tag("tbody", rows),
        class_="heat hours" if decimals == 0 else "heat hours fine",
    )
    return titled("Returns by hour", caption, made)


def falls(subject: Subject) -> Markup:
    """Return the deepest drawdowns; a click shows one in the chart."""
    table = subject.drawdown_table.head(_FALLS)
    if table.empty:
        return none("The equity was never below a peak.")
    rows, decimals = [], _decimals(float(-100 * table["depth"].min()), 2)
    fall: Any
    for fall in table.itertuples():
        is_over = fall.recovery_time == fall.recovery_time  # a missing time is not equal to itself
        end_ms = fall.recovery_time.value // NS_PER_MS if is_over else subject.outcome.end_ns // NS_PER_MS
        cells = (
            tag("td", f"{number(100 * fall.depth, decimals)} %"),
            tag("td", _moment(fall.peak_time)),
            tag("td", _moment(fall.trough_time), class_="wide"),
            tag("td", _moment(fall.recovery_time) if is_over else "not yet"),
            tag("td", duration(fall.duration.to_pytimedelta()), class_="wide"),
        )
        rows.append(tag("tr", cells, data_from=fall.peak_time.value // NS_PER_MS, data_to=end_ms, tabindex=0))
    names = (("Depth", None), ("Peak", None), ("Trough", "wide"), ("Recovered", None), ("Length", "wide"))
    head = tag("thead", tag("tr", [tag("th", name, class_=kind, scope="col") for name, kind in names]))
    return tag("table", head, tag("tbody", rows), class_="falls")


def _days(subject: Subject) -> float:
    return (subject.outcome.end_ns - subject.outcome.start_ns) / NS_PER_DAY


def _table(table: "pd.DataFrame", names: Sequence[str], *, decimals: int) -> Markup:
    """Return a table of per cent; a column of sums is told by its name and has no tint."""
    parts = table.drop(columns="Year", errors="ignore")
    scale = _capped(parts.to_numpy().ravel().tolist())
    decimals = _decimals(scale, decimals)
    heads = [tag("th", ""), *(tag("th", name, scope="col", class_=_kind(name)) for name in table.columns)]
    rows = []
    for name, values in zip(names, table.to_numpy().tolist(), strict=True):
        cells = [
            heat(value, 0.0, decimals, "sum") if column == "Year" else heat(value, scale, decimals)
            for column, value in zip(table.columns, values, strict=True)
        ]
        rows.append(tag("tr", tag("th", name, scope="row"), cells))
    return tag(
        "table",
        tag("thead", tag("tr", heads)),
        tag("tbody", rows),
        class_="heat calendar months" if "Dec" in table.columns else "heat calendar",
    )


def _decimals(largest: float, least: int) -> int:
    """Return in how many decimals numbers are written so that the largest has two digits: four at most.

    Examples:
        >>> _decimals(12.5, 2), _decimals(0.0312, 2), _decimals(0.0, 1)
        (2, 3, 1)
    """
    if largest <= 0:
        return least
    fitting = (places for places in range(least, _DECIMALS_MAX) if largest * 10**places >= _TWO_DIGITS)
    return next(fitting, _DECIMALS_MAX)


def _kind(column: str) -> str | None:
    return "sum" if column == "Year" else None


def _hour_head(hour: int) -> Markup:
    return tag("th", f"{hour:02d}", scope="col", class_="sixth" if hour % 6 == 0 else None)


def _hour(table: "pd.DataFrame", day: str, hour: int) -> str:
    """Return what stands behind a cell: mean, t-value and how many hours."""
    own: Any = table.loc[(day, hour)]
    return f"{day} {hour:02d}:00 UTC: {signed(own.mean_bps)} bps, t {signed(own.t_value)}, {own['count']:.0f} hours"


def _moment(stamp: Any) -> str:
    return f"{stamp:%Y-%m-%d %H:%M}"


def heat(value: float, scale: float, decimals: int, *classes: str, title: str | None = None) -> Markup:
    """Return a cell: its number says it, and a tint in twelve depths helps; ink stays readable on the deepest.

    Args:
        value: NaN leaves the cell empty.
        scale: The size that gets the deepest tint; 0 for none.
        decimals: Of the number.
        classes: Further ones.
        title: What the pointer tells.
    """
    if not math.isfinite(value):
        return tag("td", class_=" ".join(classes) or None)
    depth = min(_DEPTHS, round(_DEPTHS * abs(value) / scale)) if scale > 0 else 0
    tint = [f"{'gain' if value > 0 else 'loss'}-{depth}"] if depth else []
    shown = number(value, decimals)
    if decimals == 1:
        # Many cells beside each other have no room for more.
        shown = shown.replace("0.", ".") if abs(value) < 1 and shown.strip("0.") else shown
    return tag(
        "td",
        shown if shown.strip("0.") or decimals > 1 else "0",
        class_=" ".join((*classes, *tint)) or None,
        title=title,
    )


def _capped(values: Sequence[float]) -> float:
    sizes = np.abs(np.array([value for value in values if math.isfinite(value)], np.float64))
    return float(np.quantile(sizes, _CAP)) if len(sizes) else 0.0
