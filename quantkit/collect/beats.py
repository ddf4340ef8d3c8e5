"""What a collector says of itself while it runs, one object a line with `--json`."""

from typing import Protocol

import msgspec

from quantkit.feeds.live_source import ConnectionLine


class Beat(msgspec.Struct, frozen=True, tag="beat", tag_field="event"):
    """How far it has come. Every row that is counted here is on the tape, and survives the death of the process.

    Attributes:
        now_ns: The moment.
        rows, gaps: Since the start, gap rows counted apart.
        rows_per_s: Since the last beat.
        last_ns: Stamp of the newest row, 0 before the first.
        sealed_ns: Every row up to this moment is in a file.
        waiting: Rows that were received and not counted yet.
        tape_bytes: Written to the tape since the start.
        free_bytes: Room on the disk that has the least.
        connections: With their states.
        problems: What was received and not used, by name.
        refused: Streams that the exchange does not serve, or no longer, and why.
    """

    now_ns: int
    rows: int
    gaps: int
    rows_per_s: float
    last_ns: int
    sealed_ns: int
    waiting: int
    tape_bytes: int
    free_bytes: int
    connections: tuple[ConnectionLine, ...] = ()
    problems: dict[str, int] = {}
    refused: dict[str, str] = {}


class Began(msgspec.Struct, frozen=True, tag="began", tag_field="event"):
    """Every stream is confirmed.

    Attributes:
        now_ns: The moment.
        streams: What is listened to.
        recovered: Rows of an earlier run that were found on the tape and sealed.
        torn_bytes: Bytes of an unfinished record that were cut off.
    """

    now_ns: int
    streams: list[str]
    recovered: int
    torn_bytes: int


class StreamRefused(msgspec.Struct, frozen=True, tag="refused", tag_field="event"):
    """The exchange does not serve a stream, or no longer; the others go on, and a gap row ends this one.

    Attributes:
        now_ns: The moment.
        stream: Its name.
        why: What the exchange said.
    """

    now_ns: int
    stream: str
    why: str


class Sealed(msgspec.Struct, frozen=True, tag="sealed", tag_field="event"):
    """Rows have become files, which were read back and compared.

    Attributes:
        now_ns: The moment.
        files, rows: How many.
        sealed_ns: Every row up to this moment is in a file.
        segments: How many segments of the tape were removed.
    """

    now_ns: int
    files: int
    rows: int
    sealed_ns: int
    segments: int


class Tidied(msgspec.Struct, frozen=True, tag="tidied", tag_field="event"):
    """Old files were made one, or removed.

    Attributes:
        now_ns: The moment.
        compacted: How many files have become fewer.
        removed: How many were too old.
    """

    now_ns: int
    compacted: int
    removed: int


class Ended(msgspec.Struct, frozen=True, tag="ended", tag_field="event"):
    """It has ended.

    Attributes:
        now_ns: The moment.
        rows, gaps: Since the start.
        sealed_ns: Every row up to this moment is in a file.
        error: Why it ended, if nobody asked for it; empty otherwise.
        notes: What else there is to say.
    """

    now_ns: int
    rows: int
    gaps: int
    sealed_ns: int
    error: str = ""
    notes: list[str] = []


Beats = Beat | Began | StreamRefused | Sealed | Tidied | Ended


class BeatViewer(Protocol):
    """Who looks at a collector."""

    def show(self, beat: Beats) -> None:
        """Take what it says; called by its main thread, so it must not wait."""
        ...
