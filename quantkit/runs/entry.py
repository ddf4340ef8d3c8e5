"""One run of a folder: what is known of it from its line in the index, its manifest, or the log of a live run."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import msgspec

from quantkit.clock import NS_PER_MS, iso_of
from quantkit.errors import DataError, QuantkitError
from quantkit.live.folder import ENGINE, RESULT
from quantkit.live.journal import Started, Stopped, read_log, span_of
from quantkit.report.archive import MANIFEST, read_manifest
from quantkit.report.text import strategy_of
from quantkit.runs.index import ELSEWHERE, IndexLine, data_digest, place_of_data, without_secrets
from quantkit.storage.segments import segments_in, size_of
from quantkit.storage.tape import has_writer

RunKind: TypeAlias = Literal["backtest", "live"]
RunState: TypeAlias = Literal["finished", "running", "failed", "killed", "damaged"]
#: The digits of a hash that name a run without a folder.
ID_DIGITS: Final = 8
#: A log up to this length is read to its end to tell how its run ended.
_LOG_BYTES: Final = 8 << 20


class RunEntry(IndexLine, frozen=True, kw_only=True):
    """One run; what its line in the index says, or would say.

    Attributes:
        id: Names it: its folder, else the first digits of its hash.
        kind: A backtest or a live run.
        state: Only a finished run has a hash and statistics. `failed`: it ended without a result. `killed`: it did
            not end. `damaged`: its files cannot be read.
        is_whole: Whether there is the whole result, and not its numbers alone.
        at: When it ended; live, when it began. UTC.
        saved_to: The folder of the whole result, as seen from the folder of runs.
        note: Why it is no finished run, one line.
    """

    id: str
    kind: RunKind = "backtest"
    state: RunState = "finished"
    is_whole: bool = False
    note: str = ""

    @property
    def identity(self) -> bytes:
        """What was run and what came out, whenever that was."""
        was_run = [self.strategy, self.digest, self.parameters, self.options, self.data_digest, self.start, self.end]
        return msgspec.json.encode([self.hash, was_run], order="deterministic")


def entry_of_line(line: IndexLine) -> RunEntry:
    """Return the entry of a line, not yet named."""
    return RunEntry(id="", **msgspec.structs.asdict(line))


def entry_of_folder(folder: Path, root: Path) -> RunEntry:
    """Return the entry of a live run or of a saved result, without a look at its tables.

    Args:
        folder: The run's.
        root: The folder of runs.
    """
    is_live = False
    try:
        is_live = (folder / ENGINE).is_dir()
        result = folder / RESULT if is_live else folder
        place = result.relative_to(root).as_posix()
        log = _Log(folder / ENGINE) if is_live else None
        if not (result / MANIFEST).is_file() and log is not None:
            return log.entry(folder.name)
        at_ns = (result / MANIFEST).stat().st_mtime_ns if log is None else log.started.opened_ns
        found = _entry_of_manifest(read_manifest(result), at_ns, place)
        return found if log is None else msgspec.structs.replace(found, id=folder.name, kind="live")
    except (OSError, LookupError, TypeError, ValueError, AttributeError, QuantkitError) as error:
        return _blank(
            id=folder.name, kind="live" if is_live else "backtest", state="damaged", note=_one_line(error), at=""
        )


class _Log:
    """The engine log of a live run, read as far as need be."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        first = next(iter(read_log(folder)), None)
        if not isinstance(first, Started):
            raise DataError(f"{folder}: the engine log does not begin with the start of a run")
        self.started: Final = first

    def entry(self, name: str) -> RunEntry:
        """Return the entry of a run without a result."""
        started = self.started
        start_ns = span_of(started)[0]
        state: RunState = "running" if has_writer(self._folder) else "killed"
        note = "it is under way" if state == "running" else "it was killed, or its result could not be saved"
        stopped = None if state == "running" else self._stopped()
        if stopped is not None:
            state, note = (
                "failed",
                _one_line(stopped.error or f"it ended ({stopped.ended}), and its result is not there"),
            )
        return _blank(
            id=name,
            kind="live",
            state=state,
            note=note,
            at=iso_of(started.opened_ns // NS_PER_MS * NS_PER_MS),
            strategy=started.strategy,
            digest=started.strategy_digest,
            parameters=without_secrets(started.parameters),
            start=iso_of(start_ns),
            versions=started.versions,
        )

    def _stopped(self) -> Stopped | None:
        """Return how the run ended, None where its log does not say so or is too long to be read for that."""
        if sum(map(size_of, segments_in(self._folder))) > _LOG_BYTES:
            return None
        last = None
        for entry in islice(read_log(self._folder), 1, None):
            last = entry
        return last if isinstance(last, Stopped) else None


def _entry_of_manifest(manifest: Mapping[str, Any], at_ns: int, place: str) -> RunEntry:
    config, ledger = manifest["config"], manifest["ledger"]
    stats = manifest.get("stats")
    if stats is None:  # a result of before manifests had them
        start, final = float(ledger["starting_equity"]), float(ledger["equity"])
        stats = {"ended": ledger["ended"], "return_pct": 100 * (final / start - 1) if start > 0 else None}
    span = iso_of(ledger["start_ns"]), iso_of(ledger["end_ns"])
    fields = {
        "strategy": config.get("strategy", ""),
        "digest": config.get("strategy_digest"),
        "parameters": without_secrets(config.get("parameters", {})),
        "data": place_of_data(config.get("data", "")),
        "data_digest": data_digest(config.get("data_files", {}), ledger["rows"]),
        "start": iso_of(config["start_ns"]) if "start_ns" in config else span[0],
        "end": iso_of(config["end_ns"]) if "end_ns" in config else span[1],
        "options": {name: value for name, value in config.items() if name not in ELSEWHERE},
        "hash": manifest["hash"],
        "hash_encoding": manifest["hash_encoding"],
        "stats": {key: value for key, value in stats.items() if key not in ("start", "end")},
        "versions": manifest["versions"],
    }
    # What a manifest says is somebody's word, and is checked as that of a line is.
    at = iso_of(at_ns // NS_PER_MS * NS_PER_MS)
    whole = {**fields, "name": strategy_of(config)[0], "at": at, "saved_to": place, "id": "", "is_whole": True}
    return msgspec.convert(whole, RunEntry)


def _blank(*, strategy: str = "", **fields: Any) -> RunEntry:
    """Return an entry of a run without a hash."""
    empty: dict[str, Any] = {
        "digest": None,
        "parameters": {},
        "data": "",
        "data_digest": "",
        "start": "",
        "end": "",
        "options": {},
        "hash": "",
        "hash_encoding": "",
        "stats": {},
        "saved_to": None,
        "versions": {},
    }
    return RunEntry(strategy=strategy, name=strategy.rpartition(":")[2], **{**empty, **fields})


def _one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]
