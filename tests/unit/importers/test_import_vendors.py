"""Files of Kraken, CryptoDataDownload, HistData, MetaTrader, stooq, Yahoo, TradingView and Databento."""

import json
from pathlib import Path
from typing import Any

import pytest
from format_files import (
    DATABENTO,
    MT5_BARS,
    START_MS,
    STOOQ,
    YAHOO,
    csv_of,
    databento_row,
    plain,
    vendor_samples,
    zipped,
)

from quantkit.clock import time_ns_of
from quantkit.errors import ConfigError, ParseError
from quantkit.events import Candle, Ticker, Trade
from quantkit.importers import ImportReport, import_files
from quantkit.instruments import Side
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

FAR_NS = 2**62
START_NS = START_MS * 1_000_000
MINUTE_NS = 60 * 10**9
DAY_NS = 1440 * MINUTE_NS


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each format."""
    return vendor_samples(tmp_path_factory.mktemp("vendors"))


def stored(root: Path, kind: str) -> list[Any]:
    """Return every stored event of a kind."""
    catalog = Catalog(root)
    return list(read_events(catalog, [each for each in catalog.coverage() if each.kind == kind], 0, FAR_NS))


def bring(tmp_path: Path, *paths: Path, **options: Any) -> ImportReport:
    """Import files by their content."""
    return import_files(None, list(paths), to=tmp_path / "data", **options)


def test_kraken_leaves_out_quiet_minutes(files: dict[str, Path], tmp_path: Path) -> None:
    """A missing one is no gap; Bitcoin is not called XBT here; the full archive and a quarter overlap."""
    content = files["kraken/candles"].read_bytes()
    archive = zipped(tmp_path / "Kraken_OHLCVT.zip", {"XBTUSD_1.csv": content, "XDGUSD_1.csv": content})
    quarter = zipped(
        tmp_path / "Kraken_OHLCVT_Q2.zip", {"XBTUSD_1.csv": content[len(content) // 3 :].partition(b"\n")[2]}
    )
    report = bring(tmp_path, archive, quarter)
    assert report.rows_written == {"kraken:BTC-USD candle 1m": 42, "kraken:DOGE-USD candle 1m": 42}
    assert report.ignored["rows that came before, in another file or the same"] > 20
    assert any("6 stretches have no candles" in sentence for sentence in report.warnings)
    assert stored(tmp_path / "data", "gap") == []
    first = next(each for each in stored(tmp_path / "data", "candle") if each.instrument == "kraken:BTC-USD")
    at_ns = START_NS + MINUTE_NS
    close_ns = at_ns + MINUTE_NS
    assert first == Candle(
        "kraken:BTC-USD", close_ns, close_ns, at_ns, close_ns, 104000.0, 104010.0, 103990.0, 104005.0, 1.25, "1m"
    )


def test_cryptodatadownload_runs_newest_first(files: dict[str, Path], tmp_path: Path) -> None:
    """Its first line is an address, its volume the one in coins; dates of three forms."""
    report = bring(tmp_path, files["cryptodatadownload/candles"])
    assert report.rows_written == {"bitstamp:BTC-USD candle 1m": 50}
    (told,) = report.recognised.values()
    assert told.endswith("after a first line https://www.CryptoDataDownload.com")
    first, second = stored(tmp_path / "data", "candle")[:2]
    assert (first.open_ns, second.open_ns, first.volume) == (START_NS, START_NS + MINUTE_NS, 1.5)
    report = import_files(None, [files["cryptodatadownload/dated-candles"]], to=tmp_path / "dated")
    assert report.rows_written == {"bitstamp:BTC-USD candle 1h": 24}
    report = import_files(None, [files["cryptodatadownload/hourly-candles"]], to=tmp_path / "hourly")
    assert report.rows_written == {"gemini:BTC-USD candle 1h": 24}
    assert stored(tmp_path / "hourly", "candle")[13].open_ns == time_ns_of("2020-03-13T13:00Z")


def test_histdata_is_eastern_time_all_year(files: dict[str, Path], tmp_path: Path) -> None:
    """In June New York is four hours behind; these files stay at five."""
    report = bring(tmp_path, files["histdata/candles"])
    assert report.rows_written == {"histdata:EUR-USD candle 1m": 50}
    assert any("bid prices" in sentence for sentence in report.warnings)
    assert stored(tmp_path / "data", "candle")[0].open_ns == time_ns_of("2025-06-02T05:00Z")
    import_files(None, [files["histdata/ticks"]], to=tmp_path / "ticks")
    at_ns = time_ns_of("2025-06-02T05:00:07Z") + 7_000_000
    assert stored(tmp_path / "ticks", "ticker")[7] == Ticker(
        "histdata:EUR-USD", at_ns, at_ns, 1.0351, None, 1.03521, None
    )


def test_histdata_and_metatrader_4_are_asked(files: dict[str, Path], tmp_path: Path) -> None:
    """The same rows; the name decides, else the user, who also has to say the broker's zone."""
    path = plain(tmp_path / "rows.csv", files["metatrader/mt4"].read_bytes())
    with pytest.raises(ConfigError, match=r"Are they HistData's, in Eastern time, or of a broker's MetaTrader 4"):
        bring(tmp_path, path)
    named = plain(tmp_path / "EURUSD1.csv", path.read_bytes())
    with pytest.raises(ConfigError, match=r"'2025\.06\.02 00:01' carry no time zone|carry no time zone"):
        import_files("metatrader/mt4", [named], to=tmp_path / "data")
    report = import_files("metatrader/mt4", [named], to=tmp_path / "data", timezone="Europe/Athens")
    assert report.rows_written == {"metatrader:EUR-USD candle 1m": 50}
    assert stored(tmp_path / "data", "candle")[0].open_ns == time_ns_of("2025-06-01T21:00Z")
    import_files(None, [files["histdata/metatrader"]], to=tmp_path / "hist")
    assert stored(tmp_path / "hist", "candle")[0].open_ns == time_ns_of("2025-06-02T05:00Z")


def test_metatrader_5_is_told_by_its_tabs(files: dict[str, Path], tmp_path: Path) -> None:
    """Ticks are left out, since nobody says what an empty price means."""
    report = bring(tmp_path, files["metatrader/mt5-bars"], timezone="UTC")
    assert report.rows_written == {"metatrader:EUR-USD candle 1m": 50}
    assert stored(tmp_path / "data", "candle")[3].volume == 4.0
    report = import_files(None, [files["metatrader/mt5-days"]], to=tmp_path / "days")
    assert report.rows_written == {"metatrader:EUR-USD candle 1d": 19}
    commas = plain(tmp_path / "x.csv", csv_of(MT5_BARS.replace("\t", ","), ["2025.06.02,00:00:00,1,2,0.5,1,1,0,2"]))
    assert (
        import_files(None, [commas], to=tmp_path / "other", instrument="EUR-USD", interval="1m", timezone="UTC").format
        == "candles"
    )


def test_stooq_and_finam_differ_by_open_interest(files: dict[str, Path], tmp_path: Path) -> None:
    """Whole days need no zone, times of day do; one file holds one period."""
    report = bring(tmp_path, files["stooq/candles"])
    assert report.rows_written == {"stooq:AAPL.US candle 1d": 5}
    assert Catalog(tmp_path / "data").instruments()["stooq:AAPL.US"].quote == "USD"
    assert stored(tmp_path / "data", "candle")[0].open_ns == time_ns_of("2025-06-02T00:00Z")
    with pytest.raises(ConfigError, match="carry no time zone"):
        import_files(None, [files["finam/candles"]], to=tmp_path / "finam")
    report = import_files(None, [files["finam/candles"]], to=tmp_path / "finam", timezone="Europe/Moscow")
    assert report.rows_written == {"finam:SBER candle 5m": 39}
    rows = ["AAPL.US,D,20250602,000000,1,2,1,2,5,0", "AAPL.US,60,20250602,150000,1,2,1,2,5,0"]
    with pytest.raises(ConfigError, match="but not of one period"):
        import_files(None, [plain(tmp_path / "x.txt", csv_of(STOOQ + ",<OPENINT>", rows))], to=tmp_path / "two")


def test_yahoo_is_adjusted_on_demand(files: dict[str, Path], tmp_path: Path) -> None:
    """All prices by the ratio of the closes, never the volume; rows of nothing are left out."""
    path = plain(
        tmp_path / "MSFT.csv", files["yahoo/candles"].read_bytes() + b"2025-06-09,null,null,null,null,null,null\n"
    )
    report = bring(tmp_path, path)
    assert report.rows_written == {"yahoo:MSFT candle 1d": 5}
    assert report.ignored["rows without open"] == 1
    first = stored(tmp_path / "data", "candle")[0]
    assert (first.open, first.high, first.low, first.close, first.volume) == (200.0, 204.0, 198.0, 202.0, 2000.0)
    import_files(None, [path], to=tmp_path / "adjusted", adjust=True)
    first = stored(tmp_path / "adjusted", "candle")[0]
    assert (first.open, first.high, first.low, first.close, first.volume) == (100.0, 102.0, 99.0, 101.0, 2000.0)
    with pytest.raises(ConfigError, match="has no column of adjusted closes"):
        import_files(None, [files["yahoo/yfinance"]], to=tmp_path / "none", adjust=True)


def test_yfinance_orders_its_columns_by_the_alphabet(files: dict[str, Path], tmp_path: Path) -> None:
    """With two lines more below the header, of which one names the ticker."""
    report = bring(tmp_path, files["yahoo/yfinance"])
    assert report.rows_written == {"yahoo:AAPL candle 1d": 5}
    first = stored(tmp_path / "data", "candle")[0]
    assert (first.open, first.high, first.low, first.close) == (200.0, 204.0, 198.0, 202.0)


def test_the_last_candle_of_tradingview_may_be_open(files: dict[str, Path], tmp_path: Path) -> None:
    """So it is left out; the name tells exchange, symbol and interval, further columns are indicators."""
    report = bring(tmp_path, files["tradingview/candles"])
    assert report.rows_written == {"binance:BTC-USDT-SWAP candle 1h": 19}
    assert report.ignored == {"last candles, which may still have been forming": 1}
    other = plain(tmp_path / "chart.csv", files["tradingview/candles"].read_bytes())
    assert import_files(None, [other], to=tmp_path / "x", instrument="X-USDT").format == "candles"
    said = import_files("tradingview/candles", [other], to=tmp_path / "said", instrument="X-USDT")
    assert said.rows_written == {"X-USDT candle 1h": 19}


@pytest.mark.parametrize("pretty", [False, True])
def test_databento_prices_are_billionths_or_have_a_point(pretty: bool, tmp_path: Path) -> None:
    """Both forms give the same rows; B bought, A sold, N and what is no trade are left out."""
    rows = [databento_row(n, pretty=pretty, side="BA"[n % 2]) for n in range(8)]
    rows += [databento_row(8, pretty=pretty, side="N"), databento_row(9, pretty=pretty, action="C")]
    report = bring(tmp_path, plain(tmp_path / "t.csv", csv_of(DATABENTO + ",symbol", rows)), quote="USD")
    assert report.rows_written == {"databento:ESM5 trade": 8}
    assert report.ignored == {
        "rows of Databento trades that are no trades": 1,
        "trades whose taker's side is not known": 1,
    }
    first, second = stored(tmp_path / "data", "trade")[:2]
    assert first == Trade("databento:ESM5", START_NS, START_NS + 250_001, 5900.0, 1.0, Side.BUY)
    assert (second.price, second.side, second.exchange_ns) == (5900.25, Side.SELL, START_NS + 1_000_000)


def test_databento_quotes_and_candles(files: dict[str, Path], tmp_path: Path) -> None:
    """An undefined price is no level; candles have the stamp of their open."""
    path = plain(
        tmp_path / "q.csv", files["databento/quotes"].read_bytes().replace(b"5899750000000", b"9223372036854775807", 1)
    )
    report = bring(tmp_path, path, files["databento/candles"], quote="USD")
    assert report.rows_written == {"databento:ESM5 candle 1m": 50, "databento:ESM5 ticker": 50}
    first, second = stored(tmp_path / "data", "ticker")[:2]
    assert (first.bid, first.ask, first.ask_qty) == (None, 5900.0, 9.0)
    assert (second.bid, second.bid_qty) == (5899.75, 12.0)
    candle = stored(tmp_path / "data", "candle")[0]
    assert (candle.open_ns, candle.high, candle.low, candle.close) == (START_NS, 5901.0, 5899.0, 5900.5)


def test_databento_without_symbols_has_numbers(files: dict[str, Path], tmp_path: Path) -> None:
    """A file of two instruments is never taken for one, and an empty symbol names none."""
    rows = [databento_row(n, side="BA"[n % 2]).removesuffix(",ESM5") for n in range(8)]
    rows[3] = rows[3].replace(",4916,", ",77,")
    path = plain(tmp_path / "t.csv", csv_of(DATABENTO, rows))
    assert bring(tmp_path, path, quote="USD", only=["databento:4916"]).rows_written == {"databento:4916 trade": 7}
    with pytest.raises(ConfigError, match=r"holds several instruments, 4916, 77 among them, and none is ES"):
        import_files(None, [path], to=tmp_path / "two", instrument="ES", quote="USD")
    blank = plain(tmp_path / "b.csv", csv_of(DATABENTO + ",symbol", [row + "," for row in rows]))
    with pytest.raises(ConfigError, match=r"b\.csv names an instrument ''"):
        import_files(None, [blank], to=tmp_path / "blank", quote="USD")


def test_decimal_commas_and_thousands_are_shown_with_their_line(tmp_path: Path) -> None:
    """They are never mended."""
    rows = ['2025-06-02,"1,234.5",1240,1230,1235,1235,5', *(f"2025-06-0{n},1,2,1,2,2,5" for n in range(3, 7))]
    report = bring(tmp_path, plain(tmp_path / "AAPL.csv", csv_of(YAHOO, rows)))
    assert [(row.line, row.why) for row in report.skipped_rows] == [(2, "open '1,234.5' is not a number")]


def test_dukascopy_writes_times_in_three_ways(files: dict[str, Path], tmp_path: Path) -> None:
    """UTC, local with its offset, and Eastern Europe's."""
    for name, first in (("candles", "00:00"), ("local-candles", "22:00"), ("jforex", "21:00")):
        report = import_files(None, [files[f"dukascopy/{name}"]], to=tmp_path / name)
        assert report.rows_written == {"dukascopy:EUR-USD candle 1m": 50}
        day = "2025-06-02" if name == "candles" else "2025-06-01"
        assert stored(tmp_path / name, "candle")[0].open_ns == time_ns_of(f"{day}T{first}Z")
    import_files(None, [files["dukascopy/ticks"]], to=tmp_path / "ticks")
    at_ns = time_ns_of("2025-06-02T00:00:07Z") + 7_000_000
    assert stored(tmp_path / "ticks", "ticker")[7] == Ticker(
        "dukascopy:EUR-USD", at_ns, at_ns, 1.0351, None, 1.0352, None
    )


def test_polygon_has_all_tickers_in_one_file(files: dict[str, Path], tmp_path: Path) -> None:
    """Close stands before high and low; one ticker can be kept."""
    report = bring(tmp_path, files["polygon/candles"], only=["polygon:MSFT"])
    assert report.rows_written == {"polygon:MSFT candle 1m": 50}
    assert report.ignored == {"rows of other instruments": 50}
    first = stored(tmp_path / "data", "candle")[0]
    assert (first.open, first.high, first.low, first.close) == (200.5, 203.0, 199.0, 201.25)


def test_kaggle_fills_quiet_minutes_with_nothing(files: dict[str, Path], tmp_path: Path) -> None:
    """Rows of NaN are left out, and are no gaps."""
    report = bring(tmp_path, files["kaggle/bitstamp"])
    assert report.rows_written == {"bitstamp:BTC-USD candle 1m": 40}
    assert report.ignored == {"rows without open": 10}


ORDERS = {
    "ccxt and freqtrade": ("open", "high", "low", "close"),
    "jesse and Bitfinex": ("open", "close", "high", "low"),
    "Coinbase": ("low", "high", "open", "close"),
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("way", ["json", "csv", "newest first"])
def test_lists_of_candles_are_told_by_their_prices(order: tuple[str, ...], way: str, tmp_path: Path) -> None:
    """The high is the largest, the low the smallest, the open near to the close before."""
    rows, bars = [], []
    for n in range(40):
        opened = 100 + n % 7 - n % 3
        closed = 100 + (n + 1) % 7 - (n + 1) % 3 + 0.25
        bar = {"open": opened, "close": closed, "high": max(opened, closed) + 1, "low": min(opened, closed) - 1}
        bars.append(bar)
        rows.append([START_MS + 60_000 * n, *(bar[name] for name in order), 5 + n])
    given = rows[::-1] if way == "newest first" else rows
    content = csv_of("", [",".join(map(str, row)) for row in given]) if way == "csv" else json.dumps(given).encode()
    report = bring(tmp_path, plain(tmp_path / "BTC_USDT-1m.json", content), instrument="X-USDT")
    assert report.format == "plain/candles"
    assert report.rows_written == {"X-USDT candle 1m": 39}
    found = stored(tmp_path / "data", "candle")
    assert [{name: getattr(each, name) for name in bars[0]} for each in found] == bars[:-1]


def test_prices_that_show_no_order_are_asked(tmp_path: Path) -> None:
    """Too few rows, or prices that never move."""
    few = [f"{START_MS + 60_000 * n},10,12,9,11,5" for n in range(10)]
    flat = [f"{START_MS + 60_000 * n},10,10,10,10,5" for n in range(40)]
    for rows in (few, flat):
        with pytest.raises(ConfigError, match="it has no header line, and its rows are like 1748736000000,10"):
            bring(tmp_path, plain(tmp_path / "x.csv", csv_of("", rows)), instrument="X-USDT")
    with pytest.raises(ParseError, match="the list is no JSON of rows"):
        bring(tmp_path, plain(tmp_path / "x.json", b"[[1748736000000, 1, 2"), instrument="X-USDT")
