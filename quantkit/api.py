"""The front door: a strategy, data and options in, a result out."""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from quantkit.clock import duration_ns, is_plausible, iso_of, latest_epoch_ns, time_ns_of, wall_ns
from quantkit.engine.outcome import Outcome
from quantkit.engine.plan import run_config
from quantkit.engine.together import run_together
from quantkit.errors import ConfigError, FeedClosedError
from quantkit.feeds.base import Feed
from quantkit.feeds.replay import HeldRows, ReplayFeed, StoredRows
from quantkit.fees import Fees
from quantkit.instruments import Instrument
from quantkit.latency import Latency
from quantkit.loading import build_strategy, parameter_fields, refuse_while_loading, source_of
from quantkit.options import RunOptions
from quantkit.quality.quoted import FROM_FEED, FROM_MEMORY, DataQuality, of_files
from quantkit.queue_models import BOUNDS
from quantkit.report import benchmark as benchmarks
from quantkit.report.archive import refuse_taken
from quantkit.report.bounds import bounds_of
from quantkit.report.price_feeds import price_source
from quantkit.report.progress import RunProgress, shown
from quantkit.report.repeat import FrameRows, FromCall, Repeatable, Unrepeatable, send_clock_of
from quantkit.report.result import Result
from quantkit.runs.index import RunIndex, check_keep
from quantkit.simulated import simulated_run
from quantkit.sources import code_of
from quantkit.storage.catalog import Catalog
from quantkit.storage.places import is_database
from quantkit.strategy import Strategy

if TYPE_CHECKING:
    import pandas as pd

    from quantkit.engine.engine import Engine
    from quantkit.feeds.live_source import LiveSource
    from quantkit.feeds.okx.config import OkxConfig
    from quantkit.live.commands import RunCommands
    from quantkit.live.status import LiveStatus

AmountLike: TypeAlias = float | int | str | Decimal
Moment: TypeAlias = str | int | date


def backtest(
    strategy: Strategy | type[Strategy] | str,
    *,
    data: "str | Path | Catalog | Feed | Mapping[str, pd.DataFrame]" = "data",
    start: Moment | None = None,
    end: Moment | None = None,
    interval: str | Mapping[str, str] | None = None,
    strict: bool = False,
    params: Mapping[str, Any] | None = None,
    cash: Mapping[str, AmountLike] | None = None,
    report_currency: str | None = None,
    fees: Fees | Mapping[str, Fees] | None = None,
    latency_ms: float | None = None,
    latency: Latency | str | None = None,
    compute: Latency | str | None = None,
    match_on: str | Mapping[str, str] | None = None,
    instruments: Iterable[Instrument] = (),
    max_leverage: AmountLike = 1,
    margin: str = "off",
    leverage: AmountLike | Mapping[str, AmountLike] | None = None,
    tiers: str | Path | Mapping[str, Any] | None = None,
    position_mode: str = "net",
    seed: int = 0,
    stale_after: str | timedelta = "10s",
    equity_every: str | timedelta = "1m",
    touch: bool = False,
    excess_slippage_bps: float = 1.0,
    slippage_bps: float = 0.0,
    slippage: str | None = None,
    max_share: float | None = None,
    queue_model: str = "risk_averse",
    own_side_prints: bool = True,
    venue_rules: str = "auto",
    stp_mode: str = "cancel_maker",
    bounds: bool = False,
    block_rows: int | None = None,
    search: bool = True,
    save: str | Path | None = None,
    keep: str | Path | None = None,
    benchmark: "str | pd.Series[Any] | None" = None,
    progress: RunProgress | Literal[False] | None = None,
) -> Result:
    """Replay recorded data through a strategy and return the result.

    Args:
        strategy: A built strategy, its class, or text: a file, a name in `strategies/`, or `module:Class`.
        data: A data folder or URI, or OHLCV frames by instrument id on a DatetimeIndex of bar open times, whose further
            columns strategies read as `candle.extra`.
        start, end: Span, UTC; default what the subscribed data have in common, after the warm-up.
        interval: Of the candles in frames, for all or by id; default the most common step of each frame's rows.
        strict: Refuse frames with rows on a smaller step than their candles, instead of leaving those out.
        params: Parameters, when `strategy` is a class or text; text values are converted.
        cash: Starting balances by currency; the first is what the report counts in unless `report_currency` says so.
            Default 10,000 of the first instrument's settlement currency.
        fees: For all instruments or by id; default OKX's presets by kind.
        latency_ms: One way; default 20, and 0, and only 0, for instruments matched on candles.
        latency: A distribution from which the delay of each message is drawn instead: `Latency.lognormal(20, 120)`, or
            its text `lognormal:20:120`.
        compute: How long the strategy takes from a row to the message that answers it, such as `300us`, a distribution,
            or `file:FILE` with one that `check` has measured. Rows with the sending times of a live run know better.
        match_on: `book`, `ticker`, `trade` or `candle`, for all or by id; default the finest that spans the run.
        instruments: Metadata that wins over the data folder's; needed with frames.
        max_leverage: Bound on the notional of contracts over the equity in the currency that they settle in.
        margin: `isolated` or `cross`: contracts have margin, and a mark that uses it up liquidates; `off`: they have
            `max_leverage` alone.
        leverage: With margin, for all contracts or by id; default 1.
        tiers: With margin, a file with position tiers, as JSON or CSV with OKX's columns; default those in the data.
        position_mode: Whether a contract has one position, `net`, or a long and a short one that orders name by
            `position_side`, `long_short`.
        seed: Of `strategy.rng`.
        stale_after: A displayed book or ticker older than this fills nothing.
        equity_every: Grid of the equity curve.
        touch: Whether, on trades, an opposite-aggressor trade at the limit fills at most its size.
        excess_slippage_bps: On tickers, how much worse the size beyond the displayed one fills.
        slippage_bps: On trades and candles, how much worse than the traded price an order that takes fills, within its
            limit; it stands for half a spread as well.
        slippage: The same by a model: `half_spread`, `bps:N` or `sqrt:C`, the square root of the size's part of the
            volume times volatility times `C`.
        max_share: On trades and candles, what of a row's volume fills orders at most, such as 0.1; None: all that they
            ask for, with a warning above a tenth.
        queue_model: On books and tickers, how many stand in front of a resting order: `risk_averse`, `front`,
            `proportional`, `power:N`, `power2:N`, `power3:N`, `log` or `log2`.
        own_side_prints: Whether a trade beyond a resting limit fills it also where its aggressor was on the order's own
            side.
        venue_rules: Whether orders are judged by OKX's order rules: `auto` for instruments listed by OKX, `okx` for
            all, `off` for none.
        stp_mode: With such rules, which of two own orders that meet ends; `cancel_maker`, `cancel_taker` or
            `cancel_both`.
        bounds: Whether the models `risk_averse` and `front` run beside the chosen one, over rows that are read once:
            `Result.bounds` has the PnL and fills of each. Needs orders matched on books or tickers.
        block_rows, search: How the replay walks; they never change a result.
        save: A new folder for the whole result, as `Result.save` writes it.
        keep: A folder of runs, in whose index this one gets a line; the variants in it count in `Result.variants`.
            None: no line, and no variants are known. An index that cannot be written is a warning of the result.
        benchmark: What the result is held against: the id of an instrument of the run or its data, or prices by time
            (daily ones as closes of their days); default the first traded instrument.
        progress: Called with (now_ns, start_ns, end_ns) from time to time. None draws a bar in a notebook, for runs of
            more than half a second; False draws none.

    Raises:
        ConfigError: The call is wrong: a parameter, an option, a strategy that cannot be loaded.
        DataError: Data are missing or bad.
        StrategyError: A hook raised; the original is its cause.
    """
    arguments = locals()  # the keywords as given, by name; before any other local
    refuse_while_loading("backtest")
    _check_instruments(instruments)
    for option in ("start", "end"):
        _check_moment(option, arguments[option], data)
    options = RunOptions.read({**arguments, "latency": _learned(latency)})
    check_keep(keep)
    held_against = benchmarks.given_prices(benchmark)
    if save is not None:
        refuse_taken(Path(save))
    built = build_strategy(strategy, params)
    given = list(instruments)
    feed = feed_of(data, given, interval, block_rows, strict=strict)
    stored = feed if isinstance(feed, StoredRows) else None
    if stored is not None:
        stored.forget_reads()
    name, digest = source_of(built)
    with shown(progress) as told:
        engine = simulated_run(feed, built, options, progress=told, send_clock=send_clock_of(stored, built, options))
        benchmarks.check_known(held_against, engine.plan.instruments, stored)
        beside = _beside(engine, feed, stored, built, options) if bounds else {}
        outcome, *others = run_together([engine, *beside.values()])
    described = run_config(
        strategy=name,
        strategy_digest=digest,
        parameters=parameter_fields(built.parameters),
        data="memory" if stored is None else stored.described_as,
        data_files={} if stored is None else stored.data_files(engine.plan.instruments),
        plan=engine.plan,
        options=options,
    )
    prices = price_source(
        feed,
        described["data_files"],
        engine.plan,
        frames=data if isinstance(data, Mapping) else None,
        given=given,
        interval=interval,
        strict=strict,
    )
    code = code_of(type(built))  # hooks may have imported more of it
    sources = {} if code is None else code.by_place
    result = Result(
        outcome,
        described,
        engine.plan.instruments,
        engine.changes,
        prices=prices,
        sources=sources,
        benchmark=benchmarks.chosen(outcome, held_against, stored),
        data_quality=_data_quality(data, feed, described["data_files"], outcome),
        again=_again(built, data, feed, given, interval, options, strict=strict),
    )
    if bounds:
        result.bounds = bounds_of({options.queue_model: outcome, **dict(zip(beside, others, strict=True))})
    index = None if keep is None else RunIndex(keep)
    if index is not None:
        index.weigh(result)
    if save is not None:
        result.save(save)
    if index is not None:
        index.keep(result, wall_ns())
    return result


def paper(
    strategy: Strategy | type[Strategy] | str,
    *,
    okx: "OkxConfig | None" = None,
    exchange: "LiveSource | None" = None,
    record: str | Path | None = "runs",
    duration: str | timedelta | None = None,
    params: Mapping[str, Any] | None = None,
    cash: Mapping[str, AmountLike] | None = None,
    report_currency: str | None = None,
    fees: Fees | Mapping[str, Fees] | None = None,
    latency_ms: float | None = None,
    latency: Latency | str | None = None,
    match_on: str | Mapping[str, str] | None = None,
    max_leverage: AmountLike = 1,
    margin: str = "off",
    leverage: AmountLike | Mapping[str, AmountLike] | None = None,
    tiers: str | Path | Mapping[str, Any] | None = None,
    position_mode: str = "net",
    seed: int = 0,
    stale_after: str | timedelta = "10s",
    equity_every: str | timedelta = "1m",
    touch: bool = False,
    excess_slippage_bps: float = 1.0,
    slippage_bps: float = 0.0,
    slippage: str | None = None,
    max_share: float | None = None,
    queue_model: str = "risk_averse",
    own_side_prints: bool = True,
    venue_rules: str = "auto",
    stp_mode: str = "cancel_maker",
    batch_ms: float = 0,
    benchmark: "str | pd.Series[Any] | None" = None,
    on_status: "Callable[[LiveStatus], None] | None" = None,
    stop: threading.Event | None = None,
    commands: "RunCommands | None" = None,
    control: bool | None = None,
) -> Result:
    """Run a strategy on an exchange's live data with simulated fills, and return the result once it is stopped.

    Nothing here can reach an order endpoint: orders go to the simulated broker of a backtest. What is received and
    what is done is recorded as it happens; `quantkit verify` repeats the run from that.

    Args:
        strategy, params, cash, report_currency, fees, max_leverage, margin, leverage, tiers, position_mode, seed,
        stale_after, equity_every, touch, excess_slippage_bps, slippage_bps, slippage, max_share, queue_model,
        own_side_prints, venue_rules, stp_mode: As for `backtest`.
        okx: Hosts, limits and patience of OKX; default OKX's own.
        exchange: Another source of live data, registered with `quantkit.feeds.exchanges`; default OKX.
        record: In this folder the run gets one of its own, named after strategy and time; None: nowhere.
        duration: End after so long, such as `1h`; default when `stop` is set.
        latency_ms, latency: One way, of the simulated exchange, beside the time that data really take to arrive.
        match_on: `book`, `ticker` or `trade`, for all or by id; default the book.
        batch_ms: Hand rows over at least so long apart, for less CPU; default each at once, and several under load.
        benchmark: What the result is held against: an instrument of the run, or prices by time; default the first
            traded instrument.
        on_status: Called a few times a second with how the run stands.
        stop: Set it, from any thread, to end the run cleanly.
        commands: Through it any thread pauses and resumes the run, cancels its orders, and stops it.
        control: Whether other processes of the same user may watch and command the run, through
            `quantkit.live.control.ControlClient` or `quantkit serve --live`. Needs `record`.

    Raises:
        ConfigError: The call is wrong.
        FeedError: The exchange cannot be reached or refuses, or `stop` was set before the run could start. One that is
            lost for good later ends the run like `stop`, and a warning of the result says why.
        StrategyError: A hook raised; the original is its cause. What the run came to by then is in its folder, as the
            result of a run that ended with `strategy_error`.
    """
    arguments = locals()  # the keywords as given, by name; before any other local
    refuse_while_loading("paper")
    options = RunOptions.read({**arguments, "latency": _learned(latency)})
    held_against = benchmarks.given_prices(benchmark)
    _check_live_types(
        okx=okx,
        exchange=exchange,
        record=record,
        duration=duration,
        on_status=on_status,
        stop=stop,
        commands=commands,
    )
    built = build_strategy(strategy, params)

    from quantkit.live.run import run_live

    return run_live(
        built,
        options,
        _live_source(okx) if exchange is None else exchange,
        record=None if record is None else Path(record),
        duration_ns=None if duration is None else duration_ns(duration),
        on_status=on_status,
        stop=stop,
        commands=commands,
        is_controlled=bool(control),
        benchmark=held_against,
    )


async def paper_async(strategy: Strategy | type[Strategy] | str, **options: Any) -> Result:
    """Do what `paper` does from a coroutine, as in a notebook: on a thread, ended cleanly when it is cancelled.

    Args:
        strategy: As for `paper`.
        options: Those of `paper`.
    """
    stop = options.pop("stop", None) or threading.Event()
    run = asyncio.create_task(asyncio.to_thread(paper, strategy, stop=stop, **options))
    try:
        return await asyncio.shield(run)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([run])
        if (error := run.exception()) is not None and not isinstance(error, FeedClosedError):
            raise error from None
        raise


def _learned(latency: Latency | str | None) -> Latency | str | None:
    """Return the distribution of a text that names a recording; anything else as it is."""
    if not isinstance(latency, str) or not latency.startswith("recording:"):
        return latency
    from quantkit.research.feed_delays import learned

    return learned(latency)


def _live_source(okx: "OkxConfig | None") -> "LiveSource":
    from quantkit.feeds.okx.source import OkxSource

    return OkxSource(okx)


def _check_live_types(
    *, okx: Any, exchange: Any, record: Any, duration: Any, on_status: Any, stop: Any, commands: Any
) -> None:
    """Refuse the wrong calls that are easily made.

    Raises:
        ConfigError: It names the argument and shows how it is written.
    """
    from quantkit.feeds.okx.config import OkxConfig

    if okx is not None and not isinstance(okx, OkxConfig):
        raise ConfigError(f"okx is {okx!r}; give for example okx=OkxConfig(url='ws://127.0.0.1:8765')")
    if exchange is not None and okx is not None:
        raise ConfigError("okx and exchange exclude each other; give one of them")
    if exchange is not None and not hasattr(exchange, "client"):
        raise ConfigError(f"exchange is {exchange!r}; give a live source such as OkxSource()")
    if record is not None and not isinstance(record, str | Path):
        raise ConfigError(f"record is {record!r}; give a folder, or None to record nothing")
    if duration is not None and not isinstance(duration, str | timedelta):
        raise ConfigError(f"duration is {duration!r}; give for example '60s' or timedelta(hours=1)")
    if on_status is not None and not callable(on_status):
        raise ConfigError(f"on_status is {on_status!r}; give a function that takes a LiveStatus")
    if stop is not None and not hasattr(stop, "is_set"):
        raise ConfigError(f"stop is {stop!r}; give a threading.Event()")
    if commands is not None and not hasattr(commands, "give"):
        raise ConfigError(f"commands is {commands!r}; give quantkit.RunCommands()")


def _check_moment(option: str, moment: Moment | None, data: Any) -> None:
    """Refuse an end of a run's span that is a number and no nanoseconds of a market's time: it is a slip.

    Raises:
        ConfigError: The message shows how it reads.
    """
    # Feeds that somebody made may count from 1970.
    if not isinstance(moment, int) or not isinstance(data, str | Path | Catalog | Mapping):
        return
    moment_ns = time_ns_of(moment)
    if not is_plausible(moment_ns, latest_epoch_ns()):
        reading = iso_of(moment_ns) if 0 <= moment_ns < 2**63 else "no time"
        raise ConfigError(
            f"{option} {moment} counts nanoseconds and reads as {reading}; write for example {option}='2025-05-05'"
        )


def feed_of(
    data: Any,
    instruments: list[Instrument],
    interval: str | Mapping[str, str] | None,
    block_rows: int | None,
    *,
    strict: bool,
) -> Feed:
    """Make a feed of whatever the user has."""
    rows = {} if block_rows is None else {"block_rows": block_rows}
    if not isinstance(data, Mapping) and (interval is not None or strict):
        raise ConfigError(
            "interval and strict are for frames; the candles of a folder have theirs, given when they were imported"
        )
    if is_database(data):
        from quantkit.feeds.database import DatabaseFeed

        return DatabaseFeed(data, instruments=instruments, **rows)
    if isinstance(data, str | Path | Catalog):
        return ReplayFeed(data, instruments=instruments, **rows)
    if isinstance(data, Mapping):
        if not data:
            raise ConfigError("data holds no frames; give {instrument id: OHLCV frame}")
        from quantkit.importers.frames import frame_feed

        return frame_feed(data, instruments, interval=interval, strict=strict, **rows)
    if hasattr(data, "batches"):
        feed: Feed = data
        return feed
    raise ConfigError(f"data is a {type(data).__name__}; give a folder or {{instrument id: OHLCV frame}}")


def _data_quality(data: Any, feed: Feed, files: Mapping[str, str], outcome: Outcome) -> DataQuality:
    """Return what the last check of a folder or a database said of what a run read there, or why there is none."""
    if isinstance(feed, HeldRows):
        return of_files(feed.holdings, files, outcome.start_ns, outcome.end_ns)
    return FROM_MEMORY if isinstance(data, Mapping) else FROM_FEED


def _beside(
    engine: "Engine", feed: Feed, stored: StoredRows | None, built: Strategy, options: RunOptions
) -> "dict[str, Engine]":
    """Return runs like one that differ in the model of its queues: those that bound it.

    Raises:
        ConfigError: No order of the run has a place in a queue.
    """
    if not any(stream.kind in ("book", "ticker") for stream in engine.plan.matching.values()):
        kinds = ", ".join(sorted({stream.kind for stream in engine.plan.matching.values()}))
        raise ConfigError(f"bounds differ by queues, and orders matched on {kinds} data have none; leave bounds out")
    found = {}
    for model in BOUNDS:
        if model != options.queue_model:
            twin = type(built)(**built.parameters)
            found[model] = simulated_run(
                feed,
                twin,
                msgspec.structs.replace(options, queue_model=model),
                send_clock=send_clock_of(stored, twin, options),
            )
    return found


def _again(
    strategy: Strategy,
    data: Any,
    feed: Feed,
    given: list[Instrument],
    interval: str | Mapping[str, str] | None,
    options: RunOptions,
    *,
    strict: bool,
) -> Repeatable:
    """Return the inputs of a backtest, to repeat it."""
    if isinstance(data, Mapping):
        return FromCall(strategy, FrameRows(dict(data), given, interval, strict), options)
    if isinstance(feed, StoredRows):
        return FromCall(strategy, feed, options)
    return Unrepeatable("the rows of the run came from a feed that gives them only once")


def _check_instruments(instruments: Any) -> None:
    """Refuse what is no list of instruments.

    Raises:
        ConfigError: It shows how one is written.
    """
    if isinstance(instruments, Instrument) or not isinstance(instruments, Iterable):
        raise ConfigError("instruments is no list; give for example instruments=[Instrument('GOOG', quote='USD', ...)]")
