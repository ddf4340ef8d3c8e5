"""Commands at any place of any run: it gives the same again from its log, and a pause holds what it promises."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from cut_feed import CutFeed, ListLog, Script
from hypothesis import given, settings
from hypothesis import strategies as st
from instant_broker import InstantBroker
from threaded_exchange import ThreadedBrokers

from quantkit.brokers.asynchronous.broker import repeated
from quantkit.brokers.base import BrokerFactory
from quantkit.brokers.simulated.build import simulated
from quantkit.clock import NS_PER_MS, NS_PER_S
from quantkit.engine.commands import COMMANDS, CommandName, RunCommand
from quantkit.engine.engine import Engine
from quantkit.engine.outcome import Outcome
from quantkit.engine.prepared import Prepared
from quantkit.events import BookUpdate, MarketEvent, Trade
from quantkit.instruments import Instrument, Side
from quantkit.live.journal import InputBatch, Output, Started
from quantkit.live.replayer import CutShortError, LogReplayer
from quantkit.options import RunOptions
from quantkit.orders import TRANSITIONS, Fill, Order, OrderState
from quantkit.report.digest import result_hash
from quantkit.strategy import Strategy

SPOT = Instrument("AAA-USDT", price_step="0.5", qty_step="0.1", min_qty="0.2")
SWAP = Instrument("BBB-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.1")
IDS = (SPOT.id, SWAP.id)
SECONDS = 8
OPTIONS = RunOptions(
    cash={"USDT": 1_000, "AAA": 5}, latency_ns=20 * NS_PER_MS, seed=4, start_ns=-1, end_ns=SECONDS * NS_PER_S
)
STARTED = Started(
    version=4,
    opened_ns=1,
    strategy="mine:Mine",
    source=None,
    strategy_digest=None,
    parameters={},
    config={},
    instruments=[],
    versions={},
)


class Trader(Strategy):
    """Does whatever the dice say, at every timer, order event and fill."""

    def on_start(self) -> None:
        for name in IDS:
            self.subscribe_book(name)
            self.subscribe_trades(name)
        self.every("300ms")

    def on_timer(self, name: str) -> None:
        instrument = IDS[int(self.rng.integers(2))]
        open_orders = self.open_orders()
        match int(self.rng.integers(7)):
            case 0:
                self.buy(instrument, float(self.rng.integers(1, 5)))
            case 1 if self.position(instrument) > 0:
                self.sell(instrument, self.position(instrument), tag="out")
            case 2:
                self.buy(instrument, 1, price=float(self.rng.integers(95, 106)))
            case 3 if open_orders:
                self.cancel(open_orders[0])
            case 4 if open_orders and open_orders[-1].price is not None:
                self.amend(open_orders[-1], qty=2, price=99)
            case 5:
                self.target(SWAP.id, float(self.rng.integers(-3, 4)))
            case _:
                self.quote(SWAP.id, bid=float(self.rng.integers(84, 90)), ask=103, qty=1)

    def on_order(self, order: Order) -> None:
        if order.reason == "paused" and self.rng.random() < 0.5:
            self.buy(SWAP.id, 1, price=98)

    def on_fill(self, fill: Fill) -> None:
        if fill.id % 5 == 0:
            self.close(fill.instrument)


def rows() -> list[MarketEvent]:
    """Return books and trades of two instruments that go up and down."""
    dice, found = np.random.default_rng(7), list[MarketEvent]()
    for n in range(SECONDS * 4):
        at_ns = n * NS_PER_S // 4
        for name in IDS:
            price = 100.0 + int(dice.integers(-6, 7))
            levels = (price - 1, price - 2), (3.0, 9.0), (price + 1, price + 2), (3.0, 9.0)
            found.append(BookUpdate(name, at_ns, at_ns, *levels, True))
            found.append(Trade(name, at_ns + 7, at_ns + 7, price, 5.0, Side.BUY if n % 2 else Side.SELL, n + 1))
    return sorted(found, key=lambda event: event.received_ns)


ROWS = rows()
Commanded = list[tuple[int, CommandName]]


@st.composite
def commanded(draw: st.DrawFn) -> tuple[list[int], Commanded]:
    """Generate where batches end, and commands at some of these ends."""
    inner = draw(st.lists(st.integers(1, SECONDS * 1000 - 1), min_size=3, max_size=30, unique=True))
    cuts = [-1, *(at_ms * NS_PER_MS for at_ms in sorted(inner)), SECONDS * NS_PER_S]
    ends = draw(st.lists(st.sampled_from(cuts[1:]), min_size=1, max_size=12))
    return cuts, [(at_ns, draw(st.sampled_from(COMMANDS))) for at_ns in sorted(ends)]


def live(kind: str, cuts: Sequence[int], commands: Commanded, seed: int) -> tuple[ListLog, Outcome]:
    """Run with commands, and return the log of it beside what it came to."""
    log = ListLog()
    log.write(STARTED)
    threaded = ThreadedBrokers(seed, log)
    brokers: dict[str, BrokerFactory] = {
        "simulated": simulated(OPTIONS),
        "instant": InstantBroker,
        "asynchronous": threaded,
    }
    prepared = Prepared(CutFeed(ROWS, [SPOT, SWAP], cuts, log), Trader(), OPTIONS, is_live=True)
    try:
        return log, Engine(prepared, brokers[kind], log=log, commands=Script(commands, log)).run()
    finally:
        threaded.close()


def again(kind: str, cuts: Sequence[int], entries: Sequence[Any]) -> Outcome:
    """Run once more from a log."""
    log = LogReplayer(iter(entries))
    brokers: dict[str, Callable[[], BrokerFactory]] = {
        "simulated": lambda: simulated(OPTIONS),
        "instant": lambda: InstantBroker,
        "asynchronous": lambda: repeated("threaded", log.news),
    }
    prepared = Prepared(CutFeed(ROWS, [SPOT, SWAP], cuts, log), Trader(), OPTIONS, is_live=True)
    return Engine(prepared, brokers[kind](), log=log, commands=log.commands).run()


@pytest.mark.parametrize("kind", ["simulated", "instant", "asynchronous"])
@settings(max_examples=15, deadline=None)
@given(commanded(), st.integers(0, 5), st.floats(0.0, 1.0))
def test_a_run_with_commands_repeats(kind: str, run: tuple[list[int], Commanded], seed: int, share: float) -> None:
    cuts, commands = run
    log, outcome = live(kind, cuts, commands, seed)
    taken = sum(isinstance(entry, RunCommand) for entry in log.entries)
    assert taken == len(commands) or outcome.ended == "bankrupt"
    assert result_hash(again(kind, cuts, log.entries)) == result_hash(outcome)
    # Killed anywhere, also right behind a command.
    places = [n + 1 for n, entry in enumerate(log.entries[:-1]) if isinstance(entry, RunCommand)]
    for end in {1 + int(share * (len(log.entries) - 2)), *places[:2]}:
        with pytest.raises(CutShortError):
            again(kind, cuts, log.entries[:end])
    _check_pauses(log)
    _check_lives(outcome)


def _check_pauses(log: ListLog) -> None:
    """While the run was paused, nothing left but cancels."""
    is_paused = was_paused = False
    for entry in log.entries:
        match entry:
            case InputBatch():
                was_paused = is_paused
            case RunCommand(name="pause"):
                is_paused = True
            case RunCommand(name="resume"):
                is_paused = False
            case Output() if was_paused:
                assert {decision.kind for decision in entry.decisions} <= {"cancel"}
            case _:
                pass


def _check_lives(outcome: Outcome) -> None:
    """Every order follows the graph to one end, and a refused one has no other news."""
    states = {order.id: OrderState.PENDING for order in outcome.orders}
    for event in outcome.order_events:
        before = states[event.order_id]
        assert not before.is_final
        assert event.state is before or event.state in TRANSITIONS[before]
        assert event.reason != "paused" or before is OrderState.PENDING
        states[event.order_id] = event.state
    assert all(state.is_final for state in states.values())
    assert states == {order.id: order.state for order in outcome.orders}


def test_there_is_something_to_hold() -> None:
    """Orders and changes are refused, and cancels leave all the same."""
    cuts = [-1, *(n * NS_PER_S for n in range(1, SECONDS + 1))]
    commands: Commanded = [(3 * NS_PER_S, "pause"), (6 * NS_PER_S, "cancel_all"), (7 * NS_PER_S, "resume")]
    log, outcome = live("simulated", cuts, commands, 0)
    reasons = {event.reason for event in outcome.order_events}
    assert {"paused", "amend_refused: paused", "requested"} <= reasons
    plain = live("simulated", cuts, [], 0)[1]
    assert result_hash(plain) != result_hash(outcome)
    changed = [entry for entry in log.entries if not isinstance(entry, RunCommand)]
    with pytest.raises(Exception, match=r"decision|order event|what was done"):
        again("simulated", cuts, changed)
