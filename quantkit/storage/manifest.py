"""The manifest: a line for each sealed file, watched stream and asked span; how they are read, written and ordered.

A line is a JSON object: `check`, `version`, then what it says. `check` is the beginning of the SHA-256 of the bytes
that follow it. Lines of version 1 have neither, so that a change in one of them may go unnoticed. Version 3 has the
asked spans; all other lines are still written in version 2, so that an older quantkit reads folders without them.
"""

import hashlib
import re
from collections.abc import Iterable
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Annotated, BinaryIO, Final, NamedTuple, TypeAlias

import msgspec

from quantkit.clock import INTERVALS
from quantkit.errors import ConfigError, DataError, SchemaError
from quantkit.instruments import check_id
from quantkit.portable import unportable
from quantkit.rows.columns import Stream
from quantkit.storage.root import Root, first_line
from quantkit.storage.schema import TABLES

MANIFEST: Final = "manifest.jsonl"
#: The newest version of the lines that are written. Older ones are read; a newer quantkit's are refused.
VERSION: Final = 3
#: Of lines that say what those of version 2 said.
_PLAIN_VERSION: Final = 2
#: A Parquet file ends with its footer's length and the mark `PAR1`.
_FOOTER_END_BYTES: Final = 8
_FOOTER_LENGTH_BYTES: Final = 4
_FOOTER_GUESS_BYTES: Final = 16_384

_Stamp: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class FileEntry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, gc=False):
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
    rows: _Number
    first_ns: _Stamp
    last_ns: _Stamp
    first_open_ns: _Stamp | None = None
    last_open_ns: _Stamp | None = None
    size_bytes: _Number
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


#: As `FileEntry.sort_key`, without a call for each of many thousand entries.
_IN_ORDER: Final = attrgetter("kind", "instrument", "interval", "first_ns", "last_ns", "path")


class Watched(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
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
    from_ns: _Stamp
    to_ns: _Stamp
    warmup: _Number = 0

    @property
    def stream(self) -> Stream:
        """The stream that was listened to."""
        return Stream(self.kind, self.instrument, self.interval)

    @property
    def sort_key(self) -> tuple[str, str, str, int, int]:
        """The manifest's order: by stream, then by time."""
        return (self.kind, self.instrument, self.interval, self.from_ns, self.to_ns)


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A span of history that a source was asked for, all of it: where there are no rows, the source has none.

    So a hole of the source differs from a span that nobody ever asked for.

    Attributes:
        kind, instrument, interval: The stream.
        from_ns, to_ns: First and last moment; of candles on the scale of `open_ns`, else of `received_ns`.
        source: Who was asked, such as `okx` or `okx files`.
    """

    kind: str
    instrument: str
    interval: str = ""
    from_ns: _Stamp
    to_ns: _Stamp
    source: str

    @property
    def stream(self) -> Stream:
        """The stream that was asked for."""
        return Stream(self.kind, self.instrument, self.interval)

    @property
    def sort_key(self) -> tuple[str, str, str, str, int, int]:
        """The manifest's order: by stream and source, then by time."""
        return (self.kind, self.instrument, self.interval, self.source, self.from_ns, self.to_ns)


class Manifest(NamedTuple):
    """What a manifest says, each kind of line in its order.

    Attributes:
        entries: The sealed files.
        watched: The spans that were recorded live; those of one stream neither overlap nor touch.
        asked: The spans that sources were asked for; those of one stream and source neither overlap nor touch.
        unguarded: How many lines carried no checksum when they were read. All that are written have one.
    """

    entries: list[FileEntry]
    watched: list[Watched]
    asked: list[Asked]
    unguarded: int = 0


class _WatchedLine(msgspec.Struct, forbid_unknown_fields=True):
    watched: Watched


class _AskedLine(msgspec.Struct, forbid_unknown_fields=True):
    asked: Asked


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


def united_asked(spans: Iterable[Asked]) -> list[Asked]:
    """Return the spans in order, those of a stream and source that overlap or touch as one."""
    whole: list[Asked] = []
    for span in sorted(spans, key=lambda span: span.sort_key):
        last = whole[-1] if whole else None
        if last is not None and last.sort_key[:4] == span.sort_key[:4] and span.from_ns <= last.to_ns + 1:
            whole[-1] = msgspec.structs.replace(last, to_ns=max(last.to_ns, span.to_ns))
        else:
            whole.append(span)
    return whole


def footer_of(file: BinaryIO, size_bytes: int) -> bytes:
    """Return a Parquet file's footer with the length and the mark that end it.

    A length that cannot be gives the whole file's tail that can, whose digest is then not the footer's.
    """
    # Most footers are shorter than this, so that one read does, which in an object store is one request.
    begin = max(0, size_bytes - _FOOTER_GUESS_BYTES)
    file.seek(begin)
    tail = file.read(size_bytes - begin)
    length = int.from_bytes(tail[-_FOOTER_END_BYTES:][:_FOOTER_LENGTH_BYTES], "little")
    if _FOOTER_END_BYTES + length <= len(tail):
        return tail[len(tail) - _FOOTER_END_BYTES - length :]
    file.seek(max(0, size_bytes - _FOOTER_END_BYTES - length))
    return file.read()


_DECODER: Final = msgspec.json.Decoder(FileEntry)
_WATCHED_DECODER: Final = msgspec.json.Decoder(_WatchedLine)
_WATCHED_START: Final = b'{"watched":'
_ASKED_DECODER: Final = msgspec.json.Decoder(_AskedLine)
_ASKED_START: Final = b'{"asked":'
_CHECK_DIGITS: Final = 16
#: What a line from version 2 on begins with: the checksum, what it covers, and in that the version and the rest.
_GUARDED: Final = re.compile(rb'\{"check":"([0-9a-f]{16})",("version":([0-9]{1,9}),(.*))', re.DOTALL)
#: Where they stand in a line of this version.
_CHECK_BEGIN: Final = b'{"check":"'
_CHECK: Final = slice(len(_CHECK_BEGIN), len(_CHECK_BEGIN) + _CHECK_DIGITS)
_COVERED_FROM: Final = _CHECK.stop + len(b'",')
_PLAIN_LINE: Final = b'","version":%d,' % _PLAIN_VERSION
_AFTER_CHECK: Final = slice(_CHECK.stop, _CHECK.stop + len(_PLAIN_LINE))
_SAID_FROM: Final = _AFTER_CHECK.stop


def load(root: Root) -> Manifest | None:
    """Return what the manifest says, None when there is no manifest.

    Raises:
        SchemaError: A line was written by a newer quantkit.
        DataError: A line was changed, is no entry, or names a file or an instrument that it may not name.
    """
    content = root.read(MANIFEST)
    if content is None:
        return None
    if not content.endswith(b"\n"):
        # A manifest is replaced as a whole and never empty, so this is not what a writer left.
        mend = f"`quantkit data repair {root}` says what is left, or " if b"\n" in content else ""
        raise DataError(
            f"{root.full(MANIFEST)}: empty or cut off at its end; {mend}restore the manifest, or import the data again"
        )
    return parse(content[:-1].split(b"\n"), root.full(MANIFEST))


def parse(lines: Iterable[bytes], source: str) -> Manifest:
    """Return what the lines of a manifest say.

    Args:
        lines: Without their ends.
        source: Where they stand, for errors.

    Raises:
        SchemaError, DataError: As `load`.
    """
    entries: dict[str, FileEntry] = {}
    ids: set[str] = set()
    parts: set[str] = set()
    watched: list[Watched] = []
    asked: list[Asked] = []
    unguarded = 0
    for number, line in enumerate(lines, 1):
        found = _short_way(line, ids, parts)
        if found is not None and found.path not in entries:
            entries[found.path] = found
            continue
        where = f"{source}, line {number}"
        guarded = _GUARDED.fullmatch(line)
        entry = _entry(line if guarded is None else _guarded(guarded, where), where)
        unguarded += guarded is None
        if not isinstance(entry, FileEntry):
            if not _can_be(entry, entry.from_ns, entry.to_ns):
                raise DataError(f"{where}: kind, span or warm-up of {entry.stream} is impossible; restore the manifest")
            if isinstance(entry, Watched):
                watched.append(entry)
            else:
                asked.append(entry)
            continue
        path = PurePosixPath(entry.path)
        if path.is_absolute() or ".." in path.parts or any(map(unportable, path.parts)) or path.suffix != ".parquet":
            raise DataError(f"{where}: path {entry.path!r} may not leave the folder; restore the manifest")
        if entry.path in entries or not _can_be(entry, entry.first_ns, entry.last_ns):
            raise DataError(f"{where}: kind, span or path {entry.path!r} is impossible; restore the manifest")
        entries[entry.path] = entry
        ids.add(entry.instrument)
        parts.update(path.parts)
    return Manifest(sorted(entries.values(), key=_IN_ORDER), watched, asked, unguarded)


def _short_way(line: bytes, ids: set[str], parts: set[str]) -> FileEntry | None:
    """Return the file of a line that is plainly good; None leaves the line and what is said of it to the long way.

    A manifest may have tens of thousands of lines, and whoever opens a catalog waits for all of them.

    Args:
        line: Without its end.
        ids, parts: Instruments' ids and parts of paths of lines before, which are good.
    """
    if not line.startswith(_CHECK_BEGIN) or line[_AFTER_CHECK] != _PLAIN_LINE:
        return None
    if _check_of(line[_COVERED_FROM:]) != line[_CHECK]:
        return None
    try:
        entry = _DECODER.decode(b"{" + line[_SAID_FROM:])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    is_good = entry.instrument in ids and parts.issuperset(entry.path.split("/"))
    return entry if is_good and _can_be(entry, entry.first_ns, entry.last_ns) else None


def _guarded(line: re.Match[bytes], where: str) -> bytes:
    """Return what a line says, once its checksum agrees."""
    check, covered, version, rest = line.groups()
    if _check_of(covered) != check:
        raise DataError(
            f"{where}: its checksum does not agree; the line was changed or damaged, restore the manifest, "
            "or import the data again"
        )
    if int(version) not in (_PLAIN_VERSION, VERSION):
        raise SchemaError(f"{where}: written in version {int(version)}, this quantkit reads up to {VERSION}; update it")
    return b"{" + rest


def _entry(line: bytes, where: str) -> FileEntry | Watched | Asked:
    """Return what a line without its checksum says."""
    try:
        entry: FileEntry | Watched | Asked
        if line.startswith(_WATCHED_START):
            entry = _WATCHED_DECODER.decode(line).watched
        elif line.startswith(_ASKED_START):
            entry = _ASKED_DECODER.decode(line).asked
        else:
            entry = _DECODER.decode(line)
        check_id(entry.instrument)
    except (msgspec.MsgspecError, UnicodeDecodeError, ConfigError) as error:
        raise DataError(
            f"{where}: not a manifest line ({first_line(error)}); restore the manifest, or import the data again"
        ) from error
    return entry


def _can_be(entry: FileEntry | Watched | Asked, first_ns: int, last_ns: int) -> bool:
    """Return whether kind, interval and span go together."""
    fits = entry.interval in INTERVALS if entry.kind == "candle" else not entry.interval
    return entry.kind in TABLES and fits and first_ns <= last_ns


def _check_of(covered: bytes) -> bytes:
    return hashlib.sha256(covered).hexdigest()[:_CHECK_DIGITS].encode()


def dump(manifest: Manifest) -> bytes:
    """Return the manifest's bytes, the same for the same lines in any order: files, watched streams, asked spans."""
    entries = sorted(manifest.entries, key=lambda entry: entry.sort_key)
    lines = [
        *map(msgspec.json.encode, entries),
        *(msgspec.json.encode(_WatchedLine(w)) for w in united(manifest.watched)),
    ]
    asked = (msgspec.json.encode(_AskedLine(a)) for a in united_asked(manifest.asked))
    return b"".join([*(_line(line, _PLAIN_VERSION) for line in lines), *(_line(line, VERSION) for line in asked)])


def _line(encoded: bytes, version: int) -> bytes:
    covered = b'"version":%d,%b' % (version, encoded[1:])
    return b'{"check":"%b",%b\n' % (_check_of(covered), covered)
