"""A tape read while it is being written."""

from pathlib import Path
from typing import Final

from quantkit.errors import DataError
from quantkit.storage.segments import HEADER, Segment, number_of, segment_path, translated, whole_records

_SUFFIXES: Final = "*.tape"


class TapeFollower:
    """Reads what is appended to a tape, from the first segment that is there on. Nothing on the disk is changed.

    A segment that is removed before it was read is passed over; whoever removes it knows that its records are
    somewhere else.

    Args:
        folder: The tape's; it may be made later.

    Attributes:
        has_jumped: Whether records were passed over since this was last set to False.
    """

    def __init__(self, folder: Path) -> None:
        self.has_jumped = False
        self._folder = folder
        self._segment: int | None = None
        self._end = HEADER.size  # of what was read of it

    def read(self, most_bytes: int) -> list[bytes]:
        """Return payloads that have come since, some `most_bytes` of them; none when there are no more yet.

        Raises:
            DataError: A segment is damaged or cannot be read.
        """
        found: list[bytes] = []
        size = 0
        while size < most_bytes and self._has_segment():
            assert self._segment is not None
            # Looked for first: what is appended after that goes to the next one.
            has_next = segment_path(self._folder, self._segment + 1).exists()
            try:
                payloads = self._rest(most_bytes - size)
            except FileNotFoundError:
                continue  # removed meanwhile
            found += payloads
            size += sum(map(len, payloads))
            if payloads:
                continue
            if not has_next:
                break
            self._leave()
        return found

    def _has_segment(self) -> bool:
        """Make sure that there is a segment to read, the first of those that are left."""
        if self._segment is not None and segment_path(self._folder, self._segment).exists():
            return True
        with translated(self._folder, "cannot be read"):
            there = [number_of(path) for path in self._folder.glob(_SUFFIXES) if path.stem.isdecimal()]
        left = [number for number in there if self._segment is None or number > self._segment]
        if not left:
            return False
        self.has_jumped |= self._segment is not None
        self._segment, self._end = min(left), HEADER.size
        return True

    def _rest(self, most_bytes: int) -> list[bytes]:
        """Return the whole records from where the last reading ended."""
        assert self._segment is not None
        path = segment_path(self._folder, self._segment)
        found: list[bytes] = []
        size = 0
        with path.open("rb", buffering=0) as file:
            if len(file.read(HEADER.size)) < HEADER.size:
                return []  # it is being begun
            if self._end == HEADER.size:
                _look_at_header(path)
            for record in whole_records(file, self._end):
                if record.payload:  # else a mark
                    found.append(record.payload)
                self._end = record.end
                size += len(record.payload)
                if size >= most_bytes:
                    break
        return found

    def _leave(self) -> None:
        """Go on with the next segment.

        Raises:
            DataError: Something is left in this one, which was written whole.
        """
        assert self._segment is not None
        path = segment_path(self._folder, self._segment)
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            size = self._end
        if size > self._end:
            raise DataError(f"{path}, byte {self._end}: a damaged record, and another segment follows")
        self._segment, self._end = self._segment + 1, HEADER.size


def _look_at_header(path: Path) -> None:
    try:
        Segment(path, is_last=True)
    except DataError:
        if not path.exists():
            raise FileNotFoundError(path) from None
        raise
