"""Plants the faults of `planted.py` one by one in a copy of the package, and requires that the tests notice each.

Run by hand, outside of `pytest`, since every fault costs a run of the tests:

    python tests/mutants/run.py                 # all of them; some minutes of CPU
    python tests/mutants/run.py funding grid    # those whose name or file holds one of these words
    python tests/mutants/run.py --part 1/2      # the first of two halves, to run side by side
    python tests/mutants/run.py --check         # only whether each text still stands in its file exactly once

A fault that no test notices is named at the end, and the exit status is 1. So it is where a text is not found any more:
whoever moves code moves its fault along.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from planted import MUTANTS, Mutant

ROOT = Path(__file__).parents[2]
#: What should notice, the quickest first: the run of a fault ends with the first failure.
SUITES = (
    "tests/unit/test_ruin_timelines.py",
    "tests/unit/test_curve_traps.py",
    "tests/unit/test_gate_bounds.py",
    "tests/unit/test_money_timelines.py",
    "tests/property/test_account_oracle.py",
    "tests/unit/test_engine_timelines.py",
    "tests/property/test_resting_orders.py",
    "tests/unit/test_trap_table.py",
    "tests/property/test_engine_oracle.py",
)
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


def environment_of(copy: Path) -> dict[str, str]:
    """Return the environment in which the copy of the package is the one that is imported."""
    return {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}


def is_imported(copy: Path) -> bool:
    """Whether the tests would run on the copy."""
    command = [sys.executable, "-P", "-c", "import quantkit; print(quantkit.__file__)"]
    told = subprocess.run(command, cwd=ROOT, env=environment_of(copy), capture_output=True, text=True, check=True)
    return Path(told.stdout.strip()).is_relative_to(copy)


def survives(mutant: Mutant, copy: Path) -> bool:
    """Plant one fault in the copy, run the tests until one fails, and take it out again."""
    path = copy / "quantkit" / mutant.file
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
    # `-P` keeps the real package, in the folder that this runs in, from being found first.
    command = [
        sys.executable,
        "-P",
        "-m",
        "pytest",
        "-q",
        "-x",
        "-n0",
        "-p",
        "no:cacheprovider",
        "--no-header",
        *SUITES,
    ]
    try:
        return (
            subprocess.run(
                command, cwd=ROOT, env=environment_of(copy), capture_output=True, timeout=TIMEOUT_S, check=False
            ).returncode
            == 0
        )
    except subprocess.TimeoutExpired:
        return False
    finally:
        path.write_text(source, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Run the faults that the arguments choose; return the exit status."""
    parser = argparse.ArgumentParser(description="Plant faults, and require that the tests notice each.")
    parser.add_argument("words", nargs="*", help="parts of names or files; none for all")
    parser.add_argument("--check", action="store_true", help="only look whether each text stands in its file")
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
        assert is_imported(copy), "the copy of the package is not the one that tests import"
        for number, mutant in enumerate(chosen, 1):
            began_s = time.monotonic()
            is_alive = survives(mutant, copy)
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
