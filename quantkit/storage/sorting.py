"""Rows of stored files in the order that they should have: which of them are out of order or doubled, and the rest.

A double equals another row in every column, both stamps included, and is known to be the same: it has the same id
(trades, book updates, candles), or it only says again what the row before it said (everything else). Trades and book
updates without an id may be alike and different, so they are never doubles.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.errors import DataError
from quantkit.events import EVENT_KINDS
from quantkit.rows.columns import KIND_COLUMNS, Block, Column, Stream, offsets_of
from quantkit.storage.files import DataFile, RowGroup, row_groups
from quantkit.storage.manifest import FileEntry
from quantkit.storage.root import Root

#: What tells one row from another, by kind; 0 is no id.
_IDS: Final = {"trade": "trade_id", "book": "update_seq", "candle": "open_ns"}
_BLOCK_ROWS: Final = 131_072
#: Decoded row groups that are kept at hand: a row out of order is seldom far from its place.
_GROUPS_HELD: Final = 4

_Rows = NDArray[np.int64]
_Mask = NDArray[np.bool_]


class RowFaults(NamedTuple):
    """What keeps the rows of some files from being read, or counts twice.

    Attributes:
        rows: How many there are.
        out_of_order: How many come before the row that they stand behind.
        doubles: How many equal another one.
        contradicting: How many share their id with a row of another file, and differ from it.
        unnumbered: How many have no id where others of the kind have, in files that overlap.
    """

    rows: int
    out_of_order: int
    doubles: int
    contradicting: int = 0
    unnumbered: int = 0


def is_in_order(root: Root, entry: FileEntry) -> bool:
    """Return whether a file's rows are in order and without doubles, in a memory of two row groups.

    Raises:
        DataError: The file is damaged.
    """
    held: Block | None = None
    last = (-(2**63), -1)
    for group in row_groups(DataFile(root, entry, verify_digest=True), in_order=False):
        received, seq = group.received_ns, group.column("seq")
        if (int(received[0]), int(seq[0])) <= last or _steps_back(received, seq).any():
            return False
        last = int(received[-1]), int(seq[-1])
        block = Block(entry.stream, len(received), {"received_ns": received}, group.column)
        joined = block if held is None or held.column("received_ns")[-1] != received[0] else Block.concat([held, block])
        if _doubles(joined).any():
            return False
        begin = int(np.searchsorted(received, received[-1]))
        # Of the last stamp, whose rows may go on in the next row group.
        held = block.slice(begin, block.size)
    return True


def ordered_blocks(root: Root, entry: FileEntry) -> Iterator[Block]:
    """Yield a file's rows in order and without doubles, one row group at a time where they are so already.

    Raises:
        DataError: The file is damaged.
    """
    if not is_in_order(root, entry):
        yield from SortedRows(root, [entry]).blocks()
        return
    for group in row_groups(DataFile(root, entry)):
        yield Block(entry.stream, len(group.received_ns), {"received_ns": group.received_ns}, group.column)


class SortedRows:
    """The rows of some files of one stream by stamp, then file, then number in the file, without doubles.

    Memory takes five numbers a row, for stamps and ids, and a few row groups.

    Args:
        root: Where they lie.
        entries: Their lines, in the manifest's order; at least one.

    Raises:
        DataError: A file is damaged.
    """

    def __init__(self, root: Root, entries: Sequence[FileEntry]) -> None:
        self.stream = entries[0].stream
        self._files = [DataFile(root, entry, verify_digest=True) for entry in entries]
        self._groups = [(file, index) for file in self._files for index in range(file.group_count)]
        sizes = [file.group_rows(index) for file, index in self._groups]
        self._first_rows: _Rows = np.concatenate(([0], np.cumsum(np.array(sizes, np.int64))))
        self._held: OrderedDict[int, RowGroup] = OrderedDict()
        received, seq = self._whole("received_ns"), self._whole("seq")
        self._whose: _Rows = np.repeat(np.arange(len(entries)), [entry.rows for entry in entries])
        back = _steps_back(received, seq)
        is_border = self._whose[1:] != self._whose[:-1]
        back[is_border] = received[1:][is_border] < received[:-1][is_border]
        self._out_of_order = int(back.sum())
        self._order: _Rows = np.lexsort((seq, self._whose, received))
        self._received = received[self._order]

    def faults(self) -> RowFaults:
        """Look at every row, and return what is wrong."""
        doubles = across = 0
        for block, whose in self._blocks():
            double, shared = _doubles(block), _doubles(block, whose)
            doubles += int(double.sum())
            across += int((double & ~shared).sum())
        contradicting, unnumbered = self._overlap(across) if len(self._files) > 1 else (0, 0)
        return RowFaults(len(self._order), self._out_of_order, doubles, contradicting, unnumbered)

    def blocks(self) -> Iterator[Block]:
        """Yield the rows, without `seq`, which is counted anew where they are written."""
        for block, _ in self._blocks():
            double = _doubles(block)
            yield _picked(block, np.flatnonzero(~double)) if double.any() else block

    def _overlap(self, across: int) -> tuple[int, int]:
        name = _IDS.get(self.stream.kind)
        if name is None:
            return 0, 0
        ids = self._whole(name)
        shared = -len(np.unique(ids[ids != 0]))
        for number in range(len(self._files)):
            own = ids[self._whose == number]
            shared += len(np.unique(own[own != 0]))
        return max(0, shared - across), int((ids == 0).sum())

    def _whole(self, name: str) -> Column:
        parts = [file.column(index, name) for file, index in self._groups]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _blocks(self) -> Iterator[tuple[Block, _Rows]]:
        """Yield the rows in order, doubles included, with the number of each one's file; no stamp is divided."""
        start = 0
        while start < len(self._order):
            stop = start + _BLOCK_ROWS
            if stop < len(self._order):
                stop = int(np.searchsorted(self._received, self._received[stop - 1], "right"))
            rows = self._order[start:stop]
            yield self._gathered(rows), self._whose[rows]
            start = stop

    def _gathered(self, rows: _Rows) -> Block:
        groups = np.searchsorted(self._first_rows, rows, "right") - 1
        parts, places = [], []
        for number in np.unique(groups).tolist():
            inside = np.flatnonzero(groups == number)
            group = self._group(number)
            whole = Block(self.stream, len(group.received_ns), {}, group.column)
            parts.append(_picked(whole, rows[inside] - int(self._first_rows[number])))
            places.append(inside)
        back = np.argsort(np.concatenate(places))
        return _picked(Block.concat(parts), back)

    def _group(self, number: int) -> RowGroup:
        if number not in self._held:
            file, index = self._groups[number]
            self._held[number] = RowGroup(file, index, in_order=False)
            if len(self._held) > _GROUPS_HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(number)
        return self._held[number]


def _steps_back(received: Column, seq: Column) -> _Mask:
    """Return which rows but the first do not follow the one before them."""
    back: _Mask = (received[1:] < received[:-1]) | ((received[1:] == received[:-1]) & (seq[1:] <= seq[:-1]))
    return back


def _doubles(block: Block, whose: _Rows | None = None) -> _Mask:
    """Return which rows, sorted, equal an earlier one; with `whose`, only rows of the same number."""
    double = np.zeros(block.size, np.bool_)
    received, name = block.column("received_ns"), _IDS.get(block.stream.kind)
    same = received[1:] == received[:-1]
    if not same.any():
        return double
    rows = np.flatnonzero(np.append(same, False) | np.append(False, same))
    if name is not None:
        ids = block.column(name)
        rows = rows[ids[rows] != 0]
        keys = [received[rows], ids[rows]] if whose is None else [received[rows], ids[rows], whose[rows]]
        rows = rows[np.lexsort(keys[::-1])]
        if not _equal_neighbours(block, (name, "received_ns"), rows).any():
            return double
        # Equal rows stand side by side once every number counts.
        numbers = [block.column(each)[rows] for each in _numbers_of(block.stream)]
        rows = rows[np.lexsort([*numbers, *([] if whose is None else [whose[rows]]), ids[rows], received[rows]])]
    before, after = rows[:-1], rows[1:]
    equal = _equal_neighbours(block, ("received_ns", "exchange_ns", *KIND_COLUMNS[block.stream.kind]), rows)
    if name is None:
        equal &= after == before + 1
    if whose is not None:
        equal &= whose[after] == whose[before]
    double[after[equal]] = True
    return double


def _equal_neighbours(block: Block, names: Sequence[str], rows: _Rows) -> _Mask:
    """Return which of some rows, but the first, equal the one before among them in some columns."""
    flat = _flat_of(block.stream)
    offsets = set(flat.values())
    equal = np.ones(max(len(rows) - 1, 0), np.bool_)
    for name in names:
        if not equal.any():
            break
        column = block.column(name)
        if name in offsets:
            lengths = np.diff(column)[rows]
            equal &= lengths[1:] == lengths[:-1]
        elif name in flat:
            edges = block.column(flat[name])
            for place in np.flatnonzero(equal).tolist():
                one, other = (column[edges[row] : edges[row + 1]] for row in rows[place : place + 2].tolist())
                equal[place] = np.array_equal(one, other)
        else:
            values = column[rows]
            alike = values[1:] == values[:-1]
            if column.dtype == np.float64:
                alike |= np.isnan(values[1:]) & np.isnan(values[:-1])
            equal &= alike
    return equal


def _picked(block: Block, rows: _Rows) -> Block:
    """Return some rows of a block, in the order given."""
    flat = _flat_of(block.stream)
    offsets = set(flat.values())
    columns: dict[str, Column] = {}
    for name in ("received_ns", "exchange_ns", *KIND_COLUMNS[block.stream.kind]):
        column = block.column(name)
        if name in offsets:
            columns[name] = np.concatenate(([0], np.cumsum(np.diff(column)[rows])))
        elif name in flat:
            edges, new = block.column(flat[name]), columns[flat[name]]
            shift = np.repeat(edges[:-1][rows] - new[:-1], np.diff(new))
            columns[name] = column[shift + np.arange(int(new[-1]))]
        else:
            columns[name] = column[rows]
    return Block(block.stream, len(rows), columns)


def _flat_of(stream: Stream) -> dict[str, str]:
    """Return the offsets of columns of levels, by column."""
    return {field.name: offsets_of(field) for field in EVENT_KINDS[stream.kind].fields if field.type == "levels"}


def _numbers_of(stream: Stream) -> list[str]:
    fields = EVENT_KINDS[stream.kind].fields
    return ["exchange_ns", *(field.name for field in fields if field.type not in ("levels", "text"))]


def overlapping(entries: Sequence[FileEntry]) -> list[list[FileEntry]]:
    """Return a stream's files in groups: those of one group share time, those of different ones do not.

    Args:
        entries: Of one stream, in the manifest's order.
    """
    groups: list[list[FileEntry]] = []
    last_ns = last_open_ns = -(2**63)
    for entry in entries:
        opens = entry.span(opens=True)
        if groups and (entry.first_ns <= last_ns or (entry.first_open_ns is not None and opens[0] <= last_open_ns)):
            groups[-1].append(entry)
        else:
            groups.append([entry])
        last_ns, last_open_ns = max(last_ns, entry.last_ns), max(last_open_ns, opens[1])
    return groups


def refused(faults: RowFaults, stream: Stream) -> DataError | None:
    """Return why rows cannot be put in order without a choice between them, None where they can."""
    if faults.contradicting:
        return DataError(
            f"{stream}: {faults.contradicting:,} rows of files that overlap share an id and differ; keep one file"
        )
    if faults.unnumbered:
        return DataError(
            f"{stream}: files overlap and {faults.unnumbered:,} rows have no id to tell doubles by; keep one file"
        )
    return None
