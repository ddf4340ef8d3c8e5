"""Orders, their states, and fills."""

from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from quantkit.cards import card
from quantkit.clock import iso_of
from quantkit.instruments import Side, plain

__all__ = ["Fill", "Order", "OrderRequest", "OrderState", "OrderType", "Side", "TimeInForce"]


#: The reason of orders and changes that were refused because the run was paused from outside.
PAUSED: Final = "paused"
#: Reasons of our own cancels and changes, and how those begin that say that one did nothing, or that nobody knows.
REQUESTED: Final = "requested"
AMENDED: Final = "amended"
CANCEL_REFUSED: Final = "cancel_refused"
CANCEL_UNKNOWN: Final = "cancel_unknown"
AMEND_REFUSED: Final = "amend_refused"
AMEND_UNKNOWN: Final = "amend_unknown"


class TimeInForce(StrEnum):
    """How long an order lives: until cancelled, at once or not at all in parts or whole."""

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"


class OrderType(StrEnum):
    """What an order's prices make of it."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"


class OrderState(StrEnum):
    """State of an order; `TRANSITIONS` has the allowed changes.

    Attributes:
        is_final: Whether nothing can happen to the order any more.
    """

    # A plain attribute: a property is a call in Python, and so is the hash of a member.
    is_final: bool

    PENDING = "pending"
    ACCEPTED = "accepted"
    PARTLY_FILLED = "partly_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


#: The lifecycle graph. ACCEPTED and PARTLY_FILLED may repeat: an amend, or another partial fill.
TRANSITIONS: Final[dict[OrderState, frozenset[OrderState]]] = {
    OrderState.PENDING: frozenset((OrderState.ACCEPTED, OrderState.REJECTED, OrderState.CANCELLED)),
    OrderState.ACCEPTED: frozenset(
        (OrderState.ACCEPTED, OrderState.PARTLY_FILLED, OrderState.FILLED, OrderState.CANCELLED)
    ),
    OrderState.PARTLY_FILLED: frozenset((OrderState.PARTLY_FILLED, OrderState.FILLED, OrderState.CANCELLED)),
    OrderState.FILLED: frozenset(),
    OrderState.CANCELLED: frozenset(),
    OrderState.REJECTED: frozenset(),
}
for _state, _following in TRANSITIONS.items():
    _state.is_final = not _following


class OrderRequest(msgspec.Struct, frozen=True, gc=False):
    """An order as a strategy asks for it, not yet checked or rounded.

    Attributes:
        qty: Size in the instrument's unit.
        price: Limit; None for a market or stop order.
        stop_price: Trigger; None for one that works at once.
        post_only: Whether it is refused if it would take on arrival.
        reduce_only: Whether it may neither grow nor flip the position.
        time_in_force: `GTC`, `IOC` or `FOK`.
        tag: Kept with the order, its fills and round trips.
    """

    instrument: str
    side: Side
    qty: float
    price: float | None = None
    stop_price: float | None = None
    post_only: bool = False
    reduce_only: bool = False
    time_in_force: str = TimeInForce.GTC
    tag: str = ""


class Order(msgspec.Struct, eq=False, kw_only=True, frozen=True, gc=False):
    """An order as reported to its owner; the exchange may already be further.

    It stays up to date by itself. Its fields cannot be set: use `amend` and `cancel`, and `tag` for notes.

    Attributes:
        id: `<run><counter>`, alphanumeric, at most 32 characters.
        qty: Whole size, in the instrument's unit, on its size step.
        price: Limit price on the price step, or None for market and stop orders.
        stop_price: Trigger price on the price step, or None.
        state: The latest reported state.
        filled_qty: Reported fills so far.
        average_price: Of the reported fills; None before the first.
        reason: Of the latest state: `requested` and `amended` for your own changes, empty for acceptance and fills.
        note: Rounding of price or size at the call; empty if both were on the steps.
        sent_ns: Time of sending: engine time, or live the wall clock if that is later.
        updated_ns: Engine time of the latest report.
        lots, filled_lots: `qty` and `filled_qty` in size steps.
        price_ticks, stop_ticks: `price` and `stop_price` in price steps.
    """

    id: str
    instrument: str
    side: Side
    qty: float
    price: float | None = None
    stop_price: float | None = None
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False
    reduce_only: bool = False
    tag: str = ""
    state: OrderState = OrderState.PENDING
    filled_qty: float = 0.0
    average_price: float | None = None
    reason: str = ""
    note: str = ""
    sent_ns: int = 0
    updated_ns: int = 0
    lots: int = 0
    filled_lots: int = 0
    price_ticks: int | None = None
    stop_ticks: int | None = None

    @property
    def type(self) -> OrderType:
        """Market, limit, stop or stop-limit."""
        if self.stop_ticks is not None:
            return OrderType.STOP if self.price_ticks is None else OrderType.STOP_LIMIT
        return OrderType.MARKET if self.price_ticks is None else OrderType.LIMIT

    @property
    def is_open(self) -> bool:
        """Whether the order may still fill, as far as reported."""
        return not self.state.is_final

    @property
    def remaining_lots(self) -> int:
        """Size steps not yet reported filled."""
        return self.lots - self.filled_lots

    @property
    def remaining_qty(self) -> float:
        """Size not yet reported filled."""
        return self.qty * (self.remaining_lots / self.lots) if self.lots else 0.0

    def _repr_html_(self) -> str:
        """Return the order as a notebook shows it; what it does not have is left out."""
        flags = [name for name, is_set in (("post-only", self.post_only), ("reduce-only", self.reduce_only)) if is_set]
        prices = (("limit", self.price), ("stop", self.stop_price), ("average price", self.average_price))
        rows = [
            ("state", " ".join(filter(None, (self.state, f"({self.reason})" if self.reason else "")))),
            ("filled", f"{plain(self.filled_qty)} of {plain(self.qty)}"),
            *((name, plain(price)) for name, price in prices if price is not None),
            ("terms", ", ".join((self.time_in_force, *flags))),
            *((name, text) for name, text in (("tag", self.tag), ("note", self.note)) if text),
            ("sent", iso_of(self.sent_ns)),
            ("updated", iso_of(self.updated_ns)),
        ]
        title = f"{self.side} {plain(self.qty)} {self.instrument}"
        return card(title, f"{self.type} order {self.id}", rows=rows, texts=2)


class Fill(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One execution of ours.

    Attributes:
        id: Counts from 1 within the run.
        price, qty: On the instrument's steps.
        value: Value in the settlement currency, exact (inverse: rounded once to 1e-12).
        fee: Paid above zero, rebate below, in `fee_currency`.
        role: `maker` if the order rested, else `taker`.
        filled_ns: The exchange's stamp.
        revealed_ns: Engine time at which the run learned of it.
        why: The event behind it and what was ahead in the queue.
        lots, ticks: `qty` in size steps, `price` in price steps.
    """

    id: int
    order_id: str
    instrument: str
    side: Side
    price: float
    qty: float
    value: Decimal
    fee: Decimal
    fee_currency: str
    role: str
    filled_ns: int
    revealed_ns: int
    why: str
    tag: str
    lots: int
    ticks: int

    @property
    def signed_lots(self) -> int:
        """Size steps, above zero for a buy."""
        return self.lots if self.side is Side.BUY else -self.lots
