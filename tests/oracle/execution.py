"""Execution figures by loops over rows, written from docs/explain.md, without any arithmetic of quantkit."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

HORIZONS = (1, 5, 30, 60)


def reference(rows: Sequence[tuple[int, float]], moment: int, *, strictly: bool) -> float | None:
    """Return the last price before a moment, or up to it."""
    found = None
    for at, price in rows:
        if at > moment or (strictly and at == moment):
            break
        found = price
    return found


def gained(fill: Any, instrument: Any, start: float, end: float) -> float:
    """Return what a fill's size gains from one price to another."""
    size = fill.qty * float(instrument.contract_value * instrument.contract_multiplier)
    per_unit = 1 / start - 1 / end if instrument.is_inverse else end - start
    return size * per_unit * (1 if fill.side == "buy" else -1)


def markouts(
    fills: Sequence[Any], instrument: Any, rows: Sequence[tuple[int, float]], end: int, *, interval: int | None = None
) -> dict[tuple[str, int], tuple[int, float, float, float | None]]:
    """Return by role and horizon: known fills, money, bps, and what went against us in bps."""
    found = {}
    for role in ("maker", "taker"):
        for horizon in HORIZONS:
            count, money, notional, before = 0, 0.0, 0.0, [0.0]
            for fill in fills:
                at = fill.revealed_ns + horizon * 10**9
                later = None if at > end else reference(rows, at, strictly=False)
                if fill.role != role or later is None or (interval is not None and horizon * 10**9 < interval):
                    continue
                count += 1
                money += gained(fill, instrument, fill.price, later)
                notional += abs(float(fill.value))
                mid = None if interval is not None else reference(rows, fill.revealed_ns, strictly=True)
                if mid is None:
                    before = []
                elif before:
                    before[0] += gained(fill, instrument, fill.price, mid)
            bps = 1e4 * money / notional if notional else float("nan")
            adverse = 1e4 * (before[0] - money) / notional if before and notional else None
            found[role, horizon] = (count, money, bps, adverse)
    return found


def queue_times(outcome: Any) -> list[float]:
    """Return seconds in queue of limit orders that rested and filled, in order of sending."""
    found = []
    for order in outcome.orders:
        if order.price is None or order.stop_price is not None:
            continue
        joined = None
        first = next((f.filled_ns for f in outcome.fills if f.order_id == order.id and f.role == "maker"), None)
        for event in outcome.order_events:
            is_start = event.reason == "amended" or (event.state == "accepted" and event.reason == "")
            if event.order_id == order.id and is_start and first is not None and event.at_ns <= first:
                joined = event.at_ns
        if joined is not None:
            found.append((first - joined) / 1e9)
    return found


def uptime(outcome: Any, instrument: str) -> tuple[float, float, float]:
    """Return the shares of time with a bid, an ask and both, looked at between any two events."""
    start, end = outcome.start_ns - outcome.offset_ns, outcome.end_ns - outcome.offset_ns
    lives = []
    for order in outcome.orders:
        if order.instrument != instrument or order.price is None or order.stop_price is not None:
            continue
        events = [event for event in outcome.order_events if event.order_id == order.id]
        begun = [event.at_ns for event in events if event.state == "accepted"]
        ended = [event.at_ns for event in events if event.state in ("filled", "cancelled", "rejected")]
        if begun:
            lives.append((order.side, begun[0], ended[0] if ended else end))
    moments = sorted({start, end, *(at for _, first, last in lives for at in (first, last) if start <= at <= end)})
    bid = ask = both = 0
    for low, high in pairwise(moments):
        up = {side for side, first, last in lives if first <= low and last >= high}
        bid += (high - low) * ("buy" in up)
        ask += (high - low) * ("sell" in up)
        both += (high - low) * (len(up) == 2)
    return bid / (end - start), ask / (end - start), both / (end - start)


def inventory(outcome: Any, instrument: str) -> dict[int, float]:
    """Return the share of time at each position in size steps."""
    start, end = outcome.start_ns - outcome.offset_ns, outcome.end_ns - outcome.offset_ns
    held, since, found = 0, start, dict[int, float]()
    for fill in sorted((f for f in outcome.fills if f.instrument == instrument), key=lambda f: f.filled_ns):
        at = min(max(fill.filled_ns, start), end)
        found[held] = found.get(held, 0.0) + (at - since) / (end - start)
        held, since = held + (fill.lots if fill.side == "buy" else -fill.lots), at
    found[held] = found.get(held, 0.0) + (end - since) / (end - start)
    return {lots: share for lots, share in found.items() if share}
