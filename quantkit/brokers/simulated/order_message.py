"""What travels to the exchange: a new order, a cancel or a change of one."""

import msgspec

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.orders import TriggerPrices


class OrderMessage(msgspec.Struct, frozen=True, gc=False):
    """A new order, a cancel or a change on its way."""

    arrives_ns: int  # by the exchange's clock
    due_ns: int  # by ours: looked at by then, even if no row of its market has shown that it has arrived
    number: int  # counts messages in the order of sending
    kind: str  # submit, cancel or amend
    order: ExchangeOrder
    lots: int | None = None
    limit_ticks: int | None = None
    change: TriggerPrices | None = None
