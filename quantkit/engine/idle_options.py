"""Options of how orders fill that are given, and matter on none of a run's data.

They are told of, not refused: the same options over one kind of data after another are a comparison.
"""

from typing import Final

from quantkit.engine.plan import Plan
from quantkit.options import OPTIONS, RunOptions

#: The kinds of matching data on which an option decides anything.
_MATTERS_ON: Final = {
    "slippage": ("trade", "candle"),
    "slippage_bps": ("trade", "candle"),
    "max_share": ("trade", "candle"),
    "touch": ("trade",),
    "excess_slippage_bps": ("ticker",),
    "queue_model": ("ticker", "book"),
    "own_side_prints": ("trade", "ticker", "book"),
    "stale_after_ns": ("ticker", "book"),
}
_WORDS: Final = {"trade": "trades", "candle": "candles", "ticker": "tickers", "book": "a book"}
_DEFAULTS: Final = RunOptions()


def idle_options(plan: Plan, options: RunOptions) -> list[str]:
    """Return a sentence for each set of kinds of data that options were given for and the run does not match on."""
    there = {stream.kind for stream in plan.matching.values()}
    idle: dict[tuple[str, ...], list[str]] = {}
    for field, kinds in _MATTERS_ON.items():
        if getattr(options, field) != getattr(_DEFAULTS, field) and there.isdisjoint(kinds):
            idle.setdefault(kinds, []).append(OPTIONS[field].keyword)
    run = " and ".join(_WORDS[kind] for kind in _WORDS if kind in there)
    return [
        f"without effect, since orders are matched on {run}, not on {' or '.join(map(_WORDS.__getitem__, kinds))}: "
        f"{', '.join(names)}"
        for kinds, names in idle.items()
    ]
