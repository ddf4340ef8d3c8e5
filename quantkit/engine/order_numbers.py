"""The numbers of a call about an order: checked, put on the instrument's steps, and noted where that moved them."""

import math
from decimal import Decimal
from typing import Final

from quantkit.engine.desks import Number
from quantkit.errors import OrderError
from quantkit.instruments import Instrument, Side, plain, tidied
from quantkit.orders import TimeInForce, TriggerType

#: Notes of these are in the hashes of runs from before there were others, with every digit of what was asked.
_HASHED: Final = ("price", "stop")
#: The whole price, in basis points.
_WHOLE_BPS: Final = 10_000


def on_size_step(
    instrument: Instrument, asked: float | Decimal, where: str, roundings: dict[Number, str]
) -> tuple[int, float]:
    """Return a size in lots and as it stands on its step, and note how it was rounded.

    Raises:
        OrderError: It is no finite number above zero.
    """
    qty = asked if type(asked) is float and 0.0 < asked < math.inf else positive(asked, f"{where}: qty")
    lots = instrument.lots_floor(qty)
    on_step = instrument.qty(lots)
    roundings["size", lots] = "" if on_step == qty else f"size {plain(qty)} rounded to {plain(on_step)}"
    return lots, on_step


def on_price_step(
    instrument: Instrument,
    asked: float | Decimal,
    side: Side,
    where: str,
    what: str,
    roundings: dict[Number, str],
    *,
    name: str = "price",
) -> tuple[int, float]:
    """Return a price in ticks and as it stands on its step, and note how it was rounded.

    Args:
        instrument, side: They decide how it is rounded.
        asked: The price that was asked for.
        where, what: The call and its argument, for errors.
        roundings: Gets the note.
        name: The number in the note. A `stop` is rounded away from the market, as a limit is on the other side.

    Raises:
        OrderError: It is no finite number above zero, or nothing is left of it on the step.
    """
    price = asked if type(asked) is float and 0.0 < asked < math.inf else positive(asked, f"{where}: {what}")
    ticks = instrument.stop_ticks(price, side) if name == "stop" else instrument.limit_ticks(price, side)
    if ticks <= 0:
        raise OrderError(
            f"{where}: {what} {tidied(plain(price))} rounds to zero on the step {plain(instrument.price_step)}; "
            "give a larger one"
        )
    on_step = instrument.price(ticks)
    note = "" if on_step == price else f"{name} {plain(price)} rounded to {plain(on_step)}"
    roundings[name, ticks] = note if name in _HASHED else tidied(note)
    return ticks, on_step


def positive(number: float | Decimal, what: str) -> float:
    """Return a finite number above zero as a float.

    Raises:
        OrderError: It is not one.
    """
    try:
        value = float(number)
    except (TypeError, ValueError):
        raise OrderError(f"{what} is {number!r}, which is no number") from None
    if not (math.isfinite(value) and value > 0):
        raise OrderError(f"{what} is {value}; give a finite number above zero")
    return value


def time_in_force_of(name: str, where: str) -> TimeInForce:
    """Return how long an order lives, from its name.

    Raises:
        OrderError: It is not known.
    """
    try:
        return TimeInForce(name)
    except ValueError:
        raise OrderError(f"{where}: time_in_force {name!r} is not known; use GTC, IOC, FOK or GTD") from None


def trigger_type_of(name: str, where: str) -> TriggerType:
    """Return whose price sets an order off, from its name.

    Raises:
        OrderError: It is not known.
    """
    try:
        return TriggerType(name)
    except ValueError:
        raise OrderError(f"{where}: trigger_type {name!r} is not known; use last, mark or index") from None


def offset_bps_of(asked: float, where: str) -> float:
    """Return a trailing distance in basis points.

    Raises:
        OrderError: It is no number between zero and the whole price.
    """
    bps = positive(asked, f"{where}: trailing_offset_bps")
    if bps >= _WHOLE_BPS:
        raise OrderError(
            f"{where}: trailing_offset_bps is {tidied(plain(bps))}; give less than {_WHOLE_BPS:,}, the whole price"
        )
    return bps
