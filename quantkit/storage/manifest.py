"""The manifest: one line for each sealed file and each watched stream, and how they are read, written and ordered."""

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import BinaryIO, Final, NamedTuple

import msgspec

from quantkit.errors import ConfigError, DataError
from quantkit.events import RANKS
from quantkit.instruments import check_id
from quantkit.portable import unportable
from quantkit.storage.columns import Stream
from quantkit.storage.root import Root, first_line

MANIFEST: Final = "manifest.jsonl"
#: A Parquet file ends with its footer's length and the mark `PAR1`.
_FOOTER_END_BYTES: Final = 8
_FOOTER_LENGTH_BYTES: Final = 4


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One sealed file, as its line in the manifest describes it.

    Attributes:
        path: Relative to the root, with forward slashes.
        kind, instrument, interval: Whose rows they are; the instrument's full id, the interval of candles.
        rows: How many.
        first_ns, last_ns: First and last `received_ns` (instruments: `valid_from_ns`).
        first_open_ns, last_open_ns: First and last `open_ns` of candles, else None.
        size_bytes, sha256: Of the whole file.
        footer_sha256: Of the Parquet footer alone, which is compared whenever the file is opened: pages carry their
            own checksums, the footer has none, and pyarrow can end the process over a damaged one.
        schema_version: What it was written with.
        source: Where the rows come from, as the writer was told.
        notes: What the writer noted, for example `received_shift_ns`.
    """

    path: str
    kind: str
    instrument: str
    interval: str = ""
    rows: int
    first_ns: int
    last_ns: int
    first_open_ns: int | None = None
    last_open_ns: int | None = None
    size_bytes: int
    sha256: str
    footer_sha256: str
    schema_version: int
    source: str = ""
    notes: dict[str, str | int] = {}

    @property
    def stream(self) -> Stream:
        """The stream whose rows the file holds."""
        return Stream(self.kind, self.instrument, self.interval)

    @property
    def sort_key(self) -> tuple[str, str, str, int, int, str]:
        """The manifest's order: by stream, then by time."""
        return (self.kind, self.instrument, self.interval, self.first_ns, self.last_ns, self.path)

    def span(self, *, opens: bool) -> tuple[int, int]:
        """Return the first and last `received_ns`, or with `opens` the first and last `open_ns` of candles."""
        if opens and self.first_open_ns is not None and self.last_open_ns is not None:
            return self.first_open_ns, self.last_open_ns
        return self.first_ns, self.last_ns


class Watched(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A span over which a live stream was listened to: where it has no rows there, nothing came.

    What was lost within it is told by gap rows, so a quiet stream differs from one that was never recorded.

    Attributes:
        kind, instrument, interval: The stream.
        from_ns, to_ns: First and last moment, on the scale of `received_ns`.
        warmup: How many candles from before `from_ns` were asked for; all of them that there were are stored.
    """

    kind: str
    instrument: str
    interval: str = ""
    from_ns: int
    to_ns: int
    warmup: int = 0

    @property
    def stream(self) -> Stream:
        """The stream that was listened to."""
        return Stream(self.kind, self.instrument, self.interval)

    @property
    def sort_key(self) -> tuple[str, str, str, int, int]:
        """The manifest's order: by stream, then by time."""
        return (self.kind, self.instrument, self.interval, self.from_ns, self.to_ns)


class Manifest(NamedTuple):
    """What a manifest says, each kind of line in its order.

    Attributes:
        entries: The sealed files.
        watched: The spans that were recorded live; those of one stream neither overlap nor touch.
    """

    entries: list[FileEntry]
    watched: list[Watched]


class _WatchedLine(msgspec.Struct):
    watched: Watched


def united(spans: Iterable[Watched]) -> list[Watched]:
    """Return the spans in order, those of a stream that overlap or touch as one."""
    whole: list[Watched] = []
    for span in sorted(spans, key=lambda span: span.sort_key):
        last = whole[-1] if whole else None
        if last is not None and last.stream == span.stream and span.from_ns <= last.to_ns + 1:
            warmup = max(last.warmup, span.warmup) if span.from_ns == last.from_ns else last.warmup
            whole[-1] = msgspec.structs.replace(last, to_ns=max(last.to_ns, span.to_ns), warmup=warmup)
        else:
            whole.append(span)
    return whole


def footer_of(file: BinaryIO, size_bytes: int) -> bytes:
    """Return a Parquet file's footer with the length and the mark that end it.

    A length that cannot be gives the whole file's tail that can, whose digest is then not the footer's.
    """
    file.seek(max(0, size_bytes - _FOOTER_END_BYTES))
    length = int.from_bytes(file.read(_FOOTER_LENGTH_BYTES), "little")
    file.seek(max(0, size_bytes - _FOOTER_END_BYTES - length))
    return file.read()


_DECODER: Final = msgspec.json.Decoder(FileEntry)
_WATCHED_DECODER: Final = msgspec.json.Decoder(_WatchedLine)
_WATCHED_START: Final = b'{"watched":'


def load(root: Root) -> Manifest | None:
    """Return what the manifest says, None when there is no manifest.

    Raises:
        DataError: A line is not an entry, or names a file or an instrument that it may not name.
    """
    content = root.read(MANIFEST)
    if content is None:
        return None
    if not content.endswith(b"\n"):
        # A manifest is replaced as a whole and never empty, so this is not what a writer left.
        raise DataError(
            f"{root.full(MANIFEST)}: empty or cut off at its end; restore the manifest, or import the data again"
        )
    entries: dict[str, FileEntry] = {}
    watched: list[Watched] = []
    for number, line in enumerate(content.splitlines(), 1):
        where = f"{root.full(MANIFEST)}, line {number}"
        try:
            entry: FileEntry | Watched
            if line.startswith(_WATCHED_START):
                entry = _WATCHED_DECODER.decode(line).watched
            else:
                entry = _DECODER.decode(line)
            check_id(entry.instrument)
        except (msgspec.MsgspecError, UnicodeDecodeError, ConfigError) as error:
            raise DataError(
                f"{where}: not a manifest line ({first_line(error)}); restore the manifest, or import the data again"
            ) from error
        if isinstance(entry, Watched):
            if entry.kind not in RANKS or entry.to_ns < entry.from_ns or entry.warmup < 0:
                raise DataError(f"{where}: kind, span or warm-up of {entry.stream} cannot be; restore the manifest")
            watched.append(entry)
            continue
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts or any(map(unportable, path.parts)) or path.suffix != ".parquet":
            raise DataError(f"{where}: path {entry.path!r} may not leave the folder; restore the manifest")
        if entry.kind not in RANKS or entry.path in entries or entry.last_ns < entry.first_ns:
            raise DataError(f"{where}: kind, span or path {entry.path!r} cannot be; restore the manifest")
        entries[entry.path] = entry
    return Manifest(sorted(entries.values(), key=lambda entry: entry.sort_key), united(watched))


def dump(manifest: Manifest) -> bytes:
    """Return the manifest's bytes, the same for the same lines in any order: files first, then watched streams."""
    entries = sorted(manifest.entries, key=lambda entry: entry.sort_key)
    lines = [
        *map(msgspec.json.encode, entries),
        *(msgspec.json.encode(_WatchedLine(w)) for w in united(manifest.watched)),
    ]
    return b"".join(line + b"\n" for line in lines)
