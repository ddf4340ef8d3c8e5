"""What a part of the exchange has that acts on executions at their own instant."""

from typing import Protocol

from quantkit.brokers.simulated.exchange_order import ExchangeOrder


class MarginWatch(Protocol):
    """A part of the exchange that stands between fills and the margin of the positions that they close."""

    def takes_over(self, order: ExchangeOrder, ticks: int, at_ns: int) -> bool:
        """Take a position over that a fill at a price would close for more than its margin; return whether it did."""
        ...


class Follower(Protocol):
    """A part of the exchange that `Executions` tells of fills, ends and changes, and that may answer with more.

    It is told after the account, the ledger and the reports: what it reads is the state behind the event. A position
    changes with fills alone, so a fill is also the news of a position.
    """

    is_following: bool
    """Whether it has anything to follow. A plain attribute: an order that concerns nobody costs no call."""

    def after_fill(self, order: ExchangeOrder, lots: int, at_ns: int) -> None:
        """Act on a fill of so many size steps; the order may be over by it."""
        ...

    def after_change(self, order: ExchangeOrder, at_ns: int) -> None:
        """Act on an order that has come to work, or grown, without a message."""
        ...

    def after_end(self, order: ExchangeOrder, at_ns: int) -> None:
        """Act on the end of an order that was refused or cancelled."""
        ...
