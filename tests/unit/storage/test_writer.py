"""The writer: where rows go, what it refuses, and that a commit is all or nothing."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.fs as pafs
import pytest

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.errors import ConfigError, DataError
from quantkit.events import KINDS, BookUpdate, Candle, Funding, Gap, Mark, MarketEvent, OpenInterest, Ticker, Trade
from quantkit.instruments import Instrument, Side
from quantkit.quality import check
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_blocks, read_events
from quantkit.storage.root import Root
from quantkit.storage.writer import Writer

BTC = "binance:BTC-USDT-SWAP"
TRADES = Stream("trade", BTC)
START_NS = time_ns_of("2026-01-01T12:00:00Z")
END_NS = 2**62
Make = Callable[..., list[MarketEvent]]


def write(root: Path, *runs: list[MarketEvent], **options: Any) -> None:
    """Write runs of events in one commit."""
    with Writer(root, **options) as writer:
        for run in runs:
            writer.write(Block.from_events(run))


def stored(root: Path, stream: Stream = TRADES) -> list[MarketEvent]:
    """Every stored event of a stream."""
    return list(read_events(Catalog(root), [stream], 0, END_NS))


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a root but the lock."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


# Where rows go ------------------------------------------------------------------------------------------------


def test_each_kind_goes_to_its_folder_by_day_or_month(
    tmp_path: Path, one_of_each: dict[str, list[MarketEvent]]
) -> None:
    write(tmp_path, *one_of_each.values())
    for kind, events in one_of_each.items():
        assert stored(tmp_path, Stream(kind, BTC, "1m" if kind == "candle" else "")) == events
    months = {
        kind: [f"kind={kind}/instrument=BTC-USDT-SWAP/month=2026-01"]
        for kind in ("fee_rate", "funding", "gap", "mark", "open_interest", "position_tier", "price_limit")
    }
    months["candle"] = ["kind=candle/interval=1m/instrument=BTC-USDT-SWAP/month=2026-01"]
    days = {
        kind: [f"kind={kind}/instrument=BTC-USDT-SWAP/date=2026-01-0{day}" for day in (1, 2)]
        for kind in ("book", "ticker", "trade")
    }
    found: dict[str, list[str]] = {}
    for entry in Catalog(tmp_path).entries:
        found.setdefault(entry.kind, []).append(entry.path)
    assert found == {
        kind: [f"exchange=binance/{folder}/part-0.parquet" for folder in folders]
        for kind, folders in {**months, **days}.items()
    }


def test_a_plain_id_is_okx(tmp_path: Path, make_trades: Make) -> None:
    write(tmp_path, make_trades(1, instrument="BTC-USDT"))
    assert Catalog(tmp_path).entries[0].path.startswith("exchange=okx/kind=trade/instrument=BTC-USDT/")


def test_midnight_belongs_to_the_day_it_begins(tmp_path: Path, make_trades: Make) -> None:
    midnight = time_ns_of("2026-01-02")
    write(tmp_path, make_trades(2, start_ns=midnight - 1, step_ns=1))
    assert [(e.path[-26:-15], e.first_ns) for e in Catalog(tmp_path).entries] == [
        ("=2026-01-01", midnight - 1),
        ("=2026-01-02", midnight),
    ]


def test_the_last_candle_of_a_month_stays_in_it(tmp_path: Path, make_candles: Make) -> None:
    february = time_ns_of("2026-02-01")
    events = make_candles(3, open_ns=february - 2 * NS_PER_MIN)
    write(tmp_path, events)
    entries = Catalog(tmp_path).entries
    assert [(entry.rows, entry.last_ns, entry.last_open_ns) for entry in entries] == [
        (2, february, february - NS_PER_MIN),
        (1, february + NS_PER_MIN, february),
    ]
    assert stored(tmp_path, Stream("candle", BTC, "1m")) == events


@pytest.mark.parametrize("kind", ["mark", "funding", "gap"])
def test_a_year_of_few_rows_is_a_file_for_each_month(tmp_path: Path, kind: str) -> None:
    midnights = [time_ns_of(f"2025-{month:02}-01") for month in range(2, 13)]
    stamps = [at + shift for at in midnights for shift in (-1, 0, 20 * NS_PER_DAY)]
    make: dict[str, Callable[[int], MarketEvent]] = {
        "mark": lambda at: Mark(BTC, at, at, 1.0),
        "funding": lambda at: Funding(BTC, at, at, 0.1, at, True),
        "gap": lambda at: Gap(BTC, at, at, "book", at, at, "sequence"),
    }
    events = [make[kind](at) for at in stamps]
    write(tmp_path, events)
    entries = Catalog(tmp_path).entries
    assert [entry.path[-22:-15] for entry in entries] == [f"2025-{month:02}" for month in range(1, 13)]
    assert [entry.rows for entry in entries] == [1, *[3] * 10, 2]
    assert [entry.first_ns for entry in entries] == [midnights[0] - 1, *midnights]
    assert stored(tmp_path, Stream(kind, BTC)) == events


def test_a_manifest_line_says_what_the_file_holds(tmp_path: Path, make_trades: Make) -> None:
    with Writer(tmp_path, source="capture.log.gz") as writer:
        writer.write(Block.from_events(make_trades(7)))
        writer.note("received_shift_ns", 1_270_000_000)
        writer.note("tool", "quantkit")
        (entry,) = writer.commit()
    (line,) = (tmp_path / "manifest.jsonl").read_bytes().splitlines()
    content = (tmp_path / entry.path).read_bytes()
    footer_bytes = int.from_bytes(content[-8:-4], "little") + 8
    assert msgspec.json.decode(line) == {
        "check": hashlib.sha256(line[28:]).hexdigest()[:16],
        "version": 2,
        "path": "exchange=binance/kind=trade/instrument=BTC-USDT-SWAP/date=2026-01-01/part-0.parquet",
        "kind": "trade",
        "instrument": BTC,
        "rows": 7,
        "first_ns": START_NS,
        "last_ns": START_NS + 6 * NS_PER_S,
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "footer_sha256": hashlib.sha256(content[-footer_bytes:]).hexdigest(),
        "schema_version": 1,
        "source": "capture.log.gz",
        "notes": {"received_shift_ns": 1_270_000_000, "tool": "quantkit"},
    }
    assert Catalog(tmp_path).entries == [entry]


def test_rows_written_are_rows_read_are_rows_in_the_manifest(tmp_path: Path, make_trades: Make) -> None:
    events = make_trades(3000, step_ns=NS_PER_MIN)
    with Writer(tmp_path, row_group_rows=100) as writer:
        for at in range(0, 3000, 77):
            writer.write(Block.from_events(events[at : at + 77]))
        entries = writer.commit()
    blocks = list(read_blocks(Catalog(tmp_path), TRADES, start_ns=0, end_ns=END_NS))
    assert sum(entry.rows for entry in entries) == sum(block.size for block in blocks) == 3000
    seq = np.concatenate([block.column("seq") for block in blocks])
    assert seq.tolist() == list(range(3000))


def test_rows_are_numbered_when_they_come_without_seq(tmp_path: Path, make_trades: Make) -> None:
    block = Block.from_events(make_trades(4, step_ns=0))
    names = ("received_ns", "exchange_ns", "price", "qty", "side", "trade_id")
    bare = Block(TRADES, 4, {name: block.column(name) for name in names})
    with Writer(tmp_path) as writer:
        writer.write(bare)
        writer.write(bare)
    (read,) = read_blocks(Catalog(tmp_path), TRADES, start_ns=0, end_ns=END_NS)
    assert read.column("seq").tolist() == list(range(8))


def test_a_blocks_own_numbers_are_kept_and_a_restart_goes_on(tmp_path: Path, make_trades: Make) -> None:
    with Writer(tmp_path) as writer:
        writer.write(Block.from_events(make_trades(2, step_ns=0), first_seq=40))
        writer.write(Block.from_events(make_trades(2, step_ns=0), first_seq=50))
        writer.write(Block.from_events(make_trades(2, step_ns=0)))
    (read,) = read_blocks(Catalog(tmp_path), TRADES, start_ns=0, end_ns=END_NS)
    assert read.column("seq").tolist() == [40, 41, 50, 51, 52, 53]


def test_blocks_of_one_row_and_of_no_row_are_fine(tmp_path: Path, make_trades: Make) -> None:
    events = make_trades(2500)
    with Writer(tmp_path, row_group_rows=2000) as writer:
        writer.write(Block.from_events(events[:1]).slice(0, 0))
        writer.write(Block.from_events(make_trades(1, instrument="ETH-USDT")).slice(0, 0))
        for event in events:
            writer.write(Block.from_events([event]))
    assert stored(tmp_path) == events
    assert [b.size for b in read_blocks(Catalog(tmp_path), TRADES, start_ns=0, end_ns=END_NS)] == [2000, 500]


def test_books_with_many_levels_end_a_row_group_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantkit.storage.spool.GROUP_LEVELS", 100)
    events: list[MarketEvent] = [
        BookUpdate(BTC, START_NS, START_NS + i, tuple(np.arange(1.0, 1.0 + i % 60)), (1.0,) * (i % 60), (), (), False)
        for i in range(80)
    ]
    roots = [tmp_path / str(cut) for cut in (1, 7, 80)]
    for root, cut in zip(roots, (1, 7, 80), strict=True):
        with Writer(root) as writer:
            for at in range(0, 80, cut):
                writer.write(Block.from_events(events[at : at + cut]))
    stream = Stream("book", BTC)
    assert stored(roots[0], stream) == events
    blocks = list(read_blocks(Catalog(roots[0]), stream, start_ns=0, end_ns=END_NS))
    assert len(blocks) > 10
    assert max(len(block.column("bid_prices")) for block in blocks) < 100 + 60
    assert len({Catalog(root).entries[0].sha256 for root in roots}) == 1


def test_a_writer_with_nothing_to_write_leaves_nothing(tmp_path: Path) -> None:
    with Writer(tmp_path / "data"):
        pass
    assert tree(tmp_path) == {}


def test_a_closed_writer_refuses_more(tmp_path: Path, make_trades: Make) -> None:
    writer = Writer(tmp_path)
    writer.write(Block.from_events(make_trades(1)))
    assert len(writer.commit()) == 1
    for call in (
        lambda: writer.write(Block.from_events(make_trades(1))),
        writer.commit,
        lambda: writer.note("a", 1),
        lambda: writer.write_instrument(Instrument(BTC, price_step="1", qty_step="1")),
    ):
        with pytest.raises(DataError, match="this writer has committed or was aborted; open another one"):
            call()
    writer.abort()
    assert len(stored(tmp_path)) == 1


@pytest.mark.parametrize("rows", [0, -1, 1_048_577])
def test_row_groups_have_a_sensible_size(tmp_path: Path, rows: int) -> None:
    with pytest.raises(ConfigError, match=f"row_group_rows is {rows}; use 1 to 1048576"):
        Writer(tmp_path, row_group_rows=rows)


def test_an_object_store_is_written_and_read_through_its_file_system(
    tmp_path: Path, one_of_each: dict[str, list[MarketEvent]]
) -> None:
    # A file system that is not the machine's own takes the way of an object store: uploads, no renames.
    remote = Root("bucket/data", pafs.SubTreeFileSystem(str(tmp_path), pafs.LocalFileSystem()))
    for events in (one_of_each["trade"][:5], one_of_each["trade"][5:], one_of_each["book"]):
        with Writer(remote) as writer:
            writer.write(Block.from_events(events))
    with Writer(remote, replace=True) as writer:
        writer.write(Block.from_events(one_of_each["trade"][1:3]))
    catalog = Catalog(remote)
    assert list(read_events(catalog, [TRADES], 0, END_NS)) == one_of_each["trade"]
    assert list(read_events(catalog, [Stream("book", BTC)], 0, END_NS)) == one_of_each["book"]
    assert [finding for finding in check(catalog).findings if finding.severity == "error"] == []
    assert set(catalog.root.files()) == {"manifest.jsonl", *(entry.path for entry in catalog.entries)}
    assert Catalog(tmp_path / "bucket/data").entries == catalog.entries


def test_a_file_uri_is_the_local_folder(tmp_path: Path, make_trades: Make) -> None:
    write(tmp_path / "data", make_trades(2))
    assert len(Catalog((tmp_path / "data").as_uri()).entries) == 1


# What it refuses ----------------------------------------------------------------------------------------------


def trade(**changes: Any) -> Trade:
    """A good trade but for the changes."""
    return msgspec.structs.replace(Trade(BTC, START_NS, START_NS, 100.0, 1.0, Side.BUY, 1), **changes)


def candle(**changes: Any) -> Candle:
    """A good candle but for the changes."""
    closed = START_NS + NS_PER_MIN
    good = Candle(BTC, closed, closed, START_NS, closed, 100.0, 102.0, 99.0, 101.0, 5.0, "1m")
    return msgspec.structs.replace(good, **changes)


def book(**changes: Any) -> BookUpdate:
    """A good snapshot but for the changes."""
    good = BookUpdate(BTC, START_NS, START_NS, (99.0, 98.0), (1.0, 1.0), (100.0, 101.0), (1.0, 1.0), True)
    return msgspec.structs.replace(good, **changes)


NAN, INF = float("nan"), float("inf")
REFUSED: list[tuple[MarketEvent, str]] = [
    (trade(price=NAN), "price is nan; a price is a finite number above zero"),
    (trade(price=INF), "price is inf; a price is a finite number above zero"),
    (trade(price=0.0), "price is 0.0; a price is a finite number above zero"),
    (trade(price=-1.5), "price is -1.5; a price is a finite number above zero"),
    (trade(qty=-1.0), "qty is -1.0; a size is a finite number, zero or above"),
    (trade(qty=NAN), "qty is nan; a size is a finite number, zero or above"),
    (trade(received_ns=START_NS - 2), "received_ns goes back from 2026-01-01T12:00:00Z; "),
    (Ticker(BTC, 1, START_NS, 0.0, 1.0, None, None), "bid is 0.0; a price is a finite number above zero"),
    (Ticker(BTC, 1, START_NS, None, INF, None, None), "bid_qty is inf; a size is a finite number, zero or above"),
    (candle(low=-INF), "low is -inf; a price is a finite number above zero"),
    (candle(volume=NAN), "volume is nan; a size is a finite number, zero or above"),
    (candle(high=100.5), "close 101.0 lies outside of low 99.0 to high 100.5"),
    (candle(high=98.0, low=99.0), "open 100.0 lies outside of low 99.0 to high 98.0"),
    (candle(low=100.5), "open 100.0 lies outside of low 100.5 to high 102.0"),
    (candle(close_ns=START_NS), "the candle closes at 2026-01-01T12:00:00Z, not after it opens"),
    (book(bid_prices=(99.0, 0.0)), "bid_prices is 0.0; a price is a finite number above zero"),
    (book(ask_qtys=(1.0, -2.0)), "ask_qtys is -2.0; a size is a finite number, zero or above"),
    (book(bid_prices=(98.0, 100.5)), "the snapshot is crossed: best bid 100.5 is above best ask 100.0"),
    (Funding(BTC, 1, START_NS, NAN, 1, True), "rate is nan; it must be a finite number"),
    (OpenInterest(BTC, 1, START_NS, -1.0), "qty is -1.0; a size is a finite number, zero or above"),
    (OpenInterest(BTC, 1, START_NS, NAN), "qty is nan; a size is a finite number, zero or above"),
    (OpenInterest(BTC, 1, START_NS, 1.0, INF), "coins is inf; a size is a finite number, zero or above"),
    (OpenInterest(BTC, 1, START_NS, 1.0, None, -2.0), "usd is -2.0; a size is a finite number, zero or above"),
]


def good_before(event: MarketEvent) -> MarketEvent:
    """A row that the event may follow."""
    match event:
        case Trade():
            return trade()
        case Candle():
            day = NS_PER_DAY
            return candle(received_ns=START_NS - day, open_ns=START_NS - day - NS_PER_MIN, close_ns=START_NS - day)
        case BookUpdate():
            return book()
        case Ticker():
            return Ticker(BTC, 1, START_NS, None, None, None, None)
        case OpenInterest():
            return OpenInterest(BTC, 1, START_NS, 0.0)
        case _:
            return Funding(BTC, 1, START_NS, 0.0, 1, True)


@pytest.mark.parametrize(("bad", "message"), REFUSED)
@pytest.mark.parametrize("separately", [False, True])
def test_what_must_never_be_stored_is_refused(tmp_path: Path, bad: MarketEvent, message: str, separately: bool) -> None:
    stream = Stream(KINDS[type(bad)], BTC, "1m" if isinstance(bad, Candle) else "")
    good = good_before(bad)
    runs = [[good], [bad]] if separately else [[good, bad]]
    with pytest.raises(DataError) as caught:
        write(tmp_path, *runs)
    stamp = "2026-01-01T11:59:59.999999998Z" if "goes back" in message else "2026-01-01T12:0"
    assert str(caught.value).startswith(f"{stream}, row 1 ({stamp}")
    assert message in str(caught.value)
    assert tree(tmp_path) == {}


def test_a_snapshot_level_of_no_size_does_not_cross(tmp_path: Path) -> None:
    events: list[MarketEvent] = [book(bid_prices=(100.0, 98.0), bid_qtys=(0.0, 1.0)), book(bid_prices=(), bid_qtys=())]
    write(tmp_path, events)
    assert stored(tmp_path, Stream("book", BTC)) == events


def test_an_update_may_cross_because_it_is_no_whole_book(tmp_path: Path) -> None:
    write(tmp_path, [book(bid_prices=(105.0, 98.0), is_snapshot=False)])
    assert len(stored(tmp_path, Stream("book", BTC))) == 1


def test_the_crossed_snapshot_is_found_among_updates_and_empty_sides(tmp_path: Path) -> None:
    empty = book(bid_prices=(), bid_qtys=())
    update = book(bid_prices=(200.0, 1.0), is_snapshot=False)
    locked, crossed = book(bid_prices=(99.0, 100.0)), book(bid_prices=(99.0, 100.5))
    with pytest.raises(DataError, match=r"row 3 .*best bid 100\.5 is above best ask 100\.0"):
        write(tmp_path, [empty, update, locked, crossed, empty])


def test_updates_before_the_first_snapshot_and_after_the_last_do_not_hide_a_crossed_one(tmp_path: Path) -> None:
    """The row in the message counts from the block's first, whatever comes before the snapshot."""
    update, crossed = book(bid_prices=(200.0, 1.0), is_snapshot=False), book(bid_prices=(99.0, 100.5))
    with pytest.raises(DataError, match=r"row 2 .*best bid 100\.5 is above best ask 100\.0"):
        write(tmp_path, [update, update, crossed, update])


def test_a_candle_that_comes_twice_is_refused(tmp_path: Path, make_candles: Make) -> None:
    one, two = make_candles(2)
    assert isinstance(two, Candle)
    again = msgspec.structs.replace(two, received_ns=two.received_ns + 50)
    for runs in ([[one, two, again]], [[one, two], [again]]):
        with pytest.raises(DataError, match=r"row 2 .*: the candle opens at 2026-01-01T12:01:00Z, not after the one"):
            write(tmp_path, *runs)


def columns(**changes: Any) -> Block:
    """A block of two book updates but for the changes."""
    good: dict[str, Any] = {
        "received_ns": np.array([1, 2]),
        "exchange_ns": np.array([1, 2]),
        "bid_start": np.array([0, 1, 2]),
        "bid_prices": np.array([1.0, 2.0]),
        "bid_qtys": np.array([1.0, 2.0]),
        "ask_start": np.array([0, 0, 0]),
        "ask_prices": np.empty(0),
        "ask_qtys": np.empty(0),
        "is_snapshot": np.array([False, False]),
        "update_seq": np.array([1, 2]),
        "prev_update_seq": np.array([0, 1]),
    }
    good.update(changes)
    return Block(Stream("book", BTC), 2, {name: array for name, array in good.items() if array is not None})


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (columns(bid_qtys=np.array([1.0])), "column bid_qtys has shape (1,), not (2,); lengths must agree"),
        (columns(exchange_ns=np.array([1])), "column exchange_ns has shape (1,), not (2,); lengths must agree"),
        (columns(bid_start=np.array([0, 3, 2])), "offsets of book levels must start at 0 and never fall"),
        (columns(bid_start=np.array([1, 1, 2])), "offsets of book levels must start at 0 and never fall"),
        (columns(update_seq=None), "the block has no column update_seq"),
        (columns(update_seq=np.array([1.5, 2])), "column update_seq is float64, not int64"),
        (columns(seq=np.array([1, 1]), received_ns=np.array([2, 2])), "seq 1 follows 1 at the same stamp"),
    ],
)
def test_columns_that_do_not_fit_together_are_refused(tmp_path: Path, block: Block, message: str) -> None:
    with pytest.raises(DataError) as caught:
        Writer(tmp_path).write(block)
    assert message in str(caught.value)
    assert f"{BTC} book" in str(caught.value)


@pytest.mark.parametrize("cause", [None, 7, "x" * 10_001, "\ud800"])
def test_a_text_that_is_none_is_refused(tmp_path: Path, cause: Any) -> None:
    with pytest.raises(DataError, match="column cause"):
        write(tmp_path, [Gap(BTC, 1, 1, "book", 0, 1, cause)])
    assert tree(tmp_path) == {}


def test_a_side_that_is_neither_is_refused(tmp_path: Path, make_trades: Make) -> None:
    block = Block.from_events(make_trades(2))
    names = ("received_ns", "exchange_ns", "price", "qty", "trade_id")
    bad = Block(TRADES, 2, {**{name: block.column(name) for name in names}, "side": np.array([1, 2], np.int8)})
    with pytest.raises(DataError, match=r"row 1 .*: side is 2; a side is 0 \(buy\) or 1 \(sell\)"):
        Writer(tmp_path).write(bad)


def test_a_hostile_instrument_name_writes_nothing(tmp_path: Path, make_trades: Make) -> None:
    with pytest.raises(ConfigError, match=r"instrument id '\.\./\.\./x' is not usable"):
        write(tmp_path / "data", make_trades(1, instrument="../../x"))
    assert tree(tmp_path) == {}


# Overlap ------------------------------------------------------------------------------------------------------


def test_rows_over_stored_ones_are_refused_with_both_spans(tmp_path: Path, make_trades: Make) -> None:
    write(tmp_path, make_trades(10))
    before = tree(tmp_path)
    with pytest.raises(DataError) as caught:
        write(tmp_path, make_trades(3, start_ns=START_NS + 9 * NS_PER_S))
    assert str(caught.value) == (
        f"{BTC} trade: new rows from 2026-01-01T12:00:09Z on overlap stored rows from "
        "2026-01-01T12:00:00Z to 2026-01-01T12:00:09Z "
        "(exchange=binance/kind=trade/instrument=BTC-USDT-SWAP/date=2026-01-01/part-0.parquet); "
        "write with replace=True (`--replace`) to put them in the place of the stored ones"
    )
    assert tree(tmp_path) == before


def test_rows_that_begin_before_stored_ones_and_run_into_them_are_refused(tmp_path: Path, make_trades: Make) -> None:
    write(tmp_path, make_trades(10))
    before = tree(tmp_path)
    early = make_trades(10, start_ns=START_NS - 5 * NS_PER_S)
    with pytest.raises(DataError, match="from 2026-01-01T11:59:55Z to 2026-01-01T12:00:04Z overlap stored rows"):
        write(tmp_path, early)
    assert tree(tmp_path) == before


def test_rows_before_after_and_between_stored_ones_are_further_parts(tmp_path: Path, make_trades: Make) -> None:
    middle, late, early = (make_trades(3, start_ns=START_NS + shift * NS_PER_S) for shift in (0, 10, -10))
    for run in (middle, late, early):
        write(tmp_path, run)
    assert stored(tmp_path) == early + middle + late
    assert [entry.path[-14:] for entry in Catalog(tmp_path).entries] == [
        "part-2.parquet",
        "part-0.parquet",
        "part-1.parquet",
    ]


def test_other_streams_never_overlap(tmp_path: Path, make_trades: Make, make_candles: Make) -> None:
    write(tmp_path, make_trades(3), make_candles(3))
    write(tmp_path, make_trades(3, instrument="BTC-USDT-SWAP"))
    five = [msgspec.structs.replace(event, interval="5m") for event in make_candles(3) if isinstance(event, Candle)]
    write(tmp_path, list(five))
    assert len(Catalog(tmp_path).coverage()) == 4


def test_replace_takes_the_span_and_leaves_the_rest_with_its_origin(tmp_path: Path, make_trades: Make) -> None:
    old = make_trades(10)
    with Writer(tmp_path, source="old") as writer:
        writer.note("received_shift_ns", 5)
        writer.write(Block.from_events(old))
    new = make_trades(2, start_ns=START_NS + 4 * NS_PER_S, step_ns=NS_PER_S // 2)
    write(tmp_path, new, replace=True, source="new")
    assert stored(tmp_path) == [*old[:4], *new, *old[5:]]
    entries = Catalog(tmp_path).entries
    assert [(entry.source, entry.rows, entry.notes) for entry in entries] == [
        ("old", 4, {"received_shift_ns": 5}),
        ("new", 2, {}),
        ("old", 5, {"received_shift_ns": 5}),
    ]
    assert set(tree(tmp_path)) == {"manifest.jsonl", *(entry.path for entry in entries)}
    assert [f for f in check(Catalog(tmp_path)).findings if f.severity == "error"] == []


def test_replace_by_the_same_rows_changes_no_row(tmp_path: Path, one_of_each: dict[str, list[MarketEvent]]) -> None:
    write(tmp_path, *one_of_each.values())
    write(tmp_path, *one_of_each.values(), replace=True)
    for kind, events in one_of_each.items():
        assert stored(tmp_path, Stream(kind, BTC, "1m" if kind == "candle" else "")) == events


def test_a_candle_received_at_another_moment_is_still_the_same_candle(tmp_path: Path, make_candles: Make) -> None:
    events = make_candles(3)
    write(tmp_path, events)
    last = events[-1]
    assert isinstance(last, Candle)
    later = msgspec.structs.replace(last, received_ns=last.received_ns + 50)
    with pytest.raises(DataError, match="overlap stored rows"):
        write(tmp_path, [later])
    write(tmp_path, [later], replace=True)
    assert stored(tmp_path, Stream("candle", BTC, "1m")) == [*events[:2], later]


# All or nothing -----------------------------------------------------------------------------------------------


def test_an_exception_in_the_middle_leaves_nothing(tmp_path: Path, make_trades: Make) -> None:
    write(tmp_path, make_trades(3))
    before = tree(tmp_path)

    def interrupted() -> None:
        with Writer(tmp_path) as writer:
            writer.write(Block.from_events(make_trades(3000, start_ns=START_NS + NS_PER_DAY, step_ns=NS_PER_MIN)))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert tree(tmp_path) == before


@pytest.mark.parametrize("call", ["fsync", "replace", "mkdir"])
def test_a_disk_that_refuses_at_any_point_leaves_the_catalog_as_it_was(
    tmp_path: Path, make_trades: Make, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Every single call of a commit fails once; only after the manifest's rename does the commit stand."""
    write(tmp_path, make_trades(3), make_trades(3, instrument="ETH-USDT"))
    before = tree(tmp_path)
    old = make_trades(3)
    (new,) = make_trades(1, start_ns=START_NS + NS_PER_S)
    both = [old[0], new, old[2]]
    owner: Any = os if call == "fsync" else Path
    real = getattr(owner, call)
    failed = 0
    for failing in range(1, 100):
        calls = 0

        def broken(*args: Any, failing: int = failing, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(owner, call, broken)
            try:
                with Writer(tmp_path, replace=True) as writer:
                    writer.write(Block.from_events([new]))
                    writer.write_instrument(Instrument(BTC, price_step="0.5", qty_step="1"))
            except DataError as caught:
                error = caught
            else:
                break
        assert "No space left on device" in str(error)
        failed += 1
        if stored(tmp_path) == old:
            assert tree(tmp_path) == before
            assert "visible" not in str(error)
        else:
            # The rename of the manifest had happened, so the new rows stand and nothing of theirs was taken away.
            assert stored(tmp_path) == both
            assert "; the new rows are visible, but may be lost if the machine stops" in str(error)
    assert failed >= {"fsync": 8, "replace": 5, "mkdir": 5}[call]
    assert stored(tmp_path) == both
    assert [f for f in check(Catalog(tmp_path)).findings if f.severity == "error"] == []


KILLED = """
import os, signal, sys
from quantkit.events import Trade
from quantkit.instruments import Side
from quantkit.storage import manifest
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer

manifest.dump = lambda entries: os.kill(os.getpid(), signal.SIGKILL)
with Writer(sys.argv[1]) as writer:
    writer.write(Block.from_events([Trade(sys.argv[2], 1, int(sys.argv[3]), 1.0, 1.0, Side.BUY, 1)]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_a_kill_before_the_manifest_is_renamed_changes_nothing_that_is_read(tmp_path: Path, make_trades: Make) -> None:
    write(tmp_path, make_trades(3))
    arguments = [sys.executable, "-c", KILLED, str(tmp_path), BTC, str(START_NS + NS_PER_MIN)]
    assert subprocess.run(arguments, check=False).returncode == -signal.SIGKILL
    assert stored(tmp_path) == make_trades(3)
    folder = "exchange=binance/kind=trade/instrument=BTC-USDT-SWAP/date=2026-01-01"
    orphan, leftover = (finding for finding in check(Catalog(tmp_path)).findings if finding.where != BTC)
    assert (orphan.severity, orphan.where) == ("warning", f"{folder}/part-1.parquet")
    assert orphan.what == "is not in the manifest and is never read; import its rows again, then delete it"
    assert leftover.where.startswith(".staging-")
    assert leftover.what == "is left from a write that did not end, or that is under way; delete it if not"
    # Neither the lock nor the files that the killed one left stand in the way of the next writer.
    write(tmp_path, make_trades(1, start_ns=START_NS + 2 * NS_PER_MIN))
    assert [entry.path for entry in Catalog(tmp_path).entries] == [
        f"{folder}/part-0.parquet",
        f"{folder}/part-2.parquet",
    ]


FULL = """
import resource, signal, sys
from quantkit.errors import DataError
from quantkit.events import Trade
from quantkit.instruments import Side
from quantkit.rows.columns import Block
from quantkit.storage.writer import Writer

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    with Writer(sys.argv[1], row_group_rows=100) as writer:
        events = [Trade("BTC-USDT", i, i * 997 % 31 + i * 50, 1.0 + i * 0.7 % 9, 1.0, Side.BUY, i) for i in range(2000)]
        for at in range(0, 2000, 100):
            writer.write(Block.from_events(events[at : at + 100]))
except DataError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs file size limits")
@pytest.mark.parametrize("limit_bytes", [0, 4, 1_000, 10_000, 20_000])
def test_a_disk_that_is_full_in_the_middle_is_one_clear_line(tmp_path: Path, limit_bytes: int) -> None:
    arguments = [sys.executable, "-c", FULL, str(tmp_path), str(limit_bytes)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout == (
        "BTC-USDT trade: rows cannot be written: [Errno 27] File too large; free space and write them again\n"
    )
    assert done.stderr == ""
    assert tree(tmp_path) == {}
    assert not list(tmp_path.glob(".staging-*"))


def test_two_writers_at_once_keep_each_others_files(tmp_path: Path, make_trades: Make) -> None:
    one, two, three = Writer(tmp_path), Writer(tmp_path), Writer(tmp_path)
    one.write(Block.from_events(make_trades(3)))
    two.write(Block.from_events(make_trades(3, start_ns=START_NS + NS_PER_MIN)))
    three.write(Block.from_events(make_trades(3, start_ns=START_NS + 2 * NS_PER_S)))
    two.commit()
    one.commit()
    with pytest.raises(DataError, match="overlap stored rows"):
        three.commit()
    assert stored(tmp_path) == make_trades(3) + make_trades(3, start_ns=START_NS + NS_PER_MIN)
    assert not [path for path in tree(tmp_path) if path.startswith(".staging")]


def test_a_root_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file.*: cannot be written: .*; a file lies where a folder should be"):
        Writer(tmp_path / "file")
