"""What every broker keeps, whatever stands behind it: put another one into `BROKERS` and it is held to all of this.

Each test drives the broker through a real run; nothing but the names of the protocol may be asked of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from instant_broker import InstantBroker
from threaded_exchange import ThreadedBrokers

from quantkit.brokers.base import Broker, BrokerFactory, BrokerSetup, Decision, Observer, Report
from quantkit.brokers.simulated.build import simulated
from quantkit.clock import NEVER_NS, NS_PER_MS, NS_PER_S
from quantkit.engine.engine import Engine
from quantkit.engine.outcome import Outcome
from quantkit.engine.prepared import Prepared
from quantkit.events import BookUpdate, Candle, Funding, MarketEvent, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.options import RunOptions
from quantkit.orders import TRANSITIONS, Fill, Order, OrderState
from quantkit.portfolio import Portfolio
from quantkit.report.digest import result_hash
from quantkit.strategy import Strategy

BROKERS: dict[str, BrokerFactory] = {
    "simulated": simulated(RunOptions()),
    "instant": InstantBroker,
    "asynchronous": ThreadedBrokers(seed=4),
}
#: Brokers that hear of their orders from outside, between two batches: there where batches are cut is an input as well.
HEARING = {"asynchronous"}
SPOT = Instrument("AAA-USDT", price_step="0.5", qty_step="0.1", min_qty="0.2")
SWAP = Instrument("BBB-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="0.1")
IDS = (SPOT.id, SWAP.id)
ALLOWED = frozenset(name for name in dir(Broker) if not name.startswith("_"))
KINDS = ("trade", "book", "candle")
MOMENTS = 60


class Strict:
    """A broker of which nothing but the protocol can be asked; it writes down what is asked and who is told."""

    def __init__(self, factory: BrokerFactory, setup: BrokerSetup) -> None:
        self.setup = setup
        self.watch = Watch(setup.observer)
        self.delivered: list[tuple[int, Report]] = []
        self.broker = factory(setup._replace(observer=self.watch))

    def __getattr__(self, name: str) -> Any:
        assert name in ALLOWED, f"{name} is not what a broker has to have"
        return getattr(self.broker, name)

    def take_report(self) -> Report:
        assert self.broker.agenda.report_ns <= self.setup.position.now_ns
        report = self.broker.take_report()
        self.delivered.append((self.setup.position.now_ns, report))
        return report


class Watch:
    """An observer that writes down when it is told."""

    def __init__(self, observer: Observer) -> None:
        self.told: list[str] = []
        self._observer = observer

    def before_fill(self) -> None:
        self.told.append("before")
        self._observer.before_fill()

    def after_fill(self, fill: Fill) -> None:
        self.told.append(f"after {fill.id}")
        self._observer.after_fill(fill)


class Trader(Strategy):
    """Does whatever the dice say, at every timer, order event and fill."""

    kind: str

    def on_start(self) -> None:
        self.heard: list[tuple[int, str, OrderState]] = []
        self.got: list[int] = []
        for name in IDS:
            self._context.subscribe(self.kind, name, "1s" if self.kind == "candle" else "", 0)
        self.every("700ms")

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
                self.quote(SWAP.id, bid=97, ask=103, qty=1)

    def on_order(self, order: Order) -> None:
        self.heard.append((self.now, order.id, order.state))
        if len(self.heard) % 9 == 0:
            self.cancel_all()

    def on_fill(self, fill: Fill) -> None:
        self.got.append(fill.id)
        if fill.id % 5 == 0:
            self.close(fill.instrument)


class Log:
    """Keeps what a log of the run would."""

    def __init__(self) -> None:
        self.decisions: list[Decision] = []
        self.reports: list[Report] = []

    def output(self, decisions: list[Decision], reports: list[Report]) -> None:
        self.decisions += decisions
        self.reports += reports


class Run:
    """One run of a trader through a broker."""

    def __init__(self, broker: str, kind: str, *, block_rows: int | None = None, log: Log | None = None) -> None:
        self.strategy = Trader(kind=kind)
        self.brokers: list[Strict] = []
        feed = MemoryFeed(rows(kind), [SPOT, SWAP], block_rows=block_rows or (1 if broker in HEARING else 131_072))
        latency_ns = None if kind == "candle" else 20 * NS_PER_MS
        options = RunOptions(cash={"USDT": 1_000, "AAA": 5}, latency_ns=latency_ns, seed=1)
        prepared = Prepared(feed, self.strategy, options, is_live=False)
        self.engine = Engine(prepared, lambda setup: self._made(BROKERS[broker], setup), log=log)
        self.outcome: Outcome = self.engine.run()
        if broker in HEARING:
            BROKERS[broker].close()  # type: ignore[attr-defined]

    def _made(self, factory: BrokerFactory, setup: BrokerSetup) -> Broker:
        self.brokers.append(Strict(factory, setup))
        return self.brokers[-1]  # type: ignore[return-value]

    @property
    def broker(self) -> Strict:
        (broker,) = self.brokers
        return broker


def rows(kind: str) -> list[MarketEvent]:
    """Return a market of a kind that goes up and down, with funding for the swap."""
    dice, found = np.random.default_rng(7), list[MarketEvent]()
    for n in range(MOMENTS):
        at_ns = n * NS_PER_S
        for name in IDS:
            price = 100.0 + int(dice.integers(-6, 7))
            match kind:
                case "trade":
                    found.append(Trade(name, at_ns, at_ns, price, 5.0, Side.BUY if n % 2 else Side.SELL, n + 1))
                case "book":
                    levels = (price - 1, price - 2), (3.0, 9.0), (price + 1, price + 2), (3.0, 9.0)
                    found.append(BookUpdate(name, at_ns, at_ns, *levels, True))
                case _:
                    close_ns = at_ns + NS_PER_S
                    ohlc = (price, price + 3, price - 3, price + 1)
                    found.append(Candle(name, close_ns, close_ns, at_ns, close_ns, *ohlc, 50.0, "1s"))
        if n in (20, 40):
            told_ns = at_ns + NS_PER_S // 2
            found.append(Funding(SWAP.id, told_ns, told_ns, 0.001, at_ns, True))
    return sorted(found, key=lambda event: event.received_ns)


@pytest.fixture(scope="module", params=[(broker, kind) for broker in BROKERS for kind in KINDS], ids="-".join)
def run(request: pytest.FixtureRequest) -> Run:
    """A run of each broker on each kind of market."""
    return Run(*request.param)


def test_there_is_something_to_hold(run: Run) -> None:
    """Orders of every fate, so that the rest says something."""
    states = {order.state for order in run.outcome.orders}
    assert len(run.outcome.orders) > 20
    assert {OrderState.FILLED, OrderState.CANCELLED} <= states
    assert len(run.outcome.fills) > 10


def test_every_life_follows_the_graph_and_ends_once(run: Run) -> None:
    states = {order.id: OrderState.PENDING for order in run.outcome.orders}
    for report in run.broker.broker.reports:
        before = states[report.order_id]
        assert not before.is_final
        assert report.state is before or report.state in TRANSITIONS[before]
        states[report.order_id] = report.state
    assert all(state.is_final for state in states.values())


def test_reports_come_once_each_in_order_and_never_early(run: Run) -> None:
    reports: Sequence[Report] = run.broker.broker.reports
    assert [report.number for report in reports] == list(range(len(reports)))
    delivered = run.broker.delivered
    assert all(now_ns >= report.due_ns >= 0 for now_ns, report in delivered)
    numbers = [report.number for _, report in delivered]
    assert len(set(numbers)) == len(numbers)
    order = [(report.due_ns, report.number) for _, report in delivered]
    assert order == sorted(order)
    assert run.strategy.heard == [(now_ns, report.order_id, report.state) for now_ns, report in delivered]
    assert run.strategy.got == [report.fill.id for _, report in delivered if report.fill is not None]


def test_no_news_comes_before_the_message_left(run: Run) -> None:
    sent = {order.id: order.sent_ns for order in run.outcome.orders}
    assert all(now_ns >= report.at_ns >= sent[report.order_id] for now_ns, report in run.broker.delivered)


def test_fills_add_up_to_their_orders(run: Run) -> None:
    fills = run.outcome.fills
    assert [fill.id for fill in fills] == list(range(1, len(fills) + 1))
    assert [report.fill for report in run.broker.broker.reports if report.fill is not None] == fills
    for order in run.outcome.orders:
        assert order.filled_lots == sum(fill.lots for fill in fills if fill.order_id == order.id)
        assert (order.state is OrderState.FILLED) is (0 < order.filled_lots == order.lots)


def test_the_ledger_is_the_fills_and_the_funding(run: Run) -> None:
    """What was told and what is true come to the same at the end."""
    setup = run.broker.setup
    book = Portfolio({"USDT": 1_000, "AAA": 5}, [SPOT, SWAP], mark_of=setup.marks.last)
    for fill in run.outcome.fills:
        book.apply(fill)
    assert {i: p.qty for i, p in book.positions.items()} == run.outcome.position_qty
    for ledger in (setup.ledger, run.engine.reported):
        assert {i: p.qty for i, p in ledger.positions.items()} == run.outcome.position_qty
        assert ledger.cash == run.outcome.cash
        assert ledger.totals("fees") == book.totals("fees")


def test_the_observer_is_told_before_and_after_each_booking(run: Run) -> None:
    assert run.broker.watch.told == [word for fill in run.outcome.fills for word in ("before", f"after {fill.id}")]


def test_the_position_at_a_moment_is_what_fills_before_it_built_up(run: Run) -> None:
    for name in IDS:
        stamps = sorted({fill.filled_ns for fill in run.outcome.fills if fill.instrument == name})
        for boundary_ns in [0, *stamps, *(stamp + 1 for stamp in stamps), NEVER_NS]:
            built = sum(f.signed_lots for f in run.outcome.fills if f.instrument == name and f.filled_ns < boundary_ns)
            assert run.broker.broker.qty_at(name, boundary_ns) == built


def test_after_the_end_nothing_is_left(run: Run) -> None:
    broker = run.broker.broker
    assert (broker.agenda.report_ns, broker.agenda.wake_ns) == (NEVER_NS, NEVER_NS)
    assert broker.finish(MOMENTS * NS_PER_S, "again") == []


@pytest.mark.parametrize("broker", [broker for broker in BROKERS if broker not in HEARING])
@pytest.mark.parametrize("kind", KINDS)
def test_where_batches_are_cut_decides_nothing(broker: str, kind: str) -> None:
    hashes = {result_hash(Run(broker, kind, block_rows=block_rows).outcome) for block_rows in (1, 7, 131_072)}
    assert len(hashes) == 1


@pytest.mark.parametrize("broker", sorted(HEARING))
@pytest.mark.parametrize("kind", KINDS)
def test_how_threads_are_scheduled_decides_nothing(broker: str, kind: str) -> None:
    assert len({result_hash(Run(broker, kind).outcome) for _ in range(3)}) == 1


@pytest.mark.parametrize("broker", BROKERS)
def test_a_log_gets_every_message_and_every_report_once(broker: str) -> None:
    log = Log()
    run = Run(broker, "trade", log=log)
    assert log.reports == list(run.broker.broker.reports)
    assert [d.order_id for d in log.decisions if d.kind == "submit"] == [order.id for order in run.outcome.orders]
    moments = [decision.sent_ns for decision in log.decisions]
    assert moments == sorted(moments)
    assert run.broker.broker.take_decisions() == []


@pytest.mark.parametrize("broker", BROKERS)
def test_messages_to_an_order_that_is_over_change_nothing(broker: str) -> None:
    run = Run(broker, "trade")
    held = run.broker.broker
    told = len(held.reports)
    name = run.outcome.orders[0].id
    held.cancel(name, MOMENTS * NS_PER_S)
    held.amend(name, MOMENTS * NS_PER_S, lots=9, limit_ticks=None)
    run.broker.setup.position.now_ns = (MOMENTS + 10) * NS_PER_S
    held.advance((MOMENTS + 10) * NS_PER_S)
    assert len(held.reports) == told


@pytest.mark.parametrize("broker", BROKERS)
def test_notes_are_sentences(broker: str) -> None:
    notes = Run(broker, "trade").broker.broker.notes()
    assert all(isinstance(text, str) and text for texts in notes for text in texts)
