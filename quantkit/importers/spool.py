"""Blocks between foreign files and the data folder, kept on disk to bound memory."""

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Final, NamedTuple

import numpy as np

from quantkit.importers.merging import Origin
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Column, Stream

_TEXT_COLUMNS: Final = frozenset(("channel", "cause", "source"))


class SpoolKey(NamedTuple):
    """One channel's version of a stream; a source may send a stream over several channels."""

    stream: Stream
    channel: str = ""


class _SpooledColumn(NamedTuple):
    """A column as it lies in the file."""

    name: str
    dtype: np.dtype[Any]
    size: int


class _Place(NamedTuple):
    """Where a block lies in the file, and what is not there since it follows from the rest.

    Attributes:
        offset: Of its first column.
        size: Its rows.
        origin: Where they were read.
        kept: Its columns, one behind the other.
        first_seq: The first `seq` of rows that are numbered one by one; None where `seq` is kept.
        has_one_clock: Whether every exchange's stamp is that of the receipt, and is not kept.
    """

    offset: int
    size: int
    origin: Origin | None
    kept: tuple[_SpooledColumn, ...]
    first_seq: int | None
    has_one_clock: bool


class ImportSpool:
    """A temporary file of blocks; a context manager, since an import reads everything before it writes anything."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed with the spool
        self._places: dict[SpoolKey, list[_Place]] = {}
        self._end = 0

    def __enter__(self) -> "ImportSpool":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    @property
    def keys(self) -> list[SpoolKey]:
        """The keys that hold rows, in the order of their first block."""
        return list(self._places)

    def rows(self, key: SpoolKey) -> int:
        """Return how many rows a key holds."""
        return sum(place.size for place in self._places.get(key, ()))

    def put(self, key: SpoolKey, block: Block, origin: Origin | None = None) -> None:
        """Append a block to its key; with an origin it may overlap others, and its `seq` is the line of each row."""
        first_seq = _first_of_consecutive(block.column("seq"))
        received_ns, exchange_ns = block.column("received_ns"), block.column("exchange_ns")
        has_one_clock = exchange_ns is received_ns or np.array_equal(exchange_ns, received_ns)
        kept: list[_SpooledColumn] = []
        begin = self._end
        self._file.seek(begin)
        for name in _columns(key.stream):
            if (name == "seq" and first_seq is not None) or (name == "exchange_ns" and has_one_clock):
                continue
            column = block.column(name)
            if name in _TEXT_COLUMNS:
                column = column.astype(np.str_)
            content = np.ascontiguousarray(column).view(np.uint8).data
            self._file.write(content)
            self._end += content.nbytes
            kept.append(_SpooledColumn(name, column.dtype, len(column)))
        place = _Place(begin, block.size, origin, tuple(kept), first_seq, has_one_clock)
        self._places.setdefault(key, []).append(place)

    def blocks(self, key: SpoolKey) -> Iterator[Block]:
        """Yield a key's blocks in the order in which they came."""
        for place in self._places.get(key, ()):
            yield from self._load(key, place)

    def parts(self, key: SpoolKey) -> list[tuple[Origin, Iterator[Block]]]:
        """Return a key's blocks with where they come from, each to be loaded when it is asked for.

        None where all blocks came in order; of some that did beside others that did not, the origin has no file.
        """
        places = self._places.get(key, ())
        if all(place.origin is None for place in places):
            return []
        return [(place.origin or self._bounds(key, place), self._load(key, place)) for place in places]

    def _bounds(self, key: SpoolKey, place: _Place) -> Origin:
        (block,) = self._load(key, place)
        time_ns = block.column("received_ns")
        return Origin("rows of another format", int(time_ns.min()), int(time_ns.max()))

    def _load(self, key: SpoolKey, place: _Place) -> Iterator[Block]:
        self._file.seek(place.offset)
        columns: dict[str, Column] = {}
        for name, dtype, size in place.kept:
            column = np.empty(size, dtype)
            self._file.readinto(column.view(np.uint8).data)
            columns[name] = column.astype(object) if name in _TEXT_COLUMNS else column
        if place.has_one_clock:
            columns["exchange_ns"] = columns["received_ns"]
        if place.first_seq is not None:
            columns["seq"] = np.arange(place.first_seq, place.first_seq + place.size, dtype=np.int64)
        yield Block(key.stream, place.size, columns)


def _first_of_consecutive(seq: Column) -> int | None:
    """Return the first of numbers that rise one by one; None where they do not."""
    if not len(seq) or int(seq[-1]) - int(seq[0]) != len(seq) - 1 or not (seq[1:] > seq[:-1]).all():
        return None
    return int(seq[0])


def _columns(stream: Stream) -> tuple[str, ...]:
    return STAMPS + KIND_COLUMNS[stream.kind]
