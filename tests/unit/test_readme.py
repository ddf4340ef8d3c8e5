"""The README is true: its Python runs, its commands work, and what it shows is what comes out."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from quantkit import __version__
from quantkit.cli import main
from quantkit.importers import FORMATS

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "data" / "README.md"])
FIRST = "python -m venv .venv && .venv/bin/pip install . && .venv/bin/quantkit backtest ma_cross"
#: Commands that need a server, or are one.
LIVE = ("sandbox", "live", "watch", "verify")
SECOND = "python -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest"


def blocks(language: str) -> list[str]:
    """Return the README's code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands() -> list[list[str]]:
    """Return the words of every quantkit command in the README's shell blocks."""
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("quantkit ")]
    return [shlex.split(line)[1:] for line in lines]


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to work in that looks like a clone, with the files that the README's reader would have."""
    for name in ("data", "strategies"):
        shutil.copytree(ROOT / name, tmp_path / name)
    (tmp_path / "tests").mkdir()
    shutil.copytree(ROOT / "tests" / "data", tmp_path / "tests" / "data")
    (tmp_path / "my_strategy.py").write_text(next(block for block in blocks("python") if "class MaCross" in block))
    minutes = [f"2025-01-0{1 + i // 1440}T{i // 60 % 24:02}:{i % 60:02}:00Z" for i in range(2000)]
    prices = [94_000.0 + (i * 37 % 101) + 300 * (i // 100 % 2) for i in range(2001)]
    rows = [f"{t},{a},{max(a, b)},{min(a, b)},{b},1.5" for t, a, b in zip(minutes, prices, prices[1:], strict=False)]
    (tmp_path / "btc_1m.csv").write_text("time,open,high,low,close,volume\n" + "\n".join(rows) + "\n")
    days = [f"2025-01-{day:02},{190 + day},{195 + day},{188 + day},{191 + day},1000" for day in range(1, 29)]
    (tmp_path / "goog.csv").write_text("Date,Open,High,Low,Close,Volume\n" + "\n".join(days) + "\n")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    monkeypatch.undo()


def test_it_begins_with_what_it_is_and_the_two_commands() -> None:
    """One sentence, then the two lines that `.ci/run` takes from here and runs in fresh environments."""
    shell = blocks("sh")
    assert shell[:2] == [f"{FIRST}\n", f"{SECOND}\n"]
    lines = README.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# quantkit"
    assert lines[2].endswith(".")
    assert lines.index(FIRST) < 10


def test_its_python_runs(clone: Path) -> None:
    """Every block in its order, in one namespace; where a block shows output, that is what comes out."""
    document = Sybil([PythonCodeBlockParser()], path=str(ROOT), pattern="README.md").parse(README)
    examples = list(document.examples())
    # A block of prompts is one example for each prompt.
    assert len(examples) >= len(blocks("python")) >= 5
    for example in examples:
        example.evaluate()
    made_up = document.namespace["made_up"]
    assert len(made_up.fills) >= 4
    assert "candle" in made_up.assumptions[0]
    assert len(document.namespace["minutes"]) == 43_200


def test_the_terminal_shows_what_the_readme_shows() -> None:
    """The first command's output, letter by letter."""
    done = subprocess.run(
        [sys.executable, "-c", "from quantkit.cli import main; main()", *shlex.split(FIRST)[-2:]],
        cwd=ROOT,
        env={"COLUMNS": "80", "PYTHONUTF8": "1"},
        capture_output=True,
        check=True,
    )
    printed = "".join(f"{line.rstrip()}\n" for line in done.stdout.decode().splitlines())
    (shown,) = blocks("text")
    if os.environ.get("QUANTKIT_RENEW_GOLDEN") == "1":
        text = README.read_text(encoding="utf-8")
        README.write_text(text.replace(shown, printed), encoding="utf-8")
        (shown,) = blocks("text")
    assert printed == shown


def test_its_commands_work(clone: Path) -> None:
    """One after the other in a fresh folder, as a reader would type them."""
    here = [words for words in commands() if words[0] not in LIVE]
    assert len(here) >= 8
    for words in here:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, f"{words}: {done.output}"
        assert done.output
    assert (clone / "runs" / "first" / "manifest.json").is_file()


def test_its_live_commands_work(clone: Path) -> None:
    """The sandbox in one terminal, the others in a second one; only the port and the time differ from what is shown."""
    sandbox, *others = [words for words in commands() if words[0] in LIVE]
    assert sandbox == ["sandbox"]
    assert [words[0] for words in others] == ["live", "watch", "verify"]
    with quantkit("sandbox", "--port", "0") as server:
        assert server.stdout is not None
        address = next(found for line in server.stdout if (found := re.search(r"ws://127\.0\.0\.1:\d+", line)))[0]
        for words in others:
            arguments = [{"ws://127.0.0.1:8765": address, "60s": "8s", "20s": "3s"}.get(word, word) for word in words]
            if words[0] == "verify":
                assert re.fullmatch(r"runs/Quoter-\d{8}-\d{6}", words[1])
                (run,) = (clone / "runs").iterdir()
                arguments[1] = str(run)
            with quantkit(*arguments) as done:
                output = done.communicate(timeout=60)[0]
            assert done.returncode == 0, output
            if words[0] == "live":
                assert "Return [%]" in output
            elif words[0] == "watch":
                assert all(name in output for name in ("BTC-USDT", "ETH-USDT", "SOL-USDT"))
            else:
                assert "identical" in output
                section = README.read_text(encoding="utf-8").partition("## Live, on paper")[2].partition("\n## ")[0]
                cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
                listed = {name for cell in cells for name in re.findall(r"`([a-z]+)`", cell)}
                assert listed == {path.name for path in run.iterdir()}


@contextmanager
def quantkit(*words: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a command of its own, ended as by Ctrl-C if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "quantkit.cli", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(20)


def test_the_commands_in_the_data_folder_parse() -> None:
    """`data/README.md` tells how the sample data were made in words that `quantkit import` knows."""
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [shlex.split(line) for line in text.splitlines() if line.startswith("quantkit ")]
    assert lines
    for line in lines:
        assert line[1] == "import"
        assert line[2] in FORMATS


def test_its_strategy_is_the_example() -> None:
    """What the first command runs is what the README shows."""
    (shown,) = (block for block in blocks("python") if "class MaCross" in block)
    example = (ROOT / "strategies" / "ma_cross.py").read_text(encoding="utf-8")
    body = example.partition("\n\n")[2]
    assert re.sub(r" +# .*", "", body) == re.sub(r" +# .*", "", shown)


def test_what_a_run_stores_is_what_the_readme_lists(clone: Path) -> None:
    """Every file of a saved result stands in the table, and nothing else does."""
    words = ["backtest", "ma_cross", "--from", "2025-05-10", "--to", "2025-05-12", "--quiet", "--save", "kept"]
    assert CliRunner().invoke(main, words).exit_code == 0
    section = README.read_text(encoding="utf-8").partition("## What a run stores")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    listed = {name for cell in cells for name in re.findall(r"`([a-z_]+)(?:\.json)?`", cell)}
    assert listed == {file.stem for file in (clone / "kept").iterdir()}


def test_its_formats_are_those_of_the_importers() -> None:
    """Each one is in the table."""
    section = README.read_text(encoding="utf-8").partition("| format | what |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    assert {name for cell in cells for name in re.findall(r"`(.*?)`", cell)} == set(FORMATS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_into_the_repository_lead_somewhere(page: Path) -> None:
    """No dead link, no badge."""
    text = page.read_text(encoding="utf-8")
    assert "![" not in text
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


def test_one_version_is_told() -> None:
    """By the package, the project's file, the README's status and the newest entry of the changelog."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    status = README.read_text(encoding="utf-8").split("## Status")[1].split()[0]
    newest = re.search(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert newest is not None
    assert project["version"] == __version__ == status.rstrip(",") == newest[1]
