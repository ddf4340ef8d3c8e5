"""An order that its owner did not send: the exchange made it, and a report introduces it."""

from typing import Self

import msgspec

from quantkit.instruments import Instrument, Side
from quantkit.orders import Order, OrderTerms, PositionSide


class Introduction(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What the owner of an order needs to know of it beside a report: its id, size and limit stand there.

    Attributes:
        reduce_only, stop_ticks, tag, terms, position_side: As those of an `Order`.
        sent_ns: Our time at which what it was made for happened.
    """

    instrument: str
    side: Side
    reduce_only: bool
    stop_ticks: int | None
    tag: str
    sent_ns: int
    terms: OrderTerms
    position_side: PositionSide = PositionSide.NET

    @classmethod
    def of_closing(
        cls, instrument: str, side: Side, *, tag: str, sent_ns: int, position_side: PositionSide = PositionSide.NET
    ) -> Self:
        """Return that of a market order by which the exchange closes a position."""
        return cls(
            instrument,
            side,
            reduce_only=True,
            stop_ticks=None,
            tag=tag,
            sent_ns=sent_ns,
            terms=OrderTerms(),
            position_side=position_side,
        )

    def order(self, order_id: str, instrument: Instrument, lots: int, limit_ticks: int | None) -> Order:
        """Return the order, not yet accepted."""
        stop_ticks = self.stop_ticks
        return Order(
            id=order_id,
            instrument=self.instrument,
            side=self.side,
            qty=instrument.qty(lots),
            price=None if limit_ticks is None else instrument.price(limit_ticks),
            stop_price=None if stop_ticks is None else instrument.price(stop_ticks),
            reduce_only=self.reduce_only,
            tag=self.tag,
            sent_ns=self.sent_ns,
            updated_ns=self.sent_ns,
            lots=lots,
            price_ticks=limit_ticks,
            stop_ticks=stop_ticks,
            terms=self.terms,
            position_side=self.position_side,
        )
