"""The rows of a recorded run, written anew from its tape: for a run that was killed before its rows were sealed."""

import shutil
from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Final, NamedTuple

from quantkit.errors import DataError
from quantkit.events import Candle, InstrumentChange, MarketEvent, Timing
from quantkit.feeds.exchanges import source_class
from quantkit.feeds.recorded import deliveries_of
from quantkit.feeds.recording import stream_of
from quantkit.live.folder import DATA, ENGINE, FRAMES, recorded_run
from quantkit.live.journal import (
    FeedEnded,
    InputBatch,
    Sent,
    Started,
    Stepped,
    Stopped,
    WarmupLoaded,
    instruments_of,
    read_log,
    span_of,
)
from quantkit.loading import sender_of
from quantkit.rows.columns import Block, Stream
from quantkit.storage.tape import held
from quantkit.storage.writer import Writer

_BLOCK_ROWS: Final = 20_000


def rebuild(run: str | Path) -> dict[Stream, int]:
    """Replace the rows in a run's `data` folder by the rows on its tape.

    Args:
        run: The run's folder.

    Returns:
        Number of rows by stream.

    Raises:
        DataError: The folder holds no recorded run, or one that is still going, its tape or log is damaged, or the
            disk refuses. The old rows are kept then.
    """
    folder = recorded_run(run)
    with held(folder / ENGINE) as is_ours:
        if not is_ours:
            raise DataError(
                f"{folder}: the run is still going, or its rows are being rebuilt already; "
                "end the run with Ctrl-C first"
            )
        try:
            fresh, old = _recovered(folder)
            summary = _summary(folder)
            try:
                counts = _write(folder, fresh, summary)
                if (folder / DATA).exists():
                    (folder / DATA).rename(old)
                fresh.rename(folder / DATA)
            finally:
                # What cannot be cleared away now is no part of the rows, and the next rebuild tries again.
                with suppress(OSError):
                    _recovered(folder)
        except OSError as error:
            raise DataError(f"{folder}: the rows cannot be written: {error.strerror or error}") from error
    return counts


def _recovered(folder: Path) -> tuple[Path, Path]:
    """Clear away what a rebuild left that was killed, and return the two places that one needs.

    The old rows are back where they were unless the new ones have taken their place.
    """
    fresh, old = folder / f".{DATA}.new", folder / f".{DATA}.old"
    if old.exists() and not (folder / DATA).exists():
        old.rename(folder / DATA)
    for left in (fresh, old):
        if left.exists():
            shutil.rmtree(left)
    return fresh, old


class _RunSummary(NamedTuple):
    """A run, by its engine log.

    Attributes:
        started: How it was set up. warmed: what its warm-ups got.
        sent, steps: When its messages left, and how far the clocks were apart.
        taken_until_ns: The moment up to which it took what came.
        until_ns: Its rows end here: a run that came to its end took no others, of a killed one the tape has the rest.
        asked: The instruments whose metadata its strategy has asked for.
    """

    started: Started
    warmed: list[WarmupLoaded]
    sent: list[Sent]
    steps: list[Stepped]
    taken_until_ns: int
    until_ns: int
    asked: list[str]


def _summary(folder: Path) -> _RunSummary:
    started: Started | None = None
    warmed, sent, steps = list[WarmupLoaded](), list[Sent](), list[Stepped]()
    until_ns, has_ended, asked = 0, False, list[str]()
    for entry in read_log(folder / ENGINE):
        match entry:
            case Started():
                started = entry
            case WarmupLoaded():
                warmed.append(entry)
            case Sent():
                sent.append(entry)
            case Stepped():
                steps.append(entry)
            case InputBatch():
                until_ns = entry.until_ns
            case FeedEnded():
                has_ended = True
            case Stopped():
                asked = entry.asked
            case _:
                continue
    if started is None:
        raise DataError(f"{folder}: the engine log does not begin with the start of a run")
    end_ns = span_of(started)[1]
    until_ns = min(until_ns, end_ns)
    return _RunSummary(started, warmed, sent, steps, until_ns, until_ns if has_ended else end_ns, asked)


class _RowBlocks:
    """Hands the rows of every stream to a writer, many at a time.

    Attributes:
        counts: Rows so far, by stream.
    """

    def __init__(self, writer: Writer) -> None:
        self.counts: dict[Stream, int] = defaultdict(int)
        self._writer = writer
        self._waiting: dict[Stream, list[MarketEvent]] = defaultdict(list)
        self._closed_ns: dict[Stream, int] = {}  # of the last candle of a warm-up: those before come no second time

    def warm_up(self, candles: Sequence[Candle]) -> None:
        """Add the candles of a warm-up."""
        for candle in candles:
            if self._is_new(candle):
                self._add(candle)
                self._closed_ns[stream_of(candle)] = candle.close_ns

    def add(self, row: MarketEvent) -> None:
        """Add a row, in order of receipt within its stream."""
        if not isinstance(row, Candle) or self._is_new(row):
            self._add(row)

    def finish(self) -> None:
        """Hand over the rest."""
        for rows in self._waiting.values():
            self._writer.write(Block.from_events(rows))

    def _is_new(self, candle: Candle) -> bool:
        return candle.close_ns > self._closed_ns.get(stream_of(candle), 0)

    def _add(self, row: MarketEvent) -> None:
        stream = stream_of(row)
        rows = self._waiting[stream]
        rows.append(row)
        self.counts[stream] += 1
        # Rows of one stamp stay in one block, as they came in one frame.
        if len(rows) >= _BLOCK_ROWS and row.received_ns != rows[-2].received_ns:
            self._writer.write(Block.from_events(rows[:-1]))
            del rows[:-1]


def _write(folder: Path, target: Path, run: _RunSummary) -> dict[Stream, int]:
    """Write rows and metadata into a new data folder."""
    started = run.started
    instruments = instruments_of(started)
    source = source_class(started.exchange)
    decoder = source.decoder(instruments)
    start_ns, _ = span_of(started)
    asked: dict[Stream, int] = {}
    with Writer(target, source=f"{source.title} live, from the tape") as writer:
        blocks = _RowBlocks(writer)
        for entry in run.warmed:
            asked[Stream("candle", entry.instrument, entry.interval)] = entry.count
            blocks.warm_up(entry.candles)
        for rows in deliveries_of(folder / FRAMES, decoder):
            if rows[0].received_ns > run.until_ns:
                # As in the run's own data, which end with it. Later subscriptions may yet stand behind.
                continue
            for row in rows:
                if isinstance(row, InstrumentChange):
                    writer.write_instrument(row.info)
                else:
                    blocks.add(row)
        subscribed = decoder.streams
        for stream in subscribed:
            writer.watched(stream, start_ns, max(start_ns, run.taken_until_ns), warmup=asked.get(stream, 0))
        names = sorted({stream.instrument for stream in (*blocks.counts, *subscribed)})
        for timing in _timings(run, names):
            blocks.add(timing)
        blocks.finish()
        for name in sorted({*names, *run.asked}):
            writer.write_instrument(instruments[name])
    return dict(blocks.counts)


def _timings(run: _RunSummary, names: Collection[str]) -> list[Timing]:
    """Return the rows that say when messages left and how far the clocks were apart, as the run recorded them."""
    started = run.started
    sender = sender_of(started.strategy, started.strategy_digest, started.parameters)
    rows = [Timing(name, s.from_ns, s.from_ns, 0, s.from_ns, s.offset_ns) for s in run.steps for name in names]
    offset_ns, steps = 0, deque(run.steps)
    for sent in run.sent:
        while steps and steps[0].from_ns <= sent.at_ns:
            offset_ns = steps.popleft().offset_ns
        rows.append(Timing(sent.instrument, sent.at_ns, sent.at_ns, sent.number, sent.sent_ns, offset_ns, sender))
    return sorted(rows, key=attrgetter("received_ns"))
