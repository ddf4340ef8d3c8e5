"""What the strategy's side of orders keeps of each instrument: open orders, target, quote and position."""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from quantkit.brokers.base import AskedOrder
from quantkit.instruments import Instrument, Side
from quantkit.orders import Order

#: Size, price or stop, and how many steps it has.
Number: TypeAlias = tuple[str, int | None]


class OpenOrder(msgspec.Struct, eq=False, gc=False):
    """An order that may still fill, as far as reported, and what was asked of it.

    Attributes:
        lots, ticks: Size and limit last asked for, in steps.
        roundings: How each number asked for so far was rounded to the steps; empty text for those on them. By what was
            asked for, so that a report finds the note of its own numbers.
        number: Counts the orders of the run in the order in which they became known.
        is_cancelling: Whether a cancel has been sent.
    """

    order: Order
    lots: int
    ticks: int | None
    roundings: dict[Number, str]
    number: int
    is_cancelling: bool = False


class QuoteSide:
    """One side of a quote: the order that is there for it, and the numbers that were rounded last.

    Attributes:
        name: The side as an argument of `quote`: `bid` or `ask`.
        kept: The order; None before the first, and after one that was refused.
        price, qty, instrument: As asked for, and on whose steps; None before the first.
        lots, ticks: The same in steps.
    """

    __slots__ = ("instrument", "kept", "lots", "name", "price", "qty", "side", "ticks")

    def __init__(self, side: Side) -> None:
        self.name = "bid" if side is Side.BUY else "ask"
        self.side = side
        self.kept: OpenOrder | None = None
        self.instrument: Instrument | None = None
        self.price, self.qty = 0.0, 0.0
        self.lots, self.ticks = 0, 0


class Desk:
    """One instrument's orders and position, or the position of one of its legs, as far as reported.

    Attributes:
        leg: The key of the position.
        open: Orders that may still fill, by id, oldest first.
        target: The order of the last target.
        reached: The last target, where it asked for nothing; None once there has been news.
        bid, ask: The quote.
        holder: The instrument, with its steps of then, for which the position was worked out; None once there has been
            another fill.
        held_lots, held_qty: The tradable part of the position.
    """

    __slots__ = ("ask", "bid", "held_lots", "held_qty", "holder", "leg", "open", "reached", "target")

    def __init__(self, leg: str) -> None:
        self.leg = leg
        self.open: dict[str, OpenOrder] = {}
        self.target: OpenOrder | None = None
        self.reached: float | None = None
        self.bid, self.ask = QuoteSide(Side.BUY), QuoteSide(Side.SELL)
        self.holder: Instrument | None = None
        self.held_lots, self.held_qty = 0, 0.0


def asked_orders(desks: Mapping[str, Desk]) -> list[AskedOrder]:
    """Return the open orders that are not being cancelled, as last asked for."""
    return [
        AskedOrder(kept.order, kept.lots, kept.ticks)
        for desk in desks.values()
        for kept in desk.open.values()
        if not kept.is_cancelling
    ]
