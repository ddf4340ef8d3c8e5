"""A recorder's rows into a database: from the tape within a second, and each file as soon as it is sealed."""

import logging
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from quantkit.clock import monotonic_s
from quantkit.collect.recovery import sealed_marks
from quantkit.errors import DataError, QuantkitError
from quantkit.events import Gap, InstrumentChange, MarketEvent
from quantkit.feeds.recording import stream_of
from quantkit.feeds.row_tape import Listening, read_record
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.following import TapeFollower
from quantkit.storage.manifest import MANIFEST, FileEntry
from quantkit.storage.postgres.copying import NumberedBlock, Places
from quantkit.storage.postgres.database import ConnectionLostError, Database
from quantkit.storage.postgres.export import Exporter
from quantkit.storage.postgres.taped import TapedRows
from quantkit.storage.root import WORK, Root

if TYPE_CHECKING:
    from psycopg import Connection

#: Seconds between two looks at the tape and the folder.
_LOOK_EVERY_S: Final = 0.25
#: Seconds between tries to reach a server that is gone, at first and at most, and to bring what was refused.
_RETRY_FIRST_S: Final = 1.0
_RETRY_MAX_S: Final = 60.0
#: A piece of the tape that is held in memory, and the rest after it while more waits: the recorder goes first.
_PIECE_BYTES: Final = 1 << 20
_REST_S: Final = 0.02

_LOG: Final = logging.getLogger("quantkit.collect.mirror")


class MirrorStatus(msgspec.Struct, frozen=True, tag="mirrored", tag_field="event"):
    """How far a database has followed a recorder.

    Attributes:
        to: The database, without secrets.
        files: Sealed files whose rows are there and that were not before.
        rows: Brought so far, each counted once.
        last_ns: Stamp of the newest row that was brought, 0 before the first.
        is_behind: Whether there is something that is not there yet.
        error: Why, if the last try failed.
    """

    to: str
    files: int
    rows: int
    last_ns: int
    is_behind: bool
    error: str


class Mirror:
    """Follows a recorder's tape and its sealed files, on a thread of its own.

    The recorder knows nothing of it and never waits for it, and memory is bounded by a piece of the tape. While the
    server is gone, rows wait on the tape, and when they are sealed, in the folder: a database that was away for a week
    gets the week. Each row goes exactly once, see `storage.postgres.taped` and `storage.postgres.export`.

    Args:
        folder: The data folder that is recorded in.
        database: Where to.
        instruments: Only these; all without.
        work: The recorder's own folder; None for `.record` in the data folder.
    """

    def __init__(
        self,
        folder: str | Path,
        database: Database,
        instruments: Collection[str] = (),
        *,
        work: Path | None = None,
    ) -> None:
        self._root = Root.of(folder)
        self._database = database
        self._instruments = frozenset(instruments)
        own = Path(self._root.path) / WORK if work is None and self._root.is_local else work
        self._tape = None if own is None else _TapedPieces(own / "tape", self._root, self._instruments)
        self._taped = TapedRows(database)
        self._sealed = _SealedFiles(self._root, database, self._instruments)
        self._changed = threading.Condition()
        self._is_closing = False
        self._files = self._rows = self._last_ns = 0
        self._is_behind = False
        self._errors: dict[str, str] = {}  # by what could not be brought
        self._thread = threading.Thread(target=self._work, name="quantkit-mirror", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    @property
    def status(self) -> MirrorStatus:
        """How far the database has followed."""
        with self._changed:
            return MirrorStatus(
                self._database.described_as,
                self._files,
                self._rows,
                self._last_ns,
                self._is_behind,
                next(iter(self._errors.values()), ""),
            )

    def close(self, timeout_s: float = 30.0) -> MirrorStatus:
        """Bring what is there by now, and end.

        Args:
            timeout_s: A server that is gone is waited for no longer than this. What is not there then stays in the
                folder, for `quantkit data export`.

        Returns:
            How far the database has followed.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            self._behind()
        return self.status

    # On the thread --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        retry_s = _RETRY_FIRST_S
        is_last = False
        while not is_last:
            with self._changed:
                is_last = self._is_closing
            rows = self._rows
            try:
                with self._database.connected() as connection:
                    self._taped.begin(connection)
                    self._sealed.forget()
                    self._came("server")
                    self._follow(connection)
                return
            except ConnectionLostError as error:
                self._failed("server", error)
            except QuantkitError as error:
                self._failed("server", error)
                retry_s = _RETRY_MAX_S
            if self._rows != rows:
                retry_s = _RETRY_FIRST_S  # it was there in between
            self._wait(0.0 if is_last else retry_s)
            retry_s = min(2 * retry_s, _RETRY_MAX_S)

    def _follow(self, connection: "Connection[Any]") -> None:
        """Bring what comes, until the end is asked for and everything is there.

        Raises:
            ConnectionLostError: The server is gone.
        """
        while True:
            with self._changed:
                is_last = self._is_closing
            has_more = self._follow_tape(connection)
            # The tape first, each time: a backlog of files holds up no row that comes now.
            has_more |= self._follow_files(connection)
            if has_more:
                self._behind()
                self._wait(_REST_S)
                continue
            with self._changed:
                self._is_behind = bool(self._errors)
            if is_last:
                return
            self._wait(_LOOK_EVERY_S)

    def _follow_tape(self, connection: "Connection[Any]") -> bool:
        """Bring a piece of the tape, and return whether there was one."""
        if self._tape is None:
            return False
        try:
            piece = self._tape.piece()
            if piece:
                self._behind()
                added = self._taped.bring(connection, piece)
                with self._changed:
                    self._rows += added
                    self._last_ns = max(self._last_ns, *(int(block.column("received_ns")[-1]) for block, _ in piece))
                self._came("tape")
        except ConnectionLostError:
            raise
        except DataError as error:
            # What the tape cannot bring comes with its file, or the file says why it cannot.
            self._failed("tape", error)
        has_more = self._tape.is_held
        self._tape.drop()
        return has_more

    def _follow_files(self, connection: "Connection[Any]") -> bool:
        """Bring one sealed file, or what the manifest says beside them; return whether there was something."""
        try:
            with self._database.translated():
                brought = self._sealed.step(connection)
        except ConnectionLostError:
            raise
        except DataError as error:
            self._failed("files", error)
            return True
        if brought is None:
            return False
        with self._changed:
            self._files += brought[0]
            self._rows += brought[1]
            self._last_ns = max(self._last_ns, brought[2])
            if self._sealed.is_whole:
                self._errors.pop("files", None)
        return True

    # What is said ---------------------------------------------------------------------------------------------

    def _wait(self, time_s: float) -> None:
        with self._changed:
            due_s = monotonic_s() + time_s
            while not self._is_closing and (left_s := due_s - monotonic_s()) > 0:
                self._changed.wait(left_s)

    def _behind(self) -> None:
        with self._changed:
            self._is_behind = True

    def _came(self, what: str) -> None:
        with self._changed:
            self._errors.pop(what, None)

    def _failed(self, what: str, error: QuantkitError) -> None:
        with self._changed:
            is_new = self._errors.get(what) != str(error)
            self._errors[what] = str(error)
            self._is_behind = True
        if is_new:
            _LOG.warning("the database is behind: %s", error)


class _TapedPieces:
    """The tape as numbered rows, some at a time; the same ones until they are dropped."""

    def __init__(self, folder: Path, root: Root, instruments: frozenset[str]) -> None:
        self._follower = TapeFollower(folder)
        self._root = root
        self._instruments = instruments
        self._marks: dict[Stream, int] | None = None  # up to when streams are sealed, as far as it matters
        self._places: dict[Stream, Places] = {}
        self._held: list[NumberedBlock] = []
        self.is_held = False  # whether a piece was read, if of no row that is wanted

    def piece(self) -> list[NumberedBlock]:
        """Return the rows that follow on.

        Raises:
            DataError: The tape or the manifest is damaged.
        """
        if not self.is_held:
            payloads = self._follower.read(_PIECE_BYTES)
            if self._marks is None or self._follower.has_jumped:
                # What was passed over is sealed, and rows of one stamp are sealed together.
                self._marks = sealed_marks(self._root)
                self._places.clear()
                self._follower.has_jumped = False
            self.is_held = bool(payloads)
            self._held = [self._numbered(*found) for found in self._rows_of(payloads, self._marks).items()]
        return self._held

    def drop(self) -> None:
        """Let the piece go; it was brought, or comes with its file."""
        self._held = []
        self.is_held = False

    def _rows_of(self, payloads: list[bytes], marks: dict[Stream, int]) -> dict[Stream, list[MarketEvent]]:
        found: dict[Stream, list[MarketEvent]] = {}
        for payload in payloads:
            for rows in read_record(payload):
                for row in () if isinstance(rows, Listening) else rows:
                    if isinstance(row, InstrumentChange) or not self._is_wanted(row, marks):
                        continue
                    found.setdefault(stream_of(row), []).append(row)
        return found

    def _is_wanted(self, row: MarketEvent, marks: dict[Stream, int]) -> bool:
        if self._instruments and row.instrument not in self._instruments:
            return False
        if isinstance(row, Gap):
            # Gap rows are no stream that is listened to: they are sealed with the others.
            ends = [end_ns for stream, end_ns in marks.items() if stream.instrument == row.instrument]
            return row.received_ns > max(ends, default=-1)
        return row.received_ns > marks.get(stream_of(row), -1)

    def _numbered(self, stream: Stream, rows: list[MarketEvent]) -> NumberedBlock:
        block = Block.from_events(rows, stream=stream)
        places = self._places.setdefault(stream, Places())
        return NumberedBlock(block, places.of(block.column("received_ns")))


class _SealedFiles:
    """The files of a folder that a database has not, one after the other."""

    def __init__(self, root: Root, database: Database, instruments: frozenset[str]) -> None:
        self._root = root
        self._database = database
        self._instruments = instruments
        self._there: set[str] | None = None
        self._content: bytes | None = None  # of the manifest that is gone through
        self._exporter: Exporter | None = None
        self._chosen: list[FileEntry] = []
        self._left: Iterator[FileEntry] = iter(())
        self._is_done = self._has_refused = False
        self._again_s = 0.0  # when a refused file is tried again

    @property
    def is_whole(self) -> bool:
        """Whether the folder was gone through, and nothing was refused."""
        return self._is_done and not self._has_refused

    def forget(self) -> None:
        """Begin anew, with a new connection."""
        self._there = self._content = None

    def step(self, connection: "Connection[Any]") -> tuple[int, int, int] | None:
        """Bring one file, or at the end what the manifest says beside them.

        Returns:
            How many files and rows were brought, and the stamp of the last; None when there is nothing to do.

        Raises:
            ConnectionLostError: The server is gone.
            DataError: It refuses the file, or the file is damaged; the next step takes the next one.
        """
        content = self._root.read(MANIFEST)
        if content is None:
            return None
        if content != self._content:
            self._go_through(connection, content)
        elif self._is_done:
            if self.is_whole or monotonic_s() < self._again_s:
                return None
            self._go_through(connection, content)
        exporter = self._exporter
        assert exporter is not None, "the folder is gone through"
        files, rows = exporter.files, exporter.added
        try:
            entry = next(self._left, None)
            if entry is not None:
                exporter.take(connection, entry)
            else:
                if self._chosen:
                    exporter.finish(connection, self._chosen, None, None)
                self._is_done = True
        except ConnectionLostError:
            raise
        except DataError:
            if self._root.read(MANIFEST) == content:
                self._has_refused = True
                self._again_s = monotonic_s() + _RETRY_MAX_S
                raise
            # The file was compacted or let go meanwhile; the next step sees the new manifest.
        return exporter.files - files, exporter.added - rows, 0 if entry is None else entry.last_ns

    def _go_through(self, connection: "Connection[Any]", content: bytes) -> None:
        catalog = Catalog(self._root)
        self._content, self._is_done, self._has_refused = content, False, False
        self._exporter = Exporter(catalog, self._database, there=self._there)
        self._exporter.begin(connection)
        self._there = self._exporter.there
        self._chosen = [
            entry
            for entry in catalog.entries
            if entry.kind != "instrument" and (not self._instruments or entry.instrument in self._instruments)
        ]
        self._left = iter([entry for entry in self._chosen if entry.sha256 not in (self._there or ())])
