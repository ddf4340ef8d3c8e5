"""Whose code runs: the strategy's, quantkit's, or a library's on behalf of one of them."""

import os
import sys
import sysconfig
from collections.abc import Collection
from pathlib import Path
from types import CodeType, FrameType
from typing import Final, Literal, TypeAlias

from quantkit.strategy import HOOKS

_Owner: TypeAlias = Literal["strategy", "run", "library", "import"]

_PACKAGE: Final = str(Path(__file__).parents[1]) + os.sep
#: Rooms of quantkit that run a strategy. Others, such as its catalog, work for whoever calls them.
_RUN_ROOMS: Final = ("api.py", "brokers", "engine", "feeds", "live", "proving", "report", "strategy.py")
#: Modules here that stand between a strategy and what it calls.
_BETWEEN: Final = ("frames.py", "world.py", "witness.py")
_LIBRARIES: Final = tuple(
    {sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(prefix) / "lib") + os.sep for prefix in (sys.prefix, sys.base_prefix)}
)


class UserFrames:
    """Finds the strategy's code on the stack.

    Attributes:
        own: Files that are the strategy's, wherever they lie.
    """

    def __init__(self) -> None:
        self.own: set[str] = set()
        self._owners: dict[str, _Owner] = {}
        self._lines: dict[tuple[CodeType, int], str] = {}

    def add(self, files: Collection[Path]) -> None:
        """Name files that are the strategy's."""
        self.own |= {str(file) for file in files}
        self._owners.clear()

    def caller(self, through: Collection[str] | None = None) -> FrameType | None:
        """Return the innermost frame of the strategy that has led here, itself or by a library; None if none has.

        Args:
            through: Names of the only files of libraries that may stand in between; None: any may.
        """
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            file = frame.f_code.co_filename
            owner = self._owner(file)
            if owner == "strategy":
                return frame
            is_through = through is None or Path(file).name in through or Path(file).name in _BETWEEN
            if owner in ("run", "import") or not is_through:
                return None
            frame = frame.f_back
        return None

    def nearest(self, frame: FrameType | None) -> FrameType | None:
        """Return the innermost frame of the strategy from a frame upward, whatever stands in between."""
        while frame is not None and self._owner(frame.f_code.co_filename) != "strategy":
            frame = frame.f_back
        return frame

    def place(self, frame: FrameType) -> str:
        """Return where a frame of the strategy stands: its hook, file and line."""
        code, line = frame.f_code, frame.f_lineno
        where = self._lines.get((code, line))
        if where is None:
            where = self._lines[code, line] = f"{Path(code.co_filename).name} line {line}"
        hook = self.hook(frame)
        return f"{hook}, {where}" if hook else where

    def hook(self, frame: FrameType) -> str:
        """Return the hook within which a frame of the strategy runs, empty outside of hooks."""
        found: FrameType | None = frame
        while found is not None and self._owner(found.f_code.co_filename) != "run":
            if found.f_code.co_name in HOOKS and self._owner(found.f_code.co_filename) == "strategy":
                return found.f_code.co_name
            found = found.f_back
        return ""

    def _owner(self, file: str) -> _Owner:
        owner = self._owners.get(file)
        if owner is None:
            owner = self._owners[file] = self._find(file)
        return owner

    def _find(self, file: str) -> _Owner:
        if file in self.own:
            return "strategy"
        if file.startswith("<frozen importlib"):
            return "import"
        if file.startswith("<"):
            return "library"
        if file.startswith(_PACKAGE):
            below = Path(file).relative_to(_PACKAGE)
            if below.parts[0] == "proving" and below.name in _BETWEEN:
                return "library"
            return "run" if below.parts[0] in _RUN_ROOMS else "library"
        if not file.startswith(_LIBRARIES):
            return "strategy"
        # The stamps and the files of log lines are nobody's decision.
        return "run" if Path(file).parent.name == "logging" else "library"
