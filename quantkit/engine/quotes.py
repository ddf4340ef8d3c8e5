"""Quotes as a strategy asks for them: one post-only order on each side, kept where nothing has changed."""

import math

from quantkit.engine.desks import Desk, Number, QuoteSide
from quantkit.engine.legs import check_quote
from quantkit.engine.order_manager import OrderManager
from quantkit.engine.order_numbers import on_price_step, on_size_step, positive
from quantkit.errors import OrderError
from quantkit.instruments import Instrument
from quantkit.orders import Order, OrderRequest
from quantkit.sizes import SIZES


class Quotes:
    """Keeps quotes.

    Args:
        orders: Sends, amends and cancels.
    """

    def __init__(self, orders: OrderManager) -> None:
        self._orders = orders

    def quote(
        self, instrument_id: str, *, bid: float | None, ask: float | None, qty: float
    ) -> tuple[Order | None, Order | None]:
        """Keep a post-only order on each side; see `Strategy.quote`."""
        orders = self._orders
        instrument = orders.instruments.get(instrument_id) or orders.instrument(instrument_id)
        desk = orders.desks[instrument_id]
        if orders.is_long_short:
            check_quote(instrument, is_long_short=True)
        if isinstance(qty, SIZES):
            raise OrderError(f"quote {instrument_id}: qty is {qty}; give a number")
        return self._quote(desk, desk.bid, instrument, bid, qty), self._quote(desk, desk.ask, instrument, ask, qty)

    def _quote(
        self, desk: Desk, quote: QuoteSide, instrument: Instrument, price: float | None, qty: float
    ) -> Order | None:
        kept = quote.kept
        is_live = kept is not None and not kept.is_cancelling and not kept.order.state.is_final
        if kept is None or not is_live:
            if price is None:
                return None
            if type(price) is not float or not 0.0 < price < math.inf:
                price = positive(price, f"quote {instrument.id}: {quote.name}")
            order = self._orders.send(OrderRequest(instrument.id, quote.side, qty, price, post_only=True))
            quote.kept = desk.open.get(order.id)
            return order
        if price is None:
            self._orders.cancel(kept.order)
            return None
        # What has not moved is not rounded again. What was asked for last is another thing where that was refused.
        is_same = price == quote.price and qty == quote.qty and instrument is quote.instrument
        if is_same and kept.lots == quote.lots and kept.ticks == quote.ticks:
            return kept.order
        where, roundings = f"quote {instrument.id}", dict[Number, str]()
        lots, _ = on_size_step(instrument, qty, where, roundings)
        ticks, _ = on_price_step(instrument, price, quote.side, where, quote.name, roundings)
        quote.price, quote.qty, quote.instrument, quote.lots, quote.ticks = price, qty, instrument, lots, ticks
        if (kept.lots != lots or kept.ticks != ticks) and not self._orders.refusal:
            self._orders.change(kept, lots, ticks, roundings)
        return kept.order
