"""Rows of one stream within a span, read when they are asked for, in the form that is asked for."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from quantkit.clock import NEVER_NS, iso_of
from quantkit.errors import ConfigError, DataError
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog as StoredCatalog
from quantkit.storage.codec import column_of
from quantkit.storage.dataset import dataset_of, within
from quantkit.storage.files import DataFile
from quantkit.storage.manifest import FileEntry
from quantkit.storage.schema import TABLES, arrow_type

if TYPE_CHECKING:
    import pandas as pd

#: Before every stamp: a span without a start.
EVER_NS: Final = -(2**63)


class Query(ABC):
    """Rows of one stream within a span. Nothing is read before one of its methods is called, and then as often as that.

    Attributes:
        stream: Whose rows they are.
        start_ns, end_ns: The span, UTC nanoseconds; `start_ns <= stamp < end_ns`.
        time: The column of the stamp, and of the index of a frame: `open_ns` of candles, else `received_ns`.
        columns: Their names, `time` first.
    """

    def __init__(self, stream: Stream, start_ns: int, end_ns: int, *, time: str, columns: Sequence[str]) -> None:
        self.stream = stream
        self.start_ns = start_ns
        self.end_ns = end_ns
        self.time = time
        self.columns = (time, *(name for name in columns if name != time))

    def __repr__(self) -> str:
        start = "the beginning" if self.start_ns == EVER_NS else iso_of(self.start_ns)
        end = "the end" if self.end_ns == NEVER_NS else iso_of(self.end_ns)
        return f"<{self.stream} from {start} to {end}: {', '.join(self.columns)}; not read yet, call .pandas()>"

    @abstractmethod
    def arrow(self) -> Any:
        """Return the rows as a `pyarrow.Table`."""

    @abstractmethod
    def scan(self) -> Any:
        """Return the rows as a `pyarrow.dataset.Dataset`: it reads when it is consumed, and what is asked of it alone.

        pyarrow, DuckDB and Polars (`polars.scan_pyarrow_dataset`) take it.
        """

    def pandas(self) -> "pd.DataFrame":
        """Return the rows as a DataFrame on a UTC index of nanoseconds, named as its column; `side` is a category."""
        frame: pd.DataFrame = self.arrow().to_pandas()
        return frame.set_index(self.time)

    def polars(self) -> Any:
        """Return the rows as a `polars.DataFrame`.

        Raises:
            ConfigError: Polars is not installed.
        """
        try:
            import polars
        except ImportError:
            raise ConfigError("Polars is not installed; pip install 'quantkit[polars]'") from None
        return polars.from_arrow(self.arrow())


class StoredQuery(Query):
    """Rows as they are stored.

    Args:
        catalog: Where they lie.
        stream, start_ns, end_ns: As in `Query`.
        columns: The chosen ones; None takes all of the stream's kind.

    Raises:
        ConfigError: The kind has no such column.
    """

    def __init__(
        self, catalog: StoredCatalog, stream: Stream, start_ns: int, end_ns: int, columns: Sequence[str] | None = None
    ) -> None:
        if isinstance(columns, str):  # else each of its letters were a column
            columns = (columns,)
        there = [field.name for field in TABLES[stream.kind]]
        unknown = [name for name in columns or () if name not in there]
        if unknown:
            raise ConfigError(f"{stream}: no column {', '.join(unknown)}; there is {', '.join(there)}")
        time = "open_ns" if stream.kind == "candle" else "received_ns"
        super().__init__(stream, start_ns, end_ns, time=time, columns=there if columns is None else columns)
        self._catalog = catalog

    @property
    def files(self) -> list[FileEntry]:
        """The files with rows of the span."""
        kind = "candle_open" if self.stream.kind == "candle" else self.stream.kind
        return self._catalog.files(self.stream._replace(kind=kind), self.start_ns, self.end_ns - 1)

    def arrow(self) -> Any:
        """Return the rows as a `pyarrow.Table`.

        Row groups outside of the span and columns that are not chosen are not read. Footers are compared with their
        digests and pages with their checksums.

        Raises:
            DataError: A file is missing, damaged, unsorted, or not what the manifest says.
        """
        import pyarrow as pa

        parts = []
        last_ns = EVER_NS
        for entry in self.files:
            file = DataFile(self._catalog.root, entry)
            groups = [group for group in range(file.group_count) if self._meets(file, group)]
            if not groups:
                continue
            table = file.table(groups, self.columns)
            stamps = _stamps(table, self.time)
            if not len(stamps):
                continue
            if stamps[0] < last_ns or (stamps[1:] < stamps[:-1]).any():
                raise DataError(f"{file.where}: {self.time} goes back; `quantkit data check` says where")
            last_ns = int(stamps[-1])
            first, stop = np.searchsorted(stamps, [self.start_ns, self.end_ns], side="left").tolist()
            parts.append(table.slice(first, stop - first))
        if parts:
            # Files say of themselves in their schemas' metadata what the stream says of all.
            return pa.concat_tables([part.replace_schema_metadata() for part in parts])
        types = {field.name: arrow_type(field.type) for field in TABLES[self.stream.kind]}
        return pa.schema([(name, types[name]) for name in self.columns]).empty_table()

    def blocks(self) -> Iterator[Block]:
        """Yield the rows as one block, none without rows; of kinds without levels."""
        table = self.arrow().combine_chunks()
        if len(table):
            types = {field.name: field.type for field in TABLES[self.stream.kind]}
            columns = {name: column_of(table.column(name).chunk(0), types[name]) for name in self.columns}
            yield Block(self.stream, len(table), columns)

    def scan(self) -> Any:
        dataset = dataset_of(self._catalog.root, self.stream.kind, self.files)
        return dataset.filter(within(self.time, self.start_ns, self.end_ns))

    def _meets(self, file: DataFile, group: int) -> bool:
        span = file.stamp_span(group, self.time)
        return span is None or (span[0] < self.end_ns and span[1] >= self.start_ns)


class BuiltQuery(Query):
    """Rows that are computed from stored ones.

    Args:
        stream, start_ns, end_ns, time: As in `Query`.
        columns: All that are computed.
        chosen: The wanted ones; None takes all.
        build: Computes them as a `pyarrow.Table`.

    Raises:
        ConfigError: A chosen column is not computed.
    """

    def __init__(
        self,
        stream: Stream,
        start_ns: int,
        end_ns: int,
        *,
        time: str,
        columns: Sequence[str],
        build: Callable[[], Any],
        chosen: Sequence[str] | None = None,
    ) -> None:
        if isinstance(chosen, str):
            chosen = (chosen,)
        unknown = [name for name in chosen or () if name not in columns]
        if unknown:
            raise ConfigError(f"{stream}: no column {', '.join(unknown)}; there is {', '.join(columns)}")
        super().__init__(stream, start_ns, end_ns, time=time, columns=columns if chosen is None else chosen)
        self._build = build

    def arrow(self) -> Any:
        """Compute the rows and return them as a `pyarrow.Table`."""
        return self._build().select(list(self.columns))

    def scan(self) -> Any:
        """Compute the rows and return them as a `pyarrow.dataset.Dataset` in memory."""
        import pyarrow.dataset as ds

        return ds.dataset(self.arrow())


def _stamps(table: Any, name: str) -> Any:
    """Return a column of stamps as int64."""
    import pyarrow as pa

    column = table.column(name)
    chunks = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return chunks.cast(pa.int64()).to_numpy(zero_copy_only=False)
