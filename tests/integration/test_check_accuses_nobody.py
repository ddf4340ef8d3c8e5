"""No shipped strategy is accused of anything on the shipped data; columns are told apart by what they knew."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from planted_cheats import DATA, SOL, Blocks, Gambles, UsesColumn

import quantkit as qk
from quantkit.proving.verdict import FAIL, PASS, WARN
from quantkit.starter import start

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[2]
#: Short enough for a moment, long enough for entries and exits.
SPANS: dict[str, tuple[str | None, str]] = {
    "breakout": (None, "2025-05-12"),
    "imbalance": (None, "2024-08-08T23:56:00Z"),
    "ma_cross": (None, "2025-05-10"),
    "momentum": (None, "2025-05-14"),
    "quoter": (None, "2024-08-08T23:55:00Z"),
}


def test_every_example_is_among_them() -> None:
    """A new one cannot escape."""
    assert set(SPANS) == {file.stem for file in (ROOT / "strategies").glob("*.py")}


@pytest.mark.parametrize("name", SPANS)
def test_a_shipped_strategy_is_not_accused(name: str) -> None:
    """Nothing fails, and the questions of honesty are all passed."""
    begin, end = SPANS[name]
    checked = qk.check(str(ROOT / "strategies" / f"{name}.py"), data=DATA, start=begin, end=end)
    assert not checked.faults, str(checked)
    told = {row.check: row.verdict for row in checked.rows}
    for question in ("look-ahead", "further columns", "own reading", "determinism", "state between runs"):
        assert told[question] == PASS, str(checked)
    # On a book there is latency to change, and something else to match on.
    if name in ("imbalance", "quoter"):
        assert {each.assumption for each in checked.variants} == {"as it is", "latency", "fees", "matching"}
        assert all(each.pnl is not None for each in checked.variants)


def test_the_starter_is_not_accused(tmp_path: Path) -> None:
    """What `quantkit new` writes, on the data that it generates."""
    files = start("mine", tmp_path)
    checked = qk.check(str(files.strategy), data=tmp_path / "data", end="2025-11-20")
    assert not checked.faults, str(checked)


def frame() -> pd.DataFrame:
    """Return hourly candles of the sample data with columns that knew nothing and columns that knew more."""
    found = qk.Catalog(DATA).candles(SOL, interval="1h").pandas()[["open", "high", "low", "close", "volume"]]
    close = found["close"]
    found["average"] = close.rolling(10).mean()
    found["next_close"] = close.shift(-1)
    found["centred"] = close.rolling(5, center=True).mean()
    found["day_close"] = close.groupby(np.arange(len(close)) // 24).transform("last")
    return found


@pytest.mark.parametrize(
    ("column", "verdict"), [("average", PASS), ("next_close", FAIL), ("centred", FAIL), ("day_close", FAIL)]
)
def test_a_column_that_knew_more_is_found_where_it_is_used(column: str, verdict: str) -> None:
    """And those that are not used only warn."""
    solana = qk.Instrument("SOL", kind="swap", quote="USDT", settle="USDT", price_step="0.001", qty_step="1")
    checked = qk.check(
        UsesColumn, data={"SOL": frame()}, params={"column": column}, instruments=[solana], only=["further columns"]
    )
    by_column = {row.evidence.split("'")[1]: row.verdict for row in checked.rows if "'" in row.evidence}
    expected = dict.fromkeys(("next_close", "centred", "day_close"), WARN)
    assert by_column == {**expected, **({column: FAIL} if verdict == FAIL else {})}


def test_orders_above_the_market_are_a_large_share() -> None:
    """More than was traded."""
    checked = qk.check(
        Gambles,
        data=DATA,
        params={"qty": 20_000.0},
        only=["share of volume"],
        end="2025-05-06",
        cash={"USDT": 100_000_000},
    )
    assert [(row.verdict, row.kind) for row in checked.rows] == [(WARN, "large share of volume")]


def test_a_run_without_end_is_ended() -> None:
    """With all its processes, in one line."""
    with pytest.raises(qk.DataError, match="did not end in its time"):
        qk.check(Blocks, data=DATA, timeout="3s", only=["number of trades"])


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="signals of POSIX")
def test_ctrl_c_ends_a_check_and_its_processes(tmp_path: Path) -> None:
    """At once, with one line; no child is left."""
    file = ROOT / "tests" / "planted_cheats.py"
    script = [sys.executable, "-m", "quantkit", "check", f"{file}:Blocks", "--data", str(DATA)]
    process = subprocess.Popen(script, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not (children := _children(process.pid)) and time.monotonic() < deadline:
            assert process.poll() is None
        assert children
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.strip() == "quantkit: interrupted"
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def _children(pid: int) -> list[int]:
    return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] or [
        int(text) for task in Path(f"/proc/{pid}/task").iterdir() for text in (task / "children").read_text().split()
    ]
