"""Rows on their way to a sealed file: checked, gathered into row groups, and written aside."""

from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from quantkit.clock import NS_PER_MIN, iso_of
from quantkit.errors import DataError
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Column, Stream, offsets_of
from quantkit.storage.checks import RowSource, check_candles, check_order, check_seq, check_snapshots, check_values
from quantkit.storage.codec import normalised, table_of
from quantkit.storage.root import first_line
from quantkit.storage.schema import (
    COMPRESSION_LEVEL,
    GROUP_LEVELS,
    TABLES,
    arrow_schema,
    check_stream,
    folder_of,
    period_end_ns,
    writer_options,
)
from quantkit.storage.staged import HashingFile, Staged

#: A live recorder writes blocks of one row; this many of them are joined before they weigh more than their rows.
_PENDING_BLOCKS: Final = 1_024
#: An exchange's stamp further than this from the receipt says nothing of the span that rows tell of.
_LATENCY_NS_MAX: Final = NS_PER_MIN


class _Stamps(NamedTuple):
    """The stamps of one row."""

    received_ns: int
    exchange_ns: int
    open_ns: int | None

    @property
    def told_ns(self) -> tuple[int, int]:
        """The first and last moment that the row tells of."""
        least, most = self.received_ns - _LATENCY_NS_MAX, self.received_ns + _LATENCY_NS_MAX
        sent_ns = self.exchange_ns if least <= self.exchange_ns <= most else self.received_ns
        opened_ns = self.received_ns if self.open_ns is None else self.open_ns
        return min(self.received_ns, sent_ns, opened_ns), max(self.received_ns, sent_ns)


class LeftOut(NamedTuple):
    """Rows that must not be stored, while those around them are.

    Attributes:
        stream: Theirs.
        rows: How many.
        holes: First and last `received_ns` of the spans of which the stream now lacks them.
        error: Why.
    """

    stream: Stream
    rows: int
    holes: list[tuple[int, int]]
    error: DataError


class PartFile:
    """One Parquet file being written: row groups of a fixed number of rows, however the rows arrive."""

    def __init__(
        self, stream: Stream, path: Path, folder: str, row_group_rows: int, *, level: int = COMPRESSION_LEVEL
    ) -> None:
        import pyarrow.parquet as pq

        self.stream = stream
        self._path = path
        self._folder = folder
        self._row_group_rows = row_group_rows
        self._pending: list[Block] = []
        self._pending_rows = 0
        self._pending_levels = 0
        self._rows = 0
        self._first: _Stamps | None = None
        self._last = _Stamps(0, 0, None)
        self._sink = HashingFile(path)
        sink: Any = self._sink  # pyarrow takes any object that writes, whatever its annotations say.
        self._parquet = pq.ParquetWriter(sink, arrow_schema(stream), **writer_options(stream.kind, level))

    def append(self, block: Block) -> None:
        """Add rows that follow on, at least one, normalised and checked."""
        if self._first is None:
            self._first = _stamps_of(block, 0)
        self._last = _stamps_of(block, -1)
        self._rows += block.size
        self._pending.append(block)
        self._pending_rows += block.size
        self._pending_levels += _levels_of(block)
        if self._pending_rows >= self._row_group_rows or self._pending_levels >= GROUP_LEVELS:
            self._write_full_groups()
        elif len(self._pending) >= _PENDING_BLOCKS:
            self._pending = [_copied(Block.concat(self._pending))]

    def finish(self) -> Staged:
        """Write what is left, seal the file and say what it holds."""
        if self._pending:
            self._parquet.write_table(table_of(Block.concat(self._pending)))
        self._pending = []
        self._parquet.close()
        seal = self._sink.seal()
        assert self._first is not None, "a part file is opened for rows"
        return Staged(
            file=self._path,
            folder=self._folder,
            stream=self.stream,
            rows=self._rows,
            first_ns=self._first.received_ns,
            last_ns=self._last.received_ns,
            first_open_ns=self._first.open_ns,
            last_open_ns=self._last.open_ns,
            told_ns=(self._first.told_ns[0], self._last.told_ns[1]),
            seal=seal,
        )

    def discard(self) -> None:
        """Close the file; its folder is about to be deleted."""
        if self._sink.closed:
            return
        # The disk that made the run fail may be full still, and nobody will read this file.
        with suppress(OSError):
            self._parquet.close()
        # Or pyarrow tries once more when the object is collected, and complains where nobody can catch it.
        self._parquet.is_open = False
        self._sink.abandon()

    def _write_full_groups(self) -> None:
        block = Block.concat(self._pending)
        start = 0
        while (stop := self._group_end(block, start)) is not None:
            self._parquet.write_table(table_of(block.slice(start, stop)), row_group_size=stop - start)
            start = stop
        rest = block.slice(start, block.size)
        # A copy, so that the rows already written can be let go.
        self._pending = [_copied(rest)] if rest.size else []
        self._pending_rows = rest.size
        self._pending_levels = _levels_of(rest)

    def _group_end(self, block: Block, start: int) -> int | None:
        stop = start + self._row_group_rows
        if block.stream.kind == "book":
            levels = block.column("bid_start") + block.column("ask_start")
            # Levels end a group at the same row however the rows arrived, so that equal rows give equal files.
            by_levels = int(np.searchsorted(levels, int(levels[start]) + GROUP_LEVELS, side="left"))
            stop = min(stop, max(by_levels, start + 1))
        return stop if stop <= block.size else None


def _stamps_of(block: Block, row: int) -> _Stamps:
    opened = int(block.column("open_ns")[row]) if block.stream.kind == "candle" else None
    return _Stamps(int(block.column("received_ns")[row]), int(block.column("exchange_ns")[row]), opened)


def _levels_of(block: Block) -> int:
    if block.stream.kind != "book" or not block.size:
        return 0
    return int(block.column("bid_start")[-1]) + int(block.column("ask_start")[-1])


def _copied(block: Block) -> Block:
    names = (*STAMPS, *KIND_COLUMNS[block.stream.kind])
    return Block(block.stream, block.size, {name: block.column(name).copy() for name in names})


class Spool:
    """One stream's rows within a commit, split into a file for each UTC day or month, as `schema.MONTHLY` says.

    Args:
        stream: Whose rows they are.
        folder: Staging folder. stem: how this stream's files there begin.
        row_group_rows: Rows of each row group but a file's last.
    """

    def __init__(self, stream: Stream, folder: Path, stem: str, row_group_rows: int) -> None:
        check_stream(stream)
        self._stream = stream
        self._staging = folder
        self._stem = stem
        self._row_group_rows = row_group_rows
        self._part: PartFile | None = None
        self._part_end_ns = 0
        self._done: list[Staged] = []
        self._rows = 0
        self._last: dict[str, int] = {}

    def add(self, block: Block) -> list[tuple[int, int]]:
        """Check rows and write them aside.

        Returns:
            First stamp (`received_ns`) and, for candles, `open_ns` of every file that was begun (else equal).

        Raises:
            DataError: A row must not be stored; none of the block is then.
        """
        if not block.size:
            return []
        block = self._checked(normalised(block))
        stamps = block.column("open_ns" if self._stream.kind == "candle" else "received_ns")
        begun = []
        start = 0
        while start < block.size:
            if self._part is None or stamps[start] >= self._part_end_ns:
                self._begin(int(stamps[start]))
                begun.append((int(block.column("received_ns")[start]), int(stamps[start])))
            stop = int(np.searchsorted(stamps, self._part_end_ns, side="left"))
            assert self._part is not None, "a part was just begun"
            self._part.append(block.slice(start, stop))
            start = stop
        self._rows += block.size
        return begun

    def add_sound(self, block: Block) -> list[LeftOut]:
        """Write the rows aside that may be stored, and return the others, each by itself."""
        try:
            self.add(block)
        except DataError as error:
            # A block that is refused has changed nothing, so its halves can be tried.
            if block.size > 1:
                half = block.size // 2
                return self.add_sound(block.slice(0, half)) + self.add_sound(block.slice(half, block.size))
            received_ns = int(block.column("received_ns")[0])
            return [LeftOut(self._stream, 1, [(received_ns, received_ns)], error)]
        return []

    def finish(self) -> list[Staged]:
        """Seal the last file and return all of them, in time order."""
        if self._part is not None:
            self._done.append(self._part.finish())
            self._part = None
        return self._done

    def discard(self) -> None:
        """Close what is open."""
        if self._part is not None:
            self._part.discard()

    def _begin(self, stamp_ns: int) -> None:
        if self._part is not None:
            self._done.append(self._part.finish())
        path = self._staging / f"{self._stem}-{len(self._done)}.parquet"
        self._part = PartFile(self._stream, path, folder_of(self._stream, stamp_ns), self._row_group_rows)
        self._part_end_ns = period_end_ns(self._stream.kind, stamp_ns)

    def _checked(self, block: Block) -> Block:
        received = block.column("received_ns")
        rows = RowSource(str(self._stream), received, self._rows)
        columns: dict[str, Column] = {}
        check_order(received, rows)
        last = self._last
        if last and received[0] < last["received_ns"]:
            raise rows.error(
                0, f"received_ns goes back from {iso_of(last['received_ns'])}; write a stream's rows in order"
            )
        for field in TABLES[self._stream.kind]:
            columns[field.name] = self._seq(block, rows) if field.name == "seq" else block.column(field.name)
            starts = None
            if field.type == "levels":
                name = offsets_of(field)
                starts = columns[name] = block.column(name)
            check_values(self._stream.kind, field.name, columns[field.name], rows, starts)
        block = Block(self._stream, block.size, columns)
        if self._stream.kind == "candle":
            check_candles(block, rows)
            if last and columns["open_ns"][0] <= last["open_ns"]:
                opened = iso_of(int(columns["open_ns"][0]))
                raise rows.error(0, f"the candle opens at {opened}, not after the one before it")
        elif self._stream.kind == "book":
            check_snapshots(columns, rows)
        self._last = {name: int(columns[name][-1]) for name in ("received_ns", "seq", "open_ns") if name in columns}
        return block

    def _seq(self, block: Block, rows: RowSource) -> Column:
        received = block.column("received_ns")
        following = self._last["seq"] + 1 if self._last else 0
        try:
            seq = block.column("seq")
        except KeyError:
            return np.arange(following, following + block.size, dtype=np.int64)
        check_seq(seq, received, rows)
        # A block that counts from its own zero goes on from where the one before it ended.
        return seq + (following - seq[0]) if self._last and seq[0] < following else seq


def disk_error(stream: Stream, error: OSError) -> DataError:
    """Return the error for a disk that refused a stream's rows."""
    return DataError(f"{stream}: rows cannot be written: {first_line(error)}; free space and write them again")
