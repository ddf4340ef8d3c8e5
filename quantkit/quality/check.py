"""The check of a data folder: every file against the manifest, every row against the rules, streams against each other.

Rows pass by in blocks of one row group: memory stays bounded by a block of each stream that is looked at together, by
the candles that trades are held against, and by what is found.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import numpy as np

from quantkit.clock import span_text
from quantkit.errors import DataError
from quantkit.events import EVENT_KINDS
from quantkit.instruments import Instrument
from quantkit.quality.across import CandlesOfTrades, TradesInSpread
from quantkit.quality.candles import CandleGrid
from quantkit.quality.clocks import Clocks, Silence
from quantkit.quality.findings import (
    Finding,
    FindingPlace,
    QualityReport,
    StreamQuality,
    verdict_of,
    worst,
    worst_first,
)
from quantkit.quality.folders import about_files, about_folder, about_metadata
from quantkit.quality.fundings import Fundings
from quantkit.quality.lost import GapRows, gap_finding
from quantkit.quality.outliers import Outliers
from quantkit.quality.pieces import Check, RowPiece, StreamFacts
from quantkit.quality.quotes import Chain, Doubles, Frozen, TopPrices, Unnumbered
from quantkit.quality.steps import StepCheck
from quantkit.quality.trades import TradeIds
from quantkit.rows.columns import KIND_COLUMNS, STAMPS, Block, Stream
from quantkit.storage.catalog import Holdings
from quantkit.storage.manifest import FileEntry

#: Quotes that trades may be held against; of several the stream with the most rows is taken.
_QUOTES: Final = ("ticker", "book")
_EARLIEST_NS: Final = -(2**63)
_LATEST_NS: Final = 2**63 - 1


class CheckSink(Protocol):
    """Takes what passes by, to draw it."""

    def rows(self, stream: Stream, piece: RowPiece) -> None:
        """Take rows of any stream."""
        ...

    def quotes(self, stream: Stream, piece: RowPiece, top: TopPrices) -> None:
        """Take rows of quotes with their best prices."""
        ...


def check(
    holdings: Holdings,
    *,
    instruments: Iterable[str] = (),
    kinds: Iterable[str] = (),
    start_ns: int | None = None,
    end_ns: int | None = None,
    progress: Callable[[FileEntry], None] | None = None,
    sink: CheckSink | None = None,
) -> QualityReport:
    """Read a folder and return what is wrong or worth knowing.

    A file that cannot be read gives one error and is left out of what is said about its stream.

    Args:
        holdings: What to check; files that it does not list are reported, not read.
        instruments, kinds: Ids and kinds to look at; none means all.
        start_ns, end_ns: First and last `received_ns`; a file that reaches beyond is verified as a whole all the same.
        progress: Called with each file before it is read.
        sink: Takes the rows too.
    """
    span = _EARLIEST_NS if start_ns is None else start_ns, _LATEST_NS if end_ns is None else end_ns
    return _FolderCheck(holdings, set(instruments), set(kinds), span, progress, sink).run()


class _FolderCheck:
    """One check of one folder."""

    def __init__(
        self,
        holdings: Holdings,
        instruments: set[str],
        kinds: set[str],
        span_ns: tuple[int, int],
        progress: Callable[[FileEntry], None] | None,
        sink: CheckSink | None,
    ) -> None:
        self._holdings = holdings
        self._instruments = instruments
        self._kinds = kinds
        self._span_ns = span_ns
        self._progress = progress
        self._sink = sink
        self._entries: dict[Stream, list[FileEntry]] = {}
        for entry in holdings.entries:
            self._entries.setdefault(entry.stream, []).append(entry)
        self._gaps = GapRows(holdings)
        self._notes = holdings.notes()

    def run(self) -> QualityReport:
        """Check everything that was asked for."""
        folder = [] if self._instruments or self._kinds else list(about_folder(self._holdings))
        streams: list[StreamQuality] = []
        wanted: dict[str, list[Stream]] = {}
        known = dict.fromkeys((*self._entries, *(span.stream for span in self._holdings.watched)))
        for stream in known:
            if not self._instruments or stream.instrument in self._instruments:
                wanted.setdefault(stream.instrument, []).append(stream)
        for instrument in sorted(wanted):
            folder += self._about_instrument(instrument)
            chosen = [
                stream
                for stream in wanted[instrument]
                if stream.kind != "instrument" and (not self._kinds or stream.kind in self._kinds)
            ]
            streams += self._check_instrument(sorted(chosen, key=lambda stream: stream.sort_key))
        folder = worst_first(folder)
        unverified = [finding.what for finding in folder if finding.code == "no_metadata"]
        verdict = worst([*(each.verdict for each in streams), verdict_of(folder, unverified)])
        return QualityReport(self._holdings.described_as, verdict, tuple(streams), tuple(folder))

    def _about_instrument(self, instrument: str) -> Iterator[Finding]:
        described = self._entries.get(Stream("instrument", instrument), [])
        for entry in described:
            yield from about_metadata(self._holdings, entry)
        if not described:
            what = (
                "has data but no metadata, so that its price and size steps cannot be verified; import it again with "
                "them"
            )
            yield Finding("info", instrument, what, "no_metadata")
        moved = [int(shift) for shift in self._notes.get(instrument, {}).get("received_shift_ns", ()) if shift]
        if moved:
            what = (
                f"its receipt stamps were moved on by {' and '.join(map(span_text, moved))} when it was imported: the "
                "recorder's clock was behind the exchange's"
            )
            yield Finding("info", instrument, what, "shifted", len(moved))

    def _check_instrument(self, streams: Sequence[Stream]) -> list[StreamQuality]:
        versions = _versions_of(self._holdings, streams[0].instrument) if streams else ()
        exams = {
            stream: _Exam(
                self._facts(stream),
                versions,
                about_files(self._holdings, stream, self._entries.get(stream, [])),
                self._holdings.doubts,
            )
            for stream in streams
        }
        trades = next((exam for stream, exam in exams.items() if stream.kind == "trade"), None)
        quotes = self._quotes_of(exams) if trades is not None else None
        for stream, exam in exams.items():
            if stream.kind == "candle" and trades is not None:
                exam.hold_against(CandlesOfTrades(exam.facts, trades.facts))
            if exam is not trades and exam is not quotes:
                for piece in self._pieces(exam):
                    exam.look_across(piece)
        builders = [exam.of_trades for exam in exams.values() if exam.of_trades is not None]
        if trades is not None:
            self._check_trades(trades, quotes, builders)
        return [exam.quality() for exam in exams.values()]

    def _quotes_of(self, exams: Mapping[Stream, "_Exam"]) -> "_Exam | None":
        rows = {
            exam: sum(entry.rows for entry in self._entries.get(stream, []))
            for stream, exam in exams.items()
            if stream.kind in _QUOTES
        }
        return max(rows, key=rows.__getitem__, default=None)

    def _check_trades(self, trades: "_Exam", quotes: "_Exam | None", builders: Sequence[CandlesOfTrades]) -> None:
        """Read trades and quotes side by side, in the order of their receipt."""
        spread = None
        if quotes is not None:
            spread = TradesInSpread(trades.facts, quotes.facts.stream.kind)
            trades.add(spread)
        pieces, held, done = self._pieces(trades), None, 0
        for quote in self._pieces(quotes) if quotes is not None else ():
            assert quotes is not None
            assert quotes.top is not None
            assert spread is not None
            spread.quote(quote.received_ns, quotes.top.bid, quotes.top.ask)
            until_ns = int(quote.received_ns[-1])
            while held is not None or (held := self._next(pieces, builders)) is not None:
                stop = int(np.searchsorted(held.received_ns, until_ns, "right"))
                spread.take(held, done, stop)
                done = stop
                if stop < held.block.size:
                    break
                held, done = None, 0
        if held is not None and spread is not None:
            spread.take(held, done, held.block.size)
        while (held := self._next(pieces, builders)) is not None:
            if spread is not None:
                spread.take(held, 0, held.block.size)

    def _next(self, pieces: Iterator[RowPiece], builders: Sequence[CandlesOfTrades]) -> RowPiece | None:
        piece = next(pieces, None)
        if piece is not None:
            for builder in builders:
                builder.take(piece)
        return piece

    def _facts(self, stream: Stream) -> StreamFacts:
        watched = [(span.from_ns, span.to_ns) for span in self._holdings.watched if span.stream == stream]
        lost = [(gap.from_ns, gap.to_ns) for gap in self._gaps.of(stream)]
        asked = [(span.from_ns, span.to_ns) for span in self._holdings.asked if span.stream == stream]
        return StreamFacts(stream, lost, watched, asked)

    def _pieces(self, exam: "_Exam") -> Iterator[RowPiece]:
        """Read a stream and show each piece to its checks; a file that cannot be read ends there, with an error."""
        stream = exam.facts.stream
        held = [other for other in self._entries if other.instrument == stream.instrument and other.kind != "gap"]
        told = gap_finding(stream, self._gaps.of(stream), held)
        if told is not None:
            exam.found.append(told)
        first_ns, last_ns = self._span_ns
        for entry in self._entries.get(stream, []):
            if entry.last_ns < first_ns or entry.first_ns > last_ns:
                continue
            if self._progress is not None:
                self._progress(entry)
            try:
                first_row = 0
                for block in self._blocks(exam, entry):
                    piece = self._cut(RowPiece(_decoded(block), entry.path, first_row))
                    first_row += block.size
                    if piece is not None:
                        exam.take(piece)
                        if self._sink is not None:
                            self._sink.rows(stream, piece)
                            if exam.top is not None:
                                self._sink.quotes(stream, piece, exam.top)
                        yield piece
            except DataError as error:
                place = FindingPlace(entry.first_ns, to_ns=entry.last_ns, file=entry.path)
                exam.found.append(Finding("error", entry.path, str(error), "unreadable", 1, (place,), str(stream)))

    def _blocks(self, exam: "_Exam", entry: FileEntry) -> Iterator[Block]:
        first_ns = last_ns = None
        for block in self._holdings.blocks_of(entry):
            yield block
            stamps = block.column("received_ns")
            first_ns = int(stamps[0]) if first_ns is None else first_ns
            last_ns = int(stamps[-1])
        if (first_ns, last_ns) != (entry.first_ns, entry.last_ns):
            what = "its first or last stamp is not the manifest's; import it again"
            place = FindingPlace(entry.first_ns, to_ns=entry.last_ns, file=entry.path)
            exam.found.append(Finding("error", entry.path, what, "span", 1, (place,), str(entry.stream)))

    def _cut(self, piece: RowPiece) -> RowPiece | None:
        """Return the rows within the span, None where there are none."""
        first_ns, last_ns = self._span_ns
        received = piece.received_ns
        if first_ns <= received[0] and received[-1] <= last_ns:
            return piece
        start, stop = int(np.searchsorted(received, first_ns)), int(np.searchsorted(received, last_ns, "right"))
        return RowPiece(piece.block.slice(start, stop), piece.path, piece.first_row + start) if start < stop else None


class _Exam:
    """All checks of one stream, and what they found.

    Attributes:
        top: The best prices, of books and tickers.
        of_trades: What holds candles against trades.
        found: Findings that belong to no check.
    """

    def __init__(
        self,
        facts: StreamFacts,
        versions: Sequence[Instrument],
        found: Iterable[Finding],
        doubts: Sequence[str],
    ) -> None:
        self.facts = facts
        self._doubts = doubts
        self.found = list(found)
        self.top: TopPrices | None = TopPrices(facts) if facts.stream.kind in _QUOTES else None
        self.of_trades: CandlesOfTrades | None = None
        self._checks = _checks_of(facts, versions)
        if self.top is not None:
            self._checks.append(self.top)
        self._across: list[TradesInSpread] = []
        self._rows = 0
        self._start_ns: int | None = None
        self._end_ns: int | None = None

    def take(self, piece: RowPiece) -> None:
        """Show rows to every check."""
        self._rows += piece.block.size
        self._start_ns = int(piece.received_ns[0]) if self._start_ns is None else self._start_ns
        self._end_ns = int(piece.received_ns[-1])
        for each in self._checks:
            each.take(piece)

    def hold_against(self, of_trades: CandlesOfTrades) -> None:
        """Hold candles against trades, which come later."""
        self.of_trades = of_trades

    def look_across(self, piece: RowPiece) -> None:
        """Keep candles for the trades that come later."""
        if self.of_trades is not None:
            self.of_trades.candles(piece)

    def add(self, spread: TradesInSpread) -> None:
        """Add what holds these trades against quotes."""
        self._across.append(spread)

    def quality(self) -> StreamQuality:
        """Return the stream's verdict and what led to it."""
        across: list[CandlesOfTrades | TradesInSpread] = [*self._across]
        if self.of_trades is not None:
            across.append(self.of_trades)
        checks = (*self._checks, *across)
        findings = worst_first([*self.found, *(finding for each in checks for finding in each.findings())])
        unverified = [*self._doubts, *(sentence for each in checks for sentence in each.unverified())]
        kind, instrument, interval = self.facts.stream
        return StreamQuality(
            instrument,
            kind,
            interval,
            verdict_of(findings, unverified),
            self._rows,
            self._start_ns,
            self._end_ns,
            tuple(unverified),
            tuple(findings),
        )


def _checks_of(facts: StreamFacts, versions: Sequence[Instrument]) -> list[Check]:
    """Return the checks of a stream's own rows."""
    checks: list[Check] = [Clocks(facts), StepCheck(facts, versions)]
    match facts.stream.kind:
        case "trade":
            checks += [TradeIds(facts), Silence(facts), Outliers(facts, ("price",))]
        case "candle":
            checks += [CandleGrid(facts), Outliers(facts, ("low", "high"))]
        case "book":
            checks += [Chain(facts), Silence(facts)]
        case "ticker":
            names = KIND_COLUMNS["ticker"]
            checks += [Silence(facts), Frozen(facts), Doubles(facts, names), Outliers(facts, ("bid", "ask"))]
        case "funding":
            checks += [Fundings(facts)]
        case "gap" | "timing":
            pass
        case kind:
            checks += [Unnumbered(facts), Doubles(facts, KIND_COLUMNS[kind])]
            if not EVENT_KINDS[kind].is_sparse:
                checks.append(Silence(facts))
    return checks


def _decoded(block: Block) -> Block:
    """Decode every column, which checks every value."""
    names = (*STAMPS, *KIND_COLUMNS[block.stream.kind])
    return Block(block.stream, block.size, {name: block.column(name) for name in names})


def _versions_of(holdings: Holdings, instrument: str) -> Sequence[Instrument]:
    """Return an instrument's metadata; none where a file of them cannot be read, which is a finding of its own."""
    try:
        return holdings.versions().get(instrument, ())
    except DataError:
        return ()
