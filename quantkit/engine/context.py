"""The Context a strategy acts through in a run: thin, and the same for replay and live."""

import heapq
import math
from collections import deque
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

import numpy as np

from quantkit.clock import NEVER_NS, duration_ns, interval_ns, time_ns_of
from quantkit.engine.order_manager import OrderManager
from quantkit.errors import ConfigError, OrderError
from quantkit.events import Candle
from quantkit.instruments import Instrument, Side
from quantkit.orderbook import Book
from quantkit.orders import Order, OrderState, TimeInForce
from quantkit.portfolio import Portfolio
from quantkit.rows.columns import Stream

#: Candles kept for `history`, per stream.
HISTORY_ROWS: Final = 10_000


class Timer(NamedTuple):
    """A timer waiting to run; `every_ns` is 0 for one that runs once."""

    due_ns: int
    number: int
    name: str
    every_ns: int


class Timers:
    """Timers in the order they are due, those of one moment in the order they were started."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._count = 0

    @property
    def next_ns(self) -> int:
        """When the next timer is due."""
        return self._heap[0].due_ns if self._heap else NEVER_NS

    def add(self, due_ns: int, name: str, every_ns: int) -> None:
        """Start a timer."""
        self._count += 1
        heapq.heappush(self._heap, Timer(due_ns, self._count, name, every_ns))

    def restart_from(self, start_ns: int) -> None:
        """Move repeating timers to their first multiple after the start, and drop single ones before it."""
        kept = []
        for timer in self._heap:
            if timer.every_ns:
                kept.append(timer._replace(due_ns=(start_ns // timer.every_ns + 1) * timer.every_ns))
            elif timer.due_ns >= start_ns:
                kept.append(timer)
        self._heap = kept
        heapq.heapify(self._heap)

    def pop(self, now_ns: int) -> Timer | None:
        """Return the next timer due by `now_ns`, started anew if it repeats, or None."""
        if not self._heap or self._heap[0].due_ns > now_ns:
            return None
        timer = self._heap[0]
        if timer.every_ns:
            heapq.heapreplace(
                self._heap, Timer(timer.due_ns + timer.every_ns, timer.number, timer.name, timer.every_ns)
            )
        else:
            heapq.heappop(self._heap)
        return timer


class RunContext:
    """Implements `strategy.Context`.

    Attributes:
        now_ns: Engine time; the engine writes it before every hook.
        subscriptions: Streams subscribed to, with the warm-up wanted.
    """

    __slots__ = (
        "_book_of",
        "_changed",
        "_history",
        "_instruments",
        "_orders",
        "_portfolio",
        "_tradable",
        "early_targets",
        "is_starting",
        "now_ns",
        "rng",
        "subscriptions",
        "timers",
    )

    def __init__(self, *, seed: int, now_ns: int, instruments: Callable[[str], Instrument]) -> None:
        self.now_ns = now_ns
        self.rng = np.random.default_rng(seed)
        self._portfolio: Portfolio
        self.timers = Timers()
        self.subscriptions: dict[Stream, int] = {}
        self.early_targets: dict[str, float] = {}
        self.is_starting = True
        self._instruments = instruments
        self._orders: OrderManager
        self._book_of: Callable[[str], Book | None]
        self._changed: set[str] = set()
        self._history: dict[Stream, deque[Candle]] = {}
        self._tradable: dict[str, tuple[Decimal, Instrument, float]] = {}  # of the holding that was asked for last

    def connect(
        self, orders: OrderManager, portfolio: Portfolio, changed: set[str], book_of: Callable[[str], Book | None]
    ) -> None:
        """Join the parts that exist once the subscriptions are known."""
        self._orders, self._portfolio, self._changed, self._book_of = orders, portfolio, changed, book_of
        self.is_starting = False

    @property
    def portfolio(self) -> Portfolio:
        """Money and positions as reported so far.

        Raises:
            ConfigError: In `on_start`, before the run's instruments and currencies are known.
        """
        if self.is_starting:
            raise ConfigError("the portfolio is there once the run has begun; read it in a hook after on_start")
        return self._portfolio

    @property
    def is_warming_up(self) -> bool:
        """Whether the run has not begun: in `on_start`, and while the candles before the start come."""
        return self.is_starting or self._orders.refusal == "warmup"

    def remember(self, candle: Candle) -> None:
        """Keep a delivered candle for `history`."""
        stream = Stream("candle", candle.instrument, candle.interval)
        kept = self._history.get(stream)
        if kept is None:
            kept = self._history[stream] = deque(maxlen=HISTORY_ROWS)
        kept.append(candle)

    # What a strategy calls --------------------------------------------------------------------------------------

    def subscribe(self, kind: str, instrument: str, interval: str, warmup: int) -> None:
        """Ask for a stream.

        Raises:
            ConfigError: After `on_start`, an unknown interval, or a negative warm-up.
        """
        if not self.is_starting:
            raise ConfigError(
                f"subscribe to {instrument} {kind} in on_start; a run's streams are fixed once it has begun"
            )
        if kind == "candle":
            interval_ns(interval)
        if warmup < 0:
            raise ConfigError(f"warmup of {instrument} {interval} is {warmup}; give zero or more candles")
        self._instruments(instrument)
        stream = Stream(kind, instrument, interval)
        self.subscriptions[stream] = max(warmup, self.subscriptions.get(stream, 0))

    def order(
        self,
        instrument: str,
        side: Side,
        qty: float,
        *,
        price: float | None = None,
        stop_price: float | None = None,
        post_only: bool = False,
        reduce_only: bool = False,
        time_in_force: str = TimeInForce.GTC,
        tag: str = "",
    ) -> Order:
        """Send an order; in `on_start`, before there is a market, it is refused as during the warm-up.

        Raises:
            OrderError: The call could never become a valid order.
        """
        if self.is_starting:
            if not (math.isfinite(qty) and qty > 0):
                raise OrderError(f"{side} {instrument}: qty is {float(qty)}; give a finite number above zero")
            return Order(
                id="",
                instrument=self._instruments(instrument).id,
                side=side,
                qty=float(qty),
                tag=tag,
                state=OrderState.REJECTED,
                reason="warmup",
            )
        return self._orders.send(
            instrument,
            side,
            qty,
            price=price,
            stop_price=stop_price,
            post_only=post_only,
            reduce_only=reduce_only,
            time_in_force=time_in_force,
            tag=tag,
        )

    def amend(self, order: Order, *, qty: float | None, price: float | None) -> None:
        """Change an order."""
        if not self.is_starting:
            self._orders.amend(order, qty=qty, price=price)

    def cancel(self, order: Order) -> None:
        """Cancel an order."""
        if not self.is_starting:
            self._orders.cancel(order)

    def cancel_all(self, instrument: str | None) -> None:
        """Cancel every open order."""
        if not self.is_starting:
            self._orders.cancel_all(instrument)

    def close(self, instrument: str) -> Order | None:
        """Leave a position; in `on_start` that takes an earlier target back."""
        return self.target(instrument, 0.0) if self.is_starting else self._orders.close(instrument)

    def target(self, instrument: str, qty: float) -> Order | None:
        """Trade toward a position; in `on_start` it is remembered and applied at the start."""
        if self.is_starting:
            if not math.isfinite(qty):
                raise OrderError(f"target {instrument}: qty is {qty}; give a finite number")
            self.early_targets[self._instruments(instrument).id] = float(qty)
            return None
        return self._orders.target(instrument, qty)

    def quote(
        self, instrument: str, *, bid: float | None, ask: float | None, qty: float
    ) -> tuple[Order | None, Order | None]:
        """Keep a bid and an ask."""
        if self.is_starting:
            return None, None
        return self._orders.quote(instrument, bid=bid, ask=ask, qty=qty)

    def position(self, instrument: str) -> float:
        """Return what can be traded of the reported position."""
        if self.is_starting:
            return 0.0
        traded = self._orders.instrument(instrument)
        qty = self._portfolio.position(instrument).qty
        if not qty:
            return 0.0
        # A hook asks at every row, and the answer changes with a fill: the exact arithmetic is done once for each.
        last = self._tradable.get(instrument)
        if last is None or last[0] is not qty or last[1] is not traded:
            last = self._tradable[instrument] = qty, traded, traded.qty(traded.tradable_lots(qty))
        return last[2]

    def open_orders(self, instrument: str | None) -> list[Order]:
        """Return the orders that may still fill."""
        return [] if self.is_starting else self._orders.open_orders(instrument)

    def book(self, instrument: str) -> Book | None:
        """Return a view of the book."""
        return None if self.is_starting else self._book_of(self._orders.instrument(instrument).id)

    def history(self, instrument: str, interval: str, count: int) -> list[Candle]:
        """Return the latest delivered candles.

        Raises:
            ConfigError: The strategy has not subscribed to them, or asks for more than are kept.
        """
        stream = Stream("candle", instrument, interval)
        if stream not in self.subscriptions:
            raise ConfigError(f"history of {instrument} {interval} needs subscribe_candles in on_start")
        if not 0 <= count <= HISTORY_ROWS:
            raise ConfigError(f"history of {count} candles asked for; from 0 to {HISTORY_ROWS:,} are kept")
        kept = self._history.get(stream, ())
        # A deque is quick at its ends: reading a few candles must not copy ten thousand.
        return [kept[place] for place in range(-min(count, len(kept)), 0)]

    def instrument_info(self, instrument: str) -> Instrument:
        """Return an instrument's metadata."""
        return self._instruments(instrument)

    def every(self, interval: str, name: str) -> None:
        """Start a repeating timer on UTC multiples of `interval`."""
        every_ns = duration_ns(interval)
        self.timers.add((self.now_ns // every_ns + 1) * every_ns, name, every_ns)
        self._changed.add("")

    def at(self, moment: str | int | datetime, name: str) -> None:
        """Start a timer that runs once.

        Raises:
            ConfigError: The moment is past.
        """
        due_ns = time_ns_of(moment)
        if due_ns <= self.now_ns and not self.is_starting:
            raise ConfigError(f"timer {name!r}: {moment} is not after the present time {self.now_ns}")
        self.timers.add(due_ns, name, 0)
        self._changed.add("")
