"""The process of a strategy file: its limits, what it tells of a file, and that it is quantkit's command else."""

import json
import sys
from pathlib import Path

import pytest

from quantkit.web import limited

MINE = '''
import quantkit as qk

print("loading")


class Mine(qk.Strategy):
    """Says hello.

    And more.
    """

    pace: int = 3

    def on_start(self) -> None:
        pass
'''
LIMITS = ["quantkit.web.limited", "300", str(8 << 30)]


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[int, int]]:
    """Note the limits that are set instead of setting them here, where other tests run."""
    resource = pytest.importorskip("resource", reason="Windows has no such limits")
    found: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(resource, "setrlimit", lambda kind, most: found.update({kind: most}))
    return found


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", [*LIMITS, *words])
    # Another test of this process may have imported it, which `runpy` warns of.
    monkeypatch.delitem(sys.modules, "quantkit.__main__", raising=False)
    limited.main()


def test_limits_are_set_before_anything_is_loaded(
    limits: dict[int, tuple[int, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Time, memory, and no core file, which would hold what a strategy knows; soft and hard alike."""
    import resource

    with pytest.raises(SystemExit):
        run(monkeypatch, "validate", str(tmp_path / "none.py"))
    assert limits == {
        resource.RLIMIT_CPU: (300, 301),
        resource.RLIMIT_AS: (8 << 30, 8 << 30),
        resource.RLIMIT_CORE: (0, 0),
    }


def test_a_file_is_told_as_json(
    limits: dict[int, tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """What it prints itself goes to stderr."""
    del limits
    (tmp_path / "mine.py").write_text(MINE, encoding="utf-8")
    run(monkeypatch, "validate", str(tmp_path / "mine.py"))
    said = capsys.readouterr()
    assert json.loads(said.out) == {
        "file": "mine.py",
        "strategy": "Mine",
        "says": "Says hello.",
        "parameters": {"pace": 3},
    }
    assert said.err == "loading\n"


@pytest.mark.parametrize("content", ["x = 1\n", "import nowhere_at_all\n", "def broken(:\n", MINE.replace("3", "'x'")])
def test_a_file_that_cannot_be_run_is_one_line(
    content: str,
    limits: dict[int, tuple[int, int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    del limits
    (tmp_path / "mine.py").write_text(content, encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "validate", str(tmp_path / "mine.py"))
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.splitlines()[-1].startswith("quantkit: error: ")


def test_other_words_are_quantkits_own(
    limits: dict[int, tuple[int, int]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del limits
    with pytest.raises(SystemExit) as ended:
        run(monkeypatch, "backtest", "--help")
    assert ended.value.code in (0, None)
    assert "Usage: quantkit backtest" in capsys.readouterr().out
