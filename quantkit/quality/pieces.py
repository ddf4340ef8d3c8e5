"""Rows under examination: a block with the file that it comes from, and tallies of what is wrong in it."""

from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantkit.quality.findings import PLACES_KEPT, Finding, FindingPlace
from quantkit.rows.columns import Block, Column, Stream

Rows = NDArray[np.int64]
#: Stretches of time as (from, to), rising.
Stretches: TypeAlias = list[tuple[int, int]]


class RowPiece:
    """Further rows of one stream, in order.

    Args:
        block: The rows.
        path: Their file, relative to the root.
        first_row: Number of the first of them in that file.
    """

    __slots__ = ("block", "first_row", "path", "received_ns")

    def __init__(self, block: Block, path: str, first_row: int) -> None:
        self.block = block
        self.path = path
        self.first_row = first_row
        self.received_ns: Column = block.column("received_ns")

    def column(self, name: str) -> Column:
        """Return one column."""
        return self.block.column(name)

    def place(self, row: int) -> FindingPlace:
        """Return where a row is."""
        return FindingPlace(int(self.received_ns[row]), file=self.path, row=self.first_row + row)


class PlaceTally:
    """How often something was found, and where first."""

    __slots__ = ("count", "places")

    def __init__(self) -> None:
        self.count = 0
        self.places: list[FindingPlace] = []

    def add(self, piece: RowPiece, rows: Rows) -> None:
        """Count some rows of a piece, rising."""
        self.count += len(rows)
        room = PLACES_KEPT - len(self.places)
        if room > 0:
            self.places += [piece.place(row) for row in rows[:room].tolist()]

    def add_place(self, place: FindingPlace) -> None:
        """Count one place."""
        self.count += 1
        if len(self.places) < PLACES_KEPT:
            self.places.append(place)

    def finding(self, severity: str, stream: Stream, code: str, what: str) -> Finding:
        """Return the finding; its sentence is given."""
        name = str(stream)
        return Finding(severity, name, what, code, self.count, tuple(self.places), name)

    @property
    def first(self) -> str:
        """The first place as text."""
        return str(self.places[0])


class Check(Protocol):
    """One rule, held against all rows of one stream in pieces."""

    def take(self, piece: RowPiece) -> None:
        """Look at further rows."""
        ...

    def findings(self) -> list[Finding]:
        """Return what was found in all rows taken."""
        ...

    def unverified(self) -> list[str]:
        """Return what these rows cannot show."""
        ...


class StreamFacts:
    """What is known of a stream beside its rows.

    Args:
        stream: The stream.
        lost: Stretches that gap rows tell of, as (from, to), rising.
        watched: Spans over which it was recorded live, as (from, to).
        asked: Spans that a source was asked for, so that it has nothing where there are no rows.
    """

    __slots__ = ("asked", "lost", "stream", "watched")

    def __init__(self, stream: Stream, lost: Stretches, watched: Stretches, asked: Stretches) -> None:
        self.stream = stream
        self.lost = lost
        self.watched = watched
        self.asked = asked

    def is_told(self, from_ns: int, to_ns: int) -> bool:
        """Return whether gap rows tell of a loss within a stretch."""
        return any(begin <= to_ns and end >= from_ns for begin, end in self.lost)

    def is_known(self, from_ns: int, to_ns: int) -> bool:
        """Return whether it is known that a whole stretch has no rows: somebody listened, or a source was asked."""
        return any(begin <= from_ns and end >= to_ns for begin, end in (*self.watched, *self.asked))
