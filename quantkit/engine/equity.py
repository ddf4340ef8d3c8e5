"""What the account is worth at every mark: the equity curve, exact drawdown, excursions, and the end of solvency.

Positions only change at fills and funding, so the stretch between two changes is valued at once, from the columns.
Every row's value is computed by itself: how rows are cut into blocks never changes a digit.

A grid row shows the account as the hook of a candle that closes at its moment sees it: every mark stamped at or before
it, fills within that candle, nothing that was filled or charged after it. It is written once time has passed the
moment, or when something other than a candle's range first changes the account at it.
"""

from collections.abc import Mapping
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_DAY
from quantkit.engine.curve import CurveBuilder
from quantkit.engine.excursions import Excursions
from quantkit.engine.outcome import EquityCurve, Excursion
from quantkit.engine.solvency import SolvencyBounds, find_ruin
from quantkit.engine.worth import AccountView, Floats
from quantkit.errors import DataError
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio, shown
from quantkit.rows.marks import MarkTable
from quantkit.rows.position import RunPosition


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
    """

    def __init__(
        self, ledger: Portfolio, marks: MarkTable, position: RunPosition, *, start_ns: int, every_ns: int
    ) -> None:
        self._ledger = ledger
        self._table = marks
        self._marks = marks.sources
        self._position = position
        self._steps = (every_ns,) if NS_PER_DAY % every_ns == 0 else (every_ns, NS_PER_DAY)
        self._grid_ns = self._next_grid_ns(start_ns)
        self.is_started = False
        self.starting_equity = Decimal(0)
        self._done = 0
        self._view = AccountView(ledger)
        self._early: dict[str, float] = {}  # marks seen before the curve was opened
        self._last: dict[str, float] = {}  # marks that matter, as they stood at `_done`
        self._curve = CurveBuilder()
        self._excursions = Excursions(ledger)
        self._bounds = SolvencyBounds(marks.sources)

    # The start --------------------------------------------------------------------------------------------------

    def start(self, now_ns: int) -> None:
        """Value the account at the start of the run, or as soon as every starting balance can be valued."""
        if self._ledger.equity_exact() is not None:
            self.account_changed()
            self._open_curve(now_ns)

    def _open_curve(self, now_ns: int) -> None:
        """Write the curve's first row."""
        self.is_started = True
        self._grid_ns = self._next_grid_ns(now_ns)
        equity = np.array([self._equity_now()])
        self.starting_equity = shown(self._view.equity_exact(self._last))
        self._curve.peak = float(equity[0])
        self._append(np.array([now_ns], np.int64), equity, self._view.exposure(self._last, equity), np.zeros(1))

    def _try_start(self, index: int) -> None:
        """Open the curve at the first index at which every currency held has a price, if that lies before `index`."""
        first, missing = self._done, False
        for name in self._view.converters():
            if name not in self._early:
                indices = self._marks[name].rows(index)[0]
                if len(indices) and indices[0] < index:
                    first = max(first, int(indices[0]) + 1)
                else:
                    missing = True
        if missing:
            for name in self._view.converters():
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
        self._open_curve(int(self._position.received_ns[max(first - 1, 0)]))

    def _before(self, name: str, index: int) -> float | None:
        """Return an instrument's mark before an index of this batch, at or before the present one."""
        indices, values = self._marks[name].rows(index)
        row = int(indices.searchsorted(index))
        return float(values[row - 1]) if row else self._early.get(name)

    def enter_batch(self) -> None:
        """Begin a batch; the one before has been valued to its end."""
        self._done = 0
        self._bounds.enter_batch()
        if not self.is_started:
            for name in self._view.converters():
                self._marks[name].rows(0)  # the curve opens at the first price

    # The account changes ----------------------------------------------------------------------------------------

    def account_changed(self) -> None:
        """Read the account anew after a fill or funding."""
        self._view.read()
        self._last = {}
        for instrument in sorted(self._view.needed):
            mark = self._table.last(instrument)
            if mark is not None:
                self._last[instrument] = mark
        self._narrow()

    def before_change(self) -> None:
        """Value the rows before the present position with the account as it was: it changes there.

        Once the candles that close now have been handed over, a grid row of this moment is due. It counts all marks of
        its stamp, also later ones in this batch.
        """
        position = self._position
        now_ns = position.now_ns
        self.run_to(position.index, now_ns)
        if not (position.is_after_candles and self.is_started and self._grid_ns == now_ns):
            return
        self._grid_ns = self._next_grid_ns(now_ns)
        end = int(position.received_ns.searchsorted(now_ns, "right"))
        marks: dict[str, Floats | float] = {}
        for name, last in self._last.items():
            ahead = self._marks[name].ahead(end)
            marks[name] = last if ahead is None else ahead
        equity = self._view.equity({name: np.array([mark]) for name, mark in marks.items()})
        self._curve.stretch(equity)
        peak = self._curve.peak
        depth = min(0.0, float(equity[0]) / peak - 1.0) if peak > 0 else 0.0
        exposure = self._view.exposure(marks, equity)
        self._append(np.array([now_ns], np.int64), equity, exposure, np.array([depth]), is_grid=True)

    def after_fill(self, fill: Fill) -> None:
        """Write a row of the curve for a fill, and open or close its round trip."""
        now_ns = self._position.now_ns
        self.account_changed()
        if not self.is_started and self._ledger.equity_exact() is not None:
            self._open_curve(now_ns)
        self._excursions.follow(fill)
        if not self.is_started:
            return
        equity = np.array([self._equity_now()])
        self._curve.stretch(equity)
        depth = np.array([self._curve.depth(self._equity_now())])
        self._append(np.array([now_ns], np.int64), equity, self._view.exposure(self._last, equity), depth)

    # Rows go by -------------------------------------------------------------------------------------------------

    def run_to(self, index: int, now_ns: int) -> None:
        """Value every mark before `index`, and the grid before `now_ns`, with positions as they are."""
        received_ns = self._position.received_ns
        if not self.is_started and len(received_ns):
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
        equity = np.broadcast_to(self._view.equity(values), indices.shape)
        self._excursions.see(values)
        cuts = np.zeros(len(grid), np.int64)
        if len(grid):
            if len(indices):
                cuts = indices.searchsorted(received_ns.searchsorted(grid, "right"))
            rows = self._grid_rows(values, cuts)
            falls = self._curve.falls(equity, cuts, self._curve.depth(self._equity_now()))
            self._append(grid, *rows, falls, is_grid=True)
        self._curve.stretch(equity[int(cuts[-1]) if len(cuts) else 0 :])
        for name, along in values.items():
            if len(along):
                self._last[name] = float(along[-1])
        self._done = max(self._done, index)

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
        worth = np.broadcast_to(self._view.equity(at), cuts.shape)
        return worth, np.broadcast_to(self._view.exposure(at, worth), cuts.shape)

    def _indices(self, index: int) -> NDArray[np.int64]:
        """Return the indices in [done, index) at which a mark that matters changes."""
        found = []
        for name in self._last:
            indices = self._marks[name].rows(index)[0]
            low, high = indices.searchsorted((self._done, index))
            found.append(indices[low:high])
        if not found:
            return np.empty(0, np.int64)
        return found[0] if len(found) == 1 else np.unique(np.concatenate(found))

    def _along(self, name: str, indices: NDArray[np.int64]) -> Floats:
        """Return an instrument's mark after each of `indices`."""
        own_indices, own_values = self._marks[name].rows(self._done)
        low = int(own_indices.searchsorted(self._done))
        if len(self._last) == 1:
            return own_values[low : low + len(indices)]
        row = own_indices.searchsorted(indices, "right")
        known = own_values[np.maximum(row - 1, 0)] if len(own_values) else np.zeros(len(indices))
        return np.where(row > low, known, self._last[name])

    def _equity_now(self) -> float:
        return float(self._view.equity({name: np.array([mark]) for name, mark in self._last.items()})[0])

    def _append(
        self, time_ns: NDArray[np.int64], equity: Floats, exposure: Floats, falls: Floats, *, is_grid: bool = False
    ) -> None:
        cash = self._ledger.balance_float(self._ledger.report_currency)
        self._curve.append(time_ns, equity, exposure, falls, cash=cash, is_grid=is_grid)

    # Solvency ---------------------------------------------------------------------------------------------------

    def _narrow(self) -> None:
        self._bounds.narrow(self._view, self._last, self._done)

    @property
    def ruined(self) -> str | None:
        """The account or currency without equity at the marks of the last stretch; see `find_ruin`."""
        if not self._view.positions and not self._excursions.has_traded:
            return None
        return find_ruin(self._view, self._ledger, self._last)

    @property
    def is_bankrupt(self) -> bool:
        """Whether a traded account, or a currency that backs contracts, has no equity left."""
        return self.ruined is not None

    def next_doubt(self, horizon: int) -> int:
        """Return the first index before `horizon` at which the account might be worth nothing, `NOWHERE` if none."""
        return self._bounds.next_doubt(horizon)

    def look_closely(self, index: int, now_ns: int) -> None:
        """Value up to a doubtful row, itself included, and work the bounds out anew."""
        self.run_to(index + 1, now_ns)
        self._narrow()

    # The end ----------------------------------------------------------------------------------------------------

    def close_curve(self, now_ns: int) -> None:
        """Write the curve's last row: the equity at the end, and its fall since the row before."""
        if self.is_started:
            worth = self._equity_now()
            equity, depth = np.array([worth]), np.array([self._curve.depth(worth)])
            self._append(np.array([now_ns], np.int64), equity, self._view.exposure(self._last, equity), depth)

    def curve(self) -> EquityCurve:
        """Return the curve as arrays.

        Raises:
            DataError: A balance could not be valued at any time of the run.
        """
        if not self.is_started:
            unpriced = {name: currency for name, currency in self._view.converters().items() if name not in self._early}
            name, currency = next(iter(unpriced.items()))
            raise DataError(
                f"{currency} cannot be valued in {self._ledger.report_currency}: {name} has no price "
                f"({self._marks[name].name}) in the run; choose another span, or leave {currency} out of the cash"
            )
        return self._curve.curve()

    def excursions(self) -> list[Excursion]:
        """Return the marks' range for every round trip, in order of opening."""
        return self._excursions.found()
