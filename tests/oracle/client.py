"""The oracle's side of the strategy: calls become orders on the steps, reports bring them up to date.

Written from the law (ENGINE.md, section 5) and the promises of `Strategy`, not from the engine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any, Protocol

import msgspec
from oracle.ledger import Ledger, leg_of, price_at, size_of, tradable_lots
from oracle.venues import on_grid

from quantkit.errors import OrderError
from quantkit.instruments import Instrument, Side
from quantkit.orders import (
    Fill,
    Order,
    OrderState,
    OrderTerms,
    PositionSide,
    RequestTerms,
    StopLoss,
    TakeProfit,
    TimeInForce,
    TriggerPrices,
    TriggerType,
)

#: The numbers of an order that are put on steps, by its fields and those of its terms.
_NUMBERS = ("lots", "price_ticks", "stop_ticks", "take_profit_ticks", "trailing_ticks", "activation_ticks")


class News(Protocol):
    """What the exchange says of an order."""

    due_ns: int
    order_id: str
    state: OrderState
    reason: str
    lots: int
    limit: int | None
    fill: Fill | None
    introduces: Order | None
    trigger: TriggerPrices | None


class Wire(Protocol):
    """The way to the exchange."""

    def submit(self, order: Order, now_ns: int) -> int: ...
    def cancel(self, order_id: str, now_ns: int) -> None: ...
    def amend(
        self,
        order_id: str,
        now_ns: int,
        *,
        lots: int | None,
        price_ticks: int | None,
        change: TriggerPrices | None = None,
    ) -> None: ...


class Client:
    """Sends orders and remembers what was asked for and what has been told.

    Attributes:
        refusal: Why nothing may be sent at present.
        wanted_later: Targets called for during the warm-up.
        wanted: Size and limit last asked for, by order.
        leaving: Orders whose cancel is on its way.
        marked: Instruments with a mark price all along.
    """

    def __init__(self, wire: Wire, ledger: Ledger, *, run_id: str, now_ns: Callable[[], int]) -> None:
        self.wire = wire
        self.ledger = ledger
        self.run_id = run_id
        self.now_ns = now_ns
        self.orders: dict[str, Order] = {}
        self.calls = 0
        self.is_moved = False  # whether a target or stop of the present call was not on the step
        self.of_name: dict[str, list[Order]] = {}  # the orders of the latest OCO group of a name
        self.groups_of: dict[str, int] = {}  # how many groups had the name
        self.refusal = ""
        self.wanted_later: dict[str, float] = {}
        self.wanted: dict[str, tuple[int, int | None]] = {}
        self.leaving: set[str] = set()
        self.marked: set[str] = set()
        self.rounded: dict[str, set[tuple[str, int]]] = {}  # numbers of an order that were moved to the steps
        self.last_target: dict[str, Order] = {}
        self.last_quote: dict[tuple[str, Side], Order] = {}

    def instrument(self, name: str) -> Instrument:
        """Return an instrument of the run."""
        if name not in self.ledger.instruments:
            raise OrderError(name)
        return self.ledger.instruments[name]

    def _side(self, name: str, side: str) -> PositionSide:
        """Return which position a call means, which has to be named where there are two."""
        sides = self.ledger.sides_of(name)
        if not side and sides == [PositionSide.NET]:
            return PositionSide.NET
        if side not in sides:
            raise OrderError(side)
        return PositionSide(side)

    # Numbers ----------------------------------------------------------------------------------------------------

    @staticmethod
    def _usable(value: float) -> float:
        if not math.isfinite(value) or value <= 0:
            raise OrderError(str(value))
        return float(value)

    def _lots(self, instrument: Instrument, qty: float) -> int:
        """Return a size in lots: toward zero on its step."""
        return on_grid(self._usable(qty), instrument.qty_step, instrument.lot, up=False)

    def _ticks(self, instrument: Instrument, price: float, side: Side, *, is_stop: bool = False) -> int:
        """Return a price in ticks: limits to the passive side, stops away from the market."""
        up = (side is Side.BUY) is is_stop
        ticks = on_grid(self._usable(price), instrument.price_step, instrument.tick, up=up)
        if ticks <= 0:
            raise OrderError(str(price))
        return ticks

    @staticmethod
    def _price(instrument: Instrument, ticks: int | None) -> float | None:
        return None if ticks is None else float(price_at(instrument, ticks))

    # Calls ------------------------------------------------------------------------------------------------------

    def send(
        self,
        name: str,
        side: Side,
        qty: float,
        *,
        price: float | None = None,
        stop_price: float | None = None,
        post_only: bool = False,
        reduce_only: bool = False,
        time_in_force: str = "GTC",
        tag: str = "",
        terms: RequestTerms | None = None,
        position_side: str = "",
    ) -> Order:
        """Send an order, or refuse it at once."""
        instrument = self.instrument(name)
        leg = self._side(name, position_side)
        if leg is not PositionSide.NET:
            is_opening = side is (Side.BUY if leg is PositionSide.LONG else Side.SELL)
            has_bracket = terms is not None and (terms.take_profit is not None or terms.stop_loss is not None)
            if (is_opening and reduce_only) or (not is_opening and has_bracket):
                raise OrderError("an order opens a leg or closes it")
            reduce_only = not is_opening
        wish = RequestTerms() if terms is None else terms
        lots = self._lots(instrument, qty)
        limit = None if price is None else self._ticks(instrument, price, side)
        stop = None if stop_price is None else self._ticks(instrument, stop_price, side, is_stop=True)
        tif = TimeInForce(time_in_force)
        trails = wish.trailing_offset is not None or wish.trailing_offset_bps is not None
        target = None
        if wish.take_profit_price is not None:
            target = self._ticks(instrument, wish.take_profit_price, side)
        self._check_terms(name, wish, limit=limit, triggers=[stop is not None, target is not None, trails])
        if wish.expire_time is not None:
            if tif not in (TimeInForce.GTC, TimeInForce.GTD) or not isinstance(wish.expire_time, int):
                raise OrderError("expire_time")
            if wish.expire_time <= self.now_ns() or (limit is None and stop is None and target is None and not trails):
                raise OrderError("expire_time")
            tif = TimeInForce.GTD
        elif tif is TimeInForce.GTD:
            raise OrderError("GTD")
        may_rest = tif in (TimeInForce.GTC, TimeInForce.GTD)
        if post_only and (limit is None or stop is not None or target is not None or not may_rest):
            raise OrderError("post_only")
        gap = self._gap(instrument, wish.trailing_offset)
        start = None if wish.activation_price is None else self._ticks(instrument, wish.activation_price, side)
        self.is_moved = False
        linked = self._terms(instrument, side, limit, reduce_only=reduce_only, asked=wish)
        kept = msgspec.structs.replace(
            linked,
            take_profit_price=self._price(instrument, target),
            take_profit_ticks=target,
            trigger_type=TriggerType(wish.trigger_type),
            trailing_offset=self._price(instrument, gap),
            trailing_ticks=gap,
            trailing_offset_bps=None if wish.trailing_offset_bps is None else self._usable(wish.trailing_offset_bps),
            activation_price=self._price(instrument, start),
            activation_ticks=start,
            expire_ns=wish.expire_time if isinstance(wish.expire_time, int) else None,
        )
        own = None if terms is None else kept
        self.calls += 1
        order = Order(
            id=f"{self.run_id}{self.calls}",
            instrument=name,
            side=side,
            qty=float(size_of(instrument, lots)),
            price=self._price(instrument, limit),
            stop_price=self._price(instrument, stop),
            time_in_force=tif,
            post_only=post_only,
            reduce_only=reduce_only,
            tag=tag,
            state=OrderState.REJECTED if self.refusal else OrderState.PENDING,
            reason=self.refusal,
            sent_ns=self.now_ns(),
            updated_ns=self.now_ns(),
            lots=lots,
            price_ticks=limit,
            stop_ticks=stop,
            terms=own,
            position_side=leg,
        )
        self.orders[order.id] = order
        if terms is not None and terms.oco_group and not self.refusal:
            others = self.of_name.get(terms.oco_group, [])
            if not others or others[0].oco_group != order.oco_group:
                self.of_name[terms.oco_group] = others = []
                self.groups_of[terms.oco_group] = self.groups_of.get(terms.oco_group, 0) + 1
            others.append(order)
        self.rounded[order.id] = set()
        self._note_rounding(order, "lots", lots, qty, order.qty)
        self._note_rounding(order, "price_ticks", limit, price, order.price)
        self._note_rounding(order, "stop_ticks", stop, stop_price, order.stop_price)
        self._note_rounding(order, "take_profit_ticks", target, wish.take_profit_price, kept.take_profit_price)
        self._note_rounding(order, "trailing_ticks", gap, wish.trailing_offset, kept.trailing_offset)
        self._note_rounding(order, "activation_ticks", start, wish.activation_price, kept.activation_price)
        self._say_rounding(order)
        if self.is_moved:
            self._set(order, note="rounded")
        if not self.refusal:
            self.wanted[order.id] = (lots, limit)
            left_ns = self.wire.submit(order, self.now_ns())
            self._set(order, sent_ns=left_ns, updated_ns=left_ns)
        return order

    def _terms(
        self, instrument: Instrument, side: Side, limit: int | None, *, reduce_only: bool, asked: RequestTerms
    ) -> OrderTerms:
        """Return what an order has beyond a plain one."""
        target, stop = asked.take_profit, asked.stop_loss
        if (target is not None or stop is not None) and (reduce_only or (instrument.is_spot and side is Side.SELL)):
            raise OrderError("nothing to protect")
        take_profit = stop_loss = None
        if target is not None:
            target = target if isinstance(target, TakeProfit) else TakeProfit(target)
            take_profit = TakeProfit(
                self._on_step(instrument, target.price, side.opposite),
                None if target.limit is None else self._on_step(instrument, target.limit, side.opposite),
                target.trigger_type,
            )
        if stop is not None:
            stop = stop if isinstance(stop, StopLoss) else StopLoss(stop)
            ways = [each for each in (stop.price, stop.trailing_offset, stop.trailing_offset_bps) if each is not None]
            if len(ways) != 1 or (stop.price is None and (stop.limit is not None or stop.trigger_type == "index")):
                raise OrderError("stop")
            stop_loss = StopLoss(
                None if stop.price is None else self._on_step(instrument, stop.price, side),
                None if stop.limit is None else self._on_step(instrument, stop.limit, side.opposite),
                stop.trigger_type,
                None if stop.trailing_offset is None else self._on_step(instrument, stop.trailing_offset, Side.SELL),
                stop.trailing_offset_bps,
            )
        for spec in (take_profit, stop_loss):
            if spec is not None and spec.trigger_type != "last" and instrument.id not in self.marked:
                raise OrderError("marks")
        own = [
            None if take_profit is None else take_profit.limit or take_profit.price,
            self._price(instrument, limit),
            None if stop_loss is None else stop_loss.price,
        ]
        falling = [each * side.sign for each in own if each is not None]
        if any(later >= earlier for earlier, later in pairwise(falling)):
            raise OrderError("target, limit and stop")
        return OrderTerms(
            oco_group=self._group(asked.oco_group, instrument.id), take_profit=take_profit, stop_loss=stop_loss
        )

    def _on_step(self, instrument: Instrument, price: float, side: Side) -> float:
        on_step = float(price_at(instrument, self._ticks(instrument, price, side)))
        self.is_moved |= on_step != price
        return on_step

    def _group(self, name: str, instrument: str) -> str:
        """Return the group that a name stands for now: a new one once all orders of the last are over."""
        if not name:
            return ""
        if "#" in name:
            raise OrderError("a name of the exchange's own")
        orders = self.of_name.get(name, [])
        if not orders:
            return name
        if any(order.is_open for order in orders):
            if orders[0].instrument != instrument:
                raise OrderError("a group is of one instrument")
            return orders[0].oco_group
        return f"{name}#{self.groups_of[name] + 1}"

    def _check_terms(self, name: str, wish: RequestTerms, *, limit: int | None, triggers: list[bool]) -> None:
        """Refuse what no order can have."""
        trails = triggers[-1]
        if sum(triggers) > 1 or (wish.trailing_offset is not None and wish.trailing_offset_bps is not None):
            raise OrderError("two triggers")
        if trails and (limit is not None or wish.trigger_type == "index"):
            raise OrderError("trailing")
        if wish.activation_price is not None and not trails:
            raise OrderError("activation_price")
        if wish.trigger_type != "last" and (not any(triggers) or name not in self.marked):
            raise OrderError("trigger_type")

    def _gap(self, instrument: Instrument, asked: float | None) -> int | None:
        """Return a distance in ticks, up on its step."""
        return None if asked is None else self._ticks(instrument, asked, Side.SELL)

    @staticmethod
    def _set(order: Order, **fields: Any) -> None:
        """Write an order, which is frozen for everybody else."""
        for name, value in fields.items():
            msgspec.structs.force_setattr(order, name, value)

    def _note_rounding(
        self, order: Order, name: str, steps: int | None, asked: float | None, got: float | None
    ) -> None:
        if steps is not None:
            self.rounded[order.id].discard((name, steps))
            if asked is not None and float(asked) != got:
                self.rounded[order.id].add((name, steps))

    def _say_rounding(self, order: Order) -> None:
        """Let an order say that one of the numbers it has now was rounded; how it is worded is not the law's."""
        holders = [order] if order.terms is None else [order, order.terms]
        numbers = {(name, getattr(each, name)) for name in _NUMBERS for each in holders if hasattr(each, name)}
        is_rounded = bool(numbers & self.rounded[order.id])
        self._set(order, note="rounded" if is_rounded else "")

    def _may_change(self, order: Order) -> bool:
        return order.is_open and order.id not in self.leaving and not self.refusal

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
    ) -> None:
        """Send a change of an open order."""
        instrument = self.instrument(order.instrument)
        terms = OrderTerms() if order.terms is None else order.terms
        trails = terms.trailing_ticks is not None or terms.trailing_offset_bps is not None
        change, asked = None, (stop_price, take_profit_price, trailing_offset, trailing_offset_bps)
        if any(number is not None for number in asked):
            has = (
                order.stop_ticks is not None and not trails,
                terms.take_profit_ticks is not None,
                terms.trailing_ticks is not None,
                terms.trailing_offset_bps is not None,
            )
            if any(number is not None and not there for number, there in zip(asked, has, strict=True)):
                raise OrderError("amend")
            at = None if stop_price is None else self._ticks(instrument, stop_price, order.side, is_stop=True)
            if take_profit_price is not None:
                at = self._ticks(instrument, take_profit_price, order.side)
            bps = None if trailing_offset_bps is None else self._usable(trailing_offset_bps)
            change = TriggerPrices(at, self._gap(instrument, trailing_offset), bps)
        if (qty is None and price is None and change is None) or (price is not None and order.price_ticks is None):
            raise OrderError("amend")
        lots = None if qty is None else self._lots(instrument, qty)
        limit = None if price is None else self._ticks(instrument, price, order.side)
        if not self._may_change(order):
            return
        before = self.wanted[order.id]
        self.wanted[order.id] = (before[0] if lots is None else lots, before[1] if limit is None else limit)
        if lots is not None:
            self._note_rounding(order, "lots", lots, qty, float(size_of(instrument, lots)))
        self._note_rounding(order, "price_ticks", limit, price, self._price(instrument, limit))
        if change is not None:
            kind, number = (
                ("stop_ticks", stop_price) if stop_price is not None else ("take_profit_ticks", take_profit_price)
            )
            self._note_rounding(order, kind, change.ticks, number, self._price(instrument, change.ticks))
            gap = change.trailing_ticks
            self._note_rounding(order, "trailing_ticks", gap, trailing_offset, self._price(instrument, gap))
        self.wire.amend(order.id, self.now_ns(), lots=lots, price_ticks=limit, change=change)

    def cancel(self, order: Order) -> None:
        """Send a cancel of an open order, once."""
        if self._may_change(order):
            self.leaving.add(order.id)
            self.wire.cancel(order.id, self.now_ns())

    def open_orders(self, name: str | None) -> list[Order]:
        """Return what may still fill as far as told, in the order of sending."""
        return [order for order in self.orders.values() if order.is_open and name in (None, order.instrument)]

    def cancel_all(self, name: str | None) -> None:
        """Cancel every open order."""
        for order in self.open_orders(name):
            self.cancel(order)

    def close(self, name: str, side: str = "") -> Order | None:
        """Cancel the position's orders, but one that is already on its way to the target, and leave the position."""
        self.instrument(name)
        position_side = self._side(name, side)
        for order in self.open_orders(name):
            is_its = order.position_side is position_side
            if is_its and order is not self.last_target.get(leg_of(name, position_side)):
                self.cancel(order)
        return self.target(name, 0, side)

    def target(self, name: str, qty: float, side_named: str = "") -> Order | None:
        """Send what is missing to a position, counting what is held and what an earlier call has under way."""
        instrument = self.instrument(name)
        position_side = self._side(name, side_named)
        leg = leg_of(name, position_side)
        if qty * {"long": -1, "short": 1}.get(position_side, 0) > 0:
            raise OrderError(str(qty))
        if not math.isfinite(qty):
            raise OrderError(str(qty))
        if self.refusal == "warmup":
            self.wanted_later[leg] = qty
            return None
        aim = on_grid(abs(qty), instrument.qty_step, instrument.lot, up=False) * (1 if qty >= 0 else -1)
        held = tradable_lots(instrument, self.ledger.qty(leg))
        missing = aim - held
        side = Side.BUY if missing > 0 else Side.SELL
        under_way = self.last_target.get(leg)
        if under_way is not None and under_way.is_open and under_way.id not in self.leaving:
            if missing and under_way.side is side:
                whole = under_way.filled_lots + abs(missing)
                if self.wanted[under_way.id][0] == whole:
                    return None
                self.amend(under_way, qty=float(size_of(instrument, whole)))
                return under_way
            self.cancel(under_way)
        is_large_enough = size_of(instrument, abs(missing)) >= Fraction(instrument.min_qty)
        closes_contract = not instrument.is_spot and held != 0 and aim == 0
        if not missing or not (is_large_enough or closes_contract):
            return None
        qty = float(size_of(instrument, abs(missing)))
        self.last_target[leg] = self.send(name, side, qty, position_side=side_named)
        return self.last_target[leg]

    def quote(
        self, name: str, *, bid: float | None, ask: float | None, qty: float
    ) -> tuple[Order | None, Order | None]:
        """Keep a post-only order on each side that has a price."""
        self._side(name, "")
        return self._keep(name, Side.BUY, bid, qty), self._keep(name, Side.SELL, ask, qty)

    def _keep(self, name: str, side: Side, price: float | None, qty: float) -> Order | None:
        order = self.last_quote.get((name, side))
        is_there = order is not None and order.is_open and order.id not in self.leaving
        if price is None:
            if order is not None and is_there:
                self.cancel(order)
            return None
        if order is None or not is_there:
            order = self.last_quote[name, side] = self.send(name, side, qty, price=price, post_only=True)
            return order
        instrument = self.instrument(name)
        if (self._lots(instrument, qty), self._ticks(instrument, price, side)) != self.wanted[order.id]:
            self.amend(order, qty=qty, price=price)
        return order

    # Reports ----------------------------------------------------------------------------------------------------

    def take(self, news: News) -> Order:
        """Bring an order up to date."""
        if news.introduces is not None:
            made = news.introduces
            self.orders[made.id] = made
            self.wanted[made.id] = (news.lots, made.price_ticks)
            self.rounded[made.id] = set()
        order = self.orders[news.order_id]
        instrument = self.instrument(order.instrument)
        self._set(order, state=news.state, reason=news.reason, updated_ns=news.due_ns)
        self._set(order, lots=news.lots, qty=float(size_of(instrument, news.lots)))
        if news.limit is not None:
            self._set(order, price_ticks=news.limit, price=self._price(instrument, news.limit))
        if news.trigger is not None:
            self._restate(order, instrument, news.trigger)
        if news.reason == "amended":
            self._say_rounding(order)
        if news.reason.startswith("amend_refused"):
            self.wanted[order.id] = (order.lots, order.price_ticks)
        if news.fill is not None:
            self._count(order, instrument, news.fill)
        return order

    def _restate(self, order: Order, instrument: Instrument, trigger: TriggerPrices) -> None:
        """Let an order say where its trigger stands."""
        price, terms = self._price(instrument, trigger.ticks), order.terms
        if terms is not None and terms.take_profit_ticks is not None:
            fields: dict[str, Any] = {"take_profit_ticks": trigger.ticks, "take_profit_price": price}
        else:
            self._set(order, stop_ticks=trigger.ticks, stop_price=price)
            gap = trigger.trailing_ticks
            fields = {"trailing_ticks": gap, "trailing_offset": self._price(instrument, gap)}
            fields["trailing_offset_bps"] = trigger.trailing_offset_bps
        if terms is not None:
            self._set(order, terms=msgspec.structs.replace(terms, **fields))

    def _count(self, order: Order, instrument: Instrument, fill: Fill) -> None:
        """Add a fill; the average of several is weighted by size, harmonic where a contract's worth is."""
        size, price = fill.lots, price_at(instrument, fill.ticks)
        if order.average_price is not None:
            # It goes on from the average that was shown, a float.
            before = Fraction(order.average_price)
            whole = order.filled_lots + fill.lots
            if instrument.is_inverse:
                price = whole / (order.filled_lots / before + size / price)
            else:
                price = (order.filled_lots * before + size * price) / whole
        whole = order.filled_lots + fill.lots
        self._set(order, average_price=float(price), filled_lots=whole, filled_qty=float(size_of(instrument, whole)))
