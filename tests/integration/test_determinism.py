"""One strategy over the same rows is one result, whatever the process, the block size or the order of files on disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

import quantkit as qk

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
DATA = ROOT / "data"
#: The candle strategy reads two monthly files, the book strategy three kinds of rows over two days.
RUNS = {
    "ma_cross": {"start": "2025-05-25", "end": "2025-06-03"},
    "imbalance": {"start": "2024-08-08T23:54:15Z", "end": "2024-08-08T23:57:00Z"},
}
SCRIPT = """
import sys
import quantkit as qk

strategy, data, start, end, block_rows, folder = sys.argv[1:]
result = qk.backtest(strategy, data=data, start=start, end=end, block_rows=int(block_rows))
result.save(folder)
print(result.hash)
"""


def strategy_file(name: str) -> str:
    """Return the path of an example strategy."""
    return str(ROOT / "strategies" / f"{name}.py")


def run(name: str, **options: object) -> qk.Result:
    """Run an example strategy over its span in this process."""
    return qk.backtest(strategy_file(name), data=DATA, **RUNS[name], **options)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a saved result byte for byte; of the manifest, all but where the data folder lay."""
    found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    manifest = msgspec.json.decode(found["manifest.json"])
    del manifest["config"]["data"], manifest["manifest_sha256"]
    return {**found, "manifest.json": msgspec.json.encode(manifest, order="deterministic")}


def shuffled_copy(to: Path) -> Path:
    """Copy the sample data with its manifest backwards and its files created in reverse order."""
    for file in sorted((f for f in DATA.rglob("*.parquet") if f.is_file()), reverse=True):
        target = to / file.relative_to(DATA)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    lines = (DATA / "manifest.jsonl").read_bytes().splitlines()
    assert len(lines) > 2
    shutil.copyfile(DATA / "quality.json", to / "quality.json")  # a result quotes it
    (to / "manifest.jsonl").write_bytes(b"\n".join(reversed(lines)) + b"\n")
    return to


@pytest.mark.parametrize("name", RUNS)
def test_processes_hash_seeds_block_sizes_and_file_order_give_the_same_bytes(name: str, tmp_path: Path) -> None:
    """Three processes that share nothing write the same tables, and they are those of this process."""
    expected = run(name)
    assert len(expected.fills) >= 4
    expected.save(tmp_path / "expected")
    elsewhere = shuffled_copy(tmp_path / "data")
    printed = []
    for number, (seed, data, block_rows) in enumerate((("0", DATA, 131_072), ("1", elsewhere, 1009), ("77", DATA, 64))):
        folder = tmp_path / f"run{number}"
        span = (RUNS[name]["start"], RUNS[name]["end"])
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, strategy_file(name), str(data), *span, str(block_rows), str(folder)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout.strip())
        assert contents(folder) == contents(tmp_path / "expected")
    assert printed == [expected.hash] * 3


@pytest.mark.parametrize("name", RUNS)
def test_runs_in_one_process_leave_nothing_behind(name: str, tmp_path: Path) -> None:
    """The second run equals the first, with the other strategy in between."""
    run(name).save(tmp_path / "first")
    run(name).save(tmp_path / "second")
    other = next(there for there in RUNS if there != name)
    assert run(other).hash != qk.Result.load(tmp_path / "first").hash
    run(name).save(tmp_path / "third")
    first = contents(tmp_path / "first")
    assert contents(tmp_path / "second") == first
    assert contents(tmp_path / "third") == first


def test_a_strategy_object_can_run_twice() -> None:
    """What `on_start` builds is built anew; parameters are all that a strategy brings along."""
    strategy = qk.load_strategy(strategy_file("ma_cross"))(fast=5)
    first, second = (qk.backtest(strategy, data=DATA, **RUNS["ma_cross"]) for _ in range(2))  # type: ignore[arg-type]
    assert first.hash == second.hash != run("ma_cross").hash


class Dice(qk.Strategy):
    """Throws the run's own dice on every candle."""

    def on_start(self) -> None:
        self.subscribe_candles("binance:SOL-USDT-SWAP", "1h")

    def on_candle(self, candle: qk.Candle) -> None:
        self.target(candle.instrument, float(self.rng.integers(-5, 6)))


def test_chance_comes_from_the_seed_alone() -> None:
    """The same seed repeats, another one differs."""
    span = {"start": "2025-05-25", "end": "2025-05-28"}
    hashes = [qk.backtest(Dice, data=DATA, seed=seed, **span).hash for seed in (1, 1, 2)]  # type: ignore[arg-type]
    assert hashes[0] == hashes[1] != hashes[2]
