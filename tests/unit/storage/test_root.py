"""A data folder keeps to itself: no link leads out of it, and no two names share a folder of it."""

import os
from pathlib import Path

import msgspec
import pytest

from quantkit.clock import NS_PER_S, time_ns_of
from quantkit.errors import ConfigError, DataError
from quantkit.events import Trade
from quantkit.instruments import Instrument, Side
from quantkit.quality import check
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.manifest import MANIFEST, dump, load
from quantkit.storage.reader import read_events
from quantkit.storage.root import WORK, Root
from quantkit.storage.writer import Writer

START_NS = time_ns_of("2026-01-01")
STREAM = Stream("trade", "BTC-USDT")


def trades(name: str = "BTC-USDT", *, since_ns: int = START_NS) -> Block:
    """Return a few prints."""
    stamps = [since_ns + n * NS_PER_S for n in range(5)]
    return Block.from_events([Trade(name, at, at, 100.0, 1.0, Side.BUY, n + 1) for n, at in enumerate(stamps)])


def filled(root: Path) -> Path:
    """Write a day of prints; return the file."""
    with Writer(root) as writer:
        (entry,) = (writer.write(trades()), writer.commit())[1]
    return root / entry.path


def read(root: Path) -> int:
    """Return how many prints can be read."""
    return len(list(read_events(Catalog(root), [STREAM], 0, 2**62)))


@pytest.mark.parametrize("depth", range(5))
def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path, depth: int) -> None:
    """Whichever part of a file's path it is: neither read, nor written through, nor deleted through."""
    data = tmp_path / "data"
    file = filled(data)
    linked = [file, *file.parents][depth]
    elsewhere = tmp_path / "elsewhere"
    linked.rename(elsewhere)
    linked.symlink_to(elsewhere)
    with pytest.raises(DataError, match="a link leads out of the data folder, to"):
        read(data)
    assert "a link leads out of the data folder" in check(Catalog(data)).findings[0].what
    if depth:
        before = sorted(elsewhere.rglob("*"))
        for target in ("trade", "rest"):
            with pytest.raises(DataError, match="a link leads out"), Writer(data, replace=target == "trade") as writer:
                writer.write(trades(since_ns=START_NS if target == "trade" else START_NS + 60 * NS_PER_S))
        with pytest.raises(DataError, match="a link leads out"):
            Root(data).remove(file.relative_to(data).as_posix())
        assert sorted(elsewhere.rglob("*")) == before


def test_a_link_within_the_folder_and_a_linked_folder_are_fine(tmp_path: Path) -> None:
    """The root may lie on another disk, and rows beside one another."""
    file = filled(tmp_path / "disk")
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    assert read(tmp_path / "data") == 5
    file.rename(tmp_path / "disk" / "kept.parquet")
    file.symlink_to(tmp_path / "disk" / "kept.parquet")
    assert read(tmp_path / "data") == 5
    (tmp_path / "disk" / "again").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "out").symlink_to(tmp_path)
    assert [path for path in Root(tmp_path / "data").files() if path.endswith(".parquet")] == sorted(
        ["kept.parquet", file.relative_to(tmp_path / "disk").as_posix()]
    )


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links are for administrators on Windows")
def test_a_lock_or_manifest_that_is_a_link_makes_nothing_elsewhere(tmp_path: Path) -> None:
    """Nor is a foreign manifest taken for the folder's own."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".lock").symlink_to(tmp_path / "made")
    with pytest.raises(DataError, match=r"\.lock: cannot be written"):
        filled(tmp_path / "data")
    assert not (tmp_path / "made").exists()
    filled(tmp_path / "other")
    (tmp_path / "data" / MANIFEST).symlink_to(tmp_path / "other" / MANIFEST)
    with pytest.raises(DataError, match="a link leads out"):
        Catalog(tmp_path / "data")


@pytest.mark.parametrize(("first", "second"), [("BTC-USDT", "btc-usdt"), ("BTC-USDT", "okx:BTC-USDT"), ("a:B", "A:b")])
def test_two_names_of_one_folder_are_refused(tmp_path: Path, first: str, second: str) -> None:
    """Rows, metadata and what was listened to alike, in one commit and in the next."""
    refusal = f"{second}: on some machines its folder is that of {first}, whose rows are here; spell it alike"
    instrument = Instrument(second, quote="USDT", price_step="1", qty_step="1")
    with Writer(tmp_path) as writer:
        writer.write(trades(first))
        with pytest.raises(ConfigError) as caught:
            writer.write_instrument(instrument)
        assert str(caught.value) == refusal
    doors = [
        lambda writer: writer.write(trades(second)),
        lambda writer: writer.write_instrument(instrument),
        lambda writer: writer.watched(Stream("trade", second), 0, 1),
    ]
    for door in doors:
        with pytest.raises(ConfigError) as caught, Writer(tmp_path) as writer:
            door(writer)
        assert str(caught.value) == refusal
    with Writer(tmp_path) as writer:
        writer.write(trades(first, since_ns=START_NS + 60 * NS_PER_S))


@pytest.mark.parametrize(
    "path",
    [
        "../x.parquet",
        "/x.parquet",
        "a\\b.parquet",
        "C:/x.parquet",
        "NUL/x.parquet",
        "a./x.parquet",
        "x.parquet:a.parquet",
    ],
)
def test_a_manifest_names_only_files_of_its_folder(tmp_path: Path, path: str) -> None:
    """Neither above it, nor a device, nor one that another machine spells another way."""
    filled(tmp_path)
    held = load(Root(tmp_path))
    assert held is not None
    entries = [msgspec.structs.replace(entry, path=path) for entry in held.entries]
    (tmp_path / MANIFEST).write_bytes(dump(held._replace(entries=entries)))
    with pytest.raises(DataError, match="may not leave the folder"):
        Catalog(tmp_path)


def test_a_collectors_own_folder_is_nobody_elses(tmp_path: Path) -> None:
    """What it is writing is no file of the data folder."""
    (tmp_path / WORK / "staging").mkdir(parents=True)
    (tmp_path / WORK / "staging" / "rows.parquet").write_bytes(b"")
    (tmp_path / "other.parquet").write_bytes(b"")
    assert Root(tmp_path).files() == ["other.parquet"]
