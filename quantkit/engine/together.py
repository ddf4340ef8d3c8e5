"""Several runs over the same rows, in step: each block of data is read and decoded once."""

from collections.abc import Sequence
from itertools import tee

from quantkit.engine.engine import Engine
from quantkit.engine.outcome import Outcome
from quantkit.errors import ConfigError


def run_together(engines: Sequence[Engine]) -> list[Outcome]:
    """Run engines that were made over one replay's feed, batch by batch in turn; each has its own account and strategy.

    Returns:
        Their outcomes, in the order of the engines: those of separate runs.

    Raises:
        ConfigError: They ask the feed for different rows.
        DataError: A file turns out bad on the way.
        StrategyError: A hook raised in one of them; the original is its cause.
    """
    first = engines[0]
    if any(engine.asked_rows != first.asked_rows for engine in engines):
        raise ConfigError("runs side by side need the same rows; a strategy subscribes differently each time")
    shared = tee(first.subscribed_batches(), len(engines))
    outcomes: list[Outcome | None] = [None] * len(engines)
    steps = {number: engine.steps(rows) for number, (engine, rows) in enumerate(zip(engines, shared, strict=True))}
    del shared  # a run that ends early keeps no rows for itself
    while steps:
        for number in list(steps):
            try:
                next(steps[number])
            except StopIteration as ended:
                outcomes[number] = ended.value
                del steps[number]
    return [outcome for outcome in outcomes if outcome is not None]
