"""Makes `tests/` importable, so that every test can use the oracle engine, and says how tests run.

Generated examples are the same in every run: a change is judged by its own doing. `--hypothesis-profile=search` draws
others each time, which is how new ones are found. Each run ends with the CPU time that every folder took.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

#: A test that takes more CPU time than this carries the mark `long`, so that it starts first and can be left out.
LONG_S = 20.0

settings.register_profile("fixed", derandomize=True, print_blob=True)
settings.register_profile("search", print_blob=True)
settings.load_profile("fixed")

# Tests that are started in the background, or by `nohup`, have signals ignored, and hand that on to what they start.
for name in ("SIGINT", "SIGHUP"):
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL)


def pytest_xdist_auto_num_workers() -> int:
    """Run one test more than there are cores: those on real sockets spend most of their time waiting."""
    return (os.cpu_count() or 1) + 1


# Where coverage is not measured ------------------------------------------------------------------------------------

#: Tests that repeat whole runs many times over: they look for wrong results, not for lines, which other tests reach.
#: Measured, they take two and a half times as long.
_UNMEASURED = re.compile(
    r"tests/simulation/|tests/property/test_(account_oracle|broker_invariants|engine_oracle|flipped_bits|nothing_early|"
    r"price_paths|resting_orders|what_hooks_hold)\.py"
)


def _leave_out_of_coverage(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what pytest-cov is not to measure, where it is there."""
    if config.pluginmanager.hasplugin("_cov"):
        for item in items:
            if _UNMEASURED.match(item.nodeid):
                item.add_marker("no_cover")


# Long tests start first --------------------------------------------------------------------------------------------


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the long tests out to the heads of the workers' shares, so that none is left alone at the end."""
    _leave_out_of_coverage(config, items)
    long = [item for item in items if item.get_closest_marker("long")]
    if not long:
        return
    short = [item for item in items if not item.get_closest_marker("long")]
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    size = -(-len(short) // workers)
    items[:] = [
        item
        for worker in range(workers)
        for item in (*long[worker::workers], *short[worker * size : (worker + 1) * size])
    ]


# What tests cost ---------------------------------------------------------------------------------------------------


def _cpu_s() -> float:
    """Return the CPU time of this process and of those it has started and that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Note what a test takes, fixtures included; the last of its reports carries the figure."""
    item.stash[_BEGAN] = _cpu_s()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Hand the figure on to where reports are gathered, from a worker too."""
    report = yield
    if report.when == "teardown":
        # What a shared server or browser took is counted where it ends, with the last test that used it.
        may_be_long = any(item.get_closest_marker(mark) is not None for mark in ("long", "service"))
        report.user_properties.append(("cpu", (_cpu_s() - item.stash[_BEGAN], may_be_long)))
    return report


_BEGAN = pytest.StashKey[float]()


class _Costs:
    """Sums what tests took, in the process that prints the summary."""

    def __init__(self) -> None:
        self.folders: dict[str, float] = defaultdict(float)
        self.too_long: list[tuple[float, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count one test."""
        for key, value in report.user_properties:
            if key == "cpu" and report.when == "teardown":
                seconds, may_be_long = value
                parts = Path(report.nodeid.partition("::")[0]).parts
                self.folders["/".join(parts[:2])] += seconds
                if seconds > LONG_S and not may_be_long:
                    self.too_long.append((seconds, report.nodeid))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the sums, and the tests that need a mark."""
        total = sum(self.folders.values())
        if total >= LONG_S:
            terminalreporter.section("CPU seconds")
            for folder, seconds in sorted(self.folders.items(), key=lambda entry: -entry[1]):
                terminalreporter.write_line(f"{seconds:8.1f}  {folder}")
            terminalreporter.write_line(f"{total:8.1f}  in all")
        for seconds, test in sorted(self.too_long, reverse=True):
            terminalreporter.write_line(f"{seconds:8.1f}  {test}: mark it `long`, or make it shorter")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail where it is decided what goes in; a laptop under load is left alone."""
        # Coverage and a busy machine's cold caches cost CPU time too, hence twice the limit.
        is_over = any(seconds > 2 * LONG_S for seconds, _ in self.too_long)
        if is_over and os.environ.get("CI") and not session.testsfailed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


# What tests leave out ----------------------------------------------------------------------------------------------


class _Skips:
    """Fails a run that skipped a test for another reason than those listed.

    Args:
        allowed: A regular expression a line, each found in the reasons that are accepted.
    """

    def __init__(self, allowed: list[str]) -> None:
        self.allowed = re.compile("|".join(allowed) or "(?!)")
        self.refused: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a skip that is not listed."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self._look(report.nodeid, report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that was skipped as a whole."""
        if report.skipped:
            self._look(report.nodeid, report.longrepr)

    def _look(self, test: str, why: object) -> None:
        reason = str(why[2] if isinstance(why, tuple) else why)
        if not self.allowed.search(reason):
            self.refused.append(f"{test}: {reason}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print them."""
        for line in sorted(set(self.refused)):
            terminalreporter.write_line(f"skipped, and not on the list of skips: {line}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """A test that is left out by mistake proves nothing."""
        if self.refused and not session.testsfailed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


class _Litter:
    """Fails a run that left runs in the checkout: a test of `quantkit backtest` works elsewhere, or keeps no line."""

    def __init__(self) -> None:
        self._before = self._there()

    def _there(self) -> dict[str, int]:
        folder = Path(__file__).parents[1] / "runs"
        return {str(path): path.stat().st_size for path in folder.rglob("*")} if folder.exists() else {}

    def _left(self) -> list[str]:
        return sorted(path for path, _ in self._there().items() - self._before.items())

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Name what was left."""
        for path in self._left():
            terminalreporter.write_line(f"left in the checkout by a test: {path}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Whoever has runs of his own there would find lines in their index that he never made."""
        if self._left() and not session.testsfailed:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    """Gather costs, skips and litter where the workers report to."""
    if hasattr(config, "workerinput"):
        return
    config.pluginmanager.register(_Costs(), "costs")
    config.pluginmanager.register(_Litter(), "litter")
    listed = os.environ.get("QUANTKIT_ALLOWED_SKIPS")
    if listed is not None:
        lines = Path(listed).read_text(encoding="utf-8").splitlines()
        config.pluginmanager.register(_Skips([line for line in lines if line and not line.startswith("#")]), "skips")
