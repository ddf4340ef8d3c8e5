"""Reduce-only orders by the exchange's rules: the position has to cover all that are at work, the best price first."""

from typing import Final

from quantkit.brokers.simulated.account import Account
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.executions import Executions
from quantkit.brokers.simulated.market import Market

TRIMMED: Final = "reduce_only_trimmed"
DISPLACED: Final = "reduce_only_displaced"


class ReduceOnlyRules:
    """Trims and displaces reduce-only orders in contracts that are traded by the exchange's rules.

    A market order has the best price, of equal prices the earlier order is first. Stops that wait do not count. Without
    such rules an order is cut as it fills, by `Account`.

    Args:
        executions: Makes orders smaller.
        account: Says how large positions are.

    Attributes:
        is_following: Whether there are such contracts.
    """

    def __init__(self, executions: Executions, account: Account) -> None:
        self.is_following = any(listing.market.venue is not None for listing in executions.listings.values())
        self._executions = executions
        self._account = account

    def room(self, order: ExchangeOrder, market: Market) -> int:
        """Return what the orders before it leave of a position for an order that arrives."""
        if not _counts(order, market):
            return order.left
        first = [other for other in _at_work(order, market) if _rank(other) <= _rank(order)]
        closable = self._account.closable_lots(order.leg, is_buy=order.is_buy)
        return closable - sum([other.left for other in first])

    def fit(self, order: ExchangeOrder, at_ns: int) -> None:
        """Cut what the position does not cover of the orders on an order's side, the worst first."""
        market = self._executions.listings[order.instrument].market
        if _counts(order, market):
            self._fit(order, market, at_ns)

    def after_fill(self, order: ExchangeOrder, lots: int, at_ns: int) -> None:
        market = self._executions.listings[order.instrument].market
        if market.venue is None or market.instrument.is_spot:
            return
        for is_buy in (False, True):
            # Those of the side that would add to the position are left over from the one before.
            reducing = [o for o in market.orders if o.reduce_only and o.is_buy is is_buy and o.leg == order.leg]
            at_work = [other for other in reducing if _counts(other, market)]
            if at_work:
                self._fit(at_work[0], market, at_ns)

    def after_change(self, order: ExchangeOrder, at_ns: int) -> None:
        if order.reduce_only and not order.state.is_final:
            self.fit(order, at_ns)

    def after_end(self, order: ExchangeOrder, at_ns: int) -> None: ...

    def _fit(self, order: ExchangeOrder, market: Market, at_ns: int) -> None:
        covered = self._account.closable_lots(order.leg, is_buy=order.is_buy)
        for each in sorted(_at_work(order, market), key=_rank):
            keep = min(covered, each.left)
            covered -= keep
            if keep < each.left:
                self._executions.reduce(each, each.left - keep, TRIMMED if keep else DISPLACED, at_ns)


def _counts(order: ExchangeOrder, market: Market) -> bool:
    """Whether an order is one of those that a position has to cover."""
    is_ruled = market.venue is not None and not market.instrument.is_spot
    return is_ruled and order.reduce_only and not order.is_waiting


def _at_work(order: ExchangeOrder, market: Market) -> list[ExchangeOrder]:
    """Return the orders that reduce the same position, in the order of their arrival."""
    return [
        other
        for other in market.orders
        if other.leg == order.leg and other.is_buy is order.is_buy and _counts(other, market)
    ]


def _rank(order: ExchangeOrder) -> int:
    """Return how good an order's price is; the smaller, the better."""
    if order.limit_ticks is None:
        return 0
    return (NO_PRICE - order.limit_ticks) if order.is_buy else order.limit_ticks


#: Beyond every price in ticks.
NO_PRICE: Final = 2**62
