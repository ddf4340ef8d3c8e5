"""How orders fill on traded prices alone: trades, or candles. Displayed books are in `displayed.py`.

An order fills whole, in arrival order, and never by a row that the exchange stamped before the order arrived.

Taking. A market order fills at the next price. A limit that is beyond the last price when it arrives (a buy above it, a
sell below it; touching is not crossing) fills at the next price if that is beyond its limit too, else it rests. An IOC
or FOK limit that is not beyond the last price on arrival, or whose next price is not beyond it, is cancelled.

Resting. Filled at the limit by a trade, or a candle's range, beyond the limit; a touch fills nothing (with
`touch=True` an opposite-aggressor trade at the limit fills at most its size, shared in arrival order).

Candles are seen twice: the open at `open_ns`, the range at `close_ns`. At the open: market orders fill, resting
orders that the open is already beyond fill at the open. A market buy on spot is paid at that open, whole or not at
all. In the range: stops first, then limits, those that had arrived by the open. What arrives later waits for the next
candle, and so does a market order that arrives at the open itself but after it has filled others.

Stops trigger on a touch. On trades a triggered stop takes the next trade. In a candle it fills at the stop, or at the
open if that gapped beyond. A stop-limit whose trigger price is not beyond its limit rests until the next candle.

A price off the step counts for an order at the step that is worse for it: a buy takes it, or is passed by it, at the
step above, a sell at the step below. It sets a stop off only where it has really reached it.

Whoever takes fills the stated slippage worse than the traded price, which also stands for half a spread.

Ignored: queue position, volume (fills are not capped by it), market impact, the path of price inside a candle.
"""

from abc import ABC, abstractmethod
from decimal import Decimal
from typing import ClassVar, NamedTuple, Protocol

from quantkit.brokers.simulated.gates import OPEN_BAND, SHUT_BAND, PriceBand
from quantkit.instruments import Instrument, Side
from quantkit.orders import Order, OrderState, TimeInForce


class Lock(NamedTuple):
    """Spot funds kept for an order.

    Attributes:
        currency: What is kept: coins for a sale, money for a purchase.
        ticks: The price at which a purchase is counted, 0 for a sale.
        per_lot: What each open size step keeps.
        fee_per_lot: What each adds to the fees of the fills where the order has a fee of its own; else None.
    """

    currency: str
    ticks: int
    per_lot: Decimal
    fee_per_lot: Decimal | None


class ExchangeOrder:
    """An order as the exchange holds it.

    Attributes:
        fees_of_fills, fees_paid: What its fills cost so far, without and with the order's own part.
        ahead: Displayed size steps that stand before it in the queue; None while unknown (displayed books).
        is_taking: Waits for the next price to take it, instead of resting.
        is_triggered: Whether a stop has become a market or limit order.
        only_closes: Whether the account carries no more than the closing of its contract position.
        open_lots: What the account counts it as that may still add.
        reported_ns: When the latest news of it is due.
    """

    __slots__ = (
        "ahead",
        "arrived_ns",
        "fees_of_fills",
        "fees_paid",
        "filled",
        "id",
        "instrument",
        "is_buy",
        "is_taking",
        "is_triggered",
        "limit",
        "lock",
        "lots",
        "only_closes",
        "open_lots",
        "post_only",
        "reduce_only",
        "reported_ns",
        "sent_ns",
        "side",
        "state",
        "stop",
        "tag",
        "tif",
    )

    def __init__(self, order: Order) -> None:
        self.id = order.id
        self.instrument = order.instrument
        self.side = order.side
        self.is_buy = order.side is Side.BUY
        self.lots = order.lots
        self.filled = 0
        self.limit = order.price_ticks
        self.stop = order.stop_ticks
        self.tif = order.time_in_force
        self.post_only = order.post_only
        self.reduce_only = order.reduce_only
        self.tag = order.tag
        self.state = OrderState.PENDING
        self.sent_ns = order.sent_ns
        self.arrived_ns = 0
        self.ahead: int | None = None
        self.is_taking = False
        self.is_triggered = order.stop_ticks is None
        self.lock: Lock | None = None
        self.fees_of_fills = self.fees_paid = Decimal(0)
        self.only_closes = False
        self.open_lots = 0
        self.reported_ns = 0

    @property
    def left(self) -> int:
        """Size steps still open."""
        return self.lots - self.filled

    @property
    def is_final(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.state.is_final

    @property
    def waiting_stop(self) -> int | None:
        """The stop price while it has not been set off."""
        return None if self.is_triggered else self.stop

    def allows(self, ticks: int) -> bool:
        """Whether a fill at `ticks` is within the limit."""
        return self.limit is None or (ticks <= self.limit if self.is_buy else ticks >= self.limit)

    def is_beyond(self, ticks: int) -> bool:
        """Whether `ticks` is strictly better than the limit, so that the market went through it."""
        assert self.limit is not None
        return ticks < self.limit if self.is_buy else ticks > self.limit

    def triggers_at(self, ticks: int) -> bool:
        """Whether a price of `ticks` sets the stop off."""
        assert self.stop is not None
        return ticks >= self.stop if self.is_buy else ticks <= self.stop


class ExecutionListener(Protocol):
    """Takes a market's events; the account behind it may allow less than the market offers."""

    def filled(self, order: ExchangeOrder, lots: int, ticks: int, *, is_maker: bool, at_ns: int, why: str) -> None:
        """Book an execution; what the account cannot hold is cut off and cancelled."""
        ...

    def cancelled(self, order: ExchangeOrder, reason: str, at_ns: int) -> None:
        """End an order that the market will not keep."""
        ...

    def rejected(self, order: ExchangeOrder, reason: str, at_ns: int) -> None:
        """Refuse an order on arrival."""
        ...

    def report(self, order: ExchangeOrder, state: OrderState, reason: str, at_ns: int) -> None:
        """Tell of an order's new state."""
        ...


class Market(ABC):
    """One instrument's working orders, in arrival order, and the rules that fill them.

    Attributes:
        fills_at_opens: Whether market orders fill at the open of a candle, so that their cost is known to the cent.
        opening: That open, while orders that have arrived by it are judged.
    """

    fills_at_opens: ClassVar[bool] = False
    opening: float | None = None

    def __init__(self, instrument: Instrument, listener: ExecutionListener) -> None:
        self.instrument = instrument
        self.orders: list[ExchangeOrder] = []
        self._last_price: float | None = None
        self._last: tuple[int, int] | None = None  # the steps below and above it
        self._listener = listener

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

    def _last_for(self, side: Side) -> int | None:
        """Return the last price as it counts for an order: at the step that is worse for it."""
        return None if self._last is None else self._last[side is Side.BUY]

    def _last_reached_by(self, side: Side) -> int | None:
        """Return the last price as it sets a stop off: at the step that it has really reached."""
        return None if self._last is None else self._last[side is Side.SELL]

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

    def crosses(self, order: ExchangeOrder, limit: int) -> bool:
        """Whether a limit would take at once, since the last price is strictly better: post-only is judged by this."""
        if self._last is None:
            return False
        low, high = self._last
        return high < limit if order.is_buy else low > limit

    @abstractmethod
    def reference_ticks(self, side: Side) -> int | None:
        """Return the price by which an order without a limit is valued on arrival, None before the first."""

    def opening_ticks(self, order: ExchangeOrder) -> int | None:
        """Return what a market order would fill at in the open that is being applied, None while there is none."""
        return None

    @abstractmethod
    def band(self) -> PriceBand:
        """Return the band of prices in which no row can concern the orders here."""

    @abstractmethod
    def _enter(self, order: ExchangeOrder, at_ns: int) -> None:
        """Put an order among the working ones and let it do what it can at once."""


class PriceMarket(Market):
    """The common rules of trades and candles: orders are judged against the last price.

    Args:
        touch: Whether a trade at the limit of a resting order fills it.
        slippage_bps: How much worse than the traded price an order that takes fills, within its limit.
    """

    def __init__(
        self, instrument: Instrument, listener: ExecutionListener, *, touch: bool = False, slippage_bps: float = 0.0
    ) -> None:
        super().__init__(instrument, listener)
        self.touch = touch
        self._slippage = slippage_bps

    def arrive(self, order: ExchangeOrder, at_ns: int) -> None:
        if order.post_only and order.limit is not None and order.is_triggered and self.crosses(order, order.limit):
            self._listener.rejected(order, "post_only_would_take", at_ns)
            return
        self._listener.report(order, OrderState.ACCEPTED, "", at_ns)
        self._enter(order, at_ns)

    def reference_ticks(self, side: Side) -> int | None:
        return None if self._last is None else self._last[side is Side.BUY]

    def _enter(self, order: ExchangeOrder, at_ns: int) -> None:
        self.orders.append(order)
        if not order.is_triggered:
            last = self._last_reached_by(order.side)
            order.is_triggered = last is not None and order.triggers_at(last)
        if order.is_triggered:
            self._settle_in(order, at_ns)

    def _settle_in(self, order: ExchangeOrder, at_ns: int) -> None:
        """Decide whether an active order takes the next price or rests."""
        order.is_taking = order.limit is None or self.crosses(order, order.limit)
        if not order.is_taking and order.tif is not TimeInForce.GTC:
            self._listener.cancelled(order, f"{order.tif.lower()}_unfilled", at_ns)

    def _take(self, order: ExchangeOrder, price: float, ticks: int, at_ns: int, source: str) -> None:
        """Fill a taking order at a traded price, or let it rest or end where that is not beyond its limit.

        `ticks` is the price as it counts for the order.
        """
        if order.limit is None or order.is_beyond(ticks):
            if self._slippage:
                ticks = self._taken_at(order, price)
            self._listener.filled(order, order.lots - order.filled, ticks, is_maker=False, at_ns=at_ns, why=source)
        elif order.tif is TimeInForce.GTC:
            order.is_taking = False
        else:
            self._listener.cancelled(order, f"{order.tif.lower()}_unfilled", at_ns)

    def _taken_at(self, order: ExchangeOrder, price: float) -> int:
        """Return a traded price made worse by the stated slippage, within the order's limit."""
        if not self._slippage:
            return self.instrument.market_ticks(price, order.side)
        worse = price * (1 + order.side.sign * self._slippage / 10_000)
        ticks = max(self.instrument.market_ticks(worse, order.side), self.instrument.ticks_per_step)
        if order.limit is None:
            return ticks
        return min(ticks, order.limit) if order.is_buy else max(ticks, order.limit)

    def band(self) -> PriceBand:
        if not self.orders:
            return OPEN_BAND
        # Half a step beside a level is hit by every price that rounds to it; a hundredth more forgives float noise.
        low, high = float("-inf"), float("inf")
        per_step = self.instrument.ticks_per_step
        beside = (0.51 if self.touch else -0.49) * per_step
        for order in self.orders:
            if order.is_triggered and order.is_taking:
                return SHUT_BAND
            if order.is_triggered:
                assert order.limit is not None
                if order.is_buy:
                    low = max(low, order.limit + beside)
                else:
                    high = min(high, order.limit - beside)
            else:
                assert order.stop is not None
                if order.is_buy:
                    high = min(high, order.stop - 0.51 * per_step)
                else:
                    low = max(low, order.stop + 0.51 * per_step)
        tick = float(self.instrument.tick)
        return PriceBand(low * tick, high * tick)


class TradeMarket(PriceMarket):
    """Orders matched on public trades alone."""

    def on_trade(self, price: float, qty: float, side: Side, at_ns: int) -> None:
        """Let one public trade fill what it can."""
        self._last_price = price
        low, high = self._last = self.instrument.ticks_around(price)
        shared = self.instrument.lots_floor(qty) if self.touch else 0
        for order in tuple(self.orders):
            if order.arrived_ns > at_ns or order.state.is_final:
                continue
            ticks, reached = (high, low) if order.is_buy else (low, high)
            if not order.is_triggered:
                if order.triggers_at(reached):
                    order.is_triggered = True
                    self._settle_in(order, at_ns)
            elif order.is_taking:
                self._take(order, price, ticks, at_ns, "next trade")
            elif order.is_beyond(ticks):
                assert order.limit is not None
                why = f"trade at {price} beyond the limit"
                self._listener.filled(order, order.left, order.limit, is_maker=True, at_ns=at_ns, why=why)
            elif self.touch and ticks == order.limit and side is not order.side and shared:
                lots = min(order.left, shared)
                shared -= lots
                self._listener.filled(order, lots, ticks, is_maker=True, at_ns=at_ns, why="trade at the limit")


class CandleMarket(PriceMarket):
    """Orders matched on candles alone."""

    fills_at_opens = True

    def opening_ticks(self, order: ExchangeOrder) -> int | None:
        return None if self.opening is None else self._taken_at(order, self.opening)

    def on_open(self, price: float, at_ns: int) -> None:
        """Let a candle's open fill market orders, gapped stops and limits it is already beyond."""
        self._last_price = price
        low, high = self._last = self.instrument.ticks_around(price)
        for order in tuple(self.orders):
            if order.arrived_ns > at_ns or order.state.is_final:
                continue
            ticks, reached = (high, low) if order.is_buy else (low, high)
            if not order.is_triggered:
                if order.triggers_at(reached):
                    self._trigger(order, price, ticks, at_ns, "candle open beyond the stop")
            elif order.is_taking:
                self._take(order, price, ticks, at_ns, "candle open")
            elif order.is_beyond(ticks):
                why = "candle open beyond the limit"
                self._listener.filled(order, order.left, ticks, is_maker=True, at_ns=at_ns, why=why)

    def on_range(self, open_: float, high: float, low: float, close: float, at_ns: int, *, open_ns: int) -> None:
        """Let a candle's range trigger stops, then fill the limits that were there from its open on.

        An order that arrived within the candle waits for the next one: the range may lie before its arrival.
        """
        around = self.instrument.ticks_around
        # Each as (step below, step above).
        opens, lows, highs = around(open_), around(low), around(high)
        resting = [order for order in self.orders if order.is_triggered]
        for order in tuple(self.orders):
            if order.arrived_ns <= open_ns and not order.is_triggered and not order.is_final:
                assert order.stop is not None
                if order.triggers_at(opens[0] if order.is_buy else opens[1]):
                    self._trigger(order, open_, opens[order.is_buy], at_ns, "candle open beyond the stop")
                elif order.triggers_at(highs[0] if order.is_buy else lows[1]):
                    price = self.instrument.price(order.stop)
                    self._trigger(order, price, order.stop, at_ns, "candle range reached the stop")
        for order in resting:
            if order.arrived_ns > open_ns or order.is_final or order.limit is None:
                continue
            if order.is_taking:
                self._take(order, open_, opens[order.is_buy], at_ns, "candle open")
            if order in self.orders and not order.is_taking and order.is_beyond(lows[1] if order.is_buy else highs[0]):
                why = "candle range beyond the limit"
                self._listener.filled(order, order.left, order.limit, is_maker=True, at_ns=at_ns, why=why)
        self.see(close)

    def _trigger(self, order: ExchangeOrder, price: float, ticks: int, at_ns: int, why: str) -> None:
        order.is_triggered = True
        self._take(order, price, ticks, at_ns, why)
