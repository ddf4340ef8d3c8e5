"""The foreign formats that are told by their content: one record each, one module a venue."""

import runpy
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from quantkit.errors import ConfigError
from quantkit.importers.formats import (
    backtrader,
    binance,
    bitmex,
    bybit,
    coinbase,
    cryptodatadownload,
    databento,
    dukascopy,
    freqtrade,
    hftbacktest,
    histdata,
    kaggle,
    kraken,
    lobster,
    metatrader,
    nautilus,
    okx,
    polygon,
    stooq,
    tardis,
    tradingview,
    yahoo,
)
from quantkit.importers.formats.record import Format, Named, Table

__all__ = ["FORMATS", "Format", "Named", "Table", "load_formats", "register"]

_VENUES: Final = (
    *(okx, binance, bybit, bitmex, tardis, kraken, coinbase, cryptodatadownload),
    *(histdata, dukascopy, metatrader, stooq, yahoo, tradingview, databento, polygon, lobster, kaggle),
    *(backtrader, freqtrade, hftbacktest, nautilus),
)

#: Every format by its name; `register` adds to them.
FORMATS: Final[dict[str, Format]] = {each.name: each for venue in _VENUES for each in venue.FORMATS}


def register(*formats: Format) -> None:
    """Add formats of one's own.

    Raises:
        ConfigError: A name is taken by another format.
    """
    for each in formats:
        if FORMATS.get(each.name, each) != each:
            raise ConfigError(f"format {each.name!r} exists; give yours another name")
        FORMATS[each.name] = each


def load_formats(path: Path) -> list[Format]:
    """Return the formats that a Python file defines, at its top level or in a list there.

    Raises:
        ConfigError: It cannot be run, or defines none.
    """
    try:
        defined = runpy.run_path(str(path))
    except Exception as error:
        raise ConfigError(f"format file {path} cannot be run: {type(error).__name__}: {error}") from error
    found: list[Format] = []
    for value in defined.values():
        members: Iterable[object] = value if isinstance(value, tuple | list) else (value,)
        found += [each for each in members if isinstance(each, Format) and each not in found]
    if not found:
        raise ConfigError(f"format file {path} defines no format; write one as qk.importers.Format(...)")
    return found
