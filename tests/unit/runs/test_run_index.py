"""The index of runs: whole lines whatever happens, no secrets, variants counted, and never a failed backtest."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

import quantkit as qk
from quantkit.cli import main
from quantkit.clock import time_ns_of
from quantkit.errors import ConfigError, DataError
from quantkit.report.summary import json_stats
from quantkit.runs.index import INDEX, MASK, UNKEPT, IndexLine, RunIndex, Tried, data_digest, line_of, place_of_data

AT_NS = time_ns_of("2026-11-30T01:02:03.456789Z")
Run = Callable[..., qk.Result]


def lines_in(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of an index as plain JSON."""
    return [json.loads(line) for line in (folder / INDEX).read_text().splitlines()]


# The line ------------------------------------------------------------------------------------------------------------


def test_a_backtest_leaves_one_line(run: Run, tmp_path: Path) -> None:
    """What was run, on what, and what came out."""
    result = run(tmp_path / "runs", params={"qty": 2})
    (line,) = lines_in(tmp_path / "runs")
    assert (line["strategy"], line["name"]) == (result.config["strategy"], "Now")
    assert (line["digest"], line["hash"]) == (result.config["strategy_digest"], result.hash)
    assert line["hash_encoding"] == result.manifest["hash_encoding"]
    assert line["parameters"] == {"qty": 2.0, "first_day": 1, "api_key": MASK, "limit": "inf"}
    assert (line["data"], line["saved_to"]) == ("memory", None)
    assert (line["start"], line["end"]) == ("2025-01-01T00:00:00Z", "2025-02-10T00:00:00Z")
    assert line["options"]["cash"] == {"USD": "10000"}
    stats = json.loads(msgspec.json.encode(json_stats(result.numbers)))
    assert line["stats"] == {key: value for key, value in stats.items() if key not in ("start", "end")}
    assert datetime.fromisoformat(line["at"]).year >= 2026
    assert RunIndex(tmp_path / "runs").read()[0][0].parameters["qty"] == 2.0


def test_python_keeps_nothing_unasked(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call of a library writes no files on its own."""
    monkeypatch.chdir(tmp_path)
    run(None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", [True, "", 7, "runs:1/x"])
def test_what_is_no_folder_is_refused_before_the_run(
    run: Run, keep: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an example."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"keep='runs'|the name 'runs:1'"):
        run(keep)
    assert list(tmp_path.iterdir()) == []


def test_a_saved_result_is_found_from_the_index(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As seen from there, so that the whole folder can be moved, and no name of a home folder is told."""
    monkeypatch.chdir(tmp_path)
    result = run(Path("runs"), save="runs/deep/first")
    run(Path("runs"), save=tmp_path / "elsewhere")
    assert [line["saved_to"] for line in lines_in(tmp_path / "runs")] == ["deep/first", "../elsewhere"]
    assert qk.Result.load(tmp_path / "runs" / "deep" / "first").hash == result.hash
    with pytest.raises(ConfigError, match="exists already"):
        run(None, save="elsewhere")


def test_no_secret_and_no_needless_path_is_in_it(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values of parameters that are secrets by their names are masked; folders are told from here or from home."""
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    monkeypatch.chdir(tmp_path)
    assert place_of_data(str(tmp_path / "data")) == "data"
    assert place_of_data(str(tmp_path / "me" / "data")) == "me/data"
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert place_of_data(str(tmp_path / "me" / "data")) == "~/data"
    assert place_of_data(str(tmp_path / "data")) == str(tmp_path / "data")
    assert place_of_data("s3-bucket/data") == "s3-bucket/data"
    for name, is_secret in {"api_key": True, "apiKey": True, "secret": True, "Password": True, "token": False}.items():

        def on_start(self: qk.Strategy) -> None:
            self.subscribe_candles("GOOG", "1d")

        kind = type("Made", (qk.Strategy,), {"__annotations__": {name: str}, name: "", "on_start": on_start})
        run(tmp_path / "runs", strategy=kind, params={name: "hunter2"})
        text = (tmp_path / "runs" / INDEX).read_text().splitlines()[-1]
        assert ("hunter2" in text) is not is_secret, name
        assert str(tmp_path) not in text


def test_data_have_a_digest() -> None:
    """Of the files; without any of the streams."""
    assert data_digest({"a": "1", "b": "2"}, {}) == data_digest({"b": "2", "a": "1"}, {"x": 1})
    assert len({data_digest({"a": "1"}, {}), data_digest({"a": "2"}, {}), data_digest({}, {"a": 1})}) == 3


# Torn lines and many writers -------------------------------------------------------------------------------------


def a_line(**changes: Any) -> IndexLine:
    """Return a line."""
    fields: dict[str, Any] = {
        "at": "2026-11-30T00:00:00Z",
        "strategy": "a:A",
        "name": "A",
        "digest": "d",
        "parameters": {"n": 1},
        "data": "data",
        "data_digest": "f" * 64,
        "start": "2025-01-01T00:00:00Z",
        "end": "2025-02-01T00:00:00Z",
        "options": {},
        "hash": "0" * 64,
        "hash_encoding": "quantkit-result-1",
        "stats": {"sharpe_ratio": 1.5},
        "saved_to": None,
        "versions": {},
    }
    return IndexLine(**{**fields, **changes})


@pytest.mark.parametrize("torn", [b'{"at":"2026', b"\0" * 50, b"[" * 5000, b"\xff\xfe", b"{}", b'"text"'])
@pytest.mark.parametrize("has_end", [True, False])
def test_a_torn_line_costs_nothing_but_itself(torn: bytes, has_end: bool, tmp_path: Path) -> None:
    """Those before and after it are read, and its number is told; the next line does not continue it."""
    index = RunIndex(tmp_path / "runs")
    index.add(a_line(name="first"))
    with index.path.open("ab") as file:
        file.write(torn + (b"\n" if has_end else b""))
    assert [line.name for line in index.read()[0]] == ["first"]
    index.add(a_line(name="second"))
    lines, passed_over = index.read()
    assert ([line.name for line in lines], passed_over) == (["first", "second"], [2])
    assert index.other_variants(tried_of(a_line(name="second", parameters={}))) == [1.5]


def test_only_what_was_added_is_read_again(tmp_path: Path) -> None:
    """Unchanged, the same lists come; a half line that becomes whole counts then, and once."""
    index = RunIndex(tmp_path / "runs")
    assert index.read() == ([], [])
    index.add(a_line(name="first"))
    lines = index.read()[0]
    assert index.read()[0] is lines
    content = msgspec.json.encode(a_line(name="second"))
    with index.path.open("ab") as file:
        file.write(content[:20])
    assert names_of(index) == (["first"], [2])
    with index.path.open("ab") as file:
        file.write(content[20:])
    assert names_of(index) == (["first", "second"], [])
    with index.path.open("ab") as file:
        file.write(b"\n\n{}\n")
    assert names_of(index) == (["first", "second"], [4])
    index.add(a_line(name="third"))
    assert names_of(index) == (["first", "second", "third"], [4])
    assert names_of(RunIndex(tmp_path / "runs")) == names_of(index)


@pytest.mark.parametrize("is_longer", [True, False])
@pytest.mark.parametrize("is_new_file", [True, False])
def test_another_index_in_its_place_is_read_anew(is_longer: bool, is_new_file: bool, tmp_path: Path) -> None:
    """Written over, shortened, or another file; and one that has gone holds nothing."""
    index = RunIndex(tmp_path / "runs")
    for name in ("first", "second"):
        index.add(a_line(name=name))
    assert names_of(index) == (["first", "second"], [])
    other = [msgspec.json.encode(a_line(name=name)) + b"\n" for name in ("a", "b", "c" * 9)]
    if is_new_file:
        index.path.rename(tmp_path / "old")
    index.path.write_bytes(b"".join(other if is_longer else other[:1]))
    assert names_of(index)[0] == ["a", "b", "c" * 9][: 3 if is_longer else 1]
    index.path.unlink()
    assert names_of(index) == ([], [])


def names_of(index: RunIndex) -> tuple[list[str], list[int]]:
    lines, torn = index.read()
    return [line.name for line in lines], torn


def test_a_line_of_a_newer_version_is_read(tmp_path: Path) -> None:
    """Fields that are not known are passed over."""
    index = RunIndex(tmp_path)
    index.path.write_bytes(msgspec.json.encode({**msgspec.to_builtins(a_line()), "mood": "good"}) + b"\n\n")
    assert index.read() == ([a_line()], [])


def test_many_processes_lose_and_mix_nothing(tmp_path: Path) -> None:
    """Long and short lines, all writers at once, each line as it was written."""
    writers, each = 4, 100
    code = (
        "import sys, msgspec\n"
        "from pathlib import Path\n"
        "from quantkit.runs.index import IndexLine, RunIndex\n"
        "fields = msgspec.json.decode(sys.argv[1])\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read(1)\n"
        f"for number in range({each}):\n"
        "    fields['parameters'] = {'n': number, 'pad': 'x' * (number * 997 % 30_000)}\n"
        "    RunIndex(sys.argv[3]).add(IndexLine(**{**fields, 'name': sys.argv[2]}))\n"
    )
    fields = msgspec.json.encode(a_line()).decode()
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, fields, f"writer{number}", str(tmp_path / "runs")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for number in range(writers)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"g")
        process.stdin.flush()
    for process in started:
        process.communicate(timeout=60)
        assert process.returncode == 0
    lines, torn = RunIndex(tmp_path / "runs").read()
    assert torn == []
    for number in range(writers):
        mine = [line.parameters for line in lines if line.name == f"writer{number}"]
        assert mine == [{"n": n, "pad": "x" * (n * 997 % 30_000)} for n in range(each)]
    assert len(lines) == writers * each


# What may go wrong ---------------------------------------------------------------------------------------------------


def _a_file(folder: Path) -> None:
    folder.write_text("mine")


def _a_linked_index(folder: Path) -> None:
    folder.mkdir()
    (folder.parent / "notes.txt").write_text("mine")
    (folder / INDEX).symlink_to(folder.parent / "notes.txt")


def _a_folder_for_an_index(folder: Path) -> None:
    (folder / INDEX).mkdir(parents=True)


def _a_pipe(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / INDEX)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX links and pipes")
@pytest.mark.parametrize(
    "spoil", [_a_file, _a_linked_index, _a_folder_for_an_index, _a_pipe], ids=lambda f: f.__name__[1:]
)
def test_an_index_that_cannot_be_written_is_one_warning(
    run: Run, spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    """The backtest itself does not fail, and what the folder holds is left alone."""
    spoil(tmp_path / "runs")
    result = run(tmp_path / "runs")
    (warning,) = (warning for warning in result.warnings if warning.startswith(UNKEPT))
    assert str(tmp_path / "runs") in warning
    assert "\n" not in warning
    assert result.variants == 1
    if (tmp_path / "notes.txt").exists():
        assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_refuses_is_one_warning(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests: the file system says no."""

    def refused(*_: Any) -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("quantkit.storage.root.os.open", refused)
    (warning,) = (warning for warning in run(tmp_path / "runs").warnings if warning.startswith(UNKEPT))
    assert "Permission denied" in warning


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was there stays, and so does the result."""
    index = RunIndex(tmp_path)
    index.add(a_line())
    before = index.path.read_bytes()

    class Full:
        """A file of which only the first bytes of a line fit."""

        def __init__(self, path: Path, *_: Any, **__: Any) -> None:
            self._file = path.open("rb+", buffering=0)

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None:
            self._file.close()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def write(self, content: bytes) -> int:
            self._file.seek(0, os.SEEK_END)
            return self._file.write(content[:10])

    monkeypatch.setattr("quantkit.runs.index.open", Full, raising=False)
    with pytest.raises(DataError, match="no space left for a line"):
        index.add(a_line())
    assert index.path.read_bytes() == before


# Variants ------------------------------------------------------------------------------------------------------------


def tried_of(line: IndexLine) -> Tried:
    """Return what a line says was tried."""
    return Tried(*(getattr(line, name) for name in Tried.__struct_fields__))


def test_variants_are_files_and_parameters_on_the_same_data(run: Run, now: type[qk.Strategy], tmp_path: Path) -> None:
    """A repeated run is no new variant; another span, other data and another strategy do not count."""
    runs = tmp_path / "runs"
    assert run(runs).variants == 1
    assert run(runs).variants == 1
    second = run(runs, params={"qty": 2})
    assert second.variants == 2
    third = run(runs, params={"qty": 3})
    assert third.variants == 3
    assert third.other_variants == [run(None).numbers["sharpe_ratio"], second.numbers["sharpe_ratio"]]
    assert run(runs, params={"qty": 9}, end="2025-01-20").variants == 1
    assert run(runs, params={"qty": 9}, days=39).variants == 1
    assert run(runs, strategy=type("Other", (now,), {"__doc__": "Another."})).variants == 1
    assert run(None, params={"qty": 9}).variants == 1
    index = RunIndex(runs)
    line = line_of(third, runs, AT_NS)
    assert line.at == "2026-11-30T01:02:03.456Z"
    index.add(msgspec.structs.replace(line, digest="another file", stats={"sharpe_ratio": None}))
    assert run(runs).variants == 4
    assert None in run(runs).other_variants


def test_the_statistics_count_the_variants(run: Run, tmp_path: Path) -> None:
    """In the result, in its line, and in what was saved of it."""
    runs = tmp_path / "runs"
    run(runs)
    second = run(runs, params={"qty": 2}, save=runs / "second")
    assert second.numbers["variants"] == 2
    assert lines_in(runs)[1]["stats"]["variants"] == 2
    assert qk.Result.load(runs / "second").numbers == second.numbers
    alone = run(None, params={"qty": 2}).numbers
    deflated, undeflated = second.numbers["deflated_sharpe"], alone["deflated_sharpe"]
    assert isinstance(deflated, float)
    assert isinstance(undeflated, float)
    assert deflated < undeflated


# The command ---------------------------------------------------------------------------------------------------------

STRATEGY = """
import quantkit as qk


class Hourly(qk.Strategy):
    qty: float = 0.01

    def on_start(self):
        self.subscribe_candles("binance:BTC-USDT-SWAP", "1h")

    def on_candle(self, candle):
        self.target(candle.instrument, self.qty)
"""


def test_the_command_keeps_a_line_in_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In `runs`, elsewhere by `--runs`, nowhere by `--no-keep`; the line is the one from Python, `at` aside."""
    monkeypatch.chdir(tmp_path)
    Path("hourly.py").write_text(STRATEGY)
    data = str(Path(__file__).parents[3] / "data")
    span = ["--data", data, "--from", "2025-05-06", "--to", "2025-05-08", "-p", "qty=0.02", "--seed", "3"]
    for words in ([], ["--runs", "other", "--save", "other/a"], ["--no-keep"], ["--no-keep", "--runs", "third"]):
        done = CliRunner().invoke(main, ["backtest", "hourly.py", *span, *words, "--quiet"])
        assert (done.exit_code, done.output) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir() and path.name[0] != "_") == [
        "other",
        "runs",
    ]
    qk.backtest("hourly.py", data=data, start="2025-05-06", end="2025-05-08", params={"qty": "0.02"}, seed=3, keep="py")
    ((typed,), (saved,), (called,)) = (lines_in(tmp_path / name) for name in ("runs", "other", "py"))
    assert typed.pop("at") <= saved.pop("at") <= called.pop("at")
    assert typed == called
    assert saved.pop("saved_to") == "a"
    assert typed.pop("saved_to") is None
    assert saved == typed
    assert typed["data"] == data
    assert typed["parameters"] == {"qty": 0.02}


def test_a_failed_run_leaves_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no result to tell of."""
    monkeypatch.chdir(tmp_path)
    Path("hourly.py").write_text(STRATEGY.replace("self.target(candle.instrument, self.qty)", "raise ValueError"))
    data = str(Path(__file__).parents[3] / "data")
    done = CliRunner().invoke(main, ["backtest", "hourly.py", "--data", data])
    assert done.exit_code == 1
    assert not Path("runs").exists()
