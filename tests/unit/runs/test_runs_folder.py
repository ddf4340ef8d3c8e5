"""A folder of runs: lines, saved results and live runs as one list, newest first, and each found by its name."""

import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

import quantkit as qk
from quantkit.errors import ConfigError, DataError
from quantkit.report.archive import MANIFEST
from quantkit.runs.folder import Runs
from quantkit.runs.index import INDEX, RunIndex
from quantkit.storage.tape import TapeWriter

ROOT = Path(__file__).parents[3]
Run = Callable[..., qk.Result]


@pytest.fixture
def folder(run: Run, tmp_path: Path) -> Path:
    """One run by its line alone, one saved with a line, one saved without, one that was saved after its line."""
    runs = tmp_path / "runs"
    run(runs, params={"qty": 2})
    run(runs, params={"qty": 3}, save=runs / "saved")
    run(None, params={"qty": 4}, save=runs / "alone")
    run(runs, params={"qty": 5}).save(runs / "later")
    return runs


@pytest.fixture
def live(tmp_path: Path) -> Path:
    """A folder with a run that version 0.2.0 recorded, and no result in it."""
    with zipfile.ZipFile(ROOT / "tests" / "data" / "runs" / "0.2.0.zip") as packed:
        packed.extractall(tmp_path / "runs" / "Recorded-20261129-183855")
    return tmp_path / "runs"


def test_each_run_is_listed_once_the_newest_first(folder: Path) -> None:
    """Whether there is a line, a folder, or both."""
    runs = Runs(folder).list()
    assert {entry.id: (entry.parameters["qty"], entry.is_whole) for entry in runs} == {
        "later": (5.0, True),
        "alone": (4.0, True),
        "saved": (3.0, True),
        runs[-1].id: (2.0, False),
    }
    assert [entry.at for entry in runs] == sorted((entry.at for entry in runs), reverse=True)
    assert runs[-1].id == runs[-1].hash[:8]
    assert all(entry.state == "finished" and entry.kind == "backtest" for entry in runs)


def test_a_line_and_a_manifest_say_the_same(run: Run, tmp_path: Path) -> None:
    """All that is listed of a run, but for when it was written and in what."""
    run(tmp_path / "runs", params={"api_key": "hunter2"}, save=tmp_path / "runs" / "saved")
    (with_line,) = Runs(tmp_path / "runs").list()
    (tmp_path / "runs" / INDEX).unlink()
    (without,) = Runs(tmp_path / "runs").list()
    assert msgspec.structs.replace(without, at=with_line.at) == with_line
    assert with_line.parameters["api_key"] == "***"


def test_a_run_is_found_by_name_hash_and_place(folder: Path) -> None:
    """Whole or its first characters."""
    runs = Runs(folder)
    entries = {entry.id: entry for entry in runs.list()}
    for entry in entries.values():
        for name in (entry.id, entry.id[:6] if entry.is_whole else entry.id[:4], entry.hash, entry.hash[:12]):
            assert runs.find(name) == entry
    assert runs.folder("saved") == folder / "saved"
    assert runs.load("later").hash == entries["later"].hash


def test_what_is_not_there_or_not_whole_is_told(folder: Path, tmp_path: Path) -> None:
    """With what to do."""
    runs = Runs(folder)
    line = next(entry.id for entry in runs.list() if not entry.is_whole)
    for name, why in {
        "sved": "there is no run 'sved' in .*; did you mean saved?",
        "zzz": "`quantkit runs ls` lists those there are",
        "": "no run is named",
        "../saved": "there is no run",
        str(folder / "saved"): "there is no run",
    }.items():
        with pytest.raises(ConfigError, match=why):
            runs.find(name)
    with pytest.raises(ConfigError, match=f"of {line} only the numbers are kept; run it again with --save DIR"):
        runs.load(line)
    with pytest.raises(DataError, match=r"there is no folder of runs .*nowhere; `quantkit backtest` makes one"):
        Runs(tmp_path / "nowhere").list()
    (tmp_path / "empty").mkdir()
    assert Runs(tmp_path / "empty").list() == []


def test_a_short_name_that_means_several_is_refused(run: Run, tmp_path: Path) -> None:
    """The candidates are named; runs that differ and come to one hash have a number behind it."""
    runs = Runs(tmp_path / "runs")
    for first_day in (100, 200, 100):  # later than the last day: no run trades
        run(tmp_path / "runs", params={"first_day": first_day})
    ids = [entry.id for entry in runs.list()]
    name = runs.list()[0].hash[:8]
    assert ids == [name, f"{name}-2", name]
    with pytest.raises(ConfigError, match=f"'{name[:4]}' may be any of {name}, {name}-2; write more of the one"):
        runs.find(name[:4])
    assert runs.find(f"{name}-2").parameters["first_day"] == 200
    assert runs.find(name).parameters["first_day"] == 100


def test_runs_with_other_options_are_two(run: Run, tmp_path: Path) -> None:
    """Though they came to the same."""
    for seed in (1, 2):
        run(tmp_path / "runs", seed=seed)
    name = Runs(tmp_path / "runs").list()[-1].id
    assert [entry.id for entry in Runs(tmp_path / "runs").list()] == [f"{name}-2", name]


def test_a_repeated_run_that_was_saved_is_the_whole_one(run: Run, tmp_path: Path) -> None:
    """Whichever of the two is named."""
    runs = tmp_path / "runs"
    run(runs, params={"qty": 7}, save=runs / "whole")
    result = run(runs, params={"qty": 7})
    assert [entry.is_whole for entry in Runs(runs).list()] == [False, True]
    assert Runs(runs).load(result.hash[:8]).hash == result.hash
    result.save(runs / "again")
    assert {entry.id for entry in Runs(runs).list()} == {"whole", "again"}
    assert Runs(runs).find("whole").id == "whole"
    assert Runs(runs).find(result.hash[:5]).id == "again"


def test_results_deeper_down_and_elsewhere_are_found(run: Run, tmp_path: Path) -> None:
    """Those below go by their hash; links and what is being saved are passed over."""
    runs = tmp_path / "runs"
    deep = run(runs, params={"qty": 2}, save=runs / "study" / "a" / "one")
    elsewhere = run(runs, params={"qty": 3}, save=tmp_path / "kept")
    (runs / "linked").symlink_to(tmp_path / "kept")
    shutil.copytree(tmp_path / "kept", runs / "half.partial")
    assert {entry.id for entry in Runs(runs).list()} == {deep.hash[:8], elsewhere.hash[:8]}
    assert Runs(runs).load(deep.hash[:8]).saved_to == runs / "study" / "a" / "one"
    assert Runs(runs).find("study/a/one").hash == deep.hash
    assert Runs(runs).load(elsewhere.hash[:8]).hash == elsewhere.hash
    # Another result in its place is not taken for it.
    shutil.rmtree(tmp_path / "kept")
    run(None, save=tmp_path / "kept")
    assert not Runs(runs).find(elsewhere.hash[:8]).is_whole


def test_another_result_in_the_place_of_one_is_not_taken_for_it(run: Run, tmp_path: Path) -> None:
    """The line keeps its numbers, and the folder is a run of its own."""
    runs = tmp_path / "runs"
    first = run(runs, params={"qty": 2}, save=runs / "x")
    shutil.rmtree(runs / "x")
    run(None, params={"qty": 3}, save=runs / "x")
    listed = {entry.id: (entry.parameters["qty"], entry.is_whole) for entry in Runs(runs).list()}
    assert listed == {"x": (3.0, True), first.hash[:8]: (2.0, False)}


def test_a_list_that_was_made_once_follows_what_changes(run: Run, tmp_path: Path) -> None:
    """A new line, a new result, one that goes; whoever got a list may do with it what he likes."""
    runs = Runs(tmp_path)
    run(tmp_path, params={"qty": 2}, save=tmp_path / "saved")
    (first,) = listed = runs.list()
    listed.clear()
    assert runs.list() == [first]
    run(tmp_path, params={"qty": 3})
    assert len(runs.list()) == 2
    run(None, params={"qty": 4}, save=tmp_path / "alone")
    assert [entry.is_whole for entry in sorted(runs.list(), key=lambda entry: entry.parameters["qty"])] == [
        True,
        False,
        True,
    ]
    shutil.rmtree(tmp_path / "saved")
    assert sum(entry.is_whole for entry in runs.list()) == 1
    assert runs.list() == Runs(tmp_path).list()


def test_a_folder_that_cannot_be_read_hides_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is listed with the reason; one that goes away in between is not there."""
    before = {entry.id for entry in Runs(folder).list()}
    (folder / "closed").mkdir()
    (folder / "gone").mkdir()
    iterate = Path.iterdir

    def refusing(path: Path) -> Iterator[Path]:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied")
        if path.name == "gone":
            raise FileNotFoundError(2, "No such file or directory")
        return iterate(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    found = {entry.id: entry for entry in Runs(folder).list()}
    assert set(found) == {*before, "closed"}
    assert found["closed"].state == "damaged"
    assert found["closed"].note


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the administrator reads everything")
def test_a_folder_of_somebody_else_hides_no_other(folder: Path) -> None:
    before = len(Runs(folder).list())
    (folder / "closed").mkdir(mode=0)
    assert len(Runs(folder).list()) == before + 1


def test_runs_of_one_second_are_in_order(folder: Path) -> None:
    """A stamp without a fraction comes before one with."""
    index = RunIndex(folder)
    line = index.read()[0][0]
    stamps = [f"2099-01-01T00:00:00{fraction}Z" for fraction in ("", ".25", ".5")]
    for at in (stamps[1], stamps[0], stamps[2]):
        index.add(msgspec.structs.replace(line, at=at))
    assert [entry.at for entry in Runs(folder).list()[:3]] == stamps[::-1]


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 9999, b'{"format": "quantkit-result", "format_version": 1}'])
def test_a_damaged_result_is_listed_as_such(content: bytes, folder: Path) -> None:
    """And the rest of the list is not lost with it."""
    (folder / "alone" / MANIFEST).write_bytes(content)
    damaged = next(entry for entry in Runs(folder).list() if entry.id == "alone")
    assert (damaged.state, damaged.is_whole) == ("damaged", False)
    assert damaged.note
    assert "\n" not in damaged.note
    assert len(Runs(folder).list()) == 4
    with pytest.raises(ConfigError, match="alone has no result: "):
        Runs(folder).load("alone")


def test_a_result_without_statistics_in_its_manifest_has_its_return(tmp_path: Path) -> None:
    """Those of versions before."""
    shutil.copytree(ROOT / "tests" / "data" / "saved" / "0.1.0", tmp_path / "old")
    (old,) = Runs(tmp_path).list()
    whole = Runs(tmp_path).load("old")
    assert old.stats == {"ended": "completed", "return_pct": pytest.approx(whole.numbers["return_pct"])}
    assert old.hash == whole.hash


def test_torn_lines_are_told(folder: Path) -> None:
    """By number."""
    assert Runs(folder).notes() == []
    with (folder / INDEX).open("ab") as file:
        file.write(b"{\n" * 7)
    (note,) = Runs(folder).notes()
    assert note.endswith("index.jsonl: no line of a run, passed over: 4, 5, 6, 7, 8, ...")
    assert len(Runs(folder).list()) == 4


def test_a_line_with_any_words_is_listed(folder: Path) -> None:
    """What somebody else wrote into an index breaks no list."""
    index = RunIndex(folder)
    line = index.read()[0][0]
    for at, saved_to in (("", "/"), ("yesterday", "../../.."), ("9999-99-99", "saved"), ("\x1b[2J", "alone/../later")):
        index.add(msgspec.structs.replace(line, at=at, saved_to=saved_to, start="x", stats={"return_pct": "y"}))
    assert len([entry for entry in Runs(folder).list() if entry.is_whole]) == 3
    assert len(Runs(folder).list()) == 8


# Live runs -----------------------------------------------------------------------------------------------------------


def test_a_live_run_is_listed_with_its_result(run: Run, live: Path) -> None:
    """By the time it began; its code is the copy in its folder."""
    run(None, save=live / "Recorded-20261129-183855" / "result")
    (entry,) = Runs(live).list()
    assert (entry.id, entry.kind, entry.state) == ("Recorded-20261129-183855", "live", "finished")
    assert entry.at == "2026-11-29T18:38:55.817Z"
    assert list(Runs(live).load("Recorded").sources) == ["recorded.py"]
    assert Runs(live).folder("Recorded") == live / entry.id / "result"


def test_a_live_run_without_a_result_says_what_became_of_it(live: Path) -> None:
    """It ended without one; it is under way; it was killed; its log is not to be read."""
    (entry,) = Runs(live).list()
    assert (entry.state, entry.is_whole, entry.hash) == ("failed", False, "")
    assert entry.note == "it ended (completed), and its result is not there"
    engine = live / entry.id / "engine"
    with TapeWriter(engine, resume=True):
        assert Runs(live).list()[0].state == "running"
    (segment,) = engine.glob("*.tape")
    whole = segment.read_bytes()
    segment.write_bytes(whole[:-40])
    killed = Runs(live).list()[0]
    assert (killed.state, killed.strategy, killed.start) == ("killed", "recorded:Recorded", entry.start)
    with pytest.raises(ConfigError, match="has no result: it was killed"):
        Runs(live).load(entry.id)
    segment.write_bytes(whole[:5])
    assert Runs(live).list()[0].state == "damaged"


def test_a_list_of_runs_leaves_a_live_run_alone(live: Path) -> None:
    """It takes no lock that a writer needs, and makes no files."""
    before = {path: path.stat().st_mtime_ns for path in live.rglob("*")}
    Runs(live).list()
    assert {path: path.stat().st_mtime_ns for path in live.rglob("*")} == before
    (engine,) = live.glob("*/engine")
    (engine / "writer.lock").unlink(missing_ok=True)
    assert Runs(live).list()[0].state == "failed"
    assert not (engine / "writer.lock").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="names that Windows does not take")
def test_folders_of_any_name_are_listed(run: Run, tmp_path: Path) -> None:
    """As they are called."""
    runs = tmp_path / "runs"
    run(None, save=runs / "plain")
    os.rename(runs / "plain", runs / "[bold]\x1b[2J\n<b>")  # noqa: PTH104
    (entry,) = Runs(runs).list()
    assert entry.id == "[bold]\x1b[2J\n<b>"
    assert Runs(runs).load(entry.id).hash == entry.hash
