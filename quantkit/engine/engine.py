"""The loop: rows in, hooks out, in the one written order of operations.

At one instant: arrivals that a quiet market has not revealed, reports that are due, timers, then rows. At a row: engine
time moves; orders that have arrived by the instrument's matching clock are processed against the market before the
row; the row is applied; reports due are delivered; then the strategy's hook runs.

Only rows that can matter are looked at one by one: those the strategy hooks, and those that the broker stops at.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

import numpy as np

from quantkit.brokers.base import BrokerFactory, BrokerSetup
from quantkit.brokers.send_clock import SendClock
from quantkit.clock import NEVER_NS, iso_of
from quantkit.engine.bookings import Bookings
from quantkit.engine.books import Books
from quantkit.engine.context import RunContext
from quantkit.engine.delivery import ReportDelivery
from quantkit.engine.dispatch import HookDispatcher, HookedRows
from quantkit.engine.equity import EquityTracker
from quantkit.engine.funding import Settlements
from quantkit.engine.gaps import Gaps
from quantkit.engine.hooks import Hooks
from quantkit.engine.order_manager import OrderManager
from quantkit.engine.outcome import OrderEvent, Outcome, RunLog
from quantkit.engine.phases import Prepared, refusal_notes, remainder_notes
from quantkit.engine.plan import Plan, describe, idle_fees
from quantkit.errors import DataError, StrategyError
from quantkit.instruments import Instrument
from quantkit.orders import Fill, Order
from quantkit.portfolio import Portfolio, shown
from quantkit.rows.batch import Batch
from quantkit.rows.cursors import NOWHERE, StreamCursor, make_cursors
from quantkit.rows.marks import MarkTable

RUN_ID: Final = "bt"
#: Wake-ups without a row between them: more than this is a strategy answering itself for ever.
_MAX_WAKEUPS: Final = 1_000_000


class _RunEndedError(Exception):
    """The account is worth nothing: unwinds the loop."""


class Engine:
    """Drives one strategy over one feed, once.

    Args:
        prepared: The run up to its first row.
        brokers: Makes the broker.
        progress: Called with (now_ns, start_ns, end_ns) after each batch.
        log: Told after each batch what it led to.
        send_clock: Says when messages leave, and how far our clock is ahead of the exchange's.

    Attributes:
        plan: What was decided before the run.
        portfolio: The ledger as it has been reported to the strategy.
    """

    def __init__(
        self,
        prepared: Prepared,
        brokers: BrokerFactory,
        *,
        progress: Callable[[int, int, int], None] | None = None,
        log: RunLog | None = None,
        send_clock: SendClock | None = None,
    ) -> None:
        plan, config, position, strategy = prepared.plan, prepared.config, prepared.position, prepared.strategy
        instruments, currency = plan.instruments.values(), config.report_currency
        start = prepared.start
        self.plan: Plan = plan
        self._prepared = prepared
        self._position = position
        self._strategy = strategy
        self._guard = prepared.guard
        self._timers = start.timers
        self._progress = progress
        self._send_clock = send_clock or SendClock()
        self._warnings = prepared.warnings
        self._rows: dict[str, int] = {}
        self._entered: list[StreamCursor] = []
        self._wakeups, self._woken_at = 0, -1
        self._strategy_stops = True  # `on_stop` is to be called at the end
        self._dirty: set[str] = set()  # instruments whose orders, messages or position have changed; "" for timers
        self._cursors = make_cursors(plan.streams, plan.instruments)
        self._marks = MarkTable(plan.marks, self._cursors, position)
        self._ledger = Portfolio(plan.cash, instruments, report_currency=currency, mark_of=self._marks.last)
        self.portfolio = Portfolio(plan.cash, instruments, report_currency=currency, mark_of=self._marks.last)
        self._equity = EquityTracker(
            self._ledger, self._marks, position, start_ns=plan.start_ns, every_ns=config.equity_every_ns
        )
        self._settlements = Settlements(plan.streams, self._cursors, self._marks.sources)
        self._bookings = Bookings(self._marks, self._settlements, self._equity)
        self._broker = brokers(
            BrokerSetup(
                instruments=plan.instruments,
                matching=plan.matching,
                has_trades=plan.has_trades,
                fees=plan.fees,
                latency_ns=plan.latency_ns,
                ledger=self._ledger,
                cursors=self._cursors,
                marks=self._marks,
                position=position,
                observer=self._bookings,
                dirty=self._dirty,
                send_clock=self._send_clock,
                keeps_decisions=log is not None,
            )
        )
        self._orders = OrderManager(self._broker, self.portfolio, run_id=RUN_ID, position=position)
        self._gaps = Gaps()
        self._books = Books(self._cursors.values(), self._gaps, position)
        self._delivery = ReportDelivery(self._broker, self._orders, self.portfolio, strategy, self._guard, log)
        context = RunContext(
            start, prepared.instruments, self._orders, self.portfolio, self._books, position, self._dirty
        )
        self._hooks = Hooks(
            strategy,
            context,
            plan,
            start.subscriptions,
            self._broker,
            (self._ledger, self.portfolio),
            self._bookings,
            self._books,
            self._delivery,
            prepared.instruments,
            position,
            self._dirty,
        )
        self._dispatcher = HookDispatcher(position, self._dirty)
        strategy.bind(context)

    # What a watcher may read between two batches ------------------------------------------------------------------

    @property
    def open_orders(self) -> list[Order]:
        """Orders that may still fill, as far as reported."""
        return self._orders.open_orders(None)

    @property
    def order_count(self) -> int:
        """How many orders were sent or refused so far."""
        return len(self._orders.orders)

    @property
    def fills(self) -> Sequence[Fill]:
        """What was executed so far, on the exchange's side."""
        return self._broker.fills

    @property
    def starting_equity(self) -> Decimal:
        """What the account was worth at the start, zero before that is known."""
        return self._equity.starting_equity

    @property
    def gap_count(self) -> int:
        """How many gaps the rows held so far."""
        return self._gaps.count

    @property
    def notes(self) -> list[str]:
        """What the reader of the result will have to know, and the gaps so far, by instrument and channel."""
        return [*self._warnings, *self._gaps.notes()]

    @property
    def changes(self) -> list[Instrument]:
        """Metadata that came into force in the course of the run, in order of time."""
        return self._hooks.changes

    def mark(self, instrument: str) -> float | None:
        """Return what an instrument is valued at, None where nothing has been seen."""
        return self._marks.last(instrument)

    # A run ------------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run to the end of the data and return everything that happened.

        Raises:
            ConfigError, DataError: A file turns out bad on the way.
            StrategyError: A hook raised; the original is its cause.
        """
        # Rows that come during the warm-up wait, so that none is missed between the two.
        self._prepared.subscribe()
        self._warm_up()
        position = self._position
        ended, end_ns = "completed", self.plan.end_ns
        try:
            self._begin()
            self._delivery.log()
            for batch in self._prepared.feed.batches(self._next_wake_ns):
                if len(batch):
                    self._run_batch(batch)
                if batch.until_ns is not None:
                    self._woken_at = -1
                    end_ns = min(max(batch.until_ns, position.now_ns), self.plan.end_ns)
                    self._wake_until(end_ns + 1, len(position.received_ns))
                    self._delivery.log()
                    self._tell(end_ns)
                elif len(batch):
                    self._tell(int(batch.received_ns[-1]))
            self._wake_until(end_ns + 1, len(position.received_ns))
            self._equity.run_to(NOWHERE, end_ns + 1)
        except _RunEndedError:
            ended, end_ns = "bankrupt", position.now_ns
        return self._finish(ended, end_ns)

    def partial_result(self, error: StrategyError) -> Outcome | None:
        """Return what a run came to that `run` has given up because a hook raised; no hook is called any more.

        None where there is nothing to return: the run had not begun, or nothing had a price yet.
        """
        if not self._prepared.instruments.has_begun or not self._equity.is_started:
            return None
        self._strategy_stops = False
        self._equity.run_to(self._position.index, self._position.now_ns)
        outcome = self._finish("strategy_error", self._position.now_ns)
        outcome.warnings.insert(0, f"the run ended early: {error}")
        return outcome

    def _warm_up(self) -> None:
        """Deliver the candles before the start, with orders refused."""
        self._orders.refusal = "warmup"
        self._orders.remembered_targets.update(self._prepared.start.targets)
        for candle in self._prepared.warmup_candles():
            self._position.now_ns = candle.received_ns
            self._guard.call("on_candle", self._hooks.on_candle, candle)
            self._broker.see_candle(candle)
        self._orders.refusal = ""

    def _begin(self) -> None:
        """Start trading: timers at their first multiples, targets of the warm-up applied."""
        start_ns = self._position.now_ns = self.plan.start_ns
        self._timers.restart_from(start_ns)
        self._books.begin(self._prepared.feed, start_ns)
        self._broker.begin()
        self._equity.start(start_ns)
        for instrument, qty in self._orders.remembered_targets.items():
            self._orders.target(instrument, qty)
        self._prepared.instruments.has_begun = True
        self._rearm()

    # A batch ----------------------------------------------------------------------------------------------------

    def _run_batch(self, batch: Batch) -> None:
        self._enter(batch)
        position, received_ns, size = self._position, batch.received_ns, len(batch)
        index, done = 0, 0
        hooked = self._dispatcher.indices
        count = len(hooked)
        stop, cursor, is_hit = self._next_stop(index, size)
        while True:
            wake_ns = self._next_wake_ns()
            wake = size if wake_ns == NEVER_NS else int(received_ns.searchsorted(wake_ns))
            limit = min(stop, wake, size)
            if done < count and hooked[done] < limit:
                done = self._dispatch(int(hooked.searchsorted(limit)) - done)
                index = int(hooked[done - 1]) + 1
                self._check_solvency()
                if self._dirty:
                    self._rearm()
                    stop, cursor, is_hit = self._next_stop(index, size)
                    continue
            if wake < size and wake <= stop:
                index = wake
                if self._wake(wake_ns, wake):
                    stop, cursor, is_hit = self._next_stop(index, size)
                continue
            if stop >= size:
                break
            if not is_hit:
                index = stop  # as far as the search has looked
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
                self._rearm()
            stop, cursor, is_hit = self._next_stop(index, size)
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
        self._broker.enter_batch(self._entered, self._equity.held)

    def _dispatch(self, count: int) -> int:
        """Run the next `count` hooked rows, fewer when a hook changed something; return how many ran in this batch."""
        try:
            return self._dispatcher.run(count)
        except (StrategyError, DataError, _RunEndedError):
            raise
        except (Exception, SystemExit) as error:
            hook = getattr(self._dispatcher.hook, "__name__", "hook")
            raise self._guard.error(hook, error, self._dispatcher.event) from error

    def _leave(self, size: int) -> None:
        """End a batch: value it to its end and keep what the next one needs."""
        self._position.index = size
        self._equity.run_to(size, int(self._position.received_ns[-1]))
        self._broker.leave_batch(self._entered)

    def _tell(self, now_ns: int) -> None:
        if self._progress is not None:
            self._progress(now_ns, self.plan.start_ns, self.plan.end_ns)

    # Stops ------------------------------------------------------------------------------------------------------

    def _next_stop(self, index: int, size: int) -> tuple[int, StreamCursor | None, bool]:
        """Return the next index to stop at, whose row there the broker needs, and whether anybody surely does."""
        stop, cursor = self._broker.next_stop(index)
        # A mark that might end the run is looked at before the strategy sees its row, but after the broker has.
        doubt = self._equity.next_doubt(min(stop + 1, size))
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
            raise _RunEndedError

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

    def _rearm(self) -> None:
        """Let the broker look anew at what orders wait for, where that may have changed."""
        dirty = self._dirty
        if dirty:
            self._broker.rearm([instrument for instrument in dirty if instrument], self._equity.held)
            dirty.clear()

    def _check_solvency(self) -> None:
        bookings = self._bookings
        if not bookings.is_checked:
            if bookings.is_ruinous():
                raise _RunEndedError
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
        self._rearm()
        return True

    def _next_wake_ns(self) -> int:
        """Return when time alone makes something happen."""
        return min(self._broker.next_wake_ns(), self._timers.next_ns)

    def _wake_until(self, limit_ns: int, index: int) -> None:
        """Run the wake-ups before `limit_ns`, when no row comes before it."""
        while True:
            wake_ns = self._next_wake_ns()
            if wake_ns >= limit_ns:
                return
            self._wake(wake_ns, index)

    # The end --------------------------------------------------------------------------------------------------------

    def _finish(self, ended: str, end_ns: int) -> Outcome:
        """Stop the strategy, cancel what is open, and gather everything."""
        position = self._position
        position.rest()  # a hook that raised has left the rows in their middle
        position.now_ns = end_ns
        self._orders.refusal = "stopped"
        if self._strategy_stops:
            self._strategy_stops = False
            self._guard.call("on_stop", self._strategy.on_stop)
        self._uncount_after(end_ns)
        self._equity.close_curve(end_ns)
        for report in self._broker.finish(end_ns, "end_of_data" if ended == "completed" else ended):
            self._delivery.take_in(report)
        self._delivery.log()
        broker_notes = self._broker.notes()
        self._warnings += [
            *self._gaps.notes(end_ns),
            *broker_notes.rows,
            *idle_fees(self.plan),
            *refusal_notes(self._orders, self._broker),
            *self._settlements.notes(self._broker.fills),
            *remainder_notes(self._ledger),
            *broker_notes.fills,
            *self._books.notes(),
        ]
        if ended == "bankrupt":
            currency = self._equity.ruined
            what = f"equity in {currency}, which backs the contracts," if currency else "equity"
            self._warnings.append(f"{what} fell to zero at {iso_of(end_ns)}: the run ended there")
        return self._outcome(ended, end_ns, broker_notes.assumptions)

    def _uncount_after(self, end_ns: int) -> None:
        """Leave out of the counts the rows of this batch that the run has not come to."""
        for cursor in self._entered:
            rest = cursor.rows - int(cursor.column("received_ns").searchsorted(end_ns, "right"))
            self._rows[cursor.name] -= rest
            if not self._rows[cursor.name]:
                del self._rows[cursor.name]

    def _outcome(self, ended: str, end_ns: int, shares: list[str]) -> Outcome:
        ledger, prepared = self._ledger, self._prepared
        equity = ledger.equity_exact()
        return Outcome(
            orders=list(self._orders.orders.values()),
            order_events=[
                OrderEvent(report.order_id, report.at_ns, report.due_ns, report.state, report.reason)
                for report in self._broker.log
            ],
            fills=list(self._broker.fills),
            excursions=self._equity.excursions(),
            curve=self._equity.curve(),
            cash=ledger.cash,
            equity=Decimal(0) if equity is None else shown(equity),
            starting_equity=self._equity.starting_equity,
            report_currency=ledger.report_currency,
            position_qty={i: p.qty for i, p in ledger.positions.items()},
            position_mark={
                i: self._marks.last(i) for i in dict.fromkeys([*ledger.positions, *ledger.converters.values()])
            },
            realised=ledger.totals("realised"),
            funding=ledger.totals("funding"),
            fees=ledger.totals("fees"),
            start_ns=self.plan.start_ns,
            end_ns=end_ns,
            ended=ended,
            assumptions=[
                *describe(self.plan, prepared.config, prepared.feed, ledger.currencies),
                *self._send_clock.said(),
                *shares,
            ],
            warnings=self._warnings,
            rows=self._rows,
            offset_ns=self._send_clock.offset_ns(end_ns),
        )
