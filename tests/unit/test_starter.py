"""A place to start from: what `quantkit new` writes runs at once, and never over anything that is there."""

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import quantkit as qk
from quantkit.cli import main
from quantkit.errors import ConfigError, DataError
from quantkit.quality import check
from quantkit.starter import GENERATED, start
from quantkit.storage.catalog import Catalog

DATA = Path(__file__).parents[2] / "data"


def test_what_new_writes_runs_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A strategy that trades, on sixty days of sound data whose name says that they are generated."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["new", "first_try"])
    assert result.exit_code == 0, result.output
    assert "strategies/first_try.py" in result.output
    assert "generated" in result.output
    assert result.output.splitlines()[-1].endswith("quantkit backtest first_try")
    assert check(Catalog("data")).findings == []
    run = CliRunner().invoke(main, ["backtest", "first_try", "--brief"])
    assert run.exit_code == 0, run.output
    assert run.output.startswith("FirstTry\ninstrument='generated:BTC-USDT'")
    outcome = qk.backtest("first_try", data="data").outcome
    assert len(outcome.fills) >= 2
    assert {fill.instrument for fill in outcome.fills} == {GENERATED}
    # Nothing but the strategy, the data and the line of the run, and they take little room.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "runs", "strategies"]
    assert sum(file.stat().st_size for file in (tmp_path / "data").rglob("*") if file.is_file()) < 300_000


def test_the_generated_data_are_the_same_each_time(tmp_path: Path) -> None:
    """Two people who start compare the same numbers."""
    files = []
    for name in ("a", "b"):
        start("mine", tmp_path / name)
        files.append([(entry.path, entry.sha256) for entry in Catalog(tmp_path / name / "data").entries])
    assert files[0] == files[1]


def test_data_that_are_there_are_left_alone(tmp_path: Path) -> None:
    """The strategy is written for their first candles."""
    shutil.copytree(DATA, tmp_path / "data")
    before = (tmp_path / "data" / "manifest.jsonl").read_bytes()
    started = start("mine", tmp_path)
    assert (started.data, started.instrument) == (None, "binance:BTC-USDT-SWAP")
    assert (tmp_path / "data" / "manifest.jsonl").read_bytes() == before
    text = started.strategy.read_text(encoding="utf-8")
    assert 'instrument: str = "binance:BTC-USDT-SWAP"' in text
    assert len(qk.backtest(str(started.strategy), data=DATA).fills) >= 10


def test_a_folder_elsewhere_is_named_in_the_line_to_type(tmp_path: Path) -> None:
    """Made if it is not there, with its name quoted."""
    result = CliRunner().invoke(main, ["new", "mine", "--to", str(tmp_path / "my place")])
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[-1].endswith(f"cd '{tmp_path}/my place' && quantkit backtest mine")
    assert (tmp_path / "my place" / "strategies" / "mine.py").is_file()


@pytest.mark.parametrize("name", ["my-strategy", "2fast", "", "a/b", "../out"])
def test_names_that_are_none(tmp_path: Path, name: str) -> None:
    """Nothing is written."""
    with pytest.raises(ConfigError, match=r"is no name for a strategy; use letters, digits and _"):
        start(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_keywords_are_no_names(tmp_path: Path) -> None:
    """What is wrong with a name of sound letters."""
    with pytest.raises(ConfigError) as caught:
        start("class", tmp_path)
    assert str(caught.value) == ("'class' is a Python keyword and no name for a strategy; write for example my_class")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["statistics", "pandas", "quantkit"])
def test_names_of_modules_are_no_names(name: str, tmp_path: Path) -> None:
    """Strategies beside it would import it in place of the library: `module 'pandas' has no attribute 'DataFrame'`."""
    with pytest.raises(ConfigError) as caught:
        start(name, tmp_path)
    assert str(caught.value) == (
        f"{name!r} is the name of a Python module, which imports would find no more; use my_{name}"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_strategy_that_is_there_is_kept(tmp_path: Path) -> None:
    """And so is everything else."""
    start("mine", tmp_path)
    file = tmp_path / "strategies" / "mine.py"
    file.write_text("# my own\n")
    with pytest.raises(ConfigError, match=r"mine.py is there already; choose another name"):
        start("mine", tmp_path)
    assert file.read_text() == "# my own\n"


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    """A file in the way, and data without candles."""
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file.* cannot be written: "):
        start("mine", tmp_path / "file")
    books = tmp_path / "books"
    (books / "data").mkdir(parents=True)
    lines = (DATA / "manifest.jsonl").read_text().splitlines()
    kept = [line for line in lines if '"candle"' not in line]
    assert len(kept) < len(lines)
    (books / "data" / "manifest.jsonl").write_text("\n".join(kept) + "\n")
    with pytest.raises(DataError, match=r"holds no candles to start from"):
        start("mine", books)
    assert not (books / "strategies").exists()
