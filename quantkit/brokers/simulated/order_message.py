"""What travels to the exchange: a new order, a cancel or a change of one. Also what it does by itself at a moment."""

import msgspec

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.orders import TriggerPrices, TriggerType


class OrderMessage(msgspec.Struct, gc=False):
    """A new order, a cancel or a change on its way; or the protection of a fill, which the exchange itself brings."""

    arrives_ns: int  # by the exchange's clock
    due_ns: int  # by ours: looked at by then, even if no row of its market has shown that it has arrived
    number: int  # counts messages in the order of sending
    kind: str  # submit, cancel or amend; protect
    order: ExchangeOrder
    lots: int | None = None
    limit_ticks: int | None = None
    change: TriggerPrices | None = None
    is_sized: bool = False  # by money: from then on the account cuts the order instead of refusing it

    @property
    def brings_marks(self) -> bool:
        """Whether it is of an order that waits for the mark price or the index, or brings such children."""
        order = self.order
        if self.kind != "protect":
            return order.trigger is not None and not order.is_triggered and order.trigger.type is not TriggerType.LAST
        assert order.terms is not None
        specs = (order.terms.stop_loss, order.terms.take_profit)
        return any(spec is not None and spec.trigger_type is not TriggerType.LAST for spec in specs)
