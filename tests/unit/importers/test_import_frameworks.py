"""LOBSTER's pairs of files, hftbacktest's arrays, NautilusTrader's catalog, Databento's DBN."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from format_files import START_MS, csv_of, plain, zipped
from more_format_files import (
    BUY,
    EXCHANGE,
    HFT_ROWS,
    LOBSTER_LEVELS,
    LOBSTER_MESSAGES,
    LOCAL,
    NAUTILUS_ID,
    SELL,
    fixed_point,
    freqtrade_samples,
    hft_events,
    lobster_pair,
    nautilus_samples,
    npz,
)

from quantkit.clock import time_ns_of
from quantkit.errors import ConfigError, DataError, ParseError
from quantkit.events import BookUpdate, Candle, Ticker, Trade
from quantkit.importers import ImportReport, import_files
from quantkit.instruments import Side
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events

START_NS = START_MS * 1_000_000
MS = 1_000_000
MINUTE_NS = 60 * 10**9


def stored(root: Path, kind: str) -> list[Any]:
    """Return every stored event of a kind."""
    catalog = Catalog(root)
    return list(read_events(catalog, [each for each in catalog.coverage() if each.kind == kind], 0, 2**62))


def bring(tmp_path: Path, *paths: Path, **options: Any) -> ImportReport:
    """Import files by their content."""
    return import_files(None, list(paths), to=tmp_path / "data", **options)


# LOBSTER ---------------------------------------------------------------------------------------------------------


def test_lobster_files_come_in_pairs(tmp_path: Path) -> None:
    """Times count from midnight in New York, prices in hundredths of a cent; the taker's side is not the order's."""
    report = bring(tmp_path, *lobster_pair(tmp_path))
    name = "lobster:AAPL"
    assert (report.rows_written, report.skipped) == ({f"{name} book": 4, f"{name} trade": 2}, 0)
    opens_ns = time_ns_of("2012-06-21T13:30Z")
    trades = stored(tmp_path / "data", "trade")
    assert trades == [
        Trade(name, opens_ns + 190 * MS, opens_ns + 190 * MS, 223.96, 5.0, Side.BUY),
        Trade(name, opens_ns + 10**9, opens_ns + 10**9, 223.9, 100.0, Side.SELL),
    ]
    first, second, third, last = stored(tmp_path / "data", "book")
    at_ns = opens_ns + 17_459_617
    assert first == BookUpdate(
        name, at_ns, at_ns, (223.82, 223.81), (21.0, 21.0), (223.95, 223.99), (100.0, 100.0), True
    )
    # An order better than the deepest level in sight puts that one out of sight.
    assert (second.ask_prices, second.ask_qtys, second.bid_prices) == ((223.99, 223.96), (0.0, 20.0), ())
    assert (third.ask_prices, third.ask_qtys) == ((223.96,), (15.0,))
    assert (last.bid_prices, last.bid_qtys, last.is_snapshot) == ((223.82,), (0.0,), False)
    instrument = Catalog(tmp_path / "data").instruments()[name]
    assert (instrument.quote, str(instrument.price_step)) == ("USD", "0.01")


def test_a_pair_of_lobster_that_lacks_something_is_named(tmp_path: Path) -> None:
    """A date, the messages, rows; without its levels a file of messages gives trades alone."""
    messages, levels = lobster_pair(tmp_path)
    with pytest.raises(ConfigError, match=r"orderbook_2\.csv has levels without times; give the file of its messages"):
        bring(tmp_path, levels)
    report = bring(tmp_path, messages)
    assert report.rows_written == {"lobster:AAPL trade": 2}
    assert any("so only trades are taken" in sentence for sentence in report.warnings)
    nameless = plain(tmp_path / "x.csv", messages.read_bytes())
    with pytest.raises(ConfigError, match=r"x\.csv counts seconds after midnight, and its name has no date"):
        bring(tmp_path, nameless)
    levels.write_bytes(csv_of("", LOBSTER_LEVELS[:-1]))
    with pytest.raises(DataError, match="have not as many rows"):
        import_files(None, [messages, levels], to=tmp_path / "short")
    rows = [*LOBSTER_MESSAGES[:2], "34200.19,4,1,0,2239600,-1", "34201,6,-1,5,2239000,1", "34202,7,0,0,-1,-1"]
    messages.write_bytes(csv_of("", [*rows, "34203.0,1,9,5,2239000,0"][:5]))
    levels.write_bytes(csv_of("", LOBSTER_LEVELS))
    report = import_files(None, [messages, levels], to=tmp_path / "wrong")
    assert [(row.line, row.why) for row in report.skipped_rows] == [(3, "an execution without a price or a size")]
    assert report.ignored == {"halts and resumptions of trading": 1, "trades of auctions, which have no side": 1}


# hftbacktest -----------------------------------------------------------------------------------------------------


def test_hftbacktest_events_are_those_that_were_received(tmp_path: Path) -> None:
    """A row that both clocks see apart stands twice; rows of a book with one receipt are one update."""
    path = plain(tmp_path / "btcusdt_20250601.npz", npz(hft_events(HFT_ROWS)))
    with pytest.raises(ConfigError, match="does not name its instrument"):
        bring(tmp_path, path)
    report = bring(tmp_path, path, instrument="BTC-USDT")
    assert report.rows_written == {"BTC-USDT book": 4, "BTC-USDT trade": 2}
    assert report.ignored == {"events that only the exchange saw, which come again as received": 1}
    assert stored(tmp_path / "data", "trade") == [
        Trade("BTC-USDT", START_NS + 20 * MS, START_NS + 23 * MS, 104000.2, 0.5, Side.BUY),
        Trade("BTC-USDT", START_NS + 30 * MS, START_NS + 33 * MS, 104000.1, 1.5, Side.SELL),
    ]
    books = stored(tmp_path / "data", "book")
    assert books[0] == BookUpdate(
        "BTC-USDT", START_NS, START_NS + 2 * MS, (104000.1,), (4.0,), (104000.2,), (5.0,), True
    )
    # Clearing bids down to a price removes that level and all above it.
    assert [(each.bid_prices, each.bid_qtys, each.ask_prices, each.ask_qtys) for each in books[1:]] == [
        ((104000.0,), (3.0,), (), ()), ((), (), (104000.2,), (4.5,)), ((104000.1,), (0.0,), (), ()),
    ]  # fmt: skip
    array = tmp_path / "plain.npy"
    np.save(array, hft_events(HFT_ROWS))
    assert import_files(None, [array], to=tmp_path / "npy", instrument="BTC-USDT").rows_written == report.rows_written


def test_wrong_arrays_are_named(tmp_path: Path) -> None:
    """Older ones without names, single orders, a cut file, a row that is no level."""
    np.savez(tmp_path / "old.npz", data=np.zeros((3, 6)))
    with pytest.raises(ConfigError, match=r"old\.npz is an array of numpy without named columns"):
        bring(tmp_path, tmp_path / "old.npz", instrument="X-USDT")
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(ConfigError, match=r"two\.npz holds several arrays \(a\.npy, b\.npy\), and none is called data"):
        bring(tmp_path, tmp_path / "two.npz", instrument="X-USDT")
    np.savez(tmp_path / "other.npz", data=np.zeros(3, np.dtype([("a", "i8"), ("b", "f8")])))
    with pytest.raises(ConfigError, match=r"other\.npz is an array of a, b, which is of no known format"):
        bring(tmp_path, tmp_path / "other.npz", instrument="X-USDT")
    both = EXCHANGE | LOCAL
    orders = plain(tmp_path / "orders.npz", npz(hft_events([*HFT_ROWS, (10 | both | BUY, 50, 53, 1.0, 1.0)])))
    with pytest.raises(ConfigError, match=r"orders\.npz holds single orders"):
        bring(tmp_path, orders, instrument="X-USDT")
    rows = [(1 | both, 41, 44, 1.0, 1.0), (2 | both | SELL, 42, 45, 0.0, 1.0), (2 | both, 42, 45, 1.0, 1.0)]
    report = bring(tmp_path, plain(tmp_path / "rows.npz", npz(hft_events([*HFT_ROWS, *rows]))), instrument="X-USDT")
    assert [(row.line, row.why) for row in report.skipped_rows] == [
        (9, "a level has no side, no price above zero, or a size below zero"),
        (10, "price or size is not above zero"),
    ]
    assert report.ignored["trades whose taker's side is not known"] == 1
    array = tmp_path / "cut.npy"
    np.save(array, hft_events(HFT_ROWS))
    array.write_bytes(array.read_bytes()[:-70])
    with pytest.raises(DataError, match=r"cut\.npy ends after row 6 of 8"):
        bring(tmp_path, array, instrument="Y-USDT")


# NautilusTrader --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [16, 8])
def test_a_catalog_of_nautilus_is_read_in_both_precisions(width: int, tmp_path: Path) -> None:
    """The name of the instrument stands in the file; its metadata come from the file of instruments."""
    files = nautilus_samples(tmp_path, width)
    report = bring(tmp_path, *files.values())
    name = "binance:BTC-USDT-SWAP"
    assert report.rows_written == {f"{name} candle 1m": 20, f"{name} ticker": 20, f"{name} trade": 13}
    assert report.ignored["trades whose taker's side is not known"] == 7
    assert any(what.startswith("files of NautilusTrader order-book deltas") for what in report.ignored)
    assert stored(tmp_path / "data", "trade")[0] == Trade(
        name, START_NS + MS, START_NS + MS + 5, 104000.1, 0.002, Side.BUY, 901
    )
    assert stored(tmp_path / "data", "ticker")[2] == Ticker(
        name, START_NS + 2 * MS, START_NS + 2 * MS + 5, 104000.2, 0.003, 104001.2, 0.003
    )
    # Stamped at the close.
    assert stored(tmp_path / "data", "candle")[0] == Candle(
        name, START_NS, START_NS, START_NS - MINUTE_NS, START_NS, 104000.1, 104010.0, 103990.0, 104005.5, 12.5, "1m"
    )
    instrument = Catalog(tmp_path / "data").instruments()[name]
    assert (str(instrument.price_step), str(instrument.qty_step), instrument.kind) == ("0.1", "0.001", "swap")


def test_wrong_fixed_point_is_named(tmp_path: Path) -> None:
    """A width that nobody writes."""
    path = nautilus_samples(tmp_path)["nautilus/quotes"]
    table = {
        **dict.fromkeys(("bid_price", "ask_price", "bid_size", "ask_size"), pa.array([b"abcd"], pa.binary(4))),
        **{name: pa.array([START_NS], pa.uint64()) for name in ("ts_event", "ts_init")},
    }
    pa.parquet.write_table(pa.table(table).replace_schema_metadata({"instrument_id": NAUTILUS_ID}), path)
    with pytest.raises(ParseError, match=r"a\.parquet: the file cannot be read: values of 4 bytes are no numbers"):
        bring(tmp_path, path)
    assert fixed_point(["-1.5"], 8).to_pylist() == [(-1_500_000_000).to_bytes(8, "little", signed=True)]


# Databento -------------------------------------------------------------------------------------------------------


def test_dbn_without_its_decoder_is_refused_with_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line: what to install, or how to write CSV."""
    monkeypatch.setitem(sys.modules, "databento_dbn", None)
    path = zipped(tmp_path / "x.zip", {"x.dbn": b"DBN\x03" + bytes(90)})
    with pytest.raises(ConfigError, match=r"x\.dbn is a Databento DBN file; pip install 'quantkit\[databento\]' reads"):
        bring(tmp_path, path)


# freqtrade -------------------------------------------------------------------------------------------------------


def test_freqtrade_is_told_by_its_names(tmp_path: Path) -> None:
    """The same columns hold candles, mark prices and funding rates, these in the place of the open."""
    report = bring(tmp_path, *freqtrade_samples(tmp_path).values())
    swap, spot = "freqtrade:BTC-USDT-SWAP", "freqtrade:BTC-USDT"
    assert report.rows_written == {
        f"{spot} trade": 20, f"{swap} candle 1h": 20, f"{swap} funding": 20, f"{swap} mark": 20,
    }  # fmt: skip
    assert stored(tmp_path / "data", "funding")[1].rate == 0.0001
    assert stored(tmp_path / "data", "mark")[0].price == 104000.5
    assert stored(tmp_path / "data", "trade")[0] == Trade(spot, START_NS, START_NS, 104000.5, 0.25, Side.BUY, 900)
    assert stored(tmp_path / "data", "candle")[0].open_ns == START_NS
    # The user's word stands for the name, and has to fit the columns.
    other = plain(tmp_path / "x.feather", (tmp_path / "BTC_USDT_USDT-1h-funding_rate.feather").read_bytes())
    report = import_files("freqtrade/funding", [other], to=tmp_path / "said", instrument="BTC-USDT-SWAP")
    assert report.rows_written == {"BTC-USDT-SWAP funding": 20}
    with pytest.raises(ConfigError, match=r"x\.feather is not of freqtrade/trades: its columns are date, open, high"):
        import_files("freqtrade/trades", [other], to=tmp_path / "not")
