"""A sliding window that counts requests."""

from collections import deque


class Window:
    """Counts events in any stretch of a length, in the unit of the clock that it is given.

    Args:
        count: How many are let through.
        length: Of the stretch; two events exactly so far apart are not in one.

    Examples:
        >>> window = Window(2, 1.0)
        >>> [window.take(now_s) for now_s in (0.0, 0.5, 0.9, 1.0)]
        [True, True, False, True]
    """

    __slots__ = ("_count", "_length", "_taken")

    def __init__(self, count: int, length: float) -> None:
        self._count = count
        self._length = length
        self._taken: deque[float] = deque()

    def take(self, now: float) -> bool:
        """Count one event, unless that would exceed the limit."""
        taken = self._taken
        while taken and now - taken[0] >= self._length:
            taken.popleft()
        if len(taken) >= self._count:
            return False
        taken.append(now)
        return True
