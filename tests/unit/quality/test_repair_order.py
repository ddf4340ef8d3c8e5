"""Rows out of order are sorted and exact doubles dropped; rows that differ stay, and what cannot be mended is said."""

import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from damage import lines_of, resealed, write_lines
from quality_rows import BTC, START_NS, at, books, candles, checked, stored, tickers, trades

from quantkit.cli import main
from quantkit.clock import NS_PER_DAY
from quantkit.errors import DataError
from quantkit.events import MarketEvent
from quantkit.quality.repair import JOURNAL, LEFT, Repair, planned, repair
from quantkit.rows.columns import Block, Stream
from quantkit.storage import sorting
from quantkit.storage.catalog import Catalog
from quantkit.storage.manifest import Manifest, dump
from quantkit.storage.reader import read_blocks
from quantkit.storage.root import Root
from quantkit.storage.rows_digest import rows_digest
from quantkit.storage.writer import Writer

TRADE = Stream("trade", BTC)
ALL = -(2**63), 2**63 - 1


def digest_of(folder: Path, stream: Stream = TRADE) -> str:
    return rows_digest(Catalog(folder), stream, *ALL)


def rewritten(root: Path, rows: Callable[[Any], Any], stream: Stream = TRADE, row_group_rows: int = 100) -> Path:
    """Write a stream's only file anew as some tool might, with its line of the manifest."""
    held = lines_of(root).entries
    (entry,) = (each for each in held if each.stream == stream)
    path = root / entry.path
    table = rows(pq.read_table(path, partitioning=None))
    pq.write_table(table, path, row_group_size=row_group_rows, write_page_checksum=True)
    write_lines(root, [each if each is not entry else resealed(root, entry) for each in held])
    return path


def shuffled(table: Any) -> Any:
    return table.take(np.random.default_rng(7).permutation(len(table)))


def mended(folder: Path) -> list[Repair]:
    return list(repair(Root.of(folder), 0))


def united(folder: Path, *others: Path) -> Path:
    """Put the files of other folders into one, manifest lines and all."""
    lines = lines_of(folder).entries
    for number, other in enumerate(others):
        for entry in lines_of(other).entries:
            if entry.kind == "instrument":
                continue
            path = entry.path.replace("part-", f"part-{number + 1}")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes((other / entry.path).read_bytes())
            lines.append(msgspec.structs.replace(entry, path=path))
    (folder / "manifest.jsonl").write_bytes(dump(Manifest(lines, [], [])))
    return folder


@pytest.mark.parametrize(
    ("rows", "stream"),
    [
        (trades(600), TRADE),
        (books(600), Stream("book", BTC)),
        (tickers(600), Stream("ticker", BTC)),
        (candles(trades(1200), 20), Stream("candle", BTC, "1m")),
    ],
)
def test_shuffled_rows_are_sorted(tmp_path: Path, rows: Sequence[MarketEvent], stream: Stream) -> None:
    """Every kind, over row groups; the digest is that of the rows before somebody shuffled them."""
    folder = stored(tmp_path / "data", rows)
    before = digest_of(folder, stream)
    rewritten(folder, shuffled, stream)
    assert [finding.code for finding in checked(folder).findings] == ["unreadable"]
    manifest = (folder / "manifest.jsonl").read_bytes()
    (plan,) = planned(Root.of(folder), 0)
    assert (plan.action, plan.rows_before, plan.rows_after) == ("sort", len(rows), len(rows))
    assert plan.digest_after == before
    assert plan.digest_before == ""  # readers refuse it
    assert (folder / "manifest.jsonl").read_bytes() == manifest
    assert mended(folder) == [plan]
    assert digest_of(folder, stream) == before
    assert checked(folder).findings == []
    assert planned(Root.of(folder), 0) == []
    (line,) = (folder / JOURNAL).read_bytes().splitlines()
    assert msgspec.json.decode(line)["digest_after"] == before


def test_rows_of_one_stamp_go_by_their_number(tmp_path: Path) -> None:
    same = [msgspec.structs.replace(row, received_ns=START_NS) for row in trades(300)]
    folder = stored(tmp_path / "data", same)
    before = digest_of(folder)
    rewritten(folder, shuffled)
    assert [each.action for each in mended(folder)] == ["sort"]
    assert digest_of(folder) == before


def test_memory_holds_a_few_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and decoded row groups are bounded, and both ways give the same rows."""
    folder = stored(tmp_path / "data", trades(400))
    before = digest_of(folder)
    rewritten(folder, shuffled, row_group_rows=50)
    monkeypatch.setattr(sorting, "_BLOCK_ROWS", 64)
    monkeypatch.setattr(sorting, "_GROUPS_HELD", 2)
    rows = sorting.SortedRows(Root.of(folder), lines_of(folder).entries[1:])
    assert [block.size for block in rows.blocks()] == [64] * 6 + [16]
    assert len(rows._held) == 2
    assert [each.action for each in mended(folder)] == ["sort"]
    assert digest_of(folder) == before


@pytest.mark.parametrize(
    ("rows", "stream"),
    [
        (trades(300), TRADE),
        (books(300), Stream("book", BTC)),
        (tickers(300), Stream("ticker", BTC)),
        (candles(trades(1200), 20), Stream("candle", BTC, "1m")),
    ],
)
def test_exact_doubles_are_dropped(tmp_path: Path, rows: Sequence[MarketEvent], stream: Stream) -> None:
    folder = stored(tmp_path / "data", rows)
    before = digest_of(folder, stream)
    rewritten(folder, lambda table: pa.concat_tables([table, table.slice(5, 7), table.slice(11, 4)]), stream)
    (plan,) = planned(Root.of(folder), 0)
    assert (plan.rows_before, plan.rows_after) == (len(rows) + 11, len(rows))
    assert "11 exact doubles" in plan.what
    assert mended(folder) == [plan]
    assert digest_of(folder, stream) == before


def test_doubles_in_order_are_dropped_and_both_digests_stated(tmp_path: Path) -> None:
    """Nothing but the doubles is wrong: readers get these rows, so they have a digest before too."""
    rows = trades(200)
    once = digest_of(stored(tmp_path / "once", rows))
    folder = stored(tmp_path / "data", [*rows[:50], rows[49], rows[49], *rows[50:]])
    before = digest_of(folder)
    (plan,) = planned(Root.of(folder), 0)
    assert (plan.digest_before, plan.digest_after) == (before, once)
    assert mended(folder) == [plan]
    assert digest_of(folder) == once


def test_doubles_on_both_sides_of_a_row_group_are_found(tmp_path: Path) -> None:
    rows = trades(200)
    folder = stored(tmp_path / "data", [*rows[:100], rows[99], *rows[100:]], row_group_rows=100)
    assert [each.rows_after for each in mended(folder)] == [200]


def test_rows_that_differ_stay(tmp_path: Path) -> None:
    """One id twice, with another price, another stamp, or no id at all: nobody knows which one is right."""
    rows = trades(100)
    folder = stored(
        tmp_path / "data",
        [
            *rows[:50],
            msgspec.structs.replace(rows[49], price=1.0),
            msgspec.structs.replace(rows[49], exchange_ns=rows[49].exchange_ns + 1),
            *rows[50:99],
            *[msgspec.structs.replace(rows[99], trade_id=0)] * 3,
        ],
    )
    assert planned(Root.of(folder), 0) == []
    assert mended(folder) == []


def test_a_quote_that_comes_back_is_no_double(tmp_path: Path) -> None:
    """One, another, the first again, at one stamp: without the third the second would be in force."""
    first, other = (msgspec.structs.replace(row, received_ns=START_NS, exchange_ns=START_NS) for row in tickers(2))
    folder = stored(tmp_path / "data", [first, other, first])
    assert planned(Root.of(folder), 0) == []


def test_files_that_overlap_become_one_run_of_rows(tmp_path: Path) -> None:
    """Two folders laid together, which share some rows: read as one, each row once."""
    rows = trades(400)
    whole = digest_of(stored(tmp_path / "whole", rows))
    folder = united(stored(tmp_path / "a", rows[:250]), stored(tmp_path / "b", rows[200:]))
    with pytest.raises(DataError, match="overlap"):
        list(read_blocks(Catalog(folder), TRADE, start_ns=ALL[0], end_ns=ALL[1]))
    (plan,) = planned(Root.of(folder), 0)
    assert (plan.rows_before, plan.rows_after, len(plan.files)) == (450, 400, 2)
    assert "50 exact doubles" in plan.what
    assert "2 files that overlap" in plan.what
    assert mended(folder) == [plan]
    assert digest_of(folder) == whole
    assert [finding.code for finding in checked(folder).findings] == []


def test_files_that_overlap_and_contradict_stay(tmp_path: Path) -> None:
    """Two recordings of the same trades: each has its own stamps of receipt, and to keep both would double them."""
    rows = trades(400)
    late = [msgspec.structs.replace(row, received_ns=row.received_ns + 1_000_000) for row in rows[200:]]
    folder = united(stored(tmp_path / "a", rows[:250]), stored(tmp_path / "b", late))
    (plan,) = planned(Root.of(folder), 0)
    assert plan.action == LEFT
    assert "50 rows of files that overlap share an id and differ" in plan.what
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert mended(folder) == [plan]
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_files_that_overlap_without_ids_stay(tmp_path: Path) -> None:
    rows = [msgspec.structs.replace(row, trade_id=0) for row in trades(100)]
    folder = united(stored(tmp_path / "a", rows[:60]), stored(tmp_path / "b", rows[50:]))
    (plan,) = mended(folder)
    assert plan.action == LEFT
    assert "have no id to tell doubles by" in plan.what


def test_two_files_of_one_hour_each_other_day_stay_as_they_are(tmp_path: Path) -> None:
    """Files of a stream that do not overlap are looked at one by one."""
    rows = trades(100)
    later = [
        msgspec.structs.replace(row, received_ns=row.received_ns + NS_PER_DAY, exchange_ns=at(0) + NS_PER_DAY)
        for row in trades(50, first_id=101)
    ]
    folder = united(stored(tmp_path / "a", rows), stored(tmp_path / "b", later))
    assert planned(Root.of(folder), 0) == []


def test_candles_that_contradict_each_other_stay(tmp_path: Path) -> None:
    """The same minute twice with other numbers: no order makes them readable."""
    rows = candles(trades(600), 10)
    folder = stored(tmp_path / "data", rows)

    def doubled(table: Any) -> Any:
        other = table.slice(3, 1)
        volume = other.schema.get_field_index("volume")
        changed = other.set_column(volume, other.schema.field(volume), pa.array([99.0]))
        return pa.concat_tables([table, changed])

    rewritten(folder, doubled, Stream("candle", BTC, "1m"))
    (plan,) = planned(Root.of(folder), 0)
    assert plan.action == LEFT
    assert "not after the one before it" in plan.what
    assert mended(folder) == [plan]
    assert not (folder / JOURNAL).exists()


def test_a_damaged_file_is_said_and_stays(tmp_path: Path) -> None:
    folder = stored(tmp_path / "data", trades(100), tickers(50))
    entry = next(each for each in lines_of(folder).entries if each.kind == "trade")
    (folder / entry.path).write_bytes((folder / entry.path).read_bytes()[:-5])
    (plan,) = planned(Root.of(folder), 0)
    assert (plan.action, plan.files) == (LEFT, (entry.path,))
    said = CliRunner().invoke(main, ["data", "repair", str(folder)])
    assert "cannot be mended: " in said.output
    assert "nothing else to mend" in said.output


def test_an_unlisted_file_with_other_rows_is_named_once(tmp_path: Path) -> None:
    """Where stored ones of its time differ, it stays; its path is whole on a narrow terminal."""
    folder = stored(tmp_path / "data", trades(60))
    other = stored(tmp_path / "other", [msgspec.structs.replace(row, price=99.5) for row in trades(60)])
    (path,) = (each.path for each in lines_of(other).entries if each.stream == TRADE)
    copy = (folder / path).with_name("copy.parquet")
    copy.write_bytes((other / path).read_bytes())
    said = CliRunner().invoke(main, ["data", "repair", str(folder)], env={"COLUMNS": "80"}).output
    assert said.count(str(copy)) == 1
    assert "its rows are not the stored ones of its time" in said
    assert [each.action for each in mended(folder)] == [LEFT]
    assert copy.exists()


def test_an_unlisted_file_out_of_order_is_adopted_in_order(tmp_path: Path) -> None:
    folder = stored(tmp_path / "data", trades(600), tickers(10))
    before = digest_of(folder)
    rewritten(folder, shuffled)
    held = lines_of(folder).entries
    write_lines(folder, [each for each in held if each.stream != TRADE])
    (done,) = mended(folder)
    assert (done.action, done.digest_after) == ("adopt", before)
    assert digest_of(folder) == before


def test_adopting_holds_one_row_group(tmp_path: Path) -> None:
    """Of a file with many: to look at it takes a small part of what its rows take; the writer is bounded by itself."""
    price = np.random.default_rng(1).uniform(1, 2, 400_000)
    now = START_NS + np.arange(len(price))
    columns = {"received_ns": now, "exchange_ns": now, "price": price, "qty": price}
    columns |= {"side": np.zeros(len(price), np.int8), "trade_id": np.arange(1, len(price) + 1)}
    with Writer(tmp_path / "data", row_group_rows=10_000) as writer:
        writer.write(Block(TRADE, len(price), columns))
    folder = stored(tmp_path / "data", tickers(10))
    before = digest_of(folder)
    write_lines(folder, [each for each in lines_of(folder).entries if each.stream != TRADE])
    tracemalloc.start()
    assert [each.action for each in planned(Root.of(folder), 0)] == ["adopt"]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.2 * sum(column.nbytes for column in columns.values())
    assert [each.action for each in mended(folder)] == ["adopt"]
    assert digest_of(folder) == before


def test_of_two_unlisted_files_with_the_same_rows_one_is_adopted(tmp_path: Path) -> None:
    folder = stored(tmp_path / "data", trades(60), tickers(10))
    before = digest_of(folder)
    held = lines_of(folder).entries
    (entry,) = (each for each in held if each.stream == TRADE)
    path = folder / entry.path
    path.with_name("copy.parquet").write_bytes(path.read_bytes())
    write_lines(folder, [each for each in held if each.stream != TRADE])
    assert [each.action for each in mended(folder)] == ["adopt", "remove double"]
    assert digest_of(folder) == before
    assert planned(Root.of(folder), 0) == []


def test_the_command_states_the_digests(tmp_path: Path) -> None:
    rows = trades(200)
    folder = stored(tmp_path / "data", [*rows[:50], rows[49], *rows[50:]])
    said = CliRunner().invoke(main, ["data", "repair", str(folder)]).output
    assert "1 exact double in 201 rows" in " ".join(said.split())
    assert f"before: {digest_of(folder)[:16]}" in said
    CliRunner().invoke(main, ["data", "repair", str(folder), "--yes"])
    assert f"after: {digest_of(folder)[:16]}" in said
