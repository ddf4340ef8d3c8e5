"""What spot orders hold back of an account's balances."""

from decimal import Decimal
from typing import Final

from quantkit.instruments import EXACT

_NOTHING: Final = Decimal(0)


class Locks:
    """Amounts held back, by currency."""

    __slots__ = ("_amounts",)

    def __init__(self) -> None:
        self._amounts: dict[str, Decimal] = {}

    def of(self, currency: str) -> Decimal:
        """Return the amount of a currency that is held back."""
        return self._amounts.get(currency, _NOTHING)

    def hold(self, currency: str, amount: Decimal) -> None:
        """Hold an amount of a currency back; less than nothing sets it free."""
        self._amounts[currency] = EXACT.add(self.of(currency), amount)
