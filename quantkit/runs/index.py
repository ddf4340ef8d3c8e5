"""The index of a folder of runs: one JSON line for each backtest, appended under a lock and never rewritten."""

import hashlib
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path, PurePath
from typing import Any, BinaryIO, Final

import msgspec

from quantkit.clock import NS_PER_MS, iso_of
from quantkit.errors import ConfigError, DataError, QuantkitError
from quantkit.portable import check_new
from quantkit.report.result import Result
from quantkit.report.summary import json_stats
from quantkit.report.text import strategy_of
from quantkit.storage.root import NO_LINK, Root, first_line

#: The index of a folder of runs.
INDEX: Final = "index.jsonl"
#: Stands for the value of a parameter that is a secret by its name.
MASK: Final = "***"
#: Raised by what is no JSON, or not that of a line.
_NO_LINE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
#: Begins the warning of a result whose line could not be written.
UNKEPT: Final = "this run is not in the index of runs"
#: So much in front of what is new is compared, to know a file again.
_TAIL_BYTES: Final = 4096
_NO_WAIT: Final[int] = getattr(os, "O_NONBLOCK", 0)
_SECRET: Final = re.compile(
    r"secret|passw|passphrase|credential|(?:api|private)_?key|(?:auth|access)_?token", re.IGNORECASE
)
#: What a configuration says and a line has elsewhere.
ELSEWHERE: Final = frozenset(("strategy", "strategy_digest", "parameters", "data", "data_files", "start_ns", "end_ns"))


class IndexLine(msgspec.Struct, frozen=True, kw_only=True):
    """One backtest.

    Attributes:
        at: When it ended, UTC.
        strategy: Module and class. name: The class alone. digest: SHA-256 of its file, None without one.
        parameters: By name, JSON-ready; a secret by its name is masked.
        data: The data folder, or `memory`. data_digest: SHA-256 over the files read, in memory over the names and
            numbers of rows.
        start, end: The span, UTC.
        options: Cash, fees, latency and the other options, as the manifest of a result has them.
        hash: The result's. hash_encoding: The way it was counted.
        stats: The statistics; durations are seconds under keys ending in `_s`.
        saved_to: The folder of the whole result below or beside that of the index, None without one.
        versions: Of quantkit.
    """

    at: str
    strategy: str
    name: str
    digest: str | None
    parameters: dict[str, Any]
    data: str
    data_digest: str
    start: str
    end: str
    options: dict[str, Any]
    hash: str
    hash_encoding: str
    stats: dict[str, Any]
    saved_to: str | None
    versions: dict[str, str]


class Tried(msgspec.Struct, frozen=True):
    """What was tried in a backtest: a variant of a strategy on some data.

    Attributes:
        name, digest, parameters, data_digest, start, end: As in the line of the index.
    """

    name: str
    digest: str | None
    parameters: dict[str, Any]
    data_digest: str
    start: str
    end: str

    @property
    def ground(self) -> tuple[str, ...]:
        """What all variants of one study share: the strategy's name, the data and the span."""
        return self.name, self.data_digest, self.start, self.end

    @property
    def variant(self) -> bytes:
        """What tells them apart: the file and the parameters."""
        return msgspec.json.encode([self.digest, self.parameters], order="deterministic")


class _TriedLine(Tried, frozen=True):
    """The part of a line that is needed to count variants, which is quicker to read than all of it."""

    stats: dict[str, Any]


class _ReadLines:
    """The lines of an index that were read so far.

    Args:
        file_id: Tells one file from another.

    Attributes:
        lines, torn: As `RunIndex.read` returns them.
    """

    def __init__(self, file_id: tuple[int, int]) -> None:
        self.lines: list[IndexLine] = []
        self.torn: list[int] = []
        self._file_id = file_id
        self._count = 0
        self._end = 0  # behind the last line that is whole
        self._tail = b""  # what stands before it
        self._is_cut = (False, False)  # whether the last line or torn number is of one that may yet become whole

    def with_rest(self, file: BinaryIO, status: os.stat_result) -> "_ReadLines":
        """Return these with what a file has beyond; anew if it is another one, or was written over."""
        file_id = (status.st_dev, status.st_ino)
        found = _ReadLines(file_id)
        if file_id == self._file_id and status.st_size > self._end:
            file.seek(self._end - len(self._tail))
            if file.read(len(self._tail)) == self._tail:
                found.lines = self.lines[:-1] if self._is_cut[0] else self.lines[:]
                found.torn = self.torn[:-1] if self._is_cut[1] else self.torn[:]
                found._count, found._end, found._tail = self._count, self._end, self._tail
        file.seek(found._end)
        for text in file:
            found._add(text)
        return found

    def _add(self, text: bytes) -> None:
        before = len(self.lines), len(self.torn)
        if text.strip():
            try:
                self.lines.append(_line_decoder.decode(text))
            except _NO_LINE:
                self.torn.append(self._count + 1)
        if text.endswith(b"\n"):
            self._count += 1
            self._end += len(text)
            self._tail = text[-_TAIL_BYTES:]
        else:
            self._is_cut = len(self.lines) > before[0], len(self.torn) > before[1]


class RunIndex:
    """The index of one folder, for writers in any number of processes.

    A line that a kill or a full disk cut short costs nothing but itself. What was read is kept, so that reading again
    costs what was added since.

    Args:
        folder: Made with the first line.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.path = self.folder / INDEX
        self._lock = threading.Lock()
        self._known = _ReadLines((0, 0))
        self._seen: tuple[int, ...] = ()  # the file as it was when that was read

    def weigh(self, result: Result) -> None:
        """Tell a result of the other variants in the index, before its statistics are computed.

        An index that cannot be read is a warning of the result.
        """
        try:
            result.other_variants = self.other_variants(tried_in(result))
        except QuantkitError as error:
            self._warn(result, error)

    def keep(self, result: Result, at_ns: int) -> None:
        """Add the line of a result; one that cannot be written is a warning of the result.

        Args:
            result: Of a backtest, saved already if it will be.
            at_ns: The machine's time.
        """
        try:
            self.add(line_of(result, self.folder, at_ns))
        except QuantkitError as error:
            self._warn(result, error)

    def _warn(self, result: Result, error: QuantkitError) -> None:
        # A full disk must not cost the result of an hour's run, and one line about it is enough.
        if not any(warning.startswith(UNKEPT) for warning in result.outcome.warnings):
            result.outcome.warnings.append(f"{UNKEPT}: {error}")

    def add(self, line: IndexLine) -> None:
        """Append a line with one write, while no other process writes.

        Raises:
            DataError: The folder or the file cannot be written.
        """
        root = Root(self.folder)
        with root.locked(), root.translated(INDEX), open(self.path, "ab+", buffering=0, opener=_open_file) as file:
            size = file.seek(0, os.SEEK_END)
            is_torn = False
            if size:
                file.seek(-1, os.SEEK_END)
                is_torn = file.read(1) != b"\n"
            # A new line never continues one that was cut short.
            content = (b"\n" if is_torn else b"") + msgspec.json.encode(line) + b"\n"
            if file.write(content) != len(content):
                file.truncate(size)
                raise OSError("no space left for a line")

    def read(self) -> tuple[list[IndexLine], list[int]]:
        """Return the lines in the order of writing, and the numbers from 1 of those that cannot be understood.

        The lists are the same ones while nothing was added; whoever gets them leaves them as they are.

        Raises:
            DataError: The file is there and cannot be read.
        """
        with self._lock:
            try:
                with open(self.path, "rb", opener=_open_file) as file:
                    status = os.fstat(file.fileno())
                    seen = status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
                    if seen != self._seen:
                        self._known, self._seen = self._known.with_rest(file, status), seen
            except FileNotFoundError:
                self._known, self._seen = _ReadLines((0, 0)), ()
            except OSError as error:
                raise DataError(f"{self.path}: cannot be read: {first_line(error)}") from error
            return self._known.lines, self._known.torn

    def other_variants(self, tried: Tried) -> list[float | None]:
        """Return the Sharpe ratio of each other variant that was tried over the same data and span.

        Variants are the files and parameters that a strategy of one name was run with. The last run of each counts.

        Raises:
            DataError: The file is there and cannot be read.
        """
        found: dict[bytes, float | None] = {}
        needle = tried.data_digest.encode()
        for text in self._texts():
            if needle in text:
                with suppress(*_NO_LINE):
                    other = _tried_decoder.decode(text)
                    if other.ground == tried.ground:
                        ratio = other.stats.get("sharpe_ratio")
                        found[other.variant] = float(ratio) if isinstance(ratio, float | int) else None
        found.pop(tried.variant, None)
        return list(found.values())

    def _texts(self) -> Iterator[bytes]:
        """Yield each line."""
        try:
            with open(self.path, "rb", opener=_open_file) as file:
                yield from file
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {first_line(error)}") from error


def _open_file(path: str, flags: int) -> int:
    """Open an index: a link would lead elsewhere, and a pipe would be waited for."""
    return os.open(path, flags | NO_LINK | _NO_WAIT, 0o666)


_line_decoder: Final = msgspec.json.Decoder(IndexLine)
_tried_decoder: Final = msgspec.json.Decoder(_TriedLine)


def check_keep(keep: Any) -> None:
    """Refuse what is no folder for an index, before the run.

    Raises:
        ConfigError: It shows how one is given.
    """
    if keep is None:
        return
    if not isinstance(keep, str | Path) or not str(keep):
        raise ConfigError(f"keep is {keep!r}; give a folder such as keep='runs', or None to leave no line")
    check_new(Path(keep))


def tried_in(result: Result) -> Tried:
    """Return what was tried in a backtest."""
    config = result.config
    return Tried(
        name=strategy_of(config)[0],
        digest=config["strategy_digest"],
        parameters=without_secrets(config["parameters"]),
        data_digest=data_digest(config["data_files"], result.outcome.rows),
        start=iso_of(config["start_ns"]),
        end=iso_of(config["end_ns"]),
    )


def line_of(result: Result, folder: str | Path, at_ns: int) -> IndexLine:
    """Return the line of a result.

    Args:
        result: Of a backtest.
        folder: That of the index.
        at_ns: The machine's time.
    """
    config, manifest = result.config, result.manifest
    return IndexLine(
        at=iso_of(at_ns // NS_PER_MS * NS_PER_MS),
        strategy=config["strategy"],
        data=place_of_data(config["data"]),
        options={name: value for name, value in config.items() if name not in ELSEWHERE},
        hash=manifest["hash"],
        hash_encoding=manifest["hash_encoding"],
        stats={key: value for key, value in json_stats(result.numbers).items() if key not in ("start", "end")},
        saved_to=None if result.saved_to is None else _from(Path(folder), result.saved_to),
        versions=manifest["versions"],
        **msgspec.structs.asdict(tried_in(result)),
    )


def data_digest(files: Mapping[str, str], rows: Mapping[str, int]) -> str:
    """Return a digest of a run's data: of its files, or without any of its streams and their numbers of rows."""
    return hashlib.sha256(msgspec.json.encode(sorted((files or rows).items()))).hexdigest()


def place_of_data(text: str) -> str:
    """Return a data folder as a line names it: below the working folder, or below the home folder, where it lies there.

    Examples:
        >>> place_of_data("data"), place_of_data(str(Path.cwd() / "data")), place_of_data(str(Path.home() / "d" / "x"))
        ('data', 'data', '~/d/x')
    """
    path = Path(text)
    if path.is_absolute():
        for root, name in ((Path.cwd(), "."), (Path.home(), "~")):
            if path.is_relative_to(root):
                return PurePath(name, path.relative_to(root)).as_posix()
    return text


def without_secrets(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters without the values of those that are secrets by their names."""
    return {name: MASK if _SECRET.search(name) else value for name, value in parameters.items()}


def _from(folder: Path, saved_to: Path) -> str:
    """Return where a result lies as seen from a folder; on another drive only the whole path says so."""
    try:
        return PurePath(os.path.relpath(saved_to, folder)).as_posix()
    except ValueError:
        return saved_to.absolute().as_posix()
