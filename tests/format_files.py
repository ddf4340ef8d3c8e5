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
                [f"2025-06-01 00:{5 * n:02d}:00,BTCUSDT,8000{n}.5,8.3e9,1.2" for n in range(9)],
            ),
        ),
        "binance/coin-metrics": (
            folder / "data/futures/cm/daily/metrics/BTCUSD_PERP/BTCUSD_PERP-metrics-2025-06-01",
            csv_of(
                "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio",
                [f"2025-06-01 00:{5 * n:02d}:00,BTCUSD_PERP,500000{n},4807.5,1.2" for n in range(9)],
            ),
        ),
        "binance/t-depth": (
            folder / "data/T_DEPTH/BTCUSDT_T_DEPTH_2025-06-01_depth_snap",
            csv_of(
                "symbol,timestamp,first_update_id,last_update_id,side,update_type,price,qty,pu",
                [f"BTCUSDT,{START_MS},1,1,{'ab'[n % 2]},snap,10{4 - n % 2}000.{n},1.5,-1" for n in range(9)],
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


# Further vendors ---------------------------------------------------------------------------------------------------

MT5_BARS = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>"
STOOQ = "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>"
YAHOO = "Date,Open,High,Low,Close,Adj Close,Volume"
DATABENTO = "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,depth,price,size,flags,ts_in_delta,sequence"
DATABENTO_BEST = ",bid_px_00,ask_px_00,bid_sz_00,ask_sz_00,bid_ct_00,ask_ct_00"


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def databento_row(number: int, rest: str = "", *, pretty: bool = False, side: str = "B", action: str = "T") -> str:
    """Return a row of Databento's trades, or of its quotes with `rest` for the best levels."""
    event_ns = START_MS * 1_000_000 + 1_000_000 * number
    stamps = f"{event_ns + 250_001},{event_ns}"
    price = f"{5900 * 10**9 + 250_000_000 * (number % 4)}"
    if pretty:
        moment = f"2025-06-01T00:00:00.{number:03d}"
        stamps, price = f"{moment}250001Z,{moment}000000Z", f"{5900 + number % 4 / 4:.9f}"
    return f"{stamps},0,1,4916,{action},{side},0,{price},{number % 3 + 1},0,250001,{number}{rest},ESM5"


def vendor_samples(folder: Path) -> dict[str, Path]:
    """Write one file of each of the further vendors' formats."""
    prices = "104000,104010,103990,104005"
    minutes = range(50)
    kraken = [f"{START_S + 60 * n},{prices},1.25,{n + 3}" for n in minutes if n % 7]
    unix = [f"{START_S + 60 * n},2025-06-01 {_clock(n)}:00,BTC/USD,{prices},1.5,156000" for n in reversed(minutes)]
    dated = [f"2025-06-01 {n:02d}:00:00,BTCUSD,{prices},1.5,156000" for n in reversed(range(24))]
    hourly = [
        f"2020-03-13 {n % 12 or 12:02d}-{'PM' if n > 11 else 'AM'},BTCUSD,{prices},1.5,156000"
        for n in reversed(range(24))
    ]
    mt = [f"2025.06.02,{_clock(n)},1.0351,1.0353,1.0349,1.0352,{n + 1}" for n in minutes]
    mt5 = [row.replace(",", "\t").replace(":", ":", 1) + "\t0\t2" for row in mt]
    mt5 = [row.replace(f"\t{_clock(n)}\t", f"\t{_clock(n)}:00\t") for n, row in enumerate(mt5)]
    days = [f"2025.06.{n:02d}\t1.0351\t1.0353\t1.0349\t1.0352\t{n}\t0\t2" for n in range(1, 20)]
    stooq = [f"AAPL.US,D,202506{n:02d},000000,200.5,203,199,201.25,{n}000" for n in range(2, 7)]
    finam = [f"SBER,5,20250602,{n // 12:02d}{n % 12 * 5:02d}00,300.5,303,299,301.25,{n}000" for n in range(1, 40)]
    yahoo = [f"2025-06-{n:02d},200,204,198,202,101,{n}000" for n in range(2, 7)]
    yfinance = ["Ticker,AAPL,AAPL,AAPL,AAPL,AAPL", "Date,,,,,"]
    yfinance += [f"2025-06-{n:02d},202.0,204.0,198.0,200.0,{n}000" for n in range(2, 7)]
    site = "https://www.CryptoDataDownload.com"
    hist = [f"20250602 {_clock(n).replace(':', '')}00;1.0351;1.0353;1.0349;1.0352;0" for n in minutes]
    ticks = [f"20250602 0000{n:02d}{n:03d},1.03510,1.0352{n % 3},0" for n in minutes]
    best = ",5899750000000,5900000000000,12,9,4,3"
    candle_ns = [START_MS * 1_000_000 + 60 * 10**9 * n for n in minutes]
    bars = [
        f"{at},33,1,4916,5900000000000,5901000000000,5899000000000,5900500000000,{n},ESM5"
        for n, at in enumerate(candle_ns)
    ]
    duka, shares = [f"{prices},{n}.5" for n in minutes], ("AAPL", "MSFT")
    contents = {
        "kraken/candles": ("XBTUSD_1.csv", csv_of("", kraken)),
        "kraken/trades": ("XBTUSD.csv", csv_of("", [f"{START_S + n}.{n:04d},104000.{n % 9},0.5" for n in minutes])),
        "cryptodatadownload/candles": (
            "Bitstamp_BTCUSD_minute.csv",
            csv_of(f"{site}\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USD", unix),
        ),
        "cryptodatadownload/dated-candles": (
            "Bitstamp_BTCUSD_1h.csv", csv_of(f"{site}\nDate,Symbol,Open,High,Low,Close,Volume BTC,Volume USD", dated),
        ),
        "cryptodatadownload/hourly-candles": (
            "Gemini_BTCUSD_1h.csv", csv_of(f"{site}\nDate,Symbol,Open,High,Low,Close,Volume BTC,Volume USD", hourly),
        ),
        "histdata/candles": ("DAT_ASCII_EURUSD_M1_202506.csv", csv_of("", hist, end="\r\n")),
        "histdata/ticks": ("DAT_ASCII_EURUSD_T_202506.csv", csv_of("", ticks, end="\r\n")),
        "histdata/metatrader": ("DAT_MT_EURUSD_M1_202506.csv", csv_of("", mt, end="\r\n")),
        "metatrader/mt4": ("mt4/EURUSD1.csv", csv_of("", mt, end="\r\n")),
        "metatrader/mt5-bars": ("EURUSD_M1_202506020000_202506020049.csv", csv_of(MT5_BARS, mt5, end="\r\n")),
        "metatrader/mt5-days": (
            "EURUSD_Daily_202506010000_202506190000.csv", csv_of(MT5_BARS.replace("<TIME>\t", ""), days, end="\r\n"),
        ),
        "metatrader/mt5-ticks": (
            "EURUSD_202506020000_202506020100.csv",
            csv_of(
                "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>",
                [f"2025.06.02\t00:00:{n:02d}.351\t1.0351\t\t\t\t2" for n in minutes],
            ),
        ),
        "stooq/candles": ("aapl.us.txt", csv_of(STOOQ + ",<OPENINT>", [row + ",0" for row in stooq])),
        "finam/candles": ("SBER_250602_250602.txt", csv_of(STOOQ, finam)),
        "yahoo/candles": ("AAPL.csv", csv_of(YAHOO, yahoo)),
        "yahoo/yfinance": ("prices.csv", csv_of("Price,Close,High,Low,Open,Volume", yfinance)),
        "tradingview/candles": (
            "BINANCE_BTCUSDT.P, 60_a1b2c.csv",
            csv_of(
                "time,open,high,low,close,Volume,RSI",
                [f"{START_S + 3600 * n},{prices},{n}.5,55.{n}" for n in range(20)],
            ),
        ),
        "databento/candles": (
            "glbx-ohlcv-1m.csv",
            csv_of("ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol", bars),
        ),
        "databento/trades": ("glbx-trades.csv", csv_of(DATABENTO + ",symbol", [databento_row(n) for n in minutes])),
        "databento/quotes": (
            "glbx-mbp-1.csv", csv_of(DATABENTO + DATABENTO_BEST + ",symbol", [databento_row(n, best) for n in minutes]),
        ),
        "databento/depth": (
            "glbx-mbp-10.csv",
            csv_of(
                f"{DATABENTO}{DATABENTO_BEST}{DATABENTO_BEST.replace('_00', '_01')},symbol",
                [databento_row(n, best + f",5899500000000,5900250000000,{n + 1},8,1,1") for n in minutes],
            ),
        ),
        "databento/orders": (
            "glbx-mbo.csv",
            csv_of(
                "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,price,size,channel_id,order_id,flags",
                [f"{at + 9},{at},160,1,4916,A,B,5900000000000,1,0,{n},0" for n, at in enumerate(candle_ns)],
            ),
        ),
        "dukascopy/candles": (
            "EURUSD_Candlestick_1_M_BID_01.06.2025-02.06.2025.csv",
            csv_of(
                "Gmt time,Open,High,Low,Close,Volume",
                [f"02.06.2025 {_clock(n)}:00.000,{row}" for n, row in enumerate(duka)],
            ),
        ),
        "dukascopy/local-candles": (
            "EURUSD_Candlestick_1_M_ASK_01.06.2025-02.06.2025.csv",
            csv_of(
                "Local time,Open,High,Low,Close,Volume",
                [f"02.06.2025 {_clock(n)}:00.000 GMT+0200,{row}" for n, row in enumerate(duka)],
            ),
        ),
        "dukascopy/jforex": (
            "EURUSD_1 Min_Bid_2025.06.02_2025.06.03.csv",
            csv_of(
                "Time (EET),Open,High,Low,Close,Volume",
                [f"2025.06.02 {_clock(n)}:00,{row}" for n, row in enumerate(duka)],
            ),
        ),
        "dukascopy/ticks": (
            "EURUSD_Ticks_02.06.2025-02.06.2025.csv",
            csv_of(
                "Gmt time,Ask,Bid,AskVolume,BidVolume",
                [f"02.06.2025 00:00:{n:02d}.{n:03d},1.0352,1.0351,0.75,1.5" for n in minutes],
            ),
        ),
        "polygon/candles": (
            "2025-06-02.csv.gz",
            packed(
                csv_of(
                    "ticker,volume,open,close,high,low,window_start,transactions",
                    [f"{name},1{n},200.5,201.25,203,199,{at},7" for n, at in enumerate(candle_ns) for name in shares],
                )
            ),
        ),
        "polygon/trades": (
            "trades.csv",
            csv_of(
                "ticker,conditions,correction,exchange,id,participant_timestamp,price,sequence_number,sip_timestamp,size",
                [f'AAPL,"12,37",0,11,{n},{at},200.5,{n},{at + 9},1' for n, at in enumerate(candle_ns)],
            ),
        ),
        "kaggle/bitstamp": (
            "bitstampUSD_1-min_data_2012-01-01_to_2021-03-31.csv",
            csv_of(
                "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price",
                [
                    f"{START_S + 60 * n}," + (f"{prices},0.5,52000,104001" if n % 5 else ",".join(["NaN"] * 7))
                    for n in minutes
                ],
            ),
        ),
    }  # fmt: skip
    return {name: plain(folder / leaf, content) for name, (leaf, content) in contents.items()}


def samples(folder: Path) -> dict[str, Path]:
    """Write one file of every format."""
    writers = (okx_samples, binance_samples, bybit_samples, tardis_samples, vendor_samples)
    return {
        name: path for writer in writers for name, path in writer(folder / writer.__name__.partition("_")[0]).items()
    }
