"""The exchange's order rules at one listing: requests are counted, and orders judged as they arrive."""

import math
from fractions import Fraction
from typing import Final, NamedTuple

from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.price_limits import PriceLimits
from quantkit.instruments import Instrument
from quantkit.orders import OrderState, PositionSide, TimeInForce
from quantkit.rows.position import RunPosition
from quantkit.venue_rules.okx import (
    NO_BAND,
    REASONS,
    REQUESTS_MAX,
    REQUESTS_WINDOW_NS,
    SLIPPAGE_MAX,
    OrderBand,
    Standing,
    WantedOrder,
    code_of,
)
from quantkit.venue_rules.window import Window

#: Reasons of orders that these rules end after they were let in.
PRICE_LIMIT: Final = "price_limit"
SLIPPAGE: Final = "slippage"
SELF_TRADE: Final = "self_trade"


class Bound(NamedTuple):
    """The last price at which a market order may fill, in ticks, and the reason of its end beyond."""

    ticks: int
    reason: str

    def allows(self, ticks: int, *, is_buy: bool) -> bool:
        """Whether it may fill there."""
        return ticks <= self.ticks if is_buy else ticks >= self.ticks


class VenueGate:
    """Judges orders in one instrument by the exchange's rules.

    Args:
        account: What is held and open.
        limits: The price limits that were told; None without any.
        position: How far the run has come.
        stp_mode: Which order ends where two of ours would meet: `cancel_maker`, `cancel_taker` or `cancel_both`.

    Attributes:
        limits, stp_mode: As above.
    """

    def __init__(self, account: Account, limits: PriceLimits | None, position: RunPosition, *, stp_mode: str) -> None:
        self.limits = limits
        self.stp_mode = stp_mode
        self._account = account
        self._position = position
        self._windows = {kind: Window(REQUESTS_MAX, REQUESTS_WINDOW_NS) for kind in ("submit", "amend", "cancel")}

    def count(self, kind: str, at_ns: int) -> str:
        """Count a request that arrives; return the refusal where there were too many of its kind."""
        return "" if self._windows[kind].take(at_ns) else REASONS["50011"]

    def band(self, instrument: Instrument) -> OrderBand:
        """Return the price limit as it was told last."""
        return NO_BAND if self.limits is None else self.limits.before(self._position.index, instrument)

    def refusal(
        self, order: ExchangeOrder, instrument: Instrument, *, lots: int, limit_ticks: int | None, reference: int | None
    ) -> str:
        """Return why an order, or its change, is refused, code and text; empty if it may be."""
        position, open_orders, open_in_all = self._account.standing(order)
        is_change = order.state is not OrderState.PENDING
        asked = WantedOrder(
            is_buy=order.is_buy,
            lots=lots,
            left=lots - order.filled_lots,
            ticks=limit_ticks,
            post_only=order.post_only,
            reduce_only=order.reduce_only,
            is_fok=order.tif is TimeInForce.FOK,
            is_waiting=order.is_waiting,
            is_change=is_change,
            is_repriced=not is_change or limit_ticks != order.limit_ticks,
            money=None if order.spends is None else Fraction(order.spends.money),
        )
        standing = Standing(
            position=position,
            reference=reference if order.waiting_stop is None else order.waiting_stop,
            band=self.band(instrument),
            open_orders=open_orders,
            open_in_all=open_in_all,
            stp_mode=self.stp_mode,
            is_leg=order.position_side is not PositionSide.NET,
        )
        code = code_of(asked, instrument, standing)
        return REASONS[code] if code else ""

    def bound(self, order: ExchangeOrder, instrument: Instrument, best: int | None) -> Bound | None:
        """Return how far a market order may fill, None for any price and for an order with a limit.

        Args:
            order: The order.
            instrument: Its instrument.
            best: The best price that it meets; None where no more than one price is known.
        """
        if order.limit_ticks is not None:
            return None
        bounds = []
        if not instrument.is_spot:
            band = self.band(instrument)
            ticks = band.highest_buy if order.is_buy else band.lowest_sell
            if ticks is not None:
                bounds.append(Bound(ticks, PRICE_LIMIT))
        if best is not None:
            worst = best * (1 + order.side.sign * SLIPPAGE_MAX)
            bounds.append(Bound(math.floor(worst) if order.is_buy else math.ceil(worst), SLIPPAGE))
        nearest = min if order.is_buy else max
        return nearest(bounds, key=lambda bound: bound.ticks) if bounds else None
