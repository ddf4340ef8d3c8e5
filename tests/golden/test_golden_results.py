"""Frozen results: what each example strategy does on a piece of the sample data, compared to the last digit.

A difference is a change of results: look at it, renew the file with `QUANTKIT_RENEW_GOLDEN=1`, and mark the entry in
CHANGELOG.md. CONTRIBUTING.md says how.
"""

import difflib
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

import quantkit as qk
from quantkit.report.digest import ENCODING, ENCODINGS, canonical

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent
IS_RENEWING = os.environ.get("QUANTKIT_RENEW_GOLDEN") == "1"
#: Short enough to run in a moment, long enough for entries, exits, stops and resting fills. None is where data begin.
SPANS: dict[str, tuple[str | None, str]] = {
    "breakout": ("2025-05-07", "2025-05-28"),
    "imbalance": (None, "2024-08-08T23:57:00Z"),
    "ma_cross": ("2025-05-07", "2025-05-21"),
    "momentum": ("2025-05-10", "2025-05-24"),
    "quoter": (None, "2024-08-08T23:57:00Z"),
}
_ENDS = 3


def frozen(result: qk.Result) -> dict[str, Any]:
    """Return what is kept of a result, JSON-ready.

    Records and money are exact. Statistics are written with twelve significant digits: the last bits of a float sum
    depend on how many numbers a machine adds at once.
    """
    outcome = result.outcome
    return {
        "hash": result.hash,
        "rows": outcome.rows,
        "orders": len(outcome.orders),
        "order_events": len(outcome.order_events),
        "fills": len(outcome.fills),
        "cash": canonical(outcome.cash),
        "equity": canonical(outcome.equity),
        "positions": canonical(outcome.position_qty),
        "realised": canonical(outcome.realised),
        "fees": canonical(outcome.fees),
        "stats": {key: f"{value:.12g}" if isinstance(value, float) else value for key, value in result.numbers.items()},
        "first_orders": [hashed(order, "orders") for order in outcome.orders[:_ENDS]],
        "first_fills": [hashed(fill, "fills") for fill in outcome.fills[:_ENDS]],
        "last_fills": [hashed(fill, "fills") for fill in outcome.fills[-_ENDS:]],
    }


def hashed(record: msgspec.Struct, kind: str) -> dict[str, Any]:
    """Return the fields of a record that the hash covers, by name, numbers as exact text."""
    return {field: canonical(getattr(record, field)) for field in ENCODINGS[ENCODING].records[kind]}


def as_text(kept: dict[str, Any]) -> str:
    """Return what is kept as the golden file has it: readable, one value a line."""
    encoded = msgspec.json.encode(kept, enc_hook=str)
    return msgspec.json.format(encoded, indent=2).decode() + "\n"


def test_every_example_strategy_has_a_golden_result() -> None:
    """No strategy without one, and no file without its strategy."""
    strategies = {file.stem for file in (ROOT / "strategies").glob("*.py")}
    assert set(SPANS) == strategies
    if not IS_RENEWING:
        assert {file.stem for file in FOLDER.glob("*.json")} == strategies


@pytest.mark.parametrize("name", SPANS)
def test_the_result_is_the_frozen_one(name: str) -> None:
    """Every kept digit."""
    start, end = SPANS[name]
    result = qk.backtest(str(ROOT / "strategies" / f"{name}.py"), data=ROOT / "data", start=start, end=end)
    assert len(result.outcome.fills) >= 2 * _ENDS
    now = as_text(frozen(result))
    file = FOLDER / f"{name}.json"
    if IS_RENEWING:
        file.write_text(now, encoding="utf-8")
    kept = file.read_text(encoding="utf-8")
    changes = difflib.unified_diff(kept.splitlines(), now.splitlines(), "frozen", "now", lineterm="", n=1)
    assert now == kept, "\n".join(["the result changed:", *changes])
