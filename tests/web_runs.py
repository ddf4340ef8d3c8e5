"""A folder of runs for the tests of the web application, with one real backtest and one with hostile names."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from quantkit.errors import ConfigError
from quantkit.report.result import Result
from quantkit.web.shapes import RunShape

DATA = Path(__file__).parents[1] / "data"


class HeldRuns:
    """Runs by id.

    Args:
        folders: The folder of each whole result.
    """

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)

    def list(self) -> Sequence[RunShape]:
        """Return the runs in the order given."""
        return [self._shape(name, Result.load(folder)) for name, folder in self._folders.items()]

    def folder(self, run: str) -> Path:
        """Return the folder of a run."""
        if run not in self._folders:
            raise ConfigError(f"there is no run {run!r}")
        return self._folders[run]

    def diff(self, first: str, second: str) -> dict[str, Any]:
        """Return whether two runs are equal."""
        one, other = Result.load(self.folder(first)), Result.load(self.folder(second))
        return {"hash": [one.hash, other.hash]}

    @staticmethod
    def _shape(name: str, result: Result) -> RunShape:
        return RunShape(
            id=name,
            kind="backtest",
            at="2026-01-01T00:00:00Z",
            name="MaCross",
            parameters=result.config["parameters"],
            start="",
            end="",
            hash=result.hash,
            stats={},
            is_whole=True,
        )
