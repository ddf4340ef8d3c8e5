"""Plants the faults of `planted.py` one by one in a copy of the package, and requires that the tests notice each.

Run by hand, outside of `pytest`, since every fault costs a run of the tests:

    python tests/mutants/run.py                 # all of them; some minutes of CPU
    python tests/mutants/run.py funding grid    # those whose name or file holds one of these words
    python tests/mutants/run.py --part 1/2      # the first of two halves, to run side by side
    python tests/mutants/run.py --quick         # by the quick tests alone: who survives them needs a full run
    python tests/mutants/run.py --check         # only whether each text still stands in its file exactly once

A fault that no test notices is named at the end, and the exit status is 1. So it is where a text is not found any more:
whoever moves code moves its fault along.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import msgspec  # noqa: F401
import numpy as np  # noqa: F401
import pyarrow.parquet  # noqa: F401
import pytest
from planted import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
#: What should notice: the quick ones look first, and a fault's run ends with the first failure.
SUITES = (
    (
        "tests/unit/test_ruin_timelines.py",
        "tests/unit/test_curve_traps.py",
        "tests/unit/test_resting_traps.py",
        "tests/unit/test_order_type_timelines.py",
        "tests/unit/test_gate_bounds.py",
        "tests/unit/test_money_timelines.py",
        "tests/unit/test_engine_timelines.py",
        "tests/unit/test_trap_table.py",
        "tests/unit/brokers/test_markets.py",
        "tests/unit/test_queue_models.py",
        "tests/unit/engine/test_order_manager.py",
        "tests/unit/brokers/test_book_stream.py",
        "tests/unit/test_orderbook.py",
        "tests/unit/engine/test_solvency.py",
        "tests/unit/engine/test_book_mark.py",
        "tests/unit/engine/test_steps.py",
        "tests/property/test_account_floats.py",
        "tests/unit/brokers/test_input_queue.py",
        "tests/unit/brokers/test_order_reducer.py",
        "tests/unit/brokers/test_async_broker.py",
        "tests/property/test_order_news.py",
        "tests/unit/engine/test_commands.py",
        "tests/unit/live/test_run_commands.py",
        "tests/unit/live/test_control.py",
        "tests/property/test_commands_repeat.py",
        "tests/unit/brokers/test_triggers.py",
        "tests/unit/brokers/test_brackets.py",
        "tests/unit/brokers/test_reduce_only.py",
        "tests/unit/brokers/test_margin_bound.py",
        "tests/unit/test_bracket_timelines.py",
        "tests/unit/test_margin_timelines.py",
        "tests/unit/test_order_rules_in_runs.py",
        "tests/unit/engine/test_sizing_at_fill.py",
        "tests/unit/engine/test_sizing.py",
        "tests/unit/test_max_share.py",
        "tests/unit/engine/test_funding.py",
    ),
    ("tests/property/test_account_oracle.py",),
    ("tests/property/test_resting_orders.py", "tests/property/test_engine_oracle.py"),
    (
        "tests/property/test_bracket_machine.py",
        "tests/property/test_bracket_oracle.py",
        "tests/property/test_margin_oracle.py",
    ),
)
NOT_RUN = 99
#: A planted fault may make a run go on for ever.
TIMEOUT_S = 900


def misplaced(mutants: list[Mutant]) -> list[str]:
    """Return a sentence for each fault whose text does not stand in its file exactly once."""
    found = []
    for mutant in mutants:
        path = ROOT / "quantkit" / mutant.file
        count = path.read_text(encoding="utf-8").count(mutant.old) if path.exists() else 0
        if count != 1:
            found.append(f"{mutant.name}: its text stands {count} times in quantkit/{mutant.file}")
    return found


def survives(mutant: Mutant, copy: Path, *, is_quick: bool) -> bool:
    """Plant one fault in the copy, run the tests until one fails, and take it out again."""
    path = copy / "quantkit" / mutant.file
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        return all(_passes(suite, copy) for suite in (SUITES[:1] if is_quick else SUITES))
    finally:
        path.write_text(source, encoding="utf-8")


def _passes(suite: tuple[str, ...], copy: Path) -> bool:
    """Run some tests on the copy, in a fork: what is dear to import is there already."""
    child = os.fork()
    if child == 0:
        code = NOT_RUN
        try:
            os.setsid()
            os.chdir(ROOT)
            sys.path.insert(0, str(copy))
            # More random markets than in a plain run; `.ci/run` tries ten times as many as that.
            os.environ.setdefault("QUANTKIT_CAMPAIGN", "3")
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = int(pytest.main(["-q", "-x", "-n0", "-p", "no:cacheprovider", "--no-header", *suite]))
            if not Path(sys.modules["quantkit"].__file__ or "").is_relative_to(copy):
                code = NOT_RUN
        finally:
            os._exit(code)
    until_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until_s:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            assert code in (0, 1), f"{suite} did not run on the copy of the package: {code}"
            return code == 0
        time.sleep(0.05)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def main(arguments: list[str]) -> int:
    """Run the faults that the arguments choose; return the exit status."""
    parser = argparse.ArgumentParser(description="Plant faults, and require that the tests notice each.")
    parser.add_argument("words", nargs="*", help="parts of names or files; none for all")
    parser.add_argument("--check", action="store_true", help="only look whether each text stands in its file")
    parser.add_argument("--quick", action="store_true", help="run the quick tests alone")
    parser.add_argument("--part", default="1/1", help="which part of how many: 1/2")
    asked = parser.parse_args(arguments)
    part, parts = map(int, asked.part.split("/"))
    lost = misplaced(MUTANTS)
    for sentence in lost:
        print(sentence)
    if asked.check or lost:
        return 1 if lost else 0
    chosen = [m for m in MUTANTS if not asked.words or any(word in f"{m.name} {m.file}" for word in asked.words)]
    chosen = chosen[part - 1 :: parts]
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        shutil.copytree(ROOT / "quantkit", copy / "quantkit", ignore=shutil.ignore_patterns("__pycache__"))
        for number, mutant in enumerate(chosen, 1):
            began_s = time.monotonic()
            is_alive = survives(mutant, copy, is_quick=asked.quick)
            if is_alive:
                survivors.append(mutant)
            taken = f"{time.monotonic() - began_s:.0f} s"
            verdict = "SURVIVES" if is_alive else "noticed"
            print(f"{number}/{len(chosen)} {verdict} in {taken}: {mutant.name} ({mutant.file})", flush=True)
    for mutant in survivors:
        print(f"no test notices: {mutant.name} ({mutant.file})")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
