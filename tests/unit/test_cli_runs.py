"""`quantkit runs`: lists, one run and two runs compared, as text that fits and as JSON, names shown as text."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

import quantkit as qk
from quantkit.cli import main
from quantkit.report.result import Result as RunResult
from quantkit.runs.folder import Runs
from quantkit.runs.index import RunIndex

ROOT = Path(__file__).parents[2]
STRATEGY = '''"""Holds a size."""

import quantkit as qk


class Hourly(qk.Strategy):
    qty: float = 0.01
    tag: str = "a"

    def on_start(self):
        self.subscribe_candles("binance:BTC-USDT-SWAP", "1h")

    def on_candle(self, candle):
        self.target(candle.instrument, self.qty if candle.close > candle.open else 0.0)
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs: one of which the numbers are kept, two that were saved, and a live one without a result."""
    place = tmp_path_factory.mktemp("place")
    (place / "hourly.py").write_text(STRATEGY)
    for number, save in ((1, None), (2, place / "runs" / "first"), (3, place / "runs" / "second")):
        qk.backtest(
            str(place / "hourly.py"),
            data=ROOT / "data",
            start="2025-05-06",
            end="2025-05-08",
            params={"qty": number / 100},
            save=save,
            keep=place / "runs",
        )
    with zipfile.ZipFile(ROOT / "tests" / "data" / "runs" / "0.2.0.zip") as packed:
        packed.extractall(place / "runs" / "Recorded-20261129-183855")
    return place


def runs(place: Path, *words: str, columns: int = 80) -> Result:
    """Run a subcommand on the folder."""
    given = [*words, "--runs", str(place / "runs")]
    return CliRunner().invoke(main, ["runs", *given], env={"COLUMNS": str(columns)})


def shown(place: Path, *words: str, columns: int = 80) -> str:
    """Return what a subcommand that works prints."""
    done = runs(place, *words, columns=columns)
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    return done.stdout


def kept(place: Path) -> str:
    """Return the id of the run that was not saved."""
    return next(entry.id for entry in Runs(place / "runs").list() if entry.kind == "backtest" and not entry.is_whole)


# ls ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 120])
def test_the_list_fits_the_terminal(place: Path, columns: int) -> None:
    """Strategy with the parameters that differ, span, return, Sharpe, drawdown, hash, newest first."""
    text = shown(place, "ls", columns=columns)
    lines = text.splitlines()
    assert max(map(len, lines)) <= columns
    assert [line.split()[0] for line in lines[1:-1] if line[0] != " "] == [
        "second",
        "first",
        kept(place),
        "Recorded-20261129-183855",
    ]
    for part in ("Hourly", "qty=0.03", "2025-05-06 2d", "Sharpe", "failed"):
        assert part in text
    assert "tag=" not in text
    assert ("hash" in lines[0]) is (columns == 120)
    assert lines[-1].startswith("4 runs in ")


def test_a_run_takes_one_line_where_its_name_fits_beside_its_id(place: Path) -> None:
    """Though one of them has the long id of a live run."""
    lines = shown(place, "ls").splitlines()
    assert [line.split()[:2] for line in lines[1:3]] == [["second", "Hourly"], ["first", "Hourly"]]
    narrow = shown(place, "ls", columns=58).splitlines()
    assert [line.split()[0] for line in narrow[1:4]] == ["second", "Hourly", "first"]


def test_the_list_is_cut_and_filtered(place: Path) -> None:
    """And says how many there are."""
    text = shown(place, "ls", "-n", "1")
    assert "second" in text
    assert "the newest 1 of 4 runs" in " ".join(text.split())
    for name in ("Hourly", "hourly", "hourly:Hourly"):
        assert "3 runs" in shown(place, "ls", "--strategy", name)
    assert "holds no such runs" in shown(place, "ls", "--strategy", "Nobody")


def test_the_list_as_json_has_all_that_is_known(place: Path) -> None:
    """Of every run."""
    listed = msgspec.json.decode(shown(place, "ls", "--json"))
    assert [entry["id"] for entry in listed] == [entry.id for entry in Runs(place / "runs").list()]
    assert msgspec.convert(listed[0]["stats"]["fills"], int) > 10
    assert len(msgspec.json.decode(shown(place, "ls", "--json", "-n", "2"))) == 2


def test_what_is_no_line_is_told_beside_the_list(place: Path, tmp_path: Path) -> None:
    """On standard error, so that JSON stays JSON."""
    index = RunIndex(tmp_path / "runs")
    index.add(RunIndex(place / "runs").read()[0][0])
    with index.path.open("ab") as file:
        file.write(b'{"at": ')
    done = runs(tmp_path, "ls", "--json")
    assert len(msgspec.json.decode(done.stdout)) == 1
    assert done.stderr == f"quantkit: {index.path}: no line of a run, passed over: 2\n"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """What makes one is told."""
    done = runs(tmp_path, "ls")
    assert done.exit_code == 1
    assert "there is no folder of runs" in done.stderr


# show ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [[], ["--brief"], ["--json"]])
def test_a_saved_run_is_shown_as_the_backtest_printed_it(place: Path, tmp_path: Path, flags: list[str]) -> None:
    """Letter by letter."""
    words = ["--data", str(ROOT / "data"), "--from", "2025-05-06", "--to", "2025-05-08", "--no-keep", *flags]
    saved = tmp_path / "runs" / "one"
    command = ["backtest", str(place / "hourly.py"), *words, "--save", str(saved)]
    printed = CliRunner().invoke(main, command, env={"COLUMNS": "80"})
    assert printed.exit_code == 0, printed.output
    for name in ("one", str(saved), RunResult.load(saved).hash[:10]):
        assert shown(tmp_path, "show", name, *flags) == printed.stdout


def test_of_other_runs_the_numbers_are_shown(place: Path) -> None:
    """And that there is no more."""
    text = shown(place, "show", kept(place))
    for part in (
        "Hourly(qty=0.01, tag='a')",
        "Return [%]",
        "2025-05-06 00:00",
        "Only the numbers of this run are kept",
    ):
        assert part in text
    entry = msgspec.json.decode(shown(place, "show", kept(place), "--json"))
    assert (entry["id"], entry["is_whole"]) == (kept(place), False)


def test_a_run_without_a_result_says_what_to_do(place: Path) -> None:
    """Its recording can be repeated."""
    text = shown(place, "show", "Recorded")
    assert "failed: it ended (completed)" in text
    assert f"quantkit verify {place}/runs/Recorded-20261129-183855" in text


@pytest.mark.parametrize("words", [["show", "nobody"], ["show", ""], ["diff", "first", "nobody"], ["show"]])
def test_a_run_that_is_not_there_exits_with_2(place: Path, words: list[str]) -> None:
    """One line."""
    done = runs(place, *words)
    assert done.exit_code == 2
    assert done.stdout == ""


# diff ----------------------------------------------------------------------------------------------------------------


def test_two_runs_are_compared(place: Path) -> None:
    """What differs and nothing else, within 80 columns."""
    text = shown(place, "diff", "first", "second")
    assert max(map(len, text.splitlines())) <= 80
    for part in ("different results", "Parameters", "0.02", "0.03", "Numbers", "First differing order: number 1"):
        assert part in text
    assert "Options" not in text
    assert "note:" not in text
    diff = msgspec.json.decode(shown(place, "diff", "first", "second", "--json"))
    assert diff["parameters"] == [{"name": "qty", "a": 0.02, "b": 0.03}]
    assert (diff["is_identical"], diff["is_same_result"]) == (False, False)


def test_equal_runs_are_told_as_such(place: Path) -> None:
    """And of numbers alone that they are."""
    assert "identical: the same was run" in shown(place, "diff", "first", str(place / "runs" / "first"))
    assert "only the numbers are kept" in " ".join(shown(place, "diff", "first", kept(place)).split())


# report --------------------------------------------------------------------------------------------------------------


def test_a_saved_run_becomes_a_page(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file of its name, or in the one that is given; of numbers alone there is none."""
    monkeypatch.chdir(tmp_path)
    assert shown(place, "report", "first") == "report: first.html\n"
    assert Path("first.html").read_bytes().lower().startswith(b"<!doctype html>")
    assert msgspec.json.decode(shown(place, "report", "fir", "other.html", "--json")) == {"report": "other.html"}
    shown_by: list[Path] = []
    monkeypatch.setattr("quantkit.report.page.file.show", shown_by.append)
    shown(place, "report", "first", "--open")
    assert shown_by == [Path("first.html")]
    for words, why in (
        (["report", kept(place)], "only the numbers are kept"),
        (["report", "Recorded"], "has no result"),
        (["report", "first", "nowhere/a.html"], "there is no folder nowhere"),
    ):
        done = runs(place, *words)
        assert done.exit_code == 2
        assert why in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first.html", "other.html"]


# Names, completion, start --------------------------------------------------------------------------------------------


def test_hostile_names_are_text(place: Path, tmp_path: Path) -> None:
    """Markup and control characters of an index somebody else wrote."""
    line = RunIndex(place / "runs").read()[0][0]
    evil = "[red]\x1b[2Jx\u202e\n[/nothing]"
    index = RunIndex(tmp_path / "runs")
    index.add(
        msgspec.structs.replace(
            line,
            name=evil,
            strategy=evil,
            parameters={evil: evil},
            hash=evil,
            data=evil,
            start=evil,
            at=evil,
            options={"report_currency": evil},
            stats={**line.stats, "ended": evil},
        )
    )
    index.add(msgspec.structs.replace(line, name=evil, parameters={evil: 2}))
    for words in (["ls"], ["show", evil[:8]], ["diff", evil[:8], line.hash[:8]]):
        for columns in (80, 120):
            text = shown(tmp_path, *words, columns=columns)
            assert "\x1b" not in text
            assert "\u202e" not in text
            assert "[red]" in text


def test_the_shell_completes_runs(place: Path, tmp_path: Path) -> None:
    """The ids of the folder; none and no error where there is no folder."""

    def completed(words: str, cwd: Path) -> set[str]:
        env = {**os.environ, "_QUANTKIT_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "3"}
        code = "from quantkit.cli import main; main(prog_name='quantkit')"
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, cwd=cwd, check=False
        )
        assert done.stderr == ""
        return set(done.stdout.split())

    assert completed("quantkit runs show f", place) == {"plain,first"}
    assert completed("quantkit runs show ", place) >= {"plain,first", "plain,second"}
    assert completed("quantkit runs show f", tmp_path) == set()
