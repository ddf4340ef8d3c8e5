"""What is decided before a run starts: its span, what each instrument is matched and valued on, and its streams."""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, cast

import msgspec

from quantkit.clock import INTERVALS, NS_PER_MIN, NS_PER_MS, NS_PER_S, bar_open_ns, interval_ns, iso_of
from quantkit.engine.margin_plan import MarginPlan, describe_margin, plan_margin
from quantkit.errors import ConfigError, DataError
from quantkit.events import PriceLimit
from quantkit.feeds.base import Feed
from quantkit.fees import Fees
from quantkit.instruments import CHANGEABLE, Instrument, common_step, decimal_of, plain
from quantkit.margin import family_of
from quantkit.options import RunOptions
from quantkit.queue_models import DEFAULT_QUEUE_MODEL
from quantkit.rows.columns import Stream
from quantkit.storage.catalog import Coverage
from quantkit.venue_rules.okx import applies

MATCHING_KINDS: Final = ("book", "ticker", "trade", "candle")
MARKING_KINDS: Final = ("mark", "ticker", "book", "trade", "candle")
DEFAULT_LATENCY_NS: Final = 20 * NS_PER_MS
#: A recording "spans" a run when it begins and ends within this of it: the first trade of a day is not at midnight.
SPAN_TOLERANCE_NS: Final = NS_PER_MIN


class Plan(msgspec.Struct, frozen=True):
    """The decisions, by instrument id where they are per instrument; `built` has what longer candles are built from.

    `instruments` are as at the start, on the run's grid, which is fine enough for every step that is known to come.
    `price_limits` are those told last before the start.
    """

    instruments: dict[str, Instrument]
    start_ns: int
    end_ns: int
    matching: dict[str, Stream]
    marks: dict[str, Stream]
    latency_ns: dict[str, int]
    fees: dict[str, Fees]
    has_trades: dict[str, bool]
    streams: list[Stream]
    built: dict[Stream, Stream]
    cash: dict[str, Decimal | float | int | str]
    margin: MarginPlan | None = None
    price_limits: dict[str, PriceLimit] = {}


def make_plan(feed: Feed, subscriptions: Mapping[Stream, int], options: RunOptions) -> Plan:
    """Decide everything about a run from the strategy's subscriptions and the feed's streams.

    Raises:
        ConfigError: Nothing is subscribed, or an option contradicts the data.
        DataError: Data are missing for an instrument or the span.
    """
    if not subscriptions:
        raise ConfigError(
            "the strategy subscribes to nothing; call for example self.subscribe_candles(...) in on_start"
        )
    coverage = dict(feed.coverage())
    ids = list(dict.fromkeys(stream.instrument for stream in subscriptions))
    sources = {stream: _source(feed, stream, count, options) for stream, count in subscriptions.items()}
    held = {stream: coverage[source] for stream, source in sources.items()}
    coverage = {stream: span for stream, span in coverage.items() if stream.instrument in ids}
    _check_names(ids, options)
    start_ns, end_ns = _span(subscriptions, coverage, held, options)
    if options.start_ns is None:
        open_subscriptions = {
            stream: count for stream, count in subscriptions.items() if _live_start_ns(stream, count, coverage) is None
        }
        start_ns = _after_warmup(feed, open_subscriptions, start_ns, end_ns)
    changes = {i: feed.changes(i, start_ns, end_ns) for i in ids}
    instruments = _instruments(feed, ids, start_ns, changes, end_ns)
    whole = {stream for stream, held in coverage.items() if _spans(feed, stream, held, start_ns, end_ns)}
    matching = {i: _matching_stream(i, coverage, whole, start_ns, end_ns, options) for i in ids}
    marks = {i: _mark_stream(i, whole, matching[i]) for i in ids}
    has_trades = {i: Stream("trade", i) in whole for i in ids}
    streams = dict.fromkeys([*subscriptions, *matching.values(), *marks.values()])
    price_limits: dict[str, PriceLimit] = {}
    for i in ids:
        if matching[i].kind == "candle":
            streams[matching[i]._replace(kind="candle_open")] = None
        elif has_trades[i]:
            streams[Stream("trade", i)] = None
        if changes[i]:
            streams[Stream("instrument", i)] = None
        for kind in ("funding", "gap", "instrument"):
            if Stream(kind, i) in coverage and not (kind == "funding" and instruments[i].is_spot):
                streams[Stream(kind, i)] = None
        limits = Stream("price_limit", i)
        if applies(options.venue_rules, instruments[i]) and limits in coverage and coverage[limits].start_ns <= end_ns:
            streams[limits] = None
            told = feed.warmup(limits, 1, start_ns - 1) if coverage[limits].start_ns < start_ns else None
            if told is not None:
                price_limits[i] = cast(PriceLimit, told.events()[-1])
        # Marks that do not span the run value none of it, yet funding is charged at them as far as they reach.
        mark = Stream("mark", i)
        if Stream("funding", i) in streams and mark in coverage and coverage[mark].start_ns <= end_ns:
            streams[mark] = None
    _check_fees(instruments, options)
    if options.slippage is not None and options.slippage_bps:
        raise ConfigError("slippage and slippage_bps both say how much worse orders fill; give one of them")
    fees = {i: _fees(instruments[i], options) for i in ids}
    first = instruments[ids[0]]
    return Plan(
        instruments=instruments,
        start_ns=start_ns,
        end_ns=end_ns,
        matching=matching,
        marks=marks,
        latency_ns=_latencies(matching, options),
        fees=fees,
        has_trades=has_trades,
        streams=sorted(streams, key=lambda stream: stream.sort_key),
        built={stream: source for stream, source in sources.items() if source != stream},
        cash=options.cash or {first.settle_currency: 10_000},
        margin=plan_margin(feed, instruments, fees, start_ns, options),
        price_limits=price_limits,
    )


def _check_names(ids: Collection[str], options: RunOptions) -> None:
    """Refuse options for instruments that the run does not have: a slip in an id must not be passed over.

    Raises:
        ConfigError: One is not of the run; the message names those that are.
    """
    fees = options.fees if isinstance(options.fees, dict) else {}
    there = ", ".join(ids)
    for option, names in (("match_on", options.match_on.keys() - {"*"}), ("fees", fees.keys())):
        for name in sorted(names - set(ids)):
            raise ConfigError(f"{option} names {name!r}, which the strategy does not subscribe to; there is {there}")


def _after_warmup(feed: Feed, subscriptions: Mapping[Stream, int], start_ns: int, end_ns: int) -> int:
    """Move the start on until every warm-up is whole: markets that close at night or on Sundays need longer."""
    later_ns = start_ns
    for stream, count in subscriptions.items():
        while count and later_ns < end_ns:
            block = feed.warmup(stream, count, later_ns)
            missing = count - (0 if block is None else block.size)
            if missing <= 0:
                break
            later_ns += missing * interval_ns(stream.interval)
    return later_ns if later_ns < end_ns else start_ns


def _instruments(
    feed: Feed, ids: list[str], start_ns: int, changes: Mapping[str, Sequence[Instrument]], end_ns: int
) -> dict[str, Instrument]:
    """Return the metadata of a run's instruments as they are at its start, on a grid that expresses all changes.

    Raises:
        DataError: There are none.
        ConfigError: What a contract is worth changes within the run, which no position can be carried over.
    """
    known = feed.instruments(start_ns)
    for instrument_id in ids:
        if instrument_id not in known:
            raise DataError(
                f"{instrument_id}: data but no metadata; pass instruments=[Instrument(...)] or import it again"
            )
    found: dict[str, Instrument] = {}
    for instrument_id in ids:
        versions = [known[instrument_id], *changes[instrument_id]]
        for before, after in pairwise(versions):
            _check_change(before, after, start_ns, end_ns)
        tick = common_step(version.price_step for version in versions)
        found[instrument_id] = versions[0].on_grid(tick, common_step(version.qty_step for version in versions))
    return found


def _check_change(before: Instrument, after: Instrument, start_ns: int, end_ns: int) -> None:
    """Refuse a run across a change of more than the steps and the minimum."""
    fixed = {name: values for name, values in before.change_to(after).items() if name not in CHANGEABLE}
    if fixed:
        at_ns = after.valid_from_ns
        what = " and ".join(f"{name} changes from {old} to {new}" for name, (old, new) in fixed.items())
        raise ConfigError(
            f"{after.id}: {what} at {iso_of(at_ns)}, within the run, and no position can be carried over that; "
            f"run the two spans apart: {iso_of(start_ns)} to {iso_of(at_ns - 1)} (--to, end=), "
            f"and {iso_of(at_ns)} to {iso_of(end_ns)} (--from, start=)"
        )


def _live_start_ns(stream: Stream, warmup: int, coverage: Mapping[Stream, Coverage]) -> int | None:
    """Return when the live recording of candles began, where a run over them can begin with it too; else None.

    It can when nothing of the stream was held before but the warm-up, and that warm-up was asked for in full: with
    fewer candles stored there were no more, and the recorded run began without them. The first bar of a recording
    opened before it did.
    """
    held = coverage.get(stream)
    if held is None or held.live_ns is None or not stream.interval:
        return None
    if held.warmup:
        # More rows than these are a history of its own, which a run may begin with.
        most = held.warmup + (held.end_ns - held.live_ns) // interval_ns(stream.interval) + 1
        return held.live_ns if warmup <= held.warmup and held.rows <= most else None
    return held.live_ns if not warmup and held.start_ns >= bar_open_ns(held.live_ns, stream.interval) else None


def _ready_ns(stream: Stream, warmup: int, coverage: Mapping[Stream, Coverage], held: Coverage) -> int:
    """Return from when on a run over a stream can begin, its warm-up before it; `held` is of what it comes from."""
    live_ns = _live_start_ns(stream, warmup, coverage)
    if live_ns is not None:
        return live_ns
    if not warmup:
        return held.start_ns
    # Whole candles only: data that begin in the middle of an interval warm up from the next one on.
    length = interval_ns(stream.interval)
    return bar_open_ns(held.start_ns + length - 1, stream.interval) + warmup * length


def _source(feed: Feed, stream: Stream, warmup: int, options: RunOptions) -> Stream:
    """Return the stream that a run's rows, and those of its warm-up, come from.

    Raises:
        DataError: There is none, or none that fits; the message names what exists.
    """
    start_ns = options.start_ns
    if start_ns is not None and warmup:
        start_ns -= warmup * interval_ns(stream.interval)
    return feed.source(stream, start_ns, options.end_ns)


def _span(
    subscriptions: Mapping[Stream, int],
    coverage: Mapping[Stream, Coverage],
    sources: Mapping[Stream, Coverage],
    options: RunOptions,
) -> tuple[int, int]:
    """Return the run's span: what was asked for, else what all subscribed streams have in common.

    Args:
        subscriptions: Streams with the warm-up wanted.
        coverage: What is held.
        sources: What is held of what each stream comes from.
        options: Of the run.
    """
    # Funding, marks and gaps are told when they come; they do not bound the run.
    bounding = {s: w for s, w in subscriptions.items() if s.kind in MATCHING_KINDS} or dict(subscriptions)
    starts = [_ready_ns(stream, warmup, coverage, sources[stream]) for stream, warmup in bounding.items()]
    ends = [sources[stream].end_ns for stream in bounding]
    start_ns = max(starts) if options.start_ns is None else options.start_ns
    end_ns = min(ends) if options.end_ns is None else options.end_ns
    if options.start_ns is None:
        for (stream, warmup), ready_ns in zip(bounding.items(), starts, strict=True):
            if warmup and ready_ns > end_ns >= sources[stream].start_ns:
                raise DataError(
                    f"{stream}: a warm-up of {warmup} candles lasts until {iso_of(ready_ns)}, past the end of the run "
                    f"at {iso_of(end_ns)}; bring more data, warm up less, or give a start"
                )
    if options.start_ns is not None and options.end_ns is not None and start_ns >= end_ns:
        raise ConfigError(f"the run starts at {iso_of(start_ns)}, not before its end at {iso_of(end_ns)}")
    for stream in bounding:
        held = sources[stream]
        # Until the next one can close, a run that begins after the last candle misses none.
        last_ns = held.end_ns + (INTERVALS[stream.interval] if stream.interval else 0)
        if start_ns > last_ns or end_ns < held.start_ns or start_ns > end_ns:
            raise DataError(
                f"no data: {stream} runs from {iso_of(held.start_ns)} to {iso_of(held.end_ns)}, "
                f"not within {iso_of(start_ns)} to {iso_of(end_ns)}"
            )
    return start_ns, end_ns


def _spans(feed: Feed, stream: Stream, held: Coverage, start_ns: int, end_ns: int) -> bool:
    """Return whether a stream reaches over the whole run, to within an interval or a minute, without a hole in it."""
    slack = SPAN_TOLERANCE_NS + INTERVALS.get(stream.interval, 0)
    reaches = held.start_ns <= start_ns + slack and held.end_ns >= end_ns - slack
    return reaches and not (held.has_holes and feed.has_hole(stream, start_ns, end_ns))


def _spanning(instrument: str, kind: str, whole: Collection[Stream]) -> list[Stream]:
    """Return the instrument's streams of a kind among those that span the run, shortest interval first."""
    found = (stream for stream in whole if (stream.instrument, stream.kind) == (instrument, kind))
    return sorted(found, key=lambda stream: stream.sort_key)


def _matching_stream(
    instrument: str,
    coverage: Mapping[Stream, Coverage],
    whole: Collection[Stream],
    start_ns: int,
    end_ns: int,
    options: RunOptions,
) -> Stream:
    """Return the finest stream that spans the run, or the one that `match_on` names."""
    wanted = options.match_on.get(instrument, options.match_on.get("*"))
    if wanted is not None and wanted not in MATCHING_KINDS:
        raise ConfigError(f"match_on {wanted!r} is not known; use one of {', '.join(MATCHING_KINDS)}")
    for kind in MATCHING_KINDS if wanted is None else (wanted,):
        found = _spanning(instrument, kind, whole)
        if found:
            return found[0]
    there = ", ".join(
        f"{s.kind} {s.interval}".strip() + f" from {_second(held.start_ns)} to {_second(held.end_ns)}"
        for s, held in coverage.items()
        if s.instrument == instrument and s.kind in MATCHING_KINDS
    )
    raise DataError(
        f"{instrument}: no {wanted or 'data to match orders on'} without a hole from {iso_of(start_ns)} "
        f"to {iso_of(end_ns)}; there is {there}; choose a span within one of them (--from, --to; start=, end=)"
    )


def _second(ns: int) -> str:
    return iso_of(ns // NS_PER_S * NS_PER_S)


def _mark_stream(instrument: str, whole: Collection[Stream], matching: Stream) -> Stream:
    """Return what values the instrument: mark, else mid, else last trade, else candle close."""
    for kind in MARKING_KINDS:
        # A run reads the stream that values: a whole book for its mid alone would be by far the dearest.
        if kind == "book" and matching.kind != "book":
            continue
        found = _spanning(instrument, kind, whole)
        if found:
            return found[0]
    return matching


def _latencies(matching: Mapping[str, Stream], options: RunOptions) -> dict[str, int]:
    latencies = {}
    for instrument, stream in matching.items():
        on_candles = stream.kind == "candle"
        if options.latency is not None and options.latency_ns is not None:
            raise ConfigError("latency and latency_ms both say how long messages travel; give one of them")
        if on_candles and options.compute is not None:
            raise ConfigError(
                f"{instrument} is matched on candles, where an order that leaves late misses the open: leave out "
                "compute, or bring trades, tickers or a book that span the run"
            )
        if on_candles and (options.latency_ns or options.latency is not None):
            raise ConfigError(
                f"{instrument} is matched on candles, which know no latency: leave it out or give 0, "
                "or bring trades, tickers or a book that span the run"
            )
        usual_ns = DEFAULT_LATENCY_NS if options.latency is None else options.latency.median_ns
        latencies[instrument] = 0 if on_candles else usual_ns if options.latency_ns is None else options.latency_ns
    return latencies


def _fees(instrument: Instrument, options: RunOptions) -> Fees:
    if isinstance(options.fees, Fees):
        return options.fees
    if options.fees is not None and instrument.id in options.fees:
        return options.fees[instrument.id]
    return Fees.preset_for(instrument)


def _check_fees(instruments: Mapping[str, Instrument], options: RunOptions) -> None:
    """Refuse fees for all of which nothing applies to any instrument: the run would be one without fees.

    Raises:
        ConfigError: The message names the amount and the one to give instead.
    """
    fees = options.fees
    if not isinstance(fees, Fees) or fees.maker_bps or fees.taker_bps or fees.is_per_order:
        return
    idle = {fees.idle_amount(instrument) for instrument in instruments.values()}
    if "" not in idle:
        raise ConfigError(f"no order would pay a fee: {_idle(idle.pop(), ', '.join(instruments))}")


def _idle(amount: str, names: str) -> str:
    if amount == "per_contract":
        return f"per_contract is for swaps and futures and does not apply to {names}; give per_share"
    return f"per_share is for shares and coins and does not apply to {names}; give per_contract"


def idle_fees(plan: Plan) -> list[str]:
    """Return a sentence for every instrument whose fees hold an amount that does not apply to it."""
    found = {i: plan.fees[i].idle_amount(instrument) for i, instrument in plan.instruments.items()}
    return [f"{i}: of its fees {_idle(amount, 'it')}" for i, amount in found.items() if amount]


def run_config(
    *,
    strategy: str,
    strategy_digest: str | None,
    parameters: dict[str, Any],
    data: str,
    data_files: dict[str, str],
    plan: Plan,
    options: RunOptions,
) -> dict[str, Any]:
    """Return the `config` of a manifest: the options given, and the values that the run used.

    Args:
        strategy: Module and class. strategy_digest: SHA-256 of its source file, None without one.
        parameters: The strategy's parameters with their values.
        data: Folder or URI, or `memory`. data_files: path and SHA-256 of the stored files asked for rows or metadata.
        plan, options: What the run used, by currency or instrument where it differs.
    """
    fields = options.manifest_fields
    if plan.margin is not None and options.tiers is not None:
        families = sorted({family_of(plan.instruments[name]) for name in plan.margin.terms.contracts})
        tables = {family: msgspec.to_builtins(options.tiers[family]) for family in families}
        fields["tiers"] = {**fields["tiers"], "tables": tables}
    return {
        "strategy": strategy,
        "strategy_digest": strategy_digest,
        "parameters": parameters,
        "data": data,
        "data_files": data_files,
        "start_ns": plan.start_ns,
        "end_ns": plan.end_ns,
        "cash": {
            currency: plain(amount) if isinstance(amount, float) else str(amount)
            for currency, amount in plan.cash.items()
        },
        "report_currency": options.report_currency or next(iter(plan.cash)),
        "fees": plan.fees,
        "latency_ms": {instrument: ns / 1e6 for instrument, ns in plan.latency_ns.items()},
        "matching": {instrument: f"{s.kind} {s.interval}".strip() for instrument, s in plan.matching.items()},
        "marks": {instrument: f"{s.kind} {s.interval}".strip() for instrument, s in plan.marks.items()},
        **fields,
    }


def describe(plan: Plan, options: RunOptions, feed: Feed, currencies: Collection[str]) -> list[str]:
    """Return the run's assumptions as sentences, the matching data first."""
    said = []
    words = {
        "book": "the displayed book",
        "ticker": "best bid and offer",
        "trade": "public trades",
        "candle": "candles",
    }
    for i, stream in plan.matching.items():
        kind = words[stream.kind] + (f" of {stream.interval}" if stream.interval else "")
        beside = " and public trades" if stream.kind in ("book", "ticker") and plan.has_trades[i] else ""
        late = f"{plain(plan.latency_ns[i] / NS_PER_MS)} ms"
        if options.latency is not None:
            late = f"drawn from {options.latency.describe()},"
        said.append(f"{i}: matched on {kind}{beside}, latency {late} each way")
        fees = plan.fees[i]
        is_given = isinstance(options.fees, Fees) or (options.fees is not None and i in options.fees)
        own = "" if is_given else " (OKX preset)"
        amounts = _amounts(fees, plan.instruments[i])
        said.append(
            f"{i}: fees {_plain(fees.maker_bps)} bps maker, {_plain(fees.taker_bps)} bps taker"
            f"{amounts}{own}, valued at {plan.marks[i].kind}"
        )
        if plan.instruments[i].source == "inferred":
            said.append(f"{i}: price and size steps inferred from the data, contract value 1")
    said += [
        f"{stream.instrument}: {stream.interval} is built from {finer.interval}" for stream, finer in plan.built.items()
    ]
    for i, instrument in plan.instruments.items():
        if instrument.kind == "swap" and not any(s.kind == "funding" and s.instrument == i for s in plan.streams):
            said.append(f"{i}: no funding data, so none is charged")
    if plan.margin is not None:
        said += describe_margin(plan.margin, plan.marks, plan.start_ns)
    elif any(not instrument.is_spot for instrument in plan.instruments.values()):
        said.append(
            f"contracts: notional held within {_plain(options.max_leverage)} x equity; no margin calls, no liquidation"
        )
        if options.is_long_short:
            said.append("contracts: a long and a short position each, whose notionals add up")
    if any(stream.kind == "ticker" for stream in plan.matching.values()):
        said.append(f"size beyond the displayed one fills {_plain(options.excess_slippage_bps)} bps worse")
    if options.slippage_bps and any(stream.kind in ("trade", "candle") for stream in plan.matching.values()):
        said.append(
            f"on trades and candles, what takes fills {_plain(options.slippage_bps)} bps worse than the traded price"
        )
    if options.slippage is not None and any(stream.kind in ("trade", "candle") for stream in plan.matching.values()):
        said.append(f"on trades and candles, what takes fills worse than the traded price by {options.slippage}")
    if options.max_share is not None and any(stream.kind in ("trade", "candle") for stream in plan.matching.values()):
        said.append(f"on trades and candles, orders fill at most {_plain(options.max_share)} of a row's volume")
    has_display = any(stream.kind in ("book", "ticker") for stream in plan.matching.values())
    if has_display and options.queue_model != DEFAULT_QUEUE_MODEL:
        said.append(f"queues of resting orders by the model {options.queue_model}")
    if not options.own_side_prints and any(stream.kind != "candle" for stream in plan.matching.values()):
        said.append("a trade beyond a resting limit fills it only if its aggressor was on the other side")
    said += [line for i in plan.instruments if (line := _rules_of(plan, i, options))]
    if len(currencies) > 1:
        counted_in = options.report_currency or next(iter(plan.cash))
        said.append(f"balances in {', '.join(currencies)} are counted in {counted_in}")
    return [*said, *feed.assumptions()]


def _rules_of(plan: Plan, instrument_id: str, options: RunOptions) -> str:
    """Return a sentence about the order rules that an instrument's orders are judged by, empty without any."""
    instrument = plan.instruments[instrument_id]
    if not applies(options.venue_rules, instrument):
        return ""
    has_limits = Stream("price_limit", instrument_id) in plan.streams
    unknown = ["state", *([] if has_limits else ["price limit"])]
    unknown += [] if instrument.order_limits() else ["largest orders"]
    return (
        f"{instrument_id}: orders are judged by OKX's order rules, self-trades end by {options.stp_mode}; "
        f"not known and not judged: {', '.join(unknown)}"
    )


def _plain(number: Decimal | float) -> str:
    return plain(decimal_of(number))


def _amounts(fees: Fees, instrument: Instrument) -> str:
    """Return the amounts of money among an instrument's fees, as they go on after its rates."""
    unit = "share" if instrument.is_spot else "contract"
    amounts = (
        (fees.per_unit(instrument), "{} per " + unit),
        (fees.per_order, "{} per order"),
        (fees.min_per_order, "at least {} an order"),
    )
    currency = instrument.settle_currency
    return "".join(f", {text.format(f'{plain(amount)} {currency}')}" for amount, text in amounts if amount)
