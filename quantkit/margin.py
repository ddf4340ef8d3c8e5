"""The margin of contracts: formulas, exact, and tiers, which are data.

Formulas of OKX's futures mode, for linear and inverse contracts. Sizes are in coins, of inverse contracts in the quote
currency, above zero for a long; amounts are in the settlement currency. Nothing is rounded.

Source: OKX, API reference and help centre; checked against accounts of 2022 to 2025 (tests/unit/test_margin.py).
"""

import csv
import json
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, Self

import msgspec

from quantkit.errors import ConfigError
from quantkit.instruments import Instrument, decimal_of, plain

#: How positions are backed: not by margin, each by its own, or all of a currency by its balance.
MARGIN_MODES: Final = ("off", "isolated", "cross")
#: Columns of a table of tiers, as OKX names them.
_COLUMNS: Final = ("instFamily", "tier", "minSz", "maxSz", "mmr", "imr", "maxLever")


class Margin(msgspec.Struct, frozen=True):
    """The margin of a position, as reported.

    Attributes:
        initial: Initial margin, in the settlement currency; isolated with the funding since the position was opened.
        maintenance: Maintenance margin at the mark.
        ratio: Margin over maintenance margin and fee reserve, of the position or of the currency's positions; 1 or less
            liquidates. None without a position or a mark.
        liquidation_price: The mark that liquidates, the others held; None where there is none.
    """

    initial: float = 0.0
    maintenance: float = 0.0
    ratio: float | None = None
    liquidation_price: float | None = None


# Formulas -------------------------------------------------------------------------------------------------------------


class OpenContract(NamedTuple):
    """A position in one contract.

    Attributes:
        size: Signed: contracts x coins of one; of an inverse contract x the quote currency of one.
        open_value: Its cost, above zero: linear size x average price, inverse size / average price.
        is_inverse: Whether it is one of an inverse contract.

    Examples:
        >>> held = OpenContract(Fraction(1), Fraction(80_000))
        >>> held.unrealised(Fraction(76_500)), held.bankruptcy_price(Fraction(4_000))
        (Fraction(-3500, 1), Fraction(76000, 1))
    """

    size: Fraction
    open_value: Fraction
    is_inverse: bool = False

    def notional(self, price: Fraction) -> Fraction:
        """Return what it is worth at a price, above zero."""
        return abs(self.size) / price if self.is_inverse else abs(self.size) * price

    def unrealised(self, price: Fraction) -> Fraction:
        """Return the open profit at a price."""
        gain = self.notional(price) - self.open_value
        return gain if (self.size > 0) is not self.is_inverse else -gain

    def liquidation_price(self, margin: Fraction, rates: Fraction) -> Fraction | None:
        """Return the price at which the margin is used up, None where there is none.

        Args:
            margin: What backs the position, without its open profit.
            rates: Maintenance rate and taker's rate together.
        """
        # The margin and the open profit have come down to `rates` of the notional.
        if (self.size > 0) is not self.is_inverse:
            notional = (self.open_value - margin) / (1 - rates)
        else:
            notional = (self.open_value + margin) / (1 + rates)
        if notional <= 0:
            return None
        return abs(self.size) / notional if self.is_inverse else notional / abs(self.size)

    def bankruptcy_price(self, margin: Fraction, fee_rate: Fraction = Fraction(0)) -> Fraction | None:
        """Return the price at which the margin is gone, with a fee for closing there if one is given."""
        return self.liquidation_price(margin, fee_rate)


def margin_ratio(margin: Fraction, unrealised: Fraction, required: Fraction) -> Fraction:
    """Return margin and open profit over what is required: maintenance margin and fee reserve."""
    return (margin + unrealised) / required


def shown_liquidation_price(price: Fraction, step: Fraction, *, is_long: bool) -> Fraction:
    """Return an isolated position's liquidation price as OKX shows it: one price step nearer to the mark."""
    return price + step if is_long else price - step


# Tiers ----------------------------------------------------------------------------------------------------------------


class TierRow(Protocol):
    """One tier as an exchange tells it, with sizes in contracts; `PositionTier` is one."""

    @property
    def max_qty(self) -> float: ...

    @property
    def maintenance_margin_rate(self) -> float: ...

    @property
    def max_leverage(self) -> float: ...


class MarginTier(msgspec.Struct, frozen=True):
    """What an exchange demands of positions up to a size.

    Attributes:
        max_qty: The largest size in contracts.
        maintenance_rate: Fraction of the notional.
        max_leverage: The highest leverage.
    """

    max_qty: Decimal
    maintenance_rate: Decimal
    max_leverage: Decimal


class MarginTiers:
    """The tiers of one contract, smallest first.

    Raises:
        ConfigError: There are none, or a number is none that a tier can have.
    """

    __slots__ = ("_sizes", "rates", "rows")

    def __init__(self, rows: Iterable[MarginTier], whose: str) -> None:
        self.rows = sorted(rows, key=lambda row: row.max_qty)
        if not self.rows:
            raise ConfigError(f"{whose}: no position tiers")
        for row in self.rows:
            if not (row.max_qty > 0 and 0 <= row.maintenance_rate < 1 and row.max_leverage > 0):
                raise ConfigError(
                    f"{whose}: a tier up to {row.max_qty} contracts with a maintenance rate of {row.maintenance_rate} "
                    f"and a leverage of {row.max_leverage} cannot be"
                )
        self._sizes = [Fraction(row.max_qty) for row in self.rows]
        #: The maintenance rates, as fractions.
        self.rates = [Fraction(row.maintenance_rate) for row in self.rows]

    def number(self, qty: Fraction) -> int:
        """Return the place of the tier of a size, above zero: one beyond the largest is in the last."""
        return min(bisect_left(self._sizes, qty), len(self.rows) - 1)

    def rate(self, qty: Fraction) -> Fraction:
        """Return the maintenance rate of a size."""
        return self.rates[self.number(qty)]

    def largest(self, leverage: Decimal) -> Fraction:
        """Return the largest size that may be held with a leverage, zero if none."""
        return max((Fraction(row.max_qty) for row in self.rows if row.max_leverage >= leverage), default=Fraction(0))

    @classmethod
    def of_rows(cls, rows: Iterable[TierRow], whose: str) -> Self:
        """Return the tiers that an exchange told."""
        return cls(
            (
                MarginTier(
                    decimal_of(row.max_qty), decimal_of(row.maintenance_margin_rate), decimal_of(row.max_leverage)
                )
                for row in rows
            ),
            whose,
        )


def read_tiers(value: Any) -> dict[str, list[MarginTier]] | None:
    """Return tiers by instrument family from a file, or what was read from one.

    Args:
        value: A path to a JSON or CSV file with OKX's columns, or tiers by family.

    Raises:
        ConfigError: The file cannot be read as one; the message shows the columns.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {family: [_tier(row, family) for row in rows] for family, rows in value.items()}
    if not isinstance(value, str | Path):
        raise ConfigError(f"tiers is {value!r}; give a JSON or CSV file with the columns {', '.join(_COLUMNS)}")
    return _tiers_of_file(Path(value))


def _tier(row: Any, whose: str) -> MarginTier:
    try:
        return row if isinstance(row, MarginTier) else msgspec.convert(row, MarginTier, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"tiers of {whose}: {error}") from None


def _tiers_of_file(path: Path) -> dict[str, list[MarginTier]]:
    columns = ", ".join(_COLUMNS)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"tiers {path} cannot be read: {why}") from None
    found: dict[str, list[MarginTier]] = {}
    try:
        for row in _rows_of(text):
            tier = MarginTier(decimal_of(row["maxSz"]), decimal_of(row["mmr"]), decimal_of(row["maxLever"]))
            found.setdefault(row["instFamily"], []).append(tier)
    except (ValueError, KeyError, TypeError, AttributeError, ConfigError) as error:
        why = f"there is no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise ConfigError(f"tiers {path}: not rows with the columns {columns} ({why})") from None
    if not found:
        raise ConfigError(f"tiers {path}: no rows with the columns {columns}")
    return found


def _rows_of(text: str) -> Sequence[Mapping[str, str]]:
    """Return the rows of a JSON reply, a JSON list, or a CSV table."""
    if text.lstrip().startswith(("{", "[")):
        reply = json.loads(text)
        rows: Sequence[Mapping[str, str]] = reply["data"] if isinstance(reply, dict) else reply
        return rows
    return list(csv.DictReader(text.splitlines()))


# Terms ----------------------------------------------------------------------------------------------------------------


class ContractTerms(NamedTuple):
    """How one contract is margined.

    Attributes:
        leverage: As chosen, above zero.
        tiers: Its tiers.
        fee_rate: The taker's rate, zero for a rebate.
        largest: The largest position, in contracts, that the tiers allow with the leverage.
    """

    leverage: Fraction
    tiers: MarginTiers
    fee_rate: Fraction
    largest: Fraction


class MarginTerms(NamedTuple):
    """How the contracts of a run are margined.

    Attributes:
        is_cross: Whether all positions of a currency share its balance; else each has its own margin.
        contracts: By instrument id.
    """

    is_cross: bool
    contracts: Mapping[str, ContractTerms]


def family_of(instrument: Instrument) -> str:
    """Return the family that an exchange has tiers for.

    Examples:
        >>> family_of(Instrument("BTC-USDT-SWAP", kind="swap", price_step="0.1", qty_step="1", contract_value="0.01"))
        'BTC-USDT'
    """
    return "-".join(instrument.name.split("-")[:2])


def leverage_of(leverage: "Decimal | Mapping[str, Decimal]", instrument: str) -> Decimal:
    """Return the leverage of an instrument: that of `*` where it is given by instrument and this one is not."""
    if isinstance(leverage, Mapping):
        return leverage.get(instrument, leverage.get("*", Decimal(1)))
    return leverage


def terms_of(instrument: Instrument, leverage: Decimal, tiers: MarginTiers, taker_rate: Decimal) -> ContractTerms:
    """Return the terms of a contract.

    Raises:
        ConfigError: No tier allows the leverage.
    """
    largest = tiers.largest(leverage)
    if not largest:
        most = max(row.max_leverage for row in tiers.rows)
        raise ConfigError(
            f"{instrument.id}: leverage is {plain(leverage)}; its position tiers allow at most {plain(most)}"
        )
    return ContractTerms(Fraction(leverage), tiers, max(Fraction(0), Fraction(taker_rate)), largest)
