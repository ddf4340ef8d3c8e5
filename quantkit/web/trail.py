"""A line that grows at its end and stays bounded: new points are kept one by one, old ones as extremes."""

from typing import Final

#: Points kept; half of them one by one at least.
POINTS_MAX: Final = 8192
#: So many neighbouring points become two, the lowest and the highest.
_STRIDE: Final = 4


class Trail:
    """Points of time and value, in order of time.

    Where it is full, the older half is thinned, so that a run of days has a line and no spike of it is lost.

    Args:
        points_max: How many it may hold.

    Examples:
        >>> trail = Trail(points_max=8)
        >>> for moment in range(9):
        ...     trail.add(moment, 99.0 if moment == 2 else float(moment % 2))
        >>> trail.since(0)
        ([0, 2, 4, 5, 6, 7, 8], [0.0, 99.0, 0.0, 1.0, 0.0, 1.0, 0.0])
        >>> trail.added, trail.since(7)
        (9, ([7, 8], [1.0, 0.0]))
    """

    def __init__(self, points_max: int = POINTS_MAX) -> None:
        self._points_max = points_max
        self._times: list[int] = []
        self._values: list[float] = []
        #: How many points came so far.
        self.added = 0

    def add(self, time: int, value: float) -> None:
        """Add a point; one that is not after the last is left out."""
        if self._times and time <= self._times[-1]:
            return
        if len(self._times) >= self._points_max:
            self._thin()
        self._times.append(time)
        self._values.append(value)
        self.added += 1

    def since(self, added: int) -> tuple[list[int], list[float]]:
        """Return the points that came after the first `added`; all that are left, if some of them were thinned."""
        fresh = self.added - added
        if fresh <= 0:
            return [], []
        if fresh > self._points_max // 2:
            return list(self._times), list(self._values)
        return self._times[-fresh:], self._values[-fresh:]

    def _thin(self) -> None:
        half = self._points_max // 2
        kept = [
            place
            for start in range(0, half, _STRIDE)
            for place in _extremes(self._values, start, min(start + _STRIDE, half))
        ]
        self._times[:half] = [self._times[place] for place in kept]
        self._values[:half] = [self._values[place] for place in kept]


def _extremes(values: list[float], start: int, stop: int) -> list[int]:
    """Return the places of the lowest and the highest value, in order."""
    places = range(start, stop)
    return sorted({min(places, key=values.__getitem__), max(places, key=values.__getitem__)})
