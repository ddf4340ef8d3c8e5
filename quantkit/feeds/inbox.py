"""The bounded hand-over of live rows from the thread that receives them to the one that runs the engine."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from quantkit.clock import NS_PER_S, wall_ns
from quantkit.events import Row

#: How long the taker sleeps at most, so that whoever watches the run sees it move.
_LONGEST_NAP_S: Final = 0.25
#: Sleeping shorter than this is not worth it.
_SHORTEST_NAP_S: Final = 0.0002
#: From one batch to the next at least so long, so that a thousand rows a second are not a thousand batches.
_PACE_NS: Final = 4_000_000
_NEVER_NS: Final = 2**63 - 1


class Inbox:
    """Stamps what arrives and keeps it until it is taken, in the one order of both.

    Stamps rise strictly over rows and over the moments that the taker is told: once it has been told that nothing more
    comes up to a moment, every later row is stamped after it. That is what lets engine time pass between rows, and what
    makes a replay of the recording take the same steps.

    One thread stamps and puts, another one takes. A row is put in the callback of the event loop in which it was
    stamped; `soon` is how the inbox learns that the callback is over.

    Args:
        wall: The machine's UTC time in nanoseconds.
        soon: Runs a function on the stamping thread after the present callback: `loop.call_soon`. Without it, `settle`
            has to be called.
    """

    def __init__(
        self, wall: Callable[[], int] = wall_ns, soon: Callable[[Callable[[], None]], object] | None = None
    ) -> None:
        self.soon = soon
        #: While set, whoever stamps settles by itself, and `soon` is not asked.
        self.is_settled_by_hand = False
        self._wall = wall
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._items: deque[Sequence[Row]] = deque()
        self._size = 0
        self._last_ns = 0
        self._making_ns: int | None = None  # the first stamp of this callback: its rows may still be on their way
        self._is_waiting = False
        self._is_closed = False
        self._ends_ns = _NEVER_NS
        self._has_ended = False
        self._taken_ns = 0

    # The receiving thread -------------------------------------------------------------------------------------

    def stamp(self) -> int:
        """Return the stamp of what has just arrived."""
        with self._lock:
            now_ns = self._wall()
            self._last_ns = stamp_ns = now_ns if now_ns > self._last_ns else self._last_ns + 1
            if self._making_ns is not None:
                return stamp_ns
            self._making_ns = stamp_ns
        if self.soon is not None and not self.is_settled_by_hand:
            self.soon(self.settle)
        return stamp_ns

    def put(self, deliveries: Sequence[Sequence[Row]]) -> None:
        """Hand over rows: of each stamp a sequence in the total order, none of them empty."""
        if not deliveries:
            return
        with self._lock:
            self._items.extend(deliveries)
            self._size += sum(map(len, deliveries))
            if self._is_waiting:
                self._is_waiting = False
                self._filled.notify()

    def settle(self) -> None:
        """Take note that everything stamped so far has been put, if it was to be."""
        with self._lock:
            self._making_ns = None

    def end(self) -> None:
        """Take note that nothing stamped up to `ends_at` comes any more."""
        with self._lock:
            self._has_ended = True
            self._is_waiting = False
            self._filled.notify()

    def close(self) -> None:
        """Let the taker end once it has taken everything."""
        with self._lock:
            self._is_closed = True
            self._is_waiting = False
            self._filled.notify()

    # The taking thread ----------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return how many rows wait."""
        return self._size

    def ends_at(self, end_ns: int) -> None:
        """Let the taker be told of `end_ns`, and of no later moment, once `end` has been called and all is taken."""
        with self._lock:
            self._ends_ns = end_ns

    def now_ns(self) -> int:
        """Return the present moment, which no earlier row is stamped after and every later one is."""
        with self._lock:
            return self._until()

    def take(self, wake_ns: Callable[[], int], rows_max: int) -> tuple[list[Sequence[Row]], int] | None:
        """Return what has arrived, and the moment up to which nothing else will come; None once closed and empty.

        Waits until something arrives, `wake_ns` is reached, or a quarter of a second has passed. The first row after a
        pause is taken at once; in a stream of rows they are taken a few at a time.

        Args:
            wake_ns: When time alone makes something happen next, UTC ns.
            rows_max: Take no more than about so many rows.
        """
        with self._lock:
            # In a stream of rows there is one sleep for a batch and nobody has to be woken; only a pause is waited out.
            pace_s = (self._taken_ns + _PACE_NS - self._wall()) / NS_PER_S
            if 0.0 < pace_s <= _PACE_NS / NS_PER_S and self._size < rows_max and not self._is_over:
                self._filled.wait(pace_s)
            if not self._items and not self._is_over:
                nap_s = min((wake_ns() - self._wall()) / NS_PER_S, _LONGEST_NAP_S)
                if nap_s > _SHORTEST_NAP_S:
                    self._is_waiting = True
                    self._filled.wait(nap_s)
                    self._is_waiting = False
            self._taken_ns = self._wall()
            if not self._items and self._is_closed and not self._has_ended:
                return None
            until_ns = self._until()
            if self._size <= rows_max:
                taken, self._items, self._size = list(self._items), deque(), 0
                return taken, until_ns
            taken, count = [], 0
            while count < rows_max:
                events = self._items.popleft()
                taken.append(events)
                count += len(events)
            self._size -= count
            if not self._items:
                return taken, until_ns  # the last delivery had more rows than were asked for
            # What waits was stamped before this moment: engine time may pass only up to the first of it.
            return taken, self._items[0][0].received_ns - 1

    @property
    def _is_over(self) -> bool:
        return self._is_closed or self._has_ended

    def _until(self) -> int:
        if self._has_ended:
            return self._ends_ns
        return min(self._present(), self._ends_ns - 1)

    def _present(self) -> int:
        now_ns = self._wall()
        if self._making_ns is not None:
            return self._making_ns - 1
        self._last_ns = max(now_ns, self._last_ns)
        return self._last_ns
