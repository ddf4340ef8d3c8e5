"""The orders that protect a fill: what they are made of, and what they are called."""

from quantkit.brokers.introduction import Introduction
from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.instruments import Instrument, Side
from quantkit.orders import OWN_SIGN, OrderTerms, StopLoss, TakeProfit


def specs_of(parent: ExchangeOrder) -> list[StopLoss | TakeProfit]:
    """Return what an order asks for its fills, the stop first: within a candle it comes before the target."""
    terms = parent.terms
    assert terms is not None
    return [spec for spec in (terms.stop_loss, terms.take_profit) if spec is not None]


def child_of(
    parent: ExchangeOrder, spec: StopLoss | TakeProfit, number: int, lots: int, instrument: Instrument, known_ns: int
) -> ExchangeOrder:
    """Return a child on the steps of now; its owner gets to know it by its first report.

    Args:
        parent: Whose fill it protects.
        spec: What it is to be.
        number: Which of the parent's pairs it is in, from 1.
        lots: Its size.
        instrument: The steps.
        known_ns: Our time at which the fill became known.
    """
    side, is_stop = parent.side.opposite, isinstance(spec, StopLoss)
    suffix = str(number) if number > 1 else ""
    limit_ticks = None if spec.limit is None else instrument.limit_ticks(spec.limit, side)
    stop_ticks = take_profit_ticks = trailing_ticks = offset = offset_bps = None
    if isinstance(spec, TakeProfit):
        if limit_ticks is None:
            take_profit_ticks = instrument.limit_ticks(spec.price, side)
    elif spec.price is not None:
        stop_ticks = instrument.stop_ticks(spec.price, side)
    else:
        offset, offset_bps = spec.trailing_offset, spec.trailing_offset_bps
        trailing_ticks = None if offset is None else instrument.limit_ticks(offset, Side.SELL)
    terms = OrderTerms(
        take_profit_price=None if take_profit_ticks is None else instrument.price(take_profit_ticks),
        trigger_type=spec.trigger_type,
        trailing_offset=offset,
        trailing_offset_bps=offset_bps,
        oco_group=f"{parent.id}{OWN_SIGN}bracket{suffix}",
        parent_id=parent.id,
        take_profit_ticks=take_profit_ticks,
        trailing_ticks=trailing_ticks,
    )
    introduction = Introduction(
        instrument=parent.instrument,
        side=side,
        reduce_only=True,
        stop_ticks=stop_ticks,
        tag=parent.tag,
        sent_ns=known_ns,
        terms=terms,
        position_side=parent.position_side,
    )
    child_id = f"{parent.id}{'sl' if is_stop else 'tp'}{suffix}"
    return ExchangeOrder(introduction.order(child_id, instrument, lots, limit_ticks), introduction)
