"""The recorded files of the data collection import whole: the counts its catalogue states, and books that agree."""

import gzip
from pathlib import Path
from typing import Any

import msgspec
import pytest

from quantkit.clock import time_ns_of
from quantkit.errors import ConfigError
from quantkit.events import BookUpdate, MarketEvent, Ticker
from quantkit.importers import ImportReport, import_files
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

SHARED = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the data collection is not beside the repository")

SWAP, SPOT, COIN = "binance:BTC-USDT-SWAP", "binance:BTC-USDT", "binance:BTC-USD-SWAP"


def imported(tmp_path: Path, format_name: str, pattern: str, **options: Any) -> ImportReport:
    return import_files(format_name, sorted(SHARED.glob(pattern)), to=tmp_path / "data", **options)


def stored(tmp_path: Path, kind: str, instrument: str) -> list[MarketEvent]:
    return list(read_events(Catalog(tmp_path / "data"), [Stream(kind, instrument)], 0, 2**62))


# Binance captures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "name", "lines", "trades", "shift_ms"),
    [
        ("usdm_btcusdt_20240808", SWAP, 93_954, 21_313, 1_270),
        ("usdm_ethusdt_20240808", "binance:ETH-USDT-SWAP", 74_655, 14_076, 1_270),
        ("spot_btcusdt_*", SPOT, 41_249 + 58_325, 19_904, 1_270),
        ("cm_btcusd_perp_*", COIN, 48_270 + 50_116, 5_235, 1_270),
        ("spot_nexousdt_*", "binance:NEXO-USDT", 1_804 + 112_274 + 52_762, 18_817, 190),
    ],
)
def test_binance_captures(tmp_path: Path, pattern: str, name: str, lines: int, trades: int, shift_ms: int) -> None:
    """Contiguous files are one chain without a gap; every line is stored or left out by a rule."""
    report = imported(tmp_path, "binance/ws-raw", f"binance/ws-raw/{pattern}.log.gz")
    assert report.rows_read == lines
    assert report.skipped == 0
    assert report.rows_written[f"{name} trade"] == trades
    assert f"{name} gap" not in report.rows_written
    assert sum(report.rows_written.values()) + sum(report.ignored.values()) == lines
    assert set(report.ignored) <= {"depth updates before the snapshot"}
    assert abs(report.received_shift_ns / 1e6 - shift_ms) < 10
    least_ns = None
    for kind in ("book", "ticker", "trade"):
        last_ns = 0
        for event in stored(tmp_path, kind, name):
            assert event.received_ns >= last_ns
            last_ns = event.received_ns
            if kind == "trade":
                latency_ns = event.received_ns - event.exchange_ns
                least_ns = latency_ns if least_ns is None else min(least_ns, latency_ns)
            assert event.exchange_ns < event.received_ns
    assert least_ns is not None
    assert least_ns >= 1_000_000


@pytest.mark.parametrize(
    ("pattern", "name", "compared"),
    [
        ("usdm_btcusdt_20240808", SWAP, 126),
        ("usdm_ethusdt_20240808", "binance:ETH-USDT-SWAP", 80),
        ("spot_nexousdt_*", "binance:NEXO-USDT", 133),
    ],
)
def test_rebuilt_books_agree_with_the_quotes_of_the_same_update(
    tmp_path: Path, pattern: str, name: str, compared: int
) -> None:
    """Where a quote has the update id of a book, best bid and ask are equal: the exchange's own oracle."""
    files = sorted((SHARED / "binance" / "ws-raw").glob(f"{pattern}.log.gz"))
    import_files("binance/ws-raw", files, to=tmp_path / "data")
    quotes: dict[int, tuple[float, float]] = {}
    for file in files:
        for line in gzip.decompress(file.read_bytes()).splitlines():
            if b"@bookTicker" in line:
                frame = msgspec.json.decode(line.partition(b" ")[2])["data"]
                quotes[frame["u"]] = (float(frame["b"]), float(frame["a"]))
    bids: dict[float, float] = {}
    asks: dict[float, float] = {}
    equal = 0
    for event in stored(tmp_path, "book", name):
        assert isinstance(event, BookUpdate)
        if event.is_snapshot:
            bids.clear()
            asks.clear()
        for levels, prices, qtys in (
            (bids, event.bid_prices, event.bid_qtys),
            (asks, event.ask_prices, event.ask_qtys),
        ):
            for price, qty in zip(prices, qtys, strict=True):
                levels.pop(price, None)
                if qty:
                    levels[price] = qty
        if event.seq in quotes:
            assert (max(bids), min(asks)) == quotes[event.seq]
            equal += 1
    assert equal >= compared  # the catalogue compared neighbouring lines only


def test_the_second_day_alone_has_no_book_and_says_so(tmp_path: Path) -> None:
    report = imported(tmp_path, "binance/ws-raw", "binance/ws-raw/spot_btcusdt_20240809.log.gz")
    assert f"{SPOT} book" not in report.rows_written
    assert report.ignored == {"depth updates that waited in vain for a snapshot": 3_044}
    assert any("wait for a snapshot that does not come" in warning for warning in report.warnings)


def test_a_lost_depth_line_is_one_gap(tmp_path: Path) -> None:
    lines = gzip.decompress((SHARED / "binance/ws-raw/usdm_btcusdt_20240808.log.gz").read_bytes()).splitlines()[:20_000]
    depth = [place for place, line in enumerate(lines) if b"depthUpdate" in line]
    del lines[depth[len(depth) // 2]]
    file = tmp_path / "usdm.log"
    file.write_bytes(b"\n".join(lines))
    report = import_files("binance/ws-raw", [file], to=tmp_path / "data")
    assert report.rows_written[f"{SWAP} gap"] == 1
    assert report.ignored["depth updates that waited in vain for a snapshot"] == len(depth) - 1 - len(depth) // 2


def test_inferred_metadata_of_captures(tmp_path: Path) -> None:
    for name in ("usdm_btcusdt_20240808", "usdm_ethusdt_20240808", "cm_btcusd_perp_20240808", "spot_btcusdt_20240808"):
        import_files("binance/ws-raw", [SHARED / f"binance/ws-raw/{name}.log.gz"], to=tmp_path / "data")
    found = {
        name: (each.kind, f"{each.price_step:f}", f"{each.qty_step:f}", f"{each.unit:f}", each.settle)
        for name, each in Catalog(tmp_path / "data").instruments().items()
    }
    assert found == {
        SWAP: ("swap", "0.1", "0.001", "1", "USDT"),
        "binance:ETH-USDT-SWAP": ("swap", "0.01", "0.001", "1", "USDT"),
        COIN: ("swap", "0.1", "1", "100", "BTC"),
        # Three resting orders of old are on a finer step than the exchange accepts today.
        SPOT: ("spot", "0.01", "0.000001", "1", "USDT"),
    }


# OKX --------------------------------------------------------------------------------------------------------------


def test_the_excerpt_without_a_snapshot_is_one_gap(tmp_path: Path) -> None:
    report = imported(tmp_path, "okx/ws-raw", "okx/ws-raw/*.jsonl")
    assert report.rows_read == 6
    assert report.rows_written == {"BTC-USDT gap": 1}
    assert report.ignored == {"acknowledgements": 1, "book updates while waiting for a snapshot": 5}


def test_wrapped_json_lines_give_the_same_rows_as_the_recorders_lines(tmp_path: Path) -> None:
    frames = SHARED.parent / "okx" / "frames" / "cryptofeed_public_ws_2022-05-13.jsonl"
    import_files("okx/ws-raw", [frames], to=tmp_path / "data")
    import_files("okx/ws-raw", [SHARED / "okx/ws-raw/okx_ws_20220513T162705Z.log.gz"], to=tmp_path / "log")
    both = [
        list(read_events(catalog, list(catalog.coverage()), 0, 2**62))
        for catalog in (Catalog(tmp_path / "data"), Catalog(tmp_path / "log"))
    ]
    assert both[0] == both[1]


# Tables -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "interval", "rows", "first", "last", "zone"),
    [
        ("okx/candles/okx_btc-usdt-swap_1m_*", "1m", 22_078, "2026-01-01T00:00", "2026-01-16T07:57", None),
        ("okx/candles/okx_btc-usdt-swap_5m_*", "5m", 70_499, "2022-05-01T00:00", "2022-12-31T18:50", None),
        ("okx/candles/okx_sol-usdt-swap_5m_*", "5m", 70_499, "2022-05-01T00:00", "2022-12-31T18:50", None),
        ("binance/candles-1m/usdm_btcusdt_1m_2024*", "1m", 65_178, "2024-01-01T00:00", "2024-02-15T06:17", "UTC"),
        ("binance/candles-1m/usdm_ethusdt_1m_2024*", "1m", 65_178, "2024-01-01T00:00", "2024-02-15T06:17", "UTC"),
        ("binance/candles-1m/usdm_btcusdt_1m_2025*", "1m", 43_199, "2025-05-04T15:33", "2025-06-03T15:31", None),
        ("binance/candles-1m/usdm_solusdt_1m_2025*", "1m", 43_200, "2025-05-04T15:33", "2025-06-03T15:32", None),
        ("binance/candles-1m/usdm_ethusdt_1m_2025*", "1m", 60_191, "2025-05-04T15:33", "2025-06-15T10:43", None),
    ],
)
def test_candles(tmp_path: Path, file: str, interval: str, rows: int, first: str, last: str, zone: str | None) -> None:
    report = imported(tmp_path, "candles", f"{file}", instrument="X-USDT-SWAP", timezone=zone)
    assert (report.rows_read, report.skipped, report.ignored) == (rows, 0, {})
    assert report.rows_written == {f"X-USDT-SWAP candle {interval}": rows}
    coverage = Catalog(tmp_path / "data").coverage()[Stream("candle", "X-USDT-SWAP", interval)]
    step_ns = 300 * 10**9 if interval == "5m" else 60 * 10**9
    assert coverage.start_ns == time_ns_of(first)
    assert coverage.end_ns == time_ns_of(last) + step_ns
    assert coverage.rows == rows


@pytest.mark.parametrize("file", ["binance/candles-1m/usdm_btcusdt_1m_2024*", "quotes-1s/binance*"])
def test_naive_times_are_refused_without_a_zone(tmp_path: Path, file: str) -> None:
    format_name = "tickers" if "quotes" in file else "candles"
    with pytest.raises(ConfigError, match=r"carry no time zone; .*--timezone UTC"):
        imported(tmp_path, format_name, file, instrument=SWAP)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("format_name", "pattern", "kind", "rows", "zone"),
    [
        ("trades", "binance/trades/*", "trade", 99_294, None),
        ("trades", "gemini/ethusd_trades_*", "trade", 25_222 + 16_394, None),
        ("tickers", "gemini/ethusd_bbo1s_*", "ticker", 72_180 + 74_361, None),
        ("tickers", "quotes-1s/binance*", "ticker", 172_686, "UTC"),
        ("tickers", "quotes-1s/hyperliquid*", "ticker", 165_952, "UTC"),
        ("tickers", "quotes-1s/kraken*", "ticker", 111_034, "UTC"),
        ("marks", "okx/candles/okx_btc*mark1h*", "mark", 367, None),
        ("funding", "okx/candles/okx_btc*funding8h*", "funding", 45, None),
        ("funding", "okx/candles/okx_eth*funding8h*", "funding", 284, None),
    ],
)
def test_rows(tmp_path: Path, format_name: str, pattern: str, kind: str, rows: int, zone: str | None) -> None:
    report = imported(tmp_path, format_name, pattern, instrument="x:A-B-SWAP", timezone=zone)
    assert (report.rows_read, report.skipped, report.ignored) == (rows, 0, {})
    assert report.rows_written == {f"x:A-B-SWAP {kind}": rows}
    assert Catalog(tmp_path / "data").coverage()[Stream(kind, "x:A-B-SWAP")].rows == rows


def test_quotes_keep_their_sides_whatever_the_order_of_columns(tmp_path: Path) -> None:
    imported(tmp_path, "tickers", "quotes-1s/binance*", instrument=SWAP, timezone="UTC")
    first = stored(tmp_path, "ticker", SWAP)[0]
    at_ns = time_ns_of("2026-01-01")
    assert first == Ticker(SWAP, at_ns, at_ns, 87608.2, 4.258, 87608.3, 5.799)
