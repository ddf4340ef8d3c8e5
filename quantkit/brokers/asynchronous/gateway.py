"""The wire of an asynchronous broker: all that an exchange has to bring for orders to reach it."""

from collections.abc import Mapping
from typing import Protocol

from quantkit.brokers.asynchronous.inputs import InputSink
from quantkit.instruments import Instrument
from quantkit.orders import Order, TriggerPrices


class Gateway(Protocol):
    """Sends requests to an exchange, and puts what the exchange says into a sink.

    Calls come from the thread of the engine and return at once; whatever comes of them comes as news, from any thread.
    They raise nothing: what cannot be sent is news too. News may be late, doubled and out of order. What the
    gateway owes:

    - The sizes and prices of news are in steps, `execution_id` is unique for an order, and requests keep their number.
    - News of an order's end says `filled_lots`, or comes after its executions. An execution says `whole_lots`, or comes
      after every change of the size before it.
    - A request without an answer becomes `OutcomeUnknown`. Then the gateway asks until it knows, and puts what it
      finds: how the order stands, or `Rejected` once it is certain that the order cannot arrive any more.
    - A client order id is used once: the gateway puts something unique to the run in front of the order's id.

    Attributes:
        name: Stands in the log of the run.
    """

    name: str

    def open(self, instruments: Mapping[str, Instrument], sink: InputSink) -> None:
        """Connect; called once, before any order.

        Args:
            instruments: Of the run, by id, on its steps.
            sink: Gets the news.

        Raises:
            QuantkitError: Orders cannot reach the exchange; the run does not start.
        """
        ...

    def submit(self, order: Order, request: int) -> None:
        """Send a new order; it is read during the call, since it changes afterwards."""
        ...

    def cancel(self, order_id: str, request: int) -> None:
        """Send a cancel."""
        ...

    def amend(
        self,
        order_id: str,
        request: int,
        *,
        lots: int | None,
        limit_ticks: int | None,
        change: TriggerPrices | None = None,
    ) -> None:
        """Send a change of the whole size, what has filled included, of the limit price or of the trigger."""
        ...

    def fetch_executions(self, order_id: str) -> None:
        """Bring all executions of an order: some are missing; they may be on their way, or were never pushed."""
        ...

    def settle(self) -> None:
        """Wait until the end of every order is known and in the sink, as long as that is worth waiting for.

        Called once, after a cancel of every open order.
        """
        ...

    def close(self) -> None:
        """Disconnect; fine to call twice, and without `open`.

        After a breakdown nothing has been cancelled and `settle` was not called: then no order may stay open longer
        than the exchange's own safeguard for lost connections lets it.
        """
        ...


class SilentGateway:
    """The wire of a run that is repeated: nothing leaves."""

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self, instruments: Mapping[str, Instrument], sink: InputSink) -> None: ...

    def submit(self, order: Order, request: int) -> None: ...

    def cancel(self, order_id: str, request: int) -> None: ...

    def amend(
        self,
        order_id: str,
        request: int,
        *,
        lots: int | None,
        limit_ticks: int | None,
        change: TriggerPrices | None = None,
    ) -> None: ...

    def fetch_executions(self, order_id: str) -> None: ...

    def settle(self) -> None: ...

    def close(self) -> None: ...
