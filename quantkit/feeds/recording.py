"""Live rows on their way into one commit after the other, and the holes that failures leave."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Final

from quantkit.errors import DataError, QuantkitError
from quantkit.events import EVENT_KINDS, KINDS, Candle, Gap, MarketEvent
from quantkit.instruments import Instrument
from quantkit.rows.columns import Block, Stream
from quantkit.storage import manifest
from quantkit.storage.catalog import Catalog
from quantkit.storage.manifest import FileEntry
from quantkit.storage.root import Root
from quantkit.storage.writer import Writer

#: Cause of the gap rows that stand for what could not be stored.
NOT_RECORDED: Final = "not recorded"
#: Cause of the gap rows that stand for rows which must not be stored.
NOT_STORED: Final = "refused by storage"
#: Cause of the gap row with which a stream ends that the exchange does not serve, or no longer.
REFUSED: Final = "refused by the exchange"

#: Rows of all streams that are gathered before they become columns, which are a good deal smaller.
_GATHER_ROWS: Final = 16_384
#: Gap rows kept for a commit that succeeds, a bound that only an endless run of failures reaches.
_GAPS_MAX: Final = 10_000


class Holes:
    """Lost rows as one span for each stream, and gap rows in front of storage."""

    def __init__(self) -> None:
        self._spans: dict[Stream, tuple[int, int]] = {}
        self._gaps: list[Gap] = []

    def __bool__(self) -> bool:
        return bool(self._spans or self._gaps)

    def keep(self, gap: Gap) -> None:
        """Take a gap row; beyond 10,000 it becomes a hole itself."""
        if len(self._gaps) < _GAPS_MAX:
            self._gaps.append(gap)
        else:
            self.widen(Stream("gap", gap.instrument), gap.received_ns, gap.received_ns)

    def widen(self, stream: Stream, first_ns: int, last_ns: int) -> None:
        """Let the span of a stream reach to `last_ns`, from `first_ns` if it has none yet."""
        self._spans[stream] = (self._spans.get(stream, (first_ns, 0))[0], last_ns)

    def rows(self) -> list[Gap]:
        """Return a row for each span among the gap rows that wait, in order of `received_ns`.

        A gap row stands at the first missing row, so that a replay does not continue with a stale book.
        """
        spans = [
            Gap(stream.instrument, first_ns, first_ns, channel_of(stream), first_ns, last_ns, NOT_RECORDED)
            for stream, (first_ns, last_ns) in self._spans.items()
        ]
        return sorted(self._gaps + spans, key=attrgetter("received_ns"))

    def clear(self) -> None:
        """Forget everything."""
        self._spans.clear()
        self._gaps.clear()


class Commits:
    """Rows between two commits; used by one thread.

    Args:
        root: Data folder. source: where the rows come from, for the manifest.
        staging: A local folder of the caller's own for files that are being written; None: one beside the files.

    Attributes:
        instruments: Metadata that wait to be stored.
        watched: Since when each stream is listened to, and how many candles from before were asked for.
        until_ns: The newest moment that was recorded; what is listened to has been until then.
        committed, lost: How many rows became visible, and how many are not stored; gap rows aside.
        count: How many commits succeeded.
        sealed_ns: Every row up to this moment is visible, or told of as lost.
    """

    def __init__(self, root: Root, source: str, *, staging: Path | None = None) -> None:
        self.instruments: list[Instrument] = []
        self.watched: dict[Stream, tuple[int, int]] = {}
        self.until_ns = 0
        self.committed = self.lost = self.count = 0
        self.sealed_ns = 0
        self._root = root
        self._source = source
        self._staging = staging
        self._writer: Writer | None = None
        self._newest: list[MarketEvent] = []  # rows of the newest stamp, of which more may come
        self._gathered: defaultdict[Stream, list[MarketEvent]] = defaultdict(list)
        self._gathered_rows = 0
        self._written: dict[Stream, tuple[int, int]] = {}  # the spans that the writer holds
        self._written_rows = 0
        self._holes = Holes()
        self._refusals: list[DataError] = []
        self._ended: dict[tuple[str, str], int] = {}  # by instrument and channel: listened to no longer than that

    def listen(self, streams: Iterable[Stream], since_ns: int) -> None:
        """Listen to these streams from a moment on, and to no others."""
        self.watched = dict.fromkeys(streams, (since_ns, 0))
        self._ended.clear()
        self.until_ns = max(self.until_ns, since_ns)

    def listened_until(self, stream: Stream) -> int:
        """Return up to when a stream has been listened to."""
        return min(self.until_ns, self._ended.get((stream.instrument, channel_of(stream)), self.until_ns))

    def take(self, rows: Sequence[MarketEvent]) -> None:
        """Add rows that follow on, at least one.

        Raises:
            DataError: The disk refuses. The rows since the last commit are lost then, and the next one tells of them.
        """
        newest_ns = rows[-1].received_ns
        self.until_ns = max(self.until_ns, newest_ns)
        if self._newest and self._newest[-1].received_ns != newest_ns:
            self._gather_newest()
        split = len(rows)
        while split and rows[split - 1].received_ns == newest_ns:
            split -= 1
        self._gather(rows[:split])
        self._newest += rows[split:]
        if self._gathered_rows >= _GATHER_ROWS:
            self._write()

    def commit(self, *, everything: bool) -> list[FileEntry]:
        """Let the rows become visible; those of the newest stamp only with `everything`.

        Rows of one stamp never lie on both sides of a commit, since a later one may not begin where another ended.

        Raises:
            DataError: As `take`.
        """
        if everything:
            self._gather_newest()
        if self._gathered:
            self._write()
        # Rows of the newest stamp may still wait, so that moment is left for the end.
        until_ns = self.until_ns if everything else self.until_ns - 1
        if self._writer is None and not self._holes and not (everything and self.watched):
            return []
        try:
            writer = self._open_writer()
            for stream, (from_ns, warmup) in self.watched.items():
                to_ns = min(until_ns, self.listened_until(stream))
                if to_ns >= from_ns:
                    writer.watched(stream, from_ns, to_ns, warmup=warmup)
            gaps: defaultdict[str, list[MarketEvent]] = defaultdict(list)
            for gap in self._holes.rows():
                gaps[gap.instrument].append(gap)
            for rows in gaps.values():
                writer.write(Block.from_events(rows))
            entries = writer.commit()
        except QuantkitError:
            self._spoil()
            raise
        self._holes.clear()
        self._leave_out(writer)
        self.committed += self._written_rows
        self.count += bool(entries)
        self.sealed_ns = until_ns
        self._begin()
        if everything and self._holes:
            entries += self.commit(everything=True)
        return entries

    def take_refusals(self) -> list[DataError]:
        """Return why rows were left out since the last call."""
        refusals, self._refusals = self._refusals, []
        return refusals

    def abandon(self) -> None:
        """Drop what is not visible yet; the tape has it."""
        if self._writer is not None:
            self._writer.abort()
        self._begin()

    def write_instruments(self) -> None:
        """Store the metadata that wait, in a commit of their own, so that they never cost rows.

        Raises:
            DataError: Some contradict the stored ones, or the disk refuses; those wait for the next time.
        """
        self.instruments = self._unknown()
        if not self.instruments:
            return
        try:
            self._store(self.instruments)
            self.instruments = []
        except QuantkitError:
            # One that is refused does not keep the others out.
            refused = []
            for instrument in self.instruments:
                try:
                    self._store([instrument])
                except QuantkitError:
                    refused.append(instrument)
            self.instruments = refused
            if refused:
                raise

    def _store(self, instruments: Iterable[Instrument]) -> None:
        with Writer(self._root, source=self._source, staging=self._staging) as writer:
            for instrument in instruments:
                writer.write_instrument(instrument)

    def _unknown(self) -> list[Instrument]:
        """Return the instruments of which the folder does not say the same already for that time."""
        if not self.instruments or manifest.load(self._root) is None:
            return self.instruments
        catalog = Catalog(self._root)
        moments = {instrument.valid_from_ns for instrument in self.instruments}
        held = {at_ns: catalog.instruments(at_ns) for at_ns in moments}
        return [new for new in self.instruments if not _says(held[new.valid_from_ns].get(new.id), new)]

    def _gather_newest(self) -> None:
        self._gather(self._newest)
        self._newest = []

    def _gather(self, rows: Iterable[MarketEvent]) -> None:
        for row in rows:
            if type(row) is Gap:
                self._holes.keep(row)
                if row.cause == REFUSED:
                    self._ended[row.instrument, row.channel] = row.received_ns
            else:
                self._gathered[stream_of(row)].append(row)
                self._gathered_rows += 1

    def _open_writer(self) -> Writer:
        if self._writer is None:
            self._writer = Writer(self._root, source=self._source, staging=self._staging, leaves_out=True)
        return self._writer

    def _leave_out(self, writer: Writer) -> None:
        """Let gap rows stand for the rows that a writer has left out."""
        for stream, rows, holes, error in writer.left_out:
            for first_ns, last_ns in holes:
                self._holes.keep(
                    Gap(stream.instrument, first_ns, first_ns, channel_of(stream), first_ns, last_ns, NOT_STORED)
                )
            self._refusals.append(error)
            self._written_rows -= rows
            self.lost += rows
        writer.left_out.clear()

    def _write(self) -> None:
        try:
            writer = self._open_writer()
            for stream, rows in self._gathered.items():
                writer.write(Block.from_events(rows))
                first_ns = self._written.get(stream, (rows[0].received_ns, 0))[0]
                self._written[stream] = (first_ns, rows[-1].received_ns)
        except QuantkitError:
            self._spoil()
            raise
        self._written_rows += self._gathered_rows
        self._leave_out(writer)
        self._gathered.clear()
        self._gathered_rows = 0

    def _spoil(self) -> None:
        """Turn the rows since the last commit into holes; a writer that fails has dropped them."""
        for stream, (first_ns, last_ns) in self._written.items():
            self._holes.widen(stream, first_ns, last_ns)
        for stream, rows in self._gathered.items():
            self._holes.widen(stream, rows[0].received_ns, rows[-1].received_ns)
        self.lost += self._written_rows + self._gathered_rows
        self._begin()

    def _begin(self) -> None:
        self._writer = None
        self._written.clear()
        self._gathered.clear()
        self._written_rows = self._gathered_rows = 0


def stream_of(row: MarketEvent) -> Stream:
    """Return the stream that an event is a row of.

    Examples:
        >>> str(stream_of(Gap("BTC-USDT", 1, 1, "book", 0, 1, "reconnected")))
        'BTC-USDT gap'
    """
    return Stream(KINDS[type(row)], row.instrument, row.interval if type(row) is Candle else "")


def refusals_of(streams: Iterable[Stream], at_ns: int) -> list[Gap]:
    """Return the rows with which streams end at a moment, in order; what has no rows of the market has none."""
    return [
        Gap(stream.instrument, at_ns, at_ns, channel_of(stream), at_ns, at_ns, REFUSED)
        for stream in sorted(streams)
        if EVENT_KINDS[stream.kind].subscription is not None
    ]


def channel_of(stream: Stream) -> str:
    """Return the word by which gap rows name a stream."""
    return f"{stream.kind} {stream.interval}".strip()


def _says(held: Instrument | None, new: Instrument) -> bool:
    if held is None:
        return False
    one, other = held.to_dict(), new.to_dict()
    # A guess from the data is worth replacing by a statement that agrees with it.
    is_guess = one["source"] == "inferred" != other["source"]
    names = (one.keys() | other.keys()) - {"source", "valid_from_ns"}
    return not is_guess and all(one.get(name) == other.get(name) for name in names)
