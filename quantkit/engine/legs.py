"""The position that an order changes in the long/short mode, and what follows from that."""

from quantkit.errors import OrderError
from quantkit.instruments import Instrument, Side
from quantkit.orders import OrderRequest, PositionSide
from quantkit.portfolio import position_side_of


def leg_terms(
    request: OrderRequest, instrument: Instrument, where: str, *, is_long_short: bool
) -> tuple[PositionSide, bool]:
    """Return the position that an order changes, and whether it can only reduce it.

    In the long/short mode the side of the order and that of the leg say whether it opens or closes.

    Args:
        request: The call.
        instrument: What it trades.
        where: The call, for errors.
        is_long_short: Whether contracts have two legs.

    Raises:
        OrderError: The side is missing, unknown or too much, or the order opens a leg and may only reduce it.
    """
    try:
        side = position_side_of(
            instrument, request.position_side, is_long_short=is_long_short, argument="position_side"
        )
    except OrderError as error:
        raise OrderError(f"{where}: {error}") from None
    if side is PositionSide.NET:
        return side, request.reduce_only
    is_opening = (request.side is Side.BUY) is (side is PositionSide.LONG)
    if is_opening and request.reduce_only:
        raise OrderError(f"{where}: it opens the {side} position; leave reduce_only out")
    terms = request.terms
    if not is_opening and terms is not None and (terms.take_profit is not None or terms.stop_loss is not None):
        raise OrderError(f"{where}: it closes the {side} position; give no take_profit= and no stop_loss=")
    return side, not is_opening


def check_quote(instrument: Instrument, *, is_long_short: bool) -> None:
    """Refuse a quote where it cannot say which of two positions its orders change.

    Raises:
        OrderError: It is one of a contract in the long/short mode.
    """
    if is_long_short and not instrument.is_spot:
        raise OrderError(
            f"quote {instrument.id}: it keeps one net position; in the long/short mode send buy and sell with "
            "position_side="
        )


def check_leg_target(qty: float, side: str, where: str) -> None:
    """Refuse a target on the other side of zero: a leg is long or short for good.

    Raises:
        OrderError: It is one.
    """
    if (side == PositionSide.LONG and qty < 0) or (side == PositionSide.SHORT and qty > 0):
        bound = "zero or more" if side == PositionSide.LONG else "zero or less"
        raise OrderError(f"{where} is {qty}; the {side} position is {bound}")
