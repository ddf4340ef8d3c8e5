"""What a download brought: rows, holes and retries, for people and for scripts."""

import msgspec

from quantkit.errors import FeedError


class Hole(msgspec.Struct, frozen=True):
    """A span that was asked for and of which the exchange has nothing.

    Attributes:
        from_ns, to_ns: The span; its end is not part of it.
    """

    from_ns: int
    to_ns: int


class StreamReport(msgspec.Struct):
    """What came of one stream.

    Attributes:
        instrument, kind: The instrument as its rows name it, and the kind as it was asked for.
        from_ns, to_ns: The span that was wanted; its end is not part of it. Both 0 for what holds now only.
        rows: How many rows were stored.
        held_rows: How many rows of the span were stored before and stayed.
        holes: Spans of which the exchange has nothing, in order; only of what was asked for this time.
        late_from_ns: From when on its files are not out yet; 0 where nothing wanted is missing for that.
    """

    instrument: str
    kind: str
    from_ns: int = 0
    to_ns: int = 0
    rows: int = 0
    held_rows: int = 0
    holes: list[Hole] = []
    late_from_ns: int = 0


class DownloadReport(msgspec.Struct):
    """What a download brought.

    Attributes:
        folder: Where the rows are.
        streams: Each stream that was asked for.
        left_out: Kinds that an instrument does not have, and instruments that have expired, a sentence each.
        failures: What could not be downloaded and why, a line each.
        counters: Requests repeated and rows that could not be understood, by name.
        requests: How many requests were sent.
        files: How many files of days and months were read.
    """

    folder: str
    streams: list[StreamReport] = []
    left_out: list[str] = []
    failures: list[str] = []
    counters: dict[str, int] = {}
    requests: int = 0
    files: int = 0

    @property
    def rows(self) -> int:
        """How many rows were stored."""
        return sum(stream.rows for stream in self.streams)


class DownloadError(FeedError):
    """Some of a download failed; all else of it is stored.

    Attributes:
        report: What came, and in `failures` what did not.
    """

    def __init__(self, report: DownloadReport) -> None:
        lines = "; ".join(report.failures)
        super().__init__(
            f"{len(report.failures)} of what was wanted could not be downloaded, the rest is stored: {lines}"
        )
        self.report = report
