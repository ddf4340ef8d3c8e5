"""A run once more: the same strategy, rows and options, to look closer at one of its orders.

A repetition is believed where its reports and fills are those of the result, as far as it went.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from quantkit.brokers.order_trace import OrderTrace, TraceEndedError
from quantkit.brokers.send_clock import ComputeClock, SendClock
from quantkit.clock import NS_PER_MS, iso_of
from quantkit.engine.engine import Engine
from quantkit.engine.outcome import Outcome
from quantkit.engine.plan import DEFAULT_LATENCY_NS
from quantkit.errors import ConfigError, DataError, QuantkitError
from quantkit.feeds.recorded_clock import RecordedClock
from quantkit.feeds.replay import HeldRows, ReplayFeed, StoredRows
from quantkit.fees import Fees
from quantkit.instruments import Instrument
from quantkit.latency import Latency
from quantkit.loading import build_strategy, load_recorded, sender_of, source_of
from quantkit.options import OPTIONS, RunOptions
from quantkit.simulated import simulated_run
from quantkit.sources import read_source
from quantkit.storage.catalog import Catalog
from quantkit.storage.places import is_database
from quantkit.strategy import Strategy

if TYPE_CHECKING:
    import pandas as pd

#: Under which keys a manifest holds what a name does not give back.
_TABLES: Final = ("tables", "delays_ns")
_CHECK: Final = "`quantkit check` finds what a strategy depends on besides its data"


class RunInputs(NamedTuple):
    """What a run is made of, fresh: a strategy object that has seen nothing."""

    feed: StoredRows
    strategy: Strategy
    options: RunOptions


class Repeatable(ABC):
    """Where the inputs of a result's run come from."""

    @abstractmethod
    def inputs(self) -> RunInputs:
        """Return them.

        Raises:
            DataError, ConfigError: They are not there any more; the message says what is missing.
        """


class Unrepeatable(Repeatable):
    """A run that cannot be done again.

    Args:
        why: A sentence.
    """

    def __init__(self, why: str) -> None:
        self._why = why

    def inputs(self) -> RunInputs:
        """Refuse.

        Raises:
            DataError: Always.
        """
        raise DataError(self._why)


def why_not(config: Mapping[str, Any]) -> str:
    """Return why a result without files of data cannot be repeated, and what can be done instead.

    Args:
        config: Of the run.
    """
    held = config.get("data")
    if held is None:
        return "the result does not know the inputs of its run; run a backtest over the same rows, and ask its result"
    if held == "memory":
        return (
            "what the run read was in memory, so a saved result cannot repeat it; "
            "run a backtest over the same rows, and ask its result"
        )
    if held == "live":
        return "what the run read was received live and not recorded; give record= to runs that are to be explained"
    code = Path(held, "strategy", *str(config["strategy"]).partition(":")[0].split("."))
    return (
        "what the run read was received live; a backtest over its recording does the same: "
        f"`quantkit backtest {code}.py --data {Path(held, 'data')} --save runs/again` with the options of the run, "
        "then `quantkit runs explain again ORDER`"
    )


class FrameRows(NamedTuple):
    """Frames that a feed was made of: only they are kept, and they are their user's."""

    frames: "Mapping[str, pd.DataFrame]"
    given: list[Instrument]
    interval: str | Mapping[str, str] | None
    is_strict: bool

    def opened(self) -> StoredRows:
        """Return a feed of them."""
        from quantkit.importers.frames import frame_feed

        return frame_feed(self.frames, self.given, interval=self.interval, strict=self.is_strict)


class FromCall(Repeatable):
    """A backtest of this process.

    Args:
        strategy: As it ran; its class and parameters are taken.
        rows: What it read.
        options: Of the run.
    """

    def __init__(self, strategy: Strategy, rows: StoredRows | FrameRows, options: RunOptions) -> None:
        self._kind = type(strategy)
        self._parameters = dict(strategy.parameters)
        self._rows = rows
        self._options = options

    def inputs(self) -> RunInputs:
        """Return them; frames are read anew."""
        feed = self._rows.opened() if isinstance(self._rows, FrameRows) else self._rows
        return RunInputs(feed, self._kind(**self._parameters), self._options)


class FromManifest(Repeatable):
    """A saved backtest: the code in its folder, the rows that its configuration names, its options.

    Args:
        code: The folder of its code.
        places: Digests of the files there, by path, the strategy's own first.
        config: Its configuration.
        instruments: Every instrument of the run, as at its start, and what changed.
    """

    def __init__(
        self, code: Path, places: Mapping[str, str], config: Mapping[str, Any], instruments: list[Instrument]
    ) -> None:
        self._code = code
        self._places = dict(places)
        self._config = config
        self._instruments = instruments

    def inputs(self) -> RunInputs:
        """Return them, once the data files are what they were."""
        feed = self._feed()
        if not self._places:
            raise DataError("the result was saved without the code of its strategy, so its run cannot be repeated")
        source = read_source(self._code / next(iter(self._places)))
        kind = load_recorded(source, self._config["strategy"], self._places)
        return RunInputs(feed, build_strategy(kind, self._config["parameters"]), options_of(self._config))

    def _feed(self) -> StoredRows:
        held, files = self._config["data"], self._config["data_files"]
        if not files:
            raise DataError(why_not(self._config))
        if is_database(held):
            from quantkit.feeds.database import DatabaseFeed

            feed: HeldRows = DatabaseFeed(held, instruments=self._instruments)
        else:
            feed = ReplayFeed(Catalog(held), instruments=self._instruments)
        there = {entry.path: entry.sha256 for entry in feed.holdings.entries}
        for path, digest in files.items():
            if there.get(path) != digest:
                raise DataError(f"the data of the run changed since: {held} has another {path}, or none; run it again")
        return feed


def send_clock_of(stored: StoredRows | None, strategy: Strategy, options: RunOptions) -> SendClock:
    """Return when messages leave: over a live run's own rows as they did there, else at once or once computed."""
    timings = [] if stored is None else stored.timings()
    if timings:
        name, digest = source_of(strategy)
        sender = sender_of(name, digest, strategy.parameters)
        return RecordedClock(timings, sender, ignores_compute=options.compute is not None)
    return SendClock() if options.compute is None else ComputeClock(options.compute, seed=options.seed)


def options_of(config: Mapping[str, Any]) -> RunOptions:
    """Return the options that a configuration tells of.

    Raises:
        DataError: It names a table of delays or of margin tiers that it does not hold.
    """
    given: dict[str, Any] = {
        "cash": config["cash"],
        "report_currency": config["report_currency"],
        "fees": {name: msgspec.convert(fees, Fees) for name, fees in config["fees"].items()},
        "match_on": {name: text.partition(" ")[0] for name, text in config["matching"].items()},
        "start": config["start_ns"],
        "end": config["end_ns"],
    }
    late = [ms for name, ms in config["latency_ms"].items() if not config["matching"][name].startswith("candle")]
    # Of drawn delays the median stands there.
    if late and config.get("latency") is None and round(late[0] * NS_PER_MS) != DEFAULT_LATENCY_NS:
        given["latency_ms"] = late[0]
    if "venue_rules" not in config:
        given["venue_rules"] = "off"  # before there were any, nobody judged orders
    for option in OPTIONS.values():
        key = option.manifest_key
        if option.to_manifest is None or key is None or key not in config:
            continue
        kept = config[key]
        value = given[option.keyword] = _as_given(key, kept)
        if isinstance(kept, Mapping) and not kept.keys().isdisjoint(_TABLES):
            continue  # as the run went by it
        try:
            is_whole = option.to_manifest(option.read(value, option.keyword)) == kept
        except ConfigError:
            is_whole = False
        if not is_whole:
            raise DataError(
                f"the result names the {option.keyword} of its run, {_shown(kept)}, and does not hold it; "
                "run it again with that, and ask its result"
            )
    return RunOptions.read(given)


def _as_given(key: str, kept: Any) -> Any:
    """Return an option's value from the manifest as a call takes it; a distribution of delays by its name."""
    if key.endswith("_ms"):
        return timedelta(milliseconds=kept)
    if isinstance(kept, Mapping) and "tables" in kept:
        return kept["tables"]
    if isinstance(kept, Mapping) and "delays_ns" in kept:
        return Latency(kept["name"], tuple(kept["delays_ns"]))
    return kept["name"] if isinstance(kept, Mapping) and {*kept} == {"name", "digest"} else kept


def _shown(kept: Any) -> str:
    if isinstance(kept, Mapping) and "families" in kept:
        return ", ".join(kept["families"])
    return repr(kept["name"]) if isinstance(kept, Mapping) and "name" in kept else repr(kept)


def trace_of(again: Repeatable, outcome: Outcome, order_id: str) -> tuple[OrderTrace, Instrument]:
    """Repeat a run, following an order, and return the trace and the order's instrument on the run's grid.

    The repetition ends with the order.

    Args:
        again: The inputs.
        outcome: What the run came to.
        order_id: An order that the exchange had.

    Raises:
        DataError: The run cannot be repeated, or the repetition does other things.
    """
    trace = OrderTrace(order_id)
    try:
        feed, strategy, options = again.inputs()
        engine = simulated_run(feed, strategy, options, send_clock=send_clock_of(feed, strategy, options), trace=trace)
        is_whole = _run(engine)
    except QuantkitError as error:
        raise DataError(f"the run cannot be repeated: {error}") from error
    _compare(engine, outcome, is_whole=is_whole)
    return trace, engine.plan.instruments[trace.instrument]


def _run(engine: Engine) -> bool:
    """Run until the traced order is over; return whether that was to the end."""
    try:
        engine.run()
    except TraceEndedError:
        return False
    return True


def _compare(engine: Engine, outcome: Outcome, *, is_whole: bool) -> None:
    """Hold a repetition against the run, as far as it went.

    Raises:
        DataError: They differ; the message says from where on.
    """
    told = [(each.order_id, each.at_ns, str(each.state), each.reason) for each in engine.reports]
    were = [(each.order_id, each.at_ns, str(each.state), each.reason) for each in outcome.order_events]
    filled = [(each.order_id, each.filled_ns, each.lots, each.ticks, each.role) for each in engine.fills]
    fills = [(each.order_id, each.filled_ns, each.lots, each.ticks, each.role) for each in outcome.fills]
    for now, then in ((told, were), (filled, fills)):
        if (len(now) == len(then) or not is_whole) and now == then[: len(now)]:
            continue
        place = next((n for n, (a, b) in enumerate(zip(now, then, strict=False)) if a != b), min(len(now), len(then)))
        where = f", from {iso_of(then[place][1])} on" if place < len(then) else ""
        raise DataError(f"the run cannot be repeated: the repetition does other things{where}; {_CHECK}")
