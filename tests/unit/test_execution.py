"""Icebergs and slices over time, in replay on books, trades and candles: what is sent when, and never too much."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as generators
from sized_runs import SPOT, START_NS, SWAP, books, candles, trades

import quantkit as qk
from quantkit.clock import NS_PER_S
from quantkit.errors import OrderError, StrategyError
from quantkit.events import MarketEvent, Trade
from quantkit.execution import PartedOrder
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side

Call = Callable[["Worker"], Any]


class Worker(qk.Strategy):
    """Makes calls at rows of its choice; writes down what is open and filled whenever it hears of an order."""

    def __init__(self, kind: str, instrument: Instrument, calls: dict[int, Call]) -> None:
        super().__init__()
        self.kind, self.traded, self.calls = kind, instrument, calls
        self.seen = 0
        self.worked: PartedOrder | None = None
        self.timers: list[str] = []
        self.moments: list[tuple[float, float]] = []  # filled, open

    def on_start(self) -> None:
        if self.kind == "candle":
            self.subscribe_candles(self.traded.id, "1m")
        elif self.kind == "book":
            self.subscribe_book(self.traded.id)
            self.subscribe_trades(self.traded.id)
        else:
            self.subscribe_trades(self.traded.id)
        self._call(0)

    def _call(self, number: int) -> None:
        if number in self.calls:
            made = self.calls[number](self)
            if isinstance(made, PartedOrder):
                self.worked = made

    def on_candle(self, candle: qk.Candle) -> None:
        self.seen += 1
        self._call(self.seen)

    def on_trade(self, trade: Trade) -> None:
        self.seen += 1
        self._call(self.seen)

    def on_timer(self, name: str) -> None:
        self.timers.append(name)

    def on_order(self, order: qk.Order) -> None:
        if self.worked is not None:
            left = sum(part.remaining_qty for part in self.worked.open_orders)
            self.moments.append((self.worked.filled_qty, left))


def work(
    kind: str, rows: list[MarketEvent], instrument: Instrument, calls: dict[int, Call], **options: Any
) -> tuple[Worker, qk.Result]:
    """Run a worker over rows; without fees and delays unless told otherwise."""
    strategy = Worker(kind, instrument, calls)
    options = {"cash": {"USDT": 1_000_000}, "fees": qk.Fees(), "latency_ms": 0} | options
    return strategy, qk.backtest(strategy, data=MemoryFeed(rows, [instrument]), **options)


def parts(strategy: Worker) -> list[tuple[float, str, float]]:
    """Return size, state and filled size of every part."""
    assert strategy.worked is not None
    return [(order.qty, order.state, order.filled_qty) for order in strategy.worked.orders]


def iceberg(qty: float, shown: float, price: float = 100.0, side: str = "buy", **more: Any) -> Call:
    """Return a call that makes an iceberg."""
    return lambda s: qk.Iceberg(s, s.traded.id, side, qty, price=price, shown_qty=shown, **more)


def twap(qty: float, over: str, slices: Any, side: str = "buy", **more: Any) -> Call:
    """Return a call that makes slices."""
    return lambda s: qk.Twap(s, s.traded.id, side, qty, over=over, slices=slices, **more)


# Icebergs -------------------------------------------------------------------------------------------------------------


def test_an_iceberg_shows_one_part_after_the_other_on_trades() -> None:
    """Each trade through the price fills the part that is there; the next one is sent with the report."""
    rows = trades(SWAP, 101, 101, 99, 101, 99, 101, 99, 101, 99)
    strategy, result = work("trade", rows, SWAP, {1: iceberg(10, 4)})
    assert parts(strategy) == [(4, "filled", 4), (4, "filled", 4), (2, "filled", 2)]
    assert [fill.price for fill in result.outcome.fills] == [100, 100, 100]
    assert strategy.worked is not None
    assert (strategy.worked.is_over, strategy.worked.reason, strategy.worked.filled_qty) == (True, "", 10)
    assert (strategy.worked.qty, strategy.worked.open_orders) == (10, [])
    assert all(left <= 4 and filled + left <= 10 for filled, left in strategy.moments)


def test_an_iceberg_queues_anew_on_a_book() -> None:
    """Each part stands behind the size displayed when it comes: 5 in front, then what is there by then."""
    rows = books(SWAP, *[({100.0: 5.0}, {101.0: 5.0})] * 8)
    prints = [
        Trade(SWAP.id, START_NS + n * NS_PER_S + 1, START_NS + n * NS_PER_S + 1, 100.0, 7.0, Side.SELL)
        for n in range(1, 7)
    ]
    merged = sorted([*rows, *prints], key=lambda row: row.received_ns)
    strategy, _ = work("book", merged, SWAP, {1: iceberg(5, 2)})
    assert strategy.worked is not None
    assert [qty for qty, _, _ in parts(strategy)] == [2, 2, 1]
    assert strategy.worked.filled_qty == 5
    assert all(left <= 2 and filled + left <= 5 for filled, left in strategy.moments)


def test_an_iceberg_on_candles_and_a_sale() -> None:
    """One part a candle, above the market."""
    rows = candles(SWAP, 100, 102, 100, 102, 102, 102)
    strategy, _ = work("candle", rows, SWAP, {1: iceberg(5, 2, 101.0, "sell", tag="ice")})
    assert strategy.worked is not None
    assert [(order.filled_qty, order.tag) for order in strategy.worked.orders] == [(2, "ice"), (2, "ice"), (1, "ice")]


def test_the_rest_of_an_iceberg_is_never_below_the_smallest_order() -> None:
    """0.005 in parts of 0.003 where 0.002 is the smallest: 0.003 and 0.002; 0.007 is 0.003, 0.002, 0.002."""
    for qty, sizes in ((0.005, [0.003, 0.002]), (0.007, [0.003, 0.002, 0.002]), (0.003, [0.003])):
        strategy, _ = work("trade", trades(SPOT, 101, *[99] * 8), SPOT, {1: iceberg(qty, 0.003)})
        assert [size for size, _, _ in parts(strategy)] == sizes
    # Where no cut helps, the rest is left over.
    strategy, _ = work("trade", trades(SPOT, 101, *[99] * 8), SPOT, {1: iceberg(0.003, 0.002)})
    assert strategy.worked is not None
    assert [size for size, _, _ in parts(strategy)] == [0.002]
    assert (strategy.worked.is_over, strategy.worked.reason) == (True, "below_min_qty")


@pytest.mark.parametrize(
    ("calls", "states", "reason"),
    [
        # Its own cancel, one of all orders, a refusal, and the end of the data.
        ({1: iceberg(10, 4), 3: lambda s: s.worked.cancel()}, [("cancelled", 0)], "requested"),
        ({1: iceberg(10, 4), 3: lambda s: s.cancel_all()}, [("cancelled", 0)], "requested"),
        ({1: iceberg(10, 4, 102.0, post_only=True)}, [("rejected", 0)], "post_only_would_take"),
        ({1: iceberg(10, 4)}, [("cancelled", 0)], ""),
        ({0: iceberg(10, 4)}, [("rejected", 0)], "warmup"),
        ({1: iceberg(10, 4, reduce_only=True)}, [("rejected", 0)], "reduce_only_no_position"),
    ],
)
def test_how_an_iceberg_ends_early(calls: dict[int, Call], states: list[tuple[str, float]], reason: str) -> None:
    """With the part that ended unfilled; nothing more is sent."""
    strategy, _ = work("trade", trades(SWAP, *[101] * 6), SWAP, calls)
    assert strategy.worked is not None
    assert [(state, filled) for _, state, filled in parts(strategy)] == states
    assert strategy.worked.reason == reason
    assert strategy.worked.is_over == bool(reason)


def test_a_cancel_after_the_end_changes_nothing() -> None:
    """Nor does a second one."""
    calls = {1: iceberg(2, 4), 5: lambda s: s.worked.cancel(), 6: lambda s: s.worked.cancel()}
    strategy, _ = work("trade", trades(SWAP, 101, *[99] * 8), SWAP, calls)
    assert strategy.worked is not None
    assert (parts(strategy), strategy.worked.reason) == ([(2, "filled", 2)], "")


# Slices ---------------------------------------------------------------------------------------------------------------


def test_slices_come_at_equal_distances() -> None:
    """10 contracts in 4 slices over 4 seconds: 2, 3, 2, 3; the timers are not the strategy's."""
    strategy, result = work("trade", trades(SWAP, *[100] * 9), SWAP, {1: twap(10, "4s", 4)})
    assert [qty for qty, _, _ in parts(strategy)] == [2, 3, 2, 3]
    sent = [(order.sent_ns - START_NS) / NS_PER_S for order in result.outcome.orders]
    assert sent == [0, 1, 2, 3]
    assert strategy.timers == []
    assert strategy.worked is not None
    assert (strategy.worked.is_over, strategy.worked.filled_qty, strategy.worked.reason) == (True, 10, "")


def test_slices_on_candles_and_books() -> None:
    """Market orders wait for the next open; on a book they take what is displayed, and the rest comes later."""
    strategy, _ = work("candle", candles(SWAP, *[100] * 6), SWAP, {1: twap(4, "4m", 4, "sell")})
    assert [filled for _, _, filled in parts(strategy)] == [1, 1, 1, 1]
    rows: list[MarketEvent] = books(SWAP, *[({99.0: 5.0}, {100.0: 3.0})] * 8)
    rows += trades(SWAP, *[100] * 8)
    rows.sort(key=lambda row: row.received_ns)
    strategy, _ = work("book", rows, SWAP, {1: twap(10, "4s", 4)})
    assert strategy.worked is not None
    assert all(filled <= 3 for _, _, filled in parts(strategy))
    # The pace asks for 2 (filled), 5, 7, 10: what a thin book left over comes with the next slice.
    assert [qty for qty, _, _ in parts(strategy)][:2] == [2, 3]
    assert strategy.worked.filled_qty <= 10
    assert all(filled + left <= 10 for filled, left in strategy.moments)


def test_slices_with_a_limit_catch_up() -> None:
    """The price is too high for the second and the third; the fourth brings what they left."""
    rows = trades(SWAP, 99, 99, 102, 102, 102, 99, 99, 99, 99)
    strategy, _ = work("trade", rows, SWAP, {1: twap(8, "8s", 4, price=101.0)})
    assert strategy.worked is not None
    assert [(qty, filled) for qty, _, filled in parts(strategy)] == [(2, 2), (2, 0), (4, 0), (6, 6)]
    assert strategy.worked.filled_qty == 8
    assert strategy.worked.reason == "ioc_unfilled"


def test_slices_below_the_smallest_order_wait_for_the_next_one() -> None:
    """0.005 in 5 slices, 0.002 the smallest: 0.002 with the second, the rest with the last."""
    strategy, _ = work("trade", trades(SPOT, *[100] * 9), SPOT, {1: twap(0.005, "5s", 5)})
    assert [qty for qty, _, _ in parts(strategy)] == [0.002, 0.003]


@pytest.mark.parametrize(
    ("calls", "sizes", "reason"),
    [
        ({1: twap(4, "4s", 4), 3: lambda s: s.worked.cancel()}, [1, 1, 1], "requested"),
        ({0: twap(4, "4s", 4)}, [1], "warmup"),
        # Refused again and again, and at the end it is over.
        ({1: twap(4_000_000, "4s", 4)}, [1e6, 2e6, 3e6, 4e6], "insufficient_margin"),
    ],
)
def test_how_slices_end_early(calls: dict[int, Call], sizes: list[float], reason: str) -> None:
    """No slice follows a cancel; each slice that is refused is tried again with the next one."""
    strategy, _ = work("trade", trades(SWAP, *[101] * 9), SWAP, calls, cash={"USDT": 1_000})
    assert strategy.worked is not None
    assert [qty for qty, _, _ in parts(strategy)] == sizes
    assert (strategy.worked.is_over, strategy.worked.reason) == (True, reason)


def test_slices_that_the_data_end_before() -> None:
    """What is not sent by then never is."""
    strategy, _ = work("trade", trades(SWAP, *[100] * 3), SWAP, {1: twap(4, "8s", 4)})
    assert strategy.worked is not None
    assert len(strategy.worked.orders) == 2
    assert not strategy.worked.is_over


# What is refused, and who is told ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (iceberg(0, 1), "qty is 0; give a number of at least one step"),
        (iceberg(float("nan"), 1), "qty is nan"),
        (iceberg(float("inf"), 1), "qty is inf"),
        (lambda s: qk.Iceberg(s, SWAP.id, "buy", "much", price=1.0, shown_qty=1), "qty is 'much'"),
        (iceberg(5, 0.1), "shown_qty is 0.1"),
        (iceberg(5, 1, side="long"), "side 'long' is not known; use buy or sell"),
        (twap(5, "4s", 0), "slices is 0"),
        (twap(5, "4s", 2.5), "slices is 2.5"),
        (twap(5, "soon", 2), "soon"),
    ],
)
def test_numbers_that_cannot_be_worked(call: Call, message: str) -> None:
    """One line at the call."""
    with pytest.raises(StrategyError, match=message):
        work("trade", trades(SWAP, *[100] * 3), SWAP, {1: call})


def test_parts_below_the_smallest_order_are_refused() -> None:
    """They would be refused one by one."""
    with pytest.raises(StrategyError, match="shown_qty is below the smallest order") as raised:
        work("trade", trades(SPOT, *[100] * 3), SPOT, {1: iceberg(1, 0.001)})
    assert isinstance(raised.value.__cause__, OrderError)


def test_an_iceberg_needs_a_limit() -> None:
    """A market order displays nothing."""
    call: Call = lambda strategy: qk.Iceberg(strategy, SWAP.id, "buy", 10, price=None, shown_qty=2)  # type: ignore[arg-type]  # noqa: E731
    with pytest.raises(StrategyError, match="price is None; give a limit") as raised:
        work("trade", trades(SWAP, *[100] * 3), SWAP, {1: call})
    assert isinstance(raised.value.__cause__, OrderError)


def test_an_algorithm_of_ones_own_hears_of_orders_and_its_timers() -> None:
    """Before the strategy's hooks, until it says that it is over."""

    class Own:
        def __init__(self, strategy: Worker) -> None:
            self.is_over = False
            self.heard: list[str] = []
            strategy.at(START_NS + 2 * NS_PER_S + 1, strategy.follow(self))
            strategy.at(START_NS + 6 * NS_PER_S + 1, "mine")

        def on_order(self, order: qk.Order) -> None:
            self.heard.append(order.state)
            self.is_over = order.state == "filled"

        def on_timer(self, name: str) -> None:
            self.heard.append("timer")

    made: list[Own] = []

    def call(strategy: Worker) -> None:
        made.append(Own(strategy))
        strategy.at(START_NS + 5 * NS_PER_S + 1, strategy.follow(made[0]))

    calls: dict[int, Call] = {1: call, 4: lambda s: s.buy(SWAP.id, 1), 7: lambda s: s.buy(SWAP.id, 1)}
    strategy, _ = work("trade", trades(SWAP, *[100] * 10), SWAP, calls)
    assert made[0].heard == ["timer", "accepted", "accepted", "filled"]
    assert strategy.timers == ["mine"]


# Whatever comes -------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    generators.sampled_from(("trade", "book")),
    generators.lists(
        generators.tuples(generators.integers(97, 103), generators.integers(1, 9)), min_size=5, max_size=40
    ),
    generators.booleans(),
    generators.integers(1, 30),
    generators.integers(1, 9),
    generators.sampled_from((0, 20, 1_500)),
    generators.none() | generators.integers(2, 20),
)
def test_never_more_than_the_whole_and_never_more_shown(
    kind: str,
    prints: list[tuple[int, int]],
    is_iceberg: bool,
    qty: int,
    shown: int,
    latency_ms: int,
    cancelled_at: int | None,
) -> None:
    """On any prices, with partial fills, delays and cancels in between; the same in every run."""
    rows: list[MarketEvent] = []
    for n, (price, size) in enumerate(prints):
        at = START_NS + n * NS_PER_S
        if kind == "book":
            rows += books(SWAP, ({price - 1.0: float(size)}, {price + 1.0: float(size)}))
            rows[-1] = type(rows[-1])(SWAP.id, at, at, *[getattr(rows[-1], f) for f in rows[-1].__struct_fields__[3:]])
        side = Side.SELL if (price + size) % 2 else Side.BUY
        rows.append(Trade(SWAP.id, at, at, float(price), float(size), side))
    calls: dict[int, Call] = {1: iceberg(qty, shown) if is_iceberg else twap(qty, "12s", shown)}
    if cancelled_at is not None:
        calls[cancelled_at] = lambda s: s.worked.cancel()
    runs = [work(kind, rows, SWAP, calls, latency_ms=latency_ms) for _ in range(2)]
    strategy, result = runs[0]
    assert result.hash == runs[1][1].hash
    assert strategy.worked is not None
    assert strategy.worked.filled_qty <= qty
    for filled, left in strategy.moments:
        assert filled + left <= qty
        assert not is_iceberg or left <= shown
    if is_iceberg:
        assert all(order.qty <= shown for order in strategy.worked.orders)
        assert all(later.sent_ns >= earlier.updated_ns for earlier, later in pairs(strategy.worked.orders))


def pairs(orders: list[qk.Order]) -> list[tuple[qk.Order, qk.Order]]:
    """Return neighbours."""
    return list(itertools.pairwise(orders))
