"""The further columns of a user's frame, as they travel with its candles."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from quantkit.errors import ConfigError
from quantkit.rows.extras import ExtraColumns

if TYPE_CHECKING:
    import pandas as pd

#: Whole numbers up to here are floats without loss.
_WHOLE_MAX = 2**53


def further_columns(
    label: str, frame: "pd.DataFrame", taken: Collection[object], rows: NDArray[np.int64]
) -> ExtraColumns | None:
    """Return the columns of a frame beside those of its candles; None where there are no others.

    Numbers and truth values travel as floats, what is missing as NaN; texts and categories of texts as texts, what is
    missing as an empty one.

    Args:
        label: Of the frame.
        frame: With each column once.
        taken: Columns that the candles are made of.
        rows: The row of each candle.

    Raises:
        ConfigError: A column can travel as neither; the message says what to do with it.
    """
    found = {str(name): _values(label, frame[name], rows) for name in frame.columns if name not in taken}
    return ExtraColumns(found) if found else None


def _values(label: str, column: "pd.Series[Any]", rows: NDArray[np.int64]) -> NDArray[Any]:
    import pandas as pd

    types = pd.api.types
    if types.is_numeric_dtype(column) and not types.is_complex_dtype(column):
        if types.is_integer_dtype(column) and column.abs().max() > _WHOLE_MAX:
            text = f"frame[{column.name!r}].astype(str)"
            raise ConfigError(f"{label}: column {column.name!r} has whole numbers that no float holds; use {text}")
        numbers = column.to_numpy(np.float64, na_value=np.nan)[rows]
        return np.array(numbers, np.float64)
    values = column.astype(object).to_numpy()[rows]
    is_missing = pd.isna(values)
    other = next((value for value in values[~is_missing].tolist() if not isinstance(value, str)), None)
    if other is not None:
        raise ConfigError(
            f"{label}: column {column.name!r} holds {_named(other)}; candle.extra has numbers and texts: "
            f"make it one, or use frame.drop(columns={column.name!r})"
        )
    return np.where(is_missing, "", values)


def _named(value: object) -> str:
    """Return what a value is, as its user knows it.

    Examples:
        >>> _named([1]), _named(np.datetime64(0, "s"))
        ('a list', 'a datetime64')
    """
    return f"a {type(value).__name__}"
