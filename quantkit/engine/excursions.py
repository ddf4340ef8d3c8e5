"""The range of marks that each round trip saw while it was open."""

from decimal import Decimal

import numpy as np

from quantkit.engine.moments import Moments
from quantkit.engine.outcome import Excursion
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio, TripSense


class _Trip:
    """A round trip: the marks seen since its first fill, those of rows from `begin` on not yet."""

    __slots__ = ("begin", "end", "fill_id", "high", "low")

    def __init__(self, fill_id: int, price: float, begin: int) -> None:
        self.fill_id = fill_id
        self.low = self.high = price
        self.begin = begin
        self.end: int | None = None  # None while it is open


class Excursions:
    """Follows round trips along fills and marks.

    Args:
        ledger: Holdings after each fill.
    """

    def __init__(self, ledger: Portfolio) -> None:
        self._ledger = ledger
        self._unseen: dict[str, list[_Trip]] = {}  # those that rows since the last look concern
        self._latest: dict[str, tuple[TripSense, Decimal, _Trip | None]] = {}  # with the holding after the last fill
        self._all: list[tuple[str, _Trip]] = []

    @property
    def has_traded(self) -> bool:
        """Whether there was a fill."""
        return bool(self._latest)

    def follow(self, fill: Fill, index: int) -> None:
        """Open, extend or close the round trip of a fill, which has seen the rows before an index."""
        name = fill.instrument
        position = self._ledger.position(name)
        sense, held, trip = self._latest.get(name) or (TripSense(position.instrument), Decimal(0), None)
        sense.instrument = position.instrument  # what can be traded depends on the steps of the moment
        old, new = sense.split(fill, held, position.qty)
        if trip is not None and old:
            trip.low, trip.high = min(trip.low, fill.price), max(trip.high, fill.price)
            if sense.is_over and trip.end is None:
                trip.end = index
        if new:
            if trip is not None and trip.end is None:
                trip.end = index
            trip = _Trip(fill.id, fill.price, index)
            self._unseen.setdefault(name, []).append(trip)
            self._all.append((name, trip))
        self._latest[name] = sense, position.qty, trip

    def see(self, moments: Moments, end: int) -> None:
        """Add the marks of rows before `end` to the round trips that were open."""
        for name, trips in self._unseen.items():
            truth = moments.matters.get(name)
            if truth is not None:
                rows, of_rows = moments.rows, moments.of_rows
                if isinstance(truth, np.ndarray) and not truth.all():
                    counts = truth[moments.states[of_rows]]
                    rows, of_rows = rows[counts], of_rows[counts]
                along = moments.marks[name][of_rows]
                begins = rows.searchsorted([trip.begin for trip in trips])
                ends = rows.searchsorted([end if trip.end is None else trip.end for trip in trips])
                some = np.flatnonzero(ends > begins)
                bounds = np.stack((begins[some], ends[some]), 1).ravel()
                lows = np.minimum.reduceat(np.append(along, np.inf), bounds)[::2].tolist()
                highs = np.maximum.reduceat(np.append(along, -np.inf), bounds)[::2].tolist()
                for number, low, high in zip(some.tolist(), lows, highs, strict=True):
                    trip = trips[number]
                    trip.low, trip.high = min(trip.low, low), max(trip.high, high)
        self.look_on()

    def look_on(self) -> None:
        """Go on with the round trips that are open, and with the rows after the last look."""
        for name, trips in list(self._unseen.items()):
            trip = trips[-1]
            if trip.end is None:
                trip.begin = 0
                self._unseen[name] = [trip]
            else:
                del self._unseen[name]

    def found(self) -> list[Excursion]:
        """Return the marks' range for every round trip, in order of opening."""
        return [Excursion(name, trip.fill_id, trip.low, trip.high) for name, trip in self._all]
