"""From the sockets to the consumer: the tape first, then the tracker, then the consumer's queue within its limit."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from quantkit.clock import NEVER_NS
from quantkit.feeds.okx.tracker.records import Closed, Listed, Overflow, Record
from quantkit.feeds.okx.tracker.tracker import FeedMessage, Tracker

_log: Final = logging.getLogger("quantkit.feeds.okx")


class TapeSink(Protocol):
    """Keeps frames and records before anything else sees them. An error of it stops the client."""

    def frame(self, connection: int, received_ns: int, data: bytes) -> None:
        """Keep one text frame as received."""
        ...

    def record(self, event: Record) -> None:
        """Keep one record."""
        ...


class Stoppable(Protocol):
    """A client that an error stops."""

    def crash(self, error: BaseException) -> None:
        """Stop everything because of an error of the tape, the consumer or our own code."""
        ...


class Pipeline:
    """Takes frames and records in, in one order, and delivers messages.

    Attributes:
        tracker: Turns frames and records into messages.
        stamp: Returns strictly rising UTC ns.
        counters: Frames that no channel uses, and overflows, by name.
        is_over: Whether frames and records are dropped: the client has ended, or its manager sets it after a failure.
        is_overflowing: Whether rows are dropped because the consumer is too slow.
        ends_ns: End of the run, set by the client; frames and records of this moment or later are dropped.

    Args:
        tracker: See above.
        client: Is stopped by an error of the tape, the tracker or the consumer.
        tape: Gets everything first.
        stamp: See above.
        deliver: Gets the messages.
        backlog: Returns the number of delivered messages that are not consumed yet.
        queue_events: The number of waiting messages that counts as an overflow.
    """

    def __init__(
        self,
        tracker: Tracker,
        client: Stoppable,
        *,
        tape: TapeSink | None,
        stamp: Callable[[], int],
        deliver: Callable[[list[FeedMessage]], None],
        backlog: Callable[[], int],
        queue_events: int,
    ) -> None:
        self.tracker = tracker
        self.stamp = stamp
        self.counters: Counter[str] = Counter()
        self.is_over = False
        self.is_overflowing = False
        self.ends_ns = NEVER_NS
        self._client = client
        self._tape = tape
        self._deliver = deliver
        self._backlog = backlog
        self._queue_events = queue_events

    def frame(self, connection: int, received_ns: int, data: bytes) -> bool:
        """Put a frame on the tape and deliver its messages; return whether there were any."""
        if self.is_over or received_ns >= self.ends_ns:
            self.end()
            return False
        try:
            if self._tape is not None:
                self._tape.frame(connection, received_ns, data)
            messages = self.tracker.frame(connection, received_ns, data)
            if messages:
                self._hand_over(messages)
                return True
            if self.is_overflowing:
                self.check_backlog()
        except Exception as error:  # noqa: BLE001  left to the socket, a full disk would pass for a lost connection
            self._client.crash(error)
        return False

    def record(self, event: Record) -> None:
        """Put a record on the tape and deliver the messages that follow from it."""
        if self.is_over or event.received_ns >= self.ends_ns:
            self.end()
            return
        self._take(event)

    def _take(self, record: Record) -> None:
        try:
            if self._tape is not None:
                self._tape.record(record)
            messages = self.tracker.record(record)
            if messages:
                self._hand_over(messages)
        except Exception as error:  # noqa: BLE001  the caller may be a timer, which would lose the error
            self._client.crash(error)

    def _hand_over(self, messages: list[FeedMessage]) -> None:
        self._deliver(messages)
        if self.is_overflowing or self._backlog() >= self._queue_events:
            self.check_backlog()

    def listed(self, steps: Mapping[str, str]) -> None:
        """Hold the books of instruments against their price steps."""
        for instrument, step in steps.items():
            self.record(Listed(self.stamp(), instrument, step))

    def check_backlog(self) -> None:
        """Begin an overflow when too many events wait, and end it when half of them are consumed."""
        if self.is_over:
            return
        waiting = self._backlog()
        if self.is_overflowing:
            if waiting <= self._queue_events // 2:
                self.is_overflowing = False
                _log.warning("the consumer has caught up; events are delivered again")
                self.record(Overflow(self.stamp(), False))
        elif waiting >= self._queue_events:
            self.is_overflowing = True
            self.counters["times the queue was full"] += 1
            _log.error("%d events wait for the consumer: new ones are lost, and reported as gaps", waiting)
            self.record(Overflow(self.stamp(), True))

    def end(self) -> None:
        """Deliver the gaps of open outages, stamped `ends_ns`, and nothing after them; only if `ends_ns` is set."""
        if not self.is_over and self.ends_ns != NEVER_NS:
            self._take(Closed(self.ends_ns))
            self.is_over = True

    def close(self) -> None:
        """Deliver the gaps of open outages, and nothing after them."""
        if not self.is_over:
            self.record(Closed(self.stamp()))
        self.is_over = True
