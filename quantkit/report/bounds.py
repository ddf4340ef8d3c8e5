"""The interval that a result lies in: the same run with nobody ahead of its resting orders, and with everybody."""

from collections.abc import Mapping, Sequence

import msgspec

from quantkit.engine.outcome import Outcome
from quantkit.queue_models import BOUNDS
from quantkit.report.text import counted, money


class FillBound(msgspec.Struct, frozen=True):
    """One of the runs side by side.

    Attributes:
        queue_model: What told its resting orders' places.
        net_pnl: Equity at the end less that at the start, in the report currency.
        fills: How many.
    """

    queue_model: str
    net_pnl: float
    fills: int


def bounds_of(outcomes: Mapping[str, Outcome]) -> list[FillBound]:
    """Return what runs came to, by the model of each: those that bound the others first and last."""
    first, last = BOUNDS
    order = [first, *(name for name in outcomes if name not in BOUNDS), last]
    return [
        FillBound(name, float(outcomes[name].equity - outcomes[name].starting_equity), len(outcomes[name].fills))
        for name in order
    ]


def sentence(bounds: Sequence[FillBound], currency: str, decimals: int) -> str:
    """Return the interval in words.

    Args:
        bounds: At least two.
        currency: That of the PnL.
        decimals: Of amounts.
    """
    least, most = (choose(bounds, key=lambda each: each.net_pnl) for choose in (min, max))
    few, many = (choose(each.fills for each in bounds) for choose in (min, max))
    shown = ", ".join(
        f"{each.queue_model} {money(each.net_pnl, decimals)} in {counted(each.fills, 'fill')}" for each in bounds
    )
    return (
        f"net PnL lies between {money(least.net_pnl, decimals)} and {money(most.net_pnl, decimals)} {currency}, with "
        f"{few:,} to {counted(many, 'fill')}, depending on who stood in front of resting orders: {shown}"
    )
