"""The contexts a strategy acts through: one for `on_start`, one for the run; the same for replay and live."""

import math
from collections import deque
from collections.abc import Mapping
from datetime import datetime
from itertools import islice
from typing import Final, NoReturn

import numpy as np

from quantkit.brokers.base import DirtySet
from quantkit.clock import duration_ns, interval_ns, iso_of, time_ns_of
from quantkit.engine.algorithms import Algorithms
from quantkit.engine.books import Books
from quantkit.engine.known_instruments import KnownInstruments
from quantkit.engine.legs import check_leg_target, check_quote, leg_terms
from quantkit.engine.order_manager import OrderManager
from quantkit.engine.quotes import Quotes
from quantkit.engine.targets import Targets, TargetWorth
from quantkit.engine.timers import Timers
from quantkit.errors import ConfigError, OrderError
from quantkit.events import Candle
from quantkit.instruments import Instrument
from quantkit.margin import Margin
from quantkit.margin_account import MarginAccount
from quantkit.orderbook import Book
from quantkit.orders import Order, OrderRequest, OrderState, PositionSide, leg_of
from quantkit.portfolio import Portfolio, position_side_of
from quantkit.rows.columns import Stream
from quantkit.rows.position import RunPosition
from quantkit.sizes import SIZES
from quantkit.strategy import ExecAlgorithm

#: Candles kept for `history`, per stream.
HISTORY_ROWS: Final = 10_000


class StartContext:
    """Implements `strategy.Context` for `on_start`: subscriptions and timers are taken, orders are refused.

    Attributes:
        subscriptions: Streams subscribed to, with the warm-up wanted.
        targets: Positions asked for, to be traded toward at the start, by their keys.
        timers, algorithms, rng: Those of the run.
        is_warming_up: True.
    """

    is_warming_up: Final = True

    def __init__(self, instruments: KnownInstruments, *, seed: int, now_ns: int, is_long_short: bool = False) -> None:
        self.now_ns = now_ns
        self.rng = np.random.default_rng(seed)
        self.timers = Timers()
        self.algorithms = Algorithms()
        self.subscriptions: dict[Stream, int] = {}
        self.targets: dict[str, float] = {}
        self._instruments = instruments
        self._is_long_short = is_long_short

    @property
    def portfolio(self) -> Portfolio:
        """Nothing yet.

        Raises:
            ConfigError: Always: the run's instruments and currencies are not known.
        """
        raise ConfigError("the portfolio is there once the run has begun; read it in a hook after on_start")

    def subscribe(self, kind: str, instrument: str, interval: str, warmup: int) -> None:
        """Ask for a stream.

        Raises:
            ConfigError: An unknown interval, or a negative warm-up.
        """
        if kind == "candle":
            interval_ns(interval)
        if warmup < 0:
            raise ConfigError(f"warmup of {instrument} {interval} is {warmup}; give zero or more candles")
        self._instruments.find(instrument)
        stream = Stream(kind, instrument, interval)
        self.subscriptions[stream] = max(warmup, self.subscriptions.get(stream, 0))

    def order(self, request: OrderRequest) -> Order:
        """Return a refused order, as during the warm-up: there is no market yet.

        Raises:
            OrderError: The call could never become a valid order.
        """
        name, side = request.instrument, request.side
        qty = 0.0 if isinstance(request.qty, SIZES) else request.qty
        if qty is request.qty and not (math.isfinite(qty) and qty > 0):
            raise OrderError(f"{side} {name}: qty is {float(qty)}; give a finite number above zero")
        instrument = self._instruments.find(name)
        position_side, reduce_only = leg_terms(request, instrument, f"{side} {name}", is_long_short=self._is_long_short)
        return Order(
            id="",
            instrument=instrument.id,
            side=side,
            qty=float(qty),
            reduce_only=reduce_only,
            tag=request.tag,
            state=OrderState.REJECTED,
            reason="warmup",
            position_side=position_side,
        )

    def amend(self, order: Order, **changes: float | None) -> None:
        """Do nothing: every order is over."""

    def cancel(self, order: Order) -> None:
        """Do nothing: every order is over."""

    def cancel_all(self, instrument: str | None) -> None:
        """Do nothing: no order is open."""

    def close(self, instrument: str, side: str = "") -> Order | None:
        """Take an earlier target back."""
        return self.target(instrument, 0.0, side)

    def target(self, instrument: str, qty: float, side: str = "") -> Order | None:
        """Remember a position to trade toward at the start."""
        if isinstance(qty, SIZES):
            raise OrderError(f"target {instrument}: qty is {qty}; give a number")
        if not math.isfinite(qty):
            raise OrderError(f"target {instrument}: qty is {qty}; give a finite number")
        named = self._side_of(instrument, side)
        check_leg_target(qty, named, f"target {instrument}: qty")
        self.targets[leg_of(self._instruments.find(instrument).id, named)] = float(qty)
        return None

    def target_worth(self, instrument: str, number: float, *, is_share: bool, side: str = "") -> NoReturn:
        """Refuse to.

        Raises:
            OrderError: Always: there is no price yet.
        """
        what = "target_pct" if is_share else "target_value"
        raise OrderError(f"{what} {instrument}: there is no price in on_start; call it in a later hook")

    def quote(
        self, instrument: str, *, bid: float | None, ask: float | None, qty: float
    ) -> tuple[Order | None, Order | None]:
        """Send nothing."""
        check_quote(self._instruments.find(instrument), is_long_short=self._is_long_short)
        return None, None

    def position(self, instrument: str, side: str = "") -> float:
        """Return zero."""
        self._side_of(instrument, side)
        return 0.0

    def margin(self, instrument: str, side: str = "") -> Margin:
        """Return that of no position."""
        self._side_of(instrument, side)
        return Margin()

    def _side_of(self, instrument: str, side: str) -> PositionSide:
        return position_side_of(self._instruments.find(instrument), side, is_long_short=self._is_long_short)

    def open_orders(self, instrument: str | None) -> list[Order]:
        """Return none."""
        return []

    def book(self, instrument: str) -> Book | None:
        """Return none."""
        return None

    def history(self, instrument: str, interval: str, count: int) -> list[Candle]:
        """Return none.

        Raises:
            ConfigError: The strategy has not subscribed to them, or asks for more than are kept.
        """
        _check_history(self.subscriptions, Stream("candle", instrument, interval), count)
        return []

    def instrument_info(self, instrument: str) -> Instrument:
        """Return an instrument's metadata."""
        return self._instruments.find(instrument)

    def follow(self, algorithm: ExecAlgorithm) -> str:
        """Tell an algorithm of orders and timers; return the name of its timers."""
        return self.algorithms.follow(algorithm)

    def every(self, interval: str, name: str) -> None:
        """Start a repeating timer on UTC multiples of `interval`."""
        every_ns = duration_ns(interval)
        self.timers.start_every(every_ns, name, self.now_ns)

    def at(self, moment: str | int | datetime, name: str) -> None:
        """Start a timer that runs once."""
        self.timers.start_once(time_ns_of(moment), name)


class RunContext:
    """Implements `strategy.Context` once a run is planned.

    Calls about orders are the order manager's own.

    Args:
        start: The context of `on_start`.
        instruments: As they are at present.
        orders, targets, quotes, books: The run's.
        reported: The ledger as it has been reported to the strategy.
        position: How far the run has come.
        dirty: Told when a timer is started.
        margins: What backs the reported positions; None in a run without margin.
    """

    def __init__(
        self,
        start: StartContext,
        instruments: KnownInstruments,
        orders: OrderManager,
        targets: Targets,
        quotes: Quotes,
        reported: Portfolio,
        books: Books,
        position: RunPosition,
        dirty: DirtySet,
        margins: MarginAccount | None,
    ) -> None:
        self.rng = start.rng
        self.portfolio = reported
        self.instrument_info = instruments.find
        self.order = orders.send
        self.amend = orders.amend
        self.cancel = orders.cancel
        self.cancel_all = orders.cancel_all
        self.close = targets.close
        self.target = targets.target
        self.quote = quotes.quote
        self.follow = start.algorithms.follow
        self.open_orders = orders.open_orders
        self.position = targets.position
        self._orders = orders
        self._targets = targets
        self._books = books
        self._position = position
        self._timers = start.timers
        self._subscriptions = start.subscriptions
        self._dirty = dirty
        self._margins = margins
        self._history: dict[tuple[str, str, str], deque[Candle]] = {}  # by stream

    @property
    def now_ns(self) -> int:
        """Engine time."""
        return self._position.now_ns

    @property
    def is_warming_up(self) -> bool:
        """Whether candles from before the start come."""
        return self._orders.refusal == "warmup"

    def target_worth(self, instrument: str, number: float, *, is_share: bool, side: str = "") -> Order | None:
        """Trade toward a position of a worth at the market."""
        return self._targets.target_worth(instrument, TargetWorth(number, is_share), side)

    def kept_candles(self, stream: Stream) -> deque[Candle]:
        """Return where a stream's delivered candles are kept for `history`."""
        kept = self._history.get(stream)
        if kept is None:
            kept = self._history[stream] = deque(maxlen=HISTORY_ROWS)
        return kept

    def subscribe(self, kind: str, instrument: str, interval: str, warmup: int) -> NoReturn:
        """Refuse to.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(f"subscribe to {instrument} {kind} in on_start; a run's streams are fixed once it has begun")

    def margin(self, instrument: str, side: str = "") -> Margin:
        """Return the margin of a reported position.

        Raises:
            ConfigError: The run has no margin, or the instrument is no contract.
        """
        name = self._orders.instrument(instrument).id
        if self._margins is None:
            raise ConfigError(f"{name} has no margin in this run; give margin='isolated' or 'cross'")
        if name not in self._margins.terms.contracts:
            raise ConfigError(f"{name} is no contract and has no margin")
        return self._margins.margin(name, side)

    def book(self, instrument: str) -> Book | None:
        """Return a view of the book."""
        return self._books.view(self._orders.instrument(instrument).id)

    def history(self, instrument: str, interval: str, count: int) -> list[Candle]:
        """Return the latest delivered candles.

        Raises:
            ConfigError: The strategy has not subscribed to them, or asks for more than are kept.
        """
        kept = self._history.get(("candle", instrument, interval))
        if kept is None or not 0 <= count <= HISTORY_ROWS:
            _check_history(self._subscriptions, Stream("candle", instrument, interval), count)
            return []
        # A deque is quick at its ends: reading a few candles must not copy ten thousand.
        candles = list(islice(reversed(kept), count))
        candles.reverse()
        return candles

    def every(self, interval: str, name: str) -> None:
        """Start a repeating timer on UTC multiples of `interval`."""
        every_ns = duration_ns(interval)
        self._timers.start_every(every_ns, name, self.now_ns)
        self._dirty.add(DirtySet.TIMERS)

    def at(self, moment: str | int | datetime, name: str) -> None:
        """Start a timer that runs once.

        Raises:
            ConfigError: The moment is past.
        """
        due_ns = time_ns_of(moment)
        if due_ns <= self.now_ns:
            raise ConfigError(f"timer {name!r}: {iso_of(due_ns)} is not after the present time {iso_of(self.now_ns)}")
        self._timers.start_once(due_ns, name)
        self._dirty.add(DirtySet.TIMERS)


def _check_history(subscriptions: Mapping[Stream, int], stream: Stream, count: int) -> None:
    """Refuse a call for candles that are not there.

    Raises:
        ConfigError: The strategy has not subscribed to them, or asks for more than are kept.
    """
    if stream not in subscriptions:
        raise ConfigError(f"history of {stream.instrument} {stream.interval} needs subscribe_candles in on_start")
    if not 0 <= count <= HISTORY_ROWS:
        raise ConfigError(f"history of {count} candles asked for; from 0 to {HISTORY_ROWS:,} are kept")
