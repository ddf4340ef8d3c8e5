"""How the oracle's markets fill orders: one class for each kind of matching data, every order seen in every row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

from oracle.book import NaiveBook, named_levels
from oracle.impact import Seen, slipped
from oracle.ledger import price_at, size_of
from oracle.order_rules import OrderRules, is_beyond, said
from oracle.queues import Queue

from quantkit.events import BookUpdate, Candle, Ticker, Trade
from quantkit.instruments import Instrument, Side
from quantkit.orders import OrderState, TimeInForce

if TYPE_CHECKING:
    from oracle.exchange import Exchange, Held


@lru_cache(maxsize=1 << 18)
def on_grid(number: float, step: Decimal, unit: Decimal, *, up: bool) -> int:
    """Return the whole steps in a number, or those begun, in units of the run's grid; books ask for the same ones."""
    steps = Fraction(str(float(number))) / Fraction(step)
    if abs(steps - round(steps)) < Fraction(1, 10**6):  # what a float cannot tell
        whole = round(steps)
    else:
        whole = math.ceil(steps) if up else math.floor(steps)
    return int(whole * Fraction(step) / Fraction(unit))


def listens(held: Held) -> bool:
    """Whether a sleeping order waits for this market's own prices."""
    return held.alarm is not None and held.alarm.source == "last"


def is_target(held: Held) -> bool:
    """Whether an order takes a profit: a price that is reached from the far side."""
    return held.alarm is not None and held.alarm.wants_rise is (held.side is Side.SELL)


class Venue:
    """One instrument's orders in arrival order."""

    def __init__(self, instrument: Instrument, exchange: Exchange) -> None:
        self.instrument = instrument
        self.exchange = exchange
        self.orders: list[Held] = []
        self.last: float | None = None
        self.has_traded = True  # else the last price is the one that is about to come for the first time
        self.own_side_prints = True
        self.rules: OrderRules | None = None

    def refuses_maker(self, held: Held, limit: int | None) -> str:
        """Return why a post-only order may not rest at a limit, in the market or before an order of ours."""
        if limit is None:
            return ""
        is_met = self.rules is not None and self.rules.first_own(held, limit) is not None
        return "post_only_would_take" if is_met or self.would_take(held, limit) else ""

    def refuses(self, held: Held, at_ns: int) -> str:
        """Return why the market does not take an order in, empty if it does."""
        raise NotImplementedError

    def would_take(self, held: Held, limit: int) -> bool:
        """Whether a limit would trade at once."""
        raise NotImplementedError

    def reference(self, side: Side) -> int | None:
        """Return the price at which an order without a limit is valued."""
        raise NotImplementedError

    def enter(self, held: Held, at_ns: int) -> None:
        """Take an order in, at the back."""
        raise NotImplementedError

    @property
    def one_step(self) -> int:
        """The price step, in ticks of the run's grid."""
        return int(Fraction(self.instrument.price_step) / Fraction(self.instrument.tick))

    def rings(self, held: Held, price: float) -> bool:
        """Whether a price wakes a sleeping order."""
        assert held.alarm is not None
        low, high = self.at_step(price, up=False), self.at_step(price, up=True)
        return held.alarm.rings(low, high, self.one_step)

    def price_for(self, held: Held) -> float | None:
        """Return the price that stands as it sets an order off, None before the first."""
        assert held.alarm is not None
        if held.alarm.source == "last":
            return self.last if self.has_traded else None
        return self.exchange.watched.get((self.instrument.id, held.alarm.source))

    def wakes_on_arrival(self, held: Held) -> bool:
        """Whether the price that stands has already reached what an order waits for."""
        price = self.price_for(held)
        return price is not None and self.rings(held, price)

    def on_mark(self, source: str, price: float, stamp_ns: int) -> None:
        """Let the mark price or the index wake orders; they count as having come with it."""
        for held in self.eligible(stamp_ns):
            if held.is_asleep and held.alarm is not None and held.alarm.source == source and self.rings(held, price):
                held.arrived_ns = stamp_ns
                if self.goes_off(held, stamp_ns):
                    self.woken(held, stamp_ns)

    def goes_off(self, held: Held, at_ns: int) -> bool:
        """Wake an order, behind those that are awake; return whether the exchange's rules let it."""
        held.is_asleep = False
        assert held.alarm is not None
        held.alarm.rang_on = self.one_step
        self.orders.remove(held)
        self.orders.append(held)
        if self.rules is None:
            return True
        edge = self.rules.edge(held.side, self.instrument)
        if held.limit is not None and edge is not None and (held.limit - edge) * held.side.sign > 0:
            if not held.parent_id:
                self.exchange.end(held, OrderState.CANCELLED, said("51006"), at_ns)
                return False
            held.limit = edge
            self.exchange.tell(held, held.state, "price_limit", at_ns)
        self.exchange.groups.fit_reducing(held, at_ns)
        return not held.is_over

    def woken(self, held: Held, at_ns: int) -> None:
        """Take in an order that something else than this market's own rows has woken."""
        raise NotImplementedError

    def unfilled(self, held: Held, at_ns: int) -> None:
        """Cancel what an IOC or FOK order did not get."""
        self.exchange.end(held, OrderState.CANCELLED, f"{held.tif.value.lower()}_unfilled", at_ns)

    def eligible(self, clock_ns: int) -> Iterable[Held]:
        """Yield the orders that had arrived by the row, skipping what ends on the way."""
        for held in list(self.orders):
            if held.arrived_ns <= clock_ns and not held.is_over:
                yield held

    def against(self, price: float, side: Side) -> int:
        """Return a price at the step that is worse for an order of `side`, in ticks of the run's grid."""
        return self.at_step(price, up=side is Side.BUY)

    def at_step(self, price: float, *, up: bool) -> int:
        """Return the step at or beside a price, in ticks of the run's grid."""
        return on_grid(price, self.instrument.price_step, self.instrument.tick, up=up)

    def whole_lots(self, qty: float, *, up: bool = False) -> int:
        """Return the whole size steps in a size, in lots of the run's grid; `up`: the one begun counts too."""
        return on_grid(qty, self.instrument.qty_step, self.instrument.lot, up=up)

    def last_beyond(self, held: Held, limit: int) -> bool:
        """Whether the last price is better than a limit, seen from its worse side."""
        return self.last is not None and (limit - self.against(self.last, held.side)) * held.side.sign > 0

    def change(self, instrument: Instrument) -> None:
        """Go by other steps."""
        self.instrument = instrument


class PriceVenue(Venue):
    """Trades or candles: orders are judged by the last price."""

    slippage: str = ""
    max_share: float | None = None
    room: float = math.inf  # size steps that the row may still fill

    def __init__(self, instrument: Instrument, exchange: Exchange) -> None:
        super().__init__(instrument, exchange)
        self.seen = Seen()

    def cap(self, volume: float, used: int = 0) -> None:
        """Let a row fill its share of a volume; a volume that is no number is unknown."""
        self.room = math.inf
        if self.max_share is not None and not math.isnan(volume):
            self.room = max(0, self.whole_lots(volume * self.max_share) - used)

    def give(self, held: Held, wanted: int, ticks: int, *, is_maker: bool, at_ns: int) -> None:
        """Fill what there is room for."""
        lots = int(min(wanted, self.room))
        if lots:
            self.room -= self.exchange.fill(held, lots, ticks, is_maker=is_maker, at_ns=at_ns)

    def would_take(self, held: Held, limit: int) -> bool:
        return self.last_beyond(held, limit)

    def refuses(self, held: Held, at_ns: int) -> str:
        return self.refuses_maker(held, held.limit) if held.post_only else ""

    def reference(self, side: Side) -> int | None:
        return None if self.last is None else self.against(self.last, side)

    def enter(self, held: Held, at_ns: int) -> None:
        self.orders.append(held)
        held.waits = ""
        if held.is_asleep and not (self.wakes_on_arrival(held) and self.goes_off(held, at_ns)):
            return
        self.wake(held, at_ns)

    def woken(self, held: Held, at_ns: int) -> None:
        self.wake(held, at_ns)

    def wake(self, held: Held, at_ns: int) -> None:
        """Decide whether an order that is awake takes the next price or rests."""
        held.is_met = False
        if held.limit is None or self.would_take(held, held.limit):
            held.waits = "price"
            return
        self.meet_before_rest(held, at_ns)
        if not held.is_over and not held.rests:
            self.unfilled(held, at_ns)

    def meet_before_rest(self, held: Held, at_ns: int) -> None:
        """Let an order that stays without a trade meet the orders of ours that its limit reaches."""
        if self.rules is not None and held.limit is not None and not held.is_over:
            self.rules.meet_all(held, held.limit, at_ns)

    def is_kept_from(self, held: Held, ticks: int, at_ns: int) -> bool:
        """Whether the exchange's rules keep an order from a fill at a price, ended or not."""
        if self.rules is None:
            return False
        end = self.rules.last_price(held, None)
        if end is not None and is_beyond(end, held, ticks):
            if held.parent_id:
                held.waits = "price"  # the stop of a position waits for one within the limit
            else:
                self.exchange.end(held, OrderState.CANCELLED, end[1], at_ns)
            return True
        self.rules.meet_all(held, ticks, at_ns)
        return held.is_over

    def taken_at(self, held: Held, price: float, lots: int, clock_ns: int) -> int:
        """Return what an order that takes pays where `price` is traded: slippage makes it worse, within the limit."""
        if not self.slippage:
            return self.against(price, held.side)
        qty, step = float(size_of(self.instrument, lots)), float(self.instrument.price_step)
        worse = slipped(self.slippage, price, held.side.sign, qty, step, self.seen, clock_ns)
        ticks = max(self.one_step, self.against(worse, held.side))
        return held.limit if held.limit is not None and held.better(ticks) < 0 else ticks

    def take(self, held: Held, price: float, at_ns: int) -> None:
        """Fill at a traded price that is beyond the limit."""
        ticks = self.against(price, held.side)
        if held.limit is None or held.better(ticks) > 0:
            if held.tif is TimeInForce.FOK and self.room < held.left:
                self.unfilled(held, at_ns)
                return
            lots = int(min(held.left, self.room))
            if held.tif is TimeInForce.FOK:
                at = self.taken_at(held, price, lots, at_ns)
                if not self.exchange.can_have(held, at):
                    self.unfilled(held, at_ns)
                    return
            if lots:
                at = self.taken_at(held, price, lots, at_ns)
                if self.is_kept_from(held, at, at_ns):
                    return
                self.give(held, lots, at, is_maker=False, at_ns=at_ns)
            if held.is_over:
                return
            if held.tif is TimeInForce.IOC:
                self.unfilled(held, at_ns)
            else:
                held.waits = "price" if held.limit is None else ""
                held.is_met = True
                self.meet_before_rest(held, at_ns)
        elif held.rests:
            held.waits = ""
            self.meet_before_rest(held, at_ns)
        else:
            self.unfilled(held, at_ns)


class TradeVenue(PriceVenue):
    """Public trades alone."""

    def __init__(self, instrument: Instrument, exchange: Exchange, *, touch: bool) -> None:
        super().__init__(instrument, exchange)
        self.touch = touch

    def on_trade(self, trade: Trade, clock_ns: int) -> None:
        """Fill what one print fills."""
        self.last, self.has_traded = trade.price, True
        to_share = self.whole_lots(trade.qty)
        self.cap(trade.qty)
        for held in self.eligible(trade.exchange_ns):
            ticks = self.against(trade.price, held.side)
            if held.is_asleep:
                if listens(held) and self.rings(held, trade.price) and self.goes_off(held, clock_ns):
                    self.wake(held, clock_ns)
            elif held.waits:
                self.take(held, trade.price, clock_ns)
            elif held.better(ticks) > 0:
                assert held.limit is not None
                if self.own_side_prints or trade.side is held.side.opposite:
                    self.give(held, held.left, held.limit, is_maker=True, at_ns=clock_ns)
            elif self.touch and held.better(ticks) == 0 and trade.side is not held.side:
                lots = min(held.left, to_share)
                to_share -= lots
                self.give(held, lots, ticks, is_maker=True, at_ns=clock_ns)
        self.seen.trades.append((clock_ns, trade.price, trade.qty, trade.side is Side.BUY))


class CandleVenue(PriceVenue):
    """Candles alone: the open first, the range later."""

    opening: float | None = None  # while the orders that have arrived by it are judged
    opened: dict[int, int] | None = None  # what the open of the present candle filled
    running: tuple[Candle, int] | None = None  # a candle between its open and its range, and the clock of its open

    def __init__(self, instrument: Instrument, exchange: Exchange) -> None:
        super().__init__(instrument, exchange)
        self.entered: dict[str, tuple[int, int, float]] = {}  # limits of brackets that the last range filled

    def enter(self, held: Held, at_ns: int) -> None:
        if not (held.is_asleep and listens(held)):
            super().enter(held, at_ns)
            return
        self.orders.append(held)
        held.waits = ""
        if self.stopped_after_entry(held, at_ns) or not self.wakes_on_arrival(held):
            return
        if self.running is not None and held.arrived_ns <= self.running[1]:
            candle, before = self.running[0], self.room
            self.set_off(held, candle.open, at_ns)
            if self.opened is not None:
                self.opened[candle.open_ns] += int(before - self.room)
        elif self.goes_off(held, at_ns):
            self.wake(held, at_ns)

    def stopped_after_entry(self, held: Held, at_ns: int) -> bool:
        """Stop a fill out by what its own candle reached after the price had gone through the limit of the entry."""
        alarm, (when_ns, limit, furthest) = held.alarm, self.entered.get(held.parent_id, (-1, 0, 0.0))
        assert alarm is not None
        if when_ns != held.arrived_ns or is_target(held) or alarm.is_changed:
            return False
        found: int | None = limit
        if not alarm.rings(limit, limit, self.one_step):
            found = alarm.stands_at(self.one_step)
            seen = self.at_step(furthest, up=held.side is Side.SELL)
            if found is None or (seen - found) * held.side.sign < 0:
                return False
        assert found is not None
        self.set_off(held, float(price_at(self.instrument, found)), at_ns)
        return True

    def is_held(self, held: Held) -> bool:
        """Whether another order of its group is at the market already and waits for its price."""
        return any(o.waits and o.limit is None and not o.is_over for o in self.exchange.groups.siblings(held))

    def on_open(self, candle: Candle, clock_ns: int) -> None:
        """Fill what the open fills."""
        price = self.last = candle.open
        self.cap(self.seen.candles[-1][3] if self.seen.candles else math.nan)
        room, self.running = self.room, (candle, clock_ns)
        for held in self.eligible(clock_ns):
            if self.is_held(held):
                continue
            at = self.against(price, held.side)
            if held.is_asleep:
                if listens(held) and self.rings(held, price):
                    self.set_off(held, price, clock_ns)
            elif held.waits:
                self.take(held, price, clock_ns)
            elif held.better(at) > 0:
                assert held.limit is not None
                self.give(held, held.left, held.limit if held.is_met else at, is_maker=True, at_ns=clock_ns)
                held.is_met = True
        self.opened = {candle.open_ns: int(room - self.room)} if room < math.inf else None

    def on_range(self, candle: Candle, clock_ns: int) -> None:
        """Fill what the range fills, stops before targets."""
        targets = [held for held in self.orders if not held.is_asleep or is_target(held)]
        self.cap(candle.volume, (self.opened or {}).get(candle.open_ns, 0))
        self.entered = {}
        for held in self.eligible(candle.open_ns):
            if held.is_asleep and listens(held) and not is_target(held) and not self.is_held(held):
                self.try_range(held, candle, clock_ns)
        for held in self.eligible(candle.open_ns):
            if self.is_held(held) or not any(held is other for other in targets):
                continue
            if held.is_asleep and listens(held):
                self.try_range(held, candle, clock_ns)
            if held.is_asleep or held.is_over or held.limit is None:
                continue
            if held.waits:
                self.take(held, candle.open, clock_ns)
            extreme = candle.low if held.side is Side.BUY else candle.high
            if not held.is_over and not held.waits and held.better(self.against(extreme, held.side)) > 0:
                if held.stop_loss is not None:
                    self.entered[held.id] = (clock_ns, held.limit, extreme)
                self.give(held, held.left, held.limit, is_maker=True, at_ns=clock_ns)
                held.is_met = True
        self.close(candle)

    def most_at_open(self, held: Held) -> int:
        """Return the most that an open fills of an order, by the volume known before it."""
        volume = self.seen.candles[-1][3] if self.seen.candles else math.nan
        if self.max_share is None or math.isnan(volume):
            return held.left
        return min(held.left, self.whole_lots(volume * self.max_share))

    def close(self, candle: Candle) -> None:
        """Know a candle that has closed."""
        self.last, self.running = candle.close, None
        self.seen.candles.append((candle.high, candle.low, candle.close, candle.volume))

    def try_range(self, held: Held, candle: Candle, at_ns: int) -> None:
        """Let a candle set an order off: its open as a price, then the extreme on the trigger's side, then the other.

        What the range reaches trades at the trigger. What trails meets the extreme that could gain last.
        """
        assert held.alarm is not None
        if self.rings(held, candle.open):
            self.set_off(held, candle.open, at_ns)
            return
        at, extremes = held.alarm.stands_at(self.one_step), (candle.high, candle.low)
        if not held.alarm.wants_rise:
            extremes = (candle.low, candle.high)
        was_active = held.alarm.is_active
        if was_active and self.rings(held, extremes[0]):
            assert at is not None
            self.set_off(held, float(price_at(self.instrument, at)), at_ns)
            return
        if held.alarm.trails:
            held.alarm.gain(self.at_step(extremes[1], up=held.side is Side.BUY))

    def set_off(self, held: Held, price: float, at_ns: int) -> None:
        """Turn a stop into an order that trades at `price` if it may."""
        if self.goes_off(held, at_ns):
            self.take(held, price, at_ns)


class DisplayedVenue(Venue):
    """A book, or best bid and offer, with the trades beside it."""

    def __init__(
        self,
        instrument: Instrument,
        exchange: Exchange,
        *,
        stale_after_ns: int,
        has_trades: bool,
        excess_slippage_bps: float | None,
        queue_model: str,
    ) -> None:
        super().__init__(instrument, exchange)
        self.queue_model = queue_model
        self.stale_after_ns = stale_after_ns
        self.has_trades = has_trades
        self.excess_slippage_bps = excess_slippage_bps
        self.updated_ns: int | None = None
        self.stamp_ns = 0  # of the last update itself; behind a ticker no print counts as late
        self.eaten: dict[tuple[Side, int], int] = {}

    # What is displayed ----------------------------------------------------------------------------------------

    @property
    def is_valid(self) -> bool:
        """Whether there is a display to believe."""
        raise NotImplementedError

    def levels(self, side: Side) -> list[tuple[int, int]]:
        """Return (ticks, size steps), best first."""
        raise NotImplementedError

    def queue(self, side: Side, ticks: int) -> int | None:
        """Return what stands at a price, a step begun counted whole; None where the display does not reach."""
        raise NotImplementedError

    def change(self, instrument: Instrument) -> None:
        """Go by other steps; what was eaten of a step is missing from the levels that lay on it, the best first."""
        before = Venue(self.instrument, self.exchange)
        super().change(instrument)
        eaten, self.eaten = self.eaten, {}
        for (side, old), lots in eaten.items():
            up = side is Side.SELL
            new = self.at_step(float(price_at(instrument, old)), up=up)
            for ticks, shown in self.levels(side):
                if before.at_step(float(price_at(instrument, ticks)), up=up) == old or ticks == new:
                    gone = min(lots, shown)
                    if lots:
                        self.eaten[side, ticks] = self.eaten.get((side, ticks), 0) + gone
                    lots -= gone

    def best(self, side: Side) -> int | None:
        """Return the best displayed price."""
        levels = self.levels(side)
        return levels[0][0] if levels else None

    def is_stale(self, at_ns: int) -> bool:
        """Whether the display is too old to trade on."""
        return self.updated_ns is None or at_ns > self.updated_ns + self.stale_after_ns

    # Arrival --------------------------------------------------------------------------------------------------

    def refuses(self, held: Held, at_ns: int) -> str:
        if held.is_asleep:
            return ""
        if held.limit is None or not held.rests:
            if not self.is_valid:
                return "book_invalid"
            if self.is_stale(at_ns):
                return "book_stale"
        elif held.post_only:
            return self.refuses_maker(held, held.limit)
        return ""

    def would_take(self, held: Held, limit: int) -> bool:
        if not self.is_valid:
            return self.last_beyond(held, limit)
        best = self.best(held.side.opposite)
        return best is not None and (limit - best) * held.side.sign >= 0

    def reference(self, side: Side) -> int | None:
        best = self.best(side.opposite) if self.is_valid else None
        if best is not None:
            return best
        return None if self.last is None else self.against(self.last, side)

    def enter(self, held: Held, at_ns: int) -> None:
        self.orders.append(held)
        held.queue = Queue(self.queue_model)
        if held.is_asleep and not (self.wakes_on_arrival(held) and self.goes_off(held, at_ns)):
            return
        if not held.waits:
            self.work(held, at_ns)

    def wakes_on_arrival(self, held: Held) -> bool:
        if not listens(held) or self.has_trades:
            return super().wakes_on_arrival(held)
        return self.is_valid and self.best_rings(held)

    def best_rings(self, held: Held) -> bool:
        """Whether the best price of the other side wakes a sleeping order."""
        assert held.alarm is not None
        best = self.best(held.side.opposite)
        return best is not None and held.alarm.rings(best, best, self.one_step)

    def woken(self, held: Held, at_ns: int) -> None:
        held.waits, held.since_ns = "update", at_ns

    def work(self, held: Held, at_ns: int) -> None:
        """Take from the display what the order may take; what is left rests or ends."""
        takes = held.limit is None or self.would_take(held, held.limit)
        has_time = held.alarm is not None or (held.limit is not None and held.rests and not held.post_only)
        if has_time:
            nobody_knows = not self.is_valid or (takes and self.is_stale(at_ns))
            if nobody_knows:
                held.waits, held.since_ns = "update", -1
                return
        why = "no_liquidity"
        if takes and self.is_valid and not self.is_stale(at_ns):
            why = self.walk(held, at_ns)
        if self.rules is not None and held.limit is not None:
            self.rules.meet_all(held, held.limit, at_ns)
        if held.is_over:
            return
        if held.limit is None and held.parent_id:
            held.waits, held.since_ns = (
                "update",
                -1,
            )  # the stop or target of a fill gets the rest from what is displayed next
        elif held.limit is None:
            self.exchange.end(held, OrderState.CANCELLED, why, at_ns)
        elif not held.rests:
            self.unfilled(held, at_ns)
        else:
            held.queue.join(self.queue(held.side, held.limit) if self.is_valid else None)

    def walk(self, held: Held, at_ns: int) -> str:
        """Take level after level, less what was eaten of each; return why a rest of a market order is left."""
        side, why = held.side.opposite, "no_liquidity"
        offers = [(t, max(0, lots - self.eaten.get((side, t), 0)), True) for t, lots in self.levels(side)]
        offers = [offer for offer in offers if held.accepts(offer[0])]
        if self.excess_slippage_bps is not None and self.levels(side):
            worst = float(price_at(self.instrument, self.levels(side)[-1][0]))
            price = worst * (1 + held.side.sign * self.excess_slippage_bps / 10_000)
            ticks = self.against(price, held.side)
            if ticks > 0 and held.accepts(ticks):
                offers.append((ticks, held.left, False))
        end = None if self.rules is None else self.rules.last_price(held, self.best(side))
        if end is not None and any(is_beyond(end, held, offer[0]) for offer in offers):
            why = end[1]
            offers = [offer for offer in offers if not is_beyond(end, held, offer[0])]
        if held.tif is TimeInForce.FOK and not self._fills_whole(held, offers):
            self.unfilled(held, at_ns)
            return why
        if held.tif is TimeInForce.FOK and self._ends_at_own(held, offers):
            self.exchange.end(held, OrderState.CANCELLED, "self_trade", at_ns)
            return why
        for ticks, offered, is_shown in offers:
            while self.rules is not None and (own := self.rules.first_own(held, ticks)) is not None:
                first = min(offered, self._before(own, ticks))
                self._eat(held, ticks, first, at_ns, is_shown=is_shown)
                offered -= first
                if not held.is_over:
                    self.rules.clash(held, own, at_ns)
                if held.is_over:
                    return why
            self._eat(held, ticks, offered, at_ns, is_shown=is_shown)
        return why

    def _fills_whole(self, held: Held, offers: Sequence[tuple[int, int, bool]]) -> bool:
        """Whether there is enough for an order, and the money for it at the worst of these prices."""
        wanted = held.left
        for ticks, lots, _ in offers:
            wanted -= lots
            if wanted <= 0:
                return self.exchange.can_have(held, ticks)
        return False

    def _eat(self, held: Held, ticks: int, offered: int, at_ns: int, *, is_shown: bool) -> None:
        """Take of a level what the order still wants."""
        lots, side = min(offered, held.left), held.side.opposite
        if lots and not held.is_over:
            got = self.exchange.fill(held, lots, ticks, is_maker=False, at_ns=at_ns)
            if is_shown:
                self.eaten[side, ticks] = self.eaten.get((side, ticks), 0) + got

    def _before(self, own: Held, ticks: int) -> int:
        """Return what of a level is taken before an order of ours is reached."""
        if own.limit != ticks:
            return 0
        shown = dict(self.levels(own.side)).get(ticks, 0)
        stands = shown if own.queue.ahead is None else min(shown, own.queue.ahead)
        return max(0, stands - self.eaten.get((own.side, ticks), 0))

    def _ends_at_own(self, held: Held, offers: Sequence[tuple[int, int, bool]]) -> bool:
        """Whether an order that must fill whole would be ended by one of ours on its way."""
        if self.rules is None or self.rules.mode != "cancel_taker":
            return False
        wanted = held.left
        for ticks, offered, _ in offers:
            own = self.rules.first_own(held, ticks)
            if own is not None:
                return min(offered, self._before(own, ticks)) < wanted
            wanted -= offered
            if wanted <= 0:
                return False
        return False

    # Rows -----------------------------------------------------------------------------------------------------

    def updated(self, at_ns: int, update_ns: int) -> None:
        """Let a display that was just applied move queues, fill what it crosses, and serve stops."""
        self.updated_ns = at_ns if self.updated_ns is None else max(at_ns, self.updated_ns)
        if not self.is_valid:
            return
        for held in list(self.orders):
            if held.is_over:
                continue
            opposite = held.side.opposite
            if held.is_asleep:
                is_due = listens(held) and not self.has_trades and held.arrived_ns <= update_ns
                if is_due and self.best_rings(held) and self.goes_off(held, at_ns):
                    self.work(held, at_ns)
            elif held.waits:
                if held.arrived_ns <= update_ns and held.since_ns <= update_ns:
                    held.waits = ""
                    self.work(held, at_ns)
            else:
                assert held.limit is not None
                untouched = [t for t, lots in self.levels(opposite) if lots > self.eaten.get((opposite, t), 0)]
                if not self.eaten:
                    # A level smaller than one size step is still a price that the other side has reached.
                    untouched = [t for t, _ in self.levels(opposite)]
                if held.arrived_ns <= update_ns and untouched and held.better(untouched[0]) >= 0:
                    self.exchange.fill(held, held.left, held.limit, is_maker=True, at_ns=at_ns)
                    continue
                shown = self.queue(held.side, held.limit)
                if shown is not None:
                    held.queue.shown(shown, self.stamp_ns)

    def on_trade(self, trade: Trade, clock_ns: int) -> None:
        """Let one print move queues, fill, and set stops off."""
        self.last = trade.price
        size = self.whole_lots(trade.qty)
        given = 0
        for held in self.eligible(trade.exchange_ns):
            ticks = self.against(trade.price, held.side)
            if held.is_asleep:
                if listens(held) and self.rings(held, trade.price) and self.goes_off(held, clock_ns):
                    held.waits, held.since_ns = "update", trade.exchange_ns
            elif held.waits or not self.is_valid:
                continue
            elif held.better(ticks) > 0:
                assert held.limit is not None
                if self.own_side_prints or trade.side is held.side.opposite:
                    self.exchange.fill(held, held.left, held.limit, is_maker=True, at_ns=clock_ns)
            elif held.better(ticks) == 0 and trade.side is not held.side and held.queue.ahead is not None:
                behind = size - held.queue.traded(size, trade.exchange_ns) - given
                lots = min(held.left, max(0, behind))
                if lots:
                    given += lots
                    self.exchange.fill(held, lots, ticks, is_maker=True, at_ns=clock_ns)


class BookVenue(DisplayedVenue):
    """A book of several levels."""

    def __init__(
        self,
        instrument: Instrument,
        exchange: Exchange,
        *,
        stale_after_ns: int,
        has_trades: bool,
        book: NaiveBook,
        queue_model: str,
    ) -> None:
        super().__init__(
            instrument,
            exchange,
            stale_after_ns=stale_after_ns,
            has_trades=has_trades,
            excess_slippage_bps=None,
            queue_model=queue_model,
        )
        self.book = book

    @property
    def is_valid(self) -> bool:
        return self.book.is_valid

    def met(self, side: Side) -> dict[int, float]:
        """Return the sizes at the steps where orders meet them, best first."""
        sizes: dict[int, float] = {}
        for price, size in self.book.levels(side):
            ticks = self.at_step(price, up=side is Side.SELL)
            sizes[ticks] = sizes.get(ticks, 0.0) + size
        return sizes

    def levels(self, side: Side) -> list[tuple[int, int]]:
        return [(ticks, self.whole_lots(size)) for ticks, size in self.met(side).items()]

    def queue(self, side: Side, ticks: int) -> int | None:
        levels = self.met(side)
        if ticks in levels:
            return self.whole_lots(levels[ticks], up=True)
        # Between or before the levels that are shown there is nothing; beyond the last one nobody knows.
        is_inside = not levels or any((other - ticks) * side.sign < 0 for other in levels)
        return 0 if is_inside else None

    def on_book(self, update: BookUpdate, clock_ns: int) -> None:
        """Apply one row; what we ate of a level is forgotten when the level is shown anew."""
        before = {side: dict(self.levels(side)) for side in Side}
        if not self.is_valid:
            for held in self.orders:
                held.queue.gap()
        self.book.apply(update)
        self.stamp_ns = update.exchange_ns
        if update.is_snapshot:
            after = {side: dict(self.levels(side)) for side in Side}
            self.eaten = {(s, t): n for (s, t), n in self.eaten.items() if after[s].get(t) == before[s].get(t)}
        else:
            for side, price, _ in named_levels(update):
                self.eaten.pop((side, self.at_step(price, up=side is Side.SELL)), None)
        self.updated(clock_ns, update.exchange_ns)


class TickerVenue(DisplayedVenue):
    """Best bid and offer: a display one level deep."""

    ticker: Ticker | None = None

    @property
    def is_valid(self) -> bool:
        return self.ticker is not None

    def levels(self, side: Side) -> list[tuple[int, int]]:
        assert self.ticker is not None
        price = self.ticker.bid if side is Side.BUY else self.ticker.ask
        qty = self.ticker.bid_qty if side is Side.BUY else self.ticker.ask_qty
        if price is None or qty is None:
            return []
        return [(self.at_step(price, up=side is Side.SELL), self.whole_lots(qty))]

    def queue(self, side: Side, ticks: int) -> int | None:
        levels = self.levels(side)
        if not levels:
            return None
        best, _ = levels[0]
        if ticks == best:
            assert self.ticker is not None
            qty = self.ticker.bid_qty if side is Side.BUY else self.ticker.ask_qty
            return None if qty is None else self.whole_lots(qty, up=True)
        return 0 if (ticks - best) * side.sign > 0 else None

    def on_ticker(self, ticker: Ticker, clock_ns: int) -> None:
        """Show the new best bid and offer; what we ate stays eaten while price and size are the same."""
        before = {} if self.ticker is None else {side: self.levels(side) for side in Side}
        self.ticker = ticker
        self.eaten = {(s, t): n for (s, t), n in self.eaten.items() if before.get(s) == self.levels(s)}
        self.updated(clock_ns, ticker.exchange_ns)
