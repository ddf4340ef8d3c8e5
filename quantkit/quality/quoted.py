"""The quality of what a run read, quoted from the last check: it costs a look at the manifest and reads no rows."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from quantkit.clock import iso_of
from quantkit.quality.findings import CLEAN, FAULTY, UNVERIFIED, Finding, verdict_of
from quantkit.quality.kept import recall
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Holdings

#: Of a stream that was never checked, or that has changed since.
NOT_CHECKED: Final = "not checked"
_WORST_FIRST: Final = (FAULTY, NOT_CHECKED, UNVERIFIED, CLEAN)


class QuotedQuality(msgspec.Struct, frozen=True, omit_defaults=True):
    """The quality of one stream that a run read.

    Attributes:
        stream: Instrument, kind and interval as text.
        verdict: `clean`, `faulty`, `cannot be verified` or `not checked`.
        checked_ns: When, None if never.
        words: What is wrong, or why it is not known.
    """

    stream: str
    verdict: str
    checked_ns: int | None = None
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        day = "" if self.checked_ns is None else f", checked {iso_of(self.checked_ns)[:10]}"
        # Faults are warnings of the result, each with its own sentence.
        words = f" ({'; '.join(self.words)})" if self.words and self.verdict != FAULTY else ""
        return f"{self.stream}: {self.verdict}{day}{words}"


class DataQuality(msgspec.Struct, frozen=True):
    """The quality of the data of a run.

    Attributes:
        verdict: The worst of the streams'; `not checked` without any.
        streams: What the run read of the data folder.
        reason: Why nothing was checked, of rows that came from no data folder.
    """

    verdict: str
    streams: tuple[QuotedQuality, ...] = ()
    reason: str = ""

    @property
    def faults(self) -> list[str]:
        """A sentence for each fault, for the warnings of a result."""
        return [
            f"faulty data: {each.stream}: {word}"
            for each in self.streams
            if each.verdict == FAULTY
            for word in each.words
        ]

    def __str__(self) -> str:
        if not self.streams:
            return f"{NOT_CHECKED} ({self.reason})" if self.reason else NOT_CHECKED
        counts = Counter(each.verdict for each in self.streams)
        parts = [f"{counts[verdict]} {verdict}" for verdict in _WORST_FIRST if counts[verdict]]
        return self.verdict if len(parts) == 1 else ", ".join(parts)


#: Of data that no check has seen.
UNKNOWN_QUALITY: Final = DataQuality(NOT_CHECKED)
FROM_MEMORY: Final = DataQuality(NOT_CHECKED, reason="the rows came from memory")
FROM_FEED: Final = DataQuality(NOT_CHECKED, reason="the rows came from a feed of its own")
RECEIVED_LIVE: Final = DataQuality(
    NOT_CHECKED, reason="the rows came live; quantkit data check reads what was recorded of them"
)


def of_files(holdings: Holdings, files: Mapping[str, str], start_ns: int, end_ns: int) -> DataQuality:
    """Return the quality of what a run read.

    Args:
        holdings: The folder or database.
        files: Path and SHA-256 of each file that was read.
        start_ns, end_ns: Span of `received_ns`.
    """
    read = {entry.stream for entry in holdings.entries if files.get(entry.path) == entry.sha256}
    return quoted(holdings, (stream for stream in read if stream.kind != "instrument"), start_ns, end_ns)


def quoted(holdings: Holdings, streams: Iterable[Stream], start_ns: int, end_ns: int) -> DataQuality:
    """Return the quality of some streams of a folder as the last check said it.

    Findings that lie outside of the span, all of them, are left out.

    Args:
        holdings: The folder or database.
        streams: What was read.
        start_ns, end_ns: Span of `received_ns`.
    """
    wanted = sorted(set(streams), key=lambda stream: (stream.instrument, stream.sort_key))
    kept = recall(holdings, wanted)
    found = []
    for stream in wanted:
        known = kept.get(stream)
        if known is None:
            found.append(QuotedQuality(str(stream), NOT_CHECKED))
            continue
        concerning = [each for each in known.quality.findings if _concerns(each, start_ns, end_ns)]
        verdict = verdict_of(concerning, list(known.quality.unverified))
        words = tuple(each.what for each in concerning if each.severity != "info")
        if verdict == UNVERIFIED:
            words = known.quality.unverified
        found.append(QuotedQuality(str(stream), verdict, known.checked_ns, words))
    return DataQuality(min((each.verdict for each in found), key=_WORST_FIRST.index, default=NOT_CHECKED), tuple(found))


def _concerns(finding: Finding, start_ns: int, end_ns: int) -> bool:
    """Return whether a finding may lie in a span: places beyond those that are kept may be anywhere."""
    if not finding.places or finding.count > len(finding.places):
        return True
    return any(
        place.at_ns <= end_ns and (place.at_ns if place.to_ns is None else place.to_ns) >= start_ns
        for place in finding.places
    )
