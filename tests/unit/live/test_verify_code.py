"""Which code `verify` runs: bytes with the recorded digests, from where the user says, and nothing before that."""

import importlib
import json
import os
import py_compile
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from click.testing import CliRunner

import quantkit as qk
from quantkit.cli import main
from quantkit.clock import time_ns_of
from quantkit.errors import ConfigError, DataError
from quantkit.feeds.okx.source import OkxSource
from quantkit.feeds.okx.tracker.records import Closed, pack
from quantkit.live.journal import EngineLog, Started, read_log
from quantkit.live.rebuild import rebuild
from quantkit.live.run import _write_start
from quantkit.live.verify import verify
from quantkit.loading import load_strategy
from quantkit.options import RunOptions
from quantkit.sources import NotRecordedError, importing_from, read_source
from quantkit.storage.tape import TapeWriter

START_NS = time_ns_of("2026-01-01")
SWAP = qk.Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
MINE = """
import os
from quantkit import Strategy
{imports}
with open(os.environ["QUANTKIT_RAN"], "a") as ran:
    print(__file__, file=ran)

class Mine(Strategy):
    def on_start(self) -> None:
        self.subscribe_book("BTC-USDT-SWAP")
"""
HELPER = """
import os
with open(os.environ["QUANTKIT_RAN"], "a") as ran:
    print(__file__, file=ran)
FAST = 5
"""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Return a function that says which of the user's files ran since it was last asked."""
    file = tmp_path / "ran.txt"
    monkeypatch.setenv("QUANTKIT_RAN", str(file))

    def lines() -> list[str]:
        text = file.read_text() if file.exists() else ""
        file.write_text("")
        return text.splitlines()

    return lines


@pytest.fixture(autouse=True)
def fresh_modules() -> Iterator[None]:
    """Forget the modules that a test has imported."""
    yield
    for name in list(sys.modules):
        if name.partition(".")[0] in ("helper", "deep_one", "starter", "stranger", "newcomer", "mine_pkg", "mine_inst"):
            del sys.modules[name]


def recorded(tmp_path: Path, strategy: qk.Strategy) -> Path:
    """Return the folder of a run that was killed before it took anything in."""
    run = tmp_path / "runs" / "Mine-1"
    run.mkdir(parents=True)
    log = EngineLog(run / "engine")
    feed: Any = SimpleNamespace(exchange=OkxSource, opened_ns=START_NS, instruments=lambda: {SWAP.id: SWAP})
    _write_start(log, run, strategy, RunOptions(cash={}, start_ns=START_NS, end_ns=START_NS + 1), feed)
    log.close()
    with TapeWriter(run / "frames") as tape:
        tape.append(pack(Closed(START_NS)))
    return run


def write(folder: Path, **files: str) -> Path:
    """Write `name.py` for each name, and return the folder."""
    for name, text in files.items():
        path = folder / f"{name.replace('__in__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def forget(*names: str) -> None:
    """Let modules be imported again, as in a new process."""
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def run(tmp_path: Path, ran: Callable[[], list[str]]) -> Path:
    """A recorded run of a file that imports a module beside it, and that one another."""
    place = write(tmp_path / "mine", mine=MINE.format(imports="import helper"), helper="import deep_one" + HELPER)
    write(place, deep_one=HELPER)
    folder = recorded(tmp_path, load_strategy(str(place / "mine.py"))())
    ran()
    forget("helper", "deep_one")
    return folder


def started_of(run: Path) -> Started:
    return cast(Started, next(iter(read_log(run / "engine"))))


def test_the_log_and_the_folder_have_the_file_and_the_modules_beside_it(run: Path, tmp_path: Path) -> None:
    started = started_of(run)
    assert started.source == str(tmp_path / "mine" / "mine.py")
    assert sorted(started.modules) == ["deep_one.py", "helper.py"]
    for name in ("mine", "helper", "deep_one"):
        assert (run / "strategy" / f"{name}.py").read_bytes() == (tmp_path / "mine" / f"{name}.py").read_bytes()


def test_without_a_flag_the_recorded_file_runs(run: Path, tmp_path: Path, ran: Callable[[], list[str]]) -> None:
    verdict = verify(run)
    assert (verdict.is_identical, verdict.ended) == (True, "cut short")
    assert ran() == [str(tmp_path / "mine" / f"{name}.py") for name in ("deep_one", "helper", "mine")]


@pytest.mark.parametrize("name", ["mine", "helper", "deep_one"])
@pytest.mark.parametrize("is_gone", [True, False])
def test_a_file_that_is_gone_or_changed_runs_nothing(
    name: str, is_gone: bool, run: Path, tmp_path: Path, ran: Callable[[], list[str]]
) -> None:
    file = tmp_path / "mine" / f"{name}.py"
    if is_gone:
        file.unlink()
    else:
        file.write_text(file.read_text() + "# changed\n")
    with pytest.raises(ConfigError) as caught:
        verify(run)
    assert ran() == []
    message = str(caught.value)
    assert str(file) in message
    assert ("is not on this machine" if name == "mine" else "is gone") in message or not is_gone
    assert "has changed since the run was recorded" in message or is_gone
    assert message.endswith(
        f"; `quantkit verify {run} --trust` runs the copy in the run's folder, "
        f"`quantkit verify {run} --strategy FILE` runs a file of yours"
    )
    assert "\n" not in message
    verdict = verify(run, trust=True)
    assert verdict.is_identical
    assert ran() == [str(run.resolve() / "strategy" / f"{other}.py") for other in ("deep_one", "helper")] + [
        str(run / "strategy" / "mine.py")
    ]


@pytest.mark.parametrize("name", ["mine", "helper"])
def test_a_copy_that_was_changed_runs_nothing(name: str, run: Path, ran: Callable[[], list[str]]) -> None:
    copy = run / "strategy" / f"{name}.py"
    copy.write_text(copy.read_text() + "# changed\n")
    with pytest.raises(ConfigError, match=rf"strategy.{name}\.py has changed since the run was recorded") as caught:
        verify(run, trust=True)
    assert "--trust" not in str(caught.value)
    assert ran() == []


def test_a_copy_that_is_gone_is_told(run: Path) -> None:
    for copy in (run / "strategy").iterdir():
        copy.unlink()
    with pytest.raises(ConfigError, match=r"holds no copy of the strategy's file mine\.py; `quantkit verify \S+ --str"):
        verify(run, trust=True)


def test_a_module_that_the_run_did_not_have_is_not_run(tmp_path: Path, ran: Callable[[], list[str]]) -> None:
    """One that appeared beside the file since, and would now be found instead of what was missing then."""
    imports = "try:\n    import newcomer\nexcept ImportError:\n    pass"
    place = write(tmp_path / "mine", mine=MINE.format(imports=imports))
    run = recorded(tmp_path, load_strategy(str(place / "mine.py"))())
    assert verify(run).is_identical
    ran()
    write(place, newcomer=HELPER)
    with pytest.raises(ConfigError, match=r"newcomer\.py is imported, but the run did not record it; `quantkit verify"):
        verify(run)
    assert ran() == []


def test_bytes_are_run_and_no_cache_of_them(tmp_path: Path, ran: Callable[[], list[str]]) -> None:
    """What lies in `__pycache__` was compiled by anybody, from anything."""
    place = write(tmp_path / "mine", mine=MINE.format(imports="import helper"), helper=HELPER)
    evil = HELPER.replace("FAST = 5", "raise SystemExit('evil')")
    good = place / "helper.py"
    stamp = (2_000_000_000, 2_000_000_000)
    good.write_text(evil)
    os.utime(good, stamp)
    command = [sys.executable, "-c", "import py_compile, sys; py_compile.compile(sys.argv[1])", str(good)]
    subprocess.run(command, check=True)
    # The same length and time: Python would take the cache for the file's.
    good.write_text(HELPER + "#" * (len(evil) - len(HELPER) - 1) + "\n")
    os.utime(good, stamp)
    run = recorded(tmp_path, load_strategy(str(place / "mine.py"))())
    forget("helper")
    assert verify(run).is_identical
    assert started_of(run).modules.keys() == {"helper.py"}


def test_a_link_to_a_module_is_recorded_by_its_own_name(tmp_path: Path, ran: Callable[[], list[str]]) -> None:
    """Whatever it points to, and however the folder was reached."""
    place = write(tmp_path / "mine", mine=MINE.format(imports="import helper"))
    shared = write(tmp_path / "shared", anything=HELPER)
    (place / "helper.py").symlink_to(shared / "anything.py")
    (tmp_path / "link").symlink_to(place)
    run = recorded(tmp_path, load_strategy(str(tmp_path / "link" / "mine.py"))())
    assert started_of(run).modules.keys() == {"helper.py"}
    for trust in (False, True):
        forget("helper")
        assert verify(run, trust=trust).is_identical
    (shared / "anything.py").write_text(HELPER + "# changed")
    with pytest.raises(ConfigError, match=r"helper\.py has changed since the run was recorded"):
        verify(run)


def test_a_module_without_source_is_recorded_and_compared(tmp_path: Path, ran: Callable[[], list[str]]) -> None:
    """Compiled ones, and extensions, run as they are; their digest counts like that of a text."""
    place = write(tmp_path / "mine", mine=MINE.format(imports="import helper"), helper=HELPER)
    py_compile.compile(str(place / "helper.py"), cfile=str(place / "helper.pyc"), doraise=True)
    (place / "helper.py").unlink()
    run = recorded(tmp_path, load_strategy(str(place / "mine.py"))())
    assert started_of(run).modules.keys() == {"helper.pyc"}
    for trust in (False, True):
        forget("helper")
        assert verify(run, trust=trust).is_identical
    ran()
    forget("helper")
    write(place, helper=HELPER)
    py_compile.compile(str(place / "helper.py"), cfile=str(place / "helper.pyc"), dfile="x", doraise=True)
    (place / "helper.py").unlink()
    with pytest.raises(ConfigError, match=r"helper\.pyc has changed since the run was recorded"):
        verify(run)
    assert ran() == []


def test_a_module_that_changes_after_it_was_compared_does_not_run(tmp_path: Path, ran: Callable[[], list[str]]) -> None:
    """Its digest is compared once more, with the bytes that are about to run; threads are no way around that."""
    place = write(tmp_path / "mine", mine="", helper=HELPER)
    with importing_from(place, "mine", {"mine.py": "", "helper.py": "0" * 64}):
        with pytest.raises(NotRecordedError, match=r"helper\.py has changed since the run was recorded"):
            importlib.import_module("helper")
        with ThreadPoolExecutor() as pool, pytest.raises(NotRecordedError):
            pool.submit(importlib.import_module, "helper").result()
    assert ran() == []
    assert not any(type(finder).__module__ == "quantkit.sources" for finder in sys.meta_path)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"mine\.py cannot be read: Is a directory"):
        read_source(mkdir(tmp_path / "mine.py"))


def mkdir(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_path_into_the_runs_own_folder_needs_trust(run: Path, ran: Callable[[], list[str]]) -> None:
    """Whoever made the folder wrote the path, too."""
    rewrite(run, source=str(run / "strategy" / "mine.py"))
    with pytest.raises(ConfigError, match=r"mine\.py came with the run's folder; `quantkit verify \S+ --trust` runs"):
        verify(run)
    link = run.parent / "mine.py"
    link.symlink_to(run / "strategy" / "mine.py")
    rewrite(run, source=str(link))
    with pytest.raises(ConfigError, match="came with the run's folder"):
        verify(run)
    assert ran() == []


def rewrite(run: Path, **changes: Any) -> None:
    """Change the entry that begins a run's log."""
    import msgspec

    entry = msgspec.structs.replace(started_of(run), **changes)
    for path in (run / "engine").iterdir():
        path.unlink()
    with TapeWriter(run / "engine", resume=True) as tape:
        tape.append(msgspec.json.encode(entry))


def test_a_given_file_runs_and_differences_are_noted(run: Path, tmp_path: Path, ran: Callable[[], list[str]]) -> None:
    other = write(tmp_path / "other", mine=MINE.format(imports="import helper") + "# other\n", helper=HELPER)
    verdict = verify(run, strategy=str(other / "mine.py"))
    assert verdict.is_identical
    assert [note for note in verdict.notes if "file" in note] == [
        "the strategy's file is not the one that was recorded, or has changed since",
        "helper.py, beside the strategy's file, is not the one that was recorded, or has changed since",
    ]
    assert ran() == [str(other / "helper.py"), str(other / "mine.py")]
    with pytest.raises(ConfigError, match="exclude each other"):
        verify(run, strategy=str(other / "mine.py"), trust=True)


def test_a_module_of_a_package_is_found_with_its_own(
    tmp_path: Path, ran: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative imports work as they did; `mine_pkg.deep:Mine` is looked for from the package's parent."""
    place = tmp_path / "project"
    write(place, mine_pkg__in____init__="", mine_pkg__in__deep=MINE.format(imports="from . import side"))
    write(place, mine_pkg__in__side=HELPER)
    monkeypatch.chdir(place)
    run = recorded(tmp_path, load_strategy("mine_pkg.deep:Mine")())
    assert sorted(started_of(run).modules) == ["mine_pkg/__init__.py", "mine_pkg/side.py"]
    assert (run / "strategy" / "mine_pkg" / "side.py").is_file()
    monkeypatch.chdir(tmp_path)
    ran()
    for trust in (False, True):
        forget("mine_pkg", "mine_pkg.deep", "mine_pkg.side")
        assert verify(run, trust=trust).is_identical
        root = run.resolve() / "strategy" if trust else place
        assert ran() == [str(root / "mine_pkg" / f"{name}.py") for name in ("side", "deep")]
    # What is in memory from elsewhere is not taken for the recorded module.
    (place / "mine_pkg" / "deep.py").write_text(MINE.format(imports="# another"))
    forget("mine_pkg", "mine_pkg.deep", "mine_pkg.side")
    monkeypatch.chdir(place)
    load_strategy("mine_pkg.deep:Mine")
    with pytest.raises(ConfigError, match=r"mine_pkg\.deep is loaded already and is not .*; verify the run in a new"):
        verify(run, trust=True)


def test_the_bytes_that_ran_are_recorded_though_the_file_has_changed(
    tmp_path: Path, ran: Callable[[], list[str]]
) -> None:
    """An editor may save while a run is prepared, and two files may share a name."""
    place = write(tmp_path / "mine", mine=MINE.format(imports="import helper"), helper=HELPER)
    kind = load_strategy(str(place / "mine.py"))
    was = (place / "mine.py").read_bytes(), (place / "helper.py").read_bytes()
    write(place, mine="changed = True", helper="changed = True")
    other = write(tmp_path / "other", mine=MINE.format(imports="# other"))
    load_strategy(str(other / "mine.py"))
    run = recorded(tmp_path, kind())
    assert ((run / "strategy" / "mine.py").read_bytes(), (run / "strategy" / "helper.py").read_bytes()) == was
    assert started_of(run).source == str(place / "mine.py")
    with pytest.raises(ConfigError, match="has changed since the run was recorded"):
        verify(run)
    forget("helper")
    assert verify(run, trust=True).is_identical


def test_a_folder_of_data_does_not_hide_a_package_of_its_name(tmp_path: Path, ran: Callable[[], list[str]]) -> None:
    place = write(tmp_path / "mine", mine=MINE.format(imports="import zoneinfo, xml.sax"))
    (place / "xml").mkdir()
    run = recorded(tmp_path, load_strategy(str(place / "mine.py"))())
    assert started_of(run).modules == {}
    assert verify(run).is_identical


def test_packages_that_are_installed_are_not_the_strategys(
    tmp_path: Path, ran: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A strategy from an installed package has that package's modules beside it, and no others."""
    installed = tmp_path / "site-packages"
    write(installed, mine_inst__in____init__="", mine_inst__in__deep=MINE.format(imports="import stranger"))
    write(installed, stranger=HELPER)
    monkeypatch.syspath_prepend(str(installed))
    run = recorded(tmp_path, load_strategy("mine_inst.deep:Mine")())
    assert list(started_of(run).modules) == ["mine_inst/__init__.py"]
    forget("mine_inst", "mine_inst.deep")
    assert verify(run).is_identical


# Runs that a file starts while it is loaded -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        "qk.backtest(Mine, data='nowhere')",
        "qk.paper(Mine(), record=RUNS, duration='1s')",
        "asyncio.run(qk.paper_async(Mine(), record=RUNS, duration='1s'))",
        "verify(RUNS)",
    ],
)
def test_a_file_that_starts_a_run_is_refused_while_it_is_loaded(
    call: str, tmp_path: Path, ran: Callable[[], list[str]]
) -> None:
    runs = tmp_path / "none"
    text = MINE.format(imports="import asyncio, quantkit as qk\nfrom quantkit.live.verify import verify\n")
    file = write(tmp_path, mine=f"{text}\nRUNS = {str(runs)!r}\n{call}\n") / "mine.py"
    name = call.removeprefix("asyncio.run(").removeprefix("qk.").partition("(")[0].removesuffix("_async")
    for load in (lambda: load_strategy(str(file)), lambda: qk.backtest(str(file), data="nowhere")):
        with pytest.raises(ConfigError) as caught:
            load()
        assert str(caught.value) == (
            f'{file}: {name}() is called while {file} is being loaded; put the call under `if __name__ == "__main__":`'
        )
    assert not runs.exists()


def test_a_helper_that_starts_a_run_is_refused_too(tmp_path: Path, ran: Callable[[], list[str]]) -> None:
    place = write(
        tmp_path, mine=MINE.format(imports="import starter"), starter="import quantkit as qk\nqk.backtest('x')\n"
    )
    with pytest.raises(ConfigError, match=r"backtest\(\) is called while .*mine\.py is being loaded"):
        load_strategy(str(place / "mine.py"))
    # Once it is loaded, or has failed to, runs are free again.
    with pytest.raises(ConfigError, match="strategy 'x' is neither"):
        qk.backtest("x")


# What a log may hold ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"config": {}}, "configuration"),
        ({"config": {"newer": 1}}, "configuration"),
        ({"instruments": [{"newer": 1}]}, "list of instruments"),
        ({"instruments": [{**SWAP.to_dict(), "price_step": "x"}]}, "list of instruments"),
    ],
)
def test_a_log_of_another_version_is_one_line(changes: dict[str, Any], what: str, run: Path) -> None:
    """Its records are sound, and hold what this version does not know."""
    if "newer" in changes.get("config", {}):
        changes = {"config": {**started_of(run).config, **changes["config"]}}
    rewrite(run, **changes)
    message = rf"the engine log's {what} is not understood \(.*\); was it written by a newer version of quantkit\?"
    with pytest.raises(DataError, match=message):
        verify(run)
    if "newer" not in changes.get("config", {}):
        with pytest.raises(DataError, match=message):
            rebuild(run)


def test_an_entry_that_is_nested_without_end_is_one_line(run: Path) -> None:
    with TapeWriter(run / "engine", resume=True) as tape:
        tape.append(b'{"type":"end","x":' + b"[" * 100_000)
    with pytest.raises(DataError, match="entry 1 of the engine log is not understood"):
        list(read_log(run / "engine"))


# The command line -------------------------------------------------------------------------------------------------


def test_the_command_says_what_to_type(run: Path, tmp_path: Path, ran: Callable[[], list[str]]) -> None:
    runner = CliRunner()
    (tmp_path / "mine" / "mine.py").unlink()
    result = runner.invoke(main, ["verify", str(run)])
    assert (result.exit_code, result.stdout, ran()) == (2, "", [])
    line = result.stderr
    assert line.count("\n") == 1
    (typed,) = re.findall(r"`quantkit (verify \S+ --trust)`", line)
    result = runner.invoke(main, [*typed.split(), "--json"])
    assert (result.exit_code, json.loads(result.stdout)["is_identical"]) == (0, True)
    file = write(tmp_path / "other", mine=MINE.format(imports=""), helper="")
    result = runner.invoke(main, ["verify", str(run), "--strategy", str(file / "mine.py")])
    assert result.exit_code == 0
    assert "note: the strategy's file is not the one that was recorded" in " ".join(result.stdout.split())
    result = runner.invoke(main, ["verify", str(run), "--strategy", "x.py", "--trust"])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "This runs the strategy." in runner.invoke(main, ["verify", "--help"]).stdout
