"""What commands from outside do to a run, to the nanosecond: between batches, and never to what has left before."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from cut_feed import CutFeed, Script

from quantkit.brokers.simulated.build import simulated
from quantkit.clock import NS_PER_MS, NS_PER_S
from quantkit.engine.commands import CommandName
from quantkit.engine.engine import Engine
from quantkit.engine.outcome import Outcome
from quantkit.engine.prepared import Prepared
from quantkit.events import MarketEvent, Trade
from quantkit.fees import Fees
from quantkit.instruments import Instrument, Side
from quantkit.options import RunOptions
from quantkit.orders import Fill, Order, OrderState
from quantkit.strategy import Strategy

SWAP = Instrument("AAA-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="1")
SECONDS = 12


def at(second: float) -> int:
    """Return a moment of the run."""
    return round(second * NS_PER_S)


def trades(price: float = 100.0) -> list[MarketEvent]:
    """Return a trade at each half second."""
    return [Trade(SWAP.id, at(n + 0.5), at(n + 0.5), price, 9.0, Side.SELL, n + 1) for n in range(SECONDS)]


class Doing(Strategy):
    """Does at each second what the test says, and keeps what it hears and gets."""

    deeds: Mapping[int, Callable[[Any], object]]
    resends: bool = False

    def on_start(self) -> None:
        self.heard: list[tuple[int, str, OrderState, str]] = []
        self.got: list[Fill] = []
        self.made: list[Any] = []
        self.second = self.trades = 0
        self.subscribe_trades(SWAP.id)
        self.every("1s")

    def on_trade(self, trade: Trade) -> None:
        self.trades += 1

    def on_timer(self, name: str) -> None:
        self.second += 1
        deed = self.deeds.get(self.second)
        if deed is not None:
            self.made.append(deed(self))

    def on_order(self, order: Order) -> None:
        self.heard.append((self.now, order.id, order.state, order.reason))
        if self.resends and order.state is OrderState.REJECTED:
            self.buy(SWAP.id, 1, price=90)

    def on_fill(self, fill: Fill) -> None:
        self.got.append(fill)


def run(
    deeds: Mapping[int, Callable[[Doing], object]],
    commands: Sequence[tuple[float, CommandName]],
    *,
    resends: bool = False,
    latency_ms: float = 20,
) -> tuple[Doing, Outcome, Engine]:
    """Run with batches that end at each half second; a command comes at the end of the batch of its second."""
    strategy = Doing(deeds=deeds, resends=resends)
    options = RunOptions(
        cash={"USDT": 10_000},
        match_on={"*": "trade"},
        touch=True,
        latency_ns=round(latency_ms * NS_PER_MS),
        fees=Fees(),
        start_ns=0,
        end_ns=at(SECONDS),
    )
    feed = CutFeed(trades(), [SWAP], [at(n / 2) for n in range(2 * SECONDS + 1)])
    prepared = Prepared(feed, strategy, options, is_live=True)
    script = Script([(at(second), name) for second, name in commands])
    engine = Engine(prepared, simulated(options), commands=script)
    outcome = engine.run()
    assert not script.waiting
    return strategy, outcome, engine


def buy(strategy: Doing) -> Order:
    return strategy.buy(SWAP.id, 4, price=90)


def test_a_paused_run_refuses_an_order_after_the_way_of_a_refusal() -> None:
    """Paused at 1.5, resumed at 3.5: the order of 2.0 is told at 2.02, those before and after are as ever."""
    strategy, outcome, engine = run({1: buy, 2: buy, 4: buy}, [(1.5, "pause"), (3.5, "resume")])
    states = [order.state for order in outcome.orders]
    assert states == [OrderState.CANCELLED, OrderState.REJECTED, OrderState.CANCELLED]
    assert outcome.orders[1].reason == "paused"
    assert (at(2.02), "bt2", OrderState.REJECTED, "paused") in strategy.heard
    assert [h for h in strategy.heard if h[1] == "bt2"] == [(at(2.02), "bt2", OrderState.REJECTED, "paused")]
    (event,) = [event for event in outcome.order_events if event.order_id == "bt2"]
    assert (event.at_ns, event.reported_ns, event.state, event.reason) == (
        at(2),
        at(2.02),
        OrderState.REJECTED,
        "paused",
    )
    assert [command.name for command in engine.commands] == ["pause", "resume"]
    assert not engine.is_paused


def test_hooks_run_on_while_the_run_is_paused() -> None:
    strategy, _, engine = run({}, [(0.5, "pause")])
    assert (strategy.trades, strategy.second) == (SECONDS, SECONDS)
    assert engine.is_paused


def test_what_rests_at_the_exchange_fills_while_the_run_is_paused() -> None:
    """A pause is about what is to come: the order of before is at the exchange."""
    strategy, _, _ = run({1: lambda s: s.buy(SWAP.id, 1, price=100)}, [(1.0, "pause")])
    (fill,) = strategy.got
    assert fill.filled_ns > at(1.0)


def test_a_change_is_refused_and_the_order_stays_as_it_was() -> None:
    def change(strategy: Doing) -> None:
        strategy.amend(strategy.made[0], qty=2, price=80)

    strategy, outcome, _ = run({1: buy, 3: change}, [(2.0, "pause")])
    assert (at(3.02), "bt1", OrderState.ACCEPTED, "amend_refused: paused") in strategy.heard
    (order,) = outcome.orders
    assert (order.qty, order.price) == (4, 90)


def test_a_change_of_an_order_that_fills_meanwhile_is_told_in_order() -> None:
    """The fill of 3.5 is told at 3.52, behind the refusal of 3.0: nothing of an order goes back."""
    strategy, outcome, _ = run(
        {
            1: lambda s: s.buy(SWAP.id, 1, price=99),
            3: lambda s: s.amend(s.made[0], price=100),
            4: lambda s: s.amend(s.made[0], price=100),
            6: lambda s: s.amend(s.made[0], price=98),
        },
        [(2.5, "pause"), (3.5, "resume"), (5.5, "pause")],
    )
    assert [(state, reason) for _, _, state, reason in strategy.heard] == [
        (OrderState.ACCEPTED, ""),
        (OrderState.ACCEPTED, "amend_refused: paused"),
        (OrderState.ACCEPTED, "amended"),
        (OrderState.FILLED, ""),
    ]
    assert outcome.orders[0].state is OrderState.FILLED


class Changing(Strategy):
    """Buys at the first trade and changes that at the fourth; writes down when it hears of trades and refusals."""

    def on_start(self) -> None:
        self.order: Order | None = None
        self.heard: list[tuple[int, str]] = []
        self.subscribe_trades(SWAP.id)

    def on_trade(self, trade: Trade) -> None:
        self.heard.append((self.now, "trade"))
        if self.order is None:
            self.order = self.buy(SWAP.id, 4, price=90)
        elif len(self.heard) == 4:
            self.amend(self.order, price=91)

    def on_order(self, order: Order) -> None:
        if order.reason:
            self.heard.append((self.now, order.reason))


def test_a_refused_change_is_told_between_the_rows_of_its_batch() -> None:
    """Rows run on until something is due: the hook that changed something has them looked at anew."""
    moments = [at(1), at(2), *(at(3) + n * 8 * NS_PER_MS for n in range(6))]
    rows: list[MarketEvent] = [Trade(SWAP.id, m, m, 100.0, 9.0, Side.SELL, n) for n, m in enumerate(moments, 1)]
    strategy = Changing()
    options = RunOptions(
        cash={"USDT": 10_000},
        match_on={"*": "trade"},
        latency_ns=20 * NS_PER_MS,
        fees=Fees(),
        start_ns=0,
        end_ns=at(4),
    )
    feed = CutFeed(rows, [SWAP], [at(n / 2) for n in range(9)])
    Engine(
        Prepared(feed, strategy, options, is_live=True), simulated(options), commands=Script([(at(2.5), "pause")])
    ).run()
    heard_ms = [(now_ns - at(3)) / NS_PER_MS for now_ns, _ in strategy.heard]
    assert heard_ms[3:8] == [8, 16, 24, 28, 32]
    assert strategy.heard[6] == (at(3.028), "amend_refused: paused")


def test_the_strategy_may_cancel_while_the_run_is_paused() -> None:
    strategy, outcome, _ = run({1: buy, 3: lambda s: s.cancel(s.made[0])}, [(2.0, "pause")])
    assert outcome.orders[0].reason == "requested"
    assert [h[2:] for h in strategy.heard] == [(OrderState.ACCEPTED, ""), (OrderState.CANCELLED, "requested")]


def test_cancel_all_goes_the_way_of_every_cancel() -> None:
    """It leaves at the end of the batch, and its report comes back as for the strategy's own."""
    strategy, outcome, _ = run({1: buy, 2: buy}, [(3.0, "cancel_all")])
    assert [order.reason for order in outcome.orders] == ["requested", "requested"]
    cancelled = [event for event in outcome.order_events if event.state is OrderState.CANCELLED]
    assert [(event.at_ns, event.reported_ns) for event in cancelled] == [(at(3.02), at(3.04))] * 2
    own, other, _ = run({1: buy, 2: buy, 3: lambda s: s.cancel_all()}, [])
    assert other.order_events == outcome.order_events
    assert own.heard == strategy.heard


def test_a_target_waits_until_the_run_is_resumed() -> None:
    """It is asked for at each second: refused while the run is paused, reached afterwards, and only once."""

    def want(strategy: Doing) -> Order | None:
        return strategy.target(SWAP.id, 3)

    strategy, outcome, _ = run(dict.fromkeys(range(2, 9), want), [(1.0, "pause"), (4.5, "resume")])
    assert [(order.state, order.reason) for order in outcome.orders] == [
        *[(OrderState.REJECTED, "paused")] * 3,
        (OrderState.FILLED, ""),
    ]
    assert strategy.position(SWAP.id) == 3


def test_a_quote_waits_until_the_run_is_resumed() -> None:
    def quote(strategy: Doing) -> object:
        return strategy.quote(SWAP.id, bid=90.0, ask=None, qty=2)

    _, outcome, _ = run(dict.fromkeys(range(2, 7), quote), [(1.0, "pause"), (4.5, "resume")])
    assert [order.state for order in outcome.orders] == [*[OrderState.REJECTED] * 3, OrderState.CANCELLED]


@pytest.mark.parametrize(("latency_ms", "count"), [(0, 501), (20, 26)])
def test_a_strategy_that_answers_refusals_does_so_in_time_that_passes(latency_ms: float, count: int) -> None:
    """Half a second of pause: no order a nanosecond, whatever the latency."""
    _, outcome, _ = run({2: buy}, [(1.5, "pause"), (2.5, "resume")], resends=True, latency_ms=latency_ms)
    refused = [order for order in outcome.orders if order.reason == "paused"]
    assert abs(len(refused) - count) <= 1


def test_a_refused_order_can_be_changed_and_cancelled_without_effect() -> None:
    """Before its refusal is told, and after; paused, and resumed before it is told."""

    def deed(strategy: Doing) -> Order:
        order = buy(strategy)
        strategy.amend(order, qty=1)
        strategy.cancel(order)
        return order

    _, outcome, _ = run({2: deed, 3: lambda s: (s.amend(s.made[0], qty=2), s.cancel(s.made[0]))}, [(1.0, "pause")])
    (order,) = outcome.orders
    assert (order.state, order.reason) == (OrderState.REJECTED, "paused")
    assert [event.reason for event in outcome.order_events] == ["paused"]


def test_commands_of_one_moment_are_taken_in_their_order() -> None:
    _, outcome, engine = run({1: buy, 3: buy}, [(2.0, "pause"), (2.0, "cancel_all"), (2.0, "resume"), (2.0, "stop")])
    assert [command.name for command in engine.commands] == ["pause", "cancel_all", "resume", "stop"]
    assert {command.taken_ns for command in engine.commands} == {at(2)}
    assert [order.reason for order in outcome.orders] == ["requested", "end_of_data"]


def test_the_result_says_what_came_from_outside() -> None:
    _, outcome, _ = run({}, [(1.5, "pause"), (2.5, "resume")])
    (said,) = [warning for warning in outcome.warnings if "outside" in warning]
    assert said == (
        "2 commands from outside: pause at 1970-01-01T00:00:01.5Z (test), resume at 1970-01-01T00:00:02.5Z (test)"
    )
    _, many, _ = run({}, [(1.0, "pause"), (1.0, "resume")] * 8)
    (said,) = [warning for warning in many.warnings if "outside" in warning]
    assert said.startswith("16 commands from outside, the last 10: pause at ")
    _, none, _ = run({}, [])
    assert not [warning for warning in none.warnings if "outside" in warning]


def test_the_end_of_the_run_still_stops_a_paused_one() -> None:
    """`on_stop` finds orders refused because the run has stopped, paused or not."""

    class Last(Doing):
        def on_stop(self) -> None:
            self.last = self.buy(SWAP.id, 1)

    strategy = Last(deeds={})
    options = RunOptions(cash={"USDT": 10_000}, match_on={"*": "trade"}, start_ns=0, end_ns=at(SECONDS))
    prepared = Prepared(CutFeed(trades(), [SWAP], [0, at(5), at(12)]), strategy, options, is_live=True)
    Engine(prepared, simulated(options), commands=Script([(at(5), "pause")])).run()
    assert (strategy.last.state, strategy.last.reason) == (OrderState.REJECTED, "stopped")
