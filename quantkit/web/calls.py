"""What the API and the tools for assistants ask for, as plain calls: runs, their numbers and tables, data."""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from quantkit.clock import iso_of
from quantkit.report.archive import MANIFEST
from quantkit.report.result import Result
from quantkit.report.stats import GROUPS, STATS
from quantkit.report.tables import stream_rows
from quantkit.report.text import strategy_of
from quantkit.storage.catalog import Catalog
from quantkit.web.shapes import (
    DataShape,
    NumberShape,
    RunDetail,
    RunPage,
    RunShape,
    TableShape,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

#: Results kept in memory between requests.
_KEPT: Final = 4
_BATCH_ROWS: Final = 16_384
#: The tables of a result that are its attributes.
TABLES: Final = ("orders", "order_events", "fills", "equity", "round_trips", "open_trips", "returns")


class RunFolder(Protocol):
    """A folder of runs."""

    def list(self) -> Sequence[RunShape]:
        """Return the runs, newest first."""
        ...

    def folder(self, run: str) -> Path:
        """Return the folder of the whole result of a run.

        Raises:
            ConfigError: There is no run of that id, or several, or only its numbers were kept.
        """
        ...

    def diff(self, first: str, second: str) -> dict[str, Any]:
        """Return where two runs differ.

        Raises:
            ConfigError: As `folder`.
        """
        ...


class Calls:
    """Answers about a folder of runs and a data folder; may be called from several threads.

    Args:
        runs: The folder of runs.
        data: The data folder.
    """

    def __init__(self, runs: RunFolder, data: Path) -> None:
        self._runs = runs
        self._data = data
        self._results: OrderedDict[tuple[Path, int], Result] = OrderedDict()
        self._lock = threading.Lock()

    # Runs -------------------------------------------------------------------------------------------------------

    def list_runs(self, search: str, limit: int, offset: int) -> RunPage:
        """Return some of the runs in which every word of a search is found, newest first."""
        words = search.casefold().split()
        found = [run for run in self._runs.list() if all(word in _searched(run) for word in words)]
        return RunPage(len(found), found[offset : offset + limit])

    def get_run(self, run: str) -> RunDetail:
        """Return one run.

        Raises:
            ConfigError: There is none of that id, or several, or only its numbers were kept.
            DataError: Its files are damaged.
        """
        folder, result = self._runs.folder(run), self.result(run)
        outcome = result.outcome
        shape = RunShape(
            id=run,
            kind="backtest",
            at="",
            name=strategy_of(result.config)[0],
            parameters=result.config.get("parameters", {}),
            start=iso_of(outcome.start_ns),
            end=iso_of(outcome.end_ns),
            hash=result.hash,
            stats={_stat_name(key): _plain(value) for key, value in result.numbers.items()},
            is_whole=True,
        )
        listed = next((each for each in self._runs.list() if each.id in (run, folder.name)), shape)
        return RunDetail(
            run=msgspec.structs.replace(shape, id=listed.id, kind=listed.kind, at=listed.at),
            assumptions=result.assumptions,
            warnings=result.warnings,
            config=result.config,
            rows={name: len(getattr(result, name)) for name in TABLES},
            prices=[],
        )

    def result(self, run: str) -> Result:
        """Return the whole result of a run.

        Raises:
            ConfigError, DataError: As `get_run`.
        """
        folder = self._runs.folder(run)
        try:
            key = folder, (folder / MANIFEST).stat().st_mtime_ns
        except OSError:
            key = folder, 0
        # Results build their tables when they are first asked for, which two threads must not do at once.
        with self._lock:
            result = self._results.pop(key, None) or Result.load(folder)
            self._results[key] = result
            while len(self._results) > _KEPT:
                self._results.popitem(last=False)
            return result

    def numbers(self, run: str) -> list[NumberShape]:
        """Return the statistics of a run."""
        numbers = self.result(run).numbers
        return [
            NumberShape(stat.key, stat.label, group, stat.form, stat.meaning, _plain(numbers[stat.key]))
            for group, stats in GROUPS.items()
            for stat in stats
        ]

    def table(self, run: str, name: str, offset: int, limit: int) -> TableShape:
        """Return some rows of a table of a run."""
        frame = self._frame(run, name)
        part = frame.iloc[offset : offset + limit]
        columns = {str(column): [_plain(value) for value in part[column].tolist()] for column in part.columns}
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return TableShape(name, len(frame), offset, rows)

    def arrow_table(self, run: str, name: str, offset: int, limit: int | None) -> "pa.Table":
        """Return rows of a table of a run, all from `offset` on unless there is a limit."""
        import pyarrow as pa

        return pa.Table.from_pandas(self._frame(run, name), preserve_index=False).slice(offset, limit)

    @staticmethod
    def arrow_parts(table: "pa.Table") -> Iterator[bytes]:
        """Yield a table as an Arrow IPC stream, a batch at a time."""
        import pyarrow as pa

        sink = _Taken()
        with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), table.schema) as writer:
            for batch in table.to_batches(max_chunksize=_BATCH_ROWS):
                writer.write_batch(batch)
                yield sink.take()
        yield sink.take()

    def compare(self, first: str, second: str) -> dict[str, Any]:
        """Return where two runs differ.

        Raises:
            ConfigError: There is no such run, or several.
        """
        return self._runs.diff(first, second)

    # Data -------------------------------------------------------------------------------------------------------

    def data(self, search: str) -> DataShape:
        """Return the streams of the data folder whose instrument holds a text.

        Raises:
            DataError: There is no data folder.
        """
        rows = stream_rows(Catalog(self._data))
        wanted = search.casefold()
        return DataShape(str(self._data), [row for row in rows if wanted in row.instrument.casefold()])

    # ------------------------------------------------------------------------------------------------------------

    def _frame(self, run: str, name: str) -> "pd.DataFrame":
        result = self.result(run)
        found = getattr(result, name)
        frame: pd.DataFrame = found.to_frame() if name == "returns" else found
        return frame if name in ("round_trips", "open_trips") else frame.reset_index()


class _Taken:
    """A file whose bytes are taken as soon as they are written."""

    closed = False

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: Any) -> int:
        self._parts.append(bytes(part))
        return len(self._parts[-1])

    def flush(self) -> None:
        """Nothing waits."""

    def take(self) -> bytes:
        """Return what was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _searched(run: RunShape) -> str:
    """Return the words of a run that a search looks at."""
    parameters = " ".join(f"{name}={value}" for name, value in run.parameters.items())
    return f"{run.id} {run.kind} {run.name} {parameters} {run.start} {run.end} {run.at} {run.hash}".casefold()


def _stat_name(key: str) -> str:
    """Return the name of a statistic as JSON has it: a duration is in seconds, and says so."""
    return f"{key}_s" if STATS[key].form == "duration" else key


def _plain(value: Any) -> float | int | str | None:
    """Return a value for JSON: moments as ISO text, durations in seconds, nothing for what is no number."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, datetime):
        nanoseconds = getattr(value, "value", None)
        return iso_of(nanoseconds) if isinstance(nanoseconds, int) else value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
