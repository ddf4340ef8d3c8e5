"""A data folder's rows into a database: file by file, each exactly once, whatever breaks in between.

A transaction holds a file's rows and its line of the manifest, so a file is there whole or not at all, and one that
is there is passed over. Rows go by COPY; where the database holds rows of the span already, by a table aside, from
which only new keys are taken. A row that differs from the stored one under the same key is never passed over in
silence.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from quantkit.clock import iso_of
from quantkit.errors import DataError
from quantkit.instruments import Instrument
from quantkit.rows.columns import Column, Stream
from quantkit.storage import manifest
from quantkit.storage.catalog import Catalog
from quantkit.storage.manifest import FileEntry, Manifest
from quantkit.storage.postgres.copying import NumberedBlock, Places, copy_blocks
from quantkit.storage.postgres.database import ConnectionLostError, Database
from quantkit.storage.postgres.tables import DatabaseTable, name_of, quoted, table_of
from quantkit.storage.postgres.taped import LiveSpan, filed, live_span
from quantkit.storage.reader import read_blocks
from quantkit.storage.schema import INSTRUMENT_COLUMNS

if TYPE_CHECKING:
    from psycopg import Connection

#: Seconds between tries to reach a server that went away.
_RETRY_S: Final = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
_BLOCK_ROWS: Final = 65_536
_STAGED: Final = "quantkit_rows"


class ExportReport(msgspec.Struct, frozen=True):
    """What an export did.

    Attributes:
        to: The database, without secrets.
        files, rows: How many files were exported, and the rows in them; of rows that were there already too.
        present: How many files of the span were there already.
        replaced: How many stored rows gave way to others.
        reconnects: How often the connection was lost and found again.
    """

    to: str
    files: int
    rows: int
    present: int
    replaced: int
    reconnects: int


#: Called with a file, the bytes that are done and the bytes in all.
Progress = Callable[[FileEntry, int, int], None]


def export(
    catalog: Catalog,
    database: Database,
    *,
    instruments: Collection[str] = (),
    kinds: Collection[str] = (),
    start_ns: int | None = None,
    end_ns: int | None = None,
    replace: bool = False,
    progress: Progress | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> ExportReport:
    """Bring rows of a data folder into a database, with what the folder's manifest says of them.

    Files are exported whole: with a span, each that has rows in it. A lost connection is tried again for a quarter of
    a minute; what is committed by then stays, and the same export goes on from there.

    Args:
        catalog: The folder.
        database: Where to.
        instruments, kinds: Only these; all without.
        start_ns, end_ns: Files with rows in this span, both ends included.
        replace: Let rows of the folder take the place of others that are stored under the same file or key.
        progress: Told of each file.
        pause: Sleeps so many seconds.

    Raises:
        ConnectionLostError: The server cannot be reached.
        DataError: A file is damaged, the server refuses, or stored rows differ and `replace` is off.
    """
    exporter = Exporter(catalog, database, replace=replace)
    chosen = _chosen(catalog, instruments, kinds, start_ns, end_ns)
    total, done, failures, reconnects = sum(entry.size_bytes for entry in chosen), 0, 0, 0
    left = list(chosen)
    while True:
        try:
            with database.connected() as connection:
                exporter.begin(connection)
                while left:
                    exporter.take(connection, left[0])
                    failures = 0
                    done += left[0].size_bytes
                    if progress is not None:
                        progress(left[0], done, total)
                    left.pop(0)
                exporter.finish(connection, chosen, start_ns, end_ns)
            break
        except ConnectionLostError:
            if failures == len(_RETRY_S):
                raise
            pause(_RETRY_S[failures])
            failures += 1
            reconnects += 1
    return ExportReport(
        to=database.described_as,
        files=exporter.files,
        rows=exporter.rows,
        present=exporter.present,
        replaced=exporter.replaced,
        reconnects=reconnects,
    )


def _chosen(
    catalog: Catalog, instruments: Collection[str], kinds: Collection[str], start_ns: int | None, end_ns: int | None
) -> list[FileEntry]:
    wanted = [
        entry
        for entry in catalog.entries
        if entry.kind != "instrument"
        and (not instruments or entry.instrument in instruments)
        and (not kinds or entry.kind in kinds)
    ]
    if (instruments or kinds) and not wanted:
        names = ", ".join(map(str, sorted(catalog.coverage())[:8]))
        raise DataError(f"{catalog.described_as}: nothing of that kind or instrument is there; it has {names}")
    return [
        entry
        for entry in wanted
        if (end_ns is None or entry.first_ns <= end_ns) and (start_ns is None or entry.last_ns >= start_ns)
    ]


class Exporter:
    """Files into a database, one transaction each.

    Attributes:
        files, rows, present, replaced: As in `ExportReport`.
        added: Rows that were not there.
        there: Digests of files that the database holds, as far as they are known; None before the first look.
    """

    def __init__(
        self, catalog: Catalog, database: Database, *, replace: bool = False, there: set[str] | None = None
    ) -> None:
        self.files = self.rows = self.present = self.replaced = self.added = 0
        self.there = there
        self._catalog = catalog
        self._database = database
        self._replace = replace
        self._is_hyper = False

    def begin(self, connection: "Connection[Any]") -> None:
        """Make what is missing in the database, and look at what it holds; with every new connection."""
        self._database.prepare(connection)
        self._is_hyper = self._database.is_hyper(connection)
        if self.there is None:
            lines = (line.encode() for (line,) in connection.execute("select line from quantkit.manifest"))
            self.there = {entry.sha256 for entry in self._database.parsed(lines).entries}

    def take(self, connection: "Connection[Any]", entry: FileEntry) -> None:
        """Export one file, unless it is there.

        Raises:
            DataError: It is damaged, or stored rows differ and `replace` is off.
        """
        if self.there is not None and entry.sha256 in self.there:
            self.present += 1
            return
        table = table_of(entry.kind)
        with connection.transaction():
            self._database.lock(connection)
            held = held_entries(connection, self._database, entry.stream)
            if any(each.sha256 == entry.sha256 for each in held):
                self.present += 1
                return
            self._database.make_room(connection, table, entry.first_ns, entry.last_ns, is_hyper=self._is_hyper)
            stale = [each for each in held if _meet(each, entry) or each.path == entry.path]
            live = live_span(connection, entry.stream)
            if not stale and live is not None and self._is_taped(connection, table, entry, live):
                pass  # every row came from the tape already
            elif stale or self._has_rows(connection, table, entry):
                self.added += self._merge(connection, table, entry, stale, live)
            else:
                self._copy(connection, table, entry, name_of(table.kind))
                self.added += entry.rows
            if live is not None:
                filed(connection, entry.stream, entry.last_ns)
            for each in stale:
                connection.execute(
                    "delete from quantkit.manifest where kind = %s and instrument = %s and interval = %s and path = %s",
                    [*each.stream, each.path],
                )
            _add_lines(connection, entry.stream, entry.path, Manifest([entry], [], []))
        if self.there is not None:
            self.there.add(entry.sha256)
        self.files += 1
        self.rows += entry.rows

    def finish(
        self,
        connection: "Connection[Any]",
        chosen: Sequence[FileEntry],
        start_ns: int | None,
        end_ns: int | None,
    ) -> None:
        """Bring what the manifest says beside the files: metadata, and what was listened to and asked for."""
        streams = {entry.stream for entry in chosen}
        names = {stream.instrument for stream in streams}
        versions = self._catalog.versions()
        with connection.transaction():
            self._database.lock(connection)
            table = table_of("instrument")
            self._database.make_table(connection, table, is_hyper=False)
            for name in sorted(names & set(versions)):
                for version in versions[name]:
                    self._put_instrument(connection, table, version)
                connection.execute(
                    "delete from quantkit.manifest where kind = 'instrument' and instrument = %s", [name]
                )
                for entry in self._catalog.files(Stream("instrument", name), -(2**63), 2**63 - 1):
                    _add_lines(connection, entry.stream, entry.path, Manifest([entry], [], []))
            spans = [_within(span, start_ns, end_ns) for span in self._catalog.watched]
            watched = [span for span in spans if span is not None and self._is_chosen(span.stream, streams, names)]
            asked_spans = [_within(span, start_ns, end_ns) for span in self._catalog.asked]
            asked = [span for span in asked_spans if span is not None and self._is_chosen(span.stream, streams, names)]
            for stream in sorted({span.stream for span in (*watched, *asked)}):
                stored = _held(connection, self._database, stream)
                for path in (_WATCHED_PATH, _ASKED_PATH):
                    connection.execute(
                        "delete from quantkit.manifest where kind = %s and instrument = %s and interval = %s"
                        " and path like %s",
                        [*stream, f"{path}%"],
                    )
                both = [*stored.watched, *(span for span in watched if span.stream == stream)]
                for number, span in enumerate(manifest.united(both)):
                    _add_lines(connection, stream, f"{_WATCHED_PATH}{number}", Manifest([], [span], []))
                asked_both = [*stored.asked, *(span for span in asked if span.stream == stream)]
                for number, wanted in enumerate(manifest.united_asked(asked_both)):
                    _add_lines(connection, stream, f"{_ASKED_PATH}{number}", Manifest([], [], [wanted]))

    def _is_chosen(self, stream: Stream, streams: set[Stream], names: set[str]) -> bool:
        """Return whether a span of a stream goes along: its own files do, or it has none and its instrument's do."""
        if stream in streams:
            return True
        has_files = any(entry.stream == stream for entry in self._catalog.entries)
        return not has_files and stream.instrument in names

    # One file -------------------------------------------------------------------------------------------------

    def _is_taped(self, connection: "Connection[Any]", table: DatabaseTable, entry: FileEntry, live: LiveSpan) -> bool:
        """Return whether the rows of a file are there already, as they came from the tape of the same recording.

        Nanoseconds of receipt are a recording's own: as many rows with the same stamps and places are the same rows.
        """
        from psycopg import sql

        if not live.from_ns <= entry.first_ns <= entry.last_ns <= live.to_ns:
            return False
        query = sql.SQL("select count(*), sum(received_ns), sum(seq) from {} where {}").format(
            name_of(table.kind), _within_span(table)
        )
        found = connection.execute(query, _span_of(table, entry)).fetchone()
        if found is None or found[0] != entry.rows:
            return False
        stamps = places = 0
        for block, seq in self._blocks(entry):
            stamps += _sum(block.column("received_ns"))
            places += int(seq.sum())
        return (int(found[1]), int(found[2])) == (stamps, places)

    def _has_rows(self, connection: "Connection[Any]", table: DatabaseTable, entry: FileEntry) -> bool:
        from psycopg import sql

        query = sql.SQL("select 1 from {} where {} limit 1").format(name_of(table.kind), _within_span(table))
        return connection.execute(query, _span_of(table, entry)).fetchone() is not None

    def _copy(self, connection: "Connection[Any]", table: DatabaseTable, entry: FileEntry, target: Any) -> None:
        copied = copy_blocks(connection, table, target, self._blocks(entry))
        if copied != entry.rows:
            raise DataError(
                f"{self._catalog.described_as}/{entry.path}: {copied} rows were read, the manifest says {entry.rows}; "
                "`quantkit data check` says more"
            )

    def _blocks(self, entry: FileEntry) -> Iterator[NumberedBlock]:
        places = Places()
        for block in read_blocks(
            self._catalog,
            entry.stream,
            start_ns=entry.first_ns,
            end_ns=entry.last_ns,
            block_rows=_BLOCK_ROWS,
            verify_digest=True,
        ):
            yield NumberedBlock(block, places.of(block.column("received_ns")))

    def _merge(
        self,
        connection: "Connection[Any]",
        table: DatabaseTable,
        entry: FileEntry,
        stale: Sequence[FileEntry],
        live: LiveSpan | None,
    ) -> int:
        """Bring a file where the database holds rows of its span; return how many were not there.

        Rows that a tape brought give way to the file's without a word: what the folder did not take is in no file.

        Raises:
            DataError: A stored row differs from the file's, or is not in it though it came from an older state of the
                file, and `replace` is off.
        """
        from psycopg import sql

        aside = sql.Identifier(_STAGED)
        target = name_of(table.kind)
        names = quoted(*table.names)
        connection.execute(
            sql.SQL("create temp table {} on commit drop as select {} from {} with no data").format(
                aside, names, target
            )
        )
        self._copy(connection, table, entry, aside)
        connection.execute(sql.SQL("create index on {} ({})").format(aside, quoted(*table.key)))
        match = sql.SQL(" and ").join(sql.SQL("held.{0} = new.{0}").format(sql.Identifier(name)) for name in table.key)
        differ = sql.SQL("({}) is distinct from ({})").format(
            *(sql.SQL(", ").join(sql.Identifier(side, name) for name in table.names) for side in ("held", "new"))
        )
        # What came from an older state of these rows or from the tape has to be among the new ones; what else lies in
        # the span came from somewhere else and only has to agree.
        spans = [_span_of(table, each) for each in stale]
        taped = _span_of(table, entry)
        taped[-2:] = [max(entry.first_ns, live.from_ns), min(entry.last_ns, live.to_ns)] if live else [0, -1]
        whole = _span_of(table, entry)
        whole[-2:] = (
            [min(entry.first_ns, *(s[-2] for s in spans)), max(entry.last_ns, *(s[-1] for s in spans))]
            if (spans)
            else whole[-2:]
        )
        is_taped = _within_span(table, "held")
        inside = sql.SQL(" or ").join([is_taped, *[_within_span(table, "held")] * len(spans)])
        is_new = sql.Identifier("new", table.key[0])
        gone = sql.SQL(
            "from {} held left join {} new on {} where {} and ((({} is null) and ({})) or ({} is not null and {}))"
        ).format(target, aside, match, _within_span(table, "held"), is_new, inside, is_new, differ)
        parameters = [*whole, *taped, *(value for span in spans for value in span)]
        first = connection.execute(
            sql.SQL("select held.received_ns, new.received_ns is null {} and not {} order by 1 limit 1").format(
                gone, is_taped
            ),
            [*parameters, *taped],
        ).fetchone()
        if first is not None and not self._replace:
            what = "is not in the file" if first[1] else "differs from the file's"
            raise DataError(
                f"{self._database.described_as}: {entry.stream}: the stored row of {iso_of(first[0])} {what} "
                f"{entry.path}; export with `--replace` to put the folder's rows in the place of the stored ones"
            )
        keys = sql.SQL(", ").join(sql.Identifier("held", name) for name in table.key)
        self.replaced += connection.execute(
            sql.SQL("delete from {} where ({}) in (select {} {})").format(target, quoted(*table.key), keys, gone),
            parameters,
        ).rowcount
        added = connection.execute(
            sql.SQL("insert into {0} ({1}) select {1} from {2} on conflict do nothing").format(target, names, aside)
        ).rowcount
        connection.execute(sql.SQL("drop table {}").format(aside))
        return added

    def _put_instrument(self, connection: "Connection[Any]", table: DatabaseTable, instrument: Instrument) -> None:
        from psycopg import sql

        fields = instrument.to_dict()
        values = {name: fields[name] for name in fields if name not in ("tick", "lot")}
        for field, column in INSTRUMENT_COLUMNS.items():
            values[column] = values.pop(field)
        names = table.names
        connection.execute(
            sql.SQL("insert into {} ({}) values ({}) on conflict ({}) do update set {}").format(
                name_of(table.kind),
                quoted(*names),
                sql.SQL(", ").join(sql.Placeholder() * len(names)),
                quoted(*table.key),
                sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in names),
            ),
            [values[name] for name in names],
        )


_WATCHED_PATH: Final = "watched:"
_ASKED_PATH: Final = "asked:"


def _sum(column: Column) -> int:
    """Return the sum of integers that may pass 64 bits."""
    return (int((column >> 32).sum()) << 32) + int((column & 0xFFFF_FFFF).sum())


def _within_span(table: DatabaseTable, alias: str = "") -> Any:
    from psycopg import sql

    prefix = (alias,) if alias else ()
    conditions = [sql.SQL("{} = %s").format(sql.Identifier(*prefix, name)) for name in table.stream_columns] + [
        sql.SQL("{} between %s and %s").format(sql.Identifier(*prefix, "received_ns"))
    ]
    return sql.SQL("(") + sql.SQL(" and ").join(conditions) + sql.SQL(")")


def _span_of(table: DatabaseTable, entry: FileEntry) -> list[Any]:
    stream = [entry.instrument, entry.interval][: len(table.stream_columns)]
    return [*stream, entry.first_ns, entry.last_ns]


def _meet(held: FileEntry, new: FileEntry) -> bool:
    (first, last), (new_first, new_last) = held.span(opens=True), new.span(opens=True)
    by_opens = first <= new_last and last >= new_first
    return by_opens or (held.first_ns <= new.last_ns and held.last_ns >= new.first_ns)


def _within(span: Any, start_ns: int | None, end_ns: int | None) -> Any:
    """Return a span as far as it lies within another one, None where it does not."""
    first = span.from_ns if start_ns is None else max(span.from_ns, start_ns)
    last = span.to_ns if end_ns is None else min(span.to_ns, end_ns)
    if last < first:
        return None
    return msgspec.structs.replace(span, from_ns=first, to_ns=last)


def _add_lines(connection: "Connection[Any]", stream: Stream, path: str, lines: Manifest) -> None:
    text = manifest.dump(lines).decode().removesuffix("\n")
    connection.execute("insert into quantkit.manifest values (%s, %s, %s, %s, %s)", [*stream, path, text])


def _held(connection: "Connection[Any]", database: Database, stream: Stream) -> Manifest:
    rows = connection.execute(
        "select line from quantkit.manifest where kind = %s and instrument = %s and interval = %s", list(stream)
    ).fetchall()
    return database.parsed(row[0].encode() for row in rows)


def held_entries(connection: "Connection[Any]", database: Database, stream: Stream) -> list[FileEntry]:
    """Return the lines of a stream's files that a database holds."""
    return _held(connection, database, stream).entries
