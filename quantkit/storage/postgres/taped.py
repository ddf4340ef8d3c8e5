"""Rows of a recorder's tape in a database, before they are in a file: each exactly once.

The table `live` says of each stream which span of rows came from a tape, and which was the last. That line changes in
the transaction of the rows, so that a server or a process may die at any moment: what was committed is not brought
again, and what was not is still on the tape. When the rows have become a file, the file's own line takes over.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from quantkit.rows.columns import Stream
from quantkit.storage.postgres.copying import NumberedBlock, copy_blocks
from quantkit.storage.postgres.database import Database
from quantkit.storage.postgres.tables import DatabaseTable, months_between, name_of, quoted, table_of

if TYPE_CHECKING:
    from psycopg import Connection

_STAGED: Final = "quantkit_live_"


class LiveSpan(NamedTuple):
    """Rows of one stream that came from a tape and are in no file yet, and the last that ever came.

    Attributes:
        from_ns: The first of them; after `to_ns` when all are in files.
        to_ns, to_seq: The last.
    """

    from_ns: int
    to_ns: int
    to_seq: int


class TapedRows:
    """Brings rows in the order of the tape. One at a time works on a tape.

    Args:
        database: Where to.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_hyper = False
        self._spans: dict[Stream, LiveSpan] = {}
        self._made: set[str] = set()  # tables aside, and months that have a partition

    def begin(self, connection: "Connection[Any]") -> None:
        """Look at what is there; with every new connection."""
        self._database.prepare(connection)
        self._is_hyper = self._database.is_hyper(connection)
        self._made.clear()
        self._spans = {
            Stream(*row[:3]): LiveSpan(*row[3:])
            for row in connection.execute(
                "select kind, instrument, interval, from_ns, to_ns, to_seq from quantkit.live"
            )
        }

    def bring(self, connection: "Connection[Any]", numbered: Sequence[NumberedBlock]) -> int:
        """Bring further rows in one transaction, and return how many were not there.

        Raises:
            ConnectionLostError: The server is gone; the same rows may be given again.
            DataError: It refuses them.
        """
        fresh = [left for each in numbered if (left := self._unknown(each)) is not None]
        if not fresh:
            return 0
        by_kind: dict[str, list[NumberedBlock]] = {}
        for each in fresh:
            by_kind.setdefault(each.block.stream.kind, []).append(each)
        made: set[str] = set()
        spans: dict[Stream, LiveSpan] = {}
        count = 0
        with self._database.translated(), connection.transaction():
            self._database.lock(connection)
            for kind, blocks in by_kind.items():
                table = table_of(kind)
                made |= self._make_room(connection, table, blocks)
                count += _insert(connection, table, blocks)
                for each in blocks:
                    # Where a row was there, it came from somewhere else: the file decides.
                    spans[each.block.stream] = self._grown(each)
            for stream, span in spans.items():
                connection.execute(
                    "insert into quantkit.live values (%s, %s, %s, %s, %s, %s) on conflict (kind, instrument, interval)"
                    # What became a file meanwhile has moved the beginning on.
                    " do update set from_ns = greatest(live.from_ns, excluded.from_ns),"
                    " to_ns = excluded.to_ns, to_seq = excluded.to_seq",
                    [*stream, *span],
                )
        self._made |= made
        self._spans |= spans
        return count

    def _unknown(self, numbered: NumberedBlock) -> NumberedBlock | None:
        """Return the rows after the last that is there, None where there are none."""
        block, seq = numbered
        held = self._spans.get(block.stream)
        if held is None:
            return numbered
        stamps = block.column("received_ns")
        first = int(np.count_nonzero((stamps < held.to_ns) | ((stamps == held.to_ns) & (seq <= held.to_seq))))
        return NumberedBlock(block.slice(first, block.size), seq[first:]) if first < block.size else None

    def _grown(self, numbered: NumberedBlock) -> LiveSpan:
        stamps = numbered.block.column("received_ns")
        held = self._spans.get(numbered.block.stream)
        first_ns = int(stamps[0]) if held is None else held.from_ns
        return LiveSpan(first_ns, int(stamps[-1]), int(numbered.seq[-1]))

    def _make_room(
        self, connection: "Connection[Any]", table: DatabaseTable, blocks: Sequence[NumberedBlock]
    ) -> set[str]:
        """Make the tables that are not known to be there, and return what was made sure of."""
        from psycopg import sql

        stamps = [int(each.block.column("received_ns")[end]) for each in blocks for end in (0, -1)]
        months = {f"{table.kind}_{name}" for name, _, _ in months_between(min(stamps), max(stamps))}
        if not months <= self._made:
            self._database.make_room(connection, table, min(stamps), max(stamps), is_hyper=self._is_hyper)
        aside = f"{_STAGED}{table.kind}"
        if aside not in self._made:
            connection.execute(
                sql.SQL(
                    "create temp table if not exists {} on commit delete rows as select {} from {} with no data"
                ).format(sql.Identifier(aside), quoted(*table.names), name_of(table.kind))
            )
        return months | {aside}


def _insert(connection: "Connection[Any]", table: DatabaseTable, blocks: Sequence[NumberedBlock]) -> int:
    from psycopg import sql

    aside = sql.Identifier(f"{_STAGED}{table.kind}")
    copy_blocks(connection, table, aside, blocks)
    return connection.execute(
        sql.SQL("insert into {0} ({1}) select {1} from {2} on conflict do nothing").format(
            name_of(table.kind), quoted(*table.names), aside
        )
    ).rowcount


def live_span(connection: "Connection[Any]", stream: Stream) -> LiveSpan | None:
    """Return which rows of a stream came from a tape, None where none ever did."""
    row = connection.execute(
        "select from_ns, to_ns, to_seq from quantkit.live where kind = %s and instrument = %s and interval = %s",
        list(stream),
    ).fetchone()
    return None if row is None else LiveSpan(*row)


def filed(connection: "Connection[Any]", stream: Stream, until_ns: int) -> None:
    """Take note that a stream's rows up to a moment are in files."""
    connection.execute(
        "update quantkit.live set from_ns = %s where kind = %s and instrument = %s and interval = %s and from_ns <= %s",
        [until_ns + 1, *stream, until_ns],
    )
