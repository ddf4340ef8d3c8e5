"""The exchange of the oracle: messages that travel, an account recomputed from scratch, reports on their way back."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

from oracle.venues import Venue

from quantkit.brokers.base import OPEN_GATE, Gate, Report
from quantkit.instruments import Fees, Instrument, Side
from quantkit.orders import Fill, Order, OrderState, TimeInForce
from quantkit.portfolio import Portfolio


@dataclass(eq=False)
class Held:
    """An order as the exchange knows it."""

    id: str
    instrument: str
    side: Side
    lots: int
    limit: int | None
    stop: int | None
    tif: TimeInForce
    post_only: bool
    reduce_only: bool
    tag: str
    arrived_ns: int = -1
    filled: int = 0
    state: OrderState = OrderState.PENDING
    is_asleep: bool = False  # a stop that has not been set off
    waits: str = ""  # `price`: takes the next one; `update`: a stop set off by a trade takes from the next display
    ahead: int | None = None
    told_ns: int = 0  # when its latest report is due
    fees_of_fills: Fraction = Fraction(0)
    fees_paid: Fraction = Fraction(0)  # with what the order itself costs
    lock_ticks: int | None = None  # price that a spot buy's funds are kept at; 0 for a spot sale

    @property
    def left(self) -> int:
        """What is still open."""
        return self.lots - self.filled

    @property
    def is_over(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.state in (OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED)

    def better(self, ticks: int) -> int:
        """Return how many steps better than the limit a price is for this order; below zero when worse."""
        assert self.limit is not None
        return (self.limit - ticks) * self.side.sign

    def accepts(self, ticks: int) -> bool:
        """Whether a price is within the limit."""
        return self.limit is None or self.better(ticks) >= 0

    def is_set_off_by(self, ticks: int) -> bool:
        """Whether a price touches the stop."""
        assert self.stop is not None
        return (ticks - self.stop) * self.side.sign >= 0


@dataclass
class Message:
    """A submit, cancel or amend on its way."""

    sent_ns: int
    kind: str
    held: Held
    lots: int | None = None
    limit: int | None = None
    arrives_ns: int = 0
    due_ns: int = 0


@dataclass
class Exchange:
    """One account at an exchange that needs `latency_ns` to be reached, by instrument, and as long to answer."""

    portfolio: Portfolio
    fees: Mapping[str, Fees]
    latency_ns: Mapping[str, int]
    max_leverage: Fraction
    now_ns: Callable[[], int]
    venues: dict[str, Venue] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    orders: dict[str, Held] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    log: list[Report] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    lags: dict[str, int] = field(default_factory=dict)  # how late each market's last row came

    # What the client's desk calls -----------------------------------------------------------------------------

    def submit(self, order: Order, now_ns: int) -> None:
        """Send an order on its way."""
        held = self.orders[order.id] = Held(
            id=order.id,
            instrument=order.instrument,
            side=order.side,
            lots=order.lots,
            limit=order.price_ticks,
            stop=order.stop_ticks,
            tif=order.time_in_force,
            post_only=order.post_only,
            reduce_only=order.reduce_only,
            tag=order.tag,
            is_asleep=order.stop_ticks is not None,
        )
        self._send(Message(now_ns, "submit", held))

    def cancel(self, order_id: str, now_ns: int) -> None:
        """Send a cancel on its way."""
        self._send(Message(now_ns, "cancel", self.orders[order_id]))

    def amend(self, order_id: str, now_ns: int, *, lots: int | None, price_ticks: int | None) -> None:
        """Send a change on its way."""
        self._send(Message(now_ns, "amend", self.orders[order_id], lots, price_ticks))

    def _send(self, message: Message) -> None:
        instrument = message.held.instrument
        message.arrives_ns = message.sent_ns + self.latency_ns[instrument]
        patience_ns = max(self.latency_ns[instrument], self.lags.get(instrument, 0), 1)
        earlier = [m.due_ns for m in self.messages if m.held.instrument == instrument]
        message.due_ns = max([message.arrives_ns + patience_ns, *earlier])
        self.messages.append(message)

    def gate(self, instrument: str) -> Gate:
        """Return the whole axis: the oracle looks at every row anyway."""
        return OPEN_GATE

    # Arrivals -------------------------------------------------------------------------------------------------

    def arrivals(self, instrument: str, clock_ns: int) -> None:
        """Process what has reached an instrument's market by its matching clock."""
        self._process_all([m for m in self.messages if m.held.instrument == instrument and m.arrives_ns <= clock_ns])

    def overdue(self, now_ns: int) -> None:
        """Process what no row has revealed in time."""
        self._process_all([m for m in self.messages if m.due_ns <= now_ns])

    def _process_all(self, due: list[Message]) -> None:
        """Process messages in the order of their arrival, which for equal stamps is the order of sending."""
        self.messages = [m for m in self.messages if not any(m is taken for taken in due)]
        for message in sorted(due, key=lambda message: message.arrives_ns):
            self._process(message)

    def _process(self, message: Message) -> None:
        held, at_ns = message.held, message.arrives_ns
        venue = self.venues[held.instrument]
        if message.kind == "submit":
            held.arrived_ns = at_ns
            refusal = self._account_refuses(held, held.lots, held.limit) or venue.refuses(held, at_ns)
            if refusal:
                held.lock_ticks = None
                self.end(held, OrderState.REJECTED, refusal, at_ns)
                return
            self.tell(held, OrderState.ACCEPTED, "", at_ns)
            venue.enter(held, at_ns)
        elif held.is_over:
            return
        elif message.kind == "cancel":
            self.end(held, OrderState.CANCELLED, "requested", at_ns)
        else:
            self._amend(venue, message)

    def _amend(self, venue: Venue, message: Message) -> None:
        held, at_ns = message.held, message.arrives_ns
        lots = held.lots if message.lots is None else message.lots
        limit = held.limit if message.limit is None else message.limit
        if lots <= held.filled:
            self.end(held, OrderState.CANCELLED, "amended_to_filled", at_ns)
            return
        keeps_place = limit == held.limit and lots <= held.lots
        refusal = ""
        if held.post_only and limit is not None and not keeps_place and venue.would_take(held, limit):
            refusal = "post_only_would_take"
        refusal = refusal or self._account_refuses(held, lots, limit)
        if refusal:
            self.tell(held, held.state, f"amend_refused: {refusal}", at_ns)
            return
        held.lots, held.limit = lots, limit
        self.tell(held, held.state, "amended", at_ns)
        if not keeps_place:
            held.arrived_ns = at_ns
            venue.orders.remove(held)
            venue.enter(held, at_ns)

    # The account, computed anew at every question ---------------------------------------------------------------

    def open_orders(self, instrument: str) -> list[Held]:
        """Return the accepted orders of an instrument that are not over."""
        return [h for h in self.orders.values() if h.instrument == instrument and h.arrived_ns >= 0 and not h.is_over]

    def locked(self, currency: str, *, but: Held | None = None) -> Fraction:
        """Return what spot orders hold back of a currency."""
        total = Fraction(0)
        for held in self.orders.values():
            if held is but or held.is_over or held.lock_ticks is None:
                continue
            instrument = self.portfolio.instruments[held.instrument]
            if currency == (instrument.quote if held.side is Side.BUY else instrument.base):
                total += self._lock(held, held.lock_ticks, held.left)
        return total

    def free(self, currency: str, *, but: Held | None = None) -> Fraction:
        """Return the balance that orders (but one) do not hold back."""
        return self.portfolio.balance_exact(currency) - self.locked(currency, but=but)

    def _lock(self, held: Held, ticks: int, lots: int) -> Fraction:
        instrument = self.portfolio.instruments[held.instrument]
        qty = lots * Fraction(instrument.lot)
        if held.side is Side.SELL:
            return qty
        value = qty * ticks * Fraction(instrument.tick)
        fees = self.fees[held.instrument]
        if fees.currency == "received" or not lots:
            return value
        dearer = max(Fraction(0), *(_of_fill(fees, instrument, qty, value, bps) for bps in _rates(fees)))
        return value + max(Fraction(0), self._due(held, dearer))

    def _account_refuses(self, held: Held, lots: int, limit: int | None) -> str:
        """Return why the account may not have the order; keep its funds when it may."""
        instrument = self.portfolio.instruments[held.instrument]
        if lots * Fraction(instrument.lot) < Fraction(instrument.min_qty) or lots < 1:
            return "below_min_qty"
        if not self.fits(held, lots, limit):
            return "instrument_changed"
        if held.reduce_only:
            return "" if self.reducible(held) else "reduce_only_no_position"
        reference = self.venues[held.instrument].reference(held.side)
        if instrument.is_spot:
            ticks: int | None = 0
            if held.side is Side.BUY:
                ticks = limit
                if ticks is None:
                    base = held.stop if held.stop is not None else reference
                    ticks = None if base is None else math.ceil(Fraction(base) * Fraction(105, 100))
            if ticks is None:
                return "no_price"
            currency = instrument.quote if held.side is Side.BUY else instrument.base
            if self._lock(held, ticks, lots - held.filled) > self.free(currency, but=held):
                return "insufficient_cash" if held.side is Side.BUY else "insufficient_position"
            held.lock_ticks = ticks
            return ""
        price = next((p for p in (limit, held.stop, reference) if p is not None), None)
        if price is None:
            return "no_price"
        return self._leverage_refuses(instrument, held, lots - held.filled, price)

    def fits(self, held: Held, lots: int, limit: int | None) -> bool:
        """Whether an order's numbers are on the steps of now, and its size is allowed."""
        instrument = self.portfolio.instruments[held.instrument]
        sizes = [lots * Fraction(instrument.lot), (lots - held.filled) * Fraction(instrument.lot)]
        stop = held.stop if held.is_asleep else None
        prices = [price * Fraction(instrument.tick) for price in (limit, stop) if price is not None]
        return (
            sizes[0] >= Fraction(instrument.min_qty)
            and all((size / Fraction(instrument.qty_step)).denominator == 1 for size in sizes)
            and all((price / Fraction(instrument.price_step)).denominator == 1 for price in prices)
        )

    def _leverage_refuses(self, instrument: Instrument, held: Held, extra: int, price: int) -> str:
        position = Fraction(self.portfolio.position(instrument.id).qty) / Fraction(instrument.lot)
        same_side = sum(
            h.left
            for h in self.open_orders(instrument.id)
            if h is not held and not h.reduce_only and h.side is held.side
        )
        worst = abs(position + held.side.sign * (same_side + extra))
        if worst <= abs(position):
            return ""
        equity, rate = self.portfolio.equity_exact(), self.portfolio.rate_exact(instrument.settle_currency)
        if equity is None or rate is None:
            return "no_price"
        worth = Fraction(instrument.value(1, price))
        reference = self.venues[instrument.id].reference(held.side)
        if held.stop is None and reference is not None:
            takes_dear = (held.side is Side.BUY) == instrument.is_inverse
            worth = max(worth, Fraction(instrument.value(1, reference))) if takes_dear else worth
        notional = worst * worth * rate
        for other in self.portfolio.instruments.values():
            if other.is_spot or other.id == instrument.id:
                continue
            size = Fraction(self.portfolio.position(other.id).qty) / Fraction(other.lot)
            orders = [h for h in self.open_orders(other.id) if not h.reduce_only]
            buys = sum(h.left for h in orders if h.side is Side.BUY)
            sells = sum(h.left for h in orders if h.side is Side.SELL)
            most = max(abs(size + buys), abs(size - sells))
            if most:
                mark, other_rate = self.portfolio.mark(other.id), self.portfolio.rate_exact(other.settle_currency)
                if mark is None or other_rate is None:
                    return "no_price"
                notional += most * Fraction(other.notional(other.qty_decimal(1), mark)) * other_rate
        return "" if notional <= equity * self.max_leverage else "insufficient_margin"

    def reducible(self, held: Held) -> int:
        """Return how many size steps a reduce-only order may take off the position."""
        instrument = self.portfolio.instruments[held.instrument]
        position = self.portfolio.position(held.instrument).qty
        if position * held.side.sign >= 0 or (instrument.is_spot and held.side is Side.BUY):
            return 0
        size = abs(Fraction(position))
        if instrument.is_spot:
            size = min(size, max(Fraction(0), self.free(instrument.base)))
        return _whole_steps(size, instrument)

    # What venues call -----------------------------------------------------------------------------------------

    def fill(self, held: Held, lots: int, ticks: int, *, is_maker: bool, at_ns: int) -> int:
        """Book an execution as far as the account can have it; return the size steps booked."""
        instrument = self.portfolio.instruments[held.instrument]
        allowed = lots
        if held.reduce_only:
            allowed = min(lots, self.reducible(held))
        elif held.lock_ticks is not None and held.side is Side.BUY and ticks > held.lock_ticks:
            free = self.free(instrument.quote, but=held)
            one_step = int(Fraction(instrument.qty_step) / Fraction(instrument.lot))
            while allowed and self._cost(instrument, held, allowed, ticks, is_maker=is_maker) > free:
                allowed -= one_step
        if allowed:
            self._book(instrument, held, allowed, ticks, is_maker=is_maker, at_ns=at_ns)
        if allowed < lots:
            reason = "reduce_only_position_closed" if held.reduce_only else "insufficient_cash"
            self.end(held, OrderState.CANCELLED, reason, at_ns)
        return allowed

    def _fee(
        self, instrument: Instrument, held: Held, lots: int, ticks: int, *, is_maker: bool
    ) -> tuple[Fraction, str]:
        fees, qty = self.fees[instrument.id], lots * Fraction(instrument.lot)
        maker_bps, taker_bps = _rates(fees)
        bps = maker_bps if is_maker else taker_bps
        if instrument.is_spot and fees.currency == "received" and held.side is Side.BUY:
            return qty * bps / 10_000, instrument.base
        return _of_fill(fees, instrument, qty, Fraction(instrument.value(lots, ticks)), bps), instrument.settle_currency

    def _due(self, held: Held, of_fill: Fraction) -> Fraction:
        """Return what a fill has to pay: the whole order's fee with it, less what the order has paid."""
        fees = self.fees[held.instrument]
        if not (fees.per_order or fees.min_per_order):
            return of_fill
        whole = held.fees_of_fills + of_fill + Fraction(str(fees.per_order))
        if fees.min_per_order:
            whole = max(whole, Fraction(str(fees.min_per_order)))
        return whole - held.fees_paid

    def _cost(self, instrument: Instrument, held: Held, lots: int, ticks: int, *, is_maker: bool) -> Fraction:
        """Return what a spot buy of some size steps takes of the quote currency; rebates do not count."""
        fee, currency = self._fee(instrument, held, lots, ticks, is_maker=is_maker)
        own = self._due(held, max(Fraction(0), fee)) if currency == instrument.quote else Fraction(0)
        return Fraction(instrument.value(lots, ticks)) + own

    def _book(self, instrument: Instrument, held: Held, lots: int, ticks: int, *, is_maker: bool, at_ns: int) -> None:
        of_fill, currency = self._fee(instrument, held, lots, ticks, is_maker=is_maker)
        fee = self._due(held, of_fill)
        held.fees_of_fills += of_fill
        held.fees_paid += fee
        fill = Fill(
            id=len(self.fills) + 1,
            order_id=held.id,
            instrument=held.instrument,
            side=held.side,
            price=float(instrument.tick * ticks),
            qty=float(instrument.lot * lots),
            value=instrument.value(lots, ticks),
            fee=_decimal(fee),
            fee_currency=currency,
            role="maker" if is_maker else "taker",
            filled_ns=at_ns,
            revealed_ns=self.now_ns(),
            why="",
            tag=held.tag,
            lots=lots,
            ticks=ticks,
        )
        held.filled += lots
        self.portfolio.apply(fill)
        self.fills.append(fill)
        if held.left:
            self.tell(held, OrderState.PARTLY_FILLED, "", at_ns, fill)
        else:
            self.end(held, OrderState.FILLED, "", at_ns, fill)

    def end(self, held: Held, state: OrderState, reason: str, at_ns: int, fill: Fill | None = None) -> None:
        """Finish an order and take it off its market."""
        self.tell(held, state, reason, at_ns, fill)
        orders = self.venues[held.instrument].orders
        if held in orders:
            orders.remove(held)

    def tell(self, held: Held, state: OrderState, reason: str, at_ns: int, fill: Fill | None = None) -> None:
        """Send a report back."""
        held.state = state
        due_ns = max(at_ns + self.latency_ns[held.instrument], self.now_ns(), held.told_ns)
        held.told_ns = due_ns
        report = Report(due_ns, len(self.log), held.id, state, reason, at_ns, held.lots, held.limit, fill)
        self.log.append(report)
        self.reports.append(report)

    def next_report(self, until_ns: int) -> Report | None:
        """Take the earliest report due by `until_ns`, in order of making where several are due at once."""
        due = sorted((r for r in self.reports if r.due_ns <= until_ns), key=lambda r: (r.due_ns, r.number))
        if not due:
            return None
        self.reports = [r for r in self.reports if r is not due[0]]
        return due[0]

    def finish(self, reason: str) -> None:
        """Cancel whatever is open or under way because the run ends."""
        self.messages = []
        for held in self.orders.values():
            if not held.is_over:
                self.end(held, OrderState.CANCELLED, reason, self.now_ns())

    def charge_funding(self, instrument: str, rate: float, funding_ns: int, mark: float | None) -> Decimal:
        """Settle funding on what fills stamped before the boundary had built up; return the size charged on."""
        lots = sum(f.signed_lots for f in self.fills if f.instrument == instrument and f.filled_ns < funding_ns)
        qty = self.portfolio.instruments[instrument].qty_decimal(lots)
        if qty and mark is not None:
            self.portfolio.charge_funding(instrument, rate=rate, mark=mark, qty=qty)
        return qty


def _rates(fees: Fees) -> tuple[Fraction, Fraction]:
    return Fraction(str(fees.maker_bps)), Fraction(str(fees.taker_bps))


def _of_fill(fees: Fees, instrument: Instrument, qty: Fraction, value: Fraction, bps: Fraction) -> Fraction:
    """Return what a fill itself costs: basis points of its value and an amount for each share or contract."""
    return value * bps / 10_000 + qty * Fraction(str(fees.per_share if instrument.is_spot else fees.per_contract))


def _whole_steps(size: Fraction, instrument: Instrument) -> int:
    """Return the whole size steps in a size, in lots of the run's grid."""
    steps = math.floor(size / Fraction(instrument.qty_step))
    return int(steps * Fraction(instrument.qty_step) / Fraction(instrument.lot))


def _decimal(amount: Fraction) -> Decimal:
    """Return a fraction that is a finite decimal exactly."""
    places = 0
    while (amount * 10**places).denominator != 1:
        places += 1
        assert places < 100, f"{amount} is no finite decimal"
    return Decimal(int(amount * 10**places)).scaleb(-places)
