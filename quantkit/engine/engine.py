"""The loop: rows in, hooks out, in the one written order of operations.

At one instant: arrivals that a quiet market has not revealed, reports that are due, timers, then rows. At a row: engine
time moves; orders that have arrived by the instrument's matching clock are processed against the market before the
row; the row is applied; reports due are delivered; then the strategy's hook runs.

Only rows that can matter are looked at one by one: those the strategy hooks, and those that hit the broker's gate.
"""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

import numpy as np

from quantkit.brokers.base import Report
from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.broker import SimulatedBroker
from quantkit.brokers.simulated.market import CandleMarket
from quantkit.clock import NEVER_NS, iso_of
from quantkit.engine.context import RunContext
from quantkit.engine.dispatch import HookDispatcher, HookedRows
from quantkit.engine.equity import EquityTracker
from quantkit.engine.exchange import SimulatedVenue, make_cursors, make_marks
from quantkit.engine.funding import Settlements
from quantkit.engine.gaps import Gaps
from quantkit.engine.options import RunOptions
from quantkit.engine.order_manager import OrderManager
from quantkit.engine.outcome import OrderEvent, Outcome, RunLog
from quantkit.engine.plan import Plan, describe, idle_fees, make_plan
from quantkit.errors import ConfigError, DataError, QuantkitError, StrategyError
from quantkit.events import EVENT_KINDS, Candle, Funding, Gap, InstrumentChange
from quantkit.feeds.base import Feed
from quantkit.instruments import EXACT, Instrument, closest_id, decimal_of, names_of, plain, round_up
from quantkit.orderbook import Book
from quantkit.orders import Fill, Order, OrderState
from quantkit.portfolio import Portfolio, shown
from quantkit.rows.batch import Batch, Subscription
from quantkit.rows.columns import Stream
from quantkit.rows.cursors import NOWHERE, BookCursor, BookMark, StreamCursor
from quantkit.strategy import Strategy, idle_hooks, overrides

RUN_ID: Final = "bt"
_REMEDIES: Final = {
    "insufficient_cash": ": it does not pay for them with fees (market orders: at 5 % above the last price, "
    "on candles at the open)",
    "insufficient_position": ": spot can only sell what is there",
}
#: Why an order that was accepted ends without all that the market offered, for lack of money.
_CUTS: Final = ("insufficient_cash", "insufficient_margin")
#: Wake-ups without a row between them: more than this is a strategy answering itself for ever.
_MAX_WAKEUPS: Final = 1_000_000


class _RunEndedError(Exception):
    """The account is worth nothing: unwinds the loop."""


class Engine:
    """Drives one strategy over one feed, once.

    Args:
        feed: Where rows come from.
        strategy: Whose hooks run.
        config: How.
        progress: Called with (now_ns, start_ns, end_ns) after each batch.
        journal: Told after each batch what it led to.
        send_clock: Says when messages leave, and how far our clock is ahead of the exchange's.
        is_live: Whether the run cannot simply be run once more over the same span.
    """

    def __init__(
        self,
        feed: Feed,
        strategy: Strategy,
        config: RunOptions | None = None,
        *,
        progress: Callable[[int, int, int], None] | None = None,
        journal: RunLog | None = None,
        send_clock: SendClock | None = None,
        is_live: bool = False,
    ) -> None:
        self._feed = feed
        self._strategy = strategy
        self._config = config or RunOptions()
        self._progress = progress
        self._journal = journal
        self._send_clock = send_clock or SendClock()
        self._is_live = is_live
        self._reports_told = 0
        self._warnings: list[str] = []
        self._rows: dict[str, int] = {}
        self._seen = 0  # the index up to which rows count as seen, unless the walk along hooked rows is past it
        self._last_fill_price: dict[str, float] = {}
        self._gaps = Gaps()
        self._money_moved = False
        self._has_begun = False
        self._is_after_candles = False  # whether what happens belongs after the candles that close at its moment
        self._strategy_stops = True  # `on_stop` is to be called at the end
        #: Metadata that came into force in the course of the run, in order of time.
        self.changes: list[Instrument] = []

    @property
    def plan(self) -> Plan:
        """What was decided before the run started; there once `run` has begun."""
        return self._plan

    # What a watcher may read between two batches ------------------------------------------------------------------

    @property
    def portfolio(self) -> Portfolio:
        """The ledger as it has been reported to the strategy."""
        return self._reported

    @property
    def open_orders(self) -> list[Order]:
        """Orders that may still fill, as far as reported."""
        return self._orders.open_orders(None)

    @property
    def order_count(self) -> int:
        """How many orders were sent or refused so far."""
        return len(self._orders.orders)

    @property
    def fills(self) -> list[Fill]:
        """What was executed so far, on the exchange's side."""
        return self._broker.fills

    @property
    def starting_equity(self) -> Decimal:
        """What the account was worth at the start, zero before that is known."""
        return self._valuation.starting_equity

    @property
    def gap_count(self) -> int:
        """How many gaps the rows held so far."""
        return self._gaps.count

    @property
    def notes(self) -> list[str]:
        """What the reader of the result will have to know, and the gaps so far, by instrument and channel."""
        return [*self._warnings, *self._gaps.notes()]

    def mark(self, instrument: str) -> float | None:
        """Return what an instrument is valued at, None where nothing has been seen."""
        return self._mark(instrument)

    # A run ------------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run to the end of the data and return everything that happened.

        Raises:
            ConfigError, DataError: The run cannot start, or a file turns out bad on the way.
            StrategyError: A hook raised; the original is its cause.
        """
        begin_ns = self._begin_ns()
        # What was known by then: a later minimum or step is not to be seen in `on_start`.
        self._instruments = dict(self._feed.instruments(begin_ns))
        self._context = RunContext(seed=self._config.seed, now_ns=begin_ns, instruments=self._find)
        self._strategy.bind(self._context)
        self._guarded("on_start", self._strategy.on_start)
        self._plan = make_plan(self._feed, self._context.subscriptions, self._config)
        self._instruments.update(self._plan.instruments)
        self._warnings += idle_hooks(self._strategy, {stream.kind for stream in self._context.subscriptions})
        self._build(self._plan)
        # Rows that come during the warm-up wait, so that none is missed between the two.
        self._subscribe()
        self._warm_up()
        ended, end_ns = "completed", self._plan.end_ns
        try:
            self._begin()
            self._tell_journal()
            for batch in self._feed.batches(self._next_wake_ns):
                if len(batch):
                    self._run_batch(batch)
                if batch.until_ns is not None:
                    self._woken_at = -1
                    end_ns = min(max(batch.until_ns, self._context.now_ns), self._plan.end_ns)
                    self._wake_until(end_ns + 1, len(self._received_ns))
                    self._tell_journal()
                    self._told(end_ns)
                elif len(batch):
                    self._told(int(batch.received_ns[-1]))
            self._wake_until(end_ns + 1, len(self._received_ns))
            self._valuation.run_to(NOWHERE, end_ns + 1)
        except _RunEndedError:
            ended, end_ns = "bankrupt", self._context.now_ns
        return self._finish(ended, end_ns)

    def _begin_ns(self) -> int:
        """Return the time of `on_start`, before the span is decided: the start that was given, else the data's.

        Rows that a live run recorded begin when it began, though some of them are older.
        """
        if self._config.start_ns is not None:
            return self._config.start_ns
        held = self._feed.coverage().values()
        began = [each.live_ns for each in held if each.live_ns is not None]
        return min(began or [each.start_ns for each in held], default=0)

    def partial_result(self, error: StrategyError) -> Outcome | None:
        """Return what a run came to that `run` has given up because a hook raised; no hook is called any more.

        None where there is nothing to return: the run had not begun, or nothing had a price yet.
        """
        if not self._has_begun or not self._valuation.is_started:
            return None
        self._strategy_stops = False
        self._valuation.run_to(self._seen_place(), self._context.now_ns)
        outcome = self._finish("strategy_error", self._context.now_ns)
        outcome.warnings.insert(0, f"the run ended early: {error}")
        return outcome

    def _find(self, instrument: str) -> Instrument:
        """Return an instrument as it is at present; before the run's start is known, as it is today."""
        found = self._instruments.get(instrument)
        if found is None:
            there = sorted({*self._instruments, *(stream.instrument for stream in self._feed.coverage())})
            close = closest_id(instrument, there)
            hint = "there" if close is None else f"did you mean {close}? There"
            what = f"the live feed has no {instrument}" if self._is_live else f"no data: {instrument} is not there"
            # Once the run goes on, it is no lack of data but a slip in a hook.
            raise (ConfigError if self._has_begun else DataError)(f"{what}; {hint} is {names_of(there)}")
        return found

    def _guarded(self, hook: str, call: Callable[..., Any], *arguments: Any) -> None:
        """Call user code; what it raises stops the run and says where it was."""
        try:
            call(*arguments)
        except (StrategyError, DataError):
            raise
        except (Exception, SystemExit) as error:
            raise self._strategy_error(hook, error, *arguments) from error

    def _strategy_error(self, hook: str, error: BaseException, event: object = None) -> StrategyError:
        # Before the run begins there is no market time: the span is not even decided.
        now_ns = None if hook == "on_start" else self._context.now_ns
        moment = "" if now_ns is None else iso_of(now_ns)
        what = str(error) if isinstance(error, QuantkitError) else f"{type(error).__name__}: {error}"
        if isinstance(error, AttributeError) and str(error).startswith("immutable type"):
            what += "; what a hook is given cannot be written, amend() and cancel() change an order"
        given = "" if event is None or isinstance(event, int) else f"; it was given {str(event)[:300]}"
        again = f"; to get there again, end the same run there: --to {moment}"
        if now_ns is None or self._is_live:
            again = ""
        when = f" at {moment}" if moment else ""
        message = f"{type(self._strategy).__name__}.{hook}{when} raised {what}{given}{again}"
        return StrategyError(message, hook=hook, now_ns=now_ns)

    def _build(self, plan: Plan) -> None:
        """Make the cursors, the markets, the broker and both ledgers."""
        config = self._config
        instruments = plan.instruments.values()
        currency = config.report_currency
        account = Portfolio(plan.cash, instruments, report_currency=currency, mark_of=self._mark)
        self._reported = Portfolio(plan.cash, instruments, report_currency=currency, mark_of=self._mark)
        self._account = Account(account, plan.fees, max_leverage=decimal_of(config.max_leverage))
        self._broker = SimulatedBroker(
            self._account,
            latency_ns=plan.latency_ns,
            sync=lambda instrument: self._exchange.sync(instrument, self._seen),
            before_change=self._before_change,
            after_fill=self._after_fill,
            lag_ns=lambda instrument: self._exchange.lag_ns(instrument, self._seen_place()),
            send_clock=self._send_clock,
        )
        if self._journal is not None:
            self._broker.decisions = []
        self._changed = self._broker.changed
        self._cursors = make_cursors(plan, search=config.search)
        self._books = {cursor.instrument: cursor for cursor in self._cursors.values() if isinstance(cursor, BookCursor)}
        self._marks = make_marks(plan, self._cursors)
        self._exchange = SimulatedVenue(plan, config, self._broker, self._cursors, self._marks)
        self._settlements = Settlements(plan.streams, self._cursors, self._marks)
        self._dispatcher = HookDispatcher(self._context, self._changed)
        self._orders = OrderManager(self._broker, self._reported, run_id=RUN_ID, now_ns=lambda: self._context.now_ns)
        self._context.connect(self._orders, self._reported, self._changed, self._book_view)
        self._hook_of: dict[Stream, Callable[[Any], None] | None] = {}
        self._hooks = {
            kind.name: getattr(self._strategy, kind.hook) for kind in EVENT_KINDS.values() if kind.hook is not None
        }
        self._on_order = self._strategy.on_order if overrides(self._strategy, "on_order") else None
        self._on_fill = self._strategy.on_fill if overrides(self._strategy, "on_fill") else None
        self._received_ns = np.empty(0, np.int64)
        self._entered: list[StreamCursor] = []
        self._valuation = EquityTracker(
            account, self._marks, self._mark, start_ns=plan.start_ns, every_ns=config.equity_every_ns
        )

    def _warm_up(self) -> None:
        """Deliver the candles before the start, with orders refused."""
        self._orders.refusal = "warmup"
        self._orders.remembered_targets.update(self._context.early_targets)
        candles: list[tuple[tuple[int, Any, int], Candle]] = []
        for stream, count in self._context.subscriptions.items():
            if not count:
                continue
            block = self._feed.warmup(stream, count, self._plan.start_ns)
            had = 0 if block is None else block.size
            if had < count:
                self._warnings.append(f"{stream}: warm-up {had} of {count}")
            if block is not None:
                for number, event in enumerate(block.events()):
                    assert isinstance(event, Candle)
                    candles.append(((event.received_ns, stream.sort_key, number), event))
        for _, candle in sorted(candles, key=lambda entry: entry[0]):
            self._context.now_ns = candle.received_ns
            self._guarded("on_candle", self._on_candle, candle)
            market = self._broker.markets[candle.instrument]
            if isinstance(market, CandleMarket):
                # An order of the very start is valued at the last close that was known by then.
                market.see(candle.close)
        self._orders.refusal = ""

    def _subscribe(self) -> None:
        start_ns, end_ns = self._plan.start_ns, self._plan.end_ns
        subscriptions = self._context.subscriptions
        # A candle that closes at the very start has been delivered as the last of the warm-up.
        self._feed.subscribe(
            [
                Subscription(stream, start_ns + (1 if subscriptions.get(stream) else 0), end_ns)
                for stream in self._plan.streams
            ]
        )

    def _begin(self) -> None:
        """Start trading: timers at their first multiples, targets of the warm-up applied."""
        self._context.now_ns = self._plan.start_ns
        self._context.timers.restart_from(self._plan.start_ns)
        self._wakeups, self._woken_at = 0, -1
        self._exchange.begin_books(lambda stream: self._feed.book_before(stream, self._plan.start_ns))
        self._valuation.start(self._plan.start_ns)
        for instrument, qty in self._orders.remembered_targets.items():
            self._orders.target(instrument, qty)
        self._has_begun = True
        self._settle_changes(0)

    # A batch ----------------------------------------------------------------------------------------------------

    def _run_batch(self, batch: Batch) -> None:
        self._enter(batch)
        size = len(batch)
        index, done = 0, 0
        indices = self._dispatcher.indices
        count = len(indices)
        stop, is_hit, cursor = self._next_stop(index, size)
        while True:
            wake_ns = self._next_wake_ns()
            wake = size if wake_ns == NEVER_NS else int(self._received_ns.searchsorted(wake_ns))
            limit = min(stop, wake, size)
            if done < count and indices[done] < limit:
                done = self._spin(int(indices.searchsorted(limit)) - done)
                index = int(indices[done - 1]) + 1
                self._check_solvency()
                if self._changed:
                    self._settle_changes(index)
                    stop, is_hit, cursor = self._next_stop(index, size)
                    continue
            if wake < size and wake <= stop:
                index = wake
                if self._wake(wake_ns, wake):
                    stop, is_hit, cursor = self._next_stop(index, size)
                continue
            if stop >= size:
                break
            if not is_hit:
                index = stop  # as far as the search has looked
            elif cursor is None:
                self._check_mark(stop)
            else:
                self._matching_row(cursor, stop)
                if self._valuation.next_doubt(stop + 1) == stop:
                    self._check_mark(stop)
                index = stop + 1
                if done < count and indices[done] == stop:
                    done = self._spin(1)
                    self._check_solvency()
                self._settle_changes(index)
            stop, is_hit, cursor = self._next_stop(index, size)
        self._leave(size)

    def _enter(self, batch: Batch) -> None:
        """Give every cursor its rows and line up the hooked ones."""
        self._received_ns = batch.received_ns
        self._seen = 0
        parts: list[HookedRows] = []
        left, self._entered = self._entered, []
        self._settlements.leave_rows(left)
        self._exchange.leave_rows(left)
        for block, positions in zip(batch.blocks, batch.positions, strict=True):
            cursor = self._cursors.get(block.stream)
            if cursor is None:
                continue
            cursor.load(block, positions)
            self._entered.append(cursor)
            if isinstance(cursor, BookCursor) and self._gaps.is_out(cursor.instrument):
                self._end_outage(cursor, 0)
            self._rows[cursor.name] = self._rows.get(cursor.name, 0) + block.size
            if block.stream in self._hook_of:
                hook = self._hook_of[block.stream]
            else:
                hook = self._hook_of[block.stream] = self._hook_for(cursor)
            if hook is not None:
                times, events = block.walk() if cursor.kind != "book" else (None, iter(range(block.size)))
                parts.append(HookedRows(cursor.positions, hook, times, events))
        for cursor in set(left).difference(self._entered):
            cursor.load(None, np.empty(0, np.int64))
        self._valuation.enter_batch(batch.received_ns)
        self._dispatcher.line_up(parts, batch.received_ns)
        self._exchange.enter_batch(self._entered, held=self._valuation.held)

    def _uncount_after(self, end_ns: int) -> None:
        """Leave out of the counts the rows of this batch that the run has not come to."""
        for cursor in self._entered:
            rest = cursor.rows - int(cursor.column("received_ns").searchsorted(end_ns, "right"))
            self._rows[cursor.name] -= rest
            if not self._rows[cursor.name]:
                del self._rows[cursor.name]

    def _hook_for(self, cursor: StreamCursor) -> Callable[[Any], None] | None:
        """Return what a cursor's rows are handed to one by one, None when nobody wants them so."""
        is_subscribed = cursor.stream in self._context.subscriptions
        match cursor.kind:
            case "candle":
                return self._on_candle if is_subscribed else None
            case "book":
                wants = is_subscribed and overrides(self._strategy, "on_book")
                return self._book_hook(cursor) if wants and isinstance(cursor, BookCursor) else None
            case "funding":
                return self._on_funding
            case "gap":
                return self._on_gap
            case "instrument":
                return self._on_instrument
            case kind:
                name = EVENT_KINDS[kind].hook
                if name is None or not is_subscribed or not overrides(self._strategy, name):
                    return None
                hook: Callable[[Any], None] = self._hooks[kind]
                return hook

    def _spin(self, count: int) -> int:
        """Run the next `count` hooked rows, fewer when a hook changed something; return how many ran in this batch."""
        try:
            done = self._dispatcher.run(count)
        except (StrategyError, DataError, _RunEndedError):
            raise
        except (Exception, SystemExit) as error:
            hook = getattr(self._dispatcher.hook, "__name__", "hook").lstrip("_")
            raise self._strategy_error(hook, error, self._dispatcher.event) from error
        self._seen = self._dispatcher.seen()
        return done

    def _seen_place(self) -> int:
        """Return the index up to which rows have been seen, also in the middle of a walk."""
        return self._dispatcher.seen() if self._dispatcher.is_running else self._seen

    def _leave(self, size: int) -> None:
        """End a batch: value it to its end and keep what the next one needs."""
        self._seen = size
        last_ns = int(self._received_ns[-1])
        self._valuation.run_to(size, last_ns)
        self._exchange.leave_batch(size, self._entered)

    def _tell_journal(self) -> None:
        """Hand the journal what was sent and reported since it was told last."""
        decisions = self._broker.decisions
        if self._journal is None or decisions is None:
            return
        reports = self._broker.log[self._reports_told :]
        if decisions or reports:
            self._reports_told = len(self._broker.log)
            self._broker.decisions = []
            self._journal.output(decisions, reports)

    def _told(self, now_ns: int) -> None:
        if self._progress is not None:
            self._progress(now_ns, self._plan.start_ns, self._plan.end_ns)

    # Stops ------------------------------------------------------------------------------------------------------

    def _next_stop(self, index: int, size: int) -> tuple[int, bool, StreamCursor | None]:
        """Return the next index to stop at, whether a row there needs the broker, and that row's cursor."""
        stop, is_hit, found = self._exchange.next_stop(index)
        # A mark that might end the run is looked at before the strategy sees its row, but after the broker has.
        doubt = self._valuation.next_doubt(min(stop + 1, size))
        if doubt < stop:
            return doubt, True, None
        return stop, is_hit, found

    def _check_mark(self, index: int) -> None:
        """Look closely at a mark that might end the run."""
        now_ns = int(self._received_ns[index])
        self._valuation.look_closely(index, now_ns)
        if self._valuation.is_bankrupt:
            self._context.now_ns = now_ns
            self._seen = index + 1
            raise _RunEndedError

    def _matching_row(self, cursor: StreamCursor, index: int) -> None:
        """Run the exchange's side of one row, and deliver what is due by it."""
        now_ns = self._context.now_ns = int(self._received_ns[index])
        self._seen = index
        self._is_after_candles = cursor.kind != "candle"
        self._exchange.run_row(cursor, index, now_ns)
        self._deliver(now_ns)
        self._changed.add(cursor.instrument)
        self._check_solvency()

    def _settle_changes(self, index: int) -> None:
        """Close the gates anew for instruments whose orders or messages changed."""
        if self._changed:
            touched = self._changed - {""}
            touched.update(i for i, mark in self._marks.items() if isinstance(mark, BookMark))
            self._exchange.refresh(index, held=self._valuation.held, only=sorted(touched))
            self._changed.clear()

    # Wake-ups and reports -----------------------------------------------------------------------------------------

    def _wake(self, now_ns: int, index: int) -> bool:
        """Let time pass without a row: overdue arrivals, reports, timers. Return whether gates may have changed."""
        self._wakeups = self._wakeups + 1 if index == self._woken_at else 1
        self._woken_at = index
        if self._wakeups > _MAX_WAKEUPS:
            raise StrategyError(
                f"{type(self._strategy).__name__}: {_MAX_WAKEUPS:,} wake-ups by {iso_of(now_ns)} and no row between; "
                "a hook answers its own orders or timers for ever",
                hook="on_order",
                now_ns=now_ns,
            )
        self._context.now_ns = now_ns
        self._seen = index
        self._is_after_candles = False
        self._broker.process_overdue(now_ns)
        self._deliver(now_ns)
        while (timer := self._context.timers.pop(now_ns)) is not None:
            self._guarded("on_timer", self._strategy.on_timer, timer.name)
        self._check_solvency()
        if not self._changed:
            return False
        self._settle_changes(index)
        return True

    def _next_wake_ns(self) -> int:
        """Return when time alone makes something happen."""
        return min(self._broker.next_wake_ns(), self._context.timers.next_ns)

    def _wake_until(self, limit_ns: int, index: int) -> None:
        """Run the wake-ups before `limit_ns`, when no row comes before it."""
        while True:
            wake_ns = self._next_wake_ns()
            if wake_ns >= limit_ns:
                return
            self._wake(wake_ns, index)

    def _deliver(self, now_ns: int) -> None:
        """Hand out the reports that are due: portfolio first, then `on_order`, then `on_fill`."""
        while (report := self._broker.take_report(now_ns)) is not None:
            order = self._take_in(report)
            if self._on_order is not None:
                self._guarded("on_order", self._on_order, order)
            if report.fill is not None and self._on_fill is not None:
                self._guarded("on_fill", self._on_fill, report.fill)

    def _take_in(self, report: Report) -> Order:
        if report.fill is not None:
            self._reported.apply(report.fill)
        return self._orders.apply(report)

    # Hooks of the engine's own --------------------------------------------------------------------------------------

    def _on_candle(self, candle: Candle) -> None:
        self._context.remember(candle)
        self._strategy.on_candle(candle)

    def _on_gap(self, gap: Gap) -> None:
        cursor = self._books.get(gap.instrument) if gap.channel.startswith("book") else None
        self._gaps.add(gap, hides_book=cursor is not None)
        if cursor is not None:
            row = cursor.row_at(self._seen_place()) if cursor.rows else 0
            if row:
                cursor.advance(row)
            cursor.book.invalidate()
            if cursor.rows:
                self._end_outage(cursor, row)
        self._strategy.on_gap(gap)

    def _on_instrument(self, change: InstrumentChange) -> None:
        """Go by the instrument's new steps and minimum from this row on."""
        grid, now_ns = self._plan.instruments[change.instrument], self._context.now_ns
        instrument = change.info.on_grid(grid.tick, grid.lot)
        # Rows before this one are held against the steps of then.
        self._exchange.check_steps(instrument.id, self._seen_place())
        self._instruments[instrument.id] = instrument
        self._reported.change_instrument(instrument)
        self._broker.change_instrument(instrument, change.exchange_ns, now_ns)
        self.changes.append(instrument)
        self._deliver(now_ns)

    def _end_outage(self, cursor: BookCursor, first_row: int) -> None:
        """Count a book as lost up to its next snapshot, if that is among the cursor's rows from `first_row` on."""
        snapshots = np.flatnonzero(cursor.column("is_snapshot")[first_row:])
        if len(snapshots):
            self._gaps.end_outage(cursor.instrument, *cursor.stamps_at(first_row + int(snapshots[0])))

    def _on_funding(self, funding: Funding) -> None:
        if funding.is_settled:
            self._charge(funding)
            if self._money_moved and self._valuation.is_bankrupt:
                return  # the run ends with this row
        if Stream("funding", funding.instrument) in self._context.subscriptions:
            self._strategy.on_funding(funding)

    def _charge(self, funding: Funding) -> None:
        """Settle funding on what fills stamped before the boundary had built up, at the price of then."""
        instrument = self._plan.instruments[funding.instrument]
        lots = self._broker.qty_at(funding.instrument, funding.funding_ns)
        if not self._settlements.begin(funding) or not lots:
            return
        mark = self._settlements.price(funding, self._broker.fills, self._seen_place())
        self._is_after_candles = True
        self._before_change()
        qty = instrument.qty_decimal(lots)
        for ledger in (self._account.portfolio, self._reported):
            ledger.charge_funding(funding.instrument, rate=funding.rate, mark=mark, qty=qty)
        self._valuation.account_changed()
        self._money_moved = True
        self._changed.add(funding.instrument)

    def _book_hook(self, cursor: BookCursor) -> Callable[[Any], None]:
        """Return a hook that applies one row and shows the book to the strategy."""
        on_book, book, context = self._strategy.on_book, cursor.book, self._context

        def on_book_row(row: int) -> None:
            cursor.advance(row + 1)
            if book.is_valid:
                now_ns = context.now_ns
                book.check_not_crossed(now_ns)
                on_book(Book(book, exchange_ns=cursor.stamps_at(row)[0], received_ns=now_ns))

        on_book_row.__name__ = "on_book"
        return on_book_row

    def _book_view(self, instrument: str) -> Book | None:
        """Return the book as of the rows seen so far."""
        cursor = self._books.get(instrument)
        if cursor is None:
            raise ConfigError(f"book of {instrument} needs subscribe_book in on_start")
        rows = cursor.row_at(self._seen_place()) if cursor.rows else 0
        if rows:
            cursor.advance(rows)
            cursor.exchange_ns, cursor.received_ns = cursor.stamps_at(rows - 1)
        if not cursor.book.is_valid:
            return None
        cursor.book.check_not_crossed(self._context.now_ns)
        return Book(cursor.book, exchange_ns=cursor.exchange_ns, received_ns=cursor.received_ns)

    # Money ----------------------------------------------------------------------------------------------------------

    def _mark(self, instrument: str) -> float | None:
        """Return the latest mark of what has been seen; before the first, the price of our own last fill."""
        mark = self._marks[instrument].before(self._seen_place())
        return mark if mark is not None else self._last_fill_price.get(instrument)

    def _before_change(self) -> None:
        now_ns, is_after_candles = self._context.now_ns, self._is_after_candles
        self._valuation.before_change(self._seen_place(), now_ns, is_after_candles=is_after_candles)

    def _after_fill(self, fill: Fill) -> None:
        self._last_fill_price[fill.instrument] = fill.price
        self._settlements.filled(fill.instrument)
        self._exchange.note_volume(fill, self._seen)
        self._valuation.after_fill(fill, self._context.now_ns)
        self._money_moved = True

    def _check_solvency(self) -> None:
        if self._money_moved:
            self._money_moved = False
            if self._valuation.is_bankrupt:
                raise _RunEndedError

    # The end --------------------------------------------------------------------------------------------------------

    def _refusals(self) -> list[str]:
        """Return a sentence for every reason for which orders were rejected, or cut to what the account can carry."""
        orders = self._orders.orders.values()
        rejected = Counter((o.instrument, o.reason) for o in orders if o.state is OrderState.REJECTED)
        cut = Counter((o.instrument, o.reason) for o in orders if o.state is OrderState.CANCELLED and o.reason in _CUTS)
        totals = Counter(order.instrument for order in orders)
        return [
            f"{instrument}: {count} of {totals[instrument]} orders were {done}, {reason}"
            f"{_REMEDIES.get(reason, '')}{self._backing(instrument) if reason == 'insufficient_margin' else ''}"
            for done, counts in (("rejected", rejected), ("cut short", cut))
            for (instrument, reason), count in counts.items()
        ]

    def _backing(self, name: str) -> str:
        """Return what an instrument was short of, and how it is given."""
        currency = self._plan.instruments[name].settle_currency
        shortfall = self._account.shortfalls.get(name)
        if shortfall is None:
            return f": more than the equity in {currency} x max_leverage; send less"
        give = f"--cash {currency}={plain(round_up(shortfall.needed))}"
        if shortfall.equity <= 0:
            return f": {name} is backed by {currency}; the account has none ({give})"
        return (
            f": more than the equity in {currency} x max_leverage; "
            f"send less, or raise the cash ({give}) or --max-leverage"
        )

    def _remainders(self) -> list[str]:
        """Return a sentence for every holding of coins of which a part cannot be sold, and of contracts likewise."""
        said = []
        for name, position in self._account.portfolio.positions.items():
            instrument = position.instrument
            rest = EXACT.subtract(position.qty, instrument.tradable_qty(position.qty))
            if instrument.is_spot and rest > 0:
                said.append(
                    f"{name}: {plain(rest)} {instrument.base} is left over that cannot be sold "
                    f"(size step {plain(instrument.qty_step)}, smallest order {plain(instrument.min_qty)}); "
                    "it counts as no position"
                )
            elif rest and not instrument.is_spot:
                # Lots have become larger since it was bought.
                said.append(
                    f"{name}: {plain(rest)} contracts are left over that cannot be traded (size step "
                    f"{plain(instrument.qty_step)}); they count as no position, and the equity still moves with them"
                )
        return said

    def _finish(self, ended: str, end_ns: int) -> Outcome:
        """Stop the strategy, cancel what is open, and gather everything."""
        # A hook that raised has left the walk in its middle.
        self._seen = self._seen_place()
        self._dispatcher.is_running = False
        self._context.now_ns = end_ns
        self._orders.refusal = "stopped"
        if self._strategy_stops:
            self._strategy_stops = False
            self._guarded("on_stop", self._strategy.on_stop)
        self._uncount_after(end_ns)
        self._valuation.close_curve(end_ns)
        for report in self._broker.finish(end_ns, "end_of_data" if ended == "completed" else ended):
            self._take_in(report)
        self._tell_journal()
        account = self._account.portfolio
        equity = account.equity_exact()
        self._warnings += self._gaps.notes(end_ns)
        self._exchange.check_all_steps(self._seen)
        self._warnings += self._exchange.off_step_notes()
        self._warnings += idle_fees(self._plan)
        self._warnings += self._refusals()
        self._warnings += self._settlements.notes(self._broker.fills)
        self._warnings += self._remainders()
        shares, large = self._exchange.volume_shares()
        self._warnings += large
        for cursor in self._books.values():
            if cursor.rows:
                cursor.advance(cursor.row_at(self._seen))  # nobody may have read it since its snapshot
        self._warnings += [
            f"{instrument}: the book was not valid at the end; a snapshot is missing"
            for instrument, cursor in self._books.items()
            if not cursor.book.is_valid
        ]
        if ended == "bankrupt":
            currency = self._valuation.ruined
            what = f"equity in {currency}, which backs the contracts," if currency else "equity"
            self._warnings.append(f"{what} fell to zero at {iso_of(end_ns)}: the run ended there")
        return Outcome(
            orders=list(self._orders.orders.values()),
            order_events=[
                OrderEvent(report.order_id, report.at_ns, report.due_ns, report.state, report.reason)
                for report in self._broker.log
            ],
            fills=self._broker.fills,
            excursions=self._valuation.excursions(),
            curve=self._valuation.curve(),
            cash=account.cash,
            equity=Decimal(0) if equity is None else shown(equity),
            starting_equity=self._valuation.starting_equity,
            report_currency=account.report_currency,
            position_qty={i: p.qty for i, p in account.positions.items()},
            position_mark={i: self._mark(i) for i in dict.fromkeys([*account.positions, *account.converters.values()])},
            realised=account.totals("realised"),
            funding=account.totals("funding"),
            fees=account.totals("fees"),
            start_ns=self._plan.start_ns,
            end_ns=end_ns,
            ended=ended,
            assumptions=[
                *describe(self._plan, self._config, self._feed, account.currencies),
                *self._send_clock.said(),
                *shares,
            ],
            warnings=self._warnings,
            rows=self._rows,
            offset_ns=self._send_clock.offset_ns(end_ns),
        )
