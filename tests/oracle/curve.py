"""What the oracle's account is worth, looked at after every single row and fill: the curve and the excursions.

Each value is counted twice: exactly, from the fraction ledger, and as floats by the operations that
`quantkit/engine/equity.py` states, in their order, since a curve's last digits are part of a result. The exact value
judges the floats on the spot; the floats have to be the engine's, to the last digit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from oracle.ledger import Ledger, instrument_of, leg_of, number, size_of, tradable_lots

from quantkit.instruments import Instrument, Side
from quantkit.orders import Fill

DAY_NS = 86_400 * 10**9
#: A sum of some dozens of floats is exact to so much of its largest term.
_CLOSE = Fraction(1, 2**46)
_COIN = Fraction(1, 10**12)


class CurveRow(NamedTuple):
    """One row of the equity curve."""

    time_ns: int
    equity: float
    cash: float
    exposure: float
    drawdown: float
    is_grid: bool


@dataclass
class Trip:
    """One round trip with the range of its marks."""

    instrument: str
    fill_id: int
    low: float
    high: float

    def see(self, price: float) -> None:
        """Widen the range."""
        self.low, self.high = min(self.low, price), max(self.high, price)


@dataclass
class TripState:
    """What an instrument's latest round trip has come to."""

    side: Side | None = None
    held: Fraction = Fraction(0)
    is_over: bool = False  # nothing but a remainder is left
    trip: Trip | None = None


@dataclass
class Curve:
    """Follows the exchange's ledger.

    Attributes:
        ledger: The exchange's.
        mark_of: What an instrument is valued at now.
        every_ns: The grid; UTC midnights are on it too.
        last: The marks that count, by instrument: of what is held and of what converts.
        deepest: The deepest fall since the row before.
    """

    ledger: Ledger
    mark_of: Callable[[str], float | None]
    every_ns: int

    def __post_init__(self) -> None:
        self.rows: list[CurveRow] = []
        self.trips: list[Trip] = []
        self.last: dict[str, float] = {}
        self.rates: dict[str, float] = {}  # what came before the curve could begin
        self.is_started = False
        self.next_ns = 0
        self.peak = 0.0
        self.deepest = 0.0
        self.states: dict[str, TripState] = {}
        self.starting_equity = Fraction(0)

    # The account and its marks ----------------------------------------------------------------------------------

    def needed(self) -> list[str]:
        """Return whose marks count: what is held, and what converts a currency that is held or that contracts need."""
        ledger = self.ledger
        held = [holding.contract.name for holding in ledger.holdings.values() if holding.qty]
        held += [
            ledger.converter(currency).id
            for currency in self._others()
            if ledger.balance_exact(currency) or any(ledger.qty(i.id) for i in ledger.contracts_in(currency))
        ]
        return sorted(set(held))

    def _others(self) -> list[str]:
        return [currency for currency in self.ledger.currencies if currency != self.ledger.report_currency]

    def changed(self) -> None:
        """Take the marks of now for the account of now."""
        marks = {name: self.mark_of(name) for name in self.needed()}
        self.last = {name: mark for name, mark in marks.items() if mark is not None}

    def begin(self, now_ns: int) -> None:
        """Begin at the start of the run if everything is priced."""
        self.next_ns = self._after(now_ns)
        if self.ledger.equity_exact() is not None:
            self.changed()
            self._open(now_ns)

    def _open(self, now_ns: int) -> None:
        self.is_started = True
        self.next_ns = self._after(now_ns)
        equity, exact = self._equity(self.last), self._equity_exact(self.last)
        self.starting_equity, self.peak = exact, equity
        self._append(now_ns, equity, self.last, 0.0, is_grid=False)

    def _after(self, now_ns: int) -> int:
        return min((now_ns // step + 1) * step for step in (self.every_ns, DAY_NS))

    # What happens -----------------------------------------------------------------------------------------------

    def pass_to(self, now_ns: int) -> None:
        """Write what the grid shows of the time before `now_ns`."""
        while self.next_ns < now_ns:
            moment_ns, self.next_ns = self.next_ns, self._after(self.next_ns)
            if self.is_started:
                equity = self._equity(self.last)
                self._append(moment_ns, equity, self.last, self._depth(equity), is_grid=True)

    def before_change(self, now_ns: int, ahead: Mapping[str, float] | None) -> None:
        """Write the grid's row of this very moment before the account changes.

        Args:
            now_ns: When it changes.
            ahead: The last marks of this stamp, also those that nobody has come to; None where candles that close now
                have not been handed over: the row is written later then, with what happens here.
        """
        self.pass_to(now_ns)
        if ahead is None or self.next_ns != now_ns:
            return
        self.next_ns = self._after(now_ns)
        if self.is_started:
            marks = {name: ahead.get(name, mark) for name, mark in self.last.items()}
            equity = self._see(marks)
            self._append(now_ns, equity, marks, self._depth(equity), is_grid=True)

    def filled(self, fill: Fill, now_ns: int) -> None:
        """Write a row for a fill that has just been booked."""
        self.changed()
        if not self.is_started and self.ledger.equity_exact() is not None:
            self._open(now_ns)
        self._follow(fill)
        if self.is_started:
            equity = self._see(self.last)
            self._append(now_ns, equity, self.last, self._depth(equity), is_grid=False)

    def funded(self) -> None:
        """Funding is no row, and its mark no moment: what it took shows with the next one."""
        self.changed()

    def marked(self, name: str, mark: float, received_ns: int) -> None:
        """Look at the account at a row that brings a mark."""
        if not self.is_started:
            self.rates[name] = mark
            others = [c for c in self._others() if self.ledger.balance_exact(c)]
            if all(self.ledger.converter(currency).id in self.rates for currency in others):
                self.changed()
                self.last |= {each: self.rates[each] for each in self.last if each in self.rates}
                self._open(received_ns)
            return
        if name not in self.last:
            return
        self.last[name] = mark
        self._see(self.last)
        for each, state in self.states.items():
            if state.trip is not None and not state.is_over and instrument_of(each) in self.last:
                state.trip.see(self.last[instrument_of(each)])

    def is_ruined(self, marks: Mapping[str, float]) -> bool:
        """Whether somebody who has traded has nothing left, in all or in a currency that contracts settle in."""
        if not self.states:
            return False
        if self._equity_exact(marks) <= 0:
            return True
        for currency in self.ledger.currencies:
            held = [self.ledger.holdings.get(i.id) for i in self.ledger.contracts_in(currency)]
            traded = [each for each in held if each is not None]
            opened = [each for each in traded if each.qty and each.contract.name in marks]
            worth = self.ledger.balance_exact(currency)
            worth += sum(each.unrealised(number(marks[each.contract.name])) for each in opened)
            if traded and (worth < 0 or (worth == 0 and any(each.qty for each in traded))):
                return True
        return False

    def close(self, now_ns: int) -> None:
        """Write the last row."""
        if self.is_started:
            equity = self._equity(self.last)
            self._append(now_ns, equity, self.last, self._depth(equity), is_grid=False)

    # Numbers ----------------------------------------------------------------------------------------------------

    def _see(self, marks: Mapping[str, float]) -> float:
        """Look at the account: move the running peak, note the fall from it, and return the equity."""
        equity = self._equity(marks)
        self._judge(equity, marks)
        self.peak = max(self.peak, equity)
        if self.peak > 0:
            self.deepest = min(self.deepest, equity / self.peak - 1.0)
        return equity

    def _depth(self, equity: float) -> float:
        return min(0.0, equity / self.peak - 1.0) if self.peak > 0 else 0.0

    def _append(self, time_ns: int, equity: float, marks: Mapping[str, float], depth: float, *, is_grid: bool) -> None:
        cash = float(self.ledger.balance_exact(self.ledger.report_currency))
        self._judge(equity, marks)
        drawdown, self.deepest = min(depth, self.deepest), 0.0
        self.rows.append(CurveRow(time_ns, equity, cash, self._exposure(marks, equity), drawdown, is_grid))

    def _held(self) -> Iterable[tuple[Instrument, float, float, float]]:
        """Yield instrument, signed size, what it cost, and the size of one unit, of what is held, as floats."""
        for name, holding in self.ledger.holdings.items():
            if holding.qty:
                unit = float(holding.contract.unit)
                instrument = self.ledger.instruments[holding.contract.name]
                yield instrument, float(holding.qty), float(self.ledger.open_value(name)), unit

    def _equity(self, marks: Mapping[str, float]) -> float:
        """Return the equity: currency by currency, each its balance and then contract by contract."""
        total = 0.0
        for currency in self.ledger.currencies:
            worth = float(self.ledger.balance_exact(currency))
            for instrument, qty, cost, unit in self._held():
                mark = marks.get(instrument.id)
                if instrument.is_spot or instrument.settle_currency != currency or mark is None:
                    continue
                size = qty * unit
                worth += cost - size / mark if instrument.is_inverse else size * mark - cost
            if currency != self.ledger.report_currency:
                via = self.ledger.converter(currency)
                rate = marks.get(via.id)
                if rate is None:
                    continue
                worth = worth * rate if via.base == currency else worth / rate
            total += worth
        return total

    def _exposure(self, marks: Mapping[str, float], equity: float) -> float:
        """Return the gross worth of all that is held over the equity; without bound where that is gone."""
        gross = 0.0
        for instrument, qty, _, unit in self._held():
            mark = marks.get(instrument.id)
            if mark is None:
                continue
            size = abs(qty) * unit
            worth = size / mark if instrument.is_inverse else size * mark
            currency = instrument.settle_currency
            if currency != self.ledger.report_currency:
                via = self.ledger.converter(currency)
                rate = marks.get(via.id)
                if rate is None:
                    continue
                worth = worth * rate if via.base == currency else worth / rate
            gross += worth
        if equity > 0:
            return gross / equity
        return float("inf") if gross > 0 else 0.0

    def _equity_exact(self, marks: Mapping[str, float]) -> Fraction:
        return sum(self._terms(marks), Fraction(0))

    def _terms(self, marks: Mapping[str, float]) -> list[Fraction]:
        """Return balances and open profits in the currency of reports, exactly, each by itself."""
        terms: list[Fraction] = []
        for currency in self.ledger.currencies:
            rate = Fraction(1)
            if currency != self.ledger.report_currency:
                via = self.ledger.converter(currency)
                if via.id not in marks:
                    continue
                price = number(marks[via.id])
                rate = price if via.base == currency else 1 / price
            terms.append(self.ledger.balance_exact(currency) * rate)
            for instrument in self.ledger.contracts_in(currency):
                held = self.ledger.holdings.get(instrument.id)
                if held is not None and held.qty and held.contract.name in marks:
                    terms.append(held.unrealised(number(marks[held.contract.name])) * rate)
        return terms

    def _judge(self, equity: float, marks: Mapping[str, float]) -> None:
        """Hold the floats against the exact equity: as close as sums of such amounts as floats can be."""
        gross, coins = Fraction(0), Fraction(0)
        for currency in self.ledger.currencies:
            if currency != self.ledger.report_currency and self.ledger.converter(currency).id not in marks:
                continue
            rate = self._rate(currency, marks)
            gross += abs(self.ledger.balance_exact(currency)) * rate
            for instrument in self.ledger.contracts_in(currency):
                held = self.ledger.holdings.get(instrument.id)
                if held is not None and held.qty and held.contract.name in marks:
                    value = held.contract.value(abs(held.qty), number(marks[held.contract.name]))
                    gross += (value + held.cost) * rate
                    coins += _COIN * rate
        exact = self._equity_exact(marks)
        assert abs(Fraction(equity) - exact) <= gross * _CLOSE + coins, f"{equity!r} is not {float(exact)!r}"

    def _rate(self, currency: str, marks: Mapping[str, float]) -> Fraction:
        if currency == self.ledger.report_currency:
            return Fraction(1)
        via = self.ledger.converter(currency)
        price = number(marks[via.id])
        return price if via.base == currency else 1 / price

    # Round trips ------------------------------------------------------------------------------------------------

    def _follow(self, fill: Fill) -> None:
        """Let a fill go on with its instrument's round trip, end it, or begin one.

        A trip ends with the fill that leaves nothing that can be traded. What is sold of such a remainder later still
        belongs to it. What goes through zero begins the next.
        """
        leg = leg_of(fill.instrument, fill.position_side)
        instrument = self.ledger.instruments[leg]
        state = self.states.setdefault(leg, TripState())
        before, after = state.held, self.ledger.qty(leg)
        state.held = after
        whole = size_of(instrument, fill.lots)
        if state.side is None or (fill.side is state.side and state.is_over):
            of_trip = Fraction(0)
        elif fill.side is state.side:
            of_trip = whole
        else:
            remains = before if state.side is Side.BUY else -before
            # The lot that only in part belongs to what is held belongs to the trip.
            lots = -(-max(Fraction(0), remains) // Fraction(instrument.lot))
            of_trip = min(whole, lots * Fraction(instrument.lot))
        if state.trip is not None and of_trip:
            state.trip.see(fill.price)
            if fill.side is not state.side:
                state.is_over = tradable_lots(instrument, after) == 0
        if of_trip < whole:
            state.side, state.is_over = fill.side, False
            state.trip = Trip(fill.instrument, fill.id, fill.price, fill.price)
            self.trips.append(state.trip)
