"""Gap rows: those of all channels lie in one stream, join what is stored, and go with the rows they tell of."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S, time_ns_of
from quantkit.errors import DataError
from quantkit.events import BookUpdate, Candle, Gap, MarketEvent
from quantkit.quality import check
from quantkit.rows.columns import Block, Stream
from quantkit.storage import manifest
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_blocks, read_events
from quantkit.storage.root import Root
from quantkit.storage.writer import Writer

BTC = "binance:BTC-USDT-SWAP"
GAPS = Stream("gap", BTC)
FOLDER = "exchange=binance/kind=gap/instrument=BTC-USDT-SWAP"
START_NS = time_ns_of("2026-01-01T12:00:00Z")
END_NS = 2**62
Make = Callable[..., list[MarketEvent]]


def gap(at: float, channel: str, *, lost_s: float = 1, instrument: str = BTC, cause: str = "missing") -> Gap:
    """A gap that is told `at` seconds after the start and ends there."""
    end_ns = START_NS + int(at * NS_PER_S)
    return Gap(instrument, end_ns, end_ns, channel, end_ns - int(lost_s * NS_PER_S), end_ns, cause)


def write(root: Path, *runs: list[Any], cut: int = 1_000, **options: Any) -> None:
    """Write runs of events in one commit, in blocks of `cut` rows."""
    with Writer(root, **options) as writer:
        for run in runs:
            for at in range(0, len(run), cut):
                writer.write(Block.from_events(run[at : at + cut]))


def stored(root: Path, stream: Stream = GAPS) -> list[MarketEvent]:
    """Every stored event of a stream, from folders that are as they should be."""
    catalog = Catalog(root)
    assert [
        finding for finding in check(catalog).findings if finding.severity == "error" or "manifest" in finding.what
    ] == []
    return list(read_events(catalog, [stream], 0, END_NS))


def tree(root: Path) -> dict[str, bytes]:
    """Every file below a root but the lock."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def five_minutes(candles: list[MarketEvent]) -> list[MarketEvent]:
    """The same candles under another interval."""
    return [msgspec.structs.replace(candle, interval="5m") for candle in candles if isinstance(candle, Candle)]


# Joining ------------------------------------------------------------------------------------------------------


def test_gaps_of_a_second_import_join_those_of_the_first(tmp_path: Path, make_candles: Make, make_trades: Make) -> None:
    minutes = [gap(60, "candle 1m"), gap(300, "candle 1m")]
    fives = [gap(0, "candle 5m"), gap(300, "candle 5m"), gap(600, "candle 5m")]
    trades = [gap(200, "trade", lost_s=0.25)]
    write(tmp_path, make_candles(9), minutes)
    write(tmp_path, five_minutes(make_candles(9)), fives)
    write(tmp_path, make_trades(9), trades)
    assert stored(tmp_path) == [fives[0], minutes[0], trades[0], minutes[1], fives[1], fives[2]]
    (entry,) = Catalog(tmp_path).files(GAPS, 0, END_NS)
    assert (entry.rows, entry.path.rpartition("/")[0]) == (6, f"{FOLDER}/month=2026-01")
    (block,) = read_blocks(Catalog(tmp_path), GAPS, start_ns=0, end_ns=END_NS)
    assert block.column("seq").tolist() == list(range(6))


def test_a_gap_that_is_stored_already_is_not_stored_again(tmp_path: Path) -> None:
    first = [gap(0, "book"), gap(5, "trade")]
    write(tmp_path, first)
    before = tree(tmp_path)
    for again, replace in ((first, False), ([first[1]], True)):
        write(tmp_path, again, replace=replace)
        assert tree(tmp_path) == before
    # One that differs in a single field is another gap.
    others = [
        gap(0, "book", cause="crossed"),
        gap(0, "book", lost_s=2),
        gap(0, "books"),
        gap(5, "trade"),
        gap(6, "trade"),
    ]
    write(tmp_path, others)
    assert stored(tmp_path) == [first[0], *others[:3], first[1], others[4]]


def test_equal_gaps_of_one_commit_are_one(tmp_path: Path) -> None:
    write(tmp_path, [gap(0, "book"), gap(0, "book"), gap(1, "book"), gap(1, "book")], cut=3)
    assert stored(tmp_path) == [gap(0, "book"), gap(1, "book")]


def test_only_months_with_new_gaps_are_written_again(tmp_path: Path) -> None:
    months = [i * 31 * NS_PER_DAY / NS_PER_S for i in range(3)]
    write(tmp_path, [gap(at, "book") for at in months])
    before = {entry.first_ns: entry for entry in Catalog(tmp_path).entries}
    new = gap(months[1] - 5, "trade")
    write(tmp_path, [new])
    first, changed, last = Catalog(tmp_path).entries
    assert (first, last) == (before[first.first_ns], before[last.first_ns])
    assert (changed.rows, changed.path) == (2, f"{FOLDER}/month=2026-02/part-1.parquet")
    assert stored(tmp_path) == [gap(0, "book"), new, gap(months[1], "book"), gap(months[2], "book")]


def test_files_of_single_days_become_the_months(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Folders in which gaps lie by day read as before, and the next commit gathers them."""
    days = [gap(0, "book"), gap(86_400, "book")]
    entries = []
    for number, each in enumerate(days):
        root = tmp_path_factory.mktemp("day")
        write(root, [each])
        (entry,) = Catalog(root).entries
        moved = msgspec.structs.replace(entry, path=f"{FOLDER}/date=2026-01-0{number + 1}/part-0.parquet")
        (tmp_path / moved.path).parent.mkdir(parents=True)
        (root / entry.path).rename(tmp_path / moved.path)
        entries.append(moved)
    (tmp_path / "manifest.jsonl").write_bytes(manifest.dump(manifest.Manifest(entries, [], [])))
    assert stored(tmp_path) == days
    assert not Catalog(tmp_path).coverage()[GAPS].has_holes
    write(tmp_path, [gap(7, "trade")])
    assert stored(tmp_path) == [days[0], gap(7, "trade"), days[1]]
    assert [entry.path for entry in Catalog(tmp_path).entries] == [f"{FOLDER}/month=2026-01/part-0.parquet"]


def test_a_joined_file_names_all_its_sources(tmp_path: Path) -> None:
    for source, shift, at in (("one", 5, 0), ("two", 7, 1), ("one", 5, 2), ("", 0, 3)):
        with Writer(tmp_path, source=source) as writer:
            writer.note("received_shift_ns", shift)
            writer.note(f"note {at}", at)
            writer.write(Block.from_events([gap(at, "book")]))
    (entry,) = Catalog(tmp_path).entries
    assert entry.source == "one; two"
    assert entry.notes == {"received_shift_ns": 0, "note 0": 0, "note 1": 1, "note 2": 2, "note 3": 3}


@pytest.mark.parametrize("cut", [1, 2, 7, 100])
def test_equal_gaps_give_equal_files_whatever_blocks_they_came_in(tmp_path: Path, cut: int) -> None:
    old = [gap(i // 3, "book", lost_s=1 + i) for i in range(40)]
    new = [gap(i // 2, "trade", lost_s=1 + i // 5) for i in range(50)]
    roots = (tmp_path / "whole", tmp_path / "cut")
    for root, size in zip(roots, (1_000, cut), strict=True):
        write(root, old, cut=size, row_group_rows=8)
        write(root, new, cut=size, row_group_rows=8)
    assert tree(roots[0]) == tree(roots[1])
    assert stored(roots[1]) == sorted(dict.fromkeys(old + new), key=lambda event: event.received_ns)


def test_two_writers_at_once_keep_each_others_gaps(tmp_path: Path) -> None:
    one, two = Writer(tmp_path), Writer(tmp_path)
    one.write(Block.from_events([gap(0, "book"), gap(9, "book")]))
    two.write(Block.from_events([gap(5, "trade")]))
    two.commit()
    one.commit()
    assert stored(tmp_path) == [gap(0, "book"), gap(5, "trade"), gap(9, "book")]


def test_a_damaged_file_is_named_and_nothing_changes(tmp_path: Path) -> None:
    write(tmp_path, [gap(0, "book")])
    (entry,) = Catalog(tmp_path).entries
    content = bytearray((tmp_path / entry.path).read_bytes())
    content[8] ^= 1
    (tmp_path / entry.path).write_bytes(bytes(content))
    before = tree(tmp_path)
    with pytest.raises(DataError, match=r"gap.*the digest differs from the manifest's"):
        write(tmp_path, [gap(1, "book")])
    assert tree(tmp_path) == before


# Replacing ----------------------------------------------------------------------------------------------------


def test_replacing_clears_the_gaps_of_the_channels_it_replaces(tmp_path: Path, make_candles: Make) -> None:
    others = [gap(90, "candle 5m"), gap(120, "book"), gap(120, "candle 15m"), gap(150, "trades")]
    own = [gap(40, "candle 1m", lost_s=40), gap(180, "candle 1m", lost_s=120)]
    elsewhere = gap(180, "candle 1m", lost_s=120, instrument="BTC-USDT")
    candles = make_candles(9)
    with_hole = candles[:1] + candles[3:]
    write(tmp_path, with_hole, own)
    write(tmp_path, five_minutes(candles), others[:1])
    write(tmp_path, others[1:])
    write(tmp_path, make_candles(3, instrument="BTC-USDT"), [elsewhere])
    write(tmp_path, candles, replace=True)
    assert stored(tmp_path) == others
    assert stored(tmp_path, Stream("gap", "BTC-USDT")) == [elsewhere]
    assert stored(tmp_path, Stream("candle", BTC, "1m")) == candles


def test_replacing_leaves_no_file_where_no_gap_is_left(tmp_path: Path, make_trades: Make) -> None:
    write(tmp_path, make_trades(10), [gap(5, "trade")])
    write(tmp_path, make_trades(10), replace=True)
    assert [entry.kind for entry in Catalog(tmp_path).entries] == ["trade"]
    assert [path for path in tree(tmp_path) if "kind=gap" in path] == []


def test_replacing_puts_new_gaps_in_the_place_of_the_old_ones(tmp_path: Path, make_trades: Make) -> None:
    write(tmp_path, make_trades(10), [gap(3, "trade"), gap(5, "trade"), gap(5, "book")], source="old")
    write(tmp_path, make_trades(10), [gap(5, "trade"), gap(7, "trade")], replace=True, source="new")
    assert stored(tmp_path) == [gap(5, "book"), gap(5, "trade"), gap(7, "trade")]
    (entry,) = Catalog(tmp_path).files(GAPS, 0, END_NS)
    assert entry.source == "old; new"


def test_a_source_whose_gaps_are_gone_is_named_no_more(tmp_path: Path, make_trades: Make) -> None:
    write(tmp_path, make_trades(10), [gap(3, "trade")], source="old")
    write(tmp_path, make_trades(10), [gap(7, "trade")], replace=True, source="new")
    (entry,) = Catalog(tmp_path).files(GAPS, 0, END_NS)
    assert (entry.rows, entry.source) == (1, "new")


def test_each_instrument_is_replaced_over_its_own_span(tmp_path: Path, make_trades: Make) -> None:
    both = [make_trades(10), make_trades(10, instrument="BTC-USDT")]
    write(tmp_path, *both, [gap(7, "trade")], [gap(7, "trade", instrument="BTC-USDT")])
    write(tmp_path, both[0], both[1][:5], replace=True)
    assert GAPS not in Catalog(tmp_path).coverage()
    assert len(stored(tmp_path, Stream("gap", "BTC-USDT"))) == 1


def test_without_replace_no_gap_goes(tmp_path: Path, make_trades: Make) -> None:
    early = gap(100.5, "trade")
    write(tmp_path, [early])
    write(tmp_path, make_trades(10, start_ns=START_NS + 99 * NS_PER_S))
    assert stored(tmp_path) == [early]


def test_gaps_that_reach_out_of_the_replaced_span_stay(tmp_path: Path, make_trades: Make) -> None:
    """The rows run from 0 s (sent 5 ms before) to 9 s; what lies partly outside may be lost still."""
    within = [gap(0.5, "trade", lost_s=0.5), gap(0.9, "trades-all", lost_s=0.905), gap(9, "trade", lost_s=9)]
    outside = [gap(-1, "trade"), gap(0.9, "trade", lost_s=0.906), gap(9.001, "trade"), gap(99, "trade", lost_s=200)]
    gaps = sorted(within + outside, key=lambda event: event.received_ns)
    write(tmp_path, make_trades(10), gaps)
    write(tmp_path, make_trades(10), replace=True)
    assert stored(tmp_path) == outside


def test_an_exchange_stamp_from_another_age_clears_nothing(tmp_path: Path, make_trades: Make) -> None:
    lost = [gap(-86_400, "trade"), gap(-30, "trade"), gap(86_400, "trade")]
    write(tmp_path, lost)
    trades = make_trades(3)
    trades[0] = msgspec.structs.replace(trades[0], exchange_ns=0)
    trades[2] = msgspec.structs.replace(trades[2], exchange_ns=2**60)
    write(tmp_path, trades, replace=True)
    assert stored(tmp_path) == lost


def test_a_gap_over_midnight_goes_with_the_rows_of_both_days(tmp_path: Path, make_trades: Make) -> None:
    over = gap(12 * 3600 + 1800, "trade", lost_s=3600)
    hourly = make_trades(24, step_ns=60 * NS_PER_MIN)
    write(tmp_path, hourly, [over])
    write(tmp_path, hourly[:12], replace=True)
    assert stored(tmp_path) == [over]
    write(tmp_path, hourly, replace=True)
    assert GAPS not in Catalog(tmp_path).coverage()


def test_gaps_of_days_that_are_not_replaced_stay(tmp_path: Path, make_trades: Make) -> None:
    """Of three stored days the first and the last are replaced."""
    days = [make_trades(3, start_ns=START_NS + day * NS_PER_DAY) for day in range(3)]
    lost = [gap(day * 86_400 + 1.5, "trade") for day in range(3)]
    long = gap(2 * 86_400 + 1.75, "trade", lost_s=2 * 86_400)
    write(tmp_path, days[0] + days[1] + days[2], [*lost, long])
    write(tmp_path, days[0] + days[2], replace=True)
    assert stored(tmp_path) == [lost[1], long]


def test_rows_that_stay_at_a_days_end_keep_the_gaps_over_them(tmp_path: Path, make_trades: Make) -> None:
    hourly = make_trades(24, step_ns=60 * NS_PER_MIN)
    lost = [gap(11.5 * 3600, "trade"), gap(13 * 3600, "trade", lost_s=3 * 3600)]
    write(tmp_path, hourly, lost)
    write(tmp_path, hourly[:10] + hourly[12:], replace=True)
    assert stored(tmp_path, Stream("trade", BTC)) == hourly
    assert stored(tmp_path) == lost


def test_a_gap_of_all_candles_goes_when_all_of_them_are_replaced(tmp_path: Path, make_candles: Make) -> None:
    candles = make_candles(9)
    write(tmp_path, candles, five_minutes(candles), [gap(180, "candle")])
    write(tmp_path, candles, replace=True)
    assert stored(tmp_path) == [gap(180, "candle")]
    write(tmp_path, candles, five_minutes(candles), replace=True)
    assert GAPS not in Catalog(tmp_path).coverage()


def test_a_gap_before_the_first_snapshot_goes_when_an_earlier_book_is_written(tmp_path: Path) -> None:
    """It began when the exchange sent the first update, before that one was received."""

    def book(second: int) -> BookUpdate:
        at = START_NS + second * NS_PER_S
        return BookUpdate(BTC, at, at + 30_000_000, (99.0,), (1.0,), (100.0,), (1.0,), True)

    write(tmp_path, [book(5)], [gap(5, "book", lost_s=5, cause="no snapshot")])
    write(tmp_path, [book(5)], replace=True)
    assert len(stored(tmp_path)) == 1
    write(tmp_path, [book(second) for second in range(8)], replace=True)
    assert GAPS not in Catalog(tmp_path).coverage()


# All or nothing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_rows_and_gaps_change_together_or_not_at_all(
    tmp_path: Path, make_trades: Make, monkeypatch: pytest.MonkeyPatch, call: str, replace: bool
) -> None:
    """Every single call of a commit fails once; only after the manifest's rename does the commit stand."""
    old = [gap(3, "trade"), gap(3, "book")]
    write(tmp_path, make_trades(10), old)
    before = tree(tmp_path)
    new = [gap(4, "trade"), gap(3e6, "trade"), gap(9e6, "trade")]
    trades = make_trades(10) if replace else make_trades(10, start_ns=START_NS + NS_PER_MIN)
    after = [*old[replace:], *new]
    owner: Any = os if call == "fsync" else Path
    real = getattr(owner, call)
    failed = stood = 0
    for failing in range(1, 100):
        calls = 0

        def broken(*args: Any, failing: int = failing, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == failing:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **options)

        error = None
        with monkeypatch.context() as patch:
            patch.setattr(owner, call, broken)
            try:
                write(tmp_path, trades, new, replace=replace)
            except DataError as caught:
                error = caught
        if error is None:
            break
        assert "No space left on device" in str(error)
        failed += 1
        if stored(tmp_path) == old:
            assert tree(tmp_path) == before
        else:
            assert stored(tmp_path) == after
            assert "the new rows are visible" in str(error)
            stood += 1
            break
    assert failed >= {"fsync": 10, "replace": 5, "open": 5}[call]
    assert stood == (call == "fsync")
    assert stored(tmp_path) == after
    assert len([path for path in tree(tmp_path) if "kind=gap" in path]) == 3
    assert Root(tmp_path).files() == sorted([".lock", *tree(tmp_path)])
