"""The strategy's side of orders: checks and rounds calls, remembers what was sent, takes reports in."""

from collections.abc import Collection
from fractions import Fraction
from typing import Final, Literal, TypeAlias

import msgspec

from quantkit.brokers.base import OrderEntry, Report
from quantkit.brokers.introduction import Introduction
from quantkit.engine.desks import Desk, Number, OpenOrder, asked_orders
from quantkit.engine.legs import leg_terms
from quantkit.engine.oco_names import OcoNames
from quantkit.engine.order_numbers import on_price_step, on_size_step, time_in_force_of
from quantkit.engine.order_terms import NO_TRIGGER, change_of, check_at, numbers_of, restate_trigger, terms_of
from quantkit.engine.sizing import Sizing
from quantkit.errors import OrderError
from quantkit.instruments import Instrument
from quantkit.orders import (
    AMEND_REFUSED,
    AMENDED,
    CANCEL_REFUSED,
    CANCEL_UNKNOWN,
    PAUSED,
    Fill,
    Order,
    OrderRequest,
    OrderState,
    OrderTerms,
    PositionSide,
    TimeInForce,
    TriggerPrices,
)
from quantkit.portfolio import Portfolio
from quantkit.rows.position import RunPosition
from quantkit.sizes import SIZES, OrderAmount

#: Why orders are refused, empty while they are not.
Refusal: TypeAlias = Literal["", "warmup", "stopped"]
#: An order is frozen for everybody else: the order manager alone brings it up to date.
_put: Final = msgspec.structs.force_setattr


class OrderManager:
    """Builds orders and keeps them, as far as reported.

    Args:
        broker: The receiver of orders.
        reported: The ledger of the reported fills.
        sizing: Works out sizes by money.
        run_id: Alphanumeric prefix of order ids.
        position: How far the run has come.
        marked: The instruments whose mark price the run has all along.

    Attributes:
        orders: Every order sent, refused, or made by the exchange for one of these, by id.
        refusal: Why orders are refused at present.
        is_paused: Whether the run is paused from outside: nothing but cancels leaves then.
        instruments: Those of the run, with their steps of the moment.
        desks: What is kept of each.
        legs: The desk of each position, by its key: what has one position has it on its own desk.
        is_long_short: Whether contracts have two positions.
    """

    def __init__(
        self,
        broker: OrderEntry,
        reported: Portfolio,
        sizing: Sizing,
        *,
        run_id: str,
        position: RunPosition,
        marked: Collection[str] = (),
    ) -> None:
        self.orders: dict[str, Order] = {}
        self.refusal: Refusal = ""
        self.is_paused = False
        self._broker = broker
        self._reported = reported
        self._sizing = sizing
        self.instruments = reported.instruments
        self._run_id = run_id
        self._position = position
        self._marked = marked
        self._sent = 0
        self._oco_names = OcoNames()
        self.is_long_short = reported.is_long_short
        self.desks = {name: Desk(name) for name in reported.instruments}
        self.legs = {leg: self.desks.get(leg) or Desk(leg) for leg in reported.legs}

    def instrument(self, instrument_id: str) -> Instrument:
        """Return an instrument of the run.

        Raises:
            OrderError: The run has no such instrument.
        """
        instrument = self.instruments.get(instrument_id)
        if instrument is None:
            known = ", ".join(self.instruments)
            raise OrderError(f"{instrument_id!r} is no instrument of this run; subscribe to it (there are {known})")
        return instrument

    # Calls ----------------------------------------------------------------------------------------------------

    def send(self, request: OrderRequest, amount: OrderAmount | None = None, note: str = "") -> Order:
        """Check, round and send an order.

        Args:
            request: The order as asked for.
            amount: The money that its size comes from, where that is a number already.
            note: Of that size.

        Raises:
            OrderError: The call could never become a valid order.
        """
        name, side, now_ns = request.instrument, request.side, self._position.now_ns
        instrument = self.instruments.get(name) or self.instrument(name)
        where, roundings = f"{side} {name}", dict[Number, str]()
        asked = request.qty
        is_sized = isinstance(asked, SIZES)
        lots, qty = (0, 0.0) if isinstance(asked, SIZES) else on_size_step(instrument, asked, where, roundings)
        if note:
            roundings["size", lots] = note
        price, stop_price, ticks, stop = request.price, request.stop_price, None, None
        if price is not None:
            ticks, price = on_price_step(instrument, price, side, where, "price", roundings)
        if stop_price is not None:
            stop, stop_price = on_price_step(instrument, stop_price, side, where, "stop_price", roundings, name="stop")
        tif, terms = request.time_in_force, None
        if type(tif) is not TimeInForce:
            tif = time_in_force_of(tif, where)
        if request.terms is not None:
            terms, tif = terms_of(
                request, request.terms, tif, instrument, where, roundings, now_ns, has_marks=name in self._marked
            )
            if terms.oco_group:
                group = self._oco_names.group_of(terms.oco_group, name, where)
                terms = msgspec.structs.replace(terms, oco_group=group)
            check_at(request, where)
        elif tif is TimeInForce.GTD:
            raise OrderError(f"{where}: time_in_force GTD needs expire_time=")
        if request.post_only and (ticks is None or not tif.rests or stop is not None):
            raise OrderError(f"{where}: post_only needs a plain GTC or GTD limit order; give price= and no trigger")
        position_side, reduce_only = PositionSide.NET, request.reduce_only
        if request.position_side or self.is_long_short:
            position_side, reduce_only = leg_terms(request, instrument, where, is_long_short=self.is_long_short)
        refusal = self.refusal
        self._sent += 1
        order = Order(
            id=f"{self._run_id}{self._sent}",
            instrument=name,
            side=side,
            qty=qty,
            price=price,
            stop_price=stop_price,
            time_in_force=tif,
            post_only=request.post_only,
            reduce_only=reduce_only,
            tag=request.tag,
            state=OrderState.REJECTED if refusal else OrderState.PENDING,
            reason=refusal,
            note="; ".join(filter(None, roundings.values())),
            sent_ns=now_ns,
            updated_ns=now_ns,
            lots=lots,
            price_ticks=ticks,
            stop_ticks=stop,
            terms=terms,
            position_side=position_side,
        )
        if (is_sized or amount is not None) and not refusal:
            lots = self._size(order, request, amount, roundings)
        self.orders[order.id] = order
        if not refusal:
            self.desks[name].open[order.id] = OpenOrder(order, lots, ticks, roundings, len(self.orders))
            if terms is not None and terms.oco_group:
                assert request.terms is not None
                self._oco_names.add(request.terms.oco_group, order)
            if self.is_paused:
                self._broker.refuse(order, now_ns, PAUSED)
            elif (sent_ns := self._broker.submit(order, now_ns)) != now_ns:
                _put(order, "sent_ns", sent_ns)
                _put(order, "updated_ns", sent_ns)
        return order

    def _size(
        self, order: Order, request: OrderRequest, amount: OrderAmount | None, roundings: dict[Number, str]
    ) -> int:
        """Write the money that an order's size comes from, and the size where that is not known, into it."""
        lots = order.lots
        if amount is None:
            assert isinstance(request.qty, SIZES)
            at = "send" if request.terms is None else request.terms.at
            lots, amount, note = self._sizing.size(order, request.qty, at, asked_orders(self.desks))
            roundings["size", lots] = note
            _put(order, "lots", lots)
            _put(order, "qty", self.instruments[order.instrument].qty(lots))
            _put(order, "note", "; ".join(filter(None, (note, order.note))))
        _put(order, "terms", msgspec.structs.replace(order.terms or OrderTerms(), amount=amount))
        return lots

    def amend(
        self,
        order: Order,
        *,
        qty: float | None = None,
        price: float | None = None,
        stop_price: float | None = None,
        take_profit_price: float | None = None,
        trailing_offset: float | None = None,
        trailing_offset_bps: float | None = None,
        is_sized: bool = False,
    ) -> None:
        """Send a change of an open order, by money or not; a finished order stays as it is.

        Raises:
            OrderError: Nothing is given to change, a number is not usable, or the order has no such number.
        """
        kept = self._find(order)
        instrument = self.instruments.get(order.instrument) or self.instrument(order.instrument)
        where, roundings = f"amend {order.id}", dict[Number, str]()
        if order.terms is not None and order.terms.amount is not None and order.terms.amount.is_at_fill:
            raise OrderError(f"{where}: its size comes with its fill; cancel it and send another")
        change = None
        trigger = stop_price, take_profit_price, trailing_offset, trailing_offset_bps
        if trigger != NO_TRIGGER:
            change = change_of(order, trigger, instrument, where, roundings)
        elif qty is None and price is None:
            raise OrderError(f"amend {order.id}: nothing to change; give qty=, price= or a trigger")
        if price is not None and order.price_ticks is None:
            raise OrderError(f"amend {order.id}: a {order.type} order has no limit price to change")
        lots = None if qty is None else on_size_step(instrument, qty, where, roundings)[0]
        ticks = None if price is None else on_price_step(instrument, price, order.side, where, "price", roundings)[0]
        if kept is not None:
            self.change(kept, lots, ticks, roundings, change, is_sized)

    def change(
        self,
        kept: OpenOrder,
        lots: int | None,
        ticks: int | None,
        roundings: dict[Number, str],
        change: TriggerPrices | None = None,
        is_sized: bool = False,
    ) -> None:
        """Send a change of an order, by money or not; None stays as it is."""
        kept.lots = kept.lots if lots is None else lots
        if ticks is not None:
            kept.ticks = ticks
        kept.roundings.update(roundings)
        name, now_ns = kept.order.id, self._position.now_ns
        if self.is_paused:
            self._broker.refuse_amend(name, now_ns, PAUSED)
        else:
            self._broker.amend(name, now_ns, lots=lots, limit_ticks=ticks, change=change, is_sized=is_sized)

    def cancel(self, order: Order) -> None:
        """Send a cancel of an open order, once."""
        kept = self._find(order)
        if kept is not None:
            kept.is_cancelling = True
            self._broker.cancel(order.id, self._position.now_ns)

    def _find(self, order: Order) -> OpenOrder | None:
        """Return what is kept of an order that can be changed; None for one that is over or being cancelled.

        None also while orders are refused.

        Raises:
            OrderError: It is no order of this run.
        """
        if not isinstance(order, Order):
            raise OrderError(f"{order!r} is no Order; pass what buy, sell, target or quote returned")
        if self.orders.get(order.id) is not order:
            if order.id:
                raise OrderError(f"order {order.id} is not of this run")
            return None  # refused in `on_start`, where it got no id: it is over, and nothing can be done to it
        kept = None if self.refusal else self.desks[order.instrument].open.get(order.id)
        return None if kept is None or kept.is_cancelling else kept

    def cancel_all(self, instrument_id: str | None) -> None:
        """Send a cancel of every open order, of one instrument or of all."""
        for order in self.open_orders(instrument_id):
            self.cancel(order)

    def open_orders(self, instrument_id: str | None) -> list[Order]:
        """Return the orders that may still fill, oldest first."""
        if instrument_id is not None:
            return [kept.order for kept in self.desks[self.instrument(instrument_id).id].open.values()]
        found = [kept for desk in self.desks.values() for kept in desk.open.values()]
        return [kept.order for kept in sorted(found, key=lambda kept: kept.number)]

    # Reports --------------------------------------------------------------------------------------------------

    def apply(self, report: Report) -> Order:
        """Apply a report, to the ledger first, and return its order, brought up to date."""
        if report.introduction is not None:
            self._get_to_know(report, report.introduction)
        order, state, reason, fill = self.orders[report.order_id], report.state, report.reason, report.fill
        desk, instrument = self.desks[order.instrument], self.instruments[order.instrument]
        _put(order, "state", state)
        _put(order, "reason", reason)
        _put(order, "updated_ns", report.due_ns)
        held = desk if order.position_side is PositionSide.NET else self.legs[order.leg]
        held.reached = None
        if report.lots != order.lots:
            _put(order, "lots", report.lots)
            _put(order, "qty", instrument.qty(report.lots))
        if (ticks := report.limit_ticks) is not None and ticks != order.price_ticks:
            _put(order, "price_ticks", ticks)
            _put(order, "price", instrument.price(ticks))
        if report.trigger is not None:
            restate_trigger(order, report.trigger, instrument)
        if fill is not None:
            self._reported.apply(fill)
            held.holder = None
            before = order.filled_lots
            _put(order, "average_price", _average_price(order, instrument, fill) if before else fill.price)
            _put(order, "filled_qty", instrument.qty(before + fill.lots) if before else fill.qty)
            _put(order, "filled_lots", before + fill.lots)
        if state.is_final:
            desk.open.pop(order.id, None)
        elif reason == AMENDED:
            numbers: tuple[Number, ...] = ("size", order.lots), ("price", order.price_ticks), ("stop", order.stop_ticks)
            if order.terms is not None:
                numbers += numbers_of(order.terms)
            _put(order, "note", "; ".join(filter(None, map(desk.open[order.id].roundings.get, numbers))))
        elif reason.startswith(AMEND_REFUSED):
            kept = desk.open[order.id]
            kept.lots, kept.ticks = order.lots, order.price_ticks
        elif reason.startswith((CANCEL_REFUSED, CANCEL_UNKNOWN)):
            desk.open[order.id].is_cancelling = False  # it may be sent once more
        return order

    def _get_to_know(self, report: Report, introduction: Introduction) -> None:
        """Keep an order that the exchange has made."""
        instrument = self.instruments[introduction.instrument]
        order = introduction.order(report.order_id, instrument, report.lots, report.limit_ticks)
        self.orders[order.id] = order
        self.desks[order.instrument].open[order.id] = OpenOrder(
            order, order.lots, order.price_ticks, {}, len(self.orders)
        )


def _average_price(order: Order, instrument: Instrument, fill: Fill) -> float:
    """Return the average price of a partly filled order and one more fill: harmonic for inverse contracts."""
    assert order.average_price is not None
    before, lots = order.filled_lots, fill.lots
    old, new = Fraction(order.average_price), Fraction(instrument.price_decimal(fill.ticks))
    if instrument.is_inverse:
        return float((before + lots) / (before / old + lots / new))
    return float((before * old + lots * new) / (before + lots))
