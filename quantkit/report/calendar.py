"""A run's returns by month, by day and by hour of the week, and its deepest drawdowns, as tables."""

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from quantkit.clock import NS_PER_DAY, NS_PER_MIN
from quantkit.engine.outcome import Outcome
from quantkit.report import metrics
from quantkit.report.frames import utc_index
from quantkit.report.metrics import FloatArray, IntArray
from quantkit.report.stats import daily_returns, falls_of

if TYPE_CHECKING:
    import pandas as pd

WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
NS_PER_HOUR: Final = 60 * NS_PER_MIN
#: 1970 began on a Thursday.
_FIRST_WEEKDAY: Final = 3
_HOURS: Final = 24
_BPS: Final = 10_000


def monthly_frame(outcome: Outcome) -> "pd.DataFrame":
    """Return the return of each month in per cent: a row a year, a column a month, and `Year` of its whole.

    NaN stands for months without a day of the run; the first and the last month may be parts of one.
    """
    import pandas as pd

    days_ns, returns = daily_returns(outcome)
    months = days_ns.view("datetime64[ns]").astype("datetime64[M]").astype(np.int64) + 12 * 1970
    years = np.unique(months // 12)
    cells = np.full((len(years), 13), math.nan)
    for month in np.unique(months).tolist():
        cells[np.searchsorted(years, month // 12), month % 12] = _compounded_pct(returns[months == month])
    for row, year in enumerate(years.tolist()):
        cells[row, 12] = _compounded_pct(returns[months // 12 == year])
    return pd.DataFrame(cells, index=pd.Index(years, name="year"), columns=[*MONTHS, "Year"])


def _compounded_pct(returns: FloatArray) -> float:
    return 100 * (float(np.prod(1 + returns)) - 1)


def daily_frame(outcome: Outcome) -> "pd.DataFrame":
    """Return the return of each UTC day in per cent: a row a week by its Monday, a column a weekday."""
    import pandas as pd

    days_ns, returns = daily_returns(outcome)
    days = days_ns // NS_PER_DAY
    weekdays = (days + _FIRST_WEEKDAY) % 7
    mondays = days - weekdays
    weeks = np.arange(mondays[0], mondays[-1] + 1, 7) if len(days) else mondays
    cells = np.full((len(weeks), 7), math.nan)
    cells[np.searchsorted(weeks, mondays), weekdays] = 100 * returns
    return pd.DataFrame(cells, index=utc_index(weeks * NS_PER_DAY, "week"), columns=list(WEEKDAYS))


def hourly_frame(outcome: Outcome) -> "pd.DataFrame":
    """Return the mean return of each hour of the week: `mean_bps`, `t_value` and `count` by weekday and UTC hour.

    Whole hours of the run alone count. The t-value is the mean over its standard error, NaN for fewer than two hours
    or none that differ. The table is empty where the equity curve's grid has no row at every hour.
    """
    import pandas as pd

    hours_ns, returns = _hourly_returns(outcome)
    place = (hours_ns // NS_PER_DAY + _FIRST_WEEKDAY) % 7 * _HOURS + hours_ns // NS_PER_HOUR % _HOURS
    rows = []
    for slot in range(7 * _HOURS if len(returns) else 0):
        own = returns[place == slot]
        mean = float(np.mean(own)) if len(own) else math.nan
        deviation = metrics.deviation_of(own) if len(own) else None
        error = math.nan if deviation is None else deviation / math.sqrt(len(own))
        rows.append((_BPS * mean, mean / error, len(own)))
    slots = [(name, hour) for name in WEEKDAYS for hour in range(_HOURS)][: len(rows)]
    index = pd.MultiIndex.from_tuples(slots, names=["weekday", "hour"])
    columns = np.array(rows, np.float64).reshape(-1, 3).T
    frame = {"mean_bps": columns[0], "t_value": columns[1], "count": columns[2].astype(np.int64)}
    return pd.DataFrame(frame, index=index)


def _hourly_returns(outcome: Outcome) -> tuple[IntArray, FloatArray]:
    """Return the beginnings of a run's whole hours and the return of each; none without a row at every one."""
    curve, nothing = outcome.curve, np.empty(0, np.int64)
    first, last = -(-outcome.start_ns // NS_PER_HOUR), outcome.end_ns // NS_PER_HOUR
    hours_ns = np.arange(first, last + 1, dtype=np.int64) * NS_PER_HOUR
    is_grid = curve.is_grid if len(curve.is_grid) else np.ones(len(curve.time_ns), np.bool_)
    grid_ns, grid = curve.time_ns[is_grid], curve.equity[is_grid]
    if len(hours_ns) and hours_ns[0] == outcome.start_ns:
        grid_ns = np.append(outcome.start_ns, grid_ns)
        grid = np.append(float(outcome.starting_equity), grid)
    if len(hours_ns) and len(curve.equity) and len(grid_ns) and grid_ns[-1] < hours_ns[-1] == outcome.end_ns:
        grid_ns, grid = np.append(grid_ns, outcome.end_ns), np.append(grid, curve.equity[-1])
    places = np.minimum(grid_ns.searchsorted(hours_ns), max(0, len(grid_ns) - 1))
    if len(hours_ns) < 2 or not len(grid_ns) or not (grid_ns[places] == hours_ns).all():
        return nothing, np.empty(0)
    equity = grid[places]
    lost = np.flatnonzero(equity <= 0)
    stop = int(lost[0]) + 1 if len(lost) else len(equity)
    return hours_ns[: stop - 1], equity[1:stop] / equity[: stop - 1] - 1


def drawdown_frame(outcome: Outcome, count: int) -> "pd.DataFrame":
    """Return the deepest drawdowns, the deepest first.

    `peak_time`, `trough_time` and `recovery_time`, which is NaT where the run ended below the peak; `depth` is a
    negative fraction, `duration` goes from the peak to the recovery or the end, `recovery` from the trough on. The
    trough is known to within a row of the equity curve: it lies between the row before and `trough_time`.
    """
    import pandas as pd

    falls = falls_of(outcome)
    deepest: Any = np.argsort(falls.depth, kind="stable")[:count]
    peak, trough, end = falls.start_ns[deepest], falls.trough_ns[deepest], falls.end_ns[deepest]
    recovered = falls.is_recovered[deepest]
    ends = utc_index(end, None)
    return pd.DataFrame(
        {
            "peak_time": utc_index(peak, None),
            "trough_time": utc_index(trough, None),
            "recovery_time": ends.where(recovered),
            "depth": falls.depth[deepest],
            "duration": ends - utc_index(peak, None),
            "recovery": (ends - utc_index(trough, None)).where(recovered),
        }
    )
