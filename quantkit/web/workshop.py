"""Strategy files of one folder, checked and backtested in processes of their own with limits on time and memory.

The limits keep a mistake from taking the machine. They are no sandbox: a strategy is a program with its owner's rights.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from quantkit.clock import datetime_of, wall_ns
from quantkit.errors import ConfigError, QuantkitError

#: What a process gets of the environment: nothing that may hold a secret.
_ENVIRONMENT: Final = (
    *("PATH", "HOME", "LANG", "LC_ALL", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"),
    *("TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "USERPROFILE"),
)
#: The most that is read of what a process prints.
_OUTPUT_BYTES: Final = 4 << 20
_ERROR_CHARACTERS: Final = 600


class TrialError(QuantkitError):
    """The process of a strategy failed, or took more than it may."""


class StrategyShape(msgspec.Struct, frozen=True):
    """What a strategy file holds: the class, the first line of its docstring, its parameters with their defaults."""

    file: str
    strategy: str
    says: str
    parameters: dict[str, Any]


class BacktestShape(msgspec.Struct, frozen=True):
    """A backtest that was kept, and its report in numbers.

    Attributes:
        run: The id under which its result is kept.
        report: Statistics, assumptions, warnings, hash.
    """

    run: str
    report: dict[str, Any]


class Workshop:
    """The strategy files of one folder.

    Args:
        folder: The only one whose files are run.
        runs: Folder that keeps the results.
        data: The data folder.
        seconds: CPU time of a process, and the time it may take on the clock.
        memory_bytes: Its address space.

    Raises:
        ConfigError: There is no such folder.
    """

    def __init__(
        self, folder: Path, *, runs: Path, data: Path, seconds: int = 300, memory_bytes: int = 8 << 30
    ) -> None:
        if not folder.is_dir():
            raise ConfigError(f"there is no folder of strategies {folder}; name another one")
        self._folder = folder.resolve()
        self._runs = runs.resolve()
        self._data = data.resolve()
        self._seconds = seconds
        self._memory_bytes = memory_bytes

    def files(self) -> list[str]:
        """Return the names of the strategy files."""
        return sorted(
            path.name
            for path in self._folder.glob("*.py")
            if path.is_file() and not path.is_symlink() and not path.name.startswith((".", "_"))
        )

    def validate(self, file: str) -> StrategyShape:
        """Load a strategy file and return what it holds.

        Raises:
            ConfigError: It is none of the folder's, or cannot be run.
        """
        return msgspec.json.decode(self._run("validate", str(self._path(file))), type=StrategyShape)

    def backtest(
        self,
        file: str,
        parameters: Mapping[str, str | int | float | bool],
        *,
        start: str | None = None,
        end: str | None = None,
    ) -> BacktestShape:
        """Backtest a strategy file over the data folder, and keep the result.

        Args:
            file: Its name.
            parameters: By name.
            start, end: First and last moment, UTC; default all the data.

        Raises:
            ConfigError: As `validate`; or the backtest cannot be run.
            TrialError: It failed, or took more time or memory than it may.
        """
        path = self._path(file)
        run = self._new_run(path.stem)
        words = ["--data", str(self._data), "--runs", str(self._runs), "--save", str(self._runs / run), "--json"]
        for flag, moment in (("--from", start), ("--to", end)):
            words += [] if moment is None else [f"{flag}={moment}"]
        for name, value in parameters.items():
            words.append(f"--param={name}={value}")
        report = msgspec.json.decode(self._run("backtest", str(path), *words), type=dict[str, Any])
        return BacktestShape(run, {key: value for key, value in report.items() if key != "config"})

    def _path(self, file: str) -> Path:
        """Return the path of one of the folder's files."""
        if file not in self.files():
            raise ConfigError(
                f"{file!r} is no strategy file of the folder; there is {', '.join(self.files()) or 'none'}"
            )
        return self._folder / file

    def _new_run(self, stem: str) -> str:
        """Return a name under which nothing is kept yet."""
        name = f"{stem}-{datetime_of(wall_ns()):%Y%m%d-%H%M%S}"
        number = 1
        while (self._runs / name).exists():
            number += 1
            name = f"{name.partition('.')[0]}.{number}"
        return name

    def _run(self, *words: str) -> bytes:
        """Return what a process with limits prints.

        Raises:
            ConfigError, TrialError: It failed; its last line says why.
        """
        command = [sys.executable, "-m", "quantkit.web.limited", str(self._seconds), str(self._memory_bytes), *words]
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        with (
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
            subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=environment,
                cwd=self._folder,
                start_new_session=True,
            ) as process,
        ):
            try:
                code = process.wait(self._seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
            out.seek(0)
            err.seek(0)
            printed, said = out.read(_OUTPUT_BYTES + 1), err.read(_OUTPUT_BYTES).decode(errors="replace")
        if code is None or code == -_CPU_SIGNAL:
            raise TrialError(f"{words[0]} took more than {self._seconds} s and was ended")
        if code:
            raise (ConfigError if code == _WRONG else TrialError)(_reason(said, code))
        if len(printed) > _OUTPUT_BYTES:
            raise TrialError(f"{words[0]} printed more than {_OUTPUT_BYTES:,} bytes")
        return printed


#: Exit code of a wrong command, and the signal that ends a process whose CPU time is used up.
_WRONG: Final = 2
_CPU_SIGNAL: Final = getattr(signal, "SIGXCPU", 0)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a process and what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _reason(said: str, code: int) -> str:
    """Return the line in which quantkit said why, or the last one of a process that was ended."""
    lines: Sequence[str] = [" ".join(line.split()) for line in said.splitlines() if line.strip()]
    told = [line.removeprefix("quantkit: error: ") for line in lines if line.startswith("quantkit: error: ")]
    if told:
        return told[-1][:_ERROR_CHARACTERS]
    if any("MemoryError" in line for line in lines):
        return "it took more memory than it may"
    return (lines[-1] if lines else f"the process ended with code {code}")[:_ERROR_CHARACTERS]
