"""A run against the simulated exchange: the engine with its broker, ready to go."""

from collections.abc import Callable

from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.simulated.build import simulated
from quantkit.brokers.simulated.venue import SimulatedOptions
from quantkit.engine.engine import Engine
from quantkit.engine.options import RunOptions
from quantkit.engine.outcome import RunLog
from quantkit.engine.phases import Prepared
from quantkit.feeds.base import Feed
from quantkit.instruments import decimal_of
from quantkit.strategy import Strategy


def simulated_run(
    feed: Feed,
    strategy: Strategy,
    config: RunOptions | None = None,
    *,
    progress: Callable[[int, int, int], None] | None = None,
    log: RunLog | None = None,
    send_clock: SendClock | None = None,
    is_live: bool = False,
) -> Engine:
    """Call `on_start`, plan the run, and return the engine that does it.

    Args:
        feed: Where rows come from.
        strategy: Whose hooks run.
        config: How.
        progress, log, send_clock: See `Engine`.
        is_live: Whether the run cannot simply be run once more over the same span.

    Raises:
        ConfigError, DataError: The run cannot start.
        StrategyError: `on_start` raised; the original is its cause.
    """
    config = config or RunOptions()
    prepared = Prepared(feed, strategy, config, is_live=is_live)
    return Engine(prepared, simulated(simulated_options(config)), progress=progress, log=log, send_clock=send_clock)


def simulated_options(config: RunOptions) -> SimulatedOptions:
    """Return what a run's configuration says about the simulated exchange."""
    return SimulatedOptions(
        max_leverage=decimal_of(config.max_leverage),
        stale_after_ns=config.stale_after_ns,
        touch=config.touch,
        excess_slippage_bps=config.excess_slippage_bps,
        slippage_bps=config.slippage_bps,
        search=config.search,
    )
