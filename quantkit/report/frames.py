"""Pandas views of a result's records: one builder for each table, all on UTC nanosecond stamps.

pandas is imported inside the builders, since `import quantkit` and the command line must not load it.
"""

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from quantkit.engine.outcome import EquityCurve, FundingPayment, OrderEvent
from quantkit.orders import Fill, Order
from quantkit.report.metrics import FloatArray, IntArray
from quantkit.report.round_trips import OpenTrip, RoundTrip

if TYPE_CHECKING:
    import pandas as pd


#: What pandas reads as the missing stamp.
_NEVER: Final = np.iinfo(np.int64).min


def utc_index(stamps_ns: Sequence[int] | IntArray, name: str | None = "time") -> "pd.DatetimeIndex":
    """Return integer UTC nanoseconds as an index of the same unit."""
    import pandas as pd

    return pd.DatetimeIndex(np.asarray(stamps_ns, np.int64).view("datetime64[ns]"), tz="UTC", name=name)


def equity_frame(curve: EquityCurve) -> "pd.DataFrame":
    """Return the curve with one row for each moment: the last state there, and the deepest drawdown on the way."""
    frame = curve_frame(curve)
    if frame.index.is_unique:
        return frame
    time_ns = curve.time_ns
    first = np.flatnonzero(np.append(True, time_ns[1:] != time_ns[:-1]))
    last = np.append(first[1:], len(time_ns)) - 1
    return frame.iloc[last].assign(drawdown=np.minimum.reduceat(frame["drawdown"].to_numpy(), first))


def curve_frame(curve: EquityCurve) -> "pd.DataFrame":
    """Return every row of the curve: `equity cash exposure drawdown` at each fill, each step of the grid and the end.

    Rows of one moment follow each other: two fills, or the grid's row and the fills after it.
    """
    import pandas as pd

    columns = {name: np.asarray(column, np.float64) for name, column in curve.numbers.items()}
    return pd.DataFrame(columns, index=utc_index(curve.time_ns))


def returns_series(days_ns: IntArray, returns: FloatArray) -> "pd.Series[float]":
    """Return daily returns as fractions on the days' UTC midnights, the form that other tools accept."""
    import pandas as pd

    return pd.Series(returns, index=utc_index(days_ns), name="returns", dtype="float64")


def orders_frame(orders: Sequence[Order]) -> "pd.DataFrame":
    """Return every order in its last state, indexed by its time of sending; NaN stands for no price."""
    return _table(
        orders,
        [order.sent_ns for order in orders],
        {
            "id": "str",
            "instrument": "str",
            "side": "str",
            "type": "str",
            "qty": "float64",
            "price": "float64",
            "stop_price": "float64",
            "time_in_force": "str",
            "post_only": "bool",
            "reduce_only": "bool",
            "tag": "str",
            "state": "str",
            "filled_qty": "float64",
            "average_price": "float64",
            "reason": "str",
            "note": "str",
            "updated_ns": "time",
            "take_profit_price": "float64",
            "trigger_type": "str",
            "trailing_offset": "float64",
            "trailing_offset_bps": "float64",
            "activation_price": "float64",
            "expire_ns": "time",
            "oco_group": "str",
            "parent_id": "str",
            "position_side": "str",
        },
    )


def order_events_frame(events: Sequence[OrderEvent]) -> "pd.DataFrame":
    """Return every change of state, indexed by the exchange's stamp."""
    columns = {"order_id": "str", "state": "str", "reason": "str", "reported_ns": "time"}
    return _table(events, [event.at_ns for event in events], columns)


def fills_frame(fills: Sequence[Fill]) -> "pd.DataFrame":
    """Return every execution, indexed by the exchange's stamp; fees paid are positive."""
    return _table(
        fills,
        [fill.filled_ns for fill in fills],
        {
            "id": "int64",
            "order_id": "str",
            "instrument": "str",
            "side": "str",
            "price": "float64",
            "qty": "float64",
            "value": "float64",
            "fee": "float64",
            "fee_currency": "str",
            "role": "str",
            "why": "str",
            "tag": "str",
            "position_side": "str",
        },
    )


def funding_frame(payments: Sequence[FundingPayment]) -> "pd.DataFrame":
    """Return what positions received at funding boundaries, indexed by those; below zero they paid."""
    return _table(
        payments,
        [payment.funding_ns for payment in payments],
        {
            "instrument": "str",
            "rate": "float64",
            "price": "float64",
            "amount": "float64",
            "currency": "str",
            "position_side": "str",
        },
    )


def round_trips_frame(trips: Sequence[RoundTrip]) -> "pd.DataFrame":
    """Return closed round trips in order of closing; `fees` and `pnl` are in the column `currency`."""
    import pandas as pd

    entry, left = utc_index([trip.entry_ns for trip in trips], None), utc_index([trip.exit_ns for trip in trips], None)
    frame = _columns(
        trips,
        {
            "instrument": "str",
            "side": "str",
            "qty": "float64",
            "entry_price": "float64",
            "exit_price": "float64",
            "fees": "float64",
            "pnl": "float64",
            "return_pct": "float64",
            "mae": "float64",
            "mfe": "float64",
            "tag": "str",
            "currency": "str",
            "position_side": "str",
        },
    )
    frame = {"entry_time": entry, "exit_time": left, **frame, "duration": left - entry}
    order = (
        "entry_time exit_time instrument side qty entry_price exit_price fees pnl return_pct duration mae mfe tag "
        "currency position_side"
    )
    return pd.DataFrame({name: frame[name] for name in order.split()})


def open_trips_frame(trips: Sequence[OpenTrip]) -> "pd.DataFrame":
    """Return the round trips open at the end of the run, in order of opening."""
    import pandas as pd

    columns = {
        "instrument": "str",
        "side": "str",
        "qty": "float64",
        "entry_price": "float64",
        "mark_price": "float64",
        "fees": "float64",
        "realised": "float64",
        "unrealised": "float64",
        "mae": "float64",
        "mfe": "float64",
        "tag": "str",
        "currency": "str",
        "position_side": "str",
    }
    entry = utc_index([trip.entry_ns for trip in trips], None)
    return pd.DataFrame({"entry_time": entry, **_columns(trips, columns)})


def _table(items: Sequence[Any], stamps_ns: Sequence[int], dtypes: dict[str, str]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(_columns(items, dtypes), index=utc_index(stamps_ns))


def _columns(items: Sequence[Any], dtypes: dict[str, str]) -> dict[str, Any]:
    """Return one column for each attribute; a stamp `x_ns` becomes the column `x_time`."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name, dtype in dtypes.items():
        values = list(map(attrgetter(name), items))
        if dtype == "time":
            stamps = [_NEVER if value is None else value for value in values]
            columns[name.removesuffix("_ns") + "_time"] = utc_index(stamps, None)
        elif dtype == "str":
            # Members of an enumeration would keep their class inside the column.
            columns[name] = pd.array(list(map(str, values)), dtype="str")
        else:
            columns[name] = np.array(values, dtype)  # None becomes NaN, a decimal the nearest float
    return columns
