"""The last hour of a run as lows and highs: what a page that comes later draws in front of what it sees itself."""

import threading
from collections import deque
from typing import Final

from quantkit.clock import NS_PER_S
from quantkit.live.status import MarkPath, RunHistory

_BAR_NS: Final = 15 * NS_PER_S
#: An hour.
_BARS_MAX: Final = 240
#: A moment and a value.
_Point = tuple[int, float]


class _Bars:
    """One line, as the lowest and the highest point of each stretch of time."""

    def __init__(self) -> None:
        self._bars: deque[tuple[int, _Point, _Point]] = deque(maxlen=_BARS_MAX)

    def add(self, at_ns: int, value: float) -> None:
        """Add a point that is not before the last."""
        start_ns, point = at_ns - at_ns % _BAR_NS, (at_ns, value)
        if self._bars and self._bars[-1][0] == start_ns:
            _, low, high = self._bars[-1]
            if low[1] <= value <= high[1]:
                return
            self._bars[-1] = start_ns, point if value < low[1] else low, point if value > high[1] else high
        else:
            self._bars.append((start_ns, point, point))

    def path(self, name: str, from_ns: int) -> MarkPath:
        """Return its points from a moment on, in order of time, and the one that stood then."""
        points = sorted({point for _, *ends in self._bars for point in ends})
        first = max(sum(at_ns < from_ns for at_ns, _ in points) - 1, 0)
        points = points[first:]
        return MarkPath(name, tuple(at_ns for at_ns, _ in points), tuple(value for _, value in points))


class HistoryKeeper:
    """Marks and equity of the last hour, bounded; the thread of the engine adds, others read.

    Examples:
        >>> kept = HistoryKeeper()
        >>> for second, price in enumerate((5.0, 9.0, 1.0, 6.0)):
        ...     kept.add_mark("BTC-USDT", second * NS_PER_S, price)
        >>> kept.taken().prices[0].price
        (9.0, 1.0)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prices: dict[str, _Bars] = {}
        self._equity = _Bars()
        self._newest_ns = 0

    def add_mark(self, instrument: str, now_ns: int, price: float) -> None:
        """Note the mark of an instrument."""
        with self._lock:
            self._newest_ns = now_ns
            self._prices.setdefault(instrument, _Bars()).add(now_ns, price)

    def add_equity(self, now_ns: int, equity: float) -> None:
        """Note the equity."""
        with self._lock:
            self._newest_ns = now_ns
            self._equity.add(now_ns, equity)

    def taken(self) -> RunHistory:
        """Return what there is."""
        with self._lock:
            from_ns = self._newest_ns - _BARS_MAX * _BAR_NS
            return RunHistory(
                tuple(bars.path(name, from_ns) for name, bars in self._prices.items()), self._equity.path("", from_ns)
            )
