"""What a download brought: rows, holes and retries, for people and for scripts."""

import msgspec


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
    """

    instrument: str
    kind: str
    from_ns: int = 0
    to_ns: int = 0
    rows: int = 0
    held_rows: int = 0
    holes: list[Hole] = []


class DownloadReport(msgspec.Struct):
    """What a download brought.

    Attributes:
        folder: Where the rows are.
        streams: Each stream that was asked for.
        left_out: Kinds that an instrument does not have, a sentence each.
        counters: Requests repeated and rows that could not be understood, by name.
        requests: How many requests were sent.
        files: How many daily files were read.
    """

    folder: str
    streams: list[StreamReport] = []
    left_out: list[str] = []
    counters: dict[str, int] = {}
    requests: int = 0
    files: int = 0

    @property
    def rows(self) -> int:
        """How many rows were stored."""
        return sum(stream.rows for stream in self.streams)
