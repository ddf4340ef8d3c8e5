"""The exchange of the oracle: messages that travel, an account recomputed from scratch, reports on their way back."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction

from oracle.alarms import Alarm, alarm_of
from oracle.groups import Groups
from oracle.ledger import Ledger, exactly, leg_of, price_at, size_of, value_of, whole_steps
from oracle.margins import Margins
from oracle.queues import Queue
from oracle.venues import CandleVenue, Venue

from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill, Order, OrderState, PositionSide, StopLoss, TakeProfit, TimeInForce, TriggerPrices

_FEW_STEPS = 32


@dataclass(eq=False)
class Held:
    """An order as the exchange knows it."""

    id: str
    instrument: str
    side: Side
    lots: int
    limit: int | None
    alarm: Alarm | None  # what it sleeps until
    tif: TimeInForce
    post_only: bool
    reduce_only: bool
    tag: str
    position_side: PositionSide = PositionSide.NET
    arrived_ns: int = -1
    filled: int = 0
    state: OrderState = OrderState.PENDING
    is_asleep: bool = False  # an alarm that has not been set off
    expires_ns: int | None = None  # by the exchange's clock
    expiry_due_ns: int = 0  # by ours, where no row shows that the moment has come
    is_met: bool = False  # the market has been beyond its limit while it was there
    waits: str = ""  # `price`: takes the next one; `update`: a stop set off by a trade takes from the next display
    since_ns: int = -1  # the stamp from which on an update is one that it waits for
    queue: Queue = field(default_factory=Queue)
    told_ns: int = 0  # when its latest report is due
    fees_of_fills: Fraction = Fraction(0)
    fees_paid: Fraction = Fraction(0)  # with what the order itself costs
    lock_ticks: int | None = None  # price that a spot buy's funds are kept at; 0 for a spot sale
    is_trimmed: bool = False  # the account carries its closing part alone
    group: str = ""  # OCO
    parent_id: str = ""
    take_profit: TakeProfit | None = None
    stop_loss: StopLoss | None = None
    is_in: bool = False  # it was let in
    asked: int = 0  # the most that it was ever to have

    @property
    def leg(self) -> str:
        """The position that it changes."""
        return leg_of(self.instrument, self.position_side)

    @property
    def stop(self) -> int | None:
        """The fixed price that sets it off, by which it is valued."""
        return None if self.alarm is None or self.alarm.trails else self.alarm.price

    @property
    def rests(self) -> bool:
        """Whether what does not fill at once waits."""
        return self.tif in (TimeInForce.GTC, TimeInForce.GTD)

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


@dataclass
class Message:
    """A submit, cancel or amend on its way."""

    sent_ns: int
    kind: str
    held: Held
    lots: int | None = None
    limit: int | None = None
    change: TriggerPrices | None = None
    left_ns: int = 0  # by the exchange's clock
    arrives_ns: int = 0
    due_ns: int = 0
    is_ours: bool = True  # else the exchange reminds itself of something


@dataclass
class Report:
    """What became of an order, on its way back to its owner."""

    due_ns: int
    number: int
    order_id: str
    state: OrderState
    reason: str
    at_ns: int
    lots: int
    limit: int | None
    fill: Fill | None
    introduces: Order | None = None
    trigger: TriggerPrices | None = None


@dataclass
class Exchange:
    """One account at an exchange that needs `latency_ns` to be reached, by instrument, and as long to answer."""

    ledger: Ledger
    fees: Mapping[str, Fees]
    latency_ns: Mapping[str, int]
    max_leverage: Fraction
    now_ns: Callable[[], int]
    before_change: Callable[[], None]  # for whoever values the account
    after_fill: Callable[[Fill], None]
    venues: dict[str, Venue] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    orders: dict[str, Held] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    log: list[Report] = field(default_factory=list)
    fills: list[Fill] = field(default_factory=list)
    lags: dict[str, int] = field(default_factory=dict)  # received less exchange stamp of each market's last row
    delays_ns: Sequence[int] = (0,)  # how long after the row's time each call is made, over and over
    offsets: Sequence[tuple[int, int]] = ()  # since when our clock is ahead of the exchange's, and by how much
    sent: list[Message] = field(default_factory=list)
    drawn_ns: Sequence[int] = ()  # equally likely delays, one of which each message gets in place of `latency_ns`
    seed: int = 0
    compute_ns: Sequence[int] = ()  # equally likely times from a row to a message, in place of `delays_ns`
    watched: dict[tuple[str, str], float] = field(default_factory=dict)  # the last mark and index of an instrument

    def __post_init__(self) -> None:
        self.groups = Groups(self)
        self.margins: Margins | None = None

    # What the client calls ------------------------------------------------------------------------------------

    def submit(self, order: Order, now_ns: int) -> int:
        """Send an order on its way and return when it left."""
        held = self.orders[order.id] = self.held_of(order)
        return self._send(Message(now_ns, "submit", held))

    def held_of(self, order: Order) -> Held:
        """Return an order as the exchange keeps it."""
        terms = order.terms
        return Held(
            id=order.id,
            instrument=order.instrument,
            side=order.side,
            lots=order.lots,
            limit=order.price_ticks,
            alarm=alarm_of(order),
            tif=order.time_in_force,
            post_only=order.post_only,
            reduce_only=order.reduce_only,
            tag=order.tag,
            position_side=order.position_side,
            is_asleep=alarm_of(order) is not None,
            expires_ns=None if terms is None else terms.expire_ns,
            asked=order.lots,
            group="" if terms is None else terms.oco_group,
            parent_id="" if terms is None else terms.parent_id,
            take_profit=None if terms is None else terms.take_profit,
            stop_loss=None if terms is None else terms.stop_loss,
        )

    def cancel(self, order_id: str, now_ns: int) -> None:
        """Send a cancel on its way."""
        self._send(Message(now_ns, "cancel", self.orders[order_id]))

    def amend(
        self,
        order_id: str,
        now_ns: int,
        *,
        lots: int | None,
        price_ticks: int | None,
        change: TriggerPrices | None = None,
    ) -> None:
        """Send a change on its way."""
        self._send(Message(now_ns, "amend", self.orders[order_id], lots, price_ticks, change))

    def _send(self, message: Message) -> int:
        """Let a message leave when its call is made, and never before or past the one before it."""
        instrument = message.held.instrument
        now_ns = message.sent_ns
        called_ns = now_ns + self.delays_ns[len(self.sent) % len(self.delays_ns)]
        if self.compute_ns:
            number = sum(m.held.instrument == instrument for m in self.sent)
            called_ns = now_ns + self._drawn(self.compute_ns, f"{instrument}:compute:{number}")
        message.sent_ns = max([now_ns, called_ns, *(m.sent_ns for m in self.sent)])
        offset_ns = self.offset_ns(now_ns)
        # Also by the exchange's clock none passes another one, however the offset moves.
        message.left_ns = max([message.sent_ns - offset_ns, *(m.left_ns for m in self.sent)])
        before = [m for m in self.sent if m.held.instrument == instrument]
        latency_ns = self.delay_ns(instrument, "order", len(before))
        message.arrives_ns = max([message.left_ns + latency_ns, *(m.arrives_ns for m in before)])
        # By our clock it has arrived then; rows stamped before may come as late as the last one came.
        patience_ns = max(latency_ns, self.lags.get(instrument, offset_ns) - offset_ns, 1)
        message.due_ns = message.arrives_ns + offset_ns + patience_ns
        if message.kind == "submit" and message.held.expires_ns is not None:
            message.held.expiry_due_ns = message.held.expires_ns + offset_ns + patience_ns
        self._line_up(message)
        self.sent.append(message)
        return message.sent_ns

    def promise(self, held: Held, delay_ns: int, moment_ns: int) -> None:
        """Remember that a fill is to be protected at a moment, a delay after it."""
        now_ns, instrument = self.now_ns(), held.instrument
        offset_ns = self.offset_ns(now_ns)
        patience_ns = max(delay_ns, self.lags.get(instrument, offset_ns) - offset_ns, 1)
        message = Message(now_ns, "protect", held, arrives_ns=moment_ns, is_ours=False)
        message.due_ns = max(moment_ns + offset_ns + patience_ns, now_ns + 1)
        self._line_up(message)

    def _line_up(self, message: Message) -> None:
        """Put a message among those under way: none is looked at sooner than one that arrives before it."""
        self.messages.append(message)
        mine = [m for m in self.messages if m.held.instrument == message.held.instrument]
        so_far = 0
        for each in sorted(mine, key=lambda m: m.arrives_ns):
            each.due_ns = so_far = max(each.due_ns, so_far)

    def delay_ns(self, instrument: str, way: str, number: int) -> int:
        """Return how long a message travels, `number` others having gone the same way before."""
        if not self.drawn_ns:
            return self.latency_ns[instrument]
        return self._drawn(self.drawn_ns, f"{instrument}:{way}:{number}")

    def _drawn(self, table: Sequence[int], name: str) -> int:
        digest = hashlib.blake2b(f"{self.seed}:{name}".encode(), digest_size=8).hexdigest()
        return table[math.floor(Fraction(int(digest, 16), 2**64) * len(table))]

    def offset_ns(self, now_ns: int) -> int:
        """Return how far our clock is ahead of the exchange's."""
        return next((offset_ns for from_ns, offset_ns in reversed(self.offsets) if from_ns <= now_ns), 0)

    # Arrivals -------------------------------------------------------------------------------------------------

    def arrivals(self, instrument: str, clock_ns: int) -> None:
        """Process what has reached an instrument's market by its matching clock, and what has expired by it."""
        while (message := self._next(instrument)) is not None and message.arrives_ns <= clock_ns:
            self._take(message)

    def ends(self) -> list[Message]:
        """Return the ends of time of the orders at the exchange, as messages of nobody, in the order of sending."""
        found = []
        for held in self.orders.values():
            if held.expires_ns is not None and held.arrived_ns >= 0 and not held.is_over:
                moment_ns, due_ns = held.expires_ns, held.expiry_due_ns
                found.append(Message(0, "expire", held, arrives_ns=moment_ns, due_ns=due_ns))
        return found

    def goes_by_marks(self, instrument: str) -> bool:
        """Whether an order that is there or on its way waits for the mark price or the index."""
        there = [held for held in self.venues[instrument].orders if held.is_asleep]
        sent = [m.held for m in self.messages if m.held.instrument == instrument and m.kind != "protect"]
        asleep = [held for held in (*there, *sent) if held.is_asleep and held.alarm is not None]
        owed = [m.held for m in self.messages if m.held.instrument == instrument and m.kind == "protect"]
        specs = [spec for held in owed for spec in (held.stop_loss, held.take_profit) if spec is not None]
        return any(held.alarm is not None and held.alarm.source != "last" for held in asleep) or any(
            spec.trigger_type != "last" for spec in specs
        )

    def _next(self, instrument: str) -> Message | None:
        """Return what comes next at an instrument's market; of one moment, ends of time come first."""
        found = [m for m in (*self.ends(), *self.messages) if m.held.instrument == instrument]
        return min(found, key=lambda message: message.arrives_ns, default=None)

    def _take(self, message: Message) -> None:
        self.messages = [m for m in self.messages if m is not message]
        self._process(message)

    def overdue(self, now_ns: int) -> None:
        """Process what no row has revealed in time, each after all that came to its market before it."""
        while True:
            due = [m for m in (*self.ends(), *self.messages) if m.due_ns <= now_ns]
            if not due:
                return
            first = min(due, key=lambda message: message.arrives_ns)
            while (message := self._next(first.held.instrument)) is not None:
                self._take(message)
                if message is first or (first.kind == "expire" and first.held.is_over):
                    break

    def _process(self, message: Message) -> None:
        held, at_ns = message.held, message.arrives_ns
        venue = self.venues[held.instrument]
        rules = venue.rules
        too_many = ""
        if rules is not None and message.kind not in ("protect", "expire"):
            too_many = rules.too_many(message.kind, at_ns)
        if message.kind == "submit":
            held.arrived_ns = at_ns
            room = self.groups.room(held, held.lots)
            refusal = too_many
            if held.expires_ns is not None and held.expires_ns <= at_ns:
                refusal = refusal or "expired"
            if room < held.lots and (room <= 0 or held.tif is TimeInForce.FOK):
                refusal = "oco"
            held.lots = room if room > 0 else held.lots
            if rules is not None:
                refusal = refusal or rules.refuses(held, held.lots, held.limit)
            refusal = refusal or self._account_refuses(held, held.lots, held.limit)
            to_reduce = self.groups.room_to_reduce(held)
            refusal = refusal or ("reduce_only_displaced" if to_reduce <= 0 else "")
            is_trimmed = not refusal and to_reduce < held.left
            held.lots = held.filled + to_reduce if is_trimmed else held.lots
            refusal = refusal or venue.refuses(held, at_ns)
            if refusal:
                held.lock_ticks = None
                self.end(held, OrderState.REJECTED, refusal, at_ns)
                return
            held.is_in = True
            self.tell(held, OrderState.ACCEPTED, "", at_ns)
            venue.enter(held, at_ns)
            if is_trimmed and not held.is_over:
                self.tell(held, held.state, "reduce_only_trimmed", at_ns)
            if held.reduce_only:
                self.groups.fit_reducing(held, at_ns)
        elif message.kind == "protect":
            self.groups.keep(held, at_ns)
        elif held.is_over:
            return
        elif message.kind == "expire":
            self.end(held, OrderState.CANCELLED, "expired", at_ns)
        elif message.kind == "cancel" and too_many:
            self.tell(held, held.state, f"cancel_refused: {too_many}", at_ns)
        elif message.kind == "cancel":
            self.end(held, OrderState.CANCELLED, "requested", at_ns)
        else:
            self._amend(venue, message, too_many)

    def _amend(self, venue: Venue, message: Message, too_many: str) -> None:
        held, at_ns = message.held, message.arrives_ns
        lots = held.lots if message.lots is None else self.groups.amended(held, message.lots)
        limit = held.limit if message.limit is None else message.limit
        if lots <= held.filled and not too_many:
            self.end(held, OrderState.CANCELLED, "amended_to_filled", at_ns)
            return
        keeps_place = limit == held.limit and lots <= held.lots and message.change is None
        refusal = too_many
        if message.change is not None and not held.is_asleep:
            refusal = refusal or "already_triggered"
        if not refusal and held.post_only and not keeps_place:
            refusal = venue.refuses_maker(held, limit)
        before = held.alarm
        if message.change is not None and not refusal:
            assert held.alarm is not None
            held.alarm = replace(held.alarm)
            held.alarm.change(message.change)
        if venue.rules is not None:
            refusal = refusal or venue.rules.refuses(held, lots, limit)
        refusal = refusal or self._account_refuses(held, lots, limit)
        if refusal:
            held.alarm = before
            self.tell(held, held.state, f"amend_refused: {refusal}", at_ns)
            return
        is_larger = lots > held.lots
        held.lots, held.limit = lots, limit
        held.asked = max(held.asked, message.lots or 0)
        self.tell(held, held.state, "amended", at_ns)
        if is_larger and held.parent_id:
            self.groups.fit(held.leg, at_ns)
        if not keeps_place and not held.is_over:
            held.arrived_ns = at_ns
            venue.orders.remove(held)
            venue.enter(held, at_ns)
        if held.reduce_only:
            self.groups.fit_reducing(held, at_ns)

    # The account, computed anew at every question ---------------------------------------------------------------

    def open_orders(self, leg: str) -> list[Held]:
        """Return the accepted orders of a position that are not over."""
        return [h for h in self.orders.values() if h.leg == leg and h.arrived_ns >= 0 and not h.is_over]

    def locked(self, currency: str, *, but: Held | None = None) -> Fraction:
        """Return what spot orders hold back of a currency."""
        total = Fraction(0)
        for held in self.orders.values():
            if held is but or held.is_over or held.lock_ticks is None:
                continue
            instrument = self.ledger.instruments[held.leg]
            if currency == (instrument.quote if held.side is Side.BUY else instrument.base):
                total += self._lock(held, held.lock_ticks, held.left)
        return total

    def free(self, currency: str, *, but: Held | None = None) -> Fraction:
        """Return the balance that neither orders (but one) hold back nor contracts are backed by."""
        if self.margins is not None:
            return self.margins.free(currency) - self.locked(currency, but=but)
        balance = self.ledger.balance_exact(currency)
        if any(self.held(i) for i in self._contracts_in(currency)):
            needed = self._notional(currency, {}) / self.max_leverage
            balance = min(balance, self.equity_in(currency) - needed)
        return balance - self.locked(currency, but=but)

    def held(self, instrument: Instrument) -> Fraction:
        """Return the signed position in lots."""
        return self.ledger.qty(instrument.id) / Fraction(instrument.lot)

    def _contracts_in(self, currency: str) -> list[Instrument]:
        return self.ledger.contracts_in(currency)

    def _worth(self, instrument: Instrument, qty: Fraction, price: float | Fraction | None) -> Fraction:
        """Return what a size is worth at a price, signed; nothing held is worth nothing at any."""
        if not qty:
            return Fraction(0)
        assert price is not None
        return self.ledger.worth(instrument.id, qty, price)

    def _notional(self, currency: str, instead: Mapping[str, Fraction]) -> Fraction:
        """Return what all contracts of a settlement currency are worth, some of them with another number."""
        total = Fraction(0)
        for i in self._contracts_in(currency):
            own = self._worth(i, self.ledger.qty(i.id), self.ledger.mark(i.id))
            total += abs(instead.get(i.id, own))
        return total

    def equity_in(self, currency: str) -> Fraction:
        """Return a settlement currency's balance with the open profit of its contracts."""
        total = self.ledger.equity_in(currency)
        assert total is not None
        return total

    def _lock(self, held: Held, ticks: int, lots: int) -> Fraction:
        instrument = self.ledger.instruments[held.leg]
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
        instrument = self.ledger.instruments[held.leg]
        is_small = lots * Fraction(instrument.lot) < Fraction(instrument.min_qty) or lots < 1
        if is_small and not self._closes_whole(instrument, held, lots):
            return "below_min_qty"
        if not self.fits(held, lots, limit, may_be_small=is_small):
            return "instrument_changed"
        if held.reduce_only:
            whole = whole_steps(abs(self.held(instrument)) * Fraction(instrument.lot), instrument)
            is_position = whole * Fraction(instrument.lot) >= Fraction(instrument.min_qty)
            is_position = is_position or not instrument.is_spot
            if not held.is_asleep and (not is_position or not self.reducible(held)):
                return "reduce_only_no_position"
            return "" if self._sale_pays(instrument, held, lots - held.filled, limit) else "insufficient_cash"
        venue = self.venues[held.instrument]
        reference = venue.reference(held.side)
        if not self._sale_pays(instrument, held, lots - held.filled, limit):
            return "insufficient_cash"
        if instrument.is_spot:
            ticks: int | None = 0
            if held.side is Side.BUY:
                ticks = limit
                if ticks is None and held.alarm is None and isinstance(venue, CandleVenue):
                    # Its cost is locked at the open that fills it, which is here or yet to come.
                    if venue.opening is None:
                        held.lock_ticks = None
                        return ""
                    ticks = venue.taken_at(held, venue.opening, venue.most_at_open(held), self.now_ns())
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
        if self.margins is not None:
            refusal = self.margins.refuses(instrument, held, lots - held.filled, price)
        else:
            refusal = self._leverage_refuses(instrument, held, lots - held.filled, price)
        # What closes a position is never refused: the order is let in for that part.
        is_closing = self.held(instrument) * held.side.sign < 0
        if is_closing or not refusal:
            held.is_trimmed = bool(refusal)
            return ""
        return refusal

    def _sale_pays(self, instrument: Instrument, held: Held, lots: int, limit: int | None) -> bool:
        """Whether a spot sale brings in its fee, with the free cash there is, at the best price it may expect."""
        reference = self.venues[held.instrument].reference(held.side)
        prices = [limit] if limit is not None else [] if held.stop is None else [held.stop]
        prices += [] if reference is None or held.stop is not None else [reference]
        if not instrument.is_spot or held.side is Side.BUY or not prices:
            return True
        value = value_of(instrument, lots, max(prices))
        fees, qty = self.fees[held.instrument], lots * Fraction(instrument.lot)
        dearer = max(Fraction(0), *(_of_fill(fees, instrument, qty, value, bps) for bps in _rates(fees)))
        return self._due(held, dearer) <= value + max(Fraction(0), self.free(instrument.quote))

    def _closes_whole(self, instrument: Instrument, held: Held, lots: int) -> bool:
        """Whether an order closes a contract to the last step: that is never too small."""
        position = self.held(instrument) * held.side.sign
        left = lots - held.filled
        whole = whole_steps(-position * Fraction(instrument.lot), instrument)
        takes_all = left == whole or (held.reduce_only and left > whole)
        return not instrument.is_spot and whole > 0 and takes_all

    def fits(self, held: Held, lots: int, limit: int | None, *, may_be_small: bool = False) -> bool:
        """Whether an order's numbers are on the steps of now, and its size is allowed."""
        instrument = self.ledger.instruments[held.leg]
        sizes = [lots * Fraction(instrument.lot), (lots - held.filled) * Fraction(instrument.lot)]
        stop = held.stop if held.is_asleep else None
        prices = [price * Fraction(instrument.tick) for price in (limit, stop) if price is not None]
        return (
            (sizes[0] >= Fraction(instrument.min_qty) or may_be_small)
            and all((size / Fraction(instrument.qty_step)).denominator == 1 for size in sizes)
            and all((price / Fraction(instrument.price_step)).denominator == 1 for price in prices)
        )

    def _leverage_refuses(self, instrument: Instrument, held: Held, extra: int, price: int) -> str:
        """Return why the position that an order may lead to is too large for the equity it is backed by."""
        position = self.held(instrument)
        after = position + held.side.sign * (self.working(instrument, held.side, but=held) + extra)
        if min(0, position) <= after <= max(0, position):
            return ""
        worth = value_of(instrument, 1, price)
        reference = self.venues[held.instrument].reference(held.side)
        if held.stop is None and reference is not None:
            takes_dear = (held.side is Side.BUY) == instrument.is_inverse
            worth = max(worth, value_of(instrument, 1, reference)) if takes_dear else worth
        notional = abs(after) * worth
        currency = instrument.settle_currency
        for other in self._contracts_in(currency):
            size = self.held(other)
            most = max(
                abs(size + self.working(other, Side.BUY)),
                abs(size - self.working(other, Side.SELL)),
            )
            if most and other.id != instrument.id:
                mark = self.ledger.mark(other.id)
                if mark is None:
                    return "no_price"
                notional += most * self.ledger.worth(other.id, size_of(other, 1), mark)
        return "" if notional <= self.equity_in(currency) * self.max_leverage else "insufficient_margin"

    def working(self, instrument: Instrument, side: Side, *, but: Held | None = None) -> int:
        """Return what open orders of a side may add; those that only reduce add nothing."""
        orders = [h for h in self.open_orders(instrument.id) if h is not but and h.side is side]
        return sum(h.left for h in orders if not h.reduce_only and not h.is_trimmed)

    def reducible(self, held: Held) -> int:
        """Return how many size steps a reduce-only order may take off the position."""
        instrument = self.ledger.instruments[held.leg]
        position = self.ledger.qty(held.leg)
        if position * held.side.sign >= 0 or (instrument.is_spot and held.side is Side.BUY):
            return 0
        size = abs(position)
        if instrument.is_spot:
            size = min(size, max(Fraction(0), self.free(instrument.base)))
        return whole_steps(size, instrument)

    # What venues call -----------------------------------------------------------------------------------------

    def fill(self, held: Held, lots: int, ticks: int, *, is_maker: bool, at_ns: int) -> int:
        """Book an execution as far as the account can have it; return the size steps booked."""
        instrument = self.ledger.instruments[held.leg]
        if self.margins is not None and self.margins.takes_over(held, ticks, at_ns):
            return 0
        allowed = self._allowed(instrument, held, lots, ticks, is_maker=is_maker)
        if allowed:
            self._book(instrument, held, allowed, ticks, is_maker=is_maker, at_ns=at_ns)
            self.groups.filled(held, allowed, at_ns)
        if allowed < lots and not held.is_over:
            reason = "insufficient_cash" if instrument.is_spot else "insufficient_margin"
            if held.reduce_only and not self.reducible(held):
                reason = "reduce_only_position_closed"
            self.end(held, OrderState.CANCELLED, reason, at_ns)
        return allowed

    def can_have(self, held: Held, ticks: int) -> bool:
        """Whether the account can have all that is left of an order that takes, at a price."""
        instrument = self.ledger.instruments[held.leg]
        return self._allowed(instrument, held, held.left, ticks, is_maker=False) >= held.left

    def _allowed(self, instrument: Instrument, held: Held, lots: int, ticks: int, *, is_maker: bool) -> int:
        """Return how many lots of an execution the account can have, in whole size steps."""
        allowed = self._backed(instrument, held, lots, ticks, is_maker=is_maker)
        if not instrument.is_spot or held.side is Side.BUY:
            return allowed
        free = max(Fraction(0), self.free(instrument.quote))

        def pays(some: int) -> bool:
            fee = self._due(held, self._fee(instrument, held, some, ticks, is_maker=is_maker)[0])
            return fee <= value_of(instrument, some, ticks) + free

        return allowed if allowed <= 0 or pays(allowed) else _most(instrument, 0, allowed, pays)

    def _backed(self, instrument: Instrument, held: Held, lots: int, ticks: int, *, is_maker: bool) -> int:
        """Return how many lots the account has the position, the cash or the equity for."""
        if held.reduce_only:
            return min(lots, self.reducible(held))
        if not instrument.is_spot:
            closing = min(lots, self.reducible(held))
            if held.is_trimmed or closing == lots or self._carries(instrument, held, lots, ticks, is_maker=is_maker):
                return closing if held.is_trimmed else lots
            return _most(
                instrument, closing, lots, lambda some: self._carries(instrument, held, some, ticks, is_maker=is_maker)
            )
        if held.side is Side.SELL:
            free = max(Fraction(0), self.free(instrument.base, but=held))
            return min(lots, whole_steps(free, instrument))
        free = self.free(instrument.quote, but=held)
        if held.lock_ticks is None:
            return lots if self._lock(held, ticks, lots) <= free else 0
        has_contracts = any(i.id in self.ledger.holdings for i in self._contracts_in(instrument.quote))
        if ticks <= held.lock_ticks and not has_contracts:
            return lots  # paid for by what was kept for it; contracts may have lost it since
        if self._cost(instrument, held, lots, ticks, is_maker=is_maker) <= free:
            return lots
        return _most(
            instrument, 0, lots, lambda some: self._cost(instrument, held, some, ticks, is_maker=is_maker) <= free
        )

    def _carries(self, instrument: Instrument, held: Held, lots: int, ticks: int, *, is_maker: bool) -> bool:
        """Whether a fill leaves the notional within the bound, by the mark there is and by the fill's own price."""
        currency = instrument.settle_currency
        position, mark = self.ledger.qty(instrument.id), self.ledger.mark(instrument.id)
        of_fill, _ = self._fee(instrument, held, lots, ticks, is_maker=is_maker)
        fee = self._due(held, of_fill)
        if self.margins is not None:
            return self.margins.carries(instrument, held, lots, ticks, fee)
        size = size_of(instrument, lots * held.side.sign)
        price = price_at(instrument, ticks)
        for valued in (price, price if mark is None else mark):
            after = self._worth(instrument, position + size, valued)
            gain = after - self._worth(instrument, position, mark) - held.side.sign * value_of(instrument, lots, ticks)
            equity = self.equity_in(currency) - fee + (-gain if instrument.is_inverse else gain)
            if self._notional(currency, {instrument.id: after}) > equity * self.max_leverage:
                return False
        return True

    def _fee(
        self, instrument: Instrument, held: Held, lots: int, ticks: int, *, is_maker: bool
    ) -> tuple[Fraction, str]:
        fees, qty = self.fees[held.instrument], lots * Fraction(instrument.lot)
        maker_bps, taker_bps = _rates(fees)
        bps = maker_bps if is_maker else taker_bps
        if instrument.is_spot and fees.currency == "received" and held.side is Side.BUY:
            return qty * bps / 10_000, instrument.base
        return _of_fill(fees, instrument, qty, value_of(instrument, lots, ticks), bps), instrument.settle_currency

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
        return value_of(instrument, lots, ticks) + own

    def _book(self, instrument: Instrument, held: Held, lots: int, ticks: int, *, is_maker: bool, at_ns: int) -> None:
        of_fill, currency = self._fee(instrument, held, lots, ticks, is_maker=is_maker)
        fee = self._due(held, of_fill)
        held.fees_of_fills += of_fill
        held.fees_paid += fee
        role = "maker" if is_maker else "taker"
        self._execute(held, lots, ticks, exactly(fee), currency, role, at_ns)

    def close_for(self, held: Held, lots: int, ticks: int, charge: Decimal, at_ns: int) -> None:
        """Close a position with an order of the exchange's own, for a charge."""
        currency = self.ledger.instruments[held.instrument].settle_currency
        self._execute(held, lots, ticks, charge, currency, "taker", at_ns)
        self.groups.filled(held, lots, at_ns)

    def _execute(self, held: Held, lots: int, ticks: int, fee: Decimal, currency: str, role: str, at_ns: int) -> None:
        """Book an execution."""
        instrument = self.ledger.instruments[held.instrument]
        before = self.ledger.qty(held.leg)
        fill = Fill(
            id=len(self.fills) + 1,
            order_id=held.id,
            instrument=held.instrument,
            side=held.side,
            price=float(price_at(instrument, ticks)),
            qty=float(size_of(instrument, lots)),
            value=exactly(value_of(instrument, lots, ticks)),
            fee=fee,
            fee_currency=currency,
            role=role,
            filled_ns=at_ns,
            revealed_ns=self.now_ns(),
            why="",
            tag=held.tag,
            lots=lots,
            ticks=ticks,
            position_side=held.position_side,
        )
        held.filled += lots
        self.before_change()
        self.ledger.apply(fill)
        if self.margins is not None:
            self.margins.filled(held.leg, before)
        self.fills.append(fill)
        self.after_fill(fill)
        if held.left:
            self.tell(held, OrderState.PARTLY_FILLED, "", at_ns, fill)
        else:
            self.end(held, OrderState.FILLED, "", at_ns, fill)

    def shrink(self, held: Held, lots: int, reason: str, at_ns: int) -> None:
        """Take some size steps off an order, and end it when none is left."""
        if held.left <= lots:
            self.end(held, OrderState.CANCELLED, reason, at_ns)
        else:
            held.lots -= lots
            self.tell(held, held.state, reason, at_ns)

    def introduce(self, held: Held, order: Order, at_ns: int) -> None:
        """Tell the owner of an order of the exchange's own making that it is at work."""
        self.tell(held, OrderState.ACCEPTED, "", at_ns)
        self.log[-1].introduces = order

    def end(self, held: Held, state: OrderState, reason: str, at_ns: int, fill: Fill | None = None) -> None:
        """Finish an order and take it off its market."""
        self.tell(held, state, reason, at_ns, fill)
        orders = self.venues[held.instrument].orders
        if held in orders:
            orders.remove(held)

    def tell(self, held: Held, state: OrderState, reason: str, at_ns: int, fill: Fill | None = None) -> None:
        """Send a report back."""
        held.state = state
        now_ns = self.now_ns()
        before = [report for report in self.log if self.orders[report.order_id].instrument == held.instrument]
        latency_ns = self.delay_ns(held.instrument, "report", len(before))
        due_ns = max(at_ns + self.offset_ns(now_ns) + latency_ns, now_ns, held.told_ns)
        if self.drawn_ns:
            due_ns = max([due_ns, *(report.due_ns for report in before)])
        held.told_ns = due_ns
        one_step = self.venues[held.instrument].one_step
        trigger = None if held.alarm is None else held.alarm.said(one_step)
        report = Report(
            due_ns, len(self.log), held.id, state, reason, at_ns, held.lots, held.limit, fill, trigger=trigger
        )
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
        self.groups.end(self.now_ns() - self.offset_ns(self.now_ns()))
        for held in self.orders.values():
            if not held.is_over:
                self.end(held, OrderState.CANCELLED, reason, self.now_ns() - self.offset_ns(self.now_ns()))

    def qty_at(self, leg: str, boundary_ns: int) -> Fraction:
        """Return the size of a position that fills stamped before a boundary had built up."""
        fills = [f for f in self.fills if leg_of(f.instrument, f.position_side) == leg and f.filled_ns < boundary_ns]
        lots = sum(f.lots if f.side is Side.BUY else -f.lots for f in fills)
        return size_of(self.ledger.instruments[leg], lots)


def _most(instrument: Instrument, least: int, too_many: int, holds: Callable[[int], bool]) -> int:
    """Return the most lots below `too_many` that a bound allows, whole steps above `least`, which it does allow.

    Few steps are tried one by one; where there are many, halves are, since each step only asks for more.
    """
    one_step = int(Fraction(instrument.qty_step) / Fraction(instrument.lot))
    low, high = 0, -(-(too_many - least) // one_step)
    while high - low > 1:
        middle = (low + high) // 2 if high - low > _FEW_STEPS else low + 1
        if holds(least + middle * one_step):
            low = middle
        else:
            high = middle
    return least + low * one_step


def _rates(fees: Fees) -> tuple[Fraction, Fraction]:
    return Fraction(str(fees.maker_bps)), Fraction(str(fees.taker_bps))


def _of_fill(fees: Fees, instrument: Instrument, qty: Fraction, value: Fraction, bps: Fraction) -> Fraction:
    """Return what a fill itself costs: basis points of its value and an amount for each share or contract."""
    return value * bps / 10_000 + qty * Fraction(str(fees.per_share if instrument.is_spot else fees.per_contract))
