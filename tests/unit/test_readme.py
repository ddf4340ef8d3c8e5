"""The README is true: its Python runs, its commands work, and what it shows is what comes out."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from pages import LIVE, README, ROOT, blocks, commands, lay_out_clone, section, text_of
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from quantkit import __version__
from quantkit.cli import main

FIRST = "python -m venv .venv && .venv/bin/pip install . && .venv/bin/quantkit backtest ma_cross --report ma_cross.html"
SECOND = "python -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest"
#: More would be read by nobody; the details have pages of their own.
MOST_LINES = 220


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in that looks like a clone, with the files that the README's reader would have."""
    lay_out_clone(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_begins_with_what_it_is_and_the_two_commands() -> None:
    """One sentence, then the two lines that `.ci/run` takes from here and runs in fresh environments."""
    assert blocks(README, "sh")[:2] == [f"{FIRST}\n", f"{SECOND}\n"]
    lines = text_of(README).splitlines()
    assert lines[0] == "# quantkit"
    assert lines[2].endswith(".")
    assert lines.index(FIRST) < 10


def test_it_is_short_and_links_to_the_details() -> None:
    """Every page of the documentation can be reached from it, or from the index that it links to."""
    text, index = text_of(README), text_of(ROOT / "docs" / "README.md")
    assert len(text.splitlines()) <= MOST_LINES
    assert "(docs/README.md)" in text
    for page in (ROOT / "docs").glob("*.md"):
        if page.name != "README.md":
            assert f"(docs/{page.name})" in text or f"({page.name})" in index, f"no link to {page.name}"


def test_its_python_runs(clone: Path) -> None:
    """Every block in its order, in one namespace; where a block shows output, that is what comes out."""
    document = Sybil([PythonCodeBlockParser()], path=str(ROOT), pattern="README.md").parse(README)
    examples = list(document.examples())
    # A block of prompts is one example for each prompt.
    assert len(examples) >= len(blocks(README, "python")) >= 3
    for example in examples:
        example.evaluate()
    assert len(document.namespace["result"].fills) == 29


def test_the_terminal_shows_what_the_readme_shows(tmp_path: Path) -> None:
    """The first command's output, letter by letter; its page is written elsewhere."""
    *words, page = shlex.split(FIRST)[-4:]
    done = subprocess.run(
        [sys.executable, "-c", "from quantkit.cli import main; main()", *words, str(tmp_path / page), "--no-keep"],
        cwd=ROOT,
        env={"COLUMNS": "80", "PYTHONUTF8": "1"},
        capture_output=True,
        check=True,
    )
    printed = "".join(f"{line.rstrip()}\n" for line in done.stdout.decode().splitlines())
    (shown,) = blocks(README, "text")
    if os.environ.get("QUANTKIT_RENEW_GOLDEN") == "1":
        README.write_text(text_of(README).replace(shown, printed), encoding="utf-8")
        (shown,) = blocks(README, "text")
    assert printed == shown


def test_its_commands_work(clone: Path) -> None:
    """One after the other in a fresh folder, as a reader would type them."""
    here = [words for words in commands(README) if words[0] not in LIVE]
    assert len(here) >= 5
    for words in here:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, f"{words}: {done.output}"
        assert done.output
    assert (clone / "runs" / "first" / "manifest.json").is_file()


def test_its_strategy_is_the_example() -> None:
    """What the first command runs is what the README shows."""
    (shown,) = (block for block in blocks(README, "python") if "class MaCross" in block)
    example = (ROOT / "strategies" / "ma_cross.py").read_text(encoding="utf-8")
    body = example.partition("\n\n")[2]
    assert re.sub(r" +# .*", "", body) == re.sub(r" +# .*", "", shown)


def test_one_version_is_told() -> None:
    """By the package, the project's file, the README's status and the newest entry of the changelog."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    status = section(README, "## Status").split()[0]
    newest = re.search(r"^## \[(\d.*?)\]", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert newest is not None
    assert project["version"] == __version__ == status.rstrip(",") == newest[1]
