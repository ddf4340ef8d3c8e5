"""What every market of an instrument is: its working orders, their last price, and whom it tells of executions."""

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.price_band import PriceBand
from quantkit.brokers.simulated.triggers import Trigger, WatchedPrices, band_of
from quantkit.brokers.simulated.venue_gate import SELF_TRADE, VenueGate
from quantkit.instruments import Instrument, Side
from quantkit.orders import OrderState, TriggerType


class ExecutionListener(Protocol):
    """Takes a market's events; the account behind it may allow less than the market offers."""

    def fill(self, order: ExchangeOrder, lots: int, ticks: int, *, is_maker: bool, at_ns: int, why: str) -> None:
        """Book an execution; what the account cannot hold is cut off and cancelled."""
        ...

    def size(self, order: ExchangeOrder, ticks: int, at_ns: int) -> bool:
        """Give an order that travels with money its size at a price, or end it; return whether it goes on."""
        ...

    def may_fill(self, order: ExchangeOrder, ticks: int) -> bool:
        """Whether the account can have all that is open of an order that takes, at a price."""
        ...

    def set_off(self, order: ExchangeOrder, at_ns: int) -> bool:
        """Judge an order that has gone off by the exchange's rules; return whether it goes on."""
        ...

    def cancel(self, order: ExchangeOrder, reason: str, at_ns: int) -> None:
        """End an order that the market will not keep."""
        ...

    def reject(self, order: ExchangeOrder, reason: str, at_ns: int) -> None:
        """Refuse an order on arrival."""
        ...

    def report(self, order: ExchangeOrder, state: OrderState, reason: str, at_ns: int) -> None:
        """Tell of an order's new state."""
        ...


class Market(ABC):
    """One instrument's working orders, in arrival order, and the rules that fill them.

    Attributes:
        fills_at_opens: Whether market orders fill at the open of a candle, so that their cost is known to the cent.
        venue: The exchange's order rules; None where none apply.
    """

    fills_at_opens: ClassVar[bool] = False

    def __init__(self, instrument: Instrument, listener: ExecutionListener) -> None:
        self.instrument = instrument
        self.orders: list[ExchangeOrder] = []
        self.venue: VenueGate | None = None
        self._last_price: float | None = None
        self._last: tuple[int, int] | None = None  # the steps below and above it
        self._listener = listener
        #: The mark price and the index; None where the run has none.
        self.watched: WatchedPrices | None = None

    @property
    def last_price(self) -> float | None:
        """The last traded price, None before the first."""
        return self._last_price

    def see(self, price: float | None) -> None:
        """Take note of the last traded price; whoever skips rows tells it before orders arrive."""
        self._last_price = price
        self._last = None if price is None else self.instrument.ticks_around(price)

    def use(self, instrument: Instrument) -> None:
        """Use other steps from now on; the grid stays the same."""
        self.instrument = instrument
        self.see(self._last_price)
        for trigger in self._waiting_triggers():
            trigger.use(instrument.ticks_per_step)

    # Triggers -------------------------------------------------------------------------------------------------------

    def is_watching(self, type_: TriggerType) -> bool:
        """Whether an order waits for prices of a type."""
        return any(trigger.type is type_ for trigger in self._waiting_triggers())

    def mark_bands(self) -> dict[TriggerType, PriceBand]:
        """Return the bands of mark and index prices in which no row sets an order off; empty if none waits for one."""
        waiting, per_step = self._waiting_triggers(), self.instrument.ticks_per_step
        if all(trigger.type is TriggerType.LAST for trigger in waiting):
            return {}
        tick = float(self.instrument.tick)
        marks = TriggerType.MARK, TriggerType.INDEX
        return {type_: band_of(waiting, type_, per_step=per_step, tick=tick) for type_ in marks}

    def on_mark(self, type_: TriggerType, price: float, at_ns: int) -> None:
        """Let a mark or index price set orders off, which count as arrived with it."""
        low, high = self.instrument.ticks_around(price)
        for order in tuple(self.orders):
            trigger = order.trigger
            if trigger is None or trigger.type is not type_ or order.is_triggered or order.arrived_ns > at_ns:
                continue
            if not order.state.is_final and trigger.meets(low, high):
                order.arrived_ns = at_ns
                if self._go_off(order, at_ns):
                    self._set_off(order, at_ns)

    def _go_off(self, order: ExchangeOrder, at_ns: int) -> bool:
        """Let an order work from now on, behind those that do so already; return whether the exchange lets it."""
        order.is_triggered = True
        self.orders.remove(order)
        self.orders.append(order)
        return self.venue is None or self._listener.set_off(order, at_ns)

    def _waiting_triggers(self) -> list[Trigger]:
        return [order.trigger for order in self.orders if order.trigger is not None and not order.is_triggered]

    def _is_set_off(self, trigger: Trigger) -> bool:
        """Return whether the price that stands sets off an order that comes in."""
        trigger.use(self.instrument.ticks_per_step)
        if trigger.type is TriggerType.LAST:
            around = self._standing(trigger)
        else:
            assert self.watched is not None
            price = self.watched.standing(trigger.type)
            around = None if price is None else self.instrument.ticks_around(price)
        return around is not None and trigger.meets(*around)

    def _standing(self, trigger: Trigger) -> tuple[int, int] | None:
        """Return the last price as it sets orders off: the steps below and above it, None before the first."""
        return self._last

    @abstractmethod
    def _set_off(self, order: ExchangeOrder, at_ns: int) -> None:
        """Begin with an order that a price other than this market's own has set off."""

    # Orders ---------------------------------------------------------------------------------------------------------

    @abstractmethod
    def arrive(self, order: ExchangeOrder, at_ns: int) -> None:
        """Judge an order against the market as it stands and keep, fill, refuse or cancel it."""

    def requeue(self, order: ExchangeOrder, at_ns: int) -> None:
        """Put an order whose price changed or size grew at the back, judged anew."""
        self.orders.remove(order)
        order.is_taking = False
        self._enter(order, at_ns)

    def remove(self, order: ExchangeOrder) -> None:
        """Remove a finished order; an order that never entered is ignored."""
        if order in self.orders:
            self.orders.remove(order)

    def crosses(self, order: ExchangeOrder, limit_ticks: int) -> bool:
        """Whether a limit would take at once, since the last price is strictly better."""
        if self._last is None:
            return False
        low, high = self._last
        return high < limit_ticks if order.is_buy else low > limit_ticks

    def post_only_refusal(self, order: ExchangeOrder, limit_ticks: int | None) -> str:
        """Return why a post-only order may not have a limit, empty if it may."""
        would_take = limit_ticks is not None and (
            self.crosses(order, limit_ticks) or (self.venue is not None and self.own_at(order, limit_ticks) is not None)
        )
        return "post_only_would_take" if would_take else ""

    # Self-trade prevention --------------------------------------------------------------------------------------

    def own_at(self, order: ExchangeOrder, ticks: int) -> ExchangeOrder | None:
        """Return the resting order of ours on the other side that is met first up to a price, None without one."""
        sign, first, found = order.side.sign, ticks * order.side.sign, None
        for other in self.orders:
            if other.is_buy is order.is_buy or other.limit_ticks is None or not self.rests(other):
                continue
            price = other.limit_ticks * sign  # the smaller, the better for whoever takes
            if price < first or (price == first and found is None):
                first, found = price, other
        return found

    def rests(self, order: ExchangeOrder) -> bool:
        """Whether an order stands in the exchange's book."""
        return not order.is_waiting and not order.is_taking and not order.state.is_final

    def prevent(self, taker: ExchangeOrder, maker: ExchangeOrder, at_ns: int) -> None:
        """End one of two orders of ours that meet, or both, by the mode of the run."""
        assert self.venue is not None
        if self.venue.stp_mode != "cancel_taker":
            self._listener.cancel(maker, SELF_TRADE, at_ns)
        if self.venue.stp_mode != "cancel_maker":
            self._listener.cancel(taker, SELF_TRADE, at_ns)

    def meet_own(self, taker: ExchangeOrder, ticks: int, at_ns: int) -> None:
        """Let an order meet all orders of ours up to a price, as far as it lives."""
        while not taker.state.is_final and (maker := self.own_at(taker, ticks)) is not None:
            self.prevent(taker, maker, at_ns)

    def reference_ticks(self, side: Side) -> int | None:
        """Return the price by which an order without a limit is valued on arrival, None before the first.

        Here it is the last price as it counts for an order: at the step that is worse for it.
        """
        return None if self._last is None else self._last[side is Side.BUY]

    def opening_ticks(self, order: ExchangeOrder) -> int | None:
        """Return what a market order would fill at in the open that is being applied, None while there is none."""
        return None

    @abstractmethod
    def band(self) -> PriceBand:
        """Return the band of prices in which no row can concern the orders here."""

    @abstractmethod
    def _enter(self, order: ExchangeOrder, at_ns: int) -> None:
        """Put an order among the working ones and let it do what it can at once."""
