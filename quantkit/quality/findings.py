"""The words of a check: findings with count and place, a verdict for each stream, the report of a folder."""

from typing import Final

import msgspec

from quantkit.clock import iso_of
from quantkit.rows.columns import Stream

SEVERITIES: Final = ("error", "warning", "info")

#: Verdicts. Nothing was found, and everything could be looked at; or something was found; or nothing was found, but
#: the data cannot show whether they are whole.
CLEAN: Final = "clean"
FAULTY: Final = "faulty"
UNVERIFIED: Final = "cannot be verified"
#: From bad to good.
VERDICTS: Final = (FAULTY, UNVERIFIED, CLEAN)

#: So many places of one finding are kept.
PLACES_KEPT: Final = 20


class FindingPlace(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a finding is.

    Attributes:
        at_ns: Moment of the row, UTC nanoseconds; of a gap its beginning.
        to_ns: The end of a stretch, None for a single row.
        file: Path relative to the root.
        row: Number of the row in its file, counted from 0.
    """

    at_ns: int
    to_ns: int | None = None
    file: str = ""
    row: int | None = None

    def __str__(self) -> str:
        until = "" if self.to_ns is None else f" to {iso_of(self.to_ns)}"
        row = "" if self.row is None else f", row {self.row}"
        return f"{iso_of(self.at_ns)}{until}" + (f" ({self.file}{row})" if self.file else "")


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing to know about the data.

    Attributes:
        severity: `error` (rows cannot be read or trusted), `warning` (a run may be wrong or incomplete), `info`.
        where: A file's path relative to the root, a stream, or an instrument.
        what: What it is, with counts and moments.
        code: The check that found it, one word for scripts.
        count: How many rows, or stretches of time.
        places: The first of them.
        stream: The stream it belongs to, empty for one about the folder or an instrument.
    """

    severity: str
    where: str
    what: str
    code: str = ""
    count: int = 1
    places: tuple[FindingPlace, ...] = ()
    stream: str = ""


class StreamQuality(msgspec.Struct, frozen=True):
    """What a check says of one stream.

    Attributes:
        instrument, kind, interval: The stream.
        verdict: `clean`, `faulty` or `cannot be verified`.
        rows: How many were read.
        start_ns, end_ns: First and last of them, None without any.
        unverified: What the data cannot show, a sentence each.
        findings: Of the stream, worst first.
    """

    instrument: str
    kind: str
    interval: str
    verdict: str
    rows: int
    start_ns: int | None
    end_ns: int | None
    unverified: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def stream(self) -> Stream:
        """The stream."""
        return Stream(self.kind, self.instrument, self.interval)


class QualityReport(msgspec.Struct, frozen=True):
    """What a check of a data folder found.

    Attributes:
        root: The folder.
        verdict: The worst of the streams', and `faulty` where the folder itself has faults.
        streams: By instrument, kind and interval.
        folder: Findings about the folder and its instruments, worst first.
    """

    root: str
    verdict: str
    streams: tuple[StreamQuality, ...]
    folder: tuple[Finding, ...]

    @property
    def findings(self) -> list[Finding]:
        """Every finding, errors first, those about the folder before those about streams."""
        found = [*self.folder, *(finding for stream in self.streams for finding in stream.findings)]
        return worst_first(found)

    def of(self, stream: Stream) -> StreamQuality:
        """Return what is said of one stream.

        Raises:
            KeyError: It was not checked.
        """
        for each in self.streams:
            if each.stream == stream:
                return each
        raise KeyError(str(stream))


def worst_first(findings: list[Finding]) -> list[Finding]:
    """Return findings by severity, in their order otherwise."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def verdict_of(findings: list[Finding], unverified: list[str]) -> str:
    """Return the verdict of what has these findings and these doubts.

    Examples:
        >>> verdict_of([], ["no sequence numbers"])
        'cannot be verified'
    """
    if any(finding.severity != "info" for finding in findings):
        return FAULTY
    return UNVERIFIED if unverified else CLEAN


def worst(verdicts: list[str]) -> str:
    """Return the worst of some verdicts; nothing is clean."""
    return min(verdicts, key=VERDICTS.index, default=CLEAN)


def counted(count: int, noun: str) -> str:
    """Return a number with its noun.

    Examples:
        >>> counted(1, "row"), counted(1200, "row")
        ('1 row', '1,200 rows')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
