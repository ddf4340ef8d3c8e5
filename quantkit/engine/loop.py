"""The loop: rows in, hooks out, in the one written order of operations.

At one instant: arrivals that a quiet market has not revealed, reports that are due, timers, then rows. At a row: engine
time moves; orders that have arrived by the instrument's matching clock are processed against the market before the
row; the row is applied; reports due are delivered; then the strategy's hook runs.

Only rows that can matter are looked at one by one: those the strategy hooks, those that the broker stops at, and marks
that might end the run.
"""

from bisect import bisect_left
from typing import Final

import numpy as np

from quantkit.brokers.base import DirtySet
from quantkit.clock import NEVER_NS, iso_of
from quantkit.engine.dispatch import HookedRows
from quantkit.engine.parts import RunParts
from quantkit.errors import StrategyError
from quantkit.rows.batch import Batch
from quantkit.rows.cursors import StreamCursor

#: Wake-ups without a row between them: more than this is a strategy answering itself for ever.
_MAX_WAKEUPS: Final = 1_000_000
#: The kinds of rows at which candles that close now have not been handed over; those of one stamp come in this order.
_BEFORE_CANDLES: Final = ("mark", "candle")
#: A wake-up is mostly due among the next few rows, and is looked for there first.
_NEAR_ROWS: Final = 16


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
        self._algorithms = parts.algorithms
        self._dirty = parts.dirty
        self._cursors = parts.cursors
        self._marks = parts.marks
        self._prices = parts.prices
        self._equity = parts.equity
        self._solvency = parts.equity.solvency
        self._daily_marks = parts.daily_marks
        self._settlements = parts.settlements
        self._bookings = parts.bookings
        self._broker = parts.broker
        self._agenda = parts.broker.agenda
        self._mark_watch = parts.broker.agenda.mark_watch
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
        """Run through the rows of a batch.

        Each turn hands out the hooked rows before the next stop or wake-up, then takes the earlier of the two. A hook
        that changes an order or a timer ends the turn: both are looked for anew.
        """
        self._enter(batch)
        position, dispatcher, bookings, dirty = self._position, self._dispatcher, self._bookings, self._dirty
        agenda, timers, stamps, size = self._agenda, self._timers, position.stamps, len(batch)
        solvency, watch = self._solvency, self._mark_watch
        while True:
            if dirty:
                dirty.discard(DirtySet.TIMERS)  # they concern no order
                self._broker.rearm(dirty)
                dirty.clear()
            stop, is_doubt, is_margin = agenda.next_index, False, False
            # A mark that may liquidate is judged after the broker has seen its row, before all else.
            if watch is not None and not watch.is_safe:
                doubt = watch.next_doubt(min(stop, size))
                if doubt < stop:
                    stop, is_margin = doubt, True
            # A mark that might end the run is looked at before the strategy sees its row, but after the broker has.
            # The row of the stop itself is looked at once it has been run.
            if not solvency.is_safe:
                doubt = solvency.next_doubt(min(stop, size))
                if doubt < stop:
                    stop, is_doubt, is_margin = doubt, True, False
            # A wake-up comes before the rows of its moment, that of the stop among them.
            end, index = (stop + 1 if stop < size else size), position.index
            wake, wake_ns = end, min(agenda.wake_ns, agenda.report_ns, timers.next_ns)
            if wake_ns != NEVER_NS:
                near = min(index + _NEAR_ROWS, end)
                wake = bisect_left(stamps, wake_ns, index, near)
                if wake == near:
                    wake = bisect_left(stamps, wake_ns, near, end)
            limit = min(wake, stop)
            if dispatcher.next_index < limit:
                dispatcher.run_to(limit)
                if not bookings.is_checked:
                    self._check_solvency()
                if dirty:
                    continue
            if wake < end:
                position.index = wake
                self._wake(wake_ns)
                continue
            if stop >= size:
                break
            if is_margin:
                self._judge_margin(stop)
            elif is_doubt:
                self._check_mark(stop)
            elif (cursor := agenda.cursor) is None:
                position.index = stop  # as far as the search has looked
                self._broker.search_on(stop)
            else:
                self._match_row(cursor, stop)
                position.index = stop + 1
                if dispatcher.next_index == stop:
                    dispatcher.run_to(stop + 1)
                    if not bookings.is_checked:
                        self._check_solvency()
        self._leave(size)

    def _enter(self, batch: Batch) -> None:
        """Give every cursor its rows and line up the hooked ones."""
        self._position.enter_batch(batch.received_ns)
        parts: list[HookedRows] = []
        left, self._entered = self._entered, []
        self._settlements.leave_rows(left)
        self._marks.leave_rows(left)
        self._prices.leave_rows(left)
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
        self._settlements.enter_batch(self._entered)
        self._books.enter_batch(self._entered)
        self._equity.enter_batch()
        self._daily_marks.enter_batch()
        self._dispatcher.line_up(parts, batch.received_ns)
        self._broker.enter_batch(self._entered)

    def _leave(self, size: int) -> None:
        """End a batch: value it to its end and keep what the next one needs."""
        self._position.index = size
        self._equity.leave_batch(size, int(self._position.received_ns[-1]))
        self._broker.leave_batch(self._entered)

    # Stops ------------------------------------------------------------------------------------------------------

    def _check_mark(self, index: int) -> None:
        """Look closely at a mark that might end the run."""
        now_ns = self._position.stamps[index]
        self._equity.look_closely(index, now_ns)
        if self._solvency.ruined is not None:
            self._position.now_ns = now_ns
            self._position.index = index + 1
            raise RunEndedError

    def _judge_margin(self, index: int) -> None:
        """Judge positions at a mark that may liquidate them, and deliver what is due by it."""
        position = self._position
        position.now_ns = position.stamps[index]
        position.index = index
        self._judge(index)
        if self._agenda.report_ns <= position.now_ns:
            self._delivery.deliver(position.now_ns)
        if not self._bookings.is_checked:
            self._check_solvency()

    def _judge(self, index: int) -> None:
        assert self._mark_watch is not None
        # What a mark brings about counts at once: it is in the grid row of its own moment.
        self._position.is_after_candles = False
        self._mark_watch.judge(index)

    def _match_row(self, cursor: StreamCursor, index: int) -> None:
        """Run the exchange's side of one row, and deliver what is due by it."""
        position = self._position
        now_ns = position.now_ns = position.stamps[index]
        position.index = index
        position.is_after_candles = cursor.kind not in _BEFORE_CANDLES
        self._broker.on_row(cursor, index)
        watch = self._mark_watch
        if watch is not None and not watch.is_safe and watch.next_doubt(index + 1) == index:
            self._judge(index)
        if self._agenda.report_ns <= now_ns:
            self._delivery.deliver(now_ns)
        self._dirty.add(cursor.instrument)
        if not self._bookings.is_checked:
            self._check_solvency()
        if not self._solvency.is_safe and self._solvency.next_doubt(index + 1) == index:
            self._check_mark(index)

    def _check_solvency(self) -> None:
        """End the run if a booking has left the account worth nothing."""
        if self._bookings.is_ruinous():
            raise RunEndedError
        self._bookings.is_checked = True

    # Wake-ups -----------------------------------------------------------------------------------------------------

    def _wake(self, now_ns: int) -> None:
        """Let time pass to a moment without a row: overdue arrivals, reports, timers."""
        position, agenda = self._position, self._agenda
        self._wakeups = self._wakeups + 1 if position.index == self._woken_at else 1
        self._woken_at = position.index
        if self._wakeups > _MAX_WAKEUPS:
            raise StrategyError(
                f"{type(self._strategy).__name__}: {_MAX_WAKEUPS:,} wake-ups by {iso_of(now_ns)} and no row between; "
                "a hook answers its own orders or timers for ever",
                hook="on_order",
                now_ns=now_ns,
            )
        position.now_ns = now_ns
        position.is_after_candles = False
        if agenda.wake_ns <= now_ns:
            self._broker.advance(now_ns)
        if agenda.report_ns <= now_ns:
            self._delivery.deliver(now_ns)
        while self._timers.next_ns <= now_ns:
            name = self._timers.pop()
            hears = self._algorithms if name in self._algorithms.names else self._strategy
            self._guard.call("on_timer", hears.on_timer, name)
        if not self._bookings.is_checked:
            self._check_solvency()

    def next_wake_ns(self) -> int:
        """Return the next moment at which time alone has an effect."""
        return min(self._agenda.wake_ns, self._agenda.report_ns, self._timers.next_ns)

    def wake_until(self, limit_ns: int) -> None:
        """Run the wake-ups before `limit_ns`, when no row comes before it."""
        self._position.index = len(self._position.stamps)
        while (wake_ns := self.next_wake_ns()) < limit_ns:
            self._wake(wake_ns)

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
