"""stooq's bulk files, and the like of Finam without open interest."""

from typing import Final

from quantkit.importers.formats.record import Format, Named, Table

_QUOTES: Final = {"US": "USD", "DE": "EUR", "JP": "JPY", "HU": "HUF", "HK": "HKD", "PL": "PLN"}
_HEADER: Final = "<ticker>,<per>,<date>,<time>,<open>,<high>,<low>,<close>,<vol>"
_CANDLE: Final = {
    "instrument": "<ticker>",
    "day": "<date>",
    "time": "<time>",
    "open": "<open>",
    "high": "<high>",
    "low": "<low>",
    "close": "<close>",
    "volume": "<vol>",
}


def stooq(symbol: str) -> Named:
    """Return a share of stooq, whose ending names the market and so the currency.

    Examples:
        >>> stooq("AAPL.US")
        Named(id='stooq:AAPL.US', fields={'kind': 'spot', 'base': 'AAPL.US', 'quote': 'USD'}, in_contracts=False)
    """
    market = symbol.upper().rpartition(".")[2]
    quote = {"quote": _QUOTES[market]} if market in _QUOTES else {}
    return Named(f"stooq:{symbol.upper()}", {"kind": "spot", "base": symbol.upper(), **quote})


def _finam(symbol: str) -> Named:
    return Named(f"finam:{symbol.upper()}", {"kind": "spot", "base": symbol.upper(), "quote": "RUB"})


def _has_one_period(table: Table) -> bool:
    return len(set(table.texts("<per>"))) == 1


FORMATS: Final = (
    Format(
        name="stooq/candles",
        title="stooq candles, bulk files",
        holds="candle",
        headers=(f"{_HEADER},<openint>",),
        columns=_CANDLE,
        test=_has_one_period,
        test_says="of one period",
        instrument=stooq,
        skips_quiet=True,
        notes=("stooq's prices may be adjusted for splits and dividends; it does not say so",),
    ),
    Format(
        name="finam/candles",
        title="Finam candles",
        holds="candle",
        headers=(_HEADER,),
        columns=_CANDLE,
        test=_has_one_period,
        test_says="of one period",
        instrument=_finam,
        skips_quiet=True,
    ),
)
