"""What is decided before a run: span, matching data, marks, latency, fees, streams, and the sentences about them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from quantkit.clock import INTERVALS, NS_PER_DAY, NS_PER_MIN, NS_PER_MS, NS_PER_S, time_ns_of
from quantkit.engine.plan import Plan, describe, make_plan
from quantkit.errors import ConfigError, DataError
from quantkit.events import Candle, Trade
from quantkit.feeds.base import Feed
from quantkit.feeds.replay import MemoryFeed, ReplayFeed
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.options import RunOptions
from quantkit.rows.columns import Block, Stream
from quantkit.storage.catalog import Coverage
from quantkit.storage.writer import Writer

A, B = "BTC-USDT", "BTC-USDT-SWAP"
T0 = time_ns_of("2025-05-05")
DAY = NS_PER_DAY
SPOT = Instrument(A, price_step="0.1", qty_step="0.001")
SWAP = Instrument(B, kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
BOOK, TICKER, TRADE, MINUTE = (Stream(kind, A) for kind in ("book", "ticker", "trade", "candle"))
MINUTE = MINUTE._replace(interval="1m")
HOUR = MINUTE._replace(interval="1h")
NS_PER_H = 60 * NS_PER_MIN


class Held(MemoryFeed):
    """A feed that holds spans without rows: planning looks at nothing else.

    Spans are in days from the first; `holes` are days of a stream that are missing.
    """

    def warmup(self, stream: Stream, count: int, until_ns: int) -> Block:
        """Say that the candles are all there."""
        return Block(stream, count, {})

    def __init__(
        self,
        spans: Mapping[Stream, tuple[float, float]],
        *,
        holes: Mapping[Stream, Sequence[int]] | None = None,
        instruments: Sequence[Instrument] = (SPOT, SWAP),
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(instruments=instruments)
        self._holes = dict(holes or {})
        self._notes = notes
        self._coverage = {
            stream: Coverage(T0 + int(first * DAY), T0 + int(last * DAY), 1, stream in self._holes)
            for stream, (first, last) in spans.items()
        }

    def rows(self, stream: Stream, start_ns: int, end_ns: int) -> Iterator[Block]:
        """Yield none."""
        return iter(())

    def has_hole(self, stream: Stream, start_ns: int, end_ns: int) -> bool:
        """Whether a missing day lies in the span."""
        days = self._holes.get(stream, ())
        return any(start_ns < T0 + (day + 1) * DAY and end_ns > T0 + day * DAY for day in days)

    def assumptions(self) -> Sequence[str]:
        """What the data's history has to say."""
        return self._notes


def plan(feed: Feed, *streams: Stream, warmup: int = 0, **options: Any) -> Plan:
    """Plan a run that subscribes to the streams."""
    for moment in ("start_ns", "end_ns"):
        if moment in options:
            options[moment] = T0 + int(options[moment] * DAY)
    return make_plan(feed, dict.fromkeys(streams, warmup), RunOptions(**options))


def days(plan: Plan) -> tuple[float, float]:
    """Return a plan's span in days from the first."""
    return (plan.start_ns - T0) / DAY, (plan.end_ns - T0) / DAY


# The span -----------------------------------------------------------------------------------------------------------


def test_the_span_is_what_all_subscribed_streams_have_in_common() -> None:
    """Streams that are not subscribed do not bound it."""
    feed = Held({TRADE: (0, 8), MINUTE: (2, 10), BOOK: (3, 5)})
    assert days(plan(feed, TRADE, MINUTE)) == (2, 8)
    assert days(plan(feed, TRADE)) == (0, 8)


def test_the_span_can_be_given_in_part() -> None:
    """The other end stays what the data have."""
    feed = Held({TRADE: (0, 8)})
    assert days(plan(feed, TRADE, start_ns=3)) == (3, 8)
    assert days(plan(feed, TRADE, end_ns=3)) == (0, 3)


def test_marks_and_funding_do_not_bound_the_span() -> None:
    """They are told when they come; alone, they are all there is."""
    funding = Stream("funding", B)
    feed = Held({Stream("trade", B): (0, 8), funding: (2, 3)})
    assert days(plan(feed, Stream("trade", B), funding)) == (0, 8)
    assert days(plan(feed, funding)) == (2, 3)


def test_the_default_start_comes_after_the_warm_up_of_whole_candles() -> None:
    """Data that begin in the middle of an interval warm up from the next one on."""
    hour = Stream("candle", A, "1h")
    feed = Held({MINUTE: (10 / 24 + 0.01, 5)})
    assert (plan(feed, hour, warmup=3).start_ns - T0) / INTERVALS["1h"] == 11 + 3
    assert plan(feed, hour).start_ns == feed.coverage()[MINUTE].start_ns
    assert days(plan(feed, hour, warmup=3, start_ns=1)) == (1, 5)


def test_data_too_short_for_the_warm_up() -> None:
    """With a start given the run starts on time; without one there is nothing to run."""
    day = Stream("candle", A, "1d")
    feed = Held({day: (0, 10)})
    with pytest.raises(DataError) as caught:
        plan(feed, day, warmup=30)
    assert str(caught.value) == (
        f"{A} candle 1d: a warm-up of 30 candles lasts until 2025-06-04T00:00:00Z, past the end of the run at "
        "2025-05-15T00:00:00Z; bring more data, warm up less, or give a start"
    )
    assert days(plan(feed, day, warmup=30, start_ns=4)) == (4, 10)
    assert days(plan(feed, day, warmup=10)) == (10, 10)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"start_ns": 5, "end_ns": 5}, ConfigError, "the run starts at 2025-05-10T00:00:00Z, not before"),
        ({"start_ns": 9}, DataError, "no data: BTC-USDT trade runs from 2025-05-05T00:00:00Z to 2025-05-13T00"),
        ({"end_ns": -1}, DataError, "no data: BTC-USDT trade runs from"),
        ({"start_ns": 20, "end_ns": 30}, DataError, "no data: BTC-USDT trade runs from"),
    ],
)  # fmt: skip
def test_spans_that_cannot_be(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    """Both sides are named."""
    with pytest.raises(kind) as caught:
        plan(Held({TRADE: (0, 8)}), TRADE, **options)
    assert message in str(caught.value)


def test_streams_without_a_common_moment() -> None:
    """One ends before the other begins."""
    with pytest.raises(DataError, match="no data: "):
        plan(Held({TRADE: (0, 2), MINUTE: (5, 8)}), TRADE, MINUTE)


# Matching data ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "expected"),
    [
        ([BOOK, TICKER, TRADE, MINUTE], BOOK),
        ([MINUTE, TRADE, TICKER], TICKER),
        ([MINUTE, TRADE], TRADE),
        ([MINUTE], MINUTE),
        ([Stream("candle", A, "1d"), MINUTE, Stream("candle", A, "1h")], MINUTE),
    ],
)
def test_the_finest_kind_decides(held: list[Stream], expected: Stream) -> None:
    """Subscribed or not; of candles the shortest."""
    feed = Held(dict.fromkeys(held, (0, 8)))
    assert plan(feed, held[0]).matching == {A: expected}


def test_a_finer_kind_that_does_not_span_the_run_is_passed_over() -> None:
    """But taken where it does."""
    feed = Held({BOOK: (3, 5), TRADE: (1, 7), MINUTE: (0, 8)})
    assert plan(feed, MINUTE).matching[A] == MINUTE
    assert plan(feed, MINUTE, start_ns=1, end_ns=7).matching[A] == TRADE
    assert plan(feed, MINUTE, start_ns=3, end_ns=5).matching[A] == BOOK
    assert plan(feed, MINUTE, start_ns=3, end_ns=5.5).matching[A] == TRADE


def test_a_recording_may_begin_and_end_within_a_minute_of_the_run() -> None:
    """The first trade of a day is not at midnight."""
    minute = NS_PER_MIN / DAY
    feed = Held({TRADE: (0, 8), MINUTE: (-1, 9)})
    assert plan(feed, MINUTE, start_ns=-0.9 * minute, end_ns=8 + 0.9 * minute).matching[A] == TRADE
    assert plan(feed, MINUTE, start_ns=-1.1 * minute, end_ns=8).matching[A] == MINUTE
    assert plan(feed, MINUTE, start_ns=0, end_ns=8 + 1.1 * minute).matching[A] == MINUTE


def test_a_quiet_stream_reaches_as_far_as_it_was_listened_to(tmp_path: Path) -> None:
    """One trade in a day of live recording: the run is planned as it was live, where every stream is at hand."""
    trade = Trade(A, T0 + DAY // 2, T0 + DAY // 2, 100.0, 1.0, Side.BUY, 1)
    with Writer(tmp_path) as writer:
        writer.write(Block.from_events([trade]))
        writer.write_instrument(SPOT)
    assert days(plan(ReplayFeed(tmp_path), TRADE)) == (0.5, 0.5)
    for stream in (BOOK, TRADE, MINUTE):
        with Writer(tmp_path) as writer:
            writer.watched(stream, T0, T0 + DAY)
    got = plan(ReplayFeed(tmp_path), TRADE, MINUTE)
    assert days(got) == (0, 1)
    assert (got.matching[A], got.marks[A], got.has_trades[A]) == (BOOK, BOOK, True)


def recorded(root: Path, *opened: float, live: float, end: float, warmup: int, interval: str = "1h") -> ReplayFeed:
    """Record a book and candles live: hours in which candles open, when listening began and ended, the warm-up."""
    length_ns = INTERVALS[interval]
    live_ns, end_ns = T0 + int(live * NS_PER_H), T0 + int(end * NS_PER_H)
    candles = []
    for hour in opened:
        open_ns = T0 + int(hour * NS_PER_H)
        close_ns = open_ns + length_ns
        candles.append(Candle(A, close_ns, close_ns, open_ns, close_ns, 1.0, 1.0, 1.0, 1.0, 1.0, interval))
    with Writer(root) as writer:
        if candles:
            writer.write(Block.from_events(candles))
        writer.write_instrument(SPOT)
        writer.watched(BOOK, live_ns, end_ns)
        writer.watched(Stream("candle", A, interval), live_ns, end_ns, warmup=warmup)
    return ReplayFeed(root)


@pytest.mark.parametrize(
    ("opened", "warmup"),
    [
        ([0, 1, 2, 3], 3),  # the warm-up is whole, and a bar has closed since
        ([1, 2], 2),
        ([1, 2], 30),  # fewer candles than were asked for, as there were no more
        ([], 30),
        ([3], 0),  # the first bar opened before listening began
        ([], 0),
    ],
)
def test_a_recorded_run_begins_again_where_it_began(opened: list[float], warmup: int, tmp_path: Path) -> None:
    """In the middle of a bar, with the warm-up that it had: whatever else, the moment is that of the recording."""
    feed = recorded(tmp_path, *opened, live=3.25, end=4.5, warmup=warmup)
    got = plan(feed, HOUR, warmup=warmup)
    assert ((got.start_ns - T0) / NS_PER_H, (got.end_ns - T0) / NS_PER_H) == (3.25, 4.5)
    assert got.matching[A] == BOOK


def test_a_recorded_run_with_less_warm_up_begins_with_it_too(tmp_path: Path) -> None:
    feed = recorded(tmp_path, 0, 1, 2, live=3.25, end=4.5, warmup=3)
    for warmup in range(4):
        assert plan(feed, HOUR, warmup=warmup).start_ns == T0 + 3.25 * NS_PER_H


def test_a_longer_warm_up_than_was_recorded_takes_its_time(tmp_path: Path) -> None:
    """From the recording's own candles: what was before was not asked for."""
    feed = recorded(tmp_path, *range(1, 12), live=3.25, end=12, warmup=2)
    assert plan(feed, HOUR, warmup=5).start_ns == T0 + 6 * NS_PER_H


def test_history_before_a_recording_counts_as_history(tmp_path: Path) -> None:
    """Candles that were imported are there to be run over, though later ones were listened to."""
    feed = recorded(tmp_path, *range(12), live=10.25, end=12, warmup=0)
    assert plan(feed, HOUR).start_ns == T0
    assert plan(feed, HOUR, warmup=4).start_ns == T0 + 4 * NS_PER_H


@pytest.mark.parametrize("warmup", [0, 1, 2, 3])
def test_history_before_a_recording_that_warmed_up_counts_as_history(warmup: int, tmp_path: Path) -> None:
    """There are more candles than the warm-up was asked for and could come since."""
    feed = recorded(tmp_path, *range(12), live=10.25, end=12, warmup=2)
    assert plan(feed, HOUR, warmup=warmup).start_ns == T0 + warmup * NS_PER_H


def test_weeks_warm_up_from_monday(tmp_path: Path) -> None:
    """T0 is a Monday, on which the first bar opens; a multiple of seven days since 1970 is a Thursday."""
    opened = [week * 7 * 24 for week in range(5)]
    feed = recorded(tmp_path, *opened, live=5 * 7 * 24, end=6 * 7 * 24, warmup=0, interval="1w")
    assert days(plan(feed, HOUR._replace(interval="1w"), warmup=2))[0] == 14


def test_a_hole_counts_where_the_run_meets_it() -> None:
    """And only there."""
    feed = Held({TRADE: (0, 8), MINUTE: (0, 8)}, holes={TRADE: [4]})
    assert plan(feed, MINUTE).matching[A] == MINUTE
    assert not plan(feed, MINUTE).has_trades[A]
    assert plan(feed, MINUTE, end_ns=4).matching[A] == TRADE
    assert plan(feed, MINUTE, start_ns=5).matching[A] == TRADE
    with pytest.raises(
        DataError,
        match=rf"{A}: no trade without a hole from .* there is trade from .*, candle 1m from .*; choose a span",
    ):
        plan(feed, MINUTE, match_on={"*": "trade"})


def test_match_on_wins() -> None:
    """For all, or for one."""
    swap = Stream("trade", B)
    feed = Held({TRADE: (0, 8), MINUTE: (0, 8), swap: (0, 8), Stream("candle", B, "1m"): (0, 8)})
    for options in ({"*": "candle"}, {A: "candle", B: "candle"}):
        assert {s.kind for s in plan(feed, TRADE, swap, match_on=options).matching.values()} == {"candle"}
    mixed = plan(feed, TRADE, swap, match_on={"*": "trade", B: "candle"}).matching
    assert (mixed[A].kind, mixed[B].kind) == ("trade", "candle")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"match_on": {"*": "quotes"}}, "match_on 'quotes' is not known; use one of book, ticker, trade, candle"),
        (
            {"match_on": {"ETH": "trade"}},
            f"match_on names 'ETH', which the strategy does not subscribe to; there is {A}",
        ),
        ({"fees": {B: Fees()}}, f"fees names '{B}', which the strategy does not subscribe to; there is {A}"),
        (
            {"match_on": {A: "candle"}, "latency_ns": 5},
            f"{A} is matched on candles, which know no latency: leave it out",
        ),
    ],
)
def test_options_that_contradict_the_run(options: dict[str, Any], message: str) -> None:
    """The message says which option."""
    with pytest.raises(ConfigError) as caught:
        plan(Held({TRADE: (0, 8), MINUTE: (0, 8)}), TRADE, **options)
    assert str(caught.value).startswith(message)


def test_nothing_subscribed_and_nothing_there() -> None:
    """What to call, what there is, and what is missing."""
    with pytest.raises(ConfigError, match="the strategy subscribes to nothing"):
        plan(Held({TRADE: (0, 8)}))
    cases = [
        (BOOK, f"no data: {BOOK} is not there; of {A} there is trade"),
        (Stream("candle", A, "1m"), f"no data: {MINUTE} is not there; of {A} there is trade"),
        (Stream("trade", "ETH"), f"no data: ETH is not there; there is {A}"),
    ]
    for stream, message in cases:
        with pytest.raises(DataError) as caught:
            plan(Held({TRADE: (0, 8)}), stream)
        assert str(caught.value) == message
    with pytest.raises(DataError, match=rf"{A}: data but no metadata; pass instruments="):
        plan(Held({TRADE: (0, 8)}, instruments=[]), TRADE)
    with pytest.raises(DataError, match="there is nothing"):
        plan(Held({}), TRADE)


# Marks, latency, fees, streams ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("held", "match_on", "expected"),
    [
        ([Stream("mark", A), TICKER, TRADE], None, Stream("mark", A)),
        ([TICKER, TRADE, MINUTE], None, TICKER),
        ([BOOK, TRADE], None, BOOK),
        ([BOOK, TRADE], "trade", TRADE),
        ([BOOK, TICKER], None, TICKER),
        ([TRADE, MINUTE], "candle", TRADE),
        ([MINUTE], None, MINUTE),
    ],
)
def test_what_values_a_position(held: list[Stream], match_on: str | None, expected: Stream) -> None:
    """Mark, else mid, else last trade, else candle close; a book only where it is walked anyway."""
    feed = Held(dict.fromkeys(held, (0, 8)))
    options: dict[str, Any] = {} if match_on is None else {"match_on": {"*": match_on}}
    got = plan(feed, next(s for s in held if s.kind != "mark"), **options)
    assert got.marks == {A: expected}
    assert expected in got.streams


@pytest.mark.parametrize(
    ("held", "given", "expected"),
    [(TRADE, None, 20), (TRADE, 0, 0), (TRADE, 7, 7), (MINUTE, None, 0), (MINUTE, 0, 0), (TICKER, 100, 100)],
)
def test_latency(held: Stream, given: int | None, expected: int) -> None:
    """20 ms unless told otherwise, and none on candles."""
    latency_ns = None if given is None else given * NS_PER_MS
    assert plan(Held({held: (0, 8)}), held, latency_ns=latency_ns).latency_ns == {A: expected * NS_PER_MS}


def test_fees_for_all_for_one_and_by_preset() -> None:
    """What is not given is OKX's, by kind."""
    feed = Held({TRADE: (0, 8), Stream("trade", B): (0, 8)})
    streams = (TRADE, Stream("trade", B))
    own = Fees(maker_bps=1, taker_bps=1)
    assert plan(feed, *streams).fees == {A: Fees.okx_spot(), B: Fees.okx_swap()}
    assert plan(feed, *streams, fees=own).fees == {A: own, B: own}
    assert plan(feed, *streams, fees={B: own}).fees == {A: Fees.okx_spot(), B: own}


def test_streams_that_a_run_reads() -> None:
    """What is subscribed, matched on and valued at, with what always belongs to it; in the total order's order."""
    perp = {Stream(kind, B): (0, 8) for kind in ("gap", "funding", "mark", "book", "trade")}
    feed = Held({**perp, TRADE: (0, 8), Stream("funding", A): (0, 8), Stream("gap", A): (0, 1), MINUTE: (0, 8)})
    got = plan(feed, Stream("book", B), Stream("candle", A, "5m"), match_on={A: "candle"})
    assert [str(stream) for stream in got.streams] == [
        f"{A} gap",
        f"{B} gap",
        f"{B} mark",
        f"{A} candle 1m",
        f"{A} candle 5m",
        f"{B} funding",
        f"{A} candle_open 1m",
        f"{B} book",
        f"{A} trade",
        f"{B} trade",
    ]
    assert got.has_trades == {A: True, B: True}


def test_default_cash() -> None:
    """Of the first instrument's settlement currency."""
    assert plan(Held({TRADE: (0, 8)}), TRADE).cash == {"USDT": 10_000}
    assert plan(Held({TRADE: (0, 8)}), TRADE, cash={"BTC": 1}).cash == {"BTC": 1}


# What is said about it ----------------------------------------------------------------------------------------------


def test_assumptions_are_said_what_decides_fills_first() -> None:
    """In sentences, each instrument on its own."""
    guessed = Instrument(B, kind="swap", price_step="0.1", qty_step="1", source="inferred")
    feed = Held(
        {TICKER: (0, 8), TRADE: (0, 8), Stream("candle", B, "1m"): (0, 8)}, instruments=[SPOT, guessed], notes=["X."]
    )
    config = RunOptions(fees={A: Fees(maker_bps=1, taker_bps=2.5)}, cash={"BTC": 1, "USDT": 5}, report_currency="USDT")
    got = make_plan(feed, {TICKER: 0, Stream("candle", B, "1m"): 0}, config)
    assert describe(got, config, feed, ["BTC", "USDT"]) == [
        f"{A}: matched on best bid and offer and public trades, latency 20 ms each way",
        f"{A}: fees 1 bps maker, 2.5 bps taker, valued at ticker",
        f"{B}: matched on candles of 1m, latency 0 ms each way",
        f"{B}: fees 2 bps maker, 5 bps taker (OKX preset), valued at candle",
        f"{B}: price and size steps inferred from the data, contract value 1",
        f"{B}: no funding data, so none is charged",
        "contracts: notional held within 1 x equity; no margin calls, no liquidation",
        "size beyond the displayed one fills 1 bps worse",
        "balances in BTC, USDT are counted in USDT",
        "X.",
    ]


def test_little_is_said_where_there_is_little_to_say() -> None:
    """One currency, spot, no display."""
    feed = Held({TRADE: (0, 8)})
    config = RunOptions(latency_ns=NS_PER_S)
    assert describe(make_plan(feed, {TRADE: 0}, config), config, feed, ["USDT"]) == [
        f"{A}: matched on public trades, latency 1000 ms each way",
        f"{A}: fees 8 bps maker, 10 bps taker (OKX preset), valued at trade",
    ]


def test_numbers_are_said_in_plain_decimals() -> None:
    """However small or large; no exponent, no digit lost."""
    swap = Instrument(A, kind="swap", price_step="0.1", qty_step="1")
    config = RunOptions(
        fees=Fees(maker_bps=-0.00005, taker_bps=999.9999999),
        latency_ns=1_234_567_800_000,
        max_leverage=1234567,
        excess_slippage_bps=0.00001,
    )
    feed = Held({TICKER: (0, 8), TRADE: (0, 8)}, instruments=[swap])
    said = " ".join(describe(make_plan(feed, {TICKER: 0}, config), config, feed, ["USDT"]))
    for part in (
        "-0.00005 bps maker, 999.9999999 bps taker",
        "latency 1234567.8 ms",
        "1234567 x equity",
        "0.00001 bps",
    ):
        assert part in said, part
    on_trades = RunOptions(slippage_bps=0.00002)
    feed = Held({TRADE: (0, 8)})
    said = describe(make_plan(feed, {TRADE: 0}, on_trades), on_trades, feed, ["USDT"])
    assert said[-1] == "on trades and candles, what takes fills 0.00002 bps worse than the traded price"
