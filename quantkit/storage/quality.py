"""The faults of a data folder: every file against the manifest, every row against the rules."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np

from quantkit.clock import NS_PER_S, interval_ns, iso_of, span_text
from quantkit.errors import DataError
from quantkit.instruments import Instrument
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Column, Stream
from quantkit.storage.catalog import Catalog
from quantkit.storage.checks import LEAST_SETTLEMENT_NS, RowSource, check_candles
from quantkit.storage.files import DataFile, RowGroup, read_instruments, row_groups
from quantkit.storage.manifest import MANIFEST, FileEntry
from quantkit.storage.root import STAGING_PREFIX
from quantkit.storage.schema import MONTHLY
from quantkit.storage.sessions import Sessions
from quantkit.storage.steps import StepCheck

SEVERITIES: Final = ("error", "warning", "info")


class Finding(msgspec.Struct, frozen=True):
    """One thing to know about the data.

    Attributes:
        severity: `error` (rows cannot be read or trusted), `warning` (a run may be wrong or incomplete), `info`.
        where: A file's path relative to the root, a stream, or an instrument.
        what: What it is, with counts and moments.
    """

    severity: str
    where: str
    what: str


def check(catalog: Catalog, *, progress: Callable[[FileEntry], None] | None = None) -> list[Finding]:
    """Read everything and return what is wrong or worth knowing, errors first.

    A file that cannot be read gives one error and is left out of what is said about its stream.

    Args:
        catalog: What to check; files that it does not list are reported, not read.
        progress: Called with each file before it is read.
    """
    findings = [*_unguarded_lines(catalog), *_unlisted_files(catalog)]
    versions = _versions(catalog)
    streams: dict[Stream, list[FileEntry]] = {}
    for entry in catalog.entries:
        streams.setdefault(entry.stream, []).append(entry)
    for stream, entries in streams.items():
        if stream.kind == "instrument":
            for entry in entries:
                findings += _check_metadata(catalog, entry)
            continue
        findings += _overlaps(entries)
        examiner = _examiner_of(stream, versions.get(stream.instrument, ()))
        for entry in entries:
            if progress is not None:
                progress(entry)
            findings += _check_file(catalog, entry, examiner)
        findings += examiner.findings()
        if catalog.coverage()[stream].has_holes:
            part = "month" if stream.kind in MONTHLY else "day"
            findings.append(
                Finding("warning", str(stream), f"a whole {part} is missing between the first and the last")
            )
    described = {stream.instrument for stream in streams if stream.kind == "instrument"}
    for instrument in sorted({stream.instrument for stream in streams} - described):
        findings.append(
            Finding("warning", instrument, "has data but no metadata; import it again with its price and size steps")
        )
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _unguarded_lines(catalog: Catalog) -> Iterator[Finding]:
    if catalog.unguarded:
        yield Finding(
            "warning",
            MANIFEST,
            f"unguarded: {_counted(catalog.unguarded, 'line')} of an older quantkit without a checksum, so a change "
            "there may go unnoticed; the next write to the folder adds them",
        )


def _unlisted_files(catalog: Catalog) -> Iterator[Finding]:
    listed = {entry.path for entry in catalog.entries}
    leftovers = set()
    for path in catalog.root.files():
        top = path.partition("/")[0]
        if top.startswith(STAGING_PREFIX):
            leftovers.add(top)
        elif path.endswith(".parquet") and path not in listed:
            yield Finding(
                "warning", path, "is not in the manifest and is never read; import its rows again, then delete it"
            )
    for top in sorted(leftovers):
        yield Finding("warning", top, "is left from a write that did not end, or that is under way; delete it if not")


def _check_metadata(catalog: Catalog, entry: FileEntry) -> Iterator[Finding]:
    try:
        DataFile(catalog.root, entry, verify_digest=True)
        instruments = read_instruments(catalog.root, entry)
    except DataError as error:
        yield Finding("error", entry.path, str(error))
        return
    for instrument in instruments:
        if instrument.source == "inferred":
            yield Finding("info", instrument.id, "its steps were inferred from the data; contract value is taken as 1")


def _overlaps(entries: list[FileEntry]) -> Iterator[Finding]:
    for before, after in pairwise(entries):
        if after.first_ns <= before.last_ns:
            yield Finding("error", after.path, f"overlaps {before.path} in time; write one of them with replace=True")


def _check_file(catalog: Catalog, entry: FileEntry, examiner: "_Examiner") -> Iterator[Finding]:
    try:
        file = DataFile(catalog.root, entry, verify_digest=True)
        first_ns = last_ns = None
        for group in row_groups(file):
            examiner.take(group, _decoded(entry.stream, group))
            first_ns = int(group.received_ns[0]) if first_ns is None else first_ns
            last_ns = int(group.received_ns[-1])
        if (first_ns, last_ns) != (entry.first_ns, entry.last_ns):
            yield Finding("error", entry.path, "its first or last stamp is not the manifest's; import it again")
    except DataError as error:
        yield Finding("error", entry.path, str(error))


def _decoded(stream: Stream, group: RowGroup) -> Block:
    """Decode every column, which checks every value."""
    names = (*STAMPS, *KIND_COLUMNS[stream.kind])
    return Block(stream, len(group.received_ns), {name: group.column(name) for name in names})


class _Examiner:
    """What is gathered over all rows of one stream."""

    def __init__(self, stream: Stream, versions: Sequence[Instrument]) -> None:
        self.stream = stream
        self._steps = StepCheck(stream.kind, versions)
        self._ahead_rows = 0
        self._ahead_ns_max = 0

    def take(self, group: RowGroup, block: Block) -> None:
        """Look at further rows."""
        ahead = block.column("exchange_ns") - group.received_ns
        self._ahead_rows += int((ahead > 0).sum())
        self._ahead_ns_max = max(self._ahead_ns_max, int(ahead.max()))
        self._steps.take(block, group.received_ns)
        self.look(block, group.rows)

    def look(self, block: Block, rows: RowSource) -> None:
        """Look at what is peculiar to the kind."""

    def findings(self) -> Iterator[Finding]:
        """Yield what was found."""
        if self._ahead_rows:
            yield self.found(
                "warning",
                f"{_counted(self._ahead_rows, 'row')} {'was' if self._ahead_rows == 1 else 'were'} received before "
                f"the exchange's stamp, by up to {self._ahead_ns_max / NS_PER_S:.6f} s; "
                "the receiver's clock was behind",
            )
        for what in self._steps.findings():
            yield self.found("warning", what)

    def found(self, severity: str, what: str) -> Finding:
        """Return a finding about the stream."""
        return Finding(severity, str(self.stream), what)


class _Candles(_Examiner):
    """Bars that contradict themselves or are missing."""

    def __init__(self, stream: Stream, versions: Sequence[Instrument]) -> None:
        super().__init__(stream, versions)
        self._step_ns = interval_ns(stream.interval)
        self._last_close_ns: int | None = None
        self._sessions = Sessions(self._step_ns)
        self._from_ns: list[Column] = []
        self._to_ns: list[Column] = []

    def look(self, block: Block, rows: RowSource) -> None:
        """Count the bars between one and the next."""
        check_candles(block, rows)
        opens, closes = block.column("open_ns"), block.column("close_ns")
        self._sessions.add(opens)
        begins, ends = closes[:-1], opens[1:]
        if self._last_close_ns is not None:
            begins, ends = np.concatenate(([self._last_close_ns], begins)), opens
        holes = np.flatnonzero(ends > begins)
        self._from_ns.append(begins[holes])
        self._to_ns.append(ends[holes])
        self._last_close_ns = int(closes[-1])

    def findings(self) -> Iterator[Finding]:
        """Yield how many bars are missing."""
        yield from super().findings()
        if not self._from_ns:
            return
        lost, closed = self._sessions.holes(np.concatenate(self._from_ns), np.concatenate(self._to_ns))
        missing = sum(max(1, round((to_ns - from_ns) / self._step_ns)) for from_ns, to_ns in lost)
        if missing:
            yield self.found(
                "warning",
                f"{_counted(missing, 'candle')} {'is' if missing == 1 else 'are'} missing in "
                f"{_counted(len(lost), 'hole')}, first at {iso_of(lost[0][0])}",
            )
        if closed:
            yield self.found("info", f"{closed} nights and weekends, in which no bar ever opens, are no holes")


class _Trades(_Examiner):
    """Trade ids that repeat or jump."""

    def __init__(self, stream: Stream, versions: Sequence[Instrument]) -> None:
        super().__init__(stream, versions)
        self._last_id: int | None = None
        self._repeated = 0
        self._jumps = 0
        self._skipped = 0

    def look(self, block: Block, rows: RowSource) -> None:
        """Compare each id with the one before it; 0 is no id."""
        ids = block.column("trade_id")
        ids = ids[ids != 0]
        if self._last_id is not None:
            ids = np.concatenate(([self._last_id], ids))
        if not ids.size:
            return
        self._last_id = int(ids[-1])
        steps = np.diff(ids)
        self._repeated += int((steps <= 0).sum())
        self._jumps += int((steps > 1).sum())
        self._skipped += int((steps[steps > 1] - 1).sum())

    def findings(self) -> Iterator[Finding]:
        """Yield how often ids repeat and jump."""
        yield from super().findings()
        if self._repeated:
            yield self.found("info", f"trade ids that repeat or go back: {self._repeated}")
        if self._jumps:
            yield self.found("info", f"jumps of the trade id: {self._jumps}, over {self._skipped} ids")


class _Fundings(_Examiner):
    """Rates that are charged as settlements and come too often to be any."""

    def __init__(self, stream: Stream, versions: Sequence[Instrument]) -> None:
        super().__init__(stream, versions)
        self._last_ns: int | None = None
        self._close = 0
        self._first_close_ns = 0

    def look(self, block: Block, rows: RowSource) -> None:
        """Compare each settlement's moment with the one before it."""
        settled = block.column("funding_ns")[block.column("is_settled")]
        if self._last_ns is not None:
            settled = np.concatenate(([self._last_ns], settled))
        if not settled.size:
            return
        self._last_ns = int(settled[-1])
        close = np.flatnonzero(np.diff(settled) < LEAST_SETTLEMENT_NS)
        if close.size and not self._close:
            self._first_close_ns = int(settled[close[0] + 1])
        self._close += close.size

    def findings(self) -> Iterator[Finding]:
        """Yield how many rates are no settlements."""
        yield from super().findings()
        if self._close:
            yield self.found(
                "warning",
                f"{_counted(self._close, 'settlement')} {'follows' if self._close == 1 else 'follow'} within "
                f"{span_text(LEAST_SETTLEMENT_NS)} of the one before, first at {iso_of(self._first_close_ns)}; "
                "changing rates are charged as settled, import them again",
            )


class _Gaps(_Examiner):
    """How much is known to be lost."""

    def __init__(self, stream: Stream, versions: Sequence[Instrument]) -> None:
        super().__init__(stream, versions)
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lost_ns: Counter[tuple[str, str]] = Counter()

    def look(self, block: Block, rows: RowSource) -> None:
        """Add up gaps by channel and cause."""
        lost = (block.column("to_ns") - block.column("from_ns")).tolist()
        for key, lost_ns in zip(
            zip(block.column("channel").tolist(), block.column("cause").tolist(), strict=True), lost, strict=True
        ):
            self._counts[key] += 1
            self._lost_ns[key] += lost_ns

    def findings(self) -> Iterator[Finding]:
        """Yield a line for each channel and cause."""
        yield from super().findings()
        for (channel, cause), count in sorted(self._counts.items()):
            lost = span_text(self._lost_ns[channel, cause])
            yield self.found("info", f"gaps in {channel} ({cause}): {count}, {lost} in all")


class _Books(_Examiner):
    """Books that cross when they are rebuilt, the slow and obvious way."""

    def __init__(self, stream: Stream, versions: Sequence[Instrument]) -> None:
        super().__init__(stream, versions)
        self._bids = _Half(max, -np.inf)
        self._asks = _Half(min, np.inf)
        self._is_valid = False
        self._before_snapshot = 0
        self._crossed = 0
        self._first_crossed_ns = 0

    def look(self, block: Block, rows: RowSource) -> None:
        """Apply each row and compare the best prices."""
        bid_starts, ask_starts = block.column("bid_start").tolist(), block.column("ask_start").tolist()
        levels: tuple[list[float], ...] = tuple(
            _list(block.column(name)) for name in ("bid_prices", "bid_qtys", "ask_prices", "ask_qtys")
        )
        for row, is_snapshot in enumerate(block.column("is_snapshot").tolist()):
            if is_snapshot:
                self._bids.clear()
                self._asks.clear()
                self._is_valid = True
            elif not self._is_valid:
                self._before_snapshot += 1
                continue
            bids, asks = slice(bid_starts[row], bid_starts[row + 1]), slice(ask_starts[row], ask_starts[row + 1])
            self._bids.apply(levels[0][bids], levels[1][bids])
            self._asks.apply(levels[2][asks], levels[3][asks])
            if self._bids.best > self._asks.best:
                if not self._crossed:
                    self._first_crossed_ns = int(block.column("received_ns")[row])
                self._crossed += 1

    def findings(self) -> Iterator[Finding]:
        """Yield how often the book crosses, and what no snapshot precedes."""
        yield from super().findings()
        if self._crossed:
            yield self.found(
                "warning",
                f"the rebuilt book is crossed after {self._crossed} rows, first at {iso_of(self._first_crossed_ns)}",
            )
        if self._before_snapshot:
            yield self.found("warning", f"book updates before the first snapshot: {self._before_snapshot}")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _list(column: Column) -> list[float]:
    values: list[float] = column.tolist()
    return values


class _Half:
    """One side of a book as a dictionary; `best` is `nothing` while it is empty."""

    def __init__(self, better: Callable[[Iterable[float]], float], nothing: float) -> None:
        self._better = better
        self._nothing = nothing
        self._levels: dict[float, float] = {}
        self.best = nothing

    def clear(self) -> None:
        """Drop every level."""
        self._levels.clear()
        self.best = self._nothing

    def apply(self, prices: list[float], qtys: list[float]) -> None:
        """Set levels; a size of zero removes one."""
        for price, qty in zip(prices, qtys, strict=True):
            if qty:
                self._levels[price] = qty
                self.best = self._better((price, self.best))
            else:
                self._levels.pop(price, None)
        if self.best not in self._levels:
            self.best = self._better(self._levels) if self._levels else self._nothing


_EXAMINERS: Final[dict[str, type[_Examiner]]] = {
    "book": _Books,
    "candle": _Candles,
    "funding": _Fundings,
    "gap": _Gaps,
    "trade": _Trades,
}


def _examiner_of(stream: Stream, versions: Sequence[Instrument]) -> _Examiner:
    return _EXAMINERS.get(stream.kind, _Examiner)(stream, versions)


def _versions(catalog: Catalog) -> Mapping[str, Sequence[Instrument]]:
    """Return the metadata by id; none where a file of them cannot be read, which is a finding of its own."""
    try:
        return dict(catalog.versions())
    except DataError:
        return {}
