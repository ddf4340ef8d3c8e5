"""A run's folder: the names of what is in it, and the versions that wrote it."""

import platform
import re
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Final

from quantkit.clock import datetime_of, wall_ns
from quantkit.errors import ConfigError, DataError
from quantkit.feeds.live_feed import DATA, FRAMES
from quantkit.portable import check_new, unportable
from quantkit.sources import code_of
from quantkit.strategy import Strategy

#: Folders of a run beside the tape (`FRAMES`) and the rows (`DATA`): engine log, result, copy of the strategy's code.
ENGINE: Final = "engine"
RESULT: Final = "result"
SOURCE: Final = "strategy"

__all__ = ["DATA", "ENGINE", "FRAMES", "RESULT", "SOURCE", "new_folder", "recorded_run", "versions"]

_UNFIT: Final = re.compile(r"[^A-Za-z0-9_-]+")


def versions() -> dict[str, str]:
    """Return the versions of Python, quantkit, and the packages that compute a run."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("quantkit", "numpy", "msgspec")}}


def recorded_run(run: str | Path) -> Path:
    """Return the folder of a recorded run.

    Raises:
        DataError: It holds none.
    """
    folder = Path(run)
    if not (folder / ENGINE).is_dir():
        raise DataError(f"{folder} holds no recorded run (there is no {ENGINE} folder); name the folder of one")
    return folder


def new_folder(record: Path, strategy: Strategy) -> Path:
    """Make a run's folder, named after strategy and time.

    Raises:
        ConfigError: It cannot be made, or it or a copy of the strategy's code in it has a name that not every machine
            takes.
    """
    check_new(record)
    code = code_of(type(strategy))
    for place in () if code is None else (str(code.place), *code.beside):
        for part in PurePath(place).parts:
            reason = unportable(part)
            if reason is not None:
                raise ConfigError(f"strategy file {place}: the name {part!r} {reason}; rename it, a copy is recorded")
    name = _UNFIT.sub("_", type(strategy).__name__)
    moment = datetime_of(wall_ns()).strftime("%Y%m%d-%H%M%S")
    number = 0
    while True:
        folder = record / f"{name}-{moment}{f'-{number}' if number else ''}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            if not folder.is_dir():
                raise ConfigError(f"{record} is no folder that a recording can go to; name another one") from None
            number += 1
        except OSError as error:
            raise ConfigError(f"{folder} cannot be made for the recording: {error.strerror or error}") from error
        else:
            return folder
