"""The broker behind a gateway: what leaves, what is booked, and what is told at the end."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from threaded_exchange import ThreadedBrokers

from quantkit.brokers.asynchronous.broker import FATE_UNKNOWN, AsyncBroker, asynchronous, repeated
from quantkit.brokers.asynchronous.input_queue import InputQueue
from quantkit.brokers.asynchronous.inputs import (
    Acknowledged,
    Cancelled,
    CancelRefused,
    Executed,
    InputSink,
    OrderInput,
    OutcomeUnknown,
    Rejected,
)
from quantkit.brokers.asynchronous.reducer import LATE_FILL
from quantkit.brokers.base import BrokerSetup
from quantkit.brokers.send_clock import SendClock
from quantkit.clock import NS_PER_S
from quantkit.engine.engine import Engine
from quantkit.engine.outcome import Outcome
from quantkit.engine.prepared import Prepared
from quantkit.events import BookUpdate, MarketEvent, Trade
from quantkit.feeds.replay import MemoryFeed
from quantkit.instruments import Instrument, Side
from quantkit.options import RunOptions
from quantkit.orders import Fill, Order, OrderState, TriggerPrices
from quantkit.simulated import simulated_run
from quantkit.strategy import Strategy

SWAP = Instrument("AAA-USDT-SWAP", kind="swap", price_step="1", qty_step="1", contract_value="1")
FULL: dict[str, Any] = {"fee": Decimal("0.5"), "fee_currency": "USDT", "role": "taker"}
OPTIONS = RunOptions(cash={"USDT": 10_000})


def execution(order_id: str, number: int, lots: int, at_ns: int, **told: Any) -> Executed:
    return Executed(order_id=order_id, at_ns=at_ns, execution_id=str(number), lots=lots, ticks=100, **FULL, **told)


class Wire:
    """A gateway that writes down what leaves; its news is what the test says, each with the moment of its receipt."""

    name = "wire"

    def __init__(self, *news: tuple[int, OrderInput], rest: Sequence[OrderInput] = ()) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self._news = list(news)
        self._rest = list(rest)  # what settling brings

    def open(self, instruments: Mapping[str, Instrument], sink: InputSink) -> None:
        raise AssertionError("the test opens nothing")

    def submit(self, order: Order, request: int) -> None:
        self.sent.append(("submit", order.id, request))

    def cancel(self, order_id: str, request: int) -> None:
        self.sent.append(("cancel", order_id, request))

    def amend(
        self,
        order_id: str,
        request: int,
        *,
        lots: int | None,
        limit_ticks: int | None,
        change: TriggerPrices | None = None,
    ) -> None:
        self.sent.append(("amend", order_id, request, lots, limit_ticks))

    def fetch_executions(self, order_id: str) -> None:
        self.sent.append(("fetch", order_id))

    def settle(self) -> None:
        self._news += [(0, each) for each in self._rest]
        self._rest = []

    def close(self) -> None: ...

    def take(self, until_ns: int) -> list[OrderInput]:
        """Return news of a moment, stamped as a queue would."""
        taken = list[OrderInput]()
        while self._news and self._news[0][0] <= until_ns:
            received_ns, news = self._news.pop(0)
            taken.append(msgspec.structs.replace(news, received_ns=received_ns))
        return taken

    def take_rest(self) -> list[OrderInput]:
        return self.take(2**62)


class Doing(Strategy):
    """Does at each second what the test says, and keeps what it hears."""

    deeds: Mapping[int, Callable[[Any], None]]
    books: bool = False

    def on_start(self) -> None:
        self.heard: list[tuple[int, OrderState, str]] = []
        self.got: list[Fill] = []
        self.made: list[Order] = []
        self.second = 0
        if self.books:
            self.subscribe_book(SWAP.id)
        else:
            self.subscribe_trades(SWAP.id)
        self.every("1s")

    def on_timer(self, name: str) -> None:
        self.second += 1
        deed = self.deeds.get(self.second)
        if deed is not None:
            deed(self)

    def on_order(self, order: Order) -> None:
        self.heard.append((self.now, order.state, order.reason))

    def on_fill(self, fill: Fill) -> None:
        self.got.append(fill)


def trades() -> list[MarketEvent]:
    """Return a trade at each half second."""
    moments = [NS_PER_S // 2 + n * NS_PER_S for n in range(12)]
    return [Trade(SWAP.id, at_ns, at_ns, 100.0, 1.0, Side.BUY, n) for n, at_ns in enumerate(moments, 1)]


def run(
    wire: Wire, deeds: Mapping[int, Callable[[Doing], None]], send_clock: SendClock | None = None
) -> tuple[Doing, AsyncBroker, Outcome]:
    """Run through the wire; deeds come at their second after the first trade's."""
    strategy, made = Doing(deeds=deeds), list[AsyncBroker]()

    def make(setup: BrokerSetup) -> AsyncBroker:
        made.append(AsyncBroker(setup, wire, wire))
        return made[-1]

    prepared = Prepared(MemoryFeed(trades(), [SWAP], block_rows=1), strategy, OPTIONS, is_live=True)
    outcome = Engine(prepared, make, send_clock=send_clock).run()
    return strategy, made[0], outcome


def buy(strategy: Doing) -> None:
    strategy.made.append(strategy.buy(SWAP.id, 4, price=100))


def cancel(strategy: Doing) -> None:
    strategy.cancel(strategy.made[0])


def at(second: float) -> int:
    return int(second * NS_PER_S)


def test_news_counts_at_its_own_moment_between_rows_and_timers() -> None:
    wire = Wire((at(2.2), Acknowledged(order_id="bt1", at_ns=at(2.1))), (at(2.7), execution("bt1", 1, 4, at(2.3))))
    strategy, _, outcome = run(wire, {1: buy})
    assert strategy.heard == [(at(2.2), OrderState.ACCEPTED, ""), (at(2.7), OrderState.FILLED, "")]
    (fill,) = strategy.got
    assert (fill.filled_ns, fill.revealed_ns, fill.fee, fill.role) == (at(2.3), at(2.7), Decimal("0.5"), "taker")
    assert fill.why == "execution 1 at wire"
    assert outcome.cash["USDT"] == Decimal("9999.5")
    assert outcome.position_qty[SWAP.id] == 4


class Opened(Wire):
    """A gateway that keeps what it was opened with, and answers each order through that."""

    def open(self, instruments: Mapping[str, Instrument], sink: InputSink) -> None:
        self.instruments, self.sink = list(instruments), sink

    def submit(self, order: Order, request: int) -> None:
        super().submit(order, request)
        self.sink.put(Acknowledged(order_id=order.id, at_ns=0))


def test_the_gateway_of_a_run_is_opened_with_its_instruments_and_its_queue() -> None:
    """What it puts there is heard of."""
    gateway, strategy = Opened(), Doing(deeds={1: buy})
    queue = InputQueue(lambda: at(1))
    Engine(
        Prepared(MemoryFeed(trades(), [SWAP], block_rows=1), strategy, OPTIONS, is_live=True),
        asynchronous(gateway, queue),
    ).run()
    assert (gateway.instruments, gateway.sink) == ([SWAP.id], queue)
    assert gateway.sent[0] == ("submit", "bt1", 1)
    assert strategy.heard[0][1:] == (OrderState.ACCEPTED, "")


def test_the_curve_follows_the_fills_as_with_any_broker() -> None:
    """The same fills at the same moments as the simulated broker made: the same curve, on trades and on mids."""
    for books in (False, True):
        levels = [((99.0 + n % 3, 98.0), (5.0, 5.0), (101.0 + n % 3, 102.0 + n % 3), (5.0, 5.0)) for n in range(12)]
        moments = [NS_PER_S // 2 + n * NS_PER_S for n in range(12)]
        rows = [BookUpdate(SWAP.id, m, m, *level, True) for m, level in zip(moments, levels, strict=True)]
        events: list[MarketEvent] = list(rows) if books else trades()

        def both(strategy: Doing) -> None:
            strategy.buy(SWAP.id, 3)

        simulated = Doing(deeds={1: both, 4: both}, books=books)
        law = simulated_run(MemoryFeed(events, [SWAP], block_rows=1), simulated, OPTIONS).run()
        wire = Wire(
            *(
                (
                    fill.revealed_ns,
                    Executed(
                        order_id=fill.order_id,
                        at_ns=fill.filled_ns,
                        execution_id=str(fill.id),
                        lots=fill.lots,
                        ticks=fill.ticks,
                        fee=fill.fee,
                        fee_currency=fill.fee_currency,
                        role="taker",
                    ),
                )
                for fill in law.fills
            )
        )

        def make(setup: BrokerSetup, wire: Wire = wire) -> AsyncBroker:
            return AsyncBroker(setup, wire, wire)

        other = Doing(deeds={1: both, 4: both}, books=books)
        prepared = Prepared(MemoryFeed(events, [SWAP], block_rows=1), other, OPTIONS, is_live=True)
        outcome = Engine(prepared, make).run()
        assert len(law.fills) >= 2
        assert outcome.equity == law.equity
        for name, column in law.curve.numbers.items():
            assert outcome.curve.numbers[name].tolist() == column.tolist(), name


def test_the_log_of_sends_comes_before_the_wire() -> None:
    """A kill between the two leaves a message that never left in the log, not one that left and is not there."""
    wire = Wire()
    seen: list[tuple[str, int]] = []

    class Clock(SendClock):
        def leave(self, now_ns: int, instrument: str) -> int:
            seen.append((instrument, len(wire.sent)))
            return super().leave(now_ns, instrument)

    run(wire, {1: buy, 2: cancel}, Clock())
    assert seen == [(SWAP.id, 0), (SWAP.id, 1)]
    assert wire.sent[:2] == [("submit", "bt1", 1), ("cancel", "bt1", 2)]


def test_a_cancel_that_was_refused_may_be_sent_again() -> None:
    wire = Wire(
        (at(2.2), Acknowledged(order_id="bt1", at_ns=at(2.1))),
        (at(3.2), CancelRefused(order_id="bt1", at_ns=at(3.1), request=2, reason="busy")),
        (at(5.2), OutcomeUnknown(order_id="bt1", at_ns=at(5.1), request=3, what="cancel")),
    )
    strategy, _, _ = run(wire, {1: buy, 2: cancel, 3: cancel, 4: cancel, 5: cancel, 7: cancel})
    cancels = [sent for sent in wire.sent if sent[0] == "cancel"]
    # Not the one of second 5, which the unknown one of second 4 is in front of; the last is that of the end.
    assert cancels == [("cancel", "bt1", request) for request in (2, 3, 4, 5)]
    assert strategy.heard[1] == (at(3.2), OrderState.ACCEPTED, "cancel_refused: busy")
    assert strategy.heard[2] == (at(5.2), OrderState.ACCEPTED, "cancel_unknown")


def test_a_change_to_what_has_filled_already_is_a_cancel() -> None:
    def amend(strategy: Doing) -> None:
        strategy.amend(strategy.made[0], qty=2)

    wire = Wire((at(2.2), execution("bt1", 1, 2, at(2.1))))
    run(wire, {1: buy, 3: amend})
    assert wire.sent[:2] == [("submit", "bt1", 1), ("cancel", "bt1", 2)]


def test_missing_executions_are_asked_for_once_and_the_end_waits_for_them() -> None:
    wire = Wire(
        (at(2.2), Cancelled(order_id="bt1", at_ns=at(2.15), reason="margin", filled_lots=3)),
        (at(3.2), execution("bt1", 2, 1, at(2.1), filled_lots=3)),
        (at(4.2), execution("bt1", 1, 2, at(2.0), filled_lots=2)),
    )
    strategy, _, _ = run(wire, {1: buy})
    assert wire.sent == [("submit", "bt1", 1), ("fetch", "bt1")]
    assert strategy.heard == [
        (at(3.2), OrderState.ACCEPTED, ""),
        (at(3.2), OrderState.PARTLY_FILLED, ""),
        (at(4.2), OrderState.PARTLY_FILLED, ""),
        (at(4.2), OrderState.CANCELLED, "margin"),
    ]


def test_an_execution_after_the_end_is_money_all_the_same() -> None:
    wire = Wire(
        (at(2.2), Cancelled(order_id="bt1", at_ns=at(2.1), reason="requested")),
        (at(3.2), execution("bt1", 1, 1, at(3.1))),
        (at(4.2), execution("bt1", 1, 1, at(3.1))),
    )
    strategy, _, outcome = run(wire, {1: buy})
    assert strategy.heard[1:] == [(at(3.2), OrderState.CANCELLED, LATE_FILL)]
    assert outcome.position_qty[SWAP.id] == 1
    assert strategy.portfolio.position(SWAP.id).qty == 1


def test_the_end_cancels_and_hears_the_rest_of_the_news() -> None:
    """The fill that beat the cancel is in the ledger, in the curve's last row and in the order."""
    rest = [execution("bt1", 1, 1, at(12), filled_lots=1), Cancelled(order_id="bt1", at_ns=at(13), reason="requested")]
    wire = Wire((at(2.2), Acknowledged(order_id="bt1", at_ns=at(2.1))), rest=rest)
    _, broker, outcome = run(wire, {1: buy})
    assert wire.sent == [("submit", "bt1", 1), ("cancel", "bt1", 2)]
    (order,) = outcome.orders
    assert (order.state, order.reason, order.filled_lots) == (OrderState.CANCELLED, "requested", 1)
    assert outcome.position_qty[SWAP.id] == 1
    assert outcome.curve.cash[-1] == 9_999.5
    assert not broker.notes().fills


def test_an_order_whose_end_nobody_knows_is_told() -> None:
    wire = Wire((at(2.2), OutcomeUnknown(order_id="bt1", at_ns=at(2.1), request=1, what="submit")))
    strategy, _, outcome = run(wire, {1: buy})
    assert strategy.heard == [(at(2.2), OrderState.PENDING, "outcome_unknown")]
    assert [(order.state, order.reason) for order in outcome.orders] == [(OrderState.CANCELLED, FATE_UNKNOWN)]
    assert any(text.startswith("bt1: the run ended before the exchange said") for text in outcome.warnings)


def test_new_steps_hold_from_their_row_on_and_orders_stay_with_the_exchange() -> None:
    kept: dict[str, Any] = {"kind": "swap", "qty_step": "1", "contract_value": "1"}
    steps = [
        Instrument(SWAP.id, price_step="0.5", **kept),
        Instrument(SWAP.id, price_step="1", valid_from_ns=at(4), **kept),
    ]
    wire = Wire(
        (at(2.2), Acknowledged(order_id="bt1", at_ns=at(2.1))),
        (at(6.2), execution("bt1", 1, 4, at(6.1))),
    )
    strategy = Doing(deeds={1: buy, 5: lambda trader: trader.made.append(trader.buy(SWAP.id, 1, price=100.5))})
    prepared = Prepared(MemoryFeed(trades(), steps, block_rows=1), strategy, OPTIONS, is_live=True)
    outcome = Engine(prepared, lambda setup: AsyncBroker(setup, wire, wire)).run()
    assert [order.price for order in strategy.made] == [100.0, 100.0]
    assert "rounded" in strategy.made[1].note
    assert [fill.price for fill in outcome.fills] == [50.0]  # 100 steps of the run's grid


def test_a_refusal_for_lack_of_margin_is_a_warning() -> None:
    wire = Wire((at(2.2), Rejected(order_id="bt1", at_ns=at(2.1), reason="insufficient_margin")))
    _, _, outcome = run(wire, {1: buy})
    assert "AAA-USDT-SWAP: 1 of 1 orders were rejected, insufficient_margin" in outcome.warnings


def test_news_of_orders_of_others_is_counted() -> None:
    wire = Wire((at(2.2), Acknowledged(order_id="other", at_ns=at(2.1))))
    strategy, _, outcome = run(wire, {})
    assert strategy.heard == []
    assert "wire told 1 times of orders that are not of this run" in outcome.warnings


def paused(strategy: Doing) -> Any:
    """Reach behind the strategy: what a command would do between two batches."""
    return strategy._context._orders  # type: ignore[attr-defined]


def pause(strategy: Doing) -> None:
    paused(strategy).is_paused = True


def test_a_refused_order_never_leaves_and_is_told_after_the_latency() -> None:
    """Neither its cancel nor a change of it, nor the cancels at the end."""

    def deed(strategy: Doing) -> None:
        buy(strategy)
        strategy.cancel(strategy.made[0])

    def unpause(strategy: Doing) -> None:
        paused(strategy).is_paused = False

    late = Wire((at(2.2), Acknowledged(order_id="other", at_ns=at(2.1))))
    strategy, broker, outcome = run(late, {1: lambda s: (pause(s), deed(s)), 4: unpause})
    (order,) = outcome.orders
    assert (order.state, order.reason, late.sent) == (OrderState.REJECTED, "paused", [])
    began_ns = order.sent_ns
    assert strategy.heard == [(began_ns + 20_000_000, OrderState.REJECTED, "paused")]
    assert broker.queue_ahead("bt1") is None
    wire = Wire()
    _, _, outcome = run(wire, {11: lambda s: (pause(s), buy(s))})
    assert wire.sent == []
    assert [(each.state, each.reason) for each in outcome.orders] == [(OrderState.REJECTED, "paused")]


def test_a_refusal_is_told_before_news_that_comes_later() -> None:
    """The news of 2.3 is there already when the order of 2.0 is refused."""
    wire = Wire((at(2.3), Acknowledged(order_id="bt1", at_ns=at(2.1))))
    strategy, _, outcome = run(wire, {1: buy, 2: lambda s: (pause(s), buy(s))})
    refused = outcome.orders[1]
    assert strategy.heard[:2] == [
        (refused.sent_ns + 20_000_000, OrderState.REJECTED, "paused"),
        (at(2.3), OrderState.ACCEPTED, ""),
    ]


def test_an_order_that_never_left_is_not_cancelled_at_the_end_of_the_run() -> None:
    """Its refusal is still on its way then."""

    class Last(Doing):
        def on_trade(self, trade: Trade) -> None:
            if trade.trade_id == 12:
                pause(self)
                buy(self)

    wire = Wire()
    prepared = Prepared(MemoryFeed(trades(), [SWAP], block_rows=1), Last(deeds={}), OPTIONS, is_live=True)
    outcome = Engine(prepared, lambda setup: AsyncBroker(setup, wire, wire)).run()
    assert wire.sent == []
    assert [(each.state, each.reason) for each in outcome.orders] == [(OrderState.REJECTED, "paused")]


def test_a_refused_change_is_told_once_and_the_order_stays_with_the_exchange() -> None:
    def change(strategy: Doing) -> None:
        pause(strategy)
        strategy.amend(strategy.made[0], qty=2)

    wire = Wire((at(2.2), Acknowledged(order_id="bt1", at_ns=at(2.1))), (at(5.2), execution("bt1", 1, 4, at(5.1))))
    strategy, _, _ = run(wire, {1: buy, 3: change, 7: change})
    assert wire.sent == [("submit", "bt1", 1)]
    assert [reason for _, _, reason in strategy.heard] == ["", "amend_refused: paused", ""]
    assert strategy.heard[-1][1] is OrderState.FILLED


def test_no_change_is_refused_to_an_order_that_has_ended() -> None:
    """Its end is known, and about to be told, when the hook of the news before it asks for the change."""

    class Hasty(Doing):
        def on_order(self, order: Order) -> None:
            super().on_order(order)
            if order.state is OrderState.ACCEPTED:
                pause(self)
                self.amend(order, qty=2)

    wire = Wire((at(2.2), Acknowledged(order_id="bt1", at_ns=at(2.1))), (at(2.2), execution("bt1", 1, 4, at(2.15))))
    strategy = Hasty(deeds={1: buy})
    prepared = Prepared(MemoryFeed(trades(), [SWAP], block_rows=1), strategy, OPTIONS, is_live=True)
    Engine(prepared, lambda setup: AsyncBroker(setup, wire, wire)).run()
    assert [(state, reason) for _, state, reason in strategy.heard] == [
        (OrderState.ACCEPTED, ""),
        (OrderState.FILLED, ""),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_what_the_run_booked_is_what_the_exchange_executed(seed: int) -> None:
    """Whatever was late, doubled, lost or out of order on the way."""

    def deed(strategy: Doing) -> None:
        match strategy.second % 4:
            case 0:
                strategy.cancel_all()
            case 1:
                strategy.buy(SWAP.id, 3)
            case 2:
                strategy.quote(SWAP.id, bid=95 + strategy.second % 3, ask=105, qty=4)
            case _:
                strategy.close(SWAP.id)

    brokers = ThreadedBrokers(seed)
    strategy = Doing(deeds=dict.fromkeys(range(1, 60), deed))
    moments = [NS_PER_S // 2 + n * NS_PER_S for n in range(60)]
    events = [Trade(SWAP.id, m, m, 100.0, 1.0, Side.BUY, n) for n, m in enumerate(moments, 1)]
    prepared = Prepared(MemoryFeed(events, [SWAP], block_rows=1), strategy, OPTIONS, is_live=True)
    outcome = Engine(prepared, brokers).run()
    brokers.close()
    (exchange,) = brokers.exchanges
    truth = sorted((f.order_id, f.lots, f.ticks, f.fee, f.at_ns) for f in exchange.executed)
    assert len(truth) > 20
    assert sorted((f.order_id, f.lots, f.ticks, f.fee, f.filled_ns) for f in outcome.fills) == truth
    assert not any(order.reason == FATE_UNKNOWN for order in outcome.orders)
    states = {order.id: (order.filled_lots, order.lots) for order in outcome.orders if order.filled_lots}
    assert states == exchange.sizes


def test_a_repetition_sends_nothing_and_goes_by_the_log() -> None:
    class Log:
        def __init__(self) -> None:
            self.news: list[list[OrderInput]] = [[], [execution("bt1", 1, 4, at(2.1))]]

        def take(self, until_ns: int) -> list[OrderInput]:
            return [] if until_ns < at(3) or not self.news else self.news.pop()

        def take_rest(self) -> list[OrderInput]:
            return []

    strategy = Doing(deeds={1: buy})
    prepared = Prepared(MemoryFeed(trades(), [SWAP], block_rows=1), strategy, OPTIONS, is_live=True)
    outcome = Engine(prepared, repeated("wire", Log())).run()
    assert [fill.why for fill in outcome.fills] == ["execution 1 at wire"]


def test_orders_that_depend_on_each_other_are_refused_without_being_sent() -> None:
    """Until a gateway knows them; the reason says who does not."""
    wire = Wire()

    def both(strategy: Doing) -> None:
        strategy.buy(SWAP.id, 4, price=100, stop_loss=98)
        strategy.buy(SWAP.id, 4, price=100, oco_group="in")

    strategy, _, outcome = run(wire, {1: both})
    reason = "unsupported: wire knows no OCO groups and no brackets"
    assert [(state, said) for _, state, said in strategy.heard] == [(OrderState.REJECTED, reason)] * 2
    assert not wire.sent
    assert not outcome.fills
