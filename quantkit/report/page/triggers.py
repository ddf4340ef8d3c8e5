"""Orders with a trigger as lines: from when to when each waited at which price, and trailing stops as they moved."""

from fractions import Fraction
from typing import Final, NamedTuple

import numpy as np

from quantkit.instruments import Instrument, Side
from quantkit.orders import AMENDED, Order
from quantkit.report.execution import lives_of
from quantkit.report.metrics import FloatArray, IntArray
from quantkit.report.page.subject import Subject
from quantkit.report.prices import PriceRows

#: Steps drawn of one trailing stop at most; of more each is drawn from a later move on.
_STEPS_MAX: Final = 500
#: How far a price may be off a step, in steps, and still be on it.
_NOISE: Final = 1e-6


class TriggerLine(NamedTuple):
    """A trigger that stood at one price, by our clock."""

    from_ns: int
    to_ns: int
    price: float


def trigger_lines(subject: Subject, name: str, rows: PriceRows | None) -> list[TriggerLine]:
    """Return the triggers of an instrument's orders.

    Where a changed order stood before its last change is not recorded, so that its line begins there. A trailing stop
    follows the prices that valued the run, and ends where its last report has it.

    Args:
        subject: The run.
        name: The instrument.
        rows: Its price path, None without one.
    """
    outcome = subject.outcome
    offset_ns = outcome.offset_ns
    orders = [order for order in outcome.orders if order.instrument == name]
    if not any(_has_trigger(order) for order in orders):
        return []
    changed = {event.order_id: event.at_ns + offset_ns for event in outcome.order_events if event.reason == AMENDED}
    lives = lives_of(outcome, outcome.end_ns - offset_ns)
    found = []
    for order in orders:
        if order.terms is not None and order.terms.is_trailing:
            if rows is not None and order.id in lives:
                begin_ns, end_ns = (at_ns + offset_ns for at_ns in lives[order.id])
                found += _trailed(
                    order, subject.instruments[name], rows, max(begin_ns, changed.get(order.id, 0)), end_ns
                )
            continue
        price = order.stop_price if order.take_profit_price is None else order.take_profit_price
        if price is not None:
            found.append(TriggerLine(changed.get(order.id, order.sent_ns), order.updated_ns, price))
    return found


def _has_trigger(order: Order) -> bool:
    return order.stop_price is not None or (order.terms is not None and order.terms.has_trigger)


def _trailed(order: Order, instrument: Instrument, rows: PriceRows, begin_ns: int, end_ns: int) -> list[TriggerLine]:
    """Return where a trailing stop stood while prices moved it."""
    sign = 1 if order.side is Side.SELL else -1
    # The price that stood at its arrival, then each row; a candle once it has closed, if it opened after that.
    first = int(rows.time_ns.searchsorted(begin_ns, "right"))
    last = int(rows.time_ns.searchsorted(end_ns, "left"))
    own = np.arange(first, last)
    own = own[rows.time_ns[own] - rows.interval_ns >= begin_ns]
    best: FloatArray = (rows.high if sign > 0 else rows.low)[own]
    at_ns: IntArray = rows.time_ns[own]
    if first:
        best, at_ns = np.append(rows.close[first - 1], best), np.append(begin_ns, at_ns)
    if order.activation_price is not None:
        met = np.flatnonzero((best - order.activation_price) * sign >= 0)
        begun = int(met[0]) if len(met) else len(best)
        best, at_ns = best[begun:], at_ns[begun:]
    if not len(best):
        return []
    stops = _behind(np.maximum.accumulate(best * sign) * sign, sign, order, instrument)
    if order.stop_price is not None:
        stops = np.minimum(stops * sign, order.stop_price * sign) * sign
    moves = np.append(0, np.flatnonzero(np.diff(stops)) + 1)
    moves = moves[:: -(-len(moves) // _STEPS_MAX)]
    ends = np.append(at_ns[moves][1:], end_ns)
    return [
        TriggerLine(int(begin), int(end), float(price))
        for begin, end, price in zip(at_ns[moves], ends, stops[moves], strict=True)
    ]


def _behind(best: FloatArray, sign: int, order: Order, instrument: Instrument) -> FloatArray:
    """Return triggers behind best prices, on the price step, away from the market."""
    step = Fraction(instrument.price_step)
    offset = order.trailing_offset
    distance = best * ((order.trailing_offset_bps or 0.0) / 10_000) if offset is None else offset
    steps = (best - sign * distance) * (step.denominator / step.numerator)
    whole: FloatArray = np.floor(steps * sign + _NOISE) * sign * (step.numerator / step.denominator)
    return np.maximum(whole, 0.0)
