"""A live run: the feed, the engine with its broker, and the recording of both."""

import logging
import shutil
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Final

import msgspec

from quantkit.brokers.asynchronous.broker import asynchronous
from quantkit.brokers.asynchronous.gateway import Gateway
from quantkit.brokers.asynchronous.input_queue import InputQueue
from quantkit.clock import wall_ns
from quantkit.engine.outcome import Outcome
from quantkit.engine.plan import run_config
from quantkit.errors import ConfigError, DataError, QuantkitError, StrategyError
from quantkit.feeds.exchanges import source_class
from quantkit.feeds.live_feed import LiveFeed
from quantkit.feeds.live_source import OPEN_END_NS, LiveSource
from quantkit.live.commands import RunCommands
from quantkit.live.control_server import ControlServer
from quantkit.live.engine import live_engine
from quantkit.live.folder import DATA, ENGINE, RESULT, SOURCE, new_folder, versions
from quantkit.live.history import HistoryKeeper
from quantkit.live.journal import SIMULATED, VERSION, EngineLog, Started, Stopped, config_fields
from quantkit.live.monitor import CallbackViewer, Monitor, Viewer
from quantkit.live.status import LiveStatus
from quantkit.loading import parameter_fields, sender_of, source_of
from quantkit.options import RunOptions
from quantkit.quality.quoted import RECEIVED_LIVE
from quantkit.report.benchmark import GivenPrices, check_known, chosen
from quantkit.report.digest import ENCODING, result_hash
from quantkit.report.price_feeds import recorded_prices
from quantkit.report.result import Result
from quantkit.sources import code_of
from quantkit.strategy import Strategy

#: Begins the warning of a result that could not be written.
NOT_SAVED: Final = "the result is not saved"

_log: Final = logging.getLogger("quantkit.live")


def run_live(
    strategy: Strategy,
    options: RunOptions,
    source: LiveSource,
    *,
    gateway: Gateway | None = None,
    record: Path | None,
    duration_ns: int | None,
    on_status: Callable[[LiveStatus], None] | None,
    stop: threading.Event | None,
    commands: RunCommands | None = None,
    is_controlled: bool = False,
    benchmark: GivenPrices | str | None = None,
) -> Result:
    """Run a strategy on live data until it is stopped; see `quantkit.api.paper`.

    Args:
        strategy, options, source, record, duration_ns, on_status, stop, commands, benchmark: As there, checked.
        gateway: The way of orders to an exchange, which the run closes at its end. None: a paper run, whose fills are
            simulated.
        is_controlled: Whether to open the control endpoint, `control` there.
    """
    if record is None and is_controlled:
        raise ConfigError("control needs a recording: the run's address and token stand in its folder; leave record on")
    if record is not None:
        source_class(source.name)  # `verify` will look for it there
    if gateway is not None and gateway.name == SIMULATED:
        raise ConfigError(f"a gateway cannot be called {SIMULATED!r}: the logs of paper runs name their broker so")
    folder = None if record is None else new_folder(record, strategy)
    log = server = history = None
    try:
        log = None if folder is None else EngineLog(folder / ENGINE)
        if is_controlled and folder is not None:
            commands = commands or RunCommands()
            history = HistoryKeeper()
            server = ControlServer(folder, commands, history)
        return _run(
            strategy,
            options,
            source,
            gateway,
            folder,
            log,
            duration_ns,
            [*([] if on_status is None else [CallbackViewer(on_status)]), *([] if server is None else [server])],
            history,
            stop or threading.Event(),
            commands,
            benchmark,
        )
    finally:
        if commands is not None:
            commands.end()
        if server is not None:
            server.close()
        if gateway is not None:
            gateway.close()
        if log is not None:
            log.close()
        if folder is not None and (log is None or not log.has_begun):
            # The run could not start, so there is nothing to keep.
            shutil.rmtree(folder, ignore_errors=True)


def _run(
    strategy: Strategy,
    options: RunOptions,
    source: LiveSource,
    gateway: Gateway | None,
    folder: Path | None,
    log: EngineLog | None,
    duration_ns: int | None,
    viewers: Sequence[Viewer],
    history: HistoryKeeper | None,
    stop: threading.Event,
    commands: RunCommands | None,
    benchmark: GivenPrices | str | None,
) -> Result:
    name, digest = source_of(strategy)
    sender = sender_of(name, digest, strategy.parameters)
    with LiveFeed(source, folder=folder, input_log=log, stop=stop, sender=sender, batch_ns=options.batch_ns) as feed:
        if commands is not None:
            commands.begin(feed, log)
        start_ns = feed.now_ns()
        end_ns = OPEN_END_NS if duration_ns is None else start_ns + duration_ns
        options = msgspec.structs.replace(options, start_ns=start_ns, end_ns=end_ns)
        if folder is not None and log is not None:
            _write_start(log, folder, strategy, options, feed, SIMULATED if gateway is None else gateway.name)
        monitor = None
        if viewers:
            monitor = Monitor(
                feed,
                viewers,
                strategy=type(strategy).__name__,
                recording="" if folder is None else str(folder),
                started_ns=start_ns,
                log=log,
                history=history,
            )
        progress = None if monitor is None else monitor.tick
        brokers = None
        if gateway is not None:
            brokers = asynchronous(gateway, InputQueue(wall_ns, sleeper=feed, log=log))
        try:
            engine = live_engine(
                feed,
                strategy,
                options,
                brokers,
                progress=progress,
                log=log,
                send_clock=feed.clock,
                commands=commands,
            )
        except StrategyError as error:
            if log is not None:
                log.write(_stop_of_error(error, start_ns))
            raise
        check_known(benchmark, engine.plan.instruments, None)
        if monitor is not None:
            monitor.watch(engine)
        failure: StrategyError | None = None
        outcome: Outcome | None
        try:
            outcome = engine.run()
        except StrategyError as error:
            failure, outcome = error, engine.partial_result(error)
            if outcome is None:
                if log is not None:
                    log.write(_stop_of_error(error, start_ns))
                raise
        asked = engine.instruments_asked
        # A backtest over the rows of this run asks for them again.
        feed.keep_metadata(asked)
    stopped = _stop_of(outcome, failure, asked)
    if log is not None:
        log.write(stopped)
    outcome.warnings.extend(feed.notes)
    described = run_config(
        strategy=name,
        strategy_digest=digest,
        parameters=parameter_fields(strategy.parameters),
        data="live" if folder is None else str(folder),
        data_files={},
        plan=engine.plan,
        options=options,
    )
    result = Result(
        outcome,
        {**described, "end_ns": outcome.end_ns},
        engine.plan.instruments,
        engine.changes,
        prices=recorded_prices(None if folder is None else folder / DATA, engine.plan, outcome),
        benchmark=chosen(outcome, benchmark, None),
        data_quality=RECEIVED_LIVE,
    )
    result.hash = stopped.result_hash
    if folder is not None:
        try:
            result.save(folder / RESULT)
        except QuantkitError as error:
            # A full disk must not cost the report as well.
            outcome.warnings.append(f"{NOT_SAVED}: {error}")
            _log.error("%s: %s", NOT_SAVED, error)
    if failure is not None:
        if monitor is not None:
            monitor.tick(outcome.end_ns)  # who watches has been shown nothing of a run that failed at its first rows
        # What was done until then is not lost with the hook that raised.
        raise failure
    return result


def _write_start(
    log: EngineLog, folder: Path, strategy: Strategy, options: RunOptions, feed: LiveFeed, broker: str = SIMULATED
) -> None:
    """Note how the run is set up, and keep a copy of the strategy's file and of the modules beside it."""
    name, digest = source_of(strategy)
    code = code_of(type(strategy))
    if code is not None:
        try:
            for place, content in code.by_place.items():
                copy = folder / SOURCE / place
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(content)
        except OSError as error:
            raise DataError(f"{folder}: the strategy's file cannot be copied: {error.strerror or error}") from error
    log.write(
        Started(
            version=VERSION,
            exchange=feed.exchange.name,
            broker=broker,
            opened_ns=feed.opened_ns,
            strategy=name,
            source=None if code is None else str(code.own.file.resolve()),
            strategy_digest=digest,
            modules={} if code is None else {place: source.digest for place, source in code.beside.items()},
            parameters=parameter_fields(strategy.parameters),
            config=config_fields(options),
            instruments=[instrument.to_dict() for instrument in feed.instruments().values()],
            versions=versions(),
        )
    )


def _stop_of(outcome: Outcome, failure: StrategyError | None, asked: list[str]) -> Stopped:
    return Stopped(
        ended=outcome.ended,
        end_ns=outcome.end_ns,
        result_hash=result_hash(outcome),
        hash_encoding=ENCODING,
        orders=len(outcome.orders),
        fills=len(outcome.fills),
        equity=outcome.equity,
        cash=outcome.cash,
        positions=outcome.position_qty,
        error="" if failure is None else str(failure),
        asked=asked,
    )


def _stop_of_error(error: StrategyError, start_ns: int) -> Stopped:
    return Stopped(
        ended="strategy_error",
        end_ns=start_ns if error.now_ns is None else error.now_ns,
        result_hash="",
        orders=0,
        fills=0,
        equity=Decimal(0),
        cash={},
        positions={},
        error=str(error),
    )
