"""Strategy files of one folder run in processes with limits: FAULTS S10 and S11."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from web_runs import DATA, ROOT

from quantkit.errors import ConfigError
from quantkit.runs.folder import Runs
from quantkit.web.workshop import TrialError, Workshop

HEAD = (
    "import quantkit as qk\n\n\nclass Mine(qk.Strategy):\n    '''Says {says}.'''\n\n    pace: int = 3\n\n"
    "    def on_start(self) -> None:\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of strategies, with things beside them."""
    found = tmp_path / "strategies"
    found.mkdir()
    (found / "ma_cross.py").write_bytes((ROOT / "strategies" / "ma_cross.py").read_bytes())
    return found


def workshop(folder: Path, **limits: int) -> Workshop:
    return Workshop(folder, runs=folder.parent / "runs", data=DATA, **limits)


def write(folder: Path, body: str, *, says: str = "nothing", name: str = "mine.py") -> None:
    lines = "\n".join(f"        {line}" for line in body.splitlines())
    (folder / name).write_text(f"{HEAD.format(says=says)}{lines}\n", encoding="utf-8")


def test_a_file_is_validated(folder: Path) -> None:
    """What it prints while it is loaded is no part of the answer."""
    write(folder, "pass", says="hello")
    with (folder / "mine.py").open("a", encoding="utf-8") as file:
        file.write("\n\nprint('loaded')\n")
    found = workshop(folder).validate("mine.py")
    assert (found.file, found.strategy, found.says, found.parameters) == ("mine.py", "Mine", "Says hello.", {"pace": 3})


def test_a_backtest_is_kept(folder: Path) -> None:
    """As `quantkit backtest --save` does; each under an id of its own."""
    mine = workshop(folder)
    runs = [mine.backtest("ma_cross.py", {"fast": fast}, start="2025-05-10", end="2025-05-12") for fast in (5, 5, 6)]
    assert len({run.run for run in runs}) == 3
    kept = Runs(folder.parent / "runs")
    assert {kept.find(run.run).hash for run in runs} == {run.report["hash"] for run in runs}
    assert runs[0].report["hash"] == runs[1].report["hash"] != runs[2].report["hash"]
    assert runs[0].report["assumptions"]


@pytest.mark.parametrize(
    "file",
    [
        "../outside.py",
        "sub/inside.py",
        "/etc/passwd",
        "ma_cross",
        "ma_cross.py:MaCross",
        "link.py",
        ".hidden.py",
        "",
        "os:path",
    ],
)
def test_no_other_file_is_run(folder: Path, file: str) -> None:
    """What is named by a path, by a link or by a module."""
    planted = "import pathlib\npathlib.Path(__file__).with_suffix('.ran').touch()\n"
    (folder / "sub").mkdir()
    for path in (folder.parent / "outside.py", folder / "sub" / "inside.py", folder / ".hidden.py"):
        path.write_text(planted, encoding="utf-8")
    (folder / "link.py").symlink_to(folder.parent / "outside.py")
    for call in (workshop(folder).validate, lambda name: workshop(folder).backtest(name, {})):
        with pytest.raises(ConfigError, match="is no strategy file of the folder"):
            call(file)
    assert not list(folder.parent.rglob("*.ran"))


def test_time_is_limited(folder: Path) -> None:
    """A file that never ends is ended, with what it started."""
    (folder / "spins.py").write_text("while True:\n    pass\n", encoding="utf-8")
    with pytest.raises(TrialError, match="took more than 2 s"):
        workshop(folder, seconds=2).validate("spins.py")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such limit")
def test_a_used_up_processor_says_so_by_itself(folder: Path) -> None:
    """Where the clock's limit would come later: several threads use more CPU time than the clock shows."""
    (folder / "spins.py").write_text("while True:\n    pass\n", encoding="utf-8")
    limits = [sys.executable, "-m", "quantkit.web.limited", "1", str(8 << 30), "validate", "spins.py"]
    assert subprocess.run(limits, cwd=folder, check=False).returncode == -signal.SIGXCPU


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such limit")
def test_memory_is_limited(folder: Path) -> None:
    write(folder, "self.held = bytearray(6 << 30)")
    with pytest.raises(TrialError, match="MemoryError"):
        workshop(folder, memory_bytes=4 << 30).backtest("mine.py", {}, start="2025-05-10", end="2025-05-11")


def test_secrets_stay_outside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A strategy sees no key of the environment."""
    monkeypatch.setenv("OKX_API_SECRET", "hunter2")
    monkeypatch.setenv("MY_TOKEN", "hunter2")
    (folder / "looks.py").write_text(
        "import os\n\nraise RuntimeError(str('hunter2' in str(dict(os.environ))))\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match="False"):
        workshop(folder).validate("looks.py")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("broken.py", "def (", "SyntaxError"),
        ("empty.py", "", "holds no subclass"),
        ("raises.py", "1 / 0", "ZeroDivisionError"),
    ],
)
def test_what_is_wrong_is_one_line(folder: Path, name: str, content: str, told: str) -> None:
    (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=told) as refused:
        workshop(folder).validate(name)
    assert len(str(refused.value).splitlines()) == 1


def test_a_wrong_parameter_is_told(folder: Path) -> None:
    with pytest.raises(ConfigError, match="has no parameter 'speed'"):
        workshop(folder).backtest("ma_cross.py", {"speed": 1})


def test_a_hook_that_raises_is_told(folder: Path) -> None:
    write(folder, "raise ValueError('out of luck')")
    with pytest.raises(TrialError, match=r"Mine\.on_start raised ValueError: out of luck"):
        workshop(folder).backtest("mine.py", {}, start="2025-05-10", end="2025-05-11")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder of strategies"):
        workshop(tmp_path / "gone")
