"""Delays learned from recorded rows, by the text that names the recording."""

from typing import Final

from quantkit.errors import ConfigError
from quantkit.latency import Latency
from quantkit.research.catalog import Catalog
from quantkit.rows.columns import Stream

_PREFIX: Final = "recording:"
#: The kinds whose rows are stamped as they happen, the first there is counts.
_KINDS: Final = ("trade", "book", "ticker")


def learned(text: str) -> Latency:
    """Return the distribution that `recording:FOLDER#INSTRUMENT` names.

    Raises:
        ConfigError: The text is not complete, or the folder has no such rows.
        DataError: The folder cannot be read.
    """
    folder, _, instrument = text.removeprefix(_PREFIX).rpartition("#")
    if not (folder and instrument):
        raise ConfigError(f"latency is {text!r}; name folder and instrument: recording:data#BTC-USDT-SWAP")
    catalog = Catalog(folder)
    there = catalog.coverage()
    kind = next((kind for kind in _KINDS if Stream(kind, instrument) in there), None)
    if kind is None:
        known = sorted({stream.instrument for stream in there if stream.kind in _KINDS})
        raise ConfigError(
            f"{folder} has no trades, book or tickers of {instrument}; it has those of {', '.join(known) or 'none'}"
        )
    rows = catalog.rows(kind, instrument, columns=["received_ns", "exchange_ns"])
    return Latency.from_recording(rows, name=f"recorded {kind} rows of {instrument}")
