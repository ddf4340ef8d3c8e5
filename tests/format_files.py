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
