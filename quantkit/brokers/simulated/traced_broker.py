"""A simulated exchange that follows one order closely; it decides nothing by itself."""

from collections.abc import Mapping
from typing import Any

from quantkit.brokers.base import Report
from quantkit.brokers.order_trace import OrderTrace, TraceEndedError, TraceRow
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.broker import SimulatedBroker
from quantkit.brokers.simulated.listing import Listing
from quantkit.brokers.simulated.order_watch import OrderWatch, row_of
from quantkit.instruments import Instrument
from quantkit.orders import LIQUIDATION, Order
from quantkit.rows.cursors import StreamCursor


class TracedBroker(SimulatedBroker):
    """The same exchange; from the traced order's sending on every row of its instrument is looked at.

    That skips nothing and so decides as `SimulatedBroker` does, which the tests of the search hold.

    Args:
        account, parts: As for that.
        trace: Gets what happens to the order.
    """

    def __init__(self, account: Account, *, trace: OrderTrace, listings: Mapping[str, Listing], **parts: Any) -> None:
        super().__init__(account, listings=listings, **parts)
        self._trace = trace
        self._watch: OrderWatch | None = None
        self._read_reports = 0
        # What its parts do by themselves is looked at as well.
        self._unwatched_until, self._unwatched_advance = self.process_until, self.advance
        self.process_until, self.advance = self._process_until, self._advance
        if self._liquidations is not None:
            self.agenda.mark_watch = self

    def submit(self, order: Order, now_ns: int) -> int:
        sent_ns = super().submit(order, now_ns)
        self._look()
        return sent_ns

    def on_row(self, cursor: StreamCursor, index: int) -> None:
        row = self._of_cursor[cursor][1].row
        super().on_row(cursor, index)
        is_ours = self._trace.instrument == cursor.instrument
        self._look(row_of(cursor, row) if is_ours else None)
        self._end()

    # As a watch of marks --------------------------------------------------------------------------------------------

    @property
    def is_safe(self) -> bool:
        """As of the liquidations."""
        assert self._liquidations is not None
        return self._liquidations.is_safe

    def next_doubt(self, horizon: int) -> int:
        """As of the liquidations."""
        assert self._liquidations is not None
        return self._liquidations.next_doubt(horizon)

    def account_changed(self, instrument: str) -> None:
        """Tell the liquidations."""
        assert self._liquidations is not None
        self._liquidations.account_changed(instrument)

    def judge(self, index: int) -> None:
        """Judge a mark, and look at what came of it."""
        watch, trace = self._liquidations, self._trace
        assert watch is not None
        watch.judge(index)
        made = self.orders.get(trace.order_id)
        is_liquidation = made is not None and made.id.startswith(LIQUIDATION)
        self._look(mark_price=watch.mark_of(made.instrument) if made is not None and is_liquidation else None)
        self._end()

    # The looks ------------------------------------------------------------------------------------------------------

    def _process_until(self, listing: Listing, clock_ns: int) -> None:
        self._unwatched_until(listing, clock_ns)
        self._look()

    def _advance(self, now_ns: int) -> None:
        self._unwatched_advance(now_ns)
        self._look()
        self._end()

    def change_instrument(self, instrument: Instrument, at_ns: int) -> None:
        super().change_instrument(instrument, at_ns)
        self._look()

    def finish(self, now_ns: int, reason: str) -> list[Report]:
        left = super().finish(now_ns, reason)
        self._look()
        return left

    def _end(self) -> None:
        """End the run once the order is over; never within a hook, which would take it for its own error.

        Raises:
            TraceEndedError: It is.
        """
        if self._trace.is_over:
            raise TraceEndedError

    def _look(self, row: TraceRow | None = None, *, mark_price: float | None = None) -> None:
        """Let the trace look at its order, and follow its instrument's rows from the first sight of it on."""
        trace = self._trace
        if self._watch is None:
            order = self.orders.get(trace.order_id)
            if order is None:
                return
            self._watch = OrderWatch(order, trace)
            trace.instrument = order.instrument
            self.listings[order.instrument].follow_rows(self._position.index)
            self._dirty.add(order.instrument)
        market, now_ns = self.listings[trace.instrument].market, self._position.now_ns
        self._watch.look(market, now_ns, self._told_ns(now_ns), row, mark_price=mark_price)

    def _told_ns(self, now_ns: int) -> int:
        """Return the exchange's stamp of the newest report of the order since the last look; without one, of now."""
        found = now_ns - self._send_clock.offset_at(now_ns)
        for report in self.reports[self._read_reports :]:
            if report.order_id == self._trace.order_id:
                found = report.at_ns
        self._read_reports = len(self.reports)
        return found
