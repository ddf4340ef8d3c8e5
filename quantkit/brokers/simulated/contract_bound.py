"""What an account asks before it lets orders in contracts in, and before it books their fills."""

from fractions import Fraction
from typing import Protocol

from quantkit.brokers.simulated.exchange_order import ExchangeOrder
from quantkit.brokers.simulated.holding import Holding


class ContractBound(Protocol):
    """Bounds the positions of an account in contracts: by leverage alone, or by margin."""

    def may_clearly_be(self, own: Holding, after: int, notional: float) -> bool:
        """Whether floats already show what `exceeds` decides for a linear contract."""
        ...

    def exceeds(self, own: Holding, after: int, notional: Fraction) -> str:
        """Return why a position of so many lots, worth `notional`, may not be; empty if it may.

        All others count at their worst, with their open orders.
        """
        ...

    def clearly_carries(self, order: ExchangeOrder, own: Holding, lots: int, ticks: int, *, is_maker: bool) -> bool:
        """Whether floats already show what `carries` decides for a linear contract."""
        ...

    def carries(self, order: ExchangeOrder, own: Holding, lots: int, ticks: int, *, is_maker: bool) -> bool:
        """Whether the account carries a fill with its fee paid."""
        ...

    def unpledged(self, currency: str) -> Fraction:
        """Return the balance less what open contracts that settle in it need."""
        ...

    def remedy(self, name: str) -> str:
        """Return the lack for an instrument, and the option that gives it, as the end of a sentence."""
        ...
