"""Rate limits with an injected clock: so many in any window, and evenly spaced."""

from collections import deque


class SlidingLimit:
    """Lets at most `count` through in any stretch of `window_s` seconds.

    Args:
        count: How many.
        window_s: In how long a time; two takes exactly `window_s` apart are not in one window.

    Examples:
        >>> limit = SlidingLimit(2, 1.0)
        >>> limit.take(0.0), limit.take(0.25), limit.take(0.5), limit.take(1.0)
        (0.0, 0.0, 0.5, 0.0)
    """

    __slots__ = ("_taken", "count", "window_s")

    def __init__(self, count: int, window_s: float) -> None:
        self.count = count
        self.window_s = window_s
        self._taken: deque[float] = deque()

    def take(self, now_s: float) -> float:
        """Take a place if one is free at `now_s`, which never goes back.

        Returns:
            0 if it was taken, else the seconds until one becomes free, above zero.
        """
        wait_s = self.wait_s(now_s)
        if wait_s == 0.0:
            self._taken.append(now_s)
        return wait_s

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until a place is free, 0 if one is; take none."""
        taken = self._taken
        while taken and now_s - taken[0] >= self.window_s:
            taken.popleft()
        if len(taken) < self.count:
            return 0.0
        # The subtraction above may say "not yet" where the sum says "now", by one rounding.
        return max(taken[0] + self.window_s - now_s, 1e-9)

    @property
    def used(self) -> int:
        """How many places were taken in the window that ended at the last call."""
        return len(self._taken)


class Pacer:
    """Spaces takes evenly, `window_s / count` apart and without bursts.

    Examples:
        >>> pacer = Pacer(20, 2.0)
        >>> pacer.take(0.0), round(pacer.take(0.04), 3), pacer.take(0.1)
        (0.0, 0.06, 0.0)
    """

    __slots__ = ("_free_at_s", "interval_s")

    def __init__(self, count: int, window_s: float) -> None:
        self.interval_s = window_s / count
        self._free_at_s = float("-inf")

    def take(self, now_s: float) -> float:
        """Take the next slot if it is free at `now_s`; return 0 then, else the seconds until it is."""
        if now_s < self._free_at_s:
            return self._free_at_s - now_s
        self._free_at_s = now_s + self.interval_s
        return 0.0

    def hold(self, until_s: float) -> None:
        """Let nothing through before `until_s`, as a server asked for."""
        self._free_at_s = max(self._free_at_s, until_s)
