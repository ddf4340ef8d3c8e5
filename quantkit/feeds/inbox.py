"""Live rows on their way to the engine: the bounded hand-over between two threads, and batches of what was taken."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NEVER_NS, NS_PER_S, wall_ns
from quantkit.events import EVENT_KINDS, KINDS, Candle, InstrumentChange, Row
from quantkit.rows.batch import Batch
from quantkit.rows.columns import Block, Stream

#: Kinds whose exchange stamp says nothing about the clocks.
_UNTIMED: Final = frozenset(kind.name for kind in EVENT_KINDS.values() if not kind.is_timed)
#: How long the taker sleeps at most, so that whoever watches the run sees it move.
_LONGEST_NAP_S: Final = 0.25
#: The rows of a batch span at most so much time.
_SPAN_NS: Final = 50_000_000


class InputLog(Protocol):
    """Records every input of a run before the engine sees it."""

    def input_batch(self, deliveries: int, last_ns: int, until_ns: int) -> None:
        """Add a batch: the count of deliveries, the stamp of the last (0 without any), the end of its time."""
        ...

    def warmup_loaded(self, stream: Stream, count: int, candles: Sequence[Candle]) -> None:
        """Add the candles of a warm-up that asked for `count`."""
        ...

    def feed_ended(self) -> None:
        """Add the end of the feed."""
        ...

    def sent(self, instrument: str, number: int, at_ns: int, sent_ns: int) -> None:
        """Add the departure of a message: engine time, and this machine's clock."""
        ...

    def stepped(self, from_ns: int, offset_ns: int) -> None:
        """Add a step of the clock offset: this machine's clock less the exchange's, from a moment on."""
        ...


class Inbox:
    """Stamps arriving rows and keeps them until they are taken, in one order.

    Stamps rise strictly over rows and over the moments given to the taker: after the taker was given a moment, every
    later row is stamped after it. So engine time can pass between rows, and a replay of the recording takes the same
    steps.

    One thread stamps and puts, another one takes. Rows are put at the end of the callback of the event loop in which
    they were stamped. A row is taken at once when the taker waits for it; rows gather into batches while it works.

    Args:
        wall: The machine's UTC time in nanoseconds.
        batch_ns: From one batch to the next at least so long, which costs less CPU; a row waits no longer than that.
    """

    def __init__(self, wall: Callable[[], int] = wall_ns, *, batch_ns: int = 0) -> None:
        self._wall = wall
        self._batch_ns = batch_ns
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._items: deque[Sequence[Row]] = deque()
        self._size = 0
        self._last_ns = 0
        self._making_ns: int | None = None  # the first stamp of this callback: its rows are still on their way
        self._is_waiting = False  # the taker, for rows
        self._is_held_up = False  # the taker, because time may not pass over what is on its way
        self._asked_ns = NEVER_NS  # the moment that `wake_at` asks for
        self._is_closed = False
        self._ends_ns = NEVER_NS
        self._has_ended = False
        self._taken_ns = 0

    # The receiving thread -------------------------------------------------------------------------------------

    def stamp(self) -> int:
        """Return the stamp of what has just arrived."""
        with self._lock:
            now_ns = self._wall()
            self._last_ns = stamp_ns = now_ns if now_ns > self._last_ns else self._last_ns + 1
            if self._making_ns is None:
                self._making_ns = stamp_ns
        return stamp_ns

    def put(self, deliveries: Sequence[Sequence[Row]]) -> None:
        """Hand over the rows of everything stamped so far: of each stamp a sequence in the total order, none empty.

        A stamp without rows was that of a message without any.
        """
        with self._lock:
            self._making_ns = None
            self._items.extend(deliveries)
            self._size += sum(map(len, deliveries))
            if (deliveries and self._is_waiting) or self._is_held_up:
                self._wake()

    def end(self) -> None:
        """Take note that nothing stamped up to `ends_at` comes any more."""
        with self._lock:
            self._has_ended = True
            self._wake()

    def close(self) -> None:
        """Let the taker end once it has taken everything."""
        with self._lock:
            self._is_closed = True
            self._wake()

    def wake_at(self, moment_ns: int) -> None:
        """Let the taker return as soon as time has come to a moment, though no row has; from any thread."""
        with self._lock:
            self._asked_ns = min(self._asked_ns, moment_ns)
            self._wake()

    def _wake(self) -> None:
        self._is_waiting = self._is_held_up = False
        self._filled.notify()

    # The taking thread ----------------------------------------------------------------------------------------

    def __len__(self) -> int:
        """Return how many rows wait."""
        return self._size

    def ends_at(self, end_ns: int) -> None:
        """Let time end at `end_ns`: once `end` was called and all rows are taken, the taker gets no later moment."""
        with self._lock:
            self._ends_ns = end_ns

    def now_ns(self) -> int:
        """Return the present moment: earlier rows are stamped up to it, later rows after it."""
        with self._lock:
            return self._until()

    def take(self, wake_ns: int, rows_max: int, due_ns: int = NEVER_NS) -> tuple[list[Sequence[Row]], int] | None:
        """Return the rows that arrived, and the moment up to which no others will come; None once closed and empty.

        Waits until something arrives, `wake_ns` or the moment of `wake_at` is reached, or a quarter of a second has
        passed.

        Args:
            wake_ns: The next moment at which time alone has an effect, UTC ns.
            rows_max: Take no more than about so many rows. They span 50 ms at most, so that a taker that is behind can
                end between any two timers.
            due_ns: The 50 ms begin here if it is before the first row: what time alone sets off in a gap of the market
                comes in batches before that row. Must not have passed for the taker.
        """
        with self._lock:
            if self._batch_ns and self._size < rows_max and not self._is_over:
                self._pace(min(wake_ns, self._asked_ns))
            if not self._items and not self._is_over:
                self._wait(min(wake_ns, self._asked_ns))
            self._taken_ns = self._wall()
            if not self._items and self._is_closed and not self._has_ended:
                return None
            until_ns = self._until()
            if self._asked_ns <= until_ns:
                self._asked_ns = NEVER_NS
            items = self._items
            last_ns = min(items[0][0].received_ns, due_ns) + _SPAN_NS if items else 0
            if self._size <= rows_max and (not items or items[-1][0].received_ns <= last_ns):
                taken, self._items, self._size = list(items), deque(), 0
                return taken, until_ns
            taken, count = [], 0
            while items and count < rows_max and items[0][0].received_ns <= last_ns:
                rows = items.popleft()
                taken.append(rows)
                count += len(rows)
            self._size -= count
            if not items:
                return taken, until_ns  # the last delivery had more rows than were asked for
            # What waits was stamped before this moment: engine time may pass only up to the first of it.
            return taken, items[0][0].received_ns - 1

    def _pace(self, wake_ns: int) -> None:
        """Let rows gather since the last batch, but none for too long, and no wake-up go by."""
        # Rows that the last batch left behind have waited already.
        begun_ns = min(self._taken_ns, self._items[0][0].received_ns) if self._items else self._taken_ns
        pace_ns = min(begun_ns + self._batch_ns, wake_ns) - self._wall()
        if 0 < pace_ns <= self._batch_ns:
            # There is one sleep for a batch and nobody has to be woken; only a pause of the market is waited out.
            self._filled.wait(pace_ns / NS_PER_S)

    def _wait(self, wake_ns: int) -> None:
        """Wait for rows, or for a moment."""
        if wake_ns <= self._until():
            return
        self._is_waiting = True
        # A moment that only another call lets come is no reason to look again and again.
        self._is_held_up = self._making_ns is not None
        is_out_of_reach = self._is_held_up or wake_ns >= self._ends_ns
        left_s = (wake_ns - self._wall()) / NS_PER_S
        self._filled.wait(_LONGEST_NAP_S if is_out_of_reach else min(left_s, _LONGEST_NAP_S))
        self._is_waiting = self._is_held_up = False

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


class BatchMaker:
    """Turns deliveries into batches.

    Args:
        end_ns: Rows stamped later are left out, and time does not pass beyond it.
    """

    def __init__(self, end_ns: int) -> None:
        self._end_ns = end_ns
        self._warmed_ns: dict[Stream, int] = {}
        self._streams: dict[tuple[type, str, str], Stream] = {}
        self._sort_keys: dict[Stream, tuple[int, int, str]] = {}
        #: Rows so far, and `received_ns` and `exchange_ns` of the last, by stream.
        self.counts: dict[Stream, tuple[int, int, int]] = {}
        #: The smallest receipt less exchange stamp of the last batch, None where no row told of it.
        self.least_lag_ns: int | None = None

    def warmed(self, stream: Stream, candles: Sequence[Candle]) -> None:
        """Leave out from now on the candles that a warm-up has delivered."""
        if candles:
            self._warmed_ns[stream] = candles[-1].close_ns

    def batch(self, deliveries: Iterable[Sequence[Row]], until_ns: int) -> Batch:
        """Return a batch of these deliveries in their order, with the time up to `until_ns`."""
        # Deliveries come in the total order, so that counting rows tells their places.
        groups: dict[Stream, tuple[list[Row], list[int]]] = {}
        stamps: list[int] = []
        least_lag_ns: int | None = None
        for delivery in deliveries:
            for row in delivery:
                if row.received_ns > self._end_ns:
                    continue
                interval = row.interval if isinstance(row, Candle) else ""
                key = (type(row), row.instrument, interval)
                stream = self._streams.get(key)
                if stream is None:
                    kind = "instrument" if isinstance(row, InstrumentChange) else KINDS[type(row)]
                    stream = self._streams[key] = Stream(kind, key[1], interval)
                    self._sort_keys[stream] = stream.sort_key
                if interval and row.close_ns <= self._warmed_ns.get(stream, 0):  # type: ignore[union-attr]
                    continue
                group = groups.get(stream)
                if group is None:
                    groups[stream] = ([row], [len(stamps)])
                else:
                    group[0].append(row)
                    group[1].append(len(stamps))
                stamps.append(row.received_ns)
                lag_ns = row.received_ns - row.exchange_ns
                if (least_lag_ns is None or lag_ns < least_lag_ns) and stream.kind not in _UNTIMED:
                    least_lag_ns = lag_ns
        self.least_lag_ns = least_lag_ns
        blocks: list[Block] = []
        positions: list[NDArray[np.int64]] = []
        for stream in sorted(groups, key=self._sort_keys.__getitem__):
            rows, places = groups[stream]
            last = rows[-1]
            before = self.counts.get(stream)
            self.counts[stream] = (len(rows) + (before[0] if before else 0), last.received_ns, last.exchange_ns)
            blocks.append(Block.from_events(rows, stream=stream))
            positions.append(np.array(places, np.int64))
        return Batch.lined_up(blocks, np.array(stamps, np.int64), positions, until_ns=min(until_ns, self._end_ns))
