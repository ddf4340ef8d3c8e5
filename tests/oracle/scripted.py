"""A strategy that does what a script says and writes down everything it sees, whichever engine runs it."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal
from functools import partial
from typing import Any, NamedTuple

import msgspec

from quantkit.clock import NS_PER_MS
from quantkit.errors import OrderError
from quantkit.events import Gap, MarketEvent
from quantkit.orders import Fill, Order
from quantkit.strategy import Strategy

_WIDE = Context(prec=400)


class HookRaised(Exception):  # noqa: N818
    """What a script raises where its hook is to fail."""


class Act(NamedTuple):
    """One call of the strategy: what, and with which arguments."""

    what: str
    instrument: str = ""
    qty: float = 0.0
    price: float | None = None
    more: Mapping[str, Any] = {}
    which: int = 0  # of the open orders, or of all orders ever sent


Script = Callable[[int, str, "Scripted"], Sequence[Act]]


class Scripted(Strategy):
    """Follows a script by the number of the callback, and keeps a trace of all of them.

    Args:
        subscriptions: (kind, instrument, interval, warm-up candles).
        hooks: Kinds of market data to hook; subscribed kinds that are not hooked are never seen.
        script: Gives the calls to make in a callback, by its number and name.
        timers: Intervals for `every`. moments: stamps for `at`.
    """

    def __init__(
        self,
        *,
        subscriptions: Sequence[tuple[str, str, str, int]],
        hooks: Sequence[str],
        script: Script,
        timers: Sequence[str] = (),
        moments: Sequence[int] = (),
        reads_money: bool = False,
    ) -> None:
        super().__init__()
        self._subscriptions = subscriptions
        self._script = script
        self._timers = timers
        self._moments = moments
        self._reads_money = reads_money
        self._count = 0
        self.trace: list[tuple[int, str, str]] = []
        self.sent: list[Order] = []
        #: Every limit price asked for an order, by its id.
        self.limits: dict[str, list[float]] = {}
        for kind in hooks:
            # A hook set on the object counts as written, so that one class serves scenarios with any set of hooks.
            see = self._see_book if kind == "book" else partial(self._see, kind)
            setattr(self, f"on_{kind}", see)

    # Hooks ----------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Subscribe and start timers."""
        for kind, instrument, interval, warmup in self._subscriptions:
            self._context.subscribe(kind, instrument, interval, warmup)
        for interval in self._timers:
            self.every(interval)
        for moment in self._moments:
            self.at(moment)
        self._called("start", "")

    def on_order(self, order: Order) -> None:
        """Note an order's news."""
        average = order.average_price
        self._called(
            "order",
            f"{order.id} {order.instrument} {order.side} {order.state} {order.reason!r} {order.qty} {order.price} "
            f"{order.stop_price} {order.terms} {order.filled_qty} {average} {order.sent_ns} {order.updated_ns} "
            f"{bool(order.note)}",
        )

    def on_fill(self, fill: Fill) -> None:
        """Note a fill."""
        self._called("fill", fill_text(fill))

    def on_timer(self, name: str) -> None:
        """Note a timer."""
        self._called("timer", name)

    def on_gap(self, gap: Gap) -> None:
        """Note a gap."""
        self._called("gap", repr(gap))

    def on_stop(self) -> None:
        """Note the end."""
        self._called("stop", "")

    def _see(self, kind: str, event: MarketEvent) -> None:
        self._called(kind, repr(event))

    def _see_book(self, book: Any) -> None:
        self._called("book", f"{book.instrument} {levels(book)}")

    # What happens in each of them -----------------------------------------------------------------------------

    def _called(self, hook: str, text: str) -> None:
        number, self._count = self._count, self._count + 1
        if hook == "start":
            # Before the run is planned there is neither a time nor an account to read.
            self.trace.append((0, hook, ""))
        else:
            self.trace.append((self.now, hook, text + self._surroundings()))
        for act in self._script(number, hook, self):
            self._do(act)

    def _surroundings(self) -> str:
        traded = dict.fromkeys(instrument for _, instrument, _, _ in self._subscriptions)
        seen = [f"open {[order.id for order in self.open_orders()]}"]
        legs = [(instrument, side) for instrument in traded for side in self._sides(instrument)]
        seen += [f"{instrument} {side}{self.position(instrument, side=side)}" for instrument, side in legs]
        for kind, instrument, interval, _ in self._subscriptions:
            if kind == "book":
                book = self.book(instrument)
                seen.append("no book" if book is None else f"book {levels(book)}")
            elif kind == "candle":
                seen.append(str([candle.close_ns for candle in self.history(instrument, interval, 3)]))
        seen.append(money_text(self.portfolio.cash))
        if self._reads_money:
            equity = self.portfolio.equity
            seen.append("no equity" if equity is None else f"equity {amount_text(equity)}")
            seen += [
                position_text(instrument + side, self.portfolio.position(instrument, side)) for instrument, side in legs
            ]
        return " | " + " | ".join(seen)

    def _sides(self, instrument: str) -> tuple[str, ...]:
        has_two = self.portfolio.is_long_short and not self.instrument_info(instrument).is_spot
        return ("long", "short") if has_two else ("",)

    def _do(self, act: Act) -> None:
        """Make a call; what it answers or refuses goes to the trace as well."""
        try:
            answer = self._call(act)
        except OrderError:
            answer = "OrderError"  # how it is worded is not the law's
        self.trace.append((self.trace[-1][0], "call", f"{act.what} {answer}"))

    def _call(self, act: Act) -> str:
        match act.what:
            case "buy" | "sell":
                call = self.buy if act.what == "buy" else self.sell
                more = dict(act.more)
                if "expires_in_ms" in more:
                    more["expire_time"] = self.now + more.pop("expires_in_ms") * NS_PER_MS
                return self._told(call(act.instrument, act.qty, price=act.price, **more))
            case "target":
                return self._told(self.target(act.instrument, act.qty, **act.more))
            case "close":
                return self._told(self.close(act.instrument, **act.more))
            case "quote":
                pair = self.quote(act.instrument, bid=act.price, ask=act.more["ask"], qty=act.qty)
                for order, price in zip(pair, (act.price, act.more["ask"]), strict=True):
                    if order is not None and price is not None:
                        self.limits.setdefault(order.id, []).append(price)
                return " ".join(map(self._told, pair))
            case "cancel_all":
                self.cancel_all(act.instrument or None)
                return ""
        orders = self.sent if act.more.get("any") else self.open_orders()
        if not orders:
            return "nothing"
        order = orders[act.which % len(orders)]
        if act.what == "cancel":
            self.cancel(order)
        else:
            self.amend(order, qty=act.qty or None, price=act.price, **_trigger_of(order, act.more.get("trigger")))
            if act.price is not None:
                self.limits.setdefault(order.id, []).append(act.price)
        return order.id

    def _told(self, order: Order | None) -> str:
        if order is None:
            return "none"
        if not any(order is other for other in self.sent):
            self.sent.append(order)
            if order.price is not None:
                self.limits.setdefault(order.id, []).append(order.price)
        return f"{order.id} {order.side} {order.qty} {order.price} {order.stop_price} {order.state} {order.reason}"


def _trigger_of(order: Order, wanted: tuple[float, float] | None) -> dict[str, float]:
    """Return the change of an order's trigger to a price, or a distance where it trails."""
    if wanted is None:
        return {}
    price, distance = wanted
    if order.trailing_offset is not None:
        return {"trailing_offset": distance}
    if order.trailing_offset_bps is not None:
        return {"trailing_offset_bps": 100 * distance / price}
    return {"stop_price" if order.take_profit_price is None else "take_profit_price": price}


def amount_text(amount: Decimal) -> str:
    """Return an exact amount as text, whatever its exponent."""
    return format(amount.normalize(_WIDE), "f")


def money_text(amounts: Mapping[str, Decimal]) -> str:
    """Return amounts by currency as text, without those that are zero."""
    return str({currency: amount_text(amount) for currency, amount in sorted(amounts.items()) if amount})


def position_text(instrument: str, position: Any) -> str:
    """Return everything that a ledger says about a position."""
    return (
        f"{instrument} {amount_text(position.qty)} {position.average_price} {position.open_value} "
        f"{amount_text(position.realised)} {money_text(position.fees)} {money_text(position.funding)}"
    )


def order_text(order: Order) -> str:
    """Return everything about an order but the wording of its note."""
    fields = {**msgspec.structs.asdict(order), "note": bool(order.note)}
    return " ".join(f"{name}={value}" for name, value in fields.items())


def levels(book: Any) -> str:
    """Return a book's levels as text, whichever book it is."""
    sides = ([(float(price), float(size)) for price, size in side] for side in (book.bids, book.asks))
    return " / ".join(map(str, sides))


def fill_text(fill: Fill) -> str:
    """Return everything about a fill but its wording and its counts on the grid, which depends on what is to come."""
    return (
        f"{fill.id} {fill.order_id} {fill.instrument} {fill.side} {fill.price} {fill.qty} {amount_text(fill.value)} "
        f"{amount_text(fill.fee)} {fill.fee_currency} {fill.role} {fill.filled_ns} {fill.revealed_ns} {fill.tag!r} "
        f"{fill.position_side}"
    )
