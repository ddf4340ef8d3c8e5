"""What a collector that was killed left on its tape, sealed as if nothing had happened."""

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

from quantkit.events import EVENT_KINDS, Gap, InstrumentChange, MarketEvent
from quantkit.feeds.recording import NOT_RECORDED, Commits, channel_of, stream_of
from quantkit.feeds.row_tape import Listening, read_rows
from quantkit.instruments import Instrument
from quantkit.rows.columns import Stream
from quantkit.storage import manifest
from quantkit.storage.catalog import Catalog
from quantkit.storage.files import DataFile
from quantkit.storage.manifest import FileEntry
from quantkit.storage.root import Root

_LOG: Final = logging.getLogger("quantkit.collect")

_ALL_NS: Final = 2**62
#: So many of the last trades may come again.
_TRADES: Final = 1_000


class Recovered(NamedTuple):
    """What was found on a tape and is in the folder now.

    Attributes:
        rows: How many were not sealed yet, gap rows aside.
        entries: The new files.
        marks: Up to when each stream that was ever listened to is sealed.
    """

    rows: int
    entries: list[FileEntry]
    marks: dict[Stream, int]

    @property
    def last_ns(self) -> int:
        """The newest of the marks, 0 without any."""
        return max(self.marks.values(), default=0)


def sealed_marks(root: Root) -> dict[Stream, int]:
    """Return up to when each stream that was listened to is sealed.

    A commit says so of every stream that is listened to, with rows or without, in one step with its files.

    Raises:
        DataError: The manifest cannot be read.
    """
    held = manifest.load(root)
    marks: dict[Stream, int] = {}
    for span in [] if held is None else held.watched:
        marks[span.stream] = max(span.to_ns, marks.get(span.stream, span.to_ns))
    return marks


def recover(tape: Path, root: Root, *, source: str, staging: Path) -> Recovered:
    """Seal the rows of a tape that are not sealed yet; those that are stay as they are. Twice is as good as once.

    A row that must not be stored is left out, with a gap row in its place.

    Args:
        tape: The tape's folder; whoever calls has the tape.
        root: The data folder.
        source: Where the rows come from, for the manifest.
        staging: For files that are being written.

    Raises:
        DataError: The tape or the manifest is damaged, or the disk refuses. What was sealed stays, and the tape has
            the rest.
    """
    sealed = sealed_marks(root)
    marks = dict(sealed)
    entries: list[FileEntry] = []
    rows = 0
    commits = Commits(root, source, staging=staging)
    try:
        for found in read_rows(tape):
            if isinstance(found, Listening):
                entries += commits.commit(everything=True)
                _raise_marks(marks, commits)
                commits.instruments += map(Instrument.from_dict, found.instruments)
                # A gap that is stored already is the same row once more, and is not stored again.
                gaps = outages(marks, found.streams, found.since_ns)
                if gaps:
                    commits.take(gaps)
                commits.listen(found.streams, found.since_ns)
                continue
            events: list[MarketEvent] = []
            for row in found:
                if isinstance(row, InstrumentChange):
                    commits.instruments.append(row.info)
                elif isinstance(row, Gap) or row.received_ns > sealed.get(stream_of(row), -1):
                    events.append(row)
                    rows += type(row) is not Gap
            if events:
                commits.take(events)
        commits.write_instruments()
        entries += commits.commit(everything=True)
    except BaseException:
        commits.abandon()
        raise
    _raise_marks(marks, commits)
    for refusal in commits.take_refusals():
        _LOG.error("%s", refusal)
    return Recovered(rows - commits.lost, entries, marks)


def last_trades(root: Root, marks: Collection[Stream]) -> dict[str, frozenset[int]]:
    """Return the ids of the last trades that are recorded, by instrument.

    Args:
        root: The data folder.
        marks: The streams that were listened to.

    Raises:
        DataError: A file is damaged.
    """
    streams = [stream for stream in marks if stream.kind == "trade"]
    if not streams:
        return {}
    catalog = Catalog(root)
    found: dict[str, frozenset[int]] = {}
    for stream in streams:
        entries = catalog.files(stream, -_ALL_NS, _ALL_NS)
        if entries:
            file = DataFile(root, entries[-1])
            ids = file.column(file.group_count - 1, "trade_id")[-_TRADES:].tolist()
            found[stream.instrument] = frozenset(each for each in ids if each)
    return found


def _raise_marks(marks: dict[Stream, int], commits: Commits) -> None:
    for stream in commits.watched:
        until_ns = commits.listened_until(stream)
        marks[stream] = max(until_ns, marks.get(stream, until_ns))


def outages(marks: dict[Stream, int], streams: Collection[Stream], since_ns: int) -> list[Gap]:
    """Return the gap rows of the time in which streams were not listened to, each at its first moment.

    A replay does not go on with a stale book then.

    Args:
        marks: Up to when each stream is sealed.
        streams: Those that are listened to again.
        since_ns: From when on.
    """
    gaps = [
        Gap(stream.instrument, end_ns + 1, end_ns + 1, channel_of(stream), end_ns + 1, since_ns, NOT_RECORDED)
        for stream in streams
        # What is polled is told anew at the begin, so that nothing is missed by it.
        if EVENT_KINDS[stream.kind].subscription is not None
        and (end_ns := marks.get(stream)) is not None
        and end_ns + 1 < since_ns
    ]
    return sorted(gaps, key=lambda gap: (gap.received_ns, gap.instrument, gap.channel))
