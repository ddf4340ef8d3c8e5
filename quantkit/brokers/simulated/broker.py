"""The simulated exchange of one account as a broker: messages to its markets, rows through them, reports back."""

from collections.abc import Collection, Mapping, Sequence

from quantkit.brokers.base import REFUSED_AFTER_NS, Agenda, BrokerNotes, Report
from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.account_room import AccountRoom
from quantkit.brokers.simulated.arrivals import Arrivals
from quantkit.brokers.simulated.contingent import ContingentOrders
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.expiries import ExpiryWakes
from quantkit.brokers.simulated.fill_history import FillHistory
from quantkit.brokers.simulated.liquidations import Liquidations
from quantkit.brokers.simulated.listing import CandleListing, Listing
from quantkit.brokers.simulated.message_sender import MessageSender
from quantkit.brokers.simulated.step_checks import StepChecks
from quantkit.brokers.simulated.streams import MatchingStream
from quantkit.brokers.simulated.volume import VolumeShares
from quantkit.brokers.unprotected import mean_s, total_s
from quantkit.events import Candle
from quantkit.instruments import Instrument
from quantkit.orders import AMEND_REFUSED, Fill, Order, TriggerPrices
from quantkit.portfolio import Portfolio
from quantkit.rows.cursors import NOWHERE, StreamCursor
from quantkit.rows.marks import MarkSource
from quantkit.rows.position import RunPosition


class SimulatedBroker:
    """Takes orders, lets them travel, matches them on market rows, and sends reports back.

    An order arrives `latency_ns` after it was sent, by the exchange's clock, and is looked at when the instrument's
    matching clock (the running maximum of `exchange_ns` of its matching rows) reaches its arrival, before that row is
    applied. Where a quiet market brings no such row, it is looked at when its report would be due, or as long after its
    arrival as the market's last row took to come, if that is longer: rows stamped before the arrival may still be on
    their way.

    Args:
        account: The exchange's truth about money and positions.
        listings: By instrument.
        own_sources: Prices of last trades that value nothing, by their cursor.
        sender: Sends messages, and has those under way.
        wakes: When ends of orders' time are due.
        executions: What markets do to orders.
        contingent: What orders do to each other.
        liquidations: What marks do to positions; None in a run without margin.
        volume: How large fills are against their rows.
        position: The run's position.
        send_clock: Says how far our clock is ahead of the exchange's.
        dirty: Gets the instruments whose orders or messages change.
        agenda: Gets the next stop; the parts write the rest.

    Ignored: lost messages; rate limits and price bands where the exchange's order rules do not apply.
    """

    def __init__(
        self,
        account: Account,
        *,
        listings: Mapping[str, Listing],
        own_sources: Mapping[StreamCursor, MarkSource],
        sender: MessageSender,
        wakes: ExpiryWakes,
        executions: Executions,
        contingent: ContingentOrders,
        liquidations: Liquidations | None = None,
        volume: VolumeShares,
        position: RunPosition,
        send_clock: SendClock,
        dirty: set[str],
        agenda: Agenda,
    ) -> None:
        self.account = account
        self.agenda = agenda
        #: Every order ever sent or made, by id, as the exchange sees it.
        self.orders = executions.orders
        self.listings = listings
        self._of_cursor: dict[StreamCursor, tuple[Listing, MatchingStream]] = {
            stream.cursor: (listing, stream) for listing in listings.values() for stream in listing.searched
        }
        self._armed: dict[str, Listing] = {}  # those that may need a row
        self._is_fresh = True
        self._own_sources = own_sources
        gates = [listing.market.venue for listing in listings.values()]
        self._price_limits = {
            gate.limits.cursor: gate.limits for gate in gates if gate is not None and gate.limits is not None
        }
        self._sender = sender
        self._executions = executions
        self._brackets = contingent.brackets
        self._liquidations = liquidations
        self._arrivals = Arrivals(
            account, executions, contingent, sender, wakes, position=position, dirty=dirty, agenda=agenda
        )
        self._history = FillHistory(executions.fills)
        self._volume = volume
        self._steps = StepChecks()
        self._position = position
        self._send_clock = send_clock
        self._dirty = dirty
        self._unindexed: list[str] = []
        # What a part does alone is called straight.
        self.take_report = executions.take_report
        self.take_decisions = sender.take_decisions
        self.advance = self._arrivals.process_overdue
        self.process_until = self._arrivals.process_until

    @property
    def fills(self) -> Sequence[Fill]:
        return self._executions.fills

    @property
    def reports(self) -> Sequence[Report]:
        return self._executions.log

    # Orders -----------------------------------------------------------------------------------------------------

    def submit(self, order: Order, now_ns: int) -> int:
        self.orders[order.id] = ExchangeOrder(order)
        return self._sender.send(now_ns, "submit", self.orders[order.id])

    def cancel(self, order_id: str, now_ns: int) -> None:
        self._sender.send(now_ns, "cancel", self.orders[order_id])

    def amend(
        self,
        order_id: str,
        now_ns: int,
        *,
        lots: int | None,
        limit_ticks: int | None,
        change: TriggerPrices | None = None,
        is_sized: bool = False,
    ) -> None:
        self._sender.send(now_ns, "amend", self.orders[order_id], lots, limit_ticks, change, is_sized=is_sized)

    def refuse(self, order: Order, now_ns: int, reason: str) -> None:
        refused = self.orders[order.id] = ExchangeOrder(order)
        refused.reported_ns = now_ns + REFUSED_AFTER_NS
        self._executions.reject(refused, reason, now_ns - self._send_clock.offset_at(now_ns))

    def refuse_amend(self, order_id: str, now_ns: int, reason: str) -> None:
        order = self.orders[order_id]
        if not order.state.is_final:
            order.reported_ns = max(now_ns + REFUSED_AFTER_NS, order.reported_ns)
            at_ns = now_ns - self._send_clock.offset_at(now_ns)
            self._executions.report(order, order.state, f"{AMEND_REFUSED}: {reason}", at_ns)
            self._dirty.add(order.instrument)

    # The next row that matters ------------------------------------------------------------------------------------

    def rearm(self, dirty: Collection[str]) -> None:
        index = self._position.index
        for name in dirty:
            listing = self.listings[name]
            if listing.arm(index):
                self._armed[name] = listing
            else:
                self._armed.pop(name, None)
            if listing.marks is not None:
                listing.arm_marks(listing.marks, index)
        next_index, cursor = NOWHERE, None
        for listing in self._armed.values():
            for stream in listing.searched:
                if stream.next_index < next_index:
                    next_index, cursor = stream.next_index, stream.cursor if stream.is_hit else None
        self.agenda.next_index, self.agenda.cursor = next_index, cursor

    def search_on(self, index: int) -> None:
        for listing in self._armed.values():
            for stream in listing.searched:
                if stream.next_index <= index and not stream.is_hit:
                    stream.search_on()
        self.rearm(())

    # Rows -------------------------------------------------------------------------------------------------------

    def see_candle(self, candle: Candle) -> None:
        listing = self.listings[candle.instrument]
        if isinstance(listing, CandleListing):
            listing.see_candle(candle)

    def begin(self) -> None:
        for listing in self.listings.values():
            listing.begin()

    def on_row(self, cursor: StreamCursor, index: int) -> None:
        listing, stream = self._of_cursor[cursor]
        assert stream.next_index == index, f"{cursor.name}: row at {index}, which is no stop"
        row, marks = stream.row, listing.marks
        if marks is not None and stream is marks:
            if (listing.queue or listing.expiries) and listing.goes_by_marks():
                self.process_until(listing, marks.stamp_of(row))
            listing.apply_mark(marks, row, index)
            return
        clock_ns = listing.begin_row(stream, row, index)
        if listing.queue or listing.expiries:
            self.process_until(listing, clock_ns)
        listing.apply_row(stream, row, clock_ns)

    # Batches ------------------------------------------------------------------------------------------------------

    def enter_batch(self, cursors: Collection[StreamCursor]) -> None:
        """Begin a batch, in which these cursors have rows: arm their streams.

        What waits for nothing and has no rows is not touched: a live batch holds a row or two of hundreds of streams.
        """
        self._volume.enter_batch()
        self._steps.enter_batch()
        if self._liquidations is not None:
            self._liquidations.enter_batch()
        entered: list[str] = []
        for cursor in cursors:
            if cursor in self._of_cursor:
                listing, stream = self._of_cursor[cursor]
                stream.enter_rows()
                if listing.id in self._armed:
                    entered.append(listing.id)
        self.rearm(self.listings if self._is_fresh else entered)
        self._is_fresh = False

    def leave_batch(self, cursors: Collection[StreamCursor]) -> None:
        """Keep of a batch that ends, in which these cursors had rows, what the next one needs."""
        self._volume.leave_batch()
        left: dict[str, Listing] = {}
        for cursor in cursors:
            if cursor in self._of_cursor and cursor.rows:
                listing, stream = self._of_cursor[cursor]
                if stream is listing.marks:
                    continue
                left[listing.id] = listing
                self._steps.check(stream, cursor.rows, listing.market.instrument)
        for listing in left.values():
            listing.leave_batch(self._position.index)

    def leave_rows(self, cursors: Collection[StreamCursor]) -> None:
        """Let go of the rows of a batch that has ended, before its cursors are given the next ones."""
        for cursor in cursors:
            if cursor in self._of_cursor:
                self._of_cursor[cursor][1].leave_rows()
            if cursor in self._own_sources:
                self._own_sources[cursor].leave_rows()
            if cursor in self._price_limits:
                self._price_limits[cursor].leave_rows()

    # Time -------------------------------------------------------------------------------------------------------

    def take_inputs(self, until_ns: int) -> None: ...

    # The account ------------------------------------------------------------------------------------------------

    def room(self, ledger: Portfolio) -> AccountRoom:
        return AccountRoom(self.account, ledger, self.listings)

    def queue_ahead(self, order_id: str) -> float | None:
        order = self.orders[order_id]
        lots = order.lots_in_front
        return None if lots is None else self.listings[order.instrument].market.instrument.qty(lots)

    def qty_at(self, leg: str, boundary_ns: int) -> int:
        return self._history.qty_at(leg, boundary_ns)

    def change_instrument(self, instrument: Instrument, at_ns: int) -> None:
        """Go by other steps and another minimum from now on, and cancel the resting orders that no longer fit.

        What arrived before the change is judged by the rules of then.
        """
        listing = self.listings[instrument.id]
        # Rows so far are held against the steps of then.
        self._check_steps(listing)
        self.process_until(listing, at_ns - 1)
        self.account.ledger.change_instrument(instrument)
        market = listing.market
        market.use(instrument)
        self._dirty.add(instrument.id)
        for order in tuple(market.orders):
            is_small, stop = order.is_child, order.waiting_stop  # no smallest order forbids protection
            fits = instrument.fits(
                lots=order.lots, left=order.left, limit=order.limit_ticks, stop=stop, may_be_small=is_small
            )
            if not fits:
                self._executions.cancel(order, "instrument_changed", at_ns)

    def _check_steps(self, listing: Listing) -> None:
        """Hold a listing's rows so far against the price step of now, since it changes or the run ends."""
        for stream in listing.streams:
            if stream.cursor.rows:
                self._steps.check(stream, stream.row_at(self._position.index), listing.market.instrument)

    # The end ----------------------------------------------------------------------------------------------------

    def finish(self, now_ns: int, reason: str) -> list[Report]:
        self._sender.clear()
        at_ns = now_ns - self._send_clock.offset_at(now_ns)
        self._brackets.finish(at_ns)
        self._unindexed = [said for listing in self.listings.values() if (said := listing.lack_of_index())]
        for order in self.orders.values():
            if not order.state.is_final:
                self._executions.cancel(order, reason, at_ns)
        return self._executions.take_all()

    def remedy(self, instrument: str) -> str:
        return self.account.bound.remedy(instrument)

    def notes(self) -> BrokerNotes:
        for listing in self.listings.values():
            self._check_steps(listing)
        steps = self._steps.notes({name: listing.market.instrument for name, listing in self.listings.items()})
        shares, large = self._volume.notes()
        shares.extend(self._unindexed)
        if self._liquidations is not None:
            large = [*self._liquidations.notes(), *large]
        waits = self._brackets.unprotected
        if waits:
            shares.append(
                f"brackets: fills waited {mean_s(waits):,.3g} s on average for their stop or target, by size; "
                f"some size was unprotected for {total_s(waits):,.3g} s in all"
            )
        return BrokerNotes(assumptions=shares, rows=steps, fills=large, unprotected=waits)
