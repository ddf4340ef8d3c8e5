"""An exchange on a thread of its own, as rude as exchanges get: its news is late, doubled and out of order.

It has prices of its own and knows nothing of the market that the run sees. What it does is decided by the order of the
requests and by its dice alone, never by how threads are scheduled: the thread works one command after another off, and
whoever wants news up to a moment waits until the thread says that it has come there.
"""

import heapq
import threading
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from queue import Empty, SimpleQueue
from typing import Any, Final, Literal

import numpy as np

from quantkit.brokers.asynchronous.broker import AsyncBroker
from quantkit.brokers.asynchronous.input_queue import InputQueue
from quantkit.brokers.asynchronous.inputs import (
    Acknowledged,
    Amended,
    AmendRefused,
    Cancelled,
    CancelRefused,
    Completed,
    Executed,
    InputSink,
    OrderInput,
    OrderInputLog,
    OutcomeUnknown,
    Rejected,
)
from quantkit.brokers.base import BrokerSetup
from quantkit.clock import NEVER_NS, NS_PER_MS, NS_PER_S
from quantkit.instruments import Instrument, Side
from quantkit.orders import Order, OrderType, TimeInForce, TriggerPrices

#: One way on the wire.
LATENCY_NS: Final = 3 * NS_PER_MS
#: A piece of news may take so long on top.
_LATE_MS: Final = 400
#: An answer that has not come by then is called unknown.
_TIMEOUT_NS: Final = 50 * NS_PER_MS


class _Kept:
    """An order as the exchange has it."""

    def __init__(self, order: Order, instrument: Instrument) -> None:
        self.id = order.id
        self.instrument = instrument
        self.is_buy = order.side is Side.BUY
        self.lots = order.lots
        self.limit = order.price_ticks
        self.is_resting = order.type is OrderType.LIMIT and order.time_in_force is TimeInForce.GTC
        self.filled = 0
        self.is_known = False  # whether it has arrived
        self.is_over = False
        self.story: list[OrderInput] = []  # all that is true of it, in order


class ThreadedExchange:
    """The exchange, and the gateway to it.

    Args:
        seed: Of its dice.
        now_ns: The time of a request, by the clock that the exchange lives in.
        is_waited_for: Whether its time comes by `run_to` alone. Else it is the machine's, and the thread follows it.
        price: The middle of its prices.
        unknown: Share of requests without an answer.
        rejected: Share of orders that it refuses.
    """

    name = "threaded"

    def __init__(
        self,
        seed: int,
        now_ns: Callable[[], int],
        *,
        is_waited_for: bool = True,
        price: float = 100.0,
        unknown: float = 0.15,
        rejected: float = 0.1,
    ) -> None:
        self.told: list[OrderInput] = []  # what was put into the sink, doubles too
        self.asked: list[str] = []  # orders whose executions were asked for
        self.executed: list[Executed] = []  # the truth
        self.now_ns = now_ns
        self._dice = np.random.default_rng(seed)
        self._price = price
        self._unknown = unknown
        self._rejected = rejected
        self._commands: SimpleQueue[tuple[Callable[..., None], tuple[object, ...]] | None] = SimpleQueue()
        self._events: list[tuple[int, int, Callable[..., None], tuple[object, ...]]] = []
        self._count = 0
        self._kept: dict[str, _Kept] = {}
        self._executions: dict[str, int] = {}  # by instrument
        self._instruments: Mapping[str, Instrument] = {}
        self._sink: InputSink | None = None
        self._time_ns = -(2**62)
        self._is_waited_for = is_waited_for
        self._thread: threading.Thread | None = None

    # The gateway, called by the engine's thread ---------------------------------------------------------------

    def open(self, instruments: Mapping[str, Instrument], sink: InputSink) -> None:
        self._instruments, self._sink = dict(instruments), sink
        self._thread = threading.Thread(target=self._live, name="threaded-exchange", daemon=True)
        self._thread.start()

    def submit(self, order: Order, request: int) -> None:
        self._send(self._arrive, _Kept(order, self._instruments[order.instrument]), request)

    def cancel(self, order_id: str, request: int) -> None:
        self._send(self._cancel, order_id, request)

    def amend(
        self,
        order_id: str,
        request: int,
        *,
        lots: int | None,
        limit_ticks: int | None,
        change: TriggerPrices | None = None,
    ) -> None:
        self._send(self._amend, order_id, request, lots, limit_ticks)

    def fetch_executions(self, order_id: str) -> None:
        self.asked.append(order_id)
        self._send(self._answer, order_id)

    def settle(self) -> None:
        self._do(self._run_events, NEVER_NS)

    def close(self) -> None:
        if self._thread is not None:
            self._commands.put(None)
            self._thread.join()
            self._thread = None

    @property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """Filled and whole size of the orders that have filled; to be read once the thread has ended."""
        return {kept.id: (kept.filled, kept.lots) for kept in self._kept.values() if kept.filled}

    def run_to(self, until_ns: int) -> None:
        """Let the exchange live up to a moment, and wait until it has."""
        self._do(self._run_events, until_ns)

    def wall(self) -> int:
        """Return the time of the piece of news that is being put."""
        return self._time_ns

    def _send(self, work: Callable[..., None], *arguments: object) -> None:
        self._commands.put((self._at, (self.now_ns() + LATENCY_NS, work, *arguments)))

    def _do(self, work: Callable[..., None], *arguments: object) -> None:
        done = threading.Event()
        self._commands.put((work, arguments))
        self._commands.put((done.set, ()))
        assert done.wait(60), "the exchange hangs"

    # The exchange, on its own thread --------------------------------------------------------------------------

    def _live(self) -> None:
        while True:
            try:
                command = self._commands.get(timeout=self._patience_s())
            except Empty:
                self._run_events(self.now_ns())
                continue
            if command is None:
                return
            command[0](*command[1])

    def _patience_s(self) -> float | None:
        if self._is_waited_for or not self._events:
            return None
        return max(0.0, (self._events[0][0] - self.now_ns()) / NS_PER_S)

    def _at(self, at_ns: int, work: Callable[..., None], *arguments: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (at_ns, self._count, work, arguments))

    def _run_events(self, until_ns: int) -> None:
        while self._events and self._events[0][0] <= until_ns:
            at_ns, _, work, arguments = heapq.heappop(self._events)
            self._time_ns = max(at_ns, self._time_ns)
            work(*arguments)

    def _chance(self, share: float) -> bool:
        return bool(self._dice.random() < share)

    def _arrive(self, kept: _Kept, request: int) -> None:
        has_no_answer = self._chance(self._unknown)
        is_lost = has_no_answer and self._chance(0.4)
        self._kept[kept.id] = kept
        if has_no_answer:
            self._stay_silent(kept, request, "submit")
        if is_lost:
            return
        kept.is_known = True
        if self._chance(self._rejected):
            kept.is_over = True
            self._tell(
                kept, Rejected(order_id=kept.id, at_ns=self._time_ns, reason="not_today"), is_told=not has_no_answer
            )
            return
        self._tell(kept, Acknowledged(**self._standing(kept), exchange_id=f"x{kept.id}"), is_told=not has_no_answer)
        if kept.is_resting:
            self._rest(kept)
            return
        while not kept.is_over:
            self._execute(kept, "taker")

    def _rest(self, kept: _Kept) -> None:
        """Let an order wait for its next fill, or for ever."""
        if self._chance(0.7):
            self._at(self._time_ns + int(self._dice.integers(1, 3_000)) * NS_PER_MS, self._fill_resting, kept)

    def _fill_resting(self, kept: _Kept) -> None:
        if not kept.is_over:
            self._execute(kept, "maker")
            self._rest(kept)

    def _execute(self, kept: _Kept, role: Literal["maker", "taker"]) -> None:
        """Fill a part of an order, at a price that nobody else knows of; now and then the news of it is lost."""
        lots = int(self._dice.integers(1, kept.lots - kept.filled + 1))
        kept.filled += lots
        kept.is_over = kept.filled == kept.lots
        # Ids are unique for an instrument alone.
        number = self._executions[kept.instrument.id] = self._executions.get(kept.instrument.id, 0) + 1
        side = Side.BUY if kept.is_buy else Side.SELL
        news = Executed(
            **self._standing(kept),
            execution_id=str(number),
            lots=lots,
            ticks=kept.limit or kept.instrument.market_ticks(self._price + float(self._dice.integers(-5, 6)), side),
            fee=Decimal(int(self._dice.integers(-3, 9))) / 1000,
            fee_currency=kept.instrument.settle_currency,
            role=role,
        )
        self.executed.append(news)
        self._tell(kept, news, is_told=not self._chance(0.1))
        if kept.is_over:
            self._tell(kept, Completed(**self._standing(kept)))

    def _cancel(self, order_id: str, request: int) -> None:
        kept = self._kept[order_id]
        if kept.is_over or not kept.is_known:
            refused = CancelRefused(order_id=order_id, at_ns=self._time_ns, request=request, reason="not_open")
            self._tell(kept, refused)
            return
        kept.is_over = True
        if self._chance(self._unknown):
            self._stay_silent(kept, request, "cancel")
        self._tell(kept, Cancelled(**self._standing(kept), reason="requested"))

    def _amend(self, order_id: str, request: int, lots: int | None, limit_ticks: int | None) -> None:
        kept = self._kept[order_id]
        if kept.is_over or not kept.is_known or (lots is not None and lots <= kept.filled):
            refused = AmendRefused(order_id=order_id, at_ns=self._time_ns, request=request, reason="not_possible")
            self._tell(kept, refused)
            return
        kept.lots = kept.lots if lots is None else lots
        kept.limit = kept.limit if limit_ticks is None else limit_ticks
        has_no_answer = self._chance(self._unknown)
        if has_no_answer:
            self._stay_silent(kept, request, "amend")
        self._tell(kept, Amended(**self._standing(kept), request=request), is_told=not has_no_answer)

    def _stay_silent(self, kept: _Kept, request: int, what: Literal["submit", "cancel", "amend"]) -> None:
        """Give no answer: the gateway says so after a while, asks, and is told in the end."""
        unknown = OutcomeUnknown(order_id=kept.id, at_ns=self._time_ns, request=request, what=what)
        self._later(_TIMEOUT_NS, unknown)
        self._at(self._time_ns + _TIMEOUT_NS + int(self._dice.integers(1, _LATE_MS)) * NS_PER_MS, self._answer, kept.id)

    def _answer(self, order_id: str) -> None:
        """Say all that there is to say of an order; one that never came cannot come any more."""
        kept = self._kept.get(order_id)
        if kept is None:
            return
        if not kept.is_known:
            kept.is_known = kept.is_over = True
            kept.story.append(Rejected(order_id=order_id, at_ns=self._time_ns, reason="never_arrived"))
        for news in kept.story:
            self._later(0, news)

    def _standing(self, kept: _Kept) -> dict[str, Any]:
        """Return how an order stands now, as every piece of news of it says."""
        self._time_ns += 1  # no two stamps are equal
        return {
            "order_id": kept.id,
            "at_ns": self._time_ns,
            "whole_lots": kept.lots,
            "limit_ticks": kept.limit,
            "filled_lots": kept.filled,
        }

    def _tell(self, kept: _Kept, news: OrderInput, *, is_told: bool = True) -> None:
        kept.story.append(news)
        if is_told:
            for _ in range(1 + self._chance(0.4)):
                late_ms = int(self._dice.integers(0, _LATE_MS)) if self._chance(0.5) else 0
                self._later(LATENCY_NS + late_ms * NS_PER_MS, news)

    def _later(self, after_ns: int, news: OrderInput) -> None:
        self._at(self._time_ns + after_ns, self._put, news)

    def _put(self, news: OrderInput) -> None:
        assert self._sink is not None
        self.told.append(news)
        self._sink.put(news)


class _InStep:
    """The queue of an exchange that lives in the time of the run: it has to have come there before news is taken."""

    def __init__(self, exchange: ThreadedExchange, log: OrderInputLog | None) -> None:
        self._exchange = exchange
        self._queue = InputQueue(exchange.wall, log=log)

    def put(self, *news: OrderInput) -> None:
        self._queue.put(*news)

    def take(self, until_ns: int) -> Sequence[OrderInput]:
        self._exchange.run_to(until_ns)
        return self._queue.take(until_ns)

    def take_rest(self) -> Sequence[OrderInput]:
        return self._queue.take_rest()


class ThreadedBrokers:
    """A factory of brokers with such an exchange behind each; it lives in the time of its run."""

    def __init__(self, seed: int, log: OrderInputLog | None = None) -> None:
        self.exchanges: list[ThreadedExchange] = []
        self._seed = seed
        self._log = log

    def __call__(self, setup: BrokerSetup) -> AsyncBroker:
        exchange = ThreadedExchange(self._seed, lambda: setup.position.now_ns)
        self.exchanges.append(exchange)
        inputs = _InStep(exchange, self._log)
        exchange.open(setup.instruments, inputs)
        return AsyncBroker(setup, exchange, inputs)

    def close(self) -> None:
        """End the exchanges' threads."""
        for exchange in self.exchanges:
            exchange.close()
