"""Orders, their states, and fills."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from quantkit.cards import card
from quantkit.clock import iso_of
from quantkit.instruments import Side, plain
from quantkit.sizes import OrderAmount, Size

__all__ = [
    "Fill",
    "Order",
    "OrderRequest",
    "OrderState",
    "OrderTerms",
    "OrderType",
    "PositionSide",
    "RequestTerms",
    "Side",
    "StopLoss",
    "TakeProfit",
    "TimeInForce",
    "TriggerPrices",
    "TriggerType",
]


#: The reason of orders and changes that were refused because the run was paused from outside.
PAUSED: Final = "paused"
#: Reasons of our own cancels and changes, and how those begin that say that one did nothing, or that nobody knows.
REQUESTED: Final = "requested"
AMENDED: Final = "amended"
CANCEL_REFUSED: Final = "cancel_refused"
CANCEL_UNKNOWN: Final = "cancel_unknown"
AMEND_REFUSED: Final = "amend_refused"
AMEND_UNKNOWN: Final = "amend_unknown"
#: The reason of orders that have come to the end of their time.
EXPIRED: Final = "expired"
#: The reason of orders that a liquidation cancels, the tag of those that close its positions, and how their ids begin.
LIQUIDATION: Final = "liquidation"
#: What no name of an OCO group has: the groups that get their names from others are told apart by it.
OWN_SIGN: Final = "#"
#: Why a trigger that has gone off cannot be changed.
ALREADY_TRIGGERED: Final = "already_triggered"


class TimeInForce(StrEnum):
    """How long an order lives: until cancelled, at once or not at all in parts or whole, or until its `expire_time`.

    Attributes:
        rests: Whether what cannot fill at once waits.
    """

    # A plain attribute, as that of a state below.
    rests: bool

    GTC = "GTC"
    IOC = "IOC"
    FOK = "FOK"
    GTD = "GTD"


for _member in TimeInForce:
    _member.rests = _member in (TimeInForce.GTC, TimeInForce.GTD)


class OrderType(StrEnum):
    """What an order's prices make of it."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TAKE_PROFIT = "take_profit"
    TAKE_PROFIT_LIMIT = "take_profit_limit"
    TRAILING_STOP = "trailing_stop"


class TriggerType(StrEnum):
    """Whose price sets an order off: the last trade's, the mark price, or the index."""

    LAST = "last"
    MARK = "mark"
    INDEX = "index"


class PositionSide(StrEnum):
    """The position that an order or a fill changes: the net one, or one of the two legs of the long/short mode."""

    NET = "net"
    LONG = "long"
    SHORT = "short"


def leg_of(instrument: str, side: PositionSide) -> str:
    """Return the key of a position: the instrument's id, with the side of a leg behind it.

    Examples:
        >>> leg_of("BTC-USDT-SWAP", PositionSide.NET), leg_of("BTC-USDT-SWAP", PositionSide.LONG)
        ('BTC-USDT-SWAP', 'BTC-USDT-SWAP long')
    """
    # Ids have no blanks.
    return instrument if side is PositionSide.NET else f"{instrument} {side}"


def instrument_of(leg: str) -> str:
    """Return the id of the instrument of a position, from the position's key."""
    return leg.partition(" ")[0]


def side_in(leg: str) -> str:
    """Return the side in a position's key: `long` or `short`, empty for a net position."""
    return leg.partition(" ")[2]


class TakeProfit(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Where the profit of an order's fills is taken.

    Attributes:
        price: Trigger.
        limit: The child's limit; None for a market order.
        trigger_type: Whose price sets it off.
    """

    price: float
    limit: float | None = None
    trigger_type: TriggerType = TriggerType.LAST


class StopLoss(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Where the loss of an order's fills is stopped: at a price, or at a distance that trails.

    Attributes:
        price: Trigger; None for a stop that trails.
        limit: The child's limit; None for a market order.
        trigger_type: Whose price sets it off.
        trailing_offset, trailing_offset_bps: The distance, as a price or in basis points of the best price.
    """

    price: float | None = None
    limit: float | None = None
    trigger_type: TriggerType = TriggerType.LAST
    trailing_offset: float | None = None
    trailing_offset_bps: float | None = None


class RequestTerms(msgspec.Struct, frozen=True, gc=False):
    """What few orders ask for, as it was asked; see `Strategy.buy`."""

    take_profit_price: float | None = None
    trigger_type: str = TriggerType.LAST
    trailing_offset: float | None = None
    trailing_offset_bps: float | None = None
    activation_price: float | None = None
    expire_time: str | int | datetime | None = None
    oco_group: str = ""
    take_profit: float | TakeProfit | None = None
    stop_loss: float | StopLoss | None = None
    at: str = "send"


class OrderTerms(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=True):
    """What few orders have; a plain order has None in its place. `Order` has an attribute for each of them.

    Attributes:
        take_profit_price: Trigger from the far side, on the price step.
        trigger_type: Whose price sets the order off.
        trailing_offset, trailing_offset_bps: How far a trailing stop stands behind the best price since it is active.
        activation_price: The price at which a trailing stop becomes active; None for one that is so on arrival.
        expire_ns: The exchange's time from which the order is no more.
        oco_group: Orders of one group cancel each other.
        parent_id: The order whose fills this one protects.
        take_profit, stop_loss: What protects the fills of this order.
        take_profit_ticks, trailing_ticks, activation_ticks: The prices in price steps.
        amount: The money that its size comes from; None for a size given as a number.
    """

    take_profit_price: float | None = None
    trigger_type: TriggerType = TriggerType.LAST
    trailing_offset: float | None = None
    trailing_offset_bps: float | None = None
    activation_price: float | None = None
    expire_ns: int | None = None
    oco_group: str = ""
    parent_id: str = ""
    take_profit: TakeProfit | None = None
    stop_loss: StopLoss | None = None
    take_profit_ticks: int | None = None
    trailing_ticks: int | None = None
    activation_ticks: int | None = None
    amount: OrderAmount | None = None

    @property
    def has_bracket(self) -> bool:
        """Whether its fills are to be protected."""
        return self.take_profit is not None or self.stop_loss is not None

    @property
    def is_trailing(self) -> bool:
        """Whether the order is a trailing stop."""
        return self.trailing_ticks is not None or self.trailing_offset_bps is not None

    @property
    def has_trigger(self) -> bool:
        """Whether something beside a stop price sets the order off."""
        return self.take_profit_ticks is not None or self.is_trailing


class TriggerPrices(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """The prices of a trigger, as a change asks for them or a report restates them; None for what stays.

    Attributes:
        ticks: The stop or take-profit price, in price steps.
        trailing_ticks, trailing_offset_bps: The distance of a trailing stop.
    """

    ticks: int | None = None
    trailing_ticks: int | None = None
    trailing_offset_bps: float | None = None


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
        qty: Size in the instrument's unit, or by money.
        price: Limit; None for a market or stop order.
        stop_price: Trigger from the near side; None without one.
        post_only: Whether it is refused if it would take on arrival.
        reduce_only: Whether it may neither grow nor flip the position.
        time_in_force: `GTC`, `IOC`, `FOK` or `GTD`.
        tag: Kept with the order, its fills and round trips.
        terms: What else it asks for; None for most orders.
        position_side: `long` or `short` in the long/short mode, else empty.
    """

    instrument: str
    side: Side
    qty: float | Size
    price: float | None = None
    stop_price: float | None = None
    post_only: bool = False
    reduce_only: bool = False
    time_in_force: str = TimeInForce.GTC
    tag: str = ""
    terms: RequestTerms | None = None
    position_side: str = ""


#: What a plain order gives for the fields of `RequestTerms`.
PLAIN_TERMS: Final = tuple(field.default for field in msgspec.structs.fields(RequestTerms))


class Order(msgspec.Struct, eq=False, kw_only=True, frozen=True, gc=False):
    """An order as reported to its owner; the exchange may already be further.

    It stays up to date by itself. Its fields cannot be set: use `amend` and `cancel`, and `tag` for notes.

    Attributes:
        id: `<run><counter>`, alphanumeric, at most 32 characters.
        qty: Whole size, in the instrument's unit, on its size step.
        price: Limit price on the price step, or None for market and stop orders.
        stop_price: Trigger from the near side, on the price step, or None. That of a trailing stop moves.
        state: The latest reported state.
        filled_qty: Reported fills so far.
        average_price: Of the reported fills; None before the first.
        reason: Of the latest state: `requested` and `amended` for your own changes, empty for acceptance and fills.
        note: Rounding of price or size at the call; empty if both were on the steps.
        sent_ns: Time of sending: engine time, or live the wall clock if that is later.
        updated_ns: Engine time of the latest report.
        lots, filled_lots: `qty` and `filled_qty` in size steps.
        price_ticks, stop_ticks: `price` and `stop_price` in price steps.
        terms: What few orders have; None for a plain one.
        position_side: The leg that it changes in the long/short mode, else `net`.
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
    terms: OrderTerms | None = None
    position_side: PositionSide = PositionSide.NET

    @property
    def leg(self) -> str:
        """The key of the position that it changes."""
        return leg_of(self.instrument, self.position_side)

    @property
    def type(self) -> OrderType:
        """What its prices make of it."""
        terms = self.terms
        if terms is not None and terms.is_trailing:
            return OrderType.TRAILING_STOP
        if terms is not None and terms.take_profit_ticks is not None:
            return OrderType.TAKE_PROFIT if self.price_ticks is None else OrderType.TAKE_PROFIT_LIMIT
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

    @property
    def take_profit_price(self) -> float | None:
        """Trigger from the far side, on the price step, or None."""
        return None if self.terms is None else self.terms.take_profit_price

    @property
    def take_profit_ticks(self) -> int | None:
        """`take_profit_price` in price steps."""
        return None if self.terms is None else self.terms.take_profit_ticks

    @property
    def trigger_type(self) -> TriggerType:
        """Whose price sets it off: `last`, `mark` or `index`."""
        return TriggerType.LAST if self.terms is None else self.terms.trigger_type

    @property
    def trailing_offset(self) -> float | None:
        """How far a trailing stop stands behind the best price, as a price, or None."""
        return None if self.terms is None else self.terms.trailing_offset

    @property
    def trailing_offset_bps(self) -> float | None:
        """The same in basis points of the best price, or None."""
        return None if self.terms is None else self.terms.trailing_offset_bps

    @property
    def activation_price(self) -> float | None:
        """The price at which a trailing stop becomes active, on the price step, or None."""
        return None if self.terms is None else self.terms.activation_price

    @property
    def expire_ns(self) -> int | None:
        """The exchange's time from which it is no more, or None."""
        return None if self.terms is None else self.terms.expire_ns

    @property
    def oco_group(self) -> str:
        """The group whose orders cancel each other, empty for none."""
        return "" if self.terms is None else self.terms.oco_group

    @property
    def parent_id(self) -> str:
        """The order whose fills it protects, empty for none."""
        return "" if self.terms is None else self.terms.parent_id

    @property
    def amount(self) -> OrderAmount | None:
        """The money that its size comes from, None for a size given as a number."""
        return None if self.terms is None else self.terms.amount

    def _repr_html_(self) -> str:
        """Return the order as a notebook shows it; what it does not have is left out."""
        flags = [name for name, is_set in (("post-only", self.post_only), ("reduce-only", self.reduce_only)) if is_set]
        prices = (
            ("limit", self.price),
            ("stop", self.stop_price),
            ("take profit", self.take_profit_price),
            ("trails by", self.trailing_offset),
            ("trails by bps", self.trailing_offset_bps),
            ("active from", self.activation_price),
            ("average price", self.average_price),
        )
        watched = [] if self.trigger_type is TriggerType.LAST else [f"set off by the {self.trigger_type} price"]
        expires = [] if self.expire_ns is None else [f"until {iso_of(self.expire_ns)}"]
        side = "" if self.position_side is PositionSide.NET else self.position_side
        links = (
            ("position", side),
            ("group", self.oco_group),
            ("protects", self.parent_id),
            ("tag", self.tag),
            ("note", self.note),
        )
        rows = [
            ("state", " ".join(filter(None, (self.state, f"({self.reason})" if self.reason else "")))),
            ("filled", f"{plain(self.filled_qty)} of {plain(self.qty)}"),
            *((name, plain(price)) for name, price in prices if price is not None),
            ("terms", ", ".join((self.time_in_force, *expires, *flags, *watched))),
            *((name, text) for name, text in links if text),
            ("sent", iso_of(self.sent_ns)),
            ("updated", iso_of(self.updated_ns)),
        ]
        title = f"{self.side} {plain(self.qty)} {self.instrument}"
        return card(title, f"{self.type.replace('_', '-')} order {self.id}", rows=rows, texts=2)


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
        position_side: The leg that it changes in the long/short mode, else `net`.
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
    position_side: PositionSide = PositionSide.NET

    @property
    def leg(self) -> str:
        """The key of the position that it changes."""
        return leg_of(self.instrument, self.position_side)

    @property
    def signed_lots(self) -> int:
        """Size steps, above zero for a buy."""
        return self.lots if self.side is Side.BUY else -self.lots
