"""The configuration that is stored with a result: the options given, and what the run made of them."""

from typing import Any

import msgspec

from quantkit.engine.plan import EngineConfig, Plan
from quantkit.instruments import Fees, plain


class RunConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that says which run a result is of; JSON-ready.

    Attributes:
        strategy: Module and class. `strategy_digest`: SHA-256 of its source file, None without one.
        parameters: The strategy's parameters with their values.
        data: Folder or URI, or `memory`. `data_files`: path and SHA-256 of every file the run could read.
        start_ns, end_ns: The span that was run, UTC ns.
        cash, fees, latency_ms, matching, marks: By currency or instrument, as the run used them.
    """

    strategy: str
    strategy_digest: str | None
    parameters: dict[str, Any]
    data: str
    data_files: dict[str, str]
    start_ns: int
    end_ns: int
    cash: dict[str, str]
    report_currency: str
    fees: dict[str, Fees]
    latency_ms: dict[str, float]
    matching: dict[str, str]
    marks: dict[str, str]
    seed: int
    max_leverage: float
    stale_after_ms: float
    equity_every_ms: float
    touch: bool
    excess_slippage_bps: float
    slippage_bps: float


def run_config(
    *,
    strategy: str,
    strategy_digest: str | None,
    parameters: dict[str, Any],
    data: str,
    data_files: dict[str, str],
    plan: Plan,
    config: EngineConfig,
) -> RunConfig:
    """Gather the configuration of a run that has been planned."""
    return RunConfig(
        strategy=strategy,
        strategy_digest=strategy_digest,
        parameters=parameters,
        data=data,
        data_files=data_files,
        start_ns=plan.start_ns,
        end_ns=plan.end_ns,
        cash={
            currency: plain(amount) if isinstance(amount, float) else str(amount)
            for currency, amount in plan.cash.items()
        },
        report_currency=config.report_currency or next(iter(plan.cash)),
        fees=plan.fees,
        latency_ms={instrument: ns / 1e6 for instrument, ns in plan.latency_ns.items()},
        matching={instrument: f"{s.kind} {s.interval}".strip() for instrument, s in plan.matching.items()},
        marks={instrument: f"{s.kind} {s.interval}".strip() for instrument, s in plan.marks.items()},
        seed=config.seed,
        max_leverage=float(config.max_leverage),
        stale_after_ms=config.stale_after_ns / 1e6,
        equity_every_ms=config.equity_every_ns / 1e6,
        touch=config.touch,
        excess_slippage_bps=config.excess_slippage_bps,
        slippage_bps=config.slippage_bps,
    )
