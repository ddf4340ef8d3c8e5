"""The stop and the target that an order asks for its fills, checked and put on the instrument's steps."""

from quantkit.engine.desks import Number
from quantkit.engine.order_numbers import offset_bps_of, on_price_step, trigger_type_of
from quantkit.errors import OrderError
from quantkit.instruments import Instrument, Side, plain
from quantkit.orders import OrderRequest, RequestTerms, StopLoss, TakeProfit, TriggerType


def bracket_of(
    request: OrderRequest,
    asked: RequestTerms,
    instrument: Instrument,
    where: str,
    roundings: dict[Number, str],
    *,
    has_marks: bool,
) -> tuple[TakeProfit | None, StopLoss | None]:
    """Return what protects the fills of an order, on the steps.

    Args:
        request, asked: The call.
        instrument: Its steps.
        where: The call, for errors.
        roundings: Gets a note of each price.
        has_marks: Whether the run has rows of the instrument's mark price.

    Raises:
        OrderError: The terms contradict each other or the order, or a number is not usable.
    """
    target, stop = asked.take_profit, asked.stop_loss
    if target is None and stop is None:
        return None, None
    if request.reduce_only:
        raise OrderError(f"{where}: a reduce_only order opens nothing; give no take_profit= and no stop_loss=")
    if instrument.is_spot and request.side is Side.SELL:
        raise OrderError(f"{where}: a sale on spot opens no position; give no take_profit= and no stop_loss=")
    take_profit = None if target is None else _take_profit(target, request.side, instrument, where, roundings)
    stop_loss = None if stop is None else _stop_loss(stop, request.side, instrument, where, roundings)
    for spec in (take_profit, stop_loss):
        if spec is not None and spec.trigger_type is not TriggerType.LAST and not has_marks:
            raise OrderError(
                f"{where}: trigger_type {spec.trigger_type} needs marks that span the run; record marks, or use last"
            )
    # A target with a limit is that limit order from its first moment on.
    aim = None if take_profit is None else take_profit.price if take_profit.limit is None else take_profit.limit
    limit = request.price
    if limit is not None:
        limit = instrument.price(instrument.limit_ticks(limit, request.side))
    _refuse_disorder(aim, limit, None if stop_loss is None else stop_loss.price, request.side, where)
    return take_profit, stop_loss


def _refuse_disorder(target: float | None, limit: float | None, stop: float | None, side: Side, where: str) -> None:
    """Refuse a target and a stop on the wrong side of each other or of the order's own limit.

    Raises:
        OrderError: It names both prices.
    """
    above, below = ("above", "below") if side is Side.BUY else ("below", "above")
    for name, price, place, other, bound in (
        ("take_profit", target, above, "stop_loss", stop),
        ("take_profit", target, above, "its own limit", limit),
        ("stop_loss", stop, below, "its own limit", limit),
    ):
        if price is None or bound is None:
            continue
        if (price - bound) * (side.sign if place == above else -side.sign) <= 0:
            raise OrderError(
                f"{where}: {name} {plain(price)} is not beyond {other} {plain(bound)}; that of a {side} is {place} it"
            )


def _take_profit(
    asked: float | TakeProfit, side: Side, instrument: Instrument, where: str, roundings: dict[Number, str]
) -> TakeProfit:
    spec = asked if isinstance(asked, TakeProfit) else TakeProfit(asked)
    # A child is of the other side: its limit and target are rounded to that side's passive one.
    own = side.opposite
    _, price = on_price_step(instrument, spec.price, own, where, "take_profit", roundings, name="target")
    limit = spec.limit
    if limit is not None:
        _, limit = on_price_step(instrument, limit, own, where, "limit of take_profit", roundings, name="target limit")
    return TakeProfit(price, limit, trigger_type_of(spec.trigger_type, f"{where}: take_profit"))


def _stop_loss(
    asked: float | StopLoss, side: Side, instrument: Instrument, where: str, roundings: dict[Number, str]
) -> StopLoss:
    spec = asked if isinstance(asked, StopLoss) else StopLoss(asked)
    trigger_type = trigger_type_of(spec.trigger_type, f"{where}: stop_loss")
    price, limit, offset, offset_bps = spec.price, spec.limit, spec.trailing_offset, spec.trailing_offset_bps
    if (price is not None) + (offset is not None) + (offset_bps is not None) != 1:
        raise OrderError(f"{where}: stop_loss needs a price, a trailing_offset or a trailing_offset_bps, one of them")
    if price is not None:
        # A stop is rounded away from the market, as a limit of the other side is.
        _, price = on_price_step(instrument, price, side, where, "stop_loss", roundings, name="stop loss")
    if limit is not None:
        if price is None:
            raise OrderError(f"{where}: a stop_loss that trails becomes a market order; give it no limit")
        _, limit = on_price_step(
            instrument, limit, side.opposite, where, "limit of stop_loss", roundings, name="stop loss limit"
        )
    if offset is not None:
        what = "trailing_offset of stop_loss"
        _, offset = on_price_step(instrument, offset, Side.SELL, where, what, roundings, name="trailing offset")
    if offset_bps is not None:
        offset_bps = offset_bps_of(offset_bps, f"{where}: stop_loss")
    if price is None and trigger_type is TriggerType.INDEX:
        raise OrderError(f"{where}: a stop_loss that trails follows last or mark, not index")
    return StopLoss(price, limit, trigger_type, offset, offset_bps)
