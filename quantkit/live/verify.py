"""A recorded run, run once more from its engine log and tape: the same to the last digit, or the first difference."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from quantkit.brokers.asynchronous.broker import repeated
from quantkit.clock import iso_of
from quantkit.engine.engine import Engine
from quantkit.engine.outcome import Outcome
from quantkit.errors import ConfigError, StrategyError
from quantkit.feeds.base import Feed
from quantkit.feeds.exchanges import source_class
from quantkit.feeds.recorded import RecordedFeed
from quantkit.live.engine import live_engine
from quantkit.live.folder import ENGINE, FRAMES, SOURCE, recorded_run, versions
from quantkit.live.journal import SIMULATED, Started, config_of, instruments_of, read_log
from quantkit.live.replayer import CutShortError, Difference, DifferenceError, LogReplayer
from quantkit.loading import build_strategy, load_recorded, refuse_while_loading
from quantkit.report.digest import result_hash
from quantkit.sources import NotRecordedError, Source, code_of, place_of, read_source
from quantkit.strategy import Strategy


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a verification.

    Attributes:
        is_identical: Every decision, order event and fill, and the final ledger if the run came to its end.
        decisions, orders, fills, events: Counts of compared items; events are rows and steps of time.
        ended: End of the recorded run: `completed`, `bankrupt`, `strategy_error`, or `cut short` by a kill.
        difference: None where there is none.
        notes: Remarks, for example on a package with another version.
    """

    is_identical: bool
    decisions: int
    orders: int
    fills: int
    events: int
    ended: str
    difference: Difference | None
    notes: tuple[str, ...]


def verify(run: str | Path, *, strategy: Strategy | type[Strategy] | str | None = None, trust: bool = False) -> Verdict:
    """Run a recorded paper run once more and compare every step.

    This runs the strategy. By default it is the file named in the log, and its code, and that of the modules beside it,
    runs only if the bytes have the recorded digests.

    Args:
        run: The run's folder.
        strategy: Use this strategy instead of the recorded one; needed for a class from a notebook.
        trust: Run the copy in the run's folder. Whoever made the folder wrote it.

    Raises:
        ConfigError: The strategy cannot be found, or is not the one that was recorded; it says what to type.
        DataError: The folder holds no recorded run, or a damaged one.
    """
    refuse_while_loading("verify")
    if trust and strategy is not None:
        raise ConfigError("the copy in the run's folder and another strategy exclude each other; give one of them")
    folder = recorded_run(run)
    log = LogReplayer(read_log(folder / ENGINE))
    started = log.started
    notes: list[str] = []
    if strategy is None:
        built = build_strategy(_recorded_class(folder, started, trust=trust), started.parameters)
    else:
        built, notes = _given(strategy, started)
    notes += [
        f"{name} {now} repeats what {started.versions[name]} recorded"
        for name, now in versions().items()
        if name in started.versions and started.versions[name] != now
    ]
    feed = RecordedFeed(
        folder / FRAMES, source_class(started.exchange), instruments_of(started), started.opened_ns, log
    )
    difference, ended = None, "cut short"
    try:
        ended = _repeat(feed, built, log)
    except DifferenceError as error:
        difference = error.difference
    except CutShortError:
        notes.append("the recording was cut short; everything before that was compared")
    return Verdict(
        is_identical=difference is None,
        decisions=log.decisions,
        orders=log.orders,
        fills=log.fills,
        events=feed.rows,
        ended=ended,
        difference=difference,
        notes=tuple(notes),
    )


def _repeat(feed: Feed, strategy: Strategy, log: LogReplayer) -> str:
    """Run to the end of the recording, compare how it ended, and return that."""
    engine: Engine | None = None
    try:
        config = config_of(log.started.config)
        name = log.started.broker
        brokers = None if name == SIMULATED else repeated(name, log.news)
        engine = live_engine(feed, strategy, config, brokers, log=log, send_clock=log.send_clock, commands=log.commands)
        outcome = engine.run()
    except StrategyError as error:
        went_on = DifferenceError("the strategy", "went on", str(error))
        if log.goes_on:
            raise went_on from error
        try:
            partial = None if engine is None else engine.partial_result(error)
            return _compare_end(log, partial, str(error))
        except DifferenceError:
            if log.has_failed():
                raise
            raise went_on from error
    return _compare_end(log, outcome, "")


def _compare_end(log: LogReplayer, outcome: Outcome | None, error: str) -> str:
    """Compare what the run came to; None where a hook raised before anything could be valued."""
    stopped = log.stopped()
    if stopped.error != error:
        ended = "" if outcome is None else outcome.ended
        raise DifferenceError("how the run ended", stopped.error or stopped.ended, error or ended)
    if outcome is None:
        return stopped.ended
    for name, recorded, replayed in (
        ("how the run ended", stopped.ended, outcome.ended),
        ("when the run ended", iso_of(stopped.end_ns), iso_of(outcome.end_ns)),
        ("number of orders", stopped.orders, len(outcome.orders)),
        ("number of fills", stopped.fills, len(outcome.fills)),
        ("final balances", stopped.cash, outcome.cash),
        ("final positions", stopped.positions, outcome.position_qty),
        ("final equity", stopped.equity, outcome.equity),
        ("hash of the result", stopped.result_hash, result_hash(outcome, stopped.hash_encoding)),
    ):
        if recorded != replayed:
            raise DifferenceError(name, _text(recorded), _text(replayed))
    return outcome.ended


def _given(given: Strategy | type[Strategy] | str, started: Started) -> tuple[Strategy, list[str]]:
    """Return the strategy that the caller vouches for, and how it differs from the recorded one."""
    built = build_strategy(given, None if isinstance(given, Strategy) else started.parameters)
    code = code_of(type(built))
    if code is None or started.strategy_digest is None:
        return built, []
    notes: list[str] = []
    if code.own.digest != started.strategy_digest:
        notes.append("the strategy's file is not the one that was recorded, or has changed since")
    notes += [
        f"{place}, beside the strategy's file, is not the one that was recorded, or has changed since"
        for place, digest in started.modules.items()
        if place in code.beside and code.beside[place].digest != digest
    ]
    return built, notes


def _recorded_class(folder: Path, started: Started, *, trust: bool) -> type[Strategy]:
    """Return the recorded class, once the digests of its file and of the modules beside it agree.

    Raises:
        ConfigError: The file is not at hand, or is another one.
    """
    ways = [f"`quantkit verify {folder} --strategy FILE` runs a file of yours"]
    if any(path.is_file() for path in (folder / SOURCE).glob("**/*")) and not trust:
        ways.insert(0, f"`quantkit verify {folder} --trust` runs the copy in the run's folder")
    what_to_type = ", ".join(ways)
    module, _, class_name = started.strategy.rpartition(":")
    if started.source is None:
        raise ConfigError(
            f"{class_name} was typed into a notebook or a shell, so no file of it was kept; pass it as strategy= "
            f"there, or {what_to_type}"
        )
    named = Path(started.source)
    place = place_of(named, module)
    if trust:
        root = folder / SOURCE
        # The first version kept the file alone, without the folders of its package.
        file = root / place if (root / place).is_file() else root / named.name
        if not file.is_file():
            raise ConfigError(f"{folder} holds no copy of the strategy's file {named.name}; {what_to_type}")
    else:
        root, file = named.parents[len(place.parts) - 1], named
        if not file.is_file():
            raise ConfigError(f"the strategy's file {file} is not on this machine; {what_to_type}")
        if file.resolve().is_relative_to(folder.resolve()):
            raise ConfigError(f"the strategy's file {file} came with the run's folder; {what_to_type}")
    source = _as_recorded(file, started.strategy_digest, what_to_type)
    for beside, digest in started.modules.items():
        _as_recorded(root / beside, digest, what_to_type)
    try:
        return load_recorded(source, started.strategy, {str(place): source.digest, **started.modules})
    except NotRecordedError as error:
        raise ConfigError(f"{error}; {what_to_type}") from error


def _as_recorded(file: Path, digest: str | None, what_to_type: str) -> Source:
    """Return a file whose bytes have the recorded digest.

    Raises:
        ConfigError: They have not, or the file is gone.
    """
    if not file.is_file():
        raise ConfigError(f"{file}, which the run was recorded with, is gone; {what_to_type}")
    source = read_source(file)
    if source.digest != digest:
        raise ConfigError(f"{file} has changed since the run was recorded; {what_to_type}")
    return source


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {value[key]}" for key in sorted(value)) or "none"
    return str(value)
