"""What an account is worth at given marks, as floats, for the curve."""

from collections.abc import Mapping
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantkit.instruments import Instrument, decimal_of
from quantkit.portfolio import Portfolio

Floats: TypeAlias = NDArray[np.float64]


class PositionView(NamedTuple):
    """A position as floats."""

    instrument: Instrument
    qty: float
    open_value: float


class CurrencyBalance(NamedTuple):
    """One currency: its balance, the contracts that settle in it, and how it converts (None: is reported in)."""

    currency: str
    balance: float
    contracts: tuple[PositionView, ...]
    converter: str | None
    is_inverted: bool

    def worth(self, marks: Mapping[str, Floats]) -> Floats:
        """Return the balance plus the open profit of its contracts, in its own currency."""
        worth: Floats = np.full(1, self.balance)
        for held in self.contracts:
            mark = marks.get(held.instrument.id)
            if mark is not None:
                size = held.qty * float(held.instrument.unit)
                if held.instrument.is_inverse:
                    worth = worth + (held.open_value - size / mark)
                else:
                    worth = worth + (size * mark - held.open_value)
        return worth

    def notional(self, marks: Mapping[str, float]) -> float:
        """Return the gross value of its contracts, in its own currency."""
        total = 0.0
        for held in self.contracts:
            mark = marks.get(held.instrument.id)
            if mark is not None:
                size = abs(held.qty) * float(held.instrument.unit)
                total += size / mark if held.instrument.is_inverse else size * mark
        return total


class AccountView:
    """The ledger at the last reading.

    Attributes:
        balances: By currency, the reported one first.
        positions: Those that are open.
        needed: Instruments whose marks decide the equity.
    """

    def __init__(self, ledger: Portfolio) -> None:
        self.balances: list[CurrencyBalance] = []
        self.positions: list[PositionView] = []
        self.needed: set[str] = set()
        self._ledger = ledger

    def read(self) -> None:
        """Read the ledger anew."""
        ledger = self._ledger
        contracts: dict[str, list[PositionView]] = {}
        self.positions = []
        for position in ledger.positions.values():
            if not position.is_flat:
                view = PositionView(position.instrument, position.qty_float, position.open_value_float)
                self.positions.append(view)
                if not position.instrument.is_spot:
                    contracts.setdefault(position.instrument.settle_currency, []).append(view)
        self.balances = []
        self.needed = {view.instrument.id for view in self.positions}
        for currency in ledger.currencies:
            balance, held = ledger.balance_float(currency), tuple(contracts.get(currency, ()))
            if currency == ledger.report_currency:
                self.balances.append(CurrencyBalance(currency, balance, held, None, False))
            elif balance or held:
                via = ledger.converter(currency)
                self.needed.add(via.id)
                self.balances.append(CurrencyBalance(currency, balance, held, via.id, via.base != currency))

    def equity(self, marks: Mapping[str, Floats]) -> Floats:
        """Return the equity in the report currency at each of aligned marks."""
        total: Floats = np.zeros(1)
        for balance in self.balances:
            worth = balance.worth(marks)
            if balance.converter is not None:
                rate = marks.get(balance.converter)
                if rate is None:
                    continue
                worth = worth / rate if balance.is_inverted else worth * rate
            total = total + worth
        return total

    def exposure(self, marks: Mapping[str, Floats | float], equity: Floats) -> Floats:
        """Return the gross notional over the equity: infinite for positions without equity."""
        gross: Floats = np.zeros(1)
        for held in self.positions:
            mark = marks.get(held.instrument.id)
            if mark is None:
                continue
            size = abs(held.qty) * float(held.instrument.unit)
            worth = size / mark if held.instrument.is_inverse else size * mark
            currency = held.instrument.settle_currency
            if currency != self._ledger.report_currency:
                via = self._ledger.converter(currency)
                rate = marks.get(via.id)
                if rate is None:
                    continue
                worth = worth * rate if via.base == currency else worth / rate
            gross = gross + worth
        lost = np.where(gross > 0, np.inf, 0.0)
        return np.asarray(np.where(equity > 0, gross / np.where(equity > 0, equity, 1.0), lost), np.float64)

    def equity_exact(self, marks: Mapping[str, float]) -> Fraction:
        """Return the equity at given marks, as the ledger would count it."""
        ledger, total = self._ledger, Fraction(0)
        for currency in ledger.currencies:
            amount = ledger.balance_exact(currency)
            for position in ledger.positions.values():
                if not position.instrument.is_spot and position.instrument.settle_currency == currency:
                    mark = marks.get(position.instrument.id)
                    amount += position.unrealised_exact(mark) if mark is not None else 0
            if amount and currency != ledger.report_currency:
                via = ledger.converter(currency)
                rate = Fraction(decimal_of(marks[via.id]))
                amount = amount * rate if via.base == currency else amount / rate
            total += amount
        return total

    def converters(self) -> dict[str, str]:
        """Return the instruments through which balances are counted, each with the currency it converts."""
        ledger = self._ledger
        others = (currency for currency in ledger.currencies if currency != ledger.report_currency)
        return {ledger.converter(currency).id: currency for currency in others if ledger.balance_exact(currency)}
