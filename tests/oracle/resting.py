"""Long random books of few levels with orders at rest: what a search that skips rows could get wrong.

Levels vanish with what stands beyond them, stamps are up to 80 ms late so that rows are older than an arrival, a row
names a level twice, snapshots and gaps come in between, and limits lie where the other side already is.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from oracle.scenarios import MODELS, Scenario
from oracle.scripted import Act, Script, Scripted

from quantkit.clock import NS_PER_MS
from quantkit.events import BookUpdate, Funding, Gap, MarketEvent, Trade
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.latency import Latency

COIN = Instrument("X-USDT-SWAP", kind="swap", price_step="1", qty_step="1")
START_NS = 1_767_225_600_000_000_000
Levels = dict[int, int]


def resting_scenario(seed: int, *, rows: int = 600) -> Scenario:
    """Return a market of a seed; its strategy quotes, changes and cancels on a timer of 50 ms."""
    events = market(seed, rows=rows, has_gaps=seed % 3 != 0, has_trades=seed % 5 != 4)
    kinds = {"book", *(("trade",) if seed % 5 != 4 else ())}
    return Scenario(
        events=tuple(events),
        instruments=(COIN,),
        match_on={COIN.id: "book"},
        fees={COIN.id: Fees(maker_bps=1, taker_bps=3)},
        latency_ns=(0, 5, 20, 60)[seed % 4] * NS_PER_MS,
        start_ns=START_NS,
        end_ns=events[-1].received_ns,
        subscriptions=tuple((kind, COIN.id, "", 0) for kind in sorted(kinds)),
        hooks=("trade",) if seed % 7 == 3 else (),
        acts={},
        timers=("50ms",),
        cash={"USDT": 100_000.0},
        stale_after_ns=(10_000, 10_000, 90)[seed % 3] * NS_PER_MS,
        max_leverage=5,
        reads_money=seed % 2 == 0,
        equity_every_ns=100 * NS_PER_MS,
        queue_model=MODELS[seed % len(MODELS)],
        own_side_prints=seed % 4 != 1,
        latency=Latency.lognormal(10, 150) if seed % 5 == 2 else None,
        compute=Latency.lognormal(2, 30) if seed % 6 == 4 else None,
    )


def resting_script(seed: int) -> Script:
    """Return orders of all kinds, by the number of the callback."""

    def script(number: int, hook: str, strategy: Scripted) -> Sequence[Act]:
        if hook != "timer":
            return ()
        dice = Random(seed * 100_003 + number)
        what, price, which = dice.random(), 100.0 + dice.randint(-4, 4), dice.randint(0, 9)
        is_passive = dice.random() < 0.6
        if what < 0.25:
            more: dict[str, Any] = {"post_only": is_passive}
            if dice.random() < 0.3:
                more["expires_in_ms"] = dice.randint(1, 500)
            return [Act("buy", COIN.id, dice.randint(1, 4), price, more)]
        if what < 0.5:
            return [Act("sell", COIN.id, dice.randint(1, 4), price + 2, {"post_only": is_passive})]
        if what < 0.6:
            return [Act("cancel", which=which)]
        if what < 0.75:
            return [Act("amend", "", 0.0, price, which=which)]
        if what < 0.8:
            return [Act("amend", "", float(dice.randint(1, 6)), None, which=which)]
        if what < 0.85:
            trigger = dice.choice(
                (
                    {"stop_price": price},
                    {"take_profit_price": price},
                    {"trailing_offset": dice.randint(1, 4)},
                    {"trailing_offset_bps": dice.randint(90, 300), "activation_price": price},
                    {"stop_price": price, "expires_in_ms": dice.randint(1, 400)},
                )
            )
            return [Act(dice.choice(("buy", "sell")), COIN.id, 1, None, trigger)]
        if what < 0.88:
            return [Act("amend", more={"trigger": (price, dice.randint(1, 4))}, which=which), Act("sell", COIN.id, 2)]
        if what < 0.91:
            return [Act("quote", COIN.id, 2, price - 3, {"ask": price + 3})]
        return [Act("close", COIN.id)] if what < 0.93 else ()

    return script


def market(seed: int, *, rows: int, has_gaps: bool, has_trades: bool) -> list[MarketEvent]:
    """Return rows of a book that is never crossed, one to four levels a side."""
    dice, now_ns = Random(seed), START_NS
    bids: Levels = {}
    asks: Levels = {}
    found: list[MarketEvent] = []
    is_valid = False
    for number in range(rows):
        now_ns += dice.choice((0, 1, 5, 10, 20, 40)) * NS_PER_MS
        sent_ns = now_ns - dice.choice((1, 1, 1, 2, 30, 80)) * NS_PER_MS
        what = dice.random()
        if not found or (not is_valid and what < 0.6) or dice.random() < 0.01:
            middle = 100 + dice.randint(-3, 3)
            bids = {tick: dice.randint(1, 9) for tick in dice.sample(range(middle - 5, middle), dice.randint(1, 4))}
            asks = {tick: dice.randint(1, 9) for tick in dice.sample(range(middle + 1, middle + 6), dice.randint(1, 4))}
            is_valid = True
            found.append(_update(sent_ns, now_ns, list(bids.items()), list(asks.items()), is_snapshot=True))
        elif has_trades and what < 0.4:
            tick = dice.choice((max(bids, default=99), min(asks, default=101), 99, 100, 101))
            side = dice.choice((Side.BUY, Side.SELL))
            size = float(dice.randint(1, 6))
            found.append(Trade(COIN.id, sent_ns, now_ns, float(tick), size, side, number))
        elif has_gaps and what < 0.415:
            found.append(Gap(COIN.id, now_ns, now_ns, "book", now_ns - 5 * NS_PER_MS, now_ns, "test"))
            is_valid = False
        elif what > 0.995:
            found.append(Funding(COIN.id, sent_ns, now_ns, 0.01, sent_ns, True))
        elif is_valid:
            changes = _changes(dice, bids, asks)
            found.append(_update(sent_ns, now_ns, *changes, is_snapshot=False))
    now_ns += NS_PER_MS
    if has_trades:
        found.append(Trade(COIN.id, now_ns, now_ns, 100.0, 1.0, Side.BUY, rows))
    return found


def _changes(dice: Random, bids: Levels, asks: Levels) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Change some levels, now and then one of them twice in the row: the last size counts."""
    named: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for _ in range(dice.randint(0, 3)):
        top = min(asks, default=110) - 1
        _change(dice, bids, named[0], dice.randint(min(max(bids, default=98), top) - 4, top))
    for _ in range(dice.randint(0, 3)):
        top = max(bids, default=90) + 1
        _change(dice, asks, named[1], dice.randint(top, top + 5))
    return named


def _change(dice: Random, levels: Levels, named: list[tuple[int, int]], tick: int) -> None:
    size = dice.choice((0, 0, dice.randint(1, 9)))
    if dice.random() < 0.1:
        named.append((tick, dice.randint(1, 9)))
    named.append((tick, size))
    if size:
        levels[tick] = size
    else:
        levels.pop(tick, None)


def _update(
    sent_ns: int,
    now_ns: int,
    bids: Sequence[tuple[int, int]],
    asks: Sequence[tuple[int, int]],
    *,
    is_snapshot: bool,
) -> BookUpdate:
    columns = (tuple(float(pair[of]) for pair in side) for side in (bids, asks) for of in (0, 1))
    return BookUpdate(COIN.id, sent_ns, now_ns, *columns, is_snapshot)
