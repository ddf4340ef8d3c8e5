"""One segment of a tape: its format, its records, and the difference between a torn end and damage.

A segment begins with a header: eight bytes of magic, the format's version (u32), the number of its first record (u64),
and the CRC32 of those. Each record is its payload's length (u32), the CRC32 of that length and the payload (u32), and
the payload. All numbers are little-endian.

Version 2 has marks between the records: a length of 0, a CRC32 of that and the rest, and a byte of the segment up to
which the disk had everything when the mark was made (u64). What a power failure took lies behind the last mark.
"""

import os
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple
from zlib import crc32

import numpy as np

from quantkit.errors import DataError
from quantkit.storage.root import advice, first_line

MAGIC: Final = b"qk-tape\n"
VERSION: Final = 1
MARKED_VERSION: Final = 2
#: No payload is longer, so that a damaged length is told from a long record.
RECORD_BYTES_MAX: Final = 16 << 20

HEADER: Final = struct.Struct("<8sIQI")
PREFIX: Final = struct.Struct("<II")
LENGTH: Final = struct.Struct("<I")
_MARK: Final = struct.Struct("<IIQ")
#: A disk keeps or loses whole sectors.
_SECTOR_BYTES: Final = 512
_SUFFIX: Final = ".tape"
_READ_BYTES: Final = 1 << 20


class TapeRecord(NamedTuple):
    """A payload, empty of a mark, and where its frame ends in the segment."""

    payload: bytes
    end: int


class Segment:
    """One file of a tape, as far as it has been read.

    Args:
        path: The file. is_last: whether it may end in a torn record.

    Attributes:
        version: Of its format.
        first: Number of its first record.
        end: Where the last whole record that was read ends.
        torn_bytes: Length of the torn record at its end, known when all were read.
    """

    def __init__(self, path: Path, *, is_last: bool) -> None:
        self.path = path
        self.torn_bytes = 0
        self.end = HEADER.size
        self._is_last = is_last
        with translated(path, "cannot be read"), path.open("rb") as file:
            header = file.read(HEADER.size)
        if len(header) < HEADER.size or not header.startswith(MAGIC):
            raise self.damaged(0, "it is no tape's segment")
        _, self.version, self.first, check = HEADER.unpack(header)
        if crc32(header[:-4]) != check:
            raise self.damaged(0, "its header's checksum does not agree")
        if self.version not in (VERSION, MARKED_VERSION):
            raise DataError(
                f"{path}: written in version {self.version}, this quantkit reads {MARKED_VERSION}; use a newer one"
            )

    def damaged(self, offset: int, what: str) -> DataError:
        """Return the error about a place in the file."""
        return DataError(f"{self.path}, byte {offset}: {what}; restore the file, the records before are sound")

    def records(self) -> Iterator[bytes]:
        """Yield every payload.

        Raises:
            DataError: A record is damaged and not the file's last.
        """
        with translated(self.path, "cannot be read"), self.path.open("rb", buffering=0) as file:
            following: int | None = self.end
            # A writer at work may finish a record while the end is being looked at, which is no damage.
            while following == self.end:
                for record in whole_records(file, self.end):
                    self.end = record.end
                    if record.payload:
                        yield record.payload
                size = os.fstat(file.fileno()).st_size
                file.seek(self.end)
                is_mark = mark_at(_read_up_to(file, _MARK.size), 0) is not None
                following = self.end if is_mark else find_record(file, self.end, size)
            if following is not None and not self._is_power_loss(file, following, size):
                raise self.damaged(self.end, f"a damaged record, and a whole one follows at byte {following}")
            if following is None and self._is_marked_beyond(file, size):
                raise self.damaged(self.end, "a damaged record, though the disk had it")
            if size != self.end and not self._is_last:
                raise self.damaged(self.end, "a damaged record, and another segment follows")
            self.torn_bytes = size - self.end

    def _is_marked_beyond(self, file: BinaryIO, size: int) -> bool:
        """Return whether a mark tells that the disk had the bytes at `end` once."""
        return self.version == MARKED_VERSION and last_mark(file, self.end, size) > self.end

    def _is_power_loss(self, file: BinaryIO, following: int, size: int) -> bool:
        """Return whether the bytes up to a whole record may never have reached the disk: there is a sector of zeros.

        A power failure keeps any of the sectors that were not synced, so that whole records may lie behind a hole.
        """
        if self.version != MARKED_VERSION or not self._is_last or self._is_marked_beyond(file, size):
            return False
        # The first sector may have been synced up to `end`, and be lost from there on.
        for begin in (self.end, *range(-(-self.end // _SECTOR_BYTES) * _SECTOR_BYTES, following, _SECTOR_BYTES)):
            stop = (begin // _SECTOR_BYTES + 1) * _SECTOR_BYTES
            file.seek(begin)
            if stop <= following and not any(_read_up_to(file, stop - begin)):
                return True
        return False


def whole_records(file: BinaryIO, end: int) -> Iterator[TapeRecord]:
    """Yield the records from byte `end` on up to the first that is not whole and sound."""
    file.seek(end)
    buffer, start, unpack = b"", 0, PREFIX.unpack_from
    while True:
        wanted = PREFIX.size
        while len(buffer) - start >= wanted:
            length, check = unpack(buffer, start)
            if not length:
                stop = start + _MARK.size
                if stop > len(buffer):
                    wanted = stop - start
                    break
                if mark_at(buffer, start) is None:
                    return
                end += _MARK.size
                start = stop
                yield TapeRecord(b"", end)
                continue
            if not 1 <= length <= RECORD_BYTES_MAX:
                return
            stop = start + PREFIX.size + length
            if stop > len(buffer):
                wanted = stop - start
                break
            payload = buffer[start + PREFIX.size : stop]
            if crc32(payload, crc32(buffer[start : start + 4])) != check:
                return
            end += stop - start
            start = stop
            yield TapeRecord(payload, end)
        chunk = file.read(max(_READ_BYTES, wanted))
        if not chunk:
            return
        buffer, start = buffer[start:] + chunk, 0


def find_record(file: BinaryIO, start: int, size: int) -> int | None:
    """Return where the first whole and sound record in bytes `start` to `size` begins.

    A kill leaves a piece of one record at the end, and no whole record within it. A record found there proves damage to
    the bytes before it; cutting them off would lose sound records too.
    """
    for window in range(start, size - PREFIX.size, _READ_BYTES):
        file.seek(window)
        raw = np.frombuffer(_read_up_to(file, min(_READ_BYTES, size - window) + 3), np.uint8).astype(np.uint32)
        lengths = raw[:-3] | raw[1:-2] << 8 | raw[2:-1] << 16 | raw[3:] << 24
        longest = min(RECORD_BYTES_MAX, size - window - PREFIX.size)
        for at in np.flatnonzero((lengths >= 1) & (lengths <= longest)).tolist():
            file.seek(window + at)
            frame = _read_up_to(file, PREFIX.size + int(lengths[at]))
            if len(frame) == PREFIX.size + int(lengths[at]):
                check = PREFIX.unpack_from(frame)[1]
                if crc32(memoryview(frame)[PREFIX.size :], crc32(frame[:4])) == check:
                    return window + at
    return None


def last_mark(file: BinaryIO, start: int, size: int) -> int:
    """Return up to which byte the disk had everything, by the marks in bytes `start` to `size`; 0 without one."""
    least = 0
    for window in range(start, size - _MARK.size + 1, _READ_BYTES):
        file.seek(window)
        data = _read_up_to(file, min(_READ_BYTES + _MARK.size - 1, size - window))
        raw = np.frombuffer(data, np.uint8).astype(np.uint32)
        word = raw[:-3] | raw[1:-2] << 8 | raw[2:-1] << 16 | raw[3:] << 24
        # The checksum of no mark is 0, so that a hole of zeros has no candidates.
        for at in np.flatnonzero((word[:-4] == 0) & (word[4:] != 0)).tolist():
            least = max(least, mark_at(data, at) or 0)
    return least


def mark_of(end: int) -> bytes:
    """Return the mark that the disk has everything up to a byte of the segment.

    Examples:
        >>> mark_at(mark_of(4096), 0)
        4096
    """
    rest = end.to_bytes(8, "little")
    return _MARK.pack(0, crc32(rest, crc32(bytes(4))), end)


def mark_at(data: bytes, at: int) -> int | None:
    """Return what the mark at a place tells; None where none is."""
    if len(data) - at < _MARK.size:
        return None
    length, check, end = _MARK.unpack_from(data, at)
    return int(end) if not length and check == crc32(data[at + 8 : at + 16], crc32(bytes(4))) else None


def _read_up_to(file: BinaryIO, size: int) -> bytes:
    """Return `size` bytes, fewer only where the file ends: one read may give less than it was asked for."""
    data = file.read(size)
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def header_of(first: int, *, is_marked: bool = False) -> bytes:
    """Return the header of the segment that begins with record number `first`."""
    fields = HEADER.pack(MAGIC, MARKED_VERSION if is_marked else VERSION, first, 0)[:-4]
    return fields + LENGTH.pack(crc32(fields))


def write_rest(descriptor: int, data: bytes, written: int) -> None:
    """Write the bytes after the first `written` ones; a nearly full disk takes less than it was given."""
    view = memoryview(data)
    while written < len(data):
        written += os.write(descriptor, view[written:])


def segment_path(folder: Path, segment: int) -> Path:
    """Return where a segment lies.

    Examples:
        >>> segment_path(Path("tape"), 12).name
        '000012.tape'
    """
    return folder / f"{segment:06d}{_SUFFIX}"


def number_of(path: Path) -> int:
    """Return the number of a segment.

    Examples:
        >>> number_of(Path("tape/000012.tape"))
        12
    """
    return int(path.stem)


def segments_in(folder: Path, *, is_trimmed: bool = False) -> list[Path]:
    """Return a tape's segments in order.

    Args:
        folder: The tape's.
        is_trimmed: Whether the first segments may have been removed.

    Raises:
        DataError: One in between is missing, or the folder cannot be read.
    """
    if not folder.exists():
        return []
    with translated(folder, "cannot be read"):
        found = {path for path in folder.iterdir() if path.suffix == _SUFFIX and path.stem.isdecimal()}
    first = min((number_of(path) for path in found), default=0) if is_trimmed else 0
    paths = [segment_path(folder, first + segment) for segment in range(len(found))]
    for path in paths:
        if path not in found:
            raise DataError(f"{path}: missing, though {len(found)} segments of the tape are there; restore the file")
    return paths


def segment_of(paths: Sequence[Path], first: int) -> int:
    """Return the index of the segment that holds record `first`, or the last one that begins before it."""
    index = len(paths) - 1
    while index > 0 and (size_of(paths[index]) < HEADER.size or Segment(paths[index], is_last=True).first > first):
        index -= 1
    return max(index, 0)


def size_of(path: Path) -> int:
    """Return a file's length."""
    with translated(path, "cannot be read"):
        return path.stat().st_size


@contextmanager
def translated(path: Path, what: str) -> Iterator[None]:
    """Turn a file system's refusal into a DataError that says what cannot be done where."""
    try:
        yield
    except OSError as error:
        told = f"{first_line(error)}; {advice(error, 'check the disk and permissions')}"
        raise DataError(f"{path}: {what}: {told}") from error


if sys.platform == "win32":
    import msvcrt

    def try_lock(descriptor: int) -> bool:
        """Lock a file against other writers until it is closed, and return whether it was free."""
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def try_lock(descriptor: int) -> bool:
        """Lock a file against other writers until it is closed, and return whether it was free."""
        # The system lets go of the lock with the process, so a killed writer blocks nobody.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
