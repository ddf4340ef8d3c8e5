"""How far our clock is ahead of the exchange's, estimated from the exchange's time and from when its rows come."""

from typing import Final

from quantkit.clock import NS_PER_MIN, NS_PER_MS

#: Rows bound the offset for so long at least; a clock that was set forward since is not held back by them for ever.
_WINDOW_NS: Final = NS_PER_MIN


class ClockOffset:
    """The offset, our clock less the exchange's, which moves in steps.

    Two things move it. A measurement of the exchange's time moves it if they differ by more than the measurement's
    error. A row moves it if the row would otherwise have come before it was sent. One thread calls `measured`
    and `missed`, another `settle`.

    Attributes:
        value_ns: The offset; written by `settle`.
        unmeasured: Number of failed measurements; written by `missed`.

    Examples:
        >>> offset = ClockOffset()
        >>> offset.measured(3_000_000_000, 500_000)
        >>> offset.settle(None, until_ns=0), offset.value_ns
        (True, 3000000000)
        >>> offset.settle(2_999_900_000, until_ns=1), offset.value_ns
        (True, 2999000000)
    """

    def __init__(self) -> None:
        self.value_ns = 0
        self.unmeasured = 0
        self._reading: tuple[int, int] | None = None
        self._since_ns = 0  # when the present window began
        self._least_ns: int | None = None  # of receipt less exchange stamp, in the present window
        self._least_before_ns: int | None = None  # in the one before

    def measured(self, offset_ns: int, error_ns: int) -> None:
        """Take in a measurement, which counts with the next `settle`.

        Args:
            offset_ns: Our clock less the exchange's.
            error_ns: Largest error of the offset.
        """
        self._reading = offset_ns, error_ns

    def missed(self) -> None:
        """Count a measurement that failed; the offset stays as it is."""
        self.unmeasured += 1

    def settle(self, least_lag_ns: int | None, *, until_ns: int) -> bool:
        """Take in a batch of rows and return whether the offset has moved.

        Args:
            least_lag_ns: The smallest receipt less exchange stamp among them; None without a row that has both stamps.
            until_ns: Our clock by then.
        """
        if until_ns - self._since_ns >= _WINDOW_NS:
            self._since_ns, self._least_before_ns, self._least_ns = until_ns, self._least_ns, None
        if least_lag_ns is not None and (self._least_ns is None or least_lag_ns < self._least_ns):
            self._least_ns = least_lag_ns
        value_ns, reading = self.value_ns, self._reading
        if reading is not None and abs(reading[0] - value_ns) > reading[1]:
            value_ns = reading[0]
        for bound_ns in (self._least_before_ns, self._least_ns):
            if bound_ns is not None and value_ns > bound_ns:
                # In whole milliseconds, or each row that is a little quicker than the last would be a step.
                value_ns = bound_ns // NS_PER_MS * NS_PER_MS
        if reading is not None and abs(reading[0] - value_ns) <= reading[1]:
            # Else older rows hold it back, and once they are forgotten it counts.
            self._reading = None
        has_moved, self.value_ns = value_ns != self.value_ns, value_ns
        return has_moved
