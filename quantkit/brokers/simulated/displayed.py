"""How orders fill on displayed sizes: a book, or best bid and offer, with public trades moving the queue.

Taking. Market orders and limits that reach the best opposite price walk the displayed levels as they stood before
the row. What we took stays taken until the level's next update. Beyond the one level that a ticker shows, the rest
fills `excess_slippage_bps` worse. Nothing is taken from a display that is invalid or older than `stale_after_ns`:
market, IOC and FOK orders that arrive then are rejected, a limit waits for the next update and takes from that. What a
walk cannot fill is cancelled for market, IOC and FOK orders.

Resting. `ahead` starts at the size displayed at our price. An opposite-aggressor print at our price lowers it by its
size; the excess fills us, shared in arrival order. How updates lower it is the queue model's: with the default one each
sets `ahead = min(ahead, displayed)`; nothing else moves it. A print beyond our price (without `own_side_prints` one by
the other side), or the other side reaching it (not with levels that we took whole), fills us whole at our limit.
Where our level lies outside what is displayed, `ahead` is unknown and prints at our price do not fill us until it has
been shown; the model `front` knows it is 0.

Steps. A displayed bid counts at the step below, an ask at the step above, and sizes of levels on one step are added;
what can be taken is rounded down to the size step, what stands ahead of us up. A print off the step counts for an order
at the step that is worse for it, and sets a stop off only where it has really reached it.

Triggers go off by the last trade, or by the best opposite price where the run has no trades; or by the mark price or
the index. An order that a trade or one of those sets off takes from the first update stamped at or after it: the
display before a trade still shows what that took. One that goes off on arrival takes from the display as it stands; if
that is invalid or too old, it waits for the next update.

Ignored: our own market impact on others, hidden and iceberg size, other people's cancels ahead of us (they count only
through `min(ahead, displayed)`), and self-trade prevention where no rules of the exchange apply.
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby
from typing import Final

from quantkit.brokers.simulated.display import Display
from quantkit.brokers.simulated.display_walk import DisplayWalk
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.market import ExecutionListener, Market
from quantkit.brokers.simulated.price_band import AT_LEVEL, PriceBand
from quantkit.brokers.simulated.triggers import Trigger
from quantkit.clock import NEVER_NS
from quantkit.instruments import Instrument, Side
from quantkit.orderbook import DenseBook
from quantkit.orders import OrderState, TriggerType
from quantkit.queue_models import NEVER_LATE_NS, QueueModel

#: Before every stamp: any update will do.
NO_STAMP_NS: Final = -NEVER_NS


class BookDisplay:
    """A dense book as a display. The book's own grid is the run's, or finer where its levels are off the step."""

    def __init__(self, book: DenseBook, instrument: Instrument) -> None:
        self._book = book
        self._instrument = instrument
        self._seen: Instrument | None = None  # the book's grid that the numbers below are of
        self._per_tick = self._per_step = 1

    def use(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self._seen = None

    def _step(self) -> int:
        """Return how many of the book's ticks a price step has; 1 where every level is on the step."""
        grid = self._book.instrument
        if grid is not self._seen:
            self._seen = grid
            self._per_tick = int(Fraction(self._instrument.tick) / Fraction(grid.tick))
            self._per_step = self._per_tick * self._instrument.ticks_per_step
        return self._per_step

    def meets(self, side: Side, level: int) -> int:
        """Return where orders meet a level of the book, given in the book's ticks."""
        step = self._step()
        if step == 1:
            return level
        steps = level // step if side is Side.BUY else -(-level // step)
        return steps * self._instrument.ticks_per_step

    @property
    def is_valid(self) -> bool:
        return self._book.is_valid

    def best(self, side: Side) -> int | None:
        best = self._book.best_bid_ticks() if side is Side.BUY else self._book.best_ask_ticks()
        return best if best is None or self._step() == 1 else self.meets(side, best)

    def shown(self, side: Side, ticks: int) -> int | None:
        size = self._size(side, ticks)
        return None if size is None else self._instrument.lots_floor(size)

    def ahead(self, side: Side, ticks: int) -> int | None:
        size = self._size(side, ticks)
        return None if size is None else self._instrument.lots_ceil(size)

    def _size(self, side: Side, ticks: int) -> float | None:
        step = self._step()
        if step == 1:
            level = ticks
            size = self._book.size(side, ticks)
        else:
            level = ticks * self._per_tick
            low, high = (level, level + step - 1) if side is Side.BUY else (level - step + 1, level)
            size = self._book.size_between(side, low, high)
        if size == 0:
            best = self.best(side)
            inside = best is None or (ticks > best if side is Side.BUY else ticks < best)
            if not inside and not self._book.has_level_beyond(side, level):
                return None
        return size

    def levels(self, side: Side) -> Iterator[tuple[int, int]]:
        lots = self._instrument.lots_floor
        if self._step() == 1:
            return ((ticks, lots(size)) for ticks, size in self._book.levels(side))
        levels = groupby(self._book.levels(side), lambda level: self.meets(side, level[0]))
        return ((ticks, lots(sum(size for _, size in several))) for ticks, several in levels)


class TickerDisplay:
    """The best bid and offer as a display one level deep."""

    def __init__(self, instrument: Instrument) -> None:
        self._instrument = instrument
        self.is_valid = False
        self._shown: tuple[float | None, ...] = (None, None, None, None)
        self._best: dict[Side, tuple[int, float] | None] = {Side.BUY: None, Side.SELL: None}

    def use(self, instrument: Instrument) -> None:
        self._instrument = instrument
        if self.is_valid:
            self.update(*self._shown)

    def update(self, bid: float | None, bid_qty: float | None, ask: float | None, ask_qty: float | None) -> None:
        """Take in one ticker; a missing price or size empties its side."""
        self._shown = (bid, bid_qty, ask, ask_qty)
        for side, price, qty in ((Side.BUY, bid, bid_qty), (Side.SELL, ask, ask_qty)):
            if price is None or qty is None:
                self._best[side] = None
            else:
                self._best[side] = (self._instrument.ticks_around(price)[side is Side.SELL], qty)
        self.is_valid = True

    def meets(self, side: Side, level: int) -> int:
        return level  # its own are the run's, on the step already

    def best(self, side: Side) -> int | None:
        level = self._best[side]
        return None if level is None else level[0]

    def shown(self, side: Side, ticks: int) -> int | None:
        size = self._size(side, ticks)
        return None if size is None else self._instrument.lots_floor(size)

    def ahead(self, side: Side, ticks: int) -> int | None:
        size = self._size(side, ticks)
        return None if size is None else self._instrument.lots_ceil(size)

    def _size(self, side: Side, ticks: int) -> float | None:
        level = self._best[side]
        if level is None:
            return None
        if ticks == level[0]:
            return level[1]
        return 0.0 if (ticks > level[0]) is (side is Side.BUY) else None

    def levels(self, side: Side) -> Iterator[tuple[int, int]]:
        level = self._best[side]
        return iter(() if level is None else ((level[0], self._instrument.lots_floor(level[1])),))


class DisplayedMarket(Market):
    """Orders matched on displayed sizes and on the trades beside them.

    Attributes:
        updated_ns: When the display was updated last, None before the first time.
        taken: What we took from levels that have not been updated since: (side, ticks) -> (size steps, displayed then).
        has_trades: Whether the run has trades beside the display.
        queue_model: How many stand in front of a resting order.
    """

    def __init__(
        self,
        instrument: Instrument,
        listener: ExecutionListener,
        display: Display,
        *,
        stale_after_ns: int,
        has_trades: bool,
        excess_slippage_bps: float | None,
        queue_model: QueueModel,
        own_side_prints: bool = True,
    ) -> None:
        super().__init__(instrument, listener)
        self.display = display
        self.updated_ns: int | None = None
        self.taken: dict[tuple[Side, int], tuple[int, int]] = {}
        self._stale_after_ns = stale_after_ns
        self.has_trades = has_trades
        self.queue_model = queue_model
        self._slippage = excess_slippage_bps
        self._own_side_prints = own_side_prints
        self._waiting: dict[ExchangeOrder, int] = {}  # since when by the stamps of updates

    @property
    def needs_rows(self) -> bool:
        """Whether updates matter: an order rests here, or taken size waits to be shown anew."""
        return bool(self.orders or self.taken)

    @property
    def is_waiting(self) -> bool:
        """Whether an order waits for the first update to come."""
        return bool(self._waiting)

    def use(self, instrument: Instrument) -> None:
        before = self.instrument
        super().use(instrument)
        self.display.use(instrument)
        taken, self.taken = self.taken, {}
        for (side, old_ticks), (lots, _) in taken.items():
            # What was taken of a step is missing from the levels that lay on it, the best of them first.
            new_ticks = instrument.limit_ticks(instrument.price(old_ticks), side)
            for ticks, shown in self.display.levels(side):
                lay_there = before.limit_ticks(instrument.price(ticks), side) == old_ticks
                if lots and (lay_there or ticks == new_ticks):
                    gone = min(lots, shown)
                    lots -= gone
                    self.taken[side, ticks] = (self.taken.get((side, ticks), (0, 0))[0] + gone, shown)

    def stand_as_of(self, updated_ns: int | None) -> None:
        """Let the display count as of a moment, since it has taken updates in that the orders did not need."""
        self.updated_ns = updated_ns

    # Arrival --------------------------------------------------------------------------------------------------

    def arrive(self, order: ExchangeOrder, at_ns: int) -> None:
        refusal = self._refusal(order, at_ns)
        if refusal:
            self._listener.reject(order, refusal, at_ns)
            return
        self._listener.report(order, OrderState.ACCEPTED, "", at_ns)
        self._enter(order, at_ns)

    def _refusal(self, order: ExchangeOrder, at_ns: int) -> str:
        if not order.is_triggered:
            return ""
        if order.limit_ticks is None or not order.tif.rests:
            if not self.display.is_valid:
                return "book_invalid"
            return "book_stale" if self._is_stale(at_ns) else ""
        return self.post_only_refusal(order, order.limit_ticks) if order.post_only else ""

    def _is_stale(self, at_ns: int) -> bool:
        return self.updated_ns is None or at_ns - self.updated_ns > self._stale_after_ns

    def crosses(self, order: ExchangeOrder, limit_ticks: int) -> bool:
        if not self.display.is_valid:
            return super().crosses(order, limit_ticks)
        best = self.display.best(order.side.opposite)
        return best is not None and (best <= limit_ticks if order.is_buy else best >= limit_ticks)

    def reference_ticks(self, side: Side) -> int | None:
        best = self.display.best(side.opposite) if self.display.is_valid else None
        return super().reference_ticks(side) if best is None else best

    def _enter(self, order: ExchangeOrder, at_ns: int) -> None:
        self.orders.append(order)
        if order in self._waiting:
            return  # an amended stop still waits for the first update after the trade that set it off
        if not order.is_triggered:
            assert order.trigger is not None
            if not self._is_set_off(order.trigger) or not self._go_off(order, at_ns):
                return
        self._work(order, at_ns)

    def _standing(self, trigger: Trigger) -> tuple[int, int] | None:
        if self.has_trades:
            return super()._standing(trigger)
        best = self.display.best(trigger.opposite) if self.display.is_valid else None
        return None if best is None else (best, best)

    def _set_off(self, order: ExchangeOrder, at_ns: int) -> None:
        self._waiting[order] = at_ns

    def _work(self, order: ExchangeOrder, at_ns: int) -> None:
        """Take what the order may take, then rest or end."""
        is_taking = order.limit_ticks is None or self.crosses(order, order.limit_ticks)
        may_rest = order.limit_ticks is not None and order.tif.rests and not order.post_only
        if (may_rest or order.trigger is not None) and (
            not self.display.is_valid or (is_taking and self._is_stale(at_ns))
        ):
            self._waiting[order] = NO_STAMP_NS  # the first update to come says what it may take
            return
        why_unfilled = "no_liquidity"
        if is_taking and self.display.is_valid and not self._is_stale(at_ns):
            walk = DisplayWalk(self, self.display, self.taken, self._listener, excess_slippage_bps=self._slippage)
            walk.take(order, at_ns)
            why_unfilled = walk.why_unfilled
        if self.venue is not None and order.limit_ticks is not None:
            self.meet_own(order, order.limit_ticks, at_ns)
        if order.state.is_final:
            return
        if order.limit_ticks is None and order.is_child:
            self._waiting[order] = NO_STAMP_NS  # the rest of a position is not left without its stop
        elif order.limit_ticks is None:
            self._listener.cancel(order, why_unfilled, at_ns)
        elif not order.tif.rests:
            self._listener.cancel(order, f"{order.tif.lower()}_unfilled", at_ns)
        else:
            shown = self.display.ahead(order.side, order.limit_ticks) if self.display.is_valid else None
            self.queue_model.join(order, shown)

    # Rows -----------------------------------------------------------------------------------------------------

    def before_update(self, changed: set[tuple[Side, int]] | None) -> None:
        """Note which levels the coming update names, in the display's own ticks; None for all, compared by size."""
        if changed is not None and self.taken:
            met = {(side, self.display.meets(side, level)) for side, level in changed}
            self.taken = {level: taken for level, taken in self.taken.items() if level not in met}

    def lose_sight(self) -> None:
        """Let resting orders know that rows are missing before the update to come."""
        for order in self.orders:
            self.queue_model.lose_sight(order)

    def on_update(self, at_ns: int, stamp_ns: int, *, is_dated: bool = True) -> None:
        """Let an update that has just been applied move queues, fill what it crosses, and serve stops.

        Args:
            at_ns: The matching clock.
            stamp_ns: The update's own stamp.
            is_dated: Whether that says which trades its sizes have in them.
        """
        self.updated_ns = at_ns if self.updated_ns is None else max(at_ns, self.updated_ns)
        if self.taken:
            shown = self.display.shown
            self.taken = {level: taken for level, taken in self.taken.items() if shown(*level) == taken[1]}
        if not self.display.is_valid:
            return
        for order in tuple(self.orders):
            if order.state.is_final:
                continue
            if not order.is_triggered:
                trigger = order.trigger
                if (
                    self.has_trades
                    or order.arrived_ns > stamp_ns
                    or trigger is None
                    or trigger.type is not TriggerType.LAST
                ):
                    continue
                best = self.display.best(order.side.opposite)
                if best is not None and trigger.meets(best, best) and self._go_off(order, at_ns):
                    self._work(order, at_ns)
            elif order in self._waiting:
                # Else an update from before it arrived, or from before what set it off, has come in late.
                if stamp_ns >= max(order.arrived_ns, self._waiting[order]):
                    del self._waiting[order]
                    self._work(order, at_ns)
            else:
                self._update_resting(order, at_ns, stamp_ns, is_dated=is_dated)
        if self._waiting:
            self._waiting = {order: ns for order, ns in self._waiting.items() if not order.state.is_final}

    def _update_resting(self, order: ExchangeOrder, at_ns: int, stamp_ns: int, *, is_dated: bool) -> None:
        assert order.limit_ticks is not None
        if order.arrived_ns <= stamp_ns:
            best = self._best_untaken(order.side.opposite)
            if best is not None and (best <= order.limit_ticks if order.is_buy else best >= order.limit_ticks):
                why = f"the other side reached our price, {self._ahead(order.lots_in_front)}"
                self._listener.fill(order, order.left, order.limit_ticks, is_maker=True, at_ns=at_ns, why=why)
                return
        shown = self.display.ahead(order.side, order.limit_ticks)
        if shown is not None:
            self.queue_model.see(order, shown, stamp_ns if is_dated else NEVER_LATE_NS)

    def _best_untaken(self, side: Side) -> int | None:
        """Return the best price of a side, not counting levels that we have taken whole."""
        if not self.taken:
            return self.display.best(side)
        for ticks, shown in self.display.levels(side):
            if shown > self.taken.get((side, ticks), (0, 0))[0]:
                return ticks
        return None

    def on_trade(self, price: float, qty: float, side: Side, at_ns: int, stamp_ns: int) -> None:
        """Let one public trade move queues, fill what it went through, and set stops off.

        Args:
            price, qty, side: The trade's.
            at_ns: The matching clock.
            stamp_ns: The trade's own stamp.
        """
        # What `see` does, without a call for every trade.
        self._last_price = price
        low, high = self._last = self.instrument.ticks_around(price)
        lots = self.instrument.lots_floor(qty)
        shared = 0  # of this print, already given to orders before this one
        for order in tuple(self.orders):
            if order.arrived_ns > stamp_ns or order.state.is_final:
                continue
            ticks = high if order.is_buy else low
            if not order.is_triggered:
                trigger = order.trigger
                is_ours = trigger is not None and trigger.type is TriggerType.LAST and trigger.meets(low, high)
                if is_ours and self._go_off(order, at_ns):
                    self._waiting[order] = stamp_ns
                continue
            if order.limit_ticks is None or order in self._waiting or not self.display.is_valid:
                continue
            if order.is_beyond(ticks) and (self._own_side_prints or side is not order.side):
                why = f"trade at {price} beyond our price, {self._ahead(order.lots_in_front)}"
                self._listener.fill(order, order.left, order.limit_ticks, is_maker=True, at_ns=at_ns, why=why)
            elif ticks == order.limit_ticks and side is not order.side and order.ahead is not None:
                before = self.queue_model.take_print(order, lots, stamp_ns)
                ours = min(order.left, max(0, lots - before - shared))
                if ours:
                    shared += ours
                    why = f"trade of {qty} at our price, {self._ahead(before)}"
                    self._listener.fill(order, ours, ticks, is_maker=True, at_ns=at_ns, why=why)

    def _ahead(self, lots: int | None) -> str:
        return "queue unknown" if lots is None else f"{lots // self.instrument.lots_per_step} steps ahead"

    def rests(self, order: ExchangeOrder) -> bool:
        return super().rests(order) and order not in self._waiting

    def band(self) -> PriceBand:
        """Return the band for trades; updates are looked at one by one while `needs_rows`."""
        low, high = float("-inf"), float("inf")
        beside = AT_LEVEL * self.instrument.ticks_per_step
        for order in self.orders:
            if not order.is_triggered:
                if self.has_trades and order.trigger is not None and order.trigger.type is TriggerType.LAST:
                    below, above = order.trigger.bounds(self.instrument.ticks_per_step)
                    low, high = max(low, below), min(high, above)
            elif order.limit_ticks is not None:
                if order.is_buy:
                    low = max(low, order.limit_ticks + beside)
                else:
                    high = min(high, order.limit_ticks - beside)
        tick = float(self.instrument.tick)
        return PriceBand(low * tick, high * tick)
