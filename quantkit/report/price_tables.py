"""Price paths beside a saved result: a Parquet table for each traded instrument, or the recording of a live run.

The manifest has them under `prices`, with digests of their own: loading a result reads none of them.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from quantkit.engine.outcome import Outcome
from quantkit.errors import DataError
from quantkit.instruments import Instrument
from quantkit.orderbook import Book
from quantkit.report.price_feeds import RecordedPrices
from quantkit.report.prices import NoPrices, PriceRows, Prices, PriceSource, traded
from quantkit.rows.columns import Stream
from quantkit.storage.root import Root, first_line

#: What is read and written at once.
_GROUP_ROWS: Final = 131_072
_OHLC: Final = ("open", "high", "low", "close")


class SavedTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One instrument's table."""

    instrument: str
    file: str
    rows: int
    sha256: str


class SavedRecording(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A live run's recording, beside the folder of its result: the digests of its files by path."""

    folder: str
    files: dict[str, str]


class SavedPrices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a manifest says of prices: tables, why traded instruments have none, or where the recording lies."""

    tables: list[SavedTable] = []
    missing: dict[str, str] = {}
    recording: SavedRecording | None = None


def write(part: Path, target: Path, prices: Prices, outcome: Outcome) -> SavedPrices:
    """Write the price paths of the traded instruments, a few rows at a time.

    Args:
        part: Folder to write into; the files are not synced.
        target: Where that folder will be in the end.
        prices: The paths.
        outcome: The run's records.

    Raises:
        OSError, ArrowException: The disk refuses.
    """
    if prices.recording is not None and _lies_beside(prices.recording.folder, target):
        files = prices.recording.files_of(prices.streams.values())
        return SavedPrices(recording=SavedRecording(f"../{prices.recording.folder.name}", files))
    tables: list[SavedTable] = []
    missing: dict[str, str] = {}
    for name in traded(outcome):
        file = part / f"prices-{len(tables)}.parquet"
        why = prices.reason(name)
        if not why:
            try:
                rows = _write_table(file, prices.streams[name], prices.chunks(name))
            except DataError as error:  # what is read may change under the hand
                file.unlink(missing_ok=True)
                why = str(error)
            else:
                tables.append(SavedTable(name, file.name, rows, _digest(file)))
        if why:
            missing[name] = why
    return SavedPrices(tables, missing)


def _lies_beside(folder: Path, target: Path) -> bool:
    """Return whether a recording and a result lie in one folder, the run's."""
    return folder.resolve().parent == target.resolve().parent


def _write_table(file: Path, stream: Stream, chunks: Iterator[PriceRows]) -> int:
    """Write rows as they come, and return how many."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = _columns(stream)
    schema = pa.schema(
        [pa.field("time_ns", pa.int64(), False), *(pa.field(name, pa.float64(), False) for name in names)]
    )
    rows, waiting, held = 0, list[PriceRows](), 0
    with pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=list(names),
        column_encoding={"time_ns": "DELTA_BINARY_PACKED"},
        write_page_checksum=True,
        sorting_columns=[pq.SortingColumn(0)],
    ) as writer:

        def put() -> None:
            whole = PriceRows.joined(stream, waiting)
            columns = [whole.time_ns, *(getattr(whole, _ATTRIBUTES[name]) for name in names)]
            writer.write_table(pa.table(columns, schema=schema), row_group_size=_GROUP_ROWS)

        for chunk in chunks:
            waiting.append(chunk)
            held += len(chunk)
            rows += len(chunk)
            if held >= _GROUP_ROWS:
                put()
                waiting, held = [], 0
        if held or not rows:
            put()
    return rows


#: The attribute of rows that a column has.
_ATTRIBUTES: Final = {**{name: name for name in _OHLC}, "price": "close"}


def _columns(stream: Stream) -> tuple[str, ...]:
    """Return the columns of a stream's table, beside its stamps."""
    return _OHLC if stream.kind == "candle" else ("price",)


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


# Reading ------------------------------------------------------------------------------------------------------------


def read(
    folder: Path, manifest: Mapping[str, Any], instruments: Mapping[str, Instrument], outcome: Outcome
) -> PriceSource:
    """Return the price paths of a saved result; nothing of them is opened before somebody asks.

    Args:
        folder: The result's.
        manifest: Its manifest, whose prices are well formed.
        instruments: As at the run's start.
        outcome: The run's records.
    """
    if "prices" not in manifest:
        return NoPrices("an older quantkit saved this result without prices; run it again and save it to have them")
    saved = msgspec.convert(manifest["prices"], SavedPrices)
    if saved.recording is None:
        return TablePrices(folder, saved)
    beside, name = saved.recording.folder[:3], saved.recording.folder[3:]
    if beside != "../" or name in ("", "..") or Path(name).name != name:
        return NoPrices(f"{folder}: the recording {saved.recording.folder!r} does not lie beside the result")
    recording = Root(folder.resolve().parent / name)
    return RecordedPrices(recording, saved.recording.files, instruments, outcome.start_ns, outcome.end_ns)


class TablePrices(PriceSource):
    """Price paths from the tables of a saved result, of which only the rows asked for are read.

    Args:
        folder: The result's.
        saved: What its manifest says of them.
    """

    def __init__(self, folder: Path, saved: SavedPrices) -> None:
        self._folder = folder
        self._missing = saved.missing
        self._tables = {table.instrument: table for table in saved.tables}
        self._verified: set[str] = set()

    def reason(self, stream: Stream) -> str:
        """Return why a stream has no table, or one that was changed."""
        name = stream.instrument
        if name in self._missing:
            return f"{name}: its prices were not saved: {self._missing[name]}"
        if name not in self._tables:
            return f"{name} was not traded, and a saved result has the prices of what was"
        try:
            self._verify(self._tables[name])
        except DataError as error:
            return str(error)
        return ""

    def chunks(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[PriceRows]:
        """Yield the rows of a span, of the row groups that reach into it."""
        import pyarrow.parquet as pq
        from pyarrow import ArrowException

        table = self._tables[stream.instrument]
        self._verify(table)
        path, names = self._folder / table.file, _columns(stream)
        try:
            with pq.ParquetFile(path, page_checksum_verification=True) as file:
                for group in _groups_within(file.metadata, start_ns, end_ns):
                    columns = file.read_row_group(group, columns=["time_ns", *names], use_threads=False)
                    time_ns, *values = (columns[name].to_numpy() for name in ("time_ns", *names))
                    first, stop = np.searchsorted(time_ns, start_ns, "left"), np.searchsorted(time_ns, end_ns, "right")
                    time_ns, values = time_ns[first:stop], [each[first:stop] for each in values]
                    if stream.kind == "candle":
                        yield PriceRows.of_candles(stream, time_ns, values)
                    else:
                        yield PriceRows.of_prices(stream, time_ns, values[0])
        except (OSError, ArrowException, LookupError) as error:
            raise DataError(f"{path} cannot be read: {first_line(error)}") from error

    def books(self, instrument: str, times_ns: Sequence[int], levels: int) -> list[Book | None]:
        """Return none: a saved result has no books."""
        return [None] * len(times_ns)

    def _verify(self, table: SavedTable) -> None:
        """Compare a table's digest with the manifest's, once.

        Raises:
            DataError: It is missing or was changed.
        """
        if table.file in self._verified:
            return
        path = self._folder / table.file
        if Path(table.file).name != table.file or not path.is_file():
            raise DataError(f"{path} is missing though the manifest lists it; restore it, or run the backtest again")
        try:
            digest = _digest(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {first_line(error)}") from error
        if digest != table.sha256:
            raise DataError(f"{path} was changed after the result was saved; restore it, or run the backtest again")
        self._verified.add(table.file)


def _groups_within(metadata: Any, start_ns: int, end_ns: int) -> Iterator[int]:
    """Yield the row groups whose stamps reach into a span."""
    for group in range(metadata.num_row_groups):
        stamps = metadata.row_group(group).column(0).statistics
        if metadata.row_group(group).num_rows and stamps.max >= start_ns and stamps.min <= end_ns:
            yield group
