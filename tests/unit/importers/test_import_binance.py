"""Binance captures: splicing the snapshot into the diffs, broken chains, clocks, markets and trades."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quantkit.errors import ConfigError, DataError, ParseError
from quantkit.events import BookUpdate, Gap, MarketEvent, Ticker, Trade
from quantkit.importers import ImportReport, import_files
from quantkit.importers.binance_book import BEFORE, BinanceBook, Diff, Snapshot
from quantkit.importers.binance_wire import names_of
from quantkit.instruments import Side
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

START_MS = 1_723_161_256_000
SWAP, SPOT, COIN = "binance:BTC-USDT-SWAP", "binance:BTC-USDT", "binance:BTC-USD-SWAP"


class Recorder:
    """Writes a capture: each line one millisecond of the exchange later, received `latency_ms` after that."""

    def __init__(self, path: Path, *, symbol: str = "BTCUSDT", market: str = "usdm", latency_ms: int = 5) -> None:
        self.path = path
        self.symbol = symbol
        self.market = market
        self.latency_ms = latency_ms
        self.now_ms = START_MS
        self.lines: list[str] = []

    def line(self, document: Any) -> None:
        self.lines.append(f"{(self.now_ms + self.latency_ms) * 1_000_000} {json.dumps(document)}")
        self.now_ms += 1

    def event(self, name: str, fields: dict[str, Any]) -> None:
        stamps = {"E": self.now_ms} if self.market == "spot" else {"E": self.now_ms + 1, "T": self.now_ms}
        pair = {"ps": self.symbol.split("_")[0]} if self.market == "cm" else {}
        data = {"e": name, **stamps, "s": self.symbol, **pair, **fields}
        if name == "bookTicker" and self.market == "spot":
            data = {key: value for key, value in data.items() if key not in ("e", "E")}
        self.line({"stream": f"{self.symbol.lower()}@{name}", "data": data})

    def diff(self, first: int, last: int, prev: int, bids: Any = (), asks: Any = ()) -> None:
        chain = {} if self.market == "spot" else {"pu": prev}
        self.event("depthUpdate", {"U": first, "u": last, **chain, "b": list(bids), "a": list(asks)})

    def snapshot(self, last: int, bids: Any = (("100", "1"),), asks: Any = (("101", "1"),)) -> None:
        self.line({"lastUpdateId": last, "bids": list(bids), "asks": list(asks)})

    def trade(self, trade_id: int, price: str = "100.5", qty: str = "0.1", **rest: Any) -> None:
        self.event("trade", {"t": trade_id, "p": price, "q": qty, "m": True, **({"X": "MARKET"} | rest)})

    def quote(self, bid: str, ask: str) -> None:
        self.event("bookTicker", {"u": 1, "b": bid, "B": "1", "a": ask, "A": "2"})

    def save(self) -> Path:
        self.path.write_text("\n".join(self.lines) + "\n", encoding="utf-8")
        return self.path


def stored(root: Path, kind: str, instrument: str | None = None) -> list[MarketEvent]:
    catalog = Catalog(root)
    streams = [s for s in catalog.coverage() if s.kind == kind and instrument in (None, s.instrument)]
    return list(read_events(catalog, streams, 0, 2**62))


def imported(tmp_path: Path, *recorders: Recorder, **options: Any) -> ImportReport:
    return import_files("binance/ws-raw", [each.save() for each in recorders], to=tmp_path / "data", **options)


# The splice -------------------------------------------------------------------------------------------------------


def test_diffs_before_the_snapshot_follow_it_at_its_stamp(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.diff(1, 10, 0, [["99", "9"]])
    capture.diff(11, 20, 10, [["98", "1"]])
    capture.diff(21, 30, 20, [["97", "1"]])
    capture.snapshot(15)
    capture.diff(31, 40, 30, [["96", "1"]])
    report = imported(tmp_path, capture)
    books = stored(tmp_path / "data", "book")
    at_snapshot_ns = (START_MS + 3 + 5) * 1_000_000
    assert [(b.is_snapshot, b.seq, b.prev_seq, b.received_ns) for b in books if isinstance(b, BookUpdate)] == [
        (True, 15, -1, at_snapshot_ns),
        (False, 20, 10, at_snapshot_ns),
        (False, 30, 20, at_snapshot_ns),
        (False, 40, 30, at_snapshot_ns + 1_000_000),
    ]
    assert [b.exchange_ns for b in books[1:]] == [(START_MS + i) * 1_000_000 for i in (1, 2, 4)]
    assert report.ignored == {BEFORE: 1}
    assert report.checked == {"book sequence links": 3}
    assert report.received_shift_ns == 0


def diff(first: int, last: int, prev: int | None, bids: dict[float, float] | None = None) -> Diff:
    levels = bids or {}
    return Diff(first, first, first, last, prev, tuple(levels), tuple(levels.values()), (), ())


def snapshot(last: int) -> Snapshot:
    return Snapshot(1, 1, last, (100.0,), (1.0,), (101.0,), (1.0,))


def kinds(outcomes: list[Any]) -> list[str]:
    return [each if isinstance(each, str) else getattr(each, "cause", "update") for each in outcomes]


@pytest.mark.parametrize(
    ("is_spot", "held", "expected"),
    [
        (True, [diff(8, 15, None)], [BEFORE, "update"]),  # u <= lastUpdateId
        (True, [diff(16, 16, None)], ["update", "update"]),  # U == lastUpdateId + 1
        (True, [diff(10, 20, None)], ["update", "update"]),
        (True, [diff(17, 20, None)], ["snapshot older than the updates"]),
        (False, [diff(8, 14, 7)], [BEFORE, "update"]),  # u < lastUpdateId
        (False, [diff(8, 15, 7)], ["update", "update"]),  # U <= lastUpdateId <= u
        (False, [diff(16, 20, 15)], ["update", "update"]),  # the one that follows at once
        (False, [diff(17, 20, 16)], ["snapshot older than the updates"]),
        (False, [diff(8, 14, 7), diff(15, 20, 14), diff(30, 40, 21)], [BEFORE, "update", "update", "sequence"]),
    ],
)
def test_the_first_diff_after_a_snapshot(is_spot: bool, held: list[Diff], expected: list[str]) -> None:
    """By the official rules for spot and for futures, whether the diffs waited or come later."""
    book = BinanceBook("x", is_spot=is_spot)
    for each in held:
        assert book.diff(each) == []
    assert kinds(book.snapshot(snapshot(15))) == expected
    if "snapshot older than the updates" in expected:
        return
    later = BinanceBook("x", is_spot=is_spot)
    outcomes = later.snapshot(snapshot(15))
    for each in held:
        outcomes += later.diff(each)
    assert sorted(kinds(outcomes)) == sorted(expected)


def test_a_broken_chain_is_a_gap_and_books_stop_until_the_next_snapshot(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.snapshot(10)
    capture.diff(9, 11, 8, [["99", "1"]])
    capture.diff(12, 13, 11)
    capture.diff(20, 21, 19)  # 14 to 19 are lost
    capture.diff(22, 23, 21)
    capture.snapshot(22)
    capture.diff(24, 25, 23)
    report = imported(tmp_path, capture)
    books = [b for b in stored(tmp_path / "data", "book") if isinstance(b, BookUpdate)]
    assert [(b.is_snapshot, b.seq) for b in books] == [
        (True, 10), (False, 11), (False, 13), (True, 22), (False, 23), (False, 25),
    ]  # fmt: skip
    (gap,) = stored(tmp_path / "data", "gap")
    assert isinstance(gap, Gap)
    assert (gap.channel, gap.cause) == ("book", "sequence")
    assert (gap.from_ns, gap.to_ns) == ((START_MS + 2) * 1_000_000, (START_MS + 3) * 1_000_000)
    assert report.rows_written == {f"{SWAP} gap": 1, f"{SWAP} book": 6}


def test_spot_chains_by_consecutive_ids(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log", market="spot")
    capture.snapshot(10)
    capture.diff(11, 12, 0)
    capture.diff(13, 13, 0)
    capture.diff(15, 15, 0)
    imported(tmp_path, capture)
    assert [b.seq for b in stored(tmp_path / "data", "book", SPOT) if isinstance(b, BookUpdate)] == [10, 12, 13]
    assert [g.cause for g in stored(tmp_path / "data", "gap") if isinstance(g, Gap)] == ["sequence"]


def test_a_crossed_book_is_a_gap_and_not_stored(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.snapshot(10)
    capture.diff(10, 11, 9, [["101", "1"]])
    capture.diff(12, 12, 11)
    report = imported(tmp_path, capture)
    assert report.rows_written == {f"{SWAP} gap": 1, f"{SWAP} book": 1}
    assert [g.cause for g in stored(tmp_path / "data", "gap") if isinstance(g, Gap)] == ["crossed"]
    assert report.ignored == {"depth updates that waited in vain for a snapshot": 1}


def test_a_second_snapshot_beside_a_complete_book_changes_nothing(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.snapshot(10)
    capture.diff(10, 11, 9)
    capture.snapshot(10)
    capture.diff(12, 12, 11)
    report = imported(tmp_path, capture)
    assert report.rows_written == {f"{SWAP} book": 3}
    assert report.ignored == {"depth snapshots beside a book that is complete": 1}


def test_a_capture_goes_on_in_the_next_file(tmp_path: Path) -> None:
    first, second = Recorder(tmp_path / "b.log"), Recorder(tmp_path / "a.log")
    first.snapshot(10)
    first.diff(10, 11, 9)
    second.now_ms = first.now_ms
    second.diff(12, 13, 11)
    report = imported(tmp_path, second, first)
    assert report.files == [str(first.path), str(second.path)]
    assert report.rows_written == {f"{SWAP} book": 3}


def test_captures_of_two_symbols_at_once_share_one_clock(tmp_path: Path) -> None:
    btc, eth = (
        Recorder(tmp_path / "b.log", latency_ms=-20),
        Recorder(tmp_path / "e.log", symbol="ETHUSDT", latency_ms=-7),
    )
    for capture in (btc, eth):
        capture.snapshot(10)
        for count in range(5):
            capture.diff(11 + count, 11 + count, 10 + count)
    report = imported(tmp_path, btc, eth)
    assert report.received_shift_ns == 21_000_000
    for name, latency_ms in ((SWAP, 1), ("binance:ETH-USDT-SWAP", 14)):
        books = stored(tmp_path / "data", "book", name)
        assert {book.received_ns - book.exchange_ns for book in books[1:]} == {latency_ms * 1_000_000}


def test_overlapping_files_of_one_symbol_are_refused(tmp_path: Path) -> None:
    one, two = Recorder(tmp_path / "1.log"), Recorder(tmp_path / "2.log")
    for capture in (one, two):
        capture.snapshot(10)
        capture.diff(11, 11, 10)
    with pytest.raises(DataError, match=r"1\.log and .*2\.log overlap in time and both hold"):
        imported(tmp_path, one, two)


def test_snapshots_of_two_symbols_in_one_file_are_told_by_their_ids(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    for symbol, first in (("BTCUSDT", 100), ("ETHUSDT", 900)):
        capture.symbol = symbol
        capture.diff(first, first + 5, first - 1)
    capture.snapshot(902, [["5", "1"]], [["6", "1"]])
    capture.snapshot(103)
    capture.snapshot(5000)
    report = imported(tmp_path, capture)
    assert report.rows_written == {f"{SWAP} book": 2, "binance:ETH-USDT-SWAP book": 2}
    assert [row.why for row in report.skipped_rows] == ["the depth snapshot cannot be told to belong to one symbol"]


def test_snapshots_of_markets_with_common_ids_are_told_by_their_prices(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    for symbol, price in (("BTCUSDT", "100"), ("ETHUSDT", "5")):
        capture.symbol = symbol
        capture.diff(10, 20, 9, [[price, "1"]])
    capture.snapshot(15, [["5", "1"]], [["6", "1"]])
    report = imported(tmp_path, capture)
    assert report.skipped == 0
    assert report.rows_written == {"binance:ETH-USDT-SWAP book": 2}
    assert report.ignored == {"depth updates that waited in vain for a snapshot": 1}


def test_a_snapshot_that_no_diff_follows_is_counted(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.snapshot(10)
    capture.trade(1)
    report = imported(tmp_path, capture)
    assert report.ignored == {"depth snapshots without diffs": 1}


# Clocks -----------------------------------------------------------------------------------------------------------


def test_one_constant_makes_the_smallest_latency_one_millisecond(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log", latency_ms=-1270)
    capture.trade(1)
    capture.now_ms += 100
    capture.latency_ms = -1300
    capture.trade(2)
    capture.latency_ms = -1000
    capture.trade(3)
    report = imported(tmp_path, capture)
    assert report.received_shift_ns == 1301 * 1_000_000
    trades = stored(tmp_path / "data", "trade")
    assert [(t.received_ns - t.exchange_ns) // 1_000_000 for t in trades] == [31, 1, 301]
    assert Catalog(tmp_path / "data").notes()[SWAP] == {"received_shift_ns": (1301 * 1_000_000,)}


def test_receipt_stamps_rise_strictly_and_the_clock_may_be_set_back(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    for trade_id, stamp_ms in enumerate((100, 100, 100, 40, 101), 1):
        capture.now_ms = START_MS
        capture.latency_ms = stamp_ms
        capture.trade(trade_id)
    report = imported(tmp_path, capture)
    first_ns = (START_MS + 100) * 1_000_000
    assert [t.received_ns - first_ns for t in stored(tmp_path / "data", "trade")] == [0, 1, 2, 3, 1_000_000]
    assert any("went back by 0.060 s" in warning for warning in report.warnings)


def test_spot_quotes_take_the_newest_exchange_time_seen(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log", market="spot")
    capture.trade(1, X="")
    capture.quote("100", "101")
    capture.diff(1, 2, 0)
    capture.quote("100", "102")
    report = imported(tmp_path, capture)
    tickers = stored(tmp_path / "data", "ticker")
    assert [t.exchange_ns for t in tickers] == [START_MS * 1_000_000, (START_MS + 2) * 1_000_000]
    assert tickers[0] == Ticker(SPOT, START_MS * 1_000_000, (START_MS + 6) * 1_000_000, 100.0, 1.0, 101.0, 2.0)
    assert any("carry no exchange time" in warning for warning in report.warnings)


# Trades and quotes ------------------------------------------------------------------------------------------------


def test_trades_of_other_kinds_repeats_and_holes(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.trade(1)
    capture.trade(2, m=False)
    capture.trade(2)
    capture.trade(3, X="INSURANCE_FUND")
    capture.trade(4, X="NA", price="0", qty="0")
    capture.trade(7)
    report = imported(tmp_path, capture)
    trades = [t for t in stored(tmp_path / "data", "trade") if isinstance(t, Trade)]
    assert [(t.trade_id, t.side) for t in trades] == [(1, Side.SELL), (2, Side.BUY), (7, Side.SELL)]
    assert report.ignored == {"repeated trades": 1, "trades of kind INSURANCE_FUND": 1, "trades of kind NA": 1}
    (gap,) = stored(tmp_path / "data", "gap")
    assert isinstance(gap, Gap)
    assert (gap.channel, gap.cause) == ("trade", "trades 5 to 6 are missing")


def test_one_sided_and_crossed_quotes(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.quote("100", "0.00")
    capture.quote("101", "100.9")
    capture.quote("101", "101")
    capture.quote("0", "0")
    report = imported(tmp_path, capture)
    ticker, locked = stored(tmp_path / "data", "ticker")
    assert isinstance(ticker, Ticker)
    assert isinstance(locked, Ticker)
    assert (locked.bid, locked.ask) == (101.0, 101.0)
    assert (ticker.bid, ticker.ask, ticker.ask_qty) == (100.0, None, None)
    assert report.ignored == {"crossed quotes": 1, "quotes without a side": 1}


# Markets ----------------------------------------------------------------------------------------------------------


def test_markets_are_told_by_their_frames(tmp_path: Path) -> None:
    for market, symbol, name in (("usdm", "BTCUSDT", SWAP), ("spot", "BTCUSDT", SPOT), ("cm", "BTCUSD_PERP", COIN)):
        capture = Recorder(tmp_path / f"{market}x.log", market=market, symbol=symbol)
        capture.diff(1, 2, 0)
        capture.trade(1, **({"X": ""} if market == "spot" else {}))
        report = import_files("binance/ws-raw", [capture.save()], to=tmp_path / market)
        assert list(report.instruments) == [name]
    coin = Catalog(tmp_path / "cm").instruments()[COIN]
    assert (coin.is_inverse, str(coin.contract_value), coin.settle, coin.source) == (True, "100", "BTC", "inferred")


def test_the_market_can_be_said_where_frames_do_not_tell(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log", market="spot")
    capture.diff(1, 2, 0)
    capture.trade(1, X="")
    report = imported(tmp_path, capture, kind="swap", contract_value="0.5")
    assert report.instruments == {SWAP: "inferred"}
    assert str(Catalog(tmp_path / "data").instruments()[SWAP].unit) == "0.5"


@pytest.mark.parametrize(
    ("symbol", "market", "name"),
    [
        ("ETHBTC", "spot", "binance:ETH-BTC"),
        ("BTCFDUSD", "spot", "binance:BTC-FDUSD"),
        ("1000SHIBUSDT", "usdm", "binance:1000SHIB-USDT-SWAP"),
        ("BTCUSDT_240927", "usdm", "binance:BTC-USDT-240927"),
        ("ETHUSD_PERP", "cm", "binance:ETH-USD-SWAP"),
        ("ETHUSD_240927", "cm", "binance:ETH-USD-240927"),
        ("BTCUSDC", "usdm", "binance:BTC-USDC-SWAP"),
    ],
)
def test_symbols(symbol: str, market: str, name: str) -> None:
    found, fields = names_of(symbol, market)
    assert found == name
    assert fields.get("contract_value") == ("10" if market == "cm" else None)


@pytest.mark.parametrize(
    "symbol", ["", "USDT", "BTCEUR", "../USDT", "BTC/USDT", "BTCUSDT_../x", "BTCUSDT_PERP2", "ÄUSDT"]
)
def test_symbols_that_are_not_understood_are_refused(symbol: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not understood"):
        names_of(symbol, "spot")
    capture = Recorder(tmp_path / "c.log", symbol=symbol or "BTCEUR")
    capture.trade(1)
    with pytest.raises(ConfigError, match="not understood"):
        imported(tmp_path, capture)
    capture.symbol = "BTCUSDT"
    capture.trade(1)
    report = imported(tmp_path, capture, only=[SWAP])
    assert report.rows_written == {f"{SWAP} trade": 1}
    assert report.ignored == {"rows of other instruments": 1}


def test_an_unknown_symbol_can_be_named(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log", symbol="BTCEUR")
    capture.trade(1)
    report = imported(tmp_path, capture, instrument="binance:BTC-EUR-SWAP")
    assert report.rows_written == {"binance:BTC-EUR-SWAP trade": 1}
    capture.symbol = "ETHEUR"
    capture.trade(1)
    with pytest.raises(ConfigError, match="several symbols"):
        imported(tmp_path, capture, instrument="binance:BTC-EUR-SWAP")


def test_only_keeps_some_instruments(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.trade(1)
    capture.symbol = "ETHUSDT"
    capture.trade(1)
    report = imported(tmp_path, capture, only=[SWAP])
    assert report.rows_written == {f"{SWAP} trade": 1}
    assert report.ignored == {"rows of other instruments": 1}


# Bad lines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        "123 {}",
        "1723161256172216566",
        '1723161256172216566 {"stream":"x","data":',
        "1723161256172216566 " + '{"data":' * 5000,
        *(
            f'1723161256172216566 {{"stream":"x","data":{{"e":{fields}}}}}'
            for fields in (
                '"trade","T":1,"s":"BTCUSDT","t":1,"p":"1e3","q":"1","m":true',
                '"trade","T":1,"s":"BTCUSDT","t":2,"p":"nan","q":"1","m":true',
                '"trade","T":1,"s":"BTCUSDT","t":3,"p":"1","q":"0","m":true',
                '"trade","T":1,"s":"BTCUSDT","t":4,"p":"1","q":"1"',
                '"trade","s":"BTCUSDT","t":5,"p":"1","q":"1","m":true',
                '"trade","T":9223372036854,"s":"BTCUSDT","t":5,"p":"1","q":"1","m":true',
                '"trade","T":1,"s":"BTCUSDT","t":99999999999999999999,"p":"1","q":"1","m":true',
                '"depthUpdate","T":1,"s":"BTCUSDT","U":1,"u":2,"b":[["0","1"]],"a":[]',
                '"depthUpdate","T":1,"s":"BTCUSDT","U":1,"u":2,"b":"5","a":[]',
                '"bookTicker","T":1,"s":"BTCUSDT","b":"5","B":"x","a":"6","A":"1"',
                '"trade","T":1,"t":1,"p":"1","q":"1","m":true',
                '"trade","T":450000000000,"s":"BTCUSDT","t":6,"p":"1","q":"1","m":true',
                '"trade","T":4000000000000,"s":"BTCUSDT","t":6,"p":"1","q":"1","m":true',
            )
        ),
    ],
    ids=lambda text: text[-70:],
)
def test_bad_lines_are_shown_and_strict_mode_writes_nothing(text: str, tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.quote("1", "2")
    capture.lines.append(text)
    report = imported(tmp_path, capture)
    (row,) = report.skipped_rows
    assert (report.skipped, row.line, row.text) == (1, 2, text[:200])
    with pytest.raises(ParseError, match=r"c\.log:2: "):
        import_files("binance/ws-raw", [capture.path], to=tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


def test_stamps_of_no_clock_are_shown_as_they_read(tmp_path: Path) -> None:
    """The recorder's and the exchange's."""
    capture = Recorder(tmp_path / "c.log")
    capture.quote("1", "2")
    trade = '{"stream":"x","data":{"e":"trade","T":450000000000,"s":"BTCUSDT","t":6,"p":"1","q":"1","m":true}}'
    capture.lines += [f"0450000000 {trade}", f"1723161256172216566 {trade}"]
    assert [row.why for row in imported(tmp_path, capture).skipped_rows] == [
        f"the {whose} stamp reads as 1984-04-05T08:00:00Z, not between 1990 and a year from now"
        for whose in ("receipt", "exchange's")
    ]


def test_a_trade_that_is_not_understood_leaves_a_gap(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.trade(1)
    capture.trade(2, price="x")
    capture.trade(3)
    report = imported(tmp_path, capture)
    assert report.skipped == 1
    assert [g.cause for g in stored(tmp_path / "data", "gap") if isinstance(g, Gap)] == ["trades 2 to 2 are missing"]


def test_unused_events_are_counted_by_name(tmp_path: Path) -> None:
    capture = Recorder(tmp_path / "c.log")
    capture.trade(1)
    capture.event("markPriceUpdate", {"p": "1", "i": "2", "r": "0.1"})
    capture.event("aggTrade", {"a": 5, "p": "1", "q": "1", "f": 1, "l": 2, "m": True})
    capture.line({"result": None, "id": 1})
    report = imported(tmp_path, capture)
    assert report.ignored == {"unused: aggTrade": 1, "unused: markPriceUpdate": 1, "unused: reply": 1}
    assert report.rows_read == 4 == 1 + sum(report.ignored.values())


# Property ---------------------------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    is_spot=st.booleans(),
    sizes=st.lists(st.integers(1, 4), min_size=3, max_size=25),
    changes=st.lists(st.tuples(st.integers(80, 99), st.integers(0, 3)), min_size=25, max_size=25),
    snapshot_place=st.integers(0, 24),
    taken_before=st.integers(0, 5),
    lost=st.one_of(st.none(), st.integers(0, 24)),
)
def test_a_spliced_book_equals_the_exchanges_or_is_invalid(
    is_spot: bool,
    sizes: list[int],
    changes: list[tuple[int, int]],
    snapshot_place: int,
    taken_before: int,
    lost: int | None,
) -> None:
    """Wherever the snapshot arrives and whatever is lost, what is stored is the exchange's book, or nothing."""
    truth: list[dict[float, float]] = [{}]
    diffs: list[Diff] = []
    last = 100
    for size, (price, qty) in zip(sizes, changes, strict=False):
        book = dict(truth[-1])
        book.pop(float(price), None)
        if qty:
            book[float(price)] = float(qty)
        truth.append(book)
        diffs.append(diff(last + 1, last + size, None if is_spot else last, {float(price): float(qty)}))
        last += size
    arrival = min(snapshot_place, len(diffs))
    taken = max(0, arrival - taken_before)
    taken_id = diffs[taken - 1].last_id if taken else 100
    levels = truth[taken]
    reply = Snapshot(1, 1, taken_id, tuple(levels), tuple(levels.values()), (), ())
    subject = BinanceBook("x", is_spot=is_spot)
    rebuilt: dict[float, float] = {}
    by_id = {each.last_id: truth[index + 1] for index, each in enumerate(diffs)} | {100: {}}

    def follow(outcomes: list[Any]) -> None:
        for outcome in outcomes:
            if isinstance(outcome, BookUpdate):
                if outcome.is_snapshot:
                    rebuilt.clear()
                for price, qty in zip(outcome.bid_prices, outcome.bid_qtys, strict=True):
                    rebuilt.pop(price, None)
                    if qty:
                        rebuilt[price] = qty
                assert rebuilt == by_id[outcome.seq]

    for index, each in enumerate(diffs):
        if index == arrival:
            follow(subject.snapshot(reply))
        if index != lost:
            follow(subject.diff(each))
    if arrival == len(diffs):
        follow(subject.snapshot(reply))
    if lost is None:
        assert rebuilt == truth[-1]
