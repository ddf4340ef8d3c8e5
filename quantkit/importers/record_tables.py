"""Tables of recognised formats: where the fields of a record stand in a file."""

from collections.abc import Mapping, Sequence
from datetime import tzinfo
from typing import Final, NamedTuple

from quantkit.errors import ConfigError
from quantkit.importers.archives import ForeignFile
from quantkit.importers.formats.record import Format, fits_name
from quantkit.importers.recognition import Recognised
from quantkit.importers.tables import ColumnLayout, TableFile, normalised
from quantkit.importers.times import TimeFormat, zone_of

#: Fields without which a table of a kind cannot be read.
_REQUIRED: Final = {
    "candle": ("time", "open", "high", "low", "close"),
    "trade": ("time", "price", "qty"),
    "ticker": ("time", "bid", "ask"),
    "mark": ("time", "price"),
    "funding": ("time", "rate"),
    "open_interest": ("time", "qty"),
    "book": ("time",),
}


class Said(NamedTuple):
    """What the user says about the rows.

    Attributes:
        instrument_id: Their instrument.
        interval: Of candles.
        zone: Of times without an offset.
        time_format: How times are written.
        columns: Field to column.
        adjusts: Whether open, high and low are scaled as the adjusted close is.
    """

    instrument_id: str | None = None
    interval: str | None = None
    zone: tzinfo | None = None
    time_format: TimeFormat | None = None
    columns: Mapping[str, str] | None = None
    adjusts: bool = False


def tickers_of(each: Recognised) -> list[str]:
    """Return the tickers whose columns stand side by side, none of a file with one row an instrument."""
    names = () if each.form is None or each.format.names_of is None else each.form.names
    return list(dict.fromkeys(name.partition("@")[2] for name in names if "@" in name))


def layout_of(record: Format, names: Sequence[str], more: Mapping[str, str] | None = None) -> ColumnLayout:
    """Return where the fields of a format stand in a file, as far as it has them."""
    spellings: dict[str, tuple[str, ...]] = {}
    for field, wanted in record.columns.items():
        choices = wanted.split("|")
        found = next((name for each in choices for name in names if fits_name(each, name.lower())), None)
        if found is not None:
            spellings[field] = (normalised(found),)
    for field, column in (more or {}).items():
        spellings[field] = (normalised(column),)
    return ColumnLayout(spellings, required=_REQUIRED[record.holds])


def table_of(each: Recognised, record: Format, said: Said, more: Mapping[str, str] | None = None) -> TableFile:
    """Return a file as a table of a format; `more` are fields beside those of the record, with their columns."""
    names = () if each.form is None else each.form.names
    if tickers := tickers_of(each):
        return TableFile(each.file, _beside(each.file, record, names, tickers), said.columns, each.form)
    return TableFile(each.file, layout_of(record, names, more), said.columns, each.form)


def _beside(file: ForeignFile, record: Format, names: Sequence[str], tickers: Sequence[str]) -> ColumnLayout:
    """Return where the fields of several tickers stand, whose columns are beside each other.

    Raises:
        ConfigError: A ticker lacks a price.
    """
    spellings = {"time": ("time",)}
    for ticker in tickers:
        for field, column in record.columns.items():
            name = f"{column}@{ticker}"
            if name in names:
                spellings[f"{field}@{ticker}"] = (normalised(name),)
            elif field in _REQUIRED["candle"] and field != "time":
                raise ConfigError(f"{file} has no column {column} of {ticker}")
    return ColumnLayout(spellings, required=("time",))


def record_zone(record: Format, said: Said) -> tzinfo | None:
    """Return the zone of a file's times, as the user or the format says."""
    return said.zone or (zone_of(record.zone) if record.zone else None)


def record_time_format(record: Format, said: Said) -> TimeFormat | None:
    """Return how a file's times are written, as the user or the format says."""
    return said.time_format or (TimeFormat(record.time_format) if record.time_format else None)
