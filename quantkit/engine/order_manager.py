"""The strategy's side of orders: checks and rounds calls, remembers what was sent, takes reports in."""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Final, TypeAlias

import msgspec

from quantkit.brokers.base import OrderEntry, Report
from quantkit.errors import OrderError
from quantkit.instruments import Instrument, Side, plain
from quantkit.orders import Order, OrderRequest, OrderState, TimeInForce
from quantkit.portfolio import Portfolio
from quantkit.rows.position import RunPosition

#: An order is frozen for everybody else: the order manager alone brings it up to date.
_put: Final = msgspec.structs.force_setattr
#: Size, price or stop, and how many steps it has.
_Number: TypeAlias = tuple[str, int | None]


class OrderManager:
    """Builds orders and keeps them as far as reported.

    Args:
        broker: The receiver of orders.
        portfolio: Reported positions, for `target` and `close`.
        run_id: Alphanumeric prefix of order ids.
        position: How far the run has come.
    """

    def __init__(self, broker: OrderEntry, portfolio: Portfolio, *, run_id: str, position: RunPosition) -> None:
        self.orders: dict[str, Order] = {}
        #: Why orders are refused at present (`warmup`, `stopped`), empty while they are not.
        self.refusal = ""
        self.remembered_targets: dict[str, float] = {}
        self._broker = broker
        self._portfolio = portfolio
        self._run_id = run_id
        self._position = position
        self._open: dict[str, dict[str, Order]] = {}
        self._cancelling: set[str] = set()
        self._wanted: dict[str, tuple[int, int | None]] = {}  # size and limit last asked for, in steps
        self._roundings: dict[str, dict[_Number, str]] = {}  # by order: how its numbers were rounded to the steps
        self._targets: dict[str, Order] = {}
        self._quotes: dict[tuple[str, Side], Order] = {}

    def instrument(self, instrument_id: str) -> Instrument:
        """Return an instrument of the run.

        Raises:
            OrderError: The run has no such instrument.
        """
        try:
            return self._portfolio.instruments[instrument_id]
        except KeyError:
            known = ", ".join(self._portfolio.instruments)
            raise OrderError(
                f"{instrument_id!r} is no instrument of this run; subscribe to it (there are {known})"
            ) from None

    # Calls ----------------------------------------------------------------------------------------------------

    def send(self, request: OrderRequest) -> Order:
        """Check, round and send an order.

        Raises:
            OrderError: The call could never become a valid order.
        """
        name, side = request.instrument, request.side
        instrument = self.instrument(name)
        where = f"{side} {name}"
        roundings: dict[_Number, str] = {}
        lots = self._rounded_size(instrument, request.qty, f"{where}: qty", roundings)
        ticks = self._rounded(instrument, request.price, side, f"{where}: price", roundings, is_stop=False)
        stop = self._rounded(instrument, request.stop_price, side, f"{where}: stop_price", roundings, is_stop=True)
        try:
            tif = TimeInForce(request.time_in_force)
        except ValueError:
            raise OrderError(
                f"{where}: time_in_force {request.time_in_force!r} is not known; use GTC, IOC or FOK"
            ) from None
        if request.post_only and (ticks is None or tif is not TimeInForce.GTC or stop is not None):
            raise OrderError(f"{where}: post_only needs a plain GTC limit order; give price= and no stop_price")
        order = Order(
            id=f"{self._run_id}{len(self.orders) + 1}",
            instrument=name,
            side=side,
            qty=instrument.qty(lots),
            price=None if ticks is None else instrument.price(ticks),
            stop_price=None if stop is None else instrument.price(stop),
            time_in_force=tif,
            post_only=request.post_only,
            reduce_only=request.reduce_only,
            tag=request.tag,
            note="; ".join(filter(None, roundings.values())),
            sent_ns=self._position.now_ns,
            updated_ns=self._position.now_ns,
            lots=lots,
            price_ticks=ticks,
            stop_ticks=stop,
        )
        self.orders[order.id] = order
        if self.refusal:
            _put(order, "state", OrderState.REJECTED)
            _put(order, "reason", self.refusal)
            return order
        self._open.setdefault(name, {})[order.id] = order
        self._wanted[order.id] = (lots, ticks)
        self._roundings[order.id] = roundings
        sent_ns = self._broker.submit(order, self._position.now_ns)
        _put(order, "sent_ns", sent_ns)
        _put(order, "updated_ns", sent_ns)
        return order

    @staticmethod
    def _rounded_size(instrument: Instrument, qty: float, what: str, roundings: dict[_Number, str]) -> int:
        lots = instrument.lots_floor(_positive(qty, what))
        is_on_step = instrument.qty(lots) == float(qty)
        roundings["size", lots] = (
            "" if is_on_step else f"size {plain(float(qty))} rounded to {plain(instrument.qty(lots))}"
        )
        return lots

    @staticmethod
    def _rounded(
        instrument: Instrument,
        price: float | None,
        side: Side,
        what: str,
        roundings: dict[_Number, str],
        *,
        is_stop: bool,
    ) -> int | None:
        if price is None:
            return None
        price = _positive(price, what)
        ticks = instrument.stop_ticks(price, side) if is_stop else instrument.limit_ticks(price, side)
        if ticks <= 0:
            raise OrderError(
                f"{what} {plain(price)} rounds to zero on the step {plain(instrument.price_step)}; give a larger one"
            )
        name, is_on_step = "stop" if is_stop else "price", instrument.price(ticks) == price
        roundings[name, ticks] = (
            "" if is_on_step else f"{name} {plain(price)} rounded to {plain(instrument.price(ticks))}"
        )
        return ticks

    def _note(self, order: Order) -> str:
        """Return how the numbers that an order has now were rounded."""
        roundings = self._roundings[order.id]
        numbers = (("size", order.lots), ("price", order.price_ticks), ("stop", order.stop_ticks))
        return "; ".join(filter(None, (roundings.get(number, "") for number in numbers)))

    def amend(self, order: Order, *, qty: float | None = None, price: float | None = None) -> None:
        """Send a change of an open order; a finished order stays as it is.

        Raises:
            OrderError: Neither size nor price is given, a number is not usable, or the order has no limit price.
        """
        self._own(order)
        instrument = self.instrument(order.instrument)
        if qty is None and price is None:
            raise OrderError(f"amend {order.id}: nothing to change; give qty= or price=")
        if price is not None and order.price_ticks is None:
            raise OrderError(f"amend {order.id}: a {order.type} order has no limit price to change")
        what, roundings = f"amend {order.id}", dict[_Number, str]()
        lots = None if qty is None else self._rounded_size(instrument, qty, f"{what}: qty", roundings)
        ticks = self._rounded(instrument, price, order.side, f"{what}: price", roundings, is_stop=False)
        if order.is_open and order.id not in self._cancelling and not self.refusal:
            old_lots, old_ticks = self._wanted[order.id]
            self._wanted[order.id] = (old_lots if lots is None else lots, old_ticks if ticks is None else ticks)
            self._roundings[order.id].update(roundings)
            self._broker.amend(order.id, self._position.now_ns, lots=lots, price_ticks=ticks)

    def cancel(self, order: Order) -> None:
        """Send a cancel of an open order, once."""
        self._own(order)
        if order.is_open and order.id not in self._cancelling and not self.refusal:
            self._cancelling.add(order.id)
            self._broker.cancel(order.id, self._position.now_ns)

    def _own(self, order: Order) -> None:
        if not isinstance(order, Order):
            raise OrderError(f"{order!r} is no Order; pass what buy, sell, target or quote returned")
        # An order refused in `on_start` has no id yet; it is over, and nothing can be done to it.
        if order.id and self.orders.get(order.id) is not order:
            raise OrderError(f"order {order.id} is not of this run")

    def cancel_all(self, instrument_id: str | None) -> None:
        """Send a cancel of every open order, of one instrument or of all."""
        for order in self.open_orders(instrument_id):
            self.cancel(order)

    def open_orders(self, instrument_id: str | None) -> list[Order]:
        """Return the orders that may still fill, oldest first."""
        if instrument_id is not None:
            return list(self._open.get(self.instrument(instrument_id).id, {}).values())
        found = [order for orders in self._open.values() for order in orders.values()]
        return sorted(found, key=lambda order: int(order.id[len(self._run_id) :]))

    def target(self, instrument_id: str, qty: float) -> Order | None:
        """Trade at the market toward a signed position; see `Strategy.target`.

        Raises:
            OrderError: `qty` is NaN or infinite, or the instrument unknown.
        """
        instrument = self.instrument(instrument_id)
        if not math.isfinite(qty):
            raise OrderError(f"target {instrument_id}: qty is {qty}; give a finite number")
        if self.refusal == "warmup":
            self.remembered_targets[instrument_id] = qty
            return None
        held = instrument.tradable_lots(self._portfolio.position(instrument_id).qty)
        lots = instrument.lots_floor(qty) - held
        side = Side.BUY if lots > 0 else Side.SELL
        working = self._targets.get(instrument_id)
        if working is not None and working.is_open and working.id not in self._cancelling:
            asked = self._wanted[working.id][0] - working.filled_lots
            if working.side is side and lots:
                if asked == abs(lots):
                    return None
                self.amend(working, qty=instrument.qty(working.filled_lots + abs(lots)))
                return working
            self.cancel(working)
        can_be_closed = not instrument.is_spot and held != 0 and lots == -held
        if abs(lots) < instrument.min_lots and not can_be_closed:
            return None
        order = self._targets[instrument_id] = self.send(OrderRequest(instrument_id, side, instrument.qty(abs(lots))))
        return order

    def close(self, instrument_id: str) -> Order | None:
        """Cancel the instrument's orders and close the position; see `Strategy.close`."""
        working = self._targets.get(instrument_id)
        for order in self.open_orders(instrument_id):
            if order is not working:
                self.cancel(order)
        return self.target(instrument_id, 0.0)

    def quote(
        self, instrument_id: str, *, bid: float | None, ask: float | None, qty: float
    ) -> tuple[Order | None, Order | None]:
        """Keep a post-only order on each side; see `Strategy.quote`."""
        return (
            self._quote_side(instrument_id, Side.BUY, bid, qty),
            self._quote_side(instrument_id, Side.SELL, ask, qty),
        )

    def _quote_side(self, instrument_id: str, side: Side, price: float | None, qty: float) -> Order | None:
        working = self._quotes.get((instrument_id, side))
        is_live = working is not None and working.is_open and working.id not in self._cancelling
        if price is None:
            if working is not None and is_live:
                self.cancel(working)
            return None
        if working is not None and is_live:
            instrument = self.instrument(instrument_id)
            ticks = instrument.limit_ticks(_positive(price, f"quote {instrument_id}: {side}"), side)
            lots = instrument.lots_floor(_positive(qty, f"quote {instrument_id}: qty"))
            if self._wanted[working.id] != (lots, ticks):
                self.amend(working, qty=qty, price=price)
            return working
        order = self._quotes[instrument_id, side] = self.send(
            OrderRequest(instrument_id, side, qty, price, post_only=True)
        )
        return order

    # Reports --------------------------------------------------------------------------------------------------

    def apply(self, report: Report) -> Order:
        """Apply a report and return its order, brought up to date."""
        order = self.orders[report.order_id]
        instrument = self.instrument(order.instrument)
        _put(order, "state", report.state)
        _put(order, "reason", report.reason)
        _put(order, "updated_ns", report.due_ns)
        if report.lots != order.lots:
            _put(order, "lots", report.lots)
            _put(order, "qty", instrument.qty(report.lots))
        if report.price_ticks is not None and report.price_ticks != order.price_ticks:
            _put(order, "price_ticks", report.price_ticks)
            _put(order, "price", instrument.price(report.price_ticks))
        if report.reason == "amended":
            _put(order, "note", self._note(order))
        if report.reason.startswith("amend_refused"):
            self._wanted[order.id] = (order.lots, order.price_ticks)
        elif report.reason.startswith(("cancel_refused", "cancel_unknown")):
            self._cancelling.discard(order.id)  # it may be sent once more
        if report.fill is not None:
            self._count_fill(order, instrument, report.fill.lots, report.fill.ticks)
        if not order.is_open:
            self._open[order.instrument].pop(order.id, None)
            self._cancelling.discard(order.id)
            self._wanted.pop(order.id, None)
            self._roundings.pop(order.id, None)
        return order

    @staticmethod
    def _count_fill(order: Order, instrument: Instrument, lots: int, ticks: int) -> None:
        before, total = order.filled_lots, order.filled_lots + lots
        average = instrument.price(ticks)
        if before and order.average_price is not None:
            old, new = Fraction(order.average_price), Fraction(instrument.price_decimal(ticks))
            if instrument.is_inverse:
                average = float(total / (before / old + lots / new))
            else:
                average = float((before * old + lots * new) / total)
        _put(order, "filled_lots", total)
        _put(order, "filled_qty", instrument.qty(total))
        _put(order, "average_price", average)


def _positive(number: float | Decimal, what: str) -> float:
    """Return a finite number above zero as a float.

    Raises:
        OrderError: It is not one.
    """
    try:
        value = float(number)
    except (TypeError, ValueError):
        raise OrderError(f"{what} is {number!r}, which is no number") from None
    if not (math.isfinite(value) and value > 0):
        raise OrderError(f"{what} is {value}; give a finite number above zero")
    return value
