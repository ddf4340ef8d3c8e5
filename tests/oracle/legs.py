"""Scenarios of two positions in one contract: the calls of other scenarios, each in a leg, most of them closing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

from oracle.scenarios import Scenario
from oracle.scripted import Act

from quantkit.instruments import Instrument

_PROTECTION = ("stop_loss", "take_profit")


def with_legs(scenario: Scenario, seed: int) -> Scenario:
    """Return a scenario in the long/short mode, in which several orders close the same leg."""
    dice = Random(seed)
    contracts = {instrument.id: instrument for instrument in scenario.instruments if not instrument.is_spot}
    acts = {
        number: tuple(found for act in some for found in _in_leg(act, contracts, dice))
        for number, some in scenario.acts.items()
    }
    first = min(acts, default=1)
    opened = [
        Act("buy" if side == "long" else "sell", name, instrument.qty(4 * instrument.lots_per_step), None, _leg(side))
        for name, instrument in contracts.items()
        for side in ("long", "short")
    ]
    return replace(scenario, acts={**acts, first: (*opened, *acts.get(first, ()))}, is_long_short=True)


def _leg(side: str) -> dict[str, Any]:
    return {"position_side": side}


def _in_leg(act: Act, contracts: Mapping[str, Instrument], dice: Random) -> tuple[Act, ...]:
    """Return a call that names a leg; one that opens may keep its protection, one that closes has none."""
    if act.instrument not in contracts or act.what in ("cancel_all", "amend", "cancel"):
        return (act,)
    side = dice.choice(("long", "short"))
    if act.what in ("target", "close"):
        qty = abs(act.qty) if side == "long" else -abs(act.qty)
        return (act._replace(qty=qty, more={"side": side}),)
    opening, closing = ("buy", "sell") if side == "long" else ("sell", "buy")
    if act.what == "quote":
        # In place of the two sides of a quote, two orders that close a leg.
        prices = (act.price, act.more["ask"])
        return tuple(Act(closing, act.instrument, act.qty, price, _leg(side)) for price in prices)
    more = {**act.more, **_leg(side)}
    if dice.random() < 0.4:
        return (act._replace(what=opening, more={k: v for k, v in more.items() if k != "reduce_only"}),)
    return (act._replace(what=closing, more={k: v for k, v in more.items() if k not in _PROTECTION}),)
