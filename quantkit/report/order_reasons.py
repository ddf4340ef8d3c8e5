"""What the reasons of orders mean, in words, for whoever has not met them."""

from typing import Final

from quantkit.orders import ALREADY_TRIGGERED, EXPIRED, LIQUIDATION, REQUESTED

_MEANINGS: Final = {
    REQUESTED: "the strategy cancelled it",
    "amended_to_filled": "the strategy changed its size to what had filled",
    "end_of_data": "the data ended",
    EXPIRED: "its time was over",
    "oco": "another order of its group filled",
    "position_closed": "the position that it protects was closed",
    "reduce_only_trimmed": "reduce-only orders may not be larger than the position",
    "reduce_only_displaced": "reduce-only orders with a better price take the whole position",
    "reduce_only_no_position": "there was no position that it could reduce",
    "reduce_only_position_closed": "there was no position left that it could reduce",
    ALREADY_TRIGGERED: "its trigger had gone off before",
    "price_limit": "the exchange's price band ends there",
    "slippage": "the next price was further from the best one than the exchange lets a market order go",
    "self_trade": "it would have traded with another order of ours",
    LIQUIDATION: "the position was liquidated",
    "leverage_tier": "no position tier allows a position of that size, open orders among it, with the run's leverage",
    "post_only_would_take": "a post-only order may not take, and the other side was at its price or beyond",
    "book_invalid": "the book was invalid",
    "book_stale": "the display was older than stale_after",
    "no_liquidity": "nothing displayed was left to take",
    "no_price": "there was no price yet to count it by",
    "below_min_qty": "it is smaller than the smallest order",
    "ioc_unfilled": "an IOC order ends with what it can take at once",
    "fok_unfilled": "a FOK order ends unless it can take its whole size at once",
    "amount_spent": "what was left of its money buys no size step at the next price",
    "stop_passed": "the price that would have filled it had reached the stop that it was sized by",
    "insufficient_cash": "the account does not pay for it with its fee",
    "insufficient_position": "spot can only sell what is there",
    "insufficient_margin": "the notional would be beyond the equity times max_leverage",
    "instrument_changed": "it no longer fits the instrument's new steps",
    "warmup": "the warm-up was not over",
    "paused": "the run was paused from outside",
    "stopped": "the run had ended",
    "bankrupt": "the equity fell to zero and ended the run",
}
#: Where they differ in a run with margin.
_WITH_MARGIN: Final = {
    "insufficient_margin": "the initial margins and fees that it leads to would be beyond what backs them",
}


def meaning_of(reason: str, margin: str = "off") -> str:
    """Return what a reason means, the reason itself first.

    Args:
        reason: Of an order, or of a refused change.
        margin: The option of the run.

    Examples:
        >>> meaning_of("expired"), meaning_of("51008: who knows")
        ('expired, its time was over', '51008: who knows')
    """
    found = _WITH_MARGIN.get(reason) if margin != "off" else None
    found = found or _MEANINGS.get(reason)
    return reason if found is None else f"{reason}, {found}"
