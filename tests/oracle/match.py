"""Runs one scenario through the oracle and through the real engine, and says where they differ."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from oracle.dripping import DrippingFeed
from oracle.engine import Oracle
from oracle.scenarios import Scenario
from oracle.scripted import Scripted, fill_text

from quantkit.clock import NS_PER_MIN
from quantkit.engine.engine import Engine
from quantkit.engine.outcome import Outcome
from quantkit.engine.plan import EngineConfig
from quantkit.feeds.replay import MemoryFeed


@dataclass(frozen=True)
class Told:
    """Everything a run says that has to be the same whoever ran it."""

    orders: list[Any]
    order_events: list[Any]
    fills: list[str]
    cash: dict[str, Decimal]
    trace: list[tuple[int, str, str]]
    ended: str
    end_ns: int
    why: tuple[str, ...] = ()  # the wording of fills, which only runs of the real engine have in common


def engine_config(scenario: Scenario, *, search: bool, equity_every_ns: int = NS_PER_MIN) -> EngineConfig:
    """Return the real engine's configuration of a scenario."""
    is_all_candles = set(scenario.match_on.values()) == {"candle"}
    return EngineConfig(
        cash=dict(scenario.cash),
        fees=dict(scenario.fees),
        latency_ns=0 if is_all_candles else scenario.latency_ns,
        match_on=dict(scenario.match_on),
        start_ns=scenario.start_ns,
        end_ns=scenario.end_ns,
        max_leverage=scenario.max_leverage,
        stale_after_ns=scenario.stale_after_ns,
        touch=scenario.touch,
        excess_slippage_bps=scenario.excess_slippage_bps,
        slippage_bps=scenario.slippage_bps,
        search=search,
        equity_every_ns=equity_every_ns,
    )


def outcome_of(
    scenario: Scenario,
    *,
    search: bool = True,
    block_rows: int = 131_072,
    strategy: Scripted | None = None,
    drip_seed: int | None = None,
    equity_every_ns: int = NS_PER_MIN,
) -> tuple[Outcome, Scripted]:
    """Run the real engine, with a seed on rows that drip as they do live."""
    strategy = strategy or scenario.strategy()
    feed = MemoryFeed(scenario.events, scenario.instruments, block_rows=block_rows)
    if drip_seed is not None:
        feed = DrippingFeed(
            scenario.events, scenario.instruments, block_rows=block_rows, seed=drip_seed, end_ns=scenario.end_ns
        )
    config = engine_config(scenario, search=search, equity_every_ns=equity_every_ns)
    return Engine(feed, strategy, config, send_clock=scenario.send_clock()).run(), strategy


def real(
    scenario: Scenario,
    *,
    search: bool = True,
    block_rows: int = 131_072,
    strategy: Scripted | None = None,
    drip_seed: int | None = None,
) -> Told:
    """Run the real engine and return what it says."""
    outcome, strategy = outcome_of(
        scenario, search=search, block_rows=block_rows, strategy=strategy, drip_seed=drip_seed
    )
    return Told(
        [(o.id, o.instrument, o.side, o.lots, o.price_ticks, o.filled_lots, o.state) for o in outcome.orders],
        [(e.order_id, e.at_ns, e.reported_ns, e.state, e.reason) for e in outcome.order_events],
        [fill_text(fill) for fill in outcome.fills],
        {currency: amount.normalize() for currency, amount in outcome.cash.items()},
        strategy.trace,
        outcome.ended,
        outcome.end_ns,
        tuple(fill.why for fill in outcome.fills),
    )


def naive(scenario: Scenario, *, strategy: Scripted | None = None) -> Told:
    """Run the oracle and return what it says."""
    strategy = strategy or scenario.strategy()
    outcome = Oracle(scenario.events, scenario.instruments, strategy, scenario.oracle_config()).run()
    return Told(
        outcome.orders,
        outcome.order_events,
        [fill_text(fill) for fill in outcome.fills],
        {currency: amount.normalize() for currency, amount in outcome.cash.items()},
        strategy.trace,
        outcome.ended,
        outcome.end_ns,
    )


def difference(one: Told, other: Told) -> str:
    """Return where two runs first differ, empty when they are the same."""
    for name in ("order_events", "fills", "trace", "orders"):
        mine, theirs = getattr(one, name), getattr(other, name)
        for number, (a, b) in enumerate(zip(mine, theirs, strict=False)):
            if a != b:
                return f"{name}[{number}]:\n  {a}\n  {b}\nafter {mine[max(0, number - 3) : number]}"
        if len(mine) != len(theirs):
            longer = mine if len(mine) > len(theirs) else theirs
            return f"{name}: {len(mine)} and {len(theirs)}; {longer[min(len(mine), len(theirs))]}"
    for name in ("cash", "ended", "end_ns"):
        if getattr(one, name) != getattr(other, name):
            return f"{name}: {getattr(one, name)} and {getattr(other, name)}"
    if one.why and other.why and one.why != other.why:
        return f"why: {one.why} and {other.why}"
    return ""
