"""The thread of a live feed's sockets: what comes goes to the tape, then to the inbox."""

import asyncio
import logging
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from typing import Any, Final, TypeVar

from quantkit.clock import NS_PER_S
from quantkit.errors import FeedClosedError, FeedError, QuantkitError
from quantkit.events import Row
from quantkit.feeds.frame_tape import LiveTape
from quantkit.feeds.inbox import Inbox
from quantkit.feeds.live_clock import LiveClock
from quantkit.feeds.live_source import OPEN_END_NS, ConnectionLine, LiveSource
from quantkit.feeds.recording import refusals_of
from quantkit.rows.columns import Stream

_log: Final = logging.getLogger("quantkit.feeds")
_T = TypeVar("_T")

_POLL_S: Final = 0.05
#: A run that has not started so long after its end is given up; until then it may be a slow machine.
_LATE_NS: Final = 30 * NS_PER_S
#: How often the state of the connections is shown to other threads.
_SHOW_EVERY_S: Final = 0.1
#: How often the exchange's time is asked for, and how long the start waits for it at most.
_MEASURE_EVERY_S: Final = 180.0
_MEASURE_TIMEOUT_S: Final = 2.0


class Receiver:
    """Runs an exchange's client on a thread of its own, and is its `LiveSink`.

    Args:
        source: The exchange.
        tape: Gets everything first.
        clock: Gets measurements of the exchange's clock.
        wall: The machine's UTC time in nanoseconds.
        stop: Set from outside, it ends calls that wait.
        batch_ns: From one batch of the engine to the next at least so long.
        outlasts_refusals: Whether the feed goes on where the exchange refuses some streams, or ends them later; a run
            that counts on every one of its streams cannot.

    Attributes:
        inbox: Gets the rows.
        client: The exchange's; used by coroutines of `call` alone.
        connections, problems: The client's, as of a moment ago.
        refusals: The streams that are missing, and why.
    """

    def __init__(
        self,
        source: LiveSource,
        *,
        tape: LiveTape,
        clock: LiveClock,
        wall: Callable[[], int],
        stop: threading.Event,
        batch_ns: int = 0,
        outlasts_refusals: bool = False,
    ) -> None:
        self.inbox = Inbox(wall, batch_ns=batch_ns)
        self.connections: tuple[ConnectionLine, ...] = ()
        self.problems: Mapping[str, int] = {}
        self.refusals: Mapping[Stream, QuantkitError] = {}
        self._outlasts_refusals = outlasts_refusals
        self._tape = tape
        self._clock = clock
        self._wall = wall
        self._delivered: list[Sequence[Row]] = []  # of this callback of the loop
        self._is_reading = False
        self._is_flush_due = False
        self._end_ns = OPEN_END_NS
        self._is_timed = False  # whether this thread has to end the run
        self._error: QuantkitError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: Future[None] | None = None
        self._is_ready = threading.Event()  # set by the feed's thread: it may be called, or has failed
        self._is_asked = stop  # set from outside, for all runs that share it: ends calls that wait
        self._is_ending = threading.Event()  # set by `stop`, from any thread: ends calls that wait, and the client
        self._stopped = asyncio.Event()  # set on the feed's thread, by `stop` or a failure: wakes it to end the client
        self._measure_now = asyncio.Event()
        self.client = source.client(self, wall=wall)

    # From other threads ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the thread, and wait until the client is open.

        Raises:
            QuantkitError: It could not be opened.
        """
        sockets = ThreadPoolExecutor(1, thread_name_prefix="quantkit-feed")
        self._work = sockets.submit(self._run)
        sockets.shutdown(wait=False)
        self._is_ready.wait()
        if self._loop is None:
            wait([self._work])  # it ends with an error, which is there in a moment
        self.raise_failure()

    def stop(self) -> None:
        """Let the thread end after what has been received by now; from any thread."""
        self._is_ending.set()
        self.on_loop(self._stopped.set)

    def join(self) -> None:
        """Wait until the thread has ended."""
        if self._work is not None:
            wait([self._work])

    def ends_at(self, end_ns: int) -> None:
        """Set the end of the run; calls that wait long after it are given up."""
        self._end_ns = end_ns

    def arm_end(self) -> None:
        """Let the rows end at `ends_at`: an outage of then is a gap of that moment, and nothing comes after it."""
        if self._end_ns < OPEN_END_NS:
            self.inbox.ends_at(self._end_ns)
            self.on_loop(self._set_end)

    def measure_soon(self) -> None:
        """Compare the clocks once more, now."""
        self.on_loop(self._measure_now.set)

    @property
    def failure(self) -> QuantkitError | None:
        """The error that ended the feed for good, None if there is none."""
        if self._error is not None:
            return self._error
        error = self._work.exception() if self._work is not None and self._work.done() else None
        if error is None or isinstance(error, QuantkitError):
            return error
        failure = FeedError(f"the feed ended: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure

    def raise_failure(self) -> None:
        """Raise the error that ended the feed, if there is one."""
        failure = self.failure
        if failure is not None:
            raise failure

    def closed_error(self) -> QuantkitError:
        """Return why the thread has ended, once it has."""
        self.join()
        return self.failure or FeedClosedError("stopped before the run could start")

    def call(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine on the thread and wait for it, or for `stop`.

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
            raise self.closed_error() from None
        try:
            return self._outcome_of(future, self._work, work)
        except FeedClosedError:
            # Whatever closed meanwhile says less than the error that ended the feed, if one did.
            self.raise_failure()
            raise

    def on_loop(self, call: Callable[[], object]) -> None:
        """Run something on the thread, if it runs."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                self._loop.call_soon_threadsafe(call)

    def _outcome_of(self, future: Future[_T], thread: Future[None], work: Coroutine[Any, Any, _T]) -> _T:
        while True:
            try:
                return future.result(_POLL_S)
            except TimeoutError:
                if future.done():
                    return future.result()
            except CancelledError:
                # The loop ends, and has cancelled what ran in it.
                raise self.closed_error() from None
            if thread.done():
                work.close()
                raise self.closed_error()
            if self._is_asked.is_set() or self._is_ending.is_set():
                future.cancel()
                self.raise_failure()
                raise FeedClosedError("stopped before the run could start")
            if self.inbox.now_ns() > self._end_ns + _LATE_NS:
                future.cancel()
                raise FeedError(
                    "the run's time is over and it has not started: the server answers, but does not confirm every "
                    "channel or does not give the warm-up; check the server, or give the run more time"
                )

    # The sink of the client -----------------------------------------------------------------------------------

    @property
    def is_recorded(self) -> bool:
        """Whether there is a tape of frames."""
        return self._tape.takes_frames

    def stamp(self) -> int:
        """Return the receipt stamp of a message."""
        stamp_ns = self.inbox.stamp()
        if not (self._is_reading or self._is_flush_due):
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)
        return stamp_ns

    def keep(self, payload: bytes) -> None:
        """Put a payload on the tape."""
        self._tape.keep(payload)

    def deliver(self, rows: Sequence[Row]) -> None:
        """Hand over the rows of one stamp."""
        self._delivered.append(rows)

    def reading(self, has_begun: bool) -> None:
        """Hand the frames of one read over together, without another round of the loop."""
        self._is_reading = has_begun
        if not has_begun:
            self._flush()

    def waiting(self) -> int:
        """Return the count of delivered rows in front of the engine."""
        return len(self.inbox) + len(self._delivered)

    def refused(self, streams: Collection[Stream], error: QuantkitError) -> bool:
        """End streams with a gap row each, if the feed can go on without them."""
        if not self._outlasts_refusals:
            return False
        self.refusals = {**self.refusals, **dict.fromkeys(streams, error)}  # another one: other threads look at it
        if gaps := refusals_of(streams, self.stamp()):
            self.deliver(gaps)
        return True

    def fail(self, error: QuantkitError) -> None:
        """End the feed for good."""
        if self._error is None:
            _log.error("the feed ends: %s", error)
            self._error = error
            self._stopped.set()

    def _flush(self) -> None:
        """Hand over the rows of one callback of the loop: many frames may come at once, and share the cost.

        First the tape, so that nobody knows more than the recording.
        """
        self._is_flush_due = False
        delivered, self._delivered = self._tape.take(self._delivered), []
        if not self._tape.flush() and self._tape.error is not None:
            # A full disk: what could not be recorded is not traded on and not told of, so the run ends here.
            self.fail(self._tape.error)
            return
        self.inbox.put(delivered)

    # The thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        finally:
            self.inbox.close()
            self._is_ready.set()

    async def _main(self) -> None:
        async with self.client:
            self._loop = asyncio.get_running_loop()
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
        self.connections = self.client.connections
        self.problems = self.client.problems

    def _set_end(self) -> None:
        if self._wall() >= self._end_ns:
            # The run has begun after its end; what has come since is of no use.
            self.inbox.end()
            return
        self.client.ends_at(self._end_ns)
        self._is_timed = True

    def _end_in_time(self) -> float:
        """End the run if its time is over, and return after how many seconds to look again."""
        if not self._is_timed:
            return _SHOW_EVERY_S
        left_s = (self._end_ns - self._wall()) / NS_PER_S
        if left_s <= 0.0 or self.client.has_ended:
            self.client.end()
            self._flush()
            self.inbox.end()
            self._is_timed = False
            return _SHOW_EVERY_S
        return min(left_s, _SHOW_EVERY_S)

    async def measure(self) -> None:
        """Compare the clocks; without an answer the offset stays as it is."""
        try:
            async with asyncio.timeout(_MEASURE_TIMEOUT_S):
                reading = await self.client.clock_offset()
        except (QuantkitError, TimeoutError) as error:
            self._clock.offset.missed()
            _log.warning("the exchange's time could not be had: %s", str(error) or "no answer in time")
        else:
            self._clock.offset.measured(reading.offset_ns, reading.error_ns)

    async def _keep_measuring(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_MEASURE_EVERY_S):
                    await self._measure_now.wait()
            self._measure_now.clear()
            await self.measure()
