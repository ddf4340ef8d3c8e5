"""How orders fill on traded prices alone: trades, or candles. Displayed books are in `displayed.py`.

An order fills whole, in arrival order, and never by a row that the exchange stamped before the order arrived.

Taking. A market order fills at the next price. A limit that is beyond the last price when it arrives (a buy above it, a
sell below it; touching is not crossing) fills at the next price if that is beyond its limit too, else it rests. An IOC
or FOK limit that is not beyond the last price on arrival, or whose next price is not beyond it, is cancelled.

Resting. Filled at the limit by a trade, or a candle's range, beyond the limit; without `own_side_prints` the trade has
to be one by the other side. A touch fills nothing (with `touch=True` an opposite-aggressor trade at the limit fills at
most its size, shared in arrival order).

Candles are seen twice: the open at `open_ns`, the range at `close_ns`. At the open: market orders fill, resting
orders that the open is already beyond fill at the open. A market buy on spot is paid at that open, whole or not at
all. In the range: stops first, then limits, those that had arrived by the open. What arrives later waits for the next
candle, and so does a market order that arrives at the open itself but after it has filled others. One that waits so
holds its OCO group: the others fill nothing before it.

Triggers go off on a touch. On trades a triggered order takes the next trade. In a candle it fills at the trigger, or at
the open if that gapped beyond; what the open sets off as it arrives there takes that open. The stop of a limit that
filled within the range goes off by it, if that has come so far: the price went through the limit first. A stop-limit
whose trigger price is not beyond its limit rests until the next candle; a take-profit limit rests from there on, for
the price was at the trigger before it was beyond the limit.

A price off the step counts for an order at the step that is worse for it: a buy takes it, or is passed by it, at the
step above, a sell at the step below. It sets a stop off only where it has really reached it.

With `max_share` all that one row fills is at most that share of its volume, in whole size steps. An open counts by the
volume of the last candle before it, and what it filled counts against the range of its own candle. What is left of a
market order or a stop goes on with the next price; of a limit it rests, for a limit takes once; of an IOC order it is
cancelled. Once the market has been beyond a limit, what is left of it fills at the limit, at opens too. A FOK order
that the share does not fill whole is cancelled. A row of unknown volume caps nothing.

Whoever takes fills the stated slippage worse than the traded price: see `quantkit/slippage.py`.

Ignored: queue position, volume without `max_share`, market impact, the path of price inside a candle.
"""

from typing import NamedTuple, TypeAlias

from quantkit.brokers.simulated.closed_bars import CandleBars, ClosedBars, TradeBars
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.market import ExecutionListener, Market
from quantkit.brokers.simulated.price_band import AT_LEVEL, OPEN_BAND, PAST_LEVEL, SHUT_BAND, PriceBand
from quantkit.brokers.simulated.triggers import Trigger
from quantkit.instruments import Instrument, Side
from quantkit.orders import OrderState, TimeInForce, TriggerType
from quantkit.slippage import NOTHING_KNOWN, Slippage

#: A candle's open, and the steps below and above its open, low and high.
_Path: TypeAlias = tuple[float, tuple[int, int], tuple[int, int], tuple[int, int]]


class _Entry(NamedTuple):
    """A fill of a resting limit within a candle.

    Attributes:
        at_ns: When it was, by the matching clock.
        ticks: The limit.
        reached: The steps below and above the furthest price that came after it.
    """

    at_ns: int
    ticks: int
    reached: tuple[int, int]


class PriceMarket(Market):
    """The common rules of trades and candles: orders are judged against the last price.

    Args:
        touch: Whether a trade at the limit of a resting order fills it.
        slippage: How much worse than the traded price an order that takes fills, within its limit; None: not at all.
        past: What the slippage, and the share of an open, go by; whoever skips rows keeps it up to date. None: neither
            looks back.
        max_share: What of a row's volume fills orders at most; None for all that they ask for.
    """

    def __init__(
        self,
        instrument: Instrument,
        listener: ExecutionListener,
        *,
        touch: bool = False,
        slippage: Slippage | None = None,
        past: ClosedBars | None = None,
        max_share: float | None = None,
    ) -> None:
        super().__init__(instrument, listener)
        self.touch = touch
        self.past = past
        self._max_share = max_share
        self._slippage = slippage
        self._allowed: int | None = None  # size steps that the present row may still fill; None: as many as wanted

    def arrive(self, order: ExchangeOrder, at_ns: int) -> None:
        if order.post_only and order.is_triggered:
            refusal = self.post_only_refusal(order, order.limit_ticks)
            if refusal:
                self._listener.reject(order, refusal, at_ns)
                return
        self._listener.report(order, OrderState.ACCEPTED, "", at_ns)
        self._enter(order, at_ns)

    def _enter(self, order: ExchangeOrder, at_ns: int) -> None:
        self.orders.append(order)
        if not order.is_triggered:
            assert order.trigger is not None
            if not self._is_set_off(order.trigger) or not self._go_off(order, at_ns):
                return
        self._settle_in(order, at_ns)

    def _set_off(self, order: ExchangeOrder, at_ns: int) -> None:
        self._settle_in(order, at_ns)

    def _settle_in(self, order: ExchangeOrder, at_ns: int) -> None:
        """Decide whether an active order takes the next price or rests."""
        order.is_passed = False
        order.is_taking = order.limit_ticks is None or self.crosses(order, order.limit_ticks)
        if self.venue is not None and not order.is_taking:
            self._meet_own_at_limit(order, at_ns)
            if order.state.is_final:
                return
        if not order.is_taking and not order.tif.rests:
            self._listener.cancel(order, f"{order.tif.lower()}_unfilled", at_ns)

    def _take(self, order: ExchangeOrder, price: float, ticks: int, at_ns: int, source: str) -> None:
        """Fill a taking order at a traded price, or let it rest or end where that is not beyond its limit.

        `ticks` is the price as it counts for the order.
        """
        if order.limit_ticks is None or order.is_beyond(ticks):
            if order.spends is not None and not self._listener.size(order, ticks, at_ns):
                return
            lots = order.left if self._allowed is None else min(order.left, self._allowed)
            if self._slippage is not None and lots:
                ticks = self._taken_at(order, price, lots)
            if order.tif is TimeInForce.FOK and not self._listener.may_fill(order, ticks):
                self._listener.cancel(order, "fok_unfilled", at_ns)
            elif self._max_share is None:
                if self.venue is None or self._may_take_at(order, ticks, at_ns):
                    self._listener.fill(order, lots, ticks, is_maker=False, at_ns=at_ns, why=source)
            else:
                self._take_share(order, lots, ticks, at_ns, source)
        elif order.tif.rests:
            order.is_taking = False
            if self.venue is not None:
                self._meet_own_at_limit(order, at_ns)
        else:
            self._listener.cancel(order, f"{order.tif.lower()}_unfilled", at_ns)

    def _meet_own_at_limit(self, order: ExchangeOrder, at_ns: int) -> None:
        """Let an order that comes to rest meet the orders of ours that its limit reaches."""
        if order.limit_ticks is not None:
            self.meet_own(order, order.limit_ticks, at_ns)

    def _may_take_at(self, order: ExchangeOrder, ticks: int, at_ns: int) -> bool:
        """Hold a fill against the price limit, then against our own orders; return whether the order may have it."""
        assert self.venue is not None
        bound = self.venue.bound(order, self.instrument, None)
        if bound is not None and not bound.allows(ticks, is_buy=order.is_buy):
            if order.is_child:
                order.is_taking = True  # it waits for a price within the limit: its position keeps its stop
            else:
                self._listener.cancel(order, bound.reason, at_ns)
            return False
        self.meet_own(order, ticks, at_ns)
        return not order.state.is_final

    def _take_share(self, order: ExchangeOrder, lots: int, ticks: int, at_ns: int, source: str) -> None:
        """Fill a taking order with what the row allows, and decide about what is left."""
        if order.tif is TimeInForce.FOK and lots < order.left:
            self._listener.cancel(order, "fok_unfilled", at_ns)
            return
        if self.venue is not None and lots and not self._may_take_at(order, ticks, at_ns):
            return
        self._fill(order, lots, ticks, is_maker=False, at_ns=at_ns, why=source)
        if order.state.is_final:
            return
        if order.tif.rests:
            order.is_taking, order.is_passed = order.limit_ticks is None, True
            if self.venue is not None:
                self._meet_own_at_limit(order, at_ns)
        else:
            self._listener.cancel(order, f"{order.tif.lower()}_unfilled", at_ns)

    def _fill(self, order: ExchangeOrder, lots: int, ticks: int, *, is_maker: bool, at_ns: int, why: str) -> int:
        """Fill as much of some size steps as the row still allows, and return how many were."""
        if self._allowed is not None:
            lots = min(lots, self._allowed)
            if not lots:
                return 0
        before = order.filled_lots
        self._listener.fill(order, lots, ticks, is_maker=is_maker, at_ns=at_ns, why=why)
        filled = order.filled_lots - before
        if self._allowed is not None:
            self._allowed -= filled
        return filled

    def _allow(self, volume: float | None, used: int = 0) -> None:
        """Let the row that comes fill its share of a volume, None or NaN for an unknown one, less what is used up."""
        self._allowed = None
        if self._max_share is not None and volume is not None and volume == volume:
            self._allowed = max(0, self.instrument.lots_floor(volume * self._max_share) - used)

    def _taken_at(self, order: ExchangeOrder, price: float, lots: int) -> int:
        """Return a traded price made worse for some size steps by the stated slippage, within the order's limit."""
        instrument = self.instrument
        if self._slippage is None:
            return instrument.market_ticks(price, order.side)
        step, past = float(instrument.price_step), NOTHING_KNOWN if self.past is None else self.past
        worse = self._slippage.worse(price, order.side.sign, instrument.qty(lots), step, past)
        ticks = max(instrument.market_ticks(worse, order.side), instrument.ticks_per_step)
        if order.limit_ticks is None:
            return ticks
        return min(ticks, order.limit_ticks) if order.is_buy else max(ticks, order.limit_ticks)

    def band(self) -> PriceBand:
        if not self.orders:
            return OPEN_BAND
        low, high = float("-inf"), float("inf")
        per_step = self.instrument.ticks_per_step
        beside = (AT_LEVEL if self.touch else PAST_LEVEL) * per_step
        for order in self.orders:
            if order.is_triggered and order.is_taking:
                return SHUT_BAND
            if order.is_triggered:
                assert order.limit_ticks is not None
                if order.is_buy:
                    low = max(low, order.limit_ticks + beside)
                else:
                    high = min(high, order.limit_ticks - beside)
            elif order.trigger is not None and order.trigger.type is TriggerType.LAST:
                below, above = order.trigger.bounds(per_step)
                low, high = max(low, below), min(high, above)
        tick = float(self.instrument.tick)
        return PriceBand(low * tick, high * tick)


class TradeMarket(PriceMarket):
    """Orders matched on public trades alone.

    Args:
        own_side_prints: Whether a trade beyond a limit fills it also where its aggressor was on the order's own side.

    Attributes:
        is_sided: Whether sizes and sides of trades decide anything.
        has_traded: Whether the last price is of a trade that has been; whoever skips rows writes it.
    """

    past: TradeBars | None

    def __init__(
        self,
        instrument: Instrument,
        listener: ExecutionListener,
        *,
        touch: bool = False,
        slippage: Slippage | None = None,
        past: TradeBars | None = None,
        max_share: float | None = None,
        own_side_prints: bool = True,
    ) -> None:
        super().__init__(instrument, listener, touch=touch, slippage=slippage, past=past, max_share=max_share)
        self._own_side_prints = own_side_prints
        self.has_traded = True
        self.is_sided = touch or not own_side_prints or max_share is not None

    def _standing(self, trigger: Trigger) -> tuple[int, int] | None:
        return super()._standing(trigger) if self.has_traded else None

    def on_trade(self, price: float, qty: float, side: Side, at_ns: int, stamp_ns: int | None = None) -> None:
        """Let one public trade fill what it can.

        Args:
            price, qty, side: The trade's.
            at_ns: The matching clock.
            stamp_ns: The trade's own stamp, where that is another.
        """
        if stamp_ns is None:
            stamp_ns = at_ns
        self.has_traded = True
        # What `see` does, without a call for every trade.
        self._last_price = price
        low, high = self._last = self.instrument.ticks_around(price)
        shared = self.instrument.lots_floor(qty) if self.touch else 0
        if self._max_share is not None:
            self._allow(qty)
        for order in tuple(self.orders):
            if order.arrived_ns > stamp_ns or order.state.is_final:
                continue
            ticks = high if order.is_buy else low
            if not order.is_triggered:
                trigger = order.trigger
                is_ours = trigger is not None and trigger.type is TriggerType.LAST and trigger.meets(low, high)
                if is_ours and self._go_off(order, at_ns):
                    self._settle_in(order, at_ns)
            elif order.is_taking:
                self._take(order, price, ticks, at_ns, "next trade")
            elif order.is_beyond(ticks):
                if side is order.side and not self._own_side_prints:
                    continue
                assert order.limit_ticks is not None
                why = f"trade at {price} beyond the limit"
                self._fill(order, order.left, order.limit_ticks, is_maker=True, at_ns=at_ns, why=why)
            elif self.touch and ticks == order.limit_ticks and side is not order.side and shared:
                lots = min(order.left, shared)
                shared -= lots
                self._fill(order, lots, ticks, is_maker=True, at_ns=at_ns, why="trade at the limit")


class CandleMarket(PriceMarket):
    """Orders matched on candles alone."""

    fills_at_opens = True
    past: CandleBars | None

    def __init__(
        self,
        instrument: Instrument,
        listener: ExecutionListener,
        *,
        slippage: Slippage | None = None,
        past: CandleBars | None = None,
        max_share: float | None = None,
    ) -> None:
        super().__init__(instrument, listener, slippage=slippage, past=past, max_share=max_share)
        self._opening: float | None = None
        self._open: tuple[int, int] | None = None  # of a candle whose range is to come: when it opened, by both clocks
        self._opened = (0, 0)  # when a candle opened, and the size steps that its open filled
        self._entries: dict[str, _Entry] = {}  # of orders with a bracket in the range that came last, by order

    def see_open(self, price: float, open_ns: int, at_ns: int) -> None:
        """Take note of an open, which is the last price until the range of its candle has come."""
        self.see(price)
        self._open = open_ns, at_ns

    def see_close(self, price: float) -> None:
        """Take note of a close."""
        self.see(price)
        self._open = None

    def begin_open(self, price: float) -> None:
        """Judge orders that arrive by an open of a candle at its price, until `end_open`."""
        self._opening = price

    def end_open(self) -> None:
        """Let the open have its effect: what arrives later does not see it."""
        self._opening = None

    def opening_ticks(self, order: ExchangeOrder) -> int | None:
        if self._opening is None:
            return None
        lots, volume = order.left, None if self.past is None else self.past.volume
        if self._max_share is not None and volume is not None and volume == volume:
            lots = min(lots, self.instrument.lots_floor(volume * self._max_share))
        return self._taken_at(order, self._opening, lots)

    def on_open(self, price: float, at_ns: int, *, open_ns: int) -> None:
        """Let a candle's open fill market orders, gapped stops and limits it is already beyond."""
        self.see_open(price, open_ns, at_ns)
        self._allow(None if self.past is None else self.past.volume)
        allowed = self._allowed
        assert self._last is not None
        low, high = self._last
        for order in tuple(self.orders):
            if order.arrived_ns > at_ns or order.state.is_final or self._is_held(order):
                continue
            ticks = high if order.is_buy else low
            if not order.is_triggered:
                trigger = order.trigger
                if trigger is not None and trigger.type is TriggerType.LAST and trigger.meets(low, high):
                    self._trigger(order, price, ticks, at_ns, f"candle open beyond the {trigger.name}")
            elif order.is_taking:
                self._take(order, price, ticks, at_ns, "candle open")
            elif order.is_beyond(ticks):
                # What the share left when the market came to the limit has stood there since.
                assert order.limit_ticks is not None
                at = order.limit_ticks if order.is_passed else ticks
                why = "candle open beyond the limit"
                self._fill(order, order.left, at, is_maker=True, at_ns=at_ns, why=why)
                order.is_passed = True
        if allowed is not None and self._allowed is not None:
            self._opened = (open_ns, allowed - self._allowed)

    def on_range(
        self, open_: float, high: float, low: float, close: float, at_ns: int, *, open_ns: int, volume: float
    ) -> None:
        """Let a candle's range trigger stops, then take profits and fill the limits that were there from its open on.

        An order that arrived within the candle waits for the next one: the range may lie before its arrival.
        """
        around = self.instrument.ticks_around
        self._allow(volume, self._opened[1] if self._opened[0] == open_ns else 0)
        # Each as (step below, step above).
        opens, lows, highs = around(open_), around(low), around(high)
        self._entries = {}
        path = open_, opens, lows, highs
        stops: list[ExchangeOrder] = []
        targets: list[ExchangeOrder] = []
        for order in self.orders:
            is_stop = not order.is_triggered and order.trigger is not None and not order.trigger.is_target
            (stops if is_stop else targets).append(order)
        for order in stops:
            if order.arrived_ns <= open_ns and not order.state.is_final and not self._is_held(order):
                self._try_range(order, path, at_ns)
        for order in targets:
            if order.arrived_ns > open_ns or order.state.is_final or self._is_held(order):
                continue
            if not order.is_triggered:
                self._try_range(order, path, at_ns)
            if not order.is_triggered or order.limit_ticks is None:
                continue
            if order.is_taking:
                self._take(order, open_, opens[order.is_buy], at_ns, "candle open")
            if order in self.orders and not order.is_taking and order.is_beyond(lows[1] if order.is_buy else highs[0]):
                why = "candle range beyond the limit"
                if order.terms is not None and order.terms.has_bracket:
                    self._entries[order.id] = _Entry(at_ns, order.limit_ticks, lows if order.is_buy else highs)
                self._fill(order, order.left, order.limit_ticks, is_maker=True, at_ns=at_ns, why=why)
                order.is_passed = True
        self.see_close(close)

    def _is_held(self, order: ExchangeOrder) -> bool:
        """Whether another order of its group is at the market already, and waits for an open to take."""
        group = "" if order.terms is None else order.terms.oco_group
        return bool(group) and any(
            other is not order
            and other.is_taking
            and other.limit_ticks is None
            and other.terms is not None
            and other.terms.oco_group == group
            for other in self.orders
        )

    def _enter(self, order: ExchangeOrder, at_ns: int) -> None:
        trigger = order.trigger
        if order.is_triggered or trigger is None or trigger.type is not TriggerType.LAST:
            super()._enter(order, at_ns)
            return
        self.orders.append(order)
        if self._is_passed_since_entry(order, trigger, at_ns) or not self._is_set_off(trigger):
            return
        if self._open is not None and order.arrived_ns <= self._open[1]:
            self._take_open(order, trigger, at_ns)
        elif self._go_off(order, at_ns):
            self._settle_in(order, at_ns)

    def _take_open(self, order: ExchangeOrder, trigger: Trigger, at_ns: int) -> None:
        """Let an order that an open sets off as it comes take that open, and what the share of that leaves."""
        assert self._open is not None
        assert self._last_price is not None
        assert self._last is not None
        open_ns = self._open[0]
        used = self._opened[1] if self._opened[0] == open_ns else 0
        self._allow(None if self.past is None else self.past.volume, used)
        allowed, ticks = self._allowed, self._last[order.is_buy]
        self._trigger(order, self._last_price, ticks, at_ns, f"candle open beyond the {trigger.name}")
        if allowed is not None and self._allowed is not None:
            self._opened = (open_ns, used + allowed - self._allowed)

    def _is_passed_since_entry(self, order: ExchangeOrder, trigger: Trigger, at_ns: int) -> bool:
        """Set the stop of a limit that a range has filled off if that range has come so far; return whether it did."""
        entry = self._entries.get(order.terms.parent_id) if order.terms is not None else None
        if entry is None or entry.at_ns != order.arrived_ns or trigger.is_target or trigger.is_changed:
            return False
        trigger.use(self.instrument.ticks_per_step)
        if trigger.meets(entry.ticks, entry.ticks):
            ticks = entry.ticks
        elif trigger.is_reached(*entry.reached):
            assert trigger.ticks is not None
            ticks = trigger.ticks
        else:
            return False
        why = f"candle range reached the {trigger.name} after the entry"
        self._trigger(order, self.instrument.price(ticks), ticks, at_ns, why)
        return True

    def _try_range(self, order: ExchangeOrder, path: _Path, at_ns: int) -> None:
        """Let a candle set an order off: its open as a price, then its range at the trigger as that stands.

        What trails follows the range afterwards, so that no extreme is taken to have come before the other.
        """
        trigger, (open_, opens, lows, highs) = order.trigger, path
        assert trigger is not None
        if trigger.type is not TriggerType.LAST:
            return
        if trigger.meets(*opens):
            self._trigger(order, open_, opens[order.is_buy], at_ns, f"candle open beyond the {trigger.name}")
        elif trigger.is_reached(*(highs if trigger.is_upward else lows)):
            assert trigger.ticks is not None
            price = self.instrument.price(trigger.ticks)
            self._trigger(order, price, trigger.ticks, at_ns, f"candle range reached the {trigger.name}")
        elif trigger.is_trailing:
            trigger.gain(*(lows if order.is_buy else highs))

    def _trigger(self, order: ExchangeOrder, price: float, ticks: int, at_ns: int, why: str) -> None:
        if self._go_off(order, at_ns):
            self._take(order, price, ticks, at_ns, why)
