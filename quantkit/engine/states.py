"""The account after each fill since the last look: written down as numbers, read as columns when they are valued."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from quantkit.engine.worth import AccountView, Amount, CurrencyBalance, Floats, PositionView
from quantkit.orders import Fill, PositionSide
from quantkit.portfolio import Portfolio, Position
from quantkit.rows.marks import BookMark, MarkTable

#: So many numbers of each state are whole: index, time, whether it is after candles, and which position changed.
_WHOLE: Final = 4
#: Stands for a mark that decides nothing.
_ANY_MARK: Final = 1.0


class _HeldLine:
    """What the fills of one position change."""

    __slots__ = ("balances", "currencies", "held", "number", "position", "unit")

    def __init__(self, number: int, held: PositionView, position: Position, balances: list[CurrencyBalance]) -> None:
        self.number = number
        self.held = held
        self.position = position
        self.unit = float(position.instrument.unit)
        self.balances = balances
        self.currencies = [balance.currency for balance in balances]

    def read(self) -> None:
        """Read the position."""
        held = self.held
        qty, held.open_value = self.position.floats()
        held.size = qty * self.unit
        held.is_long = qty > 0


class StateColumns:
    """States as columns: number 0 is the account of the last look, each other one that after a fill.

    Attributes:
        count: How many fills.
        begins: The indices of rows from which on they hold.
        fill_ns: When the fills were booked. are_after: Whether that was after the candles of its moment.
        view: The account along the states. What no fill has changed is one number.
        mids: Marks of books, as each state began.
    """

    def __init__(
        self, view: AccountView, mids: list[str], begin: int, base: list[Amount], whole: list[int], parts: list[Amount]
    ) -> None:
        ints = np.array(whole, np.int64).reshape(-1, _WHOLE)
        self.count = len(ints)
        self.begins: NDArray[np.int64] = np.concatenate(([begin], ints[:, 0]))
        self.fill_ns: NDArray[np.int64] = ints[:, 1]
        self.are_after = ints[:, 2] != 0
        # A state has size and open value of the position that changed, all balances, and all mids.
        amounts = 2 + len(view.balances)
        floats = np.array(parts, np.float64).reshape(self.count, amounts + len(mids))
        every, numbers = np.arange(self.count), iter(base)
        found: dict[str, PositionView] = {}
        for number, held in enumerate(view.positions):
            fills = np.flatnonzero(ints[:, 3] == number)
            size, open_value = (self._spread(next(numbers), fills, floats[:, n]) for n in (0, 1))
            found[held.leg] = held.at(size, open_value)
        balances = []
        for number, balance in enumerate(view.balances, 2):
            there = balance.at(self._spread(next(numbers), every, floats[:, number]))
            there.contracts = [found[held.leg] for held in balance.contracts]
            balances.append(there)
        self.view = AccountView(balances, list(found.values()))
        self.mids: dict[str, Floats] = {
            name: np.concatenate(([_ANY_MARK], floats[:, number])) for number, name in enumerate(mids, amounts)
        }

    def _spread(self, base: Amount, fills: NDArray[np.int64], values: Floats) -> Amount:
        """Return a number along the states, which some of the fills changed."""
        if not len(fills):
            return base
        lasting = np.diff(np.concatenate(([0], fills + 1, [self.count + 1])))
        return np.repeat(np.concatenate(([base], values[fills])), lasting)


class AccountStates:
    """The account as floats: as it is, and as it was after each fill since the last look.

    Args:
        ledger: The account's truth.
        marks: What instruments are valued at.

    Attributes:
        view: The account as it is.
        count: How many states there are.
        last: The index and the time of the last of them.
        mids: Instruments that are valued at the mid of a book, if they are: states keep their marks.
    """

    def __init__(self, ledger: Portfolio, marks: MarkTable) -> None:
        self.view = AccountView([], [])
        self.count = 0
        self.last = 0, 0
        self.mids: list[str] = []
        self._ledger = ledger
        self._marks = marks
        self._currencies = ledger.currencies
        self._lines: dict[str, _HeldLine] = {}
        self._base: list[Amount] = []
        self._whole: list[int] = []
        self._parts: list[Amount] = []

    def read(self) -> None:
        """Read the ledger anew; the states so far have been valued."""
        ledger = self._ledger
        self._currencies = ledger.currencies
        balances: dict[str, CurrencyBalance] = {}
        for currency in ledger.currencies:
            amount = ledger.balance_float(currency)
            balances[currency] = CurrencyBalance(currency, *self._conversion(currency), amount)
        self._lines = {}
        for leg, position in ledger.positions.items():
            instrument = position.instrument
            conversion = self._conversion(instrument.settle_currency)
            held = PositionView(instrument.id, leg, *conversion, is_inverse=instrument.is_inverse)
            if instrument.is_spot:
                moved = [balances[instrument.base], balances[instrument.quote]]
            else:
                moved = [balances[instrument.settle_currency]]
                moved[0].contracts.append(held)
            line = self._lines[leg] = _HeldLine(len(self._lines), held, position, moved)
            line.read()
        self.view = AccountView(list(balances.values()), [line.held for line in self._lines.values()])
        self.mids = [name for name in self.view.matters() if isinstance(self._marks.sources[name], BookMark)]
        self.forget()

    def _conversion(self, currency: str) -> tuple[str | None, bool]:
        """Return the instrument that converts a currency, None where it is reported in, and whether it divides."""
        if currency == self._ledger.report_currency:
            return None, False
        via = self._ledger.converter(currency)
        return via.id, via.base != currency

    def add(self, fill: Fill, index: int, now_ns: int, *, is_after: bool) -> bool:
        """Add the state after a fill that the ledger has just booked.

        Returns:
            Whether that was possible. What is new, an instrument or a currency, and a book without a mark ask for
            `read`.
        """
        leg = fill.instrument if fill.position_side is PositionSide.NET else fill.leg
        ledger, line = self._ledger, self._lines.get(leg)
        if line is None or ledger.currencies is not self._currencies:
            return False
        line.read()
        for balance in line.balances:
            balance.amount = ledger.balance_float(balance.currency)
        if fill.fee_currency not in line.currencies:
            for balance in self.view.balances:
                if balance.currency == fill.fee_currency:
                    balance.amount = ledger.balance_float(balance.currency)
        mids = self._standing_mids() if self.mids else []
        if None in mids:
            return False
        self._whole += (index, now_ns, is_after, line.number)
        parts = self._parts
        parts += (line.held.size, line.held.open_value)
        for balance in self.view.balances:
            parts.append(balance.amount)
        parts += mids
        self.count += 1
        self.last = index, now_ns
        return True

    def _standing_mids(self) -> list[float | None]:
        """Return the marks of books that decide the equity, from here on known row by row."""
        matters, found = self.view.matters(), []
        for name in self.mids:
            found.append(self._marks.last(name) if matters[name] else _ANY_MARK)
            if matters[name]:
                self._marks.sources[name].watch()
        return found

    def columns(self, begin: int) -> StateColumns:
        """Return the states as columns, the first of them as it was at an index."""
        return StateColumns(self.view, self.mids, begin, self._base, self._whole, self._parts)

    def forget(self) -> None:
        """Go on from the account as it is; the states so far have been valued."""
        view = self.view
        self._base = [number for held in view.positions for number in (held.size, held.open_value)]
        self._base += [balance.amount for balance in view.balances]
        self.count = 0
        self._whole, self._parts = [], []
