"""OKX's order rules of the oracle, from docs/order-rules.md: what is refused on arrival, and how far orders fill."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from quantkit.instruments import Instrument, Side
from quantkit.orders import OrderState, PositionSide, TimeInForce

if TYPE_CHECKING:
    from oracle.exchange import Exchange, Held

WORDS = {
    "51150": "price is no multiple of the tick size",
    "51020": "size is below the smallest order",
    "51121": "size is no multiple of the lot size",
    "51006": "price is outside the price limit",
    "51169": "there is no position to reduce",
    "51170": "a reduce-only order on the side of the position",
    "51112": "a closing order above the position",
    "51148": "a reduce-only order above the position",
    "51171": "the change leaves a reduce-only order above the position",
    "54036": "fill-or-kill with the self-trade prevention mode cancel_both",
    "50011": "more than 60 requests of one kind for the instrument within 2 s",
}


@dataclass
class OrderRules:
    """The rules at one market.

    Attributes:
        exchange: Whose they are.
        mode: Of self-trade prevention.
        highest, lowest: The price limit as told last; None where there is none.
        asked: When requests of each kind that were let through arrived.
    """

    exchange: Exchange
    mode: str
    highest: float | None = None
    lowest: float | None = None

    def __post_init__(self) -> None:
        self.asked: dict[str, list[int]] = {"submit": [], "amend": [], "cancel": []}

    def too_many(self, kind: str, at_ns: int) -> str:
        """Return the refusal of the request that is one too many; else count it."""
        lately = [moment for moment in self.asked[kind] if moment > at_ns - 2 * 10**9]
        if len(lately) >= 60:
            return said("50011")
        self.asked[kind].append(at_ns)
        return ""

    def refuses(self, held: Held, lots: int, limit: int | None) -> str:
        """Return why an order, or what it is to become, is refused."""
        instrument = self.exchange.ledger.instruments[held.instrument]
        lot, tick = Fraction(instrument.lot), Fraction(instrument.tick)
        size, left, step = lots * lot, (lots - held.filled) * lot, Fraction(instrument.qty_step)
        position = self.exchange.ledger.qty(held.leg)
        against = -position * held.side.sign  # what it could take off a position
        if limit is not None and (limit * tick) % Fraction(instrument.price_step):
            return said("51150")
        takes_whole = not instrument.is_spot and against > 0
        takes_whole = takes_whole and (left == against or (held.reduce_only and left > against))
        if size < Fraction(instrument.min_qty) and not takes_whole:
            return said("51020")
        if size % step or left % step:
            return said("51121")
        is_new = held.state is OrderState.PENDING
        if limit is not None and not held.is_asleep and (is_new or limit != held.limit):
            bound = self.edge(held.side, instrument)
            if bound is not None and (limit - bound) * held.side.sign > 0:
                return said("51006")
        if held.reduce_only and not held.is_asleep and not instrument.is_spot:
            if against == 0:
                return said("51169")
            if against < 0:
                return said("51170")
            if left > against:
                is_leg = held.position_side is not PositionSide.NET
                return said("51112" if is_leg else "51148" if is_new else "51171")
        if held.tif is TimeInForce.FOK and self.mode == "cancel_both":
            return said("54036")
        return ""

    def edge(self, side: Side, instrument: Instrument) -> int | None:
        """Return the last price of a side within the price limit, in ticks, on the step."""
        told = self.highest if side is Side.BUY else self.lowest
        if told is None:
            return None
        step = Fraction(instrument.price_step)
        steps = Fraction(str(told)) / step
        whole = math.floor(steps) if side is Side.BUY else math.ceil(steps)
        return int(whole * step / Fraction(instrument.tick))

    def last_price(self, held: Held, best: int | None) -> tuple[int, str] | None:
        """Return how far a market order fills and the reason of its end there; None: as far as there is something."""
        instrument = self.exchange.ledger.instruments[held.instrument]
        ends: list[tuple[int, str]] = []
        if held.limit is not None:
            return None
        edge = self.edge(held.side, instrument)
        if edge is not None and not instrument.is_spot:
            ends.append((edge, "price_limit"))
        if best is not None:
            away = Fraction(best) * (100 + 5 * held.side.sign) / 100
            ends.append((math.floor(away) if held.side is Side.BUY else math.ceil(away), "slippage"))
        ends.sort(key=lambda end: end[0] * held.side.sign)
        return ends[0] if ends else None

    def clash(self, taker: Held, maker: Held, at_ns: int) -> None:
        """End whom the mode ends, the one that rests first."""
        for held, spared in ((maker, "cancel_taker"), (taker, "cancel_maker")):
            if self.mode != spared:
                self.exchange.end(held, OrderState.CANCELLED, "self_trade", at_ns)

    def first_own(self, taker: Held, up_to: int) -> Held | None:
        """Return the resting order of ours on the other side that is met first up to a price."""
        found = [
            held
            for held in self.exchange.venues[taker.instrument].orders
            if held.side is taker.side.opposite and held.limit is not None and not (held.is_asleep or held.waits)
        ]
        found = [held for held in found if held.limit is not None and (held.limit - up_to) * taker.side.sign <= 0]
        return min(found, key=lambda held: (held.limit or 0) * taker.side.sign, default=None)

    def meet_all(self, taker: Held, up_to: int, at_ns: int) -> None:
        """Let an order meet every order of ours up to a price."""
        while not taker.is_over:
            maker = self.first_own(taker, up_to)
            if maker is None:
                return
            self.clash(taker, maker, at_ns)


def said(code: str) -> str:
    """Return a reason as an order carries it."""
    return f"{code}: {WORDS[code]}"


def is_beyond(end: tuple[int, str] | None, held: Held, ticks: int) -> bool:
    """Whether a market order may not fill at a price any more."""
    return end is not None and (ticks - end[0]) * held.side.sign > 0
