"""Files of Binance, Bybit and Tardis: the right rows, the right names, and what is wrong with the makers' files."""

from pathlib import Path
from typing import Any

import pytest
from format_files import (
    BINANCE_AGGREGATES,
    BINANCE_FUNDING,
    BINANCE_KLINES,
    BINANCE_TICKERS,
    BINANCE_TRADES,
    BYBIT_SPOT,
    BYBIT_TRADES,
    START_MS,
    START_S,
    TARDIS,
    binance_aggregate,
    binance_kline,
    binance_samples,
    binance_trade,
    bybit_books,
    bybit_samples,
    bybit_trade,
    csv_of,
    packed,
    plain,
    tardis_book,
    tardis_row,
    tardis_samples,
    zipped,
)

from quantkit.errors import ConfigError, DataError
from quantkit.events import BookUpdate, Candle, Funding, Gap, Mark, Ticker, Trade
from quantkit.importers import ImportReport, import_files
from quantkit.instruments import Side
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

FAR_NS = 2**62
START_NS = START_MS * 1_000_000
MS = 1_000_000
MINUTE_NS = 60_000 * MS


def stored(root: Path, kind: str) -> list[Any]:
    """Return every stored event of a kind."""
    catalog = Catalog(root)
    return list(read_events(catalog, [each for each in catalog.coverage() if each.kind == kind], 0, FAR_NS))


def bring(tmp_path: Path, *files: Path, **options: Any) -> ImportReport:
    """Import files by their content."""
    return import_files(None, list(files), to=tmp_path / "data", **options)


# Binance -----------------------------------------------------------------------------------------------------------


def test_klines_of_years_with_and_without_header_and_unit(tmp_path: Path) -> None:
    """Spot without a header, first in milliseconds, then in microseconds; both kinds in one month."""
    spot = tmp_path / "data.binance" / "spot" / "monthly"
    old = plain(spot / "BTCUSDT-1m-2024-12.csv", csv_of("", [binance_kline(minute) for minute in range(10)]))
    new = plain(
        spot / "BTCUSDT-1m-2025-01.csv",
        csv_of("", [binance_kline(m, unit=1 if m < 15 else 1_000) for m in range(8, 30)]),
    )
    report = bring(tmp_path, new, old)
    assert report.rows_written == {"binance:BTC-USDT candle 1m": 22 + 8}
    assert report.ignored == {"rows that came before, in another file or the same": 2}
    first = stored(tmp_path / "data", "candle")[0]
    close_ns = START_NS + MINUTE_NS
    assert first == Candle(
        "binance:BTC-USDT", close_ns, close_ns, START_NS, close_ns, 104000.1, 104010.0, 103990.0, 104005.0, 12.5, "1m"
    )
    assert stored(tmp_path / "data", "gap") == []


def test_a_missing_kline_is_a_gap(tmp_path: Path) -> None:
    """Binance writes quiet minutes, so that a missing one is lost."""
    rows = [binance_kline(minute) for minute in range(30) if minute not in (7, 8)]
    report = bring(tmp_path, plain(tmp_path / "BTCUSDT-1m-2025-06-01.csv", csv_of(BINANCE_KLINES, rows)))
    assert report.rows_written == {"binance:BTC-USDT-SWAP candle 1m": 28, "binance:BTC-USDT-SWAP gap": 1}


def test_intervals_come_from_the_name(tmp_path: Path) -> None:
    """One candle is enough then; lengths that are not ours are refused."""
    row = csv_of(BINANCE_KLINES, [binance_kline(0)])
    report = bring(tmp_path, plain(tmp_path / "ETHUSDT-1m-2025-06-01.csv", row))
    assert report.rows_written == {"binance:ETH-USDT-SWAP candle 1m": 1}
    with pytest.raises(ConfigError, match=r"BTCUSDT-3d-2025-06\.csv has candles of 3d, which are not stored"):
        bring(tmp_path, plain(tmp_path / "BTCUSDT-3d-2025-06.csv", row))


def test_contracts_are_named_by_their_symbols(tmp_path: Path) -> None:
    """Linear and inverse, perpetual and dated; a coin-margined one has its value in dollars."""
    row = csv_of(BINANCE_AGGREGATES, [binance_aggregate(number, spot=False) for number in range(5)])
    symbols = ("BTCUSDT", "BTCUSDT_250627", "BTCUSD_PERP", "ETHUSD_250627", "1000SHIBUSDT")
    report = bring(tmp_path, *(plain(tmp_path / f"{each}-aggTrades-2025-06-01.csv", row) for each in symbols))
    names = ("BTC-USDT-SWAP", "BTC-USDT-250627", "BTC-USD-SWAP", "ETH-USD-250627", "1000SHIB-USDT-SWAP")
    assert sorted(report.rows_written) == sorted(f"binance:{name} trade" for name in names)
    found = Catalog(tmp_path / "data").instruments()
    inverse = found["binance:BTC-USD-SWAP"]
    assert (inverse.kind, inverse.is_inverse, str(inverse.contract_value), inverse.settle) == (
        "swap",
        True,
        "100",
        "BTC",
    )
    assert str(found["binance:ETH-USD-250627"].contract_value) == "10"
    assert (found["binance:BTC-USDT-SWAP"].kind, str(found["binance:BTC-USDT-SWAP"].unit)) == ("swap", "1")


def test_a_buyer_that_was_the_maker_was_sold_to(tmp_path: Path) -> None:
    """In every form of trades, spot and futures, old and new."""
    forms = {
        "spot-aggTrades": csv_of("", [binance_aggregate(number, unit=1_000) for number in range(20)]),
        "um-aggTrades": csv_of(BINANCE_AGGREGATES, [binance_aggregate(number, spot=False) for number in range(20)]),
        "old-aggTrades": csv_of("", [binance_aggregate(number, spot=False) for number in range(20)]),
        "spot-trades": csv_of("", [binance_trade(number, unit=1_000) for number in range(20)]),
        "um-trades": csv_of(BINANCE_TRADES, [binance_trade(number, spot=False) for number in range(20)]),
        "old-trades": csv_of("", [binance_trade(number, spot=False) for number in range(20)]),
    }
    for name, content in forms.items():
        kind = name.partition("-")[2]
        path = zipped(tmp_path / name / f"BTCUSDT-{kind}-2025-06-01.zip", {f"BTCUSDT-{kind}-2025-06-01.csv": content})
        import_files(None, [path], to=tmp_path / f"data-{name}")
        instrument = "binance:BTC-USDT" if name.startswith("spot") else "binance:BTC-USDT-SWAP"
        first, second = stored(tmp_path / f"data-{name}", "trade")[:2]
        number = 5000 if kind == "aggTrades" else 7000
        assert first == Trade(instrument, START_NS, START_NS, 104000.0, 0.001, Side.SELL, number), name
        assert (second.side, second.exchange_ns - START_NS) == (Side.BUY, 100 * MS), name


def test_a_file_with_one_side_only_is_refused(tmp_path: Path) -> None:
    """Since July 2026 files of single trades say that the buyer was the maker in every row."""
    rows = [binance_trade(number, spot=False, maker=True) for number in range(1_200)]
    path = plain(tmp_path / "BTCUSDT-trades-2026-07-04.csv", csv_of(BINANCE_TRADES, rows))
    with pytest.raises(DataError, match=r"all 1,200 trades have one side; since July 2026 .* aggTrades have the sides"):
        bring(tmp_path, path)
    assert not (tmp_path / "data").exists()
    few = plain(tmp_path / "BTCUSDT-trades-2026-07-05.csv", csv_of(BINANCE_TRADES, rows[:50]))
    assert bring(tmp_path, few).rows_written == {"binance:BTC-USDT-SWAP trade": 50}


def test_single_and_aggregate_trades_are_not_mixed(tmp_path: Path) -> None:
    """They would fill one stream with every trade twice, under other ids."""
    files = binance_samples(tmp_path)
    with pytest.raises(
        ConfigError, match=r"every trade would come twice; import binance/futures-aggtrades or binance/futu"
    ):
        bring(tmp_path, files["binance/futures-aggtrades"], files["binance/futures-trades"])
    report = bring(tmp_path, files["binance/futures-aggtrades"], files["binance/spot-trades"])
    assert sorted(report.rows_written) == ["binance:BTC-USDT trade", "binance:BTC-USDT-SWAP trade"]


def test_sizes_of_zero_are_shown_with_their_line(tmp_path: Path) -> None:
    """As in May 2023, when rows were also interleaved by time."""
    rows = [binance_aggregate(number, spot=False) for number in range(60)]
    rows = rows[0::2] + rows[1::2]
    cells = rows[10].split(",")
    rows[10] = ",".join([*cells[:2], "0", *cells[3:]])
    report = bring(tmp_path, plain(tmp_path / "BTCUSDT-aggTrades-2023-05-01.csv", csv_of(BINANCE_AGGREGATES, rows)))
    assert [(row.line, row.why) for row in report.skipped_rows] == [(12, "size is not above zero")]
    assert [each.trade_id for each in stored(tmp_path / "data", "trade")] == [5000 + n for n in range(60) if n != 20]
    assert any("29 rows stood up to 5.7 s behind" in sentence for sentence in report.warnings)


def test_marks_of_klines_are_known_at_their_close(tmp_path: Path) -> None:
    """Mark and index prices are one kind with two sources."""
    files = binance_samples(tmp_path)
    report = bring(tmp_path, files["binance/mark-klines"], files["binance/index-klines"])
    assert report.rows_written == {"binance:BTC-USDT-SWAP mark": 100}
    found = stored(tmp_path / "data", "mark")
    at_ns = START_NS + MINUTE_NS
    assert sorted(found[:2], key=lambda mark: mark.source) == [
        Mark("binance:BTC-USDT-SWAP", at_ns, at_ns, 104005.0, source) for source in ("index", "mark")
    ]


def test_funding_of_binance_loses_its_jitter(tmp_path: Path) -> None:
    """Some milliseconds; the interval changes within a file."""
    hours = (0, 8, 16, 20, 24)
    rows = [f"{START_MS + hour * 3_600_000 + late},8,{hour}e-6" for late, hour in enumerate(hours)]
    report = bring(tmp_path, plain(tmp_path / "BTCUSDT-fundingRate-2025-06.csv", csv_of(BINANCE_FUNDING, rows)))
    assert report.rows_written == {"binance:BTC-USDT-SWAP funding": 5}
    at_ns = START_NS + 20 * 60 * MINUTE_NS
    assert stored(tmp_path / "data", "funding")[3] == Funding("binance:BTC-USDT-SWAP", at_ns, at_ns, 20e-6, at_ns, True)
    other = plain(
        tmp_path / "BTCUSDT-fundingRate-2025-07.csv", csv_of(BINANCE_FUNDING, [rows[3].replace("20e-6", "1e-6")])
    )
    with pytest.raises(DataError, match=r"06\.csv:5 and .*07\.csv:2 both have the settlement of 2025-06-01T20:00:00Z"):
        import_files(None, [tmp_path / "BTCUSDT-fundingRate-2025-06.csv", other], to=tmp_path / "other")


def test_best_bid_and_offer_has_two_clocks(tmp_path: Path) -> None:
    """Of the matching and of the sending; the second is the receipt."""
    rows = [f"{900 + n},104000.1,{n + 1},104000.2,2.5,{START_MS + n},{START_MS + n + 3}" for n in (1, 0, 2)]
    report = bring(tmp_path, plain(tmp_path / "BTCUSDT-bookTicker-2024-01-01.csv", csv_of(BINANCE_TICKERS, rows)))
    assert report.rows_written == {"binance:BTC-USDT-SWAP ticker": 3}
    first = stored(tmp_path / "data", "ticker")[0]
    assert first == Ticker("binance:BTC-USDT-SWAP", START_NS, START_NS + 3 * MS, 104000.1, 1.0, 104000.2, 2.5)


# Bybit -------------------------------------------------------------------------------------------------------------


def test_bybit_stamps_are_seconds_with_a_fraction(tmp_path: Path) -> None:
    """Taken as text, so that no digit is lost; the id is a UUID, which is no number of ours."""
    files = bybit_samples(tmp_path)
    report = bring(tmp_path, files["bybit/linear-trades"], files["bybit/inverse-trades"])
    assert report.rows_written == {"bybit:BTC-USD-SWAP trade": 50, "bybit:BTC-USDT-SWAP trade": 50}
    found = [each for each in stored(tmp_path / "data", "trade") if each.instrument == "bybit:BTC-USDT-SWAP"]
    at_ns = (START_S + 7) * 10**9 + 700_000
    assert found[7] == Trade("bybit:BTC-USDT-SWAP", at_ns, at_ns, 104000.0, 0.008, Side.SELL)
    inverse = Catalog(tmp_path / "data").instruments()["bybit:BTC-USD-SWAP"]
    assert (inverse.is_inverse, str(inverse.contract_value)) == (True, "1")


def test_sizes_that_are_neither_coins_nor_dollars_are_refused(tmp_path: Path) -> None:
    """The equality that tells linear from inverse holds in every row."""
    rows = [bybit_trade(number) for number in range(20)]
    cells = rows[11].split(",")
    rows[11] = ",".join([*cells[:3], "9", *cells[4:]])
    with pytest.raises(
        ConfigError, match="has the columns of Bybit trades of linear contracts, but not with sizes equal"
    ):
        bring(tmp_path, plain(tmp_path / "BTCUSDT2025-06-01.csv", csv_of(BYBIT_TRADES, rows)))


def test_days_of_trades_without_ids_overlap_only_between_files(tmp_path: Path) -> None:
    """Two equal rows of one file are two trades; those that two files hold are one."""
    same = f"1,{START_MS},104000.1,0.5,buy"
    rows = [same, same, *(f"{n},{START_MS + n},104000.1,0.5,sell" for n in range(1, 9))]
    month = plain(tmp_path / "BTCUSDT-2025-06.csv.gz", packed(csv_of(BYBIT_SPOT, rows)))
    day = plain(tmp_path / "BTCUSDT_2025-06-01.csv.gz", packed(csv_of(BYBIT_SPOT, rows[:5])))
    report = bring(tmp_path, month, day)
    assert report.rows_written == {"bybit:BTC-USDT trade": 10}
    assert report.ignored == {"rows that came before, in another file or the same": 5}


def test_candles_for_metatrader_ask_for_their_zone(tmp_path: Path) -> None:
    """Nobody says in it which clock they follow."""
    path = bybit_samples(tmp_path)["bybit/metatrader"]
    with pytest.raises(ConfigError, match="carry no time zone; say which one they are in, for example --timezone UTC"):
        bring(tmp_path, path)
    assert bring(tmp_path, path, timezone="UTC").rows_written == {"bybit:BTC-USDT-SWAP candle 15m": 50}


def test_a_hole_in_a_book_of_bybit_is_a_gap(tmp_path: Path) -> None:
    """Update ids rise by one; after a hole the book is out until the next snapshot."""
    content = bybit_books(10, skip=4) + bybit_books(10).replace(b'"u": 1', b'"u": 2')
    shifted = content.splitlines()
    path = zipped(tmp_path / "2025-06-01_BTCUSDT_ob500.data.zip", {"a.data": b"\n".join(shifted[:9])})
    report = bring(tmp_path, path)
    assert report.rows_written == {"bybit:BTC-USDT-SWAP book": 4, "bybit:BTC-USDT-SWAP gap": 1}
    assert report.checked == {"sequence links": 3 + 4}
    assert report.ignored["changes of a book without a snapshot before them"] == 4
    first = stored(tmp_path / "data", "book")[0]
    assert first == BookUpdate(
        "bybit:BTC-USDT-SWAP",
        START_NS,
        START_NS + 5 * MS,
        (104000.1, 104000.0),
        (1.0, 4.0),
        (104000.2,),
        (2.5,),
        True,
        100,
    )
    (gap,) = stored(tmp_path / "data", "gap")
    assert isinstance(gap, Gap)
    assert gap.cause == "update 105 follows 103"


# Tardis ------------------------------------------------------------------------------------------------------------


def test_tardis_has_both_clocks(tmp_path: Path) -> None:
    """The receipt orders the rows; sizes of swaps are contracts, whose value the user knows."""
    files = tardis_samples(tmp_path)
    with pytest.raises(ConfigError, match="BTC-USDT-SWAP: its sizes count contracts"):
        bring(tmp_path, files["tardis/trades"])
    options = {"contract_value": "0.01"}
    report = bring(
        tmp_path, *(files[f"tardis/{kind}"] for kind in ("trades", "quotes", "derivative-ticker")), **options
    )
    assert report.rows_written == {
        "BTC-USDT-SWAP trade": 50, "BTC-USDT-SWAP ticker": 50, "BTC-USDT-SWAP mark": 50
    }  # fmt: skip
    late_ns = 4_211_000
    name = "BTC-USDT-SWAP"
    assert stored(tmp_path / "data", "trade")[0] == Trade(
        name, START_NS, START_NS + late_ns, 104000.0, 1.0, Side.SELL, 1
    )
    assert stored(tmp_path / "data", "ticker")[0] == Ticker(
        name, START_NS, START_NS + late_ns, 104000.1, 1.0, 104000.2, 3.0
    )
    assert stored(tmp_path / "data", "mark")[0] == Mark(name, START_NS, START_NS + late_ns, 104000.5)
    assert report.ignored == {
        "rates of a settlement that the rows end long before": 1,
        "rates that were not the last before a settlement": 49,
    }


def test_the_last_rate_before_its_settlement_is_the_one_paid(tmp_path: Path) -> None:
    """Of rates that change until then."""
    due = (START_S + 600) * 1_000_000
    header = "funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,mark_price"
    rows = [tardis_row(n * 100, f"{due},0.000{n},,,,,") for n in range(60)]
    rows += [tardis_row(6_100, f"{due + 28_800_000_000},0.0009,,,,,104000.5")]
    path = plain(tmp_path / "okex-swap_derivative_ticker_2025-06-01_BTC-USDT-SWAP.csv", csv_of(TARDIS + header, rows))
    report = bring(tmp_path, path, contract_value="0.01")
    assert report.rows_written == {"BTC-USDT-SWAP funding": 1, "BTC-USDT-SWAP mark": 1}
    (funding,) = stored(tmp_path / "data", "funding")
    assert (funding.rate, funding.funding_ns) == (0.00059, due * 1_000)


def test_a_settlement_between_two_files_is_one(tmp_path: Path) -> None:
    """The next day's first row may still tell the old one, at another rate."""
    due = (START_S + 600) * 1_000_000
    header = "funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,mark_price"
    first = [tardis_row(n * 100, f"{due},0.000{n},,,,,") for n in range(60)]
    second = [tardis_row(6_001, f"{due},0.0007,,,,,"), tardis_row(6_100, f"{due + 28_800_000_000},0.0009,,,,,")]
    paths = [
        plain(tmp_path / f"okex-swap_derivative_ticker_2025-06-0{day}_X.csv", csv_of(TARDIS + header, rows))
        for day, rows in ((1, first), (2, second))
    ]
    bring(tmp_path, *reversed(paths), contract_value="0.01")
    assert [each.rate for each in stored(tmp_path / "data", "funding")] == [0.00059]


def test_rates_of_two_formats_are_one_stream(tmp_path: Path) -> None:
    """Settled ones of OKX beside those that Tardis tells until they are settled: none is lost, none comes twice."""
    due = (START_S + 600) * 1_000_000
    header = "funding_timestamp,funding_rate,predicted_funding_rate,open_interest,last_price,index_price,mark_price"
    told = [tardis_row(n * 100, f"{due},0.000{n},,,,,") for n in range(60)] + [tardis_row(6_100, f"{due},0.1,,,,,")]
    tardis = plain(tmp_path / "okex-swap_derivative_ticker_2025-06-01_X.csv", csv_of(TARDIS + header, told))
    settled = [f"BTC-USDT-SWAP,{rate},{START_MS + minute * 60_000}" for rate, minute in ((0.00059, 10), (0.0002, 490))]
    okx = plain(tmp_path / "okx.csv", csv_of("instrument_name,funding_rate,funding_time", settled))
    report = bring(tmp_path, okx, tardis, contract_value="0.01")
    assert report.rows_written == {"BTC-USDT-SWAP funding": 2}
    assert [each.rate for each in stored(tmp_path / "data", "funding")] == [0.00059, 0.0002]


def test_incremental_books_begin_with_a_snapshot(tmp_path: Path) -> None:
    """Rows of one receipt are one message; what comes before is skipped, and a later snapshot replaces all."""
    rows = [
        tardis_book(0, "bid", 103000.0, 1),
        tardis_book(1, "ask", 104000.2, 5, snapshot=True),
        tardis_book(1, "ask", 104000.3, 0, snapshot=True),
        tardis_book(1, "bid", 104000.1, 4, snapshot=True),
        tardis_book(2, "bid", 104000.1, 0),
        tardis_book(2, "bid", 104000.0, 7),
        tardis_book(3, "ask", 104000.4, 2),
        tardis_book(4, "bid", 103999.0, 3, snapshot=True),
        tardis_book(4, "ask", 103999.5, 3, snapshot=True),
    ]
    path = plain(tmp_path / "x.csv.gz", packed(csv_of(TARDIS + "is_snapshot,side,price,amount", rows)))
    report = bring(tmp_path, path, contract_value="0.01")
    assert report.rows_written == {"BTC-USDT-SWAP book": 4}
    assert report.ignored == {"changes of a book without a snapshot before them": 1}
    name, at_ns, late_ns = "BTC-USDT-SWAP", START_NS + 100 * MS, 4_211_000
    assert stored(tmp_path / "data", "book")[:2] == [
        BookUpdate(name, at_ns, at_ns + late_ns, (104000.1,), (4.0,), (104000.2,), (5.0,), True),
        BookUpdate(
            name, at_ns * 2 - START_NS, at_ns * 2 - START_NS + late_ns, (104000.1, 104000.0), (0.0, 7.0), (), (), False
        ),
    ]
    assert [each.is_snapshot for each in stored(tmp_path / "data", "book")] == [True, False, False, True]


def test_snapshots_take_their_levels_in_turn(tmp_path: Path) -> None:
    """Ask before bid in each; an empty cell is no level."""
    header = TARDIS + ",".join(
        f"{side}[{n}].{what}" for n in range(2) for side in ("asks", "bids") for what in ("price", "amount")
    )
    rows = [tardis_row(0, "104000.2,5,104000.1,4,104000.3,6,,"), tardis_row(1, "104000.2,-5,104000.1,4,,,,")]
    report = bring(tmp_path, plain(tmp_path / "x.csv", csv_of(header, rows)), contract_value="0.01")
    assert report.rows_written == {"BTC-USDT-SWAP book": 1}
    assert [(row.line, row.why) for row in report.skipped_rows] == [(3, "a size is below zero")]
    (book,) = stored(tmp_path / "data", "book")
    assert (book.bid_prices, book.ask_prices, book.ask_qtys, book.is_snapshot) == (
        (104000.1,), (104000.2, 104000.3), (5.0, 6.0), True
    )  # fmt: skip


def test_trades_without_a_side_are_left_out(tmp_path: Path) -> None:
    """They are counted; a side is nothing to guess."""
    rows = [tardis_row(n, f"{n},{side},104000.1,2") for n, side in enumerate(("buy", "unknown", "sell"))]
    path = plain(tmp_path / "binance_trades_2025-06-01_BTCUSDT.csv", csv_of(TARDIS + "id,side,price,amount", rows))
    text = path.read_text().replace("okex-swap,BTC-USDT-SWAP", "binance,BTCUSDT")
    path.write_text(text)
    report = bring(tmp_path, path)
    assert report.rows_written == {"binance:BTC-USDT trade": 2}
    assert report.ignored == {"trades whose taker's side is not known": 1}
