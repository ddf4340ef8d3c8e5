"""The parts of a run, built and joined before it starts."""

from typing import Final

from quantkit.brokers.base import BrokerFactory, BrokerSetup, DirtySet
from quantkit.brokers.send_clock import SendClock
from quantkit.engine.bookings import Bookings
from quantkit.engine.books import Books
from quantkit.engine.commands import Commands, CommandSource
from quantkit.engine.context import RunContext
from quantkit.engine.daily_marks import DailyMarks
from quantkit.engine.delivery import ReportDelivery
from quantkit.engine.dispatch import HookDispatcher
from quantkit.engine.equity import EquityTracker
from quantkit.engine.funding import Settlements
from quantkit.engine.gaps import Gaps
from quantkit.engine.hooks import Hooks
from quantkit.engine.last_prices import LastPrices
from quantkit.engine.order_manager import OrderManager
from quantkit.engine.outcome import RunLog
from quantkit.engine.prepared import Prepared
from quantkit.engine.quotes import Quotes
from quantkit.engine.sizing import Sizing
from quantkit.engine.targets import Targets
from quantkit.margin_account import MarginAccount
from quantkit.portfolio import Portfolio
from quantkit.rows.cursors import make_cursors
from quantkit.rows.marks import MarkTable

RUN_ID: Final = "bt"


class RunParts:
    """The parts of a run; each part gets those that it needs.

    Args:
        prepared: The run up to its first row.
        make_broker: Makes the broker.
        log: Told what was sent and reported; None for nobody.
        send_clock: Says when messages leave.
        commands: Those from outside; None for a run that takes none.

    Attributes:
        dirty: What has changed since the broker last searched.
        ledger: The account's truth. reported: As far as the strategy has been told.
        warnings: What the reader of the result will have to know.
        rows: How many rows of each stream the run went through, by the stream's name.
    """

    def __init__(
        self,
        prepared: Prepared,
        make_broker: BrokerFactory,
        log: RunLog | None,
        send_clock: SendClock,
        commands: CommandSource | None,
    ) -> None:
        plan, options, position, strategy = prepared.plan, prepared.options, prepared.position, prepared.strategy
        start, instruments, currency = prepared.start, plan.instruments.values(), options.report_currency
        self.prepared = prepared
        self.plan = plan
        self.position = position
        self.strategy = strategy
        self.guard = prepared.guard
        self.timers = start.timers
        self.send_clock = send_clock
        self.warnings = prepared.warnings
        self.rows: dict[str, int] = {}
        self.dirty = DirtySet()
        self.cursors = make_cursors(plan.streams, plan.instruments)
        self.marks = MarkTable(plan.marks, self.cursors, position)
        self.ledger, self.reported = (
            Portfolio(
                plan.cash,
                instruments,
                report_currency=currency,
                mark_of=self.marks.last,
                is_long_short=options.is_long_short,
            )
            for _ in ("ledger", "reported")
        )
        self.equity = EquityTracker(
            self.ledger, self.marks, position, start_ns=plan.start_ns, every_ns=options.equity_every_ns
        )
        self.daily_marks = DailyMarks(self.marks.sources, position, plan.start_ns)
        self.settlements = Settlements(plan.streams, self.cursors, self.marks.sources)
        self.bookings = Bookings(self.ledger, self.reported, self.marks, self.settlements, self.equity)
        self.broker = make_broker(
            BrokerSetup(
                instruments=plan.instruments,
                matching=plan.matching,
                has_trades=plan.has_trades,
                fees=plan.fees,
                latency_ns=plan.latency_ns,
                ledger=self.ledger,
                cursors=self.cursors,
                marks=self.marks,
                position=position,
                observer=self.bookings,
                dirty=self.dirty,
                send_clock=send_clock,
                keeps_decisions=log is not None,
                margin=None if plan.margin is None else plan.margin.terms,
                price_limits=plan.price_limits,
            )
        )
        marked = {instrument for instrument, stream in plan.marks.items() if stream.kind == "mark"}
        self.gaps = Gaps()
        self.books = Books(self.cursors.values(), self.gaps, position)
        self.prices = LastPrices(plan.matching, self.cursors, self.books, position)
        sizing = Sizing(self.reported, plan.fees, self.prices, self.broker.room(self.reported))
        self.orders = OrderManager(self.broker, self.reported, sizing, run_id=RUN_ID, position=position, marked=marked)
        self.targets = Targets(self.orders, sizing, self.reported)
        self.commands = Commands(commands, self.orders, position)
        self.algorithms = start.algorithms
        self.delivery = ReportDelivery(self.broker, self.orders, strategy, self.algorithms, self.guard, log)
        margins = None if plan.margin is None else MarginAccount(self.reported, plan.margin.terms)
        context = RunContext(
            start,
            prepared.instruments,
            self.orders,
            self.targets,
            Quotes(self.orders),
            self.reported,
            self.books,
            position,
            self.dirty,
            margins,
        )
        self.hooks = Hooks(
            strategy,
            context,
            plan,
            start.subscriptions,
            self.broker,
            self.reported,
            self.bookings,
            self.books,
            self.delivery,
            prepared.instruments,
            position,
            self.dirty,
        )
        self.dispatcher = HookDispatcher(position, self.dirty, self.guard)
        strategy.bind(context)
