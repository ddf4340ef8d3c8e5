"""Small files of further makers: BitMEX, Coinbase, backtrader, and yfinance's frames of several tickers."""

import json
from pathlib import Path

from format_files import START_S, csv_of, packed, plain

BITMEX_TRADES = (
    "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional,trdType"
)
BITMEX_QUOTES = "timestamp,symbol,bidSize,bidPrice,askPrice,askSize"
BACKTRADER = "Date,Open,High,Low,Close,Volume,OpenInterest"


def bitmex_trade(number: int, *, symbol: str = "XBTUSD", side: str = "Buy") -> str:
    """Return a row of BitMEX's trades, stamped in nanoseconds."""
    stamp = f"2025-06-01D00:00:{number:02d}.180840{number:03d}"
    return f"{stamp},{symbol},{side},{100 * (number + 1)},104000.5,PlusTick,0f4a6f57-0000,9615,0.00096,100,Regular"


def bitmex_quote(number: int, *, symbol: str = "XBTUSD") -> str:
    """Return a row of BitMEX's quotes."""
    return f"2025-06-01D00:00:{number:02d}.758344000,{symbol},{number + 1}00,104000.0,104000.5,2500"


def backtrader_minutes(count: int) -> list[str]:
    """Return rows of five minutes, of which the first closes at five past nine."""
    return [f"2025-06-02,09:{5 * n:02d}:00,3602.5,3604,3600,3603.5,{n},0" for n in range(1, count + 1)]


def coinbase_candles(count: int) -> bytes:
    """Return an answer of Coinbase's Advanced Trade, newest first."""
    prices = {"low": "103990", "high": "104010", "open": "104000", "close": "104005.5", "volume": "1.25"}
    candles = [{"start": str(START_S + 60 * n), **prices} for n in reversed(range(count))]
    return json.dumps({"candles": candles}).encode()


def yfinance_wide(*, by_ticker: bool = False, days: int = 8) -> bytes:
    """Return prices of two tickers side by side; one has no row on the third of June."""
    tickers, names = ("AAPL", "BTC-USD"), ("Close", "High", "Low", "Open", "Volume")
    columns = [(name, ticker) for name in names for ticker in tickers]
    if by_ticker:
        columns = [(name, ticker) for ticker in tickers for name in names]
    values = {"AAPL": ("202.5", "204", "198", "200", "1000"), "BTC-USD": ("104005", "104010", "103990", "104000", "7")}
    prices = ",".join(["Price", *(name for name, _ in columns)])
    symbols = ",".join(["Ticker", *(ticker for _, ticker in columns)])
    head = [symbols, prices] if by_ticker else [prices, symbols]
    rows = []
    for day in range(2, 2 + days):
        cells = ["" if ticker == "AAPL" and day == 3 else values[ticker][names.index(name)] for name, ticker in columns]
        rows.append(",".join([f"2025-06-{day:02d}", *cells]))
    return csv_of(head[0], [head[1], "Date" + "," * len(columns), *rows])


def more_samples(folder: Path) -> dict[str, Path]:
    """Write one file of each of these makers' formats."""
    days = [f"2025-06-{n:02d},3602.5,3604,3600,3603.5,{n},0" for n in range(2, 7)]
    stacked = [f"2025-06-{n:02d},{ticker},202.5,204,198,200,{n}000" for n in range(2, 7) for ticker in ("AAPL", "MSFT")]
    minutes = csv_of(BACKTRADER, backtrader_minutes(9))
    trades = [bitmex_trade(n, side=("Buy", "Sell")[n % 2]) for n in range(50)]
    contents = {
        "bitmex/trades": ("bitmex/trade/20250601.csv.gz", packed(csv_of(BITMEX_TRADES, trades))),
        "bitmex/quotes": (
            "bitmex/quote/20250601.csv.gz", packed(csv_of(BITMEX_QUOTES, [bitmex_quote(n) for n in range(50)])),
        ),
        "backtrader/days": ("2006-day-001.txt", csv_of(BACKTRADER, days)),
        "backtrader/minutes": ("backtrader/2006-min-005.txt", minutes),
        "backtrader/minutes-by-open": ("by-open/min.txt", minutes),
        "coinbase/candles": ("BTC-USD-1m.json", coinbase_candles(40)),
        "yahoo/yfinance-tickers": ("wide.csv", yfinance_wide()),
        "yahoo/yfinance-stacked": ("stacked.csv", csv_of("Date,Ticker,Close,High,Low,Open,Volume", stacked)),
    }  # fmt: skip
    return {name: plain(folder / leaf, content) for name, (leaf, content) in contents.items()}
