"""Large orders in small parts, built on plain orders and timers: an iceberg, and equal slices over time."""

import operator
from abc import ABC, abstractmethod

from quantkit.clock import duration_ns
from quantkit.errors import OrderError
from quantkit.instruments import Side, literal
from quantkit.orders import Order, OrderState, TimeInForce
from quantkit.strategy import Strategy


class PartedOrder(ABC):
    """An order that is sent in parts.

    It sends its first part when it is made, and the next ones by itself: the run tells it of its parts and timers,
    before the strategy's own hooks. No more than `qty` is ever filled and open together.

    Args:
        strategy: The strategy that sends it.
        instrument: Its id.
        side: `buy` or `sell`.
        qty: The whole size, in the instrument's unit, rounded toward zero to its step.
        price: Limit of every part.
        reduce_only: Whether no part may grow or flip the position.
        position_side: `long` or `short`, where a contract has both positions.
        tag: Kept with every part.

    Attributes:
        orders: The parts sent so far.
        is_over: Whether no further part will be sent.
        reason: Why a part ended unfilled, or `requested` after a cancel; empty otherwise.

    Raises:
        OrderError: A size is no finite number above zero, or an unknown side or instrument.
    """

    def __init__(
        self,
        strategy: Strategy,
        instrument: str,
        side: str,
        qty: float,
        *,
        price: float | None = None,
        reduce_only: bool = False,
        position_side: str = "",
        tag: str = "",
    ) -> None:
        try:
            self.side = Side(side)
        except ValueError:
            raise OrderError(f"{type(self).__name__}: side {side!r} is not known; use buy or sell") from None
        self.instrument = instrument
        self.price = price
        self.reduce_only = reduce_only
        self.position_side = position_side
        self.tag = tag
        self.orders: list[Order] = []
        self.is_over = False
        self.reason = ""
        self._strategy = strategy
        self._lots = self._lots_of(qty, "qty")

    def _lots_of(self, qty: float, what: str) -> int:
        """Return a size in lots.

        Raises:
            OrderError: It is no finite number above zero, or less than a step.
        """
        try:
            lots = self._strategy.instrument_info(self.instrument).lots_floor(float(qty))
        except (TypeError, ValueError, OrderError):
            lots = 0
        if lots <= 0:
            raise OrderError(
                f"{type(self).__name__} {self.instrument}: {what} is {literal(qty)}; give a number of at least one step"
            )
        return lots

    @property
    def qty(self) -> float:
        """The whole size on its step."""
        return self._strategy.instrument_info(self.instrument).qty(self._lots)

    @property
    def filled_qty(self) -> float:
        """Reported fills of all parts."""
        return self._strategy.instrument_info(self.instrument).qty(sum(order.filled_lots for order in self.orders))

    @property
    def open_orders(self) -> list[Order]:
        """The parts that may still fill."""
        return [order for order in self.orders if order.is_open]

    def cancel(self) -> None:
        """Send no further part, and cancel those that are open; they may still fill until the cancel has arrived."""
        if not self.is_over:
            self._end("requested")
        for order in self.open_orders:
            self._strategy.cancel(order)

    def _end(self, reason: str) -> None:
        self.is_over, self.reason = True, reason

    @property
    def _left(self) -> int:
        """Lots neither filled nor open."""
        return self._lots - sum(order.lots if order.is_open else order.filled_lots for order in self.orders)

    def _send(self, lots: int, *, post_only: bool = False, time_in_force: str = TimeInForce.GTC) -> None:
        call = self._strategy.buy if self.side is Side.BUY else self._strategy.sell
        qty = self._strategy.instrument_info(self.instrument).qty(lots)
        order = call(
            self.instrument,
            qty,
            price=self.price,
            post_only=post_only,
            reduce_only=self.reduce_only,
            time_in_force=time_in_force,
            position_side=self.position_side,
            tag=self.tag,
        )
        self.orders.append(order)
        if not order.is_open:
            self._end(order.reason)  # orders are refused at present, and nobody will tell of this one

    # Told by the run ------------------------------------------------------------------------------------------

    def on_order(self, order: Order) -> None:
        """Take in the news of an order; only the end of a part is of any interest."""
        if not order.is_open and any(order is part for part in self.orders):
            self._part_ended(order)

    def on_timer(self, name: str) -> None:  # noqa: B027
        """Take in the moment of the next part."""

    @abstractmethod
    def _part_ended(self, order: Order) -> None:
        """Go on after the end of a part."""


class Iceberg(PartedOrder):
    """A limit order of which no more than `shown_qty` is displayed at a time.

    The next part is sent once the one before is reported filled; it stands at the back of the queue. A part that is
    refused or cancelled ends the whole. A rest below the smallest order is not left over where smaller parts avoid it.

    Args:
        strategy, instrument, side, qty, price, reduce_only, position_side, tag: As in `PartedOrder`.
        shown_qty: The largest part.
        post_only: Whether a part is refused if it would take on arrival.

    Raises:
        OrderError: A number is not usable, or `shown_qty` is below the smallest order.
    """

    def __init__(
        self,
        strategy: Strategy,
        instrument: str,
        side: str,
        qty: float,
        *,
        price: float,
        shown_qty: float,
        post_only: bool = False,
        reduce_only: bool = False,
        position_side: str = "",
        tag: str = "",
    ) -> None:
        super().__init__(
            strategy,
            instrument,
            side,
            qty,
            price=price,
            reduce_only=reduce_only,
            position_side=position_side,
            tag=tag,
        )
        if price is None:
            raise OrderError(f"Iceberg {instrument}: price is None; give a limit, for a market order displays nothing")
        self._shown = self._lots_of(shown_qty, "shown_qty")
        self._post_only = post_only
        least = strategy.instrument_info(instrument).min_lots
        if self._shown < least:
            raise OrderError(f"Iceberg {instrument}: shown_qty is below the smallest order; give more")
        strategy.follow(self)
        self._send_next()

    def _part_ended(self, order: Order) -> None:
        """Send the next part once this one is filled; end with one that ends otherwise."""
        if order.state is OrderState.FILLED:
            self._send_next()
        else:
            self._end(order.reason)

    def _send_next(self) -> None:
        left = self._left
        if left <= 0:
            self._end("")
            return
        instrument = self._strategy.instrument_info(self.instrument)
        lots, least = min(left, self._shown), instrument.min_lots
        if 0 < left - lots < least <= left - least:
            lots = left - least
        lots = instrument.whole_lots(lots)
        if lots < least:
            self._end("below_min_qty")
        else:
            self._send(lots, post_only=self._post_only)


class Twap(PartedOrder):
    """Equal slices at equal distances in time: market orders, or IOC orders with a limit.

    The first slice is sent at once, the last one a slice's time before the end of `over`. Each brings what is filled
    and open up to an even pace: what a slice did not fill, or was too small to be sent, comes with the next one. What
    the last one leaves is left.

    Args:
        strategy, instrument, side, qty, reduce_only, position_side, tag: As in `PartedOrder`.
        price: Limit of every slice; None for market orders.
        over: The time that all slices take, such as `10m`.
        slices: How many.

    Raises:
        OrderError: A number is not usable.
    """

    def __init__(
        self,
        strategy: Strategy,
        instrument: str,
        side: str,
        qty: float,
        *,
        over: str,
        slices: int,
        price: float | None = None,
        reduce_only: bool = False,
        position_side: str = "",
        tag: str = "",
    ) -> None:
        super().__init__(
            strategy,
            instrument,
            side,
            qty,
            price=price,
            reduce_only=reduce_only,
            position_side=position_side,
            tag=tag,
        )
        over_ns = duration_ns(over)
        try:
            self._slices = operator.index(slices)
        except TypeError:
            self._slices = 0
        if not 1 <= self._slices <= over_ns:
            raise OrderError(f"Twap {instrument}: slices is {slices!r}; give a whole number of at least 1")
        self._over_ns = over_ns
        self._start_ns = strategy.now
        self._sent = 0  # slices whose moment has come
        self._timer = strategy.follow(self)
        self._send_slice()

    def on_timer(self, name: str) -> None:
        """Send the next slice."""
        self._send_slice()

    def _part_ended(self, order: Order) -> None:
        """End with the last slice."""
        if order.filled_lots < order.lots:
            self.reason = order.reason
        self._end_if_last()

    def _send_slice(self) -> None:
        self._sent += 1
        instrument = self._strategy.instrument_info(self.instrument)
        due = self._lots * self._sent // self._slices
        lots = instrument.whole_lots(max(0, due - (self._lots - self._left)))
        rest = self._lots - due
        if lots >= instrument.min_lots and not 0 < rest < instrument.min_lots:
            self._send(lots, time_in_force=TimeInForce.GTC if self.price is None else TimeInForce.IOC)
        if self._sent < self._slices and not self.is_over:
            self._strategy.at(self._start_ns + self._over_ns * self._sent // self._slices, self._timer)
        self._end_if_last()

    def _end_if_last(self) -> None:
        if self._sent == self._slices and not self.open_orders:
            self.is_over = True
