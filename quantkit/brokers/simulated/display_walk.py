"""The walk of an order that takes through the displayed levels of the other side."""

from quantkit.brokers.simulated.display import Display
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.market import ExecutionListener, Market
from quantkit.brokers.simulated.venue_gate import SELF_TRADE, Bound
from quantkit.instruments import Side
from quantkit.orders import TimeInForce


class DisplayWalk:
    """Lets one order take what is displayed.

    Where the exchange's order rules apply, it meets our own resting orders on its way: behind the levels that are
    better, and behind what stands before them at their own price. Which of the two ends is the mode of self-trade
    prevention. A market order stops at the bounds that the exchange sets.

    Args:
        market: Whose instrument, rules and resting orders count.
        display: What is shown.
        taken: What we took from levels that have not been updated since, which this adds to.
        listener: Told of executions.
        excess_slippage_bps: How much worse the size beyond the displayed one fills; None: it does not.

    Attributes:
        why_unfilled: The reason of the end of a market order that could not be filled whole.
    """

    def __init__(
        self,
        market: Market,
        display: Display,
        taken: dict[tuple[Side, int], tuple[int, int]],
        listener: ExecutionListener,
        *,
        excess_slippage_bps: float | None,
    ) -> None:
        self.why_unfilled = "no_liquidity"
        self._market = market
        self._display = display
        self._taken = taken
        self._listener = listener
        self._slippage = excess_slippage_bps

    def take(self, order: ExchangeOrder, at_ns: int) -> None:
        """Take what the order may take."""
        market, venue = self._market, self._market.venue
        if order.spends is not None:
            best = self._display.best(order.side.opposite)
            if best is not None and not self._listener.size(order, best, at_ns):
                return
        offers = self._offers(order)
        if order.tif is TimeInForce.FOK and not self._fills_whole(order, offers):
            self._listener.cancel(order, "fok_unfilled", at_ns)
            return
        is_all_or_none = venue is not None and venue.stp_mode == "cancel_taker" and order.tif is TimeInForce.FOK
        if is_all_or_none and self._before_own(order, offers) < order.left:
            # What would end half-way is not begun.
            self._listener.cancel(order, SELF_TRADE, at_ns)
            return
        number = 0
        for ticks, lots, is_shown in offers:
            number += lots > 0
            why = f"took level {number} of the display" if is_shown else "beyond the displayed size"
            while venue is not None and (own := market.own_at(order, ticks)) is not None:
                first = min(lots, self._in_front_of(own, ticks))
                lots -= first
                self._take(order, ticks, first, at_ns, why, is_shown=is_shown)
                if not order.state.is_final:
                    market.prevent(order, own, at_ns)
                if order.state.is_final:
                    return
            self._take(order, ticks, lots, at_ns, why, is_shown=is_shown)
            if order.state.is_final or not order.left:
                return

    def _take(self, order: ExchangeOrder, ticks: int, lots: int, at_ns: int, why: str, *, is_shown: bool) -> None:
        """Take some of a level, as far as the order is open."""
        lots, side = min(lots, order.left), order.side.opposite
        if not lots:
            return
        if is_shown:
            shown = self._display.shown(side, ticks) or 0
            self._taken[side, ticks] = (self._taken.get((side, ticks), (0, 0))[0] + lots, shown)
        before = order.filled_lots
        self._listener.fill(order, lots, ticks, is_maker=False, at_ns=at_ns, why=why)
        if is_shown and order.filled_lots - before < lots:
            left = self._taken[side, ticks][0] - (lots - (order.filled_lots - before))
            self._taken[side, ticks] = (left, self._taken[side, ticks][1])

    def _offers(self, order: ExchangeOrder) -> list[tuple[int, int, bool]]:
        """Return (ticks, size steps, is displayed) that the order may take, best first, enough to fill it."""
        side, instrument, venue = order.side.opposite, self._market.instrument, self._market.venue
        offers: list[tuple[int, int, bool]] = []
        wanted, last = order.left, None
        bound = None if venue is None else venue.bound(order, instrument, self._display.best(side))
        for ticks, shown in self._display.levels(side):
            last = ticks
            if wanted <= 0 or not order.allows(ticks):
                break
            if bound is not None and self._is_stopped(order, bound, ticks):
                return offers
            lots = max(0, shown - self._taken.get((side, ticks), (0, 0))[0])
            if lots or venue is not None:
                # Where nothing is left for us, an order of ours may still stand.
                offers.append((ticks, min(lots, wanted), True))
                wanted -= lots
        if wanted > 0 and self._slippage is not None and last is not None:
            worse = instrument.price(last) * (1 + order.side.sign * self._slippage / 10_000)
            ticks = instrument.market_ticks(worse, order.side)
            if bound is not None and self._is_stopped(order, bound, ticks):
                return offers
            if order.allows(ticks) and ticks > 0:
                offers.append((ticks, wanted, False))
        return offers

    def _fills_whole(self, order: ExchangeOrder, offers: list[tuple[int, int, bool]]) -> bool:
        """Whether some offers are enough for an order, and the account can have it at the last price of them."""
        if sum(lots for _, lots, _ in offers) < order.left:
            return False
        return self._listener.may_fill(order, next(ticks for ticks, lots, _ in reversed(offers) if lots))

    def _is_stopped(self, order: ExchangeOrder, bound: Bound, ticks: int) -> bool:
        if bound.allows(ticks, is_buy=order.is_buy):
            return False
        self.why_unfilled = bound.reason
        return True

    def _in_front_of(self, own: ExchangeOrder, ticks: int) -> int:
        """Return how much of a level of the display stands before an order of ours, less what we took of it."""
        if own.limit_ticks != ticks:
            return 0
        taken, shown = self._taken.get((own.side, ticks), (0, 0))[0], self._display.shown(own.side, ticks) or 0
        return max(0, (shown if own.lots_in_front is None else min(shown, own.lots_in_front)) - taken)

    def _before_own(self, order: ExchangeOrder, offers: list[tuple[int, int, bool]]) -> int:
        """Return how much of some offers comes before the first order of ours that is met among them."""
        total = 0
        for ticks, lots, _ in offers:
            own = self._market.own_at(order, ticks)
            if own is not None:
                return total + min(lots, self._in_front_of(own, ticks))
            total += lots
        return total
