"""OKX's instrument ids and types: what an id says of its instrument."""

import re
from typing import Final

from quantkit.clock import time_ns_of
from quantkit.errors import ConfigError
from quantkit.feeds.okx.codec import channels

#: OKX's instrument types and our kinds.
INSTRUMENT_TYPES: Final = {"spot": "SPOT", "swap": "SWAP", "future": "FUTURES"}
_is_future: Final = re.compile(r".*-[0-9]{6}").fullmatch


def kind_of(instrument: str) -> str:
    """Return the kind that an OKX id names.

    Examples:
        >>> kind_of("BTC-USDT"), kind_of("BTC-USDT-SWAP"), kind_of("BTC-USD-261225")
        ('spot', 'swap', 'future')
    """
    if instrument.endswith("-SWAP"):
        return "swap"
    return "future" if _is_future(instrument) else "spot"


def expires_ns(instrument: str) -> int | None:
    """Return when a future is settled, at 8:00 UTC of the day in its id; None of what never is.

    Examples:
        >>> expires_ns("BTC-USD-260626") == time_ns_of("2026-06-26T08:00:00Z"), expires_ns("BTC-USDT-SWAP")
        (True, None)
    """
    if not _is_future(instrument):
        return None
    day = instrument.rpartition("-")[2]
    try:
        return time_ns_of(f"20{day[:2]}-{day[2:4]}-{day[4:]}T08:00:00Z")
    except ConfigError:
        return None


def type_of_kind(kind: str) -> str:
    """Return OKX's type of a kind of instruments.

    Raises:
        ConfigError: There is no such kind.
    """
    try:
        return INSTRUMENT_TYPES[kind]
    except KeyError:
        raise ConfigError(f"kind {kind!r} is not known; use one of {', '.join(INSTRUMENT_TYPES)}") from None


def own_id(instrument: str) -> str:
    """Return an id after checking that it can be one of OKX's."""
    return channels.tickers(instrument).inst_id


def index_of(instrument: str) -> str:
    """Return the index that an instrument is priced by.

    Examples:
        >>> index_of("BTC-USDT-SWAP"), index_of("BTC-USD_UM-SWAP"), index_of("BTC-USDT")
        ('BTC-USDT', 'BTC-USD', 'BTC-USDT')
    """
    base, quote, *_ = (*own_id(instrument).split("-"), "")
    return f"{base}-{quote.removesuffix('_UM')}"
