"""A run up to its first row: `on_start`, the plan, what the feed is asked for, and the warm-up."""

from typing import Any

from quantkit.engine.context import StartContext
from quantkit.engine.guard import HookGuard
from quantkit.engine.known_instruments import KnownInstruments
from quantkit.engine.plan import make_plan
from quantkit.events import Candle
from quantkit.feeds.base import Feed
from quantkit.options import RunOptions
from quantkit.rows.batch import Subscription
from quantkit.rows.position import RunPosition
from quantkit.strategy import Strategy, idle_hooks


class Prepared:
    """A run up to its first row: `on_start` has been called and everything is decided.

    Args:
        feed: The source of rows.
        strategy: The strategy with its hooks.
        options: How it runs.
        is_live: Whether the run cannot simply be run once more over the same span.

    Attributes:
        start: The context of `on_start`.
        plan: The decisions before the run.
        warnings: Sentences for the result.

    Raises:
        ConfigError, DataError: The run cannot start.
        StrategyError: `on_start` raised; the original is its cause.
    """

    def __init__(self, feed: Feed, strategy: Strategy, options: RunOptions, *, is_live: bool) -> None:
        begin_ns = _begin_ns(feed, options)
        self.feed = feed
        self.strategy = strategy
        self.options = options
        self.is_live = is_live
        self.position = RunPosition(begin_ns)
        self.guard = HookGuard(strategy, self.position, is_live=is_live)
        self.instruments = KnownInstruments(feed, begin_ns, is_live=is_live)
        self.start = StartContext(
            self.instruments, seed=options.seed, now_ns=begin_ns, is_long_short=options.is_long_short
        )
        strategy.bind(self.start)
        self.guard.call("on_start", strategy.on_start)
        self.plan = make_plan(feed, self.start.subscriptions, options)
        self.instruments.update(self.plan.instruments)
        self.warnings = idle_hooks(strategy, {stream.kind for stream in self.start.subscriptions})

    @property
    def subscriptions(self) -> list[Subscription]:
        """The rows that the run needs from its feed."""
        plan, subscriptions = self.plan, self.start.subscriptions
        # A candle that closes at the very start has been delivered as the last of the warm-up.
        return [
            Subscription(stream, plan.start_ns + (1 if subscriptions.get(stream) else 0), plan.end_ns)
            for stream in plan.streams
        ]

    def warmup_candles(self) -> list[Candle]:
        """Return the candles from before the start, in the one order."""
        candles: list[tuple[tuple[int, Any, int], Candle]] = []
        for stream, count in self.start.subscriptions.items():
            if not count:
                continue
            block = self.feed.warmup(stream, count, self.plan.start_ns)
            had = 0 if block is None else block.size
            if had < count:
                self.warnings.append(f"{stream}: warm-up {had} of {count}")
            if block is not None:
                for number, event in enumerate(block.events()):
                    assert isinstance(event, Candle)
                    candles.append(((event.received_ns, stream.sort_key, number), event))
        return [candle for _, candle in sorted(candles, key=lambda entry: entry[0])]


def _begin_ns(feed: Feed, options: RunOptions) -> int:
    """Return the time of `on_start`, before the span is decided: the start that was given, else the data's.

    Rows that a live run recorded begin when it began, though some of them are older.
    """
    if options.start_ns is not None:
        return options.start_ns
    held = feed.coverage().values()
    began = [each.live_ns for each in held if each.live_ns is not None]
    return min(began or [each.start_ns for each in held], default=0)
