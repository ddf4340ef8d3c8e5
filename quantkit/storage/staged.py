"""Finished but unpublished files: their facts and their digests."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from quantkit.rows.columns import Stream
from quantkit.storage.manifest import FileEntry, footer_of
from quantkit.storage.schema import SCHEMA_VERSION


class Seal(NamedTuple):
    """Size and digests of a file, as in its manifest line."""

    size_bytes: int
    sha256: str
    footer_sha256: str


class Staged(NamedTuple):
    """A finished file that is not published yet.

    Attributes:
        file: Where it lies now. folder: where it will lie, relative to the root.
        stream, rows, first_ns, last_ns, first_open_ns, last_open_ns: As in its manifest line.
        told_ns: The first and last moment that its rows tell of, by any of their stamps.
        seal: Its size and digests.
    """

    file: Path
    folder: str
    stream: Stream
    rows: int
    first_ns: int
    last_ns: int
    first_open_ns: int | None
    last_open_ns: int | None
    told_ns: tuple[int, int]
    seal: Seal

    def entry(self, path: str, source: str, notes: dict[str, str | int]) -> FileEntry:
        """Return its manifest line once it lies at `path`."""
        return FileEntry(
            path=path,
            kind=self.stream.kind,
            instrument=self.stream.instrument,
            interval=self.stream.interval,
            rows=self.rows,
            first_ns=self.first_ns,
            last_ns=self.last_ns,
            first_open_ns=self.first_open_ns,
            last_open_ns=self.last_open_ns,
            size_bytes=self.seal.size_bytes,
            sha256=self.seal.sha256,
            footer_sha256=self.seal.footer_sha256,
            schema_version=SCHEMA_VERSION,
            source=source,
            notes=dict(notes),
        )


class HashingFile:
    """A local file that digests the bytes on writing, so that the digest covers the intended bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb")
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Append bytes."""
        view = memoryview(data)
        self._digest.update(view)
        self._file.write(view)
        self.size_bytes += view.nbytes
        return view.nbytes

    def close(self) -> None:
        """Do nothing, since pyarrow calls this before the bytes are durable; `seal` and `abandon` close."""

    def seal(self) -> Seal:
        """Make the bytes durable, close the file and return its digests."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self.abandon()
        with self._path.open("rb") as written:
            footer = footer_of(written, self.size_bytes)
        return Seal(self.size_bytes, self._digest.hexdigest(), hashlib.sha256(footer).hexdigest())

    def abandon(self) -> None:
        """Close the file as it is; fine to call again."""
        self.closed = True
        # What could not be flushed is lost with the file, which `seal` has synced if anybody is going to read it.
        with suppress(OSError):
            self._file.close()
