"""What the account is worth at every mark: the equity curve, exact drawdown, excursions, and the end of solvency.

Positions only change at fills and funding, so the stretch between two changes is valued at once, from the columns.
Every row's value is computed by itself: how rows are cut into blocks never changes a digit.

A grid row shows the account as the hook of a candle that closes at its moment sees it: every mark stamped at or before
it, fills within that candle, nothing that was filled or charged after it. It is written once time has passed the
moment, or when something other than a candle's range first changes the account at it.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_DAY
from quantkit.engine.outcome import EquityCurve, Excursion
from quantkit.errors import DataError
from quantkit.instruments import Instrument, decimal_of
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio, TripSense, shown
from quantkit.rows.cursors import NOWHERE, Marks

Floats: TypeAlias = NDArray[np.float64]

_WINDOW = 4096


class _PositionView(NamedTuple):
    """A position as floats, for curves."""

    instrument: Instrument
    qty: float
    open_value: float


class _CurrencyBalance(NamedTuple):
    """One currency: its balance, the contracts that settle in it, and how it converts (None: is reported in)."""

    currency: str
    balance: float
    contracts: tuple[_PositionView, ...]
    converter: str | None
    is_inverted: bool


def _notional(pot: _CurrencyBalance, marks: Mapping[str, float]) -> float:
    """Return the gross value of the contracts that settle in a currency, in that currency."""
    total = 0.0
    for holding in pot.contracts:
        mark = marks.get(holding.instrument.id)
        if mark is not None:
            size = abs(holding.qty) * float(holding.instrument.unit)
            total += size / mark if holding.instrument.is_inverse else size * mark
    return total


class _Trip:
    """A round trip that is open: the marks seen since its first fill."""

    __slots__ = ("fill_id", "high", "low")

    def __init__(self, fill_id: int, price: float) -> None:
        self.fill_id = fill_id
        self.low = self.high = price


class EquityTracker:
    """Follows an account along the rows.

    Args:
        account: The exchange's truth.
        marks: Where each instrument's mark comes from.
        mark_of: The latest mark at the present index.
        start_ns, every_ns: The grid of the equity curve begins after `start_ns` and runs on multiples of `every_ns`
            and on UTC midnights, between which daily returns are taken.
    """

    def __init__(
        self,
        account: Portfolio,
        marks: Mapping[str, Marks],
        mark_of: Callable[[str], float | None],
        *,
        start_ns: int,
        every_ns: int,
    ) -> None:
        self._account = account
        self._marks = marks
        self._mark_of = mark_of
        self._steps = (every_ns,) if NS_PER_DAY % every_ns == 0 else (every_ns, NS_PER_DAY)
        self._grid_ns = self._next_grid_ns(start_ns)
        self.is_started = False
        self.starting_equity = Decimal(0)
        self._received_ns: NDArray[np.int64] = np.empty(0, np.int64)
        self._done = 0
        self._pots: list[_CurrencyBalance] = []
        self._holdings: list[_PositionView] = []
        self._early: dict[str, float] = {}  # marks seen before the curve was opened
        self._last: dict[str, float] = {}  # marks that matter, as they stood at `_done`
        self._peak = self._trough = 0.0
        self._trips: dict[str, _Trip] = {}  # those that are open
        self._latest: dict[str, tuple[TripSense, Decimal, _Trip | None]] = {}  # with the holding after the last fill
        self._excursions: list[tuple[str, _Trip]] = []
        self._times: list[NDArray[np.int64]] = []
        self._columns: tuple[list[Floats], ...] = ([], [], [], [])  # equity, cash, exposure, drawdown
        self._are_grid: list[NDArray[np.bool_]] = []
        self._band: dict[str, tuple[float, float]] = {}
        self._safe_until = 0

    @property
    def held(self) -> set[str]:
        """Instruments whose marks matter at present, or are waited for to open the curve."""
        return set(self._last) if self.is_started else {*self._last, *self._converters()}

    def start(self, now_ns: int) -> None:
        """Take stock at the start of the run, or as soon as every starting balance can be valued."""
        if self._account.equity_exact() is not None:
            self.account_changed()
            self._open_curve(now_ns)

    def _open_curve(self, now_ns: int) -> None:
        """Write the curve's first row."""
        self.is_started = True
        self._grid_ns = self._next_grid_ns(now_ns)
        equity = np.array([self._equity_now()])
        self.starting_equity = shown(self._worth_exact())
        self._peak = float(equity[0])
        self._append(np.array([now_ns], np.int64), equity, self._exposure(self._last, equity), np.zeros(1))

    def _worth_exact(self) -> Fraction:
        """Return the equity at the marks that the curve stands at, as the ledger would count it."""
        account, total = self._account, Fraction(0)
        for currency in account.currencies:
            amount = account.balance_exact(currency)
            for position in account.positions.values():
                if not position.instrument.is_spot and position.instrument.settle_currency == currency:
                    mark = self._last.get(position.instrument.id)
                    amount += position.unrealised_exact(mark) if mark is not None else 0
            if amount and currency != account.report_currency:
                via = account.converter(currency)
                rate = Fraction(decimal_of(self._last[via.id]))
                amount = amount * rate if via.base == currency else amount / rate
            total += amount
        return total

    def _converters(self) -> dict[str, str]:
        """Return the instruments through which balances are counted, each with the currency it converts."""
        account = self._account
        others = (currency for currency in account.currencies if currency != account.report_currency)
        return {account.converter(currency).id: currency for currency in others if account.balance_exact(currency)}

    def _try_start(self, index: int) -> None:
        """Open the curve at the first index at which every currency held has a price, if that lies before `index`."""
        first, missing = self._done, False
        for name in self._converters():
            if name not in self._early:
                indices = self._marks[name].rows()[0]
                if len(indices) and indices[0] < index:
                    first = max(first, int(indices[0]) + 1)
                else:
                    missing = True
        if missing:
            for name in self._converters():
                mark = self._before(name, index)
                if mark is not None:
                    self._early[name] = mark
            self._done = max(self._done, index)
            return
        self._done = first
        self.account_changed()
        for name in self._last:
            mark = self._before(name, first)
            if mark is not None:
                self._last[name] = mark
        self._narrow()
        self._open_curve(int(self._received_ns[max(first - 1, 0)]))

    def _before(self, name: str, index: int) -> float | None:
        """Return an instrument's mark before an index of this batch, at or before the present one."""
        indices, values = self._marks[name].rows()
        row = int(indices.searchsorted(index))
        return float(values[row - 1]) if row else self._early.get(name)

    def enter_batch(self, received_ns: NDArray[np.int64]) -> None:
        """Begin a batch; the one before has been valued to its end."""
        self._received_ns = received_ns
        self._done = 0
        self._safe_until = 0

    # The account changes ----------------------------------------------------------------------------------------

    def account_changed(self) -> None:
        """Read the account anew after a fill or funding."""
        account = self._account
        contracts: dict[str, list[_PositionView]] = {}
        self._holdings = []
        for position in account.positions.values():
            if position.qty:
                holding = _PositionView(position.instrument, float(position.qty), float(position.open_value))
                self._holdings.append(holding)
                if not position.instrument.is_spot:
                    contracts.setdefault(position.instrument.settle_currency, []).append(holding)
        self._pots = []
        needed = {holding.instrument.id for holding in self._holdings}
        for currency in account.currencies:
            balance, held = float(account.balance_exact(currency)), tuple(contracts.get(currency, ()))
            if currency == account.report_currency:
                self._pots.append(_CurrencyBalance(currency, balance, held, None, False))
            elif balance or held:
                via = account.converter(currency)
                needed.add(via.id)
                self._pots.append(_CurrencyBalance(currency, balance, held, via.id, via.base != currency))
        self._last = {}
        for instrument in sorted(needed):
            mark = self._mark_of(instrument)
            if mark is not None:
                self._last[instrument] = mark
        self._narrow()

    def after_fill(self, fill: Fill, now_ns: int) -> None:
        """Write a row of the curve for a fill, and open or close its round trip."""
        self.account_changed()
        if not self.is_started and self._account.equity_exact() is not None:
            self._open_curve(now_ns)
        self._follow_trip(fill)
        if not self.is_started:
            return
        equity = np.array([self._equity_now()])
        self._stretch(equity)
        depth = np.array([self._depth_now()])
        self._append(np.array([now_ns], np.int64), equity, self._exposure(self._last, equity), depth)

    def _follow_trip(self, fill: Fill) -> None:
        """Open, go on with or close the round trip that a fill belongs to."""
        position = self._account.position(fill.instrument)
        sense, held, trip = self._latest.get(fill.instrument) or (TripSense(position.instrument), Decimal(0), None)
        sense.instrument = position.instrument  # what can be traded depends on the steps of the moment
        old, new = sense.split(fill, held, position.qty)
        if trip is not None and old:
            trip.low, trip.high = min(trip.low, fill.price), max(trip.high, fill.price)
            if sense.is_over:
                self._trips.pop(fill.instrument, None)
        if new:
            trip = self._trips[fill.instrument] = _Trip(fill.id, fill.price)
            self._excursions.append((fill.instrument, trip))
        self._latest[fill.instrument] = sense, position.qty, trip

    # Rows go by -------------------------------------------------------------------------------------------------

    def run_to(self, index: int, now_ns: int) -> None:
        """Value every mark before `index`, and the grid before `now_ns`, with positions as they are."""
        if not self.is_started and len(self._received_ns):
            self._try_start(index)
        if not self.is_started:
            return
        if not self._last and now_ns <= self._grid_ns:
            # Nothing is held whose mark could move the account, and no row of the curve is due.
            self._done = max(self._done, index)
            return
        indices = self._indices(index) if index > self._done else np.empty(0, np.int64)
        grid = self._grid(now_ns)
        if not len(indices) and not len(grid):
            self._done = max(self._done, index)
            return
        values = {name: self._along(name, indices) for name in self._last}
        # A mark may stop to count (a balance has gone to zero) before the account is read anew.
        equity = np.broadcast_to(self._equity(values), indices.shape)
        for name, trip in self._trips.items():
            along = values.get(name)
            if along is not None and len(along):
                trip.low, trip.high = min(trip.low, float(along.min())), max(trip.high, float(along.max()))
        cuts = np.zeros(len(grid), np.int64)
        if len(grid):
            if len(indices):
                cuts = indices.searchsorted(self._received_ns.searchsorted(grid, "right"))
            rows = self._grid_rows(values, cuts)
            self._append(grid, *rows, self._falls(equity, cuts), is_grid=True)
        self._stretch(equity[int(cuts[-1]) if len(cuts) else 0 :])
        for name, along in values.items():
            if len(along):
                self._last[name] = float(along[-1])
        self._done = max(self._done, index)

    def before_change(self, index: int, now_ns: int, *, is_after_candles: bool) -> None:
        """Value what lies before `index` with the account as it is, which changes there.

        Args:
            index, now_ns: Where and when it changes.
            is_after_candles: Whether candles that close now have been handed over: a grid row of this moment is due
                then. It counts the marks of its whole stamp; those that nobody has come to yet lie in this batch.
        """
        self.run_to(index, now_ns)
        if not (is_after_candles and self.is_started and self._grid_ns == now_ns):
            return
        self._grid_ns = self._next_grid_ns(now_ns)
        end = int(self._received_ns.searchsorted(now_ns, "right"))
        marks: dict[str, Floats | float] = {}
        for name, last in self._last.items():
            ahead = self._marks[name].ahead(end)
            marks[name] = last if ahead is None else ahead
        equity = self._equity({name: np.array([mark]) for name, mark in marks.items()})
        self._stretch(equity)
        depth = min(0.0, float(equity[0]) / self._peak - 1.0) if self._peak > 0 else 0.0
        exposure = self._exposure(marks, equity)
        self._append(np.array([now_ns], np.int64), equity, exposure, np.array([depth]), is_grid=True)

    def _grid(self, now_ns: int) -> NDArray[np.int64]:
        """Return the moments of the grid that are due before `now_ns`."""
        if now_ns <= self._grid_ns:
            return np.empty(0, np.int64)
        due = [np.arange(-(-self._grid_ns // step) * step, now_ns, step, dtype=np.int64) for step in self._steps]
        self._grid_ns = self._next_grid_ns(now_ns - 1)
        return due[0] if len(due) == 1 else np.unique(np.concatenate(due))

    def _next_grid_ns(self, after_ns: int) -> int:
        return min((after_ns // step + 1) * step for step in self._steps)

    def _grid_rows(self, values: Mapping[str, Floats], cuts: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """Return equity and exposure at each grid moment: of the last row by then, or as they stood."""
        at = {name: np.concatenate(([self._last[name]], along))[cuts] for name, along in values.items()}
        worth = np.broadcast_to(self._equity(at), cuts.shape)
        return worth, np.broadcast_to(self._exposure(at, worth), cuts.shape)

    def _falls(self, equity: Floats, cuts: NDArray[np.int64]) -> Floats:
        """Return the deepest fall within each grid step, and move the running peak to the last step's end."""
        stood = self._depth_now()
        end = int(cuts[-1])
        if not end:
            return np.full(len(cuts), stood)
        peaks = np.maximum(np.maximum.accumulate(equity[:end]), self._peak)
        depth = np.where(peaks > 0, equity[:end] / np.where(peaks > 0, peaks, 1.0) - 1.0, 0.0)
        begins = np.concatenate(([0], cuts[:-1]))
        filled = np.flatnonzero(cuts > begins)
        # A step without a mark stays as deep as the one before it ended.
        falls = np.concatenate(([stood], depth))[cuts]
        falls[filled] = np.minimum.reduceat(depth, begins[filled])
        self._peak = float(peaks[-1])
        return falls

    def _depth_now(self) -> float:
        return min(0.0, self._equity_now() / self._peak - 1.0) if self._peak > 0 else 0.0

    def _indices(self, index: int) -> NDArray[np.int64]:
        """Return the indices in [done, index) at which a mark that matters changes."""
        found = []
        for name in self._last:
            indices = self._marks[name].rows()[0]
            low, high = indices.searchsorted((self._done, index))
            found.append(indices[low:high])
        if not found:
            return np.empty(0, np.int64)
        return found[0] if len(found) == 1 else np.unique(np.concatenate(found))

    def _along(self, name: str, indices: NDArray[np.int64]) -> Floats:
        """Return an instrument's mark after each of `indices`."""
        own_places, own_values = self._marks[name].rows()
        low = int(own_places.searchsorted(self._done))
        if len(self._last) == 1:
            return own_values[low : low + len(indices)]
        row = own_places.searchsorted(indices, "right")
        known = own_values[np.maximum(row - 1, 0)] if len(own_values) else np.zeros(len(indices))
        return np.where(row > low, known, self._last[name])

    # Worth ------------------------------------------------------------------------------------------------------

    def _equity(self, marks: Mapping[str, Floats]) -> Floats:
        total: Floats = np.zeros(1)
        for pot in self._pots:
            worth = self._pot_worth(pot, marks)
            if pot.converter is not None:
                rate = marks.get(pot.converter)
                if rate is None:
                    continue
                worth = worth / rate if pot.is_inverted else worth * rate
            total = total + worth
        return total

    @staticmethod
    def _pot_worth(pot: _CurrencyBalance, marks: Mapping[str, Floats]) -> Floats:
        """Return a balance plus the open profit of the contracts that settle in it, in its own currency."""
        worth: Floats = np.full(1, pot.balance)
        for holding in pot.contracts:
            mark = marks.get(holding.instrument.id)
            if mark is not None:
                size = holding.qty * float(holding.instrument.unit)
                if holding.instrument.is_inverse:
                    worth = worth + (holding.open_value - size / mark)
                else:
                    worth = worth + (size * mark - holding.open_value)
        return worth

    def _equity_now(self) -> float:
        return float(self._equity({name: np.array([mark]) for name, mark in self._last.items()})[0])

    def _exposure(self, marks: Mapping[str, Floats | float], equity: Floats) -> Floats:
        """Return the gross notional over the equity: without bound where something is held and the equity is gone."""
        gross: Floats = np.zeros(1)
        for holding in self._holdings:
            mark = marks.get(holding.instrument.id)
            if mark is None:
                continue
            size = abs(holding.qty) * float(holding.instrument.unit)
            worth = size / mark if holding.instrument.is_inverse else size * mark
            currency = holding.instrument.settle_currency
            if currency != self._account.report_currency:
                via = self._account.converter(currency)
                rate = marks.get(via.id)
                if rate is None:
                    continue
                worth = worth * rate if via.base == currency else worth / rate
            gross = gross + worth
        lost = np.where(gross > 0, np.inf, 0.0)
        return np.asarray(np.where(equity > 0, gross / np.where(equity > 0, equity, 1.0), lost), np.float64)

    def _stretch(self, equity: Floats) -> None:
        """Move the running peak and note the deepest fall from it."""
        if not len(equity):
            return
        peaks = np.maximum(np.maximum.accumulate(equity), self._peak)
        if peaks[-1] > 0:
            self._trough = min(self._trough, float((equity / peaks).min()) - 1.0)
        self._peak = float(peaks[-1])

    def _append(
        self, time_ns: NDArray[np.int64], equity: Floats, exposure: Floats, falls: Floats, *, is_grid: bool = False
    ) -> None:
        """Write rows of the curve; what has fallen since the row before belongs to the first of them."""
        falls[0] = min(float(falls[0]), self._trough)
        self._trough = 0.0
        cash = float(self._account.balance_exact(self._account.report_currency))
        self._times.append(time_ns)
        self._are_grid.append(np.full(len(time_ns), is_grid))
        for column, values in zip(self._columns, (equity, np.full(len(time_ns), cash), exposure, falls), strict=True):
            column.append(np.broadcast_to(np.asarray(values, np.float64), time_ns.shape))

    # Solvency ---------------------------------------------------------------------------------------------------

    def _narrow(self) -> None:
        """Work out a band for every mark within which the account cannot possibly be worth nothing."""
        self._band = {}
        self._safe_until = self._done
        if not self._last:
            return
        marks = {name: np.array([mark]) for name, mark in self._last.items()}
        equity = self._equity_now()
        gross = float(self._exposure(self._last, np.ones(1))[0])
        if any(pot.converter is not None for pot in self._pots):
            gross += abs(equity)
        # A quarter of the move that would eat the equity leaves room for all marks moving together.
        share = min(1.0, equity / gross) / 4 if gross > 0 else 1.0
        for pot in self._pots:
            if pot.contracts:
                worth, notional = float(self._pot_worth(pot, marks)[0]), _notional(pot, self._last)
                share = min(share, worth / notional / 4) if notional > 0 else share
        self._band = {name: (mark * (1 - share), mark * (1 + share)) for name, mark in self._last.items()}

    @property
    def ruined(self) -> str | None:
        """What has no equity left at the marks of the last stretch: the whole account (""), or a currency of it.

        None while an account is solvent, and for one that has not traded.
        """
        if not self._holdings and not self._latest:
            return None
        if self._equity_now() <= 0:
            return ""
        marks = {name: np.array([mark]) for name, mark in self._last.items()}
        for pot in self._pots:
            # Money that was spent on coins is no ruin; a debt of contracts is, and so is one with nothing behind it.
            worth = float(self._pot_worth(pot, marks)[0]) if self._account.backs_contracts(pot.currency) else 0.0
            if worth < 0 or (pot.contracts and worth <= 0):
                return pot.currency
        return None

    @property
    def is_bankrupt(self) -> bool:
        """Whether an account that has traded is worth nothing, or a currency that contracts are backed by."""
        return self.ruined is not None

    def next_doubt(self, horizon: int) -> int:
        """Return the first index before `horizon` at which a mark leaves its band, `NOWHERE` if none does."""
        begin, first = self._safe_until, NOWHERE
        if not self._band or horizon <= begin:
            return NOWHERE
        for name, (low, high) in self._band.items():
            indices, values = self._marks[name].rows()
            row, stop = indices.searchsorted((begin, horizon)).tolist()
            while row < stop:
                window = values[row : min(row + _WINDOW, stop)]
                if window.min() <= low or window.max() >= high:
                    first = min(first, int(indices[row + int(np.argmax((window <= low) | (window >= high)))]))
                    break
                row += _WINDOW
        self._safe_until = min(first, horizon)
        return first

    def look_closely(self, index: int, now_ns: int) -> None:
        """Value up to a dangerous row, itself included, and work the bands out anew."""
        self.run_to(index + 1, now_ns)
        self._narrow()

    # The end ----------------------------------------------------------------------------------------------------

    def close_curve(self, now_ns: int) -> None:
        """Write the curve's last row: what the account is worth at the end, and its fall since the row before."""
        if self.is_started:
            equity, depth = np.array([self._equity_now()]), np.array([self._depth_now()])
            self._append(np.array([now_ns], np.int64), equity, self._exposure(self._last, equity), depth)

    def curve(self) -> EquityCurve:
        """Return the curve as arrays.

        Raises:
            DataError: A balance could not be valued at any time of the run.
        """
        if not self.is_started:
            unpriced = {name: currency for name, currency in self._converters().items() if name not in self._early}
            name, currency = next(iter(unpriced.items()))
            raise DataError(
                f"{currency} cannot be valued in {self._account.report_currency}: {name} has no price "
                f"({self._marks[name].name}) in the run; choose another span, or leave {currency} out of the cash"
            )
        equity, cash, exposure, drawdown = (np.concatenate(column) for column in self._columns)
        time_ns, is_grid = np.concatenate(self._times), np.concatenate(self._are_grid)
        return EquityCurve(time_ns, equity, cash, exposure, drawdown, is_grid)

    def excursions(self) -> list[Excursion]:
        """Return the marks' range for every round trip, in order of opening."""
        return [Excursion(name, trip.fill_id, trip.low, trip.high) for name, trip in self._excursions]
