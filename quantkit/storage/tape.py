"""The tape: an append-only record of byte payloads that survives the death of its process.

A tape is a folder of segments, `000000.tape`, `000001.tape` and so on; `storage/segments.py` has their format.
"""

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from zlib import crc32

from quantkit.errors import ConfigError, DataError
from quantkit.storage.root import first_line, sync_folder
from quantkit.storage.segments import (
    HEADER,
    LENGTH,
    MARKED_VERSION,
    RECORD_BYTES_MAX,
    Segment,
    header_of,
    mark_of,
    number_of,
    segment_of,
    segment_path,
    segments_in,
    size_of,
    translated,
    try_lock,
    write_rest,
)

SEGMENT_BYTES: Final = 256 << 20

_LOCK: Final = "writer.lock"


class TapeWriter:
    """Appends records to a tape, one system call for each.

    *Kill-safe*: a record whose `append` has returned survives whatever happens to the process, `kill -9` included,
    since the operating system holds it. *Power-safe*: it survives the machine's death only once a `sync` that began
    after it has returned; call that every few seconds, in a thread of its own, since it waits for the disk.

    A power failure may keep any of the sectors that were not synced, and lose those before them. With `is_marked` each
    `sync` leaves a mark, so that a hole behind the last one is cut off with what follows, and one before it is damage.

    One writer at a time has a tape. `append` and `sync` may be called from different threads.

    Args:
        path: The tape's folder, made when it is not there.
        resume: Continue an existing tape: an unfinished last record is cut off (`torn_bytes`), and numbers go on. False
            refuses an existing tape.
        segment_bytes: Length after which the next record begins a new segment.
        is_trimmed: Whether its first segments may have been removed by `trim`.
        is_marked: Whether each `sync` leaves a mark.

    Attributes:
        torn_bytes: How many bytes of an unfinished record were cut off.
        written_bytes: How many bytes this writer has added.

    Raises:
        ConfigError: `segment_bytes` is below 1.
        DataError: There is a tape already and `resume` is off, another writer has it, it is damaged, or the disk
            refuses.

    Examples:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with TapeWriter(folder) as tape:
        ...         numbers = [tape.append(b"first"), tape.append(b"second")]
        ...     (numbers, list(TapeReader(folder)))
        ([0, 1], [b'first', b'second'])
    """

    def __init__(
        self,
        path: str | Path,
        *,
        resume: bool = False,
        segment_bytes: int = SEGMENT_BYTES,
        is_trimmed: bool = False,
        is_marked: bool = False,
    ) -> None:
        if segment_bytes < 1:
            raise ConfigError(f"segment_bytes is {segment_bytes}; a segment has at least one byte")
        self.path = Path(path)
        self.torn_bytes = 0
        self.written_bytes = 0
        self._segment_bytes = segment_bytes
        self._is_trimmed = is_trimmed
        self._is_marked = is_marked
        self._takes_marks = is_marked  # the open segment, which an older version may have begun
        self._marked = HEADER.size  # up to where the open segment has a mark, that mark included
        self._mutex = threading.Lock()
        self._descriptor = -1
        self._segment = 0  # number of the segment that is open
        self._end = 0  # its length: everything before is whole records
        self._next = 0
        self._refusal = ""  # why no more is taken
        with translated(self.path, "cannot be written"):
            _make_durably(self.path)
            self._lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with translated(self.path / _LOCK, "cannot be locked"):
                is_ours = try_lock(self._lock)
            if not is_ours:
                raise DataError(f"tape {self.path}: another writer has it; end that one, or write to another folder")
            if resume:
                self._recover()
            elif segments_in(self.path, is_trimmed=is_trimmed):
                raise DataError(f"tape {self.path}: there is one already; name another folder, or resume it")
            if self._descriptor < 0:
                self._begin_segment(0)
        except BaseException:
            self._release()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, payload: bytes) -> int:
        """Add a record and return its number, counted from 0; it is kill-safe then.

        Args:
            payload: 1 byte to 16 MiB.

        Raises:
            DataError: The payload's length is out of range, the tape is closed, or the disk refuses. Nothing of the
                record is left on the tape then, and a later one may succeed.
        """
        length = len(payload)
        prefix = LENGTH.pack(length)
        frame = prefix + LENGTH.pack(crc32(payload, crc32(prefix))) + payload
        with self._mutex:
            if not 1 <= length <= RECORD_BYTES_MAX:
                raise self._out_of_range(length)
            return self._write(frame, 1)

    def append_many(self, payloads: Iterable[bytes]) -> int:
        """Add records with one system call, and return the number of the first; all are kill-safe then.

        They share a segment. A kill in the middle may leave the first few of them.

        Raises:
            DataError: As for `append`; none of them is left on the tape.
        """
        frames: list[bytes] = []
        with self._mutex:
            for payload in payloads:
                if not 1 <= len(payload) <= RECORD_BYTES_MAX:
                    raise self._out_of_range(len(payload))
                prefix = LENGTH.pack(len(payload))
                frames += (prefix, LENGTH.pack(crc32(payload, crc32(prefix))), payload)
            return self._write(b"".join(frames), len(frames) // 3) if frames else self._next

    def sync(self) -> int:
        """Wait until the disk has every record, and return how many the tape holds that are power-safe.

        Records that are appended meanwhile are not held up and not counted.

        Raises:
            DataError: The disk refuses. What it holds is not known then, so the tape takes no more records.
        """
        with self._mutex:
            if self._refusal:
                raise DataError(f"tape {self.path}: {self._refusal}")
            number, segment, end = self._next, self._segment, self._end
            # A copy, since an append may close this segment and begin the next one while the disk is busy.
            descriptor = os.dup(self._descriptor)
        try:
            os.fsync(descriptor)
        except OSError as error:
            # The system may have dropped the pages that it could not write, so that trying again would prove nothing.
            self._refusal = f"its records may be lost ({first_line(error)}); begin a new one"
            raise DataError(f"tape {self.path}: {self._refusal}") from error
        finally:
            os.close(descriptor)
        with self._mutex:
            if self._takes_marks and self._segment == segment and end > self._marked and not self._refusal:
                self._mark(end)
        return number

    @property
    def segment(self) -> int:
        """The number of the segment that is open."""
        return self._segment

    @property
    def segments(self) -> list[int]:
        """The numbers of the segments that are there."""
        return [number_of(path) for path in segments_in(self.path, is_trimmed=True)]

    def begin_segment(self) -> None:
        """Let the next record begin a new segment; do nothing while the open one is empty.

        Raises:
            DataError: The disk refuses.
        """
        with self._mutex:
            if self._end > HEADER.size and not self._refusal:
                self._rotate()

    def trim(self, segment: int) -> int:
        """Remove the segments before one, the oldest first, and return their number; the open one always stays.

        A tape that has been trimmed is opened with `is_trimmed` from then on.

        Raises:
            DataError: The disk refuses.
        """
        gone = 0
        for path in segments_in(self.path, is_trimmed=True):
            if number_of(path) >= min(segment, self._segment):
                break
            with translated(path, "cannot be removed"):
                path.unlink()
            gone += 1
        if gone:
            with translated(self.path, "cannot be synced"):
                sync_folder(self.path)
        return gone

    def close(self) -> None:
        """Make every record power-safe and let go of the tape; fine to call again.

        Raises:
            DataError: The disk refuses; the tape is closed all the same.
        """
        if self._lock < 0:
            return
        try:
            if not self._refusal:
                self.sync()
        finally:
            with self._mutex:
                self._refusal = self._refusal or "it is closed; resume it"
                self._release()

    # Writing --------------------------------------------------------------------------------------------------

    def _out_of_range(self, length: int) -> DataError:
        return DataError(
            f"tape {self.path}, record {self._next}: {length} bytes; a record has 1 to {RECORD_BYTES_MAX} bytes"
        )

    def _write(self, data: bytes, count: int) -> int:
        """Write whole frames that hold `count` records, or none of them."""
        if self._end + len(data) > self._segment_bytes and self._end > HEADER.size and not self._refusal:
            self._rotate()
        if self._refusal:
            raise DataError(f"tape {self.path}, record {self._next}: {self._refusal}")
        try:
            written = os.write(self._descriptor, data)
            if written != len(data):
                write_rest(self._descriptor, data, written)
            number = self._next
            self._end, self._next = self._end + len(data), number + count
            self.written_bytes += len(data)
        except BaseException as error:
            self._cut_back()
            if not isinstance(error, OSError):
                raise
            raise DataError(
                f"tape {self.path}, record {self._next}: cannot be written: {first_line(error)}; free space"
            ) from error
        return number

    def _mark(self, end: int) -> None:
        """Note that the disk has everything up to `end`."""
        mark = mark_of(end)
        try:
            write_rest(self._descriptor, mark, 0)
        except OSError:
            # The next sync makes it good; a full disk is told to whoever appends.
            self._cut_back()
            return
        self._end += len(mark)
        self._marked = self._end

    def _cut_back(self) -> None:
        """Cut a record off that was not written whole, or a later one would follow on its pieces."""
        try:
            os.ftruncate(self._descriptor, self._end)
        except OSError as error:
            self._refusal = f"the record before was not written whole ({first_line(error)}); begin a new tape"

    def _rotate(self) -> None:
        """Begin the next segment, once the one before is on the disk: only the last one may ever be torn."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._refusal = f"its records may be lost ({first_line(error)}); begin a new one"
            return
        self._begin_segment(self._segment + 1)

    def _begin_segment(self, segment: int) -> None:
        path = segment_path(self.path, segment)
        header = header_of(self._next, is_marked=self._is_marked)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with translated(path, "cannot be begun"):
            descriptor = os.open(path, flags, 0o666)
            try:
                write_rest(descriptor, header, 0)
                os.fsync(descriptor)
                sync_folder(self.path)
            except BaseException:
                os.close(descriptor)
                # The next try has to find the name free.
                with suppress(OSError):
                    path.unlink()
                raise
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._segment, self._end = descriptor, segment, len(header)
        self._takes_marks, self._marked = self._is_marked, len(header)

    # Opening and closing --------------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Open the last segment behind its last whole record."""
        paths = segments_in(self.path, is_trimmed=self._is_trimmed)
        if paths and size_of(paths[-1]) < HEADER.size:
            # Its writer was killed while it began it, so that nothing is lost with it.
            torn = paths.pop()
            self.torn_bytes = size_of(torn)
            with translated(torn, "cannot be removed"):
                torn.unlink()
        if not paths:
            return
        segment = Segment(paths[-1], is_last=True)
        count = sum(1 for _ in segment.records())
        flags = os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0)
        with translated(segment.path, "cannot be opened"):
            self._descriptor = os.open(segment.path, flags)
            if segment.torn_bytes:
                os.ftruncate(self._descriptor, segment.end)
                os.fsync(self._descriptor)
        self.torn_bytes += segment.torn_bytes
        self._takes_marks = self._is_marked and segment.version == MARKED_VERSION
        self._segment, self._end, self._next = number_of(paths[-1]), segment.end, segment.first + count

    def _release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        os.close(self._lock)  # which lets go of it
        self._descriptor = self._lock = -1


@contextmanager
def held(path: str | Path) -> Iterator[bool]:
    """Keep writers away from a tape that is there, as long as the block lasts.

    Yields:
        Whether that was possible: False while a writer or another block like this one has the tape.

    Raises:
        DataError: The disk refuses.
    """
    lock = Path(path) / _LOCK
    with translated(lock, "cannot be locked"):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with translated(lock, "cannot be locked"):
            is_ours = try_lock(descriptor)
        yield is_ours
    finally:
        os.close(descriptor)


def has_writer(path: str | Path) -> bool:
    """Return whether a writer has a tape that is there; False where that cannot be asked, as on a read-only disk."""
    try:
        descriptor = os.open(Path(path) / _LOCK, os.O_RDWR)
    except OSError:
        return False
    try:
        return not try_lock(descriptor)
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _make_durably(folder: Path) -> None:
    """Make a folder, and let the names of all that were made for it survive the machine's death."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in made:
        sync_folder(one.parent)


class TapeReader:
    """Reads a tape's payloads in order, each exactly as it was appended.

    A tape that is still being written, or whose writer was killed, ends at its last whole record; `torn_bytes` says
    what is left after it. Nothing on the disk is changed.

    Args:
        path: The tape's folder.
        is_trimmed: Whether its first segments may have been removed.

    Attributes:
        torn_bytes: How many bytes of an unfinished record the last reading has found at the end.

    Raises:
        DataError: There is no tape, or one of its segments is missing.
    """

    def __init__(self, path: str | Path, *, is_trimmed: bool = False) -> None:
        self.path = Path(path)
        self.torn_bytes = 0
        self._is_trimmed = is_trimmed
        if not segments_in(self.path, is_trimmed=is_trimmed):
            raise DataError(f"tape {self.path}: not there, or without records ({segment_path(self.path, 0).name})")

    def __iter__(self) -> Iterator[bytes]:
        return self.read()

    def read(self, first: int = 0) -> Iterator[bytes]:
        """Yield the payloads from record number `first` on; none where the tape ends before.

        Raises:
            DataError: A segment is damaged, missing or not quantkit's; the message says where. What came before it
                has been yielded and is sound.
        """
        self.torn_bytes = 0
        paths = segments_in(self.path, is_trimmed=self._is_trimmed)
        begin = segment_of(paths, first)
        number = 0 if begin == 0 and not self._is_trimmed else None
        for index in range(begin, len(paths)):
            is_last = index == len(paths) - 1
            if is_last and (size := size_of(paths[index])) < HEADER.size:
                self.torn_bytes = size
                return
            segment = Segment(paths[index], is_last=is_last)
            if number is not None and segment.first != number:
                raise segment.damaged(0, f"it begins with record {segment.first}, but record {number} is next")
            number = segment.first
            for payload in segment.records():
                if number >= first:
                    yield payload
                number += 1
            self.torn_bytes = segment.torn_bytes
