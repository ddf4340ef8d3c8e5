"""The engine of a live run with its broker: the simulated exchange, or one behind a gateway."""

from collections.abc import Callable

from quantkit.brokers.base import BrokerFactory
from quantkit.brokers.send_clock import SendClock
from quantkit.engine.commands import CommandSource
from quantkit.engine.engine import Engine
from quantkit.engine.outcome import RunLog
from quantkit.engine.prepared import Prepared
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
    commands: CommandSource | None = None,
) -> Engine:
    """Do what `simulated_run` does for a live run, whose orders may go through a gateway.

    Args:
        feed: The live feed, or its recording.
        strategy, options, progress, log, send_clock, commands: As for `simulated_run`, which raises the same errors.
        brokers: Makes the broker; None for the simulated exchange.
    """
    if brokers is None:
        return simulated_run(
            feed,
            strategy,
            options,
            progress=progress,
            log=log,
            send_clock=send_clock,
            commands=commands,
            is_live=True,
        )
    prepared = Prepared(feed, strategy, options, is_live=True)
    return Engine(prepared, brokers, progress=progress, log=log, send_clock=send_clock, commands=commands)
