"""A folder of runs: all that is in it as a list, and each by its name."""

import difflib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from quantkit.errors import ConfigError, DataError
from quantkit.live.folder import ENGINE, SOURCE
from quantkit.report.archive import MANIFEST, PARTIAL, read_manifest
from quantkit.report.result import Result
from quantkit.runs.diff import RunDiff, diff_of
from quantkit.runs.entry import ID_DIGITS, RunEntry, entry_of_folder, entry_of_line
from quantkit.runs.index import IndexLine, RunIndex
from quantkit.storage.root import first_line

#: How far below the folder results are looked for.
_DEPTH: Final = 3
#: So many candidates are named.
_NAMED: Final = 5


class Runs:
    """The runs of a folder: the lines of its index, saved results, and live runs.

    Args:
        folder: That of `quantkit backtest --runs` and of `quantkit live --record`.
    """

    def __init__(self, folder: str | Path = "runs") -> None:
        self.path = Path(folder)
        self._index = RunIndex(folder)
        self._listed: tuple[Sequence[IndexLine], dict[str, RunEntry], Sequence[RunEntry]] = ((), {}, ())

    def list(self) -> list[RunEntry]:
        """Return every run, newest first.

        A backtest with a line and a saved result is one run.

        Raises:
            DataError: The folder cannot be read.
        """
        lines = self._index.read()[0]
        folders = {place: entry_of_folder(self.path / place, self.path) for place in self._places()}
        known_lines, known_folders, known = self._listed
        if lines is known_lines and folders == known_folders:
            return [*known]
        runs = _merged([entry_of_line(line) for line in lines], folders, self.path)
        # Of one moment the line that was written later is the newer one.
        found = sorted(_named(runs), key=lambda entry: entry.at.removesuffix("Z"))[::-1]
        if all(line.saved_to is None or line.saved_to in folders for line in lines):
            # Results elsewhere come and go without a word.
            self._listed = lines, folders, found
        return [*found]

    def notes(self) -> Sequence[str]:
        """Return what was passed over, a sentence each."""
        torn = self._index.read()[1]
        shown = ", ".join(map(str, torn[:_NAMED])) + ("" if len(torn) <= _NAMED else ", ...")
        return [f"{self._index.path}: no line of a run, passed over: {shown}"] if torn else []

    def find(self, run: str) -> RunEntry:
        """Return a run by its id, by the first characters of its id or hash, or by the place of its result.

        Of equal runs the newest is meant that is whole.

        Raises:
            ConfigError: There is none, or there are several, which are named.
        """
        if not run:
            raise ConfigError("no run is named; `quantkit runs ls` lists those there are")
        runs = self.list()
        exact = [entry for entry in runs if run in (entry.id, entry.hash, entry.saved_to)]
        found = exact or [entry for entry in runs if entry.id.startswith(run) or entry.hash.startswith(run)]
        if not found:
            close = difflib.get_close_matches(run, [entry.id for entry in runs], n=1)
            hint = f"; did you mean {close[0]}?" if close else "; `quantkit runs ls` lists those there are"
            raise ConfigError(f"there is no run {run!r} in {self.path}{hint}")
        first = found[0]
        others = list(dict.fromkeys(entry.id for entry in found if not _are_equal(entry, first)))
        if others:
            ids = [first.id, *others]
            named = ", ".join(ids[:_NAMED]) + ("" if len(ids) <= _NAMED else f" and {len(ids) - _NAMED} more")
            raise ConfigError(f"{run!r} may be any of {named}; write more of the one")
        if first.is_whole:
            return first
        return next((entry for entry in runs if entry.is_whole and _are_equal(entry, first)), first)

    def folder(self, run: str) -> Path:
        """Return the folder of the whole result of a run.

        Raises:
            ConfigError: As `find`; or the run has none.
        """
        return self._folder(self.find(run))

    def _folder(self, entry: RunEntry) -> Path:
        if entry.is_whole and entry.saved_to is not None:
            return self.path / entry.saved_to
        if entry.note:
            raise ConfigError(f"{entry.id} has no result: {entry.note}")
        raise ConfigError(
            f"of {entry.id} only the numbers are kept; run it again with --save DIR to keep the whole result"
        )

    def load(self, run: str) -> Result:
        """Return the whole result of a run.

        Raises:
            ConfigError: As `folder`.
            DataError: Its files are damaged.
        """
        return self._load(self.find(run))

    def diff(self, a: str, b: str) -> RunDiff:
        """Return where two runs differ; whole results are compared order by order, else the numbers alone.

        Raises:
            ConfigError: As `find`.
            DataError: The files of one are damaged.
        """
        first, second = self.find(a), self.find(b)
        results = [self._load(entry) if entry.is_whole else None for entry in (first, second)]
        return diff_of(first, second, results[0], results[1])

    def _load(self, entry: RunEntry) -> Result:
        folder = self._folder(entry)
        result = Result.load(folder)
        if entry.kind == "live":
            result.sources = _code_in(folder.parent / SOURCE)
        return result

    def _places(self) -> Iterator[str]:
        """Yield where there are live runs and saved results, as seen from the folder."""
        try:
            if not self.path.is_dir():
                raise DataError(f"there is no folder of runs {self.path}; `quantkit backtest` makes one")
            for folder in _folders_in(self.path, _DEPTH):
                yield folder.relative_to(self.path).as_posix()
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read: {first_line(error)}") from error


def _are_equal(a: RunEntry, b: RunEntry) -> bool:
    """Return whether two entries are one run, or one and its repetition."""
    return a.id == b.id or (a.identity == b.identity and a.kind == b.kind and bool(a.hash))


def _folders_in(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the folders of live runs and saved results, and those below it that cannot be read.

    Links are not followed, what is being saved is none, and what goes away meanwhile is not there.
    """
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith(PARTIAL) or path.is_symlink() or not path.is_dir():
            continue
        try:
            is_run = (path / ENGINE).is_dir() or (path / MANIFEST).is_file()
            below = [] if is_run or depth <= 1 else [*_folders_in(path, depth - 1)]
        except FileNotFoundError:
            continue
        except OSError:
            is_run, below = True, []  # whose entry says what is wrong
        if is_run:
            yield path
        yield from below


def _merged(lines: list[RunEntry], folders: dict[str, RunEntry], root: Path) -> list[RunEntry]:
    """Return one entry for each run: lines with the folder of their result, and the folders that have no line."""
    found, left = [], dict(folders)
    told = {line.saved_to for line in lines}
    # Identities take long to write, and most runs have a hash that no other has.
    untold: dict[str, list[str]] = defaultdict(list)
    for each, kept in folders.items():
        if each not in told and kept.kind == "backtest" and kept.is_whole:
            untold[kept.hash].append(each)
    for line in reversed(lines):  # of equal runs the newest is the one that was saved
        place = line.saved_to
        if place is None:
            equal = (each for each in untold.get(line.hash, ()) if each in left)
            place = next((each for each in equal if folders[each].identity == line.identity), None)
        if place is not None and place in left and left[place].hash == line.hash:
            del left[place]
            line = msgspec.structs.replace(line, saved_to=place, is_whole=True, id=_name_of(place))
        elif place is not None and place not in folders and _hash_in(root / place) == line.hash:
            line = msgspec.structs.replace(line, is_whole=True)
        found.append(line)
    found.reverse()
    return [*(msgspec.structs.replace(kept, id=kept.id or _name_of(place)) for place, kept in left.items()), *found]


def _code_in(folder: Path) -> dict[str, bytes]:
    """Return the copies of a strategy's code in a live run's folder, by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _hash_in(folder: Path) -> str | None:
    """Return the hash of a saved result, None where there is none."""
    try:
        found = read_manifest(folder).get("hash")
    except (DataError, ValueError):  # an index may name what can be no path
        return None
    return found if isinstance(found, str) else None


def _name_of(place: str) -> str:
    """Return the name of a result's folder as an id, empty for one that is not right below the folder of runs."""
    return "" if "/" in place else place


def _named(runs: list[RunEntry]) -> Iterator[RunEntry]:
    """Yield the runs, each with an id: other runs that came to the same hash have a number behind it."""
    seen: dict[str, list[RunEntry]] = {}
    for entry in runs:
        name = entry.id or entry.hash[:ID_DIGITS]
        if not entry.id:
            known = seen.setdefault(name, [])
            number = next((i for i, other in enumerate(known) if other.identity == entry.identity), len(known))
            if number == len(known):
                known.append(entry)
            name += f"-{number + 1}" if number else ""
        yield msgspec.structs.replace(entry, id=name)
