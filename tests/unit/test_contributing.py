"""CONTRIBUTING.md is true: what it names exists, and its chain and its tables are those of the project's file."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
from pages import ROOT, code_words, rows, section, text_of

PAGE = ROOT / "CONTRIBUTING.md"
PACKAGE = ROOT / "quantkit"
PROJECT = tomllib.loads(text_of(ROOT / "pyproject.toml"))


def named_paths(text: str) -> list[str]:
    """Return what a text names in backticks that looks like a file or a folder of the repository."""
    words = [word for word in code_words(text) if re.fullmatch(r"[\w./-]+(\.py|\.md|\.toml|/|/run)", word)]
    return [word for word in words if "<" not in word]


def place_of(path: str) -> Path:
    """Return where a named path lies: in the repository, or below the package, whose rooms are named without it."""
    return ROOT / path if (ROOT / path).exists() else PACKAGE / path


@pytest.mark.parametrize("path", sorted(set(named_paths(text_of(PAGE)))))
def test_what_it_names_is_there(path: str) -> None:
    """Every file and folder, wherever it is named."""
    place = place_of(path)
    assert place.is_dir() if path.endswith("/") else place.is_file()


def test_names_that_are_not_there_would_be_found() -> None:
    """The check above looks at tables and text alike."""
    assert named_paths("| `engine/` | see `engine/core.py`, not `_ns` or `QUANTKIT_CAMPAIGN`, and `.ci/run` |") == [
        "engine/",
        "engine/core.py",
        ".ci/run",
    ]
    assert not place_of("engine/core.py").exists()


def test_every_room_of_the_package_has_its_line() -> None:
    """Every module and folder right below `quantkit/`, and the rooms of feeds and brokers."""
    listed = {word for cells in rows(section(PAGE, "## Layout")) for word in code_words(cells[0])}
    rooms = {file.name for file in PACKAGE.glob("[a-z]*.py")}
    rooms |= {f"{file.parent.name}/" for file in PACKAGE.glob("*/__init__.py")}
    rooms |= {
        f"{file.parent.relative_to(PACKAGE)}/"
        for parent in ("brokers/*", "feeds/okx/*")
        for file in PACKAGE.glob(f"{parent}/__init__.py")
    }
    assert rooms - listed == set()


def test_the_chain_is_the_contract() -> None:
    """The same layers in the same order as those that `lint-imports` checks."""
    (drawn,) = re.findall(r"^```text\n(.*?)^```$", section(PAGE, "## Imports point downward"), re.MULTILINE | re.DOTALL)
    layers = next(each for each in PROJECT["tool"]["importlinter"]["contracts"] if each["type"] == "layers")["layers"]
    wanted = [{f"quantkit.{name.strip()}" for name in layer.split("|")} for layer in drawn.split(">")]
    assert wanted == [{name.strip() for name in layer.split("|")} for layer in layers]


def test_every_wall_has_its_line() -> None:
    """By its name in the project's file, as far as a semicolon."""
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    listed = [cells[0] for cells in rows(section(PAGE, "## Imports point downward"))]
    assert sorted(listed) == sorted(contract["name"].partition(";")[0] for contract in contracts)


def test_the_homes_of_network_libraries_are_those_of_the_contract() -> None:
    """The files that the wall lets import them."""
    (cells,) = (cells for cells in rows(section(PAGE, "## Imports point downward")) if cells[0].startswith("Sockets"))
    contracts = PROJECT["tool"]["importlinter"]["contracts"]
    (lines,) = (contract["ignore_imports"] for contract in contracts if contract["name"].startswith("Sockets"))
    sources = {line.split(" -> ")[0].removeprefix("quantkit.").replace(".", "/") for line in lines}
    assert {f"{source}.py" for source in sources if "*" not in source} == {
        word for word in named_paths(cells[1]) if word.endswith(".py")
    }


@pytest.mark.parametrize(
    "extra", ["", "notebook", "databento", "mcp", "polars", "postgres", "sql", "test", "ci", "docs", "peers", "lint"]
)
def test_each_dependency_has_its_line(extra: str) -> None:
    """And no line is left of one that is gone."""
    project = PROJECT["project"]
    wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
    heading = {"": "package", "notebook": "extra package"}.get(extra, f"{extra} package")
    table = section(PAGE, "## Dependencies").partition(f"| {heading} | for |")[2].partition("\n\n")[0]
    listed = {word for line in table.splitlines() for word in code_words(line.split("|")[1] if "|" in line else "")}
    assert listed == {re.split(r"[<>=]", line)[0] for line in wanted}


def test_every_extra_is_looked_at() -> None:
    """A new one needs a table."""
    extras = {"notebook", "databento", "mcp", "polars", "postgres", "sql", "test", "ci", "docs", "peers", "lint"}
    assert set(PROJECT["project"]["optional-dependencies"]) == extras
    assert f"`{PROJECT['build-system']['requires'][0].partition('>')[0]}`" in section(PAGE, "## Dependencies")


def test_what_plain_pytest_leaves_out_runs_in_a_section_of_its_own() -> None:
    """Tests that need an extra besides `test` skip in the README's run, and would otherwise run nowhere."""
    needs = re.compile(r"quantkit\[(?!test\])\w+\]")
    files = [file for file in (ROOT / "tests").rglob("test_*.py") if file.name != "test_contributing.py"]
    left_out = [str(file.relative_to(ROOT)) for file in files if needs.search(text_of(file))]
    assert "tests/integration/test_foreign_clients.py" in left_out
    script = text_of(ROOT / ".ci" / "run")
    assert [file for file in left_out if file not in script and not file.startswith("tests/browser/")] == []
    assert re.search(r"pytest( -\S+| \d| loadfile)* tests/browser$", script, re.MULTILINE)


def test_the_folders_of_the_tests_have_their_lines() -> None:
    """Each one, and nothing else."""
    listed = {word for cells in rows(section(PAGE, "## Tests")) for word in code_words(cells[0])}
    there = {f"tests/{folder.name}/" for folder in (ROOT / "tests").iterdir() if folder.is_dir()}
    assert listed == {name for name in there if not name.startswith("tests/__")}


# Adding things -----------------------------------------------------------------------------------------------------


def touched(pattern: str, *, left_out: str = "(?!)") -> set[str]:
    """Return the files of the package whose code has a word, paths that match `left_out` aside."""
    names = {str(file.relative_to(PACKAGE)): file for file in PACKAGE.rglob("*.py")}
    return {name for name, file in names.items() if not re.match(left_out, name) and re.search(pattern, code_of(file))}


def code_of(file: Path) -> str:
    """Return a file's code without comments and docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                each for each in node.body if not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant))
            ]
    return ast.unparse(tree)


def told(what: str) -> set[str]:
    """Return the modules that the table lists for something to add, as it is spelled there."""
    (cells,) = (cells for cells in rows(section(PAGE, "## Adding things")) if cells[0] == what)
    return {word for word in named_paths(cells[1]) if word.endswith(".py")}


def test_an_event_touches_what_is_told() -> None:
    """Open interest, as an example: every file that names it; not the local exchange, downloads, foreign files."""
    left_out = "sandbox/|collect/|feeds/okx/rest/|importers/"
    assert touched(r"(?i)open.?interest", left_out=left_out) == told("an event")


def test_an_exchange_is_a_folder_and_a_line() -> None:
    """Feeds, live runs and the engine name OKX in one place; the front door and the importers may know it."""
    general = r"(?!feeds/|live/|engine/|brokers/|rows/|storage/|report/)|feeds/okx/"
    assert touched(r"quantkit\.feeds\.okx", left_out=general) == {"feeds/exchanges.py"} <= told("an exchange")


def test_a_broker_is_a_folder_and_a_line() -> None:
    """One module hands the simulated exchange to the engine."""
    named = touched(r"quantkit\.brokers\.simulated", left_out="brokers/simulated/")
    assert named == {"simulated.py"} <= told("a broker")


def test_an_order_type_touches_what_is_told() -> None:
    """Triggers, as an example: all that name their price or state; rounding, drawing and foreign names aside."""
    named = touched(
        r"\bstop_(price|ticks)\b|\b(is_triggered|trigger_ticks)\b",
        left_out=r"instruments\.py|report/page/.*|engine/guard\.py",
    )
    assert named == told("an order type")


def test_a_queue_model_is_one_place() -> None:
    """No other module names one of them, the default aside."""
    assert touched(r"\bproportional\b|\bpower3\b") == told("a queue model") == {"queue_models.py"}


def test_an_option_touches_what_is_told() -> None:
    """The record of options, the door in Python, and the door on the command line."""
    assert told("an option of a run") <= touched(r"\bslippage_bps\b|slippage-bps|\bflags\b")
    assert {"options.py", "api.py", "cli/flags.py"} == told("an option of a run")
