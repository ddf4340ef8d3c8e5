"""Scenarios full of brackets and OCO groups: the calls of other scenarios, with stops, targets and groups added."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from oracle.scenarios import Scenario
from oracle.scripted import Act

from quantkit.instruments import Instrument
from quantkit.orders import StopLoss, TakeProfit, TriggerType


def with_groups(scenario: Scenario, seed: int) -> Scenario:
    """Return a scenario in which most orders have a bracket or a group, and most changes meet children."""
    dice = Random(seed)
    instruments = {instrument.id: instrument for instrument in scenario.instruments}
    acts = {
        number: tuple(_with_group(act, instruments, dice) for act in some) for number, some in scenario.acts.items()
    }
    return replace(scenario, acts=acts, hooks=scenario.hooks if dice.random() < 0.5 else ())


def _with_group(act: Act, instruments: dict[str, Instrument], dice: Random) -> Act:
    if act.what in ("close", "cancel_all", "quote") and dice.random() < 0.7:
        act = act._replace(what=dice.choice(("buy", "sell")), instrument=act.instrument or next(iter(instruments)))
        act = act._replace(qty=act.qty or instruments[act.instrument].qty(2), more={})
    if act.what not in ("buy", "sell"):
        return act
    more: dict[str, Any] = dict(act.more)
    if dice.random() < 0.7:
        more.pop("reduce_only", None)
        more |= _bracket(instruments[act.instrument], is_buy=act.what == "buy", dice=dice)
    if dice.random() < 0.3:
        more["oco_group"] = dice.choice("ab")
    if dice.random() < 0.3:
        act, more = act._replace(price=None), {key: value for key, value in more.items() if key != "post_only"}
    return act._replace(more=more)


def _bracket(instrument: Instrument, *, is_buy: bool, dice: Random) -> dict[str, Any]:
    """Return a stop, a target or both, some of them off the steps or on the wrong side of the price."""
    sign = 1 if is_buy else -1

    def price(away: int) -> float:
        return instrument.price(100 + sign * away) + dice.choice((0.0, 0.0, 0.013))

    found: dict[str, Any] = {}
    if dice.random() < 0.85:
        away = dice.choice((-5, -4, -3, -2, -1, 0, 1))
        limit = price(away - dice.choice((0, 1, 2))) if dice.random() < 0.25 else None
        source = dice.choice((TriggerType.LAST, TriggerType.LAST, TriggerType.MARK, TriggerType.INDEX))
        ways = (
            price(away),
            StopLoss(price(away), limit, source),
            StopLoss(trailing_offset=instrument.price(dice.randint(1, 4)) + dice.choice((0.0, 0.013))),
            StopLoss(trailing_offset_bps=dice.choice((50.0, 120.0, 333.3)), trigger_type=source),
        )
        found["stop_loss"] = ways[1] if limit is not None else dice.choice(ways)
    if dice.random() < 0.7:
        away = dice.choice((0, 2, 3, 4, 5))
        source = dice.choice((TriggerType.LAST, TriggerType.LAST, TriggerType.MARK))
        found["take_profit"] = dice.choice((price(away), TakeProfit(price(away), price(away), source)))
    return found
