"""What a strategy decides, call by call, written down as it acts."""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import ParamSpec, TypeVar

import msgspec

from quantkit.clock import iso_of
from quantkit.orders import Order, OrderRequest
from quantkit.portfolio import Portfolio
from quantkit.proving.altered import AlteredRows
from quantkit.proving.compute import ComputeWatch
from quantkit.proving.frames import UserFrames
from quantkit.strategy import Context, Strategy

P = ParamSpec("P")
Returned = TypeVar("Returned")


class Decided(msgspec.Struct, frozen=True, array_like=True):
    """One call of a strategy that could change its run: an order, an amend, a cancel, a timer.

    Attributes:
        at_ns: Engine time.
        row: How many rows of the run had been taken by then; 0 before the first.
        place: Hook, file and line of the call.
        words: The call with its arguments, every digit.
    """

    at_ns: int
    row: int
    place: str
    words: str

    def __str__(self) -> str:
        return f"{iso_of(self.at_ns)} row {self.row:,}, {self.place}"


class Trace:
    """The decisions of one run.

    Args:
        frames: Tells the strategy's code from all other.
        rows: Knows how many rows have been handed out.

    Attributes:
        decisions: So far.
        compute: Counts how long the strategy took to each, where it is told to.
    """

    def __init__(self, frames: UserFrames, rows: AlteredRows) -> None:
        self.decisions: list[Decided] = []
        self.compute = ComputeWatch()
        self._frames = frames
        self._rows = rows

    def attach(self, strategy: Strategy) -> None:
        """Write down what this strategy will do."""
        binding = Strategy.bind

        def bind(context: Context) -> None:
            binding(strategy, TracedContext(context, self))

        vars(strategy)["bind"] = bind

    def add(self, at_ns: int, words: str) -> None:
        """Write down one call of the strategy, which stands further up on the stack."""
        frame = self._frames.nearest(sys._getframe(2))
        place = "" if frame is None else self._frames.place(frame)
        self.decisions.append(Decided(at_ns, self._rows.taken_by(at_ns), place, words))

    def end(self, at_ns: int, words: str) -> None:
        """Write down how a run ended before its time."""
        self.decisions.append(Decided(at_ns, self._rows.taken_by(at_ns), "", words))


class TracedContext:
    """A context that writes down what a strategy asks of it, and hands it on.

    Args:
        context: The run's.
        trace: Gets the calls.
    """

    def __init__(self, context: Context, trace: Trace) -> None:
        self._context = context
        self._trace = trace
        # Readings go the shortest way.
        self.rng = context.rng
        self.position = context.position
        self.margin = context.margin
        self.open_orders = context.open_orders
        self.book = context.book
        self.history = context.history
        self.instrument_info = context.instrument_info
        self.follow = context.follow

    @property
    def now_ns(self) -> int:
        """Engine time."""
        return self._context.now_ns

    @property
    def portfolio(self) -> Portfolio:
        """Money and positions as reported so far."""
        return self._context.portfolio

    @property
    def is_warming_up(self) -> bool:
        """Whether the run has not begun."""
        return self._context.is_warming_up

    def subscribe(self, kind: str, instrument: str, interval: str, warmup: int) -> None:
        """Ask for a stream; the order of that decides nothing."""
        self._context.subscribe(kind, instrument, interval, warmup)

    def order(self, request: OrderRequest) -> Order:
        """Send an order."""
        return self._do(_words_of(request), self._context.order, request)

    def amend(
        self,
        order: Order,
        *,
        qty: float | None = None,
        price: float | None = None,
        stop_price: float | None = None,
        take_profit_price: float | None = None,
        trailing_offset: float | None = None,
        trailing_offset_bps: float | None = None,
    ) -> None:
        """Change an order."""
        trigger = {
            "stop_price": stop_price,
            "take_profit_price": take_profit_price,
            "trailing_offset": trailing_offset,
            "trailing_offset_bps": trailing_offset_bps,
        }
        given = "".join(f" {name}={value!r}" for name, value in trigger.items() if value is not None)
        self._do(
            f"amend {order.id} qty={qty!r} price={price!r}{given}",
            self._context.amend,
            order,
            qty=qty,
            price=price,
            **trigger,
        )

    def cancel(self, order: Order) -> None:
        """Cancel an order."""
        self._do(f"cancel {order.id}", self._context.cancel, order)

    def cancel_all(self, instrument: str | None) -> None:
        """Cancel every open order."""
        self._do(f"cancel_all {instrument or ''}".rstrip(), self._context.cancel_all, instrument)

    def close(self, instrument: str, side: str = "") -> Order | None:
        """Close the position at the market."""
        return self._do(f"close {instrument} {side}".rstrip(), self._context.close, instrument, side)

    def target(self, instrument: str, qty: float, side: str = "") -> Order | None:
        """Trade at the market toward a position."""
        words = f"target {instrument} {side} {qty!r}" if side else f"target {instrument} {qty!r}"
        return self._do(words, self._context.target, instrument, qty, side)

    def target_worth(self, instrument: str, number: float, *, is_share: bool, side: str = "") -> Order | None:
        """Trade at the market toward a position of a worth."""
        what = "target_pct" if is_share else "target_value"
        call = self._context.target_worth
        words = f"{what} {instrument} {side} {number!r}" if side else f"{what} {instrument} {number!r}"
        return self._do(words, call, instrument, number, is_share=is_share, side=side)

    def quote(
        self, instrument: str, *, bid: float | None, ask: float | None, qty: float
    ) -> tuple[Order | None, Order | None]:
        """Keep one post-only order on each side."""
        return self._do(
            f"quote {instrument} bid={bid!r} ask={ask!r} qty={qty!r}",
            self._context.quote,
            instrument,
            bid=bid,
            ask=ask,
            qty=qty,
        )

    def every(self, interval: str, name: str) -> None:
        """Start a repeating timer."""
        self._do(f"every {interval} {name}", self._context.every, interval, name)

    def at(self, moment: str | int | datetime, name: str) -> None:
        """Start a timer that runs once."""
        self._do(f"at {moment} {name}", self._context.at, moment, name)

    def _do(self, words: str, call: Callable[P, Returned], *arguments: P.args, **named: P.kwargs) -> Returned:
        """Write a call down and make it; meanwhile the strategy does not compute."""
        compute = self._trace.compute
        compute.pause()
        self._trace.add(self._context.now_ns, words)
        try:
            return call(*arguments, **named)
        finally:
            compute.go_on()


def _words_of(request: OrderRequest) -> str:
    """Return an order in words: what differs from a plain market order is named."""
    said = [f"{request.side} {request.instrument} {request.qty!r}"]
    plain = OrderRequest(request.instrument, request.side, request.qty)
    for name in request.__struct_fields__:
        value = getattr(request, name)
        if value != getattr(plain, name):
            said.append(f"{name}={value!r}" if not isinstance(value, str) else f"{name}={value}")
    return " ".join(said)
