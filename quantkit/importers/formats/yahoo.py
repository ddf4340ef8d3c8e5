"""Yahoo's daily prices: the old download with adjusted closes, and what yfinance writes."""

import re
from typing import Final

from quantkit.importers.formats.record import OHLCV, Format, Named, Table

_LEVELS: Final = re.compile(r"\('([^']+)', '([^']+)'\)").fullmatch
_SCALED: Final = "yfinance scales prices by dividends and splits unless told otherwise, but not the volume"


def yahoo(symbol: str) -> Named:
    """Return a share by its ticker; a pair of currencies by its own.

    Examples:
        >>> yahoo("AAPL").fields["quote"], yahoo("BTC-USD").id
        ('USD', 'yahoo:BTC-USD')
    """
    name = symbol.upper()
    if "-" in name and "." not in name:
        return Named(f"yahoo:{name}", {"kind": "spot"})
    # A ticker without an ending is listed in the United States.
    quote = {} if "." in name else {"quote": "USD"}
    return Named(f"yahoo:{name}", {"kind": "spot", "base": name, **quote})


def _ticker(lines: list[bytes]) -> str:
    """Return the ticker in the second line of what yfinance writes."""
    cells = lines[1].decode("utf-8", "replace").split(",") if len(lines) > 1 else []
    return cells[1].strip() if len(set(cells[1:])) == 1 else ""


def _is_of_yfinance(table: Table) -> bool:
    return len(table) > 1 and table.rows[0][0] == "Ticker" and table.rows[1][0] in ("Date", "Datetime")


def _wide(header: tuple[str, ...], rows: list[list[str]]) -> tuple[str, ...]:
    """Return each column's name with its ticker, of a header of prices over one of tickers or the other way round."""
    second = rows[0] if rows else []
    if len(second) != len(header):
        return header
    prices, tickers = (header, second) if header[0].lower() == "price" else (second, header)
    columns = [f"{price.lower()}@{ticker}" for price, ticker in zip(prices[1:], tickers[1:], strict=True)]
    return ("time", *columns)


def _nested(header: tuple[str, ...], rows: list[list[str]]) -> tuple[str, ...]:
    """Return each column's name with its ticker, of names that pandas makes of two levels: `('Close', 'AAPL')`."""
    names = []
    for name in header:
        match = _LEVELS(name)
        pair = (match[1], match[2]) if match else ("", "")
        if pair[1].lower() in (*OHLCV, "adj close"):
            pair = (pair[1], pair[0])
        names.append(f"{pair[0].lower()}@{pair[1]}" if match else name)
    return tuple("time" if name in ("Date", "Datetime") else name for name in names)


def _is_wide(table: Table) -> bool:
    """Return whether two lines of names stand above the one of the date."""
    return len(table) > 1 and table.names[0] == "time" and table.rows[1][0] in ("Date", "Datetime")


FORMATS: Final = (
    Format(
        name="yahoo/candles",
        title="Yahoo daily prices with adjusted closes",
        holds="candle",
        headers=("date,open,high,low,close,adj close,volume",),
        columns={**OHLCV, "time": "date", "adj_close": "adj close"},
        name_pattern=r"^(?P<symbol>[A-Z0-9.^=-]{1,12})(?: \([0-9]+\))?\.csv$",
        instrument=yahoo,
        needs=("open", "close"),
        skips_quiet=True,
    ),
    Format(
        name="yahoo/yfinance",
        title="yfinance prices of one ticker",
        holds="candle",
        headers=("price,close,high,low,open,volume", "price,adj close,close,high,low,open,volume"),
        columns={**OHLCV, "time": "price", "adj_close": "adj close"},
        test=_is_of_yfinance,
        test_says="with Ticker and Date in the lines below",
        symbol_of=_ticker,
        instrument=yahoo,
        skipped_lines=2,
        needs=("open", "close"),
        skips_quiet=True,
        notes=(_SCALED,),
    ),
    Format(
        name="yahoo/yfinance-tickers",
        title="yfinance prices of several tickers side by side",
        holds="candle",
        headers=("price,*,*,*,*", "ticker,*,*,*,*"),
        columns={**OHLCV, "time": "time", "adj_close": "adj close"},
        names_of=_wide,
        test=_is_wide,
        instrument=yahoo,
        skipped_lines=2,
        needs=("open", "close"),
        skips_quiet=True,
        notes=(_SCALED,),
    ),
    Format(
        name="yahoo/yfinance-frames",
        title="yfinance frames kept as Parquet or Feather",
        holds="candle",
        container="arrow",
        headers=tuple(f"{name}@*" for name in (*OHLCV, "adj close")),
        columns={**OHLCV, "time": "time", "adj_close": "adj close"},
        names_of=_nested,
        instrument=yahoo,
        needs=("open", "close"),
        skips_quiet=True,
        notes=(_SCALED,),
    ),
    Format(
        name="yahoo/yfinance-stacked",
        title="yfinance prices of several tickers, one below the other",
        holds="candle",
        headers=tuple(
            f"{time},ticker,{prices},volume"
            for time in ("date", "datetime")
            for prices in ("open,high,low,close", "close,high,low,open", "adj close,close,high,low,open")
        ),
        columns={**OHLCV, "time": "date*", "instrument": "ticker", "adj_close": "adj close"},
        instrument=yahoo,
        needs=("open", "close"),
        skips_quiet=True,
        notes=(_SCALED,),
    ),
)
