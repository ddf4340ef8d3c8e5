"""The pages in `docs/` are true: code runs, commands work, and each table lists exactly what there is."""

import inspect
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from pages import (
    DOCS,
    LIVE,
    README,
    ROOT,
    anchors,
    blocks,
    code_words,
    commands,
    lay_out_clone,
    links,
    rows,
    section,
    text_of,
)
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

import quantkit as qk
from quantkit.cli import main
from quantkit.collect.kinds import WORDS
from quantkit.importers import FORMATS
from quantkit.importers.formats import FORMATS as VENUE_FORMATS
from quantkit.report.stats import STATS
from quantkit.sandbox.server import SandboxServer
from quantkit.strategy import HOOKS

FILLS, DATA, LIVE_PAGE, OPTIONS, RESULTS, STRATEGIES = (
    ROOT / "docs" / f"{name}.md" for name in ("fills", "data", "live", "options", "results", "strategies")
)
SERVE_PAGE, DOWNLOAD_PAGE, RECORD_PAGE = (ROOT / "docs" / f"{name}.md" for name in ("serve", "download", "record"))
#: Pages whose commands need a server.
SERVED = (LIVE_PAGE, SERVE_PAGE, DOWNLOAD_PAGE, RECORD_PAGE, ROOT / "docs" / "database.md")
PAGES = sorted([*ROOT.glob("*.md"), *DOCS, ROOT / "data" / "README.md", ROOT / "tests" / "data" / "README.md"])


def page_name(page: Path) -> str:
    """Return a page's path in the repository, as a test's id."""
    return str(page.relative_to(ROOT))


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in that looks like a clone, with the files that a reader would have."""
    lay_out_clone(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# What every page promises ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [page for page in DOCS if blocks(page, "python")], ids=page_name)
def test_its_python_runs(page: Path, clone: Path) -> None:
    """Every block in its order, in a namespace of the page; where a block shows output, that is what comes out."""
    document = Sybil([PythonCodeBlockParser()], path=str(ROOT), pattern=page_name(page)).parse(page)
    examples = list(document.examples())
    assert len(examples) >= len(blocks(page, "python"))
    for example in examples:
        example.evaluate()


@pytest.mark.parametrize("page", [page for page in DOCS if blocks(page, "sh") and page not in SERVED], ids=page_name)
def test_its_commands_work(page: Path, clone: Path) -> None:
    """One after the other in a fresh folder, as a reader would type them."""
    given = commands(page)
    assert given
    for words in given:
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, f"{words}: {done.output}"
        assert done.output


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_links_into_the_repository_lead_somewhere(page: Path) -> None:
    """No dead link, no heading that was renamed, no badge; a picture is a file of the repository, and small."""
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text_of(page)):
        assert (page.parent / picture).stat().st_size < 200_000, picture
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


def test_a_dead_anchor_would_be_found(tmp_path: Path) -> None:
    """The names of headings are those that GitHub makes."""
    page = tmp_path / "page.md"
    page.write_text("# The `first` page, or: one\n\n```sh\n# no heading\n```\n[there](other.md#x) ![](a.png)\n")
    assert anchors(page) == {"the-first-page-or-one"}
    assert links(page) == ["other.md#x", "a.png"]


def test_the_index_lists_every_page_and_notebook() -> None:
    """And none that is not there."""
    listed = {cells[0].partition("](")[2].rstrip(")") for cells in rows(text_of(ROOT / "docs" / "README.md"))}
    notebooks = {f"../notebooks/{file.name}" for file in (ROOT / "notebooks").glob("*.ipynb")}
    assert listed == {page.name for page in DOCS} - {"README.md"} | notebooks


def test_the_pages_are_in_the_source_archive() -> None:
    """Links of the README lead somewhere there too."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert {"/docs", "/README.md", "/CONTRIBUTING.md"} <= set(
        project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    )


# Tables ------------------------------------------------------------------------------------------------------------


def test_the_hooks_are_those_of_a_strategy() -> None:
    """Each with its arguments, and none twice."""
    listed = sorted(cells[0].strip("`") for cells in rows(section(STRATEGIES, "## Hooks")))
    arguments = {name: ", ".join(list(inspect.signature(getattr(qk.Strategy, name)).parameters)[1:]) for name in HOOKS}
    assert listed == sorted(f"{name}({arguments[name]})" for name in HOOKS)


def test_everything_that_a_strategy_has_is_named() -> None:
    """Orders, readings, subscriptions and timers."""
    named = {re.split(r"\W", word)[0] for word in code_words(text_of(STRATEGIES))}
    own = {name for name in vars(qk.Strategy) if not name.startswith("_")} - {"parameter_types", "parameter_defaults"}
    assert own - {"bind"} - named == set()


def test_everything_that_an_order_takes_is_named() -> None:
    """Each argument of `buy`, with the pages of those that protect, link and count."""
    page = text_of(STRATEGIES)
    named = {re.split(r"\W", word)[0] for word in code_words(section(STRATEGIES, "## Orders"))}
    assert set(inspect.signature(qk.Strategy.buy).parameters) - {"self", "instrument", "qty"} - named == set()
    for link in ("brackets.md#brackets", "brackets.md#oco-groups", "sizing.md", "margin.md#in-a-strategy"):
        assert f"]({link})" in page


def test_the_examples_are_those_in_the_folder() -> None:
    """Each strategy has its line."""
    listed = [code_words(cells[0])[0] for cells in rows(section(STRATEGIES, "## The examples"))]
    assert sorted(listed) == sorted(file.name for file in (ROOT / "strategies").glob("*.py"))


def test_the_options_are_those_of_the_calls() -> None:
    """Every argument of `backtest` and `paper` has its line, in the table of the calls that take it."""
    both, backtest, paper = (
        [name for cells in rows(part) for name in code_words(cells[0])]
        for part in re.split(r"^Only .* takes? these:$", text_of(OPTIONS), flags=re.MULTILINE)
    )
    taken = {call: set(inspect.signature(call).parameters) for call in (qk.backtest, qk.paper)}
    assert set(both) == taken[qk.backtest] & taken[qk.paper]
    assert set(backtest) == taken[qk.backtest] - taken[qk.paper]
    assert set(paper) == taken[qk.paper] - taken[qk.backtest]


def test_the_flags_are_those_of_the_commands() -> None:
    """Every flag in a page exists, and every flag of a run's commands is in the page of options."""
    flags = {flag for command in walk(main) for parameter in command.params for flag in parameter.opts}
    flags |= {"--help", "--version"}
    for page in [README, *DOCS]:
        for word in code_words(text_of(page)):
            for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]*\b", word):
                assert flag in flags, f"{page.name}: {flag}"
    listed = " ".join(code_words(text_of(OPTIONS)))
    for name in ("backtest", "live"):
        command = main.get_command(click.Context(main), name)
        assert command is not None
        for parameter in command.params:
            flag = max(parameter.opts, key=len)
            assert not flag.startswith("--") or flag in listed or parameter.opts[0] in listed, f"{name} {flag}"


def walk(command: click.Command) -> Iterator[click.Command]:
    """Yield a command and those below it."""
    yield command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from walk(below)


def test_the_formats_are_those_of_the_importers() -> None:
    """Each one is in the table."""
    listed = [name for cells in rows(section(DATA, "## Formats")) for name in code_words(cells[0])]
    assert sorted(listed) == sorted([*FORMATS, *VENUE_FORMATS])


def test_the_statistics_are_those_of_a_result() -> None:
    """In their order, under the name that the screen shows."""
    listed = [(cells[0].strip("`"), cells[1]) for cells in rows(section(RESULTS, "## Statistics"))]
    assert listed == [(stat.key, stat.label) for stat in STATS.values()]


def test_the_attributes_are_those_of_a_result() -> None:
    """All that is listed exists."""
    table = section(RESULTS, "# Results").partition("## ")[0]
    names = {name for cells in rows(table) for name in code_words(cells[0])}
    assert {"stats", "fills", "hash"} <= names
    result = qk.backtest("ma_cross", data=ROOT / "data", start="2025-05-10", end="2025-05-11")
    assert {name for name in names if not hasattr(result, name)} == set()


def test_what_a_run_stores_is_what_the_page_lists(clone: Path) -> None:
    """Every file of a saved result stands in the table, and nothing else does."""
    words = ["backtest", "ma_cross", "--from", "2025-05-10", "--to", "2025-05-12", "--quiet", "--save", "kept"]
    assert CliRunner().invoke(main, words).exit_code == 0
    cells = [cells[0] for cells in rows(section(RESULTS, "## What a run stores"))]
    listed = {name for cell in cells for name in re.findall(r"`([a-z_]+[-0-9]*)(?:\.json)?`", cell)}
    assert listed == {file.stem for file in (clone / "kept").iterdir()}


def test_the_benches_are_those_that_there_are() -> None:
    """Every bench named in the page of speed."""
    page = ROOT / "docs" / "performance.md"
    there = re.findall(r'^    "([a-z]+)": ', text_of(ROOT / "tests" / "bench" / "bench.py"), re.MULTILINE)
    named = {cells[1].strip("`") for cells in rows(section(page, "## Before and after"))}
    assert named <= set(there)


# Live ----------------------------------------------------------------------------------------------------------------


def test_the_live_commands_work(clone: Path) -> None:
    """The sandbox in one terminal, the others in a second one; only the port and the time differ from what is shown."""
    sandbox, *others = [words for words in commands(README) if words[0] in LIVE]
    assert sandbox == ["sandbox"]
    assert [words[0] for words in others] == ["live", "watch", "verify"]
    *same, with_faults = commands(LIVE_PAGE)
    assert same == [sandbox, *others], "the page shows other commands than the README"
    with quantkit("sandbox", "--port", "0") as server:
        address = address_of(server)
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
                cells = [cells[0] for cells in rows(section(LIVE_PAGE, "## What a run records"))]
                assert {name for cell in cells for name in code_words(cell)} == {path.name for path in run.iterdir()}
    assert with_faults[0] == "sandbox"
    with quantkit(*with_faults, "--port", "0") as server:
        assert address_of(server)


def test_the_record_commands_work(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One after the other, against a local exchange; every flag of the command is in the page."""
    (clone / "empty").mkdir()
    monkeypatch.chdir(clone / "empty")
    with SandboxServer() as sandbox:
        for words in commands(RECORD_PAGE):
            shown = {"ws://127.0.0.1:8765": sandbox.ws_url, "60s": "2s", "20s": "1s"}
            done = CliRunner().invoke(main, [shown.get(word, word) for word in words])
            assert done.exit_code == 0, f"{words}: {done.output}"
    listed = {flag for cells in rows(section(RECORD_PAGE, "# Recording market data")) for flag in code_words(cells[0])}
    flags = {max(each.opts, key=len) for each in main.commands["record"].params if each.opts[0].startswith("-")}
    shared = {"--for", "--demo", "--region", "--url", "--ca-file"}
    assert flags - shared == {word for word in listed if word.startswith("--")} - shared


def test_the_commands_that_serve_parse() -> None:
    """They run until somebody ends them; `tests/browser/` runs them."""
    given = commands(SERVE_PAGE)
    assert {words[0] for words in given} == {"serve", "live", "mcp"}
    for name, *words in given:
        main.commands[name].make_context(name, words)


def test_the_kinds_are_those_of_a_download() -> None:
    """Each word, and for each command of the page the flags that it takes."""
    named = {cells[0].strip("`").removesuffix("-1m") for cells in rows(text_of(DOWNLOAD_PAGE))}
    assert named == set(WORDS)
    given = [words for words in commands(DOWNLOAD_PAGE) if words[0] == "download"]
    assert given
    for name, *words in given:
        main.commands[name].make_context(name, words)


def address_of(server: "subprocess.Popen[str]") -> str:
    """Return where a local exchange listens, as it prints it."""
    assert server.stdout is not None
    return next(found for line in server.stdout if (found := re.search(r"ws://127\.0\.0\.1:\d+", line)))[0]


@contextmanager
def quantkit(*words: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a command of its own, ended as by Ctrl-C if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-m", "quantkit", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(20)


def test_the_commands_in_the_data_folder_parse() -> None:
    """`data/README.md` tells how the sample data were made in words that `quantkit import` knows."""
    text = text_of(ROOT / "data" / "README.md").replace("\\\n", " ")
    lines = [shlex.split(line) for line in text.splitlines() if line.startswith("quantkit ")]
    assert lines
    for line in lines:
        assert line[1] == "import"
        assert line[2] in FORMATS
