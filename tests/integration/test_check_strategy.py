"""`quantkit check` as a user meets it: its table, its exit code, and wrong calls."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from planted_cheats import Honest

import quantkit as qk
from quantkit.cli import main
from quantkit.proving.verdict import QUESTIONS

ROOT = Path(__file__).parents[2]


def run(*words: str) -> Result:
    """Run the command on the sample data."""
    return CliRunner().invoke(main, ["check", *words, "--data", str(ROOT / "data")])


def strategy(name: str) -> str:
    """Return an example's file."""
    return str(ROOT / "strategies" / f"{name}.py")


def test_an_example_is_asked_everything_and_accused_of_nothing() -> None:
    """Every question has an answer with evidence, and none is a fault; the run as it is comes first."""
    done = run(strategy("ma_cross"), "--to", "2025-05-09", "--json")
    assert done.exit_code == 0, done.output
    said = msgspec.json.decode(done.stdout)
    assert [row["check"] for row in said["rows"]] == list(QUESTIONS)
    assert {row["verdict"] for row in said["rows"]} <= {"PASS", "WARN", "CANNOT TELL"}
    assert all(row["evidence"] for row in said["rows"])
    told = {row["check"]: row["verdict"] for row in said["rows"]}
    for question in ("look-ahead", "own reading", "determinism", "state between runs", "share of volume"):
        assert told[question] == "PASS"
    assert [each["name"] for each in said["variants"]] == ["candle matching, latency 0 ms", "fees x0.5", "fees x2"]
    pnls = [each["pnl"] for each in said["variants"]]
    assert pnls[1] > pnls[0] > pnls[2]
    assert said["runs"] == 15


def test_what_cannot_be_run_is_one_line() -> None:
    """No traceback of a process that nobody knows of."""
    done = run("no_such_strategy")
    assert done.exit_code == 2
    assert done.stderr.startswith("quantkit: error: strategy 'no_such_strategy'")
    assert len(done.stderr.splitlines()) == 1


def test_a_fault_is_told_by_the_exit_code() -> None:
    """With its kind in front of the evidence; one question takes one run, and an allowed file is no fault."""
    cheat = f"{ROOT / 'tests' / 'planted_cheats.py'}:ReadsFiles"
    done = run(cheat, "--only", "own reading", "--from", "2025-05-08", "--to", "2025-05-09")
    assert done.exit_code == 1
    shown = " ".join(done.stdout.split())
    assert "own reading FAIL reads the data: reads the stored data itself" in shown
    assert "1 run " in shown
    assert done.stdout.rstrip().endswith("FAIL")
    catalog = qk.Catalog(ROOT / "data")
    checked = qk.check(cheat, data=catalog, only=["own reading"], end="2025-05-07", allow=["*.parquet"])
    assert (checked.verdict, checked.runs) == ("PASS", 1)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"only": ["luck"]}, "a check asks nothing called 'luck'; it asks look-ahead"),
        ({"keep": 3}, "check has no option 'keep'; it takes those of backtest"),
        ({"workers": 0}, "workers is 0; give 1 or more"),
        ({"data": 5}, "data is a int; a check takes a folder"),
    ],
)
def test_wrong_calls_are_refused_before_anything_runs(options: dict[str, object], why: str) -> None:
    """Each in one line."""
    with pytest.raises(qk.ConfigError, match=why):
        qk.check(Honest, **options)  # type: ignore[arg-type]


def test_a_class_that_no_other_process_can_load_is_refused() -> None:
    """One made in a function, as in a notebook."""

    class Local(Honest):
        """Here and nowhere else."""

    with pytest.raises(qk.ConfigError, match="Local is no class at the top of a file"):
        qk.check(Local)
    with pytest.raises(qk.ConfigError, match="is no Strategy"):
        qk.check(int)  # type: ignore[arg-type]
    with pytest.raises(qk.ConfigError, match="this one is built already"):
        qk.check(Honest(), params={"instrument": "X"})
