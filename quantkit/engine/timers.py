"""A strategy's timers, in the order in which they are due."""

import heapq
from typing import NamedTuple

from quantkit.clock import NEVER_NS


class Timer(NamedTuple):
    """A timer waiting to run; `every_ns` is 0 for one that runs once."""

    due_ns: int
    number: int
    name: str
    every_ns: int


class Timers:
    """Timers in the order they are due, those of one moment in the order they were started."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._count = 0

    @property
    def next_ns(self) -> int:
        """When the next timer is due."""
        return self._heap[0].due_ns if self._heap else NEVER_NS

    def add(self, due_ns: int, name: str, every_ns: int) -> None:
        """Start a timer."""
        self._count += 1
        heapq.heappush(self._heap, Timer(due_ns, self._count, name, every_ns))

    def restart_from(self, start_ns: int) -> None:
        """Move repeating timers to their first multiple after the start, and drop single ones before it."""
        kept = []
        for timer in self._heap:
            if timer.every_ns:
                kept.append(timer._replace(due_ns=(start_ns // timer.every_ns + 1) * timer.every_ns))
            elif timer.due_ns >= start_ns:
                kept.append(timer)
        self._heap = kept
        heapq.heapify(self._heap)

    def pop(self, now_ns: int) -> Timer | None:
        """Return the next timer due by `now_ns`, started anew if it repeats, or None."""
        if not self._heap or self._heap[0].due_ns > now_ns:
            return None
        timer = self._heap[0]
        if timer.every_ns:
            heapq.heapreplace(
                self._heap, Timer(timer.due_ns + timer.every_ns, timer.number, timer.name, timer.every_ns)
            )
        else:
            heapq.heappop(self._heap)
        return timer
