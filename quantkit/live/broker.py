"""The engine of a live run with its broker: the simulated exchange, or one behind a gateway."""

from collections.abc import Callable

from quantkit.brokers.base import BrokerFactory
from quantkit.brokers.send_clock import SendClock
from quantkit.engine.engine import Engine
from quantkit.engine.outcome import RunLog
from quantkit.engine.phases import Prepared
from quantkit.feeds.base import Feed
from quantkit.options import RunOptions
from quantkit.simulated import simulated_run
from quantkit.strategy import Strategy


def live_engine(
    feed: Feed,
    strategy: Strategy,
    options: RunOptions,
    brokers: BrokerFactory | None,
    *,
    progress: Callable[[int, int, int], None] | None = None,
    log: RunLog | None = None,
    send_clock: SendClock,
) -> Engine:
    """Call `on_start`, plan the run, and return the engine that does it.

    Args:
        feed: The live feed, or its recording.
        strategy: The strategy with its hooks.
        options: How.
        brokers: Makes the broker; None for the simulated exchange.
        progress, log, send_clock: See `Engine`.

    Raises:
        ConfigError, DataError: The run cannot start.
        StrategyError: `on_start` raised; the original is its cause.
    """
    if brokers is None:
        return simulated_run(feed, strategy, options, progress=progress, log=log, send_clock=send_clock, is_live=True)
    prepared = Prepared(feed, strategy, options, is_live=True)
    return Engine(prepared, brokers, progress=progress, log=log, send_clock=send_clock)
