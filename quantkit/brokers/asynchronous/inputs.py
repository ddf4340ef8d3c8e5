"""News of orders from outside, as records: what the exchange tells of an order, and when we heard of it.

News may come late, twice and in any order. So every record says by itself what it is about: the client's order id, the
number of the request that it answers or the id of the execution, and how the order stood at the exchange's stamp.
Sizes and prices count the run's steps; whoever reads the wire converts them.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, Protocol, TypeAlias

import msgspec


class _OrderInput(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of news.

    Attributes:
        order_id: Ours.
        at_ns: The exchange's stamp; of what the exchange did not say, such as a timeout, our clock less the offset.
        received_ns: When we heard of it; `InputQueue` stamps it.
        whole_lots, limit_ticks: The order's whole size and its limit as of `at_ns`; None where the news does not say.
        filled_lots: Its filled size as of `at_ns`, executions in this news included; None where it does not say.
    """

    order_id: str
    at_ns: int
    received_ns: int = 0
    whole_lots: int | None = None
    limit_ticks: int | None = None
    filled_lots: int | None = None


class Acknowledged(_OrderInput, frozen=True, kw_only=True, tag="acknowledged"):
    """The exchange has taken an order in, under an id of its own."""

    exchange_id: str = ""


class Rejected(_OrderInput, frozen=True, kw_only=True, tag="rejected"):
    """The exchange has refused an order, or it is certain that the order never got there."""

    reason: str


class Amended(_OrderInput, frozen=True, kw_only=True, tag="amended"):
    """An order has been changed: `whole_lots` and `limit_ticks` say to what.

    Attributes:
        request: The number of the request; 0 if the exchange did it by itself.
    """

    request: int


class AmendRefused(_OrderInput, frozen=True, kw_only=True, tag="amend_refused"):
    """A change was refused; the order stays as it is."""

    request: int
    reason: str


class CancelRefused(_OrderInput, frozen=True, kw_only=True, tag="cancel_refused"):
    """A cancel was refused, mostly because the order is over; its end is told by other news."""

    request: int
    reason: str


class Executed(_OrderInput, frozen=True, kw_only=True, tag="executed"):
    """An execution of an order.

    Attributes:
        execution_id: The exchange's, unique among the executions of one order.
        lots, ticks: Its size and price.
        fee: Paid above zero, rebate below, in `fee_currency`.
        role: `maker` or `taker`.
    """

    execution_id: str
    lots: int
    ticks: int
    fee: Decimal
    fee_currency: str
    role: Literal["maker", "taker"]


class Cancelled(_OrderInput, frozen=True, kw_only=True, tag="cancelled"):
    """An order is over with what it has filled so far."""

    reason: str


class Completed(_OrderInput, frozen=True, kw_only=True, tag="completed"):
    """The exchange calls an order filled, even if its size was more."""


class OutcomeUnknown(_OrderInput, frozen=True, kw_only=True, tag="unknown"):
    """A request was sent, and nobody can say whether it arrived; the gateway finds out."""

    request: int
    what: Literal["submit", "cancel", "amend"]


OrderInput: TypeAlias = (
    Acknowledged | Rejected | Amended | AmendRefused | CancelRefused | Executed | Cancelled | Completed | OutcomeUnknown
)


class OrderInputs(Protocol):
    """Where a broker has its news from: a queue that another thread fills, or the log of a recorded run."""

    def take(self, until_ns: int) -> Sequence[OrderInput]:
        """Return the news received by `until_ns`, in order of receipt.

        Engine time has come to the `until_ns` of the call before; every piece of news is stamped after it.
        """
        ...

    def take_rest(self) -> Sequence[OrderInput]:
        """Return all news there is, in order of receipt: the run is at its end, where time does not pass any more."""
        ...


class InputSink(Protocol):
    """The receiving end for whoever reads the wire."""

    def put(self, *news: OrderInput) -> None:
        """Hand over news, in order; from any thread."""
        ...


class OrderInputLog(Protocol):
    """Records news before the broker sees it."""

    def broker_news(self, news: Sequence[OrderInput], until_ns: int | None) -> None:
        """Add news that is taken together, by a moment; None: at the end of the run."""
        ...
