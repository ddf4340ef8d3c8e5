"""Closing times of bars: after their interval, or by local clocks with days of 23 or 25 hours."""

from datetime import tzinfo
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from quantkit.clock import NS_PER_DAY, NS_PER_MIN, NS_PER_S
from quantkit.storage.sessions import offsets

BarStamps: TypeAlias = NDArray[np.int64]

_HOUR_NS: Final = 60 * NS_PER_MIN


class Grid(NamedTuple):
    """Where the bars of a table stand.

    Attributes:
        close_ns: When each bar closes, shape (n,).
        phase_ns: The opens as the clock counts them that the bars follow: local or UTC nanoseconds, shape (n,).
    """

    close_ns: BarStamps
    phase_ns: BarStamps


def grid_of(open_ns: BarStamps, length_ns: int, zone: tzinfo | None) -> Grid:
    """Return when bars close, and the clock that they follow.

    Bars of two hours and more follow the clock of `zone` where more of their steps are whole there than in UTC; days
    from midnight to midnight do so always. A bar then closes when that clock has moved on by the interval. Without
    such a zone a bar closes at the next open where that lies an hour earlier or later than its interval ends, as where
    clocks change; else after its interval.

    Args:
        open_ns: Rising, shape (n,).
        length_ns: Of the interval.
        zone: Of the place whose clock the bars may follow, as `changing` returns it; None knows none.
    """
    plain_ns = _plain(open_ns, length_ns)
    if zone is None or length_ns <= _HOUR_NS:
        return Grid(plain_ns, open_ns)
    local_ns = _nominal(open_ns, length_ns, zone)
    follow_local_ns = _local(open_ns, local_ns, length_ns, zone)
    if (follow_local_ns == open_ns + length_ns).all() and _whole(local_ns, length_ns) == _whole(open_ns, length_ns):
        return Grid(plain_ns, open_ns)  # no change of clocks comes between these bars
    more = _whole(local_ns, length_ns) - _whole(open_ns, length_ns)
    if more > 0 or (more == 0 and length_ns >= NS_PER_DAY and not (local_ns % NS_PER_DAY).any()):
        return Grid(follow_local_ns, local_ns)
    # The rows do not show which clock they follow: the later close is never too early.
    return Grid(plain_ns if more < 0 else np.maximum(plain_ns, follow_local_ns), open_ns)


def changing(zone: tzinfo | None, open_ns: BarStamps) -> tzinfo | None:
    """Return a zone if its clock is put forward or back around the bars; else None, as UTC tells as much."""
    if zone is None or not len(open_ns):
        return None
    year_ns = 366 * NS_PER_DAY
    samples = np.arange(int(open_ns[0]) - year_ns, int(open_ns[-1]) + year_ns, 14 * NS_PER_DAY, dtype=np.int64)
    return zone if len(np.unique(offsets(samples, zone))) > 1 else None


def _nominal(open_ns: BarStamps, length_ns: int, zone: tzinfo) -> BarStamps:
    """Return the opens as a zone's clock shows them; one that the clock skips counts as the time that it would be."""
    ahead_ns = offsets(open_ns, zone)
    local_ns = open_ns + ahead_ns
    residues, counts = np.unique(local_ns % length_ns, return_counts=True)
    phase_ns = int(residues[counts.argmax()])
    odd = np.flatnonzero(local_ns % length_ns != phase_ns)
    skipped_ns = ahead_ns[odd] - offsets(open_ns[odd] - NS_PER_S, zone)
    back_ns = (local_ns[odd] - phase_ns) % length_ns
    is_skipped = back_ns <= skipped_ns
    local_ns[odd[is_skipped]] -= back_ns[is_skipped]
    return local_ns


def _change(low_ns: int, high_ns: int, zone: tzinfo) -> int:
    """Return the moment between two at which a clock skips the time that is wanted: the bar ends with it."""
    before = offsets(np.array([low_ns]), zone)
    while high_ns - low_ns > NS_PER_S:
        middle_ns = (low_ns + high_ns) // 2
        if offsets(np.array([middle_ns]), zone) == before:
            low_ns = middle_ns
        else:
            high_ns = middle_ns
    return high_ns // NS_PER_S * NS_PER_S


def _whole(phase_ns: BarStamps, length_ns: int) -> int:
    """Return how many steps are multiples of the interval."""
    return int((np.diff(phase_ns) % length_ns == 0).sum())


def _plain(open_ns: BarStamps, length_ns: int) -> BarStamps:
    close_ns = open_ns + length_ns
    if length_ns <= _HOUR_NS or len(open_ns) < 2:
        return close_ns
    steps = np.diff(open_ns)
    off_ns = np.abs(steps - length_ns)
    if length_ns >= NS_PER_DAY:
        moved = (off_ns > 0) & (off_ns <= _HOUR_NS)
    else:
        # A stray row is an hour off as well, but only a change of clocks moves all the rows that follow.
        is_whole = steps % length_ns == 0
        moved = (off_ns == _HOUR_NS) & np.append(is_whole[1:], False) & np.append(True, is_whole[:-1])
    close_ns[:-1][moved] = open_ns[1:][moved]
    return close_ns


def _local(open_ns: BarStamps, local_ns: BarStamps, length_ns: int, zone: tzinfo) -> BarStamps:
    """Return when a zone's clock has moved on by the interval since each open."""
    close_ns = open_ns + length_ns
    ahead_ns = close_ns + offsets(close_ns, zone) - (local_ns + length_ns)
    changed = np.flatnonzero(ahead_ns)
    if changed.size:
        earlier_ns = close_ns[changed] - ahead_ns[changed]
        is_skipped = earlier_ns + offsets(earlier_ns, zone) != local_ns[changed] + length_ns
        for place, early_ns in zip(changed[is_skipped].tolist(), earlier_ns[is_skipped].tolist(), strict=True):
            close_ns[place] = _change(early_ns, int(close_ns[place]), zone)
        close_ns[changed[~is_skipped]] = earlier_ns[~is_skipped]
    if len(open_ns) > 1:
        # Where the wanted time comes twice, the next bar may open at the second: no close before that is safe.
        late_ns = open_ns[1:] - close_ns[:-1]
        turned = (late_ns > 0) & (late_ns <= _HOUR_NS) & (np.diff(local_ns) == length_ns)
        close_ns[:-1][turned] = open_ns[1:][turned]
    return close_ns
