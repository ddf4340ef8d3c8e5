"""The outcome of the last check, kept beside the manifest as `quality.json`, with the digests of what was checked.

What is said of a stream counts as long as its files, its instrument's gap rows and its metadata are the ones that were
checked. A file that was damaged, or that another version wrote, counts as none: the next check writes it anew.
"""

import hashlib
import re
from collections.abc import Iterable
from typing import Final

import msgspec

from quantkit.errors import DataError
from quantkit.quality.findings import QualityReport, StreamQuality
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Holdings

QUALITY: Final = "quality.json"
VERSION: Final = 1

_GUARDED: Final = re.compile(rb'\{"check":"([0-9a-f]{64})",("version":1,.*)\n', re.DOTALL)


class KeptQuality(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the last check said of one stream.

    Attributes:
        quality: The words of the check.
        files: Digest of what was checked, see `files_digest`.
        checked_ns: When, UTC nanoseconds.
    """

    quality: StreamQuality
    files: str
    checked_ns: int


class _KeptFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    streams: list[KeptQuality]


def files_digest(holdings: Holdings, stream: Stream) -> str:
    """Return a SHA-256 over the digests of a stream's files, and of its instrument's gap rows and metadata."""
    digest = hashlib.sha256()
    for each in (stream, Stream("gap", stream.instrument), Stream("instrument", stream.instrument)):
        for entry in holdings.files(each, -(2**63), 2**63 - 1):
            digest.update(f"{entry.path} {entry.sha256}\n".encode())
    for span in holdings.watched:
        if span.stream == stream:
            digest.update(f"{span.from_ns} {span.to_ns}\n".encode())
    return digest.hexdigest()


def recall(holdings: Holdings, streams: Iterable[Stream] | None = None) -> dict[Stream, KeptQuality]:
    """Return what the last check said of some streams, or all, as far as the same files are still there."""
    held = _read(holdings)
    wanted = held if streams is None else [stream for stream in streams if stream in held]
    return {stream: held[stream] for stream in wanted if held[stream].files == files_digest(holdings, stream)}


def remember(holdings: Holdings, report: QualityReport, now_ns: int) -> None:
    """Keep what a check of whole streams said; other streams keep what was said of them.

    Nothing is written where it says what stands there already.

    Raises:
        DataError: The folder cannot be written.
    """
    held = _read(holdings)
    kept = recall(holdings)
    for quality in report.streams:
        files = files_digest(holdings, quality.stream)
        before = kept.get(quality.stream)
        is_new = before is None or before.quality != quality
        kept[quality.stream] = KeptQuality(quality, files, now_ns) if is_new or before is None else before
    if kept == held:
        return
    streams = [kept[stream] for stream in sorted(kept)]
    covered = msgspec.json.encode(_KeptFile(VERSION, streams))[1:]
    holdings.keep_note(QUALITY, b'{"check":"%b",%b\n' % (hashlib.sha256(covered).hexdigest().encode(), covered))


def _read(holdings: Holdings) -> dict[Stream, KeptQuality]:
    try:
        content = holdings.note(QUALITY)
        guarded = None if content is None else _GUARDED.fullmatch(content)
        if guarded is None or hashlib.sha256(guarded[2]).hexdigest().encode() != guarded[1]:
            return {}
        file = msgspec.json.decode(b"{" + guarded[2], type=_KeptFile)
    except (DataError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return {kept.quality.stream: kept for kept in file.streams}
