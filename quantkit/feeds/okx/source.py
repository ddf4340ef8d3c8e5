"""OKX's live market data as a feed: the sockets on a thread of their own, rows handed to the engine in one order."""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec
import numpy as np

from quantkit.clock import INTERVALS, NS_PER_MS, NS_PER_S, delay_text, iso_of, wall_ns
from quantkit.errors import ConfigError, DataError, FeedClosedError, FeedError, QuantkitError
from quantkit.events import Candle, Row
from quantkit.feeds.inbox import BatchMaker, Inbox, InputLog
from quantkit.feeds.live_clock import LiveClock
from quantkit.feeds.okx.codec import channels
from quantkit.feeds.okx.config import OkxConfig
from quantkit.feeds.okx.relisting import Listings
from quantkit.feeds.okx.rest.rest import OkxRest
from quantkit.feeds.okx.tracker.records import Record, pack, pack_frame
from quantkit.feeds.okx.tracker.tracker import FeedMessage
from quantkit.feeds.okx.ws.client import ConnectionStatus, OkxClient
from quantkit.feeds.recorder import Recorder
from quantkit.feeds.resample import sources_of
from quantkit.feeds.taken import TakenRows
from quantkit.instruments import Instrument, plain
from quantkit.rows.batch import Batch, Subscription
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Coverage
from quantkit.storage.tape import TapeWriter

_log = logging.getLogger("quantkit.feeds.okx")
_T = TypeVar("_T")

#: Later than any run: a live stream has no end.
FAR_FUTURE_NS: Final = 2**62
#: How a note begins that tells of a run whose feed did not last.
FEED_LOST: Final = "the feed was lost and the run ended with it"
#: The exchange's word for each kind of instrument.
_TYPES: Final = {"spot": "SPOT", "swap": "SWAP", "future": "FUTURES"}
#: Rows that come beside the channels of others.
_BESIDE: Final = ("gap", "instrument")
#: Rows of a batch at most; what waits beyond comes in the next one, so that the view and timers get their turn.
_BATCH_ROWS: Final = 4096
_POLL_S: Final = 0.05
#: A run that has not started so long after its end is given up; until then it may be a slow machine.
_LATE_NS: Final = 30 * NS_PER_S
#: How often the state of the connections is shown to other threads.
_SHOW_EVERY_S: Final = 0.1
#: A batch shall take no longer than this, or the view and the end of the run would wait: it gets fewer rows then.
_BATCH_NS: Final = 50 * NS_PER_MS
#: Once the hook that was running when the time was over has returned, the engine may catch up for so long; a run that
#: is still behind then ends where it is.
_OVERTIME_NS: Final = NS_PER_S // 2
#: How often the exchange's time is asked for, and how long the start waits for it at most.
_MEASURE_EVERY_S: Final = 180.0
_MEASURE_TIMEOUT_S: Final = 2.0
#: How often, and how many times, a warm-up asks again for a candle that has closed but is not there yet.
_WARMUP_RETRY_S: Final = 0.5
_WARMUP_RETRIES: Final = 6

#: Folders of a recording: the raw tape, and rows for every tool.
FRAMES: Final = "frames"
DATA: Final = "data"


def live_coverage(instruments: Iterable[Instrument], opened_ns: int) -> dict[Stream, Coverage]:
    """Return every stream that OKX sends of instruments, from a moment on."""
    held = Coverage(opened_ns, FAR_FUTURE_NS, 0)
    streams: dict[Stream, Coverage] = {}
    for instrument in instruments:
        kinds = ["book", "ticker", "trade", "gap", "instrument"]
        if not instrument.is_spot:
            kinds.append("mark")
        if instrument.kind == "swap":
            kinds.append("funding")
        for kind in kinds:
            streams[Stream(kind, instrument.id)] = held
        for interval in INTERVALS:
            streams[Stream("candle", instrument.id, interval)] = held
    return streams


def _rows_max(before: int, spent_ns: int) -> int:
    """Return how many rows the next batch may have, after one that took so long."""
    return min(2 * before, _BATCH_ROWS) if spent_ns < _BATCH_NS else max(1, before * _BATCH_NS // (2 * spent_ns))


class FrameTape:
    """Writes what connections received, and what else their tracker was told, to a tape; `flush` makes it safe.

    Once the disk has refused something nothing more is written: what follows a hole would not be what was delivered.
    """

    def __init__(self, folder: Path) -> None:
        self._tape = TapeWriter(folder)
        self._waiting: list[bytes] = []
        #: Why no more is written, None while everything was.
        self.error: DataError | None = None

    def frame(self, connection: int, received_ns: int, data: bytes) -> None:
        """Add a frame as received."""
        self._waiting.append(pack_frame(connection, received_ns, data))

    def record(self, event: Record) -> None:
        """Add what the tracker was told beside frames."""
        self._waiting.append(pack(event))

    def flush(self) -> bool:
        """Hand everything to the operating system: a kill of this process does not lose it any more.

        Returns:
            Whether all was taken, now and before; else `error` says why not.
        """
        if self._waiting and self.error is None:
            try:
                self._tape.append_many(self._waiting)
            except DataError as error:
                self.error = error
        self._waiting.clear()
        return self.error is None

    def close(self) -> None:
        """Make it durable and let go of the file; `error` says whether it could be."""
        self.flush()
        try:
            self._tape.close()
        except DataError as error:
            self.error = self.error or error


class OkxFeed:
    """Live rows of OKX, or of a server that speaks its protocol, with the interface of a replay.

    Used as a context manager: entering connects and loads the instruments, leaving closes everything. `batches` ends
    after `stop`, at the end of the subscriptions, or with an error when the feed is lost for good.

    Args:
        config: Hosts, limits and patience.
        folder: Where to record: the raw frames under `frames`, rows under `data`; None: nowhere.
        input_log: Records every input of the engine.
        stop: Set from outside, it does what `stop` does; it is never set here, so that several runs may share it.
        sender: Stands for the strategy in the rows that say when its messages left.
        wall: The machine's UTC time in nanoseconds.
        rng: Jitter of the back-off.

    Attributes:
        clock: When messages leave, and how far the exchange's clock is from this machine's.
        behind_ns_max: How far the engine was behind the wall clock at most, after a batch.

    Raises:
        FeedError: The exchange cannot be reached, or refuses.
    """

    def __init__(
        self,
        config: OkxConfig | None = None,
        *,
        folder: Path | None = None,
        input_log: InputLog | None = None,
        stop: threading.Event | None = None,
        sender: str = "",
        wall: Callable[[], int] = wall_ns,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.config = config or OkxConfig()
        self._taken = TakenRows(wall, FAR_FUTURE_NS)
        self.clock = LiveClock(wall, input_log=input_log, taken=self._taken, sender=sender)
        self.behind_ns_max = 0
        self._wall = wall
        self._folder = folder
        self._input_log = input_log
        self._rng = rng
        self._inbox = Inbox(wall)
        self._delivered: list[list[Row]] = []  # of this callback of the loop
        self._names: list[str] = []
        self._maker = BatchMaker(FAR_FUTURE_NS)
        self._instruments: dict[str, Instrument] = {}
        self._listings = Listings({})
        self._started_ns = 0
        self._since_ns = 0
        self._end_ns = FAR_FUTURE_NS
        self._taken_until_ns = 0
        self._is_timed = False  # whether the sockets' thread has to end the run
        self._work: Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_ready = threading.Event()
        self._is_asked = stop or threading.Event()
        self._is_ending = threading.Event()
        self._error: QuantkitError | None = None
        #: As the thread of the sockets showed them last.
        self._connections: tuple[ConnectionStatus, ...] = ()
        self._problems: dict[str, int] = {}
        self._warnings: list[str] = []
        self._tape: FrameTape | None = None
        self._recorder: Recorder | None = None

    # Opening and closing --------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            if self._folder is not None:
                self._tape = FrameTape(self._folder / FRAMES)
                self._recorder = self._taken.recorder = Recorder(self._folder / DATA)
            sockets = ThreadPoolExecutor(1, thread_name_prefix="okx-feed")
            self._work = sockets.submit(self._run)
            sockets.shutdown(wait=False)
            self._is_ready.wait()
            if self._loop is None:
                wait([self._work])  # it ends with an error, which is there in a moment
            self._raise_error()
            self._instruments = self._call(self._load_instruments())
            self._listings = Listings(self._instruments)
            self._call(self._measure())
            self._started_ns = self._inbox.now_ns()
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
        self._is_ending.set()
        if self._loop is not None:
            self._on_loop(self._stopped.set)

    def _on_loop(self, call: Callable[[], object]) -> None:
        """Run something on the thread of the sockets, if it still runs."""
        assert self._loop is not None, "the feed was opened"
        with suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(call)

    def close(self) -> None:
        """Close connections, tape and recording; fine to call twice."""
        self.stop()
        if self._work is not None:
            wait([self._work])
        self._taken.record(everything=True)
        if self._recorder is not None:
            self._recorder.close(self._taken_until_ns)
        tape, self._tape = self._tape, None
        if tape is not None:
            tape.close()
            if tape.error is not None and self._error is None:
                self._warnings.append(f"the tape may be incomplete after a power failure: {tape.error}")

    # The feed -------------------------------------------------------------------------------------------------

    @property
    def opened_ns(self) -> int:
        """When the feed had connected and knew its instruments."""
        return self._started_ns

    def now_ns(self) -> int:
        """Return the present moment: every row that comes later is stamped after it."""
        return self._inbox.now_ns()

    def instruments(self, at_ns: int | None = None) -> Mapping[str, Instrument]:
        """Return the metadata of every instrument that is traded, as loaded when the feed was opened."""
        return self._instruments

    def changes(self, instrument: str, start_ns: int, end_ns: int) -> Sequence[Instrument]:
        """Return nothing: what changes is not known beforehand."""
        return ()

    def coverage(self) -> Mapping[Stream, Coverage]:
        """Return every stream that OKX sends of the instruments, from the opening on."""
        return live_coverage(self._instruments.values(), self._started_ns)

    def source(self, stream: Stream, start_ns: int | None = None, end_ns: int | None = None) -> Stream:
        """Return the stream itself: every interval that there is comes as it is from the exchange.

        Raises:
            DataError: The exchange has no such stream.
        """
        return sources_of(stream, self.coverage())[0]

    def has_hole(self, stream: Stream, start_ns: int, end_ns: int) -> bool:
        """Return False: what is lost is not known beforehand."""
        return False

    def assumptions(self) -> Sequence[str]:
        """Return what the reader of a result has to know about the data."""
        where = self.config.url or f"OKX {self.config.region}{' demo' if self.config.demo else ''}"
        return (
            f"live data of {where}, in the order in which this machine received them; the engine was at most "
            f"{delay_text(self.behind_ns_max)} behind the clock",
        )

    def subscribe(self, subscriptions: Collection[Subscription]) -> None:
        """Subscribe to the channels that bring the streams, and wait until every one is confirmed.

        Raises:
            ConfigError: A stream cannot be had live.
            FeedError: A channel was refused, or the connection cannot be had.
        """
        wanted: dict[channels.Channel, None] = {}
        for wish in subscriptions:
            if wish.stream.kind == "candle_open":
                raise ConfigError(
                    f"{wish.stream.instrument}: orders cannot be matched on candles live, where a bar's open is known "
                    "late; leave match_on out, or use book, ticker or trade"
                )
            if wish.stream.kind not in _BESIDE:
                wanted[channels.channel_of(wish.stream)] = None
        self._end_ns = min((wish.end_ns for wish in subscriptions), default=FAR_FUTURE_NS)
        # Every bar that closes from here on is a row: those before are for the warm-up.
        self._since_ns = since_ns = min((wish.start_ns for wish in subscriptions), default=self._started_ns)
        self._maker = BatchMaker(self._end_ns)
        self._taken.end_ns = self._end_ns
        self._names = sorted({wish.stream.instrument for wish in subscriptions})
        self.clock.settle(since_ns, None, self._names)
        if self._recorder is not None:
            self._recorder.add_instruments(self._instruments[name] for name in self._names)
            self._recorder.watch((wish.stream for wish in subscriptions if wish.stream.kind not in _BESIDE), since_ns)
        # Metadata that change are told on a channel of their own for each kind; last, so that nothing waits for them.
        kinds = sorted({self._instruments[name].kind for name in self._names})
        wanted |= dict.fromkeys(channels.instruments(_TYPES[kind]) for kind in kinds)
        self._listings.names |= set(self._names)
        books = sorted({wish.stream.instrument for wish in subscriptions if wish.stream.kind == "book"})
        self._call(self._subscribe({name: plain(self._instruments[name].price_step) for name in books}, wanted))
        # A recording that is played back begins when somebody subscribes, and so does its time.
        self._on_loop(self._measure_now.set)

    async def _subscribe(self, steps: Mapping[str, str], wanted: Iterable[channels.Channel]) -> None:
        self._client.listed(steps)
        await self._client.subscribe(*wanted, since_ns=self._since_ns)

    def warmup(self, stream: Stream, count: int, until_ns: int) -> Block | None:
        """Fetch the last `count` candles closed by `until_ns`, fewer if there are no more, None if there are none.

        Raises:
            FeedError: They cannot be had.
        """
        candles = self._call(self._fetch_candles(stream, count, until_ns))
        if self._input_log is not None:
            self._input_log.warmup_loaded(stream, count, candles)
        self._maker.warmed(stream, candles)
        if self._recorder is not None:
            self._recorder.watch([stream], self._since_ns, warmup=count)
        self._taken.warmed(stream, candles)
        return Block.from_events(candles) if candles else None

    def book_before(self, stream: Stream, start_ns: int) -> list[Block]:
        """Return nothing: a live book begins with its snapshot."""
        return []

    def batches(self, next_wake_ns: Callable[[], int] | None = None) -> Iterator[Batch]:
        """Yield what arrives, in the order of arrival, and the passing of time.

        A feed that is lost for good ends here like one that is stopped, so that what was done until then is not lost
        with it; `failure` and `notes` say so.

        Raises:
            FeedError: It was lost or stopped before anything was taken.
        """
        wake_ns = next_wake_ns or (lambda: FAR_FUTURE_NS)
        end_ns = self._end_ns
        self._taken_until_ns = self._since_ns
        self._begin_end()
        has_begun = False
        rows_max, last_call_ns = 1, FAR_FUTURE_NS
        self._raise_error()
        while (taken := self._inbox.take(wake_ns, rows_max)) is not None:
            has_begun = True
            begun_ns = self._wall()
            deliveries, until_ns = taken
            until_ns = self._bounded(until_ns, deliveries, wake_ns())
            batch = self._maker.batch(deliveries, until_ns)
            self.clock.settle(self._taken_until_ns + 1, self._maker.least_lag_ns, self._names)
            self._taken_until_ns = min(until_ns, end_ns)
            if self._input_log is not None:
                last_ns = deliveries[-1][-1].received_ns if deliveries else 0
                self._input_log.input_batch(len(deliveries), last_ns, until_ns)
            self._taken.take(deliveries)
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
            raise self._closed_error()
        if self._input_log is not None:
            self._input_log.feed_ended()

    def _bounded(self, until_ns: int, deliveries: Sequence[Sequence[Row]], wake_ns: int) -> int:
        """Return up to when time passes in a batch: while the engine is behind, one wake-up at a time."""
        last_ns = deliveries[-1][-1].received_ns if deliveries else 0
        next_ns = max(last_ns, wake_ns, self._taken_until_ns)
        return next_ns if until_ns - next_ns > _BATCH_NS else until_ns

    # The run's end --------------------------------------------------------------------------------------------

    def _begin_end(self) -> None:
        """Let the run end at its time: what is down then is told as a gap of that moment, and nothing comes after."""
        if self._end_ns < FAR_FUTURE_NS:
            self._inbox.ends_at(self._end_ns)
            self._on_loop(self._set_end)

    def _set_end(self) -> None:
        if self._wall() >= self._end_ns:
            # The run has begun after its end; what has come since is of no use.
            self._inbox.end()
            return
        self._client.ends_at(self._end_ns)
        self._is_timed = True

    def _end_in_time(self) -> float:
        """End the run if its time is over, and return after how many seconds to look again."""
        if not self._is_timed:
            return _SHOW_EVERY_S
        left_s = (self._end_ns - self._wall()) / NS_PER_S
        if left_s <= 0.0 or self._client.has_ended:
            self._client.end()
            self._flush()
            self._inbox.end()
            self._is_timed = False
            return _SHOW_EVERY_S
        return min(left_s, _SHOW_EVERY_S)

    # The clocks -----------------------------------------------------------------------------------------------

    async def _measure(self) -> None:
        """Compare the clocks; without an answer the offset stays as it is."""
        try:
            async with asyncio.timeout(_MEASURE_TIMEOUT_S):
                ahead_ns = await self._rest.clock_offset_ns()
        except (QuantkitError, TimeoutError) as error:
            self.clock.unmeasured += 1
            _log.warning("the exchange's time could not be had: %s", str(error) or "no answer in time")
        else:
            self.clock.offset.measured(-ahead_ns, self._rest.clock_offset_error_ns)

    async def _keep_measuring(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_MEASURE_EVERY_S):
                    await self._measure_now.wait()
            self._measure_now.clear()
            await self._measure()

    # What a watcher sees --------------------------------------------------------------------------------------

    @property
    def connections(self) -> tuple[ConnectionStatus, ...]:
        """The connections and what state they are in, as of a moment ago."""
        return self._connections

    @property
    def counts(self) -> Mapping[Stream, tuple[int, int, int]]:
        """Rows so far, and `received_ns` and `exchange_ns` of the last, by stream, as the engine has taken them."""
        return self._maker.counts

    @property
    def waiting(self) -> int:
        """How many rows were received and not yet taken."""
        return len(self._inbox)

    @property
    def problems(self) -> Mapping[str, int]:
        """What the frames held that was not used, by name, with counts."""
        return self._problems

    @property
    def failure(self) -> QuantkitError | None:
        """Why the feed was lost for good, None if it was not."""
        try:
            self._raise_error()
        except QuantkitError as error:
            return error
        return None

    @property
    def notes(self) -> list[str]:
        """What the reader of the result has to know of the feed: what was not used, and what was not recorded."""
        said = [
            f"live feed: {count} time{'' if count == 1 else 's'} {what}"
            for what, count in sorted(self.problems.items())
        ]
        said += self._warnings
        said += self.clock.notes
        if self.failure is not None:
            said.append(f"{FEED_LOST}: {self.failure}")
        if self._recorder is not None and self._recorder.error is not None:
            said.append(f"not everything was recorded as rows: {self._recorder.error}; the tape has it")
        return said

    # The thread of the sockets --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        finally:
            self._inbox.close()
            self._is_ready.set()

    async def _main(self) -> None:
        self._stopped = asyncio.Event()
        self._measure_now = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._inbox.soon = lambda _: loop.call_soon(self._flush)
        async with OkxRest(self.config, now_ns=self._wall) as self._rest:
            self._client = OkxClient(
                self.config,
                rest=self._rest,
                tape=self._tape,
                stamp=self._inbox.stamp,
                deliver=self._deliver,
                backlog=lambda: len(self._inbox) + len(self._delivered),
                on_trouble=self._lose,
                on_read=self._on_read,
                rng=self._rng,
            )
            async with self._client:
                self._loop = loop
                self._is_ready.set()
                measuring = asyncio.create_task(self._keep_measuring())
                try:
                    while not (self._is_ending.is_set() or self._stopped.is_set()):
                        self._show()
                        with suppress(TimeoutError):
                            async with asyncio.timeout(self._end_in_time()):
                                await self._stopped.wait()
                finally:
                    measuring.cancel()
            self._show()
        self._flush()

    def _show(self) -> None:
        """Let other threads see how the connections stand; only this one may ask the client."""
        self._connections = self._client.connections
        self._problems = dict(self._client.counters)

    def _deliver(self, events: Sequence[FeedMessage]) -> None:
        rows = self._listings.rows(events)
        if rows:
            self._delivered.append(rows)
        elif self._listings.refusal is not None:
            self._lose(self._listings.refusal)

    def _on_read(self, has_begun: bool) -> None:
        """Hand the frames of one read over together, without another round of the loop."""
        self._inbox.is_settled_by_hand = has_begun
        if not has_begun:
            self._flush()

    def _flush(self) -> None:
        """Hand over what one callback of the loop has brought: many frames may come at once, and share the cost.

        First the tape, so that the engine never knows more than the recording.
        """
        delivered, self._delivered = self._delivered, []
        if self._tape is not None and not self._tape.flush() and self._tape.error is not None:
            # A full disk: what could not be recorded is not traded on, so the run ends here.
            self._lose(self._tape.error)
            return
        self._inbox.put(delivered)
        self._inbox.settle()

    def _lose(self, error: QuantkitError) -> None:
        """End the feed for good."""
        if self._error is None:
            _log.error("the feed ends: %s", error)
            self._error = error
            self._stopped.set()

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
        if self._work is not None and self._work.done():
            error = self._work.exception()
            if isinstance(error, QuantkitError):
                raise error
            if error is not None:
                raise FeedError(f"the feed ended: {type(error).__name__}: {error}") from error

    def _call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the thread of the sockets and wait for it, or for `stop`.

        Raises:
            FeedClosedError: The feed was stopped meanwhile.
            FeedError: It was lost meanwhile.
        """
        loop = self._loop
        if loop is None or self._work is None or self._work.done():
            work.close()
            raise FeedClosedError("the feed is not open; use it as a context manager")
        try:
            future: Future[_T] = asyncio.run_coroutine_threadsafe(work, loop)
        except RuntimeError:  # the loop has ended just now
            work.close()
            raise self._closed_error() from None
        try:
            return self._outcome_of(future, work)
        except FeedClosedError:
            # Whatever closed meanwhile says less than the error that ended the feed, if one did.
            self._raise_error()
            raise

    def _outcome_of(self, future: Future[_T], work: Coroutine[Any, Any, _T]) -> _T:
        """Wait for a call on the thread of the sockets."""
        assert self._work is not None, "the feed is open"
        while True:
            try:
                return future.result(_POLL_S)
            except TimeoutError:
                if future.done():
                    return future.result()
            except CancelledError:
                # The loop ends, and has cancelled what ran in it.
                raise self._closed_error() from None
            if self._work.done():
                work.close()
                raise self._closed_error()
            if self._is_asked.is_set() or self._is_ending.is_set():
                future.cancel()
                self._raise_error()
                raise FeedClosedError("stopped before the run could start")
            if self._inbox.now_ns() > self._end_ns + _LATE_NS:
                future.cancel()
                raise FeedError(
                    "the run's time is over and it has not started: the server answers, but does not confirm every "
                    "channel or does not give the warm-up; check the server, or give the run more time"
                )

    def _closed_error(self) -> QuantkitError:
        """Return why the feed has closed, once it has."""
        if self._work is not None:
            wait([self._work])
        return self.failure or FeedClosedError("stopped before the run could start")

    async def _load_instruments(self) -> dict[str, Instrument]:
        found: dict[str, Instrument] = {}
        # What OKX says now is known from now on.
        now_ns = self._inbox.now_ns()
        for kind in _TYPES:
            for instrument in await self._rest.instruments(kind, valid_from_ns=now_ns):
                found[instrument.id] = instrument
        if not found:
            raise FeedError(f"{self.config.rest_url} lists no instrument that can be traded here")
        return found

    async def _fetch_candles(self, stream: Stream, count: int, until_ns: int) -> list[Candle]:
        """Return candles stamped with their close, asking again while the last one that has closed is missing."""
        length = INTERVALS[stream.interval]
        for attempt in range(_WARMUP_RETRIES + 1):
            if attempt:
                await asyncio.sleep(_WARMUP_RETRY_S)
            fetched = await self._rest.candles(stream.instrument, stream.interval, count=count, end_ns=until_ns)
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
