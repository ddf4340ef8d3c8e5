"""What the API and the tools for assistants ask for, as plain calls: runs, their numbers and tables, data."""

import math
import threading
from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from quantkit.clock import NS_PER_MS, iso_of
from quantkit.errors import ConfigError
from quantkit.report.archive import MANIFEST
from quantkit.report.downsample import min_max_rows
from quantkit.report.result import Result
from quantkit.report.stats import GROUPS
from quantkit.report.tables import stream_rows
from quantkit.runs.diff import RunDiff
from quantkit.runs.entry import RunEntry
from quantkit.runs.folder import Runs
from quantkit.storage.catalog import Catalog
from quantkit.web.shapes import (
    DataShape,
    EquityLine,
    NumberShape,
    PriceColumns,
    PricedShape,
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


class Calls:
    """Answers about a folder of runs and a data folder; may be called from several threads.

    Args:
        runs: The folder of runs.
        data: The data folder.
    """

    def __init__(self, runs: Runs, data: Path) -> None:
        self._runs = runs
        self._data = data
        self._results: OrderedDict[tuple[Path, int], Result] = OrderedDict()
        self._lock = threading.Lock()

    # Runs -------------------------------------------------------------------------------------------------------

    def list_runs(self, search: str, limit: int, offset: int) -> RunPage:
        """Return some of the runs in which every word of a search is found, newest first.

        Raises:
            DataError: There is no folder of runs, or it cannot be read.
        """
        words = search.casefold().split()
        found = [run for run in self._runs.list() if all(word in _searched(run) for word in words)]
        shown = [_shape_of(run) for run in found[offset : offset + limit]]
        return RunPage(len(found), shown, list(self._runs.notes()))

    def get_run(self, run: str) -> RunDetail:
        """Return one run.

        Raises:
            ConfigError: There is none of that id, or several, or only its numbers were kept.
            DataError: Its files are damaged.
        """
        entry, result = self._runs.find(run), self.result(run)
        prices = result.prices
        return RunDetail(
            run=_shape_of(entry),
            assumptions=result.assumptions,
            warnings=result.warnings,
            config=result.config,
            rows={name: len(getattr(result, name)) for name in TABLES},
            prices=[PricedShape(name, prices.reason(name)) for name in prices.streams],
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
            result = self._results.pop(key, None) or self._runs.load(run)
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

    def compare(self, first: str, second: str) -> RunDiff:
        """Return where two runs differ.

        Raises:
            ConfigError: There is no such run, or several.
            DataError: The files of one are damaged.
        """
        return self._runs.diff(first, second)

    # Pictures ---------------------------------------------------------------------------------------------------

    def report(self, run: str, *, assets: str, api: str) -> bytes:
        """Return the report of a run as a page that asks this server for its rows.

        Args:
            run: The id.
            assets: Where the page finds its files.
            api: Where the operations of this run are.
        """
        from quantkit.report.page.page import render

        return render(self.result(run), mode="served", assets=assets, api=api, home="/")

    def prices(self, run: str, instrument: str, from_ms: int, to_ms: int, buckets: int) -> PriceColumns:
        """Return the price path of an instrument within a span: every row if they are few, else extremes.

        Raises:
            ConfigError, DataError: As `get_run`; or the instrument has no price path.
        """
        from quantkit.report.page.payload import prices_answer

        result = self.result(run)
        known = result.instruments.get(instrument)
        if known is None:
            raise ConfigError(f"{instrument} is no instrument of the run")
        rows = result.prices.rows(instrument, from_ms * NS_PER_MS, to_ms * NS_PER_MS + NS_PER_MS - 1)
        return PriceColumns(len(rows), **prices_answer(rows, known, buckets))

    def equity(self, run: str, buckets: int) -> EquityLine:
        """Return the equity of a run as change since its start, the lowest and the highest of equal stretches."""
        outcome = self.result(run).outcome
        start, curve = float(outcome.starting_equity), outcome.curve
        rows = min_max_rows(curve.equity, buckets=buckets)
        times_ms = curve.time_ns[rows] // NS_PER_MS
        change_pct = 100 * (curve.equity[rows] / start - 1) if start > 0 else curve.equity[rows] * 0
        return EquityLine(times_ms.tolist(), change_pct.tolist())

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


def _shape_of(run: RunEntry) -> RunShape:
    return RunShape(**{name: getattr(run, name) for name in RunShape.__struct_fields__})


def _searched(run: RunEntry) -> str:
    """Return the words of a run that a search looks at."""
    parameters = " ".join(f"{name}={value}" for name, value in run.parameters.items())
    return (
        f"{run.id} {run.kind} {run.state} {run.name} {parameters} {run.start} {run.end} {run.at} {run.hash}".casefold()
    )


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
