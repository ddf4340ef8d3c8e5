"""Reports on the last step of their way: into the strategy's books, then to its hooks, and into the log of the run."""

from quantkit.brokers.base import Broker
from quantkit.engine.algorithms import Algorithms
from quantkit.engine.guard import HookGuard
from quantkit.engine.order_manager import OrderManager
from quantkit.engine.outcome import RunLog
from quantkit.errors import DataError, StrategyError
from quantkit.strategy import Strategy, overrides


class ReportDelivery:
    """Hands out a broker's reports.

    Args:
        broker: The source of reports.
        orders: The strategy's own books, as far as reported.
        strategy: Whose `on_order` and `on_fill` are called.
        algorithms: Told of orders before it.
        guard: Says which of them raised.
        log: Told what was sent and reported; None for nobody.
    """

    def __init__(
        self,
        broker: Broker,
        orders: OrderManager,
        strategy: Strategy,
        algorithms: Algorithms,
        guard: HookGuard,
        log: RunLog | None,
    ) -> None:
        self._broker = broker
        self._agenda = broker.agenda
        self._orders = orders
        self._algorithms = algorithms
        self._guard = guard
        self._log = log
        self._logged = 0  # reports that the log has been told
        self._on_order = strategy.on_order if overrides(strategy, "on_order") else None
        self._on_fill = strategy.on_fill if overrides(strategy, "on_fill") else None

    def deliver(self, now_ns: int) -> None:
        """Hand out the reports that are due: portfolio first, then `on_order`, then `on_fill`.

        Raises:
            StrategyError: A hook raised.
        """
        agenda, broker, orders, algorithms = self._agenda, self._broker, self._orders, self._algorithms
        on_order, on_fill = self._on_order, self._on_fill
        given: object = None
        hook = ""  # the user's code that runs at present, if any
        try:
            while agenda.report_ns <= now_ns:
                report = broker.take_report()
                order, fill = orders.apply(report), report.fill
                if algorithms.active:
                    hook, given = "on_order", order
                    algorithms.on_order(order)
                if on_order is not None:
                    hook, given = "on_order", order
                    on_order(order)
                if fill is not None and on_fill is not None:
                    hook, given = "on_fill", fill
                    on_fill(fill)
                hook = ""
        except (StrategyError, DataError):
            raise
        except (Exception, SystemExit) as error:
            if not hook:
                raise
            raise self._guard.error(hook, error, given) from error

    def write_log(self) -> None:
        """Log the messages and reports since the last call."""
        if self._log is None:
            return
        decisions, reports = self._broker.take_decisions(), self._broker.reports[self._logged :]
        if decisions or reports:
            self._logged += len(reports)
            self._log.output(decisions, list(reports))
