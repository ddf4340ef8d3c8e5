"""A machine that loses its power: the disk keeps any of the sectors that were not synced, and every synced record."""

import shutil
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from campaign import scaled

from quantkit.collect.recovery import recover
from quantkit.errors import DataError
from quantkit.events import Trade
from quantkit.feeds.row_tape import Listening, RowTape
from quantkit.instruments import Instrument, Side
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.reader import read_events
from quantkit.storage.root import Root
from quantkit.storage.segments import HEADER
from quantkit.storage.tape import TapeReader, TapeWriter

pytestmark = pytest.mark.campaign

SECTOR = 512
IMAGES = 200
#: Images of a whole collector's tape, each of which becomes files.
RECOVERIES = 6
TRADES = Stream("trade", "A-B")
INFO = Instrument(id="A-B", kind="spot", base="A", quote="B", price_step="0.1", qty_step="0.1", valid_from_ns=1)


class Moment(NamedTuple):
    """The state of a tape at one moment.

    Attributes:
        size: Length of its file.
        synced: So many of the bytes are on the disk.
        acked: So many records are power-safe.
    """

    size: int
    synced: int
    acked: int


def lost_power(content: bytes, synced: int, rng: Random) -> bytes:
    """Return what the disk may hold: of the bytes that were not synced each sector or zeros, up to any length."""
    end = rng.choice((len(content), len(content), rng.randint(synced, len(content))))
    kept = bytearray(content[:end])
    share = rng.choice((0.05, 0.5, 0.95))
    for sector in range(synced // SECTOR * SECTOR, end, SECTOR):
        if rng.random() < share:
            begin, stop = max(sector, synced), min(sector + SECTOR, end)
            kept[begin:stop] = bytes(stop - begin)
    return bytes(kept)


def payload_of(number: int) -> bytes:
    """The payload of a record, from a byte to a good deal more than a sector; no two are alike."""
    rng = Random(number)
    return number.to_bytes(4, "big") + rng.randbytes(rng.choice((1, 40, 300, 2_000)))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Moment]]:
    """A tape of one segment, and its state after each record and each sync."""
    rng = Random(8)
    moments: list[Moment] = []
    folder = tmp_path_factory.mktemp("whole")
    file = folder / "000000.tape"
    synced, acked = HEADER.size, 0
    with TapeWriter(folder, is_marked=True) as tape:
        for number in range(300):
            tape.append(payload_of(number))
            moments.append(Moment(file.stat().st_size, synced, acked))
            if rng.random() < 0.06:
                synced = file.stat().st_size
                acked = tape.sync()
                moments.append(Moment(file.stat().st_size, synced, acked))
    return file.read_bytes(), moments


@pytest.mark.parametrize("seed", range(4))
def test_every_synced_record_survives_a_power_failure(
    written: tuple[bytes, list[Moment]], tmp_path: Path, seed: int
) -> None:
    """A reader and the next writer find the records in order, no wrong one among them, and go on behind them."""
    content, moments = written
    rng = Random(20261130 + seed)
    holes = 0
    for image in range(scaled(IMAGES) // 4):
        moment = rng.choice(moments)
        folder = tmp_path / str(image)
        folder.mkdir()
        kept = lost_power(content[: moment.size], moment.synced, rng)
        (folder / "000000.tape").write_bytes(kept)
        reader = TapeReader(folder)
        found = list(reader)
        assert len(found) >= moment.acked
        assert found == [payload_of(number) for number in range(len(found))]
        holes += reader.torn_bytes > 3_000
        with TapeWriter(folder, resume=True, is_marked=True) as tape:
            assert (tape.torn_bytes, tape.append(b"next")) == (reader.torn_bytes, len(found))
        assert list(TapeReader(folder)) == [*found, b"next"]
        shutil.rmtree(folder)
    # Without them the test would not show that whole records behind a hole are cut off.
    assert holes


@pytest.mark.parametrize("spoilt", [bytes(2 * SECTOR), b"x"])
def test_a_hole_in_what_was_synced_is_damage(
    written: tuple[bytes, list[Moment]], tmp_path: Path, spoilt: bytes
) -> None:
    """No power failure makes it, so nothing is cut off: what follows may be sound."""
    content, moments = written
    middle = moments[len(moments) // 2].synced // 2 // SECTOR * SECTOR
    (tmp_path / "000000.tape").write_bytes(content[:middle] + spoilt + content[middle + len(spoilt) :])
    with pytest.raises(DataError, match="a damaged record, and a whole one follows"):
        TapeWriter(tmp_path, resume=True, is_marked=True)


def test_a_last_record_that_was_synced_and_is_damaged_is_no_torn_one(tmp_path: Path) -> None:
    """The mark behind it tells that the disk had it."""
    with TapeWriter(tmp_path, is_marked=True) as tape:
        tape.append(b"a record")
    file = tmp_path / "000000.tape"
    content = bytearray(file.read_bytes())
    content[HEADER.size + 10] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="a damaged record, though the disk had it"):
        TapeWriter(tmp_path, resume=True, is_marked=True)


def test_a_tape_of_an_older_version_is_gone_on_with(tmp_path: Path) -> None:
    """Its segment gets no marks, the next one does."""
    with TapeWriter(tmp_path) as old:
        old.append(b"old")
    with TapeWriter(tmp_path, resume=True, is_marked=True) as tape:
        tape.append(b"new")
        tape.sync()
        before = (tmp_path / "000000.tape").stat().st_size
        tape.sync()
        assert (tmp_path / "000000.tape").stat().st_size == before == HEADER.size + 2 * (8 + 3)
        tape.begin_segment()
        tape.append(b"newer")
    assert list(TapeReader(tmp_path)) == [b"old", b"new", b"newer"]
    assert (tmp_path / "000001.tape").stat().st_size == HEADER.size + 8 + 5 + 16


@pytest.mark.parametrize("seed", range(RECOVERIES))
def test_synced_rows_of_a_collector_are_in_files_after_a_power_failure(tmp_path: Path, seed: int) -> None:
    """Each once and in order, from the first on; a second recovery finds nothing to do."""
    rng = Random(seed)
    start_ns = 1_796_000_000_000_000_000
    rows = [Trade("A-B", start_ns + i, start_ns + i, 1.0 + i % 7, 0.1, Side.BUY, i + 1) for i in range(2_000)]
    folder = tmp_path / "tape"
    tape = RowTape(folder, segment_bytes=16_384)
    tape.open()
    tape.listen(Listening(start_ns, [TRADES], [INFO.to_dict()]))
    acked, synced = 0, {"000000.tape": 0}
    last = rng.randrange(200, len(rows), 10)
    for number in range(0, last, 10):
        tape.take([rows[number : number + 10]])
        assert tape.flush()
        if rng.random() < 0.05:
            synced = {file.name: file.stat().st_size for file in folder.glob("*.tape")}
            tape.sync()
            acked = number + 10
    image = tmp_path / "image"
    shutil.copytree(folder, image)
    tape.close()
    newest = max(image.glob("*.tape"))
    # A segment before the newest one was synced whole when that was begun, and with it every row there.
    begun = max(HEADER.size, synced.get(newest.name, 0))
    newest.write_bytes(lost_power(newest.read_bytes(), begun, rng))
    for is_first in (True, False):
        again = RowTape(image)
        again.open()
        found = recover(image, Root(tmp_path / "data"), source="test", staging=tmp_path / "staging")
        again.close()
        assert bool(found.rows) is is_first
    stored = list(read_events(Catalog(tmp_path / "data"), [TRADES], 0, 2**62))
    assert stored == rows[: len(stored)]
    assert last >= len(stored) >= acked
