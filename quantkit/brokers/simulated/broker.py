"""The simulated exchange of one account: latency, arrival order, checks, fills, and reports on their way back."""

import heapq
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from quantkit.brokers.base import Decision, Report
from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.gates import OPEN_BAND, PriceBand
from quantkit.brokers.simulated.market import ExchangeOrder, Market
from quantkit.clock import NEVER_NS
from quantkit.instruments import Instrument
from quantkit.orders import TRANSITIONS, Fill, Order, OrderState


class _Action(NamedTuple):
    """A message on its way to the exchange."""

    arrives_ns: int  # by the exchange's clock
    due_ns: int  # by ours: looked at by then, even if no row of its market has shown that it has arrived
    number: int  # counts messages in the order of sending
    kind: str  # submit, cancel or amend
    order: ExchangeOrder
    lots: int | None = None
    limit: int | None = None


class SimulatedBroker:
    """Takes orders, lets them travel, matches them on market rows, and sends reports back.

    An order arrives `latency_ns` after it was sent, by the exchange's clock, and is looked at when the instrument's
    matching clock (the running maximum of `exchange_ns` of its matching rows) reaches its arrival, before that row is
    applied. Where a quiet market brings no such row, it is looked at when its report would be due, or as long after its
    arrival as the market's last row took to come, if that is longer: rows stamped before the arrival may still be on
    their way. Reports are due `latency_ns` after the event, by our clock, or with the row that revealed it if that came
    later.

    Args:
        account: The exchange's truth about money and positions.
        latency_ns: One way, for orders and for reports, by instrument.
        sync: Brings an instrument's market up to date with the rows before the present one.
        lag_ns: How late an instrument's last matching row came, received less exchange stamp; None where none has come.
        send_clock: Says when messages leave, and how far our clock is ahead of the exchange's; None: that of a replay.
        before_change, after_fill: Called around every booking, for whoever values the account.

    Ignored: rate limits, minimum notional, price bands, lost messages, different latency per message.
    """

    def __init__(
        self,
        account: Account,
        *,
        latency_ns: Mapping[str, int],
        sync: Callable[[str], None],
        before_change: Callable[[], None],
        after_fill: Callable[[Fill], None],
        lag_ns: Callable[[str], int | None] = lambda _: None,
        send_clock: SendClock | None = None,
    ) -> None:
        self.account = account
        self._lag_ns = lag_ns
        self._send_clock = send_clock or SendClock()
        #: Instruments whose gate or wake-up may have changed since whoever watches them cleared the set.
        self.changed: set[str] = set()
        self.fills: list[Fill] = []
        self.log: list[Report] = []
        #: What was sent since whoever keeps it cleared the list; None while nobody does.
        self.decisions: list[Decision] | None = None
        self.markets: dict[str, Market] = {}
        self._latency_ns = dict(latency_ns)
        self._sync = sync
        self._before_change = before_change
        self._after_fill = after_fill
        self._now_ns = 0
        self._sent = 0
        self._left_ns = -NEVER_NS  # when the last message left, by the exchange's clock
        self._inbound: dict[str, deque[_Action]] = {}
        self._orders: dict[str, ExchangeOrder] = {}
        self._reports: list[Report] = []
        self._held: dict[str, int] = {}
        self._moves: dict[str, list[tuple[int, int, int]]] = {}  # (filled_ns, the latest so far, signed size steps)

    @property
    def orders(self) -> Mapping[str, ExchangeOrder]:
        """Every order ever sent, by id, as the exchange sees it."""
        return self._orders

    # Outgoing -------------------------------------------------------------------------------------------------

    def submit(self, order: Order, now_ns: int) -> int:
        """Send a new order on its way and return when it left."""
        working = self._orders[order.id] = ExchangeOrder(order)
        return self._send(now_ns, "submit", working)

    def cancel(self, order_id: str, now_ns: int) -> None:
        """Send a cancel on its way; one that comes too late changes nothing."""
        self._send(now_ns, "cancel", self._orders[order_id])

    def amend(self, order_id: str, now_ns: int, *, lots: int | None, price_ticks: int | None) -> None:
        """Send a change on its way: `lots` is the new whole size, filled part included."""
        self._send(now_ns, "amend", self._orders[order_id], lots, price_ticks)

    def _send(
        self, now_ns: int, kind: str, order: ExchangeOrder, lots: int | None = None, limit: int | None = None
    ) -> int:
        instrument = order.instrument
        latency_ns = self._latency_ns[instrument]
        sent_ns, offset_ns = self._send_clock.leave(now_ns, instrument), self._send_clock.offset_ns(now_ns)
        # Where the offset moves, a later message may still not overtake an earlier one.
        self._left_ns = max(sent_ns - offset_ns, self._left_ns)
        arrives_ns = self._left_ns + latency_ns
        lag_ns = self._lag_ns(instrument)
        # Without a row so far nothing says how late they come.
        late_ns = 0 if lag_ns is None else lag_ns - offset_ns
        # With no latency the report would be due at once; the next row, or the next moment, is the earliest.
        due_ns = arrives_ns + offset_ns + max(latency_ns, late_ns, 1)
        inbound = self._inbound.setdefault(instrument, deque())
        if inbound:
            due_ns = max(due_ns, inbound[-1].due_ns)
        inbound.append(_Action(arrives_ns, due_ns, self._sent, kind, order, lots, limit))
        self._sent += 1
        self.changed.add(instrument)
        if self.decisions is not None:
            is_new = kind == "submit"
            self.decisions.append(
                Decision(
                    sent_ns,
                    kind,
                    order.id,
                    instrument,
                    order.side.value,
                    order.lots if is_new else lots,
                    order.limit if is_new else limit,
                    order.stop,
                    order.tif.value,
                    order.post_only,
                    order.reduce_only,
                    order.tag,
                )
            )
        return sent_ns

    def band(self, instrument: str) -> PriceBand:
        """Return the band in which no trade or candle concerns the orders, and until when nothing arrives."""
        inbound = self._inbound.get(instrument)
        band = self.markets[instrument].band() if instrument in self.markets else OPEN_BAND
        return PriceBand(band.low, band.high, inbound[0].arrives_ns) if inbound else band

    def next_wake_ns(self) -> int:
        """Return when the clock alone makes something happen: a report due, or an arrival in a quiet market."""
        wake = self._reports[0].due_ns if self._reports else NEVER_NS
        for inbound in self._inbound.values():
            if inbound:
                wake = min(wake, inbound[0].due_ns)
        return wake

    # Incoming -------------------------------------------------------------------------------------------------

    def has_inbound(self, instrument: str) -> bool:
        """Whether a message for the instrument is on its way."""
        return bool(self._inbound.get(instrument))

    def process_arrivals(self, instrument: str, clock_ns: int, now_ns: int) -> None:
        """Process what has arrived by the instrument's matching clock, before the row that moved it."""
        self._now_ns = now_ns
        inbound = self._inbound.get(instrument)
        if inbound and inbound[0].arrives_ns <= clock_ns:
            self.changed.add(instrument)
            self._sync(instrument)
            while inbound and inbound[0].arrives_ns <= clock_ns:
                self._process(inbound.popleft())

    def process_overdue(self, now_ns: int) -> None:
        """Process arrivals that no row of their market revealed in time.

        Messages to several markets are taken in the order of their arrival, and of sending where they arrive together:
        they draw on the same money.
        """
        self._now_ns = now_ns
        while True:
            due = [
                (inbound[0].arrives_ns, inbound[0].number, instrument)
                for instrument, inbound in self._inbound.items()
                if inbound and inbound[0].due_ns <= now_ns
            ]
            if not due:
                return
            instrument = min(due)[2]
            self.changed.add(instrument)
            self._sync(instrument)
            self._process(self._inbound[instrument].popleft())

    def change_instrument(self, instrument: Instrument, at_ns: int, now_ns: int) -> None:
        """Go by other steps and another minimum from now on, and cancel the resting orders that no longer fit.

        What arrived before the change is judged by the rules of then.
        """
        self.process_arrivals(instrument.id, at_ns - 1, now_ns)
        self.account.portfolio.change_instrument(instrument)
        market = self.markets[instrument.id]
        market.use(instrument)
        self.changed.add(instrument.id)
        for order in tuple(market.orders):
            if not instrument.fits(lots=order.lots, left=order.left, limit=order.limit, stop=order.waiting_stop):
                self.cancelled(order, "instrument_changed", at_ns)

    def take_report(self, now_ns: int) -> Report | None:
        """Return the next report due by `now_ns`, or None."""
        if self._reports and self._reports[0].due_ns <= now_ns:
            return heapq.heappop(self._reports)
        return None

    def finish(self, now_ns: int, reason: str) -> list[Report]:
        """Cancel everything that is still open because the run ends, and return all reports not yet delivered."""
        self._now_ns = now_ns
        self._inbound.clear()
        at_ns = now_ns - self._send_clock.offset_ns(now_ns)
        for order in self._orders.values():
            if not order.is_final:
                self.cancelled(order, reason, at_ns)
        reports = sorted(self._reports)
        self._reports.clear()
        return reports

    def qty_at(self, instrument: str, boundary_ns: int) -> int:
        """Return the signed size steps that fills stamped before `boundary_ns` had built up."""
        lots = self._held.get(instrument, 0)
        for filled_ns, latest_ns, signed in reversed(self._moves.get(instrument, ())):
            if latest_ns < boundary_ns:  # as was everything earlier
                break
            if filled_ns >= boundary_ns:
                lots -= signed
        return lots

    def _process(self, action: _Action) -> None:
        order, at_ns = action.order, action.arrives_ns
        market = self.markets[order.instrument]
        if action.kind == "submit":
            order.arrived_ns = at_ns
            refusal = self._judge(market, order, lots=order.lots, limit=order.limit)
            if refusal:
                self.rejected(order, refusal, at_ns)
            else:
                market.arrive(order, at_ns)
        elif order.is_final:
            return
        elif action.kind == "cancel":
            self.cancelled(order, "requested", at_ns)
        else:
            self._amend(market, order, action)

    def _amend(self, market: Market, order: ExchangeOrder, action: _Action) -> None:
        """Change a working order, or leave it as it is and say why."""
        at_ns = action.arrives_ns
        lots = order.lots if action.lots is None else action.lots
        limit = order.limit if action.limit is None else action.limit
        if lots <= order.filled:
            self.cancelled(order, "amended_to_filled", at_ns)
            return
        keeps_place = limit == order.limit and lots <= order.lots
        refusal = ""
        if order.post_only and limit is not None and not keeps_place and market.crosses(order, limit):
            refusal = "post_only_would_take"
        if not refusal:
            refusal = self._judge(market, order, lots=lots, limit=limit)
        if refusal:
            self._report(order, order.state, f"amend_refused: {refusal}", at_ns)
            return
        order.lots, order.limit = lots, limit
        self._report(order, order.state, "amended", at_ns)
        if not keeps_place:
            order.arrived_ns = at_ns  # like a new order: rows stamped before cannot have met it
            market.requeue(order, at_ns)

    def _judge(self, market: Market, order: ExchangeOrder, *, lots: int, limit: int | None) -> str:
        """Return why the account may not have an order of this size and limit, empty if it may."""
        return self.account.admit(
            order,
            lots=lots,
            limit=limit,
            reference=market.reference_ticks(order.side),
            at_open=market.fills_at_opens,
            opening=market.opening_ticks(order),
        )

    # What markets tell ------------------------------------------------------------------------------------------

    def accepted(self, order: ExchangeOrder, at_ns: int) -> None:
        """Take an order in."""
        self._report(order, OrderState.ACCEPTED, "", at_ns)

    def rejected(self, order: ExchangeOrder, reason: str, at_ns: int) -> None:
        """Refuse an order on arrival."""
        self._end(order, OrderState.REJECTED, reason, at_ns)

    def cancelled(self, order: ExchangeOrder, reason: str, at_ns: int) -> None:
        """End an order with what it has filled so far."""
        self._end(order, OrderState.CANCELLED, reason, at_ns)

    def filled(self, order: ExchangeOrder, lots: int, ticks: int, *, is_maker: bool, at_ns: int, why: str) -> None:
        """Book an execution; what the account cannot have is cut off and cancelled."""
        account = self.account
        allowed = account.affordable_lots(order, lots, ticks, is_maker=is_maker)
        if allowed > 0:
            self._book(order, allowed, ticks, is_maker=is_maker, at_ns=at_ns, why=why)
        if allowed < lots:
            self.cancelled(order, account.reason_for_cutting(order), at_ns)

    def _book(self, order: ExchangeOrder, lots: int, ticks: int, *, is_maker: bool, at_ns: int, why: str) -> None:
        account = self.account
        instrument = account.portfolio.instruments[order.instrument]
        value = instrument.value(lots, ticks)
        fee, currency = account.charge(order, lots, value, is_maker=is_maker)
        fill = Fill(
            id=len(self.fills) + 1,
            order_id=order.id,
            instrument=order.instrument,
            side=order.side,
            price=instrument.price(ticks),
            qty=instrument.qty(lots),
            value=value,
            fee=fee,
            fee_currency=currency,
            role="maker" if is_maker else "taker",
            filled_ns=at_ns,
            revealed_ns=self._now_ns,
            why=why,
            tag=order.tag,
            lots=lots,
            ticks=ticks,
        )
        self._before_change()
        account.filled(order, lots)
        order.filled += lots
        account.portfolio.apply(fill)
        self.changed.add(order.instrument)
        self.fills.append(fill)
        signed = fill.signed_lots
        self._held[order.instrument] = self._held.get(order.instrument, 0) + signed
        moves = self._moves.setdefault(order.instrument, [])
        moves.append((at_ns, max(at_ns, moves[-1][1]) if moves else at_ns, signed))
        if order.left:
            self._report(order, OrderState.PARTLY_FILLED, "", at_ns, fill)
        else:
            self._end(order, OrderState.FILLED, "", at_ns, fill)
        self._after_fill(fill)

    def _end(self, order: ExchangeOrder, state: OrderState, reason: str, at_ns: int, fill: Fill | None = None) -> None:
        self._report(order, state, reason, at_ns, fill)
        self.changed.add(order.instrument)
        self.account.ended(order)
        self.markets[order.instrument].remove(order)

    def _report(
        self, order: ExchangeOrder, state: OrderState, reason: str, at_ns: int, fill: Fill | None = None
    ) -> None:
        assert state is order.state or state in TRANSITIONS[order.state], f"{order.id}: {order.state} to {state}"
        order.state = state
        # News of one order does not overtake another, even if the exchange's clock and ours are far apart.
        our_ns = at_ns + self._send_clock.offset_ns(self._now_ns)
        due_ns = max(our_ns + self._latency_ns[order.instrument], self._now_ns, order.reported_ns)
        order.reported_ns = due_ns
        report = Report(due_ns, len(self.log), order.id, state, reason, at_ns, order.lots, order.limit, fill)
        self.log.append(report)
        heapq.heappush(self._reports, report)
