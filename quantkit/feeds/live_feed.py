"""The live feed of any exchange: rows in the order of their receipt, recorded, with the interface of a replay."""

import asyncio
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from quantkit.clock import INTERVALS, NS_PER_MS, NS_PER_S, delay_text, iso_of, wall_ns
from quantkit.errors import ConfigError, QuantkitError
from quantkit.events import Candle, Row
from quantkit.feeds.frame_tape import FrameTape
from quantkit.feeds.inbox import BatchMaker, InputLog
from quantkit.feeds.latencies import Latencies
from quantkit.feeds.live_catalog import LiveCatalog
from quantkit.feeds.live_clock import LiveClock
from quantkit.feeds.live_intake import LiveIntake, RecorderSettings
from quantkit.feeds.live_source import BESIDE, OPEN_END_NS, ConnectionLine, LiveSource
from quantkit.feeds.taken import TakenRows
from quantkit.rows.batch import Batch, Subscription
from quantkit.rows.columns import Block, Stream

#: How a note begins that tells of a run whose feed did not last.
FEED_LOST: Final = "the feed was lost and the run ended with it"
#: Folders of a recording: the raw tape, and rows for every tool.
FRAMES: Final = "frames"
DATA: Final = "data"

#: Rows of a batch at most; what waits beyond comes in the next one, so that the view and timers get their turn.
_BATCH_ROWS: Final = 4096
#: A batch shall take no longer than this, or the view and the end of the run would wait: it gets fewer rows then.
_BATCH_NS: Final = 50 * NS_PER_MS
#: Once the hook that was running when the time was over has returned, the engine may catch up for so long; a run that
#: is still behind then ends where it is.
_OVERTIME_NS: Final = NS_PER_S // 2
#: How often, and how many times, a warm-up asks again for a candle that has closed but is not there yet.
_WARMUP_RETRY_S: Final = 0.5
_WARMUP_RETRIES: Final = 6


def _rows_max(before: int, spent_ns: int) -> int:
    """Return how many rows the next batch may have, after one that took so long."""
    return min(2 * before, _BATCH_ROWS) if spent_ns < _BATCH_NS else max(1, before * _BATCH_NS // (2 * spent_ns))


class LiveFeed(LiveCatalog):
    """Live rows of an exchange.

    Used as a context manager: entering connects and loads the instruments, leaving closes everything. `batches` ends
    after `stop`, at the end of the subscriptions, or when the feed is lost for good, which `failure` tells.

    Args:
        source: The exchange.
        folder: Where to record: the raw frames under `frames`, rows under `data`; None: nowhere.
        input_log: Records every input of the engine.
        stop: Ends the feed when set from outside. The feed never sets it, so several runs may share it.
        sender: Stands for the strategy in the rows that say when its messages left.
        batch_ns: From one batch to the next at least so long, which costs less CPU. 0: a row goes out at once.
        wall: The machine's UTC time in nanoseconds.

    Attributes:
        exchange: The source.
        clock: The departures of messages, and the offset between this machine's clock and the exchange's.
        behind_ns_max: How far the engine was behind the wall clock at most, after a batch.
        latencies: Gets the latency of each batch's first row; None where nobody wants it.

    Raises:
        FeedError: The exchange cannot be reached, or refuses.
    """

    def __init__(
        self,
        source: LiveSource,
        *,
        folder: Path | None = None,
        input_log: InputLog | None = None,
        stop: threading.Event | None = None,
        sender: str = "",
        batch_ns: int = 0,
        wall: Callable[[], int] = wall_ns,
    ) -> None:
        super().__init__(type(source))
        self.exchange = source
        self._is_asked = stop or threading.Event()
        self._taken = TakenRows(wall, OPEN_END_NS)
        self.clock = LiveClock(wall, input_log=input_log, taken=self._taken, sender=sender)
        self.behind_ns_max = 0
        self.latencies: Latencies | None = None
        self._wall = wall
        self._input_log = input_log
        self._intake = LiveIntake(
            source,
            tape=FrameTape(None if folder is None else folder / FRAMES),
            settings=None if folder is None else RecorderSettings(folder / DATA, f"{source.title} live"),
            clock=self.clock,
            wall=wall,
            stop=self._is_asked,
            batch_ns=batch_ns,
        )
        self._receiver = self._intake.receiver
        self._inbox = self._receiver.inbox
        self._names: list[str] = []
        self._maker = BatchMaker(OPEN_END_NS)
        self._started_ns = 0
        self._since_ns = 0
        self._end_ns = OPEN_END_NS
        self._taken_until_ns = 0
        self._warnings: list[str] = []

    # Opening and closing --------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            loaded = self._intake.open()
            self._taken.recorder = self._intake.recorder
            self._started_ns = self._inbox.now_ns()
            self._set_opening(loaded, self._started_ns)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stop(self) -> None:
        """Let `batches` end after what has been received by now; from any thread."""
        self._receiver.stop()

    def close(self) -> None:
        """Close connections, tape and recording; fine to call twice."""
        self._intake.end()
        self._taken.record(everything=True)
        tape = self._intake.tape
        had_failed = tape.error is not None
        self._intake.close(self._taken_until_ns)
        if tape.error is not None and not had_failed and self.failure is None:
            self._warnings.append(f"the tape may be incomplete after a power failure: {tape.error}")

    # The feed -------------------------------------------------------------------------------------------------

    @property
    def opened_ns(self) -> int:
        """When the feed had connected and knew its instruments."""
        return self._started_ns

    def wake_at(self, moment_ns: int) -> None:
        """Let `batches` yield as soon as time has come to a moment, though no row has; from any thread."""
        self._inbox.wake_at(moment_ns)

    def now_ns(self) -> int:
        """Return the present moment: every row that comes later is stamped after it."""
        return self._inbox.now_ns()

    def assumptions(self) -> Sequence[str]:
        """Return what the reader of a result has to know about the data."""
        return (
            f"live data of {self.exchange.address}, in the order in which this machine received them; the engine "
            f"was at most {delay_text(self.behind_ns_max)} behind the clock",
        )

    def subscribe(self, subscriptions: Collection[Subscription]) -> None:
        """Subscribe to the streams, and wait until every one is confirmed.

        Raises:
            ConfigError: A stream cannot be had live.
            FeedError: A stream was refused, or the connection cannot be had.
        """
        streams: dict[Stream, None] = {}
        for wish in subscriptions:
            if wish.stream.kind == "candle_open":
                raise ConfigError(
                    f"{wish.stream.instrument}: orders cannot be matched on candles live, where a bar's open is known "
                    "late; leave match_on out, or use book, ticker or trade"
                )
            if wish.stream.kind not in BESIDE:
                streams[wish.stream] = None
        self._end_ns = min((wish.end_ns for wish in subscriptions), default=OPEN_END_NS)
        # Every bar that closes from here on is a row: those before are for the warm-up.
        self._since_ns = since_ns = min((wish.start_ns for wish in subscriptions), default=self._started_ns)
        self._maker = BatchMaker(self._end_ns)
        self._taken.end_ns = self._end_ns
        self._receiver.ends_at(self._end_ns)
        self._names = sorted({wish.stream.instrument for wish in subscriptions})
        self.clock.settle(since_ns, None, self._names)
        self._intake.subscribe(streams, self._names, self._instruments, since_ns)
        # A recording that is played back begins when somebody subscribes, and so does its time.
        self._receiver.measure_soon()

    def keep_metadata(self, names: Iterable[str]) -> None:
        """Record the metadata of instruments without rows, as the strategy has seen them."""
        if self._intake.recorder is not None:
            self._intake.recorder.add_instruments(self._instruments[name] for name in names if name not in self._names)

    def warmup(self, stream: Stream, count: int, until_ns: int) -> Block | None:
        """Fetch the last `count` candles closed by `until_ns`, fewer if there are no more, None if there are none.

        Raises:
            FeedError: They cannot be had.
        """
        candles = self._receiver.call(self._fetch_candles(stream, count, until_ns))
        if self._input_log is not None:
            self._input_log.warmup_loaded(stream, count, candles)
        self._maker.warmed(stream, candles)
        if self._intake.recorder is not None:
            self._intake.recorder.watch([stream], self._since_ns, warmup=count)
        self._taken.warmed(stream, candles)
        return Block.from_events(candles) if candles else None

    def batches(self, next_wake_ns: Callable[[], int] | None = None) -> Iterator[Batch]:
        """Yield what arrives, in the order of arrival, and the passing of time.

        A feed that is lost for good ends like a stopped one, so that the run keeps its result until then; `failure` and
        `notes` have the error.

        Raises:
            FeedError: The feed was lost or stopped before the first batch.
        """
        ask_wake_ns = next_wake_ns or (lambda: OPEN_END_NS)
        end_ns = self._end_ns
        self._taken_until_ns = self._since_ns
        self._receiver.arm_end()
        has_begun = False
        rows_max, last_call_ns = 1, OPEN_END_NS
        self._receiver.raise_failure()
        while True:
            wake_ns = ask_wake_ns()
            # What is overdue already is for the next batch, rows or not.
            due_ns = wake_ns if wake_ns > self._taken_until_ns else OPEN_END_NS
            taken = self._inbox.take(wake_ns, rows_max, due_ns)
            if taken is None:
                break
            has_begun = True
            begun_ns = self._wall()
            deliveries, until_ns = taken
            until_ns = self._bounded(until_ns, deliveries, wake_ns)
            batch = self._maker.batch(deliveries, until_ns)
            self.clock.settle(self._taken_until_ns + 1, self._maker.least_lag_ns, self._names)
            self._taken_until_ns = min(until_ns, end_ns)
            if self._input_log is not None:
                last_ns = deliveries[-1][-1].received_ns if deliveries else 0
                self._input_log.input_batch(len(deliveries), last_ns, until_ns)
            self._taken.take(deliveries)
            if self.latencies is not None and deliveries:
                self.latencies.add(self._wall() - deliveries[0][0].received_ns)
            yield batch
            done_ns = self._wall()
            self.behind_ns_max = max(self.behind_ns_max, done_ns - self._taken_until_ns)
            self._taken.record()
            rows_max = _rows_max(rows_max, done_ns - begun_ns)
            if until_ns >= end_ns:
                break
            if done_ns > last_call_ns:
                self._warnings.append(
                    f"the run's time was over while the engine was still {delay_text(done_ns - until_ns)} behind: it "
                    f"ends at {iso_of(until_ns)}; what came later was not used"
                )
                break
            if done_ns >= end_ns:
                last_call_ns = min(last_call_ns, done_ns + _OVERTIME_NS)
            if self._is_asked.is_set():
                self.stop()
        if not has_begun:
            # Without a moment that was taken there is no end of the run either.
            raise self._receiver.closed_error()
        if self._input_log is not None:
            self._input_log.feed_ended()

    def _bounded(self, until_ns: int, deliveries: Sequence[Sequence[Row]], wake_ns: int) -> int:
        """Return up to when time passes in a batch: while the engine is behind, one wake-up at a time."""
        last_ns = deliveries[-1][-1].received_ns if deliveries else 0
        next_ns = max(last_ns, wake_ns, self._taken_until_ns)
        return next_ns if until_ns - next_ns > _BATCH_NS else until_ns

    async def _fetch_candles(self, stream: Stream, count: int, until_ns: int) -> list[Candle]:
        """Return candles stamped with their close, asking again while the last one that has closed is missing."""
        length = INTERVALS[stream.interval]
        found: list[Candle] = []
        for attempt in range(_WARMUP_RETRIES + 1):
            if attempt:
                await asyncio.sleep(_WARMUP_RETRY_S)
            fetched = await self._receiver.client.candles(stream, count, until_ns)
            found = [candle for candle in fetched if candle.close_ns <= until_ns]
            if found and found[-1].close_ns + length > until_ns:
                break
        else:
            if found:
                last = iso_of(found[-1].close_ns)
                self._warnings.append(f"{stream}: the warm-up ends at {last}, since no later candle was there in time")
        return [
            msgspec.structs.replace(candle, received_ns=candle.close_ns, exchange_ns=candle.close_ns)
            for candle in found[-count:]
        ]

    # What a watcher sees --------------------------------------------------------------------------------------

    @property
    def connections(self) -> tuple[ConnectionLine, ...]:
        """The connections and their states, as of a moment ago."""
        return self._receiver.connections

    @property
    def counts(self) -> Mapping[Stream, tuple[int, int, int]]:
        """Rows so far, and `received_ns` and `exchange_ns` of the last, by stream, as the engine has taken them."""
        return self._maker.counts

    @property
    def waiting(self) -> int:
        """How many rows were received and not yet taken."""
        return len(self._inbox)

    @property
    def recorded_bytes(self) -> int:
        """The length of the tape."""
        return self._intake.tape.written_bytes

    @property
    def failure(self) -> QuantkitError | None:
        """The error that ended the feed for good, None if there is none."""
        return self._receiver.failure

    @property
    def notes(self) -> list[str]:
        """Warnings for the result: messages not used, rows not recorded, and the loss of the feed."""
        said = [
            f"live feed: {count} time{'' if count == 1 else 's'} {what}"
            for what, count in sorted(self._receiver.problems.items())
        ]
        said += self._warnings
        said += self.clock.notes
        if self.failure is not None:
            said.append(f"{FEED_LOST}: {self.failure}")
        if self._intake.recorder is not None and self._intake.recorder.error is not None:
            said.append(f"not everything was recorded as rows: {self._intake.recorder.error}; the tape has it")
        return said
