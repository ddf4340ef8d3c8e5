"""What markets do to orders, booked and reported: the account pays, the observer is told, news goes on its way back."""

import heapq
from collections.abc import Sequence
from decimal import Decimal

from quantkit.brokers.base import Agenda, Observer, Report
from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.follower import Follower, MarginWatch
from quantkit.brokers.simulated.listing import Listing
from quantkit.brokers.simulated.spending import Spending
from quantkit.brokers.simulated.venue_gate import PRICE_LIMIT
from quantkit.clock import NEVER_NS
from quantkit.orders import TRANSITIONS, Fill, OrderState
from quantkit.rows.position import RunPosition
from quantkit.venue_rules.okx import OUTSIDE, REASONS


class Executions:
    """Carries out what markets decide: books, ends and reports.

    Reports are due `latency_ns` after the event, by our clock, or with the row that revealed it if that came later.

    Args:
        account: The exchange's truth about money and positions.
        position: How far the run has come.
        observer: Told around every booking.
        send_clock: Says how far our clock is ahead of the exchange's.
        dirty: Gets the instruments whose orders change.
        agenda: Gets the time of the next report.

    Attributes:
        fills: Every execution so far.
        indices: Where the run stood at each.
        log: Every report so far.
        listings: What `add_listing` was given, by instrument.
        orders: Every order that the exchange has heard of or made, by id.
        followers: The parts that act on fills and ends, in the order in which they are told. `build.py` writes it.
        margin_watch: Asked before fills in a run with margin. `build.py` writes it too.
    """

    def __init__(
        self,
        account: Account,
        *,
        position: RunPosition,
        observer: Observer,
        send_clock: SendClock,
        dirty: set[str],
        agenda: Agenda,
    ) -> None:
        self.fills: list[Fill] = []
        self.indices: list[int] = []
        self.log: list[Report] = []
        self.listings: dict[str, Listing] = {}
        self.orders: dict[str, ExchangeOrder] = {}
        self.followers: Sequence[Follower] = ()
        self.margin_watch: MarginWatch | None = None
        self._account = account
        self._spending = Spending(account)
        self._funds = account.funds
        self._ledger = account.ledger
        self._position = position
        self._observer = observer
        self._send_clock = send_clock
        self._dirty = dirty
        self._agenda = agenda
        self._reports: list[Report] = []  # a heap of those on their way

    def add_listing(self, listing: Listing) -> None:
        """Carry out what the market of a listing decides, too. The market was made with this object as its listener."""
        self.listings[listing.id] = listing

    # What markets decide ----------------------------------------------------------------------------------------

    def reject(self, order: ExchangeOrder, reason: str, at_ns: int) -> None:
        """Refuse an order on arrival."""
        self._end(order, OrderState.REJECTED, reason, at_ns)

    def cancel(self, order: ExchangeOrder, reason: str, at_ns: int) -> None:
        """End an order with what it has filled so far."""
        self._end(order, OrderState.CANCELLED, reason, at_ns)

    def reduce(self, order: ExchangeOrder, lots: int, reason: str, at_ns: int) -> None:
        """Take so many size steps off an open order; without any left it is cancelled."""
        if lots >= order.left:
            self.cancel(order, reason, at_ns)
            return
        self._funds.release(order, lots)
        order.lots -= lots
        self._dirty.add(order.instrument)
        self.report(order, order.state, reason, at_ns)

    def grow(self, order: ExchangeOrder, lots: int, reason: str, at_ns: int) -> None:
        """Add so many size steps to an open order that can only reduce: it costs the account nothing."""
        order.lots += lots
        self._dirty.add(order.instrument)
        self.report(order, order.state, reason, at_ns)

    def size(self, order: ExchangeOrder, ticks: int, at_ns: int) -> bool:
        """Give an order that travels with money its size at a price, or end it; return whether it goes on."""
        reason = self._spending.size(order, ticks)
        if reason:
            self.cancel(order, reason, at_ns)
        return not reason

    def set_off(self, order: ExchangeOrder, at_ns: int) -> bool:
        """Judge an order that has gone off by the exchange's rules; return whether it goes on.

        A limit outside the price limit ends it; that of a child is put on the price limit, so that its position keeps
        its protection.
        """
        market = self.listings[order.instrument].market
        if order.limit_ticks is not None and market.venue is not None:
            band = market.venue.band(market.instrument)
            if not band.allows(order.limit_ticks, is_buy=order.is_buy):
                if not order.is_child:
                    self.cancel(order, REASONS[OUTSIDE], at_ns)
                    return False
                order.limit_ticks = band.highest_buy if order.is_buy else band.lowest_sell
                self.report(order, order.state, PRICE_LIMIT, at_ns)
        self.tell_of_change(order, at_ns)
        return not order.state.is_final

    def tell_of_change(self, order: ExchangeOrder, at_ns: int) -> None:
        """Let the parts that act on orders know of one that has come to work, or grown, without a message."""
        for follower in self.followers:
            if follower.is_following:
                follower.after_change(order, at_ns)

    def may_fill(self, order: ExchangeOrder, ticks: int) -> bool:
        """Whether the account can have all that is open of an order that takes, at a price."""
        return self._account.affordable_lots(order, order.left, ticks, is_maker=False) >= order.left

    def fill(
        self,
        order: ExchangeOrder,
        lots: int,
        ticks: int,
        *,
        is_maker: bool,
        at_ns: int,
        why: str,
        charge: Decimal | None = None,
    ) -> None:
        """Book an execution, cut to what the account can have; the rest of it is cancelled.

        Args:
            order, lots, ticks, is_maker, at_ns, why: As a market has them.
            charge: What the exchange takes for closing a position itself, whole, in the settlement currency.
        """
        account, watch = self._account, self.margin_watch
        if watch is not None and charge is None and watch.takes_over(order, ticks, at_ns):
            return  # and the order is over with it
        if order.spends is not None:
            if not self.size(order, ticks, at_ns):
                return
            lots = min(lots, order.left)
        allowed = lots if charge is not None else account.affordable_lots(order, lots, ticks, is_maker=is_maker)
        if allowed <= 0:
            self.cancel(order, account.reason_for_cutting(order), at_ns)
            return
        name, position = order.instrument, self._position
        instrument = self._ledger.instruments[name]
        value = instrument.value(allowed, ticks)
        if charge is None:
            fee, currency = self._funds.charge(order, allowed, value, is_maker=is_maker)
        else:
            fee, currency = charge, instrument.settle_currency
        if order.spends is not None:
            self._spending.pay(order, allowed, ticks)
        fill = Fill(
            id=len(self.fills) + 1,
            order_id=order.id,
            instrument=name,
            side=order.side,
            price=instrument.price(ticks),
            qty=instrument.qty(allowed),
            value=value,
            fee=fee,
            fee_currency=currency,
            role="maker" if is_maker else "taker",
            filled_ns=at_ns,
            revealed_ns=position.now_ns,
            why=why,
            tag=order.tag,
            lots=allowed,
            ticks=ticks,
            position_side=order.position_side,
        )
        self._observer.before_fill()
        self._funds.release(order, allowed)
        order.filled_lots += allowed
        self._ledger.apply(fill)
        self._dirty.add(name)
        self.fills.append(fill)
        self.indices.append(position.index)
        if order.filled_lots < order.lots:
            self.report(order, OrderState.PARTLY_FILLED, "", at_ns, fill)
        else:
            self.report(order, OrderState.FILLED, "", at_ns, fill)
            self.listings[name].market.remove(order)
        self._observer.after_fill(fill)
        for follower in self.followers:
            if follower.is_following:
                follower.after_fill(order, allowed, at_ns)
        if allowed < lots and not order.state.is_final:
            self.cancel(order, account.reason_for_cutting(order), at_ns)

    def _end(self, order: ExchangeOrder, state: OrderState, reason: str, at_ns: int) -> None:
        """End an order that has not filled whole."""
        self.report(order, state, reason, at_ns)
        self._dirty.add(order.instrument)
        self._funds.release(order, order.left)
        self.listings[order.instrument].market.remove(order)
        for follower in self.followers:
            if follower.is_following:
                follower.after_end(order, at_ns)

    # Reports ----------------------------------------------------------------------------------------------------

    def report(
        self, order: ExchangeOrder, state: OrderState, reason: str, at_ns: int, fill: Fill | None = None
    ) -> None:
        """Send news of an order back."""
        assert state is order.state or state in TRANSITIONS[order.state], f"{order.id}: {order.state} to {state}"
        order.state = state
        now_ns, clock = self._position.now_ns, self._send_clock
        # What `offset_at` returns, without a call for every report.
        offset_ns = clock.offset_ns if now_ns < clock.next_step_ns else clock.offset_at(now_ns)
        # News of one order does not overtake another, even if the exchange's clock and ours are far apart.
        our_ns = at_ns + offset_ns
        listing = self.listings[order.instrument]
        latency_ns = listing.travel.steady_ns
        if latency_ns is None:
            due_ns = max(our_ns + listing.travel.report_ns(), now_ns, order.reported_ns, listing.told_ns)
            listing.told_ns = due_ns
        else:
            due_ns = max(our_ns + latency_ns, now_ns, order.reported_ns)
        order.reported_ns = due_ns
        introduction = order.introduction
        report = Report(
            due_ns,
            len(self.log),
            order.id,
            state,
            reason,
            at_ns,
            order.lots,
            order.limit_ticks,
            fill,
            None if order.trigger is None else order.trigger.restated(),
            introduction,
        )
        if introduction is not None:
            order.introduction = None
        self.log.append(report)
        heapq.heappush(self._reports, report)
        self._agenda.report_ns = self._reports[0].due_ns

    def take_report(self) -> Report:
        """Return the next report."""
        report = heapq.heappop(self._reports)
        self._agenda.report_ns = self._reports[0].due_ns if self._reports else NEVER_NS
        return report

    def take_all(self) -> list[Report]:
        """Return all reports not yet delivered, in the order in which they are due."""
        reports = sorted(self._reports)
        self._reports.clear()
        self._agenda.report_ns = NEVER_NS
        return reports
