"""BitMEX, Coinbase, backtrader and yfinance; Binance's books and open interest, Databento's depth, ticks of MT5."""

import json
from pathlib import Path
from typing import Any

import pytest
from format_files import DATABENTO, DATABENTO_BEST, START_MS, csv_of, databento_row, plain, tarred
from more_format_files import (
    BACKTRADER,
    BITMEX_TRADES,
    backtrader_minutes,
    bitmex_trade,
    coinbase_candles,
    more_samples,
    yfinance_frame,
    yfinance_wide,
)

from quantkit.clock import time_ns_of
from quantkit.errors import ConfigError, ParseError
from quantkit.events import BookUpdate, OpenInterest, Ticker, Trade
from quantkit.importers import ImportReport, import_files
from quantkit.instruments import Side
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

START_NS = START_MS * 1_000_000
MS = 1_000_000
MINUTE_NS = 60 * 10**9
T_DEPTH = "symbol,timestamp,first_update_id,last_update_id,side,update_type,price,qty,pu"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each format."""
    return more_samples(tmp_path_factory.mktemp("makers"))


def stored(root: Path, kind: str) -> list[Any]:
    """Return every stored event of a kind."""
    catalog = Catalog(root)
    return list(read_events(catalog, [each for each in catalog.coverage() if each.kind == kind], 0, 2**62))


def bring(tmp_path: Path, *paths: Path, **options: Any) -> ImportReport:
    """Import files by their content."""
    return import_files(None, list(paths), to=tmp_path / "data", **options)


# Binance ---------------------------------------------------------------------------------------------------------


def depth_rows(stamp_ms: int, first: int, last: int, before: int, levels: list[str], kind: str = "set") -> list[str]:
    """Return the rows of one update of Binance's historical books."""
    return [
        f"BTCUSDT,{stamp_ms},{first},{last},{level[0]},{kind},{level[1:].replace('=', ',')},{before}"
        for level in levels
    ]


SNAPSHOT = depth_rows(START_MS + 40, 100, 100, -1, ["b104000.1=4", "b104000.0=0", "a104000.2=5"], "snap")
CHANGES = [
    *depth_rows(START_MS, 80, 90, 79, ["b104000.1=1"]),
    *depth_rows(START_MS + 20, 91, 105, 90, ["b104000.1=2", "a104000.3=7"]),
    *depth_rows(START_MS + 100, 106, 110, 105, ["b104000.1=0", "b104000.0=3"]),
]


def test_books_of_binance_are_put_together_by_their_ids(tmp_path: Path) -> None:
    """Changes that the snapshot holds are left out; the first after it overlaps it, each further one names the last."""
    name = "BTCUSDT_T_DEPTH_2025-06-01"
    members = {
        f"{name}_depth_update.csv": csv_of(T_DEPTH, CHANGES),
        f"{name}_depth_snap.csv": csv_of(T_DEPTH, SNAPSHOT),
    }
    report = bring(tmp_path, tarred(tmp_path / f"{name}.tar.gz", members))
    assert report.rows_written == {"binance:BTC-USDT-SWAP book": 3}
    assert report.ignored == {"changes of a book without a snapshot before them": 1}
    assert report.checked == {"sequence links": 2}
    at_ns = START_NS + 40 * MS
    assert stored(tmp_path / "data", "book") == [
        BookUpdate("binance:BTC-USDT-SWAP", at_ns, at_ns, (104000.1,), (4.0,), (104000.2,), (5.0,), True, 100, -1),
        # The change is stamped before the snapshot that it follows: it is replayed after it.
        BookUpdate(
            "binance:BTC-USDT-SWAP", START_NS + 20 * MS, at_ns, (104000.1,), (2.0,), (104000.3,), (7.0,), False, 105, 90
        ),
        BookUpdate(
            "binance:BTC-USDT-SWAP", START_NS + 100 * MS, START_NS + 100 * MS, (104000.1, 104000.0), (0.0, 3.0), (), (),
            False, 110, 105,
        ),
    ]  # fmt: skip


def test_a_lost_change_of_binances_books_is_a_gap(tmp_path: Path) -> None:
    """Until the next snapshot; what is wrong in a row is shown with its line."""
    rows = SNAPSHOT + CHANGES[1:3] + depth_rows(START_MS + 200, 140, 150, 130, ["b104000.1=0"])
    rows += depth_rows(START_MS + 300, 151, 160, 150, ["b104000.1=1"])
    rows += depth_rows(START_MS + 400, 170, 170, -1, ["b103000=1", "a103000.1=-1", "a103000.2=2"], "snap")
    rows += [rows[-1].replace(",snap,", ",move,")]
    report = bring(tmp_path, plain(tmp_path / "x.csv", csv_of(T_DEPTH, rows)))
    assert report.rows_written == {"binance:BTC-USDT-SWAP book": 3, "binance:BTC-USDT-SWAP gap": 1}
    (gap,) = stored(tmp_path / "data", "gap")
    assert (gap.cause, gap.exchange_ns) == ("update 150 follows 130, the book is at 105", START_NS + 200 * MS)
    assert [(row.line, row.why) for row in report.skipped_rows] == [
        (10, "size is below zero"),
        (12, "action 'move' is not understood"),
    ]
    assert report.ignored["changes of a book without a snapshot before them"] == 1
    two = csv_of(T_DEPTH, [*SNAPSHOT, *(row.replace("BTC", "ETH") for row in CHANGES[3:])])
    with pytest.raises(ConfigError, match=r"y\.csv:5 is of binance:ETH-USDT-SWAP, the rows before of binance:BTC"):
        import_files(None, [plain(tmp_path / "y.csv", two)], to=tmp_path / "two")


def test_metrics_of_binance_hold_open_interest(tmp_path: Path) -> None:
    """Rows come unsorted and twice; two values of one moment are refused."""
    header = "create_time,symbol,sum_open_interest,sum_open_interest_value,count_toptrader_long_short_ratio"
    rows = [f"2025-06-01 00:{minute:02d}:00,BTCUSDT,8000{minute}.5,8300000000.25,1.2" for minute in (10, 0, 5, 5)]
    report = bring(tmp_path, plain(tmp_path / "m.csv", csv_of(header, [*rows, rows[0].replace("80001", "-8000")])))
    assert report.rows_written == {"binance:BTC-USDT-SWAP open_interest": 3}
    assert report.ignored == {"rows that came before, in another file or the same": 1}
    assert [(row.line, row.why) for row in report.skipped_rows] == [(6, "qty is below zero")]
    assert any("ratios of long and short accounts" in sentence for sentence in report.warnings)
    at_ns = START_NS + 5 * MINUTE_NS
    assert stored(tmp_path / "data", "open_interest")[1] == OpenInterest(
        "binance:BTC-USDT-SWAP", at_ns, at_ns, 80005.5, None, 8300000000.25
    )
    other = csv_of(header, [*rows, rows[0].replace("800010", "800011")])
    with pytest.raises(Exception, match=r"both have the open interest of 2025-06-01T00:10:00Z, with different values"):
        import_files(None, [plain(tmp_path / "n.csv", other)], to=tmp_path / "two")


# Databento, MetaTrader -------------------------------------------------------------------------------------------


def test_databento_depth_is_a_book_of_ten_levels(tmp_path: Path) -> None:
    """Both forms of prices; an undefined price is no level."""
    header = f"{DATABENTO}{DATABENTO_BEST}{DATABENTO_BEST.replace('_00', '_01')},symbol"
    rows = [
        databento_row(0, ",5899750000000,5900000000000,12,9,4,3,5899500000000,9223372036854775807,30,0,1,0"),
        databento_row(1, ",5899750000000,5900000000000,11,9,4,3,5899500000000,5900250000000,30,8,1,2"),
    ]
    whole = plain(tmp_path / "a.csv", csv_of(header, rows))
    levels = [",5899.75,5900.00,12,9,4,3,5899.50,,30,0,1,0", ",5899.75,5900.00,11,9,4,3,5899.50,5900.25,30,8,1,2"]
    pretty = plain(
        tmp_path / "b.csv", csv_of(header, [databento_row(n, levels[n], pretty=True) for n in range(len(levels))])
    )
    books = []
    for path in (whole, pretty):
        report = import_files(None, [path], to=tmp_path / path.stem, quote="USD")
        assert report.rows_written["databento:ESM5 book"] == 2
        books.append(stored(tmp_path / path.stem, "book"))
    assert books[0] == books[1]
    at_ns = START_NS + 250_001
    assert books[0][0] == BookUpdate(
        "databento:ESM5", START_NS, at_ns, (5899.75, 5899.5), (12.0, 30.0), (5900.0,), (9.0,), True
    )
    assert books[0][1].ask_qtys == (9.0, 8.0)


MT5_TICKS = "<DATE>\t<TIME>\t<BID>\t<ASK>\t<LAST>\t<VOLUME>\t<FLAGS>"


def test_an_empty_price_of_metatrader_is_unchanged_where_its_flags_say_so(tmp_path: Path) -> None:
    """MQL5 documents the flags: 2 is a new bid, 4 a new ask."""
    ticks = ["00.351\t1.0351\t\t\t\t2", "00.400\t\t1.0353\t\t\t4", "00.900\t1.035\t\t\t\t2", "01.000\t\t\t1.03\t5\t24"]
    rows = [f"2025.06.02\t00:00:{tick}" for tick in ticks]
    path = plain(tmp_path / "EURUSD_202506020000_202506020100.csv", csv_of(MT5_TICKS, rows, end="\r\n"))
    with pytest.raises(ConfigError, match="carry no time zone"):
        bring(tmp_path, path)
    report = bring(tmp_path, path, timezone="UTC")
    assert report.rows_written == {"metatrader:EUR-USD ticker": 2}
    assert report.ignored == {"rows before both bid and ask are known": 1, "rows without a new bid or ask": 1}
    first_ns, second_ns = time_ns_of("2025-06-02T00:00:00.400Z"), time_ns_of("2025-06-02T00:00:00.900Z")
    assert stored(tmp_path / "data", "ticker") == [
        Ticker("metatrader:EUR-USD", first_ns, first_ns, 1.0351, None, 1.0353, None),
        Ticker("metatrader:EUR-USD", second_ns, second_ns, 1.035, None, 1.0353, None),
    ]
    broken = plain(tmp_path / "x.csv", csv_of(MT5_TICKS, [*rows, "2025.06.02\t00:00:02\t\t1.04\t\t\t6"]))
    with pytest.raises(ConfigError, match="but not with flags that say which of bid and ask changed"):
        import_files(None, [broken], to=tmp_path / "other", timezone="UTC")


# Others ----------------------------------------------------------------------------------------------------------


def test_bitmex_stamps_are_kdbs(files: dict[str, Path], tmp_path: Path) -> None:
    """Nanoseconds after a `D`; sizes of other contracts than XBTUSD need the contract's value."""
    report = bring(tmp_path, files["bitmex/trades"], files["bitmex/quotes"])
    assert report.rows_written == {"bitmex:BTC-USD-SWAP ticker": 50, "bitmex:BTC-USD-SWAP trade": 50}
    at_ns = START_NS + 7 * 10**9 + 180_840_007
    assert stored(tmp_path / "data", "trade")[7] == Trade(
        "bitmex:BTC-USD-SWAP", at_ns, at_ns, 104000.5, 800.0, Side.SELL
    )
    assert stored(tmp_path / "data", "ticker")[1].bid_qty == 200.0
    instrument = Catalog(tmp_path / "data").instruments()["bitmex:BTC-USD-SWAP"]
    assert (instrument.is_inverse, str(instrument.contract_value)) == (True, "1")
    rows = [bitmex_trade(0, symbol="SOLUSDT"), bitmex_trade(1, symbol="SOLUSDT", side=""), "x" + bitmex_trade(2)]
    path = plain(tmp_path / "x.csv", csv_of(BITMEX_TRADES, rows))
    with pytest.raises(ConfigError, match=r"of BitMEX trades, but not with stamps that have a D between date and time"):
        import_files(None, [path], to=tmp_path / "sol")
    path.write_bytes(csv_of(BITMEX_TRADES, rows[:2]))
    with pytest.raises(ConfigError, match="bitmex:SOL-USDT-SWAP: its sizes count contracts"):
        import_files(None, [path], to=tmp_path / "sol")
    report = import_files(None, [path], to=tmp_path / "sol", contract_value="0.0001")
    assert report.ignored == {"trades whose taker's side is not known": 1}


def test_coinbase_answers_with_objects(files: dict[str, Path], tmp_path: Path) -> None:
    """Newest first, texts for numbers; the last one may be open. A list of objects of one's own is a table too."""
    report = bring(tmp_path, files["coinbase/candles"])
    assert report.rows_written == {"coinbase:BTC-USD candle 1m": 39}
    first = stored(tmp_path / "data", "candle")[0]
    assert (first.open_ns, first.open, first.high, first.low, first.close, first.volume) == (
        START_NS, 104000.0, 104010.0, 103990.0, 104005.5, 1.25,
    )  # fmt: skip
    mine = [{"time": START_MS + 60_000 * n, "open": 2, "high": 3, "low": 1, "close": 2, "volume": None} for n in (0, 1)]
    mine[1]["volume"] = 4
    path = plain(tmp_path / "mine.json", json.dumps(mine).encode())
    report = import_files(None, [path], to=tmp_path / "mine", instrument="X-USDT", interval="1m")
    assert (report.format, report.rows_written) == ("candles", {"X-USDT candle 1m": 1})
    assert [(row.line, row.why) for row in report.skipped_rows] == [(2, "volume is missing")]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[{"a": 1}, {"b": 2}]', r"x\.json, object 2: the object has other fields than the first"),
        (b'[{"a": {"b": 2}}]', r"the list is no JSON of rows: .* is no value of a cell"),
        (coinbase_candles(3)[:-9], "the list is no JSON of rows: Input data was truncated"),
    ],
)
def test_wrong_lists_of_objects_are_named(content: bytes, said: str, tmp_path: Path) -> None:
    """With the object."""
    with pytest.raises(ParseError, match=said):
        bring(tmp_path, plain(tmp_path / "x.json", content))


def test_minutes_may_bear_their_close(files: dict[str, Path], tmp_path: Path) -> None:
    """Its header may lack the name of the time; nobody but the user tells closes from opens, unless the name does."""
    report = bring(tmp_path, files["backtrader/minutes"], instrument="FESX", quote="EUR", timezone="UTC")
    assert report.rows_written == {"FESX candle 5m": 9}
    first = stored(tmp_path / "data", "candle")[0]
    assert (first.open_ns, first.close_ns) == (time_ns_of("2025-06-02T09:00Z"), time_ns_of("2025-06-02T09:05Z"))
    assert (first.open, first.volume) == (3602.5, 1.0)
    named = csv_of(BACKTRADER.replace("Date,", "Date,Time,"), backtrader_minutes(9))
    for content in (named, csv_of(BACKTRADER, backtrader_minutes(9))):
        path = plain(tmp_path / "min.txt", content)
        with pytest.raises(ConfigError, match=r"Does each row bear the time at which its candle closed, as backtrader"):
            bring(tmp_path, path, instrument="FESX", quote="EUR", timezone="UTC")
        options = {"instrument": "FESX", "quote": "EUR", "timezone": "UTC", "replace": True}
        import_files("backtrader/minutes-by-open", [path], to=tmp_path / "open", **options)  # type: ignore[arg-type]
        assert stored(tmp_path / "open", "candle")[0].open_ns == time_ns_of("2025-06-02T09:05Z")
    report = import_files(None, [files["backtrader/days"]], to=tmp_path / "days", instrument="FESX", quote="EUR")
    assert report.rows_written == {"FESX candle 1d": 5}


@pytest.mark.parametrize("by_ticker", [False, True])
def test_yfinance_writes_tickers_side_by_side(by_ticker: bool, tmp_path: Path) -> None:
    """Prices over tickers or tickers over prices; an empty cell is a day on which one of them did not trade."""
    path = plain(tmp_path / "wide.csv", yfinance_wide(by_ticker=by_ticker))
    report = bring(tmp_path, path)
    assert report.rows_written == {"yahoo:AAPL candle 1d": 7, "yahoo:BTC-USD candle 1d": 8}
    assert (report.rows_read, report.ignored) == (8, {"rows without open": 1})
    candle = next(each for each in stored(tmp_path / "data", "candle") if each.instrument == "yahoo:AAPL")
    assert (candle.open, candle.high, candle.low, candle.close, candle.volume) == (200.0, 204.0, 198.0, 202.5, 1000.0)
    report = import_files(None, [path], to=tmp_path / "one", only=["yahoo:AAPL"])
    assert report.rows_written == {"yahoo:AAPL candle 1d": 7}
    report = import_files(None, [path], to=tmp_path / "mine", instrument="BTC-USD")
    assert report.rows_written == {"BTC-USD candle 1d": 8}
    wrong = path.read_bytes().replace(b"2025-06-04,202.5", b"2025-06-04,x").replace(b"104005,", b"104005,,", 1)
    report = import_files(None, [plain(tmp_path / "wrong.csv", wrong)], to=tmp_path / "wrong")
    assert sorted((row.line, row.why) for row in report.skipped_rows) == [
        (4, "12 fields where 11 are expected"),
        *([(6, "close 'x' is not a number")]),
    ]


@pytest.mark.parametrize("by_ticker", [False, True])
def test_a_frame_of_yfinance_may_be_kept_as_parquet(by_ticker: bool, tmp_path: Path) -> None:
    """Pandas writes the two levels of its columns as one name."""
    report = bring(tmp_path, yfinance_frame(tmp_path / "prices.parquet", by_ticker=by_ticker))
    assert report.rows_written == {"yahoo:AAPL candle 1d": 7, "yahoo:BTC-USD candle 1d": 8}
    candle = next(each for each in stored(tmp_path / "data", "candle") if each.instrument == "yahoo:AAPL")
    assert (candle.open, candle.high, candle.low, candle.close, candle.volume) == (200.0, 204.0, 198.0, 202.5, 1000.0)
    assert candle.open_ns == time_ns_of("2025-06-02T00:00Z")


def test_a_ticker_without_a_price_is_named(tmp_path: Path) -> None:
    """A frame that was cut by columns."""
    content = yfinance_wide().replace(b"Open,Open", b"Open,Rate").replace(b"Price,Close,Close", b"Price,Close,Close")
    with pytest.raises(ConfigError, match=r"wide\.csv has no column open of BTC-USD"):
        bring(tmp_path, plain(tmp_path / "wide.csv", content))
