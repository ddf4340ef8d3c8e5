"""Each planted cheat is found by `quantkit check`, and called by its name."""

from pathlib import Path

import planted_cheats
import pytest
from planted_cheats import DATA, PLANTED

import quantkit as qk
from quantkit.proving.verdict import FAIL, StrategyCheck

pytestmark = pytest.mark.long

SPAN = {"start": "2025-05-08", "end": "2025-05-11"}


def checked(name: str, question: str, params: dict[str, str]) -> StrategyCheck:
    """Ask one question of a planted cheat."""
    cheat = getattr(planted_cheats, name)
    return qk.check(cheat, data=DATA, params=params, only=(question,), **SPAN)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_cheat_is_found_by_its_name(name: str, tmp_path: Path) -> None:
    """The kind, and no other; the evidence names the file and the line."""
    question, kind = PLANTED[name]
    params = {}
    if name == "ReadsTable":
        table = tmp_path / "signals.csv"
        table.write_text("up\ndown\nup\nup\n", encoding="utf-8")
        params = {"table": str(table)}
    if name == "KeepsInFile":
        params = {"name": tmp_path.name}
    found = checked(name, question, params)
    assert found.verdict == FAIL
    assert [(row.check, row.kind) for row in found.faults] == [(question, kind)]
    assert "planted_cheats.py line" in found.faults[0].evidence


def test_there_are_all_kinds_of_cheats() -> None:
    """Each class of the file that decides by something else is planted."""
    kinds = {kind for _, kind in PLANTED.values()}
    assert len(kinds) >= 14
