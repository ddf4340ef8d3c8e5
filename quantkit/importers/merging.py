"""Blocks of one stream from several files, put in the order of time, with what two files both hold counted once.

Blocks are taken in the order of their first stamps. Whatever is older than the next block is final, so memory holds
only blocks that overlap.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_S, iso_of
from quantkit.errors import DataError
from quantkit.importers.report import Tally
from quantkit.instruments import plain
from quantkit.rows.columns import KIND_COLUMNS, Block, Column, Stream

#: What makes two rows of a kind the same one: an id where they have one, else all their values; of settlements and of
#: open interest their moment.
_BY_ID: Final = {"trade": "trade_id"}
_BY_TIME: Final = {"funding": "the settlement of", "open_interest": "the open interest of"}


class Origin(NamedTuple):
    """Where the rows of a block were read.

    Attributes:
        file: Its name.
        low_ns, high_ns: First and last stamp.
    """

    file: str
    low_ns: int
    high_ns: int


class Disorder:
    """How far the rows of a file stood from the order of their times."""

    def __init__(self) -> None:
        self.rows = 0
        self.worst_ns = 0
        self._newest_ns = 0

    def look(self, time_ns: NDArray[np.int64]) -> None:
        """Look at the next rows of a file."""
        if not len(time_ns):
            return
        if time_ns[0] >= self._newest_ns and (time_ns[1:] >= time_ns[:-1]).all():
            self._newest_ns = int(time_ns[-1])
            return
        newest = np.maximum.accumulate(time_ns)
        late_ns = np.maximum(newest, self._newest_ns) - time_ns
        self.rows += int((late_ns > 0).sum())
        self.worst_ns = max(self.worst_ns, int(late_ns.max()))
        self._newest_ns = max(self._newest_ns, int(newest[-1]))

    def tell(self, file: str, tally: Tally) -> None:
        """Report the rows that had to be moved."""
        if self.rows:
            tally.warn(
                f"{file}: {self.rows:,} rows stood up to {plain(round(self.worst_ns / NS_PER_S, 3))} s behind rows of "
                "later times; the rows were sorted"
            )


class Merge:
    """Puts the blocks of one stream in order.

    Args:
        stream: Whose rows they are; their `seq` is the line that each was read from.
        tally: Counts rows that two files both hold.
    """

    def __init__(self, stream: Stream, tally: Tally) -> None:
        self._stream = stream
        self._tally = tally
        self._names = tuple(name for name in ("exchange_ns", *KIND_COLUMNS[stream.kind]))
        self._files: list[str] = []
        self._seq = 0

    def blocks(self, parts: Sequence[tuple[Origin, Iterator[Block]]]) -> Iterator[Block]:
        """Yield the rows in order, numbered from 0.

        Args:
            parts: Each block, to be read when it is its turn.

        Raises:
            DataError: Two rows bear one key and different values.
        """
        self._files = sorted({origin.file for origin, _ in parts})
        waiting: list[tuple[int, Block]] = []
        for origin, load in sorted(parts, key=lambda part: part[0].low_ns):
            final = self._final(waiting, origin.low_ns)
            waiting = [(file, block) for file, block in waiting if block.size]
            yield from final
            waiting += [(self._files.index(origin.file), block) for block in load]
        yield from self._final(waiting, None)

    def _final(self, waiting: list[tuple[int, Block]], before_ns: int | None) -> Iterator[Block]:
        """Yield the waiting rows that are older than a moment, and leave the others."""
        ready: list[tuple[int, Block]] = []
        for place, (file, block) in enumerate(waiting):
            time_ns = block.column("received_ns")
            old = block.size if before_ns is None else int(np.count_nonzero(time_ns < before_ns))
            if not old:
                continue
            if old < block.size and (time_ns[1:] >= time_ns[:-1]).all():
                ready.append((file, block.slice(0, old)))
                waiting[place] = (file, block.slice(old, block.size))
            elif old < block.size:
                order = np.argsort(time_ns, kind="stable")
                ready.append((file, self._taken(block, order[:old])))
                waiting[place] = (file, self._taken(block, order[old:]))
            else:
                ready.append((file, block))
                waiting[place] = (file, block.slice(0, 0))
        return self._ordered(ready) if ready else iter(())

    def _taken(self, block: Block, rows: NDArray[np.int64]) -> Block:
        columns = {name: block.column(name)[rows] for name in ("received_ns", "seq", *self._names)}
        return Block(self._stream, len(rows), columns)

    def _ordered(self, parts: list[tuple[int, Block]]) -> Iterator[Block]:
        columns: dict[str, Column] = {}
        for name in ("received_ns", "seq", *self._names):
            arrays = [block.column(name) for _, block in parts]
            columns[name] = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        time_ns = columns["received_ns"]
        key = self._key(columns)
        if not _is_rising(time_ns, key, is_one_file=len({file for file, _ in parts}) == 1):
            file = np.repeat(np.array([file for file, _ in parts]), [block.size for _, block in parts])
            order = np.lexsort((columns["seq"], file, time_ns) if key is None else (columns["seq"], file, key, time_ns))
            columns = {name: column[order] for name, column in columns.items()}
            file = file[order]
            kept = self._kept(columns, file, None if key is None else key[order])
            if not kept.all():
                self._tally.ignore("rows that came before, in another file or the same", int((~kept).sum()))
                columns = {name: column[kept] for name, column in columns.items()}
        size = len(columns["received_ns"])
        columns["seq"] = np.arange(self._seq, self._seq + size, dtype=np.int64)
        self._seq += size
        yield Block(self._stream, size, columns)

    def _key(self, columns: dict[str, Column]) -> Column | None:
        name = _BY_ID.get(self._stream.kind)
        if name is not None and columns[name].any():
            return columns[name]
        return columns["received_ns"] if self._stream.kind in _BY_TIME else None

    def _kept(self, columns: dict[str, Column], file: NDArray[np.int64], key: Column | None) -> NDArray[np.bool_]:
        """Return which of the rows, sorted, are no repetition of another one."""
        if key is None:
            return self._kept_of_files(columns, file)
        time_ns = columns["received_ns"]
        same = (time_ns[1:] == time_ns[:-1]) & (key[1:] == key[:-1]) & (key[1:] != 0)
        for name in self._names:
            column = _bits(columns[name])
            for row in np.flatnonzero(same & (column[1:] != column[:-1])).tolist():
                self._refuse(columns, file, row, name)
        return np.concatenate(([True], ~same))

    def _kept_of_files(self, columns: dict[str, Column], file: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return which rows stay where rows have no id: of equal ones as many as the file has that has most."""
        size = len(file)
        if size < 2 or (file == file[0]).all():
            return np.ones(size, np.bool_)
        values = [_bits(columns[name]) for name in ("received_ns", *self._names)]
        order = np.lexsort((np.arange(size), file, *reversed(values)))
        starts = np.zeros(size, np.bool_)
        starts[0] = True
        for column in values:
            starts[1:] |= column[order][1:] != column[order][:-1]
        group = np.cumsum(starts)
        run = starts | np.concatenate(([True], file[order][1:] != file[order][:-1]))
        run_start = np.maximum.accumulate(np.where(run, np.arange(size), 0))
        rank = np.arange(size) - run_start
        # Of rows with one place among their equals, the first file's stays.
        by_rank = np.lexsort((file[order], rank, group))
        repeated = np.zeros(size, np.bool_)
        same = (group[by_rank][1:] == group[by_rank][:-1]) & (rank[by_rank][1:] == rank[by_rank][:-1])
        repeated[by_rank[1:][same]] = True
        kept = np.ones(size, np.bool_)
        kept[order[repeated]] = False
        return kept

    def _refuse(self, columns: dict[str, Column], file: NDArray[np.int64], row: int, name: str) -> None:
        """Refuse two rows of one key.

        Raises:
            DataError: Always.
        """
        first, second = (f"{self._files[int(file[place])]}:{int(columns['seq'][place])}" for place in (row, row + 1))
        moment = iso_of(int(columns["received_ns"][row]))
        field = _BY_ID.get(self._stream.kind)
        which = f"trade id {int(columns[field][row])}" if field else f"{_BY_TIME[self._stream.kind]} {moment}"
        raise DataError(
            f"{first} and {second} both have {which}, with different values ({name} {columns[name][row]} and "
            f"{columns[name][row + 1]}); import one of the files"
        )


def _is_rising(time_ns: NDArray[np.int64], key: Column | None, *, is_one_file: bool) -> bool:
    """Return whether rows are in order and none can be another's repetition."""
    if (time_ns[1:] < time_ns[:-1]).any():
        return False
    if key is None:
        return is_one_file  # without ids equal rows of one file are two
    rises = key[1:] > key[:-1]
    return bool(rises.all() or (rises | (time_ns[1:] > time_ns[:-1])).all())


def _bits(column: Column) -> Column:
    """Return a column as whole numbers, so that a missing value equals another one."""
    if column.dtype == np.float64:
        return column.view(np.int64)
    return np.unique(column.astype(np.str_), return_inverse=True)[1] if column.dtype == object else column
