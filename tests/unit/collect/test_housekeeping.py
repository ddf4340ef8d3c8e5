"""A collector's housekeeping: files are read back before the tape goes, days become one file, old ones are removed."""

import threading
from pathlib import Path

import pytest

from quantkit.clock import NS_PER_DAY, NS_PER_S, time_ns_of
from quantkit.collect.beats import Sealed, Tidied
from quantkit.collect.housekeeping import Housekeeper
from quantkit.collect.settings import RecordSettings, size_of
from quantkit.errors import ConfigError, DataError
from quantkit.events import MarketEvent, Trade
from quantkit.feeds.recorder import Commit, Recorder
from quantkit.feeds.row_tape import RowTape
from quantkit.instruments import Side
from quantkit.storage.catalog import Catalog
from quantkit.storage.root import Root

BTC = "BTC-USDT"
START_NS = time_ns_of("2026-01-01T12:00:00Z")
WAIT_S = 30.0


def trades(count: int, start_ns: int = START_NS) -> list[MarketEvent]:
    """Trades, one a second."""
    return [
        Trade(BTC, start_ns + i * NS_PER_S, start_ns + i * NS_PER_S, 100.0, 1.0, Side.BUY, start_ns // NS_PER_S + i)
        for i in range(count)
    ]


class Setting:
    """A tape with its folder, and a housekeeper whose clock the test sets."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.now_ns = START_NS + 100 * NS_PER_S
        self.root = Root(folder / "data")
        self.work = folder / "work"
        self.tape = RowTape(self.work / "tape", segment_bytes=300)
        self.tape.open()
        made = RecordSettings(**{"min_free_bytes": 0, **settings})  # type: ignore[arg-type]
        (folder / "data").mkdir()
        self.keeper = Housekeeper(self.root, self.tape, made, self.work, wall=lambda: self.now_ns)

    def commit(self, rows: list[MarketEvent]) -> list[Commit]:
        """Put rows on the tape and into a file."""
        for row in rows:
            self.tape.take([[row]])
            assert self.tape.flush()
        with Recorder(self.root, source="test", is_taped=True) as recorder:
            recorder.add(rows)
        return recorder.take_commits()

    def until(self, kind: type[Sealed | Tidied]) -> Sealed | Tidied:
        """Return the first thing of a kind that the housekeeper tells."""
        pause = threading.Event()
        for _ in range(int(WAIT_S * 100)):
            for told in self.keeper.told():
                if isinstance(told, kind):
                    return told
            pause.wait(0.01)
        raise AssertionError(f"no {kind.__name__}: {self.keeper.error}")

    @property
    def segments(self) -> int:
        """How many segments the tape has."""
        return len(list((self.work / "tape").glob("*.tape")))


def test_the_tape_goes_once_the_files_were_read_back(tmp_path: Path) -> None:
    """All of it when nobody writes any more."""
    setting = Setting(tmp_path)
    commits = setting.commit(trades(20))
    assert setting.segments > 3
    setting.keeper.start()
    setting.keeper.take(commits)
    told = setting.until(Sealed)
    assert isinstance(told, Sealed)
    assert (told.files, told.rows, told.sealed_ns) == (1, 20, START_NS + 19 * NS_PER_S)
    assert setting.segments == 1
    setting.keeper.close()
    assert setting.keeper.sealed_ns == told.sealed_ns
    setting.keeper.settle(setting.commit(trades(5, START_NS + NS_PER_DAY)))
    assert setting.segments == 1
    assert next((setting.work / "tape").glob("*.tape")).stat().st_size < 50
    setting.tape.close()


def test_a_file_that_is_not_what_was_written_keeps_the_tape(tmp_path: Path) -> None:
    """And ends the collector."""
    setting = Setting(tmp_path)
    commits = setting.commit(trades(20))
    path = Path(setting.root.path) / commits[0].entries[0].path
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    before = setting.segments
    with pytest.raises(DataError, match="digest differs"):
        setting.keeper.settle(commits)
    assert setting.segments == before
    setting.tape.close()


def test_a_tape_is_kept_as_long_as_it_was_asked_for(tmp_path: Path) -> None:
    """By the clock, after its rows were sealed."""
    setting = Setting(tmp_path, keep_tape_ns=60 * NS_PER_S)
    commits = setting.commit(trades(20))
    before = setting.segments
    setting.now_ns = START_NS + 30 * NS_PER_S
    setting.keeper.settle(commits)
    assert setting.segments == before
    setting.now_ns = START_NS + 70 * NS_PER_S
    setting.keeper.settle(commits)
    assert 1 < setting.segments < before
    setting.tape.close()


def test_the_files_of_a_day_become_one_and_old_ones_go(tmp_path: Path) -> None:
    """Once the day is over; files that are too old are removed by the hour."""
    setting = Setting(tmp_path, keep_ns=2 * NS_PER_DAY)
    for hour in range(3):
        setting.commit(trades(5, START_NS + hour * 3600 * NS_PER_S))
    old = START_NS - 5 * NS_PER_DAY
    setting.commit(trades(5, old))
    setting.now_ns = START_NS + NS_PER_DAY
    setting.keeper.start()
    told = setting.until(Tidied)
    setting.keeper.close()
    assert isinstance(told, Tidied)
    assert (told.compacted, told.removed) == (3, 1)
    (entry,) = Catalog(setting.root).entries
    assert (entry.rows, entry.first_ns) == (15, START_NS)
    assert setting.keeper.error is None
    setting.tape.close()


def test_a_disk_without_room_ends_the_collector(tmp_path: Path) -> None:
    """With what there is and what shall stay."""
    setting = Setting(tmp_path, min_free_bytes=1 << 60)
    with pytest.raises(DataError, match=r"[0-9.]+ GB are free, and 1,152,921,504\.6 GB shall stay free"):
        setting.keeper.check_room()
    setting.keeper.start()
    setting.keeper.close()
    setting.tape.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"roll_ns": 7 * NS_PER_S},
        {"roll_ns": NS_PER_S // 2},
        {"roll_ns": 2 * NS_PER_DAY},
        {"keep_ns": NS_PER_S},
        {"keep_tape_ns": -1},
        {"redundant": 0},
        {"redundant": 6},
        {"beat_ns": 0},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, int]) -> None:
    """One by one."""
    with pytest.raises(ConfigError):
        RecordSettings(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "GB", "-1MB", "1XB", "nan", "inf GB", "1 000"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    """And the right ones are read."""
    with pytest.raises(ConfigError, match="is no size"):
        size_of(text)
    assert size_of("1.5gb") == 1_500_000_000
