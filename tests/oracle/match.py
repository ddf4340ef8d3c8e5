"""Runs one scenario through the oracle and through the real engine, and says where they differ."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from oracle.dripping import DrippingFeed
from oracle.engine import Oracle, OracleOutcome
from oracle.ledger import shown
from oracle.scenarios import Scenario
from oracle.scripted import HookRaised, Scripted, amount_text, fill_text, money_text, order_text, position_text

from quantkit.engine.outcome import Outcome
from quantkit.errors import DataError, StrategyError
from quantkit.feeds.replay import MemoryFeed
from quantkit.margin import MarginTier
from quantkit.options import RunOptions
from quantkit.orders import Order
from quantkit.simulated import simulated_run


@dataclass(frozen=True)
class Told:
    """Everything a run says that has to be the same whoever ran it."""

    orders: list[Any]
    order_events: list[Any]
    fills: list[str]
    curve: list[tuple[Any, ...]]  # time, equity, cash, exposure, drawdown, whether of the grid
    trips: list[tuple[Any, ...]]  # instrument, first fill, lowest and highest mark
    days: list[tuple[str, int, float]]  # instrument, moment, mark
    ledger: dict[str, str]  # the exchange's balances and totals, and each position as reported
    cash: dict[str, Decimal]
    trace: list[tuple[int, str, str]]
    ended: str
    end_ns: int
    why: tuple[str, ...] = ()  # the wording of fills, which only runs of the real engine have in common


def engine_config(scenario: Scenario, *, search: bool) -> RunOptions:
    """Return the real engine's configuration of a scenario."""
    is_all_candles = set(scenario.match_on.values()) == {"candle"}
    return RunOptions(
        cash=dict(scenario.cash),
        fees=dict(scenario.fees),
        latency_ns=0 if is_all_candles else scenario.latency_ns if scenario.latency is None else None,
        latency=scenario.latency,
        match_on=dict(scenario.match_on),
        start_ns=scenario.start_ns,
        end_ns=scenario.end_ns,
        max_leverage=scenario.max_leverage if scenario.margin == "off" else 1,
        stale_after_ns=scenario.stale_after_ns,
        touch=scenario.touch,
        excess_slippage_bps=scenario.excess_slippage_bps,
        slippage_bps=scenario.slippage_bps,
        slippage=scenario.slippage or None,
        queue_model=scenario.queue_model,
        own_side_prints=scenario.own_side_prints,
        max_share=scenario.max_share,
        venue_rules=scenario.venue_rules,
        stp_mode=scenario.stp_mode,
        search=search,
        report_currency=scenario.report_currency,
        position_mode="long_short" if scenario.is_long_short else "net",
        equity_every_ns=scenario.equity_every_ns,
        margin=scenario.margin,
        leverage={name: Decimal(text) for name, text in scenario.leverage.items()} or None,
        tiers=_tiers(scenario),
    )


def _tiers(scenario: Scenario) -> dict[str, list[MarginTier]] | None:
    """Return the tiers by family, as a file has them: contracts of one family have one table here."""
    if scenario.margin == "off":
        return None
    return {
        "-".join(name.split("-")[:2]): [MarginTier(*map(Decimal, row)) for row in rows]
        for name, rows in scenario.tiers.items()
    }


def outcome_of(
    scenario: Scenario,
    *,
    search: bool = True,
    block_rows: int = 131_072,
    strategy: Scripted | None = None,
    drip_seed: int | None = None,
) -> tuple[Outcome, Scripted]:
    """Run the real engine, with a seed on rows that drip as they do live; what a hook raises ends the run."""
    strategy = strategy or scenario.strategy()
    feed = MemoryFeed(scenario.events, scenario.instruments, block_rows=block_rows)
    if drip_seed is not None:
        feed = DrippingFeed(
            scenario.events, scenario.instruments, block_rows=block_rows, seed=drip_seed, end_ns=scenario.end_ns
        )
    engine = simulated_run(feed, strategy, engine_config(scenario, search=search), send_clock=scenario.send_clock())
    try:
        return engine.run(), strategy
    except StrategyError as error:
        if not isinstance(error.__cause__, HookRaised):
            raise
        outcome = engine.partial_result(error)
        if outcome is None:
            # As a run that ends by itself while nothing has a price; the oracle's has no curve then.
            raise DataError("the run cannot be valued: a hook raised before anything had a price") from error
        return outcome, strategy


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
        scenario,
        search=search,
        block_rows=block_rows,
        strategy=strategy,
        drip_seed=drip_seed,
    )
    return told_by_engine(outcome, strategy)


def told_by_engine(outcome: Outcome, strategy: Scripted) -> Told:
    """Return what a run of the real engine says."""
    curve = outcome.curve
    columns = (curve.time_ns, curve.equity, curve.cash, curve.exposure, curve.drawdown, curve.is_grid)
    reported = strategy.portfolio
    marks = {name: f"{mark}" for name, mark in sorted(outcome.position_mark.items())}
    return Told(
        orders=[_order(order) for order in outcome.orders],
        order_events=[(e.order_id, e.at_ns, e.reported_ns, e.state, e.reason) for e in outcome.order_events],
        fills=[fill_text(fill) for fill in outcome.fills],
        curve=list(zip(*(column.tolist() for column in columns), strict=True)),
        trips=[(trip.instrument, trip.fill_id, trip.low, trip.high) for trip in outcome.excursions],
        days=sorted((mark.instrument, mark.at_ns, mark.price) for mark in outcome.daily_marks),
        ledger={
            "realised": money_text(outcome.realised),
            "fees": money_text(outcome.fees),
            "funding": money_text(outcome.funding),
            "equity": amount_text(outcome.equity),
            "starting_equity": amount_text(outcome.starting_equity),
            "cash": money_text(outcome.cash),
            "reported": money_text(reported.cash),
            "sizes": money_text(outcome.position_qty),
            "marks": str(marks),
            **{name: position_text(name, position) for name, position in reported.positions.items()},
        },
        cash={currency: amount.normalize() for currency, amount in outcome.cash.items()},
        trace=strategy.trace,
        ended=outcome.ended,
        end_ns=outcome.end_ns,
        why=tuple(fill.why for fill in outcome.fills),
    )


def naive(scenario: Scenario, *, strategy: Scripted | None = None) -> Told:
    """Run the oracle and return what it says."""
    strategy = strategy or scenario.strategy()
    oracle = Oracle(scenario.events, scenario.instruments, strategy, scenario.oracle_config())
    return told_by_oracle(oracle.run(), strategy)


def told_by_oracle(outcome: OracleOutcome, strategy: Scripted) -> Told:
    """Return what a run of the oracle says."""
    account, reported = outcome.account, outcome.reported
    marks = {name: f"{mark}" for name, mark in sorted(outcome.marks.items())}
    equity = account.equity
    return Told(
        orders=[_order(order) for order in outcome.orders],
        order_events=outcome.order_events,
        fills=[fill_text(fill) for fill in outcome.fills],
        curve=[tuple(row) for row in outcome.curve],
        trips=[(trip.instrument, trip.fill_id, trip.low, trip.high) for trip in outcome.trips],
        days=outcome.days,
        ledger={
            "realised": money_text(account.totals("realised")),
            "fees": money_text(account.totals("fees")),
            "funding": money_text(account.totals("funding")),
            "equity": amount_text(Decimal(0) if equity is None else equity),
            "starting_equity": amount_text(shown(outcome.starting_equity)),
            "cash": money_text(account.cash),
            "reported": money_text(reported.cash),
            "sizes": money_text({_named(leg): shown(held.qty) for leg, held in account.holdings.items()}),
            "marks": str(marks),
            **{_named(leg): position_text(_named(leg), reported.position(leg)) for leg in reported.holdings},
        },
        cash={currency: amount.normalize() for currency, amount in account.cash.items()},
        trace=strategy.trace,
        ended=outcome.ended,
        end_ns=outcome.end_ns,
    )


def _named(leg: str) -> str:
    """Return the oracle's name of a position as the engine says it."""
    return leg.replace("+", " ")


def _order(order: Order) -> tuple[Any, ...]:
    return order.id, order_text(order), order.state


def difference(one: Told, other: Told) -> str:
    """Return where two runs first differ, empty when they are the same."""
    for name in ("order_events", "fills", "trace", "orders", "curve", "trips", "days"):
        mine, theirs = getattr(one, name), getattr(other, name)
        for number, (a, b) in enumerate(zip(mine, theirs, strict=False)):
            if a != b:
                return f"{name}[{number}]:\n  {a}\n  {b}\nafter {mine[max(0, number - 3) : number]}"
        if len(mine) != len(theirs):
            longer = mine if len(mine) > len(theirs) else theirs
            return f"{name}: {len(mine)} and {len(theirs)}; {longer[min(len(mine), len(theirs))]}"
    for name in ("cash", "ledger", "ended", "end_ns"):
        if getattr(one, name) != getattr(other, name):
            return f"{name}: {getattr(one, name)} and {getattr(other, name)}"
    if one.why and other.why and one.why != other.why:
        return f"why: {one.why} and {other.why}"
    return ""
