"""Stored gap rows: merged with those of their month, and dropped where rows fill them."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

from quantkit.events import Gap
from quantkit.rows.columns import Block, Stream
from quantkit.storage.files import DataFile, row_groups
from quantkit.storage.manifest import FileEntry
from quantkit.storage.root import Root
from quantkit.storage.schema import folder_of
from quantkit.storage.spool import PartFile
from quantkit.storage.staged import Staged

#: First and last moments, both included.
Spans: TypeAlias = list[tuple[int, int]]

#: Between the sources of a file whose rows come from several commits.
_BETWEEN_SOURCES = "; "


class Merged(NamedTuple):
    """One month's gap rows after a commit.

    Attributes:
        staged: The month's new file, None when no row is left.
        replaced: The stored files it takes the place of.
        source, notes: Of the commits that its rows come from; where they noted a key differently, the newest counts.
    """

    staged: Staged | None
    replaced: list[FileEntry]
    source: str
    notes: dict[str, str | int]


def merged(
    root: Root,
    staging: Path,
    stored: list[FileEntry],
    new: list[Staged],
    anew: Mapping[Stream, Spans],
    *,
    source: str,
    notes: Mapping[str, str | int],
    row_group_rows: int,
) -> Iterator[Merged]:
    """Stage the gap rows of every month that a commit changes.

    New rows follow the stored ones of the same `received_ns`, rows that are there already are dropped, and `seq` counts
    each file's rows from 0. So the same gaps may be told again, and those of one channel never displace another's.

    Args:
        root: Where the stored files lie. staging: where to write, and where `new` lies.
        stored: The manifest's entries.
        new: Gap files of this commit, of any instruments.
        anew: What `renewed` returned. A stored gap row goes when every stream it tells of is written anew over the
            whole gap.
        source, notes: This commit's. row_group_rows: as the writer's.

    Raises:
        DataError: A stored file is missing or damaged.
    """
    ours = Root(staging)
    anew_ids = {stream.instrument for stream in anew}
    for instrument in sorted({file.stream.instrument for file in new} | anew_ids):
        stream = Stream("gap", instrument)
        fresh = {file.folder: file for file in new if file.stream == stream}
        held: dict[str, list[FileEntry]] = defaultdict(list)
        for entry in stored:
            if entry.stream == stream:
                held[folder_of(stream, entry.first_ns)].append(entry)
        known = {entry.stream for entry in stored if entry.instrument == instrument} | anew.keys()
        known = {other for other in known if other.instrument == instrument}
        # With nothing written anew no stored row can go, so that only months with new rows change.
        for folder in sorted(fresh.keys() | held.keys() if instrument in anew_ids else fresh.keys()):
            month = _Month()
            before: list[Gap] = []
            for entry in held.get(folder, ()):
                rows = _read(root, entry)
                before += rows
                month.take([gap for gap in rows if not _is_anew(gap, known, anew)], entry.source, entry.notes)
            if folder in fresh:
                file = fresh[folder]
                month.take(_read(ours, file.entry(file.file.name, "", {})), source, notes)
            after = sorted(month.rows, key=attrgetter("received_ns"))
            if after != before:
                staged = _staged(stream, folder, after, staging, row_group_rows) if after else None
                yield Merged(staged, held.get(folder, []), _BETWEEN_SOURCES.join(month.sources), month.notes)


class _Month:
    """Gap rows that are gathered, each once and in the order they came, and where they come from."""

    def __init__(self) -> None:
        self.rows: dict[Gap, None] = {}
        self.sources: dict[str, None] = {}
        self.notes: dict[str, str | int] = {}

    def take(self, rows: list[Gap], source: str, notes: Mapping[str, str | int]) -> None:
        """Add the rows of one file."""
        if rows:
            self.rows.update(dict.fromkeys(rows))
            self.sources.update(dict.fromkeys(name for name in source.split(_BETWEEN_SOURCES) if name))
            self.notes.update(notes)


def renewed(new: list[Staged], staying: Iterable[tuple[Stream, int, int]]) -> dict[Stream, Spans]:
    """Return, for each stream, the spans over which its new files are all that is stored of it.

    A span runs on from one file to the next where no stored row stays in between.

    Args:
        new: New files of market data, of any streams.
        staying: Stream, first and last `received_ns` of what stays of the stored files.
    """
    files: dict[Stream, list[Staged]] = defaultdict(list)
    for file in new:
        files[file.stream].append(file)
    others: dict[Stream, Spans] = defaultdict(list)
    for stream, first_ns, last_ns in staying:
        others[stream].append((first_ns, last_ns))
    return {stream: _joined(of_stream, others[stream]) for stream, of_stream in files.items()}


def _joined(new: list[Staged], staying: Spans) -> Spans:
    found: Spans = []
    last_ns = 0
    for file in sorted(new, key=attrgetter("first_ns")):
        begin_ns, end_ns = file.told_ns
        if found and not any(first < file.first_ns and last > last_ns for first, last in staying):
            begin_ns = found.pop()[0]
        found.append((begin_ns, end_ns))
        last_ns = file.last_ns
    return found


def _is_anew(gap: Gap, known: Collection[Stream], anew: Mapping[Stream, Spans]) -> bool:
    told = [stream for stream in known if tells_of(gap.channel, stream)]
    return bool(told) and all(
        any(begin_ns <= gap.from_ns and gap.to_ns <= end_ns for begin_ns, end_ns in anew.get(stream, ()))
        for stream in told
    )


def tells_of(channel: str, stream: Stream) -> bool:
    """Return whether a channel's gaps concern a stream: it begins with the kind, and may name candles' interval.

    Examples:
        >>> [tells_of(name, Stream("candle", "A-B", "1m")) for name in ("candle 1m", "candle", "candle 5m", "book")]
        [True, True, False, False]
        >>> [tells_of(name, Stream("trade", "A-B")) for name in ("trade", "trades-all", "tickers")]
        [True, True, False]
    """
    if not channel.startswith(stream.kind):
        return False
    return stream.kind != "candle" or channel.removeprefix("candle").strip() in ("", stream.interval)


def _read(root: Root, entry: FileEntry) -> list[Gap]:
    rows: list[Gap] = []
    for group in row_groups(DataFile(root, entry, verify_digest=True)):
        block = Block(entry.stream, len(group.received_ns), {"received_ns": group.received_ns}, group.column)
        rows += cast("list[Gap]", block.events())
    return rows


def _staged(stream: Stream, folder: str, rows: list[Gap], staging: Path, row_group_rows: int) -> Staged:
    path = staging / f"gaps-{sum(1 for _ in staging.glob('gaps-*'))}.parquet"
    part = PartFile(stream, path, folder, row_group_rows)
    with ExitStack() as discards:
        discards.callback(part.discard)
        part.append(Block.from_events(rows))
        return part.finish()
