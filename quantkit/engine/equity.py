"""What the account is worth at every mark: the equity curve, exact drawdown, excursions, and the end of solvency.

A fill only adds a state of the account. A look values all rows and fills since the last one together, from the columns:
at the end of a batch, or where somebody has to know more. `states` tells what was held after each fill, `moments` puts
rows and fills in order, `valuation` makes the curve's rows of both. Every moment's value is computed by itself: how
rows are cut into blocks, or into looks, never changes a digit.

A grid row shows the account as the hook of a candle that closes at its moment sees it: every mark stamped at or before
it, fills within that candle, nothing that was filled or charged after it. It is written once time has passed the
moment, or when something other than a candle's range first changes the account at it.
"""

from decimal import Decimal
from typing import Final

from quantkit.engine.curve import CurveBuilder, CurveGrid
from quantkit.engine.excursions import Excursions
from quantkit.engine.outcome import EquityCurve, Excursion
from quantkit.engine.solvency import Solvency
from quantkit.engine.states import AccountStates
from quantkit.engine.valuation import Valuation
from quantkit.engine.worth import converters_needed, equity_exact
from quantkit.errors import DataError
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio, shown
from quantkit.rows.marks import MarkTable
from quantkit.rows.position import RunPosition

#: So many fills are valued at once at most: their states take little memory.
_MANY_FILLS: Final = 4096


class EquityTracker:
    """Follows an account along the rows.

    Args:
        ledger: The exchange's truth.
        marks: The mark of each instrument.
        position: The run's position.
        start_ns, every_ns: The grid of the equity curve begins after `start_ns` and runs on multiples of `every_ns`
            and on UTC midnights, between which daily returns are taken.

    Attributes:
        is_started: Whether every starting balance could be valued.
        starting_equity: The equity at that moment.
        solvency: Whether marks can end the run.
    """

    def __init__(
        self, ledger: Portfolio, marks: MarkTable, position: RunPosition, *, start_ns: int, every_ns: int
    ) -> None:
        self.is_started = False
        self.starting_equity = Decimal(0)
        self.solvency = Solvency(marks.sources)
        self._ledger = ledger
        self._marks = marks
        self._sources = marks.sources
        self._position = position
        self._grid = CurveGrid(start_ns, every_ns)
        self._states = AccountStates(ledger, marks)
        self._curve = CurveBuilder()
        self._valuation = Valuation(marks.sources, position, self._grid, self._curve)
        self._excursions = Excursions(ledger)
        self._looked_to = 0  # the index at which the last look ended
        self._early: dict[str, float] = {}  # marks seen before the curve was opened
        self._last: dict[str, float] = {}  # marks that mattered where the last look ended, as they stood
        self._is_in_batch = False
        self._has_row_marks = False  # whether all that may matter has marks from rows

    @property
    def peak(self) -> float:
        """The highest equity so far, as of the last look; 0 before the first."""
        return self._curve.peak

    def equity_at(self, time_ns: int) -> float | None:
        """Return the curve's equity at a moment; None where it has not begun by then."""
        return self._curve.equity_at(time_ns)

    # The start --------------------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> None:
        """Value the account at the start of the run, or as soon as every starting balance can be valued."""
        self._states.read()
        if self._ledger.equity_exact() is not None:
            self.account_changed()
            self._open_curve(now_ns)

    def _open_curve(self, now_ns: int) -> None:
        """Write the curve's first row."""
        self.is_started = True
        self.starting_equity = shown(equity_exact(self._ledger, self._last))
        self._valuation.open_curve(self._states.view, self._last, now_ns)

    def _try_start(self, index: int) -> None:
        """Open the curve at the first index at which every currency held has a price, if that lies before `index`."""
        first, missing, converters = self._looked_to, False, converters_needed(self._ledger)
        for name in converters:
            if name not in self._early:
                indices = self._sources[name].rows(index)[0]
                if len(indices) and indices[0] < index:
                    first = max(first, int(indices[0]) + 1)
                else:
                    missing = True
        if missing:
            for name in converters:
                mark = self._before(name, index)
                if mark is not None:
                    self._early[name] = mark
            self._looked_to = max(self._looked_to, index)
            return
        self._looked_to = first
        self._read()
        for name in self._last:
            # What stands by now may be of a row behind the first index.
            mark = self._before(name, first) or self._sources[name].carried() or self._marks.own_prices.get(name)
            if mark is not None:
                self._last[name] = mark
        self._watch_marks(first)
        self._open_curve(int(self._position.received_ns[max(first - 1, 0)]))

    def _before(self, name: str, index: int) -> float | None:
        """Return an instrument's mark before an index of this batch, at or before the present one."""
        indices, values = self._sources[name].rows(index)
        row = int(indices.searchsorted(index))
        return float(values[row - 1]) if row else self._early.get(name)

    # A batch ----------------------------------------------------------------------------------------------------

    def enter_batch(self) -> None:
        """Begin a batch; the one before has been valued to its end."""
        self._looked_to = 0
        self._is_in_batch = True
        self.solvency.enter_batch()
        self._watch_marks(0)
        if not self.is_started:
            for name in converters_needed(self._ledger):
                self._sources[name].watch()  # the curve opens at the first price

    def leave_batch(self, index: int, now_ns: int) -> None:
        """Value a batch to its end."""
        self.run_to(index, now_ns)
        self._is_in_batch = False

    # The account changes ----------------------------------------------------------------------------------------

    def account_changed(self) -> None:
        """Read the account anew: funding was booked, or the run begins."""
        self._read()
        self._watch_marks(self._looked_to)

    def _read(self) -> None:
        """Read the account and the marks that matter; what has been before was valued."""
        states, index = self._states, self._position.index
        states.read()
        self._last = self._standing()
        self._has_row_marks = all(self._sources[name].before(index) is not None for name in states.view.matters())

    def _standing(self) -> dict[str, float]:
        """Return the marks that matter as they stand."""
        marks = {name: self._marks.last(name) for name, truth in self._states.view.matters().items() if truth}
        return {name: mark for name, mark in marks.items() if mark is not None}

    def look_for_start(self) -> None:
        """Look for the start of the curve among the rows so far."""
        self.run_to(self._position.index, self._position.now_ns)

    def after_fill(self, fill: Fill) -> None:
        """Take in a fill: a row of the curve, and part of a round trip."""
        states, position = self._states, self._position
        index, now_ns, is_after = position.index, position.now_ns, position.is_after_candles
        is_plain = self._has_row_marks and self._is_in_batch and self.is_started
        if not (is_plain and states.add(fill, index, now_ns, is_after=is_after)):
            self._value_fill(fill, index, now_ns)
            return
        self._excursions.follow(fill, index)
        if states.count == _MANY_FILLS:
            self.run_to(index, now_ns)
        if not self.solvency.outlives_batch(states.view, (fill.instrument,)):
            self.solvency.narrow(states.view, self._standing(), index)

    def _value_fill(self, fill: Fill, index: int, now_ns: int) -> None:
        """Value a fill at once, and the rows before it with the account as it was."""
        if self.is_started:
            self.run_to_present()
        self._read()
        if not self.is_started and self._ledger.equity_exact() is not None:
            self._open_curve(now_ns)
        self._excursions.follow(fill, index)
        self._excursions.look_on()
        self._watch_marks(self._looked_to)
        if self.is_started:
            self._valuation.add_row(self._states.view, self._last, now_ns)

    def run_to_present(self) -> None:
        """Value the rows before the present position with the account as it was: it changes there.

        Once the candles that close now have been handed over, a grid row of this moment is due. It counts all marks of
        its stamp, also later ones in this batch.
        """
        position = self._position
        now_ns = position.now_ns
        self.run_to(position.index, now_ns)
        if position.is_after_candles and self.is_started and self._grid.is_due(now_ns):
            self._grid.begin_after(now_ns)
            end = int(position.received_ns.searchsorted(now_ns, "right"))
            marks = {}
            for name, last in self._last.items():
                ahead = self._sources[name].ahead(end)
                marks[name] = last if ahead is None else ahead
            self._valuation.add_row(self._states.view, marks, now_ns, is_grid=True)

    # Rows go by -------------------------------------------------------------------------------------------------

    def run_to(self, index: int, now_ns: int) -> None:
        """Look: value every mark before `index`, the grid before `now_ns`, and the fills so far."""
        if not self.is_started and len(self._position.received_ns):
            self._try_start(index)
        if not self.is_started:
            return
        end = max(self._looked_to, index)
        if self._states.count or now_ns > self._grid.next_ns or self._is_moved(end):
            self._value(end, now_ns)
        self._looked_to = end

    def _is_moved(self, end: int) -> bool:
        """Return whether a row from the last look to an index moves a mark that matters."""
        for name in self._last:
            low, high = self._sources[name].rows(end)[0].searchsorted((self._looked_to, end))
            if low < high:
                return True
        return False

    def _value(self, end: int, now_ns: int) -> None:
        """Value the rows from the last look to an index, the fills among them, and the grid."""
        moments = self._valuation.extend(self._states.columns(self._looked_to), self._last, end, now_ns)
        self._excursions.see(moments)
        self._last = moments.standing()
        self._states.forget()

    # Solvency ---------------------------------------------------------------------------------------------------

    def _watch_marks(self, index: int) -> None:
        """Find out whether marks from an index on may end the run; those that matter stand as at the last look."""
        view, solvency = self._states.view, self.solvency
        for name in self._last:
            self._sources[name].watch()
        if not (self._has_row_marks and solvency.outlives_batch(view, self._last)):
            solvency.narrow(view, self._last, index)

    def look_closely(self, index: int, now_ns: int) -> None:
        """Value up to a doubtful row, itself included, and work the bounds out anew."""
        self.run_to(index + 1, now_ns)
        self.solvency.narrow(self._states.view, self._last, self._looked_to)

    # The end ----------------------------------------------------------------------------------------------------

    def close_curve(self, now_ns: int) -> None:
        """Write the curve's last row: the equity at the end, and its fall since the row before."""
        if self._states.count:
            self.run_to(*self._states.last)
        if self.is_started:
            self._valuation.add_row(self._states.view, self._last, now_ns, is_moment=False)

    def curve(self) -> EquityCurve:
        """Return the curve as arrays.

        Raises:
            DataError: A balance could not be valued at any time of the run.
        """
        if not self.is_started:
            converters = converters_needed(self._ledger)
            name, currency = next((name, currency) for name, currency in converters.items() if name not in self._early)
            raise DataError(
                f"{currency} cannot be valued in {self._ledger.report_currency}: {name} has no price "
                f"({self._sources[name].name}) in the run; choose another span, or leave {currency} out of the cash"
            )
        return self._curve.curve()

    def excursions(self) -> list[Excursion]:
        """Return the marks' range for every round trip, in order of opening."""
        return self._excursions.found()
