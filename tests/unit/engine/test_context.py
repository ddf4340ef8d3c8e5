"""What a strategy acts through in a run: subscriptions, warm-up, timers, history, and orders before the start."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from quantkit.clock import NEVER_NS, NS_PER_MIN, NS_PER_S, iso_of, time_ns_of
from quantkit.engine import loop
from quantkit.engine.context import HISTORY_ROWS
from quantkit.engine.outcome import Outcome
from quantkit.engine.timers import Timers
from quantkit.errors import ConfigError, DataError, OrderError, StrategyError
from quantkit.events import BookUpdate, Candle, MarketEvent, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.options import RunOptions
from quantkit.orders import OrderState
from quantkit.simulated import simulated_run
from quantkit.strategy import Strategy

ID = "BTC-USDT-SWAP"
SWAP = Instrument(ID, kind="swap", price_step="0.1", qty_step="1", contract_value="0.01")
T0 = time_ns_of("2025-05-05")
Hook = Callable[[Any], None]


class Acts(Strategy):
    """Runs functions in its hooks, and writes down what it is given."""

    def __init__(self, start: Hook, candle: Hook = lambda _: None, timer: Hook = lambda _: None) -> None:
        super().__init__()
        self._start, self._candle, self._timer = start, candle, timer
        self.seen: list[tuple[int, str]] = []
        self.notes: list[Any] = []

    def on_start(self) -> None:
        self._start(self)

    def on_candle(self, candle: Candle) -> None:
        self.seen.append((self.now - T0, f"candle {candle.interval}"))
        self._candle(self)

    def on_timer(self, name: str) -> None:
        self.seen.append((self.now - T0, f"timer {name}"))
        self._timer(self)

    def on_trade(self, trade: Trade) -> None:
        self.seen.append((self.now - T0, "trade"))


def candles(rows: int = 10) -> list[MarketEvent]:
    """Return minutes whose close is their number."""
    found: list[MarketEvent] = []
    for n in range(rows):
        opened, closed = T0 + n * NS_PER_MIN, T0 + (n + 1) * NS_PER_MIN
        found.append(Candle(ID, closed, closed, opened, closed, 100.0, 200.0, 50.0, 100.0 + n, 1.0, "1m"))
    return found


def run(strategy: Strategy, events: Sequence[MarketEvent] | None = None, **options: Any) -> Outcome:
    """Run over ten minutes of candles, or other events."""
    feed = MemoryFeed(candles() if events is None else events, [SWAP])
    return simulated_run(feed, strategy, RunOptions(**{"fees": Fees(), "cash": {"USDT": 10_000}, **options})).run()


def minutes(warmup: int = 0) -> Hook:
    """Return an `on_start` that subscribes to the candles."""
    return lambda s: s.subscribe_candles(ID, "1m", warmup=warmup)


def at(minute: float) -> int:
    """Return a moment by its minute."""
    return T0 + int(minute * NS_PER_MIN)


# Before the start ---------------------------------------------------------------------------------------------------


def test_orders_in_on_start_come_back_refused() -> None:
    """There is no market yet; nothing of them reaches the run."""

    def start(s: Any) -> None:
        minutes()(s)
        order = s.buy(ID, 1, tag="early")
        s.notes += [order, s.open_orders(), s.position(ID), s.book(ID), s.quote(ID, bid=1, ask=2, qty=1)]
        s.amend(order, qty=2)
        s.cancel(order)
        s.cancel_all()

    strategy = Acts(start, candle=lambda s: s.cancel(s.notes[0]))
    outcome = run(strategy)
    order, open_orders, position, book, quotes = strategy.notes
    assert (order.state, order.reason, order.tag, order.side) == (OrderState.REJECTED, "warmup", "early", Side.BUY)
    assert (open_orders, position, book, quotes) == ([], 0.0, None, (None, None))
    assert (outcome.orders, outcome.order_events) == ([], [])


@pytest.mark.parametrize(
    "call", [lambda s: s.buy(ID, math.nan), lambda s: s.target(ID, math.inf), lambda s: s.sell(ID, 0)]
)
def test_calls_in_on_start_are_checked(call: Hook) -> None:
    """As later in the run."""
    with pytest.raises(StrategyError, match=r"Acts.on_start raised .* give a finite number") as caught:
        run(Acts(lambda s: (minutes()(s), call(s))))
    assert isinstance(caught.value.__cause__, OrderError)
    assert caught.value.hook == "on_start"


def test_a_target_of_on_start_is_applied_at_the_start() -> None:
    """At the first price after the warm-up; `close` takes it back."""

    def start(s: Any) -> None:
        minutes(warmup=2)(s)
        s.target(ID, 7)

    outcome = run(Acts(start))
    assert [(fill.qty, fill.price, fill.filled_ns) for fill in outcome.fills] == [(7.0, 100.0, at(2))]
    assert run(Acts(lambda s: (start(s), s.close(ID)))).orders == []


def test_in_the_warm_up_only_candles_run_and_orders_are_refused() -> None:
    """Timers wait; a target is remembered, the last one counts."""
    orders: list[Any] = []

    def start(s: Any) -> None:
        minutes(warmup=3)(s)
        s.every("1m")

    def candle(s: Any) -> None:
        if s.now < at(3):
            orders.append(s.buy(ID, 1))
            assert s.target(ID, s.now - T0) is None
        elif s.now == at(3):
            s.target(ID, 5)

    strategy = Acts(start, candle)
    outcome = run(strategy)
    assert outcome.start_ns == at(3)
    assert [(order.state, order.reason) for order in orders] == [(OrderState.REJECTED, "warmup")] * 2
    assert [(fill.qty, fill.filled_ns) for fill in outcome.fills] == [(5.0, at(3))]
    assert strategy.seen[:5] == [
        (1 * NS_PER_MIN, "candle 1m"),
        (2 * NS_PER_MIN, "candle 1m"),
        (3 * NS_PER_MIN, "candle 1m"),
        (4 * NS_PER_MIN, "timer 1m"),
        (4 * NS_PER_MIN, "candle 1m"),
    ]


def test_a_short_history_starts_on_time_and_says_so() -> None:
    """With the candles that there are."""
    strategy = Acts(minutes(warmup=30))
    outcome = run(strategy, start_ns=at(4))
    idle = "Acts.on_trade never runs: call self.subscribe_trades(...) in on_start, or remove the hook"
    assert outcome.warnings == [idle, f"{ID} candle 1m: warm-up 4 of 30"]
    assert [moment // NS_PER_MIN for moment, _ in strategy.seen] == list(range(1, 11))


def test_longer_warm_up_does_not_change_what_comes_after() -> None:
    """The same candles from the start on."""
    short, long = Acts(minutes(warmup=1)), Acts(minutes(warmup=4))
    run(short, start_ns=at(5))
    run(long, start_ns=at(5))
    assert short.seen[1:] == long.seen[4:]
    assert len(short.seen) == 6


# Subscriptions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "kind", "message"),
    [
        (lambda s: s.subscribe_candles(ID, "7m"), ConfigError, "interval '7m' is not known"),
        (
            lambda s: s.subscribe_candles(ID, "1m", warmup=-1),
            ConfigError,
            f"warmup of {ID} 1m is -1; give zero or more",
        ),
        (lambda s: s.subscribe_trades("ETH"), DataError, f"no data: ETH is not there; there is {ID}"),
        (lambda s: s.instrument_info("ETH"), DataError, "no data: ETH is not there"),
    ],
)
def test_subscriptions_that_cannot_be(start: Hook, kind: type[Exception], message: str) -> None:
    """Found in `on_start`, before anything runs."""
    with pytest.raises((StrategyError, kind), match=message) as caught:
        run(Acts(start))
    assert isinstance(caught.value, kind) or isinstance(caught.value.__cause__, kind)


def test_streams_are_fixed_once_the_run_has_begun() -> None:
    """A late subscription would miss what came before."""
    with pytest.raises(StrategyError, match=f"subscribe to {ID} trade in on_start; a run's streams are fixed"):
        run(Acts(minutes(), candle=lambda s: s.subscribe_trades(ID)))


def test_the_longest_warm_up_of_a_stream_counts() -> None:
    """Whichever was asked for first."""
    for first, second in ((2, 4), (4, 2)):
        strategy = Acts(lambda s, a=first, b=second: (minutes(a)(s), minutes(b)(s)))  # type: ignore[misc]
        assert run(strategy).start_ns == at(4)


def test_metadata_is_there_from_the_first_moment() -> None:
    """In `on_start` and in every hook."""
    strategy = Acts(lambda s: (minutes()(s), s.notes.append(s.instrument_info(ID))))
    run(strategy)
    assert strategy.notes == [SWAP]


# History ------------------------------------------------------------------------------------------------------------


def test_history_holds_what_was_delivered_oldest_first() -> None:
    """The present candle included, never one to come, and fewer where there are fewer."""
    strategy = Acts(
        lambda s: (minutes(warmup=2)(s), s.notes.append(s.history(ID, "1m", 5))),
        candle=lambda s: s.notes.append([candle.close - 100 for candle in s.history(ID, "1m", 3)]),
    )
    run(strategy)
    assert strategy.notes[:5] == [[], [0], [0, 1], [0, 1, 2], [1, 2, 3]]
    assert strategy.notes[-1] == [7, 8, 9]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((ID, "5m", 1), f"history of {ID} 5m needs subscribe_candles in on_start"),
        (("ETH", "1m", 1), "history of ETH 1m needs subscribe_candles in on_start"),
        ((ID, "1m", HISTORY_ROWS + 1), "history of 10001 candles asked for; from 0 to 10,000 are kept"),
        ((ID, "1m", -1), "history of -1 candles asked for; from 0 to 10,000 are kept"),
    ],
)
def test_history_that_is_not_kept(arguments: tuple[str, str, int], message: str) -> None:
    """What to do, or how much there is."""
    with pytest.raises(StrategyError, match=message) as caught:
        run(Acts(minutes(), candle=lambda s: s.history(*arguments)))
    assert isinstance(caught.value.__cause__, ConfigError)


def test_history_of_nothing_is_nothing() -> None:
    """Zero candles, at any time."""
    strategy = Acts(minutes(), candle=lambda s: s.notes.append(s.history(ID, "1m", 0)))
    run(strategy)
    assert strategy.notes == [[]] * 10


def test_history_keeps_a_bounded_number() -> None:
    """The latest."""
    rows = candles(HISTORY_ROWS + 5)

    class Last(Acts):
        def on_stop(self) -> None:
            self.notes += [self.history(ID, "1m", HISTORY_ROWS), self.history(ID, "1m", 2)]

    strategy = Last(minutes())
    run(strategy, rows)
    assert strategy.notes == [rows[5:], rows[-2:]]


# Timers ---------------------------------------------------------------------------------------------------------------


def test_timers_run_on_utc_multiples_and_before_rows_of_their_moment() -> None:
    """In the order in which they were started; a single one once."""

    def start(s: Any) -> None:
        minutes()(s)
        s.every("2m", "two")
        s.every("1m")
        s.at(iso_of(at(2)), "iso")
        s.at(at(2.5))
        s.at(datetime.fromtimestamp(at(3) // 10**9, tz=UTC), "moment")

    strategy = Acts(start)
    run(strategy, end_ns=at(4))
    found = [(moment / NS_PER_MIN, what) for moment, what in strategy.seen]
    assert found == [
        (1, "timer 1m"),
        (1, "candle 1m"),
        (2, "timer two"),
        (2, "timer 1m"),
        (2, "timer iso"),
        (2, "candle 1m"),
        (2.5, "timer at"),
        (3, "timer 1m"),
        (3, "timer moment"),
        (3, "candle 1m"),
        (4, "timer two"),
        (4, "timer 1m"),
        (4, "candle 1m"),
    ]


def test_timers_run_where_no_row_comes() -> None:
    """Up to the end of the run, which includes its last moment."""
    trades: list[MarketEvent] = [Trade(ID, at(m), at(m), 100.0, 1.0, Side.BUY) for m in (0, 1)]
    strategy = Acts(lambda s: (s.subscribe_trades(ID), s.every("20s")))
    run(strategy, trades)
    assert [moment // NS_PER_S for moment, what in strategy.seen if what == "timer 20s"] == [20, 40, 60]
    assert strategy.seen[-1] == (NS_PER_MIN, "trade")


def test_timers_can_be_started_in_a_hook() -> None:
    """A repeating one from its next multiple on."""

    def candle(s: Any) -> None:
        if s.now == at(2):
            s.at(s.now + 1, "soon")
            s.every("90s", "later")

    strategy = Acts(minutes(), candle)
    run(strategy, end_ns=at(5))
    timers = [(moment, what) for moment, what in strategy.seen if what.startswith("timer")]
    assert timers == [
        (2 * NS_PER_MIN + 1, "timer soon"),
        (3 * NS_PER_MIN, "timer later"),
        (int(4.5 * NS_PER_MIN), "timer later"),
    ]


def test_a_timer_in_the_past_is_refused_in_a_run_and_dropped_before_it() -> None:
    """The present moment is past already."""
    for offset in (0, -1):
        with pytest.raises(StrategyError, match=r"timer 'x': \d{4}-\S+Z is not after the present time \d{4}-\S+Z"):
            run(Acts(minutes(), candle=lambda s, d=offset: s.at(s.now + d, "x")))  # type: ignore[misc]
    strategy = Acts(lambda s: (minutes()(s), s.at(at(1), "gone"), s.at(at(3), "kept")))
    run(strategy, start_ns=at(2))
    assert [what for _, what in strategy.seen if what.startswith("timer")] == ["timer kept"]


def test_the_order_of_timers() -> None:
    """By moment, then by start; a repeating one keeps its turn."""
    timers = Timers()
    assert timers.next_ns == NEVER_NS
    timers.start_every(10, "b", 0)
    timers.start_once(10, "c")
    timers.start_once(5, "a")
    assert timers.next_ns == 5
    popped = []
    while timers.next_ns <= 20:
        popped.append((timers.next_ns, timers.pop()))
    assert popped == [(5, "a"), (10, "b"), (10, "c"), (20, "b")]
    assert timers.next_ns == 30
    timers.start_once(35, "single")
    timers.start_once(100, "late")
    timers.restart_from(50)
    assert [(due_ns, name) for due_ns, _, name, _ in sorted(timers._heap)] == [(60, "b"), (100, "late")]


def test_a_strategy_that_wakes_itself_for_ever_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rather than hanging without a word; the bound is lowered to keep the test short."""
    monkeypatch.setattr(loop, "_MAX_WAKEUPS", 1_000)
    trades: list[MarketEvent] = [Trade(ID, at(m), at(m), 100.0, 1.0, Side.BUY) for m in (0, 1)]
    busy = Acts(lambda s: (s.subscribe_trades(ID), s.at(at(0.5))), timer=lambda s: s.at(s.now + 1))
    with pytest.raises(StrategyError, match=r"Acts: 1,000 wake-ups by 2025-05-05T00:00:30.\d+Z and no row between"):
        run(busy, trades)


# Reading --------------------------------------------------------------------------------------------------------------


def test_a_book_has_to_be_subscribed_to() -> None:
    """And is None before its first snapshot."""
    books: list[MarketEvent] = [
        BookUpdate(ID, at(m), at(m), (99.0 + m,), (1.0,), (110.0,), (1.0,), m == 1) for m in (0, 1, 2)
    ]
    strategy = Acts(
        lambda s: (s.subscribe_book(ID), s.at(at(0.5)), s.at(at(1.5)), s.at(at(2))),
        timer=lambda s: s.notes.append((book := s.book(ID)) and (book.best_bid, book.received_ns)),
    )
    run(strategy, books)
    assert strategy.notes == [None, (100.0, at(1)), (100.0, at(1))]
    with pytest.raises(StrategyError, match=f"book of {ID} needs subscribe_book in on_start"):
        run(Acts(minutes(), candle=lambda s: s.book(ID)))


@pytest.mark.parametrize("read", [lambda s: s.position("ETH"), lambda s: s.book("ETH"), lambda s: s.open_orders("ETH")])
def test_instruments_that_are_not_of_the_run(read: Hook) -> None:
    """A slip in an id is told, with those there are."""
    with pytest.raises(StrategyError, match=rf"'ETH' is no instrument of this run; subscribe to it \(there are {ID}\)"):
        run(Acts(minutes(), candle=read))


def test_time_is_the_engines() -> None:
    """As a number and as a datetime."""
    strategy = Acts(minutes(), candle=lambda s: s.notes.append((s.now, s.time)))
    run(strategy, end_ns=at(1))
    assert strategy.notes == [(at(1), datetime(2025, 5, 5, 0, 1, tzinfo=UTC))]


def test_calls_reach_the_desk() -> None:
    """Once the run has begun."""

    def candle(s: Any) -> None:
        if s.now == at(1):
            s.notes.append(s.buy(ID, 1, price=60))
            s.notes.append(s.quote(ID, bid=55, ask=None, qty=1)[0])
        elif s.now == at(2):
            s.amend(s.notes[0], price=58)
        elif s.now == at(3):
            s.cancel(s.notes[0])
        elif s.now == at(4):
            assert [order.state for order in s.notes] == [OrderState.CANCELLED, OrderState.ACCEPTED]
            assert (s.notes[0].price, s.open_orders(ID)) == (58.0, [s.notes[1]])
            s.cancel_all()
        elif s.now == at(6):
            assert s.open_orders() == []
            s.notes.append(s.buy(ID, 2))
        elif s.now == at(8):
            assert s.position(ID) == 2.0
            s.notes.append(s.close(ID))

    quiet = [row for row in candles(12) if isinstance(row, Candle)]
    events: list[MarketEvent] = [msgspec.structs.replace(row, low=90.0) for row in quiet]
    strategy = Acts(minutes(), candle)
    outcome = run(strategy, events)
    assert len(strategy.notes) == 4
    assert [order.state for order in outcome.orders] == [OrderState.CANCELLED] * 2 + [OrderState.FILLED] * 2
    assert float(outcome.position_qty[ID]) == 0.0


def test_orders_in_on_stop_are_refused() -> None:
    """The run is over."""

    class Last(Acts):
        def on_stop(self) -> None:
            self.notes.append(self.buy(ID, 1))

    strategy = Last(minutes())
    outcome = run(strategy)
    assert (strategy.notes[0].state, strategy.notes[0].reason) == (OrderState.REJECTED, "stopped")
    assert outcome.fills == []
