"""The simplest broker there can be: a moment after it was sent, an order is filled whole at the last price."""

from collections.abc import Collection
from decimal import Decimal

from quantkit.brokers.any_room import AnyRoom
from quantkit.brokers.base import Agenda, BrokerNotes, BrokerSetup, Decision, Report
from quantkit.clock import NEVER_NS
from quantkit.events import Candle
from quantkit.instruments import Instrument
from quantkit.orders import Fill, Order, OrderState
from quantkit.portfolio import Portfolio
from quantkit.rows.cursors import StreamCursor

#: From the call to the fill.
DELAY_NS = 1


class InstantBroker:
    """Looks at no row: what instruments are valued at is its price."""

    def __init__(self, setup: BrokerSetup) -> None:
        self.fills: list[Fill] = []
        self.reports: list[Report] = []
        self.agenda = Agenda()
        self._setup = setup
        self._waiting: dict[str, tuple[Order, int, int | None]] = {}  # with size and limit, which may be amended
        self._due_ns: dict[str, int] = {}
        self._told = 0
        self._decisions: list[Decision] = []

    def submit(self, order: Order, now_ns: int) -> int:
        self._waiting[order.id] = order, order.lots, order.price_ticks
        self._due_ns[order.id] = now_ns + DELAY_NS
        self._note_next()
        self._decide(now_ns, "submit", order, order.lots, order.price_ticks)
        return now_ns

    def cancel(self, order_id: str, now_ns: int) -> None:
        if order_id in self._waiting:
            order, lots, _ = self._waiting[order_id]
            self._decide(now_ns, "cancel", order, None, None)
            self._end(order, OrderState.CANCELLED, "requested", lots)

    def amend(self, order_id: str, now_ns: int, *, lots: int | None, limit_ticks: int | None) -> None:
        if order_id in self._waiting:
            order, old_lots, old_limit = self._waiting[order_id]
            self._decide(now_ns, "amend", order, lots, limit_ticks)
            new = old_lots if lots is None else lots, old_limit if limit_ticks is None else limit_ticks
            self._waiting[order_id] = order, *new
            self._tell(order, OrderState.PENDING, "amended", new[0])

    def refuse(self, order: Order, now_ns: int, reason: str) -> None:
        self._waiting[order.id] = order, order.lots, order.price_ticks
        self._due_ns[order.id] = now_ns + DELAY_NS
        self._end(order, OrderState.REJECTED, reason, order.lots)

    def refuse_amend(self, order_id: str, now_ns: int, reason: str) -> None:
        if order_id in self._waiting:
            order, lots, _ = self._waiting[order_id]
            self._tell(order, OrderState.PENDING, f"amend_refused: {reason}", lots)

    def see_candle(self, candle: Candle) -> None: ...

    def begin(self) -> None: ...

    def enter_batch(self, cursors: Collection[StreamCursor]) -> None: ...

    def leave_batch(self, cursors: Collection[StreamCursor]) -> None: ...

    def leave_rows(self, cursors: Collection[StreamCursor]) -> None: ...

    def rearm(self, dirty: Collection[str]) -> None: ...

    def search_on(self, index: int) -> None: ...

    def on_row(self, cursor: StreamCursor, index: int) -> None:
        raise AssertionError("it asked for no row")

    def take_inputs(self, until_ns: int) -> None: ...

    def advance(self, now_ns: int) -> None:
        for order_id in [name for name, due_ns in self._due_ns.items() if due_ns <= now_ns]:
            self._fill(*self._waiting[order_id])

    def take_report(self) -> Report:
        self._told += 1
        self._note_next()
        return self.reports[self._told - 1]

    def take_decisions(self) -> list[Decision]:
        found, self._decisions = self._decisions, []
        return found

    def queue_ahead(self, order_id: str) -> float | None:
        return None

    def room(self, ledger: Portfolio) -> AnyRoom:
        return AnyRoom()

    def qty_at(self, instrument: str, boundary_ns: int) -> int:
        return sum(f.signed_lots for f in self.fills if f.instrument == instrument and f.filled_ns < boundary_ns)

    def change_instrument(self, instrument: Instrument, at_ns: int) -> None:
        self._setup.ledger.change_instrument(instrument)

    def finish(self, now_ns: int, reason: str) -> list[Report]:
        for order, lots, _ in [*self._waiting.values()]:
            self._end(order, OrderState.CANCELLED, reason, lots)
        left, self._told = self.reports[self._told :], len(self.reports)
        self._note_next()
        return left

    def remedy(self, instrument: str) -> str:
        return ""

    def notes(self) -> BrokerNotes:
        return BrokerNotes(["orders fill whole at the last price"], [], [])

    def _fill(self, order: Order, lots: int, limit: int | None) -> None:
        price = self._setup.marks.last(order.instrument)
        if price is None or not lots:
            self._end(order, OrderState.REJECTED, "no_price" if lots else "below_min_qty", lots)
            return
        ledger, now_ns = self._setup.ledger, self._setup.position.now_ns
        instrument = ledger.instruments[order.instrument]
        ticks = instrument.market_ticks(price, order.side)
        fill = Fill(
            id=len(self.fills) + 1,
            order_id=order.id,
            instrument=order.instrument,
            side=order.side,
            price=instrument.price(ticks),
            qty=instrument.qty(lots),
            value=instrument.value(lots, ticks),
            fee=Decimal(0),
            fee_currency=instrument.settle_currency,
            role="taker",
            filled_ns=now_ns,
            revealed_ns=now_ns,
            why="the last price",
            tag=order.tag,
            lots=lots,
            ticks=ticks,
        )
        self._tell(order, OrderState.ACCEPTED, "", lots)
        self._setup.observer.before_fill()
        ledger.apply(fill)
        self.fills.append(fill)
        self._setup.dirty.add(order.instrument)
        self._end(order, OrderState.FILLED, "", lots, fill)
        self._setup.observer.after_fill(fill)

    def _end(self, order: Order, state: OrderState, reason: str, lots: int, fill: Fill | None = None) -> None:
        self._tell(order, state, reason, lots, fill)
        del self._waiting[order.id], self._due_ns[order.id]
        self._note_next()

    def _tell(self, order: Order, state: OrderState, reason: str, lots: int, fill: Fill | None = None) -> None:
        now_ns = self._setup.position.now_ns
        limit = self._waiting[order.id][2]
        # A cancel is reported in a moment as well: nothing that a hook sends is answered within it.
        due_ns = now_ns if fill is not None or state is OrderState.ACCEPTED else now_ns + DELAY_NS
        due_ns = max(due_ns, self.reports[-1].due_ns if self.reports else 0)
        self.reports.append(Report(due_ns, len(self.reports), order.id, state, reason, now_ns, lots, limit, fill))
        self._note_next()

    def _note_next(self) -> None:
        self.agenda.wake_ns = min(self._due_ns.values(), default=NEVER_NS)
        self.agenda.report_ns = self.reports[self._told].due_ns if self._told < len(self.reports) else NEVER_NS

    def _decide(self, now_ns: int, kind: str, order: Order, lots: int | None, limit: int | None) -> None:
        if self._setup.keeps_decisions:
            self._decisions.append(
                Decision(
                    now_ns,
                    kind,
                    order.id,
                    order.instrument,
                    order.side.value,
                    lots,
                    limit,
                    order.stop_ticks,
                    order.time_in_force.value,
                    order.post_only,
                    order.reduce_only,
                    order.tag,
                )
            )
