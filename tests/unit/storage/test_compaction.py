"""Files that become one: the same rows, or the old files; and files that are removed when they are too old."""

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from campaign import scaled
from kills import die_at

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S
from quantkit.errors import DataError
from quantkit.events import MarketEvent
from quantkit.rows.columns import Block, Stream
from quantkit.storage import compaction
from quantkit.storage.catalog import Catalog
from quantkit.storage.codec import normalised
from quantkit.storage.compaction import compact, compactable, drop_before
from quantkit.storage.files import DataFile
from quantkit.storage.manifest import FileEntry
from quantkit.storage.reader import read_blocks
from quantkit.storage.root import Root
from quantkit.storage.rows_digest import RowsDigest, rows_digest
from quantkit.storage.schema import COMPACT_LEVEL, COMPRESSION_LEVEL
from quantkit.storage.spool import PartFile
from quantkit.storage.writer import Writer

MakeRows = Callable[..., list[MarketEvent]]
BTC = "binance:BTC-USDT-SWAP"
TRADES = Stream("trade", BTC)
ALWAYS = (-(2**62), 2**62)


def stored(folder: Path, *parts: list[MarketEvent]) -> Root:
    """Store each part with a commit of its own."""
    for rows in parts:
        with Writer(folder, source="test") as writer:
            writer.write(Block.from_events(rows))
            stream = Block.from_events(rows).stream
            writer.watched(stream, rows[0].received_ns, rows[-1].received_ns)
    return Root(folder)


def events(root: Root, stream: Stream) -> list[MarketEvent]:
    """Return a stream's rows, of files that match their digest."""
    blocks = read_blocks(Catalog(root), stream, start_ns=ALWAYS[0], end_ns=ALWAYS[1], verify_digest=True)
    return [event for block in blocks for event in block.events()]


def test_hours_become_a_day_with_the_same_rows(tmp_path: Path, make_trades: MakeRows) -> None:
    """The digest of the rows is the same, there is one file, and the old ones are gone."""
    rows = make_trades(3_000)
    root = stored(tmp_path, rows[:1000], rows[1000:2000], rows[2000:])
    before = rows_digest(Catalog(root), TRADES, *ALWAYS)
    seqs = [block.column("seq").tolist() for block in read_blocks(Catalog(root), TRADES, start_ns=0, end_ns=2**62)]
    (group,) = compactable(Catalog(root).entries, 2**62)
    done = compact(root, group)
    assert done.old == group
    assert Catalog(root).entries == [done.new]
    assert rows_digest(Catalog(root), TRADES, *ALWAYS) == before
    assert events(root, TRADES) == rows
    # What the rows were known by elsewhere stays too.
    (after,) = [block.column("seq").tolist() for block in read_blocks(Catalog(root), TRADES, start_ns=0, end_ns=2**62)]
    assert after == [seq for each in seqs for seq in each]
    files = [path for path in root.files() if path.endswith(".parquet")]
    assert files == [done.new.path]
    assert done.new.size_bytes < sum(entry.size_bytes for entry in group)
    assert compactable(Catalog(root).entries, 2**62) == []
    assert not list(tmp_path.glob(".staging-*"))


def test_the_digest_knows_rows_and_no_files(tmp_path: Path, make_trades: MakeRows) -> None:
    """Equal rows in any blocks and files give one digest; one other value, row or order gives another."""
    rows = make_trades(100)
    split = stored(tmp_path / "split", rows[:17], rows[17:])
    whole = stored(tmp_path / "whole", rows)
    assert rows_digest(Catalog(split), TRADES, *ALWAYS) == rows_digest(Catalog(whole), TRADES, *ALWAYS)
    digests = {rows_digest(Catalog(whole), TRADES, *ALWAYS)}
    digests.add(rows_digest(Catalog(whole), TRADES, rows[1].received_ns, ALWAYS[1]))
    digests.add(rows_digest(Catalog(whole), TRADES, ALWAYS[0], rows[-2].received_ns))
    for changed in ([rows[1], rows[0]], [rows[0], rows[0]], [rows[0]]):
        digest = RowsDigest(TRADES)
        digest.add(Block.from_events(changed))
        digests.add(digest.hexdigest())
    assert len(digests) == 6


def test_levels_and_texts_are_told_apart_by_their_rows() -> None:
    """Two rows of one level are not one row of two; nor are texts that give the same letters."""
    from quantkit.events import BookUpdate, Gap

    def book(*sides: tuple[float, ...]) -> str:
        digest = RowsDigest(Stream("book", BTC))
        for side in sides:
            digest.add(Block.from_events([BookUpdate(BTC, 1, 1, side, side, (), (), False)]))
        return digest.hexdigest()

    def gap(*texts: tuple[str, str]) -> str:
        digest = RowsDigest(Stream("gap", BTC))
        digest.add(Block.from_events([Gap(BTC, 1, 1, channel, 0, 1, cause) for channel, cause in texts]))
        return digest.hexdigest()

    assert len({book((1.0, 2.0), ()), book((1.0,), (2.0,)), book((), (1.0, 2.0))}) == 3
    assert len({gap(("ab", "x"), ("c", "x")), gap(("a", "x"), ("bc", "x"))}) == 2


@pytest.mark.parametrize("kind", ["trade", "ticker", "candle"])
def test_a_row_costs_little_more_than_at_the_highest_level(tmp_path: Path, kind: str) -> None:
    """At most 1.15 times the same columns, encodings and order at zstd's level 19; recorded rows, live files too."""
    sample = Catalog(Path(__file__).parents[3] / "data")
    stream = max((s for s in sample.coverage() if s.kind == kind), key=lambda s: sample.coverage()[s].rows)
    blocks = list(read_blocks(sample, stream, start_ns=ALWAYS[0], end_ns=ALWAYS[1]))
    bytes_at = {}
    for level in (COMPRESSION_LEVEL, COMPACT_LEVEL, 19):
        part = PartFile(stream, tmp_path / f"{level}.parquet", "folder", 131_072, level=level)
        for block in blocks:
            part.append(normalised(block))
        bytes_at[level] = part.finish().seal.size_bytes
    assert bytes_at[COMPACT_LEVEL] <= bytes_at[COMPRESSION_LEVEL] <= 1.15 * bytes_at[19]


def test_what_may_still_grow_or_came_from_elsewhere_is_left(
    tmp_path: Path, make_trades: MakeRows, make_candles: MakeRows
) -> None:
    """Files of today, of another source or with other notes; and files whose candles come twice are no pair."""
    rows = make_trades(30)
    root = stored(tmp_path, rows[:10], rows[10:20])
    with Writer(root, source="another") as writer:
        writer.write(Block.from_events(rows[20:]))
    entries = Catalog(root).entries
    assert [len(group) for group in compactable(entries, 2**62)] == [2]
    assert compactable(entries, rows[19].received_ns) == []
    with Writer(root, source="test") as writer:
        writer.note("received_shift_ns", 5)
        writer.write(Block.from_events(make_trades(5, start_ns=rows[-1].received_ns + NS_PER_S)))
    assert [len(group) for group in compactable(Catalog(root).entries, 2**62)] == [2]
    bars = make_candles(20)
    root = stored(tmp_path / "bars", bars[:10], bars[10:])
    (group,) = compactable(Catalog(root).entries, 2**62)
    compact(root, group)
    assert events(root, Stream("candle", BTC, "1m")) == bars


def test_a_file_that_was_replaced_meanwhile_stays(
    tmp_path: Path, make_trades: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes it anew has the last word."""
    rows = make_trades(20)
    root = stored(tmp_path, rows[:10], rows[10:])
    (group,) = compactable(Catalog(root).entries, 2**62)
    merged = compaction._merged

    def meanwhile(root: Root, entries: list[FileEntry], folder: Path) -> object:
        done = merged(root, entries, folder)
        with Writer(root, source="anew", replace=True) as writer:
            writer.write(Block.from_events(rows[:10]))
        return done

    monkeypatch.setattr(compaction, "_merged", meanwhile)
    with pytest.raises(DataError, match="was replaced while"):
        compact(root, group)
    assert events(root, TRADES) == rows
    assert len(Catalog(root).entries) == 2


def test_a_file_that_holds_other_rows_is_not_taken(
    tmp_path: Path, make_trades: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new file is read back before anything changes."""
    rows = make_trades(20)
    root = stored(tmp_path, rows[:10], rows[10:])
    (group,) = compactable(Catalog(root).entries, 2**62)
    merged = compaction._merged

    def wrong(root: Root, entries: list[FileEntry], folder: Path) -> object:
        return merged(root, entries[:1], folder)[0], merged(root, entries, folder / "more")[1]

    (tmp_path / "x").mkdir()
    monkeypatch.setattr(compaction, "_merged", wrong)
    monkeypatch.setattr(Path, "open", _making(Path.open))
    with pytest.raises(DataError, match="does not hold the same rows"):
        compact(root, group)
    assert events(root, TRADES) == rows


def _making(opening: Callable[..., object]) -> Callable[..., object]:
    def made(path: Path, *arguments: object, **named: object) -> object:
        path.parent.mkdir(parents=True, exist_ok=True)
        return opening(path, *arguments, **named)

    return made


@pytest.mark.campaign
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks what it kills")
def test_a_kill_at_any_step_leaves_the_old_files_or_the_new_one(tmp_path: Path, make_trades: MakeRows) -> None:
    """At each call of the system that changes the disk, and the compaction can be done again."""
    rows = make_trades(600)
    rng = Random(5)
    states = set()
    for number in range(scaled(12)):
        root = stored(tmp_path / str(number), *[rows[a:b] for a, b in pairwise([0, 100, 250, 600])])
        before = rows_digest(Catalog(root), TRADES, *ALWAYS)
        child = os.fork()
        if not child:
            die_at(number if number < 12 else rng.randrange(12))
            compact(root, compactable(Catalog(root).entries, 2**62)[0])
            os._exit(0)
        os.waitpid(child, 0)
        held = Catalog(root)
        for entry in held.entries:
            DataFile(root, entry, verify_digest=True)
        assert rows_digest(held, TRADES, *ALWAYS) == before
        states.add(len(held.entries))
        for group in compactable(held.entries, 2**62):
            compact(root, group)
        assert len(Catalog(root).entries) == 1
        assert rows_digest(Catalog(root), TRADES, *ALWAYS) == before
    assert states == {1, 3}


def test_old_files_go_with_what_was_listened_to(tmp_path: Path, make_trades: MakeRows) -> None:
    """A quiet day and one that was removed differ; files with newer rows stay whole."""
    first, second = make_trades(10), make_trades(10, start_ns=make_trades(1)[0].received_ns + NS_PER_DAY)
    root = stored(tmp_path, first, second)
    gone = drop_before(root, second[5].received_ns)
    assert [entry.rows for entry in gone] == [10]
    held = Catalog(root)
    assert events(root, TRADES) == second
    assert [(span.from_ns, span.to_ns) for span in held.watched] == [(second[0].received_ns, second[-1].received_ns)]
    assert len([path for path in root.files() if path.endswith(".parquet")]) == 1
    assert drop_before(root, second[5].received_ns) == []
    # A folder is never emptied.
    assert drop_before(root, second[-1].received_ns + NS_PER_MIN) == []
    assert events(root, TRADES) == second


def test_an_empty_folder_has_nothing_to_remove(tmp_path: Path) -> None:
    """Nor to compact."""
    assert drop_before(Root(tmp_path), 2**62) == []
    assert compactable([], 2**62) == []
