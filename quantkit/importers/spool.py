"""Blocks between foreign files and the data folder, kept on disk to bound memory."""

import tempfile
from collections.abc import Iterator
from types import TracebackType
from typing import Final, NamedTuple

import numpy as np

from quantkit.importers.merging import Origin
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Column, Stream

_TEXT_COLUMNS: Final = frozenset(("channel", "cause", "source"))


class SpoolKey(NamedTuple):
    """One channel's version of a stream; a source may send a stream over several channels."""

    stream: Stream
    channel: str = ""


class _Place(NamedTuple):
    offset: int
    size: int
    origin: Origin | None


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
        self._file.seek(self._end)
        for name in _columns(key.stream):
            column = block.column(name)
            if name in _TEXT_COLUMNS:
                column = column.astype(np.str_)
            np.save(self._file, column, allow_pickle=False)
        self._places.setdefault(key, []).append(_Place(self._end, block.size, origin))
        self._end = self._file.tell()

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
        for name in _columns(key.stream):
            column = np.load(self._file, allow_pickle=False)
            columns[name] = column.astype(object) if name in _TEXT_COLUMNS else column
        yield Block(key.stream, place.size, columns)


def _columns(stream: Stream) -> tuple[str, ...]:
    return STAMPS + KIND_COLUMNS[stream.kind]
