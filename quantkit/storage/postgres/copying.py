"""Rows by COPY: blocks of columns as the values that PostgreSQL takes, and the place of each row in its stamp."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from quantkit.rows.columns import SIDES, Block, Column, offsets_of, optional_list
from quantkit.storage.postgres.tables import DatabaseTable, quoted

if TYPE_CHECKING:
    from psycopg import Connection

#: The types of the binary wire, by those of the tables.
_WIRE: Final = {"bigint": "int8", "double precision": "float8", "boolean": "bool", "text": "text"}
_SIDE_WORDS: Final = [str(side) for side in SIDES.tolist()]


class Places:
    """The number of each row among those of its stamp, from 0: the `seq` of a database.

    A file's own numbers change when files are joined, these do not, since rows of one stamp never lie in two files.
    """

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._following = 0

    def of(self, received_ns: Column) -> Column:
        """Return the numbers of a block's rows, which follow on those of the block before; at least one row."""
        count = len(received_ns)
        begins = np.concatenate(([True], received_ns[1:] != received_ns[:-1]))
        index = np.arange(count)
        numbers = index - np.maximum.accumulate(np.where(begins, index, 0))
        if int(received_ns[0]) == self._last_ns:
            numbers[received_ns == received_ns[0]] += self._following
        self._last_ns = int(received_ns[-1])
        self._following = int(numbers[-1]) + 1
        return numbers


class NumberedBlock(NamedTuple):
    """Rows of one stream with the number of each among those of its stamp."""

    block: Block
    seq: Column


def copy_blocks(
    connection: "Connection[Any]", table: DatabaseTable, target: Any, blocks: Iterable[NumberedBlock]
) -> int:
    """Copy rows into a table that has the columns of a kind's, and return how many they were."""
    from psycopg import sql

    copied = 0
    statement = sql.SQL("copy {} ({}) from stdin (format binary)").format(target, quoted(*table.names))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(["float8[]" if name.endswith("[]") else _WIRE[name] for name in table.types])
        for block, seq in blocks:
            for row in zip(*_columns(table, block, seq.tolist()), strict=True):
                copy.write_row(row)
            copied += block.size
    return copied


def _columns(table: DatabaseTable, block: Block, seq: Sequence[int]) -> Iterator[Sequence[Any]]:
    """Yield a block's columns as lists of what psycopg writes."""
    stream = {"instrument": block.stream.instrument, "interval": block.stream.interval}
    for field in table.columns:
        if field.name in stream and field.type == "string":
            yield [stream[field.name]] * block.size
            continue
        if field.name == "seq":
            yield seq
            continue
        column = block.column(field.name)
        match field.type:
            case "optional":
                yield optional_list(column)
            case "side":
                yield [_SIDE_WORDS[side] for side in column.tolist()]
            case "levels":
                flat = column.tolist()
                yield [flat[a:b] for a, b in pairwise(block.column(offsets_of(field)).tolist())]
            case _:
                yield column.tolist()
