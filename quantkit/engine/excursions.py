"""The range of marks that each round trip saw while it was open."""

import numpy as np

from quantkit.engine.moments import Moments
from quantkit.engine.outcome import Excursion
from quantkit.orders import Fill, PositionSide
from quantkit.portfolio import Portfolio, Position
from quantkit.rows.cursors import NOWHERE
from quantkit.trip_sense import TripSense


class _Trips:
    """One position's round trips: the latest, and those that rows since the last look concern."""

    __slots__ = ("begins", "ends", "held", "numbers", "position", "sense")

    def __init__(self, position: Position) -> None:
        self.position = position
        self.sense = TripSense()
        self.held = 0  # `lots_covering` after the last fill
        # Parallel lists: which trips, and the indices of rows between which each was open. Nothing stands in them
        # only before the first trip, and where the latest has been over since before the last look.
        self.numbers: list[int] = []
        self.begins: list[int] = []
        self.ends: list[int] = []

    def end(self, index: int) -> None:
        """End the trip that is open, if one is."""
        if self.ends and self.ends[-1] == NOWHERE:
            self.ends[-1] = index

    def look_on(self) -> None:
        """Forget the trips that are over, and where the open one began."""
        is_open = self.ends[-1:] == [NOWHERE]
        self.numbers = self.numbers[-1:] if is_open else []
        self.begins, self.ends = ([0], [NOWHERE]) if is_open else ([], [])


class Excursions:
    """Follows round trips along fills and marks.

    Args:
        ledger: Holdings after each fill.
    """

    def __init__(self, ledger: Portfolio) -> None:
        self._ledger = ledger
        self._trips: dict[str, _Trips] = {}
        # Parallel lists of all round trips: there may be many, and numbers cost the collector nothing.
        self._names: list[str] = []
        self._fill_ids: list[int] = []
        self._lows: list[float] = []
        self._highs: list[float] = []
        self._latest: dict[str, int] = {}  # the number of each position's latest trip

    def follow(self, fill: Fill, index: int) -> None:
        """Open, extend or close the round trip of a fill, which has seen the rows before an index."""
        name, price = fill.instrument, fill.price
        leg = name if fill.position_side is PositionSide.NET else fill.leg
        trips = self._trips.get(leg)
        if trips is None:
            trips = self._trips[leg] = _Trips(self._ledger.leg(leg))
        sense, position = trips.sense, trips.position
        old, new = sense.split(fill, position.instrument, trips.held, position.lots)
        trips.held = position.lots_covering
        if old:
            number = self._latest[leg]
            if price < self._lows[number]:
                self._lows[number] = price
            if price > self._highs[number]:
                self._highs[number] = price
        if new or sense.is_over:
            trips.end(index)
        if new:
            number = self._latest[leg] = len(self._lows)
            self._names.append(name)
            self._fill_ids.append(fill.id)
            self._lows.append(price)
            self._highs.append(price)
            trips.numbers.append(number)
            trips.begins.append(index)
            trips.ends.append(NOWHERE)

    def see(self, moments: Moments) -> None:
        """Add the marks of rows to the round trips that were open at them."""
        for trips in self._trips.values():
            name = trips.position.instrument.id
            truth = moments.matters.get(name)
            if trips.numbers and truth is not None:
                rows, of_rows = moments.rows, moments.of_rows
                if isinstance(truth, np.ndarray) and not truth.all():
                    counts = truth[moments.states[of_rows]]
                    rows, of_rows = rows[counts], of_rows[counts]
                begins, ends = rows.searchsorted(trips.begins), rows.searchsorted(trips.ends)
                some = np.flatnonzero(ends > begins)
                along, bounds = moments.marks[name][of_rows], np.stack((begins[some], ends[some]), 1).ravel()
                lows = np.minimum.reduceat(np.append(along, np.inf), bounds)[::2].tolist()
                highs = np.maximum.reduceat(np.append(along, -np.inf), bounds)[::2].tolist()
                for place, low, high in zip(some.tolist(), lows, highs, strict=True):
                    number = trips.numbers[place]
                    self._lows[number] = min(self._lows[number], low)
                    self._highs[number] = max(self._highs[number], high)
        self.look_on()

    def look_on(self) -> None:
        """Go on with the rows after the last look."""
        for trips in self._trips.values():
            trips.look_on()

    def found(self) -> list[Excursion]:
        """Return the marks' range for every round trip, in order of opening."""
        return list(map(Excursion, self._names, self._fill_ids, self._lows, self._highs))
