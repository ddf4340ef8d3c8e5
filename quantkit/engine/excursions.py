"""The range of marks that each round trip saw while it was open."""

from collections.abc import Mapping
from decimal import Decimal

from quantkit.engine.outcome import Excursion
from quantkit.engine.worth import Floats
from quantkit.orders import Fill
from quantkit.portfolio import Portfolio, TripSense


class _Trip:
    """A round trip: the marks seen since its first fill."""

    __slots__ = ("fill_id", "high", "low")

    def __init__(self, fill_id: int, price: float) -> None:
        self.fill_id = fill_id
        self.low = self.high = price


class Excursions:
    """Follows round trips along fills and marks.

    Args:
        ledger: Holdings after each fill.
    """

    def __init__(self, ledger: Portfolio) -> None:
        self._ledger = ledger
        self._open: dict[str, _Trip] = {}
        self._latest: dict[str, tuple[TripSense, Decimal, _Trip | None]] = {}  # with the holding after the last fill
        self._all: list[tuple[str, _Trip]] = []

    @property
    def has_traded(self) -> bool:
        """Whether there was a fill."""
        return bool(self._latest)

    def follow(self, fill: Fill) -> None:
        """Open, extend or close the round trip of a fill."""
        position = self._ledger.position(fill.instrument)
        sense, held, trip = self._latest.get(fill.instrument) or (TripSense(position.instrument), Decimal(0), None)
        sense.instrument = position.instrument  # what can be traded depends on the steps of the moment
        old, new = sense.split(fill, held, position.qty)
        if trip is not None and old:
            trip.low, trip.high = min(trip.low, fill.price), max(trip.high, fill.price)
            if sense.is_over:
                self._open.pop(fill.instrument, None)
        if new:
            trip = self._open[fill.instrument] = _Trip(fill.id, fill.price)
            self._all.append((fill.instrument, trip))
        self._latest[fill.instrument] = sense, position.qty, trip

    def see(self, marks: Mapping[str, Floats]) -> None:
        """Add the marks during open round trips."""
        for name, trip in self._open.items():
            along = marks.get(name)
            if along is not None and len(along):
                trip.low, trip.high = min(trip.low, float(along.min())), max(trip.high, float(along.max()))

    def found(self) -> list[Excursion]:
        """Return the marks' range for every round trip, in order of opening."""
        return [Excursion(name, trip.fill_id, trip.low, trip.high) for name, trip in self._all]
