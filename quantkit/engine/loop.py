"""The loop: rows in, hooks out, in the one written order of operations.

At one instant: arrivals that a quiet market has not revealed, reports that are due, timers, then rows. At a row: engine
time moves; orders that have arrived by the instrument's matching clock are processed against the market before the
row; the row is applied; reports due are delivered; then the strategy's hook runs.

Only rows that can matter are looked at one by one: those the strategy hooks, and those that the broker stops at.
"""

from typing import Final

import numpy as np

from quantkit.clock import NEVER_NS, iso_of
from quantkit.engine.dispatch import HookedRows
from quantkit.engine.parts import RunParts
from quantkit.errors import DataError, StrategyError
from quantkit.rows.batch import Batch
from quantkit.rows.cursors import StreamCursor

#: Wake-ups without a row between them: more than this is a strategy answering itself for ever.
_MAX_WAKEUPS: Final = 1_000_000


class RunEndedError(Exception):
    """The account is worth nothing: unwinds the loop."""


class RowLoop:
    """Takes a run through its rows, and through time where there are none.

    Args:
        parts: The run's.
    """

    def __init__(self, parts: RunParts) -> None:
        self._position = parts.position
        self._strategy = parts.strategy
        self._guard = parts.guard
        self._timers = parts.timers
        self._dirty = parts.dirty
        self._cursors = parts.cursors
        self._marks = parts.marks
        self._equity = parts.equity
        self._settlements = parts.settlements
        self._bookings = parts.bookings
        self._broker = parts.broker
        self._agenda = parts.broker.agenda
        self._books = parts.books
        self._delivery = parts.delivery
        self._hooks = parts.hooks
        self._dispatcher = parts.dispatcher
        self._rows = parts.rows
        self._entered: list[StreamCursor] = []  # those with rows in this batch
        self._wakeups = 0  # without a row between them
        self._woken_at = -1

    # A batch ----------------------------------------------------------------------------------------------------

    def run_batch(self, batch: Batch) -> None:
        """Run through the rows of a batch."""
        self._enter(batch)
        position, received_ns, size = self._position, batch.received_ns, len(batch)
        index, done = 0, 0
        hooked = self._dispatcher.indices
        count = len(hooked)
        stop, cursor, is_hit = self._next_stop(size)
        while True:
            wake_ns = self.next_wake_ns()
            wake = size if wake_ns == NEVER_NS else int(received_ns.searchsorted(wake_ns))
            limit = min(stop, wake, size)
            if done < count and hooked[done] < limit:
                done = self._dispatch(int(hooked.searchsorted(limit)) - done)
                index = int(hooked[done - 1]) + 1
                self._check_solvency()
                if self._dirty:
                    self.rearm()
                    stop, cursor, is_hit = self._next_stop(size)
                    continue
            if wake < size and wake <= stop:
                index = wake
                if self._wake(wake_ns, wake):
                    stop, cursor, is_hit = self._next_stop(size)
                continue
            if stop >= size:
                break
            if not is_hit:
                index = stop  # as far as the search has looked
                self._broker.search_on(index)
            elif cursor is None:
                self._check_mark(stop)
            else:
                self._matching_row(cursor, stop)
                if self._equity.next_doubt(stop + 1) == stop:
                    self._check_mark(stop)
                index = position.index = stop + 1
                if done < count and hooked[done] == stop:
                    done = self._dispatch(1)
                    self._check_solvency()
                self.rearm()
            stop, cursor, is_hit = self._next_stop(size)
        self._leave(size)

    def _enter(self, batch: Batch) -> None:
        """Give every cursor its rows and line up the hooked ones."""
        self._position.enter_batch(batch.received_ns)
        parts: list[HookedRows] = []
        left, self._entered = self._entered, []
        self._settlements.leave_rows(left)
        self._marks.leave_rows(left)
        self._broker.leave_rows(left)
        for block, positions in zip(batch.blocks, batch.positions, strict=True):
            cursor = self._cursors.get(block.stream)
            if cursor is None:
                continue
            cursor.load(block, positions)
            self._entered.append(cursor)
            self._rows[cursor.name] = self._rows.get(cursor.name, 0) + block.size
            hook = self._hooks.of(cursor)
            if hook is not None:
                times, events = block.walk() if cursor.kind != "book" else (None, iter(range(block.size)))
                parts.append(HookedRows(cursor.positions, hook, times, events))
        for cursor in set(left).difference(self._entered):
            cursor.load(None, np.empty(0, np.int64))
        self._books.enter_batch(self._entered)
        self._equity.enter_batch()
        self._dispatcher.line_up(parts, batch.received_ns)
        self._broker.enter_batch(self._entered)

    def _dispatch(self, count: int) -> int:
        """Run the next `count` hooked rows, fewer when a hook changed something; return how many ran in this batch."""
        try:
            return self._dispatcher.run(count)
        except (StrategyError, DataError, RunEndedError):
            raise
        except (Exception, SystemExit) as error:
            hook = getattr(self._dispatcher.hook, "__name__", "hook")
            raise self._guard.error(hook, error, self._dispatcher.event) from error

    def _leave(self, size: int) -> None:
        """End a batch: value it to its end and keep what the next one needs."""
        self._position.index = size
        self._equity.run_to(size, int(self._position.received_ns[-1]))
        self._broker.leave_batch(self._entered)

    # Stops ------------------------------------------------------------------------------------------------------

    def _next_stop(self, size: int) -> tuple[int, StreamCursor | None, bool]:
        """Return the next index to stop at, whose row there the broker needs, and whether anybody surely does."""
        stop, cursor = self._agenda.stop, self._agenda.cursor
        # A mark that might end the run is looked at before the strategy sees its row, but after the broker has.
        # The row of the stop itself is searched once it has been run: a book has no mid of it before.
        doubt = self._equity.next_doubt(min(stop, size))
        if doubt < stop:
            return doubt, None, True
        return stop, cursor, cursor is not None

    def _check_mark(self, index: int) -> None:
        """Look closely at a mark that might end the run."""
        now_ns = int(self._position.received_ns[index])
        self._equity.look_closely(index, now_ns)
        if self._equity.is_bankrupt:
            self._position.now_ns = now_ns
            self._position.index = index + 1
            raise RunEndedError

    def _matching_row(self, cursor: StreamCursor, index: int) -> None:
        """Run the exchange's side of one row, and deliver what is due by it."""
        position = self._position
        now_ns = position.now_ns = int(position.received_ns[index])
        position.index = index
        position.is_after_candles = cursor.kind != "candle"
        self._broker.on_row(cursor, index)
        self._delivery.deliver(now_ns)
        self._dirty.add(cursor.instrument)
        self._check_solvency()

    def rearm(self) -> None:
        """Let the broker search again for the next row that matters, where orders may have changed."""
        dirty = self._dirty
        if dirty:
            self._broker.rearm([instrument for instrument in dirty if instrument])
            dirty.clear()

    def _check_solvency(self) -> None:
        bookings = self._bookings
        if not bookings.is_checked:
            if bookings.is_ruinous():
                raise RunEndedError
            bookings.is_checked = True

    # Wake-ups -----------------------------------------------------------------------------------------------------

    def _wake(self, now_ns: int, index: int) -> bool:
        """Let time pass without a row: overdue arrivals, reports, timers. Return whether stops may have changed."""
        self._wakeups = self._wakeups + 1 if index == self._woken_at else 1
        self._woken_at = index
        if self._wakeups > _MAX_WAKEUPS:
            raise StrategyError(
                f"{type(self._strategy).__name__}: {_MAX_WAKEUPS:,} wake-ups by {iso_of(now_ns)} and no row between; "
                "a hook answers its own orders or timers for ever",
                hook="on_order",
                now_ns=now_ns,
            )
        position = self._position
        position.now_ns = now_ns
        position.index = index
        position.is_after_candles = False
        self._broker.advance(now_ns)
        self._delivery.deliver(now_ns)
        while (timer := self._timers.pop(now_ns)) is not None:
            self._guard.call("on_timer", self._strategy.on_timer, timer.name)
        self._check_solvency()
        if not self._dirty:
            return False
        self.rearm()
        return True

    def next_wake_ns(self) -> int:
        """Return the next moment at which time alone has an effect."""
        return min(self._agenda.wake_ns, self._agenda.report_ns, self._timers.next_ns)

    def wake_until(self, limit_ns: int) -> None:
        """Run the wake-ups before `limit_ns`, when no row comes before it."""
        index = len(self._position.received_ns)
        while True:
            wake_ns = self.next_wake_ns()
            if wake_ns >= limit_ns:
                return
            self._wake(wake_ns, index)

    def pass_time(self) -> None:
        """Count wake-ups anew: time has really passed."""
        self._woken_at = -1

    def uncount_after(self, end_ns: int) -> None:
        """Take rows of this batch that the run did not reach out of the counts."""
        for cursor in self._entered:
            rest = cursor.rows - int(cursor.column("received_ns").searchsorted(end_ns, "right"))
            self._rows[cursor.name] -= rest
            if not self._rows[cursor.name]:
                del self._rows[cursor.name]
