"""What few orders have besides size, limit and stop: other triggers, a distance that trails, an end of their time."""

from datetime import datetime
from typing import Final, TypeAlias

import msgspec

from quantkit.clock import iso_of, time_ns_of
from quantkit.engine.desks import Number
from quantkit.engine.order_brackets import bracket_of
from quantkit.engine.order_numbers import offset_bps_of, on_price_step, trigger_type_of
from quantkit.errors import ConfigError, OrderError
from quantkit.instruments import Instrument, Side
from quantkit.orders import (
    OWN_SIGN,
    Order,
    OrderRequest,
    OrderTerms,
    RequestTerms,
    TimeInForce,
    TriggerPrices,
    TriggerType,
)
from quantkit.sizes import SIZES

#: What a change may ask of a trigger: stop_price, take_profit_price, trailing_offset, trailing_offset_bps.
TriggerAsked: TypeAlias = tuple[float | None, float | None, float | None, float | None]

NO_TRIGGER: Final[TriggerAsked] = (None, None, None, None)
_put: Final = msgspec.structs.force_setattr


def terms_of(
    request: OrderRequest,
    asked: RequestTerms,
    tif: TimeInForce,
    instrument: Instrument,
    where: str,
    roundings: dict[Number, str],
    now_ns: int,
    *,
    has_marks: bool,
) -> tuple[OrderTerms, TimeInForce]:
    """Return what an order asks for beyond a plain one, on the steps, and how long it lives.

    Args:
        request, asked: The call.
        tif: As it was asked for.
        instrument: Its steps.
        where: The call, for errors.
        roundings: Gets a note of each price.
        now_ns: Engine time.
        has_marks: Whether the run has rows of the instrument's mark price.

    Raises:
        OrderError: The terms contradict each other, or a number is not usable.
    """
    trigger_type = trigger_type_of(asked.trigger_type, where)
    _refuse_contradictions(request, asked, trigger_type, where)
    if trigger_type is not TriggerType.LAST and not has_marks:
        raise OrderError(
            f"{where}: trigger_type {trigger_type} needs marks that span the run; record marks, or use last"
        )
    expire_ns, tif = _expiry(request, asked, tif, where, now_ns)
    take_profit = take_profit_ticks = activation = activation_ticks = None
    if asked.take_profit_price is not None:
        take_profit_ticks, take_profit = on_price_step(
            instrument,
            asked.take_profit_price,
            request.side,
            where,
            "take_profit_price",
            roundings,
            name="take profit",
        )
    if asked.activation_price is not None:
        activation_ticks, activation = on_price_step(
            instrument, asked.activation_price, request.side, where, "activation_price", roundings, name="activation"
        )
    offset = trailing_ticks = offset_bps = None
    if asked.trailing_offset is not None:
        trailing_ticks, offset = _offset(instrument, asked.trailing_offset, where, roundings)
    if asked.trailing_offset_bps is not None:
        offset_bps = offset_bps_of(asked.trailing_offset_bps, where)
    bracket_take_profit, bracket_stop_loss = bracket_of(
        request, asked, instrument, where, roundings, has_marks=has_marks
    )
    terms = OrderTerms(
        take_profit_price=take_profit,
        trigger_type=trigger_type,
        trailing_offset=offset,
        trailing_offset_bps=offset_bps,
        activation_price=activation,
        expire_ns=expire_ns,
        oco_group=_group_of(asked.oco_group, where),
        take_profit=bracket_take_profit,
        stop_loss=bracket_stop_loss,
        take_profit_ticks=take_profit_ticks,
        trailing_ticks=trailing_ticks,
        activation_ticks=activation_ticks,
    )
    return terms, tif


def check_at(request: OrderRequest, where: str) -> None:
    """Refuse a moment of sizing that is not known, or for which there is no size by money.

    Raises:
        OrderError: It says what to give.
    """
    assert request.terms is not None
    if request.terms.at not in ("send", "fill"):
        raise OrderError(f"{where}: at {request.terms.at!r} is not known; use send or fill")
    if request.terms.at == "fill" and not isinstance(request.qty, SIZES):
        raise OrderError(f"{where}: at='fill' needs a size by money; give Pct, Cash or Risk")


def change_of(
    order: Order, asked: TriggerAsked, instrument: Instrument, where: str, roundings: dict[Number, str]
) -> TriggerPrices:
    """Return what a change asks of an order's trigger, on the steps.

    Args:
        order: The order.
        asked: What is to change; None for what stays.
        instrument: Its steps.
        where: The call, for errors.
        roundings: Gets a note of each price.

    Raises:
        OrderError: The order has no such trigger, or a number is not usable.
    """
    stop_price, take_profit_price, offset, offset_bps = asked
    terms = order.terms
    given = {
        "stop_price": (stop_price, order.stop_ticks is not None and not (terms is not None and terms.is_trailing)),
        "take_profit_price": (take_profit_price, order.take_profit_ticks is not None),
        "trailing_offset": (offset, order.trailing_offset is not None),
        "trailing_offset_bps": (offset_bps, order.trailing_offset_bps is not None),
    }
    for name, (value, has_it) in given.items():
        if value is not None and not has_it:
            raise OrderError(f"{where}: {_kind_of(order)} has no {name} to change")
    ticks = trailing_ticks = None
    if stop_price is not None:
        ticks, _ = on_price_step(instrument, stop_price, order.side, where, "stop_price", roundings, name="stop")
    if take_profit_price is not None:
        ticks, _ = on_price_step(
            instrument, take_profit_price, order.side, where, "take_profit_price", roundings, name="take profit"
        )
    if offset is not None:
        trailing_ticks, _ = _offset(instrument, offset, where, roundings)
    if offset_bps is not None:
        offset_bps = offset_bps_of(offset_bps, where)
    return TriggerPrices(ticks, trailing_ticks, offset_bps)


def restate_trigger(order: Order, trigger: TriggerPrices, instrument: Instrument) -> None:
    """Bring an order's trigger up to date with a report."""
    ticks, terms = trigger.ticks, order.terms
    price = None if ticks is None else instrument.price(ticks)
    if terms is None or terms.take_profit_ticks is None:
        _put(order, "stop_ticks", ticks)
        _put(order, "stop_price", price)
        if terms is None or not terms.is_trailing:
            return
        offset = None if trigger.trailing_ticks is None else instrument.price(trigger.trailing_ticks)
        terms = msgspec.structs.replace(
            terms,
            trailing_ticks=trigger.trailing_ticks,
            trailing_offset=offset,
            trailing_offset_bps=trigger.trailing_offset_bps,
        )
    else:
        terms = msgspec.structs.replace(terms, take_profit_ticks=ticks, take_profit_price=price)
    _put(order, "terms", terms)


def numbers_of(terms: OrderTerms) -> tuple[Number, ...]:
    """Return the numbers of an order's terms, of which each may have been rounded."""
    return (
        ("take profit", terms.take_profit_ticks),
        ("trailing offset", terms.trailing_ticks),
        ("activation", terms.activation_ticks),
    )


# The parts of a call ------------------------------------------------------------------------------------------------


def _is_trailing(asked: RequestTerms) -> bool:
    return asked.trailing_offset is not None or asked.trailing_offset_bps is not None


def _has_trigger(request: OrderRequest, asked: RequestTerms) -> bool:
    return request.stop_price is not None or asked.take_profit_price is not None or _is_trailing(asked)


def _refuse_contradictions(request: OrderRequest, asked: RequestTerms, trigger_type: TriggerType, where: str) -> None:
    """Refuse terms that cannot stand together.

    Raises:
        OrderError: They do.
    """
    is_trailing, has_trigger = _is_trailing(asked), _has_trigger(request, asked)
    if request.stop_price is not None and asked.take_profit_price is not None:
        raise OrderError(f"{where}: give stop_price= or take_profit_price=, not both; send two orders for both")
    if asked.trailing_offset is not None and asked.trailing_offset_bps is not None:
        raise OrderError(f"{where}: give trailing_offset= or trailing_offset_bps=, not both")
    if is_trailing and (request.stop_price is not None or asked.take_profit_price is not None):
        raise OrderError(f"{where}: a trailing stop sets its own trigger; give no stop_price and no take_profit_price")
    if is_trailing and request.price is not None:
        raise OrderError(f"{where}: a trailing stop becomes a market order; give no price=")
    if asked.activation_price is not None and not is_trailing:
        raise OrderError(f"{where}: activation_price needs trailing_offset= or trailing_offset_bps=")
    if trigger_type is not TriggerType.LAST and not has_trigger:
        raise OrderError(
            f"{where}: trigger_type needs a trigger; give stop_price=, take_profit_price= or a trailing one; "
            "that of a bracket goes into StopLoss or TakeProfit"
        )
    if trigger_type is TriggerType.INDEX and is_trailing:
        raise OrderError(f"{where}: a trailing stop follows last or mark, not index")
    if has_trigger and request.post_only:
        raise OrderError(f"{where}: post_only needs a plain GTC or GTD limit order; give price= and no trigger")


def _expiry(
    request: OrderRequest, asked: RequestTerms, tif: TimeInForce, where: str, now_ns: int
) -> tuple[int | None, TimeInForce]:
    """Return when an order expires, None for never, and how long it lives.

    Raises:
        OrderError: The moment is not readable or past, or the order does not wait for it.
    """
    if asked.expire_time is None:
        if tif is TimeInForce.GTD:
            raise OrderError(f"{where}: time_in_force GTD needs expire_time=")
        return None, tif
    if not tif.rests:
        raise OrderError(f"{where}: an {tif} order does not wait for its expire_time; give one of the two")
    if request.price is None and not _has_trigger(request, asked):
        raise OrderError(f"{where}: a market order does not wait for its expire_time; give price= or a trigger")
    expire_ns = _moment_ns(asked.expire_time, where)
    if expire_ns <= now_ns:
        raise OrderError(f"{where}: expire_time {iso_of(expire_ns)} is not after the present time {iso_of(now_ns)}")
    return expire_ns, TimeInForce.GTD


def _moment_ns(moment: str | int | datetime, where: str) -> int:
    """Return a moment in UTC nanoseconds.

    Raises:
        OrderError: It is not readable.
    """
    try:
        return time_ns_of(moment)
    except ConfigError as error:
        raise OrderError(f"{where}: expire_time: {error}") from None


def _offset(instrument: Instrument, asked: float, where: str, roundings: dict[Number, str]) -> tuple[int, float]:
    """Return a trailing distance in ticks and as it stands on the price step: rounded up, away from the market."""
    return on_price_step(instrument, asked, Side.SELL, where, "trailing_offset", roundings, name="trailing offset")


def _group_of(name: object, where: str) -> str:
    """Return the name of an OCO group as it was given.

    Raises:
        OrderError: It is none, or one of those that only the exchange and later groups of a name have.
    """
    if not isinstance(name, str) or OWN_SIGN in name:
        raise OrderError(f"{where}: oco_group {name!r} is no name; give a text without {OWN_SIGN}")
    return name


def _kind_of(order: Order) -> str:
    """Return an order's type with its article."""
    kind = order.type.replace("_", "-")
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} order"
