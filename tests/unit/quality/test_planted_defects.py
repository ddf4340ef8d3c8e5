"""Each check finds the defect that is planted, with exact count and place, and nothing in good rows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from quality_rows import BTC, START_NS, at, books, candles, checked, found_in, stored, tickers, trades

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S
from quantkit.events import Candle, Funding, Gap, Mark, MarketEvent
from quantkit.quality import CLEAN, FAULTY, UNVERIFIED, FindingPlace
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.writer import Writer

COUNT = 600
#: A block of a few rows, and one of all.
GROUPS = [7, 131_072]


def with_change(rows: list[Any], index: int, **changes: Any) -> list[Any]:
    """Return rows of which one is changed."""
    return [msgspec.structs.replace(row, **changes) if n == index else row for n, row in enumerate(rows)]


def place(root: Path, kind: str, row: int, at_ns: int, to_ns: int | None = None) -> FindingPlace:
    """Return the place of a row in the only file of its kind."""
    (path,) = (entry.path for entry in Catalog(root).entries if entry.kind == kind)
    return FindingPlace(at_ns, to_ns=to_ns, file=path, row=row)


@pytest.mark.parametrize("row_group_rows", GROUPS)
def test_good_rows_have_no_findings(tmp_path: Path, row_group_rows: int) -> None:
    """Numbered rows are clean; tickers, which nobody numbers, cannot be verified, and are not called faulty."""
    rows = trades(COUNT)
    root = stored(tmp_path, rows, tickers(COUNT), books(COUNT), candles(rows, 10), row_group_rows=row_group_rows)
    report = checked(root)
    assert report.findings == []
    verdicts = {each.kind: each.verdict for each in report.streams}
    assert verdicts == {"candle": CLEAN, "book": CLEAN, "ticker": UNVERIFIED, "trade": CLEAN}
    assert report.of(Stream("ticker", BTC)).unverified == (
        "whether rows are missing: tickers have no sequence numbers",
    )
    assert report.verdict == UNVERIFIED


@pytest.mark.parametrize("row_group_rows", GROUPS)
def test_trades_that_are_missing(tmp_path: Path, row_group_rows: int) -> None:
    """Three of consecutive ids: one gap, four seconds long."""
    rows = trades(COUNT)
    root = stored(tmp_path, rows[:100] + rows[103:], row_group_rows=row_group_rows)
    (finding,) = checked(root).findings
    assert (finding.code, finding.count, finding.severity) == ("sequence_gap", 1, "warning")
    assert finding.places == (place(root, "trade", 100, at(99), at(103)),)
    assert finding.what.startswith("3 trades missing in 1 sequence gap of the trade id, 4s in all")
    assert checked(root).verdict == FAULTY


@pytest.mark.parametrize("row_group_rows", GROUPS)
def test_a_trade_that_comes_twice(tmp_path: Path, row_group_rows: int) -> None:
    rows = trades(COUNT)
    again = msgspec.structs.replace(rows[40], received_ns=at(60.5), exchange_ns=at(60.5))
    root = stored(tmp_path, [*rows[:61], again, *rows[61:]], row_group_rows=row_group_rows)
    finding = found_in(root)["duplicate_id"]
    assert (finding.count, finding.places) == (1, (place(root, "trade", 61, at(60.5)),))


@pytest.mark.parametrize("row_group_rows", GROUPS)
def test_a_stale_spell(tmp_path: Path, row_group_rows: int) -> None:
    """Fifteen minutes without a trade, where one came each second."""
    late_ns = 900 * NS_PER_S
    rows = [
        msgspec.structs.replace(row, received_ns=row.received_ns + late_ns, exchange_ns=row.exchange_ns + late_ns)
        if n >= 300
        else row
        for n, row in enumerate(trades(COUNT))
    ]
    root = stored(tmp_path, rows, row_group_rows=row_group_rows)
    finding = found_in(root)["stale"]
    assert (finding.count, finding.severity) == (1, "warning")
    assert finding.places == (place(root, "trade", 300, at(299), at(300 + 900)),)
    # A gap row that tells of it is the one finding then.
    now = at(299.5)
    told = stored(tmp_path / "told", rows, [Gap(BTC, now, now, "trade", now, at(1200), "lost")])
    assert set(found_in(told, kinds=["trade"])) == {"gap"}


@pytest.mark.parametrize("row_group_rows", GROUPS)
@pytest.mark.parametrize(("column", "value"), [("price", 1050.0), ("price", 10.5)])
def test_an_outlier(tmp_path: Path, row_group_rows: int, column: str, value: float) -> None:
    """A price ten times too high or low, and the rows around it are good."""
    root = stored(tmp_path, with_change(trades(COUNT), 123, **{column: value}), row_group_rows=row_group_rows)
    finding = found_in(root)["outlier"]
    assert (finding.count, finding.places) == (1, (place(root, "trade", 123, at(123)),))


@pytest.mark.parametrize("index", [0, 1, 5, 595, 599])
def test_an_outlier_at_either_end(tmp_path: Path, index: int) -> None:
    root = stored(tmp_path, with_change(trades(COUNT), index, price=1050.0), row_group_rows=7)
    finding = found_in(root)["outlier"]
    assert (finding.count, finding.places) == (1, (place(root, "trade", index, at(index)),))


@pytest.mark.parametrize("row_group_rows", GROUPS)
@pytest.mark.parametrize("quotes", [tickers, books])
def test_a_trade_outside_of_the_spread(
    tmp_path: Path, row_group_rows: int, quotes: Callable[[int], list[MarketEvent]]
) -> None:
    """Two per cent above every ask of its last second; a level that a sweep reaches is none."""
    rows = with_change(with_change(trades(COUNT), 77, price=108.5), 78, price=106.5)
    root = stored(tmp_path, rows, quotes(COUNT), row_group_rows=row_group_rows)
    finding = found_in(root)["outside_spread"]
    assert (finding.count, finding.places) == (1, (place(root, "trade", 77, at(77)),))


def test_quotes_that_come_later_do_not_count(tmp_path: Path) -> None:
    """A trade goes by the quote that was known, though the next one holds it."""
    quotes = [
        msgspec.structs.replace(row, bid=row.bid + 5, ask=row.ask + 5) if n >= 78 else row  # type: ignore[operator]
        for n, row in enumerate(tickers(COUNT))
    ]
    rows = [msgspec.structs.replace(row, price=108.5) if n >= 77 else row for n, row in enumerate(trades(COUNT))]
    root = stored(tmp_path, rows, quotes)
    finding = found_in(root)["outside_spread"]
    assert (finding.count, finding.places) == (1, (place(root, "trade", 77, at(77)),))


@pytest.mark.parametrize("row_group_rows", [1, *GROUPS])
def test_an_order_that_sweeps_levels_is_not_outside(tmp_path: Path, row_group_rows: int) -> None:
    """It goes step by step beyond every quote of its second; two trades that begin out there are both outside."""
    rows = trades(COUNT)
    for begin, prices in ((77, (106.0, 107.0, 108.0, 108.5)), (177, (108.5, 108.5))):
        stamp = {"received_ns": at(begin), "exchange_ns": at(begin) - 1000, "side": rows[0].side}
        for n, price in enumerate(prices):
            rows = with_change(rows, begin + n, price=price, **stamp)
    root = stored(tmp_path, rows, tickers(COUNT), row_group_rows=row_group_rows)
    finding = found_in(root)["outside_spread"]
    assert [each.row for each in finding.places] == [177, 178]


@pytest.mark.parametrize("row_group_rows", GROUPS)
def test_a_chain_of_updates_that_breaks(tmp_path: Path, row_group_rows: int) -> None:
    rows = books(COUNT)
    root = stored(tmp_path, rows[:50] + rows[52:], row_group_rows=row_group_rows)
    (finding,) = checked(root).findings
    assert (finding.code, finding.count) == ("sequence_gap", 1)
    assert finding.places == (place(root, "book", 50, at(48), at(51)),)


@pytest.mark.parametrize("row_group_rows", GROUPS)
def test_a_crossed_book(tmp_path: Path, row_group_rows: int) -> None:
    """A level that is never removed crosses the book until it goes, three rows later."""
    rows = books(COUNT)
    rows = with_change(rows, 30, bid_prices=(107.0,), bid_qtys=(1.0,))
    rows = with_change(rows, 33, bid_prices=(107.0,), bid_qtys=(0.0,))
    root = stored(tmp_path, rows, row_group_rows=row_group_rows)
    finding = found_in(root)["crossed"]
    assert (finding.count, finding.places[0]) == (3, place(root, "book", 30, at(29)))


@pytest.mark.parametrize("row_group_rows", GROUPS)
def test_a_one_sided_book(tmp_path: Path, row_group_rows: int) -> None:
    rows = books(COUNT)
    rows = with_change(rows, 30, ask_prices=(106.0, 106.5), ask_qtys=(0.0, 0.0))
    root = stored(tmp_path, rows, row_group_rows=row_group_rows)
    finding = found_in(root)["one_sided"]
    assert (finding.count, finding.places) == (1, (place(root, "book", 30, at(29)),))


def test_a_crossed_and_a_one_sided_ticker(tmp_path: Path) -> None:
    rows = with_change(with_change(tickers(COUNT), 10, bid=101.0, ask=100.5), 20, bid=None, bid_qty=None)
    root = stored(tmp_path, rows)
    findings = found_in(root)
    moments = {n: rows[n].received_ns for n in (10, 20)}
    assert findings["crossed"].places == (place(root, "ticker", 10, moments[10]),)
    assert findings["one_sided"].places == (place(root, "ticker", 20, moments[20]),)


@pytest.mark.parametrize("row_group_rows", GROUPS)
def test_a_ticker_that_hangs(tmp_path: Path, row_group_rows: int) -> None:
    """The same quote for six minutes, though rows come."""
    rows = [
        msgspec.structs.replace(row, bid_qty=1.0, ask_qty=1.0) if 100 <= n <= 460 else row
        for n, row in enumerate(tickers(COUNT))
    ]
    root = stored(tmp_path, rows, row_group_rows=row_group_rows)
    finding = found_in(root)["frozen"]
    assert (finding.count, finding.places) == (1, (FindingPlace(rows[100].received_ns, to_ns=rows[460].received_ns),))


def test_a_row_that_equals_the_one_before(tmp_path: Path) -> None:
    rows = tickers(COUNT)
    root = stored(tmp_path, [*rows[:5], *rows[4:]])
    finding = found_in(root)["duplicate_row"]
    assert (finding.count, finding.places) == (1, (place(root, "ticker", 5, rows[4].received_ns),))


@pytest.mark.parametrize("row_group_rows", GROUPS)
def test_clocks_that_are_apart_or_go_back(tmp_path: Path, row_group_rows: int) -> None:
    rows = with_change(trades(COUNT), 40, exchange_ns=at(45))
    rows = with_change(rows, 50, exchange_ns=at(50) - 90 * NS_PER_S)
    findings = found_in(stored(tmp_path, rows, row_group_rows=row_group_rows))
    trade = Stream("trade", BTC)
    assert {code: finding.count for code, finding in findings.items()} == {"clock_ahead": 1, "late": 1, "clock_back": 2}
    assert [each.row for each in findings["clock_ahead"].places] == [40]
    assert [each.row for each in findings["late"].places] == [50]
    assert [each.row for each in findings["clock_back"].places] == [41, 50]
    assert all(finding.stream == str(trade) for finding in findings.values())


@pytest.mark.parametrize("row_group_rows", GROUPS)
@pytest.mark.parametrize(("name", "value"), [("open", 100.5), ("low", 90.0), ("volume", 1.0), ("close", 103.0)])
def test_a_candle_that_differs_from_its_trades(tmp_path: Path, row_group_rows: int, name: str, value: float) -> None:
    rows = trades(COUNT)
    bars = with_change(candles(rows, 10), 4, **{name: value})
    root = stored(tmp_path, rows, bars, row_group_rows=row_group_rows)
    finding = found_in(root)["candle_differs"]
    assert (finding.count, finding.places) == (1, (place(root, "candle", 4, START_NS + 4 * NS_PER_MIN),))
    # The last trade comes before the last close, so the last candle may have more.
    assert f"1 candle of 9 differ from the trades that they summarise ({name} of 1)" in finding.what


def test_candles_in_another_unit_than_their_trades(tmp_path: Path) -> None:
    """Contracts and coins differ by a factor, which is no fault; a candle off that factor is one."""
    rows = trades(COUNT)
    bars = [msgspec.structs.replace(bar, volume=bar.volume / 100) for bar in candles(rows, 10)]
    assert "candle_differs" not in found_in(stored(tmp_path / "good", rows, bars))
    finding = found_in(stored(tmp_path / "bad", rows, with_change(bars, 3, volume=9.0)))["candle_differs"]
    assert (finding.count, finding.places[0].at_ns) == (1, START_NS + 3 * NS_PER_MIN)
    assert finding.what.endswith("one unit of their volume is 100 of the trades'")


def test_flat_candles_for_long(tmp_path: Path) -> None:
    """Ten of them; nine are a quiet time."""
    flat = {"open": 101.0, "high": 101.0, "low": 101.0, "close": 101.0, "volume": 0.0}
    bars = [
        Candle(
            BTC, at(60 * n + 60), at(60 * n + 60), at(60 * n), at(60 * n + 60), 101.0, 102.0, 100.0, 101.5, 5.0, "1m"
        )
        for n in range(60)
    ]
    for n in (*range(5, 14), *range(30, 40)):
        bars = with_change(bars, n, **flat)
    for name, groups in (("one", 100), ("many", 3)):
        root = stored(tmp_path / name, bars, row_group_rows=groups)
        finding = found_in(root)["flat"]
        assert (finding.count, finding.places) == (1, (place(root, "candle", 30, at(1800)),))
        assert "10 candles in all" in finding.what


def test_settlements_that_are_missing(tmp_path: Path) -> None:
    step_ns = NS_PER_DAY // 3
    moments = [START_NS + n * step_ns for n in range(12) if n not in (5, 6)]
    root = stored(tmp_path, [Funding(BTC, ns, ns, 1e-4, ns, True) for ns in moments])
    finding = found_in(root)["missing_settlement"]
    assert finding.count == 2
    assert finding.places == (FindingPlace(moments[4], to_ns=moments[5]),)


def test_a_span_and_a_choice_of_streams(tmp_path: Path) -> None:
    """What lies outside is not looked at, and nothing is said of it."""
    rows = with_change(trades(COUNT), 123, price=1050.0)
    root = stored(tmp_path, rows, with_change(tickers(COUNT), 10, bid=100.0, ask=99.5))
    assert set(found_in(root, kinds=["ticker"])) == {"crossed", "outlier"}
    assert set(found_in(root, kinds=["trade"], start_ns=at(100), end_ns=at(200))) == {"outlier"}
    assert found_in(root, start_ns=at(200)) == {}
    (ticker,) = checked(root, kinds=["ticker"], start_ns=at(100), end_ns=at(200)).streams
    assert (ticker.rows, ticker.start_ns) == (100, rows[101].received_ns - 1_000_000)


def test_marks_of_one_moment_from_two_sources_are_no_doubles(tmp_path: Path) -> None:
    rows = [Mark(BTC, at(n), at(n), 100.5, source) for n in range(200) for source in ("mark", "index")]
    assert found_in(stored(tmp_path, rows)) == {}


def test_candles_that_the_source_does_not_have(tmp_path: Path) -> None:
    """A hole that a download asked for is no fault of the folder; one that nobody asked for may be."""
    bars = candles(trades(COUNT), 10)
    root = stored(tmp_path, [bar for n, bar in enumerate(bars) if n not in (3, 6)])
    candle = Stream("candle", BTC, "1m")
    with Writer(root) as writer:
        writer.asked(candle, START_NS, START_NS + 4 * NS_PER_MIN, source="okx")
    told, missing = sorted(checked(root).findings, key=lambda finding: finding.severity)
    assert (told.severity, told.count, told.places[0].at_ns) == ("info", 1, START_NS + 3 * NS_PER_MIN)
    assert (missing.severity, missing.count, missing.places[0].at_ns) == ("warning", 1, START_NS + 6 * NS_PER_MIN)
