"""Fees of fills and orders, exact, with OKX's rates as the default."""

import math
from decimal import Decimal
from functools import lru_cache

import msgspec

from quantkit.errors import ConfigError
from quantkit.instruments import EXACT, Instrument, decimal_of


@lru_cache(maxsize=256)
def _fraction_of(bps: str) -> Decimal:
    """Return basis points as an exact fraction; text, since two zeros are one key as numbers."""
    return EXACT.multiply(Decimal(bps), Decimal("1e-4"))


class Fees(msgspec.Struct, frozen=True):
    """Fees of fills: rates by role, and amounts per contract, share and order. Fees are positive, rebates negative.

    An order pays `max(min_per_order, per_order + the sum over its fills)`. Its first fill carries the amount per order.

    Attributes:
        maker_bps: Basis points of the notional for an order that rested.
        taker_bps: Basis points for an order that took liquidity.
        currency: `quote` (spot: always the quote currency), `received` (spot: what the fill brings, OKX's own rule),
            `settle` (contracts: the settlement currency). Contracts always pay in their settlement currency.
        per_contract: Amount for each contract of swaps and futures.
        per_share: Amount for each share or coin on spot.
        per_order: Amount for each order, once it fills.
        min_per_order: Smallest fee of an order that fills; 0 for no minimum.

    Examples:
        >>> broker = Fees(per_share=0.005, min_per_order=1)
        >>> broker.of_order(Decimal("0.5")), broker.of_order(Decimal("1.5"))
        (Decimal('1.0'), Decimal('1.5'))
    """

    maker_bps: float = 0.0
    taker_bps: float = 0.0
    currency: str = "quote"
    per_contract: float = 0.0
    per_share: float = 0.0
    per_order: float = 0.0
    min_per_order: float = 0.0

    def __post_init__(self) -> None:
        """Check the rates.

        Raises:
            ConfigError: A rate is not finite or beyond 1000 bps, an amount is not finite or below zero, the currency
                rule is unknown, or amounts of money are to be taken from what a spot fill brings.
        """
        for name in ("maker_bps", "taker_bps", "per_contract", "per_share", "per_order", "min_per_order"):
            # Whole numbers, decimals and numpy's are kept as what a configuration that was stored reads back.
            value = getattr(self, name)
            try:
                msgspec.structs.force_setattr(self, name, float(value))
            except (TypeError, ValueError):
                raise ConfigError(f"{name} is {value!r}; give a number") from None
        for name in ("maker_bps", "taker_bps"):
            rate = getattr(self, name)
            if not math.isfinite(rate) or abs(rate) > 1000:
                raise ConfigError(f"{name} is {rate}; a fee rate is a finite number of basis points within +-1000")
        if self.currency not in ("quote", "received", "settle"):
            raise ConfigError(f"fee currency rule {self.currency!r} is not known; use quote, received or settle")
        for name in ("per_contract", "per_share", "per_order", "min_per_order"):
            amount = getattr(self, name)
            if not math.isfinite(amount) or amount < 0:
                raise ConfigError(f"{name} is {amount}; it is a finite amount of money, zero or more")
        if self.currency == "received" and (self.per_share or self.is_per_order):
            raise ConfigError(
                "fees per share and per order are amounts of money, not of what a fill brings; use currency='quote'"
            )

    @classmethod
    def okx_spot(cls) -> "Fees":
        """Return OKX's regular-user spot fees: 8 bps maker, 10 bps taker, in the currency received."""
        return cls(maker_bps=8.0, taker_bps=10.0, currency="received")

    @classmethod
    def okx_swap(cls) -> "Fees":
        """Return OKX's regular-user perpetual and futures fees: 2 bps maker, 5 bps taker, in the settlement coin."""
        return cls(maker_bps=2.0, taker_bps=5.0, currency="settle")

    @classmethod
    def preset_for(cls, instrument: Instrument) -> "Fees":
        """Return OKX's rates for the instrument's kind. Other venues get them too unless the run has other fees.

        A spot instrument whose id is no currency pair, such as a share, pays in its quote currency.
        """
        if not instrument.is_spot:
            return cls.okx_swap()
        return cls.okx_spot() if "-" in instrument.name else cls(cls.okx_spot().maker_bps, cls.okx_spot().taker_bps)

    @property
    def is_per_order(self) -> bool:
        """Whether an order's fee is more than the sum over its fills."""
        return bool(self.per_order or self.min_per_order)

    def rate(self, *, is_maker: bool) -> Decimal:
        """Return the rate as an exact fraction of the notional."""
        return _fraction_of(repr(self.maker_bps if is_maker else self.taker_bps))

    def per_unit(self, instrument: Instrument) -> float:
        """Return the amount for each contract, or on spot for each share or coin."""
        return self.per_share if instrument.is_spot else self.per_contract

    def idle_amount(self, instrument: Instrument) -> str:
        """Return the name of a given amount that does not apply to the instrument's kind, else an empty text."""
        if self.per_unit(instrument):
            return ""
        name = "per_contract" if instrument.is_spot else "per_share"
        return name if getattr(self, name) else ""

    def of_fill(self, instrument: Instrument, qty: Decimal, value: Decimal, *, is_maker: bool) -> Decimal:
        """Return the fee of one fill without the amounts per order, in the currency of `value`."""
        fee = EXACT.multiply(value, self.rate(is_maker=is_maker))
        amount = self.per_unit(instrument)
        return EXACT.add(fee, EXACT.multiply(qty, decimal_of(amount))) if amount else fee

    def of_order(self, fills: Decimal) -> Decimal:
        """Return the fee of an order from `fills`, the sum over its fills."""
        if not self.is_per_order:
            return fills
        whole = EXACT.add(fills, decimal_of(self.per_order))
        return EXACT.max(whole, decimal_of(self.min_per_order)) if self.min_per_order else whole
