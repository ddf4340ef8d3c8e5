"""Reports on the last step of their way: into the strategy's books, then to its hooks, and into the log of the run."""

from quantkit.brokers.base import Broker, Report
from quantkit.engine.guard import HookGuard
from quantkit.engine.order_manager import OrderManager
from quantkit.engine.outcome import RunLog
from quantkit.orders import Order
from quantkit.portfolio import Portfolio
from quantkit.strategy import Strategy, overrides


class ReportDelivery:
    """Hands out a broker's reports.

    Args:
        broker: The source of reports.
        orders, ledger: The strategy's own books, as far as reported.
        strategy: Whose `on_order` and `on_fill` are called.
        guard: Calls them.
        log: Told what was sent and reported; None for nobody.
    """

    def __init__(
        self,
        broker: Broker,
        orders: OrderManager,
        ledger: Portfolio,
        strategy: Strategy,
        guard: HookGuard,
        log: RunLog | None,
    ) -> None:
        self._broker = broker
        self._agenda = broker.agenda
        self._orders = orders
        self._ledger = ledger
        self._guard = guard
        self._log = log
        self._logged = 0  # reports that the log has been told
        self._on_order = strategy.on_order if overrides(strategy, "on_order") else None
        self._on_fill = strategy.on_fill if overrides(strategy, "on_fill") else None

    def deliver(self, now_ns: int) -> None:
        """Hand out the reports that are due: portfolio first, then `on_order`, then `on_fill`."""
        while self._agenda.report_ns <= now_ns:
            report = self._broker.take_report()
            order = self.take_in(report)
            if self._on_order is not None:
                self._guard.call("on_order", self._on_order, order)
            if report.fill is not None and self._on_fill is not None:
                self._guard.call("on_fill", self._on_fill, report.fill)

    def take_in(self, report: Report) -> Order:
        """Apply a report to the strategy's books, and return its order."""
        if report.fill is not None:
            self._ledger.apply(report.fill)
        return self._orders.apply(report)

    def log(self) -> None:
        """Log the messages and reports since the last call."""
        if self._log is None:
            return
        decisions, reports = self._broker.take_decisions(), self._broker.log[self._logged :]
        if decisions or reports:
            self._logged += len(reports)
            self._log.output(decisions, list(reports))
