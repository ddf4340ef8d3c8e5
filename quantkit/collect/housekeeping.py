"""What a collector does beside collecting: it verifies what was sealed, frees the tape, and keeps the folder small."""

import logging
import shutil
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from quantkit.clock import NS_PER_DAY, NS_PER_MIN
from quantkit.collect.beats import Sealed, Tidied
from quantkit.collect.recovery import Recovered
from quantkit.collect.settings import RecordSettings
from quantkit.errors import DataError, FeedError, QuantkitError
from quantkit.feeds.recorder import Commit
from quantkit.feeds.row_tape import RowTape
from quantkit.storage import manifest
from quantkit.storage.compaction import compact, compactable, drop_before
from quantkit.storage.files import DataFile
from quantkit.storage.root import Root

_LOG: Final = logging.getLogger("quantkit.collect")

#: How often the tape is given to the disk, and the room is looked at.
_SYNC_EVERY_S: Final = 1.0
#: After midnight a day's last rows may yet be sealed for so long.
_SETTLES_NS: Final = 10 * NS_PER_MIN
#: How often old rows are looked for.
_RETAIN_EVERY_NS: Final = 60 * NS_PER_MIN


class Housekeeper:
    """Works on a thread of its own, so that neither the sockets nor the rows wait for it.

    Args:
        root: The data folder.
        tape: The collector's.
        settings: Of the collector.
        work: The collector's own folder.
        wall: The machine's UTC time in nanoseconds.

    Attributes:
        error: Why the collector has to end; None while all is well.
        sealed_ns: Every row up to this moment is in a file that was read back.
        free_bytes: Room on the disk that has the least, as of a moment ago.
    """

    def __init__(
        self, root: Root, tape: RowTape, settings: RecordSettings, work: Path, *, wall: Callable[[], int]
    ) -> None:
        self.error: QuantkitError | None = None
        self.sealed_ns = 0
        self.free_bytes = 0
        self._root = root
        self._tape = tape
        self._settings = settings
        self._staging = work / "staging"
        self._disks = [work, *([Path(root.path)] if root.is_local else [])]
        self._wall = wall
        self._commits: deque[Commit] = deque()
        self._told: deque[Sealed | Tidied] = deque()
        self._compacted_day = -1
        self._retained_ns = 0
        self._wake = threading.Event()
        self._is_ending = False
        self._thread = threading.Thread(target=self._work, name="quantkit-housekeeper", daemon=True)

    # From the main thread -------------------------------------------------------------------------------------

    def check_room(self) -> None:
        """Look at the room on the disks.

        Raises:
            DataError: There is less than `min_free_bytes`, or it cannot be asked for.
        """
        least = self._settings.min_free_bytes
        rooms = []
        for disk in self._disks:
            try:
                rooms.append((shutil.disk_usage(disk).free, disk))
            except OSError as error:
                raise DataError(f"{disk}: its free space cannot be had: {error.strerror or error}") from error
        self.free_bytes, disk = min(rooms)
        if self.free_bytes < least:
            told = f"{self.free_bytes / 1e9:,.1f} GB are free, and {least / 1e9:,.1f} GB shall stay free (--min-free)"
            raise DataError(f"{disk}: {told}; free some and start again: nothing is lost that was counted")

    def recovered(self, found: Recovered) -> None:
        """Verify what a recovery has sealed, and free the tape.

        Raises:
            DataError: A file is not what it should be, or the disk refuses.
        """
        self._tape.stamped(found.last_ns)
        self._verify(Commit(found.entries, found.last_ns), is_whole=True)
        self._told.clear()

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def take(self, commits: list[Commit]) -> None:
        """Take commits that have become visible, to verify them."""
        if commits:
            self._commits.extend(commits)
            self._wake.set()

    def told(self) -> list[Sealed | Tidied]:
        """Return what was done since the last call."""
        told = []
        while self._told:
            told.append(self._told.popleft())
        return told

    def close(self) -> None:
        """Finish what is under way, verify the rest, and end; fine to call twice, or without a start."""
        self._is_ending = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def settle(self, commits: list[Commit]) -> None:
        """Verify commits and free the tape whole; only while nothing else writes to it.

        Raises:
            DataError: A file is not what it should be, or the disk refuses.
        """
        self._commits.extend(commits)
        while self._commits:
            commit = self._commits.popleft()
            self._verify(commit, is_whole=not self._commits)

    # On the thread --------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._is_ending:
                self._wake.wait(_SYNC_EVERY_S)
                self._wake.clear()
                self.check_room()
                self._tape.sync()
                while self._commits:
                    self._verify(self._commits.popleft(), is_whole=False)
                if not self._is_ending:
                    self._keep_small()
        except QuantkitError as error:
            self.error = error
        except BaseException as error:
            self.error = FeedError(f"the housekeeping has ended: {type(error).__name__}: {error}")
            raise

    def _verify(self, commit: Commit, *, is_whole: bool) -> None:
        """Read new files back, and let the tape's part go that they hold."""
        for entry in commit.entries:
            DataFile(self._root, entry, verify_digest=True)
        self.sealed_ns = commit.sealed_ns
        keep_ns = self._settings.keep_tape_ns
        before_ns = commit.sealed_ns + 1
        if keep_ns:
            before_ns = min(before_ns, self._wall() - keep_ns)
        gone = self._tape.trim(before_ns, is_whole=is_whole and not keep_ns)
        rows = sum(entry.rows for entry in commit.entries if entry.kind not in ("gap", "instrument"))
        self._told.append(Sealed(self._wall(), len(commit.entries), rows, commit.sealed_ns, gone))

    def _keep_small(self) -> None:
        now_ns = self._wall()
        day = (now_ns - _SETTLES_NS) // NS_PER_DAY
        compacted = removed = 0
        if self._settings.is_compacting and day != self._compacted_day:
            compacted = self._compact(day * NS_PER_DAY)
            self._compacted_day = day
        if self._settings.keep_ns is not None and now_ns - self._retained_ns >= _RETAIN_EVERY_NS:
            removed = len(drop_before(self._root, now_ns - self._settings.keep_ns, staging=self._staging))
            self._retained_ns = now_ns
        if compacted or removed:
            self._told.append(Tidied(now_ns, compacted, removed))

    def _compact(self, before_ns: int) -> int:
        """Make the files of days that are over one each; what cannot be read is said and left."""
        held = manifest.load(self._root)
        count = 0
        for group in [] if held is None else compactable(held.entries, before_ns):
            if self._is_ending:
                break
            try:
                compact(self._root, group, staging=self._staging)
            except DataError as error:
                _LOG.error("%s", error)
            else:
                count += len(group)
        return count
