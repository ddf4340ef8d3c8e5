"""Which names may become part of a path, and that every door asks."""

import unicodedata
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as generators

import quantkit as qk
from quantkit.api import paper
from quantkit.errors import ConfigError
from quantkit.importers import import_files
from quantkit.portable import check_new, unportable
from quantkit.starter import start

GOOG = qk.Instrument("GOOG", quote="USD", price_step="0.01", qty_step="1")


GOOD = (
    "BTC-USDT",
    "instrument=NUL",
    "run 1",
    ".hidden",
    "console",
    "com10",
    "nullable.txt",
    "\u7ed3\u679c",
    "caf\u00e9",
)


@pytest.mark.parametrize("name", [*GOOD, "a" * 255])
def test_names_for_every_machine(name: str) -> None:
    """Letters of any script, as they are composed."""
    assert unportable(name) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("NUL", "is a device on Windows"),
        ("nul.tar.gz", "is a device on Windows"),
        ("Com7", "is a device on Windows"),
        ("aux .txt", "is a device on Windows"),
        ("COM\u00b9", "has another Unicode form, 'COM1'"),
        ("a.", "ends with a dot or a space"),
        ("a ", "ends with a dot or a space"),
        ("..", "ends with a dot or a space"),
        ("\uff22\uff34\uff23", "has another Unicode form, 'BTC'"),
        ("cafe\u0301", "has another Unicode form, 'caf\u00e9'"),
        ("", "holds a character that some file systems do not take"),
        ("a:b", "holds a character that some file systems do not take"),
        ("a\x00b", "holds a character that some file systems do not take"),
        ("a\u202eb", "holds a character that some file systems do not take"),
        ("\ud800", "holds a character that some file systems do not take"),
        ("\u00e9" * 128, "is longer than 255 bytes"),
    ],
)
def test_names_that_are_not(name: str, reason: str) -> None:
    """Devices with any ending, what a file system drops or spells another way."""
    assert unportable(name) == reason


@given(generators.text(max_size=12))
def test_no_two_portable_names_are_one(name: str) -> None:
    """A name in another Unicode form is refused, whichever form it is."""
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        other = unicodedata.normalize(form, name)  # type: ignore[arg-type]
        assert other == name or unportable(name) is not None or unportable(other) is not None


def test_only_what_is_to_be_made_is_looked_at(tmp_path: Path) -> None:
    """A folder that is there is the user's own business."""
    (tmp_path / "odd.").mkdir()
    check_new(tmp_path / "odd." / "new" / "er")
    check_new(Path("..") / "new")
    for path in (tmp_path / "new." / "run", tmp_path / "new" / "NUL"):
        with pytest.raises(ConfigError, match=r"the name .* choose another one"):
            check_new(path)


def prices() -> pd.DataFrame:
    """Return a few days."""
    days = pd.date_range("2025-01-01", periods=5, freq="D")
    return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), 100.0) | {"volume": 1.0}, index=days)


class Idle(qk.Strategy):
    """Listens."""

    def on_start(self) -> None:
        self.subscribe_candles("GOOG", "1d")


@pytest.mark.parametrize("name", ["nul", "Com1", "\uff41b"])
def test_a_new_strategy_gets_a_file_for_every_machine(name: str, tmp_path: Path) -> None:
    """Python takes these names."""
    with pytest.raises(ConfigError, match=r"no name for a strategy's file: it (is a device|has another Unicode form)"):
        start(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["NUL", "first.", "\uff41", "cafe\u0301"])
def test_every_door_to_a_new_folder_asks(name: str, tmp_path: Path) -> None:
    """A saved result, a data folder, a run's recording."""
    result = qk.backtest(Idle, data={"GOOG": prices()}, instruments=[GOOG])
    csv = tmp_path / "days.csv"
    prices().to_csv(csv, index_label="time")
    doors = [
        lambda: result.save(tmp_path / name),
        lambda: import_files("candles", [csv], to=tmp_path / name, instrument=GOOG),
        lambda: paper(Idle, record=tmp_path / name, okx=qk.OkxConfig(url="ws://127.0.0.1:9")),
    ]
    for door in doors:
        with pytest.raises(ConfigError, match=r"the name .* choose another one"):
            door()
    assert [path.name for path in tmp_path.iterdir()] == ["days.csv"]


def test_a_recording_keeps_no_code_under_a_name_that_is_a_device(tmp_path: Path) -> None:
    """A copy of the strategy's file goes into the run's folder; a backtest has no such copy."""
    file = tmp_path / "nul.py"
    file.write_text(
        "import quantkit as qk\n\n\nclass Idle(qk.Strategy):\n"
        '    def on_start(self) -> None:\n        self.subscribe_candles("GOOG", "1d")\n'
    )
    assert qk.backtest(str(file), data={"GOOG": prices()}, instruments=[GOOG]).stats["trades"] == 0
    with pytest.raises(ConfigError, match=r"strategy file nul.py: the name 'nul.py' is a device on Windows; rename it"):
        paper(str(file), record=tmp_path / "runs", okx=qk.OkxConfig(url="ws://127.0.0.1:9"))
    assert not (tmp_path / "runs").exists()
