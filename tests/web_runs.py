"""Folders of runs for the tests of the web application."""

from pathlib import Path

import quantkit
from quantkit.report.result import Result
from quantkit.runs.folder import Runs
from quantkit.web.calls import Calls

ROOT = Path(__file__).parents[1]
DATA = ROOT / "data"


def no_runs() -> Calls:
    """Return the calls over a folder in which there are no runs, and the sample data."""
    return Calls(Runs(ROOT / "strategies"), DATA)


def one_run(folder: Path, *, fast: int = 10, name: str = "ma_cross") -> Result:
    """Run a backtest of some days, and save it below a folder of runs."""
    found = quantkit.backtest(
        str(ROOT / "strategies" / "ma_cross.py"),
        data=DATA,
        start="2025-05-10",
        end="2025-05-14",
        params={"fast": fast},
    )
    found.save(folder / name)
    return found
