"""A run from its first row to its result: warm-up, rows, and the end."""

from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from decimal import Decimal

from quantkit.brokers.base import BrokerFactory, Report
from quantkit.brokers.send_clock import SendClock
from quantkit.engine.commands import CommandSource, RunCommand
from quantkit.engine.ending import finish
from quantkit.engine.loop import RowLoop, RunEndedError
from quantkit.engine.outcome import Outcome, RunLog
from quantkit.engine.parts import RunParts
from quantkit.engine.plan import Plan
from quantkit.engine.prepared import Prepared
from quantkit.errors import DataError, StrategyError
from quantkit.events import Gap
from quantkit.instruments import Instrument
from quantkit.orderbook import Book
from quantkit.orders import Fill, Order
from quantkit.rows.batch import Batch, Subscription
from quantkit.rows.cursors import NOWHERE


class Engine:
    """Drives one strategy over one feed, once.

    Args:
        prepared: The run up to its first row.
        make_broker: Makes the broker.
        progress: Called with (now_ns, start_ns, end_ns) after each batch.
        log: Gets the outputs of each batch.
        send_clock: The departures of messages, and the offset of our clock.
        commands: Commands from outside, taken between two batches of a live run; None: it takes none.

    Attributes:
        plan: The decisions before the run.
        reported: The ledger as it has been reported to the strategy.
    """

    def __init__(
        self,
        prepared: Prepared,
        make_broker: BrokerFactory,
        *,
        progress: Callable[[int, int, int], None] | None = None,
        log: RunLog | None = None,
        send_clock: SendClock | None = None,
        commands: CommandSource | None = None,
    ) -> None:
        parts = RunParts(prepared, make_broker, log, send_clock or SendClock(), commands)
        self.plan: Plan = parts.plan
        self.reported = parts.reported
        self._parts = parts
        self._position = parts.position
        self._progress = progress
        self._loop = RowLoop(parts)
        self._strategy_stops = True  # `on_stop` is to be called at the end

    # What a watcher may read between two batches ------------------------------------------------------------------

    @property
    def open_orders(self) -> list[Order]:
        """Orders that may still fill, as far as reported."""
        return self._parts.orders.open_orders(None)

    @property
    def order_count(self) -> int:
        """How many orders were sent or refused so far."""
        return len(self._parts.orders.orders)

    @property
    def fills(self) -> Sequence[Fill]:
        """The fills so far, on the exchange's side."""
        return self._parts.broker.fills

    @property
    def reports(self) -> Sequence[Report]:
        """The reports so far, on the exchange's side, delivered or not."""
        return self._parts.broker.reports

    @property
    def starting_equity(self) -> Decimal:
        """The equity at the start, zero while it is unknown."""
        return self._parts.equity.starting_equity

    @property
    def gap_count(self) -> int:
        """How many gaps the rows held so far."""
        return self._parts.gaps.count

    @property
    def notes(self) -> list[str]:
        """Warnings so far, and the gaps by instrument and channel."""
        return [*self._parts.warnings, *self._parts.commands.notes(), *self._parts.gaps.notes()]

    @property
    def is_paused(self) -> bool:
        """Whether the run is paused from outside."""
        return self._parts.orders.is_paused

    @property
    def commands(self) -> Sequence[RunCommand]:
        """The commands taken so far, in order."""
        return self._parts.commands.taken

    @property
    def changes(self) -> list[Instrument]:
        """Metadata that came into force in the course of the run, in order of time."""
        return self._parts.hooks.changes

    @property
    def instruments_asked(self) -> list[str]:
        """The instruments that the strategy has asked for, subscribed or not."""
        return sorted(self._parts.prepared.instruments.asked)

    @property
    def last_gaps(self) -> Sequence[Gap]:
        """The last gaps, newest last."""
        return tuple(self._parts.gaps.last)

    def last_reports(self, count: int) -> Sequence[tuple[Report, Order]]:
        """Return the last reports of orders that the strategy has been told, each with its order as it is now."""
        now_ns, orders = self._position.now_ns, self._parts.orders.orders
        reports = self._parts.broker.reports[-count:]
        return [(report, orders[report.order_id]) for report in reports if report.due_ns <= now_ns]

    def queue_ahead(self, order: Order) -> float | None:
        """Return the size that is displayed in front of an open order; None where that is not known."""
        return self._parts.broker.queue_ahead(order.id)

    @property
    def books(self) -> Collection[str]:
        """The instruments with a book."""
        return self._parts.books.instruments

    def book(self, instrument: str) -> Book | None:
        """Return the book of one of them as of now, None while it is not valid; reading it changes nothing."""
        try:
            return self._parts.books.view(instrument)
        except DataError:
            return None  # crossed: whether that ends the run is up to who trades on it

    @property
    def peak_equity(self) -> float:
        """The highest equity so far, 0 before anything had a price."""
        return self._parts.equity.peak

    def equity_at(self, time_ns: int) -> float | None:
        """Return the curve's equity at a moment; None where the curve has not begun by then."""
        return self._parts.equity.equity_at(time_ns)

    def mark(self, instrument: str) -> float | None:
        """Return the mark of an instrument, None before the first."""
        return self._parts.marks.last(instrument)

    # A run ------------------------------------------------------------------------------------------------------

    def run(self) -> Outcome:
        """Run to the end of the data and return everything that happened.

        Raises:
            ConfigError, DataError: A file turns out bad on the way.
            StrategyError: A hook raised; the original is its cause.
        """
        steps = self.steps(self.subscribed_batches())
        while True:
            try:
                next(steps)
            except StopIteration as ended:
                outcome: Outcome = ended.value
                return outcome

    @property
    def asked_rows(self) -> list[Subscription]:
        """The rows that the run needs."""
        return self._parts.prepared.subscriptions

    def subscribed_batches(self) -> Iterator[Batch]:
        """Name the run's rows to its feed and return them: those that come during the warm-up wait."""
        feed = self._parts.prepared.feed
        feed.subscribe(self.asked_rows)
        return feed.batches(self._loop.next_wake_ns)

    def steps(self, batches: Iterator[Batch]) -> Generator[None, None, Outcome]:
        """Run batch by batch; `run` is all of it over the run's own rows.

        Args:
            batches: The subscribed rows.

        Returns:
            Everything that happened.

        Raises:
            ConfigError, DataError, StrategyError: As `run`.
        """
        self._warm_up()
        position = self._position
        ended, end_ns = "completed", self.plan.end_ns
        try:
            self._begin()
            self._parts.delivery.write_log()
            broker = self._parts.broker
            for batch in batches:
                broker.take_inputs(int(batch.received_ns[-1]) if batch.until_ns is None else batch.until_ns)
                if len(batch):
                    self._loop.run_batch(batch)
                if batch.until_ns is not None:
                    self._loop.pass_time()
                    end_ns = min(max(batch.until_ns, position.now_ns), self.plan.end_ns)
                    self._loop.wake_until(end_ns + 1)
                    self._parts.commands.take(end_ns)
                    self._parts.delivery.write_log()
                    self._tell(end_ns)
                elif len(batch):
                    self._tell(int(batch.received_ns[-1]))
                yield
            self._loop.wake_until(end_ns + 1)
            self._parts.equity.run_to(NOWHERE, end_ns + 1)
        except RunEndedError:
            ended, end_ns = "bankrupt", position.now_ns
        return self._stop(ended, end_ns)

    def partial_result(self, error: StrategyError) -> Outcome | None:
        """Return the result of a run up to the hook that raised; no hook is called any more.

        None before the run has begun, or while nothing has a price.
        """
        if not self._parts.prepared.instruments.has_begun:
            return None
        self._parts.equity.run_to(self._position.index, self._position.now_ns)
        if not self._parts.equity.is_started:
            return None
        self._strategy_stops = False
        outcome = self._stop("strategy_error", self._position.now_ns)
        outcome.warnings.insert(0, f"the run ended early: {error}")
        return outcome

    def _warm_up(self) -> None:
        """Deliver the candles before the start, with orders refused."""
        self._parts.orders.refusal = "warmup"
        self._parts.targets.remembered.update(self._parts.prepared.start.targets)
        for candle in self._parts.prepared.warmup_candles():
            self._position.now_ns = candle.received_ns
            self._parts.guard.call("on_candle", self._parts.hooks.on_candle, candle)
            self._parts.broker.see_candle(candle)
            self._parts.prices.see_candle(candle)
        self._parts.orders.refusal = ""

    def _begin(self) -> None:
        """Start trading: timers at their first multiples, targets of the warm-up applied."""
        start_ns = self._position.now_ns = self.plan.start_ns
        self._parts.timers.restart_from(start_ns)
        self._parts.books.begin(self._parts.prepared.feed, start_ns)
        self._parts.settlements.begin_run()
        self._parts.broker.begin()
        self._parts.equity.start(start_ns)
        self._parts.daily_marks.begin(start_ns)
        self._parts.guard.call("on_candle", self._parts.targets.begin)
        self._parts.prepared.instruments.begin()

    def _tell(self, now_ns: int) -> None:
        if self._progress is not None:
            self._progress(now_ns, self.plan.start_ns, self.plan.end_ns)

    # The end --------------------------------------------------------------------------------------------------------

    def _stop(self, ended: str, end_ns: int) -> Outcome:
        """Stop the strategy, cancel what is open, and gather everything."""
        self._position.now_ns = end_ns
        self._parts.orders.refusal = "stopped"
        if self._strategy_stops:
            self._strategy_stops = False
            self._parts.guard.call("on_stop", self._parts.strategy.on_stop)
        self._loop.uncount_after(end_ns)
        return finish(self._parts, ended, end_ns)
