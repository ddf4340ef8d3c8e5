"""Small files of further makers: BitMEX, Coinbase, backtrader, yfinance, LOBSTER, hftbacktest, NautilusTrader."""

import io
import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from format_files import START_MS, START_S, csv_of, packed, plain
from pyarrow import feather

START_NS = START_MS * 1_000_000

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


# LOBSTER -----------------------------------------------------------------------------------------------------------

LOBSTER_MESSAGES = [
    "34200.017459617,1,11885113,21,2238200,1",
    "34200.189607670,1,3911376,20,2239600,-1",
    "34200.19,4,3911376,5,2239600,-1",
    "34201.0,5,0,100,2239000,1",
    "34201.5,3,11885113,21,2238200,1",
]
#: The book of two levels after each.
LOBSTER_LEVELS = [
    "2239500,100,2238200,21,2239900,100,2238100,21",
    "2239500,100,2238200,21,2239600,20,2238100,21",
    "2239500,100,2238200,21,2239600,15,2238100,21",
    "2239500,100,2238200,21,2239600,15,2238100,21",
    "2239500,100,2238100,21,2239600,15,-9999999999,0",
]


def lobster_pair(folder: Path, *, name: str = "AAPL_2012-06-21_34200000_57600000_{}_2.csv") -> list[Path]:
    """Write a file of messages and one of levels."""
    return [
        plain(folder / name.format(what), csv_of("", rows))
        for what, rows in (("message", LOBSTER_MESSAGES), ("orderbook", LOBSTER_LEVELS))
    ]


# hftbacktest -------------------------------------------------------------------------------------------------------

EVENT_TYPE = np.dtype(
    [
        *(("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8")),
        *(("order_id", "u8"), ("ival", "i8"), ("fval", "f8")),
    ],
    align=True,
)
EXCHANGE, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28


def hft_events(rows: list[tuple[int, int, int, float, float]]) -> np.ndarray:
    """Return events of (flags and kind, exchange and receipt in ms after the start, price, size)."""
    events = np.zeros(len(rows), EVENT_TYPE)
    for place, (event, exchange_ms, local_ms, price, qty) in enumerate(rows):
        stamps = (START_NS + exchange_ms * 1_000_000, START_NS + local_ms * 1_000_000)
        events[place] = (event, *stamps, price, qty, 0, 0, 0.0)
    return events


HFT_ROWS = [
    (4 | EXCHANGE | LOCAL | BUY, 0, 2, 104000.1, 4.0),
    (4 | EXCHANGE | LOCAL | SELL, 0, 2, 104000.2, 5.0),
    (1 | EXCHANGE | LOCAL | BUY, 10, 12, 104000.0, 3.0),
    (2 | EXCHANGE | BUY, 20, 23, 104000.2, 0.5),
    (1 | LOCAL | SELL, 15, 22, 104000.2, 4.5),
    (2 | LOCAL | BUY, 20, 23, 104000.2, 0.5),
    (2 | EXCHANGE | LOCAL | SELL, 30, 33, 104000.1, 1.5),
    (3 | EXCHANGE | LOCAL | BUY, 40, 43, 104000.1, 0.0),
]


def npz(events: np.ndarray) -> bytes:
    """Return an array as hftbacktest's files hold it."""
    stream = io.BytesIO()
    np.savez_compressed(stream, data=events)
    return stream.getvalue()


# NautilusTrader ----------------------------------------------------------------------------------------------------

NAUTILUS_ID = "BTCUSDT-PERP.BINANCE"


def fixed_point(texts: list[str], width: int = 16) -> pa.Array:
    """Return numbers as NautilusTrader keeps them: 16 bytes of 1e-16, or 8 of 1e-9."""
    scale = 10**16 if width == 16 else 10**9
    units = [int(Decimal(text) * scale).to_bytes(width, "little", signed=True) for text in texts]
    return pa.array(units, pa.binary(width))


def nautilus_file(path: Path, columns: dict[str, pa.Array], *, bar: str = "") -> Path:
    """Write a file of NautilusTrader's catalog."""
    said = {"instrument_id": NAUTILUS_ID, "price_precision": "1", "size_precision": "3"}
    if bar:
        said["bar_type"] = f"{NAUTILUS_ID}-{bar}"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns).replace_schema_metadata(said), path)
    return path


def _stamps(count: int, step_ns: int = 1_000_000, late_ns: int = 5) -> dict[str, pa.Array]:
    stamps = [START_NS + step_ns * n for n in range(count)]
    return {
        "ts_event": pa.array(stamps, pa.uint64()), "ts_init": pa.array([at + late_ns for at in stamps], pa.uint64())
    }  # fmt: skip


def nautilus_samples(folder: Path, width: int = 16) -> dict[str, Path]:
    """Write one file of each kind of NautilusTrader's catalog."""
    count = 20
    prices = [f"104000.{n % 9}" for n in range(count)]
    sizes = [f"0.00{n % 9 + 1}" for n in range(count)]
    price, size = fixed_point(prices, width), fixed_point(sizes, width)
    trades = {
        "price": price, "size": size, "aggressor_side": pa.array([n % 3 for n in range(count)], pa.uint8()),
        "trade_id": pa.array([str(900 + n) for n in range(count)]), **_stamps(count),
    }  # fmt: skip
    asks = fixed_point([f"104001.{n % 9}" for n in range(count)], width)
    quotes = {"bid_price": price, "ask_price": asks, "bid_size": size, "ask_size": size, **_stamps(count)}
    bars = {
        name: fixed_point([text] * count, width)
        for name, text in {"open": "104000.1", "high": "104010", "low": "103990", "close": "104005.5", "volume": "12.5"}
        .items()
    } | _stamps(count, 60 * 10**9, 0)  # fmt: skip
    whole = pa.array([1] * count, pa.uint8())
    ids = pa.array(range(count), pa.uint64())
    deltas = {
        "action": whole, "side": whole, "price": price, "size": size, "order_id": ids, "flags": whole, "sequence": ids,
        **_stamps(count),
    }  # fmt: skip
    instrument = {
        "id": NAUTILUS_ID, "raw_symbol": "BTCUSDT", "base_currency": "BTC", "quote_currency": "USDT",
        "settlement_currency": "USDT", "is_inverse": False, "price_increment": "0.1", "size_increment": "0.001",
        "multiplier": "1",
    }  # fmt: skip
    rows = pa.Table.from_pylist([instrument])
    return {
        "nautilus/trades": nautilus_file(folder / "trade_tick" / NAUTILUS_ID / "a.parquet", trades),
        "nautilus/quotes": nautilus_file(folder / "quote_tick" / NAUTILUS_ID / "a.parquet", quotes),
        "nautilus/bars": nautilus_file(folder / "bar" / "a.parquet", bars, bar="1-MINUTE-LAST-EXTERNAL"),
        "nautilus/deltas": nautilus_file(folder / "order_book_delta" / "a.parquet", deltas),
        "nautilus/instruments": nautilus_file(
            folder / "crypto_perpetual" / "a.parquet", {name: rows.column(name) for name in rows.column_names}
        ),
    }


def yfinance_frame(path: Path, *, by_ticker: bool = False) -> Path:
    """Write a frame of two tickers as pandas keeps it in Parquet."""
    text = pd.read_csv(io.BytesIO(yfinance_wide(by_ticker=by_ticker)), header=[0, 1], index_col=0, parse_dates=True)
    text.rename_axis(index="Date").to_parquet(path)
    return path


def freqtrade_samples(folder: Path) -> dict[str, Path]:
    """Write one Feather file of each kind of freqtrade's data."""
    count = 20
    hours = pa.array([START_MS + 3_600_000 * n for n in range(count)], pa.timestamp("ms", "UTC"))
    prices = {"open": 104000.5, "high": 104010.0, "low": 103990.0, "close": 104005.5, "volume": 12.5}
    candles = {name: pa.array([value] * count) for name, value in prices.items()}
    nothing = pa.array([0.0] * count)
    rates = {"open": pa.array([0.0001] * count), **dict.fromkeys(("high", "low", "close", "volume"), nothing)}
    trades = {
        "timestamp": pa.array([START_MS + n for n in range(count)]),
        "id": pa.array([str(900 + n) for n in range(count)]),
        "type": pa.array([None] * count, pa.string()),
        "side": pa.array(["buy", "sell"] * (count // 2)),
        "price": pa.array([104000.5] * count),
        "amount": pa.array([0.25] * count),
        "cost": pa.array([26000.125] * count),
    }
    tables = {
        "freqtrade/candles": ("BTC_USDT_USDT-1h-futures", {"date": hours, **candles}),
        "freqtrade/marks": ("BTC_USDT_USDT-1h-mark", {"date": hours, **candles}),
        "freqtrade/funding": ("BTC_USDT_USDT-1h-funding_rate", {"date": hours, **rates}),
        "freqtrade/trades": ("BTC_USDT-trades", trades),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for leaf, columns in tables.values():
        feather.write_feather(pa.table(columns), str(folder / f"{leaf}.feather"), compression="lz4")
    return {name: folder / f"{leaf}.feather" for name, (leaf, _) in tables.items()}


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
        "kaggle/bitstamp-minutes": (
            "btcusd_1-min_data.csv",
            csv_of("Timestamp,Open,High,Low,Close,Volume", [f"{START_S + 60 * n}.0,2,3,1,2.5,{n}" for n in range(20)]),
        ),
        "coinbase/candles": ("BTC-USD-1m.json", coinbase_candles(40)),
        "yahoo/yfinance-tickers": ("wide.csv", yfinance_wide()),
        "yahoo/yfinance-stacked": ("stacked.csv", csv_of("Date,Ticker,Close,High,Low,Open,Volume", stacked)),
    }  # fmt: skip
    messages, levels = lobster_pair(folder)
    return {
        **{name: plain(folder / leaf, content) for name, (leaf, content) in contents.items()},
        **nautilus_samples(folder / "nautilus"),
        **freqtrade_samples(folder / "freqtrade"),
        "yahoo/yfinance-frames": yfinance_frame(folder / "prices.parquet"),
        "lobster/messages": messages,
        "lobster/levels": levels,
        "hftbacktest/events": plain(folder / "btcusdt_20250601.npz", npz(hft_events(HFT_ROWS))),
    }
