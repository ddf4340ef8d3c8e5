"""The collector: what an exchange sends goes to the tape, then into Parquet files, for weeks."""

import shutil
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final

from quantkit.clock import iso_of, wall_ns
from quantkit.collect.beats import Beat, Beats, BeatViewer, Began, Ended, StreamRefused
from quantkit.collect.channels import POLLED, streams_of
from quantkit.collect.housekeeping import Housekeeper
from quantkit.collect.recovery import Recovered, last_trades, outages, recover
from quantkit.collect.settings import RecordSettings
from quantkit.errors import ConfigError, DataError, FeedClosedError, FeedError, QuantkitError
from quantkit.events import Gap, InstrumentChange, MarketEvent, Row
from quantkit.feeds.live_clock import LiveClock
from quantkit.feeds.live_intake import LiveIntake, RecorderSettings
from quantkit.feeds.live_source import OPEN_END_NS, LiveSource
from quantkit.feeds.receiver import Receiver
from quantkit.feeds.recorder import Recorder
from quantkit.feeds.redundant import RedundantSource
from quantkit.feeds.row_tape import Listening, RowTape
from quantkit.feeds.taken import TakenRows
from quantkit.rows.columns import Stream
from quantkit.storage.root import WORK, Root

#: Rows of a batch at most. Batches come at least so far apart, which costs less CPU; the tape has the rows at once.
_BATCH_ROWS: Final = 16_384
_BATCH_NS: Final = 20_000_000


class Collector:
    """Records instruments until it is stopped. A run of it goes on where the last one in the same folder ended.

    Args:
        source: The exchange.
        instruments: Ids.
        channels: Words of `quantkit.collect.channels.CHANNELS`, and `candles-1m` with any interval; None
            takes those of `DEFAULT_CHANNELS` that one of the instruments has.
        folder: The data folder, or a URI that `pyarrow.fs` understands.
        settings: How to seal, keep and stop.
        stop: Ends it when set, from any thread.
        viewer: Gets what it says of itself; None: nobody.
        wall: The machine's UTC time in nanoseconds.

    Raises:
        ConfigError: No instrument is named, or the folder is no place that can be opened.
    """

    def __init__(
        self,
        source: LiveSource,
        instruments: Sequence[str],
        channels: Sequence[str] | None,
        folder: str | Path,
        *,
        settings: RecordSettings | None = None,
        stop: threading.Event | None = None,
        viewer: BeatViewer | None = None,
        wall: Callable[[], int] = wall_ns,
    ) -> None:
        if not instruments:
            raise ConfigError("no instrument is named; name at least one, as BTC-USDT-SWAP")
        self._source = source
        self._said_by = f"{source.title} live"  # in the manifest
        self._names = list(dict.fromkeys(instruments))
        self._channels = channels
        self._settings = settings or RecordSettings()
        self._stop = stop or threading.Event()
        self._viewer = viewer
        self._wall = wall
        self._root = Root.of(folder)
        self._work = _work_of(self._root, self._settings)
        self._tape = RowTape(self._work / "tape")
        self._keeper = Housekeeper(self._root, self._tape, self._settings, self._work, wall=wall)
        self._progress = _Progress()
        self._notes: list[str] = []
        self._streams: list[Stream] = []
        self._refused: dict[str, str] = {}  # by stream: why

    def run(self, duration_ns: int | None = None) -> Ended:
        """Record until stopped, until the time is over, or until it cannot go on.

        Returns:
            How it ended; `error` is empty if somebody asked for it.

        Raises:
            ConfigError: An instrument or a channel is not there.
            DataError: The folder has another recorder or cannot be used.
            FeedError: The exchange cannot be reached, or refuses.
        """
        self._tape.open()
        try:
            recovered = self._recover()
            ended = self._record(recovered, duration_ns)
        finally:
            self._tape.close()
        self._tell(ended)
        return ended

    # Before ---------------------------------------------------------------------------------------------------

    def _recover(self) -> Recovered:
        """Seal what an earlier run left on the tape, and clear away what it was writing."""
        staging = self._work / "staging"
        try:
            if staging.exists():
                shutil.rmtree(staging)
        except OSError as error:
            raise DataError(f"{staging} cannot be cleared: {error.strerror or error}") from error
        self._keeper.check_room()
        recovered = recover(self._tape.folder, self._root, source=self._said_by, staging=self._work / "staging")
        self._keeper.recovered(recovered)
        self._tape.know(last_trades(self._root, recovered.marks))
        ahead_ns = recovered.last_ns - self._wall()
        if ahead_ns > 0:
            self._notes.append(
                f"this machine's clock is behind the last row of {iso_of(recovered.last_ns)}: new rows are stamped "
                "after it until the clock has caught up"
            )
        return recovered

    # While ----------------------------------------------------------------------------------------------------

    def _record(self, recovered: Recovered, duration_ns: int | None) -> Ended:
        after = _After(self._wall, recovered.last_ns + 1)
        times = self._settings.redundant
        intake = LiveIntake(
            self._source if times == 1 else RedundantSource(self._source, times),
            tape=self._tape,
            settings=RecorderSettings(
                self._root, self._said_by, rotate_s=float("inf"), staging=self._work / "staging", is_taped=True
            ),
            clock=LiveClock(after, input_log=None, taken=TakenRows(after, OPEN_END_NS), sender=""),
            wall=after,
            stop=self._stop,
            batch_ns=_BATCH_NS,
            outlasts_refusals=True,
        )
        progress = self._progress
        until_ns = 0
        try:
            try:
                until_ns = since_ns = self._begin(intake, recovered)
                self._keeper.start()
                end_ns = OPEN_END_NS if duration_ns is None else since_ns + duration_ns
                until_ns = self._take(intake, since_ns, end_ns)
            except FeedClosedError:
                if not self._stop.is_set():
                    raise
                # Stopped before it could begin: somebody wanted that.
        finally:
            intake.end()
            self._keeper.close()
            recorder = intake.recorder
            if recorder is not None:
                recorder.close(until_ns)
        error: QuantkitError | None = (
            intake.receiver.failure or self._keeper.error or self._all_refused(intake.receiver)
        )
        if recorder is not None:
            if recorder.has_given_up:
                error = error or recorder.error
            elif recorder.error is not None:
                self._notes.append(f"not everything could be stored: {recorder.error}")
            try:
                self._keeper.settle(recorder.take_commits())
            except DataError as failure:
                error = error or failure
        for told in self._keeper.told():
            self._tell(told)
        return Ended(
            self._wall(),
            progress.rows,
            progress.gaps,
            self._keeper.sealed_ns,
            "" if error is None else str(error),
            self._notes,
        )

    def _begin(self, intake: LiveIntake, recovered: Recovered) -> int:
        """Connect and subscribe, and return the moment from which on rows are recorded."""
        known = {instrument.id: instrument for instrument in intake.open()}
        self._leave_out(known, recovered)
        streams = self._streams = streams_of(self._names, self._channels, known, type(self._source))
        since_ns = intake.receiver.inbox.now_ns()
        # First the tape, so that whoever recovers it knows what was listened to and what was missed before.
        self._tape.listen(Listening(since_ns, streams, [known[name].to_dict() for name in self._names]))
        gaps = outages(recovered.marks, streams, since_ns)
        recorder = _recorder_of(intake)
        if gaps:
            recorder.add(gaps)
            self._progress.gaps += len(gaps)
        polled = [stream for stream in streams if stream.kind in POLLED.values()]
        intake.subscribe([s for s in streams if s not in polled], self._names, known, since_ns, polled)
        self._tell(Began(self._wall(), [str(s) for s in streams], recovered.rows, self._tape.torn_bytes))
        return since_ns

    def _leave_out(self, known: Collection[str], recovered: Recovered) -> None:
        """Go on without an instrument that was recorded and is no longer listed; one that never was is a mistake."""
        streams = [stream for stream in recovered.marks if stream.instrument not in known]
        gone = {stream.instrument for stream in streams}
        if left := [name for name in self._names if name not in gone]:
            for name in self._names:
                if name in gone:
                    self._notes.append(f"{name} is not listed any more, and was left out")
            wanted = [stream for stream in streams if stream.instrument in self._names]
            self._refused |= {str(stream): "not listed any more" for stream in sorted(wanted)}
            self._names = left

    def _take(self, intake: LiveIntake, since_ns: int, end_ns: int) -> int:
        """Hand rows to the recorder until the end, and return the moment up to which all were taken."""
        inbox, recorder, progress = intake.receiver.inbox, _recorder_of(intake), self._progress
        roll_ns, beat_ns = self._settings.roll_ns, self._settings.beat_ns
        until_ns = since_ns
        roll_at_ns = since_ns - since_ns % roll_ns + roll_ns
        beat_at_ns = since_ns
        is_ending = False
        while (taken := inbox.take(min(beat_at_ns, roll_at_ns, end_ns), _BATCH_ROWS)) is not None:
            deliveries, until_ns = taken
            if deliveries:
                rows = [row for delivery in deliveries for row in delivery]
                _store(recorder, rows)
                # All of them are on the tape, and so they are counted.
                progress.add(rows)
            if until_ns >= roll_at_ns:
                recorder.ask_commit()
                roll_at_ns = until_ns - until_ns % roll_ns + roll_ns
            if until_ns >= beat_at_ns:
                self._beat(intake, recorder, until_ns)
                beat_at_ns = until_ns + beat_ns
            if not is_ending and (
                self._stop.is_set()
                or until_ns >= end_ns
                or self._keeper.error is not None
                or recorder.has_given_up
                or self._all_refused(intake.receiver) is not None
            ):
                is_ending = True
                intake.receiver.stop()
        self._beat(intake, recorder, until_ns)
        return until_ns

    def _beat(self, intake: LiveIntake, recorder: Recorder, now_ns: int) -> None:
        self._keeper.take(recorder.take_commits())
        for told in self._keeper.told():
            self._tell(told)
        progress = self._progress
        receiver = intake.receiver
        self._tell_refusals(receiver, now_ns)
        self._tell(
            Beat(
                now_ns=now_ns,
                rows=progress.rows,
                gaps=progress.gaps,
                rows_per_s=progress.rate(now_ns),
                last_ns=progress.last_ns,
                sealed_ns=self._keeper.sealed_ns,
                waiting=len(receiver.inbox),
                tape_bytes=self._tape.written_bytes,
                free_bytes=self._keeper.free_bytes,
                connections=receiver.connections,
                problems=dict(receiver.problems),
                refused=dict(self._refused),
            )
        )

    def _tell_refusals(self, receiver: Receiver, now_ns: int) -> None:
        """Say which streams are missing from now on."""
        for stream, error in receiver.refusals.items():
            if str(stream) not in self._refused:
                self._refused[str(stream)] = str(error)
                self._notes.append(f"{stream} was refused: {error}")
                self._tell(StreamRefused(now_ns, str(stream), str(error)))

    def _all_refused(self, receiver: Receiver) -> QuantkitError | None:
        """Return the error that ends the collector once the exchange serves none of its streams."""
        refusals = receiver.refusals
        if not refusals or any(stream not in refusals for stream in self._streams):
            return None
        return FeedError(f"the exchange serves no stream any more: {next(iter(refusals.values()))}")

    def _tell(self, beat: Beats) -> None:
        if self._viewer is not None:
            self._viewer.show(beat)


class _Progress:
    """How many rows were recorded."""

    def __init__(self) -> None:
        self.rows = 0
        self.gaps = 0
        self.last_ns = 0
        self._rated = (0, 0)

    def add(self, rows: Sequence[Row]) -> None:
        """Count rows that are on the tape."""
        gaps = sum(type(row) is Gap for row in rows)
        self.gaps += gaps
        self.rows += len(rows) - gaps
        self.last_ns = rows[-1].received_ns

    def rate(self, now_ns: int) -> float:
        """Return the rows a second since the last call."""
        at_ns, rows = self._rated
        self._rated = (now_ns, self.rows)
        return (self.rows - rows) * 1e9 / (now_ns - at_ns) if at_ns and now_ns > at_ns else 0.0


class _After:
    """The machine's clock, and no moment before one: rows go on after those that are recorded already."""

    def __init__(self, wall: Callable[[], int], least_ns: int) -> None:
        self._wall = wall
        self._least_ns = least_ns

    def __call__(self) -> int:
        return max(self._wall(), self._least_ns)


def _store(recorder: Recorder, rows: Sequence[Row]) -> None:
    """Hand rows to the recorder, and changes of metadata with them."""
    events: list[MarketEvent] = []
    for row in rows:
        if isinstance(row, InstrumentChange):
            recorder.add_instruments([row.info])
        else:
            events.append(row)
    if events:
        recorder.add(events)


def _recorder_of(intake: LiveIntake) -> Recorder:
    assert intake.recorder is not None, "a collector stores rows"
    return intake.recorder


def _work_of(root: Root, settings: RecordSettings) -> Path:
    """Return the collector's own folder.

    Raises:
        ConfigError: The data folder is not on this machine, and none is named.
    """
    if settings.work is not None:
        return settings.work
    if not root.is_local:
        raise ConfigError(f"{root} is not on this machine, where the tape has to be; name a folder for it (--tape)")
    return Path(root.path) / WORK
