"""A run against the simulated exchange: the engine with its broker, ready to go."""

from collections.abc import Callable

from quantkit.brokers.order_trace import OrderTrace
from quantkit.brokers.send_clock import SendClock
from quantkit.brokers.simulated.build import simulated
from quantkit.engine.commands import CommandSource
from quantkit.engine.engine import Engine
from quantkit.engine.outcome import RunLog
from quantkit.engine.prepared import Prepared
from quantkit.feeds.base import Feed
from quantkit.options import RunOptions
from quantkit.strategy import Strategy


def simulated_run(
    feed: Feed,
    strategy: Strategy,
    options: RunOptions | None = None,
    *,
    progress: Callable[[int, int, int], None] | None = None,
    log: RunLog | None = None,
    send_clock: SendClock | None = None,
    commands: CommandSource | None = None,
    is_live: bool = False,
    trace: OrderTrace | None = None,
) -> Engine:
    """Call `on_start`, plan the run, and return the engine that does it.

    Args:
        feed: The source of rows.
        strategy: The strategy with its hooks.
        options: How.
        progress, log, send_clock, commands: See `Engine`.
        is_live: Whether the run cannot simply be run once more over the same span.
        trace: Follows one order; it changes nothing.

    Raises:
        ConfigError, DataError: The run cannot start.
        StrategyError: `on_start` raised; the original is its cause.
    """
    options = options or RunOptions()
    prepared = Prepared(feed, strategy, options, is_live=is_live)
    broker = simulated(options, trace)
    return Engine(prepared, broker, progress=progress, log=log, send_clock=send_clock, commands=commands)
