"""Small files of foreign formats, with invented rows in the real shape, packed as their makers pack them."""

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa

#: 2025-06-01T00:00Z, in the middle of a UTC+8 day of OKX.
START_S = 1_748_736_000
START_MS = START_S * 1_000


def csv_of(header: str, rows: list[str], *, end: str = "\n") -> bytes:
    """Return a table as bytes; an empty header is none."""
    return "".join(line + end for line in [*([header] if header else []), *rows]).encode()


def plain(path: Path, content: bytes) -> Path:
    """Write a file as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def zipped(path: Path, members: Mapping[str, bytes]) -> Path:
    """Write a zip archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def tarred(path: Path, members: Mapping[str, bytes], mode: str = "w:gz") -> Path:
    """Write a tar archive."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def zstd(content: bytes) -> bytes:
    """Return bytes packed with zstd."""
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


# OKX ---------------------------------------------------------------------------------------------------------------

OKX_TRADES = "instrument_name,trade_id,side,price,size,created_time"
OKX_TRADES_OLD = "trade_id/成交id,side/交易方向,size/数量,price/价格,created_time/成交时间"
OKX_CANDLES = "instrument_name,open,high,low,close,vol,vol_ccy,vol_quote,open_time,confirm"
OKX_FUNDING = "instrument_name,funding_rate,funding_time"


def okx_trade(number: int, *, name: str = "BTC-USDT", at_ms: int | None = None, end: str = "") -> str:
    """Return a row of OKX's trades."""
    stamp_ms = START_MS + 250 * number if at_ms is None else at_ms
    side = "buy" if number % 3 else "sell"
    return f"{name},{9000 + number},{side},{104000 + number % 7 * 0.1:.1f},0.00{number % 9 + 1},{stamp_ms}{end}"


def okx_candle(minute: int, *, name: str = "BTC-USDT-SWAP", vol: float = 120.0, value: float = 0.01) -> str:
    """Return a row of OKX's candles; `value` is the coins of a contract."""
    opened_ms = START_MS + 60_000 * minute
    return f"{name},104000,104010,103990,104005,{vol},{vol * value:.8g},{vol * value * 104000:.8g},{opened_ms},1"


def okx_books(count: int, *, name: str = "BTC-USDT-SWAP") -> bytes:
    """Return lines of OKX's books: a snapshot, then changes of the best bid."""
    lines = []
    for number in range(count):
        levels = [["104000.1", str(number % 5 + 1), "2"]]
        line = {
            "instId": name,
            "action": "update" if number else "snapshot",
            "ts": str(START_MS + 100 * number),
            "asks": [] if number else [["104000.2", "5", "1"], ["104000.3", "7.5", "2"]],
            "bids": levels if number else [*levels, ["104000", "9", "3"]],
        }
        lines.append(json.dumps(line))
    return "\n".join(lines).encode() + b"\n"


def okx_samples(folder: Path) -> dict[str, Path]:
    """Write one file of each of OKX's formats."""
    trades = csv_of(OKX_TRADES + ",source", [okx_trade(number, end=",0") for number in range(50)])
    candles = csv_of(OKX_CANDLES, [okx_candle(minute) for minute in range(50)])
    funding = csv_of(OKX_FUNDING, [f"BTC-USDT-SWAP,0.0001,{START_MS + 28_800_000 * n + 1_000}" for n in range(9)])
    return {
        "okx/trades": zipped(folder / "BTC-USDT-trades-2025-06-01.zip", {"BTC-USDT-trades-2025-06-01.csv": trades}),
        "okx/candles": zipped(folder / "BTC-USDT-SWAP-candlesticks-2025-06-01.zip", {"candles.csv": candles}),
        "okx/funding": zipped(folder / "BTC-USDT-SWAP-fundingrates-2025-06.zip", {"funding.csv": funding}),
        "okx/books": tarred(
            folder / "BTC-USDT-SWAP-L2orderbook-400lv-2025-06-01.tar.gz",
            {"BTC-USDT-SWAP-L2orderbook-400lv-2025-06-01.data": okx_books(40)},
        ),
    }


def packed(content: bytes) -> bytes:
    """Return bytes packed with gzip."""
    return gzip.compress(content)


# Binance -----------------------------------------------------------------------------------------------------------

BINANCE_KLINES = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
BINANCE_AGGREGATES = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
BINANCE_TRADES = "id,price,qty,quote_qty,time,is_buyer_maker"
BINANCE_FUNDING = "calc_time,funding_interval_hours,last_funding_rate"
BINANCE_TICKERS = "update_id,best_bid_price,best_bid_qty,best_ask_price,best_ask_qty,transaction_time,event_time"


def binance_kline(minute: int, *, unit: int = 1, traded: bool = True) -> str:
    """Return a row of Binance's klines; `unit` is 1 for milliseconds, 1,000 for microseconds."""
    opened = (START_MS + 60_000 * minute) * unit
    volume = ("12.5", "1300062.5", "340", "6.1", "634430.5") if traded else ("0", "0", "0", "0", "0")
    cells = (opened, "104000.1", "104010.0", "103990.0", "104005.0", volume[0], opened + 60_000 * unit - 1)
    return ",".join(map(str, (*cells, *volume[1:], "0")))


def binance_aggregate(number: int, *, spot: bool = True, unit: int = 1) -> str:
    """Return a row of Binance's aggregate trades."""
    maker = number % 3 == 0
    flags = f"{maker},True" if spot else str(maker).lower()
    stamp = (START_MS + 100 * number) * unit
    price, qty = f"{104000 + number % 9 * 0.1:.1f}", f"0.00{number % 9 + 1}"
    return f"{5000 + number},{price},{qty},{8000 + number},{8001 + number},{stamp},{flags}"


def binance_trade(number: int, *, spot: bool = True, unit: int = 1, maker: bool | None = None) -> str:
    """Return a row of Binance's trades."""
    maker = number % 3 == 0 if maker is None else maker
    flags = f"{maker},True" if spot else str(maker).lower()
    price, qty = 104000 + number % 9 / 10, (number % 9 + 1) / 1000
    return f"{7000 + number},{price:.1f},{qty},{price * qty:.8f},{(START_MS + 100 * number) * unit},{flags}"


def binance_samples(folder: Path) -> dict[str, Path]:
    """Write one file of each of Binance's formats."""
    futures, spot = folder / "data/futures/um/daily", folder / "data/spot/daily"
    idle = [binance_kline(minute, traded=False) for minute in range(50)]
    steps = [(START_MS + 60_000 * minute, START_MS + 60_000 * minute + 59_999) for minute in range(50)]
    premiums = [f"{opened},-0.0001,0.0002,-0.0003,0.00012,0,{closed},0,0,0,0,0" for opened, closed in steps]
    contents = {
        "binance/spot-klines": (
            spot / "klines/BTCUSDT/1m/BTCUSDT-1m-2025-06-01",
            csv_of("", [binance_kline(minute, unit=1_000) for minute in range(50)]),
        ),
        "binance/futures-klines": (
            futures / "klines/BTCUSDT/1m/BTCUSDT-1m-2025-06-01",
            csv_of(BINANCE_KLINES, [binance_kline(minute) for minute in range(50)]),
        ),
        "binance/mark-klines": (
            futures / "markPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2025-06-01",
            csv_of(BINANCE_KLINES, idle),
        ),
        "binance/index-klines": (
            futures / "indexPriceKlines/BTCUSDT/1m/BTCUSDT-1m-2025-06-01",
            csv_of(BINANCE_KLINES, idle),
        ),
        "binance/premium-klines": (
            futures / "premiumIndexKlines/BTCUSDT/1m/BTCUSDT-1m-2025-06-01",
            csv_of(BINANCE_KLINES, premiums),
        ),
        "binance/spot-aggtrades": (
            spot / "aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-06-01",
            csv_of("", [binance_aggregate(number, unit=1_000) for number in range(50)]),
        ),
        "binance/futures-aggtrades": (
            futures / "aggTrades/BTCUSDT/BTCUSDT-aggTrades-2025-06-01",
            csv_of(BINANCE_AGGREGATES, [binance_aggregate(number, spot=False) for number in range(50)]),
        ),
        "binance/spot-trades": (
            spot / "trades/BTCUSDT/BTCUSDT-trades-2025-06-01",
            csv_of("", [binance_trade(number, unit=1_000) for number in range(50)]),
        ),
        "binance/futures-trades": (
            futures / "trades/BTCUSDT/BTCUSDT-trades-2025-06-01",
            csv_of(BINANCE_TRADES, [binance_trade(number, spot=False) for number in range(50)]),
        ),
        "binance/funding": (
            futures / "fundingRate/BTCUSDT/BTCUSDT-fundingRate-2025-06",
            csv_of(BINANCE_FUNDING, [f"{START_MS + 28_800_000 * n + 7},8,0.0000812{n}" for n in range(9)]),
        ),
        "binance/bookticker": (
            futures / "bookTicker/BTCUSDT/BTCUSDT-bookTicker-2025-06-01",
            csv_of(
                BINANCE_TICKERS,
                [f"{900 + n},104000.1,{n + 1},104000.2,2.5,{START_MS + n},{START_MS + n + 3}" for n in range(50)],
            ),
        ),
        "binance/bookdepth": (
            futures / "bookDepth/BTCUSDT/BTCUSDT-bookDepth-2025-06-01",
            csv_of(
                "timestamp,percentage,depth,notional", [f"2025-06-01 00:00:0{n},-5.00,812.5,81e6" for n in range(9)]
            ),
        ),
        "binance/metrics": (
            futures / "metrics/BTCUSDT/BTCUSDT-metrics-2025-06-01",
            csv_of(
                "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio",
                [f"2025-06-01 00:0{n}:00,BTCUSDT,80000.5,8.3e9,1.2" for n in range(9)],
            ),
        ),
        "binance/t-depth": (
            folder / "data/T_DEPTH/BTCUSDT_T_DEPTH_2025-06-01_depth_snap",
            csv_of(
                "symbol,timestamp,first_update_id,last_update_id,side,update_type,price,qty,pu",
                [f"BTCUSDT,{START_MS},1,1,a,snap,104000.{n},1.5,-1" for n in range(9)],
            ),
        ),
    }
    return {
        name: zipped(path.with_name(path.name + ".zip"), {path.name + ".csv": content})
        for name, (path, content) in contents.items()
    }


# Bybit -------------------------------------------------------------------------------------------------------------

BYBIT_TRADES = "timestamp,symbol,side,size,price,tickDirection,trdMatchID,grossValue,homeNotional,foreignNotional"
BYBIT_SPOT = "id,timestamp,price,volume,side"


def bybit_trade(number: int, *, inverse: bool = False) -> str:
    """Return a row of Bybit's trades of contracts, stamped in seconds with a fraction."""
    price, coins = 104000 + number % 7 / 2, (number % 9 + 1) / 1000
    dollars = 100 * (number % 9 + 1)
    size, home, foreign = (dollars, dollars / price, dollars) if inverse else (coins, coins, coins * price)
    symbol, side = "BTCUSD" if inverse else "BTCUSDT", "Sell" if number % 3 else "Buy"
    stamp = f"{START_S + number}.{number % 10000:04d}"
    tail = f"MinusTick,0f4a6f57-0000-5000-8000-{number:012d},{foreign * 1e8:g},{home:.10f},{foreign:.10f}"
    return f"{stamp},{symbol},{side},{size},{price},{tail}"


def bybit_books(count: int, *, skip: int = -1) -> bytes:
    """Return lines of Bybit's books: a snapshot, then changes; one of them can be left out."""
    lines = []
    for number in range(count):
        data = {"s": "BTCUSDT", "b": [["104000.1", str(number % 5 + 1)]], "a": [], "u": 100 + number, "seq": 9 * number}
        if not number:
            data["b"], data["a"] = [["104000.1", "1"], ["104000", "4"]], [["104000.2", "2.5"]]
        kind = "delta" if number else "snapshot"
        sent = START_MS + 20 * number
        line = {"topic": "orderbook.500.BTCUSDT", "type": kind, "ts": sent + 5, "data": data, "cts": sent}
        if number != skip:
            lines.append(json.dumps(line))
    return "\n".join(lines).encode() + b"\n"


def bybit_samples(folder: Path) -> dict[str, Path]:
    """Write one file of each of Bybit's formats."""
    linear = csv_of(BYBIT_TRADES + ",RPI", [bybit_trade(number) + ",0" for number in range(50)])
    inverse = csv_of(BYBIT_TRADES, [bybit_trade(number, inverse=True) for number in range(50)])
    sides = ("buy", "sell", "sell")
    spot = [f"{n + 1},{START_MS + n},104000.{n % 9},0.00{n % 9 + 1},{sides[n % 3]},0" for n in range(50)]
    charts = [f"2025.06.01 {n // 4:02d}:{n % 4 * 15:02d},104000,104010,103990,104005,1{n}.5" for n in range(50)]
    return {
        "bybit/linear-trades": plain(folder / "BTCUSDT2025-06-01.csv.gz", packed(linear)),
        "bybit/inverse-trades": plain(folder / "BTCUSD2025-06-01.csv.gz", packed(inverse)),
        "bybit/spot-trades": plain(folder / "BTCUSDT_2025-06-01.csv.gz", packed(csv_of(BYBIT_SPOT + ",rpi", spot))),
        "bybit/metatrader": plain(folder / "BTCUSDT_15_2025-06-01_2025-06-30.csv.gz", packed(csv_of("", charts))),
        "bybit/books": zipped(
            folder / "2025-06-01_BTCUSDT_ob500.data.zip", {"2025-06-01_BTCUSDT_ob500.data": bybit_books(40)}
        ),
    }


# Tardis ------------------------------------------------------------------------------------------------------------

TARDIS = "exchange,symbol,timestamp,local_timestamp,"


def tardis_row(number: int, rest: str, *, market: str = "okex-swap,BTC-USDT-SWAP", late_us: int = 4_211) -> str:
    """Return a row of Tardis' files; both stamps are in microseconds."""
    stamp = START_MS * 1_000 + 100_000 * number
    return f"{market},{stamp},{stamp + late_us},{rest}"


def tardis_book(number: int, side: str, price: float, amount: float, *, snapshot: bool = False) -> str:
    """Return a row of Tardis' incremental books."""
    return tardis_row(number, f"{str(snapshot).lower()},{side},{price},{amount}")


def tardis_samples(folder: Path) -> dict[str, Path]:
    """Write one file of each of Tardis' formats."""
    trades = [tardis_row(n, f"{n + 1},{'buy' if n % 3 else 'sell'},104000.{n % 9},{n + 1}") for n in range(50)]
    quotes = [tardis_row(n, f"3,104000.2,104000.1,{n + 1}") for n in range(50)]
    due = (START_S + 28_800) * 1_000_000
    tickers = [tardis_row(n, f"{due},0.0001,,1000{n},104000.5,104001.5,10400{n % 9}.5") for n in range(50)]
    books = [tardis_book(0, "ask", 104000.2, 5, snapshot=True), tardis_book(0, "bid", 104000.1, 4, snapshot=True)]
    books += [tardis_book(n, "bid", 104000.1, n % 5 + 1) for n in range(1, 50)]
    names = [
        f"{side}[{level}].{what}" for level in range(5) for side in ("asks", "bids") for what in ("price", "amount")
    ]
    levels = ",".join(
        cell
        for level in range(5)
        for cell in (f"{104000.2 + level / 10:.1f}", "5", f"{104000.1 - level / 10:.1f}", "4")
    )
    contents = {
        "trades": ("trades", csv_of(TARDIS + "id,side,price,amount", trades)),
        "liquidations": ("liquidations", csv_of(TARDIS + "id,side,price,amount", trades)),
        "quotes": ("quotes", csv_of(TARDIS + "ask_amount,ask_price,bid_price,bid_amount", quotes)),
        "derivative-ticker": (
            "derivative_ticker",
            csv_of(
                TARDIS
                + "funding_timestamp,funding_rate,predicted_funding_rate,open_interest,"
                + "last_price,index_price,mark_price",
                tickers,
            ),
        ),
        "incremental-book": ("incremental_book_L2", csv_of(TARDIS + "is_snapshot,side,price,amount", books)),
        "book-snapshot": (
            "book_snapshot_5",
            csv_of(TARDIS + ",".join(names), [tardis_row(n, levels) for n in range(9)]),
        ),
    }
    return {
        f"tardis/{name}": plain(folder / f"okex-swap_{kind}_2025-06-01_BTC-USDT-SWAP.csv.gz", packed(content))
        for name, (kind, content) in contents.items()
    }


def samples(folder: Path) -> dict[str, Path]:
    """Write one file of every format."""
    writers = (okx_samples, binance_samples, bybit_samples, tardis_samples)
    return {
        name: path for writer in writers for name, path in writer(folder / writer.__name__.partition("_")[0]).items()
    }
