"""Rows for research: what comes is what was written, of the span and the columns that were asked for, and no more."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from counted_files import CountedFolder
from damage import flipped, lines_of

import quantkit as qk
from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.events import EVENT_KINDS, EVENT_TYPES, Candle, Gap, MarketEvent, Trade
from quantkit.instruments import Instrument, Side
from quantkit.research.catalog import Catalog
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer

BTC = "BTC-USDT-SWAP"
START_NS = time_ns_of("2026-01-01")
ROWS = 50_000


def trades(begin: int, end: int, step_ns: int = 5 * NS_PER_S) -> Iterator[MarketEvent]:
    """Numbered trades."""
    for i in range(begin, end):
        stamp_ns = START_NS + i * step_ns
        yield Trade(BTC, stamp_ns - 7, stamp_ns, 100.0 + i % 50 / 10, 1.0 + i % 3, list(Side)[i % 2], i)


def one_of_each_kind() -> Iterator[MarketEvent]:
    """An event of every kind that is stored, of whatever its fields hold."""
    values: dict[str, Any] = {
        "stamp": START_NS,
        "int": 1,
        "float": 1.0,
        "optional": None,
        "flag": True,
        "side": Side.BUY,
        "text": "cross",
        "levels": (1.0,),
    }
    for kind, event in EVENT_TYPES.items():
        fields = {field.attribute: values[field.type] for field in EVENT_KINDS[kind].fields}
        if kind == "candle":
            fields |= {"open_ns": START_NS - NS_PER_MIN, "interval": "1m"}
        if kind == "book":
            fields |= {"ask_prices": (2.0,)}
        yield event(instrument=BTC, exchange_ns=START_NS, received_ns=START_NS, **fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of trades in small row groups, an hour of candles."""
    root = tmp_path_factory.mktemp("research")
    with Writer(root, row_group_rows=1_000) as writer:
        writer.write_instrument(Instrument(BTC, kind="swap", price_step="0.1", qty_step="0.001"))
        writer.write(Block.from_events(list(trades(0, ROWS))))
        opens = [START_NS + minute * NS_PER_MIN for minute in range(120)]
        bars = [Candle(BTC, o + NS_PER_MIN, o + NS_PER_MIN, o, o + NS_PER_MIN, 1, 3, 1, 2, 5, "1m") for o in opens]
        writer.write(Block.from_events(bars))
    return root


def test_a_span_comes_whole_on_a_utc_index(folder: Path) -> None:
    """From the start on, and up to the end without it."""
    frame = qk.Catalog(folder).trades(BTC, "2026-01-02", "2026-01-02T01:00").pandas()
    first = NS_PER_DAY // (5 * NS_PER_S)
    assert str(frame.index.dtype) == "datetime64[ns, UTC]"
    assert frame.index.name == "received_ns"
    assert frame["trade_id"].tolist() == list(range(first, first + 720))
    assert frame.index[0] == pd.Timestamp("2026-01-02", tz="UTC")
    assert frame["exchange_ns"].iloc[0] == pd.Timestamp(START_NS + NS_PER_DAY - 7, tz="UTC")
    assert frame["side"].tolist() == ["buy", "sell"] * 360
    assert frame["price"].iloc[1] == 100.0 + (first + 1) % 50 / 10


def test_no_more_is_read_than_is_asked_for(folder: Path) -> None:
    """One row group of a file, two columns of six; other files are not opened. Bytes are counted."""
    whole = sum(entry.size_bytes for entry in lines_of(folder).entries if entry.kind == "trade")
    counted = CountedFolder(folder)
    catalog = Catalog(counted.root)
    opened = len(counted.reads)
    query = catalog.trades(BTC, "2026-01-02T12:00", "2026-01-02T12:30", columns=["price"])
    assert catalog.trades(BTC, columns="price").columns == query.columns
    assert len(counted.reads) == opened, "a query that nobody reads costs nothing"
    table = query.arrow()
    assert table.column_names == ["received_ns", "price"]
    assert table.num_rows == 360
    assert counted.bytes_of("kind=trade") == counted.bytes_of("date=2026-01-02")
    of_all = counted.bytes_of("kind=trade")
    footers = sum(count for path, count in counted.reads if count == 16_384)
    assert of_all - footers < whole / 40
    everything = CountedFolder(folder)
    Catalog(everything.root).trades(BTC).arrow()
    assert everything.bytes_of("kind=trade") > whole


def test_every_form_gives_the_same_rows(folder: Path) -> None:
    query = Catalog(folder).trades(BTC, "2026-01-02T23:00", "2026-01-03T01:00", columns=["price", "side", "qty"])
    table = query.arrow()
    assert table.num_rows == 1440
    assert query.scan().to_table(columns=table.column_names).to_pydict() == table.to_pydict()
    assert query.pandas().reset_index().to_dict("list") == table.to_pandas().to_dict("list")


def test_a_scan_opens_the_files_of_its_filter(folder: Path) -> None:
    """The manifest's spans exclude the others."""
    import pyarrow.dataset as ds

    counted = CountedFolder(folder)
    dataset = Catalog(counted.root).trades(BTC).scan()
    moment = pa.scalar(START_NS + 2 * NS_PER_DAY).cast(pa.timestamp("ns", "UTC"))
    assert dataset.count_rows(filter=ds.field("received_ns") >= moment) == ROWS - 2 * 17_280
    assert {path.rpartition("date=")[2][:10] for path, _ in counted.reads if "kind=trade" in path} == {"2026-01-03"}
    with_names = dataset.head(2, columns=["instrument", "price"])
    assert with_names.column("instrument").to_pylist() == [BTC, BTC]


def test_candles_are_chosen_and_indexed_by_their_open(folder: Path) -> None:
    frame = Catalog(folder).candles(BTC, "2026-01-01T00:10", "2026-01-01T00:12", interval="1m").pandas()
    assert frame.index.name == "open_ns"
    assert [stamp.minute for stamp in frame.index] == [10, 11]
    assert [stamp.minute for stamp in frame["received_ns"]] == [11, 12]


def test_longer_candles_are_built_from_stored_ones(folder: Path) -> None:
    """As in a backtest, on multiples of the interval; one that is not whole is left out."""
    catalog = Catalog(folder)
    frame = catalog.candles(BTC, interval="15m").pandas()
    assert (len(frame), frame["volume"].unique().tolist()) == (8, [75.0])
    frame = catalog.candles(BTC, "2026-01-01T00:05", "2026-01-01T00:46", interval="15m", columns=["close"]).pandas()
    assert [stamp.minute for stamp in frame.index] == [15, 30, 45]
    assert frame.columns.tolist() == ["close"]
    assert catalog.candles(BTC, "2027-01-01", interval="15m").pandas().empty


def test_every_stored_kind_can_be_read(tmp_path: Path) -> None:
    """By a method of its own or by `rows`; an empty span gives the columns without rows."""
    with Writer(tmp_path) as writer:
        for event in one_of_each_kind():
            writer.write(Block.from_events([event]))
    catalog = Catalog(tmp_path)
    for kind in EVENT_TYPES:
        interval = "1m" if kind == "candle" else ""
        query = catalog.rows(kind, BTC, interval=interval)
        assert query.arrow().num_rows == 1, kind
        assert catalog.rows(kind, BTC, 0, 1, interval=interval).arrow().schema.names == list(query.columns)
        assert len(query.pandas()) == query.scan().count_rows() == 1, kind


def test_siblings_read_their_kind(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        for event in one_of_each_kind():
            writer.write(Block.from_events([event]))
    catalog = Catalog(tmp_path)
    for read, kind in (
        (catalog.trades, "trade"),
        (catalog.tickers, "ticker"),
        (catalog.books, "book"),
        (catalog.marks, "mark"),
        (catalog.funding, "funding"),
        (catalog.open_interest, "open_interest"),
        (catalog.gaps, "gap"),
    ):
        assert read(BTC).stream.kind == kind
        assert read(BTC).arrow().num_rows == 1


def test_nothing_lost_is_no_row(folder: Path) -> None:
    """Gap rows are there only where something was lost."""
    assert Catalog(folder).gaps(BTC).pandas().empty
    with pytest.raises(qk.DataError, match="no data: ETH-USDT is not there; there is BTC-USDT-SWAP"):
        Catalog(folder).gaps("ETH-USDT")


def test_a_gap_reads_as_it_was_written(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer:
        writer.write(Block.from_events([Gap(BTC, START_NS, START_NS, "trades", START_NS - 5, START_NS, "sequence")]))
    (row,) = Catalog(tmp_path).gaps(BTC).pandas().to_dict("records")
    assert (row["channel"], row["cause"]) == ("trades", "sequence")


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda c: c.trades("ETH-USDT"), qk.DataError, "ETH-USDT is not there; there is BTC-USDT-SWAP"),
        (lambda c: c.books(BTC), qk.DataError, "of BTC-USDT-SWAP there is candle 1m, trade"),
        (lambda c: c.trades(BTC, columns=["prise"]), qk.ConfigError, "no column prise; there is received_ns"),
        (lambda c: c.trades(BTC, "2026-01-02", "2026-01-01"), qk.ConfigError, "ends at .* before its start"),
        (lambda c: c.trades(BTC, "noon"), qk.ConfigError, "time 'noon' is not understood"),
        (lambda c: c.rows("trades", BTC), qk.ConfigError, "kind 'trades' are not stored; kinds are gap, mark"),
        (lambda c: c.candles(BTC), qk.ConfigError, "one of interval, volume, ticks and dollars; 0 are given"),
        (lambda c: c.candles(BTC, interval="1m", ticks=5), qk.ConfigError, "2 are given"),
        (lambda c: c.candles(BTC, interval="7m"), qk.ConfigError, "interval '7m' is not known"),
        (lambda c: c.candles(BTC, ticks=5, columns=["x"]), qk.ConfigError, "no column x; there is received_ns"),
        (lambda c: c.bbo(BTC), qk.DataError, "BTC-USDT-SWAP book is not there"),
    ],
)
def test_a_slip_is_told(folder: Path, ask: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ask(Catalog(folder))


def test_a_query_says_what_it_would_read(folder: Path) -> None:
    text = repr(Catalog(folder).trades(BTC, end="2026-01-02", columns=["qty"]))
    assert text == (
        "<BTC-USDT-SWAP trade from the beginning to 2026-01-02T00:00:00Z: received_ns, qty; not read yet, "
        "call .pandas()>"
    )


def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """Wherever it is, in a page by its checksum and in the footer by its digest."""
    with Writer(tmp_path) as writer:
        writer.write(Block.from_events(list(trades(0, 300))))
    (entry,) = Catalog(tmp_path).entries
    path = tmp_path / entry.path
    content = path.read_bytes()
    right = Catalog(tmp_path).trades(BTC).arrow()
    rng, noticed = np.random.default_rng(3), 0
    for bit in rng.integers(32, 8 * len(content), 60).tolist():
        path.write_bytes(flipped(content, bit))
        try:
            found = Catalog(tmp_path).trades(BTC).arrow()
        except qk.DataError:
            noticed += 1
        else:
            # Headers of pages are not under their checksums: what is read must be right all the same.
            assert found.equals(right)
    assert noticed >= 50


def test_unsorted_rows_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = Catalog(folder)
    query = catalog.trades(BTC)
    assert hasattr(query, "files")
    monkeypatch.setattr(type(query), "files", property(lambda self: [*catalog.files(self.stream, 0, 2**62)][::-1]))
    with pytest.raises(qk.DataError, match="received_ns goes back; `quantkit data check` says where"):
        query.arrow()


def test_missing_polars_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "polars", None)
    with pytest.raises(qk.ConfigError, match=r"pip install 'quantkit\[polars\]'"):
        Catalog(folder).trades(BTC).polars()
