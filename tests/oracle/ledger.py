"""The oracle's account: the fraction ledger with the order of its currencies, round trips, and what hooks read of it.

Of quantkit it uses the records alone: an `Instrument` for its steps and currencies, a `Fill` for what was executed.
What either is worth is counted here.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from functools import lru_cache

from oracle.fraction_ledger import Contract, FractionLedger, Holding

from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill, PositionSide

_WIDE = Context(prec=400)
#: What is no finite decimal of so many places is shown to 1e-18, half to even.
_SHOWN_PLACES = 40


def shown(amount: Fraction) -> Decimal:
    """Return an exact amount as a decimal that people and hooks read, without trailing zeros."""
    if 10**_SHOWN_PLACES % amount.denominator == 0:
        places = _SHOWN_PLACES
    else:
        places = 18
    # Python rounds fractions half to even.
    return Decimal(round(amount * 10**places)).scaleb(-places, _WIDE).normalize(_WIDE)


def exactly(amount: Fraction) -> Decimal:
    """Return a fraction that is a finite decimal as that decimal."""
    places = 0
    while (amount * 10**places).denominator != 1:
        places += 1
        assert places < 100, f"{amount} is no finite decimal"
    return Decimal(int(amount * 10**places)).scaleb(-places, _WIDE)


def number(value: float | Decimal) -> Fraction:
    """Return a number as the decimal that people read in it: 0.1 is a tenth."""
    return Fraction(str(value))


def leg_of(name: str, side: PositionSide) -> str:
    """Return the id under which a position is kept: where a contract has two, each is like an instrument of its own."""
    return name if side is PositionSide.NET else f"{name}+{side.value}"


def instrument_of(leg: str) -> str:
    """Return the id of the instrument of a position."""
    return leg.partition("+")[0]


def _as_leg(instrument: Instrument, side: PositionSide) -> Instrument:
    return Instrument.from_dict({**instrument.to_dict(), "id": leg_of(instrument.id, side)})


def contract_of(instrument: Instrument) -> Contract:
    """Describe an instrument to the ledger."""
    style = "spot" if instrument.is_spot else "inverse" if instrument.is_inverse else "linear"
    quote = instrument.quote if instrument.is_spot or instrument.is_inverse else instrument.settle_currency
    base = instrument.settle_currency if instrument.is_inverse else instrument.base
    return _contract(instrument.id, style, base, quote, instrument.contract_value, instrument.contract_multiplier)


@lru_cache(maxsize=1024)
def _contract(name: str, style: str, base: str, quote: str, value: Decimal, multiplier: Decimal) -> Contract:
    of, _, side = name.partition("+")
    return Contract(of, style, base, quote, Fraction(value) * Fraction(multiplier), side)


def size_of(instrument: Instrument, lots: int) -> Fraction:
    """Return a number of lots as a size."""
    return lots * Fraction(instrument.lot)


def price_at(instrument: Instrument, ticks: int) -> Fraction:
    """Return a number of ticks as a price."""
    return ticks * Fraction(instrument.tick)


def value_of(instrument: Instrument, lots: int, ticks: int) -> Fraction:
    """Return what lots at a price are worth in the settlement currency."""
    return contract_of(instrument).value(size_of(instrument, lots), price_at(instrument, ticks))


def whole_steps(size: Fraction, instrument: Instrument) -> int:
    """Return the whole size steps in a size of zero or more, in lots of the run's grid."""
    return int(
        math.floor(size / Fraction(instrument.qty_step)) * Fraction(instrument.qty_step) / Fraction(instrument.lot)
    )


def tradable_lots(instrument: Instrument, qty: Fraction) -> int:
    """Return the lots of a holding that can be traded: whole steps toward zero, on spot none below the minimum."""
    lots = whole_steps(abs(qty), instrument)
    if instrument.is_spot and size_of(instrument, lots) < Fraction(instrument.min_qty):
        return 0
    return lots if qty > 0 else -lots


@dataclass(frozen=True)
class Position:
    """One holding as hooks read it."""

    qty: Decimal
    average_price: float | None
    open_value: Fraction  # signed as the size is
    realised: Decimal
    fees: Mapping[str, Decimal]
    funding: Mapping[str, Decimal]


class Ledger:
    """One account.

    Args:
        cash: Starting balances; the first is in the currency of reports unless that is given.
        instruments: Everything of the run.
        mark_of: What an instrument is valued at.
    """

    def __init__(
        self,
        cash: Mapping[str, float],
        instruments: Iterable[Instrument],
        *,
        report_currency: str | None,
        mark_of: Callable[[str], float | None],
        is_long_short: bool = False,
    ) -> None:
        self.is_long_short = is_long_short
        self.instruments: dict[str, Instrument] = {}
        for instrument in instruments:
            self.change_instrument(instrument)
        self.report_currency = report_currency or next(iter(cash))
        self.mark: Callable[[str], float | None] = lambda name: mark_of(instrument_of(name))
        self.booked = FractionLedger({currency: number(amount) for currency, amount in cash.items()})
        self._moved = dict.fromkeys(cash)  # currencies in which money has moved, in the order of the first time

    # Booking ----------------------------------------------------------------------------------------------------

    def apply(self, fill: Fill) -> None:
        """Book a fill with its fee."""
        instrument = self.instruments[leg_of(fill.instrument, fill.position_side)]
        sign = 1 if fill.side is Side.BUY else -1
        if instrument.is_spot:
            self._moved |= dict.fromkeys((instrument.quote, instrument.base))
        if fill.fee:
            self._moved[fill.fee_currency] = None
        self.booked.fill(
            contract_of(instrument),
            change=sign * size_of(instrument, fill.lots),
            price=price_at(instrument, fill.ticks),
            fee=Fraction(fill.fee),
            fee_currency=fill.fee_currency,
        )

    def charge_funding(self, name: str, *, rate: float, mark: float, qty: Fraction) -> None:
        """Settle funding on a position at a boundary; longs pay a positive rate."""
        contract = contract_of(self.instruments[name])
        received = -number(rate) * contract.value(qty, number(mark))
        self.booked.receive_funding(contract, received)
        self._moved[contract.settle] = None

    def change_instrument(self, instrument: Instrument) -> None:
        """Go by other steps."""
        self.instruments[instrument.id] = instrument
        for side in self.sides_of(instrument.id):
            if side is not PositionSide.NET:
                self.instruments[leg_of(instrument.id, side)] = _as_leg(instrument, side)

    def sides_of(self, name: str) -> list[PositionSide]:
        """Return the sides of an instrument's positions."""
        if not self.is_long_short or self.instruments[name].is_spot:
            return [PositionSide.NET]
        return [PositionSide.LONG, PositionSide.SHORT]

    # Reading ----------------------------------------------------------------------------------------------------

    @property
    def currencies(self) -> list[str]:
        """Starting ones, those in which money has moved since, and those of contracts, in that order."""
        settled = [h.contract.settle for h in self.booked.holdings.values() if h.contract.style != "spot"]
        return list(dict.fromkeys([*self._moved, *settled]))

    def balance_exact(self, currency: str) -> Fraction:
        """Return what is there of a currency."""
        return self.booked.cash.get(currency, Fraction(0))

    @property
    def cash(self) -> dict[str, Decimal]:
        """Balances by currency."""
        return {currency: shown(self.balance_exact(currency)) for currency in self.currencies}

    @property
    def holdings(self) -> dict[str, Holding]:
        """What was ever held, in the order of the first time."""
        return self.booked.holdings

    def qty(self, name: str) -> Fraction:
        """Return a signed size."""
        held = self.booked.holdings.get(name)
        return Fraction(0) if held is None else held.qty

    def open_value(self, name: str) -> Fraction:
        """Return what a position cost, signed as its size is."""
        held = self.booked.holdings.get(name)
        return Fraction(0) if held is None else held.cost if held.qty > 0 else -held.cost

    def position(self, name: str, side: str = "") -> Position:
        """Return a position as hooks read it."""
        name = leg_of(name, PositionSide(side)) if side else name
        held = self.booked.holdings.get(name) or Holding(contract_of(self.instruments[name]))
        average = held.average_price
        return Position(
            shown(held.qty),
            None if average is None else float(average),
            self.open_value(name),
            shown(held.realised),
            {currency: shown(fee) for currency, fee in held.fees.items() if fee},
            {held.contract.settle: shown(held.funding)} if held.funding else {},
        )

    def worth(self, name: str, qty: Fraction, price: float | Fraction) -> Fraction:
        """Return what a size is worth at a price, signed, in the settlement currency."""
        return contract_of(self.instruments[name]).value(qty, price if isinstance(price, Fraction) else number(price))

    def unrealised(self, name: str) -> Fraction | None:
        """Return the open profit of a contract, None while it has no mark."""
        held = self.booked.holdings.get(name)
        if held is None or not held.qty:
            return Fraction(0)
        mark = self.mark(name)
        return None if mark is None else held.unrealised(number(mark))

    def contracts_in(self, currency: str) -> list[Instrument]:
        """Return the contracts of the run that settle in a currency."""
        return [i for i in self.instruments.values() if not i.is_spot and i.settle_currency == currency]

    def equity_in(self, currency: str) -> Fraction | None:
        """Return a balance with the open profit of contracts in its currency, None while a mark is missing."""
        total = self.balance_exact(currency)
        for instrument in self.contracts_in(currency):
            open_profit = self.unrealised(instrument.id)
            if open_profit is None:
                return None
            total += open_profit
        return total

    def converter(self, currency: str) -> Instrument:
        """Return what prices a currency in that of the reports: the pair itself, else a contract on it."""
        pair = {currency, self.report_currency}
        found = [i for i in self.instruments.values() if {i.base, i.quote} == pair]
        return min(found, key=lambda instrument: (not instrument.is_spot, instrument.id))

    def rate(self, currency: str) -> Fraction | None:
        """Return what one unit of a currency is worth in that of the reports."""
        if currency == self.report_currency:
            return Fraction(1)
        via = self.converter(currency)
        mark = self.mark(via.id)
        if mark is None:
            return None
        return number(mark) if via.base == currency else 1 / number(mark)

    def equity_exact(self) -> Fraction | None:
        """Return what all is worth in the currency of reports, None while that is not known."""
        total = Fraction(0)
        for currency in self.currencies:
            amount = self.equity_in(currency)
            if amount is None:
                return None
            if amount:
                rate = self.rate(currency)
                if rate is None:
                    return None
                total += amount * rate
        return total

    @property
    def equity(self) -> Decimal | None:
        """What all is worth, as hooks read it."""
        exact = self.equity_exact()
        return None if exact is None else shown(exact)

    def totals(self, what: str) -> dict[str, Decimal]:
        """Return `realised`, `fees` or `funding` over all instruments, by currency, those that are not zero."""
        sums: dict[str, Fraction] = {}
        for held in self.booked.holdings.values():
            own = held.fees if what == "fees" else {held.contract.settle: getattr(held, what)}
            for currency, amount in own.items():
                sums[currency] = sums.get(currency, Fraction(0)) + amount
        return {currency: shown(amount) for currency, amount in sums.items() if amount}
