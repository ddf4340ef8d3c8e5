"""Stretches without bars: nights and weekends of sessions, or losses."""

from datetime import UTC, datetime, tzinfo
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S

_SLOT_NS: Final = 15 * NS_PER_MIN
_DAY_SLOTS: Final = NS_PER_DAY // _SLOT_NS
_WEEK_SLOTS: Final = 7 * _DAY_SLOTS
_HOUR_NS: Final = 60 * NS_PER_MIN
_HOUR_SLOTS: Final = _HOUR_NS // _SLOT_NS
#: A market that closes does so for at least this long.
_LEAST_NS: Final = 30 * NS_PER_MIN
#: A time of the day or of the week is closed if more days or weeks than this have bars, and none of them opened in it.
_LEAST_TIMES: Final = 3


def offsets(moments_ns: NDArray[np.int64], zone: tzinfo) -> NDArray[np.int64]:
    """Return how far a zone's clock is ahead of UTC at each moment.

    Examples:
        >>> from zoneinfo import ZoneInfo
        >>> offsets(np.array([1_704_067_200 * 10**9]), ZoneInfo("Europe/Berlin")).tolist()
        [3600000000000]
    """
    seconds = (moments_ns // NS_PER_S).tolist()
    found = (datetime.fromtimestamp(second, UTC).astimezone(zone).utcoffset() for second in seconds)
    return np.array([0 if each is None else round(each.total_seconds()) * NS_PER_S for each in found], np.int64)


class MissingBars(NamedTuple):
    """The stretches between the bars of a stream.

    Attributes:
        lost: Start and end of stretches without bars that other days or weeks have.
        closed: Number of stretches that are nights or weekends, or border on one.
    """

    lost: list[tuple[int, int]]
    closed: int


class _Count:
    """How many days or weeks have bars; blocks come in the order of time."""

    def __init__(self, length_ns: int) -> None:
        self._length_ns = length_ns
        self._last = -1
        self.count = 0

    def add(self, open_ns: NDArray[np.int64]) -> None:
        found = np.unique(open_ns // self._length_ns)
        self.count += int((found > self._last).sum())
        self._last = max(self._last, int(found[-1]))


class Sessions:
    """The times of the day and of the week in which bars open, gathered block by block.

    Args:
        length_ns: Of the bars' interval.
        zone: Zone of the sessions' clock. None takes UTC; an hour lost to a change of clocks then counts as no loss.
    """

    def __init__(self, length_ns: int, zone: tzinfo | None = None) -> None:
        self._length_ns = length_ns
        self._zone = zone
        self._opened = np.zeros(_WEEK_SLOTS, np.bool_)
        self._days = _Count(NS_PER_DAY)
        self._weeks = _Count(7 * NS_PER_DAY)

    def add(self, open_ns: NDArray[np.int64]) -> None:
        """Take the opens of further bars, rising."""
        if len(open_ns):
            self._days.add(open_ns)
            self._weeks.add(open_ns)
            self._opened[self._slots(np.unique(open_ns // _SLOT_NS) * _SLOT_NS)] = True

    def holes(self, from_ns: NDArray[np.int64], to_ns: NDArray[np.int64]) -> MissingBars:
        """Tell the stretches [from, to) between bars apart."""
        closed = self._closed()
        if not closed.any():
            return MissingBars(list(zip(from_ns.tolist(), to_ns.tolist(), strict=True)), 0)
        lost: list[tuple[int, int]] = []
        count = 0
        for begin_ns, end_ns in zip(from_ns.tolist(), to_ns.tolist(), strict=True):
            rest = self._lost(begin_ns, end_ns, closed) if end_ns - begin_ns >= _LEAST_NS else (begin_ns, end_ns)
            count += rest != (begin_ns, end_ns)
            if rest is not None:
                lost.append(rest)
        return MissingBars(lost, count)

    def _slots(self, moments_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._zone is not None:
            moments_ns = moments_ns + offsets(moments_ns, self._zone)
        return moments_ns // _SLOT_NS % _WEEK_SLOTS

    def _closed(self) -> NDArray[np.bool_]:
        """Return for each quarter of an hour of the week whether no bar ever opens in it."""
        nothing = np.zeros(_WEEK_SLOTS, np.bool_)
        if self._length_ns > NS_PER_DAY:
            return nothing
        opened = self._opened
        if self._zone is None and self._length_ns > _HOUR_NS:
            # Bars that follow a clock elsewhere open an hour earlier or later in UTC for a part of the year.
            opened = np.any([np.roll(opened, shift) for shift in range(-_HOUR_SLOTS, _HOUR_SLOTS + 1)], axis=0)
        closed = ~opened if self._weeks.count > _LEAST_TIMES else nothing
        if self._days.count > _LEAST_TIMES:
            closed = closed | np.tile(~opened.reshape(7, _DAY_SLOTS).any(axis=0), 7)
        return closed

    def _lost(self, begin_ns: int, end_ns: int, closed: NDArray[np.bool_]) -> tuple[int, int] | None:
        """Return the part of a stretch from the first to the last bar that other days have; None if there is none."""
        step_ns = max(self._length_ns, _SLOT_NS)
        opens = np.arange(begin_ns, end_ns, step_ns, dtype=np.int64)
        missing = ~closed[self._slots(opens)]
        if self._zone is None and not missing.all():
            # What clocks were put forward or back by, at the edge of a night, is no loss.
            most = _HOUR_NS // step_ns
            for edge in (missing, missing[::-1]):
                run = int(np.argmin(edge))
                edge[:run] &= run > most
        places = np.flatnonzero(missing)
        if not places.size:
            return None
        first, last = int(places[0]), int(places[-1])
        return int(opens[first]), end_ns if last == len(opens) - 1 else int(opens[last]) + step_ns
