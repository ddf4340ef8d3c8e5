"""The list of runs at the width of a terminal: a live run's long id leaves a strategy's name whole."""

from io import StringIO

import pytest
from rich.console import Console

from quantkit.runs.entry import RunEntry
from quantkit.runs.tables import print_runs

LIVE = "MarketMaker-20261130-071838"


def entry(run: str, name: str, kind: str = "backtest", state: str = "finished") -> RunEntry:
    stats = {"return_pct": 1.5, "sharpe_ratio": 0.4, "max_drawdown": -0.1}
    return RunEntry(
        at="2026-11-30T07:18:38Z",
        strategy=f"module:{name}",
        name=name,
        digest=None,
        parameters={},
        data="data",
        data_digest="",
        start="2026-01-01T00:00:00Z",
        end="2026-02-01T00:00:00Z",
        options={},
        hash="0" * 64,
        hash_encoding="1",
        stats=stats,
        saved_to=None,
        versions={},
        id=run,
        kind=kind,  # type: ignore[arg-type]
        state=state,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("width", [80, 120])
def test_names_stay_whole_beside_a_live_run(width: int) -> None:
    """No name is folded and no number cut, whatever the width."""
    text = StringIO()
    entries = [entry(LIVE, "MarketMaker", "live", "running"), entry("0123456789ab", "MeanReversion")]
    print_runs(entries, 2, "runs", Console(file=text, width=width))
    lines = text.getvalue().splitlines()
    for word in (LIVE, "MarketMaker", "MeanReversion", "0123456789ab", "running", "1.50", "2026-01-01 31d"):
        assert any(word in line for line in lines), word
    # A name that does not fit beside its id has a line of its own.
    assert any(line.strip() == "MarketMaker" for line in lines) is (width == 80)
    assert any(line.split()[:2] == ["0123456789ab", "MeanReversion"] for line in lines)
