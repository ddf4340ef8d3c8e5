"""The simulated exchange of one account as a broker: an order's way there, its judgement on arrival, and its end."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from quantkit.brokers.base import Agenda, BrokerNotes, Decision, Report
from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.market import CandleMarket, ExchangeOrder, Market
from quantkit.brokers.simulated.messages import Message, MessageQueue
from quantkit.brokers.simulated.volume import VolumeShares
from quantkit.events import Candle
from quantkit.instruments import Instrument
from quantkit.orders import Fill, Order
from quantkit.rows.cursors import StreamCursor


class Venue(Protocol):
    """The market side of the rows, as far as the run has come."""

    def sync(self, instrument: str) -> None:
        """Bring a market up to date with the rows so far."""
        ...

    def lag_ns(self, instrument: str) -> int | None:
        """Return how late its last matching row came, received less exchange stamp; None without one."""
        ...

    def begin(self) -> None:
        """Begin to trade; books stand as they stood at the start."""
        ...

    def search_on(self, index: int) -> None:
        """Search on for the next row that may matter."""
        ...

    def open_row(self, cursor: StreamCursor, index: int) -> int:
        """Show a row to what arrives by it, and return the matching clock that it moves on."""
        ...

    def apply_row(self, clock_ns: int) -> None:
        """Let the row that has been opened fill what rests."""
        ...

    def rearm(self, instruments: Collection[str]) -> None:
        """Look anew at what orders wait for."""
        ...

    def enter_batch(self, cursors: Collection[StreamCursor]) -> None:
        """Begin a batch."""
        ...

    def leave_batch(self, cursors: Collection[StreamCursor]) -> None:
        """Keep of a batch what the next one needs."""
        ...

    def leave_rows(self, cursors: Collection[StreamCursor]) -> None:
        """Let go of a batch's rows."""
        ...

    def check_steps(self, instrument: str) -> None:
        """Hold rows so far against the price step, which changes now."""
        ...

    def step_notes(self) -> list[str]:
        """Return what the reader has to know of prices off the step."""
        ...


class SimulatedBroker:
    """Takes orders, lets them travel, matches them on market rows, and sends reports back.

    An order arrives `latency_ns` after it was sent, by the exchange's clock, and is looked at when the instrument's
    matching clock (the running maximum of `exchange_ns` of its matching rows) reaches its arrival, before that row is
    applied. Where a quiet market brings no such row, it is looked at when its report would be due, or as long after its
    arrival as the market's last row took to come, if that is longer: rows stamped before the arrival may still be on
    their way.

    Args:
        account: The exchange's truth about money and positions.
        markets: By instrument.
        messages: Under way.
        executions: What markets do to orders.
        venue: The rows' way to the markets.
        volume: How large fills are against their rows.
        send_clock: Says how far our clock is ahead of the exchange's.
        dirty: Gets the instruments whose orders or messages change.
        agenda: Written by the parts above.

    Ignored: rate limits, minimum notional, price bands, lost messages, different latency per message.
    """

    def __init__(
        self,
        account: Account,
        *,
        markets: Mapping[str, Market],
        messages: MessageQueue,
        executions: Executions,
        venue: Venue,
        volume: VolumeShares,
        send_clock: SendClock,
        dirty: set[str],
        agenda: Agenda,
    ) -> None:
        self.account = account
        self.agenda = agenda
        #: Every order ever sent, by id, as the exchange sees it.
        self.orders: dict[str, ExchangeOrder] = {}
        self.markets = markets
        self._messages = messages
        self._executions = executions
        self._venue = venue
        self._volume = volume
        self._send_clock = send_clock
        self._dirty = dirty

    @property
    def fills(self) -> Sequence[Fill]:
        return self._executions.fills

    @property
    def log(self) -> Sequence[Report]:
        return self._executions.log

    # Orders -----------------------------------------------------------------------------------------------------

    def submit(self, order: Order, now_ns: int) -> int:
        working = self.orders[order.id] = ExchangeOrder(order)
        return self._send(now_ns, "submit", working)

    def cancel(self, order_id: str, now_ns: int) -> None:
        self._send(now_ns, "cancel", self.orders[order_id])

    def amend(self, order_id: str, now_ns: int, *, lots: int | None, price_ticks: int | None) -> None:
        self._send(now_ns, "amend", self.orders[order_id], lots, price_ticks)

    def _send(
        self, now_ns: int, kind: str, order: ExchangeOrder, lots: int | None = None, limit: int | None = None
    ) -> int:
        lag_ns = self._venue.lag_ns(order.instrument)
        self._dirty.add(order.instrument)
        return self._messages.send(now_ns, kind, order, lag_ns=lag_ns, lots=lots, limit=limit)

    # Rows -------------------------------------------------------------------------------------------------------

    def see_candle(self, candle: Candle) -> None:
        market = self.markets[candle.instrument]
        if isinstance(market, CandleMarket):
            # An order of the very start is valued at the last close that was known by then.
            market.see(candle.close)

    def begin(self) -> None:
        self._venue.begin()

    def enter_batch(self, cursors: Collection[StreamCursor]) -> None:
        self._volume.enter_batch()
        self._venue.enter_batch(cursors)

    def leave_batch(self, cursors: Collection[StreamCursor]) -> None:
        self._venue.leave_batch(cursors)

    def leave_rows(self, cursors: Collection[StreamCursor]) -> None:
        self._venue.leave_rows(cursors)

    def rearm(self, dirty: Collection[str]) -> None:
        self._venue.rearm(dirty)

    def search_on(self, index: int) -> None:
        self._venue.search_on(index)

    def on_row(self, cursor: StreamCursor, index: int) -> None:
        clock_ns = self._venue.open_row(cursor, index)
        self.process_arrivals(cursor.instrument, clock_ns)
        self._venue.apply_row(clock_ns)

    def process_arrivals(self, instrument: str, clock_ns: int) -> None:
        """Process what has arrived by the instrument's matching clock, before the row that moved it."""
        message = self._messages.take_arrived(instrument, clock_ns)
        if message is None:
            return
        self._dirty.add(instrument)
        self._venue.sync(instrument)
        while message is not None:
            self._process(message)
            message = self._messages.take_arrived(instrument, clock_ns)

    # Time -------------------------------------------------------------------------------------------------------

    def take_inputs(self, until_ns: int) -> None: ...

    def advance(self, now_ns: int) -> None:
        while (message := self._messages.take_overdue(now_ns)) is not None:
            instrument = message.order.instrument
            self._dirty.add(instrument)
            self._venue.sync(instrument)
            self._process(message)

    # Reports ----------------------------------------------------------------------------------------------------

    def take_report(self) -> Report:
        return self._executions.take_report()

    def take_decisions(self) -> list[Decision]:
        return self._messages.take_decisions()

    # The account ------------------------------------------------------------------------------------------------

    def qty_at(self, instrument: str, boundary_ns: int) -> int:
        return self._executions.qty_at(instrument, boundary_ns)

    def change_instrument(self, instrument: Instrument, at_ns: int) -> None:
        """Go by other steps and another minimum from now on, and cancel the resting orders that no longer fit.

        What arrived before the change is judged by the rules of then.
        """
        # Rows so far are held against the steps of then.
        self._venue.check_steps(instrument.id)
        self.process_arrivals(instrument.id, at_ns - 1)
        self.account.portfolio.change_instrument(instrument)
        market = self.markets[instrument.id]
        market.use(instrument)
        self._dirty.add(instrument.id)
        for order in tuple(market.orders):
            if not instrument.fits(lots=order.lots, left=order.left, limit=order.limit, stop=order.waiting_stop):
                self._executions.cancelled(order, "instrument_changed", at_ns)

    # The end ----------------------------------------------------------------------------------------------------

    def finish(self, now_ns: int, reason: str) -> list[Report]:
        self._messages.clear()
        at_ns = now_ns - self._send_clock.offset_ns(now_ns)
        for order in self.orders.values():
            if not order.is_final:
                self._executions.cancelled(order, reason, at_ns)
        return self._executions.take_all()

    def remedy(self, instrument: str) -> str:
        return self.account.remedy(instrument)

    def notes(self) -> BrokerNotes:
        shares, large = self._volume.notes()
        return BrokerNotes(assumptions=shares, rows=self._venue.step_notes(), fills=large)

    # Arrivals ---------------------------------------------------------------------------------------------------

    def _process(self, message: Message) -> None:
        order, at_ns = message.order, message.arrives_ns
        market = self.markets[order.instrument]
        if message.kind == "submit":
            order.arrived_ns = at_ns
            refusal = self._judge(market, order, lots=order.lots, limit=order.limit)
            if refusal:
                self._executions.rejected(order, refusal, at_ns)
            else:
                market.arrive(order, at_ns)
        elif order.is_final:
            return
        elif message.kind == "cancel":
            self._executions.cancelled(order, "requested", at_ns)
        else:
            self._amend(market, order, message)

    def _amend(self, market: Market, order: ExchangeOrder, message: Message) -> None:
        """Change a working order, or leave it as it is and say why."""
        at_ns = message.arrives_ns
        lots = order.lots if message.lots is None else message.lots
        limit = order.limit if message.limit is None else message.limit
        if lots <= order.filled:
            self._executions.cancelled(order, "amended_to_filled", at_ns)
            return
        keeps_place = limit == order.limit and lots <= order.lots
        refusal = ""
        if order.post_only and limit is not None and not keeps_place and market.crosses(order, limit):
            refusal = "post_only_would_take"
        if not refusal:
            refusal = self._judge(market, order, lots=lots, limit=limit)
        if refusal:
            self._executions.report(order, order.state, f"amend_refused: {refusal}", at_ns)
            return
        order.lots, order.limit = lots, limit
        self._executions.report(order, order.state, "amended", at_ns)
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
