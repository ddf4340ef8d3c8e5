"""The exact ledger: balances by currency, netting positions, realised and unrealised profit, fees, funding, equity.

Every amount is kept as an exact sum, in whole numbers (`money.py`); decimals and fractions are made for those who read
them. What a position cost is a quotient, so that the average price needs no rounding and realised profit is derived:
`realised = flow + open_value`, where `flow` is what the fills brought in. Nothing is rounded per fill but the coin
value of inverse contracts (once, half-even, 1e-12).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from quantkit.errors import ConfigError, OrderError
from quantkit.instruments import EXACT, Instrument, Side, decimal_of
from quantkit.money import CurrencyLedger, Netting
from quantkit.orders import Fill, PositionSide, instrument_of, leg_of, side_in

#: Amounts that are no finite decimal are shown to this step; the ledger itself keeps the fraction.
SHOWN_STEP: Final = Decimal("1e-18")
#: Finite decimals of up to so many places are shown whole: sums of values, fees and funding stay far below it.
_SHOWN_PLACES: Final = 40
_FINEST_SHOWN: Final = 10**_SHOWN_PLACES
_ZERO: Final = Fraction(0)
_NOTHING: Final = Decimal(0)
_NET: Final = PositionSide.NET
_ONE_POSITION: Final = (PositionSide.NET,)
_LEGS: Final = (PositionSide.LONG, PositionSide.SHORT)
#: An isolated margin takes funding in to this part of a currency.
_MARGIN_STEPS: Final = 10**16
#: How a ledger writes what nobody else may.
_put: Final = object.__setattr__


def position_side_of(instrument: Instrument, side: str, *, is_long_short: bool, argument: str = "side") -> PositionSide:
    """Return the position that a call names, by the mode of the account.

    Args:
        instrument: The call's.
        side: As it was given; empty where it was not.
        is_long_short: Whether contracts have two legs.
        argument: What the call names the side, for errors.

    Raises:
        OrderError: The side is missing, unknown or too much.
    """
    name = instrument.id
    if not is_long_short or instrument.is_spot:
        if side in ("", _NET):
            return _NET
        instead = "" if instrument.is_spot else ", or run with position_mode='long_short'"
        raise OrderError(f"{name} has one position; leave {argument}={str(side)!r} out{instead}")
    if not side:
        raise OrderError(f"{name} has a long and a short position; name one: {argument}='long' or {argument}='short'")
    if side not in _LEGS:
        raise OrderError(f"{argument} {str(side)!r} of {name} is not known; use long or short")
    return PositionSide(side)


def shown(amount: Fraction) -> Decimal:
    """Return an exact amount as a decimal: itself where it is one of at most 40 places, else half-even to 1e-18.

    Examples:
        >>> shown(Fraction(1, 8)), shown(Fraction(2, 3))
        (Decimal('0.125'), Decimal('0.666666666666666667'))
    """
    return shown_ratio(amount.numerator, amount.denominator)


def shown_ratio(num: int, den: int) -> Decimal:
    """Return `shown` of a quotient of whole numbers, which need not be reduced; `den` is above zero."""
    quotient = EXACT.divide(Decimal(num), Decimal(den))
    if _FINEST_SHOWN % den == 0 or _FINEST_SHOWN % (den // math.gcd(num, den)) == 0:
        return quotient
    return quotient.quantize(SHOWN_STEP, rounding=ROUND_HALF_EVEN, context=EXACT)


class Position:
    """A netting position in one instrument; above zero is long.

    Attributes:
        instrument: The instrument held.
        position_side: The leg that it is in the long/short mode, else `net`.
        fees, funding: Of this instrument so far, by currency: fees paid above zero, funding received above zero.

    Its fields cannot be set: a strategy reads the ledger's own object, and only bookings change it.
    """

    __slots__ = ("_fees", "_funding", "_margin_steps", "_net", "instrument", "position_side")

    instrument: Instrument
    position_side: PositionSide
    _fees: dict[str, Decimal]
    _funding: dict[str, Decimal]
    _net: Netting
    _margin_steps: int  # funding of what is open, as an isolated margin takes it in

    def __init__(self, instrument: Instrument, position_side: PositionSide = PositionSide.NET) -> None:
        _put(self, "instrument", instrument)
        _put(self, "position_side", position_side)
        _put(self, "_fees", {})
        _put(self, "_funding", {})
        _put(self, "_net", Netting(instrument))
        _put(self, "_margin_steps", 0)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Position is the ledger's: {name} changes with fills and funding alone")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Position is the ledger's: {name} cannot be deleted")

    def __setstate__(self, state: tuple[None, dict[str, object]]) -> None:
        for name, value in state[1].items():
            _put(self, name, value)

    @property
    def fees(self) -> Mapping[str, Decimal]:
        """Fees of this instrument so far, by currency: paid above zero."""
        return MappingProxyType(self._fees)

    @property
    def funding(self) -> Mapping[str, Decimal]:
        """Funding of this instrument so far, by currency: received above zero."""
        return MappingProxyType(self._funding)

    def __repr__(self) -> str:
        name = leg_of(self.instrument.id, self.position_side)
        return f"Position({name!r}, qty={self.qty}, average_price={self.average_price})"

    @property
    def qty(self) -> Decimal:
        """Signed size in the instrument's unit, exact; fees taken in the base currency are already subtracted."""
        net = self._net
        return EXACT.scaleb(Decimal(net.size), -net.size_places) if net.is_used else _NOTHING

    @property
    def lots(self) -> int:
        """Signed size in whole lots, toward zero; contracts have no others."""
        net = self._net
        return net.size // net.lot if net.size >= 0 else -(-net.size // net.lot)

    @property
    def lots_covering(self) -> int:
        """Signed size in whole lots, away from zero: so many bring it to zero, or past it by less than one."""
        net = self._net
        return -(-net.size // net.lot) if net.size >= 0 else net.size // net.lot

    @property
    def is_flat(self) -> bool:
        """Whether nothing is held."""
        return not self._net.size

    @property
    def open_value(self) -> Fraction:
        """Cost of the position in the settlement currency, signed like `qty`, exact."""
        return self._net.open_value

    @property
    def margin_funding(self) -> Fraction:
        """Funding since the position was opened, less the share of parts closed since; to 1e-16, received above zero.

        An isolated margin has it in it.
        """
        return Fraction(self._margin_steps, _MARGIN_STEPS)

    @property
    def has_margin_funding(self) -> bool:
        """Whether `margin_funding` is not zero."""
        return bool(self._margin_steps)

    @property
    def qty_float(self) -> float:
        """`qty` as the nearest float."""
        return self.floats()[0]

    @property
    def open_value_float(self) -> float:
        """`open_value` as the nearest float."""
        return self.floats()[1]

    def floats(self) -> tuple[float, float]:
        """Return `qty` and `open_value` as the nearest floats."""
        net = self._net
        # Python divides whole numbers to the nearest float.
        return net.size / net.size_scale, net.num / (net.den * net.scale)

    @property
    def realised_exact(self) -> Fraction:
        """Profit taken so far in the settlement currency, before fees and funding."""
        return self._net.realised

    @property
    def realised_ratio(self) -> tuple[int, int]:
        """`realised_exact` as a quotient of whole numbers, not reduced."""
        return self._net.realised_ratio

    @property
    def realised(self) -> Decimal:
        """`realised_exact` as a decimal."""
        return shown(self.realised_exact)

    @property
    def average_price_exact(self) -> Fraction | None:
        """Average entry price, harmonic for inverse contracts; None while flat."""
        if not self._net.size:
            return None
        size = Fraction(self.qty) * Fraction(self.instrument.unit)
        return size / self.open_value if self.instrument.is_inverse else self.open_value / size

    @property
    def average_price(self) -> float | None:
        """`average_price_exact` as the nearest float."""
        exact = self.average_price_exact
        return None if exact is None else float(exact)

    def unrealised_exact(self, mark: float) -> Fraction:
        """Return the open profit at `mark` in the settlement currency; zero while flat."""
        return Fraction(*self.unrealised_ratio(mark)) if self._net.size else _ZERO

    def unrealised_ratio(self, mark: float) -> tuple[int, int]:
        """Return the open profit at `mark` as a quotient of whole numbers, not reduced."""
        net, instrument = self._net, self.instrument
        if instrument.is_inverse:
            worth, parts = instrument.notional(self.qty, mark).as_integer_ratio()
        else:
            unit, units = instrument.unit.as_integer_ratio()
            price, prices = decimal_of(mark).as_integer_ratio()
            worth, parts = net.size * unit * price, net.size_scale * units * prices
        cost, costs = net.num, net.den * net.scale
        return net.sign * (worth * costs - cost * parts), parts * costs

    def unrealised(self, mark: float) -> Decimal:
        """Return `unrealised_exact` as a decimal."""
        return shown(self.unrealised_exact(mark))

    def use(self, instrument: Instrument) -> None:
        """Use new steps from now on; the contract value has to be the same."""
        _put(self, "instrument", instrument)
        self._net.use(instrument)

    def trade(self, qty: Decimal, value: Decimal) -> None:
        """Book a signed execution worth `value`, signed like `qty`: add, reduce, or flip through zero."""
        net = self._net
        net.trade(net.count_size(qty), net.count_money(value))

    def book(self, fill: Fill) -> None:
        """Book a fill with its fee.

        A fee in the base currency reduces the coins of a spot fill: the position moves by the net size at the fill's
        own price, so that the fee itself makes no profit and no loss.
        """
        instrument, net = self.instrument, self._net
        fee, currency, before = fill.fee, fill.fee_currency, net.size
        lots = fill.lots if fill.side is Side.BUY else -fill.lots
        coins = paid = 0
        if fee:
            self._fees[currency] = EXACT.add(self._fees.get(currency, _NOTHING), fee)
            if instrument.is_spot and currency == instrument.base:
                coins = net.count_size(fee)
                paid = net.count_money(EXACT.multiply(fee, instrument.price_decimal(fill.ticks)))
        if instrument.is_inverse:
            value = net.count_money(fill.value)
            net.trade(lots * net.lot, value if lots > 0 else -value)
        else:
            net.trade(lots * net.lot - coins, lots * fill.ticks * net.lot_tick - paid)
        if self._margin_steps:
            self._reduce_margin(before)

    def _reduce_margin(self, before: int) -> None:
        """Take the share of a closed part out of the funding of what is open."""
        after = self._net.size
        if not after or (after > 0) is not (before > 0):
            _put(self, "_margin_steps", 0)
        elif abs(after) < abs(before):
            _put(self, "_margin_steps", round(Fraction(self._margin_steps * after, before)))

    def book_funding(self, currency: str, received: Decimal) -> None:
        """Book funding received; a payment is below zero."""
        self._funding[currency] = EXACT.add(self._funding.get(currency, _NOTHING), received)
        if self._net.size:
            _put(self, "_margin_steps", self._margin_steps + round(Fraction(received) * _MARGIN_STEPS))


class Portfolio:
    """Balances and positions of one account.

    A contract has one net position, or in the long/short mode two legs side by side: a long one and a short one.

    Args:
        cash: Starting balances by currency, zero or more each.
        instruments: Everything that may be traded.
        report_currency: Currency of the equity; default the first of `cash`.
        mark_of: Gives the latest mark of an instrument, or None before the first.
        is_long_short: Whether contracts have two legs.

    Attributes:
        is_long_short: As above.
        currencies: Every currency that has or had a balance, starting ones first.
        mark: Gives the latest mark of an instrument, by its id; None before the first.

    Raises:
        ConfigError: No cash, a negative balance, or a currency that no instrument of the run converts.
    """

    def __init__(
        self,
        cash: Mapping[str, float | int | str | Decimal],
        instruments: Iterable[Instrument],
        *,
        report_currency: str | None = None,
        mark_of: Callable[[str], float | None],
        is_long_short: bool = False,
    ) -> None:
        if not cash:
            raise ConfigError("the account has no cash; give for example cash={'USDT': 10_000}")
        deposits = {currency: decimal_of(amount) for currency, amount in cash.items()}
        for currency, amount in deposits.items():
            if amount < 0:
                raise ConfigError(f"starting cash of {currency} is {amount}; it cannot be negative")
        self._instruments = {instrument.id: instrument for instrument in instruments}
        self.instruments: Mapping[str, Instrument] = MappingProxyType(self._instruments)
        self.report_currency = report_currency or next(iter(cash))
        self.deposits: Mapping[str, Decimal] = MappingProxyType(deposits)
        self.mark = mark_of
        self.is_long_short = is_long_short
        self._balances: dict[str, CurrencyLedger] = {}
        self._settled: dict[str, CurrencyLedger] = {}  # of the currencies that money was moved in, in order
        self._positions: dict[str, Position] = {}
        self._untraded: dict[str, Position] = {}
        self._contracts: dict[str, list[Position]] = {}
        self.currencies: tuple[str, ...] = ()
        self._converters = self._find_converters()
        for currency, amount in deposits.items():
            self._money(currency).settle(amount)
        self._is_built = True

    def __setattr__(self, name: str, value: object) -> None:
        if "_is_built" in self.__dict__:
            raise AttributeError(f"a Portfolio is the ledger's: {name} cannot be set")
        _put(self, name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Portfolio is the ledger's: {name} cannot be deleted")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "instruments": self._instruments, "deposits": dict(self.deposits)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        read_only = {name: MappingProxyType(state[name]) for name in ("instruments", "deposits")}
        self.__dict__.update(state | read_only)

    # Reading --------------------------------------------------------------------------------------------------

    def balance_exact(self, currency: str) -> Fraction:
        """Return the cash balance: deposits, spot trades, realised contract profit, fees and funding."""
        balance = self._balances.get(currency)
        return _ZERO if balance is None else Fraction(*balance.ratio())

    def balance_float(self, currency: str) -> float:
        """Return `balance_exact` as the nearest float."""
        balance = self._balances.get(currency)
        if balance is None:
            return 0.0
        if not balance.fractional:
            return (balance.settled + balance.brought) / balance.scale
        num, den = balance.ratio()
        return num / den

    def covers(self, currency: str, amount: Decimal) -> bool:
        """Whether the balance of a currency is an amount or more, exactly."""
        balance = self._balances.get(currency)
        return amount <= 0 if balance is None else balance.covers(amount)

    def balance(self, currency: str) -> Decimal:
        """Return `balance_exact` as a decimal."""
        return shown(self.balance_exact(currency))

    @property
    def cash(self) -> dict[str, Decimal]:
        """Balances by currency."""
        return {currency: self.balance(currency) for currency in self.currencies}

    @property
    def positions(self) -> dict[str, Position]:
        """Every position that was ever opened, flat ones too, by instrument id; a leg has its side behind the id."""
        return dict(self._positions)

    def position(self, instrument: str, side: str = "") -> Position:
        """Return the position in an instrument, flat if it never traded; the same object throughout the run.

        Args:
            instrument: Its id.
            side: `long` or `short`, for a contract in the long/short mode.

        Raises:
            OrderError: The run has no such instrument, or the side is missing or too much.
        """
        found = None if side else self._positions.get(instrument) or self._untraded.get(instrument)
        if found is not None:
            return found
        named = position_side_of(self._known(instrument), side, is_long_short=self.is_long_short)
        return self.leg(leg_of(instrument, named))

    def sides_of(self, instrument: str) -> tuple[PositionSide, ...]:
        """Return the sides of an instrument's positions: `net`, or in the long/short mode `long` and `short`."""
        return _LEGS if self.is_long_short and not self._known(instrument).is_spot else _ONE_POSITION

    @property
    def legs(self) -> list[str]:
        """The keys of all positions that there may be, as `leg_of` has them."""
        return [leg_of(name, side) for name in self.instruments for side in self.sides_of(name)]

    def _known(self, instrument: str) -> Instrument:
        known = self.instruments.get(instrument)
        if known is None:
            raise OrderError(f"{instrument} is no instrument of this run; it has {', '.join(self.instruments)}")
        return known

    def leg(self, leg: str) -> Position:
        """Return a position by its key, as `leg_of` has it."""
        found = self._positions.get(leg) or self._untraded.get(leg)
        if found is None:
            side = PositionSide(side_in(leg) or _NET)
            found = self._untraded[leg] = Position(self.instruments[instrument_of(leg)], side)
        return found

    def net(self, leg: str) -> Netting:
        """Return the whole numbers behind a position, for those that judge orders by them; to be read only."""
        return self.leg(leg)._net

    def money(self, currency: str) -> CurrencyLedger:
        """Return the whole numbers behind a balance, for those that judge orders by them; to be read only."""
        return self._balances.setdefault(currency, CurrencyLedger())

    def totals(self, what: str) -> dict[str, Decimal]:
        """Return `realised`, `fees` or `funding` summed over instruments, by currency."""
        totals: dict[str, Fraction] = {}
        for position in self._positions.values():
            if what == "realised":
                amounts = {position.instrument.settle_currency: position.realised_exact}
            else:
                booked: Mapping[str, Decimal] = getattr(position, what)
                amounts = {currency: Fraction(amount) for currency, amount in booked.items()}
            for currency, amount in amounts.items():
                totals[currency] = totals.get(currency, _ZERO) + amount
        return {currency: shown(amount) for currency, amount in totals.items()}

    def converter(self, currency: str) -> Instrument:
        """Return the instrument whose mark converts a currency other than the report currency."""
        return self._converters[currency]

    @property
    def converters(self) -> dict[str, str]:
        """The ids of the instruments that convert, by currency."""
        return {currency: via.id for currency, via in self._converters.items()}

    def rate_exact(self, currency: str) -> Fraction | None:
        """Return what one unit of `currency` is worth in the report currency; None while no mark is known."""
        if currency == self.report_currency:
            return Fraction(1)
        via = self._converters[currency]
        mark = self.mark(via.id)
        if mark is None:
            return None
        price = Fraction(decimal_of(mark))
        return price if via.base == currency else 1 / price

    def open_contracts(self, currency: str) -> list[Position]:
        """Return the positions in contracts that settle in a currency, those that are not flat."""
        return [position for position in self._contracts.get(currency, ()) if position._net.size]

    def backs_contracts(self, currency: str) -> bool:
        """Whether contracts that settle in a currency are or were held; without any, the currency may buy coins."""
        return currency in self._contracts

    def equity_in(self, currency: str) -> Fraction | None:
        """Return the balance of a currency plus the open profit of contracts that settle in it; None without a mark."""
        ratio = self._ratio_in(currency)
        return None if ratio is None else Fraction(*ratio)

    def equity_exact(self) -> Fraction | None:
        """Return balances plus open contract profit in the report currency; None while a needed mark is unknown."""
        ratio = self._ratio()
        return None if ratio is None else Fraction(*ratio)

    @property
    def equity(self) -> Decimal | None:
        """`equity_exact` as a decimal."""
        exact = self.equity_exact()
        return None if exact is None else shown(exact)

    @property
    def equity_float(self) -> float | None:
        """`equity` as the nearest float."""
        ratio = self._ratio()
        if ratio is None:
            return None
        num, den = ratio
        # What `shown` shows whole is rounded but once: Python divides whole numbers to the nearest float.
        return num / den if num * _FINEST_SHOWN % den == 0 else float(shown(Fraction(num, den)))

    def _ratio(self) -> tuple[int, int] | None:
        """Return `equity_exact` as a quotient of whole numbers, not reduced."""
        num, den = 0, 1
        for currency in self.currencies:
            ratio = self._ratio_in(currency)
            if ratio is None:
                return None
            more, parts = ratio
            if more and currency != self.report_currency:
                rate = self.rate_exact(currency)
                if rate is None:
                    return None
                more, parts = more * rate.numerator, parts * rate.denominator
            num, den = num * parts + more * den, den * parts
        return num, den

    def _ratio_in(self, currency: str) -> tuple[int, int] | None:
        """Return `equity_in` as a quotient of whole numbers, not reduced."""
        balance = self._balances.get(currency)
        num, den = (0, 1) if balance is None else balance.ratio()
        for position in self._contracts.get(currency, ()):
            if position._net.size:
                mark = self.mark(position.instrument.id)
                if mark is None:
                    return None
                more, parts = position.unrealised_ratio(mark)
                num, den = num * parts + more * den, den * parts
        return num, den

    # Booking --------------------------------------------------------------------------------------------------

    def change_instrument(self, instrument: Instrument) -> None:
        """Use an instrument's new steps and minimum; the contract value has to be the same."""
        self._instruments[instrument.id] = instrument
        for side in self.sides_of(instrument.id):
            self.leg(leg_of(instrument.id, side)).use(instrument)

    def apply(self, fill: Fill) -> None:
        """Book one fill with its fee."""
        leg = fill.instrument if fill.position_side is _NET else fill.leg
        position = self._positions.get(leg) or self._own(leg)
        instrument, fee = position.instrument, fill.fee
        net = position._net
        if instrument.is_spot:
            position.book(fill)
            lots = fill.lots if fill.side is Side.BUY else -fill.lots
            self._money(instrument.quote).settle_count(-lots * fill.ticks * net.lot_tick, net.places)
            self._money(instrument.base).settle_count(lots * net.lot, net.size_places)
        else:
            # `flow + num` is the whole profit taken, before the sign of the contract's kind.
            taken, scale = net.flow + net.num if net.den == 1 else None, net.scale
            position.book(fill)
            self._balances[instrument.settle].follow(net, taken, scale)
        if fee:
            (self._settled.get(fill.fee_currency) or self._money(fill.fee_currency)).settle(fee.copy_negate())

    def charge_funding(
        self,
        instrument: str,
        *,
        rate: float,
        mark: float,
        qty: Decimal,
        position_side: PositionSide = PositionSide.NET,
    ) -> Decimal:
        """Settle funding on a position held at the boundary; longs pay a positive rate.

        Returns:
            Funding received in the settlement currency; a payment is below zero.
        """
        if not qty:
            return Decimal(0)
        position = self._own(leg_of(instrument, position_side))
        notional = position.instrument.notional(qty, mark)
        received = EXACT.multiply(notional, decimal_of(rate).copy_negate())
        currency = position.instrument.settle_currency
        position.book_funding(currency, received)
        self._money(currency).settle(received)
        return received

    def _own(self, leg: str) -> Position:
        """Return the position to book on, from now on among those that were opened."""
        position = self._positions.get(leg)
        if position is None:
            position = self._positions[leg] = self.leg(leg)
            del self._untraded[leg]
            if not position.instrument.is_spot:
                currency = position.instrument.settle_currency
                self._contracts.setdefault(currency, []).append(position)
                self._balances.setdefault(currency, CurrencyLedger())
                self._list_currencies()
        return position

    def _money(self, currency: str) -> CurrencyLedger:
        """Return the balance to move money in, from now on among those that have some."""
        balance = self._settled.get(currency)
        if balance is None:
            balance = self._settled[currency] = self._balances.setdefault(currency, CurrencyLedger())
            self._list_currencies()
        return balance

    def _list_currencies(self) -> None:
        found = tuple(dict.fromkeys((*self._settled, *self._contracts)))
        if found != self.currencies:
            _put(self, "currencies", found)

    def _find_converters(self) -> dict[str, Instrument]:
        """Choose for every currency of the run the instrument that prices it in the report currency."""
        needed = set(self.deposits)
        for instrument in self.instruments.values():
            needed |= {instrument.base, instrument.quote} if instrument.is_spot else {instrument.settle_currency}
        converters: dict[str, Instrument] = {}
        for currency in sorted(needed - {self.report_currency}):
            pair = {currency, self.report_currency}
            candidates = [i for i in self.instruments.values() if {i.base, i.quote} == pair]
            if not candidates:
                raise ConfigError(
                    f"{currency} cannot be counted in {self.report_currency}: the run has no instrument "
                    f"{currency}-{self.report_currency}; subscribe to one or choose another report currency"
                )
            # A spot price is the plain answer; a contract's mark stands in for it where there is none.
            converters[currency] = min(candidates, key=lambda i: (not i.is_spot, i.id))
        return converters
