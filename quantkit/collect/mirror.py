"""A data folder's rows into a database while they are being recorded."""

import logging
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from quantkit.clock import monotonic_s
from quantkit.errors import DataError, QuantkitError
from quantkit.storage.catalog import Catalog
from quantkit.storage.manifest import MANIFEST
from quantkit.storage.postgres.database import ConnectionLostError, Database
from quantkit.storage.postgres.export import export
from quantkit.storage.root import Root

#: Seconds between two looks at a folder, and at most between two tries to reach a server that is gone.
_LOOK_EVERY_S: Final = 2.0
_RETRY_MAX_S: Final = 60.0
_RETRY_FIRST_S: Final = 1.0

_LOG: Final = logging.getLogger("quantkit.collect.mirror")


class MirrorStatus(msgspec.Struct, frozen=True, tag="mirrored", tag_field="event"):
    """How far a database has followed a folder.

    Attributes:
        to: The database, without secrets.
        files, rows: Exported so far.
        is_behind: Whether the folder has files that are not there yet.
        error: Why, if the last try failed.
    """

    to: str
    files: int
    rows: int
    is_behind: bool
    error: str


class Mirror:
    """Exports each file that a recorder seals, on a thread of its own.

    The recorder knows nothing of it and never waits for it. While the server is gone, files wait in the folder; a
    database that was away for a week gets the week. Each file goes exactly once, see `storage.postgres.export`.

    Args:
        folder: The data folder that is recorded in.
        database: Where to.
        instruments: Only these; all without.
    """

    def __init__(self, folder: str | Path, database: Database, instruments: Collection[str] = ()) -> None:
        self._root = Root.of(folder)
        self._database = database
        self._instruments = tuple(instruments)
        self._changed = threading.Condition()
        self._is_closing = False
        self._seen: bytes | None = None  # the manifest that was exported last
        self._files = self._rows = 0
        self._error = ""
        self._is_behind = False
        self._thread = threading.Thread(target=self._work, name="quantkit-mirror", daemon=True)

    def start(self) -> None:
        """Begin to follow the folder."""
        self._thread.start()

    @property
    def status(self) -> MirrorStatus:
        """How far the database has followed."""
        with self._changed:
            return MirrorStatus(self._database.described_as, self._files, self._rows, self._is_behind, self._error)

    def close(self, timeout_s: float = 30.0) -> MirrorStatus:
        """Export what is sealed by now, and end.

        Args:
            timeout_s: A server that is gone is waited for no longer than this. What is not exported then stays in
                the folder, for `quantkit data export`.

        Returns:
            How far the database has followed.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join(timeout_s)
        return self.status

    # On the thread --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        wait_s = retry_s = _RETRY_FIRST_S
        while True:
            with self._changed:
                is_last = self._is_closing
            try:
                self._follow()
                wait_s, retry_s = _LOOK_EVERY_S, _RETRY_FIRST_S
            except ConnectionLostError as error:
                self._failed(error)
                wait_s, retry_s = retry_s, min(2 * retry_s, _RETRY_MAX_S)
            except QuantkitError as error:
                self._failed(error)
                wait_s = _RETRY_MAX_S
            if is_last:
                return
            with self._changed:
                due_s = monotonic_s() + wait_s
                while not self._is_closing and (left_s := due_s - monotonic_s()) > 0:
                    self._changed.wait(left_s)

    def _follow(self) -> None:
        """Export what the folder has and the database has not.

        Raises:
            DataError: The server cannot be reached or refuses, or a file cannot be read.
        """
        content = self._root.read(MANIFEST)
        if content is None or content == self._seen:
            return
        with self._changed:
            self._is_behind = True
        catalog = Catalog(self._root)
        there = {entry.instrument for entry in catalog.entries}
        names = [name for name in self._instruments if name in there]
        if self._instruments and not names:
            return
        try:
            report = export(catalog, self._database, instruments=names)
        except DataError:
            if self._root.read(MANIFEST) != content:
                return  # a file was compacted or let go meanwhile; the next look sees the new manifest
            raise
        self._seen = content
        with self._changed:
            self._files += report.files
            self._rows += report.rows
            self._error = ""
            self._is_behind = False

    def _failed(self, error: QuantkitError) -> None:
        if str(error) != self._error:
            _LOG.warning("not exported yet: %s", error)
        with self._changed:
            self._error = str(error)
