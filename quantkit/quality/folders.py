"""What is wrong with a folder itself: its manifest, files that nobody lists, metadata, schema versions."""

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from quantkit.clock import NS_PER_DAY, time_ns_of
from quantkit.errors import DataError
from quantkit.quality.findings import PLACES_KEPT, Finding, FindingPlace, counted
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Holdings
from quantkit.storage.manifest import MANIFEST, FileEntry
from quantkit.storage.root import STAGING_PREFIX
from quantkit.storage.schema import MONTHLY, SCHEMA_VERSION


def about_folder(holdings: Holdings) -> Iterator[Finding]:
    """Yield lines without a checksum, files that nobody lists, and leftovers of writes."""
    if holdings.unguarded:
        what = (
            f"unguarded: {counted(holdings.unguarded, 'line')} of an older quantkit without a checksum, so a change "
            "there may go unnoticed; the next write to the folder adds them"
        )
        yield Finding("warning", MANIFEST, what, "unguarded", holdings.unguarded)
    listed = {entry.path for entry in holdings.entries}
    leftovers = set()
    for path in holdings.paths():
        top = path.partition("/")[0]
        if top.startswith(STAGING_PREFIX):
            leftovers.add(top)
        elif path.endswith(".parquet") and path not in listed:
            what = "is not in the manifest and is never read; import its rows again, then delete it"
            yield Finding("warning", path, what, "unlisted")
    for top in sorted(leftovers):
        what = "is left from a write that did not end, or that is under way; delete it if not"
        yield Finding("warning", top, what, "leftover")


def about_metadata(holdings: Holdings, entry: FileEntry) -> Iterator[Finding]:
    """Yield what is wrong with a file of instrument metadata."""
    try:
        instruments = holdings.metadata_of(entry)
    except DataError as error:
        yield Finding(
            "error", entry.path, str(error), "metadata", places=(FindingPlace(entry.first_ns, file=entry.path),)
        )
        return
    for instrument in instruments:
        if instrument.source == "inferred":
            what = "its steps were inferred from the data; contract value is taken as 1"
            yield Finding("info", instrument.id, what, "inferred")


def about_files(holdings: Holdings, stream: Stream, entries: list[FileEntry]) -> Iterator[Finding]:
    """Yield what the manifest alone shows of a stream: overlaps, missing days, mixed schemas."""
    name = str(stream)
    for before, after in pairwise(entries):
        if after.first_ns <= before.last_ns:
            what = f"overlaps {before.path} in time; write one of them with replace=True"
            place = FindingPlace(after.first_ns, to_ns=before.last_ns, file=after.path)
            yield Finding("error", after.path, what, "overlap", places=(place,), stream=name)
    if holdings.coverage()[stream].has_holes:
        part = "month" if stream.kind in MONTHLY else "day"
        held = sorted(holdings.periods(stream))
        holes = [(before + 1, after - 1) for before, after in pairwise(held) if after > before + 1]
        count = sum(last - first + 1 for first, last in holes)
        places = tuple(
            FindingPlace(_begin_ns(stream.kind, first), to_ns=_begin_ns(stream.kind, last + 1))
            for first, last in holes[:PLACES_KEPT]
        )
        whole = f"a whole {part} is" if count == 1 else f"{count} whole {part}s are"
        what = f"{whole} missing between the first and the last, first {places[0]}"
        yield Finding("warning", name, what, "missing_period", count, places, name)
    versions = Counter(entry.schema_version for entry in entries)
    if len(versions) > 1:
        told = ", ".join(
            f"version {version} in {counted(count, 'file')}" for version, count in sorted(versions.items())
        )
        what = f"schemas are mixed ({told}); all are read as version {SCHEMA_VERSION}"
        yield Finding("info", name, what, "mixed_schemas", len(entries), (), name)


def _begin_ns(kind: str, period: int) -> int:
    """Return when a period begins that `schema.period_of` numbers."""
    if kind not in MONTHLY:
        return period * NS_PER_DAY
    return time_ns_of(f"{period // 12:04}-{period % 12 + 1:02}-01")
